"""What is said and kept when a machine is in trouble: a sentence, the log's end, registers, QEMU's command line."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from lab.errors import LOG_FOLLOWS, GuestCrashed, GuestError, GuestStopped, GuestTimeout, HostError, LabError

if TYPE_CHECKING:
    from lab.kernel.mailbox import BugCheck
    from lab.machine.machine import Machine
    from lab.machine.qmp import Qmp

__all__ = ["check", "timeout", "log_tail"]

PATIENCE = 1.0
"""Seconds that a QEMU in trouble is given to tell its registers."""

TAIL_LINES = 20

Error = TypeVar("Error", bound=GuestError)


def check(machine: Machine, during: str) -> None:
    """Raise what has to be raised when the machine cannot go on: QEMU dead, a bug check, a triple fault.

    `during` ends the sentence, such as "during the boot".
    """
    process = machine.qemu.process
    if not process.alive:
        complaint = machine.qemu.complaint.replace("\n", "; ")
        said = f"; it said: {complaint}" if complaint else ""
        raise _error(machine, GuestCrashed, f"QEMU {process.fate} {during}{said}")
    # A bug check is told in RAM before it is by QEMU's event: asked the other way round, it might happen in between.
    fate = machine.connected_qmp.fate if machine.connected_qmp else None
    found = machine.bugcheck
    if found is not None:
        raise _stopped(machine, found, during)
    if fate == "guest-panicked":
        raise _error(machine, GuestStopped, f"the guest panicked {during}{{at}}")
    if fate == "guest-shutdown":
        raise _error(machine, GuestCrashed, f"the guest switched itself off {during}{{at}}")
    if fate is not None:
        raise _error(machine, GuestCrashed, f"the guest reset itself {during}, as by a triple fault{{at}} ({fate})")


def timeout(machine: Machine, what: str, seconds: float) -> GuestTimeout:
    """Make the error for a guest that has not done `what` ("become ready") for `seconds`."""
    process = machine.qemu.process
    sentence = f"the guest did not {what} within {seconds:g} s"
    if "stopped" in process.fate:
        remedy = f"resume it with: kill -CONT {process.pid}"
        return _error(machine, GuestTimeout, f"{sentence}: QEMU {process.fate}; {remedy}")
    state = _status(machine)
    if state is None:
        return _error(machine, GuestTimeout, f"{sentence}: QEMU (process {process.pid}) hangs")
    phase = f", phase {machine.mailbox.phase}" if machine.has_mailbox else ""
    paused = "" if state == "running" else f"; the machine is {state}, not running"
    return _error(machine, GuestTimeout, f"{sentence}{{at}}{phase}{paused}")


def log_tail(machine: Machine) -> str:
    """The last lines of the guest's log."""
    return "\n".join(machine.log.rstrip().splitlines()[-TAIL_LINES:])


def _stopped(machine: Machine, bugcheck: BugCheck, during: str) -> GuestStopped:
    name = "" if bugcheck.name.startswith("0x") else f" {bugcheck.name}"
    parameters = ", ".join(f"{each:#x}" for each in bugcheck.parameters)
    caller = machine.describe(bugcheck.caller, returned_to=not bugcheck.trapped)
    sentence = f"bug check {bugcheck.code:#x}{name} ({parameters}) stopped the guest {during}, at {caller}"
    error = _error(machine, GuestStopped, sentence, bugcheck.registers)
    error.code, error.parameters = bugcheck.code, bugcheck.parameters
    return error


def _error(machine: Machine, kind: type[Error], sentence: str, registers: Mapping[str, int] | None = None) -> Error:
    """Make an error with all that is known; `{at}` in the sentence becomes where the CPU is."""
    registers = registers or _registers(machine)
    place = f", at rip {machine.describe(registers['rip'])}" if "rip" in registers else ""
    command = shlex.join(machine.qemu.command)
    tail = log_tail(machine)
    ending = f"{LOG_FOLLOWS}{tail}" if tail else "; the log is empty"
    return kind(sentence.replace("{at}", place) + ending, tail, command=command, registers=registers)


def _registers(machine: Machine) -> dict[str, int]:
    qmp = _patient(machine)
    try:
        return qmp.registers(timeout=PATIENCE) if qmp else {}
    except LabError:
        return {}


def _status(machine: Machine) -> str | None:
    qmp = _patient(machine)
    try:
        return qmp.status(timeout=PATIENCE) if qmp else None
    except LabError:
        return None


def _patient(machine: Machine) -> Qmp | None:
    """A connection to a QEMU that may be dead or hang; None where none can be had."""
    if not machine.qemu.process.alive or "stopped" in machine.qemu.process.fate:
        return None
    try:
        return machine.qmp
    except (GuestError, HostError):
        return None
