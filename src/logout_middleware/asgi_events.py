"""The event stream of `/auth/events` under ASGI: quiet while a login lives, and three events when it ends.

The stream is one of the open connections of its login, so whatever cuts those cuts it. What it says besides is when
the login is about to run out.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
import weakref
from typing import Any

from .asgi_live import Body, LiveLoop
from .asgi_messages import Receive, Scope, Send, send_response
from .endpoints.events import refused
from .errors import StoreError
from .events import timestamp
from .rules.http import EventStream
from .rules.identity import Identity

WARNING_SECONDS = 60.0
"""So long before its end a login is said to be expiring."""
_HEARTBEAT_SECONDS = 20.0
"""Proxies close what is silent for a minute, some for half of one."""
LONGEST_SECONDS = 60.0
"""A stream ends then, and the page opens the next: a server may be waiting for it, so that it can stop."""
_LOOK_SECONDS = 0.25
_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"x-accel-buffering", b"no"),  # nginx would keep the events until it has a page full of them
)
_BEGIN = b"retry: 1000\n\n"
_HEARTBEAT = b":\n\n"


def event(kind: str, **members: Any) -> bytes:
    """One server-sent event with JSON in it (HTML 9.2.5)."""
    return f"event: {kind}\ndata: {json.dumps(members, separators=(',', ':'))}\n\n".encode("ascii")


class LoginEvents(Body):
    """The stream of one caller, in the index of open connections under every key of his logins."""

    def __init__(self, live_loop: LiveLoop, identities: tuple[Identity, ...], send: Send) -> None:
        super().__init__(live_loop, identities, send, events=True)
        self._leave = asyncio.Event()
        self._until = live_loop.loop.time() + LONGEST_SECONDS
        self._warned_of = math.nan
        self._look_at = 0.0

    def wake(self) -> None:
        """See Open.wake."""
        self.leave()

    def leave(self) -> None:
        """Stop saying anything; from the stream's own event loop."""
        self._leave.set()

    def last_words(self, reason: str) -> bytes:
        """What a page is told of a logout, in the order that applications rely on (mission.md SP-3)."""
        return b"".join(
            (
                event("auth.logout", reason=reason),
                event("auth.statusChange", authenticated=False),
                event("auth.sessionChange", authenticated=False),
            )
        )

    async def run(self, receive: Receive) -> None:
        """Return when the client left, the server stops, the login ended, or it is time for another stream."""
        waits = {asyncio.ensure_future(_left(receive)), asyncio.ensure_future(self._leave.wait())}
        try:
            while True:
                done, _ = await asyncio.wait(waits, timeout=await self._speak(), return_when=asyncio.FIRST_COMPLETED)
                if done or self._live_loop.loop.time() >= self._until:
                    return
                await self._say(_HEARTBEAT)
        finally:
            for each in waits:
                each.cancel()

    async def _speak(self) -> float:
        """Say that the login is about to end, if it is; returns the seconds until there may be more to say."""
        now = self._live_loop.parts.clock()
        if now >= self._look_at:
            ends, reason = await self._end(now)
            self._look_at = ends - WARNING_SECONDS if ends - WARNING_SECONDS > now else ends + 1.0
            if now < ends <= now + WARNING_SECONDS and ends != self._warned_of:
                self._warned_of = ends
                seconds = max(0, round(ends - now))
                await self._say(event("auth.expiring", reason=reason, seconds=seconds, expires_at=timestamp(ends)))
        return min(max(self._look_at - now, 0.01), _HEARTBEAT_SECONDS)

    async def _end(self, now: float) -> tuple[float, str]:
        """When the login ends if nobody uses it, and why. A store that is away is asked again later."""
        registry, ends, reason = self._live_loop.parts.registry, self.expires_at, "expired"
        try:
            for each in self.identities:
                idle = await registry.ends_at(each)
                if idle < ends:
                    ends, reason = idle, "idle"
        except StoreError:
            ends = min(ends, now + WARNING_SECONDS + _HEARTBEAT_SECONDS)
        return ends, reason

    async def _say(self, text: bytes) -> None:
        await self.send({"type": "http.response.body", "body": text, "more_body": True})


class _Pages:
    """The open streams of one event loop, which end when its server wants to stop.

    Servers wait for every answer that is under way, and nothing tells a stream of that. But uvicorn's handler of
    SIGTERM is a method of the server, which knows; for the others there is LONGEST_SECONDS. To be dropped when uvicorn
    says http.disconnect at shutdown (https://github.com/Kludex/uvicorn/pull/2829).
    """

    def __init__(self) -> None:
        self._open: set[LoginEvents] = set()
        self._looks = False

    def opened(self, events: LoginEvents) -> None:
        """Look after it, too."""
        self._open.add(events)
        if not self._looks:
            self._looks = True
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def closed(self, events: LoginEvents) -> None:
        """It is over."""
        self._open.discard(events)

    def _look(self) -> None:
        if self._stops():
            for each in self._open:
                each.leave()
        self._looks = bool(self._open)
        if self._looks:
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    @staticmethod
    def _stops() -> bool:
        server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        return bool(getattr(server, "should_exit", False))


_pages: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pages] = weakref.WeakKeyDictionary()


async def serve(stream: EventStream, live_loop: LiveLoop, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one caller until he leaves or his login ends."""
    streams = live_loop.parts.live.streams
    fault = streams.take(stream.identities)
    if fault is not None:
        cors = [pair for pair in stream.headers if pair[0].startswith("Access-Control-")]
        return await send_response(refused(fault).with_headers(cors), scope, send)
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in stream.headers]
    events = LoginEvents(live_loop, stream.identities, send)
    pages = _pages.setdefault(live_loop.loop, _Pages())
    pages.opened(events)
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, *_HEADERS]})
        # From here on a logout finds it; one that came before is found by looking it up (`Live.newcomers`).
        live_loop.opened(events)
        await send({"type": "http.response.body", "body": _BEGIN, "more_body": True})
        await events.run(receive)
        if not events.ended:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    except OSError:
        pass  # the client left, or the cut came, while something was being said
    finally:
        pages.closed(events)
        streams.give_back(stream.identities)
        events.close()
    await events.farewell()


async def _left(receive: Receive) -> None:
    """Return when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
