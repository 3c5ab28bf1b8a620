"""Driver files as the host reads them: made-up ones bent in every way, built ones damaged at random."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.errors import LabError
from lab.machine.driver.build import build
from lab.machine.driver.inspect import inspect_driver
from lab.machine.driver.pe import BadImage, DriverImage
from lab.paging.rights import Rights

SAMPLES = Path(__file__).resolve().parents[1] / "drivers"

BASE = 0xFFFFF880_01000000
PREFERRED = 0x1_40000000

ALIGNMENT = 0x1000
FILE_ALIGNMENT = 0x200
HEADERS = 0x400

R, W, X, DISCARDABLE = 0x40000000, 0x80000000, 0x20000000, 0x02000000


@dataclass
class MadeUpPe:
    """A PE32+ file. `sections` are (name, rva, bytes, characteristics); directories are (rva, size) by their number."""

    sections: list[tuple[bytes, int, bytes, int]] = field(
        default_factory=lambda: [(b".text", 0x1000, b"\xc3" * 16, R | X)]
    )
    directories: dict[int, tuple[int, int]] = field(default_factory=dict)
    machine: int = 0x8664
    magic: int = 0x20B
    characteristics: int = 0x22
    subsystem: int = 1
    base: int = 0x140000000
    entry: int = 0x1000
    image_size: int | None = None
    alignment: int = ALIGNMENT

    def bytes(self) -> bytes:
        table, body = b"", b""
        end = 0
        for name, rva, data, flags in self.sections:
            padded = data + b"\0" * (-len(data) % FILE_ALIGNMENT)
            offset = HEADERS + len(body)
            table += struct.pack("<8s6I2HI", name, len(data), rva, len(padded), offset, 0, 0, 0, 0, flags)
            body += padded
            end = max(end, rva + len(data))
        size = -(-end // ALIGNMENT) * ALIGNMENT if self.image_size is None else self.image_size
        optional = struct.pack("<HBB5I", self.magic, 14, 0, 0, 0, 0, self.entry, 0x1000)
        optional += struct.pack(
            "<Q2I6H4I2H",
            self.base,
            self.alignment,
            FILE_ALIGNMENT,
            6,
            1,
            0,
            0,
            6,
            1,
            0,
            size,
            HEADERS,
            0,
            self.subsystem,
            0x160,
        )
        optional += struct.pack("<4Q2I", 1 << 18, 1 << 12, 1 << 20, 1 << 12, 0, 16)
        optional += b"".join(struct.pack("<2I", *self.directories.get(index, (0, 0))) for index in range(16))
        file = struct.pack("<2H3I2H", self.machine, len(self.sections), 0, 0, 0, len(optional), self.characteristics)
        dos = b"MZ" + b"\0" * 58 + struct.pack("<I", 0x40)
        return (dos + b"PE\0\0" + file + optional + table).ljust(HEADERS, b"\0") + body


def imports(rva: int, libraries: dict[bytes, list[bytes | int]]) -> bytes:
    """An import table to stand at `rva`: descriptors, then lookup lists, slots and names."""
    descriptors, tail = b"", b""
    start = rva + 20 * (len(libraries) + 1)
    for dll, names in libraries.items():
        lists = start + len(tail)
        slots = lists + 8 * (len(names) + 1)
        texts_at = slots + 8 * (len(names) + 1)
        texts, entries = b"", b""
        for name in names:
            if isinstance(name, int):
                entries += struct.pack("<Q", 1 << 63 | name)
            else:
                entries += struct.pack("<Q", texts_at + len(texts))
                texts += b"\0\0" + name + b"\0"
        entries += b"\0" * 8
        dll_at = texts_at + len(texts)
        tail += entries + entries + texts + dll + b"\0"
        descriptors += struct.pack("<5I", lists, 0, 0, dll_at, slots)
    return descriptors + b"\0" * 20 + tail


def relocations(*offsets: int, kind: int = 10) -> bytes:
    """A base relocation table of one block."""
    page = offsets[0] & ~0xFFF
    entries = b"".join(struct.pack("<H", kind << 12 | offset - page) for offset in offsets)
    entries += b"\0" * (len(entries) % 4)
    return struct.pack("<2I", page, 8 + len(entries)) + entries


def load_config(cookie: int, check: int = 0, dispatch: int = 0, targets: int = 0) -> bytes:
    """An IMAGE_LOAD_CONFIG_DIRECTORY64 up to its guard flags."""
    return struct.pack("<I84xQ16x2QQQI", 0x94, cookie, check, dispatch, 0, targets, 0x100 if check else 0)


# ------------------------------------------------------------------------------------------------- sound files ----


def data_driver() -> MadeUpPe:
    """A driver with a section of each kind, and something in every table that is read."""
    data = struct.pack("<4Q", PREFERRED + 0x1004, 7, 0x2B992DDFA232, ~0x2B992DDFA232 & (1 << 64) - 1)
    import_table = imports(0x2000, {b"ntoskrnl.exe": [b"DbgPrint", b"NoSuchCall"], b"WDFLDR.SYS": [5]})
    config = load_config(PREFERRED + 0x3010, PREFERRED + 0x2800, PREFERRED + 0x2808, 3)
    constants = import_table.ljust(0x400, b"\0") + config.ljust(0x400, b"\0") + struct.pack("<2Q", 1, 2)
    functions = struct.pack("<6I", 0x1000, 0x1004, 0x2400, 0x1004, 0x1010, 0x2400)
    return MadeUpPe(
        sections=[
            (b".text", 0x1000, b"\xc3" * 16, R | X),
            (b".rdata", 0x2000, constants, R),
            (b".data", 0x3000, data, R | W),
            (b".pdata", 0x4000, functions, R),
            (b"INIT", 0x5000, b"\xc3", R | X | DISCARDABLE),
            (b".reloc", 0x6000, relocations(0x3000), R | DISCARDABLE),
        ],
        directories={
            1: (0x2000, len(import_table)),
            3: (0x4000, len(functions)),
            5: (0x6000, 12),
            10: (0x2400, 0x94),
        },
        entry=0x5000,
    )


def exports(dll: str, name: str) -> int | None:
    return {"DbgPrint": 0xFFFFF800_00001000, "#5": 0xFFFFF800_00002000}.get(name)


def test_every_part_of_a_driver_is_read() -> None:
    image = DriverImage.load(data_driver().bytes(), "made.sys")
    assert (image.name, image.kind, image.subsystem, image.size) == ("made.sys", "KMDF", "native", 0x7000)
    assert [(each.name, str(each.rights), each.discardable) for each in image.sections] == [
        (".text", "r-x", False),
        (".rdata", "r--", False),
        (".data", "rw-", False),
        (".pdata", "r--", False),
        ("INIT", "r-x", True),
        (".reloc", "r--", True),
    ]
    assert list(map(str, image.imports)) == ["ntoskrnl.exe!DbgPrint", "ntoskrnl.exe!NoSuchCall", "WDFLDR.SYS!#5"]
    assert (image.relocations, image.cookie) == ((0x3000,), 0x3010)
    assert image.exceptions is not None
    assert (image.exceptions.rva, image.exceptions.count) == (0x4000, 2)
    assert image.guard is not None
    assert (image.guard.check, image.guard.dispatch, image.guard.targets) == (0x2800, 0x2808, 3)
    assert image.problems == ()


def test_a_layout_is_relocated_bound_and_has_a_fresh_cookie() -> None:
    image = DriverImage.load(data_driver().bytes())
    loaded = image.layout(BASE, exports, lambda each: 0xDEAD0000 + len(each.name))
    (pointer, other, cookie, complement) = struct.unpack_from("<4Q", loaded.content, 0x3000)
    assert (pointer, other) == (BASE + 0x1004, 7)
    assert cookie == loaded.cookie
    assert cookie not in (0, 0x2B992DDFA232)
    assert cookie >> 48 == 0
    assert complement == ~cookie & (1 << 64) - 1
    bound = {str(each): struct.unpack_from("<Q", loaded.content, each.rva)[0] for each in image.imports}
    assert bound == {
        "ntoskrnl.exe!DbgPrint": 0xFFFFF800_00001000,
        "ntoskrnl.exe!NoSuchCall": 0xDEAD000A,
        "WDFLDR.SYS!#5": 0xFFFFF800_00002000,
    }
    assert list(map(str, loaded.missing)) == ["ntoskrnl.exe!NoSuchCall"]
    assert loaded.entry == BASE + 0x5000
    assert loaded.symbol_offset == BASE - PREFERRED
    assert image.layout(BASE, exports).cookie != loaded.cookie


def test_a_given_cookie_makes_a_layout_repeatable() -> None:
    image = DriverImage.load(data_driver().bytes())
    assert image.layout(BASE, exports, cookie=0x1234) == image.layout(BASE, exports, cookie=0x1234)


def test_pages_have_the_rights_of_their_sections() -> None:
    loaded = DriverImage.load(data_driver().bytes()).layout(BASE, exports)
    assert [(int(address - BASE), str(rights)) for address, _, rights in loaded.pages()] == [
        (0x0000, "r--"),
        (0x1000, "r-x"),
        (0x2000, "r--"),
        (0x3000, "rw-"),
        (0x4000, "r--"),
        (0x5000, "r-x"),
        (0x6000, "r--"),
    ]
    assert all(len(data) == 0x1000 for _, data, _ in loaded.pages())
    assert {run.name for run in loaded.runs if run.discardable} == {"INIT", ".reloc"}


def test_sections_on_one_page_share_their_rights() -> None:
    made = MadeUpPe(
        sections=[(b".text", 0x400, b"\xc3" * 16, R | X), (b".data", 0x600, b"\0" * 16, R | W)],
        entry=0x400,
        alignment=0x200,
    )
    loaded = DriverImage.load(made.bytes()).layout(BASE, exports)
    assert [(run.size, run.rights) for run in loaded.runs] == [(0x1000, Rights.parse("rwx"))]


@pytest.mark.parametrize(
    ("bend", "problem"),
    [
        ({"subsystem": 3}, "subsystem Windows console"),
        ({"characteristics": 0x23}, "linked without relocations"),
        ({"sections": [(b".text", 0x1000, b"\xc3", R | W | X)]}, "section .text may be both written and executed"),
        ({"directories": {9: (0x1000, 16)}}, "thread-local storage"),
    ],
)
def test_what_should_be_known_is_told(bend: dict[str, object], problem: str) -> None:
    (told,) = DriverImage.load(MadeUpPe(**bend).bytes()).problems  # type: ignore[arg-type]
    assert problem in told


def test_without_relocations_a_driver_stays_where_it_is() -> None:
    image = DriverImage.load(MadeUpPe(characteristics=0x23).bytes())
    assert image.layout(PREFERRED, exports).base == PREFERRED
    with pytest.raises(BadImage, match="linked without relocations"):
        image.layout(BASE, exports)


@pytest.mark.parametrize("base", [BASE + 0x10, 0x0000_8000_0000_0000, 0x0000_7FFF_FFFF_F000])
def test_a_driver_cannot_stand_anywhere(base: int) -> None:
    with pytest.raises(BadImage, match="is no place for an image"):
        DriverImage.load(MadeUpPe().bytes()).layout(base, exports)


def test_the_report_says_what_is_missing() -> None:
    report = inspect_driver(DriverImage.load(data_driver().bytes(), "made.sys"), exports)
    found = report.to_json()
    assert (report.answer, found["schema"], found["kind"]) == (False, "lab.driver-image/1", "KMDF")
    assert [(each["name"], each["bound"]) for each in found["imports"]] == [  # type: ignore[union-attr,index,call-overload]
        ("DbgPrint", True),
        ("NoSuchCall", False),
        ("#5", True),
    ]
    assert any("NoSuchCall" in problem for problem in report.problems)
    assert inspect_driver(DriverImage.load(MadeUpPe().bytes()), exports).answer


# ------------------------------------------------------------------------------------------------- bad files ------


def with_table(number: int, table: bytes, size: int | None = None) -> MadeUpPe:
    """A driver whose only table is this one, at 0x2000."""
    return MadeUpPe(
        sections=[(b".text", 0x1000, b"\xc3" * 16, R | X), (b".rdata", 0x2000, table, R)],
        directories={number: (0x2000, len(table) if size is None else size)},
    )


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (MadeUpPe(machine=0x14C), "it is for 32-bit x86; only x64 drivers run here"),
        (MadeUpPe(machine=0xAA64), "64-bit ARM"),
        (MadeUpPe(magic=0x10B), "damaged|not PE32"),
        (MadeUpPe(characteristics=0), "marked it as not executable"),
        (MadeUpPe(image_size=0xFFFFFFFF), "asks for 0x100000000 bytes of memory"),
        (MadeUpPe(image_size=0), "asks for 0x0 bytes"),
        (MadeUpPe(image_size=0x1000), "past the end of the image"),
        (MadeUpPe(base=0x1_40000800), "not the start of a page"),
        (MadeUpPe(entry=0), "entry point 0x0 lies outside of every section"),
        (MadeUpPe(sections=[(b".data", 0x1000, b"x", R | W)]), "which is not executable"),
        (MadeUpPe(directories={14: (0x1000, 16)}), ".NET"),
        (MadeUpPe(sections=[(b"a", 0x1000, b"x" * 0x1001, R | X), (b"b", 0x2000, b"x", R)]), "b overlaps"),
        (MadeUpPe(sections=[(b"a", 0x1100, b"x", R | X)], entry=0x1100), "not aligned"),
        (MadeUpPe(sections=[]), "claims 0 sections"),
        (with_table(5, relocations(0x1000), 0xFFFFFFF0), "relocation table lies outside"),
        (with_table(5, relocations(0x2FFC)), "relocates 0x2ffc, outside"),
        (with_table(5, relocations(0x1000, kind=3)), "relocation of type 3"),
        (with_table(5, struct.pack("<2I", 0x1000, 0x7FFFFFF0)), "impossible size 0x7ffffff0"),
        (with_table(5, struct.pack("<2I", 0x1000, 4)), "impossible size 0x4"),
        (with_table(1, imports(0x2000, {b"x.exe": [b"a"] * 9000})), "more than 8192 imports"),
        (with_table(1, imports(0x2000, {b"%d.dll" % i: [b"a"] for i in range(99)})), "more than 64 libraries"),
        (with_table(1, imports(0x2000, {b"x.exe": [b"bad\x01name"]})), "is no name"),
        (
            with_table(1, struct.pack("<5I", 0x2FF8, 0, 0, 0x2100, 0x2FF8) + b"\0" * 236 + b"x.exe\0" + b"\1" * 3834),
            "is no name",
        ),
        (
            with_table(1, struct.pack("<5I", 0xFFFFFFF0, 0, 0, 0x2020, 0x2040) + b"\0" * 12 + b"x.exe\0"),
            "runs out of the image",
        ),
        (with_table(3, struct.pack("<3I", 0x1010, 0x1000, 0x2000)), "out of order or outside"),
        (with_table(3, struct.pack("<3I", 0x1000, 0x1010, 0xFFFFFF00)), "unwind codes at 0xffffff00"),
        (with_table(10, load_config(PREFERRED - 8)), "security cookie at 0x13ffffff8 lies outside"),
        (with_table(10, load_config(PREFERRED + 0x2FF8)), "security cookie"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(made: MadeUpPe, reason: str) -> None:
    with pytest.raises(BadImage, match=reason) as error:
        DriverImage.load(made.bytes(), "bad.sys")
    assert str(error.value).startswith("bad.sys cannot be used as a driver: ")
    assert "\n" not in str(error.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path, "not a file"),
        (tmp_path / "none.sys", "No such file"),
        (Path("/dev/zero"), "not a"),
    ]:
        with pytest.raises(BadImage, match=reason):
            DriverImage.load(path)
    with pytest.raises(BadImage, match="does not begin as an executable"):
        DriverImage.load(b"#include <ntddk.h>")
    with (tmp_path / "huge.sys").open("wb") as huge:
        huge.truncate(1 << 40)
    with pytest.raises(BadImage, match="larger than 64 MiB"):
        DriverImage.load(tmp_path / "huge.sys")


# ------------------------------------------------------------------------------------------- damaged files --------


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    built = [build([SAMPLES / name], folder / f"{name}.sys").path for name in ("seh.c", "hello.cpp")]
    return [data_driver().bytes(), *(path.read_bytes() for path in built)]


def verdict(data: bytes) -> str:
    """All that is ever done with a file: why it was refused, or nothing."""
    try:
        image = DriverImage.load(data)
        inspect_driver(image, exports)
        for rva in (0, image.entry, image.size - 1):
            image.locate(rva)
        image.layout(BASE, exports)
    except LabError as error:
        return str(error)
    return ""


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_gives_more_than_an_error(seeds: list[bytes], data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(seeds)))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    # Headers and tables are a small part of a file; half of the damage is to hit them.
    places = st.one_of(st.integers(0, 0x400), st.integers(0, len(damaged)))
    for _ in range(data.draw(st.integers(0, 8))):
        place = data.draw(places)
        if place < len(damaged):
            damaged[place] = data.draw(st.sampled_from([0x00, 0x01, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    started = time.monotonic()
    assert "\n" not in verdict(bytes(damaged))
    assert time.monotonic() - started < 10


def test_tables_of_the_largest_size_end_soon() -> None:
    big = 16 << 20
    for number, table in [
        (5, struct.pack("<2I", 0x1000, 8) * (big // 8)),
        (5, struct.pack("<2I", 0x1000, big) + struct.pack("<H", 10 << 12) * ((big - 8) // 2)),
        (3, b"".join(struct.pack("<3I", 0x1000 + i, 0x1001 + i, 0x1000) for i in range(0x10000))),
        (
            1,
            struct.pack("<5I", 0x2100, 0, 0, 0x2020, 0x2100)
            + b"\0" * 12
            + b"x.exe".ljust(224, b"\0")
            + struct.pack("<Q", 0x201E) * (big // 8),
        ),
    ]:
        started = time.monotonic()
        assert "\n" not in verdict(with_table(number, table).bytes())
        assert time.monotonic() - started < 20


# ------------------------------------------------------------------------------------------ function and line -----


@pytest.mark.parametrize("flags", [[], ["-gdwarf-5"], ["-gdwarf-2"]])
def test_functions_and_lines_are_found(tmp_path: Path, flags: list[str]) -> None:
    image = DriverImage.load(build([SAMPLES / "hello.cpp"], tmp_path / "hello.sys", flags=flags).path)
    text = image.sections[0]
    places = [image.locate(rva) for rva in range(text.rva, text.end)]
    assert str(image.locate(image.entry)) == "DriverEntry+0x0 (hello.cpp:65)"
    functions = {place.function for place in places if place}
    assert {"DriverEntry", "Unload", "Hello::Text", "Locked::Locked", "Locked::~Locked", "operator new"} <= functions
    lines = (SAMPLES / "hello.cpp").read_text().splitlines()
    wanted = next(number for number, line in enumerate(lines, 1) if 'return "hello from C++"' in line)
    assert ("hello.cpp", wanted) in {(place.file, place.line) for place in places if place}


def test_symbols_stand_in_for_lines() -> None:
    code = b"\xc3" * 32
    made = bytearray(MadeUpPe(sections=[(b".text", 0x1000, code, R | X)]).bytes())
    table = len(made)
    names = b"DriverEntry\0"
    made += struct.pack("<IIIhHBB", 0, 4, 0, 1, 0x20, 2, 0)  # its name is in the string table
    made += struct.pack("<8sIhHBB", b"Helper", 16, 1, 0x20, 3, 0)
    made += struct.pack("<I", 4 + len(names)) + names
    struct.pack_into("<2I", made, 0x40 + 12, table, 2)
    image = DriverImage.load(bytes(made))
    assert [str(image.locate(rva)) for rva in (0x1000, 0x100F, 0x1010, 0x2000)] == [
        "DriverEntry+0x0",
        "DriverEntry+0xf",
        "Helper+0x0",
        "None",
    ]
    assert not image.has_lines


def test_circles_in_debug_information_are_not_walked(tmp_path: Path) -> None:
    path = build([SAMPLES / "remap.c"], tmp_path / "remap.sys").path
    image = DriverImage.load(path)
    info = next(each for each in image.sections if each.name == ".debug_info")
    for filler in (0x00, 0x01, 0x02, 0x80, 0xFF):
        data = bytearray(path.read_bytes())
        data[info.offset + 0x80 : info.offset + info.size] = bytes([filler]) * (info.size - 0x80)
        started = time.monotonic()
        DriverImage.load(bytes(data)).locate(image.entry)
        assert time.monotonic() - started < 10
