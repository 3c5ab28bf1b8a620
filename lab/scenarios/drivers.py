"""The shelf of sample drivers, each a lecture: its source, then what it does, stopped at every memory call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lab.scenarios.registry import scenario

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage
    from lab.scenarios.step import Step
    from lab.views.report import Report

SHELF = Path(__file__).resolve().parents[2] / "tests" / "drivers"
"""Where the samples are; each is a scenario `driver-NAME`."""


def _lecture(source: Path) -> Callable[[Stage], Iterator[Step]]:
    def play(stage: Stage) -> Iterator[Step]:
        from lab.machine.driver.build import build
        from lab.machine.driver.pe import DriverImage
        from lab.machine.driver.report import session_report
        from lab.machine.driver.session import Session

        yield stage.step("The source: {file}", reports={"source": _listing(source)}, file=source.name)
        built = build([source], stage.machine.qemu.folder / f"{source.stem}.sys")
        session = Session(stage.machine, trace=True)
        session.run([DriverImage.load(built.path)])
        yield stage.step(
            "What it does",
            "GDB stops it at every memory call that it makes, at the entry and at the return.",
            reports={"driver": session_report(session)},
        )
        if session.error is not None:
            raise session.error

    play.__doc__ = _opening_comment(source)
    return play


def _opening_comment(source: Path) -> str:
    """What the comment at the top of a source says, without the stars; its first sentence is the summary."""
    comment = re.match(r"/\*(.*?)\*/", source.read_text(), re.DOTALL)
    text = re.sub(r"^\s*\*? ?", "", comment[1], flags=re.MULTILINE) if comment else source.name
    first, _, rest = " ".join(text.split()).partition(". ")
    return f"{first.removesuffix('.')}.\n\n{rest}".strip()


def _listing(source: Path) -> Report:
    from lab.views.report import Cell, Lines, Report, Role

    lines = source.read_text().splitlines()
    numbered = tuple((Cell(f"{number:>4}  ", Role.MUTED), Cell(line)) for number, line in enumerate(lines, 1))
    return Report("lab.source/1", {"file": source.name, "lines": lines}, (Lines(numbered),))


for _source in sorted(SHELF.glob("*.c*")):
    scenario(f"driver-{_source.stem.replace('_', '-')}")(_lecture(_source))
