"""Open connections end with their login: WebSockets, event streams, other streamed bodies, on both shells.

The servers here are the test itself: it hands `receive` and `send` to the middleware and looks at what arrives. Real
servers are in `real_servers/test_live_connections.py`.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from logout_middleware import BlockingLogout, Logout
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

from .apps import JWT_KEY

Message = dict[str, Any]
SECONDS = 5.0
"""The longest that anything here may take; a cut takes milliseconds."""


def token(sub: str = "ann", *, sid: str | None = "s1", jti: str = "t1", **claims: Any) -> str:
    """A token that lives for an hour from now."""
    import time

    now = time.time()
    members = {"sub": sub, "sid": sid, "jti": jti, "iat": now - 60, "exp": now + 3600} | claims
    return jwt.encode({name: value for name, value in members.items() if value is not None}, JWT_KEY)


class Exchange:
    """One connection to an ASGI application, and everything that it sent."""

    def __init__(self, app: Any, scope: Message) -> None:
        self.sent: list[Message] = []
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.news = asyncio.Condition()
        self.task = asyncio.ensure_future(app(scope, self.inbox.get, self._send))

    async def _send(self, message: Message) -> None:
        async with self.news:
            self.sent.append(message)
            self.news.notify_all()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until this holds of what was sent."""
        async with asyncio.timeout(SECONDS), self.news:
            await self.news.wait_for(holds)

    @property
    def body(self) -> bytes:
        """What was sent of the body."""
        return b"".join(message.get("body", b"") for message in self.sent if message["type"] == "http.response.body")

    @property
    def is_over(self) -> bool:
        """Was the answer, or the socket, ended by us or by the application?"""
        last = self.sent[-1] if self.sent else {"type": ""}
        if last["type"] == "websocket.close":
            return True
        return last["type"] == "http.response.body" and not last.get("more_body", False)


class Rig:
    """An application behind the middleware, and a second worker beside it, on one store."""

    def __init__(self, app: Any, **given: Any) -> None:
        ordinary = {"jwt_key": JWT_KEY, "jwt_algorithms": "HS256", "audit": "off", "env_file": None}
        self.settings = ordinary | given
        self.logout = Logout(**self.settings)
        self.app = AsgiMiddleware(app, logout=self.logout)
        self.elsewhere = Logout(**self.settings)

    def websocket(self, bearer: str, **more: Any) -> Exchange:
        """A handshake with this token; the server's part of it is done."""
        exchange = Exchange(self.app, _scope("websocket", bearer) | more)
        exchange.inbox.put_nowait({"type": "websocket.connect"})
        return exchange

    def get(self, bearer: str | None, path: str = "/") -> Exchange:
        """A request."""
        exchange = Exchange(self.app, _scope("http", bearer) | {"path": path})
        exchange.inbox.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        return exchange

    async def close(self) -> None:
        """Give everything back."""
        await self.logout.close()
        await self.elsewhere.close()


def _scope(kind: str, bearer: str | None) -> Message:
    headers = [(b"host", b"app.example.com")]
    if bearer is not None:
        headers.append((b"authorization", b"Bearer " + bearer.encode()))
    return {
        "type": kind, "path": "/", "method": "GET", "query_string": b"", "headers": headers, "scheme": "https",
        "client": ("192.0.2.1", 5000), "extensions": {"websocket.http.response": {}},
    }  # fmt: skip


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where logouts are kept: in this process, or in a file that workers share."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'logout.db'}"


@pytest.fixture
def shared(tmp_path: Path) -> str:
    """A store that two workers share."""
    return f"sqlite:///{tmp_path / 'logout.db'}"


class Chat:
    """A WebSocket application; it notes what reaches it, and how it ended."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.refused: list[BaseException] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            self.received.append(message)
            if message["type"] == "websocket.disconnect":
                return
            try:
                await send({"type": "websocket.send", "text": message["text"]})
            except OSError as error:
                self.refused.append(error)
                raise


def closed_with(exchange: Exchange) -> Message:
    """The close that was sent."""
    (close,) = [message for message in exchange.sent if message["type"] == "websocket.close"]
    return close


# ---- WebSockets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        lambda logout, bearer: logout.revoke_token(bearer),
        lambda logout, bearer: logout.revoke_session("s1"),
        lambda logout, bearer: logout.revoke_user("ann"),
        lambda logout, bearer: logout.revoke_everyone(),
    ],
    ids=["token", "session", "user", "everyone"],
)
@pytest.mark.parametrize("by", ["this worker", "another"])
def test_a_socket_is_closed_when_its_login_ends(shared: str, by: str, end: Callable[..., Awaitable[Any]]) -> None:
    """Close code 4401, and not one frame more in either direction."""
    chat = Chat()

    async def main() -> tuple[Exchange, Exchange]:
        rig = Rig(chat, store=shared)
        bearer = token()
        ann, bob = rig.websocket(bearer), rig.websocket(token("bob", sid="b", jti="b"))
        for each in (ann, bob):
            await each.until(lambda each=each: bool(each.sent))  # type: ignore[misc]

        await end(rig.logout if by == "this worker" else rig.elsewhere, bearer)
        if "everyone" not in repr(end.__code__.co_names):
            await ann.until(lambda: ann.is_over)
            bob.inbox.put_nowait({"type": "websocket.receive", "text": "still here"})
            await bob.until(lambda: {"type": "websocket.send", "text": "still here"} in bob.sent)
        else:
            await ann.until(lambda: ann.is_over)
            await bob.until(lambda: bob.is_over)
        ann.inbox.put_nowait({"type": "websocket.receive", "text": "after the end"})
        await asyncio.wait_for(ann.task, SECONDS)
        bob.inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait_for(bob.task, SECONDS)
        await rig.close()
        return ann, bob

    ann, _ = asyncio.run(main())

    assert closed_with(ann) == {"type": "websocket.close", "code": 4401, "reason": "logged out"}
    assert "after the end" not in [message.get("text") for message in chat.received]
    assert {"type": "websocket.disconnect", "code": 4401, "reason": "logged out"} in chat.received


def test_a_sender_finds_its_client_gone(store: str) -> None:
    """An application that only sends learns it by OSError, as from a server; nothing is logged as its mistake."""
    ended: list[BaseException] = []

    async def ticker(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send({"type": "websocket.send", "text": "tick"})
                await asyncio.sleep(0.001)
        except OSError as error:
            ended.append(error)
            raise

    async def main() -> Exchange:
        rig = Rig(ticker, store=store)
        exchange = rig.websocket(token())
        await exchange.until(lambda: len(exchange.sent) > 5)
        await rig.logout.revoke_session("s1")
        await asyncio.wait_for(exchange.task, SECONDS)  # it returns, it does not raise
        await rig.close()
        return exchange

    exchange = asyncio.run(main())

    assert len(ended) == 1
    assert exchange.sent[-1]["type"] == "websocket.close"


def test_a_mere_refresh_closes_nothing(store: str) -> None:
    """The token that a refresh replaced is refused from now on; what was opened with it goes on."""

    async def main() -> bool:
        rig = Rig(Chat(), store=store)
        old = token(jti="old")
        exchange = rig.websocket(old)
        await exchange.until(lambda: bool(exchange.sent))

        await rig.logout.revoke_token(old, reason="refresh")
        assert await rig.logout.is_revoked(old)
        assert not await rig.logout.is_revoked(token(jti="new"))
        exchange.inbox.put_nowait({"type": "websocket.receive", "text": "hello"})
        await exchange.until(lambda: exchange.sent[-1].get("text") == "hello")
        await asyncio.sleep(0.3)  # the watcher has looked, too
        alive = not exchange.is_over
        exchange.task.cancel()
        await rig.close()
        return alive

    assert asyncio.run(main())


def test_a_token_ends_its_socket_when_it_expires(store: str) -> None:
    """By its own `exp`; nobody logs out."""
    import time

    async def main() -> tuple[Exchange, float]:
        rig = Rig(Chat(), store=store)
        expires = time.time() + 0.5
        exchange = rig.websocket(token(exp=expires))
        await exchange.until(lambda: exchange.is_over)
        late = time.time() - expires
        exchange.inbox.put_nowait({"type": "websocket.disconnect", "code": 4401})
        await exchange.task
        await rig.close()
        return exchange, late

    exchange, late = asyncio.run(main())

    assert closed_with(exchange) == {"type": "websocket.close", "code": 4401, "reason": "expired"}
    assert late >= 0


@pytest.mark.parametrize("limit", ["idle_timeout", "absolute_timeout"])
def test_a_session_whose_time_is_over_ends_its_socket(store: str, limit: str) -> None:
    """Although nobody asks for anything; the listeners are told why."""
    told: list[Any] = []

    async def main() -> Exchange:
        rig = Rig(Chat(), store=store, **{limit: "1s"})
        rig.logout.on_event(told.append)
        import time

        exchange = rig.websocket(token(iat=time.time()))
        await exchange.until(lambda: exchange.is_over)
        exchange.inbox.put_nowait({"type": "websocket.disconnect", "code": 4401})
        await exchange.task
        await rig.close()
        return exchange

    exchange = asyncio.run(main())

    assert closed_with(exchange)["code"] == 4401
    assert [(event.kind, event.reason) for event in told][-1] == ("session_ended", limit.partition("_")[0])


def test_a_logout_between_handshake_and_index_is_found(shared: str) -> None:
    """The verdict was "alive", the logout came before the connection was known: the watcher looks once more."""

    async def main() -> Exchange:
        rig = Rig(Chat(), store=shared)
        opened = rig.logout.live.opened

        def logged_out_first(connection: Any) -> None:
            from logout_middleware.colour import run_blocking

            other = BlockingLogout(**rig.settings)
            other.revoke_session("s1")
            run_blocking(other.inner.close())
            opened(connection)

        # A first connection, so that the watcher follows already and has read that logout when the index is filled.
        first = rig.websocket(token("bob", sid="b"))
        await first.until(lambda: bool(first.sent))
        await asyncio.sleep(0.2)
        rig.logout.live.opened = logged_out_first  # type: ignore[method-assign]
        exchange = rig.websocket(token())
        await exchange.until(lambda: exchange.is_over)
        for each in (first, exchange):
            each.task.cancel()
        await rig.close()
        return exchange

    assert closed_with(asyncio.run(main()))["code"] == 4401


def test_a_handshake_with_a_dead_token_is_refused_and_nothing_stays_open(store: str) -> None:
    """The index is empty after every end, whoever ended it."""

    async def main() -> tuple[list[Message], list[int]]:
        rig = Rig(Chat(), store=store)
        bearer = token()
        open_ = []
        exchange = rig.websocket(bearer)
        await exchange.until(lambda: bool(exchange.sent))
        open_.append(len(rig.logout.live))
        exchange.inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await exchange.task
        open_.append(len(rig.logout.live))
        await rig.logout.revoke_token(bearer)
        dead = rig.websocket(bearer)
        await dead.task
        open_.append(len(rig.logout.live))
        await rig.close()
        return dead.sent, open_

    sent, open_ = asyncio.run(main())

    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 401)
    assert open_ == [1, 0, 0]


# ---- streamed bodies -----------------------------------------------------------------------------------------


def streaming(kind: bytes, *, every: float = 0.01, **headers: bytes) -> Any:
    """An application that sends parts without end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pairs = [
            (b"content-type", kind),
            *((name.encode().replace(b"_", b"-"), value) for name, value in headers.items()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        number = 0
        while True:
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            number += 1
            await asyncio.sleep(every)

    return app


@pytest.mark.parametrize("by", ["this worker", "another"])
@pytest.mark.parametrize("every", [0.01, 3600.0])
def test_an_event_stream_ends_after_one_last_event(shared: str, by: str, every: float) -> None:
    """The page is told why, and the stream is over, even if the application would have said nothing for an hour."""

    async def main() -> Exchange:
        rig = Rig(streaming(b"text/event-stream", every=every), store=shared)
        exchange = rig.get(token())
        await exchange.until(lambda: len(exchange.sent) >= 2)
        await (rig.logout if by == "this worker" else rig.elsewhere).revoke_session("s1")
        await exchange.until(lambda: exchange.is_over)
        exchange.task.cancel()
        await rig.close()
        return exchange

    exchange = asyncio.run(main())

    head, _, last = exchange.body.rpartition(b"event: auth.logout\n")
    assert head.endswith(b"\n\n")
    assert last == b'data: {"reason": "revoke_session"}\n\n'


def test_another_stream_just_ends(store: str) -> None:
    """A download, or an answer that is written as it is thought of; nothing is put into it."""

    async def main() -> Exchange:
        rig = Rig(streaming(b"text/plain"), store=store)
        exchange = rig.get(token())
        await exchange.until(lambda: len(exchange.sent) > 15)
        await rig.logout.revoke_user("ann")
        await exchange.until(lambda: exchange.is_over)
        await asyncio.wait_for(exchange.task, SECONDS)
        await rig.close()
        return exchange

    exchange = asyncio.run(main())

    assert b"auth.logout" not in exchange.body
    assert exchange.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


def test_an_encoded_event_stream_is_not_spoilt(store: str) -> None:
    """What was compressed inside ends without our words in plain text."""

    async def main() -> Exchange:
        rig = Rig(streaming(b"text/event-stream", content_encoding=b"gzip"), store=store)
        exchange = rig.get(token())
        await exchange.until(lambda: len(exchange.sent) > 15)
        await rig.logout.revoke_user("ann")
        await exchange.until(lambda: exchange.is_over)
        await rig.close()
        return exchange

    assert b"auth.logout" not in asyncio.run(main()).body


def test_streams_of_nobody_and_short_ones_are_not_in_the_index(store: str) -> None:
    """Only what a logout could end is watched over; no thread is started for the rest."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"three"})

    async def main() -> tuple[bytes, int, Any]:
        rig = Rig(app, store=store)
        for bearer in (token(), token(), None):
            exchange = rig.get(bearer)
            await exchange.task
        await asyncio.sleep(0.15)
        found = exchange.body, len(rig.logout.live), rig.logout.watcher._thread
        await rig.close()
        return found

    assert asyncio.run(main()) == (b"onetwothree", 0, None)


def test_a_stream_that_breaks_off_is_forgotten(store: str) -> None:
    """An application that raises, or returns, in the middle leaves nothing in the index."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        if scope["path"] == "/raises":
            raise LookupError("the application's own")

    async def main() -> tuple[int, Any]:
        rig = Rig(app, store=store)
        raised = (await asyncio.gather(rig.get(token(), "/raises").task, return_exceptions=True))[0]
        await rig.get(token()).task
        left = len(rig.logout.live)
        await rig.close()
        return left, raised

    left, raised = asyncio.run(main())

    assert left == 0
    assert isinstance(raised, LookupError)


# ---- WSGI ----------------------------------------------------------------------------------------------------


def wsgi_request(app: Any, bearer: str) -> tuple[list[Any], Iterator[bytes]]:
    """The start of an answer, and its body as it comes."""
    started: list[Any] = []
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/", "SCRIPT_NAME": "", "QUERY_STRING": "", "wsgi.url_scheme": "https",
        "HTTP_AUTHORIZATION": f"Bearer {bearer}", "HTTP_HOST": "app.example.com", "REMOTE_ADDR": "192.0.2.1",
    }  # fmt: skip
    body = app(environ, lambda status, headers, *rest: started.append((status, headers)))
    return started, body


@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain"])
def test_a_wsgi_stream_ends_between_two_parts(store: str, kind: str) -> None:
    """After a logout no part more, but the last event where it is an event stream; the iterable is closed."""
    closed: list[bool] = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", kind)])
        try:
            while True:
                yield b"data: tick\n\n"
        finally:
            closed.append(True)

    logout = BlockingLogout(store=store, jwt_key=JWT_KEY, jwt_algorithms="HS256", audit="off", env_file=None)
    _, body = wsgi_request(WsgiMiddleware(app, logout=logout), token())
    began = [next(body) for _ in range(3)]
    if kind == "text/plain":
        body._began -= 1.0  # type: ignore[attr-defined]  # it goes on for a second already
        next(body)

    logout.revoke_session("s1")
    rest = list(body)
    body.close()  # type: ignore[attr-defined]

    assert began == [b"data: tick\n\n"] * 3
    last = [b'\n\nevent: auth.logout\ndata: {"reason": "revoke_session"}\n\n']
    assert rest == (last if kind == "text/event-stream" else [])
    assert closed == [True]
    assert len(logout.inner.live) == 0
    logout.close()


def test_a_whole_wsgi_body_is_the_applications_own_object(store: str) -> None:
    """A list, and a body whose length is known, pass untouched."""
    bodies: list[Any] = [[b"hello"], iter([b"hello"])]

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return bodies[0]

    logout = BlockingLogout(store=store, jwt_key=JWT_KEY, jwt_algorithms="HS256", audit="off", env_file=None)
    middleware = WsgiMiddleware(app, logout=logout)

    same = []
    while bodies:
        same.append(wsgi_request(middleware, token())[1] is bodies[0])
        bodies.pop(0)

    assert same == [True, True]
    logout.close()
    gc.collect()
