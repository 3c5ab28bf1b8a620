"""Packages that import a module when a name in it is first asked for: a walk need not wait for a prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

__all__ = ["late"]


def late(package: str, modules: Mapping[str, Iterable[str]]) -> Callable[[str], object]:
    """Make the `__getattr__` of a package: `modules` says which names come from which module.

    Type checkers want the same names imported under TYPE_CHECKING. See PEP 562.

    >>> late("lab.example", {"math": ("sqrt", "pi")})("sqrt")
    <built-in function sqrt>
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(module_of[name]), name)

    return get
