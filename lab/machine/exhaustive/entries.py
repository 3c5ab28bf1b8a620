"""Sets of page-table entries: which bits each level may have, and all that can be made of them.

A *form* is one way to set the bits of a whole path. Where it ends (an entry that is not present, or a leaf) the levels
below do not count, so forms that differ only there are one. Which tables and pages the entries lead to is filled in
later: it differs between instructions and places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lab.x86.entry import Entry
from lab.x86.levels import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.machine.exhaustive.trials import Instruction, Numbers, Trials

__all__ = ["Bits", "Forms", "subsets", "P", "W", "U", "A", "D", "PS", "G", "NX"]

P, W, U = Entry.present.mask, Entry.writable.mask, Entry.user.mask
A, D, PS, G, NX = (
    Entry.accessed.mask,
    Entry.dirty.mask,
    Entry.page_size.mask,
    Entry.global_.mask,
    Entry.no_execute.mask,
)


def subsets(mask: int) -> list[int]:
    """Every combination of the bits of `mask`, 0 among them.

    >>> subsets(0b101)
    [0, 1, 4, 5]
    """
    found = [0]
    while mask:
        bit = mask & -mask
        found += [each | bit for each in found]
        mask ^= bit
    return found


@dataclass(frozen=True, slots=True)
class Bits:
    """What the entries of one level can be: `fixed` bits, every combination of `free` ones, and one of `each`.

    >>> Bits(P, free=W, each=(0, NX)).values() == [P, P | W, P | NX, P | W | NX]
    True
    """

    fixed: int = P | W | U
    free: int = 0
    each: tuple[int, ...] = (0,)

    def values(self) -> list[int]:
        """All of them, each once."""
        return list(dict.fromkeys(self.fixed | one | some for one in self.each for some in subsets(self.free)))


USUAL = Bits()


class Forms:
    """All forms that the bits of each level allow: `flags` has a row for each level, the root's first.

    Levels that are not mentioned let everything pass.

    >>> forms = Forms({Level.PT: [Bits(free=NX)], Level.PD: [Bits(0, free=P), Bits(P | PS)]}, levels=4)
    >>> len(forms), forms.leaf_levels.tolist()
    (4, [1, 1, 0, 2])
    """

    def __init__(self, bits: Mapping[Level, Sequence[Bits]], levels: int) -> None:
        self.levels = levels
        self.flags, self.leaf_levels = _paths(bits, Level(levels))
        """`leaf_levels` has the level of each form's leaf, 0 where an entry is not present."""

    def __len__(self) -> int:
        return len(self.leaf_levels)

    def entries(self, trials: Trials, instruction: Instruction, place: int, rows: NDArray[np.intp] | slice) -> Numbers:
        """The entries of some forms, leading to a place: a row for each level, the root's first."""
        found, leaves = self.flags[:, rows].copy(), self.leaf_levels[rows]
        for row, number in zip(found, range(self.levels, 0, -1), strict=True):
            level = Level(number)
            if level > Level.PT:
                row[leaves != level] |= np.uint64(trials.tables[Level(level - 1)])
            if level <= Level.PDPT:
                row[leaves == level] |= np.uint64(trials.where(place, instruction, level.page_size))
        return found


def _paths(bits: Mapping[Level, Sequence[Bits]], level: Level) -> tuple[Numbers, NDArray[np.uint8]]:
    """The flags from `level` downwards, a row each, and the levels of the leaves, for every form.

    Below the end stands what would let everything pass: a CPU that goes on is found out.
    """
    values = np.unique(np.array([value for each in bits.get(level, [USUAL]) for value in each.values()], np.uint64))
    present = values & P != 0
    leaf = present & (level == Level.PT or (level <= Level.PDPT and values & PS != 0))
    ends, tables = values[leaf | ~present], values[present & ~leaf]
    flags = np.vstack([ends, *[np.full(len(ends), USUAL.fixed, np.uint64)] * (level - 1)])
    leaves = (level * leaf[leaf | ~present]).astype(np.uint8)
    if not len(tables):
        return flags, leaves
    below, below_leaves = _paths(bits, Level(level - 1))
    ways = np.vstack([np.repeat(tables, below.shape[1]), np.tile(below, len(tables))])
    return np.hstack([ways, flags]), np.concatenate([np.tile(below_leaves, len(tables)), leaves])
