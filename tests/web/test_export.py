"""The lecture as one file: from a USB stick, without a network, on a computer that has no lab."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from lab.demo.cast import cast
from lab.demo.export import export_html, line_for
from lab.demo.page import SCRIPTS, joined_scripts, script
from lab.timeline import Timeline
from tests.web.conftest import ANSWER, Open, go_to, keep, press, shown

LARGEST = 3 << 19
"""Bytes: 1.5 MiB."""


@pytest.fixture(scope="module")
def file(lecture: Timeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("stick") / "lecture.html"
    found.write_text(export_html(lecture))
    return found


SVG = "http://www.w3.org/2000/svg"
"""The name of a namespace, which nobody asks for."""


def test_it_is_small_and_names_no_other_place(file: Path) -> None:
    text = file.read_text()
    assert len(text.encode()) < LARGEST
    packed = re.search(r'<script[^>]*id="bundle"[^>]*>(.*?)</script>', text)
    assert packed
    moments = gzip.decompress(base64.b64decode(packed[1])).decode()
    assert SVG in moments
    named = re.findall(r"\b(?:https?|ftp|wss?)://[^\s\"'<\\]*|\bsrc=\S*|url\(|@import", text + moments)
    assert set(named) <= {SVG}


def test_every_moment_is_in_it(open_page: Open, file: Path, lecture: Timeline) -> None:
    page = open_page(file.as_uri())
    expect(page.locator("#source-of-truth")).to_have_text("○ file")
    for number in range(1, len(lecture)):
        press(page, "ArrowRight")
        if number == 4:
            shown(page, "3?")
            press(page, "ArrowRight")
        shown(page, number)
        expect(page.locator("#story h1")).to_have_text(lecture[number].step.title)
    go_to(page, 4)
    expect(page.locator("#story .answer")).to_have_text(ANSWER)
    keep(page, "export")


def test_all_that_can_be_chosen_is_answered(open_page: Open, file: Path, lecture: Timeline) -> None:
    page = open_page(file.as_uri())
    for number in range(len(lecture)):
        go_to(page, number)
        addresses = page.evaluate(
            "[...new Set([...document.querySelectorAll('[data-address]')].map((each) => each.dataset.address))]"
        )
        assert len(addresses) > 10
        bundle = page.evaluate(KNOWN)
        assert {line_for(each) for each in addresses} <= set(bundle[number])
    page.locator("#walk [data-address]").first.click()
    expect(page.locator("#answered svg.walk")).to_be_visible()


KNOWN = """async () => {
    const bytes = Uint8Array.from(atob(document.querySelector('#bundle').textContent), (each) => each.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    return (await new Response(plain).json()).moments.map((moment) => Object.keys(moment.answers));
}"""


def test_what_the_file_does_not_know_it_says(open_page: Open, file: Path) -> None:
    page = open_page(file.as_uri())
    page.locator("#line").fill("walk 0x123456789000")
    page.locator("#line").press("Enter")
    expect(page.locator("#answered")).to_contain_text("This file knows only the addresses that it shows")


def test_the_scripts_in_one_piece_are_the_scripts() -> None:
    joined = joined_scripts()
    assert not re.search(r"^(import|export)\b", joined, re.MULTILINE)
    declared = re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", joined, re.MULTILINE)
    assert len(declared) == len(set(declared))
    for name in SCRIPTS:
        imported = re.findall(r'from "\./(.+?)"', script(name))
        assert [each for each in imported if SCRIPTS.index(each) >= SCRIPTS.index(name)] == []


def test_a_cast_is_what_asciinema_plays(lecture: Timeline) -> None:
    head, *events = map(json.loads, cast(lecture).splitlines())
    assert (head["version"], head["title"]) == (2, lecture.title)
    times = [at for at, _, _ in events]
    assert times == sorted(times)
    assert {kind for _, kind, _ in events} == {"o"}
    said = re.sub(r"\x1b\[[0-9;]*m", "", "".join(text for _, _, text in events))
    assert all(moment.step.title in said for moment in lecture)
    assert said.count("\n") == said.count("\r\n")
