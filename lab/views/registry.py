"""Where views are declared. A new view is one new file in this folder: commands, pages and docs follow from it.

::

    @view("walk", schema="lab.walk/1", example="lab walk KeBugCheckEx+0x10")
    def walk(
        snapshot: Snapshot,
        address: Annotated[AddressArgument, "what to walk: hex, symbol, rip, mdl:0 …"],
        *,
        style: Annotated[Literal["lab", "windbg"], "how to print it"] = "lab",
        cr3: Annotated[PhysicalArgument | None, "another root table"] = None,
    ) -> Report:
        '''Every entry on the way of one address. …'''

A parameter before the `*` is a positional argument, one after it an option; no default means required; a bool is a
flag; a Literal is a choice. The docstring is the help: its first line in lists, all of it on its own page.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin, get_type_hints

from lab.errors import UsageError
from lab.x86.address import PhysicalAddress, VirtualAddress

if TYPE_CHECKING:
    from lab.snapshot import Snapshot
    from lab.views.report import Report

__all__ = ["view", "View", "parameters_of", "Parameter", "Kind", "AnyAddress", "Value", "Raw"]

AnyAddress: TypeAlias = VirtualAddress | PhysicalAddress
Raw: TypeAlias = str | int | bool | None
Value: TypeAlias = AnyAddress | str | int | bool | None


class Kind(Enum):
    """What a parameter takes, which tells a command line how to read it and a page how to ask for it."""

    TEXT = "text"
    INTEGER = "integer"
    FLAG = "flag"
    CHOICE = "choice"
    ADDRESS = "address"
    PHYSICAL = "physical address"


class Parameter(NamedTuple):
    """One argument or option of a view, enough to make a command-line parameter or a form field of it."""

    name: str
    kind: Kind
    help: str
    positional: bool
    required: bool
    default: Raw = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The option's spelling: `--cr3`. Positional ones have none."""
        return "" if self.positional else "--" + self.name.replace("_", "-")

    @property
    def metavar(self) -> str:
        """The word that stands for the value in a usage line."""
        if self.positional:
            return self.name.upper()
        return {Kind.INTEGER: "N", Kind.ADDRESS: "ADDR", Kind.PHYSICAL: "PA"}.get(self.kind, "TEXT")

    def read(self, raw: Raw, snapshot: Snapshot) -> Value:
        """Turn what a person typed into what the view takes; UsageError or AddressError when it cannot be."""
        if raw is None:
            return None
        if self.kind is Kind.ADDRESS:
            return snapshot.resolve(str(raw))
        if self.kind is Kind.PHYSICAL:
            return snapshot.resolve_physical(str(raw))
        if self.kind is Kind.INTEGER:
            return _integer(self.name, raw)
        if self.kind is Kind.FLAG:
            return bool(raw)
        if self.kind is Kind.CHOICE and raw not in self.choices:
            raise UsageError(f"{self.name} is one of {', '.join(self.choices)}, not {raw!r}")
        return str(raw)


class View(NamedTuple):
    """A registered view: its name, its schema, its parameters and the function that makes the Report."""

    name: str
    schema: str
    example: str
    parameters: tuple[Parameter, ...]
    function: Callable[..., Report]

    @property
    def help(self) -> str:
        """The whole docstring, undented."""
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        """The first line of the help."""
        return self.help.partition("\n")[0]

    def run(self, snapshot: Snapshot, arguments: Mapping[str, Raw] | None = None) -> Report:
        """Make the Report from what a person typed: address expressions are resolved, integers parsed.

        An argument that is missing takes its default; an unknown one, or a required one that is missing, is a
        UsageError.
        """
        given = dict(arguments or {})
        values: dict[str, Value] = {}
        for parameter in self.parameters:
            raw = given.pop(parameter.name, None)
            if raw is None and parameter.required:
                raise UsageError(f"lab {self.name} needs {parameter.metavar}: {parameter.help}")
            values[parameter.name] = parameter.read(parameter.default if raw is None else raw, snapshot)
        if given:
            raise UsageError(f"lab {self.name} has no {', '.join(sorted(given))}; see lab {self.name} --help")
        return self.function(snapshot, **values)


_views: dict[str, View] = {}


def view(name: str, *, schema: str, example: str = "") -> Callable[[Callable[..., Report]], Callable[..., Report]]:
    """Register the decorated function as a view; its signature declares the arguments and options."""

    def register(function: Callable[..., Report]) -> Callable[..., Report]:
        if name in _views and _views[name].function.__module__ != function.__module__:
            raise ValueError(
                f"two views are named {name!r}: {_views[name].function.__module__} and {function.__module__}"
            )
        _views[name] = View(name, schema, example or f"lab {name}", parameters_of(function), function)
        return function

    return register


def registered() -> dict[str, View]:
    """The views declared so far, by name in alphabetical order."""
    return dict(sorted(_views.items()))


def parameters_of(function: Callable[..., object]) -> tuple[Parameter, ...]:
    """The arguments and options that a function declares behind its first parameter, what it looks at or acts on."""
    declared = list(inspect.signature(function).parameters.values())[1:]
    # Only these are evaluated: what else the signature names may be imported for type checkers alone.
    annotations = types.SimpleNamespace(__annotations__={each.name: each.annotation for each in declared})
    hints = get_type_hints(annotations, globalns=inspect.unwrap(function).__globals__, include_extras=True)
    return tuple(_parameter(each, hints[each.name]) for each in declared)


def _parameter(declared: inspect.Parameter, hint: object) -> Parameter:
    text = ""
    if get_origin(hint) is Annotated:
        hint, text = get_args(hint)[:2]
    kind, choices = _kind(hint)
    required = declared.default is inspect.Parameter.empty
    positional = declared.kind is not inspect.Parameter.KEYWORD_ONLY
    default = None if required else declared.default
    return Parameter(declared.name, kind, text, positional, required, default, choices)


def _kind(hint: object) -> tuple[Kind, tuple[str, ...]]:
    members = set(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else {hint}
    members.discard(type(None))
    if members == {VirtualAddress, PhysicalAddress}:
        return Kind.ADDRESS, ()
    if len(members) == 1:
        only = members.pop()
        if get_origin(only) is Literal:
            return Kind.CHOICE, get_args(only)
        plain = {PhysicalAddress: Kind.PHYSICAL, bool: Kind.FLAG, int: Kind.INTEGER, str: Kind.TEXT}
        found = plain.get(only) if isinstance(only, type) else None
        if found:
            return found, ()
    raise TypeError(f"no argument can be a {hint}: use str, int, bool, Literal, PhysicalAddress or AnyAddress")


def _integer(name: str, raw: Raw) -> int:
    try:
        return raw if isinstance(raw, int) else int(str(raw).replace("_", ""), 0)
    except ValueError:
        raise UsageError(f"{name} takes a number such as 64 or 0x40, not {raw!r}") from None
