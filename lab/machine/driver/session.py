"""A run of drivers: each of their functions is called while somebody watches, and what it did is kept."""

from __future__ import annotations

import re
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from lab.errors import GuestError, GuestStopped
from lab.kernel.log import HARMLESS, read_log
from lab.kernel.objects import Guest
from lab.kernel.pool import read_pool
from lab.kernel.values import is_success
from lab.machine.driver.journal import journal_calls
from lab.machine.driver.leaks import Holdings, Leak, mappings
from lab.machine.driver.load import (
    ENTRY_TIMEOUT,
    LoadedDriver,
    call_driver,
    kept_file,
    place,
    recall,
    record_of,
    start_arguments,
    started,
)
from lab.snapshot.changes import EntryChange, capture, diff

if TYPE_CHECKING:
    from lab.kernel.mailbox import BugCheck
    from lab.machine.driver.devices import Device
    from lab.machine.driver.load import DriverRecord
    from lab.machine.driver.pe import DriverImage
    from lab.machine.machine import Machine
    from lab.machine.mailbox import Argument
    from lab.machine.trace import MemoryCall

__all__ = ["Session", "Request", "Visit", "Act", "Event", "ENTRY", "UNLOAD"]

ENTRY, UNLOAD = "DriverEntry", "DriverUnload"

OBJECT_TAGS = {"Driv", "ObNm", "LabM"}
"""Tags of what the kernel itself keeps of a driver: its DRIVER_OBJECT, its name, stubs of missing imports."""

PAGE = 4096

END = re.compile(r"\n(\S+ is not exported by this kernel\n|assertion failed at |\*\*\* STOP: )")
"""How the kernel's own words about a bug check begin."""

Result = TypeVar("Result")

Event: TypeAlias = "str | MemoryCall"
"""A line that was printed, or a call that was made."""


@dataclass
class Act:
    """One function of a driver, called once: what it printed and, where it was traced, called, in that order.

    `status` is None for a function that did not return. `changes` are the page-table entries that are not what they
    were, without those of the driver's own image and those in which the CPU only noted a use. `lost` calls before
    the others were too many to be kept.
    """

    function: str
    events: list[Event] = field(default_factory=list)
    changes: tuple[EntryChange, ...] = ()
    status: int | None = None
    lost: int = 0

    @property
    def log(self) -> list[str]:
        """The lines that it printed."""
        return [each for each in self.events if isinstance(each, str)]

    @property
    def calls(self) -> list[MemoryCall]:
        """The memory calls that it made."""
        return [each for each in self.events if not isinstance(each, str)]


@dataclass
class Visit:
    """A driver's stay in the guest, from its loading to what it left; `leaks` is None while it is still there."""

    driver: LoadedDriver
    acts: list[Act] = field(default_factory=list)
    held: Holdings = field(default_factory=Holdings)
    leaks: list[Leak] | None = None

    @property
    def refused(self) -> bool:
        """Whether its DriverEntry returned, and failed."""
        return self.driver.status is not None and not self.driver.ok


class Request(NamedTuple):
    """A control code for a device by name, with its input, and the output buffer as it is before."""

    device: str
    code: int
    given: bytes
    room: bytes


class Session:
    """Drivers loaded into one machine and unloaded again.

    >>> image.kind, machine.is_running
    ('WDM', True)
    >>> session = Session(machine)
    >>> visit = session.load(image)
    >>> print(visit.acts[0].log[-1])
    remap: wrote 42 through the first, read 42 through the second
    >>> session.unload(visit)
    >>> visit.leaks
    []

    `error` is what ended it before its time: the `bugcheck`, or a driver that did not return.
    """

    def __init__(self, machine: Machine, *, trace: bool = False, timeout: float = ENTRY_TIMEOUT) -> None:
        self.machine = machine
        self.visits: list[Visit] = []
        self.error: GuestError | None = None
        self.bugcheck: BugCheck | None = None
        self.traces = trace
        self._timeout = timeout
        self._state = machine.paging_state()
        self.guest = Guest(machine.kernel, machine.memory, self._state)
        self._printed = read_log(self.guest).written

    def run(self, images: Sequence[DriverImage]) -> None:
        """Load drivers in their order and unload them the other way round; stop at the first that cannot go on."""
        _exhaust(self.running(images))

    def running(
        self, images: Sequence[DriverImage], requests: Sequence[Request] = ()
    ) -> Generator[MemoryCall, None, None]:
        """The same call by call: with `trace` the guest stands still while somebody looks at what a call has done.

        `requests` are sent when all are loaded.
        """
        from lab.machine.driver.devices import find_device

        with self.guarded():
            for image in images:
                if (yield from self._loading(image)).refused:
                    break
            for device, code, given, room in requests:
                found = find_device(self.machine, self.guest, device)
                yield from self._controlling(found, code, given, bytearray(room))
            for visit in reversed(self.visits):
                if visit.driver.ok:
                    yield from self._unloading(visit)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Keep as `error` what ends the guest, or its patience, inside of the block."""
        try:
            yield
        except GuestError as error:
            self.error = error
            self.bugcheck = self.machine.bugcheck if isinstance(error, GuestStopped) else None

    def load(self, image: DriverImage) -> Visit:
        """Load a driver and call its DriverEntry. Raises what `load` does; what is known by then is kept."""
        return _exhaust(self._loading(image))

    def _loading(self, image: DriverImage) -> Generator[MemoryCall, None, Visit]:
        visit = Visit(place(self.machine, image))
        self.visits.append(visit)
        yield from self._perform(visit, ENTRY, "driver_load", *start_arguments(visit.driver))
        visit.driver = started(self.machine, visit.driver)
        if visit.refused:
            self._settle(visit)
        return visit

    def unload(self, visit: Visit) -> None:
        """Call a driver's DriverUnload; it stays where it has none. Raises what `unload` does."""
        _exhaust(self._unloading(visit))

    def _unloading(self, visit: Visit) -> Generator[MemoryCall, None, None]:
        if is_success((yield from self._perform(visit, UNLOAD, "driver_unload", visit.driver.base))):
            self._settle(visit)

    def control(self, device: Device, code: int, given: bytes, room: bytearray) -> bytes:
        """Send a device a control code, as a program does; return the bytes that came back.

        `given` is the input, `room` the output buffer as it is before; afterwards it is what the driver made of it.
        """
        return _exhaust(self._controlling(device, code, given, room))

    def _controlling(
        self, device: Device, code: int, given: bytes, room: bytearray
    ) -> Generator[MemoryCall, None, bytes]:
        visit = next((each for each in self.visits if each.driver.number == device.driver.number), None)
        visit = visit or self.resume(device.driver)
        arguments = (device.path, code, given or 0, len(given), room or 0, len(room))
        yield from self._perform(visit, f"IOCTL {code:#010x} to {device.path}", "device_control", *arguments)
        report = self.guest.variable("lab_request_report")
        return bytes(room[: report["information"]])

    def resume(self, record: DriverRecord) -> Visit:
        """Take over a driver that is in the guest already, from whoever loaded it."""
        visit = Visit(recall(self.machine, record), held=recall_holdings(self.machine, record.number))
        self.visits.append(visit)
        return visit

    def _settle(self, visit: Visit) -> None:
        """A driver is gone: note what it left."""
        left = record_of(self.machine, visit.driver.number).leftovers
        words = [
            Leak(name, f"{count} {name if count > 1 else name.removesuffix('s')}", count)
            for name, count in left.items()
        ]
        visit.leaks = [*visit.held.without(self.guest).leaks(), *words]

    def _perform(self, visit: Visit, name: str, command: str, *arguments: Argument) -> Generator[MemoryCall, None, int]:
        """Call a function of a driver and watch what it does; return its status."""
        act = Act(name)
        visit.acts.append(act)
        objects, holdings = self._objects(), Holdings.of(self.guest)
        tables = capture(self.machine.memory, self._state)
        try:
            act.status = yield from self._call(act, visit.driver, command, *arguments)
        finally:
            self._listen(act)
            changes = diff(tables, capture(self.machine.memory, self._state), self._state)
            act.changes = tuple(_done_by(visit.driver, changes, objects | self._objects()))
        mapped = mappings(self.machine.kernel, act.changes)
        visit.held += Holdings.of(self.guest).since(holdings, mapped)
        kept_holdings(self.machine, visit.driver.number).write_text(visit.held.to_json())
        return act.status

    def _objects(self) -> set[int]:
        """The pages of pool in which there is nothing but what the kernel keeps of drivers."""
        pages: dict[int, set[str]] = {}
        for each in read_pool(self.guest).allocations:
            pages.setdefault(each.address & -PAGE, set()).add(each.tag)
        return {page for page, tags in pages.items() if tags <= OBJECT_TAGS}

    def _call(
        self, act: Act, driver: LoadedDriver, command: str, *arguments: Argument
    ) -> Generator[MemoryCall, None, int]:
        if not self.traces:
            return self._call_journaled(act, command, *arguments)
        from lab.machine.trace import Tracer

        tracer = Tracer(
            self.machine,
            [each.name for each in driver.imports if self._is_memory_call(each.name)],
            lambda address: 0 <= address - driver.base < driver.size,
            act.events.append,
            lambda: self._listen(act),
        )
        return (yield from tracer.calls(command, *arguments, timeout=self._timeout))

    def _is_memory_call(self, name: str) -> bool:
        export = self.machine.kernel.exports.get(name)
        return export is not None and export.gate is not None

    def _call_journaled(self, act: Act, command: str, *arguments: Argument) -> int:
        """Call a function of a driver while the guest keeps its journal, and take that in."""
        self.machine.call.journal_open()
        try:
            status = call_driver(self.machine, command, *arguments, timeout=self._timeout)
            self.machine.call.journal_close()
            return status
        finally:
            calls, act.lost = journal_calls(self.guest, self._state)
            for printed, call in calls:
                self._listen(act, printed)
                act.events.append(call)

    def _listen(self, act: Act, until: int | None = None) -> None:
        """Take in what was printed since the last time, but not the kernel's own words about its end.

        With `until` only the lines that had ended by that byte of the log.
        """
        if until is not None and until <= self._printed:
            return
        log = read_log(self.guest, self._printed, until)
        self._printed = log.written
        act.events += END.split(log.text, maxsplit=1)[0].translate(HARMLESS).splitlines()


def _exhaust(calls: Generator[MemoryCall, None, Result]) -> Result:
    """Go through to the end, and return what comes out there."""
    while True:
        try:
            next(calls)
        except StopIteration as end:
            found: Result = end.value
            return found


def kept_holdings(machine: Machine, number: int) -> Path:
    """Where it is noted what a driver holds: it may be unloaded by another process."""
    return kept_file(machine, number).with_suffix(".json")


def recall_holdings(machine: Machine, number: int) -> Holdings:
    """What a driver holds, as far as it was noted."""
    file = kept_holdings(machine, number)
    return Holdings.from_json(file.read_text()) if file.exists() else Holdings()


def _done_by(driver: LoadedDriver, changes: Iterable[EntryChange], objects: Container[int]) -> Iterator[EntryChange]:
    """The changes that are the driver's own doing: its image, and what the kernel keeps of it, are not."""
    for each in changes:
        is_image = driver.base <= each.start < driver.base + driver.size
        if not (each.only_noted or (each.leaf and (is_image or int(each.start) in objects))):
            yield each
