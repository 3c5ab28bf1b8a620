"""Report -> text. Colours say what a piece of text means; whatever they say, the letters say too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from lab.views.report import Block, Cell, Column, HexDump, HexRow, KeyValues, Line, Lines, Report, Role, Table

__all__ = ["render_text", "report_lines", "STYLES"]

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

GAP = Cell("  ")


def render_text(report: Report, *, color: bool = False) -> str:
    """The report as lines, ending with a newline; blocks are set apart by an empty line.

    >>> cells = ((Cell("0x1000", Role.VIRTUAL), Cell("4 KiB")),)
    >>> report = Report("lab.example/1", {}, (Table((Column("start"), Column("size", right=True)), cells),))
    >>> print(render_text(report), end="")
    start    size
    0x1000  4 KiB
    """
    paint = _paint if color else _plain
    return "\n".join("".join(map(paint, line)) for line in report_lines(report)) + "\n"


def report_lines(report: Report) -> Iterator[Line]:
    """The same for faces that have looks of their own: lines of cells, with the blanks between them as cells."""
    blocks = [tuple(_block(block)) for block in report.blocks]
    blocks.append(tuple((Cell(f"problem: {each}", Role.BAD),) for each in report.problems))
    for number, block in enumerate(filter(None, blocks)):
        if number:
            yield ()
        yield from map(_trimmed, block)


def _plain(cell: Cell) -> str:
    return cell.text


def _paint(cell: Cell) -> str:
    style = STYLES.get(cell.role)
    return click.style(cell.text, **style) if style and cell.text else cell.text


def _trimmed(line: Line) -> Line:
    """A line without blanks at its end."""
    while line and not line[-1].text.rstrip():
        line = line[:-1]
    return (*line[:-1], line[-1]._replace(text=line[-1].text.rstrip())) if line else line


def _block(block: Block) -> Iterator[Line]:
    match block:
        case Lines():
            return iter(block.lines)
        case Table():
            return _table(block)
        case KeyValues():
            return _key_values(block)
        case HexDump():
            return map(_hex_row, block.rows)


def _table(table: Table) -> Iterator[Line]:
    if table.title:
        yield (Cell(table.title, Role.TITLE),)
    if not table.rows:
        yield (Cell(table.empty, Role.MUTED),)
        return
    rows = [tuple(Cell(column.title, Role.LABEL) for column in table.columns), *table.rows]
    widths = [max(len(row[i].text) for row in rows if i < len(row)) for i in range(len(table.columns))]
    for row in rows:
        yield tuple(_padded(row, table.columns, widths))


def _padded(row: Line, columns: Sequence[Column], widths: Sequence[int]) -> Iterator[Cell]:
    """The cells of a row at their columns' widths; blanks are cells of their own, so that no colour underlines them."""
    for number, (cell, column, width) in enumerate(zip(row, columns, widths, strict=False)):
        if number:
            yield GAP
        blanks = Cell(" " * (width - len(cell.text)))
        yield from (blanks, cell) if column.right else (cell, blanks)


def _key_values(block: KeyValues) -> Iterator[Line]:
    if block.title:
        yield (Cell(block.title, Role.TITLE),)
    width = max((len(name) for name, _ in block.items), default=0)
    for name, line in block.items:
        yield Cell(name, Role.LABEL), Cell(" " * (width - len(name))), GAP, *line


def _hex_row(row: HexRow) -> Line:
    parts = [row.address]
    if row.data:
        digits = [f"{byte:02x}" for byte in row.data] + ["  "] * (16 - len(row.data))
        parts += [Cell(" ".join(digits[:8])), Cell(" ".join(digits[8:])), Cell(_characters(row.data))]
    parts.append(row.note)
    return tuple(each for part in parts for each in (GAP, part))[1:]


def _characters(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data).ljust(16)
