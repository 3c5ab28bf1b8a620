"""Scenes of lectures just played: what is drawn is what the step is about."""

from __future__ import annotations

from lab.demo.scene import scene
from lab.scenarios import all_scenarios
from lab.timeline import Timeline
from lab.timeline.recorder import Recorder


def played(name: str) -> Timeline:
    scenario = all_scenarios()[name]
    with scenario.machine() as machine:
        return Recorder(scenario, machine).finish()


def test_one_address_in_two_spaces_is_walked_in_the_one_that_a_step_is_about() -> None:
    timeline = played("virtual-memory")
    scenes = [scene(timeline, number) for number in range(len(timeline))]
    frames = {}
    for each in scenes:
        for space in "AB":
            if each.title.startswith(f"In {space},"):
                (walked,) = each.walks
                assert walked.label == space
                frames[space] = walked.diagram.frame
    assert frames["A"] != frames["B"]


def test_both_addresses_of_a_page_lead_to_one_frame() -> None:
    timeline = played("mdl-remap")
    remapped = next(each for each in (scene(timeline, i) for i in range(len(timeline))) if len(each.walks) == 2)
    assert len({each.diagram.frame for each in remapped.walks}) == 1
