"""Report -> HTML: pieces for a page, or a page of its own that needs nothing from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files

from lab.render.diagram import walk_diagram
from lab.render.markup import Attribute, element, text_of
from lab.render.palette import CLASSES, css_variables
from lab.render.svg import picture_css
from lab.render.walk_svg import walk_svg
from lab.views.report import Block, Cell, HexDump, HexRow, KeyValues, Line, Lines, Report, Role, Table

__all__ = ["render_html", "report_html", "block_html", "cell_html", "report_css"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What the page may load: nothing; its style sheet is part of it."""


def render_html(report: Report, *, title: str = "") -> str:
    """A whole page, ending with a newline; light or dark, as the reader's system is.

    >>> page = render_html(Report("lab.example/1", {}, (Lines(((Cell("0x1000", Role.VIRTUAL),),)),)))
    >>> "http-equiv" in page, '<span class="virtual">0x1000</span>' in page
    (True, True)
    """
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {css_variables('dark')} }} }}"
    style = f":root {{ {css_variables('light')} }}\n{dark}\n{report_css()}\n{picture_css()}"
    head = element(
        "head",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        element("title", text_of(title or report.schema)),
        element("style", style),
    )
    body = element("body", element("main", report_html(report)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def report_css() -> str:
    """The style sheet of reports, with the colours as CSS variables."""
    return files("lab.render").joinpath("report.css").read_text()


def report_html(report: Report, *, clickable: bool = False) -> str:
    """The report as one element; `clickable` lets a page's reader choose each address, by keyboard, too."""
    drawn = PICTURES.get(report.schema, _no_picture)(report)
    blocks = [block_html(block, clickable=clickable) for block in report.blocks]
    problems = [element("p", text_of(f"problem: {each}"), class_="bad") for each in report.problems]
    return element("section", drawn, *blocks, *problems, class_="report")


def _no_picture(report: Report) -> str:  # noqa: ARG001 - every picture is made from a report
    return ""


def _walk_picture(report: Report) -> str:
    return element("figure", walk_svg([walk_diagram(report.data)]))


PICTURES: Mapping[str, Callable[[Report], str]] = {"lab.walk/1": _walk_picture}
"""What stands above the words, by the schema of the report."""


def block_html(block: Block, *, clickable: bool = False) -> str:
    """One block."""

    def line(cells: Line) -> str:
        return "".join(cell_html(cell, clickable=clickable) for cell in cells)

    match block:
        case Lines():
            return element("pre", "\n".join(line(each) for each in block.lines))
        case Table():
            return _table(block, line)
        case KeyValues():
            title = element("h3", text_of(block.title)) if block.title else ""
            pairs = [element("dt", text_of(name)) + element("dd", line(cells)) for name, cells in block.items]
            return title + element("dl", *pairs)
        case HexDump():
            return element("table", element("tbody", *(_hex_row(row, line) for row in block.rows)), class_="bytes")


def cell_html(cell: Cell, *, clickable: bool = False) -> str:
    """The cell's text, marked with what it means."""
    if cell.role is Role.PLAIN:
        return text_of(cell.text)
    name = CLASSES.get(cell.role.value, cell.role.value)
    more: dict[str, Attribute] = {}
    if clickable and cell.role in (Role.VIRTUAL, Role.PHYSICAL):
        more = {"data_address": cell.text.strip(), "role": "button", "tabindex": "0"}
    return element("span", text_of(cell.text), class_=name, **more)


def _table(table: Table, line: Callable[[Line], str]) -> str:
    title = element("h3", text_of(table.title)) if table.title else ""
    if not table.rows:
        return title + element("p", text_of(table.empty), class_="muted")
    sides = ["end" if column.right else None for column in table.columns]
    head = [
        element("th", text_of(column.title), class_=side, scope="col")
        for column, side in zip(table.columns, sides, strict=True)
    ]
    rows = [
        element("tr", *(element("td", line((cell,)), class_=side) for cell, side in zip(row, sides, strict=False)))
        for row in table.rows
    ]
    return title + element("table", element("thead", element("tr", *head)), element("tbody", *rows))


def _hex_row(row: HexRow, line: Callable[[Line], str]) -> str:
    digits = [f"{byte:02x}" for byte in row.data]
    halves = "  ".join(" ".join(half) for half in (digits[:8], digits[8:]) if half)
    spelt = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row.data)
    cells = (line((row.address,)), text_of(halves), element("span", text_of(spelt), class_="muted"), line((row.note,)))
    return element("tr", *(element("td", each) for each in cells))
