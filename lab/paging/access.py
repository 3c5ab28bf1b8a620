"""What is asked of a page: an access, and the conditions it is made under.

Intel SDM vol. 3A, "Access Rights" (explicit and implicit accesses, user-mode and supervisor-mode accesses).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from lab.errors import UsageError
from lab.x86.words import Bit, Word

if TYPE_CHECKING:
    from lab.x86.state import PagingState

__all__ = ["Access", "AccessKind", "Conditions"]


class AccessKind(Enum):
    """What is done with a byte: an instruction that reads and writes one is a write."""

    READ = "read"
    WRITE = "write"
    FETCH = "fetch"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Access:
    """One access of one byte.

    `user` says that it is made at CPL 3; `implicit`, that the CPU makes it by itself, to get at a descriptor table or
    a TSS, which is a supervisor-mode access at any CPL. `stack` is one through SS, RSP or RBP; `shadow_stack` one by
    CALL, RET and their like to the shadow stack. UsageError for an implicit or stack fetch.

    >>> print(Access(AccessKind.WRITE, user=True), Access(AccessKind.READ, implicit=True), sep=", ")
    user write, implicit read
    """

    kind: AccessKind
    user: bool = False
    implicit: bool = False
    stack: bool = False
    shadow_stack: bool = False

    def __post_init__(self) -> None:
        if self.kind is AccessKind.FETCH and (self.implicit or self.stack or self.shadow_stack):
            raise UsageError("a fetch is neither implicit nor one of a stack; ask for a read or a write")

    def __str__(self) -> str:
        where = "shadow-stack " if self.shadow_stack else "stack " if self.stack else ""
        who = "implicit " if self.implicit else "user " if self.user else ""
        return f"{who}{where}{self.kind}" + (" at CPL 3" if self.implicit and self.user else "")


class Conditions(Word):
    """An access and the control bits that have a say in it, packed into one small word, of which arrays can be made.

    >>> from lab.x86 import PagingState
    >>> Conditions.of(PagingState(), Access(AccessKind.WRITE, user=True)).names()
    ('WRITE', 'CPL3', 'WP', 'NXE')
    """

    __slots__ = ()

    write = Bit(0, "WRITE", "a write; neither this nor FETCH: a read")
    fetch = Bit(1, "FETCH", "an instruction fetch")
    cpl3 = Bit(2, "CPL3", "made at CPL 3")
    implicit = Bit(3, "IMPLICIT", "made by the CPU itself")
    stack = Bit(4, "STACK", "through SS, RSP or RBP")
    shadow_stack = Bit(5, "SHADOW", "of the shadow stack")
    ac = Bit(6, "AC", "RFLAGS.AC")
    wp = Bit(8, "WP", "CR0.WP")
    nxe = Bit(9, "NXE", "EFER.NXE, with entries that have a bit 63")
    smep = Bit(10, "SMEP", "CR4.SMEP")
    smap = Bit(11, "SMAP", "CR4.SMAP")
    pke = Bit(12, "PKE", "CR4.PKE, in long mode")
    pks = Bit(13, "PKS", "CR4.PKS, in long mode")
    cet = Bit(14, "CET", "CR4.CET")

    @property
    def is_user_mode(self) -> bool:
        """Whether the access is a user-mode one: at CPL 3, and not made by the CPU itself."""
        return self.cpl3 and not self.implicit

    @classmethod
    def of(cls, state: PagingState, access: Access) -> Conditions:
        """The conditions of `access` in `state`, whose RFLAGS say what AC is."""
        return cls(_of_state(state) | _of_access(access))


def _of_access(access: Access) -> int:
    return (
        (access.kind is AccessKind.WRITE) * Conditions.write.mask
        | (access.kind is AccessKind.FETCH) * Conditions.fetch.mask
        | access.user * Conditions.cpl3.mask
        | access.implicit * Conditions.implicit.mask
        | access.stack * Conditions.stack.mask
        | access.shadow_stack * Conditions.shadow_stack.mask
    )


def _of_state(state: PagingState) -> int:
    cr4, long_mode = state.cr4, state.efer.lma
    return (
        state.rflags.ac * Conditions.ac.mask
        | state.cr0.wp * Conditions.wp.mask
        | (state.efer.nxe and (cr4.pae or long_mode)) * Conditions.nxe.mask
        | cr4.smep * Conditions.smep.mask
        | cr4.smap * Conditions.smap.mask
        | (cr4.pke and long_mode) * Conditions.pke.mask
        | (cr4.pks and long_mode) * Conditions.pks.mask
        | cr4.cet * Conditions.cet.mask
    )
