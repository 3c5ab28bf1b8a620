"""The web face: the lecture page, served to this computer only.

Everything is below a path that nobody can guess (`/TOKEN/`), and answers only to a browser that was sent to this very
host and port: a page of another origin, or a name that somebody lets point at 127.0.0.1, gets 403. All windows of a
lecture listen to one stream of events, so they show the same moment.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any, TypeAlias

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from lab.demo.export import moment_data
from lab.demo.page import SCRIPTS, page_css, page_html, script
from lab.demo.player import Player
from lab.demo.prompt import acts_on_guest
from lab.errors import HostError
from lab.render.html import report_html
from lab.texts import ENGLISH, Text
from lab.timeline import Timeline
from lab.views.report import Json

__all__ = ["WebFace", "Server", "listen"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HEAD = '<link rel="stylesheet" href="page.css">\n<script type="module" src="page.js"></script>'

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

LARGEST_BODY = 1 << 16
"""Bytes of a request; what a lecturer types is much shorter."""

BEAT = 15.0
"""Seconds after which a silent stream says that it lives, so that a closed window is found out."""


class WebFace:
    """A player as a page: what it shows, and what the windows of the page ask of it.

    `address` is host and port; `titles` are those that the moments of a lecture that is still being made will have, as
    far as anybody knows. `url` is for the one who gives the lecture, and for nobody else.
    """

    def __init__(
        self, player: Player, address: tuple[str, int], language: str = ENGLISH, *, titles: Sequence[Text] = ()
    ) -> None:
        self.player = player
        self.language = language
        self.token = secrets.token_urlsafe(24)
        self.origin = _origin(address)
        self._titles = titles
        self._blank = False
        self._version = 0
        self._turn = 0
        self._started = time.time()
        self._drawn: dict[tuple[Timeline, int], bytes] = {}
        self._listeners: set[asyncio.Queue[str | None]] = set()
        routes = [
            Route("/", self._page),
            Route("/page.css", self._style),
            *(Route(f"/{name}", self._script) for name in SCRIPTS),
            Route("/state", self._get_state),
            Route("/moments/{number:int}", self._moment),
            Route("/events", self._events),
            Route("/do", self._do, methods=["POST"]),
            Route("/ask", self._ask, methods=["POST"]),
        ]
        inner = Starlette(routes=[Mount(f"/{self.token}", routes=routes)])
        self.app = _Guard(inner, self)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"{self.origin}/{self.token}/"

    def end_streams(self) -> None:
        """Tell all windows that there will be no more events."""
        for each in tuple(self._listeners):
            each.put_nowait(None)

    # ------------------------------------------------------------------------------------------------ answers ----

    async def _page(self, request: Request) -> Response:  # noqa: ARG002 - the same for all requests
        timeline = self.player.timeline
        title = timeline.title.in_language(self.language)
        titles = [each.in_language(self.language) for each in self._titles]
        return HTMLResponse(page_html(title, timeline.scenario, self.language, HEAD, titles))

    async def _style(self, request: Request) -> Response:  # noqa: ARG002
        return Response(page_css(), media_type="text/css")

    async def _script(self, request: Request) -> Response:
        return Response(script(request.url.path.rpartition("/")[2]), media_type="text/javascript")

    async def _get_state(self, request: Request) -> Response:  # noqa: ARG002
        return JSONResponse(self._state())

    async def _moment(self, request: Request) -> Response:
        number, timeline = request.path_params["number"], self.player.timeline
        if number >= len(timeline):
            return PlainTextResponse(f"there is no moment {number}", status_code=404)
        drawn = self._drawn.get((timeline, number))
        if drawn is None:
            version = self._version
            drawn = await run_in_threadpool(self._draw, timeline, number)
            if version == self._version:
                self._drawn[timeline, number] = drawn
        return Response(drawn, media_type="application/json")

    def _draw(self, timeline: Timeline, number: int) -> bytes:
        facts, slots = moment_data(timeline, number, self.language)
        return json.dumps({**facts, "slots": slots}, ensure_ascii=False).encode()

    async def _do(self, request: Request) -> Response:
        match await _body(request):
            case {"do": "next" | "back"} if self._blank:
                self._blank = False
            case {"do": "next"}:
                await run_in_threadpool(self.player.next)
            case {"do": "back"}:
                await run_in_threadpool(self.player.back)
            case {"do": "go", "number": int(number)}:
                self._blank = False
                await run_in_threadpool(self.player.go, number)
            case {"do": "blank"}:
                self._blank = not self._blank
            case _:
                return PlainTextResponse("that cannot be done", status_code=400)
        return JSONResponse(self._tell())

    async def _ask(self, request: Request) -> Response:
        match await _body(request):
            case {"line": str(line)}:
                moments = self.player.timeline
                report = await run_in_threadpool(self.player.ask, line)
                if acts_on_guest(line) or self.player.timeline is not moments:  # a view leaves all as it was
                    self._version += 1
                    self._drawn.clear()
                    self._tell()
                return JSONResponse({"html": report_html(report, clickable=True)})
            case _:
                return PlainTextResponse("there is no line", status_code=400)

    # ----------------------------------------------------------------------------------------------- the state ----

    def _state(self) -> dict[str, Json]:
        player = self.player
        return {
            "position": player.position,
            "last": len(player.timeline) - 1,
            "expected": max(len(self._titles) if player.is_live else 0, len(player.timeline)) - 1,
            "over": not player.is_live or player.is_at_end,
            "asked": bool(player.question),
            "answered": [*player.answered],
            "blank": self._blank,
            "live": player.is_live,
            "version": self._version,
            "turn": self._turn,
            "started": self._started * 1000,
            "notice": player.take_notice().in_language(self.language),
        }

    def _tell(self) -> dict[str, Json]:
        """Let all windows know how things stand."""
        self._turn += 1
        state = self._state()
        for each in tuple(self._listeners):
            each.put_nowait(json.dumps(state))
        return state

    async def _events(self, request: Request) -> Response:  # noqa: ARG002
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield f"data: {json.dumps(self._state())}\n\n"
            while True:
                try:
                    said = await asyncio.wait_for(queue.get(), BEAT)
                except TimeoutError:
                    yield ": \n\n"
                    continue
                if said is None:
                    return
                yield f"data: {said}\n\n"
        finally:
            self._listeners.discard(queue)


async def _body(request: Request) -> object:
    """The JSON that was sent; None when there is none to be had of it."""
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > LARGEST_BODY:
            return None
    try:
        return json.loads(data)
    except ValueError:
        return None


class _Guard:
    """Lets through only what comes from the page itself; all else is 403, without saying why."""

    def __init__(self, inner: Starlette, face: WebFace) -> None:
        self._inner = inner
        self._face = face

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._allows(scope):
            await PlainTextResponse("403", status_code=403, headers=HEADERS)(scope, receive, send)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._inner(scope, receive, send_with_headers)

    def _allows(self, scope: Scope) -> bool:
        """Whether token, Host and Origin are ours. A request that changes something has to say its origin."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        token = scope["path"].removeprefix("/").partition("/")[0]  # the path of OPTIONS may be *
        origin = headers.get(b"origin")
        is_ours = origin == self._face.origin if origin or scope["method"] == "POST" else True
        is_sent_here = headers.get(b"host") == self._face.origin.removeprefix("http://")
        return secrets.compare_digest(token.encode(), self._face.token.encode()) and is_sent_here and is_ours


def _origin(address: tuple[str, int]) -> str:
    host, port = address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(address: tuple[str, int]) -> socket.socket:
    """A socket that listens; port 0 takes one that is free. HostError when the address cannot be had."""
    host, port = address
    try:
        return socket.create_server(address, family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise HostError(f"cannot listen on {host} port {port}: {error.strerror}; try --port 0") from error


class Server(uvicorn.Server):
    """Serves a page; `run([listener])` does so until Ctrl-C.

    It ends the streams of events before it waits for all answers to end, which these never would.
    """

    def __init__(self, face: WebFace) -> None:
        super().__init__(
            uvicorn.Config(
                face.app, log_level="error", lifespan="off", timeout_graceful_shutdown=1, server_header=False
            )
        )
        self._face = face

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving."""
        self._face.end_streams()
        await super().shutdown(sockets)
