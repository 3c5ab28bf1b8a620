"""`lab aliases`: every virtual address of one frame."""

from __future__ import annotations

from typing import Annotated

from lab.paging import Alias, Kind, aliases_of
from lab.snapshot import Snapshot
from lab.views.cells import address_cell, line, plural, rights_cell, size_cell
from lab.views.registry import AnyAddress, view
from lab.views.report import Cell, Column, Json, Line, Lines, Report, Role, Table
from lab.x86.address import PhysicalAddress

__all__ = ["show_aliases"]


@view("aliases", schema="lab.aliases/1", example="lab aliases mdl:0")
def show_aliases(
    snapshot: Snapshot,
    address: Annotated[AnyAddress, "a virtual address, or a physical one as pa:0x12a010"],
    *,
    phys: Annotated[bool, "take a bare number as a physical address"] = False,
    cr3: Annotated[PhysicalAddress | None, "look in the space of this root table, or CR3 value"] = None,
) -> Report:
    """Every virtual address of one frame, with the rights each gives.

    It warns when aliases have unlike memory types, and when what can be written at one address can be executed at
    another. Exit code 1 when there is none.
    """
    if phys and not isinstance(address, PhysicalAddress):
        address = PhysicalAddress(int(address))
    physical = address if isinstance(address, PhysicalAddress) else snapshot.walk(address, cr3).mapped.physical
    found = aliases_of(snapshot.memory, snapshot.state, physical, snapshot.root(cr3))
    data: dict[str, Json] = {
        "physical": hex(physical),
        "aliases": [_data(alias) for alias in found.aliases],
        "warnings": list(found.warnings),
    }
    if not found.aliases:
        nothing = Lines((line("no virtual address leads to ", address_cell(physical)),))
        return Report("lab.aliases/1", data, (nothing,), answer=False)
    head = line(address_cell(physical), f" is reached at {plural(len(found.aliases), 'address')}")
    warnings = tuple(line(Cell(f"warning: {sentence}", Role.WARNING)) for sentence in found.warnings)
    return Report("lab.aliases/1", data, (Lines((head,)), _table(snapshot, found.aliases), Lines(warnings)))


def _data(alias: Alias) -> dict[str, Json]:
    return {
        "address": hex(alias.address),
        "page_size": alias.page_size,
        "supervisor": str(alias.supervisor),
        "user": str(alias.user),
        "memory_type": str(alias.memory_type),
        "global": alias.is_global,
        "kind": alias.kind.value,
        "entry": hex(alias.entry),
        "entry_address": hex(alias.entry_address),
    }


def _table(snapshot: Snapshot, aliases: tuple[Alias, ...]) -> Table:
    columns = ("address", "page", "super", "user", "type", "name")
    rows = tuple(_cells(snapshot, alias) for alias in aliases)
    return Table(tuple(Column(title, right=title == "page") for title in columns), rows)


def _cells(snapshot: Snapshot, alias: Alias) -> Line:
    return (
        address_cell(alias.address),
        size_cell(alias.page_size),
        rights_cell(alias.supervisor),
        rights_cell(alias.user),
        Cell(f"{alias.memory_type} G" if alias.is_global else str(alias.memory_type)),
        _name(snapshot, alias),
    )


def _name(snapshot: Snapshot, alias: Alias) -> Cell:
    if alias.kind is Kind.SELF_MAP:
        return Cell("a table, seen through the self map", Role.MUTED)
    if snapshot.kernel is None:
        return Cell("")
    from lab.kernel.regions import name_range

    page = alias.address.page(alias.page_size)
    frame = alias.entry.frame_address(alias.page_size)
    name = name_range(snapshot.guest, page, page + alias.page_size, frame)
    return Cell(snapshot.describe(alias.address) or name, Role.SYMBOL)
