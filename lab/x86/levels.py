"""The levels of 4- and 5-level paging, and the sizes that follow from them."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Level", "ENTRIES", "KIB", "MIB", "GIB", "size_text"]

ENTRIES = 512
"""Entries in one table."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Level(IntEnum):
    """A level of tables, numbered from the frame upwards; Intel SDM vol. 3A, "4-Level Paging and 5-Level Paging".

    >>> [str(level) for level in sorted(Level, reverse=True)]
    ['PML5', 'PML4', 'PDPT', 'PD', 'PT']
    >>> Level.PD.shift, size_text(Level.PD.page_size), size_text(Level.PD.span)
    (21, '2 MiB', '1 GiB')
    """

    PT = 1
    PD = 2
    PDPT = 3
    PML4 = 4
    PML5 = 5

    @property
    def shift(self) -> int:
        """The lowest bit of a virtual address that selects an entry at this level."""
        return 3 + 9 * self

    @property
    def page_size(self) -> int:
        """Bytes of address space that one entry of this level covers."""
        return 1 << self.shift

    @property
    def span(self) -> int:
        """Bytes of address space that a whole table of this level covers."""
        return ENTRIES << self.shift

    def __str__(self) -> str:
        return self.name


def size_text(size: int) -> str:
    """A number of bytes as people say it: the largest binary unit that divides it.

    >>> size_text(4096), size_text(512 << 30), size_text(1 << 48), size_text(12)
    ('4 KiB', '512 GiB', '256 TiB', '12 bytes')
    """
    for power, unit in ((5, "PiB"), (4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size and size % (1 << 10 * power) == 0:
            return f"{size >> 10 * power} {unit}"
    return "1 byte" if size == 1 else f"{size} bytes"
