"""Whole spaces: maps, leaves, tables and aliases, on tables that behave and on tables that do not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from lab.errors import NoMemoryAt
from lab.memory import MadeUpMemory, MadeUpSpace
from lab.paging import Kind, Mapping, aliases_of, leaves, map_space, tables, walk
from lab.paging.tables import MAX_WAYS
from lab.x86 import CR3, PAT, Level, PagingState, PhysicalAddress, VirtualAddress

PA = PhysicalAddress
PAGE = 0x1000
MIB2, GIB = 2 << 20, 1 << 30


def brief(rows: list[Mapping]) -> list[tuple[str, str, str, str, str]]:
    return [(f"{r.start:x}-{r.end:x}", f"{r.physical:x}", str(r.supervisor), str(r.user), str(r.kind)) for r in rows]


def test_contiguous_pages_with_equal_rights_are_one_row() -> None:
    space = MadeUpSpace()
    for page in range(600):  # more than one PT
        space.map(0x1F0000 + page * PAGE, 0x800000 + page * PAGE, "rw-")
    assert brief(map_space(space.memory, space.state)) == [("1f0000-448000", "800000", "rw-", "---", "page")]
    assert map_space(space.memory, space.state)[0].leaves == 600


def test_a_row_ends_where_anything_changes() -> None:
    space = MadeUpSpace(state=PagingState(pat=PAT(0x0007_0406_0007_0106)))
    space.map(0x0000, 0x10000, "rw-", user=True)
    space.map(0x1000, 0x11000, "r--", user=True)  # rights
    space.map(0x2000, 0x12000, "r--", user=False)  # user
    space.map(0x3000, 0x13000, "r--", write_through=True)  # memory type: WC
    space.map(0x4000, 0x14000, "r--", write_through=True, global_=True)  # global
    space.map(0x5000, 0x16000, "r--", write_through=True, global_=True)  # frame
    space.map(0x7000, 0x17000, "r--", write_through=True, global_=True)  # a hole before it
    space.map(0x8000, 0x18000, "r--", write_through=True, global_=True, accessed=True, dirty=True)  # not a new row
    rows = map_space(space.memory, space.state)
    assert [(row.start, row.size, str(row.memory_type), row.is_global) for row in rows] == [
        (0x0000, PAGE, "WB", False),
        (0x1000, PAGE, "WB", False),
        (0x2000, PAGE, "WB", False),
        (0x3000, PAGE, "WC", False),
        (0x4000, PAGE, "WC", True),
        (0x5000, PAGE, "WC", True),
        (0x7000, 2 * PAGE, "WC", True),
    ]


def test_upper_levels_narrow_the_rights_of_a_row() -> None:
    space = MadeUpSpace()
    for page in range(4):
        space.map(page * MIB2, page * MIB2, "rwx", size=MIB2, user=True)
    for page in range(4):
        space.map(GIB + page * MIB2, GIB + page * MIB2, "rwx", size=MIB2, upper_rights={Level.PDPT: "r--u"})
    assert brief(map_space(space.memory, space.state)) == [
        ("0-800000", "0", "rwx", "rwx", "page"),
        ("40000000-40800000", "40000000", "r--", "---", "page"),
    ]


def test_leaves_of_all_sizes_stand_in_order_of_address_up_to_the_very_end() -> None:
    space = MadeUpSpace()
    space.map(2 * GIB, 0, "r--", size=GIB)
    space.map(3 * GIB, GIB, "r--", size=GIB)
    space.map(GIB + MIB2, 0, "r--", size=MIB2)
    space.map(GIB + 2 * MIB2, 2 * MIB2, "r--", size=PAGE)
    space.map(2**64 - PAGE, 0x5000, "r--")
    rows = map_space(space.memory, space.state)
    assert [(row.start, row.end, row.page_size) for row in rows] == [
        (GIB + MIB2, GIB + 2 * MIB2, MIB2),
        (GIB + 2 * MIB2, GIB + 2 * MIB2 + PAGE, PAGE),
        (2 * GIB, 4 * GIB, GIB),
        (2**64 - PAGE, 2**64, PAGE),
    ]
    assert [row.leaves for row in rows] == [1, 1, 2, 1]


def test_five_levels_reach_what_four_cannot() -> None:
    space = MadeUpSpace(levels=5)
    space.map(0x00FF_FFFF_FFFF_F000, 0x5000)
    space.map(0xFF00_0000_0000_0000, 0x6000)
    assert [int(row.start) for row in map_space(space.memory, space.state)] == [
        0x00FF_FFFF_FFFF_F000,
        0xFF00_0000_0000_0000,
    ]


def test_leaves_carry_their_entries() -> None:
    space = MadeUpSpace()
    space.map(0x1000, 0x5000, "rw-", dirty=True)
    space.map(MIB2, MIB2, "r-x", size=MIB2)
    space.self_map()
    found = list(leaves(space.memory, space.state))
    assert [(row.start, row.entry, row.entry_address) for row in found] == [
        (0x1000, 0x8000_0000_0000_5043, space.table(Level.PT, 0x1000) + 8),
        (MIB2, 0x20_0081, space.table(Level.PD, 0) + 8),
        (0xFFFF_F680_0000_0000, space.root | 3 | 1 << 63, space.root + 8 * 0x1ED),
    ]


# ------------------------------------------------------------------------------------- tables that meet twice ----


def test_a_self_map_is_one_row_and_every_table_is_listed_once() -> None:
    space = MadeUpSpace()
    space.map(0xFFFF_F880_0000_4000, 0x12A000, "rw-")
    space.self_map()
    assert brief(map_space(space.memory, space.state)) == [
        ("fffff68000000000-fffff70000000000", f"{space.root:x}", "rw-", "---", "self map"),
        ("fffff88000004000-fffff88000005000", "12a000", "rw-", "---", "page"),
    ]
    found = tables(space.memory, space.state)
    assert [info.levels for info in found.values()] == [(level,) for level in (4, 3, 2, 1)]
    root = found[space.root]
    assert (root.parents, root.self_entries, root.bases) == (
        (space.root + 0xF68,),
        (space.root + 0xF68,),
        (VirtualAddress(0),),
    )
    pt = found[space.table(Level.PT, 0xFFFF_F880_0000_4000)]
    assert pt.bases == (VirtualAddress(0xFFFF_F880_0000_0000),)
    assert pt.parents == (space.table(Level.PD, 0xFFFF_F880_0000_4000),)


def test_a_shared_table_is_mapped_at_every_place() -> None:
    space = MadeUpSpace()
    space.map(0x1000, 0x5000, "rw-")
    pt = space.table(Level.PT, 0x1000)
    space.raw(Level.PD, MIB2, pt | 1)  # the same PT again, read only
    assert brief(map_space(space.memory, space.state)) == [
        ("1000-2000", "5000", "rw-", "---", "page"),
        ("201000-202000", "5000", "r--", "---", "page"),
    ]
    info = tables(space.memory, space.state)[pt]
    assert info.bases == (VirtualAddress(0), VirtualAddress(MIB2))
    assert info.parents == (space.entry_address(Level.PD, 0), space.entry_address(Level.PD, MIB2))


def test_a_table_of_zeros_shared_by_thousands_is_followed_a_few_times_and_reported() -> None:
    """As an address sanitizer lays out its shadow: every level is one table that is used 512 times."""
    memory = MadeUpMemory()
    for table in (0x1000, 0x2000, 0x3000, 0x4000):
        for index in range(512):
            memory.write_u64(PA(table + 8 * index), (table + 0x1000) | 5)
    state = PagingState(cr3=CR3(0x1000))
    rows = map_space(memory, state)
    pages = [row for row in rows if row.kind is Kind.PAGE]
    assert len(pages) == MAX_WAYS * 512
    shared = [row for row in rows if row.kind is Kind.SHARED]
    assert [(row.start, row.size, row.physical) for row in shared] == [
        (VirtualAddress(MAX_WAYS * MIB2), MAX_WAYS * GIB - MAX_WAYS * MIB2, PA(0x4000)),
        (VirtualAddress(MAX_WAYS * GIB), MAX_WAYS * 512 * GIB - MAX_WAYS * GIB, PA(0x3000)),
        (VirtualAddress(512 * GIB * MAX_WAYS), (256 - MAX_WAYS) * 512 * GIB, PA(0x2000)),
        (VirtualAddress(2**64 - (1 << 47)), 256 * 512 * GIB, PA(0x2000)),
    ]
    assert {str(row.user) for row in shared} == {"r-x"}
    assert sum(row.size for row in rows) == 1 << 48  # nothing is left out
    found = aliases_of(memory, state, PA(0x5010))
    assert len(found.aliases) == MAX_WAYS * 512
    assert "not all aliases are listed: too many ways lead to the table at pa:0x0000004000" in found.warnings[0]


@pytest.mark.parametrize("levels", [4, 5])
def test_a_table_that_is_its_own_child_everywhere_does_not_hang(levels: int) -> None:
    memory = MadeUpMemory()
    for index in range(512):
        memory.write_u64(PA(0x1000 + 8 * index), 0x1003)
    base = MadeUpSpace(levels).state
    state = replace(base, cr3=CR3(0x1000))
    rows = map_space(memory, state)
    assert {row.kind for row in rows} == {Kind.SELF_MAP}
    assert len(rows) == 512
    assert len(tables(memory, state)[PA(0x1000)].parents) == 512
    assert aliases_of(memory, state, PA(0x1000)).warnings


def test_a_circle_over_two_tables_is_a_self_map_too() -> None:
    space = MadeUpSpace()
    space.map(0, 0x5000)
    space.raw(Level.PD, 5 * MIB2, space.table(Level.PDPT, 0) | 3)  # used as PT here
    rows = map_space(space.memory, space.state)
    assert [(row.start, row.end, row.kind) for row in rows] == [
        (0, PAGE, Kind.PAGE),
        (5 * MIB2, 6 * MIB2, Kind.SELF_MAP),
    ]
    # Seen through the circle, the entry of the PDPT maps the PD as a page.
    assert walk(space.memory, space.state, VirtualAddress(5 * MIB2)).mapped.physical == space.table(Level.PD, 0)


def test_a_table_used_at_two_levels_is_listed_with_both() -> None:
    space = MadeUpSpace()
    space.map(0, 0x5000)
    pd = space.table(Level.PD, 0)
    space.raw(Level.PD, MIB2, space.new_table() | 3)
    other = space.table(Level.PT, MIB2)
    space.raw(Level.PDPT, GIB, other | 3)  # a PT above, a PD here
    info = tables(space.memory, space.state)[other]
    assert [(use.level, use.base) for use in info.uses] == [(Level.PT, MIB2), (Level.PD, GIB)]
    assert info.levels == (Level.PD, Level.PT)
    assert info.parents == (pd + 8, space.table(Level.PDPT, 0) + 8)


# ------------------------------------------------------------------------------------------ tables gone wrong ----


def test_tables_outside_of_ram_are_rows_without_rights() -> None:
    memory = MadeUpMemory.holding({0x1000: 0x2007, 0x2000: 0x7_0000_0007, 0x2008: 0x7_0000_0007}, size=16 << 20)
    state = PagingState(cr3=CR3(0x1000))
    assert brief(map_space(memory, state)) == [("0-80000000", "700000000", "---", "---", "table outside of RAM")]
    assert list(tables(memory, state)) == [0x1000, 0x2000]
    for call in (map_space, tables):
        with pytest.raises(NoMemoryAt):
            call(memory, state, PA(1 << 39))


def test_entries_with_reserved_bits_are_rows_without_rights() -> None:
    space = MadeUpSpace()
    space.map(0x1000, 0x5000, "rw-")
    space.map(0x2000, 0x6000 | 1 << 45, "rw-")
    space.map(MIB2, 0x2000, size=MIB2)
    space.raw(Level.PDPT, GIB, 1 << 45 | 0x3000 | 3)
    space.raw(Level.PML4, 1 << 40, 0x3000 | 0x83)
    assert [(row.start, row.size, str(row.supervisor), row.kind) for row in map_space(space.memory, space.state)] == [
        (0x1000, PAGE, "rw-", Kind.PAGE),
        (0x2000, PAGE, "---", Kind.RESERVED),
        (MIB2, MIB2, "---", Kind.RESERVED),
        (GIB, GIB, "---", Kind.RESERVED),
        (1 << 40, 512 * GIB, "---", Kind.RESERVED),
    ]


def test_an_empty_space_has_an_empty_map() -> None:
    space = MadeUpSpace()
    assert map_space(space.memory, space.state) == []
    assert list(leaves(space.memory, space.state)) == []
    assert aliases_of(space.memory, space.state, PA(0)).aliases == ()


# ---------------------------------------------------------------------------------------------------- aliases ----


def test_aliases_in_pages_of_every_size_and_through_the_self_map() -> None:
    space = MadeUpSpace()
    space.map(0xFFFF_F880_0000_4000, 0x12A000, "rw-")
    space.map(0x1000, 0x12A000, "r--", user=True)
    space.map(8 * MIB2, 0, "r--", size=MIB2)
    space.map(4 * GIB, 0, "r--", size=GIB)
    space.self_map()
    found = aliases_of(space.memory, space.state, PA(0x12A123))
    assert [(int(alias.address), alias.page_size, str(alias.user)) for alias in found.aliases] == [
        (0x1123, PAGE, "r--"),
        (8 * MIB2 + 0x12A123, MIB2, "---"),
        (4 * GIB + 0x12A123, GIB, "---"),
        # In the self map the entry of the 1 GiB page stands in the place of a PD entry, where PS makes it 2 MiB.
        (0xFFFF_F680_0080_0000 + 0x12A123, MIB2, "---"),
        (0xFFFF_F880_0000_4123, PAGE, "---"),
    ]
    assert found.warnings == ()


def test_a_table_is_a_page_in_the_self_map() -> None:
    space = MadeUpSpace()
    space.map(0x40_1000, 0x12A000)
    space.self_map()
    (seen,) = aliases_of(space.memory, space.state, space.table(Level.PT, 0x40_1000) + 8).aliases
    assert (seen.address, seen.kind) == (0xFFFF_F680_0000_2008, Kind.SELF_MAP)
    assert seen.entry_address == space.entry_address(Level.PD, 0x40_1000)


def test_a_page_with_a_reserved_bit_is_no_alias() -> None:
    space = MadeUpSpace()
    space.map(0x1000, 0x5000)
    space.map(0x2000, 0x5000 | 1 << 47)
    space.map(MIB2, 0x2000, size=MIB2)
    assert len(aliases_of(space.memory, space.state, PA(0x5000)).aliases) == 1


def test_aliases_that_disagree_are_warned_of() -> None:
    space = MadeUpSpace()
    space.map(0x1000, 0x5000, "rw-")
    space.map(0x2000, 0x5000, "r-x", cache_disable=True)
    space.map(0x3000, 0x5000, "r--")
    assert aliases_of(space.memory, space.state, PA(0x5000)).warnings == (
        "unlike memory types: WB at 0x0000000000001000, UC- at 0x0000000000002000",
        "writable at 0x0000000000001000 and executable at 0x0000000000002000",
    )


def test_what_is_seen_through_large_entries_of_a_self_map() -> None:
    """A 2 MiB leaf read as a PT entry: bit 7 is PAT there, and the page is the first 4 KiB of the large one."""
    space = MadeUpSpace()
    space.map(MIB2, 2 * MIB2, "rw-", size=MIB2)
    space.self_map()
    found = aliases_of(space.memory, space.state, PA(2 * MIB2))
    assert [(int(alias.address), alias.kind) for alias in found.aliases] == [
        (MIB2, Kind.PAGE),
        (0xFFFF_F680_0000_1000, Kind.SELF_MAP),
    ]


def test_importing_stays_light() -> None:
    code = "import sys, lab.paging; print('numpy' in sys.modules, 'mmap' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split()[0] == "False"
