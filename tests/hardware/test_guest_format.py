"""DbgPrint and its format language: what each conversion writes to the log, as Microsoft documents it."""

from __future__ import annotations

import struct

import pytest

from lab.kernel.log import read_log
from lab.machine.mailbox import Argument
from tests.hardware.probe import PAGE, Probe

MINUS_ONE = (1 << 64) - 1
ADDRESS = 0xFFFF_FA80_0123_ABCD


def wide(text: str) -> bytes:
    """A zero-terminated string of WCHARs."""
    return (text + "\0").encode("utf-16le")


# --------------------------------------------------------------------------------------------------------- numbers ----


@pytest.mark.parametrize(
    ("format_", "argument", "text"),
    [
        ("%d", 42, "42"),
        ("%i", MINUS_ONE, "-1"),
        ("%d", 0x1_0000_0005, "5"),
        ("%d", 0x8000_0000, "-2147483648"),
        ("%u", MINUS_ONE, "4294967295"),
        ("%x", 0xDEADBEEF, "deadbeef"),
        ("%X", 0xDEADBEEF, "DEADBEEF"),
        ("%o", 0o755, "755"),
        ("%ld", 0x1_FFFF_FFFF, "-1"),
        ("%lu", MINUS_ONE, "4294967295"),
        ("%lx", ADDRESS, "123abcd"),
        ("%I32x", ADDRESS, "123abcd"),
        ("%lld", MINUS_ONE, "-1"),
        ("%llu", MINUS_ONE, "18446744073709551615"),
        ("%I64d", 1 << 63, "-9223372036854775808"),
        ("%I64u", MINUS_ONE, "18446744073709551615"),
        ("%I64x", ADDRESS, "fffffa800123abcd"),
        ("%I64X", ADDRESS, "FFFFFA800123ABCD"),
        ("%I64o", MINUS_ONE, "1777777777777777777777"),
        ("%Ix", ADDRESS, "fffffa800123abcd"),
        ("%zx", ADDRESS, "fffffa800123abcd"),
        ("%tx", ADDRESS, "fffffa800123abcd"),
        ("%jx", ADDRESS, "fffffa800123abcd"),
        ("%hd", 0x1_FFFE, "-2"),
        ("%hu", 0x1_FFFE, "65534"),
        ("%hhd", 0x1FF, "-1"),
        ("%hhx", 0x1FF, "ff"),
        ("%p", ADDRESS, "FFFFFA800123ABCD"),
        ("%p", 0x10, "0000000000000010"),
        ("%p", 0, "0000000000000000"),
    ],
)
def test_numbers_are_cut_to_the_size_that_the_format_names(
    guest: Probe, format_: str, argument: int, text: str
) -> None:
    assert guest.printed("DbgPrint", f"[{format_}]", argument) == f"[{text}]"


@pytest.mark.parametrize(
    ("format_", "argument", "text"),
    [
        ("%5d", 42, "   42"),
        ("%-5d", 42, "42   "),
        ("%05d", 42, "00042"),
        ("%05d", MINUS_ONE, "-0001"),
        ("%-05d", 42, "42   "),
        ("%+d", 42, "+42"),
        ("% d", 42, " 42"),
        ("%+ d", 42, "+42"),
        ("%+d", MINUS_ONE, "-1"),
        ("%.4d", 42, "0042"),
        ("%.1d", 42, "42"),
        ("%6.4d", 42, "  0042"),
        ("%-6.4d", 42, "0042  "),
        ("%06.4d", 42, "  0042"),
        ("%.0d", 0, ""),
        ("%#x", 0x2A, "0x2a"),
        ("%#X", 0x2A, "0X2A"),
        ("%#x", 0, "0"),
        ("%#08x", 0x2A, "0x00002a"),
        ("%#o", 8, "010"),
        ("%#o", 0, "0"),
        ("%20p", ADDRESS, "    FFFFFA800123ABCD"),
        ("%-20p", ADDRESS, "FFFFFA800123ABCD    "),
        ("%08lx", ADDRESS, "0123abcd"),
        ("%016I64x", 0x1234, "0000000000001234"),
    ],
)
def test_flags_width_and_precision(guest: Probe, format_: str, argument: int, text: str) -> None:
    assert guest.printed("DbgPrint", f"[{format_}]", argument) == f"[{text}]"


@pytest.mark.parametrize(
    ("format_", "arguments", "text"),
    [
        ("%*d", (5, 42), "   42"),
        ("%*d", (MINUS_ONE - 4, 42), "42   "),
        ("%-*d", (5, 42), "42   "),
        ("%.*d", (4, 42), "0042"),
        ("%.*d", (MINUS_ONE, 42), "42"),
        ("%*.*d", (6, 4, 42), "  0042"),
        ("%.*s", (2, "abcdef"), "ab"),
    ],
)
def test_star_takes_its_number_from_the_arguments(
    guest: Probe, format_: str, arguments: tuple[Argument, ...], text: str
) -> None:
    assert guest.printed("DbgPrint", f"[{format_}]", *arguments) == f"[{text}]"


def test_floating_point_is_shown_as_its_bits(guest: Probe) -> None:
    (bits,) = struct.unpack("<Q", struct.pack("<d", 1.5))

    assert guest.printed("DbgPrint", "%f %s", bits, "next") == "0x3ff8000000000000 next"


# ------------------------------------------------------------------------------------------------------------ text ----


@pytest.mark.parametrize(
    ("format_", "argument", "text"),
    [
        ("%s", "hello", "hello"),
        ("%s", "", ""),
        ("%s", 0, "(null)"),
        ("%.3s", "hello", "hel"),
        ("%.3s", 0, "(nu"),
        ("%8s", "hello", "   hello"),
        ("%-8s", "hello", "hello   "),
        ("%08s", "hello", "000hello"),
        ("%-8.2s", "hello", "he      "),
        ("%hs", "hello", "hello"),
        ("%hS", "hello", "hello"),
        ("%ws", wide("hello"), "hello"),
        ("%ls", wide("hello"), "hello"),
        ("%S", wide("hello"), "hello"),
        ("%ws", 0, "(null)"),
        ("%.3ws", wide("hello"), "hel"),
        ("%8ws", wide("hello"), "   hello"),
        ("%ws", wide("žluťoučký kůň"), "žluťoučký kůň"),
        ("%ws", wide("日本 €"), "日本 €"),
        ("%ws", wide("\U0001f600!"), "\U0001f600!"),
        ("%ws", b"\x00\xd8A\x00\x00\x00", "\ufffdA"),
        ("%c", ord("A"), "A"),
        ("%3c", ord("A"), "  A"),
        ("%C", 0x20AC, "€"),
        ("%wc", 0x20AC, "€"),
        ("%lc", 0x20AC, "€"),
        ("%hC", ord("A"), "A"),
    ],
)
def test_text(guest: Probe, format_: str, argument: Argument, text: str) -> None:
    assert guest.printed("DbgPrint", f"[{format_}]", argument) == f"[{text}]"


@pytest.mark.parametrize(
    ("format_", "content", "text"),
    [
        ("%wZ", "žluť".encode("utf-16le"), "žluť"),
        ("%lZ", "wide".encode("utf-16le"), "wide"),
        ("%Z", b"ansi", "ansi"),
        ("%8wZ", "wide".encode("utf-16le"), "    wide"),
        ("%-8Z", b"ansi", "ansi    "),
        ("%wZ", b"", ""),
    ],
)
def test_counted_strings_end_by_their_length(guest: Probe, format_: str, content: bytes, text: str) -> None:
    with guest.pool(100) as buffer:
        guest.write(buffer, content + b"and more\0\0")
        string = struct.pack("<HHxxxxQ", len(content), 90, buffer)

        assert guest.printed("DbgPrint", f"[{format_}]", string) == f"[{text}]"


@pytest.mark.parametrize("format_", ["%wZ", "%Z"])
def test_counted_strings_that_are_not_there(guest: Probe, format_: str) -> None:
    assert guest.printed("DbgPrint", format_, 0) == "(null)"
    assert guest.printed("DbgPrint", format_, struct.pack("<HHxxxxQ", 4, 4, 0)) == "(null)"


@pytest.mark.parametrize(
    ("format_", "text"),
    [("100%%", "100%"), ("%", ""), ("a%", "a"), ("%q!", "q!"), ("%5", ""), ("%-+ #0", ""), ("%%d", "%d"), ("", "")],
)
def test_formats_without_arguments(guest: Probe, format_: str, text: str) -> None:
    assert guest.printed("DbgPrint", format_) == text


def test_n_takes_its_argument_and_writes_nowhere(guest: Probe) -> None:
    target = bytearray(b"\xaa" * 8)

    assert guest.printed("DbgPrint", "%d%n%d", 1, target, 2) == "12"
    assert target == b"\xaa" * 8


# ------------------------------------------------------------------------------------------------------- the calls ----


def test_arguments_beyond_the_registers_come_from_the_stack(guest: Probe) -> None:
    numbers = range(1, 12)

    assert guest.printed("DbgPrint", "%d " * 11, *numbers) == "".join(f"{number} " for number in numbers)


def test_strings_and_numbers_mix(guest: Probe) -> None:
    text = guest.printed("DbgPrint", "%s=%p %ws %I64u %c\n", "va", ADDRESS, wide("wide"), 1 << 40, ord("!"))

    assert text == "va=FFFFFA800123ABCD wide 1099511627776 !\n"


@pytest.mark.parametrize(("component", "level"), [(77, 0), (101, 3), (0xFFFF_FFFF, 0xFFFF_FFFF), (0, 31)])
def test_every_component_and_level_is_printed(guest: Probe, component: int, level: int) -> None:
    assert guest.printed("DbgPrintEx", component, level, "%s %d", "level", level & 0xFF) == f"level {level & 0xFF}"


def test_list_of_arguments(guest: Probe) -> None:
    arguments = struct.pack("<QQ", 7, ADDRESS)

    assert guest.printed("vDbgPrintEx", 77, 0, "%d %p", arguments) == "7 FFFFFA800123ABCD"


def test_output_is_cut_at_512_characters(guest: Probe) -> None:
    assert guest.printed("DbgPrint", "%600d", 5) == " " * 512
    assert guest.printed("DbgPrint", "%511d%wc", 5, 0x20AC) == " " * 510 + "5", "half a character is none"


def test_status_is_success(guest: Probe) -> None:
    assert guest.call("DbgPrint", "x") == guest.call("DbgPrintEx", 77, 0, "x") == 0


@pytest.mark.parametrize("format_", ["%s", "%ws", "%wZ"])
def test_bad_pointer_faults_as_it_does_in_windows(guest: Probe, format_: str) -> None:
    exception = guest.fault("DbgPrint", format_, PAGE)

    assert exception.vector == 14
    assert PAGE <= exception.cr2 < PAGE + 16


def test_what_is_printed_is_in_ram_and_on_the_line(guest: Probe) -> None:
    guest.call("DbgPrint", "\none line\n")
    guest.call("DbgPrint", "and %s\n", "another")

    assert read_log(guest.guest).lines[-2:] == ("one line", "and another")
    assert guest.machine.log.endswith("one line\nand another\n")


def test_log_forgets_its_beginning_and_nothing_else(fresh_guest: Probe) -> None:
    guest = fresh_guest
    for number in range(1200):
        guest.call("DbgPrint", "%-59d\n", number)

    log = read_log(guest.guest)

    assert log.lost == log.written - guest.kernel.constant("LAB_LOG_SIZE") > 0
    assert log.lines[-1] == f"{1199:<59d}"
    numbers = [int(line) for line in log.lines[1:]]
    assert numbers == list(range(numbers[0], 1200))
