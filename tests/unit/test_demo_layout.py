"""What stands where in an address space, for the strip that every face draws."""

from __future__ import annotations

import itertools

import pytest

from lab.demo.layout import space_regions
from lab.memory import MadeUpMemory, MadeUpSpace
from lab.snapshot import Registers, Snapshot
from lab.x86 import CR3, CR4, EFER, PagingState


def test_a_guest_that_is_not_ours_has_two_halves_and_a_hole() -> None:
    space = MadeUpSpace()
    space.map(0x400000, 0x12A000, "r-x", user=True)
    space.map(0x401000, 0x12B000, "rw-", user=True)
    space.map(0xFFFFF88000004000, 0x12C000)
    user, hole, kernel = space_regions(Snapshot(space.memory, space.state, Registers()))
    assert [user.name, hole.name, kernel.name] == ["user half", "not canonical", "kernel half"]
    assert (user.mapped, hole.mapped, kernel.mapped) == (0x2000, 0, 0x1000)
    assert [run.user for run in user.runs] == ["r-x", "rw-"]
    assert hole.is_hole


@pytest.mark.parametrize("levels", [4, 5])
def test_the_regions_cover_all_addresses(levels: int) -> None:
    space = MadeUpSpace(levels)
    space.self_map()
    regions = space_regions(Snapshot(space.memory, space.state, Registers()))
    assert (regions[0].start, regions[-1].end) == (0, 1 << 64)
    assert all(one.end == other.start for one, other in itertools.pairwise(regions))
    assert regions[1].start == 1 << 11 + 9 * levels
    assert [run.kind for run in regions[2].runs] == ["self map"]


def test_a_space_of_32_bits_is_one_region() -> None:
    memory = MadeUpMemory.holding({0x1000: 0x2003, 0x2000: 0x12A003})
    state = PagingState(cr3=CR3(0x1000), cr4=CR4.from_names("PSE"), efer=EFER(0))
    (region,) = space_regions(Snapshot(memory, state, Registers()))
    assert (region.start, region.end, region.mapped) == (0, 1 << 32, 0x1000)


def test_without_tables_there_is_nothing_to_show() -> None:
    state = PagingState(cr3=CR3(0xFFFF_F000))
    assert space_regions(Snapshot(MadeUpMemory(size=0x10000), state, Registers())) == ()
