"""raw_http.jsonl: the bytes of real attacks, sent to real servers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import pytest

from . import corpus
from .servers.guarded import GOOD, REVOKED

COMMANDS = {
    "uvicorn-h11": ["uvicorn", "guarded:asgi_app", "--factory", "--lifespan", "off", "--http", "h11"],
    "uvicorn-httptools": ["uvicorn", "guarded:asgi_app", "--factory", "--lifespan", "off", "--http", "httptools"],
    "gunicorn-sync": ["gunicorn", "guarded:wsgi_app()", "--workers", "1"],
}
ANSWER_SECONDS = 20.0
"""Longer than any server here takes to start; no test waits for it unless something is wrong."""


@dataclass(frozen=True)
class Reply:
    """`status` None: the server closed the connection without an answer, which refuses as well."""

    status: int | None
    would_receive: bool = False
    user: str | None = None


@dataclass(frozen=True)
class Server:
    """A server that listens on this port."""

    port: int

    def send(self, raw: bytes) -> Reply:
        """Send these bytes, and read one answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS) as connection:
            # A server that hangs up early has said no already; what it said can still be read.
            with contextlib.suppress(ConnectionError):
                connection.sendall(raw)
            try:
                response = HTTPResponse(connection)
                response.begin()
                body = response.read()
            except (HTTPException, ConnectionError):
                return Reply(None)
        marks = response.headers.get_all("x-would-receive")
        user = json.loads(body).get("user") if marks and response.status == 200 else None
        return Reply(response.status, marks == ["yes"], user)


def start(name: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server on a socket that listens already, so that nobody has to wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        descriptor, port = listening.fileno(), listening.getsockname()[1]
        here = Path(__file__).parent / "servers"
        bind = ["--bind", f"fd://{descriptor}"] if name.startswith("gunicorn") else ["--fd", str(descriptor)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LOGOUT_")} | {
            "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]), "LOGOUT_STORE": f"sqlite:///{folder}/{name}.db",
            "LOGOUT_COOKIES": "access_token:opaque", "LOGOUT_REVOKED_COOKIE": "reject",
        }  # fmt: skip
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *COMMANDS[name], *bind], cwd=folder, pass_fds=[descriptor],
                env=environment,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
    return process, port


@pytest.fixture(scope="session", params=COMMANDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Each of the servers once, with {REVOKED} logged out."""
    process, port = start(request.param, tmp_path_factory.mktemp("servers"))
    try:
        running = Server(port)
        logout = (
            f"POST /auth/logout HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {REVOKED}\r\nContent-Length: 0\r\n\r\n"
        )
        assert running.send(logout.encode("ascii")).status == 200
        yield running
    finally:
        process.terminate()
        process.wait(ANSWER_SECONDS)


def bytes_of(case: corpus.Case) -> bytes:
    """The request of a case, with its tokens in place."""
    raw = b64decode(case["raw_b64"]) if "raw_b64" in case else case["raw_macro"].encode("latin-1")
    return raw.replace(b"{GOOD}", GOOD.encode("ascii")).replace(b"{REVOKED}", REVOKED.encode("ascii"))


@pytest.mark.parametrize("case", corpus.cases("raw_http"))
def test_a_request_that_carries_the_revoked_token_to_the_application_is_refused(
    case: corpus.Case, server: Server
) -> None:
    """By the server itself, or by the middleware; and its user is never served."""
    reply = server.send(bytes_of(case))

    assert reply.status is None or 200 <= reply.status < 500
    assert reply.user != "rita"
    if reply.would_receive:
        assert reply.status in (400, 401)


def test_the_servers_serve_who_is_logged_in(server: Server) -> None:
    """The tests above would pass with servers that refuse everything."""
    for field in (f"Authorization: Bearer {GOOD}", f"Cookie: access_token={GOOD}"):
        reply = server.send(f"GET /api/me HTTP/1.1\r\nHost: app.example.com\r\n{field}\r\n\r\n".encode("ascii"))

        assert (reply.status, reply.user) == (200, "alice")
