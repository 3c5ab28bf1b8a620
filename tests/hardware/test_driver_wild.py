"""Drivers in the style of what is found in the wild: timers, DPCs, threads, work items, lists, devices, KMDF's stub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.machine import Machine
from lab.machine.driver.build import build
from lab.machine.driver.pe import DriverImage
from lab.machine.driver.session import Session, Visit

WILD = Path(__file__).resolve().parents[1] / "drivers" / "wild"

Play = Callable[[str], Visit]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Builds, loads and unloads a driver on a machine of its own."""

    def run(name: str) -> Visit:
        image = DriverImage.load(build([WILD / f"{name}.c"], tmp_path / f"{name}.sys").path)
        with Machine() as machine:
            session = Session(machine)
            session.run([image])
        assert session.error is None, str(session.error)
        (visit,) = session.visits
        return visit

    return run


@pytest.mark.parametrize("name", sorted(each.stem for each in WILD.glob("*.c")))
def test_it_loads_unloads_and_leaves_nothing(play: Play, name: str) -> None:
    visit = play(name)

    assert [act.status for act in visit.acts] == [0, 0]
    assert visit.leaks == []


def test_a_periodic_timer_runs_its_dpc_until_it_is_cancelled(play: Play) -> None:
    entry, unload = play("timer").acts

    waited, count = entry.log[-1].rsplit(" ", 1)
    assert waited == "wait 00000000 count"
    assert int(count) >= 3
    assert int(unload.log[-1].rpartition("=")[2]) >= 3


def test_a_system_thread_runs_to_its_end_and_can_be_waited_for(play: Play) -> None:
    log = [line for act in play("thread").acts for line in act.log]

    assert log[-2:] == ["thread ran 5", "joined"]


def test_the_stub_of_a_kmdf_driver_is_bound_to_functions_and_globals_and_unbound(play: Play) -> None:
    entry, unload = play("kmdf").acts

    assert entry.log[0].startswith("kmdf: bound 00000000, functions 1, globals 1")
    assert unload.log == ["kmdf: unbound"]


LAST_LINES = {
    "share_page": ["through user address: cafebabe"],
    "tables": ["avl 37 -> 1, depth 8", "splay 37 -> 1", "walked 100 bad 0", "walked 100", "delete 1 1", "count 99 99"],
    "cancel_safe": [
        "read 00000103",
        "canceled",
        "completed c0000120",
        "cancel 1",
        "read 00000103",
        "completed 00000000",
    ],
    "queue": ["setjmp 7", "queued 2", "head 1", "timeout 1"],
    "security": ["dacl 00000000 valid 1 len 40", "seaccess 1", "pid 0000000000000004 tid 0000000000000008 proc 1 x"],
    "notify": ["object 00000000"],
    "cookie": ["cookie fresh 1, complement 1, top bits clear 1"],
}
"""What some of them print, by and by, in DriverEntry."""


@pytest.mark.parametrize("name", LAST_LINES)
def test_it_finds_windows_as_it_expects_it(play: Play, name: str) -> None:
    log = play(name).acts[0].log

    assert [each for each in log if each in LAST_LINES[name]] == LAST_LINES[name]


def test_a_page_shared_with_a_program_has_two_entries_and_the_programs_is_not_executable(play: Play) -> None:
    entry, unload = play("share_page").acts

    (shared,) = (each for each in entry.calls if each.function == "MmMapLockedPagesSpecifyCache")
    *_, leaf = shared.changes
    assert leaf.start == int(shared.result or "0", 16)
    assert {"U", "W", "NX"} <= set(leaf.new.flags(leaf.level, leaf=True))
    assert "G" not in leaf.new.flags(leaf.level, leaf=True)
    (unmapped,) = (each for each in unload.calls if each.function == "MmUnmapLockedPages")
    assert [each.kind for each in unmapped.changes] == ["removed"]


def test_a_timer_that_calls_by_itself_has_called_by_the_end(play: Play) -> None:
    assert play("ex_timer").acts[1].log == ["hits>0 1"]
