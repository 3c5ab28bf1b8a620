"""`lab run`: boot a fresh machine, play a scenario on it, show each step, power off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lab.cli.common import (
    ScenarioVerbs,
    click_parameter,
    language_option,
    machine_options,
    make_machine_options,
    output_options,
    wants_colour,
)
from lab.errors import GuestStopped, GuestTimeout
from lab.scenarios import DEFAULT_SCENARIO

if TYPE_CHECKING:
    from lab.machine import Machine, MachineOptions
    from lab.scenarios.registry import Scenario
    from lab.scenarios.step import Step

__all__ = ["command"]


def _scenario_command(scenario: Scenario) -> click.Command:
    @machine_options
    @language_option
    @output_options
    def play(as_json: bool, color: str, language: str, **options: Any) -> int:
        machine = make_machine_options(options)
        if as_json:
            return _print_json(scenario, machine, options, language)
        return _print_text(scenario, machine, options, language, colour=wants_colour(color))

    found = click.command(scenario.name, help=scenario.help, short_help=scenario.summary)(play)
    found.params[:0] = [click_parameter(each) for each in scenario.parameters]
    return found


@click.group(cls=ScenarioVerbs, make=_scenario_command, default=DEFAULT_SCENARIO)
def command() -> None:
    """Boot a fresh machine, play a scenario, show what changed, power off.

    Without a name the scenario is mdl-remap: one frame, two addresses.
    """


def _steps(scenario: Scenario, machine: Machine, arguments: dict[str, Any]) -> Iterator[Step]:
    from lab.scenarios.stage import Stage

    with machine:
        yield from scenario.play(Stage(machine), **arguments)


# Both launch the machine before anything else: what they import takes as long as the start of QEMU and gdb.


def _print_text(
    scenario: Scenario, options: MachineOptions, arguments: dict[str, Any], language: str, *, colour: bool
) -> int:
    machine = scenario.machine(options).launch()
    from lab.scenarios.step import step_text

    click.echo(f"{scenario.name}: {scenario.title.in_language(language)}.\n")
    for step in _steps(scenario, machine, arguments):
        click.echo(step_text(step, color=colour, language=language), color=True)
    return 0


def _print_json(scenario: Scenario, options: MachineOptions, arguments: dict[str, Any], language: str) -> int:
    machine = scenario.machine(options).launch()
    from lab.render.json import render_json
    from lab.scenarios.step import run_report

    steps: list[Step] = []
    outcome, code, message = "ok", 0, ""
    try:
        steps.extend(_steps(scenario, machine, arguments))
    except (GuestStopped, GuestTimeout) as error:
        outcome = "bugcheck" if isinstance(error, GuestStopped) else "timeout"
        code, message = error.exit_code, str(error)
    click.echo(render_json(run_report(scenario.name, steps, outcome, message, language=language)), nl=False)
    return code
