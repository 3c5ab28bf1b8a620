"""One family on one machine: foretell every case, let the guest try it, and compare.

While the guest is at one batch, what was found in the last one is compared and the next is prepared, so that there is
little waiting on either side.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lab.machine.exhaustive.compare import differs, foretell
from lab.machine.exhaustive.difference import Case, Difference, describe, explain, shrink
from lab.machine.exhaustive.trials import Batch, Outcomes, Setting
from lab.paging.quirks import NONE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.machine.exhaustive.families import Family
    from lab.machine.exhaustive.trials import Numbers, Trials
    from lab.paging.batch import Predictions
    from lab.paging.quirks import Quirks

__all__ = ["Checker", "Sample", "Slice", "Tally", "slices"]

SHOWN = 8
"""Differences of one family that are described; the others are only counted."""

FEWEST = 256
"""Cases of one setting in a sample: fewer would cost more to set up than to try."""

SLICE = 200_000
"""About how many cases to check before telling."""


class Sample(NamedTuple):
    """How many cases of each family to take, and the seed that decides which."""

    cases: int
    seed: int

    def dice(self, family: Family, *more: int) -> np.random.Generator:
        """The same choices every time for the same family."""
        return np.random.default_rng([self.seed, zlib.crc32(family.name.encode()), *more])


class Slice(NamedTuple):
    """Some of a family's settings: their numbers, and how many forms of each to try (None: all)."""

    settings: tuple[int, ...]
    forms: int | None = None


@dataclass(slots=True)
class Tally:
    """What came of a slice: how many cases differed by which quirks, those without any under ()."""

    cases: int = 0
    differing: Counter[tuple[str, ...]] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)


def slices(family: Family, sample: Sample | None, at_least: int) -> list[Slice]:
    """Cut the work on a family into parts, `at_least` so many where there is enough of it."""
    forms, chosen = None, np.arange(family.units)
    if sample is not None and sample.cases < family.cases:
        forms = min(len(family.forms), max(FEWEST, ceil(sample.cases / family.units)))
        count = min(family.units, ceil(sample.cases / forms))
        chosen = np.sort(sample.dice(family).choice(family.units, count, replace=False))
    cases = len(chosen) * (forms or len(family.forms))
    parts = np.array_split(chosen, min(len(chosen), max(at_least, ceil(cases / SLICE))))
    return [Slice(tuple(part.tolist()), forms) for part in parts]


class Checker:
    """Checks families on one machine.

    Differences are those from the manual and `quirks`. Those that other quirks explain are named after them. Where the
    manual leaves an error code open, a `strict` check takes it by its words.
    """

    def __init__(self, trials: Trials, quirks: Quirks = NONE, *, strict: bool = False) -> None:
        self.trials = trials
        self.quirks = quirks
        self.strict = strict
        self._shown: set[tuple[object, ...]] = set()

    def check(self, family: Family, part: Slice, sample: Sample | None = None) -> Tally:
        """Check some settings of a family. Raises what calls of the guest do."""
        trials, tally = self.trials, Tally()
        before: tuple[Batch, Predictions] | None = None
        kept: list[tuple[tuple[str, ...], Case]] = []
        for batch in self._batches(family, part, sample):
            outcomes = trials.end() if before else None
            trials.begin(batch)
            if before and outcomes:
                kept += self._compare(*before, outcomes, tally)
            before = batch, foretell(batch, self.quirks, strict=self.strict)
        if before:
            kept += self._compare(*before, trials.end(), tally)
        tally.differences = [each for names, case in kept if (each := self._describe(family, names, case))]
        return tally

    def _batches(self, family: Family, part: Slice, sample: Sample | None) -> Iterator[Batch]:
        """As many groups in each as there is room for, as long as they have the instruction in common."""
        groups: list[tuple[Setting, Numbers]] = []
        room = self.trials.room
        for setting, entries in self._groups(family, part, sample):
            changes = groups and groups[0][0].instruction != setting.instruction
            if changes or len(groups) == self.trials.most_groups or room < entries.shape[1]:
                yield Batch.of(*groups)
                groups, room = [], self.trials.room
            groups.append((setting, entries))
            room -= entries.shape[1]
        if groups:
            yield Batch.of(*groups)

    def _groups(self, family: Family, part: Slice, sample: Sample | None) -> Iterator[tuple[Setting, Numbers]]:
        wanted, room, forms = set(part.settings), self.trials.room, family.forms
        for number, setting in enumerate(family.settings(self.trials)):
            if number not in wanted:
                continue
            rows = _rows(family, number, part, sample)
            for start in range(0, len(rows), room):
                some = rows[start : start + room]
                yield setting, forms.entries(self.trials, setting.instruction, setting.place, some)

    def _compare(
        self, batch: Batch, foretold: Predictions, found: Outcomes, tally: Tally
    ) -> Iterator[tuple[tuple[str, ...], Case]]:
        """Count what differs, and give a case of each kind."""
        tally.cases += len(batch)
        wrong = np.flatnonzero(differs(self.trials, batch, foretold, found))
        if not len(wrong):
            return
        part, outcomes = batch.at(wrong), found.at(wrong)
        names = explain(self.trials, part, outcomes)
        tally.differing.update(names)
        seen = set()
        for number, some in enumerate(names):
            kind = some or (int(outcomes.vector[number]), int(outcomes.code[number]), int(foretold.code[wrong[number]]))
            if kind not in seen:
                seen.add(kind)
                yield some, Case.of(part, number)

    def _describe(self, family: Family, names: tuple[str, ...], case: Case) -> Difference | None:
        """The difference in words, unless its like has been described already."""
        kind = (family.name, names) if names else (family.name, case.setting.instruction, case.setting.user)
        if kind in self._shown or sum(each[0] == family.name for each in self._shown) >= SHOWN:
            return None
        self._shown.add(kind)
        smallest = shrink(self.trials, case, self.quirks, strict=self.strict)
        return describe(self.trials, family.name, smallest, self.quirks, names)


def _rows(family: Family, number: int, part: Slice, sample: Sample | None) -> NDArray[np.intp]:
    """Which forms to try in one setting."""
    forms = len(family.forms)
    if part.forms is None or sample is None or part.forms >= forms:
        return np.arange(forms)
    dice = sample.dice(family, number)
    return np.sort(dice.choice(forms, part.forms, replace=False, shuffle=False))
