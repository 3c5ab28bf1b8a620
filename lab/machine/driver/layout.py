"""A driver's image as it has to stand in memory: relocated, bound, with its own cookie, and the rights of each page."""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lab.machine.driver.directories import Import
from lab.machine.driver.pe import PAGE, BadImage, DriverImage
from lab.paging.rights import Rights
from lab.x86.address import VirtualAddress

__all__ = ["LoadedImage", "Run", "lay_out", "extent"]

MASK = (1 << 64) - 1
HEADERS = "headers"


@dataclass(frozen=True)
class Run:
    """Pages of equal rights, which go when DriverEntry has returned if they are `discardable`."""

    rva: int
    size: int
    rights: Rights
    discardable: bool
    name: str


@dataclass(frozen=True)
class LoadedImage:
    """A driver laid out for one address: `content`, from its headers to its last page, and what of it is mapped."""

    image: DriverImage
    base: VirtualAddress
    content: bytes = field(repr=False)
    runs: tuple[Run, ...]
    missing: tuple[Import, ...]
    cookie: int | None

    @property
    def size(self) -> int:
        """Bytes of address space to keep for it, in whole pages; debug information at its end is left out."""
        return len(self.content)

    @property
    def entry(self) -> VirtualAddress:
        """Where DriverEntry, or the stub before it, begins."""
        return self.base + self.image.entry

    @property
    def symbol_offset(self) -> int:
        """What GDB's `add-symbol-file FILE -o` wants, modulo 2^64."""
        return (self.base - self.image.image_base) & MASK

    def pages(self) -> Iterator[tuple[VirtualAddress, bytes, Rights]]:
        """Every page that is to be mapped: its address, its bytes, its rights."""
        for run in self.runs:
            for rva in range(run.rva, run.rva + run.size, PAGE):
                yield self.base + rva, self.content[rva : rva + PAGE], run.rights


def lay_out(
    image: DriverImage,
    base: VirtualAddress,
    resolve: Callable[[str, str], int | None],
    stub: Callable[[Import], int],
    cookie: int | None,
) -> LoadedImage:
    """See `DriverImage.layout`."""
    if base % PAGE or not VirtualAddress(base).is_canonical(4) or not VirtualAddress(base + image.size).is_canonical(4):
        raise BadImage(image.name, f"{base} is no place for an image of {image.size:#x} bytes")
    if not image.movable and base != image.image_base:
        raise BadImage(
            image.name, f"it was linked without relocations for {image.image_base}; link it with --dynamicbase"
        )
    content = bytearray(image.mapped)
    _relocate(content, image, base)
    missing = _bind(content, image, resolve, stub)
    if image.cookie is not None:
        # The compiler's check wants the upper 16 bits clear, and the start-up code wants another than the default.
        cookie = cookie or secrets.randbits(47) | 1 << 47
        struct.pack_into("<QQ", content, image.cookie, cookie, ~cookie & MASK)
    else:
        cookie = None
    runs = tuple(_runs(image))
    return LoadedImage(image, base, bytes(content[: runs[-1].rva + runs[-1].size]), runs, missing, cookie)


def extent(image: DriverImage) -> int:
    """Bytes of address space that an image takes when it is laid out."""
    *_, last = _runs(image)
    return last.rva + last.size


def _relocate(content: bytearray, image: DriverImage, base: VirtualAddress) -> None:
    delta = base - image.image_base
    for at in image.relocations:
        (address,) = struct.unpack_from("<Q", content, at)
        struct.pack_into("<Q", content, at, (address + delta) & MASK)


def _bind(
    content: bytearray,
    image: DriverImage,
    resolve: Callable[[str, str], int | None],
    stub: Callable[[Import], int],
) -> tuple[Import, ...]:
    missing = []
    for each in image.imports:
        address = resolve(each.dll, each.name)
        if address is None:
            missing.append(each)
            address = stub(each)
        struct.pack_into("<Q", content, each.rva, address & MASK)
    return tuple(missing)


def _runs(image: DriverImage) -> Iterator[Run]:
    """Pages with what every section on them asks for, neighbours of one kind taken together."""
    pages: dict[int, tuple[Rights, bool, str]] = {0: (Rights.parse("r--"), False, HEADERS)}
    for section in image.sections:
        if section.is_debug:
            continue
        for page in range(section.rva // PAGE, -(-section.end // PAGE)):
            rights, discardable, name = pages.get(page, (Rights(0), True, section.name))
            # Sections that share a page, as those of images with a small alignment do, share their rights too.
            shared = name if name == section.name else f"{name} {section.name}"
            pages[page] = (Rights(rights | section.rights), discardable and section.discardable, shared)
    run: Run | None = None
    for page, kind in sorted(pages.items()):
        if run and (run.rva + run.size, (run.rights, run.discardable, run.name)) == (page * PAGE, kind):
            run = Run(run.rva, run.size + PAGE, *kind)
            continue
        if run:
            yield run
        run = Run(page * PAGE, PAGE, *kind)
    if run:
        yield run
