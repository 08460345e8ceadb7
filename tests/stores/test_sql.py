"""The SQL store where it is hardest: late commits, servers that hang, die, or come back with an old copy."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from logout_middleware import ConfigurationError, StoreError
from logout_middleware.colour import run_blocking
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of, merge
from logout_middleware.stores import PURGE_DELAY, Changes, FeedGap, Outcome, StoreForgot, sql
from logout_middleware.stores.sql import SqlStore
from logout_middleware.stores.sql_schema import parse_sql_url, schema_ddl, table_names
from logout_middleware.testing import MovableClock

from .. import services

DEADLINE = 0.25
Server = services.Postgres | services.MariaDb


def key(name: str) -> bytes:
    return key_of("test", None, name)


def record(name: str) -> Revocation:
    return Revocation(key(name), FOREVER, 2e9, "logout")


def knows(store: SqlStore, name: str) -> bool:
    return bool(run_blocking(store.find([key(name)])))


def add(store: SqlStore, *names: str) -> Outcome:
    return run_blocking(store.add([record(name) for name in names]))


def names_of(changes: Changes, *names: str) -> set[str]:
    found = {revocation.key for revocation in changes.revocations}
    return {name for name in names if key(name) in found}


@contextlib.contextmanager
def by_hand(url: str) -> Iterator[Any]:
    """A cursor of the driver's own, in a transaction."""
    address = make_url(url)
    name = {"user": address.username, "host": address.host, "port": address.port}
    connection: Any = (
        psycopg.connect(**name, dbname=address.database)
        if address.drivername.startswith("postgresql")
        else pymysql.connect(**name, database=address.database, sql_mode="ANSI_QUOTES")
    )
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield cursor
        connection.rollback()


def execute(url: str, *statements: str) -> list[Any]:
    with by_hand(url) as cursor:
        for statement in statements:
            cursor.execute(statement)
        rows = list(cursor.fetchall()) if cursor.description else []
        cursor.connection.commit()
        return rows


@pytest.fixture(params=["postgres", "mariadb"])
def url(request: pytest.FixtureRequest) -> str:
    """The address of a server that all tests share."""
    return str(request.getfixturevalue(f"{request.param}_server").url)


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of this test's own, to be treated badly."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(getattr(services, request.param)())
        except services.Missing as missing:
            pytest.skip(str(missing))


@pytest.fixture
def prefix() -> str:
    """A name that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}:"


@pytest.fixture
def opened(prefix: str) -> Iterator[Callable[..., SqlStore]]:
    """Opens stores, and closes them."""
    stores: list[SqlStore] = []

    def open_one(url: str, **given: Any) -> SqlStore:
        stores.append(SqlStore(url, **{"prefix": prefix, "deadline": 5.0, **given}))
        return stores[-1]

    yield open_one
    for store in stores:
        run_blocking(store.close())


Open = Callable[..., SqlStore]


# ---- records ---------------------------------------------------------------------------------------------

_TIMES = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([FOREVER, 0.0, -0.0, 1.5]))
_RECORDS = st.builds(
    Revocation, st.just(key("merged")), _TIMES, _TIMES, st.text(max_size=8),
    st.sampled_from([frozenset(), frozenset({key("kept")}), frozenset({key("kept"), key("too")})]),
)  # fmt: skip


def test_the_server_merges_as_the_rule_does(url: str, opened: Open) -> None:
    """Any times and any reasons, in any order, one by one or together: the same records as in memory."""
    store = opened(url, clock=MovableClock(-sys.float_info.max))  # nothing has ended yet

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.lists(_RECORDS, min_size=1, max_size=3), min_size=1, max_size=3))
    def merges(batches: list[list[Revocation]]) -> None:
        mine = key_of("mine", None, uuid.uuid4().bytes)
        expected: dict[frozenset[bytes], Revocation] = {}
        for batch in batches:
            records = [Revocation(mine, one.before, one.until, one.reason, one.keep) for one in batch]
            run_blocking(store.add(records))
            for one in records:
                expected[one.keep] = merge(expected[one.keep], one) if one.keep in expected else one
        assert {one.keep: one for one in run_blocking(store.find([mine]))} == expected

    merges()


def test_times_that_are_no_numbers_are_refused(url: str, opened: Open) -> None:
    """Not every server holds infinity; the refusal says so, before anything is stored."""
    with pytest.raises(StoreError, match="finite"):
        run_blocking(opened(url).add([Revocation(key("one"), float("inf"), 2e9)]))


def test_adding_purges_what_ended_on_the_way(url: str, opened: Open) -> None:
    """Nobody has to call `purge` for the tables to stay small."""
    clock = MovableClock()
    store = opened(url, clock=clock)
    run_blocking(store.add([Revocation(key("old"), FOREVER, clock.now, "old")]))
    clock.move(PURGE_DELAY + 3600)
    later = opened(url, clock=clock)

    run_blocking(later.add([Revocation(key("new"), FOREVER, clock.now + 60, "new")]))

    assert run_blocking(later.count()) == 1


def test_a_purge_takes_no_more_than_it_was_told(url: str, opened: Open) -> None:
    """Nobody waits long for it."""
    clock = MovableClock()
    store = opened(url, clock=clock)
    run_blocking(store.add([Revocation(key(str(n)), FOREVER, clock.now, "old") for n in range(25)]))
    clock.move(PURGE_DELAY + 3600)

    assert [run_blocking(store.purge(10)) for _ in range(4)] == [10, 10, 5, 0]


def test_a_lookup_reads_by_the_index(url: str, opened: Open, prefix: str) -> None:
    """Even where the statistics know nothing of the table yet."""
    store = opened(url)
    add(store, "one")
    names = table_names(prefix)

    with store._connections.lease(time.monotonic() + 5) as connection:
        if url.startswith("postgresql"):
            statement = store._server._find.decode().replace("$1", "ARRAY['\\x00','\\x01']")
            plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {statement}").fetchall())
            assert "Seq Scan" not in plan
            assert f"{names.revocations}_pkey" in plan
        else:
            run_blocking(store.add([record(str(n)) for n in range(300)]))
            wanted = f"x'{'00' * 16}', x'{'01' * 16}', x'{'02' * 16}'"
            with connection.cursor() as cursor:
                cursor.execute(
                    f'EXPLAIN {store._server._selected} {names.revocations} r ON r."key" IN ({wanted}) WHERE s.one = 1'
                )
                plan = cursor.fetchall()
            assert {(row[2], row[3], row[5]) for row in plan} == {("s", "const", "PRIMARY"), ("r", "range", "PRIMARY")}


# ---- the feed --------------------------------------------------------------------------------------------


def test_the_feed_never_skips_what_commits_late(url: str, opened: Open, prefix: str) -> None:
    """Whoever took an earlier number and commits later holds up the later numbers, not the reader."""
    store, feed = opened(url), opened(url)
    names = table_names(prefix)
    add(store, "first")
    cursor = run_blocking(feed.changes(None)).cursor
    later = threading.Thread(target=lambda: add(store, "later"))

    with by_hand(url) as late:
        late.execute(f"UPDATE {names.state} SET seq = seq + 1")
        late.execute(
            f'INSERT INTO {names.revocations} ("key", kept, keep, "before", until, reason, seq) '
            f"SELECT %s, %s, %s, 1, 2000000000, %s, seq FROM {names.state}",
            (key("late"), b"", b"", b""),
        )
        later.start()
        meanwhile = run_blocking(feed.changes(cursor, 0.2))
        blocked = later.is_alive()
        late.connection.commit()
    later.join()
    after = run_blocking(feed.changes(meanwhile.cursor))

    assert blocked
    assert (list(meanwhile.revocations), meanwhile.complete) == ([], True)
    assert names_of(after, "late", "later") == {"late", "later"}
    assert after.complete


def test_what_is_added_while_all_is_read_is_not_missed(url: str, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of the snapshot, with an addition before each: everything came, and only the last page is complete."""
    monkeypatch.setattr(sql, "_PAGE", 10)
    store, feed = opened(url), opened(url)
    before = [f"before {n}" for n in range(35)]
    add(store, *before)
    found: set[bytes] = set()
    cursor, pages = None, []

    while not pages or not pages[-1].complete:
        pages.append(run_blocking(feed.changes(cursor)))
        cursor = pages[-1].cursor
        found |= {one.key for one in pages[-1].revocations}
        if len(pages) <= 4:
            add(store, f"during {len(pages)}", "before 0")

    assert found == {key(name) for name in [*before, *(f"during {n}" for n in range(1, 5))]}
    assert len(pages) >= 5
    assert all(len(page.revocations) <= 10 for page in pages)


def test_a_reader_is_woken_within_milliseconds(url: str, opened: Open) -> None:
    """By a notification, or by asking often; not by the end of its patience."""
    store, feed = opened(url), opened(url)
    add(store, "first")
    cursor = run_blocking(feed.changes(None)).cursor
    seen: list[float] = []

    for turn in range(5):
        reader = threading.Thread(target=lambda at=cursor: seen.append(_wait_for_one(feed, at)))
        reader.start()
        time.sleep(0.05)  # the reader is waiting by now, or the test is easier
        started = time.monotonic()
        add(store, f"news {turn}")
        reader.join()
        seen[-1] -= started
        cursor = run_blocking(feed.changes(cursor)).cursor

    assert sorted(seen)[2] < 0.25, seen


def _wait_for_one(feed: SqlStore, cursor: Any) -> float:
    assert run_blocking(feed.changes(cursor, 30.0)).revocations
    return time.monotonic()


def test_a_feed_whose_connection_was_cut_says_so_and_misses_nothing(
    postgres_server: services.Postgres, opened: Open
) -> None:
    """Silence is never taken for "nothing new"."""
    store, feed = opened(postgres_server.url), opened(postgres_server.url)
    add(store, "first")
    cursor = run_blocking(feed.changes(None)).cursor
    listener = feed._connections._feed.connection().info.backend_pid

    postgres_server.run(f"SELECT pg_terminate_backend({listener})")
    add(store, "second")
    with pytest.raises(StoreError):
        run_blocking(feed.changes(cursor, 5.0))

    assert names_of(run_blocking(feed.changes(cursor)), "first", "second") == {"second"}


def test_closing_ends_a_wait_for_news(url: str, opened: Open) -> None:
    """A worker that shuts down does not wait for its feed."""
    store = opened(url)
    add(store, "first")
    cursor = run_blocking(store.changes(None)).cursor
    raised: list[Exception] = []

    def read() -> None:
        try:
            run_blocking(store.changes(cursor, 30.0))
        except StoreError as error:
            raised.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.05)  # the reader is waiting by now, or the test is easier
    run_blocking(store.close())
    reader.join(5.0)

    assert not reader.is_alive()
    assert "is closed" in str(raised[0])


# ---- servers that hang, die, or refuse -------------------------------------------------------------------


def test_a_server_that_hangs_costs_no_more_than_the_deadline(server: Server, opened: Open) -> None:
    """On an open connection, on a new one, and for writes; it is used again as soon as it answers."""
    store, fresh = opened(server.url, deadline=DEADLINE), opened(server.url, deadline=DEADLINE)
    add(store, "one")
    run_blocking(store.changes(None))
    calls = [
        (DEADLINE, lambda: knows(store, "one")), (DEADLINE, lambda: knows(store, "one")),
        (DEADLINE, lambda: knows(fresh, "one")), (4 * DEADLINE, lambda: add(store, "two")),
        (4 * DEADLINE, lambda: run_blocking(store.changes(None))),
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

    services.until(lambda: _answers(store, "one"), "the server", 5.0)
    assert _answers(fresh, "one")


def _answers(store: SqlStore, name: str) -> bool:
    try:
        return knows(store, name)
    except StoreError:
        return False


def test_a_server_killed_and_started_again_is_asked_at_once(server: Server, opened: Open) -> None:
    """The first question after it is answered, though every open connection is dead; nothing acknowledged is lost."""
    store = opened(server.url, deadline=2.0)
    add(store, "one")
    threads = [threading.Thread(target=lambda: knows(store, "one")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    server.kill()
    with pytest.raises(StoreError) as away:
        knows(store, "one")
    server.start()

    assert server.url.rpartition("@")[2] in str(away.value)
    assert knows(store, "one")
    assert add(store, "two") is Outcome.DONE
    assert knows(store, "two")


def test_many_threads_wait_no_longer_than_the_deadline_for_a_connection(
    postgres_server: services.Postgres, opened: Open, prefix: str
) -> None:
    """All connections are held up by a lock; whoever finds none free is told so in time."""
    store = opened(postgres_server.url, deadline=DEADLINE)
    add(store, "one")
    took: list[float] = []

    def ask() -> None:
        started = time.monotonic()
        with contextlib.suppress(StoreError):
            knows(store, "one")
        took.append(time.monotonic() - started)

    with by_hand(postgres_server.url) as locking:
        locking.execute(f"LOCK TABLE {table_names(prefix).state} IN ACCESS EXCLUSIVE MODE")
        threads = [threading.Thread(target=ask) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(took) == 24
    assert max(took) < DEADLINE + 0.15  # 24 threads on however few cores
    assert knows(store, "one")


def test_a_standby_is_not_asked(opened: Open) -> None:
    """It could be behind; of several hosts the one that may be written is found."""
    with services.postgres_with_standby() as pair:
        store = opened(pair.url)
        add(store, "one")

        with pytest.raises(StoreError):
            knows(opened(pair.standby.url), "one")
        reported = run_blocking(store.check())

    assert reported["role"] == "primary"
    assert reported["replication"].startswith("synchronous")


def test_a_replica_of_mariadb_is_not_asked(opened: Open) -> None:
    """It says of itself that it is read-only, at each question."""
    with services.mariadb() as server:
        store = opened(server.url)
        add(store, "one")

        server.run("SET GLOBAL read_only = 1")

        with pytest.raises(StoreError, match="read-only"):
            knows(store, "one")
        with pytest.raises(StoreError, match="read-only"):
            add(store, "two")


# ---- a store that is not the one it was ------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["emptied", "dropped", "restored", "another"])
def test_a_store_that_forgot_is_noticed_by_the_next_question(url: str, opened: Open, prefix: str, loss: str) -> None:
    """Never "nothing is revoked"; an operator's `adopt` ends it, here and in the other processes."""
    store, other = opened(url), opened(url)
    names = table_names(prefix)
    add(store, "one")
    assert knows(other, "one")
    cursor = run_blocking(other.changes(None)).cursor
    add(store, "two")
    assert knows(other, "two")
    execute(url, *{
        "emptied": [f"DELETE FROM {names.revocations}", f"DELETE FROM {names.state}"],
        "dropped": [f"DROP TABLE {table}" for table in (names.revocations, names.hits, names.state)],
        "restored": [f"DELETE FROM {names.revocations} WHERE seq = 2", f"UPDATE {names.state} SET seq = 1"],
        "another": [f"UPDATE {names.state} SET id = 'other'"],
    }[loss])  # fmt: skip

    for forgetful in (store, other):
        with pytest.raises(StoreForgot):
            knows(forgetful, "one")
        with pytest.raises(StoreForgot):
            run_blocking(forgetful.changes(cursor))
        with pytest.raises(StoreForgot):
            add(forgetful, "three")
    operator = opened(url)
    run_blocking(operator.adopt())
    add(operator, "after")

    assert knows(store, "after")
    assert knows(other, "after")
    with pytest.raises(FeedGap):
        run_blocking(other.changes(cursor))
    assert "after" in names_of(run_blocking(other.changes(None)), "after")


def test_whoever_adopts_goes_on_at_once(url: str, opened: Open, prefix: str) -> None:
    """Adopting by the process that noticed, twice in a second, with a clock that stands still."""
    clock = MovableClock()
    store, other = opened(url, clock=clock), opened(url, clock=clock)
    add(store, "one")
    assert knows(other, "one")

    run_blocking(store.adopt())
    run_blocking(store.adopt())

    assert knows(store, "one")
    assert knows(other, "one")


def test_a_store_emptied_before_anybody_asked_it_begins_anew(url: str, opened: Open, prefix: str) -> None:
    """Without a memory of it nothing can be missed, and records that are there are kept."""
    names = table_names(prefix)
    add(opened(url), "one")
    execute(url, f"DELETE FROM {names.state}")
    store = opened(url)

    assert knows(store, "one")
    add(store, "two")
    assert execute(url, f"SELECT seq FROM {names.state}")[0][0] == 2


# ---- the tables ------------------------------------------------------------------------------------------


def _add_in_child(url: str, prefix: str, name: str) -> None:
    store = SqlStore(url, prefix=prefix, deadline=10.0)
    add(store, name)
    run_blocking(store.close())


def test_processes_and_threads_that_start_at_once_all_get_their_word_in(url: str, opened: Open, prefix: str) -> None:
    """Making the tables and the mark does not collide."""
    context = multiprocessing.get_context("spawn")
    children: list[Any] = [context.Process(target=_add_in_child, args=(url, prefix, f"process {n}")) for n in range(3)]
    stores = [opened(url, deadline=10.0) for _ in range(8)]
    failures: list[BaseException] = []
    together = threading.Barrier(8)

    def work(number: int) -> None:
        together.wait()
        try:
            add(stores[number], f"thread {number}")
        except StoreError as error:
            failures.append(error)

    children += [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()

    assert failures == []
    assert all(knows(stores[0], f"thread {n}") for n in range(8))
    assert all(knows(stores[0], f"process {n}") for n in range(3))


def _without_create(url: str) -> str:
    """A user who may use tables that are there, and make none."""
    if url.startswith("postgresql"):
        execute(
            url, "DROP OWNED BY plain; DROP ROLE plain" if _exists(url) else "SELECT 1", "CREATE ROLE plain LOGIN",
            "REVOKE CREATE ON SCHEMA public FROM public",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain",
        )  # fmt: skip
        return make_url(url).set(username="plain").render_as_string()
    root = make_url(url).set(username="root").render_as_string()
    database = make_url(url).database
    execute(
        root, "CREATE USER IF NOT EXISTS plain@'127.0.0.1'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO plain@'127.0.0.1'",
    )  # fmt: skip
    return make_url(url).set(username="plain").render_as_string()


def _exists(url: str) -> bool:
    return bool(execute(url, "SELECT 1 FROM pg_roles WHERE rolname = 'plain'"))


def test_a_user_without_the_right_to_create_works_with_tables_that_are_there(
    url: str, opened: Open, prefix: str
) -> None:
    """An operator has run what `check --schema` prints; without that the error says so."""
    for statement in schema_ddl(url, prefix).split(";\n"):
        if statement.strip():
            execute(url, statement)
    plain = _without_create(url)
    store = opened(plain)

    add(store, "one")

    assert knows(store, "one")
    assert run_blocking(store.purge()) == 0
    missing = opened(plain, prefix=prefix.replace("t", "u", 1))
    with pytest.raises(StoreError, match=r"E313 .*check --schema"):
        knows(missing, "one")
    with pytest.raises(ConfigurationError, match="E313"):
        run_blocking(missing.check())


def test_tables_of_another_schema_version_are_not_touched(url: str, opened: Open, prefix: str) -> None:
    """An older package must not write into what a newer one has made."""
    add(opened(url), "one")
    execute(url, f"UPDATE {table_names(prefix).state} SET version = 99")
    store = opened(url)

    with pytest.raises(StoreError, match=r"E301 .*version 99"):
        knows(store, "one")
    with pytest.raises(ConfigurationError, match="E301"):
        run_blocking(store.check())


def test_two_prefixes_never_share_a_table() -> None:
    """Whatever the server makes of capitals, signs and lengths."""
    prefixes = [
        "a:",
        "A:",
        "a",
        "a_:",
        "a__b:",
        "a_b:",
        "a-b:",
        "a.b:",
        "",
        ":",
        "ä:",
        "1:",
        "x" * 80 + ":",
        "x" * 81 + ":",
    ]
    names = [table_names(prefix) for prefix in prefixes]

    assert len({one.state for one in names}) == len(prefixes)
    assert all(len(f"{one.revocations}_until") <= 63 for one in names)
    assert all(one.state == one.state.lower() and one.state.isascii() and one.state[0].isalpha() for one in names)


# ---- processes -------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_a_forked_child_has_connections_of_its_own(url: str, opened: Open) -> None:
    """Parent and child go on at once, and neither reads the other's answers."""
    store = opened(url)
    add(store, "before")
    run_blocking(store.changes(None))

    child = os.fork()
    if child == 0:
        try:
            ok = knows(store, "before") and add(store, "child") is Outcome.DONE and knows(store, "child")
            run_blocking(store.close())
        finally:
            os._exit(0 if ok else 1)
    for turn in range(20):
        assert knows(store, "before")
        add(store, f"parent {turn}")
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert knows(store, "child")
    assert knows(store, "parent 19")


# ---- the operator ----------------------------------------------------------------------------------------


def test_check_names_what_is_unsafe_and_the_remedy(opened: Open) -> None:
    """What a crash or a power cut would cost, before it happens."""
    with services.postgres(fsync="off", synchronous_commit="off") as server:
        unsafe = run_blocking(opened(server.url).check())
    with services.mariadb(innodb_flush_log_at_trx_commit=2) as mariadb:
        relaxed = run_blocking(opened(mariadb.url).check())

    assert unsafe["durability"].startswith("UNSAFE: fsync is off")
    assert "set fsync = on" in unsafe["durability"]
    assert relaxed["durability"].startswith("UNSAFE: innodb_flush_log_at_trx_commit is 2")


def test_a_logout_waits_for_the_disk_where_others_do_not(opened: Open) -> None:
    """synchronous_commit = off is the default of this server, and not of our connections."""
    with services.postgres(synchronous_commit="off") as server:
        store = opened(server.url)
        reported = run_blocking(store.check())
        with store._connections.lease(time.monotonic() + 5) as connection:
            chosen = connection.execute("SHOW synchronous_commit").fetchone()

    assert chosen == ("on",)
    assert reported["durability"].startswith("fsync before every acknowledgement")


def test_check_tells_of_a_clock_that_is_wrong(url: str, opened: Open) -> None:
    """More than a second from the server's."""
    fine, wrong = opened(url), opened(url, clock=lambda: time.time() - 30)

    assert not run_blocking(fine.check())["clock"].startswith("UNSAFE")
    assert run_blocking(wrong.check())["clock"].startswith("UNSAFE: the server's clock is +30")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mysql://u:secret@h/d", "is not a SQL server"), ("postgresql+psycopg://u:secret@h", "names no database"),
        ("postgresql+psycopg://u:secret@h:99999/d", "is not a port"), ("mysql+pymysql://u:secret@h:x/d", "not a URL"),
        ("mysql+pymysql:secret", "not a URL"),
    ],
)  # fmt: skip
def test_an_address_that_is_wrong_is_refused_without_showing_it(text: str, said: str) -> None:
    """Nothing is asked for that, and the password stays secret."""
    with pytest.raises(ValueError, match=said) as refused:
        parse_sql_url(text)
    with pytest.raises(ConfigurationError, match="E312") as configured:
        SqlStore(text)

    assert "secret" not in f"{refused.value} {configured.value}"


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_server_that_is_not_there_is_named_without_the_password(scheme: str, opened: Open) -> None:
    """The message says where, and nothing secret; making the store asked nobody."""
    store = opened(f"{scheme}://user:topsecret@127.0.0.1:{services.free_port()}/db")

    with pytest.raises(StoreError, match="cannot read") as away:
        knows(store, "one")

    assert "127.0.0.1" in str(away.value)
    assert "topsecret" not in str(away.value)
