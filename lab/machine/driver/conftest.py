"""Gives the examples in this package's docstrings our sample drivers, a folder, and one driver built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).resolve().parents[3] / "tests" / "drivers"


@pytest.fixture(autouse=True)
def _driver_names(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any], tmp_path: Path) -> Iterator[None]:
    from lab.machine.driver.build import build
    from lab.machine.driver.pe import DriverImage

    names: dict[str, Any] = {"samples": SAMPLES, "folder": tmp_path}
    if any("image." in example.source for example in request.node.dtest.examples):
        names["image"] = DriverImage.load(build([SAMPLES / "remap.c"], tmp_path / "remap.sys").path)
    doctest_namespace.update(names)
    yield
    for name in names:  # the dictionary is that of all examples anywhere
        del doctest_namespace[name]
