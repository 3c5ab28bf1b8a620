"""All families on as many machines at once as there are processors, each with a process of its own to foretell.

Families are done one after the other, so that each has its own time. A worker boots a machine when a family needs
another one than the last.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from queue import Empty
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import GuestError, HostError, LabError, UsageError
from lab.machine.exhaustive.check import Checker, Sample, Slice, Tally, slices
from lab.machine.exhaustive.families import Family, find_family
from lab.paging.quirks import NONE

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    from lab.machine.exhaustive.difference import Difference
    from lab.machine.exhaustive.families import Board
    from lab.machine.qemu import MachineOptions

__all__ = ["run", "Plan", "Finding"]

ALIVE = 1.0
"""Seconds between looks at whether the workers are alive."""


class Plan(NamedTuple):
    """How to check: on which machine, how many at once, whether quirks are differences, and how many cases to take."""

    options: MachineOptions
    workers: int = 0
    strict: bool = False
    sample: Sample | None = None


@dataclass(slots=True)
class Finding:
    """What came of one family: `differing` counts cases by the quirks that explain them, () where none do."""

    family: Family
    cases: int = 0
    seconds: float = 0.0
    differing: Counter[tuple[str, ...]] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    @property
    def mismatches(self) -> int:
        """How many cases differed."""
        return self.differing.total()

    def add(self, tally: Tally) -> None:
        """Take in what came of a part; of differences of one kind the first is kept."""
        self.cases += tally.cases
        self.differing.update(tally.differing)
        known = {(each.quirks, each.setting if not each.quirks else "") for each in self.differences}
        for each in tally.differences:
            if (each.quirks, each.setting if not each.quirks else "") not in known:
                self.differences.append(each)


def run(
    families: Sequence[Family], plan: Plan, progress: Callable[[Finding, int], None] | None = None
) -> Iterator[Finding]:
    """Check families, and give each one's finding as soon as it is there.

    `progress` is told now and then how far a family has come, and how many cases it will have. Raises what made a
    worker give up: HostError for what this host lacks, GuestError when a guest died or fell silent.
    """
    count = plan.workers or len(os.sched_getaffinity(0))
    with _workers(count, plan) as (tasks, results, check):
        for family in families:
            start, parts = time.monotonic(), slices(family, plan.sample, count)
            finding = Finding(family)
            expected = sum(len(part.settings) * (part.forms or len(family.forms)) for part in parts)
            for part in parts:
                tasks.put((family.name, part))
            for _ in parts:
                finding.add(_next_tally(results, check))
                finding.seconds = time.monotonic() - start
                if progress is not None:
                    progress(finding, expected)
            yield finding


def _next_tally(results: Queue[Tally | LabError], check: Callable[[], None]) -> Tally:
    while True:
        try:
            found = results.get(timeout=ALIVE)
        except Empty:
            check()
            continue
        if isinstance(found, LabError):
            raise found
        return found


# --------------------------------------------------------------------------------------------------------- workers ----


@contextmanager
def _workers(
    count: int, plan: Plan
) -> Iterator[tuple[Queue[tuple[str, Slice] | None], Queue[Tally | LabError], Callable[[], None]]]:
    """Processes that take parts of families and give tallies; they and their machines end with the block."""
    context = multiprocessing.get_context("spawn")
    tasks: Queue[tuple[str, Slice] | None] = context.Queue()
    results: Queue[Tally | LabError] = context.Queue()
    processes = [context.Process(target=_work, args=(plan, tasks, results), daemon=True) for _ in range(count)]

    def check() -> None:
        if any(not process.is_alive() for process in processes):
            raise GuestError("a worker of the exhaustive check has ended early; what it said stands above")

    for process in processes:
        process.start()
    try:
        yield tasks, results, check
    finally:
        _stop(processes, tasks)


def _stop(processes: list[multiprocessing.context.SpawnProcess], tasks: Queue[tuple[str, Slice] | None]) -> None:
    """Let the workers finish what they are at; whatever is still to be done is forgotten."""
    while True:
        try:
            tasks.get_nowait()
        except Empty:
            break
    for _ in processes:
        tasks.put(None)
    for process in processes:
        process.join(10)
        process.terminate()


def _work(plan: Plan, tasks: Queue[tuple[str, Slice] | None], results: Queue[Tally | LabError]) -> None:
    """Do part after part, on a machine that is kept for as long as it will do."""
    try:
        with ExitStack() as machine:
            checker: Checker | None = None
            board: Board | None = None
            for name, part in iter(tasks.get, None):
                family = find_family(name)
                if checker is None or family.board != board:
                    machine.close()
                    checker, board = machine.enter_context(_checker(plan, family.board)), family.board
                results.put(checker.check(family, part, plan.sample))
    except LabError as error:
        results.put(_portable(error))
    except KeyboardInterrupt:
        pass  # the one who waits for us has been interrupted, too


def _portable(error: LabError) -> LabError:
    """The error as one of its kind that needs nothing but its sentence, so that it can go to another process."""
    kinds = (UsageError, HostError, GuestError)
    return next((kind(str(error)) for kind in kinds if isinstance(error, kind)), LabError(str(error)))


@contextmanager
def _checker(plan: Plan, board: Board) -> Iterator[Checker]:
    from lab.machine.exhaustive.trials import Trials
    from lab.machine.machine import Machine

    with Machine(board.options(plan.options)) as machine, Trials(machine) as trials:
        yield Checker(trials, NONE if plan.strict else machine.quirks, strict=plan.strict)
