"""A lecture: a buffer is one run of virtual addresses, and its frames lie anywhere; a device needs more."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from lab.scenarios.registry import scenario
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage
    from lab.scenarios.step import Step
    from lab.views.report import Report

PAGE = 4096
PAGES = 6
TAG = "Big "
ANY_ADDRESS = (1 << 64) - 1

FREED = (6, 0, 10, 2, 8, 4)
"""Which of twelve single pages are freed again, and in what order: the last one freed is the first one taken."""


@scenario("contiguous", 5)
def contiguous(stage: Stage) -> Iterator[Step]:
    """Contiguous in virtual, scattered in physical: a big buffer whose frames lie anywhere.

    Leaves holes among the free frames, as any system that has run for a while, and allocates six pages of pool: one
    run of virtual addresses, frames from wherever there were some. Bytes written across a page boundary are then in
    two distant places of physical memory. A device that knows nothing of page tables needs
    MmAllocateContiguousMemory, whose frames follow one another.
    """
    before = stage.books()
    lecture = _Buffers(stage)
    yield lecture.leave_holes()
    yield lecture.allocate()
    yield lecture.show_frames()
    yield lecture.write_across()
    yield lecture.allocate_contiguous()
    yield from lecture.free()
    yield stage.nothing_left(before)


class _Buffers:
    """The lecture under way: single pages kept so that the free frames have holes, and the two buffers."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.kept: list[VirtualAddress] = []
        self.buffer = self.contiguous = VirtualAddress(0)

    def leave_holes(self) -> Step:
        singles = [self._pool(PAGE) for _ in range(2 * PAGES)]
        for number in FREED:
            self._free_pool(singles[number])
        self.kept = singles[1::2]
        return self.stage.step(
            "Leave holes among the free frames",
            "{count} single pages were allocated, and every other one freed again: what is free now is scattered.",
            count=2 * PAGES,
            notes="A system that has run for a while looks like this by itself; we only hurry it along.",
        )

    def allocate(self) -> Step:
        kernel = self.stage.machine.kernel
        pool_type, tag = kernel.constant("NonPagedPoolNx"), self.stage.tag(TAG)
        call = self.stage.call("ExAllocatePoolWithTag", pool_type, PAGES * PAGE, tag)
        self.buffer = VirtualAddress(int(call))
        entries = [int(change.entry_address) for change in call.changes]
        if entries != list(range(entries[0], entries[0] + 8 * PAGES, 8)):
            self.stage.refute(f"{PAGES} entries side by side should have changed, and these have: {call.changes}")
        return self.stage.step(
            "Allocate a buffer of {count} pages",
            "One run of virtual addresses, from {start} to {end}: {count} entries of one page table, side by side.",
            call=call,
            ask="{count} pages are to be one run of virtual addresses. Are their frames one run, too?",
            answer="They need not be: each entry names any frame it likes.",
            notes="Read the frame numbers in the entries from top to bottom: nobody has put them in order.",
            focus=(self.buffer, self.buffer + PAGE),
            count=PAGES,
            start=self.buffer,
            end=self.buffer + (PAGES * PAGE - 1),
        )

    def show_frames(self) -> Step:
        frames = self._frames(self.buffer)
        if all(after == before + 1 for before, after in pairwise(frames)):
            self.stage.refute(f"the frames of {self.buffer} should lie scattered, and are consecutive: {frames}")
        return self.stage.step(
            "Where its bytes really are",
            "The frames came from wherever there were free ones. No program notices: the page tables hide it.",
            ask="A program goes through the buffer from end to end. Does it notice?",
            answer="No: it has virtual addresses only, and those follow one another.",
            notes="The last column says how many frames further on a page lies. In one run it would be +1 throughout.",
            agree=(self.buffer, self.buffer + (PAGES - 1) * PAGE),
            reports={"pages": _page_report(self.buffer, frames)},
        )

    def write_across(self) -> Step:
        message = b"one sentence, two frames"
        place = self.buffer + (PAGE - 12)
        self.stage.quick_call("copy", place, message, len(message))
        halves = [self.stage.snapshot().walk(each).mapped.physical for each in (place, self.buffer + PAGE)]
        written = b"".join(self.stage.machine.memory.read(each, len(message) // 2) for each in halves)
        if written != message:
            self.stage.refute(f"{message!r} should stand at {halves[0]} and {halves[1]}, where {written!r} stands")
        return self.stage.step(
            "Write across a page boundary",
            "{message} begins at {place}. Its first half is at {first} in physical memory, the second at {second}.",
            message=repr(message.decode()),
            place=place,
            first=halves[0],
            second=halves[1],
            ask="The words cross a page boundary. Where do they stand in physical memory?",
            answer="In two frames, far from each other: each page is translated by itself.",
            notes="A debugger or a driver that reads physical memory must translate every page anew.",
            focus=(place, self.buffer + PAGE),
            reports={
                "virtual": self.stage.report("mem", {"address": hex(place), "length": 24}),
                "first half": self.stage.report("mem", {"address": str(halves[0]), "length": 12}),
                "second half": self.stage.report("mem", {"address": str(halves[1]), "length": 12}),
            },
        )

    def allocate_contiguous(self) -> Step:
        call = self.stage.call("MmAllocateContiguousMemory", PAGES * PAGE, ANY_ADDRESS)
        self.contiguous = VirtualAddress(int(call))
        frames = self._frames(self.contiguous)
        if any(after != before + 1 for before, after in pairwise(frames)):
            self.stage.refute(f"the frames of {self.contiguous} should be consecutive: {frames}")
        return self.stage.step(
            "Ask for frames that follow one another",
            "A device that writes to memory by itself sees physical addresses: its buffer must be one run of them.",
            call=call,
            agree=(self.contiguous,),
            ask="A network card writes a packet into memory by itself. Which addresses does it use?",
            answer="Physical ones: it has no page tables, unless there is an IOMMU.",
            reports={"pages": _page_report(self.contiguous, frames)},
            notes="DMA without an IOMMU. Such memory gets scarce quickly, so drivers ask for it once, early.",
        )

    def free(self) -> Iterator[Step]:
        call = self.stage.call("MmFreeContiguousMemory", self.contiguous)
        yield self.stage.step("Free the contiguous buffer", call=call)
        call = self.stage.call("ExFreePoolWithTag", self.buffer, self.stage.tag(TAG))
        for each in self.kept:
            self._free_pool(each)
        yield self.stage.step("Free the scattered one", "The single pages in between go too.", call=call)

    def _frames(self, start: VirtualAddress) -> list[int]:
        snapshot = self.stage.snapshot()
        return [snapshot.walk(start + PAGE * number).mapped.physical.frame for number in range(PAGES)]

    def _pool(self, size: int) -> VirtualAddress:
        pool_type = self.stage.machine.kernel.constant("NonPagedPoolNx")
        call = self.stage.quick_call("ExAllocatePoolWithTag", pool_type, size, self.stage.tag(TAG))
        return VirtualAddress(int(call))

    def _free_pool(self, address: VirtualAddress) -> None:
        self.stage.quick_call("ExFreePoolWithTag", address, self.stage.tag(TAG))


def _page_report(start: VirtualAddress, frames: list[int]) -> Report:
    """Page by page: its address, its frame, and how far that lies from the frame before."""
    from lab.views.report import Cell, Column, Report, Role, Table
    from lab.x86.address import PhysicalAddress

    pages = [(start + PAGE * number, PhysicalAddress.from_frame(frame)) for number, frame in enumerate(frames)]
    steps = ["", *(f"{after - before:+d}" for before, after in pairwise(frames))]
    rows = tuple(
        (Cell(str(number)), Cell(str(page), Role.VIRTUAL), Cell(str(frame), Role.PHYSICAL), Cell(step, Role.NUMBER))
        for number, ((page, frame), step) in enumerate(zip(pages, steps, strict=True))
    )
    columns = (Column("page", right=True), Column("virtual"), Column("frame"), Column("frames on", right=True))
    data = [{"address": hex(page), "physical": hex(frame)} for page, frame in pages]
    return Report("lab.pages/1", {"pages": data}, (Table(columns, rows),))
