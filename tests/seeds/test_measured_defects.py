"""Defects measured in well-known releases: each is shown without our middleware first, and gone with it."""

from __future__ import annotations

import hashlib
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import flask
import flask_jwt_extended as fje
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from werkzeug.wrappers import Response as WerkzeugResponse

from logout_middleware import BlockingLogout
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.testing import MovableClock
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware
from tests.apps import COOKIE_SECRET, JWT_KEY
from tests.browser import Jar
from tests.client import ORIGIN, OWN_PAGE, AsgiClient, BuildSite, Sender, WsgiClient


@pytest.fixture
def open_asgi() -> Iterator[Any]:
    """A sender to an ASGI application."""
    opened: list[Sender] = []

    def build(app: Any) -> Sender:
        opened.append(Sender(AsgiClient(app)))
        return opened[-1]

    yield build
    for each in opened:
        each.close()


# ---- M1 ----------------------------------------------------------------------------------------------


class _Users:
    """The one user of a fastapi-users application, in the place of its database."""

    def __init__(self) -> None:
        from types import SimpleNamespace

        self.ann = SimpleNamespace(
            id=uuid4(), email="ann@example.com", hashed_password="", is_active=True, is_superuser=False,
            is_verified=True,
        )  # fmt: skip

    async def get(self, user_id: UUID) -> Any:
        return self.ann if user_id == self.ann.id else None

    async def get_by_email(self, email: str) -> Any:
        return self.ann if email == self.ann.email else None


class _Manager(UUIDIDMixin, BaseUserManager[Any, UUID]):
    reset_password_token_secret = verification_token_secret = JWT_KEY


def fastapi_users_app() -> FastAPI:
    """The application of the fastapi-users documentation, with bearer tokens and JWTStrategy."""
    users = _Users()
    manager = _Manager(users)
    users.ann.hashed_password = manager.password_helper.hash("secret of ann")

    async def get_manager() -> Any:
        return manager

    def get_strategy() -> JWTStrategy[Any, UUID]:
        return JWTStrategy(secret=JWT_KEY, lifetime_seconds=3600)

    backend = AuthenticationBackend("jwt", BearerTransport("auth/jwt/login"), get_strategy)
    package = FastAPIUsers[Any, UUID](get_manager, [backend])
    current_user = Depends(package.current_user(active=True))
    app = FastAPI()
    app.include_router(package.get_auth_router(backend), prefix="/auth/jwt")

    @app.get("/me")
    async def me(user: Any = current_user) -> schemas.BaseUser[UUID]:
        return schemas.BaseUser[UUID].model_validate(user, from_attributes=True)

    return app


def test_M1_fastapi_users_logs_out_with_204_and_the_token_still_works(open_asgi: Any, tmp_path: Path) -> None:
    """The same application, the same path; with us the token is dead."""
    app = fastapi_users_app()
    settings = {
        "jwt_key": JWT_KEY, "jwt_algorithms": "HS256", "jwt_audience": "fastapi-users:auth",
        "aliases": "/auth/jwt/logout", "store": f"sqlite:///{tmp_path / 'logout.db'}",
    }  # fmt: skip
    bare, guarded = open_asgi(app), open_asgi(AsgiMiddleware(app, **settings))
    form = {"username": "ann@example.com", "password": "secret of ann"}
    token = bare.post("/auth/jwt/login", form=form).json["access_token"]

    logout_without, me_without = bare.post("/auth/jwt/logout", token=token), bare.get("/me", token=token)
    me_before = guarded.get("/me", token=token)
    logout_with, me_with = guarded.post("/auth/jwt/logout", token=token), guarded.get("/me", token=token)

    assert (logout_without.status, me_without.status) == (204, 200)
    assert me_before.status == 200
    assert (logout_with.status, me_with.status, me_with.json["error"]) == (200, 401, "token_revoked")


# ---- M3 ----------------------------------------------------------------------------------------------

ACCESS_EXPIRES = 3600.0


class _Redis:
    """`set(..., ex=)` and `get` of a Redis server whose time is the test's."""

    def __init__(self, clock: MovableClock) -> None:
        self.clock = clock
        self.kept: dict[str, float] = {}

    def set(self, key: str, value: str, ex: float) -> None:
        self.kept[key] = self.clock() + ex

    def get(self, key: str) -> str | None:
        return "" if self.kept.get(key, 0.0) > self.clock() else None


def flask_jwt_extended_app(redis: _Redis) -> flask.Flask:
    """The recipe "Revoking Refresh Tokens" of the flask-jwt-extended documentation, word for word where it matters."""
    app = flask.Flask("recipe")
    app.config["JWT_SECRET_KEY"] = JWT_KEY
    app.config["JWT_ACCESS_TOKEN_EXPIRES"] = int(ACCESS_EXPIRES)
    manager = fje.JWTManager(app)

    @manager.token_in_blocklist_loader
    def check_if_token_is_revoked(jwt_header: Any, jwt_payload: Any) -> bool:
        return redis.get(jwt_payload["jti"]) is not None

    @app.post("/login")
    def login() -> Any:
        return {"access": fje.create_access_token("ann"), "refresh": fje.create_refresh_token("ann")}

    @app.post("/refresh")
    @fje.jwt_required(refresh=True)
    def refresh() -> Any:
        return {"access": fje.create_access_token(fje.get_jwt_identity())}

    @app.delete("/logout")
    @fje.jwt_required(verify_type=False)
    def logout() -> Any:
        redis.set(fje.get_jwt()["jti"], "", ex=ACCESS_EXPIRES)
        return {"msg": "token revoked"}

    return app


def test_M3_the_flask_jwt_extended_recipe_revives_a_revoked_refresh_token(tmp_path: Path) -> None:
    """It forgets after the life of an access token; we remember to the end of this token's own."""
    clock = MovableClock(time.time() + 1)  # flask-jwt-extended has a clock of its own, which must not be ahead
    app = flask_jwt_extended_app(_Redis(clock))
    store = f"sqlite:///{tmp_path / 'logout.db'}"
    logout, started_later = (
        BlockingLogout(store=store, jwt_key=JWT_KEY, jwt_algorithms="HS256", clock=clock) for _ in range(2)
    )
    bare, guarded = Sender(WsgiClient(app)), Sender(WsgiClient(WsgiMiddleware(app, logout=logout)))
    theirs, ours = (bare.post("/login").json["refresh"] for _ in range(2))
    assert guarded.post("/refresh", token=ours).status == 200

    bare.request("DELETE", "/logout", token=theirs)
    guarded.post("/auth/logout", token=ours)
    at_once = bare.post("/refresh", token=theirs).status, guarded.post("/refresh", token=ours).status
    clock.move(ACCESS_EXPIRES + 1)
    logout.revoke_token("something else, so that ours is not the newest record")
    logout.purge()
    later = bare.post("/refresh", token=theirs).status, guarded.post("/refresh", token=ours).status
    clock.move(30 * 86400 - ACCESS_EXPIRES - 60)
    logout.purge()
    at_the_end = logout.is_revoked(ours), started_later.is_revoked(ours)
    logout.close()
    started_later.close()

    assert at_once == (401, 401)
    assert later == (200, 401)
    assert at_the_end == (True, True)


# ---- M5 ----------------------------------------------------------------------------------------------


def starlette_session_app() -> Starlette:
    """Login and logout as the Starlette documentation has them."""

    async def login(request: Request) -> Response:
        request.session["user_id"] = "ann"
        return JSONResponse({})

    async def logout(request: Request) -> Response:
        request.session.clear()
        return JSONResponse({})

    async def me(request: Request) -> Response:
        return JSONResponse({"user": request.session.get("user_id")})

    routes = [Route("/login", login, methods=["POST"]), Route("/logout", logout, methods=["POST"]), Route("/me", me)]
    return Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, secret_key=COOKIE_SECRET)])


@pytest.mark.parametrize("secret", [{"cookie_secret": COOKIE_SECRET}, {}])
def test_M5_a_copied_starlette_session_survives_its_own_logout(
    open_asgi: Any, tmp_path: Path, secret: dict[str, str]
) -> None:
    """`session.clear()` clears the browser only; with us the copy is an anonymous visitor."""
    app = starlette_session_app()
    store = f"sqlite:///{tmp_path / 'logout.db'}"
    bare, guarded = open_asgi(app), open_asgi(AsgiMiddleware(app, aliases="/logout", store=store, **secret))
    theirs, ours = bare.post("/login").cookies["session"], guarded.post("/login").cookies["session"]

    cleared = bare.post("/logout", cookie=theirs)
    replayed = bare.get("/me", cookie=theirs).json["user"]
    before = guarded.get("/me", cookie=ours).json["user"]
    ended = guarded.post("/logout", cookie=ours, headers=OWN_PAGE)
    refused = guarded.get("/me", cookie=ours)

    assert (cleared.deleted, replayed) == ({"session"}, "ann")
    assert before == "ann"
    assert ended.deleted >= {"session"}
    assert (refused.status, refused.json["user"]) == (200, None)
    assert refused.deleted == {"session"}


# ---- M9 ----------------------------------------------------------------------------------------------

_CURVE_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def padded(token: str) -> str:
    """The same token with one more character, which PyJWT ignores."""
    return token + "="


def twin(token: str) -> str:
    """The same ES256 token with s replaced by n - s, which is as valid."""
    signed, _, signature = token.rpartition(".")
    raw = urlsafe_b64decode(signature + "==")
    s = _CURVE_ORDER - int.from_bytes(raw[32:], "big")
    return signed + "." + urlsafe_b64encode(raw[:32] + s.to_bytes(32, "big")).rstrip(b"=").decode("ascii")


def es256_key() -> tuple[str, str]:
    """A private and a public key in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode("ascii"), public.decode("ascii")


def denylist_app(key: str, algorithm: str) -> flask.Flask:
    """An API with the denylist that most tutorials teach: a set of sha256(token)."""
    app = flask.Flask("denylist")
    revoked: set[str] = set()

    @app.get("/me")
    def me() -> Any:
        token = flask.request.headers["Authorization"].removeprefix("Bearer ")
        if hashlib.sha256(token.encode()).hexdigest() in revoked:
            return {"error": "revoked"}, 401
        try:
            return {"user": jwt.decode(token, key, algorithms=[algorithm])["sub"]}
        except jwt.PyJWTError:
            return {"error": "invalid"}, 401

    @app.post("/logout")
    def logout() -> Any:
        token = flask.request.headers["Authorization"].removeprefix("Bearer ")
        revoked.add(hashlib.sha256(token.encode()).hexdigest())
        return {}

    return app


@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("jti", ["one", None])
def test_M9_another_spelling_of_a_token_walks_past_a_denylist_of_hashes(
    tmp_path: Path, algorithm: str, keyed: bool, jti: str | None
) -> None:
    """One character is enough there; here every spelling is the same token or none, with and without keys."""
    private, public = (JWT_KEY, JWT_KEY) if algorithm == "HS256" else es256_key()
    claims = {"sub": "ann", "exp": time.time() + 600} | ({"jti": jti} if jti else {})
    token = jwt.encode(claims, private, algorithm=algorithm)
    others = [padded(token)] if algorithm == "HS256" else [twin(token)]
    keys = {"jwt_key": public, "jwt_algorithms": algorithm} if keyed else {}
    app = denylist_app(public, algorithm)
    logout = BlockingLogout(store=f"sqlite:///{tmp_path / 'logout.db'}", **keys)
    bare, guarded = Sender(WsgiClient(app)), Sender(WsgiClient(WsgiMiddleware(app, logout=logout)))
    accepted_by_pyjwt = [bare.get("/me", token=other).status for other in others]
    live = guarded.get("/me", token=token).status

    bare.post("/logout", token=token)
    walked_past = [bare.get("/me", token=other).status for other in [token, *others]]
    guarded.post("/auth/logout", token=token)
    refused = [guarded.get("/me", token=other).status for other in [token, *others]]
    logout.close()

    assert accepted_by_pyjwt == [200] * len(others)
    assert live == 200
    assert walked_past == [401] + [200] * len(others)
    assert refused == [401] * (1 + len(others))


def test_M9_logging_out_by_the_twin_ends_the_original(tmp_path: Path) -> None:
    """Whichever of the two is presented."""
    private, public = es256_key()
    token = jwt.encode({"sub": "ann", "exp": time.time() + 600}, private, algorithm="ES256")
    app = denylist_app(public, "ES256")
    logout = BlockingLogout(store=f"sqlite:///{tmp_path / 'logout.db'}")
    guarded = Sender(WsgiClient(WsgiMiddleware(app, logout=logout)))

    guarded.post("/auth/logout", token=twin(token))

    assert guarded.get("/me", token=token).status == 401
    logout.close()


# ---- M10 ---------------------------------------------------------------------------------------------

PREFIXED = ["__Host-session", "__Secure-session", "__Http-session", "__Host-Http-session"]


def _set_by_the_application(name: str) -> Jar:
    """A browser that holds this cookie, set with everything its prefix demands."""
    jar = Jar()
    jar.take(f"{ORIGIN}/login", [f"{name}=value; Path=/; Secure; HttpOnly; SameSite=Lax"])
    assert jar.sent_to(ORIGIN) == {name: "value"}
    return jar


@pytest.mark.parametrize("name", PREFIXED)
@pytest.mark.parametrize("package", ["starlette", "werkzeug"])
def test_M10_delete_cookie_of_the_frameworks_leaves_prefixed_cookies(name: str, package: str) -> None:
    """The line has neither Secure nor HttpOnly, so the browser ignores it and goes on sending the cookie."""
    jar = _set_by_the_application(name)
    response: Any = Response() if package == "starlette" else WerkzeugResponse()

    response.delete_cookie(name)
    line = response.headers["set-cookie"]
    jar.take(f"{ORIGIN}/logout", [line])

    attributes = {part.strip().lower() for part in line.split(";")}
    assert not attributes & {"secure", "httponly"}
    assert jar.sent_to(ORIGIN) == {name: "value"}


@pytest.mark.parametrize("name", [*PREFIXED, "session"])
@pytest.mark.parametrize("public_url", [None, ORIGIN])
def test_M10_our_deletion_keeps_the_rules_of_every_prefix(site: BuildSite, name: str, public_url: str | None) -> None:
    """The browser does drop it; also where the request came to us over http from a proxy."""
    http = site(cookies=f"{name}:opaque", public_url=public_url, origin="http://localhost" if public_url else ORIGIN)
    jar = _set_by_the_application(name)

    answer = http.post("/auth/logout", headers=OWN_PAGE | {"Cookie": f"{name}=value"})
    jar.take(f"{ORIGIN}/auth/logout", answer.all("set-cookie"))

    assert answer.status == 200
    assert jar.sent_to(ORIGIN) == {}


@pytest.mark.parametrize(
    "attributes", ["; Partitioned; Secure", "; Domain=example.com; Secure", "; Path=/app; Secure", "; SameSite=None"]
)
def test_M10_a_configured_scope_is_repeated_exactly(site: BuildSite, attributes: str) -> None:
    """A deletion with another Path or Domain, or without Partitioned, is another cookie's."""
    http = site(cookies=f"sid:opaque{attributes}")
    jar, page = Jar(), f"{ORIGIN}/app/page"
    path = "" if "Path" in attributes else "; Path=/"
    jar.take(page, [f"sid=value; Secure; HttpOnly{path}{attributes}"])
    assert jar.sent_to(page) == {"sid": "value"}

    answer = http.post("/auth/logout", headers=OWN_PAGE | {"Cookie": "sid=value"})
    jar.take(f"{ORIGIN}/auth/logout", answer.all("set-cookie"))

    assert jar.sent_to(page) == {}
