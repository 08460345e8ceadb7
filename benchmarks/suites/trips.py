"""What does a store take to answer, and to remember?

Every store, blocking and under an event loop: one `find` for all keys of a token of which nothing is revoked, one
`add`, and 64 `find` waiting at the same time. Beside them, redis-py's own EXISTS for as many keys: blocking, under
asyncio, and 64 waiting on a pool of connections. The servers run on another processor where there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from logout_middleware.colour import run_blocking
from logout_middleware.errors import StoreError
from logout_middleware.rules.revocation import FOREVER, KEY_BYTES, Revocation
from logout_middleware.stores import Store

from .. import backends, pair, serving
from ..pair import Case, Effort, Result, Rounds, Table, Void

NAME = "trips"
KEYS = 4
"""As many names a token of the benchmark can be revoked under: its own, its session, its user, its client."""
TOGETHER = 64
RECORDS = 1000
BLOCKING, ASYNC = "blocking", "asyncio"
FIND, ADD, MANY = "find", "add", f"{TOGETHER} finds"

Once = Callable[[], Awaitable[Any]]


def run(effort: Effort) -> Result:
    """Measure all stores that can be had here against each other."""
    result = Result(NAME)
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(serving.apart())
        servers = stack.enter_context(backends.running(list(backends.SERVERS), result))
        urls = {"memory": "memory://", "SQLite": stack.enter_context(backends.sqlite())}
        urls |= {name: server.url for name, server in servers.items()}
        runner = stack.enter_context(asyncio.Runner(loop_factory=_loop_factory()))
        serving.move_to(own)
        cases: list[Case] = []
        for name, url in urls.items():
            cases += stack.enter_context(_store_cases(name, url, runner))
        if "Redis" in servers:
            cases += stack.enter_context(_redis_py_cases(servers["Redis"].url, runner))
        try:
            wall, cpu = pair.measure_trips(cases, effort)
        except StoreError as error:
            raise Void(f"a store failed: {error}") from error
    result.rounds["wall"], result.rounds["CPU"] = wall, cpu
    _report([*urls, "redis-py EXISTS"], wall, cpu, result)
    return result


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop that uvicorn would take."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@contextlib.contextmanager
def _store_cases(name: str, url: str, runner: asyncio.Runner) -> Iterator[list[Case]]:
    blocking, waiting = backends.opened(url, blocking=True), backends.opened(url, blocking=False)
    backends.fill(blocking, RECORDS)
    asked = _keys()
    cases = [
        Case(_named(name, BLOCKING, FIND), ask_each(blocking)),
        Case(_named(name, BLOCKING, ADD), _each(lambda: run_blocking(blocking.add([_record()])))),
        *_waiting_cases(name, runner, lambda: waiting.find(next(asked))),
        Case(_named(name, ASYNC, ADD), _in_turn(runner, lambda: waiting.add([_record()]))),
    ]
    yield cases
    run_blocking(blocking.close())
    runner.run(_close(waiting))


@contextlib.contextmanager
def _redis_py_cases(url: str, runner: asyncio.Runner) -> Iterator[list[Case]]:
    import redis
    import redis.asyncio

    asked = _keys()
    with redis.Redis.from_url(url) as client:
        pool = redis.asyncio.ConnectionPool.from_url(url)
        waiting = redis.asyncio.Redis(connection_pool=pool)
        yield [
            Case(_named("redis-py EXISTS", BLOCKING, FIND), _each(lambda: client.exists(*next(asked)))),
            *_waiting_cases("redis-py EXISTS", runner, lambda: waiting.exists(*next(asked))),
        ]
        runner.run(pool.disconnect())


def _waiting_cases(name: str, runner: asyncio.Runner, once: Once) -> list[Case]:
    return [
        Case(_named(name, ASYNC, FIND), _in_turn(runner, once)),
        Case(_named(name, ASYNC, MANY), _together(runner, once)),
    ]


async def _close(store: Store) -> None:
    await store.close()


def _named(store: str, colour: str, what: str) -> str:
    return f"{store}, {colour}, {what}"


def _keys() -> Iterator[list[bytes]]:
    """The keys of one token after the other, without end."""
    several = [[secrets.token_bytes(KEY_BYTES) for _ in range(KEYS)] for _ in range(4096)]
    return itertools.cycle(several)


def _record() -> Revocation:
    return Revocation(secrets.token_bytes(KEY_BYTES), FOREVER, 4102444800.0, "logout")


def ask_each(store: Store) -> Callable[[int], None]:
    """Looks one token after the other up in a blocking store."""
    asked = _keys()
    return _each(lambda: run_blocking(store.find(next(asked))))


def _each(once: Callable[[], Any]) -> Callable[[int], None]:
    def turn(count: int) -> None:
        for _ in range(count):
            once()

    return turn


def _in_turn(runner: asyncio.Runner, once: Once) -> Callable[[int], None]:
    async def ask(count: int) -> None:
        for _ in range(count):
            await once()

    return lambda count: runner.run(ask(count))


def _together(runner: asyncio.Runner, once: Once) -> Callable[[int], None]:
    async def one(left: list[int]) -> None:
        while left[0] > 0:
            left[0] -= 1
            await once()

    async def ask(count: int) -> None:
        left = [count]
        tasks: list[Coroutine[Any, Any, None]] = [one(left) for _ in range(TOGETHER)]
        await asyncio.gather(*tasks)

    return lambda count: runner.run(ask(count))


_HEAD = (
    "store", "find wall µs", "find CPU µs", "add wall µs", "add CPU µs", f"{TOGETHER} finds: wall µs each",
    "CPU µs each", "finds/s",
)  # fmt: skip


def _report(names: list[str], wall: Rounds, cpu: Rounds, result: Result) -> None:
    lines = []
    for name in names:
        for colour in (BLOCKING, ASYNC):
            cells = [f"{name}, {colour}"]
            for what in (FIND, ADD, MANY):
                case = _named(name, colour, what)
                cells += [f"{pair.median(each[case]) / 1e3:.1f}" if case in each else "" for each in (wall, cpu)]
            many = _named(name, colour, MANY)
            cells.append(f"{1e9 / pair.median(wall[many]):,.0f}" if many in wall else "")
            lines.append(cells)
    result.tables.append(Table(_HEAD, lines))
    ours, theirs = _named("Redis", ASYNC, MANY), _named("redis-py EXISTS", ASYNC, MANY)
    if ours in wall:
        result.estimates[f"{TOGETHER} finds waiting: redis.asyncio / ours, wall"] = pair.ratio(wall, theirs, ours)
        result.estimates[f"{TOGETHER} finds waiting: redis.asyncio / ours, CPU"] = pair.ratio(cpu, theirs, ours)
