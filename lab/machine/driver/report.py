"""A run of drivers as a report: what each of them did, what it left, and how it ended."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.kernel.objects import Guest
from lab.kernel.values import is_success, ntstatus, ntstatus_name
from lab.machine.driver.crash import Crash
from lab.machine.driver.devices import Device, devices
from lab.machine.driver.load import drivers
from lab.machine.driver.session import ENTRY, UNLOAD
from lab.views.cells import address_cell, line, plural, size_cell
from lab.views.changes import change_data, change_lines
from lab.views.report import Block, Cell, Column, HexDump, HexRow, Json, Line, Lines, Report, Role, Table

if TYPE_CHECKING:
    from lab.kernel.image import KernelImage
    from lab.machine.driver.debug import Location
    from lab.machine.driver.load import LoadedDriver
    from lab.machine.driver.session import Act, Session, Visit
    from lab.machine.machine import Machine
    from lab.machine.trace import MemoryCall

__all__ = ["session_report", "control_report", "list_report", "driver_lines", "driver_data"]

SCHEMA = "lab.driver/1"

INVALID_DEVICE_REQUEST = 0xC0000010

WIDTH = 112
"""Columns of a call with its arguments; longer ones go on in the next line."""

MOST_CHANGES = 16
"""Entries shown of one call; a program gets them all."""


def session_report(session: Session, *, strict: bool = False) -> Report:
    """Everything that happened, one driver after the other; the answer is no where one was refused.

    With `strict`, as under the verifier, leaving something behind is a no as well.
    """
    kernel = session.machine.kernel
    crash = Crash(session.machine, session.bugcheck) if session.bugcheck else None
    blocks = list(_blocks(session))
    data: dict[str, Json] = {}
    if session.visits:
        data |= _visit_data(kernel, session.visits[-1])
        data["log"] = [text for visit in session.visits for act in visit.acts for text in act.log]
    if len(session.visits) > 1:
        data["drivers"] = [_visit_data(kernel, each) for each in session.visits]
    if crash:
        blocks += crash.blocks()
        data["bugcheck"] = crash.to_json()
    elif session.error:
        data["error"] = str(session.error)
    good = session.error is None and not any(each.refused or (strict and each.leaks) for each in session.visits)
    return Report(SCHEMA, data, tuple(blocks), answer=good)


def control_report(session: Session, device: Device, code: int, output: bytes) -> Report:
    """A request to a device: its status, what the driver did, and the bytes that came back."""
    visit = next(each for each in session.visits if each.driver.number == device.driver.number)
    act = visit.acts[-1]
    status = act.status
    crash = Crash(session.machine, session.bugcheck) if session.bugcheck else None
    data: dict[str, Json] = {
        "device": device.path,
        "driver": device.driver.name,
        "code": f"{code:#010x}",
        **_act_data(session.machine.kernel, act),
        "output": output.hex(),
    }
    blocks: list[Block] = [Lines(tuple(_act_lines(session, visit, act)))]
    if output:
        rows = (output[i : i + 16] for i in range(0, len(output), 16))
        dump = (HexRow(Cell(f"  {16 * i:04x}", Role.MUTED), row) for i, row in enumerate(rows))
        blocks.append(HexDump(tuple(dump)))
    if crash:
        blocks += crash.blocks()
        data["bugcheck"] = crash.to_json()
    return Report("lab.driver-ioctl/1", data, tuple(blocks), answer=status is not None and is_success(status))


def list_report(machine: Machine) -> Report:
    """The drivers in a machine with their devices, and what it still knows of those that are gone."""
    kernel, guest = machine.kernel, Guest(machine.kernel, machine.memory, machine.paging_state())
    own: dict[int, list[Device]] = {record.number: [] for record in drivers(machine)}
    for each in devices(machine, guest):
        own[each.driver.number].append(each)
    rows: list[Line] = []
    data: list[Json] = []
    for record in drivers(machine):
        names = [each.path or "(no name)" for each in own[record.number]]
        leftovers = ", ".join(f"{count} {name}" for name, count in record.leftovers.items())
        rows.append(
            (
                Cell(record.name, Role.SYMBOL),
                Cell(record.state, Role.PLAIN if record.is_there else Role.MUTED),
                address_cell(record.base),
                size_cell(record.size),
                Cell(ntstatus(kernel, record.status)),
                Cell(
                    f"left: {leftovers}" if leftovers else ", ".join(names), Role.WARNING if leftovers else Role.PLAIN
                ),
            )
        )
        data.append(
            {
                "name": record.name,
                "state": record.state,
                "base": hex(record.base),
                "size": record.size,
                "entry": hex(record.entry),
                "status": f"{record.status:#010x}",
                "status_name": ntstatus_name(kernel, record.status),
                "devices": [{"name": each.name, "links": list(each.links)} for each in own[record.number]],
                "leftovers": dict(record.leftovers),
            }
        )
    columns = (Column("driver"), Column("state"), Column("base"), Column("size", right=True), Column("DriverEntry"))
    table = Table((*columns, Column("devices")), tuple(rows), empty="no driver has been loaded")
    return Report("lab.drivers/1", {"drivers": data}, (table,))


# ------------------------------------------------------------------------------------------------------------ text ----


def _blocks(session: Session) -> Iterator[Block]:
    several = len(session.visits) > 1
    for visit in session.visits:
        if visit.acts and visit.acts[0].function == ENTRY:
            yield Lines(tuple(driver_lines(visit.driver)))
            yield Lines(tuple(_act_lines(session, visit, visit.acts[0])))
    for visit in reversed(session.visits):
        for act in visit.acts:
            if act.function != ENTRY:
                yield Lines(tuple(_act_lines(session, visit, act)))
    ends = tuple(each for visit in session.visits for each in _end_lines(visit, several=several))
    if ends:
        yield Lines(ends)


def driver_lines(driver: LoadedDriver) -> Iterator[Line]:
    """Where a driver is, and what it lacks."""
    entry = driver.image.locate(driver.image.entry)
    yield line(
        Cell(driver.name, Role.TITLE),
        "  ",
        size_cell(driver.size),
        " at ",
        address_cell(driver.base),
        ", entry ",
        address_cell(driver.entry),
        Cell(_source(entry), Role.SYMBOL),
    )
    lacking = len(driver.missing)
    note = Cell(f"{lacking} missing", Role.WARNING) if lacking else Cell("all bound")
    yield line(Cell(f"  {plural(len(driver.imports), 'import')}, ", Role.MUTED), note)
    for each in driver.missing:
        yield line(Cell(f"  ! {each.name}", Role.WARNING), Cell("  calling it will stop the guest", Role.MUTED))
    for text in driver.image.problems:
        yield line(Cell(f"  ! {text}", Role.WARNING))


def _source(entry: Location | None) -> str:
    if entry is None:
        return ""
    return f"  {entry.function}" + (f" ({entry.file}:{entry.line})" if entry.file else "")


def _act_lines(session: Session, visit: Visit, act: Act) -> Iterator[Line]:
    """A function of a driver: how it ended, then what it printed and called, then what it changed."""
    kernel, several = session.machine.kernel, len(session.visits) > 1
    owner = f"{visit.driver.name}: " if several else ""
    yield line(Cell(f"{owner}{act.function}", Role.TITLE), *_outcome(kernel, act))
    if act.lost:
        yield line(Cell(f"  ({plural(act.lost, 'earlier memory call')} not kept)", Role.WARNING))
    for event in act.events:
        if isinstance(event, str):
            yield line("  ", Cell(event))
        else:
            yield from _call_lines(visit, event)
    if act.changes:
        yield line(Cell("  page tables, before and after:", Role.MUTED))
    elif act.status is not None and act.function != UNLOAD:
        yield line(Cell("  page tables: as before", Role.MUTED))
    for change in act.changes:
        yield from ((Cell("  "), *each) for each in change_lines(change))


def _outcome(kernel: KernelImage, act: Act) -> Line:
    if act.status is None:
        return line(Cell("  did not return", Role.BAD))
    role = Role.BAD if act.status & 0x80000000 else Role.GOOD
    text = ntstatus(kernel, act.status)
    if act.function == UNLOAD and act.status == INVALID_DEVICE_REQUEST:
        return line(Cell("  there is none, so it stays", Role.WARNING))
    return line("  ", Cell(text, role))


def _call_lines(visit: Visit, call: MemoryCall) -> Iterator[Line]:
    place = visit.driver.image.locate(call.caller - visit.driver.base - 1)
    where = f"{place.file}:{place.line}" if place and place.file else f"+{call.caller - visit.driver.base:#x}"
    first, *more = textwrap.wrap(call.text, WIDTH - len(where), subsequent_indent="    ")
    yield line(Cell(f"  {where}  ", Role.MUTED), Cell(first, Role.SYMBOL))
    yield from (line(Cell(f"  {' ' * len(where)}  {each}", Role.SYMBOL)) for each in more)
    if not call.returned:
        yield line(Cell("    did not return", Role.BAD))
    elif call.result is not None:
        yield line("    = ", Cell(call.result, Role.NUMBER))
    if call.lost:
        yield line(Cell(f"    ({plural(call.lost, 'earlier change')} not kept)", Role.WARNING))
    for change in call.changes[:MOST_CHANGES]:
        yield from ((Cell("    "), *each) for each in change_lines(change))
    if len(call.changes) > MOST_CHANGES:
        yield line(Cell(f"    … and {len(call.changes) - MOST_CHANGES} more entries", Role.MUTED))


def _end_lines(visit: Visit, *, several: bool) -> Iterator[Line]:
    if visit.leaks is None:
        return
    owner = f"{visit.driver.name} " if several else ""
    if not visit.leaks:
        yield line(Cell("✓ ", Role.GOOD), f"{owner}left nothing behind")
        return
    yield line(Cell("✗ ", Role.BAD), Cell(f"{owner}left behind:", Role.TITLE))
    for leak in visit.leaks:
        yield line(Cell(f"  {leak.text}", Role.WARNING))


# ------------------------------------------------------------------------------------------------------------ JSON ----


def _visit_data(kernel: KernelImage, visit: Visit) -> dict[str, Json]:
    return {
        **driver_data(kernel, visit.driver),
        "log": [text for act in visit.acts for text in act.log],
        "leaks": [each.to_json() for each in visit.leaks or ()],
        "unloaded": visit.leaks is not None,
        "calls": [_act_data(kernel, act) for act in visit.acts],
    }


def driver_data(kernel: KernelImage, driver: LoadedDriver) -> dict[str, Json]:
    """A driver that was placed, and what its DriverEntry said; `status` is null where that did not return."""
    status = driver.status
    return {
        "name": driver.name,
        "status": None if status is None else f"{status:#010x}",
        "status_name": None if status is None else ntstatus_name(kernel, status),
        "base": hex(driver.base),
        "size": driver.size,
        "entry": hex(driver.entry),
        "imports": [
            {"dll": each.dll, "name": each.name, "bound": each not in driver.missing} for each in driver.imports
        ],
    }


def _act_data(kernel: KernelImage, act: Act) -> dict[str, Json]:
    return {
        "function": act.function,
        "status": None if act.status is None else f"{act.status:#010x}",
        "status_name": None if act.status is None else ntstatus_name(kernel, act.status),
        "log": list(act.log),
        "changes": [change_data(each) for each in act.changes],
        "memory_calls": [
            {
                "function": each.function,
                "text": each.text,
                "caller": hex(each.caller),
                "returned": each.returned,
                "result": each.result,
                "changes": [change_data(change) for change in each.changes],
                "changes_lost": each.lost,
            }
            for each in act.calls
        ],
        "memory_calls_lost": act.lost,
    }
