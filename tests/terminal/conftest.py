"""The terminal face as a test sits before it: keys go in, what stands on the screen comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import wraps
from typing import ParamSpec

from textual.pilot import Pilot

from lab.demo.player import Player
from lab.demo.terminal import TerminalFace

P = ParamSpec("P")


def in_a_loop(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Let a test wait for the face, on a thread of its own: on the first one playwright's loop may be running."""

    @wraps(test)
    def run(*arguments: P.args, **more: P.kwargs) -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(test(*arguments, **more))).result()  # type: ignore[arg-type]

    return run


class Seat:
    """A seat before the screen."""

    def __init__(self, face: TerminalFace, pilot: Pilot[None]) -> None:
        self.face = face
        self._pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys, and wait until everything that they bring about is on the screen."""
        for key in keys:
            await self._pilot.press(key)
            await self.settle()

    async def reach(self, title: str) -> None:
        """Go to the next step, whose title this is; the question before it, if there is one, is answered."""
        await self.press("right")
        if self.face.player.question:
            await self.press("right")
        assert title in self.lines[1]

    async def type(self, text: str) -> None:
        """Type letters, then Enter."""
        await self._pilot.press(*text)
        await self.press("enter")

    async def ask(self, line: str) -> None:
        """Ask at the prompt, which must be closed."""
        await self.press("colon")
        await self.type(line)

    async def resize(self, width: int, height: int) -> None:
        await self._pilot.resize_terminal(width, height)
        await self.settle()

    async def settle(self) -> None:
        await self.face.workers.wait_for_complete()
        await self._pilot.pause()

    @property
    def lines(self) -> list[str]:
        """The screen's lines, as letters."""
        strips = self.face.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def styles_of(self, text: str) -> set[str]:
        """The styles of the pieces of the screen that have exactly this text."""
        strips = self.face.screen._compositor.render_strips()
        return {str(segment.style) for strip in strips for segment in strip if segment.text.strip() == text}


@asynccontextmanager
async def sitting_before(
    player: Player, size: tuple[int, int] = (100, 30), language: str = "en"
) -> AsyncIterator[Seat]:
    """Give a lecture on a screen of that size."""
    face = TerminalFace(player, language)
    async with face.run_test(size=size) as pilot:
        seat = Seat(face, pilot)
        await seat.settle()
        yield seat
