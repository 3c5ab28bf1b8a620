"""Gives the examples in this package's docstrings a real machine, which is booted where an example names it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.machine import Machine, MachineOptions, background


@pytest.fixture(autouse=True)
def _names_of_examples(
    request: pytest.FixtureRequest, doctest_namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    runtime = Path(tempfile.mkdtemp(prefix="lab-"))  # not below tmp_path, which is too long for sockets
    monkeypatch.setenv("LAB_RUNTIME_DIR", str(runtime))
    machine = Machine()
    names = {"Machine": Machine, "MachineOptions": MachineOptions, "machine": machine}
    doctest_namespace.update(names)
    try:
        if "machine." in _source(request):
            machine.start()
        yield
    finally:
        machine.close()
        for name in names:  # the dictionary is that of all examples anywhere
            del doctest_namespace[name]
        for each in background.machines():
            background.stop(each.name)
        shutil.rmtree(runtime)


def _source(request: pytest.FixtureRequest) -> str:
    return "".join(example.source for example in request.node.dtest.examples)
