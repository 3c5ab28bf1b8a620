"""Inspectors: each takes a Snapshot and returns a Report; never a Machine, never text.

>>> from lab.views import all_views
>>> all_views()["walk"].schema
'lab.walk/1'
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil

from lab.views.registry import View, registered

__all__ = ["all_views", "find_view"]

_NOT_VIEWS = {"cells", "prediction", "registry", "report", "windbg"}


@functools.cache
def all_views() -> dict[str, View]:
    """Every view of this folder, by name. Importing a file declares its view, so the folder is the list."""
    for module in pkgutil.iter_modules(__path__):
        if module.name not in _NOT_VIEWS:
            importlib.import_module(f"{__name__}.{module.name}")
    return registered()


def find_view(name: str) -> View | None:
    """The view of that name, found in the file of that name without importing the others; None when there is none."""
    if name not in registered() and importlib.util.find_spec(f"{__name__}.{name}"):
        importlib.import_module(f"{__name__}.{name}")
    return registered().get(name)
