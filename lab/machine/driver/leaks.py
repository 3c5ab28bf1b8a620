"""What a driver left behind: what the guest held before and holds now, compared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from lab.kernel.frames import frame_use, read_frames
from lab.kernel.pool import read_pool
from lab.kernel.regions import regions
from lab.views.cells import plural
from lab.x86.address import VirtualAddress
from lab.x86.levels import size_text

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage
    from lab.kernel.objects import Guest
    from lab.snapshot.changes import EntryChange
    from lab.views.report import Json

__all__ = ["Holdings", "Leak", "mappings"]

Key = TypeVar("Key")

MDL_TAG = "Mdl "

BOOKED_ELSEWHERE = ("nonpaged pool", "special pool", "PFN database", "kernel image")
"""Regions whose mappings come and go with what is counted already: blocks of pool, above all."""

THREAD_TAG = "Thre"
"""Threads, with their stacks, are the kernel's; those that still run in a driver when it goes, the guest counts."""

FRAME_USES = {"mdl": "pages of MDLs", "user": "pages at user addresses"}
"""Frames that a driver takes by themselves; those behind pool and tables are counted as such."""


@dataclass(frozen=True)
class Leak:
    """One kind of thing that was left: `kind` for programs, a sentence for people, and more for programs."""

    kind: str
    text: str
    count: int
    more: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """As `lab.driver/1` has it."""
        return {"kind": self.kind, "count": self.count, **self.more}


@dataclass(frozen=True)
class Holdings:
    """How much of what is in use: blocks and bytes of pool by tag and pool, MDLs among them, frames by use.

    Holdings are added and subtracted like numbers, and may be negative: what one driver took another may give back.
    """

    blocks: Counter[tuple[str, str]] = field(default_factory=Counter)
    bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    mapped: Counter[int] = field(default_factory=Counter)
    """Pages outside of the pools by their addresses: 1 where one is mapped that was not before, -1 the other way."""

    @classmethod
    def of(cls, guest: Guest) -> Holdings:
        """Count what is in use now; the guest must not be changing it."""
        blocks: Counter[tuple[str, str]] = Counter()
        size: Counter[tuple[str, str]] = Counter()
        for each in read_pool(guest).allocations:
            if each.tag == THREAD_TAG:
                continue
            blocks[each.tag, each.kind] += 1
            size[each.tag, each.kind] += each.size
        uses = read_frames(guest).uses
        return cls(blocks, size, Counter({use: uses.get(use, 0) for use in FRAME_USES}))

    @classmethod
    def from_json(cls, text: str) -> Holdings:
        """The inverse of `to_json`."""
        blocks, size, frames, mapped = json.loads(text)
        return cls(
            Counter({(tag, kind): count for tag, kind, count in blocks}),
            Counter({(tag, kind): count for tag, kind, count in size}),
            Counter(frames),
            Counter(dict(mapped)),
        )

    def to_json(self) -> str:
        """A form for a file."""
        blocks, size = ([[*key, count] for key, count in each.items()] for each in (self.blocks, self.bytes))
        return json.dumps([blocks, size, self.frames, [*self.mapped.items()]])

    def __add__(self, other: Holdings) -> Holdings:
        return Holdings(
            _sum(self.blocks, other.blocks),
            _sum(self.bytes, other.bytes),
            _sum(self.frames, other.frames),
            _sum(self.mapped, other.mapped),
        )

    def since(self, before: Holdings, mapped: Counter[int]) -> Holdings:
        """What came, or went, in between; `mapped` are the pages that did."""
        return Holdings(
            _difference(self.blocks, before.blocks),
            _difference(self.bytes, before.bytes),
            _difference(self.frames, before.frames),
            mapped,
        )

    def without(self, guest: Guest) -> Holdings:
        """The same without pages that are not mapped any more, or hold a thread's stack: both came and went between."""
        kept = {address: count for address, count in self.mapped.items() if _is_held(guest, VirtualAddress(address))}
        return replace(self, mapped=Counter(kept))

    def leaks(self) -> list[Leak]:
        """What is more than there was."""
        return [*self._pool(), *self._frames(), *self._mappings()]

    def _pool(self) -> Iterable[Leak]:
        for (tag, kind), count in sorted(self.blocks.items()):
            if count <= 0:
                continue
            size = self.bytes[tag, kind]
            if tag == MDL_TAG:
                yield Leak("mdl", f"{plural(count, 'MDL')}", count)
            else:
                text = f"{plural(count, 'block')} of {kind}, {size_text(size)}, tag {tag!r}"
                yield Leak("pool", text, count, {"tag": tag, "pool": kind, "bytes": size})

    def _frames(self) -> Iterable[Leak]:
        for use, count in self.frames.items():
            if count > 0:
                yield Leak("frames", f"{plural(count, 'frame')}: {FRAME_USES[use]}", count, {"use": use})

    def _mappings(self) -> Iterable[Leak]:
        pages = sorted(address for address, count in self.mapped.items() if count > 0)
        if pages:
            places = ", ".join(f"{each:#018x}" for each in pages[:3]) + (", …" if len(pages) > 3 else "")
            addresses: list[Json] = [hex(each) for each in pages]
            yield Leak("mapping", f"{plural(len(pages), 'mapped page')}: {places}", len(pages), {"pages": addresses})


def mappings(kernel: KernelImage, changes: Iterable[EntryChange]) -> Counter[int]:
    """The pages outside of the pools that changes mapped (1) or unmapped (-1)."""
    elsewhere = [each for each in regions(kernel) if each.name.startswith(BOOKED_ELSEWHERE)]
    found: Counter[int] = Counter()
    for change in changes:
        if change.leaf and change.kind != "changed" and not any(e.start <= change.start < e.end for e in elsewhere):
            found[int(change.start)] += 1 if change.kind == "created" else -1
    return found


def _is_held(guest: Guest, address: VirtualAddress) -> bool:
    walk = guest.space.walk(address)
    return walk.is_mapped and frame_use(guest, walk.mapped.physical.frame) != "stack"


def _sum(one: Counter[Key], other: Counter[Key]) -> Counter[Key]:
    """Both together; unlike `+` it keeps what is negative."""
    found = Counter(one)
    found.update(other)
    return found


def _difference(now: Counter[Key], before: Counter[Key]) -> Counter[Key]:
    found = Counter(now)
    found.subtract(before)
    return found
