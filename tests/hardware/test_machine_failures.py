"""A machine that does not work: each way to fail gives one clear error, soon, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.errors import (
    GuestCrashed,
    GuestStopped,
    GuestTimeout,
    HostError,
    ImageMissing,
    QemuFailed,
    ToolMissing,
)
from lab.machine import Machine, MachineOptions
from lab.machine.folder import Folder
from lab.machine.host import runtime_directory
from lab.machine.machine import _close_all
from lab.machine.waiting import wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")

LOOP = b"\xeb\xfe"
TRIPLE_FAULT = b"\x0f\x01\x1d\x00\x08\x10\x00\xcc"  # lidt from zeroed memory at 100800h; int3


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer: an error that is known at once must not be told after a timeout."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


def boot(**options: object) -> Machine:
    return Machine(MachineOptions(**options)).start()  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------- the host ----


def test_no_qemu(only_programs: Callable[..., None]) -> None:
    only_programs("gdb")
    with pytest.raises(ToolMissing, match="qemu-system-x86_64 is not installed; install it with: sudo apt-get"):
        boot()


def test_no_gdb(only_programs: Callable[..., None]) -> None:
    only_programs("qemu-system-x86_64", "setpriv")
    with pytest.raises(ToolMissing, match="gdb is not installed"), Machine(gdb=True):
        pass
    with Machine() as machine:
        with pytest.raises(ToolMissing, match="gdb is not installed"):
            _ = machine.gdb
        assert machine.call.lab_ping(1).ok


def test_without_setpriv_machines_run_all_the_same(only_programs: Callable[..., None]) -> None:
    only_programs("qemu-system-x86_64")
    with Machine() as machine:
        assert machine.call.lab_ping(1).ok


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageMissing, match="no kernel image at"):
        boot(kernel=tmp_path / "none.elf")


def test_description_of_another_image(changed_kernel: Callable[[bytes], Path]) -> None:
    kernel = changed_kernel(LOOP)
    kernel.write_bytes(kernel.read_bytes() + b"\0")
    with pytest.raises(ImageMissing, match="does not describe"):
        boot(kernel=kernel)


def test_runtime_directory_that_will_not_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    monkeypatch.setenv("LAB_RUNTIME_DIR", str(long))
    with pytest.raises(HostError, match="too long a path"):
        boot()
    monkeypatch.setenv("LAB_RUNTIME_DIR", "/proc/nowhere")
    with pytest.raises(HostError, match="set LAB_RUNTIME_DIR"):
        boot()


# --------------------------------------------------------------------------------------------------------- QEMU ----


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"extra": ("-frobnicate",)}, "-frobnicate: invalid option"),
        ({"cpu": "no-such-cpu"}, "unable to find CPU model 'no-such-cpu'"),
        ({"accel": "no-such-accelerator"}, "no-such-accelerator"),
        ({"extra": ("-device", "no-such-device")}, "no-such-device"),
    ],
)
def test_qemu_refuses_its_arguments(options: dict[str, object], words: str) -> None:
    with within(3), pytest.raises(QemuFailed, match="QEMU exited with code 1 before the machine ran: ") as info:
        boot(**options)
    assert words in str(info.value)
    assert "-kernel" in info.value.command
    assert info.value.exit_code == 3


def test_kernel_that_is_no_kernel(tmp_path: Path) -> None:
    kernel = tmp_path / "text.elf"
    kernel.write_text("hello" * 1000)
    with within(3), pytest.raises(QemuFailed, match="before the machine ran"):
        boot(kernel=kernel)


def test_qemu_killed_during_a_call() -> None:
    with Machine() as machine:
        killer = threading.Timer(0.1, os.kill, (machine.qemu.process.pid, signal.SIGKILL))
        killer.start()
        with within(2), pytest.raises(GuestCrashed, match="QEMU was killed by SIGKILL during the call of hang") as info:
            machine.call("hang", timeout=20)
        assert "ready" in info.value.log_tail
        assert "-kernel" in info.value.command
        with pytest.raises(GuestCrashed):
            machine.call("lab_ping", 1)
        with pytest.raises(GuestCrashed, match="QEMU is gone"):
            machine.registers()


def test_qemu_stopped_by_a_signal() -> None:
    with Machine() as machine:
        os.kill(machine.qemu.process.pid, signal.SIGSTOP)
        with within(3), pytest.raises(GuestTimeout, match=r"QEMU is stopped by a signal; resume it with: kill -CONT"):
            machine.call("lab_ping", 1, timeout=0.3)
        with within(3), pytest.raises(GuestTimeout, match="QEMU did not answer"):
            machine.qmp.execute("query-status", timeout=0.3)
        os.kill(machine.qemu.process.pid, signal.SIGCONT)
        assert machine.call("lab_ping", 1).ok
        os.kill(machine.qemu.process.pid, signal.SIGSTOP)


# -------------------------------------------------------------------------------------------------------- guest ----


def test_triple_fault_in_a_call() -> None:
    with Machine() as machine:
        with within(2), pytest.raises(GuestCrashed, match=r"reset itself during the call of triple_fault") as info:
            machine.call("triple_fault", timeout=20)
        assert info.value.exit_code == 4
        assert "triple_fault" in str(info.value)
        assert (machine.kernel.describe(info.value.registers["rip"]) or "").startswith("triple_fault")
        assert machine.snapshot().state.levels == 4, "a machine that crashed can still be looked at"


def test_triple_fault_while_booting(changed_kernel: Callable[[bytes], Path]) -> None:
    with within(3), pytest.raises(GuestCrashed, match=r"reset itself during the boot, as by a triple fault, at rip"):
        boot(kernel=changed_kernel(TRIPLE_FAULT))


def test_triple_fault_of_a_kernel_that_is_not_ours(tiny_kernel: Callable[[bytes], Path]) -> None:
    with Machine(MachineOptions(kernel=tiny_kernel(TRIPLE_FAULT))) as machine:
        assert wait_until(lambda: machine.qmp.fate is not None, timeout=5)
        with pytest.raises(GuestCrashed, match="reset itself meanwhile"):
            machine.check()


def test_guest_that_never_becomes_ready(changed_kernel: Callable[[bytes], Path]) -> None:
    machine = Machine(MachineOptions(kernel=changed_kernel(LOOP)), timeout=0.5)
    with within(3), pytest.raises(GuestTimeout, match=r"become ready within 0.5 s, at rip .*phase booting") as info:
        machine.start()
    assert "the log is empty" in str(info.value)
    assert info.value.registers["rip"]


def test_bug_check_in_a_call() -> None:
    with Machine() as machine:
        with (
            within(2),
            pytest.raises(GuestStopped, match=r"bug check 0xc2 BAD_POOL_CALLER \(0x7, 0x1, 0x2, 0x3\)") as info,
        ):
            machine.call("bugcheck", 0xC2, 7, 1, 2, 3, timeout=20)
        assert (info.value.code, info.value.parameters) == (0xC2, (7, 1, 2, 3))
        assert "*** STOP: 0x000000c2" in info.value.log_tail
        with pytest.raises(GuestStopped, match="before a call of lab_ping"):
            machine.call("lab_ping", 1)
        assert machine.qmp.wait_event("GUEST_PANICKED", timeout=5)
        assert not machine.is_running
        assert machine.snapshot().registers.rip


def test_bug_check_in_the_last_call_of_a_function_names_that_function() -> None:
    with Machine() as machine:
        log = machine.kernel.symbol("lab_log").address
        with pytest.raises(GuestStopped, match=r"during the call of IoFreeIrp, at 0x\w+ \(IoFreeIrp\+0x\w+\)"):
            machine.call("IoFreeIrp", log)
        bugcheck = machine.bugcheck
        assert bugcheck is not None
        assert not bugcheck.trapped
        assert machine.kernel.describe(bugcheck.caller) != machine.kernel.describe(bugcheck.caller, returned_to=True)


def test_unguarded_fault_is_a_bug_check() -> None:
    with Machine() as machine, pytest.raises(GuestStopped, match="bug check 0x50 PAGE_FAULT_IN_NONPAGED_AREA") as info:
        machine.call("read_u64", 0xFFFF_F880_DEAD_0000, guarded=False)
    assert info.value.parameters[0] == 0xFFFF_F880_DEAD_0000


def test_guest_that_hangs_in_a_call() -> None:
    with Machine() as machine:
        with within(2), pytest.raises(GuestTimeout, match=r"return from hang within 0.2 s, at rip .*\(hang") as info:
            machine.call("hang", timeout=0.2)
        assert info.value.registers["rip"]
        with within(2), pytest.raises(GuestTimeout, match="because of an earlier call"):
            machine.call("lab_ping", 1, timeout=0.2)


def test_call_of_a_paused_machine() -> None:
    with (
        Machine() as machine,
        machine.paused(),
        pytest.raises(GuestTimeout, match="the machine is paused, not running"),
    ):
        machine.call("lab_ping", 1, timeout=0.2)


# ---------------------------------------------------------------------------------------------------------- gdb ----


def test_gdb_killed() -> None:
    with Machine(gdb=True) as machine:
        os.kill(machine.gdb._process.pid, signal.SIGKILL)
        with within(2), pytest.raises(HostError, match="gdb was killed by SIGKILL"):
            machine.gdb.evaluate("1")


def test_qemu_killed_under_gdb() -> None:
    with Machine(gdb=True) as machine:
        killer = threading.Timer(0.1, os.kill, (machine.qemu.process.pid, signal.SIGKILL))
        killer.start()
        with within(3), pytest.raises(GuestCrashed, match="QEMU was killed by SIGKILL while GDB waited"):
            machine.gdb.wait_stopped(20)
        with within(1), pytest.raises(GuestCrashed, match="QEMU was killed by SIGKILL during gdb's"):
            machine.gdb.continue_()


# ----------------------------------------------------------------------------------------------- our own ending ----

SCRIPT = """
    import signal, sys, time, threading
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of some shells start with it ignored
    from lab.machine import Machine
    def main():
        with Machine(gdb=True) as machine:
            print(machine.qemu.process.pid, machine.gdb._process.pid, flush=True)
            {body}
    {start}
"""


def start_script(body: str, start: str = "main()") -> tuple[subprocess.Popen[str], list[int]]:
    """Run a machine in a Python process of its own; return that and the processes it started."""
    code = textwrap.dedent(SCRIPT).format(body=body, start=start)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return process, [int(pid) for pid in line.split()]


@pytest.mark.parametrize("body", ["machine.call('hang', timeout=30)", "time.sleep(30)", "machine.gdb.wait_stopped(30)"])
def test_ctrl_c_cleans_up(body: str, nothing_left: Path, gone: Callable[..., bool]) -> None:
    process, pids = start_script(body)
    time.sleep(0.1)
    with within(5):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode in {130, -signal.SIGINT}
    assert errors.count("KeyboardInterrupt") == 1
    assert gone(*pids)
    assert [path.name for path in nothing_left.iterdir()] == [".lock"]


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3])
def test_ctrl_c_at_any_moment_cleans_up(delay: float, nothing_left: Path) -> None:
    # Python itself drops an interrupt that comes during a weak reference's callback: so this is no endless loop.
    code = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "print(flush=True)\nfrom lab.machine import Machine\nfor _ in range(10):\n  with Machine(): pass"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert [path.name for path in nothing_left.iterdir() if path.name != ".lock"] == []


@pytest.mark.parametrize("start", ["main()", "threading.Thread(target=main).start()"])
def test_controller_killed_takes_qemu_with_it(start: str, nothing_left: Path, gone: Callable[..., bool]) -> None:
    process, pids = start_script("time.sleep(30)", start)
    process.kill()
    process.communicate()
    assert gone(*pids)
    assert any(path.name != ".lock" for path in nothing_left.iterdir()), "nobody could remove the folder"
    Folder.create(runtime_directory()).close(remove=True)
    assert [path.name for path in nothing_left.iterdir()] == [".lock"], "the next machine did"


def test_machine_left_open_ends_with_the_process(nothing_left: Path, gone: Callable[..., bool]) -> None:
    code = "from lab.machine import Machine\nm = Machine().start()\nprint(m.qemu.process.pid)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert gone(int(done.stdout))
    assert [path.name for path in nothing_left.iterdir()] == [".lock"]
    assert done.stderr == ""


def test_fork_does_not_own_the_machine() -> None:
    with Machine() as machine:
        child = os.fork()
        if not child:
            _close_all()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert machine.call.lab_ping(1).ok
