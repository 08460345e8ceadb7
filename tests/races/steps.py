"""Requests that stop at their steps.

A `Visit` is one request of a browser. It runs until its next step, and goes on when it is told to; only one runs at
a time, so the order in which they are told is the whole interleaving. `Tasks` runs them as tasks of an event loop
(ASGI), `Threads` in threads (WSGI). Whatever runs without a visit passes all steps at once.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Semaphore
from typing import Any, Protocol

from tests.browser import Jar

ORIGIN = "https://app.example.com"
PATIENCE = 20.0
"""Seconds after which a request that reaches no further step is taken for stuck."""

ARRIVED, ANSWERING, LEFT, DONE = "passed the guard", "is about to answer", "its headers have left", "is done"


@dataclass(eq=False)
class Visit:
    """One request: what the browser sends, where it is, and what came back."""

    name: str
    method: str
    path: str
    jar: Jar
    headers: tuple[tuple[str, str], ...] = ()
    worker: int = 0
    sent: dict[str, str] | None = None
    at: str = "not sent"
    status: int = 0
    set_cookies: list[str] = field(default_factory=list)
    body: bytes = b""
    answered_at: int = 0
    landed: bool = False
    goes_on: Any = None
    stopped: Any = None
    running: Any = None

    @property
    def has_left(self) -> bool:
        """Did the server send the headers of the answer?"""
        return self.at in (LEFT, DONE)

    def land(self) -> None:
        """The headers of the answer reach the browser."""
        self.jar.take(ORIGIN + self.path, self.set_cookies)
        self.landed = True

    def pack(self) -> list[tuple[str, str]]:
        """The fields of the request, with the cookies that the browser has at this moment."""
        self.sent = self.jar.sent_to(ORIGIN + self.path)
        cookie = "; ".join(f"{name}={value}" for name, value in self.sent.items())
        fields = [("host", "app.example.com"), *self.headers]
        return [*fields, ("cookie", cookie)] if cookie else fields


_current: ContextVar[Visit | None] = ContextVar("the visit that runs here", default=None)


class Stepper(Protocol):
    """Runs visits of the applications of several workers."""

    apps: list[Any]

    def guarded(self, app: Any) -> Any:
        """The application with a step before it begins, and one before it answers."""
        ...

    async def pause(self, step: str) -> None:
        """Stop the visit that runs here at this step, until it is told to go on."""
        ...

    def go_on(self, visit: Visit, now: int) -> None:
        """Let this visit run to its next step; the first time, send it. `now` counts the moves."""
        ...

    def finish(self, visit: Visit) -> Visit:
        """The visit from beginning to end, without a stop, its answer landed."""
        ...

    def close(self) -> None:
        """Give back threads or loop."""
        ...


class Tasks:
    """Visits as tasks of one event loop."""

    def __init__(self) -> None:
        self.apps: list[Any] = []
        self.loop = asyncio.new_event_loop()
        self._now = 0

    def guarded(self, app: Any) -> Any:
        """See Stepper.guarded."""

        async def stepping(scope: Any, receive: Any, send: Any) -> None:
            async def answer(message: Any) -> None:
                if message["type"] == "http.response.start":
                    await self.pause(ANSWERING)
                await send(message)

            await self.pause(ARRIVED)
            await app(scope, receive, answer)

        return stepping

    async def pause(self, step: str) -> None:
        """See Stepper.pause."""
        visit = _current.get()
        if visit is None:
            return
        visit.at = step
        visit.goes_on = self.loop.create_future()
        visit.stopped.set_result(None)
        await visit.goes_on

    def go_on(self, visit: Visit, now: int) -> None:
        """See Stepper.go_on."""
        self._now = now
        visit.stopped = self.loop.create_future()
        if visit.running is None:
            visit.running = self.loop.create_task(self._run_in_steps(visit))
        else:
            visit.goes_on.set_result(None)
        self.loop.run_until_complete(self._until_stopped(visit))

    async def _until_stopped(self, visit: Visit) -> None:
        done, _ = await asyncio.wait([visit.running, visit.stopped], return_when="FIRST_COMPLETED", timeout=PATIENCE)
        if not done:
            raise TimeoutError(f"{visit.name} {visit.at!r} reaches no further step")
        if visit.running in done:
            visit.running.result()

    def finish(self, visit: Visit) -> Visit:
        """See Stepper.finish."""
        self.loop.run_until_complete(self._run(visit))
        visit.land()
        return visit

    async def _run_in_steps(self, visit: Visit) -> None:
        _current.set(visit)
        await self._run(visit)

    async def _run(self, visit: Visit) -> None:
        fields = visit.pack()
        path, _, query = visit.path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": visit.method,
            "scheme": "https", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "root_path": "", "client": ("192.0.2.1", 50000), "server": ("app.example.com", 443),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields],
        }  # fmt: skip
        unread = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if unread:
                return unread.pop()
            return await self.loop.create_future()  # The browser stays.

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                visit.status, visit.answered_at = message["status"], self._now
                visit.set_cookies += [
                    value.decode("latin-1") for name, value in message["headers"] if name.lower() == b"set-cookie"
                ]
                await self.pause(LEFT)
            else:
                visit.body += message.get("body", b"")

        await self.apps[visit.worker](scope, receive, send)
        visit.at = DONE

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The result of this coroutine."""
        return self.loop.run_until_complete(coroutine)

    def close(self) -> None:
        """See Stepper.close."""
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class Threads:
    """Visits in threads, of which one runs at a time."""

    def __init__(self) -> None:
        self.apps: list[Any] = []
        self.pool = ThreadPoolExecutor(16)
        self._now = 0

    def guarded(self, app: Any) -> Any:
        """See Stepper.guarded."""

        def stepping(environ: Any, start_response: Any) -> Any:
            def answer(*given: Any) -> Any:
                self._pause(ANSWERING)
                return start_response(*given)

            self._pause(ARRIVED)
            return app(environ, answer)

        return stepping

    async def pause(self, step: str) -> None:
        """See Stepper.pause. It stops the thread, so that `run_blocking` can run what awaits it."""
        self._pause(step)

    def _pause(self, step: str) -> None:
        visit = _current.get()
        if visit is None:
            return
        visit.at = step
        visit.stopped.release()
        visit.goes_on.acquire()

    def go_on(self, visit: Visit, now: int) -> None:
        """See Stepper.go_on."""
        self._now = now
        if visit.running is None:
            visit.goes_on, visit.stopped = Semaphore(0), Semaphore(0)
            visit.running = self.pool.submit(self._run_and_tell, visit)
        else:
            visit.goes_on.release()
        if not visit.stopped.acquire(timeout=PATIENCE):
            raise TimeoutError(f"{visit.name} {visit.at!r} reaches no further step")
        running: Future[None] = visit.running
        if visit.at == DONE or running.done():
            running.result()

    def _run_and_tell(self, visit: Visit) -> None:
        _current.set(visit)
        try:
            self._run(visit)
        finally:
            visit.at = DONE
            _current.set(None)
            visit.stopped.release()

    def finish(self, visit: Visit) -> Visit:
        """See Stepper.finish."""
        self._run(visit)
        visit.at = DONE
        visit.land()
        return visit

    def _run(self, visit: Visit) -> None:
        fields = visit.pack()
        path, _, query = visit.path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": visit.method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": query,
            "SERVER_NAME": "app.example.com", "SERVER_PORT": "443", "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.1", "CONTENT_LENGTH": "0", "wsgi.version": (1, 0), "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.multithread": True,
            "wsgi.multiprocess": False, "wsgi.run_once": False,
        }  # fmt: skip
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in fields}

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[[bytes], Any]:
            visit.status, visit.answered_at = int(status.split()[0]), self._now
            visit.set_cookies += [value for name, value in headers if name.lower() == "set-cookie"]
            self._pause(LEFT)
            return lambda _: None

        answer = self.apps[visit.worker](environ, start_response)
        try:
            visit.body = b"".join(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()

    def close(self) -> None:
        """See Stepper.close."""
        self.pool.shutdown()
