"""The MDLs alive in the guest: pool allocations tagged 'Mdl ', decoded as Windows lays them out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError
from lab.kernel.pool import read_pool
from lab.x86.address import PhysicalAddress, VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.objects import Guest
    from lab.kernel.pool import Allocation

__all__ = ["Mdl", "Mdls", "read_mdls", "read_mdl"]

TAG = "Mdl "
PAGE = 4096

_HAS_ADDRESS = ("MDL_MAPPED_TO_SYSTEM_VA", "MDL_SOURCE_IS_NONPAGED_POOL")
_HAS_FRAMES = ("MDL_PAGES_LOCKED", "MDL_SOURCE_IS_NONPAGED_POOL", "MDL_PARTIAL", "MDL_IO_SPACE")


class Mdl(NamedTuple):
    """One memory descriptor list.

    `flags` are the names of the set bits. `frames` is its PFN array, empty as long as nothing has filled it.
    """

    address: VirtualAddress
    size: int
    flag_bits: int
    flags: tuple[str, ...]
    next: int
    process: int
    mapped_system_va: int
    start_va: int
    byte_count: int
    byte_offset: int
    pages: int
    frames: tuple[int, ...]
    problems: tuple[str, ...] = ()

    @property
    def buffer(self) -> VirtualAddress | None:
        """The buffer it was made for; None for pages that had no address (MmAllocatePagesForMdl)."""
        return VirtualAddress(self.start_va + self.byte_offset) if self.start_va else None

    @property
    def mapped_at(self) -> VirtualAddress | None:
        """MappedSystemVa, while the flags say that it holds."""
        return VirtualAddress(self.mapped_system_va) if set(self.flags) & set(_HAS_ADDRESS) else None

    @property
    def reached_at(self) -> VirtualAddress | PhysicalAddress | None:
        """Where its memory can be looked at: the system mapping, else the buffer, else the first frame."""
        first = PhysicalAddress.from_frame(self.frames[0]) if self.frames else None
        return self.mapped_at or self.buffer or first


class Mdls(NamedTuple):
    """All MDLs by address, so that the same ones keep their order while none comes or goes."""

    mdls: tuple[Mdl, ...]
    problems: tuple[str, ...] = ()


def read_mdls(guest: Guest) -> Mdls:
    """Decode every MDL there is; what cannot be read is in `problems`, what looks wrong in the MDL's own."""
    pool = read_pool(guest)
    problems = list(pool.problems)
    found = []
    for each in pool.allocations:
        if each.tag == TAG:
            try:
                found.append(read_mdl(guest, each))
            except LabError as error:
                problems.append(f"the MDL at {each.address} cannot be read: {error}")
    return Mdls(tuple(found), tuple(problems))


def read_mdl(guest: Guest, block: Allocation) -> Mdl:
    """Decode the MDL in a pool allocation; LabError when it cannot be read."""
    mdl = guest.struct("_MDL", block.address)
    header = mdl.structure.size
    bits = mdl.unsigned("MdlFlags")
    flags = guest.kernel.enum("mdl_flag").flags_of(bits)
    pages = (mdl["ByteOffset"] + mdl["ByteCount"] + PAGE - 1) // PAGE
    # Size has 16 bits: of an MDL for more than 32 MiB it keeps the lower ones, as in Windows.
    size = mdl.unsigned("Size")
    is_cut = size == (header + 8 * pages) % (1 << 16)
    room = max(0, (block.size if is_cut else min(size, block.size)) - header) // 8
    problems = []
    if pages > room:
        problems.append(f"it describes {pages} pages but has room for {room} frame numbers")
    frames: tuple[int, ...] = ()
    if set(flags) & set(_HAS_FRAMES):
        data = guest.read(block.address + header, 8 * min(pages, room))
        frames = tuple(int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8))
    if mdl["StartVa"] % PAGE or mdl["ByteOffset"] >= PAGE:
        problems.append("StartVa or ByteOffset is not what a page-aligned start leaves")
    return Mdl(
        address=block.address,
        size=size,
        flag_bits=bits,
        flags=flags,
        next=mdl["Next"],
        process=mdl["Process"],
        mapped_system_va=mdl["MappedSystemVa"],
        start_va=mdl["StartVa"],
        byte_count=mdl["ByteCount"],
        byte_offset=mdl["ByteOffset"],
        pages=pages,
        frames=frames,
        problems=tuple(problems),
    )
