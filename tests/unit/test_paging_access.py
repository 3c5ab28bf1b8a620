"""Rights from what all levels grant: the tables of the manual's "Access Rights", a row each."""

from __future__ import annotations

from itertools import product

import pytest

from lab.paging import Grant, Rights, supervisor_rights, user_rights
from lab.x86 import CR0, CR4, EFER, Entry, PagingState


def state_of(*, wp: bool = True, nxe: bool = True, smep: bool = False, smap: bool = False) -> PagingState:
    return PagingState(
        cr0=CR0.from_names("PE", "PG").replace(wp=wp),
        cr4=CR4.from_names("PAE").replace(smep=smep, smap=smap),
        efer=EFER.from_names("LME", "LMA").replace(nxe=nxe),
    )


@pytest.mark.parametrize("bits", list(product([False, True], repeat=8)))
def test_supervisor_rights_are_the_manuals(bits: tuple[bool, ...]) -> None:
    writable, user, no_execute, wp, nxe, smep, smap, ac = bits
    grant = Grant(0).replace(writable=writable, user=user, no_execute=no_execute)
    rights = supervisor_rights(grant, state_of(wp=wp, nxe=nxe, smep=smep, smap=smap), ac=ac)
    may_touch = not (user and smap) or ac
    assert rights.read is may_touch
    assert rights.write is (may_touch and (writable or not wp))
    assert rights.execute is (not (no_execute and nxe) and not (user and smep))


@pytest.mark.parametrize("bits", list(product([False, True], repeat=7)))
def test_user_rights_are_the_manuals(bits: tuple[bool, ...]) -> None:
    writable, user, no_execute, wp, nxe, smep, smap = bits
    grant = Grant(0).replace(writable=writable, user=user, no_execute=no_execute)
    rights = user_rights(grant, state_of(wp=wp, nxe=nxe, smep=smep, smap=smap))
    assert (rights.read, rights.write) == (user, user and writable)
    assert rights.execute is (user and not (no_execute and nxe))


def test_a_grant_is_the_and_of_w_and_u_and_the_or_of_nx() -> None:
    for entries in product(range(8), repeat=3):
        words = [Entry(0).replace(writable=e & 1, user=e & 2, no_execute=e & 4) for e in entries]
        grant = Grant.combine(words)
        assert grant.writable is all(e & 1 for e in entries)
        assert grant.user is all(e & 2 for e in entries)
        assert grant.no_execute is any(e & 4 for e in entries)
        assert grant & ~7 == 0


def test_rights_read_and_print_as_three_letters() -> None:
    for value in range(8):
        assert Rights.parse(str(Rights(value))) == value
    with pytest.raises(ValueError, match="'rwz' is no set of rights"):
        Rights.parse("rwz")
