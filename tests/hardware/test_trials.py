"""Trials: the guest tries accesses under entries of our making, and tells what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lab.errors import HostError, UsageError
from lab.machine.exhaustive import Batch, Instruction, Setting, Trials
from lab.x86.levels import GIB, KIB, MIB, Level
from lab.x86.registers import RFLAGS, KeyRights
from tests.hardware.probe import Probe, booted

if TYPE_CHECKING:
    from lab.machine.exhaustive import Outcomes

P, W, U, A, D, PS, NX = 1, 2, 4, 0x20, 0x40, 0x80, 1 << 63
PRESENT, WRITE, USER, RSVD, FETCH = 1, 2, 4, 8, 16
PF, GP, SS = 14, 13, 12

FIRST_GIB, ABOVE_4_GIB = 1, 4
SIZES = {4 * KIB: Level.PT, 2 * MIB: Level.PD, GIB: Level.PDPT}


@pytest.fixture(scope="module")
def roomy() -> Iterator[Probe]:
    """A guest with RAM in several GiB, of which it touches little."""
    with booted(ram=5376 * MIB) as probe:
        yield probe


@pytest.fixture
def trials(roomy: Probe) -> Iterator[Trials]:
    """Trials of that guest, which leave nothing behind."""
    before = roomy.books()
    with Trials(roomy.machine) as trials:
        yield trials
    assert roomy.books() == before


def setting(trials: Trials, instruction: Instruction, *, user: bool = False, place: int = FIRST_GIB) -> Setting:
    """The usual setting without SMEP and SMAP, so that the kernel may use user pages."""
    state = replace(trials.state, cr4=trials.state.cr4.replace(smep=False, smap=False))
    address = trials.address(instruction)
    return Setting(state=state, instruction=instruction, address=address, user=user, place=place)


def path(trials: Trials, setting: Setting, size: int, bits: int = P | W | U) -> list[int]:
    """Entries that lead to the place of a setting by a page of `size`, the root's first."""
    leaf = SIZES[size]
    entries = [trials.tables[Level(level - 1)] | P | W | U for level in range(trials.levels, leaf, -1)]
    entries.append(trials.where(setting.place, setting.instruction, size) | bits | PS * (leaf > Level.PT))
    return entries + [0] * (leaf - 1)


def try_one(trials: Trials, setting: Setting, entries: list[int]) -> Outcomes:
    """What becomes of one case."""
    trials.begin(Batch.of((setting, np.array(entries, np.uint64)[:, None])))
    return trials.end()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize("instruction", Instruction)
@pytest.mark.parametrize("place", [FIRST_GIB, ABOVE_4_GIB])
def test_access_reaches_the_place_its_entries_lead_to(
    trials: Trials, instruction: Instruction, user: bool, size: int, place: int
) -> None:
    wanted = setting(trials, instruction, user=user, place=place)
    entries = path(trials, wanted, size)
    found = try_one(trials, wanted, entries)

    assert found.vector == trials.no_vector
    assert found.reached == trials.word(place, instruction)
    dirty = D if instruction in (Instruction.WRITE, Instruction.MARK_SEGMENT) else 0
    used = [entry | A for entry in entries if entry]
    used[-1] |= dirty
    assert found.after[: len(used), 0].tolist() == used


@pytest.mark.parametrize(
    ("instruction", "user", "code"),
    [
        (Instruction.READ, False, 0),
        (Instruction.READ, True, USER),
        (Instruction.WRITE, False, WRITE),
        (Instruction.WRITE, True, WRITE | USER),
        (Instruction.FETCH, False, FETCH),
        (Instruction.FETCH, True, FETCH | USER),
        (Instruction.LOAD_SEGMENT, False, 0),
        (Instruction.LOAD_SEGMENT, True, 0),
        (Instruction.MARK_SEGMENT, True, 0),
    ],
)
def test_fault_tells_who_did_what(trials: Trials, instruction: Instruction, user: bool, code: int) -> None:
    """An implicit access is the supervisor's at CPL 3, too, and a descriptor is read before it is marked."""
    wanted = setting(trials, instruction, user=user)
    entries = path(trials, wanted, 4 * KIB, bits=W | U)

    found = try_one(trials, wanted, entries)

    assert (found.vector, found.code, found.cr2) == (PF, code, wanted.address)
    assert found.reached == 0
    assert found.after[-1, 0] == entries[-1]


def test_descriptor_in_a_read_only_page_is_read_but_not_marked(trials: Trials) -> None:
    wanted = setting(trials, Instruction.MARK_SEGMENT, user=True)
    found = try_one(trials, wanted, path(trials, wanted, 4 * KIB, bits=P | U))

    assert (found.vector, found.code) == (PF, PRESENT | WRITE)
    assert int(found.cr2[0]) & ~7 == wanted.address


def test_many_cases_keep_apart(trials: Trials) -> None:
    """Every second entry is present: no translation survives from one case to the next."""
    wanted = setting(trials, Instruction.READ)
    entries = np.repeat(np.array(path(trials, wanted, 4 * KIB), np.uint64)[:, None], trials.room, axis=1)
    entries[-1, 1::2] ^= P

    trials.begin(Batch.of((wanted, entries)))
    found = trials.end()

    assert found.vector.tolist() == [trials.no_vector, PF] * (trials.room // 2)
    assert found.reached.tolist() == [trials.word(FIRST_GIB, Instruction.READ), 0] * (trials.room // 2)


def test_batches_follow_each_other(trials: Trials) -> None:
    for number in range(5):
        instruction = list(Instruction)[number]
        wanted = setting(trials, instruction)
        found = try_one(trials, wanted, path(trials, wanted, 2 * MIB))
        assert found.reached == trials.word(FIRST_GIB, instruction)


def test_controls_are_the_batchs_own_and_the_kernels_afterwards(trials: Trials) -> None:
    machine = trials.machine
    before = machine.paging_state()
    strict = setting(trials, Instruction.READ)
    lax = replace(strict, state=replace(strict.state, efer=strict.state.efer.replace(nxe=False)))
    entries = path(trials, strict, 4 * KIB, bits=P | NX)

    assert try_one(trials, strict, entries).vector == trials.no_vector
    assert try_one(trials, lax, entries).code & RSVD, "without NXE, bit 63 is a reserved one"
    assert machine.paging_state() == before
    assert machine.call("lab_ping", 1).result == 2


def test_smap_is_obeyed_unless_ac_is_set(trials: Trials) -> None:
    usual = Setting(state=trials.state, instruction=Instruction.READ, address=trials.address())
    lifted = replace(usual, state=replace(usual.state, rflags=RFLAGS.from_names("AC")))
    entries = path(trials, usual, 4 * KIB)

    assert try_one(trials, usual, entries).code == PRESENT
    assert try_one(trials, lifted, entries).vector == trials.no_vector


def test_address_that_is_none_raises_no_page_fault(trials: Trials) -> None:
    wanted = replace(setting(trials, Instruction.READ), address=1 << 47)
    found = try_one(trials, wanted, path(trials, wanted, 4 * KIB))

    assert (found.vector, found.code, found.cr2) == (GP, 0, 0)


def test_what_cannot_be_tried_is_refused(trials: Trials) -> None:
    wanted = setting(trials, Instruction.READ)
    entries = path(trials, wanted, 4 * KIB)
    no_key_0 = replace(wanted, state=replace(wanted.state, pkrs=KeyRights.denying(access=[0])))

    for impossible in (no_key_0, replace(wanted, place=3), replace(wanted, address=1 << 39)):
        with pytest.raises(UsageError, match="cannot try this"):
            try_one(trials, impossible, entries)
    with pytest.raises(UsageError, match="up to 16384 cases"):
        trials.begin(Batch.of((wanted, np.zeros((4, trials.room + 1), np.uint64))))
    assert try_one(trials, wanted, entries).vector == trials.no_vector


def test_trials_need_some_ram(guest: Probe) -> None:
    with pytest.raises(HostError, match="256M or more"), Trials(guest.machine):
        pass
