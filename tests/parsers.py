"""Real applications for tests, and requests put to them below any HTTP client: the exact fields, nothing corrected.

Each application serves `GET /api/me`: 200 with the user of a token that it finds in Authorization or in a
cookie with its framework's own parser, else 401. It knows nothing of logouts. `Site` is one of them, or any
other application, behind the middleware.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from logout_middleware import BlockingLogout, Logout, asgi, wsgi

Authenticate = Callable[[str], str | None]
Fields = Sequence[tuple[str, str]]

REACHED = "x-application"
"""A header of every answer that an application, not the middleware, gave."""


@dataclass(frozen=True)
class Answer:
    """What came back. `status` is 101 for an accepted WebSocket, 401 for one refused with close code 4401."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name]

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def reached_application(self) -> bool:
        """Did the application answer, rather than the middleware?"""
        return bool(self.all(REACHED))


# ---- applications ------------------------------------------------------------------------------------


def _me(authenticate: Authenticate, tokens: Iterable[str | None]) -> tuple[int, dict[str, str | None]]:
    user = next(filter(None, (authenticate(token) for token in tokens if token)), None)
    return (200 if user else 401), {"user": user}


def starlette_app(authenticate: Authenticate, cookie: str) -> Any:
    """Starlette, with FastAPI's parser of Authorization."""
    from fastapi.security.utils import get_authorization_scheme_param
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def me(request: Request) -> JSONResponse:
        scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
        bearer = token if scheme.lower() == "bearer" else None
        status, body = _me(authenticate, [bearer, request.cookies.get(cookie)])
        return JSONResponse(body, status, headers={REACHED: "starlette"})

    return Starlette(routes=[Route("/api/me", me)])


def flask_app(authenticate: Authenticate, cookie: str) -> Any:
    """Flask, with Werkzeug's parsers."""
    from flask import Flask, request

    app = Flask(__name__)

    @app.get("/api/me")
    def me() -> tuple[dict[str, str | None], int, dict[str, str]]:
        held = request.authorization
        bearer = held.token if held is not None and held.type == "bearer" else None
        status, body = _me(authenticate, [bearer, *request.cookies.getlist(cookie)])
        return body, status, {REACHED: "flask"}

    return app


def django_app(authenticate: Authenticate, cookie: str) -> Any:
    """Django over WSGI, with the parser of Authorization that Django REST framework has."""
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
    from django.http import HttpRequest, JsonResponse
    from django.urls import path

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=())

    def me(request: HttpRequest) -> JsonResponse:
        words = request.META.get("HTTP_AUTHORIZATION", "").split()
        bearer = words[1] if len(words) == 2 and words[0].lower() == "bearer" else None
        status, body = _me(authenticate, [bearer, request.COOKIES.get(cookie)])
        return JsonResponse(body, status=status, headers={REACHED: "django"})

    class OwnRequest(WSGIRequest):
        urlconf = (path("api/me", me),)

    class OwnHandler(WSGIHandler):
        request_class = OwnRequest

    return OwnHandler()


async def any_asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """Says 200 to everything, and accepts every WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        return
    headers = [(REACHED.encode(), b"any"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"served"})


def any_wsgi_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Says 200 to everything."""
    start_response("200 OK", [(REACHED, "any"), ("Content-Type", "text/plain")])
    return [b"served"]


# ---- requests ----------------------------------------------------------------------------------------


def ask_asgi(
    app: Any, method: str, path: str, fields: Fields, *, query: str = "", body: bytes = b"", **scope: Any
) -> Answer:
    """One HTTP request as an ASGI scope. Texts are latin-1."""
    sent = iter([{"type": "http.request", "body": body, "more_body": False}])
    got: list[Any] = []

    async def receive() -> Any:
        return next(sent, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        got.append(message)

    _run(app(_scope("http", path, fields, query) | {"method": method} | scope, receive, send))
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in got[0]["headers"])
    return Answer(got[0]["status"], headers, b"".join(message.get("body", b"") for message in got[1:]))


def ask_websocket(app: Any, path: str, fields: Fields, *, query: str = "") -> Answer:
    """One WebSocket handshake, to a server without the extension for HTTP answers."""
    got: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        got.append(message)

    _run(app(_scope("websocket", path, fields, query), receive, send))
    if got[0]["type"] == "websocket.accept":
        return Answer(101, ((REACHED, "any"),))
    assert got == [{"type": "websocket.close", "code": 4401, "reason": got[0]["reason"]}]
    return Answer(401)


def _scope(kind: str, path: str, fields: Fields, query: str) -> dict[str, Any]:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return {
        "type": kind, "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "scheme": "https" if kind == "http" else "wss", "path": path, "raw_path": path.encode("utf-8"),
        "query_string": query.encode("latin-1"), "root_path": "", "headers": headers,
        "client": ("192.0.2.1", 50000), "server": ("app.example.com", 443), "subprotocols": [],
    }  # fmt: skip


def _run(coroutine: Awaitable[None]) -> None:
    async def wait() -> None:
        await coroutine

    asyncio.run(wait())


def ask_wsgi(
    app: Any, method: str, path: str, fields: Fields, *, query: str = "", body: bytes = b"", root_path: str = ""
) -> Answer:
    """One HTTP request as a WSGI environ; repeated fields are joined with commas, as gunicorn does."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": root_path, "PATH_INFO": path.encode("utf-8").decode("latin-1"),
        "QUERY_STRING": query, "SERVER_NAME": "app.example.com", "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "192.0.2.1", "wsgi.version": (1, 0), "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO(), "wsgi.multithread": False,
        "wsgi.multiprocess": False, "wsgi.run_once": False,
    }  # fmt: skip
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    for name, value in fields:
        key = name.upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if exc_info is not None:
            raise exc_info[1].with_traceback(exc_info[2])
        started[:] = [int(status[:3]), tuple(headers)]

    chunks = app(environ, start_response)
    try:
        return Answer(started[0], started[1], b"".join(chunks))
    finally:
        getattr(chunks, "close", lambda: None)()


# ---- an application behind the middleware ---------------------------------------------------------------

_MAKERS = {"starlette": starlette_app, "flask": flask_app, "django": django_app}
_ANY = {"asgi": any_asgi_app, "wsgi": any_wsgi_app}
ASGI_STACKS = ("asgi", "starlette")


@dataclass
class Site:
    """An application behind the middleware; `logout` is its Logout or BlockingLogout."""

    logout: Any
    app: Any
    is_asgi: bool

    def ask(self, method: str, path: str, fields: Fields = (), **more: Any) -> Answer:
        """One request."""
        return (ask_asgi if self.is_asgi else ask_wsgi)(self.app, method, path, fields, **more)

    def me(self, *fields: tuple[str, str]) -> Answer:
        """Who am I?"""
        return self.ask("GET", "/api/me", fields)

    def log_out(self, *fields: tuple[str, str]) -> Answer:
        """Log out what these fields carry."""
        return self.ask("POST", "/auth/logout", fields)

    def call(self, method: str, *given: Any, **more: Any) -> Any:
        """Call the Python API in the colour of this site."""
        result = getattr(self.logout, method)(*given, **more)
        return asyncio.run(result) if self.is_asgi else result

    def forget_headers(self) -> None:
        """Make the next request a first sight again."""
        parts = self.logout if self.is_asgi else self.logout.inner
        parts.guard.bearers.forget_all()
        parts.guard.cookies.forget_all()


def site(stack: str, authenticate: Authenticate | None = None, cookie: str = "session", **settings: Any) -> Site:
    """The application of this stack behind the middleware: starlette, flask, django; asgi and wsgi serve anything."""
    app = _ANY[stack] if stack in _ANY else _MAKERS[stack](authenticate or (lambda token: None), cookie)
    given = {"store": "memory://", "rate_limit": "off"} | settings
    if stack in ASGI_STACKS:
        logout = Logout(**given)
        return Site(logout, asgi.LogoutMiddleware(app, logout=logout), is_asgi=True)
    blocking = BlockingLogout(**given)
    return Site(blocking, wsgi.LogoutMiddleware(app, logout=blocking), is_asgi=False)


def bearer(token: str) -> tuple[str, str]:
    """The field that presents this token, in the bytes a client would send."""
    try:
        token.encode("latin-1")
    except UnicodeEncodeError:
        token = token.encode("utf-8", "surrogatepass").decode("latin-1")
    return "Authorization", f"Bearer {token}"
