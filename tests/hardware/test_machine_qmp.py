"""QMP on a real QEMU: commands, events, refusals, and sharing its sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import GuestCrashed, GuestTimeout, HostError
from lab.machine import Machine
from lab.machine.qemu import MONITORS
from lab.machine.qmp import Qmp, QmpError


@pytest.fixture
def machine(nothing_left: Path) -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


def test_commands(machine: Machine) -> None:
    reply = machine.qmp.execute("query-status")
    assert isinstance(reply, dict)
    assert reply["status"] == machine.qmp.status() == "running"
    assert "VM status: running" in machine.qmp.hmp("info status")
    assert "qemu" in str(machine.qmp.greeting)


def test_refusals_carry_command_and_reply(machine: Machine) -> None:
    with pytest.raises(QmpError, match="QEMU refused 'no-such-command'") as info:
        machine.qmp.execute("no-such-command")
    assert info.value.command == "no-such-command"
    assert "has not been found" in info.value.reply
    with pytest.raises(QmpError, match="set-action"):
        machine.qmp.execute("set-action", {"reboot": "sideways"})


def test_events_are_kept_and_waited_for(machine: Machine) -> None:
    qmp = machine.qmp
    assert qmp.last("STOP") is None
    seen = len(qmp.events)
    qmp.stop()
    assert qmp.wait_event("STOP", timeout=5, since=seen)
    qmp.cont()
    assert qmp.wait_event("RESUME", timeout=5, since=seen)
    assert [event.name for event in qmp.events[seen:]] == ["STOP", "RESUME"]
    assert qmp.wait_event("STOP", timeout=0.01, since=len(qmp.events)) is None
    assert qmp.fate is None


def test_registers_agree_with_those_of_gdb(machine: Machine) -> None:
    with machine.paused():
        by_qmp, by_gdb = machine.qmp.registers(), machine.gdb.registers()
        same = by_qmp.keys() & by_gdb.keys()
        assert {"rax", "r15", "rip", "rflags", "cs", "gs", "gs_base", "cr0", "cr2", "cr3", "cr4", "efer"} <= same
        assert {name: by_qmp[name] for name in same} == {name: by_gdb[name] for name in same}


def test_end_of_qemu_is_noticed(machine: Machine) -> None:
    machine.qemu.process.kill()
    assert machine.qmp.wait_event("NONE", timeout=5) is None
    assert machine.qmp.lost
    with pytest.raises(GuestCrashed, match="QEMU is gone, so 'query-status' cannot be asked"):
        machine.qmp.status()


def test_sessions_take_different_sockets(machine: Machine) -> None:
    paths = [machine.qemu.folder / name for name in MONITORS]
    _ = machine.qmp
    others = [Qmp.connect_to_free(paths) for _ in MONITORS[1:]]
    with pytest.raises(HostError, match="all QMP sockets"):
        Qmp.connect_to_free(paths)
    for each in others:
        assert each.status() == "running"
        each.close()


def test_socket_taken_by_a_stranger(machine: Machine) -> None:
    path = machine.qemu.folder / MONITORS[0]
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(path))
        assert b"QMP" in stranger.recv(4096)
        with pytest.raises(GuestTimeout, match="it hangs, or another program is connected there"):
            Qmp(path, timeout=0.2)


def test_no_qemu_behind_the_socket(tmp_path: Path) -> None:
    with pytest.raises(GuestCrashed, match="nobody answers at"):
        Qmp(tmp_path / "none")
