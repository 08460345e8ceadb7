"""The Redis store on one real server: what it keeps when the server hangs, dies, forgets or fills up."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.errors import StoreError
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of, merge
from logout_middleware.stores import FeedGap, StoreForgot
from logout_middleware.stores.redis import RedisStore
from logout_middleware.stores.redis_scripts import FEED_LENGTH
from logout_middleware.testing import MovableClock

from .. import services

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Open = Callable[..., RedisStore]
SLACK = 0.05


def key(name: object) -> bytes:
    return key_of("test", None, str(name))


def revoked(name: object, reason: str = "logout") -> Revocation:
    return Revocation(key(name), FOREVER, 4e9, reason)


@pytest.fixture(params=["blocking", "asyncio"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(colour: str) -> Iterator[Run]:
    if colour == "blocking":
        yield run_blocking
    else:
        with asyncio.Runner() as runner:
            yield runner.run


@pytest.fixture
def open_store(colour: str, run: Run) -> Iterator[Open]:
    """Opens stores of this colour, and closes them."""
    opened: list[RedisStore] = []

    def open_one(url: str, **options: Any) -> RedisStore:
        opened.append(RedisStore(url, **{"blocking": colour == "blocking", **options}))
        return opened[-1]

    yield open_one
    for store in opened:
        (run_blocking if store.reads_block else run)(store.close())


@pytest.fixture
def server() -> Iterator[services.Redis]:
    """One that the test may hurt."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(services.redis())
        except services.Missing as missing:
            pytest.skip(str(missing))


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return f"{tmp_path.name}:"


def takes(run: Run, call: Coroutine[Any, Any, Any]) -> float:
    """How long a call took that must fail."""
    began = time.monotonic()
    with pytest.raises(StoreError):
        run(call)
    return time.monotonic() - began


# ---- merging --------------------------------------------------------------------------------------------------------


def test_the_server_merges_exactly_as_the_rule_does(redis_server: services.Redis, prefix: str) -> None:
    """Records in any order, from anywhere, come to the same as in Python, bytes of reasons included."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    reasons = ["logout", "", "revoke_user", "a", "ab", "Ä", "\ud800", "￿", "\U00010000", "\0", "zz"]
    keeps = [frozenset(), frozenset({key(1)}), frozenset({key(1), key(2)})]
    store = RedisStore(redis_server.url, prefix=prefix, blocking=True, deadline=2.0, clock=lambda: 0.0)
    expected: dict[tuple[bytes, frozenset[bytes]], Revocation] = {}
    for _ in range(300):
        record = Revocation(
            key(dice.randrange(20)), dice.choice([FOREVER, 1.5, 1.25, -3.0]),
            dice.choice([FOREVER, 7200.0, 7201.5, 3600.0]), dice.choice(reasons), dice.choice(keeps),
        )  # fmt: skip
        known = expected.get((record.key, record.keep))
        expected[record.key, record.keep] = merge(known, record) if known else record
        run_blocking(store.add([record]))

    found = run_blocking(store.find([key(number) for number in range(20)]))

    assert {(record.key, record.keep): record for record in found} == expected
    assert run_blocking(store.count()) == len(expected)
    run_blocking(store.close())


# ---- the server hangs, dies, fills up -------------------------------------------------------------------------------


def test_a_server_that_hangs_costs_no_more_than_the_deadline(
    server: services.Redis, open_store: Open, run: Run
) -> None:
    """Nobody waits longer than 250 ms, on a warm connection or a new one, and afterwards it works again."""
    store = open_store(server.url)
    run(store.add([revoked("one")]))

    server.pause()
    times = [takes(run, store.find([key("one")])) for _ in range(3)]
    times.append(takes(run, open_store(server.url).find([key("one")])))
    adding = takes(run, store.add([revoked("two")]))
    server.resume()

    assert max(times) < 0.25 + SLACK
    assert adding < 1.0 + SLACK
    assert list(run(store.find([key("one")]))) == [revoked("one")]


def test_callers_who_wait_behind_others_have_the_same_deadline(server: services.Redis) -> None:
    """With every connection stuck, those who came later are told in time, too."""
    times: list[float] = []

    async def look(store: RedisStore, name: int) -> None:
        await asyncio.sleep(name * 0.002)
        began = time.monotonic()
        with pytest.raises(StoreError):
            await store.find([key(name)])
        times.append(time.monotonic() - began)

    async def main() -> None:
        store = RedisStore(server.url, blocking=False)
        await store.find([key("one")])
        server.pause()
        await asyncio.gather(*(look(store, name) for name in range(200)))
        server.resume()
        await store.close()

    asyncio.run(main())

    assert len(times) == 200
    assert max(times) < 0.25 + SLACK


def test_a_server_that_was_killed_is_used_again_at_once(server: services.Redis, open_store: Open, run: Run) -> None:
    """Old connections do not spoil the first request, and what was acknowledged is there."""
    store = open_store(server.url)
    run(store.add([revoked(number) for number in range(50)]))

    server.kill()
    assert takes(run, store.find([key(1)])) < 0.25 + SLACK
    server.start()

    assert len(run(store.find([key(number) for number in range(50)]))) == 50


def test_a_full_server_refuses_logouts_and_still_answers(server: services.Redis, open_store: Open, run: Run) -> None:
    """What cannot be kept is not acknowledged."""
    store = open_store(server.url)
    run(store.add([revoked("one")]))
    server.call("CONFIG", "SET", "maxmemory", "1mb")

    with pytest.raises(StoreError, match="raise maxmemory"):
        run(store.add([revoked("two")]))

    assert list(run(store.find([key("one"), key("two")]))) == [revoked("one")]


@pytest.mark.parametrize(
    ("userinfo", "database", "why"),
    [(":wrongsecret@", 0, "check user and password"), ("nobody:wrongsecret@", 0, "check user and password"),
     ("", 0, "put user and password"), (":sesame-secret@", 99, "database number")],
    ids=["password", "user", "none", "database"],
)  # fmt: skip
def test_a_wrong_login_is_named_without_the_secret(
    open_store: Open, run: Run, userinfo: str, database: int, why: str
) -> None:
    """The message says what to correct, and can be logged."""
    with services.redis(requirepass="sesame-secret") as server:
        store = open_store(f"redis://{userinfo}{server.address}/{database}")

        with pytest.raises(StoreError, match=why) as caught:
            run(store.find([key("one")]))

    assert "secret" not in str(caught.value)


def test_a_user_with_few_rights_is_enough(server: services.Redis, open_store: Open, run: Run, prefix: str) -> None:
    """An ACL of the package's own keys; what CONFIG would tell is then unknown, and said so."""
    server.call("ACL", "SETUSER", "app", "on", ">pw", f"~{{{prefix}*", "+@all", "-@admin", "-@dangerous")
    store = open_store(f"redis://app:pw@{server.address}/0", prefix=prefix)

    run(store.add([revoked("one")]))
    told = run(store.check())

    assert list(run(store.find([key("one")]))) == [revoked("one")]
    assert told["eviction"].startswith("unknown: ")


def test_a_replica_does_not_answer_as_if_it_were_the_master(server: services.Redis, open_store: Open, run: Run) -> None:
    """Its copy may be old, so it is "cannot know"."""
    store = open_store(server.url)
    run(store.find([key("one")]))
    server.call("REPLICAOF", services.HOST, services.free_port())

    with pytest.raises(StoreError, match="master"):
        run(store.find([key("one")]))


def test_a_master_without_its_replicas_stops_answering_if_told_to(
    server: services.Redis, open_store: Open, run: Run
) -> None:
    """With min-replicas-to-write it may have been replaced: then it vouches for nothing any more."""
    store = open_store(server.url)
    run(store.find([key("one")]))
    server.call("CONFIG", "SET", "min-replicas-to-write", "1")

    with pytest.raises(StoreError, match="too few replicas"):
        run(store.find([key("one")]))


def test_too_few_confirmations_are_no_acknowledgement(server: services.Redis, open_store: Open, run: Run) -> None:
    """The error names the setting and both numbers."""
    store = open_store(server.url, wait_for_replicas=2)

    with pytest.raises(StoreError, match=r"0 replicas confirmed .* LOGOUT_REDIS_WAIT=2"):
        run(store.add([revoked("one")]))

    assert list(run(store.find([key("one")]))) == [revoked("one")]


# ---- the server forgets ---------------------------------------------------------------------------------------------


def test_an_emptied_store_is_noticed_by_the_next_request(server: services.Redis, open_store: Open, run: Run) -> None:
    """FLUSHALL is "cannot know" everywhere, until somebody adopts the store; then it is trusted everywhere."""
    store, other, feed = open_store(server.url), open_store(server.url), open_store(server.url, blocking=True)
    run(store.add([revoked("one")]))
    run(other.find([key("one")]))
    cursor = None
    while cursor is None or cursor.part < 16:
        cursor = run_blocking(feed.changes(cursor)).cursor

    server.call("FLUSHALL")
    for call in (lambda: store.find([key("one")]), lambda: other.find([key("two")]), lambda: store.add([revoked(2)])):
        with pytest.raises(StoreForgot, match="adopt-store"):
            run(call())
    with pytest.raises(StoreForgot):
        run_blocking(feed.changes(cursor))

    run(store.adopt())
    run(store.add([revoked("two")]))
    assert list(run(store.find([key("one"), key("two")]))) == [revoked("two")]
    assert list(run(other.find([key("two")]))) == [revoked("two")]
    with pytest.raises(FeedGap):
        run_blocking(feed.changes(cursor))


def test_a_server_that_comes_back_with_an_old_copy_is_noticed(
    server: services.Redis, open_store: Open, run: Run
) -> None:
    """Fewer changes than were acknowledged: the newest logouts are missing."""
    store = open_store(server.url)
    run(store.add([revoked("one")]))
    part = key("one")[0] & 15
    names = server.call("KEYS", f"{{logout:{part}}}*")
    state = server.call("HGETALL", f"{{logout:{part}}}:state")
    run(store.add([revoked("one", "zzz")]))

    server.call("DEL", *names)
    server.call("HSET", f"{{logout:{part}}}:state", *(item for pair in state.items() for item in pair)
                if isinstance(state, dict) else state)  # fmt: skip

    with pytest.raises(StoreForgot, match="changes that it had acknowledged"):
        run(store.find([key("one")]))


def test_what_an_earlier_process_had_seen_is_missed_by_a_new_one(
    server: services.Redis, open_store: Open, run: Run
) -> None:
    """A memory that was kept beside the journal makes the first request of a new process notice."""
    before, after = open_store(server.url), open_store(server.url)
    run(before.add([revoked("one")]))
    after.memory.restore(before.memory.snapshot())

    server.call("FLUSHALL")

    with pytest.raises(StoreForgot):
        run(after.find([key("one")]))


def test_a_store_of_which_a_part_is_missing_is_not_taken_for_a_new_one(
    server: services.Redis, open_store: Open, run: Run
) -> None:
    """A process that starts afterwards has no memory of it, but the other parts tell."""
    run(open_store(server.url).add([revoked(number) for number in range(64)]))
    server.call("DEL", "{logout:5}:state")

    with pytest.raises(StoreForgot, match="forgotten a part"):
        run(open_store(server.url).find([key("one")]))


# ---- callers --------------------------------------------------------------------------------------------------------


def test_no_answer_reaches_the_wrong_caller_when_many_are_cancelled(redis_server: services.Redis, prefix: str) -> None:
    """10,000 lookups, every other key revoked, a third of them cancelled at random moments."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    names = range(10_000)
    right = cancelled = 0

    async def look(store: RedisStore, name: int) -> None:
        nonlocal right
        await asyncio.sleep(dice.random() * 0.3)
        found = await store.find([key(name)])
        assert list(found) == ([revoked(name)] if name % 2 else [])
        right += 1

    async def main() -> None:
        nonlocal cancelled
        store = RedisStore(redis_server.url, prefix=prefix, blocking=False, deadline=5.0)
        await store.add([revoked(name) for name in names if name % 2])
        tasks = [asyncio.create_task(look(store, name)) for name in names]
        loop = asyncio.get_running_loop()
        for task in dice.sample(tasks, len(tasks) // 3):
            loop.call_later(dice.random() * 0.35, task.cancel)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            cancelled += isinstance(outcome, asyncio.CancelledError)
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        await store.close()

    asyncio.run(main())

    assert right + cancelled == len(names)
    assert cancelled > 1000


def test_writers_that_are_cancelled_leave_no_answer_behind(redis_server: services.Redis, prefix: str) -> None:
    """A logout whose caller goes away spoils nobody else's."""
    dice = random.Random(1)

    async def main() -> None:
        store = RedisStore(redis_server.url, prefix=prefix, blocking=False, deadline=5.0)
        for turn in range(40):
            tasks = [asyncio.create_task(store.add([revoked((turn, number))])) for number in range(8)]
            await asyncio.sleep(dice.random() * 0.002)
            tasks[0].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert len(await store.find([key((turn, number)) for number in range(1, 8)])) == 7
            assert (await store.hit(key(turn), 60.0)).count == 1
        await store.close()

    asyncio.run(main())


def test_event_loops_come_and_go(redis_server: services.Redis, prefix: str) -> None:
    """Each has its own connections and closes them when it ends; nothing is left for the collector."""
    store = RedisStore(redis_server.url, prefix=prefix, blocking=False)
    connected = int(redis_server.call("INFO", "clients")["connected_clients"])

    asyncio.run(store.add([revoked("one")]))
    for _ in range(3):
        assert list(asyncio.run(store.find([key("one")]))) == [revoked("one")]
        gc.collect()

    services.until(
        lambda: int(redis_server.call("INFO", "clients")["connected_clients"]) <= connected, "connections to close"
    )


def test_a_fork_has_connections_of_its_own(redis_server: services.Redis, prefix: str) -> None:
    """Parent and children look up at the same time and get their own answers."""
    store = RedisStore(redis_server.url, prefix=prefix, blocking=True, deadline=2.0)
    run_blocking(store.add([revoked(number) for number in range(100)]))

    def all_right(start: int) -> bool:
        return all(
            [record.key for record in run_blocking(store.find([key(number)]))] == [key(number)]
            for number in range(start, 100)
        )

    children = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            with contextlib.suppress(BaseException):
                code = 0 if all_right(number) else 1
            os._exit(code)
        children.append(pid)
    here = all_right(0)

    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert here
    run_blocking(store.close())


def test_more_threads_than_connections_wait_their_turn(
    redis_server: services.Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is refused because the pool is small."""
    monkeypatch.setattr("logout_middleware.stores.redis_lines._LINES", 3)
    store = RedisStore(redis_server.url, prefix=prefix, blocking=True, deadline=5.0)
    run_blocking(store.add([revoked("one")]))
    failures: list[object] = []

    def work() -> None:
        try:
            for _ in range(30):
                assert len(run_blocking(store.find([key("one")]))) == 1
        except BaseException as error:  # noqa: BLE001 - it must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    run_blocking(store.close())


def test_closing_wakes_who_waits_for_the_feed(redis_server: services.Redis, prefix: str) -> None:
    """A reader of the feed does not keep the process alive for its whole wait."""
    store = RedisStore(redis_server.url, prefix=prefix, blocking=True)
    cursor = None
    while cursor is None or cursor.part < 16:
        cursor = run_blocking(store.changes(cursor)).cursor
    outcomes: list[object] = []

    def wait() -> None:
        try:
            outcomes.append(run_blocking(store.changes(cursor, 30.0)))
        except StoreError as error:
            outcomes.append(error)

    reader = threading.Thread(target=wait)
    reader.start()
    services.until(lambda: "cmd=xread" in str(redis_server.call("CLIENT", "LIST")).replace("'", "")
                   or int(redis_server.call("INFO", "clients")["blocked_clients"]) > 0, "the reader")  # fmt: skip
    run_blocking(store.close())
    reader.join(5.0)

    assert isinstance(outcomes[0], StoreError)


# ---- the feed -------------------------------------------------------------------------------------------------------


def drain(store: RedisStore, cursor: Any = None) -> tuple[Any, list[Revocation]]:
    """All that the feed has, and the cursor after it."""
    records: list[Revocation] = []
    while True:
        page = run_blocking(store.changes(cursor))
        cursor = page.cursor
        records += page.revocations
        if page.complete:
            return cursor, records


@pytest.fixture
def store(redis_server: services.Redis, prefix: str) -> Iterator[RedisStore]:
    """A blocking one, on the common server."""
    opened = RedisStore(redis_server.url, prefix=prefix, blocking=True, deadline=2.0)
    yield opened
    run_blocking(opened.close())


def test_a_reader_that_is_too_far_behind_is_told(store: RedisStore) -> None:
    """The feed is bounded; whoever missed something begins again, and misses nothing."""
    cursor, _ = drain(store)
    names = [name for name in range(200_000) if key(name)[0] & 15 == 3][: FEED_LENGTH + 300]
    for start in range(0, len(names), 1000):
        run_blocking(store.add([revoked(name) for name in names[start : start + 1000]]))

    with pytest.raises(FeedGap):
        drain(store, cursor)

    assert {record.key for record in drain(store)[1]} == {key(name) for name in names}


def test_a_long_backlog_is_read_in_pages_and_complete_only_at_its_end(store: RedisStore) -> None:
    """Complete means complete."""
    cursor, _ = drain(store)
    run_blocking(store.add([revoked(number) for number in range(20_000)]))

    first = run_blocking(store.changes(cursor))
    _, rest = drain(store, first.cursor)

    assert not first.complete
    assert len({record.key for record in (*first.revocations, *rest)}) == 20_000


def test_a_history_that_was_rewritten_is_a_gap(redis_server: services.Redis, store: RedisStore, prefix: str) -> None:
    """After a fail-over another change may have the number of one that was lost: it is not mistaken for it."""
    part = key("one")[0] & 15
    name = f"{{{prefix}{part}}}:"
    store.wait_for_replicas, store.deadline = 1, 0.1  # nothing is confirmed, so all may be lost
    drain(store)
    for record in (revoked("one"), revoked("one", "zz")):
        with pytest.raises(StoreError):
            run_blocking(store.add([record]))
    cursor, _ = drain(store)
    seq = int(redis_server.call("HGET", f"{name}state", "seq"))

    redis_server.call("DEL", f"{name}feed")
    redis_server.call("HSET", f"{name}state", "seq", seq - 1, "last", "ffffffff")
    with pytest.raises(FeedGap):
        run_blocking(store.changes(cursor))
    with pytest.raises(StoreError):
        run_blocking(store.add([revoked("one", "zzz")]))
    assert int(redis_server.call("HGET", f"{name}state", "seq")) == seq

    with pytest.raises(FeedGap):
        run_blocking(store.changes(cursor))


def test_purging_goes_on_where_it_stopped(redis_server: services.Redis, prefix: str) -> None:
    """Bit by bit everything that ended goes, and nothing else."""
    clock = MovableClock()
    store = RedisStore(redis_server.url, prefix=prefix, blocking=True, deadline=2.0, clock=clock)
    ended = [Revocation(key(number), FOREVER, clock.now + 60, "logout") for number in range(1000)]
    run_blocking(store.add(ended))
    clock.move(2 * 86400)
    keep = frozenset({key("mine")})
    run_blocking(store.add([revoked("live"), Revocation(ended[0].key, 1.0, 4e9, "cut", keep)]))

    counts = []
    while True:
        counts.append(run_blocking(store.purge(300)))
        if not counts[-1]:
            break

    assert max(counts) <= 300 + 50
    assert run_blocking(store.count()) == 2
    assert {record.key for record in drain(store)[1]} >= {key("live"), ended[0].key}
    run_blocking(store.close())


# ---- the operator, and other ways to connect ------------------------------------------------------------------------


def test_what_is_unsafe_is_named_with_its_remedy(server: services.Redis, open_store: Open, run: Run) -> None:
    """An operator reads what to change."""
    store = open_store(server.url)
    safe = run(store.check())
    for name, value in (("maxmemory-policy", "volatile-ttl"), ("maxmemory", "100mb"), ("appendfsync", "everysec")):
        server.call("CONFIG", "SET", name, value)
    unsafe = run(store.check())
    late = run(open_store(server.url, clock=MovableClock()).check())

    assert not any(text.startswith("UNSAFE") for text in safe.values())
    assert unsafe["eviction"].startswith("UNSAFE: maxmemory-policy is volatile-ttl")
    assert unsafe["durability"].startswith("UNSAFE: appendfsync is everysec")
    assert late["clock"].startswith("UNSAFE: ")
    server.call("CONFIG", "SET", "maxmemory", "0")
    assert "harmless" in run(store.check())["eviction"]


def test_a_unix_socket_works(tmp_path: Path, open_store: Open, run: Run) -> None:
    """On one host it saves a quarter of the time."""
    with services.folder() as folder, services.redis(unixsocket=folder / "redis.sock"):
        store = open_store(f"unix://{folder}/redis.sock?db=1")

        run(store.add([revoked("one")]))

        assert list(run(store.find([key("one")]))) == [revoked("one")]


@functools.cache
def certificate(folder: Path) -> Path:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem"


def test_tls_works_and_a_stranger_is_refused(open_store: Open, run: Run) -> None:
    """The server is who the certificate says, or the store is not asked."""
    with services.folder() as folder:
        cert = certificate(folder)
        port = services.free_port()
        with services.redis(tls_port=port, tls_cert_file=cert, tls_key_file=folder / "key.pem", tls_auth_clients="no"):
            trusted = open_store(f"rediss://{services.HOST}:{port}/0?ssl_ca_certs={cert}", deadline=2.0)
            stranger = open_store(f"rediss://{services.HOST}:{port}/0", deadline=2.0)

            run(trusted.add([revoked("one")]))

            assert list(run(trusted.find([key("one")]))) == [revoked("one")]
            with pytest.raises(StoreError, match=r"(?i)certificate"):
                run(stranger.find([key("one")]))
