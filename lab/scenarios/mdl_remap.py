"""The main lecture: one page of nonpaged pool, reached through a second address made from its MDL."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from lab.scenarios.registry import scenario
from lab.texts import Text
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.paging import Walk
    from lab.scenarios.stage import Stage, TracedCall
    from lab.scenarios.step import Step
    from lab.views.report import Report
    from lab.x86.levels import Level

PAGE = 4096
TAG = "Lab1"
MESSAGE = b"one frame, two addresses"

Fail: TypeAlias = Literal["pool", "mdl", "map"]

Part: TypeAlias = "Generator[Step, None, bool]"
"""Steps that belong together; returns whether the lecture can go on."""


@scenario("mdl-remap", 4)
def mdl_remap(
    stage: Stage, *, fail: Annotated[Fail | None, "let this call return NULL, as if out of resources"] = None
) -> Iterator[Step]:
    """One frame, two addresses: map the MDL of a nonpaged pool page a second time.

    Allocates a page of nonpaged pool, describes it with an MDL, maps the MDL, writes through one address and reads
    through the other, takes everything down again in the right order, and shows that nothing is left. Every call is
    stopped at its return by GDB; every address is checked by three judges. With the kernel's word
    "verifier" the mapping is named as the misuse it is: bug check 0xC4, subcode 0xB2.
    """
    before = stage.books()
    remap = _Remap(stage, fail)
    yield from remap.forward()
    while remap.undo:
        yield from remap.undo.pop()()
    yield stage.nothing_left(before)


class _Remap:
    """The lecture under way: the addresses it got so far, and what has to be undone, last thing first."""

    def __init__(self, stage: Stage, fail: Fail | None) -> None:
        self.stage = stage
        self.fail = fail
        self.undo: list[Callable[[], Iterator[Step]]] = []
        self.pool = self.mdl = self.mapping = VirtualAddress(0)

    def forward(self) -> Iterator[Step]:
        """Everything up to the second mapping and its use; ends early where a call returns NULL."""
        for part in (self._allocate_pool, self._allocate_mdl, self._build, self._map, self._compare, self._use):
            succeeded = yield from part()
            if not succeeded:
                return

    # ---------------------------------------------------------------------------------------------- forwards ----

    def _allocate_pool(self) -> Part:
        non_paged = self.stage.machine.kernel.constant("NonPagedPoolNx")
        call = self._call("pool", "ExAllocatePoolWithTag", non_paged, PAGE, self.stage.tag(TAG))
        title = Text("Allocate one page of nonpaged pool")
        if not int(call):
            yield self._refused(title, call)
            return False
        self.pool = VirtualAddress(int(call))
        self.undo.append(self._free_pool)
        yield self.stage.step(
            title,
            "The page is at {page}.",
            call=call,
            agree=(self.pool,),
            page=self.pool,
            notes="One call, one new entry: follow the address down to it. The frame was free a moment ago.",
        )
        return True

    def _allocate_mdl(self) -> Part:
        call = self._call("mdl", "IoAllocateMdl", self.pool, PAGE, 0, 0, 0)
        title = Text("Allocate an MDL that describes it")
        if not int(call):
            yield self._refused(title, call)
            return False
        self.mdl = VirtualAddress(int(call))
        self.undo.append(self._free_mdl)
        text = Text("The MDL is at {mdl}; its array of frame numbers is still empty.", {"mdl": self.mdl})
        notes = Text("An MDL is a header and an array of frame numbers. It describes memory; it maps none.")
        yield self.stage.step(title, text, call=call, focus=(self.mdl,), notes=notes)
        return True

    def _build(self) -> Part:
        call = self.stage.call("MmBuildMdlForNonPagedPool", self.mdl)
        walk = self.stage.snapshot().walk(self.pool)
        yield self.stage.step(
            "Fill in the frame numbers",
            "The MDL now names frame {frame:#x}, found by the very walk that follows.",
            frame=walk.mapped.physical.frame,
            call=call,
            ask="The MDL is to be filled in for one page. Which number will be written into it?",
            answer="The frame number, which is what the last entry of the walk holds. No entry changes for it.",
            reports={"mdl": self.stage.report("mdl"), **self._walks(pool=self.pool)},
        )
        return True

    def _map(self) -> Part:
        kernel = self.stage.machine.kernel
        priority = kernel.constant("NormalPagePriority") | kernel.constant("MdlMappingNoExecute")
        cached, mode = kernel.constant("MmCached"), kernel.constant("KernelMode")
        call = self._call("map", "MmMapLockedPagesSpecifyCache", self.mdl, mode, cached, 0, 0, priority)
        title = Text("Map the MDL: a second address for the same frame")
        if not int(call):
            yield self._refused(title, call)
            return False
        self.mapping = VirtualAddress(int(call))
        self.undo.append(self._unmap)
        text = Text("The second address is {mapping}.", {"mapping": self.mapping})
        yield self.stage.step(
            title,
            text,
            call=call,
            agree=(self.mapping,),
            focus=(self.mapping, self.pool),
            ask="The frame is to get a second address. How many entries have to be written for it?",
            answer="One, in the table of the system PTEs: the tables above it were there already.",
            notes="The documentation forbids this for nonpaged pool, and a free Windows does it. Try --verifier.",
        )
        return True

    def _compare(self) -> Part:
        walks = [self.stage.snapshot().walk(each) for each in (self.pool, self.mapping)]
        frames = {walk.mapped.physical.frame for walk in walks}
        if len(frames) != 1:
            self.stage.refute(f"{self.pool} and {self.mapping} should share a frame, and do not: {frames}")
        yield self.stage.step(
            "Two walks, one frame",
            "{count} entries each, no table in common below the {level}, and one frame at the end: {frame:#x}.",
            count=walks[0].levels,
            level=_last_in_common(*walks),
            frame=frames.pop(),
            agree=(self.pool, self.mapping),
            notes="Two different ways down, one frame. Nothing in the frame says how many addresses lead to it.",
            reports={
                **self._walks(pool=self.pool, mapping=self.mapping),
                "aliases": self.stage.report("aliases", {"address": hex(self.pool)}),
            },
        )
        return True

    def _use(self) -> Part:
        self.stage.quick_call("copy", self.pool, MESSAGE, len(MESSAGE))
        seen = bytearray(len(MESSAGE))
        self.stage.quick_call("copy", seen, self.mapping, len(seen))
        if seen != MESSAGE:
            self.stage.refute(f"{MESSAGE!r} was written at {self.pool}, but {bytes(seen)!r} read at {self.mapping}")
        physical = self.stage.snapshot().walk(self.pool).mapped.physical
        yield self.stage.step(
            "Write through one, read through the other",
            "Wrote {written} at {page}; the guest reads {read} at {mapping}.\n"
            "In physical memory the bytes stand once, at {physical}:",
            written=repr(MESSAGE.decode()),
            read=repr(seen.decode()),
            page=self.pool,
            mapping=self.mapping,
            physical=physical,
            focus=(self.pool, self.mapping),
            notes="Shared memory, DMA buffers and files mapped twice are all just this.",
            ask="The guest writes through the first address. What does it read through the second?",
            answer="The same bytes: there is one frame, and nothing is copied.",
            reports={"memory": self.stage.report("mem", {"address": str(physical), "length": 32})},
        )
        return True

    # ---------------------------------------------------------------------------------------------- backwards ----

    def _unmap(self) -> Iterator[Step]:
        call = self.stage.call("MmUnmapLockedPages", self.mapping, self.mdl)
        yield self.stage.step(
            "Unmap the second address",
            "The first still reaches the frame; the walk of the second ends at an entry that is not present.",
            call=call,
            agree=(self.pool, self.mapping),
            notes="The entry is zero, and the CPU has been told to forget it: see the lecture on stale translations.",
            reports=self._walks(pool=self.pool, mapping=self.mapping),
        )
        yield self._touch()

    def _touch(self) -> Step:
        call = self.stage.call("read_u64", self.mapping)
        fault = call.result.exception
        if fault is None or fault.cr2 != self.mapping:
            self.stage.refute(f"a read of {self.mapping}, where nothing is mapped, should fault there; it gave {call}")
        return self.stage.step(
            "Touch the old mapping",
            "{fault}\nCR2 holds the address that faulted: {cr2}. The guest lives on.",
            fault=fault,
            cr2=VirtualAddress(fault.cr2),
            ask="The guest reads the second address once more. What happens?",
            answer="A page fault: the entry is zero, its bit P is clear. The first address still works.",
            call=call,
            notes="Error code 0: not present, a read, by the kernel. In a driver on Windows it is a bug check, 0x50.",
            reports=self._walks(mapping=self.mapping),
        )

    def _free_mdl(self) -> Iterator[Step]:
        notes = Text("Last thing first: the mapping is gone, now what described it, then the memory itself.")
        text = Text("It described the page; the page itself is still there.")
        yield self.stage.step("Free the MDL", text, call=self.stage.call("IoFreeMdl", self.mdl), notes=notes)

    def _free_pool(self) -> Iterator[Step]:
        call = self.stage.call("ExFreePoolWithTag", self.pool, self.stage.tag(TAG))
        text = Text("Its entry is cleared, and the frame can be anybody's now.")
        notes = Text("What if the mapping were still there? It would show the next owner's data.")
        yield self.stage.step("Free the pool page", text, call=call, agree=(self.pool,), notes=notes)

    # ------------------------------------------------------------------------------------------------ helpers ----

    def _call(self, site: Fail, function: str, *arguments: int) -> TracedCall:
        if self.fail == site:
            self.stage.quick_call("fail_next", self.stage.machine.kernel.constant(f"FAIL_{site.upper()}"))
        return self.stage.call(function, *arguments)

    def _refused(self, title: str, call: TracedCall) -> Step:
        undone = Text("what was made so far is undone, last thing first")
        left = undone if self.undo else Text("there is nothing to undo")
        return self.stage.step(
            title, "It returned NULL: out of resources, as was asked for; {left}.", call=call, left=left
        )

    def _walks(self, **addresses: VirtualAddress) -> dict[str, Report]:
        return {name: self.stage.report("walk", {"address": hex(each)}) for name, each in addresses.items()}


def _last_in_common(one: Walk, other: Walk) -> Level:
    """The lowest level at which two walks go through the same table."""
    return min(a.level for a, b in zip(one.steps, other.steps, strict=True) if a.table == b.table)
