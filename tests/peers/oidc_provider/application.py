"""An application whose users log in at an OpenID provider by authorization code flow, behind the middleware.

It keeps `sub`, `sid` and the ID token in its signed session, and knows nothing of logging out. The environment names
the provider (LOGOUT_OIDC_*) and the address that is registered there (APPLICATION).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from typing import Any
from urllib.parse import urlencode

import httpx2
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from logout_middleware.asgi import LogoutMiddleware

PROVIDER, CLIENT = os.environ["LOGOUT_OIDC_ISSUER"], os.environ["LOGOUT_OIDC_CLIENT_ID"]
CALLBACK = os.environ["APPLICATION"] + "/callback"


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def login(request: Request) -> Response:
    """To the provider, with the name of whom to log in."""
    verifier = secrets.token_urlsafe(32)
    request.session["pending"] = {"verifier": verifier, "state": secrets.token_urlsafe(16)}
    query = {
        "client_id": CLIENT, "response_type": "code", "scope": "openid offline_access", "redirect_uri": CALLBACK,
        "state": request.session["pending"]["state"],
        "code_challenge": _base64url(hashlib.sha256(verifier.encode()).digest()), "code_challenge_method": "S256",
        "login_hint": request.query_params["user"],
    }  # fmt: skip
    return RedirectResponse(f"{PROVIDER}/auth?{urlencode(query)}", 303)


async def callback(request: Request) -> Response:
    """Back from the provider: the tokens, for the session and for the test."""
    pending: dict[str, Any] = request.session.pop("pending")
    assert request.query_params["state"] == pending["state"]
    form = {
        "grant_type": "authorization_code", "code": request.query_params["code"], "redirect_uri": CALLBACK,
        "code_verifier": pending["verifier"],
    }  # fmt: skip
    async with httpx2.AsyncClient() as client:
        answer = await client.post(
            f"{PROVIDER}/token", data=form, auth=(CLIENT, os.environ["LOGOUT_OIDC_CLIENT_SECRET"])
        )
    assert answer.status_code == 200, answer.text
    tokens = answer.json()
    # It came straight from the provider, so its signature need not be looked at (OpenID Connect Core 3.1.3.7).
    body = tokens["id_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    request.session.update({"sub": claims["sub"], "sid": claims["sid"], "id_token": tokens["id_token"]})
    return JSONResponse({"claims": claims, **tokens})


async def me(request: Request) -> Response:
    """Who is asking."""
    return JSONResponse({"user": request.session.get("sub"), "sid": request.session.get("sid")})


async def bye(request: Request) -> Response:
    """Where a logout ends."""
    return JSONResponse({"bye": True})


app = LogoutMiddleware(
    Starlette(
        routes=[Route("/login", login), Route("/callback", callback), Route("/me", me), Route("/bye", bye)],
        middleware=[Middleware(SessionMiddleware, secret_key=os.environ["LOGOUT_COOKIE_SECRET"])],
    )
)
