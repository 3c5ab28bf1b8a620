"""Function, file and line of an address in a driver, from the DWARF or the COFF symbols in its file.

Debug information is never worth failing for: what cannot be read of it is as good as absent.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lab.machine.driver.dwarf import Damaged, Dwarf, Function, Row, printable

if TYPE_CHECKING:
    from lab.machine.driver.pe import DriverImage

__all__ = ["DebugInfo", "Location"]

T = TypeVar("T")

MOST_SYMBOLS = 1 << 16

FUNCTION_TYPE = 0x20
EXTERNAL, STATIC = 2, 3


@dataclass(frozen=True)
class Location:
    """Where an address lies in the source; `file` and `line` are None where only symbols are known."""

    function: str
    offset: int
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = f" ({self.file}:{self.line})" if self.file else ""
        return f"{self.function}+{self.offset:#x}{place}"


class DebugInfo:
    """What one file tells of its functions and lines; read once, when it is made."""

    def __init__(self, image: DriverImage) -> None:
        self._base = int(image.image_base)
        self._dwarf = Dwarf(lambda name: _section(image, f".debug_{name}"))
        self._functions = sorted(_readable(self._dwarf.functions()) or _from_symbols(image))
        self._rows: dict[int, list[Row]] = {}

    def locate(self, rva: int) -> Location | None:
        """The function and, if known, the line that `rva` belongs to."""
        address = self._base + rva
        index = bisect.bisect_right(self._functions, address, key=lambda each: each.start) - 1
        if index < 0 or address >= self._functions[index].end:
            return None
        function = self._functions[index]
        row = self._row(function.lines, address)
        place = (row.file, row.line) if row and row.file else (None, None)
        return Location(function.name, address - function.start, *place)

    def _row(self, program: int, address: int) -> Row | None:
        if program < 0:
            return None
        if program not in self._rows:
            self._rows[program] = sorted(_readable(self._dwarf.rows(program)), key=lambda row: row.address)
        rows = self._rows[program]
        index = bisect.bisect_right(rows, address, key=lambda row: row.address) - 1
        return rows[index] if index >= 0 else None


def _section(image: DriverImage, name: str) -> bytes:
    section = next((each for each in image.sections if each.name == name), None)
    if section is None:
        return b""
    return image.file[section.offset : section.offset + min(section.size, section.data_size)]


def _from_symbols(image: DriverImage) -> list[Function]:
    """Functions of the COFF symbol table, which GNU's linker writes; each ends where the next one begins."""
    at, count = image.symbol_table
    names = at + 18 * count
    found: dict[int, tuple[str, int]] = {}
    index = 0
    while at and index < min(count, MOST_SYMBOLS) and at + 18 * index + 18 <= len(image.file):
        raw, value, number, kind, storage, more = struct.unpack_from("<8sIhHBB", image.file, at + 18 * index)
        index += 1 + more
        if kind == FUNCTION_TYPE and storage in (EXTERNAL, STATIC) and 0 < number <= len(image.sections):
            if raw[:4] == b"\0" * 4:
                where = names + int.from_bytes(raw[4:], "little")
                raw = image.file[where : where + 256]
            section = image.sections[number - 1]
            found[section.rva + value] = printable(raw.partition(b"\0")[0]), section.end
    starts = sorted(found)
    return [
        Function(image.image_base + start, image.image_base + min(found[start][1], following), found[start][0], -1)
        for start, following in zip(starts, [*starts[1:], image.size], strict=False)
    ]


def _readable(items: Iterator[T]) -> list[T]:
    """As many items as can be had before the first that is damaged."""
    found: list[T] = []
    with suppress(Damaged):
        # Not list(items), which would lose those before the damage.
        found.extend(items)
    return found
