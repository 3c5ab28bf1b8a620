"""The lecture on reading an address: which bits choose which entry, on the way through tables of every size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.scenarios.registry import scenario
from lab.x86.address import VirtualAddress
from lab.x86.entry import Entry
from lab.x86.levels import GIB, KIB, MIB, Level, size_text

if TYPE_CHECKING:
    from lab.machine.space import Space
    from lab.scenarios.stage import Stage, TracedProbe
    from lab.scenarios.step import Step
    from lab.views.report import Json, Report

OFFSET = 0x567
SMALL = VirtualAddress(1 << 39 | 2 << 30 | 3 << 21 | 4 << 12)
"""Index 1, 2, 3 and 4 in the four tables."""
LARGE = VirtualAddress(1 << 39 | 2 << 30 | 5 << 21)
HUGE = VirtualAddress(1 << 39 | 6 << 30)
GENERAL_PROTECTION = 13

OLD = VirtualAddress(0x00801ABC)
"""An address of 32 bits: index 2 in the PD, 1 in the PT."""


@scenario("address", 3)
def address(stage: Stage) -> Iterator[Step]:
    """Reading an address: 48 bits, four hops, and pages of 4 KiB, 2 MiB and 1 GiB.

    Cuts an address into its indices and follows them hop by hop. A leaf one level higher up saves a hop and maps 512
    times as much. Between the lower and the upper half lies a hole that no address may point into. At the end the
    same for an address of 32 bits, with its 2 GiB for user mode and 2 GiB for the kernel.
    """
    before = stage.books()
    with stage.machine.new_space() as space, stage.inside(space):
        lecture = _Lecture(stage, space)
        yield lecture.cut()
        yield lecture.follow()
        yield lecture.large_page()
        yield lecture.huge_page()
        yield lecture.hole()
        yield lecture.thirty_two_bits()
    yield stage.nothing_left(before)


class _Lecture:
    """The lecture under way, in a space of its own."""

    def __init__(self, stage: Stage, space: Space) -> None:
        self.stage = stage
        self.space = space
        self.levels = [Level(number) for number in range(space.state.levels, 0, -1)]

    def cut(self) -> Step:
        here = SMALL + OFFSET
        return self.stage.step(
            "Cut an address into pieces",
            "Nine bits choose one of the 512 entries of each table, the last twelve a byte of the page. The bits above"
            " are copies of the highest one that counts.",
            ask="{address}: which entry of the PML4 does it use?",
            answer="Number {index:#x}: bits 47 to 39.",
            address=here,
            index=here.index(Level.PML4),
            notes="4 KiB are 12 bits; 512 entries of 8 bytes are one page, so 9 bits. 9 · 4 + 12 makes 48.",
            focus=(here,),
            reports={"pieces": _pieces(here, self.levels)},
        )

    def follow(self) -> Step:
        self.space.write(self.space.map(SMALL, user=True) + OFFSET, b"found")
        probe = self._read(SMALL + OFFSET)
        return self.stage.step(
            "Follow it, hop by hop",
            "Each entry has the physical address of the next table. The last one has that of the page; the offset is"
            " added, and there is the byte.",
            call=probe,
            ask="The CPU reads one byte at {address}. How often does it go to memory, if it remembers nothing?",
            answer="{count} times: once in each table, and once for the byte.",
            address=SMALL + OFFSET,
            count=len(self.levels) + 1,
            notes="Let the hall name each index before it is shown: 1, 2, 3, 4. The TLB saves all but the last access.",
            focus=(SMALL + OFFSET,),
            reports={
                "walk": self._walk(SMALL + OFFSET),
                "memory": self.stage.report("mem", {"address": hex(SMALL + OFFSET), "length": 16}),
            },
        )

    def large_page(self) -> Step:
        self.space.map(LARGE, user=True, size=2 * MIB)
        return self.stage.step(
            "Stop one level higher: a page of 2 MiB",
            "PS is set in the PD entry: it is the leaf. The nine bits that would choose a PT entry belong to the offset"
            " now, which has 21 bits.",
            call=self._read(LARGE + 0x123456),
            focus=(LARGE + 0x123456,),
            ask="The PD entry is the last one of the walk. How large is the page?",
            answer="2 MiB: {bits} bits are left for the offset.",
            bits=self._leaf_bits(LARGE, 2 * MIB),
            reports={"walk": self._walk(LARGE + 0x123456)},
            notes="One entry of the TLB covers all of it: that is why databases and kernels like large pages.",
        )

    def huge_page(self) -> Step:
        mailbox = self.space.walk(self.stage.machine.kernel.symbol("lab_mailbox").address).mapped.physical
        self.space.map(HUGE, physical=0, user=True, size=GIB)
        here = HUGE + int(mailbox)  # it maps all from 0 on
        return self.stage.step(
            "And one more: a page of 1 GiB",
            "A single PDPT entry maps all RAM of this machine, from its first byte on. {here} is the kernel's mailbox,"
            " by another name.",
            call=self._read(here),
            here=here,
            ask="And if the PDPT entry is the last?",
            answer="1 GiB: {bits} bits of offset, and two hops are saved.",
            bits=self._leaf_bits(HUGE, GIB),
            notes="Whoever may write this entry owns the machine: it is the whole of physical memory.",
            focus=(here,),
            reports={
                "walk": self._walk(here),
                "through the page": self.stage.report("mem", {"address": hex(here), "length": 16}),
                "in physical memory": self.stage.report("mem", {"address": str(mailbox), "length": 16}),
            },
        )

    def hole(self) -> Step:
        first = VirtualAddress(1 << (self.space.state.levels * 9 + 11))
        probe = self.stage.probe("mov rax, [rdi]", rdi=first)
        exception = probe.result.exception
        if exception is None or exception.vector != GENERAL_PROTECTION or probe.changes:
            self.stage.refute(f"a read of {first} should be refused before any walk: {probe.result}")
        return self.stage.step(
            "The hole in the middle",
            "{last} is the last address of the lower half, {upper} the first of the upper one. Between them the upper"
            " bits are no copies: the CPU does not even begin a walk. The exception is #GP, not #PF.",
            call=probe,
            ask="And what is at {first}?",
            answer="Nothing can be: it is not canonical.",
            notes="So the two halves can grow towards each other when CPUs get more bits, as with five levels.",
            first=first,
            last=VirtualAddress(first - 1),
            upper=VirtualAddress((1 << 64) - first),
            focus=(first,),
        )

    def thirty_two_bits(self) -> Step:
        from lab.snapshot import Snapshot
        from lab.views.walk import show_walk
        from lab.x86.registers import CR3, CR4, EFER
        from lab.x86.state import PagingState

        directory, table, page = (self.space.new_frames() for _ in range(3))
        present = Entry.from_names("P", "W", "U")
        self.space.write(directory + 4 * 2, (table | present).to_bytes(4, "little"))
        self.space.write(table + 4 * 1, (page | present).to_bytes(4, "little"))
        state = PagingState(cr3=CR3(directory), cr4=CR4(0), efer=EFER(0))
        now = self.stage.snapshot()
        report = show_walk(Snapshot(now.memory, state, now.registers), OLD)
        if report.data.get("physical") != hex(page + OLD.offset(4 * KIB)):
            self.stage.refute(f"{OLD} should lead to {page}, and the walk says {report.data}")
        return self.stage.step(
            "The same with 32 bits",
            "Entries have four bytes, so a table has 1024: two hops by ten bits each, twelve for the offset. Windows"
            " splits the 4 GiB: 2 GiB for user mode, 2 GiB for the kernel. With 48 bits each half has 128 TiB.",
            ask="A table of 4 KiB with entries of four bytes: how many bits choose one?",
            answer="Ten: there are 1024 of them.",
            reports={"walk": report, "halves": _halves()},
            notes="Our CPU is in long mode and cannot use these tables; they stand in its RAM, and the walk is ours.",
        )

    def _leaf_bits(self, here: VirtualAddress, size: int) -> int:
        """How many bits the offset into the page at an address has, which is to be of this size."""
        found = self.space.walk(here).mapped.page_size
        if found != size:
            self.stage.refute(f"the page at {here} should have {size_text(size)}, and has {size_text(found)}")
        return size.bit_length() - 1

    def _read(self, here: VirtualAddress) -> TracedProbe:
        probe = self.stage.probe("mov rax, [rdi]", user=True, rdi=here)
        if not probe.result.ok:
            self.stage.refute(f"a read of {here} should succeed: {probe.result}")
        return probe

    def _walk(self, here: VirtualAddress) -> Report:
        return self.stage.report("walk", {"address": hex(here)})


def _pieces(here: VirtualAddress, levels: list[Level]) -> Report:
    """Which bits of an address choose what."""
    from lab.views.report import Cell, Column, Report, Role, Table

    top = levels[0].shift + 9
    rows = [(f"63:{top}", f"{here >> top:0{64 - top}b}", "", "all alike", "")]
    for level in levels:
        index = here.index(level)
        covers = size_text(level.page_size)
        rows.append(
            (f"{level.shift + 8}:{level.shift}", f"{index:09b}", f"{index:#x}", f"entry of the {level}", covers)
        )
    offset = here.offset(4 * KIB)
    rows.append(("11:0", f"{offset:012b}", f"{offset:#x}", "byte of the page", "1 byte"))
    cells = tuple(
        (Cell(bits), Cell(binary, Role.BYTES), Cell(value, Role.NUMBER), Cell(what, Role.LEVEL), Cell(size))
        for bits, binary, value, what, size in rows
    )
    columns = (Column("bits"), Column("binary", right=True), Column("value", right=True), Column("chooses"))
    data: list[Json] = [{"bits": bits, "value": value, "chooses": what} for bits, _, value, what, _ in rows]
    return Report("lab.pieces/1", {"address": hex(here), "pieces": data}, (Table((*columns, Column("each")), cells),))


def _halves() -> Report:
    """The two halves of an address space, with 32, 48 and 57 bits."""
    from lab.views.report import Cell, Column, Report, Role, Table

    rows = []
    for bits, kernel in ((32, 1 << 31), (48, (1 << 64) - (1 << 47)), (57, (1 << 64) - (1 << 56))):
        digits = 8 if bits == 32 else 16
        size = size_text(1 << (bits - 1))
        rows.append((bits, f"0x{(1 << (bits - 1)) - 1:0{digits}x}", f"0x{kernel:0{digits}x}", size))
    cells = tuple(
        (Cell(str(bits), Role.NUMBER), Cell(last, Role.VIRTUAL), Cell(first, Role.VIRTUAL), Cell(size))
        for bits, last, first, size in rows
    )
    columns = (Column("bits", right=True), Column("user mode up to"), Column("kernel from"), Column("each"))
    data: list[Json] = [{"bits": bits, "user_end": last, "kernel_start": first} for bits, last, first, _ in rows]
    return Report("lab.halves/1", {"halves": data}, (Table(columns, cells),))
