"""Address expressions: every form that help texts promise, and a sentence for all others."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import AddressError, LabError, NotMapped, UsageError
from lab.kernel import KernelImage
from lab.memory import MadeUpSpace
from lab.snapshot import Registers, Snapshot
from lab.x86 import PhysicalAddress, VirtualAddress

EMPTY = {
    "schema": "lab.kernel/2",
    **{name: [] for name in ("segments", "sections", "types", "exports")},
    **{name: {} for name in ("structures", "aliases", "enums", "constants", "variables")},
}


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    space = MadeUpSpace()
    space.map(0x400000, 0x12A000)
    symbols = [["add", 0x400800, 16, "function"], ["start", 0x400900, 16, "function"]]
    kernel = KernelImage({**EMPTY, "symbols": symbols})
    return Snapshot(space.memory, space.state, Registers(rip=0x400123, r8=8, cr2=0xDEAD000), kernel)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0xfffff88000004010", 0xFFFFF88000004010),
        ("fffff880`00004010", 0xFFFFF88000004010),
        ("0xffff_f880_0000_4010", 0xFFFFF88000004010),
        ("400000", 0x400000),
        (" 0X10 ", 0x10),
        ("rip", 0x400123),
        ("RIP", 0x400123),
        ("cr2", 0xDEAD000),
        ("r8", 8),
        ("start", 0x400900),
        ("start+0x10", 0x400910),
        ("start+10", 0x40090A),
        ("start - 1", 0x4008FF),
        ("rip-0x23", 0x400100),
        ("0x10+0x10", 0x20),
        ("add", 0x400800),
        ("0xadd", 0xADD),
        ("face", 0xFACE),
    ],
)
def test_virtual(snapshot: Snapshot, text: str, address: int) -> None:
    found = snapshot.resolve(text)
    assert isinstance(found, VirtualAddress)
    assert found == address


@pytest.mark.parametrize(
    ("text", "address"), [("pa:0x12a010", 0x12A010), ("pa:12a010+8", 0x12A018), ("cr3", 0x100000), ("PA:0x1", 1)]
)
def test_physical(snapshot: Snapshot, text: str, address: int) -> None:
    found = snapshot.resolve(text)
    assert isinstance(found, PhysicalAddress)
    assert found == address


@pytest.mark.parametrize(
    ("text", "address"), [("0x12a010", 0x12A010), ("12a010+8", 0x12A018), ("rip-0x23", 0x12A100), ("cr3", 0x100000)]
)
def test_where_a_physical_address_is_wanted(snapshot: Snapshot, text: str, address: int) -> None:
    assert snapshot.resolve_physical(text) == PhysicalAddress(address)


def test_what_is_not_mapped_has_no_physical_address(snapshot: Snapshot) -> None:
    with pytest.raises(NotMapped):
        snapshot.resolve_physical("cr2")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "empty"),
        ("strat", "did you mean start"),
        ("eax", "no such symbol"),
        ("no:0", "before a colon"),
        ("0x1_0000_0000_0000_0000", "64 bits"),
        ("pa:0x10000000000000", "52 bits"),
        ("0x10-0x11", "leaves the address space"),
        ("start+", "no such symbol"),
        ("0x", "hexadecimal"),
    ],
)
def test_everything_else_is_told_apart(snapshot: Snapshot, text: str, hint: str) -> None:
    with pytest.raises(AddressError, match=hint):
        snapshot.resolve(text)


def test_a_guest_that_is_not_ours_has_numbers_and_registers() -> None:
    space = MadeUpSpace()
    foreign = Snapshot(space.memory, space.state, Registers(rip=7))
    assert foreign.resolve("rip+1") == VirtualAddress(8)
    assert foreign.resolve("add") == VirtualAddress(0xADD)
    with pytest.raises(AddressError, match="no symbols"):
        foreign.resolve("start")
    with pytest.raises(UsageError, match="does not run the lab's kernel"):
        foreign.resolve("mdl:0")


@given(st.text(alphabet="0123456789abcdefxpr:+-_'` \n\x00g", max_size=24))
def test_no_text_does_worse_than_an_error(text: str) -> None:
    space = MadeUpSpace()
    snapshot = Snapshot(space.memory, space.state, Registers(), KernelImage({**EMPTY, "symbols": []}))
    for resolve in (snapshot.resolve, snapshot.resolve_physical):
        with contextlib.suppress(LabError):
            assert 0 <= resolve(text) < 1 << 64
