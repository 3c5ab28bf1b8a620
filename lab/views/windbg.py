"""The walk as WinDbg's ``!pte`` prints it (Microsoft's "Debugger commands", !pte).

::

                                               VA fffff88000004010
    PXE at FFFFF6FB7DBEDF88    PPE at FFFFF6FB7DBF1000    PDE at FFFFF6FB7E200000    PTE at FFFFF6FC40000020
    contains 00000000001AB863  contains 00000000001AC863  contains 00000000001AD863  contains 800000000012A963
    pfn 1ab       ---DA--KWEV  pfn 1ac       ---DA--KWEV  pfn 1ad       ---DA--KWEV  pfn 12a       -G-DA--KW-V

The entries are shown at their self-map addresses. As there, the flags of a level are its own bits, not what all levels
allow together: CopyOnWrite Global Large Dirty Accessed N(cache disabled) T(write through) User/Kernel Write/Read
Execute Valid.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.memory import read_table
from lab.x86.entry import ADDRESS_MASK, Entry
from lab.x86.levels import ENTRIES, Level

if TYPE_CHECKING:
    from lab.memory import Memory
    from lab.paging import Step, Walk
    from lab.x86.address import PhysicalAddress

__all__ = ["windbg_lines", "self_map_slot"]

NAMES = {Level.PML4: "PXE", Level.PDPT: "PPE", Level.PD: "PDE", Level.PT: "PTE"}
WIDTH = 27


def windbg_lines(memory: Memory, walk: Walk) -> list[str]:
    """The four lines of ``!pte``; UsageError where it has none to copy: for other than four levels, or no self map."""
    if walk.levels != len(NAMES):
        guest = {2: "two", 3: "three", 5: "five; what !pte prints of those is not documented"}[walk.levels]
        raise UsageError(f"--style windbg knows four levels of tables, and this guest has {guest}")
    slot = self_map_slot(memory, walk.root)
    if slot is None:
        raise UsageError("--style windbg needs a self map, and no entry of this root table points back to it")
    places = [f"{name} at {_entry_address(walk, level, slot):016X}" for level, name in NAMES.items()]
    contains = [f"contains {step.entry:016X}" for step in walk.steps]
    says = [_says(step) for step in walk.steps]
    last = walk.steps[-1] if walk.steps else None
    tail = []
    if last is None:
        tail = ["not canonical"]
    elif last.leaf and last.level > Level.PT:
        contains.append(f"contains {0:016X}")
        page = last.level.page_size
        frame = (last.entry.frame_address(page) + walk.address.offset(page)).frame  # whatever reserved bits say
        says.append(f"LARGE PAGE pfn {frame:x}")
    elif last.level > Level.PT:
        # The entry that ends the walk is said a second time, and the verdict has a line of its own.
        says[-1], tail = contains[-1], ["not valid"]
    return ["VA".rjust(45) + f" {int(walk.address):016x}", *map(_joined, (places, contains, says)), *tail]


def self_map_slot(memory: Memory, root: PhysicalAddress) -> int | None:
    """Which entry of the root table points back to it; None when none does."""
    entries = struct.unpack(f"<{ENTRIES}Q", read_table(memory, root))
    return next((i for i, entry in enumerate(entries) if entry & 1 and entry & ADDRESS_MASK == root), None)


def _entry_address(walk: Walk, level: Level, slot: int) -> int:
    """Where the self map shows the entry of the walked address: each turn through the slot saves one level."""
    address = int(walk.address) & (1 << 48) - 1
    for _ in range(level):
        address = slot << 39 | (address >> 9 & ~7 & (1 << 39) - 1)
    return address | 0xFFFF << 48 if address >> 47 else address


def _says(step: Step) -> str:
    if not step.entry.present:
        return "not valid"
    return f"pfn {step.entry.frame_address().frame:<9x} {_flags(step.entry, large=step.leaf and step.level > 1)}"


def _flags(entry: Entry, *, large: bool) -> str:
    letters = [
        (entry >> 9 & 1, "C", "-"),
        (entry.global_, "G", "-"),
        (large, "L", "-"),
        (entry.dirty, "D", "-"),
        (entry.accessed, "A", "-"),
        (entry.cache_disable, "N", "-"),
        (entry.write_through, "T", "-"),
        (entry.user, "U", "K"),
        (entry.writable, "W", "R"),
        (entry.no_execute, "-", "E"),
        (entry.present, "V", "-"),
    ]
    return "".join(on if is_set else off for is_set, on, off in letters)


def _joined(parts: list[str]) -> str:
    return "".join(part.ljust(WIDTH) for part in parts).rstrip()
