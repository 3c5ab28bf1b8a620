"""The Player: a lecture's position, forwards on a live guest and backwards in what was recorded of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lab.demo.prompt import acts_on_guest, answer
from lab.errors import LabError, UsageError
from lab.scenarios.step import NO_TEXT
from lab.texts import Text
from lab.timeline.timeline import Moment, Timeline

if TYPE_CHECKING:
    from lab.machine import MachineOptions
    from lab.scenarios.registry import Scenario
    from lab.snapshot import Snapshot
    from lab.timeline.recorder import Recorder
    from lab.views.report import Report

__all__ = ["Player"]


class Player:
    """Goes through a lecture: a Timeline, or one that a live machine is still making.

    >>> from lab.timeline.recording import read, shipped
    >>> player = Player(read(shipped("mdl-remap")))
    >>> player.position, player.next(), player.position
    (0, True, 1)
    >>> player.go(8)
    >>> print(player.moment.step.title)
    Touch the old mapping
    >>> player.ask("walk mdl:0").schema
    'lab.walk/1'

    `position` is the moment that is shown. Where the next one has a question, `next` first only asks it: `question` is
    then not empty, and the next `next` reveals. A guest that dies is no end: with a `recording` of the same lecture,
    that goes on at the same step, and `notice` says so until it is taken.

    Every method may be called from any thread, and none raises for what guest or audience did. While the guest is at
    work only what needs it has to wait; how things stand can be asked at any time.
    """

    def __init__(
        self,
        timeline: Timeline | None = None,
        *,
        live: Recorder | None = None,
        recording: Callable[[], Timeline] | None = None,
        notice: Text = NO_TEXT,
    ) -> None:
        if timeline is None and live is None:
            raise ValueError("a player needs a timeline or a live recorder")
        self._lock = threading.RLock()
        self._live = live
        self._recording = recording
        self._timeline = timeline or live.timeline  # type: ignore[union-attr]
        self._position = 0
        self._asked: int | None = None
        self._answered: frozenset[int] = frozenset()
        self._notices = deque([notice] if notice else [], maxlen=1)

    @classmethod
    def open(
        cls,
        scenario: Scenario,
        options: MachineOptions | None = None,
        *,
        tell: Callable[[Exception], object] = lambda _: None,
    ) -> Self:
        """Boot a machine for a lecture; where that fails, or the machine dies later, its recording is played.

        `tell` hears why there is no machine, as `notice` does. Raises UsageError for a machine that cannot be asked
        for, and what kept it from starting when there is no sound recording either.
        """

        def recording() -> Timeline:
            from lab.timeline.recording import read, shipped

            return read(shipped(scenario.name))

        try:
            return cls(live=_start(scenario, options), recording=recording)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the audience is there
            try:
                recorded = recording()
            except LabError:
                raise error from None
            tell(error)
            why = Text("There is no machine; this is the recording. ({why})", {"why": _sentence(error)})
            return cls(recorded, notice=why)

    # ------------------------------------------------------------------------------------------------ where we are ----

    @property
    def timeline(self) -> Timeline:
        """The moments so far; another one after the guest has died."""
        return self._timeline

    @property
    def position(self) -> int:
        """The number of the moment that is shown."""
        return self._position

    @property
    def moment(self) -> Moment:
        """The moment that is shown."""
        return self._timeline[self._position]

    @property
    def question(self) -> Text:
        """What the audience is being asked about the next moment; empty while nothing is asked."""
        asked = self._asked
        return NO_TEXT if asked is None else self._timeline[asked].step.question

    @property
    def answered(self) -> list[int]:
        """The numbers of the moments that have been shown, before which nothing is asked any more."""
        return sorted(self._answered)

    @property
    def is_live(self) -> bool:
        """Whether a guest is there to play on and to be asked."""
        return self._live is not None

    @property
    def is_at_guest(self) -> bool:
        """Whether the moment that is shown is the one at which the live guest stands."""
        return self.is_live and self._position == len(self._timeline) - 1

    @property
    def is_at_end(self) -> bool:
        """Whether there is nothing after the moment that is shown, as far as is known."""
        live = self._live
        return self._position == len(self._timeline) - 1 and (live is None or live.is_over)

    def take_notice(self) -> Text:
        """What the lecturer has to be told, once; empty when there is nothing."""
        try:
            return self._notices.pop()
        except IndexError:
            return NO_TEXT

    # ------------------------------------------------------------------------------------------------------ moving ----

    def next(self) -> bool:
        """Go on: reveal what was asked, ask what is to be asked, or show the next moment. False at the end."""
        with self._lock:
            wanted = self._position + 1
            if not self._has(wanted):
                return False
            if self._timeline[wanted].step.question and self._asked is None and wanted not in self._answered:
                self._asked = wanted
            else:
                self._show(wanted)
            return True

    def back(self) -> bool:
        """Take back a question, or show the moment before. False at the beginning."""
        with self._lock:
            if self._asked is not None:
                self._asked = None
                return True
            if self._position == 0:
                return False
            self._show(self._position - 1)
            return True

    def go(self, number: int) -> None:
        """Show the moment of that number, or the nearest there is; a live guest plays up to it first."""
        with self._lock:
            while number >= len(self._timeline) and self._has(len(self._timeline)):
                pass
            self._show(min(max(number, 0), len(self._timeline) - 1))

    def _show(self, number: int) -> None:
        self._position, self._asked = number, None
        self._answered |= {number}

    def _has(self, number: int) -> bool:
        """Whether there is a moment of that number, after playing one more step where that helps."""
        if number >= len(self._timeline) and self._live is not None:
            self._play(self._live)
        return number < len(self._timeline)

    def _play(self, live: Recorder) -> None:
        wanted = len(self._timeline)
        try:
            live.advance()
        except Exception as error:  # noqa: BLE001 - whatever it was, a lecture must not end with a traceback
            self._take_over(live, wanted, error)

    def _take_over(self, live: Recorder, wanted: int, error: Exception) -> None:
        """Go on with the recording, if that has the wanted moment; else this is how the lecture ends.

        A lecture that ends as it did when it was recorded, in a bug check say, leaves a guest that can be looked into.
        """
        recording, why = None, _sentence(error)
        if self._recording is not None:
            try:
                recording = self._recording()
            except LabError as missing:
                why = f"{why}; {missing.sentence}"
        if recording is not None and wanted < len(recording):
            self._timeline = recording
            self._notices.append(_took_over(error))
            self._close_live()
        elif recording is None or recording.outcome != live.timeline.outcome:
            self._notices.append(Text("The machine has gone: {why}", {"why": why}))
            self._close_live()

    # ------------------------------------------------------------------------------------------------------ asking ----

    def snapshot(self) -> Snapshot:
        """The machine at the moment that is shown."""
        with self._lock:
            return self._timeline.snapshot(self._position)

    def ask(self, line: str) -> Report:
        """Answer a line such as ``walk mdl:0``, ``call MmIsAddressValid 0x10`` or ``probe 'mov rax, [rdi]'``.

        Views look at the moment that is shown. Calls and probes need the live guest, and the moment at which it
        stands; what they change then belongs to that moment. What cannot be answered is a Report as well:
        `lab.error/1`, with a sentence.
        """
        with self._lock:
            live = self._live if self.is_at_guest and acts_on_guest(line) else None
            if live is None:
                return answer(line, self.snapshot, None)
            with suppress(LabError):  # a guest that does not stand still any more is found out by the call itself
                live.stage.run_on()
            report = answer(line, self.snapshot, live.machine)
            with suppress(LabError):
                live.refresh()
            return report

    # ----------------------------------------------------------------------------------------------------- leaving ----

    def close(self) -> None:
        """Let the live machine go, if there is one; what was recorded stays."""
        with self._lock:
            self._close_live()

    def _close_live(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.machine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _start(scenario: Scenario, options: MachineOptions | None) -> Recorder:
    machine = scenario.machine(options).launch()
    try:
        from lab.timeline.recorder import Recorder  # takes its time, and QEMU and gdb need some too

        return Recorder(scenario, machine.start())
    except BaseException:
        machine.close()
        raise


def _took_over(error: Exception) -> Text:
    return Text("The machine has gone; the recording goes on. ({why})", {"why": _sentence(error)})


def _sentence(error: Exception) -> str:
    return error.sentence if isinstance(error, LabError) else str(error).partition("\n")[0]
