"""Scenarios are found by name."""

from __future__ import annotations

import pytest

from lab.scenarios import all_scenarios, find_scenario


@pytest.mark.parametrize("name", list(all_scenarios()))
def test_each_scenario_is_found_by_its_name(name: str) -> None:
    assert find_scenario(name) is all_scenarios()[name]


@pytest.mark.parametrize("name", ["stage", "no-such", "", "__init__", "../run"])
def test_nothing_else_is_found(name: str) -> None:
    assert find_scenario(name) is None


def test_the_course_comes_first_and_in_its_order() -> None:
    numbers = [each.number for each in all_scenarios().values()]

    assert numbers[:11] == list(range(1, 12))
    assert not any(numbers[11:])
