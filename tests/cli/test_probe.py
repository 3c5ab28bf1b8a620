"""`lab probe`: on the background machine or on one of its own, as text and JSON, and its exit codes."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Lab


def test_a_probe_needs_no_machine(lab: Lab) -> None:
    outcome = lab("probe", "mov eax, 2; add rax, rbx", "--reg", "rbx=40")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "  +0x0  b8 02 00 00 00  mov eax, 2",
        "  +0x5  48 01 d8        add rax, rbx",
        "",
        "  rax    0x0 → 0x2a",
    ]
    assert lab("ps", "--json").json["machines"] == []


def test_an_exception_is_a_no_with_the_walk_that_explains_it(lab: Lab) -> None:
    outcome = lab("probe", "mov rax, [rdi]", "--reg", "rdi=0x1234", "--user")
    assert outcome.code == 1
    assert "→ +0x0  48 8b 07  mov rax, qword ptr [rdi]" in outcome.out
    assert "#PF at 0x0000000000001234: user read, page not present (error code 0x4), by +0x0 mov" in outcome.out
    assert "=> fault: PML4 bit 0 (P) is 0: not present" in outcome.out


def test_json(lab: Lab) -> None:
    assert lab("probe", "xor eax, eax", "--json").json["outcome"] == "ok"
    outcome = lab("probe", "mov byte ptr [rdi], 1", "--reg", "rdi=KeBugCheckEx", "--user", "--json")
    assert outcome.code == 1
    found = outcome.json
    assert (found["schema"], found["outcome"], found["cpl"]) == ("lab.probe/1", "exception", 3)
    exception = found["exception"]
    assert (exception["vector"], exception["name"], exception["bits"]) == (14, "#PF", ["P", "W", "U"])
    assert exception["error_code"] == "0x7"
    assert exception["cr2"] == found["registers"]["rdi"] == found["walk"]["address"]
    assert exception["rip"] == found["registers"]["rip"]


def test_on_a_background_machine_the_views_work_as_before(lab: Lab) -> None:
    assert lab("boot").code == 0
    before, before_as_text = lab("map", "--json").out, lab("map").out
    assert lab("probe", "mov rax, [lab_mailbox]", "--json").json["registers"]["rax"] == "0x62616c"
    assert lab("probe", "mov rax, cr3; mov rbx, [rsp]", "--user").code == 1
    assert lab("map", "--json").out == before
    assert lab("walk", "cr2").code in {0, 1}
    assert lab("probe", "nop", "--cr3", "cr3").code == 0
    assert lab("probe", "nop", "--cr3", "cr3+0x18").code == 0, "a value of CR3 with PWT and PCD"
    assert lab("walk", "rip", "--cr3", "cr3+0x18").out == lab("walk", "rip").out
    assert lab("map", "--cr3", "cr3+0x18").out == before_as_text
    # One of its own, although one runs: asked for, or described.
    assert lab("probe", "nop", "--fresh").code == 0
    assert lab("probe", "nop", "--ram", "32M").code == 0
    assert lab("probe", "nop", "--fresh", "--name", "lab").code == 2
    assert lab("stop").code == 0


def test_controls(lab: Lab) -> None:
    write = ("probe", "mov rax, [rdi]; mov [rdi], rax", "--reg", "rdi=KeBugCheckEx")
    assert lab(*write).code == 1
    assert lab(*write, "--control", "CR0.WP=0").code == 0
    assert lab("probe", "rdpkru", "--pkru", "0x30", "--json").json["registers"]["rax"] == "0x30"


def test_an_endless_probe_is_exit_code_4(lab: Lab) -> None:
    outcome = lab("probe", "cli; jmp .", "--timeout", "0.1")
    assert outcome.code == 4
    assert outcome.err.startswith("lab: the probe did not end within 0.1 s: it was at +0x1 jmp")


def test_assembly_from_stdin(lab: Lab) -> None:
    assert lab("probe", "-", "--json", stdin="mov eax, 1\nmov ebx, 2\n").json["registers"]["rbx"] == "0x2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nop; bogus",), "line 1, column 6: 'bogus': no such instruction"),
        (("endbr64",), "write .byte 0xf3, 0x0f, 0x1e, 0xfa"),
        (("nop", "--reg", "user=1"), "no register of a probe"),
        (("nop", "--reg", "rdi"), "not NAME=ADDR"),
        (("nop", "--reg", "rdi=nobody"), "'nobody' is not an address here"),
        (("nop", "--control", "CR0.WP"), "not BIT=0 or BIT=1"),
        (("nop", "--control", "CR4.LA57=1"), "cannot choose 'CR4.LA57'"),
    ],
)
def test_what_cannot_be_asked_is_exit_code_2(lab: Lab, arguments: tuple[str, ...], message: str) -> None:
    outcome = lab("probe", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
