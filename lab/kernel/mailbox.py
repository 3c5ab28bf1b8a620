"""What the guest says of itself in the mailbox: its phase, and the bug check that stopped it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.kernel.objects import Guest, StructView

__all__ = ["Mailbox", "BugCheck", "read_mailbox"]


class BugCheck(NamedTuple):
    """A STOP: its code and name, four parameters, and the registers of the trap or caller that led to it.

    `caller` is the instruction that `trapped`, else where the call that stopped the guest would have returned to.
    `driver` is the address in the innermost driver on the stack, 0 when none was involved; `trace` are the return
    addresses on the stack, from the inside out.
    """

    code: int
    name: str
    parameters: tuple[int, ...]
    caller: int
    cr2: int
    registers: Mapping[str, int]
    trapped: bool = False
    driver: int = 0
    driver_name: str = ""
    driver_base: int = 0
    trace: tuple[int, ...] = ()


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
        bugcheck = _bugcheck(guest, stop)
    return Mailbox(phase, mailbox["requested"], mailbox["completed"], bugcheck)


def _bugcheck(guest: Guest, stop: StructView) -> BugCheck:
    registers = stop.inner("registers")
    found = BugCheck(
        code=stop["code"],
        name=bugcheck_name(guest, stop["code"]),
        parameters=stop.array("parameter"),
        caller=stop["caller"],
        cr2=stop["cr2"],
        registers={name: registers[name] for name in registers.structure.fields},
        trapped=registers["vector"] != guest.kernel.constant("LAB_NO_VECTOR"),
    )
    if "driver" not in stop:
        return found  # a recording from before there were drivers
    return found._replace(
        driver=stop["driver"],
        driver_name=stop.bytes("driver_name").partition(b"\0")[0].decode(errors="replace"),
        driver_base=stop["driver_base"],
        trace=tuple(each for each in stop.array("trace") if each),
    )


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
