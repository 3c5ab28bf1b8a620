"""The control registers that decide how addresses are translated, with each bit named as in the manual.

Intel SDM vol. 3A, "Control Registers", "Extended Feature Enable Register", "Page Attribute Table (PAT)" and
"Page-Fault Exceptions".
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from lab.x86.address import PhysicalAddress
from lab.x86.entry import ADDRESS_MASK
from lab.x86.words import Bit, Field, Word

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

__all__ = ["CR0", "CR3", "CR4", "EFER", "RFLAGS", "KeyRights", "Vector", "PageFaultCode", "PAT", "MemoryType"]


class CR0(Word):
    """Control register 0.

    >>> CR0(0x80010033).names()
    ('PE', 'MP', 'ET', 'NE', 'WP', 'PG')
    """

    __slots__ = ()

    pe = Bit(0, "PE", "protected mode")
    mp = Bit(1, "MP", "WAIT obeys TS")
    em = Bit(2, "EM", "no x87 unit: its instructions fault")
    ts = Bit(3, "TS", "the task has switched: the next x87 or SSE instruction faults")
    et = Bit(4, "ET", "always 1")
    ne = Bit(5, "NE", "x87 errors are exceptions")
    wp = Bit(16, "WP", "the supervisor, too, obeys read-only pages")
    am = Bit(18, "AM", "RFLAGS.AC may check alignment")
    nw = Bit(29, "NW", "not write-through")
    cd = Bit(30, "CD", "caches are off")
    pg = Bit(31, "PG", "paging is on")


class CR3(Word):
    """Control register 3: where the root table is.

    >>> CR3(0x1AA018).root, CR3(0x1AA018).names()
    (PhysicalAddress(0x00001aa000), ('PWT', 'PCD'))
    """

    __slots__ = ()

    pcid = Field(11, 0, "PCID", "process-context identifier, when CR4.PCIDE is set")
    pwt = Bit(3, "PWT", "write-through access to the root table, when CR4.PCIDE is clear")
    pcd = Bit(4, "PCD", "uncached access to the root table, when CR4.PCIDE is clear")
    lam_u57 = Bit(61, "LAM_U57", "user pointers may carry data in bits 62:57")
    lam_u48 = Bit(62, "LAM_U48", "user pointers may carry data in bits 62:48")
    no_flush = Bit(63, "NOFLUSH", "only in MOV to CR3: keep the translations of this PCID")

    @property
    def root(self) -> PhysicalAddress:
        """The address of the root table: PML4, or PML5 with five levels."""
        return PhysicalAddress(self & ADDRESS_MASK)


class CR4(Word):
    """Control register 4.

    >>> CR4(0x3006A0).names()
    ('PAE', 'PGE', 'OSFXSR', 'OSXMMEXCPT', 'SMEP', 'SMAP')
    """

    __slots__ = ()

    vme = Bit(0, "VME", "virtual-8086 extensions")
    pvi = Bit(1, "PVI", "protected-mode virtual interrupts")
    tsd = Bit(2, "TSD", "RDTSC is the supervisor's")
    de = Bit(3, "DE", "debugging extensions")
    pse = Bit(4, "PSE", "4 MiB pages in 32-bit paging")
    pae = Bit(5, "PAE", "entries of eight bytes; needed for long mode")
    mce = Bit(6, "MCE", "machine-check exceptions")
    pge = Bit(7, "PGE", "global pages")
    pce = Bit(8, "PCE", "RDPMC is everybody's")
    osfxsr = Bit(9, "OSFXSR", "FXSAVE and SSE are used")
    osxmmexcpt = Bit(10, "OSXMMEXCPT", "SSE errors are exceptions")
    umip = Bit(11, "UMIP", "SGDT, SIDT, SLDT, SMSW and STR are the supervisor's")
    la57 = Bit(12, "LA57", "five levels")
    vmxe = Bit(13, "VMXE", "virtual-machine extensions")
    smxe = Bit(14, "SMXE", "safer-mode extensions")
    fsgsbase = Bit(16, "FSGSBASE", "RDFSBASE and its like are everybody's")
    pcide = Bit(17, "PCIDE", "process-context identifiers in CR3")
    osxsave = Bit(18, "OSXSAVE", "XSAVE is used")
    smep = Bit(20, "SMEP", "the supervisor may not execute user pages")
    smap = Bit(21, "SMAP", "the supervisor may not read or write user pages, unless RFLAGS.AC is set")
    pke = Bit(22, "PKE", "protection keys for user pages")
    cet = Bit(23, "CET", "control-flow enforcement")
    pks = Bit(24, "PKS", "protection keys for supervisor pages")


class EFER(Word):
    """The extended-feature register, MSR C0000080H.

    >>> EFER(0xD00).names()
    ('LME', 'LMA', 'NXE')
    """

    __slots__ = ()

    sce = Bit(0, "SCE", "SYSCALL and SYSRET")
    lme = Bit(8, "LME", "long mode is asked for")
    lma = Bit(10, "LMA", "long mode is active")
    nxe = Bit(11, "NXE", "bit 63 of an entry forbids execution")


class RFLAGS(Word):
    """The flags register.

    >>> RFLAGS(0x246).names()
    ('PF', 'ZF', 'IF')
    """

    __slots__ = ()

    cf = Bit(0, "CF", "carry")
    pf = Bit(2, "PF", "even parity")
    af = Bit(4, "AF", "carry from bit 3")
    zf = Bit(6, "ZF", "zero")
    sf = Bit(7, "SF", "negative")
    tf = Bit(8, "TF", "trap after each instruction")
    if_ = Bit(9, "IF", "interrupts are taken")
    df = Bit(10, "DF", "string instructions go downwards")
    of = Bit(11, "OF", "overflow")
    iopl = Field(13, 12, "IOPL", "lowest privilege that may use ports")
    nt = Bit(14, "NT", "nested task")
    rf = Bit(16, "RF", "no instruction breakpoint on the next instruction")
    vm = Bit(17, "VM", "virtual-8086 mode")
    ac = Bit(18, "AC", "supervisor: user pages may be touched in spite of SMAP; user: alignment checks")
    vif = Bit(19, "VIF", "virtual interrupt flag")
    vip = Bit(20, "VIP", "virtual interrupt pending")
    id = Bit(21, "ID", "CPUID exists")


class KeyRights(Word):
    """PKRU or IA32_PKRS (MSR 6E1H): for each protection key, bit 2i disables all access and bit 2i+1 writes.

    >>> rights = KeyRights.denying(access=[1], write=[5])
    >>> rights, rights.disables_access(1), rights.disables_write(5)
    (KeyRights(0x804), True, True)
    """

    __slots__ = ()

    @classmethod
    def denying(cls, *, access: Iterable[int] = (), write: Iterable[int] = ()) -> Self:
        """The register that disables access by some keys and writing by others, and allows the rest."""
        return cls(sum({1 << 2 * key for key in access} | {2 << 2 * key for key in write}))

    def disables_access(self, key: int) -> bool:
        """Whether pages of this key, 0 to 15, may not be read or written: ADi."""
        return self >> 2 * key & 1 != 0

    def disables_write(self, key: int) -> bool:
        """Whether pages of this key may not be written: WDi."""
        return self >> 2 * key & 2 != 0


class Vector(IntEnum):
    """The exceptions that an address can raise; Intel SDM vol. 3A, "Interrupt and Exception Reference".

    >>> print(Vector.PF, Vector(13))
    #PF #GP
    """

    SS = 12
    GP = 13
    PF = 14

    def __str__(self) -> str:
        return f"#{self.name}"


class PageFaultCode(Word):
    """The error code that a page fault (vector 14) pushes.

    >>> PageFaultCode(0x7).names()
    ('P', 'W', 'U')
    """

    __slots__ = ()

    present = Bit(0, "P", "a translation or a reserved bit was found; clear: an entry was not present")
    write = Bit(1, "W", "the access was a write")
    user = Bit(2, "U", "the access was a user-mode one")
    reserved = Bit(3, "RSVD", "a reserved bit was set in an entry")
    fetch = Bit(4, "I/D", "the access was an instruction fetch")
    protection_key = Bit(5, "PK", "a protection key forbade it")
    shadow_stack = Bit(6, "SS", "the access was one to a shadow stack")
    hlat = Bit(7, "HLAT", "no translation in hypervisor-managed paging")
    sgx = Bit(15, "SGX", "an enclave rule forbade it")

    def sentence(self) -> str:
        """What the code says, in words.

        >>> PageFaultCode(0x2).sentence(), PageFaultCode(0x15).sentence()
        ('supervisor write, page not present', 'user fetch, forbidden by the rights of a present page')
        """
        access = "fetch" if self.fetch else "write" if self.write else "read"
        if not self.present and not self.reserved:
            reason = "page not present"
        elif self.reserved:
            reason = "a reserved bit is set"
        elif self.protection_key:
            reason = "forbidden by a protection key"
        else:
            reason = "forbidden by the rights of a present page"
        return f"{'user' if self.user else 'supervisor'} {access}, {reason}"


class MemoryType(IntEnum):
    """How the caches treat a page, by the numbers that IA32_PAT uses.

    >>> print(MemoryType.WB, MemoryType.UC_MINUS, MemoryType(2))
    WB UC- ?
    """

    UC = 0
    WC = 1
    RESERVED = 2
    WT = 4
    WP = 5
    WB = 6
    UC_MINUS = 7

    @classmethod
    def _missing_(cls, value: object) -> MemoryType | None:
        # WRMSR refuses other numbers, but an emulator may let them through and a decoder must not die of them.
        return cls.RESERVED if isinstance(value, int) else None

    def __str__(self) -> str:
        return {"UC_MINUS": "UC-", "RESERVED": "?"}.get(self.name, self.name)


class PAT(Word):
    """IA32_PAT, MSR 277H: eight memory types, chosen by PAT, PCD and PWT of a leaf.

    >>> print(*PAT().types)
    WB WT UC- UC WB WT UC- UC
    >>> PAT(0x0007010600070406)[6]
    <MemoryType.UC_MINUS: 7>
    """

    __slots__ = ()

    AT_RESET = 0x0007_0406_0007_0406

    def __new__(cls, value: int = AT_RESET) -> Self:
        """Take a raw value; without one, the value after a reset."""
        return int.__new__(cls, value)

    @property
    def types(self) -> tuple[MemoryType, ...]:
        """All eight, in the order of the index."""
        return tuple(self[index] for index in range(8))

    def __getitem__(self, index: int) -> MemoryType:
        """The memory type at `index`, 0 to 7; IndexError outside."""
        if not 0 <= index < 8:
            raise IndexError(f"IA32_PAT has 8 fields, none with index {index}")
        return MemoryType(self >> 8 * index & 0xFF)
