"""Every view, in every state, as text and as JSON: what is printed stands in `expected/`, to be read like a session.

``LAB_UPDATE_GOLDEN=1 pytest tests/golden`` writes the files anew; look at what `git diff` shows before committing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from lab.errors import LabError
from lab.render import render_html, render_json, render_svg, render_text
from lab.snapshot import Snapshot
from lab.views import all_views
from lab.views.registry import Raw, View

EXPECTED = Path(__file__).parent / "expected"

Arguments = dict[str, Raw]

CASES: dict[str, list[Arguments]] = {
    "aliases": [{"address": "pool:Demo"}, {"address": "pa:0x12a010"}, {"address": "cr3"}, {"address": "0"}],
    "bugcheck": [{}],
    "frames": [{}, {"frame": "0x100"}, {"frame": "pool:Demo"}, {"frame": "cr3"}, {"frame": "fffff"}],
    "log": [{"tail": 4}, {"tail": 0}],
    "map": [{}],
    "mdl": [{}, {"index": 0}, {"index": 2}, {"index": -1}],
    "mem": [
        {"address": "pool:Demo", "length": 48},
        {"address": "0xfffff88000000ff0", "length": 64},
        {"address": "0x400ff8", "length": 24},
        {"address": "pa:0x9fff0", "length": 32},
        {"address": "0x100000", "phys": True, "length": "0x10"},
        {"address": "mdl:0", "length": 0},
    ],
    "pool": [{}, {"blocks": True}, {"tag": "Demo"}, {"tag": "Mdl"}, {"tag": "None"}],
    "regs": [{}],
    "symbols": [
        {"pattern": "KeBug*"},
        {"pattern": "no such name"},
        {"pattern": "0xfffff78000000000"},
        {"pattern": "MmMap*", "exports": True},
    ],
    "table": [
        {"table": "cr3"},
        {"table": "pa:0x1000", "level": "PD"},
        {"table": "0x100000"},
        {"table": "0xffff000000"},
    ],
    "walk": [
        {"address": "rip"},
        {"address": "cr2"},
        {"address": "mdl:0"},
        {"address": "mdl:1"},
        {"address": "pool:Demo+0x10", "style": "windbg"},
        {"address": "0xfffff780`00000000", "style": "windbg"},
        {"address": "0", "style": "windbg"},
        {"address": "0xfffff88000000000", "style": "windbg"},
        {"address": "0x0000800000000000"},
        {"address": "KeBugCheckEx-1"},
        {"address": "KeBugChekEx"},
        {"address": "pa:0x1000"},
        {"address": "0xff80000000000000", "cr3": "pa:0x200000"},
        {"address": "KeBugCheckEx", "access": "write"},
        {"address": "0x400010", "access": "read", "user": True},
        {"address": "0xff80000000001008", "access": "fetch"},
        {"address": "0x0000800000000000", "access": "read"},
        {"address": "0x00ff000000000000", "access": "read"},
        {"address": "rip", "user": True},
    ],
}

LONG_JSON = {"map", "frames", "pool", "table"}
"""Views whose JSON is shown for the first case only: the others would repeat hundreds of lines."""


def test_every_view_has_cases() -> None:
    assert set(CASES) == set(all_views())


@pytest.mark.parametrize("view_name", sorted(CASES))
def test_view(view_name: str, state_name: str, state: Callable[[str], Snapshot]) -> None:
    cases = CASES[view_name]
    shown = "".join(
        _session(state(state_name), view_name, case, with_json=_wants_json(view_name, case)) for case in cases
    )
    path = EXPECTED / state_name / f"{view_name}.txt"
    if os.environ.get("LAB_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(shown)
    assert path.exists(), f"{path} is missing; LAB_UPDATE_GOLDEN=1 writes it"
    assert shown == path.read_text()


@pytest.mark.parametrize("view_name", sorted(CASES))
def test_every_view_is_a_page_and_a_picture_too(
    view_name: str, state_name: str, state: Callable[[str], Snapshot]
) -> None:
    for case in CASES[view_name]:
        try:
            report = all_views()[view_name].run(state(state_name), case)
        except LabError:
            continue
        page, picture = render_html(report), render_svg(report)
        shown = "".join(ET.fromstring(picture).itertext())
        assert page.startswith("<!doctype html>")
        for text in (page, picture):
            assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg\b)|//fonts|@import|url\(|<script", text)
        for address in re.findall(r"\b0x[0-9a-f]{16}\b", render_text(report))[:1]:
            assert address in shown
            assert address in page


def _wants_json(view_name: str, case: Arguments) -> bool:
    return view_name not in LONG_JSON or case is CASES[view_name][0]


def _session(snapshot: Snapshot, view_name: str, case: Arguments, *, with_json: bool) -> str:
    """What a person would type, and see."""
    view = all_views()[view_name]
    command = f"$ lab {view_name}{''.join(_typed(view, name, value) for name, value in case.items())}"
    try:
        report = view.run(snapshot, case)
    except LabError as error:
        return f"{command}\nlab: {error}\n[exit {error.exit_code}]\n\n"
    code = "" if report.answer else "[exit 1]\n"
    shown = f"{command}\n{render_text(report)}{code}\n"
    return f"{shown}{command} --json\n{_compact(render_json(report))}{code}\n" if with_json else shown


def _typed(view: View, name: str, value: Raw) -> str:
    parameter = next(each for each in view.parameters if each.name == name)
    if parameter.positional:
        return f" {value}"
    return f" {parameter.flag}" if value is True else f" {parameter.flag} {value}"


_SMALL = re.compile(r"^ {4,}.*?[\[{](?:[^\[\]{}]|\[[^\[\]{}]*\])*[\]}]|[\[{][^\[\]{}]*[\]}]", re.MULTILINE)


def _compact(text: str) -> str:
    """JSON with small objects on one line each: easier to read, and to compare, than one value a line."""
    return _SMALL.sub(lambda match: re.sub(r"(?<=\S)\n\s*", " ", match[0]), text)
