"""What of lab.machine needs no QEMU: parsing, options, directories, processes, waiting."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from lab.errors import GuestStopped, HostError, ImageMissing, ToolMissing, UsageError
from lab.kernel import image
from lab.kernel.mailbox import BugCheck
from lab.machine import Machine, autopsy, host
from lab.machine.folder import Folder, folders, try_lock
from lab.machine.gdb import _quoted, _stop_of
from lab.machine.host import find_image, find_program, runtime_directory
from lab.machine.process import Process, spawn, start_time
from lab.machine.qemu import MachineOptions, build_command, parse_size, ram_banks
from lab.machine.qmp import parse_registers
from lab.machine.waiting import wait_until

KERNEL = Path("/nowhere/kernel.elf")

LONG_MODE = """
CPU#0
RAX=0000000000000000 RBX=fffff88000009000 RCX=fffffffffeb1a5aa RDX=0000000000000000
RSI=fffff88000006c00 RDI=000000000000000a RBP=fffff88000006fd0 RSP=fffff88000006e70
R8 =fffff88000006b90 R9 =0000000000000200 R10=0000000000000000 R11=0000000000000000
R12=8000000000000963 R13=fffff800001145a8 R14=fffff80000114748 R15=fffff88000006e70
RIP=fffff80000110f22 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
ES =0018 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
CS =0010 0000000000000000 00000000 00209b00 DPL=0 CS64 [-RA]
FS =002b 00007f0000001000 00000000 00000000
GS =0000 fffff80000120000 00000000 00000000
LDT=0000 0000000000000000 0000ffff 00008200 DPL=0 LDT
TR =0040 fffff80000115020 00000067 00008900 DPL=0 TSS64-avl
GDT=     fffff80000117bd0 0000004f
CR0=80010033 CR2=00000000deadbeef CR3=000000000012c000 CR4=00340ea0
DR6=00000000ffff0ff0 DR7=0000000000000400
EFER=0000000000000d00
FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80
FPR0=0000000000000000 0000 FPR1=0000000000000000 0000
"""

PROTECTED_MODE = """
EAX=2badb00a EBX=000f31e0 ECX=00100000 EDX=000003f8
ESI=000efee0 EDI=000eff70 EBP=00000006 ESP=00007b60
EIP=00100017 EFL=00000006 [-----P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
CS =0008 00000000 ffffffff 00cf9b00 DPL=0 CS32 [-RA]
FS =0010 00001000 ffffffff 00cf9300 DPL=0 DS   [-WA]
CR0=00000011 CR2=00000000 CR3=00000000 CR4=00000000
EFER=0000000000000000
"""


def test_registers_in_long_mode() -> None:
    found = parse_registers(LONG_MODE)
    assert found["rip"] == 0xFFFFF80000110F22
    assert (found["r8"], found["r15"]) == (0xFFFFF88000006B90, 0xFFFFF88000006E70)
    assert (found["rflags"], found["cs"], found["es"]) == (0x246, 0x10, 0x18)
    assert (found["fs"], found["fs_base"], found["gs_base"]) == (0x2B, 0x7F0000001000, 0xFFFFF80000120000)
    assert (found["cr0"], found["cr2"], found["cr3"], found["efer"]) == (0x80010033, 0xDEADBEEF, 0x12C000, 0xD00)
    assert len(found) == 16 + 2 + 4 + 2 + 4 + 1, sorted(found)


def test_registers_in_protected_mode_have_the_same_names() -> None:
    found = parse_registers(PROTECTED_MODE)
    assert (found["rax"], found["rsp"], found["rip"], found["rflags"]) == (0x2BADB00A, 0x7B60, 0x100017, 6)
    assert (found["cs"], found["fs_base"], found["cr0"], found["efer"]) == (8, 0x1000, 0x11, 0)


def test_sizes() -> None:
    assert parse_size("64") == parse_size("64M") == parse_size("65536k") == 64 << 20
    assert parse_size("2G") == 2 << 30
    for wrong in ("", "M", "64MB", "-1", "1.5G", "0x40"):
        with pytest.raises(UsageError, match="is not a size"):
            parse_size(wrong)


def test_a_bug_check_in_the_very_moment_of_a_check_is_told_as_one() -> None:
    class Dying:
        """A machine that meets a bug check while QEMU is asked for its fate."""

        bugcheck: BugCheck | None = None
        log = ""
        qemu = SimpleNamespace(process=SimpleNamespace(alive=True, fate="runs"), command=())

        @property
        def connected_qmp(self) -> object:
            registers = {"rip": 0x1000, "vector": 256}
            self.bugcheck = BugCheck(0xC2, "BAD_POOL_CALLER", (7, 0, 0, 0), 0x1000, 0, registers)
            return SimpleNamespace(fate="guest-panicked")

        def describe(self, address: int, *, returned_to: bool = False) -> str:
            return f"{address:#x}, returned to: {returned_to}"

    with pytest.raises(GuestStopped, match="bug check 0xc2 BAD_POOL_CALLER"):
        autopsy.check(cast("Machine", Dying()), "meanwhile")


def test_options_are_checked() -> None:
    for ram in (0, 1 << 20, (64 << 20) + 4096):
        with pytest.raises(UsageError, match="of RAM"):
            MachineOptions(kernel=KERNEL, ram=ram)
    with pytest.raises(UsageError, match="choose microvm or q35"):
        MachineOptions(kernel=KERNEL, machine="pc98")


def test_options_pass_through_json() -> None:
    options = MachineOptions(kernel=KERNEL, ram=128 << 20, append=("verifier",), extra=("-s", "x,y"))
    assert MachineOptions.from_values(json.loads(json.dumps(asdict(options), default=str))) == options


def test_command_line() -> None:
    options = MachineOptions(kernel=KERNEL, machine="q35", cpu="qemu64", append=("verifier", "exit"), extra=("-foo",))
    command = build_command(options, Path("/run/a,b"), ram=7, sockets={"qmp": 8, "gdb": 9})
    text = " ".join(command)
    assert "-M q35,memory-backend=ram " in text
    assert "mem-path=/proc/self/fd/7,share=on" in text
    assert "size=67108864" in text
    assert "path=/run/a,,b/console" in text
    assert "-chardev socket,id=qmp,fd=8,server=on,wait=off -mon chardev=qmp,mode=control" in text
    assert "-chardev socket,id=gdb,fd=9,server=on,wait=off -gdb chardev:gdb" in text
    assert command[-5:] == ["-kernel", str(KERNEL), "-append", "verifier exit", "-foo"]


@pytest.mark.parametrize("machine", ["microvm", "q35"])
@pytest.mark.parametrize("ram", [2 << 20, 64 << 20, 2 << 30, 2815 << 20, 2816 << 20, 3 << 30, 8 << 30])
def test_banks_cover_ram_once(machine: str, ram: int) -> None:
    banks = ram_banks(MachineOptions(kernel=KERNEL, machine=machine, ram=ram))
    hidden = 0x10000 if machine == "microvm" else 0x60000
    assert sum(bank.size for bank in banks) == ram - hidden
    assert all(before.end <= after.start for before, after in itertools.pairwise(banks))
    assert banks[-1].file_offset + banks[-1].size == ram


def test_stops() -> None:
    stop = _stop_of(
        {
            "reason": "breakpoint-hit",
            "bkptno": "3",
            "frame": {"addr": "0xfffff80000110f22", "func": "f", "args": []},
            "thread-id": "1",
        }
    )
    assert (stop.reason, stop.address, stop.breakpoint, stop.function) == ("breakpoint-hit", 0xFFFFF80000110F22, 3, "f")
    assert str(stop) == "breakpoint-hit at 0xfffff80000110f22 (f)"
    assert _stop_of({}).reason == "stopped"
    assert _quoted('a "b"\\') == '"a \\"b\\"\\\\"'


# ----------------------------------------------------------------------------------------------------- the host ----


def test_missing_programs_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="gdb is not installed; install it with: sudo apt-get install gdb"):
        find_program("gdb")
    with pytest.raises(ImageMissing, match=r"no kernel image at .*none\.elf"):
        find_image(tmp_path / "none.elf")
    monkeypatch.setattr(host, "OWN_KERNEL", tmp_path / "own.elf")
    with pytest.raises(ImageMissing, match="build it with: make kernel"):
        find_image(tmp_path / "own.elf")


def test_runtime_directory_is_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_RUNTIME_DIR", str(tmp_path / "run"))
    found = runtime_directory()
    assert found == tmp_path / "run"
    assert found.stat().st_mode & 0o777 == 0o700
    assert runtime_directory() == found


def test_runtime_directory_follows_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_directory() == tmp_path / "lab"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    assert runtime_directory().name == f"lab-{os.getuid()}"


def test_runtime_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    directory.chmod(0o777)
    monkeypatch.setenv("LAB_RUNTIME_DIR", str(directory))
    with pytest.raises(HostError, match=r"others may write to it.*set LAB_RUNTIME_DIR"):
        runtime_directory()
    assert directory.stat().st_mode & 0o777 == 0o777, "what is not ours to change stays"
    monkeypatch.setenv("LAB_RUNTIME_DIR", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="File exists"):
        runtime_directory()
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv("LAB_RUNTIME_DIR", str(tmp_path / "link"))
    with pytest.raises(HostError, match="not a directory"):
        runtime_directory()


# --------------------------------------------------------------------------------------------------- the folder ----


def test_folder_is_held_until_all_holders_are_gone(tmp_path: Path) -> None:
    folder = Folder.create(tmp_path, "one")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folders(tmp_path) == [folder.path]
    heir = subprocess.Popen(["sleep", "30"], pass_fds=[folder.lock])
    folder.close(remove=False)
    folder.close(remove=False)
    try:
        assert folders(tmp_path) == [tmp_path / "one"]
        with pytest.raises(UsageError, match="a machine called 'one' is running"):
            Folder.create(tmp_path, "one")
    finally:
        heir.kill()
        heir.wait()
    assert folders(tmp_path) == []
    assert not (tmp_path / "one").exists()


def test_leftovers_go_when_the_next_folder_is_made(tmp_path: Path) -> None:
    Folder.create(tmp_path).close(remove=False)
    (tmp_path / "not-ours").mkdir()
    folder = Folder.create(tmp_path, "two")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "not-ours", "two"]
    folder.close(remove=True)
    assert not (tmp_path / "two").exists()


def test_locks_exclude_each_other(tmp_path: Path) -> None:
    first = try_lock(tmp_path / "lock")
    assert first is not None
    assert try_lock(tmp_path / "lock") is None
    os.close(first)
    second = try_lock(tmp_path / "lock")
    assert second is not None
    os.close(second)


# ---------------------------------------------------------------------------------------------------- processes ----


def test_process_is_told_from_a_later_one_of_the_same_number(tmp_path: Path) -> None:
    process = spawn(["sleep", "30"], errors=tmp_path / "log")
    assert process.alive
    assert process.fate == "is running"
    assert process.started == start_time(process.pid)
    with pytest.raises(ProcessLookupError, match="is not the one"):
        Process(process.pid, started=process.started - 1)
    other = Process(process.pid, started=process.started)
    other.kill()
    other.kill()
    assert not process.alive
    process.kill()
    with pytest.raises(ProcessLookupError):
        start_time(process.pid)


def test_fates(tmp_path: Path) -> None:
    process = spawn([sys.executable, "-c", "raise SystemExit(3)"], errors=tmp_path / "log")
    assert process.wait(5)
    assert (process.fate, process.exit_code) == ("exited with code 3", 3)
    process.close()
    process = spawn([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], errors=tmp_path / "log")
    assert process.wait(5)
    assert process.fate == "was killed by SIGKILL"
    process.close()
    process = spawn([sys.executable, "-c", "import os; os.kill(os.getpid(), 19)"], errors=tmp_path / "log")
    assert wait_until(lambda: process.fate == "is stopped by a signal", 5)
    assert not process.wait(0.01)
    process.kill()


def test_errors_go_to_the_log_and_pipes_work(tmp_path: Path) -> None:
    process = spawn(["sh", "-c", "read line; echo got $line; echo oops >&2"], errors=tmp_path / "log", pipes=True)
    into, out = process.pipes
    into.write(b"this\n")
    assert out.read() == b"got this\n"
    assert process.wait(5)
    assert (tmp_path / "log").read_text() == "oops\n"
    process.kill()


def test_program_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without setpriv
    with pytest.raises(FileNotFoundError):
        spawn(["/no/such/program"], errors=tmp_path / "log")


# ------------------------------------------------------------------------------------------------------ waiting ----


def test_waiting() -> None:
    looks: list[float] = []
    start = time.monotonic()
    assert not wait_until(lambda: bool(looks.append(0)), 0.05)
    assert 0.05 <= time.monotonic() - start < 0.5
    assert wait_until(lambda: True, 0)

    def dead() -> None:
        raise HostError("dead")

    with pytest.raises(HostError, match="dead"):
        wait_until(lambda: False, 10, alive=dead)


def test_import_is_light() -> None:
    code = (
        "import sys, threading; import lab.machine; "
        "print([name for name in ('asyncio', 'qemu', 'pygdbmi', 'numpy', 'subprocess') if name in sys.modules], "
        "threading.active_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] 1\n"


def test_images_are_where_the_kernel_package_has_them() -> None:
    assert host.IMAGES == image.IMAGES
