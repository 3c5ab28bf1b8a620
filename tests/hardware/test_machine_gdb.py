"""GDB on a running guest: breakpoints, steps, memory, calls, and how it shares the guest with the mailbox."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab.errors import GuestTimeout, HostError, UsageError
from lab.machine import Machine
from lab.machine.gdb import Gdb, GdbError
from lab.machine.waiting import wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.fixture
def machine(nothing_left: object) -> Iterator[Machine]:
    with Machine(gdb=True) as machine:
        yield machine


def test_attaching_leaves_the_guest_running(machine: Machine) -> None:
    assert machine.gdb.is_running
    assert wait_until(lambda: machine.qmp.status() == "running", timeout=5)
    assert machine.call.lab_ping(1).ok


def test_gdb_started_late() -> None:
    with Machine() as machine:
        assert machine.call.lab_ping(1).ok
        assert "mailbox_serve" in [frame.function for frame in machine.gdb.backtrace()]
        assert machine.call.lab_ping(1).ok


def test_stop_at_entry_and_at_return(machine: Machine) -> None:
    gdb, entry = machine.gdb, machine.kernel.export("lab_ping").address
    breakpoint_ = gdb.break_at(entry)
    assert breakpoint_.address == entry
    call = machine.post("lab_ping", 41)
    stop = gdb.wait_stopped()
    assert (stop.reason, stop.address) == ("breakpoint-hit", entry)
    assert stop.breakpoint == breakpoint_.number
    assert gdb.backtrace()[0].function == "lab_ping"
    assert not machine.is_running
    assert gdb.registers()["rcx"] == 41
    assert gdb.registers()["rip"] == machine.registers().rip == entry
    assert gdb.registers()["cr3"] == machine.registers().cr3
    assert gdb.finish().address != entry
    assert gdb.registers()["rax"] == 42
    gdb.continue_()
    assert call.wait().result == 42
    assert call.wait().result == 42, "asking again is allowed"


def test_breakpoints_of_all_kinds(machine: Machine) -> None:
    gdb, entry = machine.gdb, machine.kernel.export("lab_ping").address
    for options in ({"temporary": True}, {"hardware": True}, {"condition": "$rcx == 7"}):
        breakpoint_ = gdb.break_at(entry, **options)  # type: ignore[arg-type]
        call = machine.post("lab_ping", 7)
        assert gdb.wait_stopped().address == entry
        if not options.get("temporary"):
            gdb.delete(breakpoint_)
        gdb.continue_()
        assert call.wait().result == 8
    assert machine.call.lab_ping(7).ok, "no breakpoint is left"


def test_condition_that_does_not_hold(machine: Machine) -> None:
    machine.gdb.break_at(machine.kernel.export("lab_ping").address, condition="$rcx == 7")
    assert machine.call.lab_ping(6).ok
    with pytest.raises(GuestTimeout, match=r"met no breakpoint within 0.1 s"):
        machine.gdb.wait_stopped(0.1)


def test_step_runs_one_instruction(machine: Machine) -> None:
    gdb, entry = machine.gdb, machine.kernel.export("lab_ping").address
    gdb.break_at(entry)
    call = machine.post("lab_ping", 1)
    gdb.wait_stopped()
    after = gdb.step().address
    assert 0 < after - entry <= 15
    gdb.continue_()
    assert call.wait().ok


def test_memory_is_read_and_written(machine: Machine) -> None:
    gdb, address = machine.gdb, machine.kernel.symbol("lab_mailbox").address
    physical = machine.kernel.physical_of(address)
    assert physical is not None
    log = machine.kernel.symbol("lab_log").address
    whole = machine.kernel.structure("lab_log").size
    assert gdb.read(log, whole) == machine.snapshot().guest.read(log, whole)
    gdb.write(address + 0x900, b"\x01\x02\x03\x04" * 100)
    assert machine.memory.read(physical + 0x900, 400) == gdb.read(address + 0x900, 400) == b"\x01\x02\x03\x04" * 100
    with pytest.raises(GdbError, match=r"0xfffff880dead0000.*Unable to read memory"):
        gdb.read(0xFFFF_F880_DEAD_0000, 8)
    assert gdb.is_running


def test_expressions_know_the_types_of_the_kernel(machine: Machine) -> None:
    assert machine.gdb.number("sizeof(struct lab_mailbox)") == machine.kernel.structure("lab_mailbox").size
    assert machine.gdb.number("&lab_mailbox") == machine.kernel.symbol("lab_mailbox").address
    with pytest.raises(GdbError, match='No symbol "no_such_thing"') as info:
        machine.gdb.evaluate("no_such_thing")
    assert "no_such_thing" in info.value.command


def test_refusals_carry_command_and_reply(machine: Machine) -> None:
    with pytest.raises(GdbError, match="gdb refused '-no-such-command'") as info:
        machine.gdb.command("-no-such-command")
    assert "Undefined MI command" in info.value.reply
    with pytest.raises(GdbError, match="no_such_function"):
        machine.gdb.break_at("no_such_function")


@pytest.mark.parametrize("paused", [False, True])
def test_call_through_gdb(machine: Machine, paused: bool) -> None:
    time.sleep(0.02)  # so that the guest sleeps
    if paused:
        machine.stop()
    before = machine.gdb.registers()
    assert machine.gdb_call("lab_ping", 41).result == 42
    if paused:
        after = machine.gdb.registers()
        assert {name for name in before if before[name] != after[name]} <= {"rflags"}
        machine.cont()
    assert machine.call.lab_ping(1).result == 2


def test_call_through_gdb_in_the_midst_of_another(machine: Machine) -> None:
    gdb = machine.gdb
    gdb.break_at(machine.kernel.export("lab_ping").address, temporary=True)
    call = machine.post("lab_ping", 1)
    gdb.wait_stopped()
    assert machine.gdb_call("lab_ping", 10).result == 11
    gdb.continue_()
    assert call.wait().result == 2


def test_calls_through_gdb_go_unnoticed_by_what_runs(machine: Machine) -> None:
    data = bytes(range(256)) * 8
    call = machine.post("KeStallExecutionProcessor", 300_000)
    answers: list[int] = []
    while not machine.mailbox.is_idle:
        answers.append(machine.gdb_call("lab_ping", len(answers)).result)
    assert len(answers) > 1
    assert answers == list(range(1, len(answers) + 1))
    assert call.wait().ok

    seen = bytearray(len(data))
    copy = machine.post("copy", seen, data, len(data))
    machine.gdb_call("lab_ping", 1)
    assert copy.wait().ok
    assert seen == data


def test_a_call_through_gdb_meets_breakpoints(machine: Machine) -> None:
    met = machine.gdb.break_at(machine.kernel.export("lab_ping").address)
    with pytest.raises(GdbError, match="call of lab_ping"):
        machine.gdb_call("lab_ping", 41)
    assert machine.gdb.registers()["rcx"] == 41, "the guest stands at the breakpoint"
    machine.gdb.delete(met)
    machine.gdb.continue_()
    assert machine.call.lab_ping(1).result == 2, "it went on, and back to where it was"


def test_fault_in_a_call_through_gdb(machine: Machine) -> None:
    result = machine.gdb_call("read_u64", 0xFFFF_F880_DEAD_0000)
    assert result.exception is not None
    assert (result.exception.name, result.exception.cr2) == ("#PF", 0xFFFF_F880_DEAD_0000)
    assert machine.call.lab_ping(1).ok


def test_pausing_with_gdb_attached(machine: Machine) -> None:
    with machine.paused():
        assert not machine.is_running
        assert machine.qmp.status() != "running"
        with machine.paused():
            pass
        assert not machine.is_running, "the inner block found it paused"
    assert machine.is_running
    assert machine.call.lab_ping(1).ok


def test_second_gdb_is_told_so(machine: Machine) -> None:
    second = Gdb(machine.qemu.folder)
    try:
        with pytest.raises(HostError, match="another gdb of ours"):
            second.begin_attach(machine.qemu.folder / "gdb", resume=True)
    finally:
        second.close()


def test_call_given_up(machine: Machine) -> None:
    machine.gdb.break_at(machine.kernel.export("lab_ping").address)
    call = machine.post("lab_ping", 1)
    machine.gdb.wait_stopped()
    with pytest.raises(GuestTimeout, match="return from lab_ping"):
        call.wait(0.1)
    with pytest.raises(UsageError, match="given up"):
        call.wait()
    machine.gdb.continue_()
    machine.gdb.delete(*[])
