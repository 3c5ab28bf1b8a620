"""The lecture page in a real browser: Debian's Chromium, without a display, and a lecture just played in QEMU."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from lab.demo.player import Player
from lab.demo.web import Server, WebFace, listen
from lab.machine import Machine
from lab.scenarios import all_scenarios
from lab.scenarios.step import NO_TEXT
from lab.texts import Text
from lab.timeline import Timeline
from lab.timeline.recorder import Recorder

CHROMIUM = "/usr/bin/chromium"
SCREENSHOTS = Path(__file__).parent / "screenshots"
"""Kept, and not committed, so that a person can look at what the tests saw."""

PATIENCE = 60_000
"""Milliseconds to wait for what has to come, however busy the computer is."""

expect.set_options(timeout=PATIENCE)

QUESTION = Text("Where will the second address lead?")
ANSWER = Text("To the very same frame.")
NOTES = Text("Let them guess first.\nThen point at the frame.")


def played(name: str = "mdl-remap") -> Timeline:
    """A lecture from its beginning to its end, on a machine of its own."""
    with Machine(gdb=True) as machine:
        return Recorder(all_scenarios()[name], machine).finish()


def with_question(timeline: Timeline, number: int) -> Timeline:
    """The same lecture, with a question before one of its moments and no other, and notes for every speaker."""
    other = Timeline(
        timeline.scenario, timeline.title, banks=timeline.banks, kernel=timeline.kernel, sources=timeline.sources
    )
    for moment in timeline:
        question, answer = (QUESTION, ANSWER) if moment.number == number else (NO_TEXT, NO_TEXT)
        other.append(replace(moment, step=moment.step._replace(notes=NOTES, question=question, answer=answer)))
    return other


@pytest.fixture(scope="session")
def lecture() -> Timeline:
    """The main lecture, as a machine has just played it; moment 4 is asked for."""
    return with_question(played(), 4)


class Served:
    """A face that is being served, until it is stopped."""

    def __init__(self, face: WebFace, server: Server, thread: threading.Thread) -> None:
        self.face = face
        self.url = face.url
        self._server = server
        self._thread = thread

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE / 1000)
        assert not self._thread.is_alive()


@contextmanager
def serving(player: Player, language: str = "en", titles: Sequence[Text] = ()) -> Iterator[Served]:
    """Serve a player on a free port of this computer."""
    with listen(("127.0.0.1", 0)) as listener:
        face = WebFace(player, listener.getsockname(), language, titles=titles)
        server = Server(face)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        served = Served(face, server, thread)
        try:
            yield served
        finally:
            served.stop()


@pytest.fixture
def served(lecture: Timeline) -> Iterator[Served]:
    """The lecture's recording, served."""
    with serving(Player(lecture)) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield (found := playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]))
        found.close()


class Watch:
    """What pages of a context complained of, and what they asked of the network."""

    def __init__(self, context: BrowserContext) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        context.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("request", lambda request: self.requests.append(request.url))

    def foreign(self, own: str) -> list[str]:
        """Requests to anything that does not begin with `own`."""
        return [url for url in self.requests if not url.startswith(own)]


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, served: Served) -> Iterator[Open]:
    """A function that opens the served lecture (or another URL) in a fresh browser, and waits until it is shown.

    In the end nothing may have been complained of, and nothing asked of any other place.
    """
    contexts: list[tuple[BrowserContext, Watch, str]] = []

    def open_(url: str = served.url, *, size: tuple[int, int] = (1920, 1080), motion: str = "reduce") -> Page:
        viewport = {"width": size[0], "height": size[1]}
        context = browser.new_context(viewport=viewport, reduced_motion=motion)  # type: ignore[arg-type]
        own = re.match(r"file://|https?://[^/]+/", url)
        contexts.append((context, Watch(context), own[0] if own else url))
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("html[data-shown]")
        return page

    yield open_
    for context, watch, own in contexts:
        context.close()
        assert watch.complaints == []
        assert watch.foreign(own) == []


def shown(page: Page, what: int | str) -> None:
    """Wait until the page shows a moment; "3?" is the question before the fourth."""
    page.wait_for_selector(f'html[data-shown="{what}"]')


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


FETCHED = """(wanted) => new Promise((done) => {
    const moments = () => performance.getEntriesByType('resource').filter((each) => each.name.includes('/moments/'));
    const look = () => moments().length < wanted ? requestAnimationFrame(look) : done();
    look();
})"""


def fetched(page: Page, lecture: Timeline) -> None:
    """Wait until the page has every moment of a lecture, so that it needs the lab no more."""
    page.evaluate(FETCHED, len(lecture))


def go_to(page: Page, number: int) -> None:
    """Type the number and Enter, as a lecturer does."""
    press(page, *str(number), "Enter")
    shown(page, number)


def keep(page: Page, name: str) -> None:
    """Keep a picture of the page for people to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
