"""Every error the lab raises, drawn as one tree.

::

    LabError                    exit code 1: the answer is no
    ├── UsageError              2: the caller asked for something that cannot be asked
    │   └── AddressError           an address or expression that names nothing
    ├── HostError               3: this host lacks something; the message says which command mends it
    │   ├── ToolMissing            a program (qemu, gdb, …) is not installed
    │   ├── ImageMissing           no kernel image, or one older than its description
    │   ├── QemuFailed             QEMU refused its arguments or could not start
    │   └── NoSuchMachine          no background machine of that name
    ├── GuestError              4: the guest crashed or did not answer in time
    │   ├── GuestCrashed           triple fault, or QEMU died
    │   ├── GuestStopped           a bug check stopped the guest; the request cannot be served
    │   └── GuestTimeout           the guest did not answer before the deadline
    ├── NoMemoryAt              1: a physical address outside of RAM
    └── NotMapped               1: a virtual address that no page table maps

A message is one sentence: what failed, where, and what to try. The data it was made from stays in attributes.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "LabError",
    "UsageError",
    "AddressError",
    "HostError",
    "ToolMissing",
    "ImageMissing",
    "QemuFailed",
    "NoSuchMachine",
    "GuestError",
    "GuestCrashed",
    "GuestStopped",
    "GuestTimeout",
    "NoMemoryAt",
    "NotMapped",
]


class LabError(Exception):
    """What went wrong, in one sentence; `exit_code` is what the command line ends with."""

    exit_code = 1

    @property
    def sentence(self) -> str:
        """The message in one line, without the guest's log, which the message of a GuestError may end with."""
        return str(self).partition("\n")[0]


class UsageError(LabError):
    """The caller asked for something that cannot be asked."""

    exit_code = 2


class AddressError(UsageError):
    """An address or expression that names nothing."""

    def __init__(self, expression: str, hint: str) -> None:
        super().__init__(f"{expression!r} is not an address here: {hint}")
        self.expression = expression


class HostError(LabError):
    """Something is missing on this host; the message says which command mends it."""

    exit_code = 3


class ToolMissing(HostError):
    """A program the lab starts is not installed."""

    def __init__(self, program: str, remedy: str) -> None:
        super().__init__(f"{program} is not installed; install it with: {remedy}")
        self.program = program
        self.remedy = remedy


class ImageMissing(HostError):
    """There is no kernel image, or it does not fit its description."""


class QemuFailed(HostError):
    """QEMU refused its arguments or could not start; the message has its own words, `command` its command line."""

    def __init__(self, message: str, command: str = "") -> None:
        super().__init__(message)
        self.command = command


class NoSuchMachine(HostError):
    """No background machine of that name is running."""


LOG_FOLLOWS = "; the log ends with:\n"
"""Stands between what went wrong and the guest's last words."""


class GuestError(LabError):
    """The guest crashed or did not answer; what is needed to find out why stays with the error.

    `log_tail` holds the guest's last words, `command` QEMU's command line, `registers` those of the first CPU (empty
    when QEMU could not be asked any more).
    """

    exit_code = 4

    def __init__(
        self, message: str, log_tail: str = "", *, command: str = "", registers: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(message)
        self.log_tail = log_tail
        self.command = command
        self.registers = dict(registers or {})

    @property
    def sentence(self) -> str:
        """What went wrong, without the log.

        >>> GuestCrashed("QEMU was killed" + LOG_FOLLOWS + "ready").sentence
        'QEMU was killed'
        """
        return str(self).partition(LOG_FOLLOWS)[0].partition("\n")[0]


class GuestCrashed(GuestError):
    """The guest triple-faulted, or QEMU died under it."""


class GuestStopped(GuestError):
    """A bug check stopped the guest, so it cannot serve the request; `code` and `parameters` are its STOP code's."""

    code = 0
    parameters: tuple[int, ...] = ()


class GuestTimeout(GuestError):
    """The guest did not answer before the deadline."""


class NoMemoryAt(LabError):
    """A physical address range that is not RAM of this machine."""

    def __init__(self, address: int, size: int) -> None:
        super().__init__(f"no RAM at pa:{address:#012x} (+{size} bytes); `lab frames` shows the banks")
        self.address = address
        self.size = size


class NotMapped(LabError):
    """A virtual address that no page table maps; the message names the level and bit that say so."""

    def __init__(self, address: int, reason: str) -> None:
        super().__init__(f"{address:#018x} is not mapped: {reason}; `lab walk {address:#x}` shows the entries")
        self.address = address
        self.reason = reason
