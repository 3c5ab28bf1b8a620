"""`lab frames`: physical memory, as the guest's PFN database has it."""

from __future__ import annotations

import re
from typing import Annotated

from lab.kernel.frames import USE_NAMES, FrameBank, FrameRecord, Frames, read_frame, read_frames
from lab.snapshot import Snapshot
from lab.views.cells import address_cell, amount_cell, line
from lab.views.registry import view
from lab.views.report import Cell, Column, Json, KeyValues, Line, Lines, Report, Role, Table
from lab.x86.address import PhysicalAddress, VirtualAddress

__all__ = ["show_frames"]

PAGE = 4096


@view("frames", schema="lab.frames/1", example="lab frames 0x12a")
def show_frames(
    snapshot: Snapshot,
    frame: Annotated[str | None, "one frame, by its number (0x12a) or by an address in it (pa:0x12a010)"] = None,
) -> Report:
    """What RAM there is and what it serves, or one PFN record.

    A frame is active while somebody uses it; free ones wait on the free list, or on that of zeroed frames.
    """
    if frame is None:
        found = read_frames(snapshot.guest)
        return Report("lab.frames/1", _summary_data(found), _summary(found), problems=found.problems)
    record = read_frame(snapshot.guest, _number(snapshot, frame))
    return Report("lab.frames/1", {"frame": _record_data(record)}, (_record(snapshot, record),))


def _number(snapshot: Snapshot, text: str) -> int:
    if re.fullmatch(r"(0x)?[0-9a-f]+", text, re.IGNORECASE):
        return int(text, 16)
    return snapshot.resolve_physical(text).frame


def _summary_data(found: Frames) -> dict[str, Json]:
    return {
        "frames": found.count,
        "locations": found.locations,
        "uses": found.uses,
        "banks": [_bank_data(bank) for bank in found.banks],
    }


def _bank_data(bank: FrameBank) -> dict[str, Json]:
    return {
        "start": hex(bank.first * PAGE),
        "end": hex(bank.end * PAGE),
        "frames": bank.count,
        "firmware": bank.firmware,
        "locations": dict(bank.locations),
        "uses": dict(bank.uses),
    }


def _summary(found: Frames) -> tuple[Lines | Table, ...]:
    if not found.banks:
        return (Lines((line(Cell("the guest knows of no RAM", Role.MUTED)),)),)
    head = line(Cell(f"{found.count} frames", Role.TITLE), ", ", amount_cell(found.count * PAGE))
    return (
        Lines((head,)),
        _banks(found),
        _counts("state", found.locations),
        _counts("active frames serve", {USE_NAMES.get(name, name): count for name, count in found.uses.items()}),
    )


def _banks(found: Frames) -> Table:
    columns = (
        Column("RAM from"),
        Column("size", right=True),
        Column("active", right=True),
        Column("free", right=True),
        Column(""),
    )
    rows = tuple(
        (
            address_cell(PhysicalAddress.from_frame(bank.first)),
            amount_cell(bank.count * PAGE),
            Cell(str(bank.locations.get("Active", 0)), Role.NUMBER),
            Cell(str(bank.locations.get("Free", 0) + bank.locations.get("Zeroed", 0)), Role.NUMBER),
            Cell("kept by the firmware" if bank.firmware else "", Role.MUTED),
        )
        for bank in found.banks
    )
    return Table(columns, rows)


def _counts(title: str, counts: dict[str, int]) -> Table:
    columns = (Column(title), Column("frames", right=True), Column("", right=True))
    rows = tuple(
        (Cell(name), Cell(str(count), Role.NUMBER), Cell(amount_cell(count * PAGE).text, Role.MUTED))
        for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    )
    return Table(columns, rows, empty="none")


def _record_data(record: FrameRecord) -> dict[str, Json]:
    return {
        "frame": hex(record.frame),
        "physical": hex(record.physical),
        "record": hex(record.record),
        "location": record.location,
        "use": record.use,
        "reference_count": record.reference_count,
        "share_count": record.share_count,
        "pte_address": hex(record.pte_address),
        "pte_frame": hex(record.pte_frame),
        "modified": record.modified,
        "original_pte": hex(record.original_pte),
        "used_entries": record.used_entries,
    }


def _record(snapshot: Snapshot, record: FrameRecord) -> KeyValues:
    state = f"{record.location}: {USE_NAMES.get(record.use, record.use)}" if record.use else record.location
    items: list[tuple[str, Line]] = [
        ("address", line(address_cell(record.physical))),
        ("state", line(Cell(state, Role.GOOD if record.is_active else Role.MUTED))),
    ]
    if record.is_active:
        items.append(("references", line(f"{record.reference_count}, share count {record.share_count}")))
        items.append(("mapped by", _mapped_by(snapshot, record)))
    items.append(("record at", line(address_cell(record.record))))
    return KeyValues(tuple(items), title=f"frame {record.frame:#x}")


def _mapped_by(snapshot: Snapshot, record: FrameRecord) -> Line:
    """The entry that maps the frame and the address it stands for, computed back through the self map."""
    if not record.pte_address:
        return line(Cell("no entry, or several", Role.MUTED))
    slot = snapshot.kernel.find_constant("SELF_MAP_SLOT") if snapshot.kernel else None
    entry = address_cell(VirtualAddress(record.pte_address))
    if slot is None or record.pte_address >> 39 & 511 != slot:
        return line("the entry at ", entry)
    address = (record.pte_address & (1 << 39) - 1) << 9
    address |= 0xFFFF << 48 if address >> 47 & 1 else 0
    return line("the entry at ", entry, " for ", address_cell(VirtualAddress(address)))
