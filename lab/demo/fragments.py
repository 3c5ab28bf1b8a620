"""A scene as pieces of the page: HTML for each place ("slot"). The page's script only puts them there.

All drawing is done here, once, for the live page and for the export alike; whatever stands in a scene is escaped here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from lab.demo.pictures import frames_svg, mdl_svg, pool_svg, space_svg
from lab.demo.scene import Change, Excerpt, MemoryBytes, Scene
from lab.demo.words import headline, name_in
from lab.render.html import cell_html, report_html
from lab.render.markup import element, text_of
from lab.render.walk_svg import walk_svg
from lab.scenarios.step import Agreement, Halt
from lab.views.report import Cell, Report, Role

__all__ = ["fragments", "panel_of", "linked", "PANELS"]

PANELS = ("memory", "mdl", "pool", "frames", "source", "console", "more")
"""The panels that share a place; one is open at a time."""

MANY_WALKS = 3

_SCHEMAS = {"lab.walk/1": "walk", "lab.mem/1": "memory", "lab.mdl/1": "mdl", "lab.pool/1": "pool"}
"""The panel (or the walk) that shows best what a report says; the others are shown as they are."""

_DRAWN = ("lab.walk/1", "lab.mem/1")
"""Reports whose addresses the page shows in its own way."""

_CALLS = {"memory": ("fill", "copy"), "mdl": ("Mdl", "LockedPages"), "pool": ("Pool",)}
"""Words in the names of calls that tell what they are about."""

Say = Callable[[str], str]

_ADDRESS = re.compile(r"\bpa:0x[0-9a-f]{6,13}\b|\b0x[0-9a-f]{16}\b")


def fragments(scene: Scene, language: str) -> dict[str, str]:
    """The HTML of every slot; an empty one has nothing to show."""

    def say(words: str) -> str:
        return name_in(words, language)

    walks = scene.walks[:MANY_WALKS]
    return {
        "story": "".join(_story(scene, say)),
        "walk": walk_svg([each.diagram for each in walks], [each.label for each in walks], language) if walks else "",
        "space": space_svg(scene.space, walks, language),
        "memory": "".join(_memory(each, say) for each in scene.memory),
        "mdl": mdl_svg(scene.mdls, language) if scene.mdls else "",
        "pool": pool_svg(scene.pool, language) if scene.pool else "",
        "frames": frames_svg(scene.frames, walks, language) if scene.frames else "",
        "source": _source(scene.source) if scene.source else "",
        "console": _console(scene),
        "more": "".join(_report(name, each) for name, each in scene.reports if each.schema not in _DRAWN),
        "notes": "".join(element("p", text_of(each)) for each in scene.notes.split("\n") if each),
    }


def panel_of(scene: Scene, slots: Mapping[str, str]) -> str:
    """The panel that a moment opens with: what its step is about."""
    called = " ".join(halt.function for halt in scene.halts)
    shown = {_SCHEMAS.get(report.schema, "more") for _, report in scene.reports}
    wanted = [each for each in ("memory", "mdl", "pool") if each in shown or any(w in called for w in _CALLS[each])]
    wanted += ["more"] if "more" in shown else []
    wanted += ["console"] if scene.printed else []
    wanted += [] if scene.number else ["frames"]
    wanted += ["source", *PANELS] if scene.halts else PANELS
    return next((each for each in wanted if slots[each]), PANELS[0])


def linked(text: str, breaks: str = "") -> str:
    """Text in which every address can be chosen; a line may end behind each of the characters `breaks`."""

    def plain(piece: str) -> str:
        return "".join(text_of(each) + "<wbr>" if each in breaks else text_of(each) for each in piece)

    parts, end = [], 0
    for match in _ADDRESS.finditer(text):
        role = Role.PHYSICAL if match[0].startswith("pa:") else Role.VIRTUAL
        parts += [plain(text[end : match.start()]), cell_html(Cell(match[0], role), clickable=True)]
        end = match.end()
    return "".join([*parts, plain(text[end:])])


# ---------------------------------------------------------------------------------------------------------- story ----


def _story(scene: Scene, say: Say) -> Iterator[str]:
    """What happened, in the order in which it is told: question and answer, words, calls, entries, judges."""
    title, subtitle = headline(scene.title) if scene.number == 0 else (scene.title, "")
    yield element("h1", text_of(title))
    if subtitle:
        yield element("p", text_of(subtitle[:1].upper() + subtitle[1:]), class_="lead")
    if scene.question:
        answer = element("p", linked(scene.answer), class_="answer") if scene.answer else ""
        yield element("div", element("p", text_of(scene.question), class_="asked"), answer, class_="predicted")
    for line in scene.text.split("\n"):
        if line:
            yield element("p", linked(line), class_="told")
    yield "".join(map(_halt, scene.halts))
    if scene.changes is not None:
        yield "".join(_change(each) for each in scene.changes) or element(
            "p", text_of("= " + say("no page-table entry changed")), class_="muted"
        )
    yield "".join(_agreement(each, say) for each in scene.agreements)


def _halt(halt: Halt) -> str:
    sign = {"entry": "→", "return": "←", "fault": "✗"}.get(halt.event, "·")
    return element("p", element("b", text_of(sign + " ")), linked(halt.text, "(="), class_=f"halt {halt.event}")


def _change(change: Change) -> str:
    cells = "".join(cell_html(cell, clickable=True) for cell in change.sentence)
    names = [*(f"+{name}" for name in change.set), *(f"-{name}" for name in change.cleared)]
    return element(
        "div",
        element("p", cells, class_="what"),
        element("p", _marked(change.old, change.differing), element("span", " →", class_="muted"), class_="value old"),
        element("p", _marked(change.new, change.differing), class_="value new"),
        element("p", *(element("span", text_of(name), class_="bit") for name in names), class_="bits") if names else "",
        class_=f"change {change.kind}",
    )


def _marked(value: int, differing: int) -> str:
    """The sixteen digits of an entry, those in which a bit differs marked."""
    digits = []
    for place, digit in enumerate(f"{value:016x}"):
        differs = differing >> 4 * (15 - place) & 15
        digits.append(element("mark", digit) if differs else digit)
    return "0x" + "".join(digits)


def _agreement(each: Agreement, say: Say) -> str:
    address = cell_html(Cell(str(each.address), Role.VIRTUAL), clickable=True)
    if not each.holds:
        words = f" own walk {each.own}, gva2gpa {each.qemu}, MmGetPhysicalAddress {each.guest}"
        return element("p", element("b", "✗ ", class_="bad"), address, linked(words), class_="judges bad")
    place = say("nowhere") if each.own is None else cell_html(Cell(str(each.own), Role.PHYSICAL), clickable=True)
    judges = [element("span", text_of(name)) for name in (say("own walk"), "gva2gpa", "MmGetPhysicalAddress")]
    return element(
        "div",
        element("p", element("b", "✓ ", class_="good"), address, element("span", " = ", class_="muted"), place),
        element("p", *judges, class_="names"),
        class_="judges",
    )


# --------------------------------------------------------------------------------------------------------- panels ----


def _memory(memory: MemoryBytes, say: Say) -> str:
    """Sixteen bytes a line, those that have just changed marked, with the characters they spell."""
    rows = []
    for start in range(0, len(memory.data), 16):
        data = memory.data[start : start + 16]
        cells = [_byte(byte, start + i in memory.changed) for i, byte in enumerate(data)]
        spelt = [_character(byte, start + i in memory.changed) for i, byte in enumerate(data)]
        address = cell_html(Cell(str(memory.address + start), Role.PHYSICAL), clickable=True)
        halves = element("td", " ".join(cells[:8])) + element("td", " ".join(cells[8:]))
        rows.append(element("tr", element("th", address, scope="row"), halves, element("td", "".join(spelt))))
    changed = f" · {len(memory.changed)} {say('bytes changed')}" if memory.changed else ""
    title = element("h3", text_of(f"{say('frame')} {memory.address.frame:#x}{changed}"))
    return title + element("table", element("tbody", *rows), class_="memory")


def _byte(byte: int, changed: bool) -> str:
    return element("mark", f"{byte:02x}") if changed else f"{byte:02x}"


def _character(byte: int, changed: bool) -> str:
    text = text_of(chr(byte)) if 32 <= byte < 127 else "·"
    return element("mark", text) if changed else text


def _source(source: Excerpt) -> str:
    lines = []
    for number, line in enumerate(source.lines, source.first):
        current = number == source.current
        count = element("span", str(number), class_="count")
        kind = "line current" if current else "line"
        lines.append(
            element("span", count, text_of(line) or " ", class_=kind, aria_current="true" if current else None)
        )
    return element("h3", text_of(source.name)) + element("pre", *lines, class_="code")


def _console(scene: Scene) -> str:
    """What the guest printed; the new lines stand out."""
    if not scene.console:
        return ""
    old = scene.console.removesuffix(scene.printed) if scene.printed else scene.console
    return element("pre", element("span", text_of(old), class_="muted"), linked(scene.printed), class_="console")


def _report(name: str, report: Report) -> str:
    return element("h3", text_of(name)) + report_html(report, clickable=True)
