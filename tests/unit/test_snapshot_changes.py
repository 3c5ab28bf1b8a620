"""What changed between two captures of the page tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import LabError, NoMemoryAt
from lab.memory import MadeUpMemory, MadeUpSpace
from lab.snapshot import EntryChange, TableImage, capture, diff, recapture
from lab.x86 import Entry, Level, PhysicalAddress

VA = 0xFFFFF88000004000


@pytest.fixture
def space() -> MadeUpSpace:
    made = MadeUpSpace()
    made.self_map()
    made.map(VA - 0x1000, 0x5000, "rw-", accessed=True)
    return made


def changes(space: MadeUpSpace, before: TableImage) -> tuple[EntryChange, ...]:
    return diff(before, capture(space.memory, space.state), space.state)


def test_nothing(space: MadeUpSpace) -> None:
    assert changes(space, capture(space.memory, space.state)) == ()


def test_created_and_removed(space: MadeUpSpace) -> None:
    before = capture(space.memory, space.state)
    space.map(VA, 0x12A000, "rw-", accessed=True, dirty=True)
    (change,) = changes(space, before)
    assert (change.kind, change.level, change.index) == ("created", Level.PT, 4)
    assert (int(change.start), int(change.end), change.also_at) == (VA, VA + 0x1000, ())
    assert change.entry_address == space.entry_address(Level.PT, VA)
    assert (change.old, change.new) == (0, 0x800000000012A063)
    assert (change.set, change.cleared, change.moved) == (("P", "W", "A", "D", "NX"), (), False)

    after = capture(space.memory, space.state)
    space.raw(Level.PT, VA, 0)
    (change,) = changes(space, after)
    assert (change.kind, change.cleared) == ("removed", ("P", "W", "A", "D", "NX"))


def test_bits_and_frames(space: MadeUpSpace) -> None:
    before = capture(space.memory, space.state)
    entry = space.entry(Level.PT, VA - 0x1000)
    space.raw(Level.PT, VA - 0x1000, entry.replace(dirty=True, accessed=True))
    (change,) = changes(space, before)
    assert (change.kind, change.set, change.only_noted) == ("changed", ("D",), True)

    space.raw(Level.PT, VA - 0x1000, entry.replace(writable=False, no_execute=False, software=4) + 0x1000)
    (change,) = changes(space, before)
    assert change.set == ("bit 11",)
    assert change.cleared == ("W", "NX")
    assert change.moved
    assert not change.only_noted


def test_a_new_table_counts_from_zero(space: MadeUpSpace) -> None:
    before = capture(space.memory, space.state)
    space.map(0x400000, 0x7000, "r-x", user=True)
    found = changes(space, before)
    assert [(change.level, change.kind, int(change.start)) for change in found] == [
        (Level.PML4, "created", 0),
        (Level.PDPT, "created", 0),
        (Level.PD, "created", 0x400000),
        (Level.PT, "created", 0x400000),
    ]
    after = capture(space.memory, space.state)
    space.raw(Level.PML4, 0, 0)
    found = changes(space, after)
    assert (found[0].level, found[0].kind) == (Level.PML4, "removed")
    assert {change.kind for change in found} == {"removed"}


def test_a_shared_table_is_told_once_with_all_its_places(space: MadeUpSpace) -> None:
    space.map(0x400000, 0x7000)
    table = space.table(Level.PT, 0x400000)
    space.raw(Level.PD, 0x600000, table | 3)
    before = capture(space.memory, space.state)
    space.map(0x401000, 0x8000)
    (change,) = changes(space, before)
    assert (int(change.start), tuple(map(int, change.also_at))) == (0x401000, (0x601000,))


def test_not_present_entries_are_softwares_own(space: MadeUpSpace) -> None:
    before = capture(space.memory, space.state)
    space.raw(Level.PT, VA, 0x1234_0000_0000_0880)
    (change,) = changes(space, before)
    assert (change.kind, change.set, change.cleared) == ("software", (), ())


def test_another_root_can_be_captured(space: MadeUpSpace) -> None:
    empty = space.new_table()
    image = capture(space.memory, space.state, empty)
    assert image.root == empty
    assert list(image.tables) == [empty]
    with pytest.raises(NoMemoryAt):
        capture(space.memory, space.state, PhysicalAddress(1 << 40))


def test_bytes_and_back(space: MadeUpSpace) -> None:
    image = capture(space.memory, space.state)
    data = image.to_bytes()
    assert TableImage.from_bytes(data) == image
    for wrong in (b"", b"other", data[:-5], data[:20] + b"\0" + data[21:], b"LABTABLES1"):
        with pytest.raises(LabError, match="not a capture"):
            TableImage.from_bytes(wrong)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 511), st.integers(0, (1 << 64) - 1)), max_size=30))
def test_any_garbage_in_tables_is_compared(writes: list[tuple[int, int, int]]) -> None:
    space = MadeUpSpace(memory=MadeUpMemory(1 << 22))
    space.map(VA, 0x5000)
    before = capture(space.memory, space.state)
    for table, index, value in writes:
        address = space.root + table * 0x1000 + 8 * index
        # Half of the garbage points at tables, so that loops and shared tables come about.
        space.memory.write_u64(address, value & ~0xFFFFFFFFFF000 | int(space.root) + 0x1000 * (value >> 12 & 7))
    after = capture(space.memory, space.state)
    for change in diff(before, after, space.state):
        assert change.old != change.new
        assert isinstance(change.new, Entry)
        assert change.end - change.start == change.level.page_size
    assert diff(after, after, space.state) == ()


def test_capturing_again_gives_the_same_capture_until_an_entry_changes(space: MadeUpSpace) -> None:
    before = capture(space.memory, space.state)

    assert recapture(space.memory, space.state, before) is before
    space.map(VA, 0x12B000, "rw-")
    after = recapture(space.memory, space.state, before)

    assert after == capture(space.memory, space.state)
    assert [change.kind for change in diff(before, after, space.state)] == ["created"]
