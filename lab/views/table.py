"""`lab table`: the 512 entries of one table."""

from __future__ import annotations

from typing import Annotated, Literal

from lab.paging import TableInfo, tables
from lab.paging.rules import LevelRules, Rules, rules_of
from lab.snapshot import Snapshot
from lab.views.cells import address_cell, flags_cell, line, size_cell
from lab.views.registry import view
from lab.views.report import Cell, Column, Json, Line, Lines, Report, Role, Table
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import Entry
from lab.x86.levels import Level

__all__ = ["show_table"]


@view("table", schema="lab.table/1", example="lab table cr3")
def show_table(
    snapshot: Snapshot,
    table: Annotated[PhysicalAddress, "the table: cr3, or a physical address as `lab walk` shows it"],
    *,
    all: Annotated[bool, "also the entries that are zero"] = False,  # noqa: A002 - the option's name
    level: Annotated[Literal["auto", "PML5", "PML4", "PDPT", "PD", "PT"], "read it as a table of this level"] = "auto",
    cr3: Annotated[PhysicalAddress | None, "the space it is part of: a root table, or CR3 value"] = None,
) -> Report:
    """The entries of one page table.

    Each with what it points to and the addresses it covers. The level follows from where the table is used; for one
    that is not in use, `--level` says how to read it.
    """
    found = tables(snapshot.memory, snapshot.state, snapshot.root(cr3))
    page = next((each for each in (table, snapshot.root(table)) if each in found), table - table.offset())
    info = found.get(page)
    known = level == "auto" and info is not None
    read_as = info.levels[0] if level == "auto" and info else Level.PT if level == "auto" else Level[level]
    base = _base(info, read_as)
    rules = rules_of(snapshot.state)
    here = rules.level(read_as)
    entries = enumerate(here.unpack(snapshot.memory.read(page, here.table_size)))
    rows = [_Row(rules, here, index, Entry(entry), base) for index, entry in entries if entry or all]
    problems = (
        () if known or level != "auto" else ("the table is not in use here, so it is read as a PT (see --level)",)
    )
    answer: dict[str, Json] = {
        "table": hex(page),
        "level": str(read_as),
        "levels": [str(each) for each in info.levels] if info else [],
        "base": None if base is None else hex(base),
        "parents": [hex(each) for each in info.parents] if info else [],
        "entries": [row.data() for row in rows],
    }
    blocks = (Lines(_head(page, here, base, info)), _table(rows))
    return Report("lab.table/1", answer, blocks, problems=problems)


def _base(info: TableInfo | None, level: Level) -> VirtualAddress | None:
    """The first address that the table covers at a level; None when it is not used there."""
    return next((use.base for use in info.uses if use.level == level), None) if info else None


class _Row:
    """One entry, read at one level."""

    def __init__(self, rules: Rules, here: LevelRules, index: int, entry: Entry, base: VirtualAddress | None) -> None:
        self.index = index
        self.entry = entry
        self.digits = 2 * here.entry_size
        self.leaf = entry.present and bool(entry & here.leaf_mask)
        self.flags = entry.flags(here.level, leaf=self.leaf, keys=rules.keys)
        self.target = None
        if entry.present:
            self.target = PhysicalAddress(int(here.physical(entry, 0))) if self.leaf else entry.frame_address()
        self.start = None if base is None else VirtualAddress(rules.canonical(base + (index << here.shift)))

    def data(self) -> dict[str, Json]:
        return {
            "index": self.index,
            "entry": hex(self.entry),
            "flags": list(self.flags),
            "leaf": self.leaf,
            "target": None if self.target is None else hex(self.target),
            "start": None if self.start is None else hex(self.start),
        }

    def cells(self) -> Line:
        return (
            Cell(f"[{self.index:03x}]", Role.LEVEL),
            Cell(f"{self.entry:#0{2 + self.digits}x}", Role.ENTRY),
            flags_cell(self.flags) if self.entry.present else Cell("not present", Role.MUTED),
            Cell("") if self.target is None else address_cell(self.target),
            Cell("") if self.start is None else address_cell(self.start),
        )


def _head(
    page: PhysicalAddress, here: LevelRules, base: VirtualAddress | None, info: TableInfo | None
) -> tuple[Line, ...]:
    head = line(Cell(f"{here.level} at ", Role.TITLE), address_cell(page))
    if base is not None:
        head += line(", covers ", size_cell(here.span), " from ", address_cell(base))
    parents = [line("pointed to by the entry at ", address_cell(each)) for each in info.parents] if info else []
    return (head, *parents)


def _table(rows: list[_Row]) -> Table:
    titles = ("index", "entry", "flags", "points to", "covers")
    return Table(tuple(Column(title) for title in titles), tuple(row.cells() for row in rows), empty="all zero")
