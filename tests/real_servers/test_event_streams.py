"""Pages that listen on real servers: told of a logout on any worker in under a second, and never in the way."""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .. import services
from ..serving import HOST, answers
from . import live_clients as clients
from .live_clients import Login, log_in

SERVERS = ["uvicorn, websockets-sansio", "hypercorn", "granian", "daphne", "gunicorn, asgi"]
STREAMS = 12
"""So many that all of four workers hold some."""
BOUND_SECONDS = 1.0
STOP_SECONDS = 8.0
PATIENCE_SECONDS = 20.0
TOLD = ["auth.logout", "auth.statusChange", "auth.sessionChange"]


@dataclass
class Listener:
    """A page that listens, in a thread of its own."""

    port: int
    login: Login
    kinds: list[str] = field(default_factory=list)
    status: int = 0
    ended_at: float | None = None
    _socket: socket.socket | None = None
    _began: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> Listener:
        """Connect; returns when the stream has begun."""
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._began.wait(PATIENCE_SECONDS), "the stream did not begin"
        return self

    def _listen(self) -> None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/auth/events", headers={"Authorization": f"Bearer {self.login.token}"})
        self._socket = connection.sock
        with contextlib.closing(connection), connection.getresponse() as response:
            self.status = response.status
            with contextlib.suppress(OSError, http.client.HTTPException):
                while line := response.readline():
                    self._began.set()
                    if line.startswith(b"event: "):
                        self.kinds.append(line[7:].strip().decode())
        self.ended_at = time.perf_counter()
        self._began.set()

    def join(self) -> None:
        """Return when the stream ended."""
        assert self._thread is not None
        self._thread.join(PATIENCE_SECONDS)
        assert self.ended_at is not None, f"the stream is still open; it said {self.kinds}"

    def close(self) -> None:
        """Leave."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join(PATIENCE_SECONDS)


def ask(port: int, method: str, path: str, login: Login, body: bytes = b"") -> http.client.HTTPResponse:
    """One request."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        fields = {"Authorization": f"Bearer {login.token}", "Content-Type": "application/json"}
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        response.read()
        return response


@contextlib.contextmanager
def listening(ports: list[int], logins: list[Login]) -> Iterator[list[Listener]]:
    """Pages of these logins, on whatever worker takes them."""
    pages = [Listener(ports[number % len(ports)], login).start() for number, login in enumerate(logins)]
    try:
        yield pages
    finally:
        for each in pages:
            each.close()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_logout_on_one_worker_reaches_the_pages_of_all_others(kind: str, tmp_path: Path) -> None:
    """In under a second after it was acknowledged, with the three events in their order; bob's pages stay."""
    with clients.serving(kind, f"sqlite:///{tmp_path / 'logout.db'}") as (found, folder):
        ports = list(found)
        for port in ports:
            services.until(lambda port=port: answers(port, "/who"), f"the workers on {port}")
        hers = [log_in("ann", sid=f"ann-{number}") for number in range(STREAMS)]
        with listening(ports, hers) as pages, listening(ports, [log_in("bob", sid="bob")] * 2) as his:
            assert {each.status for each in pages + his} == {200}

            response = ask(ports[0], "POST", "/auth/logout", hers[0], b'{"scope": "global"}')
            acknowledged = time.perf_counter()
            for each in pages:
                each.join()

            assert response.status == 200
            assert [each.kinds for each in pages] == [TOLD] * STREAMS
            late = max(each.ended_at or 0.0 for each in pages) - acknowledged
            print(f"{kind}: the last of {STREAMS} pages knew {late * 1000:.0f} ms after the answer")
            assert late < BOUND_SECONDS
            assert [each.ended_at for each in his] == [None, None]
        log = clients.logs(folder)
    assert "Traceback" not in log, log[:4000]


# gunicorn waits its graceful_timeout of 30 s and granian until the stream ends, after a minute at the latest.
@pytest.mark.parametrize("kind", ["uvicorn, websockets-sansio", "uvicorn, wsproto", "hypercorn", "daphne"])
def test_a_server_stops_though_pages_listen(kind: str, tmp_path: Path) -> None:
    """Ctrl+C, a reload or a deployment does not wait for pages that are left open for hours."""
    port = services.free_port()
    command = [sys.executable, "-m", *(part.format(port=port) for part in clients.SERVERS[kind])]
    env = clients.environment(f"sqlite:///{tmp_path / 'logout.db'}")
    process = services.Process(command, tmp_path, lambda: answers(port, "/who"), env=env)
    with contextlib.ExitStack() as stack:
        stack.callback(process.end)
        process.start()
        pages = stack.enter_context(listening([port], [log_in("ann", sid="a")] * 3))

        began = time.monotonic()
        process.stop()
        took = time.monotonic() - began

        for each in pages:
            each.join()
        print(f"{kind}: stopped in {took:.1f} s")
        assert took < STOP_SECONDS
        assert [kind for each in pages for kind in each.kinds] == [], "nobody was logged out"
