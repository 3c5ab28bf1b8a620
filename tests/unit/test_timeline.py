"""A Timeline: every moment is a whole machine, at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.memory import PagedMemory, SharedRam
from lab.timeline import Moment, Timeline
from lab.timeline.recorder import PageWatch
from lab.x86 import Level, PhysicalAddress
from tests.unit.made_up import BANKS, FRAME, PAGE, made_up_timeline


@pytest.fixture
def timeline() -> Timeline:
    return made_up_timeline()


def test_every_moment_has_the_memory_it_had(timeline: Timeline) -> None:
    for number in (3, 0, 2, 1, 3):
        mapped = [timeline.snapshot(number).walk(PAGE + i * FRAME).is_mapped for i in range(3)]

        assert mapped == [i < number for i in range(3)]
    assert timeline.snapshot(3).read_virtual(PAGE + FRAME, 6) == b"page 2"


def test_the_changes_of_a_moment_are_those_since_the_one_before(timeline: Timeline) -> None:
    assert timeline.changes(0) == ()
    (change,) = timeline.changes(3)
    assert (change.level, change.kind, change.start) == (Level.PT, "created", PAGE + 2 * FRAME)
    assert [each.level for each in timeline.changes(1)] == [Level.PML4, Level.PDPT, Level.PD, Level.PT]


def test_changes_between_any_two_moments(timeline: Timeline) -> None:
    assert len(timeline.changes(3, since=1)) == 2
    assert {each.kind for each in timeline.changes(0, since=3)} == {"removed"}
    assert timeline.changes(2, since=2) == ()


def test_the_console_adds_up(timeline: Timeline) -> None:
    assert timeline.console(0) == ""
    assert timeline.console(2) == "mapped 1\nmapped 2\n"


def test_there_are_no_other_moments(timeline: Timeline) -> None:
    assert [each.number for each in timeline] == [0, 1, 2, 3]
    for number in (-1, 4):
        with pytest.raises(UsageError, match="it has 0 to 3"):
            timeline.snapshot(number)
    with pytest.raises(UsageError, match="cannot be the next"):
        timeline.append(timeline[1])


def test_what_the_audience_does_belongs_to_the_last_moment(timeline: Timeline) -> None:
    last = timeline[3]
    page = b"written by the audience".ljust(FRAME, b"\0")

    timeline.amend(Moment(last.step, last.registers, last.state, {0x201: page}, "hello\n"))

    assert timeline.snapshot(3).read_virtual(PAGE + FRAME, 7) == b"written"
    assert timeline.snapshot(3).walk(PAGE + 2 * FRAME).is_mapped
    assert timeline.snapshot(2).read_virtual(PAGE + FRAME, 6) == b"page 2"
    assert timeline.console(3).endswith("mapped 3\nhello\n")


def test_memory_of_pages_reads_across_them() -> None:
    memory = PagedMemory(BANKS, {1: b"a" * FRAME, 3: b"b" * FRAME})

    data = memory.read(PhysicalAddress(FRAME - 2), 2 * FRAME + 4)

    assert data == b"\0\0" + b"a" * FRAME + b"\0" * FRAME + b"bb"


def test_only_what_was_written_is_read_and_only_changes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    with SharedRam(path) as ram, path.open("r+b") as file:
        watch = PageWatch(ram)
        assert watch.changed() == {}
        for frame, content in ((5, b"five"), (16383, b"last")):
            file.seek(frame * FRAME)
            file.write(content)
        file.flush()

        assert {number: page[:4] for number, page in watch.changed().items()} == {5: b"five", 16383: b"last"}
        assert watch.changed() == {}
        assert sum(len(piece) for _, piece in ram.written()) == 2 * 256 * 1024
        file.seek(5 * FRAME)
        file.write(bytes(4))
        file.flush()
        assert watch.changed() == {5: bytes(FRAME)}
