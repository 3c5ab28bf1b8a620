"""What a test's machine went through, as a recording that `lab` can look into afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.scenarios.step import Step
from lab.snapshot import capture, diff
from lab.texts import Text
from lab.timeline import Moment, Timeline, recording
from lab.timeline.recorder import MomentWatch

if TYPE_CHECKING:
    from lab.machine import Machine
    from lab.snapshot import Snapshot, TableImage

__all__ = ["TestRecording"]


class TestRecording:
    """The moments of one test, the first of them when it begins.

    `recording.moment("the page is mapped")` adds one; `recording.write()` puts all into a file in the test's
    `tmp_path`, as happens by itself when the test fails. Look into it with `lab map --from FILE@1`, or any other view.
    """

    __test__ = False  # pytest must not take it for tests

    def __init__(self, machine: Machine, test: str, path: Path) -> None:
        self.path = path
        self._machine = machine
        self._watch = MomentWatch(machine)
        with machine.paused():
            now = machine.snapshot()
            self._tables = _tables(now)
        self.timeline = Timeline("test", Text.verbatim(test), banks=machine.memory.banks, kernel=now.kernel)
        self.timeline.append(self._watch.moment(Step(0, Text.verbatim(test), Text())))

    def moment(self, title: str, text: str = "") -> Moment:
        """Record the machine as it is now, and which entries changed since the moment before."""
        with self._machine.paused():
            now = self._machine.snapshot()
            tables = _tables(now)
            changes = diff(self._tables, tables, now.state) if self._tables and tables else None
            step = Step(len(self.timeline), Text.verbatim(title), Text.verbatim(text), changes=changes)
            moment = self._watch.moment(step, now)
        self._tables = tables
        self.timeline.append(moment)
        return moment

    def write(self, path: Path | None = None) -> Path:
        """Write the recording, beside the test's other files unless `path` says where; return where it is."""
        path = path or self.path
        recording.write(self.timeline, path)
        return path


def _tables(now: Snapshot) -> TableImage | None:
    """All page tables; None while there are none."""
    try:
        return capture(now.memory, now.state)
    except LabError:
        return None
