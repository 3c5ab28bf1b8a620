"""A lecture made in Python: a Timeline of a machine that never was."""

from __future__ import annotations

from lab.errors import LOG_FOLLOWS, GuestCrashed
from lab.memory import Bank, MadeUpSpace
from lab.scenarios.step import Halt, Source, Step
from lab.snapshot import Registers
from lab.texts import Text
from lab.timeline import Moment, Timeline
from lab.x86 import PhysicalAddress, VirtualAddress

FRAME = 4096
PAGE = VirtualAddress(0xFFFFFA8040000000)
BANKS = (Bank(PhysicalAddress(0), 64 << 20),)


def made_up_timeline(moments: int = 4, question_at: int | None = 2) -> Timeline:
    """A lecture in which each moment maps the next page of a row, from `PAGE` on, to the frame 0x200 and so on."""
    timeline = Timeline(
        "made-up", Text("Pages in a row"), banks=BANKS, sources={"lecture.py": "first line\nsecond line\n"}
    )
    space, before = MadeUpSpace(), {}
    for number in range(moments):
        if number:
            page, frame = PAGE + (number - 1) * FRAME, 0x200 + number - 1
            space.map(page, frame * FRAME, "rw-")
            space.memory.write(PhysicalAddress(frame * FRAME), f"page {number}".encode())
        timeline.append(_moment(space, before, number, asks=number == question_at))
    return timeline


def _moment(space: MadeUpSpace, before: dict[int, bytes], number: int, *, asks: bool) -> Moment:
    pages = {}
    for frame in range(0x100, 0x300):
        content = space.memory.read(PhysicalAddress(frame * FRAME), FRAME)
        if content != before.get(frame, bytes(FRAME)):
            pages[frame] = before[frame] = content
    step = Step(
        number=number,
        title=Text("Map page {number}", {"number": number}),
        text=Text("It is at {page}.", {"page": PAGE + number * FRAME}),
        halts=(Halt("entry", "map", PAGE, "map(…)"),) if number else (),
        question=Text("Where will it be?") if asks else Text(),
        answer=Text("Behind the one before.") if asks else Text(),
        focus=(PAGE,),
        source=Source("lecture.py", 1 + number % 2),
    )
    registers = Registers(rip=0x1000 + number, cr3=int(space.root))
    return Moment(step, registers, space.state, pages, f"mapped {number}\n" if number else "")


class DyingRecorder:
    """A live recorder whose guest lives for some steps."""

    def __init__(self, source: Timeline, lives: int) -> None:
        self.timeline = Timeline(source.scenario, source.title, banks=source.banks, sources=source.sources)
        self.is_over = False
        self.machine = self
        self.closed = False
        self._source, self._lives = source, lives
        self.timeline.append(source[0])

    def advance(self) -> Moment | None:
        if len(self.timeline) > self._lives:
            self.is_over, self.timeline.outcome = True, "failed"
            raise GuestCrashed(f"QEMU was killed{LOG_FOLLOWS}ready", "ready")
        if len(self.timeline) == len(self._source):
            self.is_over = True
            return None
        self.timeline.append(self._source[len(self.timeline)])
        return self.timeline[-1]

    def close(self) -> None:
        self.closed = True
