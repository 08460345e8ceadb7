"""What the server of these tests runs: a small application behind the middleware, under a strict CSP.

Its login is a JWT in a cookie that scripts cannot read. `enter` logs in, and says for how long. A logout waits while
the file `hold` is in the folder FOLDER, the modules of the kit are not there while `block` is, and the method and path
of each request are in the file `requests` there.
"""

from __future__ import annotations

import asyncio
import html
import math
import os
import secrets
import time
from pathlib import Path
from typing import Any

import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from logout_middleware.asgi import LogoutMiddleware

KEY = "the key of the tokens in the tests of three browsers"
COOKIE = "session"
CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'"
_HERE = Path(__file__).parent
_HEAD = '<!doctype html><html lang="en" {attributes}><title>{title}</title><script src="/watch.js"></script>'


def _page(title: str, body: str, *, attributes: str = "") -> HTMLResponse:
    text = _HEAD.format(title=title, attributes=attributes) + f'<link rel="stylesheet" href="/page.css">{body}'
    return HTMLResponse(text, headers={"Content-Security-Policy": CSP})


def _user(request: Request) -> str | None:
    try:
        return str(jwt.decode(request.cookies.get(COOKIE, ""), KEY, algorithms=["HS256"])["sub"])
    except jwt.PyJWTError:
        return None


def home(request: Request) -> Response:
    """The page of who is logged in, with buttons of the kit. `options`: what it is told, as JSON."""
    user, options = _user(request), request.query_params.get("options", "{}")
    who = f'<p id="who">{user}</p><p id="private">the secret of {user}</p>' if user else '<p id="who">nobody</p>'
    form = '<form method="post" action="/auth/logout"><button>Log out</button></form>'
    body = f"""{who}
<logout-button id="plain">{form}</logout-button>
<logout-button id="asking" confirm="Really leave?">{form}</logout-button>
<logout-button id="staying" redirect="false">{form}</logout-button>
<script type="module" src="/page.js"></script>"""
    return _page("Home", body, attributes=f'data-options="{html.escape(options)}"')


def login(request: Request) -> Response:
    """The login page; it is without the kit."""
    return _page("Login", '<h1 id="log-in">Log in</h1>')


def elsewhere(request: Request) -> Response:
    """A page without the kit and without anything private."""
    return _page("Elsewhere", '<h1 id="elsewhere">Elsewhere</h1>')


def broken(request: Request) -> Response:
    """A page on which something goes wrong."""
    return _page("Broken", '<script src="/broken.js"></script>')


def enter(request: Request) -> Response:
    """Log in as `user` for `lifetime` seconds, and go to `to`."""
    now, asked = time.time(), request.query_params
    lifetime = float(asked.get("lifetime", "3600"))
    claims = {"sub": asked["user"], "sid": secrets.token_hex(8), "iat": int(now), "exp": math.ceil(now + lifetime)}
    answer = RedirectResponse(asked["to"], 303)
    answer.set_cookie(COOKIE, jwt.encode(claims, KEY, algorithm="HS256"), httponly=True, samesite="lax")
    return answer


def own_file(request: Request) -> Response:
    """A script or style sheet of this folder."""
    return FileResponse(_HERE / request.url.path[1:])


def noting(app: Any) -> Any:
    """Around everything: writes the requests down, and holds a logout or hides the kit while it is told to."""
    folder = Path(os.environ["FOLDER"])

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        with (folder / "requests").open("a") as requests:
            requests.write(f"{scope['method']} {scope['path']}\n")
        while scope["method"] == "POST" and scope["path"] == "/auth/logout" and (folder / "hold").exists():
            await asyncio.sleep(0.01)
        is_blocked = (
            scope["path"].startswith("/auth/logout") and scope["path"].endswith(".js") and (folder / "block").exists()
        )
        await (Response(status_code=404) if is_blocked else app)(scope, receive, send)

    return noted


def app() -> Any:
    """The application, as a factory."""
    routes = [Route(f"/{page.__name__}", page) for page in (home, login, elsewhere, broken, enter)]
    routes += [Route(f"/{name}", own_file) for name in ("watch.js", "page.js", "broken.js", "page.css")]
    guarded = LogoutMiddleware(
        Starlette(routes=routes), store=f"sqlite:///{os.environ['FOLDER']}/logout.db", cookies=f"{COOKIE}:jwt",
        jwt_key=KEY, jwt_algorithms="HS256", rate_limit="off",
    )  # fmt: skip
    return noting(guarded)
