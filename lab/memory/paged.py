"""Memory kept page by page: recordings, and whatever else knows only the pages that hold something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lab.errors import NoMemoryAt
from lab.memory.protocol import Bank
from lab.x86.address import PhysicalAddress

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PagedMemory", "Pages", "PAGE_SIZE"]

PAGE_SIZE = 4096
_ZEROS = bytes(PAGE_SIZE)


class Pages(Protocol):
    """Pages of 4096 bytes by their frame numbers: a dictionary, or anything that looks them up."""

    def get(self, number: int, /) -> bytes | None:
        """The bytes of a frame, None for one that is all zero."""
        ...


class PagedMemory:
    r"""RAM of which the frames that are not in `pages` are all zero.

    >>> memory = PagedMemory([Bank(PhysicalAddress(0), 0x3000)], {1: b"frame 1!".ljust(4096, b".")})
    >>> memory.read(PhysicalAddress(0xFFE), 6)
    b'\x00\x00fram'
    """

    def __init__(self, banks: Iterable[Bank], pages: Pages) -> None:
        self.banks = tuple(banks)
        self.pages = pages

    def read(self, address: PhysicalAddress, size: int) -> bytes:
        """Exactly `size` bytes from `address` on; NoMemoryAt unless one bank holds them all."""
        if not any(bank.start <= address and int(address) + size <= bank.end for bank in self.banks):
            raise NoMemoryAt(address, size)
        number, offset = divmod(int(address), PAGE_SIZE)
        if offset + size <= PAGE_SIZE:
            return (self.pages.get(number) or _ZEROS)[offset : offset + size]
        count = -(-(offset + size) // PAGE_SIZE)
        data = b"".join(self.pages.get(number + i) or _ZEROS for i in range(count))
        return data[offset : offset + size]
