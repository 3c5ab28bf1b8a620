"""Everything besides memory that decides how an address is translated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from lab.x86.address import PhysicalAddress
from lab.x86.caching import Mtrrs
from lab.x86.registers import CR0, CR3, CR4, EFER, PAT, RFLAGS, KeyRights

__all__ = ["PagingState", "PagingMode"]

USUAL_CR0 = CR0.from_names("PE", "MP", "ET", "NE", "WP", "PG")
USUAL_CR4 = CR4.from_names("PAE", "PGE")
USUAL_EFER = EFER.from_names("LME", "LMA", "NXE")
NO_ROOT = CR3(0)
PAT_AT_RESET = PAT()
RFLAGS_AT_RESET = RFLAGS(2)
ALL_KEYS_ALLOWED = KeyRights(0)
ALL_WRITE_BACK = Mtrrs()


class PagingMode(Enum):
    """How addresses are translated; Intel SDM vol. 3A, "Paging Modes and Control Bits"."""

    OFF = "off"
    BITS32 = "32-bit"
    PAE = "PAE"
    LEVEL4 = "4-level"
    LEVEL5 = "5-level"

    @property
    def levels(self) -> int:
        """How many tables a walk passes at most."""
        return {"off": 0, "32-bit": 2, "PAE": 3, "4-level": 4, "5-level": 5}[self.value]

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class PagingState:
    """The registers and CPU features that paging depends on; the defaults are a usual 64-bit kernel's.

    `pkru` and `pkrs` are the protection-key rights of user and of supervisor pages; CR4 says whether they are obeyed.
    `max_phys_bits` is MAXPHYADDR (at most 52), `gib_pages` says whether 1 GiB leaves exist, `vendor` matters for one
    reserved bit.

    >>> state = PagingState(cr3=CR3(0x1AA000))
    >>> print(state.mode, state.levels, state.root)
    4-level 4 pa:0x00001aa000
    """

    cr0: CR0 = USUAL_CR0
    cr3: CR3 = NO_ROOT
    cr4: CR4 = USUAL_CR4
    efer: EFER = USUAL_EFER
    pat: PAT = PAT_AT_RESET
    rflags: RFLAGS = RFLAGS_AT_RESET
    pkru: KeyRights = ALL_KEYS_ALLOWED
    pkrs: KeyRights = ALL_KEYS_ALLOWED
    mtrrs: Mtrrs = ALL_WRITE_BACK
    max_phys_bits: int = 40
    gib_pages: bool = True
    vendor: Literal["intel", "amd"] = "intel"

    @property
    def mode(self) -> PagingMode:
        """The paging mode these registers select."""
        if not self.cr0.pg:
            return PagingMode.OFF
        if self.efer.lma:
            return PagingMode.LEVEL5 if self.cr4.la57 else PagingMode.LEVEL4
        return PagingMode.PAE if self.cr4.pae else PagingMode.BITS32

    @property
    def levels(self) -> int:
        """How many tables a walk passes at most: 4 or 5 in long mode, 3 with PAE, 2 without."""
        return self.mode.levels

    @property
    def root(self) -> PhysicalAddress:
        """The physical address of the table that CR3 names: a frame, or the 32 bytes that PAE paging starts from."""
        match self.mode:
            case PagingMode.PAE:
                return PhysicalAddress(self.cr3 & 0xFFFF_FFE0)
            case PagingMode.BITS32:
                return PhysicalAddress(self.cr3 & 0xFFFF_F000)
            case _:
                return self.cr3.root
