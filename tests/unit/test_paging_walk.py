"""The walk, on tables written by hand: each entry is a literal, with what it means beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.errors import NotMapped, UsageError
from lab.memory import MadeUpMemory, MadeUpSpace
from lab.paging import Fault, FaultKind, Mapped, Walk, translate, walk
from lab.x86 import CR0, CR3, CR4, EFER, PAT, RFLAGS, Level, PagingState, PhysicalAddress, VirtualAddress

VA = VirtualAddress
NX = 1 << 63

ROOT = CR3(0x1AA000)
FOUR = PagingState(cr3=ROOT)
FIVE = PagingState(cr3=ROOT, cr4=CR4.from_names("PAE", "PGE", "LA57"))


def walked(words: dict[int, int], address: int, state: PagingState = FOUR) -> Walk:
    return walk(MadeUpMemory.holding(words), state, VA(address))


def with_cr4(*names: str) -> PagingState:
    return replace(FOUR, cr4=CR4.from_names("PAE", "PGE", *names))


# ------------------------------------------------------------------------------------------------ the grammar ----


def test_a_kernel_page_in_full() -> None:
    words = {
        0x1AAF88: 0x0000_0000_001A_B063,  # PML4 slot 1f1: table 1ab000, P W A (bit 6 is ignored)
        0x1AB000: 0x0000_0000_001A_C063,  # PDPT slot 0: table 1ac000
        0x1AC000: 0x0000_0000_001A_D063,  # PD slot 0: table 1ad000
        0x1AD020: 0x8000_0000_0012_A163,  # PT slot 4: frame 12a, P W A D G NX
    }
    assert walked(words, 0xFFFF_F880_0000_4010).lines() == [
        "walk 0xfffff88000004010 by cr3 pa:0x00001aa000",
        "  PML4 [1f1] @ pa:0x00001aaf88 = 0x00000000001ab063  P W A",
        "  PDPT [000] @ pa:0x00001ab000 = 0x00000000001ac063  P W A",
        "  PD   [000] @ pa:0x00001ac000 = 0x00000000001ad063  P W A",
        "  PT   [004] @ pa:0x00001ad020 = 0x800000000012a163  P W A D G NX",
        "  => pa:0x000012a010  4 KiB  WB  supervisor rw-  user ---",
        "  denied: execute by PT bit 63 (NX)",
        "  denied: user by PML4 bit 2 (U)",
    ]


def test_five_levels_in_full() -> None:
    words = {
        0x1AA880: 0x0000_0000_001A_B027,  # PML5 slot 110 (bit 56 set: upper half): table 1ab000, P W U A
        0x1AB008: 0x0000_0000_001A_C007,  # PML4 slot 1
        0x1AC010: 0x0000_0000_001A_D005,  # PDPT slot 2: read only
        0x1AD018: 0x8000_0000_001A_E007,  # PD slot 3: NX
        0x1AE020: 0x0000_0000_0012_A07F,  # PT slot 4: frame 12a, P W U PWT PCD A D
    }
    # 110 << 48 | 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 567, bits 63:57 as bit 56
    assert walked(words, 0xFF10_0080_8060_4567, FIVE).lines() == [
        "walk 0xff10008080604567 by cr3 pa:0x00001aa000",
        "  PML5 [110] @ pa:0x00001aa880 = 0x00000000001ab027  P W U A",
        "  PML4 [001] @ pa:0x00001ab008 = 0x00000000001ac007  P W U",
        "  PDPT [002] @ pa:0x00001ac010 = 0x00000000001ad005  P U",
        "  PD   [003] @ pa:0x00001ad018 = 0x80000000001ae007  P W U NX",
        "  PT   [004] @ pa:0x00001ae020 = 0x000000000012a07f  P W U PWT PCD A D",
        "  => pa:0x000012a567  4 KiB  UC  supervisor r--  user r--",
        "  denied: write by PDPT bit 1 (W)",
        "  denied: execute by PD bit 63 (NX)",
    ]


def test_what_is_denied_by_control_registers_is_said_so() -> None:
    words = {
        0x1AA000: 0x1AB007,
        0x1AB000: 0x1AC007,
        0x1AC000: 0x1AD007,
        0x1AD000: 0x12A005,  # a read-only user page that may be executed
    }
    assert walked(words, 0x10, with_cr4("SMEP", "SMAP")).lines()[-4:] == [
        "  => pa:0x000012a010  4 KiB  WB  supervisor ---  user r-x",
        "  denied: read by SMAP (CR4 bit 21): user page",
        "  denied: write by PT bit 1 (W)",
        "  denied: execute by SMEP (CR4 bit 20): user page",
    ]


def test_a_missing_entry_ends_the_walk_and_its_other_bits_are_not_named() -> None:
    words = {0x1AAF88: 0x1AB063, 0x1AB000: 0xFFFF_FFFF_FFFF_FFFE}  # all bits but P: nothing is reserved in it
    assert walked(words, 0xFFFF_F880_0000_0000).lines() == [
        "walk 0xfffff88000000000 by cr3 pa:0x00001aa000",
        "  PML4 [1f1] @ pa:0x00001aaf88 = 0x00000000001ab063  P W A",
        "  PDPT [000] @ pa:0x00001ab000 = 0xfffffffffffffffe",
        "  => fault: PDPT bit 0 (P) is 0: not present",
    ]


def test_a_protection_key_is_named_on_the_leaf_when_keys_are_on() -> None:
    words = {
        0x1AA000: 0x7800_0000_001A_B007,  # bits 62:59 are ignored above the leaf
        0x1AB000: 0x1AC007,
        0x1AC000: 0x2800_0000_0020_0087,  # 2 MiB leaf, key 5
    }
    found = walked(words, 0, with_cr4("PKE"))
    assert [str(step).rsplit("  ", 1)[1] for step in found.steps] == ["P W U", "P W U", "P W U PS K5"]
    assert found.mapped.protection_key == 5
    assert walked(words, 0).mapped.protection_key is None
    assert walked(words, 0).steps[2].flags == ("P", "W", "U", "PS")


# --------------------------------------------------------------------------------------- leaves of every size ----


def test_a_1_gib_leaf() -> None:
    words = {
        0x1AA000: 0x1AB003,
        0x1AB010: 0x0000_0000_C000_01E3,  # PDPT slot 2: P W A D PS G, physical c0000000
    }
    found = walked(words, 0xBFED_CBA9)
    assert found.lines()[2:4] == [
        "  PDPT [002] @ pa:0x00001ab010 = 0x00000000c00001e3  P W A D PS G",
        "  => pa:0x00ffedcba9  1 GiB  WB  supervisor rwx  user ---",
    ]
    assert (found.mapped.page_size, found.mapped.is_global) == (1 << 30, True)
    assert found.leaf == found.steps[1]
    assert found.leaf.table == 0x1AB000


def test_a_2_mib_leaf_and_its_pat_bit() -> None:
    words = {
        0x1AA000: 0x1AB003,
        0x1AB000: 0x1AC003,
        0x1AC008: 0x0000_0000_0060_1083,  # PD slot 1: PS, and bit 12 is PAT, not address
    }
    state = replace(FOUR, pat=PAT(0x0007_0401_0007_0406))  # index 4 (PAT=1, PCD=PWT=0) is WC
    assert walked(words, 0x2F_FFFF, state).lines()[3:5] == [
        "  PD   [001] @ pa:0x00001ac008 = 0x0000000000601083  P W PS PAT",
        "  => pa:0x00006fffff  2 MiB  WC  supervisor rwx  user ---",
    ]


@pytest.mark.parametrize("level", [Level.PT, Level.PD, Level.PDPT])
@pytest.mark.parametrize("index", range(8))
def test_each_pat_index_on_each_size_of_leaf(level: Level, index: int) -> None:
    state = replace(FOUR, pat=PAT(0x0007_0405_0601_0400 | 7 << 56 | 5 << 32))
    space = MadeUpSpace(state=state)
    space.map(0, 0, size=level.page_size, write_through=index & 1, cache_disable=index >> 1 & 1)
    high = "pat" if level == Level.PT else "pat_large"
    space.raw(level, 0, space.entry(level, 0).replace(**{high: index >> 2}))
    assert walk(space.memory, space.state, VA(0)).mapped.memory_type is state.pat[index]


def test_page_table_entries_use_bit_7_as_pat_and_bit_12_as_address() -> None:
    space = MadeUpSpace(state=replace(FOUR, pat=PAT(0x0007_0401_0007_0406)))
    space.map(0x1000, 0x5000, pat=True)
    mapped = walk(space.memory, space.state, VA(0x1000)).mapped
    assert (mapped.page_size, mapped.physical, str(mapped.memory_type)) == (4096, 0x5000, "WC")


def test_global_needs_both_the_leaf_and_cr4() -> None:
    space = MadeUpSpace()
    space.map(0, 0, global_=True)
    for pge in (True, False):
        state = replace(space.state, cr4=space.state.cr4.replace(pge=pge))
        assert walk(space.memory, state, VA(0)).mapped.is_global is pge


# ------------------------------------------------------------------------------------------------------ rights ----


@pytest.mark.parametrize(("levels", "level"), [(levels, level) for levels in (4, 5) for level in range(levels, 0, -1)])
@pytest.mark.parametrize(
    ("bit", "supervisor", "user", "sentence"),
    [
        ("writable", "r-x", "r-x", "write by {} bit 1 (W)"),
        ("user", "rwx", "---", "user by {} bit 2 (U)"),
        ("no_execute", "rw-", "rw-", "execute by {} bit 63 (NX)"),
    ],
)
def test_one_bit_at_any_level_decides(
    levels: int, level: int, bit: str, supervisor: str, user: str, sentence: str
) -> None:
    space = MadeUpSpace(levels)
    space.map(0x1000, 0x5000, "rwx", user=True)
    whole = walk(space.memory, space.state, VA(0x1000)).mapped
    assert (str(whole.supervisor), str(whole.user), whole.denials) == ("rwx", "rwx", ())
    entry = space.entry(Level(level), 0x1000)
    space.raw(Level(level), 0x1000, entry.replace(**{bit: bit == "no_execute"}))
    mapped = walk(space.memory, space.state, VA(0x1000)).mapped
    assert (str(mapped.supervisor), str(mapped.user)) == (supervisor, user)
    assert [str(denial) for denial in mapped.denials] == [sentence.format(Level(level))]


def test_the_topmost_level_is_named_where_several_forbid() -> None:
    space = MadeUpSpace()
    space.map(0x1000, 0x5000, "r--", upper_rights={Level.PML4: "rw-", Level.PDPT: "r-xu", Level.PD: "r--"})
    denied = walk(space.memory, space.state, VA(0x1000)).mapped.denials
    assert [(denial.access, denial.level) for denial in denied] == [
        ("write", Level.PDPT),
        ("execute", Level.PML4),
        ("user", Level.PML4),
    ]


RW, RX, RWX, R, X, NONE = "rw-", "r-x", "rwx", "r--", "--x", "---"


@pytest.mark.parametrize(
    ("page", "wp", "smep", "smap", "supervisor", "user"),
    [
        # a supervisor page: only WP matters
        ("r-x", True, True, True, RX, NONE),
        ("r-x", False, True, True, RWX, NONE),
        ("r--", False, False, False, RW, NONE),
        ("rw-", True, True, True, RW, NONE),
        # a user page: SMEP takes execution, SMAP takes reads and writes from the supervisor only
        ("rwxu", True, False, False, RWX, RWX),
        ("rwxu", True, True, False, RW, RWX),
        ("rwxu", True, False, True, X, RWX),
        ("rwxu", True, True, True, NONE, RWX),
        ("r-xu", True, False, False, RX, RX),
        ("r-xu", False, False, False, RWX, RX),  # WP=0 does not help user mode
        ("r-xu", False, True, True, NONE, RX),  # nor the supervisor against SMEP and SMAP
        ("rw-u", False, False, True, NONE, RW),
        ("r--u", False, True, False, RW, R),
    ],
)
def test_control_registers_over_rights(page: str, wp: bool, smep: bool, smap: bool, supervisor: str, user: str) -> None:
    space = MadeUpSpace()
    space.map(0x1000, 0x5000, page[:3], user=page.endswith("u"))
    state = replace(
        space.state,
        cr0=space.state.cr0.replace(wp=wp),
        cr4=space.state.cr4.replace(smep=smep, smap=smap),
        rflags=RFLAGS.from_names("AC"),  # the letters are those for AC=0 whatever AC is now
    )
    mapped = walk(space.memory, state, VA(0x1000)).mapped
    assert (str(mapped.supervisor), str(mapped.user)) == (supervisor, user)


def test_without_wp_no_write_is_denied() -> None:
    space = MadeUpSpace(state=replace(FOUR, cr0=CR0.from_names("PE", "PG")))
    space.map(0x1000, 0x5000, "r-x", user=True)
    mapped = walk(space.memory, space.state, VA(0x1000)).mapped
    assert (mapped.denials, str(mapped.user)) == ((), "r-x")


def test_nx_is_named_before_smep() -> None:
    space = MadeUpSpace(state=with_cr4("SMEP"))
    space.map(0x1000, 0x5000, "rw-", user=True)
    denied = walk(space.memory, space.state, VA(0x1000)).mapped.denials
    assert [str(denial) for denial in denied] == ["execute by PT bit 63 (NX)"]


# ---------------------------------------------------------------------------------------------- reserved bits ----

FOUR_LEVEL_PATH = {0x1AA000: 0x1AB007, 0x1AB000: 0x1AC007, 0x1AC000: 0x1AD007, 0x1AD000: 0x12A007}
FIVE_LEVEL_PATH = {0x1A9000: 0x1AA007, **FOUR_LEVEL_PATH}
NO_NX = EFER.from_names("LME", "LMA")


@pytest.mark.parametrize(
    ("address", "extra", "state", "sentence"),
    [
        (0x1AA000, 1 << 40, {}, "PML4 bit 40 is reserved (51:40 must be 0)"),
        (0x1AB000, 1 << 51, {}, "PDPT bit 51 is reserved (51:40 must be 0)"),
        (0x1AC000, 1 << 45, {}, "PD bit 45 is reserved (51:40 must be 0)"),
        (0x1AD000, 0xFFF << 40, {}, "PT bit 40 is reserved (51:40 must be 0)"),
        (0x1AD000, 1 << 36, {"max_phys_bits": 36}, "PT bit 36 is reserved (51:36 must be 0)"),
        (0x1AD000, 1 << 51, {"max_phys_bits": 51}, "PT bit 51 is reserved (51:51 must be 0)"),
        (0x1AA000, NX, {"efer": NO_NX}, "PML4 bit 63 is reserved (XD needs EFER.NXE)"),
        (0x1AD000, NX, {"efer": NO_NX}, "PT bit 63 is reserved (XD needs EFER.NXE)"),
        (0x1AC000, NX | 1 << 40, {"efer": NO_NX}, "PD bit 40 is reserved (51:40 must be 0)"),
        (0x1AA000, 1 << 7, {}, "PML4 bit 7 is reserved (PS must be 0 here)"),
        (0x1AA000, 1 << 7 | 1 << 51, {}, "PML4 bit 7 is reserved (PS must be 0 here)"),
        (0x1AB000, 1 << 7, {"gib_pages": False}, "PDPT bit 7 is reserved (PS must be 0 here)"),
        (0x1AA000, 1 << 8, {"vendor": "amd"}, "PML4 bit 8 is reserved (must be 0 here on AMD)"),
        # 0x1ac000 and 0x1ad000 as addresses of large pages: their low bits are reserved there
        (0x1AB000, 1 << 7, {}, "PDPT bit 14 is reserved (29:13 must be 0 in a 1 GiB leaf)"),
        (0x1AC000, 1 << 7, {}, "PD bit 14 is reserved (20:13 must be 0 in a 2 MiB leaf)"),
    ],
)
def test_each_reserved_bit_rule(address: int, extra: int, state: dict[str, object], sentence: str) -> None:
    words = {**FOUR_LEVEL_PATH, address: FOUR_LEVEL_PATH[address] | extra}
    found = walked(words, 0, replace(FOUR, **state))  # type: ignore[arg-type]  # fields chosen by the table above
    assert found.lines()[-1] == f"  => fault: {sentence}"
    assert isinstance(found.outcome, Fault)
    assert (found.outcome.kind, found.outcome.level) == (FaultKind.RESERVED, found.steps[-1].level)
    assert found.steps[-1].entry_address == address


@pytest.mark.parametrize(("low", "high", "size"), [(13, 29, 1 << 30), (13, 20, 1 << 21)])
def test_every_low_bit_of_a_large_leaf_is_reserved_but_pat(low: int, high: int, size: int) -> None:
    for bit in range(12, high + 2):
        space = MadeUpSpace()
        space.map(0, 1 << bit, size=size)
        outcome = walk(space.memory, space.state, VA(0)).outcome
        if low <= bit <= high:
            assert isinstance(outcome, Fault)
            assert outcome.bit == bit
            assert outcome.reason == f"reserved ({high}:13 must be 0 in a {'1 GiB' if high == 29 else '2 MiB'} leaf)"
        else:
            assert isinstance(outcome, Mapped)


@pytest.mark.parametrize("extra", [1 << 7, 1 << 8])
def test_a_pml5_entry_has_the_rules_of_a_pml4_entry(extra: int) -> None:
    words = {**FIVE_LEVEL_PATH, 0x1A9000: 0x1AA007 | extra}
    for vendor in ("intel", "amd"):
        state = replace(FIVE, cr3=CR3(0x1A9000), vendor=vendor)
        is_reserved = extra == 1 << 7 or vendor == "amd"
        assert walked(words, 0, state).is_mapped is not is_reserved


@pytest.mark.parametrize(
    ("address", "extra"),
    [
        (0x1AA000, 0x7FF << 52),  # ignored above bit 51 ...
        (0x1AA000, 0xF << 8),  # ... and bits 11:8 of every level
        (0x1AB000, 1 << 6 | 1 << 8),
        (0x1AC000, 1 << 6 | 1 << 8),
        (0x1AD000, 0x7FF << 52 | 0xE00 | 1 << 7),
        (0x1AD000, 1 << 39),  # the highest address bit of this CPU
    ],
)
def test_what_is_not_reserved(address: int, extra: int) -> None:
    words = {**FOUR_LEVEL_PATH, address: FOUR_LEVEL_PATH[address] | extra}
    assert walked(words, 0).is_mapped


def test_with_52_address_bits_none_is_reserved() -> None:
    words = {**FOUR_LEVEL_PATH, 0x1AD000: 0x000F_FFFF_FFFF_F007}
    assert walked(words, 0xABC, replace(FOUR, max_phys_bits=52)).mapped.physical == 0x000F_FFFF_FFFF_FABC


def test_the_first_entry_that_is_wrong_ends_the_walk() -> None:
    """Top-down, and per entry: present, then reserved; rights wait until there is a translation."""
    not_present_below = {**FOUR_LEVEL_PATH, 0x1AA000: 0x1AB001, 0x1AC000: 0}
    assert "PD bit 0" in walked(not_present_below, 0).lines()[-1]
    reserved_above = {**FOUR_LEVEL_PATH, 0x1AB000: FOUR_LEVEL_PATH[0x1AB000] | 1 << 50, 0x1AC000: 0}
    assert "PDPT bit 50" in walked(reserved_above, 0).lines()[-1]
    reserved_but_absent = {**FOUR_LEVEL_PATH, 0x1AC000: 1 << 50}
    assert "PD bit 0" in walked(reserved_but_absent, 0).lines()[-1]


# -------------------------------------------------------------------------------- canonical, circles, no memory ----


@pytest.mark.parametrize(
    ("address", "state", "low_bit"),
    [
        (0x0000_8000_0000_0000, FOUR, 47),
        (0xFFFF_7FFF_FFFF_FFFF, FOUR, 47),
        (0x0100_0000_0000_0000, FIVE, 56),
        (0xFEFF_FFFF_FFFF_FFFF, FIVE, 56),
    ],
)
def test_an_address_that_is_not_canonical_is_not_walked(address: int, state: PagingState, low_bit: int) -> None:
    found = walked(FOUR_LEVEL_PATH, address, state)
    assert found.lines() == [
        f"walk {address:#018x} by cr3 pa:0x00001aa000",
        f"  => fault: not canonical: bits 63:{low_bit} differ",
    ]
    assert found.outcome == Fault(None, None, f"not canonical: bits 63:{low_bit} differ", FaultKind.NOT_CANONICAL)


@pytest.mark.parametrize("address", [0x7FFF_FFFF_FFFF, 0xFFFF_8000_0000_0000, 2**64 - 1])
def test_the_last_canonical_addresses_are_walked(address: int) -> None:
    assert len(walked({0x1AA000: 0}, address).steps) == 1


def test_the_self_map_shows_each_table_as_a_page() -> None:
    words = {
        0x1AAF68: 0x8000_0000_001A_A063,  # PML4 slot 1ed: the PML4 itself
        0x1AAF88: 0x1AB063,
        0x1AB000: 0x1AC063,
        0x1AC000: 0x1AD063,
        0x1AD020: 0x12A163,
    }
    memory = MadeUpMemory.holding(words)
    pxe = walk(memory, FOUR, VA(0xFFFF_F6FB_7DBE_DF68))  # where Windows sees the self entry
    assert [step.entry_address for step in pxe.steps] == [0x1AAF68] * 4
    assert pxe.mapped.physical == 0x1AAF68
    pte = walk(memory, FOUR, VA(0xFFFF_F680_0000_0000 + (0xF880_0000_4010 >> 12) * 8))
    assert pte.mapped.physical == 0x1AD020


def test_a_table_that_points_to_itself_everywhere_ends_like_any_other() -> None:
    memory = MadeUpMemory()
    for index in range(512):
        memory.write_u64(PhysicalAddress(0x1AA000 + 8 * index), 0x1AA007)
    found = walk(memory, FIVE, VA(0xFF12_3456_789A_BCDE))
    assert len(found.steps) == 5
    assert found.mapped.physical == 0x1AACDE


def test_a_table_outside_of_ram_ends_the_walk_with_the_steps_so_far() -> None:
    memory = MadeUpMemory.holding({0x1AA000: 0x1AB007, 0x1AB000: 0x7F_0000_0007}, size=16 << 20)
    assert walk(memory, FOUR, VA(0)).lines()[1:] == [
        "  PML4 [000] @ pa:0x00001aa000 = 0x00000000001ab007  P W U",
        "  PDPT [000] @ pa:0x00001ab000 = 0x0000007f00000007  P W U",
        "  => fault: PD table at pa:0x7f00000000 is outside of RAM",
    ]
    lost = walk(memory, FOUR, VA(0), root=PhysicalAddress(0x10_0000_0000))
    assert lost.lines()[1:] == ["  => fault: PML4 table at pa:0x1000000000 is outside of RAM"]


def test_a_frame_outside_of_ram_is_mapped_all_the_same() -> None:
    words = {**FOUR_LEVEL_PATH, 0x1AD000: 0xFE_E000_0003}
    memory = MadeUpMemory.holding(words, size=16 << 20)
    assert walk(memory, FOUR, VA(0x123)).mapped.physical == 0xFE_E000_0123


# ---------------------------------------------------------------------------------------------------- the rest ----


def test_another_root_may_be_walked() -> None:
    space = MadeUpSpace()
    space.map(0x1000, 0x5000)
    elsewhere = replace(space.state, cr3=CR3(0))
    assert not walk(space.memory, elsewhere, VA(0x1000)).is_mapped
    found = walk(space.memory, elsewhere, VA(0x1000), space.root)
    assert (found.root, found.mapped.physical) == (space.root, 0x5000)


def test_translate_gives_the_address_or_says_what_is_missing() -> None:
    space = MadeUpSpace()
    space.map(0x1000, 0x5000)
    assert translate(space.memory, space.state, VA(0x1234)) == PhysicalAddress(0x5234)
    with pytest.raises(NotMapped, match=r"0x0000000000002000 is not mapped: PT bit 0 \(P\) is 0"):
        translate(space.memory, space.state, VA(0x2000))
    assert walk(space.memory, space.state, VA(0x2000)).leaf is None


def test_without_paging_there_is_no_walk() -> None:
    with pytest.raises(UsageError, match="paging is off here"):
        walk(MadeUpMemory(), PagingState(cr0=CR0.from_names("PE")), VA(0))
