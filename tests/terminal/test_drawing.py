"""What is drawn, letter by letter: the walk for every width, and the parts of a made-up lecture."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from lab.demo.mdls import MdlPage, MdlPicture
from lab.demo.scene import Walked, scene
from lab.demo.terminal import looks
from lab.demo.terminal.arrange import ALONE, NO_PANELS, arrange
from lab.demo.terminal.canvas import plain
from lab.demo.terminal.panes import PANELS, has_content, story
from lab.demo.terminal.walk import draw_walk, draw_walks
from lab.memory import MadeUpSpace
from lab.render.diagram import walk_diagram
from lab.snapshot import Registers, Snapshot
from lab.views import find_view
from lab.x86 import VirtualAddress
from tests.unit.made_up import made_up_timeline
from tests.unit.test_views_32bit import narrow, pae

WIDTHS = (78, 98, 112, 120, 158, 180, 238)
FOUR, FIVE = 0xFFFF_8081_C2A0_3010, 0x12_8081_C2A0_3010
"""Addresses whose indices all differ."""


def walked(space: MadeUpSpace, address: int, label: str = "") -> Walked:
    """The walk of an address in a space."""
    return walked_in(Snapshot(space.memory, space.state, Registers()), address, label)


def walked_in(snapshot: Snapshot, address: int, label: str = "") -> Walked:
    view = find_view("walk")
    assert view is not None
    return Walked(label, walk_diagram(view.run(snapshot, {"address": hex(address)}).data))


def drawn(walk: Walked, width: int) -> list[str]:
    return [plain(row).rstrip() for row in draw_walk(walk, width, {})]


def test_a_walk_on_the_narrowest_screen() -> None:
    space = MadeUpSpace()
    space.map(0x400000, 0x12A000, "r-x")

    assert "\n".join(drawn(walked(space, 0x400123, "code"), 78)) == (
        "code  0x0000000000400123 → pa:0x000012a123\n"
        "63    sign    48  47     39   38     30   29     21   20     12  11         0\n"
        "0000000000000000  000000000   000000000   000000010   000000000  000100100011\n"
        "                      │ 000       │ 000       │ 002       │ 000        │ 123\n"
        "┌ CR3 ─────────┐ ┌ PML4 ───┐ ┌ PDPT ───┐ ┌ PD ─────┐ ┌ PT ─────┐ ┌ frame ────┐\n"
        "│ 0x100000     ├▶│00000000 ├▶│00000000 ├▶│00000000 ├▶│00000000 ├▶│ 0x12a000  │\n"
        "│              │ │00101003 │ │00102003 │ │00103003 │ │0012a001 │ │ +0x123    │\n"
        "└──────────────┘ └─────────┘ └─────────┘ └─────────┘ └─────────┘ └───────────┘\n"
        "                  P W         P W         P W         P\n"
        "4 KiB  WB  supervisor r-x  user ---  ✗ PML4: user mode denied: bit 2 (U)\n"
        "✗ PT: write denied: bit 1 (W)"
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("levels", [4, 5])
def test_every_index_stands_over_the_table_that_it_chooses_from(width: int, levels: int) -> None:
    space = MadeUpSpace(levels=levels)
    address = FOUR if levels == 4 else FIVE
    space.map(address & ~0xFFF, 0x12A000, "rw-")
    walk = walked(space, address)

    heading, numbers, bits, indices, top, *rest = drawn(walk, width)

    assert max(map(len, (heading, numbers, bits, indices, top, *rest))) <= width
    assert bits.replace(" ", "") == f"{address:064b}"
    assert [int(each, 16) for each in indices.replace("│", " ").split()] == [
        *(hop.index for hop in walk.diagram.hops), 0x10
    ]  # fmt: skip
    for hop in walk.diagram.hops:
        left = top.index(f"┌ {hop.level} ")
        assert f"{hop.index:09b}" in bits[left : top.index("┐", left) + 1]


def test_a_large_page_goes_on_to_its_frame_with_all_the_bits_that_are_left() -> None:
    space = MadeUpSpace()
    space.map(0x4000_0000, 0x40_0000, "rw-", size=2 << 20)

    _, _, _, indices, boxes, *rest = drawn(walked(space, 0x4001_2345), 118)

    assert indices.split()[1::2] == ["000", "001", "000", "12345"]
    assert "┌ PT" not in boxes
    assert "├────────────────────▶│ pa:0x0000412345 │" in rest[0]


@pytest.mark.parametrize("width", [78, 160])
@pytest.mark.parametrize(
    ("guest", "entries"),
    [
        (narrow, ["00002067", "0012b005"]),
        (pae, ["0000000000002001", "0000000000003067", "0000000000005067"]),
    ],
)
def test_narrow_tables_have_narrow_fields(guest: Callable[[], Snapshot], entries: list[str], width: int) -> None:
    walk = walked_in(guest(), 0x2010 if guest is narrow else 0xC000_0010)

    lines = drawn(walk, width)

    assert lines[2].replace(" ", "") == f"{walk.diagram.address:032b}"
    shown = [line for line in lines if line.startswith("│")]
    cells = list(zip(*(line.replace("├", "│").replace("▶", "").split("│") for line in shown), strict=True))
    digits = ["".join(each).replace(" ", "").replace("─", "") for each in cells]
    assert [each for each in digits if each in entries] == entries


def test_what_a_walk_does_not_reach_is_a_ghost() -> None:
    space = MadeUpSpace()
    space.map(0x40_0000, 0x12A000, "rw-")

    lines = drawn(walked(space, 0x90_0000), 98)

    assert lines[0].endswith("→ ✗")
    assert "┌ PD ──" in lines[4]
    assert "┌╌PT╌" in lines[4]
    assert "┌╌frame╌" in lines[4]
    assert lines[-1] == "✗ PD bit 0 (P) is 0: not present"


def test_digits_that_changed_are_marked_and_nothing_else() -> None:
    space = MadeUpSpace()
    space.map(0x40_0000, 0x12A000, "rw-")
    walk = walked(space, 0x40_0000)
    leaf = walk.diagram.hops[-1]

    rows = draw_walk(walk, 120, {leaf.entry_address: 0x8000_0000_0000_0002})

    marked = [piece.text for row in rows for piece in row if piece.style == looks.CHANGED]
    assert marked == ["8", "3"]


def test_walks_without_room_are_a_line_and_say_that_they_meet() -> None:
    space = MadeUpSpace()
    for page in (0x40_0000, 0x80_0000):
        space.map(page, 0x12A000, "rw-")
    walks = [walked(space, 0x40_0000, "pool"), walked(space, 0x80_0000, "mapping")]

    low = [plain(row).rstrip() for row in draw_walks(walks, 98, 12, {})]
    high = [plain(row).rstrip() for row in draw_walks(walks, 98, 40, {})]

    assert low[-1] == "mapping  0x0000000000800000  000·000·004·000 → pa:0x000012a000  ═ same frame"
    assert sum("┌ CR3 " in line for line in low) == 1
    assert sum("┌ CR3 " in line for line in high) == 2
    assert "╔same frame" in "".join(high)


def test_walks_and_mdls_speak_the_language_of_the_lecture() -> None:
    space = MadeUpSpace()
    space.map(0x40_0000, 0x12A000, "rw-")
    for address in (0x40_0000, 0x80_0000):
        text = "\n".join(plain(row) for row in draw_walks([walked(space, address)], 98, 40, {}, "tr"))
        assert "çerçeve" in text
        assert not re.search("frame|denied|not present", text)
    pages = (MdlPage(3, None, None),)
    mdl = MdlPicture(0, VirtualAddress(0x5000), (), VirtualAddress(0x1000), None, 1, 0, 1, pages)
    rows = PANELS["mdl"](replace(scene(made_up_timeline(), 1), mdls=(mdl,)), 80, "tr")
    assert plain(rows[2]) == "[0] çerçeve 3"


@pytest.mark.parametrize("width", [24, 37, 46, 60, 100])
def test_no_part_is_wider_than_its_place(width: int) -> None:
    timeline = made_up_timeline()
    for number in range(len(timeline)):
        shown = scene(timeline, number)
        parts = {name: draw(shown, width, "en") for name, draw in PANELS.items()}

        assert {name for name, rows in parts.items() if rows} == {
            name for name, has in has_content(shown).items() if has
        }
        for rows in (story(shown, width, "en"), *parts.values()):
            assert all(len(plain(row)) <= max(width, 40) for row in rows)


def test_bytes_that_changed_are_marked_with_the_letters_they_spell() -> None:
    rows = PANELS["memory"](scene(made_up_timeline(), 1), 80, "en")

    assert plain(rows[0]) == "frame 0x200  6 bytes changed"
    assert plain(rows[1]).startswith("pa:0x0000200000  70 61 67 65 20 31 00 00  page 1··")
    assert [piece.text for piece in rows[1] if piece.style == looks.CHANGED] == [
        *["70", "61", "67", "65", "20", "31"],
        *"page 1",
    ]


def test_the_current_line_has_a_sign() -> None:
    rows = [plain(row).rstrip() for row in PANELS["source"](scene(made_up_timeline(), 1), 40, "en")]

    assert rows == ["    1 first line", "▶   2 second line"]


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (132, 43), (140, 40), (160, 45), (240, 70)])
def test_every_screen_has_room_for_all_parts(size: tuple[int, int]) -> None:
    whole, fewer, alone = (arrange(*size, zoom) for zoom in (0, NO_PANELS, ALONE))

    assert whole.walk >= 78 or not whole.is_wide
    assert whole.story >= 37
    assert whole.panels * (whole.panel + 3) + whole.story + 3 <= size[0]
    assert fewer.panels == 0
    assert alone.panel > whole.panel
