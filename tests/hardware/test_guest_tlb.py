"""Entries that change behind the CPU's back, and what makes it forget the old ones.

That a stale translation is seen can be shown and never be required: a TLB may drop anything at any time. What is
required is that it is gone after the flush.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.hardware.probe import ANYWHERE, PAGE, Probe, Supply, booted
from tests.hardware.scratch import PML5_BASE, PXE_BASE, A, D, G, P, Scratch, W, scratch_tables

OLD, NEW = 0x01D, 0x2E3
TRIES = 10


@pytest.fixture(scope="module", params=[(), ("la57",)], ids=["4 levels", "5 levels"])
def supply(request: pytest.FixtureRequest) -> Iterator[Supply]:
    with Supply(*request.param) as supply:
        yield supply


@pytest.fixture(params=[0, G], ids=["not global", "global"])
def page(guest: Probe, request: pytest.FixtureRequest) -> Iterator[Page]:
    with scratch_tables(guest, 0x1F3, 5) as scratch:
        yield Page(scratch, request.param)


class Page:
    """A page that leads to the one or the other of two frames, which begin with the numbers OLD and NEW."""

    def __init__(self, scratch: Scratch, flags: int) -> None:
        self.guest = scratch.guest
        self.old, self.new = (scratch.physical(number) | P | W | A | D | flags for number in (3, 4))
        self.address = scratch.chain(self.old)
        scratch.set(3, 0, OLD)
        scratch.set(4, 0, NEW)

    def read(self) -> int:
        """What the CPU reads."""
        return self.guest.call("read_u64", self.address)

    def make_stale(self) -> bool:
        """Let the CPU use the old entry, and give it the new one without telling; whether it uses the old one still."""
        self.guest.call("set_entry", self.address, self.old)
        assert self.read() == OLD
        assert self.guest.call("set_entry_stale", self.address, self.new) & ~(A | D) == self.old & ~(A | D)
        assert self.guest.frame(self.address) == self.new >> 12 & 0xFFFFFFFF
        assert self.guest.machine.gva2gpa(self.address) == self.guest.call("MmGetPhysicalAddress", self.address)
        return self.read() == OLD


FLUSHES: dict[str, Callable[[Page], object]] = {
    "invlpg": lambda page: page.guest.call("invlpg", page.address),
    "reload_cr3": lambda page: page.guest.call("reload_cr3"),
    "flush_tlb": lambda page: page.guest.call("flush_tlb"),
    "set_entry": lambda page: page.guest.call("set_entry", page.address, page.new),
}


@pytest.mark.parametrize("flush", FLUSHES)
def test_what_is_flushed_is_forgotten(page: Page, flush: str) -> None:
    for _ in range(TRIES):
        page.make_stale()
        FLUSHES[flush](page)
        # Silicon keeps a global translation when CR3 is written; QEMU's TCG does not.
        assert page.read() == NEW


def test_what_is_not_flushed_is_remembered_for_a_while(page: Page) -> None:
    assert any(page.make_stale() for _ in range(TRIES)), "a TLB may drop anything; TCG's keeps a page that is in use"


def test_rights_that_are_taken_away_are_gone_after_the_flush(page: Page) -> None:
    guest = page.guest
    guest.call("touch_write", page.address)
    guest.call("set_entry_stale", page.address, page.old & ~W)
    guest.call("invlpg", page.address)

    assert guest.fault("write_u64", page.address, 1).error_code == 0b11


def test_what_was_not_present_is_in_no_tlb(page: Page) -> None:
    guest = page.guest
    for _ in range(TRIES):
        guest.call("set_entry", page.address, 0)
        assert guest.fault("read_u64", page.address).error_code == 0
        assert guest.call("set_entry_stale", page.address, page.new) == 0
        assert page.read() == NEW


def test_dirty_is_set_anew_after_the_flush(page: Page) -> None:
    guest = page.guest
    guest.call("touch_write", page.address)
    guest.call("set_entry_stale", page.address, page.old & ~(A | D))
    guest.call("invlpg", page.address)
    guest.call("touch_write", page.address)

    assert guest.entry(page.address) & (A | D) == A | D


def test_an_entry_in_no_table_is_a_fault_at_the_place_it_would_have(guest: Probe) -> None:
    fault = guest.fault("set_entry", 0x1000, P)

    assert (fault.vector, fault.error_code & 1) == (14, 0)
    # Windows' PTE_BASE, or its like behind the PML5.
    assert fault.cr2 == (0xFFFF_F680_0000_0008 if guest.state.levels == 4 else 0xFFED_0000_0000_0008)


@pytest.mark.parametrize("type_", range(4))
def test_invpcid_is_undefined_where_cpuid_has_none(guest: Probe, type_: int) -> None:
    assert not guest.guest.variable("lab_cpu")["features"] & guest.kernel.constant("CPU_INVPCID")
    assert guest.fault("invpcid", type_, 0, 0).name == "#UD"


def test_without_global_pages_a_flush_is_one_of_cr3() -> None:
    with booted(cpu="max,-pge") as guest, scratch_tables(guest, 0x1F3, 5) as scratch:
        page = Page(scratch, G)
        page.make_stale()
        guest.call("flush_tlb")
        assert page.read() == NEW


def test_invlpg_of_what_is_no_address_does_nothing(guest: Probe) -> None:
    guest.call("invlpg", 1 << 63)
    guest.call("invlpg", ANYWHERE)


def test_flushes_leave_the_root_as_it_is(guest: Probe) -> None:
    root = PML5_BASE if guest.state.levels == 5 else PXE_BASE
    before = guest.machine.memory.read(guest.state.root, PAGE)
    for flush in ("reload_cr3", "flush_tlb"):
        guest.call(flush)
    assert guest.machine.memory.read(guest.state.root, PAGE) == before
    assert guest.machine.registers().cr4 == guest.state.cr4
    assert guest.call("MmGetPhysicalAddress", root) == guest.state.root
