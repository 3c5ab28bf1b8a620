"""The shelf of sample drivers, each a lecture: its source, then what it does, stopped at every memory call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lab.scenarios.registry import scenario
from lab.texts import Text
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.machine.driver.pe import DriverImage
    from lab.machine.driver.session import Session
    from lab.machine.trace import MemoryCall
    from lab.scenarios.stage import Stage
    from lab.scenarios.step import Source, Step
    from lab.views.report import Report

SHELF = Path(__file__).resolve().parents[2] / "tests" / "drivers"
"""Where the samples are; each is a scenario `driver-NAME`."""


REQUESTS = {
    "direct_io": (
        ("LabDirectIo", 0x222000, b"Hello", bytes(8)),
        ("LabDirectIo", 0x222005, b"", b"\1\2\3"),
        ("LabDirectIo", 0x22200A, b"B", bytes(16)),
        ("LabDirectIo", 0x22200F, b"abcd", bytes(8)),
    )
}
"""What is sent to the devices of a sample while it is loaded: device, control code, input, output buffer."""


def _lecture(source: Path, words: str = "") -> Callable[[Stage], Iterator[Step]]:
    def play(stage: Stage) -> Iterator[Step]:
        from lab.machine.driver.build import build
        from lab.machine.driver.pe import DriverImage
        from lab.machine.driver.report import session_report
        from lab.machine.driver.session import Request, Session

        yield stage.step(
            "The source: {file}",
            notes="Read DriverEntry with the hall first: what is taken, and is it given back in the reverse order?",
            reports={"source": _listing(source)},
            source=stage.source(source, 1),
            file=source.name,
        )
        image = DriverImage.load(build([source], stage.machine.qemu.folder / f"{source.stem}.sys").path)
        session = Session(stage.machine, trace=True)
        lines = _Lines(stage, source, image)
        requests = [Request(*each) for each in REQUESTS.get(source.stem, ())]
        for call in session.running([image], requests):
            stage.look_again()
            yield _call_step(stage, session, call, lines)
        stage.look_again()
        yield stage.step(
            "What it did",
            "GDB stopped it at every memory call that it made, at the entry and at the return.",
            notes="Go down the list: each line that takes something has one that gives it back, or a leak is named.",
            reports={"driver": session_report(session)},
            source=stage.source(source, 1),
        )
        if session.error is not None:
            raise session.error

    play.__doc__ = words or _opening_comment(source)
    return play


MEANING = {
    "ExAllocatePoolWithTag": Text("A block of pool. Where a new page is needed, an entry is written."),
    "ExAllocatePool2": Text("A block of pool, filled with zeros."),
    "ExFreePoolWithTag": Text("The block goes back to the pool. When its page is empty, the page's entry is cleared."),
    "ExFreePool": Text("The block goes back to the pool."),
    "IoAllocateMdl": Text("An MDL: a header, and room for one frame number for each page of the buffer."),
    "MmBuildMdlForNonPagedPool": Text("The frame numbers are written into the MDL. No entry changes for that."),
    "IoBuildPartialMdl": Text("Some frame numbers of one MDL are copied into another one."),
    "MmProbeAndLockPages": Text("The pages are checked, kept in memory, and their frame numbers written into the MDL."),
    "MmUnlockPages": Text("The pages may leave memory again; the MDL's mapping goes, too."),
    "MmMapLockedPagesSpecifyCache": Text("The frames of the MDL get a second address: one new entry for each page."),
    "MmUnmapLockedPages": Text("The second address goes: its entries are cleared, and the frames stay."),
    "IoFreeMdl": Text("The description goes; what it described stays."),
    "MmGetPhysicalAddress": Text("A walk of the page tables, by the kernel itself. It changes nothing."),
}
"""What a memory function does, in one sentence."""


ASKED = {"MmBuildMdlForNonPagedPool", "MmMapLockedPagesSpecifyCache", "MmUnmapLockedPages", "MmProbeAndLockPages"}
"""What the hall is asked about before it is shown."""


class _Lines:
    """Finds the line of the source that an address of the loaded driver belongs to."""

    def __init__(self, stage: Stage, source: Path, image: DriverImage) -> None:
        from lab.machine.driver.debug import DebugInfo

        self._stage = stage
        self._source = source
        self._debug = DebugInfo(image)

    def at(self, rva: int) -> Source | None:
        """The line that called what returns to `rva`; None where the debug information does not say."""
        found = self._debug.locate(rva - 1)
        if found is None or found.line is None or Path(found.file or "").name != self._source.name:
            return None
        return self._stage.source(self._source, found.line)

    def code(self, place: Source) -> str:
        """The line itself."""
        return self._stage.sources[place.name].splitlines()[place.line - 1].strip()


def _call_step(stage: Stage, session: Session, call: MemoryCall, lines: _Lines) -> Step:
    """One memory call of the driver, with the line that made it and what it changed."""
    from lab.machine.calls import CallResult
    from lab.scenarios.stage import TracedCall
    from lab.scenarios.step import Halt

    visit = session.visits[-1]
    source = lines.at(call.caller - visit.driver.base)
    ending = ("returns" + (f" {call.result}" if call.result else "")) if call.returned else "does not return"
    halt = Halt("return" if call.returned else "fault", call.function, call.caller, f"{call.text} {ending}")
    named = {"line": source.line if source else 0, "function": call.function}
    text, is_asked = MEANING.get(call.function, Text()), call.function in ASKED
    return stage.step(
        Text("Line {line}: {function}", named) if source else Text("A call of {function}", named),
        Text("{code}\n{text}", {"code": lines.code(source), "text": text}) if source else text,
        ask=Text("{function} comes next. How many page-table entries does it change?", named) if is_asked else "",
        answer=Text("Entries that it changes: {count}.", {"count": len(call.changes)}) if is_asked else "",
        call=TracedCall(CallResult(call.function, 0), (halt,), call.changes, source),
        focus=tuple(dict.fromkeys(_addresses(f"{call.result or ''} {call.text}")))[:2],
    )


def _addresses(text: str) -> list[VirtualAddress]:
    """The kernel's addresses in a text."""
    found = re.findall(r"0xffff[0-9a-f]{12}", text)
    return [VirtualAddress.parse(each) for each in found]


def _opening_comment(source: Path) -> str:
    """What the comment at the top of a source says, without the stars; its first sentence is the summary."""
    comment = re.match(r"/\*(.*?)\*/", source.read_text(), re.DOTALL)
    text = re.sub(r"^\s*\*? ?", "", comment[1], flags=re.MULTILINE) if comment else source.name
    first, _, rest = " ".join(text.split()).partition(". ")
    return f"{first.removesuffix('.')}.\n\n{rest}".strip()


def _listing(source: Path) -> Report:
    from lab.views.report import Cell, Lines, Report, Role

    lines = source.read_text().splitlines()
    numbered = tuple((Cell(f"{number:>4}  ", Role.MUTED), Cell(line)) for number, line in enumerate(lines, 1))
    return Report("lab.source/1", {"file": source.name, "lines": lines}, (Lines(numbered),))


for _source in sorted(SHELF.glob("*.c*")):
    scenario(f"driver-{_source.stem.replace('_', '-')}")(_lecture(_source))

LINE_BY_LINE = """A Windows driver, line by line: what each call of remap.c does to the page tables.

An unmodified WDM driver is built, loaded where Windows would load it, and stopped at every memory call that it makes.
Each step shows the line of its source, the arguments and the result, and the entries that the call has changed. At the
end stands what it left behind: nothing.
"""

if (SHELF / "remap.c").exists():
    scenario("windows-driver", 11)(_lecture(SHELF / "remap.c", LINE_BY_LINE))
