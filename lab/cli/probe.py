"""`lab probe`: run a few instructions of one's own in the guest, and see what the CPU makes of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lab.cli.common import emit, machine_options, make_machine_options, name_option, output_options

if TYPE_CHECKING:
    from lab.machine import Machine, MachineOptions

__all__ = ["command"]


@click.command()
@click.argument("assembly")
@click.option("--user", is_flag=True, help="Run at CPL 3 instead of 0.")
@click.option(
    "--reg", "registers", multiple=True, metavar="NAME=ADDR", help="A register to begin with; may be repeated."
)
@click.option("--control", "controls", multiple=True, metavar="BIT=0|1", help="A control bit, such as CR0.WP=0.")
@click.option("--ac", is_flag=True, help="Set RFLAGS.AC: SMAP lets the supervisor through.")
@click.option("--pkru", metavar="N", help="Turn protection keys on, with these rights.")
@click.option("--cr3", metavar="PA", help="Another root table, or CR3 value; it must share the kernel's half.")
@click.option("--timeout", type=float, default=5.0, show_default=True, help="Seconds until the probe is ended.")
@click.option("--fresh", is_flag=True, help="On a fresh machine, even if one runs in the background.")
@name_option
@output_options
@machine_options
@click.pass_context
def command(context: click.Context, /, assembly: str, *, as_json: bool, color: str, **options: Any) -> int:
    """Assemble instructions, run them in the guest, and show what changed or the exception that ended them.

    They run on the background machine. Where none runs, with --fresh, or when an option describes a machine, they run
    on a fresh one that is gone afterwards.

    ASSEMBLY is in Intel's syntax, statements between semicolons or on lines, `-` reads it from stdin; the kernel's
    symbols are known in it. An ADDR is a number or an address expression. The exit code is 1 when an exception ended
    the probe.

    \b
    Examples:
      lab probe 'mov rax, [rdi]' --reg rdi=0x1234
      lab probe 'mov [rdi], rax' --reg rdi=KeBugCheckEx --control CR0.WP=0
    """  # noqa: D301 - click looks for the character itself
    from lab.machine.answers import probe_choices
    from lab.machine.probe_report import probe_report

    source = sys.stdin.read() if assembly == "-" else assembly
    fresh = options["fresh"] or _describes_machine(context)
    with _machine(options["machine_name"], make_machine_options(options), fresh=fresh) as machine:
        choices = probe_choices(
            machine, options["registers"], options["controls"], root=options["cr3"], pkru=options["pkru"]
        )
        result = machine.probe(source, user=options["user"], ac=options["ac"], timeout=options["timeout"], **choices)
        report = probe_report(machine, result)
    return emit(report, as_json=as_json, color=color)


def _describes_machine(context: click.Context) -> bool:
    """Whether an option was given that says what machine to boot."""
    names = ("qemu", "kernel", "accel", "cpu", "ram", "machine", "verifier", "la57")
    return any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in names)


def _machine(name: str | None, options: MachineOptions, *, fresh: bool) -> Machine:
    """The background machine, or one of our own."""
    from lab.errors import NoSuchMachine
    from lab.machine import Machine, attach

    if fresh and name is not None:
        raise click.UsageError(
            "--name chooses a machine that runs; it goes with neither --fresh nor options for a new one"
        )
    if fresh:
        return Machine(options)
    try:
        return attach(name)
    except NoSuchMachine:
        if name is not None:
            raise
        return Machine(options)
