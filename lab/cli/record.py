"""`lab record`: play a scenario on a fresh machine, and keep every moment of it in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import ScenarioVerbs, click_parameter, machine_options, make_machine_options
from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.machine import MachineOptions
    from lab.scenarios.registry import Scenario
    from lab.timeline import Timeline

__all__ = ["command"]


def _scenario_command(scenario: Scenario) -> click.Command:
    @click.option(
        "-o",
        "--output",
        metavar="FILE.lab",
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path(f"{scenario.name}.lab"),
        show_default=True,
        help="Where to write it.",
    )
    @machine_options
    def record(output: Path, **options: Any) -> int:
        from lab.timeline.recording import write

        if not output.parent.is_dir():  # said now rather than when all has been played
            raise UsageError(f"cannot write {output}: there is no folder {output.parent}; give a file in one that is")
        timeline = _play(scenario, make_machine_options(options), options)
        write(timeline, output)
        end = {"bugcheck": ", to a bug check", "timeout": ", to where the guest did not answer any more"}
        size = output.stat().st_size / 1024
        click.echo(f"{output}: {len(timeline)} moments{end.get(timeline.outcome, '')}, {size:.0f} KiB")
        return 0

    found = click.command(scenario.name, help=scenario.help, short_help=scenario.summary)(record)
    found.params[:0] = [click_parameter(each) for each in scenario.parameters]
    return found


def _play(scenario: Scenario, options: MachineOptions, arguments: dict[str, Any]) -> Timeline:
    """Play to the end, and say each step as it is done."""
    machine = scenario.machine(options).launch()
    from lab.timeline.recorder import Recorder  # takes its time, and QEMU and gdb need some too

    with machine:
        recorder = Recorder(scenario, machine, arguments)
        return recorder.finish(lambda moment: click.echo(f"{moment.number:>3}  {moment.step.title}"))


@click.group(cls=ScenarioVerbs, make=_scenario_command)
def command() -> None:
    """Play a scenario on a fresh machine, and keep every moment of it in a file.

    All views look into such a file by --from FILE.lab@N, on any computer, without QEMU.
    """
