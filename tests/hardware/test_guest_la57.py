"""Five levels of tables: the boot that asks for them, where things stand, and what the fifth level decides."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.errors import GuestStopped
from lab.machine import Machine, MachineOptions
from lab.paging import Kind, map_space
from lab.scenarios import all_scenarios
from lab.scenarios.stage import Stage
from lab.views import find_view
from lab.x86 import Level
from tests.hardware.probe import GIB, PAGE, TAG, Probe, Supply, booted
from tests.hardware.scratch import (
    HIGH_HALF,
    NX,
    PML5_BASE,
    PS,
    A,
    P,
    Scratch,
    U,
    W,
    agreed_walk,
    entry_of,
    scratch_tables,
)

LA57 = 1 << 12
SELF_MAP_SLOT = 0x1ED
KERNEL_SLOT = 0x1FF


@pytest.fixture(scope="module", params=["microvm", "q35"])
def supply(request: pytest.FixtureRequest) -> Iterator[Supply]:
    with Supply("la57", machine=request.param) as supply:
        yield supply


@pytest.fixture
def scratch(guest: Probe) -> Iterator[Scratch]:
    with scratch_tables(guest, 0x40) as tables:
        yield tables


# -------------------------------------------------------------------------------------------------------- the boot ----


def test_word_on_the_command_line_makes_five_levels(guest: Probe) -> None:
    assert guest.machine.registers().cr4 & LA57
    assert guest.guest.variable("lab_cpu")["cr4"] & LA57
    assert guest.guest.variable("lab_options")["la57"] == 1
    assert guest.state.levels == 5
    assert "unknown word" not in guest.machine.log


@pytest.mark.parametrize(
    ("words", "levels"),
    [
        ((), 4),
        (("la57x",), 4),
        (("xla57",), 4),
        (("la5", "7"), 4),
        (("verifier", "la57"), 5),
        (("la57", "verifier"), 5),
        (("la57la57", "", "la57"), 5),
    ],
)
def test_only_the_very_word_counts(words: tuple[str, ...], levels: int) -> None:
    with booted(*words) as guest:
        assert guest.state.levels == levels
        assert guest.guest.variable("lab_options")["la57"] == (levels == 5)


@pytest.mark.parametrize("cpu", ["max,-la57", "qemu64"])
def test_a_cpu_without_five_levels_is_refused_with_a_sentence(cpu: str) -> None:
    words = r"boot: this CPU has no 5-level paging \(LA57\); start QEMU with -cpu max, or boot without the word la57"

    with pytest.raises(GuestStopped, match=words), booted("la57", cpu=cpu):
        pass
    with booted(cpu=cpu) as guest:
        assert guest.state.levels == 4


# ---------------------------------------------------------------------------------------------- where things stand ----


def test_kernel_stands_where_it_stands_with_four_levels(guest: Probe) -> None:
    def shape(probe: Probe) -> list[tuple[int, int, str, str]]:
        rows = map_space(probe.machine.memory, probe.state)
        own = [row for row in rows if row.start != SELF_MAP_SLOT << 48 | 0xFE << 56]
        return [(int(row.start), row.size, str(row.supervisor), str(row.kind)) for row in own]

    with booted(machine=guest.machine.options.machine) as four:
        stacks = 0xFFFF_F880_0000_0000, 0xFFFF_F900_0000_0000
        assert [row for row in shape(guest) if not stacks[0] <= row[0] < stacks[1]] == [
            row for row in shape(four) if not stacks[0] <= row[0] < stacks[1]
        ]


def test_root_has_two_entries_the_kernels_and_its_own(guest: Probe) -> None:
    root = guest.machine.memory.read(guest.state.root, PAGE)
    used = [index for index in range(512) if any(root[8 * index : 8 * index + 8])]

    assert used == [SELF_MAP_SLOT, KERNEL_SLOT]
    rows = map_space(guest.machine.memory, guest.state)
    assert [hex(row.start) for row in rows if row.kind is Kind.SELF_MAP] == ["0xffed000000000000", "0xfffff68000000000"]


@pytest.mark.parametrize("slot", [0, 1, SELF_MAP_SLOT, KERNEL_SLOT])
def test_pml5_is_read_through_its_own_self_map(guest: Probe, slot: int) -> None:
    walk = guest.walk(PML5_BASE + 8 * slot)

    assert [step.index for step in walk.steps] == [SELF_MAP_SLOT] * 5
    assert walk.mapped.physical == guest.state.root + 8 * slot
    assert (
        guest.call("read_u64", PML5_BASE + 8 * slot)
        == guest.walk(slot << 48 | 0xFE << 56 * (slot > 255)).steps[0].entry
    )


def test_entries_of_other_addresses_are_read_through_the_self_map_of_the_pml5(scratch: Scratch) -> None:
    guest = scratch.guest
    place = address = scratch.chain(scratch.page | P | W)

    for step in reversed(agreed_walk(guest, address).steps):
        place = entry_of(guest, place)
        assert place >> 48 == 0xFFED
        assert guest.walk(place).mapped.physical == step.entry_address
        assert agreed_walk(guest, place).steps[0].index == SELF_MAP_SLOT
        assert guest.call("read_u64", place) | A == step.entry | A


def test_every_frame_of_a_table_knows_an_entry_that_maps_it(guest: Probe) -> None:
    for step in guest.walk(int(guest.kernel.symbol("lab_mailbox").address)).steps:
        address = guest.call("MmGetVirtualForPhysical", int(step.table))
        assert guest.call("MmGetPhysicalAddress", address) == step.table
        assert guest.record(step.table.frame).use == "table"


def test_virtual_for_physical_is_the_inverse_of_physical_for_virtual(guest: Probe) -> None:
    with guest.pool() as address:
        assert guest.call("MmGetVirtualForPhysical", guest.call("MmGetPhysicalAddress", address)) == address


# ------------------------------------------------------------------------------------ what the fifth level decides ----


@pytest.mark.parametrize("slot", [0, 1, 0x7F, 0xFF, 0x100, 0x1FE])
def test_any_slot_of_the_root_leads_to_memory(guest: Probe, slot: int) -> None:
    with scratch_tables(guest, 0x40) as scratch:
        scratch.chain(scratch.page | P | W)
        guest.call("write_u64", PML5_BASE + 8 * slot, scratch.physical(-1) | P | W | U)
        guest.call("flush_tlb")
        address = (slot << 48 | 0x40 << 39 | (0xFE << 56 if slot > 255 else 0)) + 0x18

        guest.call("write_u64", address, 0x1234567)

        assert agreed_walk(guest, address).mapped.physical == scratch.page + 0x18
        assert guest.machine.qmp.gva2gpa(address) == scratch.page + 0x18
        assert guest.call("MmGetPhysicalAddress", address) == scratch.page + 0x18
        assert int.from_bytes(guest.in_frame(scratch.frames[3], 0x20)[0x18:], "little") == 0x1234567
        guest.call("write_u64", PML5_BASE + 8 * slot, 0)


@pytest.mark.parametrize(
    ("bit", "words"),
    [(PS, "PML5 bit 7 is reserved (PS must be 0 here)"), (1 << 44, "PML5 bit 44 is reserved (51:40 must be 0)")],
)
def test_reserved_bits_of_the_root_fault_where_the_walk_says(scratch: Scratch, bit: int, words: str) -> None:
    guest = scratch.guest
    address = scratch.chain(scratch.page | P | W)
    scratch.open_root(scratch.physical(-1) | P | W | bit)

    assert str(agreed_walk(guest, address).outcome) == words
    assert guest.fault("read_u64", address).error_code | P == 0b1001, "the manual sets P too, TCG does not"


def test_root_forbids_what_all_other_levels_allow(scratch: Scratch) -> None:
    guest = scratch.guest
    address = scratch.chain(scratch.page | P | W | U)
    scratch.open_root(scratch.physical(-1) | P | NX)

    walk = agreed_walk(guest, address)

    assert [str(each) for each in walk.mapped.denials] == [
        "write by PML5 bit 1 (W)",
        "execute by PML5 bit 63 (NX)",
        "user by PML5 bit 2 (U)",
    ]
    assert guest.call("read_u64", address) == 0
    assert guest.fault("write_u64", address, 1).error_code == 0b11
    assert guest.fault("execute", address).error_code == 0x11


def test_large_pages_stand_two_levels_below_the_root_at_the_most(scratch: Scratch) -> None:
    guest = scratch.guest
    scratch.set(0, 0, P | PS)
    scratch.open(scratch.physical(0) | P | W)

    walk = agreed_walk(guest, scratch.base + 0x12_3456)

    assert (walk.mapped.physical, walk.mapped.page_size, walk.steps[-1].level) == (0x12_3456, GIB, Level.PDPT)
    assert len(walk.steps) == 3
    assert guest.call("read_u64", scratch.base + 0x12_0000) == int.from_bytes(guest.in_frame(0x120, 8), "little")


def test_every_address_above_the_kernels_first_belongs_to_its_pml4(guest: Probe) -> None:
    kernel = guest.walk(HIGH_HALF)

    assert [str(step.level) for step in kernel.steps] == ["PML5", "PML4"]
    assert kernel.steps[0].index == KERNEL_SLOT
    assert agreed_walk(guest, HIGH_HALF).steps[1].entry == 0
    assert entry_of(guest, HIGH_HALF) == 0xFFFF_F680_0000_0000


# ------------------------------------------------------------------------------------------------ views, scenarios ----


def test_lecture_passes_and_shows_five_levels() -> None:
    with Machine(MachineOptions(append=("la57",)), gdb=True) as machine:
        steps = list(all_scenarios()["mdl-remap"].play(Stage(machine)))

    walks = [report.data for step in steps for report in step.reports.values() if report.schema == "lab.walk/1"]
    assert {walk["levels"] for walk in walks} == {5}
    assert {walk["steps"][0]["level"] for walk in walks} == {"PML5"}
    assert all(each.own == each.qemu == each.guest for step in steps for each in step.agreements)
    assert steps[-1].title == "Everything is as before"


def test_views_know_the_fifth_level(guest: Probe) -> None:
    def data(name: str, **arguments: str) -> dict[str, object]:
        view = find_view(name)
        assert view
        return dict(view.run(guest.snapshot, arguments).data)

    assert data("walk", address="lab_mailbox")["levels"] == 5
    assert data("table", table="cr3")["level"] == "PML5"
    with guest.pool(PAGE, tag=TAG) as page:
        found = data("aliases", address=hex(page))["aliases"]
        assert [each["address"] for each in found] == [hex(page)]  # type: ignore[index, attr-defined]
