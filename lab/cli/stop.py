"""`lab stop`: end background machines."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.option("--all", "every", is_flag=True, help="End every background machine.")
def command(names: tuple[str, ...], every: bool) -> None:
    """End background machines by name; the only one where no name is given."""
    from lab.machine import machines, stop

    if every and names:
        raise click.UsageError("give names or --all, not both")
    chosen: list[str | None] = [each.name for each in machines()] if every else list(names) or [None]
    for name in chosen:
        click.echo(f"stopped {stop(name)}")
