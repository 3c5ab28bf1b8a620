"""What needs no machine: help, usage errors, doctor, completion, and `lab run` as a whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Bash, Lab

VERBS = [
    "aliases",
    "boot",
    "call",
    "completion",
    "doctor",
    "exhaustive",
    "frames",
    "log",
    "map",
    "mdl",
    "mem",
    "pool",
    "ps",
    "quirks",
    "record",
    "reboot",
    "regs",
    "run",
    "shell",
    "stop",
    "symbols",
    "table",
    "walk",
]


def test_help_lists_every_verb(lab: Lab) -> None:
    outcome = lab("--help")

    assert outcome.code == 0
    assert [verb for verb in VERBS if f"\n  {verb} " not in outcome.out] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(lab: Lab, verb: str) -> None:
    outcome = lab(verb, "--help")

    assert outcome.code == 0
    assert outcome.out.startswith(f"Usage: lab {verb}")


@pytest.mark.parametrize(
    "words",
    [
        ["wlak"],
        ["walk"],
        ["run", "nothing"],
        ["run", "--fail", "all"],
        ["run", "--ram", "lots"],
        ["boot", "--ram", "3M"],
        ["stop", "a", "--all"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_asked_ends_with_2_and_prints_nothing_on_stdout(lab: Lab, words: list[str]) -> None:
    outcome = lab(*words)

    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.strip()


def test_a_misspelt_verb_is_answered_with_the_nearest(lab: Lab) -> None:
    assert "'walk'" in lab("wlak").err


def test_doctor_is_content_where_everything_is_installed(lab: Lab) -> None:
    outcome = lab("doctor", "--json")

    assert outcome.code == 0
    assert outcome.json["ok"] is True


def test_doctor_names_the_command_that_installs_qemu(lab: Lab) -> None:
    outcome = lab("doctor", PATH="/nonexistent")

    assert outcome.code == 3
    assert "apt-get install qemu-system-x86" in outcome.out


@pytest.mark.parametrize(
    ("script", "says"), [("exec sleep 60", "does not answer to --version"), ("exit 1", "does not run")]
)
def test_doctor_finds_a_qemu_that_does_not_work_and_names_its_package(
    lab: Lab, tmp_path: Path, script: str, says: str
) -> None:
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text(f"#!/bin/sh\n{script}\n")
    qemu.chmod(0o755)

    outcome = lab("doctor", "--json", PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert (outcome.code, outcome.err) == (3, "")
    text = next(each["text"] for each in outcome.json["checks"] if each["subject"] == "qemu")
    assert says in text
    assert text.endswith("sudo apt-get install --reinstall qemu-system-x86")


def test_run_without_qemu_ends_with_3_and_says_what_to_install(lab: Lab) -> None:
    outcome = lab("run", PATH="/nonexistent")

    assert outcome.code == 3
    assert "apt-get install qemu-system-x86" in outcome.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(lab: Lab, shell: str) -> None:
    outcome = lab("completion", shell)

    assert outcome.code == 0
    assert "_LAB_COMPLETE" in outcome.out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("run ", "mdl-remap"),
        ("run md", "mdl-remap"),
        ("run --fa", "--fail"),
        ("run --fail pool --la5", "--la57"),
        ("demo md", "mdl-remap"),
        ("record md", "mdl-remap"),
    ],
)
def test_completion_offers_what_may_come_next(bash: Bash, words: str, offered: str) -> None:
    outcome = bash(f"COMP_WORDS='lab {words}' COMP_CWORD={words.count(' ') + 1} _LAB_COMPLETE=bash_complete lab")

    assert f"plain,{offered}" in outcome.out.splitlines()


def test_a_reader_that_goes_is_no_error(bash: Bash) -> None:
    outcome = bash(
        "set -o pipefail; lab run | head -1; echo $?; for verb in ps quirks --help; do lab $verb | true; done"
    )

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "mdl-remap: One frame, two addresses: map the MDL of a nonpaged pool page a second time.",
        "0",
    ]
    assert bash("ls $LAB_RUNTIME_DIR").out == ""


@pytest.mark.parametrize("verb", ["run", "ps", "--help"])
def test_a_full_disk_is_named_in_a_sentence(bash: Bash, verb: str) -> None:
    outcome = bash(f"lab {verb} > /dev/full")

    assert outcome.code == 3
    assert outcome.err == "lab: cannot write the answer to stdout: No space left on device; send it elsewhere\n"
    assert bash("ls $LAB_RUNTIME_DIR").out == ""


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_without_standard_streams_a_verb_does_what_it_does(bash: Bash, streams: str) -> None:
    for verb, code in (("run --json", 0), ("ps", 0), ("walk nope --from nope.lab", 2)):
        outcome = bash(f"lab {verb} {streams}")

        assert outcome.code == code, outcome.err
        assert "Traceback" not in outcome.err
        assert ">" in streams or verb != "run --json" or json.loads(outcome.out)["outcome"] == "ok"


def test_a_complaint_that_cannot_be_heard_does_not_change_the_exit_code(bash: Bash) -> None:
    assert bash("lab walk nope --from nope.lab 2>/dev/full").code == 2


def test_what_an_encoding_lacks_is_left_out(lab: Lab) -> None:
    for verb, says in (("run", "0x0000000000000000 ? 0x800000000006c963"), ("--help", "(walk, map, pool, ?)")):
        outcome = lab(verb, PYTHONIOENCODING="latin-1")

        assert (outcome.code, outcome.err) == (0, "")
        assert says in outcome.out


def test_run_shows_both_walks_and_ends_with_0(lab: Lab) -> None:
    outcome = lab("run")

    assert outcome.code == 0
    assert outcome.out.count("walk 0xfffff88") >= 2
    assert "Everything is as before" in outcome.out
    assert "\x1b" not in outcome.out


def test_run_as_json_holds_a_whole_walk_report_in_a_step(lab: Lab) -> None:
    run = lab("run", "--json").json

    assert run["schema"] == "lab.run/1"
    assert run["outcome"] == "ok"
    assert all({"title", "text", "changes", "reports"} <= step.keys() for step in run["steps"])
    walks = [report for step in run["steps"] for report in step["reports"].values() if report["schema"] == "lab.walk/1"]
    assert len({walk["physical"] for walk in walks if walk["outcome"] == "mapped"}) == 1


def test_run_with_five_levels_shows_them(lab: Lab) -> None:
    run = lab("run", "--la57", "--json").json

    assert run["outcome"] == "ok"
    assert {report["levels"] for step in run["steps"] for report in step["reports"].values() if "levels" in report} == {
        5
    }


def test_run_with_five_levels_on_a_cpu_without_them_ends_with_4_and_says_why(lab: Lab) -> None:
    outcome = lab("run", "--la57", "--cpu", "qemu64")

    assert outcome.code == 4
    assert "no 5-level paging (LA57); start QEMU with -cpu max, or boot without the word la57" in outcome.err


def test_run_with_the_verifier_ends_with_4_and_names_the_bug_check(lab: Lab) -> None:
    outcome = lab("run", "--verifier", "--json")

    assert outcome.code == 4
    assert outcome.json["outcome"] == "bugcheck"
    assert "DRIVER_VERIFIER_DETECTED_VIOLATION" in outcome.json["message"]


def test_colour_comes_only_when_asked_for(lab: Lab) -> None:
    assert "\x1b[" in lab("run", "--fail", "pool", "--color", "always").out
    assert "\x1b[" not in lab("run", "--fail", "pool", "--color", "auto").out
