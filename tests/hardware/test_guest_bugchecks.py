"""Misuse of pool and MDLs: each stops the guest with the bug check and the parameters that Windows documents.

A misuse is a generator: what it yields is the STOP expected, code and parameters (None: any), and what comes after must
end in it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from lab.errors import GuestStopped
from lab.kernel.values import make_tag
from tests.hardware.probe import (
    ANYWHERE,
    FIXED_SIZE,
    FROM_POOL,
    KERNEL_MODE,
    LOCKED,
    MAPPED,
    NONPAGED,
    NONPAGED_NX,
    PAGE,
    PAGED,
    TAG,
    Probe,
)

Stop = tuple[int | None, ...]
Misuse = Callable[[Probe], Iterator[Stop]]

BAD_POOL_HEADER, MEMORY_MANAGEMENT, NO_MORE_SYSTEM_PTES = 0x19, 0x1A, 0x3F
BAD_POOL_CALLER, VERIFIER, SYSTEM_PTE_MISUSE = 0xC2, 0xC4, 0xDA

OTHER_TAG, BIG = make_tag("Othr"), make_tag("BIG ")
SYSTEM_RANGE_START = 0xFFFF_0800_0000_0000
NO_POOL = 0xFFFF_F800_0010_0010
UNUSED_POOL = 0xFFFF_FA80_4010_0010
MUST_SUCCEED = 2

in_any_mode: list[Misuse] = []
in_verifier_mode: list[Misuse] = []
in_verifier = pytest.mark.machine_options(append=["verifier"])


def stop(guest: Probe, misuse: Misuse) -> None:
    """Let a misuse happen, and compare."""
    steps = misuse(guest)
    expected = next(steps)

    with pytest.raises(GuestStopped):
        next(steps, None)

    found = guest.machine.bugcheck
    assert found is not None
    seen = (found.code, *found.parameters)
    assert seen[: len(expected)] == tuple(
        mine if wanted is None else wanted for mine, wanted in zip(seen, expected, strict=False)
    )
    assert guest.machine.qmp.wait_event("GUEST_PANICKED", timeout=5)
    assert f"*** {found.name}\n" in guest.machine.log


# --------------------------------------------------------------------------------------------------------- freeing ----


@in_any_mode.append
def wrong_tag(guest: Probe) -> Iterator[Stop]:
    address = guest.allocate()
    yield BAD_POOL_CALLER, 0x0A, address, TAG, OTHER_TAG
    guest.free(address, OTHER_TAG)


@in_any_mode.append
def wrong_tag_of_whole_pages(guest: Probe) -> Iterator[Stop]:
    address = guest.allocate(5000)
    yield BAD_POOL_CALLER, 0x0A, address, TAG, OTHER_TAG
    guest.free(address, OTHER_TAG)


@in_any_mode.append
def wrong_tag_of_an_mdl(guest: Probe) -> Iterator[Stop]:
    mdl = guest.pages_mdl()
    yield BAD_POOL_CALLER, 0x0A, mdl, make_tag("Mdl "), OTHER_TAG
    guest.free(mdl, OTHER_TAG)


@in_any_mode.append
def freed_twice(guest: Probe) -> Iterator[Stop]:
    _before, address, _behind = guest.allocate(), guest.allocate(), guest.allocate()
    guest.free(address)
    yield BAD_POOL_CALLER, 0x07, TAG, int.from_bytes(guest.read(address - 16, 4), "little"), address
    guest.free(address)


@in_any_mode.append
def freed_twice_and_merged_with_its_neighbour(guest: Probe) -> Iterator[Stop]:
    first, second, _behind = guest.allocate(64), guest.allocate(64, NONPAGED, OTHER_TAG), guest.allocate(64)
    guest.free(first)
    guest.free(second)
    yield BAD_POOL_CALLER, 0x07, OTHER_TAG, None, second
    guest.free(second)


@in_any_mode.append
def freed_twice_when_its_page_is_gone(guest: Probe) -> Iterator[Stop]:
    address = guest.allocate()
    guest.free(address)
    yield BAD_POOL_CALLER, 0x07, TAG, 0, address
    guest.free(address)


@in_any_mode.append
def whole_pages_freed_twice(guest: Probe) -> Iterator[Stop]:
    address = guest.allocate(9000)
    guest.free(address)
    yield BAD_POOL_HEADER, 0x22, address
    guest.free(address)


@in_any_mode.append
def user_address_freed(guest: Probe) -> Iterator[Stop]:
    yield BAD_POOL_CALLER, 0x40, 0x7FF000, SYSTEM_RANGE_START
    guest.free(0x7FF000)


@in_any_mode.append
def null_freed(guest: Probe) -> Iterator[Stop]:
    yield BAD_POOL_CALLER, 0x40, 0, SYSTEM_RANGE_START
    guest.free(0)


@in_any_mode.append
def address_of_the_kernel_freed(guest: Probe) -> Iterator[Stop]:
    yield BAD_POOL_CALLER, 0x42, NO_POOL
    guest.free(NO_POOL)


@in_any_mode.append
def address_behind_the_pool_freed(guest: Probe) -> Iterator[Stop]:
    behind = guest.kernel.constant("NONPAGED_POOL") + guest.kernel.constant("NONPAGED_POOL_PAGES") * PAGE + 16
    yield BAD_POOL_CALLER, 0x42, behind
    guest.free(behind)


@in_any_mode.append
def pool_that_was_never_used_freed(guest: Probe) -> Iterator[Stop]:
    yield BAD_POOL_CALLER, 0x43, UNUSED_POOL
    guest.free(UNUSED_POOL)


@in_any_mode.append
def second_page_of_whole_pages_freed(guest: Probe) -> Iterator[Stop]:
    address = guest.allocate(9000)
    yield BAD_POOL_CALLER, 0x46, address + PAGE
    guest.free(address + PAGE)


@in_any_mode.append
def inside_of_whole_pages_freed(guest: Probe) -> Iterator[Stop]:
    address = guest.allocate(9000)
    yield BAD_POOL_CALLER, 0x46, address + 64
    guest.free(address + 64)


@in_any_mode.append
def page_of_blocks_freed(guest: Probe) -> Iterator[Stop]:
    address = guest.allocate() // PAGE * PAGE
    yield BAD_POOL_CALLER, 0x46, address
    guest.free(address)


@in_any_mode.append
def address_not_aligned_freed(guest: Probe) -> Iterator[Stop]:
    address = guest.allocate()
    yield BAD_POOL_CALLER, 0x46, address + 8
    guest.free(address + 8)


@in_any_mode.append
def inside_of_a_block_freed(guest: Probe) -> Iterator[Stop]:
    address = guest.allocate()
    yield BAD_POOL_CALLER, 0x46, address + 32
    guest.free(address + 32)


# ------------------------------------------------------------------------------------------------------ allocating ----


@in_any_mode.append
def no_tag(guest: Probe) -> Iterator[Stop]:
    yield BAD_POOL_CALLER, 0x9B, NONPAGED, 100
    guest.allocate(100, NONPAGED, 0)


@in_any_mode.append
def tag_big(guest: Probe) -> Iterator[Stop]:
    yield BAD_POOL_CALLER, 0x9C, NONPAGED_NX, 100
    guest.allocate(100, NONPAGED_NX, BIG)


@in_any_mode.append
def must_succeed(guest: Probe) -> Iterator[Stop]:
    yield BAD_POOL_CALLER, 0x9A, MUST_SUCCEED, 100, TAG
    guest.allocate(100, MUST_SUCCEED)


@in_verifier_mode.append
def no_bytes(guest: Probe) -> Iterator[Stop]:
    yield VERIFIER, 0x00, 0, NONPAGED, 0
    guest.allocate(0)


# ------------------------------------------------------------------------------------------------- writing too far ----


def overrun(guest: Probe, freed: int) -> Iterator[Stop]:
    """Write behind the first of three blocks, and free one of them: the first two contradict each other."""
    blocks = [guest.allocate(64) for _ in range(3)]
    guest.write(blocks[0], b"A" * 80)
    yield BAD_POOL_HEADER, 0x20, blocks[0] - 16, blocks[1] - 16
    guest.free(blocks[freed])


@in_any_mode.append
def overrun_found_when_the_block_is_freed(guest: Probe) -> Iterator[Stop]:
    return overrun(guest, 0)


@in_any_mode.append
def overrun_found_when_its_victim_is_freed(guest: Probe) -> Iterator[Stop]:
    return overrun(guest, 1)


@in_any_mode.append
def overrun_found_when_a_later_block_is_freed(guest: Probe) -> Iterator[Stop]:
    return overrun(guest, 2)


@in_any_mode.append
def header_without_size(guest: Probe) -> Iterator[Stop]:
    first, second = guest.allocate(64), guest.allocate(64)
    guest.write(first + 64, bytes([5, 0, 0, 1]))
    yield BAD_POOL_HEADER, 8, None, None, second - 16
    guest.free(second)


@in_any_mode.append
def header_with_a_size_beyond_the_page(guest: Probe) -> Iterator[Stop]:
    first, second = guest.allocate(64), guest.allocate(64)
    guest.write(first + 64, bytes([5, 0, 255, 1]))
    yield BAD_POOL_HEADER, 9, None, None, second - 16
    guest.free(second)


@in_any_mode.append
def header_with_a_previous_size_beyond_the_page(guest: Probe) -> Iterator[Stop]:
    block = guest.allocate(64)
    guest.write(block - 16, bytes([200]))
    yield BAD_POOL_HEADER, 6, None, None, block - 16
    guest.free(block)


@in_any_mode.append
def freed_block_written_to_and_allocated_again(guest: Probe) -> Iterator[Stop]:
    address, _behind = guest.allocate(64), guest.allocate(64)
    guest.free(address)
    guest.write(address, b"Z" * 16)
    yield BAD_POOL_HEADER, 3, address
    guest.allocate(64)


@in_any_mode.append
def freed_block_written_to_with_addresses(guest: Probe) -> Iterator[Stop]:
    address, _behind = guest.allocate(64), guest.allocate(64)
    guest.free(address)
    guest.write(address, struct.pack("<QQ", NO_POOL, SYSTEM_RANGE_START))
    yield BAD_POOL_HEADER, 3, address
    guest.allocate(64)


@in_any_mode.append
def freed_block_written_to_and_merged(guest: Probe) -> Iterator[Stop]:
    address, second, _behind = guest.allocate(64), guest.allocate(64), guest.allocate(64)
    guest.free(address)
    guest.write(address, b"Z" * 16)
    yield BAD_POOL_HEADER, 3, address
    guest.free(second)


# ----------------------------------------------------------------------------------------------- describing memory ----


def described_pool(guest: Probe, size: int = PAGE, pool_type: int = NONPAGED_NX) -> tuple[int, int]:
    """A buffer and its MDL."""
    buffer = guest.allocate(size, pool_type)
    return buffer, guest.built_mdl(buffer, size)


@in_any_mode.append
def buffer_that_is_not_there(guest: Probe) -> Iterator[Stop]:
    mdl = guest.call("IoAllocateMdl", UNUSED_POOL, 100, 0, 0, 0)
    yield MEMORY_MANAGEMENT, 0x1240, mdl, UNUSED_POOL // PAGE * PAGE
    guest.call("MmBuildMdlForNonPagedPool", mdl)


@in_verifier_mode.append
def paged_pool_described_as_nonpaged(guest: Probe) -> Iterator[Stop]:
    mdl = guest.call("IoAllocateMdl", guest.allocate(PAGE, PAGED), PAGE, 0, 0, 0)
    yield VERIFIER, 0x7F, None, mdl, FIXED_SIZE
    guest.call("MmBuildMdlForNonPagedPool", mdl)


@in_verifier_mode.append
def pool_described_twice(guest: Probe) -> Iterator[Stop]:
    _, mdl = described_pool(guest)
    yield VERIFIER, 0xB0, mdl, FIXED_SIZE | FROM_POOL, FROM_POOL
    guest.call("MmBuildMdlForNonPagedPool", mdl)


# --------------------------------------------------------------------------------------------------------- mapping ----


@in_verifier_mode.append
def mdl_of_pool_mapped(guest: Probe) -> Iterator[Stop]:
    _, mdl = described_pool(guest)
    yield VERIFIER, 0xB2, mdl, FIXED_SIZE | FROM_POOL, FROM_POOL
    guest.map(mdl)


@in_verifier_mode.append
def mdl_mapped_twice(guest: Probe) -> Iterator[Stop]:
    mdl = guest.pages_mdl()
    guest.map(mdl)
    yield VERIFIER, 0xB2, mdl, LOCKED | MAPPED, MAPPED
    guest.map(mdl)


@in_verifier_mode.append
def mdl_mapped_that_nobody_filled_with_the_verifier(guest: Probe) -> Iterator[Stop]:
    mdl = guest.call("IoAllocateMdl", guest.allocate(PAGE), PAGE, 0, 0, 0)
    yield VERIFIER, 0xB3, mdl, FIXED_SIZE
    guest.map(mdl)


@in_any_mode.append
def mdl_mapped_that_nobody_filled(guest: Probe) -> Iterator[Stop]:
    mdl = guest.call("IoAllocateMdl", guest.allocate(PAGE), PAGE, 0, 0, 0)
    yield MEMORY_MANAGEMENT, 0x1233, 0xCDCDCDCDCDCDCDCD, mdl
    guest.map(mdl)


@in_any_mode.append
def mdl_of_a_free_frame_mapped(guest: Probe) -> Iterator[Stop]:
    mdl = guest.pages_mdl()
    frame = guest.guest.variable("free_frames")["last"]
    guest.write(mdl + 48, frame.to_bytes(8, "little"))
    yield MEMORY_MANAGEMENT, 0x1233, frame, mdl
    guest.map(mdl)


@in_any_mode.append
def mdl_of_no_ram_mapped(guest: Probe) -> Iterator[Stop]:
    mdl = guest.pages_mdl()
    guest.write(mdl + 48, (0xFEE00).to_bytes(8, "little"))
    yield MEMORY_MANAGEMENT, 0x1233, 0xFEE00, mdl
    guest.map(mdl)


@in_verifier_mode.append
def bug_check_on_failure_asked_for(guest: Probe) -> Iterator[Stop]:
    mdl = guest.pages_mdl()
    yield VERIFIER, 0x82, mdl, LOCKED
    guest.map(mdl, bugcheck=True)


@in_verifier_mode.append
def obsolete_mmmaplockedpages(guest: Probe) -> Iterator[Stop]:
    mdl = guest.pages_mdl()
    yield VERIFIER, 0x81, mdl, LOCKED
    guest.call("MmMapLockedPages", mdl, KERNEL_MODE)


@in_any_mode.append
def no_more_system_ptes(guest: Probe) -> Iterator[Stop]:
    _, mdl = described_pool(guest, 8000 * PAGE)
    while guest.map(mdl):
        pass
    total = guest.kernel.constant("SYSTEM_PTE_COUNT")
    yield NO_MORE_SYSTEM_PTES, 0, 8000, guest.system_ptes_available(), total
    guest.call("MmMapLockedPages", mdl, KERNEL_MODE)


@in_any_mode.append
def mapping_that_fails_to_order(guest: Probe) -> Iterator[Stop]:
    mdl = guest.pages_mdl()
    guest.call("fail_next", guest.kernel.constant("FAIL_MAP"))
    yield NO_MORE_SYSTEM_PTES, 0, 2
    guest.map(mdl, bugcheck=True)


# ------------------------------------------------------------------------------------------------------- unmapping ----


def mapped_pages(guest: Probe) -> tuple[int, int]:
    """An MDL of two pages and its mapping."""
    mdl = guest.pages_mdl()
    return mdl, guest.map(mdl)


def unmap(guest: Probe, address: int, mdl: int) -> None:
    guest.call("MmUnmapLockedPages", address, mdl)


@in_any_mode.append
def mdl_unmapped_that_is_not_mapped(guest: Probe) -> Iterator[Stop]:
    buffer, mdl = described_pool(guest)
    yield SYSTEM_PTE_MISUSE, 0x06, mdl, buffer, 1
    unmap(guest, buffer, mdl)


@in_verifier_mode.append
def mdl_unmapped_that_is_not_mapped_with_the_verifier(guest: Probe) -> Iterator[Stop]:
    buffer, mdl = described_pool(guest)
    yield VERIFIER, 0xB6, mdl, FIXED_SIZE | FROM_POOL, MAPPED
    unmap(guest, buffer, mdl)


@in_any_mode.append
def unmapped_twice(guest: Probe) -> Iterator[Stop]:
    mdl, mapping = mapped_pages(guest)
    unmap(guest, mapping, mdl)
    yield SYSTEM_PTE_MISUSE, 0x06, mdl, mapping, 2
    unmap(guest, mapping, mdl)


@in_any_mode.append
def unmapped_at_an_address_of_the_kernel(guest: Probe) -> Iterator[Stop]:
    mdl, mapping = mapped_pages(guest)
    yield SYSTEM_PTE_MISUSE, 0x03, mdl, mapping, NO_POOL
    unmap(guest, NO_POOL, mdl)


@in_any_mode.append
def unmapped_at_no_address(guest: Probe) -> Iterator[Stop]:
    mdl, mapping = mapped_pages(guest)
    yield SYSTEM_PTE_MISUSE, 0x03, mdl, mapping, 0x123456789ABCDEF0
    unmap(guest, 0x123456789ABCDEF0, mdl)


@in_any_mode.append
def unmapped_from_the_second_page_on(guest: Probe) -> Iterator[Stop]:
    mdl, mapping = mapped_pages(guest)
    first, second = guest.mdl(mdl).frames
    yield SYSTEM_PTE_MISUSE, 0x04, mdl, second, first
    unmap(guest, mapping + PAGE, mdl)


@in_verifier_mode.append
def unmapped_from_the_second_page_on_with_the_verifier(guest: Probe) -> Iterator[Stop]:
    mdl, mapping = mapped_pages(guest)
    yield SYSTEM_PTE_MISUSE, 0x03, mdl, mapping, mapping + PAGE
    unmap(guest, mapping + PAGE, mdl)


@in_any_mode.append
def unmapped_where_nothing_is_mapped(guest: Probe) -> Iterator[Stop]:
    mdl, mapping = mapped_pages(guest)
    yield SYSTEM_PTE_MISUSE, 0x06, mdl, mapping + 100 * PAGE, 2
    unmap(guest, mapping + 100 * PAGE, mdl)


# ---------------------------------------------------------------------------------------------------- freeing MDLs ----


@in_verifier_mode.append
def mdl_freed_while_it_is_mapped(guest: Probe) -> Iterator[Stop]:
    mdl, _ = mapped_pages(guest)
    yield VERIFIER, 0xB8, mdl, LOCKED | MAPPED
    guest.call("IoFreeMdl", mdl)


@in_any_mode.append
def pages_freed_twice(guest: Probe) -> Iterator[Stop]:
    mdl = guest.pages_mdl()
    guest.call("MmFreePagesFromMdl", mdl)
    yield MEMORY_MANAGEMENT, 0x1236, mdl, mdl + 48, ANYWHERE
    guest.call("MmFreePagesFromMdl", mdl)


@in_any_mode.append
def pages_freed_that_are_pool(guest: Probe) -> Iterator[Stop]:
    buffer, mdl = described_pool(guest)
    yield MEMORY_MANAGEMENT, 0x1236, mdl, mdl + 48, guest.frame(buffer)
    guest.call("MmFreePagesFromMdl", mdl)


@in_any_mode.append
def mdl_freed_twice(guest: Probe) -> Iterator[Stop]:
    _, mdl = described_pool(guest)
    _, _neighbour = described_pool(guest)
    guest.call("IoFreeMdl", mdl)
    yield BAD_POOL_CALLER, 0x07, make_tag("Mdl ")
    guest.call("IoFreeMdl", mdl)


# ------------------------------------------------------------------------------------------------------- the tests ----


@pytest.mark.parametrize("misuse", in_any_mode, ids=lambda each: each.__name__)
def test_misuse_stops_the_guest(fresh_guest: Probe, misuse: Misuse) -> None:
    stop(fresh_guest, misuse)


@in_verifier
@pytest.mark.parametrize("misuse", in_verifier_mode, ids=lambda each: each.__name__)
def test_verifier_stops_the_guest(fresh_guest: Probe, misuse: Misuse) -> None:
    stop(fresh_guest, misuse)


FREE_MODE_STOPS = {
    "mdl_mapped_that_nobody_filled_with_the_verifier",
    "mdl_unmapped_that_is_not_mapped_with_the_verifier",
    "unmapped_from_the_second_page_on_with_the_verifier",
}
"""Misuse that has another STOP, tested above, without the verifier."""


@pytest.mark.parametrize(
    "misuse",
    [each for each in in_verifier_mode if each.__name__ not in FREE_MODE_STOPS],
    ids=lambda each: each.__name__,
)
def test_free_windows_does_what_the_verifier_forbids(fresh_guest: Probe, misuse: Misuse) -> None:
    for _ in misuse(fresh_guest):
        pass

    assert fresh_guest.call("lab_ping", 1) == 2
    assert fresh_guest.machine.bugcheck is None


@in_verifier
def test_verifier_lets_proper_use_pass(fresh_guest: Probe) -> None:
    guest, before = fresh_guest, fresh_guest.books()
    mdl = guest.pages_mdl()
    mapping = guest.map(mdl)
    guest.call("write_u64", mapping, 1)
    unmap(guest, mapping, mdl)
    guest.free_pages_mdl(mdl)
    buffer, of_pool = described_pool(guest)
    assert guest.call("MmGetSystemAddressForMdlSafe", of_pool, 16) == buffer
    guest.call("IoFreeMdl", of_pool)
    guest.free(buffer, TAG)

    assert guest.books() == before
