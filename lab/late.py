"""Packages that import a module when a name in it is first asked for: a walk need not wait for a prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["late"]


def late(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Make the `__getattr__` of a package: each name in `modules` comes from the module that is named there.

    Type checkers want the same names imported under TYPE_CHECKING. See PEP 562.

    >>> late("lab.example", {"sqrt": "math"})("sqrt")
    <built-in function sqrt>
    """

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return get
