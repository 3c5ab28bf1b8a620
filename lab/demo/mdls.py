"""MDLs as pictures have them: the array of frame numbers, and the page-table entries that lead to the same frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError
from lab.kernel.mdl import Mdl, read_mdls
from lab.x86.address import PhysicalAddress, VirtualAddress

if TYPE_CHECKING:
    from lab.snapshot import Snapshot

__all__ = ["MdlPicture", "MdlPage", "PageEntry", "mdl_pictures"]

MANY = 16
"""Pages of one MDL that are looked at; more than a picture can show."""


@dataclass(frozen=True)
class PageEntry:
    """The entry that maps a page; `frame` is None while it maps none."""

    page: VirtualAddress
    entry_address: PhysicalAddress
    entry: int
    level: str
    index: int
    frame: int | None


class MdlPage(NamedTuple):
    """One element of the array, and the entries of the page in the buffer and in the system mapping.

    `frame` is None as long as nothing has filled the array.
    """

    frame: int | None
    buffer: PageEntry | None
    mapping: PageEntry | None


@dataclass(frozen=True)
class MdlPicture:
    """One MDL; `page_count` may be more than `pages`."""

    number: int
    address: VirtualAddress
    flags: tuple[str, ...]
    buffer: VirtualAddress | None
    mapped_at: VirtualAddress | None
    byte_count: int
    byte_offset: int
    page_count: int
    pages: tuple[MdlPage, ...]


def mdl_pictures(snapshot: Snapshot) -> tuple[MdlPicture, ...]:
    """All MDLs in the order of `lab mdl`; () for a guest that is not ours."""
    if snapshot.kernel is None:
        return ()
    return tuple(_picture(snapshot, number, mdl) for number, mdl in enumerate(read_mdls(snapshot.guest).mdls))


def _picture(snapshot: Snapshot, number: int, mdl: Mdl) -> MdlPicture:
    count = min(mdl.pages, MANY)
    pages = tuple(
        MdlPage(
            mdl.frames[i] if i < len(mdl.frames) else None,
            _entry(snapshot, mdl.buffer, i),
            # Of nonpaged pool the system address is the buffer itself: one page, one entry.
            None if mdl.mapped_at == mdl.buffer else _entry(snapshot, mdl.mapped_at, i),
        )
        for i in range(count)
    )
    return MdlPicture(
        number=number,
        address=mdl.address,
        flags=tuple(flag.removeprefix("MDL_") for flag in mdl.flags),
        buffer=mdl.buffer,
        mapped_at=mdl.mapped_at,
        byte_count=mdl.byte_count,
        byte_offset=mdl.byte_offset,
        page_count=mdl.pages,
        pages=pages,
    )


def _entry(snapshot: Snapshot, start: VirtualAddress | None, number: int) -> PageEntry | None:
    """The last entry on the walk of page `number` from `start` on; None where there is no such page."""
    if start is None or int(start.page()) + 4096 * number >= 1 << 64:
        return None
    page = start.page() + 4096 * number
    try:
        walk = snapshot.walk(page)
    except LabError:
        return None
    if not walk.steps:
        return None
    last = walk.steps[-1]
    frame = walk.mapped.physical.frame if walk.is_mapped else None
    return PageEntry(page, last.entry_address, int(last.entry), str(last.level), last.index, frame)
