"""What the servers of these tests run: one application for each kind of cookie, told apart by the host name.

`plain.example.test` is the application behind the middleware, `bare-plain.example.test` the same without it, and
`shop.partner.test` is a foreign page that frames it. The middleware is told the name of the cookie, and none of its
attributes. `slow/<key>` begins when the request comes,
and ends when somebody makes the file `go-<key>` in the folder FOLDER.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from pathlib import Path
from typing import Any

import flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from logout_middleware import asgi, wsgi

from .kinds import BASE, DOMAIN, KINDS, PARTNER, Kind, joined, split

SESSION_SECRET = "the secret that signs the sessions of the browser tests"
HOME, LOGIN, ELSEWHERE = f"{BASE}/", f"{BASE}/login", f"{BASE}/elsewhere"
TREATMENTS = {
    "unsaid": {},
    "no-cache": {"Cache-Control": "no-cache"},
    "private": {"Cache-Control": "private, max-age=600"},
    "no-store": {"Cache-Control": "no-store"},
}
"""What an application may say about the keeping of a page, by the name of the page."""


def settings_of(kind: Kind) -> dict[str, Any]:
    """The keywords of the middleware in front of this kind."""
    return {
        "store": f"sqlite:///{os.environ['FOLDER']}/{kind.label}.db",
        "cookies": f"{kind.name}:auto",
        "cookie_secret": SESSION_SECRET,
        "prefix": kind.prefix,
        "redirect_url": LOGIN,
        "rate_limit": "1000 per 5 minutes",
    }


def new_session(kind: Kind, user: str) -> dict[str, str]:
    """What the application remembers of a login; too much for one cookie where the kind is one of chunks."""
    return {"user_id": user} | ({"cart": secrets.token_urlsafe(2700)} if kind.chunks else {})


def page(kind: Kind, user: str | None) -> str:
    """The application's page, which shows something private to who is logged in."""
    who = f'<p id="private">the secret of {user}</p>' if user else ""
    return f"""<!doctype html><title>Application</title><p id="who">{user or "nobody"}</p>{who}
<form method="post" action="{LOGIN}"><input name="user"><button id="log-in">Log in</button></form>
<form method="post" action="{kind.prefix}/logout"><button id="log-out">Log out</button></form>
<form method="post" action="{BASE}/own-logout"><button id="own-logout">Log out by the application</button></form>
<a id="leave" href="{kind.prefix}/logout">Log out</a> <a id="elsewhere" href="{ELSEWHERE}">Elsewhere</a>"""


def frame_page(port: str) -> str:
    """A page of another site, with the application in a frame."""
    return f'<!doctype html><title>Partner</title><iframe src="https://partitioned.{DOMAIN}:{port}{LOGIN}"></iframe>'


def begun(key: str) -> Path:
    """Tell the test that the slow request is running; the file that will end it."""
    folder = Path(os.environ["FOLDER"])
    (folder / f"begun-{key}").touch()
    return folder / f"go-{key}"


# ---- Starlette -----------------------------------------------------------------------------------------


def starlette_app(kind: Kind) -> Any:
    """The application in Starlette, its session in the framework's own signed cookie."""

    def show(request: Request) -> HTMLResponse:
        treatment = TREATMENTS[request.path_params.get("treatment", "unsaid")]
        return HTMLResponse(page(kind, request.session.get("user_id")), headers=treatment)

    async def log_in(request: Request) -> Response:
        request.session.clear()
        request.session.update(new_session(kind, str((await request.form())["user"])))
        return RedirectResponse(HOME, 303)

    async def log_out(request: Request) -> Response:
        response = RedirectResponse(LOGIN, 303)
        response.delete_cookie(kind.name)
        return response

    async def slow(request: Request) -> Response:
        user, key = request.session.get("user_id"), request.path_params["key"]
        request.session["last_page"] = key
        go = begun(key)
        while not go.exists():
            await asyncio.sleep(0.01)
        return HTMLResponse(page(kind, user))

    async def elsewhere(request: Request) -> Response:
        return HTMLResponse("<!doctype html><title>Elsewhere</title>", headers={"Cache-Control": "no-store"})

    routes = [
        Route("/", show),
        Route("/page/{treatment}", show),
        Route("/login", show),
        Route("/login", log_in, methods=["POST"]),
        Route("/own-logout", log_out, methods=["POST"]),
        Route("/slow/{key}", slow),
        Route("/elsewhere", elsewhere),
    ]
    session = Middleware(
        SessionMiddleware, secret_key=SESSION_SECRET, session_cookie=kind.name, path=kind.path, domain=kind.domain,
        same_site=kind.same_site, https_only=kind.secure, partitioned=kind.partitioned,
    )  # fmt: skip
    return _rewriting_asgi(kind, Starlette(routes=[Mount(BASE, routes=routes)], middleware=[session]))


def _rewriting_asgi(kind: Kind, app: Any) -> Any:
    async def rewriting(scope: Any, receive: Any, send: Any) -> None:
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie"]
        if lines and kind.chunks:
            rest = [pair for pair in scope["headers"] if pair[0] != b"cookie"]
            scope = {**scope, "headers": [*rest, (b"cookie", joined(kind, lines).encode("latin-1"))]}

        async def forward(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (name, line)
                    for name, value in message["headers"]
                    for line in (_set_cookies(kind, value) if name == b"set-cookie" else [value])
                ]
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, forward)

    return rewriting


def _set_cookies(kind: Kind, value: bytes) -> list[bytes]:
    text = value.decode("latin-1")
    if not kind.http_only:  # the one attribute that Starlette's sessions always have
        text = text.replace("httponly; ", "")
    return [line.encode("latin-1") for line in (split(kind, text) if kind.chunks else [text])]


def asgi_app() -> Any:
    """All kinds, guarded and bare, as a factory."""

    async def framing(scope: Any, receive: Any, send: Any) -> None:
        await HTMLResponse(frame_page(str(scope["server"][1])))(scope, receive, send)

    hosts: dict[str, Any] = {PARTNER: framing}
    for kind in KINDS.values():
        hosts[f"bare-{kind.label}.{DOMAIN}"] = starlette_app(kind)
        hosts[f"{kind.label}.{DOMAIN}"] = asgi.LogoutMiddleware(starlette_app(kind), **settings_of(kind))

    async def by_host(scope: Any, receive: Any, send: Any) -> None:
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        await hosts[host.partition(":")[0]](scope, receive, send)

    return by_host


# ---- Flask ---------------------------------------------------------------------------------------------


def flask_app(kind: Kind) -> Any:
    """The application in Flask, its session in the framework's own signed cookie."""
    app = flask.Flask("application")
    app.secret_key = SESSION_SECRET
    app.config.update(
        SESSION_COOKIE_NAME=kind.name,
        SESSION_COOKIE_PATH=kind.path,
        SESSION_COOKIE_DOMAIN=kind.domain,
        SESSION_COOKIE_SECURE=kind.secure,
        SESSION_COOKIE_HTTPONLY=kind.http_only,
        SESSION_COOKIE_SAMESITE=kind.same_site.title(),
        SESSION_COOKIE_PARTITIONED=kind.partitioned,
    )

    @app.get(HOME)
    @app.get(LOGIN)
    @app.get(f"{BASE}/page/<treatment>")
    def show(treatment: str = "unsaid") -> Any:
        return page(kind, flask.session.get("user_id")), TREATMENTS[treatment]

    @app.post(LOGIN)
    def log_in() -> Any:
        flask.session.clear()
        flask.session.update(new_session(kind, flask.request.form["user"]))
        return flask.redirect(HOME, 303)

    @app.post(f"{BASE}/own-logout")
    def log_out() -> Any:
        response = flask.redirect(LOGIN, 303)
        response.delete_cookie(kind.name)
        return response

    @app.get(f"{BASE}/slow/<key>")
    def slow(key: str) -> Any:
        user = flask.session.get("user_id")
        flask.session["last_page"] = key
        go = begun(key)
        while not go.exists():
            time.sleep(0.01)
        return page(kind, user)

    @app.get(ELSEWHERE)
    def elsewhere() -> Any:
        return "<!doctype html><title>Elsewhere</title>", {"Cache-Control": "no-store"}

    return _rewriting_wsgi(kind, app)


def _rewriting_wsgi(kind: Kind, app: Any) -> Any:
    def rewriting(environ: dict[str, Any], start_response: Any) -> Any:
        if kind.chunks and "HTTP_COOKIE" in environ:
            environ = {**environ, "HTTP_COOKIE": joined(kind, [environ["HTTP_COOKIE"]])}

        def forward(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if kind.chunks:
                headers = [
                    (name, line)
                    for name, value in headers
                    for line in (split(kind, value) if name.lower() == "set-cookie" else [value])
                ]
            return start_response(status, headers, *exc_info)

        return app(environ, forward)

    return rewriting


def wsgi_app() -> Any:
    """All kinds, guarded and bare, as a factory."""

    def framing(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [frame_page(environ["SERVER_PORT"]).encode("ascii")]

    hosts: dict[str, Any] = {PARTNER: framing}
    for kind in KINDS.values():
        hosts[f"bare-{kind.label}.{DOMAIN}"] = flask_app(kind)
        hosts[f"{kind.label}.{DOMAIN}"] = wsgi.LogoutMiddleware(flask_app(kind), **settings_of(kind))

    def by_host(environ: dict[str, Any], start_response: Any) -> Any:
        return hosts[environ["HTTP_HOST"].partition(":")[0]](environ, start_response)

    return by_host
