"""How long a step takes on the page, from the key to the next picture on the screen; for `make bench`."""

from __future__ import annotations

from dataclasses import replace

from playwright.sync_api import Page, sync_playwright

from lab.demo.player import Player
from lab.timeline import Timeline
from tests.web.conftest import CHROMIUM, PATIENCE, fetched, played, serving

MOMENTS = 100

STEP = """(key) => new Promise((done) => {
    const root = document.documentElement, start = performance.now();
    const watch = new MutationObserver(() => {
        watch.disconnect();
        requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
    });
    watch.observe(root, { attributes: true, attributeFilter: ['data-shown'] });
    document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
})"""


def long_lecture() -> Timeline:
    """The main lecture, which leaves everything as it was, over and over again."""
    short = played()
    found = Timeline(short.scenario, short.title, banks=short.banks, kernel=short.kernel, sources=short.sources)
    for number in range(MOMENTS):
        moment = short[1 + (number - 1) % (len(short) - 1)] if number else short[0]
        found.append(replace(moment, step=moment.step._replace(number=number)))
    return found


def page_steps() -> tuple[list[float], list[float]]:
    """Milliseconds of every step forwards, then backwards, on a recording of a hundred moments that is served."""
    lecture = long_lecture()
    with serving(Player(lecture)) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        page.set_default_timeout(PATIENCE)
        page.goto(served.url)
        page.wait_for_selector("html[data-shown]")
        fetched(page, lecture)
        found = steps(page, "ArrowRight"), steps(page, "ArrowLeft")
        browser.close()
    return found


def steps(page: Page, key: str) -> list[float]:
    """From one end of the lecture to the other."""
    return [page.evaluate(STEP, key) for _ in range(MOMENTS - 1)]
