"""The speaker's window: notes, clock and what comes next, in step with the hall's, live and from a file alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lab.demo.export import export_html
from lab.demo.player import Player
from lab.machine import Machine
from lab.scenarios import all_scenarios
from lab.timeline import Timeline
from lab.timeline.recorder import Recorder
from tests.web.conftest import QUESTION, Open, Served, go_to, keep, press, serving, shown


@pytest.fixture(params=["served", "file"])
def url(request: pytest.FixtureRequest, served: Served, lecture: Timeline, tmp_path: Path) -> str:
    if request.param == "served":
        return served.url
    file = tmp_path / "lecture.html"
    file.write_text(export_html(lecture))
    return file.as_uri()


@pytest.fixture
def live(lecture: Timeline) -> Iterator[Served]:
    with (
        Machine(gdb=True) as machine,
        Player(live=Recorder(all_scenarios()["mdl-remap"], machine)) as player,
        serving(player, titles=[moment.step.title for moment in lecture]) as found,
    ):
        yield found


def test_on_a_live_machine_the_next_step_is_foreseen(live: Served, open_page: Open, lecture: Timeline) -> None:
    hall = open_page(live.url)
    speaker = open_speaker(hall)
    for number in range(3):
        shown(speaker, number)
        expect(speaker.locator("#speaker-title")).to_have_text(lecture[number].step.title)
        expect(speaker.locator("#speaker-next")).to_have_text(lecture[number + 1].step.title)
        expect(speaker.locator("#speaker-count")).to_have_text(f"{number} / {len(lecture) - 1}")
        press(hall, "ArrowRight")


def open_speaker(hall: Page) -> Page:
    with hall.context.expect_page() as coming:
        press(hall, "s")
    speaker = coming.value
    speaker.wait_for_selector("html[data-shown]")
    return speaker


def test_the_speaker_sees_notes_clock_and_the_next_step(open_page: Open, url: str) -> None:
    hall = open_page(url)
    go_to(hall, 2)
    speaker = open_speaker(hall)
    shown(speaker, 2)
    expect(speaker.locator("#speaker-title")).to_have_text("Allocate an MDL that describes it")
    expect(speaker.locator("#speaker .notes")).to_contain_text("Let them guess first.")
    expect(speaker.locator("#speaker-next")).to_have_text("Fill in the frame numbers")
    assert re.search(r"\d\d:\d\d", speaker.locator("#clock").inner_text())
    before = speaker.locator("#elapsed").inner_text()
    assert re.fullmatch(r"\d+:\d\d", before)
    expect(speaker.locator("#elapsed")).not_to_have_text(before)
    expect(speaker.locator("#stage")).to_be_hidden()
    keep(speaker, "speaker")


def test_both_windows_drive_the_lecture(open_page: Open, url: str) -> None:
    hall = open_page(url)
    speaker = open_speaker(hall)
    press(speaker, "3", "Enter")
    shown(hall, 3)
    press(hall, "ArrowRight")
    shown(speaker, "3?")
    expect(speaker.locator("#speaker-question")).to_contain_text(QUESTION)
    press(speaker, "ArrowRight")
    shown(hall, 4)
    press(speaker, "b")
    expect(hall.locator("#blank")).to_be_visible()
    expect(speaker.locator("#speaker-blank")).to_be_visible()
