"""Predictions for millions of cases at once, by the same rules as `lab.paging.prediction` makes one.

A case is the entries on the way of one address, the conditions of an access, and the two registers of key rights. Cases
stand in columns, arrays of one length, each of which may be a single number where all cases agree::

    entries      one array of uint64 for each level, the root's first; entries after the one that decides are ignored
    conditions   uint16, the bits of `lab.paging.Conditions`: the access, RFLAGS.AC, and the control bits with a say
    address      uint64, the linear address; it matters only for canonicality, CR2 and the physical address
    pkru, pkrs   uint32

What is the same for a whole machine comes from a PagingState: the number of levels, MAXPHYADDR, 1 GiB pages, the
vendor. Its control bits are not looked at: those of the conditions count, so one batch may mix them.

>>> import numpy as np
>>> from lab.paging import Access, AccessKind, Conditions
>>> from lab.x86 import PagingState
>>> state = PagingState()
>>> accesses = [Access(AccessKind.READ), Access(AccessKind.WRITE), Access(AccessKind.WRITE, user=True)]
>>> conditions = np.array([Conditions.of(state, access) for access in accesses], np.uint16)
>>> found = predict_many(state, [0x2007, 0x3007, 0x4005, 0x5003], conditions)
>>> found.vector.tolist(), [hex(code) for code in found.code.tolist()]
([0, 14, 14], ['0x0', '0x3', '0x7'])
>>> found.must_set[:, 0].tolist(), found.may_set[:, 1].tolist()
([32, 32, 32, 32], [32, 32, 32, 32])

Cases are judged some ten thousand at a time, so that all columns in use stay in the processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lab.errors import UsageError
from lab.paging.access import Conditions
from lab.paging.judge import Flag, Judgement, Number, has, judge
from lab.paging.quirks import GP_FOR_SS, NONE, Quirks, state_with
from lab.paging.rules import Rules, rules_of
from lab.x86.entry import Entry
from lab.x86.registers import PageFaultCode, Vector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from lab.x86.state import PagingState

__all__ = ["predict_many", "Predictions"]

CHUNK = 1 << 14

Columns: TypeAlias = "list[NDArray[np.integer]]"
Bytes: TypeAlias = "NDArray[np.uint8]"
Words: TypeAlias = "NDArray[np.uint16]"
Longs: TypeAlias = "NDArray[np.uint64]"


@dataclass(frozen=True, slots=True)
class Predictions:
    """What will happen in each case; a row of `must_set` and `may_set` for each level, from the top.

    `vector` is 0 where the access succeeds, else 12, 13 or 14. `code` is the page fault's, `alternative` another one
    that the manual allows, or the same. `cr2` is the address where CR2 is written, else 0. `must_set` and `may_set`
    are bits of the entries' lowest byte, as in `lab.paging.Update`. `physical` is 0 where nothing is mapped.
    """

    vector: Bytes
    code: Words
    alternative: Words
    cr2: Longs
    must_set: Bytes
    may_set: Bytes
    physical: Longs

    @classmethod
    def empty(cls, levels: int, count: int) -> Predictions:
        """Room for `count` cases, not filled in."""
        return cls(
            vector=np.empty(count, np.uint8),
            code=np.empty(count, np.uint16),
            alternative=np.empty(count, np.uint16),
            cr2=np.empty(count, np.uint64),
            must_set=np.empty((levels, count), np.uint8),
            may_set=np.empty((levels, count), np.uint8),
            physical=np.empty(count, np.uint64),
        )

    def __len__(self) -> int:
        return len(self.vector)

    def accept(self, vector: ArrayLike, code: ArrayLike) -> NDArray[np.bool_]:
        """In which cases a CPU that raised `vector` (0: nothing) with error code `code` did as was predicted."""
        right_code = (self.code == code) | (self.alternative == code)
        found: NDArray[np.bool_] = (self.vector == vector) & (right_code | (self.vector != Vector.PF))
        return found

    def accept_entries(self, before: Sequence[ArrayLike], after: Sequence[ArrayLike]) -> NDArray[np.bool_]:
        """In which cases the entries changed as predicted: all that must be set, and nothing that may not be."""
        found = np.ones(len(self), np.bool_)
        for old, new, must, may in zip(before, after, self.must_set, self.may_set, strict=True):
            changed = np.asarray(old, np.uint64) ^ np.asarray(new, np.uint64)
            found &= (changed & ~may.astype(np.uint64)) == must
        return found


def predict_many(
    state: PagingState,
    entries: Sequence[ArrayLike],
    conditions: ArrayLike,
    *,
    address: ArrayLike = 0,
    pkru: ArrayLike = 0,
    pkrs: ArrayLike = 0,
    quirks: Quirks = NONE,
) -> Predictions:
    """Predict every case; see the module for the columns. UsageError where their lengths do not fit together."""
    levels = state.levels
    if len(entries) != levels:
        raise UsageError(f"{state.mode} paging has {levels} levels, but entries of {len(entries)} are given")
    given = [*entries, address, pkru, pkrs]
    columns: Columns = [np.asarray(conditions, np.uint16), *(np.asarray(column, np.uint64) for column in given)]
    columns = [np.atleast_1d(column) for column in columns]
    count = _length(columns)
    if (columns[0] & _SHADOW_WITHOUT_CET == Conditions.shadow_stack.mask).any():
        raise UsageError("there are no shadow-stack accesses while CR4.CET is 0")
    state = state_with(state, quirks)
    found = Predictions.empty(levels, count)
    for start in range(0, count, CHUNK):
        rows = slice(start, min(start + CHUNK, count))
        part = [column if len(column) == 1 else column[rows] for column in columns]
        for where, rules in _by_nxe(state, part[0]):
            if where is None:
                _fill(found, rows, rules, part, quirks)
            else:
                _fill(found, where + start, rules, [each if len(each) == 1 else each[where] for each in part], quirks)
    return found


_SHADOW_WITHOUT_CET = Conditions.shadow_stack.mask | Conditions.cet.mask
_KEYS = Conditions.pke.mask | Conditions.pks.mask


def _length(columns: Columns) -> int:
    lengths = {len(column) for column in columns} - {1}
    if len(lengths) > 1:
        raise UsageError(f"the columns of a batch have one length; these have {', '.join(map(str, sorted(lengths)))}")
    return lengths.pop() if lengths else 1


def _by_nxe(state: PagingState, conditions: NDArray[np.integer]) -> Iterator[tuple[NDArray[np.intp] | None, Rules]]:
    """The cases with and without EFER.NXE, which have different reserved bits; None stands for all of them."""
    has_nxe = conditions & Conditions.nxe.mask != 0
    for value in (True, False):
        chosen = has_nxe == value
        if chosen.any():
            rules = rules_of(replace(state, efer=state.efer.replace(nxe=value)))
            yield None if chosen.all() else np.flatnonzero(chosen), rules


def _fill(found: Predictions, rows: slice | NDArray[np.intp], rules: Rules, columns: Columns, quirks: Quirks) -> None:
    """Judge some cases and write the verdicts to their `rows`."""
    conditions, *entries, address, pkru, pkrs = columns
    canonical = rules.is_canonical(address)
    keys = (pkru, pkrs) if (conditions & _KEYS).any() else None
    judged = judge(rules.levels, entries, conditions, keys, canonical=canonical, quirks=quirks)
    found.vector[rows] = _vectors(judged, canonical, conditions, quirks)
    code: Number = 0
    for flag, bit in zip(judged.code, PageFaultCode.bits, strict=False):
        code = code | _where(flag, bit.mask, np.uint16)
    found.code[rows] = code
    found.alternative[rows] = code ^ _where(judged.key_is_open, PageFaultCode.protection_key.mask, np.uint16)
    found.cr2[rows] = address * (found.vector[rows] == Vector.PF)
    for number, updates in enumerate(judged.updates):
        must_access = _where(updates.must_access, Entry.accessed.mask, np.uint8)
        found.must_set[number, rows] = must_access | _where(updates.must_dirty, Entry.dirty.mask, np.uint8)
        found.may_set[number, rows] = _where(updates.may_access, Entry.accessed.mask, np.uint8)
    found.physical[rows] = _physical(rules, entries, address, judged)


def _vectors(judged: Judgement, canonical: Flag, conditions: NDArray[np.integer], quirks: Quirks) -> Number:
    """0 for success, and which exception else."""
    fault = canonical & (judged.allowed ^ True)
    by_stack = has(conditions, Conditions.stack.mask) & (GP_FOR_SS not in quirks)
    not_canonical = canonical ^ True
    return (
        _where(fault, Vector.PF, np.uint8)
        | _where(not_canonical & by_stack, Vector.SS, np.uint8)
        | _where(not_canonical & (by_stack ^ True), Vector.GP, np.uint8)
    )


def _where(flag: Flag, value: int, dtype: type[np.unsignedinteger]) -> NDArray[np.integer]:
    """`value` in the cases of `flag`, else 0."""
    found: NDArray[np.integer] = np.multiply(flag, dtype(value))
    return found


def _physical(rules: Rules, entries: Columns, address: NDArray[np.integer], judged: Judgement) -> Number:
    """Where the address leads, whether or not it may be used so; 0 where to no page."""
    physical: Number = 0
    for level, entry, leaf in zip(rules.levels, entries, judged.leaves, strict=True):
        if level.leaf_mask:
            physical = physical | level.physical(entry, address) * leaf
    return physical
