"""`lab shell`: Python with a machine at hand."""

from __future__ import annotations

from typing import Any

import click

from lab.cli.common import name_option
from lab.errors import LabError, UsageError

__all__ = ["command"]

BANNER = """\
machine   the running machine {name!r}: machine.call.MmIsAddressValid(0), machine.gdb, machine.qmp
snapshot  a function: the machine as it is now; snapshot().walk(va(0xfffff78000000000))
show      any view: show("walk", address="KeBugCheckEx")
va, pa    make virtual and physical addresses"""


@click.command()
@name_option
def command(machine_name: str | None) -> int:
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
                    raise UsageError(f"there is no view {view!r}")
                report = found.run(machine.snapshot(), arguments)
            click.echo(render_text(report, color=sys.stdout.isatty()), nl=False)

        names = {
            "__name__": "__main__",
            "machine": machine,
            "snapshot": machine.snapshot,
            "show": show,
            "va": VirtualAddress,
            "pa": PhysicalAddress,
        }
        if sys.stdin.isatty():
            code.interact(banner=BANNER.format(name=machine.name), local=names, exitmsg="")
            return 0
        return _run_script(sys.stdin.buffer.read(), names)


def _run_script(source: bytes, names: dict[str, Any]) -> int:
    """Run a script as `python` does: a traceback of it alone for what it does not catch, and SystemExit is its end."""
    import traceback

    try:
        exec(compile(source, "<stdin>", "exec", dont_inherit=True), names)  # noqa: S102 - this is the verb's purpose
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the script's own
        ours = error.__traceback__
        traceback.print_exception(error.with_traceback(ours and ours.tb_next))
        return error.exit_code if isinstance(error, LabError) else 1
    return 0
