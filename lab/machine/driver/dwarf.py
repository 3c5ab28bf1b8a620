"""A small reader of DWARF 2 to 5: which functions there are, and which line an address belongs to.

Drivers come from anywhere, and their debug information may be damaged on purpose. pyelftools, which reads our own
kernel, can be led round in circles by a sibling reference that points backwards; this reader only ever goes forwards,
and its work is limited. It reads what `lab.machine.driver.debug` asks for, and skips the rest. See the DWARF standard,
version 5: 7.5 for entries and forms, 6.2 for line programs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Damaged", "Dwarf", "Function", "Row"]

MOST_STEPS = 1_000_000
"""Entries, abbreviations and line numbers read altogether; about two seconds."""

Value: TypeAlias = int | bytes
Attributes: TypeAlias = dict[int, Value]

# Tags and attributes that are looked at.
SUBPROGRAM, CLASS, STRUCTURE, NAMESPACE = 0x2E, 0x02, 0x13, 0x39
NAME, STMT_LIST, LOW_PC, HIGH_PC, ABSTRACT_ORIGIN, SPECIFICATION = 0x03, 0x10, 0x11, 0x12, 0x31, 0x47
STR_OFFSETS_BASE, ADDR_BASE = 0x72, 0x73

# Forms that need more than their size.
ADDR, STRING, SDATA, STRP, REF_ADDR, REF_UDATA = 0x01, 0x08, 0x0D, 0x0E, 0x10, 0x15
INDIRECT, STRX, ADDRX, LINE_STRP, IMPLICIT_CONST = 0x16, 0x1A, 0x1B, 0x1F, 0x21

FIXED = {0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x17: 4, 0x19: 0, 0x1C: 4}
FIXED |= {0x1E: 16, 0x20: 8, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4}
FIXED |= {ADDR: 8, STRP: 4, REF_ADDR: 4, LINE_STRP: 4, 0x1F20: 4, 0x1F21: 4}
BLOCKS = {0x03: 2, 0x04: 4, 0x0A: 1}
"""Blocks by the size of the length before them."""
LONG_BLOCKS = {0x09, 0x18}
"""Blocks with a length in LEB128."""
VARIABLE = {0x0F, REF_UDATA, STRX, ADDRX, 0x22, 0x23}
REFERENCES = {0x11, 0x12, 0x13, 0x14, REF_UDATA}
STRINGS_BY_INDEX = {STRX, 0x25, 0x26, 0x27, 0x28}
ADDRESSES_BY_INDEX = {ADDRX, 0x29, 0x2A, 0x2B, 0x2C}


class Damaged(Exception):
    """The debug information ends too soon, contradicts itself, or is of a kind that is not read here."""


@dataclass(frozen=True, order=True)
class Function:
    """A function from `start` up to `end`; `lines` is where its unit's line program begins, -1 for none."""

    start: int
    end: int
    name: str
    lines: int


@dataclass(frozen=True, order=True)
class Row:
    """From `address` on, code belongs to this line; `file` is empty behind the end of a sequence."""

    address: int
    file: str
    line: int


class _Reader:
    """A cursor over bytes that only moves forwards."""

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else min(end, len(data))

    def take(self, size: int) -> bytes:
        if size < 0 or self.at + size > self.end:
            raise Damaged
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 70:
                raise Damaged

    def signed(self) -> int:
        begin = self.at
        value = self.unsigned()
        bits = 7 * (self.at - begin)
        return value - (1 << bits) if value >> (bits - 1) else value

    def text(self) -> bytes:
        end = self.data.find(b"\0", self.at, self.end)
        if end < 0:
            raise Damaged
        found = self.take(end - self.at)
        self.at += 1
        return found


@dataclass(frozen=True)
class _Abbreviation:
    tag: int
    has_children: bool
    attributes: tuple[tuple[int, int, int], ...]  # attribute, form, value of DW_FORM_implicit_const


@dataclass
class _Unit:
    """One compilation unit while it is read."""

    at: int
    end: int
    first: int
    abbreviations: Mapping[int, _Abbreviation]
    strings: int = 8
    addresses: int = 8
    lines: int = -1
    names: dict[int, bytes] = field(default_factory=dict)


class Dwarf:
    """DWARF in named sections (`info`, `abbrev`, `line`, `str`, …). What is damaged ends what is yielded by Damaged."""

    def __init__(self, section: Callable[[str], bytes]) -> None:
        names = ("info", "abbrev", "line", "str", "line_str", "str_offsets", "addr")
        self._sections = {name: section(name) for name in names}
        self._abbreviations: dict[int, Mapping[int, _Abbreviation]] = {}
        self._steps = MOST_STEPS

    def functions(self) -> Iterator[Function]:
        """All functions that have code, in the order of the file."""
        at = 0
        while at < len(self._sections["info"]):
            unit = self._unit(at)
            yield from self._functions_of(unit)
            at = unit.end

    def _spend(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise Damaged

    def _unit(self, at: int) -> _Unit:
        reader = _Reader(self._sections["info"], at)
        length = reader.number(4)
        end = reader.at + length
        version = reader.number(2)
        if length >= 0xFFFFFFF0 or not 2 <= version <= 5:  # 64-bit DWARF, or of another age
            raise Damaged
        kind = reader.number(1) if version >= 5 else 1
        if version >= 5:
            reader.take(1)  # the size of an address
        abbreviations = reader.number(4)
        if version < 5:
            reader.take(1)
        if kind in (4, 5):  # skeletons and split units carry an id
            reader.take(8)
        elif kind in (2, 6):  # type units, a signature and an offset
            reader.take(12)
        return _Unit(at, end, reader.at, self._abbreviations_at(abbreviations))

    def _abbreviations_at(self, at: int) -> Mapping[int, _Abbreviation]:
        if at not in self._abbreviations:
            reader = _Reader(self._sections["abbrev"], at)
            table: dict[int, _Abbreviation] = {}
            while code := reader.unsigned():
                tag, has_children = reader.unsigned(), bool(reader.number(1))
                attributes = []
                while True:
                    self._spend()
                    attribute, form = reader.unsigned(), reader.unsigned()
                    constant = reader.signed() if form == IMPLICIT_CONST else 0
                    if not attribute and not form:
                        break
                    attributes.append((attribute, form, constant))
                table[code] = _Abbreviation(tag, has_children, tuple(attributes))
            self._abbreviations[at] = table
        return self._abbreviations[at]

    def _functions_of(self, unit: _Unit) -> Iterator[Function]:
        reader = _Reader(self._sections["info"], unit.first, unit.end)
        scopes: list[bytes] = []  # of the entries around this one: the name of a class or namespace, or nothing
        while reader.at < reader.end:
            self._spend()
            at = reader.at
            code = reader.unsigned()
            if not code:
                scopes[-1:] = []
                continue
            abbreviation = unit.abbreviations.get(code)
            if abbreviation is None:
                raise Damaged
            attributes = self._attributes(reader, abbreviation, unit)
            if at == unit.first:
                unit.lines = _integer(attributes, STMT_LIST, -1)
            if abbreviation.tag == SUBPROGRAM:
                name = self._name(attributes, unit, b"".join(scopes))
                unit.names[at] = name
                if LOW_PC in attributes:
                    yield _function(attributes, name, unit.lines)
            if abbreviation.has_children:
                named = abbreviation.tag in (CLASS, STRUCTURE, NAMESPACE) and _bytes(attributes, NAME)
                scopes.append(named + b"::" if named else b"")

    def _name(self, attributes: Attributes, unit: _Unit, scope: bytes) -> bytes:
        """The name with its scope; that of a method's body, or of a copy of an inlined function, stands elsewhere."""
        if NAME in attributes:
            return scope + _bytes(attributes, NAME)
        elsewhere = _integer(attributes, SPECIFICATION, _integer(attributes, ABSTRACT_ORIGIN, -1))
        return unit.names.get(elsewhere, b"(no name)")

    def _attributes(self, reader: _Reader, abbreviation: _Abbreviation, unit: _Unit) -> Attributes:
        found: Attributes = {}
        later: list[tuple[int, int, Value]] = []
        for attribute, form, constant in abbreviation.attributes:
            actual = reader.unsigned() if form == INDIRECT else form
            value = constant if form == IMPLICIT_CONST else self._value(reader, actual, unit)
            if attribute == STR_OFFSETS_BASE and isinstance(value, int):
                unit.strings = value
            elif attribute == ADDR_BASE and isinstance(value, int):
                unit.addresses = value
            if actual in STRINGS_BY_INDEX or actual in ADDRESSES_BY_INDEX:
                later.append((attribute, actual, value))  # their base may stand behind them
            else:
                found[attribute] = value
        for attribute, form, value in later:
            found[attribute] = self._by_index(form, value, unit)
        return found

    def _by_index(self, form: int, value: Value, unit: _Unit) -> Value:
        if not isinstance(value, int):
            raise Damaged
        if form in STRINGS_BY_INDEX:
            where = _Reader(self._sections["str_offsets"], unit.strings + 4 * value).number(4)
            return _Reader(self._sections["str"], where).text()
        return _Reader(self._sections["addr"], unit.addresses + 8 * value).number(8)

    def _value(self, reader: _Reader, form: int, unit: _Unit | None = None) -> Value:
        """The value of one attribute; strings as bytes, references as offsets into the section."""
        if form in BLOCKS or form in LONG_BLOCKS:
            return reader.take(reader.number(BLOCKS[form]) if form in BLOCKS else reader.unsigned())
        if form == STRING:
            return reader.text()
        if form in VARIABLE:
            value = reader.unsigned()
        elif form in FIXED:
            value = reader.number(FIXED[form])
        elif form == SDATA:
            value = reader.signed()
        else:
            raise Damaged
        if form in (STRP, LINE_STRP):
            return _Reader(self._sections["str" if form == STRP else "line_str"], value).text()
        return value + unit.at if unit and form in REFERENCES else value

    def rows(self, at: int) -> Iterator[Row]:
        """The rows of the line program that begins at `at`, in the order of the program."""
        reader = _Reader(self._sections["line"], at)
        length = reader.number(4)
        reader.end = min(reader.at + length, reader.end)
        version = reader.number(2)
        if length >= 0xFFFFFFF0 or not 2 <= version <= 5:
            raise Damaged
        if version >= 5:
            reader.take(2)
        header = reader.number(4)
        program = reader.at + header
        step = reader.number(1)
        if version >= 4:
            reader.take(1)
        reader.take(1)
        (base,) = struct.unpack("<b", reader.take(1))
        span, first_special = reader.number(1), reader.number(1)
        if not span or not first_special:
            raise Damaged
        arguments = reader.take(first_special - 1)
        files = self._files_5(reader) if version >= 5 else self._files(reader)
        yield from _Program(step, base, span, arguments, files).run(
            _Reader(reader.data, program, reader.end), self._spend
        )

    def _files(self, reader: _Reader) -> dict[int, str]:
        folders = [b""]
        while folder := reader.text():
            self._spend()
            folders.append(folder)
        files: dict[int, str] = {}
        while name := reader.text():
            self._spend()
            folder_index = reader.unsigned()
            reader.unsigned(), reader.unsigned()  # time and length
            files[len(files) + 1] = _path(folders[folder_index] if folder_index < len(folders) else b"", name)
        return files

    def _files_5(self, reader: _Reader) -> dict[int, str]:
        folders = [entry.get(1, b"") for entry in self._entries(reader)]
        folders[:1] = [b""]  # the first is where the compiler ran
        files: dict[int, str] = {}
        for index, entry in enumerate(self._entries(reader)):
            name, folder = entry.get(1, b""), entry.get(2, 0)
            known = isinstance(folder, int) and folder < len(folders)
            files[index] = _path(folders[folder] if known and isinstance(folder, int) else b"", name)
        return files

    def _entries(self, reader: _Reader) -> Iterator[Attributes]:
        formats = [(reader.unsigned(), reader.unsigned()) for _ in range(reader.number(1))]
        for _ in range(reader.unsigned()):
            self._spend()
            yield {content: self._value(reader, form) for content, form in formats}


@dataclass
class _Program:
    """The state machine of a line program; the names of its registers are the standard's."""

    step: int
    base: int
    span: int
    arguments: bytes
    files: Mapping[int, str]
    address: int = 0
    file: int = 1
    line: int = 1

    def run(self, reader: _Reader, spend: Callable[[], None]) -> Iterator[Row]:
        first_special = len(self.arguments) + 1
        while reader.at < reader.end:
            spend()
            code = reader.number(1)
            if code >= first_special:
                self._special(code - first_special)
                yield self._row()
            elif code == 0:
                yield from self._extended(reader)
            elif code == 1:
                yield self._row()
            else:
                self._standard(code, reader)

    def _row(self) -> Row:
        return Row(self.address, self.files.get(self.file, ""), self.line)

    def _special(self, number: int) -> None:
        self.address += number // self.span * self.step
        self.line += self.base + number % self.span

    def _standard(self, code: int, reader: _Reader) -> None:
        if code == 2:
            self.address += reader.unsigned() * self.step
        elif code == 3:
            self.line += reader.signed()
        elif code == 4:
            self.file = reader.unsigned()
        elif code == 8:  # the address of the last special opcode, without its line
            self.address += (254 - len(self.arguments)) // self.span * self.step
        elif code == 9:
            self.address += reader.number(2)
        else:
            for _ in range(self.arguments[code - 1]):
                reader.unsigned()

    def _extended(self, reader: _Reader) -> Iterator[Row]:
        size = reader.unsigned()
        inner = _Reader(reader.take(size))
        code = inner.number(1) if size else 0
        if code == 1:
            yield Row(self.address, "", 0)
            self.address, self.file, self.line = 0, 1, 1
        elif code == 2:
            self.address = inner.number(8)


def _integer(attributes: Attributes, key: int, default: int) -> int:
    value = attributes.get(key, default)
    return value if isinstance(value, int) else default


def _bytes(attributes: Attributes, key: int) -> bytes:
    value = attributes.get(key, b"")
    return value if isinstance(value, bytes) else b""


def _function(attributes: Attributes, name: bytes, lines: int) -> Function:
    start, high = _integer(attributes, LOW_PC, 0), _integer(attributes, HIGH_PC, 0)
    # Since DWARF 4 a length, before that an address.
    return Function(start, high if high > start else start + high, printable(name), lines)


def _path(folder: Value, name: Value) -> str:
    parts = [part for part in (folder, name) if isinstance(part, bytes) and part not in (b"", b".")]
    return printable(b"/".join(parts)).replace("\\", "/")


def printable(raw: bytes) -> str:
    """A name from a file, as far as it can be shown."""
    text = raw[:256].decode("utf-8", errors="replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
