"""`lab demo` as a process: lists, files, a page that is served until Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import Lab


@pytest.fixture(scope="module")
def recording(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("lecture") / "remap.lab"
    assert lab("record", "mdl-remap", "-o", str(file)).code == 0
    return file


def test_lectures_are_listed_in_the_language_that_is_asked_for(lab: Lab) -> None:
    lines = lab("demo", "--list").out.splitlines()
    assert [line.split()[:2] for line in (lines[0], lines[3], lines[10])] == [
        ["1", "virtual-memory"],
        ["4", "mdl-remap"],
        ["11", "windows-driver"],
    ]
    assert all(line.split()[0].startswith("driver-") for line in lines[11:])
    assert "Tek çerçeve, iki adres" in lab("demo", "--list", "--lang", "tr").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-lecture", "--web"], "no lecture 'no-such-lecture'"),
        (["--lang", "xx"], "no texts in 'xx'"),
        (["no-such-file.lab", "--web"], "no-such-file.lab"),
        (["no-such-lecture", "--web", "--recorded"], "no lecture 'no-such-lecture'"),
        (["no-such-lecture", "--export", "/dev/null"], "no lecture 'no-such-lecture'"),
        (["--from", "{}@12", "--export", "/dev/null"], "it has 0 to 11"),
        (["--from", "{}@12", "--web"], "it has 0 to 11"),
        (["--from", "{}@1..2", "--web"], "begins with one moment"),
        (["--web", "--port", "65536"], "0<=x<=65535"),
        (["--web", "--port", "-1"], "0<=x<=65535"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_shown_is_named(lab: Lab, recording: Path, arguments: list[str], words: str) -> None:
    outcome = lab("demo", *(each.format(recording) for each in arguments))
    assert outcome.code == 2
    assert words in outcome.err
    assert "Traceback" not in outcome.err


def test_a_recording_becomes_a_page_and_a_cast(lab: Lab, recording: Path, tmp_path: Path) -> None:
    page, cast = tmp_path / "lecture.html", tmp_path / "lecture.cast"
    outcome = lab("demo", str(recording), "--export", str(page), "--cast", str(cast), "--lang", "tr")
    assert (outcome.code, outcome.out) == (0, "")
    assert '<html lang="tr"' in page.read_text()
    assert json.loads(cast.read_text().splitlines()[0])["version"] == 2


def test_letters_need_a_terminal_before_they_need_a_machine(lab: Lab, recording: Path) -> None:
    assert "this is none" in lab("demo", PATH="/nonexistent").err
    outcome = lab("demo", "--from", f"{recording}@3")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--web shows a page" in outcome.err
    assert "no recording" in lab("demo", "--from", "lecture.html").err


@pytest.mark.parametrize("host", ["", "0.0.0.0", "0", "0x0", "::", "0::0", "::ffff:0.0.0.0"])  # noqa: S104 - refused
def test_no_wildcard_is_listened_on_however_it_is_spelled(lab: Lab, host: str) -> None:
    outcome = lab("demo", "--web", "--host", host, PATH="/nonexistent")
    assert outcome.code == 2
    assert "--host takes one address" in outcome.err


@pytest.mark.parametrize("host", ["no.such.name.invalid", "a..b"])
def test_a_host_that_is_none_is_named_before_a_machine_boots(lab: Lab, host: str) -> None:
    outcome = lab("demo", "--web", "--host", host, PATH="/nonexistent")
    assert outcome.code == 3
    assert outcome.err.startswith(f"lab: cannot listen on {host}: ")


def test_without_a_machine_the_recording_is_shown_and_the_reason_told(lab: Lab) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:  # so that it comes as far as the page, and ends
        outcome = lab("demo", "--web", "--port", str(taken.getsockname()[1]), PATH="/nonexistent")
    assert outcome.code == 3
    first, second = outcome.err.splitlines()
    assert "is not installed" in first
    assert "cannot listen on 127.0.0.1" in second


def test_a_page_is_served_until_ctrl_c(recording: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # Background jobs of some shells start with SIGINT ignored, and what they start inherits that.
    code = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nfrom lab.cli import main\nmain()"
    command = [sys.executable, "-c", code, "demo", str(recording), "--web"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        url = demo.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url + "state") as answer:  # noqa: S310 - our own
            assert json.load(answer)["last"] == 11
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(url.rsplit("/", 2)[0] + "/")  # noqa: S310 - our own
        demo.send_signal(signal.SIGINT)
        _, complaints = demo.communicate(timeout=20)
    assert demo.returncode == 130
    assert complaints.strip() == ""
