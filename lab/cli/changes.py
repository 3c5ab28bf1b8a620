"""`lab changes`: what became of the page tables since the last look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lab.cli.common import check_source, emit, output_options, picture_options, source_options
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.snapshot.changes import EntryChange
    from lab.views.report import Report

__all__ = ["command"]

FILE = "tables"
"""Where in a machine's folder the tables of the last look are kept."""


@click.command()
@source_options
@output_options
@picture_options
def command(as_json: bool, color: str, html: str | None, svg: str | None, **source: str | None) -> int:
    """Show every page-table entry that changed since the last `lab changes`; the first one only remembers them.

    Of a recording, FILE.lab@N shows what changed from the moment before N to N, and FILE.lab@N..M from N to M.
    """
    from lab.views.changes import report_changes

    check_source(source)
    if source["socket"] is not None:
        raise UsageError("lab changes remembers what it saw of a machine of ours; it cannot --attach to another")
    recording = source["recording"]
    report = _since_the_last_look(source["machine_name"]) if recording is None else report_changes(_recorded(recording))
    emit(report, as_json=as_json, color=color, html=html, svg=svg)
    return 0


def _since_the_last_look(name: str | None) -> Report:
    from lab.machine import attach
    from lab.snapshot.changes import TableImage, capture, diff
    from lab.views.changes import report_changes, report_first_look

    with attach(name) as machine, machine.paused():
        state = machine.paging_state()
        kept = machine.qemu.folder / FILE
        now = capture(machine.memory, state)
        before = TableImage.from_bytes(kept.read_bytes()) if kept.exists() else None
        kept.write_bytes(now.to_bytes())
    return report_first_look(now, state) if before is None else report_changes(diff(before, now, state))


def _recorded(recording: str) -> Sequence[EntryChange]:
    from lab.timeline.recording import Place, read

    place = Place.parse(recording)
    timeline = read(place.path)
    if place.last is not None:
        return timeline.changes(place.last, since=place.first)
    return timeline.changes(len(timeline) - 1 if place.first is None else place.first)
