"""The Player: forwards, backwards, predict and reveal; and a guest that dies is not the end of a lecture."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from lab.cli.demo import _recording_behind
from lab.demo import Player
from lab.errors import GuestTimeout, ImageMissing, LabError, UsageError
from lab.machine import Machine, MachineOptions
from lab.scenarios import all_scenarios
from lab.texts import Text
from lab.timeline import recording
from tests.unit.made_up import DyingRecorder, made_up_timeline

PATIENCE = 30.0


@pytest.fixture
def player() -> Player:
    return Player(made_up_timeline())


def test_a_question_is_asked_before_its_moment_is_shown(player: Player) -> None:
    player.next()
    assert (player.position, player.question) == (1, "")

    player.next()
    assert (player.position, player.question) == (1, "Where will it be?")

    player.next()
    assert (player.position, player.question) == (2, "")
    assert player.moment.step.answer == "Behind the one before."


def test_what_was_answered_is_not_asked_again(player: Player) -> None:
    player.go(2)
    player.back()
    player.next()

    assert (player.position, player.question) == (2, "")


def test_a_question_can_be_taken_back(player: Player) -> None:
    player.go(1)
    player.next()

    assert player.back()
    assert (player.position, player.question) == (1, "")
    assert player.next()
    assert player.question


def test_it_ends_at_both_ends(player: Player) -> None:
    assert not player.back()
    player.go(99)
    assert (player.position, player.is_at_end) == (3, True)
    assert not player.next()
    player.go(-5)
    assert player.position == 0


def test_views_answer_at_the_moment_that_is_shown(player: Player) -> None:
    player.go(1)
    assert player.ask("walk fffffa8040000000").answer
    assert not player.ask("lab walk 0xfffffa8040001000 --style=windbg").answer
    player.go(3)
    assert player.ask("walk --style lab 0xfffffa8040001000").data["physical"] == "0x201000"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "type a view"),
        ("lab", "type a view"),
        ("walk", "needs ADDRESS"),
        ("walk 0 1", "takes nothing more"),
        ("walk 0 --colour red", "has no option --colour"),
        ("walk 0 --style", "--style needs"),
        ("walk 'unfinished", "cannot be read"),
        ("walk Nonsense!", "is not an address"),
        ("../../walk", "is no view"),
        ("pool", "does not run the lab's kernel"),
        ("call KeBugCheck", "needs the running guest"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(player: Player, line: str, says: str) -> None:
    report = player.ask(line)

    assert (report.schema, report.answer) == ("lab.error/1", False)
    assert says in str(report.data["message"])


def test_a_live_lecture_is_played_as_it_is_wanted() -> None:
    live = DyingRecorder(made_up_timeline(), lives=99)
    player = Player(live=live)  # type: ignore[arg-type]

    assert len(player.timeline) == 1
    player.go(2)
    assert (len(player.timeline), player.position, player.is_at_guest) == (3, 2, True)
    player.back()
    assert (player.position, player.is_live, player.is_at_guest) == (1, True, False)
    player.go(99)
    assert (player.position, player.is_at_end, player.take_notice()) == (3, True, "")


def test_the_recording_goes_on_where_the_guest_died_and_says_so_once() -> None:
    live, recorded = DyingRecorder(made_up_timeline(), lives=2), made_up_timeline()
    player = Player(live=live, recording=lambda: recorded)  # type: ignore[arg-type]
    player.go(2)

    assert player.next()

    assert player.timeline is recorded
    assert (player.position, player.is_live, live.closed) == (3, False, True)
    assert player.take_notice() == "The machine has gone; the recording goes on. (QEMU was killed)"
    assert player.take_notice() == ""
    assert player.back()


def test_without_a_recording_what_was_played_stays() -> None:
    def missing() -> None:
        raise LabError("there is no recording")

    player = Player(live=DyingRecorder(made_up_timeline(), lives=2), recording=missing)  # type: ignore[arg-type]
    player.go(2)

    assert not player.next()

    assert player.position == 2
    assert player.take_notice() == "The machine has gone: QEMU was killed; there is no recording"
    assert not player.is_live
    assert player.back()


def test_a_guest_that_dies_at_the_last_step_is_not_live_any_more() -> None:
    live = DyingRecorder(made_up_timeline(), lives=3)
    player = Player(live=live, recording=made_up_timeline)  # type: ignore[arg-type]
    player.go(3)

    assert not player.next()

    assert (player.is_live, player.is_at_end, live.closed) == (False, True, True)
    assert (player.position, player.timeline) == (3, live.timeline)
    assert player.take_notice() == "The machine has gone: QEMU was killed"


def test_a_lecture_that_ends_as_it_was_recorded_leaves_its_guest() -> None:
    live, recorded = DyingRecorder(made_up_timeline(), lives=3), made_up_timeline()
    recorded.outcome = "failed"
    player = Player(live=live, recording=lambda: recorded)  # type: ignore[arg-type]
    player.go(3)

    assert not player.next()

    assert (player.is_live, player.take_notice()) == (True, "")


def test_how_things_stand_is_known_while_the_guest_is_at_work() -> None:
    live, begun, done = DyingRecorder(made_up_timeline(), lives=99), threading.Event(), threading.Event()

    def advance() -> None:
        begun.set()
        done.wait()

    live.advance = advance  # type: ignore[method-assign, assignment]
    player = Player(live=live, notice=Text("Welcome."))  # type: ignore[arg-type]
    with ThreadPoolExecutor() as threads:
        working = threads.submit(player.next)
        assert begun.wait(PATIENCE)
        try:
            looking = threads.submit(
                lambda: (player.question, player.answered, player.is_at_guest, player.is_at_end, player.take_notice())
            )
            assert looking.result(PATIENCE) == ("", [], True, False, "Welcome.")
            assert not working.done()
        finally:
            done.set()


def test_where_no_machine_starts_the_recording_is_played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lecture = replace(all_scenarios()["mdl-remap"], name="made-up")
    monkeypatch.setattr(recording, "IMAGES", tmp_path)
    options = MachineOptions(kernel=tmp_path / "nothing.elf")
    with pytest.raises(ImageMissing):
        Player.open(lecture, options)

    recording.shipped("made-up").parent.mkdir()
    recording.write(made_up_timeline(), recording.shipped("made-up"))

    told: list[Exception] = []
    player = Player.open(lecture, options, tell=told.append)
    assert "There is no machine; this is the recording. (there is no kernel image" in player.take_notice()
    assert isinstance(told[0], ImageMissing)
    assert not player.is_live
    assert player.next()


@pytest.mark.parametrize("error", [GuestTimeout("GDB did not answer"), OSError("no more processes")])
def test_whatever_keeps_a_machine_from_starting_the_recording_is_played(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Machine, "launch", raising(error))
    player = Player.open(all_scenarios()["mdl-remap"])
    assert not player.is_live
    assert str(error) in player.take_notice()


def test_a_machine_that_cannot_be_asked_for_is_no_reason_for_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "launch", raising(UsageError("no such machine")))
    with pytest.raises(UsageError):
        Player.open(all_scenarios()["mdl-remap"])


def test_a_damaged_recording_leaves_the_word_to_what_kept_the_machine_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(recording, "IMAGES", tmp_path)
    recording.shipped("mdl-remap").parent.mkdir()
    recording.shipped("mdl-remap").write_bytes(b"damaged")
    monkeypatch.setattr(Machine, "launch", raising(GuestTimeout("GDB did not answer")))
    with pytest.raises(GuestTimeout):
        Player.open(all_scenarios()["mdl-remap"])


def test_a_damaged_recording_does_not_end_a_live_lecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recording, "IMAGES", tmp_path)
    live = Player(live=DyingRecorder(made_up_timeline(), lives=99))  # type: ignore[arg-type]
    file = recording.shipped(live.timeline.scenario)
    file.parent.mkdir()

    file.write_bytes(b"damaged")
    assert _recording_behind(live) is None
    recording.write(made_up_timeline(), file)
    found = _recording_behind(live)
    assert found is not None
    assert len(found) == 4


def raising(error: Exception) -> Callable[[Machine], Machine]:
    def launch(machine: Machine) -> Machine:
        raise error

    return launch
