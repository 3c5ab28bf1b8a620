"""MDLs: their bytes after each call, the entries that a mapping makes, and the frames behind them."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest

from lab.kernel.mdl import read_mdls
from lab.x86 import Level
from tests.hardware.probe import (
    ANYWHERE,
    CACHED,
    FIXED_SIZE,
    FROM_POOL,
    LOCKED,
    MAPPED,
    MIB,
    NO_EXECUTE,
    NO_WRITE,
    NON_CACHED,
    NONPAGED,
    NONPAGED_NX,
    NORMAL_PRIORITY,
    PAGE,
    PAGED,
    WRITE_COMBINED,
    Probe,
    pages_of,
)

LOCAL_APIC = 0xFFFF_FFFF_FFFE_0000
PARTIAL, PARTIAL_HAS_BEEN_MAPPED, IO_SPACE = 0x10, 0x20, 0x800
NOT_MAPPED_YET = 0xFFFF_FFFF  # MmNotMapped: the first mapping decides

CACHE_BITS = {0: 0x18, 1: 0x00, 2: 0x08, 3: 0x00, 4: 0x18, 5: 0x08}
"""MEMORY_CACHING_TYPE to PCD and PWT."""
CACHE_NAMES = {0: "UC", 1: "WB", 2: "WC", 3: "WB", 4: "UC", 5: "WC"}

PRIORITY_BITS = {
    NORMAL_PRIORITY: 0x963,
    32: 0x963,
    NORMAL_PRIORITY | NO_EXECUTE: 1 << 63 | 0x963,
    NORMAL_PRIORITY | NO_WRITE: 0x121,
    NORMAL_PRIORITY | NO_WRITE | NO_EXECUTE: 1 << 63 | 0x121,
}
"""Priority to the other bits of the entry: P A G always, W D and Windows' software Write together, NX on request."""

DONT_ZERO, FULLY_REQUIRED, CONTIGUOUS, LARGE_PAGES = 0x1, 0x4, 0x20, 0x40


@pytest.fixture
def buffer(guest: Probe) -> Iterator[int]:
    """Three pages of nonpaged pool."""
    with guest.pool(3 * PAGE, NONPAGED_NX) as address:
        yield address


def allocate_mdl(guest: Probe, buffer: int, size: int, *, secondary: bool = False, irp: int = 0) -> int:
    return guest.call("IoAllocateMdl", buffer, size, int(secondary), 0, irp)


def unmap(guest: Probe, address: int, mdl: int) -> None:
    guest.call("MmUnmapLockedPages", address, mdl)


def free_mdl(guest: Probe, mdl: int) -> None:
    guest.call("IoFreeMdl", mdl)


def shares(guest: Probe, mdl: int) -> set[int]:
    """Share counts of all frames of an MDL."""
    return {guest.record(frame).share_count for frame in guest.mdl(mdl).frames}


# --------------------------------------------------------------------------------------------------- byte for byte ----


def test_mdl_of_a_buffer_is_laid_out_as_in_windows(guest: Probe, buffer: int) -> None:
    mdl = allocate_mdl(guest, buffer + 0x123, PAGE)

    following, size, flags, _, _, start, count, offset = struct.unpack("<QhhxxxxQQQII", guest.read(mdl, 48))
    assert (following, size, flags) == (0, 48 + 2 * 8, FIXED_SIZE)
    assert (start, count, offset) == (buffer, PAGE, 0x123)

    guest.call("MmBuildMdlForNonPagedPool", mdl)

    _, size, flags, process, mapped, start, count, offset, first, second = struct.unpack(
        "<QhhxxxxQQQIIQQ", guest.read(mdl, 48 + 16)
    )
    assert (size, flags, process) == (48 + 2 * 8, FIXED_SIZE | FROM_POOL, 0)
    assert (mapped, start, count, offset) == (buffer + 0x123, buffer, PAGE, 0x123)
    assert (first, second) == (guest.frame(buffer), guest.frame(buffer + PAGE))
    free_mdl(guest, mdl)


def test_flags_and_address_follow_the_life_of_an_mdl(guest: Probe, buffer: int) -> None:
    mdl = allocate_mdl(guest, buffer + 8, 100)
    seen = [guest.mdl(mdl).flag_bits]

    guest.call("MmBuildMdlForNonPagedPool", mdl)
    seen.append(guest.mdl(mdl).flag_bits)
    assert guest.mdl(mdl).mapped_system_va == buffer + 8

    mapping = guest.map(mdl)
    seen.append(guest.mdl(mdl).flag_bits)
    assert guest.mdl(mdl).mapped_system_va == mapping

    unmap(guest, mapping, mdl)
    seen.append(guest.mdl(mdl).flag_bits)
    free_mdl(guest, mdl)

    built = FIXED_SIZE | FROM_POOL
    assert seen == [FIXED_SIZE, built, built | MAPPED, built]


def test_mdl_of_pages_has_no_buffer(guest: Probe) -> None:
    mdl = guest.pages_mdl(3 * PAGE - 1)

    found = guest.mdl(mdl)

    assert (found.flag_bits, found.start_va, found.byte_offset, found.byte_count) == (LOCKED, 0, 0, 3 * PAGE)
    assert (found.size, found.next, found.process, found.mapped_system_va) == (48 + 3 * 8, 0, 0, 0)
    assert len(set(found.frames)) == 3
    assert {guest.record(frame).use for frame in found.frames} == {"mdl"}
    guest.free_pages_mdl(mdl)


@pytest.mark.parametrize(
    ("offset", "size", "pages"),
    [(0, 0, 0), (0, 1, 1), (PAGE - 1, 1, 1), (PAGE - 1, 2, 2), (0, PAGE, 1), (1, PAGE, 2), (0, 23 * PAGE, 23)],
)
def test_size_counts_the_pages_touched(guest: Probe, offset: int, size: int, pages: int) -> None:
    assert guest.call("MmSizeOfMdl", 0x10000 + offset, size) == 48 + 8 * pages


@pytest.mark.parametrize(("pages", "flags"), [(23, FIXED_SIZE), (24, 0)])
def test_mdls_of_up_to_23_pages_are_of_fixed_size(guest: Probe, pages: int, flags: int) -> None:
    mdl = allocate_mdl(guest, 0x10000, pages * PAGE)

    assert guest.mdl(mdl).flag_bits == flags
    assert guest.mdl(mdl).size == 48 + 8 * pages
    free_mdl(guest, mdl)


def test_largest_mdl_is_the_one_whose_size_fits_16_bits(guest: Probe) -> None:
    most = (0xFFFF - 48) // 8

    mdl = allocate_mdl(guest, 0x10000, most * PAGE)

    (found,) = read_mdls(guest.guest).mdls
    assert (found.address, found.size, found.pages, found.problems) == (mdl, 48 + 8 * most, most, ())
    free_mdl(guest, mdl)
    assert allocate_mdl(guest, 0x10000, (most + 1) * PAGE) == 0
    assert allocate_mdl(guest, 0x10001, most * PAGE) == 0
    assert allocate_mdl(guest, 0x10000, 0x8000_0000) == 0


def test_mdl_of_more_pages_keeps_the_lower_bits_of_its_size(guest: Probe) -> None:
    mdl = guest.pages_mdl(33 * MIB)

    (found,) = read_mdls(guest.guest).mdls
    assert (found.size, found.pages, found.problems) == ((48 + 8 * 33 * 256) % 0x10000, 33 * 256, ())
    assert len(set(found.frames)) == 33 * 256
    guest.free_pages_mdl(mdl)


def test_mdls_of_an_irp_are_a_chain(guest: Probe) -> None:
    with guest.pool(64) as irp:
        guest.call("RtlZeroMemory", irp, 64)

        mdls = [allocate_mdl(guest, 0x10000, 1, secondary=number > 0, irp=irp) for number in range(3)]

        assert guest.u64(irp + 8) == mdls[0]
        assert [guest.mdl(mdl).next for mdl in mdls] == [mdls[1], mdls[2], 0]
        for mdl in mdls:
            free_mdl(guest, mdl)


def test_mminitializemdl_touches_no_more_than_windows_does(guest: Probe) -> None:
    with guest.pool(64) as mdl:
        guest.call("MmInitializeMdl", mdl, 0x12345, 0x1000)

        following, size, flags = struct.unpack("<Qhh", guest.read(mdl, 12))
        start, count, offset = struct.unpack("<QII", guest.read(mdl + 0x20, 16))
        assert (following, size, flags, start, count, offset) == (0, 64, 0, 0x12000, 0x1000, 0x345)
        assert guest.read(mdl + 0x10, 16) == guest.read(mdl + 0x30, 16) == b"\xcd" * 16


def test_mdl_of_a_device_says_so(guest: Probe) -> None:
    mdl = guest.built_mdl(LOCAL_APIC, 16)

    assert guest.mdl(mdl).flag_bits == FIXED_SIZE | FROM_POOL | IO_SPACE
    assert guest.mdl(mdl).frames == (0xFEE00,)

    mapping = guest.map(mdl, NON_CACHED)
    assert str(guest.walk(mapping).mapped.memory_type) == "UC"
    assert guest.call("read_u64", mapping + 0x30) == guest.call("read_u64", LOCAL_APIC + 0x30)
    unmap(guest, mapping, mdl)
    free_mdl(guest, mdl)


# ------------------------------------------------------------------------------------------------ second addresses ----


def test_two_addresses_for_one_frame(guest: Probe, buffer: int) -> None:
    mdl = guest.built_mdl(buffer + 0x800, 2 * PAGE)
    mapping = guest.map(mdl)

    for offset in (0, 0x7FF, 0x800, 2 * PAGE - 1):
        assert guest.walk(mapping + offset).mapped.physical == guest.walk(buffer + 0x800 + offset).mapped.physical
        physical = guest.call("MmGetPhysicalAddress", mapping + offset)
        assert physical == guest.call("MmGetPhysicalAddress", buffer + 0x800 + offset)
        assert physical == guest.machine.qmp.gva2gpa(mapping + offset) == guest.walk(mapping + offset).mapped.physical
    guest.call("write_u64", mapping + 0x7FC, 0x1122334455667788)
    assert guest.call("read_u64", buffer + 0x800 + 0x7FC) == 0x1122334455667788
    guest.call("write_u64", buffer + 0x800, 0x99AABBCCDDEEFF00)
    assert guest.call("read_u64", mapping) == 0x99AABBCCDDEEFF00

    assert mapping % PAGE == 0x800
    assert shares(guest, mdl) == {2}
    unmap(guest, mapping, mdl)
    assert shares(guest, mdl) == {1}
    free_mdl(guest, mdl)


def test_unmapping_clears_the_entries_and_the_next_touch_faults(guest: Probe, buffer: int) -> None:
    mdl = guest.built_mdl(buffer, 3 * PAGE)
    mapping = guest.map(mdl)
    guest.call("touch_write", mapping + PAGE)

    unmap(guest, mapping, mdl)

    assert [guest.entry(mapping + page * PAGE) for page in range(3)] == [0, 0, 0]
    exception = guest.fault("write_u64", mapping + PAGE, 1)
    assert (exception.vector, exception.error_code, exception.cr2) == (14, 0b10, mapping + PAGE)
    assert guest.call("MmIsAddressValid", mapping) == guest.call("MmGetPhysicalAddress", mapping) == 0
    assert guest.call("MmIsAddressValid", buffer) == 1
    free_mdl(guest, mdl)


def test_an_address_just_released_is_not_used_at_once(guest: Probe, buffer: int) -> None:
    mdl = guest.built_mdl(buffer, PAGE)

    seen = []
    for _ in range(8):
        seen.append(guest.map(mdl))
        unmap(guest, seen[-1], mdl)

    assert len(set(seen)) == 8
    free_mdl(guest, mdl)


def test_any_address_in_the_first_page_unmaps(guest: Probe, buffer: int) -> None:
    mdl = guest.built_mdl(buffer + 0x10, PAGE)

    for offset in (0, 0x20, -0x10):
        unmap(guest, guest.map(mdl) + offset, mdl)

    free_mdl(guest, mdl)


def test_mdl_mapped_twice_has_two_mappings(guest: Probe, buffer: int) -> None:
    mdl = guest.built_mdl(buffer, PAGE)
    first, second = guest.map(mdl), guest.map(mdl)

    assert first != second
    assert guest.frame(first) == guest.frame(second) == guest.frame(buffer)
    assert shares(guest, mdl) == {3}

    unmap(guest, second, mdl)
    # Windows keeps one flag for both: whoever maps twice must set it again to unmap twice.
    guest.write(mdl + 0x0A, struct.pack("<H", guest.mdl(mdl).flag_bits | MAPPED))
    unmap(guest, first, mdl)
    free_mdl(guest, mdl)


@pytest.mark.parametrize("priority", PRIORITY_BITS)
@pytest.mark.parametrize("cache", CACHE_BITS)
def test_entry_has_the_rights_and_the_memory_type_asked_for(guest: Probe, cache: int, priority: int) -> None:
    mdl = guest.pages_mdl(2 * PAGE, NOT_MAPPED_YET)

    mapping = guest.map(mdl, cache, priority)

    for page, frame in enumerate(guest.mdl(mdl).frames):
        walk = guest.walk(mapping + page * PAGE)
        assert walk.steps[-1].entry == frame * PAGE | CACHE_BITS[cache] | PRIORITY_BITS[priority]
        assert str(walk.mapped.memory_type) == CACHE_NAMES[cache]
        assert walk.mapped.supervisor.write == (not priority & NO_WRITE)
        assert walk.mapped.supervisor.execute == (not priority & NO_EXECUTE)
    guest.free_pages_mdl(mdl)


@pytest.mark.parametrize(("first", "noted"), [(NON_CACHED, "NON_CACHED"), (WRITE_COMBINED, "WRITE_COMBINED")])
def test_pages_keep_the_memory_type_of_their_first_mapping(guest: Probe, first: int, noted: str) -> None:
    mdl = guest.call("MmAllocatePagesForMdl", 0, ANYWHERE, 0, PAGE)
    (frame,) = guest.mdl(mdl).frames
    assert guest.cache_attribute(frame) == "NOT_MAPPED"

    unmap(guest, guest.map(mdl, first), mdl)
    assert guest.cache_attribute(frame) == noted

    assert str(guest.walk(guest.map(mdl, CACHED)).mapped.memory_type) == CACHE_NAMES[first]
    guest.free_pages_mdl(mdl)


def test_pages_allocated_with_a_memory_type_and_pool_keep_it(guest: Probe, buffer: int) -> None:
    mdl = guest.pages_mdl(PAGE, WRITE_COMBINED)
    of_pool = guest.built_mdl(buffer, PAGE)

    pages, pool = guest.map(mdl, NON_CACHED), guest.map(of_pool, NON_CACHED)

    assert str(guest.walk(pages).mapped.memory_type) == "WC"
    assert str(guest.walk(pool).mapped.memory_type) == "WB"
    guest.free_pages_mdl(mdl)
    unmap(guest, pool, of_pool)
    free_mdl(guest, of_pool)


def test_mapping_that_may_not_be_written_faults_on_a_write_by_its_pt_entry(guest: Probe, buffer: int) -> None:
    mdl = guest.built_mdl(buffer, PAGE)
    mapping = guest.map(mdl, CACHED, NORMAL_PRIORITY | NO_WRITE)

    exception = guest.fault("write_u64", mapping, 1)

    assert (exception.vector, exception.error_code, exception.cr2) == (14, 0b11, mapping)
    (denial,) = [each for each in guest.walk(mapping).mapped.denials if each.access == "write"]
    assert (denial.level, denial.name) == (Level.PT, "W")
    assert guest.call("read_u64", mapping) == guest.call("read_u64", buffer)
    guest.call("write_u64", buffer, 2)
    assert guest.call("read_u64", mapping) == 2
    unmap(guest, mapping, mdl)
    free_mdl(guest, mdl)


def test_mapping_is_executable_unless_asked_otherwise(guest: Probe, buffer: int) -> None:
    guest.write(buffer, b"\xb8\x07\x00\x00\x00\xc3")  # mov eax, 7; ret
    mdl = guest.built_mdl(buffer, PAGE)

    mapping = guest.map(mdl)
    assert guest.call("execute", mapping) == 7
    assert guest.fault("execute", buffer).error_code == 0b10001
    unmap(guest, mapping, mdl)

    mapping = guest.map(mdl, CACHED, NORMAL_PRIORITY | NO_EXECUTE)
    assert guest.fault("execute", mapping).error_code == 0b10001
    unmap(guest, mapping, mdl)
    free_mdl(guest, mdl)


def test_system_address_is_the_pool_s_own_or_a_new_mapping(guest: Probe, buffer: int) -> None:
    of_pool, of_pages = guest.built_mdl(buffer + 4, 8), guest.pages_mdl(PAGE)

    assert guest.call("MmGetSystemAddressForMdlSafe", of_pool, NORMAL_PRIORITY) == buffer + 4

    mapping = guest.call("MmGetSystemAddressForMdlSafe", of_pages, NORMAL_PRIORITY | NO_EXECUTE)
    assert str(guest.walk(mapping).mapped.supervisor) == "rw-"
    assert guest.call("MmGetSystemAddressForMdlSafe", of_pages, NORMAL_PRIORITY) == mapping
    free_mdl(guest, of_pool)
    guest.free_pages_mdl(of_pages)
    assert guest.entry(mapping) == 0, "freeing the pages unmaps them"


def test_mapping_of_a_partial_mdl_goes_with_it(guest: Probe) -> None:
    mdl = guest.pages_mdl(PAGE)
    guest.write(mdl + 0x0A, struct.pack("<H", PARTIAL))

    mapping = guest.map(mdl)
    assert guest.mdl(mdl).flag_bits == PARTIAL | MAPPED | PARTIAL_HAS_BEEN_MAPPED
    guest.call("MmPrepareMdlForReuse", mdl)

    assert guest.mdl(mdl).flag_bits == PARTIAL
    assert guest.entry(mapping) == 0
    guest.call("MmPrepareMdlForReuse", mdl)
    guest.write(mdl + 0x0A, struct.pack("<H", LOCKED))
    guest.free_pages_mdl(mdl)


def test_paged_pool_can_be_described_as_long_as_it_is_resident(guest: Probe) -> None:
    with guest.pool(PAGE, PAGED) as address:
        mdl = guest.built_mdl(address, PAGE)
        assert guest.mdl(mdl).frames == (guest.frame(address),)
        free_mdl(guest, mdl)


@pytest.mark.parametrize("cache", [6, NOT_MAPPED_YET])
def test_memory_type_without_meaning_is_null(guest: Probe, cache: int) -> None:
    mdl = guest.pages_mdl(PAGE)

    assert guest.map(mdl, cache) == 0
    assert guest.mdl(mdl).flag_bits == LOCKED
    guest.free_pages_mdl(mdl)


def test_frame_freed_while_it_is_mapped_meets_its_next_owner(guest: Probe) -> None:
    address = guest.allocate(PAGE, NONPAGED_NX)
    mdl, frame = guest.built_mdl(address, PAGE), guest.frame(address)
    mapping = guest.map(mdl)

    guest.free(address)
    again = guest.allocate(PAGE, NONPAGED_NX)
    guest.call("write_u64", mapping, 0xDEAD)

    assert guest.frame(again) == frame
    assert guest.call("read_u64", again) == 0xDEAD
    assert guest.record(frame).share_count == 1
    unmap(guest, mapping, mdl)
    assert guest.record(frame).share_count == 1
    free_mdl(guest, mdl)
    guest.free(again)


@pytest.mark.parametrize("seed", range(2))
def test_random_buffers(guest: Probe, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    for _ in range(60):
        size = dice.choice([1, 16, PAGE, PAGE + 1, dice.randint(1, 60000)])
        with guest.pool(size, dice.choice([NONPAGED, NONPAGED_NX, PAGED])) as memory:
            offset = dice.randrange(size)
            start, length = memory + offset, dice.randint(1, size - offset)
            mdl = guest.built_mdl(start, length)
            pages = pages_of(start % PAGE + length)
            expected = tuple(guest.frame(start // PAGE * PAGE + page * PAGE) for page in range(pages))
            assert guest.mdl(mdl).frames == expected

            mapping = guest.map(mdl)
            content = dice.randbytes(length)
            guest.write(start, content)
            assert guest.read(mapping, length) == content
            assert guest.call("RtlCompareMemory", mapping, start, length) == length
            unmap(guest, mapping, mdl)
            free_mdl(guest, mdl)


# --------------------------------------------------------------------------------------------------- pages of MDLs ----


def pages_in(
    guest: Probe, low: int, high: int, *, skip: int = 0, size: int = PAGE, cache: int = 1, flags: int = 0
) -> int:
    return guest.call("MmAllocatePagesForMdlEx", low, high, skip, size, cache, flags)


def test_pages_come_from_the_range_and_may_be_fewer(guest: Probe) -> None:
    mdl = pages_in(guest, 32 * MIB, 32 * MIB + 4 * PAGE - 1, size=10 * PAGE)

    assert guest.mdl(mdl).frames == (0x2000, 0x2001, 0x2002, 0x2003)
    assert guest.mdl(mdl).byte_count == 4 * PAGE
    assert pages_in(guest, 32 * MIB, 32 * MIB + 4 * PAGE - 1) == 0, "none is left there"
    guest.free_pages_mdl(mdl)


def test_range_moves_up_by_the_skip(guest: Probe) -> None:
    mdl = pages_in(guest, 32 * MIB, 32 * MIB + 2 * PAGE - 1, skip=16 * PAGE, size=5 * PAGE)

    assert guest.mdl(mdl).frames == (0x2000, 0x2001, 0x2010, 0x2011, 0x2020)
    guest.free_pages_mdl(mdl)


def test_all_or_nothing(guest: Probe) -> None:
    window = (32 * MIB, 32 * MIB + 4 * PAGE - 1)

    assert pages_in(guest, *window, size=5 * PAGE, flags=FULLY_REQUIRED) == 0
    mdl = pages_in(guest, *window, size=4 * PAGE, flags=FULLY_REQUIRED)
    assert len(guest.mdl(mdl).frames) == 4
    guest.free_pages_mdl(mdl)


def test_contiguous_pages(guest: Probe) -> None:
    whole = pages_in(guest, 0, ANYWHERE, size=64 * PAGE, flags=CONTIGUOUS)
    frames = guest.mdl(whole).frames
    assert frames == tuple(range(frames[0], frames[0] + 64))

    chunks = pages_in(guest, 0, ANYWHERE, skip=16 * PAGE, size=64 * PAGE, flags=CONTIGUOUS)
    frames = guest.mdl(chunks).frames
    assert len(frames) == 64
    for first in range(0, 64, 16):
        assert frames[first] % 16 == 0
        assert frames[first : first + 16] == tuple(range(frames[first], frames[first] + 16))

    large = pages_in(guest, 0, ANYWHERE, skip=2 * MIB, size=4 * MIB, flags=CONTIGUOUS | LARGE_PAGES)
    assert guest.mdl(large).frames[0] % 512 == guest.mdl(large).frames[512] % 512 == 0
    for mdl in (whole, chunks, large):
        guest.free_pages_mdl(mdl)


def test_pages_are_zeroed_unless_asked_otherwise(guest: Probe) -> None:
    with guest.pool(16, NONPAGED_NX):  # so that the MDLs need no new page
        address = guest.allocate(PAGE)
        guest.call("RtlFillMemory", address, PAGE, 0x5A)
        frame = guest.frame(address)
        guest.free(address)
        window = (frame * PAGE, frame * PAGE + PAGE - 1)

        dirty = pages_in(guest, *window, flags=DONT_ZERO)
        assert guest.in_frame(frame) == b"\x5a" * PAGE
        guest.free_pages_mdl(dirty)
        clean = pages_in(guest, *window)
        assert guest.in_frame(frame) == bytes(PAGE)
        guest.free_pages_mdl(clean)


@pytest.mark.parametrize(
    "request_",
    [
        {"size": 0},
        {"size": 4 << 30},
        {"flags": 0x80},
        {"flags": 0x100},
        {"cache": 6},
        {"skip": 100},
        {"flags": LARGE_PAGES},
        {"flags": LARGE_PAGES | CONTIGUOUS, "skip": PAGE},
        {"flags": CONTIGUOUS, "skip": 3 * PAGE, "size": 3 * PAGE},
        {"flags": CONTIGUOUS, "skip": 2 * PAGE, "size": PAGE},
    ],
    ids=str,
)
def test_requests_without_sense_are_null(guest: Probe, request_: dict[str, int]) -> None:
    assert pages_in(guest, 0, ANYWHERE, **request_) == 0


@pytest.mark.parametrize(("low", "high"), [(256 * MIB, ANYWHERE), (3 * PAGE, 2 * PAGE), (0xA0000, 0xFFFFF)])
def test_ranges_without_ram_are_null(guest: Probe, low: int, high: int) -> None:
    assert pages_in(guest, low, high) == 0


def test_freed_pages_are_not_in_the_mdl_any_more(guest: Probe) -> None:
    mdl = guest.pages_mdl(2 * PAGE)
    frames = guest.mdl(mdl).frames

    guest.call("MmFreePagesFromMdl", mdl)

    assert {guest.record(frame).location for frame in frames} == {"Free"}
    assert guest.mdl(mdl).flag_bits == 0
    assert struct.unpack("<QQ", guest.read(mdl + 48, 16)) == (ANYWHERE, ANYWHERE)
    guest.call("ExFreePool", mdl)


# ---------------------------------------------------------------------------------------------------- out of space ----


def test_system_ptes_run_out_and_come_back(fresh_guest: Probe) -> None:
    guest, pages = fresh_guest, 8000
    before = guest.system_ptes_available()
    buffer = guest.allocate(pages * PAGE, NONPAGED_NX)
    mdl = guest.built_mdl(buffer, pages * PAGE)

    mappings = []
    while mapping := guest.map(mdl):
        mappings.append(mapping)

    assert guest.system_ptes_available() == before - len(mappings) * pages < pages
    for page in (0, pages - 1):
        assert guest.record(guest.frame(buffer + page * PAGE)).share_count == 1 + len(mappings)
        assert {guest.frame(mapping + page * PAGE) for mapping in mappings} == {guest.frame(buffer + page * PAGE)}

    for mapping in mappings:
        guest.write(mdl + 0x0A, struct.pack("<H", guest.mdl(mdl).flag_bits | MAPPED))
        unmap(guest, mapping, mdl)
    assert guest.system_ptes_available() == before
    assert guest.record(guest.frame(buffer)).share_count == 1
    assert guest.map(mdl)


def test_no_frame_for_a_page_table_is_null_too(fresh_guest: Probe) -> None:
    guest = fresh_guest
    mdl = guest.pages_mdl(1 << 30)
    system_ptes = guest.system_ptes_available()
    assert guest.frames_available() == 0

    assert guest.map(mdl) == 0

    assert guest.system_ptes_available() == system_ptes
    found = guest.mdl(mdl)
    assert found.flag_bits == LOCKED
    assert {guest.record(frame).share_count for frame in found.frames[::500]} == {1}


def test_failures_to_order(guest: Probe, buffer: int) -> None:
    guest.call("fail_next", guest.kernel.constant("FAIL_MDL"))
    assert allocate_mdl(guest, buffer, PAGE) == 0
    mdl = guest.built_mdl(buffer, PAGE)

    guest.call("fail_next", guest.kernel.constant("FAIL_MAP"))
    assert guest.map(mdl) == 0
    assert guest.mdl(mdl).flag_bits == FIXED_SIZE | FROM_POOL
    mapping = guest.map(mdl)
    assert mapping
    unmap(guest, mapping, mdl)
    free_mdl(guest, mdl)
