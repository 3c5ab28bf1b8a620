"""`lab map`: a whole address space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from lab.paging import Kind, Mapping, leaves, map_space
from lab.snapshot import Snapshot
from lab.views.cells import address_cell, flags_cell, line, plural, rights_cell, size_cell
from lab.views.registry import view
from lab.views.report import Block, Cell, Column, Json, Line, Lines, Report, Role, Table
from lab.x86.address import PhysicalAddress
from lab.x86.levels import Level

__all__ = ["show_map"]


@view("map", schema="lab.map/1")
def show_map(
    snapshot: Snapshot,
    *,
    raw: Annotated[bool, "one row for each leaf entry, with the entry"] = False,
    cr3: Annotated[PhysicalAddress | None, "map the space of this root table, or CR3 value, instead"] = None,
) -> Report:
    """Everything mapped: which ranges lead where, with which rights.

    Contiguous pages with equal rights are one row. The rights are effective: all levels and control bits have had
    their say. A self map, a table that is shared, or an entry that leads nowhere is a row of its own.
    """
    found = leaves if raw else map_space
    root = snapshot.root(cr3)
    rows = list(found(snapshot.memory, snapshot.state, root))
    names = _namer(snapshot)
    count = sum(row.leaves for row in rows)
    data: dict[str, Json] = {
        "root": hex(root),
        "leaves": count,
        "mappings": [_row_data(row, names(row)) for row in rows],
    }
    head = line(
        Cell("map by cr3 ", Role.TITLE), address_cell(root), f"  {plural(count, 'leaf')} in {plural(len(rows), 'row')}"
    )
    table = _raw_table(rows, names) if raw else _table(rows, names)
    blocks: tuple[Block, ...] = (Lines((head,)), table)
    return Report("lab.map/1", data, blocks)


Namer = Callable[[Mapping], str]


def _namer(snapshot: Snapshot) -> Namer:
    """What names a row: what it is, where it is no page; what stands there, where the guest is ours."""

    def name(row: Mapping) -> str:
        if row.kind is not Kind.PAGE:
            return str(row.kind)
        if snapshot.kernel is None:
            return ""
        from lab.kernel.regions import name_range

        return name_range(snapshot.guest, row.start, row.end, row.physical)

    return name


def _row_data(row: Mapping, name: str) -> dict[str, Json]:
    data: dict[str, Json] = {
        "start": hex(row.start),
        "end": hex(row.end),
        "physical": hex(row.physical),
        "page_size": row.page_size,
        "supervisor": str(row.supervisor),
        "user": str(row.user),
        "memory_type": str(row.memory_type),
        "global": row.is_global,
        "name": name,
        "kind": row.kind.value,
    }
    if row.entry is not None and row.entry_address is not None:
        data |= {"entry": hex(row.entry), "entry_address": hex(row.entry_address)}
    return data


def _table(rows: list[Mapping], names: Namer) -> Table:
    columns = ("start", "size", "physical", "super", "user", "type", "name")
    return Table(
        tuple(Column(title, right=title == "size") for title in columns),
        tuple(_cells(row, names(row)) for row in rows),
        empty="nothing is mapped",
    )


def _cells(row: Mapping, name: str) -> Line:
    return (
        address_cell(row.start),
        size_cell(row.size),
        address_cell(row.physical),
        rights_cell(row.supervisor),
        rights_cell(row.user),
        Cell(f"{row.memory_type} G" if row.is_global else str(row.memory_type)),
        Cell(name, Role.SYMBOL if row.kind is Kind.PAGE else Role.WARNING),
    )


def _raw_table(rows: list[Mapping], names: Namer) -> Table:
    titles = ("start", "entry at", "entry", "flags", "name")
    cells = tuple(
        (
            address_cell(row.start),
            address_cell(row.entry_address) if row.entry_address is not None else Cell(""),
            Cell(f"{row.entry:#018x}", Role.ENTRY) if row.entry is not None else Cell(""),
            flags_cell(row.entry.flags(_level(row), leaf=row.kind is Kind.PAGE)) if row.entry is not None else Cell(""),
            Cell(names(row), Role.SYMBOL if row.kind is Kind.PAGE else Role.WARNING),
        )
        for row in rows
    )
    return Table(tuple(Column(title) for title in titles), cells, empty="nothing is mapped")


def _level(row: Mapping) -> Level:
    return next(level for level in Level if level.page_size == row.page_size)
