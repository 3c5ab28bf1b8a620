"""The page as one file that needs nothing else: every moment, and the answers to all that can be chosen in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html import unescape
from typing import TYPE_CHECKING

from lab.demo.fragments import fragments, panel_of
from lab.demo.page import joined_scripts, page_css, page_html
from lab.demo.prompt import answer
from lab.demo.scene import scene
from lab.render.html import report_html
from lab.render.markup import element
from lab.texts import ENGLISH
from lab.views.report import Json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lab.snapshot import Snapshot
    from lab.timeline import Timeline

__all__ = ["export_html", "moment_data", "line_for"]

_CHOOSABLE = re.compile(r'data-address="([^"]+)"')


def moment_data(timeline: Timeline, number: int, language: str) -> tuple[dict[str, Json], dict[str, str]]:
    """What the page gets of a moment: facts about it, and the HTML of its slots."""
    shown = scene(timeline, number, language)
    slots = fragments(shown, language)
    facts: dict[str, Json] = {
        "number": number,
        "title": shown.title,
        "question": shown.question,
        "panel": panel_of(shown, slots),
    }
    return facts, slots


def export_html(timeline: Timeline, language: str = ENGLISH) -> str:
    """The whole lecture as one HTML file; it works from any place, without any other.

    What repeats is kept once, and all of it is compressed: a moment takes a few KiB.
    """
    strings = _Strings()
    moments: list[Json] = []
    for number in range(len(timeline)):
        facts, slots = moment_data(timeline, number, language)
        answers = _answers(timeline, number, slots.values())
        moments.append({
            **facts,
            "slots": {name: strings.add(html) for name, html in slots.items()},
            "answers": {line: strings.add(html) for line, html in answers.items()},
        })  # fmt: skip
    bundle = json.dumps({"moments": moments, "strings": strings.all}, ensure_ascii=False, separators=(",", ":"))
    packed = base64.b64encode(gzip.compress(bundle.encode(), 9, mtime=0)).decode()
    return page_html(timeline.title.in_language(language), timeline.scenario, language, _head(packed))


def _answers(timeline: Timeline, number: int, pieces: Iterable[str]) -> dict[str, str]:
    """The answers to all that can be chosen in these pieces of a moment."""
    snapshot = timeline.snapshot(number)

    def now() -> Snapshot:
        return snapshot

    lines = sorted({line_for(unescape(each)) for html in pieces for each in _CHOOSABLE.findall(html)})
    return {line: report_html(answer(line, now, None), clickable=True) for line in lines}


def line_for(address: str) -> str:
    """What is asked when an address is chosen; the same as in pointing.js."""
    return f"aliases {address}" if address.startswith("pa:") else f"walk {address}"


class _Strings:
    """Texts, each kept once, by their numbers."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._known: dict[str, int] = {}

    def add(self, text: str) -> int:
        """The number of a text."""
        number = self._known.setdefault(text, len(self.all))
        if number == len(self.all):
            self.all.append(text)
        return number


def _head(packed: str) -> str:
    """Style and scripts in the file itself, and a policy that allows exactly these and no network."""
    script, style = joined_scripts(), page_css()
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'"
    return "\n".join([
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        element("style", style),
        element("script", packed, type="text/plain", id="bundle"),
        element("script", script, type="module"),
    ])  # fmt: skip


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
