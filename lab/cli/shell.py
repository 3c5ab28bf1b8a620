"""`lab shell`: Python with a machine at hand."""

from __future__ import annotations

import click

from lab.cli.common import name_option

__all__ = ["command"]

BANNER = """\
machine   the running machine {name!r}: machine.call.MmIsAddressValid(0), machine.gdb, machine.qmp
snapshot  a function: the machine as it is now; snapshot().walk(va(0xfffff78000000000))
show      any view: show("walk", address="KeBugCheckEx")
va, pa    make virtual and physical addresses"""


@click.command()
@name_option
def command(machine_name: str | None) -> None:
    """Open Python with the running machine as `machine`; reads a script from stdin when that is no terminal."""
    import code
    import gc
    import sys

    from lab.machine import attach
    from lab.render.text import render_text
    from lab.views import find_view
    from lab.x86.address import PhysicalAddress, VirtualAddress

    gc.enable()
    with attach(machine_name) as machine:

        def show(view: str, **arguments: str | int | bool | None) -> None:
            with machine.paused():
                found = find_view(view)
                if found is None:
                    raise click.UsageError(f"there is no view {view!r}")
                report = found.run(machine.snapshot(), arguments)
            click.echo(render_text(report, color=sys.stdout.isatty()), nl=False)

        names = {
            "machine": machine,
            "snapshot": machine.snapshot,
            "show": show,
            "va": VirtualAddress,
            "pa": PhysicalAddress,
        }
        if sys.stdin.isatty():
            code.interact(banner=BANNER.format(name=machine.name), local=names, exitmsg="")
        else:
            exec(compile(sys.stdin.read(), "<stdin>", "exec"), names)  # noqa: S102 - running it is the verb's purpose
