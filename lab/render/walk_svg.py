"""The walk as a diagram: the address cut into its fields, a table a level with the one entry that counts, the frame.

Rows are walks, columns are levels. Walks that end in one frame, one below the other, share its box: that two addresses
are one memory is then seen before it is said. The level that decides is marked; where a walk ends early, what it did
not reach is drawn as a ghost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

from lab.render.diagram import AddressField, Diagram, Hop
from lab.render.markup import element, text_of
from lab.texts import ENGLISH, Text
from lab.x86.address import PhysicalAddress
from lab.x86.levels import size_text

__all__ = ["walk_svg"]

MARGIN = 12
CR3_WIDTH = 104
TABLE_WIDTH = 228
FRAME_WIDTH = 222
GAP = 24

TITLE = 40
"""Height of the line that says the address."""
RIBBON = 70
"""Height of the address cut into fields."""
CARD = 150
"""Height of a table."""
NOTES = 40
"""Height of the lines below it, which say what the level decides."""
CARDS = TITLE + RIBBON + 22
"""From the top of a row to its tables."""
ROW = CARDS + CARD + NOTES
ENTRY = 62
"""Height of an entry."""


Point: TypeAlias = "tuple[float, float]"


class Column(NamedTuple):
    """Where a column stands."""

    x: float
    width: float

    @property
    def end(self) -> float:
        return self.x + self.width


class Grid(NamedTuple):
    """The columns of one picture: CR3, a table a level, the frame."""

    cr3: Column
    tables: tuple[Column, ...]
    frame: Column

    @classmethod
    def of(cls, levels: int) -> Grid:
        """The columns for that many levels."""
        first = MARGIN + CR3_WIDTH + GAP
        tables = tuple(Column(first + i * (TABLE_WIDTH + GAP), TABLE_WIDTH) for i in range(levels))
        return cls(Column(MARGIN, CR3_WIDTH), tables, Column(tables[-1].end + GAP, FRAME_WIDTH))

    @property
    def width(self) -> float:
        return self.frame.end + MARGIN

    def before(self, column: int) -> Column:
        """The column left of table number `column`."""
        return self.tables[column - 1] if column else self.cr3


def walk_svg(diagrams: Sequence[Diagram], labels: Sequence[str] = (), language: str = ENGLISH) -> str:
    """One `<svg>` of all walks, top to bottom; `labels` stand before their addresses. Looks are CSS classes.

    Entries carry `data-entry` and `data-kind`, addresses `data-address`, so that a page can answer to a pointer; the
    hops of a row carry `data-hop`, their order.
    """
    grid = Grid.of(max(len(each.levels) for each in diagrams))
    names = [*labels, *[""] * len(diagrams)]
    groups = list(_same_frame(diagrams))
    boxes = [_frame_box(grid.frame, members, first * ROW, language) for first, members in groups]
    rows = [_row(grid, each, names[i], i * ROW, language) for i, each in enumerate(diagrams)]
    ends = [_end(grid, each, i * ROW + CARDS, language) for i, each in enumerate(diagrams)]
    height = ROW * len(diagrams) + MARGIN / 2
    summary = "; ".join(f"{each.address} {each.summary}" for each in diagrams)
    return element(
        "svg",
        element("title", text_of(f"walk {summary}")),
        *boxes,
        *rows,
        *ends,
        class_="walk",
        viewBox=f"0 0 {grid.width:g} {height:g}",
        xmlns="http://www.w3.org/2000/svg",
        role="group",
        aria_label=f"walk {summary}",
    )


def _same_frame(diagrams: Sequence[Diagram]) -> Iterator[tuple[int, list[Diagram]]]:
    """Neighbouring walks that end in one frame, with the number of the first; unmapped ones stand alone."""
    row = 0
    for _, group in groupby(enumerate(diagrams), key=lambda each: (each[1].frame, each[1].frame is None and each[0])):
        members = [diagram for _, diagram in group]
        yield row, members
        row += len(members)


# --------------------------------------------------------------------------------------------------------- a row ----


def _row(grid: Grid, diagram: Diagram, label: str, top: float, language: str) -> str:
    cards = top + CARDS
    parts = [
        _title(diagram, label, top),
        *_ribbon(grid, diagram, top + TITLE, language),
        _cr3(grid.cr3, diagram, cards, language),
    ]
    for number, level in enumerate(diagram.levels):
        column = grid.tables[number]
        if number < len(diagram.hops):
            hop = diagram.hops[number]
            source = cards + 36 if number == 0 else _entry_top(diagram.hops[number - 1], cards) + ENTRY / 2
            parts.append(_arrow((grid.before(number).end, source), (column.x, cards + 16), number))
            parts.append(_selects(column, hop, top + TITLE + RIBBON, cards))
            parts.append(_table(column, hop, cards, language, is_bad=level == diagram.fault_level))
        else:
            why = Text("not reached") if diagram.physical is None else Text("not needed")
            parts.append(_ghost(column, level, cards, why.in_language(language)))
    return element("g", *parts, class_="row")


def _title(diagram: Diagram, label: str, top: float) -> str:
    parts = [element("tspan", text_of(label + " "), class_="label")] if label else []
    parts.append(
        element("tspan", text_of(diagram.address), class_="virtual address", data_address=hex(diagram.address))
    )
    if diagram.symbol:
        parts.append(element("tspan", text_of("  " + diagram.symbol), class_="symbol"))
    return element("text", *parts, x=MARGIN, y=top + 26, class_="walked mono")


def _ribbon(grid: Grid, diagram: Diagram, top: float, language: str) -> Iterator[str]:
    """Each field above the table it selects in; the bits that no level translates above CR3, the offset at the end."""
    columns = {name: grid.tables[number] for number, name in enumerate(diagram.levels)}
    columns |= {"sign": grid.cr3, "offset": grid.frame}
    leaf = diagram.hops[-1].level if diagram.hops and diagram.hops[-1].leaf else None
    reached_leaf = False
    for field in diagram.fields:
        bad = field.name == "sign" and not diagram.hops and not diagram.fault_level
        is_wide = reached_leaf and field.name != "offset"
        kind = "field bad" if bad else "field wide" if is_wide else "field"
        yield _field(columns[field.name], field, top, kind, _field_name(field, is_wide=is_wide).in_language(language))
        reached_leaf = reached_leaf or (leaf is not None and field.name == leaf)


def _field_name(field: AddressField, *, is_wide: bool) -> Text:
    """What a field is for; one behind a large leaf's own belongs to the offset."""
    names = {"sign": Text("sign"), "offset": Text("offset")}
    index = Text("{level} index", {"level": field.name})
    return Text("offset, too") if is_wide else names.get(field.name, index)


def _field(column: Column, field: AddressField, top: float, kind: str, name: str) -> str:
    """A field's bits, one by one, and their value."""
    middle = column.x + column.width / 2
    if field.name == "sign":
        half = (len(field.digits) + 1) // 2
        halves = enumerate((field.digits[:half], field.digits[half:]))
        lines = [
            element("text", text_of(line), x=middle, y=top + 39 + 18 * i, class_="digits sign mono")
            for i, line in halves
        ]
    else:
        value = element("tspan", text_of(f" {field.value:0{(len(field.digits) + 3) // 4}x}"), class_="index")
        lines = [
            element("text", text_of(field.digits), value, x=middle, y=top + 47, class_=f"digits {field.name} mono")
        ]
    return element(
        "g",
        element("rect", x=column.x, y=top, width=column.width, height=RIBBON - 6, rx=6),
        element("text", text_of(name), x=column.x + 8, y=top + 17, class_="small"),
        element("text", text_of(f"{field.high}:{field.low}"), x=column.end - 8, y=top + 17, class_="small end"),
        *lines,
        class_=kind,
    )


def _selects(column: Column, hop: Hop, top: float, cards: float) -> str:
    """The line from a field down to the entry it selects."""
    x = column.x + 14
    return element("path", d=f"M{x:g} {top - 6:g}V{_entry_top(hop, cards) + ENTRY / 2:g}", class_="selects")


def _cr3(column: Column, diagram: Diagram, top: float, language: str) -> str:
    lines = [line for note in diagram.denials for line in _wrapped("✗ " + note.in_language(language), 15)]
    notes = [
        element("text", text_of(line), x=column.x, y=top + 80 + 16 * i, class_="note narrow warning")
        for i, line in enumerate(lines)
    ]
    return element(
        "g",
        element("rect", x=column.x, y=top + 4, width=column.width, height=58, rx=8),
        element("text", text_of("CR3"), x=column.x + 10, y=top + 25, class_="level"),
        _physical(diagram.root, column.x + 10, top + 48, "small"),
        *notes,
        class_="register",
    )


# -------------------------------------------------------------------------------------------------------- a table ----


def _entry_top(hop: Hop, cards: float) -> float:
    """Where the entry is drawn: as far down in its table as its index says."""
    return cards + 36 + hop.index / (hop.entries - 1) * (CARD - 36 - ENTRY - 8)


def _table(column: Column, hop: Hop, top: float, language: str, *, is_bad: bool) -> str:
    notes = [
        element(
            "text",
            text_of("✗ " + note.in_language(language)),
            x=column.x,
            y=top + CARD + 19 + 18 * i,
            class_="note warning",
        )
        for i, note in enumerate(hop.decides)
    ]
    return element(
        "g",
        element("rect", x=column.x, y=top, width=column.width, height=CARD, rx=8, class_="card"),
        element("text", text_of(hop.level), x=column.x + 28, y=top + 23, class_="level"),
        _physical(hop.table, column.end - 10, top + 23, "small end"),
        _ruler(column, hop, top),
        _entry(column, hop, _entry_top(hop, top), language),
        *notes,
        class_="table bad" if is_bad else "table decides" if hop.decides else "table",
    )


def _ruler(column: Column, hop: Hop, top: float) -> str:
    """All 512 entries as a thin bar, and the place of this one."""
    start, length = top + 40, CARD - 52
    return element(
        "g",
        element("path", d=f"M{column.x + 14:g} {start:g}v{length:g}", class_="ruler"),
        element("circle", cx=column.x + 14, cy=_entry_top(hop, top) + ENTRY / 2, r=4),
        class_="ruler-group",
    )


def _entry(column: Column, hop: Hop, top: float, language: str) -> str:
    x = column.x + 25
    value = element(
        "text",
        *_value(hop),
        x=x + 9,
        y=top + 49,
        class_="value mono",
    )
    flags = " ".join(hop.flags) if hop.flags else Text("not present").in_language(language)
    room = column.width - 32 - 74
    squeezed = {"textLength": f"{room:g}", "lengthAdjust": "spacingAndGlyphs"} if 9 * len(flags) > room else {}
    return element(
        "g",
        element("rect", x=x, y=top, width=column.width - 32, height=ENTRY, rx=6),
        element("text", text_of(f"[{hop.index:03x}]"), x=x + 9, y=top + 24, class_="index mono"),
        element("text", text_of(flags), x=column.end - 16, y=top + 24, class_="flags mono end", **squeezed),
        value,
        class_="entry",
        tabindex="0",
        role="button",
        data_entry=hex(hop.entry),
        data_kind=hop.kind,
        data_level=hop.level,
        data_at=hex(hop.entry_address),
        data_address=None if hop.target is None else f"pa:{int(hop.target):#x}",
        aria_label=f"{hop.level} entry {hop.index:#x}: 0x{hop.digits} {flags}",
    )


def _value(hop: Hop) -> Iterator[str]:
    """The entry's digits, those of the frame number in the colour of physical addresses."""
    if hop.target is None:
        yield element("tspan", text_of("0x" + hop.digits), class_="muted")
        return
    first = len(hop.digits) - 13 if len(hop.digits) > 13 else 0
    yield element("tspan", text_of("0x" + hop.digits[:first]))
    yield element("tspan", text_of(hop.digits[first:-3]), class_="physical")
    yield element("tspan", text_of(hop.digits[-3:]))


def _ghost(column: Column, level: str, top: float, why: str) -> str:
    return element(
        "g",
        element("rect", x=column.x, y=top, width=column.width, height=CARD, rx=8, class_="card"),
        element("text", text_of(level), x=column.x + 28, y=top + 23, class_="level muted"),
        element("text", text_of(why), x=column.x + column.width / 2, y=top + CARD / 2 + 6, class_="middle muted"),
        class_="ghost",
    )


# --------------------------------------------------------------------------------------------------------- frames ----


def _frame_box(column: Column, members: Sequence[Diagram], top: float, language: str) -> str:
    """The box of the frame that these walks share; nothing for a walk that reaches none."""
    frame, size = members[0].frame, members[0].page_size
    if frame is None:
        return ""
    top += CARDS
    height = (len(members) - 1) * ROW + CARD
    parts = [
        element("rect", x=column.x, y=top, width=column.width, height=height, rx=8, class_="card"),
        element(
            "text",
            text_of(Text("frame {number:#x}", {"number": frame.frame}).in_language(language)),
            x=column.x + 14,
            y=top + 23,
            class_="level",
        ),
        element("text", text_of(size_text(size)), x=column.end - 24, y=top + 23, class_="small end"),
    ]
    if len(members) > 1:
        number = element("tspan", text_of(f"{frame.frame:#x}"), class_="physical mono huge")
        middle = column.x + column.width / 2
        count = Text("{count} addresses, one frame", {"count": len(members)}).in_language(language)
        parts.append(element("text", text_of(count), x=middle, y=top + CARD + 13, class_="middle small"))
        parts.append(element("text", number, x=middle, y=top + CARD + 46, class_="middle"))
    return element("g", *parts, class_="frame")


def _end(grid: Grid, diagram: Diagram, top: float, language: str) -> str:
    """The arrow into the frame, the byte that the offset selects, and what may be done there; or the fault."""
    if diagram.physical is None:
        return _fault(grid.frame, diagram, top, language)
    column, last = grid.frame, len(diagram.hops) - 1
    source = _entry_top(diagram.hops[-1], top) + ENTRY / 2
    y = top + 62
    rights = ("rights", f"supervisor {diagram.supervisor}"), ("rights", f"user {diagram.user}")
    return element(
        "g",
        _arrow((grid.tables[last].end, source), (column.x, top + 16), last + 1),
        element("path", d=f"M{column.end - 12:g} {top - 32:g}V{y - 20:g}", class_="selects"),
        element("rect", x=column.x + 8, y=y - 20, width=column.width - 16, height=28, rx=4, class_="byte"),
        _physical(diagram.physical, column.x + 16, y, ""),
        *(
            element("text", text_of(line), x=column.x + 16, y=y + 30 + 20 * i, class_=f"{kind} small mono")
            for i, (kind, line) in enumerate((("muted", diagram.memory_type), *rights))
        ),
        class_="frame",
    )


def _fault(column: Column, diagram: Diagram, top: float, language: str) -> str:
    words = _wrapped(diagram.fault.in_language(language), 24)
    where = [diagram.fault_level or Text("the address").in_language(language)]
    lines = [
        element("text", text_of(line), x=column.x + 16, y=top + 60 + 20 * i, class_="small")
        for i, line in enumerate(where + words)
    ]
    return element(
        "g",
        element("rect", x=column.x, y=top, width=column.width, height=CARD, rx=8, class_="card"),
        element(
            "text",
            text_of("✗ " + Text("no frame").in_language(language)),
            x=column.x + 14,
            y=top + 28,
            class_="level bad",
        ),
        *lines,
        class_="fault",
    )


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)[:5]


# ---------------------------------------------------------------------------------------------------------- parts ----


def _arrow(start: Point, end: Point, number: int) -> str:
    """A curve from an entry to the top of what it points to."""
    (x, y), (to_x, to_y) = start, end
    middle = (x + to_x) / 2
    path = f"M{x - 8:g} {y:g}C{middle + 14:g} {y:g} {middle - 14:g} {to_y:g} {to_x - 9:g} {to_y:g}"
    head = f"M{to_x - 10:g} {to_y - 6:g}l10 6l-10 6z"
    return element(
        "g",
        element("path", d=path, class_="line", pathLength=1),
        element("path", d=head, class_="head"),
        class_="arrow",
        data_hop=number,
    )


def _physical(address: PhysicalAddress, x: float, y: float, kind: str) -> str:
    return element(
        "text",
        text_of(_short(address)),
        x=x,
        y=y,
        class_=f"physical mono address {kind}".strip(),
        data_address=f"pa:{int(address):#x}",
    )


def _short(address: PhysicalAddress) -> str:
    """As it prints elsewhere, without the zeros that only make columns even."""
    return f"pa:{int(address):#x}" if address < 1 << 40 else str(address)
