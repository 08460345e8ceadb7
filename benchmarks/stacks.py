"""The applications, alone and behind something, and how requests are put through them in process.

No event loop and no server: these applications never suspend, so one `send(None)` runs a request to its end. What a
server does for every request is part of the loop and the same for all: it builds the scope or environ from bytes that
nobody has hashed yet, and takes the answer.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from logout_middleware import asgi, wsgi
from logout_middleware.colour import run_blocking
from logout_middleware.logout import Logout
from logout_middleware.rules.revocation import FOREVER, KEY_BYTES, Revocation, forgettable_after
from logout_middleware.stores import Store
from logout_middleware.stores.memory import MemoryStore

from . import traffic
from .pair import Void
from .traffic import Gate, Lines

App = Any
Turn = Callable[[int], None]


# ---- the applications ----------------------------------------------------------------------------------


async def bare_asgi(scope: dict[str, Any], receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def silent_asgi(scope: Any, receive: Any, send: Any) -> None:
    """Answers nothing, to measure what the request costs without an application."""


def starlette_app() -> App:
    async def root(request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/", root)])


def bare_wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def silent_wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Answers nothing, to measure what the request costs without an application."""
    return ()


def flask_app() -> App:
    app = flask.Flask(__name__)

    @app.get("/")
    def root() -> str:
        return "ok"

    return app


class NothingAsgi:
    """The ASGI middleware that does nothing: what one more layer costs."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class NothingWsgi:
    """The WSGI middleware that does nothing."""

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return self.app(environ, start_response)


# ---- how they are called -------------------------------------------------------------------------------


class WrongAnswer(Void):
    """An answer that is not 2xx."""

    def __init__(self, status: int, missing: int, count: int) -> None:
        super().__init__(f"{missing} of {count} answers were not 2xx (the last was {status})")
        self.status = status


class Answers:
    """Counts good answers; any other makes the run void."""

    def __init__(self) -> None:
        self.good = 0
        self.last = 0

    async def send(self, message: dict[str, Any]) -> None:
        status = message.get("status")
        if status is not None:
            self.last = status
            self.good += 200 <= status < 300

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> None:
        self.last = int(status[:3])
        self.good += status[0] == "2"

    def expect(self, count: int) -> None:
        if self.good != count:
            raise WrongAnswer(self.last, count - self.good, count)
        self.good = 0


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def asgi_turns(app: App, requests: Sequence[Lines], *, answering: bool = True) -> Turn:
    """Serves the next n of these requests, over and over; each must be answered, unless `answering` is False."""
    endless, answers = itertools.cycle(requests), Answers()

    def turn(count: int) -> None:
        send = answers.send
        for lines in itertools.islice(endless, count):
            scope = {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "server": ("127.0.0.1", 8000),
                "client": ("127.0.0.1", 50000),
                "scheme": "http",
                "method": "GET",
                "root_path": "",
                "path": "/",
                "raw_path": b"/",
                "query_string": b"",
                # By way of a bytearray, or Python hands out the same object, with its hash known already.
                "headers": [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in lines],
                "state": {},
            }
            try:
                app(scope, _receive, send).send(None)
            except StopIteration:
                continue
            raise Void("the application suspended: it needs an event loop")
        answers.expect(count if answering else 0)

    return turn


_ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def wsgi_turns(app: App, requests: Sequence[Lines], *, answering: bool = True) -> Turn:
    """Serves the next n of these requests, over and over; each must be answered, unless `answering` is False."""
    # The requests themselves are shared by all cases, or these would differ in how much memory they walk through.
    names = {name: name.decode().upper().replace("-", "_") for lines in requests for name, _ in lines}
    endless, answers = itertools.cycle(requests), Answers()

    def turn(count: int) -> None:
        start_response = answers.start_response
        for lines in itertools.islice(endless, count):
            environ = {**_ENVIRON, "wsgi.input": BytesIO(), "wsgi.errors": None}
            for name, value in lines:
                environ["HTTP_" + names[name]] = str(value, "latin-1")
            body = app(environ, start_response)
            for _ in body:
                pass
            close = getattr(body, "close", None)
            if close is not None:
                close()
        answers.expect(count if answering else 0)

    return turn


def seen_before(turn: Turn, count: int) -> Turn:
    """The same turn, after it has served each of its requests once."""
    turn(count)
    return turn


# ---- stacks --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stack:
    """One framework: how to make its application, what stands in front of it, and how to call it."""

    name: str
    make: Callable[[], App]
    nothing: Callable[[App], App]
    guard: Callable[..., App]
    turns: Callable[..., Turn]
    silent: App
    blocking: bool = False

    def logout(self, store: Store, gate: Gate) -> Logout:
        """A Logout on this store, which has revoked what the gate says."""
        logout = Logout(traffic.settings(), store=store, blocking=self.blocking)
        traffic.revoke(logout, gate)
        return logout

    def status(self, app: App) -> Callable[[Lines], int]:
        """How this application answers one request."""

        def ask(lines: Lines) -> int:
            try:
                self.turns(app, [lines])(1)
            except WrongAnswer as wrong:
                return wrong.status
            return 200

        return ask


STACKS = (
    Stack("asgi", lambda: bare_asgi, NothingAsgi, asgi.LogoutMiddleware, asgi_turns, silent_asgi),
    Stack("starlette", starlette_app, NothingAsgi, asgi.LogoutMiddleware, asgi_turns, silent_asgi),
    Stack("wsgi", lambda: bare_wsgi, NothingWsgi, wsgi.LogoutMiddleware, wsgi_turns, silent_wsgi, blocking=True),
    Stack("flask", flask_app, NothingWsgi, wsgi.LogoutMiddleware, wsgi_turns, silent_wsgi, blocking=True),
)


def filled(count: int) -> MemoryStore:
    """A memory store with so many revocations that hit nobody."""
    store = MemoryStore()
    for start in range(0, count, 10_000):
        run_blocking(store.add(random_revocations(min(10_000, count - start), seed=start)))
    return store


def random_revocations(count: int, seed: int = 0) -> list[Revocation]:
    """Revocations of nobody in particular that end over the next month, as a logout writes them."""
    chance, now = random.Random(seed), time.time()
    ends = [forgettable_after(now + hour * 3600) for hour in range(1, 720)]
    return [Revocation(chance.randbytes(KEY_BYTES), FOREVER, chance.choice(ends), "logout") for _ in range(count)]
