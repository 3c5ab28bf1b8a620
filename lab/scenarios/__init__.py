"""Lectures: each plays on a real machine and yields steps that say what changed and prove it.

>>> from lab.scenarios import all_scenarios
>>> all_scenarios()["mdl-remap"].summary
'One frame, two addresses: map the MDL of a nonpaged pool page a second time.'
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from lab.scenarios.registry import Scenario, registered

__all__ = ["all_scenarios", "find_scenario", "DEFAULT_SCENARIO"]

DEFAULT_SCENARIO = "mdl-remap"
"""What `lab run` plays when it is not told."""

_SUPPORT = {"books", "eyes", "registry", "stage", "step", "trial"}


@functools.cache
def all_scenarios() -> dict[str, Scenario]:
    """Every scenario of this folder, by name, in the order of the course."""
    for module in pkgutil.iter_modules(__path__):
        if module.name not in _SUPPORT:
            importlib.import_module(f"{__name__}.{module.name}")
    return registered()


def find_scenario(name: str) -> Scenario | None:
    """The scenario of a name, None for no such one; only its own file is imported where that has its name."""
    module = name.replace("-", "_")
    if module not in _SUPPORT and any(each.name == module for each in pkgutil.iter_modules(__path__)):
        importlib.import_module(f"{__name__}.{module}")
    return registered().get(name) or all_scenarios().get(name)
