"""The pictures of a scene besides its walks: address space, physical memory, pool pages, MDLs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from math import log2
from typing import NamedTuple

from lab.demo.layout import FrameMap, PoolPage, PoolPiece, SpaceRegion, SpaceRun
from lab.demo.mdls import MdlPicture, PageEntry
from lab.demo.scene import Walked
from lab.demo.words import name_in
from lab.kernel.frames import FrameRun
from lab.render.markup import Attribute, element, text_of
from lab.texts import Text
from lab.views.cells import amount_cell
from lab.x86.address import PhysicalAddress, VirtualAddress

__all__ = ["space_svg", "frames_svg", "pool_svg", "mdl_svg"]

WIDTH = 1600
"""Of the picture that is as wide as the page."""
PANEL = 1200
"""Of those in panels: narrower, so that their text is larger."""
PAGE = 4096
LETTER = 8.5
"""Width of a letter of small monospaced text."""
BESIDE = 4
"""Left free between a mark and its label."""


def _svg(parts: Iterable[str], size: tuple[float, float], kind: str, label: str) -> str:
    more: dict[str, Attribute] = {"class_": kind, "viewBox": f"0 0 {size[0]:g} {size[1]:g}", "role": "group"}
    return element("svg", *parts, aria_label=label, xmlns="http://www.w3.org/2000/svg", **more)


def _text(x: float, y: float, content: object, kind: str = "small mono", **more: Attribute) -> str:
    return element("text", text_of(content), x=x, y=y, class_=kind, **more)


def _amount(size: int) -> str:
    return amount_cell(size).text


class Mark(NamedTuple):
    """What is marked in a picture from `left` to `right`, with a label beside it: to its right, or `is_left` of it."""

    left: float
    right: float
    is_left: bool
    label: str
    walked: Walked


def _apart(marks: Iterable[Mark], end: float, letter: float) -> list[list[Mark]]:
    """Marks in one line in groups, from left to right, each with a label: where two labels would meet, they are one.

    The picture goes up to `end`; a letter of a label is `letter` wide.
    """
    groups: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.left):
        group = [mark]
        while groups and _reach(groups[-1], end, letter)[1] > _reach(group, end, letter)[0]:
            group = groups.pop() + group
        groups.append(group)
    return groups


def _reach(group: Sequence[Mark], end: float, letter: float) -> tuple[float, float]:
    """From where to where the marks of a group and their label stand."""
    x, anchor, label = _beside(group, end, letter)
    width = letter * len(label) + BESIDE
    return (x - width, group[-1].right) if anchor else (group[0].left, x + width)


def _beside(group: Sequence[Mark], end: float, letter: float) -> tuple[float, str, str]:
    """The label of a group: where it begins, or where it ends if the second value says so, and its text."""
    label = ", ".join(filter(None, dict.fromkeys(each.label for each in group)))
    left, right, width = group[0].left - BESIDE, group[-1].right + BESIDE, letter * len(label)
    is_left = right + width > end or (all(each.is_left for each in group) and left > width)
    return (left, " end", label) if is_left else (right, "", label)


# -------------------------------------------------------------------------------------------------- address space ----

BAR_TOP, BAR = 46, 30
NARROW, USUAL = 96, 118
PIN, PIN_LETTER = 14, 9
"""Widths of a pin, and of a letter of its label, which is bold."""


def space_svg(regions: Sequence[SpaceRegion], walks: Sequence[Walked], language: str) -> str:
    """All regions in a row, each as wide as the logarithm of what is mapped in it; walked addresses are pins."""
    shown = [each for each in regions if each.name or each.runs]
    if not shown:
        return ""
    weights = [log2(1 + each.mapped / PAGE) for each in shown]
    least = [NARROW if each.is_hole else max(USUAL, 16 + 9.8 * len(name_in(each.name, language))) for each in shown]
    gap = 4
    all_of_it = WIDTH - 2 - gap * (len(shown) - 1)
    room = max(0.0, all_of_it - sum(least))
    squeeze = min(1.0, all_of_it / sum(least))
    parts: list[str] = []
    pins: list[Mark] = []
    x = 1.0
    for region, weight, width in zip(shown, weights, least, strict=True):
        wide = width * squeeze + room * weight / (sum(weights) or 1)
        parts.append(_region(region, x, wide, language))
        pins += _pins(region, [each for each in walks if _region_of(each, shown) is region], x, wide)
        x += wide + gap
    parts += map(_pin_group, _apart(pins, WIDTH, PIN_LETTER))
    return _svg(parts, (WIDTH, BAR_TOP + BAR + 38), "space", Text("address space").in_language(language))


def _region(region: SpaceRegion, x: float, width: float, language: str) -> str:
    amount = _amount(region.mapped) if region.mapped else "—"
    first = region.runs[0].start if region.runs else None
    kind = "region hole" if region.is_hole else "region" if region.runs else "region vacant"
    more: dict[str, Attribute] = {}
    if first is not None:
        more = {"data_address": str(first), "tabindex": "0", "role": "button"}
    return element(
        "g",
        element("title", text_of(f"{name_in(region.name, language)} {region.start}…{region.end - 1}")),
        _text(x + 2, 16, name_in(region.name, language), "name"),
        element("rect", x=x, y=BAR_TOP, width=width, height=BAR, rx=4, class_="box"),
        *(element("rect", x=start, y=BAR_TOP + 5, width=wide, height=BAR - 10, class_=f"run {rights}")
          for start, wide, rights in _bars(region, x, width)),
        "" if region.is_hole else _text(x + 2, BAR_TOP + BAR + 17, f"{region.start:016x}", "start mono"),
        "" if region.is_hole else _text(x + 2, BAR_TOP + BAR + 33, amount, "amount"),
        class_=kind,
        **more,
    )  # fmt: skip


def _bars(region: SpaceRegion, x: float, width: float) -> Iterator[tuple[float, float, str]]:
    """Place the runs side by side: neighbours of equal rights are one bar; what is unmapped between them is a gap."""
    runs = [(rights, sum(run.end - run.start for run in same)) for rights, same in _alike(region)]
    weights = [1 + log2(1 + size / PAGE) for _, size in runs]
    room, start = width - 12, x + 6
    gap = min(4.0, room / (2 * len(runs) or 1))
    for (rights, _), weight in zip(runs, weights, strict=True):
        wide = (room - gap * (len(runs) - 1)) * weight / sum(weights)
        yield start, wide, rights
        start += wide + gap


def _alike(region: SpaceRegion) -> Iterator[tuple[str, list[SpaceRun]]]:
    for rights, runs in groupby(region.runs, key=lambda run: _rights_class(run.supervisor, run.user, run.kind)):
        yield rights, list(runs)


def _rights_class(supervisor: str, user: str, kind: str) -> str:
    if kind != "page":
        return "tables"
    mine = "x" if "x" in supervisor else "w" if "w" in supervisor else "r"
    return f"may-{mine}" + (" user" if user != "---" else "")


def _region_of(walked: Walked, regions: Sequence[SpaceRegion]) -> SpaceRegion | None:
    """The region that an address is in; where they overlap, the one in which it is mapped."""
    address = walked.diagram.address
    around = [each for each in regions if each.start <= address < each.end]
    mapped = (each for each in around if any(run.start <= address < run.end for run in each.runs))
    return next(mapped, around[0] if around else None)


def _pins(region: SpaceRegion, walks: Sequence[Walked], x: float, width: float) -> Iterator[Mark]:
    """A pin for each of these walked addresses, which are in the region."""
    bars = list(_bars(region, x, width)) if region.runs else []
    alike = [list(runs) for _, runs in _alike(region)]
    for walked in walks:
        address = walked.diagram.address
        place = x + width / 2
        for (start, wide, _), runs in zip(bars, alike, strict=True):
            if address >= runs[0].start:
                share = (address - runs[0].start) / max(1, runs[-1].end - runs[0].start)
                place = start + wide * min(1.0, share)
        middle = min(max(place, x + 8), x + width - 8)
        yield Mark(middle - PIN / 2, middle + PIN / 2, middle - x > width / 2, walked.label, walked)


def _pin_group(group: Sequence[Mark]) -> str:
    """Pins that share a label, which the nearest one has."""
    x, anchor, label = _beside(group, WIDTH, PIN_LETTER)
    return "".join(
        element(
            "g",
            element("path", d=f"M{each.left:g} {BAR_TOP - 10:g}h{PIN:g}l{-PIN / 2:g} 12z"),
            _text(x, BAR_TOP - 4, label, f"small{anchor}") if label and each is group[0 if anchor else -1] else "",
            class_="pin" if each.walked.diagram.physical is not None else "pin bad",
            data_address=str(each.walked.diagram.address),
        )
        for each in group
    )


# ------------------------------------------------------------------------------------------------ physical memory ----

ROW_FRAMES = 256
LEFT = 128
CELL = (PANEL - LEFT) / ROW_FRAMES
ROW_HEIGHT = 17
TAG_LETTER = 9
"""Width of a letter of a frame's number, which is bold."""


def frames_svg(frames: FrameMap, walks: Sequence[Walked], language: str) -> str:
    """A row is a MiB, a cell a frame; rows in which nothing is used are one. Frames that walks end in are ringed."""
    rows = list(_rows(frames.runs))
    names = {use: name_in(name, language) for use, name in frames.names}
    tops = [i * (ROW_HEIGHT + 3) + 2 for i in range(len(rows))]
    parts = []
    for (first, last, runs), top in zip(rows, tops, strict=True):
        parts.append(_text(0, top + 13, PhysicalAddress.from_frame(first), "physical mono start"))
        if not runs:
            free = Text("{size} free", {"size": _amount((last - first) * PAGE)}).in_language(language)
            parts.append(element("rect", x=LEFT, y=top, width=PANEL - LEFT, height=ROW_HEIGHT, class_="free"))
            parts.append(_text(LEFT + (PANEL - LEFT) / 2, top + 13, free, "small middle muted"))
            continue
        parts.append(element("rect", x=LEFT, y=top, width=(last - first) * CELL, height=ROW_HEIGHT, class_="free"))
        parts += [_cells(run, first, top, names) for run in runs]
    for (first, last, _), top in zip(rows, tops, strict=True):
        parts += _rings(walks, first, last, top)
    legend_top = (tops[-1] if tops else 0) + ROW_HEIGHT + 26
    legend, end = _legend(frames, names, legend_top)
    return _svg([*parts, *legend], (PANEL, end + 14), "frames", Text("physical memory").in_language(language))


def _rows(runs: Sequence[FrameRun]) -> Iterator[tuple[int, int, list[FrameRun]]]:
    """First frame, end, and runs in use of each row; many rows without any are one. RAM may have holes."""
    used: dict[int, list[FrameRun]] = {}
    ends: dict[int, int] = {}
    for run in runs:
        at = run.first
        while at < run.first + run.count:
            row = at // ROW_FRAMES
            end = min(run.first + run.count, (row + 1) * ROW_FRAMES)
            ends[row] = end
            if run.location == "Active":
                used.setdefault(row, []).append(FrameRun(at, end - at, run.location, run.use))
            at = end
    numbered = enumerate(sorted(ends))
    for _, group in groupby(
        numbered, key=lambda each: (each[1], True) if each[1] in used else (each[1] - each[0], False)
    ):
        rows = [row for _, row in group]
        yield rows[0] * ROW_FRAMES, ends[rows[-1]], used.get(rows[0], [])


def _cells(run: FrameRun, first: int, top: float, names: dict[str, str]) -> str:
    what = f"{run.first:#x}" if run.count == 1 else f"{run.first:#x}…{run.first + run.count - 1:#x}"
    return element(
        "rect",
        element("title", text_of(f"{what}: {names.get(run.use, run.use)}")),
        x=LEFT + (run.first - first) * CELL,
        y=top,
        width=max(run.count * CELL - 0.8, 1.6),
        height=ROW_HEIGHT,
        class_=f"use {_use_class(run.use)}",
        data_address=f"pa:{run.first * PAGE:#x}",
    )


def _use_class(use: str) -> str:
    return "use-" + use.replace(" ", "-")


def _rings(walks: Iterable[Walked], first: int, end: int, top: float) -> Iterator[str]:
    """Rings around the frames from `first` to `end`, which are one row, that walks end in, with their numbers."""
    found: dict[int, Mark] = {}
    for walked in walks:
        physical = walked.diagram.physical
        if physical is not None and first <= physical.frame < end:
            x = LEFT + (physical.frame - first) * CELL if end - first <= ROW_FRAMES else LEFT
            found[physical.frame] = Mark(x - 3, x + CELL + 2, x > PANEL - 160, f"{physical.frame:#x}", walked)
    for group in _apart(found.values(), PANEL, TAG_LETTER):
        x, anchor, label = _beside(group, PANEL, TAG_LETTER)
        for each in group:
            wide = each.right - each.left
            yield element("rect", x=each.left, y=top - 3, width=wide, height=ROW_HEIGHT + 6, rx=3, class_="ring")
        yield _text(x, top + 13, label, f"physical mono small{anchor} tag")


def _legend(frames: FrameMap, names: Mapping[str, str], top: float) -> tuple[list[str], float]:
    """What the colours mean, in as many lines as that takes; and where the last one stands."""
    counts: dict[str, int] = {}
    for run in frames.runs:
        counts[run.use] = counts.get(run.use, 0) + run.count
    parts, x = [], float(LEFT)
    for use, name in names.items():
        label = f"{name} {counts[use]}"
        wide = 44 + 7.6 * len(label)
        if x > LEFT and x + wide > PANEL:
            x, top = LEFT, top + 22
        parts.append(element("rect", x=x, y=top - 12, width=14, height=14, rx=2, class_=f"use {_use_class(use)}"))
        parts.append(_text(x + 20, top, label, "small"))
        x += wide
    return parts, top


# ----------------------------------------------------------------------------------------------------------- pool ----

POOL_LEFT, POOL_ROW, MANY_PAGES = 236, 46, 12


def pool_svg(pages: Sequence[PoolPage], language: str) -> str:
    """A row a page, 4096 bytes wide, with its blocks and their tags; headers are the dark edge of a block."""
    shown = pages[:MANY_PAGES]
    parts = []
    for number, page in enumerate(shown):
        top = number * POOL_ROW
        parts.append(_text(0, top + 17, page.address, "virtual mono", data_address=str(page.address)))
        parts.append(_text(0, top + 34, page.kind, "small muted"))
        scale = (PANEL - POOL_LEFT) / page.size
        parts.append(element("rect", x=POOL_LEFT, y=top, width=PANEL - POOL_LEFT, height=36, rx=4, class_="page"))
        parts += [_piece(page, piece, top, scale, language) for piece in page.pieces]
        if page.size > PAGE:
            count = Text("{count} pages", {"count": page.size // PAGE}).in_language(language)
            parts.append(_text(POOL_LEFT - 10, top + 34, count, "small muted end"))
    height = len(shown) * POOL_ROW
    if len(pages) > len(shown):
        parts.append(_text(POOL_LEFT, height + 16, f"+ {len(pages) - len(shown)}", "muted"))
        height += 24
    return _svg(parts, (PANEL, height), "pool", Text("pool pages").in_language(language))


def _piece(page: PoolPage, piece: PoolPiece, top: float, scale: float, language: str) -> str:
    x, width = POOL_LEFT + piece.offset * scale, max(piece.size * scale - 1, 2)
    words = piece.tag if piece.in_use else Text("free").in_language(language)
    room = int(width / LETTER)
    size = f" {piece.size}"
    label = words + size if len(words + size) < room else words if len(words) < room else ""
    has_header = page.size == PAGE and len(page.pieces) > 1
    address = page.address + piece.offset + (16 if has_header else 0)
    state = "used" if piece.in_use else "unused"
    return element(
        "g",
        element("title", text_of(f"{address} {words} {piece.size} {piece.fill}".rstrip())),
        element("rect", x=x, y=top, width=width, height=36, rx=3, class_="block"),
        element("rect", x=x, y=top, width=min(16 * scale, width), height=36, class_="header") if has_header else "",
        _text(x + width / 2 + (8 * scale if has_header else 0), top + 23, label, "middle mono small") if label else "",
        class_=f"piece {state}" + (f" fill-{piece.fill}" if piece.fill else ""),
        data_address=str(address),
    )


# ------------------------------------------------------------------------------------------------------------ MDL ----

MDL_ROW, MDL_HEAD = 44, 60
CENTRE, CENTRE_WIDTH = PANEL / 2, 170
SIDE = 430


def mdl_svg(mdls: Sequence[MdlPicture], language: str) -> str:
    """For each MDL its array of frame numbers in the middle, the buffer's entries at the left, the mapping's right."""
    parts, top = [], 0.0
    for mdl in mdls:
        drawn, height = _mdl(mdl, top, language)
        parts.append(drawn)
        top += height + 18
    return _svg(parts, (PANEL, max(top - 18, 1)), "mdl", "MDL")


def _mdl(mdl: MdlPicture, top: float, language: str) -> tuple[str, float]:
    heads = [
        _head(0, top, "buffer", mdl.buffer, language),
        _head(PANEL - SIDE, top, "system mapping", None if mdl.mapped_at == mdl.buffer else mdl.mapped_at, language),
        _text(CENTRE, top + 18, f"MDL {mdl.number}", "level middle"),
        _text(CENTRE, top + 38, mdl.address, "virtual mono middle small", data_address=str(mdl.address)),
    ]
    rows = []
    for number, page in enumerate(mdl.pages):
        y = top + MDL_HEAD + number * MDL_ROW
        frame = "—" if page.frame is None else f"{page.frame:x}"
        rows.append(element("rect", x=CENTRE - CENTRE_WIDTH / 2, y=y, width=CENTRE_WIDTH, height=36, class_="pfn"))
        rows.append(_text(CENTRE - CENTRE_WIDTH / 2 + 10, y + 24, f"[{number}]", "small muted mono"))
        kind = "muted mono end" if page.frame is None else "physical mono end strong"
        more: dict[str, Attribute] = {} if page.frame is None else {"data_address": f"pa:{page.frame * PAGE:#x}"}
        rows.append(_text(CENTRE + CENTRE_WIDTH / 2 - 12, y + 24, frame, kind, **more))
        if page.buffer:
            rows.append(_side(page.buffer, page.frame, 0, y))
        if page.mapping:
            rows.append(_side(page.mapping, page.frame, PANEL - SIDE, y))
    height = MDL_HEAD + len(mdl.pages) * MDL_ROW
    if mdl.page_count > len(mdl.pages):
        rows.append(_text(CENTRE, top + height + 14, f"+ {mdl.page_count - len(mdl.pages)}", "middle muted"))
        height += 20
    return element("g", *heads, *rows), height


def _head(x: float, top: float, name: str, start: VirtualAddress | None, language: str) -> str:
    label = _text(x, top + 18, name_in(name, language), "level")
    if start is None:
        return label + _text(x, top + 38, Text("none").in_language(language), "small muted")
    return label + _text(x, top + 38, start, "virtual mono small", data_address=str(start))


def _side(entry: PageEntry, frame: int | None, x: float, y: float) -> str:
    """A page with the entry that maps it, and a line to the array where both name the same frame."""
    same = entry.frame is not None and entry.frame == frame
    left = x == 0
    start, end = (SIDE, CENTRE - CENTRE_WIDTH / 2) if left else (x, CENTRE + CENTRE_WIDTH / 2)
    middle = (start + end) / 2
    value = element("tspan", text_of(f"{entry.entry:016x}"), class_="" if entry.frame is not None else "muted")
    place = element("tspan", text_of(f"{entry.level} [{entry.index:03x}]  "), class_="virtual")
    return element(
        "g",
        element("path", d=f"M{start} {y + 18}C{middle} {y + 18} {middle} {y + 18} {end} {y + 18}", class_="link"),
        element("rect", x=x + 1, y=y, width=SIDE - 2, height=36, rx=4, class_="pte"),
        _text(x + 10, y + 24, entry.page, "virtual mono small", data_address=str(entry.page)),
        element("text", place, value, x=x + SIDE - 10, y=y + 24, class_="mono small end"),
        class_="feeds" if same else "feeds-not",
        data_entry=hex(entry.entry),
        data_kind="leaf" if entry.frame is not None else "absent",
        data_level=entry.level,
        data_at=hex(entry.entry_address),
        tabindex="0",
        role="button",
    )
