"""The lecture on stale translations: what must be true after a flush, and what may be true before it."""

from __future__ import annotations

from typing import Any

import pytest

from lab.machine import Machine, MachineOptions
from lab.paging.quirks import CR3_FLUSHES_GLOBAL, NO_PCID, PCIDE_WITHOUT_CPUID, quirks_of
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Stage
from lab.scenarios.step import Step, run_report

Steps = dict[str, Step]

CHANGED = [
    "Change the entry, and tell nobody",
    "Once more, for MOV CR3: change the entry, and tell nobody",
    "A global page (G set, CR4.PGE set): change the entry, and tell nobody",
]
FLUSHED = [
    "INVLPG: forget this page",
    "MOV CR3: forget all but the global pages",
    "CR4.PGE off and on: forget everything",
    "From not present to present: nothing to forget",
]


@pytest.fixture(scope="module", params=[(), ("la57",)], ids=["4 levels", "5 levels"])
def steps(request: pytest.FixtureRequest) -> Steps:
    with Machine(MachineOptions(append=request.param), gdb=True) as machine:
        return {step.title: step for step in all_scenarios()["stale-tlb"].play(Stage(machine))}


def eyes(step: Step) -> Any:
    """What each of them saw."""
    return step.reports["eyes"].data


@pytest.mark.parametrize("title", CHANGED)
def test_a_change_is_one_entry_and_all_who_walk_the_tables_see_it(steps: Steps, title: str) -> None:
    step = steps[title]
    cpu, *others = eyes(step)["eyes"]

    assert step.changes is not None
    assert [(change.kind, str(change.level), change.moved) for change in step.changes] == [("changed", "PT", True)]
    assert {each["physical"] for each in others if "physical" in each} == {hex(step.changes[0].new.frame_address())}
    assert {each["reads"] for each in others if "reads" in each} == {"new page"}
    assert cpu["who"] == "the CPU"


@pytest.mark.parametrize("title", CHANGED)
def test_a_step_says_what_the_cpu_read_whichever_it_was(steps: Steps, title: str) -> None:
    """That it was stale can be shown and not required."""
    report, text = eyes(steps[title]), steps[title].text

    assert report["stale"] == (report["eyes"][0]["reads"] == "old page")
    assert ("still reads 'old page'" in text) == report["stale"]
    assert ("reads 'new page' already" in text) != report["stale"]


@pytest.mark.parametrize("title", FLUSHED)
def test_after_a_flush_the_cpu_sees_what_all_see(steps: Steps, title: str) -> None:
    report = eyes(steps[title])

    assert not report["stale"]
    assert {each["reads"] for each in report["eyes"] if "reads" in each} == {"new page"}


def test_what_tcg_does_otherwise_is_said_on_the_spot(steps: Steps) -> None:
    assert {CR3_FLUSHES_GLOBAL, NO_PCID} < quirks_of("tcg", "7.2.22")
    step = steps["MOV CR3 need not reach a global page"]

    assert not eyes(step)["stale"]
    assert f"quirk {CR3_FLUSHES_GLOBAL}" in step.text
    assert f"quirk {NO_PCID}" in steps["PCIDs and INVPCID: this CPU has none"].text
    assert [halt.event for halt in steps["PCIDs and INVPCID: this CPU has none"].halts] == ["fault"]
    assert f"quirk {PCIDE_WITHOUT_CPUID}" in steps["CR4.PCIDE can be set all the same, and does nothing"].text


def test_a_right_that_was_taken_away_is_gone_after_the_flush(steps: Steps) -> None:
    taken = steps["Take the right to write away, and tell nobody"]

    assert taken.reports["walk"].data["access"] == {"supervisor": "r--", "user": "---"}
    assert "error code 0x3" in steps["After INVLPG the write faults"].text


def test_dirty_is_noted_anew_after_the_flush(steps: Steps) -> None:
    changes = steps["After INVLPG the next write sets them"].changes
    text = steps["Clear A and D, tell nobody, and write the page"].text

    assert changes is not None
    if "D is still 0" in text:
        assert [change.set for change in changes] == [("A", "D")]
    else:
        assert "D is set again" in text


def test_nothing_is_left(steps: Steps) -> None:
    books = steps["Everything is as before"].reports["books"].data

    assert books["before"] == books["after"]


def test_it_is_data_for_programs_and_turkish_for_those_who_read_that(steps: Steps) -> None:
    data = run_report("stale-tlb", list(steps.values()), "ok", language="tr").to_json()
    said: Any = data["steps"]

    assert said[1]["reports"]["eyes"]["schema"] == "lab.eyes/1"
    assert said[1]["title"] == "Girdiyi değiştir, kimseye söyleme"
    assert said[-1]["title"] == "Her şey eskisi gibi"
