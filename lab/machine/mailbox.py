"""The mailbox: a structure in guest RAM through which the guest is told which of its functions to call.

Its layout is the guest's (guest/include/lab.h) and is read from the kernel image. Of guest RAM only the pages it lies
in are mapped writable here.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lab.errors import HostError, UsageError
from lab.kernel.image import KernelImage
from lab.kernel.objects import StructView
from lab.kernel.values import ntstatus_name
from lab.machine.waiting import SPIN, wait_until
from lab.memory.protocol import Bank
from lab.memory.ram import map_writable
from lab.snapshot.registers import Registers
from lab.x86.address import VirtualAddress
from lab.x86.registers import PageFaultCode

__all__ = ["Mailbox", "Reply", "GuestException", "Argument"]

Argument = int | str | bytes | bytearray
"""What a guest function can be given: a number, or bytes whose address it gets; a `bytearray` is read back after."""

PAGE_FAULT = 14
VECTORS = 256

MASK64 = (1 << 64) - 1


class GuestException(NamedTuple):
    """An exception that ended a guarded call: `cr2` counts where `vector` is 14, a page fault.

    One that was raised by a call, such as ExRaiseStatus, has no vector of the CPU's: `name` and `error_code` are its
    NTSTATUS.
    """

    vector: int
    name: str
    error_code: int
    cr2: int
    registers: Registers

    @property
    def trapped(self) -> bool:
        """Whether the CPU raised it, at an instruction; otherwise `rip` is where the call would have returned to."""
        return self.vector < VECTORS

    def symbol(self, image: KernelImage) -> str:
        """The place in the kernel, as `function+0x12`; empty where it was elsewhere."""
        return image.describe(self.registers.rip, returned_to=not self.trapped) or ""

    def __str__(self) -> str:
        rip = VirtualAddress(self.registers.rip)
        if not self.trapped:
            number = f"{self.error_code:#010x}"
            return f"raised {self.name if self.name == number else f'{self.name} ({number})'}, at rip {rip}"
        if self.vector != PAGE_FAULT:
            return f"{self.name}, error code {self.error_code:#x}, at rip {rip}"
        sentence = PageFaultCode(self.error_code).sentence()
        return f"{self.name} at {VirtualAddress(self.cr2)}: {sentence} (error code {self.error_code:#x}), at rip {rip}"


class Reply(NamedTuple):
    """The guest's answer to one request: RAX of the function, or the exception that ended it."""

    result: int
    exception: GuestException | None = None
    refused: bool = False


class Mailbox:
    """The mailbox of one running guest.

    One request is under way at a time: `acquire` keeps out the other threads and processes that share the machine.
    """

    def __init__(self, ram: Path, banks: Sequence[Bank], image: KernelImage, folder: Path) -> None:
        """Map the mailbox of the kernel described by `image`. Raises HostError when the RAM cannot be opened."""
        self._image = image
        self._structure = image.structure("lab_mailbox")
        self._map, start = _map(ram, banks, image, self._structure.size)
        self._bytes = memoryview(self._map)[start : start + self._structure.size]
        # Words are written by one instruction each: a guest never sees half of one.
        self._words = self._bytes.cast("Q")
        self._at = {name: field.offset // 8 for name, field in self._structure.fields.items()}
        self._phase, self._requested, self._completed, self._asleep, self._staged_calls = (
            self._at[name] for name in ("phase", "requested", "completed", "asleep", "staged_calls")
        )
        self._argument = image.structure("lab_request").field("argument").offset // 8
        self._ready, self._bugchecked = image.constant("LAB_READY"), image.constant("LAB_BUGCHECKED")
        self._unguarded, self._watched = image.constant("LAB_UNGUARDED"), image.constant("LAB_WATCHED")
        self._returned, self._refused = image.constant("LAB_RETURNED"), image.constant("LAB_REFUSED")
        self._scratch = self._structure.field("scratch").offset
        self.most_arguments = image.constant("LAB_ARGUMENTS")
        self._scratch_size = image.constant("LAB_SCRATCH")
        self._address = image.symbol("lab_mailbox").address
        self._lock_file = os.open(folder / "mailbox.lock", os.O_CREAT | os.O_RDWR, 0o600)
        self._threads = threading.Lock()
        self._bell = -1
        self._had_to_ring = False
        self._console = folder / "console.in"

    # ---------------------------------------------------------------------------------------------------- state ----

    @property
    def phase(self) -> str:
        """What the guest is at: booting, ready, busy or bugchecked."""
        return self._image.enum("lab_phase").name_of(self._words[self._phase]).removeprefix("LAB_").lower()

    @property
    def is_stopped(self) -> bool:
        """Whether a bug check has stopped the guest for good."""
        return bool(self._words[self._phase] == self._bugchecked)

    @property
    def is_ready(self) -> bool:
        """Whether the guest has come up and is not serving a request."""
        return bool(self._words[self._phase] == self._ready)

    @property
    def is_idle(self) -> bool:
        """Whether the last request has been answered."""
        return bool(self._words[self._completed] == self._words[self._requested])

    @property
    def room(self) -> int:
        """Bytes that the strings and blocks of one call share."""
        return self._scratch_size

    # ------------------------------------------------------------------------------------------------- requests ----

    def acquire(self, timeout: float, alive: Callable[[], None]) -> bool:
        """Keep all others from making requests; False when they kept us out for `timeout` seconds."""
        if not self._threads.acquire(timeout=timeout):
            return False
        try:
            if self._try_flock() or wait_until(self._try_flock, timeout, alive=alive, spin=0):
                return True
        except BaseException:
            self._threads.release()
            raise
        self._threads.release()
        return False

    def release(self) -> None:
        """Let the others in."""
        fcntl.flock(self._lock_file, fcntl.LOCK_UN)
        self._threads.release()

    def abandon(self) -> None:
        """Let the others in although our own request was not answered, because the guest is about to forget it."""
        if self._threads.locked():
            self.release()

    def post(self, function: int, arguments: Sequence[int], *, guarded: bool = True, watched: bool = False) -> None:
        """Make a request. The mailbox must be acquired and idle."""
        flags = (0 if guarded else self._unguarded) | (self._watched if watched else 0)
        self._write("request", function, arguments, flags)
        self._words[self._requested] += 1  # last, and x86 keeps the order of stores
        self._had_to_ring = self.ring()

    def _write(self, place: str, function: int, arguments: Sequence[int], flags: int) -> None:
        words, at = self._words, self._at[place]
        words[at], words[at + 1] = function, flags
        for index, argument in enumerate(arguments, at + self._argument):
            words[index] = argument & MASK64

    def wait(self, timeout: float, alive: Callable[[], None]) -> Reply | None:
        """Wait for the answer to the last request, None when it has not come after `timeout` seconds."""

        def look_after() -> None:
            # The guest may have fallen asleep between our request and our look at `asleep`.
            self.ring()
            alive()

        words, requested, completed = self._words, self._requested, self._completed
        number = words[requested]
        # Waking up takes longer than a spin, and goes faster on a CPU that is not kept busy by one.
        spin = 0 if self._had_to_ring else SPIN
        if not wait_until(lambda: words[completed] == number, timeout, alive=look_after, spin=spin):
            return None
        return self._read("reply")

    def _read(self, place: str) -> Reply:
        at = self._at[place]
        outcome, result = self._words[at], self._words[at + 1]
        if outcome == self._returned:
            return Reply(result)
        if outcome == self._refused:
            return Reply(0, refused=True)
        found = self._view().inner(place)
        return Reply(0, self._exception(found.inner("registers"), found["cr2"]))

    def ring(self) -> bool:
        """Wake the guest if it sleeps, and return whether it did; it sleeps on if there is nothing to do."""
        if not self._words[self._asleep]:
            return False
        if self._bell < 0:
            self._bell = os.open(self._console, os.O_RDWR | os.O_NONBLOCK)
        with suppress(BlockingIOError):  # full of wake-ups already
            os.write(self._bell, b"\n")
        return True

    def place(self, arguments: Sequence[Argument]) -> tuple[list[int], list[tuple[int, bytearray]]]:
        """Put bytes and strings into the scratch area; return plain numbers, and where to read each bytearray back.

        Raises UsageError when they do not fit.
        """
        numbers, read_back, used = [], [], 0
        for argument in arguments:
            if isinstance(argument, int):
                numbers.append(int(argument))
                continue
            data = argument.encode() + b"\0" if isinstance(argument, str) else argument
            if used + len(data) > self._scratch_size:
                raise UsageError(f"strings and blocks of one call share {self._scratch_size} bytes; these need more")
            self._bytes[self._scratch + used : self._scratch + used + len(data)] = bytes(data)
            numbers.append(self._address + self._scratch + used)
            if isinstance(data, bytearray):
                read_back.append((used, data))
            used += len(data) + 15 & ~15
        return numbers, read_back

    def take_back(self, blocks: Sequence[tuple[int, bytearray]]) -> None:
        """Read what the guest left in the bytearrays that `place` was given."""
        for offset, data in blocks:
            start = self._scratch + offset
            data[:] = self._bytes[start : start + len(data)]

    # ----------------------------------------------------------------------------------------- calls without it ----

    def stage(self, function: int, arguments: Sequence[int]) -> Callable[[], bool]:
        """Prepare a guarded call that a debugger has the guest make; return what tells whether it has returned."""
        self._write("staged", function, arguments, 0)
        words, staged_calls = self._words, self._staged_calls
        before = words[staged_calls]
        return lambda: bool(words[staged_calls] != before)

    def end_detour_at(self, address: int) -> None:
        """Tell where the guest goes on after its next mailbox_detour."""
        self._words[self._at["detour_from"]] = address

    def staged_reply(self) -> Reply:
        """Read what became of the staged call."""
        return self._read("staged_reply")

    def close(self) -> None:
        """Unmap the mailbox."""
        if self._lock_file < 0:
            return
        os.close(self._lock_file)
        self._lock_file = -1
        if self._bell >= 0:
            os.close(self._bell)
        self._words.release()
        self._bytes.release()
        self._map.close()

    def _try_flock(self) -> bool:
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _exception(self, record: StructView, cr2: int) -> GuestException:
        vector, code = record["vector"], record["error_code"]
        name = self._image.enum("trap_vector").name_of(vector).replace("TRAP_", "#")
        found = GuestException(vector, name, code, cr2, _registers(record))
        return found if found.trapped else found._replace(name=ntstatus_name(self._image, code) or f"{code:#010x}")

    def _view(self) -> StructView:
        return StructView(self._address, self._structure, bytes(self._bytes), self._image)


def _registers(record: StructView) -> Registers:
    return Registers.from_mapping({name: record[name] for name in record.structure.fields})


def _map(ram: Path, banks: Sequence[Bank], image: KernelImage, size: int) -> tuple[mmap.mmap, int]:
    """Map the pages that hold the mailbox; return the mapping and where in it the mailbox begins."""
    physical = image.physical_of(image.symbol("lab_mailbox").address)
    if physical is None:
        raise HostError("the kernel image has no mailbox in RAM; build it again with: make kernel")
    return map_writable(ram, banks, physical, size)
