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
        **dict.fromkeys(
            (
                "PhysicalAddress",
                "VirtualAddress",
            ),
            "lab.x86.address",
        ),
        **dict.fromkeys(
            (
                "MtrrRange",
                "Mtrrs",
                "effective_type",
            ),
            "lab.x86.caching",
        ),
        **dict.fromkeys(("Entry",), "lab.x86.entry"),
        **dict.fromkeys(
            (
                "GIB",
                "KIB",
                "MIB",
                "Level",
                "size_text",
            ),
            "lab.x86.levels",
        ),
        **dict.fromkeys(
            (
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
            "lab.x86.registers",
        ),
        **dict.fromkeys(
            (
                "PagingMode",
                "PagingState",
            ),
            "lab.x86.state",
        ),
        **dict.fromkeys(
            (
                "Bit",
                "Field",
                "Word",
            ),
            "lab.x86.words",
        ),
    },
)
