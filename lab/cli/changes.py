"""`lab changes`: what became of the page tables since the last look."""

from __future__ import annotations

import click

from lab.cli.common import emit, name_option, output_options, picture_options

__all__ = ["command"]

FILE = "tables"
"""Where in a machine's folder the tables of the last look are kept."""


@click.command()
@name_option
@output_options
@picture_options
def command(machine_name: str | None, as_json: bool, color: str, html: str | None, svg: str | None) -> int:
    """Show every page-table entry that changed since the last `lab changes`; the first one only remembers them."""
    from lab.machine import attach
    from lab.snapshot.changes import TableImage, capture, diff
    from lab.views.changes import report_changes

    with attach(machine_name) as machine, machine.paused():
        state = machine.paging_state()
        kept = machine.qemu.folder / FILE
        now = capture(machine.memory, state)
        before = TableImage.from_bytes(kept.read_bytes()) if kept.exists() else now
        kept.write_bytes(now.to_bytes())
    emit(report_changes(diff(before, now, state)), as_json=as_json, color=color, html=html, svg=svg)
    return 0
