"""Connections that stay open, driven by hand: WebSockets of an ASGI site, event streams of a WSGI site."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware
from tests.client import AsgiClient, Site

PATIENCE_SECONDS = 20.0
TICK_SECONDS = 0.01


class Socket:
    """A WebSocket whose application sends one frame after the other until it hears that the client left."""

    def __init__(self, http: Site, app: AsgiMiddleware, token: str) -> None:
        self._runner, self.frames, self.late_frames = _runner(http), 0, 0
        self.end: tuple[int, str] | None = None
        self._arriving: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._arriving.put_nowait({"type": "websocket.connect"})
        self._closed = asyncio.Event()
        scope = {
            "type": "websocket", "path": "/ws", "query_string": b"", "client": ("192.0.2.1", 1),
            "headers": [(b"authorization", f"Bearer {token}".encode("ascii"))],
        }  # fmt: skip
        self._task = self._runner.get_loop().create_task(app(scope, self._arriving.get, self._sent))  # type: ignore[arg-type]
        self._runner.run(self._until_open())

    async def _sent(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self.end = (message["code"], message["reason"])
            self._closed.set()
        elif message["type"] == "websocket.send":
            self.frames += 1
            self.late_frames += self._closed.is_set()

    async def _until_open(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.frames == 0:
                await asyncio.sleep(TICK_SECONDS)

    def ended(self) -> tuple[int, str] | None:
        """Code and reason of the close, waited for; no frame came after it, and the application is done."""

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._closed.wait()
                await self._task

        self._runner.run(wait())
        assert self.late_frames == 0
        return self.end

    def goes_on(self, frames: int = 2) -> bool:
        """Does it deliver so many more?"""
        wanted = self.frames + frames

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while self.frames < wanted and not self._closed.is_set():
                    await asyncio.sleep(TICK_SECONDS)

        self._runner.run(wait())
        return self.frames >= wanted and self.end is None

    def close(self) -> None:
        """The client leaves."""
        self._arriving.put_nowait({"type": "websocket.disconnect", "code": 1000})

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._task

        self._runner.run(wait())


async def _ticking(scope: Any, receive: Any, send: Any) -> None:
    """Send until the client is gone, as an application does that knows nothing of logging out."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    leaving = asyncio.ensure_future(receive())
    with contextlib.suppress(OSError):
        while not leaving.done():
            await send({"type": "websocket.send", "text": "tick"})
            await asyncio.wait([leaving], timeout=TICK_SECONDS)
    leaving.cancel()


class Stream:
    """An event stream, read by a thread as a server does it."""

    def __init__(self, app: WsgiMiddleware, token: str) -> None:
        environ = {
            "REQUEST_METHOD": "GET", "PATH_INFO": "/events", "HTTP_AUTHORIZATION": f"Bearer {token}",
            "wsgi.url_scheme": "https", "SERVER_NAME": "app.example.com", "SERVER_PORT": "443",
        }  # fmt: skip
        self.statuses: list[str] = []
        self.parts: list[bytes] = []
        self._leaves = threading.Event()
        body = app(environ, lambda status, headers, exc_info=None: self.statuses.append(status))
        self._thread = threading.Thread(target=self._read, args=(body,), daemon=True)
        self._thread.start()
        _wait(lambda: bool(self.parts))

    def _read(self, body: Iterable[bytes]) -> None:
        for part in body:
            self.parts.append(part)
            if self._leaves.is_set():
                break
        body.close()  # type: ignore[attr-defined]  # every body of ours has it

    @property
    def end(self) -> str | None:
        """The reason that its last event gives, if it has come."""
        head, _, said = self.parts[-1].partition(b"event: auth.logout\ndata: ")
        return str(json.loads(said)["reason"]) if said and not head.strip() else None

    def ended(self) -> str | None:
        """That reason, waited for; nothing came after it."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        return self.end

    def goes_on(self, frames: int = 2) -> bool:
        """Does it deliver so many more?"""
        wanted = len(self.parts) + frames
        _wait(lambda: len(self.parts) >= wanted or not self._thread.is_alive())
        return len(self.parts) >= wanted and self.end is None

    def close(self) -> None:
        """The client leaves."""
        self._leaves.set()
        self._thread.join(PATIENCE_SECONDS)


def _streaming(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/event-stream")])
    for number in itertools.count():
        time.sleep(TICK_SECONDS)
        yield f"data: {number}\n\n".encode("ascii")


def _wait(holds: Any) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < ends, "it never happened"
        time.sleep(TICK_SECONDS)


def _runner(http: Site) -> asyncio.Runner:
    assert isinstance(http.client, AsgiClient)
    return http.client.runner


@contextlib.contextmanager
def open_connections(http: Site, tokens: Sequence[str]) -> Iterator[list[Any]]:
    """A connection of the site's shell for each token, open and delivering; closed afterwards."""
    opened: list[Socket | Stream] = []
    try:
        for token in tokens:
            if http.shell == "asgi":
                opened.append(Socket(http, AsgiMiddleware(_ticking, logout=http.logout), token))
            else:
                opened.append(Stream(WsgiMiddleware(_streaming, logout=http.logout), token))
        yield opened
    finally:
        for each in opened:
            each.close()
