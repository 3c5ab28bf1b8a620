"""Memory made in Python, and a builder of page tables in it: for tests and lectures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lab.errors import NoMemoryAt
from lab.memory.protocol import Bank, read_u64
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import Entry
from lab.x86.levels import GIB, KIB, Level
from lab.x86.registers import CR3
from lab.x86.state import PagingState

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MadeUpMemory", "MadeUpSpace"]

FRAME = 4 * KIB


class MadeUpMemory:
    r"""Sparse RAM: `size` bytes from `start` on, of which only the frames written to are kept; the rest reads as zero.

    >>> memory = MadeUpMemory(size=1 << 20)
    >>> memory.write(PhysicalAddress(0xFFE), b"across")
    >>> memory.read(PhysicalAddress(0xFFC), 10)
    b'\x00\x00across\x00\x00'
    """

    def __init__(self, size: int = GIB, start: int = 0) -> None:
        self.banks = (Bank(PhysicalAddress(start), size),)
        self._frames: dict[int, bytearray] = {}

    @classmethod
    def holding(cls, words: Mapping[int, int], size: int = GIB) -> MadeUpMemory:
        """RAM from address 0 on that holds the eight-byte `words`, by their physical addresses.

        >>> read_u64(MadeUpMemory.holding({0x1FF8: 0x2003}), PhysicalAddress(0x1FF8))
        8195
        """
        memory = cls(size)
        for address, value in words.items():
            memory.write_u64(PhysicalAddress(address), value)
        return memory

    def read(self, address: PhysicalAddress, size: int) -> bytes:
        """Exactly `size` bytes from `address` on; NoMemoryAt when any of them is outside RAM."""
        self._check(address, size)
        pieces = []
        while size > 0:
            frame, offset = divmod(int(address), FRAME)
            count = min(size, FRAME - offset)
            kept = self._frames.get(frame)
            pieces.append(bytes(kept[offset : offset + count]) if kept else bytes(count))
            address, size = address + count, size - count
        return b"".join(pieces)

    def write(self, address: PhysicalAddress, data: bytes) -> None:
        """Put `data` at `address`; NoMemoryAt when any of it is outside RAM."""
        self._check(address, len(data))
        while data:
            frame, offset = divmod(int(address), FRAME)
            count = min(len(data), FRAME - offset)
            kept = self._frames.setdefault(frame, bytearray(FRAME))
            kept[offset : offset + count] = data[:count]
            address, data = address + count, data[count:]

    def write_u64(self, address: PhysicalAddress, value: int) -> None:
        """Put the eight bytes of `value` at `address`; NoMemoryAt outside of RAM."""
        self.write(address, value.to_bytes(8, "little"))

    def _check(self, address: PhysicalAddress, size: int) -> None:
        bank = self.banks[0]
        if not bank.start <= address <= address + size <= bank.end:
            raise NoMemoryAt(address, size)


class MadeUpSpace:
    """Page tables built by hand: `map` for usual mappings, `raw` for any entry value whatever.

    Tables are taken from frame number `first_table` upwards; frames that are mapped need not exist. `memory`, `root`
    and `state` go to `lab.paging.walk` as they are.

    >>> from lab.paging import walk
    >>> space = MadeUpSpace()
    >>> space.map(0xFFFFF88000004000, 0x12A000, "rw-", accessed=True, dirty=True, global_=True)
    >>> print(walk(space.memory, space.state, VirtualAddress(0xFFFFF88000004010)))
    walk 0xfffff88000004010 by cr3 pa:0x0000100000
      PML4 [1f1] @ pa:0x0000100f88 = 0x0000000000101003  P W
      PDPT [000] @ pa:0x0000101000 = 0x0000000000102003  P W
      PD   [000] @ pa:0x0000102000 = 0x0000000000103003  P W
      PT   [004] @ pa:0x0000103020 = 0x800000000012a163  P W A D G NX
      => pa:0x000012a010  4 KiB  WB  supervisor rw-  user ---
      denied: execute by PT bit 63 (NX)
      denied: user by PML4 bit 2 (U)
    """

    def __init__(
        self,
        levels: int = 4,
        *,
        memory: MadeUpMemory | None = None,
        state: PagingState | None = None,
        first_table: int = 0x100,
    ) -> None:
        self.memory = memory or MadeUpMemory()
        self.top = Level(levels)
        self._next = PhysicalAddress.from_frame(first_table)
        self.root = self.new_table()
        state = state or PagingState()
        self.state = replace(state, cr3=CR3(self.root), cr4=state.cr4.replace(la57=self.top == Level.PML5))

    def new_table(self) -> PhysicalAddress:
        """The address of a fresh table in which no entry is present."""
        table, self._next = self._next, self._next + FRAME
        return table

    def map(
        self,
        va: int,
        pa: int,
        rights: str = "rwx",
        *,
        user: bool = False,
        size: int = FRAME,
        upper_rights: Mapping[Level, str] | None = None,
        **bits: int,
    ) -> None:
        """Map the page of `size` bytes (4 KiB, 2 MiB, 1 GiB) at `va` to physical `pa`, making tables as needed.

        `rights` are three letters as in "rw-"; `bits` are more bits and fields of the leaf by their attribute names
        in `Entry` (``dirty=True, key=3``). Upper entries allow everything the leaf might; `upper_rights` narrows some
        of them, with "u" after the letters where user mode is let through (``{Level.PD: "r-xu"}``).
        """
        leaf_level = next(level for level in Level if level.page_size == size)
        for level in map(Level, range(self.top, leaf_level, -1)):
            self._upper(level, va, (upper_rights or {}).get(level), user)
        entry = _with_rights(pa, rights + "u" * user).replace(page_size=leaf_level > Level.PT)
        self.raw(leaf_level, va, entry.replace(**bits))

    def raw(self, level: Level, va: int, value: int) -> None:
        """Write `value`, reserved bits and all, as the entry of `va` at `level`; the tables above must exist."""
        self.memory.write_u64(self.entry_address(level, va), value)

    def entry(self, level: Level, va: int) -> Entry:
        """The entry of `va` at `level` as it stands; the tables above must exist."""
        return Entry(read_u64(self.memory, self.entry_address(level, va)))

    def table(self, level: Level, va: int) -> PhysicalAddress:
        """The table at `level` that `va` goes through; the tables above must exist."""
        table = self.root
        for upper in range(self.top, level, -1):
            entry_address = table + 8 * VirtualAddress(va).index(Level(upper))
            table = Entry(read_u64(self.memory, entry_address)).frame_address()
        return table

    def entry_address(self, level: Level, va: int) -> PhysicalAddress:
        """Where the entry of `va` at `level` is; the tables above must exist."""
        return self.table(level, va) + 8 * VirtualAddress(va).index(level)

    def self_map(self, index: int = 0x1ED) -> None:
        """Let entry `index` of the root point to the root itself, writable and not executable, as Windows does."""
        self.memory.write_u64(self.root + 8 * index, _with_rights(self.root, "rw-"))

    def _upper(self, level: Level, va: int, letters: str | None, user: bool) -> None:
        """See to it that the entry above a leaf exists; narrow it to `letters`, else leave or widen it."""
        entry = self.entry(level, va)
        if not entry.present:
            entry = _with_rights(self.new_table(), "rwx")
        if letters is not None:
            entry = _with_rights(entry.frame_address(), letters)
        elif user:
            entry = entry.replace(user=True)
        self.raw(level, va, entry)


def _with_rights(address: int, letters: str) -> Entry:
    """A present entry for `address` that allows what `letters` ("rwxu") name."""
    return Entry(address).replace(
        present=True, writable="w" in letters, user="u" in letters, no_execute="x" not in letters
    )
