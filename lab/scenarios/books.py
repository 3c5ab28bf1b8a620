"""What the guest has in use, to be compared before and after: nothing may be left over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lab.kernel.frames import read_frames
from lab.kernel.mdl import read_mdls
from lab.kernel.pool import read_pool
from lab.snapshot import Snapshot
from lab.snapshot.changes import EntryChange, TableImage, capture, diff
from lab.views.report import Cell, Column, Report, Role, Table

__all__ = ["Books"]


class Books(NamedTuple):
    """What is in use at one moment, by name, and all page tables."""

    counts: Mapping[str, int]
    tables: TableImage

    @classmethod
    def of(cls, snapshot: Snapshot) -> Books:
        """Count everything; the guest must stand still."""
        guest = snapshot.guest
        locations, pool = read_frames(guest).locations, read_pool(guest)
        tables = capture(snapshot.memory, snapshot.state)
        counts = {
            "frames available": locations.get("Free", 0) + locations.get("Zeroed", 0),
            "page tables": len(tables.tables),
            "pool allocations": len(pool.allocations),
            "pool bytes": sum(each.size for each in pool.allocations),
            "MDLs": len(read_mdls(guest).mdls),
        }
        return cls(counts, tables)

    def left_since(self, before: Books, snapshot: Snapshot) -> tuple[EntryChange, ...]:
        """The page-table entries that are not what they were, those apart where the CPU only noted a use."""
        changes = diff(before.tables, self.tables, snapshot.state)
        return tuple(change for change in changes if not change.only_noted)

    def report(self, before: Books) -> Report:
        """Both side by side."""
        rows = tuple(
            (Cell(name), Cell(str(before.counts[name]), Role.NUMBER), Cell(str(value), Role.NUMBER))
            for name, value in self.counts.items()
        )
        table = Table((Column("in use"), Column("before", right=True), Column("after", right=True)), rows)
        return Report("lab.books/1", {"before": dict(before.counts), "after": dict(self.counts)}, (table,))
