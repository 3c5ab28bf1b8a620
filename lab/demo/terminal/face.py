"""The terminal face: a lecture in letters, by the keys that presenters and their clickers have."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from textual import events
from textual.actions import ActionParseResult
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.content import Content
from textual.dom import DOMNode
from textual.widgets import Input, Label, Static

from lab.demo.fragments import panel_of
from lab.demo.player import Player
from lab.demo.prompt import acts_on_guest
from lab.demo.scene import Scene, Walked, scene
from lab.demo.terminal import looks
from lab.demo.terminal.arrange import ALONE, AROUND, EVERYTHING, NO_PANELS, TWO_ROWS, Arrangement, arrange
from lab.demo.terminal.canvas import Piece, Row, content_of, row_of
from lab.demo.terminal.panes import PANELS, has_content, story
from lab.demo.terminal.walk import draw_walk, draw_walks
from lab.demo.terminal.words import KEYS, WORDS
from lab.render.diagram import walk_diagram
from lab.render.text import report_lines
from lab.texts import ENGLISH, Text
from lab.timeline import Timeline
from lab.views.report import Report

__all__ = ["TerminalFace"]

MANY_PANELS = 6
SIGN = "\u276f"
"""Of the prompt."""
OVER = ("question", "answer", "keys")
"""What may lie over the step, one at a time."""
PATIENCE = 0.4
"""Seconds after which the foot says that the guest is at work."""


class Pane(VerticalScroll, can_focus=False):
    """A part of the screen that scrolls; it never takes the keys away from the lecture."""

    def compose(self) -> ComposeResult:
        """One piece of text."""
        yield Static()

    def show(self, rows: Sequence[Row], *, middle: int | None = None) -> None:
        """Show rows from the first one on, or with row `middle` in the middle."""
        self.query_one(Static).update(content_of(rows))
        if middle is None:
            self.scroll_home(animate=False)
        else:
            self.call_after_refresh(lambda: self.scroll_to(y=middle - self.size.height // 2, animate=False))


class TerminalFace(App[None]):
    """A player in the terminal.

    `expected` is how many moments a lecture that is still being made is thought to get, 0 when nobody knows. What takes
    time, which is all that the player does, is done by a thread, one thing after the other.
    """

    CSS_PATH = "face.tcss"
    AUTO_FOCUS = None
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space,pagedown", "next"),
        Binding("left,pageup", "previous"),
        Binding("home", "end_of_lecture(0)"),
        Binding("end", "end_of_lecture(-1)"),
        Binding("plus,equals_sign", "resize(1)"),
        Binding("minus", "resize(-1)"),
        Binding("t", "theme"),
        Binding("v,tab", "panel", priority=False),
        Binding("n", "notes"),
        Binding("b", "blank"),
        Binding("colon,slash", "ask", priority=True),
        Binding("question_mark", "keys"),
        Binding("up", "scroll(-1)"),
        Binding("down", "scroll(1)"),
        Binding("escape", "leave"),
        Binding("enter", "go"),
        Binding("backspace", "erase"),
        Binding("q,ctrl+c,ctrl+q", "quit"),
    ]

    def __init__(self, player: Player, language: str = ENGLISH, *, expected: int = 0) -> None:
        super().__init__()
        self.player = player
        self.language = language
        self._expected = expected
        self._turn = asyncio.Lock()
        self._scenes: dict[int, Scene] = {}
        self._scenes_of: Timeline | None = None
        self._scene: Scene | None = None
        self._zoom = EVERYTHING
        self._panel = ""
        self._alone = "walk"
        self._digits = ""
        self._is_working = False
        self._said = ""
        self._covered_by = ""

    @property
    def shown(self) -> int:
        """The number of the moment on the screen; -1 before there is any."""
        return -1 if self._scene is None else self._scene.number

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """The palette's names; each theme has values of its own."""
        return looks.variables("dark")

    def compose(self) -> ComposeResult:
        """All parts; what lies over the others is hidden."""
        yield Static(id="head")
        yield Static(id="title")
        with Container(id="stage"):
            yield Static(id="walk")
            yield Pane(id="story")
            with Container(id="panels"):
                for number in range(MANY_PANELS):
                    yield Pane(id=f"panel-{number}", classes="panel")
        yield Pane(id="notes")
        yield Static(id="notice")
        with Horizontal(id="prompt"):
            yield Label(SIGN)
            yield Input(placeholder=self._word("typed"), select_on_focus=False)
        yield Static(id="foot")
        for name in OVER:
            yield Pane(id=name, classes="over")
        yield Static(id="blank")

    def on_mount(self) -> None:
        """Bring the themes, and show where the player is."""
        for theme in looks.themes().values():
            self.register_theme(theme)
        self.theme = f"lab-{looks.THEMES[0]}"
        self.title = self.player.timeline.title.in_language(self.language)
        for name in ("keys", "question"):
            self.query_one(f"#{name}", Pane).border_title = self._word(name)
        self.query_one("#notes", Pane).border_title = f" {self._word('notes')} "
        self.query_one("#keys", Pane).show(list(self._keys()))
        self._do(lambda: None)

    def _word(self, name: str) -> str:
        return WORDS[name].in_language(self.language)

    def _keys(self) -> Iterator[Row]:
        for key, text in KEYS.items():
            first, *more = textwrap.wrap(text.in_language(self.language), 54)
            yield Piece(f"{key:<14}", looks.STRONG), Piece(first)
            yield from ((Piece(" " * 14 + line),) for line in more)

    # -------------------------------------------------------------------------------------------------- the player ----

    def _do(self, action: Callable[[], object]) -> None:
        """Let the player do something, and show where it is then; keys that come meanwhile have to wait for it."""
        self.run_worker(self._done(action), group="player", exit_on_error=True)

    async def _done(self, action: Callable[[], object]) -> None:
        async with self._turn:
            patience = self.set_timer(PATIENCE, lambda: self._working(True))
            try:
                await asyncio.to_thread(action)
                found = await asyncio.to_thread(self._look)
            finally:
                patience.stop()
                self._working(False)
            self._scene = found
            notice = self.player.take_notice().in_language(self.language)
            self.query_one("#notice", Static).update(Content(notice))
            self.query_one("#notice").set_class(bool(notice), "-shown")
            self._cover("question" if self.player.question else "")
            self._draw()

    def _look(self) -> Scene:
        """The scene of the player's moment; those that were shown before are kept."""
        timeline, number = self.player.timeline, self.player.position
        if timeline is not self._scenes_of:
            self._scenes_of, self._scenes = timeline, {}
        if number not in self._scenes:
            self._scenes[number] = scene(timeline, number, self.language)
        return self._scenes[number]

    def _working(self, is_working: bool) -> None:
        if self._is_working != is_working:
            self._is_working = is_working
            self._foot()

    # ------------------------------------------------------------------------------------------------------- keys ----

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Do what a key is bound to; what was said before it is over, and so is a number that was not finished."""
        if action not in ("go", "erase"):
            self._digits = ""
        self._said = ""
        self._foot()
        return await super().run_action(action, default_namespace, namespaces)

    def action_next(self) -> None:
        """Close what lies over the step; else go on, or reveal."""
        if not self._uncovered():
            self._do(self._next)

    def _next(self) -> None:
        if not self.player.next():
            self._said = self._word("last_step")

    def action_previous(self) -> None:
        """Close what lies over the step; else go back."""
        if not self._uncovered():
            self._do(self.player.back)

    def action_go(self) -> None:
        """Go to the moment whose number was typed."""
        if self._digits:
            number, self._digits = int(self._digits), ""
            self._go(lambda: number)

    def action_end_of_lecture(self, place: int) -> None:
        """Go to the first moment, or to the last one there is."""
        self._go(lambda: range(len(self.player.timeline))[place])

    def _go(self, number: Callable[[], int]) -> None:
        self._uncovered()
        self._do(lambda: self.player.go(number()))

    def action_erase(self) -> None:
        """Take back a digit."""
        self._digits = self._digits[:-1]
        self._foot()

    def action_leave(self) -> None:
        """Close the prompt, or whatever lies over the step."""
        prompt = self.query_one("#prompt")
        if prompt.has_class("-shown"):
            prompt.remove_class("-shown")
            self.set_focus(None)
        else:
            self._uncovered()
        self._foot()

    def action_resize(self, by: int) -> None:
        """Fewer parts with more room each, or more parts."""
        self._zoom = min(max(self._zoom + by, EVERYTHING), ALONE)
        self._draw()

    def action_theme(self) -> None:
        """The next theme."""
        place = looks.THEMES.index(self.theme.removeprefix("lab-"))
        self.theme = f"lab-{looks.THEMES[(place + 1) % len(looks.THEMES)]}"

    def action_panel(self) -> None:
        """The next panel that has something to show, or the next part that stands alone."""
        if self._scene is None:
            return
        panels = [name for name, has in has_content(self._scene).items() if has]
        if self._zoom == ALONE:
            choice = ["walk", "story", *panels]
            self._alone = choice[(choice.index(self._alone) + 1) % len(choice)] if self._alone in choice else choice[0]
        elif panels:
            current = self._chosen(self._scene)
            self._panel = panels[(panels.index(current) + 1) % len(panels)]
        self._draw()

    def action_notes(self) -> None:
        """Show or hide the speaker's notes."""
        self.query_one("#notes").toggle_class("-shown")

    def action_blank(self) -> None:
        """Show nothing, or all again."""
        self.query_one("#blank").toggle_class("-shown")

    def action_keys(self) -> None:
        """Show what the keys do."""
        if self._covered_by != "keys" or not self._uncovered():
            self._cover("keys")

    def action_scroll(self, by: int) -> None:
        """Scroll what does not fit: what lies over the step, else the part that stands alone, else the story."""
        alone = "panel-0" if self._zoom == ALONE and self._alone in PANELS else "story"
        self.query_one(f"#{self._covered_by or alone}", Pane).scroll_relative(y=3 * by, animate=False)

    def on_key(self, event: events.Key) -> None:
        """Collect digits."""
        if event.character and event.character.isdecimal() and not self.query_one("#prompt").has_class("-shown"):
            self._digits = (self._digits + event.character)[-4:]
            self._foot()

    # ------------------------------------------------------------------------------------------------------ prompt ----

    def action_ask(self) -> None:
        """Let the lecturer type a question."""
        self._uncovered()
        self.query_one("#prompt").add_class("-shown")
        self.query_one(Input).value = ""
        self.set_focus(self.query_one(Input))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key does what it is bound to.

        Those of the prompt go first, so that it has what is typed behind them, however fast; in it they are letters.
        """
        is_typing = bool(self.query("#prompt.-shown"))
        return not (action == "ask" and is_typing) and super().check_action(action, parameters)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask, and show the answer over the step."""
        self.action_leave()
        line = event.value.strip()
        if line:
            self.run_worker(self._answered(line), group="player", exit_on_error=True)

    async def _answered(self, line: str) -> None:
        answers: list[Report] = []
        await self._done(lambda: answers.append(self._ask(line)))
        pane = self.query_one("#answer", Pane)
        pane.border_title = f"{SIGN} {line}".replace("[", "\\[")
        pane.border_subtitle = self._word("closes")
        pane.show(self._answer_rows(answers[0]))
        self._cover("answer")

    def _ask(self, line: str) -> Report:
        """The answer; what the live guest did for it changes its moment."""
        report = self.player.ask(line)
        if acts_on_guest(line):
            self._scenes.pop(self.player.position, None)
        return report

    def _answer_rows(self, report: Report) -> list[Row]:
        rows = [row_of(line) for line in report_lines(report)]
        if report.schema == "lab.walk/1":
            width = self.size.width * 92 // 100 - 8
            rows = [*draw_walk(Walked("", walk_diagram(report.data)), width, {}, "", self.language), (), *rows]
        return rows

    # ----------------------------------------------------------------------------------------------------- drawing ----

    def on_resize(self) -> None:
        """Arrange everything anew, as soon as the new size is known everywhere."""
        self.call_after_refresh(self._draw)

    def _cover(self, name: str) -> None:
        """Put one of `OVER` over the step, or nothing."""
        self._covered_by = name
        self._arrange()
        self._foot()

    def _uncovered(self) -> bool:
        """Take away what lies over the step, except a question; whether there was anything."""
        blank = self.query_one("#blank")
        was_covered = blank.has_class("-shown") or self._covered_by not in ("", "question")
        blank.remove_class("-shown")
        if was_covered:
            self._cover("question" if self.player.question else "")
        return was_covered

    def _draw(self) -> None:
        """Draw the scene for the screen as it is."""
        shown = self._scene
        if shown is None:
            return
        places = self._arrange()
        self.query_one("#head", Static).update(self._head(shown))
        self.query_one("#title", Static).update(Content(f"{shown.number}  {shown.title}"))
        changed = {each.entry_address: each.differing for each in shown.changes or ()}
        rows = draw_walks(shown.walks, places.walk, places.walk_height, changed, self.language)
        self.query_one("#walk", Static).update(content_of(rows))
        self.query_one("#story", Pane).show(story(shown, places.story, self.language))
        self._draw_panels(shown, places, self.size.height - AROUND - len(rows))
        notes = shown.notes or self._word("no_notes")
        self.query_one("#notes", Pane).show([(Piece(line),) for line in notes.split("\n")])
        if self.player.question:
            asked = Text.verbatim(self.player.question.in_language(self.language))
            rows = [(Piece(asked, looks.STRONG),), (), (Piece(self._word("reveal"), looks.MUTED),)]
            self.query_one("#question", Pane).show(rows)
        self._foot()

    def _arrange(self) -> Arrangement:
        """Give every part its place, and the places back."""
        places = arrange(self.size.width, self.size.height, self._zoom)
        alone = "panel" if self._alone in PANELS else self._alone
        wanted = {
            "-wide" if places.is_wide else "-narrow",
            *({"-no-panels"} if self._zoom == NO_PANELS else ()),
            *({"-alone", f"-alone-{alone}"} if self._zoom == ALONE else ()),
            *({f"-{self._covered_by}"} if self._covered_by else ()),
        }
        if wanted != self.screen.classes:  # every change makes Textual match all its rules again
            self.screen.set_classes(wanted)
        self.query_one("#story").styles.width = places.story + 3 if places.is_wide else None
        return places

    def _draw_panels(self, shown: Scene, places: Arrangement, height: int) -> None:
        """The chosen panel first, then as many others as there is room for, in one row or in two."""
        has = [name for name, content in has_content(shown).items() if content]
        is_alone = self._zoom == ALONE and self._alone in has
        first = self._alone if is_alone else self._chosen(shown)
        many = places.panels * (1 if is_alone or height < TWO_ROWS else 2)
        names = [first, *(name for name in has if name != first)][:many]
        self.query_one("#panels").styles.grid_size_columns = max(1, min(places.panels, len(names)))
        for number in range(MANY_PANELS):
            pane = self.query_one(f"#panel-{number}", Pane)
            pane.display = number < len(names)
            if pane.display:
                self._draw_panel(pane, names[number], shown, places.panel)

    def _draw_panel(self, pane: Pane, name: str, shown: Scene, width: int) -> None:
        rows, middle, more = PANELS[name](shown, width, self.language), None, ""
        if name == "source" and shown.source:
            middle, more = shown.source.current - shown.source.first, f" · {shown.source.name}"
        elif name == "console":
            middle = len(rows)
        pane.border_title = f" {self._word(name)}{more} "
        pane.show(rows, middle=middle)

    def _chosen(self, shown: Scene) -> str:
        """The panel that was chosen by key while it has something to show; else the one that the step is about."""
        has = has_content(shown)
        return self._panel if has.get(self._panel) else panel_of(shown, has)

    def _head(self, shown: Scene) -> Content:
        """The lecture, how far it is, and whether a machine is there."""
        last = max(shown.last, self._expected - 1 if self.player.is_live else 0)
        state = (
            Piece(f"● {self._word('live')}", looks.GOOD)
            if self.player.is_live
            else Piece(f"○ {self._word('recorded')}")
        )
        count = f"{shown.number} / {last}"
        width = self.size.width - 2
        name = shown.lecture.partition(": ")[0]
        room = width - len(count) - len(state.text) - 8
        bar = max(0, min(40, room - len(name), last))
        name = name[:room]
        done = bar * shown.number // max(last, 1)
        pieces = [
            Piece(name, looks.STRONG),
            Piece("  "),
            Piece("━" * done, "$lab-virtual"),
            Piece("━" * (bar - done), looks.LINE),
        ]
        gap = width - sum(len(each.text) for each in pieces) - len(count) - len(state.text) - 2
        pieces += [Piece(" " * max(1, gap)), Piece(count, "bold $lab-text"), Piece("  "), state]
        return Content.assemble(*pieces)

    def _foot(self) -> None:
        """What the keys do, or what has to be said."""
        words = self._said or self._word("hints")
        if self._zoom == ALONE:
            words = f"{self._word(self._alone)}: {self._word('one_part')}"
        if self._digits:
            words = Text("go to {number}: Enter", {"number": self._digits}).in_language(self.language)
        if self._is_working:
            words = self._word("working")
        self.query_one("#foot", Static).update(Content(words))
