"""A scenario played on a live machine, step by step, into a Timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from lab.errors import GuestStopped, GuestTimeout
from lab.kernel.log import HARMLESS
from lab.memory.paged import PAGE_SIZE
from lab.scenarios.stage import Stage
from lab.timeline.timeline import Moment, Timeline, opening

if TYPE_CHECKING:
    from lab.machine import Machine
    from lab.memory import SharedRam
    from lab.scenarios.registry import Scenario
    from lab.scenarios.step import Step
    from lab.snapshot import Snapshot

__all__ = ["Recorder", "MomentWatch", "PageWatch"]


class Recorder:
    """Plays a scenario on a machine that is up; every step becomes a Moment of `timeline`.

    Moment 0 is there from the beginning. `is_over` says that there will be no more.
    """

    def __init__(self, scenario: Scenario, machine: Machine, arguments: Mapping[str, object] | None = None) -> None:
        self.machine = machine
        self.stage = Stage(machine)
        self.is_over = False
        self._watch = MomentWatch(machine, self.stage.as_seen)
        self._steps = scenario.play(self.stage, **dict(arguments or {}))
        self.timeline = Timeline(
            scenario.name,
            scenario.title,
            banks=machine.memory.banks,
            kernel=machine.kernel,
            sources=self.stage.sources,
        )
        self._add(opening(scenario.title, scenario.description))

    def advance(self) -> Moment | None:
        """Play the next step; None when there is none. Raises what the scenario raises, and is over then."""
        if self.is_over:
            return None
        try:
            step = next(self._steps, None)
            if step is not None:
                return self._add(step)
        except BaseException as error:
            self._end(error)
            raise
        self.is_over = True
        return None

    def finish(self, tell: Callable[[Moment], object] = lambda _: None) -> Timeline:
        """Play all that is left; `tell` hears of every moment.

        A guest that stops, as some lectures want it to, is told by the Timeline's outcome. Raises what else the
        scenario raises.
        """
        try:
            while (moment := self.advance()) is not None:
                tell(moment)
        except (GuestStopped, GuestTimeout):
            pass  # the outcome says so
        return self.timeline

    def _end(self, error: BaseException) -> None:
        self.is_over = True
        outcomes = {GuestStopped: "bugcheck", GuestTimeout: "timeout"}
        self.timeline.outcome = next((each for kind, each in outcomes.items() if isinstance(error, kind)), "failed")
        self.timeline.message = str(error)

    def refresh(self) -> None:
        """Take into the last moment what was done to the guest since."""
        self.timeline.amend(self._watch.moment(self.timeline[-1].step))

    def _add(self, step: Step) -> Moment:
        # Where a call was stopped at its end, the registers there are worth more than those of the idle guest.
        moment = self._watch.moment(step, self.stage.snapshot() if step.halts else None)
        self.timeline.append(moment)
        return moment


class MomentWatch:
    """Makes Moments of a live machine: what it is now, and what changed since the last one.

    `as_seen` may see the machine otherwise than it is, such as in another address space.
    """

    def __init__(self, machine: Machine, as_seen: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot) -> None:
        self._machine = machine
        self._as_seen = as_seen
        self._pages = PageWatch(machine.memory)
        self._printed = 0

    def moment(self, step: Step, now: Snapshot | None = None) -> Moment:
        """The machine as it is, with what is said of it; `now` has registers that are worth more than its own."""
        with self._machine.paused():
            now = now or self._as_seen(self._machine.snapshot())
            pages = self._pages.changed()
        printed = self._machine.log
        console, self._printed = printed[self._printed :].replace("\r\n", "\n").translate(HARMLESS), len(printed)
        return Moment(step, now.registers, now.state, pages, console)


class PageWatch:
    """Finds the frames of a memory that do not hold what they held at the last look."""

    def __init__(self, memory: SharedRam) -> None:
        self._memory = memory
        self._seen: dict[int, bytes] = {}

    def changed(self) -> dict[int, bytes]:
        """The pages that changed since the last call, by frame number; at the first call, all that are not zero."""
        changed: dict[int, bytes] = {}
        for start, piece in self._memory.written():
            before = self._seen.get(int(start))
            if before != piece:
                changed.update(_differing(int(start) // PAGE_SIZE, before or bytes(len(piece)), piece))
                self._seen[int(start)] = piece
        return changed


def _differing(first: int, before: bytes, after: bytes) -> Iterator[tuple[int, bytes]]:
    """The pages that differ between two contents of one piece of memory, which begins at frame `first`."""
    for offset in range(0, len(after), PAGE_SIZE):
        page = after[offset : offset + PAGE_SIZE]
        if page != before[offset : offset + PAGE_SIZE]:
            yield first + offset // PAGE_SIZE, page
