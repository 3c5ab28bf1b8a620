"""Report -> text. Colours say what a piece of text means; whatever they say, the letters say too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import click

from lab.views.report import Block, Cell, Column, HexDump, HexRow, KeyValues, Line, Lines, Report, Role, Table

__all__ = ["render_text", "STYLES"]

STYLES: Mapping[Role, Mapping[str, Any]] = {
    Role.TITLE: {"bold": True},
    Role.LABEL: {"bold": True},
    Role.MUTED: {"dim": True},
    Role.VIRTUAL: {"fg": "cyan"},
    Role.PHYSICAL: {"fg": "yellow"},
    Role.LEVEL: {"bold": True},
    Role.FLAGS: {"fg": "magenta"},
    Role.RIGHTS: {"fg": "green"},
    Role.SYMBOL: {"fg": "bright_blue"},
    Role.GOOD: {"fg": "green", "bold": True},
    Role.WARNING: {"fg": "yellow", "bold": True},
    Role.BAD: {"fg": "red", "bold": True},
}

GAP = "  "

Paint: TypeAlias = Callable[[Cell], str]


def render_text(report: Report, *, color: bool = False) -> str:
    """The report as lines, ending with a newline; blocks are set apart by an empty line.

    >>> cells = ((Cell("0x1000", Role.VIRTUAL), Cell("4 KiB")),)
    >>> report = Report("lab.example/1", {}, (Table((Column("start"), Column("size", right=True)), cells),))
    >>> print(render_text(report), end="")
    start    size
    0x1000  4 KiB
    """
    paint = _paint if color else _plain
    parts = ["\n".join(_block(block, paint)) for block in report.blocks]
    if report.problems:
        parts.append("\n".join(paint(Cell(f"problem: {each}", Role.BAD)) for each in report.problems))
    return "\n\n".join(part for part in parts if part) + "\n"


def _plain(cell: Cell) -> str:
    return cell.text


def _paint(cell: Cell) -> str:
    style = STYLES.get(cell.role)
    return click.style(cell.text, **style) if style and cell.text else cell.text


def _block(block: Block, paint: Paint) -> Iterator[str]:
    match block:
        case Lines():
            return ("".join(map(paint, line)) for line in block.lines)
        case Table():
            return _table(block, paint)
        case KeyValues():
            return _key_values(block, paint)
        case HexDump():
            return (_hex_row(row, paint) for row in block.rows)


def _table(table: Table, paint: Paint) -> Iterator[str]:
    if table.title:
        yield paint(Cell(table.title, Role.TITLE))
    if not table.rows:
        yield paint(Cell(table.empty, Role.MUTED))
        return
    rows = [tuple(Cell(column.title, Role.LABEL) for column in table.columns), *table.rows]
    widths = [max(len(row[i].text) for row in rows if i < len(row)) for i in range(len(table.columns))]
    for row in rows:
        yield GAP.join(_padded(row, table.columns, widths, paint)).rstrip()


def _padded(row: Line, columns: Sequence[Column], widths: Sequence[int], paint: Paint) -> Iterator[str]:
    """The cells of a row at their columns' widths; blanks are outside of the colours, so that none underlines them."""
    for cell, column, width in zip(row, columns, widths, strict=False):
        blanks = " " * (width - len(cell.text))
        yield blanks + paint(cell) if column.right else paint(cell) + blanks


def _key_values(block: KeyValues, paint: Paint) -> Iterator[str]:
    if block.title:
        yield paint(Cell(block.title, Role.TITLE))
    width = max((len(name) for name, _ in block.items), default=0)
    for name, line in block.items:
        label = paint(Cell(name, Role.LABEL)) + " " * (width - len(name))
        yield (label + GAP + "".join(map(paint, line))).rstrip()


def _hex_row(row: HexRow, paint: Paint) -> str:
    parts = [paint(row.address)]
    if row.data:
        digits = [f"{byte:02x}" for byte in row.data] + ["  "] * (16 - len(row.data))
        parts += [" ".join(digits[:8]), " ".join(digits[8:]), _characters(row.data)]
    return GAP.join([*parts, paint(row.note)]).rstrip()


def _characters(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data).ljust(16)
