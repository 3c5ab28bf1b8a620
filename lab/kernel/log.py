"""The kernel log: a ring of text in RAM (`struct lab_log`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.kernel.objects import Guest

__all__ = ["Log", "read_log", "HARMLESS"]

HARMLESS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
"""A guest's log may hold anything, and must not be able to drive the terminal it is shown on."""

NEVER_WRITTEN = 512
"""So many zero bytes at the end of the ring are its first ones: a print can hold a few, and is no longer than this."""


class Log(NamedTuple):
    """The text that the ring still holds; `lost` bytes before it have been overwritten."""

    text: str
    written: int
    lost: int
    problems: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, the last one even when it is not ended yet; control characters show as a replacement."""
        text = self.text.replace("\r\n", "\n").translate(HARMLESS).rstrip("\n")
        return tuple(text.split("\n")) if text else ()


def read_log(guest: Guest, since: int = 0, until: int | None = None) -> Log:
    """Read the log of the kernel, from byte `since` on; an unreadable one is a Log with a problem.

    With `until` only the lines that had ended by that byte, and `written` is where the last of them ends.
    """
    try:
        ring = guest.variable("lab_log")
    except LabError as error:
        return Log("", 0, 0, (str(error),))
    text, written = ring.bytes("text"), ring["written"]
    if until is not None and since <= until <= written <= len(text):
        written = max(since, text.rfind(b"\n", since, until) + 1)
    if written <= len(text):
        return Log(text[since:written].decode(errors="replace"), written, 0)
    if text.endswith(bytes(NEVER_WRITTEN)):
        kept = text.rstrip(b"\0").decode(errors="replace")
        return Log(kept, written, 0, (f"the log claims {written} bytes, but its ring has never been full",))
    start, lost = written % len(text), written - len(text)
    kept = (text[start:] + text[:start])[max(0, since - lost) :].decode(errors="replace")
    return Log(kept, written, max(0, lost - since))
