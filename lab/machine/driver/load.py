"""Drivers in a running machine: loaded, listed, unloaded.

The host lays an image out and binds its imports; the guest copies it to its place, sets the rights of its pages and
calls its functions. What happens inside them takes its Windows course: a fault in a driver is a bug check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import GuestError, LabError
from lab.kernel.objects import Guest
from lab.kernel.values import is_success, ntstatus
from lab.machine.driver.layout import extent
from lab.machine.driver.pe import DriverImage
from lab.x86.address import VirtualAddress
from lab.x86.state import PagingState

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage
    from lab.kernel.objects import StructView
    from lab.machine.driver.directories import Import
    from lab.machine.driver.layout import LoadedImage
    from lab.machine.machine import Machine
    from lab.machine.mailbox import Argument

__all__ = [
    "LoadedDriver",
    "DriverRecord",
    "DriverRefused",
    "load",
    "unload",
    "drivers",
    "find_driver",
    "recall",
    "resolver",
    "place",
    "start",
    "call_driver",
]

ENTRY_TIMEOUT = 10.0
"""Seconds that a driver's function is given to return."""

PAGE = 4096

FOLDER = "drivers"
"""Where in a machine's folder the files of its drivers are kept, each by the number it was loaded as."""

EXCEPTION_ENTRY = 12
"""Bytes of one RUNTIME_FUNCTION."""

NOTHING = bytes(16)


class DriverRefused(LabError):
    """The guest does not take a driver, or does not give it back."""


@dataclass(frozen=True)
class LoadedDriver:
    """A driver that was placed in the guest; `status` is DriverEntry's, None while that has not been called.

    `missing` are those of its imports that this kernel does not have: calling one stops the guest with its name.
    `number` counts the drivers ever loaded, from 1: an address may be another driver's later.
    """

    number: int
    name: str
    base: VirtualAddress
    size: int
    entry: VirtualAddress
    image: DriverImage
    missing: tuple[Import, ...]
    status: int | None = None

    @property
    def imports(self) -> tuple[Import, ...]:
        """All that it imports, in the order of its tables."""
        return self.image.imports

    @property
    def ok(self) -> bool:
        """Whether its DriverEntry succeeded."""
        return self.status is not None and is_success(self.status)


@dataclass(frozen=True)
class DriverRecord:
    """What the guest knows of a driver: `state` is reserved, starting, loaded, stopping or gone.

    `leftovers` counts what was still there when it was gone, by the guest's words: devices, timers, …
    """

    number: int
    name: str
    state: str
    base: VirtualAddress
    size: int
    entry: VirtualAddress
    status: int
    object: VirtualAddress
    leftovers: Mapping[str, int]

    @property
    def is_there(self) -> bool:
        """Whether its image is in memory."""
        return self.state != "gone"


# --------------------------------------------------------------------------------------------------------- loading ----


def load(
    machine: Machine, path: Path | str, *, name: str | None = None, timeout: float = ENTRY_TIMEOUT
) -> LoadedDriver:
    """Load a driver file and call its DriverEntry; return it, whatever the status.

    >>> from lab.machine.driver.build import build
    >>> driver = load(machine, build([samples / "remap.c"], folder / "remap.sys").path)
    >>> driver.name, ntstatus(machine.kernel, driver.status)
    ('remap', 'STATUS_SUCCESS (0x00000000)')

    Raises BadImage for a file that is no driver, DriverRefused when the guest has no room for it, GuestStopped when
    DriverEntry ends in a bug check, GuestTimeout when it does not return.
    """
    return start(machine, place(machine, DriverImage.load(Path(path)), name), timeout=timeout)


def place(machine: Machine, image: DriverImage, name: str | None = None) -> LoadedDriver:
    """Copy a driver into the guest and give its pages their rights; its DriverEntry has not been called then."""
    name = name or driver_name(image.name)
    base = VirtualAddress(machine.call.driver_new(name, extent(image)).result)
    if not base:
        raise DriverRefused(f"the guest has no memory for {name}, or too many drivers")
    try:
        loaded = image.layout(base, resolver(machine.kernel), lambda each: _stub(machine, base, each))
        _copy(machine, loaded)
        _protect(machine, loaded)
    except BaseException:
        with suppress(GuestError):
            machine.call.driver_abandon(base)
        raise
    number = next(each.number for each in drivers(machine) if each.is_there and each.base == base)
    _keep(machine, number, image)
    if machine.has_gdb:
        _tell_gdb(machine, number, loaded)
    return LoadedDriver(number, name, base, loaded.size, loaded.entry, image, loaded.missing)


def start(machine: Machine, driver: LoadedDriver, *, timeout: float = ENTRY_TIMEOUT) -> LoadedDriver:
    """Call the DriverEntry of a driver that was placed; return the driver with its status."""
    call_driver(machine, "driver_load", *start_arguments(driver), timeout=timeout)
    return started(machine, driver)


def start_arguments(driver: LoadedDriver) -> tuple[int, ...]:
    """What the guest's driver_load takes."""
    table = driver.image.exceptions
    tables = (table.rva, table.count * EXCEPTION_ENTRY) if table else (0, 0)
    return (driver.base, driver.image.entry, *tables)


def started(machine: Machine, driver: LoadedDriver) -> LoadedDriver:
    """The driver with the status that the guest noted."""
    return replace(driver, status=record_of(machine, driver.number).status)


def call_driver(machine: Machine, command: str, *arguments: Argument, timeout: float = ENTRY_TIMEOUT) -> int:
    """Call one of the guest's commands that run a driver's code: faults in it take their Windows course."""
    return machine.call(command, *arguments, guarded=False, timeout=timeout).result


def driver_name(file: str) -> str:
    """What a driver is called, made of its file's name: what Windows would take as the name of a service.

    >>> driver_name("my driver.v2.sys")
    'my_driver_v2'
    """
    stem = Path(file).stem or "driver"
    return re.sub(r"[^A-Za-z0-9_-]", "_", stem)[:60]


def resolver(kernel: KernelImage) -> Callable[[str, str], int | None]:
    """Find the address of an import among the kernel's exports, by its name alone.

    Windows has them spread over ntoskrnl.exe, hal.dll and others; here one kernel has them all. Commands of the lab
    are none of them.
    """
    return lambda _, name: kernel.imports.get(name)


def _stub(machine: Machine, base: int, missing: Import) -> int:
    address = machine.call.driver_missing(base, missing.name).result
    if not address:
        raise DriverRefused(f"the guest has no memory for a stub of {missing.name}")
    return address


def _copy(machine: Machine, loaded: LoadedImage) -> None:
    """Have the guest copy the image piece by piece; its memory is all zero before."""
    room = machine.mailbox.room
    for run in loaded.runs:
        end = run.rva + run.size
        for rva in range(run.rva, end, room):
            piece = loaded.content[rva : min(rva + room, end)].rstrip(b"\0")
            if piece:
                _demand(machine, loaded, "driver_write", rva, piece, len(piece))


def _protect(machine: Machine, loaded: LoadedImage) -> None:
    constant = machine.kernel.constant
    for run in loaded.runs:
        rights = (
            constant("DRIVER_READ") * run.rights.read
            | constant("DRIVER_WRITE") * run.rights.write
            | constant("DRIVER_EXECUTE") * run.rights.execute
            | constant("DRIVER_DISCARD") * run.discardable
        )
        _demand(machine, loaded, "driver_protect", run.rva, run.size, rights)


def _demand(machine: Machine, loaded: LoadedImage, command: str, *arguments: int | bytes) -> None:
    status = machine.call(command, loaded.base, *arguments).result
    if not is_success(status):
        name = ntstatus(machine.kernel, status)
        raise DriverRefused(f"the guest refused {loaded.image.name} in {command}: {name}")


# ------------------------------------------------------------------------------------------------------- unloading ----


def unload(machine: Machine, base: int, *, timeout: float = ENTRY_TIMEOUT) -> int:
    """Call the DriverUnload of the driver at `base` and take it away; return the status.

    STATUS_INVALID_DEVICE_REQUEST, and nothing done, where it has set no DriverUnload, as on Windows. Raises
    GuestStopped when it ends in a bug check, GuestTimeout when it does not return.
    """
    return call_driver(machine, "driver_unload", base, timeout=timeout)


# --------------------------------------------------------------------------------------------------------- listing ----


def drivers(machine: Machine) -> tuple[DriverRecord, ...]:
    """The drivers in the guest, and what it still knows of those that are gone, in the order they were loaded."""
    kernel = machine.kernel
    # The table is read where the image was loaded, so no state of paging is needed.
    guest = Guest(kernel, machine.memory, PagingState())
    slots = kernel.constant("LAB_DRIVERS")
    table = guest.structs("lab_driver", kernel.symbol("lab_drivers").address, slots)
    ledger = guest.structs("ledger_totals", kernel.symbol("ledger_totals").address, slots)
    lock, gone = kernel.constant("LEDGER_LOCK"), kernel.constant("DRIVER_NONE")
    found = [
        _record(driver, locked_pages=-(-totals.array("bytes")[lock] // PAGE))
        for driver, totals in zip(table, ledger, strict=True)
        if driver["state"] != gone
    ]
    return tuple(sorted(found, key=lambda each: each.number))


def record_of(machine: Machine, number: int) -> DriverRecord:
    """What the guest knows of the driver that was loaded as that number."""
    for each in drivers(machine):
        if each.number == number:
            return each
    raise LabError(f"the guest knows nothing any more of driver number {number}")


def find_driver(machine: Machine, name: str) -> DriverRecord:
    """The driver in memory that is called `name`; LabError with the names there are."""
    there = [each for each in drivers(machine) if each.is_there]
    for each in there:
        if each.name.lower() == driver_name(name).lower():
            return each
    names = f"loaded are: {', '.join(each.name for each in there)}" if there else "none is loaded"
    raise DriverRefused(f"no driver called {name!r} is loaded; {names}")


def _record(view: StructView, *, locked_pages: int) -> DriverRecord:
    left = view.inner("leftovers")
    leftovers = {name.replace("_", " "): left[name] for name in left.structure.fields} | {"locked pages": locked_pages}
    return DriverRecord(
        number=view["loaded_as"],
        name=view.bytes("name").partition(b"\0")[0].decode(errors="replace"),
        state=view.enum("state", "lab_driver_state").removeprefix("DRIVER_").lower(),
        base=VirtualAddress(view["base"]),
        size=view["size"],
        entry=VirtualAddress(view["entry"]),
        status=view.unsigned("status"),
        object=VirtualAddress(view["object"]),
        leftovers={name: count for name, count in leftovers.items() if count},
    )


# ---------------------------------------------------------------------------------------------------- what is kept ----


def recall(machine: Machine, record: DriverRecord) -> LoadedDriver:
    """A driver in memory as whoever loaded it had it, maybe another process; DriverRefused when its file is lost."""
    image = kept_image(machine, record.number)
    if image is None:
        raise DriverRefused(f"the file of {record.name} is not kept any more")
    missing = image.missing(resolver(machine.kernel))
    return LoadedDriver(
        record.number, record.name, record.base, record.size, record.entry, image, missing, record.status
    )


def kept_file(machine: Machine, number: int) -> Path:
    """Where the file of a driver is kept: whoever looks at the machine later needs its symbols."""
    return machine.qemu.folder / FOLDER / f"{number}.sys"


def kept_image(machine: Machine, number: int) -> DriverImage | None:
    """The file of a driver as it was loaded, None where it is not to be had any more."""
    with suppress(LabError):
        return DriverImage.load(kept_file(machine, number))
    return None


def _keep(machine: Machine, number: int, image: DriverImage) -> None:
    file = kept_file(machine, number)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(image.file)


def _tell_gdb(machine: Machine, number: int, loaded: LoadedImage) -> None:
    from lab.machine.gdb import GdbError

    # GDB reads DWARF in a PE file if it was built for Windows' formats too; without, there are only addresses.
    with suppress(GdbError):
        machine.gdb.console(f"add-symbol-file {kept_file(machine, number)} -o {loaded.symbol_offset:#x}")
