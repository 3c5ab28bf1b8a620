"""The lecture on the boot: what the CPU was at each of its stops, and what the first and the last tables said."""

from __future__ import annotations

from typing import Any

import pytest

from lab.demo import Player
from lab.demo.scene import scene
from lab.machine import Machine, MachineOptions
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Stage
from lab.scenarios.step import Step
from lab.timeline.recorder import Recorder
from lab.x86 import PagingMode

LECTURE = all_scenarios()["from-reset"]

Steps = dict[str, Step]


@pytest.fixture(scope="module", params=[4, 5], ids="{} levels".format)
def levels(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def steps(levels: int) -> Steps:
    with LECTURE.machine(MachineOptions(append=("la57",) if levels == 5 else ())) as machine:
        steps = {step.title: step for step in LECTURE.play(Stage(machine))}
        assert machine.call.lab_ping(1).result == 2, "the guest has come up in the end"
    return steps


def bits(step: Step, register: str) -> set[str]:
    data: Any = step.reports["regs"].data
    return set(data["bits"][register])


def data(steps: Steps, title: str, report: str) -> Any:
    return steps[title].reports[report].data


def test_it_begins_before_the_first_instruction(steps: Steps) -> None:
    first = data(steps, "Reset: the CPU before its first instruction", "regs")

    assert first["registers"]["rip"] == "0xfff0"
    assert (first["paging"], first["bits"]["cr4"], first["bits"]["efer"]) == ("off", [], [])
    assert not bits(steps["Reset: the CPU before its first instruction"], "cr0") & {"PE", "PG"}


def test_one_instruction_switches_paging_on(steps: Steps, levels: int) -> None:
    before, after = steps["Everything is ready for paging"], steps["CR0.PG: paging is on"]

    assert after.halts[0].address - before.halts[0].address == len(b"\x0f\x22\xc0"), "mov cr0, eax"
    assert bits(before, "cr4") == bits(after, "cr4") == {"PAE"} | ({"LA57"} if levels == 5 else set())
    assert bits(before, "efer") == {"LME", "NXE"}
    assert bits(after, "efer") == {"LME", "LMA", "NXE"}
    assert "PG" in bits(after, "cr0") - bits(before, "cr0")


def test_each_stop_points_at_its_line_of_the_kernels_source(steps: Steps) -> None:
    stops = [step for step in steps.values() if step.halts]

    assert [step.source.name for step in stops if step.source] == ["pvh.S"] * 4 + ["main.c"] * 2 + ["mailbox.c"]


def test_the_first_root_has_the_entries_that_the_next_instruction_needs(steps: Steps, levels: int) -> None:
    table = data(steps, "Everything is ready for paging", "root")

    assert table["level"] == f"PML{levels}"
    used = [entry["index"] for entry in table["entries"]]
    assert used == ([0, 0x1ED, 0x1FF] if levels == 5 else [0, 0x1ED, 0x1F0])


def test_the_first_tables_map_code_to_itself_and_to_where_it_is_linked(steps: Steps, levels: int) -> None:
    here, kernel = (data(steps, "CR0.PG: paging is on", name) for name in ("here", "kernel"))

    assert here["levels"] == kernel["levels"] == levels
    assert here["physical"] == here["address"]
    assert int(kernel["address"], 16) - int(kernel["physical"], 16) == 0xFFFF_F800_0000_0000
    assert here["page_size"] == kernel["page_size"] == 2 << 20
    assert here["steps"][-1]["entry_address"] == kernel["steps"][-1]["entry_address"]


def test_the_identity_map_is_gone_on_the_kernels_own_tables(steps: Steps) -> None:
    title = "Tables of the kernel's own: the identity map is gone"
    old, new = (data(steps, each, "map") for each in ("The higher half: the first C function", title))

    assert data(steps, title, "entry")["outcome"] == "fault"
    assert old["root"] != new["root"]
    assert {row["start"] for row in old["mappings"]} >= {"0x0", "0xfffff80000000000"}
    pages = [row for row in new["mappings"] if row["kind"] == "page"]
    assert all(int(row["start"], 16) >> 47 == 0x1FFFF for row in pages)
    assert not any({"w", "x"} <= set(row["supervisor"]) for row in pages)


def test_a_frozen_machine_stands_still_and_comes_up_when_it_is_let_go() -> None:
    with Machine(MachineOptions(frozen=True)) as machine:
        assert not machine.is_running
        assert machine.registers().rip == 0xFFF0
        machine.cont()
        machine.wait_ready()
        assert machine.call.lab_ping(41).result == 42


def test_a_recording_of_it_has_moments_without_paging() -> None:
    with LECTURE.machine() as machine:
        timeline = Recorder(LECTURE, machine).finish()

    modes = [timeline[number].state.mode for number in range(len(timeline))]
    assert modes[:4] == [PagingMode.OFF] * 4
    assert modes[4:] == [PagingMode.LEVEL4] * (len(modes) - 4)
    assert timeline.outcome == "ok"


def test_it_can_be_gone_through_live_and_asked_where_there_is_no_paging() -> None:
    with Player(live=Recorder(LECTURE, LECTURE.machine().start())) as player:
        player.go(3)
        assert player.moment.step.title == "Everything is ready for paging"
        assert not player.ask("walk rip").answer
        assert scene(player.timeline, 3, "en").walks == ()
        player.go(len(player.timeline) + 9)
        assert scene(player.timeline, 4, "tr").walks
