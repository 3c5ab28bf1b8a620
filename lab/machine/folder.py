"""The private directory of one machine: sockets, log, and a lock that says whether it is still in use.

Whoever runs the machine holds the lock, and QEMU inherits it: the kernel drops it when the last of them is dead,
however that came. So a folder whose lock can be taken is a leftover, and no process number, which may have been
recycled, is asked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import HostError, UsageError

__all__ = ["Folder", "check_name", "folders", "try_lock"]

LOCK = "machine.lock"
"""Also the mark by which a folder is known as ours: nothing without it is ever removed."""

NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
LONGEST_NAME = 32

LONGEST_SOCKET_PATH = 107
"""What fits into `struct sockaddr_un`, without the final zero."""


class Folder:
    """The directory of one machine, held by its lock until `close`.

    A folder with a name belongs to a background machine; one without, to whoever made it.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock
        """File descriptor to be inherited by QEMU, so that the folder is in use as long as QEMU lives."""

    @classmethod
    def create(cls, base: Path, name: str | None = None) -> Folder:
        """Make a new folder under `base`, after removing leftovers there.

        Raises UsageError for a name that is taken or cannot be one, HostError where sockets would not fit.
        """
        if name is not None:
            check_name(name)
        path = base / (name or f".{os.urandom(6).hex()}")
        if len(os.fsencode(path / "monitor-9")) > LONGEST_SOCKET_PATH:
            raise HostError(f"{base} is too long a path for sockets; set LAB_RUNTIME_DIR to a shorter one")
        with _registry(base):
            _remove_leftovers(base)
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                raise UsageError(f"a machine called {name!r} is running; stop it, or choose another name") from None
            lock = os.open(path / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(path, lock)

    def close(self, *, remove: bool) -> None:
        """Let go of the folder, and remove it unless QEMU goes on using it."""
        if self.lock < 0:
            return
        if remove:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)
        self.lock = -1


def folders(base: Path) -> list[Path]:
    """Return the folders of the background machines that are alive, by name; remove what is left of dead ones."""
    with _registry(base):
        _remove_leftovers(base)
        return sorted(path for path in base.iterdir() if not path.name.startswith(".") and (path / LOCK).is_file())


def try_lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock file at `path`, None when another process holds it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _registry(base: Path) -> Iterator[None]:
    """Hold off all others who make or remove folders under `base`."""
    descriptor = os.open(base / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_leftovers(base: Path) -> None:
    for path in base.iterdir():
        if _is_left_over(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_left_over(path: Path) -> bool:
    if not (path / LOCK).is_file():
        return False
    lock = try_lock(path / LOCK)
    if lock is not None:
        os.close(lock)
    return lock is not None


def check_name(name: str) -> None:
    """UsageError when this cannot be the name of a machine."""
    if not name or len(name) > LONGEST_NAME or name[0] in "-." or not NAME_CHARACTERS.issuperset(name):
        raise UsageError(
            f"{name!r} cannot name a machine: use up to {LONGEST_NAME} letters, digits, `_`, `-` and `.`, not first"
        )
