"""What one paging state makes of an entry: where leaves may be, and which bits must be zero.

Intel SDM vol. 3A, "32-Bit Paging", "PAE Paging", "4-Level Paging and 5-Level Paging" (the formats of entries).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import UsageError
from lab.paging.rights import Grant, Refusal, Rights, refusals, supervisor_rights, user_rights
from lab.x86.entry import ADDRESS_MASK, Entry
from lab.x86.levels import ENTRIES, Level, size_text
from lab.x86.registers import MemoryType
from lab.x86.state import PagingMode, PagingState

if TYPE_CHECKING:
    from lab.paging.judge import Flag, Number

__all__ = ["Rules", "LevelRules", "rules_of", "leaf_mask", "reserved_mask", "reserved_reason"]

PHYSICAL_BITS = 52
AMD_TOP_RESERVED = 1 << 8
PSE36_FIELD = 0x1F_E000
"""Bits 20:13 of a 4 MiB leaf: bits 39:32 of the physical address."""
PSE36_SHIFT = 32 - 13


def leaf_mask(state: PagingState, level: Level) -> int:
    """The bit that makes a present entry at `level` a leaf: PS, P itself in a PT, 0 where none can be.

    >>> [leaf_mask(PagingState(gib_pages=False), level) for level in Level]
    [1, 128, 0, 0, 0]
    """
    if level == Level.PT:
        return Entry.present.mask
    if level == Level.PD and (state.mode is not PagingMode.BITS32 or state.cr4.pse):
        return Entry.page_size.mask
    if level == Level.PDPT and state.gib_pages and state.efer.lma:
        return Entry.page_size.mask
    return 0


def reserved_mask(state: PagingState, level: Level, *, leaf: bool) -> int:
    """The bits that must be 0 in a present entry at `level`; the CPU faults with RSVD when one is set.

    The four entries that CR3 names in PAE paging are looked at when CR3 is loaded, and raise #GP then. Of their bits
    8:5 and 2:1 nothing is said here: what a CPU has loaded once it walks on by.

    >>> hex(reserved_mask(PagingState(max_phys_bits=40), Level.PD, leaf=True))
    '0xfff00001fe000'
    """
    match state.mode:
        case PagingMode.BITS32:
            return _reserved_in_4_mib_leaf(state) if leaf and level == Level.PD else 0
        case PagingMode.PAE:
            mask = Entry.no_execute.mask - (1 << state.max_phys_bits)
            if level == Level.PDPT:
                return mask | Entry.no_execute.mask
        case _:
            mask = (1 << PHYSICAL_BITS) - (1 << state.max_phys_bits)
            if level > Level.PD and not leaf and not leaf_mask(state, level):
                mask |= Entry.page_size.mask
            if level >= Level.PML4 and state.vendor == "amd":
                mask |= AMD_TOP_RESERVED
    if not state.efer.nxe:
        mask |= Entry.no_execute.mask
    if leaf and level > Level.PT:
        mask |= level.page_size - (Entry.pat_large.mask << 1)
    return mask


def _reserved_in_4_mib_leaf(state: PagingState) -> int:
    """Bit 21, and what is left of bits 20:13 when the physical address ends below bit 39."""
    return (1 << 22) - (1 << min(state.max_phys_bits, 40) - PSE36_SHIFT)


def reserved_reason(state: PagingState, level: Level, bit: int) -> str:
    """Why `bit`, one of `reserved_mask`, must be 0.

    >>> reserved_reason(PagingState(), Level.PD, 13)
    '20:13 must be 0 in a 2 MiB leaf'
    """
    if state.mode in (PagingMode.BITS32, PagingMode.PAE):
        return _reserved_reason_in_32_bits(state, level, bit)
    if bit == Entry.no_execute.number:
        return "XD needs EFER.NXE"
    if bit >= state.max_phys_bits:
        return f"51:{state.max_phys_bits} must be 0"
    if bit == Entry.page_size.number:
        return "PS must be 0 here"
    if bit < Entry.pat_large.number:
        return "must be 0 here on AMD"
    return f"{level.shift - 1}:13 must be 0 in a {size_text(level.page_size)} leaf"


def _reserved_reason_in_32_bits(state: PagingState, level: Level, bit: int) -> str:
    if state.mode is PagingMode.BITS32:
        return f"21:{min(state.max_phys_bits, 40) - PSE36_SHIFT} must be 0 in a 4 MiB leaf"
    if level == Level.PDPT:
        return f"63:{state.max_phys_bits} must be 0 in an entry that CR3 names"
    if bit == Entry.no_execute.number:
        return "XD needs EFER.NXE"
    return f"62:{state.max_phys_bits} must be 0" if bit >= state.max_phys_bits else "20:13 must be 0 in a 2 MiB leaf"


class LevelRules(NamedTuple):
    """The rules of one level as masks, ready for a walk."""

    level: Level
    shift: int
    """The lowest bit of an address that selects an entry here."""
    entries: int
    """Entries in a table: 512, or 1024 of four bytes, or the four that CR3 names in PAE paging."""
    entry_size: int
    leaf_mask: int
    reserved_in_table: int
    reserved_in_leaf: int
    leaf_address: int
    """The address field of a leaf."""
    leaf_address_high: int
    """The bits of a 4 MiB leaf that are bits 39:32 of its address, 0 for others."""
    pat_shift: int
    """How far right a leaf's PAT bit goes to become bit 2 of the PAT index."""
    implied: int
    """Bits that count as set although the entry has none: W and U of those that CR3 names in PAE paging."""
    notes_use: bool
    """Whether the CPU sets A in an entry that it uses, as it does in all but those."""

    @property
    def page_size(self) -> int:
        """Bytes that one entry covers."""
        return 1 << self.shift

    @property
    def span(self) -> int:
        """Bytes that a table covers."""
        return self.entries << self.shift

    @property
    def table_size(self) -> int:
        """Bytes that a table has."""
        return self.entries * self.entry_size

    def index_of(self, address: int) -> int:
        """Which entry of a table an address uses."""
        return address >> self.shift & self.entries - 1

    def unpack(self, table: bytes) -> tuple[int, ...]:
        """The entries of a whole table; struct.error unless it is `table_size` bytes long."""
        return struct.unpack(f"<{self.entries}{'Q' if self.entry_size == 8 else 'I'}", table)

    def physical(self, leaf: Number, address: Number) -> Number:
        """Where `address` leads by the entry `leaf`; for one case or for columns of them."""
        frame = leaf & self.leaf_address
        if self.leaf_address_high:
            frame = frame | (leaf & self.leaf_address_high) << PSE36_SHIFT
        return frame | address & self.page_size - 1

    def leaf_for(self, physical: int) -> int:
        """The address field that a leaf for the page of `physical` has."""
        return physical & self.leaf_address | physical >> PSE36_SHIFT & self.leaf_address_high


class Rules(NamedTuple):
    """All that a walk or a map needs to know of a paging state, worked out once."""

    state: PagingState
    levels: tuple[LevelRules, ...]
    """From the root downwards."""
    rights: tuple[tuple[Rights, Rights], ...]
    """The supervisor's and the user's, by `Grant`."""
    refusals: tuple[tuple[Refusal, ...], ...]
    """What takes them away, by `Grant`."""
    memory_types: tuple[MemoryType, ...]
    keys: bool
    """Whether a leaf's bits 62:59 are a protection key."""

    @property
    def address_bits(self) -> int:
        """How many low bits of a virtual address are translated: 32, 48 or 57."""
        return self.levels[0].shift + self.levels[0].entries.bit_length() - 1

    def level(self, level: Level) -> LevelRules:
        """The rules of one level; UsageError when these tables do not have it."""
        for rules in self.levels:
            if rules.level == level:
                return rules
        names = " ".join(str(rules.level) for rules in self.levels)
        raise UsageError(f"{self.state.mode} paging has no {level}; its levels are {names}")

    def is_canonical(self, address: Number) -> Flag:
        """Whether the bits that are not translated equal the highest one that is, or are 0 where 32 bits are."""
        top = address >> self.address_bits - 1
        if self.address_bits == 32:
            return top <= 1
        return (top == 0) | (top == (1 << 65 - self.address_bits) - 1)

    def canonical(self, address: int) -> int:
        """`address` with the bits that are not translated made equal to the highest one that is; 32 bits stay so."""
        if self.address_bits == 32:
            return address & 0xFFFF_FFFF
        sign = 1 << (self.address_bits - 1)
        return ((address & 2 * sign - 1 ^ sign) - sign) & ((1 << 64) - 1)

    def memory_type(self, entry: int, level: LevelRules) -> MemoryType:
        """The memory type that leaf `entry` selects from the PAT."""
        return self.memory_types[entry >> 3 & 3 | entry >> level.pat_shift & 4]


@lru_cache(maxsize=256)
def rules_of(state: PagingState) -> Rules:
    """The rules of `state`; UsageError when paging is off, as there are no tables then."""
    if state.mode is PagingMode.OFF:
        raise UsageError("paging is off here, so no tables are used and addresses are physical")
    return Rules(
        state=state,
        levels=tuple(_level_rules(state, Level(number)) for number in range(state.levels, 0, -1)),
        rights=tuple((supervisor_rights(grant, state), user_rights(grant, state)) for grant in map(Grant, range(8))),
        refusals=tuple(refusals(grant, state) for grant in map(Grant, range(8))),
        memory_types=state.pat.types,
        keys=state.efer.lma and (state.cr4.pke or state.cr4.pks),
    )


def _level_rules(state: PagingState, level: Level) -> LevelRules:
    pat = Entry.pat if level == Level.PT else Entry.pat_large
    narrow = state.mode is PagingMode.BITS32
    named_by_cr3 = state.mode is PagingMode.PAE and level == Level.PDPT
    shift = 22 if narrow and level == Level.PD else level.shift
    entry_size = 4 if narrow else 8
    return LevelRules(
        level=level,
        shift=shift,
        entries=1024 if narrow else 4 if named_by_cr3 else ENTRIES,
        entry_size=entry_size,
        leaf_mask=leaf_mask(state, level),
        reserved_in_table=reserved_mask(state, level, leaf=False),
        reserved_in_leaf=reserved_mask(state, level, leaf=True),
        leaf_address=ADDRESS_MASK & (1 << 8 * entry_size) - (1 << shift),
        leaf_address_high=PSE36_FIELD if narrow and level == Level.PD else 0,
        pat_shift=pat.number - 2,
        implied=Entry.writable.mask | Entry.user.mask if named_by_cr3 else 0,
        notes_use=not named_by_cr3,
    )
