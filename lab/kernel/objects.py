"""Typed reads of the guest's structures, by the names the C sources give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.paging.virtual import VirtualMemory
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.image import Field, KernelImage, Structure
    from lab.memory import Memory
    from lab.x86.state import PagingState

__all__ = ["Guest", "StructView"]


class Guest:
    """Our kernel in memory: what every decoder reads from.

    The image itself is read where the loader put it, which works from the first instruction on and whatever the page
    tables say; all else goes through the page tables.
    """

    def __init__(self, kernel: KernelImage, memory: Memory, state: PagingState) -> None:
        self.kernel = kernel
        self.memory = memory
        self.state = state
        self.space = VirtualMemory(memory, state)

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes at a virtual address; NotMapped or NoMemoryAt when they cannot be had."""
        first, last = self.kernel.physical_of(address), self.kernel.physical_of(address + size - 1)
        if first is not None and last is not None and last - first == size - 1:
            return self.memory.read(first, size)
        return self.space.read(VirtualAddress(address), size)

    def u64(self, address: int) -> int:
        """The eight bytes at a virtual address as an unsigned number."""
        return int.from_bytes(self.read(address, 8), "little")

    def struct(self, name: str, address: int) -> StructView:
        """The structure of that name at a virtual address, read at once."""
        structure = self.kernel.structure(name)
        return StructView(VirtualAddress(address), structure, self.read(address, structure.size), self.kernel)

    def structs(self, name: str, address: int, count: int) -> Iterator[StructView]:
        """An array of structures, read at once."""
        structure = self.kernel.structure(name)
        data = self.read(address, structure.size * count) if count else b""
        for offset in range(0, len(data), structure.size):
            raw = data[offset : offset + structure.size]
            yield StructView(VirtualAddress(address + offset), structure, raw, self.kernel)

    def variable(self, name: str) -> StructView:
        """A global variable of a structure type; AddressError when the kernel has no such symbol."""
        symbol = self.kernel.symbol(name)
        kind = self.kernel.variable_type(name)
        if kind is None or kind.kind not in ("struct", "union"):
            raise LabError(f"{name} is not a structure, or was built without debug information")
        return self.struct(kind.tag, symbol.address)

    def number(self, name: str) -> int:
        """A global variable of an integer, pointer or enum type."""
        symbol = self.kernel.symbol(name)
        kind = self.kernel.variable_type(name)
        data = self.read(symbol.address, kind.size if kind else symbol.size or 8)
        return kind.decode(data) if kind else int.from_bytes(data, "little")

    def text(self, address: int, limit: int = 256) -> str:
        """The zero-terminated string at a virtual address, cut at `limit` bytes or where its page ends unread."""
        found = bytearray()
        while len(found) < limit:
            room = 0x1000 - (address + len(found)) % 0x1000
            piece, zero, _ = self.read(address + len(found), min(room, limit - len(found))).partition(b"\0")
            found += piece
            if zero:
                break
        return found.decode(errors="replace")


@dataclass(frozen=True)
class StructView:
    """A structure of the guest as it was when read: `address` where it stood, `data` its bytes.

    Fields are read by their names, inner ones with a dot: ``pfn["u3.ReferenceCount"]``.
    """

    address: VirtualAddress
    structure: Structure
    data: bytes
    kernel: KernelImage

    def field(self, path: str) -> tuple[Field, bytes]:
        """A field by its path, and its bytes; LabError when there is none of that name."""
        structure, data = self.structure, self.data
        *outer, last = path.split(".")
        for name in outer:
            field = structure.field(name)
            data = data[field.offset : field.offset + field.type.size]
            structure = self.kernel.structure(field.type.tag)
        field = structure.field(last)
        return field, data[field.offset : field.offset + field.type.size]

    def __getitem__(self, path: str) -> int:
        field, data = self.field(path)
        return field.type.decode(data)

    def __contains__(self, name: str) -> bool:
        return name in self.structure.fields

    def unsigned(self, path: str) -> int:
        """A field as an unsigned number, whatever sign its type has: for fields that hold flags."""
        return int.from_bytes(self.bytes(path), "little")

    def bytes(self, path: str) -> bytes:
        """The bytes of a field."""
        return self.field(path)[1]

    def array(self, path: str) -> tuple[int, ...]:
        """The numbers of an array field."""
        field, data = self.field(path)
        element = field.type.target
        if field.type.kind != "array" or element is None or not element.size:
            raise LabError(f"{self.structure.name}.{path} is not an array")
        return tuple(element.decode(data[i : i + element.size]) for i in range(0, len(data), element.size))

    def structs(self, path: str) -> tuple[StructView, ...]:
        """The elements of a field that is an array of structures."""
        return tuple(self.element(path, index) for index in range(self.field(path)[0].type.count))

    def element(self, path: str, index: int) -> StructView:
        """One element of a field that is an array of structures."""
        field, data = self.field(path)
        element = field.type.target
        if field.type.kind != "array" or element is None or not element.tag or not element.size:
            raise LabError(f"{self.structure.name}.{path} is not an array of structures")
        at = index * element.size
        structure = self.kernel.structure(element.tag)
        return StructView(self.address + field.offset + at, structure, data[at : at + element.size], self.kernel)

    def inner(self, path: str) -> StructView:
        """A field that is itself a structure."""
        field, data = self.field(path)
        return StructView(self.address + field.offset, self.kernel.structure(field.type.tag), data, self.kernel)

    def enum(self, path: str, enum: str = "") -> str:
        """The name of a field's value in its own enum, or in `enum` where the field is a plain number."""
        field, data = self.field(path)
        return self.kernel.enum(enum or field.type.tag).name_of(field.type.decode(data))
