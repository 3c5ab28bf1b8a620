"""Addresses: two types that never mix, parse what they print, and know the hole between the halves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import AddressError
from lab.x86 import Level, PhysicalAddress, VirtualAddress, size_text

virtual = st.integers(0, 2**64 - 1).map(VirtualAddress)
physical = st.integers(0, 2**52 - 1).map(PhysicalAddress)


@given(virtual)
def test_a_virtual_address_parses_what_it_prints(va: VirtualAddress) -> None:
    parsed = VirtualAddress.parse(str(va))
    assert (parsed, type(parsed)) == (va, VirtualAddress)
    assert eval(repr(va), {"VirtualAddress": VirtualAddress}) == va  # noqa: S307  a repr of our own


@given(physical)
def test_a_physical_address_parses_what_it_prints(pa: PhysicalAddress) -> None:
    parsed = PhysicalAddress.parse(str(pa))
    assert (parsed, type(parsed)) == (pa, PhysicalAddress)
    assert PhysicalAddress.from_frame(pa.frame) + pa.offset() == pa


@pytest.mark.parametrize(
    "text",
    ["0xfffff88000004010", "fffff88000004010", "FFFFF880`00004010", "0xfffff880_00004010", "FFFF'F880'0000'4010"],
)
def test_every_usual_way_to_write_a_virtual_address(text: str) -> None:
    assert VirtualAddress.parse(text) == 0xFFFFF88000004010


@pytest.mark.parametrize("text", ["pa:0x12a010", "PA:12a010", "0x12a010", "12_a010", "pa:0x000012a010", " pa:12a010 "])
def test_every_usual_way_to_write_a_physical_address(text: str) -> None:
    assert PhysicalAddress.parse(text) == 0x12A010


@pytest.mark.parametrize("text", ["", "0x", "rip", "0x12g", "-1", "_1", "1__2", "0x10000000000000000", "pa:0x1000"])
def test_what_is_no_virtual_address(text: str) -> None:
    with pytest.raises(AddressError):
        VirtualAddress.parse(text)


@pytest.mark.parametrize("text", ["pa:", "pa:pa:1", "0x10000000000000", "pa:0xfffff88000004010"])
def test_what_is_no_physical_address(text: str) -> None:
    with pytest.raises(AddressError):
        PhysicalAddress.parse(text)


@pytest.mark.parametrize("kind", [VirtualAddress, PhysicalAddress])
def test_arithmetic_keeps_the_kind(kind: type[VirtualAddress | PhysicalAddress]) -> None:
    address = kind(0x1000)
    assert type(address + 8) is kind
    assert type(8 + address) is kind
    assert type(address - 8) is kind
    difference = (address + 8) - address
    assert (difference, type(difference)) == (8, int)


def test_the_kinds_do_not_mix() -> None:
    va, pa = VirtualAddress(0x2000), PhysicalAddress(0x1000)
    for mixed in (lambda: va - pa, lambda: pa - va, lambda: va + pa, lambda: pa + va, lambda: va + va):
        with pytest.raises(TypeError, match="address"):
            mixed()


def test_addresses_stay_within_their_width() -> None:
    assert VirtualAddress(2**64 - 1) + 1 == 2**64  # the end of the last page
    assert PhysicalAddress(2**52 - 1) + 1 == 2**52
    for overrun in (
        lambda: VirtualAddress(2**64) + 1,
        lambda: PhysicalAddress(2**52) + 1,
        lambda: VirtualAddress(0) - 1,
        lambda: PhysicalAddress(-1),
    ):
        with pytest.raises(AddressError, match="bits"):
            overrun()


@pytest.mark.parametrize(
    ("address", "four", "five"),
    [
        (0x0000_0000_0000_0000, True, True),
        (0x0000_7FFF_FFFF_FFFF, True, True),
        (0x0000_8000_0000_0000, False, True),
        (0x00FF_FFFF_FFFF_FFFF, False, True),
        (0x0100_0000_0000_0000, False, False),
        (0xFEFF_FFFF_FFFF_FFFF, False, False),
        (0xFF00_0000_0000_0000, False, True),
        (0xFFFF_7FFF_FFFF_FFFF, False, True),
        (0xFFFF_8000_0000_0000, True, True),
        (0xFFFF_FFFF_FFFF_FFFF, True, True),
        (0x8000_0000_0000_0000, False, False),
        (0x1_0000_0000_0000_0000, False, False),
    ],
)
def test_the_edges_of_the_canonical_hole(address: int, four: bool, five: bool) -> None:
    assert VirtualAddress(address).is_canonical(4) is four
    assert VirtualAddress(address).is_canonical(5) is five


@given(virtual)
def test_indices_and_offset_put_together_are_the_address(va: VirtualAddress) -> None:
    translated = sum(va.index(level) << level.shift for level in Level) + va.offset()
    assert translated == va & (1 << 57) - 1


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (4097, "4097 bytes"), (4096, "4 KiB"), (6 << 20, "6 MiB"), (1 << 57, "128 PiB")],
)
def test_sizes_as_people_say_them(size: int, text: str) -> None:
    assert size_text(size) == text
