"""The lectures in which the CPU judges accesses: what it really did, and that the lecture says so."""

from __future__ import annotations

import pytest

from lab.machine import Machine
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Disagreement, Stage
from lab.scenarios.step import Step
from lab.scenarios.trial import Trial, put_to_trial
from lab.texts import Text
from lab.x86 import VirtualAddress


def play(name: str) -> list[Step]:
    with Machine(gdb=True) as machine:
        return list(all_scenarios()[name].play(Stage(machine)))


@pytest.fixture(scope="module")
def rights() -> list[Step]:
    return play("rights")


@pytest.fixture(scope="module")
def faults() -> list[Step]:
    return play("page-faults")


def exceptions(steps: list[Step]) -> list[dict[str, object] | None]:
    return [step.reports["probe"].data.get("exception") for step in steps if "probe" in step.reports]


def test_every_bit_of_the_error_code_is_seen(faults: list[Step]) -> None:
    bits = {bit for each in exceptions(faults) if each for bit in each["bits"]}

    assert bits == {"P", "W", "U", "RSVD", "I/D", "PK"}


def test_the_level_that_forbids_is_named(rights: list[Step]) -> None:
    sentences = [step.reports["probe"].data.get("prediction", {}).get("sentence", "") for step in rights[1:-1]]

    assert [each.split(": ")[1] if each else "" for each in sentences] == [
        "",
        "",
        "PT bit 1 (W) is 0",
        "PT bit 63 (NX) is 1",
        "PD bit 1 (W) is 0",
        "PDPT bit 63 (NX) is 1",
        "PML4 bit 2 (U) is 0",
        "PT bit 1 (W) is 0 and CR0.WP is 1",
        "",
        "bit 2 (U) is 1 at every level and CR4.SMEP is 1",
    ]


def test_what_qemu_does_otherwise_is_said_on_the_spot(faults: list[Step]) -> None:
    step = faults[-2]
    has_quirk = step.reports["probe"].data["exception"]["error_code"] == "0xc"

    assert step.answer.values["bits"] == ("U RSVD" if has_quirk else "P U RSVD")
    assert ("quirk rsvd-without-p" in step.text) == has_quirk


def test_a_write_sets_the_dirty_bit_of_the_leaf_alone(rights: list[Step]) -> None:
    changes = rights[1].changes or ()

    assert {str(change.level): change.set for change in changes} == {
        "PML4": ("A",),
        "PDPT": ("A",),
        "PD": ("A",),
        "PT": ("A", "D"),
    }


def test_each_trial_points_at_the_line_that_writes_it_down(rights: list[Step], faults: list[Step]) -> None:
    for name, steps in (("rights.py", rights), ("page_faults.py", faults)):
        lines = [step.source.line for step in steps[1:-1] if step.source and step.source.name == name]
        assert len(lines) == len(steps) - 2
        assert lines[:-1] == sorted(set(lines[:-1]))


def test_every_access_is_asked_about_and_answered(rights: list[Step], faults: list[Step]) -> None:
    trials = [step for step in (*rights, *faults) if "probe" in step.reports]

    assert len(trials) == 18
    assert all(str(step.question) and str(step.answer) for step in trials)


def test_nothing_is_left_of_the_spaces(rights: list[Step], faults: list[Step]) -> None:
    for steps in (rights, faults):
        books = steps[-1].reports["books"].data
        assert books["before"] == books["after"]


def test_a_wrong_expectation_is_refuted_by_the_cpu() -> None:
    trial = Trial(Text("Read"), Text(""), "mov rax, [rdi]", VirtualAddress(0x1000))

    with Machine(gdb=True) as machine, machine.new_space() as space:
        stage = Stage(machine)
        with stage.inside(space), pytest.raises(Disagreement, match="should give no fault"):
            put_to_trial(stage, trial)
