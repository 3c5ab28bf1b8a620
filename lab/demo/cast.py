"""The lecture as an asciinema recording: the text of each step, typed out at a reader's pace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.scenarios.step import step_text
from lab.texts import ENGLISH

if TYPE_CHECKING:
    from lab.timeline import Timeline

__all__ = ["cast"]

COLUMNS, ROWS = 120, 40
LINE, STEP, READING = 0.04, 1.5, 0.03
"""Seconds from line to line, before each step, and for each character of what a step says."""


def cast(timeline: Timeline, language: str = ENGLISH) -> str:
    """The file's text: a header and one event a line, as asciinema's format 2 has them.

    >>> from lab.timeline.recording import read, shipped
    >>> lines = cast(read(shipped("mdl-remap"))).splitlines()
    >>> json.loads(lines[0])["version"], json.loads(lines[1])[1]
    (2, 'o')
    """
    title = timeline.title.in_language(language)
    head = {"version": 2, "width": COLUMNS, "height": ROWS, "title": title, "env": {"TERM": "xterm-256color"}}
    events = (json.dumps([round(at, 2), "o", text], ensure_ascii=False) for at, text in _events(timeline, language))
    return "\n".join([json.dumps(head, ensure_ascii=False), *events]) + "\n"


def _events(timeline: Timeline, language: str) -> Iterator[tuple[float, str]]:
    at = 0.0
    for moment in timeline:
        words = moment.step.title.in_language(language) + moment.step.text.in_language(language)
        for line in step_text(moment.step, color=True, language=language).splitlines():
            yield at, line + "\r\n"
            at += LINE
        yield at, "\r\n"
        at += STEP + READING * len(words)
