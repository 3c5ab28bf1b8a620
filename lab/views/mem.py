"""`lab mem`: bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from lab.errors import NoMemoryAt, UsageError
from lab.paging.virtual import Piece
from lab.snapshot import Snapshot
from lab.views.cells import address_cell, plural
from lab.views.registry import AnyAddress, view
from lab.views.report import Cell, HexDump, HexRow, Json, Report, Role
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.state import PagingMode

__all__ = ["show_mem"]

ROW = 16
LONGEST = 1 << 20


class _Run(NamedTuple):
    """Bytes that stand together, or a hole and why it is one."""

    start: VirtualAddress | PhysicalAddress
    size: int
    physical: PhysicalAddress | None
    data: bytes | None
    reason: str


@view("mem", schema="lab.mem/1", example="lab mem pool:Tag --length 64")
def show_mem(
    snapshot: Snapshot,
    address: Annotated[AnyAddress, "where to begin"],
    *,
    length: Annotated[int, "how many bytes"] = 128,
    phys: Annotated[bool, "take a bare number as a physical address"] = False,
    cr3: Annotated[PhysicalAddress | None, "read through this root table, or CR3 value, instead"] = None,
) -> Report:
    """Bytes, by virtual or physical address.

    In hexadecimal and as characters. Virtual memory is read through the page tables; beside each page stands its
    physical address, and a hole says which entry makes it one. Exit code 1 when not one byte can be read.
    """
    if not 0 < length <= LONGEST:
        raise UsageError(f"--length is 1 to {LONGEST} bytes, not {length}")
    if phys and not isinstance(address, PhysicalAddress):
        address = PhysicalAddress(int(address))
    runs = list(
        _physical(snapshot, address, length)
        if isinstance(address, PhysicalAddress)
        else _virtual(snapshot, address, length, cr3)
    )
    data: dict[str, Json] = {
        "address": hex(address),
        "space": "physical" if isinstance(address, PhysicalAddress) else "virtual",
        "length": length,
        "pieces": [_piece_data(run) for run in runs],
    }
    readable = any(run.data is not None for run in runs)
    return Report("lab.mem/1", data, (HexDump(tuple(_rows(runs))),), answer=readable)


def _physical(snapshot: Snapshot, address: PhysicalAddress, length: int) -> Iterator[_Run]:
    """Page by page, so that the end of a bank does not hide what is before it."""
    while length > 0:
        size = min(length, 4096 - address.offset())
        try:
            yield _Run(address, size, address, snapshot.memory.read(address, size), "")
        except NoMemoryAt:
            yield _Run(address, size, None, None, "no RAM")
        address, length = address + size, length - size


def _virtual(snapshot: Snapshot, address: VirtualAddress, length: int, root: PhysicalAddress | None) -> Iterator[_Run]:
    if snapshot.state.mode is PagingMode.OFF:
        raise UsageError(f"paging is off here, so addresses are physical; add --phys to read pa:{int(address):#x}")
    for piece in snapshot.space(root).pieces(address, length):
        yield _read(snapshot, piece)


def _read(snapshot: Snapshot, piece: Piece) -> _Run:
    if piece.physical is None:
        return _Run(piece.start, piece.size, None, None, piece.reason)
    try:
        data = snapshot.memory.read(piece.physical, piece.size)
    except NoMemoryAt:
        return _Run(piece.start, piece.size, piece.physical, None, f"{piece.physical} is outside of RAM")
    return _Run(piece.start, piece.size, piece.physical, data, "")


def _piece_data(run: _Run) -> dict[str, Json]:
    data: dict[str, Json] = {
        "address": hex(run.start),
        "size": run.size,
        "physical": None if run.physical is None else hex(run.physical),
        "data": None if run.data is None else run.data.hex(),
    }
    return data if run.data is not None else data | {"reason": run.reason}


def _rows(runs: list[_Run]) -> Iterator[HexRow]:
    """Sixteen bytes a row from the first address on; a row also ends where a page does. A hole is one row.

    Rows like the one before are left out, which a star says; the last row of all is always there.
    """
    for run in runs:
        if run.data is None:
            reason = f"{plural(run.size, 'byte')} missing: {run.reason}"
            yield HexRow(address_cell(run.start), b"", Cell(reason, Role.BAD))
            continue
        last = b""
        for offset in range(0, run.size, ROW):
            data = run.data[offset : offset + ROW]
            is_end = run is runs[-1] and offset + ROW >= run.size
            if data != last or is_end:
                yield HexRow(address_cell(run.start + offset), data, _origin(run) if offset == 0 else Cell(""))
                starred = False
            elif not starred:
                yield HexRow(Cell("*", Role.MUTED), b"")
                starred = True
            last = data


def _origin(run: _Run) -> Cell:
    """The physical address of a page that is read by its virtual one."""
    is_virtual = isinstance(run.start, VirtualAddress)
    return address_cell(run.physical) if is_virtual and run.physical is not None else Cell("")
