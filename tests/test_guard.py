"""The rows of contract section 3, over both shells, with real frameworks behind."""

from __future__ import annotations

import asyncio
import json as json_module
import time
from typing import Any
from wsgiref.validate import validator

import jwt
import pytest
from flask import Flask, request
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from werkzeug.test import Client

from logout_middleware import BlockingLogout, Logout, LogoutSettings
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.testing import FlakyStore, MovableClock
from logout_middleware.wsgi import IDENTITY
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

KEY = "k" * 32
BASE = {
    "jwt_key": KEY, "jwt_algorithms": "HS256", "audit": "off", "allow_unsafe_store": True,
    "cookies": "session:jwt, sid:opaque", "token_requests": "POST /refresh: refresh_token",
    "token_responses": "POST /login: access_token", "trusted_origins": "https://spa.example.com",
}  # fmt: skip


class Site:
    """One application behind one middleware; `ask` sends a request and returns (status, headers, json)."""

    def __init__(self, kind: str, **given: Any) -> None:
        self.kind, self.clock = kind, MovableClock(float(int(time.time())))
        self.store = FlakyStore(MemoryStore(self.clock))
        settings = LogoutSettings.load({}, env_file=None, **(BASE | given))
        if kind == "asgi":
            self.logout: Any = Logout(settings, store=self.store, clock=self.clock)
            routes = [Route(path, self._starlette, methods=["GET", "POST"]) for path in ("/", "/refresh", "/login")]
            self.application: Any = Starlette(routes=routes)
            self._client: Any = TestClient(AsgiMiddleware(self.application, logout=self.logout))
        else:
            self.logout = BlockingLogout(settings, store=self.store, clock=self.clock)
            app = Flask("guarded")
            for path in ("/", "/refresh", "/login"):
                app.add_url_rule(path, path, self._flask, methods=["GET", "POST"])
            self._client = Client(
                validator(WsgiMiddleware(validator(app.wsgi_app), logout=self.logout)), use_cookies=False
            )

    async def _starlette(self, asked: Request) -> JSONResponse:
        body = (await asked.body()).decode()
        who = getattr(asked.state, "logout", None)
        answer = JSONResponse(
            {"cookies": asked.cookies, "authorization": asked.headers.get("authorization"), "body": body}
            | {"user": who and who.user_id, "verified": who and who.verified}
        )
        if asked.url.path == "/login":
            answer.set_cookie("session", "new")
        return answer

    def _flask(self) -> Any:
        from flask import jsonify

        who = request.environ.get(IDENTITY)
        answer = jsonify(
            {"cookies": request.cookies, "authorization": request.headers.get("authorization")}
            | {"user": who and who.user_id, "verified": who and who.verified, "body": request.get_data().decode()}
        )
        if request.path == "/login":
            answer.set_cookie("session", "new")
        return answer

    def ask(self, path: str = "/", method: str = "GET", **headers: Any) -> tuple[int, Any, Any]:
        status, answered, text = self.ask_text(path, method, **headers)
        return status, answered, json_module.loads(text) if text else None

    def ask_text(self, path: str = "/", method: str = "GET", **headers: Any) -> tuple[int, Any, str]:
        json, body = headers.pop("json", None), headers.pop("body", None)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.kind == "asgi":
            self._client.cookies.clear()
            answer = self._client.request(method, path, headers=sent, json=json, content=body, follow_redirects=False)
            return answer.status_code, answer.headers, answer.text
        with self._client.open(path, method=method, headers=sent, json=json, data=body) as answer:
            return answer.status_code, answer.headers, answer.get_data(as_text=True)

    def token(self, **claims: Any) -> str:
        now = self.clock()
        base = {"sub": "ann", "sid": "s1", "jti": f"j{self.clock.now}{claims}", "iat": now - 5, "exp": now + 600}
        return jwt.encode({**base, **claims}, KEY)

    def revoke(self, token: str) -> None:
        done = self.logout.revoke_token(token)
        if self.kind == "asgi":
            asyncio.run(done)


@pytest.fixture(params=["asgi", "wsgi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(kind: str) -> Site:
    return Site(kind)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_request_without_a_credential_passes_and_names_nobody(site: Site) -> None:
    """Nothing we guard: untouched, and the store is not even asked."""
    status, _, told = site.ask(cookie="theme=dark", authorization="Basic dTpw")

    assert (status, told["cookies"], told["user"]) == (200, {"theme": "dark"}, None)
    assert "add" not in site.store.calls


def test_a_live_token_passes_and_its_user_is_told(site: Site) -> None:
    """The application learns who it is, and that it was verified; the second time, from memory."""
    token = site.token()

    for _ in range(3):
        status, _, told = site.ask(**bearer(token))
        assert (status, told["user"], told["verified"]) == (200, "ann", True)


def test_a_name_is_told_only_of_a_verified_credential(kind: str) -> None:
    """Without keys the application verifies by itself, and we do not vouch."""
    site = Site(kind, jwt_key=(), jwt_algorithms=())

    status, _, told = site.ask(**bearer(site.token()))

    assert (status, told["user"], told["verified"]) == (200, None, False)


@pytest.mark.parametrize(
    ("claims", "key", "said"),
    [
        ({}, "x" * 32, "its signature is not by a configured key"),
        ({"exp": 1}, KEY, "expired"),
        ({"nbf": 9e9}, KEY, "not valid yet"),
        ({"iat": 5, "exp": 9e9}, KEY, "expired"),
    ],
    ids=["forged", "expired", "too early", "older than MAX_LIFETIME"],
)
def test_a_token_that_fails_verification_is_401_invalid_token(
    site: Site, claims: dict[str, Any], key: str, said: str
) -> None:
    """The challenge is the one of RFC 6750, and no cache keeps the answer."""
    now = site.clock()
    token = jwt.encode({"sub": "ann", "jti": "j", "iat": now, "exp": now + 60, **claims}, key)

    for _ in range(2):
        status, headers, told = site.ask(**bearer(token))

        assert (status, told["error"], headers["cache-control"]) == (401, "invalid_token", "no-store")
        assert said in told["error_description"]
        assert headers["www-authenticate"].startswith('Bearer realm="api", error="invalid_token"')


def test_a_live_token_dies_when_its_time_comes_even_if_it_was_seen_before(site: Site) -> None:
    """What is remembered of a header is who it is, never that it may pass."""
    token = site.token()
    assert site.ask(**bearer(token))[0] == 200

    site.clock.move(601)

    assert site.ask(**bearer(token))[0] == 401


def test_a_foreign_issuers_token_passes_and_can_be_logged_out_by_itself(kind: str) -> None:
    """It is not ours to verify; its digest is ours to refuse."""
    site = Site(kind, jwt_issuer="https://issuer.example.com")
    token = jwt.encode({"iss": "https://other.example.com", "sub": "ann"}, "another-key-of-another-issuer-32b")
    assert site.ask(**bearer(token))[0] == 200

    site.revoke(token)

    assert site.ask(**bearer(token))[0] == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "DPoP", "Token", "JWT"])
def test_a_revoked_token_is_401_under_every_scheme(site: Site, scheme: str) -> None:
    """Frameworks differ in what they call it."""
    token = site.token()
    site.revoke(token)

    status, headers, told = site.ask(authorization=f"{scheme} {token}")

    assert (status, told["error"]) == (401, "token_revoked")
    challenge = "DPoP" if scheme == "DPoP" else "Bearer"
    assert headers["www-authenticate"] == (
        f'{challenge} realm="api", error="invalid_token", error_description="The access token was revoked"'
    )


def test_an_ambiguous_bearer_is_400_invalid_request(site: Site) -> None:
    """flask-jwt-extended would find the second one."""
    status, headers, told = site.ask(authorization=f"Basic x, Bearer {site.token()}")

    assert (status, told["error"]) == (400, "invalid_request")
    assert 'error="invalid_request"' in headers["www-authenticate"]


def test_a_revoked_cookie_makes_an_anonymous_visitor_and_is_deleted(site: Site) -> None:
    """Other cookies reach the application as they were."""
    token = site.token()
    site.revoke(token)

    status, headers, told = site.ask(cookie=f"theme=dark; session={token}; lang=en")

    assert (status, told["cookies"], told["user"]) == (200, {"theme": "dark", "lang": "en"}, None)
    assert headers["set-cookie"].startswith("session=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/")


def test_a_new_login_in_the_answer_wins_over_the_deletion(site: Site) -> None:
    """The deletion of the old cookie must not undo the login that replaces it."""
    token = site.token()
    site.revoke(token)

    _, headers, _ = site.ask("/login", "POST", cookie=f"session={token}")

    assert [value for name, value in headers.items() if name.lower() == "set-cookie"] == ["session=new; Path=/"] or (
        headers["set-cookie"].startswith("session=new")
    )


def test_a_revoked_cookie_is_401_where_that_is_wanted(kind: str) -> None:
    """LOGOUT_REVOKED_COOKIE=reject, for interfaces that have no anonymous visitors."""
    site = Site(kind, revoked_cookie="reject")
    token = site.token()
    site.revoke(token)

    status, headers, told = site.ask(cookie=f"session={token}")

    assert (status, told["error"]) == (401, "token_revoked")
    assert headers["set-cookie"].startswith("session=;")


def test_an_ambiguous_cookie_is_taken_out_but_never_deleted(site: Site) -> None:
    """One of the two may have been planted by a neighbour site; the other is the user's."""
    status, headers, told = site.ask(cookie=f"session={site.token()}; session=planted")

    assert (status, told["cookies"], told["user"]) == (200, {}, None)
    assert "set-cookie" not in headers


def test_an_expired_cookie_is_taken_out_but_not_deleted(site: Site) -> None:
    """Only a positive verdict deletes; a visitor with an old cookie is a visitor."""
    status, headers, told = site.ask(cookie=f"session={site.token(exp=1)}")

    assert (status, told["cookies"]) == (200, {})
    assert "set-cookie" not in headers


def test_a_dead_cookie_beside_a_live_bearer_leaves_the_bearer(site: Site) -> None:
    """Each is judged by itself."""
    dead, live = site.token(sid="s9"), site.token()
    site.revoke(dead)

    for _ in range(2):
        status, _, told = site.ask(cookie=f"session={dead}", **bearer(live))
        assert (status, told["cookies"], told["user"]) == (200, {}, "ann")


def test_both_a_cookie_and_a_bearer_are_asked_every_time(site: Site) -> None:
    """Seen before or not, one of the two being revoked is noticed at the next request."""
    cookie, token = site.token(sid="c"), site.token(sid="b", sub="bob")
    for _ in range(2):
        assert site.ask(cookie=f"session={cookie}", **bearer(token))[2]["cookies"] == {"session": cookie}

    site.revoke(cookie)
    assert site.ask(cookie=f"session={cookie}", **bearer(token))[2]["cookies"] == {}
    site.revoke(token)
    assert site.ask(cookie=f"session={cookie}", **bearer(token))[0] == 401


def test_a_revoked_refresh_token_in_a_body_is_401_and_others_pass_unchanged(site: Site) -> None:
    """The body reaches the application byte for byte."""
    dead, live = site.token(sid="s9"), site.token()
    site.revoke(dead)

    assert site.ask("/refresh", "POST", json={"refresh_token": dead})[0] == 401
    status, _, told = site.ask("/refresh", "POST", json={"refresh_token": live, "more": "é"})
    assert status == 200
    assert live in told["body"]
    assert site.ask("/refresh", "POST", json={"other": dead})[0] == 200
    assert site.ask("/refresh", "GET")[0] == 200


def test_a_dead_bearer_on_a_login_path_is_taken_out(site: Site) -> None:
    """A client with a stale header can log in again; elsewhere it is refused."""
    dead = site.token()
    site.revoke(dead)

    for path in ("/login", "/refresh"):
        status, _, told = site.ask(path, "POST", **bearer(dead))
        assert (status, told["authorization"]) == (200, None)
    assert site.ask("/login", "GET", **bearer(dead))[0] == 401


def test_a_store_that_is_away_is_503_and_touches_no_cookie(site: Site) -> None:
    """Not knowing is not "revoked"; and requests without a credential do not care."""
    token = site.token()
    assert site.ask(**bearer(token))[0] == 200
    site.store.broken = True

    for sent in (bearer(token), {"cookie": f"session={token}"}, {"cookie": "sid=opaque"}):
        status, headers, told = site.ask(**sent)
        assert (status, headers["retry-after"], told["error"]) == (503, "1", "temporarily_unavailable")
        assert "set-cookie" not in headers
    assert site.ask()[0] == 200

    site.store.broken = False
    assert site.ask(**bearer(token))[0] == 200


def test_a_store_that_is_away_lets_pass_where_that_is_wanted(kind: str) -> None:
    """LOGOUT_FAIL_MODE=open; one event a second tells of it."""
    site = Site(kind, fail_mode="open")
    events: list[Any] = []
    site.logout.on_event(events.append)
    site.store.broken = True

    for _ in range(5):
        assert site.ask(**bearer(site.token()))[0] == 200

    assert [(event.kind, event.outcome) for event in events] == [("store_failed", "failed_open")]


def test_observe_mode_refuses_nothing_and_reports(kind: str) -> None:
    """For the day before the day."""
    site = Site(kind, mode="observe")
    events: list[Any] = []
    token = site.token()
    site.revoke(token)
    site.logout.on_event(events.append)

    assert site.ask(**bearer(token))[0] == 200
    assert site.ask(cookie=f"session={token}")[2]["cookies"] == {"session": token}
    assert site.ask(authorization="Bearer a b")[0] == 200

    assert [(event.kind, event.reason) for event in events] == [
        ("would_refuse", "token_revoked"), ("would_refuse", "token_revoked"), ("would_refuse", "invalid_request"),
    ]  # fmt: skip
    assert token not in repr(events)


def test_a_trusted_origins_script_may_read_a_refusal(site: Site) -> None:
    """Else a browser shows its page a network error instead of a 401."""
    token = site.token()
    site.revoke(token)

    _, trusted, _ = site.ask(origin="https://spa.example.com", **bearer(token))
    _, stranger, _ = site.ask(origin="https://evil.example", **bearer(token))

    assert trusted["access-control-allow-origin"] == "https://spa.example.com"
    assert "WWW-Authenticate" in trusted["access-control-expose-headers"]
    assert "access-control-allow-origin" not in stranger


# ---- what only ASGI has ------------------------------------------------------------------------------


async def _echo(socket: WebSocket) -> None:
    await socket.accept(subprotocol="bearer" if "bearer" in socket.scope["subprotocols"] else None)
    await socket.send_json({"user": getattr(socket.state, "logout", None) and socket.state.logout.user_id})
    await socket.close()


@pytest.mark.parametrize("place", ["header", "cookie", "query", "subprotocol"])
def test_a_websocket_is_let_in_alive_and_refused_dead(place: str) -> None:
    """Before accept, wherever the token is."""
    site = Site("asgi")
    client = TestClient(AsgiMiddleware(Starlette(routes=[WebSocketRoute("/ws", _echo)]), logout=site.logout))
    token = site.token()
    ways: dict[str, dict[str, Any]] = {
        "header": {"url": "/ws", "headers": bearer(token)},
        "cookie": {"url": "/ws", "headers": {"cookie": f"session={token}"}},
        "query": {"url": f"/ws?access_token={token}"},
        "subprotocol": {"url": "/ws", "subprotocols": ["bearer", token]},
    }
    with client.websocket_connect(**ways[place]) as socket:
        assert socket.receive_json() == {"user": "ann"}

    site.revoke(token)

    with pytest.raises(Exception) as refused, client.websocket_connect(**ways[place]):
        pass
    assert getattr(refused.value, "status_code", None) == 401


def test_a_websocket_with_two_sources_is_refused() -> None:
    """We could ask about one, and the application use the other."""
    site = Site("asgi")
    client = TestClient(AsgiMiddleware(Starlette(routes=[WebSocketRoute("/ws", _echo)]), logout=site.logout))

    with (
        pytest.raises(Exception) as refused,
        client.websocket_connect(f"/ws?access_token={site.token()}", headers=bearer(site.token(jti="other"))),
    ):
        pass

    assert getattr(refused.value, "status_code", None) == 400


def test_a_server_that_cannot_answer_a_handshake_closes_with_4401() -> None:
    """Daphne and gunicorn have no websocket.http.response."""
    site = Site("asgi")
    token = site.token()
    site.revoke(token)
    middleware = AsgiMiddleware(Starlette(), logout=site.logout)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/ws", "headers": [(b"authorization", b"Bearer " + token.encode())]}
    asyncio.run(middleware(scope, receive, send))

    assert sent == [{"type": "websocket.close", "code": 4401, "reason": "logged out"}]
    assert WebSocketDisconnect(4401).code == 4401


def test_unknown_scopes_and_lifespan_reach_the_application_untouched() -> None:
    """The same objects, not copies."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    middleware = AsgiMiddleware(app, logout=Site("asgi").logout)
    for kind in ("lifespan", "something.new"):
        scope, receive, send = {"type": kind}, object(), object()
        asyncio.run(middleware(scope, receive, send))  # type: ignore[arg-type]
        assert all(mine is theirs for mine, theirs in zip(seen.pop(), (scope, receive, send), strict=True))


@pytest.mark.parametrize("guarded", [False, True])
def test_messages_of_a_request_that_passes_are_the_applications_own(guarded: bool) -> None:
    """The very objects, in both directions; without a login `receive` and `send` are the server's, too."""
    site = Site("asgi")
    messages = [
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]},
        {"type": "http.response.body", "body": b"hello"},
    ]
    given: list[Any] = []
    arrived: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given.append((receive, send))
        for message in messages:
            await send(message)

    async def send(message: Any) -> None:
        arrived.append(message)

    middleware = AsgiMiddleware(app, logout=site.logout)
    headers = [(b"authorization", b"Bearer " + site.token().encode())] if guarded else [(b"cookie", b"theme=dark")]
    receive = object()
    for _ in range(2):
        asyncio.run(middleware({"type": "http", "path": "/", "method": "GET", "headers": headers}, receive, send))  # type: ignore[arg-type]

    assert all(one is other for one, other in zip(arrived, messages * 2, strict=True))
    assert [one[0] for one in given] == [receive] * 2
    assert guarded or [one[1] for one in given] == [send] * 2


def test_headers_that_can_be_read_once_only_are_copied() -> None:
    """R1: a test client of Falcon passes iterators of iterators."""
    site = Site("asgi")
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(scope["headers"])

    token = site.token()
    headers = iter([iter([b"authorization", b"Bearer " + token.encode()]), iter([b"x", b"y"])])
    middleware = AsgiMiddleware(app, logout=site.logout)
    asyncio.run(middleware({"type": "http", "path": "/", "method": "GET", "headers": headers}, None, None))  # type: ignore[arg-type]

    assert seen == [(b"authorization", b"Bearer " + token.encode()), (b"x", b"y")]


# ---- found by review ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_a_body_that_hides_its_token_is_refused_and_in_observe_mode_handed_on(kind: str, mode: str) -> None:
    """Two values for one field, a second encoding, too much of it: whatever the application would make of it."""
    site = Site(kind, mode=mode)
    twice = f'{{"refresh_token": "{site.token()}", "refresh_token": "x"}}'

    for body in (twice, "refresh_token=a&refresh_token=b", "x" * 70_000):
        status, _, told = site.ask("/refresh", "POST", body=body, content_type="application/json")
        if mode == "enforce":
            assert status in (400, 413)
        else:
            assert (status, told["body"]) == (200, body)


def test_a_revoked_token_is_found_in_a_body_in_any_encoding(site: Site) -> None:
    """`json.loads` detects UTF-16, and so do frameworks."""
    token = site.token()
    site.revoke(token)

    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"):
        body = f'{{"refresh_token": "{token}"}}'.encode(encoding)
        assert site.ask("/refresh", "POST", body=body, content_type="text/plain")[0] == 401
    form = f"a=1&refresh_token={token}"
    assert site.ask("/refresh", "POST", body=form, content_type="application/x-www-form-urlencoded")[0] == 401


def test_keys_that_cannot_be_fetched_are_503_on_every_way_in(kind: str) -> None:
    """Header, cookie and body: not knowing the key is not knowing, and never an exception."""
    site = Site(kind, jwt_key=(), jwks_url="http://127.0.0.1:9/jwks", jwt_algorithms="RS256")
    token = site.token()

    for sent in (bearer(token), {"cookie": f"session={token}"}):
        assert site.ask(**sent)[0] == 503
    assert site.ask("/refresh", "POST", json={"refresh_token": token})[0] == 503
    assert site.ask("/auth/logout", "POST", json={"refresh_token": token})[0] == 503


def test_a_login_behind_a_proxy_that_ended_tls_is_of_our_own_site(site: Site) -> None:
    """The browser says https, the server sees http, and nobody configured a thing."""
    token = site.token()

    status, headers, _ = site.ask(
        "/auth/logout", "POST", cookie=f"session={token}", host="app.example.com", origin="https://app.example.com",
        sec_fetch_site="same-origin",
    )  # fmt: skip

    assert status == 200
    assert headers["set-cookie"].startswith("session=;")
    assert site.ask(cookie=f"session={token}")[2]["cookies"] == {}
