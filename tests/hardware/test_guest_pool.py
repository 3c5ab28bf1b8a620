"""The pools: what stands in RAM before, in and behind an allocation, which pages it is on, and who may execute it."""

from __future__ import annotations

import random
import struct
from itertools import pairwise
from typing import NamedTuple

import pytest

from lab.kernel.pool import Allocation, Pool, read_pool
from lab.kernel.values import make_tag
from lab.x86 import VirtualAddress
from tests.hardware.probe import CACHE_ALIGNED, NONPAGED, NONPAGED_NX, PAGE, PAGED, TAG, Probe, pages_of

HEADER = 16
LARGEST = PAGE - 2 * HEADER
BORDER = (1, 15, 16, 17, 32, 100, 2000, 4000, LARGEST - 1, LARGEST)

FRESH, PADDING, FREED = 0xCD, 0xFD, 0xDD
"""The fills."""

RET = b"\xc3"
STATUS_INVALID_PARAMETER = 0xC000000D

KINDS = {NONPAGED: "NonPagedPool", NONPAGED_NX: "NonPagedPoolNx", PAGED: "PagedPool"}
NUMBERS = {NONPAGED: 0, NONPAGED_NX: 1, PAGED: 2}

UNINITIALIZED, CACHE_ALIGNED_FLAG, FLAG_NX, FLAG_EXECUTE, FLAG_PAGED = 0x2, 0x8, 0x40, 0x80, 0x100
"""POOL_FLAGS of ExAllocatePool2."""


class Header(NamedTuple):
    """POOL_HEADER as Windows lays it out; sizes in units of 16 bytes."""

    previous_size: int
    pool_index: int
    block_size: int
    pool_type: int
    tag: int
    process: int


def header_of(guest: Probe, address: int) -> Header:
    return Header(*struct.unpack("<BBBBIQ", guest.read(address - HEADER, HEADER)))


def units(size: int) -> int:
    """Units of a block for so many bytes, header included."""
    return 1 + max(1, (size + 15) // 16)


def pool(guest: Probe) -> Pool:
    found = read_pool(guest.guest)
    assert found.problems == ()
    return found


def ours(guest: Probe) -> list[Allocation]:
    """What the tests hold."""
    return [each for each in pool(guest).allocations if each.tag == "Test"]


def block_before(guest: Probe, address: int) -> int:
    """Bytes of the block before that of an allocation; 0 at the beginning of a page."""
    page = next(each for each in pool(guest).pages if each.address == address // PAGE * PAGE)
    return next((block.size for block in page.blocks if block.header + block.size == address - HEADER), 0)


# ---------------------------------------------------------------------------------------------- what stands in RAM ----


@pytest.mark.parametrize("pool_type", [NONPAGED, NONPAGED_NX, PAGED])
@pytest.mark.parametrize("size", BORDER)
def test_block_has_the_header_of_windows(guest: Probe, pool_type: int, size: int) -> None:
    with guest.pool(size, pool_type, make_tag("Abcd")) as address:
        assert header_of(guest, address) == Header(
            previous_size=block_before(guest, address) // 16,
            pool_index=NUMBERS[pool_type],
            block_size=units(size),
            pool_type=1 + pool_type % 8,
            tag=int.from_bytes(b"Abcd", "little"),
            process=0,
        )
        assert guest.read(address - 12, 4) == b"Abcd"


def test_exallocatepool_has_the_tag_none(guest: Probe) -> None:
    address = guest.call("ExAllocatePool", NONPAGED, 40)

    assert guest.read(address - 12, 4) == b"None"
    guest.call("ExFreePool", address)


@pytest.mark.parametrize("size", [0, 1, 16, 100, LARGEST, LARGEST + 1, PAGE, 2 * PAGE + 1])
def test_fresh_memory_and_what_is_behind_it_have_fills_of_their_own(guest: Probe, size: int) -> None:
    with guest.pool(size) as address:
        room = HEADER * (units(size) - 1) if size <= LARGEST else pages_of(size) * PAGE
        wanted = max(size, 1)

        assert guest.read(address, room) == bytes([FRESH]) * wanted + bytes([PADDING]) * (room - wanted)


def test_freed_memory_has_a_fill_behind_its_list_entry(guest: Probe) -> None:
    with guest.pool() as neighbour, guest.pool() as further:
        address = guest.allocate(200)
        last = guest.allocate(16)
        guest.write(address, b"secret" * 30)

        guest.free(address)

        flink, blink = struct.unpack("<QQ", guest.read(address, 16))
        assert flink == blink, "the only one on its list"
        assert guest.kernel.describe(flink) is not None
        assert guest.read(address + 16, 208 - 16) == bytes([FREED]) * (208 - 16)
        assert header_of(guest, address).pool_type == 0
        guest.free(last)
        assert neighbour < further


# ------------------------------------------------------------------------------------------------- where it stands ----


@pytest.mark.parametrize("pool_type", [NONPAGED, NONPAGED_NX, PAGED])
def test_blocks_are_aligned_by_16_and_never_cross_a_page(guest: Probe, pool_type: int) -> None:
    sizes = [*BORDER, *range(1, LARGEST, 97)]

    addresses = [guest.allocate(size, pool_type) for size in sizes]

    for address, size in zip(addresses, sizes, strict=True):
        assert address % 16 == 0
        assert address // PAGE == (address + size - 1) // PAGE
        assert address % PAGE != 0, "a header is before it"
    for address in addresses:
        guest.free(address)


@pytest.mark.parametrize("size", [LARGEST + 1, PAGE - 1, PAGE, PAGE + 1, 10 * PAGE, 300 * PAGE + 7])
@pytest.mark.parametrize("pool_type", [NONPAGED, NONPAGED_NX, PAGED])
def test_more_takes_whole_pages_and_no_header(guest: Probe, pool_type: int, size: int) -> None:
    with guest.pool(size, pool_type) as address:
        assert address % PAGE == 0
        assert ours(guest) == [Allocation(VirtualAddress(address), size, "Test", KINDS[pool_type], big=True)]
        assert not guest.is_mapped(address + pages_of(size) * PAGE)
        frames = [guest.frame(address + offset) for offset in range(0, size, PAGE)]
        assert {guest.record(frame).use for frame in frames} == {"pool" if pool_type == NONPAGED else "pool nx"}


@pytest.mark.parametrize("pool_type", [NONPAGED, NONPAGED_NX, PAGED])
@pytest.mark.parametrize("size", [1, 60, 100, 1000, LARGEST - 48, LARGEST - 47, LARGEST])
def test_cache_aligned_memory_begins_a_cache_line(guest: Probe, pool_type: int, size: int) -> None:
    with guest.pool(8, pool_type), guest.pool(size, pool_type | CACHE_ALIGNED) as address:
        assert address % 64 == 0
        assert address // PAGE == (address + size - 1) // PAGE
        if address % PAGE:
            assert header_of(guest, address).pool_type == 1 + (pool_type % 8 | CACHE_ALIGNED)
            assert size <= LARGEST - 48


def test_each_pool_has_pages_of_its_own(guest: Probe) -> None:
    addresses = [guest.allocate(100, kind) for kind in (NONPAGED, NONPAGED_NX, PAGED) * 3]

    pages = [{address // PAGE for address in addresses[number::3]} for number in range(3)]

    assert len(set.union(*pages)) == sum(map(len, pages))
    for address in addresses:
        guest.free(address)


# ------------------------------------------------------------------------------------- splitting, joining, reusing ----


def test_block_freed_last_is_used_first(guest: Probe) -> None:
    with guest.pool(64), guest.pool(64) as keep_apart:
        first, apart, second = guest.allocate(64), guest.allocate(64), guest.allocate(64)
        tail = guest.allocate(64)

        guest.free(first)
        guest.free(second)

        assert guest.allocate(64) == second
        assert guest.allocate(50) == first
        for address in (first, apart, second, tail):
            guest.free(address)
        assert keep_apart


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2)])
def test_freed_neighbours_become_one_block(guest: Probe, order: tuple[int, ...]) -> None:
    with guest.pool(64) as before:
        blocks = [guest.allocate(size) for size in (64, 160, 320)]
        with guest.pool(64) as behind:
            for number in order:
                guest.free(blocks[number])

            page = next(each for each in pool(guest).pages if each.address == before - HEADER)
            assert [(block.in_use, block.size) for block in page.blocks[:3]] == [
                (True, 80),
                (False, 80 + 176 + 336),
                (True, 80),
            ]
            assert header_of(guest, behind).previous_size == (80 + 176 + 336) // 16


def test_block_is_cut_from_the_smallest_that_is_large_enough(guest: Probe) -> None:
    with guest.pool(64):
        large, wall, small, end = (guest.allocate(size) for size in (480, 32, 208, 32))
        guest.free(large)
        guest.free(small)

        assert guest.allocate(200) == small
        assert guest.allocate(200) == large
        assert header_of(guest, large + 224).pool_type == 0, "the rest of the large one"
        for address in (large, small, wall, end):
            guest.free(address)


def test_page_goes_back_as_soon_as_it_is_empty(guest: Probe) -> None:
    frames = guest.frames_available()
    first, second = guest.allocate(100), guest.allocate(100)
    assert guest.frames_available() == frames - 1

    guest.free(first)
    guest.free(second)

    assert guest.frames_available() == frames
    assert guest.fault("read_u64", second).error_code == 0
    assert guest.entry(second) == 0


def test_page_addresses_are_used_again_from_the_lowest(guest: Probe) -> None:
    first, second, third = (guest.allocate(PAGE) for _ in range(3))

    guest.free(first)
    guest.free(second)
    pair = guest.allocate(2 * PAGE)

    assert (second, third, pair) == (first + PAGE, second + PAGE, first)
    guest.free(pair)
    guest.free(third)


# ---------------------------------------------------------------------------------------------- who may execute it ----


@pytest.mark.parametrize("size", [100, 3 * PAGE])
def test_code_runs_in_nonpaged_pool(guest: Probe, size: int) -> None:
    with guest.pool(size, NONPAGED) as address:
        guest.write(address + size - 8, bytes.fromhex("b82a000000") + RET)

        assert guest.call("execute", address + size - 8) == 42
        assert str(guest.walk(address).mapped.supervisor) == "rwx"


@pytest.mark.parametrize("size", [100, 3 * PAGE])
@pytest.mark.parametrize("pool_type", [NONPAGED_NX, PAGED, NONPAGED_NX | CACHE_ALIGNED])
def test_code_does_not_run_in_the_other_pools(guest: Probe, pool_type: int, size: int) -> None:
    with guest.pool(size, pool_type) as address:
        guest.write(address + size - 8, RET)

        exception = guest.fault("execute", address + size - 8)

        assert (exception.vector, exception.error_code) == (14, 0b10001)
        assert exception.cr2 == exception.registers.rip == address + size - 8
        assert str(guest.walk(address).mapped.supervisor) == "rw-"


# ------------------------------------------------------------------------------------------------------- the calls ----


@pytest.mark.parametrize(("flag", "pool_type"), [(FLAG_NX, NONPAGED_NX), (FLAG_EXECUTE, NONPAGED), (FLAG_PAGED, PAGED)])
@pytest.mark.parametrize("size", [1, 100, LARGEST, LARGEST + 1, 3 * PAGE])
def test_exallocatepool2_gives_zeroes_from_the_pool_of_its_flag(
    guest: Probe, flag: int, pool_type: int, size: int
) -> None:
    address = guest.call("ExAllocatePool2", flag, size, TAG)

    assert guest.read(address, size) == bytes(size)
    assert [each.kind for each in ours(guest)] == [KINDS[pool_type]]
    guest.free(address, TAG)


def test_exallocatepool2_leaves_memory_as_it_is_when_asked(guest: Probe) -> None:
    address = guest.call("ExAllocatePool2", FLAG_NX | UNINITIALIZED, 100, TAG)

    assert guest.read(address, 100) == bytes([FRESH]) * 100
    guest.free(address)


@pytest.mark.parametrize(
    "flags",
    [
        FLAG_NX | 0x1,
        FLAG_NX | 0x20,
        FLAG_NX | CACHE_ALIGNED_FLAG,
        FLAG_NX | 1 << 33,
        FLAG_NX | 1 << 63,
        FLAG_EXECUTE | 0xFFFF_FFFE << 32,
    ],
)
def test_exallocatepool2_accepts_known_and_optional_flags(guest: Probe, flags: int) -> None:
    address = guest.call("ExAllocatePool2", flags, 100, TAG)

    assert address
    assert address % (64 if flags & CACHE_ALIGNED_FLAG else 16) == 0
    guest.free(address)


@pytest.mark.parametrize("flags", [0, 0x2, 0xC0, 0x140, 0x1C0, FLAG_NX | 0x4, FLAG_NX | 0x10, FLAG_NX | 0x200, 1 << 32])
def test_exallocatepool2_refuses_other_flags(guest: Probe, flags: int) -> None:
    assert guest.call("ExAllocatePool2", flags, 100, TAG) == 0


def test_exallocatepool2_refuses_no_tag(guest: Probe) -> None:
    assert guest.call("ExAllocatePool2", FLAG_NX, 100, 0) == 0


@pytest.mark.parametrize("size", [256 << 20, (256 << 20) + 1, 1 << 40, 1 << 63, (1 << 64) - 1])
def test_too_much_is_null(guest: Probe, size: int) -> None:
    assert guest.allocate(size) == guest.call("ExAllocatePool2", FLAG_NX, size, TAG) == 0


def test_no_bytes_are_a_block_all_the_same(guest: Probe) -> None:
    with guest.pool(0) as first, guest.pool(0) as second:
        assert second == first + 32


@pytest.mark.parametrize("size", [100, 2 * PAGE])
@pytest.mark.parametrize("tag", [0, TAG, TAG | 1 << 31])
def test_memory_is_freed_by_its_tag_or_by_any(guest: Probe, size: int, tag: int) -> None:
    address = guest.allocate(size)

    guest.call("ExFreePoolWithTag", address, tag)

    assert ours(guest) == []


def test_tags_keep_accounts(guest: Probe) -> None:
    tag = make_tag("Acct")

    def account() -> list[tuple[str, int, int, int]]:
        return [
            (each.kind, each.allocations, each.frees, each.bytes) for each in pool(guest).tags if each.tag == "Acct"
        ]

    blocks = [guest.allocate(100, NONPAGED, tag), guest.allocate(5000, NONPAGED, tag), guest.allocate(1, PAGED, tag)]
    assert account() == [("NonPagedPool", 2, 0, 128 + 2 * PAGE), ("PagedPool", 1, 0, 32)]

    for block in blocks:
        guest.free(block, tag)
    assert account() == [("NonPagedPool", 2, 2, 0), ("PagedPool", 1, 1, 0)]


def test_a_failure_to_order_happens_once(guest: Probe) -> None:
    for name, arguments in (
        ("ExAllocatePool", (NONPAGED, 100)),
        ("ExAllocatePoolWithTag", (NONPAGED, 100, TAG)),
        ("ExAllocatePool2", (FLAG_NX, 100, TAG)),
    ):
        assert guest.call("fail_next", guest.kernel.constant("FAIL_POOL")) == 0
        assert guest.call(name, *arguments) == 0
        address = guest.call(name, *arguments)
        assert address
        guest.free(address)


def test_a_failure_to_order_spares_other_calls_and_can_be_taken_back(guest: Probe) -> None:
    guest.call("fail_next", guest.kernel.constant("FAIL_POOL"))
    mdl = guest.call("IoAllocateMdl", PAGE, 1, 0, 0, 0)
    assert mdl, "the pool behind an MDL does not use it up"
    guest.call("IoFreeMdl", mdl)

    guest.call("fail_next", guest.kernel.constant("FAIL_NONE"))
    with guest.pool() as address:
        assert address
    assert guest.call("fail_next", 1 + guest.kernel.constant("FAIL_MAP")) == STATUS_INVALID_PARAMETER


# ------------------------------------------------------------------------------------------------------- at random ----


class Held(NamedTuple):
    """An allocation as the test knows it."""

    size: int
    pool_type: int
    tag: int
    edges: tuple[bytes, bytes]
    """Its first and last bytes."""


class Model:
    """What the pool should hold, kept beside the real one."""

    def __init__(self, guest: Probe, seed: int) -> None:
        self.guest = guest
        self.dice = random.Random(seed)  # noqa: S311
        self.held: dict[int, Held] = {}
        self.frames = guest.frames_available()

    def allocate(self) -> None:
        """Allocate something and write to its edges."""
        dice, guest = self.dice, self.guest
        pool_type = dice.choice([NONPAGED, NONPAGED_NX, PAGED]) | dice.choice([0, 0, 0, CACHE_ALIGNED])
        size = dice.choice([1, 16, dice.randint(1, 600), dice.randint(1, PAGE), dice.choice(BORDER), 4065, 12345])
        tag = make_tag(dice.choice(["Aaaa", "Bbbb", "C"]))
        if dice.random() < 0.3:
            flag = {NONPAGED: FLAG_EXECUTE, NONPAGED_NX: FLAG_NX, PAGED: FLAG_PAGED}[pool_type & ~CACHE_ALIGNED]
            flag |= CACHE_ALIGNED_FLAG if pool_type & CACHE_ALIGNED else 0
            address = guest.call("ExAllocatePool2", flag, size, tag)
            assert guest.read(address, size) == bytes(size)
        else:
            address = guest.allocate(size, pool_type, tag)
            assert guest.read(address, size) == bytes([FRESH]) * size
        assert address
        assert address not in self.held
        edge = min(size, 8)
        edges = dice.randbytes(edge), dice.randbytes(edge)
        guest.write(address, edges[0])
        guest.write(address + size - edge, edges[1])
        self.held[address] = Held(size, pool_type, tag, (guest.read(address, edge), edges[1]))

    def free(self) -> None:
        """Free something; nobody else may have written to it."""
        address = self.dice.choice(list(self.held))
        each = self.held.pop(address)
        first, last = each.edges
        assert self.guest.read(address, len(first)) == first
        assert self.guest.read(address + each.size - len(last), len(last)) == last
        self.guest.free(address, self.dice.choice([0, each.tag]))

    def check(self) -> None:
        """Compare with what stands in RAM: headers, free lists, frames."""
        found = pool(self.guest)
        assert {each.address: (each.big, each.kind) for each in found.allocations} == {
            address: (address % PAGE == 0, KINDS[each.pool_type & ~CACHE_ALIGNED])
            for address, each in self.held.items()
        }
        for page in found.pages:
            in_use = [block.in_use for block in page.blocks]
            assert any(in_use), "an empty page was kept"
            assert (False, False) not in pairwise(in_use), "free neighbours"
        self.check_free_lists(found)
        big = sum(pages_of(each.size) for each in self.held.values() if each.size > LARGEST - 48)
        assert len(found.pages) <= self.frames - self.guest.frames_available() <= len(found.pages) + big

    def check_free_lists(self, found: Pool) -> None:
        """Every free block must be on the list of its pool and size, and linked both ways."""
        guest = self.guest
        free = {
            (page.kind, block.size // 16, int(block.address))
            for page in found.pages
            for block in page.blocks
            if not block.in_use and block.size > 16
        }
        start = guest.kernel.symbol("pool_free_blocks").address
        listed = set()
        for kind, number in NUMBERS.items():
            heads = guest.read(start + number * 256 * 16, 256 * 16)
            for size, (first, last) in enumerate(struct.iter_unpack("<QQ", heads)):
                head = before = int(start) + (number * 256 + size) * 16
                block = first
                while block != head:
                    after, back = struct.unpack("<QQ", guest.read(block, 16))
                    assert back == before
                    listed.add((KINDS[kind], size, block))
                    before, block = block, after
                assert last == before
        assert listed == free


@pytest.mark.parametrize("seed", range(4))
def test_random_allocations(guest: Probe, seed: int) -> None:
    model = Model(guest, seed)

    for step in range(600):
        growing = step // 150 % 2 == 0
        if model.held and model.dice.random() < (0.35 if growing else 0.65):
            model.free()
        else:
            model.allocate()
        if step % 100 == 0:
            model.check()
    while model.held:
        model.free()

    model.check()
