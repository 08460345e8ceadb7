"""Signed cookie sessions of Flask, Starlette and Django: one login is one session, however often it is signed."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import django.core.signing
import itsdangerous
import pytest
from flask import Flask, session
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from werkzeug.test import Client

from logout_middleware import BlockingLogout, Logout, LogoutSettings
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.rules import signed_cookies
from logout_middleware.rules.cookies import GuardedCookie
from logout_middleware.rules.credentials import Credential
from logout_middleware.rules.identity import (
    ADDED_SESSION_ID,
    Identity,
    IdentityPolicy,
    added_at,
    identify_cookie,
    new_session_id,
)
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.testing import MovableClock
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

SECRET = "a-secret-that-signs-session-cookies"
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


def by_flask(data: dict[str, Any], secret: str = SECRET) -> str:
    from flask.sessions import SecureCookieSessionInterface

    app = Flask("signer")
    app.secret_key = secret
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    return str(serializer.dumps(data))


def by_starlette(data: dict[str, Any], secret: str = SECRET) -> str:
    payload = b64encode(json.dumps(data).encode())
    return itsdangerous.TimestampSigner(secret).sign(payload).decode()


def django_signer(secret: str) -> Any:
    from django.core.signing import TimestampSigner

    # What django.core.signing.dumps uses, without asking a project's settings for the key.
    salt = "django.contrib.sessions.backends.signed_cookies"
    return TimestampSigner(key=secret, salt=salt, fallback_keys=[])


def by_django(data: dict[str, Any], secret: str = SECRET) -> str:
    return str(django_signer(secret).sign_object(data, compress=True))


def django_reads(value: str) -> Any:
    return django_signer(SECRET).unsign_object(value)


def flask_reads(value: str) -> Any:
    from flask.sessions import SecureCookieSessionInterface

    app = Flask("reader")
    app.secret_key = SECRET
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    return serializer.loads(value)


def starlette_reads(value: str) -> Any:
    return json.loads(b64decode(itsdangerous.TimestampSigner(SECRET).unsign(value, max_age=100)))


FRAMEWORKS: dict[str, tuple[Callable[..., str], Callable[[str], Any]]] = {
    "flask": (by_flask, flask_reads),
    "starlette": (by_starlette, starlette_reads),
    "django": (by_django, django_reads),
}
SESSIONS = [{"user_id": 5}, {"user_id": 5, "cart": ["x" * 50] * 20}, {"name": "Zoë <&> 🦊", "n": 1.5, "none": None}]


@pytest.fixture(params=sorted(FRAMEWORKS))
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("data", SESSIONS, ids=["small", "large enough to compress", "odd"])
def test_a_cookie_signed_again_is_read_by_its_framework_with_one_member_more(
    framework: str, data: dict[str, Any]
) -> None:
    """The application's own reader accepts it, and finds everything that it put in."""
    sign, reads = FRAMEWORKS[framework]
    cookie = signed_cookies.read(sign(data), signed_cookies.FORMATS[framework], [SECRET])
    assert cookie is not None

    again = signed_cookies.with_member(cookie, ADDED_SESSION_ID, "an-id")

    assert reads(again) == {**data, ADDED_SESSION_ID: "an-id"}


def identity(value: str, form: str, secrets: tuple[str, ...] = (SECRET,)) -> Any:
    policy = IdentityPolicy(cookie_secrets=secrets)
    return identify_cookie(Credential("cookie", "session", value), form, (), policy)


def test_a_verified_cookie_names_its_user_and_session(framework: str) -> None:
    """With the secret; also in the format `auto`, and with the old one of two secrets."""
    sign, _ = FRAMEWORKS[framework]
    value = sign({"user_id": 5, "sid": "s1"})

    for found in (identity(value, framework), identity(value, "auto"), identity(value, framework, ("new", SECRET))):
        assert (found.verified, found.user_id, found.session_id) == (True, "5", "s1")


def test_without_the_secret_a_cookie_is_only_itself(framework: str) -> None:
    """A guessed payload under another signature has another name, so nobody can log out anybody else."""
    sign, _ = FRAMEWORKS[framework]
    real, forged = sign({"user_id": 5}), sign({"user_id": 5}, "another secret")

    mine, theirs = identity(real, framework, ()), identity(forged, framework, ())

    assert (mine.verified, mine.user_id, theirs.verified) == (False, None, False)
    assert not set(mine.keys) & set(theirs.keys)
    assert set(mine.keys) <= set(identity(real, framework).keys)


@pytest.mark.parametrize("change", ["=", "=====", "!", "=AAAA", "%"])
def test_another_spelling_of_a_signature_is_refused_or_the_same(framework: str, change: str) -> None:
    """Itsdangerous accepts endless spellings; each must have no identity, or the one it stands for."""
    sign, reads = FRAMEWORKS[framework]
    value = sign({"user_id": 5})
    other = value + change

    found = identity(other, framework)

    if not isinstance(found, Identity):
        return
    with pytest.raises((itsdangerous.BadData, django.core.signing.BadSignature, ValueError)):
        reads(other)


def test_a_session_gets_an_id_once_and_a_new_one_with_a_new_user() -> None:
    """The id carries its time to the microsecond, and who it was made for."""
    policy = IdentityPolicy()
    anonymous = new_session_id({}, policy, now=1000.25, entropy="e1")
    assert anonymous is not None
    assert added_at(anonymous) == 1000.25

    assert new_session_id({ADDED_SESSION_ID: anonymous}, policy, now=2000, entropy="e2") is None
    ann = new_session_id({ADDED_SESSION_ID: anonymous, "user_id": "ann"}, policy, now=2000.5, entropy="e2")
    assert ann is not None
    assert added_at(ann) == 2000.5
    assert new_session_id({ADDED_SESSION_ID: ann, "user_id": "ann"}, policy, now=3000, entropy="e3") is None
    assert new_session_id({ADDED_SESSION_ID: ann, "user_id": "bob"}, policy, now=3000, entropy="e3") not in (None, ann)
    assert new_session_id({"sid": "own", "user_id": "bob"}, policy, now=3000, entropy="e3") is None
    assert new_session_id({ADDED_SESSION_ID: 5}, policy, now=3000, entropy="e3") is not None


def test_a_session_is_never_issued_after_the_moment_of_its_login() -> None:
    """Whole microseconds are rounded down, for every float: one that is rounded up is "not valid yet"."""
    moments = [1795189436 + k * 2**-22 for k in range(0, 2**22, 97)]

    late = [now for now in moments if (added_at(new_session_id({}, IdentityPolicy(), now=now, entropy="e")) or 0) > now]

    assert late == []


def flask_site(clock: MovableClock) -> tuple[Any, Any]:
    app = Flask("shop")
    app.secret_key = SECRET

    @app.post("/login/<user>")
    def login(user: str) -> str:
        session.clear()
        session["user_id"] = user
        return ""

    @app.post("/cart/<item>")
    def cart(item: str) -> str:
        session["item"] = item
        return ""

    @app.get("/")
    def home() -> Any:
        return dict(session)

    logout = BlockingLogout(_settings("flask"), store=MemoryStore(clock), clock=clock)
    return WsgiMiddleware(app.wsgi_app, logout=logout), logout


def starlette_site(clock: MovableClock) -> tuple[Any, Any]:
    async def login(request: Request) -> JSONResponse:
        request.session.clear()
        request.session["user_id"] = request.path_params["user"]
        return JSONResponse({})

    async def cart(request: Request) -> JSONResponse:
        request.session["item"] = request.path_params["item"]
        return JSONResponse({})

    async def home(request: Request) -> JSONResponse:
        return JSONResponse(request.session)

    routes = [
        Route("/login/{user}", login, methods=["POST"]), Route("/cart/{item}", cart, methods=["POST"]),
        Route("/", home),
    ]  # fmt: skip
    app = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, secret_key=SECRET)])
    logout = Logout(_settings("starlette"), store=MemoryStore(clock), clock=clock)
    return AsgiMiddleware(app, logout=logout), logout


def _settings(form: str) -> LogoutSettings:
    return LogoutSettings.load(
        {}, env_file=None, cookies=f"session:{form}", cookie_secret=SECRET, audit="off", allow_unsafe_store=True
    )


class Browser:
    """Keeps what the site sets in `session`; requests may be made with any older copy."""

    def __init__(self, kind: str, clock: MovableClock) -> None:
        self.kind, self.cookie = kind, ""
        app, self.logout = flask_site(clock) if kind == "flask" else starlette_site(clock)
        self._client: Any = Client(app, use_cookies=False) if kind == "flask" else TestClient(app)

    def ask(self, path: str, method: str = "GET", *, cookie: str | None = None, **headers: str) -> tuple[int, Any]:
        sent = {**headers, "Cookie": f"session={self.cookie if cookie is None else cookie}"}
        if self.kind == "starlette":
            self._client.cookies.clear()
        answer = self._client.request(method, path, headers=sent) if self.kind == "starlette" else None
        if answer is None:
            answer = self._client.open(path, method=method, headers=sent)
        line = answer.headers.get("set-cookie", "")
        if line.startswith("session=") and cookie is None:
            self.cookie = line.partition(";")[0].removeprefix("session=").strip('"')
        return answer.status_code, (answer.json if self.kind == "flask" else answer.json())  # type: ignore[attr-defined]


@pytest.fixture(params=["flask", "starlette"])
def browser(request: pytest.FixtureRequest) -> Browser:
    # itsdangerous stamps cookies with the machine's time, and rounds it down to a second.
    return Browser(str(request.param), MovableClock(time.time()))


def test_every_copy_of_a_session_dies_with_any_of_them(browser: Browser) -> None:
    """The cookie of the login, and the one after the cart changed it, are one session; logging out one ends both."""
    browser.ask("/login/ann", "POST")
    first = browser.cookie
    browser.ask("/cart/shoes", "POST")
    second = browser.cookie
    assert first != second
    assert browser.ask("/", cookie=first)[1]["user_id"] == "ann"
    told = browser.ask("/", cookie=second)[1]
    assert (told["user_id"], told["item"]) == ("ann", "shoes")

    assert browser.ask("/auth/logout", "POST", cookie=first, **OWN_PAGE)[0] == 200

    for copy in (first, second):
        assert "user_id" not in (browser.ask("/", cookie=copy)[1] or {})


def test_the_next_login_of_the_same_browser_is_another_session(browser: Browser) -> None:
    """Logging in again at once works, in the same second too, and the old session stays dead."""
    browser.ask("/login/ann", "POST")
    old = browser.cookie
    browser.ask("/auth/logout", "POST", cookie=old, **OWN_PAGE)

    browser.ask("/login/ann", "POST")

    assert browser.cookie != old
    assert browser.ask("/")[1]["user_id"] == "ann"
    assert "user_id" not in browser.ask("/", cookie=old)[1]


def test_a_login_over_a_live_session_of_somebody_else_is_another_session(browser: Browser) -> None:
    """A session that changes its user changes its id: ending Ann's does not end Bob's."""
    browser.ask("/login/ann", "POST")
    ann = browser.cookie
    browser.ask("/login/bob", "POST")
    bob = browser.cookie

    browser.ask("/auth/logout", "POST", cookie=ann, **OWN_PAGE)

    assert browser.ask("/", cookie=bob)[1]["user_id"] == "bob"
    assert "user_id" not in browser.ask("/", cookie=ann)[1]


def test_logging_out_everywhere_ends_other_devices_and_not_the_login_after_it(browser: Browser) -> None:
    """Cut-offs are exact: the added id says when the login was, to the microsecond."""
    browser.ask("/login/ann", "POST")
    phone = browser.cookie
    browser.cookie = ""
    browser.ask("/login/ann", "POST")
    laptop = browser.cookie

    assert browser.ask("/auth/logout/all", "POST", cookie=laptop, **OWN_PAGE)[0] == 200
    clock: MovableClock = browser.logout.on_event.__self__.clock
    clock.move(0.01)
    browser.cookie = ""
    browser.ask("/login/ann", "POST")

    assert "user_id" not in browser.ask("/", cookie=phone)[1]
    assert "user_id" not in browser.ask("/", cookie=laptop)[1]
    assert browser.ask("/")[1]["user_id"] == "ann"


def test_cookies_that_are_not_guarded_or_not_signed_pass_as_they_are() -> None:
    """Only a session that we could have signed ourselves is rewritten."""
    from logout_middleware.flows.stable_session import StableSessions

    sessions = StableSessions(
        IdentityPolicy(cookie_secrets=(SECRET,)), [GuardedCookie("session", "auto"), GuardedCookie("o", "opaque")],
        MovableClock(), lambda: "e",
    )  # fmt: skip
    foreign = by_flask({"user_id": 5}, "another secret")

    for line in (
        "theme=dark; Path=/", f"session={foreign}; Path=/", "session=; Max-Age=0", 'session=null; path=/; expires="x"',
        f"o={by_flask({'user_id': 5})}", "nothing", f"session={by_flask({'sid': 'own'})}; HttpOnly",
    ):  # fmt: skip
        assert sessions.rewrite(line) == line
    assert sessions.rewrite(f"session={by_flask({'user_id': 5})}; HttpOnly; Path=/").endswith("; HttpOnly; Path=/")
