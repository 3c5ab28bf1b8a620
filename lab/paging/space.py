"""The map of a whole address space: which ranges lead where, with which rights."""

from __future__ import annotations

from heapq import merge
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from lab.memory.protocol import Memory
from lab.paging.rights import Grant, Rights, grant_bits
from lab.paging.rules import LevelRules, Rules
from lab.paging.tables import Kind, Survey, Unfollowed, Way, survey
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import Entry
from lab.x86.registers import MemoryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from lab.x86.state import PagingState

    Numbers = NDArray[np.uint64]

__all__ = ["map_space", "leaves", "Mapping"]


class Mapping(NamedTuple):
    """A run of pages with equal rights and contiguous frames; `end` is the first address after it.

    The rights are effective, over all levels and control bits, RFLAGS.AC being clear. `kind` is PAGE for pages. The
    other kinds are ranges which the map does not look into, and then `page_size` is what one entry covers, `physical`
    the table that the (first) entry points to, and the rights are the most that anything behind it can have. `entry`
    and `entry_address` are set where a row stands for just one entry.
    """

    start: VirtualAddress
    end: VirtualAddress
    physical: PhysicalAddress
    page_size: int
    supervisor: Rights
    user: Rights
    memory_type: MemoryType
    is_global: bool
    kind: Kind = Kind.PAGE
    entry: Entry | None = None
    entry_address: PhysicalAddress | None = None

    @property
    def size(self) -> int:
        """Bytes of address space."""
        return self.end - self.start

    @property
    def leaves(self) -> int:
        """How many leaf entries make up the row: its pages, and 0 where it has none."""
        return self.size // self.page_size if self.kind is Kind.PAGE else 0


def map_space(memory: Memory, state: PagingState, root: PhysicalAddress | None = None) -> list[Mapping]:
    """Everything that is mapped in an address space, contiguous pages with equal rights in one row, by address.

    Each table is decoded once for each way that leads to it (see `lab.paging.tables`); a self map is one row of kind
    SELF_MAP, and other entries that are present but lead to no page are rows of their own kinds too. NoMemoryAt when
    the root is outside of RAM, UsageError when paging is off.

    >>> from lab.memory import MadeUpSpace
    >>> space = MadeUpSpace()
    >>> for page in range(3):
    ...     space.map(0x5000 + 0x1000 * page, 0x12A000 + 0x1000 * page, "rw-")
    >>> space.self_map()
    >>> for row in map_space(space.memory, space.state):
    ...     print(row.start, row.end, row.physical, row.supervisor, row.user, row.kind)
    0x0000000000005000 0x0000000000008000 pa:0x000012a000 rw- --- page
    0xfffff68000000000 0xfffff70000000000 pa:0x0000100000 rw- --- self map
    """
    found = survey(memory, state, root)
    rows = [row for level in _leaves_by_level(found) for row in _runs(found.rules, level)]
    rows += _merged(_unfollowed_row(found.rules, stop) for stop in found.unfollowed)
    rows.sort(key=itemgetter(0))
    return rows


def leaves(memory: Memory, state: PagingState, root: PhysicalAddress | None = None) -> Iterator[Mapping]:
    """Every leaf of an address space as a row with its entry, by address; what `map_space` merges.

    Entries that lead to no page are rows too, as in `map_space`.

    >>> from lab.memory import MadeUpSpace
    >>> space = MadeUpSpace()
    >>> space.map(0x5000, 0x12A000, "rw-")
    >>> for row in leaves(space.memory, space.state):
    ...     print(row.start, row.physical, hex(row.entry), row.entry_address)
    0x0000000000005000 pa:0x000012a000 0x800000000012a003 pa:0x0000103028
    """
    found = survey(memory, state, root)
    streams = [_single_rows(found.rules, level) for level in _leaves_by_level(found)]
    unfollowed = (_unfollowed_row(found.rules, stop) for stop in found.unfollowed)
    return merge(*streams, unfollowed, key=itemgetter(0))


# What a leaf says besides its addresses, packed into one small number so that runs are found by comparing it:
# bits 2:0 Grant, 5:3 PAT index, 6 global, 7 reserved bit set.
_PAT, _GLOBAL, _RESERVED = 3, 6, 7


class _Leaves(NamedTuple):
    """All leaves of one level as columns, by address."""

    level: LevelRules
    start: Numbers
    physical: Numbers
    says: Numbers
    entry: Numbers
    entry_address: Numbers


def _leaves_by_level(found: Survey) -> list[_Leaves]:
    """Decode the tables of each level that can hold leaves, all at once."""
    by_level = [(level, [way for way in found.ways if way.rules is level]) for level in found.rules.levels]
    return [_decode(found.rules, level, ways) for level, ways in by_level if ways and level.leaf_mask]


def _decode(rules: Rules, level: LevelRules, ways: list[Way]) -> _Leaves:
    import numpy as np

    def column(values: Iterable[int]) -> Numbers:
        return np.fromiter((value & (1 << 64) - 1 for value in values), np.uint64, len(ways))

    raw = np.frombuffer(b"".join(way.content for way in ways), f"<u{level.entry_size}")
    content: Numbers = raw.astype(np.uint64, copy=False)
    where = np.flatnonzero((content & 1 != 0) & (content & level.leaf_mask != 0))
    entry = content[where]
    way, index = where // level.entries, (where % level.entries).astype(np.uint64)
    every, some = column(way.every for way in ways)[way] & entry, column(way.some for way in ways)[way] | entry
    pat = entry >> 3 & 3 | entry >> level.pat_shift & 4
    says: Numbers = np.asarray(grant_bits(every, some) | pat << _PAT, np.uint64)
    if rules.state.cr4.pge:
        says |= (entry >> Entry.global_.number & 1) << _GLOBAL
    says |= (entry & level.reserved_in_leaf != 0).astype(np.uint64) << _RESERVED
    return _Leaves(
        level,
        start=column(way.base for way in ways)[way] + (index << level.shift),
        physical=np.asarray(level.physical(entry, 0), np.uint64),
        says=says,
        entry=entry,
        entry_address=column(way.table for way in ways)[way] + index * level.entry_size,
    )


def _runs(rules: Rules, leaves: _Leaves) -> Iterator[Mapping]:
    """A row for each run of leaves that go on in both address spaces and say the same."""
    import numpy as np

    size = leaves.level.page_size
    goes_on = leaves.start[1:] - leaves.start[:-1] == size
    goes_on &= leaves.physical[1:] - leaves.physical[:-1] == size
    goes_on &= leaves.says[1:] == leaves.says[:-1]
    first = np.concatenate(([0], np.flatnonzero(~goes_on) + 1))[: len(leaves.start)]
    counts = np.diff(first, append=len(leaves.start))
    columns = (leaves.start[first], leaves.physical[first], leaves.says[first], counts)
    meanings = _Meanings(rules, leaves.level)
    for start, physical, says, count in zip(*(column.tolist() for column in columns), strict=True):
        end = VirtualAddress(start + count * size)
        yield Mapping(VirtualAddress(start), end, PhysicalAddress(physical), *meanings[says])


def _single_rows(rules: Rules, leaves: _Leaves) -> Iterator[Mapping]:
    """A row for each leaf, with its entry."""
    size = leaves.level.page_size
    columns = (leaves.start, leaves.physical, leaves.says, leaves.entry, leaves.entry_address)
    meanings = _Meanings(rules, leaves.level)
    for start, physical, says, entry, place in zip(*(column.tolist() for column in columns), strict=True):
        end = VirtualAddress(start + size)
        frame = PhysicalAddress(physical)
        yield Mapping(VirtualAddress(start), end, frame, *meanings[says], Entry(entry), PhysicalAddress(place))


class _Meanings(dict[int, tuple[int, Rights, Rights, MemoryType, bool, Kind]]):
    """What a `says` stands for: the fields of a Mapping from `page_size` to `kind`; few different ones occur."""

    def __init__(self, rules: Rules, level: LevelRules) -> None:
        self.rules = rules
        self.level = level

    def __missing__(self, says: int) -> tuple[int, Rights, Rights, MemoryType, bool, Kind]:
        reserved = says >> _RESERVED & 1
        supervisor, user = (Rights(0), Rights(0)) if reserved else self.rules.rights[says & 7]
        memory_type = self.rules.memory_types[says >> _PAT & 7]
        kind = Kind.RESERVED if reserved else Kind.PAGE
        self[says] = self.level.page_size, supervisor, user, memory_type, says >> _GLOBAL & 1 != 0, kind
        return self[says]


def _unfollowed_row(rules: Rules, stop: Unfollowed) -> Mapping:
    reachable = stop.kind in {Kind.SELF_MAP, Kind.SHARED}
    supervisor, user = rules.rights[Grant.of(stop.every, stop.some)]
    return Mapping(
        start=VirtualAddress(stop.start),
        end=VirtualAddress(stop.start + stop.level.page_size),
        physical=Entry(stop.entry).frame_address(),
        page_size=stop.level.page_size,
        supervisor=supervisor if reachable else Rights(0),
        user=user if reachable else Rights(0),
        memory_type=rules.memory_types[stop.entry >> 3 & 3],
        is_global=False,
        kind=stop.kind,
        entry=Entry(stop.entry),
        entry_address=stop.entry_address,
    )


def _merged(rows: Iterator[Mapping]) -> Iterator[Mapping]:
    """Join neighbours that point to the same table or are bad in the same way: they come in thousands or not at all."""
    last: Mapping | None = None
    for row in rows:
        if last is not None and last.end == row.start and _alike(last, row):
            last = last._replace(end=row.end, entry=None, entry_address=None)
            continue
        if last is not None:
            yield last
        last = row
    if last is not None:
        yield last


def _alike(row: Mapping, other: Mapping) -> bool:
    same_table = row.physical == other.physical or row.kind is Kind.RESERVED
    return same_table and row[3:9] == other[3:9] and row.kind is not Kind.SELF_MAP
