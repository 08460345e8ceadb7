"""The replica in front of real servers that hang, die, forget and cut it off."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from logout_middleware import StoreError
from logout_middleware.colour import run_blocking
from logout_middleware.stores import StoreForgot
from logout_middleware.stores.breaker import Breaker
from logout_middleware.stores.redis import RedisStore
from logout_middleware.stores.replica import Replica
from tests import services
from tests.stores.test_replica import NOBODY, record, until

OpenReplica = Callable[..., Replica]


@pytest.fixture
def server() -> Iterator[services.Redis]:
    """A server of this test alone."""
    try:
        with services.redis() as started:
            yield started
    except services.Missing as missing:
        pytest.skip(str(missing))


def replica_on(url: str, *, bound: float = 60.0, blocking: bool = True) -> Replica:
    store = Breaker(RedisStore(url, blocking=blocking))
    return Replica(
        store, lambda: RedisStore(url, blocking=True), max_staleness=bound, run_blocking=run_blocking,
    )  # fmt: skip


@pytest.fixture
def replica(server: services.Redis) -> Iterator[OpenReplica]:
    opened: list[Replica] = []

    def open_one(*, bound: float = 60.0) -> Replica:
        one = replica_on(server.url, bound=bound)
        opened.append(one)
        ready(one)
        return one

    yield open_one
    for one in opened:
        run_blocking(one.close())


def ready(one: Replica) -> None:
    def proven() -> bool:
        try:
            run_blocking(one.find([NOBODY]))
        except StoreError:
            return False
        return one.version() is not None

    until(proven)


def knows(one: Replica, name: str) -> bool:
    return bool(run_blocking(one.find([record(name).key])))


def fate(one: Replica, name: str) -> Any:
    """True, False, or the kind of error."""
    try:
        return knows(one, name)
    except StoreError as error:
        return type(error)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_another_process_refuses_soon_without_asking_the_server_per_request(server: services.Redis) -> None:
    """The child hears of the logout from its feed; its requests cause no traffic."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            one = replica_on(server.url)
            ready(one)
            asked: list[Any] = []
            one.inner.inner.find = asked.append  # type: ignore[attr-defined]
            os.write(writer, b"r")
            until(lambda: knows(one, "ann"))
            os.write(writer, b"n" if asked else b"y")
            run_blocking(one.close())
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"r"
    here = replica_on(server.url)

    run_blocking(here.add([record("ann")]))
    said = os.read(reader, 1)

    os.waitpid(child, 0)
    os.close(reader)
    run_blocking(here.close())
    assert said == b"y"


def test_a_server_that_hangs_is_bridged_up_to_the_bound_and_no_further(
    server: services.Redis, replica: OpenReplica
) -> None:
    """From memory, then StoreError within the deadline; and answers again when it is back."""
    one = replica(bound=1.0)
    server.pause()
    paused = time.monotonic()
    fates: list[tuple[float, Any]] = []
    slowest = 0.0

    while (now := time.monotonic()) < paused + 2.0:
        fates.append((now - paused, fate(one, "ann")))
        slowest = max(slowest, time.monotonic() - now)
        time.sleep(0.01)
    server.resume()
    ready(one)

    assert all(answer is False for at, answer in fates if at < 0.5)
    assert all(answer is not False for at, answer in fates if at > 1.0)
    assert slowest < 0.25 + 0.25
    assert not knows(one, "ann")


def test_a_server_that_was_killed_and_is_back_is_used_again(server: services.Redis, replica: OpenReplica) -> None:
    """What was acknowledged before is known after."""
    one = replica(bound=0.3)
    run_blocking(one.add([record("ann")]))
    server.kill()
    until(lambda: fate(one, "ben") is StoreError)

    server.start()
    ready(one)

    assert knows(one, "ann")
    assert not knows(one, "ben")


def test_a_flushed_server_is_noticed_although_nobody_asks_it(server: services.Redis, replica: OpenReplica) -> None:
    """The bound is a minute, the alarm comes at once; after its adoption the copy serves again, and knows more."""
    one = replica(bound=60.0)
    run_blocking(one.add([record("ann")]))
    client = _client(server)

    client.flushall()
    until(lambda: fate(one, "ben") is StoreForgot)
    run_blocking(one.adopt())
    ready(one)

    client.close()
    assert not knows(one, "ben")
    assert knows(one, "ann")


def test_a_feed_that_is_cut_off_connects_anew(server: services.Redis, replica: OpenReplica) -> None:
    """An operator's CLIENT KILL, a proxy's time-out: what happened meanwhile is not missed."""
    one, other = replica(), replica()
    client = _client(server)

    for turn in range(5):
        client.client_kill_filter(_type="normal", skipme=True)
        until(lambda name=f"ann {turn}": _added(other, name))
        until(lambda name=f"ann {turn}": knows(one, name))

    client.close()
    assert one.version() is not None


def test_under_an_event_loop_answers_come_from_memory_and_confirmations_from_the_store(server: services.Redis) -> None:
    """The asyncio client beside the blocking feed; a stale replica awaits the store."""

    async def serve() -> tuple[bool, bool, bool]:
        one = replica_on(server.url, blocking=False)
        stale = bool(await one.find([NOBODY]))
        while one.version() is None:
            await asyncio.sleep(0.001)
        await one.add([record("ann")])
        answers = stale, bool(await one.find([record("ann").key])), bool(await one.find([NOBODY]))
        await one.close()
        return answers

    assert asyncio.run(serve()) == (False, True, False)


def _added(one: Replica, name: str) -> bool:
    try:
        run_blocking(one.add([record(name)]))
    except StoreError:
        return False
    return True


def _client(server: services.Redis) -> Any:
    import redis

    return redis.Redis.from_url(server.url)
