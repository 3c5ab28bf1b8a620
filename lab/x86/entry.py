"""The eight bytes of a page-table entry, at any level.

::

    63   62..59   58..52    51..12        11..9     8   7       6   5   4    3    2   1   0
    NX   key      ignored   frame/table   ignored   G   PS/PAT  D   A   PCD  PWT  U   W   P
    (large leaf: bit 12 is PAT, the bits from 13 to the size of the page are reserved)

Intel SDM vol. 3A, "4-Level Paging and 5-Level Paging", the tables "Format of a …".
"""

from __future__ import annotations

from functools import lru_cache

from lab.x86.address import PhysicalAddress
from lab.x86.levels import KIB, Level
from lab.x86.words import Bit, Field, Word

__all__ = ["Entry", "ADDRESS_MASK"]

ADDRESS_MASK = 0x000F_FFFF_FFFF_F000
"""Bits 51:12, the widest address field an entry can have."""


class Entry(Word):
    """A page-table entry; what bits 6 to 8, 12 and 62:59 mean depends on where it stands.

    >>> entry = Entry(0x800000000012A163)
    >>> entry.present, entry.writable, entry.no_execute, entry.frame_address()
    (True, True, True, PhysicalAddress(0x000012a000))
    >>> " ".join(entry.flags(Level.PT, leaf=True))
    'P W A D G NX'
    """

    __slots__ = ()

    present = Bit(0, "P", "the entry is in use; when clear, all other bits are the operating system's")
    writable = Bit(1, "W", "writes are allowed")
    user = Bit(2, "U", "user-mode accesses are allowed")
    write_through = Bit(3, "PWT", "lowest bit of the PAT index")
    cache_disable = Bit(4, "PCD", "middle bit of the PAT index")
    accessed = Bit(5, "A", "the CPU has used the entry")
    dirty = Bit(6, "D", "leaf: the CPU has written to the page")
    page_size = Bit(7, "PS", "PDPT and PD: the entry is a leaf")
    pat = Bit(7, "PAT", "PT: highest bit of the PAT index")
    global_ = Bit(8, "G", "leaf: the translation survives a change of CR3, when CR4.PGE is set")
    pat_large = Bit(12, "PAT", "2 MiB and 1 GiB leaf: highest bit of the PAT index")
    no_execute = Bit(63, "NX", "instruction fetches are forbidden; reserved unless EFER.NXE is set")
    software = Field(11, 9, "SW", "free for the operating system")
    software_high = Field(58, 52, "SW", "free for the operating system")
    key = Field(62, 59, "K", "leaf: protection key, when CR4.PKE or CR4.PKS is set")

    def frame_address(self, page_size: int = 4 * KIB) -> PhysicalAddress:
        """Where the entry points: a table or 4 KiB frame, or the first byte of a large page of `page_size` bytes."""
        return PhysicalAddress(self & ADDRESS_MASK & ~(page_size - 1))

    def names(self) -> tuple[str, ...]:
        """Names of the set bits that mean the same at every level; `flags` gives all for a known level."""
        return _flags(self & (_ANYWHERE | Entry.present.mask), Level.PML4, False)

    def flags(self, level: Level, *, leaf: bool, keys: bool = False) -> tuple[str, ...]:
        """Names of the set bits that mean something here, in the order of the walk grammar.

        That order is P W U PWT PCD A D PS PAT G K<n> NX. D, PAT, G and the key are named on a leaf only, the key only
        with `keys` (CR4.PKE or CR4.PKS) and when it is not 0. A not-present entry has none: its bits are software's.

        >>> Entry(0x9BE3).flags(Level.PD, leaf=True), Entry(0xE2).flags(Level.PD, leaf=True)
        (('P', 'W', 'A', 'D', 'PS', 'PAT', 'G'), ())
        """
        if not leaf:
            return _flags(self & (_ANYWHERE | Entry.page_size.mask), level, False)
        relevant = _LEAF_PT if level == Level.PT else _LEAF_LARGE
        return _flags(self & (relevant | Entry.key.mask if keys else relevant), level, True)


_ANYWHERE = (
    Entry.present.mask
    | Entry.writable.mask
    | Entry.user.mask
    | Entry.write_through.mask
    | Entry.cache_disable.mask
    | Entry.accessed.mask
    | Entry.no_execute.mask
)
_LEAF_PT = _ANYWHERE | Entry.dirty.mask | Entry.pat.mask | Entry.global_.mask
_LEAF_LARGE = _LEAF_PT | Entry.pat_large.mask


@lru_cache(maxsize=4096)
def _flags(relevant: int, level: Level, leaf: bool) -> tuple[str, ...]:
    """Names for an entry reduced to the bits that mean something; few combinations occur, so they are kept."""
    entry = Entry(relevant)
    if not entry.present:
        return ()
    pat = entry.pat if level == Level.PT else entry.pat_large
    named = [
        (entry.present, "P"),
        (entry.writable, "W"),
        (entry.user, "U"),
        (entry.write_through, "PWT"),
        (entry.cache_disable, "PCD"),
        (entry.accessed, "A"),
        (entry.dirty, "D"),
        (entry.page_size and level > Level.PT, "PS"),
        (pat and leaf, "PAT"),
        (entry.global_, "G"),
        (entry.key > 0, f"K{entry.key}"),
        (entry.no_execute, "NX"),
    ]
    return tuple(name for is_set, name in named if is_set)
