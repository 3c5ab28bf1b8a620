"""A running guest, and the questions that its tests ask: what a call did, what stands in RAM, what the tables say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from lab.errors import GuestStopped
from lab.kernel.frames import FrameRecord, read_frame, read_frames
from lab.kernel.mailbox import BugCheck
from lab.kernel.mdl import Mdl, read_mdl
from lab.kernel.pool import Allocation, read_pool
from lab.machine import Machine, MachineOptions
from lab.machine.mailbox import Argument, GuestException
from lab.paging.walk import Walk
from lab.x86.address import PhysicalAddress, VirtualAddress

PAGE = 4096
MIB = 1 << 20
GIB = 1 << 30

NONPAGED, PAGED, NONPAGED_NX, CACHE_ALIGNED = 0, 1, 512, 4
"""Windows' POOL_TYPEs, as drivers are compiled with them."""

TAG = int.from_bytes(b"Test", "little")

KERNEL_MODE = 0
NON_CACHED, CACHED, WRITE_COMBINED = 0, 1, 2
NORMAL_PRIORITY, NO_EXECUTE, NO_WRITE = 16, 0x40000000, 0x80000000
ANYWHERE = (1 << 64) - 1

MAPPED, LOCKED, FROM_POOL, FIXED_SIZE = 1, 2, 4, 8
"""Windows' MDL flags."""


def pages_of(size: int) -> int:
    """How many pages hold so many bytes."""
    return (size + PAGE - 1) // PAGE


class Probe:
    """A machine whose guest is ready.

    RAM is seen live, and the registers that paging depends on are those of the beginning: this kernel never changes
    them once it has come up.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.kernel = machine.kernel
        with machine.paused():
            self.snapshot = machine.snapshot()
        self.state = self.snapshot.state
        self.guest = self.snapshot.guest

    # ---------------------------------------------------------------------------------------------------- calls ----

    def call(self, name: str, *arguments: Argument) -> int:
        """What a function returns, which it must."""
        result = self.machine.call(name, *arguments)
        assert result.exception is None, f"{name}: {result.exception}"
        return result.result

    def fault(self, name: str, *arguments: Argument) -> GuestException:
        """The exception that ends a call; the guest must live on."""
        result = self.machine.call(name, *arguments)
        assert result.exception is not None, f"{name} returned {result.raw:#x}"
        assert self.call("lab_ping", 1) == 2
        return result.exception

    def stop(self, name: str, *arguments: Argument, guarded: bool = True) -> BugCheck:
        """The bug check that a call ends in."""
        try:
            result = self.machine.call(name, *arguments, guarded=guarded)
        except GuestStopped:
            assert self.machine.bugcheck is not None
            return self.machine.bugcheck
        raise AssertionError(f"{name} gave {result}, and the guest lives on")

    def printed(self, name: str, *arguments: Argument) -> str:
        """What a call writes to the log."""
        log = self.guest.variable("lab_log")
        first, ring = log["written"], log.structure.field("text").type.size
        self.call(name, *arguments)
        log = self.guest.variable("lab_log")
        text = log.bytes("text")
        assert log["written"] - first <= ring
        return bytes(text[i % ring] for i in range(first, log["written"])).decode()

    # --------------------------------------------------------------------------------------------------- memory ----

    def walk(self, address: int) -> Walk:
        """The walk of a virtual address."""
        return self.snapshot.walk(VirtualAddress(address))

    def is_mapped(self, address: int) -> bool:
        """Whether there is a page at a virtual address."""
        return self.walk(address).is_mapped

    def entry(self, address: int) -> int:
        """The entry that maps the page at a virtual address, or that says it is not there."""
        return int(self.walk(address).steps[-1].entry)

    def frame(self, address: int) -> int:
        """The number of the frame behind a virtual address."""
        return self.walk(address).mapped.physical.frame

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a virtual address, read in RAM."""
        return self.snapshot.read_virtual(VirtualAddress(address), size)

    def u64(self, address: int) -> int:
        """Eight bytes at a virtual address, read in RAM."""
        return int.from_bytes(self.read(address, 8), "little")

    def write(self, address: int, data: bytes) -> None:
        """Let the guest write bytes at a virtual address."""
        for start in range(0, len(data), 2048):
            piece = data[start : start + 2048]
            self.call("RtlCopyMemory", address + start, piece, len(piece))

    def in_frame(self, frame: int, size: int = PAGE) -> bytes:
        """The first bytes of a frame."""
        return self.machine.memory.read(PhysicalAddress.from_frame(frame), size)

    # ---------------------------------------------------------------------------------------------------- books ----

    def record(self, frame: int) -> FrameRecord:
        """What the PFN database says of a frame."""
        return read_frame(self.guest, frame)

    def cache_attribute(self, frame: int) -> str:
        """The memory type that the PFN database notes for a frame."""
        bits = self.guest.struct("_MMPFN", self.record(frame).record)["u3.e1"]
        value = (bits & self.kernel.constant("PFN_E1_CACHE_MASK")) >> self.kernel.constant("PFN_E1_CACHE_SHIFT")
        return self.kernel.enum("pfn_cache").name_of(value).removeprefix("PFN_")

    def frames_available(self) -> int:
        """Frames that nobody uses."""
        locations = read_frames(self.guest).locations
        return locations.get("Free", 0) + locations.get("Zeroed", 0)

    def system_ptes_available(self) -> int:
        """Pages of the system PTEs that nobody has reserved."""
        return self.guest.number("available")

    def books(self) -> dict[str, int | list[str]]:
        """Everything that calls take and must give back."""
        pool = read_pool(self.guest)
        return {
            "frames": self.frames_available(),
            "system PTEs": self.system_ptes_available(),
            "pool": [f"{each.address} {each.size} {each.tag!r}" for each in pool.allocations],
            "bytes by tag": sum(each.bytes for each in pool.tags),
            "problems": list(pool.problems),
        }

    def mdl(self, address: int) -> Mdl:
        """An MDL that the guest allocated."""
        mdl = self.guest.struct("_MDL", address)
        room = mdl.structure.size + 8 * pages_of(mdl["ByteOffset"] + mdl["ByteCount"])
        return read_mdl(self.guest, Allocation(VirtualAddress(address), room, "Mdl ", "", False))

    # --------------------------------------------------------------------------------------------- short phrases ----

    def allocate(self, size: int = 100, pool_type: int = NONPAGED, tag: int = TAG) -> int:
        """Memory from ExAllocatePoolWithTag."""
        return self.call("ExAllocatePoolWithTag", pool_type, size, tag)

    def free(self, address: int, tag: int = 0) -> None:
        """End of ExAllocatePoolWithTag, IoAllocateMdl excluded."""
        self.call("ExFreePoolWithTag", address, tag)

    @contextmanager
    def pool(self, size: int = 100, pool_type: int = NONPAGED, tag: int = TAG) -> Iterator[int]:
        """Memory from ExAllocatePoolWithTag, freed afterwards."""
        address = self.allocate(size, pool_type, tag)
        assert address
        yield address
        self.free(address, tag)

    @contextmanager
    def code(self, *instructions: bytes) -> Iterator[int]:
        """Instructions in executable pool, `ret` after them, freed afterwards."""
        with self.pool(sum(map(len, instructions)) + 1) as address:
            self.write(address, b"".join(instructions) + b"\xc3")
            yield address

    def pages_mdl(self, size: int = 2 * PAGE, cache: int = CACHED, flags: int = 0, *, low: int = 0) -> int:
        """An MDL of pages from MmAllocatePagesForMdlEx."""
        return self.call("MmAllocatePagesForMdlEx", low, ANYWHERE, 0, size, cache, flags)

    def free_pages_mdl(self, mdl: int) -> None:
        """End of such an MDL."""
        self.call("MmFreePagesFromMdl", mdl)
        self.call("ExFreePool", mdl)

    def map(self, mdl: int, cache: int = CACHED, priority: int = NORMAL_PRIORITY, *, bugcheck: bool = False) -> int:
        """Where MmMapLockedPagesSpecifyCache maps an MDL."""
        return self.call("MmMapLockedPagesSpecifyCache", mdl, KERNEL_MODE, cache, 0, int(bugcheck), priority)

    def built_mdl(self, buffer: int, size: int) -> int:
        """An MDL that describes nonpaged pool."""
        mdl = self.call("IoAllocateMdl", buffer, size, 0, 0, 0)
        assert mdl
        self.call("MmBuildMdlForNonPagedPool", mdl)
        return mdl


@contextmanager
def booted(*append: str, machine: str = "microvm", ram: int = 64 * MIB, cpu: str = "max") -> Iterator[Probe]:
    """A machine of one's own."""
    with Machine(MachineOptions(machine=machine, ram=ram, cpu=cpu, append=append)) as running:
        yield Probe(running)


class Supply:
    """One guest for many tests, until one of them spoils it."""

    def __init__(self, *append: str, **options: Any) -> None:
        """Take what `booted` takes."""
        self._append = append
        self._options = options
        self._running = ExitStack()
        self._guest: Probe | None = None

    def guest(self) -> Probe:
        """The guest; booted when there is none, or none that can go on."""
        if self._guest is None or not self._guest.machine.is_running:
            self.renew()
            self._guest = self._running.enter_context(booted(*self._append, **self._options))
        return self._guest

    def renew(self) -> None:
        """Let the next test have another guest."""
        self._running.close()
        self._guest = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.close()
