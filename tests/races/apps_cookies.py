"""Applications whose session is in the cookie itself: Starlette, Flask, and a JWT that is renewed with each answer."""

from __future__ import annotations

from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import flask
import jwt
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from logout_middleware.testing import MovableClock

from .sites import SECRET, USER, Application, Pause, count_up, in_place, visit

JWT_LIFE = 3600


def log_in(session: MutableMapping[str, Any], user: str) -> None:
    """A new session of this user."""
    session.clear()
    session[USER] = user


def starlette(pause: Pause, clock: MovableClock) -> Any:
    """Starlette's SessionMiddleware, used as its documentation does."""

    async def login(request: Request) -> JSONResponse:
        log_in(request.session, request.query_params["user"])
        return JSONResponse({})

    async def logout(request: Request) -> JSONResponse:
        request.session.clear()
        return JSONResponse({})

    async def read(request: Request) -> JSONResponse:
        return JSONResponse(await visit(pause, request.session))

    async def write(request: Request) -> JSONResponse:
        return JSONResponse(await visit(pause, request.session, count_up))

    async def me(request: Request) -> JSONResponse:
        return JSONResponse({"user": request.session.get(USER)})

    return Starlette(
        routes=[
            Route("/login", login, methods=["POST"]), Route("/logout", logout, methods=["POST"]), Route("/read", read),
            Route("/write", write, methods=["POST"]), Route("/refresh", write, methods=["POST"]), Route("/me", me),
        ],
        middleware=[Middleware(SessionMiddleware, secret_key=SECRET)],
    )  # fmt: skip


def flask_pages(app: flask.Flask, pause: Pause, rotate: Any) -> flask.Flask:
    """The pages of a Flask application, whatever its sessions are; `rotate` is what a refresh does with one."""

    @app.post("/login")
    def login() -> Any:
        log_in(flask.session, flask.request.args["user"])
        flask.session.permanent = True
        return {}

    @app.post("/logout")
    def logout() -> Any:
        flask.session.clear()
        return {}

    @app.get("/read")
    def read() -> Any:
        return in_place(visit(pause, flask.session))

    @app.post("/write")
    def write() -> Any:
        return in_place(visit(pause, flask.session, count_up))

    @app.post("/refresh")
    def refresh() -> Any:
        return in_place(visit(pause, flask.session, rotate))

    @app.get("/me")
    def me() -> Any:
        return {"user": flask.session.get(USER)}

    return app


def flask_cookies(pause: Pause, clock: MovableClock) -> Any:
    """Flask's own sessions: permanent, so that each answer sets the cookie anew."""
    app = flask.Flask("races")
    app.config.update(SECRET_KEY=SECRET, PERMANENT_SESSION_LIFETIME=timedelta(days=14))
    return flask_pages(app, pause, count_up).wsgi_app


class _Tokens:
    """Sessions that are claims, `sid` among them; the time in a token is in whole seconds, as PyJWT writes it."""

    def __init__(self, clock: MovableClock) -> None:
        self.clock = clock

    def read(self, text: str | None) -> dict[str, Any]:
        """The claims of a good token; none for another."""
        try:
            claims = jwt.decode(text or "", SECRET, algorithms=["HS256"], options={"verify_exp": False,
                                                                                  "verify_iat": False})  # fmt: skip
        except jwt.PyJWTError:
            return {}
        return {USER: claims["sub"], "sid": claims["sid"]} if claims["exp"] > self.clock() else {}

    def mint(self, session: dict[str, Any]) -> str:
        """A new token for the same session."""
        now = int(self.clock())
        claims = {
            "sub": session[USER], "sid": session["sid"], "jti": uuid4().hex, "iat": now, "exp": now + JWT_LIFE,
        }  # fmt: skip
        return jwt.encode(claims, SECRET, algorithm="HS256")


def starlette_jwt(pause: Pause, clock: MovableClock) -> Any:
    """A token in a cookie, renewed with each answer to whoever is logged in."""
    tokens = _Tokens(clock)

    def answer(session: dict[str, Any], body: dict[str, Any]) -> JSONResponse:
        response = JSONResponse(body)
        if session:
            response.set_cookie("token", tokens.mint(session), max_age=JWT_LIFE, httponly=True, samesite="lax")
        return response

    async def login(request: Request) -> JSONResponse:
        return answer({USER: request.query_params["user"], "sid": uuid4().hex}, {})

    async def logout(request: Request) -> JSONResponse:
        response = JSONResponse({})
        response.delete_cookie("token")
        return response

    async def page(request: Request) -> JSONResponse:
        session = tokens.read(request.cookies.get("token"))
        body = await visit(pause, session, None if request.method == "GET" else count_up)
        return answer(session, body)

    async def me(request: Request) -> JSONResponse:
        return JSONResponse({"user": tokens.read(request.cookies.get("token")).get(USER)})

    return Starlette(
        routes=[
            Route("/login", login, methods=["POST"]), Route("/logout", logout, methods=["POST"]), Route("/read", page),
            Route("/write", page, methods=["POST"]), Route("/refresh", page, methods=["POST"]), Route("/me", me),
        ]
    )  # fmt: skip


def flask_jwt(pause: Pause, clock: MovableClock) -> Any:
    """The same in Flask."""
    app, tokens = flask.Flask("races"), _Tokens(clock)

    def answer(session: dict[str, Any], body: dict[str, Any]) -> Any:
        response = flask.jsonify(body)
        if session:
            response.set_cookie("token", tokens.mint(session), max_age=JWT_LIFE, httponly=True, samesite="Lax")
        return response

    @app.post("/login")
    def login() -> Any:
        return answer({USER: flask.request.args["user"], "sid": uuid4().hex}, {})

    @app.post("/logout")
    def logout() -> Any:
        response = flask.jsonify({})
        response.delete_cookie("token")
        return response

    @app.get("/read")
    @app.post("/write")
    @app.post("/refresh")
    def page() -> Any:
        session = tokens.read(flask.request.cookies.get("token"))
        body = in_place(visit(pause, session, None if flask.request.method == "GET" else count_up))
        return answer(session, body)

    @app.get("/me")
    def me() -> Any:
        return {"user": tokens.read(flask.request.cookies.get("token")).get(USER)}

    return app.wsgi_app


_JWT = {"cookies": "token:jwt", "jwt_key": SECRET, "jwt_algorithms": "HS256"}
STARLETTE = Application(
    "starlette", "asgi", starlette, "session", {"cookies": "session:starlette", "cookie_secret": SECRET}
)
FLASK = Application("flask", "wsgi", flask_cookies, "session", {"cookies": "session:flask", "cookie_secret": SECRET})
STARLETTE_JWT = Application("starlette-jwt", "asgi", starlette_jwt, "token", _JWT)
FLASK_JWT = Application("flask-jwt", "wsgi", flask_jwt, "token", _JWT)
