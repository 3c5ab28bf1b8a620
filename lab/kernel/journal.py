"""The journal of the memory calls that drivers made (`struct lab_journal`), as the kernel kept it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.levels import Level

if TYPE_CHECKING:
    from lab.kernel.objects import Guest, StructView

__all__ = ["Journal", "JournalCall", "JournalChange", "read_journal"]


class JournalChange(NamedTuple):
    """An entry that was written: where it stands, an address that it maps, and its value before and after."""

    level: Level
    entry: PhysicalAddress
    address: VirtualAddress
    old: int
    new: int


@dataclass(frozen=True)
class JournalCall:
    """A call of a driver; `printed` bytes of the log were written before it, `result` is None if it did not return.

    Of its `changes` the first `lost` are not kept.
    """

    function: VirtualAddress
    caller: VirtualAddress
    arguments: tuple[int, ...]
    result: int | None
    printed: int
    changes: tuple[JournalChange, ...] = ()
    lost: int = 0


@dataclass(frozen=True)
class Journal:
    """The calls in the order they were made; the first `lost` of all are not kept."""

    calls: tuple[JournalCall, ...]
    lost: int


def read_journal(guest: Guest) -> Journal:
    """Read what the kernel noted since the journal was opened.

    Entries are kept in the order they were written, each as often as it was.
    """
    journal = guest.variable("lab_journal")
    changes: dict[int, list[JournalChange]] = {}
    for each in _kept(journal, "change", journal["change_count"]).values():
        changes.setdefault(each["call"], []).append(_change(each))
    calls = _kept(journal, "call", journal["call_count"])
    return Journal(
        tuple(_call(each, changes.get(number, [])) for number, each in calls.items()),
        journal["call_count"] - len(calls),
    )


def _kept(journal: StructView, path: str, count: int) -> dict[int, StructView]:
    """The elements that a ring still holds, by the numbers they have from 1 on, the oldest first."""
    room = journal.field(path)[0].type.count
    numbers = range(max(1, count - room + 1), count + 1)
    return {number: journal.element(path, (number - 1) % room) for number in numbers}


def _change(view: StructView) -> JournalChange:
    return JournalChange(
        Level(view["level"]), PhysicalAddress(view["entry"]), VirtualAddress(view["address"]), view["old"], view["new"]
    )


def _call(view: StructView, changes: list[JournalChange]) -> JournalCall:
    return JournalCall(
        VirtualAddress(view["function"]),
        VirtualAddress(view["caller"]),
        view.array("argument"),
        view["result"] if view["ended"] else None,
        view["printed"],
        tuple(changes),
        view["changes"] - len(changes),
    )
