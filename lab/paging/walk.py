"""The walk of one address: every entry on the way, and what decides at its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import NoMemoryAt, NotMapped
from lab.memory.protocol import Memory, read_entry
from lab.paging.judge import look
from lab.paging.rights import Denial, Grant, Rights
from lab.paging.rules import LevelRules, Rules, reserved_reason, rules_of
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import ADDRESS_MASK, Entry
from lab.x86.levels import Level, size_text

if TYPE_CHECKING:
    from lab.x86.registers import MemoryType
    from lab.x86.state import PagingState

__all__ = ["walk", "translate", "Walk", "Step", "Mapped", "Fault", "FaultKind"]


@dataclass(frozen=True, slots=True)
class Step:
    """One entry on the way: number `index` of its table, read at `entry_address`."""

    level: Level
    index: int
    entry_address: PhysicalAddress
    entry: Entry
    leaf: bool
    flags: tuple[str, ...]
    entry_size: int = 8

    @property
    def table(self) -> PhysicalAddress:
        """The table that the entry stands in."""
        return self.entry_address - self.entry_size * self.index

    def __str__(self) -> str:
        place = f"{self.level!s:<4} [{self.index:03x}] @ {self.entry_address}"
        return f"{place} = {self.entry:#0{2 + 2 * self.entry_size}x}  {' '.join(self.flags)}".rstrip()


class Mapped(NamedTuple):
    """A walk that ended at a page.

    `physical` is the address that the walked one stands for, `page_size` is in bytes. The rights are effective: over
    all levels, with CR0.WP, EFER.NXE, SMEP, and SMAP while RFLAGS.AC is clear; `denials` says what takes them away.
    `protection_key` is None unless CR4.PKE or CR4.PKS is set; the keys' own registers are not looked at.
    """

    physical: PhysicalAddress
    page_size: int
    memory_type: MemoryType
    supervisor: Rights
    user: Rights
    denials: tuple[Denial, ...]
    is_global: bool
    protection_key: int | None = None

    def __str__(self) -> str:
        size = size_text(self.page_size)
        return f"{self.physical}  {size}  {self.memory_type}  supervisor {self.supervisor}  user {self.user}"


class FaultKind(Enum):
    """Why a walk found no page."""

    NOT_PRESENT = "not present"
    RESERVED = "reserved bit"
    NOT_CANONICAL = "not canonical"
    NO_MEMORY = "table outside of RAM"


class Fault(NamedTuple):
    """A walk that found no page: the level and the bit of its last entry that say so, and the reason.

    An address that is not canonical has neither level nor bit. A table outside of RAM has the level of that table and
    no bit: no real CPU faults there, but nobody can say what it would read.
    """

    level: Level | None
    bit: int | None
    reason: str
    kind: FaultKind

    def __str__(self) -> str:
        match self.kind:
            case FaultKind.NOT_PRESENT:
                return f"{self.level} bit {self.bit} (P) is 0: {self.reason}"
            case FaultKind.RESERVED:
                return f"{self.level} bit {self.bit} is {self.reason}"
            case FaultKind.NO_MEMORY:
                return f"{self.level} {self.reason}"
            case FaultKind.NOT_CANONICAL:
                return self.reason


class Walk(NamedTuple):
    """The way of one address through the tables; str gives it in the grammar that the guest's console prints too."""

    address: VirtualAddress
    root: PhysicalAddress
    levels: int
    steps: tuple[Step, ...]
    outcome: Mapped | Fault

    @property
    def is_mapped(self) -> bool:
        """Whether the walk ended at a page."""
        return isinstance(self.outcome, Mapped)

    @property
    def mapped(self) -> Mapped:
        """The outcome, where a page must be; NotMapped where there is none."""
        if isinstance(self.outcome, Fault):
            raise NotMapped(self.address, str(self.outcome))
        return self.outcome

    @property
    def leaf(self) -> Step | None:
        """The step whose entry maps the page, if the walk found one."""
        return self.steps[-1] if self.is_mapped else None

    def lines(self) -> list[str]:
        """The walk as text: the address, a line a level, what it resolves to, and a line for each denial."""
        lines = [f"walk {self.address} by cr3 {self.root}", *(f"  {step}" for step in self.steps)]
        if isinstance(self.outcome, Fault):
            return [*lines, f"  => fault: {self.outcome}"]
        return [*lines, f"  => {self.outcome}", *(f"  denied: {denial}" for denial in self.outcome.denials)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def walk(memory: Memory, state: PagingState, address: VirtualAddress, root: PhysicalAddress | None = None) -> Walk:
    """Walk `address` from `root` (CR3's table if None) down, and keep every entry.

    Per level: is the entry present, has it reserved bits, only then on; rights are judged when a page is found. A
    walk has at most one step a level, so tables that point in circles end like any other. UsageError when paging is
    off. Intel SDM vol. 3A, "32-Bit Paging", "PAE Paging", "4-Level Paging and 5-Level Paging".

    >>> from lab.memory import MadeUpSpace
    >>> space = MadeUpSpace()
    >>> space.map(0x400000, 0x600000, "rw-", user=True, size=2 << 20)
    >>> print(walk(space.memory, space.state, VirtualAddress(0x401234)))
    walk 0x0000000000401234 by cr3 pa:0x0000100000
      PML4 [000] @ pa:0x0000100000 = 0x0000000000101007  P W U
      PDPT [000] @ pa:0x0000101000 = 0x0000000000102007  P W U
      PD   [002] @ pa:0x0000102010 = 0x8000000000600087  P W U PS NX
      => pa:0x0000601234  2 MiB  WB  supervisor rw-  user rw-
      denied: execute by PD bit 63 (NX)
    """
    rules = rules_of(state)
    if root is None:
        root = state.root
    if not rules.is_canonical(int(address)):
        reason = f"not canonical: bits 63:{rules.address_bits - 1} differ"
        if rules.address_bits == 32:
            reason = f"no address here: {state.mode} paging translates 32 bits"
        return Walk(address, root, len(rules.levels), (), Fault(None, None, reason, FaultKind.NOT_CANONICAL))
    steps: list[Step] = []
    outcome = _descend(memory, rules, address, root, steps)
    return Walk(address, root, len(rules.levels), tuple(steps), outcome)


def translate(
    memory: Memory, state: PagingState, address: VirtualAddress, root: PhysicalAddress | None = None
) -> PhysicalAddress:
    """The physical address behind `address`; NotMapped, with the level and bit that say so, where there is none."""
    return walk(memory, state, address, root).mapped.physical


def _descend(
    memory: Memory, rules: Rules, address: VirtualAddress, root: PhysicalAddress, steps: list[Step]
) -> Mapped | Fault:
    """Read entry after entry into `steps` until one decides."""
    linear = int(address)
    table = int(root)
    every, some = -1, 0
    for level in rules.levels:
        index = level.index_of(linear)
        entry_address = PhysicalAddress(table + level.entry_size * index)
        try:
            raw = read_entry(memory, entry_address, level.entry_size)
        except NoMemoryAt:
            reason = f"table at {PhysicalAddress(table)} is outside of RAM"
            return Fault(level.level, None, reason, FaultKind.NO_MEMORY)
        entry = Entry(raw)
        present, leaf, is_reserved = map(bool, look(level, raw))
        flags = entry.flags(level.level, leaf=leaf, keys=rules.keys)
        steps.append(Step(level.level, index, entry_address, entry, leaf, flags, level.entry_size))
        if not present:
            return Fault(level.level, 0, "not present", FaultKind.NOT_PRESENT)
        if is_reserved:
            reserved = raw & (level.reserved_in_leaf if leaf else level.reserved_in_table)
            return _reserved_fault(rules, level.level, reserved)
        every &= raw | level.implied
        some |= raw
        if leaf:
            return _mapped(rules, level, linear, Grant.of(every, some), steps)
        table = raw & ADDRESS_MASK
    raise AssertionError("a present entry of a PT is always a leaf")


def _reserved_fault(rules: Rules, level: Level, reserved: int) -> Fault:
    bit = (reserved & -reserved).bit_length() - 1
    reason = f"reserved ({reserved_reason(rules.state, level, bit)})"
    return Fault(level, bit, reason, FaultKind.RESERVED)


def _mapped(rules: Rules, level: LevelRules, linear: int, grant: Grant, steps: list[Step]) -> Mapped:
    raw = int(steps[-1].entry)
    supervisor, user = rules.rights[grant]
    path = tuple((step.level, step.entry | above.implied) for step, above in zip(steps, rules.levels, strict=False))
    return Mapped(
        physical=PhysicalAddress(int(level.physical(raw, linear))),
        page_size=level.page_size,
        memory_type=rules.memory_type(raw, level),
        supervisor=supervisor,
        user=user,
        denials=tuple(refusal.at(path) for refusal in rules.refusals[grant]),
        is_global=raw & Entry.global_.mask != 0 and rules.state.cr4.pge,
        protection_key=Entry(raw).key if rules.keys else None,
    )
