"""What the server of these tests runs: pages with the kit, a login by cookie and one by token, and counters.

Every page has a Content-Security-Policy that allows nothing but files of this site. `/page?options={…}` is a page
with these options of the kit, `/bare` one without the kit. `/counts` says what came to the middleware.
"""

from __future__ import annotations

import html
import os
import time
from collections import Counter
from typing import Any

import jwt
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from logout_middleware.asgi import LogoutMiddleware

SECRET = "the secret that signs the sessions of the kit's tests"
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'"
_counts: Counter[str] = Counter()


def page(name: str, options: str | None) -> str:
    """A page that shows something private, long enough to scroll."""
    meta = f'<meta name="logout" content="{html.escape(options)}">' if options else ""
    kit = '<script type="module" src="/auth/logout.js"></script>' if options is not None else ""
    return f"""<!doctype html><html lang="en"><title>{name}</title>{meta}{kit}
<h1 id="name">{name}</h1><p id="private">private</p><button id="focused">A button</button><a href="/bare">Bare</a>"""


def _answer(name: str, options: str | None) -> Response:
    return HTMLResponse(page(name, options), headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})


async def with_kit(request: Request) -> Response:
    """A page with the kit."""
    return _answer(request.url.path.strip("/"), request.query_params.get("options", "{}"))


async def bare(request: Request) -> Response:
    """A page without it."""
    return _answer("bare", None)


async def log_in(request: Request) -> Response:
    """Log in by cookie; the body says who."""
    request.session.clear()
    request.session["user_id"] = (await request.json())["user"]
    return JSONResponse({})


async def tokens(request: Request) -> Response:
    """Tokens of a login that needs no cookie: of a new one, or of the session `sid`. `life`: its seconds."""
    asked, now = await request.json(), time.time()
    common = {"sub": asked["user"], "sid": asked.get("sid") or os.urandom(8).hex(), "iat": now}

    def mint(life: float) -> str:
        return jwt.encode(common | {"jti": os.urandom(8).hex(), "exp": now + life}, SECRET, algorithm="HS256")

    return JSONResponse({"access": mint(asked.get("life", 3600)), "refresh": mint(86400)})


async def me(request: Request) -> Response:
    """Whom the application sees."""
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    claims = jwt.decode(bearer, SECRET, algorithms=["HS256"]) if bearer else {}
    return JSONResponse({"user": claims.get("sub") or request.session.get("user_id")})


async def favicon(request: Request) -> Response:
    """Browsers ask for it."""
    return Response(status_code=204)


def app() -> Any:
    """The application behind the middleware, as a factory."""
    paths = ["/page", "/login", "/bye", "/a/b/page"]
    inner = Starlette(
        routes=[
            *(Route(path, with_kit) for path in paths),
            Route("/bare", bare),
            Route("/login", log_in, methods=["POST"]),
            Route("/tokens", tokens, methods=["POST"]),
            Route("/me", me),
            Route("/favicon.ico", favicon),
        ],
        middleware=[Middleware(SessionMiddleware, secret_key=SECRET, https_only=True)],
    )
    guarded = LogoutMiddleware(
        inner,
        store=f"sqlite:///{os.environ['FOLDER']}/logout.db",
        cookies="session:starlette",
        cookie_secret=SECRET,
        jwt_key=SECRET,
        jwt_algorithms="HS256",
        rate_limit=os.environ.get("RATE_LIMIT", "off"),
    )

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await guarded(scope, receive, send)
        if scope["path"] == "/counts":
            return await JSONResponse(dict(_counts))(scope, receive, send)
        name = f"{scope['method']} {scope['path']}"
        _counts[name] += 1
        _counts[f"open {name}"] += 1
        _counts[f"most {name}"] = max(_counts[f"most {name}"], _counts[f"open {name}"])
        try:
            await guarded(scope, receive, send)
        finally:
            _counts[f"open {name}"] -= 1

    return counting
