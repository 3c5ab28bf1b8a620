"""Assembly -> machine code: what comes out, and where and why it does not."""

from __future__ import annotations

import pytest

from lab.machine.assembler import AssemblyError, assemble
from lab.machine.disassembly import disassemble

HERE = 0xFFFFFB8000000000

SYMBOLS = {"KeBugCheckEx": 0xFFFFF80000119000, "lab_mailbox": 0xFFFFF8000014E320, "small": 0x1000}


def instructions(source: str) -> list[str]:
    return [str(each) for each in disassemble(assemble(source, HERE, SYMBOLS.get), HERE)]


def complaint(source: str) -> AssemblyError:
    with pytest.raises(AssemblyError) as caught:
        assemble(source, HERE, SYMBOLS.get)
    return caught.value


def test_statements_stand_on_lines_and_between_semicolons() -> None:
    source = "mov eax, 1 # the first\n\n  again: dec eax; // nothing here\n jnz again ; ret"
    assert instructions(source) == ["mov eax, 1", "dec eax", "jne 0xfffffb8000000005", "ret"]


def test_the_dot_is_the_present_place() -> None:
    assert assemble("cli; jmp .", HERE) == bytes.fromhex("faebfe")


def test_symbols_are_numbers() -> None:
    assert instructions("mov rax, KeBugCheckEx") == ["movabs rax, 0xfffff80000119000"]
    assert instructions("mov rax, [lab_mailbox + 0x10]") == ["movabs rax, qword ptr [0xfffff8000014e330]"]
    assert instructions("mov rbx, [small-8]") == ["mov rbx, qword ptr [0xff8]"]
    assert instructions("lock add qword ptr [small], 1") == ["lock add qword ptr [0x1000], 1"]


def test_a_label_comes_before_a_symbol_of_the_same_name() -> None:
    assert instructions("small: jmp small") == ["jmp 0xfffffb8000000000"]


def test_data_and_texts_are_not_taken_apart() -> None:
    assert assemble('.ascii "small; 1"; .byte 7', HERE, SYMBOLS.get) == b"small; 1\x07"


@pytest.mark.parametrize("missing", ["endbr64", "sysretq"])
def test_what_keystone_lacks_is_told_with_its_bytes(missing: str) -> None:
    error = complaint(f"nop; {missing}")
    assert "lacks this instruction; write .byte" in error.reason
    # The way out that is named works.
    instead = error.reason.partition("write ")[2]
    assert instructions(instead) == [missing]


@pytest.mark.parametrize(
    ("source", "line", "column", "part", "reason"),
    [
        ("nop; bogus rax", 1, 6, "bogus", "no such instruction"),
        ("nop\n  mov [rdi], 1", 2, 3, "mov [rdi], 1", "a size such as"),
        ("mov rax, nobody", 1, 10, "nobody", "no register, label or symbol"),
        ("nop\nnop; mov rax, [rdi", 2, 6, "mov rax, [rdi", "brackets"),
        ("1: jmp 1b", 1, 1, "1:", "begins with a letter"),
        ("mov rax, 0x1ffffffffffffffff", 1, 1, "mov rax, 0x1ffffffffffffffff", "out of range"),
        ("call KeBugCheckEx", 1, 1, "call KeBugCheckEx", "out of reach"),
        ("# nothing", 1, 1, "# nothing", "no instruction"),
    ],
)
def test_an_error_names_the_place_and_the_reason(source: str, line: int, column: int, part: str, reason: str) -> None:
    error = complaint(source)
    assert (error.line, error.column, error.statement) == (line, column, part)
    assert reason in error.reason
    assert str(error).startswith(f"line {line}, column {column}: ")


@pytest.mark.parametrize(
    "source",
    ["mov rbx, [lab_mailbox]", "push KeBugCheckEx", "lea rax, [rip + lab_mailbox]", "jmp qword ptr [lab_mailbox]"],
)
def test_a_number_is_never_cut_to_fit(source: str) -> None:
    assert "does not fit" in complaint(source).reason
