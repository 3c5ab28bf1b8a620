"""`walk --style windbg` prints what WinDbg's !pte does, blank for blank."""

from __future__ import annotations

from textwrap import dedent

import pytest

from lab.errors import UsageError
from lab.memory import MadeUpSpace
from lab.paging import walk
from lab.snapshot import Registers, Snapshot
from lab.views import all_views
from lab.views.windbg import self_map_slot, windbg_lines
from lab.x86 import Level, VirtualAddress

VA = 0xFFFFF8A001CC2060


@pytest.fixture
def space() -> MadeUpSpace:
    made = MadeUpSpace(first_table=0x199)
    made.self_map()
    made.map(VA & ~0xFFF, 0x716FD000, "rw-", accessed=True, dirty=True, global_=True, software=4)
    return made


def shown(space: MadeUpSpace, address: int) -> str:
    return "\n".join(windbg_lines(space.memory, walk(space.memory, space.state, VirtualAddress(address)))) + "\n"


def test_mapped(space: MadeUpSpace) -> None:
    assert shown(space, VA) == dedent("""\
                                                   VA fffff8a001cc2060
        PXE at FFFFF6FB7DBEDF88    PPE at FFFFF6FB7DBF1400    PDE at FFFFF6FB7E280070    PTE at FFFFF6FC5000E610
        contains 000000000019A003  contains 000000000019B003  contains 000000000019C003  contains 80000000716FD963
        pfn 19a       -------KWEV  pfn 19b       -------KWEV  pfn 19c       -------KWEV  pfn 716fd     -G-DA--KW-V
        """)


def test_large_page(space: MadeUpSpace) -> None:
    space.map(0xFFFFF80002800000, 0x2800000, size=2 << 20, accessed=True, dirty=True, global_=True, software=0)
    assert shown(space, 0xFFFFF80002810CB0) == dedent("""\
                                                   VA fffff80002810cb0
        PXE at FFFFF6FB7DBEDF80    PPE at FFFFF6FB7DBF0000    PDE at FFFFF6FB7E0000A0    PTE at FFFFF6FC00014080
        contains 000000000019D003  contains 000000000019E003  contains 00000000028001E3  contains 0000000000000000
        pfn 19d       -------KWEV  pfn 19e       -------KWEV  pfn 2800      -GLDA--KWEV  LARGE PAGE pfn 2810
        """)


def test_large_page_with_a_reserved_bit(space: MadeUpSpace) -> None:
    space.map(0x40000000, 0x2000000, size=2 << 20)
    space.raw(Level.PD, 0x40000000, 0x20020E3)
    assert shown(space, 0x40001234).splitlines()[2:] == [
        "contains 000000000019D003  contains 000000000019E003  contains 00000000020020E3  contains 0000000000000000",
        "pfn 19d       -------KWEV  pfn 19e       -------KWEV  pfn 2002      --LDA--KWEV  LARGE PAGE pfn 2001",
    ]
    snapshot = Snapshot(space.memory, space.state, Registers())
    report = all_views()["walk"].run(snapshot, {"address": "0x40001234", "style": "windbg"})
    assert (report.answer, report.data["outcome"]) == (False, "fault")
    assert report.problems[0].startswith("!pte does not look at reserved bits, but PD bit 13 is reserved")


def test_missing_page(space: MadeUpSpace) -> None:
    assert shown(space, VA + 0x1000).splitlines()[2:] == [
        "contains 000000000019A003  contains 000000000019B003  contains 000000000019C003  contains 0000000000000000",
        "pfn 19a       -------KWEV  pfn 19b       -------KWEV  pfn 19c       -------KWEV  not valid",
    ]


def test_missing_table(space: MadeUpSpace) -> None:
    space.raw(Level.PDPT, VA, 0)
    assert shown(space, VA).splitlines()[1:] == [
        "PXE at FFFFF6FB7DBEDF88    PPE at FFFFF6FB7DBF1400    PDE at FFFFF6FB7E280070    PTE at FFFFF6FC5000E610",
        "contains 000000000019A003  contains 0000000000000000",
        "pfn 19a       -------KWEV  contains 0000000000000000",
        "not valid",
    ]


def test_user_page_and_lower_half(space: MadeUpSpace) -> None:
    space.map(0xFFD53000, 0x65207B000, "r-x", user=True, accessed=True, cache_disable=True, software=1)
    lines = shown(space, 0xFFD53ACC).splitlines()
    assert lines[1].split("    ")[0] == "PXE at FFFFF6FB7DBED000"
    assert lines[1].endswith("PTE at FFFFF680007FEA98")
    assert lines[3].endswith("pfn 65207b    C---AN-UREV")


def test_the_self_map_is_found_wherever_it_is() -> None:
    space = MadeUpSpace()
    assert self_map_slot(space.memory, space.root) is None
    with pytest.raises(UsageError, match="self map"):
        shown(space, 0)
    space.self_map(0x1D0)
    assert self_map_slot(space.memory, space.root) == 0x1D0
    assert "PTE at FFFFE80000000000" in shown(space, 0)


def test_five_levels_have_no_such_words() -> None:
    with pytest.raises(UsageError, match="five"):
        shown(MadeUpSpace(5), 0)


def test_not_canonical(space: MadeUpSpace) -> None:
    assert shown(space, 0x0000800000000000).splitlines()[-1] == "not canonical"
