"""An address space read as bytes is what the walk of every single page says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import NotMapped
from lab.memory import MadeUpMemory, MadeUpSpace
from lab.paging.virtual import VirtualMemory
from lab.x86 import Level, PhysicalAddress, VirtualAddress

PAGE = 4096

pages = st.dictionaries(
    st.integers(0x3F0, 0x410),
    st.tuples(
        st.integers(1, 0x3FF), st.sampled_from(["rw-", "r--", "r-x"]), st.booleans(), st.sampled_from([0, 1 << 51])
    ),
    max_size=33,
)


@given(mapped=pages, start=st.integers(0x3EF000, 0x411000), size=st.integers(0, 0x12000))
def test_pieces_agree_with_single_walks(mapped: dict, start: int, size: int) -> None:  # type: ignore[type-arg]
    space = MadeUpSpace()
    for page, (frame, rights, accessed, wrong) in mapped.items():
        space.map(page * PAGE, frame * PAGE, rights, accessed=accessed)
        space.raw(Level.PT, page * PAGE, space.entry(Level.PT, page * PAGE) | wrong)
    virtual = VirtualMemory(space.memory, space.state)
    address = VirtualAddress(start)
    for piece in virtual.pieces(address, size):
        assert piece.start == address
        for offset in {0, piece.size - 1}:
            walk = virtual.walk(piece.start + offset)
            assert walk.is_mapped == (piece.physical is not None)
            if piece.physical is not None:
                assert walk.mapped.physical == piece.physical + offset
            else:
                assert piece.reason == str(walk.outcome)
        address += piece.size
    assert address == start + size


def test_large_pages_and_holes_are_single_pieces() -> None:
    space = MadeUpSpace()
    space.map(0x200000, 0x600000, size=2 << 20)
    found = list(VirtualMemory(space.memory, space.state).pieces(VirtualAddress(0x1FF000), 1 << 30))
    assert [(int(piece.start), piece.size, piece.physical) for piece in found] == [
        (0x1FF000, 0x1000, None),
        (0x200000, 0x200000, PhysicalAddress(0x600000)),
        *((0x400000 + i * 0x200000, 0x200000, None) for i in range(510)),
        (0x40000000, 0x1FF000, None),
    ]


def test_the_address_space_ends() -> None:
    space = MadeUpSpace()
    space.map(0xFFFFFFFFFFFFF000, 0x5000)
    found = list(VirtualMemory(space.memory, space.state).pieces(VirtualAddress(0xFFFFFFFFFFFFFFF0), 100))
    assert [(piece.size, piece.physical) for piece in found] == [(16, PhysicalAddress(0x5FF0))]


def test_reading_needs_every_page() -> None:
    space = MadeUpSpace()
    space.memory.write(PhysicalAddress(0x5FFE), b"ab")
    space.map(0x1000, 0x5000)
    virtual = VirtualMemory(space.memory, space.state)
    assert virtual.read(VirtualAddress(0x1FFE), 2) == b"ab"
    with pytest.raises(NotMapped, match="PT bit 0"):
        virtual.read(VirtualAddress(0x1FFE), 3)


def test_a_root_outside_of_ram_is_a_hole() -> None:
    space = MadeUpSpace(memory=MadeUpMemory(1 << 22))
    virtual = VirtualMemory(space.memory, space.state, PhysicalAddress(1 << 30))
    assert [piece.physical for piece in virtual.pieces(VirtualAddress(0), 16)] == [None]
