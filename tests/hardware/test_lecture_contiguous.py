"""The lecture on contiguous and scattered buffers, on a real machine."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lab.machine import Machine
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Stage
from lab.scenarios.step import Step


@pytest.fixture(scope="module")
def steps() -> dict[str, Step]:
    with Machine(gdb=True) as machine:
        return {step.title.template: step for step in all_scenarios()["contiguous"].play(Stage(machine))}


def frames(step: Step) -> list[int]:
    return [int(page["physical"], 16) >> 12 for page in step.reports["pages"].data["pages"]]


def test_pages_of_pool_have_frames_from_anywhere(steps: dict[str, Step]) -> None:
    distances = [after - before for before, after in pairwise(frames(steps["Where its bytes really are"]))]

    assert distances != [1] * 5
    assert all(each.holds for each in steps["Where its bytes really are"].agreements)


def test_a_sentence_across_a_page_boundary_stands_in_two_frames(steps: dict[str, Step]) -> None:
    reports = steps["Write across a page boundary"].reports

    halves = [bytes.fromhex(reports[each].data["pieces"][0]["data"]) for each in ("first half", "second half")]

    assert b"".join(halves) == b"one sentence, two frames"


def test_contiguous_memory_has_frames_that_follow_one_another(steps: dict[str, Step]) -> None:
    found = frames(steps["Ask for frames that follow one another"])

    assert found == list(range(found[0], found[0] + 6))


def test_freeing_takes_away_every_entry_that_allocating_made(steps: dict[str, Step]) -> None:
    made, gone = (
        steps[each].changes or () for each in ("Allocate a buffer of {count} pages", "Free the scattered one")
    )

    assert [change.entry_address for change in made] == [change.entry_address for change in gone]
    assert {change.kind for change in gone} == {"removed"}
