"""Hardware words: every bit where the manual has it, and no value lost on the way through a class."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.x86 import CR0, CR3, CR4, EFER, PAT, RFLAGS, Entry, Level, MemoryType, PageFaultCode, PagingMode, PagingState
from lab.x86.words import Bit, Field, Word

WORDS = (CR0, CR3, CR4, EFER, RFLAGS, PAT, PageFaultCode, Entry)


@pytest.mark.parametrize("kind", WORDS)
@given(value=st.integers(0, 2**64 - 1))
def test_a_word_is_its_raw_value(kind: type[Word], value: int) -> None:
    word = kind(value)
    assert word == value
    assert hash(word) == hash(value)
    assert int(str(word), 16) == value
    assert eval(repr(word), {kind.__name__: kind}) == value  # noqa: S307  a repr of our own


@pytest.mark.parametrize("kind", [CR0, CR4, EFER, RFLAGS, PageFaultCode])
@given(value=st.integers(0, 2**64 - 1))
def test_names_and_from_names_are_inverse(kind: type[Word], value: int) -> None:
    word = kind(value & sum(bit.mask for bit in kind.bits))
    assert kind.from_names(*word.names()) == word


@pytest.mark.parametrize("kind", WORDS)
@given(value=st.integers(0, 2**64 - 1), setting=st.booleans())
def test_replace_changes_one_bit_and_no_other(kind: type[Word], value: int, setting: bool) -> None:
    word = kind(value)
    for name, bit in vars(kind).items():
        if isinstance(bit, Bit):
            changed = word.replace(**{name: setting})
            assert changed & ~bit.mask == word & ~bit.mask
            assert getattr(changed, name) is setting
        elif isinstance(bit, Field):
            changed = word.replace(**{name: bit.mask >> bit.low})
            assert changed == word | bit.mask


def test_words_complain_about_what_they_do_not_have() -> None:
    with pytest.raises(ValueError, match="no bit XYZ"):
        CR0.from_names("XYZ")
    with pytest.raises(ValueError, match="16 does not fit in K"):
        Entry(0).replace(key=16)
    with pytest.raises(AttributeError):
        CR0(0).replace(nonsense=1)


@pytest.mark.parametrize(
    ("bit", "number"),
    [
        (CR0.wp, 16),
        (CR0.pg, 31),
        (CR4.pae, 5),
        (CR4.pge, 7),
        (CR4.la57, 12),
        (CR4.pcide, 17),
        (CR4.smep, 20),
        (CR4.smap, 21),
        (CR4.pke, 22),
        (CR4.pks, 24),
        (EFER.lme, 8),
        (EFER.lma, 10),
        (EFER.nxe, 11),
        (RFLAGS.ac, 18),
        (PageFaultCode.reserved, 3),
        (PageFaultCode.fetch, 4),
        (Entry.page_size, 7),
        (Entry.global_, 8),
        (Entry.pat_large, 12),
        (Entry.no_execute, 63),
    ],
)
def test_bits_stand_where_the_manual_has_them(bit: Bit, number: int) -> None:
    assert bit.number == number


ALL_BITS = Entry(2**64 - 1)


@pytest.mark.parametrize(
    ("entry", "level", "leaf", "keys", "flags"),
    [
        (ALL_BITS, Level.PT, True, True, "P W U PWT PCD A D PAT G K15 NX"),
        (ALL_BITS, Level.PT, True, False, "P W U PWT PCD A D PAT G NX"),
        (ALL_BITS, Level.PD, True, True, "P W U PWT PCD A D PS PAT G K15 NX"),
        (ALL_BITS, Level.PDPT, False, True, "P W U PWT PCD A PS NX"),
        (ALL_BITS, Level.PML4, False, True, "P W U PWT PCD A PS NX"),
        (Entry(0x0000_0000_0000_0081), Level.PD, True, False, "P PS"),  # bit 12 clear: no PAT
        (Entry(0x0000_0000_0000_1001), Level.PT, True, False, "P"),  # bit 12 is address here
        (Entry(0x0000_0000_0000_0141), Level.PD, False, False, "P"),  # D and G mean nothing above a table
        (Entry(0x0800_0000_0000_0001), Level.PT, True, True, "P K1"),
        (ALL_BITS.replace(present=False), Level.PT, True, True, ""),  # all of it is software's
        (Entry(0), Level.PML5, False, False, ""),
    ],
)
def test_flags_are_those_that_mean_something(entry: Entry, level: Level, leaf: bool, keys: bool, flags: str) -> None:
    assert " ".join(entry.flags(level, leaf=leaf, keys=keys)) == flags


def test_names_of_an_entry_do_not_depend_on_its_level() -> None:
    assert ALL_BITS.names() == ("P", "W", "U", "PWT", "PCD", "A", "NX")


@pytest.mark.parametrize("size", [1 << 12, 1 << 21, 1 << 30])
def test_an_entry_points_to_bits_51_to_the_size_of_the_page(size: int) -> None:
    assert ALL_BITS.frame_address(size) == (1 << 52) - size


def test_pat_after_reset_and_with_write_combining() -> None:
    assert " ".join(map(str, PAT().types)) == "WB WT UC- UC WB WT UC- UC"
    assert PAT(0x0007_0406_0107_0506).types[:4] == (
        MemoryType.WB,
        MemoryType.WP,
        MemoryType.UC_MINUS,
        MemoryType.WC,
    )
    assert PAT(0x02)[0] is MemoryType.RESERVED  # an emulator may have let it through
    assert PAT(0xFF)[0] is MemoryType.RESERVED
    with pytest.raises(IndexError):
        PAT()[8]


@pytest.mark.parametrize(
    ("cr0", "cr4", "efer", "mode", "levels"),
    [
        ((), (), (), PagingMode.OFF, 0),
        (("PE",), ("PAE",), ("LME",), PagingMode.OFF, 0),
        (("PE", "PG"), (), (), PagingMode.BITS32, 2),
        (("PE", "PG"), ("PAE",), (), PagingMode.PAE, 3),
        (("PE", "PG"), ("PAE",), ("LME", "LMA"), PagingMode.LEVEL4, 4),
        (("PE", "PG"), ("PAE", "LA57"), ("LME", "LMA"), PagingMode.LEVEL5, 5),
    ],
)
def test_the_paging_mode(
    cr0: tuple[str, ...], cr4: tuple[str, ...], efer: tuple[str, ...], mode: PagingMode, levels: int
) -> None:
    state = PagingState(cr0=CR0.from_names(*cr0), cr4=CR4.from_names(*cr4), efer=EFER.from_names(*efer))
    assert (state.mode, state.levels) == (mode, levels)


def test_the_root_is_cr3_without_its_flags() -> None:
    assert PagingState(cr3=CR3(0x8000_0000_001A_AFFF)).root == 0x1AA000
