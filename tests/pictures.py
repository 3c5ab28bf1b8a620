"""`python -m tests.pictures`: make the README's pictures of the lecture page anew, by looking at it in a browser."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from lab.demo.export import export_html
from lab.render import render_svg
from lab.timeline import Timeline
from lab.timeline.recording import read, shipped
from lab.views import find_view

PICTURES = Path(__file__).resolve().parents[1] / "images" / "pictures"
CHROMIUM = "/usr/bin/chromium"
MOMENT = "4"
"""The MDL has just been mapped."""


def main() -> None:
    """Make every picture."""
    PICTURES.mkdir(exist_ok=True)
    timeline = read(shipped("mdl-remap"))
    picture_of_page(timeline)
    view, snapshot = find_view("walk"), timeline.snapshot(int(MOMENT))
    assert view is not None
    (PICTURES / "walk.svg").write_text(render_svg(view.run(snapshot, {"address": "mdl:0"})))


def picture_of_page(timeline: Timeline) -> None:
    """The page as an audience sees it."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "lecture.html"
        file.write_text(export_html(timeline))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720}, reduced_motion="reduce")
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-shown]")
        page.keyboard.type(MOMENT)
        page.keyboard.press("Enter")
        page.wait_for_selector(f'html[data-shown="{MOMENT}"]')
        page.screenshot(path=PICTURES / "page.png")
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
