"""Lectures played into a Timeline on a real machine: each moment is what the guest then was."""

from __future__ import annotations

import os
import signal

import pytest

from lab.demo import Player
from lab.errors import LabError
from lab.machine import Machine
from lab.scenarios import all_scenarios
from lab.timeline import Timeline
from lab.timeline.recorder import Recorder

LECTURE = all_scenarios()["mdl-remap"]


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    with Machine(gdb=True) as machine:
        return Recorder(LECTURE, machine).finish()


def test_the_opening_is_the_machine_before_anything_is_done(timeline: Timeline) -> None:
    assert timeline[0].step.title == LECTURE.title
    assert "ready" in timeline[0].console
    assert timeline.snapshot(0).guest.variable("lab_mailbox")
    with pytest.raises(LabError, match="no block in use"):
        timeline.snapshot(0).resolve("pool:Lab1")


def test_every_moment_shows_what_its_step_reports(timeline: Timeline) -> None:
    """The walks of a step were made of live memory when it was played; its moment must give the same ones."""
    walks = 0
    for moment in timeline:
        for report in moment.step.reports.values():
            if report.schema == "lab.walk/1":
                walks += 1
                again = Player(timeline)
                again.go(moment.number)
                assert again.ask(f"walk {report.data['address']}") == report
    assert walks == 6


def test_the_changes_of_a_moment_are_those_of_its_call(timeline: Timeline) -> None:
    for moment in timeline:
        called = [each for each in moment.step.changes or () if not each.only_noted]
        assert [each for each in timeline.changes(moment.number) if not each.only_noted] == called


def test_a_moment_points_at_the_line_that_was_played(timeline: Timeline) -> None:
    source = timeline[4].step.source
    assert source is not None
    line = timeline.sources[source.name].splitlines()[source.line - 1]
    assert "MmMapLockedPagesSpecifyCache" in line


def test_registers_are_those_at_the_end_of_the_call(timeline: Timeline) -> None:
    (returned,) = [each for each in timeline[4].step.halts if each.event == "return"]
    assert timeline[4].registers.rip == returned.address
    assert timeline[4].registers.rax == timeline[4].step.focus[0]


def test_a_bug_check_is_the_end_of_a_lecture_and_its_last_moment() -> None:
    with Machine(gdb=True) as machine:
        timeline = Recorder(all_scenarios()["driver-double-free"], machine).finish()

    assert timeline.outcome == "bugcheck"
    assert "*** STOP: 0x000000c2" in timeline[-1].console
    player = Player(timeline)
    player.go(99)
    assert player.ask("bugcheck").data["bugcheck"]["name"] == "BAD_POOL_CALLER"  # type: ignore[index,call-overload]


def test_what_the_audience_asks_for_is_done_by_the_guest_and_seen_in_the_moment() -> None:
    with Player(live=Recorder(LECTURE, Machine(gdb=True).start())) as player:
        player.go(2)
        assert player.ask("call ExAllocatePoolWithTag NonPagedPoolNx 100 Hall").answer
        assert player.ask("pool").answer
        assert "Hall" in str(player.ask("pool").data)
        assert not player.ask("call read_u64 0x10").answer
        probe = player.ask("probe 'mov rax, [rdi]' --reg rdi=0xfffff78000000000 --control CR0.WP=0 --user")
        assert probe.data["exception"]["name"] == "#PF"  # type: ignore[index,call-overload]
        assert player.ask("probe 'mov eax, 42'").data["registers"]["rax"] == "0x2a"  # type: ignore[index,call-overload]
        player.back()
        assert "Hall" not in str(player.ask("pool").data)
        assert player.ask("call read_u64 0x10").schema == "lab.error/1"
        player.go(8)
        assert player.moment.step.title == "Touch the old mapping"


@pytest.mark.parametrize(
    "line",
    [
        "probe",
        "probe 'jump up'",
        "probe nop rdi",
        "probe nop --control CR0.WP=2",
        "call",
        "call Nonsense",
        "call read_u64 x y",
    ],
)
def test_what_the_guest_cannot_do_is_a_sentence(line: str) -> None:
    with Player(live=Recorder(LECTURE, Machine(gdb=True).start())) as player:
        report = player.ask(line)
        assert (report.schema, report.answer) == ("lab.error/1", False)
        assert player.next()


def test_a_recording_goes_on_where_the_machine_was_killed(timeline: Timeline) -> None:
    machine = Machine(gdb=True).start()
    with Player(live=Recorder(LECTURE, machine), recording=lambda: timeline) as player:
        player.go(3)
        os.kill(machine.qemu.process.pid, signal.SIGKILL)

        assert player.ask("call MmIsAddressValid 0").schema == "lab.error/1"
        assert player.next()

        assert (player.position, player.is_live) == (3, False)
        assert "second address" in player.question
        assert player.next()
        assert player.position == 4
        assert "the recording goes on" in player.take_notice()
        assert player.ask("mdl").answer
        player.go(99)
        assert player.moment.step.title == "Everything is as before"
