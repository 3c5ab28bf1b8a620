"""`lab log`: what the kernel has printed."""

from __future__ import annotations

from typing import Annotated

from lab.errors import UsageError
from lab.kernel.log import read_log
from lab.snapshot import Snapshot
from lab.views.cells import walk_line
from lab.views.registry import view
from lab.views.report import Cell, Json, Lines, Report, Role

__all__ = ["show_log"]


@view("log", schema="lab.log/1", example="lab log --tail 20")
def show_log(
    snapshot: Snapshot,
    *,
    tail: Annotated[int | None, "only the last lines"] = None,
) -> Report:
    """What the kernel has printed.

    It is read from a ring in RAM, so that any snapshot has it.
    """
    if tail is not None and tail < 1:
        raise UsageError(f"--tail takes a number of lines from 1 on, not {tail}")
    log = read_log(snapshot.guest)
    shown = log.lines if tail is None else log.lines[-tail:]
    data: dict[str, Json] = {"lines": list(shown), "written": log.written, "lost": log.lost}
    cells = [walk_line(text) for text in shown]
    if not shown and not log.problems:
        cells.append((Cell("the log is empty", Role.MUTED),))
    if log.lost and len(shown) == len(log.lines):
        cells.insert(0, (Cell(f"… {log.lost} bytes before this have been overwritten", Role.MUTED),))
    return Report("lab.log/1", data, (Lines(tuple(cells)),), problems=log.problems)
