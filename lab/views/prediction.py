"""A prediction, as people and as programs read it."""

from __future__ import annotations

from lab.paging import Prediction
from lab.views.cells import address_cell, line
from lab.views.report import Cell, Json, KeyValues, Line, Role
from lab.x86.entry import Entry
from lab.x86.registers import PageFaultCode

__all__ = ["prediction_block", "prediction_data"]


def prediction_block(found: Prediction) -> KeyValues:
    """The verdict as a sentence, what follows from it, and what is set in the tables."""
    items: list[tuple[str, Line]] = [("predicted", line(Cell(str(found), Role.GOOD if found.ok else Role.BAD)))]
    if found.physical is not None:
        items.append(("reaches", line(address_cell(found.physical), f"  {found.memory_type}")))
    else:
        items.append(("raises", line(_exception(found))))
    for name, words in (
        ("sets", {update.level: update.must_set for update in found.updates}),
        ("may set", {update.level: update.may_set for update in found.updates}),
    ):
        places = [
            f"{bit.name} in {' '.join(str(level) for level, word in words.items() if word & bit.mask)}"
            for bit in _NOTED
            if any(word & bit.mask for word in words.values())
        ]
        if places:
            items.append((name, line(", ".join(places))))
    return KeyValues(tuple(items))


_NOTED = (Entry.accessed, Entry.dirty)


def _noted(word: Entry) -> list[str]:
    return [bit.name for bit in _NOTED if word & bit.mask]


def _exception(found: Prediction) -> str:
    if found.error_code is None:
        return f"{found.vector} with error code 0x0; CR2 keeps its value"
    codes = " or ".join(_code(code) for code in (found.error_code, *found.alternatives))
    return f"{found.vector} with error code {codes}; CR2 is {found.cr2}"


def _code(code: PageFaultCode) -> str:
    return f"{code:#x} ({' '.join(code.names())})" if code else "0x0"


def prediction_data(found: Prediction) -> dict[str, Json]:
    """The prediction as a program reads it; `bits` names those of the error code."""
    level, bit, register, name, _ = found.decision
    data: dict[str, Json] = {
        "access": str(found.access),
        "outcome": "ok" if found.ok else "exception",
        "sentence": str(found),
        "decision": {
            "level": None if level is None else str(level),
            "register": register or None,
            "bit": bit,
            "name": name or None,
        },
        "updates": [
            {
                "level": str(update.level),
                "entry_address": hex(update.entry_address),
                "must_set": _noted(update.must_set),
                "may_set": _noted(update.may_set),
            }
            for update in found.updates
        ],
    }
    if found.physical is not None:
        return data | {"physical": hex(found.physical), "memory_type": str(found.memory_type)}
    code = found.error_code
    return data | {
        "vector": None if found.vector is None else int(found.vector),
        "name": str(found.vector),
        "error_code": "0x0" if code is None else hex(code),
        "alternatives": [hex(each) for each in found.alternatives],
        "bits": [] if code is None else list(code.names()),
        "cr2": None if found.cr2 is None else hex(found.cr2),
    }
