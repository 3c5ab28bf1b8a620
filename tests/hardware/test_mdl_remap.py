"""The main lecture on a real machine: what `lab run` shows must be what the CPU and the guest really did."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.errors import GuestStopped
from lab.machine import Machine, MachineOptions
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Stage
from lab.scenarios.step import Step

Steps = dict[str, Step]


def play(machine: Machine, **arguments: str) -> Iterator[Step]:
    return all_scenarios()["mdl-remap"].play(Stage(machine), **arguments)


@pytest.fixture(scope="module", params=["microvm", "q35"])
def steps(request: pytest.FixtureRequest) -> Steps:
    with Machine(MachineOptions(machine=request.param), gdb=True) as machine:
        return {step.title: step for step in play(machine)}


def test_both_walks_end_in_one_frame(steps: Steps) -> None:
    reports = steps["Two walks, one frame"].reports

    pool, mapping = reports["pool"].data, reports["mapping"].data

    assert pool["address"] != mapping["address"]
    assert pool["physical"] == mapping["physical"]
    assert [each["entry_address"] for each in pool["steps"]] != [each["entry_address"] for each in mapping["steps"]]
    assert {each["address"] for each in reports["aliases"].data["aliases"]} == {pool["address"], mapping["address"]}


def test_mapping_creates_exactly_one_entry_and_unmapping_removes_it(steps: Steps) -> None:
    created = steps["Map the MDL: a second address for the same frame"].changes
    removed = steps["Unmap the second address"].changes

    assert created is not None
    assert removed is not None
    assert [(change.kind, str(change.level)) for change in created] == [("created", "PT")]
    assert [(change.kind, str(change.level)) for change in removed] == [("removed", "PT")]
    assert created[0].entry_address == removed[0].entry_address


def test_bytes_written_through_one_address_stand_once_in_physical_memory(steps: Steps) -> None:
    memory = steps["Write through one, read through the other"].reports["memory"].data

    assert bytes.fromhex(memory["pieces"][0]["data"]).startswith(b"one frame, two addresses")


def test_touching_the_old_mapping_faults_at_the_level_that_the_walk_names(steps: Steps) -> None:
    step = steps["Touch the old mapping"]

    assert [halt.event for halt in step.halts] == ["fault"]
    fault = step.reports["mapping"].data["fault"]
    assert (fault["level"], fault["bit"], fault["reason"]) == ("PT", 0, "not present")
    assert "#PF" in step.text


def test_every_address_was_checked_by_three_judges(steps: Steps) -> None:
    agreements = [each for step in steps.values() for each in step.agreements]

    assert len(agreements) >= 6
    assert all(each.own == each.qemu == each.guest for each in agreements)


def test_every_call_was_stopped_at_its_end(steps: Steps) -> None:
    stops = [[halt.event for halt in step.halts] for step in steps.values() if step.halts]

    assert len(stops) == 8
    assert all(each in (["return"], ["fault"]) for each in stops)


def test_nothing_is_left(steps: Steps) -> None:
    books = steps["Everything is as before"].reports["books"].data

    assert books["before"] == books["after"]
    assert books["before"]["frames available"] > 10000


@pytest.mark.parametrize(
    ("fail", "undone"),
    [
        ("pool", []),
        ("mdl", ["Free the pool page"]),
        ("map", ["Free the MDL", "Free the pool page"]),
    ],
)
def test_a_failed_call_is_cleaned_up_in_the_right_order_and_leaks_nothing(fail: str, undone: list[str]) -> None:
    with Machine(gdb=True) as machine:
        titles = [step.title for step in play(machine, fail=fail)]

    assert titles[-1] == "Everything is as before"
    assert titles[-1 - len(undone) : -1] == undone


def test_the_verifier_names_the_second_mapping_as_misuse() -> None:
    seen = []
    with (
        Machine(MachineOptions(append=("verifier",)), gdb=True) as machine,
        pytest.raises(GuestStopped) as caught,
    ):
        seen.extend(play(machine))

    assert [step.number for step in seen] == [1, 2, 3], "all before the second mapping is shown"
    assert caught.value.code == 0xC4
    assert caught.value.parameters[:2] == (0xB2, int(seen[1].text.values["mdl"], 16))
    assert "MmMapLockedPagesSpecifyCache" in str(caught.value)
