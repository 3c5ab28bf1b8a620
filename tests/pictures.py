"""`python -m tests.pictures`: make the README's pictures of a lecture's two faces anew, by looking at them."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

from lab.demo.export import export_html
from lab.demo.player import Player
from lab.render import render_svg
from lab.timeline import Timeline
from lab.timeline.recording import read, shipped
from lab.views import find_view
from tests.terminal.conftest import sitting_before

PICTURES = Path(__file__).resolve().parents[1] / "images" / "pictures"
CHROMIUM = "/usr/bin/chromium"
MOMENT = "4"
"""The MDL has just been mapped."""


def main() -> None:
    """Make every picture."""
    PICTURES.mkdir(exist_ok=True)
    timeline = read(shipped("mdl-remap"))
    picture_of_page(timeline)
    (PICTURES / "terminal.png").write_bytes(as_png(asyncio.run(terminal_as_svg(timeline)), (1100, 700)))
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


async def terminal_as_svg(timeline: Timeline, keys: Sequence[str] = (*MOMENT, "enter")) -> str:
    """The terminal after some keys, as Textual draws it, in a font that is here instead of one from the network."""
    async with sitting_before(Player(timeline), (100, 30)) as seat:
        await seat.press(*keys)
        svg = seat.face.export_screenshot()
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")


def as_png(svg: str, size: tuple[int, int]) -> bytes:
    """An SVG as the browser draws it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.set_content(f"<style>body {{ margin: 0 }} svg {{ width: 100%; display: block }}</style>{svg}")
        picture = page.screenshot(omit_background=True)
        browser.close()
    return picture


if __name__ == "__main__":
    sys.exit(main())
