"""What the report of a failed test tells of its guest: one section each, as title and text."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lab.errors import GuestError, LabError
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.snapshot import Snapshot
    from lab.testing.guests import Guest
    from lab.testing.recording import TestRecording

__all__ = ["sections_of_guest", "sections_of_error", "section_of_recording", "section_of_kept"]

LOG_LINES = 40
MOST_CHANGES = 20


def sections_of_guest(guest: Guest, error: BaseException | None) -> Iterator[tuple[str, str]]:
    """Everything a live guest tells: log, registers, the walk in question, changed entries, QEMU's command line.

    A guest that is dead or hangs tells what it still can.
    """
    machine = guest.machine
    yield "guest: serial log", _tail(machine.log)
    try:
        with machine.paused():
            yield from _sections_of_snapshot(machine.snapshot(), guest, error)
    except LabError as trouble:
        yield "guest: state", trouble.sentence
    yield "guest: QEMU", shlex.join(machine.qemu.command)


def sections_of_error(error: GuestError) -> Iterator[tuple[str, str]]:
    """What an error tells of a guest that has ended."""
    yield "guest: serial log", error.log_tail or "empty"
    if error.registers:
        yield "guest: registers", "\n".join(f"{name:<8}{value:#018x}" for name, value in error.registers.items())
    yield "guest: QEMU", error.command


def section_of_recording(recording: TestRecording) -> tuple[str, str]:
    """Where a test's recording is, with a last moment added to it, and how to look into it."""
    try:
        recording.moment("The test has failed")
        path = shlex.quote(str(recording.write()))
    except LabError as trouble:
        return "guest: recording", trouble.sentence
    last = len(recording.timeline) - 1
    return "guest: recording", f"moments 0 to {last}\nlab regs --from {path}@{last}"


def section_of_kept(guest: Guest) -> tuple[str, str]:
    """How to go on with a guest that is left behind."""
    machine = guest.machine
    connect = f"target remote {machine.qemu.folder / 'gdb'}"
    lines = [
        f"{machine.name} is paused as the test left it",
        shlex.join(["gdb", str(machine.options.kernel), "-ex", connect]),
        f"lab regs --name {machine.name}",
        f"lab stop {machine.name}",
    ]
    return "guest: kept", "\n".join(lines)


def _sections_of_snapshot(snapshot: Snapshot, guest: Guest, error: BaseException | None) -> Iterator[tuple[str, str]]:
    from lab.render.text import render_text
    from lab.views.regs import show_regs

    yield "guest: registers", render_text(show_regs(snapshot))
    parts: list[tuple[str, Callable[[], str]]] = [
        ("guest: walk", lambda: _walk(snapshot, error)),
        ("guest: page tables", lambda: _changes(snapshot, guest)),
    ]
    for title, make in parts:
        try:
            text = make()
        except LabError:
            continue  # paging is off, or the root is no RAM: the registers say so
        if text:
            yield title, text


def _walk(snapshot: Snapshot, error: BaseException | None) -> str:
    """The walk of the address that the test is about, unless the error shows it; else that of the last page fault."""
    address = getattr(error, "address", None)
    if isinstance(address, int):
        walk = str(snapshot.walk(VirtualAddress(address)))
        return "" if walk in str(error) else walk
    if not snapshot.registers.cr2:
        return ""
    return f"of cr2, the address of the last page fault\n{snapshot.walk(VirtualAddress(snapshot.registers.cr2))}"


def _changes(snapshot: Snapshot, guest: Guest) -> str:
    """The entries that are not what they were when the test began."""
    from lab.render.text import render_text
    from lab.snapshot import capture, diff
    from lab.views.changes import report_changes

    if guest.tables is None:
        return ""
    changes = diff(guest.tables, capture(snapshot.memory, snapshot.state), snapshot.state)
    edited = [each for each in changes if not each.only_noted]
    text = render_text(report_changes(edited[-MOST_CHANGES:]))
    left_out = f"(the last {MOST_CHANGES} of {len(edited)})\n" if len(edited) > MOST_CHANGES else ""
    return f"since the test began: {left_out}{text}"


def _tail(log: str) -> str:
    lines = log.rstrip().splitlines()
    left_out = [f"… {len(lines) - LOG_LINES} lines before"] if len(lines) > LOG_LINES else []
    return "\n".join([*left_out, *lines[-LOG_LINES:]]) or "empty"
