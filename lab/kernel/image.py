"""The kernel's image as its own ELF describes it: symbols, structures, enums, exports, segments.

Loaded from the JSON that `lab.kernel.extract` wrote at build time, in a few milliseconds and without pyelftools.
Everything is looked up by the name the C sources use.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lab.errors import AddressError, ImageMissing, LabError, UsageError
from lab.x86.address import PhysicalAddress, VirtualAddress

__all__ = [
    "KernelImage",
    "Symbol",
    "Export",
    "Signature",
    "Structure",
    "Field",
    "Type",
    "Enumeration",
    "Segment",
    "Section",
    "IMAGES",
]

IMAGES = Path(__file__).resolve().parents[2] / "images"

SCHEMA = "lab.kernel/2"

_COMMAND, _DATA, _CHECK = 1, 2, 3
"""Kinds of exports: the lab's own commands (LAB_COMMAND), no functions (LAB_EXPORT_NT_DATA), self-tests (CHECK)."""


class Symbol(NamedTuple):
    """A name of the kernel: `kind` is "function", "object" or "label" (a label has no size)."""

    name: str
    address: VirtualAddress
    size: int
    kind: str


class Segment(NamedTuple):
    """A run of the image as the loader places it: `memory_size` bytes, of which `file_size` come from the file."""

    virtual: VirtualAddress
    physical: PhysicalAddress
    file_size: int
    memory_size: int
    flags: int


class Section(NamedTuple):
    """A named part of the image in memory, such as `.text`; `end` is exclusive."""

    name: str
    start: VirtualAddress
    end: VirtualAddress


@dataclass(frozen=True)
class Type:
    """A C type, as far as values of it need to be read and shown.

    `kind` is one of void, bool, char, signed, unsigned, float, pointer, array, struct, union, enum, function.
    `target` is what a pointer points to or an array holds; `count` is the array's length; `tag` is the name under
    which a structure or enum is found.
    """

    kind: str
    name: str
    size: int
    target: Type | None = None
    count: int = 0
    tag: str = ""

    def decode(self, data: bytes) -> int:
        """The number that `data` holds in this type; aggregates are read as one little-endian number."""
        return int.from_bytes(data[: self.size], "little", signed=self.kind == "signed")


class Field(NamedTuple):
    """A member of a structure, `offset` bytes from its beginning."""

    name: str
    offset: int
    type: Type


class Structure(NamedTuple):
    """A struct or union of the kernel, with its fields in the order they stand."""

    name: str
    size: int
    fields: Mapping[str, Field]

    def field(self, name: str) -> Field:
        """The field of that name; LabError when there is none."""
        if name not in self.fields:
            raise LabError(f"struct {self.name} has no field {name!r}; it has {', '.join(self.fields)}")
        return self.fields[name]


class Enumeration(NamedTuple):
    """The values of a C enum by name."""

    name: str
    values: Mapping[str, int]

    def name_of(self, value: int) -> str:
        """The name of `value`, or the number itself where the enum has none."""
        return next((name for name, each in self.values.items() if each == value), f"{value:#x}")

    def flags_of(self, value: int) -> tuple[str, ...]:
        """The names of the single bits set in `value`, lowest first; bits without a name as one hex number."""
        bits = sorted((each, name) for name, each in self.values.items() if each > 0 and each & (each - 1) == 0)
        names = [name for bit, name in bits if value & bit]
        left = value & ~sum({bit for bit, _ in bits})
        return (*names, f"{left:#x}") if left else tuple(names)


class Signature(NamedTuple):
    """Return type and parameters of an export, from its DWARF; a variadic one takes more after these."""

    returns: Type
    parameters: tuple[tuple[str, Type], ...]
    variadic: bool = False

    def __str__(self) -> str:
        """The parameters as C declares them, in parentheses."""
        parts = [f"{each.name} {name}".replace("* ", "*") for name, each in self.parameters]
        return f"({', '.join(parts + ['...'] * self.variadic) or 'void'})"


class Export(NamedTuple):
    """A function that can be called by name.

    `is_command`: one of our own, with a line of help. `is_check`: a self-test, whose `help` is its place, "file:line".
    `gate` is what drivers are given in its place where it is a memory call: there the journal sees them pass.
    """

    name: str
    address: VirtualAddress
    help: str
    is_command: bool
    signature: Signature | None
    gate: VirtualAddress | None = None
    is_check: bool = False


class KernelImage:
    """What the kernel's ELF says.

    >>> kernel = KernelImage.load()
    >>> kernel.structure("_MDL").field("ByteCount").offset
    40
    >>> kernel.enum("page_location").name_of(6)
    'PAGE_ACTIVE'
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        if record.get("schema") != SCHEMA:
            raise ImageMissing(f"the kernel's description is not {SCHEMA}; build it again with: make kernel")
        self.record = record
        self._types: dict[int, Type] = {}
        self._structures: dict[str, Structure] = {}

    @classmethod
    def load(cls, path: Path | None = None) -> KernelImage:
        """Load the description of an image: `path` is the JSON, or the ELF it stands beside.

        Raises ImageMissing when either file is missing or the JSON was not made from this ELF.
        """
        import json

        description = (path or IMAGES / "kernel.json").with_suffix(".json")
        elf = description.with_suffix(".elf")
        try:
            record = json.loads(description.read_bytes())
            is_of_this = _is_image(elf, record.get("size", 0), *record.get("build_id", (0, "")))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not JSON"
            name = getattr(error, "filename", None) or description
            raise ImageMissing(f"{name}: {reason}; build the kernel with: make kernel") from error
        if not is_of_this:
            raise ImageMissing(f"{description} does not describe {elf}; build both again with: make kernel")
        return cls(record)

    # ------------------------------------------------------------------------------------------------- symbols ----

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """All symbols by address."""
        return tuple(
            Symbol(name, VirtualAddress(address), size, kind) for name, address, size, kind in self.record["symbols"]
        )

    @cached_property
    def _rows_by_name(self) -> dict[str, list[Any]]:
        return {row[0]: row for row in reversed(self.record["symbols"])}

    @cached_property
    def _starts(self) -> list[int]:
        return [row[1] for row in self.record["symbols"]]

    def find(self, name: str) -> Symbol | None:
        """The symbol of that name, or None."""
        row = self._rows_by_name.get(name)
        return Symbol(row[0], VirtualAddress(row[1]), row[2], row[3]) if row else None

    def symbol(self, name: str) -> Symbol:
        """The symbol of that name; AddressError with the nearest spellings when there is none."""
        found = self.find(name)
        if found is None:
            hint = _near(name, self._rows_by_name) or "`lab symbols` lists the names"
            raise AddressError(name, f"the kernel has no such symbol; {hint}")
        return found

    def nearest(self, address: int, *, returned_to: bool = False) -> tuple[Symbol, int] | None:
        """The symbol that holds `address` and the offset in it; None outside of every symbol.

        A label (of assembly) reaches up to the next symbol of its section. Inside a function it is no better name.
        An address that a call returns to belongs to the function of that call, which may end with it.
        """
        if returned_to:
            found = self.nearest(address - 1)
            return found and (found[0], found[1] + 1)
        label: Symbol | None = None
        for index in range(bisect.bisect_right(self._starts, address) - 1, -1, -1):
            name, start, size, kind = self.record["symbols"][index]
            if address < start + size:
                return Symbol(name, VirtualAddress(start), size, kind), address - start
            if size:
                break
            label = label or Symbol(name, VirtualAddress(start), size, kind)
        if label is None or not any(each.start <= label.address <= address < each.end for each in self.sections):
            return None
        return label, address - int(label.address)

    def describe(self, address: int, *, returned_to: bool = False) -> str | None:
        """`symbol+0x12`, or None where no symbol reaches; `returned_to` as for `nearest`."""
        found = self.nearest(address, returned_to=returned_to)
        if found is None:
            return None
        symbol, offset = found
        return f"{symbol.name}+{offset:#x}" if offset else symbol.name

    # ------------------------------------------------------------------------------------------------- places ----

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The loaded segments by virtual address."""
        return tuple(
            Segment(VirtualAddress(virtual), PhysicalAddress(physical), file_size, memory_size, flags)
            for virtual, physical, file_size, memory_size, flags in sorted(self.record["segments"])
        )

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The sections that take memory, by address."""
        return tuple(
            Section(name, VirtualAddress(start), VirtualAddress(start + size))
            for start, size, name in self.record["sections"]
        )

    def physical_of(self, address: int) -> PhysicalAddress | None:
        """Where the loader put an address of the image: known before any page table is; None outside of it."""
        for each in self.segments:
            offset = address - int(each.virtual)
            if 0 <= offset < each.memory_size:
                return PhysicalAddress(int(each.physical) + offset)
        return None

    # -------------------------------------------------------------------------------------------------- types ----

    def _type(self, index: int) -> Type:
        if index not in self._types:
            kind, name, size, more = self.record["types"][index]
            if kind == "pointer":
                self._types[index] = Type(kind, name, size, self._pointed_to(more))
            elif kind == "array":
                self._types[index] = Type(kind, name, size, self._type(more[0]), count=more[1])
            else:
                self._types[index] = Type(kind, name, size, tag=more or "")
        return self._types[index]

    def _pointed_to(self, index: int) -> Type:
        """What a pointer points to, without what that points to in turn: structures point at themselves."""
        kind, name, size, more = self.record["types"][index]
        return Type(kind, name, size, tag=more if isinstance(more, str) else "")

    def has_structure(self, name: str) -> bool:
        """Whether the kernel knows a struct, union or typedef of that name."""
        return self.record["aliases"].get(name, name) in self.record["structures"]

    def structure(self, name: str) -> Structure:
        """The struct or union of that tag or typedef; LabError when the kernel has none."""
        tag = self.record["aliases"].get(name, name)
        known = self._structures.get(tag)
        if known is None:
            found = self.record["structures"].get(tag)
            if found is None:
                raise LabError(f"the kernel has no structure {name!r}")
            fields = {field: Field(field, offset, self._type(index)) for field, offset, index in found["fields"]}
            known = self._structures[tag] = Structure(tag, found["size"], fields)
        return known

    def enum(self, name: str) -> Enumeration:
        """The enum of that tag or typedef; LabError when the kernel has none."""
        if name not in self.record["enums"]:
            raise LabError(f"the kernel has no enum {name!r}")
        return Enumeration(name, self.record["enums"][name])

    def constant(self, name: str) -> int:
        """The value of one enumerator of any enum; LabError when the kernel has none of that name."""
        found = self.find_constant(name)
        if found is None:
            raise LabError(f"the kernel has no constant {name!r}")
        return found

    def find_constant(self, name: str) -> int | None:
        """The value of one enumerator of any enum, or None."""
        found: int | None = self._constants.get(name)
        return found

    def variable_type(self, name: str) -> Type | None:
        """The C type of a global variable, or None."""
        index = self.record["variables"].get(name)
        return None if index is None else self._type(index)

    @cached_property
    def _constants(self) -> Mapping[str, int]:
        """All enumerators, of enums with names and of those without."""
        found: dict[str, int] = {}
        for values in (*self.record["enums"].values(), self.record["constants"]):
            found.update(values)
        return found

    # ------------------------------------------------------------------------------------------------ exports ----

    @cached_property
    def exports(self) -> Mapping[str, Export]:
        """Every function that can be called by name, sorted by name."""
        return {name: self._export(row) for name, row in self._export_rows.items()}

    @cached_property
    def _export_rows(self) -> dict[str, list[Any]]:
        return {row[0]: row for row in self.record["exports"] if row[2] != _DATA}

    def _export(self, row: list[Any]) -> Export:
        name, address, kind, text, gate, signature = row
        return Export(
            name,
            VirtualAddress(address),
            text or "",
            kind == _COMMAND,
            None if signature is None else self._signature(signature),
            VirtualAddress(gate) if gate else None,
            kind == _CHECK,
        )

    def _signature(self, index: int) -> Signature:
        returns, parameters, variadic = self.record["signatures"][index]
        return Signature(self._type(returns), tuple((name, self._type(each)) for name, each in parameters), variadic)

    @cached_property
    def imports(self) -> Mapping[str, int]:
        """What a driver's import of a name is bound to: the gate of a memory call, otherwise the function or variable.

        >>> kernel = KernelImage.load()
        >>> "ExAllocatePool" in kernel.imports, "driver_load" in kernel.imports
        (True, False)
        """
        rows = self.record["exports"]
        return {name: gate or address for name, address, kind, _, gate, _ in rows if kind not in (_COMMAND, _CHECK)}

    @cached_property
    def checks(self) -> Mapping[str, Export]:
        """The kernel's self-tests by name (CHECK in guest/include/lab.h)."""
        return {each.name: each for each in self.exports.values() if each.is_check}

    def export(self, name: str) -> Export:
        """The export of that name; UsageError with the nearest spellings when there is none."""
        row = self._export_rows.get(name)
        if row is None:
            hint = _near(name, self._export_rows) or "`lab symbols --exports` lists what can be called"
            raise UsageError(f"the kernel exports no {name!r}; {hint}")
        return self._export(row)


def _is_image(elf: Path, size: int, offset: int, build_id: str) -> bool:
    """Whether a file is as long as the image, and has the hash in it that the linker gave this build."""
    with elf.open("rb", buffering=0) as file:
        if file.seek(0, os.SEEK_END) != size:
            return False
        file.seek(offset)
        return file.read(len(build_id) // 2).hex() == build_id


def _near(name: str, names: Iterable[str]) -> str:
    """A hint at the spellings nearest to `name`, empty when none is near."""
    import difflib

    near = difflib.get_close_matches(name, names, n=3)
    return f"did you mean {' or '.join(near)}?" if near else ""
