"""Every sample driver as a lecture: it is shown, built, traced, and ends as its comment says it does."""

from __future__ import annotations

import pytest

from lab.errors import GuestStopped
from lab.machine import Machine
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Stage

CRASHES = {
    "driver-double-free": 0xC2,
    "driver-overrun": 0x19,
    "driver-use-after-free": 0x50,
    "driver-write-read-only": 0xBE,
    "driver-wrong-irql": 0xC2,
}

LECTURES = [name for name in all_scenarios() if name.startswith("driver-")]


def test_the_whole_shelf_is_there() -> None:
    assert len(LECTURES) >= 12
    assert set(CRASHES) <= set(LECTURES)


@pytest.mark.parametrize("name", [name for name in LECTURES if name not in CRASHES])
def test_a_sound_driver_is_shown_with_its_source_and_what_it_did(name: str) -> None:
    with Machine(gdb=True) as machine:
        source, *_, run = all_scenarios()[name].play(Stage(machine))

    assert "DriverEntry" in "\n".join(source.reports["source"].data["lines"])
    assert run.reports["driver"].data["status"] == "0x00000000"
    assert run.reports["driver"].data["log"]


@pytest.mark.parametrize("name", CRASHES)
def test_a_faulty_driver_is_shown_to_its_bug_check(name: str) -> None:
    steps = []
    with Machine(gdb=True) as machine, pytest.raises(GuestStopped) as caught:
        steps.extend(all_scenarios()[name].play(Stage(machine)))

    assert caught.value.code == CRASHES[name]


def test_each_memory_call_is_a_step_with_its_line_and_what_it_changed() -> None:
    with Machine(gdb=True) as machine:
        _, *calls, _ = all_scenarios()["windows-driver"].play(Stage(machine))

    lines = {step.halts[0].function: step.source.line for step in calls if step.source}
    changed = {step.halts[0].function: [change.kind for change in step.changes or ()] for step in calls}
    assert lines["MmMapLockedPagesSpecifyCache"] < lines["MmUnmapLockedPages"] < lines["ExFreePoolWithTag"]
    assert changed["MmMapLockedPagesSpecifyCache"] == ["created"]
    assert changed["MmUnmapLockedPages"] == ["removed"]
    assert changed["MmBuildMdlForNonPagedPool"] == []
    assert all(step.text for step in calls)
    assert str(calls[0].text).startswith("PUCHAR pool = ExAllocatePoolWithTag(")
    assert all(step.focus for step in calls)
    answers = [step.answer.values["count"] for step in calls if step.question]
    assert answers == [0, 1, 1], "build, map, unmap"


def test_the_guest_stands_where_each_call_returned() -> None:
    with Machine(gdb=True) as machine:
        stage = Stage(machine)
        for step in all_scenarios()["windows-driver"].play(stage):
            if step.halts:
                assert stage.snapshot().registers.rip == step.halts[0].address


def test_requests_are_followed_beyond_the_drivers_first_answer() -> None:
    """Opening the device returns to the very place where the whole request returns to."""
    with Machine(gdb=True) as machine:
        _, *calls, run = all_scenarios()["driver-direct-io"].play(Stage(machine))

    assert [step.halts[0].function for step in calls] == ["MmMapLockedPagesSpecifyCache"] * 2
    assert all([change.kind for change in step.changes or ()] == ["created"] for step in calls)
    assert "direct_io: the bytes add up to 6" in run.reports["driver"].data["log"]
