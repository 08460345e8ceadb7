"""The same small application twice, in Starlette and in Flask: what stands behind the middleware in tests.

It verifies its own tokens and sessions and knows nothing of logging out. `POST /login` mints an access and a
refresh token with one `sid` and sets a signed session cookie; `GET /me` says who you are; `POST /refresh`
gives a new access token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import flask
import jwt
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

JWT_KEY = "the key that signs the tokens of the tests"
COOKIE_SECRET = "the secret that signs the sessions of the tests"
TOKEN_COOKIE = "access.abcdefg"
"""A cookie that carries an access token, as Userfront names it (UF-5)."""
OPAQUE = {"opaque-token-of-ann": "ann", "opaque-token-of-bob": "bob"}
"""Tokens that only the application understands."""

_UNCHECKED = {f"verify_{name}": False for name in ("exp", "iat", "nbf", "aud", "iss", "sub", "jti")}


class Issuer:
    """Mints and verifies JWTs by the clock of the test. `first`: where its `jti` begin, if others mint as well."""

    def __init__(self, clock: Callable[[], float], key: str = JWT_KEY, *, first: int = 0) -> None:
        self.clock, self.key = clock, key
        self._minted = first

    def mint(self, user: str, *, life: float = 3600.0, **claims: Any) -> str:
        """A token with every usual claim; a claim given as None is left out."""
        self._minted += 1
        now = self.clock()
        usual = {"sub": user, "jti": f"token-{self._minted}", "iat": now, "exp": now + life, "kind": "access"}
        members = {name: value for name, value in (usual | claims).items() if value is not None}
        return jwt.encode(members, self.key, algorithm="HS256")

    def verify(self, token: str) -> Mapping[str, Any] | None:
        """The claims of a token that an application would accept."""
        if token in OPAQUE:
            return {"sub": OPAQUE[token], "kind": "access"}
        try:
            claims = jwt.decode(token, self.key, algorithms=["HS256"], options=_UNCHECKED)
        except jwt.PyJWTError:
            return None
        return claims if claims["exp"] > self.clock() else None


class Application:
    """What both frameworks serve: status and JSON from plain values."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self._logins = 0

    def me(
        self, authorization: str | None, session: Mapping[str, Any], cookies: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """Who is asking, and by which credential."""
        if authorization is None:
            authorization = cookies.get(TOKEN_COOKIE)
        if authorization is None:
            return 200, {"user": session.get("user_id"), "via": "session" if "user_id" in session else None}
        claims = self.issuer.verify(authorization.removeprefix("Bearer "))
        if claims is None or claims["kind"] != "access":
            return 401, {"error": "the application does not know this token"}
        return 200, {"user": claims.get("sub"), "via": "token"}

    def login(self, body: Mapping[str, Any], session: MutableMapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Log in whoever says a name; `sid: false` makes a login whose parts have no name in common, a text names it.

        `id_token` is kept in the session, as applications of an OpenID provider do.
        """
        self._logins += 1
        user, wanted = body["user"], body.get("sid", True)
        sid = wanted if isinstance(wanted, str) else f"login-{self._logins}" if wanted else None
        session.clear()
        session.update({"user_id": user} | ({"sid": sid} if sid else {}))
        session.update({"id_token": body["id_token"]} if "id_token" in body else {})
        access = self.issuer.mint(user, sid=sid)
        refresh = self.issuer.mint(user, sid=sid, kind="refresh", life=30 * 86400.0)
        return 200, {"access_token": access, "refresh_token": refresh, "sid": sid}

    def refresh(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """A new access token for a good refresh token."""
        claims = self.issuer.verify(str(body.get("refresh_token") or body.get("refreshToken")))
        if claims is None or claims["kind"] != "refresh":
            return 401, {"error": "the application does not know this refresh token"}
        return 200, {"access_token": self.issuer.mint(claims["sub"], sid=claims.get("sid"))}


def starlette_app(application: Application) -> Starlette:
    """The application in Starlette, with its own session middleware."""

    async def me(request: Request) -> JSONResponse:
        authorization = request.headers.get("authorization")
        status, members = application.me(authorization, request.session, request.cookies)
        return JSONResponse(members, status)

    async def login(request: Request) -> JSONResponse:
        status, members = application.login(await request.json(), request.session)
        return JSONResponse(members, status)

    async def refresh(request: Request) -> JSONResponse:
        status, members = application.refresh(await request.json())
        return JSONResponse(members, status)

    return Starlette(
        routes=[
            Route("/me", me),
            Route("/login", login, methods=["POST"]),
            Route("/refresh", refresh, methods=["POST"]),
        ],
        middleware=[Middleware(SessionMiddleware, secret_key=COOKIE_SECRET)],
    )


def flask_app(application: Application) -> flask.Flask:
    """The application in Flask."""
    app = flask.Flask("application")
    app.secret_key = COOKIE_SECRET

    @app.get("/me")
    def me() -> Any:
        authorization = flask.request.headers.get("Authorization")
        status, members = application.me(authorization, flask.session, flask.request.cookies)
        return members, status

    @app.post("/login")
    def login() -> Any:
        status, members = application.login(flask.request.get_json(), flask.session)
        return members, status

    @app.post("/refresh")
    def refresh() -> Any:
        status, members = application.refresh(flask.request.get_json())
        return members, status

    return app
