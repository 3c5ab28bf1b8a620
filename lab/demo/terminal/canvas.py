"""Letters with looks: pieces in a row, rows below each other, and a canvas on which they are put anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

from textual.content import Content

from lab.demo.terminal.looks import LOOKS
from lab.views.report import Cell, Line

__all__ = ["Piece", "Row", "Canvas", "row_of", "piece_of", "content_of", "plain", "wide", "cut", "flow"]


class Piece(NamedTuple):
    """Text and what it looks like, in Textual's words for styles."""

    text: str
    style: str = ""


Row: TypeAlias = "tuple[Piece, ...]"


def piece_of(cell: Cell) -> Piece:
    """A report's cell."""
    return Piece(cell.text, LOOKS.get(cell.role, ""))


def row_of(line: Line) -> Row:
    """A report's line."""
    return tuple(map(piece_of, line))


def content_of(rows: Iterable[Row]) -> Content:
    """Rows as Textual shows them."""
    return Content("\n").join(Content.assemble(*row) if row else Content("") for row in rows)


def plain(row: Row) -> str:
    """The letters of a row.

    >>> plain((Piece("a", "bold"), Piece("b")))
    'ab'
    """
    return "".join(piece.text for piece in row)


def wide(row: Row, width: int, style: str = "") -> Row:
    """A row with blanks behind it up to a width."""
    return (*row, Piece(" " * (width - len(plain(row))), style))


def cut(row: Row, width: int) -> Row:
    """A row no wider than `width`; what is left out is an ellipsis.

    >>> plain(cut((Piece("0123"), Piece("4567")), 6))
    '01234…'
    """
    if len(plain(row)) <= width:
        return row
    kept: list[Piece] = []
    room = max(0, width - 1)
    for piece in row:
        kept.append(piece._replace(text=piece.text[:room]))
        room -= len(kept[-1].text)
    return (*kept, Piece("…"))


def flow(row: Row, width: int, indent: int) -> Iterator[Row]:
    """A row as several, if need be; they end between pieces, and all but the first are indented.

    >>> [plain(each) for each in flow((Piece("one"), Piece("  two"), Piece(" three")), 12, 2)]
    ['one  two', '  three']
    """
    line: list[Piece] = []
    for piece in row:
        if line and len(plain(tuple(line))) + len(piece.text.rstrip()) > width:
            yield tuple(line)
            line = [Piece(" " * indent), piece._replace(text=piece.text.lstrip())]
        else:
            line.append(piece)
    yield tuple(line)


class Canvas:
    """A sheet of letters; what is put later covers what was there.

    >>> canvas = Canvas(6, 2)
    >>> canvas.put(1, 0, "ab", "bold")
    >>> canvas.put(2, 1, "c")
    >>> [plain(row) for row in canvas.rows()]
    [' ab   ', '  c   ']
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self._cells: list[list[Piece]] = [[Piece(" ")] * width for _ in range(height)]

    def put(self, x: int, y: int, text: str, style: str = "") -> None:
        """Text from a place on; what stands beyond the right edge is lost."""
        row = self._cells[y]
        for place, letter in enumerate(text[: max(0, self.width - x)], x):
            row[place] = Piece(letter, style)

    def put_row(self, x: int, y: int, row: Sequence[Piece]) -> None:
        """Pieces side by side."""
        for piece in row:
            self.put(x, y, *piece)
            x += len(piece.text)

    def rows(self) -> list[Row]:
        """What was drawn."""
        return [
            tuple(Piece("".join(piece.text for piece in run), style) for style, run in groupby(row, lambda p: p.style))
            for row in self._cells
        ]
