"""Quirks about translations, each shown by the CPU that has it: what the manual says, and what was done instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lab.machine import Machine, Space
from lab.machine.exhaustive import Batch, Instruction, Setting, Trials
from lab.paging import Access, AccessKind, Conditions, Prediction, predict
from lab.paging.batch import predict_many
from lab.x86 import RFLAGS, Entry, KeyRights, Level, PagingState, VirtualAddress
from tests.hardware.probe import GIB, MIB, Probe, booted

AT = 0x400000
READ, WRITE = "mov rax, [rdi]", "mov byte ptr [rdi], 1"


@pytest.fixture
def machine(guest: Probe) -> Machine:
    """The machine of a guest whose books must be as before when the test ends."""
    return guest.machine


def strict(machine: Machine, space: Space, address: int, *, user: bool = False, **changes: object) -> Prediction:
    """What the manual says of a read in a space."""
    state: PagingState = replace(space.state, **changes)  # type: ignore[arg-type]
    access = Access(AccessKind.READ, user=user)
    return predict(machine.memory, state, VirtualAddress(address), access, root=space.root)


def test_a_reserved_bit_is_told_without_p(machine: Machine, space: Space) -> None:
    space.map(AT)
    space.set_entry(Level.PT, AT, space.entry(Level.PT, AT) | 1 << 51)
    result = machine.probe(READ, rdi=AT, space=space)
    assert (result.error_code.names(), str(result.quirk)) == (("RSVD",), "rsvd-without-p")
    assert strict(machine, space, AT).fault == "#PF(P|RSVD)"


@pytest.mark.parametrize(("bit", "is_set"), [(13, True), (29, True), (51, False)])
def test_a_gib_leaf_is_accessed_before_it_is_judged(machine: Machine, space: Space, bit: int, is_set: bool) -> None:
    space.map(GIB, 0, size=GIB)
    space.set_entry(Level.PDPT, GIB, space.entry(Level.PDPT, GIB) | 1 << bit)
    assert machine.probe(READ, rdi=GIB, space=space).error_code.reserved
    assert space.entry(Level.PDPT, GIB).accessed is is_set
    assert strict(machine, space, GIB).updates[-1][2:] == (0, 0)


@pytest.mark.parametrize(("size", "is_set"), [(2 * MIB, False), (GIB, True)])
def test_a_of_a_leaf_that_may_not_be_written(machine: Machine, space: Space, size: int, is_set: bool) -> None:
    space.map(GIB, 0, "r--", size=size)
    level = Level.PDPT if size == GIB else Level.PD
    assert machine.probe(WRITE, rdi=GIB, space=space).error_code.names() == ("P", "W")
    assert space.entry(level, GIB).accessed is is_set


def test_pk_is_not_told_to_user_mode_of_a_supervisor_page(machine: Machine, space: Space) -> None:
    space.map(AT)
    space.set_entry(Level.PT, AT, space.entry(Level.PT, AT).replace(key=1))
    denying = KeyRights.denying(access=[1])
    result = machine.probe(READ, rdi=AT, user=True, space=space, pkrs=denying)
    assert result.error_code.names() == ("P", "U")
    assert result.prediction
    assert (result.prediction.fault, result.prediction.alternatives) == ("#PF(P|U|PK)", (result.error_code,))


def test_a_stack_access_out_of_bounds_is_gp(machine: Machine, space: Space) -> None:
    result = machine.probe("mov rax, [rbp]", rbp=1 << 47, space=space)
    assert result.exception
    assert result.exception.name == "#GP"


def test_bit_8_of_a_pml4_entry_is_not_reserved_on_amd(machine: Machine, space: Space) -> None:
    space.map(AT)
    space.set_entry(Level.PML4, AT, space.entry(Level.PML4, AT) | Entry.global_.mask)
    assert machine.probe(READ, rdi=AT, space=space).ok
    assert str(strict(machine, space, AT, vendor="amd")).startswith("read faults: PML4 bit 8 is reserved")
    assert strict(machine, space, AT, vendor="intel").ok


def test_a_gib_leaf_is_one_even_where_cpuid_knows_none() -> None:
    with booted(cpu="max,-pdpe1gb") as guest, guest.machine.new_space() as space:
        assert not space.state.gib_pages
        space.set_entry(Level.PDPT, GIB, 0x83)
        assert guest.machine.probe(READ, rdi=GIB, space=space).ok
        assert strict(guest.machine, space, GIB).fault == "#PF(P|RSVD)"


@pytest.mark.parametrize("user", [False, True])
def test_ac_lifts_smap_of_the_cpus_own_accesses_but_at_cpl_3(user: bool) -> None:
    """A segment is loaded from a descriptor table in a user page, with AC set."""
    with booted(ram=512 * MIB) as guest, Trials(guest.machine) as trials:
        instruction = Instruction.LOAD_SEGMENT
        state = replace(trials.state, rflags=RFLAGS.from_names("AC"))
        place = trials.places[0]
        setting = Setting(
            state=state, instruction=instruction, address=trials.address(instruction), user=user, place=place
        )
        entries = [trials.tables[Level(level - 1)] | 7 for level in range(trials.levels, Level.PT, -1)]
        entries.append(trials.where(place, instruction, 4096) | 7)
        trials.begin(Batch.of((setting, np.array(entries, np.uint64)[:, None])))
        found = trials.end()
        assert (found.vector == trials.no_vector) != user
        access = Access(AccessKind.READ, user=user, implicit=True)
        conditions = int(Conditions.of(state, access))
        assert predict_many(state, entries, conditions).code == [1]
        assert predict_many(state, entries, conditions, quirks=guest.machine.quirks).code == [int(user)]
