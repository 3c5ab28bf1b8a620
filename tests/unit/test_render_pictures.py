"""Reports as pages and pictures: what a walk's diagram shows, that colours can be read, and that text stays text."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree as ET

import pytest

from lab.memory import MadeUpMemory, MadeUpSpace
from lab.render import render_html, render_svg
from lab.render.diagram import Diagram, entry_bits, walk_diagram
from lab.render.palette import PALETTES, contrast
from lab.render.walk_svg import walk_svg
from lab.snapshot import Registers, Snapshot
from lab.views import find_view
from lab.views.report import Cell, Column, HexDump, HexRow, KeyValues, Lines, Report, Role, Table
from lab.x86 import CR3, CR4, EFER, Level, PagingState, PhysicalAddress

EVIL = "<script>alert('&\"')</script>"


def drawn(space: MadeUpSpace, address: int) -> Diagram:
    return drawn_of(Snapshot(space.memory, space.state, Registers()), address)


def drawn_of(snapshot: Snapshot, address: int) -> Diagram:
    view = find_view("walk")
    assert view is not None
    return walk_diagram(view.run(snapshot, {"address": hex(address)}).data)


def texts(svg: str) -> list[str]:
    """What stands in a picture, one string for each text element."""
    found = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(each.itertext()) for each in found]


@pytest.mark.parametrize("levels", [4, 5])
def test_the_fields_put_together_are_the_address(levels: int) -> None:
    space = MadeUpSpace(levels)
    diagram = drawn(space, 0xFFFF_F880_0000_4010)
    assert int("".join(field.digits for field in diagram.fields), 2) == diagram.address
    assert [field.name for field in diagram.fields] == ["sign", *diagram.levels, "offset"]
    for one, other in itertools.pairwise(diagram.fields):
        assert one.low == other.high + 1


def test_a_walk_is_drawn_from_cr3_to_the_frame() -> None:
    space = MadeUpSpace()
    space.map(0xFFFFF88000004000, 0x12A000, "rw-")
    shown = texts(walk_svg([drawn(space, 0xFFFFF88000004010)]))
    for text in ("CR3", "PML4", "PDPT", "PD", "PT", "[1f1]", "[004]", "frame 0x12a", "pa:0x12a010", "supervisor rw-"):
        assert text in shown
    assert "111110001 1f1" in shown  # the PML4 index, bit by bit
    assert "✗ execute denied: bit 63 (NX)" in shown


def test_two_addresses_of_one_frame_share_its_box() -> None:
    space = MadeUpSpace()
    for address in (0x400000, 0xFFFFF88000004000):
        space.map(address, 0x12A000)
    space.map(0x500000, 0x12B000)
    both = [drawn(space, 0x400000), drawn(space, 0xFFFFF88000004000)]
    shown = texts(walk_svg(both, ["pool", "mapping"]))
    assert shown.count("frame 0x12a") == 1
    assert "2 addresses, one frame" in shown
    other = texts(walk_svg([both[0], drawn(space, 0x500000)]))
    assert {"frame 0x12a", "frame 0x12b"} < set(other)
    assert "2 addresses, one frame" not in other


def test_frame_0_is_shared_like_any_other() -> None:
    space = MadeUpSpace()
    for address in (0x400000, 0x800000):
        space.map(address, 0, size=2 << 20)
    shown = texts(walk_svg([drawn(space, 0x400010), drawn(space, 0x800020)]))
    assert shown.count("frame 0x0") == 1
    unmapped = texts(walk_svg([drawn(space, 1 << 40), drawn(space, 1 << 41)]))
    assert unmapped.count("✗ no frame") == 2


def test_narrow_tables_are_drawn_with_narrow_entries() -> None:
    memory = MadeUpMemory()
    for address, value in {0x1BFC: 0x2067, 0x2FFC: 0x12A165}.items():
        memory.write(PhysicalAddress(address), value.to_bytes(4, "little"))
    state = PagingState(cr3=CR3(0x1000), cr4=CR4.from_names("PSE"), efer=EFER(0))
    shown = texts(walk_svg([drawn_of(Snapshot(memory, state, Registers()), 0xBFFF_F010)]))
    assert {"[2ff]", "0x00002067", "[3ff]", "0x0012a165", "frame 0x12a", "pa:0x2000"} < set(shown)
    assert "1011111111 2ff" in shown
    assert "PDPT" not in shown


def test_pae_has_a_table_of_four() -> None:
    words = {0x1030: 0x2001, 0x2000: 0x3003, 0x3000: 0x12A003}
    state = PagingState(cr3=CR3(0x1020), cr4=CR4.from_names("PAE"), efer=EFER.from_names("NXE"))
    diagram = drawn_of(Snapshot(MadeUpMemory.holding(words), state, Registers()), 0x8000_0123)
    assert [(hop.level, hop.entries) for hop in diagram.hops] == [("PDPT", 4), ("PD", 512), ("PT", 512)]
    assert diagram.hops[0].table == PhysicalAddress(0x1020)
    assert diagram.fields[0].digits == "10"
    assert "pa:0x12a123" in texts(walk_svg([diagram]))


def test_a_large_leaf_ends_the_walk_early_and_the_rest_is_offset() -> None:
    space = MadeUpSpace(5)
    space.map(0x600000, 0x600000, size=2 << 20)
    shown = texts(walk_svg([drawn(space, 0x612345)]))
    assert shown.count("not needed") == 1
    assert "offset, too" in shown
    assert "pa:0x612345" in shown


def test_a_large_leaf_points_to_its_page_whatever_its_pat_bit_says() -> None:
    space = MadeUpSpace()
    space.map(0x600000, 0x800000, size=2 << 20)
    space.raw(Level.PD, 0x600000, 0x800000 | 0x1083)
    diagram = drawn(space, 0x612345)
    assert diagram.hops[-1].target == diagram.frame == PhysicalAddress(0x800000)


def test_a_fault_is_marked_where_it_happens() -> None:
    space = MadeUpSpace()
    space.map(0x400000, 0x12A000)
    space.raw(Level.PT, 0x400000, 0)
    svg = walk_svg([drawn(space, 0x400000)])
    root = ET.fromstring(svg)
    bad = [each for each in root.iter() if each.get("class") == "table bad"]
    assert len(bad) == 1
    assert "✗ bit 0 (P) is 0: not present" in ["".join(each.itertext()) for each in bad[0]]
    hole = texts(walk_svg([drawn(space, 0x0000_8000_0000_0000)]))
    assert hole.count("not reached") == 4


def test_entries_can_be_asked_for_their_bits() -> None:
    space = MadeUpSpace()
    space.map(0x400000, 0x12A000, "rw-", dirty=True)
    root = ET.fromstring(walk_svg([drawn(space, 0x400000)]))
    entries = [each for each in root.iter() if each.get("data-entry")]
    assert [each.get("data-level") for each in entries] == ["PML4", "PDPT", "PD", "PT"]
    assert all(each.get("tabindex") == "0" for each in entries)
    leaf = entries[-1]
    entry, bits = int(leaf.get("data-entry", ""), 16), entry_bits(leaf.get("data-kind", ""))
    names = {bit.name for bit in bits if bit.high == bit.low and entry >> bit.low & 1}
    assert names == {"P", "W", "D", "NX"}


@pytest.mark.parametrize("kind", ["table", "leaf", "large leaf", "absent"])
def test_the_bits_of_an_entry_do_not_overlap(kind: str) -> None:
    for one, other in itertools.pairwise(entry_bits(kind)):
        assert one.high >= one.low > other.high


def test_text_stays_text() -> None:
    cell = Cell(EVIL, Role.VIRTUAL)
    report = Report(
        f"lab.{EVIL}/1",
        {},
        (
            Lines(((cell,),)),
            Table((Column(EVIL),), ((cell,),), title=EVIL),
            KeyValues(((EVIL, (cell,)),), title=EVIL),
            HexDump((HexRow(cell, b"<b>", Cell(EVIL)),)),
        ),
        problems=(EVIL,),
    )
    page, picture = render_html(report), render_svg(report)
    assert "<script" not in page + picture
    assert "<b>" not in page + picture
    assert EVIL in "".join(ET.fromstring(picture).itertext())


@pytest.mark.parametrize("theme", sorted(PALETTES))
def test_every_colour_of_text_can_be_read(theme: str) -> None:
    colours = PALETTES[theme]
    text = [name for name in colours if name not in ("background", "surface", "raised", "line") and "-fill" not in name]
    for name, paper in itertools.product(text, ("background", "surface", "raised")):
        assert contrast(colours[name], colours[paper]) >= 4.5, (name, paper)
    for paper in (name for name in colours if name.endswith("-fill")):
        for name in (paper.removesuffix("-fill"), "text", "muted", "rights"):
            assert contrast(colours[name], colours[paper]) >= 4.5, (name, paper)


def test_all_themes_have_the_same_names() -> None:
    assert len({tuple(palette) for palette in PALETTES.values()}) == 1
