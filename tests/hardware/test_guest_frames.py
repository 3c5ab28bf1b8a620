"""Physical memory: every frame of RAM has a record, and what the records say is what the page tables and RAM say."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.kernel.frames import read_frames
from lab.kernel.objects import StructView
from lab.machine import Machine, MachineOptions
from lab.machine.host import find_image
from lab.paging import Kind, Mapping, leaves, tables
from lab.x86 import Level, PhysicalAddress
from tests.hardware.probe import (
    ANYWHERE,
    GIB,
    MIB,
    NONPAGED,
    NONPAGED_NX,
    PAGE,
    PAGED,
    Probe,
    Supply,
    booted,
)

HOLE_START, HOLE_END = 0xA0, 0x100  # frames from 640 KiB to 1 MiB: no PC has RAM to give there
FIRMWARE = {"microvm": 2, "q35": 2 + 32}  # frame 0, the last below 640 KiB, and q35's tables at the end of low RAM
LIST_END = (1 << 64) - 1


@pytest.fixture(scope="module")
def supply() -> Iterator[Supply]:
    # So much RAM that the PFN database takes large pages.
    with Supply(ram=384 * MIB) as supply:
        yield supply


# ------------------------------------------------------------------------------------------------------ all of RAM ----


@pytest.mark.parametrize("machine", ["microvm", "q35"])
@pytest.mark.parametrize("ram", [8 * MIB, 64 * MIB, 2 * GIB, 6 * GIB])
def test_every_frame_of_ram_is_accounted_for(machine: str, ram: int) -> None:
    with booted(machine=machine, ram=ram) as guest:
        frames = read_frames(guest.guest)

        assert frames.problems == ()
        assert frames.count == ram // PAGE - (HOLE_END - HOLE_START)
        assert sum(frames.locations.values()) == frames.count
        assert sum(frames.uses.values()) == frames.locations["Active"]
        assert set(frames.locations) == {"Active", "Zeroed", "Free"}
        assert frames.uses["firmware"] == FIRMWARE[machine]
        assert all(guest.machine.memory.read(PhysicalAddress.from_frame(bank.end - 1), 8) for bank in frames.banks)


def test_too_little_ram_is_said_before_the_guest_boots() -> None:
    for ram in (MIB, 3 * MIB):
        with pytest.raises(UsageError, match=f"cannot have {ram} bytes of RAM; give 4 MiB or more"):
            MachineOptions(ram=ram)
    for machine in ("microvm", "q35"):
        with booted(machine=machine, ram=4 * MIB) as guest:
            assert guest.machine.call.lab_ping(1).ok


def test_the_guest_itself_says_in_a_sentence_that_ram_is_too_little(tmp_path: Path) -> None:
    unknown = shutil.copy(find_image(), tmp_path / "kernel.elf")  # without its description
    with Machine(MachineOptions(kernel=unknown, ram=2 * MIB)) as machine:
        machine.wait_log("frames: no RAM for the first tables")


def test_frames_above_4_gib_can_be_used() -> None:
    with booted(ram=6 * GIB) as guest:
        mdl = guest.pages_mdl(2 * PAGE, low=4 * GIB)
        address = guest.map(mdl)
        guest.write(address + PAGE - 4, b"over 4 GiB")

        first, second = guest.mdl(mdl).frames
        assert min(first, second) >= 4 * GIB // PAGE
        assert guest.walk(address).mapped.physical.frame == first
        assert guest.in_frame(first)[-4:] + guest.in_frame(second, 6) == b"over 4 GiB"


def test_records_are_written_when_first_needed_and_not_before() -> None:
    with booted(ram=2 * GIB) as guest:
        high = GIB + 512 * MIB
        section = high // PAGE // guest.kernel.constant("FRAMES_PER_SECTION")
        sections, available = guest.kernel.symbol("frame_sections").address, guest.frames_available()

        assert guest.guest.read(sections + section, 1) == b"\0"
        assert guest.record(high // PAGE).location == "Free"

        mdl = guest.pages_mdl(PAGE, low=high)

        assert guest.mdl(mdl).frames == (high // PAGE,)
        assert guest.guest.read(sections + section, 1) == b"\1"
        assert guest.record(high // PAGE).use == "mdl"
        assert available - guest.frames_available() in {1, 2}, "the page, and perhaps one for the MDL itself"


# ----------------------------------------------------------------------------------------- records and page tables ----


def used_pages(guest: Probe) -> list[Mapping]:
    """Every leaf that leads to RAM."""
    end = guest.machine.memory.banks[-1].end
    rows = leaves(guest.machine.memory, guest.state)
    return [row for row in rows if row.kind is Kind.PAGE and row.physical < end]


@pytest.fixture
def with_pool(guest: Probe) -> Iterator[Probe]:
    """A guest with pool of every kind in use, and a second mapping of some of it."""
    held = [guest.allocate(size, kind) for kind in (NONPAGED, PAGED, NONPAGED_NX) for size in (100, 3000, 3 * PAGE)]
    buffer = held[-1]
    mdl = guest.built_mdl(buffer, 3 * PAGE)
    alias = guest.map(mdl)
    yield guest
    guest.call("MmUnmapLockedPages", alias, mdl)
    guest.call("IoFreeMdl", mdl)
    for address in held:
        guest.free(address)


def test_record_of_each_mapped_frame_names_its_use_and_its_entry(with_pool: Probe) -> None:
    guest = with_pool
    uses = {
        "KERNEL_BASE": {"kernel"},
        "SYSTEM_PTES": {"stack", "pool nx"},
        "PFN_DATABASE": {"pfn db"},
        "NONPAGED_POOL": {"pool", "pool nx"},
        "SHARED_DATA": {"system"},
    }
    regions = sorted((guest.kernel.constant(name), use) for name, use in uses.items())
    seen = set()
    for row in used_pages(guest):
        expected = next(use for start, use in reversed(regions) if start <= row.start)
        for frame in range(row.physical.frame, row.physical.frame + row.page_size // PAGE):
            record = guest.record(frame)
            assert record.use in expected, f"{row.start} {record}"
            assert record.reference_count == 1
            assert row.entry_address is not None
            if record.use in {"pool", "pool nx"} and row.start < guest.kernel.constant("PFN_DATABASE"):
                assert record.share_count == 2, "its pool address and a mapping"
                continue
            assert guest.walk(record.pte_address).mapped.physical == row.entry_address
            assert record.pte_frame == row.entry_address.frame
        seen |= {record.use}
    assert seen == set().union(*uses.values())


def test_record_of_each_table_counts_its_present_entries(with_pool: Probe) -> None:
    guest = with_pool

    for table in tables(guest.machine.memory, guest.state).values():
        content = guest.in_frame(table.address.frame)
        present = sum(content[offset] & 1 for offset in range(0, PAGE, 8))
        record = guest.record(table.address.frame)
        assert (record.use, record.used_entries, record.share_count) == ("table", present, 1 + present)
        assert guest.walk(record.pte_address).mapped.physical == table.parents[0]


def test_no_frame_is_active_that_nothing_leads_to(with_pool: Probe) -> None:
    guest = with_pool
    mapped = {row.physical.frame + i for row in used_pages(guest) for i in range(row.page_size // PAGE)}
    reached = mapped | {table.frame for table in tables(guest.machine.memory, guest.state)}

    found = read_frames(guest.guest)

    assert all(guest.record(frame).is_active for frame in reached)
    assert found.locations["Active"] - found.uses["firmware"] == len(reached)


def test_large_pages_hold_the_database_where_it_is_large(guest: Probe) -> None:
    sizes = {row.page_size for row in used_pages(guest) if guest.record(row.physical.frame).use == "pfn db"}

    assert sizes == {Level.PT.page_size, Level.PD.page_size}


# ------------------------------------------------------------------------------------------------------- the lists ----


@pytest.mark.parametrize(("name", "location"), [("zeroed", "Zeroed"), ("free_frames", "Free")])
def test_lists_of_frames_are_linked_both_ways(guest: Probe, name: str, location: str) -> None:
    head = guest.guest.variable(name)
    written = guest.kernel.constant("FRAMES_PER_SECTION")
    records: dict[int, StructView] = {}
    for first, end in ((0, HOLE_START), (HOLE_END, written)):
        records |= zip(
            range(first, end), guest.guest.structs("_MMPFN", guest.record(first).record, end - first), strict=True
        )

    before, frame, found = LIST_END, head["first"], []
    while frame != LIST_END:
        record = records[frame]
        assert record["u2"] == before
        found.append(frame)
        before, frame = frame, record["u1"]

    assert (before, len(set(found))) == (head["last"], head["count"])
    assert {guest.record(frame).location for frame in found[::16]} == {location}


def test_frames_called_zeroed_are_zero(guest: Probe) -> None:
    frame = guest.guest.variable("zeroed")["first"]
    assert frame != LIST_END
    while frame != LIST_END:
        assert guest.in_frame(frame) == bytes(PAGE)
        frame = guest.guest.struct("_MMPFN", guest.record(frame).record)["u1"]


def test_frame_freed_last_is_used_first(guest: Probe) -> None:
    address = guest.allocate(PAGE)
    frame = guest.frame(address)
    assert guest.record(frame).use == "pool"

    guest.free(address)
    assert (guest.record(frame).location, guest.guest.variable("free_frames")["first"]) == ("Free", frame)

    again = guest.allocate(PAGE, NONPAGED_NX)
    assert (guest.frame(again), guest.record(frame).use) == (frame, "pool nx")
    guest.free(again)


def test_frames_whose_contents_were_somebody_elses_come_zeroed(guest: Probe) -> None:
    address = guest.allocate(64 * PAGE)
    secrets = {guest.frame(address + page * PAGE) for page in range(64)}
    guest.call("RtlFillMemory", address, 64 * PAGE, 0x5A)
    guest.free(address)

    zeroed = guest.guest.variable("zeroed")["count"]
    mdl = guest.pages_mdl((zeroed + 64) * PAGE)

    frames = set(guest.mdl(mdl).frames)
    assert frames & secrets
    assert {guest.in_frame(frame) for frame in frames} == {bytes(PAGE)}
    guest.free_pages_mdl(mdl)


def test_when_all_frames_are_gone_every_call_says_so_and_afterwards_all_are_back(fresh_guest: Probe) -> None:
    guest = fresh_guest
    available = guest.frames_available()

    mdl = guest.pages_mdl(1 * GIB)
    frames = guest.mdl(mdl).frames

    assert len(set(frames)) == len(frames) > 15000
    assert guest.frames_available() == 0
    assert guest.allocate(PAGE) == guest.allocate(9 * PAGE, NONPAGED_NX) == guest.allocate(1, PAGED) == 0
    assert guest.call("IoAllocateMdl", 0, 100, 0, 0, 0) == 0
    assert guest.pages_mdl(PAGE) == guest.call("MmAllocatePagesForMdl", 0, ANYWHERE, 0, PAGE) == 0
    assert guest.map(mdl) == 0, "no frames for the page tables"
    assert guest.call("lab_ping", 1) == 2

    guest.free_pages_mdl(mdl)
    assert guest.frames_available() == available
