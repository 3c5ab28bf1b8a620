"""What the guest says of itself in the mailbox: its phase, and the bug check that stopped it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.kernel.objects import Guest

__all__ = ["Mailbox", "BugCheck", "read_mailbox"]


class BugCheck(NamedTuple):
    """A STOP: its code and name, four parameters, and the registers of the trap or caller that led to it."""

    code: int
    name: str
    parameters: tuple[int, ...]
    caller: int
    cr2: int
    registers: Mapping[str, int]


class Mailbox(NamedTuple):
    """`phase` is booting, ready, busy or bugchecked; "unknown" where the mailbox is not one (yet)."""

    phase: str
    requested: int = 0
    completed: int = 0
    bugcheck: BugCheck | None = None
    problems: tuple[str, ...] = ()


def read_mailbox(guest: Guest) -> Mailbox:
    """Decode the mailbox; a guest that has not set it up is in phase "unknown"."""
    try:
        mailbox = guest.variable("lab_mailbox")
    except LabError as error:
        return Mailbox("unknown", problems=(str(error),))
    if mailbox["magic"] != guest.kernel.constant("LAB_MAILBOX_MAGIC"):
        return Mailbox("unknown", problems=("the guest has not set up its mailbox",))
    stop = mailbox.inner("bugcheck")
    phase = mailbox.enum("phase", "lab_phase").removeprefix("LAB_").lower()
    bugcheck = None
    if phase == "bugchecked":
        registers = stop.inner("registers")
        bugcheck = BugCheck(
            code=stop["code"],
            name=bugcheck_name(guest, stop["code"]),
            parameters=stop.array("parameter"),
            caller=stop["caller"],
            cr2=stop["cr2"],
            registers={name: registers[name] for name in registers.structure.fields},
        )
    return Mailbox(phase, mailbox["requested"], mailbox["completed"], bugcheck)


def bugcheck_name(guest: Guest, code: int) -> str:
    """The name of a STOP code from the guest's own table; the code in hexadecimal where it has none."""
    try:
        table = guest.kernel.symbol("bugcheck_names")
        size = guest.kernel.structure("bugcheck_name").size
        for entry in guest.structs("bugcheck_name", table.address, table.size // size):
            if entry["code"] == code:
                return guest.text(entry["name"])
    except LabError:
        pass  # a kernel without that table, or memory without the kernel: the number must do
    return f"{code:#x}"
