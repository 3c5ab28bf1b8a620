"""Where a CPU departs from the manual: each quirk by name, with what it changes and a case that shows it.

Predictions are strict unless they are given a set of these: they say what the manual says, and a quirk of the CPU at
hand shows up as a difference. A quirk changes just what its sentence says, so it hides no other fault.

Measured on QEMU 7.2.22: with those about translations modelled, millions of random probes showed no other difference.
Later versions have not been measured; `read_in` names those whose source does the same in the places that matter
(target/i386/tcg/system/excp_helper.c and misc_helper.c, in tcg/sysemu before 10.0), at both ends of the range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from lab.paging.access import Access, AccessKind
from lab.x86.registers import CR3, CR4, EFER, RFLAGS, KeyRights
from lab.x86.state import PagingState

__all__ = ["Quirk", "Quirks", "Case", "QUIRKS", "NONE", "quirks_of", "state_with"]


class Case(NamedTuple):
    """One access that shows a quirk: eight-byte `words` of memory by physical address, registers, and what is done."""

    words: Mapping[int, int]
    state: PagingState
    address: int
    access: Access


@dataclass(frozen=True, eq=False, kw_only=True)
class Quirk:
    """One departure from the manual by an accelerator of QEMU.

    `versions` are those it was measured in, `read_in` the first and last of those in whose source it was read. `case`
    is None where the quirk is not about translations; then predictions do not change, and `example` says what shows it.
    """

    name: str
    sentence: str
    example: str
    case: Case | None = None
    accelerator: str = "tcg"
    versions: tuple[str, ...] = ("7.2",)
    read_in: tuple[str, str] | None = None

    def is_in(self, version: str) -> bool:
        """Whether a version such as "8.2.2" has it, as far as was measured or read."""
        release = _release(version)
        first, last = (_release(each) for each in self.read_in or ("", ""))
        return release in map(_release, self.versions) or first <= release <= last

    @property
    def is_about_translations(self) -> bool:
        """Whether predictions change with it."""
        return self.case is not None

    def __str__(self) -> str:
        return self.name


def _release(version: str) -> tuple[int, ...]:
    """What of a version tells one release from another: (7, 2) of "7.2.22"; nothing where it is no number."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


READ_IN = ("8.0", "10.1")

Quirks: TypeAlias = frozenset[Quirk]

NONE: Quirks = frozenset()
"""The manual, and nothing but the manual."""

# The tables of all cases: PML4 at 0x1000, PDPT at 0x2000, PD at 0x3000, PT at 0x4000; the page is frame 5.
_PAGE = {0x1000: 0x2007, 0x2000: 0x3007, 0x3000: 0x4007}
_STATE = PagingState(cr3=CR3(0x1000))
_READ, _USER_READ = Access(AccessKind.READ), Access(AccessKind.READ, user=True)


def _cr4(*names: str) -> CR4:
    return CR4.from_names("PAE", *names)


RSVD_WITHOUT_P = Quirk(
    name="rsvd-without-p",
    sentence="A fault by a reserved bit has P=0 in its error code.",
    example="bit 51 set in a PT entry: code 0x8, not 0x9",
    read_in=READ_IN,
    case=Case(words=_PAGE | {0x4000: 1 << 51 | 0x5007}, state=_STATE, address=0, access=_READ),
)
GIB_LEAF_ACCESSED_EARLY = Quirk(
    name="gib-leaf-accessed-early",
    sentence="A is set in the entry of a 1 GiB page before bits 29:13 and the rights are looked at.",
    example="bit 13 set in a 1 GiB leaf: the access faults, and A is set all the same",
    read_in=READ_IN,
    case=Case(words={0x1000: 0x2007, 0x2000: 0x2087}, state=_STATE, address=0, access=_READ),
)
AC_LIFTS_SMAP_OF_IMPLICIT = Quirk(
    name="ac-lifts-smap-of-implicit",
    sentence="RFLAGS.AC lifts SMAP for implicit accesses at CPL 0 to 2 too.",
    example="a descriptor table in a user page, AC set: no fault",
    read_in=READ_IN,
    case=Case(
        words=_PAGE | {0x4000: 0x5007},
        state=replace(_STATE, cr4=_cr4("SMAP"), rflags=RFLAGS.from_names("AC")),
        address=0,
        access=Access(AccessKind.READ, implicit=True),
    ),
)
NO_PK_OF_USER_ON_SUPERVISOR_PAGE = Quirk(
    name="no-pk-of-user-on-supervisor-page",
    sentence="PK is never set when user mode accesses a supervisor page whose key IA32_PKRS disables.",
    example="user read of a page with U=0 and a disabled key: code 0x5; the manual's words say 0x25",
    read_in=READ_IN,
    case=Case(
        words=_PAGE | {0x4000: 1 << 59 | 0x5003},
        state=replace(_STATE, cr4=_cr4("PKS"), pkrs=KeyRights.denying(access=[1])),
        address=0,
        access=_USER_READ,
    ),
)
GIB_LEAF_WITHOUT_CPUID = Quirk(
    name="gib-leaf-without-cpuid",
    sentence="PS=1 in a PDPT entry maps 1 GiB though CPUID says that there are no such pages.",
    example="-cpu …,pdpe1gb=off and PS=1 in a PDPT entry: no fault",
    read_in=READ_IN,
    case=Case(words={0x1000: 0x2007, 0x2000: 0x87}, state=replace(_STATE, gib_pages=False), address=0, access=_READ),
)
GP_FOR_SS = Quirk(
    name="gp-for-ss",
    sentence="A stack access at an address that is not canonical raises #GP, not #SS.",
    example="push with rsp = 0x800000000008: #GP(0)",
    read_in=READ_IN,
    case=Case(words={}, state=_STATE, address=1 << 47, access=Access(AccessKind.READ, stack=True)),
)
AMD_BIT_8_NOT_RESERVED = Quirk(
    name="amd-bit-8-not-reserved",
    sentence="Bit 8 of PML4 and PML5 entries may be set on a CPU of vendor AMD.",
    example="-cpu EPYC and bit 8 set in a PML4 entry: no fault",
    read_in=READ_IN,
    case=Case(
        words=_PAGE | {0x1000: 0x2107, 0x4000: 0x5007}, state=replace(_STATE, vendor="amd"), address=0, access=_READ
    ),
)

PCIDE_WITHOUT_CPUID = Quirk(
    name="pcide-without-cpuid",
    sentence="CR4.PCIDE can be set though CPUID says that there are no PCIDs, and does nothing.",
    example="mov cr4, rax with bit 17 set: no #GP",
)
NO_PCID = Quirk(
    name="no-pcid",
    sentence="There are no PCIDs and no INVPCID.",
    example="lab run stale-tlb: invpcid is an undefined instruction",
)
CR3_FLUSHES_GLOBAL = Quirk(
    name="cr3-flushes-global",
    sentence="MOV to CR3 flushes global pages too.",
    example="lab run stale-tlb: change the entry of a global page and reload CR3, and the change is seen",
)

PAE_ROOT_ACCESSED = Quirk(
    name="pae-root-accessed",
    sentence="A is set in the four entries that CR3 names in PAE paging, where it is a reserved bit.",
    example="any access in PAE paging: bit 5 of its PDPT entry is set",
    read_in=READ_IN,
    case=Case(
        words={0x1000: 0x2001, 0x2000: 0x87},
        state=replace(_STATE, efer=EFER(0), cr4=CR4.from_names("PAE")),
        address=0,
        access=_READ,
    ),
)

QUIRKS: tuple[Quirk, ...] = (
    RSVD_WITHOUT_P,
    GIB_LEAF_ACCESSED_EARLY,
    AC_LIFTS_SMAP_OF_IMPLICIT,
    NO_PK_OF_USER_ON_SUPERVISOR_PAGE,
    GIB_LEAF_WITHOUT_CPUID,
    GP_FOR_SS,
    AMD_BIT_8_NOT_RESERVED,
    PAE_ROOT_ACCESSED,
    Quirk(
        name="control-register-hangs",
        sentence="MOV to CR4 with an unsupported bit, or to CR3 with a reserved bit or bit 63, hangs instead of #GP.",
        example="mov cr3, rax with bit 63 set: the instruction is executed again and again",
        read_in=READ_IN,
    ),
    PCIDE_WITHOUT_CPUID,
    Quirk(
        name="msr-values-unchecked",
        sentence="WRMSR takes reserved bits in IA32_PAT and EFER.",
        example="wrmsr of 2 (reserved) to a field of IA32_PAT: no #GP",
        read_in=READ_IN,
    ),
    Quirk(
        name="bases-unchecked",
        sentence="LGDT, LIDT, LLDT, LTR and WRMSR to a base take addresses that are not canonical.",
        example="wrmsr of 0x800000000000 to FS.base: no #GP",
    ),
    NO_PCID,
    CR3_FLUSHES_GLOBAL,
    Quirk(
        name="no-structure-cache",
        sentence="Entries above the leaf are not cached by themselves.",
        example="change a PD entry and touch a page under it that was not touched before: the change is seen",
    ),
    Quirk(
        name="no-cet-no-lam",
        sentence="There are no shadow stacks and no linear-address masking.",
        example="mov cr4, rax with bit 23 (CET) set: refused",
    ),
    Quirk(
        name="no-memory-types",
        sentence="PAT, MTRRs and CR0.CD have no effect that could be seen.",
        example="write through an uncached alias: seen at once through the cached one",
    ),
)
"""All that are known, those about translations first."""


def quirks_of(accelerator: str, version: str) -> Quirks:
    """The quirks of an accelerator ("tcg", "kvm") in a version of QEMU ("7.2.22"), as far as measured or read.

    >>> len(quirks_of("tcg", "7.2.22")), len(quirks_of("kvm", "7.2.22"))
    (17, 0)
    >>> sorted(map(str, quirks_of("tcg", "7.2.22") - quirks_of("tcg", "9.0.0")))[:3]
    ['bases-unchecked', 'cr3-flushes-global', 'no-cet-no-lam']
    """
    return frozenset(quirk for quirk in QUIRKS if quirk.accelerator == accelerator and quirk.is_in(version))


def state_with(state: PagingState, quirks: Quirks) -> PagingState:
    """The state whose rules the CPU follows: what CPUID says is not what such quirks do."""
    if GIB_LEAF_WITHOUT_CPUID in quirks:
        state = replace(state, gib_pages=True)
    if AMD_BIT_8_NOT_RESERVED in quirks:
        state = replace(state, vendor="intel")
    return state
