"""The CPU as judge: what is foretold of an access is what happens, family by family.

A slice of each family is checked here, always the same one for a seed (LAB_SEED, 1 by default); `make exhaustive`
checks all cases.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from lab.machine import Machine, MachineOptions
from lab.machine.exhaustive.check import Checker, Sample, Tally, slices
from lab.machine.exhaustive.compare import differs, foretell
from lab.machine.exhaustive.difference import Case, describe, shrink
from lab.machine.exhaustive.families import FAMILIES, Board, Family, find_family
from lab.machine.exhaustive.report import exhaustive_report
from lab.machine.exhaustive.run import Plan, run
from lab.machine.exhaustive.trials import Instruction, Outcomes, Setting, Trials
from lab.paging.quirks import NONE, QUIRKS, RSVD_WITHOUT_P
from lab.x86.entry import Entry
from lab.x86.registers import RFLAGS, KeyRights

SEED = int(os.environ.get("LAB_SEED", "1"))
SAMPLE = Sample(120_000, SEED)

P, W, U, A, D, PS, NX = 1, 2, 4, 0x20, 0x40, 0x80, 1 << 63


class Machines:
    """One machine at a time, for as long as tests want the same board."""

    def __init__(self) -> None:
        self.running = ExitStack()
        self._board: Board | None = None
        self._trials: Trials | None = None

    def trials(self, board: Board) -> Trials:
        """Trials of a machine of that kind."""
        if self._trials is None or board != self._board:
            self.running.close()
            machine = self.running.enter_context(Machine(board.options(MachineOptions())))
            self._board, self._trials = board, self.running.enter_context(Trials(machine))
        return self._trials


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """Machines of all kinds, one at a time."""
    machines = Machines()
    with machines.running:
        yield machines


@pytest.fixture
def trials(machines: Machines) -> Trials:
    """Trials of the usual machine."""
    return machines.trials(find_family("pd-pt").board)


def check(trials: Trials, family: Family, *, strict: bool = False, sample: Sample = SAMPLE) -> Tally:
    """What a sample of a family comes to."""
    checker = Checker(trials, NONE if strict else trials.machine.quirks, strict=strict)
    (part,) = slices(family, sample, 1)
    return checker.check(family, part, sample)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_cpu_does_what_is_foretold(machines: Machines, family: Family) -> None:
    print(f"seed {SEED}")

    tally = check(machines.trials(family.board), family)

    assert tally.cases >= min(family.cases, SAMPLE.cases)
    assert not tally.differing, "\n".join(line for each in tally.differences for line in each.lines)


@pytest.mark.parametrize(
    ("family", "quirk"),
    [
        ("reserved", "rsvd-without-p"),
        ("pml4-pdpt", "gib-leaf-accessed-early"),
        ("implicit", "ac-lifts-smap-of-implicit"),
        ("supervisor-keys", "no-pk-of-user-on-supervisor-page"),
        ("no-1g-pages", "gib-leaf-without-cpuid"),
        ("not-canonical", "gp-for-ss"),
        ("amd", "amd-bit-8-not-reserved"),
    ],
)
def test_strict_check_names_each_quirk_and_finds_nothing_else(machines: Machines, family: str, quirk: str) -> None:
    chosen = find_family(family)

    tally = check(machines.trials(chosen.board), chosen, strict=True)

    assert quirk in {name for names in tally.differing for name in names}
    assert () not in tally.differing, "what no quirk explains"
    assert {each.quirks for each in tally.differences} == set(tally.differing)


def test_every_quirk_about_translations_is_shown_above() -> None:
    shown = next(mark for mark in test_strict_check_names_each_quirk_and_finds_nothing_else.pytestmark)
    of_long_mode = [each for each in QUIRKS if each.case is not None and each.case.state.levels >= 4]
    assert {quirk for _, quirk in shown.args[1]} == {each.name for each in of_long_mode}


# --------------------------------------------------------------------------------------------- finding and showing ----


def case_with(trials: Trials, leaf: int, **controls: bool) -> Case:
    """A read through entries that allow everything and have been used, by a leaf with more bits."""
    state = replace(
        trials.state,
        cr4=trials.state.cr4.replace(smep=True, smap=True, pke=True),
        rflags=RFLAGS.from_names("AC"),
        pkru=KeyRights.denying(write=[3]),
    )
    setting = Setting(state=state, instruction=Instruction.READ, address=trials.address())
    tables = [trials.tables[level] | P | W | U | A | NX for level in (3, 2, 1)]
    return Case(setting, (*map(int, tables), trials.where(1, Instruction.READ) | P | W | U | A | D | leaf))


def test_smallest_case_has_only_what_it_takes(trials: Trials) -> None:
    case = case_with(trials, 1 << 51 | 5 << 59)

    smallest = shrink(trials, case, NONE)

    assert [Entry(entry & ~0xFFF_FFFF_F000).names() for entry in smallest.entries[:3]] == [("P",)] * 3
    assert smallest.entries[3] == trials.where(1, Instruction.READ) | P | 1 << 51
    assert not any(name in smallest.setting.state.cr4.names() for name in ("SMEP", "SMAP", "PKE"))
    assert (smallest.setting.state.rflags.ac, smallest.setting.state.pkru) == (False, 0)


def test_case_without_difference_is_left_as_it_is(trials: Trials) -> None:
    case = case_with(trials, 0)
    assert shrink(trials, case, NONE) == case


def test_difference_is_told_with_its_walk_and_both_verdicts(trials: Trials) -> None:
    case = shrink(trials, case_with(trials, 1 << 51), NONE)

    difference = describe(trials, "pd-pt", case, NONE, (RSVD_WITHOUT_P.name,))

    text = "\n".join(difference.lines)
    assert difference.lines[0] == "#PF(P|RSVD) was foretold of this read, and #PF(RSVD) was found"
    assert "=> fault: PT bit 51 is reserved (51:40 must be 0)" in text
    assert "foretold: read faults: PT bit 51 is reserved (51:40 must be 0)\n" in text
    assert "#PF(P|RSVD); need not set anything, may set PML4 A, PDPT A, PD A\n" in text
    assert difference.lines[-1].endswith(f"#PF(RSVD) at CR2 {case.setting.address:#018x}; set PML4 A, PDPT A, PD A")


def changed(found: Outcomes, column: str) -> Outcomes:
    """What was found, with one bit of one column otherwise."""
    values = getattr(found, column)
    return found._replace(**{column: values ^ values.dtype.type(D)})


@pytest.mark.parametrize("column", ["vector", "code", "cr2", "after"])
def test_any_departure_of_a_fault_is_a_difference(trials: Trials, column: str) -> None:
    batch = case_with(trials, 1 << 51).batch
    foretold = foretell(batch, trials.machine.quirks)
    trials.begin(batch)
    found = trials.end()

    assert not differs(trials, batch, foretold, found).any()
    assert differs(trials, batch, foretold, changed(found, column)).all()


@pytest.mark.parametrize("column", ["vector", "reached", "after"])
def test_any_departure_of_a_success_is_a_difference(trials: Trials, column: str) -> None:
    batch = case_with(trials, 0).batch
    foretold = foretell(batch, trials.machine.quirks)
    trials.begin(batch)
    found = trials.end()

    assert not differs(trials, batch, foretold, found).any()
    assert differs(trials, batch, foretold, changed(found, column)).all()


# ------------------------------------------------------------------------------------------------------ as a whole ----


def test_workers_share_the_families_of_several_machines() -> None:
    families = [find_family(name) for name in ("edges", "la57-edges", "accessed-dirty")]
    plan = Plan(MachineOptions(), workers=2, sample=Sample(5000, SEED))
    told: list[int] = []

    found = list(run(families, plan, lambda _finding, expected: told.append(expected)))

    assert [each.family.name for each in found] == ["edges", "la57-edges", "accessed-dirty"]
    assert [each.mismatches for each in found] == [0, 0, 0]
    assert all(each.cases >= 5000 for each in found)
    assert len(told) >= len(families)
    assert told[-1] == found[-1].cases, "as many as were expected"
    assert exhaustive_report(found, plan).answer


def test_same_seed_takes_the_same_cases(trials: Trials) -> None:
    family = find_family("pd-pt")
    taken = [
        [batch.entries.tobytes() for batch in Checker(trials)._batches(family, slices(family, sample, 1)[0], sample)]
        for sample in (Sample(2000, 7), Sample(2000, 7), Sample(2000, 8))
    ]
    assert taken[0] == taken[1] != taken[2]


def test_all_parts_together_are_the_whole_family() -> None:
    family = find_family("rights")
    parts = slices(family, None, 2)
    assert [number for part in parts for number in part.settings] == list(range(family.units))
    assert family.cases == family.units * len(family.forms)
