"""Claims about mappings and faults: what does not hold is named with the level and bit that decide."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lab.errors import UsageError
from lab.memory import MadeUpSpace
from lab.snapshot import Registers, Snapshot
from lab.testing import Refuted, assert_faults, assert_maps
from lab.x86 import CR0, CR4, RFLAGS, PagingState
from lab.x86.levels import Level
from lab.x86.registers import KeyRights

PAGE = 0x400000


def made_up(rights: str = "rwx", state: PagingState | None = None, **how: Any) -> Snapshot:
    space = MadeUpSpace(state=state)
    space.map(PAGE, 0x12A000 if "size" not in how else 0x600000, rights, **how)
    return Snapshot(space.memory, space.state, Registers(rip=PAGE))


def refused(snapshot: Snapshot, address: int | str = PAGE, **claims: Any) -> str:
    with pytest.raises(Refuted) as caught:
        assert_maps(snapshot, address, **claims)
    assert caught.value.address == int(snapshot.resolve(hex(PAGE)) if isinstance(address, str) else address)
    assert f"walk {address:#018x}" in str(caught.value) or isinstance(address, str)
    return str(caught.value)


def test_what_holds_gives_the_walk() -> None:
    walk = assert_maps(made_up("r--", user=True), "rip", pa=0x12A000, access="r--", user="r--", memory_type="WB")
    assert walk.mapped.page_size == 4096
    assert assert_maps(made_up(size=2 << 20), PAGE + 0x1234, page_size=2 << 20, pa=0x601234).is_mapped
    assert assert_maps(made_up(), PAGE).is_mapped


def test_a_page_that_is_not_there() -> None:
    assert "is not mapped: PT bit 0 (P) is 0: not present" in refused(made_up(), PAGE + 0x5000)
    assert "not canonical" in refused(made_up(), 1 << 62)


def test_each_right_names_what_decides() -> None:
    upper = made_up("rwx", user=True, upper_rights={Level.PDPT: "r-xu"})
    assert "supervisor access is r-x, not rwx: write faults: PDPT bit 1 (W) is 0 and CR0.WP" in refused(
        upper, access="rwx"
    )
    assert "user access is r-x, not rwx: user write faults: PDPT bit 1 (W) is 0" in refused(upper, user="rwx")
    kernel = made_up("rw-")
    assert "fetch faults: PT bit 63 (NX) is 1" in refused(kernel, access="rwx")
    assert "write succeeds: bit 1 (W) is 1 at every level" in refused(kernel, access="r--")
    assert "user access is ---, not r--: user read faults: PML4 bit 2 (U) is 0" in refused(kernel, user="r--")
    assert "fetch succeeds: bit 63 (NX) is 0 at every level" in refused(made_up(), access="rw-")
    assert "read succeeds" in refused(made_up(user=True), user="-wx")


def test_control_registers_and_keys_decide_too() -> None:
    guarded = PagingState(cr4=CR4.from_names("PAE", "SMEP", "SMAP"), rflags=RFLAGS.from_names("AC"))
    text = refused(made_up(user=True, state=guarded), access="rwx")
    assert "read faults: bit 2 (U) is 1 at every level, CR4.SMAP is 1 and RFLAGS.AC is 0" in text
    assert "write faults: bit 2 (U) is 1 at every level, CR4.SMAP is 1" in text
    assert "fetch faults: bit 2 (U) is 1 at every level and CR4.SMEP is 1" in text
    lax = PagingState(cr0=CR0.from_names("PE", "PG"))
    assert "write succeeds: CR0.WP is 0" in refused(made_up("r--", user=True, state=lax), access="r--")
    assert "user write faults: PT bit 1 (W) is 0" in refused(made_up("r--", user=True, state=lax), user="rw-")
    keys = PagingState(cr4=CR4.from_names("PAE", "PKE"), pkru=KeyRights(2 << 2 * 3))
    assert "PKRU bit 7 (WD3) is 1" in refused(made_up(user=True, key=3, state=keys), user="rwx")


def test_frame_size_and_type_name_the_bits_of_the_leaf() -> None:
    text = refused(made_up(size=2 << 20, write_through=True), pa=0x800000, page_size=4096, memory_type="WB")
    assert "physical address is pa:0x0000600000, not pa:0x0000800000: PD bits 51:21 name the frame" in text
    assert "page size is 2 MiB, not 4 KiB: PD bit 7 (PS) is 1" in text
    assert "memory type is WT, not WB: PD bits 12, 4, 3 (PAT PCD PWT) are 0 0 1" in text


def test_claims_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="is no set of rights"):
        assert_maps(made_up(), PAGE, access="read")
    with pytest.raises(UsageError, match="is a physical address"):
        assert_maps(made_up(), "pa:0x1000")
    with pytest.raises(UsageError, match="write them like"):
        assert_faults(attempt(), bits="P|Q")


def attempt(error_code: int | None = None, cr2: int = PAGE, vector: int = 14) -> Any:
    """What a call or a probe gives."""
    from lab.machine.mailbox import GuestException

    if error_code is None:
        return SimpleNamespace(exception=None)
    name = {13: "#GP", 14: "#PF"}[vector]
    return SimpleNamespace(exception=GuestException(vector, name, error_code, cr2, Registers(rip=0x1000)))


def test_faults_are_compared_bit_by_bit() -> None:
    assert assert_faults(attempt(3), bits="P|W", at=PAGE).cr2 == PAGE
    assert assert_faults(attempt(0x11), bits="P|I").error_code == 0x11
    assert assert_faults(attempt(0), bits="").vector == 14
    assert assert_faults(attempt(7)).vector == 14
    for wrong, claims, sentence in [
        (attempt(3), {"bits": "P|W|U"}, r"^#PF came with P\|W, not with P\|W\|U\n#PF at 0x0000000000400000"),
        (attempt(0), {"bits": "W"}, "came with no bit, not with W"),
        (attempt(3), {"at": 0x5000}, "at 0x0000000000400000, not at 0x0000000000005000"),
        (attempt(0, vector=13), {"bits": "W"}, r"^#GP, .* instead of #PF with W"),
        (
            attempt(),
            {"bits": "W", "at": PAGE},
            "^no exception came, instead of #PF with W\nwrite succeeds: bit 1 .* every level\nwalk 0x0000000000400000",
        ),
    ]:
        with pytest.raises(Refuted, match=sentence):
            assert_faults(wrong, snapshot=made_up(), **claims)
