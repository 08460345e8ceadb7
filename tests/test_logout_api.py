"""`Logout` and `BlockingLogout`: the same calls in both colours, and what listeners are told."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from logout_middleware import (
    BlockingLogout,
    ConfigurationError,
    Logout,
    LogoutEvent,
    LogoutSettings,
    Refused,
    StoreError,
)
from logout_middleware.asgi import LogoutEndpoints as AsgiEndpoints
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.events import as_json, as_text
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.testing import FlakyStore, MovableClock
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

KEY = "k" * 32
SETTINGS: dict[str, Any] = {
    "jwt_key": KEY, "jwt_algorithms": "HS256", "allow_unsafe_store": True, "secret": "s" * 32,
    "jwt_issuer": "https://issuer.example.com",
}  # fmt: skip


class Api:
    """A Logout of either colour, called the same way."""

    def __init__(self, colour: str) -> None:
        self.clock = MovableClock(float(int(time.time())) + 0.5)
        self.store = FlakyStore(MemoryStore(self.clock))
        settings = LogoutSettings.load({}, env_file=None, **SETTINGS)
        kind: Callable[..., Any] = BlockingLogout if colour == "blocking" else Logout
        self.logout = kind(settings, store=self.store, clock=self.clock)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = getattr(self.logout, name)(*args, **kwargs)
            return asyncio.run(answer) if inspect.iscoroutine(answer) else answer

        return call

    def token(self, **claims: Any) -> str:
        now = self.clock()
        base = {"sub": "ann", "sid": "s1", "jti": "j1", "iat": now - 5, "exp": now + 600}
        return jwt.encode({**base, **claims}, KEY)


@pytest.fixture(params=["blocking", "async"])
def api(request: pytest.FixtureRequest) -> Api:
    return Api(str(request.param))


def test_both_colours_have_the_same_methods() -> None:
    """And the same signatures, so that code moves between them."""
    names = {name for name, each in inspect.getmembers(Logout, inspect.isfunction) if not name.startswith("_")}

    for name in names - {"logout_url", "metadata", "on_event"}:
        one, other = inspect.signature(getattr(Logout, name)), inspect.signature(getattr(BlockingLogout, name))
        assert list(one.parameters) == list(other.parameters), name


def test_revoke_session_ends_all_tokens_of_the_session_and_no_other(api: Api) -> None:
    """Access and refresh token share a sid."""
    mine, also_mine, other = api.token(), api.token(jti="j2"), api.token(sid="s2", jti="j3")

    api.revoke_session("s1")

    assert [api.is_revoked(token) for token in (mine, also_mine, other)] == [True, True, False]


def test_revoke_user_spares_the_sessions_to_keep_and_later_logins(api: Api) -> None:
    """Log out everywhere but here; the next login is alive at once."""
    here, there, stranger = api.token(), api.token(sid="s2", jti="j2"), api.token(sub="bob", sid="s3", jti="j3")

    api.revoke_user("ann", keep="s1", reason="password_change")
    after = api.token(sid="s4", jti="j4", iat=api.clock() + 0.01)

    assert [api.is_revoked(token) for token in (here, there, stranger, after)] == [False, True, False, False]


def test_two_cut_offs_with_other_keep_sets_both_refuse(api: Api) -> None:
    """Adding a revocation never revives anything."""
    one, two = api.token(), api.token(sid="s2", jti="j2")

    api.revoke_user("ann", keep="s1")
    api.revoke_user("ann", keep=["s2"])

    assert api.is_revoked(one)
    assert api.is_revoked(two)


def test_a_cut_off_in_the_past_spares_what_came_after(api: Api) -> None:
    """`before` is seconds or a datetime."""
    old, young = api.token(iat=1000), api.token(iat=3000, sid="s2", jti="j2")

    api.revoke_user("ann", before=datetime.fromtimestamp(2000, UTC))
    assert [api.is_revoked(token) for token in (old, young)] == [True, False]
    api.revoke_everyone(before=3000.0)
    assert api.is_revoked(young)


def test_a_token_without_iat_does_not_dodge_a_cut_off(api: Api) -> None:
    """What does not say when it was issued is taken for old."""
    token = jwt.encode({"sub": "ann", "jti": "j9", "exp": api.clock() + 60}, KEY)
    assert not api.is_revoked(token)

    api.revoke_user("ann", before=1.0)

    assert api.is_revoked(token)


def test_issuers_are_strangers_to_each_other(api: Api) -> None:
    """`issuer=None` and JWT_ISSUER are one realm; any other is its own."""
    ours = api.token(iss="https://issuer.example.com")

    api.revoke_user("ann", issuer="https://other.example.com")
    assert not api.is_revoked(ours)
    api.revoke_user("ann", issuer="https://issuer.example.com")
    assert api.is_revoked(ours)
    assert api.is_revoked(api.token())


def test_introspection_says_active_only_of_what_is_verified_and_alive(api: Api) -> None:
    """RFC 7662: inactive is exactly {"active": false}."""
    token = api.token(client_id="shop")
    told = api.introspect_token(token)
    assert told["active"] is True
    assert (told["sub"], told["sid"], told["jti"], told["client_id"]) == ("ann", "s1", "j1", "shop")
    assert told["exp"] == int(api.clock() + 600)

    for dead in (api.token(exp=1), jwt.encode({"sub": "ann"}, "x" * 32), "opaque", "a.b.c", token + "="):
        assert api.introspect_token(dead) == {"active": False}
    assert api.revoke_token(token) is True
    assert api.introspect_token(token) == {"active": False}


def test_introspection_without_a_key_is_the_operators_mistake() -> None:
    """It must not call everything inactive, silently."""
    logout = BlockingLogout(store="memory://", allow_unsafe_store=True)

    with pytest.raises(ConfigurationError, match="E401"):
        logout.introspect_token("x")


@pytest.mark.parametrize("token", ["", None, 5, b"bytes"])
def test_a_token_that_is_no_text_is_refused(api: Api, token: Any) -> None:
    """400 where it came from a client."""
    with pytest.raises(Refused, match="invalid_request"):
        api.revoke_token(token)


@pytest.mark.parametrize("name", ["", None, True, b"x"])
def test_a_name_that_is_no_text_is_a_type_error(api: Api, name: Any) -> None:
    """`revoke_user(None)` must not end a user called None; numbers are names."""
    with pytest.raises(TypeError):
        api.revoke_user(name)
    api.revoke_user(5)
    assert api.is_revoked(api.token(sub="5"))


def test_a_store_that_is_away_is_told_and_never_success(api: Api) -> None:
    """The caller and the listeners learn of it; later the same call works."""
    events: list[LogoutEvent] = []
    api.on_event(events.append)
    api.store.broken = True

    for call in (lambda: api.revoke_session("s1"), lambda: api.revoke_token(api.token()), lambda: api.is_revoked("x")):
        with pytest.raises(StoreError):
            call()
    assert events[0].kind == "store_failed"
    assert events[0].outcome == "failed"
    api.store.broken = False
    api.revoke_session("s1")

    assert [event.kind for event in events[-2:]] == ["logout", "session_ended"]
    assert api.is_revoked(api.token())


def test_listeners_are_told_who_and_why_and_cannot_break_a_logout(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Functions and coroutine functions both; what they raise is logged."""
    told: list[Any] = []

    async def slow(event: LogoutEvent) -> None:
        told.append(event)

    def broken(event: LogoutEvent) -> None:
        raise RuntimeError("listener")

    api.on_event(broken)
    api.on_event(slow)
    with caplog.at_level(logging.INFO, "logout_middleware.audit"):
        api.revoke_user("ann", reason="password_change")

    (event,) = told
    assert (event.kind, event.outcome, event.user, event.reason) == ("logout", "done", "ann", "password_change")
    audit = [record for record in caplog.records if record.name == "logout_middleware.audit"]
    assert json.loads(audit[0].message)["reason"] == "password_change"
    assert "a logout event callback failed" in caplog.text


def test_an_audit_line_is_one_line_whatever_the_name() -> None:
    """A user whose name holds a line break forges no second record."""
    event = LogoutEvent("logout", "done", 1.0, user='x\n{"kind":"logout"}\u2028', keys=("aa",))

    assert as_json(event).splitlines() == [as_json(event)]
    assert as_text(event).splitlines() == [as_text(event)]
    assert json.loads(as_json(event))["user"] == event.user


def test_logout_url_needs_a_secret_and_a_session() -> None:
    """No secret is ever invented."""
    without = BlockingLogout(store="memory://", allow_unsafe_store=True)
    with pytest.raises(ConfigurationError, match="E402"):
        without.logout_url(sid="s1")
    api = Api("blocking")
    with pytest.raises(TypeError):
        api.logout.logout_url()
    assert api.logout.logout_url(sid="s1", redirect_uri="/bye").startswith("/auth/logout?redirect_uri=%2Fbye&intent=")


def test_equal_settings_share_one_logout_and_others_do_not() -> None:
    """Two middlewares of one application count one rate limit and share one cache."""
    one = AsgiMiddleware(lambda *_: None, store="memory://", allow_unsafe_store=True)  # type: ignore[arg-type, return-value]
    same = AsgiEndpoints(store="memory://", allow_unsafe_store=True)
    other = AsgiMiddleware(lambda *_: None, store="memory://", allow_unsafe_store=True, scope="global")  # type: ignore[arg-type, return-value]
    blocking = WsgiMiddleware(lambda *_: [], store="memory://", allow_unsafe_store=True)

    assert one.logout is same.logout
    assert one.logout is not other.logout
    assert one.logout is not blocking.logout


def test_what_cannot_go_together_is_refused_at_start() -> None:
    """A mistake in wiring is not found at the first logout."""
    settings = LogoutSettings.load({}, env_file=None, store="memory://", allow_unsafe_store=True)
    asynchronous, blocking = Logout(settings), BlockingLogout(settings)

    with pytest.raises(ConfigurationError, match="E007 logout: WSGI needs a BlockingLogout"):
        WsgiMiddleware(lambda *_: [], logout=asynchronous)
    with pytest.raises(ConfigurationError, match="E007 logout: ASGI needs a Logout"):
        AsgiMiddleware(lambda *_: None, logout=blocking)  # type: ignore[arg-type, return-value]
    for given in ({"settings": settings, "scope": "local"}, {"logout": asynchronous, "scope": "local"}):
        with pytest.raises(ConfigurationError, match="E006"):
            AsgiMiddleware(lambda *_: None, **given)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match="E006"):
        Logout(settings, scope="local")


def test_the_memory_store_is_loud_where_it_sees_more_than_one_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot keep the promise there."""
    monkeypatch.setenv("WEB_CONCURRENCY", "4")

    MemoryStore()

    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "WEB_CONCURRENCY=4" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "sign"),
    [(["-w", "3"], "-w 3"), (["--workers=2"], "--workers 2"), (["-w", "1"], None), (["-w"], None), ([], None)],
)
def test_worker_counts_on_the_command_line_are_seen(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], sign: str | None
) -> None:
    """Gunicorn and uvicorn both say it there."""
    from logout_middleware.stores.memory import signs_of_more_workers

    monkeypatch.setattr("sys.argv", ["server", *arguments])
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)

    assert signs_of_more_workers() == ([sign] if sign else [])
