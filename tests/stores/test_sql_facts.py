"""Facts in the SQL store: tables that are missing or forgot, servers that hang, writers that meet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from logout_middleware import StoreError
from logout_middleware.colour import run_blocking
from logout_middleware.rules.revocation import key_of
from logout_middleware.stores import PURGE_DELAY, Fact, StoreForgot
from logout_middleware.stores.sql import SqlStore
from logout_middleware.stores.sql_schema import schema_ddl, table_names
from logout_middleware.testing import MovableClock

from .. import services
from .test_sql import DEADLINE, Open, Server, _without_create, add, by_hand, execute, knows, opened, prefix, server, url

__all__ = ["opened", "prefix", "server", "url"]


def fact(name: object, what: object = "seen", *, at: float = 1.0, until: float = 2e9, text: str = "here") -> Fact:
    return Fact(key_of("test", None, str(name)), key_of("test", None, str(what)), at, until, text)


def known(store: SqlStore, *names: object) -> set[Fact]:
    return set(run_blocking(store.facts([fact(name).subject for name in names])))


def learn(store: SqlStore, *facts: Fact) -> None:
    run_blocking(store.learn(facts))


# ---- tables ----------------------------------------------------------------------------------------------


def test_the_printed_schema_is_enough_for_facts(url: str, opened: Open, prefix: str) -> None:
    """A user without the right to CREATE learns, knows and forgets."""
    for statement in schema_ddl(url, prefix).split(";\n"):
        if statement.strip():
            execute(url, statement)
    store = opened(_without_create(url))

    learn(store, fact("ann"))

    assert known(store, "ann") == {fact("ann")}
    assert run_blocking(store.purge()) == 0


def test_tables_that_were_made_before_there_were_facts_get_theirs(url: str, opened: Open, prefix: str) -> None:
    """By the first process that comes, without a new schema version."""
    add(opened(url), "one")
    execute(url, f"DROP TABLE {table_names(prefix).facts}")

    store = opened(url)

    assert knows(store, "one")
    learn(store, fact("ann"))
    assert known(store, "ann") == {fact("ann")}


@pytest.mark.parametrize("loss", ["emptied", "dropped", "restored", "another"])
def test_a_store_that_forgot_tells_no_facts(url: str, opened: Open, prefix: str, loss: str) -> None:
    """What it does not know any more may have been bound to the credential that is asked about."""
    store, other = opened(url), opened(url)
    names = table_names(prefix)
    learn(store, fact("ann"))
    add(store, "one", "two")
    assert known(other, "ann") == {fact("ann")}
    execute(url, *{
        "emptied": [f"DELETE FROM {names.state}"],
        "dropped": [f"DROP TABLE {names.facts}"],
        "restored": [f"UPDATE {names.state} SET seq = 1"],
        "another": [f"UPDATE {names.state} SET id = 'other'"],
    }[loss])  # fmt: skip

    for forgetful in (store, other):
        with pytest.raises(StoreForgot):
            known(forgetful, "ann")
        with pytest.raises(StoreForgot):
            learn(forgetful, fact("ann"))
    operator = opened(url)
    run_blocking(operator.adopt())
    learn(operator, fact("ben"))

    for forgetful in (store, other):
        assert known(forgetful, "ben") == {fact("ben")}


def test_facts_are_found_by_the_index(url: str, opened: Open, prefix: str) -> None:
    """However many there are of others."""
    store = opened(url)
    learn(store, *(fact(n) for n in range(2000)))
    facts, state = table_names(prefix).facts, table_names(prefix).state
    wanted = [f"{n:02x}" * 16 for n in range(3)]
    is_postgresql = url.startswith("postgresql")

    with store._connections.lease(time.monotonic() + 5) as connection, connection.cursor() as cursor:
        if is_postgresql:
            values = ", ".join(f"'\\x{value}'::bytea" for value in wanted)
            condition = f"f.subject = ANY(ARRAY[{values}])"
        else:
            values = ", ".join(f"x'{value}'" for value in wanted)
            condition = f"f.subject IN ({values})"
        cursor.execute(
            f"EXPLAIN SELECT s.id, f.text FROM {state} s LEFT JOIN {facts} f ON {condition} AND f.until > 1 "
            "WHERE s.one = 1"
        )
        plan = cursor.fetchall()

    if is_postgresql:
        text = "\n".join(row[0] for row in plan)
        assert "Seq Scan" not in text
        assert f"{facts}_pkey" in text
    else:
        assert ("f", "range", "PRIMARY") in {(row[2], row[3], row[5]) for row in plan}


# ---- forgetting ------------------------------------------------------------------------------------------


def _held(url: str, prefix: str) -> int:
    return int(execute(url, f"SELECT count(*) FROM {table_names(prefix).facts}")[0][0])


def test_a_purge_forgets_no_more_facts_than_it_was_told(url: str, opened: Open, prefix: str) -> None:
    """Nobody waits long for it, and what is live stays."""
    clock = MovableClock()
    learn(opened(url, clock=clock), *(fact(n, until=clock.now) for n in range(600)), fact("live"))
    clock.move(PURGE_DELAY + 3600)
    store = opened(url, clock=clock)

    left = []
    for _ in range(4):
        run_blocking(store.purge(250))
        left.append(_held(url, prefix))

    assert left == [351, 101, 1, 1]
    assert known(store, "live") == {fact("live")}


def test_learning_forgets_what_ended_on_the_way(url: str, opened: Open, prefix: str) -> None:
    """Nobody has to call `purge` for the table to stay small."""
    clock = MovableClock()
    learn(opened(url, clock=clock), *(fact(n, until=clock.now) for n in range(300)))
    clock.move(PURGE_DELAY + 3600)

    learn(opened(url, clock=clock), fact("new"))

    assert _held(url, prefix) == 1


# ---- many at once ----------------------------------------------------------------------------------------


def test_threads_that_learn_the_same_in_any_order_all_get_it_in(url: str, opened: Open) -> None:
    """While others purge, and log out; nobody is undone for the sake of another, and the latest of each is known."""
    clock = MovableClock()
    store = opened(url, clock=clock)
    learn(store, *(fact(n, until=clock.now - 2 * PURGE_DELAY) for n in range(200)))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            mine = opened(url, clock=clock)
            for turn in range(10):
                facts = [fact(n, at=float(turn), text=f"{number}") for n in range(40)]
                learn(mine, *(facts if number % 2 else reversed(facts)))
                add(mine, f"{number} {turn}")
                run_blocking(mine.purge(50))
        # Whatever a thread raises must reach the test, not the thread's own end.
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert {(each.at, each.text) for each in known(store, *range(40))} == {(9.0, "5")}
    assert len(known(store, *range(40))) == 40


def test_whoever_learns_does_not_wait_for_a_logout_under_way(url: str, opened: Open, prefix: str) -> None:
    """What is seen often must not queue behind the lock that orders the feed."""
    store = opened(url)
    add(store, "one")
    learn(store, fact("ann"))
    began = time.monotonic()

    with by_hand(url) as late:
        late.execute(f"UPDATE {table_names(prefix).state} SET seq = seq + 1")
        learn(store, fact("ann", at=2.0))

    assert time.monotonic() - began < 2.0
    assert known(store, "ann") == {fact("ann", at=2.0)}


# ---- servers that hang, die, or refuse -------------------------------------------------------------------


def test_a_server_that_hangs_costs_no_more_than_the_deadline(server: Server, opened: Open) -> None:
    """A question as long as a lookup, a note as long as a logout."""
    store = opened(server.url, deadline=DEADLINE)
    learn(store, fact("ann"))
    calls: list[tuple[float, Callable[[], object]]] = [
        (DEADLINE, lambda: known(store, "ann")), (DEADLINE, lambda: known(store, "ann")),
        (4 * DEADLINE, lambda: learn(store, fact("ben"))),
    ]  # fmt: skip

    server.pause()
    try:
        for allowed, call in calls:
            started = time.monotonic()
            with pytest.raises(StoreError):
                call()
            assert time.monotonic() - started < allowed + 0.05
    finally:
        server.resume()


def test_a_server_killed_and_started_again_has_lost_nothing(server: Server, opened: Open) -> None:
    """What was learned was durable; the first question after it is answered."""
    store = opened(server.url, deadline=2.0)
    learn(store, *(fact(n) for n in range(50)))

    server.kill()
    with pytest.raises(StoreError):
        known(store, 1)
    server.start()

    assert known(store, *range(50)) == {fact(n) for n in range(50)}


def test_a_replica_of_mariadb_tells_and_learns_nothing(opened: Open) -> None:
    """It says of itself that it is read-only, at each question."""
    with services.mariadb() as mariadb:
        store = opened(mariadb.url)
        learn(store, fact("ann"))

        mariadb.run("SET GLOBAL read_only = 1")

        with pytest.raises(StoreError, match="read-only"):
            known(store, "ann")
        with pytest.raises(StoreError, match="read-only"):
            learn(store, fact("ben"))
