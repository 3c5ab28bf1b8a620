"""`lab boot`: a machine that goes on in the background."""

from __future__ import annotations

from typing import Any

import click

from lab.cli.common import machine_options, make_machine_options

__all__ = ["command"]


@click.command()
@click.argument("name", default="lab")
@machine_options
def command(name: str, **options: Any) -> None:
    """Boot a machine that runs in the background until `lab stop`.

    The views, `lab call` and `lab shell` then work on it. NAME tells it from others; `lab` unless given.
    """
    from lab.machine import boot

    boot(name, make_machine_options(options)).close()
    click.echo(f"{name} is running; look into it with `lab map`, end it with `lab stop`")
