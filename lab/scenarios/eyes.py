"""One page through several eyes: the CPU may use a translation that it remembers, all others walk the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lab.views.report import Cell, Column, Json, Report, Role, Table
from lab.x86.address import PhysicalAddress, VirtualAddress

if TYPE_CHECKING:
    from lab.scenarios.stage import Stage

__all__ = ["Eyes", "look"]

CPU = "the CPU"

SIZE = 8
"""Bytes that each looks at: what one instruction reads."""


class Eyes(NamedTuple):
    """What is at a mapped page: the bytes that the CPU reads there, and those where the tables lead."""

    cpu: bytes
    tables: bytes
    report: Report

    @property
    def stale(self) -> bool:
        """Whether the CPU went somewhere else than the tables lead now."""
        return self.cpu != self.tables


class _Sight(NamedTuple):
    """What one of them has to say of the page: where it leads, what stands there, or both."""

    who: str
    physical: PhysicalAddress | None
    reads: bytes | None


def look(stage: Stage, address: VirtualAddress) -> Eyes:
    """Read a page as the CPU does, then as all others do; frames are told apart by their first bytes."""
    cpu = int(stage.quick_call("read_u64", address)).to_bytes(SIZE, "little")
    own = stage.snapshot().walk(address).mapped.physical
    tables = stage.machine.memory.read(own, SIZE)
    sights = (
        _Sight(CPU, None, cpu),
        _Sight("own walk", own, tables),
        _Sight("gva2gpa", stage.machine.gva2gpa(address), None),
        _Sight("GDB", None, stage.gdb.read(address, SIZE)),
        _Sight("MmGetPhysicalAddress", PhysicalAddress(stage.quick_call("MmGetPhysicalAddress", address).result), None),
    )
    return Eyes(cpu, tables, _report(address, sights, stale=cpu != tables))


def _report(address: VirtualAddress, sights: Sequence[_Sight], *, stale: bool) -> Report:
    data: dict[str, Json] = {"address": hex(address), "stale": stale, "eyes": [_data(each) for each in sights]}
    columns = (Column("who looks"), Column("is led to"), Column("reads"))
    return Report("lab.eyes/1", data, (Table(columns, tuple(_row(each, stale=stale) for each in sights)),))


def _data(sight: _Sight) -> dict[str, Json]:
    data: dict[str, Json] = {"who": sight.who}
    if sight.physical is not None:
        data["physical"] = hex(sight.physical)
    if sight.reads is not None:
        data["reads"] = _text(sight.reads)
    return data


def _row(sight: _Sight, *, stale: bool) -> tuple[Cell, ...]:
    is_odd = stale and sight.who == CPU
    return (
        Cell(sight.who, Role.LABEL),
        Cell("" if sight.physical is None else str(sight.physical), Role.PHYSICAL),
        Cell("" if sight.reads is None else _text(sight.reads), Role.WARNING if is_odd else Role.BYTES),
    )


def _text(data: bytes) -> str:
    return data.decode("ascii", "replace")
