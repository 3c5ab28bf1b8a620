"""The first lecture: what two address spaces share, and what they do not."""

from __future__ import annotations

import pytest

from lab.machine import Machine, MachineOptions
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Stage
from lab.scenarios.step import Step


@pytest.fixture(scope="module", params=[(), ("la57",)], ids=["4 levels", "5 levels"])
def steps(request: pytest.FixtureRequest) -> list[Step]:
    with Machine(MachineOptions(append=request.param), gdb=True) as machine:
        return list(all_scenarios()["virtual-memory"].play(Stage(machine)))


def named(steps: list[Step], title: str) -> list[Step]:
    return [step for step in steps if step.title.template == title]


def test_each_space_reads_its_own_letter_at_the_same_address(steps: list[Step]) -> None:
    reads = named(steps, "In {name}, read it back")

    assert [int(step.reports["probe"].data["registers"]["rax"], 16) for step in reads] == [ord("A"), ord("B")]


def test_the_walks_share_every_index_and_no_table(steps: list[Step]) -> None:
    (step,) = named(steps, "Map one page in each, at the same address")
    first, second = (step.reports[name].data["steps"] for name in ("A", "B"))

    assert [each["index"] for each in first] == [each["index"] for each in second]
    assert not {each["entry_address"] for each in first} & {each["entry_address"] for each in second}


def test_the_frame_of_one_space_has_no_address_in_the_other(steps: list[Step]) -> None:
    (step,) = named(steps, "Look for A's frame in B")

    assert step.reports["aliases"].data["aliases"] == []


def test_the_kernel_is_reached_through_the_very_same_tables(steps: list[Step]) -> None:
    (step,) = named(steps, "The kernel is in both")
    first, second = (step.reports[name].data for name in ("A", "B"))

    assert first["physical"] == second["physical"]
    assert first["steps"][0]["entry_address"] != second["steps"][0]["entry_address"]
    assert first["steps"][1:] == second["steps"][1:]


def test_both_letters_stand_in_physical_memory(steps: list[Step]) -> None:
    (step,) = named(steps, "One address, two frames")
    letters = [bytes.fromhex(step.reports[name].data["pieces"][0]["data"])[:1] for name in ("A", "B")]

    assert letters == [b"A", b"B"]


def test_nothing_is_left_of_both_spaces(steps: list[Step]) -> None:
    books = steps[-1].reports["books"].data

    assert books["before"] == books["after"]
