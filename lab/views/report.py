"""The one grid model: what an inspector says, before any face (text, JSON, a page) shows it.

A `Report` carries the answer twice: `data`, which programs read, and `blocks`, which people read. A block is made of
cells, and a cell says what its text *means* (a virtual address, a right, something bad), never how it looks. So one
renderer can colour it, another can make it a link, and a third can drop all of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias

__all__ = [
    "Report",
    "Block",
    "Lines",
    "Table",
    "Column",
    "KeyValues",
    "HexDump",
    "HexRow",
    "Cell",
    "Role",
    "Json",
    "Line",
    "cell",
]

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


class Role(Enum):
    """What a cell's text is. Renderers choose the looks; a role without looks of its own is shown plainly."""

    PLAIN = "plain"
    TITLE = "title"
    LABEL = "label"
    MUTED = "muted"
    VIRTUAL = "virtual address"
    PHYSICAL = "physical address"
    ENTRY = "entry"
    LEVEL = "level"
    FLAGS = "flags"
    RIGHTS = "rights"
    SYMBOL = "symbol"
    NUMBER = "number"
    BYTES = "bytes"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


class Cell(NamedTuple):
    """A piece of text and what it means.

    >>> Cell("0xfffff88000004010", Role.VIRTUAL).text
    '0xfffff88000004010'
    """

    text: str
    role: Role = Role.PLAIN


Line: TypeAlias = tuple[Cell, ...]


def cell(value: object, role: Role = Role.PLAIN) -> Cell:
    """Make a cell of anything that prints well; None becomes an empty cell.

    >>> cell(None).text, cell(512, Role.NUMBER).text
    ('', '512')
    """
    return Cell("" if value is None else str(value), role)


class Lines(NamedTuple):
    """Lines whose cells follow each other with nothing between; for grammars that fix every blank."""

    lines: tuple[Line, ...]


class Column(NamedTuple):
    """A column of a table: its title, and whether its cells stand at the right edge."""

    title: str
    right: bool = False


class Table(NamedTuple):
    """Rows under titled columns. `empty` is said instead when there are no rows."""

    columns: tuple[Column, ...]
    rows: tuple[Line, ...]
    title: str = ""
    empty: str = "nothing"


class KeyValues(NamedTuple):
    """Names with what stands behind each, one a line."""

    items: tuple[tuple[str, Line], ...]
    title: str = ""


class HexRow(NamedTuple):
    """Up to sixteen bytes at an address, none for a hole. `note` says where the bytes come from, or why none do."""

    address: Cell
    data: bytes
    note: Cell = Cell("")


class HexDump(NamedTuple):
    """Bytes with their addresses and, at the right, the characters they spell."""

    rows: tuple[HexRow, ...]


Block: TypeAlias = Lines | Table | KeyValues | HexDump


class Report(NamedTuple):
    """One answer: `schema` names the shape of `data`; `blocks` are the same for people.

    `answer` is False when the answer is no (not mapped, nothing found), which the command line ends with 1.
    `problems` are sentences about what could not be read or does not fit together; they are part of the data too.
    """

    schema: str
    data: Mapping[str, Json]
    blocks: tuple[Block, ...]
    answer: bool = True
    problems: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The object a program reads: `schema` first, then the data, then `problems` when there are any."""
        found: dict[str, Json] = {"schema": self.schema, **self.data}
        if self.problems:
            found["problems"] = list(self.problems)
        return found


def lines(texts: Iterable[Iterable[Cell]]) -> Lines:
    """A `Lines` block of any nested iterables of cells."""
    return Lines(tuple(tuple(line) for line in texts))
