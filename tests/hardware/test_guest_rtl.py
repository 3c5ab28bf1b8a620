"""The run-time library: memory and strings, compared with what Python makes of the same calls."""

from __future__ import annotations

import random
import struct

import pytest

from tests.hardware.probe import NONPAGED_NX, PAGE, Probe

SIZE = 2 * PAGE
TEXT = "héş€lo"


@pytest.mark.parametrize("seed", range(2))
def test_memory_calls_do_what_python_does(guest: Probe, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311
    mirror = bytearray(dice.randbytes(SIZE))
    with guest.pool(SIZE, NONPAGED_NX) as base:
        guest.write(base, bytes(mirror))
        for _ in range(400):
            to, source = dice.randrange(600), dice.randrange(600)
            size = dice.choice([0, 1, 7, 8, 9, dice.randrange(100), dice.randrange(7000)])
            match dice.randrange(5):
                case 0:
                    guest.call("RtlMoveMemory", base + to, base + source, size)
                    mirror[to : to + size] = mirror[source : source + size]
                case 1:
                    apart = min(size, abs(to - source))  # what overlaps is undefined
                    guest.call("RtlCopyMemory", base + to, base + source, apart)
                    mirror[to : to + apart] = mirror[source : source + apart]
                case 2:
                    guest.call("RtlZeroMemory", base + to, size % 50)
                    mirror[to : to + size % 50] = bytes(size % 50)
                case 3:
                    byte = dice.randrange(256)
                    guest.call("RtlFillMemory", base + to, size % 50, byte)
                    mirror[to : to + size % 50] = bytes([byte]) * (size % 50)
                case 4:
                    left, right = mirror[to : to + size], mirror[source : source + size]
                    equal = next((i for i in range(size) if left[i] != right[i]), size)
                    assert guest.call("RtlCompareMemory", base + to, base + source, size) == equal
        assert guest.read(base, SIZE) == mirror


def test_equal_memory_is_equal_to_its_end(guest: Probe) -> None:
    with guest.pool(64) as first, guest.pool(64) as second:
        for size in range(33):
            assert guest.call("RtlCompareMemory", first, second, size) == size
        guest.call("RtlFillMemory", second + 13, 1, 0)
        assert guest.call("RtlCompareMemory", first, second, 32) == 13


def test_memory_calls_stop_at_the_byte_that_is_not_there(guest: Probe) -> None:
    with guest.pool(PAGE) as page:
        end = page + PAGE
        assert guest.fault("RtlZeroMemory", end - 16, 17).cr2 == end
        assert guest.fault("RtlCopyMemory", page, end - 16, 17).cr2 == end
        guest.call("RtlZeroMemory", end - 17, 17)
        guest.call("RtlCompareMemory", end - 17, page, 17)


# --------------------------------------------------------------------------------------------------------- strings ----


def string(guest: Probe, address: int) -> tuple[int, int, int]:
    """Length, MaximumLength and Buffer of a counted string."""
    length, maximum, buffer = struct.unpack("<HHxxxxQ", guest.read(address, 16))
    return length, maximum, buffer


def test_counted_strings_begin_from_terminated_ones(guest: Probe) -> None:
    with guest.pool(16) as counted, guest.pool(100) as text:
        guest.write(text, (TEXT + "\0").encode("utf-16le"))
        guest.call("RtlInitUnicodeString", counted, text)
        assert string(guest, counted) == (2 * len(TEXT), 2 * len(TEXT) + 2, text)

        guest.write(text, b"ansi\0")
        guest.call("RtlInitAnsiString", counted, text)
        assert string(guest, counted) == (4, 5, text)


@pytest.mark.parametrize("name", ["RtlInitUnicodeString", "RtlInitAnsiString"])
def test_null_is_an_empty_string(guest: Probe, name: str) -> None:
    with guest.pool(16) as counted:
        guest.call(name, counted, 0)
        assert string(guest, counted) == (0, 0, 0)


def test_longest_string_is_what_16_bits_can_say(guest: Probe) -> None:
    with guest.pool(16) as counted, guest.pool(80000) as text:
        guest.call("RtlFillMemory", text, 79998, ord("x"))
        guest.call("RtlZeroMemory", text + 79998, 2)

        guest.call("RtlInitUnicodeString", counted, text)

        length, maximum, buffer = string(guest, counted)
        assert buffer == text
        assert length % 2 == 0
        assert 65000 < length <= maximum <= 65535


@pytest.mark.parametrize("room", [0, 1, 4, 2 * len(TEXT) - 2, 2 * len(TEXT), 2 * len(TEXT) + 2, 40])
def test_copy_takes_what_fits_and_a_zero_where_there_is_room(guest: Probe, room: int) -> None:
    content = TEXT.encode("utf-16le")
    with guest.pool(16) as target, guest.pool(16) as source, guest.pool(64) as buffer, guest.pool(64) as text:
        guest.write(text, content)
        guest.write(buffer, b"#" * 64)
        guest.write(source, struct.pack("<HHxxxxQ", len(content), len(content), text))
        guest.write(target, struct.pack("<HHxxxxQ", 0, room, buffer))

        guest.call("RtlCopyUnicodeString", target, source)

        length = min(room, len(content))
        zero = b"\0\0" if length + 2 <= room else b""
        assert string(guest, target) == (length, room, buffer)
        assert guest.read(buffer, 64) == (content[:length] + zero).ljust(64, b"#")


def test_copy_of_nothing_empties(guest: Probe) -> None:
    with guest.pool(16) as target:
        guest.write(target, struct.pack("<HHxxxxQ", 4, 4, target))
        guest.call("RtlCopyUnicodeString", target, 0)
        assert string(guest, target)[:2] == (0, 4)
