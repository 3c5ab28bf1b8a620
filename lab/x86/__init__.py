"""The manual as classes: addresses, levels, entries, control registers. Knows no memory and no machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.late import late

if TYPE_CHECKING:
    from lab.x86.address import PhysicalAddress, VirtualAddress
    from lab.x86.caching import MtrrRange, Mtrrs, effective_type
    from lab.x86.entry import Entry
    from lab.x86.levels import GIB, KIB, MIB, Level, size_text
    from lab.x86.registers import CR0, CR3, CR4, EFER, PAT, RFLAGS, KeyRights, MemoryType, PageFaultCode, Vector
    from lab.x86.state import PagingMode, PagingState
    from lab.x86.words import Bit, Field, Word

__all__ = [
    "VirtualAddress",
    "PhysicalAddress",
    "Level",
    "Entry",
    "PagingState",
    "PagingMode",
    "CR0",
    "CR3",
    "CR4",
    "EFER",
    "RFLAGS",
    "PAT",
    "KeyRights",
    "MemoryType",
    "Mtrrs",
    "MtrrRange",
    "effective_type",
    "PageFaultCode",
    "Vector",
    "Word",
    "Bit",
    "Field",
    "KIB",
    "MIB",
    "GIB",
    "size_text",
]

__getattr__ = late(
    __name__,
    {
        "lab.x86.address": ("PhysicalAddress", "VirtualAddress"),
        "lab.x86.caching": ("MtrrRange", "Mtrrs", "effective_type"),
        "lab.x86.entry": ("Entry",),
        "lab.x86.levels": ("GIB", "KIB", "MIB", "Level", "size_text"),
        "lab.x86.registers": (
            "CR0",
            "CR3",
            "CR4",
            "EFER",
            "PAT",
            "RFLAGS",
            "KeyRights",
            "MemoryType",
            "PageFaultCode",
            "Vector",
        ),
        "lab.x86.state": ("PagingMode", "PagingState"),
        "lab.x86.words": ("Bit", "Field", "Word"),
    },
)
