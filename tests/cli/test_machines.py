"""Background machines and what is asked of them: boot, ps, views, call, shell, reboot, stop, and their exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Lab

SHARED_DATA = "0xfffff78000000000"
NULL_PAGE = "0x10"


@pytest.fixture(scope="module")
def running(lab: Lab) -> Iterator[Lab]:
    assert lab("boot").code == 0
    yield lab
    assert lab("stop").code == 0


def test_ps_shows_the_machine_with_the_paths_others_need(running: Lab) -> None:
    (machine,) = running("ps", "--json").json["machines"]

    assert machine["name"] == "lab"
    assert machine["state"] == "ready"
    assert {"pid", "qmp", "gdb", "ram"} <= machine.keys()


def test_walk_of_a_mapped_address_ends_with_0_and_names_every_level(running: Lab) -> None:
    outcome = running("walk", SHARED_DATA, "--json")

    walk = outcome.json
    assert outcome.code == 0
    assert walk["schema"] == "lab.walk/1"
    assert walk["outcome"] == "mapped"
    assert [step["level"] for step in walk["steps"]] == ["PML4", "PDPT", "PD", "PT"]
    assert walk["access"] == {"supervisor": "r--", "user": "---"}


def test_walk_of_the_null_page_ends_with_1_and_names_the_level_and_bit(running: Lab) -> None:
    outcome = running("walk", NULL_PAGE, "--json")

    assert outcome.code == 1
    assert outcome.json["outcome"] == "fault"
    assert outcome.json["fault"]["bit"] == 0


def test_walk_in_the_style_of_windbg_shows_the_self_map_addresses(running: Lab) -> None:
    text = running("walk", "0xfffff6fb7dbed000", "--style", "windbg").out

    assert "PXE at FFFFF6FB7DBEDF68" in text
    assert "PTE at" in text


@pytest.mark.parametrize(
    "view",
    ["map", "regs", "pool", "mdl", "frames", "symbols", "log", "table cr3", "aliases rip", "mem rsp", "walk rip"],
)
def test_every_view_prints_text_and_json(running: Lab, view: str) -> None:
    words = view.split()

    text, data = running(*words), running(*words, "--json")

    assert (text.code, data.code) == (0, 0), text.err + data.err
    assert text.out.strip()
    assert data.json["schema"] == f"lab.{words[0]}/1"


def test_a_view_writes_a_page_and_a_picture_that_ask_nothing_of_the_network(running: Lab, tmp_path: Path) -> None:
    page, picture = tmp_path / "walk.html", tmp_path / "walk.svg"

    outcome = running("walk", NULL_PAGE, "--html", str(page), "--svg", str(picture))

    assert (outcome.code, outcome.out) == (1, "")
    assert picture.read_text().startswith("<svg")
    assert "bit 0 (P) is 0" in page.read_text()
    assert not [text for text in (page.read_text(), picture.read_text()) if "https:" in text]


def test_a_file_that_cannot_be_written_is_named(running: Lab, tmp_path: Path) -> None:
    outcome = running("walk", "rip", "--svg", str(tmp_path / "no" / "such" / "folder.svg"))

    assert outcome.code == 2
    assert "folder.svg" in outcome.err


def test_call_allocates_and_a_view_finds_the_block_by_its_tag(running: Lab) -> None:
    called = running("call", "ExAllocatePoolWithTag", "NonPagedPoolNx", "100", "Seek", "--json").json

    found = running("walk", "pool:Seek", "--json").json
    freed = running("call", "ExFreePoolWithTag", "pool:Seek", "Seek")

    assert found["address"] == called["result"]
    assert freed.code == 0
    assert running("walk", "pool:Seek").code == 2


def test_a_fault_in_a_call_is_shown_and_the_guest_lives_on(running: Lab) -> None:
    outcome = running("call", "read_u64", NULL_PAGE, "--json")

    assert outcome.code == 1
    assert outcome.json["exception"]["name"] == "#PF"
    assert outcome.json["exception"]["cr2"] == NULL_PAGE
    assert running("call", "lab_ping", "41", "--json").json["result"] == "0x2a"


def test_a_status_raised_in_a_call_is_told_by_its_name(running: Lab) -> None:
    outcome = running("call", "ExRaiseStatus", "0xc0000005")

    assert outcome.code == 1
    assert outcome.out.startswith("raised STATUS_ACCESS_VIOLATION (0xc0000005), at rip 0x")
    raised = running("call", "ExRaiseStatus", "STATUS_ACCESS_VIOLATION", "--json").json["exception"]
    assert (raised["name"], raised["error_code"]) == ("STATUS_ACCESS_VIOLATION", "0xc0000005")
    assert running("call", "ExRaiseStatus", "0xc0de0001").out.startswith("raised 0xc0de0001, at rip 0x")


def test_an_mdl_is_itself_where_a_function_takes_one(running: Lab) -> None:
    for words in (
        "ExAllocatePoolWithTag NonPagedPoolNx 4096 Lab1",
        "IoAllocateMdl pool:Lab1 4096 0 0 0",
        "MmBuildMdlForNonPagedPool mdl:0",
        "IoFreeMdl mdl:0",
    ):
        assert running("call", *words.split()).code == 0

    assert running("mdl", "--json").json["mdls"] == []
    assert running("call", "ExFreePoolWithTag", "pool:Lab1", "Lab1").code == 0, "the described page is still there"


def test_a_tag_may_look_like_a_number_or_a_name(running: Lab) -> None:
    for tag in ("1abc", "PT", "'12'"):
        block = running("call", "ExAllocatePoolWithTag", "NonPagedPoolNx", "100", tag, "--json").json["result"]
        assert running("walk", f"pool:{tag.strip(chr(39))}", "--json").json["address"] == block
        assert running("call", "ExFreePoolWithTag", block, tag).code == 0


def test_a_virtual_address_is_translated_where_a_physical_one_is_taken(running: Lab) -> None:
    physical = running("walk", "lab_mailbox", "--json").json["physical"]

    mapped = running("call", "MmMapIoSpace", "lab_mailbox", "8", "MmCached", "--json").json["result"]

    assert running("walk", mapped, "--json").json["physical"] == physical
    assert running("call", "MmUnmapIoSpace", mapped, "8").code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("IoAllocateMdl 0xfffffa8040000000 0x100001000 0 0 0", "Length (ULONG) has 32 bits; 0x100001000 does not fit"),
        ("ExAllocatePool 0 0x1ffffffffffffffff", "NumberOfBytes (SIZE_T) has 64 bits"),
        ("lab_ping -- -0x8000000000000001", "argument (u64) has 64 bits"),
        ("lab_ping 1e3", "'1e3' is neither a number nor a name here; a hexadecimal number begins with 0x"),
        ("read_u64 pa:0x1000", "address takes a virtual address, and pa:0x1000 is a physical one; try: lab aliases"),
        ("ExFreePool pa:0x1000", "takes a virtual address"),
        ("ExAllocatePoolWithTag 0 64 Lab12", "'Lab12' is no pool tag"),
        ("Nope", "the kernel exports no 'Nope'"),
    ],
)
def test_what_would_not_arrive_as_it_was_typed_is_a_usage_error(running: Lab, words: str, says: str) -> None:
    outcome = running("call", *words.split())

    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err


def test_numbers_may_be_as_large_as_their_type(running: Lab) -> None:
    assert running("call", "--json", "lab_ping", "--", "-2").json["result"] == "0xffffffffffffffff"
    assert running("call", "lab_ping", "0xfffffffffffffffe", "--json").json["result"] == "0xffffffffffffffff"
    assert running("call", "read_u64", "fffff780`00000000").code == 0, "an address may go without 0x"
    assert running("call", "lab_ping", "lab_mailbox+8").code == 0


def test_shell_runs_a_script_from_stdin_with_the_machine_at_hand(running: Lab) -> None:
    outcome = running("shell", stdin="print(machine.call.lab_ping(1).result, hex(va(4096)))")

    assert outcome.out == "2 0x1000\n"


@pytest.mark.parametrize(
    ("script", "code", "err"),
    [
        ("import sys; sys.exit('bye')", 1, "bye\n"),
        ("raise SystemExit(300)", 300 & 0xFF, ""),
        ("raise EOFError", 1, 'Traceback (most recent call last):\n  File "<stdin>", line 1, in <module>\nEOFError\n'),
        ("if __name__ != '__main__': raise SystemExit(5)", 0, ""),
        ("show('nothing')", 2, None),
    ],
)
def test_shell_ends_as_python_does(running: Lab, script: str, code: int, err: str | None) -> None:
    outcome = running("shell", stdin=script)

    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err == (outcome.err if err is None else err)


def test_changes_tells_a_first_look_from_no_change(running: Lab) -> None:
    assert running("boot", "fresh").code == 0

    first, second = (running("changes", "--name", "fresh", "--json").json for _ in range(2))
    assert running("call", "set_entry", "0xfffffffffffff000", "0x8000000000006863", "--name", "fresh").code == 0
    third = running("changes", "--name", "fresh", "--json").json

    assert running("stop", "fresh").code == 0
    assert (first["changes"], first["first_look"]) == ([], True)
    assert first["remembered"] > 100
    assert second == {"schema": "lab.changes/1", "changes": []}
    assert [each["start"] for each in third["changes"]] == ["0xfffffffffffff000"]


def test_two_machines_must_be_told_apart_by_name(running: Lab) -> None:
    assert running("boot", "other", "--ram", "128M").code == 0

    unclear, clear = running("regs"), running("regs", "--name", "other")

    assert (unclear.code, clear.code) == (2, 0)
    assert "choose one by --name: lab, other" in unclear.err
    for verb in ("stop", "reboot"):
        assert "name one of: lab, other" in running(verb).err
    assert running("reboot", "other").code == 0
    assert running("stop", "other").code == 0


def test_without_a_machine_the_exit_code_says_environment(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("none")

    outcome = lab("walk", "rip", LAB_RUNTIME_DIR=str(empty))

    assert outcome.code == 3
    assert outcome.out == ""
    assert "lab boot" in outcome.err
