"""How long after an acknowledged logout does another process refuse?

Two uvicorn workers with one Redis, each a process of its own: one is told to log out, the other is asked from the
moment the acknowledgement is there, until it refuses. The other has seen and accepted the token just before. *Refused*
is the time from the acknowledgement to the first refusal, so it has the answering time of the worker in it, which is
long under load. *Stale* is the time to the sending of the last request that was accepted all the same: 0 if none was.
Strict asks Redis with each request; the replica may be 1 s old. Saturated means wrk with 64 connections on the other.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import services

from .. import pair, serving, traffic
from ..pair import Effort, Result, Table, Void
from ..serving import Requests, Served, Server
from ..traffic import Gate
from .served import prepare

NAME = "propagation"
STRICT, REPLICA = "strict", "replica 1 s"
IDLE, SATURATED = "idle", "saturated (c=64)"
APPS = {"uvicorn": "starlette_guarded", "gunicorn": "flask_guarded"}
_PROBES = 32
"""Connections that ask in turn; each waits for its answer before it asks again."""
_EVERY_SECONDS = 0.001
"""The next asks when the one before it was answered, or after so long."""
_PATIENCE_SECONDS = 5.0
_FIRST = 20
"""Logouts before those that count: connections are made, and replicas filled."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One logout: seconds from its acknowledgement to the last wrong question, and to the first right answer."""

    stale: float
    refused: float


def run(effort: Effort) -> Result:
    """Measure all combinations, or say why that cannot be done here."""
    result = Result(NAME)
    try:
        services.binary("redis-server")
    except services.Missing as missing:
        result.skipped = str(missing)
        return result
    has_wrk = serving.wrk() is not None
    if not has_wrk:
        result.missing.append("saturated workers: wrk is not here and could not be installed")
    lines: list[list[str]] = []
    with tempfile.TemporaryDirectory() as name, serving.apart() as own, services.redis() as redis:
        folder = Path(name)
        requests = Requests.write(folder, NAME, traffic.tokens(effort.tokens))
        settings = prepare(redis.url, Gate.make(), rate_limit="off")
        for kind in APPS:
            for mode, more in ((STRICT, {}), (REPLICA, {"LOGOUT_MAX_STALENESS": "1s"})):
                app = f"benchmarks.apps:{APPS[kind]}"
                told, asked = (Served(what, app, kind, 1, settings | more) for what in ("told", "asked"))
                with serving.serving(told, folder) as here, serving.serving(asked, folder, own) as there:
                    for load in (IDLE, SATURATED) if has_wrk else (IDLE,):
                        with _loaded(there, requests) if load == SATURATED else contextlib.nullcontext():
                            seen = _log_out_many(here, there, effort.logouts)
                        if mode == STRICT and any(each.stale for each in seen):
                            result.void.append(f"{kind}, strict, {load}: a token was accepted after its logout")
                        lines.append(_line(kind, mode, load, seen, result))
    times = [f"{what} {each} ms" for what in ("refused", "stale") for each in ("p50", "p99", "max")]
    result.tables.append(Table(["server", "mode", "worker", "logouts", *times], lines))
    return result


def _line(kind: str, mode: str, load: str, seen: list[Seen], result: Result) -> list[str]:
    cells = [kind, mode, load, str(len(seen))]
    for what in ("refused", "stale"):
        times = [getattr(each, what) * 1e3 for each in seen]
        result.rounds[f"{kind}, {mode}, {load}: {what}"] = {"ms": times}
        found = [pair.quantile(times, 0.5), pair.quantile(times, 0.99), max(times)]
        cells += [f"{each:.2f}" for each in found]
        result.estimates[f"{kind}, {mode}, {load}: {what} p50, ms"] = pair.exactly(found[0])
        result.estimates[f"{kind}, {mode}, {load}: {what} p99, ms"] = pair.exactly(found[1])
    return cells


@contextlib.contextmanager
def _loaded(server: Server, requests: Requests) -> Iterator[None]:
    """This server under wrk with 64 connections, until left."""
    command = [part.format(port=server.port, seconds=600) for part in serving.generator(64)]
    serving.warm_up(serving.generator(), server, requests)
    process = subprocess.Popen(command, env={**os.environ, **requests.environment}, stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield
        if process.poll() is not None:
            raise Void("propagation: wrk ended before the logouts did")
    finally:
        process.kill()
        process.wait()


def _log_out_many(here: Server, there: Server, count: int) -> list[Seen]:
    with contextlib.ExitStack() as stack:
        teller = stack.enter_context(_Connection.to(here))
        probes = [stack.enter_context(_Connection.to(there)) for _ in range(_PROBES)]
        selector = stack.enter_context(selectors.SelectSelector())  # epoll sleeps whole milliseconds
        for probe in probes:
            selector.register(probe.socket, selectors.EVENT_READ, probe)
        first = int(time.time()) * 1000
        numbers = range(first, first + _FIRST + count)
        return [_log_out(teller, probes, selector, traffic.token(number)) for number in numbers][_FIRST:]


def _log_out(teller: _Connection, probes: list[_Connection], selector: selectors.BaseSelector, text: str) -> Seen:
    request = _request("GET", "/", text)
    for probe in probes[:2]:
        probe.expect(request, 200)
    teller.expect(_request("POST", "/auth/logout", text), 200)
    acknowledged = next_at = time.perf_counter()
    idle, sent_at = list(probes), dict[_Connection, float]()
    first_refusal, last_accepted = 0.0, acknowledged
    while not first_refusal or sent_at:
        now = time.perf_counter()
        if now - acknowledged > _PATIENCE_SECONDS:
            raise Void("propagation: a logged-out token was accepted for 5 s")
        if not first_refusal and idle and now >= next_at:
            probe = idle.pop()
            probe.socket.sendall(request)
            sent_at[probe], next_at = now, now + _EVERY_SECONDS
        # To sleep, rather than to look again at once: the store and the other worker want this processor, too.
        for key, _ in selector.select(max(0.0, next_at - time.perf_counter()) if not first_refusal and idle else 0.05):
            probe = key.data
            status, answered = probe.read(), time.perf_counter()
            sent, next_at = sent_at.pop(probe), answered
            idle.append(probe)
            if status == 401:
                first_refusal = first_refusal or answered
            elif status == 200:
                last_accepted = max(last_accepted, sent)
            else:
                raise Void(f"propagation: a request was answered {status}")
    return Seen(last_accepted - acknowledged, first_refusal - acknowledged)


def _request(method: str, path: str, text: str) -> bytes:
    fields = f"Host: app.example.com\r\nContent-Length: 0\r\nAuthorization: Bearer {text}"
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode()


class _Connection:
    """One kept-alive connection; an answer is read whole."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._left = b""

    @classmethod
    @contextlib.contextmanager
    def to(cls, server: Server) -> Iterator[_Connection]:
        with socket.create_connection(("127.0.0.1", server.port), timeout=_PATIENCE_SECONDS) as connected:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield cls(connected)

    def expect(self, request: bytes, status: int) -> None:
        self.socket.sendall(request)
        found = self.read()
        if found != status:
            raise Void(f"propagation: {request.split(b' HTTP')[0]!r} was answered {found}, not {status}")

    def read(self) -> int:
        """The status of the next answer."""
        while (end := self._left.find(b"\r\n\r\n")) < 0:
            self._more()
        head, status = self._left[:end].lower(), int(self._left[9:12])
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        while len(self._left) < end + 4 + length:
            self._more()
        self._left = self._left[end + 4 + length :]
        return status

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise Void("propagation: a worker closed a connection")
        self._left += data
