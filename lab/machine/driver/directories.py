"""The tables inside a mapped image: relocations, imports, exception functions, load configuration.

All take the image as it is mapped and a directory as (rva, size), and raise Malformed for what cannot be so. The
structures are those of Microsoft's "PE Format".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = [
    "Import",
    "ExceptionTable",
    "FlowGuard",
    "Malformed",
    "read_relocations",
    "read_imports",
    "read_exceptions",
    "read_load_config",
]

Directory = tuple[int, int]

MOST_RELOCATIONS = 1 << 18
MOST_LIBRARIES = 64
MOST_IMPORTS = 8192
LONGEST_NAME = 256

ABSOLUTE, DIR64 = 0, 10
BY_ORDINAL = 1 << 63

# Offsets in IMAGE_LOAD_CONFIG_DIRECTORY64.
SECURITY_COOKIE, GUARD_CHECK, GUARD_DISPATCH, GUARD_COUNT, GUARD_FLAGS = 0x58, 0x70, 0x78, 0x88, 0x90


class Malformed(Exception):
    """Why a file cannot be used: half a sentence, of which the reader of the file makes an error."""


@dataclass(frozen=True)
class Import:
    """A function or variable the driver wants, and the slot for its address. One by ordinal has a name like `#12`."""

    dll: str
    name: str
    rva: int

    def __str__(self) -> str:
        return f"{self.dll}!{self.name}"


@dataclass(frozen=True)
class ExceptionTable:
    """The table of functions (.pdata) by which exceptions are unwound: RUNTIME_FUNCTION entries of 12 bytes."""

    rva: int
    count: int


@dataclass(frozen=True)
class FlowGuard:
    """Control Flow Guard as linked in: the slots of its two function pointers, and how many targets it lists."""

    check: int | None
    dispatch: int | None
    targets: int
    flags: int


def read_relocations(image: bytes, directory: Directory) -> tuple[int, ...]:
    """The offsets of all addresses that have to be moved with the image."""
    at, size = _within(image, directory, "relocation table")
    end = at + size
    found: list[int] = []
    while at + 8 <= end:
        page, length = struct.unpack_from("<II", image, at)
        if length == 0 and page == 0:
            break  # some linkers pad the table with zeros
        if length < 8 or length % 2 or at + length > end:
            raise Malformed(f"its relocation block at {at:#x} has the impossible size {length:#x}")
        for entry in struct.unpack_from(f"<{(length - 8) // 2}H", image, at + 8):
            kind, offset = entry >> 12, page + (entry & 0xFFF)
            if kind == DIR64:
                if offset + 8 > len(image):
                    raise Malformed(f"it relocates {offset:#x}, outside of the image")
                found.append(offset)
            elif kind != ABSOLUTE:
                raise Malformed(f"it has a relocation of type {kind}, which x64 does not know")
        if len(found) > MOST_RELOCATIONS:
            raise Malformed(f"it has more than {MOST_RELOCATIONS} relocations")
        at += length
    return tuple(found)


def read_imports(image: bytes, directory: Directory) -> tuple[Import, ...]:
    """What the image imports, in the order of its tables."""
    at, _ = _within(image, directory, "import table")
    found: list[Import] = []
    for index in range(MOST_LIBRARIES + 1):
        if not directory[0]:
            break
        names, _, _, title, slots = _unpack(image, "<5I", at + 20 * index, "import table")
        if not title or not slots:
            break
        if index == MOST_LIBRARIES:
            raise Malformed(f"it imports from more than {MOST_LIBRARIES} libraries")
        found += _imports_from(image, _text(image, title), names or slots, slots, MOST_IMPORTS - len(found))
    return tuple(found)


def _imports_from(image: bytes, dll: str, names: int, slots: int, room: int) -> list[Import]:
    found: list[Import] = []
    while True:
        offset = 8 * len(found)
        (entry,) = _unpack(image, "<Q", names + offset, f"list of imports from {dll}")
        if not entry:
            return found
        if len(found) == room:
            raise Malformed(f"it has more than {MOST_IMPORTS} imports")
        _unpack(image, "<Q", slots + offset, f"address table of {dll}")
        name = f"#{entry & 0xFFFF}" if entry & BY_ORDINAL else _text(image, (entry & 0x7FFFFFFF) + 2)
        found.append(Import(dll, name, slots + offset))


def read_exceptions(image: bytes, directory: Directory) -> ExceptionTable | None:
    """The function table, whose every entry lies in the image and in order, or None where there is none."""
    at, size = _within(image, directory, "exception table")
    if not size:
        return None
    count = size // 12
    last = 0
    for begin, end, unwind in struct.iter_unpack("<III", image[at : at + 12 * count]):
        if not last <= begin < end <= len(image):
            raise Malformed(f"its exception table has a function from {begin:#x} to {end:#x}, out of order or outside")
        if (unwind & ~1) + 4 > len(image):
            raise Malformed(f"its exception table points to unwind codes at {unwind:#x}, outside of the image")
        last = begin
    return ExceptionTable(at, count)


def read_load_config(image: bytes, directory: Directory, base: int) -> tuple[int | None, FlowGuard | None]:
    """The slot of the security cookie, and what there is of Control Flow Guard."""
    at, _ = _within(image, directory, "load configuration")
    if not directory[0]:
        return None, None
    # The directory's own size is not always right; the structure begins with the one that counts.
    (size,) = _unpack(image, "<I", at, "load configuration")

    def field(offset: int, code: str = "<Q") -> int:
        if offset + struct.calcsize(code) > size:
            return 0
        return int(_unpack(image, code, at + offset, "load configuration")[0])

    def slot(offset: int, what: str, length: int) -> int | None:
        address = field(offset)
        if address and not base <= address <= base + len(image) - length:
            raise Malformed(f"its {what} at {address:#x} lies outside of the image")
        return address - base if address else None

    cookie = slot(SECURITY_COOKIE, "security cookie", 16)
    check, dispatch = slot(GUARD_CHECK, "guard check pointer", 8), slot(GUARD_DISPATCH, "guard dispatch pointer", 8)
    if check is None and dispatch is None:
        return cookie, None
    return cookie, FlowGuard(check, dispatch, field(GUARD_COUNT), field(GUARD_FLAGS, "<I"))


def _within(image: bytes, directory: Directory, what: str) -> Directory:
    """The directory itself, once it is known to lie in the image; (0, 0) where there is none."""
    at, size = directory
    if not at:
        return 0, 0
    if at + size > len(image):
        raise Malformed(f"its {what} lies outside of the image")
    return at, size


def _unpack(image: bytes, code: str, at: int, what: str) -> tuple[int, ...]:
    if not 0 <= at <= len(image) - struct.calcsize(code):
        raise Malformed(f"its {what} runs out of the image")
    return struct.unpack_from(code, image, at)


def _text(image: bytes, at: int) -> str:
    """A name as linkers write them: printable, ended by zero."""
    raw, zero, _ = image[at : at + LONGEST_NAME].partition(b"\0")
    if not zero or not raw or not all(0x20 < byte < 0x7F for byte in raw):
        raise Malformed(f"the name at {at:#x} in its import table is no name")
    return raw.decode("ascii")
