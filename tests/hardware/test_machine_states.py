"""Saved states: a guest is taken back to what it was, whatever has become of it and whoever is connected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.errors import GuestCrashed, GuestStopped, GuestTimeout, UsageError
from lab.machine import Machine, MachineOptions, attach, boot, stop
from lab.x86 import Level
from lab.x86.address import PhysicalAddress


@pytest.fixture
def machine(nothing_left: Path) -> Iterator[Machine]:
    with Machine() as machine:
        machine.save_state("ready")
        yield machine


def test_memory_calls_and_log_go_back(machine: Machine) -> None:
    before, log = machine.memory.read(PhysicalAddress(0), 0x9F000), machine.log
    page = machine.call.ExAllocatePoolWithTag(512, 4096, 0x41414141).result
    machine.call.DbgPrint("written in vain\n")
    machine.load_state("ready")
    assert machine.memory.read(PhysicalAddress(0), 0x9F000) == before
    assert machine.log == log
    machine.call.DbgPrint("written after\n")
    assert machine.log == f"{log}written after\n"
    assert machine.call.ExAllocatePoolWithTag(512, 4096, 0x41414141).result == page


def test_what_the_host_wrote_goes_back_too(machine: Machine) -> None:
    scratch = machine.kernel.physical_of(machine.kernel.symbol("lab_mailbox").address + 0x800)
    assert scratch is not None
    with machine.qemu.ram.open("r+b") as ram:
        ram.seek(int(scratch))
        ram.write(b"from outside")
        ram.flush()
        assert machine.memory.read(scratch, 12) == b"from outside"
        machine.load_state("ready")
        assert machine.memory.read(scratch, 12) == bytes(12)


def test_states_are_many_and_can_be_saved_anew(machine: Machine) -> None:
    first = machine.call.ExAllocatePool(0, 4096).result
    machine.save_state("one page")
    machine.load_state("ready")
    assert machine.call.ExAllocatePool(0, 4096).result == first
    machine.load_state("one page")
    second = machine.call.ExAllocatePool(0, 4096).result
    assert second != first
    machine.save_state("ready")
    machine.load_state("ready")
    assert machine.call.ExAllocatePool(0, 4096).result not in {first, second}


def test_an_address_space_ends_with_the_guest_it_was_made_in(machine: Machine) -> None:
    with machine.new_space() as space:
        page = space.map(0x400000)
        machine.load_state("ready")
        for use in (
            lambda: machine.probe("nop", space=space),
            lambda: space.map(0x401000),
            lambda: space.walk(0x400000),
            lambda: space.entry(Level.PT, 0x400000),
        ):
            with pytest.raises(UsageError, match=r"void: the machine was taken back .* make a new one"):
                use()
    with machine.new_space() as space:
        assert space.map(0x400000) == page  # the frame is free again


def test_a_paused_state_is_paused_again(machine: Machine) -> None:
    machine.stop()
    machine.save_state("paused")
    assert not machine.is_running
    machine.load_state("ready")
    assert machine.is_running
    machine.load_state("paused")
    assert not machine.is_running
    machine.cont()
    assert machine.call.lab_ping(1).result == 2


def test_a_bug_check_is_undone(machine: Machine) -> None:
    with pytest.raises(GuestStopped):
        machine.call("KeBugCheckEx", 0xE2, 1, 2, 3, 4)
    assert machine.bugcheck is not None
    machine.load_state("ready")
    assert machine.bugcheck is None
    assert machine.call.lab_ping(1).result == 2


def test_a_triple_fault_is_undone(tiny_kernel: Callable[[bytes], Path], nothing_left: Path) -> None:
    flag = PhysicalAddress(2 << 20)
    wait_for_flag = b"\x83\x3d" + flag.to_bytes(4, "little") + b"\x00\x74\xf7"  # cmp dword [flag], 0; je back to it
    with Machine(MachineOptions(kernel=tiny_kernel(wait_for_flag + b"\xcc"))) as machine:  # int3, and no IDT
        machine.save_state("waiting")
        for _ in range(2):
            since = len(machine.qmp.events)
            with machine.qemu.ram.open("r+b") as ram:
                ram.seek(int(flag))
                ram.write(b"\x01")
            assert machine.qmp.wait_event("SHUTDOWN", timeout=5, since=since)
            with pytest.raises(GuestCrashed, match="triple fault"):
                machine.check()
            machine.load_state("waiting")
            machine.check()
            assert machine.is_running
            assert machine.memory.read(flag, 1) == b"\x00"


def test_an_endless_call_is_given_up(machine: Machine) -> None:
    forever = machine.post("KeStallExecutionProcessor", 0xFFFFFFFF)
    machine.load_state("ready")
    assert machine.call.lab_ping(1).result == 2
    with pytest.raises(UsageError, match="given up before"):
        forever.wait()
    with pytest.raises(GuestTimeout):
        machine.call("KeStallExecutionProcessor", 0xFFFFFFFF, timeout=0.1)
    machine.load_state("ready")
    assert machine.call.lab_ping(1).result == 2


def test_breakpoints_stay_and_gdb_sees_the_other_moment(machine: Machine) -> None:
    breakpoint_ = machine.gdb.break_at(machine.kernel.export("ExAllocatePool").address)
    machine.post("ExAllocatePool", 0, 64)
    stop = machine.gdb.wait_stopped()
    machine.save_state("at the breakpoint")
    machine.gdb.step()
    machine.gdb.step()
    assert machine.gdb.registers()["rip"] != stop.address
    machine.load_state("at the breakpoint")
    assert machine.gdb.registers()["rip"] == stop.address
    machine.load_state("ready")
    assert machine.is_running
    call = machine.post("ExAllocatePool", 0, 64)
    assert machine.gdb.wait_stopped().breakpoint == breakpoint_.number
    machine.gdb.continue_()
    assert call.wait().ok


def test_a_state_in_the_midst_of_a_call_ends_it(machine: Machine) -> None:
    machine.gdb.break_at(machine.kernel.export("ExAllocatePool").address, temporary=True)
    call = machine.post("ExAllocatePool", 0, 4096)
    machine.gdb.wait_stopped()
    machine.save_state("midst")
    machine.gdb.continue_()
    first = call.wait().result
    machine.load_state("midst")
    machine.cont()
    assert machine.call.ExAllocatePool(0, 4096).result == first + 4096


def test_states_of_a_background_machine_are_known_to_all(nothing_left: Path) -> None:
    boot("one").close()
    try:
        with attach("one") as first:
            first.save_state("ready")
            page = first.call.ExAllocatePool(0, 4096).result
            first.call.DbgPrint("in vain\n")
        with attach("one") as second, attach("one") as third:
            second.load_state("ready")
            assert third.call.ExAllocatePool(0, 4096).result == page
            assert "in vain" not in third.log
    finally:
        stop("one")


@pytest.mark.parametrize("options", [{"machine": "q35"}, {"ram": 512 << 20}, {"cpu": "qemu64"}])
def test_other_machines_can_be_taken_back(options: dict[str, object], nothing_left: Path) -> None:
    with Machine(MachineOptions(**options)) as machine:  # type: ignore[arg-type]
        machine.save_state("ready")
        page = machine.call.ExAllocatePool(0, 4096).result
        machine.load_state("ready")
        assert machine.call.ExAllocatePool(0, 4096).result == page


def test_unknown_and_impossible_states_are_refused(machine: Machine) -> None:
    with pytest.raises(UsageError, match="no saved state 'nowhere'; there are: ready"):
        machine.load_state("nowhere")
    with pytest.raises(UsageError, match="cannot name a saved state"):
        machine.save_state("")
    assert machine.call.lab_ping(1).result == 2
