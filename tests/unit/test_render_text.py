"""Reports as text and JSON."""

from __future__ import annotations

import json

import click
from hypothesis import given
from hypothesis import strategies as st

from lab.memory import MadeUpSpace
from lab.paging import walk
from lab.render import render_json, render_text
from lab.snapshot import Registers, Snapshot
from lab.views import all_views
from lab.views.cells import walk_line
from lab.views.report import Cell, Column, HexDump, HexRow, KeyValues, Lines, Report, Role, Table
from lab.x86 import VirtualAddress

REPORT = Report(
    "lab.test/1",
    {"value": 1, "list": ["0x1"]},
    (
        Lines(((Cell("a title", Role.TITLE),), (Cell("  x "), Cell("0x10", Role.VIRTUAL)))),
        Table(
            (Column("name"), Column("size", right=True), Column("")),
            ((Cell("a"), Cell("4 KiB", Role.NUMBER), Cell("")), (Cell("longer"), Cell("1"), Cell("note", Role.MUTED))),
            title="things",
        ),
        Table((Column("name"),), (), empty="none of these"),
        KeyValues((("key", (Cell("value"),)), ("longer key", ())), title="facts"),
        HexDump(
            (
                HexRow(Cell("0x1000"), bytes(range(0x3A, 0x4A)), Cell("pa:0x5000", Role.PHYSICAL)),
                HexRow(Cell("0x1010"), b"a\x00\xff"),
                HexRow(Cell("0x2000"), b"", Cell("missing", Role.BAD)),
            )
        ),
    ),
    problems=("the header is damaged",),
)

PLAIN = """\
a title
  x 0x10

things
name     size
a       4 KiB
longer      1  note

none of these

facts
key         value
longer key

0x1000  3a 3b 3c 3d 3e 3f 40 41  42 43 44 45 46 47 48 49  :;<=>?@ABCDEFGHI  pa:0x5000
0x1010  61 00 ff                                          a..
0x2000  missing

problem: the header is damaged
"""


def test_plain_text() -> None:
    assert render_text(REPORT) == PLAIN


def test_colours_change_nothing_but_colours() -> None:
    coloured = render_text(REPORT, color=True)
    assert "\x1b[" in coloured
    assert click.unstyle(coloured) == PLAIN


def test_json_has_the_schema_first_and_the_problems_last() -> None:
    found = json.loads(render_json(REPORT))
    assert list(found) == ["schema", "value", "list", "problems"]
    assert found["schema"] == "lab.test/1"


@given(st.integers(0, (1 << 64) - 1), st.booleans())
def test_the_walks_cells_are_its_lines(address: int, mapped: bool) -> None:
    space = MadeUpSpace()
    va = VirtualAddress(address)
    if mapped and va.is_canonical(4):
        space.map(address & ~0xFFF, 0x12A000, "rw-", accessed=True, global_=True)
    for text in walk(space.memory, space.state, va).lines():
        assert "".join(cell.text for cell in walk_line(text)) == text


def test_the_walks_cells_say_what_they_are() -> None:
    space = MadeUpSpace()
    space.map(0x5000, 0x12A000, "rw-")
    report = all_views()["walk"].run(Snapshot(space.memory, space.state, Registers()), {"address": "0x5000"})
    (block,) = report.blocks
    assert isinstance(block, Lines)
    roles = [{cell.role for cell in line} - {Role.PLAIN} for line in block.lines]
    assert roles[0] == {Role.VIRTUAL, Role.PHYSICAL}
    assert roles[4] == {Role.LEVEL, Role.PHYSICAL, Role.ENTRY, Role.FLAGS}
    assert roles[5] == {Role.PHYSICAL, Role.RIGHTS}
    assert roles[6] == {Role.WARNING}
