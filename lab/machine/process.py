"""Starting programs that cannot outlive us by accident, and killing exactly the process that was meant."""

from __future__ import annotations

import os
import select
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from queue import SimpleQueue
    from subprocess import Popen
    from types import FrameType

__all__ = ["Process", "spawn", "start_time", "uninterrupted"]


class Process:
    """A process known by a descriptor, which unlike its number cannot come to mean another one.

    Raises ProcessLookupError where there is no such process, or it is not the one that started at `started`.
    """

    def __init__(self, pid: int, child: Popen[bytes] | None = None, started: int | None = None) -> None:
        self.pid = pid
        self._child = child
        self._descriptor = os.pidfd_open(pid)
        # Read only now: from here on the number cannot be recycled under our hands.
        self.started = start_time(pid)
        if started is not None and self.started != started:
            self.close()
            raise ProcessLookupError(f"process {pid} is not the one that was started")

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Standard input and output of a process that was started with pipes."""
        if self._child is None or self._child.stdin is None or self._child.stdout is None:
            raise ValueError(f"process {self.pid} was started without pipes")
        return self._child.stdin, self._child.stdout

    @property
    def alive(self) -> bool:
        """Whether it still runs, or is only stopped."""
        return self._descriptor >= 0 and not self._has_ended(timeout=0)

    @property
    def exit_code(self) -> int | None:
        """The exit code, -N after signal N; None while it runs, or when it is not our child."""
        return None if self._child is None else self._child.poll()

    @property
    def fate(self) -> str:
        """What became of the process, as the end of a sentence.

        >>> machine.qemu.process.fate
        'is running'
        """
        if self.alive:
            return "is stopped by a signal" if self._is_suspended else "is running"
        code = self.exit_code
        if code is None:
            return "ended"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"

    @property
    def _is_suspended(self) -> bool:
        try:
            return _stat(self.pid)[0] in "Tt"
        except ProcessLookupError:
            return False  # it has just ended

    def wait(self, timeout: float) -> bool:
        """Wait until the process has ended, for `timeout` seconds at most; return whether it has."""
        return self._descriptor < 0 or self._has_ended(timeout)

    def kill(self) -> None:
        """End the process, whatever state it is in, and wait until it is gone."""
        if self._descriptor >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
            self._has_ended(timeout=None)
        self.close()

    def close(self) -> None:
        """Let go of the process without ending it."""
        if self._child is not None:
            self._child.poll()
            for stream in (self._child.stdin, self._child.stdout):
                if stream is not None:
                    stream.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _has_ended(self, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        ended = bool(poll.poll(None if timeout is None else timeout * 1000))
        if ended and self._child is not None:
            self._child.wait()
        elif ended:
            # It may be our child all the same, started by another object: then it must be taken notice of.
            with suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
        return ended


def spawn(
    command: Sequence[str],
    *,
    errors: Path,
    inherit: Sequence[int] = (),
    pipes: bool = False,
    lasting: bool = False,
) -> Process:
    """Start a program in a session of its own, so that Ctrl-C in our terminal reaches only us.

    It dies with us, even if we are killed, unless `lasting`. Its standard error goes to the file `errors`; standard
    input and output are pipes where `pipes` says so, and nothing otherwise. Call it inside of `uninterrupted`, or
    Ctrl-C may come between the start of the program and the moment when its starter knows of it.
    """
    from subprocess import DEVNULL, PIPE, Popen

    guardian = None if lasting else shutil.which("setpriv")
    guarded = [guardian, "--pdeathsig", "KILL", *command] if guardian else list(command)

    def start() -> Process:
        with errors.open("ab") as log:
            child = Popen(
                guarded,
                stdin=PIPE if pipes else DEVNULL,
                stdout=PIPE if pipes else DEVNULL,
                stderr=log,
                bufsize=0,
                pass_fds=inherit,
                start_new_session=True,
            )
        return Process(child.pid, child)

    return _in_lasting_thread(start)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off until the end of the block, which must be short: what is half made cannot be cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is ever interrupted
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; with its number it names a process for good.

    Raises ProcessLookupError where there is none.
    """
    return int(_stat(pid)[19])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (proc(5)): before them is a name that may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        raise ProcessLookupError(f"there is no process {pid}") from None


def _in_lasting_thread(start: Callable[[], Process]) -> Process:
    """Run `start` in a thread that ends only when this process does.

    The kernel sends the parent-death signal when the *thread* that created a child ends (prctl(2),
    PR_SET_PDEATHSIG), and a machine may well be started from a thread that ends sooner than the machine.
    """
    from queue import SimpleQueue
    from subprocess import SubprocessError

    outcomes: SimpleQueue[Process | Exception] = SimpleQueue()

    def job() -> None:
        try:
            outcomes.put(start())
        except (OSError, ValueError, SubprocessError) as error:
            outcomes.put(error)

    _queue_of_lasting_thread().put(job)
    outcome = outcomes.get()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@cache
def _queue_of_lasting_thread() -> SimpleQueue[Callable[[], None]]:
    """Return the queue of jobs of a thread that never ends."""
    from queue import SimpleQueue

    jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def work() -> None:
        while True:
            jobs.get()()

    threading.Thread(target=work, name="lab-spawn", daemon=True).start()
    return jobs


# A fork has the queue, but not the thread.
os.register_at_fork(after_in_child=_queue_of_lasting_thread.cache_clear)
