"""Memory: exact reads, NoMemoryAt everywhere else, whatever the transport."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import HostError, NoMemoryAt
from lab.memory import Bank, MadeUpMemory, MadeUpSpace, Memory, SharedRam, read_table, read_u64
from lab.x86 import Level, PhysicalAddress

PA = PhysicalAddress


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ram"
    path.write_bytes(b"".join(bytes([number]) * 4096 for number in range(4)))
    return path


def test_shared_ram_shows_what_the_guest_writes(file: Path) -> None:
    with SharedRam(file) as ram, file.open("r+b") as guest:
        assert ram.read(PA(0x1FFE), 4) == b"\x01\x01\x02\x02"
        guest.seek(0x1FFF)
        guest.write(b"!")
        guest.flush()
        assert ram.read(PA(0x1FFE), 4) == b"\x01!\x02\x02"


def test_banks_may_leave_a_hole_and_lie_anywhere_in_the_file(file: Path) -> None:
    high = 0x1_0000_0000
    with SharedRam(file, [Bank(PA(0), 0x2000), Bank(PA(high), 0x2000, file_offset=0x2000)]) as ram:
        assert ram.read(PA(0x1FFF), 1) == b"\x01"
        assert ram.read(PA(high + 0x1000), 2) == b"\x03\x03"
        assert ram.banks[1].end == high + 0x2000
        for address, size in [(0x1FFF, 2), (0x2000, 1), (high - 1, 2), (high + 0x1FFF, 2), (high + 0x2000, 1)]:
            with pytest.raises(NoMemoryAt) as caught:
                ram.read(PA(address), size)
            assert (caught.value.address, caught.value.size) == (address, size)


def test_a_file_that_cannot_be_guest_ram_is_said_so(tmp_path: Path, file: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for path in (empty, tmp_path / "missing", tmp_path):
        with pytest.raises(HostError, match=str(path)):
            SharedRam(path)
    with pytest.raises(HostError, match="too few for the bank at pa:0x0000002000"):
        SharedRam(file, [Bank(PA(0x2000), 0x3000, file_offset=0x2000)])


def test_made_up_memory_is_zero_until_written() -> None:
    memory = MadeUpMemory(size=0x4000, start=0x1000)
    assert memory.read(PA(0x1000), 0x4000) == bytes(0x4000)
    memory.write(PA(0x1FFC), bytes(range(8)))
    assert memory.read(PA(0x1FFB), 10) == b"\0" + bytes(range(8)) + b"\0"
    assert read_u64(memory, PA(0x1FFC)) == 0x0706050403020100
    for address, size in [(0xFFF, 1), (0xFFF, 2), (0x4FFF, 2), (0x5000, 1)]:
        with pytest.raises(NoMemoryAt):
            memory.read(PA(address), size)
        with pytest.raises(NoMemoryAt):
            memory.write(PA(address), bytes(size))


def test_both_transports_speak_the_protocol(file: Path) -> None:
    with SharedRam(file) as ram:
        memories: list[Memory] = [ram, MadeUpMemory()]
        assert [len(read_table(memory, PA(0x1000))) for memory in memories] == [4096, 4096]


def test_the_builder_makes_the_tables_it_needs_and_no_others() -> None:
    space = MadeUpSpace(first_table=0x10)
    space.map(0x1000, 0x5000, "r-x", user=True, write_through=True)
    space.map(0x2000, 0x6000, "rw-", upper_rights={Level.PD: "rw-"}, key=3, software=5)
    assert [space.table(level, 0x1000) for level in sorted(Level, reverse=True)[1:]] == [
        0x10000,
        0x11000,
        0x12000,
        0x13000,
    ]
    assert space.entry(Level.PT, 0x1000) == 0x500D  # P U PWT
    assert space.entry(Level.PT, 0x2000) == 0x9800_0000_0000_6A03  # P W, software 5, key 3, NX
    assert space.entry(Level.PD, 0x1000) == 0x8000_0000_0001_3003  # narrowed by the second page
    assert space.entry(Level.PDPT, 0x1000) == 0x12007  # user, as the first page needs it


def test_the_builder_sets_large_pages_and_leaves_wrong_ones_to_raw() -> None:
    space = MadeUpSpace(levels=5)
    space.map(1 << 30, 1 << 30, size=1 << 30, pat_large=True)
    assert space.entry(Level.PDPT, 1 << 30) == 0x4000_1083
    space.raw(Level.PDPT, 1 << 30, 0xFFFF_FFFF_FFFF_FFFF)
    assert space.entry(Level.PDPT, 1 << 30) == 2**64 - 1
    assert space.state.levels == 5
