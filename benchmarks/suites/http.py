"""What does the guard cost a real server, beside what people use today?

Each group is one framework on one server: bare, behind the guard on several stores, and protected by its peers, all up
at once and loaded by wrk in turn, A B C A B C. One worker each, on a processor of its own where there are two, but for
SQLite's group, which has two workers. Before anything is timed, every application must accept a live token and answer
401 to a revoked one, ours also to a revoked session and user; one answer in the timed part that is not 2xx voids the
run. Throughput is compared within a round; CPU is that of the worker, read from /proc.

FastAPI Users and Simple JWT also load the row of the user, which is part of how they work.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests import services

from .. import pair, serving, traffic
from ..pair import Effort, Estimate, Result, Rounds, Table, Void
from ..report import interval
from ..serving import Requests, Served, Server, Used
from ..traffic import Gate
from .served import prepare

NAME = "http"
WITHIN = (0.93, 1.07)
REVOKED = 1000

BARE, AGAIN, NOTHING = "bare", "bare again", "no-op"
SQLITE, STRICT, REPLICA = "ours, SQLite", "ours, Redis, strict", "ours, Redis, replica 1 s"
_STORES = {SQLITE: "sqlite", STRICT: "redis", REPLICA: "redis"}


@dataclass(frozen=True, slots=True)
class Group:
    """One framework on one server. `ours`: which of our variants; `peers`: by case, the peer and its database."""

    name: str
    framework: str
    server: str
    ours: tuple[str, ...]
    peers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    nothing: str = ""
    workers: int = 1


AUTHENTICATION, BASE_HTTP = "AuthenticationMiddleware + PyJWT + Redis", "BaseHTTPMiddleware + PyJWT + Redis"
SAME_CACHE = "redis.asyncio with a verify cache"
GROUPS = (
    Group(
        "starlette", "starlette", "uvicorn", (STRICT, REPLICA),
        {
            AUTHENTICATION: ("starlette_authentication", ""), BASE_HTTP: ("starlette_base_http", ""),
            SAME_CACHE: ("redis_asyncio", ""),
        }, nothing="nothing",
    ),
    Group("starlette, 2 workers", "starlette", "uvicorn", (SQLITE,), workers=2),
    Group(
        "flask, gunicorn", "flask", "gunicorn", (SQLITE, STRICT, REPLICA),
        {
            "Flask-JWT-Extended + Redis": ("flask_jwt_extended", ""),
            "Authlib token table, SQLite": ("authlib_token_table", "sqlite"),
            "Authlib introspection": ("authlib_introspection", ""),
        },
    ),
    Group(
        "flask, granian", "flask", "granian", (STRICT, REPLICA),
        {"Flask-JWT-Extended + Redis": ("flask_jwt_extended", "")},
    ),
    Group(
        "fastapi", "fastapi", "uvicorn", (REPLICA,),
        {
            "FastAPI Users + Redis": ("fastapi_users_redis", "sqlite+aiosqlite"),
            "FastAPI Users, database": ("fastapi_users_database", "sqlite+aiosqlite"),
        },
    ),
    Group(
        "drf, gunicorn", "drf", "gunicorn", (REPLICA,),
        {
            "Simple JWT blacklist, SQLite": ("simplejwt_blacklist", "sqlite"),
            "Simple JWT blacklist, PostgreSQL": ("simplejwt_blacklist", "postgresql"),
        },
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Case:
    """One application of a group, what it is asked, and what it must answer before."""

    served: Served
    requests: Requests
    live: str
    revoked: str = ""
    ours: bool = False

    def pass_through(self, gate: Gate, server: Server) -> None:
        name = f"http, {self.served.name}"
        if self.ours:
            return gate.pass_through(name, server.status, guarded=True)
        for what, text, wanted in (("a live bearer", self.live, 200), ("a revoked bearer", self.revoked, 401)):
            if text:
                found = server.status(traffic.with_bearer(text))
                if found != wanted:
                    raise Void(f"the correctness gate: {name} answers {found} to {what}, not {wanted}")


class _Stage:
    """The folder, the stores and the requests of one run."""

    def __init__(self, folder: Path, effort: Effort, result: Result) -> None:
        self.folder, self.effort, self.result, self.gate = folder, effort, result, Gate.make()
        self.redis_url = self.postgres_url = ""
        self._ours: dict[str, dict[str, str]] = {}
        self.common = Requests.write(folder, "common", traffic.tokens(effort.tokens))

    @contextlib.contextmanager
    def stores(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            self.redis_url = stack.enter_context(services.redis()).url
            try:
                self.postgres_url = stack.enter_context(services.postgres()).url
            except services.Missing as missing:
                self.result.missing.append(f"peers on PostgreSQL: {missing}")
            yield

    def cases(self, group: Group) -> Iterator[_Case]:
        """All applications of a group that can be served here."""
        live = self.gate.live
        for name, app in ((BARE, group.framework), (AGAIN, group.framework), (NOTHING, group.nothing)):
            if app:
                yield _Case(self._served(group, name, app, {}), self.common, live)
        for name in group.ours:
            served = self._served(group, name, group.framework + "_guarded", self._settings(name))
            yield _Case(served, self.common, live, ours=True)
        for name, (peer, database) in group.peers.items():
            if database == "postgresql" and not self.postgres_url:
                continue
            yield self._peer(group, name, peer, database)

    def _served(self, group: Group, name: str, app: str, settings: Mapping[str, str]) -> Served:
        return Served(name, f"benchmarks.apps:{app}", group.server, group.workers, settings)

    def _settings(self, variant: str) -> dict[str, str]:
        """The guard's variables; the first time, its store learns what is dead."""
        kind = _STORES[variant]
        if kind not in self._ours:
            url = self.redis_url if kind == "redis" else f"sqlite:///{self.folder / 'logout.db'}"
            self._ours[kind] = prepare(url, self.gate, REVOKED)
        return self._ours[kind] | ({"LOGOUT_MAX_STALENESS": "1s"} if variant == REPLICA else {})

    def _peer(self, group: Group, name: str, peer: str, database: str) -> _Case:
        file = self.folder / f"{peer}.sqlite"
        url = self.postgres_url if database == "postgresql" else f"{database}:///{file}" if database else ""
        settings = {"PEER_REDIS": self.redis_url, "PEER_DATABASE": url}
        settings["PEER_ENDPOINT"] = os.environ.get("PEER_ENDPOINT", "")
        told = self._told(peer, name, settings)
        requests = Requests.write(self.folder, f"{peer}-{database}", told["tokens"])
        served = Served(name, f"benchmarks.peers.{peer}.app:checked", group.server, group.workers, settings)
        return _Case(served, requests, told["live"], told["revoked"])

    def _told(self, peer: str, name: str, settings: Mapping[str, str]) -> dict[str, list[str] | str]:
        """The tokens of a peer, which it makes once for all restarts."""
        kept = self.folder / f"{peer}-{name.replace(' ', '-')}.json"
        if not kept.exists():
            command = [sys.executable, "-m", "benchmarks.peers", peer, str(self.effort.tokens), str(REVOKED)]
            environment = {**os.environ, **settings, "PYTHONPATH": str(serving.ROOT)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Void(f"http, {name}: it could not be prepared: {done.stderr[-1500:]}")
            kept.write_text(done.stdout.strip().splitlines()[-1])
        return json.loads(kept.read_text())


def run(effort: Effort) -> Result:
    """Measure all groups, or say why that cannot be done here."""
    result = Result(NAME)
    result.skipped = _unfit()
    if result.skipped:
        return result
    groups = [group for group in GROUPS if effort.only in group.name]
    result.missing += [f"{group.name}: left out by --only" for group in GROUPS if group not in groups]
    found: dict[str, dict[str, list[Used]]] = {}
    with tempfile.TemporaryDirectory() as name, serving.apart() as own:
        stage = _Stage(Path(name), effort, result)
        with stage.stores(), _endpoint(stage.folder):
            for _ in range(effort.http_restarts):
                for group in groups:
                    _measure(group, stage, own, found.setdefault(group.name, {}))
    for group in groups:
        _report(group, found[group.name], result)
    _compare(result)
    return result


def _unfit() -> str:
    """What this machine lacks."""
    if not serving.has_proc():
        return "the CPU time of the workers is read from /proc, which this system does not have"
    if serving.wrk() is None:
        return "wrk is not here and could not be installed; on Debian: apt-get install wrk"
    try:
        services.binary("redis-server")
    except services.Missing as missing:
        return str(missing)
    for module in ("granian", "authlib", "rest_framework_simplejwt", "flask_sqlalchemy", "aiosqlite"):
        if importlib.util.find_spec(module) is None:
            return f"the peers are not installed ({module} is missing); run it with: make bench-http"
    return ""


@contextlib.contextmanager
def _endpoint(folder: Path) -> Iterator[None]:
    """The introspection endpoint that one peer asks; it shares a processor with the load."""
    each = Served("the introspection endpoint", "benchmarks.peers.authlib_introspection.app:endpoint")
    with serving.serving(each, folder) as server:
        os.environ["PEER_ENDPOINT"] = f"http://127.0.0.1:{server.port}/"
        try:
            yield
        finally:
            del os.environ["PEER_ENDPOINT"]


def _measure(group: Group, stage: _Stage, own: set[int], found: dict[str, list[Used]]) -> None:
    command = serving.generator()
    with contextlib.ExitStack() as stack:
        cpus = own if group.workers == 1 else None
        running = []
        for case in stage.cases(group):
            server = stack.enter_context(serving.serving(case.served, stage.folder, cpus))
            case.pass_through(stage.gate, server)
            serving.warm_up(command, server, case.requests)
            running.append((case, server))
        for _ in range(stage.effort.http_rounds):
            for case, server in running:
                used = serving.measured(command, server, case.requests, stage.effort.http_seconds)
                found.setdefault(case.served.name, []).append(used)


# ---- what it says --------------------------------------------------------------------------------------


def _report(group: Group, found: Mapping[str, list[Used]], result: Result) -> None:
    turns: Rounds = {name: [used.turn for used in each] for name, each in found.items()}
    cpu: Rounds = {name: [used.cpu for used in each] for name, each in found.items()}
    result.rounds[f"{group.name}: throughput"], result.rounds[f"{group.name}: CPU"] = turns, cpu
    pair.control(result, turns, of=group.name, bare=BARE, again=AGAIN, within=WITHIN)
    lines = []
    for name, each in found.items():
        share, added = pair.ratio(turns, BARE, name), pair.added(cpu, name, BARE)
        lines.append([
            group.name, name, f"{1e9 / pair.median(turns[name]):,.0f}", interval(share, "{:.3f}"),
            f"{pair.median(cpu[name]) / 1e3:.1f}", interval(added, "{:+.1f}"),
            *(f"{pair.median([getattr(used.load, what) for used in each]):.2f}" for what in ("p50_ms", "p99_ms")),
        ])  # fmt: skip
        result.estimates[f"{group.name}: {name} / bare"] = share
        result.estimates[f"{group.name}: {name}: worker CPU added per request, µs"] = added
    for name in group.ours:
        for other in group.peers:
            if other in turns:
                result.estimates[f"{group.name}: {name} / {other}"] = pair.ratio(turns, other, name)
    head = ["group", "case", "requests/s", "of bare [95 %]", "worker CPU µs", "added µs [95 %]", "p50 ms", "p99 ms"]
    result.tables.append(Table(head, lines))


def _compare(result: Result) -> None:
    """How many times the throughput of each peer, in one table."""
    lines = []
    for group in GROUPS:
        for other in group.peers:
            for name in group.ours:
                found: Estimate | None = result.estimates.get(f"{group.name}: {name} / {other}")
                if found is not None:
                    lines.append([group.name, name, other, interval(found, "{:.2f}")])
    result.tables.append(Table(["group", "ours", "peer", "times its throughput [95 %]"], lines))
