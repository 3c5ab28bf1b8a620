"""`lab bugcheck`: why the guest stopped."""

from __future__ import annotations

from lab.kernel.mailbox import BugCheck, read_mailbox
from lab.snapshot import Snapshot
from lab.views.cells import address_cell, line
from lab.views.registry import view
from lab.views.report import Cell, Json, KeyValues, Line, Lines, Report, Role
from lab.views.stopcodes import Explanation, explain_stop
from lab.x86.address import VirtualAddress

__all__ = ["show_bugcheck"]


@view("bugcheck", schema="lab.bugcheck/1")
def show_bugcheck(snapshot: Snapshot) -> Report:
    """Why the guest stopped: STOP code, parameters, caller.

    Exit code 1 when there was none.
    """
    mailbox = read_mailbox(snapshot.guest)
    stop = mailbox.bugcheck
    data: dict[str, Json] = {"phase": mailbox.phase, "bugcheck": _data(snapshot, stop) if stop else None}
    phase = "in no phase that it tells" if mailbox.phase == "unknown" else mailbox.phase
    block = _block(snapshot, stop) if stop else Lines((line(f"no bug check; the guest is {phase}"),))
    return Report("lab.bugcheck/1", data, (block,), answer=stop is not None, problems=mailbox.problems)


def _data(snapshot: Snapshot, stop: BugCheck) -> dict[str, Json]:
    return {
        "code": f"{stop.code:#010x}",
        "name": stop.name,
        "parameters": [hex(each) for each in stop.parameters],
        "meanings": list(_explained(snapshot, stop).meanings),
        "caller": hex(stop.caller),
        "caller_symbol": _caller(snapshot, stop),
        "cr2": hex(stop.cr2),
        "registers": {name: hex(value) for name, value in stop.registers.items()},
    }


def _explained(snapshot: Snapshot, stop: BugCheck) -> Explanation:
    return explain_stop(snapshot.guest, stop.code, stop.parameters)


def _caller(snapshot: Snapshot, stop: BugCheck) -> str | None:
    """The function that trapped, or whose call stopped the guest."""
    nearest = snapshot.kernel.nearest(stop.caller, returned_to=not stop.trapped) if snapshot.kernel else None
    return nearest[0].name if nearest else None


def _block(snapshot: Snapshot, stop: BugCheck) -> KeyValues:
    name = Cell(f"  {_caller(snapshot, stop) or ''}", Role.SYMBOL)
    explained = _explained(snapshot, stop)
    meant = zip(stop.parameters, explained.meanings, strict=True)
    items: list[tuple[str, Line]] = [
        ("STOP", line(Cell(f"{stop.code:#010x}  {stop.name}", Role.BAD))),
        *([("", line(explained.sentence))] if explained.sentence else []),
        *(
            (f"parameter {i}", line(f"{value:#018x}", *([f"  {meaning}"] if meaning else [])))
            for i, (value, meaning) in enumerate(meant, 1)
        ),
        ("at" if stop.trapped else "called from", line(address_cell(VirtualAddress(stop.caller)), name)),
    ]
    return KeyValues(tuple(items))
