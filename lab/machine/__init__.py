"""Machines: QEMU with a guest in it, driven through a mailbox in shared RAM, through QMP and through GDB.

>>> from lab.machine import Machine
>>> with Machine() as machine:
...     machine.call.MmGetPhysicalAddress(0xfffff78000000000).ok
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.late import late
from lab.machine.machine import Machine, PendingCall
from lab.machine.qemu import MachineOptions, parse_size

if TYPE_CHECKING:
    from lab.kernel.mailbox import BugCheck
    from lab.machine.background import BackgroundMachine, attach, boot, machines, reboot, stop
    from lab.machine.calls import CallResult
    from lab.machine.mailbox import GuestException
    from lab.machine.probe import ProbeResult
    from lab.machine.space import Space

__all__ = [
    "Machine",
    "MachineOptions",
    "CallResult",
    "PendingCall",
    "GuestException",
    "ProbeResult",
    "Space",
    "BugCheck",
    "BackgroundMachine",
    "boot",
    "attach",
    "machines",
    "reboot",
    "stop",
    "parse_size",
]

# These are not needed to start QEMU, and are imported while it boots.
__getattr__ = late(
    __name__,
    {
        "lab.machine.calls": ("CallResult",),
        "lab.machine.mailbox": ("GuestException",),
        "lab.machine.probe": ("ProbeResult",),
        "lab.machine.space": ("Space",),
        "lab.kernel.mailbox": ("BugCheck",),
        "lab.machine.background": ("BackgroundMachine", "attach", "boot", "machines", "reboot", "stop"),
    },
)
