"""`lab symbols`: the names of the kernel, and what can be called."""

from __future__ import annotations

import fnmatch
import re
import textwrap
from typing import Annotated

from lab.errors import UsageError
from lab.kernel.image import Export, KernelImage, Symbol
from lab.snapshot import Snapshot
from lab.views.cells import address_cell
from lab.views.registry import view
from lab.views.report import Cell, Column, Json, Line, Lines, Report, Role, Table

__all__ = ["show_symbols"]

WIDTH = 80


@view("symbols", schema="lab.symbols/1", example="lab symbols --exports 'Mm*'")
def show_symbols(
    snapshot: Snapshot,
    pattern: Annotated[str | None, "part of a name, a pattern such as 'Mm*', or an address"] = None,
    *,
    exports: Annotated[bool, "only what `lab call` can call, with its parameters"] = False,
) -> Report:
    """The kernel's symbols, or the functions that can be called.

    Exit code 1 when nothing matches.
    """
    if snapshot.kernel is None:
        raise UsageError("this guest does not run the lab's kernel, so it has no symbols here")
    if exports:
        return _exports([each for name, each in snapshot.kernel.exports.items() if _matches(pattern, name)])
    return _symbols(snapshot.kernel, _find(snapshot.kernel, pattern))


def _find(kernel: KernelImage, pattern: str | None) -> list[Symbol]:
    if pattern is not None and re.fullmatch(r"0x[0-9a-f_'`]+", pattern, re.IGNORECASE):
        nearest = kernel.nearest(int(re.sub("[_'`]", "", pattern), 16))
        return [nearest[0]] if nearest else []
    return [each for each in kernel.symbols if _matches(pattern, each.name)]


def _matches(pattern: str | None, name: str) -> bool:
    if pattern is None:
        return True
    if any(letter in pattern for letter in "*?["):
        return fnmatch.fnmatchcase(name.lower(), pattern.lower())
    return pattern.lower() in name.lower()


def _symbols(kernel: KernelImage, found: list[Symbol]) -> Report:
    data: list[Json] = [
        {
            "name": each.name,
            "address": hex(each.address),
            "size": each.size,
            "kind": each.kind,
            "section": _section(kernel, each),
        }
        for each in found
    ]
    columns = (Column("address"), Column("size", right=True), Column("kind"), Column("section"), Column("name"))
    rows = tuple(
        (
            address_cell(each.address),
            Cell(str(each.size) if each.size else "", Role.NUMBER),
            Cell(each.kind, Role.MUTED),
            Cell(_section(kernel, each), Role.MUTED),
            Cell(each.name, Role.SYMBOL),
        )
        for each in found
    )
    table = Table(columns, rows, empty="no symbol matches")
    return Report("lab.symbols/1", {"symbols": data}, (table,), answer=bool(found))


def _section(kernel: KernelImage, symbol: Symbol) -> str:
    return next((each.name for each in kernel.sections if each.start <= symbol.address < each.end), "")


def _exports(found: list[Export]) -> Report:
    data: list[Json] = [_export_data(each) for each in found]
    lines = [each for export in found for each in _prototype(export)]
    block = Lines(tuple(lines or [(Cell("no export matches", Role.MUTED),)]))
    return Report("lab.symbols/1", {"exports": data}, (block,), answer=bool(found))


def _prototype(export: Export) -> list[Line]:
    """The function as C declares it, with what it does under it."""
    returns = f"{export.signature.returns.name} " if export.signature else ""
    # A no-break space keeps a type beside its name.
    parameters = str(export.signature or "(?)").replace(" ", "\xa0").replace(",\xa0", ", ")
    text = f"{returns}{export.name}{parameters}"
    first, *more = (each.replace("\xa0", " ") for each in textwrap.wrap(text, WIDTH, subsequent_indent="        "))
    head = first.removeprefix(f"{returns}{export.name}")
    lines: list[Line] = [(Cell(returns, Role.MUTED), Cell(export.name, Role.SYMBOL), Cell(head))]
    lines += [(Cell(each),) for each in more]
    return [*lines, (Cell(f"    {export.help}", Role.MUTED),)] if export.help else lines


def _export_data(export: Export) -> dict[str, Json]:
    data: dict[str, Json] = {
        "name": export.name,
        "address": hex(export.address),
        "kind": "command" if export.is_command else "check" if export.is_check else "nt",
        "help": export.help,
    }
    if export.signature is not None:
        parameters: list[Json] = [{"name": name, "type": kind.name} for name, kind in export.signature.parameters]
        data |= {"parameters": parameters, "returns": export.signature.returns.name}
        data["variadic"] = export.signature.variadic
    return data
