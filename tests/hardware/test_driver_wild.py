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
