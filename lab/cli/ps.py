"""`lab ps`: which background machines there are."""

from __future__ import annotations

import click

from lab.cli.common import emit, output_options

__all__ = ["command"]

_STATE_IS_GOOD = {"ready", "busy", "running"}


@click.command()
@output_options
def command(as_json: bool, color: str) -> int:
    """List the background machines: name, process, state, and the paths of their sockets and RAM."""
    from lab.machine import machines
    from lab.views.report import Cell, Column, Json, Report, Role, Table

    found = machines()
    columns = (Column("NAME"), Column("PID", right=True), Column("STATE"), Column("FOLDER (qmp, gdb, ram)"))
    rows = tuple(
        (
            Cell(each.name, Role.LABEL),
            Cell(str(each.pid), Role.NUMBER),
            Cell(each.state, Role.GOOD if each.state in _STATE_IS_GOOD else Role.BAD),
            Cell(str(each.qmp.parent)),
        )
        for each in found
    )
    data: list[Json] = [
        {
            "name": each.name,
            "pid": each.pid,
            "state": each.state,
            "qmp": str(each.qmp),
            "gdb": str(each.gdb),
            "ram": str(each.ram),
        }
        for each in found
    ]
    table = Table(columns, rows, empty="no machine is running; boot one with: lab boot")
    return emit(Report("lab.ps/1", {"machines": data}, (table,)), as_json=as_json, color=color)
