"""The views on guests with 32-bit and PAE paging: narrow entries, and a root of 32 bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.errors import UsageError
from lab.memory import MadeUpMemory
from lab.render import render_text
from lab.snapshot import Registers, Snapshot, TableImage, capture, diff
from lab.views import find_view
from lab.x86 import CR0, CR3, CR4, EFER, PagingState, PhysicalAddress, VirtualAddress

NARROW = PagingState(cr3=CR3(0x1000), cr4=CR4.from_names("PSE"), efer=EFER(0), max_phys_bits=36)
PAE = PagingState(cr3=CR3(0x1020), cr4=CR4.from_names("PAE"), efer=EFER.from_names("NXE"))


def narrow() -> Snapshot:
    """A table with two pages, a 4 MiB page, and a self map."""
    memory = MadeUpMemory()
    words = {0x1000: 0x2067, 0x1004: 0x80_20E3, 0x1FFC: 0x1063, 0x2004: 0x12_A067, 0x2008: 0x12_B005}
    for address, value in words.items():
        memory.write(PhysicalAddress(address), value.to_bytes(4, "little"))
    return Snapshot(memory, NARROW, Registers(cr3=0x1000))


def pae() -> Snapshot:
    """One page behind the last of the four entries that CR3 names."""
    words = {0x1038: 0x2001, 0x2000: 0x3067, 0x3000: 0x5067}
    return Snapshot(MadeUpMemory.holding(words), PAE, Registers(cr3=0x1020))


def shown(snapshot: Snapshot, view: str, **arguments: str) -> list[str]:
    return render_text(find_view(view).run(snapshot, arguments)).splitlines()


def test_a_walk_with_its_prediction() -> None:
    assert shown(narrow(), "walk", address="0x2010", access="write") == [
        "walk 0x0000000000002010 by cr3 pa:0x0000001000",
        "  PD   [000] @ pa:0x0000001000 = 0x00002067  P W U A",
        "  PT   [002] @ pa:0x0000002008 = 0x0012b005  P U",
        "  => pa:0x000012b010  4 KiB  WB  supervisor r-x  user r-x",
        "  denied: write by PT bit 1 (W)",
        "",
        "predicted  write faults: PT bit 1 (W) is 0 and CR0.WP is 1",
        "raises     #PF with error code 0x3 (P W); CR2 is 0x0000000000002010",
        "may set    A in PT",
    ]


def test_a_table_of_narrow_entries() -> None:
    assert shown(narrow(), "table", table="cr3") == [
        "PD at pa:0x0000001000, covers 4 GiB from 0x0000000000000000",
        "pointed to by the entry at pa:0x0000001ffc",
        "",
        "index  entry       flags       points to        covers",
        "[000]  0x00002067  P W U A     pa:0x0000002000  0x0000000000000000",
        "[001]  0x008020e3  P W A D PS  pa:0x0100800000  0x0000000000400000",
        "[3ff]  0x00001063  P W A       pa:0x0000001000  0x00000000ffc00000",
    ]


def test_the_table_that_cr3_names_in_pae_paging() -> None:
    assert shown(pae(), "table", table="cr3") == [
        "PDPT at pa:0x0000001020, covers 4 GiB from 0x0000000000000000",
        "",
        "index  entry               flags  points to        covers",
        "[003]  0x0000000000002001  P      pa:0x0000002000  0x00000000c0000000",
    ]


@pytest.mark.parametrize("snapshot", [narrow(), pae()], ids=["32-bit", "PAE"])
def test_a_cr3_value_names_its_table_whatever_its_other_bits_say(snapshot: Snapshot) -> None:
    root = snapshot.state.root
    value = str(root + 0x18)
    for view, arguments in [("walk", {"address": "0xc0005123"}), ("map", {}), ("aliases", {"address": "pa:0x130000"})]:
        assert shown(snapshot, view, **arguments, cr3=value) == shown(snapshot, view, **arguments, cr3=str(root))
    assert shown(snapshot, "table", table=value) == shown(snapshot, "table", table="cr3")
    assert shown(snapshot, "table", table="cr3", cr3=value) == shown(snapshot, "table", table="cr3")


def test_bytes_where_paging_is_off() -> None:
    off = replace(narrow(), state=replace(NARROW, cr0=CR0.from_names("PE")))
    with pytest.raises(UsageError, match=r"paging is off here, .* add --phys to read pa:0x1000"):
        shown(off, "mem", address="0x1000")
    with pytest.raises(UsageError, match="paging is off here"):
        off.read_virtual(VirtualAddress(0x1000), 8)
    assert shown(off, "mem", address="0x1000", phys="yes", length="16")[0].startswith("pa:0x0000001000  67 20 00 00")


def test_a_level_that_these_tables_do_not_have() -> None:
    with pytest.raises(UsageError, match="32-bit paging has no PML4; its levels are PD PT"):
        shown(narrow(), "table", table="cr3", level="PML4")


@pytest.mark.parametrize("snapshot", [narrow(), pae()], ids=["32-bit", "PAE"])
def test_changes_between_two_moments(snapshot: Snapshot) -> None:
    memory, state = snapshot.memory, snapshot.state
    assert isinstance(memory, MadeUpMemory)
    before = capture(memory, state)
    assert TableImage.from_bytes(before.to_bytes()) == before
    page_table, size = (0x2000, 4) if state is NARROW else (0x3000, 8)
    memory.write(PhysicalAddress(page_table + 5 * size), (0x13_0063).to_bytes(size, "little"))
    (change,) = diff(before, capture(memory, state), state)
    start = 0x5000 if state is NARROW else 0xC000_5000
    assert (change.kind, change.index, int(change.start)) == ("created", 5, start)
    assert int(change.entry_address) == page_table + 5 * size
