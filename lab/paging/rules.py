"""What one paging state makes of an entry: where leaves may be, and which bits must be zero.

Intel SDM vol. 3A, "4-Level Paging and 5-Level Paging" (the formats of entries) and "Reserved Bits".
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import UsageError
from lab.paging.rights import Grant, Rights, supervisor_rights, user_rights
from lab.x86.entry import ADDRESS_MASK, Entry
from lab.x86.levels import Level, size_text
from lab.x86.registers import MemoryType
from lab.x86.state import PagingState

if TYPE_CHECKING:
    from lab.paging.judge import Flag, Number

__all__ = ["Rules", "LevelRules", "rules_of", "leaf_mask", "reserved_mask", "reserved_reason"]

PHYSICAL_BITS = 52
AMD_TOP_RESERVED = 1 << 8


def leaf_mask(state: PagingState, level: Level) -> int:
    """The bit that makes a present entry at `level` a leaf: PS, P itself in a PT, 0 where none can be.

    >>> [leaf_mask(PagingState(gib_pages=False), level) for level in Level]
    [1, 128, 0, 0, 0]
    """
    if level == Level.PT:
        return Entry.present.mask
    if level == Level.PD or (level == Level.PDPT and state.gib_pages):
        return Entry.page_size.mask
    return 0


def reserved_mask(state: PagingState, level: Level, *, leaf: bool) -> int:
    """The bits that must be 0 in a present entry at `level`; the CPU faults with RSVD when one is set.

    >>> hex(reserved_mask(PagingState(max_phys_bits=40), Level.PD, leaf=True))
    '0xfff00001fe000'
    """
    mask = (1 << PHYSICAL_BITS) - (1 << state.max_phys_bits)
    if not state.efer.nxe:
        mask |= Entry.no_execute.mask
    if leaf and level > Level.PT:
        mask |= level.page_size - (Entry.pat_large.mask << 1)
    if level > Level.PD and not leaf and not leaf_mask(state, level):
        mask |= Entry.page_size.mask
    if level >= Level.PML4 and state.vendor == "amd":
        mask |= AMD_TOP_RESERVED
    return mask


def reserved_reason(state: PagingState, level: Level, bit: int) -> str:
    """Why `bit`, one of `reserved_mask`, must be 0.

    >>> reserved_reason(PagingState(), Level.PD, 13)
    '20:13 must be 0 in a 2 MiB leaf'
    """
    if bit == Entry.no_execute.number:
        return "XD needs EFER.NXE"
    if bit >= state.max_phys_bits:
        return f"51:{state.max_phys_bits} must be 0"
    if bit == Entry.page_size.number:
        return "PS must be 0 here"
    if bit < Entry.pat_large.number:
        return "must be 0 here on AMD"
    return f"{level.shift - 1}:13 must be 0 in a {size_text(level.page_size)} leaf"


class LevelRules(NamedTuple):
    """The rules of one level as masks, ready for a walk."""

    level: Level
    shift: int
    leaf_mask: int
    reserved_in_table: int
    reserved_in_leaf: int
    leaf_address: int
    """The address field of a leaf."""
    pat_shift: int
    """How far right a leaf's PAT bit goes to become bit 2 of the PAT index."""

    @property
    def page_size(self) -> int:
        """Bytes that one entry covers."""
        return 1 << self.shift

    def physical(self, leaf: Number, address: Number) -> Number:
        """Where `address` leads by the entry `leaf`; for one case or for columns of them."""
        return leaf & self.leaf_address | address & (self.page_size - 1)


class Rules(NamedTuple):
    """All that a walk or a map needs to know of a paging state, worked out once."""

    state: PagingState
    levels: tuple[LevelRules, ...]
    """From the root downwards."""
    rights: tuple[tuple[Rights, Rights], ...]
    """The supervisor's and the user's, by `Grant`."""
    memory_types: tuple[MemoryType, ...]
    keys: bool
    """Whether a leaf's bits 62:59 are a protection key."""

    @property
    def address_bits(self) -> int:
        """How many low bits of a virtual address are translated: 48 or 57."""
        return 12 + 9 * len(self.levels)

    def is_canonical(self, address: Number) -> Flag:
        """Whether the bits that are not translated all equal the highest one that is."""
        top = address >> (self.address_bits - 1)
        return (top == 0) | (top == (1 << 65 - self.address_bits) - 1)

    def canonical(self, address: int) -> int:
        """`address` with the bits that are not translated made equal to the highest one that is."""
        sign = 1 << (self.address_bits - 1)
        return ((address & 2 * sign - 1 ^ sign) - sign) & ((1 << 64) - 1)

    def memory_type(self, entry: int, level: LevelRules) -> MemoryType:
        """The memory type that leaf `entry` selects from the PAT."""
        return self.memory_types[entry >> 3 & 3 | entry >> level.pat_shift & 4]


@lru_cache(maxsize=256)
def rules_of(state: PagingState) -> Rules:
    """The rules of `state`; UsageError unless it is in long mode, the only one this walk knows."""
    if state.levels < 4:
        raise UsageError(f"paging is {state.mode} here; walks and maps need the 4- or 5-level tables of long mode")
    return Rules(
        state=state,
        levels=tuple(_level_rules(state, Level(number)) for number in range(state.levels, 0, -1)),
        rights=tuple((supervisor_rights(grant, state), user_rights(grant, state)) for grant in map(Grant, range(8))),
        memory_types=state.pat.types,
        keys=state.cr4.pke or state.cr4.pks,
    )


def _level_rules(state: PagingState, level: Level) -> LevelRules:
    pat = Entry.pat if level == Level.PT else Entry.pat_large
    return LevelRules(
        level=level,
        shift=level.shift,
        leaf_mask=leaf_mask(state, level),
        reserved_in_table=reserved_mask(state, level, leaf=False),
        reserved_in_leaf=reserved_mask(state, level, leaf=True),
        leaf_address=ADDRESS_MASK & ~(level.page_size - 1),
        pat_shift=pat.number - 2,
    )
