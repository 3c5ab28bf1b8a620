"""A machine that works: it boots, answers, shows its state, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.kernel.image import KernelImage
from lab.machine import Machine, MachineOptions
from lab.machine.qemu import ram_banks
from lab.memory.protocol import Bank
from lab.x86.address import PhysicalAddress

pytestmark = pytest.mark.usefixtures("nothing_left")

GIB = 1 << 30
MIB = 1 << 20

HALT = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp back to hlt


@pytest.mark.parametrize("kind", ["microvm", "q35"])
def test_boots_answers_and_ends(kind: str, nothing_left: Path) -> None:
    with Machine(MachineOptions(machine=kind)) as machine:
        assert machine.is_running
        assert "ready" in machine.log
        assert machine.call("lab_ping", 41).result == 42
        assert machine.call.lab_ping(1).ok
        pid = machine.qemu.process.pid
        assert any(nothing_left.iterdir())
    assert not Path(f"/proc/{pid}").exists()
    assert not any(path.name != ".lock" for path in nothing_left.iterdir())


def test_state_is_that_of_the_cpu() -> None:
    with Machine() as machine, machine.paused():
        assert not machine.is_running
        snapshot = machine.snapshot()
        assert snapshot.state.levels == 4
        assert snapshot.state.cr0.wp
        assert snapshot.state.efer.nxe
        assert snapshot.state.max_phys_bits >= 36
        assert str(snapshot.state.pat.types[0]) == "WB"
        assert snapshot.describe(snapshot.registers.rip)
        mailbox = machine.kernel.symbol("lab_mailbox").address
        walked = snapshot.walk(mailbox).mapped.physical
        assert walked == machine.qmp.gva2gpa(mailbox) == machine.kernel.physical_of(mailbox)
        assert machine.qmp.gva2gpa(0xFFFF_8000_DEAD_0000) is None


def test_options_reach_the_guest() -> None:
    with Machine(MachineOptions(ram=128 * MIB, append=("verifier",))) as machine:
        assert machine.snapshot().guest.variable("lab_options")["verifier"] == 1
        assert machine.memory.banks[-1].end == PhysicalAddress(128 * MIB)


def test_exit_option_ends_qemu_with_the_value_of_the_guest() -> None:
    with Machine(MachineOptions(append=("exit",))) as machine:
        assert machine.wait_exit() == KernelImage.load().constant("EXIT_DONE")


def test_memory_is_what_the_guest_sees() -> None:
    with Machine() as machine:
        address = machine.kernel.symbol("lab_mailbox").address
        assert machine.call.write_u64(address + 0x800, 0x1122334455667788).ok
        physical = machine.kernel.physical_of(address + 0x800)
        assert physical is not None
        assert machine.memory.read(physical, 8) == bytes.fromhex("8877665544332211")


def test_strings_and_blocks_go_to_the_guest_and_back() -> None:
    with Machine() as machine:
        block = bytearray(16)
        source = bytes(range(16))
        assert machine.call.RtlCopyMemory(block, source, 16).ok
        assert block == source
        assert machine.call.DbgPrint("hello %d\n", 7).ok
        assert "hello 7" in machine.log


def test_arguments_are_checked_against_the_signature() -> None:
    with Machine() as machine:
        with pytest.raises(UsageError, match=r"lab_ping takes 1 argument, not 2.*u64 argument"):
            machine.call("lab_ping", 1, 2)
        with pytest.raises(UsageError, match="12 is the most"):
            machine.call("DbgPrint", "", *range(12))
        with pytest.raises(UsageError, match="need more"):
            machine.call("DbgPrint", "x" * 5000)
        with pytest.raises(UsageError, match="only its exports"):
            machine.call(machine.kernel.symbol("mailbox_serve").address)
        assert machine.call(machine.kernel.export("lab_ping").address, 1).result == 2


def test_results_are_as_wide_as_their_type() -> None:
    with Machine() as machine:
        assert machine.call.DbgPrint("").result == 0
        assert machine.call.lab_ping((1 << 64) - 2).result == (1 << 64) - 1
        assert machine.call.lab_ping(-2).result == (1 << 64) - 1


def test_fault_in_a_call_is_a_record_and_the_guest_lives_on() -> None:
    with Machine() as machine:
        result = machine.call("read_u64", 0xFFFF_F880_DEAD_0000)
        assert result.exception is not None
        assert (result.exception.vector, result.exception.name) == (14, "#PF")
        assert result.exception.cr2 == 0xFFFF_F880_DEAD_0000
        assert machine.kernel.describe(result.exception.registers.rip)
        assert machine.call.lab_ping(1).ok


def test_threads_take_turns() -> None:
    with Machine() as machine:
        wrong: list[int] = []

        def work(start: int) -> None:
            wrong.extend(n for n in range(start, start + 200) if machine.call.lab_ping(n).result != n + 1)

        threads = [threading.Thread(target=work, args=(1000 * index,)) for index in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_sleeping_guest_is_woken_and_idle_costs_nothing() -> None:
    with Machine() as machine:
        assert machine.call.lab_ping(1).ok
        before = _cpu_seconds(machine.qemu.process.pid)
        time.sleep(0.5)
        assert _cpu_seconds(machine.qemu.process.pid) - before <= 0.05
        assert machine.call.lab_ping(1).ok


def test_machine_outlives_the_thread_that_started_it() -> None:
    machine = Machine()
    starter = threading.Thread(target=machine.start)
    starter.start()
    starter.join()
    try:
        time.sleep(0.05)  # long enough for a parent-death signal to have done its work
        assert machine.call.lab_ping(1).ok
    finally:
        machine.close()


def test_two_machines_at_once() -> None:
    with Machine() as first, Machine() as second:
        first.call.write_u64(first.kernel.symbol("lab_mailbox").address + 0x900, 1)
        assert first.qemu.folder != second.qemu.folder
        assert second.call.lab_ping(5).result == 6


def test_a_machine_starts_once() -> None:
    with Machine() as machine, pytest.raises(UsageError, match="started already"):
        machine.start()
    machine.close()
    with pytest.raises(UsageError):
        _ = machine.memory
    with pytest.raises(UsageError, match="not running"):
        _ = Machine().qemu


def test_kernel_that_is_not_ours(tiny_kernel: Callable[[bytes], Path]) -> None:
    code = b"\xb8\x78\x56\x34\x12" + HALT  # mov eax, 12345678h
    with Machine(MachineOptions(kernel=tiny_kernel(code))) as machine:
        deadline = time.monotonic() + 5
        while machine.registers().rax != 0x12345678:
            assert time.monotonic() < deadline
        assert machine.snapshot().kernel is None
        assert machine.paging_state().levels == 0
        with pytest.raises(UsageError, match=r"is not the lab.s kernel"):
            machine.call("lab_ping", 1)


@pytest.mark.parametrize("kind", ["microvm", "q35"])
@pytest.mark.parametrize("ram", [64 * MIB, 2047 * MIB, 2816 * MIB, 3 * GIB - MIB, 3 * GIB, 5 * GIB])
def test_banks_are_where_qemu_puts_ram(kind: str, ram: int, tiny_kernel: Callable[[bytes], Path]) -> None:
    options = MachineOptions(machine=kind, ram=ram, kernel=tiny_kernel(HALT))
    with Machine(options) as machine:
        tree = machine.qmp.hmp("info mtree -f")
        view = next(part for part in tree.split("FlatView") if "Root memory region: system" in part)
        seen = _ram_of(view)
        for bank in ram_banks(options):
            assert any(_holds(each, bank) for each in seen), f"{bank} is RAM nowhere in {seen}"
        # Below 1 MiB the firmware shows now RAM, now itself; above it, RAM ends where we think.
        assert {bank.end for bank in seen if bank.end > MIB} == {bank.end for bank in ram_banks(options)[1:]}
        assert machine.memory.read(ram_banks(options)[-1].end - 8, 8) == bytes(8)


def _holds(outer: Bank, inner: Bank) -> bool:
    """Whether all of one range is in another, and in the same place of the file."""
    same_place = inner.file_offset - outer.file_offset == inner.start - outer.start
    return outer.start <= inner.start and inner.end <= outer.end and same_place


def _ram_of(view: str) -> list[Bank]:
    """The ranges of the region called ram, adjacent ones joined."""
    banks: list[Bank] = []
    for first, last, offset in re.findall(
        r"([0-9a-f]{16})-([0-9a-f]{16}) \(prio 0, ram\): ram(?: @([0-9a-f]+))?", view
    ):
        start, end, at = int(first, 16), int(last, 16) + 1, int(offset or "0", 16)
        if banks and banks[-1].end == start and banks[-1].file_offset + banks[-1].size == at:
            start, at = int(banks[-1].start), banks.pop().file_offset
        banks.append(Bank(PhysicalAddress(start), end - start, at))
    return banks


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
