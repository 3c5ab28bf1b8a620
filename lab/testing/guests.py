"""The guests of one pytest session: fresh ones, and shared ones that are taken back between tests.

Nothing here knows pytest: the plugin tells what a test asked for, and turns errors into skips and failures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.machine import Machine, MachineOptions, stop

if TYPE_CHECKING:
    from lab.snapshot import TableImage

__all__ = ["Wish", "Guest", "Guests"]

READY = "pytest: ready"
"""The state to which a shared guest is taken back."""

MOST_SHARED = 2
"""Guests kept for sharing. Tests that want the same kind mostly stand together."""


@dataclass(frozen=True)
class Wish:
    """The machine that a test asks for. `ready` is what a kernel without mailbox writes when it has come up."""

    options: MachineOptions = field(default_factory=MachineOptions)
    ready: str = ""


@dataclass
class Guest:
    """A guest in the hands of a test, and its page tables from before.

    `is_kept`: it is to be left behind for whoever wants to look into it.
    """

    machine: Machine
    tables: TableImage | None
    is_kept: bool = False


class Guests:
    """Boots guests and ends them; with `keep`, each has a name and can be left behind."""

    def __init__(self, *, keep: bool = False) -> None:
        self._keep = keep
        self._shared: dict[Wish, Guest] = {}

    @contextmanager
    def fresh(self, wish: Wish, test: str) -> Iterator[Guest]:
        """A guest for one test alone."""
        guest = self._boot(wish, test)
        try:
            yield guest
        finally:
            self._end(guest)

    @contextmanager
    def shared(self, wish: Wish, test: str) -> Iterator[Guest]:
        """A guest as it was when it had just come up, whatever tests before have done to it."""
        guest = self._take_back(wish) or self._boot_shared(wish, test)
        try:
            yield guest
        finally:
            if guest.is_kept:
                self._end(self._shared.pop(wish))

    def close(self) -> None:
        """End all guests that are shared."""
        while self._shared:
            self._end(self._shared.popitem()[1])

    def _take_back(self, wish: Wish) -> Guest | None:
        guest = self._shared.get(wish)
        if guest is None:
            return None
        try:
            guest.machine.disconnect_gdb()
            guest.machine.load_state(READY)
        except LabError:  # QEMU is dead or hangs, or the test has closed the machine: the next one will do
            self._end(self._shared.pop(wish))
            return None
        return guest

    def _boot_shared(self, wish: Wish, test: str) -> Guest:
        while len(self._shared) >= MOST_SHARED:
            self._end(self._shared.pop(next(iter(self._shared))))
        guest = self._boot(wish, test)
        try:
            guest.machine.save_state(READY)
        except BaseException:
            self._end(guest)
            raise
        self._shared[wish] = guest
        return guest

    def _boot(self, wish: Wish, test: str) -> Guest:
        machine = Machine(wish.options, name=_name_for(test) if self._keep else "").start()
        try:
            if wish.ready:
                machine.wait_log(wish.ready)
            return Guest(machine, _tables(machine))
        except BaseException:
            self._end(Guest(machine, None))
            raise

    def _end(self, guest: Guest) -> None:
        machine = guest.machine
        if guest.is_kept:
            with suppress(LabError):  # one that is dead can still be looked at
                machine.disconnect_gdb(resume=False)
                machine.stop()
        machine.close()
        if self._keep and not guest.is_kept:
            with suppress(LabError):  # it has ended by itself
                stop(machine.name)


def _tables(machine: Machine) -> TableImage | None:
    """All page tables of a guest; None while it has none."""
    from lab.snapshot import capture

    try:
        return capture(machine.memory, machine.paging_state())
    except LabError:
        return None


def _name_for(test: str) -> str:
    """A name for a machine that says for which test it was booted, and is nobody else's."""
    words = re.sub(r"[^A-Za-z0-9_]+", "-", test.rpartition("::")[2]).strip("-")[:20].rstrip("-") or "test"
    unique = sha256(f"{test} {os.getpid()} {os.urandom(8).hex()}".encode()).hexdigest()[:6]
    return f"{words}-{unique}"
