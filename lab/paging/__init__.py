"""How addresses are translated: the walk of one, the map of a whole space, and who may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.late import late
from lab.paging.rights import Denial, Grant, Rights, supervisor_rights, user_rights
from lab.paging.rules import leaf_mask, reserved_mask, reserved_reason
from lab.paging.tables import Kind, TableInfo, TableUse, tables
from lab.paging.walk import Fault, FaultKind, Mapped, Step, Walk, translate, walk

if TYPE_CHECKING:
    from lab.paging.access import Access, AccessKind, Conditions
    from lab.paging.aliases import Alias, Aliases, aliases_of
    from lab.paging.prediction import Prediction, Update, predict
    from lab.paging.quirks import NONE, QUIRKS, Quirk, Quirks, quirks_of
    from lab.paging.space import Mapping, leaves, map_space

__all__ = [
    "walk",
    "translate",
    "Walk",
    "Step",
    "Mapped",
    "Fault",
    "FaultKind",
    "map_space",
    "leaves",
    "Mapping",
    "Kind",
    "aliases_of",
    "Aliases",
    "Alias",
    "tables",
    "TableInfo",
    "TableUse",
    "predict",
    "Prediction",
    "Update",
    "Access",
    "AccessKind",
    "Conditions",
    "Quirk",
    "Quirks",
    "QUIRKS",
    "NONE",
    "quirks_of",
    "Rights",
    "Grant",
    "Denial",
    "supervisor_rights",
    "user_rights",
    "leaf_mask",
    "reserved_mask",
    "reserved_reason",
]

__getattr__ = late(
    __name__,
    {
        "lab.paging.access": ("Access", "AccessKind", "Conditions"),
        "lab.paging.aliases": ("Alias", "Aliases", "aliases_of"),
        "lab.paging.prediction": ("Prediction", "Update", "predict"),
        "lab.paging.quirks": ("NONE", "QUIRKS", "Quirk", "Quirks", "quirks_of"),
        "lab.paging.space": ("Mapping", "leaves", "map_space"),
    },
)
