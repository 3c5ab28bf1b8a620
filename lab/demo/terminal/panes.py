"""What a scene says, in letters: the story at the left, and the panels, each drawn for a width and a height."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

from lab.demo.layout import FrameMap, PoolPage, PoolPiece
from lab.demo.mdls import MdlPicture, PageEntry
from lab.demo.scene import Change, MemoryBytes, Scene, Walked
from lab.demo.terminal import looks
from lab.demo.terminal.canvas import Piece, Row, cut, flow, row_of, wide
from lab.demo.words import name_in
from lab.render.text import report_lines
from lab.scenarios.step import Agreement, Halt
from lab.texts import Text
from lab.views.cells import amount_cell
from lab.x86.address import PhysicalAddress

__all__ = ["story", "PANELS", "Panel", "has_content"]

PAGE = 4096

Panel: TypeAlias = "Callable[[Scene, int, str], list[Row]]"
"""Draws a scene for a width, in a language; [] when there is nothing to be shown."""


# ---------------------------------------------------------------------------------------------------------- story ----


def story(scene: Scene, width: int, language: str) -> list[Row]:
    """What happened, in the order in which it is told: question and answer, words, entries, judges, calls."""
    parts: list[list[Row]] = []
    if scene.question:
        parts.append(list(_words(scene.question, width, "? ", looks.MUTED)))
        parts[-1] += _words(scene.answer, width, "✓ ", looks.STRONG) if scene.answer else ()
    parts += [list(_words(line, width)) for line in scene.text.split("\n") if line]
    if scene.changes is not None:
        parts += [list(_change(each, width)) for each in scene.changes]
        if not scene.changes:
            said = Text("no page-table entry changed").in_language(language)
            parts.append([(Piece(f"= {said}", looks.MUTED),)])
    if scene.agreements:
        parts.append([row for each in scene.agreements for row in _agreement(each, width, language)])
    parts += [list(_halt(each, width)) for each in scene.halts]
    return [row for number, part in enumerate(parts) for row in (*([()] if number else []), *part)]


_ADDRESS = re.compile(r"\b(pa:)?0x[0-9a-f]{10,16}\b")


def _words(text: str, width: int, sign: str = "", style: str = "") -> Iterator[Row]:
    """Wrapped text, in which addresses look like what they are; a sign stands before its first line."""
    indent = " " * len(sign)
    for line in textwrap.wrap(text, max(width, 20), initial_indent=sign, subsequent_indent=indent):
        yield tuple(_with_addresses(line, style))


def _with_addresses(line: str, style: str) -> Iterator[Piece]:
    end = 0
    for match in _ADDRESS.finditer(line):
        yield Piece(line[end : match.start()], style)
        yield Piece(match[0], "$lab-physical" if match[1] else "$lab-virtual")
        end = match.end()
    yield Piece(line[end:], style)


def _halt(halt: Halt, width: int) -> Iterator[Row]:
    """A call as gdb saw it; one that is too long for a line has its arguments below its name."""
    sign = {"entry": "→", "return": "←", "fault": "✗"}.get(halt.event, "·")
    head, paren, arguments = halt.text.partition("(")
    style = looks.BAD if halt.event == "fault" else looks.MUTED
    if len(halt.text) + 2 <= width or not arguments:
        yield from _words(halt.text, width, f"{sign} ", style)
        return
    yield Piece(f"{sign} ", style), Piece(head + paren, style)
    for line in textwrap.wrap(arguments, max(width, 24), initial_indent="  ", subsequent_indent="  "):
        yield tuple(_with_addresses(line, style))


def _change(change: Change, width: int) -> Iterator[Row]:
    """What was said of an entry, old and new value, and every bit by its letter: + came, - went."""
    yield from flow(row_of(change.sentence), width, 2)
    old, new = _marked(change.old, change.differing), _marked(change.new, change.differing)
    arrow = Piece(" → ", looks.MUTED)
    if width >= 2 + 16 + 3 + 16:
        yield Piece("  "), *old, arrow, *new
    else:
        yield Piece("  "), *old, arrow
        yield Piece("  "), *new
    letters = [Piece(f" +{name}", looks.GOOD) for name in change.set]
    letters += [Piece(f" -{name}", looks.BAD) for name in change.cleared]
    if letters:
        yield Piece(" "), *letters


def _marked(value: int, differing: int) -> Iterator[Piece]:
    """The sixteen digits of an entry, those marked in which a bit differs."""
    digits = zip(f"{value:016x}", f"{differing:016x}", strict=True)
    for differs, run in groupby(digits, key=lambda pair: pair[1] != "0"):
        yield Piece("".join(digit for digit, _ in run), looks.CHANGED if differs else looks.MUTED)


def _agreement(each: Agreement, width: int, language: str) -> Iterator[Row]:
    place = name_in("nowhere", language) if each.own is None else str(each.own)
    sign = Piece("✓ ", looks.GOOD) if each.holds else Piece("✗ ", looks.BAD)
    row = sign, Piece(str(each.address), "$lab-virtual"), Piece(" = ", looks.MUTED), Piece(place, "$lab-physical")
    yield from flow(row, width, 2)
    judges = (name_in("own walk", language), "gva2gpa", "MmGetPhysicalAddress")
    if each.holds:
        says, style = [f" {judges[0]} =", f" {judges[1]} =", f" {judges[2]}"], looks.MUTED
    else:
        found = (each.own, each.qemu, each.guest)
        says, style = [f" {name} {place}" for name, place in zip(judges, found, strict=True)], looks.BAD
    yield from flow((Piece(" "), *(Piece(said, style) for said in says)), width, 2)


# --------------------------------------------------------------------------------------------------------- panels ----


def _memory(scene: Scene, width: int, language: str) -> list[Row]:
    """Bytes at physical addresses, those that have just changed marked, with the characters they spell."""
    rows: list[Row] = []
    for memory in scene.memory:
        rows += [()] if rows else []
        head = f"{name_in('frame', language)} {memory.address.frame:#x}"
        count = f"  {len(memory.changed)} {name_in('bytes changed', language)}" if memory.changed else ""
        rows.append((Piece(head, looks.STRONG), Piece(count, looks.MUTED)))
        rows += _bytes(memory, width)
    return rows


def _bytes(memory: MemoryBytes, width: int) -> Iterator[Row]:
    """As many bytes in a row as fit: sixteen, eight or four."""
    letters = len(str(memory.address))
    count = next((each for each in (16, 8) if letters + 2 + 4 * each + each // 8 <= width), 0)
    is_short, count = not count, count or 8
    gap = Piece(" " if is_short else "  ")
    for start in range(0, len(memory.data), count):
        data = memory.data[start : start + count]
        changed = [start + place in memory.changed for place in range(len(data))]
        address = memory.address + start
        row = [Piece(f"{address.offset():03x}" if is_short else str(address), "$lab-physical")]
        for place, (byte, differs) in enumerate(zip(data, changed, strict=True)):
            row.append(Piece(" ") if place % 8 else gap)
            row.append(Piece(f"{byte:02x}", looks.CHANGED if differs else ""))
        row.append(gap)
        for byte, differs in zip(data, changed, strict=True):
            letter = chr(byte) if 32 <= byte < 127 else "·"
            row.append(Piece(letter, looks.CHANGED if differs else looks.MUTED))
        yield tuple(row)


def _source(scene: Scene, width: int, language: str) -> list[Row]:  # noqa: ARG001 - source speaks for itself
    """Lines of source; the current one has a sign and stands out."""
    if scene.source is None:
        return []
    rows: list[Row] = []
    for number, line in enumerate(scene.source.lines, scene.source.first):
        text = line.expandtabs(4)
        if number == scene.source.current:
            rows.append(
                wide(
                    cut((Piece(f"▶{number:>4} ", looks.CURRENT), Piece(text, looks.CURRENT)), width),
                    width,
                    looks.CURRENT,
                )
            )
        else:
            rows.append(cut((Piece(f"{number:>5} ", looks.MUTED), Piece(text)), width))
    return rows


def _console(scene: Scene, width: int, language: str) -> list[Row]:  # noqa: ARG001
    """What the guest printed; the new lines stand out and have a sign."""
    old = scene.console.removesuffix(scene.printed) if scene.printed else scene.console
    rows = [cut((Piece("  "), Piece(line, looks.MUTED)), width) for line in old.splitlines()]
    rows += [cut((Piece("+ ", looks.GOOD), Piece(line)), width) for line in scene.printed.splitlines()]
    return rows


def _mdl(scene: Scene, width: int, language: str) -> list[Row]:
    """Each MDL: its array of frame numbers, between the entries of the buffer and those of the mapping."""
    rows: list[Row] = []
    for mdl in scene.mdls:
        rows += [()] if rows else []
        rows.append((Piece(f"MDL {mdl.number}  ", looks.STRONG), Piece(str(mdl.address), "$lab-virtual")))
        rows.append((Piece(f"{mdl.byte_count} B +{mdl.byte_offset:#x}  {' '.join(mdl.flags)}", looks.MUTED),))
        rows += _mdl_pages(mdl, language)
    return [cut(row, width) for row in rows]


def _mdl_pages(mdl: MdlPicture, language: str) -> Iterator[Row]:
    for number, page in enumerate(mdl.pages):
        frame = "—" if page.frame is None else f"{page.frame:x}"
        yield (
            Piece(f"[{number}] ", looks.MUTED),
            Piece(f"{name_in('frame', language)} ", looks.MUTED),
            Piece(frame, "bold $lab-physical"),
        )
        for name, entry in (("buffer", page.buffer), ("system mapping", page.mapping)):
            if entry is not None:
                yield _mdl_entry(name_in(name, language), entry, page.frame)
    if mdl.page_count > len(mdl.pages):
        yield (Piece(f"+ {mdl.page_count - len(mdl.pages)}", looks.MUTED),)


def _mdl_entry(name: str, entry: PageEntry, frame: int | None) -> Row:
    """An entry that leads to the frame, or to another one."""
    leads = frame is not None and entry.frame == frame
    sign = Piece(" ◀─ ", looks.GOOD) if leads else Piece(" ╌  ", looks.MUTED)
    place = f" {entry.level} [{entry.index:03x}] "
    return Piece("   "), sign, Piece(str(entry.page), "$lab-virtual"), Piece(place), Piece(name, looks.MUTED)


POOL_LETTERS = "░█"


def _pool(scene: Scene, width: int, language: str) -> list[Row]:
    """Each page of the pool as a bar as wide as the panel; blocks by their tags, free ones shaded."""
    rows: list[Row] = []
    for page in scene.pool:
        size = f"  {amount_cell(page.size).text}" if page.size > PAGE else ""
        rows.append((Piece(str(page.address), "$lab-virtual"), Piece(f"  {page.kind}{size}", looks.MUTED)))
        rows.append(tuple(_pool_bar(page, width, language)))
    return rows


def _pool_bar(page: PoolPage, width: int, language: str) -> Iterator[Piece]:
    """The pieces of a page, each as wide as its share of it and at least two letters."""
    spare = max(0, width - 2 * len(page.pieces))
    end = 0
    for piece in page.pieces:
        end += piece.size
        room = 2 + spare * piece.size // page.size
        yield _pool_piece(piece, room, language)


def _pool_piece(piece: PoolPiece, room: int, language: str) -> Piece:
    words = piece.tag if piece.in_use else name_in("free", language)
    label = f"{words} {piece.size}"
    label = label if len(label) + 2 <= room else words if len(words) + 2 <= room else ""
    if piece.in_use:
        return Piece(
            f"▐{label:█<{room - 1}}" if not label else f"▐{label:<{room - 1}}", "bold $lab-text on $lab-raised"
        )
    return Piece(f"░{label:░<{room - 1}}", looks.MUTED)


def _frames(scene: Scene, width: int, language: str) -> list[Row]:
    """What the frames are used for, and each MiB in use as a row in which a letter is some frames."""
    if scene.frames is None:
        return []
    used: dict[str, int] = {}
    for run in scene.frames.runs:
        used[run.use] = used.get(run.use, 0) + run.count
    letters = {use: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 26] for number, (use, _) in enumerate(scene.frames.names)}
    rows: list[Row] = []
    for use, name in scene.frames.names:
        amount = amount_cell(used[use] * PAGE).text
        rows.append((Piece(f"{letters[use]} ", looks.STRONG), Piece(f"{amount:>9}  "), Piece(name_in(name, language))))
    rows.append(())
    rows += _frame_rows(scene.frames, letters, scene.walks, width)
    return [cut(row, width) for row in rows]


FRAMES_PER_MIB = 256


def _frame_rows(frames: FrameMap, letters: Mapping[str, str], walks: Sequence[Walked], width: int) -> Iterator[Row]:
    """A row for each MiB of which some frames are in use; frames that walks end in are marked."""
    uses: dict[int, str] = {}
    for run in frames.runs:
        if run.use:
            uses |= dict.fromkeys(range(run.first, run.first + run.count), letters.get(run.use, "?"))
    focus = {each.diagram.physical.frame for each in walks if each.diagram.physical is not None}
    room = max(16, min(128, width - 16))
    each = next(count for count in (2, 4, 8, 16) if FRAMES_PER_MIB // count <= room)
    for start in sorted({frame // FRAMES_PER_MIB * FRAMES_PER_MIB for frame in uses}):
        cells = [range(first, first + each) for first in range(start, start + FRAMES_PER_MIB, each)]
        row = [Piece(f"{PhysicalAddress.from_frame(start)} ", "$lab-physical")]
        for is_focus, alike in groupby(cells, key=lambda cell: any(frame in focus for frame in cell)):
            text = "".join(next((uses[frame] for frame in cell if frame in uses), "·") for cell in alike)
            row.append(Piece(text, looks.CHANGED if is_focus else ""))
        yield tuple(row)


def _more(scene: Scene, width: int, language: str) -> list[Row]:  # noqa: ARG001
    """The step's other reports, as the command line shows them."""
    rows: list[Row] = []
    for name, report in scene.reports:
        if report.schema in ("lab.walk/1", "lab.mem/1"):
            continue
        rows += [()] if rows else []
        rows.append((Piece(name, looks.STRONG),))
        rows += [row_of(line) for line in report_lines(report)]
    return [cut(row, width) for row in rows]


PANELS: Mapping[str, Panel] = {
    "memory": _memory,
    "source": _source,
    "console": _console,
    "mdl": _mdl,
    "pool": _pool,
    "frames": _frames,
    "more": _more,
}
"""By their names, in the order in which they are wanted beside each other."""


def has_content(scene: Scene) -> dict[str, str]:
    """The panels that have something to show of a scene; "" for the others."""
    has: Mapping[str, object] = {
        "memory": scene.memory,
        "source": scene.source,
        "console": scene.console,
        "mdl": scene.mdls,
        "pool": scene.pool,
        "frames": scene.frames,
        "more": [name for name, each in scene.reports if each.schema not in ("lab.walk/1", "lab.mem/1")],
    }
    return {name: name if content else "" for name, content in has.items()}
