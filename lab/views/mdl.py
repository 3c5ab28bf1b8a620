"""`lab mdl`: the memory descriptor lists alive."""

from __future__ import annotations

from typing import Annotated

from lab.errors import UsageError
from lab.kernel.mdl import Mdl, read_mdls
from lab.snapshot import Snapshot
from lab.views.cells import address_cell, flags_cell, line
from lab.views.registry import view
from lab.views.report import Block, Cell, Column, Json, KeyValues, Line, Report, Role, Table
from lab.x86.address import PhysicalAddress, VirtualAddress

__all__ = ["show_mdl"]


@view("mdl", schema="lab.mdl/1", example="lab mdl 0")
def show_mdl(
    snapshot: Snapshot,
    index: Annotated[int | None, "show this one in full, with its frame numbers"] = None,
) -> Report:
    """The MDLs alive, or one of them field by field.

    One MDL is shown with the frames it describes. The numbers go with their addresses: mdl:0 in other commands is the
    memory of the first one listed here.
    """
    found = read_mdls(snapshot.guest)
    problems = found.problems + tuple(f"MDL {i}: {text}" for i, mdl in enumerate(found.mdls) for text in mdl.problems)
    if index is None:
        data: list[Json] = [_data(i, mdl) for i, mdl in enumerate(found.mdls)]
        return Report("lab.mdl/1", {"mdls": data}, (_table(found.mdls),), problems=problems)
    if not 0 <= index < len(found.mdls):
        count = f"there are {len(found.mdls)}, counted from 0" if found.mdls else "there are none now"
        raise UsageError(f"there is no MDL {index}: {count}")
    mdl = found.mdls[index]
    blocks: tuple[Block, ...] = (_fields(index, mdl), _frames(mdl))
    return Report("lab.mdl/1", {"mdls": [_data(index, mdl)]}, blocks, problems=problems)


def _data(index: int, mdl: Mdl) -> dict[str, Json]:
    return {
        "index": index,
        "address": hex(mdl.address),
        "size": mdl.size,
        "flags": list(mdl.flags),
        "flag_bits": hex(mdl.flag_bits),
        "next": hex(mdl.next),
        "process": hex(mdl.process),
        "mapped_system_va": hex(mdl.mapped_system_va),
        "start_va": hex(mdl.start_va),
        "byte_count": mdl.byte_count,
        "byte_offset": mdl.byte_offset,
        "pages": mdl.pages,
        "frames": [hex(frame) for frame in mdl.frames],
        "buffer": None if mdl.buffer is None else hex(mdl.buffer),
        "mapped_at": None if mdl.mapped_at is None else hex(mdl.mapped_at),
    }


def _table(mdls: tuple[Mdl, ...]) -> Table:
    columns = (
        Column("mdl", right=True),
        Column("at"),
        Column("buffer"),
        Column("bytes", right=True),
        Column("mapped at"),
    )
    rows = tuple(
        (
            Cell(str(i), Role.LABEL),
            address_cell(mdl.address),
            Cell("no address", Role.MUTED) if mdl.buffer is None else address_cell(mdl.buffer),
            Cell(str(mdl.byte_count), Role.NUMBER),
            Cell("not mapped", Role.MUTED) if mdl.mapped_at is None else address_cell(mdl.mapped_at),
        )
        for i, mdl in enumerate(mdls)
    )
    return Table(columns, rows, empty="no MDLs")


def _fields(index: int, mdl: Mdl) -> KeyValues:
    """The structure with Windows' names, in the order it stands in memory."""
    flags = [name.removeprefix("MDL_") for name in mdl.flags]
    stale = "" if mdl.mapped_at is not None or not mdl.mapped_system_va else "  (no flag says that it holds)"
    items: tuple[tuple[str, Line], ...] = (
        ("Next", line(hex(mdl.next))),
        ("Size", line(str(mdl.size))),
        ("MdlFlags", line(f"{mdl.flag_bits:#06x}  ", flags_cell(flags))),
        ("Process", line(hex(mdl.process))),
        ("MappedSystemVa", line(address_cell(VirtualAddress(mdl.mapped_system_va)), stale)),
        ("StartVa", line(address_cell(VirtualAddress(mdl.start_va)))),
        ("ByteCount", line(f"{mdl.byte_count:#x}  ({mdl.byte_count})")),
        ("ByteOffset", line(f"{mdl.byte_offset:#x}")),
    )
    return KeyValues(items, title=f"MDL {index} at {mdl.address}")


def _frames(mdl: Mdl) -> Table:
    """The PFN array, each frame beside the pages that it stands behind."""
    columns = (
        Column("page", right=True),
        Column("PFN", right=True),
        Column("frame"),
        Column("buffer"),
        Column("mapped"),
    )
    rows = tuple(
        (
            Cell(str(i), Role.MUTED),
            Cell(f"{frame:x}", Role.NUMBER),
            address_cell(PhysicalAddress.from_frame(frame)) if frame < 1 << 40 else Cell("not a frame", Role.BAD),
            _page(mdl.buffer, i),
            _page(mdl.mapped_at, i),
        )
        for i, frame in enumerate(mdl.frames)
    )
    return Table(columns, rows, title="frames", empty="none yet: nothing has filled the array")


def _page(start: VirtualAddress | None, index: int) -> Cell:
    if start is None:
        return Cell("")
    address = int(start.page()) + 4096 * index
    return address_cell(VirtualAddress(address)) if address < 1 << 64 else Cell("beyond the address space", Role.BAD)
