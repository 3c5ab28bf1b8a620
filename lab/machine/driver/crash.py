"""A bug check in a driver, as somebody who has to mend the driver wants to see it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.kernel.values import ntstatus
from lab.machine.disassembly import Instruction, disassemble
from lab.machine.driver.load import EXCEPTION_ENTRY, drivers, kept_image
from lab.views.cells import address_cell, line, walk_line
from lab.views.report import Block, Cell, Json, KeyValues, Line, Lines, Role
from lab.views.stopcodes import explain_stop
from lab.views.walk import walk_data
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.mailbox import BugCheck
    from lab.machine.driver.debug import Location
    from lab.machine.driver.load import DriverRecord
    from lab.machine.driver.pe import DriverImage
    from lab.machine.machine import Machine
    from lab.snapshot import Snapshot

__all__ = ["Crash"]

PAGE_FAULT = 14
NO_MEMORY_NEARBY = 0x10000
AROUND = 3
"""Instructions shown before and behind the one that matters."""

LONGEST_INSTRUCTION = 15
GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))
EXCEPTIONS = (0x1E, 0x7E, 0x8E)
RELATIVE = re.compile(r"\[rip \+ (0x[0-9a-f]+)\]")
MDL_FLAGS = 0xFFFF
IS_TAG, IS_FLAGS, IS_NAME = (re.compile(rf"\b{word}\b") for word in ("tag", "flags?", "name"))
"""What a parameter is, by a word of its meaning."""

WITH_ADDRESS_FIRST = (0x0A, 0x50, 0xBE, 0xCC, 0xCD, 0xCE, 0xD1, 0xD5, 0xD6, 0xFC)


@dataclass(frozen=True)
class Place:
    """An address in code: the driver and offset, or the kernel's symbol; the source where it is known."""

    address: VirtualAddress
    module: str
    offset: int
    location: Location | None = None

    def __str__(self) -> str:
        if not self.module:
            return str(self.address)
        return f"{self.module}+{self.offset:#x}" + (f"  {self.location}" if self.location else "")

    def to_json(self) -> dict[str, Json]:
        """As `lab.driver/1` has it."""
        found: dict[str, Json] = {"address": hex(self.address), "module": self.module, "offset": self.offset}
        if self.location:
            found |= {"function": self.location.function, "file": self.location.file, "line": self.location.line}
        return found


class Crash:
    """All that can be told of one bug check; the machine stands where it stopped."""

    def __init__(self, machine: Machine, stop: BugCheck) -> None:
        self.machine = machine
        self.stop = stop
        self._snapshot: Snapshot = machine.snapshot()
        self._drivers = drivers(machine)
        self._images: dict[int, DriverImage | None] = {}
        self._explained = explain_stop(self._snapshot.guest, stop.code, stop.parameters)

    # --------------------------------------------------------------------------------------------------- places ----

    def place(self, address: int, *, returned_to: bool = False) -> Place:
        """Where an address is; one that a call returns to belongs to the line of the call, which ends before it."""
        record = self._driver_at(address)
        if record is None:
            found = self.machine.kernel.nearest(address, returned_to=returned_to)
            name, offset = (found[0].name, found[1]) if found else ("", 0)
            return Place(VirtualAddress(address), name, offset)
        image = self._image(record)
        offset = address - record.base
        location = image.locate(offset - 1 if returned_to else offset) if image else None
        return Place(VirtualAddress(address), record.name, offset, location)

    def _driver_at(self, address: int) -> DriverRecord | None:
        """The driver that is or, at last, was there."""
        here = [each for each in self._drivers if 0 <= address - each.base < each.size]
        return next((each for each in here if each.is_there), here[-1] if here else None)

    def _image(self, record: DriverRecord) -> DriverImage | None:
        if record.number not in self._images:
            self._images[record.number] = kept_image(self.machine, record.number)
        return self._images[record.number]

    @property
    def culprit(self) -> Place | None:
        """Where in a driver it happened: the instruction that trapped, or the call that did not return."""
        if not self.stop.driver:
            return None
        return self.place(self.stop.driver, returned_to=self._is_return(self.stop.driver))

    def _is_return(self, address: int) -> bool:
        return not self.stop.trapped or address != self.stop.registers["rip"]

    @property
    def fault(self) -> VirtualAddress | None:
        """The address whose walk tells why, if an address is to blame."""
        if self.stop.code in WITH_ADDRESS_FIRST:
            return VirtualAddress(self.stop.parameters[0])
        if self.stop.trapped and self.stop.registers["vector"] == PAGE_FAULT:
            return VirtualAddress(self.stop.cr2)
        return None

    # ----------------------------------------------------------------------------------------------------- text ----

    def blocks(self) -> Iterator[Block]:
        """The report for people."""
        yield Lines(tuple(self._head()))
        yield KeyValues(tuple(self._parameters()))
        yield KeyValues(tuple(self._where()))
        if code := tuple(self._code()):
            yield Lines(code)
        if self.stop.trapped:
            yield Lines(tuple(self._registers()))
        if walk := tuple(self._walk()):
            yield Lines(walk)

    def _head(self) -> Iterator[Line]:
        yield line(Cell(f"STOP {self.stop.code:#010x}  {self.stop.name}", Role.BAD))
        if self._explained.sentence:
            yield line(f"  {self._explained.sentence}")

    def _parameters(self) -> Iterator[tuple[str, Line]]:
        meanings = self._explained.meanings
        last = max((i for i, each in enumerate(self.stop.parameters) if each or meanings[i]), default=-1)
        for index, (value, meaning) in enumerate(zip(self.stop.parameters, meanings, strict=True)):
            if index <= last:
                shown = self._value(index, value, meaning)
                yield f"  {index + 1}", line(Cell(f"{value:#018x}", Role.NUMBER), f"  {meaning}{shown}")

    def _value(self, index: int, value: int, meaning: str) -> str:
        """What a parameter says beyond its number, with what joins it to its meaning."""
        text = ""
        if IS_TAG.search(meaning) and index:
            text = repr(value.to_bytes(8, "little")[:4].decode("latin-1"))
        elif IS_NAME.search(meaning):
            text = self._text(value)
        elif IS_FLAGS.search(meaning) and index:
            text = " ".join(self.machine.kernel.enum("mdl_flag").flags_of(value & MDL_FLAGS))
        elif self.stop.code in EXCEPTIONS and index == 0:
            text = ntstatus(self.machine.kernel, value)
        elif value >= NO_MEMORY_NEARBY and (place := self.place(value, returned_to=meaning == "the caller")).module:
            text = str(place)
        return f": {text}" if text and meaning else text

    def _text(self, address: int) -> str:
        try:
            return self._snapshot.guest.text(address)
        except LabError:
            return ""

    def _where(self) -> Iterator[tuple[str, Line]]:
        culprit = self.culprit
        if culprit is None:
            yield "at", _place_line(self.place(self.stop.caller, returned_to=not self.stop.trapped))
            return
        yield "at" if not self._is_return(self.stop.driver) else "called from", _place_line(culprit)
        for address in self._path():
            yield "", _place_line(self.place(address, returned_to=True))

    def _path(self) -> Iterator[int]:
        """The return addresses behind the culprit that lie in drivers: how the driver came there."""
        behind = list(self.stop.trace)
        if self.stop.driver in behind:
            for address in behind[behind.index(self.stop.driver) + 1 :]:
                if self._driver_at(address):
                    yield address

    def _code(self) -> Iterator[Line]:
        """The instructions around the place, the one that matters marked."""
        target = self.stop.driver or self.stop.registers["rip"]
        marked = target - 1 if self._is_return(target) else target
        start = target - (self._into_function(target) or 0)
        try:
            data = self._snapshot.read_virtual(
                VirtualAddress(start), marked - start + LONGEST_INSTRUCTION * (AROUND + 1)
            )
        except LabError:
            return
        found = list(disassemble(data, start))
        middle = next((i for i, each in enumerate(found) if each.address <= marked < each.end), None)
        if middle is None:
            return
        for each in found[max(0, middle - AROUND) : middle + AROUND + 1]:
            here = each is found[middle]
            called = self._called(each)
            yield line(
                Cell("→ " if here else "  ", Role.BAD),
                address_cell(each.address),
                Cell(f"  {each.code.hex(' '):<30}  ", Role.MUTED),
                Cell(str(each), Role.TITLE if here else Role.PLAIN),
                Cell(f"  {called}" if called else "", Role.SYMBOL),
            )

    def _into_function(self, address: int) -> int | None:
        """How far an address is from where its function begins, as far as anybody knows."""
        record = self._driver_at(address)
        if record is None:
            found = self.machine.kernel.nearest(address, returned_to=self._is_return(address))
            return found[1] if found else None
        image, rva = self._image(record), address - record.base
        if image is None:
            return None
        place = image.locate(rva - 1)
        if place:
            return place.offset + 1
        start = function_start(image, rva - 1)
        return None if start is None else rva - start

    def _called(self, instruction: Instruction) -> str:
        """What a call calls: an import of the driver, or another function of it."""
        record = self._driver_at(instruction.address)
        image = self._image(record) if record else None
        slot, direct = RELATIVE.search(instruction.operands), instruction.operands.startswith("0x")
        if record is None or image is None or instruction.mnemonic not in {"call", "jmp"}:
            return ""
        if slot:
            rva = instruction.end + int(slot[1], 16) - record.base
            return next((each.name for each in image.imports if each.rva == rva), "")
        place = image.locate(int(instruction.operands, 16) - record.base) if direct else None
        return place.function if place and not place.offset else ""

    def _registers(self) -> Iterator[Line]:
        values = self.stop.registers
        rows = [GENERAL[i : i + 4] for i in range(0, len(GENERAL), 4)]
        for row in rows:
            yield tuple(
                cell for name in row for cell in (Cell(f"{name:>5} ", Role.LABEL), Cell(f"{values[name]:016x}"))
            )
        yield line(
            Cell("  rip ", Role.LABEL),
            f"{values['rip']:016x}",
            *((Cell("  cr2 ", Role.LABEL), Cell(f"{self.stop.cr2:016x}")) if values["vector"] == PAGE_FAULT else ()),
            Cell("  rflags ", Role.LABEL),
            f"{values['rflags']:08x}",
        )

    def _walk(self) -> Iterator[Line]:
        if self.fault is not None:
            yield from map(walk_line, self._snapshot.walk(self.fault).lines())

    # ----------------------------------------------------------------------------------------------------- JSON ----

    def to_json(self) -> dict[str, Json]:
        """The report for programs."""
        culprit = self.culprit
        found: dict[str, Json] = {
            "code": f"{self.stop.code:#010x}",
            "name": self.stop.name,
            "parameters": [hex(each) for each in self.stop.parameters],
            "meanings": list(self._explained.meanings),
            "driver": None if culprit is None else culprit.to_json(),
            "trace": [self.place(each, returned_to=True).to_json() for each in self.stop.trace],
            "registers": {name: hex(value) for name, value in self.stop.registers.items()},
        }
        if self.fault is not None:
            found["walk"] = walk_data(self._snapshot.walk(self.fault), self._snapshot)
        return found


def function_start(image: DriverImage, rva: int) -> int | None:
    """Where the function that holds `rva` begins, by the table that every driver has for exceptions."""
    table = image.exceptions
    if table is None:
        return None
    entries = struct.iter_unpack("<III", image.mapped[table.rva : table.rva + table.count * EXCEPTION_ENTRY])
    return next((start for start, end, _ in entries if start <= rva < end), None)


def _place_line(place: Place) -> Line:
    return line(address_cell(place.address), "  ", Cell(str(place) if place.module else "?", Role.SYMBOL))
