"""Who is let in: a browser that was given the URL, and nobody else."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from lab.demo.player import Player
from lab.timeline import Timeline
from tests.web.conftest import PATIENCE, Served, serving


def request(
    served: Served, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
) -> tuple[int, str, Mapping[str, str]]:
    """Ask the server as some program would: status, text, headers."""
    place = urlsplit(served.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE / 1000)
    connection.request(method, path, body, dict(headers or {}))
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return found


def path_of(served: Served, name: str = "") -> str:
    return urlsplit(served.url).path + name


def post(served: Served, name: str, body: bytes, origin: str | None = "own") -> tuple[int, str]:
    headers = {} if origin is None else {"Origin": served.face.origin if origin == "own" else origin}
    return request(served, path_of(served, name), method="POST", headers=headers, body=body)[:2]


def test_the_page_is_below_a_path_that_nobody_can_guess(served: Served, lecture: Timeline) -> None:
    assert request(served, path_of(served))[0] == 200
    assert len(served.face.token) >= 32
    with serving(Player(lecture)) as other:
        assert other.face.token != served.face.token


@pytest.mark.parametrize("path", ["/", "/page.js", "/state", "/x/", "/../", "//"])
def test_without_the_token_everything_is_forbidden(served: Served, path: str) -> None:
    status, text, _ = request(served, path)
    assert (status, text) == (403, "403")
    assert request(served, f"/{served.face.token[:-1]}/state")[0] == 403


def test_a_request_for_no_path_is_forbidden(served: Served) -> None:
    assert request(served, "*", method="OPTIONS")[:2] == (403, "403")


@pytest.mark.parametrize("host", ["localhost", "lecture.example", "127.0.0.1", "127.0.0.1:1", ""])
def test_another_name_for_this_computer_is_forbidden(served: Served, host: str) -> None:
    assert request(served, path_of(served, "state"), headers={"Host": host})[0] == 403


@pytest.mark.parametrize("origin", ["http://lecture.example", "null", "https://127.0.0.1", "http://127.0.0.1", ""])
def test_another_origin_is_forbidden(served: Served, origin: str) -> None:
    assert request(served, path_of(served, "state"), headers={"Origin": origin})[0] == (200 if not origin else 403)
    assert post(served, "do", b'{"do": "next"}', origin)[0] == 403
    assert served.face.player.position == 0


def test_who_says_no_origin_may_look_but_not_act(served: Served) -> None:
    assert request(served, path_of(served, "state"))[0] == 200
    assert post(served, "do", b'{"do": "next"}', None)[0] == 403
    assert post(served, "do", b'{"do": "next"}')[0] == 200
    assert served.face.player.position == 1


def test_the_page_may_load_nothing_from_anywhere_else(served: Served) -> None:
    headers = request(served, path_of(served))[2]
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"3", b'{"do": "fly"}', b'{"do": "go", "number": "7"}', b" " * 99999]
)
def test_nonsense_is_refused_calmly(served: Served, body: bytes) -> None:
    assert post(served, "do", body)[0] == 400
    assert post(served, "ask", body)[0] == 400


def test_a_moment_that_is_not_there_is_not_found(served: Served) -> None:
    assert request(served, path_of(served, "moments/999"))[0] == 404
    assert request(served, path_of(served, "moments/-1"))[0] == 404


def test_a_step_far_away_is_the_last_one(served: Served, lecture: Timeline) -> None:
    status, text = post(served, "do", b'{"do": "go", "number": 99999}')
    assert status == 200
    assert json.loads(text)["position"] == len(lecture) - 1


def test_an_open_window_is_told_that_there_will_be_no_more(lecture: Timeline) -> None:
    with serving(Player(lecture)) as served:
        place = urlsplit(served.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE / 1000)
        connection.request("GET", path_of(served, "events"))
        stream = connection.getresponse()
        assert stream.readline().startswith(b"data: {")
    assert stream.read() == b"\n"  # to a proper end, and not broken off
    connection.close()


def test_answers_are_text_and_never_markup(served: Served) -> None:
    status, text = post(served, "ask", json.dumps({"line": "walk <img/src=x>"}).encode())
    assert status == 200
    assert "<img" not in json.loads(text)["html"]
