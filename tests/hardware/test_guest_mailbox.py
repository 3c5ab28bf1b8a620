"""How the guest serves requests: it wakes for them, gives each caller its own answer, and costs nothing in between."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.machine import Machine
from lab.machine.waiting import wait_until
from tests.hardware.probe import PAGE, Probe, booted

ABSENT = 0xFFFF_F880_4000_0000


def is_asleep(machine: Machine) -> bool:
    """Whether the guest has put itself to sleep, which it tells in the mailbox."""
    mailbox = machine.kernel.symbol("lab_mailbox").address
    offset = machine.kernel.structure("lab_mailbox").field("asleep").offset
    physical = machine.kernel.physical_of(mailbox + offset)
    assert physical is not None
    return machine.memory.read(physical, 8) != bytes(8)


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("before", ["boot", "call", "fault"])
def test_idle_guest_uses_no_cpu_to_speak_of(fresh_guest: Probe, before: str) -> None:
    guest, pid = fresh_guest, fresh_guest.machine.qemu.process.pid
    if before == "call":
        guest.call("lab_ping", 1)
    elif before == "fault":
        guest.machine.call("read_u64", 0)
    assert wait_until(lambda: is_asleep(guest.machine), timeout=5)

    used = cpu_seconds(pid)
    time.sleep(0.7)

    assert cpu_seconds(pid) - used <= 0.03


@pytest.mark.parametrize("machine", ["microvm", "q35"])
def test_sleeping_guest_wakes_for_each_call(machine: str) -> None:
    with booted(machine=machine) as guest:
        for number in range(50):
            assert wait_until(lambda: is_asleep(guest.machine), timeout=5)
            assert guest.machine.call("lab_ping", number, timeout=2).result == number + 1


def test_no_request_is_lost_however_long_the_guest_has_waited(guest: Probe) -> None:
    """The gaps between the calls are those at which the guest stops polling, looks once more, and halts."""
    dice = random.Random(1)  # noqa: S311
    for number in range(1500):
        gap = dice.choice([0, 0, 1e-4, dice.uniform(0, 2e-4), dice.uniform(2.5e-4, 4.5e-4), 1e-3])
        start = time.perf_counter()
        while time.perf_counter() - start < gap:
            pass
        assert guest.machine.call("lab_ping", number, timeout=2).result == number + 1


def test_bytes_on_the_line_that_nobody_asked_for_do_no_harm(guest: Probe) -> None:
    for _ in range(20):
        (guest.machine.qemu.folder / "console.in").write_bytes(b"hello" * 20)

    assert guest.call("lab_ping", 1) == 2
    assert wait_until(lambda: is_asleep(guest.machine), timeout=5)


def test_each_of_two_threads_gets_its_own_answers_and_faults(guest: Probe) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(150):
            address = ABSENT + (number * 1000 + turn) * PAGE
            result = guest.machine.call("read_u64", address)
            if result.exception is None or result.exception.cr2 != address:
                wrong.append(result)
            block = bytearray(8)
            guest.machine.call("RtlCopyMemory", block, address.to_bytes(8, "little"), 8)
            if block != address.to_bytes(8, "little"):
                wrong.append(block)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_phase_tells_what_the_guest_is_at(fresh_guest: Probe) -> None:
    guest = fresh_guest
    assert guest.machine.mailbox.phase == "ready"

    guest.machine.post("hang")

    assert wait_until(lambda: guest.machine.mailbox.phase == "busy", timeout=5)


def test_only_exports_are_called(guest: Probe) -> None:
    refused = guest.kernel.constant("LAB_REFUSED")
    mailbox = guest.guest.variable("lab_mailbox")
    stopped_at = guest.kernel.symbol("exit_panic").address

    with pytest.raises(UsageError, match="only its exports can be called"):
        guest.machine.call(int(stopped_at))

    assert guest.guest.variable("lab_mailbox").inner("reply")["outcome"] == refused
    assert guest.guest.variable("lab_mailbox")["completed"] == mailbox["completed"] + 1
    assert guest.call("lab_ping", 1) == 2


@pytest.mark.parametrize("name", ["lab_ping", "read_u64", "write_u64", "copy", "fill", "execute", "walk", "bugcheck"])
def test_commands_have_a_line_of_help(guest: Probe, name: str) -> None:
    export = guest.kernel.export(name)

    assert export.is_command
    assert export.help.endswith(".")


def test_commands_read_write_copy_and_fill(guest: Probe) -> None:
    with guest.pool(256) as block:
        guest.call("write_u64", block, 0x1122334455667788)
        assert guest.call("read_u64", block) == 0x1122334455667788
        assert guest.call("touch_read", block) == 0x88

        guest.call("touch_write", block)
        assert guest.u64(block) == 0x1122334455667788

        guest.call("copy", block + 100, block, 8)
        assert guest.read(block + 100, 8) == guest.read(block, 8)

        guest.call("fill", block + 10, 0xAB, 3)
        assert guest.read(block + 9, 5) == b"\xcd\xab\xab\xab\xcd"
