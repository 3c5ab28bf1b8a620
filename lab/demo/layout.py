"""What stands where: the address space in named regions, physical memory frame by frame, the pages of the pool."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError
from lab.kernel.frames import USE_NAMES, FrameRun, frame_runs
from lab.kernel.pool import read_pool
from lab.kernel.regions import regions
from lab.paging import Kind, Mapping, map_space
from lab.paging.rules import rules_of
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.snapshot import Snapshot

__all__ = [
    "SpaceRegion",
    "SpaceRun",
    "FrameMap",
    "PoolPage",
    "PoolPiece",
    "space_regions",
    "frame_map",
    "pool_pages",
]

PAGE = 4096


class SpaceRun(NamedTuple):
    """A run of mapped pages with equal rights; `end` is the first address after it."""

    start: VirtualAddress
    end: VirtualAddress
    supervisor: str
    user: str
    kind: str


@dataclass(frozen=True)
class SpaceRegion:
    """A named part of the address space, and what is mapped there. The part of no address is "not canonical"."""

    name: str
    start: VirtualAddress
    end: VirtualAddress
    runs: tuple[SpaceRun, ...]

    @property
    def mapped(self) -> int:
        """Bytes of pages; entries that lead to no page do not count."""
        return sum(run.end - run.start for run in self.runs if run.kind == Kind.PAGE.value)

    @property
    def is_hole(self) -> bool:
        """Whether no address in it can ever be mapped."""
        return self.name == HOLE


USER, HOLE, KERNEL, WHOLE = "user half", "not canonical", "kernel half", "address space"


def space_regions(snapshot: Snapshot) -> tuple[SpaceRegion, ...]:
    """The whole address space from 0 on, in the regions that the kernel has; () where there is no paging to speak of.

    Regions in which nothing is mapped are there, too. What is mapped outside of all of them is a region of its own.
    """
    try:
        rows = map_space(snapshot.memory, snapshot.state)
    except LabError:
        return ()
    named = _named(snapshot, rows)
    starts = [start for start, _, _ in named]
    runs: list[list[SpaceRun]] = [[] for _ in named]
    for row in rows:
        place = bisect_right(starts, row.start) - 1
        run = SpaceRun(row.start, row.end, str(row.supervisor), str(row.user), row.kind.value)
        if row.start < named[place][1]:
            runs[place].append(run)
        else:
            starts.insert(place + 1, int(row.start))
            named.insert(place + 1, (int(row.start), int(row.end), str(row.kind) if row.kind is not Kind.PAGE else ""))
            runs.insert(place + 1, [run])
    return tuple(
        SpaceRegion(name, VirtualAddress(start), VirtualAddress(end), tuple(inside))
        for (start, end, name), inside in zip(named, runs, strict=True)
    )


def _named(snapshot: Snapshot, rows: Sequence[Mapping]) -> list[tuple[int, int, str]]:
    """Start, end and name of each region, by address; a space of 32 bits is one."""
    bits = rules_of(snapshot.state).address_bits
    if bits == 32:
        return [(0, 1 << bits, WHOLE)]
    top = 1 << bits - 1
    kernel = _kernel_regions(snapshot, rows) or [((1 << 64) - top, 1 << 64, KERNEL)]
    return [(0, top, USER), (top, (1 << 64) - top, HOLE), *kernel]


def _kernel_regions(snapshot: Snapshot, rows: Sequence[Mapping]) -> list[tuple[int, int, str]]:
    """The regions of our kernel, the sections of its image in one, and its self map."""
    if snapshot.kernel is None:
        return []
    found: list[tuple[int, int, str]] = []
    for each in regions(snapshot.kernel):
        name = each.name.partition(" .")[0]
        if found and found[-1][2] == name:
            found[-1] = (found[-1][0], int(each.end), name)
        else:
            found.append((int(each.start), int(each.end), name))
    found += [(int(row.start), int(row.end), str(row.kind)) for row in rows if row.kind is Kind.SELF_MAP]
    return sorted(found)


@dataclass(frozen=True)
class FrameMap:
    """All frames of RAM, in runs of one state by number; `names` say at more length what active frames serve."""

    runs: tuple[FrameRun, ...]
    names: tuple[tuple[str, str], ...]

    @property
    def count(self) -> int:
        """Frames in all."""
        return sum(run.count for run in self.runs)


def frame_map(snapshot: Snapshot) -> FrameMap | None:
    """The state of every frame; None for a guest that is not ours, or whose books cannot be read."""
    if snapshot.kernel is None:
        return None
    try:
        runs = tuple(frame_runs(snapshot.guest))
    except LabError:
        return None
    uses = dict.fromkeys(run.use for run in runs if run.use)
    return FrameMap(runs, tuple((use, USE_NAMES.get(use, use)) for use in uses))


class PoolPiece(NamedTuple):
    """A piece of a pool page, `offset` bytes from its start, header and all."""

    offset: int
    size: int
    tag: str
    in_use: bool
    fill: str


@dataclass(frozen=True)
class PoolPage:
    """A page of the pool, cut into blocks, or a whole allocation of one or more pages, then in one piece."""

    address: VirtualAddress
    kind: str
    size: int
    pieces: tuple[PoolPiece, ...]


def pool_pages(snapshot: Snapshot) -> tuple[PoolPage, ...]:
    """All pages in use by the pools, by address; () for a guest that is not ours."""
    if snapshot.kernel is None:
        return ()
    pool = read_pool(snapshot.guest)
    pages = [
        PoolPage(
            page.address,
            page.kind,
            PAGE,
            tuple(
                PoolPiece(each.header - page.address, each.size, each.tag, each.in_use, each.fill)
                for each in page.blocks
            ),
        )
        for page in pool.pages
    ]
    for big in pool.big:
        page = VirtualAddress(big.address.page())
        size = -(-(big.address.offset() + big.size) // PAGE) * PAGE
        piece = PoolPiece(big.address.offset(), big.size, big.tag, True, "")
        pages.append(PoolPage(page, big.kind, size, (piece,)))
    return tuple(sorted(pages, key=lambda page: page.address))
