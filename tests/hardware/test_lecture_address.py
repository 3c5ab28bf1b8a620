"""The lecture on reading an address: pages of every size, the hole, and the tables of 32 bits."""

from __future__ import annotations

import pytest

from lab.machine import Machine, MachineOptions
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Stage
from lab.scenarios.step import Step

GENERAL_PROTECTION = 13


@pytest.fixture(scope="module", params=[4, 5], ids="{} levels".format)
def levels(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def steps(levels: int) -> dict[str, Step]:
    with Machine(MachineOptions(append=("la57",) if levels == 5 else ()), gdb=True) as machine:
        return {step.title.template: step for step in all_scenarios()["address"].play(Stage(machine))}


@pytest.mark.parametrize(
    ("title", "hops", "page_size"),
    [
        ("Follow it, hop by hop", 4, 4 << 10),
        ("Stop one level higher: a page of 2 MiB", 3, 2 << 20),
        ("And one more: a page of 1 GiB", 2, 1 << 30),
    ],
)
def test_a_leaf_one_level_up_saves_a_hop(
    steps: dict[str, Step], levels: int, title: str, hops: int, page_size: int
) -> None:
    walk = steps[title].reports["walk"].data

    assert (len(walk["steps"]), walk["page_size"]) == (hops + levels - 4, page_size)
    assert steps[title].reports["probe"].answer


def test_the_cpu_found_the_byte_that_the_walk_leads_to(steps: dict[str, Step]) -> None:
    registers = steps["Follow it, hop by hop"].reports["probe"].data["registers"]

    assert int(registers["rax"], 16).to_bytes(8, "little").startswith(b"found")


def test_a_page_of_one_gib_shows_the_kernels_own_memory(steps: dict[str, Step]) -> None:
    reports = steps["And one more: a page of 1 GiB"].reports

    assert (
        reports["through the page"].data["pieces"][0]["data"] == reports["in physical memory"].data["pieces"][0]["data"]
    )


def test_an_address_in_the_hole_is_refused_before_any_walk(steps: dict[str, Step]) -> None:
    step = steps["The hole in the middle"]

    assert step.reports["probe"].data["exception"]["vector"] == GENERAL_PROTECTION
    assert step.changes == ()


def test_the_hole_is_as_wide_as_the_address_is_short(steps: dict[str, Step], levels: int) -> None:
    values = steps["The hole in the middle"].text.values
    last, upper = (int(str(values[name]), 16) for name in ("last", "upper"))

    assert (last, upper) == ((1 << levels * 9 + 11) - 1, (1 << 64) - (1 << levels * 9 + 11))


def test_tables_of_32_bits_are_walked_in_two_hops(steps: dict[str, Step]) -> None:
    walk = steps["The same with 32 bits"].reports["walk"].data

    assert [(each["level"], each["index"]) for each in walk["steps"]] == [("PD", 2), ("PT", 1)]
    assert walk["outcome"] == "mapped"
