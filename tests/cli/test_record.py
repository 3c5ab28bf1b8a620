"""`lab record` and `--from`: a lecture in a file, for every view and any computer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.demo import Player
from lab.timeline import Timeline
from lab.timeline.recording import read
from lab.views import all_views
from lab.views.registry import Kind
from tests.cli.conftest import Lab

KIB = 1024
ARGUMENTS = {Kind.ADDRESS: "rip", Kind.PHYSICAL: "cr3"}


@pytest.fixture(scope="module")
def recording(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "remap.lab"
    outcome = lab("record", "mdl-remap", "-o", str(path))
    assert outcome.code == 0, outcome.err
    assert re.fullmatch(r".*remap\.lab: 12 moments, \d+ KiB", outcome.out.splitlines()[-1])
    return path


@pytest.fixture(scope="module")
def timeline(recording: Path) -> Timeline:
    return read(recording)


def test_a_recording_of_the_main_lecture_is_small(recording: Path) -> None:
    assert recording.stat().st_size <= 200 * KIB


def test_a_moment_answers_as_the_machine_did(lab: Lab, recording: Path) -> None:
    before = lab("walk", "--from", f"{recording}@3", "mdl:0", "--json").json
    after = lab("walk", "--from", f"{recording}@4", "mdl:0", "--json").json

    assert before["physical"] == after["physical"]
    assert before["address"] != after["address"]


def test_without_a_number_it_is_the_last_moment(lab: Lab, recording: Path) -> None:
    assert lab("mdl", "--from", str(recording), "--json").out == lab("mdl", "--from", f"{recording}@11", "--json").out


def test_changes_are_those_of_a_moment_or_between_two(lab: Lab, recording: Path) -> None:
    (mapped,) = lab("changes", "--from", f"{recording}@4", "--json").json["changes"]
    assert (mapped["level"], mapped["kind"]) == ("PT", "created")
    (unmapped,) = lab("changes", "--from", f"{recording}@4..7", "--json").json["changes"]
    assert (unmapped["kind"], unmapped["entry_address"]) == ("removed", mapped["entry_address"])
    assert lab("changes", "--from", f"{recording}@3..7", "--json").json["changes"] == []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["walk", "--from", "{}", "--name", "x", "rip"], 2, "not both"),
        (["changes", "--from", "{}", "--name", "x"], 2, "not both"),
        (["walk", "--from", "{}@12", "rip"], 2, "it has 0 to 11"),
        (["walk", "--from", "{}@1..2", "rip"], 2, "a view shows one moment"),
        (["changes", "--from", "{}@1..99"], 2, "it has 0 to 11"),
        (["walk", "--from", "{}x", "rip"], 2, "cannot read the recording"),
        (["walk", "--from", "/bin/sh", "rip"], 1, "is not a recording"),
        (["walk", "--from", "{}@1", "0x10"], 1, ""),
        (["record"], 2, "Usage: lab record"),
        (["record", "nothing"], 2, "No such command"),
        (["record", "mdl-remap", "-o", "/nowhere/x.lab"], 2, "cannot write"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_shown_is_said_in_a_sentence(
    lab: Lab, recording: Path, words: list[str], code: int, says: str
) -> None:
    outcome = lab(*(word.format(recording) for word in words))

    assert outcome.code == code
    assert says in outcome.err
    assert "Traceback" not in outcome.err


def test_every_view_shows_every_moment(timeline: Timeline) -> None:
    player = Player(timeline)
    for moment in timeline:
        player.go(moment.number)
        for view in all_views().values():
            words = [ARGUMENTS[each.kind] for each in view.parameters if each.required]
            report = player.ask(" ".join([view.name, *words]))

            assert report.schema == view.schema, report.data
            assert report.problems == ()


def test_the_driver_lectures_can_be_recorded_to_their_end(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "crash.lab"

    outcome = lab("record", "driver-double-free", "-o", str(path))

    assert outcome.code == 0
    assert "moments, to a bug check," in outcome.out
    assert lab("bugcheck", "--from", str(path), "--json").json["bugcheck"]["code"] == "0x000000c2"
    assert "freed once" in lab("log", "--from", str(path)).out


def test_lectures_are_told_in_turkish(lab: Lab) -> None:
    outcome = lab("run", "--lang", "tr", "--json")

    titles = [step["title"] for step in outcome.json["steps"]]
    assert "Havuz sayfasını serbest bırak" in titles  # noqa: RUF001
    assert "Free the pool page" not in titles
