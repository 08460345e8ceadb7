"""`logout-middleware serve` as a process of its own, and one request to whatever listens on a port."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jwt
from examples.demo import HOST, free_port, stop

KEY = "the key of the tokens that proxies are asked about"
SETTINGS = {"LOGOUT_JWT_KEY": KEY, "LOGOUT_JWT_ALGORITHMS": "HS256", "LOGOUT_RATE_LIMIT": "off"}
READY_SECONDS = 20
_numbers = iter(range(1_000_000))


def mint(user: str = "ann", *, key: str = KEY, **claims: object) -> str:
    """A token of one hour, in a session of its own."""
    now, number = int(time.time()), next(_numbers)
    usual = {"sub": user, "sid": f"s{number}", "jti": f"j{number}", "iat": now, "exp": now + 3600}
    return jwt.encode(usual | claims, key, algorithm="HS256")


@dataclass(frozen=True)
class Answer:
    """What came back over a connection."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(
    port: int, method: str, path: str, *, token: str | None = None, headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Answer:  # fmt: skip
    """One request over a connection of its own; header fields are sent as they are spelled."""
    connection = http.client.HTTPConnection(HOST, port, timeout=READY_SECONDS)
    with contextlib.closing(connection):
        connection.putrequest(method, path)
        fields = [*headers, ("Connection", "close")]
        if token is not None:
            fields.append(("Authorization", f"Bearer {token}"))
        if body:
            fields.append(("Content-Length", str(len(body))))
        for name, value in fields:
            connection.putheader(name, value)
        connection.endheaders(body or None)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def answers(port: int, path: str) -> bool:
    """Does anything answer there, whatever it says?"""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(port, "GET", path).status > 0
    return False


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, *, ready: Callable[[], bool], env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The process, as soon as it is ready; stopped at the end. What it printed is in `folder`/log."""
    path = folder / "log"
    with path.open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            text=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            assert process.poll() is None, f"it ended with {process.returncode}:\n{path.read_text()}"
            assert time.monotonic() < deadline, f"it was not ready in time:\n{path.read_text()}"
            time.sleep(0.02)
        yield process
    finally:
        stop(process)


def serve_environment(**settings: str) -> dict[str, str]:
    """The variables of a service, and none of this process's LOGOUT_* ones."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("LOGOUT_")}
    return outer | SETTINGS | settings


def serve_command(port: int, *more: str) -> list[str]:
    """Starts the service there."""
    return [sys.executable, "-m", "logout_middleware", "serve", "--port", str(port), *more]


@contextlib.contextmanager
def serving(folder: Path, *more: str, **settings: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The port of a running service, and its process."""
    port, folder = free_port(), Path(folder)
    env = serve_environment(**({"LOGOUT_STORE": f"sqlite:///{folder}/logout.db"} | settings))
    with running(serve_command(port, *more), folder, ready=lambda: answers(port, "/healthz"), env=env) as process:
        yield port, process
