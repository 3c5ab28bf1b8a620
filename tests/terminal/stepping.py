"""How long a step takes in the terminal, from the key to the last change of the screen; for `make bench`."""

from __future__ import annotations

import asyncio
import time

from lab.demo.player import Player
from lab.timeline import Timeline
from tests.terminal.conftest import Seat, sitting_before


def terminal_steps(timeline: Timeline) -> tuple[list[float], list[float]]:
    """Milliseconds of every step of a recording forwards, then backwards."""
    return asyncio.run(_steps(timeline))


async def _steps(timeline: Timeline) -> tuple[list[float], list[float]]:
    async with sitting_before(Player(timeline), (160, 45)) as seat:
        forwards = [await _step(seat, "right", number) for number in range(1, len(timeline))]
        backwards = [await _step(seat, "left", number) for number in reversed(range(len(timeline) - 1))]
    return forwards, backwards


async def _step(seat: Seat, key: str, number: int) -> float:
    """One step; the question before it does not count, the answer does."""
    start = time.perf_counter()
    seat.face.simulate_key(key)
    while seat.face.shown != number:
        await asyncio.sleep(0)
        if seat.face.player.question and key:
            await seat.settle()
            start, key = time.perf_counter(), ""
            seat.face.simulate_key("right")
    is_drawn = asyncio.Event()
    seat.face.call_after_refresh(is_drawn.set)
    await is_drawn.wait()
    return (time.perf_counter() - start) * 1e3
