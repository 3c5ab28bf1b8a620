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

    from lab.x86.state import PagingState

__all__ = ["Rights", "Grant", "Denial", "supervisor_rights", "user_rights", "denials"]


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
        return cls((every >> 1 & 3) | (some >> 61 & 4))


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


def denials(path: Iterable[tuple[Level, int]], grant: Grant, state: PagingState) -> tuple[Denial, ...]:
    """Everything that the page at the end of `path` (level and entry, from the top) refuses, RFLAGS.AC being clear.

    In the order read, write, execute, user. NX is named before SMEP where both forbid execution.
    """
    path = tuple(path)
    read, write, fetch = (_reasons(grant, state, kind) for kind in AccessKind)
    found = []
    if read.smap:
        found.append(Denial("read", None, CR4.smap.number, CR4.smap.name))
    if write.write:
        found.append(_first("write", Entry.writable, path, forbids_when=False))
    if fetch.no_execute:
        found.append(_first("execute", Entry.no_execute, path, forbids_when=True))
    elif fetch.smep:
        found.append(Denial("execute", None, CR4.smep.number, CR4.smep.name))
    if _reasons(grant, state, AccessKind.READ, user=True).user:
        found.append(_first("user", Entry.user, path, forbids_when=False))
    return tuple(found)


def _first(access: str, bit: Bit, path: tuple[tuple[Level, int], ...], *, forbids_when: bool) -> Denial:
    """The denial by the topmost level whose `bit` forbids; the caller knows that there is one."""
    level = next(level for level, entry in path if (entry & bit.mask != 0) is forbids_when)
    return Denial(access, level, bit.number, bit.name)
