"""What the CPU will do with an access: succeed or fault, with which code, and what it sets in the tables.

Linear-address masking (LAM) is not known here: an address that it would let pass is not canonical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import NoMemoryAt, UsageError
from lab.memory import MadeUpMemory, Memory
from lab.paging.access import Access, Conditions
from lab.paging.decision import Decision, decide
from lab.paging.judge import Code, Judgement, Updates, judge
from lab.paging.quirks import GP_FOR_SS, NONE, Case, Quirks, state_with
from lab.paging.rules import rules_of
from lab.paging.walk import Fault, FaultKind, Mapped, Step, Walk, walk
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.caching import effective_type
from lab.x86.entry import Entry
from lab.x86.levels import ENTRIES, Level
from lab.x86.registers import MemoryType, PageFaultCode, Vector

if TYPE_CHECKING:
    from lab.x86.state import PagingState

__all__ = ["predict", "predict_case", "Prediction", "Update"]


class Update(NamedTuple):
    """What happens to the entry of one level: bits that the CPU must set, and bits that it may set.

    Bits that are set already are in neither. Where one table serves two levels, two updates may name one entry.
    """

    level: Level
    entry_address: PhysicalAddress
    must_set: Entry
    may_set: Entry


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the manual says of one access; str is the verdict as a sentence.

    `vector` is None for an access that succeeds. `error_code` is that of a page fault; `alternatives` are other codes
    that the manual allows. `cr2` is what CR2 holds after a page fault, None where it keeps its value. `memory_type` is
    the effective one, of PAT and MTRRs together.
    """

    address: VirtualAddress
    access: Access
    walk: Walk
    vector: Vector | None
    error_code: PageFaultCode | None
    alternatives: tuple[PageFaultCode, ...]
    cr2: VirtualAddress | None
    decision: Decision
    updates: tuple[Update, ...]
    physical: PhysicalAddress | None
    memory_type: MemoryType | None

    @property
    def ok(self) -> bool:
        """Whether the access succeeds."""
        return self.vector is None

    @property
    def fault(self) -> str:
        """The exception with its error code, `#PF(P|W)` or `#GP(0)`; nothing where there is none."""
        bits = "" if self.error_code is None else "|".join(self.error_code.names())
        return "" if self.vector is None else f"{self.vector}({bits or 0})"

    def accepts(self, vector: int | None, error_code: int | None = None) -> bool:
        """Whether what a CPU did is what was predicted: the vector (None: no exception) and a page fault's code."""
        if vector != self.vector:
            return False
        return vector != Vector.PF or error_code in (self.error_code, *self.alternatives)

    def __str__(self) -> str:
        verdict = "succeeds" if self.ok else "faults"
        return f"{self.access} {verdict}: {self.decision.reason}"


def predict(
    memory: Memory,
    state: PagingState,
    address: VirtualAddress,
    access: Access,
    *,
    quirks: Quirks = NONE,
    root: PhysicalAddress | None = None,
) -> Prediction:
    """Say what an access will do, by the tables as they stand in memory; nothing cached is considered.

    RFLAGS.AC is taken from `state`. `quirks` are what the CPU does otherwise than the manual. NoMemoryAt where a table
    is outside of RAM, UsageError for a shadow-stack access without CR4.CET or when paging is off.

    >>> from lab.memory import MadeUpSpace
    >>> from lab.paging import AccessKind
    >>> space = MadeUpSpace()
    >>> space.map(0x5000, 0x12A000, "rwx", upper_rights={Level.PD: "r-x"})
    >>> found = predict(space.memory, space.state, VirtualAddress(0x5010), Access(AccessKind.WRITE))
    >>> print(found)
    write faults: PD bit 1 (W) is 0 and CR0.WP is 1
    >>> found.fault, found.error_code
    ('#PF(P|W)', PageFaultCode(0x3))
    """
    if access.shadow_stack and not state.cr4.cet:
        raise UsageError("there are no shadow-stack accesses while CR4.CET is 0")
    state = state_with(state, quirks)
    found = walk(memory, state, address, root)
    canonical = True
    if isinstance(found.outcome, Fault):
        if found.outcome.kind is FaultKind.NO_MEMORY:
            raise NoMemoryAt(_next_table(found), ENTRIES * 8)
        canonical = found.outcome.kind is not FaultKind.NOT_CANONICAL
    conditions = Conditions.of(state, access)
    entries = [int(step.entry) for step in found.steps]
    keys = (int(state.pkru), int(state.pkrs))
    judged = judge(rules_of(state).levels, entries, int(conditions), keys, canonical=canonical, quirks=quirks)
    vector = _vector(judged, canonical, conditions, quirks)
    code = code_of(judged.code) if vector is Vector.PF else None
    page = found.outcome if isinstance(found.outcome, Mapped) and vector is None else None
    return Prediction(
        address=address,
        access=access,
        walk=found,
        vector=vector,
        error_code=code,
        alternatives=(code.replace(protection_key=False),) if code is not None and judged.key_is_open else (),
        cr2=address if vector is Vector.PF else None,
        decision=decide(found, judged, conditions),
        updates=tuple(map(_update, found.steps, judged.updates)),
        physical=page.physical if page else None,
        memory_type=_memory_type(state, page) if page else None,
    )


def predict_case(case: Case, quirks: Quirks = NONE) -> Prediction:
    """The prediction for the case of a quirk, by the manual or with quirks.

    >>> from lab.paging.quirks import RSVD_WITHOUT_P
    >>> case = RSVD_WITHOUT_P.case
    >>> predict_case(case).fault, predict_case(case, frozenset([RSVD_WITHOUT_P])).fault
    ('#PF(P|RSVD)', '#PF(RSVD)')
    """
    memory = MadeUpMemory.holding(case.words)
    return predict(memory, case.state, VirtualAddress(case.address), case.access, quirks=quirks)


def code_of(code: Code) -> PageFaultCode:
    """The error code of one judged case as a word."""
    return PageFaultCode(sum(bit.mask for flag, bit in zip(code, PageFaultCode.bits, strict=False) if flag))


def _next_table(found: Walk) -> PhysicalAddress:
    return found.steps[-1].entry.frame_address() if found.steps else found.root


def _vector(judged: Judgement, canonical: bool, conditions: Conditions, quirks: Quirks) -> Vector | None:
    if canonical:
        return None if judged.allowed else Vector.PF
    return Vector.SS if conditions.stack and GP_FOR_SS not in quirks else Vector.GP


def _update(step: Step, updates: Updates) -> Update:
    accessed, dirty = Entry.accessed.mask, Entry.dirty.mask
    must = bool(updates.must_access) * accessed | bool(updates.must_dirty) * dirty
    return Update(step.level, step.entry_address, Entry(must), Entry(bool(updates.may_access) * accessed))


def _memory_type(state: PagingState, page: Mapped) -> MemoryType:
    start = page.physical & ~(page.page_size - 1)
    frames = state.mtrrs.type_of(start, page.page_size)
    return effective_type(frames, page.memory_type, cache_disabled=state.cr0.cd)
