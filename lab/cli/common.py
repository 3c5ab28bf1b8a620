"""What verbs share: output options, the choice or making of a machine, and verbs made from views."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lab.errors import UsageError
from lab.views.registry import Kind, Parameter

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from lab.machine import MachineOptions
    from lab.scenarios.registry import Scenario
    from lab.snapshot import Snapshot
    from lab.views.registry import View
    from lab.views.report import Report

__all__ = [
    "output_options",
    "picture_options",
    "name_option",
    "source_options",
    "open_snapshot",
    "check_source",
    "ScenarioVerbs",
    "language_option",
    "machine_options",
    "make_machine_options",
    "click_parameter",
    "view_command",
    "emit",
    "write_file",
    "wants_colour",
]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def output_options(function: Decorated) -> Decorated:
    """Add `--json` and `--color`; the function receives `as_json: bool` and `color: str`."""
    function = click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="Colour the text; auto: on a terminal, unless NO_COLOR is set.",
    )(function)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)


def picture_options(function: Decorated) -> Decorated:
    """Add `--html` and `--svg`; the function receives `html: str | None` and `svg: str | None`."""
    for name, what in (("svg", "a picture"), ("html", "a page")):
        function = click.option(
            f"--{name}", metavar="FILE", type=click.Path(dir_okay=False), help=f"Write {what} instead of text."
        )(function)
    return function


def name_option(function: Decorated) -> Decorated:
    """Add `--name`; the function receives `machine_name: str | None`."""
    return click.option(
        "--name",
        "machine_name",
        metavar="NAME",
        help="Which background machine; may be left out where only one runs.",
    )(function)


def source_options(function: Decorated) -> Decorated:
    """Add `--name`, `--from` and `--attach`; `open_snapshot` takes their values out of the arguments again."""
    function = click.option(
        "--attach",
        "socket",
        metavar="QMP_SOCKET",
        help="Look into the guest of any QEMU instead, by its QMP socket.",
    )(function)
    function = click.option(
        "--from",
        "recording",
        metavar="FILE.lab[@N]",
        help="Look into a recording instead: its moment N, else its last one.",
    )(function)
    return name_option(function)


_SOURCES = {"machine_name": "--name", "recording": "--from", "socket": "--attach"}
"""What `source_options` takes, and by which options."""


@contextmanager
def open_snapshot(options: dict[str, Any]) -> Iterator[Snapshot]:
    """What a view is to look at: a machine, which stands still meanwhile, or a moment of a recording.

    UsageError when several are asked for, and what `attach`, `read` and `attached_snapshot` raise.
    """
    check_source(options)
    name, recorded, socket = (options.pop(each) for each in _SOURCES)
    if recorded is not None:
        yield _recorded_snapshot(recorded)
        return
    if socket is not None:
        from pathlib import Path

        from lab.machine.foreign import attached_snapshot

        with attached_snapshot(Path(socket)) as snapshot:
            yield snapshot
        return
    from lab.machine import attach

    with attach(name) as machine, machine.paused():
        yield machine.snapshot()


def check_source(options: Mapping[str, Any]) -> None:
    """UsageError when what `source_options` took names more than one place to look."""
    given = [flag for name, flag in _SOURCES.items() if options[name] is not None]
    if len(given) > 1:
        raise UsageError(f"give one of {' and '.join(given)}, not both: each says where to look")


def _recorded_snapshot(recorded: str) -> Snapshot:
    from lab.timeline.recording import Place, read

    place = Place.parse(recorded)
    if place.last is not None:
        raise UsageError(f"a view shows one moment, such as {place.path}@{place.last}; lab changes compares two")
    timeline = read(place.path)
    return timeline.snapshot(len(timeline) - 1 if place.first is None else place.first)


class ScenarioVerbs(click.Group):
    """A verb with one command for each scenario, which `make` makes; without a name, `default`, if there is one."""

    def __init__(
        self, name: str | None, make: Callable[[Scenario], click.Command], default: str | None = None, **options: Any
    ) -> None:
        super().__init__(name, subcommand_metavar="SCENARIO [OPTIONS]", **options)
        self._make = make
        self._default = default

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all scenarios."""
        from lab.scenarios import all_scenarios

        return list(all_scenarios())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """The command of one scenario."""
        from lab.scenarios import find_scenario

        found = find_scenario(name)
        return self._make(found) if found else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in the default scenario where none is named."""
        wants_help = args[:1] and args[0] in ctx.help_option_names
        is_unnamed = args[0].startswith("-") if args else not ctx.resilient_parsing  # completion asks for the name
        if self._default and not wants_help and is_unnamed:
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The scenarios; and the options of the default one, which need no name before them."""
        found = super().shell_complete(ctx, incomplete)
        if self._default and incomplete.startswith("-"):
            command = self.get_command(ctx, self._default)
            if command is not None:
                inner = command.make_context(self._default, [], parent=ctx, resilient_parsing=True)
                known = {each.value for each in found}
                found += [each for each in command.shell_complete(inner, incomplete) if each.value not in known]
        return found


def language_option(function: Decorated) -> Decorated:
    """Add `--lang`; the function receives `language: str`."""
    from lab.texts import ENGLISH, languages

    return click.option(
        "--lang",
        "language",
        type=click.Choice(languages()),
        default=ENGLISH,
        show_default=True,
        help="The language of the lecture's own words.",
    )(function)


def machine_options(function: Decorated) -> Decorated:
    """Add what describes a machine to be booted; `make_machine_options` takes it out of the arguments again."""
    for option in (
        click.option("--qemu", multiple=True, metavar="ARG", help="One more argument for QEMU; may be repeated."),
        click.option("--kernel", metavar="FILE", type=click.Path(dir_okay=False), help="Another kernel to boot."),
        click.option("--accel", default="tcg", show_default=True, metavar="NAME", help="QEMU's accelerator."),
        click.option("--cpu", default="max", show_default=True, metavar="MODEL", help="QEMU's CPU model."),
        click.option("--ram", default="64M", show_default=True, metavar="SIZE", help="RAM, such as 64M or 2G."),
        click.option("--machine", default="microvm", show_default=True, help="microvm or q35."),
        click.option("--la57", is_flag=True, help="Five levels of page tables instead of four."),
        click.option(
            "--verifier", is_flag=True, help="Stop documented misuse with bug check 0xC4, as Driver Verifier."
        ),
    ):
        function = option(function)
    return function


def make_machine_options(options: dict[str, Any]) -> MachineOptions:
    """Take the values of `machine_options` out of `options`, and describe the machine by them."""
    from pathlib import Path

    from lab.machine import MachineOptions, parse_size

    kernel = options.pop("kernel")
    chosen: dict[str, Any] = {"kernel": Path(kernel)} if kernel else {}
    return MachineOptions(
        machine=options.pop("machine"),
        ram=parse_size(options.pop("ram")),
        cpu=options.pop("cpu"),
        accel=options.pop("accel"),
        append=tuple(word for word in ("verifier", "la57") if options.pop(word)),
        extra=tuple(options.pop("qemu")),
        **chosen,
    )


def wants_colour(choice: str) -> bool:
    """Whether text is to be coloured, by `--color`, NO_COLOR and what stdout is."""
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return choice == "always"


def emit(report: Report, *, as_json: bool, color: str, html: str | None = None, svg: str | None = None) -> int:
    """Print a report as text or JSON, or write it to files, and give the exit code that its answer asks for."""
    if html or svg:
        _write_pictures(report, html, svg)
    elif as_json:
        from lab.render.json import render_json

        click.echo(render_json(report), nl=False)
    else:
        from lab.render.text import render_text

        # color=True: what to colour is decided already, and click must not strip it.
        click.echo(render_text(report, color=wants_colour(color)), nl=False, color=True)
    return 0 if report.answer else 1


def _write_pictures(report: Report, html: str | None, svg: str | None) -> None:
    from lab.render.html import render_html
    from lab.render.svg import render_svg

    for name, render in ((html, render_html), (svg, render_svg)):
        if name:
            write_file(name, render(report))


def write_file(name: str, text: str) -> None:
    """Write a file that the user asked for; UsageError, with the system's reason, when that cannot be."""
    from pathlib import Path

    try:
        Path(name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {name}: {error.strerror}; give a file in a folder you may write to") from error


def view_command(view: View) -> click.Command:
    """Make the verb of a view: its parameters, where it looks, `--json`, `--color`, `--html` and `--svg`."""

    @source_options
    @output_options
    @picture_options
    def run(as_json: bool, color: str, html: str | None, svg: str | None, **arguments: Any) -> int:
        with open_snapshot(arguments) as snapshot:
            report = view.run(snapshot, arguments)
        return emit(report, as_json=as_json, color=color, html=html, svg=svg)

    text = f"{view.help}\n\n\b\nExample:\n  {view.example}" if view.example else view.help
    command = click.command(view.name, help=text, short_help=view.summary)(run)
    command.params[:0] = [click_parameter(each) for each in view.parameters]
    return command


def click_parameter(parameter: Parameter) -> click.Parameter:
    """A declared parameter as click knows it; what it means is checked by the one who declared it."""
    choices = click.Choice(parameter.choices) if parameter.kind is Kind.CHOICE else None
    if parameter.positional:
        return click.Argument([parameter.name], required=parameter.required, type=choices, metavar=parameter.metavar)
    if parameter.kind is Kind.FLAG:
        return click.Option([parameter.flag, parameter.name], is_flag=True, help=parameter.help)
    return click.Option(
        [parameter.flag, parameter.name],
        required=parameter.required,
        type=choices,
        metavar=None if choices else parameter.metavar,
        help=parameter.help,
        default=parameter.default,
        show_default=parameter.default is not None,
    )
