"""What a running guest answers when it is asked to do something, as Reports."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lab.errors import UsageError
from lab.kernel.values import format_value, parse_value, takes_physical, takes_virtual
from lab.machine.mailbox import PAGE_FAULT, GuestException
from lab.machine.probe import SETTABLE
from lab.machine.probe_report import exception_data, probe_report
from lab.views.cells import walk_line
from lab.views.report import Cell, Json, Line, Lines, Report, Role
from lab.x86.address import PhysicalAddress, VirtualAddress

if TYPE_CHECKING:
    from lab.kernel.image import Export, Type
    from lab.machine.calls import CallResult
    from lab.machine.machine import Machine

__all__ = ["call_report", "probe_answer", "probe_choices"]


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


def probe_answer(machine: Machine, words: Sequence[str]) -> Report:
    """Run a probe as a person types it, with the options of `lab probe`: lab.probe/1, answer False when it faulted.

    Raises what `Machine.probe` does, and UsageError for words that cannot be understood.
    """
    given: dict[str, list[str]] = {"": [], **{name: [] for name in (*_PROBE_FLAGS, *_PROBE_OPTIONS)}}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if name not in given:
            raise UsageError(f"`probe` has no option {name}; it has {', '.join((*_PROBE_FLAGS, *_PROBE_OPTIONS))}")
        if name in _PROBE_OPTIONS and not equals:
            value = next(rest, "")
        given[name].append(value)
    if len(given[""]) != 1:
        raise UsageError("`probe` takes one text, its instructions, such as 'mov rax, [rdi]' --reg rdi=0x1234")
    choices = probe_choices(
        machine, given["--reg"], given["--control"], root=_last(given["--cr3"]), pkru=_last(given["--pkru"])
    )
    result = machine.probe(given[""][0], user=bool(given["--user"]), ac=bool(given["--ac"]), **choices)
    return probe_report(machine, result)


_PROBE_FLAGS = ("--user", "--ac")
_PROBE_OPTIONS = ("--reg", "--control", "--cr3", "--pkru")


def _last(values: Sequence[str]) -> str | None:
    return values[-1] if values else None


def probe_choices(
    machine: Machine,
    registers: Sequence[str],
    controls: Sequence[str],
    *,
    root: str | None = None,
    pkru: str | None = None,
) -> dict[str, Any]:
    """What was typed for a probe (`rdi=KeBugCheckEx`, `CR0.WP=0`, addresses) as keywords of `Machine.probe`.

    Raises UsageError or AddressError for what cannot be understood.
    """
    return {
        "root": None if root is None else _root(machine, root),
        "controls": dict(_control(each) for each in controls),
        "pkru": None if pkru is None else _number(machine, pkru),
        **dict(_register(machine, each) for each in registers),
    }


def _root(machine: Machine, text: str) -> int:
    snapshot = machine.snapshot()
    return snapshot.root(snapshot.resolve_physical(text))


def _register(machine: Machine, text: str) -> tuple[str, int]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--reg {text!r} is not NAME=ADDR, such as rdi=0x1234")
    if name not in SETTABLE:
        raise UsageError(f"--reg {text!r} names no register of a probe; there are {', '.join(SETTABLE)}")
    return name, _number(machine, value)


def _control(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if value not in {"0", "1"}:
        raise UsageError(f"--control {text!r} is not BIT=0 or BIT=1, such as CR0.WP=0")
    return name.upper(), int(value)


def _number(machine: Machine, text: str) -> int:
    """A number, or what an address expression stands for."""
    try:
        return int(text.replace("_", ""), 0)
    except ValueError:
        return int(machine.snapshot().resolve(text))


def _values(machine: Machine, export: Export, arguments: Sequence[str]) -> list[int | str]:
    parameters = export.signature.parameters if export.signature else ()
    padded = [*parameters, *[("", None)] * (len(arguments) - len(parameters))]
    return [
        parse_value(machine.kernel, type_, name, text, partial(_address, machine, type_, name))
        for (name, type_), text in zip(padded, arguments, strict=False)
    ]


def _address(machine: Machine, type_: Type | None, name: str, text: str) -> int:
    """What an address expression stands for as the argument of a parameter."""
    snapshot = machine.snapshot()
    if takes_physical(type_, name):
        return int(snapshot.resolve_physical(text))
    target = type_.target if type_ is not None else None
    found = snapshot.resolve(text, mdl_itself=target is not None and target.tag == "_MDL")
    if isinstance(found, PhysicalAddress) and takes_virtual(type_, name):
        raise UsageError(f"{name} takes a virtual address, and {text} is a physical one; try: lab aliases {found}")
    return int(found)


def _result_text(machine: Machine, export: Export, result: CallResult) -> str | None:
    """The result as its type prints; None for a function that has none."""
    returns = export.signature.returns if export.signature else None
    if returns is None:
        return hex(result.raw)
    return None if returns.kind == "void" else format_value(machine.kernel, returns, result.raw)


def _exception_lines(machine: Machine, exception: GuestException) -> list[Line]:
    symbol = exception.symbol(machine.kernel)
    lines: list[Line] = [(Cell(str(exception), Role.BAD), Cell(f" ({symbol})" if symbol else ""))]
    if exception.vector == PAGE_FAULT:
        lines += [walk_line(line) for line in machine.snapshot().walk(VirtualAddress(exception.cr2)).lines()]
    return lines
