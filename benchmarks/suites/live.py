"""How long after an acknowledged logout is an open connection closed, and what does closing cost who logs out?

Four workers, and one process with all the clients. A user's connections are opened, and the user logs out everywhere by
the worker that holds the fewest of them; for each connection it is measured how long after the answer its client had
the close frame, or the end of the stream. That is below 0 where it was closed before the answer was read, so beside it
stands the time since the question. One connection, over and over, each of a user of its own; and a thousand of one
user, the clients' own time included: `clients busy` says how much of a processor they used.

*Revoker* is the CPU time of the thread that learns of a logout until it is free again, per connection that it ends, in
process. What the connections' own event loop then does for each of them is in the times above.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from tests import services
from tests.real_servers import live_clients as clients
from tests.real_servers.live_clients import Body, Connection, Crowd, Cut, Login, Socket

from logout_middleware.asgi import LogoutMiddleware

from .. import pair
from ..pair import Effort, Result, Table, Void

NAME = "live"
SQLITE, REDIS = "SQLite", "Redis"
SERVERS = {"uvicorn, websockets-sansio": "websockets", "uvicorn, wsproto": "wsproto"}
"""By server, the module that it needs."""
KINDS: dict[str, type[Connection]] = {"WebSocket": Socket, "event stream": Body}
MANY = 1000
_SESSIONS = 10
_AT_A_TIME = 50
"""So many users with one connection each are connected at the same time; they log out one after the other."""
_SETTLED_SECONDS = 0.3
_NEVER_SECONDS = 3600.0
_REVOKED = (1, MANY)

_names = (f"user{number}" for number in itertools.count())


def run(effort: Effort) -> Result:
    """Measure all servers and stores that can be had here."""
    result, lines = Result(NAME), []
    for server, module in SERVERS.items():
        if find_spec(module) is None:
            result.missing.append(f"{server}: {module} is not installed")
            continue
        for store in (SQLITE, REDIS) if server == next(iter(SERVERS)) else (SQLITE,):
            try:
                lines += _serve(server, store, effort, result)
            except services.Missing as missing:
                result.missing.append(f"{server}, {store}: {missing}")
            except AssertionError as wrong:
                raise Void(f"live: {server}, {store}: {wrong}") from wrong
    times = [f"{each} after the {what}, ms" for what in ("answer", "question") for each in _QUANTILES]
    head = ["server", "store", "connections", "logouts", *times, "answer ms", "clients busy"]
    result.tables.append(Table(head, lines))
    result.tables.append(_revoker(effort, result))
    return result


_QUANTILES = {"p50": 0.5, "p99": 0.99, "worst": 1.0}


@contextlib.contextmanager
def _store(name: str) -> Iterator[str]:
    if name == REDIS:
        with services.redis() as server:
            yield server.url
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/logout.db"


def _serve(server: str, store: str, effort: Effort, result: Result) -> list[list[str]]:
    async def measure() -> list[list[str]]:
        lines = []
        async with clients.crowd(ports, folder) as crowd:
            for named, kind in KINDS.items():
                for count in _REVOKED:
                    cuts = await (_one_each(crowd, kind, effort) if count == 1 else _all_of_one(crowd, kind, effort))
                    lines.append(_line(server, store, f"{count:,} {named}{'s' if count > 1 else ''}", cuts, result))
        return lines

    with _store(store) as url, clients.serving(server, url) as (ports, folder):
        found: list[list[str]] = clients.run(measure)
    return found


async def _one_each(crowd: Crowd, kind: type[Connection], effort: Effort) -> list[Cut]:
    """Many users with one connection each, who log out in turn."""
    cuts: list[Cut] = []
    while len(cuts) < effort.logouts:
        logins = [_login() for _ in range(min(_AT_A_TIME, effort.logouts - len(cuts)))]
        opened = await _open(crowd, kind, logins)
        cuts += [await _log_out(crowd, login, [each]) for login, each in zip(logins, opened, strict=True)]
    return cuts


async def _all_of_one(crowd: Crowd, kind: type[Connection], effort: Effort) -> list[Cut]:
    """One user with many connections, again and again."""
    cuts = []
    for _ in range(2 * effort.served_rounds):
        user = next(_names)
        logins = [_login(user) for _ in range(_SESSIONS)]
        opened = await _open(crowd, kind, logins * (MANY // _SESSIONS))
        cuts.append(await _log_out(crowd, logins[0], opened))
    return cuts


def _login(user: str = "") -> Login:
    user = user or next(_names)
    return clients.log_in(user, sid=next(_names))


async def _open(crowd: Crowd, kind: type[Connection], logins: Sequence[Login]) -> list[Connection]:
    """Idle connections that every worker has had time to look up."""
    opened = await crowd.open(kind, logins, every=_NEVER_SECONDS)
    if {each.status for each in opened} - {101, 200}:
        raise Void("live: a connection was refused")
    await asyncio.sleep(_SETTLED_SECONDS)
    return opened


async def _log_out(crowd: Crowd, login: Login, ending: Sequence[Connection]) -> Cut:
    here = min(crowd.workers, key=lambda worker: sum(each.worker == worker.pid for each in ending))
    cut = await clients.log_out(here, login, "global", ending)
    if any(each.after_the_end for each in ending):
        raise Void("live: a connection was sent something after its end")
    crowd.connections.clear()
    return cut


def _line(server: str, store: str, what: str, cuts: Sequence[Cut], result: Result) -> list[str]:
    """The quantiles of all connections; the estimate is the p99 of a logout, or of all logouts of one connection."""
    name = f"{server}, {store}: {what}"
    after, since = ([each for cut in cuts for each in getattr(cut, kept)] for kept in ("delays_ms", "since_asked_ms"))
    result.rounds[name] = {"ms after the answer": after, "ms after the question": since}
    single = len(after) == len(cuts)
    result.estimates[f"{name}: p99, ms"] = (
        pair.exactly(pair.quantile(after, 0.99)) if single else pair.estimate([cut.quantile(0.99) for cut in cuts])
    )
    cells = [f"{pair.quantile(times, share):.1f}" for times in (after, since) for share in _QUANTILES.values()]
    answered = pair.median([cut.acknowledged_ms for cut in cuts])
    busy = pair.median([cut.client_busy for cut in cuts])
    return [server, store, what, str(len(cuts)), *cells, f"{answered:.1f}", f"{busy:.0%}"]


# ---- who revokes ---------------------------------------------------------------------------------------


def _revoker(effort: Effort, result: Result) -> Table:
    lines = []
    for count in _REVOKED:
        spent = [asyncio.run(_revoke(count)) for _ in range(effort.rounds)]
        name = f"revoker, {count:,} WebSocket{'s' if count > 1 else ''}"
        each = pair.estimate([nanoseconds / count / 1e3 for nanoseconds in spent])
        result.rounds[name] = {"ns": [float(nanoseconds) for nanoseconds in spent]}
        result.estimates[f"{name}: CPU per connection, µs"] = each
        lines.append([f"{count:,}", f"{each.value:.2f} [{each.low:.2f}, {each.high:.2f}]"])
    return Table(["WebSockets of one user, in process", "revoker's CPU µs per connection [95 %]"], lines)


async def _revoke(count: int) -> int:
    """Nanoseconds of CPU until whoever learned of the logout of so many open sockets is free again."""
    closed: list[str] = []
    guarded = LogoutMiddleware(
        _wait_for_the_end, store="memory://", allow_unsafe_store=True, jwt_key=clients.KEY, jwt_algorithms="HS256",
        audit="off",
    )  # fmt: skip
    login = _login("one")
    scope = {
        "type": "websocket", "path": "/", "query_string": b"", "subprotocols": [], "extensions": {},
        "headers": [(b"authorization", b"Bearer " + login.token.encode())],
    }  # fmt: skip
    waiting = [asyncio.create_task(_connect(guarded, scope, closed)) for _ in range(count)]
    live = guarded.logout.live
    while len(live) < count:
        await asyncio.sleep(0)
    identity = (await guarded.logout.explain(login.token)).identity
    if identity is None:
        raise Void("live: the token of the benchmark is not believed")
    now = time.time()
    record = guarded.logout.logouts.cut_off(identity.user_key, before=now, reason="logout", now=now)
    started = time.thread_time_ns()
    cut = live.cut([record])
    spent = time.thread_time_ns() - started
    await asyncio.wait(waiting, timeout=clients.PATIENCE_SECONDS)
    await guarded.logout.close()
    if cut != count or closed.count("websocket.close") != count:
        raise Void(f"live: {closed.count('websocket.close')} of {count} sockets were closed in process")
    return spent


async def _connect(guarded: LogoutMiddleware, scope: dict[str, Any], closed: list[str]) -> None:
    gone = asyncio.Event()
    connecting: list[dict[str, Any]] = [{"type": "websocket.connect"}]

    async def receive() -> dict[str, Any]:
        if connecting:
            return connecting.pop()
        await gone.wait()
        return {"type": "websocket.disconnect", "code": clients.CLOSE_CODE}

    async def send(message: Any) -> None:
        closed.append(message["type"])
        if message["type"] == "websocket.close":
            gone.set()

    await guarded(dict(scope), receive, send)


async def _wait_for_the_end(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
