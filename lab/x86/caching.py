"""How the caches treat a page: what the MTRRs say of its frame, what its PAT index says, and both together.

Intel SDM vol. 3A, "Memory Type Range Registers (MTRRs)" and "Selecting Memory Types".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lab.x86.registers import MemoryType

__all__ = ["Mtrrs", "MtrrRange", "effective_type"]

UC, WC, WT, WP, WB = MemoryType.UC, MemoryType.WC, MemoryType.WT, MemoryType.WP, MemoryType.WB
UC_MINUS, UNDEFINED = MemoryType.UC_MINUS, MemoryType.RESERVED


class MtrrRange(NamedTuple):
    """`size` bytes of physical addresses from `start` on, and how they are cached."""

    start: int
    size: int
    memory_type: MemoryType


@dataclass(frozen=True, slots=True)
class Mtrrs:
    """The memory-type range registers, as ranges: `fixed` are those of the first MiB, which win over `ranges`.

    The default is write-back everywhere. Registers that are switched off (IA32_MTRR_DEF_TYPE.E clear) are
    ``Mtrrs(MemoryType.UC)``.

    >>> mtrrs = Mtrrs(MemoryType.WB, (MtrrRange(0xC0000000, 1 << 30, MemoryType.UC),))
    >>> print(mtrrs.type_of(0xBFFFFFFF), mtrrs.type_of(0xC0000000))
    WB UC
    """

    default: MemoryType = WB
    ranges: tuple[MtrrRange, ...] = ()
    fixed: tuple[MtrrRange, ...] = ()

    def type_of(self, physical: int) -> MemoryType:
        """The type of one physical address; RESERVED, which prints as ?, where ranges overlap in an undefined way."""
        for ranges in (self.fixed, self.ranges):
            found = {each.memory_type for each in ranges if each.start <= physical < each.start + each.size}
            if found:
                return _overlap(found)
        return self.default


def _overlap(types: set[MemoryType]) -> MemoryType:
    """What overlapping ranges make: Intel SDM vol. 3A, "MTRR Precedences"."""
    if len(types) == 1:
        return types.pop()
    if UC in types:
        return UC
    return WT if types == {WT, WB} else UNDEFINED


_COLUMNS = (UC, UC_MINUS, WC, WT, WB, WP)
_ROWS = {
    UC: (UC, UC, WC, UC, UC, UC),
    WC: (UC, WC, WC, UC, WC, UC),
    WT: (UC, UC, WC, WT, WT, WP),
    WB: (UC, UC, WC, WT, WB, WP),
    WP: (UC, WC, WC, WT, WP, WP),
}


def effective_type(mtrr: MemoryType, pat: MemoryType, *, cache_disabled: bool = False) -> MemoryType:
    """What the type of the frame (`mtrr`) and the type of the mapping (`pat`) are together.

    `cache_disabled` is CR0.CD: then all is uncached, except that write combining stays. RESERVED where the manual
    does not say. Intel SDM vol. 3A, table "Effective Page-Level Memory Types".

    >>> print(effective_type(MemoryType.WB, MemoryType.UC_MINUS), effective_type(MemoryType.UC, MemoryType.WC))
    UC WC
    """
    if mtrr not in _ROWS or pat not in _COLUMNS:
        return UNDEFINED
    found = _ROWS[mtrr][_COLUMNS.index(pat)]
    return UC if cache_disabled and found is not WC else found
