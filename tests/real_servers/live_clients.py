"""Four workers of any server around `live_app`, and thousands of clients of theirs in one process.

A client here is one `asyncio.Protocol` of a few lines, so that what is measured is the servers: reading a close frame
costs it some 10 µs. All times are `time.perf_counter()` of this process.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import jwt

from .. import services

ROOT = Path(__file__).parents[2]
KEY = "k" * 32
WORKERS = 4
CLOSE_CODE = 4401
START_SECONDS, PATIENCE_SECONDS = 40.0, 15.0
AT_ONCE = 64
"""So many handshakes are under way at a time; more only wait in the servers' queues."""

_APP, _WSGI_APP = "tests.real_servers.live_app:app", "tests.real_servers.live_app:wsgi_app"
_UVICORN = ["uvicorn", _APP, "--port={port}", "--workers=4", "--log-level=warning", "--timeout-keep-alive=60"]
SERVERS: dict[str, list[str]] = {
    "uvicorn, websockets-sansio": [*_UVICORN, "--ws=websockets-sansio"],
    "uvicorn, wsproto": [*_UVICORN, "--ws=wsproto", "--http=h11"],
    "uvicorn, websockets": [*_UVICORN, "--ws=websockets"],
    "hypercorn": [
        "hypercorn", _APP, "--bind=127.0.0.1:{port}", "--workers=4", "--keep-alive=60", "--log-level=warning",
    ],
    # A worker of granian's takes a fourth of its backlog, 256 connections, unless told otherwise.
    "granian": [
        "granian", _APP, "--interface=asgi", "--port={port}", "--workers=4", "--backpressure=4000",
        "--log-level=warning",
    ],
    "daphne": ["daphne", "--bind=127.0.0.1", "--port={port}", "--verbosity=0", _APP],
    "gunicorn, asgi": [
        "gunicorn", _APP, "--worker-class=asgi", "--bind=127.0.0.1:{port}", "--workers=4",
        "--worker-connections=4000", "--keep-alive=60", "--log-level=warning",
    ],
    "gunicorn, gthread": [
        "gunicorn", _WSGI_APP, "--worker-class=gthread", "--bind=127.0.0.1:{port}", "--workers=4", "--threads=32",
        "--keep-alive=60", "--log-level=warning",
    ],
}  # fmt: skip
"""How each server is started, as `python -m`. Daphne has one worker: four of it are started, on a port each."""


# ---- who is logged in ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Login:
    """A token, and whose it is."""

    user: str
    sid: str | None
    token: str


def log_in(user: str, *, sid: str | None = None, lives: float = 600.0) -> Login:
    """Another token of this user, of this session if there is one."""
    now = time.time()
    claims = {"sub": user, "jti": os.urandom(8).hex(), "iat": now - 5, "exp": now + lives}
    if sid is not None:
        claims["sid"] = sid
    return Login(user, sid, jwt.encode(claims, KEY, algorithm="HS256"))


def log_in_often(user: str, sessions: int) -> list[Login]:
    """This user on so many devices."""
    return [log_in(user, sid=f"{user}-{number}") for number in range(sessions)]


# ---- one connection ------------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """One connection to a worker, and what came over it when."""

    path: ClassVar[str]

    def __init__(self, login: Login, name: str) -> None:
        self.login, self.name = login, name
        self.status = self.worker = self.ticks = self.after_the_end = 0
        self.code: int | None = None
        self.how = ""
        self.ended_at: float | None = None
        self.gone_at: float | None = None
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._left = bytearray()
        self._transport: Any = None

    def request(self, query: str) -> bytes:
        return _head("GET", f"{self.path}?{query}", self.login.token)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._left += data
        if not self.status and not self._read_head():
            return
        self._read(now)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone_at = time.perf_counter()
        self._end("dropped", self.gone_at)
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(f"{self.name} was dropped before it was answered: {error}"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    def _read_head(self) -> bool:
        end = self._left.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._left[: end + 2]).lower()
        del self._left[: end + 4]
        self.status = int(head[9:12])
        self._understand(head)
        return True

    def _understand(self, head: bytes) -> None:
        raise NotImplementedError

    def _read(self, now: float) -> None:
        raise NotImplementedError

    def _heard(self, text: bytes) -> None:
        """One message of the application: the first is the pid, then come ticks and echoes."""
        if self.ended_at is not None:
            self.after_the_end += 1
        elif not self.worker:
            self.worker = int(text)
            self.opened.set_result(self.status)
        elif text.startswith(b"tick"):
            self.ticks += 1

    def _refused(self) -> None:
        if not self.opened.done():
            self.opened.set_result(self.status)

    def _end(self, how: str, now: float) -> None:
        if self.ended_at is None:
            self.ended_at, self.how = now, how
            self.ended.set_result(None)


class Socket(Connection):
    """A WebSocket client. It answers pings, and a close unless it is `mute`; when closed it tries to say one more."""

    path = "/ws"
    mute = False

    def request(self, query: str) -> bytes:
        key = base64.b64encode(os.urandom(16)).decode()
        more = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        return _head("GET", f"{self.path}?{query}", self.login.token, more)

    def say(self, word: str) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_frame(1, word.encode()))

    def _understand(self, head: bytes) -> None:
        if self.status != 101:
            self._refused()

    def _read(self, now: float) -> None:
        while self.status == 101 and (frame := self._next_frame()) is not None:
            opcode, payload = frame
            if opcode == 8:
                self._closed(payload, now)
            elif opcode == 9:
                self._transport.write(_frame(10, payload))
            elif opcode in (1, 2):
                self._heard(payload)

    def _closed(self, payload: bytes, now: float) -> None:
        self.after_the_end += self.ended_at is not None
        self.code = int.from_bytes(payload[:2], "big") if payload else 1005
        self._end("close frame", now)
        self._refused()
        self.say("closed")
        if not self.mute and not self._transport.is_closing():
            self._transport.write(_frame(8, payload[:2]))

    def _next_frame(self) -> tuple[int, bytes] | None:
        """RFC 6455 5.2, as servers send it: not masked, never fragmented here."""
        left = self._left
        if len(left) < 2:
            return None
        length, begin = left[1] & 0x7F, 2
        if length == 126:
            length, begin = int.from_bytes(left[2:4], "big"), 4
        if len(left) < begin + length:
            return None
        frame = left[0] & 0x0F, bytes(left[begin : begin + length])
        del left[: begin + length]
        return frame


class MuteSocket(Socket):
    """A WebSocket client that never answers a close."""

    mute = True


class Body(Connection):
    """A client of a streamed body: what is in it, and if it came to its end or broke off."""

    path = "/stream"
    form = b"data: %b\n\n"

    def __init__(self, login: Login, name: str) -> None:
        super().__init__(login, name)
        self._body = bytearray()
        self._is_chunked = False
        self.said_goodbye = False

    def _understand(self, head: bytes) -> None:
        self._is_chunked = b"\r\ntransfer-encoding: chunked\r\n" in head
        if self.status != 200:
            self._refused()

    def _read(self, now: float) -> None:
        if self.status != 200:
            return
        if not self._is_chunked:
            self._body += self._left
            self._left.clear()
        while self._is_chunked and (chunk := self._next_chunk()) is not None:
            if not chunk:
                self._take()
                self._end("end of the body", now)
                self.close()
                return
            self._body += chunk
        self._take()

    def _next_chunk(self) -> bytes | None:
        """RFC 9112 7.1; b"" is the last one."""
        line = self._left.find(b"\r\n")
        if line < 0:
            return None
        size = int(self._left[:line].split(b";")[0], 16)
        if len(self._left) < line + 4 + size:
            return None
        chunk = bytes(self._left[line + 2 : line + 2 + size])
        del self._left[: line + 4 + size]
        return chunk

    def _take(self) -> None:
        before, after = self.form.split(b"%b")
        while (end := self._body.find(after)) >= 0:
            each = bytes(self._body[:end])
            del self._body[: end + len(after)]
            if not each:
                continue  # an empty line more, which ends whatever event was being written
            if self.said_goodbye:
                self.after_the_end += 1
            elif each.startswith(b"event: auth.logout\n"):
                self.said_goodbye = True
            else:
                self._heard(each[len(before) :])

    def connection_lost(self, error: Exception | None) -> None:
        self._take()
        if self.status and not self._is_chunked and error is None:
            # Without a length or chunks the end of the connection is the end of the body (RFC 9112 6.3).
            self._end("end of the body", time.perf_counter())
        super().connection_lost(error)


class StarletteBody(Body):
    """An event stream of Starlette's."""

    path = "/sse"


class Download(Body):
    """A body that is no event stream."""

    path = "/download"
    form = b"%b\n"


def _head(method: str, target: str, token: str | None, more: str = "") -> bytes:
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{bearer}{more}\r\n".encode()


def _frame(opcode: int, payload: bytes) -> bytes:
    """A frame of a client's: short, and masked with zeros, which change nothing."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


class StalledDownload(Download):
    """A client that stops reading once it is let in; the server's buffers fill up."""

    def _heard(self, text: bytes) -> None:
        if not self.worker:
            self._transport.pause_reading()
        super()._heard(text)

    def read_on(self) -> None:
        self._transport.resume_reading()


# ---- asking one worker ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    asked_at: float
    answered_at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Worker(asyncio.Protocol):
    """A kept-alive connection to one worker, whose pid is known."""

    pid = 0

    def __init__(self) -> None:
        self._left = bytearray()
        self._waiting: asyncio.Future[Answer] | None = None
        self._asked_at = 0.0
        self._transport: Any = None

    @classmethod
    async def at(cls, port: int) -> Worker:
        _, worker = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        worker.pid = int((await worker.ask("GET", "/who")).json["pid"])
        return worker

    async def ask(self, method: str, path: str, token: str | None = None, body: Any = None) -> Answer:
        payload = json.dumps(body).encode() if body is not None else b""
        more = f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n" if method != "GET" else ""
        self._waiting = asyncio.get_running_loop().create_future()
        self._asked_at = time.perf_counter()
        self._transport.write(_head(method, path, token, more) + payload)
        return await asyncio.wait_for(self._waiting, PATIENCE_SECONDS)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._left += data
        end = self._left.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._left[: end + 2]).lower()
        length = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or 0)
        if len(self._left) < end + 4 + length or self._waiting is None:
            return
        body = bytes(self._left[end + 4 : end + 4 + length])
        del self._left[: end + 4 + length]
        self._waiting.set_result(Answer(int(head[9:12]), body, self._asked_at, now))

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error or ConnectionError("a worker closed the connection"))

    def close(self) -> None:
        self._transport.abort()


# ---- many connections ----------------------------------------------------------------------------------


@dataclass
class Crowd:
    """A server's four workers and everybody who is connected to them."""

    workers: list[Worker]
    ports: Sequence[int]
    folder: Path
    connections: list[Connection] = field(default_factory=list)
    told_as: str = ""
    _opened: int = 0

    async def open(
        self, kind: type[Connection], logins: Sequence[Login], count: int = 1, *, every: float = 0.05,
        more: str = "",
    ) -> list[Any]:  # fmt: skip
        """So many connections of each login; what is refused is among them, with its status."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, login: Login) -> Connection:
            async with gate:
                name = f"{login.user}.{kind.__name__}.{number}"
                connection = kind(login, name)
                self.connections.append(connection)
                port = self.ports[number % len(self.ports)]
                await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
                connection._transport.write(connection.request(f"id={name}&every={every}&{more}"))
                await asyncio.wait_for(connection.opened, PATIENCE_SECONDS)
                return connection

        wanted = [login for login in logins for _ in range(count)]
        first, self._opened = self._opened, self._opened + len(wanted)
        opened = await asyncio.gather(*(one(first + number, login) for number, login in enumerate(wanted)))
        return list(opened)

    async def counts(self, prefix: str) -> dict[str, Any]:
        """What the applications of all workers noted of the connections whose name begins so."""
        found: dict[str, Any] = {}
        for worker in self.workers:
            found |= (await worker.ask("GET", f"/counts?id={prefix}")).json
        return found

    def close(self) -> None:
        for each in [*self.connections, *self.workers]:
            each.close()


@dataclass(frozen=True)
class Cut:
    """When connections ended after a logout was acknowledged, in milliseconds; at most 0 if before."""

    delays_ms: list[float]
    since_asked_ms: list[float]
    acknowledged_ms: float
    client_busy: float
    """What share of a processor this process used meanwhile: near 1, and the clients were what was slow."""

    def quantile(self, share: float) -> float:
        ordered = sorted(self.delays_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def __str__(self) -> str:
        quantiles = ", ".join(f"p{share * 100:.0f} {self.quantile(share):.1f}" for share in (0.5, 0.99))
        return (
            f"{len(self.delays_ms)} closed {quantiles}, worst {max(self.delays_ms):.1f} ms after the answer "
            f"(worst {max(self.since_asked_ms):.1f} ms after the question; answered in {self.acknowledged_ms:.1f} ms; "
            f"clients used {self.client_busy:.0%} of a processor)"
        )


async def until_ended(
    ending: Sequence[Connection], answer: Answer, busy_since: float, *, patience: float = PATIENCE_SECONDS
) -> Cut:
    """Wait until all of these ended, and tell how long each took from the answer to the logout."""
    if ending:
        await asyncio.wait([each.ended for each in ending], timeout=patience)
    still = [each.name for each in ending if each.ended_at is None]
    assert not still, f"{len(still)} of {len(ending)} were never closed, e.g. {still[0]}"
    ends = [each.ended_at for each in ending if each.ended_at is not None]
    wall = max(time.perf_counter() - answer.asked_at, 1e-9)
    return Cut(
        [(end - answer.answered_at) * 1e3 for end in ends],
        [(end - answer.asked_at) * 1e3 for end in ends],
        (answer.answered_at - answer.asked_at) * 1e3,
        (time.process_time() - busy_since) / wall,
    )


async def log_out(worker: Worker, login: Login, scope: str, ending: Sequence[Connection]) -> Cut:
    """Log out by this worker, and wait until all of these ended; sockets say "late" as soon as it is answered."""
    busy_since = time.process_time()
    answer = await worker.ask("POST", "/auth/logout", login.token, {"scope": scope})
    assert answer.status == 200, f"the logout was answered {answer.status}: {answer.body!r}"
    for each in ending:
        if isinstance(each, Socket) and each.is_open:
            each.say("late")
    return await until_ended(ending, answer, busy_since)


# ---- servers -------------------------------------------------------------------------------------------


def environment(store: str, **settings: str) -> dict[str, str]:
    """What such a server is started with. It is not measured by coverage: these servers are timed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOGOUT_", "COVERAGE_"))}
    return kept | {
        "LOGOUT_STORE": store, "LOGOUT_JWT_KEY": KEY, "LOGOUT_JWT_ALGORITHMS": "HS256", "LOGOUT_RATE_LIMIT": "off",
        "LOGOUT_AUDIT": "off", "LOGOUT_STORE_DEADLINE": "2s", "PYTHONPATH": str(ROOT), **settings,
    }  # fmt: skip


@contextlib.contextmanager
def serving(kind: str, store: str, **settings: str) -> Iterator[tuple[Sequence[int], Path]]:
    """Four workers of this server on this store: their ports, and the folder with their logs."""
    with services.folder() as folder:
        env = environment(store, **settings)
        ports = [services.free_port() for _ in range(WORKERS if kind == "daphne" else 1)]
        with contextlib.ExitStack() as stack:
            for port in ports:
                own = folder / str(port)
                own.mkdir()
                command = [sys.executable, "-m", *(part.format(port=port) for part in SERVERS[kind])]
                process = services.Process(command, own, lambda: True, env=env)
                stack.callback(process.end)
                process.start(wait=False)
            yield ports, folder


@contextlib.asynccontextmanager
async def crowd(ports: Sequence[int], folder: Path) -> AsyncIterator[Crowd]:
    """A connection to each of the four workers, and nobody else connected yet."""
    found: dict[int, Worker] = {}
    deadline = time.monotonic() + START_SECONDS
    while len(found) < WORKERS:
        assert time.monotonic() < deadline, f"only {len(found)} workers answered:\n{logs(folder)[-2000:]}"
        # Several at a time: one after the other, an idle worker may take them all.
        asked = await asyncio.gather(*map(Worker.at, [*ports] * (8 // len(ports))), return_exceptions=True)
        for worker in asked:
            if isinstance(worker, Worker) and found.setdefault(worker.pid, worker) is not worker:
                worker.close()
        if len(found) < WORKERS:
            await asyncio.sleep(0.05)
    everybody = Crowd(list(found.values()), ports, folder)
    try:
        yield everybody
    finally:
        everybody.close()
        await asyncio.sleep(0)


def logs(folder: Path) -> str:
    """What the servers said."""
    return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*/log")))


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run this with as many connections as the machine lets us have, and without the garbage collector's pauses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(main())
    finally:
        gc.enable()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The quicker loop where it is installed: the clients should not be what is slow."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
