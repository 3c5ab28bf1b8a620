"""The stage a scenario plays on: GDB stops every call at its return, three judges check every address."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from lab.errors import LabError, UsageError
from lab.kernel.values import make_tag
from lab.machine import Machine, PendingCall
from lab.machine.calls import CallResult, find_target
from lab.machine.gdb import Breakpoint, Gdb
from lab.machine.mailbox import Argument, Reply
from lab.machine.trace import call_text, result_text
from lab.scenarios.books import Books
from lab.scenarios.step import Agreement, Halt, Source, Step
from lab.snapshot import Snapshot
from lab.snapshot.changes import EntryChange, TableImage, capture, diff, recapture
from lab.texts import Text
from lab.views import find_view
from lab.views.registry import Raw
from lab.views.report import Report
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.registers import CR3

if TYPE_CHECKING:
    from lab.machine.probe import ProbeResult
    from lab.machine.space import Space

__all__ = ["Stage", "TracedCall", "TracedProbe", "Disagreement"]

EXCEPTION_HANDLER = "trap_exception"
"""The guest's function that every exception goes through, and no interrupt."""

RETURN_SITE = "trap_call_returned"
"""Where in the guest every function returns to that was called through the mailbox."""


class Disagreement(LabError):
    """The machine did not do what the scenario says, or its three judges do not agree on an address."""


class TracedCall(NamedTuple):
    """A call of a guest function, with where GDB stopped it and what it did to the page tables.

    `source` is the line of the scenario that made it.
    """

    result: CallResult
    halts: tuple[Halt, ...]
    changes: tuple[EntryChange, ...]
    source: Source | None = None

    def __int__(self) -> int:
        return int(self.result)


class TracedProbe(NamedTuple):
    """A probe that the guest's CPU ran, and what that did to the page tables it ran with."""

    result: ProbeResult
    changes: tuple[EntryChange, ...]
    source: Source | None = None
    halts: tuple[Halt, ...] = ()


class Stage:
    """A machine, and the means of a scenario to act on it and to show what happened.

    Steps are numbered as they are made; whoever makes one yields it. `sources` are the files that steps point into,
    with their text.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.sources: dict[str, str] = {}
        self._steps = 0
        self._pending: PendingCall | None = None
        self._call_watch: Breakpoint | None = None
        self._fault_watch: Breakpoint | None = None
        self._space: Space | None = None
        self._now: Snapshot | None = None
        self._last_tables: TableImage | None = None

    # ---------------------------------------------------------------------------------------------------- acting ----

    def call(self, function: str, *arguments: Argument) -> TracedCall:
        """Call a guest function; GDB stops the guest where the function has returned, or where a fault is handled.

        Page tables are compared with what they were before. The guest stays stopped until it is needed again. Raises
        what `machine.call` does.
        """
        kernel, source = self.machine.kernel, self._scenario_line()
        self._watch_calls()
        self._watch_faults(True)
        self.run_on()
        tables = self._tables(self.snapshot())
        self._pending = pending = self.machine.post(function, *arguments, watched=True)
        stop = self.gdb.wait_stopped()
        self.machine.check(f"during the call of {function}")
        self._now = self.machine.snapshot()
        now = self.snapshot()
        changes = diff(tables, self._tables(now), now.state)
        target = find_target(kernel, function)
        text = call_text(kernel, target, pending.arguments)
        if self._fault_watch is not None and stop.breakpoint == self._fault_watch.number:
            fault = Halt("fault", function, stop.address, f"{text} does not return: a fault is being handled")
            self.run_on()
            return TracedCall(pending.wait(), (fault,), changes, source)
        value = result_text(kernel, target, now.registers.rax)
        returned = Halt("return", function, stop.address, f"{text} returns" + (f" {value}" if value else ""))
        return TracedCall(target.result(Reply(now.registers.rax)), (returned,), changes, source)

    def quick_call(self, function: str, *arguments: Argument) -> CallResult:
        """Call a guest function without stopping it anywhere."""
        self.run_on()
        return self.machine.call(function, *arguments)

    def run_to(self, function: str, *, physical: bool = False) -> Halt:
        """Let the guest run to a place in the kernel, or to its physical address as long as that is where it runs."""
        gdb, kernel = self.machine.gdb, self.machine.kernel
        address: int = kernel.symbol(function).address
        if physical:
            address = kernel.physical_of(address) or address
        gdb.break_at(int(address), temporary=True, hardware=True)
        gdb.continue_()
        stop = gdb.wait_stopped()
        self.machine.check(f"on the way to {function}")
        self._now = self.machine.snapshot()
        return Halt("reached", function, stop.address, f"stops at {function}")

    def run_on(self) -> None:
        """Let the guest finish the call at whose end it was stopped, and idle."""
        if not self.gdb.is_running:
            self.gdb.continue_()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.wait()

    def probe(self, source: str, **options: Any) -> TracedProbe:
        """Let the guest's CPU run some instructions, with the tables of the space that we are `inside`.

        `options` are those of `machine.probe`, which says what is raised.
        """
        here = self._scenario_line()
        self._watch_faults(False)
        self.run_on()
        self._now = None
        before = self._tables(self.snapshot())
        result = self.machine.probe(source, space=self._space, **options)
        now = self.snapshot()
        return TracedProbe(result, diff(before, self._tables(now), now.state), here)

    @property
    def gdb(self) -> Gdb:
        """GDB, connected when first needed."""
        return self.machine.gdb

    def _watch_calls(self) -> None:
        """Have GDB stop the guest where calls return to that are watched, from now on."""
        if self._call_watch is None:
            self._call_watch = self.gdb.break_at(int(self.machine.kernel.symbol(RETURN_SITE).address))

    def _watch_faults(self, wanted: bool) -> None:
        """Have GDB stop the guest where it handles exceptions, or not."""
        if wanted and self._fault_watch is None:
            self._fault_watch = self.gdb.break_at(int(self.machine.kernel.symbol(EXCEPTION_HANDLER).address))
        elif not wanted and self._fault_watch is not None:
            self.gdb.delete(self._fault_watch)
            self._fault_watch = None

    @contextmanager
    def inside(self, space: Space) -> Iterator[None]:
        """Look at the machine with another root table in CR3: probes, views and recordings are then of that space."""
        self._space, outer = space, self._space
        try:
            yield
        finally:
            self._space = outer

    def as_seen(self, snapshot: Snapshot) -> Snapshot:
        """The machine with the root table of the space that we are `inside`."""
        if self._space is None:
            return snapshot
        return replace(snapshot, state=replace(snapshot.state, cr3=CR3(self._space.root)))

    def _tables(self, snapshot: Snapshot) -> TableImage:
        last, memory, state = self._last_tables, snapshot.memory, snapshot.state
        self._last_tables = recapture(memory, state, last) if last else capture(memory, state)
        return self._last_tables

    # --------------------------------------------------------------------------------------------------- showing ----

    def books(self) -> Books:
        """What the guest has in use now, for `nothing_left` to compare with."""
        self.run_on()
        with self.machine.paused():
            return Books.of(self.snapshot())

    def nothing_left(self, before: Books) -> Step:
        """Make the last step: everything is as it was. Disagreement when something is left over."""
        now = self.books()
        left = now.left_since(before, self.snapshot())
        if now.counts != before.counts or left:
            self.refute(f"something leaked: {before.counts} before, {now.counts} after, {len(left)} entries changed")
        return self.step(
            "Everything is as before",
            "No frame, no page-table entry and no pool block is left over.",
            notes="Everything is counted before and after. A leak would have ended the lecture with an error.",
            reports={"books": now.report(before)},
        )

    def refute(self, sentence: str) -> NoReturn:
        """Raise Disagreement: the machine did not do what the scenario says it does."""
        raise Disagreement(sentence)

    def tag(self, text: str) -> int:
        """A pool tag as the number that calls take."""
        return make_tag(text)

    def report(self, view: str, arguments: Mapping[str, Raw] | None = None, snapshot: Snapshot | None = None) -> Report:
        """A view of the machine as it is now, or of another snapshot."""
        found = find_view(view)
        if found is None:
            raise UsageError(f"there is no view {view!r}; `lab --help` lists them")
        return found.run(snapshot or self.snapshot(), arguments)

    def snapshot(self) -> Snapshot:
        """The machine as it is now: memory is live, registers are those at the end of the last traced call."""
        if self._now is None:
            self._now = self.machine.snapshot()
        return self.as_seen(self._now)

    def look_again(self) -> None:
        """Forget how the machine was: it has gone on by other means than ours."""
        self._now = None

    def agreements(self, *addresses: VirtualAddress) -> tuple[Agreement, ...]:
        """Ask our walk, QEMU and the guest what is behind addresses. Disagreement when they do not say the same."""
        with self.gdb.stopped():
            walks = [self.snapshot().walk(each) for each in addresses]
            qemu = [self.machine.gva2gpa(each) for each in addresses]
        guest = [self.quick_call("MmGetPhysicalAddress", each).result for each in addresses]
        found = tuple(
            Agreement(address, walk.mapped.physical if walk.is_mapped else None, second, PhysicalAddress(third) or None)
            for address, walk, second, third in zip(addresses, walks, qemu, guest, strict=True)
        )
        for each in found:
            if not each.holds:
                self.refute(
                    f"{each.address}: own walk says {each.own}, QEMU's gva2gpa {each.qemu}, MmGetPhysicalAddress"
                    f" {each.guest}; one of the three is wrong, please report it"
                )
        return found

    def step(
        self,
        title: str | Text,
        text: str | Text = "",
        *,
        call: TracedCall | TracedProbe | None = None,
        halts: tuple[Halt, ...] = (),
        agree: tuple[VirtualAddress, ...] = (),
        reports: Mapping[str, Report] | None = None,
        notes: str | Text = "",
        ask: str | Text = "",
        answer: str | Text = "",
        focus: tuple[VirtualAddress, ...] = (),
        source: Source | None = None,
        **values: object,
    ) -> Step:
        """Make the next step: what a traced call did, checked addresses, and reports to show.

        All words are templates, which `values` fill: ``step("Allocate a page", "It is at {page}.", page=pool)``. They
        stand there as they are, so that they can be found and said in other languages. `focus` and `source` need not
        be given where they follow from the other arguments.
        """

        def said(words: str | Text) -> Text:
            return words if isinstance(words, Text) else Text(words, values)

        self._steps += 1
        shown = dict(reports or {})
        if isinstance(call, TracedProbe):
            from lab.machine.probe_report import probe_report

            shown = {"probe": probe_report(self.machine, call.result), **shown}
        return Step(
            number=self._steps,
            title=said(title),
            text=said(text),
            halts=call.halts if call else halts,
            changes=call.changes if call else None,
            agreements=self.agreements(*agree) if agree else (),
            reports=shown,
            notes=said(notes),
            question=said(ask),
            answer=said(answer),
            focus=focus or agree or tuple(_walked(shown)),
            source=source or (call.source if call else None) or self._scenario_line(),
        )

    def source(self, path: Path, line: int) -> Source:
        """A line of a file for a step to point at."""
        if path.name not in self.sources:
            self.sources[path.name] = path.read_text(encoding="utf-8")
        return Source(path.name, line)

    def _scenario_line(self) -> Source | None:
        """The line at which the scenario stands: its innermost generator, not the helpers that this one calls."""
        frame = inspect.currentframe()
        while frame is not None and not frame.f_code.co_flags & inspect.CO_GENERATOR:
            frame = frame.f_back
        return self.source(Path(frame.f_code.co_filename), frame.f_lineno) if frame is not None else None


def _walked(reports: Mapping[str, Report]) -> Iterator[VirtualAddress]:
    """The addresses whose walks are among the reports."""
    for report in reports.values():
        if report.schema == "lab.walk/1":
            yield VirtualAddress.parse(str(report.data["address"]))
