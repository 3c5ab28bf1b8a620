"""`lab demo` as a lecturer starts it: in a real terminal, which tmux is, on a machine that it boots itself."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine.waiting import wait_until

LAB = Path(sys.executable).with_name("lab")
PATIENCE = 30.0


class Terminal:
    """A terminal of tmux, on a server of its own."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="lab-"))
        self.folder = self._base / "machines"
        self.folder.mkdir()
        self._size = size

    def start(self, command: str) -> None:
        """Run a command; it ends the server when it ends."""
        width, height = map(str, self._size)
        settings = ["-e", f"LAB_RUNTIME_DIR={self.folder}", "-e", "LC_ALL=C.UTF-8"]
        # pytest's readline leaves the size of another terminal in the environment.
        clean = f"env -u LINES -u COLUMNS -u NO_COLOR {command}"
        self._tmux("-f", os.devnull, "new-session", "-d", "-x", width, "-y", height, *settings, clean)

    def type(self, *keys: str) -> None:
        """Send keys, by tmux's names for them."""
        self._tmux("send-keys", *keys)

    def shows(self, text: str) -> str:
        """Wait until a text stands on the screen; the whole screen."""
        assert wait_until(lambda: text in self.screen(), PATIENCE), self.screen()
        return self.screen()

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p").stdout

    def processes(self) -> list[int]:
        """The command's process, and all that it has started."""
        found = [int(self._tmux("list-panes", "-F", "#{pane_pid}").stdout)]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def is_over(self) -> bool:
        return self._tmux("has-session").returncode != 0

    def close(self) -> None:
        """End this server, and no other."""
        self._tmux("kill-server")
        shutil.rmtree(self._base)

    def _tmux(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["tmux", "-u", "-S", str(self._base / "tmux"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    found = Terminal((100, 30))
    yield found
    found.close()


def test_a_lecture_from_the_first_key_to_the_last(terminal: Terminal) -> None:
    terminal.start(f"{shlex.quote(str(LAB))} demo mdl-remap")
    assert "● live" in terminal.shows("0  One frame, two addresses")

    terminal.type("Right")
    assert "┌ PML4 ─" in terminal.shows("Allocate one page of nonpaged pool")
    terminal.type("?")
    terminal.shows("next step, or the answer")
    terminal.type("?")
    terminal.type("Space")
    terminal.shows("Allocate an MDL that describes it")
    terminal.type("1", "Enter")
    terminal.shows(" 1  Allocate one page")
    terminal.type("-l", ":walk rip")  # all at once
    terminal.type("Enter")
    assert "┌ CR3 ─" in terminal.shows("=> pa:")

    started = terminal.processes()
    assert len(started) >= 3  # lab, QEMU and gdb
    terminal.type("Left")  # closes the answer
    terminal.type("q")
    assert wait_until(terminal.is_over, PATIENCE)
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), PATIENCE)
    assert [each.name for each in terminal.folder.iterdir() if each.name != ".lock"] == []
