"""GDB, driven by its machine interface: breakpoints, single steps, and registers at an exact instruction.

Replies are read until the one that carries the number of our command, and parsed by pygdbmi's parser; its controller is
not used, because it waits out a quiet period after every command. See the GDB manual, "The GDB/MI Interface".
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from lab.errors import GuestTimeout, HostError, LabError
from lab.machine.folder import try_lock
from lab.machine.host import find_program
from lab.machine.process import spawn
from lab.x86.address import VirtualAddress

__all__ = ["Gdb", "Stop", "Breakpoint", "Frame", "GdbError"]

ANSWER_TIMEOUT = 10.0
"""Seconds within which a sound gdb answers anything, loading symbols included."""

PULSE = 0.2
"""Seconds of silence after which QEMU is looked at: whether it is still there."""

PATIENCE = 2.0
"""Seconds that a connection is given to be ended in order."""

INTERRUPTED = "SIGINT"
"""What GDB calls the reason of a stop that we asked for."""

PIECE = 0x4000
"""Bytes of one memory command: its reply is a single line."""

IGNORED, CUT_OFF = ("=", "&", "(gdb)"), "=thread-group-exited"
"""Lines of gdb that need no parsing, which is the dearest part of reading them; and the exception."""

WORDS = ("~", "@")
"""What begins gdb's own words and those of QEMU's monitor: parsed only where somebody wants to read them."""

SETTINGS = (
    "breakpoint always-inserted on",  # else each stop removes them and each start sets them again
    "mi-async on",  # the guest can be interrupted while it runs
    "confirm off",
    "pagination off",
    "width 0",
    "debuginfod enabled off",
    f"remotetimeout {ANSWER_TIMEOUT:.0f}",  # QEMU may be starting still: a packet sent twice is answered twice
    "architecture i386:x86-64",
)


class GdbError(LabError):
    """GDB refused a command; `command` is what was sent, `reply` its words."""

    def __init__(self, command: str, reply: str) -> None:
        super().__init__(f"gdb refused {command!r}: {reply}")
        self.command = command
        self.reply = reply


class Breakpoint(NamedTuple):
    """A breakpoint in the guest. `address` is None where it is at several places."""

    number: int
    address: VirtualAddress | None
    location: str


class Stop(NamedTuple):
    """Why and where the guest stopped.

    `reason` is GDB's word: breakpoint-hit, end-stepping-range, function-finished, signal-received, …
    `breakpoint` is the number of the one that was hit. `function` is empty as long as nothing needed GDB's symbols.
    """

    reason: str
    address: VirtualAddress
    function: str
    breakpoint: int | None = None
    signal: str = ""

    def __str__(self) -> str:
        return f"{self.reason} at {self.address} ({self.function or 'no symbol'})"


class Frame(NamedTuple):
    """One level of the call stack; `file` is empty where there is no line information."""

    level: int
    address: VirtualAddress
    function: str
    file: str = ""
    line: int = 0


class Gdb:
    """A gdb process, and through it one machine's guest.

    Everything that needs a stopped guest stops it for as long as it takes, and lets it run on if it was running.

    >>> stopped_at = machine.gdb.break_at("ExAllocatePool")
    >>> call = machine.post("ExAllocatePool", 0, 64)
    >>> machine.gdb.wait_stopped().function
    'ExAllocatePool'
    >>> machine.gdb.registers()["rdx"]
    64
    >>> machine.gdb.continue_()
    >>> call.wait().ok
    True
    """

    def __init__(
        self, folder: Path, symbols: Path | None = None, check: Callable[[str, float], None] | None = None
    ) -> None:
        """Start gdb; `attach` comes later. `symbols` (an ELF file) are loaded when something asks for them.

        `check` is asked when something is wrong, and raises what is to be raised if QEMU has ended, or does so within
        the seconds given. Raises ToolMissing where there is no gdb.
        """
        command = [find_program("gdb"), "-nx", "-q", "--interpreter=mi3"]
        self._log = folder / "gdb.log"
        self._symbols = symbols
        self._check_qemu = check
        self._lock: int | None = None
        self._process = spawn(command, errors=self._log, pipes=True)
        self._input, self._output = self._process.pipes
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)
        self._buffer = b""
        self._token = 0
        self._attaching: tuple[tuple[int, str], ...] = ()
        self._results: dict[int, tuple[str, Mapping[str, Any]]] = {}
        self._stops: list[Stop] = []
        self._console: list[str] | None = None  # no list: nobody listens
        self._running = False
        self._is_cut_off = False
        for setting in SETTINGS:
            self._send(f"-gdb-set {setting}")

    # --------------------------------------------------------------------------------------------- conversation ----

    def begin_attach(self, socket: Path, *, resume: bool) -> None:
        """Start to connect to QEMU's gdb socket, and return at once; QEMU need not be up yet.

        The guest is stopped by it; with `resume` it runs on. `finish_attach` must follow. Raises HostError when another
        gdb is connected there.
        """
        self._lock = try_lock(socket.with_name(f"{socket.name}.lock"))
        if self._lock is None:
            raise HostError(f"another gdb of ours is connected at {socket}; close it first")
        commands = [f"-target-select remote {socket}"]  # to the end of the line, not quoted
        commands += ["-exec-continue"] * resume
        self._attaching = tuple((self._send(each), each) for each in commands)

    def finish_attach(self) -> None:
        """Wait until the connection stands. Raises GdbError when nobody answers."""
        attaching, self._attaching = self._attaching, ()
        try:
            for token, command in attaching:
                self._stops.clear()
                self._answer(token, command, ANSWER_TIMEOUT)
        except BaseException:
            self._unlock()
            raise
        self._running = len(attaching) > 1  # the second command lets it run

    def command(self, command: str, *, timeout: float = ANSWER_TIMEOUT) -> Mapping[str, object]:
        """Send one MI command and return the fields of its reply.

        >>> machine.gdb.command("-data-evaluate-expression 1+1")
        {'value': '2'}

        Raises GdbError when GDB refuses it, GuestTimeout when it does not answer in time, HostError when it died.
        """
        return self._answer(self._send(command), command, timeout)

    def _answer(self, token: int, command: str, timeout: float) -> Mapping[str, object]:
        """Wait for the reply to a command that was sent."""
        deadline = time.monotonic() + timeout
        while token not in self._results:
            if not self._read(deadline, f"during gdb's {command!r}"):
                self._check(f"during gdb's {command!r}")
                raise GuestTimeout(f"gdb did not answer {command!r} within {timeout:g} s")
        message, payload = self._results.pop(token)
        # Replies to what was sent before without waiting, such as the settings, are of no further interest.
        self._results = {later: result for later, result in self._results.items() if later > token}
        if message == "error":
            self._is_cut_off |= "Remote communication error" in str(payload.get("msg"))
            self._check(f"during gdb's {command!r}")
            raise GdbError(command, str(payload.get("msg", "no reason given")))
        return payload

    def console(self, command: str, *, timeout: float = ANSWER_TIMEOUT) -> str:
        r"""Send a command as people type it, and return what gdb prints.

        >>> machine.gdb.console("print 6 * 7")
        '$1 = 42\n'

        Raises what `command` does.
        """
        self._load_symbols()
        return self._listen(command, timeout)

    def monitor(self, command: str, *, timeout: float = ANSWER_TIMEOUT) -> str:
        r"""Send a command to QEMU's monitor, and return what that prints.

        >>> machine.gdb.monitor("info status")
        'VM status: paused\r\n'

        Raises what `command` does.
        """
        with self.stopped():
            return self._listen(f"monitor {command}", timeout)

    def _listen(self, command: str, timeout: float = ANSWER_TIMEOUT) -> str:
        words: list[str] = []
        self._console = words
        try:
            self.command(f"-interpreter-exec console {_quoted(command)}", timeout=timeout)
        finally:
            self._console = None
        return "".join(words)

    def _load_symbols(self) -> None:
        """Have gdb read the ELF file. It takes as long as all else of gdb's start, so only those wait who need it."""
        symbols, self._symbols = self._symbols, None
        if symbols is not None:
            with self.stopped():
                self.command(f"-file-exec-and-symbols {_quoted(symbols)}")

    def _send(self, command: str) -> int:
        self._token += 1
        try:
            self._input.write(f"{self._token}{command}\n".encode())
        except (BrokenPipeError, ValueError):
            raise self._death(command) from None
        return self._token

    def _read(self, deadline: float, during: str) -> bool:
        """Take in what gdb says next; False when it says nothing before the deadline.

        Now and then QEMU is looked at: gdb may wait for one that is gone.
        """
        while not self._poll.poll(max(0.0, min(deadline - time.monotonic(), PULSE)) * 1000):
            if time.monotonic() >= deadline:
                return False
            self._check(during)
        piece = os.read(self._output.fileno(), 1 << 16)
        if not piece:
            raise self._death("reading its answer")
        *lines, self._buffer = (self._buffer + piece).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="replace"))
        return True

    def _take(self, line: str) -> None:
        from pygdbmi.gdbmiparser import parse_response

        ignored = IGNORED if self._console is not None else IGNORED + WORDS
        if line.startswith(ignored) and not line.startswith(CUT_OFF):
            return
        record = parse_response(line)
        kind, message, payload = record["type"], record["message"], record["payload"]
        if kind == "result" and record["token"] is not None:
            self._results[record["token"]] = (message, payload if isinstance(payload, dict) else {})
        elif kind == "notify" and message == "running":
            self._running = True
        elif kind == "notify" and message == "stopped":
            self._running = False
            self._stops.append(_stop_of(payload or {}))
        elif kind == "notify" and message == "thread-group-exited":
            self._is_cut_off = True
        elif kind in ("console", "target") and self._console is not None:
            self._console.append(payload)

    def _check(self, during: str) -> None:
        """Raise another error than ours if QEMU is to blame."""
        if self._check_qemu is not None:
            # The connection ends a little before the process does.
            self._check_qemu(during, 1.0 if self._is_cut_off else 0.0)

    def _death(self, during: str) -> HostError:
        self._process.wait(1.0)
        words = self._log.read_text(errors="replace").strip().replace("\n", "; ") if self._log.exists() else ""
        return HostError(f"gdb {self._process.fate} during {during!r}" + (f": {words}" if words else ""))

    def close(self, *, detach: bool = True) -> None:
        """End gdb; `detach` leaves a guest behind that runs on without breakpoints."""
        try:
            # A machine that does not answer any more cannot be left in order.
            with suppress(LabError):
                if detach and self._lock is not None and self._process.alive:
                    self._leave()
        finally:
            self._process.kill()
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _leave(self) -> None:
        self.interrupt(PATIENCE)
        self.command("-target-detach", timeout=PATIENCE)

    # --------------------------------------------------------------------------------------- running and stopping ----

    def continue_(self) -> None:
        """Let the guest run. What it stopped for before is forgotten."""
        self._resume("-exec-continue")

    def _resume(self, command: str) -> None:
        self._stops.clear()
        self._running = True  # beforehand: the next stop may come with the reply
        try:
            self.command(command)
        except GdbError:
            self._running = False
            raise

    def wait_stopped(self, timeout: float = ANSWER_TIMEOUT) -> Stop:
        """Wait for the guest to stop, and say why it did. Raises GuestTimeout when it goes on running."""
        deadline = time.monotonic() + timeout
        during = "while GDB waited for it to stop"
        while not self._stops:
            if not self._read(deadline, during) or self._is_cut_off:
                self._check(during)
                raise GuestTimeout(f"the guest met no breakpoint within {timeout:g} s")
        return self._stops.pop(0)

    def interrupt(self, timeout: float = ANSWER_TIMEOUT) -> Stop | None:
        """Stop the guest wherever it is; return None if it was stopped already."""
        if not self.is_running:
            return None
        self._stops.clear()
        self.command("-exec-interrupt")
        return self.wait_stopped(timeout)

    @property
    def is_running(self) -> bool:
        """Whether the guest runs, as far as GDB knows."""
        self._catch_up()
        return self._running

    def detour(self, way: int, note: Callable[[int], None]) -> bool:
        """Stop the running guest, tell `note` where, and let it go on at `way`; False if it was stopped already.

        That is up to the code at `way`: to leave everything as it was, and to end where the guest was stopped.
        """
        stop = self._pause()
        if stop is None:
            return False
        note(int(stop.address))
        self._resume(f"-exec-jump *{way:#x}")
        return True

    def _pause(self) -> Stop | None:
        """Stop the running guest; None where it stood already, or has just met a breakpoint by itself.

        Somebody is waiting for that breakpoint, so it is kept for `wait_stopped`.
        """
        stop = self.interrupt()
        if stop is not None and stop.signal != INTERRUPTED:
            self._stops.append(stop)
            return None
        return stop

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the guest for the duration of the block; it runs on afterwards if it was running before."""
        stop = self._pause()
        try:
            yield
        finally:
            if stop is not None:
                self.continue_()

    def forget(self) -> None:
        """Ask the stopped guest anew for registers and memory: it was taken back to another moment behind our back.

        Breakpoints stay.
        """
        self._stops.clear()
        for what in ("register-cache", "dcache"):
            self.console(f"maintenance flush {what}")

    def step(self, timeout: float = ANSWER_TIMEOUT) -> Stop:
        """Run one instruction."""
        return self._run("-exec-step-instruction", timeout)

    def finish(self, timeout: float = ANSWER_TIMEOUT) -> Stop:
        """Run until the present function has returned to its caller; the result is in `rax`."""
        self._load_symbols()
        return self._run("-exec-finish", timeout)

    def _run(self, command: str, timeout: float) -> Stop:
        self._stops.clear()
        self.command(command)
        return self.wait_stopped(timeout)

    def _catch_up(self) -> None:
        """Take in what gdb has said since we last listened."""
        while self._poll.poll(0):
            self._read(time.monotonic() + 1.0, "while gdb was listened to")

    # ----------------------------------------------------------------------------------------------- breakpoints ----

    def break_at(
        self, location: str | int, *, temporary: bool = False, hardware: bool = False, condition: str = ""
    ) -> Breakpoint:
        """Set a breakpoint at an address (exactly there) or at anything GDB understands ("function", "file.c:12").

        A function's name means the place after its prologue. Raises GdbError where there is no such place.
        """
        if isinstance(location, str):
            self._load_symbols()
        place = f"*{location:#x}" if isinstance(location, int) else location
        options = "-t " * temporary + "-h " * hardware + (f"-c {_quoted(condition)} " if condition else "")
        with self.stopped():
            reply: Any = self.command(f"-break-insert {options}{_quoted(place)}")["bkpt"]
        address = reply.get("addr", "")
        return Breakpoint(
            int(reply["number"]), VirtualAddress(int(address, 16)) if address.startswith("0x") else None, place
        )

    def delete(self, *breakpoints: Breakpoint) -> None:
        """Remove breakpoints."""
        if breakpoints:
            with self.stopped():
                self.command(f"-break-delete {' '.join(str(each.number) for each in breakpoints)}")

    def delete_all(self) -> None:
        """Remove every breakpoint and watchpoint."""
        with self.stopped():
            self.command("-break-delete")

    # ------------------------------------------------------------------------------------- registers and memory ----

    def registers(self) -> dict[str, int]:
        """Return general, segment and control registers by lower-case name."""
        # One line of text for all: MI's own list takes five times as long to print and to parse.
        wanted = ",".join(f"${name}" for name in INTEGER_REGISTERS)
        with self.stopped():
            line = self._listen(f'printf "{"%lx " * len(INTEGER_REGISTERS)}\\n",{wanted}')
        registers = dict(zip(INTEGER_REGISTERS, (int(word, 16) for word in line.split()), strict=True))
        registers["rflags"] = registers.pop("eflags")
        return registers

    def read(self, address: int, size: int) -> bytes:
        """Read virtual memory, as the guest's tables translate it now. Raises GdbError where nothing is mapped."""
        pieces, end = [], int(address) + size
        with self.stopped():
            for start in range(int(address), end, PIECE):
                count = min(PIECE, end - start)
                reply: Any = self.command(f"-data-read-memory-bytes {start:#x} {count}")["memory"]
                pieces += [bytes.fromhex(each["contents"]) for each in reply]
        return b"".join(pieces)

    def write(self, address: int, data: bytes) -> None:
        """Write virtual memory, read-only pages too. QEMU translates code anew that is changed in this way."""
        with self.stopped():
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                self.command(f"-data-write-memory-bytes {address + start:#x} {piece.hex()}")

    def call(self, function: int, *arguments: int, timeout: float = ANSWER_TIMEOUT) -> int:
        """Have the guest call a function, whatever it is doing, and return its 64-bit result.

        The function follows the System V convention, as the kernel's own do. A halted CPU does not go on by itself:
        `Machine.gdb_call` wakes it. Raises GdbError when the guest stops before the function has returned.
        """
        types, values = ",".join(["long"] * len(arguments)), ",".join(map(hex, arguments))
        value = self._evaluate(f"((unsigned long(*)({types})){int(function):#x})({values})", timeout)
        return int(value)

    def evaluate(self, expression: str, *, timeout: float = ANSWER_TIMEOUT) -> str:
        """Return the value of a C expression as GDB prints it; calls in it follow the System V convention.

        >>> machine.gdb.evaluate("sizeof(struct _MDL)")
        '48'
        """
        self._load_symbols()
        return self._evaluate(expression, timeout)

    def _evaluate(self, expression: str, timeout: float) -> str:
        with self.stopped():
            return str(self.command(f"-data-evaluate-expression {_quoted(expression)}", timeout=timeout)["value"])

    def number(self, expression: str) -> int:
        """Return the value of an integer expression."""
        return int(self.evaluate(f"(unsigned long long)({expression})"))

    def backtrace(self) -> list[Frame]:
        """Return the call stack, innermost first."""
        self._load_symbols()
        with self.stopped():
            frames: Any = self.command("-stack-list-frames")["stack"]
        return [
            Frame(
                int(each["level"]),
                VirtualAddress(int(each["addr"], 16)),
                each.get("func", ""),
                each.get("file", ""),
                int(each.get("line", 0)),
            )
            for each in frames
        ]


GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip", "eflags")
SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base", "k_gs_base")
CONTROL = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer")
INTEGER_REGISTERS = (*GENERAL, *SEGMENTS, *CONTROL)
"""Those of GDB's x86-64 registers that are plain numbers."""


def _stop_of(payload: Mapping[str, Any]) -> Stop:
    frame = payload.get("frame", {})
    number = payload.get("bkptno")
    return Stop(
        reason=payload.get("reason", "stopped"),
        address=VirtualAddress(int(frame.get("addr", "0"), 16)),
        function=frame.get("func", ""),
        breakpoint=None if number is None else int(number),
        signal=payload.get("signal-name", ""),
    )


def _quoted(text: str | Path) -> str:
    """A C string, as MI wants any argument that might hold a blank."""
    return json.dumps(str(text))
