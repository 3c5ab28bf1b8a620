"""Where bytes come from: one protocol, whatever the transport."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from lab.x86.address import PhysicalAddress

__all__ = ["Memory", "Bank", "read_u64", "read_entry", "read_table"]


class Memory(Protocol):
    """Physical memory that can be read."""

    def read(self, address: PhysicalAddress, size: int) -> bytes:
        """Exactly `size` bytes from `address` on; NoMemoryAt when any of them is outside RAM."""
        ...


class Bank(NamedTuple):
    """A run of RAM: `size` bytes at physical `start`, kept at `file_offset` of the file behind it."""

    start: PhysicalAddress
    size: int
    file_offset: int = 0

    @property
    def end(self) -> PhysicalAddress:
        """The first address after the bank."""
        return self.start + self.size


def read_u64(memory: Memory, address: PhysicalAddress) -> int:
    """The eight bytes at `address` as an unsigned number; NoMemoryAt outside of RAM.

    >>> from lab.memory import MadeUpMemory
    >>> memory = MadeUpMemory()
    >>> memory.write_u64(PhysicalAddress(0x1000), 0x2063)
    >>> hex(read_u64(memory, PhysicalAddress(0x1000)))
    '0x2063'
    """
    return read_entry(memory, address, 8)


def read_entry(memory: Memory, address: PhysicalAddress, size: int) -> int:
    """The `size` bytes at `address` as an unsigned number; NoMemoryAt outside of RAM."""
    return int.from_bytes(memory.read(address, size), "little")


def read_table(memory: Memory, address: PhysicalAddress) -> bytes:
    """The 4096 bytes of the page table at `address`; NoMemoryAt outside of RAM."""
    return memory.read(address, 4096)
