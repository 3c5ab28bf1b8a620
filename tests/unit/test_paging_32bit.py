"""Tables of 32-bit and PAE paging, by hand: narrow entries, 4 MiB pages, and the four entries that CR3 names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.memory import MadeUpMemory
from lab.paging import (
    Access,
    AccessKind,
    Kind,
    Walk,
    aliases_of,
    leaves,
    map_space,
    predict,
    tables,
    walk,
)
from lab.paging.virtual import VirtualMemory
from lab.x86 import CR0, CR3, CR4, EFER, Level, PagingState, PhysicalAddress, VirtualAddress

NX = 1 << 63
READ, WRITE, FETCH = map(Access, AccessKind)

NARROW = PagingState(cr3=CR3(0x1018), cr4=CR4.from_names("PSE", "PGE"), efer=EFER(0), max_phys_bits=36)
"""32-bit paging; the low bits of CR3 are PWT and PCD."""
PAE = PagingState(cr3=CR3(0x1020), cr4=CR4.from_names("PAE", "PGE"), efer=EFER.from_names("NXE"), max_phys_bits=36)
"""PAE paging; its root is 32 bytes long and need not start a page."""


def narrow(words: dict[int, int]) -> MadeUpMemory:
    """Memory that holds four-byte entries."""
    memory = MadeUpMemory()
    for address, value in words.items():
        memory.write(PhysicalAddress(address), value.to_bytes(4, "little"))
    return memory


def walked(memory: MadeUpMemory, state: PagingState, address: int) -> Walk:
    return walk(memory, state, VirtualAddress(address))


# ----------------------------------------------------------------------------------------------------- 32-bit ----


def test_a_narrow_walk_in_full() -> None:
    memory = narrow(
        {
            0x1BFC: 0x0000_2067,  # PD slot 2ff: table 2000, P W U A D(ignored)
            0x2FFC: 0x0012_A165,  # PT slot 3ff: frame 12a, P U A D G: read-only
        }
    )
    assert walked(memory, NARROW, 0xBFFF_F010).lines() == [
        "walk 0x00000000bffff010 by cr3 pa:0x0000001000",
        "  PD   [2ff] @ pa:0x0000001bfc = 0x00002067  P W U A",
        "  PT   [3ff] @ pa:0x0000002ffc = 0x0012a165  P U A D G",
        "  => pa:0x000012a010  4 KiB  WB  supervisor r-x  user r-x",
        "  denied: write by PT bit 1 (W)",
    ]


def test_a_4_mib_page_may_lie_above_4_gib() -> None:
    memory = narrow({0x1004: 0x0080_0000 | 0x0001_2000 | 0xE3})  # PD slot 1: bits 16:13 are 9: 0x9_0080_0000
    found = walked(memory, NARROW, 0x0076_5432)
    assert (found.mapped.physical, found.mapped.page_size) == (0x9_00B6_5432, 4 << 20)
    assert str(found.steps[0]) == "PD   [001] @ pa:0x0000001004 = 0x008120e3  P W A D PS"


@pytest.mark.parametrize(
    ("bits", "bit", "text"),
    [
        (36, 17, "PD bit 17 is reserved (21:17 must be 0 in a 4 MiB leaf)"),
        (36, 21, "PD bit 21 is reserved (21:17 must be 0 in a 4 MiB leaf)"),
        (32, 13, "PD bit 13 is reserved (21:13 must be 0 in a 4 MiB leaf)"),
        (52, 21, "PD bit 21 is reserved (21:21 must be 0 in a 4 MiB leaf)"),
    ],
)
def test_reserved_bits_of_a_4_mib_page(bits: int, bit: int, text: str) -> None:
    state = replace(NARROW, max_phys_bits=bits)
    assert str(walked(narrow({0x1000: 0x83 | 1 << bit}), state, 0).outcome) == text


def test_without_pse_bit_7_means_nothing() -> None:
    memory = narrow({0x1000: 0x2083, 0x2000: 0x0012_A003})
    state = replace(NARROW, cr4=CR4(0))
    assert walked(memory, state, 0).mapped.physical == 0x12A000


def test_narrow_entries_have_no_bit_that_forbids_execution() -> None:
    memory = narrow({0x1000: 0x2003, 0x2000: 0x0012_A003})
    state = replace(NARROW, efer=EFER.from_names("NXE"))
    found = predict(memory, state, VirtualAddress(0x1000), FETCH)
    assert found.fault == "#PF(0)"  # slot 1 is empty; NXE without PAE does not count, so I/D is 0
    assert (
        predict(memory, replace(state, cr4=CR4.from_names("SMEP")), VirtualAddress(0x1000), FETCH).fault == "#PF(I/D)"
    )


def test_32_bits_are_all_there_is() -> None:
    found = walked(narrow({}), NARROW, 1 << 32)
    assert str(found.outcome) == "no address here: 32-bit paging translates 32 bits"
    assert walked(narrow({}), NARROW, 0xFFFF_FFFF).steps[0].index == 0x3FF


# -------------------------------------------------------------------------------------------------------- PAE ----


def test_a_pae_walk_in_full() -> None:
    words = {
        0x1038: 0x0000_0000_0000_2001,  # PDPT slot 3: table 2000; it has neither W nor U, and forbids nothing
        0x2020: 0x0000_0000_0000_3067,  # PD slot 4
        0x3008: NX | 0x1_2345_6067,  # PT slot 1: a frame above 4 GiB
    }
    found = walked(MadeUpMemory.holding(words), PAE, 0xC080_1234)
    assert found.lines() == [
        "walk 0x00000000c0801234 by cr3 pa:0x0000001020",
        "  PDPT [003] @ pa:0x0000001038 = 0x0000000000002001  P",
        "  PD   [004] @ pa:0x0000002020 = 0x0000000000003067  P W U A",
        "  PT   [001] @ pa:0x0000003008 = 0x8000000123456067  P W U A D NX",
        "  => pa:0x0123456234  4 KiB  WB  supervisor rw-  user rw-",
        "  denied: execute by PT bit 63 (NX)",
    ]
    assert [step.table for step in found.steps] == [0x1020, 0x2000, 0x3000]


@pytest.mark.parametrize(
    ("address", "entry", "text"),
    [
        (0x1020, 1 << 36 | 0x2001, "PDPT bit 36 is reserved (63:36 must be 0 in an entry that CR3 names)"),
        (0x1020, NX | 0x2001, "PDPT bit 63 is reserved (63:36 must be 0 in an entry that CR3 names)"),
        (0x2000, 1 << 52 | 0x3003, "PD bit 52 is reserved (62:36 must be 0)"),
        (0x2000, 0x2083, "PD bit 13 is reserved (20:13 must be 0 in a 2 MiB leaf)"),
        (0x3000, 1 << 62 | 0x5003, "PT bit 62 is reserved (62:36 must be 0)"),
        (0x3000, 0x5002, "PT bit 0 (P) is 0: not present"),
    ],
)
def test_reserved_bits_of_pae(address: int, entry: int, text: str) -> None:
    words = {0x1020: 0x2001, 0x2000: 0x3003, 0x3000: 0x5003} | {address: entry}
    assert str(walked(MadeUpMemory.holding(words), PAE, 0).outcome) == text


def test_bit_63_is_reserved_in_pae_without_nxe() -> None:
    words = {0x1020: 0x2001, 0x2000: 0x3003, 0x3000: NX | 0x5003}
    state = replace(PAE, efer=EFER(0))
    assert str(walked(MadeUpMemory.holding(words), state, 0).outcome) == "PT bit 63 is reserved (XD needs EFER.NXE)"


# -------------------------------------------------------------------------------- predictions, maps and the rest ----


def test_the_cpu_notes_nothing_in_the_entries_that_cr3_names() -> None:
    words = {0x1020: 0x2001, 0x2000: 0x3007, 0x3000: 0x5007}
    found = predict(MadeUpMemory.holding(words), PAE, VirtualAddress(0), WRITE)
    assert [(str(update.level), hex(update.must_set)) for update in found.updates] == [
        ("PDPT", "0x0"),
        ("PD", "0x20"),
        ("PT", "0x60"),
    ]


def test_a_narrow_write_to_a_read_only_page() -> None:
    memory = narrow({0x1000: 0x2005, 0x2000: 0x5007})
    found = predict(memory, NARROW, VirtualAddress(0), WRITE)
    assert (str(found), found.fault) == ("write faults: PD bit 1 (W) is 0 and CR0.WP is 1", "#PF(P|W)")
    assert predict(memory, replace(NARROW, cr0=CR0.from_names("PG")), VirtualAddress(0), WRITE).ok


def test_keys_are_not_for_32_bits() -> None:
    words = {0x1020: 0x2001, 0x2000: 0x3007, 0x3000: 0x5007}
    state = replace(PAE, cr4=CR4.from_names("PAE", "PKE"))
    assert walked(MadeUpMemory.holding(words), state, 0).mapped.protection_key is None


def test_the_map_of_a_narrow_space() -> None:
    memory = narrow(
        {
            0x1000: 0x2067,
            0x1004: 0x0040_00E7,  # 4 MiB at 4 MiB
            0x1008: 0x0080_00E7,  # and goes on
            0x1FFC: 0x1067,  # a self map in the last slot
            0x2004: 0x0012_A067,
            0x2008: 0x0012_B067,
        }
    )
    rows = [
        (int(row.start), int(row.end), int(row.physical), row.page_size, row.kind) for row in map_space(memory, NARROW)
    ]
    assert rows == [
        (0x1000, 0x3000, 0x12A000, 4096, Kind.PAGE),
        (0x40_0000, 0xC0_0000, 0x40_0000, 4 << 20, Kind.PAGE),
        (0xFFC0_0000, 0x1_0000_0000, 0x1000, 4 << 20, Kind.SELF_MAP),
    ]
    assert [int(row.entry_address) for row in leaves(memory, NARROW) if row.entry_address][:2] == [0x2004, 0x2008]
    assert {int(table): info.levels for table, info in tables(memory, NARROW).items()} == {
        0x1000: (Level.PD,),
        0x2000: (Level.PT,),
    }
    found = aliases_of(memory, NARROW, PhysicalAddress(0x12A010))
    assert [int(alias.address) for alias in found.aliases] == [0x1010]
    tables_as_pages = [int(alias.address) for alias in aliases_of(memory, NARROW, PhysicalAddress(0x2000)).aliases]
    assert tables_as_pages == [0xFFC0_0000]


def test_aliases_above_4_gib() -> None:
    memory = narrow({0x1004: 0x0081_20E3, 0x1008: 0x2063, 0x2000: 0x0080_0063})
    found = aliases_of(memory, NARROW, PhysicalAddress(0x9_0080_0010))
    assert [int(alias.address) for alias in found.aliases] == [0x40_0010]
    low = aliases_of(memory, NARROW, PhysicalAddress(0x80_0010))
    assert [int(alias.address) for alias in low.aliases] == [0x80_0010]


def test_the_map_of_a_pae_space() -> None:
    words = {
        0x1020: 0x2001,
        0x1038: 0x4001,
        0x2000: 0x3067,
        0x3000: 0x5067,
        0x3008: 0x6067,
        0x4FF8: NX | 0x20_00E7,
    }
    memory = MadeUpMemory.holding(words)
    rows = [(hex(row.start), hex(row.physical), str(row.user)) for row in map_space(memory, PAE)]
    assert rows == [("0x0", "0x5000", "rwx"), ("0xffe00000", "0x200000", "rw-")]
    assert [int(table) for table in tables(memory, PAE)] == [0x1020, 0x2000, 0x3000, 0x4000]


def test_narrow_memory_reads_across_pages() -> None:
    memory = narrow({0x1000: 0x2067, 0x2000: 0x0012_A067, 0x2004: 0x0013_0067})
    memory.write(PhysicalAddress(0x12AFFE), b"ab")
    memory.write(PhysicalAddress(0x130000), b"cd")
    assert VirtualMemory(memory, NARROW).read(VirtualAddress(0xFFE), 4) == b"abcd"
