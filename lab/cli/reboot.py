"""`lab reboot`: end a background machine and boot it anew."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Boot a background machine anew, with the same options and the kernel as it is built now."""
    from lab.machine import reboot

    machine = reboot(name)
    machine.close()
    click.echo(f"{machine.name} is running anew")
