"""A Starlette application with a login form, a page and a JSON API; logging out is the line at the end.

What it must do itself: check passwords, keep the user in the session, sign tokens and verify them. Ending all
of that again is LogoutMiddleware and the LOGOUT_* variables of `settings.env`. Start it with `make demo`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from hmac import compare_digest
from pathlib import Path
from typing import Any

import jwt
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from logout_middleware.asgi import LogoutMiddleware

# The application signs with the variables that the middleware verifies with, so the two cannot differ.
JWT_KEY = os.environ["LOGOUT_JWT_KEY"]
SESSION_SECRET = os.environ["LOGOUT_COOKIE_SECRET"]
ACCESS_SECONDS = 15 * 60
REFRESH_SECONDS = 30 * 24 * 3600
NO_STORE = {"Cache-Control": "no-store"}
# The page and the browser kit need no inline script or style, so nobody else's can run either.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; img-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# Not stored, so that the back button shows nothing after logging out.
OF_PAGES = NO_STORE | {"Content-Security-Policy": POLICY}

# Name → salt and scrypt hash. The passwords are correct-horse and battery-staple.
USERS = {
    "ann": ("e6949237bd6acd5081f454176bcf6075", "fbd3ae284f8b471635b80d3606d38a52d727353e90794393b7d82dc8ebdcdceb"),
    "ben": ("955e8f9e249033c0498b16c49244a6b3", "0b70f77bbe14b626e62b1c3a262fc09470caadeaa2e954bfd339535b9547f916"),
}
NOBODY = ("00", "")

logging.basicConfig(level=logging.INFO)  # shows the audit log, one JSON line for each logout
HERE = Path(__file__).parent
templates = Jinja2Templates(HERE.parent / "templates")


def password_matches(username: str, password: str) -> bool:
    """Is this the user's password? An unknown name takes as long as a wrong password."""
    salt, expected = USERS.get(username, NOBODY)
    text = password.encode("utf-8", "surrogatepass")
    found = hashlib.scrypt(text, salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32)
    return compare_digest(found.hex(), expected)


# ---- pages: the user is in a signed session cookie -----------------------------------------------------


async def home(request: Request) -> Response:
    """Greet who is logged in; everybody else logs in first."""
    user = request.session.get("user_id")
    if user is None:
        return RedirectResponse("/login", 303)
    return templates.TemplateResponse(request, "page.html", {"user": user}, headers=OF_PAGES)


async def login_form(request: Request) -> Response:
    """Ask for name and password."""
    return templates.TemplateResponse(request, "page.html", headers=OF_PAGES)


async def login(request: Request) -> Response:
    """Start a session, or show the form again."""
    form = await request.form()
    username, password = str(form.get("username", "")), str(form.get("password", ""))
    if not await run_in_threadpool(password_matches, username, password):
        wrong = {"error": "Name or password is wrong.", "username": username}
        return templates.TemplateResponse(request, "page.html", wrong, 401, OF_PAGES)
    request.session.clear()  # a login is a new session, whatever the browser had before
    request.session["user_id"] = username
    return RedirectResponse("/", 303)


# ---- API: the user is in signed tokens -----------------------------------------------------------------


def signed_token(use: str, user: str, sid: str, seconds: int) -> str:
    """A JWT. All tokens of one login share its `sid`; the fraction of `iat` tells logins of one second apart."""
    now = time.time()
    claims = {"use": use, "sub": user, "sid": sid, "jti": secrets.token_urlsafe(16), "iat": now, "exp": now + seconds}
    return jwt.encode(claims, JWT_KEY, algorithm="HS256")


def verified_claims(use: str, token: Any) -> dict[str, Any] | None:
    """The claims of a token that we signed for this use, or None."""
    try:
        claims = jwt.decode(token, JWT_KEY, algorithms=["HS256"], options={"require": ["sub", "sid", "exp"]})
    except (jwt.InvalidTokenError, UnicodeError):
        return None
    return claims if claims.get("use") == use else None


async def json_body(request: Request) -> dict[str, Any]:
    """The body as a JSON object; 400 for anything else."""
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise HTTPException(400, "Send a JSON object.")
    return body


async def api_login(request: Request) -> Response:
    """Name and password for an access and a refresh token."""
    body = await json_body(request)
    username, password = str(body.get("username", "")), str(body.get("password", ""))
    if not await run_in_threadpool(password_matches, username, password):
        return JSONResponse({"error": "invalid_credentials"}, 401)
    sid = secrets.token_urlsafe(16)
    tokens = {
        "access_token": signed_token("access", username, sid, ACCESS_SECONDS),
        "refresh_token": signed_token("refresh", username, sid, REFRESH_SECONDS),
        "token_type": "Bearer",
        "expires_in": ACCESS_SECONDS,
    }
    return JSONResponse(tokens, headers=NO_STORE)


async def api_refresh(request: Request) -> Response:
    """A refresh token for a new access token of the same session."""
    claims = verified_claims("refresh", (await json_body(request)).get("refresh_token"))
    if claims is None:
        return JSONResponse({"error": "invalid_grant"}, 401)
    token = signed_token("access", claims["sub"], claims["sid"], ACCESS_SECONDS)
    return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": ACCESS_SECONDS}, headers=NO_STORE)


async def api_me(request: Request) -> Response:
    """Who the access token is for."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    claims = verified_claims("access", token) if scheme.lower() == "bearer" else None
    if claims is None:
        return JSONResponse({"error": "invalid_token"}, 401, {"WWW-Authenticate": "Bearer"})
    return JSONResponse({"user": claims["sub"]})


site = Starlette(
    routes=[
        Route("/", home),
        Route("/login", login_form),
        Route("/login", login, methods=["POST"]),
        Route("/api/login", api_login, methods=["POST"]),
        Route("/api/refresh", api_refresh, methods=["POST"]),
        Route("/api/me", api_me),
        Mount("/static", StaticFiles(directory=HERE.parent / "static")),
    ],
    middleware=[Middleware(SessionMiddleware, secret_key=SESSION_SECRET)],
)

app = LogoutMiddleware(site)
