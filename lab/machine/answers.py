"""What a running guest answers when it is asked to do something, as Reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.kernel.values import format_value, parse_value
from lab.machine.mailbox import PAGE_FAULT, GuestException
from lab.machine.probe_report import exception_data
from lab.views.cells import walk_line
from lab.views.report import Cell, Json, Line, Lines, Report, Role
from lab.x86.address import VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.image import Export
    from lab.machine.calls import CallResult
    from lab.machine.machine import Machine

__all__ = ["call_report"]


def call_report(machine: Machine, function: str, arguments: Sequence[str]) -> Report:
    """Call an exported function with arguments as a person types them: lab.call/1, answer False when it faulted.

    Raises what `machine.call` does, and UsageError or AddressError for an argument that cannot be understood.
    """
    export = machine.kernel.export(function)
    result = machine.call(function, *_values(machine, export, arguments))
    data: dict[str, Json] = {"function": export.name, "result": hex(result.result)}
    if result.exception is not None:
        data["exception"] = exception_data(result.exception)
        lines = tuple(_exception_lines(machine, result.exception))
        return Report("lab.call/1", data, (Lines(lines),), answer=False)
    text = _result_text(machine, export, result)
    if text is None:
        data["result"] = None
    line = (Cell(f"{export.name} = "), Cell("returned" if text is None else text, Role.NUMBER))
    return Report("lab.call/1", data, (Lines((line,)),))


def _values(machine: Machine, export: Export, arguments: Sequence[str]) -> list[int | str]:
    parameters = export.signature.parameters if export.signature else ()
    padded = [*parameters, *[("", None)] * (len(arguments) - len(parameters))]
    return [
        parse_value(machine.kernel, type_, name, text, lambda each: machine.snapshot().resolve(each))
        for (name, type_), text in zip(padded, arguments, strict=False)
    ]


def _result_text(machine: Machine, export: Export, result: CallResult) -> str | None:
    """The result as its type prints; None for a function that has none."""
    returns = export.signature.returns if export.signature else None
    if returns is None:
        return hex(result.raw)
    return None if returns.kind == "void" else format_value(machine.kernel, returns, result.raw)


def _exception_lines(machine: Machine, exception: GuestException) -> list[Line]:
    symbol = machine.kernel.describe(exception.registers.rip)
    lines: list[Line] = [(Cell(str(exception), Role.BAD), Cell(f" ({symbol})" if symbol else ""))]
    if exception.vector == PAGE_FAULT:
        lines += [walk_line(line) for line in machine.snapshot().walk(VirtualAddress(exception.cr2)).lines()]
    return lines
