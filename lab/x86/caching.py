"""How the caches treat a page: what the MTRRs say of its frame, what its PAT index says, and both together.

Intel SDM vol. 3A, "Memory Type Range Registers (MTRRs)" and "Selecting Memory Types".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

from lab.x86.registers import MemoryType

__all__ = ["Mtrrs", "MtrrRange", "effective_type"]

UC, WC, WT, WP, WB = MemoryType.UC, MemoryType.WC, MemoryType.WT, MemoryType.WP, MemoryType.WB
UC_MINUS, UNDEFINED = MemoryType.UC_MINUS, MemoryType.RESERVED


class MtrrRange(NamedTuple):
    """`size` bytes of physical addresses from `start` on, and how they are cached."""

    start: int
    size: int
    memory_type: MemoryType


class Mtrrs(NamedTuple):
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

    @classmethod
    def from_registers(
        cls, default: int, fixed: Sequence[int], ranges: Iterable[tuple[int, int]], max_phys_bits: int
    ) -> Self:
        """Read the registers themselves: IA32_MTRR_DEF_TYPE, the eleven fixed ones, and pairs of base and mask.

        >>> mtrrs = Mtrrs.from_registers(0xC06, [0x0606060606060606] * 11, [(0xC0000000, 0xFFC0000800)], 40)
        >>> print(mtrrs.default, mtrrs.fixed[0].memory_type, hex(mtrrs.ranges[0].start), hex(mtrrs.ranges[0].size))
        WB WB 0xc0000000 0x40000000
        >>> Mtrrs.from_registers(0, [], [], 40) == Mtrrs(MemoryType.UC)
        True

        Each range goes up to the lowest bit of its mask: one with holes, which no firmware writes, is not followed.
        """
        if not default & _ENABLE:
            return cls(UC)
        found = []
        for base, mask in ranges:
            bits = mask & (1 << max_phys_bits) - 1 & ~0xFFF
            if mask & _VALID and bits:
                found.append(MtrrRange(base & bits, bits & -bits, MemoryType(base & 0xFF)))
        pieces = _fixed_ranges(fixed) if default & _FIXED_ENABLE else ()
        return cls(MemoryType(default & 0xFF), tuple(found), tuple(pieces))

    def type_of(self, physical: int, size: int = 1) -> MemoryType:
        """The type of `size` bytes from a physical address on; RESERVED, which prints as ?, where none is defined.

        That is so where ranges overlap in an undefined way, and for a large page that has more than one type.

        >>> mtrrs = Mtrrs(ranges=(MtrrRange(0xC0000000, 1 << 30, MemoryType.UC),))
        >>> print(mtrrs.type_of(0x80000000, 1 << 30), mtrrs.type_of(0x80000000, 2 << 30))
        WB ?
        """
        ends = {edge for each in (*self.fixed, *self.ranges) for edge in (each.start, each.start + each.size)}
        found = {self._type_at(each) for each in (physical, *ends) if physical <= each < physical + size}
        return found.pop() if len(found) == 1 else UNDEFINED

    def _type_at(self, physical: int) -> MemoryType:
        for ranges in (self.fixed, self.ranges):
            found = {each.memory_type for each in ranges if each.start <= physical < each.start + each.size}
            if found:
                return _overlap(found)
        return self.default


_FIXED_ENABLE, _ENABLE, _VALID = 1 << 10, 1 << 11, 1 << 11
_FIXED_SIZES = (0x10000, *[0x4000] * 2, *[0x1000] * 8)
"""How much of the first MiB each of the eight bytes of each fixed register speaks of."""


def _fixed_ranges(registers: Sequence[int]) -> list[MtrrRange]:
    """What the fixed registers say from address 0 on; neighbours of one type are one range."""
    found: list[MtrrRange] = []
    start = 0
    for register, size in zip(registers, _FIXED_SIZES, strict=False):
        for byte in register.to_bytes(8, "little"):
            new = MtrrRange(start, size, MemoryType(byte))
            if found and found[-1].memory_type == new.memory_type:
                new = MtrrRange(found[-1].start, found[-1].size + size, found.pop().memory_type)
            found.append(new)
            start += size
    return found


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
