"""What the server of these tests runs: a small application behind the middleware, whose pages hold the buttons."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from logout_middleware.asgi import LogoutMiddleware

SECRET = "the secret that signs the sessions of the buttons' tests"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'"
FALLBACK = '<form method="post" action="/auth/logout"><button>Log out</button></form>'
PAGES = {
    "button": f"<logout-button>{FALLBACK}</logout-button>",
    "stays": f'<logout-button redirect="false">{FALLBACK}</logout-button>',
    "bye": f'<logout-button redirect="/bye" reason="tired" scope="local">{FALLBACK}</logout-button>',
    "everywhere": f'<logout-button scope="global">{FALLBACK}</logout-button>',
    "asks": '<logout-button confirm="Really log out?" text-yes="Yes, log out" text-no="Stay">'
    f"{FALLBACK}</logout-button>",
    "asks-briefly": "<logout-button confirm></logout-button>",
    "three": f"<label>Name <input></label> <logout-button>{FALLBACK}</logout-button> "
    '<logout-button redirect="/bye">Leave</logout-button> <logout-button>Go</logout-button> <a href="/login">Last</a>',
    "labels": '<logout-button id="empty"></logout-button> <logout-button id="text">Sign <b>out</b></logout-button> '
    '<logout-button id="form">\n <form method="post"><input type="hidden" name="scope"><button>Abmelden</button></form>'
    '\n</logout-button> <logout-button id="input"><form><input type="submit" value="Leave"></form></logout-button> '
    '<logout-button id="icon"><form><button aria-label="Log me out"></button></form></logout-button> '
    '<logout-button id="link"><a href="/auth/logout">Leave by a link</a></logout-button>',
    "themed": '<div class="theme"><logout-button confirm="Really?">Log out</logout-button></div>',
    "empty": "",
    "react": '<div id="root"></div>',
}
"""The bodies of the pages, by name."""


def page(name: str, user: str | None) -> str:
    """A whole page, without a single inline script or style."""
    script = "react-page.js" if name == "react" else "page.js"
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Application</title>
<link rel="stylesheet" href="/static/page.css">
<script type="module" src="/static/{script}"></script></head>
<body><main><h1>Application</h1><p id="who">{user or "nobody"}</p>{PAGES.get(name, "")}</main></body></html>"""


def app() -> Any:
    """The application, as a factory; FOLDER is where its database and React's bundle are."""
    folder = Path(os.environ["FOLDER"])

    def show(request: Request) -> Response:
        html = page(request.path_params.get("name", ""), request.session.get("user_id"))
        return HTMLResponse(html, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})

    def log_in(request: Request) -> Response:
        request.session.clear()
        request.session["user_id"] = request.path_params["user"]
        return Response(status_code=204)

    routes = [
        Route("/login", show),
        Route("/login/{user}", log_in, methods=["POST"]),
        Route("/bye", show),
        Route("/page/{name}", show),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        Mount("/vendor", StaticFiles(directory=folder / "vendor")),
    ]
    sessions = Middleware(SessionMiddleware, secret_key=SECRET, https_only=False)
    return LogoutMiddleware(
        Starlette(routes=routes, middleware=[sessions]),
        store=f"sqlite:///{folder}/elements.db",
        cookies="session:starlette",
        cookie_secret=SECRET,
        rate_limit="off",
    )
