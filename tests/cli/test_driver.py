"""`lab driver`: its verbs, what they print for programs, and their exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Lab

SAMPLES = Path(__file__).resolve().parents[1] / "drivers"

FAILING = """#include <ntddk.h>
NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) { return STATUS_UNSUCCESSFUL; }
"""


def sample(name: str) -> str:
    return str(next(SAMPLES.glob(f"{name}.c*")))


# --------------------------------------------------------------------------------------------------------- run ----


def test_run_of_a_source_tells_programs_everything(lab: Lab) -> None:
    outcome = lab("driver", "run", sample("remap"), "--json")

    driver = outcome.json
    assert outcome.code == 0
    assert driver["schema"] == "lab.driver/1"
    assert (driver["name"], driver["status"], driver["status_name"]) == ("remap", "0x00000000", "STATUS_SUCCESS")
    assert {"base", "size", "entry"} <= driver.keys()
    assert {"dll": "ntoskrnl.exe", "name": "IoAllocateMdl", "bound": True} in driver["imports"]
    assert [line.split()[0] for line in driver["log"]] == ["remap:"] * 4
    assert driver["leaks"] == []
    assert "bugcheck" not in driver


def test_run_shows_people_the_same(lab: Lab) -> None:
    outcome = lab("driver", "run", sample("remap"))

    assert outcome.code == 0
    assert outcome.err == ""
    assert "DriverEntry  STATUS_SUCCESS (0x00000000)" in outcome.out
    assert "read 42 through the second" in outcome.out
    assert "✓ left nothing behind" in outcome.out


def test_run_of_several_drivers_loads_in_order_and_unloads_the_other_way_round(lab: Lab) -> None:
    outcome = lab("driver", "run", sample("remap"), sample("hello"))

    places = [outcome.out.index(each) for each in ("remap: DriverEntry", "hello: DriverEntry")]
    places += [outcome.out.index(each) for each in ("hello: DriverUnload", "remap: DriverUnload")]
    assert outcome.code == 0
    assert places == sorted(places)


def test_run_of_a_crashing_driver_ends_with_4_and_explains_it(lab: Lab) -> None:
    outcome = lab("driver", "run", sample("double_free"), "--json")

    stop = outcome.json["bugcheck"]
    assert outcome.code == 4
    assert outcome.err == ""
    assert outcome.json["status"] is None
    assert (stop["code"], stop["name"]) == ("0x000000c2", "BAD_POOL_CALLER")
    assert len(stop["parameters"]) == 4
    assert stop["meanings"][0] == "freed already"


def test_run_of_a_leaking_driver_ends_with_0_and_by_the_verifier_not(lab: Lab) -> None:
    free, verified = lab("driver", "run", sample("leak"), "--json"), lab("driver", "run", sample("leak"), "--verifier")

    assert free.code == 0
    assert {"pool", "mdl", "mapping"} <= {each["kind"] for each in free.json["leaks"]}
    assert verified.code != 0


def test_run_of_a_failing_driver_ends_with_1(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "failing.c").write_text(FAILING)

    outcome = lab("driver", "run", str(tmp_path / "failing.c"))

    assert outcome.code == 1
    assert "DriverEntry  STATUS_UNSUCCESSFUL (0xc0000001)" in outcome.out


def test_run_with_trace_shows_calls_and_what_they_changed(lab: Lab) -> None:
    outcome = lab("driver", "run", "--trace", sample("remap"))

    assert outcome.code == 0
    assert "MmMapLockedPagesSpecifyCache(MemoryDescriptorList=" in outcome.out
    assert "+ PT " in outcome.out


# -------------------------------------------------------------------------------------------- files to be refused ----


def test_a_source_that_does_not_compile_ends_with_1_and_the_compilers_words(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "broken.c").write_text("#include <ntddk.h>\nNTSTATUS DriverEntry( {")

    outcome = lab("driver", "run", str(tmp_path / "broken.c"))

    assert outcome.code == 1
    assert "broken.c:2" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize("verb", ["run", "inspect"])
@pytest.mark.parametrize("content", [b"", b"MZ", b"\x7fELF" + bytes(100), b"MZ" + bytes(58) + b"\xff\xff\xff\x7f"])
def test_what_is_no_driver_ends_with_1_in_one_sentence(lab: Lab, tmp_path: Path, verb: str, content: bytes) -> None:
    (tmp_path / "junk.sys").write_bytes(content)

    outcome = lab("driver", verb, str(tmp_path / "junk.sys"))

    assert outcome.code == 1
    assert outcome.err.startswith("lab: junk.sys cannot be used as a driver:")
    assert len(outcome.err.splitlines()) == 1


def test_a_truncated_driver_ends_with_1(lab: Lab, tmp_path: Path) -> None:
    whole = tmp_path / "remap.sys"
    assert lab("driver", "build", sample("remap"), "-o", str(whole)).code == 0
    (tmp_path / "cut.sys").write_bytes(whole.read_bytes()[:1500])

    outcome = lab("driver", "run", str(tmp_path / "cut.sys"))

    assert outcome.code == 1
    assert "cut.sys cannot be used as a driver" in outcome.err


def test_files_that_are_not_there_are_a_matter_of_usage_or_a_sentence(lab: Lab) -> None:
    assert lab("driver", "run", "nowhere.c").code == 2
    assert lab("driver", "run", "nowhere.sys").code == 1
    assert lab("driver", "run").code == 2


# ------------------------------------------------------------------------------------------------ build, inspect ----


def test_build_makes_a_driver_that_inspect_understands(lab: Lab, tmp_path: Path) -> None:
    target = tmp_path / "remap.sys"

    built = lab("driver", "build", sample("remap"), "-o", str(target))
    inspected = lab("driver", "inspect", str(target), "--json")

    assert built.code == 0
    assert target.is_file()
    assert inspected.code == 0
    assert inspected.json["schema"] == "lab.driver-image/1"
    assert all(each["bound"] for each in inspected.json["imports"])
    assert lab("driver", "run", str(target)).code == 0


# ------------------------------------------------------------------------------------------- background machines ----


@pytest.fixture(scope="module")
def running(lab: Lab) -> Iterator[Lab]:
    assert lab("boot").code == 0
    yield lab
    assert lab("stop").code == 0


def test_a_driver_is_loaded_listed_asked_and_unloaded_by_processes_of_their_own(running: Lab) -> None:
    loaded = running("driver", "load", sample("direct_io"), "--json")
    (listed,) = running("driver", "list", "--json").json["drivers"]
    asked = running("driver", "ioctl", "LabDirectIo", "0x222000", "--in", "48656c6c6f", "--out", "16", "--json")
    summed = running(
        "driver", "ioctl", "direct_io", "0x222004", "--method", "in-direct", "--fill", "0102", "--out", "2"
    )
    unknown = running("driver", "ioctl", "LabDirectIo", "0x222ffc")
    unloaded = running("driver", "unload", "direct_io", "--json")

    assert (loaded.code, loaded.json["status"]) == (0, "0x00000000")
    assert (listed["name"], listed["state"]) == ("direct_io", "loaded")
    assert listed["devices"] == [{"name": "\\Device\\LabDirectIo", "links": ["\\??\\LabDirectIo"]}]
    assert (asked.code, bytes.fromhex(asked.json["output"])) == (0, b"olleH")
    assert "the bytes add up to 3" in summed.out
    assert unknown.code == 1
    assert "STATUS_INVALID_DEVICE_REQUEST" in unknown.out
    assert (unloaded.code, unloaded.json["leaks"]) == (0, [])
    assert [each["state"] for each in running("driver", "list", "--json").json["drivers"]] == ["gone"]


def test_what_is_not_loaded_cannot_be_unloaded_nor_asked(running: Lab) -> None:
    assert running("driver", "unload", "nobody").code == 1
    assert running("driver", "ioctl", "Nobody", "0x222000").code == 2
    assert running("driver", "ioctl", "Nobody", "many").code == 2
    assert running("driver", "ioctl", "Nobody", "0", "--in", "xyz").code == 2


def test_leaks_are_found_by_another_process_than_the_one_that_loaded(running: Lab) -> None:
    assert running("driver", "load", sample("leak")).code == 0

    unloaded = running("driver", "unload", "leak", "--json")

    assert {"pool", "mdl", "mapping", "devices"} <= {each["kind"] for each in unloaded.json["leaks"]}


def test_drivers_need_a_machine(lab: Lab) -> None:
    assert lab("driver", "list", "--name", "nobody").code == 3
