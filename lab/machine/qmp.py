"""QMP, QEMU's own control channel, made synchronous: life and death of a machine, and QEMU's second opinion.

The protocol is spoken by `qemu.qmp` on one private asyncio thread; nothing of asyncio shows outside of this file.
See QEMU's docs/interop/qmp-spec and qemu-qmp-ref.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import threading
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from lab.errors import GuestCrashed, GuestTimeout, HostError, LabError
from lab.machine.folder import try_lock
from lab.x86.address import PhysicalAddress

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from qemu.qmp import QMPClient

__all__ = ["Qmp", "Event", "QmpError", "parse_gva2gpa", "parse_registers"]

T = TypeVar("T")

ANSWER_TIMEOUT = 5.0
"""Seconds within which a sound QEMU answers any command given here."""

ENDED = {"shutdown", "guest-panicked", "internal-error"}
"""Run states from which a guest does not come back."""


class QmpError(LabError):
    """QEMU refused a command; `command` is what was sent, `reply` its words."""

    def __init__(self, command: str, reply: str) -> None:
        super().__init__(f"QEMU refused {command!r}: {reply}")
        self.command = command
        self.reply = reply


class Event(NamedTuple):
    """Something QEMU reported by itself: SHUTDOWN, STOP, RESUME, GUEST_PANICKED and others."""

    name: str
    data: Mapping[str, object]


class Qmp:
    """One QMP connection.

    >>> with Machine() as machine:
    ...     machine.qmp.status()
    'running'
    """

    def __init__(self, path: Path, *, timeout: float = ANSWER_TIMEOUT) -> None:
        """Connect to the QMP socket at `path`, of any QEMU.

        asyncio, which takes long to import, comes only with the first command or event. Raises GuestTimeout when
        nobody answers within `timeout` seconds: QEMU hangs, or serves another client. Raises GuestCrashed when QEMU is
        dead.
        """
        self._lock: int | None = None
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._alive_since = 0  # number of the event from which on the guest's fate is told
        self._job_numbers = count()
        self._lost = False
        self._client: QMPClient | None = None
        self._connection, messages = _negotiate(path, timeout)
        self.greeting = messages[0]
        self._add_events(message for message in messages if "event" in message)
        self._status_at_first = str(cast("Mapping[str, object]", messages[-1]["return"])["status"])

    @classmethod
    def connect_to_free(cls, paths: Sequence[Path], *, timeout: float = ANSWER_TIMEOUT) -> Qmp:
        """Connect to the first of a machine's QMP sockets that no other process of ours uses.

        A QMP socket serves one client at a time, and others would wait without a word. Raises HostError when all are
        taken, and what `Qmp` raises.
        """
        for path in paths:
            lock = try_lock(path.with_name(f"{path.name}.lock"))
            if lock is None:
                continue
            try:
                connected = cls(path, timeout=timeout)
            except BaseException:
                os.close(lock)
                raise
            connected._lock = lock
            return connected
        raise HostError(f"all QMP sockets in {paths[0].parent} are in use; close another session of this machine")

    # ------------------------------------------------------------------------------------------------ commands ----

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: float = ANSWER_TIMEOUT
    ) -> object:
        """Run one QMP command and return what it returns.

        >>> machine.qmp.execute("query-status")
        {'status': 'running', 'singlestep': False, 'running': True}

        Raises QmpError when QEMU refuses it, GuestTimeout when no answer comes in time, GuestCrashed when the
        connection is gone.
        """
        from qemu.qmp import ExecInterruptedError, ExecuteError, StateError

        gone = f"QEMU is gone, so {command!r} cannot be asked of it"
        client = self._opened()
        if client is None:
            raise GuestCrashed(gone)
        try:
            return self._run(client.execute(command, dict(arguments or {})), timeout)
        except ExecuteError as error:
            raise QmpError(command, str(error)) from error
        except (ExecInterruptedError, StateError) as error:
            raise GuestCrashed(gone) from error
        except TimeoutError:
            raise GuestTimeout(f"QEMU did not answer {command!r} within {timeout:g} s") from None

    def run_job(self, command: str, arguments: Mapping[str, object], *, timeout: float) -> None:
        """Run a command that QEMU carries out in the background, such as `snapshot-save`, and wait for its end.

        Raises QmpError when it fails, GuestTimeout when it has not ended after `timeout` seconds, and what `execute`
        does.
        """
        job = f"lab-{os.getpid()}-{next(self._job_numbers)}"
        ended = Event("JOB_STATUS_CHANGE", {"id": job, "status": "concluded"})
        self.execute(command, {"job-id": job, **arguments})
        with self._changed:
            if not self._changed.wait_for(lambda: ended in self._events or self._lost, timeout):
                raise GuestTimeout(f"QEMU did not end {command!r} within {timeout:g} s")
        jobs = cast("list[Mapping[str, object]]", self.execute("query-jobs"))
        self.execute("job-dismiss", {"id": job})
        error = next((each.get("error") for each in jobs if each["id"] == job), None)
        if error:
            raise QmpError(command, str(error))

    def hmp(self, command: str, *, timeout: float = ANSWER_TIMEOUT) -> str:
        r"""Run one command of QEMU's human monitor and return its text.

        >>> machine.qmp.hmp("info status")
        'VM status: running\r\n'
        """
        reply = self.execute("human-monitor-command", {"command-line": command}, timeout=timeout)
        return str(reply)

    def status(self, *, timeout: float = ANSWER_TIMEOUT) -> str:
        """Return QEMU's run state: running, paused, debug, shutdown, guest-panicked or another."""
        reply = self.execute("query-status", timeout=timeout)
        return str(cast("Mapping[str, object]", reply)["status"])

    def stop(self) -> None:
        """Pause the machine; it is paused when this returns."""
        self.execute("stop")

    def cont(self) -> None:
        """Let the machine run on."""
        self.execute("cont")

    def registers(self, *, timeout: float = ANSWER_TIMEOUT) -> dict[str, int]:
        """Return the registers of the first CPU by lower-case name; the CPU need not be stopped for it."""
        return parse_registers(self.hmp("info registers", timeout=timeout))

    def gva2gpa(self, address: int) -> PhysicalAddress | None:
        """Return QEMU's own translation of a virtual address, None where it finds no mapping.

        >>> print(machine.qmp.gva2gpa(machine.kernel.symbol("KeBugCheckEx").address))
        pa:0x00001...
        >>> print(machine.qmp.gva2gpa(0))
        None
        """
        return parse_gva2gpa(self.hmp(f"gva2gpa {address:#x}"))

    # -------------------------------------------------------------------------------------------------- events ----

    @property
    def events(self) -> tuple[Event, ...]:
        """All events since the connection was made, oldest first."""
        self._opened()
        return tuple(self._events)

    def last(self, *names: str) -> Event | None:
        """Return the latest event of one of these names, or None."""
        return next((event for event in reversed(self._events) if event.name in names), None)

    @property
    def fate(self) -> str | None:
        """Why the guest will never run again: "guest-panicked", or the reason of its shutdown; None while it may."""
        self._listen()
        names = {"GUEST_PANICKED", "SHUTDOWN"}
        event = next((each for each in reversed(self._events[self._alive_since :]) if each.name in names), None)
        if event is not None:
            return "guest-panicked" if event.name == "GUEST_PANICKED" else str(event.data["reason"])
        return self._status_at_first if self._status_at_first in ENDED else None

    def forget_fate(self) -> None:
        """Take the guest for alive from now on, because it was taken back to a state in which it was."""
        self._opened()
        self._alive_since, self._status_at_first = len(self._events), "running"

    def wait_event(self, *names: str, timeout: float, since: int = 0) -> Event | None:
        """Wait for an event of one of these names; events before the one numbered `since` do not count.

        Returns None when none came within `timeout` seconds, or when the connection ended first.
        """

        def found() -> Event | None:
            return next((event for event in self._events[since:] if event.name in names), None)

        self._opened()
        with self._changed:
            self._changed.wait_for(lambda: found() or self._lost, timeout)
            return found()

    @property
    def lost(self) -> bool:
        """Whether QEMU has closed the connection."""
        self._listen()
        return self._lost

    # ------------------------------------------------------------------------------------------------- lifetime ----

    def close(self) -> None:
        """End the connection. QEMU goes on."""
        try:
            if self._client is None:
                self._connection.close()
            else:
                with suppress(TimeoutError):
                    self._run(self._close(self._client), ANSWER_TIMEOUT)
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _opened(self) -> QMPClient | None:
        """The client on our connection, and with it the private asyncio thread that serves it; None if QEMU is gone."""
        self._listen()
        if self._client is None and not self._lost:
            from qemu.qmp import QMPClient, QMPError

            client: QMPClient = QMPClient("lab")
            client.await_greeting = client.negotiate = False  # both were done on the plain socket
            self._connection.setblocking(False)
            try:
                self._run(self._open(client), ANSWER_TIMEOUT)
            except (QMPError, AssertionError, EOFError, OSError):  # its end came this very moment
                self._lost = True
                return None
            self._client = client
        return self._client

    def _listen(self) -> None:
        """Take in the events that have come, as long as no command has needed the client for it."""
        while self._client is None and not self._lost and select.select([self._connection], [], [], 0)[0]:
            try:
                self._add_events([_read_message(self._connection)])
            except (EOFError, OSError):
                self._lost = True

    def _run(self, coroutine: Coroutine[object, object, T], timeout: float) -> T:
        """Run a coroutine on the private asyncio thread and return its result; TimeoutError cancels it."""
        import asyncio

        future = asyncio.run_coroutine_threadsafe(coroutine, _running_loop())
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    async def _open(self, client: QMPClient) -> None:
        import asyncio

        await client.connect(self._connection)
        self._tasks = [asyncio.create_task(self._collect_events(client)), asyncio.create_task(self._notice_end(client))]

    async def _collect_events(self, client: QMPClient) -> None:
        async for message in client.events:
            self._add_events([message])

    async def _notice_end(self, client: QMPClient) -> None:
        from qemu.qmp import Runstate

        while client.runstate is Runstate.RUNNING:
            await client.runstate_changed()
        await self._disconnect(client)
        # QEMU's last words came before it closed the connection, but may not have been collected yet.
        self._add_events(client.events.clear())
        with self._changed:
            self._lost = True
            self._changed.notify_all()

    def _add_events(self, messages: Iterable[Mapping[str, object]]) -> None:
        with self._changed:
            for message in messages:
                data = message.get("data", {})
                self._events.append(Event(str(message["event"]), data if isinstance(data, Mapping) else {}))
            self._changed.notify_all()

    async def _close(self, client: QMPClient) -> None:
        for task in self._tasks:
            task.cancel()
        await self._disconnect(client)

    @staticmethod
    async def _disconnect(client: QMPClient) -> None:
        from qemu.qmp import QMPError

        with suppress(QMPError, EOFError, OSError):  # QEMU was gone before us: nothing is left to be closed
            await client.disconnect()


def parse_gva2gpa(text: str) -> PhysicalAddress | None:
    """Read the output of QEMU's `gva2gpa`.

    >>> print(parse_gva2gpa("gpa: 0x10b000"), parse_gva2gpa("gpa: 0"), parse_gva2gpa("Unmapped"))
    pa:0x000010b000 pa:0x0000000000 None
    """
    found = re.search(r"gpa: (0x[0-9a-f]+|0)", text)
    return PhysicalAddress(int(found[1], 16)) if found else None


def parse_registers(text: str) -> dict[str, int]:
    r"""Read the output of QEMU's `info registers`, for one CPU in any mode, into numbers by lower-case name.

    General registers have their 64-bit names even where the CPU is in 32-bit mode, flags are `rflags`, selectors `cs`
    and so on, and bases `fs_base` and `gs_base`. Floating-point and vector registers are left out.

    >>> parse_registers("RIP=0000000000101000 RFL=00000246 CPL=0\nCR0=80010033 CR2=0000000000000000")
    {'rip': 1052672, 'rflags': 582, 'cr0': 2147549235, 'cr2': 0}
    """
    registers = {}
    for found in _REGISTER.finditer(text.partition("\nFCW=")[0]):
        name, value, base = found.groups()
        name = {"RFL": "rflags", "EFL": "rflags"}.get(name, name.lower())
        if name[0] == "e" and len(name) == 3:
            name = f"r{name[1:]}"
        registers[name] = int(value, 16)
        if name in {"fs", "gs"} and base:
            registers[f"{name}_base"] = int(base, 16)
    return registers


# A segment has its base behind the selector: "FS =0000 0000000000000000 00000000 00000000".
_REGISTER = re.compile(r"\b([RE][A-Z0-9]{1,2}|EFER|[C-GS]S|CR\d) *=([0-9a-f]+)(?: ([0-9a-f]{8,16}) [0-9a-f]{8} )?")


def _negotiate(path: Path, timeout: float) -> tuple[socket.socket, list[Mapping[str, object]]]:
    """Connect, leave the negotiation mode and ask for the status; return the socket and all messages up to that.

    Both requests are sent before QEMU has greeted: a QEMU that is still starting finds them in its socket and reports
    events from its first moment on, and no time passes on our side.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(b'{"execute": "qmp_capabilities"}\n{"execute": "query-status"}\n')
        messages = [_read_message(connection)]
        while sum("return" in message for message in messages) < 2:
            messages.append(_read_message(connection))
    except (TimeoutError, BlockingIOError):  # the latter when others wait already
        connection.close()
        raise GuestTimeout(f"QEMU does not answer at {path}: it hangs, or another program is connected there") from None
    except (OSError, EOFError) as error:
        connection.close()
        raise GuestCrashed(f"nobody answers at {path}: QEMU is gone ({error})") from error
    except BaseException:
        connection.close()
        raise
    return connection, messages


def _read_message(connection: socket.socket) -> Mapping[str, object]:
    """Read one message and not a byte more, because what follows is for another reader."""
    line = b""
    while not line.endswith(b"\n"):
        ready = connection.recv(65536, socket.MSG_PEEK)
        if not ready:
            raise EOFError("end of connection")
        line += connection.recv(ready.find(b"\n") + 1 or len(ready))
    return cast("Mapping[str, object]", json.loads(line))


@cache
def _running_loop() -> AbstractEventLoop:
    """Return the event loop of the private thread."""
    import asyncio

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="lab-qmp", daemon=True).start()
    return loop


# A fork has the loop, but not the thread.
os.register_at_fork(after_in_child=_running_loop.cache_clear)
