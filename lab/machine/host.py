"""What the lab needs from this host: programs, the kernel image, and a private directory for running machines."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import lab
from lab.errors import HostError, ImageMissing, ToolMissing

__all__ = ["find_program", "find_image", "remedy", "runtime_directory", "OWN_KERNEL"]

PACKAGES = {"qemu-system-x86_64": "qemu-system-x86", "gdb": "gdb", "setpriv": "util-linux"}
"""The Debian packages that hold the programs the lab starts."""

IMAGES = Path(lab.__path__[0]).parent / "images"
"""The same as in lab.kernel.image, which takes longer to import than a machine may take to start."""

OWN_KERNEL = IMAGES / "kernel.elf"
"""The image of the lab's own kernel, built or not."""

ROOM_NEEDED = 4 << 20
"""Bytes that sockets, logs and a copy of the kernel take. Guest RAM is not among them: it is anonymous memory."""


def find_program(name: str) -> str:
    """Return the path of a program the lab starts.

    >>> find_program("sh").endswith("/sh")
    True

    Raises ToolMissing, with the command that installs it.
    """
    path = shutil.which(name)
    if path is None:
        raise ToolMissing(name, remedy(name))
    return path


def remedy(name: str, *, anew: bool = False) -> str:
    """Return the command that installs a program; with `anew`, one that is there and does not work.

    >>> remedy("qemu-system-x86_64", anew=True)
    'sudo apt-get install --reinstall qemu-system-x86'
    """
    if name not in PACKAGES:
        return f"your package manager ({name})"
    return f"sudo apt-get install {'--reinstall ' if anew else ''}{PACKAGES[name]}"


def find_image(path: Path | None = None) -> Path:
    """Return the path of the kernel image to boot, our own by default; ImageMissing when there is none."""
    image = path or OWN_KERNEL
    if not image.is_file():
        what_helps = "build it with: make kernel" if image == OWN_KERNEL else "give the path of an ELF file"
        raise ImageMissing(f"there is no kernel image at {image}; {what_helps}")
    return image


def runtime_directory() -> Path:
    """Return the directory of this user's running machines; make it, mode 0700, if there is none.

    `$LAB_RUNTIME_DIR` where set; else the first that is usable and has room of `$XDG_RUNTIME_DIR/lab`,
    `/dev/shm/lab-UID` and `/tmp/lab-UID`. Each machine has a folder of mode 0700 in it.

    Raises HostError when none will do: somebody else's, writable by others, full, or read-only.
    """
    chosen = os.environ.get("LAB_RUNTIME_DIR")
    if chosen:
        candidates = [Path(chosen).absolute()]
    else:
        own = f"lab-{os.getuid()}"
        session = os.environ.get("XDG_RUNTIME_DIR")
        candidates = [Path(session) / "lab"] if session else []
        candidates += [Path("/dev/shm") / own, Path("/tmp") / own]  # noqa: S108  # ours alone: _fault_of sees to it
    faults = []
    for path in candidates:
        fault = _fault_of(path)
        if fault is None:
            return path
        faults.append(f"{path}: {fault}")
    raise HostError(
        f"no directory for running machines ({'; '.join(faults)}); set LAB_RUNTIME_DIR to a short path of your own"
    )


def _fault_of(path: Path) -> str | None:
    """Make the directory if it is missing; say what is wrong with it, None when it will do."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        facts = path.lstat()
        if not stat.S_ISDIR(facts.st_mode):
            return "not a directory"
        # In a directory open to all, another user may have been there first.
        if facts.st_uid != os.getuid():
            return "belongs to another user"
        if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "others may write to it"
        room = os.statvfs(path)
        if room.f_bavail * room.f_frsize < ROOM_NEEDED:
            return f"less than {ROOM_NEEDED >> 20} MiB free"
    except OSError as error:
        return error.strerror or str(error)
    return None
