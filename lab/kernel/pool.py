"""The pools: pages, the blocks they are cut into, allocations of whole pages, and what each tag holds.

Everything comes from the guest's own book-keeping (`pool_pages`, `pool_tags`) and from the POOL_HEADERs in the pages.
A driver may have written over any of it, so whatever does not fit together becomes a sentence in `problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError
from lab.kernel.objects import StructView
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.objects import Guest

__all__ = ["Pool", "PoolPage", "PoolBlock", "Allocation", "TagUsage", "read_pool", "tag_text"]

PAGE = 4096

MANY_PROBLEMS = 64
"""After so many, more of them help nobody."""

KIND_NAMES = {"POOL_NONPAGED": "NonPagedPool", "POOL_NONPAGED_NX": "NonPagedPoolNx", "POOL_PAGED": "PagedPool"}
"""Windows' names for what the guest calls `enum pool_kind`."""


class PoolBlock(NamedTuple):
    """One block of a page: `size` bytes from its header on, of which the data begin at `address`.

    `fill` names the pattern when all of its data bytes are the same fill of the pool.
    """

    header: VirtualAddress
    size: int
    tag: str
    kind: str
    in_use: bool
    fill: str

    @property
    def address(self) -> VirtualAddress:
        """Where the data begin: what the allocating call returned."""
        return self.header + 16


class PoolPage(NamedTuple):
    """A page cut into blocks, in the order they stand."""

    address: VirtualAddress
    kind: str
    blocks: tuple[PoolBlock, ...]


class Allocation(NamedTuple):
    """Something a caller holds: `size` bytes (for a block: the room it has) at `address`.

    `big`: on pages of its own, as large allocations are, and all of special pool, which `kind` tells.
    """

    address: VirtualAddress
    size: int
    tag: str
    kind: str
    big: bool


class TagUsage(NamedTuple):
    """What a tag holds of one pool: `bytes` counts headers and the rest of whole pages too."""

    tag: str
    kind: str
    allocations: int
    frees: int
    bytes: int

    @property
    def held(self) -> int:
        """Allocations that have not been freed."""
        return self.allocations - self.frees


class Pool(NamedTuple):
    """All pools at one moment."""

    pages: tuple[PoolPage, ...] = ()
    big: tuple[Allocation, ...] = ()
    tags: tuple[TagUsage, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """Blocks in use and allocations on pages of their own, by address."""
        small = (
            Allocation(block.address, block.size - 16, block.tag, block.kind, False)
            for page in self.pages
            for block in page.blocks
            if block.in_use
        )
        return tuple(sorted((*small, *self.big), key=lambda each: each.address))


def tag_text(tag: int) -> str:
    r"""A pool tag as its four characters, empty for 0; a byte that is no character shows as a dot.

    >>> tag_text(0x206C644D), tag_text(0x01626154)
    ('Mdl ', 'Tab.')
    """
    data = (tag & 0x7FFFFFFF).to_bytes(4, "little")  # the top bit is Windows' PROTECTED_POOL
    if not any(data):
        return ""
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)


def read_pool(guest: Guest) -> Pool:
    """Decode every page, block and tag; what cannot be read or contradicts itself is in `problems`."""
    reader = _Reader(guest)
    for part in (reader.read_pages, reader.read_special, reader.read_tags):
        try:
            part()
        except LabError as error:
            reader.problems.append(str(error))
    return Pool(tuple(reader.pages), tuple(reader.big), tuple(reader.tags), tuple(reader.problems))


class _Reader:
    """One pass over the pool of one guest."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.kernel = guest.kernel
        self.pages: list[PoolPage] = []
        self.big: list[Allocation] = []
        self.tags: list[TagUsage] = []
        self.problems: list[str] = []
        self.unit = self.kernel.structure("POOL_HEADER").size

    def read_pages(self) -> None:
        """Visit the pages that are not free."""
        base = self.kernel.constant("NONPAGED_POOL")
        blocks, first = self.kernel.constant("POOL_PAGE_BLOCKS"), self.kernel.constant("POOL_PAGE_BIG")
        for number, page in self._page_records("pool_pages", "pool_page", blocks, first):
            address = VirtualAddress(base + number * PAGE)
            kind = self._kind(page["kind"])
            if page["state"] == first:
                self.big.append(Allocation(address, page["bytes"], tag_text(page["tag"]), kind, True))
                continue
            self.pages.append(PoolPage(address, kind, tuple(self._blocks(address, kind))))
            if len(self.problems) >= MANY_PROBLEMS:
                self.problems.append(f"too much of the pool is damaged: the pages behind {address} are not looked at")
                return

    def read_special(self) -> None:
        """Visit the blocks of special pool, each on pages of its own; kernels before it existed have none."""
        if self.kernel.find("special_pages") is None:
            return
        base, block = self.kernel.constant("SPECIAL_POOL"), self.kernel.constant("SPECIAL_BLOCK")
        for number, page in self._page_records("special_pages", "special_page", block):
            address = VirtualAddress(base + number * PAGE + page["offset"])
            kind = f"{self._kind(page['kind'])} (special)"
            self.big.append(Allocation(address, page["bytes"], tag_text(page["tag"]), kind, True))

    def _page_records(self, array: str, tag: str, *states: int) -> Iterator[tuple[int, StructView]]:
        """The records of pages in these states, with their numbers; all others are skipped in one go."""
        symbol, structure = self.kernel.symbol(array), self.kernel.structure(tag)
        data = self.guest.read(symbol.address, symbol.size)
        column = data[structure.field("state").offset :: structure.size]
        for match in re.finditer(b"[" + re.escape(bytes(states)) + b"]", column):
            offset = match.start() * structure.size
            record = data[offset : offset + structure.size]
            yield match.start(), StructView(symbol.address + offset, structure, record, self.kernel)

    def _blocks(self, page: VirtualAddress, kind: str) -> Iterator[PoolBlock]:
        """Follow the headers of one page until its end, or until one that cannot be."""
        try:
            data = self.guest.read(page, PAGE)
        except LabError as error:
            self.problems.append(f"pool page {page} cannot be read: {error}")
            return
        structure = self.kernel.structure("POOL_HEADER")
        offset, previous = 0, 0
        while offset < PAGE:
            header = {name: each.type.decode(data[offset + each.offset :]) for name, each in structure.fields.items()}
            size = header["BlockSize"] * self.unit
            at = page + offset
            if header["PreviousSize"] != previous:
                said, is_so = header["PreviousSize"] * self.unit, previous * self.unit
                self.problems.append(f"pool header {at} says {said} bytes are before it, where there are {is_so}")
            if not size or offset + size > PAGE:
                self.problems.append(f"pool header {at} gives its block {size} bytes: the rest of the page is unknown")
                return
            in_use = header["PoolType"] != 0
            fill = self._fill(data[offset + self.unit : offset + size], in_use)
            yield PoolBlock(at, size, tag_text(header["PoolTag"]), kind, in_use, fill)
            offset, previous = offset + size, header["BlockSize"]

    def _fill(self, data: bytes, in_use: bool) -> str:
        """The name of the fill that all of `data` is, list entry of a free block aside; empty for anything else."""
        body = data if in_use else data[self.unit :]
        if not body or body.count(body[0]) != len(body):
            return ""
        names = {value: name for name, value in self.kernel.enum("pool_fill").values.items()}
        return names.get(body[0], "").removeprefix("POOL_FILL_").lower()

    def read_tags(self) -> None:
        """Every tag that has ever been used, for each pool it was used with."""
        symbol, structure = self.kernel.symbol("pool_tags"), self.kernel.structure("pool_tag_usage")
        data = self.guest.read(symbol.address, symbol.size)
        used = [offset for offset in range(0, symbol.size, structure.size) if any(data[offset : offset + 4])]
        for usage in (self.guest.struct("pool_tag_usage", symbol.address + offset) for offset in used):
            for kind, count in enumerate(usage.structs("kind")):
                if count["allocations"]:
                    numbers = (count["allocations"], count["frees"], count["bytes"])
                    self.tags.append(TagUsage(tag_text(usage["tag"]), self._kind(kind), *numbers))

    def _kind(self, value: int) -> str:
        name = self.kernel.enum("pool_kind").name_of(value)
        return KIND_NAMES.get(name, name)
