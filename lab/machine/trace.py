"""Calls of guest functions as text, and as GDB sees them: arguments, results, and the entries that changed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError
from lab.kernel.values import format_value
from lab.machine.calls import Target, find_target
from lab.snapshot.changes import EntryChange, TableImage, capture, diff
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage, Type
    from lab.machine.gdb import Breakpoint, Gdb, Stop
    from lab.machine.machine import Machine
    from lab.machine.mailbox import Argument
    from lab.snapshot import Snapshot

__all__ = ["Tracer", "MemoryCall", "call_text", "entry_arguments", "result_text", "return_address"]

HOME_SPACE = 0x28
"""Where the fifth argument stands above RSP at a function's entry: behind the return address and four home slots."""


def call_text(kernel: KernelImage, target: Target, values: Sequence[int]) -> str:
    """`Function(Name=value, …)` of a call with the given arguments."""
    parameters = _parameters(target)
    shown = ", ".join(
        f"{name}={format_value(kernel, type_, value, name)}"
        for (name, type_), value in zip(parameters, values, strict=False)
    )
    return f"{target.name}({shown})"


def result_text(kernel: KernelImage, target: Target, value: int) -> str | None:
    """The result of a function that left `value` in RAX, None where it has none."""
    returns = target.export.signature.returns if target.export and target.export.signature else None
    if returns is None or returns.kind == "void":
        return None
    return format_value(kernel, returns, value)


def entry_arguments(target: Target, now: Snapshot) -> list[int]:
    """The arguments of a function that stands at its first instruction."""
    values = [now.registers[name] for name in ("rcx", "rdx", "r8", "r9")]
    more = len(_parameters(target)) - len(values)
    if more > 0:
        stack = VirtualAddress(now.registers.rsp + HOME_SPACE)
        values += struct.unpack(f"<{more}Q", now.read_virtual(stack, 8 * more))
    return values


def _parameters(target: Target) -> tuple[tuple[str, Type], ...]:
    return target.export.signature.parameters if target.export and target.export.signature else ()


def return_address(entered: Snapshot) -> int:
    """Where the function that has just been entered will return to."""
    return int.from_bytes(entered.read_virtual(VirtualAddress(entered.registers.rsp), 8), "little")


class MemoryCall(NamedTuple):
    """A call that was traced: `text` has its arguments, `caller` is where it returns to.

    `result` is None for a function without one, and for a call that did not return: an exception was raised in it, or
    the guest stopped. `changes` are the page-table entries that it changed, without the first `lost` of them where
    there were too many to be kept.
    """

    function: str
    text: str
    caller: VirtualAddress
    returned: bool = False
    result: str | None = None
    changes: tuple[EntryChange, ...] = ()
    lost: int = 0


class _Open(NamedTuple):
    """A call under way: the stack pointer at its entry tells its return from those of others."""

    target: Target
    call: MemoryCall
    stack: int
    tables: TableImage


class _End(NamedTuple):
    """Where the whole call returns to. Calls within it may return there as well, with another stack pointer."""

    breakpoint: Breakpoint
    stack: int


class Tracer:
    """Runs one call of the guest, and stops it at each call of chosen functions that is made from chosen code.

    `note` is told of every call when it has ended. Whoever wants to know what happened in between looks when `pause`
    is called: the guest then stands at the entry of a call.
    """

    def __init__(
        self,
        machine: Machine,
        functions: Iterable[str],
        is_caller: Callable[[int], bool],
        note: Callable[[MemoryCall], None],
        pause: Callable[[], None],
    ) -> None:
        self.machine = machine
        self._targets = {name: find_target(machine.kernel, name) for name in functions}
        self._is_caller = is_caller
        self._note = note
        self._pause = pause
        self._open: list[_Open] = []

    def calls(self, function: str, *arguments: Argument, timeout: float) -> Generator[MemoryCall, None, int]:
        """Call a guest function, unguarded; give each traced call when it has ended, and the result at last.

        While somebody looks at a call, the guest stands where it returned. Raises what `machine.call` does.
        """
        gdb, target = self.machine.gdb, find_target(self.machine.kernel, function)
        gdb.interrupt()
        gdb.break_at(target.address, temporary=True)
        gdb.continue_()
        pending = self.machine.post(function, *arguments, guarded=False)
        breakpoints: list[Breakpoint] = []
        try:
            gdb.wait_stopped(timeout)
            self.machine.check(f"during the call of {function}")
            entered = self.machine.snapshot()
            end = _End(gdb.break_at(return_address(entered)), entered.registers.rsp + 8)
            places = {gdb.break_at(int(each.address)): each for each in self._targets.values()}
            breakpoints = [end.breakpoint, *places]
            yield from self._follow(gdb, end, {each.number: target for each, target in places.items()}, timeout)
            yield from self._drop(1 << 64)
            gdb.delete(*breakpoints)
            gdb.continue_()
        except BaseException:
            self._drop(1 << 64)
            with suppress(LabError):
                pending.wait(0.0)  # lets others call again, if there is anybody left to call
            raise
        return pending.wait(timeout).result

    def _follow(self, gdb: Gdb, end: _End, places: dict[int, Target], timeout: float) -> Iterator[MemoryCall]:
        """Go from stop to stop until the whole call returns."""
        while True:
            gdb.continue_()
            stop = gdb.wait_stopped(timeout)
            self.machine.check("while it was traced")
            if stop.breakpoint != end.breakpoint.number:
                yield from self._meet(gdb, stop, places)
            elif self.machine.registers().rsp == end.stack:
                return

    def _meet(self, gdb: Gdb, stop: Stop, places: dict[int, Target]) -> list[MemoryCall]:
        """A call begins or ends here; return those that have ended."""
        now = self.machine.snapshot()
        target = places.get(stop.breakpoint or 0)
        if target is None:
            return self._close(now)
        back = return_address(now)
        if not self._is_caller(back):
            return []  # the kernel's own call
        if self._open and (self._open[-1].stack, int(self._open[-1].call.caller)) == (now.registers.rsp, back):
            return []  # so is the jump with which a function ends that calls another one last
        dropped = self._drop(now.registers.rsp)
        self._pause()
        gdb.break_at(back, temporary=True)
        call = MemoryCall(
            target.name, call_text(now.guest.kernel, target, entry_arguments(target, now)), VirtualAddress(back)
        )
        self._open.append(_Open(target, call, now.registers.rsp, capture(now.memory, now.state)))
        return dropped

    def _close(self, now: Snapshot) -> list[MemoryCall]:
        """The call that has just returned: its return address is gone from the stack."""
        if not self._open or self._open[-1].stack + 8 != now.registers.rsp:
            return []
        ended = self._open.pop()
        changes = diff(ended.tables, capture(now.memory, now.state), now.state)
        call = MemoryCall(
            ended.call.function,
            ended.call.text,
            ended.call.caller,
            returned=True,
            result=result_text(now.guest.kernel, ended.target, now.registers.rax),
            changes=tuple(each for each in changes if not each.only_noted),
        )
        self._note(call)
        return [call]

    def _drop(self, stack: int) -> list[MemoryCall]:
        """The calls whose frames are gone, although they did not return: an exception has unwound them."""
        dropped = []
        while self._open and self._open[-1].stack <= stack:
            dropped.append(self._open.pop().call)
            self._note(dropped[-1])
        return dropped
