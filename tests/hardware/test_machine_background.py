"""Background machines: they outlive whoever boots them, are found by name, and are ended without a trace."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.errors import GuestCrashed, HostError, ImageMissing, NoSuchMachine, QemuFailed, ToolMissing, UsageError
from lab.machine import Machine, MachineOptions, attach, boot, machines, reboot, stop
from lab.machine.folder import LOCK
from lab.machine.qmp import Qmp
from lab.memory.ram import SharedRam


@pytest.fixture(autouse=True)
def base(nothing_left: Path) -> Iterator[Path]:
    yield nothing_left
    for each in machines():
        stop(each.name)


def boot_elsewhere(name: str) -> None:
    """Boot a machine from a process that ends right after."""
    code = f"from lab.machine import boot; boot({name!r}).close()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_outlives_its_creator_and_is_ended_by_name(base: Path, gone: Callable[..., bool]) -> None:
    boot_elsewhere("one")
    [one] = machines()
    assert (one.name, one.state) == ("one", "ready")
    assert os.getsid(one.pid) == one.pid, "a session of its own: no terminal's end reaches it"
    with attach("one") as machine:
        assert machine.call.lab_ping(41).result == 42
        assert machine.snapshot().name == "one"
    assert [each.name for each in machines()] == ["one"], "closing an attached machine leaves it running"
    assert stop("one") == "one"
    assert machines() == []
    assert gone(one.pid, timeout=0)
    assert [path.name for path in base.iterdir()] == [".lock"]


def test_folder_is_private_and_its_files_can_be_used(base: Path) -> None:
    boot("one").close()
    [one] = machines()
    assert stat.S_IMODE((base / "one").stat().st_mode) == 0o700
    qmp = Qmp(one.qmp)
    assert qmp.status() == "running"
    qmp.close()
    assert one.gdb.is_socket()
    with SharedRam(one.ram) as ram, attach() as machine:
        address = machine.kernel.physical_of(machine.kernel.symbol("lab_mailbox").address)
        assert address is not None
        assert ram.read(address, 8) == machine.memory.read(address, 8) != bytes(8)


def test_several_sessions_at_once() -> None:
    boot("one").close()
    with attach() as first, attach() as second:
        assert first.call.lab_ping(1).result == 2
        assert second.call.lab_ping(2).result == 3
        with first.paused():
            assert not second.is_running


def test_too_many_sessions_are_told_so() -> None:
    boot("one").close()
    sessions = [attach() for _ in range(4)]
    with pytest.raises(HostError, match=r"all QMP sockets in .* are in use"):
        attach()
    for each in sessions:
        each.close()
    attach().close()


def test_gdb_detaches_from_a_machine_that_goes_on() -> None:
    boot("one").close()
    for _ in range(2):
        with attach() as machine:
            machine.gdb.break_at(machine.kernel.export("lab_ping").address)
    with attach() as machine:
        assert machine.call.lab_ping(1).result == 2, "no breakpoint is left"


def test_names() -> None:
    with pytest.raises(NoSuchMachine, match="no machine is running; boot one with: lab boot"):
        attach()
    boot("one").close()
    with pytest.raises(UsageError, match="a machine called 'one' is running"):
        boot("one")
    with pytest.raises(NoSuchMachine, match="no machine is called 'two'; running are: one"):
        attach("two")
    for bad in ("", "../x", ".hidden", "-x", "a b", "x" * 40):
        with pytest.raises(UsageError, match="cannot name a machine"):
            boot(bad)
    boot("two").close()
    with pytest.raises(UsageError, match="several machines are running; choose one by --name: one, two"):
        attach()
    assert [each.name for each in machines()] == ["one", "two"]


def test_reboot_keeps_the_options() -> None:
    with boot("one", MachineOptions(ram=96 << 20, append=("verifier",))) as machine:
        pid = machine.qemu.process.pid
        assert machine.call.write_u64(machine.kernel.symbol("lab_mailbox").address + 0x900, 7).ok
    with reboot() as machine:
        assert machine.qemu.process.pid != pid
        assert machine.options.ram == 96 << 20
        assert machine.snapshot().guest.variable("lab_options")["verifier"] == 1
        assert machine.name == "one"


def test_reboot_ends_nothing_that_could_not_boot_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, kernel = MachineOptions().kernel, tmp_path / "kernel.elf"
    for suffix in (".elf", ".json"):
        kernel.with_suffix(suffix).write_bytes(source.with_suffix(suffix).read_bytes())
    boot("one", MachineOptions(kernel=kernel)).close()
    kernel.rename(tmp_path / "moved.elf")
    with pytest.raises(ImageMissing, match="give the path of an ELF file"):
        reboot("one")
    (tmp_path / "moved.elf").rename(kernel)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))
        with pytest.raises(ToolMissing):
            reboot("one")
    assert [each.state for each in machines()] == ["ready"]


def test_states() -> None:
    boot("one").close()
    with attach() as machine:
        machine.stop()
    assert machines()[0].state == "paused"
    with attach() as machine:
        machine.cont()
        pending = machine.post("hang")
        time.sleep(0.05)
        assert machines()[0].state == "busy"
        stop("one")
        with pytest.raises(GuestCrashed, match="QEMU ended during the call of hang"):
            pending.wait()


def test_crashed_machines_can_be_looked_at_and_ended() -> None:
    for name, command, state in (
        ("fault", ["triple_fault"], "crashed"),
        ("stop", ["bugcheck", 1, 2, 3, 4, 5], "bug check"),
    ):
        with boot(name) as machine:
            machine.post(*command)
        for _ in range(100):
            if (found := {each.name: each.state for each in machines()}[name]) == state:
                break
            time.sleep(0.01)
        assert found == state
        with attach(name) as machine:
            assert machine.snapshot().state.levels == 4
        stop(name)


def test_hung_qemu_is_shown_and_can_be_ended(gone: Callable[..., bool]) -> None:
    boot("one").close()
    os.kill(machines()[0].pid, signal.SIGSTOP)
    [one] = machines()
    assert one.state == "not answering"
    stop("one")
    assert gone(one.pid, timeout=0)


def test_dead_machine_is_swept_away(base: Path, gone: Callable[..., bool]) -> None:
    boot("one").close()
    pid = machines()[0].pid
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert machines() == []
    assert not (base / "one").exists()
    boot("one").close()


def test_recycled_process_number_is_never_killed(base: Path, gone: Callable[..., bool]) -> None:
    boot("one").close()
    bystander = subprocess.Popen(["sleep", "30"])
    try:
        file = base / "one" / "state.json"
        record = json.loads(file.read_text())
        pid, record["pid"] = record["pid"], bystander.pid
        file.write_text(json.dumps(record))
        with pytest.raises(NoSuchMachine, match="has just ended"):
            attach("one")
        stop("one")
        assert bystander.poll() is None
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
    finally:
        bystander.kill()
        bystander.wait()


def test_only_our_own_folders_are_removed(base: Path) -> None:
    (base / "letters").mkdir()
    (base / "letters" / "to-mother").write_text("dear mother")
    assert machines() == []
    assert (base / "letters" / "to-mother").exists()
    (base / "letters" / LOCK).touch()
    assert machines() == []
    assert not (base / "letters").exists()


def test_boot_that_fails_leaves_nothing(base: Path) -> None:
    with pytest.raises(QemuFailed):
        boot("one", MachineOptions(extra=("-frobnicate",)))
    assert [path.name for path in base.iterdir()] == [".lock"]


def test_kernel_built_anew_does_not_disturb(base: Path, tmp_path: Path) -> None:
    source = MachineOptions().kernel
    kernel = tmp_path / "kernel.elf"
    for suffix in (".elf", ".json"):
        kernel.with_suffix(suffix).write_bytes(source.with_suffix(suffix).read_bytes())
    boot("one", MachineOptions(kernel=kernel)).close()
    kernel.with_suffix(".json").write_text("{}")
    with attach() as machine:
        assert machine.call.lab_ping(1).ok


def test_machine_with_a_name_is_a_background_machine() -> None:
    with Machine(name="one") as machine:
        assert machine.call.lab_ping(1).ok
    assert [each.name for each in machines()] == ["one"]
