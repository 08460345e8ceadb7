"""ASGI's open connections: WebSockets and streamed bodies, which end when their login does.

To the application a cut looks like a client that left: `receive` says disconnect, `send` raises OSError; no task is
cancelled. The client of a WebSocket gets close code 4401, that of an event stream an event `auth.logout`, then its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from functools import partial
from typing import Any

from .errors import StoreError
from .flows.sessions import Visit
from .parts import Parts
from .rules.identity import Identity

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CLOSED = 4401
"""The close code of a WebSocket whose login ended."""
_YOUNG_SECONDS = 0.1
"""A streamed body that is over sooner is no connection that anybody could cut."""
_LONGEST_TIMER_SECONDS = 86400.0
_RETRY_SECONDS = 1.0
_FAREWELL_SECONDS = 1.0
"""So long a cut connection waits for a client that does not answer the close."""


_PARTS = ("http.response.body", "http.response.zerocopysend", "http.response.pathsend")
"""Messages with a body or a part of it; the last has no `more_body`."""
_CLIENT_LEFT = ("ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect", "RequestAborted")
"""What frameworks and servers call the exception of a client that left."""


class ClientLeft(OSError):
    """What `send` raises after a cut, as servers do when the client is gone (ASGI specification, `Send`)."""


class LiveLoop:
    """The open connections of one event loop and one Logout object."""

    def __init__(self, parts: Parts, loop: asyncio.AbstractEventLoop) -> None:
        self.parts, self.loop = parts, loop
        self._doomed: deque[tuple[Open, str]] = deque()
        self._called = False
        self._young: list[Body] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def opened(self, connection: Open) -> None:
        """Have it cut when its login ends, by a logout anywhere or by time."""
        self.parts.live.opened(connection)
        self.parts.watcher.wake()
        self.look_at_time(connection)

    def cut_soon(self, connection: Open, reason: str) -> None:
        """End it in its own loop; from any thread."""
        self._doomed.append((connection, reason))
        if not self._called:
            self._called = True
            with contextlib.suppress(RuntimeError):  # the loop is closed, and with it every connection
                self.loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        self._called = False
        while self._doomed:
            connection, reason = self._doomed.popleft()
            if not connection.ended and not connection.over:
                connection.ended = True
                connection.goodbye = self.start(connection.say_goodbye(reason))
                connection.wake()

    def start(self, work: Any) -> asyncio.Task[None]:
        """Run this coroutine beside what waits for it."""
        task: asyncio.Task[None] = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- streamed bodies -----------------------------------------------------------------------------

    def began(self, body: Body) -> None:
        """A body that does not end with its first part: it is in the index if it is still there in a moment."""
        if not self._young:
            self.loop.call_later(_YOUNG_SECONDS, self._grow_up)
        self._young.append(body)

    def _grow_up(self) -> None:
        grown, self._young = self._young, []
        for body in grown:
            if not body.over:
                self.opened(body)

    # ---- time ----------------------------------------------------------------------------------------

    def look_at_time(self, connection: Open) -> None:
        """End it when its credential expires, or its session's time is over."""
        if connection.over or connection.ended:
            return
        if self.parts.registry.timed:
            self.start(self._look_at_sessions(connection))
        else:
            self._call_at(connection, connection.expires_at)

    async def _look_at_sessions(self, connection: Open) -> None:
        registry, ends = self.parts.registry, connection.expires_at
        try:
            for identity in connection.identities:
                over = await registry.ends_at(identity)
                if over <= self.parts.clock():
                    # Says so, and cuts this one with all others of its login.
                    await registry.seen(identity, Visit(passive=True))
                ends = min(ends, over)
        except StoreError:
            ends = min(ends, self.parts.clock() + _RETRY_SECONDS)
        self._call_at(connection, ends)

    def _call_at(self, connection: Open, moment: float) -> None:
        now = self.parts.clock()
        if now >= connection.expires_at:
            return self.cut_soon(connection, "expired")
        if not connection.over and not connection.ended and moment < float("inf"):
            # At least a little later: a clock that differs from the loop's must not make it spin.
            wait = min(max(moment - now, 0.01), _LONGEST_TIMER_SECONDS)
            connection.timer = self.loop.call_later(wait, self.look_at_time, connection)


class LiveLoops:
    """The LiveLoop of every event loop that one shell runs in."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LiveLoop] | None = None

    def here(self) -> LiveLoop:
        """That of the running loop."""
        if self._loops is None:
            self._loops = weakref.WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is None:
            found = self._loops[loop] = LiveLoop(self._parts, loop)
        return found


class Open:
    """One open connection of these identities; see `flows.live.Connection`."""

    def __init__(self, live_loop: LiveLoop, identities: tuple[Identity, ...], send: Send) -> None:
        self.identities = identities
        self.ended = self.over = False
        self.timer: asyncio.TimerHandle | None = None
        self.goodbye: asyncio.Task[None] | None = None
        leeway = live_loop.parts.settings.jwt_leeway
        ends = [each.expires_at + leeway for each in identities if each.verified]
        self.expires_at = min(ends, default=float("inf"))
        self._live_loop, self._send = live_loop, send

    def cut(self, reason: str) -> None:
        """See Connection.cut."""
        self._live_loop.cut_soon(self, reason)

    def close(self) -> None:
        """The connection is over, whoever ended it."""
        self.over = True
        if self.timer is not None:
            self.timer.cancel()
        self._live_loop.parts.live.closed(self)

    def wake(self) -> None:
        """Have the application, if it waits for the client, see that it left."""

    async def farewell(self) -> None:
        """Return when the client was told, or cannot be: a server drops what an application leaves behind."""
        if self.goodbye is not None:
            await asyncio.wait([self.goodbye], timeout=_FAREWELL_SECONDS)

    async def say_goodbye(self, reason: str) -> None:
        """Tell the client, and end it. Nothing that a server raises then matters to anybody."""
        with contextlib.suppress(Exception):
            await self._goodbye(reason)

    async def _goodbye(self, reason: str) -> None:
        raise NotImplementedError


class Socket(Open):
    """A WebSocket whose handshake passed."""

    def __init__(self, live_loop: LiveLoop, identities: tuple[Identity, ...], receive: Receive, send: Send) -> None:
        super().__init__(live_loop, identities, send)
        self.server_receive = receive
        self.waits_for: Any = None

    async def receive(self) -> Message:
        """The server's, until the cut: what the client sends after it does not arrive."""
        message: Message = self.gone() if self.ended else await _Waiting(self)
        return self.gone() if self.ended else message

    def wake(self) -> None:
        """See Open.wake. Some servers never say that a client left which does not answer the close."""
        # What the server waits for by itself; a task around each `receive` would cost more than the message.
        if self.waits_for is not None:
            self.waits_for.cancel()

    @staticmethod
    def gone() -> Message:
        """What an application hears of a client that left."""
        return {"type": "websocket.disconnect", "code": CLOSED, "reason": "logged out"}

    async def send(self, message: Message) -> None:
        """The server's, until the cut."""
        if self.ended:
            raise ClientLeft("the login of this connection ended")
        await self._send(message)

    async def _goodbye(self, reason: str) -> None:
        text = "expired" if reason == "expired" else "logged out"
        await self._send({"type": "websocket.close", "code": CLOSED, "reason": text})


class _Waiting:
    """Awaits the server's `receive` for a socket, and notes what that waits for, so that a cut can end it."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def __await__(self) -> Generator[Any, Any, Message]:
        # What `yield from` does (PEP 380), with a look at what is yielded.
        socket, inner = self._socket, iter(self._socket.server_receive().__await__())
        resume: Callable[[], Any] = partial(next, inner)
        try:
            while True:
                socket.waits_for = waits_for = resume()
                try:
                    value = yield waits_for
                except BaseException as error:
                    throw = getattr(inner, "throw", None)  # some servers' awaitables are no generators
                    if self._is_cut(error):
                        if throw is not None:
                            with contextlib.suppress(asyncio.CancelledError, StopIteration):
                                throw(error)
                        return Socket.gone()
                    if throw is None:
                        raise
                    resume = partial(throw, error)
                else:
                    resume = partial(next, inner) if value is None else partial(inner.send, value)
        except StopIteration as finished:
            message: Message = finished.value
            return message
        finally:
            socket.waits_for = None

    def _is_cut(self, error: BaseException) -> bool:
        """Did we end the waiting, and not somebody who cancels the task?"""
        task = asyncio.current_task()
        return isinstance(error, asyncio.CancelledError) and self._socket.ended and not (task and task.cancelling())


class Body(Open):
    """A response body that comes in parts. `events`: it is an event stream, which can take one more event."""

    def __init__(self, live_loop: LiveLoop, identities: tuple[Identity, ...], send: Send, *, events: bool) -> None:
        super().__init__(live_loop, identities, send)
        self._events = events

    async def send(self, message: Message) -> None:
        """The server's, until the cut."""
        if self.ended:
            raise ClientLeft("the login of this connection ended")
        if message["type"] in _PARTS and not message.get("more_body"):
            self.close()
        await self._send(message)

    def last_words(self, reason: str) -> bytes:
        """The last event of an event stream."""
        return b"event: auth.logout\ndata: " + json.dumps({"reason": reason}).encode("ascii") + b"\n\n"

    async def _goodbye(self, reason: str) -> None:
        self.close()
        last = b""
        if self._events:
            # The empty line first: whatever event was being written is over.
            last = b"\n\n" + self.last_words(reason)
        await self._send({"type": "http.response.body", "body": last, "more_body": False})


def is_ours(error: BaseException) -> bool:
    """Was this, which an application raised after a cut, raised because of it, by whatever way it came?

    What only happened after it was not, e.g. an error in a `finally`: that is the application's own.
    """
    return _is_ours(error, frozenset())


def _is_ours(error: BaseException | None, above: frozenset[int]) -> bool:
    if error is None or id(error) in above:
        return False
    above |= {id(error)}
    if isinstance(error, BaseExceptionGroup):
        return all(_is_ours(each, above) for each in error.exceptions)
    if isinstance(error, ClientLeft) or any(kind.__name__ in _CLIENT_LEFT for kind in type(error).__mro__):
        return True
    # `except OSError: raise` another that says the same; a file that is not there is one that says something else.
    translated = type(error) is OSError or isinstance(error, ConnectionError)
    return _is_ours(error.__cause__, above) or (translated and _is_ours(error.__context__, above))
