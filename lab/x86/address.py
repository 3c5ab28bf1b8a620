"""Addresses as types: a virtual and a physical one never mix by accident, and never look alike in print."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, overload

from lab.errors import AddressError

if TYPE_CHECKING:
    from typing import Self

    from lab.x86.levels import Level

__all__ = ["VirtualAddress", "PhysicalAddress"]

FRAME_SHIFT = 12

_DIGITS = re.compile(r"(?:0x)?([0-9a-f]+(?:[_`'][0-9a-f]+)*)", re.IGNORECASE)


class _Address(int):
    """What both kinds share: a checked range, and arithmetic that keeps the kind."""

    __slots__ = ()

    bits: ClassVar[int]
    kind: ClassVar[str]

    def __new__(cls, value: int) -> Self:
        # One past the last byte is allowed, so that the end of a range can be written down.
        if not 0 <= value <= 1 << cls.bits:
            raise AddressError(f"{value:#x}", f"a {cls.kind} address has {cls.bits} bits")
        return int.__new__(cls, value)

    @classmethod
    def _parse_digits(cls, text: str) -> Self:
        match = _DIGITS.fullmatch(text)
        if match is None:
            raise AddressError(text, "write it in hexadecimal, like 0xfffff880`00004010 or pa:0x12a010")
        value = int(re.sub("[_`']", "", match[1]), 16)
        if value >= 1 << cls.bits:
            raise AddressError(text, f"a {cls.kind} address has {cls.bits} bits")
        return cls(value)

    def __add__(self, other: int) -> Self:
        if isinstance(other, _Address):
            raise TypeError(f"cannot add two addresses ({self} and {other})")
        return type(self)(int.__add__(self, other))

    def __radd__(self, other: int) -> Self:
        return self + other

    def offset(self, page_size: int = 1 << FRAME_SHIFT) -> int:
        """Bytes from the start of the page (or frame) of `page_size` bytes that holds this address."""
        return self & (page_size - 1)


class VirtualAddress(_Address):
    """A linear address, 64 bits wide, as instructions use it; Intel SDM vol. 3A, "Paging".

    Adding an integer gives an address, subtracting two addresses gives bytes. 2**64 itself is allowed as the end of
    a range. Raises AddressError outside of that, TypeError where the two kinds of address would mix.

    >>> va = VirtualAddress.parse("fffff880`00004010")
    >>> print(va, va.page(), va.offset())
    0xfffff88000004010 0xfffff88000004000 16
    >>> va + 8 - va
    8
    """

    __slots__ = ()
    bits = 64
    kind = "virtual"

    @classmethod
    def parse(cls, text: str) -> VirtualAddress:
        """Read hexadecimal digits, with or without 0x, grouped by ``_``, ````` or ``'``; AddressError otherwise.

        >>> VirtualAddress.parse("0xfffff880_00004010")
        VirtualAddress(0xfffff88000004010)
        """
        text = text.strip()
        if text.lower().startswith("pa:"):
            raise AddressError(text, "that is a physical address; a virtual one is wanted")
        return cls._parse_digits(text)

    @overload
    def __sub__(self, other: VirtualAddress) -> int: ...  # type: ignore[overload-overlap]
    @overload
    def __sub__(self, other: int) -> VirtualAddress: ...
    def __sub__(self, other: int) -> int:
        if isinstance(other, VirtualAddress):
            return int.__sub__(self, other)
        if isinstance(other, _Address):
            raise TypeError(f"cannot subtract {other} from {self}: they are different kinds of address")
        return VirtualAddress(int.__sub__(self, other))

    def __str__(self) -> str:
        return f"{int(self):#018x}"

    def __repr__(self) -> str:
        return f"VirtualAddress({int(self):#018x})"

    def index(self, level: Level) -> int:
        """Which of the 512 entries of a table at `level` this address uses.

        >>> from lab.x86.levels import Level
        >>> hex(VirtualAddress(0xFFFFF88000004010).index(Level.PML4))
        '0x1f1'
        """
        return self >> level.shift & 511

    def is_canonical(self, levels: int = 4) -> bool:
        """Whether the bits that no level translates all equal the highest one that is translated.

        `levels` is 4 or 5: bits 63:47 or 63:56 must be equal (Intel SDM vol. 1, "Canonical Addressing").

        >>> VirtualAddress(0x0000800000000000).is_canonical(4), VirtualAddress(0x0000800000000000).is_canonical(5)
        (False, True)
        """
        translated = FRAME_SHIFT + 9 * levels
        return self >> (translated - 1) in (0, (1 << (65 - translated)) - 1)

    def page(self, page_size: int = 1 << FRAME_SHIFT) -> VirtualAddress:
        """The first address of the page of `page_size` bytes that holds this one."""
        return VirtualAddress(self & ~(page_size - 1))


class PhysicalAddress(_Address):
    """An address on the memory bus, up to 52 bits wide; it prints with ``pa:`` before it.

    Adding an integer gives an address, subtracting two addresses gives bytes. 2**52 itself is allowed as the end of
    a range. Raises AddressError outside of that, TypeError where the two kinds of address would mix.

    >>> pa = PhysicalAddress.parse("pa:0x12a010")
    >>> print(pa, hex(pa.frame))
    pa:0x000012a010 0x12a
    >>> PhysicalAddress.from_frame(0x12A)
    PhysicalAddress(0x000012a000)
    """

    __slots__ = ()
    bits = 52
    kind = "physical"

    @classmethod
    def parse(cls, text: str) -> PhysicalAddress:
        """Read hexadecimal digits with or without ``pa:`` and 0x before them; AddressError otherwise.

        >>> PhysicalAddress.parse("0x12_a010")
        PhysicalAddress(0x000012a010)
        """
        text = text.strip()
        return cls._parse_digits(text[3:] if text.lower().startswith("pa:") else text)

    @classmethod
    def from_frame(cls, frame: int) -> PhysicalAddress:
        """The first address of frame number `frame` (Windows' PFN)."""
        return cls(frame << FRAME_SHIFT)

    @overload
    def __sub__(self, other: PhysicalAddress) -> int: ...  # type: ignore[overload-overlap]
    @overload
    def __sub__(self, other: int) -> PhysicalAddress: ...
    def __sub__(self, other: int) -> int:
        if isinstance(other, PhysicalAddress):
            return int.__sub__(self, other)
        if isinstance(other, _Address):
            raise TypeError(f"cannot subtract {other} from {self}: they are different kinds of address")
        return PhysicalAddress(int.__sub__(self, other))

    def __str__(self) -> str:
        return f"pa:{int(self):#012x}"

    def __repr__(self) -> str:
        return f"PhysicalAddress({int(self):#012x})"

    @property
    def frame(self) -> int:
        """The number of the 4 KiB frame that holds this address (Windows' PFN)."""
        return self >> FRAME_SHIFT
