"""Hardware words: integers whose bits have names."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, overload

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Word", "Bit", "Field"]


class Bit:
    """One named bit of a word: on a word it reads as bool, on the class it is the bit itself.

    `number` counts from 0, `mask` is the bit in place, `name` is the manual's, `doc` says what a set bit means.

    >>> class Status(Word):
    ...     ready = Bit(3, "RDY", "the device has an answer")
    >>> Status(0x18).ready, Status.ready.number, hex(Status.ready.mask)
    (True, 3, '0x8')
    """

    __slots__ = ("doc", "mask", "name", "number")

    def __init__(self, number: int, name: str, doc: str = "") -> None:
        self.number = number
        self.mask = 1 << number
        self.name = name
        self.doc = doc

    @overload
    def __get__(self, word: None, owner: type[Word]) -> Bit: ...
    @overload
    def __get__(self, word: Word, owner: type[Word]) -> bool: ...
    def __get__(self, word: Word | None, owner: type[Word]) -> Bit | bool:
        if word is None:
            return self
        return word & self.mask != 0

    def insert(self, word: int, value: int) -> int:
        """`word` with this bit set when `value` is true, else clear."""
        return word | self.mask if value else word & ~self.mask

    def __repr__(self) -> str:
        return f"Bit({self.number}, {self.name!r})"


class Field:
    """Bits `high` to `low`, both included, of a word, read as one unsigned number.

    >>> class Status(Word):
    ...     count = Field(7, 4, "COUNT", "words waiting")
    >>> Status(0x38).count, hex(Status.count.mask)
    (3, '0xf0')
    """

    __slots__ = ("doc", "high", "low", "mask", "name")

    def __init__(self, high: int, low: int, name: str, doc: str = "") -> None:
        self.high = high
        self.low = low
        self.mask = (1 << (high + 1)) - (1 << low)
        self.name = name
        self.doc = doc

    @overload
    def __get__(self, word: None, owner: type[Word]) -> Field: ...
    @overload
    def __get__(self, word: Word, owner: type[Word]) -> int: ...
    def __get__(self, word: Word | None, owner: type[Word]) -> Field | int:
        if word is None:
            return self
        return (word & self.mask) >> self.low

    def insert(self, word: int, value: int) -> int:
        """`word` with this field set to `value`; ValueError when that does not fit."""
        if value << self.low & ~self.mask or value < 0:
            raise ValueError(f"{value} does not fit in {self.name} ({self.high}:{self.low})")
        return word & ~self.mask | value << self.low

    def __repr__(self) -> str:
        return f"Field({self.high}, {self.low}, {self.name!r})"


class Word(int):
    """An integer with named bits: immutable, hashable, equal to its raw value.

    A subclass lists its bits and fields as class attributes; `bits` and `fields` hold them in ascending order.

    >>> class Status(Word):
    ...     ready = Bit(3, "RDY")
    ...     count = Field(7, 4, "COUNT")
    ...     error = Bit(1, "ERR")
    >>> status = Status(0x3A)
    >>> status.names(), status == 0x3A, status
    (('ERR', 'RDY'), True, Status(0x3a))
    >>> status.replace(error=False, count=1)
    Status(0x18)
    """

    __slots__ = ()

    bits: ClassVar[tuple[Bit, ...]] = ()
    fields: ClassVar[tuple[Field, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = [value for value in vars(cls).values() if isinstance(value, (Bit, Field))]
        bits = [*cls.bits, *(value for value in own if isinstance(value, Bit))]
        fields = [*cls.fields, *(value for value in own if isinstance(value, Field))]
        cls.bits = tuple(sorted(bits, key=lambda bit: bit.number))
        cls.fields = tuple(sorted(fields, key=lambda field: field.low))

    @classmethod
    def from_names(cls, *names: str) -> Self:
        """The word in which exactly the bits of these names are set; ValueError for a name it does not have."""
        masks = {bit.name: bit.mask for bit in cls.bits}
        unknown = [name for name in names if name not in masks]
        if unknown:
            raise ValueError(f"{cls.__name__} has no bit {', '.join(unknown)}; it has {' '.join(masks)}")
        return cls(sum({masks[name] for name in names}))

    def names(self) -> tuple[str, ...]:
        """The manual's names of the set bits, lowest bit first; fields are not among them."""
        return tuple(bit.name for bit in self.bits if self & bit.mask)

    def replace(self, **values: int) -> Self:
        """A copy with the bits and fields of these attribute names changed; AttributeError for an unknown one."""
        word = int(self)
        for attribute, value in values.items():
            word = getattr(type(self), attribute).insert(word, value)
        return type(self)(word)

    def __str__(self) -> str:
        return f"{int(self):#x}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self):#x})"
