"""`lab exhaustive` as a process: its rows, its JSON, and its exit codes."""

from __future__ import annotations

import pytest

from lab.machine.exhaustive.families import FAMILIES
from tests.cli.conftest import Lab


def test_rows_of_families_and_their_sum(lab: Lab) -> None:
    outcome = lab("exhaustive", "--family", "edges", "--family", "la57-edges", "--sample", "3000", "--workers", "1")

    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "a sample of 3,000 cases of each family, with seed 1"
    assert lines[1].split() == ["family", "cases", "seconds", "cases/s", "mismatches"]
    rows = [line.split() for line in lines[2:5]]
    assert [row[0] for row in rows] == ["edges", "la57-edges", "all"]
    assert [row[-1] for row in rows] == ["0", "0", "0"]
    numbers = [int(row[1].replace(",", "")) for row in rows]
    assert numbers[0] + numbers[1] == numbers[2] >= 6000
    assert {len(line) for line in lines[1:5]} == {len(lines[1])}, "the columns are aligned"
    assert lines[-1] == "every case went as foretold"


def test_strict_run_names_each_quirk_and_answers_no(lab: Lab) -> None:
    outcome = lab("exhaustive", "--family", "not-canonical", "--sample", "3000", "--strict", "--workers", "1")

    assert outcome.code == 1
    assert "gp-for-ss: " in outcome.out
    assert "  A stack access at an address that is not canonical raises #GP, not #SS." in outcome.out
    assert "#SS(0) was foretold of this stack read, and #GP(0x0) was found" in outcome.out


def test_json_has_families_and_differences(lab: Lab) -> None:
    found = lab("exhaustive", "--family", "amd", "--sample", "3000", "--strict", "--seed", "5", "--json").json

    assert found["schema"] == "lab.exhaustive/1"
    assert (found["strict"], found["sample"], found["seed"]) == (True, 3000, 5)
    (family,) = found["families"]
    assert family["name"] == "amd"
    assert family["cases"] == found["cases"] >= 3000
    assert family["mismatches"] == found["mismatches"] == sum(family["quirks"].values()) > 0
    assert found["differences"][0]["quirks"] == ["amd-bit-8-not-reserved"]
    assert all(entry.startswith("0x") for entry in found["differences"][0]["entries"])


def test_list_shows_every_family_and_checks_nothing(lab: Lab) -> None:
    lines = lab("exhaustive", "--list").out.splitlines()

    assert [line.split()[0] for line in lines] == [*(family.name for family in FAMILIES), "all"]
    assert int(lines[-1].split()[1].replace(",", "")) == sum(family.cases for family in FAMILIES) > 19_169_280


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--family", "pd-tp"], 2, "there is no family 'pd-tp'; did you mean pd-pt?"),
        (["--sample", "0"], 2, "0 is not in the range"),
        (["--family", "edges", "--accel", "nonsense"], 3, "nonsense"),
    ],
)
def test_what_cannot_be_checked(lab: Lab, arguments: list[str], code: int, words: str) -> None:
    outcome = lab("exhaustive", *arguments)

    assert outcome.code == code
    assert words in outcome.err
