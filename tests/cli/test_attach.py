"""`--attach`: views on the guest of a QEMU that the lab knows nothing of but its QMP socket."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.kernel.image import IMAGES
from lab.machine.qmp import Qmp
from lab.machine.waiting import wait_until
from tests.cli.conftest import Lab

SHARED_DATA = "0xfffff78000000000"
RAM = ["-m", "64"]
FILE = ["-object", "memory-backend-file,id=ram,size=64M,share=on,mem-path={}/ram", "-machine", "memory-backend=ram"]


@pytest.fixture(scope="module", params=["copied", "shared"])
def socket(request: pytest.FixtureRequest) -> Iterator[str]:
    """A QEMU started by hand; its memory is its own, or a file that we can read as well."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        path = f"{folder}/qmp"
        memory = [*RAM, *(each.format(folder) for each in FILE)] if request.param == "shared" else RAM
        words = ["-M", "q35", "-cpu", "max", "-display", "none", "-nodefaults", "-serial", f"file:{folder}/console"]
        command = ["qemu-system-x86_64", *words, *memory, "-kernel", str(IMAGES / "kernel.elf")]
        with subprocess.Popen([*command, "-qmp", f"unix:{path},server,nowait"]) as qemu:
            try:
                console = Path(folder) / "console"
                assert wait_until(lambda: console.exists() and "ready" in console.read_text(), 20)
                yield path
            finally:
                qemu.kill()


def test_a_walk_ends_where_qemu_says(lab: Lab, socket: str) -> None:
    walk = lab("walk", SHARED_DATA, "--attach", socket, "--json")
    assert walk.code == 0, walk.err

    qmp = Qmp(Path(socket))
    try:
        assert int(walk.json["physical"], 16) == qmp.gva2gpa(int(SHARED_DATA, 16))
        assert qmp.status() == "running", "the guest goes on when the view is done"
    finally:
        qmp.close()


def test_memory_reads_the_same_by_both_addresses(lab: Lab, socket: str) -> None:
    physical = lab("walk", SHARED_DATA, "--attach", socket, "--json").json["physical"]
    virtual = lab("mem", SHARED_DATA, "--attach", socket, "--json").json["pieces"][0]["data"]

    assert lab("mem", f"pa:{physical}", "--attach", socket, "--json").json["pieces"][0]["data"] == virtual
    assert any(bytes.fromhex(virtual))


def test_the_whole_space_is_mapped(lab: Lab, socket: str) -> None:
    mappings = lab("map", "--attach", socket, "--json").json["mappings"]

    assert SHARED_DATA in {each["start"] for each in mappings}
    assert lab("regs", "--attach", socket, "--json").json["paging"] == "4-level"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["pool"], 2, "does not run the lab's kernel"),
        (["walk", "KeBugCheckEx"], 2, "no symbols here"),
        (["mem", "pa:0x40000000000"], 1, ""),
        (["walk", "0", "--name", "x"], 2, "give one of --name and --attach"),
        (["changes"], 2, "cannot --attach"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_not_known_of_it_is_a_sentence(lab: Lab, socket: str, words: list[str], code: int, says: str) -> None:
    outcome = lab(*words, "--attach", socket)

    assert (outcome.code, says in outcome.err, "Traceback" in outcome.err) == (code, True, False)


def test_nobody_at_the_socket(lab: Lab, tmp_path: Path) -> None:
    outcome = lab("walk", "0", "--attach", str(tmp_path / "nothing"))

    assert outcome.code == 3
    assert "there is no socket" in outcome.err


def test_a_machine_of_ours_can_be_attached_to_as_well(lab: Lab) -> None:
    assert lab("boot", "ours").code == 0
    (machine,) = lab("ps", "--json").json["machines"]

    foreign, own = (lab("walk", SHARED_DATA, "--json", *place) for place in (["--attach", machine["qmp"]], []))

    assert foreign.json["steps"] == own.json["steps"]
    assert lab("stop", "ours").code == 0
