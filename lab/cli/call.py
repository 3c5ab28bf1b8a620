"""`lab call`: call an exported guest function or command under the fault guard."""

from __future__ import annotations

import click

from lab.cli.common import emit, name_option, output_options

__all__ = ["command"]


@click.command()
@click.argument("function")
@click.argument("arguments", nargs=-1, metavar="[ARG…]")
@name_option
@output_options
def command(function: str, arguments: tuple[str, ...], machine_name: str | None, as_json: bool, color: str) -> int:
    """Call an exported guest function or a command; a fault inside it is caught and shown.

    An ARG is a number, an enum name, a pool tag such as Lab1, a string where the function takes one, or an address
    expression; for a PMDL, mdl:0 is the MDL itself. `lab symbols --exports` lists what can be called.

    \b
    Example:
      lab call ExAllocatePoolWithTag NonPagedPoolNx 4096 Lab1
    """  # noqa: D301 - click looks for the character itself
    from lab.machine import attach

    with attach(machine_name) as machine:
        from lab.machine.answers import call_report

        report = call_report(machine, function, arguments)
    return emit(report, as_json=as_json, color=color)
