"""The lecture on pool: headers, tags, and what becomes of memory that is used after it was freed, or beyond its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.scenarios.registry import scenario
from lab.texts import Text
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage, TracedCall
    from lab.scenarios.step import Step
    from lab.views.report import Report

HEADER = 16
SIZE = 40
FIRST, SECOND, THIRD, SPECIAL = "Ann ", "Bob ", "Eve ", "Spec"
SECRET = b"a secret of Ann's"
OVERRUN = b"far beyond Ann's end"


@scenario("pool", 10)
def pool(stage: Stage) -> Iterator[Step]:
    """Pool: headers, tags, use after free, overrun, and special pool that catches both.

    Allocates two small blocks that share a page, and shows the headers between them. A block that was freed is given
    to the next one who asks for its size: who still uses the old pointer reads and writes somebody else's data. A
    write beyond a block's end damages the header behind it, and nobody notices before the neighbour is freed. From
    special pool the same mistakes fault at the very instruction.
    """
    lecture = _Pool(stage)
    lecture.make_tables_of_special_pool()
    before = stage.books()
    yield from lecture.allocate()
    yield from lecture.use_after_free()
    yield from lecture.overrun()
    yield from lecture.free()
    yield from lecture.special()
    yield stage.nothing_left(before)


class _Pool:
    """The lecture under way: who has which block."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.first = self.second = VirtualAddress(0)

    # --------------------------------------------------------------------------------------------- one page, two blocks

    def allocate(self) -> Iterator[Step]:
        call = self._allocate(FIRST)
        self.first = VirtualAddress(int(call))
        yield self.stage.step(
            "Allocate {size} bytes",
            "They are at {block}. The pool has taken a page for them, and made a block of it: 16 bytes of header, then"
            " ours, filled with cd until somebody writes.",
            call=call,
            ask="{size} bytes are asked for. How much must the page tables map?",
            answer="A whole page: they know nothing smaller. The pool cuts it up.",
            notes="The lab fills fresh memory with cd, and freed memory with dd, to be seen. Windows leaves it alone.",
            focus=(self.first,),
            size=SIZE,
            block=self.first,
            reports={"memory": self._page_start(64)},
        )
        call = self._allocate(SECOND)
        self.second = VirtualAddress(int(call))
        yield self.stage.step(
            "Allocate as much again",
            "{second} is in the same page: no page-table entry had to change. In front of each block stands its header"
            " with the tag of whoever asked for it.",
            call=call,
            focus=(self.second, self.first),
            second=self.second,
            reports={
                "memory": self._page_start(128),
                "pool": self.stage.report("pool", {"blocks": True}),
            },
            notes="Tags are how a leak is found: lab pool counts allocations and frees by tag, as poolmon does.",
        )

    # ---------------------------------------------------------------------------------------------- use after free ----

    def use_after_free(self) -> Iterator[Step]:
        self.stage.quick_call("copy", self.first, SECRET, len(SECRET))
        call = self.stage.call("ExFreePoolWithTag", self.first, self.stage.tag(FIRST))
        yield self.stage.step(
            "Free the first block, and keep the pointer",
            "The page stays mapped because of the second block, so {block} can still be read: there is the pool's list"
            " of free blocks now, and dd behind it.",
            call=call,
            ask="The block is free, and the pointer is kept. Does a read through it fault?",
            answer="No: the page is still mapped, because another block is in it.",
            notes="Two pointers of a list stand where the data was: who writes there now damages the pool itself.",
            focus=(self.first,),
            block=self.first,
            reports={"memory": self._page_start(64)},
        )
        call = self._allocate(THIRD)
        third = VirtualAddress(int(call))
        if third != self.first:
            self.stage.refute(f"the block at {self.first} was freed last and should be given again, not {third}")
        self.stage.quick_call("fill", third, ord("E"), SIZE)
        self.stage.quick_call("copy", self.first, b"oops", 4)
        seen = bytearray(8)
        self.stage.quick_call("copy", seen, third, len(seen))
        yield self.stage.step(
            "Somebody else gets the same block",
            "{third} again. The old pointer now writes into the new owner's data: where EEEEEEEE was written, the owner"
            " reads {seen}.",
            call=call,
            third=third,
            seen=seen.decode("ascii", "replace"),
            ask="The freed pointer is written through once more. Does anything fault?",
            answer="Nothing: the page is mapped, and page tables know pages only, not blocks.",
            notes="An attacker who can choose what the next owner puts there has won. lab run driver-use-after-free.",
            focus=(third,),
            reports={"memory": self._page_start(64)},
        )

    # ----------------------------------------------------------------------------------------------------- overrun ----

    def overrun(self) -> Iterator[Step]:
        place = self.second - HEADER
        header = bytearray(HEADER)
        self.stage.quick_call("copy", header, place, HEADER)
        self.stage.quick_call("copy", place, OVERRUN[:HEADER], HEADER)
        damaged = self.stage.report("pool", {"blocks": True})
        if not damaged.problems:
            self.stage.refute(
                f"the header at {place} was overwritten, and the pool's blocks should not add up any more"
            )
        yield self.stage.step(
            "Write beyond the end of a block",
            "The header of the neighbour is gone: the blocks of the page do not add up any more. The kernel finds out"
            " when the neighbour is freed, and stops with bug check 0x19 or 0xC2; who did it cannot be told then.",
            ask="A write runs on into the next block's header. When does anybody notice?",
            answer="When that block is freed, or one beside it: too late to know who it was.",
            notes="The view lists what does not add up any more. lab run driver-overrun goes on to the bug check.",
            focus=(place,),
            reports={"memory": self._page_start(128), "pool": damaged},
        )
        self.stage.quick_call("copy", place, bytes(header), HEADER)

    def free(self) -> Iterator[Step]:
        self.stage.quick_call("ExFreePoolWithTag", self.first, self.stage.tag(THIRD))
        call = self.stage.call("ExFreePoolWithTag", self.second, self.stage.tag(SECOND))
        yield self.stage.step(
            "Put the header back, and free both",
            "With the last block the page goes too: its entry is cleared.",
            call=call,
        )

    # ------------------------------------------------------------------------------------------------ special pool ----

    def make_tables_of_special_pool(self) -> None:
        """Use special pool once: the page tables that its first block needs stay, and are no leak."""
        block = self.stage.quick_call("ExAllocatePool2", self._special_flags, SIZE, self.stage.tag(SPECIAL))
        self.stage.quick_call("ExFreePoolWithTag", int(block), self.stage.tag(SPECIAL))

    @property
    def _special_flags(self) -> int:
        kernel = self.stage.machine.kernel
        return kernel.constant("POOL_FLAG_NON_PAGED") | kernel.constant("POOL_FLAG_SPECIAL_POOL")

    def special(self) -> Iterator[Step]:
        call = self.stage.call("ExAllocatePool2", self._special_flags, SIZE, self.stage.tag(SPECIAL))
        block = VirtualAddress(int(call))
        yield self.stage.step(
            "Allocate from special pool",
            "The block has a page of its own and reaches up to its end, but for alignment; the page behind it is not"
            " mapped.",
            ask="How could page tables be made to catch an overrun?",
            answer="Put the block at the end of its page, and map nothing behind it.",
            call=call,
            focus=(block, block.page() + 4096),
            reports={
                "memory": self.stage.report("mem", {"address": hex(block), "length": 64}),
                "block": self._walk(block),
                "behind": self._walk(block.page() + 4096),
            },
            notes="Driver Verifier gives special pool to the drivers that it watches. f5 fills the few bytes behind the"
            " block, and is checked when it is freed.",
        )
        call = self.stage.call("write_u64", block.page() + 4096, 0)
        yield self._caught(
            Text("The same overrun again"),
            call,
            Text("On Windows that is bug check 0xCD, or 0xD6 under Driver Verifier."),
        )
        free = self.stage.call("ExFreePoolWithTag", block, self.stage.tag(SPECIAL))
        yield self.stage.step(
            "Free it",
            "Its page is not mapped any more, and its address will not be used again soon.",
            notes="That is the price: a page for every block, and addresses that lie idle. Nobody runs all drivers so.",
            call=free,
            focus=(block,),
        )
        call = self.stage.call("read_u64", block)
        yield self._caught(
            Text("The same use after free again"),
            call,
            Text("On Windows that is bug check 0xCC, or 0xD5 under Driver Verifier."),
        )

    def _caught(self, title: Text, call: TracedCall, on_windows: Text) -> Step:
        fault = call.result.exception
        if fault is None:
            self.stage.refute("special pool should have caught that, and nothing faulted")
        return self.stage.step(
            title,
            "{fault}\n{on_windows} It names the driver and the instruction.",
            ask="The same mistake as before, now in special pool. What happens?",
            answer="A page fault, at the very instruction that is wrong.",
            notes="The guest's own bug check is held off here, so that the lecture can go on.",
            on_windows=on_windows,
            call=call,
            fault=fault,
            focus=(VirtualAddress(fault.cr2),),
        )

    # ----------------------------------------------------------------------------------------------------- helpers ----

    def _allocate(self, tag: str) -> TracedCall:
        pool_type = self.stage.machine.kernel.constant("NonPagedPoolNx")
        return self.stage.call("ExAllocatePoolWithTag", pool_type, SIZE, self.stage.tag(tag))

    def _page_start(self, length: int) -> Report:
        return self.stage.report("mem", {"address": hex(self.first - HEADER), "length": length})

    def _walk(self, address: VirtualAddress) -> Report:
        return self.stage.report("walk", {"address": hex(address)})
