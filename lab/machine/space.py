"""Address spaces made to measure: tables of any content in the guest's RAM, for probes to run under.

The kernel's half is shared by reference, as between two processes, and the lower half is empty; what is put there may
be right or wrong.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lab.errors import GuestError, LabError, NotMapped, UsageError
from lab.memory.protocol import read_u64
from lab.paging import Rights
from lab.paging.walk import Walk, walk
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import Entry
from lab.x86.levels import KIB, Level, size_text
from lab.x86.registers import MemoryType

if TYPE_CHECKING:
    from lab.machine.machine import Machine
    from lab.x86.state import PagingState

__all__ = ["Space"]

TABLE = Entry.from_names("P", "W", "U")
"""What the entries above a mapping say: nothing against it."""

KERNEL_HALF = 256


class Space:
    """An address space of one's own, made by `machine.new_space()`; a context manager that gives its frames back.

    >>> from lab.x86 import Level
    >>> with machine.new_space() as space:
    ...     page = space.map(0x400000, rights="r--", user=True)
    ...     print(machine.probe("mov byte ptr [rdi], 1", rdi=0x400000, user=True, space=space).error_code.names())
    ...     print(machine.probe("mov al, [rdi]", rdi=0x400000, user=True, space=space).ok)
    ...     print(space.walk(0x400000).steps[-1].flags)
    ('P', 'W', 'U')
    True
    ('P', 'U', 'A', 'NX')

    A and D bits begin clear, so that they tell what the CPU has done. The tables are loaded only while a probe runs;
    what is changed meanwhile needs no flush.
    """

    def __init__(self, machine: Machine, state: PagingState) -> None:
        """Make the root table. Raises LabError when the guest has no frame for it."""
        self._machine = machine
        self._runs: list[tuple[PhysicalAddress, int]] = []
        self._tables: dict[tuple[Level, int], PhysicalAddress] = {}
        self._is_open = True
        self._epoch = machine.epoch
        self.state = state
        """The registers that the kernel runs with; a probe may have others."""
        self.root_level = Level(state.levels)
        self._root = self._taken(machine.call.space_create().result, 1)

    @property
    def root(self) -> PhysicalAddress:
        """The physical address of the root table; UsageError when that is no table of this space any more."""
        self.check()
        return self._root

    def check(self) -> None:
        """Raise UsageError when the tables have been given back, or the guest was since taken back to a saved state."""
        if not self._is_open:
            raise UsageError("this space is closed: its tables have been given back")
        if self._epoch != self._machine.epoch:
            raise UsageError(
                "this space is void: the machine was taken back to a saved state after it was made; make a new one"
            )

    # ------------------------------------------------------------------------------------------------- building ----

    def map(
        self,
        address: int,
        physical: int | None = None,
        rights: str = "rw-",
        *,
        size: int = 4 * KIB,
        user: bool = False,
        memory_type: str = "WB",
    ) -> PhysicalAddress:
        """Map one page of `size` bytes (4 KiB, 2 MiB or 1 GiB), with the tables it takes; return what it maps.

        `physical` is any physical address, RAM or not; without one the page gets frames of its own, zeroed. `rights`
        are the leaf's; tables above allow everything. Raises UsageError for what no page can be or what belongs to
        the kernel, LabError when the guest has no frames left.
        """
        level = next((each for each in (Level.PT, Level.PD, Level.PDPT) if each.page_size == size), None)
        if level is None:
            raise UsageError(f"there are no pages of {size_text(size)}; there are 4 KiB, 2 MiB and 1 GiB ones")
        bits = _rights_bits(rights) | self._memory_type_bits(memory_type, level)
        where = self.new_frames(size) if physical is None else PhysicalAddress(physical)
        if address % size or where % size:
            raise UsageError(f"a page of {size_text(size)} must begin at a multiple of that, at {where} as well")
        bits |= Entry.user.mask * user | Entry.page_size.mask * (level > Level.PT)
        self.set_entry(level, address, where | bits)
        return where

    def set_entry(self, level: Level, address: int, raw: int) -> None:
        """Put any eight bytes into the entry of `level` for an address; tables missing above it are made.

        Raises UsageError for entries that belong to the kernel, LabError when the guest has no frames left.
        """
        self._write_entry(self._table(level, self._checked(address)) + 8 * _index(address, level), raw)

    def new_frames(self, size: int = 4 * KIB, content: bytes = b"") -> PhysicalAddress:
        """Take zeroed RAM of the guest: `size` bytes, a power of two frames, aligned by their size.

        Raises LabError when the guest has no such run of frames.
        """
        found = self._take(size // (4 * KIB), table=False)
        if content:
            self.write(found, content)
        return found

    def write(self, physical: PhysicalAddress, content: bytes) -> None:
        """Write bytes to RAM at a physical address, as the guest."""
        room = self._machine.mailbox.room // 2
        while content:
            piece = content[: min(room, 4 * KIB - physical.offset())]
            self._call("frame_write", physical, piece, len(piece))
            physical, content = physical + len(piece), content[len(piece) :]

    # -------------------------------------------------------------------------------------------------- reading ----

    def entry(self, level: Level, address: int) -> Entry:
        """The entry of `level` for an address, as it is in RAM now; NotMapped where the space has no such table."""
        return Entry(read_u64(self._machine.memory, self.entry_address(level, address)))

    def entry_address(self, level: Level, address: int) -> PhysicalAddress:
        """Where that entry stands; NotMapped where the space has no such table."""
        table = self._found(level, address)
        if table is None:
            raise NotMapped(address, f"this space has no {level} there")
        return table + 8 * _index(address, level)

    def walk(self, address: int) -> Walk:
        """The walk of an address from this space's root."""
        return walk(self._machine.memory, self.state, VirtualAddress(address), self.root)

    # ---------------------------------------------------------------------------------------------------- frames ----

    def _checked(self, address: int) -> int:
        """The address, if it is none of the kernel's."""
        if not VirtualAddress(address).is_canonical(self.state.levels):
            raise UsageError(f"{VirtualAddress(address)} is not canonical, so no entry maps it")
        kernel, slot = self._machine.kernel, _index(address, self.root_level)
        own = {kernel.constant("SELF_MAP_SLOT"), kernel.constant("PROBE_SLOT")}
        shared = slot >= KERNEL_HALF and read_u64(self._machine.memory, self.state.root + 8 * slot) & Entry.present.mask
        if slot in own or shared:
            raise UsageError(f"{VirtualAddress(address)} is in the kernel's part of every space; choose a lower one")
        return address

    def _table(self, level: Level, address: int) -> PhysicalAddress:
        """The table of `level` for an address, made if need be; entries that lead to tables we have stay."""
        found = self._found(level, address)
        if found is not None:
            return found
        above = self._table(Level(level + 1), address)
        made = self._tables[level, address // level.span] = self._take(1, table=True)
        self._write_entry(above + 8 * _index(address, Level(level + 1)), made | TABLE)
        return made

    def _found(self, level: Level, address: int) -> PhysicalAddress | None:
        self.check()
        if level >= self.root_level:
            if level > self.root_level:
                raise UsageError(f"there is no {level}: the guest runs with {self.state.levels} levels")
            return self.root
        return self._tables.get((level, address // level.span))

    def _write_entry(self, where: PhysicalAddress, raw: int) -> None:
        self._call("frame_write", where, raw.to_bytes(8, "little"), 8)

    def _take(self, count: int, *, table: bool) -> PhysicalAddress:
        return self._taken(self._call("frames_take", count, int(table)), count)

    def _taken(self, address: int, count: int) -> PhysicalAddress:
        if not address:
            raise LabError(f"the guest has no run of {count} free frames; boot it with more RAM")
        self._runs.append((PhysicalAddress(address), count))
        return self._runs[-1][0]

    def _call(self, name: str, *arguments: int | bytes) -> int:
        self.check()
        result = self._machine.call(name, *arguments)
        if result.exception is not None:
            raise LabError(f"{name} failed in the guest: {result.exception}")
        return result.result

    def _memory_type_bits(self, name: str, level: Level) -> int:
        types = self.state.pat.types
        index = next((index for index, each in enumerate(types) if str(each) == name), None)
        if index is None or name == str(MemoryType.RESERVED):
            raise UsageError(
                f"the PAT offers no memory type {name!r}; it has {' '.join(dict.fromkeys(map(str, types)))}"
            )
        pat = Entry.pat if level == Level.PT else Entry.pat_large
        return (index & 3) * Entry.write_through.mask | (index >> 2) * pat.mask

    def close(self) -> None:
        """Give all frames back to the guest; a guest that was taken back to a saved state wants none."""
        if self._is_open and self._epoch == self._machine.epoch:
            for address, count in self._runs:
                self._call("frames_give", address, count)
        self._is_open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(*(() if error is None else (GuestError,))):  # a dead guest needs nothing back
            self.close()


def _index(address: int, level: Level) -> int:
    return VirtualAddress(address).index(level)


def _rights_bits(text: str) -> int:
    try:
        rights = Rights.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not rights.read:
        raise UsageError(f"a page that can be used at all can be read, so its rights cannot be {text!r}")
    return Entry.present.mask | Entry.writable.mask * rights.write | Entry.no_execute.mask * (not rights.execute)
