"""Facts in Redis: what stays, what goes by itself, and what a server that hangs, forgets or fails over says."""

from __future__ import annotations

from typing import Any

import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.errors import StoreError
from logout_middleware.rules.revocation import FOREVER
from logout_middleware.stores import PURGE_DELAY, Fact, StoreForgot
from logout_middleware.stores.redis import RedisStore
from logout_middleware.testing import MovableClock

from .. import services
from .test_redis import SLACK, Open, Run, colour, key, open_store, prefix, revoked, run, server, store, takes
from .test_redis_groups import sentinels

__all__ = ["colour", "open_store", "prefix", "run", "sentinels", "server", "store"]


def fact(name: object, what: object = "seen", *, at: float = 1.0, until: float = 4e9, text: str = "here") -> Fact:
    return Fact(key(name), key(what), at, until, text)


def known(run: Run, store: RedisStore, *names: object) -> set[Fact]:
    return set(run(store.facts([key(name) for name in names])))


def facts_key(prefix: str, name: object) -> str:
    """The name of the hash, as redis_scripts.py describes it."""
    return f"{{{prefix}{key(name)[0] & 15}}}:f:{key(name).hex()}"


# ---- what goes by itself ---------------------------------------------------------------------------------------------


def test_a_subject_is_kept_a_day_longer_than_its_last_fact(redis_server: services.Redis, prefix: str) -> None:
    """By the clock of whoever learned it; a shorter fact later does not shorten that, a longer one lengthens it."""
    clock = MovableClock()
    store = RedisStore(redis_server.url, prefix=prefix, blocking=True, deadline=2.0, clock=clock)
    kept = []

    for lasts in (100.0, 50.0, 200.0, -3 * PURGE_DELAY):
        run_blocking(store.learn([fact("ann", lasts, until=clock.now + lasts)]))
        kept.append(redis_server.call("PTTL", facts_key(prefix, "ann")) / 1000 - PURGE_DELAY)
    run_blocking(store.learn([fact("ben", until=FOREVER)]))
    for_ever = redis_server.call("PTTL", facts_key(prefix, "ben"))
    run_blocking(store.learn([fact("gone", until=clock.now - 3 * PURGE_DELAY)]))
    services.until(lambda: not redis_server.call("EXISTS", facts_key(prefix, "gone")), "its end")

    assert kept == [pytest.approx(100.0, abs=5), pytest.approx(100.0, abs=5), pytest.approx(200.0, abs=5),
                    pytest.approx(200.0, abs=5)]  # fmt: skip
    assert for_ever > 1e14
    run_blocking(store.close())


def test_a_subject_that_lives_on_does_not_grow_without_end(redis_server: services.Redis, prefix: str) -> None:
    """A user who logs in every hour for years has as many sessions as live, and few more."""
    clock = MovableClock()
    store = RedisStore(redis_server.url, prefix=prefix, blocking=True, deadline=2.0, clock=clock)
    sizes = []

    for hour in range(600):
        run_blocking(store.learn([fact("ann", hour, until=clock.now + 50 * 3600)]))
        sizes.append(redis_server.call("HLEN", facts_key(prefix, "ann")))
        clock.move(3600.0)

    # 50 hours each, and the day for which what ended is kept.
    assert max(sizes) <= 50 + 24 + 32
    assert len(run_blocking(store.facts([key("ann")]))) == 49
    run_blocking(store.close())


# ---- round trips -----------------------------------------------------------------------------------------------------


def scripts_run(server: services.Redis) -> int:
    stats = server.call("INFO", "commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("evalsha", "eval"))


def test_many_subjects_are_one_question(server: services.Redis, open_store: Open, run: Run) -> None:
    """Of all partitions together, on one server."""
    store = open_store(server.url, deadline=2.0)
    run(store.learn([fact(n) for n in range(500)]))
    run(store.facts([key(1)]))
    before = scripts_run(server)

    found = known(run, store, *range(500))

    assert found == {fact(n) for n in range(500)}
    assert scripts_run(server) - before == 1


# ---- the server hangs, dies, or may not answer -----------------------------------------------------------------------


def test_a_server_that_hangs_costs_no_more_than_the_deadline(
    server: services.Redis, open_store: Open, run: Run
) -> None:
    """A question as long as a lookup, a note as long as a logout."""
    store = open_store(server.url)
    run(store.learn([fact("ann")]))

    server.pause()
    asking = takes(run, store.facts([key("ann")]))
    learning = takes(run, store.learn([fact("ben")]))
    server.resume()

    assert asking < 0.25 + SLACK
    assert learning < 1.0 + SLACK
    assert known(run, store, "ann") == {fact("ann")}


def test_what_was_learned_survives_the_server(server: services.Redis, open_store: Open, run: Run) -> None:
    """It is in the log of the server before it is acknowledged."""
    store = open_store(server.url)
    run(store.learn([fact(n) for n in range(50)]))

    server.kill()
    with pytest.raises(StoreError):
        known(run, store, 1)
    server.start()

    assert known(run, store, *range(50)) == {fact(n) for n in range(50)}


def test_a_replica_does_not_tell_facts_as_if_it_were_the_master(
    server: services.Redis, open_store: Open, run: Run
) -> None:
    """Its copy may be old, so it is "cannot know"."""
    store = open_store(server.url)
    run(store.learn([fact("ann")]))
    server.call("REPLICAOF", services.HOST, services.free_port())

    for call in (store.facts([key("ann")]), store.learn([fact("ann")])):
        with pytest.raises(StoreError, match="master"):
            run(call)


def test_too_few_confirmations_are_no_acknowledgement(server: services.Redis, open_store: Open, run: Run) -> None:
    """Nor when it is learned again, and changes nothing."""
    store = open_store(server.url, wait_for_replicas=2)

    for _ in range(2):
        with pytest.raises(StoreError, match=r"0 replicas confirmed .* LOGOUT_REDIS_WAIT=2"):
            run(store.learn([fact("ann")]))


def test_a_fail_over_loses_no_fact(sentinels: services.Sentinels, open_store: Open, run: Run) -> None:
    """Where replicas confirm, the new master knows all that was acknowledged."""
    options: dict[str, Any] = {"prefix": "facts:", "wait_for_replicas": 2}
    run(open_store(sentinels.url, **options, deadline=2.0).learn([fact(n) for n in range(200)]))
    store = open_store(sentinels.url, **options)
    assert len(known(run, store, *range(200))) == 200
    old = sentinels.primary

    old.kill()
    sentinels.wait_for_failover(old)

    assert known(run, store, *range(200)) == {fact(n) for n in range(200)}


# ---- the server forgets ----------------------------------------------------------------------------------------------


def test_an_emptied_store_tells_no_facts_until_it_is_adopted(
    server: services.Redis, open_store: Open, run: Run
) -> None:
    """What it does not know any more may have been bound to the credential that is asked about."""
    store, other = open_store(server.url), open_store(server.url)
    run(store.learn([fact("ann")]))
    assert known(run, other, "ann") == {fact("ann")}

    server.call("FLUSHALL")

    for forgetful in (store, other):
        for call in (forgetful.facts([key("ann")]), forgetful.learn([fact("ann")])):
            with pytest.raises(StoreForgot, match="adopt-store"):
                run(call)
    assert not server.call("EXISTS", facts_key("logout:", "ann"))
    run(store.adopt())
    run(store.learn([fact("ben")]))
    assert known(run, other, "ann", "ben") == {fact("ben")}


def test_a_server_with_an_old_copy_tells_no_facts(server: services.Redis, open_store: Open, run: Run) -> None:
    """Whoever remembers more changes notices, and then all do, however little they had seen."""
    store, other = open_store(server.url), open_store(server.url)
    state = f"{{logout:{key('ann')[0] & 15}}}:state"
    run(store.add([revoked("ann")]))
    run(store.learn([fact("ann")]))
    known(run, other, "ann")
    run(store.add([revoked("ann", "zzz")]))

    server.call("HSET", state, "seq", "1", "sure", "1")

    with pytest.raises(StoreForgot, match="changes that it had acknowledged"):
        known(run, store, "ann")
    with pytest.raises(StoreForgot):
        known(run, other, "ann")
