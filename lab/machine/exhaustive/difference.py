"""A case that went otherwise than foretold: by which quirk, in its smallest form, and as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lab.machine.exhaustive.compare import accesses_of, differs, foretell
from lab.machine.exhaustive.trials import Batch, Outcomes, Setting
from lab.memory import MadeUpMemory
from lab.paging.prediction import Prediction, predict
from lab.paging.quirks import QUIRKS, Quirk, Quirks
from lab.x86.address import PhysicalAddress, VirtualAddress
from lab.x86.entry import ADDRESS_MASK, Entry
from lab.x86.levels import Level
from lab.x86.registers import KeyRights, PageFaultCode, Vector

if TYPE_CHECKING:
    from lab.machine.exhaustive.trials import Trials

__all__ = ["Difference", "Case", "explain", "shrink", "describe"]

QUIRKS_AT_ONCE = 3
"""How many quirks can meet in one case: three do where a CPU without 1 GiB pages finds one with a reserved bit."""


class Case(NamedTuple):
    """One case: its setting, and its entries, the root's first."""

    setting: Setting
    entries: tuple[int, ...]

    @classmethod
    def of(cls, batch: Batch, number: int) -> Case:
        """One case of a batch."""
        entries = batch.entries[:, number]
        return cls(batch.settings[batch.which[number]], tuple(int(entry) for entry in entries))

    @property
    def batch(self) -> Batch:
        """A batch of one."""
        return Batch.of((self.setting, np.array(self.entries, np.uint64)[:, None]))


@dataclass(frozen=True, slots=True)
class Difference:
    """What the CPU did otherwise: the quirks that explain it, if any do, and the smallest case in words."""

    family: str
    quirks: tuple[str, ...]
    setting: str
    entries: tuple[int, ...]
    foretold: str
    found: str
    lines: tuple[str, ...]


# ------------------------------------------------------------------------------------------------------ explaining ----


def explain(trials: Trials, batch: Batch, found: Outcomes) -> list[tuple[str, ...]]:
    """For each case that the manual does not foretell: the fewest quirks that do, or nothing."""
    names: list[tuple[str, ...]] = [()] * len(batch)
    left = np.arange(len(batch))
    for some in _sets_of_quirks():
        if not len(left):
            break
        part = batch.at(left)
        wrong = differs(trials, part, foretell(part, frozenset(some), strict=True), found.at(left))
        for number in left[~wrong]:
            names[number] = tuple(quirk.name for quirk in some)
        left = left[wrong]
    return names


def _sets_of_quirks() -> Iterator[tuple[Quirk, ...]]:
    known = [quirk for quirk in QUIRKS if quirk.is_about_translations]
    for count in range(1, QUIRKS_AT_ONCE + 1):
        yield from combinations(known, count)


# ------------------------------------------------------------------------------------------------------- shrinking ----


def shrink(trials: Trials, case: Case, quirks: Quirks, *, strict: bool = False) -> Case:
    """Clear bits of entries and registers, one after the other, for as long as the difference stays, and its reason."""

    def reason(case: Case) -> tuple[str, ...] | None:
        """None where there is no difference; else what explains it."""
        batch, found = case.batch, _try(trials, case)
        if not differs(trials, batch, foretell(batch, quirks, strict=strict), found)[0]:
            return None
        return explain(trials, batch, found)[0]

    wanted = reason(case)
    while wanted is not None:
        smaller = next((each for each in _smaller(trials, case) if reason(each) == wanted), None)
        if smaller is None:
            break
        case = smaller
    return case


def _try(trials: Trials, case: Case) -> Outcomes:
    trials.begin(case.batch)
    return trials.end()


def _smaller(trials: Trials, case: Case) -> Iterator[Case]:
    """All cases with one bit less; what leads to tables and pages stays."""
    for row, entry in enumerate(case.entries):
        for bit in range(64):
            if entry >> bit & 1 and not _leads(trials, case, row, 1 << bit):
                entries = (*case.entries[:row], entry ^ 1 << bit, *case.entries[row + 1 :])
                yield Case(case.setting, entries)
    state = case.setting.state
    for one in (
        *(replace(state, cr4=state.cr4.replace(**{name: False})) for name in ("pge", "smep", "smap", "pke", "pks")),
        replace(state, cr0=state.cr0.replace(wp=False)),
        replace(state, rflags=state.rflags.replace(ac=False)),
        replace(state, efer=state.efer.replace(nxe=True)),
        replace(state, pkru=KeyRights(0)),
        replace(state, pkrs=KeyRights(0)),
    ):
        if one != state:
            yield Case(replace(case.setting, state=one), case.entries)


def _leads(trials: Trials, case: Case, row: int, bit: int) -> bool:
    """Whether a bit of an entry says where it has to lead: to the table or to the page."""
    level = Level(trials.levels - row)
    place = trials.where(case.setting.place, case.setting.instruction, level.page_size if level <= Level.PDPT else 0)
    table = trials.tables[Level(level - 1)] if level > Level.PT else 0
    if bit == Entry.page_size.mask:
        return level in (Level.PD, Level.PDPT)
    return bool(bit & ADDRESS_MASK & (table | place))


# -------------------------------------------------------------------------------------------------------- in words ----


def describe(trials: Trials, family: str, case: Case, quirks: Quirks, named: tuple[str, ...]) -> Difference:
    """The difference of one case, with its walk and both verdicts."""
    predictions = [_predict(trials, case, number, quirks) for number in range(len(accesses_of(case.setting)))]
    foretold = next((each for each in predictions if not each.ok), predictions[-1])
    found = _try(trials, case)
    says = foretold.fault or "success"
    does = _fault(trials, found) or "success"
    lines = (
        f"{says} was foretold of this {foretold.access}, and {does} was found",
        f"  {_registers(case.setting)}",
        *(f"  {line}" for line in foretold.walk.lines()),
        f"  foretold: {foretold}",
        f"            {says}; {_foretold_updates(predictions)}",
        f"  the CPU:  {does}{_where(trials, found)}; {_updates(case, found)}",
    )
    return Difference(family, named, str(foretold.access), case.entries, says, does, lines)


def _predict(trials: Trials, case: Case, number: int, quirks: Quirks) -> Prediction:
    """The prediction of one of the instruction's accesses, by the rules that work on one case."""
    setting, address = case.setting, VirtualAddress(case.setting.address)
    levels = [Level(level) for level in range(trials.levels, 0, -1)]
    words = {
        int(trials.tables[level]) + 8 * address.index(level): entry
        for level, entry in zip(levels, case.entries, strict=True)
    }
    root = trials.tables[levels[0]]
    memory = MadeUpMemory.holding(words)
    return predict(memory, setting.state, address, accesses_of(setting)[number], quirks=quirks, root=root)


def _registers(setting: Setting) -> str:
    """The control bits that have a say, by their names where they are set."""
    state = setting.state
    bits = [
        *(["WP"] if state.cr0.wp else []),
        *(["NXE"] if state.efer.nxe else []),
        *(name for name in ("SMEP", "SMAP", "PKE", "PKS", "PGE", "LA57") if name in state.cr4.names()),
        *(["AC"] if state.rflags.ac else []),
    ]
    bits += [f"PKRU={state.pkru:#x}"] if state.cr4.pke else []
    bits += [f"PKRS={state.pkrs:#x}"] if state.cr4.pks else []
    return f"controls: {' '.join(bits) or 'none'}"


def _fault(trials: Trials, found: Outcomes) -> str:
    """The exception as tests write it, empty where there was none."""
    vector, code = int(found.vector[0]), int(found.code[0])
    if vector == trials.no_vector:
        return ""
    if vector == Vector.PF:
        return f"#PF({'|'.join(PageFaultCode(code).names())})"
    known = {each.value: str(each) for each in Vector}
    return f"{known.get(vector, f'vector {vector}')}({code:#x})"


def _where(trials: Trials, found: Outcomes) -> str:
    vector = int(found.vector[0])
    if vector == Vector.PF:
        return f" at CR2 {VirtualAddress(int(found.cr2[0]))}"
    return f" at {PhysicalAddress(int(found.reached[0]))}" if vector == trials.no_vector else ""


def _foretold_updates(predictions: list[Prediction]) -> str:
    """What must and may be set, over all accesses that the instruction makes."""
    made = predictions[: 1 + next((n for n, each in enumerate(predictions) if not each.ok), len(predictions))]
    must: dict[Level, int] = {}
    may: dict[Level, int] = {}
    for prediction in made:
        for update in prediction.updates:
            must[update.level] = must.get(update.level, 0) | update.must_set
            may[update.level] = may.get(update.level, 0) | update.may_set
    may = {level: bits & ~must.get(level, 0) for level, bits in may.items()}
    sentences = [f"must set {_bits(must)}" if any(must.values()) else "need not set anything"]
    return ", ".join([*sentences, *([f"may set {_bits(may)}"] if any(may.values()) else [])])


def _updates(case: Case, found: Outcomes) -> str:
    """What has been set, and what else has changed."""
    levels = range(len(case.entries), 0, -1)
    changed = {
        Level(level): before ^ int(after)
        for level, before, after in zip(levels, case.entries, found.after[:, 0], strict=True)
    }
    return f"set {_bits(changed)}" if any(changed.values()) else "set nothing"


def _bits(of: dict[Level, int]) -> str:
    return ", ".join(f"{level} {_names(bits)}" for level, bits in of.items() if bits)


def _names(bits: int) -> str:
    """Names of the bits that a CPU may set, or any others as a number."""
    known = [bit for bit in (Entry.accessed, Entry.dirty) if bits & bit.mask]
    rest = bits & ~sum(bit.mask for bit in known)
    return " ".join([*(bit.name for bit in known), *([hex(rest)] if rest else [])])
