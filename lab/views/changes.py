"""What changed in the page tables. No view of one snapshot: it compares two captures, so it is called directly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.paging.rules import rules_of
from lab.snapshot.changes import EntryChange, TableImage
from lab.views.cells import address_cell, line, plural
from lab.views.report import Block, Cell, Json, Line, Lines, Report, Role

if TYPE_CHECKING:
    from lab.x86.state import PagingState

__all__ = ["report_changes", "report_first_look", "change_data", "change_lines"]

_SIGNS = {"created": ("+", Role.GOOD), "removed": ("-", Role.BAD), "changed": ("~", Role.WARNING)}


def report_changes(changes: Sequence[EntryChange]) -> Report:
    """Every changed entry, old and new, with the bits that differ; answer False when nothing changed."""
    data: dict[str, Json] = {"changes": [change_data(each) for each in changes]}
    if not changes:
        nothing = Lines((line(Cell("no page-table entry changed", Role.MUTED)),))
        return Report("lab.changes/1", data, (nothing,), answer=False)
    head = Lines((line(Cell(f"{plural(len(changes), 'entry')} changed", Role.TITLE)),))
    blocks: tuple[Block, ...] = (head, Lines(tuple(each for change in changes for each in change_lines(change))))
    return Report("lab.changes/1", data, blocks)


def report_first_look(now: TableImage, state: PagingState) -> Report:
    """What is said where there is nothing to compare with yet: how many entries, those that are not 0, it remembers."""
    rules = rules_of(state)
    count = 0
    for table in now.tables.values():
        level = rules.level(table.uses[0][0])
        count += sum(map(bool, level.unpack(table.content[: level.table_size])))
    said = f"first look: remembered {plural(count, 'entry')}; run it again after something has happened"
    data: dict[str, Json] = {"changes": [], "first_look": True, "remembered": count}
    return Report("lab.changes/1", data, (Lines((line(Cell(said, Role.MUTED)),)),), answer=False)


def change_data(change: EntryChange) -> dict[str, Json]:
    """One change as a program reads it."""
    return {
        "level": str(change.level),
        "index": change.index,
        "entry_address": hex(change.entry_address),
        "start": hex(change.start),
        "end": hex(change.end),
        "also_at": [hex(each) for each in change.also_at],
        "kind": change.kind,
        "old": hex(change.old),
        "new": hex(change.new),
        "set": list(change.set),
        "cleared": list(change.cleared),
        "moved": change.moved,
    }


def change_lines(change: EntryChange) -> list[Line]:
    """Which entry, for which address; then what was there and what is there now."""
    sign, role = _SIGNS.get(change.kind, ("~", Role.WARNING))
    what = line(
        Cell(f"{sign} {change.level!s:<4}", role),
        f" [{change.index:03x}] @ ",
        address_cell(change.entry_address),
        f"  {_verb(change)} ",
        address_cell(change.start),
    )
    values = line(
        Cell(f"  {change.old:#018x}", Role.MUTED),
        " → ",
        Cell(f"{change.new:#018x}", Role.ENTRY),
        Cell(f"  {_bits(change)}", Role.FLAGS),
    )
    return [what, values]


def _verb(change: EntryChange) -> str:
    verbs = {"created": ("maps", "adds a table for"), "removed": ("unmaps", "drops a table for")}
    for_page, for_table = verbs.get(change.kind, ("changes", "changes the table for"))
    return for_page if change.leaf else for_table


def _bits(change: EntryChange) -> str:
    """The flags of what is there now; where both are present, only what differs."""
    if change.kind == "changed":
        bits = [f"+{name}" for name in change.set] + [f"-{name}" for name in change.cleared]
        return " ".join([*bits, *["points elsewhere"] * change.moved])
    return " ".join(change.new.flags(change.level, leaf=change.leaf)) if change.new.present else "not present"
