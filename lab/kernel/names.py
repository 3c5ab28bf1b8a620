"""The names of the guest's objects: devices, symbolic links, drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.objects import Guest, StructView

__all__ = ["read_names", "read_unicode"]

MOST = 4096
"""A list with more entries is taken for a broken one."""


def read_names(guest: Guest) -> dict[str, VirtualAddress]:
    """Every name, as a whole path, with the address of its object."""
    head = guest.kernel.symbol("names").address
    found: dict[str, VirtualAddress] = {}
    entry = guest.u64(head)
    while entry != head:
        name = guest.struct("name", entry)
        found[read_unicode(guest, name.inner("path"))] = VirtualAddress(name["object"])
        entry = name.inner("entry")["Flink"]
        if len(found) > MOST:
            raise LabError("the guest's list of names has no end")
    return found


def read_unicode(guest: Guest, string: StructView) -> str:
    """The text of a UNICODE_STRING."""
    length = string["Length"]
    data = guest.read(string["Buffer"], length) if length else b""
    return data.decode("utf-16-le", errors="replace")
