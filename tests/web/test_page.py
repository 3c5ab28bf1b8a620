"""A lecturer at the page: every key, the pointer, the prompt; and nothing that goes wrong stops the lecture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.demo.player import Player
from lab.machine import Machine
from lab.scenarios import all_scenarios
from lab.texts import Text
from lab.timeline import Timeline
from lab.timeline.recorder import Recorder
from lab.timeline.recording import read, shipped
from tests.web.conftest import ANSWER, NOTES, QUESTION, Open, Served, fetched, go_to, keep, press, serving, shown

SIZES = [(1920, 1080), (1280, 720)]
THEMES = ["dark", "light", "projector"]


# ------------------------------------------------------------------------------------------------------ moving ----


def test_the_page_opens_with_the_lecture(open_page: Open, lecture: Timeline) -> None:
    page = open_page()
    expect(page.locator("#story h1")).to_have_text("One frame, two addresses")
    expect(page.locator("#count")).to_have_text(f"0 / {len(lecture) - 1}")
    assert page.title().startswith("0 · ")


@pytest.mark.parametrize(
    ("forwards", "backwards"), [("ArrowRight", "ArrowLeft"), ("PageDown", "PageUp"), ("Space", "ArrowLeft")]
)
def test_presenters_and_their_clickers_step(open_page: Open, forwards: str, backwards: str) -> None:
    page = open_page()
    press(page, forwards, forwards)
    shown(page, 2)
    expect(page.locator("#story h1")).to_have_text("Allocate an MDL that describes it")
    press(page, backwards)
    shown(page, 1)


@pytest.mark.parametrize("has_all", [True, False], ids=["foretold", "asked for"])
def test_impatient_fingers_end_where_they_should(
    open_page: Open, served: Served, lecture: Timeline, has_all: bool
) -> None:
    page = open_page()
    if has_all:
        fetched(page, lecture)
    for _ in range(5):
        press(page, *["ArrowRight"] * 3, *["ArrowLeft"] * 2, "ArrowRight", "ArrowLeft", "ArrowLeft")
    go_to(page, 2)
    ask(page, "regs")  # which waits for all that was wanted before
    assert served.face.player.position == 2
    shown(page, 2)
    expect(page.locator("#story h1")).to_have_text("Allocate an MDL that describes it")


def test_steps_end_at_both_ends(open_page: Open, lecture: Timeline) -> None:
    page = open_page()
    press(page, "ArrowLeft")
    shown(page, 0)
    press(page, "End")
    shown(page, len(lecture) - 1)
    press(page, "ArrowRight")
    shown(page, len(lecture) - 1)


def test_digits_and_enter_go_to_a_step(open_page: Open) -> None:
    page = open_page()
    press(page, "1", "0")
    expect(page.locator("#digits")).to_have_text("→ 10")
    press(page, "Enter")
    shown(page, 10)
    expect(page.locator("#digits")).to_be_hidden()
    press(page, "7", "Escape", "Enter")
    shown(page, 10)


def test_the_ends_are_a_key_away_and_a_digit_can_be_taken_back(open_page: Open, lecture: Timeline) -> None:
    page = open_page()
    press(page, "End")
    shown(page, len(lecture) - 1)
    press(page, "Home")
    shown(page, 0)
    press(page, "1", "7", "Backspace", "0", "Enter")
    shown(page, 10)


def test_a_blank_screen_is_shown_again_by_the_key_that_would_step(open_page: Open) -> None:
    page = open_page()
    for key in ("ArrowRight", "PageUp"):
        press(page, "b")
        expect(page.locator("#blank")).to_be_visible()
        press(page, key)
        expect(page.locator("#blank")).to_be_hidden()
        shown(page, 0)
    press(page, "b")
    go_to(page, 2)
    expect(page.locator("#blank")).to_be_hidden()


def test_a_question_is_asked_before_its_moment_and_the_next_key_reveals(open_page: Open) -> None:
    page = open_page()
    go_to(page, 3)
    press(page, "ArrowRight")
    shown(page, "3?")
    expect(page.locator("#asked")).to_have_text(QUESTION)
    assert ANSWER not in page.locator("body").inner_text()
    press(page, "ArrowLeft")
    shown(page, 3)
    press(page, "ArrowRight", "ArrowRight")
    shown(page, 4)
    expect(page.locator("#question")).to_be_hidden()
    expect(page.locator("#story .answer")).to_have_text(ANSWER)


def test_two_windows_show_the_same_moment(open_page: Open) -> None:
    one, other = open_page(), open_page()
    go_to(one, 5)
    shown(other, 5)
    press(other, "b")
    expect(one.locator("#blank")).to_be_visible()
    press(one, "b")
    expect(other.locator("#blank")).to_be_hidden()


# -------------------------------------------------------------------------------------------------- what is shown ----


def test_the_walk_runs_from_cr3_to_one_frame_for_two_addresses(open_page: Open) -> None:
    page = open_page()
    go_to(page, 5)
    assert page.locator("#walk .row").count() == 2
    assert page.locator("#walk .table").count() == 8
    expect(page.locator("#walk .frame .card")).to_have_count(1)
    expect(page.locator("#walk")).to_contain_text("2 addresses, one frame")
    assert page.locator("#space .pin").count() == 2


def test_changed_digits_of_an_entry_are_marked(open_page: Open) -> None:
    page = open_page()
    go_to(page, 1)
    change = page.locator("#story .change.created")
    assert change.locator(".new mark").all_inner_texts()[0] == "8"  # NX
    assert set(change.locator(".bit").all_inner_texts()) >= {"+P", "+W", "+NX"}


def test_every_panel_shows_what_it_is_for(open_page: Open) -> None:
    page = open_page()
    go_to(page, 6)
    seen = {"memory": "one frame", "mdl": "MDL 0", "pool": "Lab1", "frames": "page tables", "source": "mdl_remap.py"}
    for panel, text in seen.items():
        page.locator(f"#tab-{panel}").click()
        expect(page.locator(f"#panel-{panel}")).to_contain_text(text)
        keep(page, f"panel-{panel}")
    expect(page.locator("#panel-source .current")).to_have_count(1)


def test_the_mdl_is_joined_to_the_entries_it_feeds(open_page: Open) -> None:
    page = open_page()
    go_to(page, 4)
    assert page.locator("#panel-mdl .feeds").count() == 2  # the buffer's entry and the mapping's
    go_to(page, 7)
    assert page.locator("#panel-mdl .feeds").count() == 1
    assert page.locator("#panel-mdl .feeds-not").count() == 1


def test_new_bytes_in_memory_are_marked(open_page: Open) -> None:
    page = open_page()
    go_to(page, 6)
    marked = "".join(page.locator("#panel-memory td:last-child mark").all_inner_texts())
    assert marked == "one frame, two addresses"


# ------------------------------------------------------------------------------------------------------ pointing ----


def test_an_address_anywhere_is_walked_on_click(open_page: Open) -> None:
    page = open_page()
    go_to(page, 1)
    page.locator("#story [data-address^='0xfffffa80']").first.click()
    expect(page.locator("#asked-line")).to_contain_text("walk 0xfffffa80")
    expect(page.locator("#answered svg.walk .table")).to_have_count(4)
    page.locator("#answered [data-address^='pa:']").last.click()
    expect(page.locator("#asked-line")).to_contain_text("aliases pa:")
    press(page, "Escape")
    expect(page.locator("#answer")).to_be_hidden()


def test_an_entry_names_its_bits_under_the_pointer(open_page: Open) -> None:
    page = open_page()
    go_to(page, 1)
    page.locator("#walk .entry").last.hover()
    tip = page.locator("#bits")
    expect(tip).to_contain_text("PT @ pa:0x")
    assert [row.split("\t")[1] for row in tip.locator(".set").all_inner_texts()] == [
        "NX",
        "frame",
        "SW",
        "G",
        "D",
        "A",
        "W",
        "P",
    ]
    expect(tip).to_contain_text("instruction fetches are forbidden")
    keep(page, "bits")
    box, window = tip.bounding_box(), page.viewport_size
    assert box
    assert window
    assert 0 <= box["x"] <= window["width"] - box["width"]
    assert 0 <= box["y"] <= window["height"] - box["height"]


FOCUS = """() => {
    const focus = document.activeElement, outline = getComputedStyle(focus).outlineStyle;
    const ring = focus.querySelector(':scope > rect') ?? focus;
    return {
        place: focus.closest('#story, #walk, #panels, #space, #prompt')?.id ?? 'elsewhere',
        isEntry: 'entry' in focus.dataset,
        isVisible: outline !== 'none' || getComputedStyle(ring).strokeWidth === '4px',
    };
}"""


def test_the_keyboard_alone_reaches_entries_and_addresses(open_page: Open) -> None:
    page = open_page()
    go_to(page, 1)
    reached = set()
    while page.evaluate(FOCUS)["place"] != "prompt":
        press(page, "Tab")
        focus = page.evaluate(FOCUS)
        reached.add(focus["place"])
        assert focus["isVisible"], focus
        assert focus["isEntry"] == page.locator("#bits").is_visible()
    assert {"story", "walk", "panels", "space"} <= reached
    page.locator("#story [role=button]").first.focus()
    press(page, "Enter")
    expect(page.locator("#answer")).to_be_visible()
    press(page, "Escape")
    assert page.evaluate("document.activeElement.dataset.address") is not None  # the focus is where it was


def test_the_prompt_answers_and_does_not_steal_keys(open_page: Open) -> None:
    page = open_page()
    go_to(page, 4)
    press(page, ":")
    page.keyboard.type("walk mdl:0 --style windbg")
    press(page, "Enter")
    expect(page.locator("#answered")).to_contain_text("PXE at")
    shown(page, 4)
    press(page, "ArrowUp")
    expect(page.locator("#line")).to_have_value("walk mdl:0 --style windbg")
    page.locator("#line").fill("nonsense <b>")
    press(page, "Enter")
    expect(page.locator("#answered .bad")).to_contain_text("nonsense")
    assert page.locator("#answered b").count() == 0


def test_what_was_clicked_does_not_take_the_keys_of_the_lecture(open_page: Open) -> None:
    page = open_page()
    go_to(page, 1)
    page.locator("#tab-pool").click()
    press(page, "ArrowRight")
    shown(page, 2)
    expect(page.locator("#tab-pool")).to_have_attribute("aria-selected", "false")
    page.locator("#progress button").nth(0).click()
    shown(page, 0)
    press(page, "Space")
    shown(page, 1)
    page.locator("#space [role=button]").first.click()
    expect(page.locator("#answer")).to_be_visible()
    press(page, "Escape", "Space")
    shown(page, 2)
    expect(page.locator("#answer")).to_be_hidden()


def test_the_prompt_lets_the_keys_go_with_its_answer(open_page: Open) -> None:
    page = open_page()
    press(page, "/")
    page.keyboard.type("walk rip")
    press(page, "Enter")
    expect(page.locator("#answer")).to_be_visible()
    press(page, "Escape", "Escape", "ArrowRight")
    shown(page, 1)


# --------------------------------------------------------------------------------------------------- how it looks ----


FONT_SIZE = "parseFloat(getComputedStyle(document.documentElement).fontSize)"


def test_notes_keys_and_size(open_page: Open) -> None:
    page = open_page()
    press(page, "n")
    expect(page.locator("#notes")).to_contain_text(NOTES.split("\n")[1])
    press(page, "n")
    expect(page.locator("#notes")).to_be_hidden()
    press(page, "?")
    expect(page.locator("dialog")).to_contain_text("PgDn")
    keep(page, "keys")
    press(page, "Escape")
    expect(page.locator("dialog")).to_be_hidden()
    before = page.evaluate(FONT_SIZE)
    press(page, "+", "+")
    assert page.evaluate(FONT_SIZE) == pytest.approx(before * 1.21, rel=0.01)
    press(page, "-", "-")
    assert page.evaluate(FONT_SIZE) == pytest.approx(before, rel=0.01)


def test_themes_follow_each_other(open_page: Open) -> None:
    page = open_page()
    seen = []
    for _ in range(4):
        seen.append(page.evaluate("document.documentElement.dataset.theme"))
        press(page, "t")
    assert seen == [*THEMES, "dark"]


def test_panels_turn_by_key_and_by_arrows(open_page: Open) -> None:
    page = open_page()
    go_to(page, 5)
    first = page.locator("[role=tab][aria-selected=true]").inner_text()
    press(page, "v")
    assert page.locator("[role=tab][aria-selected=true]").inner_text() != first
    page.locator("[role=tab][aria-selected=true]").focus()
    press(page, "ArrowLeft")
    assert page.locator("[role=tab][aria-selected=true]").inner_text() == first
    shown(page, 5)


def test_hops_move_unless_the_reader_wants_no_motion(open_page: Open) -> None:
    still, moving = open_page(motion="reduce"), open_page(motion="no-preference")
    count = "document.getAnimations().filter((each) => each.animationName).length"
    press(moving, "ArrowRight")
    shown(moving, 1)
    assert moving.evaluate(count) > 8
    shown(still, 1)
    assert still.evaluate(count) == 0


CLIPPED = """() => [...document.querySelectorAll('#stage svg text')].filter((text) => {
    const box = text.getBoundingClientRect(), svg = text.ownerSVGElement.getBoundingClientRect();
    return box.width && (box.left < svg.left - 1 || box.right > svg.right + 1 || box.bottom > svg.bottom + 2);
}).map((text) => text.textContent)"""

OVERLAPPING = """() => [...document.querySelectorAll('#stage svg')].flatMap((svg) => {
    const texts = [...svg.querySelectorAll('text')].filter((text) => text.textContent.trim());
    const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]).filter(([, box]) => box.width);
    const meet = (one, other) => one.left < other.right - 2 && other.left < one.right - 2
        && one.top < other.bottom - 4 && other.top < one.bottom - 4;
    return boxes.flatMap(([text, box], number) =>
        boxes.slice(number + 1).filter(([, other]) => meet(box, other)).map(([other]) => `${text} | ${other}`));
})"""
"""Texts of one picture of which one lies over the other; letters are lower than their boxes."""

CONTRAST = """() => {
    const channels = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = channels(colour).slice(0, 3).map((c) => c / 255)
            .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const colour = getComputedStyle(each).backgroundColor;
            if ((channels(colour)[3] ?? 1) === 1) return colour;
        }
    };
    const found = [];
    for (const each of document.querySelectorAll('body *:not(svg *):not(script)')) {
        const says = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!says || !each.offsetParent || each.disabled) continue;
        const [one, two] = [getComputedStyle(each).color, paper(each)].map(light).sort((a, b) => b - a);
        if ((one + 0.05) / (two + 0.05) < 4.5) found.push(`${each.className} ${each.textContent}`);
    }
    return found;
}"""


@pytest.mark.parametrize(("size", "theme"), list(itertools.product(SIZES, THEMES)))
def test_every_moment_fits_the_screen_and_can_be_read(
    open_page: Open, lecture: Timeline, size: tuple[int, int], theme: str
) -> None:
    page = open_page(size=size)
    page.evaluate("(theme) => { document.documentElement.dataset.theme = theme }", theme)
    for number in range(len(lecture)):
        go_to(page, number)
        keep(page, f"{size[0]}x{size[1]}-{theme}-{number:02}")
        assert page.evaluate("document.scrollingElement.scrollHeight <= innerHeight")
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
        assert page.evaluate(CLIPPED) == []
        assert page.evaluate(OVERLAPPING) == []
        assert page.evaluate(CONTRAST) == []


@pytest.fixture(params=["virtual-memory", "pool", "contiguous", "from-reset"])
def other_lecture(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(Player(read(shipped(request.param)))) as found:
        yield found


def test_no_picture_of_other_lectures_has_texts_over_each_other(other_lecture: Served, open_page: Open) -> None:
    page, player = open_page(other_lecture.url), other_lecture.face.player
    for number in range(len(player.timeline)):
        go_to(page, number)
        for panel in ("mdl", "pool", "frames"):
            tab = page.locator(f"#tab-{panel}")
            if tab.is_enabled():
                tab.click()
            assert page.evaluate(CLIPPED) == []
            assert page.evaluate(OVERLAPPING) == []
        keep(page, f"{player.timeline.scenario}-{number:02}")


@pytest.fixture
def turkish(lecture: Timeline) -> Iterator[Served]:
    with serving(Player(lecture), "tr") as found:
        yield found


def test_the_page_speaks_turkish(turkish: Served, open_page: Open) -> None:
    page = open_page(turkish.url)
    go_to(page, 5)
    expect(page.locator("#story h1")).to_have_text("İki yürüyüş, tek çerçeve")
    expect(page.locator("#tab-memory")).to_have_text("Bellek")
    assert page.evaluate("document.documentElement.lang") == "tr"
    press(page, "t")
    expect(page.locator("#toast")).to_have_text(Text("light").in_language("tr"))
    keep(page, "turkish")


# --------------------------------------------------------------------------------------------------- going wrong ----


def test_the_lecture_goes_on_when_the_lab_is_gone(browser: Browser, served: Served, lecture: Timeline) -> None:
    page = browser.new_page()
    page.goto(served.url)
    page.wait_for_selector("html[data-shown]")
    fetched(page, lecture)
    served.stop()
    press(page, "ArrowRight")
    shown(page, 1)
    expect(page.locator("#toast")).to_contain_text("The lab has gone")
    go_to(page, 3)
    press(page, "ArrowRight")
    shown(page, "3?")
    press(page, "ArrowRight")
    shown(page, 4)
    page.close()


# ---------------------------------------------------------------------------------------------- on a live machine ----


@contextmanager
def on_a_machine(recording: Callable[[], Timeline] | None = None) -> Iterator[tuple[Served, Machine]]:
    with (
        Machine(gdb=True) as machine,
        Player(live=Recorder(all_scenarios()["mdl-remap"], machine), recording=recording) as player,
        serving(player) as served,
    ):
        yield served, machine


@pytest.fixture
def live() -> Iterator[tuple[Served, Machine]]:
    with on_a_machine() as found:
        yield found


def test_on_a_live_machine_steps_are_played_and_questions_act(live: tuple[Served, Machine], open_page: Open) -> None:
    page = open_page(live[0].url)
    expect(page.locator("#source-of-truth")).to_have_text("● live")
    press(page, "ArrowRight", "ArrowRight")
    shown(page, 2)
    ask(page, "call ExAllocatePoolWithTag NonPagedPoolNx 64 Hall")
    expect(page.locator("#panel-pool")).to_contain_text("Hall")  # drawn anew, with the answer over it
    expect(page.locator("#answered")).to_contain_text("ExAllocatePoolWithTag = 0xfffffa80")
    expect(page.locator("#answer")).to_be_visible()
    page.locator("#line").blur()
    press(page, "Escape")
    page.locator("#tab-pool").click()
    expect(page.locator("#panel-pool")).to_be_visible()
    press(page, "ArrowRight")
    page.wait_for_selector("html[data-shown^='2?'], html[data-shown='3']")


def test_a_view_of_a_live_machine_changes_nothing(live: tuple[Served, Machine], open_page: Open) -> None:
    one, other = open_page(live[0].url), open_page(live[0].url)
    press(one, "ArrowRight")
    shown(other, 1)
    version = one.evaluate(VERSION)
    for page in (one, other):
        ask(page, "walk rip")
        expect(page.locator("#answered svg.walk")).to_be_visible()
    assert one.evaluate(VERSION) == version
    ask(other, "call ExAllocatePoolWithTag NonPagedPoolNx 64 Hall")
    for page in (one, other):
        expect(page.locator("#panel-pool")).to_contain_text("Hall")
        expect(page.locator("#answer")).to_be_visible()


VERSION = "async () => (await (await fetch('state')).json()).version"


def test_when_the_machine_dies_the_page_says_so_and_stays(live: tuple[Served, Machine], open_page: Open) -> None:
    page = open_page(live[0].url)
    press(page, "ArrowRight")
    shown(page, 1)
    live[1].qemu.process.kill()
    press(page, "ArrowRight")
    expect(page.locator("#toast")).to_contain_text("The machine has gone")
    press(page, "ArrowLeft")
    shown(page, 0)


@pytest.fixture
def guarded(lecture: Timeline) -> Iterator[tuple[Served, Machine]]:
    with on_a_machine(lambda: lecture) as found:
        yield found


def test_when_the_machine_dies_the_recording_goes_on_at_the_same_step(
    guarded: tuple[Served, Machine], open_page: Open, lecture: Timeline
) -> None:
    served, machine = guarded
    page = open_page(served.url)
    press(page, "ArrowRight", "ArrowRight")
    shown(page, 2)
    machine.qemu.process.kill()
    press(page, "ArrowRight")
    shown(page, 3)
    expect(page.locator("#toast")).to_contain_text("The machine has gone; the recording goes on.")
    expect(page.locator("#source-of-truth")).to_have_text("○ recording")
    press(page, "ArrowLeft")
    shown(page, 2)
    go_to(page, len(lecture) - 1)
    expect(page.locator("#count")).to_have_text(f"{len(lecture) - 1} / {len(lecture) - 1}")


def ask(page: Page, line: str) -> None:
    page.locator("#line").fill(line)
    page.locator("#line").press("Enter")
    expect(page.locator("#asked-line")).to_have_text(line)
