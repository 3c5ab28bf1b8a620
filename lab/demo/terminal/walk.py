"""The walk in letters: the address cut into its fields, and below each field the table that it is the index of.

::

    pool  0xfffffa8040000000 → pa:0x000006c000
    63            48  47     39   38     30
    1111111111111111  111110101   000000001   …
                          │ 1f5       │ 001
    ┌ CR3 ─────────┐  ┌ PML4 ───┐ ┌ PDPT ───┐
    │ 0x2ea000     ├─▶│002fc063 ├▶│00001063 ├▶
    └──────────────┘  └─────────┘ └─────────┘
                       P W A       P W A

Where there is room, an entry stands in one line and a table shows that it has more of them. Where there is less, the
digits of an entry are two lines, and walks for which there is no room at all are a line each.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lab.demo.scene import Walked
from lab.demo.terminal import looks
from lab.demo.terminal.canvas import Canvas, Piece, Row, cut
from lab.demo.terminal.words import WORDS
from lab.demo.words import name_in
from lab.render.diagram import AddressField, Diagram, Hop
from lab.texts import ENGLISH
from lab.x86.address import PhysicalAddress
from lab.x86.levels import size_text

__all__ = ["draw_walks", "draw_walk"]

FRAME_LETTERS = 15
"""A physical address."""


def draw_walks(
    walks: Sequence[Walked],
    width: int,
    height: int,
    changed: Mapping[PhysicalAddress, int],
    language: str = ENGLISH,
) -> list[Row]:
    """As many walks as fit into the height as pictures, all others as a line.

    `changed` are masks of the bits that an entry, by its address, has just got or lost. Of a walk that leads to the
    frame of one above it that is said.
    """
    rows: list[Row] = []
    same = WORDS["same"].in_language(language)
    frames: set[PhysicalAddress] = set()
    for number, walked in enumerate(walks):
        frame = walked.diagram.frame
        known = same if frame in frames else ""
        picture = draw_walk(walked, width, changed, known, language)
        left = len(walks) - number - 1
        if number == 0 or len(rows) + 1 + len(picture) + left <= height:
            rows += [*([()] if rows else []), *picture]
        else:
            rows.append(_short(walked, width, known))
        if frame is not None:
            frames.add(frame)
    return rows


def draw_walk(
    walked: Walked, width: int, changed: Mapping[PhysicalAddress, int], known: str = "", language: str = ENGLISH
) -> list[Row]:
    """One walk as a picture; `known` is what is to be said of a frame to which a walk above led, too."""
    title = known or name_in("frame", language)
    drawing = _Drawing(walked.diagram, _plan(walked.diagram, width), changed, title, is_known=bool(known))
    return [cut(_heading(walked), width), *drawing.rows(), *_verdict(walked.diagram, width, language)]


# ----------------------------------------------------------------------------------------------------- in words ----


def _heading(walked: Walked) -> Row:
    diagram = walked.diagram
    found = [Piece(f"{walked.label}  ", looks.STRONG)] if walked.label else []
    found.append(Piece(str(diagram.address), "bold $lab-virtual"))
    if diagram.symbol and diagram.symbol != walked.label:
        found.append(Piece(f"  {diagram.symbol}", "$lab-symbol"))
    found.append(Piece(" → ", looks.MUTED))
    if diagram.physical is None:
        found.append(Piece("✗", looks.BAD))
    else:
        found.append(Piece(str(diagram.physical), "bold $lab-physical"))
    return tuple(found)


def _short(walked: Walked, width: int, known: str) -> Row:
    """A walk in one line: its indices are its way."""
    way = "·".join(f"{hop.index:03x}" for hop in walked.diagram.hops)
    same = (Piece(f"  ═ {known}", looks.GOOD),) if known else ()
    address, *rest = _heading(walked)[-3:] if not walked.label else _heading(walked)[1:]
    label = Piece(f"{walked.label}  " if walked.label else "", looks.STRONG)
    return cut((label, address, Piece(f"  {way}", looks.MUTED), *rest, *same), width)


def _verdict(diagram: Diagram, width: int, language: str) -> Iterator[Row]:
    """What the address is good for, and which level forbids what."""
    if diagram.physical is None:
        fault = diagram.fault.in_language(language)
        head = Piece(f"✗ {diagram.fault_level} {fault}".replace("✗  ", "✗ "), looks.BAD)
    else:
        rights = f"supervisor {diagram.supervisor}  user {diagram.user}"
        head = Piece(f"{size_text(diagram.page_size)}  {diagram.memory_type}  {rights}", "$lab-rights")
    denied = [
        f"✗ {hop.level}: {each.in_language(language)}"
        for hop in diagram.hops
        for each in hop.decides
        if diagram.physical is not None
    ]
    denied += [f"✗ {each.in_language(language)}" for each in diagram.denials]
    row = [head]
    for each in denied:
        if sum(len(piece.text) for piece in row) + 2 + len(each) > width:
            yield cut(tuple(row), width)
            row = [Piece(each, looks.MUTED)]
        else:
            row.append(Piece(f"  {each}", looks.MUTED))
    yield cut(tuple(row), width)


# ------------------------------------------------------------------------------------------------------- places ----


@dataclass(frozen=True)
class _Column:
    """Where a box stands, and the field of the address above it."""

    x: int
    width: int

    @property
    def end(self) -> int:
        return self.x + self.width

    @property
    def middle(self) -> int:
        return self.x + self.width // 2


@dataclass(frozen=True)
class _Plan:
    """The columns of a picture. An entry has so many `digits` in so many `lines`; `gap` is between two boxes."""

    root: _Column
    tables: tuple[_Column, ...]
    frame: _Column
    gap: int
    digits: int
    lines: int

    @classmethod
    def of(cls, levels: int, digits: int, lines: int, *, gap: int, widths: tuple[int, int, int]) -> _Plan:
        """Boxes side by side; `widths` are those of CR3's, of a table's and of the frame's."""
        root, table, frame = widths
        tables = tuple(_Column(root + gap + i * (table + gap), table) for i in range(levels))
        return cls(_Column(0, root), tables, _Column(tables[-1].end + gap, frame), gap, digits, lines)

    @property
    def width(self) -> int:
        return self.frame.end


def _plan(diagram: Diagram, width: int) -> _Plan:
    """The most generous plan that fits; the tightest one where none does."""
    plans = list(_plans(diagram))
    return next((plan for plan in plans if plan.width <= width), plans[-1])


def _plans(diagram: Diagram) -> Iterator[_Plan]:
    """All plans, from wide to narrow: first the blanks go, then an entry is cut into two lines."""
    sign = len(diagram.fields[0].digits) if diagram.fields[0].name == "sign" else 0
    digits = len(diagram.hops[0].digits) if diagram.hops else 16 if sign else 8
    levels = len(diagram.levels)
    for pad, gap in ((2, 4), (2, 3), (1, 3), (1, 2), (1, 1)):
        yield _Plan.of(levels, digits, 1, gap=gap, widths=(max(sign, 12), max(digits, 10) + 2 + pad, FRAME_LETTERS + 4))
    for pad, gap in ((3, 7), (3, 5), (1, 5), (1, 4), (1, 3), (1, 2), (1, 1), (0, 1)) if digits == 16 else ():
        yield _Plan.of(levels, digits, 2, gap=gap, widths=(max(sign, 10 + 2 * pad), 10 + pad, 12 + min(pad, 1)))


# ------------------------------------------------------------------------------------------------------ drawing ----

NUMBERS, BITS, FALL, BOX = 0, 1, 2, 3
"""The lines from the top."""


class _Drawing:
    """One picture, part by part."""

    def __init__(
        self, diagram: Diagram, plan: _Plan, changed: Mapping[PhysicalAddress, int], title: str, *, is_known: bool
    ) -> None:
        self.diagram = diagram
        self.plan = plan
        self.changed = changed
        self.title = title  # of the frame
        self.is_known = is_known
        room = plan.tables[0].width + plan.gap - 1
        self.flags = [textwrap.wrap(" ".join(hop.flags), room) for hop in diagram.hops]
        self.bottom = BOX + 1 + plan.lines
        height = self.bottom + 1 + max(map(len, self.flags), default=0)
        self.canvas = Canvas(plan.frame.end, height)

    def rows(self) -> list[Row]:
        """The picture."""
        self._ribbon()
        self._root()
        for number, column in enumerate(self.plan.tables):
            self._table(number, column)
        self._frame()
        self._arrows()
        return self.canvas.rows()

    # ------------------------------------------------------------------------------------------- the address ----

    def _ribbon(self) -> None:
        """The fields of the address, each above the box that it chooses from."""
        fields = list(self.diagram.fields)
        if fields[0].name == "sign":
            self._field(fields.pop(0), self.plan.root.x, looks.MUTED)
        for field, column in zip(fields, (*self.plan.tables, self.plan.frame), strict=True):
            self._field(field, column.middle - len(field.digits) // 2, looks.CUT if self._cuts(field) else looks.OFFSET)

    def _cuts(self, field: AddressField) -> bool:
        """Whether a table translates these bits; below the entry of a large page they belong to the offset."""
        is_reached = field.name in {hop.level for hop in self.diagram.hops}
        return is_reached or (self.diagram.physical is None and field.name != "offset")

    def _field(self, field: AddressField, x: int, style: str) -> None:
        """Numbers and digits of a field, and the index that falls out of it."""
        digits = field.digits
        high, low = str(field.high), str(field.low)
        if len(high) + len(low) < len(digits):
            self.canvas.put(x, NUMBERS, high, looks.MUTED)
            self.canvas.put(x + len(digits) - len(low), NUMBERS, low, looks.MUTED)
        else:
            self.canvas.put(x - 1, NUMBERS, f"{high}-{low}", looks.MUTED)
        if len(digits) > 13:
            self.canvas.put(x + (len(digits) - len(field.name)) // 2, NUMBERS, field.name, looks.MUTED)
        self.canvas.put(x, BITS, digits, style)
        falls = field.name == "offset" or field.name in {hop.level for hop in self.diagram.hops}
        if falls and (field.name != "offset" or self.diagram.physical is not None):
            place, style = x + len(digits) // 2, "bold $lab-virtual" if self._cuts(field) else "bold $lab-physical"
            self.canvas.put(place, FALL, "│", looks.MUTED)
            offset = self.diagram.address & self.diagram.page_size - 1
            value = offset if field.name == "offset" else field.value
            self.canvas.put(place + 2, FALL, f"{value:03x}", style)

    # --------------------------------------------------------------------------------------------- the boxes ----

    def _box(self, column: _Column, title: str, *, style: str = looks.LINE, letters: str = "┌─┐│└┘") -> None:
        left, line, right, side, low_left, low_right = tuple(letters)
        inner = column.width - 2
        canvas = self.canvas
        canvas.put(column.x, BOX, left + line * inner + right, style)
        for y in range(BOX + 1, self.bottom):
            canvas.put(column.x, y, side, style)
            canvas.put(column.end - 1, y, side, style)
        canvas.put(column.x, self.bottom, low_left + line * inner + low_right, style)
        if title:
            canvas.put(column.x + 1, BOX, f" {title} " if len(title) + 2 <= inner else title[:inner], looks.STRONG)

    def _arrows(self) -> None:
        """From each box to the one that it points to; a large page's leaf needs no table of the lower levels."""
        boxes = (self.plan.root, *self.plan.tables[: len(self.diagram.hops)])
        ends = self.plan.tables[: len(self.diagram.hops)]
        if self.diagram.physical is not None:
            ends = (*ends, self.plan.frame)
        for start, end in zip(boxes, ends, strict=False):
            self.canvas.put(start.end - 1, BOX + 1, "├" + "─" * (end.x - start.end - 1) + "▶", "$lab-text")

    def _root(self) -> None:
        column = self.plan.root
        self._box(column, "CR3")
        root = f"{self.diagram.root:#x}"
        self.canvas.put(column.x + (2 if len(root) + 3 <= column.width else 1), BOX + 1, root, "$lab-physical")

    def _table(self, number: int, column: _Column) -> None:
        """The table of a level, with the one entry that counts; a ghost where the walk has ended before."""
        name = self.diagram.levels[number]
        if number >= len(self.diagram.hops):
            if self.diagram.physical is not None:
                return
            self._box(column, "", letters="┌╌┐╎└┘")
            self.canvas.put(column.x + 2, BOX, name, looks.MUTED)
            return
        hop = self.diagram.hops[number]
        self._box(column, self._title(hop, column), style="bold $lab-bad" if self._fails(hop) else looks.LINE)
        self._entry(hop, column)
        for line, words in enumerate(self.flags[number]):
            self.canvas.put(column.x + 1, self.bottom + 1 + line, words, "$lab-flags")

    def _title(self, hop: Hop, column: _Column) -> str:
        long = f"{hop.level} {hop.table:#x}"
        return long if self.plan.lines == 1 and len(long) + 4 <= column.width else hop.level

    def _fails(self, hop: Hop) -> bool:
        return bool(self.diagram.fault) and hop.level == self.diagram.fault_level

    def _entry(self, hop: Hop, column: _Column) -> None:
        """The digits of an entry, those marked in which a bit has just changed."""
        digits, lines = hop.digits, self.plan.lines
        mask = f"{self.changed.get(hop.entry_address, 0):0{len(digits)}x}"
        style = looks.BAD if self._fails(hop) else "" if hop.entry & 1 else looks.MUTED
        each = len(digits) // lines
        for place, (digit, differs) in enumerate(zip(digits, mask, strict=True)):
            line, x = divmod(place, each)
            left = column.x + 1 + max(0, column.width - 2 - each) // 2
            self.canvas.put(left + x, BOX + 1 + line, digit, looks.CHANGED if differs != "0" else style)

    def _frame(self) -> None:
        column, physical = self.plan.frame, self.diagram.physical
        if physical is None or self.diagram.frame is None:
            self._box(column, "", letters="┌╌┐╎└┘")
            self.canvas.put(column.x + 2, BOX, self.title, looks.MUTED)
            return
        heavy = self.is_known
        self._box(
            column, self.title, style=looks.GOOD if heavy else "$lab-physical", letters="╔═╗║╚╝" if heavy else "┌─┐│└┘"
        )
        if self.plan.lines == 1:
            self.canvas.put(column.x + 2, BOX + 1, str(physical), "bold $lab-physical")
        else:
            self.canvas.put(column.x + 2, BOX + 1, f"{self.diagram.frame:#x}"[: column.width - 3], "bold $lab-physical")
            self.canvas.put(column.x + 2, BOX + 2, f"+{physical - self.diagram.frame:#x}", "$lab-physical")
