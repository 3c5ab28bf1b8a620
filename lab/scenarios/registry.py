"""Where scenarios are declared. A new scenario is one new file in this folder; `lab run` finds it by itself.

::

    @scenario("mdl-remap", 4)
    def mdl_remap(stage: Stage, *, fail: Annotated[str | None, "which call fails"] = None) -> Iterator[Step]:
        '''One frame, two addresses. …'''
        yield stage.step("Allocate a page", call=stage.call("ExAllocatePool", 0, 4096))

The options behind the `*` become options of `lab run mdl-remap`, by the same rules as those of views.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lab.texts import Text
from lab.views.registry import Parameter, parameters_of

if TYPE_CHECKING:
    from lab.machine import Machine, MachineOptions
    from lab.scenarios.step import Step

__all__ = ["Scenario", "scenario", "registered"]


@dataclass(frozen=True)
class Scenario:
    """A lecture: a function that plays on a stage and yields step after step."""

    name: str
    parameters: tuple[Parameter, ...]
    play: Callable[..., Iterator[Step]]
    number: int = 0
    """Its place in the course, from 1; 0 for one beside the course."""
    needs: Mapping[str, object] = field(default_factory=dict)
    """What its machine must be, whatever else is asked for: fields of MachineOptions."""

    def machine(self, options: MachineOptions | None = None) -> Machine:
        """A machine to play it on, not started yet."""
        from lab.machine import Machine, MachineOptions

        wanted: dict[str, Any] = dict(self.needs)
        return Machine(replace(options or MachineOptions(), **wanted), gdb=True)

    @property
    def help(self) -> str:
        """The whole docstring, undented."""
        return inspect.getdoc(self.play) or ""

    @property
    def summary(self) -> str:
        """The first line of the help."""
        return self.help.partition("\n")[0]

    @property
    def title(self) -> Text:
        """The summary as a Text, without the full stop: how a face calls the lecture."""
        return Text.verbatim(self.summary.removesuffix("."))

    @property
    def description(self) -> Text:
        """What the help says behind the summary, as a Text of one line a paragraph."""
        paragraphs = self.help.split("\n\n")[1:]
        return Text.verbatim("\n".join(" ".join(each.split()) for each in paragraphs))


_scenarios: dict[str, Scenario] = {}


def scenario(
    name: str, number: int = 0, **needs: object
) -> Callable[[Callable[..., Iterator[Step]]], Callable[..., Iterator[Step]]]:
    """Register the decorated generator as a scenario; its signature declares the options.

    `number` is its place in the course. `needs` are fields of MachineOptions that its machine must have, such as
    ``frozen=True``.
    """

    def register(play: Callable[..., Iterator[Step]]) -> Callable[..., Iterator[Step]]:
        _scenarios[name] = Scenario(name, parameters_of(play), play, number, needs)
        return play

    return register


def registered() -> dict[str, Scenario]:
    """The scenarios declared so far, by name: those of the course in its order, then the others by the alphabet."""
    return dict(sorted(_scenarios.items(), key=lambda item: (item[1].number == 0, item[1].number, item[0])))
