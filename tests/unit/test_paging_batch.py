"""A million predictions are a million times one: the columns say what `predict` says of every single case."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.errors import UsageError
from lab.memory import MadeUpMemory
from lab.paging import NONE, QUIRKS, Access, AccessKind, Conditions, Prediction, Quirks, predict, quirks_of
from lab.paging.batch import Predictions, predict_many
from lab.x86 import CR0, CR3, CR4, EFER, RFLAGS, KeyRights, PagingState, PhysicalAddress, VirtualAddress

ROOT = 0x100_0000
FRAMES = (0x200_0000, 0x400_0000, 0x600_0000, 0x800_0000, 0xA00_0000)
TCG = quirks_of("tcg", "7.2.22")


def one(state: PagingState, entries: list[int], address: int, access: Access, quirks: Quirks) -> Prediction:
    """The prediction of one case, whose entries are laid out in memory where each leads to."""
    words, table = {}, ROOT
    for level, entry in zip(range(state.levels, 0, -1), entries, strict=True):
        words[table + 8 * (address >> 3 + 9 * level & 511)] = entry
        table = entry & 0x000F_FFFF_FFFF_F000
    return predict(MadeUpMemory.holding(words, size=1 << 52), state, VirtualAddress(address), access, quirks=quirks)


def assert_same(many: Predictions, row: int, single: Prediction, levels: int) -> None:
    """Row `row` of the columns says what the single prediction says."""
    assert many.vector[row] == (single.vector or 0)
    assert many.code[row] == (single.error_code or 0)
    assert {many.code[row], many.alternative[row]} == {single.error_code or 0, *single.alternatives}
    assert many.cr2[row] == (single.cr2 or 0)
    masks = [(int(update.must_set), int(update.may_set)) for update in single.updates]
    masks += [(0, 0)] * (levels - len(masks))
    assert list(zip(many.must_set[:, row].tolist(), many.may_set[:, row].tolist(), strict=True)) == masks
    if single.ok:
        assert many.physical[row] == single.physical


# ------------------------------------------------------------------------------------------------ random cases ----


def random_entry(random: Random, frame: int) -> int:
    """A pointer to `frame` that mostly lets accesses through, with some bits turned."""
    value = frame | 7
    for bit in (0, 7, 12, 13, 29, 51, 8, 40):
        value ^= (random.random() < 0.06) << bit
    for bit in (1, 2, 5, 6, 63):
        value ^= (random.random() < 0.3) << bit
    return value | random.getrandbits(4) << 59


def random_state(random: Random) -> PagingState:
    def flip() -> bool:
        return random.random() < 0.5

    names = ("la57", "smep", "smap", "pke", "pks", "cet")
    return PagingState(
        cr3=CR3(ROOT),
        cr0=CR0.from_names("PE", "PG").replace(wp=flip()),
        cr4=CR4.from_names("PAE").replace(**{name: flip() for name in names}),
        efer=EFER.from_names("LME", "LMA").replace(nxe=random.random() < 0.8),
        rflags=RFLAGS(2).replace(ac=flip()),
        pkru=KeyRights(random.getrandbits(32)),
        pkrs=KeyRights(random.getrandbits(32)),
        max_phys_bits=random.choice([36, 40, 52]),
        gib_pages=flip(),
        vendor=random.choice(["intel", "amd"]),
    )


def random_access(random: Random, state: PagingState) -> Access:
    kind = random.choice(list(AccessKind))
    if kind is AccessKind.FETCH:
        return Access(kind, user=random.random() < 0.5)
    flags = [random.random() < 0.4 for _ in range(3)]
    return Access(kind, *flags, shadow_stack=state.cr4.cet and random.random() < 0.3)


@settings(max_examples=50)
@given(st.integers(0, 2**64), st.sampled_from([NONE, TCG, *(frozenset([quirk]) for quirk in QUIRKS[:8])]))
def test_columns_say_what_single_predictions_say(seed: int, quirks: Quirks) -> None:
    """One state's CPU features, and all else different from row to row: control bits, access, entries, address."""
    random = Random(seed)  # noqa: S311
    base = random_state(random)
    rows = []
    for _ in range(40):
        drawn = random_state(random)
        state = replace(
            drawn,
            max_phys_bits=base.max_phys_bits,
            gib_pages=base.gib_pages,
            vendor=base.vendor,
            cr4=drawn.cr4.replace(la57=base.cr4.la57),
        )
        entries = [random_entry(random, frame) for frame in FRAMES[: state.levels]]
        address = random.choice([0, 0x7FFF_FFFF_F123, 1 << 47, random.getrandbits(64), random.getrandbits(47)])
        rows.append((state, entries, address, random_access(random, state)))
    many = predict_many(
        base,
        [np.array(column, np.uint64) for column in zip(*(row[1] for row in rows), strict=True)],
        np.array([Conditions.of(state, access) for state, _, _, access in rows], np.uint16),
        address=np.array([row[2] for row in rows], np.uint64),
        pkru=np.array([row[0].pkru for row in rows], np.uint32),
        pkrs=np.array([row[0].pkrs for row in rows], np.uint32),
        quirks=quirks,
    )
    for number, (state, entries, address, access) in enumerate(rows):
        assert_same(many, number, one(state, entries, address, access, quirks), state.levels)


# -------------------------------------------------------------------------------------------- exhaustive products ----

UPPER = (0x200_0007, 0x400_0007, 0x600_0007)
CONTROLS = [Conditions.wp, Conditions.nxe, Conditions.smep, Conditions.smap, Conditions.pke, Conditions.pks]
ACCESSES = [
    *(Access(kind, user=user) for kind in AccessKind for user in (False, True)),
    *(Access(kind, user=user, implicit=True) for kind in list(AccessKind)[:2] for user in (False, True)),
]


def every_case() -> tuple[np.ndarray, np.ndarray]:
    """All leaves of {P W U A D NX, a reserved bit, four keys} with all accesses under all control bits, and AC."""
    bits = [0, 1, 2, 5, 6, 51, 59, 60, 63]
    leaves = [
        sum(1 << bit for bit, on in zip(bits, row, strict=True) if on) for row in product((0, 1), repeat=len(bits))
    ]
    controls = [sum(bit.mask for bit, on in zip(CONTROLS, row, strict=True) if on) for row in product((0, 1), repeat=6)]
    plain = replace(PagingState(), cr0=CR0(0), efer=EFER(0), cr4=CR4(0))
    accesses = [Conditions.of(plain, access) | ac for access in ACCESSES for ac in (0, Conditions.ac.mask)]
    grid = np.array([a | b for a, b in product(controls, accesses)], np.uint16)
    leaf = np.repeat(np.array(leaves, np.uint64) | np.uint64(0x800_0000), len(grid))
    return leaf, np.tile(grid, len(leaves))


KEY_RIGHTS = 0b11_10_01_00
"""Key 0 allows all, 1 disables access, 2 writing, 3 both."""


def manual(leaf: int, conditions: int) -> tuple[int, int, int, int, int]:
    """Vector, code, other code, and what must and may be set in the leaf, as one reads the manual."""
    on = {bit.name for bit in Conditions.bits if conditions & bit.mask}
    kind = "write" if "WRITE" in on else "fetch" if "FETCH" in on else "read"
    user_mode = "CPL3" in on and "IMPLICIT" not in on
    code = (2 if kind == "write" else 0) | (4 if user_mode else 0)
    if kind == "fetch" and on & {"NXE", "SMEP"}:
        code |= 16
    if not leaf & 1:
        return 14, code, code, 0, 0
    if leaf >> 51 & 1 or (leaf >> 63 and "NXE" not in on):
        return 14, code | 9, code | 9, 0, 0
    code |= 1
    may = 0 if leaf & 0x20 else 0x20
    writable, user_page, no_execute = leaf & 2, leaf & 4, leaf >> 63
    rights = KEY_RIGHTS >> 2 * (leaf >> 59 & 3) & 3
    keyed = "PKE" in on if user_page else "PKS" in on
    by_key = (
        keyed and kind != "fetch" and (rights & 1 or (rights & 2 and kind == "write" and (user_mode or "WP" in on)))
    )
    if by_key:
        other = code if user_page or not user_mode else code & ~32
        return 14, code | 32, other if not user_page and user_mode else code | 32, 0, may
    if user_mode:
        allowed = user_page and (kind != "write" or writable) and (kind != "fetch" or not no_execute)
    elif kind == "fetch":
        allowed = not no_execute and not (user_page and "SMEP" in on)
    else:
        lifted = "AC" in on and "IMPLICIT" not in on
        allowed = not (user_page and "SMAP" in on and not lifted) and (kind == "read" or writable or "WP" not in on)
    if not allowed:
        return 14, code, code, 0, may
    must = may | (0 if kind != "write" or leaf & 0x40 else 0x40)
    return 0, 0, 0, must, 0


def test_every_case_is_as_the_manual_reads() -> None:
    """Half a million of them, by columns; the other reading is plain Python, a rule after the other."""
    leaf, conditions = every_case()
    found = predict_many(PagingState(), [*UPPER, leaf], conditions, pkru=KEY_RIGHTS, pkrs=KEY_RIGHTS)
    columns = found.vector, found.code, found.alternative, found.must_set[3], found.may_set[3]
    for row in zip(leaf.tolist(), conditions.tolist(), *(column.tolist() for column in columns), strict=True):
        assert row[2:] == manual(row[0], row[1]), (hex(row[0]), Conditions(row[1]).names())


@pytest.mark.parametrize("quirks", [NONE, TCG], ids=["strict", "tcg"])
def test_single_predictions_say_the_same(quirks: Quirks) -> None:
    """Every 151st of these cases, a prime number of them apart."""
    leaf, conditions = every_case()
    leaf, conditions = leaf[::151], conditions[::151]
    found = predict_many(PagingState(), [*UPPER, leaf], conditions, pkru=KEY_RIGHTS, pkrs=KEY_RIGHTS, quirks=quirks)
    words = {ROOT: UPPER[0], 0x200_0000: UPPER[1], 0x400_0000: UPPER[2]}
    memory = MadeUpMemory.holding(words)
    for row, (entry, word) in enumerate(zip(leaf.tolist(), conditions.tolist(), strict=True)):
        memory.write_u64(PhysicalAddress(0x600_0000), entry)
        state, access = unpacked(Conditions(word))
        assert_same(found, row, predict(memory, state, VirtualAddress(0), access, quirks=quirks), 4)


def unpacked(conditions: Conditions) -> tuple[PagingState, Access]:
    """The state and the access that the conditions were made from."""
    state = PagingState(
        cr3=CR3(ROOT),
        cr0=CR0.from_names("PE", "PG").replace(wp=conditions.wp),
        cr4=CR4.from_names("PAE").replace(
            smep=conditions.smep, smap=conditions.smap, pke=conditions.pke, pks=conditions.pks
        ),
        efer=EFER.from_names("LME", "LMA").replace(nxe=conditions.nxe),
        rflags=RFLAGS(2).replace(ac=conditions.ac),
        pkru=KeyRights(KEY_RIGHTS),
        pkrs=KeyRights(KEY_RIGHTS),
    )
    kind = AccessKind.WRITE if conditions.write else AccessKind.FETCH if conditions.fetch else AccessKind.READ
    return state, Access(kind, user=conditions.cpl3, implicit=conditions.implicit)


# ------------------------------------------------------------------------------------------- quirks hide nothing ----


def test_a_quirk_changes_no_more_than_its_sentence_says() -> None:
    leaf, conditions = every_case()
    strict = predict_many(PagingState(), [*UPPER, leaf], conditions, pkru=KEY_RIGHTS, pkrs=KEY_RIGHTS)
    for quirk in QUIRKS:
        found = predict_many(
            PagingState(),
            [*UPPER, leaf],
            conditions,
            pkru=KEY_RIGHTS,
            pkrs=KEY_RIGHTS,
            quirks=frozenset([quirk]),
        )
        differs = (found.vector != strict.vector) | (found.code != strict.code)
        differs |= (found.must_set != strict.must_set).any(0) | (found.may_set != strict.may_set).any(0)
        match quirk.name:
            case "rsvd-without-p":
                assert (differs == (strict.code & 8 != 0)).all()
                assert (found.code[differs] == strict.code[differs] ^ 1).all()
            case "no-pk-of-user-on-supervisor-page":
                assert (differs == (strict.alternative != strict.code)).all()
                assert (found.code[differs] == strict.alternative[differs]).all()
            case "ac-lifts-smap-of-implicit":
                lifted = conditions & (Conditions.implicit.mask | Conditions.ac.mask | Conditions.cpl3.mask)
                assert (lifted[differs] == Conditions.implicit.mask | Conditions.ac.mask).all()
                assert (conditions[differs] & Conditions.smap.mask != 0).all()
                assert differs.any()
            case _:
                assert not differs.any()


def test_early_a_of_a_gib_leaf_is_all_that_changes() -> None:
    """A reserved bit that is looked at in time (bit 51) keeps A clear with the quirk too; bit 13 does not."""
    leaves = np.array([0x87, 0x2087, 1 << 51 | 0x87, 0x83, 0xA7, 0x2086], np.uint64)
    condition = Conditions.of(PagingState(), Access(AccessKind.READ, user=True))
    quirks = frozenset(quirk for quirk in QUIRKS if quirk.name == "gib-leaf-accessed-early")
    found = predict_many(PagingState(), [0x200_0007, leaves, 0, 0], condition, quirks=quirks)
    assert found.vector.tolist() == [0, 14, 14, 14, 0, 14]
    assert found.must_set[1].tolist() == [0x20, 0x20, 0, 0x20, 0, 0]
    assert found.may_set[1].tolist() == [0] * 6


# ---------------------------------------------------------------------------------------------------- the columns ----


def test_what_a_cpu_did_is_accepted_or_not() -> None:
    condition = [Conditions.of(PagingState(), Access(kind)) for kind in AccessKind]
    before = [*UPPER, 0x800_0005]
    found = predict_many(PagingState(), before, condition)
    assert len(found) == 3
    assert found.accept([0, 14, 0], [0x99, 3, 0]).tolist() == [True, True, True]
    assert found.accept([0, 14, 14], [0, 2, 0]).tolist() == [True, False, False]
    after = [[entry | 0x20] * 3 for entry in before]
    assert found.accept_entries(before, after).tolist() == [True, True, True]
    assert found.accept_entries(before, before).tolist() == [False, True, False]
    after[3] = [entry | 0x40 for entry in after[3]]
    assert found.accept_entries(before, after).tolist() == [False, False, False]


def test_columns_must_fit_together() -> None:
    with pytest.raises(UsageError, match="4-level paging has 4 levels, but entries of 3 are given"):
        predict_many(PagingState(), [1, 2, 3], 0)
    with pytest.raises(UsageError, match="these have 2, 3"):
        predict_many(PagingState(), [[1, 2], [1, 2, 3], 0, 0], 0)
    with pytest.raises(UsageError, match=r"while CR4\.CET is 0"):
        predict_many(PagingState(), [0, 0, 0, 0], Conditions.shadow_stack.mask)
    assert len(predict_many(PagingState(), [np.empty(0, np.uint64), 0, 0, 0], 0)) == 0


def test_32_bit_tables_are_judged_in_columns_too() -> None:
    state = PagingState(cr4=CR4.from_names("PSE"), efer=EFER(0), max_phys_bits=36)
    found = predict_many(state, [[0x83, 0x2003, 0x2_2083], [0, 0x5003, 0]], 0, address=0x12_3456)
    assert found.vector.tolist() == [0, 0, 14]
    assert [hex(place) for place in found.physical.tolist()] == ["0x123456", "0x5456", "0x0"]
