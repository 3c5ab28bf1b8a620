"""`make bench`: how fast the lab is, as ratios against bare QEMU booting the same image, measured in the same run.

Machines differ and are noisy, so nothing here fails; each line shows the figure, what it is compared with, and the
goal. Figures are medians.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from lab.machine import Machine, MachineOptions
from lab.testing.guests import Guests, Wish
from lab.x86.address import VirtualAddress
from tests.terminal.stepping import terminal_steps
from tests.web.stepping import long_lecture, page_steps

LAB = Path(sys.executable).with_name("lab")
SHARED_DATA = VirtualAddress(0xFFFFF78000000000)


def main() -> None:
    """Measure everything, one line each."""
    bare, lab_run, ratio = in_turn(run_bare_qemu, lambda: run("run"), 15)
    show("bare QEMU, boot to debug exit", bare * 1e3, "ms", "")
    show("lab run, whole process", lab_run * 1e3, "ms", f"{ratio:.1f} x bare QEMU, goal 8 x")
    show("lab --help", median(lambda: run("--help"), 9) * 1e3, "ms", "goal 200 ms")
    show("import lab", import_time() * 1e3, "ms", "goal 100 ms")
    with Machine(gdb=True) as machine:
        address = int(SHARED_DATA)
        show("mailbox call", each(lambda: machine.call("MmIsAddressValid", address), 5000) * 1e6, "us", "goal 20 us")

        def gdb_call() -> object:
            return machine.gdb_call("MmIsAddressValid", address)

        show("GDB function call, guest running", each(gdb_call, 100) * 1e3, "ms", "goal 3 ms")
        with machine.paused():
            show("GDB function call, guest stopped", each(gdb_call, 100) * 1e3, "ms", "goal 3 ms")
        snapshot = machine.snapshot()
        show("one walk", each(lambda: snapshot.walk(SHARED_DATA), 5000) * 1e6, "us", "goal 100 us")
    with Machine() as machine:
        show("idle guest", idle_share(machine) * 100, "% of a core", "goal 3 %")
        show("boot to ready", median(boot, 9) * 1e3, "ms", f"{median(boot, 9) / bare:.1f} x bare QEMU")
    guests = Guests()
    fresh = [entering(guests.fresh(Wish(), "bench")) for _ in range(10)]
    show("pytest: machine", statistics.median(fresh[1:]) * 1e3, "ms", "goal 150 ms, boot to ready")
    taken_back = [entering(guests.shared(Wish(), "bench")) for _ in range(20)]
    show("pytest: booted", statistics.median(taken_back[1:]) * 1e3, "ms", "goal 20 ms, taken back between tests")
    guests.close()
    for face, goal, both in (("page", 50, page_steps()), ("terminal", 100, terminal_steps(long_lecture()))):
        for direction, times in zip(("forwards", "backwards"), both, strict=True):
            remark = f"goal {goal} ms, the slowest {max(times):.0f} ms"
            show(f"{face}: a step {direction}", statistics.median(times), "ms", remark)


def show(what: str, value: float, unit: str, remark: str) -> None:
    """Print one figure."""
    print(f"{what:<34}{value:9.1f} {unit:<12}{remark}".rstrip(), flush=True)


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def median(action: Callable[[], object], times: int) -> float:
    """The median of several calls; the first, which warms caches, does not count."""
    action()
    return statistics.median(seconds(action) for _ in range(times))


each = median


def in_turn(first: Callable[[], object], second: Callable[[], object], times: int) -> tuple[float, float, float]:
    """The medians of two actions and of their ratio, pair by pair: what else the machine does meets both alike."""
    first(), second()
    pairs = [(seconds(first), seconds(second)) for _ in range(times)]
    ones, others = zip(*pairs, strict=True)
    ratio = statistics.median(other / one for one, other in pairs)
    return statistics.median(ones), statistics.median(others), ratio


def entering(guest: AbstractContextManager[object]) -> float:
    """How long a test waits for its guest."""
    start = time.perf_counter()
    with guest:
        return time.perf_counter() - start


def run(*arguments: str) -> None:
    """Run `lab` as a process of its own."""
    subprocess.run([LAB, *arguments], check=True, stdout=subprocess.DEVNULL)


def run_bare_qemu() -> None:
    """Boot the same image with nothing around it, until it leaves through the debug-exit device."""
    board = "microvm,pit=off,pic=on,rtc=off,isa-serial=on,auto-kernel-cmdline=off,acpi=off"
    command = ["qemu-system-x86_64", "-M", board, "-accel", "tcg", "-cpu", "max", "-m", "64M", "-nodefaults"]
    command += ["-no-user-config", "-display", "none", "-no-reboot", "-serial", "null"]
    command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-append", "exit"]
    subprocess.run([*command, "-kernel", str(MachineOptions().kernel)], check=False)


def boot() -> None:
    """Boot a machine to ready, and end it."""
    with Machine():
        pass


def import_time() -> float:
    """What `import lab` adds to an interpreter's start."""
    with_lab = median(lambda: subprocess.run([sys.executable, "-c", "import lab.machine"], check=True), 9)
    without = median(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), 9)
    return with_lab - without


def idle_share(machine: Machine) -> float:
    """The share of one core that QEMU takes while the guest has nothing to do."""
    time.sleep(0.2)
    before, start = cpu_seconds(machine.qemu.process.pid), time.perf_counter()
    time.sleep(2)
    return (cpu_seconds(machine.qemu.process.pid) - before) / (time.perf_counter() - start)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
