"""The guest's own journal of a driver's memory calls, as calls with the entries that each of them changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lab.kernel.journal import JournalCall, JournalChange, read_journal
from lab.machine.calls import Target, find_target
from lab.machine.trace import MemoryCall, call_text, result_text
from lab.snapshot.changes import EntryChange, entry_change
from lab.x86.address import PhysicalAddress
from lab.x86.entry import Entry

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage
    from lab.kernel.objects import Guest
    from lab.x86.state import PagingState

__all__ = ["journal_calls"]

ENTRY_SIZE = 8


def journal_calls(guest: Guest, state: PagingState) -> tuple[list[tuple[int, MemoryCall]], int]:
    """The calls that the journal holds, each with the bytes of the log that were written before; how many it lost."""
    journal = read_journal(guest)
    names = {int(each.address): each.name for each in guest.kernel.exports.values() if each.gate}
    found = [(each.printed, _memory_call(guest.kernel, each, names, state)) for each in journal.calls]
    return found, journal.lost


def _memory_call(kernel: KernelImage, call: JournalCall, names: dict[int, str], state: PagingState) -> MemoryCall:
    target = find_target(kernel, names[int(call.function)])
    return MemoryCall(
        target.name,
        call_text(kernel, target, call.arguments),
        call.caller,
        returned=call.result is not None,
        result=_result(kernel, target, call.result),
        changes=tuple(_net_changes(call.changes, state)),
        lost=call.lost,
    )


def _result(kernel: KernelImage, target: Target, value: int | None) -> str | None:
    return None if value is None else result_text(kernel, target, value)


def _net_changes(changes: Iterable[JournalChange], state: PagingState) -> list[EntryChange]:
    """What is left of many writes of the same entries: each from its first value to its last, as `diff` sorts them."""
    first: dict[tuple[int, int], JournalChange] = {}
    last: dict[tuple[int, int], int] = {}
    for each in changes:
        first.setdefault((each.level, each.entry), each)
        last[each.level, each.entry] = each.new
    found = (_change(each, last[key], state) for key, each in first.items() if each.old != last[key])
    return sorted((each for each in found if not each.only_noted), key=lambda each: (-each.level, each.start))


def _change(change: JournalChange, new: int, state: PagingState) -> EntryChange:
    level, index = change.level, (change.entry & 0xFFF) // ENTRY_SIZE
    base = (change.address & -level.page_size) - index * level.page_size
    table = PhysicalAddress(change.entry & ~0xFFF)
    return entry_change(level, table, index, [base], (Entry(change.old), Entry(new)), state=state)
