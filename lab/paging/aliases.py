"""All virtual addresses of one physical address."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from lab.memory.protocol import Memory
from lab.paging.rights import Grant, Rights
from lab.paging.rules import Rules
from lab.paging.tables import Kind, Way, survey
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import Entry
from lab.x86.levels import Level
from lab.x86.registers import MemoryType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.x86.state import PagingState

__all__ = ["aliases_of", "Aliases", "Alias"]


class Alias(NamedTuple):
    """One virtual address of the frame, with the page it lies in and the leaf entry that maps it.

    `kind` is PAGE, or SELF_MAP where a page table is seen as a page.
    """

    address: VirtualAddress
    page_size: int
    supervisor: Rights
    user: Rights
    memory_type: MemoryType
    is_global: bool
    kind: Kind
    entry: Entry
    entry_address: PhysicalAddress


class Aliases(NamedTuple):
    """All aliases of a physical address, by virtual address, and what is wrong with them, a sentence each."""

    physical: PhysicalAddress
    aliases: tuple[Alias, ...]
    warnings: tuple[str, ...]


def aliases_of(
    memory: Memory,
    state: PagingState,
    physical: PhysicalAddress,
    root: PhysicalAddress | None = None,
) -> Aliases:
    """Every virtual address that leads to `physical`, through 4 KiB and large pages and through a self map.

    It warns of aliases with unlike memory types, of a page that can be written at one address and executed at another,
    and of tables that are shared too often for all their addresses to be listed. NoMemoryAt when the root is outside
    of RAM.

    >>> from lab.memory import MadeUpSpace
    >>> space = MadeUpSpace()
    >>> space.map(0x5000, 0x12A000, "rw-")
    >>> space.map(0x40000000, 0, "r-x", size=1 << 30)
    >>> found = aliases_of(space.memory, space.state, PhysicalAddress(0x12A010))
    >>> for alias in found.aliases:
    ...     print(alias.address, alias.supervisor, alias.page_size)
    0x0000000000005010 rw- 4096
    0x000000004012a010 r-x 1073741824
    >>> found.warnings
    ('writable at 0x0000000000005010 and executable at 0x000000004012a010',)
    """
    found = survey(memory, state, root, through_circles=True)
    aliases = [alias for way in found.ways for alias in _aliases_by(found.rules, way, physical)]
    aliases.sort(key=itemgetter(0))
    warnings = _unlike_types(aliases) + _writable_code(aliases)
    for stop in found.unfollowed:
        if stop.kind is Kind.SHARED:
            table = Entry(stop.entry).frame_address()
            place = f"{table}, reached once more at {VirtualAddress(stop.start)}"
            warnings.append(f"not all aliases are listed: too many ways lead to the table at {place}")
            break
    return Aliases(physical, tuple(aliases), tuple(warnings))


def _aliases_by(rules: Rules, way: Way, physical: PhysicalAddress) -> Iterator[Alias]:
    """The aliases that the leaves of one table make."""
    level = way.rules
    if not level.leaf_mask:
        return
    wanted = level.leaf_for(physical)
    if level.physical(wanted, physical) != physical:
        return  # beyond what an entry can name
    # In a PT, bytes 2 to 5 (or 2 and 3) of an entry are all address: most tables are sorted out by this alone.
    if level.level == Level.PT and wanted.to_bytes(level.entry_size, "little")[2:6] not in way.content:
        return
    wanted |= 1 | level.leaf_mask
    mask = level.leaf_address | level.leaf_address_high | 1 | level.leaf_mask
    for index, entry in enumerate(level.unpack(way.content)):
        if entry & mask != wanted or entry & level.reserved_in_leaf:
            continue
        supervisor, user = rules.rights[Grant.of(way.every & entry, way.some | entry)]
        page = rules.canonical(way.base + (index << level.shift))
        yield Alias(
            address=VirtualAddress(page + (physical & level.page_size - 1)),
            page_size=level.page_size,
            supervisor=supervisor,
            user=user,
            memory_type=rules.memory_type(entry, level),
            is_global=entry & Entry.global_.mask != 0 and rules.state.cr4.pge,
            kind=Kind.SELF_MAP if way.circular else Kind.PAGE,
            entry=Entry(entry),
            entry_address=way.table + level.entry_size * index,
        )


def _unlike_types(aliases: list[Alias]) -> list[str]:
    """Aliases must agree on the memory type: Intel SDM vol. 3A, "Programming the PAT"."""
    first = {alias.memory_type: alias for alias in reversed(aliases)}
    if len(first) < 2:
        return []
    places = ", ".join(f"{kind} at {alias.address}" for kind, alias in first.items())
    return [f"unlike memory types: {places}"]


def _writable_code(aliases: list[Alias]) -> list[str]:
    """Rights that no alias has by itself, but all have together."""
    sentences = []
    for who in ("supervisor", "user"):
        rights = [(alias.address, getattr(alias, who)) for alias in aliases]
        if any(right.write and right.execute for _, right in rights):
            continue
        writable = next((address for address, right in rights if right.write), None)
        executable = next((address for address, right in rights if right.execute), None)
        if writable is not None and executable is not None:
            sentences.append(f"writable at {writable} and executable at {executable}")
    return list(dict.fromkeys(sentences))
