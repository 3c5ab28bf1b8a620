"""Saved states of a machine: all of RAM, CPU and devices, kept by QEMU in one file of the machine's folder.

QEMU keeps states inside of a disk image, so an empty one is made and added to the running machine when the first state
is saved; no device shows it to the guest. What QEMU does not know of is kept beside it: whether the guest was running,
and what it had written to its serial port. See QEMU's QMP reference, `snapshot-save` and `snapshot-load`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.machine import autopsy, console

if TYPE_CHECKING:
    from lab.machine.machine import Machine

__all__ = ["save", "load"]

NODE = "states"
DISK, INDEX = "states.qcow2", "states.json"

SAVE_TIMEOUT = 30.0
"""Seconds to save or load: RAM of some GiB takes a few."""

CALL_TIMEOUT = 5.0

LONGEST_TAG = 128

NEEDS_RESET = {"shutdown", "internal-error"}
"""Run states that QEMU leaves only by a reset: a triple fault ends in the first."""


@dataclass(frozen=True)
class _Extra:
    """What is to be known of a state besides what QEMU keeps."""

    is_running: bool
    console: console.Parts


def save(machine: Machine, tag: str) -> None:
    """Save the machine's state as `tag`; see `Machine.save_state`."""
    if not 0 < len(tag) <= LONGEST_TAG:
        raise UsageError(f"{tag!r} cannot name a saved state; use 1 to {LONGEST_TAG} characters")
    folder, known = machine.qemu.folder, _index(machine.qemu.folder)
    was_running = machine.is_running
    if was_running:
        machine.stop()
    try:
        if not (folder / DISK).exists():
            _add_disk(machine, folder / DISK)
        if tag in known:
            _run(machine, "snapshot-delete", tag)
        _run(machine, "snapshot-save", tag)
        known[tag] = _Extra(was_running, console.parts_now(folder))
        _write_index(folder, known)
    finally:
        if was_running:
            machine.cont()


def load(machine: Machine, tag: str) -> None:
    """Take the machine back to the state `tag`; see `Machine.load_state`."""
    folder = machine.qemu.folder
    known = _index(folder)
    if tag not in known:
        there = f"there are: {', '.join(known)}" if known else "none was saved yet"
        raise UsageError(f"the machine has no saved state {tag!r}; {there}")
    machine.abandon_calls()
    with _nobody_calling(machine):
        _halt(machine)
        _run(machine, "snapshot-load", tag)
        console.rewind(folder, known[tag].console)
        machine.qmp.forget_fate()
        if machine.has_gdb:
            machine.gdb.forget()
        if known[tag].is_running:
            machine.cont()


@contextmanager
def _nobody_calling(machine: Machine) -> Iterator[None]:
    """Keep other sessions from calling the guest meanwhile: it would forget that it was asked anything."""
    if not machine.has_mailbox:
        yield
        return
    mailbox = machine.mailbox
    if not mailbox.acquire(CALL_TIMEOUT, lambda: None):
        raise autopsy.timeout(machine, "come to be taken back, because of another session's call,", CALL_TIMEOUT)
    try:
        yield
    finally:
        mailbox.release()


def _halt(machine: Machine) -> None:
    """Stop the guest, in whatever state it is, so that it can be taken back."""
    status = machine.qmp.status()
    if status == "running":
        machine.stop()
    elif status in NEEDS_RESET:
        # The machine was told to stay as it is where it would reset itself (-no-reboot): just this once it shall not.
        machine.qmp.execute("set-action", {"reboot": "reset"})
        since = len(machine.qmp.events)
        machine.qmp.execute("system_reset")
        machine.qmp.wait_event("RESET", timeout=CALL_TIMEOUT, since=since)
        machine.qmp.execute("set-action", {"reboot": "shutdown"})


def _run(machine: Machine, job: str, tag: str) -> None:
    arguments: dict[str, object] = {"tag": tag, "devices": [NODE]}
    if job != "snapshot-delete":
        arguments["vmstate"] = NODE
    machine.qmp.run_job(job, arguments, timeout=SAVE_TIMEOUT)


def _add_disk(machine: Machine, path: Path) -> None:
    path.write_bytes(empty_qcow2())
    file = {"driver": "file", "filename": str(path)}
    machine.qmp.execute("blockdev-add", {"driver": "qcow2", "node-name": NODE, "file": file})


def empty_qcow2() -> bytes:
    r"""Return a disk image of one cluster without content, in QEMU's own format (docs/interop/qcow2.txt).

    Four clusters: header, reference-count table, one block of reference counts, an empty table of clusters. States
    lie behind the end of the disk, so its size does not limit them.

    >>> empty_qcow2()[:8]
    b'QFI\xfb\x00\x00\x00\x03'
    """
    bits, version, count_order, header_size = 16, 3, 4, 104
    cluster = 1 << bits
    header = struct.pack(">4sIQIIQ", b"QFI\xfb", version, 0, 0, bits, cluster)
    header += struct.pack(">IIQQIIQ", 0, 1, 3 * cluster, cluster, 1, 0, 0)  # no cipher; tables; no states yet
    header += struct.pack(">QQQII", 0, 0, 0, count_order, header_size)
    counts_at, counts = struct.pack(">Q", 2 * cluster), struct.pack(">4H", 1, 1, 1, 1)
    return b"".join(part.ljust(cluster, b"\0") for part in (header, counts_at, counts, b""))


def _index(folder: Path) -> dict[str, _Extra]:
    try:
        values = json.loads((folder / INDEX).read_text())
    except FileNotFoundError:
        return {}
    return {
        tag: _Extra(each["is_running"], tuple((first, end) for first, end in each["console"]))
        for tag, each in values.items()
    }


def _write_index(folder: Path, known: dict[str, _Extra]) -> None:
    new = folder / f"{INDEX}.new"
    new.write_text(json.dumps({tag: asdict(each) for tag, each in known.items()}))
    new.rename(folder / INDEX)
