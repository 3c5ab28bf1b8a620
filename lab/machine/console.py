"""What the guest wrote to its serial port: a file that only grows, and which parts of it still count.

A machine that is taken back to a saved state has not written yet what it wrote since. QEMU goes on at the end of the
file all the same, so what counts is a list of parts, each from a first byte to an end that is not included; the last
part is open.
"""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["Parts", "read", "parts_now", "rewind"]

Parts = tuple[tuple[int, int], ...]

FILE, PARTS = "console.out", "console.parts"


def read(folder: Path) -> str:
    """Return all that counts of the log of the machine in `folder`; nothing when the machine is gone.

    Lines end as everywhere in Python.
    """
    try:
        data = (folder / FILE).read_bytes()
    except OSError:
        return ""
    *closed, start = _marks(folder)
    text = b"".join((*(data[first:end] for first, end in closed), data[start:])).decode(errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parts_now(folder: Path) -> Parts:
    """Return the parts that count at this moment, all of them closed."""
    *closed, start = _marks(folder)
    return (*closed, (start, (folder / FILE).stat().st_size))


def rewind(folder: Path, parts: Parts) -> None:
    """Let only `parts` count, and what the guest writes from now on."""
    new = folder / f"{PARTS}.new"
    new.write_text(json.dumps([*parts, (folder / FILE).stat().st_size]))
    new.rename(folder / PARTS)


def _marks(folder: Path) -> tuple[*Parts, int]:
    """The closed parts, and where the open one begins."""
    try:
        *closed, start = json.loads((folder / PARTS).read_text())
    except FileNotFoundError:
        return (0,)
    return (*((first, end) for first, end in closed), start)
