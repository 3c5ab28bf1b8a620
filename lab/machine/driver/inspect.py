"""`lab driver inspect`: what a driver file says of itself, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable

from lab.machine.driver.pe import DriverImage, FlowGuard
from lab.views.cells import address_cell, line, plural, rights_cell, size_cell
from lab.views.report import Cell, Column, Json, KeyValues, Line, Report, Role, Table

__all__ = ["inspect_driver"]

SCHEMA = "lab.driver-image/1"

Resolve = Callable[[str, str], int | None]


def inspect_driver(image: DriverImage, resolve: Resolve | None = None) -> Report:
    """Headers, sections, imports and tables of a driver as a report.

    With `resolve`, which gives the address of an export as it does for `DriverImage.layout`, it says of each import
    whether the kernel has it; the answer is no when one is missing.
    """
    missing = set(image.missing(resolve)) if resolve else set()
    problems = [
        *image.problems,
        *(f"the kernel here has no {each}; calling it stops the guest" for each in sorted(map(str, missing))),
    ]
    blocks = (
        KeyValues(_facts(image), title=image.name),
        _sections(image),
        Table(
            (Column("library"), Column("import"), Column("slot", right=True), Column("")),
            tuple(_import_row(image, index, resolve) for index in range(len(image.imports))),
            title=plural(len(image.imports), "import"),
            empty="it imports nothing",
        ),
    )
    return Report(SCHEMA, _data(image, resolve), blocks, answer=not missing, problems=tuple(problems))


def _facts(image: DriverImage) -> tuple[tuple[str, Line], ...]:
    entry = image.locate(image.entry)
    facts = [
        ("kind", line(f"{image.kind} driver for x64, subsystem {image.subsystem}")),
        ("size", line(size_cell(image.size), " in memory, ", size_cell(len(image.file)), " in the file")),
        ("preferred base", line(address_cell(image.image_base))),
        ("entry", line(_offset(image.entry), f"  {entry}" if entry else "")),
        ("checksum", _checksum(image)),
        ("relocations", line(Cell(str(len(image.relocations)), Role.NUMBER))),
        ("exception functions", line(Cell(str(image.exceptions.count if image.exceptions else 0), Role.NUMBER))),
        ("security cookie", line("none") if image.cookie is None else line("at ", _offset(image.cookie))),
        ("control flow guard", line("no" if image.guard is None else plural(image.guard.targets, "call target"))),
        ("debug information", line("DWARF: functions and lines" if image.has_lines else "none in the file")),
    ]
    return tuple(facts)


def _checksum(image: DriverImage) -> Line:
    if not image.checksum:
        return line("not set")
    right = image.checksum == image.actual_checksum
    return line(f"{image.checksum:#x} ", Cell("right", Role.GOOD) if right else Cell("wrong", Role.WARNING))


def _sections(image: DriverImage) -> Table:
    columns = (Column("section"), Column("at", right=True), Column("size", right=True), Column("rights"), Column(""))
    rows = []
    for each in image.sections:
        fate = "not loaded" if each.is_debug else "discarded after DriverEntry" if each.discardable else ""
        if each.rights.write and each.rights.execute:
            fate = "written and executed"
        name = Cell(each.name, Role.MUTED if each.is_debug else Role.SYMBOL)
        rows.append((name, _offset(each.rva), size_cell(each.size), rights_cell(each.rights), Cell(fate, Role.MUTED)))
    return Table(columns, tuple(rows), title=plural(len(rows), "section"))


def _import_row(image: DriverImage, index: int, resolve: Resolve | None) -> Line:
    each = image.imports[index]
    dll = "" if index and image.imports[index - 1].dll == each.dll else each.dll
    lacking = resolve is not None and resolve(each.dll, each.name) is None
    note = Cell("missing", Role.BAD) if lacking else Cell("")
    return (Cell(dll, Role.LABEL), Cell(each.name, Role.SYMBOL), _offset(each.rva), note)


def _offset(rva: int) -> Cell:
    return Cell(f"+{rva:#x}", Role.NUMBER)


def _data(image: DriverImage, resolve: Resolve | None) -> dict[str, Json]:
    imports: list[Json] = []
    for each in image.imports:
        bound = {} if resolve is None else {"bound": resolve(each.dll, each.name) is not None}
        imports.append({"dll": each.dll, "name": each.name, "slot": hex(each.rva), **bound})
    exceptions = image.exceptions
    return {
        "name": image.name,
        "kind": image.kind,
        "machine": "x64",
        "subsystem": image.subsystem,
        "image_base": hex(image.image_base),
        "size": image.size,
        "file_size": len(image.file),
        "entry": hex(image.entry),
        "timestamp": image.timestamp,
        "checksum": {"stored": hex(image.checksum), "computed": hex(image.actual_checksum)},
        "sections": [
            {
                "name": each.name,
                "start": hex(each.rva),
                "size": each.size,
                "rights": str(each.rights),
                "discardable": each.discardable,
                "loaded": not each.is_debug,
            }
            for each in image.sections
        ],
        "imports": imports,
        "relocations": len(image.relocations),
        "movable": image.movable,
        "security_cookie": None if image.cookie is None else hex(image.cookie),
        "exceptions": None if exceptions is None else {"start": hex(exceptions.rva), "count": exceptions.count},
        "control_flow_guard": None if image.guard is None else _guard_data(image.guard),
        "debug": image.has_lines,
    }


def _guard_data(guard: FlowGuard) -> dict[str, Json]:
    return {
        "check": None if guard.check is None else hex(guard.check),
        "dispatch": None if guard.dispatch is None else hex(guard.dispatch),
        "targets": guard.targets,
        "flags": hex(guard.flags),
    }
