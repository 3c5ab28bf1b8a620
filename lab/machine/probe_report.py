"""A probe as a report: what ran, which registers changed, or the exception and the walk that explains it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.machine.mailbox import PAGE_FAULT
from lab.views.cells import line, walk_line
from lab.views.report import Block, Cell, Json, Line, Lines, Report, Role
from lab.views.walk import walk_data
from lab.x86.levels import KIB
from lab.x86.registers import RFLAGS, PageFaultCode

if TYPE_CHECKING:
    from lab.machine.machine import Machine
    from lab.machine.mailbox import GuestException
    from lab.machine.probe import ProbeResult
    from lab.paging import Prediction

__all__ = ["probe_report", "exception_data"]

SCHEMA = "lab.probe/1"

WIDTH = 112
"""Columns of what is said of an exception; the rest goes on in the next line."""


def probe_report(machine: Machine, result: ProbeResult) -> Report:
    """The report; the answer is no where the probe ended in an exception."""
    blocks: list[Block] = [Lines(tuple(_code_lines(result)))]
    changes = tuple(_change_lines(result))
    if changes:
        blocks.append(Lines(changes))
    data: dict[str, Json] = {
        "outcome": "ok" if result.ok else "exception",
        "cpl": 3 if result.user else 0,
        "root": hex(result.root),
        "code": [
            {"offset": each.address - result.code[0].address, "bytes": each.code.hex(), "text": str(each)}
            for each in result.code
        ],
        "registers": {name: hex(value) for name, value in result.registers.as_dict().items() if name in _SHOWN},
        "changed": {name: [hex(each) for each in pair] for name, pair in result.changed.items()},
    }
    if result.exception is not None:
        data["exception"] = {**exception_data(result.exception), "offset": result.offset}
        blocks.append(Lines(tuple(_exception_lines(machine, result))))
    if result.walk is not None:
        data["walk"] = walk_data(result.walk, machine.snapshot())
        data["prediction"] = _prediction_data(result)
    return Report(SCHEMA, data, tuple(blocks), answer=result.ok)


_SHOWN = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip", "rflags")


def exception_data(exception: GuestException) -> dict[str, Json]:
    """An exception as `lab.probe/1` and `lab.call/1` have it."""
    bits = PageFaultCode(exception.error_code).names() if exception.vector == PAGE_FAULT else ()
    return {
        "vector": exception.vector,
        "name": exception.name,
        "error_code": hex(exception.error_code),
        "bits": list(bits),
        "cr2": hex(exception.cr2),
        "rip": hex(exception.registers.rip),
    }


def _code_lines(result: ProbeResult) -> Iterator[Line]:
    """The instructions, the one that the exception is about marked."""
    width = max((3 * len(each.code) for each in result.code), default=0)
    for each in result.code:
        here = not result.ok and each == result.instruction
        yield line(
            Cell("→ " if here else "  ", Role.BAD),
            Cell(f"+{each.address - result.code[0].address:<#5x}", Role.MUTED),
            Cell(f"{each.code.hex(' '):<{width}} ", Role.MUTED),
            Cell(str(each), Role.TITLE if here else Role.PLAIN),
        )


def _change_lines(result: ProbeResult) -> Iterator[Line]:
    for name, (old, new) in result.changed.items():
        flags = f"  {' '.join(RFLAGS(new).names())}" if name == "rflags" else ""
        yield line("  ", Cell(f"{name:<6}", Role.LABEL), f" {old:#x} → ", Cell(f"{new:#x}", Role.NUMBER), flags)


def _exception_lines(machine: Machine, result: ProbeResult) -> Iterator[Line]:
    symbol = None if result.instruction else machine.kernel.describe(result.registers.rip)
    *before, last = textwrap.wrap(str(result), WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    yield from (line(Cell(each, Role.BAD)) for each in before)
    yield line(Cell(last, Role.BAD), Cell(f" ({symbol})" if symbol else "", Role.SYMBOL))
    if own := _own_page(machine, result):
        yield line(f"  that is {own}")
    if result.prediction is None:
        return
    yield from map(walk_line, result.prediction.walk.lines())
    yield from _verdict_lines(result, result.prediction)


def _own_page(machine: Machine, result: ProbeResult) -> str:
    """What the address of a page fault was for the probe itself, "" where it was nothing of it."""
    if result.exception is None or result.exception.vector != PAGE_FAULT:
        return ""
    page, constant = (result.exception.cr2 - result.before.rip) // KIB // 4, machine.kernel.constant
    if constant("CODE_PAGE") < page < constant("STACK_PAGE"):
        return "between the probe's code and its stack: nothing is mapped there"
    own = {constant("CODE_PAGE"): "the page of the probe's code, r-x", constant("STACK_PAGE"): "its stack, rw-"}
    return own.get(page, "")


def _verdict_lines(result: ProbeResult, prediction: Prediction) -> Iterator[Line]:
    """The manual's own reason, and what it would have raised where the CPU did something else."""
    yield line(f"  {prediction}")
    if result.exception is None or prediction.accepts(result.exception.vector, result.exception.error_code):
        return
    why = (
        f"; {result.quirk}: {result.quirk.sentence}" if result.quirk else ", and no known quirk explains the difference"
    )
    yield line("  ", Cell(f"the manual says {prediction.fault or 'no fault'}{why}", Role.WARNING))


def _prediction_data(result: ProbeResult) -> dict[str, Json]:
    prediction = result.prediction
    return {
        "sentence": str(prediction),
        "fault": prediction.fault if prediction else "",
        "quirk": str(result.quirk) if result.quirk else None,
    }
