"""The registers of one CPU at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from lab.errors import UsageError
from lab.x86.registers import CR0, CR3, CR4, EFER, RFLAGS
from lab.x86.state import PagingState

__all__ = ["Registers"]


@dataclass(frozen=True)
class Registers:
    """General registers, RIP, RFLAGS, control registers and segment selectors, as plain numbers.

    >>> Registers(rip=0xfffff80000101000)["rip"] == 0xfffff80000101000
    True
    """

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rbp: int = 0
    rsp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    rflags: int = 0x2
    cr0: int = 0
    cr2: int = 0
    cr3: int = 0
    cr4: int = 0
    cr8: int = 0
    efer: int = 0
    cs: int = 0
    ss: int = 0
    ds: int = 0
    es: int = 0
    fs: int = 0
    gs: int = 0
    fs_base: int = 0
    gs_base: int = 0

    def paging_state(self) -> PagingState:
        """What of these decides over translations; the rest of the state, such as PAT and CPU features, is usual.

        >>> print(Registers(cr0=0x80010033, cr3=0x1aa000, cr4=0x20, efer=0xd00).paging_state().mode)
        4-level
        """
        return PagingState(
            cr0=CR0(self.cr0), cr3=CR3(self.cr3), cr4=CR4(self.cr4), efer=EFER(self.efer), rflags=RFLAGS(self.rflags)
        )

    @classmethod
    def from_mapping(cls, values: Mapping[str, int]) -> Registers:
        """Take the registers known here from any larger set (QEMU's, GDB's, a mailbox record's); others are 0."""
        known = cls.names()
        return cls(**{name: value for name, value in values.items() if name in known})

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every register, general ones first."""
        return tuple(each.name for each in fields(cls))

    def as_dict(self) -> dict[str, int]:
        """Names and values, in the order of `names`."""
        return {name: self[name] for name in self.names()}

    def __getitem__(self, name: str) -> int:
        """A register by its name; UsageError when there is none of that name."""
        if name not in self.names():
            raise UsageError(f"there is no register {name!r} here; there are {', '.join(self.names())}")
        value: int = getattr(self, name)
        return value

    @property
    def privilege(self) -> int:
        """The current privilege level: 0 in the kernel, 3 in user mode."""
        return self.cs & 3
