"""The stage a scenario plays on: GDB stops every call at its entry and return, three judges check every address."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from lab.errors import LabError
from lab.kernel.image import Export
from lab.kernel.values import format_value, make_tag
from lab.machine import Machine
from lab.machine.calls import CallResult
from lab.machine.gdb import Stop
from lab.machine.mailbox import Argument
from lab.scenarios.books import Books
from lab.scenarios.step import Agreement, Halt, Step
from lab.snapshot import Snapshot
from lab.snapshot.changes import EntryChange, TableImage, capture, diff
from lab.views import all_views
from lab.views.registry import Raw
from lab.views.report import Report
from lab.x86.address import PhysicalAddress, VirtualAddress

__all__ = ["Stage", "TracedCall", "Disagreement"]

TRAP_HANDLER = "trap_handle"
"""The guest's function that every exception goes through."""

HOME_SPACE = 0x28
"""Where the fifth argument stands above RSP at a function's entry: behind the return address and four home slots."""


class Disagreement(LabError):
    """The machine did not do what the scenario says, or its three judges do not agree on an address."""


@dataclass(frozen=True)
class TracedCall:
    """A call of a guest function, with where GDB stopped it and what it did to the page tables."""

    result: CallResult
    halts: tuple[Halt, ...]
    changes: tuple[EntryChange, ...]

    def __int__(self) -> int:
        return int(self.result)


class Stage:
    """A machine, and the means of a scenario to act on it and to show what happened.

    Steps are numbered as they are made; whoever makes one yields it.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._steps = 0
        self._now: Snapshot | None = None

    # ---------------------------------------------------------------------------------------------------- acting ----

    def call(self, function: str, *arguments: Argument) -> TracedCall:
        """Call a guest function; GDB stops it at its first instruction, and at its return or in the trap handler.

        Page tables are compared between the two stops. Raises what `machine.call` does.
        """
        machine, gdb = self.machine, self.machine.gdb
        export = machine.kernel.export(function)
        gdb.interrupt()
        gdb.break_at(int(export.address), temporary=True)
        pending = machine.post(function, *arguments)
        gdb.continue_()
        stop = gdb.wait_stopped()
        start = machine.snapshot()
        entry, tables = self._entry_halt(export, stop, start), self._tables(start)
        ends = [gdb.break_at(each, temporary=True) for each in (_return_address(start), self._trap_handler)]
        gdb.continue_()
        stop = gdb.wait_stopped()
        machine.check(f"during the call of {function}")
        self._now = machine.snapshot()
        halts = (entry, self._end_halt(export, stop, self._now))
        changes = diff(tables, self._tables(self._now), self._now.state)
        gdb.delete(*(each for each in ends if each.number != stop.breakpoint))
        gdb.continue_()
        return TracedCall(pending.wait(), halts, changes)

    @property
    def _trap_handler(self) -> int:
        return int(self.machine.kernel.symbol(TRAP_HANDLER).address)

    def _entry_halt(self, export: Export, stop: Stop, now: Snapshot) -> Halt:
        parameters = export.signature.parameters if export.signature else ()
        values = [now.registers[name] for name in ("rcx", "rdx", "r8", "r9")]
        if len(parameters) > len(values):
            stack = VirtualAddress(now.registers.rsp + HOME_SPACE)
            values += struct.unpack(f"<{len(parameters) - 4}Q", now.read_virtual(stack, 8 * (len(parameters) - 4)))
        shown = ", ".join(
            f"{name}={format_value(self.machine.kernel, type_, value, name)}"
            for (name, type_), value in zip(parameters, values, strict=False)
        )
        return Halt("entry", export.name, stop.address, f"{export.name}({shown})")

    def _end_halt(self, export: Export, stop: Stop, now: Snapshot) -> Halt:
        if stop.address == self._trap_handler:
            return Halt("fault", export.name, stop.address, "does not return: it is stopped in the trap handler")
        returns = export.signature.returns if export.signature else None
        if returns is None or returns.kind == "void":
            return Halt("return", export.name, stop.address, "returns")
        value = format_value(self.machine.kernel, returns, now.registers.rax)
        return Halt("return", export.name, stop.address, f"returns {value}")

    def _tables(self, snapshot: Snapshot) -> TableImage:
        return capture(snapshot.memory, snapshot.state)

    # --------------------------------------------------------------------------------------------------- showing ----

    def books(self) -> Books:
        """What the guest has in use now, for `nothing_left` to compare with."""
        with self.machine.paused():
            return Books.of(self.snapshot())

    def nothing_left(self, before: Books) -> Step:
        """Make the last step: everything is as it was. Disagreement when something is left over."""
        now = self.books()
        left = now.left_since(before, self.snapshot())
        if now.counts != before.counts or left:
            self.refute(f"something leaked: {before.counts} before, {now.counts} after, {len(left)} entries changed")
        return self.step(
            "Everything is as before",
            "No frame, no page-table entry and no pool block is left over.",
            reports={"books": now.report(before)},
        )

    def refute(self, sentence: str) -> NoReturn:
        """Raise Disagreement: the machine did not do what the scenario says it does."""
        raise Disagreement(sentence)

    def tag(self, text: str) -> int:
        """A pool tag as the number that calls take."""
        return make_tag(text)

    def report(self, view: str, arguments: Mapping[str, Raw] | None = None) -> Report:
        """A view of the machine as it is now."""
        return all_views()[view].run(self.snapshot(), arguments)

    def snapshot(self) -> Snapshot:
        """The machine as it is now: memory is live, registers are those at the end of the last traced call."""
        if self._now is None:
            self._now = self.machine.snapshot()
        return self._now

    def agreement(self, address: VirtualAddress) -> Agreement:
        """Ask our walk, QEMU and the guest what is behind an address. Disagreement when they do not say the same."""
        walk = self.snapshot().walk(address)
        guest = self.machine.call.MmGetPhysicalAddress(int(address)).result
        found = Agreement(
            address,
            own=walk.mapped.physical if walk.is_mapped else None,
            qemu=self.machine.qmp.gva2gpa(int(address)),
            guest=PhysicalAddress(guest) if guest else None,
        )
        if not found.holds:
            self.refute(
                f"{address}: own walk says {found.own}, QEMU's gva2gpa {found.qemu}, MmGetPhysicalAddress"
                f" {found.guest}; one of the three is wrong, please report it"
            )
        return found

    def step(
        self,
        title: str,
        text: str = "",
        *,
        call: TracedCall | None = None,
        agree: tuple[VirtualAddress, ...] = (),
        reports: Mapping[str, Report] | None = None,
    ) -> Step:
        """Make the next step: what a traced call did, checked addresses, and reports to show."""
        self._steps += 1
        return Step(
            number=self._steps,
            title=title,
            text=text,
            halts=call.halts if call else (),
            changes=call.changes if call else None,
            agreements=tuple(self.agreement(address) for address in agree),
            reports=dict(reports or {}),
        )


def _return_address(entered: Snapshot) -> int:
    """Where the function that has just been entered will return to."""
    return int.from_bytes(entered.read_virtual(VirtualAddress(entered.registers.rsp), 8), "little")
