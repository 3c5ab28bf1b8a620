"""The Timeline itself: moments, and the memory of each."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.memory import Bank, PagedMemory
from lab.scenarios.step import NO_TEXT, Step
from lab.snapshot import Registers, Snapshot, capture, diff
from lab.texts import Text

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage
    from lab.snapshot.changes import EntryChange
    from lab.x86.state import PagingState

__all__ = ["Moment", "Timeline"]


@dataclass(frozen=True)
class Moment:
    """A machine right after a step: what is said of it, and what it then was.

    `pages` are the frames that differ from the moment before, by their numbers, with what they hold now; in the first
    moment, all that are not zero. `console` is what was printed since the moment before.
    """

    step: Step
    registers: Registers
    state: PagingState
    pages: Mapping[int, bytes] = field(default_factory=dict)
    console: str = ""

    @property
    def number(self) -> int:
        """The number of the step, which is its place in the Timeline."""
        return self.step.number


class Timeline:
    """The moments of one playing of a scenario, from 0 (before the first step) on.

    >>> from lab.timeline.recording import read, shipped
    >>> timeline = read(shipped("mdl-remap"))
    >>> print(timeline[4].step.title)
    Map the MDL: a second address for the same frame
    >>> snapshot = timeline.snapshot(4)
    >>> print(snapshot.walk(snapshot.resolve("mdl:0")).mapped.supervisor)
    rw-
    >>> [(str(each.level), each.kind) for each in timeline.changes(4) if not each.only_noted]
    [('PT', 'created')]

    `sources` are the files that the moments point into, with their text. `outcome` is how the scenario ended: "ok",
    "bugcheck", "timeout" or "failed"; `message` then says why.
    """

    def __init__(
        self,
        scenario: str,
        title: Text,
        *,
        banks: Sequence[Bank],
        kernel: KernelImage | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self.scenario = scenario
        self.title = title
        self.banks = tuple(banks)
        self.kernel = kernel
        self.sources: Mapping[str, str] = {} if sources is None else sources
        self.outcome = "ok"
        self.message = ""
        self._moments: list[Moment] = []
        self._versions: dict[int, _Versions] = {}

    def append(self, moment: Moment) -> None:
        """Add the next moment; UsageError when it has not the next number."""
        if moment.number != len(self._moments):
            raise UsageError(f"moment {moment.number} cannot be the next one; {len(self._moments)} are there")
        self._moments.append(moment)
        for number, page in moment.pages.items():
            self._versions.setdefault(number, _Versions()).add(moment.number, page)

    def amend(self, moment: Moment) -> None:
        """Put a moment in the place of the last one, which has the same number and nothing but less to tell.

        Whoever looks at the Timeline meanwhile never sees it shorter than it is.
        """
        last = self._moments[-1]
        for number, page in moment.pages.items():
            self._versions.setdefault(number, _Versions()).put(moment.number, page)
        pages = {**last.pages, **moment.pages}
        self._moments[-1] = replace(moment, pages=pages, console=last.console + moment.console)

    def snapshot(self, number: int) -> Snapshot:
        """The machine at a moment, for every view; UsageError when there is no such moment."""
        moment = self.at(number)
        memory = PagedMemory(self.banks, _PagesAt(self._versions, number))
        return Snapshot(memory, moment.state, moment.registers, self.kernel, f"{self.scenario}@{number}")

    def changes(self, number: int, since: int | None = None) -> tuple[EntryChange, ...]:
        """The page-table entries that are not what they were at the moment `since`, else at the one before.

        An entry of a table that can be reached from that moment's CR3 at either time. UsageError for no such moment.
        """
        earlier = max(0, number - 1) if since is None else since
        before, after = self.snapshot(earlier), self.snapshot(number)
        root = after.state.root
        old, new = (capture(each.memory, after.state, root) for each in (before, after))
        return diff(old, new, after.state)

    def console(self, number: int) -> str:
        """All that was printed up to a moment; UsageError when there is no such moment."""
        self.at(number)
        return "".join(each.console for each in self._moments[: number + 1])

    def at(self, number: int) -> Moment:
        """The moment of that number; UsageError when there is none."""
        if not 0 <= number < len(self):
            raise UsageError(f"{self.scenario} has no moment {number}; it has 0 to {len(self) - 1}")
        return self._moments[number]

    def __getitem__(self, number: int) -> Moment:
        return self._moments[number]

    def __iter__(self) -> Iterator[Moment]:
        return iter(self._moments)

    def __len__(self) -> int:
        return len(self._moments)


class _Versions:
    """What one frame held, and from which moment on."""

    __slots__ = ("numbers", "pages")

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.pages: list[bytes] = []

    def add(self, number: int, page: bytes) -> None:
        self.pages.append(page)  # first, because somebody may be looking on
        self.numbers.append(number)

    def put(self, number: int, page: bytes) -> None:
        """Add a page, or put it in the place of the one of the same moment."""
        if self.numbers[-1:] == [number]:
            self.pages[-1] = page
        else:
            self.add(number, page)


class _PagesAt:
    """The pages of one moment: for each frame the last version that is not later."""

    def __init__(self, versions: Mapping[int, _Versions], number: int) -> None:
        self._versions = versions
        self._number = number

    def get(self, number: int) -> bytes | None:
        found = self._versions.get(number)
        if found is None:
            return None
        index = bisect.bisect_right(found.numbers, self._number)
        return found.pages[index - 1] if index else None


def opening(title: Text, text: Text = NO_TEXT) -> Step:
    """The step of moment 0: what the lecture is about, before anything is done."""
    return Step(number=0, title=title, text=text)
