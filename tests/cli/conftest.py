"""`lab` as a process, the way people and scripts call it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LAB = Path(sys.executable).with_name("lab")


@dataclass(frozen=True)
class Outcome:
    """What one `lab` process printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Lab = Callable[..., Outcome]
Bash = Callable[[str], Outcome]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Variables with a runtime directory of their own, and with `lab` on the path."""
    base = tempfile.mkdtemp(prefix="lab-")
    yield {**os.environ, "LAB_RUNTIME_DIR": base, "PATH": f"{LAB.parent}:{os.environ['PATH']}"}
    shutil.rmtree(base)


@pytest.fixture(scope="module")
def lab(environment: dict[str, str]) -> Iterator[Lab]:
    """A caller of `lab` with a runtime directory of its own; machines left running are ended afterwards."""

    def call(*arguments: str, stdin: str = "", **variables: str) -> Outcome:
        done = subprocess.run(
            [LAB, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment | variables,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    yield call
    call("stop", "--all")


@pytest.fixture(scope="module")
def bash(environment: dict[str, str]) -> Bash:
    """A caller of bash, with the runtime directory of `lab`: for pipes, redirections and completion."""

    def call(script: str) -> Outcome:
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False, env=environment
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call
