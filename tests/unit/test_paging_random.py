"""Random tables against a reference that is as dumb as can be: one bit at a time, straight from the manual."""

from __future__ import annotations

from itertools import pairwise, product
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from lab.memory import MadeUpMemory
from lab.paging import Fault, FaultKind, Kind, Mapped, Mapping, Walk, aliases_of, leaves, map_space, tables, walk
from lab.x86 import CR0, CR3, CR4, EFER, PAT, PagingState, PhysicalAddress, VirtualAddress

SLOTS = (0, 1, 0x1ED, 0x1FF)
TABLES = tuple(range(0x1000, 0x8000, 0x1000))
RAM = 0x9000  # one frame more than tables; pointers beyond lead out of RAM


# -------------------------------------------------------------------------------------------------- reference ----


def bit(value: int, number: int) -> bool:
    return (value >> number) % 2 == 1


def number_of(value: int, high: int, low: int) -> int:
    return int("0" + "".join("01"[bit(value, number)] for number in range(high, low - 1, -1)), 2)


def is_reserved(entry: int, level: int, number: int, state: PagingState) -> bool:
    """Whether bit `number` must be 0 in this present entry."""
    large = bit(entry, 7) and (level == 2 or (level == 3 and state.gib_pages))
    return (
        state.max_phys_bits <= number <= 51
        or (number == 63 and not bit(state.efer, 11))
        or (number == 7 and (level >= 4 or (level == 3 and not state.gib_pages)))
        or (number == 8 and level >= 4 and state.vendor == "amd")
        or (large and level == 2 and 13 <= number <= 20)
        or (large and level == 3 and 13 <= number <= 29)
    )


def reference(words: dict[int, int], state: PagingState, address: int) -> tuple[object, ...]:
    """("mapped", physical, size, type, supervisor, user, global) or ("fault", kind, level, bit)."""
    levels = 5 if bit(state.cr4, 12) else 4
    if len({bit(address, number) for number in range(11 + 9 * levels, 64)}) > 1:
        return ("fault", FaultKind.NOT_CANONICAL, None, None)
    table, entries = number_of(state.cr3, 51, 12) << 12, []
    for level in range(levels, 0, -1):
        if table >= RAM:
            return ("fault", FaultKind.NO_MEMORY, level, None)
        entry = words.get(table + 8 * number_of(address, 11 + 9 * level, 3 + 9 * level), 0)
        entries.append(entry)
        if not bit(entry, 0):
            return ("fault", FaultKind.NOT_PRESENT, level, 0)
        for number in range(64):
            if bit(entry, number) and is_reserved(entry, level, number, state):
                return ("fault", FaultKind.RESERVED, level, number)
        if level == 1 or (level <= 3 and bit(entry, 7)):
            return mapped(entries, level, state, address)
        table = number_of(entry, 51, 12) << 12
    raise AssertionError


def mapped(entries: list[int], level: int, state: PagingState, address: int) -> tuple[object, ...]:
    low = 3 + 9 * level
    physical = (number_of(entries[-1], 51, low) << low) + number_of(address, low - 1, 0)
    writable = all(bit(entry, 1) for entry in entries)
    user = all(bit(entry, 2) for entry in entries)
    executable = not (bit(state.efer, 11) and any(bit(entry, 63) for entry in entries))
    smap, smep, wp = bit(state.cr4, 21) and user, bit(state.cr4, 20) and user, bit(state.cr0, 16)
    supervisor = (not smap, not smap and (writable or not wp), executable and not smep)
    index = 4 * bit(entries[-1], 7 if level == 1 else 12) + 2 * bit(entries[-1], 4) + bit(entries[-1], 3)
    memory_type = number_of(state.pat, 8 * index + 7, 8 * index)
    is_global = bit(state.cr4, 7) and bit(entries[-1], 8)
    return (
        "mapped",
        physical,
        1 << low,
        memory_type,
        letters(*supervisor),
        user_letters(user, writable, executable),
        is_global,
    )


def user_letters(user: bool, writable: bool, executable: bool) -> str:
    return letters(user, user and writable, user and executable)


def letters(read: bool, write: bool, execute: bool) -> str:
    return ("r" if read else "-") + ("w" if write else "-") + ("x" if execute else "-")


def verdict(found: Walk) -> tuple[object, ...]:
    """What the walk says, in the reference's terms."""
    match found.outcome:
        case Fault(level, number, _, kind):
            return ("fault", kind, level, number)
        case Mapped() as page:
            rights = str(page.supervisor), str(page.user)
            return ("mapped", page.physical, page.page_size, page.memory_type, *rights, page.is_global)


# ------------------------------------------------------------------------------------------------- strategies ----


Space = tuple[dict[int, int], PagingState]


def random_entry(random: Random) -> int:
    """Mostly a permissive pointer to a table, so that walks get far; now and then anything."""
    kind = random.choices(["table", "leaf", "wild", "far", "absent"], [12, 3, 1, 1, 1])[0]
    value = random.choice(TABLES) | 7
    if kind == "leaf":
        value = random.choice([0, 0x20_0000, 0x4000_0000]) | 0x87 | random.choice([0, 0x1000])
    elif kind == "wild":
        value ^= 1 << random.randrange(64)
    elif kind == "far":
        value = random.choice([0x9000, 0x40_0000_0000]) | 7
    elif kind == "absent":
        value = random.getrandbits(64) & ~1
    for _ in range(random.choice([0, 0, 1, 2])):
        value ^= 1 << random.choice([1, 2, 3, 4, 5, 6, 8, 11, 59, 62, 63, 63])
    return value


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Seven tables that point to each other at random, and a random state; a seed is all there is to shrink."""
    random = Random(draw(st.integers(0, 2**64)))  # noqa: S311  nothing is kept secret here
    words = {table + 8 * slot: random_entry(random) for table in TABLES for slot in SLOTS}

    def flip() -> bool:
        return random.random() < 0.5

    state = PagingState(
        cr3=CR3(0x1000),
        cr0=CR0.from_names("PE", "PG").replace(wp=flip()),
        cr4=CR4.from_names("PAE").replace(la57=flip(), smep=flip(), smap=flip(), pge=flip()),
        efer=EFER.from_names("LME", "LMA").replace(nxe=random.random() < 0.8),
        pat=PAT(random.choice([PAT.AT_RESET, 0x0001_0405_0607_0106])),
        max_phys_bits=random.choice([36, 40, 52]),
        gib_pages=flip(),
        vendor=random.choice(["intel", "amd"]),
    )
    return words, state


def reachable_pages(state: PagingState) -> list[int]:
    """Every page whose indices are all in SLOTS: all 4 KiB pages there can be, and one in each large page."""
    pages = []
    for indices in product(SLOTS, repeat=state.levels):
        low = sum(index << 12 + 9 * place for place, index in enumerate(reversed(indices)))
        top = 11 + 9 * state.levels
        pages.append(low | ((1 << 64) - (1 << top) if bit(low, top) else 0))
    return pages


def memory_of(words: dict[int, int]) -> MadeUpMemory:
    return MadeUpMemory.holding(words, size=RAM)


# ------------------------------------------------------------------------------------------------------ tests ----


@settings(max_examples=60)
@given(spaces(), st.integers(0, 4095))
def test_the_walk_agrees_with_the_reference(space: Space, offset: int) -> None:
    words, state = space
    memory = memory_of(words)
    for address in reachable_pages(state)[:: 7 if state.levels == 5 else 2]:
        found = walk(memory, state, VirtualAddress(address + offset))
        assert verdict(found) == reference(words, state, address + offset)


@settings(max_examples=100)
@given(spaces(), st.integers(0, 2**64 - 1))
def test_any_address_gets_the_verdict_of_the_reference(space: Space, address: int) -> None:
    words, state = space
    assert verdict(walk(memory_of(words), state, VirtualAddress(address))) == reference(words, state, address)


@settings(max_examples=60)
@given(spaces())
def test_every_leaf_is_what_the_walk_finds_there(space: Space) -> None:
    words, state = space
    memory = memory_of(words)
    rows = list(leaves(memory, state))
    assert [row.start for row in rows] == sorted(row.start for row in rows)
    for row in rows:
        found = walk(memory, state, row.start)
        assert (found.steps[-1].entry_address == row.entry_address) or row.kind in {
            Kind.SELF_MAP,
            Kind.SHARED,
        }
        assert row.entry_address in [step.entry_address for step in found.steps]
        if isinstance(found.outcome, Mapped) and row.kind is Kind.PAGE:
            page = found.outcome
            assert row[2:8] == (
                page.physical,
                page.page_size,
                page.supervisor,
                page.user,
                page.memory_type,
                page.is_global,
            )
            assert row.entry == found.steps[-1].entry
        else:
            assert row.kind in {Kind.SELF_MAP, Kind.SHARED, *kinds_of(found)}


def kinds_of(found: Walk) -> set[Kind]:
    names = {FaultKind.RESERVED: Kind.RESERVED, FaultKind.NO_MEMORY: Kind.NO_MEMORY}
    return {names[found.outcome.kind]} if isinstance(found.outcome, Fault) and found.outcome.kind in names else set()


@settings(max_examples=60)
@given(spaces())
def test_every_page_the_walk_finds_is_on_the_map(space: Space) -> None:
    words, state = space
    memory = memory_of(words)
    rows = map_space(memory, state)
    assert all(row.end <= after.start for row, after in pairwise(rows))
    for address in reachable_pages(state):
        outcome = walk(memory, state, VirtualAddress(address)).outcome
        row = next((row for row in rows if row.start <= address < row.end), None)
        if isinstance(outcome, Mapped):
            assert row is not None
            assert row.kind in {Kind.PAGE, Kind.SELF_MAP, Kind.SHARED}
            if row.kind is Kind.PAGE:
                assert row.physical + (address - row.start) == outcome.physical
        elif row is not None:
            assert row.kind is not Kind.PAGE


@settings(max_examples=60)
@given(spaces())
def test_rows_are_their_leaves_merged(space: Space) -> None:
    words, state = space
    memory = memory_of(words)

    def pages(rows: list[Mapping]) -> list[tuple[object, ...]]:
        return [
            (row.start + offset, row.physical + offset, *row[3:9])
            for row in rows
            if row.kind is Kind.PAGE
            for offset in range(0, row.size, row.page_size)
        ]

    assert pages(map_space(memory, state)) == pages(list(leaves(memory, state)))


@settings(max_examples=60)
@given(spaces(), st.sampled_from((*TABLES, 0x8000)))
def test_aliases_are_all_the_walks_that_end_there(space: Space, frame: int) -> None:
    words, state = space
    memory = memory_of(words)
    found = aliases_of(memory, state, PhysicalAddress(frame))
    for alias in found.aliases:
        page = walk(memory, state, alias.address).mapped
        assert (page.physical, page.page_size, page.supervisor, page.user, page.memory_type, page.is_global) == (
            frame,
            *alias[1:6],
        )
    walks = ((address, walk(memory, state, VirtualAddress(address)).outcome) for address in reachable_pages(state))
    expected = {address for address, end in walks if isinstance(end, Mapped) and end.physical == frame}
    listed = {int(alias.address) for alias in found.aliases}
    if any("not all" in warning for warning in found.warnings):
        assert len(listed & expected) == len(listed & set(reachable_pages(state)))
    else:
        assert expected <= listed


@settings(max_examples=60)
@given(spaces())
def test_a_table_is_passed_by_the_walk_of_the_addresses_it_covers(space: Space) -> None:
    words, state = space
    memory = memory_of(words)
    for table, info in tables(memory, state).items():
        for level, base, parent in info.uses:
            steps = walk(memory, state, base).steps
            assert (level, table) in [(step.level, step.table) for step in steps]
            assert parent is None or parent in [step.entry_address for step in steps]
