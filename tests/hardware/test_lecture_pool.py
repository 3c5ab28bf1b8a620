"""The lecture on pool, on a real machine: which mistakes the page tables catch, and which they cannot."""

from __future__ import annotations

import pytest

from lab.machine import Machine
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Stage
from lab.scenarios.step import Step


@pytest.fixture(scope="module")
def steps() -> dict[str, Step]:
    with Machine(gdb=True) as machine:
        return {step.title.template: step for step in all_scenarios()["pool"].play(Stage(machine))}


def memory(step: Step) -> bytes:
    return bytes.fromhex(step.reports["memory"].data["pieces"][0]["data"])


def test_a_second_small_block_shares_the_page_and_has_a_header_with_its_tag(steps: dict[str, Step]) -> None:
    step = steps["Allocate as much again"]

    assert step.changes == ()
    assert (memory(step)[4:8], memory(step)[0x44:0x48]) == (b"Ann ", b"Bob ")


def test_a_freed_pointer_still_writes_and_meets_the_next_owners_data(steps: dict[str, Step]) -> None:
    step = steps["Somebody else gets the same block"]

    assert memory(step)[4:8] == b"Eve "
    assert memory(step)[16:24] == b"oopsEEEE"
    assert [halt.event for halt in step.halts] == ["return"]


def test_an_overrun_damages_the_header_of_the_neighbour_and_the_view_says_so(steps: dict[str, Step]) -> None:
    step = steps["Write beyond the end of a block"]

    assert memory(step)[0x40:0x50] == b"far beyond Ann's"
    assert any("pool header" in problem for problem in step.reports["pool"].problems)


@pytest.mark.parametrize("title", ["The same overrun again", "The same use after free again"])
def test_special_pool_faults_at_the_very_instruction(steps: dict[str, Step], title: str) -> None:
    step = steps[title]

    assert [halt.event for halt in step.halts] == ["fault"]
    assert step.text.values["fault"].startswith("#PF")
