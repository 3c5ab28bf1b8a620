"""Background machines: they go on when the command that booted them has ended, and are known by name."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.errors import GuestError, HostError, NoSuchMachine, UsageError
from lab.machine.folder import check_name, folders
from lab.machine.host import find_image, find_program, runtime_directory
from lab.machine.machine import Machine
from lab.machine.process import Process
from lab.machine.qemu import EMULATOR, MONITORS, MachineOptions
from lab.machine.record import Record

__all__ = ["BackgroundMachine", "DEFAULT_NAME", "attach", "boot", "machines", "reboot", "stop"]

DEFAULT_NAME = "lab"

BY_ARGUMENT = "name one of"
"""How a machine is chosen where its name is an argument, and no option."""

PATIENCE = 1.0
"""Seconds that a machine is given to tell its state."""


@dataclass(frozen=True)
class BackgroundMachine:
    """What `lab ps` shows of one machine.

    `state` is "ready", "busy", "booting", "paused", "bug check", "crashed" or "not answering". `qmp` and `gdb` are
    sockets, `ram` is the guest's memory as a file.
    """

    name: str
    pid: int
    state: str
    qmp: Path
    gdb: Path
    ram: Path


def boot(name: str = DEFAULT_NAME, options: MachineOptions | None = None) -> Machine:
    """Boot a machine that goes on when we end; return it attached.

    >>> boot("demo").close()
    >>> [each.name for each in machines()]
    ['demo']

    Raises UsageError when a machine of that name is running or none can have it, and what `Machine` raises.
    """
    check_name(name)
    return Machine(options, name=name).start()


def machines() -> list[BackgroundMachine]:
    """Return the background machines of this user, by name, and remove what is left of dead ones."""
    found = ((record, folder, _state(folder, record)) for folder, record in _records().values())
    return [
        BackgroundMachine(record.name, record.pid, state, folder / MONITORS[0], folder / "gdb", folder / "ram")
        for record, folder, state in found
        if state
    ]


def attach(name: str | None = None) -> Machine:
    """Return a background machine; without a name, the only one there is. Closing it leaves it running.

    Raises NoSuchMachine when there is none, UsageError when several could be meant, HostError when it hangs.
    """
    folder, record = _choose(name)
    try:
        return Machine.attach(record, folder)
    except ProcessLookupError:
        raise NoSuchMachine(f"the machine {record.name!r} has just ended; boot it again with: lab boot") from None


def stop(name: str | None = None) -> str:
    """End a background machine, in whatever state it is, and remove its folder; return its name.

    Raises NoSuchMachine and UsageError as `attach` does.
    """
    _, record = _choose(name, BY_ARGUMENT)
    with suppress(ProcessLookupError):  # it ended by itself meanwhile, which is what was wanted
        Process(record.pid, started=record.started).kill()
    _records()  # QEMU's end has freed the lock of its folder, so that it is removed now
    return record.name


def reboot(name: str | None = None) -> Machine:
    """End a background machine and boot it anew, with the same options and the kernel as it is built now.

    Raises what `stop` raises, and ImageMissing or ToolMissing before anything is ended that could not boot again.
    """
    _, record = _choose(name, BY_ARGUMENT)
    options = record.options.with_kernel(find_image(record.source))
    find_program(EMULATOR)
    return boot(stop(record.name), options)


def _records() -> dict[str, tuple[Path, Record]]:
    """Folder and record of every machine that is up or coming up."""
    found = {path.name: (path, Record.load(path)) for path in folders(runtime_directory())}
    return {name: (path, record) for name, (path, record) in found.items() if record is not None}


def _choose(name: str | None, how: str = "choose one by --name") -> tuple[Path, Record]:
    records = _records()
    if name is not None and name not in records:
        there = f"running are: {', '.join(records)}" if records else "none is running; boot one with: lab boot"
        raise NoSuchMachine(f"no machine is called {name!r}; {there}")
    if not records:
        raise NoSuchMachine("no machine is running; boot one with: lab boot")
    if name is None and len(records) > 1:
        raise UsageError(f"several machines are running; {how}: {', '.join(records)}")
    return records[name] if name is not None else next(iter(records.values()))


def _state(folder: Path, record: Record) -> str:
    """Say what a machine is at, in one or two words; nothing when it has just ended."""
    try:
        with Machine.attach(record, folder, timeout=PATIENCE) as machine:
            return _state_of(machine)
    except ProcessLookupError:
        return ""
    except (HostError, GuestError):
        return "not answering"


def _state_of(machine: Machine) -> str:
    status = machine.qmp.status(timeout=PATIENCE)
    if machine.bugcheck is not None or status == "guest-panicked":
        return "bug check"
    if machine.qmp.fate is not None:
        return "crashed"
    if status != "running":
        return "paused"
    return machine.mailbox.phase if machine.has_mailbox else status
