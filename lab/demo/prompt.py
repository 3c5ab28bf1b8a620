"""The prompt: what a lecturer types in the middle of a lecture, and the Report that answers it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from lab.errors import LabError, UsageError
from lab.views import find_view
from lab.views.registry import Kind, Parameter, Raw, View
from lab.views.report import Cell, Lines, Report, Role

if TYPE_CHECKING:
    from lab.machine import Machine
    from lab.snapshot import Snapshot

__all__ = ["answer", "acts_on_guest", "typed_arguments"]

Action: TypeAlias = "Callable[[Machine, Sequence[str]], Report]"


def answer(line: str, snapshot: Callable[[], Snapshot], machine: Machine | None) -> Report:
    """Answer one line: a view of the snapshot, or something for the guest in `machine` to do.

    Never raises for what was typed or what the guest made of it: that becomes a lab.error/1.
    """
    try:
        return _answer(line, snapshot, machine)
    except LabError as error:
        return _refusal(str(error))
    except Exception as error:  # noqa: BLE001 - a lecture must not end with a traceback
        return _refusal(f"that cannot be answered: {type(error).__name__}: {error}")


def _answer(line: str, snapshot: Callable[[], Snapshot], machine: Machine | None) -> Report:
    verb, *words = _words(line)
    action = _ACTIONS.get(verb)
    if action is not None:
        if machine is None:
            raise UsageError(f"`{verb}` needs the running guest, which stands at the last step; go there first")
        return action(machine, words)
    view = find_view(verb) if verb.isidentifier() else None
    if view is None:
        raise UsageError(f"{verb!r} is no view and no command here; there are call, probe and all views of the lab")
    return view.run(snapshot(), typed_arguments(view, words))


def acts_on_guest(line: str) -> bool:
    """Whether a line asks the guest to do something, so that afterwards it may not be what it was."""
    try:
        return _words(line)[0] in _ACTIONS
    except UsageError:
        return False


def typed_arguments(view: View, words: Sequence[str]) -> Mapping[str, Raw]:
    """What was typed behind a view's name, as its `run` takes it; UsageError for what the view does not have.

    >>> typed_arguments(find_view("walk"), ["mdl:0", "--style=windbg"])
    {'address': 'mdl:0', 'style': 'windbg'}
    """
    places = iter([each for each in view.parameters if each.positional])
    options = {each.flag: each for each in view.parameters if not each.positional}
    found: dict[str, Raw] = {}
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            parameter, value = _option(view, word, options, rest)
            found[parameter.name] = value
            continue
        place = next(places, None)
        if place is None:
            raise UsageError(
                f"`{view.name}` takes nothing more, but there is {word!r}; it is used like: {view.example}"
            )
        found[place.name] = word
    return found


def _option(view: View, word: str, options: Mapping[str, Parameter], rest: Iterator[str]) -> tuple[Parameter, Raw]:
    name, equals, value = word.partition("=")
    parameter = options.get(name)
    if parameter is None:
        known = f"; it has {', '.join(options)}" if options else ""
        raise UsageError(f"`{view.name}` has no option {name}{known}")
    if parameter.kind is Kind.FLAG:
        return parameter, True
    given = value if equals else next(rest, None)
    if given is None:
        raise UsageError(f"{name} needs {parameter.metavar}: {parameter.help}")
    return parameter, given


def _words(line: str) -> list[str]:
    """The words of a line; `lab` in front may be left out."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{line!r} cannot be read: {error}") from None
    words = words[1:] if words[:1] == ["lab"] else words
    if not words:
        raise UsageError("type a view such as `walk rip`, `call FUNCTION ARG…` or `probe 'ASSEMBLY'`")
    return words


def _refusal(sentence: str) -> Report:
    return Report("lab.error/1", {"message": sentence}, (Lines(((Cell(sentence, Role.BAD),),)),), answer=False)


def _call(machine: Machine, words: Sequence[str]) -> Report:
    from lab.machine.answers import call_report

    if not words:
        raise UsageError("`call` needs the name of a function; `symbols --exports` lists them")
    return call_report(machine, words[0], words[1:])


def _probe(machine: Machine, words: Sequence[str]) -> Report:
    from lab.machine.answers import probe_answer

    return probe_answer(machine, words)


_ACTIONS: dict[str, Action] = {"call": _call, "probe": _probe}
