"""The guest's own self-tests as pytest items: `pytest images/kernel.elf` runs every CHECK of that kernel.

A kernel that is built with guest/include/lab.h has its checks in the description beside it (lab.kernel.extract). Each
is called under the fault guard, in a guest that has just come up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pytest

from lab.errors import LabError
from lab.kernel.image import KernelImage
from lab.testing.guests import Guest

__all__ = ["CheckFile", "Check", "CheckFailed"]

Lender = Callable[[pytest.Item], AbstractContextManager[Guest]]

TIMEOUT = 30.0
"""Seconds that a check may take."""


class CheckFailed(NamedTuple):
    """What a check left word of: where it stands, what did not hold, and what was seen instead."""

    place: str
    condition: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.condition}: {self.text}"


class _CheckError(Exception):
    """A check did not pass; `address` is that of its page fault, if it ended in one."""

    def __init__(self, message: str, address: int | None = None) -> None:
        super().__init__(message)
        self.address = address


class CheckFile(pytest.File):
    """A kernel, as the collector of its checks."""

    lend: Lender

    @classmethod
    def of(cls, parent: pytest.Collector, path: Any, lend: Lender) -> CheckFile:
        """Make the collector of the kernel at `path`; `lend` gives a guest to an item."""
        file: CheckFile = cls.from_parent(parent, path=path)
        file.lend = lend
        return file

    def collect(self) -> Iterator[Check]:
        """One item for each check."""
        try:
            checks = KernelImage.load(self.path).checks
        except LabError as error:
            raise self.CollectError(str(error)) from error
        for name, export in checks.items():
            yield Check.of(self, name, export.help, self.lend)


class Check(pytest.Item):
    """One check of a kernel; `place` is where it stands in the sources."""

    place: str
    lend: Lender

    @classmethod
    def of(cls, parent: CheckFile, name: str, place: str, lend: Lender) -> Check:
        """Make the item of one check."""
        item: Check = cls.from_parent(parent, name=name)
        item.place, item.lend = place, lend
        return item

    def setup(self) -> None:
        """Get a guest that has just come up."""
        lent = self.lend(self)
        self._guest = lent.__enter__()
        self.addfinalizer(lambda: lent.__exit__(None, None, None))

    def runtest(self) -> None:
        """Call the check; an error tells what it left word of, or the exception that ended it."""
        machine = self._guest.machine
        result = machine.call(self.name, timeout=TIMEOUT)
        if result.exception is None:
            return
        failure = _failure(self._guest)
        if failure is not None:
            raise _CheckError(str(failure))
        exception = result.exception
        place = machine.describe(exception.registers.rip)
        raise _CheckError(f"{exception} in {place}", exception.cr2 if exception.name == "#PF" else None)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """One sentence for what the lab knows of; a traceback of Python would show nothing of the guest."""
        if isinstance(excinfo.value, _CheckError):
            return f"{self.name} ({self.place})\n{excinfo.value}"
        if isinstance(excinfo.value, LabError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """File and name, as reports head the item."""
        return self.path, None, f"{self.name} ({self.place})"


def _failure(guest: Guest) -> CheckFailed | None:
    """What `lab_check` left word of; None when the check ended in another way."""
    found = guest.machine.snapshot().guest
    record = found.variable("lab_check_failure")
    if not record["line"]:
        return None
    text = record.bytes("text").partition(b"\0")[0].decode(errors="replace")
    return CheckFailed(f"{found.text(record['file'])}:{record['line']}", found.text(record["condition"]), text)
