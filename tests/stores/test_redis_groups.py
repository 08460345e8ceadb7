"""Redis under Sentinels and as a Cluster: what a fail-over, a move and a hung node do to lookups and logouts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.crc import key_slot

from logout_middleware.colour import run_blocking
from logout_middleware.errors import StoreError
from logout_middleware.stores.redis import RedisStore

from .. import services
from .test_redis import SLACK, Open, Run, colour, key, open_store, revoked, run, takes

__all__ = ["colour", "open_store", "run"]
NAMES = range(200)
KEYS = [key(name) for name in NAMES]


def started(start: Callable[[], contextlib.AbstractContextManager[Any]]) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(start())
        except services.Missing as missing:
            pytest.skip(str(missing))


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[services.Cluster]:
    yield from started(services.cluster)


@pytest.fixture
def sentinels() -> Iterator[services.Sentinels]:
    """New ones: after a fail-over Sentinels take ten seconds to be as they were."""
    for group in started(services.sentinel):
        services.until(lambda: online_replicas(group.primary) == 2, "the replicas")  # noqa: B023 - it runs at once
        yield group


@pytest.fixture
def cluster(whole_cluster: services.Cluster) -> services.Cluster:
    """What an earlier test killed is back, and every replica confirms."""
    whole_cluster.start()
    whole_cluster.wait_until_whole()
    services.until(
        lambda: [online_replicas(node) for node in whole_cluster.nodes if node.is_primary] == [1, 1, 1], "the replicas"
    )
    return whole_cluster


def online_replicas(node: services.Redis) -> int:
    """How many replicas this node sends everything to."""
    return sum("online" in str(facts) for name, facts in node.call("INFO", "replication").items() if "slave" in name)


def wait_for_failover(cluster: services.Cluster, dead: services.Redis) -> None:
    """Return once no node sends anybody to the dead one."""
    alive = [node for node in cluster.nodes if node.running]

    def known(node: services.Redis) -> bool:
        ranges = node.call("CLUSTER", "SLOTS")
        return sum(last - first + 1 for first, last, *_ in ranges) == 16384 and dead.port not in [
            r[2][1] for r in ranges
        ]

    services.until(lambda: all(known(node) for node in alive), "the fail-over")
    cluster.wait_until_whole()


def filled(open_store: Open, run: Run, url: str, **options: Any) -> RedisStore:
    """A store that knows all of NAMES. A replica confirms nothing in the first second after it came."""
    run(open_store(url, **{**options, "deadline": 2.0}).add([revoked(name) for name in NAMES]))
    return open_store(url, **options)


def look_until_it_answers(run: Run, store: RedisStore, seconds: float) -> tuple[list[bytes], float]:
    """The keys found by the first lookup that is answered, and how long that took."""
    began = time.monotonic()
    while True:
        try:
            return [record.key for record in run(store.find(KEYS))], time.monotonic() - began
        except StoreError:
            assert time.monotonic() - began < seconds
            time.sleep(0.01)


# ---- Sentinel --------------------------------------------------------------------------------------------------------


def test_a_fail_over_loses_nothing_that_was_acknowledged(
    sentinels: services.Sentinels, open_store: Open, run: Run
) -> None:
    """The next lookup after the fail-over is answered, by the new master, and it knows every logout."""
    store = filled(open_store, run, sentinels.url, prefix="fail-over:", wait_for_replicas=2)
    run(store.find(KEYS))
    old = sentinels.primary

    old.kill()
    assert takes(run, store.find(KEYS)) < 0.25 + SLACK
    sentinels.wait_for_failover(old)

    assert {record.key for record in run(store.find(KEYS))} == set(KEYS)
    with pytest.raises(StoreError, match=r"1 replicas confirmed .* LOGOUT_REDIS_WAIT=2"):
        run(store.add([revoked("more")]))


def test_a_master_that_was_demoted_under_open_connections_is_left(
    sentinels: services.Sentinels, open_store: Open, run: Run
) -> None:
    """Every answer on the way is right or "cannot know"."""
    store = filled(open_store, run, sentinels.url, prefix="demoted:", wait_for_replicas=2, deadline=0.5)
    run(store.find(KEYS))
    old = sentinels.primary

    sentinels.sentinels[0].call("SENTINEL", "FAILOVER", services.SERVICE)
    answered = unknown = 0
    while sentinels.primary is old or answered < 20:
        try:
            assert len(run(store.find(KEYS))) == len(KEYS)
            answered += 1
        except StoreError:
            unknown += 1
            assert unknown < 2000
    services.until(lambda: goes_to(run, store) == sentinels.primary.port, "the store to follow", 3.0)

    assert len(run(store.find(KEYS))) == len(KEYS)


def test_one_sentinel_that_hangs_does_not_matter(sentinels: services.Sentinels, open_store: Open, run: Run) -> None:
    """The others name the master, within the deadline."""
    sentinels.sentinels[0].pause()
    try:
        store = open_store(sentinels.url, prefix="hung:")
        assert run(store.find(KEYS)) in ((), [])
        time.sleep(1.1)  # the next one asks the Sentinels again
        assert run(store.find(KEYS)) in ((), [])
    finally:
        sentinels.sentinels[0].resume()


def test_replicas_that_nobody_waits_for_are_unsafe(sentinels: services.Sentinels, open_store: Open, run: Run) -> None:
    """The operator is told what a fail-over would lose."""
    told = run(open_store(sentinels.url, prefix="check:").check())

    assert told["replication"].startswith("UNSAFE: 2 replicas")
    assert "LOGOUT_REDIS_WAIT=2" in told["replication"]


def goes_to(run: Run, store: RedisStore) -> int:
    """The port of the server that lookups go to."""
    run(store.find(KEYS))
    return int(run(store.nodes.route(time.monotonic() + 1.0))[0].port)


# ---- Cluster ---------------------------------------------------------------------------------------------------------


def test_a_node_that_dies_is_replaced(cluster: services.Cluster, open_store: Open, run: Run) -> None:
    """As soon as the Cluster has failed over, the next lookup is answered, and nothing acknowledged is lost."""
    store = filled(open_store, run, cluster.url, prefix="dies:", wait_for_replicas=1)
    run(store.find(KEYS))

    dead = cluster.primary
    dead.kill()
    assert takes(run, store.find(KEYS)) < 0.25 + SLACK
    wait_for_failover(cluster, dead)

    assert {record.key for record in run(store.find(KEYS))} == set(KEYS)


def test_a_node_that_hangs_is_no_matter_to_the_others(cluster: services.Cluster, open_store: Open, run: Run) -> None:
    """Only its partitions are "cannot know", within the deadline."""
    store = filled(open_store, run, cluster.url, prefix="hangs:")
    run(store.find(KEYS))

    cluster.pause()
    slow = takes(run, store.find(KEYS))
    answers = 0
    for name in NAMES[:8]:
        with contextlib.suppress(StoreError):
            assert list(run(store.find([key(name)]))) == [revoked(name)]
            answers += 1
    cluster.resume()

    assert slow < 0.25 + SLACK
    assert answers > 0
    found, seconds = look_until_it_answers(run, store, 5.0)
    assert set(found) == set(KEYS)
    assert seconds < 5.0


def test_a_slot_on_the_move_never_gives_a_wrong_answer(cluster: services.Cluster, open_store: Open, run: Run) -> None:
    """With its keys on two nodes a lookup is right or "cannot know"; when it has arrived, it is right again."""
    store = filled(open_store, run, cluster.url, prefix="moves:", deadline=1.0)
    run(store.find(KEYS))
    part = KEYS[0][0] & 15
    slot = key_slot(f"{{moves:{part}}}".encode())
    mine = [name for name in NAMES if key(name)[0] & 15 == part]
    masters = [node for node in cluster.nodes if node.is_primary]
    ids = {node: node.call("CLUSTER", "MYID") for node in masters}
    source = next(node for node in masters if node.call("CLUSTER", "COUNTKEYSINSLOT", slot))
    target = next(node for node in masters if node is not source)
    target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])

    unknown = 0
    names = source.call("CLUSTER", "GETKEYSINSLOT", slot, 10_000)
    for number, name in enumerate(sorted(names, key=lambda name: (number_of(name), name))):
        source.call("MIGRATE", target.host, target.port, name, 0, 5000)
        looked = mine[number % len(mine)]
        try:
            assert list(run(store.find([key(looked)]))) == [revoked(looked)]
        except StoreError:
            unknown += 1
    for node in (target, source, *(each for each in masters if each not in (target, source))):
        node.call("CLUSTER", "SETSLOT", slot, "NODE", ids[target])

    assert unknown > 0
    services.until(lambda: len(run(store.find([key(name) for name in mine]))) == len(mine), "the slot")
    run(store.add([revoked("after the move")]))


def number_of(name: str) -> int:
    """The state first: that the buckets are still elsewhere is the dangerous moment."""
    return 0 if name.endswith(":state") else 1


def test_every_node_of_a_cluster_is_looked_at(cluster: services.Cluster, open_store: Open, run: Run) -> None:
    """A replica that evicts will be a master one day."""
    replica = cluster.replicas[0]
    replica.call("CONFIG", "SET", "maxmemory", "100mb")
    replica.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    store = open_store(cluster.url, prefix="check:")

    told = run(store.check())
    replica.call("CONFIG", "SET", "maxmemory", "0")
    replica.call("CONFIG", "SET", "maxmemory-policy", "noeviction")

    assert told["servers"].count("master") == 3
    assert told["servers"].count("slave") == 3
    assert told["eviction"].startswith("UNSAFE: ")
    assert replica.address in told["eviction"]


def test_the_feed_of_a_cluster_goes_on_after_a_fail_over(cluster: services.Cluster) -> None:
    """Gap or not, a reader that begins again where told ends up with everything."""
    store = RedisStore(cluster.url, prefix="feed:", blocking=True, wait_for_replicas=1, deadline=2.0)
    run_blocking(store.add([revoked(name) for name in NAMES[:100]]))
    known: set[bytes] = set()
    cursor = None

    def read_all() -> bool:
        nonlocal cursor
        while True:
            page = run_blocking(store.changes(cursor))
            cursor = page.cursor
            known.update(record.key for record in page.revocations)
            if page.complete:
                return True

    read_all()
    dead = cluster.primary
    dead.kill()
    wait_for_failover(cluster, dead)
    services.until(read_all, "the feed")
    # A shard whose replica is the master now has nobody left to confirm; the others have.
    store.wait_for_replicas = 0
    run_blocking(store.add([revoked(name) for name in NAMES]))
    read_all()

    assert known == set(KEYS)
    run_blocking(store.close())


def test_sixty_four_tasks_share_a_cluster(cluster: services.Cluster) -> None:
    """Each gets its own answer, whichever node holds it."""

    async def main() -> None:
        store = RedisStore(cluster.url, prefix="tasks:", blocking=False, deadline=2.0)
        await store.add([revoked(name) for name in NAMES if name % 2])

        async def look(start: int) -> None:
            for name in (*NAMES[start:], *NAMES[:start]):
                assert len(await store.find([key(name), key("nobody")])) == name % 2

        await asyncio.gather(*(look(start) for start in range(64)))
        await store.close()

    asyncio.run(main())
