"""Every table of an address space, found from the root down, and what happens where tables meet twice.

Tables may point anywhere: at themselves (a self map), in circles, at one table from many entries, outside of RAM. So
the search follows every way down from the root with two exceptions, and reports what it does not follow as
`Unfollowed`, never silently:

* an entry that points to a table on its own way down. The region behind it shows the tables themselves as pages; that
  is Windows' self map, and any other circle looks the same.
* a table that was already reached `MAX_WAYS` times at one level. Some systems let thousands of entries share one
  table of zeros; all ways through such tables are more than anybody can list.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import NoMemoryAt
from lab.memory.protocol import Memory
from lab.paging.rules import LevelRules, Rules, rules_of
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import ADDRESS_MASK, Entry
from lab.x86.levels import Level

if TYPE_CHECKING:
    from lab.x86.state import PagingState

__all__ = ["tables", "TableInfo", "TableUse", "Survey", "Way", "Unfollowed", "Kind", "survey", "MAX_WAYS"]

MAX_WAYS = 8
"""How often one table is followed at one level."""


class Kind(Enum):
    """What stands behind a range of addresses."""

    PAGE = "page"
    SELF_MAP = "self map"
    SHARED = "shared table"
    NO_MEMORY = "table outside of RAM"
    RESERVED = "reserved bit"

    def __str__(self) -> str:
        return self.value


class Way(NamedTuple):
    """One way from the root to a table: where it lies, what it covers, and what the entries above allow."""

    rules: LevelRules
    table: PhysicalAddress
    base: int
    """The first virtual address that the table translates on this way."""
    every: int
    """AND of the entries above."""
    some: int
    """OR of the entries above."""
    entry_address: PhysicalAddress | None
    """The entry that points here; None for the root."""
    above: frozenset[int]
    """The tables passed on the way, this one included."""
    circular: bool
    """Whether a table was passed twice: the table is seen as a page, through a self map."""
    content: bytes


class Unfollowed(NamedTuple):
    """A present entry behind which the search did not look, and why."""

    kind: Kind
    level: LevelRules
    start: int
    every: int
    some: int
    entry: int
    entry_address: PhysicalAddress


class Survey(NamedTuple):
    """All ways to all tables, in the order of the addresses they cover, and the entries not followed."""

    rules: Rules
    ways: list[Way]
    unfollowed: list[Unfollowed]


class TableUse(NamedTuple):
    """One place where a table is used: its level there, the first address it covers, the entry that points to it."""

    level: Level
    base: VirtualAddress
    parent: PhysicalAddress | None


class TableInfo(NamedTuple):
    """A table and all its uses; the usual table has just one."""

    address: PhysicalAddress
    uses: tuple[TableUse, ...]
    self_entries: tuple[PhysicalAddress, ...]
    """Entries that point here from below or from here: those of a self map."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels at which the table is used, the highest first."""
        return tuple(sorted({use.level for use in self.uses}, reverse=True))

    @property
    def bases(self) -> tuple[VirtualAddress, ...]:
        """The first address of each range that the table covers."""
        return tuple(use.base for use in self.uses)

    @property
    def parents(self) -> tuple[PhysicalAddress, ...]:
        """The addresses of all entries that point to the table, those of a self map last."""
        parents = [use.parent for use in self.uses if use.parent is not None]
        return tuple(dict.fromkeys([*parents, *self.self_entries]))


def tables(memory: Memory, state: PagingState, root: PhysicalAddress | None = None) -> dict[PhysicalAddress, TableInfo]:
    """Every table of an address space, by its physical address.

    A self map lets each table be used at lower levels too, and the last of these uses is as a page. Such uses follow
    from the usual ones and are not listed: `uses` holds the ways on which no table is passed twice, at most `MAX_WAYS`
    for each level, and the self map's own entry stands in `self_entries` of the root. NoMemoryAt when the root is
    outside of RAM; other tables outside of RAM are left out.

    >>> from lab.memory import MadeUpSpace
    >>> space = MadeUpSpace()
    >>> space.map(0x400000, 0x600000, size=2 << 20)
    >>> space.self_map()
    >>> for info in tables(space.memory, space.state).values():
    ...     print(info.address, *info.levels, *info.bases, *info.parents)
    pa:0x0000100000 PML4 0x0000000000000000 pa:0x0000100f68
    pa:0x0000101000 PDPT 0x0000000000000000 pa:0x0000100000
    pa:0x0000102000 PD 0x0000000000000000 pa:0x0000101000
    """
    found = survey(memory, state, root)
    uses: dict[PhysicalAddress, list[TableUse]] = {}
    for way in found.ways:
        use = TableUse(way.rules.level, VirtualAddress(way.base), way.entry_address)
        uses.setdefault(way.table, []).append(use)
    self_entries: dict[int, list[PhysicalAddress]] = {}
    for stop in found.unfollowed:
        if stop.kind is Kind.SELF_MAP:
            self_entries.setdefault(stop.entry & ADDRESS_MASK, []).append(stop.entry_address)
    return {
        table: TableInfo(table, tuple(places), tuple(self_entries.get(table, ()))) for table, places in uses.items()
    }


def survey(
    memory: Memory,
    state: PagingState,
    root: PhysicalAddress | None = None,
    *,
    through_circles: bool = False,
) -> Survey:
    """Find every way to every table; with `through_circles` the ways through a self map as well.

    Its cost is bounded by `MAX_WAYS` times the number of tables and levels, whatever the tables hold. NoMemoryAt when
    the root is outside of RAM.
    """
    search = _Search(memory, rules_of(state), through_circles)
    table = state.root if root is None else root
    top = search.rules.levels[0]
    content = memory.read(table, top.table_size)
    search.follow(Way(top, table, 0, -1, 0, None, frozenset((int(table),)), False, content), 0)
    return Survey(search.rules, search.ways, search.unfollowed)


class _Search:
    """The recursion of `survey`, at most as deep as there are levels."""

    def __init__(self, memory: Memory, rules: Rules, through_circles: bool) -> None:
        self.memory = memory
        self.rules = rules
        self.through_circles = through_circles
        self.ways: list[Way] = []
        self.unfollowed: list[Unfollowed] = []
        self._counts: Counter[tuple[int, int]] = Counter()

    def follow(self, way: Way, depth: int) -> None:
        """Note a way and go down behind each of its entries."""
        self.ways.append(way)
        if way.rules.level == Level.PT:
            return
        for index, entry in _tables_in(way.content, way.rules):
            start = self.rules.canonical(way.base + (index << way.rules.shift))
            place = way.table + way.rules.entry_size * index
            child = self._child(way, start, entry, place, self.rules.levels[depth + 1])
            if isinstance(child, Way):
                self.follow(child, depth + 1)
            else:
                self.unfollowed.append(child)

    def _child(
        self, way: Way, start: int, entry: int, entry_address: PhysicalAddress, below: LevelRules
    ) -> Way | Unfollowed:
        """The way through one entry, or why there is none."""
        table = Entry(entry).frame_address()
        every, some = way.every & (entry | way.rules.implied), way.some | entry

        def stop(kind: Kind) -> Unfollowed:
            return Unfollowed(kind, way.rules, start, every, some, entry, entry_address)

        if entry & way.rules.reserved_in_table:
            return stop(Kind.RESERVED)
        circular = table in way.above
        if circular and not self.through_circles:
            return stop(Kind.SELF_MAP)
        if self._counts[below.level, table] == MAX_WAYS:
            return stop(Kind.SHARED)
        try:
            content = self.memory.read(table, below.table_size)
        except NoMemoryAt:
            return stop(Kind.NO_MEMORY)
        self._counts[below.level, table] += 1
        above = way.above | {int(table)}
        circular = circular or way.circular
        return Way(below, table, start, every, some, entry_address, above, circular, content)


@lru_cache(maxsize=1024)
def _tables_in(content: bytes, rules: LevelRules) -> tuple[tuple[int, int], ...]:
    """Index and value of each present entry that is no leaf; most tables have not changed since they were last seen."""
    entries = enumerate(rules.unpack(content))
    return tuple((index, entry) for index, entry in entries if entry & 1 and not entry & rules.leaf_mask)
