"""What changed in the page tables between two moments.

`capture` keeps all tables of an address space, `diff` compares two captures entry by entry. A table that is new counts
as all zero before, one that is gone as all zero after: what matters is what the address space has, not what is left
in a frame that nobody points to.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError
from lab.paging.rules import rules_of
from lab.paging.tables import survey
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import ADDRESS_MASK, Entry
from lab.x86.levels import Level

if TYPE_CHECKING:
    from lab.memory import Memory
    from lab.x86.state import PagingState

__all__ = ["TableImage", "EntryChange", "capture", "recapture", "diff", "entry_change"]

_MAGIC = b"LABTABLES2"


class Table(NamedTuple):
    """The bytes of a table, and each level at which it is used with the first address it covers there."""

    uses: tuple[tuple[Level, int], ...]
    content: bytes


class TableImage(NamedTuple):
    """All page tables of one address space at one moment, by their physical addresses."""

    root: PhysicalAddress
    tables: Mapping[int, Table]

    def to_bytes(self) -> bytes:
        """A compact form for a file; `from_bytes` reads it."""
        places = [[address, len(table.content), *sum(table.uses, ())] for address, table in self.tables.items()]
        head = json.dumps({"root": int(self.root), "tables": places}).encode()
        body = b"".join(table.content for table in self.tables.values())
        return _MAGIC + zlib.compress(len(head).to_bytes(4, "little") + head + body, 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> TableImage:
        """The inverse of `to_bytes`; LabError when the bytes are not what that wrote."""
        try:
            plain = zlib.decompress(data[len(_MAGIC) :] if data.startswith(_MAGIC) else b"")
            size = 4 + int.from_bytes(plain[:4], "little")
            head, body = json.loads(plain[4:size]), plain[size:]
            tables, at = {}, 0
            for address, length, *uses in head["tables"]:
                places = tuple((Level(uses[i]), int(uses[i + 1])) for i in range(0, len(uses), 2))
                tables[int(address)] = Table(places, bytes(struct.unpack_from(f"{length}s", body, at)[0]))
                at += length
            return cls(PhysicalAddress(head["root"]), tables)
        except (ValueError, KeyError, TypeError, IndexError, struct.error, zlib.error) as error:
            raise LabError(f"this is not a capture of page tables: {error}") from error


@dataclass(frozen=True)
class EntryChange:
    """One entry that is not what it was.

    `start` to `end` (exclusive) are the virtual addresses it covers; `also_at` are the starts of further ranges, where
    its table is used more than once. `set` and `cleared` name the bits; `moved` says that it points elsewhere.
    """

    level: Level
    entry_address: PhysicalAddress
    index: int
    start: VirtualAddress
    end: VirtualAddress
    also_at: tuple[VirtualAddress, ...]
    old: Entry
    new: Entry
    leaf: bool
    set: tuple[str, ...]
    cleared: tuple[str, ...]
    moved: bool

    @property
    def kind(self) -> str:
        """One of "created" and "removed" (of present entries), "changed", "software" (it was and is not present)."""
        if self.old.present and self.new.present:
            return "changed"
        if self.new.present:
            return "created"
        return "removed" if self.old.present else "software"

    @property
    def only_noted(self) -> bool:
        """Whether nothing but A and D changed: the CPU noted a use, nobody edited the entry."""
        noted = Entry.accessed.mask | Entry.dirty.mask
        return self.kind == "changed" and not (self.old ^ self.new) & ~noted


def capture(memory: Memory, state: PagingState, root: PhysicalAddress | None = None) -> TableImage:
    """Copy every table that can be reached from the root; NoMemoryAt when the root itself is outside of RAM."""
    tables: dict[int, Table] = {}
    for way in survey(memory, state, root).ways:
        use = (way.rules.level, way.base)
        known = tables.get(int(way.table))
        content = max(known.content, way.content, key=len) if known else way.content
        tables[int(way.table)] = Table((*known.uses, use) if known else (use,), content)
    return TableImage(state.root if root is None else root, tables)


def recapture(memory: Memory, state: PagingState, before: TableImage) -> TableImage:
    """Capture again; `before` itself, at a tenth of the cost, when no byte of its tables has changed since."""
    unchanged = before.root == state.root and all(
        memory.read(PhysicalAddress(address), len(table.content)) == table.content
        for address, table in before.tables.items()
    )
    return before if unchanged else capture(memory, state)


def diff(before: TableImage, after: TableImage, state: PagingState) -> tuple[EntryChange, ...]:
    """Every entry that differs, the highest level first and then by address; `state` says which entries are leaves."""
    if before is after:
        return ()
    found: list[EntryChange] = []
    for address in before.tables.keys() | after.tables.keys():
        old, new = before.tables.get(address), after.tables.get(address)
        if old and new and old.content == new.content and old.uses == new.uses:
            continue
        found.extend(_table_changes(PhysicalAddress(address), old, new, state))
    return tuple(sorted(found, key=lambda change: (-change.level, change.start, change.entry_address)))


def _table_changes(
    address: PhysicalAddress, old: Table | None, new: Table | None, state: PagingState
) -> Iterator[EntryChange]:
    """The changes of one table, for each level at which it is or was used."""
    uses = dict.fromkeys((*(new.uses if new else ()), *(old.uses if old else ())))
    for level in dict.fromkeys(level for level, _ in uses):
        rules = rules_of(state).level(level)
        # At a level where the table was not used before, its old entries did not count, and the other way round.
        before, after = (
            table.content[: rules.table_size]
            if table and any(level == each for each, _ in table.uses)
            else bytes(rules.table_size)
            for table in (old, new)
        )
        bases = [base for each, base in uses if each == level]
        if before == after:
            continue
        for index, (was, now) in enumerate(zip(rules.unpack(before), rules.unpack(after), strict=True)):
            if was != now:
                yield entry_change(level, address, index, bases, (Entry(was), Entry(now)), state=state)


def entry_change(
    level: Level,
    table: PhysicalAddress,
    index: int,
    bases: list[int],
    values: tuple[Entry, Entry],
    *,
    state: PagingState,
) -> EntryChange:
    """Describe the change of entry `index` of a table: `bases` are the first addresses that the table covers."""
    old, new = values
    rules = rules_of(state)
    here = rules.level(level)
    starts = [VirtualAddress(rules.canonical(base + (index << here.shift))) for base in bases]
    was_leaf, is_leaf = (bool(each & here.leaf_mask) for each in (old, new))
    was = old.flags(level, leaf=was_leaf, keys=rules.keys)
    now = new.flags(level, leaf=is_leaf, keys=rules.keys)
    unnamed = _unnamed(old, new, level) if old.present and new.present else ()
    return EntryChange(
        level=level,
        entry_address=table + here.entry_size * index,
        index=index,
        start=starts[0],
        end=starts[0] + here.page_size,
        also_at=tuple(starts[1:]),
        old=old,
        new=new,
        leaf=is_leaf if new.present else was_leaf,
        set=tuple(name for name in now if name not in was) + tuple(name for bit, name in unnamed if new & bit),
        cleared=tuple(name for name in was if name not in now) + tuple(name for bit, name in unnamed if old & bit),
        moved=old.present and new.present and bool((old ^ new) & ADDRESS_MASK),
    )


def _unnamed(old: Entry, new: Entry, level: Level) -> tuple[tuple[int, str], ...]:
    """The bits that changed although they have no name at this level: software's, or ignored ones."""
    named = ADDRESS_MASK | (0x1FF if level == Level.PT else 0x1BF) | Entry.no_execute.mask | Entry.key.mask
    changed = (old ^ new) & ~named
    return tuple((1 << bit, f"bit {bit}") for bit in range(64) if changed >> bit & 1)
