"""`lab walk`: every entry on the way of one address."""

from __future__ import annotations

from typing import Annotated, Literal

from lab.errors import NoMemoryAt, UsageError
from lab.paging import Fault, FaultKind, Mapped, Step, Walk
from lab.snapshot import Snapshot
from lab.views.cells import walk_line
from lab.views.registry import AnyAddress, view
from lab.views.report import Json, Report
from lab.views.report import lines as lines_block
from lab.views.windbg import windbg_lines
from lab.x86.address import PhysicalAddress

__all__ = ["show_walk"]


@view("walk", schema="lab.walk/1", example="lab walk KeBugCheckEx+0x10")
def show_walk(
    snapshot: Snapshot,
    address: Annotated[AnyAddress, "what to walk: hexadecimal, a symbol, rip, cr2, mdl:0, pool:Tag"],
    *,
    style: Annotated[Literal["lab", "windbg"], "lab: one line a level; windbg: as WinDbg's !pte prints it"] = "lab",
    cr3: Annotated[PhysicalAddress | None, "walk from this root table, or CR3 value, instead"] = None,
    access: Annotated[Literal["read", "write", "fetch"] | None, "predict what this access will do"] = None,
    user: Annotated[bool, "the access is one at CPL 3"] = False,
) -> Report:
    """Every entry on the way of one address, and what decides.

    One line a level: index, where the entry is, its value, its set bits. The last lines say what the address resolves
    to and what may be done with it, and which level's bit forbids the rest; or which bit of which level ends the walk.
    With `--access`, also what the CPU will do with such an access: the exception and its error code, the level and bit
    that decide, and the A and D bits that it sets. Exit code 1 when the address is not mapped or the access faults.
    """
    if isinstance(address, PhysicalAddress):
        raise UsageError(f"{address} is a physical address, which needs no walk; try: lab aliases {address}")
    walk = snapshot.walk(address, cr3)
    texts = windbg_lines(snapshot.memory, walk) if style == "windbg" else walk.lines()
    report = Report("lab.walk/1", walk_data(walk, snapshot), (lines_block(map(walk_line, texts)),), walk.is_mapped)
    if style == "windbg" and isinstance(walk.outcome, Fault) and walk.outcome.kind is FaultKind.RESERVED:
        report = report._replace(problems=(f"!pte does not look at reserved bits, but {walk.outcome}",))
    if access is None and user:
        raise UsageError("--user says who makes the access; add --access read, write or fetch")
    return report if access is None else _with_prediction(report, snapshot, walk, access, user=user)


def _with_prediction(report: Report, snapshot: Snapshot, walk: Walk, kind: str, *, user: bool) -> Report:
    from lab.paging import Access, AccessKind, predict
    from lab.views.prediction import prediction_block, prediction_data

    access = Access(AccessKind(kind), user)
    try:
        found = predict(snapshot.memory, snapshot.state, walk.address, access, root=walk.root)
    except NoMemoryAt as error:
        return report._replace(problems=(f"the access cannot be predicted: {error}",))
    data = {**report.data, "prediction": prediction_data(found)}
    return report._replace(data=data, blocks=(*report.blocks, prediction_block(found)), answer=found.ok)


def walk_data(walk: Walk, snapshot: Snapshot) -> dict[str, Json]:
    """The walk as a program reads it."""
    data: dict[str, Json] = {"address": hex(walk.address)}
    symbol = snapshot.describe(walk.address)
    if symbol:
        data["symbol"] = symbol
    data |= {"root": hex(walk.root), "levels": walk.levels, "steps": [_step(step) for step in walk.steps]}
    return data | (_mapped(walk.outcome) if isinstance(walk.outcome, Mapped) else _fault(walk.outcome))


def _step(step: Step) -> dict[str, Json]:
    return {
        "level": str(step.level),
        "index": step.index,
        "entry_address": hex(step.entry_address),
        "entry": hex(step.entry),
        "flags": list(step.flags),
        "leaf": step.leaf,
    }


def _mapped(outcome: Mapped) -> dict[str, Json]:
    denials: list[Json] = [
        {
            "access": denial.access,
            "level": None if denial.level is None else str(denial.level),
            "bit": denial.bit,
            "name": denial.name,
        }
        for denial in outcome.denials
    ]
    return {
        "outcome": "mapped",
        "physical": hex(outcome.physical),
        "page_size": outcome.page_size,
        "memory_type": str(outcome.memory_type),
        "global": outcome.is_global,
        "access": {"supervisor": str(outcome.supervisor), "user": str(outcome.user)},
        "denials": denials,
    }


def _fault(outcome: Fault) -> dict[str, Json]:
    level = None if outcome.level is None else str(outcome.level)
    return {
        "outcome": "fault",
        "access": {"supervisor": "---", "user": "---"},
        "fault": {"level": level, "bit": outcome.bit, "reason": outcome.reason, "kind": outcome.kind.value},
    }
