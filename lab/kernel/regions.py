"""Names for the parts of the address space, from the constants, sections and symbols of the kernel itself."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from lab.kernel.frames import USE_NAMES, frame_use
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage
    from lab.kernel.objects import Guest
    from lab.x86.address import PhysicalAddress

__all__ = ["Region", "regions", "name_range"]

SLOT = 1 << 39
"""Bytes that one entry of a PML4 covers."""

_STARTS = {
    "HYPERSPACE": "hyperspace",
    "SHARED_DATA": "KUSER_SHARED_DATA",
    "KERNEL_BASE": "kernel image",
    "SYSTEM_PTES": "system PTEs",
    "SPECIAL_POOL": "special pool",
    "PFN_DATABASE": "PFN database",
    "NONPAGED_POOL": "nonpaged pool",
    "LOCAL_APIC": "local APIC",
}

_PLUMBING = (".lab.", ".note")
"""Sections that say nothing to a reader: parts of the read-only data."""


class Region(NamedTuple):
    """A named range of virtual addresses, `end` exclusive; ranges do not overlap."""

    start: VirtualAddress
    end: VirtualAddress
    name: str


@lru_cache(maxsize=8)
def regions(kernel: KernelImage) -> tuple[Region, ...]:
    """The parts of the kernel's half, by address; each reaches to the next, and the image is cut into sections."""
    starts = {kernel.find_constant(constant): name for constant, name in _STARTS.items()}
    known = sorted((start, name) for start, name in starts.items() if start is not None)
    found = []
    for number, (start, name) in enumerate(known):
        end = known[number + 1][0] if number + 1 < len(known) else start + SLOT
        end = min(end, start + SLOT, 1 << 64)
        inside = [each for each in kernel.sections if start <= each.start < end]
        inside = [each for each in inside if not each.name.startswith(_PLUMBING)]
        found += [Region(each.start, each.end, f"{name} {each.name}") for each in inside]
        if not inside:
            found.append(Region(VirtualAddress(start), VirtualAddress(end), name))
    return tuple(found)


def name_range(guest: Guest, start: VirtualAddress, end: VirtualAddress, physical: PhysicalAddress) -> str:
    """What stands in a range of pages, "" when nothing is known of it.

    Several sections of the image in one range are all named. Among the system PTEs the frame behind says more than
    the address: a stack, or pool memory mapped a second time.
    """
    here = [each for each in regions(guest.kernel) if each.start < end and start < each.end]
    if not here:
        return ""
    first, *others = [each.name for each in here]
    prefix = first.rpartition(" ")[0]
    name = ", ".join([first, *(each.removeprefix(prefix + " ") for each in others)])
    if name == _STARTS["SYSTEM_PTES"]:
        use = frame_use(guest, physical.frame)
        return f"{name}: {USE_NAMES.get(use, use)}" if use else name
    return name
