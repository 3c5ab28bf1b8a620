"""`lab demo`: a lecture before an audience, on a live machine, in the terminal or as a page; or as a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.cli.common import write_file
from lab.errors import HostError, LabError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from lab.demo.player import Player
    from lab.scenarios.registry import Scenario
    from lab.texts import Text
    from lab.timeline import Timeline

__all__ = ["command"]

LOOPBACK = "127.0.0.1"


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Lectures whose name begins so; where there is none, it is a file's."""
    from click.shell_completion import CompletionItem

    from lab.scenarios import all_scenarios

    found = [CompletionItem(each) for each in all_scenarios() if each.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


@click.command()
@click.argument("name", default="mdl-remap", shell_complete=_complete)
@click.option("--list", "wants_list", is_flag=True, help="List the lectures.")
@click.option("--web", is_flag=True, help="Show it as a page in a browser of this computer.")
@click.option("--host", default=LOOPBACK, show_default=True, help="With --web: another address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="With --web: the port; 0 takes a free one.",
)
@click.option("--export", metavar="FILE", help="Write that page as one file that works without the lab.")
@click.option("--cast", metavar="FILE", help="Write the text of the lecture as an asciinema recording.")
@click.option("--lang", default="en", show_default=True, help="Language of the texts: en or tr.")
@click.option("--from", "file", metavar="FILE.lab[@N]", help="Play this recording, from its moment N on.")
@click.option("--recorded", is_flag=True, help="Play the recording that comes with the lab; boot no machine.")
def command(
    *,
    name: str,
    wants_list: bool,
    web: bool,
    host: str,
    port: int,
    export: str | None,
    cast: str | None,
    lang: str,
    file: str | None,
    recorded: bool,
) -> None:
    """Give the lecture NAME: step forwards and backwards, answer questions on the live machine.

    NAME may also be a recording, FILE.lab, that `lab record` has made.
    """
    from lab.texts import language_name

    language_name(lang)  # refuses a language there are no texts in
    if wants_list:
        _list(lang)
        return
    name, number = _place(file) if file else (name, 0)
    if export or cast:
        _write(name, number, lang, export, cast)
        return
    show = FACES["web" if web else DEFAULT_FACE]
    if web:
        _check_host(host)
    else:
        _check_terminal()
    with _player(name, recorded) as player:
        player.timeline.at(number)  # or there is none, which `go` would not say
        player.go(number)
        show(player, lang, (host, port))


def _place(file: str) -> tuple[str, int]:
    """The file that is meant, and the moment to begin with."""
    from lab.timeline.recording import Place

    place = Place.parse(file)
    if place.path.suffix != ".lab":
        raise UsageError(f"{place.path} is no recording: their names end with .lab")
    if place.last is not None:
        raise UsageError(f"a lecture begins with one moment, such as {place.path}@{place.last}")
    return str(place.path), place.first or 0


def _list(language: str) -> None:
    from lab.scenarios import all_scenarios

    for name, scenario in all_scenarios().items():
        click.echo(f"{scenario.number or '':>2}  {name:<24}{scenario.title.in_language(language)}")


def _write(name: str, number: int, language: str, export: str | None, cast: str | None) -> None:
    """Write the files that were asked for; they hold all moments, that of the number among them."""
    timeline = _timeline(name)
    timeline.at(number)
    if export:
        from lab.demo.export import export_html

        write_file(export, export_html(timeline, language))
    if cast:
        from lab.demo.cast import cast as cast_text

        write_file(cast, cast_text(timeline, language))


def _timeline(name: str) -> Timeline:
    """The lecture from beginning to end: its recording if there is one, else played now."""
    found = _recording(name)
    if found is not None:
        return found
    from lab.demo.player import Player

    with Player.open(_scenario(name)) as player:
        player.go(1 << 30)
        return player.timeline


def _recording(name: str) -> Timeline | None:
    """The recording in a file, or the one of a lecture that comes with the lab; None where there is none of it."""
    from lab.timeline.recording import read, shipped

    file = Path(name) if name.endswith(".lab") else shipped(name)
    return read(file) if name.endswith(".lab") or file.exists() else None


def _player(name: str, recorded: bool) -> Player:
    """A player on a live machine with the recording behind it, or on the recording where no machine can be had."""
    from lab.demo.player import Player

    is_file = name.endswith(".lab")
    if not recorded and not is_file:
        return Player.open(_scenario(name), tell=lambda error: click.echo(f"lab: {error}", err=True))
    found = _recording(name if is_file else _scenario(name).name)
    if found is None:
        raise HostError(f"there is no recording of {name!r} here; make one with: lab record {name}")
    return Player(found)


def _scenario(name: str) -> Scenario:
    from lab.scenarios import find_scenario

    scenario = find_scenario(name)
    if scenario is None:
        raise UsageError(f"there is no lecture {name!r}; `lab demo --list` lists them")
    return scenario


# What cannot be shown is refused before a machine boots for it.


def _check_host(host: str) -> None:
    """UsageError for what stands for all addresses of this computer, however it is spelled."""
    import socket
    from ipaddress import ip_address

    refusal = UsageError("--host takes one address of this computer: the page answers to no other name")
    if not host:
        raise refusal
    try:
        found = [ip_address(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise HostError(f"cannot listen on {host}: {why}; give an address of this computer") from error
    if any((getattr(each, "ipv4_mapped", None) or each).is_unspecified for each in found):
        raise refusal


def _check_terminal() -> None:
    """UsageError where a lecture cannot be shown in letters."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "a lecture is shown in a terminal, and this is none; --web shows a page, --export writes a file"
        )


def _show_page(player: Player, language: str, address: tuple[str, int]) -> None:
    from lab.demo.web import Server, WebFace, listen

    with listen(address) as listener:
        host, port = listener.getsockname()[:2]
        face = WebFace(player, (host, port), language, titles=_titles(player))
        if host != LOOPBACK:
            click.echo(f"lab: whoever can reach {host} and knows this URL can give commands to the guest", err=True)
        click.echo(face.url)
        Server(face).run([listener])


def _show_terminal(player: Player, language: str, address: tuple[str, int]) -> None:  # noqa: ARG001 - nobody listens
    from lab.demo.terminal import TerminalFace

    TerminalFace(player, language, expected=len(_titles(player))).run()


def _titles(player: Player) -> tuple[Text, ...]:
    """What the moments of a live lecture were called when it was recorded; nothing when it was not."""
    return tuple(moment.step.title for moment in _recording_behind(player) or ())


def _recording_behind(player: Player) -> Timeline | None:
    """The recording of a live lecture; None where there is none that can be read, which is no reason to end it."""
    if not player.is_live:
        return None
    try:
        return _recording(player.timeline.scenario)
    except LabError:
        return None


FACES: Mapping[str, Callable[[Player, str, tuple[str, int]], None]] = {
    "terminal": _show_terminal,
    "web": _show_page,
}
"""What shows a player, in a language; a page also takes the host and port to listen on."""

DEFAULT_FACE = "terminal"
