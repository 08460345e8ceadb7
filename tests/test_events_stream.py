"""`GET /auth/events`: what a page hears of its login's end, and what it costs to listen.

The server is the test itself (`test_live.Rig`); real servers and browsers are in `real_servers` and `browsers`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from logout_middleware import asgi_events
from logout_middleware.asgi import LogoutEndpoints
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.flows import live
from logout_middleware.flows.live import MOST_OF_A_LOGIN
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

from .client import AsgiClient, BuildSite, Site, WsgiClient
from .test_live import Exchange, Rig, token

PATH = "/auth/events"
STREAM = b"text/event-stream"


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    """The application is not asked."""
    raise AssertionError(f"{scope['path']} reached the application")


@asynccontextmanager
async def rig(**given: Any) -> AsyncIterator[Rig]:
    """An application that must not be asked, behind the middleware."""
    made = Rig(nobody, **given)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where logouts are kept."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'logout.db'}"


def headers_of(exchange: Exchange) -> dict[bytes, bytes]:
    """The header fields of the answer."""
    return dict(exchange.sent[0]["headers"])


def events_of(body: bytes) -> list[tuple[str, Any]]:
    """The events in a stream, as an EventSource would read them (HTML 9.2.6)."""
    found = []
    for block in body.decode("ascii").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def opaque(site: Rig, session_id: str) -> Exchange:
    """A request for the stream with an opaque session cookie."""
    scope = {
        "type": "http", "method": "GET", "path": PATH, "query_string": b"", "scheme": "https",
        "headers": [(b"host", b"app.example.com"), (b"cookie", b"sessionid=" + session_id.encode())],
        "client": ("192.0.2.1", 5000),
    }  # fmt: skip
    exchange = Exchange(site.app, scope)
    exchange.inbox.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    return exchange


async def opened(exchange: Exchange) -> Exchange:
    """The same, when the stream has begun."""
    await exchange.until(lambda: b"retry:" in exchange.body)
    return exchange


def run(playing: Callable[[], Any]) -> None:
    """Play in an event loop of its own."""
    asyncio.run(playing())


def test_a_live_login_gets_a_stream_that_no_cache_and_no_proxy_keeps(store: str) -> None:
    """It begins at once, so that the page knows that it is listening."""

    async def play() -> None:
        async with rig(store=store) as site:
            stream = await opened(site.get(token(), PATH))

            assert stream.sent[0]["status"] == 200
            fields = headers_of(stream)
            assert fields[b"content-type"] == STREAM
            assert fields[b"cache-control"] == b"no-store"
            assert fields[b"x-accel-buffering"] == b"no"
            assert not stream.is_over
            stream.inbox.put_nowait({"type": "http.disconnect"})
            await stream.task

    run(play)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_SP_3_a_logout_is_told_in_three_events_in_this_order(tmp_path: Path, where: str) -> None:
    """Whichever worker took it; then the stream ends."""

    async def play() -> None:
        async with rig(store=f"sqlite:///{tmp_path / 'logout.db'}") as site:
            stream = await opened(site.get(token(sid="s1"), PATH))

            await (site.logout if where == "here" else site.elsewhere).revoke_session("s1", reason="stolen")
            await stream.until(lambda: stream.is_over)

            assert events_of(stream.body) == [
                ("auth.logout", {"reason": "stolen"}),
                ("auth.statusChange", {"authenticated": False}),
                ("auth.sessionChange", {"authenticated": False}),
            ]
            await stream.task

    run(play)


def test_nobody_and_the_dead_get_204_and_do_not_come_back(store: str) -> None:
    """An EventSource does not reconnect after 204: strangers, revoked, expired and forged tokens hold no connection."""

    async def play() -> None:
        async with rig(store=store) as site:
            await site.logout.revoke_token(token(jti="gone", sid="gone"))
            bearers = [
                None,
                token(jti="gone", sid="gone"),
                token(jti="old", exp=time.time() - 1),
                token()[:-4] + "AAAA",
            ]

            for each in bearers:
                exchange = site.get(each, PATH)
                await exchange.task
                assert (exchange.sent[0]["status"], exchange.body) == (204, b"")
                assert headers_of(exchange)[b"cache-control"] == b"no-store"

    run(play)


def test_a_login_has_five_streams_and_a_sixth_is_told_to_poll(store: str) -> None:
    """Another login has its own; one that is closed makes room."""

    async def play() -> None:
        async with rig(store=store) as site:
            streams = [await opened(site.get(token(jti=f"t{n}"), PATH)) for n in range(MOST_OF_A_LOGIN)]

            sixth = site.get(token(jti="t6"), PATH)
            await sixth.task
            other = await opened(site.get(token(jti="o", sid="another"), PATH))
            streams[0].inbox.put_nowait({"type": "http.disconnect"})
            await streams[0].task
            again = await opened(site.get(token(jti="t7"), PATH))

            assert sixth.sent[0]["status"] == 429
            assert headers_of(sixth)[b"retry-after"] == b"30"
            assert json.loads(sixth.body)["error"] == "too_many_streams"
            for each in (*streams[1:], other, again):
                each.inbox.put_nowait({"type": "http.disconnect"})
                await each.task
            assert len(site.logout.live) == 0
            assert site.logout.live.streams._count == 0

    run(play)


def test_strangers_do_not_take_the_room_of_users(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up session ids get a part of a worker's streams, and a user gets one all the same."""
    monkeypatch.setattr(live, "MOST_OF_STRANGERS", 3)

    async def play() -> None:
        async with rig(store=store) as site:
            strangers = [opaque(site, f"made-up-session-id-number-{n}") for n in range(4)]
            for each in strangers[:3]:
                await opened(each)
            await strangers[3].task

            user = await opened(site.get(token(), PATH))

            assert strangers[3].sent[0]["status"] == 429
            for each in (*strangers[:3], user):
                each.inbox.put_nowait({"type": "http.disconnect"})
                await each.task
            await opened(opaque(site, "made-up-session-id-number-9"))

    run(play)


def test_a_page_of_another_site_gets_no_stream(site: BuildSite) -> None:
    """It could only use up the five of its visitor, whose cookie the browser sends along."""
    http = site(trusted_origins="https://www.example.org")
    ann = http.login("ann")

    foreign = http.get(PATH, cookie=ann.cookie, headers={"Sec-Fetch-Site": "cross-site"})
    named = http.get(PATH, cookie=ann.cookie, headers={"Origin": "https://evil.example"})

    assert [(each.status, each.body) for each in (foreign, named)] == [(204, b"")] * 2


def test_a_token_that_expires_soon_is_announced_and_then_over(store: str) -> None:
    """Once, with the seconds that are left."""

    async def play() -> None:
        async with rig(store=store) as site:
            stream = await opened(site.get(token(exp=time.time() + 1.2), PATH))

            await stream.until(lambda: stream.is_over)

            (kind, members), *rest = events_of(stream.body)
            assert kind == "auth.expiring"
            assert members["reason"] == "expired"
            assert members["seconds"] in (0, 1)
            assert [kind for kind, _ in rest] == ["auth.logout", "auth.statusChange", "auth.sessionChange"]
            assert rest[0][1] == {"reason": "expired"}

    run(play)


def test_an_idle_session_is_announced_as_idle(store: str) -> None:
    """Listening is no activity: the time-out comes, and is told."""

    async def play() -> None:
        async with rig(store=store, idle_timeout="1s") as site:
            stream = await opened(site.get(token(), PATH))

            await stream.until(lambda: stream.is_over)

            told = events_of(stream.body)
            assert [kind for kind, _ in told] == [
                "auth.expiring",
                "auth.logout",
                "auth.statusChange",
                "auth.sessionChange",
            ]
            assert (told[0][1]["reason"], told[1][1]["reason"]) == ("idle", "idle")

    run(play)


def test_a_stream_ends_after_a_minute_so_that_its_server_can_stop(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody was logged out: the page opens the next one by itself."""
    monkeypatch.setattr(asgi_events, "LONGEST_SECONDS", 0.05)
    monkeypatch.setattr(asgi_events, "_HEARTBEAT_SECONDS", 0.02)

    async def play() -> None:
        async with rig(store=store) as site:
            stream = await opened(site.get(token(), PATH))

            await stream.task

            assert stream.is_over
            assert events_of(stream.body) == []
            assert len(site.logout.live) == 0

    run(play)


def test_a_silent_stream_says_now_and_then_that_it_is_there(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies close what says nothing; a comment is no event."""
    monkeypatch.setattr(asgi_events, "_HEARTBEAT_SECONDS", 0.02)

    async def play() -> None:
        async with rig(store=store) as site:
            stream = await opened(site.get(token(), PATH))

            await stream.until(lambda: stream.body.count(b":\n\n") > 1)

            assert events_of(stream.body) == []
            stream.inbox.put_nowait({"type": "http.disconnect"})
            await stream.task

    run(play)


def test_mounted_endpoints_serve_the_stream_too(store: str) -> None:
    """`app.mount("/auth", LogoutEndpoints(logout))`."""

    async def play() -> None:
        async with rig(store=store) as site:
            site.app = LogoutEndpoints(site.logout)
            stream = await opened(site.get(token(), "/events"))

            await site.logout.revoke_user("ann")
            await stream.until(lambda: stream.is_over)

            assert events_of(stream.body)[0] == ("auth.logout", {"reason": "revoke_user"})

    run(play)


def test_who_observes_ends_no_page(store: str) -> None:
    """The application goes on under LOGOUT_MODE=observe, so its pages must."""

    async def play() -> None:
        async with rig(store=store, mode="observe") as site:
            exchange = site.get(token(), PATH)
            await exchange.task

            assert exchange.sent[0]["status"] == 204

    run(play)


def test_who_observes_tells_no_page_that_it_is_out(site: BuildSite) -> None:
    """The guard lets a revoked session pass there, so whoever asks is who the application takes him for."""
    http = site(mode="observe")
    ann = http.login("ann")
    http.post("/auth/logout", token=ann.access)

    told = http.get("/auth/session", token=ann.access).json

    assert http.me(token=ann.access) == "ann"
    assert (told["authenticated"], told["sub"]) == (True, "ann")


def test_the_kit_alone_can_ask_who_is_logged_in(site: BuildSite) -> None:
    """LOGOUT_ENDPOINTS=logout,browser serves what the kit asks, and no list of devices."""
    http = site(endpoints="logout,browser")
    ann = http.login("ann")

    assert http.get("/auth/session", token=ann.access).json["sub"] == "ann"
    assert http.get("/auth/sessions", token=ann.access).status == 404


def test_who_ends_his_other_sessions_keeps_his_cookies(http: Site) -> None:
    """scope=others leaves this browser logged in, so nothing of it is deleted; a dead login's cookies are."""
    here, there = http.login("ann"), http.login("ann")
    page = {"Sec-Fetch-Site": "same-origin"}

    answer = http.post("/auth/logout", cookie=here.cookie, json={"scope": "others"}, headers=page)
    from_there = http.post("/auth/logout", cookie=there.cookie, json={"scope": "others"}, headers=page)

    assert (answer.status, answer.deleted) == (200, set())
    assert http.me(cookie=here.cookie) == "ann"
    assert http.me(cookie=there.cookie) is None
    assert "session" in from_there.deleted


def test_an_opaque_cookie_has_a_stream_that_ends_with_it(store: str) -> None:
    """What cannot be verified can be revoked all the same, and its page hears of it."""

    async def play() -> None:
        async with rig(store=store) as site:
            stream = await opened(opaque(site, "k3yk3yk3yk3yk3yk3yk3y"))

            await site.logout.revoke_token("k3yk3yk3yk3yk3yk3yk3y")
            await stream.until(lambda: stream.is_over)

            assert events_of(stream.body)[0][0] == "auth.logout"

    run(play)


def test_while_the_store_is_away_it_is_503_and_not_nobody(site: BuildSite) -> None:
    """Not knowing is not "logged out"."""
    http = site()
    ann = http.login("ann")
    http.store.broken = True

    answer = http.get(PATH, token=ann.access)

    assert answer.status == 503
    assert answer.header("retry-after") == "1"
    http.store.broken = False


def test_a_wsgi_server_holds_no_thread_for_it(site: BuildSite) -> None:
    """204 at once: the kit polls /auth/session there. HEAD holds nothing either, under both shells."""
    http = site()
    ann = http.login("ann")

    answers = [http.request("HEAD", PATH, token=ann.access)]
    if http.shell == "wsgi":
        answers.append(http.get(PATH, token=ann.access))

    assert {(each.status, each.body) for each in answers} == {(204, b"")}


def test_other_methods_are_405(site: BuildSite) -> None:
    """And name what is right."""
    answer = site().post(PATH)

    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, OPTIONS")


def test_UM_18_cookies_end_with_the_browser_where_that_is_wanted(site: BuildSite) -> None:
    """Off by default. On: what the application sets for two weeks is set without an end; a deletion stays one."""
    lasting, short = site(), site(on_browser_close=True, key_prefix="short:")

    usual = [each.post("/login", json={"user": "ann"}).all("set-cookie") for each in (lasting, short)]
    told = [each.get("/auth/session", cookie=each.login("ann").cookie).json for each in (lasting, short)]

    assert ["max-age" in line.lower() or "expires" in line.lower() for (line,) in usual] == [
        lasting.shell == "asgi",  # Starlette's sessions last two weeks, Flask's end with the browser anyway
        False,
    ]
    assert [each.get("ends_on_close") for each in told] == [None, True]
    deleted = short.post("/auth/logout", cookie=short.login("ann").cookie, headers={"Sec-Fetch-Site": "same-origin"})
    assert "session" in deleted.deleted


LINK = "/magic/abc"
COOKIE = "sid=a.b.c; Max-Age=99999; Path=/; HttpOnly"


@pytest.mark.parametrize("headers", [{}, {"Cookie": "theme=dark"}])
@pytest.mark.parametrize("path", [LINK, "/free/login"])
def test_UM_18_a_login_by_a_plain_link_is_one(headers: dict[str, str], path: str) -> None:
    """A magic link, or a path that is exempt: its cookie ends with the browser, too."""
    given = {"store": "memory://", "allow_unsafe_store": True, "cookies": "sid:jwt", "on_browser_close": True}
    given |= {"exempt_paths": "/free/", "audit": "off", "env_file": None}

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"set-cookie", COOKIE.encode()), (b"set-cookie", b"theme=dark; Max-Age=99999")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b""})

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        start_response(
            "200 OK",
            [("Content-Type", "text/plain"), ("Set-Cookie", COOKIE), ("Set-Cookie", "theme=dark; Max-Age=99999")],
        )
        return [b""]

    clients = [AsgiClient(AsgiMiddleware(asgi_app, **given)), WsgiClient(WsgiMiddleware(wsgi_app, **given))]
    answers = [
        each.send("GET", f"https://app.example.com{path}", list(headers.items()), b"", "::1") for each in clients
    ]
    clients[0].runner.close()

    for each in answers:
        assert each.all("set-cookie") == ["sid=a.b.c; Path=/; HttpOnly", "theme=dark; Max-Age=99999"]
