"""`lab call`: call an exported guest function or command under the fault guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lab.cli.common import emit, name_option, output_options

if TYPE_CHECKING:
    from lab.kernel.image import Export
    from lab.machine import CallResult, GuestException, Machine
    from lab.views.report import Json, Line, Report

__all__ = ["command"]


@click.command()
@click.argument("function")
@click.argument("arguments", nargs=-1, metavar="[ARG…]")
@name_option
@output_options
def command(function: str, arguments: tuple[str, ...], machine_name: str | None, as_json: bool, color: str) -> int:
    """Call an exported guest function or a command; a fault inside it is caught and shown.

    An ARG is a number, an enum name, a pool tag such as Lab1, a string where the function takes one, or an address
    expression. `lab symbols --exports` lists what can be called.

    \b
    Example:
      lab call ExAllocatePoolWithTag NonPagedPoolNx 4096 Lab1
    """  # noqa: D301 - click looks for the character itself
    from lab.machine import attach

    with attach(machine_name) as machine:
        export = machine.kernel.export(function)
        result = machine.call(function, *_values(machine, export, arguments))
        report = _report(machine, export, result)
    return emit(report, as_json=as_json, color=color)


def _values(machine: Machine, export: Export, arguments: tuple[str, ...]) -> list[int | str]:
    from lab.kernel.values import parse_value

    parameters = export.signature.parameters if export.signature else ()
    padded = [*parameters, *[("", None)] * (len(arguments) - len(parameters))]
    return [
        parse_value(machine.kernel, type_, name, text, lambda each: machine.snapshot().resolve(each))
        for (name, type_), text in zip(padded, arguments, strict=False)
    ]


def _report(machine: Machine, export: Export, result: CallResult) -> Report:
    from lab.kernel.values import format_value
    from lab.views.report import Cell, Lines, Report, Role

    data: dict[str, Json] = {"function": export.name, "result": hex(result.result)}
    if result.exception is not None:
        data["exception"] = _exception_data(result.exception)
        lines = tuple(_exception_lines(machine, result.exception))
        return Report("lab.call/1", data, (Lines(lines),), answer=False)
    returns = export.signature.returns if export.signature else None
    if returns is not None and returns.kind == "void":
        data["result"] = None
        text = "returned"
    else:
        text = format_value(machine.kernel, returns, result.raw) if returns else hex(result.raw)
    return Report("lab.call/1", data, (Lines(((Cell(f"{export.name} = "), Cell(text, Role.NUMBER)),)),))


def _exception_data(exception: GuestException) -> dict[str, Json]:
    from lab.machine.mailbox import PAGE_FAULT
    from lab.x86.registers import PageFaultCode

    bits = PageFaultCode(exception.error_code).names() if exception.vector == PAGE_FAULT else ()
    return {
        "vector": exception.vector,
        "name": exception.name,
        "error_code": hex(exception.error_code),
        "bits": list(bits),
        "cr2": hex(exception.cr2),
        "rip": hex(exception.registers.rip),
    }


def _exception_lines(machine: Machine, exception: GuestException) -> list[Line]:
    from lab.machine.mailbox import PAGE_FAULT
    from lab.views.report import Cell, Role
    from lab.x86.address import VirtualAddress

    symbol = machine.kernel.describe(exception.registers.rip)
    lines: list[Line] = [(Cell(str(exception), Role.BAD), Cell(f" ({symbol})" if symbol else ""))]
    if exception.vector == PAGE_FAULT:
        lines += [(Cell(line),) for line in machine.snapshot().walk(VirtualAddress(exception.cr2)).lines()]
    return lines
