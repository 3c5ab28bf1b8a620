"""Report -> SVG, a picture that stands for itself: no script, no font and no address of any other place in it.

A walk becomes its diagram; any other report is set as text in columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files

from lab.render.diagram import walk_diagram
from lab.render.markup import element, text_of
from lab.render.palette import CLASSES, PALETTES, resolved
from lab.render.walk_svg import walk_svg
from lab.views.report import Block, Cell, HexDump, KeyValues, Line, Lines, Report, Role, Table

__all__ = ["render_svg", "picture_css"]

NAMESPACE = "http://www.w3.org/2000/svg"
ADVANCE, LEADING, MARGIN = 9.0, 24, 20
"""Width of a monospaced character at 15 px (the widest of the fonts asked for), height of a line, room around."""

STYLE = """
.report { font-size: 15px }
.report .title, .report .label { font-weight: 700 }
.report .stripe { fill: var(--surface) }
.report .rule { stroke: var(--line); stroke-width: 1.5 }
"""


def render_svg(report: Report, *, theme: str = "light") -> str:
    """One SVG document, ending with a newline; `theme` is a key of `PALETTES`.

    >>> report = Report("lab.example/1", {}, (Lines(((Cell("0x1000", Role.VIRTUAL),),)),))
    >>> picture = render_svg(report)
    >>> 'class="virtual"' in picture, picture.startswith("<svg")
    (True, True)
    """
    draw = DRAWINGS.get(report.schema, _text_picture)
    return _alone(draw(report), theme) + "\n"


def picture_css() -> str:
    """The style sheet of pictures, with the colours as CSS variables."""
    return files("lab.render").joinpath("picture.css").read_text()


def _alone(picture: str, theme: str) -> str:
    """A picture with its looks and its paper inside."""
    style = element("style", resolved(picture_css() + STYLE, theme))
    paper = element("rect", width="100%", height="100%", fill=PALETTES[theme]["background"])
    head = picture.index(">") + 1
    return picture[:head] + style + paper + picture[head:]


def _walk_picture(report: Report) -> str:
    return walk_svg([walk_diagram(report.data)])


DRAWINGS: Mapping[str, Callable[[Report], str]] = {"lab.walk/1": _walk_picture}
"""Reports that are more than text, by their schemas."""


# ----------------------------------------------------------------------------------------------- text in columns ----


class Sheet:
    """Lines of text that are placed one below the other."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.columns = 0
        self.y = float(MARGIN)

    def write(self, *placed: tuple[int, Cell]) -> None:
        """A line: each cell at its column."""
        self.y += LEADING
        spans = []
        for column, cell in placed:
            self.columns = max(self.columns, column + len(cell.text))
            if cell.text:
                name = CLASSES.get(cell.role.value, cell.role.value)
                spans.append(element("tspan", text_of(cell.text), x=MARGIN + column * ADVANCE, class_=name))
        if spans:
            self.parts.append(element("text", *spans, y=self.y - 7, class_="mono"))

    def rule(self) -> None:
        """A line under what was written last, across the whole sheet."""
        self.parts.append(element("path", d=f"M{MARGIN} {self.y + 2:g}H100000", class_="rule"))
        self.y += 6

    def stripe(self) -> None:
        """Shade the next line."""
        self.parts.append(element("rect", x=0, y=self.y, width="100%", height=LEADING, class_="stripe"))

    def svg(self) -> str:
        """The picture, as large as what is on it."""
        width, height = 2 * MARGIN + self.columns * ADVANCE, self.y + MARGIN
        size = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
        return element("svg", *self.parts, class_="report", xmlns=NAMESPACE, **size)


def _text_picture(report: Report) -> str:
    sheet = Sheet()
    for number, block in enumerate(report.blocks):
        if number:
            sheet.y += LEADING / 2
        _place(sheet, block)
    for problem in report.problems:
        sheet.write((0, Cell(f"problem: {problem}", Role.BAD)))
    return sheet.svg()


def _place(sheet: Sheet, block: Block) -> None:
    match block:
        case Lines():
            for line in block.lines:
                sheet.write(*_following(line))
        case Table():
            _place_table(sheet, block)
        case KeyValues():
            _place_pairs(sheet, block)
        case HexDump():
            for row in block.rows:
                sheet.write(*_following(_hex_cells(row.address, row.data, row.note)))


def _following(line: Line, column: int = 0) -> Iterator[tuple[int, Cell]]:
    for cell in line:
        yield column, cell
        column += len(cell.text)


def _place_table(sheet: Sheet, table: Table) -> None:
    if table.title:
        sheet.write((0, Cell(table.title, Role.TITLE)))
    if not table.rows:
        sheet.write((0, Cell(table.empty, Role.MUTED)))
        return
    rows: Sequence[Line] = [tuple(Cell(each.title, Role.LABEL) for each in table.columns), *table.rows]
    widths = [max(len(row[i].text) for row in rows if i < len(row)) for i in range(len(table.columns))]
    starts = [sum(widths[:i]) + 2 * i for i in range(len(widths))]
    for number, row in enumerate(rows):
        if number > 1 and number % 2 == 0:
            sheet.stripe()
        placed = zip(starts, widths, table.columns, row, strict=False)
        sheet.write(*((x + width - len(cell.text) if column.right else x, cell) for x, width, column, cell in placed))
        if number == 0:
            sheet.rule()


def _place_pairs(sheet: Sheet, block: KeyValues) -> None:
    if block.title:
        sheet.write((0, Cell(block.title, Role.TITLE)))
    width = max((len(name) for name, _ in block.items), default=0)
    for name, line in block.items:
        sheet.write((0, Cell(name, Role.LABEL)), *_following(line, width + 2))


def _hex_cells(address: Cell, data: bytes, note: Cell) -> Line:
    digits = " ".join(f"{byte:02x}" for byte in data).ljust(47 if data else 0)
    spelt = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
    return (address, Cell(f"  {digits}  "), Cell(f"{spelt:<16}  " if data else "", Role.MUTED), note)
