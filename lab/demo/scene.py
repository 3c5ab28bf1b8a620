"""The scene: all that a face shows of one moment, as plain data; no face needs to know a machine.

`scene` looks at a Timeline; the terminal, the page and the export each draw what it returns. Texts are in the wanted
language already, names of structures and registers stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from lab.demo.layout import FrameMap, PoolPage, SpaceRegion, frame_map, pool_pages, space_regions
from lab.demo.mdls import MdlPicture, mdl_pictures
from lab.errors import LabError
from lab.render.diagram import Diagram, walk_diagram
from lab.texts import ENGLISH
from lab.views.changes import change_lines
from lab.views.report import Line, Report
from lab.views.walk import walk_data
from lab.x86.address import PhysicalAddress, VirtualAddress

if TYPE_CHECKING:
    from lab.scenarios.step import Agreement, Halt, Step
    from lab.snapshot import Snapshot
    from lab.snapshot.changes import EntryChange
    from lab.timeline import Moment, Timeline

__all__ = ["Scene", "Walked", "Change", "MemoryBytes", "Excerpt", "scene"]

MEMORY_BYTES = 64
"""How much is shown of the memory behind an address."""

MOST_BYTES = 256
"""How much of what a report shows."""

_ADDRESS = re.compile(r"\b0x[0-9a-f]{16}\b")

AROUND = 60
"""Lines of source shown before and behind the current one, at most."""


@dataclass(frozen=True)
class Walked:
    """A walk to draw, with what the lecture calls its address ("" for nothing)."""

    label: str
    diagram: Diagram


@dataclass(frozen=True)
class Change:
    """An entry that is not what it was: old and new value, the bits that differ, and the line that says what happened.

    `kind` is "created", "removed", "changed" or "software".
    """

    kind: str
    level: str
    index: int
    entry_address: PhysicalAddress
    start: VirtualAddress
    old: int
    new: int
    set: tuple[str, ...]
    cleared: tuple[str, ...]
    sentence: Line

    @property
    def differing(self) -> int:
        """A mask of the bits that differ."""
        return self.old ^ self.new


@dataclass(frozen=True)
class MemoryBytes:
    """Bytes at a physical address; `changed` are the offsets of those that were different a moment ago."""

    address: PhysicalAddress
    data: bytes
    changed: tuple[int, ...]


@dataclass(frozen=True)
class Excerpt:
    """A piece of a source: its lines from number `first` on, and the number of the current one."""

    name: str
    first: int
    lines: tuple[str, ...]
    current: int


@dataclass(frozen=True)
class Scene:
    """One moment of a lecture, `number` of 0 to `last`.

    A `question` is asked before the moment is shown, `answer` is part of it.
    """

    scenario: str
    lecture: str
    number: int
    last: int
    title: str
    text: str
    notes: str
    question: str
    answer: str
    halts: tuple[Halt, ...]
    changes: tuple[Change, ...] | None
    agreements: tuple[Agreement, ...]
    walks: tuple[Walked, ...]
    memory: tuple[MemoryBytes, ...]
    source: Excerpt | None
    console: str
    printed: str
    """The part of `console` that is new."""
    space: tuple[SpaceRegion, ...]
    frames: FrameMap | None
    pool: tuple[PoolPage, ...]
    mdls: tuple[MdlPicture, ...]
    reports: tuple[tuple[str, Report], ...]


def scene(timeline: Timeline, number: int, language: str = ENGLISH) -> Scene:
    """All that is to be shown of moment `number`; UsageError when there is no such moment.

    >>> from lab.timeline.recording import read, shipped
    >>> shown = scene(read(shipped("mdl-remap")), 5)
    >>> print(shown.number, shown.title)
    5 Two walks, one frame
    >>> [each.label for each in shown.walks], len({each.diagram.frame for each in shown.walks})
    (['pool', 'mapping'], 1)
    """
    moment = timeline.at(number)
    step, snapshot = moment.step, timeline.snapshot(number)
    before = timeline.snapshot(number - 1) if number else None
    walks = tuple(_walks(timeline, number, snapshot))
    return Scene(
        scenario=timeline.scenario,
        lecture=timeline.title.in_language(language),
        number=number,
        last=len(timeline) - 1,
        title=step.title.in_language(language),
        text=step.text.in_language(language),
        notes=step.notes.in_language(language),
        question=step.question.in_language(language),
        answer=step.answer.in_language(language),
        halts=step.halts,
        changes=None if step.changes is None else tuple(map(_change, step.changes)),
        agreements=step.agreements,
        walks=walks,
        memory=tuple(_memory(dict(_places(step, walks, snapshot)), snapshot, before)),
        source=_excerpt(timeline, number),
        console=timeline.console(number),
        printed=moment.console,
        space=space_regions(snapshot),
        frames=frame_map(snapshot),
        pool=pool_pages(snapshot),
        mdls=mdl_pictures(snapshot),
        reports=tuple(step.reports.items()),
    )


class Wanted(NamedTuple):
    """A walk that is asked for: what it is called, of which address, and from which root."""

    label: str
    address: VirtualAddress
    root: PhysicalAddress


def _walks(timeline: Timeline, number: int, snapshot: Snapshot) -> Iterator[Walked]:
    """The walks that a step reports or has in focus, by the names that the lecture's reports have for them.

    For a step without any they are those of the addresses it speaks of, else those of the step before; before the
    first, it is the next instruction's.
    """
    reported = [each for moment in timeline for each in _reported(moment)]
    names = {(each.address, each.root): each.label for each in reversed(reported)}
    wanted: tuple[Wanted, ...] = (Wanted("rip", VirtualAddress(snapshot.registers.rip), snapshot.state.root),)
    for moment in islice(timeline, number + 1):
        own, root = _reported(moment), moment.state.root
        known = {each.address for each in own}
        others = moment.step.focus or (() if own else _mentioned(moment.step.text))
        more = (Wanted(names.get((each, root), ""), each, root) for each in others if each not in known)
        wanted = (*own, *more) or wanted
    for each in wanted:
        with suppress(LabError):
            yield Walked(each.label, walk_diagram(walk_data(snapshot.walk(each.address, each.root), snapshot)))


def _reported(moment: Moment) -> tuple[Wanted, ...]:
    """The walks among the reports of a moment; a report that is just called "walk" has no name for its address."""
    found = []
    for name, report in moment.step.reports.items():
        if report.schema == "lab.walk/1":
            address = VirtualAddress(int(str(report.data["address"]), 16))
            root = PhysicalAddress(int(str(report.data["root"]), 16))
            found.append(Wanted("" if name == "walk" else name, address, root))
    return tuple(found)


def _mentioned(text: str) -> tuple[VirtualAddress, ...]:
    """The first two virtual addresses in a text, those of one page being one."""
    found = [VirtualAddress.parse(each) for each in _ADDRESS.findall(text)]
    return tuple({each.page(): each for each in reversed(found)}.values())[::-1][:2]


def _change(change: EntryChange) -> Change:
    return Change(
        kind=change.kind,
        level=str(change.level),
        index=change.index,
        entry_address=change.entry_address,
        start=change.start,
        old=int(change.old),
        new=int(change.new),
        set=change.set,
        cleared=change.cleared,
        sentence=change_lines(change)[0],
    )


def _places(step: Step, walks: Sequence[Walked], snapshot: Snapshot) -> Iterator[tuple[PhysicalAddress, int]]:
    """Where to look at memory, and for how many bytes: what the step's reports show, and what the walks end at."""
    for walked in walks:
        if walked.diagram.physical is not None:
            yield walked.diagram.physical, MEMORY_BYTES
    for report in step.reports.values():
        if report.schema == "lab.mem/1":
            address, size = int(str(report.data["address"]), 16), int(str(report.data["length"]))
            with suppress(LabError):
                virtual = report.data["space"] == "virtual"
                found = snapshot.walk(VirtualAddress(address)).mapped.physical if virtual else PhysicalAddress(address)
                yield found, min(size, MOST_BYTES)


def _memory(
    places: Mapping[PhysicalAddress, int], snapshot: Snapshot, before: Snapshot | None
) -> Iterator[MemoryBytes]:
    """The bytes at these places, up to the ends of their frames."""
    for physical, wanted in places.items():
        size = min(wanted, 4096 - physical.offset())
        with suppress(LabError):
            data = snapshot.memory.read(physical, size)
            was = data if before is None else before.memory.read(physical, size)
            yield MemoryBytes(physical, data, tuple(i for i in range(size) if data[i] != was[i]))


def _excerpt(timeline: Timeline, number: int) -> Excerpt | None:
    source = timeline[number].step.source
    if source is None or source.name not in timeline.sources:
        return None
    lines = timeline.sources[source.name].splitlines()
    first = max(1, source.line - AROUND)
    return Excerpt(source.name, first, tuple(lines[first - 1 : source.line + AROUND]), source.line)
