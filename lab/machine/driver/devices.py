"""The devices of drivers, and requests to them as a program makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.kernel.names import read_names, read_unicode
from lab.machine.driver.load import DriverRecord, drivers

if TYPE_CHECKING:
    from lab.kernel.objects import Guest
    from lab.machine.machine import Machine
    from lab.x86.address import VirtualAddress

__all__ = ["Device", "devices", "find_device"]

LINKS = "\\??\\"
"""The directory of what programs can open."""

OWN = "\\\\.\\"
"""How programs write it."""


@dataclass(frozen=True)
class Device:
    """A device object: its own name, "" without one, and those of the links that lead to it."""

    address: VirtualAddress
    driver: DriverRecord
    name: str
    links: tuple[str, ...]

    @property
    def path(self) -> str:
        """How it can be opened, "" where it cannot."""
        return next(iter(self.links), self.name)


def devices(machine: Machine, guest: Guest) -> tuple[Device, ...]:
    """All devices of the drivers in the guest, in the order the kernel has them."""
    objects = read_names(guest)
    links = {
        path: read_unicode(guest, guest.struct("symbolic_link", each).inner("target"))
        for path, each in objects.items()
        if path.startswith(LINKS)
    }
    names = {each: path for path, each in objects.items()}
    found = []
    for record in drivers(machine):
        for address in _devices_of(guest, record) if record.is_there else ():
            name = names.get(address, "")
            leading = tuple(path for path, target in links.items() if name and target.lower() == name.lower())
            found.append(Device(address, record, name, leading))
    return tuple(found)


def _devices_of(guest: Guest, record: DriverRecord) -> list[VirtualAddress]:
    from lab.x86.address import VirtualAddress

    found: list[VirtualAddress] = []
    next_ = guest.struct("_DRIVER_OBJECT", record.object)["DeviceObject"] if record.object else 0
    while next_ and next_ not in found:
        found.append(VirtualAddress(next_))
        next_ = guest.struct("_DEVICE_OBJECT", next_)["NextDevice"]
    return found


def find_device(machine: Machine, guest: Guest, name: str) -> Device:
    r"""The device that `name` means: a path such as \\.\Name or \Device\Name, a link, or a driver with one device.

    Raises UsageError, with what there is, when it means none or several.
    """
    there = [each for each in devices(machine, guest) if each.path]
    wanted = name.lower()
    wanted = LINKS + wanted.removeprefix(OWN) if wanted.startswith(OWN) else wanted
    paths = {wanted, LINKS + wanted}
    for each in there:
        if paths & {path.lower() for path in (each.name, *each.links)}:
            return each
    own = [each for each in there if each.driver.name.lower() == wanted]
    if len(own) == 1:
        return own[0]
    names = ", ".join(each.path for each in own or there)
    if own:
        raise UsageError(f"the driver {name!r} has several devices; choose one: {names}")
    hint = f"there are: {names}" if names else "there are none; load a driver with: lab driver load"
    raise UsageError(f"no device is called {name!r}; {hint}")
