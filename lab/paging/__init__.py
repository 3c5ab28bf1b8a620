"""How addresses are translated: the walk of one, the map of a whole space, and who may do what."""

from lab.paging.access import Access, AccessKind, Conditions
from lab.paging.aliases import Alias, Aliases, aliases_of
from lab.paging.predict import Prediction, Update, predict
from lab.paging.quirks import NONE, QUIRKS, Quirk, Quirks, quirks_of
from lab.paging.rights import Denial, Grant, Rights, supervisor_rights, user_rights
from lab.paging.rules import leaf_mask, reserved_mask, reserved_reason
from lab.paging.space import Mapping, leaves, map_space
from lab.paging.tables import Kind, TableInfo, TableUse, tables
from lab.paging.walk import Fault, FaultKind, Mapped, Step, Walk, translate, walk

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
