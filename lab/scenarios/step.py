"""A step of a scenario: what was done, where GDB stopped it, what changed in the page tables, and what proves it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from lab.render.text import render_text
from lab.snapshot.changes import EntryChange
from lab.texts import ENGLISH, Text
from lab.views.changes import change_data, change_lines
from lab.views.report import Cell, Json, Line, Lines, Report, Role
from lab.x86.address import PhysicalAddress, VirtualAddress

__all__ = ["Step", "Halt", "Agreement", "Source", "run_report", "step_text"]


WIDTH = 100
"""Columns of a sentence, or of a call with its arguments; longer ones go on in the next line."""

NO_TEXT = Text()


class Halt(NamedTuple):
    """A place at which GDB stopped the guest: the "return" of a function, or the handler of a "fault" in it."""

    event: str
    function: str
    address: VirtualAddress
    text: str


class Agreement(NamedTuple):
    """The physical address behind a virtual one, as three independent judges have it; None says not mapped.

    `own` is our walk of the tables in RAM, `qemu` the emulator's gva2gpa, `guest` the guest's MmGetPhysicalAddress.
    """

    address: VirtualAddress
    own: PhysicalAddress | None
    qemu: PhysicalAddress | None
    guest: PhysicalAddress | None

    @property
    def holds(self) -> bool:
        """Whether all three say the same."""
        return self.own == self.qemu == self.guest


class Source(NamedTuple):
    """A line, from 1, of a source that a face shows beside a step; `name` is the file's, without its folder."""

    name: str
    line: int


class Step(NamedTuple):
    """One step: `number` from 1, a title, what happened in a sentence or two, and the evidence.

    `notes` are for the speaker. A step with a `question` is not shown before the audience had time to guess; `answer`
    is then said with it. `focus` are the addresses whose walks belong in the picture, the most important first.
    """

    number: int
    title: Text
    text: Text
    halts: tuple[Halt, ...] = ()
    changes: tuple[EntryChange, ...] | None = None
    """None where the step did nothing that could change an entry; empty where it could have, and did not."""
    agreements: tuple[Agreement, ...] = ()
    reports: Mapping[str, Report] = MappingProxyType({})
    notes: Text = NO_TEXT
    question: Text = NO_TEXT
    answer: Text = NO_TEXT
    focus: tuple[VirtualAddress, ...] = ()
    source: Source | None = None


# ------------------------------------------------------------------------------------------------------------ JSON ----


def run_report(
    scenario: str, steps: Sequence[Step], outcome: str, message: str = "", *, language: str = ENGLISH
) -> Report:
    """A whole run as lab.run/1; `outcome` is "ok", "bugcheck" or "timeout", `message` says why where it is not ok."""
    data: dict[str, Json] = {
        "scenario": scenario,
        "steps": [_step_data(step, language) for step in steps],
        "outcome": outcome,
        **({"message": message} if message else {}),
    }
    return Report("lab.run/1", data, (), answer=outcome == "ok")


def _step_data(step: Step, language: str) -> dict[str, Json]:
    return {
        "number": step.number,
        "title": step.title.in_language(language),
        "text": step.text.in_language(language),
        "stops": [
            {"event": halt.event, "function": halt.function, "address": hex(halt.address), "text": halt.text}
            for halt in step.halts
        ],
        "changes": [change_data(change) for change in step.changes or ()],
        "checks": [
            {
                "address": hex(each.address),
                "walk": _hex(each.own),
                "gva2gpa": _hex(each.qemu),
                "MmGetPhysicalAddress": _hex(each.guest),
                "agree": each.holds,
            }
            for each in step.agreements
        ],
        "reports": {name: report.to_json() for name, report in step.reports.items()},
    }


def _hex(address: PhysicalAddress | None) -> str | None:
    return None if address is None else hex(address)


# ------------------------------------------------------------------------------------------------------------ text ----


def step_text(step: Step, *, color: bool = False, language: str = ENGLISH) -> str:
    """The step for people: the title, what was done, the changes line by line, the checks, then each report."""
    head = render_text(Report("", {}, (Lines(tuple(_head(step, language))),)), color=color)
    reports = [textwrap.indent(render_text(each, color=color), "    ") for each in step.reports.values()]
    return "\n".join([head, *reports])


def _head(step: Step, language: str) -> Iterator[Line]:
    yield Cell(f"{step.number:>2}  ", Role.MUTED), Cell(step.title.in_language(language), Role.TITLE)
    if question := step.question.in_language(language):
        yield Cell("    ?    ", Role.MUTED), Cell(question)
    for halt in step.halts:
        first, *more = textwrap.wrap(halt.text, WIDTH, subsequent_indent="  ")
        yield Cell("    gdb  ", Role.MUTED), Cell(first)
        yield from ((Cell(f"         {line}"),) for line in more)
    if step.changes is not None:
        for change in step.changes:
            yield from ((Cell("    "), *line) for line in change_lines(change))
        if not step.changes:
            yield (
                Cell("    =    ", Role.MUTED),
                Cell(Text("no page-table entry changed").in_language(language), Role.MUTED),
            )
    if answer := step.answer.in_language(language):
        yield Cell("    !    ", Role.MUTED), Cell(answer, Role.TITLE)
    for paragraph in step.text.in_language(language).splitlines():
        yield from ((Cell(f"    {line}"),) for line in textwrap.wrap(paragraph, WIDTH, break_on_hyphens=False))
    for each in step.agreements:
        yield _agreement_line(each, language)


def _agreement_line(agreement: Agreement, language: str) -> Line:
    if agreement.holds:
        nowhere = Text("nowhere").in_language(language)
        return (
            Cell("    ✓ ", Role.GOOD),
            Cell(str(agreement.address), Role.VIRTUAL),
            Cell(Text(" is ").in_language(language)),
            Cell(nowhere if agreement.own is None else str(agreement.own), Role.PHYSICAL),
            Cell(Text(": own walk = gva2gpa = MmGetPhysicalAddress").in_language(language)),
        )
    return (
        Cell("    ✗ ", Role.BAD),
        Cell(str(agreement.address), Role.VIRTUAL),
        Cell(f": own walk {agreement.own}, gva2gpa {agreement.qemu}, MmGetPhysicalAddress {agreement.guest}", Role.BAD),
    )
