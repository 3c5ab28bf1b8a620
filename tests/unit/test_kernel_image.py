"""Looking things up in a made-up kernel description."""

from __future__ import annotations

import pytest

from lab.errors import AddressError, ImageMissing, LabError, NotMapped
from lab.kernel import Guest, KernelImage
from lab.memory import MadeUpSpace
from lab.x86 import PhysicalAddress, VirtualAddress

BASE = 0xFFFFF80000100000


@pytest.fixture
def kernel() -> KernelImage:
    return KernelImage(
        {
            "schema": "lab.kernel/2",
            "segments": [[BASE, 0x100000, 0x100, 0x2000, 5]],
            "sections": [[BASE, 0x1000, ".text"], [BASE + 0x1000, 0x1000, ".bss"]],
            "symbols": [
                ["start", BASE, 0x20, "function"],
                ["inner_label", BASE + 0x10, 0, "label"],
                ["next", BASE + 0x20, 8, "function"],
                ["tail", BASE + 0x30, 0, "label"],
                ["point", BASE + 0x1000, 16, "object"],
                ["count", BASE + 0x1010, 2, "object"],
            ],
            "types": [
                ["void", "void", 0, None],
                ["signed", "short", 2, None],
                ["unsigned", "u32", 4, None],
                ["struct", "struct inner", 4, "inner"],
                ["array", "u32[2]", 8, [2, 2]],
                ["pointer", "struct point *", 8, 6],
                ["struct", "struct point", 16, "point"],
                ["array", "inner[1]", 4, [3, 1]],
            ],
            "structures": {
                "inner": {"kind": "struct", "size": 4, "fields": [["low", 0, 1], ["high", 2, 1]]},
                "point": {"kind": "struct", "size": 16, "fields": [["self", 0, 5], ["pair", 8, 4], ["in", 8, 3]]},
                "outer": {"kind": "struct", "size": 4, "fields": [["each", 0, 7]]},
            },
            "aliases": {"POINT": "point"},
            "enums": {"color": {"RED": 1, "GREEN": 2, "BOTH": 3}},
            "constants": {"RED": 1},
            "variables": {"point": 6, "count": 1},
            "exports": [],
        }
    )


@pytest.fixture
def guest(kernel: KernelImage) -> Guest:
    space = MadeUpSpace()
    space.memory.write(PhysicalAddress(0x101000), bytes(range(16)) + b"\xfe\xff")
    return Guest(kernel, space.memory, space.state)


def test_symbols_by_name_and_address(kernel: KernelImage) -> None:
    assert kernel.symbol("next").address == VirtualAddress(BASE + 0x20)
    assert kernel.describe(BASE) == "start"
    assert kernel.describe(BASE + 0x1F) == "start+0x1f", "a label inside a function is no better name"
    assert kernel.describe(BASE + 0x10) == "start+0x10"
    assert kernel.describe(BASE + 0x28) is None
    assert kernel.describe(BASE + 0x37) == "tail+0x7", "assembly has labels without a size"
    assert kernel.describe(BASE + 0x1020) is None
    assert kernel.describe(0) is None
    assert kernel.describe(BASE + 0x20, returned_to=True) == "start+0x20", "a call may be the last thing in a function"
    assert kernel.describe(BASE + 0x28, returned_to=True) == "next+0x8"
    with pytest.raises(AddressError, match="did you mean start"):
        kernel.symbol("strat")


def test_places_follow_the_segments(kernel: KernelImage) -> None:
    assert kernel.physical_of(BASE + 0x1FFF) == PhysicalAddress(0x101FFF)
    assert kernel.physical_of(BASE + 0x2000) is None


def test_structures_by_tag_and_typedef(kernel: KernelImage) -> None:
    assert kernel.structure("POINT").name == "point"
    assert kernel.has_structure("POINT")
    assert not kernel.has_structure("CIRCLE")
    pointer = kernel.structure("point").field("self").type
    assert pointer.target is not None
    assert pointer.target.tag == "point"
    for wrong in (lambda: kernel.structure("circle"), lambda: kernel.structure("point").field("z")):
        with pytest.raises(LabError):
            wrong()


def test_enums(kernel: KernelImage) -> None:
    color = kernel.enum("color")
    assert (color.name_of(2), color.name_of(9)) == ("GREEN", "0x9")
    assert color.flags_of(0x13) == ("RED", "GREEN", "0x10")
    for wrong in (lambda: kernel.enum("shape"), lambda: kernel.constant("BLUE"), lambda: kernel.export("paint")):
        with pytest.raises(LabError):
            wrong()


def test_another_schema_is_refused() -> None:
    with pytest.raises(ImageMissing, match="make kernel"):
        KernelImage({"schema": "lab.kernel/0"})


def test_the_image_is_read_without_page_tables(guest: Guest) -> None:
    view = guest.variable("point")
    assert view["self"] == 0x0706050403020100
    assert view.array("pair") == (0x0B0A0908, 0x0F0E0D0C)
    assert view["in.high"] == 0x0B0A
    assert view.inner("in")["low"] == 0x0908
    assert guest.number("count") == -2
    assert guest.u64(BASE + 0x1008) == 0x0F0E0D0C0B0A0908
    assert [each["high"] for each in guest.struct("outer", BASE + 0x1000).structs("each")] == [0x0302]
    with pytest.raises(LabError):
        view.array("self")
    with pytest.raises(LabError):
        guest.variable("count")


def test_all_else_is_read_through_page_tables(guest: Guest) -> None:
    with pytest.raises(NotMapped):
        guest.read(0xFFFFFA8000000000, 8)
    with pytest.raises(NotMapped):
        guest.read(BASE + 0x1FFC, 8)


def test_text_ends_at_zero_or_at_the_limit(guest: Guest) -> None:
    assert guest.text(BASE + 0x1010, limit=4) == "\ufffd\ufffd"
    assert guest.text(BASE + 0x1001, limit=3) == "\x01\x02\x03"
