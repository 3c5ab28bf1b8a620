"""A lecturer at the terminal: every key, the prompt, questions, themes, sizes; and a guest that dies on stage."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from lab.demo.page import page_html
from lab.demo.player import Player
from lab.demo.terminal.face import SIGN
from lab.demo.terminal.looks import THEMES
from lab.demo.terminal.words import KEYS
from lab.machine import Machine
from lab.render.palette import PALETTES
from lab.scenarios import all_scenarios
from lab.texts import Text
from lab.timeline import Timeline
from lab.timeline.recorder import Recorder
from tests.terminal.conftest import in_a_loop, sitting_before
from tests.unit.made_up import DyingRecorder, made_up_timeline

# ------------------------------------------------------------------------------------------------------ moving ----


@pytest.mark.parametrize(("forwards", "backwards"), [("right", "left"), ("pagedown", "pageup"), ("space", "left")])
@in_a_loop
async def test_presenters_and_their_clickers_step(forwards: str, backwards: str) -> None:
    async with sitting_before(Player(made_up_timeline(question_at=None))) as seat:
        assert seat.lines[1].split() == ["0", "Map", "page", "0"]
        await seat.press(forwards, forwards)
        assert seat.lines[1].split() == ["2", "Map", "page", "2"]
        await seat.press(backwards)
        assert seat.lines[1].split() == ["1", "Map", "page", "1"]
        assert "1 / 3" in seat.lines[0]


@in_a_loop
async def test_digits_and_enter_go_to_a_step() -> None:
    async with sitting_before(Player(made_up_timeline(20, None))) as seat:
        await seat.press("1", "2")
        assert "go to 12" in seat.lines[-1]
        await seat.press("backspace", "7", "enter")
        assert seat.lines[1].strip().startswith("17 ")
        await seat.press("9", "9", "enter")
        assert seat.lines[1].strip().startswith("19 ")
        await seat.press("right")
        assert "This is the last step." in seat.lines[-1]


@in_a_loop
async def test_a_number_that_was_not_finished_is_forgotten_and_so_is_what_was_said() -> None:
    async with sitting_before(Player(made_up_timeline(20, None))) as seat:
        for key in ("right", "t", "n", "n", "left", "v"):
            await seat.press("1", key)
            assert "go to" not in seat.lines[-1]
            await seat.press("enter")
        assert seat.lines[1].strip().startswith("0 ")
        await seat.press("end", "right")
        assert seat.lines[1].strip().startswith("19 ")
        assert "This is the last step." in seat.lines[-1]
        await seat.press("5", "enter")
        assert seat.lines[1].strip().startswith("5 ")
        assert "? keys" in seat.lines[-1]
        await seat.press("b", "home")
        assert seat.lines[1].strip().startswith("0 ")


def test_both_faces_have_the_same_keys() -> None:
    page = page_html("", "", "en", "")
    listed = page[page.index("<dl>") : page.index("</dl>")]
    on_the_page = {key for each in re.findall("<dt>(.*?)</dt>", listed) for key in re.findall("<kbd>(.*?)</kbd>", each)}
    in_the_terminal = {key for each in KEYS for key in each.replace("…", " ").split()}
    assert on_the_page - in_the_terminal == {"s"}  # a terminal has one window
    assert in_the_terminal - on_the_page == {"↑", "↓", "q"}  # which a browser has by itself


@in_a_loop
async def test_what_changed_is_shown_bit_by_bit() -> None:
    timeline = made_up_timeline(question_at=None)
    async with sitting_before(Player(timeline)) as seat:
        await seat.press("right")
        assert "It is at 0xfffffa8040001000." in seat.text
        while "6 bytes changed" not in seat.text:
            await seat.press("v")
        assert any("bold" in style and "underline" in style for style in seat.styles_of("70"))


# --------------------------------------------------------------------------------------------------- questions ----


@in_a_loop
async def test_the_audience_is_asked_and_the_next_key_reveals() -> None:
    async with sitting_before(Player(made_up_timeline())) as seat:
        await seat.press("right", "right")
        assert "What do you think?" in seat.text
        assert "Where will it be?" in seat.text
        assert "Behind the one before." not in seat.text
        assert seat.lines[1].strip().startswith("1 ")

        await seat.press("right")

        assert "What do you think?" not in seat.text
        assert "✓ Behind the one before." in seat.text
        assert seat.lines[1].strip().startswith("2 ")


@in_a_loop
async def test_a_question_can_be_taken_back() -> None:
    async with sitting_before(Player(made_up_timeline())) as seat:
        await seat.press("right", "right", "left")
        assert "What do you think?" not in seat.text
        assert seat.lines[1].strip().startswith("1 ")


# ------------------------------------------------------------------------------------------------------ prompt ----


@pytest.mark.parametrize("key", ["colon", "slash"])
@in_a_loop
async def test_the_prompt_answers_with_any_view(key: str) -> None:
    async with sitting_before(Player(made_up_timeline(question_at=None))) as seat:
        await seat.press("right", key)
        await seat.type("walk 0xfffffa8040000008")
        assert f"{SIGN} walk 0xfffffa8040000008" in seat.text
        assert "=> pa:0x0000200008" in seat.text
        assert "┌ PML4 " in seat.text

        await seat.press("right")

        assert "=> pa:" not in seat.text
        assert seat.lines[1].strip().startswith("1 ")


@in_a_loop
async def test_a_view_of_a_live_machine_draws_nothing_anew() -> None:
    live = DyingRecorder(made_up_timeline(question_at=None), lives=9)
    async with sitting_before(Player(live=live)) as seat:  # type: ignore[arg-type]
        drawn = seat.face._scene
        await seat.ask("walk rip")
        assert f"{SIGN} walk rip" in seat.text
        assert seat.face._scene is drawn


@in_a_loop
async def test_keys_are_letters_while_something_is_typed() -> None:
    async with sitting_before(Player(made_up_timeline(question_at=None))) as seat:
        await seat.press("colon", "q", "b", "t", "1", "colon", "slash", "space")
        assert f"{SIGN} qbt1:/" in seat.text
        await seat.press("escape", "right")
        assert SIGN not in seat.text
        assert seat.lines[1].strip().startswith("1 ")


@in_a_loop
async def test_what_cannot_be_answered_is_said() -> None:
    async with sitting_before(Player(made_up_timeline(question_at=None))) as seat:
        await seat.ask("walk [/b]nonsense")
        assert "is not an address" in seat.text
        await seat.press("escape")
        await seat.ask("call KeBugCheck")
        assert "needs the running guest" in seat.text


# ------------------------------------------------------------------------------------------------------- looks ----


@in_a_loop
async def test_t_goes_through_the_themes() -> None:
    async with sitting_before(Player(made_up_timeline())) as seat:
        seen = []
        for _ in range(len(THEMES) + 1):
            seen.append(
                {name for name in THEMES if PALETTES[name]["virtual"] in " ".join(seat.styles_of("0xfffffa8040000000"))}
            )
            await seat.press("t")
        assert seen == [{"dark"}, {"light"}, {"projector"}, {"dark"}]


@in_a_loop
async def test_b_blanks_the_screen_and_any_step_shows_it_again() -> None:
    async with sitting_before(Player(made_up_timeline(question_at=None))) as seat:
        await seat.press("b")
        assert seat.text.strip() == ""
        await seat.press("b")
        assert "Map page 0" in seat.text
        await seat.press("b", "right")
        assert "Map page 0" in seat.text
        await seat.press("right")
        assert "Map page 1" in seat.text


@in_a_loop
async def test_notes_and_the_list_of_keys() -> None:
    async with sitting_before(Player(made_up_timeline(question_at=None))) as seat:
        await seat.press("n")
        assert "There are no notes for this step." in seat.text
        assert "? keys" in seat.lines[-1]
        await seat.press("n", "question_mark")
        assert "There are no notes" not in seat.text
        assert "the size of" in seat.text
        await seat.press("question_mark")
        assert "the size of" not in seat.text


@in_a_loop
async def test_plus_gives_fewer_parts_more_room_and_minus_takes_it_back() -> None:
    async with sitting_before(Player(made_up_timeline(question_at=None))) as seat:
        await seat.press("right")
        everything = seat.text

        await seat.press("plus")
        assert " Console" not in seat.text
        assert "It is at" in seat.text
        await seat.press("plus")
        assert "It is at" not in seat.text
        assert "┌ PML4 " in seat.text
        await seat.press("v")
        assert "It is at" in seat.text
        assert "┌ PML4 " not in seat.text
        while "6 bytes changed" not in seat.text:
            await seat.press("v")
        await seat.press("minus", "minus", "minus")
        assert seat.text == everything


@in_a_loop
async def test_v_chooses_the_panel() -> None:
    async with sitting_before(Player(made_up_timeline(question_at=None))) as seat:
        await seat.press("right")
        seen = set()
        for _ in range(3):
            seen |= {name for name in ("Memory", "Source", "Console") if f" {name}" in seat.text}
            await seat.press("v")
        assert seen == {"Memory", "Source", "Console"}


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 45), (240, 70)])
@in_a_loop
async def test_every_size_shows_what_matters(size: tuple[int, int]) -> None:
    async with sitting_before(Player(made_up_timeline(question_at=None)), (100, 30)) as seat:
        await seat.press("right")
        await seat.resize(*size)
        assert len(seat.lines) == size[1]
        for part in ("Map page 1", "It is at 0xfffffa8040001000.", "┌ PML4 ", "┌ PT ", "┌ frame ", "? keys", "1 / 3"):
            assert part in seat.text


@in_a_loop
async def test_without_colours_everything_can_still_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with sitting_before(Player(made_up_timeline(question_at=None))) as seat:
        await seat.press("right")
        assert seat.face.no_color
        while " Memory" not in seat.text:
            await seat.press("v")
        assert any("underline" in style for style in seat.styles_of("70"))


@in_a_loop
async def test_all_is_said_in_turkish() -> None:
    async with sitting_before(Player(made_up_timeline()), language="tr") as seat:
        assert "? tuşlar" in seat.lines[-1]
        await seat.press("question_mark")
        assert "Tuşlar" in seat.text
        assert "sonraki panel" in seat.text


def test_the_terminal_is_imported_by_whom_it_is_shown_to() -> None:
    code = "import sys, lab.cli.demo, lab.demo.scene; print('textual' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@in_a_loop
async def test_what_has_to_be_known_at_the_beginning_is_said() -> None:
    player = Player(made_up_timeline(question_at=None), notice=Text("There is no machine."))
    async with sitting_before(player) as seat:
        assert "There is no machine." in seat.text
        await seat.press("right")
        assert "There is no machine." not in seat.text


# ------------------------------------------------------------------------------------------------ a real guest ----


def recorded() -> Timeline:
    """The main lecture, played to its end on another machine."""
    with Machine(gdb=True) as machine:
        return Recorder(all_scenarios()["mdl-remap"], machine).finish()


@in_a_loop
async def test_the_lecture_is_played_on_a_real_guest_and_the_guest_is_asked() -> None:
    with Machine(gdb=True) as machine, Player(live=Recorder(all_scenarios()["mdl-remap"], machine)) as player:
        async with sitting_before(player, (160, 45)) as seat:
            assert "● live" in seat.lines[0]
            await seat.reach("Allocate one page")
            await seat.reach("Allocate an MDL")

            await seat.ask("call ExAllocatePoolWithTag NonPagedPoolNx 64 Demo")
            assert "ExAllocatePoolWithTag = 0xfffffa80" in seat.text
            await seat.press("escape")
            await seat.ask("probe 'mov rax, [rdi]' --reg rdi=0x10")
            assert "#PF" in seat.text

            await seat.press("escape")
            await seat.reach("Fill in the frame numbers")


@in_a_loop
async def test_a_guest_that_dies_does_not_end_the_lecture() -> None:
    timeline = recorded()
    with Machine(gdb=True) as machine:
        player = Player(live=Recorder(all_scenarios()["mdl-remap"], machine), recording=lambda: timeline)
        async with sitting_before(player, (160, 45)) as seat:
            await seat.reach("Allocate one page")
            await seat.reach("Allocate an MDL")
            machine.qemu.process.kill()

            await seat.press("right")

            assert "The machine has gone; the recording goes on." in seat.text
            assert "○ recording" in seat.lines[0]
            if seat.face.player.question:
                await seat.press("right")
            assert "Fill in the frame numbers" in seat.lines[1]
            await seat.press("left")
            assert "Allocate an MDL" in seat.lines[1]
            assert "The machine has gone" not in seat.text
