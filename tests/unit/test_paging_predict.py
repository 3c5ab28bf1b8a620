"""What the CPU will do with an access: the rows of the manual's tables, each on tables made for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.errors import NoMemoryAt, UsageError
from lab.memory import MadeUpMemory, MadeUpSpace
from lab.paging import Access, AccessKind, Prediction, predict
from lab.x86 import (
    CR0,
    CR3,
    CR4,
    EFER,
    PAT,
    RFLAGS,
    KeyRights,
    Level,
    MemoryType,
    MtrrRange,
    Mtrrs,
    PagingState,
    VirtualAddress,
    effective_type,
)

VA = VirtualAddress(0x40_2345)
READ, WRITE, FETCH = map(Access, AccessKind)
USER_READ, USER_WRITE, USER_FETCH = (Access(kind, user=True) for kind in AccessKind)
IMPLICIT_READ, IMPLICIT_WRITE = (Access(kind, implicit=True) for kind in (AccessKind.READ, AccessKind.WRITE))


def state_of(*cr4: str, wp: bool = True, nxe: bool = True, ac: bool = False, **others: object) -> PagingState:
    """A state in long mode with these bits of CR4, and the others as they are named."""
    state = PagingState(
        cr0=CR0.from_names("PE", "PG").replace(wp=wp),
        cr4=CR4.from_names("PAE", *cr4),
        efer=EFER.from_names("LME", "LMA").replace(nxe=nxe),
        rflags=RFLAGS(2).replace(ac=ac),
    )
    return replace(state, **others)  # type: ignore[arg-type]


def space_of(letters: str, state: PagingState, *, size: int = 4096, levels: int = 4, **bits: int) -> MadeUpSpace:
    """A page with the rights of `letters`, "u" for a user page, at VA; upper levels allow everything."""
    space = MadeUpSpace(levels, state=state)
    space.map(VA & -size, 0x8000_0000, letters[:3], user="u" in letters, size=size, **bits)
    return space


def predicted(letters: str, access: Access, state: PagingState, **more: int) -> Prediction:
    space = space_of(letters, state, **more)
    return predict(space.memory, space.state, VA, access)


# ------------------------------------------------------------------------------------------------ access rights ----

U_EVERYWHERE = "bit 2 (U) is 1 at every level"
SMAP_COUNTS = "CR4.SMAP is 1 and RFLAGS.AC does not count for an implicit access"

RIGHTS = [
    # supervisor data accesses: SMAP, RFLAGS.AC, CR0.WP
    ("rw-", READ, state_of("SMAP"), "", "read succeeds: bit 0 (P) is 1 at every level"),
    ("rw-u", READ, state_of(), "", "read succeeds: bit 0 (P) is 1 at every level"),
    ("rw-u", READ, state_of("SMAP"), "#PF(P)", f"read faults: {U_EVERYWHERE}, CR4.SMAP is 1 and RFLAGS.AC is 0"),
    ("rw-u", READ, state_of("SMAP", ac=True), "", "read succeeds: RFLAGS.AC is 1, which lifts CR4.SMAP"),
    (
        "rw-u",
        IMPLICIT_READ,
        state_of("SMAP", ac=True),
        "#PF(P)",
        f"implicit read faults: {U_EVERYWHERE}, {SMAP_COUNTS}",
    ),
    (
        "rw-u",
        Access(AccessKind.WRITE, user=True, implicit=True),
        state_of("SMAP", ac=True),
        "#PF(P|W)",
        f"implicit write at CPL 3 faults: {U_EVERYWHERE}, {SMAP_COUNTS}",
    ),
    ("rw-", Access(AccessKind.READ, user=True, implicit=True), state_of(), "", None),
    ("r--", WRITE, state_of(), "#PF(P|W)", "write faults: PT bit 1 (W) is 0 and CR0.WP is 1"),
    ("r--", WRITE, state_of(wp=False), "", "write succeeds: CR0.WP is 0"),
    ("r--u", WRITE, state_of("SMAP", wp=False), "#PF(P|W)", None),
    ("rw-", WRITE, state_of(), "", "write succeeds: bit 1 (W) is 1 at every level"),
    ("r--", IMPLICIT_WRITE, state_of(), "#PF(P|W)", "implicit write faults: PT bit 1 (W) is 0 and CR0.WP is 1"),
    # supervisor fetches: XD, SMEP; SMAP has no say
    ("r-x", FETCH, state_of(), "", "fetch succeeds: bit 63 (NX) is 0 at every level"),
    ("rw-", FETCH, state_of(), "#PF(P|I/D)", "fetch faults: PT bit 63 (NX) is 1"),
    ("r-xu", FETCH, state_of("SMAP"), "", None),
    ("r-xu", FETCH, state_of("SMEP", ac=True), "#PF(P|I/D)", f"fetch faults: {U_EVERYWHERE} and CR4.SMEP is 1"),
    ("rwxu", FETCH, state_of("SMEP", nxe=False), "#PF(P|I/D)", None),
    # user mode: U, W and XD; WP, SMAP and SMEP have no say
    ("rw-", USER_READ, state_of(), "#PF(P|U)", "user read faults: PML4 bit 2 (U) is 0"),
    ("rw-u", USER_READ, state_of("SMAP", "SMEP"), "", f"user read succeeds: {U_EVERYWHERE}"),
    ("r--u", USER_WRITE, state_of(wp=False), "#PF(P|W|U)", "user write faults: PT bit 1 (W) is 0"),
    ("rw-u", USER_WRITE, state_of(), "", "user write succeeds: bit 1 (W) is 1 at every level and so is bit 2 (U)"),
    ("r-x", USER_FETCH, state_of(), "#PF(P|U|I/D)", "user fetch faults: PML4 bit 2 (U) is 0"),
    ("rwx", USER_FETCH, state_of(nxe=False), "#PF(P|U)", None),
    ("rw-u", USER_FETCH, state_of("SMEP"), "#PF(P|U|I/D)", "user fetch faults: PT bit 63 (NX) is 1"),
    (
        "r-xu",
        USER_FETCH,
        state_of("SMEP"),
        "",
        "user fetch succeeds: bit 63 (NX) is 0 at every level, and bit 2 (U) is 1",
    ),
]


@pytest.mark.parametrize(("letters", "access", "state", "fault", "sentence"), RIGHTS)
def test_access_rights(letters: str, access: Access, state: PagingState, fault: str, sentence: str | None) -> None:
    found = predicted(letters, access, state)
    assert (found.fault, found.ok) == (fault, not fault)
    if sentence:
        assert str(found) == sentence
    assert found.cr2 == (VA if fault else None)
    assert found.physical == (None if fault else 0x8000_0345)


@pytest.mark.parametrize("size", [4096, 2 << 20, 1 << 30])
@pytest.mark.parametrize("levels", [4, 5])
def test_each_upper_level_can_forbid_and_is_named(levels: int, size: int) -> None:
    leaf = next(level for level in Level if level.page_size == size)
    for level in map(Level, range(levels, leaf, -1)):
        space = MadeUpSpace(levels)
        space.map(VA & -size, 0, "rwx", user=True, size=size, upper_rights={level: "r--"})
        sentences = [str(predict(space.memory, space.state, VA, access)) for access in (WRITE, FETCH, USER_READ)]
        assert sentences == [
            f"write faults: {level} bit 1 (W) is 0 and CR0.WP is 1",
            f"fetch faults: {level} bit 63 (NX) is 1",
            f"user read faults: {level} bit 2 (U) is 0",
        ]


def test_a_missing_entry_wins_over_what_levels_above_forbid() -> None:
    space = MadeUpSpace()
    space.map(VA, 0x5000, "rw-", upper_rights={Level.PDPT: "r--"})
    space.raw(Level.PT, VA, 0)
    found = predict(space.memory, space.state, VA, USER_WRITE)
    assert (str(found), found.fault) == ("user write faults: PT bit 0 (P) is 0", "#PF(W|U)")
    space.raw(Level.PT, VA, 1 << 51 | 0x5001)
    found = predict(space.memory, space.state, VA, USER_WRITE)
    assert str(found) == "user write faults: PT bit 51 is reserved (51:40 must be 0)"
    assert found.fault == "#PF(P|W|U|RSVD)"


@pytest.mark.parametrize(("nxe", "smep", "bits"), [(0, 0, "0"), (1, 0, "I/D"), (0, 1, "I/D"), (1, 1, "I/D")])
def test_a_fetch_says_so_with_nxe_or_smep_only(nxe: int, smep: int, bits: str) -> None:
    state = state_of(*["SMEP"] * smep, nxe=bool(nxe), cr3=CR3(0x1000))
    assert predict(MadeUpMemory(), state, VA, FETCH).fault == f"#PF({bits})"


# ------------------------------------------------------------------------------------------------ protection keys ----

AD5, WD5 = KeyRights.denying(access=[5]), KeyRights.denying(write=[5])

KEYS = [
    # user pages obey PKRU, for supervisor accesses too
    ("rwxu", USER_READ, state_of("PKE", pkru=AD5), "#PF(P|U|PK)", "PT bits 62:59 are key 5 and PKRU bit 10 (AD5) is 1"),
    ("rwxu", READ, state_of("PKE", pkru=AD5), "#PF(P|PK)", "PT bits 62:59 are key 5 and PKRU bit 10 (AD5) is 1"),
    ("rwxu", USER_READ, state_of("PKE", pkru=WD5), "", None),
    ("rwxu", USER_WRITE, state_of("PKE", pkru=WD5, wp=False), "#PF(P|W|U|PK)", None),
    (
        "rwxu",
        WRITE,
        state_of("PKE", pkru=WD5),
        "#PF(P|W|PK)",
        "PT bits 62:59 are key 5 and PKRU bit 11 (WD5) is 1 and CR0.WP is 1",
    ),
    ("rwxu", WRITE, state_of("PKE", pkru=WD5, wp=False), "", None),
    ("rwxu", USER_FETCH, state_of("PKE", pkru=AD5), "", None),
    ("rwxu", USER_READ, state_of(pkru=AD5), "", None),
    ("rwxu", USER_READ, state_of("PKS", pkru=AD5, pkrs=AD5), "", None),
    # supervisor pages obey IA32_PKRS
    ("rwx", READ, state_of("PKS", pkrs=AD5), "#PF(P|PK)", "PT bits 62:59 are key 5 and IA32_PKRS bit 10 (AD5) is 1"),
    ("rwx", WRITE, state_of("PKS", pkrs=WD5), "#PF(P|W|PK)", None),
    ("rwx", WRITE, state_of("PKS", pkrs=WD5, wp=False), "", None),
    ("rwx", FETCH, state_of("PKS", pkrs=AD5), "", None),
    ("rwx", READ, state_of("PKE", pkru=AD5, pkrs=AD5), "", None),
    # PK is told beside other reasons
    ("r-xu", USER_WRITE, state_of("PKE", pkru=WD5), "#PF(P|W|U|PK)", "PT bit 1 (W) is 0"),
    ("rwxu", READ, state_of("PKE", "SMAP", pkru=AD5), "#PF(P|PK)", None),
]


@pytest.mark.parametrize(("letters", "access", "state", "fault", "reason"), KEYS)
def test_protection_keys(letters: str, access: Access, state: PagingState, fault: str, reason: str | None) -> None:
    found = predicted(letters, access, state, key=5)
    assert found.fault == fault
    assert found.alternatives == ()
    if reason:
        assert found.decision.reason == reason
    assert predicted(letters, access, state, key=4).error_code != (found.error_code if "PK" in fault else -1)


def test_where_the_manual_leaves_pk_open_both_codes_are_accepted() -> None:
    found = predicted("rwx", USER_READ, state_of("PKS", pkrs=AD5), key=5)
    assert (found.error_code, found.alternatives) == (0x25, (0x05,))
    assert [found.accepts(14, code) for code in (0x25, 0x05, 0x01)] == [True, True, False]
    assert not found.accepts(None)
    assert not found.accepts(13, 0)


def test_a_key_above_the_leaf_is_none() -> None:
    space = space_of("rwxu", state_of("PKE", pkru=AD5))
    space.raw(Level.PD, VA, space.entry(Level.PD, VA).replace(key=5))
    assert predict(space.memory, space.state, VA, USER_READ).ok


# -------------------------------------------------------------------------------------------------- shadow stacks ----

SHADOW_READ = Access(AccessKind.READ, shadow_stack=True)
USER_SHADOW_WRITE = Access(AccessKind.WRITE, user=True, shadow_stack=True)


@pytest.mark.parametrize(
    ("letters", "bits", "access", "verdict"),
    [
        ("r--", {"dirty": 1}, SHADOW_READ, "succeeds: PT bit 6 (D) is 1"),
        ("r--u", {"dirty": 1}, USER_SHADOW_WRITE, "succeeds: PT bit 6 (D) is 1"),
        ("r--", {"dirty": 0}, SHADOW_READ, "faults: PT bit 6 (D) is 0, which no shadow stack has"),
        ("rw-", {"dirty": 1}, SHADOW_READ, "faults: PT bit 1 (W) is 1, which no shadow stack has"),
        ("r--u", {"dirty": 1}, SHADOW_READ, f"faults: {U_EVERYWHERE}"),
        ("r--", {"dirty": 1}, USER_SHADOW_WRITE, "faults: PML4 bit 2 (U) is 0"),
        ("r--", {"dirty": 1}, WRITE, "faults: PT bit 1 (W) is 0 and CR0.WP is 1"),
        ("r--", {"dirty": 1}, READ, "succeeds: bit 0 (P) is 1 at every level"),
    ],
)
def test_shadow_stacks(letters: str, bits: dict[str, int], access: Access, verdict: str) -> None:
    found = predicted(letters, access, state_of("CET"), **bits)
    assert str(found) == f"{access} {verdict}"
    if not found.ok and access.shadow_stack:
        assert found.error_code is not None
        assert found.error_code.shadow_stack
        assert found.error_code.present


def test_an_upper_level_that_is_read_only_makes_no_shadow_stack() -> None:
    space = MadeUpSpace(state=state_of("CET"))
    space.map(VA, 0x5000, "r--", upper_rights={Level.PD: "r-x"}, dirty=True)
    found = predict(space.memory, space.state, VA, SHADOW_READ)
    assert str(found) == "shadow-stack read faults: PD bit 1 (W) is 0, which no shadow stack has"


def test_without_cet_there_are_no_shadow_stack_accesses() -> None:
    with pytest.raises(UsageError, match=r"no shadow-stack accesses while CR4\.CET is 0"):
        predicted("r--", SHADOW_READ, state_of())


# --------------------------------------------------------------------------------------- canonical, and no memory ----


@pytest.mark.parametrize(
    ("address", "levels", "stack", "fault"),
    [
        (0x0000_7FFF_FFFF_FFFF, 4, False, "#PF(0)"),
        (0x0000_8000_0000_0000, 4, False, "#GP(0)"),
        (0xFFFF_7FFF_FFFF_FFFF, 4, True, "#SS(0)"),
        (0xFFFF_8000_0000_0000, 4, True, "#PF(0)"),
        (0x0000_8000_0000_0000, 5, False, "#PF(0)"),
        (0x0100_0000_0000_0000, 5, False, "#GP(0)"),
        (0xFEFF_FFFF_FFFF_FFFF, 5, True, "#SS(0)"),
        (0xFF00_0000_0000_0000, 5, False, "#PF(0)"),
    ],
)
def test_the_edges_of_what_is_canonical(address: int, levels: int, stack: bool, fault: str) -> None:
    space = MadeUpSpace(levels)
    found = predict(space.memory, space.state, VirtualAddress(address), Access(AccessKind.READ, stack=stack))
    assert found.fault == fault
    if not fault.startswith("#PF"):
        assert (found.cr2, found.error_code, found.updates, found.decision.level) == (None, None, (), None)


def test_nobody_knows_what_a_table_outside_of_ram_says() -> None:
    space = space_of("rwx", state_of())
    space.raw(Level.PD, VA, 0x40_0000_0007)
    with pytest.raises(NoMemoryAt, match="pa:0x4000000000"):
        predict(space.memory, space.state, VA, READ)


@pytest.mark.parametrize("wrong", [{"implicit": True}, {"stack": True}, {"shadow_stack": True}])
def test_fetches_are_explicit_and_of_no_stack(wrong: dict[str, bool]) -> None:
    with pytest.raises(UsageError, match="a fetch is neither implicit nor one of a stack"):
        Access(AccessKind.FETCH, **wrong)


# --------------------------------------------------------------------------------------------- accessed and dirty ----


def masks(found: Prediction) -> str:
    """must/may a level, from the top."""
    return " ".join(f"{int(update.must_set):x}/{int(update.may_set):x}" for update in found.updates)


def test_a_success_sets_a_everywhere_and_d_in_the_leaf_on_a_write() -> None:
    state = state_of()
    assert masks(predicted("rwx", READ, state)) == "20/0 20/0 20/0 20/0"
    assert masks(predicted("rwx", WRITE, state)) == "20/0 20/0 20/0 60/0"
    assert masks(predicted("rwx", FETCH, state)) == "20/0 20/0 20/0 20/0"
    assert masks(predicted("rwx", WRITE, state, size=2 << 20)) == "20/0 20/0 60/0"
    assert masks(predicted("rwx", WRITE, state, size=1 << 30, levels=5)) == "20/0 20/0 60/0"


def test_bits_that_are_set_are_not_set_again() -> None:
    assert masks(predicted("rwx", WRITE, state_of(), accessed=1)) == "20/0 20/0 20/0 40/0"
    assert masks(predicted("rwx", WRITE, state_of(), accessed=1, dirty=1)) == "20/0 20/0 20/0 0/0"
    assert masks(predicted("r-x", WRITE, state_of(), accessed=1)) == "0/20 0/20 0/20 0/0"


def test_a_fault_may_set_a_in_good_entries_and_never_d() -> None:
    assert masks(predicted("r-x", WRITE, state_of())) == "0/20 0/20 0/20 0/20"
    space = space_of("rwx", state_of())
    space.raw(Level.PD, VA, 0)
    assert masks(predict(space.memory, space.state, VA, WRITE)) == "0/20 0/20 0/0"


# --------------------------------------------------------------------------------------------------- memory types ----


def test_the_type_is_made_of_pat_and_mtrrs() -> None:
    device = MtrrRange(0x8000_0000, 0x1000_0000, MemoryType.UC)
    pat = PAT(0x0007_0406_0107_0406)  # index 3: write combining
    state = state_of(pat=pat, mtrrs=Mtrrs(MemoryType.WB, (device,)))
    assert predicted("rwx", READ, state).memory_type is MemoryType.UC
    combining = predicted("rwx", READ, state, write_through=1, cache_disable=1)
    assert combining.memory_type is MemoryType.WC
    assert combining.walk.mapped.memory_type is MemoryType.WC
    assert predicted("rwx", READ, state_of(pat=pat), cache_disable=1).memory_type is MemoryType.UC
    assert predicted("rwx", READ, state_of(cr0=CR0.from_names("PE", "PG", "CD"))).memory_type is MemoryType.UC


COLUMNS = ["UC", "UC-", "WC", "WT", "WB", "WP"]
TABLE = {
    "UC": ["UC", "UC", "WC", "UC", "UC", "UC"],
    "WC": ["UC", "WC", "WC", "UC", "WC", "UC"],
    "WT": ["UC", "UC", "WC", "WT", "WT", "WP"],
    "WB": ["UC", "UC", "WC", "WT", "WB", "WP"],
    "WP": ["UC", "WC", "WC", "WT", "WP", "WP"],
}


@pytest.mark.parametrize("mtrr", TABLE)
def test_effective_types_are_the_manuals(mtrr: str) -> None:
    named = {str(kind): kind for kind in MemoryType}
    assert [str(effective_type(named[mtrr], named[pat])) for pat in COLUMNS] == TABLE[mtrr]
    off = [str(effective_type(named[mtrr], named[pat], cache_disabled=True)) for pat in COLUMNS]
    assert off == ["WC" if kind == "WC" else "UC" for kind in TABLE[mtrr]]


def test_overlapping_ranges() -> None:
    def both(first: MemoryType, second: MemoryType) -> MemoryType:
        return Mtrrs(ranges=(MtrrRange(0, 8192, first), MtrrRange(4096, 8192, second))).type_of(4096)

    assert both(MemoryType.UC, MemoryType.WB) is MemoryType.UC
    assert both(MemoryType.WT, MemoryType.WB) is MemoryType.WT
    assert both(MemoryType.WC, MemoryType.WB) is MemoryType.RESERVED
    fixed = Mtrrs(fixed=(MtrrRange(0xA0000, 0x20000, MemoryType.UC),), ranges=(MtrrRange(0, 1 << 20, MemoryType.WT),))
    assert [fixed.type_of(place) for place in (0x9FFFF, 0xA0000, 1 << 20)] == [
        MemoryType.WT,
        MemoryType.UC,
        MemoryType.WB,
    ]
