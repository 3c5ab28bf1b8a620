"""Page tables of a test's own, whose entries may say anything; the guest prints their walks as the controller does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.paging import Walk
from tests.hardware.probe import PAGE, Probe

P, W, U, PWT, PCD, A, D, PS, G, PAT_LARGE, NX = (1 << bit for bit in (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 63))
PAT = PS
PXE_BASE = 0xFFFF_F6FB_7DBE_D000
"""Where the self map shows the kernel's PML4."""

PML5_BASE = 0xFFED_F6FB_7DBE_D000
"""Where the PML5's own self map shows the PML5."""

SLOT = 1 << 39
HIGH_HALF = 0xFFFF << 48


def agreed_walk(guest: Probe, address: int) -> Walk:
    """The walk of an address, which the guest must print just as the controller does."""
    printed = guest.printed("walk", address)
    own = guest.walk(address)
    assert printed == f"{own}\n", f"{printed}\n{own}"
    return own


def entry_of(guest: Probe, address: int) -> int:
    """Where a self map shows the entry of the lowest level that maps an address, and the next higher one of that."""
    if guest.state.levels == 4 or address >= HIGH_HALF:
        return 0xFFFF_F680_0000_0000 | address >> 9 & 0x7F_FFFF_FFF8
    return 0xFFED_0000_0000_0000 | address >> 9 & 0xFFFF_FFFF_FFF8


class Scratch:
    """Tables of a test's own behind a slot of a PML4 that nobody uses: their entries may say anything.

    `base` is the first address behind the slot. The tables stand in frames of an MDL and are written through its
    mapping; whether the CPU then finds them is its own business. With five levels the kernel's PML4 has only the high
    half, and a slot of the low half is one of a PML4 that is the test's own too, behind the same slot of the PML5.
    """

    def __init__(self, guest: Probe, slot: int, mapping: int, frames: tuple[int, ...]) -> None:
        self.guest = guest
        self.slot = slot
        self.has_pml4 = guest.state.levels == 5 and slot < 256
        self.base = slot * SLOT | (HIGH_HALF if slot >= 256 else slot << 48 if self.has_pml4 else 0)
        self.mapping = mapping
        self.frames = frames

    def physical(self, number: int) -> int:
        """Where one of the frames begins."""
        return self.frames[number] * PAGE

    def set(self, number: int, index: int, entry: int) -> None:
        """Write an entry of one of the tables."""
        self.guest.call("write_u64", self.mapping + number * PAGE + 8 * index, entry)

    def fill(self, number: int, entries: bytes) -> None:
        """Write a whole table."""
        self.guest.write(self.mapping + number * PAGE, entries)

    def open(self, entry: int) -> None:
        """Write the entry of the PML4."""
        if self.has_pml4:
            self.set(-1 % len(self.frames), self.slot, entry)
            self.open_root(self.physical(-1) | P | W | U)
        else:
            self.guest.call("write_u64", PXE_BASE + 8 * self.slot, entry)
            self.guest.call("flush_tlb")

    def open_root(self, entry: int) -> None:
        """Write the entry of the PML5."""
        self.guest.call("write_u64", PML5_BASE + 8 * self.slot, entry)
        self.guest.call("flush_tlb")

    def close(self) -> None:
        """Take everything back that was opened."""
        self.open(0)
        if self.has_pml4:
            self.open_root(0)

    def chain(self, leaf: int, *, pml4: int = P | W | U, pdpt: int = P | W | U, pd: int = P | W | U) -> int:
        """Map the first page behind the slot: frames 0 to 2 become its tables, `leaf` its entry. Return its address."""
        self.set(0, 0, self.physical(1) | pdpt)
        self.set(1, 0, self.physical(2) | pd)
        self.set(2, 0, leaf)
        self.open(self.physical(0) | pml4)
        return self.base

    @property
    def page(self) -> int:
        """A frame to be mapped."""
        return self.physical(3)


@contextmanager
def scratch_tables(guest: Probe, slot: int, count: int = 4) -> Iterator[Scratch]:
    """Tables in `count` frames, and one more for a PML4 if that is needed; gone at the end."""
    count += guest.state.levels == 5 and slot < 256
    mdl = guest.pages_mdl(count * PAGE)
    scratch = Scratch(guest, slot, guest.map(mdl), guest.mdl(mdl).frames)
    try:
        yield scratch
    finally:
        scratch.close()
        guest.free_pages_mdl(mdl)
