"""An address space read as bytes: the walk applied page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import NotMapped
from lab.paging.walk import Mapped, Walk, walk
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import ADDRESS_MASK, Entry
from lab.x86.levels import KIB, Level

if TYPE_CHECKING:
    from lab.memory import Memory
    from lab.x86.state import PagingState

__all__ = ["VirtualMemory", "Piece"]

PAGE = 4 * KIB
END = 1 << 64


class Piece(NamedTuple):
    """A run of `size` bytes inside one page: at `physical`, or nowhere, and then `reason` says why."""

    start: VirtualAddress
    size: int
    physical: PhysicalAddress | None
    reason: str = ""


class VirtualMemory:
    """The address space under a root table, as it would be read by a supervisor that nothing is forbidden.

    `root` replaces the table that CR3 names.
    """

    def __init__(self, memory: Memory, state: PagingState, root: PhysicalAddress | None = None) -> None:
        self.memory = memory
        self.state = state
        self.root = root

    def walk(self, address: VirtualAddress) -> Walk:
        """The walk of one address in this space."""
        return walk(self.memory, self.state, address, self.root)

    def read(self, address: VirtualAddress, size: int) -> bytes:
        """Exactly `size` bytes; NotMapped for a page that is not, NoMemoryAt for a frame outside of RAM."""
        found = []
        for piece in self.pieces(address, size):
            if piece.physical is None:
                raise NotMapped(piece.start, piece.reason)
            found.append(self.memory.read(piece.physical, piece.size))
        return b"".join(found)

    def pieces(self, address: VirtualAddress, size: int) -> Iterator[Piece]:
        """The pages under `size` bytes from `address` on, in order, mapped or not; the address space ends at 2**64."""
        end = min(int(address) + size, END)
        while address < end:
            found = self.walk(address)
            mapped = found.outcome if isinstance(found.outcome, Mapped) else None
            page = mapped.page_size if mapped else self._hole(found)
            count = min(page - address.offset(page), end - int(address))
            if mapped is None:
                yield Piece(address, count, None, str(found.outcome))
            else:
                yield Piece(address, count, mapped.physical)
            address += count
            if mapped and page == PAGE and address < end:
                for piece in self._siblings(found, address, end):
                    yield piece
                    address = piece.start + piece.size

    @staticmethod
    def _hole(found: Walk) -> int:
        """How far a fault reaches: a missing upper entry makes everything under it missing."""
        return found.steps[-1].level.page_size if found.steps else PAGE

    def _siblings(self, found: Walk, address: VirtualAddress, end: int) -> Iterator[Piece]:
        """The pages after a mapped 4 KiB page, as long as their entries differ from its entry in the frame alone.

        Such entries lie in the same table and carry the same bits, so their walks end the same way: reading a long
        run costs one walk a table instead of one a page.
        """
        step = found.steps[-1]
        if step.level != Level.PT:
            return
        size = step.entry_size
        first = step.entry_address + size
        data = self.memory.read(first, -int(first) % PAGE)
        ignored = Entry.accessed.mask | Entry.dirty.mask | self._frame_mask()
        for i in range(0, len(data), size):
            entry = Entry.from_bytes(data[i : i + size], "little")
            if address >= end or (entry ^ step.entry) & ~ignored:
                return
            count = min(PAGE, end - int(address))
            yield Piece(address, count, PhysicalAddress(entry & ADDRESS_MASK))
            address += count

    def _frame_mask(self) -> int:
        return ADDRESS_MASK & (1 << self.state.max_phys_bits) - 1
