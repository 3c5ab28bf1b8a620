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


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A caller of `lab` with a runtime directory of its own; machines left running are ended afterwards."""
    base = Path(tempfile.mkdtemp(prefix="lab-"))
    environment = {**os.environ, "LAB_RUNTIME_DIR": str(base)}

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
    shutil.rmtree(base)
