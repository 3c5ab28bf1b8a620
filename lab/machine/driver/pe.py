"""Reads and checks Windows driver files (PE32+), whoever built them; see Microsoft's "PE Format".

Nothing in a file is believed: every size, offset and count is checked against the file and the image before it is used,
so that a damaged or hostile file ends in one sentence, and soon.
"""

from __future__ import annotations

import stat
import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.machine.driver.directories import (
    ExceptionTable,
    FlowGuard,
    Import,
    Malformed,
    read_exceptions,
    read_imports,
    read_load_config,
    read_relocations,
)
from lab.paging.rights import Rights
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    import pefile

    from lab.machine.driver.debug import Location
    from lab.machine.driver.layout import LoadedImage

__all__ = ["DriverImage", "Section", "BadImage", "Import", "ExceptionTable", "FlowGuard", "PAGE"]

PAGE = 0x1000
LARGEST_FILE = 64 << 20
LARGEST_IMAGE = 32 << 20
"""Bytes of address space; real drivers take one or two MiB at most, and the guest's RAM has to hold them."""
MOST_SECTIONS = 96

AMD64 = 0x8664
MACHINES = {0x14C: "32-bit x86", 0x1C4: "32-bit ARM", 0xAA64: "64-bit ARM", 0x200: "Itanium", 0xEBC: "EFI byte code"}
SUBSYSTEMS = {1: "native", 2: "Windows GUI", 3: "Windows console", 10: "EFI application", 11: "EFI boot driver"}

# Section characteristics.
CODE, DISCARDABLE, EXECUTE, READ, WRITE = 0x20, 0x02000000, 0x20000000, 0x40000000, 0x80000000

# Data directories.
IMPORT, EXCEPTION, RELOCATION, TLS, LOAD_CONFIG, DELAY_IMPORT, COM_DESCRIPTOR = 1, 3, 5, 9, 10, 13, 14

RELOCATIONS_STRIPPED = 0x0001
EXECUTABLE_IMAGE = 0x0002


class BadImage(LabError):
    """A file that is no driver for this machine, or a damaged one; `name` and `reason` say which and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be used as a driver: {reason}")
        self.name = name
        self.reason = reason


@dataclass(frozen=True)
class Section:
    """A section as it lies in the image: `size` is what it asks for in memory, `data_size` what the file holds."""

    name: str
    rva: int
    size: int
    offset: int
    data_size: int
    rights: Rights
    discardable: bool

    @property
    def end(self) -> int:
        """The first address behind it, as an offset into the image."""
        return self.rva + self.size

    @property
    def is_debug(self) -> bool:
        """Whether it is of use to debuggers only, and is not loaded."""
        return self.name.startswith((".debug_", ".gnu_debug", ".stab"))


@dataclass(frozen=True)
class DriverImage:
    """What one driver file says, checked. Addresses are offsets into the image (`rva`) unless they are typed."""

    name: str
    file: bytes = field(repr=False)
    mapped: bytes = field(repr=False)
    image_base: VirtualAddress
    entry: int
    subsystem: str
    timestamp: int
    sections: tuple[Section, ...]
    relocations: tuple[int, ...] = field(repr=False)
    movable: bool
    imports: tuple[Import, ...] = field(repr=False)
    cookie: int | None
    exceptions: ExceptionTable | None
    guard: FlowGuard | None
    checksum: int
    problems: tuple[str, ...]
    symbol_table: tuple[int, int] = field(repr=False)

    @classmethod
    def load(cls, source: Path | str | bytes, name: str | None = None) -> DriverImage:
        """Read a driver from a file or from bytes.

        >>> image.name, image.kind, image.subsystem, hex(image.image_base)
        ('remap.sys', 'WDM', 'native', '0x140000000')

        Raises BadImage, in one sentence, for anything that is not a sound driver for x64.
        """
        if isinstance(source, bytes):
            data, title = source, name or "the file"
        else:
            data, title = _read(Path(source)), name or Path(source).name
        try:
            return _parse(data, title)
        except Malformed as error:
            raise BadImage(title, str(error)) from None

    @property
    def size(self) -> int:
        """Bytes of address space the image takes, in whole pages."""
        return len(self.mapped)

    @property
    def kind(self) -> str:
        """`KMDF` when it asks for the framework's loader, otherwise `WDM`."""
        return "KMDF" if any(each.dll.lower() == "wdfldr.sys" for each in self.imports) else "WDM"

    @cached_property
    def actual_checksum(self) -> int:
        """The checksum the header should have."""
        return _checksum(self.file)

    @property
    def has_lines(self) -> bool:
        """Whether it carries DWARF, so that GDB and `locate` know functions and lines."""
        return any(section.name == ".debug_line" for section in self.sections)

    def section_at(self, rva: int) -> Section | None:
        """The section that an offset lies in."""
        return next((each for each in self.sections if each.rva <= rva < each.end), None)

    def missing(self, resolve: Callable[[str, str], int | None]) -> tuple[Import, ...]:
        """The imports for which `resolve(dll, name)` has no address."""
        return tuple(each for each in self.imports if resolve(each.dll, each.name) is None)

    def layout(
        self,
        base: VirtualAddress | int,
        resolve: Callable[[str, str], int | None],
        stub: Callable[[Import], int] = lambda _: 0,
        *,
        cookie: int | None = None,
    ) -> LoadedImage:
        """The image as it has to stand in memory at `base`: relocated, bound, with a fresh security cookie.

        >>> exports = {"DbgPrint": 0xfffff80000001000}
        >>> loaded = image.layout(0xfffff88001000000, lambda dll, name: exports.get(name))
        >>> print(loaded.entry, loaded.runs[1], len(loaded.missing))
        0xfffff88001001000 Run(rva=4096, size=4096, rights=Rights(0x5), discardable=False, name='.text') 8

        `resolve(dll, name)` gives the address of an export, None where there is none; `stub` then says what the import
        is bound to instead. Raises BadImage when the image cannot stand there.
        """
        from lab.machine.driver.layout import lay_out

        return lay_out(self, VirtualAddress(base), resolve, stub, cookie)

    @cached_property
    def _debug(self) -> Callable[[int], Location | None]:
        from lab.machine.driver.debug import DebugInfo

        return DebugInfo(self).locate

    def locate(self, rva: int) -> Location | None:
        """The function, file and line of an offset, as far as the file's debug information or symbols tell.

        >>> print(image.locate(image.entry))
        DriverEntry+0x0 (remap.c:25)
        """
        return self._debug(rva)


def _read(path: Path) -> bytes:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise BadImage(path.name, "it is not a file")
        if facts.st_size > LARGEST_FILE:
            raise BadImage(path.name, f"it is larger than {LARGEST_FILE >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise BadImage(path.name, f"it cannot be read ({error.strerror})") from None


def _parse(data: bytes, name: str) -> DriverImage:
    pe = _headers(data)
    header, optional = pe.FILE_HEADER, pe.OPTIONAL_HEADER
    directories = [(each.VirtualAddress, each.Size) for each in optional.DATA_DIRECTORY]
    directories += [(0, 0)] * (16 - len(directories))
    size = _image_size(optional)
    sections = _sections(pe, data, size)
    if directories[COM_DESCRIPTOR][0]:
        raise Malformed("it is a .NET assembly")
    mapped = _mapped(data, size, optional.SizeOfHeaders, sections)
    base = optional.ImageBase
    cookie, guard = read_load_config(mapped, directories[LOAD_CONFIG], base)
    image = DriverImage(
        name=name,
        file=data,
        mapped=mapped,
        image_base=VirtualAddress(base),
        entry=_entry(optional.AddressOfEntryPoint, sections),
        subsystem=SUBSYSTEMS.get(optional.Subsystem, f"number {optional.Subsystem}"),
        timestamp=header.TimeDateStamp,
        sections=sections,
        relocations=read_relocations(mapped, directories[RELOCATION]),
        movable=not header.Characteristics & RELOCATIONS_STRIPPED,
        imports=read_imports(mapped, directories[IMPORT]),
        cookie=cookie,
        exceptions=read_exceptions(mapped, directories[EXCEPTION]),
        guard=guard,
        checksum=optional.CheckSum,
        problems=(),
        symbol_table=(header.PointerToSymbolTable, header.NumberOfSymbols),
    )
    return replace(image, problems=tuple(_problems(image, directories)))


def _headers(data: bytes) -> pefile.PE:
    """The headers by pefile, once it is sure that they are there and of the right kind."""
    import pefile

    if len(data) < 64 or data[:2] != b"MZ":
        raise Malformed("it does not begin as an executable (MZ); a driver is a .sys file")
    at = int.from_bytes(data[60:64], "little")
    if data[at : at + 4] != b"PE\0\0" or len(data) < at + 24:
        raise Malformed("it has no PE header: a DOS program, or cut off")
    machine, sections = struct.unpack_from("<HH", data, at + 4)
    if machine != AMD64:
        raise Malformed(f"it is for {MACHINES.get(machine, f'machine {machine:#x}')}; only x64 drivers run here")
    if not 1 <= sections <= MOST_SECTIONS:
        raise Malformed(f"it claims {sections} sections")
    try:
        pe = pefile.PE(data=data, fast_load=True)
        if pe.OPTIONAL_HEADER.Magic != pefile.OPTIONAL_HEADER_MAGIC_PE_PLUS:
            raise Malformed("its optional header is not PE32+")
        if len(pe.sections) != sections:
            raise Malformed("its section table is cut off")
    except pefile.PEFormatError as error:
        raise Malformed(f"its headers are damaged ({error})") from None
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError, struct.error):
        # pefile leaves out what it could not read, and stumbles later over what is not there.
        raise Malformed("its headers are damaged") from None
    if not pe.FILE_HEADER.Characteristics & EXECUTABLE_IMAGE:
        raise Malformed("its linker marked it as not executable")
    return pe


def _image_size(optional: pefile.Structure) -> int:
    size = -(-int(optional.SizeOfImage) // PAGE) * PAGE
    if not 0 < size <= LARGEST_IMAGE:
        raise Malformed(f"it asks for {size:#x} bytes of memory; {LARGEST_IMAGE:#x} at most are given to a driver")
    if optional.SizeOfHeaders > size:
        raise Malformed("its headers are larger than the image")
    if optional.ImageBase % PAGE:
        raise Malformed(f"its preferred base {optional.ImageBase:#x} is not the start of a page")
    return size


def _sections(pe: pefile.PE, data: bytes, size: int) -> tuple[Section, ...]:
    alignment = pe.OPTIONAL_HEADER.SectionAlignment
    names = _string_table(pe, data)
    found: list[Section] = []
    end = 0
    for raw in pe.sections:
        name = _section_name(raw.Name, names)
        extent = raw.Misc_VirtualSize or raw.SizeOfRawData
        held = min(raw.SizeOfRawData, -(-extent // PAGE) * PAGE)
        flags = raw.Characteristics
        section = Section(
            name=name,
            rva=raw.VirtualAddress,
            size=extent,
            offset=raw.PointerToRawData,
            data_size=held,
            rights=Rights((flags & READ and 4) | (flags & WRITE and 2) | (flags & EXECUTE and 1)),
            discardable=bool(flags & DISCARDABLE),
        )
        if section.rva < end:
            raise Malformed(f"section {name} overlaps the one before it")
        if not alignment or section.rva % alignment:
            raise Malformed(f"section {name} begins at {section.rva:#x}, which is not aligned to {alignment:#x}")
        if section.end > size or section.rva + held > size:
            raise Malformed(f"section {name} reaches to {section.end:#x}, past the end of the image ({size:#x})")
        if held and section.offset + held > len(data):
            raise Malformed(f"it is cut off: section {name} ends past the end of the file")
        end = section.end
        found.append(section)
    return tuple(found)


def _string_table(pe: pefile.PE, data: bytes) -> bytes:
    """The table of long names, which stands behind the symbols."""
    header = pe.FILE_HEADER
    at = header.PointerToSymbolTable + 18 * header.NumberOfSymbols
    if not header.PointerToSymbolTable or at + 4 > len(data):
        return b""
    return data[at : at + int.from_bytes(data[at : at + 4], "little")]


def _section_name(raw: bytes, names: bytes) -> str:
    text = raw.rstrip(b"\0")
    if text[:1] == b"/" and text[1:].isdigit():
        at = int(text[1:])
        text = names[at : at + 64].partition(b"\0")[0] or text
    return "".join(chr(byte) if 0x20 < byte < 0x7F else "?" for byte in text) or "(no name)"


def _mapped(data: bytes, size: int, header_size: int, sections: tuple[Section, ...]) -> bytes:
    """The image as Windows maps it, before anything is relocated or bound."""
    image = bytearray(size)
    headers = data[: min(header_size, sections[0].rva)]
    image[: len(headers)] = headers
    for section in sections:
        image[section.rva : section.rva + section.data_size] = data[section.offset : section.offset + section.data_size]
    return bytes(image)


def _entry(rva: int, sections: tuple[Section, ...]) -> int:
    section = next((each for each in sections if each.rva <= rva < each.end), None)
    if section is None or not section.rights.execute:
        where = "outside of every section" if section is None else f"in {section.name}, which is not executable"
        raise Malformed(f"its entry point {rva:#x} lies {where}")
    return rva


def _problems(image: DriverImage, directories: list[tuple[int, int]]) -> list[str]:
    """What does not keep a driver from being loaded, but should be known."""
    problems = [
        f"section {each.name} may be both written and executed"
        for each in image.sections
        if each.rights.write and each.rights.execute
    ]
    if image.subsystem != "native":
        problems.append(f"it was linked for the subsystem {image.subsystem}, not as a driver")
    if image.checksum and image.checksum != image.actual_checksum:
        problems.append(f"its checksum is {image.checksum:#x}, but {image.actual_checksum:#x} would be right")
    if directories[TLS][0]:
        problems.append("it has thread-local storage, which drivers cannot use; it is left alone")
    if directories[DELAY_IMPORT][0]:
        problems.append("its delay-loaded imports are not bound")
    if not image.movable:
        problems.append("it was linked without relocations, so it can only stand at its preferred base")
    if image.cookie is not None and not ((at := image.section_at(image.cookie)) and at.rights.write):
        problems.append("its security cookie lies where it cannot be written")
    return problems


def _checksum(data: bytes) -> int:
    """The PE checksum: all 16-bit words but its own, added with end-around carry, plus the file's size."""
    field_at = int.from_bytes(data[60:64], "little") + 88
    even = data + b"\0" * (len(data) % 2)
    words = array("H", even[:field_at] + b"\0" * 4 + even[field_at + 4 :])
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total + len(data)
