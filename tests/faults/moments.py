"""Kill -9 at random moments: what was answered 200 survives the end of everything in the path, 202 of this host.

Each moment: a process logs tokens out one after the other and reports each answer as soon as it has it; the store
is killed at one random time and the process at another. A fresh process of this host and one of another host then
try every token. Store and journal live on from moment to moment, so a replay is killed now and then, too.
"""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import jwt

from logout_middleware import BlockingLogout, LogoutSettings, wsgi
from tests import services

from .judge import RECOVERY_SECONDS
from .topology import COMMON, JWT_KEY

NAME = "kill -9 at random moments"
STORES = {"redis": services.redis, "postgresql": services.postgres, "sqlite": None}
_LONGEST_SECONDS = 0.08
# Forked from a process that has imported everything, so that a moment costs milliseconds.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.faults.moments"])


@dataclass
class Moments:
    """What came of some moments. `broken`: what was acknowledged and lived on."""

    moments: int = 0
    done: int = 0
    pending: int = 0
    broken: list[str] = field(default_factory=list)


# ---- in processes of their own -----------------------------------------------------------------------


@contextlib.contextmanager
def _application(settings: Mapping[str, Any]) -> Iterator[Any]:
    logging.disable(logging.CRITICAL)  # that the store is away is the point
    logout = BlockingLogout(LogoutSettings.load(environ={}, env_file=None, **settings))

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    try:
        yield wsgi.LogoutMiddleware(application, logout=logout)
    finally:
        logout.close()


def _status(application: Any, method: str, path: str, name: str) -> int:
    now = int(time.time())
    token = jwt.encode({"sub": name, "sid": name, "jti": name, "iat": now - 60, "exp": now + 86400}, JWT_KEY, "HS256")
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "", "SERVER_NAME": "x",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "wsgi.errors": io.StringIO(),
        "wsgi.input": io.BytesIO(b"{}"), "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "2",
        "HTTP_AUTHORIZATION": f"Bearer {token}", "REMOTE_ADDR": "127.0.0.1",
    }  # fmt: skip
    found = []
    b"".join(application(environ, lambda status, headers, exc_info=None: found.append(int(status[:3]))))
    return found[-1]


def _log_out_until_killed(settings: Mapping[str, Any], reports: Connection, moment: int) -> None:
    with _application(settings) as application:
        reports.send(("ready", 0))
        for number in range(1_000_000):
            name = f"m{moment}.{number}"
            reports.send((name, _status(application, "POST", "/auth/logout", name)))


def _try(settings: Mapping[str, Any], answers: Connection) -> None:
    with _application(settings) as application:
        while names := answers.recv():
            answers.send([_status(application, "GET", "/", name) for name in names])


class _Witness:
    """A fresh process that tries tokens."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._pipe, theirs = _processes.Pipe()
        self._process = _processes.Process(target=_try, args=(settings, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def refused(self, names: Sequence[str]) -> set[str]:
        """Which of these it refuses as logged out."""
        if not names:
            return set()
        self._pipe.send(names)
        return {name for name, status in zip(names, self._pipe.recv(), strict=True) if status == 401}

    def wait_until_refused(self, names: Sequence[str], seconds: float) -> set[str]:
        """The same, once it refuses all of them, or when the time is over."""
        deadline = time.monotonic() + seconds
        while len(refused := self.refused(names)) < len(names) and time.monotonic() < deadline:
            time.sleep(0.02)
        return refused

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(10)
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()


# ---- the moments -------------------------------------------------------------------------------------


def play(kind: str, moments: int, seed: int) -> Moments:
    """So many moments with this store. `services.Missing` if it is not installed."""
    chance, found = random.Random(f"{kind}{seed}"), Moments()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(services.folder())
        start = STORES[kind]
        store = stack.enter_context(start()) if start is not None else None
        url = store.url if store is not None else f"sqlite:///{folder / 'logout.db'}"
        common = {name.removeprefix("LOGOUT_").lower(): value for name, value in COMMON.items()}
        elsewhere = {**common, "store": url}
        here = {**elsewhere, "journal": str(folder / "journal.db")} if store is not None else elsewhere
        for moment in range(moments):
            _one(moment, store, here, elsewhere, chance, found)
    return found


def _one(
    moment: int,
    store: Any,
    here: Mapping[str, Any],
    elsewhere: Mapping[str, Any],
    chance: random.Random,
    found: Moments,
) -> None:
    reports, theirs = _processes.Pipe(duplex=False)
    victim = _processes.Process(target=_log_out_until_killed, args=(here, theirs, moment), daemon=True)
    victim.start()
    theirs.close()
    assert reports.recv() == ("ready", 0)
    kills = [(chance.uniform(0, _LONGEST_SECONDS), lambda: os.kill(victim.pid, signal.SIGKILL))]
    if store is not None:
        kills.append((chance.uniform(0, _LONGEST_SECONDS), store.kill))  # its other processes, too
    started = time.monotonic()
    for after, kill in sorted(kills, key=lambda pair: pair[0]):
        time.sleep(max(0.0, started + after - time.monotonic()))
        kill()
    answered = []
    with contextlib.suppress(EOFError):
        while True:
            answered.append(reports.recv())
    victim.join()
    victim.close()
    reports.close()
    done = [name for name, status in answered if status == 200]
    pending = [name for name, status in answered if status == 202]
    found.moments, found.done, found.pending = found.moments + 1, found.done + len(done), found.pending + len(pending)

    def must_be_refused(where: str, names: Sequence[str], refused: set[str]) -> None:
        found.broken += [
            f"{name} was acknowledged, and {where} does not refuse it" for name in names if name not in refused
        ]

    if store is not None:
        if moment % 4 == 0 and pending:
            witness = _Witness(here)
            must_be_refused("this host without the store", pending, witness.refused(pending))
            witness.end()
        store.start()
    witness, other = _Witness(here), _Witness(elsewhere)
    must_be_refused("this host", done + pending, witness.wait_until_refused(done + pending, 0.0))
    must_be_refused("another host", done, other.refused(done))
    must_be_refused("another host, later", pending, other.wait_until_refused(pending, RECOVERY_SECONDS))
    witness.end()
    other.end()


def main(moments: int, seed: int) -> list[str]:
    """All stores, a thousand moments in all by default; prints a table and returns what was broken."""
    print(f"| {NAME} | moments | answered 200 | answered 202 | lost |\n|---|---|---|---|---|")
    broken = []
    for kind, share in {"redis": 0.6, "sqlite": 0.3, "postgresql": 0.1}.items():
        found = play(kind, max(1, round(moments * share)), seed)
        print(f"| {kind} | {found.moments} | {found.done} | {found.pending} | {len(found.broken)} |", flush=True)
        broken += [f"kill -9 with {kind}: {what}" for what in found.broken[:3]]
    return broken
