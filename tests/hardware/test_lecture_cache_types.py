"""The lecture on cache types: the bits that the kernel puts into the entries, and what they mean."""

from __future__ import annotations

import pytest

from lab.machine import Machine
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Stage
from lab.scenarios.step import Step


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    with Machine(gdb=True) as machine:
        return list(all_scenarios()["cache-types"].play(Stage(machine)))


def test_each_cache_type_has_its_bits_and_its_memory_type(steps: list[Step]) -> None:
    walks = [step.reports["walk"].data for step in steps if "walk" in step.reports]

    bits = [{"PAT", "PCD", "PWT"} & set(walk["steps"][-1]["flags"]) for walk in walks]

    assert [walk["memory_type"] for walk in walks] == ["WB", "UC", "WC"]
    assert bits == [set(), {"PCD", "PWT"}, {"PWT"}]


def test_a_second_mapping_has_the_type_of_the_first(steps: list[Step]) -> None:
    aliases = [step.reports["aliases"].data for step in steps if "aliases" in step.reports]

    assert [{each["memory_type"] for each in found["aliases"]} for found in aliases] == [{"WB"}, {"UC"}, {"WC"}]
    assert [len(found["aliases"]) for found in aliases] == [2, 2, 2]
    assert not any(found["warnings"] for found in aliases)


def test_nothing_is_left_of_any_mapping(steps: list[Step]) -> None:
    books = steps[-1].reports["books"].data

    assert books["before"] == books["after"]
