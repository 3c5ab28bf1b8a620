"""The first lecture: two address spaces, one virtual address, two frames; and a kernel that both have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.scenarios.registry import scenario
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.machine.space import Space
    from lab.scenarios.stage import Stage, TracedProbe
    from lab.scenarios.step import Step
    from lab.views.report import Report
    from lab.x86.address import PhysicalAddress

ADDRESS = VirtualAddress(0x10000)
SPACES = ("A", "B")
KERNEL_SYMBOL = "lab_mailbox"


@scenario("virtual-memory", 1)
def virtual_memory(stage: Stage) -> Iterator[Step]:
    """What is virtual memory? The same address in two address spaces, and two different frames.

    Makes two address spaces, as two processes have them: two root tables, so two values for CR3. Both map the same
    virtual address, each to a frame of its own. What is written in one cannot be seen in the other, for there is no
    address by which it could be named. The kernel's half is one and the same in both.
    """
    before = stage.books()
    with stage.machine.new_space() as first, stage.machine.new_space() as second:
        lecture = _TwoSpaces(stage, first, second)
        yield lecture.make()
        yield lecture.map()
        yield from lecture.write()
        yield from lecture.read()
        yield lecture.compare()
        yield lecture.look_for_the_other()
        yield lecture.share_the_kernel()
    yield stage.nothing_left(before)


class _TwoSpaces:
    """The lecture under way."""

    def __init__(self, stage: Stage, first: Space, second: Space) -> None:
        self.stage = stage
        self.spaces = dict(zip(SPACES, (first, second), strict=True))

    def make(self) -> Step:
        first, second = self.spaces.values()
        if first.root == second.root:
            self.stage.refute(f"two address spaces should have two root tables, and both have the one at {first.root}")
        return self.stage.step(
            "Make two address spaces",
            "An address space is a root table. A's is at {a}, B's at {b}; the CPU is in the one that CR3 names.",
            ask="Two processes are to have memory of their own. What does the CPU need for each?",
            answer="A root table. CR3 holds the physical address of the one in use.",
            notes="Windows loads CR3 at every switch of processes. That is all a switch of address spaces is.",
            a=first.root,
            b=second.root,
        )

    def map(self) -> Step:
        for space in self.spaces.values():
            space.map(ADDRESS, user=True)
        first, second = ({each.table for each in space.walk(ADDRESS).steps} for space in self.spaces.values())
        if first & second:
            self.stage.refute(f"the walks of {ADDRESS} should have no table in common, and share {first & second}")
        return self.stage.step(
            "Map one page in each, at the same address",
            "In each space tables of its own lead from its root to a frame. Only the index in every level is the same.",
            address=ADDRESS,
            focus=(ADDRESS,),
            reports=self._walks(ADDRESS),
            ask="Both map {address}. Which tables do the two walks have in common?",
            answer="None: each has its own at every level.",
            notes="Compare the walks line by line: the index in brackets is the same, the table behind the @ is not.",
        )

    def write(self) -> Iterator[Step]:
        for name, space in self.spaces.items():
            with self.stage.inside(space):
                probe, frame = self._probe("mov byte ptr [rdi], al", rax=ord(name)), space.walk(ADDRESS).mapped.physical
                self._expect(name, frame)
                yield self.stage.step(
                    "In {name}, write the letter {name} there",
                    "{frame} holds it now.",
                    call=probe,
                    name=name,
                    frame=frame,
                    notes="The CPU has set A in each entry on its way, and D in the last one, because it wrote.",
                    focus=(ADDRESS,),
                    reports={"memory": self.stage.report("mem", {"address": hex(ADDRESS), "length": 16})},
                )

    def read(self) -> Iterator[Step]:
        for name, space in self.spaces.items():
            with self.stage.inside(space):
                probe = self._probe("movzx eax, byte ptr [rdi]")
                seen = chr(probe.result.registers.rax)
                if seen != name:
                    self.stage.refute(f"in space {name} the letter at {ADDRESS} should be {name}, and is {seen!r}")
                yield self.stage.step(
                    "In {name}, read it back",
                    "The same instruction, the same address: {letter}.",
                    call=probe,
                    ask="B has written to {address} last. What does {name} read at {address}?",
                    answer="The letter {letter}.",
                    notes="The instruction holds a virtual address, and nothing else. CR3 makes it another frame.",
                    name=name,
                    letter=seen,
                    address=ADDRESS,
                    focus=(ADDRESS,),
                )

    def compare(self) -> Step:
        frames = [space.walk(ADDRESS).mapped.physical for space in self.spaces.values()]
        if len(set(frames)) != len(frames):
            self.stage.refute(f"{ADDRESS} should have a frame of its own in each space, and leads to {frames}")
        for name, frame in zip(SPACES, frames, strict=True):
            self._expect(name, frame)
        return self.stage.step(
            "One address, two frames",
            "Physical memory has both letters, at {a} and {b}. A virtual address means nothing without a root table.",
            notes="Here physical memory is read directly, by no page table at all.",
            a=frames[0],
            b=frames[1],
            reports={
                name: self.stage.report("mem", {"address": str(frame), "length": 16})
                for name, frame in zip(SPACES, frames, strict=True)
            },
        )

    def look_for_the_other(self) -> Step:
        first, second = self.spaces.values()
        frame = first.walk(ADDRESS).mapped.physical
        aliases = self.stage.report("aliases", {"address": str(frame), "cr3": str(second.root)})
        if aliases.data["aliases"]:
            self.stage.refute(f"the frame {frame} of space A should be out of B's reach: {aliases.data['aliases']}")
        return self.stage.step(
            "Look for A's frame in B",
            "No entry in any of B's tables names {frame}. B cannot read it, because no address of B's leads there.",
            ask="By which address can B read what A wrote?",
            answer="By none.",
            frame=frame,
            reports={"aliases": aliases},
            notes="Isolation is not a check that could be forgotten: what has no address cannot be asked for.",
        )

    def share_the_kernel(self) -> Step:
        address = self.stage.machine.kernel.symbol(KERNEL_SYMBOL).address
        tables = {tuple(each.table for each in space.walk(address).steps[1:]) for space in self.spaces.values()}
        if len(tables) != 1:
            self.stage.refute(f"below the roots {KERNEL_SYMBOL} should be reached by the same tables: {tables}")
        frames = {space.walk(address).mapped.physical for space in self.spaces.values()}
        if len(frames) != 1:
            self.stage.refute(f"{KERNEL_SYMBOL} should be at one place in every space, and is at {frames}")
        return self.stage.step(
            "The kernel is in both",
            "{symbol} is at {address} in A and in B, and at {frame} in physical memory. The upper halves of both root"
            " tables have the same entries, but for the self map: all the kernel's tables below are shared.",
            ask="And the kernel: does each space have a copy of it?",
            answer="No: both walks go through the same tables, from the second one on.",
            notes="So an interrupt or a system call finds the kernel without a change of CR3. Defences against Meltdown"
            " give user mode a root table of its own, with next to nothing of the kernel in it.",
            symbol=KERNEL_SYMBOL,
            address=address,
            frame=frames.pop(),
            reports=self._walks(address),
        )

    def _probe(self, source: str, **registers: int) -> TracedProbe:
        probe = self.stage.probe(source, user=True, rdi=ADDRESS, **registers)
        if not probe.result.ok:
            self.stage.refute(f"{source} at {ADDRESS} should succeed in its own space: {probe.result}")
        return probe

    def _expect(self, letter: str, frame: PhysicalAddress) -> None:
        found = self.stage.machine.memory.read(frame, 1)
        if found != letter.encode():
            self.stage.refute(f"{frame} should hold the letter {letter}, and holds {found!r}")

    def _walks(self, address: VirtualAddress) -> dict[str, Report]:
        return {
            name: self.stage.report("walk", {"address": hex(address), "cr3": str(space.root)})
            for name, space in self.spaces.items()
        }
