"""The Snapshot itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.kernel.objects import Guest
from lab.paging.virtual import VirtualMemory
from lab.paging.walk import Walk, walk
from lab.snapshot.expressions import resolve, resolve_physical
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.registers import CR3

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage
    from lab.memory import Memory
    from lab.snapshot.registers import Registers
    from lab.x86.state import PagingState

__all__ = ["Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """Memory, paging state and registers of one CPU; with `kernel`, also what our guest's structures mean.

    >>> from lab.memory import MadeUpSpace
    >>> from lab.snapshot import Registers
    >>> space = MadeUpSpace()
    >>> space.map(0x400000, 0x12A000)
    >>> snapshot = Snapshot(space.memory, space.state, Registers(rip=0x400123))
    >>> snapshot.resolve("rip+0x10")
    VirtualAddress(0x0000000000400133)
    >>> snapshot.walk(snapshot.resolve("rip")).mapped.physical
    PhysicalAddress(0x000012a123)
    """

    memory: Memory
    state: PagingState
    registers: Registers
    kernel: KernelImage | None = None
    name: str = ""

    @cached_property
    def guest(self) -> Guest:
        """Our kernel's structures in this memory; UsageError when the guest is not ours."""
        if self.kernel is None:
            raise UsageError("this guest does not run the lab's kernel, so its pool, MDLs and symbols cannot be read")
        return Guest(self.kernel, self.memory, self.state)

    def root(self, cr3: int | None = None) -> PhysicalAddress:
        """The root table that a value of CR3 names here, which may carry a PCID, PWT and PCD; None: CR3's own.

        >>> from lab.memory import MadeUpSpace
        >>> from lab.snapshot import Registers
        >>> space = MadeUpSpace()
        >>> Snapshot(space.memory, space.state, Registers()).root(0x312018)
        PhysicalAddress(0x0000312000)
        """
        return self.state.root if cr3 is None else replace(self.state, cr3=CR3(cr3)).root

    def space(self, root: PhysicalAddress | None = None) -> VirtualMemory:
        """The address space of CR3, or the one under another root table or CR3 value, as bytes."""
        return VirtualMemory(self.memory, self.state, self.root(root))

    def walk(self, address: VirtualAddress, root: PhysicalAddress | None = None) -> Walk:
        """The walk of one address, from CR3's root table or from that of another CR3 value."""
        return walk(self.memory, self.state, address, self.root(root))

    def read_virtual(self, address: VirtualAddress, size: int, root: PhysicalAddress | None = None) -> bytes:
        """Exactly `size` bytes; NotMapped for a page that is not mapped, NoMemoryAt for a frame outside of RAM."""
        return self.space(root).read(address, size)

    def resolve(self, expression: str, *, mdl_itself: bool = False) -> VirtualAddress | PhysicalAddress:
        """What an address expression stands for; see `lab.snapshot.expressions`. AddressError when for nothing."""
        return resolve(self, expression, mdl_itself=mdl_itself)

    def resolve_physical(self, expression: str) -> PhysicalAddress:
        """The same where a physical address is wanted: a bare number is one, a virtual address is translated."""
        return resolve_physical(self, expression)

    def describe(self, address: int) -> str | None:
        """`symbol+0x12` for an address inside the kernel's image, else None."""
        return self.kernel.describe(address) if self.kernel else None
