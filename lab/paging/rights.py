"""Who may do what with a page, once every level has had its say; Intel SDM vol. 3A, "Access Rights"."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lab.paging.access import Access, AccessKind, Conditions
from lab.paging.judge import Page, Reasons, forbidding
from lab.x86.entry import Entry
from lab.x86.levels import Level
from lab.x86.registers import CR4
from lab.x86.words import Bit, Word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lab.paging.judge import Number
    from lab.x86.state import PagingState

__all__ = ["Rights", "Grant", "Denial", "Refusal", "supervisor_rights", "user_rights", "refusals", "grant_bits"]


class Rights(Word):
    """What one kind of access may do with a page: read, write, execute.

    >>> print(Rights.parse("r-x"), Rights(0), Rights.parse("rw-").write)
    r-x --- True
    """

    __slots__ = ()

    read = Bit(2, "r")
    write = Bit(1, "w")
    execute = Bit(0, "x")

    @classmethod
    def parse(cls, text: str) -> Rights:
        """The inverse of str; ValueError for anything that is not three of those letters and hyphens."""
        for value, letters in enumerate(_LETTERS):
            if letters == text:
                return cls(value)
        raise ValueError(f"{text!r} is no set of rights; write it like 'rw-'")

    def __str__(self) -> str:
        return _LETTERS[self]


_LETTERS = ("---", "--x", "-w-", "-wx", "r--", "r-x", "rw-", "rwx")


class Grant(Word):
    """What the entries of a walk allow together, before the control registers are asked.

    W and U hold when every level sets them, NX when any level does.

    >>> Grant.combine([0x1AB063, 0x1AC067, 1 << 63 | 0x1AD067]).names()
    ('W', 'NX')
    """

    __slots__ = ()

    writable = Bit(0, "W", "every level allows writes")
    user = Bit(1, "U", "every level allows user mode: the page is a user page")
    no_execute = Bit(2, "NX", "some level forbids execution")

    @classmethod
    def combine(cls, entries: Iterable[int]) -> Grant:
        """The grant of a complete walk, from its entries in any order."""
        every, some = -1, 0
        for entry in entries:
            every &= entry
            some |= entry
        return cls.of(every, some)

    @classmethod
    def of(cls, every: int, some: int) -> Grant:
        """The grant from the AND (`every`) and the OR (`some`) of all entries of a walk."""
        return cls(int(grant_bits(every, some)))


def grant_bits(every: Number, some: Number) -> Number:
    """A `Grant` as a number, or a column of them, from the AND and the OR of all entries."""
    return every >> 1 & 3 | some >> 61 & 4


def supervisor_rights(grant: Grant, state: PagingState, *, ac: bool = False) -> Rights:
    """What the kernel may do with a page, by accesses of its own at the given RFLAGS.AC.

    >>> from lab.x86 import CR4, PagingState
    >>> smap = PagingState(cr4=CR4.from_names("PAE", "SMAP"))
    >>> print(supervisor_rights(Grant.from_names("W", "U"), smap))
    --x
    """
    return _rights(grant, state, ac=ac, user=False)


def user_rights(grant: Grant, state: PagingState) -> Rights:
    """What user mode may do with a page; CR0.WP, SMEP and SMAP have no say in it.

    >>> from lab.x86 import PagingState
    >>> print(user_rights(Grant.from_names("U", "NX"), PagingState()))
    r--
    """
    return _rights(grant, state, ac=False, user=True)


def _rights(grant: Grant, state: PagingState, *, ac: bool, user: bool) -> Rights:
    """The kinds of access that nothing forbids, protection keys aside."""
    read, write, execute = (not _reasons(grant, state, kind, ac=ac, user=user).any for kind in AccessKind)
    return Rights(read << 2 | write << 1 | execute)


def _reasons(grant: Grant, state: PagingState, kind: AccessKind, *, ac: bool = False, user: bool = False) -> Reasons:
    page = Page(grant.writable, grant.writable, grant.user, grant.no_execute)
    conditions = Conditions.of(state, Access(kind, user)) & ~Conditions.ac.mask
    return forbidding(page, conditions | ac * Conditions.ac.mask)


class Denial(NamedTuple):
    """One kind of access that a mapped page refuses, and the bit that decides.

    `access` is "read", "write" or "execute" (the supervisor's) or "user" (any from user mode). `level` is the topmost
    whose entry forbids it; None where control register CR4 does, and then `bit` is one of CR4's.

    >>> print(Denial("execute", Level.PT, 63, "NX"))
    execute by PT bit 63 (NX)
    >>> print(Denial("read", None, CR4.smap.number, "SMAP"))
    read by SMAP (CR4 bit 21): user page
    """

    access: str
    level: Level | None
    bit: int
    name: str

    def __str__(self) -> str:
        if self.level is None:
            return f"{self.access} by {self.name} (CR4 bit {self.bit}): user page"
        return f"{self.access} by {self.level} bit {self.bit} ({self.name})"


class Refusal(NamedTuple):
    """A denial before it is known which level decides: the topmost one with `value` in its bit, or CR4 (None)."""

    denial: Denial
    value: bool | None = None

    def at(self, path: tuple[tuple[Level, int], ...]) -> Denial:
        """The denial by the level of `path` that decides; one does."""
        if self.value is None:
            return self.denial
        bit = 1 << self.denial.bit
        return self.denial._replace(level=next(level for level, entry in path if (entry & bit != 0) is self.value))


def refusals(grant: Grant, state: PagingState) -> tuple[Refusal, ...]:
    """All that a page of this grant refuses, RFLAGS.AC being clear, in the order read, write, execute, user.

    NX is named before SMEP where both forbid execution.
    """
    read, write, fetch = (_reasons(grant, state, kind) for kind in AccessKind)
    user = _reasons(grant, state, AccessKind.READ, user=True)
    found = [
        (read.smap, "read", CR4.smap, None),
        (write.write, "write", Entry.writable, False),
        (fetch.no_execute, "execute", Entry.no_execute, True),
        (fetch.smep and not fetch.no_execute, "execute", CR4.smep, None),
        (user.user, "user", Entry.user, False),
    ]
    return tuple(
        Refusal(Denial(access, None, bit.number, bit.name), value) for applies, access, bit, value in found if applies
    )
