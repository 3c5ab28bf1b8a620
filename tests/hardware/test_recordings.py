"""The recordings that come with the lab: one for each scenario, and it shows what that scenario does today."""

from __future__ import annotations

import pytest

from lab.scenarios import all_scenarios
from lab.texts import ENGLISH, languages, needs_translation, placeholders
from lab.texts.catalogue import catalogue
from lab.timeline.recorder import Recorder
from lab.timeline.recording import from_bytes, read, shipped, to_bytes


def test_there_is_none_of_a_scenario_that_is_no_more() -> None:
    assert {path.stem for path in shipped("").parent.glob("*.lab")} == set(all_scenarios())


@pytest.mark.parametrize("name", all_scenarios())
def test_a_recording_has_the_steps_of_its_scenario(name: str) -> None:
    with all_scenarios()[name].machine() as machine:
        played = Recorder(all_scenarios()[name], machine).finish()
    recorded = read(shipped(name))

    assert [each.step.title for each in recorded] == [each.step.title for each in played], "run: make recordings"
    assert recorded.outcome == played.outcome
    assert [bool(each.step.question) for each in played] == [bool(each.step.answer) for each in played]
    again = from_bytes(to_bytes(played))
    assert list(again) == list(played)


@pytest.mark.parametrize("name", all_scenarios())
@pytest.mark.parametrize("language", [each for each in languages() if each != ENGLISH])
def test_what_is_said_in_a_recording_has_its_translation(name: str, language: str) -> None:
    for moment in read(shipped(name)):
        step = moment.step
        for text in (step.title, step.text, step.notes, step.question, step.answer):
            if needs_translation(text.template):
                assert placeholders(catalogue(language)[text.template]) == placeholders(text.template)
