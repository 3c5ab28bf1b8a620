"""Build time: write what the kernel's ELF and DWARF say into one small JSON beside the image.

Run as ``python -m lab.kernel.extract images/kernel.elf images/kernel.json``. The C sources are the only place where a
structure, an enum, a symbol or the signature of a command is written down; this file reads them from the compiled
image, and `lab.kernel.image` loads the result in a few milliseconds, without pyelftools.

Types are kept in one table and referred to by index, because the same few recur thousands of times:
``[kind, name, size, more]``, where `more` is the target of a pointer, ``[element, count]`` of an array, the name of a
structure or enum. A typedef keeps its own name and takes all else from what it stands for.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from pathlib import Path
from typing import IO, TypeAlias

from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection, SymbolTableSection

__all__ = ["extract", "main"]

SCHEMA = "lab.kernel/2"

TypeRow: TypeAlias = list[object]
Record: TypeAlias = dict[str, object]

_EXPORT_SIZE = 40  # struct lab_export: name, function, help, kind, gate
_SYMBOL_KINDS = {"STT_FUNC": "function", "STT_OBJECT": "object", "STT_NOTYPE": "label"}
_ENCODINGS = {2: "bool", 4: "float", 5: "signed", 6: "signed", 7: "unsigned", 8: "unsigned"}  # DW_ATE_*


class _Types:
    """Collects types, structures and enums from DWARF, each once however many units repeat it."""

    def __init__(self) -> None:
        self.rows: list[TypeRow] = [["void", "void", 0, None]]
        self.structures: dict[str, Record] = {}
        self.enums: dict[str, dict[str, int]] = {}
        self.constants: dict[str, int] = {}
        self.aliases: dict[str, str] = {}
        self._known: dict[str, int] = {}

    def of(self, die: DIE, hint: str = "") -> int:
        """The index of the type of `die`; `hint` names it where C gives it no name."""
        if "DW_AT_type" not in die.attributes:
            return 0
        return self.index(die.get_DIE_from_attribute("DW_AT_type"), hint)

    def index(self, die: DIE, hint: str = "") -> int:
        """The index of the type that `die` is."""
        match str(die.tag).removeprefix("DW_TAG_"):
            case "const_type":
                found = self._constant(die, hint)
            case "volatile_type" | "restrict_type":
                found = self.of(die, hint)
            case "typedef":
                found = self._typedef(die)
            case "structure_type" | "union_type":
                found = self._structure(die, hint)
            case "enumeration_type":
                found = self._enumeration(die, hint)
            case "pointer_type":
                target = self.of(die)
                found = self._add("pointer", f"{self.rows[target][1]} *".replace("* *", "**"), 8, target)
            case "array_type":
                found = self._array(die, hint)
            case "subroutine_type":
                found = self._add("function", f"{self.rows[self.of(die)][1]} ()", 0, None)
            case _:
                found = self._base(die)
        return found

    def _add(self, kind: str, name: str, size: int, more: object) -> int:
        key = json.dumps([kind, name, size, more])
        if key not in self._known:
            self._known[key] = len(self.rows)
            self.rows.append([kind, name, size, more])
        return self._known[key]

    def _base(self, die: DIE) -> int:
        # Only plain `char` is text; `signed char` and `unsigned char` are small numbers.
        kind = "char" if _name(die) == "char" else _ENCODINGS.get(_number(die, "DW_AT_encoding"), "unsigned")
        return self._add(kind, _name(die), _size(die), None)

    def _constant(self, die: DIE, hint: str) -> int:
        kind, name, size, more = self.rows[self.of(die, hint)]
        spelled = f"{name}const" if kind == "pointer" else f"const {name}"
        return self._add(str(kind), spelled, int(str(size)), more)

    def _typedef(self, die: DIE) -> int:
        name = _name(die)
        kind, _, size, more = self.rows[self.of(die, hint=name)]
        if kind in ("struct", "union") and more != name:
            self.aliases[name] = str(more)
        return self._add(str(kind), name, int(str(size)), more)

    def _structure(self, die: DIE, hint: str) -> int:
        word = "union" if die.tag == "DW_TAG_union_type" else "struct"
        name = _name(die) or hint
        spelled = f"{word} {name}" if _name(die) else name
        if "DW_AT_declaration" in die.attributes:
            return self._add(word, spelled, 0, name)
        found = self._add(word, spelled, _size(die), name)
        if name and name not in self.structures:
            self.structures[name] = {}  # stands there before its fields are read: a structure may point at itself
            fields = [self._field(child, name) for child in die.iter_children() if child.tag == "DW_TAG_member"]
            self.structures[name] = {"kind": word, "size": _size(die), "fields": fields}
        return found

    def _field(self, die: DIE, parent: str) -> list[object]:
        name = _name(die)
        offset = _number(die, "DW_AT_data_member_location")
        return [name, offset, self.of(die, hint=f"{parent}.{name}" if name else f"{parent}.+{offset:#x}")]

    def _enumeration(self, die: DIE, hint: str) -> int:
        values = {
            _name(child): _number(child, "DW_AT_const_value")
            for child in die.iter_children()
            if child.tag == "DW_TAG_enumerator"
        }
        name = _name(die) or hint
        if name:
            self.enums.setdefault(name, values)
        else:
            self.constants.update(values)
        return self._add("enum", f"enum {name}" if _name(die) else name, _size(die), name)

    def _array(self, die: DIE, hint: str) -> int:
        element, count = self.of(die, hint), 1
        for child in die.iter_children():
            if child.tag == "DW_TAG_subrange_type":
                bound = _number(child, "DW_AT_upper_bound", -1) + 1
                count *= _number(child, "DW_AT_count", bound)
        _, name, size, _ = self.rows[element]
        return self._add("array", f"{name}[{count}]", int(str(size)) * count, [element, count])


class _Dwarf:
    """What we take from DWARF: all named types, the types of globals, the signatures of the exports."""

    def __init__(self, elf: ELFFile, exports: set[str]) -> None:
        self.types = _Types()
        self.signatures: dict[str, TypeRow] = {}
        self.variables: dict[str, int] = {}
        self._exports = exports
        if elf.has_dwarf_info():
            for unit in elf.get_dwarf_info().iter_CUs():
                self._read(unit)

    def _read(self, unit: CompileUnit) -> None:
        named = ("DW_TAG_structure_type", "DW_TAG_union_type", "DW_TAG_enumeration_type", "DW_TAG_typedef")
        for die in unit.get_top_DIE().iter_children():
            if die.tag in named:
                self.types.index(die)
            elif die.tag == "DW_TAG_variable" and _name(die):
                self.variables.setdefault(_name(die), self.types.of(die))
            elif die.tag == "DW_TAG_subprogram" and _name(die) in self._exports:
                self._signature(die)

    def _signature(self, die: DIE) -> None:
        if "DW_AT_declaration" in die.attributes:
            return
        parameters = [child for child in die.iter_children() if child.tag == "DW_TAG_formal_parameter"]
        self.signatures[_name(die)] = [
            self.types.of(die),
            [[_name(each), self.types.of(each)] for each in parameters],
            any(child.tag == "DW_TAG_unspecified_parameters" for child in die.iter_children()),
        ]


class _Shared:
    """Rows that many share, each kept once and known by its index."""

    def __init__(self) -> None:
        self.rows: list[TypeRow] = []
        self._known: dict[str, int] = {}

    def index(self, row: TypeRow | None) -> int | None:
        """Where `row` stands; None for none."""
        if row is None:
            return None
        known = self._known.setdefault(json.dumps(row), len(self.rows))
        if known == len(self.rows):
            self.rows.append(row)
        return known


class _Image:
    """The bytes of the image by virtual address."""

    def __init__(self, elf: ELFFile) -> None:
        self._segments = [each for each in elf.iter_segments() if each["p_type"] == "PT_LOAD"]

    def rows(self) -> list[list[int]]:
        return [
            [each["p_vaddr"], each["p_paddr"], each["p_filesz"], each["p_memsz"], each["p_flags"]]
            for each in self._segments
        ]

    def read(self, address: int, size: int) -> bytes:
        for each in self._segments:
            offset = address - each["p_vaddr"]
            if 0 <= offset < each["p_filesz"]:
                return bytes(each.data()[offset : offset + size])
        raise ValueError(f"{address:#x} is not in a loaded segment of the image")

    def text(self, address: int) -> str | None:
        return self.read(address, 4096).partition(b"\0")[0].decode() if address else None


def extract(elf_path: Path) -> Record:
    """Read everything the controller needs from the kernel's ELF; ValueError when it is not such a kernel."""
    elf = ELFFile(io.BytesIO(elf_path.read_bytes()))
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        raise ValueError(f"{elf_path} has no symbol table: link it without --strip")  # noqa: TRY004 - of the file, not ours
    values = _symbol_values(table)
    exports = _exports(_Image(elf), values)
    functions = {address: name for name, address in values.items()}
    named = {str(each[0]): functions.get(int(str(each[1])), "") for each in exports}  # some are aliases
    dwarf = _Dwarf(elf, set(named.values()))
    signatures = _Shared()
    for each in exports:
        each.append(signatures.index(dwarf.signatures.get(named[str(each[0])])))
    symbols = _symbols(elf, table)
    names = {row[0] for row in symbols}
    return {
        "schema": SCHEMA,
        "image": elf_path.name,
        "size": elf_path.stat().st_size,
        "build_id": _build_id(elf),
        "entry": elf["e_entry"],
        "segments": _Image(elf).rows(),
        "sections": _sections(elf),
        "symbols": symbols,
        "exports": exports,
        "signatures": signatures.rows,
        "variables": {name: index for name, index in dwarf.variables.items() if name in names},
        "types": dwarf.types.rows,
        "structures": dwarf.types.structures,
        "aliases": dwarf.types.aliases,
        "enums": dwarf.types.enums,
        "constants": dwarf.types.constants,
    }


def _build_id(elf: ELFFile) -> list[object]:
    """Where in the file the linker wrote its hash of the whole image, and that hash; see `ld --build-id`."""
    for section in elf.iter_sections():
        for note in section.iter_notes() if isinstance(section, NoteSection) else ():
            if note["n_type"] == "NT_GNU_BUILD_ID":
                return [note["n_offset"] + note["n_size"] - note["n_descsz"], note["n_desc"]]
    raise ValueError("the image has no build ID, by which it is told from others: link it with --build-id=sha1")


def _symbol_values(table: SymbolTableSection) -> dict[str, int]:
    return {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}


def _exports(image: _Image, values: dict[str, int]) -> list[TypeRow]:
    """The export table, sorted by name: its order in the image is link order, which means nothing.

    A row is ``[name, address, kind, help, gate]``, to which the index of the signature is added.
    """
    start, end = values.get("lab_exports_start", 0), values.get("lab_exports_end", 0)
    found: list[TypeRow] = []
    for address in range(start, end, _EXPORT_SIZE):
        entry = image.read(address, _EXPORT_SIZE)
        name, function, text, kind, gate = struct.unpack("<5Q", entry)
        found.append([image.text(name), function, kind, image.text(text), gate])
    return sorted(found, key=lambda each: str(each[0]))


def _sections(elf: ELFFile) -> list[list[object]]:
    allocated = (each for each in elf.iter_sections() if each["sh_flags"] & 2 and each["sh_size"])  # SHF_ALLOC
    return sorted([each["sh_addr"], each["sh_size"], each.name] for each in allocated)


def _symbols(elf: ELFFile, table: SymbolTableSection) -> list[list[object]]:
    plumbing = {index for index, each in enumerate(elf.iter_sections()) if each.name == ".lab.exports"}
    found: list[list[object]] = []
    for symbol in table.iter_symbols():
        kind = _SYMBOL_KINDS.get(symbol["st_info"]["type"])
        unnamed = not symbol.name or symbol.name.startswith((".", "$"))
        if kind is None or unnamed or symbol["st_shndx"] == "SHN_UNDEF":
            continue
        if kind == "object" and symbol["st_shndx"] in plumbing:
            continue
        found.append([symbol.name, symbol["st_value"], symbol["st_size"], kind])
    return sorted(found, key=lambda row: (row[1], str(row[0])))


def _name(die: DIE) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return attribute.value.decode() if attribute else ""


def _number(die: DIE, attribute: str, default: int = 0) -> int:
    found = die.attributes.get(attribute)
    return found.value if found and isinstance(found.value, int) else default


def _size(die: DIE) -> int:
    return _number(die, "DW_AT_byte_size")


def _write(record: Record, stream: IO[str]) -> None:
    json.dump(record, stream, separators=(",", ":"), sort_keys=True)
    stream.write("\n")


def main(arguments: list[str]) -> int:
    """``ELF JSON``: extract and write; the JSON is written whole or not at all."""
    if len(arguments) != 2:
        print("usage: python -m lab.kernel.extract KERNEL.elf KERNEL.json", file=sys.stderr)
        return 2
    source, target = map(Path, arguments)
    text = io.StringIO()
    try:
        _write(extract(source), text)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    fresh = target.with_suffix(".new")
    fresh.write_text(text.getvalue())
    fresh.replace(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
