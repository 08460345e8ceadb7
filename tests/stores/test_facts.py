"""Facts where they are easily lost: a process that dies, a file that is not the one it was, a store that is away."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from logout_middleware import StoreError
from logout_middleware.colour import Threaded, run_blocking
from logout_middleware.rules.revocation import key_of
from logout_middleware.stores import NOW, PURGE_DELAY, Fact, Store, StoreForgot
from logout_middleware.stores.breaker import REST_SECONDS, Breaker
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.stores.sqlite import SqliteStore
from logout_middleware.testing import FlakyStore, MovableClock

from .test_journal import Place, place, record, until
from .test_replica import OpenWorker, fail, shared, worker

__all__ = ["place", "shared", "worker"]
ROOT = Path(__file__).parent.parent.parent
SEEN = key_of("test", None, "seen")


def fact(name: str, *, at: float = 1.0, until: float = 2e9, text: str = "here") -> Fact:
    return Fact(key_of("test", None, name), SEEN, at, until, text)


def known(store: Store, name: str) -> list[Fact]:
    return list(run_blocking(store.facts([fact(name).subject])))


def learn(store: Store, *facts: Fact) -> None:
    run_blocking(store.learn(facts))


# ---- the embedded store ------------------------------------------------------------------------------


def test_what_was_learned_survives_kill_9_at_any_moment(tmp_path: Path) -> None:
    """A process that learns without pause is killed; everything it said it had learned is there."""
    path = tmp_path / "logout.db"
    code = (
        "import sys\n"
        "from logout_middleware.stores.sqlite import SqliteStore\n"
        "from tests.stores.test_facts import fact, learn\n"
        "store = SqliteStore(sys.argv[1])\n"
        "for n in range(100000):\n"
        "    learn(store, fact(f'{n}'), fact('the same', at=float(n)))\n"
        "    print(n, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(100)]
    os.kill(child.pid, signal.SIGKILL)
    said += child.stdout.readlines()
    child.wait()
    child.stdout.close()

    store = SqliteStore(path)

    whole = [line.strip() for line in said if line.endswith("\n")]
    assert child.returncode == -signal.SIGKILL
    assert len(whole) >= 100
    assert all(known(store, name) for name in whole)
    assert known(store, "the same")[0].at >= float(whole[-1])
    run_blocking(store.close())


def test_a_file_that_was_made_before_there_were_facts_gets_their_table(tmp_path: Path) -> None:
    """It is opened, not refused; a worker that has it open learns, too, as soon as another one made the table."""
    path = tmp_path / "logout.db"
    run_blocking(SqliteStore(path).add([record("one")]))
    earlier = SqliteStore(path)
    with sqlite3.connect(path) as connection:
        connection.execute('DROP TABLE "logout:facts"')
    connection.close()
    with pytest.raises(StoreError, match="no such table"):
        known(earlier, "ann")

    store = SqliteStore(path)

    for each in (store, earlier):
        learn(each, fact("ann", text=each.path.name))
        assert len(known(each, "ann")) == 1
    for each in (store, earlier):
        run_blocking(each.close())


@pytest.mark.parametrize("loss", ["revocations", "state"])
def test_a_file_that_forgot_knows_no_facts_and_learns_none(tmp_path: Path, loss: str) -> None:
    """What it does not know any more may have been bound to the credential that is asked about."""
    path = tmp_path / "logout.db"
    store = SqliteStore(path)
    run_blocking(store.add([record("one")]))
    learn(store, fact("ann"))
    assert known(store, "ann")

    with sqlite3.connect(path) as connection:
        connection.execute(f'DELETE FROM "logout:{loss}"')
    connection.close()

    for _ in range(2):
        with pytest.raises(StoreForgot):
            known(store, "ann")
        with pytest.raises(StoreForgot):
            learn(store, fact("ann"))
    run_blocking(store.adopt())
    assert known(store, "ann")
    run_blocking(store.close())


def test_two_prefixes_in_one_file_know_nothing_of_each_other(tmp_path: Path) -> None:
    """Two applications may share a file."""
    one, other = (SqliteStore(tmp_path / "logout.db", prefix=prefix) for prefix in ("one:", "other:"))

    learn(one, fact("ann"))

    assert known(one, "ann")
    assert not known(other, "ann")
    for each in (one, other):
        run_blocking(each.close())


def test_learning_makes_room_a_bit_at_a_time(tmp_path: Path) -> None:
    """Nobody has to call `purge`, and nobody waits while a million old facts go."""
    clock = MovableClock()
    store = SqliteStore(tmp_path / "logout.db", clock=clock)
    learn(store, *(fact(f"{n}", until=clock.now) for n in range(1200)))
    clock.move(PURGE_DELAY + 1)

    left = []
    for turn in range(3):
        learn(store, fact("new", at=float(turn)))
        left.append(len(store.some_facts(10_000)) - 1)

    assert left == [700, 200, 0]
    run_blocking(store.close())


# ---- the stores around another -----------------------------------------------------------------------


def test_a_store_that_fails_to_tell_facts_is_left_alone_for_a_moment() -> None:
    """Reads and writes rest separately, whatever they ask for."""
    clock = MovableClock(1000.0)
    flaky = FlakyStore(MemoryStore())
    breaker = Breaker(flaky, monotonic=clock)
    flaky.broken = True
    for _ in range(3):
        with pytest.raises(StoreError, match="away"):
            known(breaker, "ann")
    with pytest.raises(StoreError, match="not asked"):
        run_blocking(breaker.find([SEEN]))
    for _ in range(3):
        with pytest.raises(StoreError, match="away"):
            learn(breaker, fact("ann"))
    asked = list(flaky.calls)
    flaky.broken = False
    clock.move(REST_SECONDS + 0.01)

    learn(breaker, fact("ann"))

    assert asked == ["facts", "learn"]
    assert known(breaker, "ann") == [fact("ann")]


def test_a_replica_asks_the_store_for_facts(worker: OpenWorker) -> None:
    """They are not copied, so they are as new as the store's."""
    one, other = worker().ready(), worker().ready()

    learn(one.replica, fact("ann"))

    assert known(other.replica, "ann") == [fact("ann")]
    assert other.asked.calls == ["facts"]


def test_a_replica_whose_feed_says_that_the_store_forgot_tells_no_facts(worker: OpenWorker) -> None:
    """What either of the two knows to be forgotten the other does not answer."""
    one = worker().ready()
    learn(one.replica, fact("ann"))

    one.wire.script = [fail(StoreForgot("it is empty, and it was not"))] * 10_000
    until(lambda: not one.answers_from_memory())

    with pytest.raises(StoreForgot, match="it is empty"):
        known(one.replica, "ann")


def test_facts_that_the_store_forgot_end_the_answers_from_memory(worker: OpenWorker) -> None:
    """A feed that connected after the loss sees nothing wrong; who remembers is believed."""
    one = worker().ready()

    async def forgot(subjects: Sequence[bytes]) -> Sequence[Fact]:
        raise StoreForgot("it is an old copy")

    one.asked.facts = forgot  # type: ignore[method-assign]
    with pytest.raises(StoreForgot):
        known(one.replica, "ann")

    assert not one.answers_from_memory()


def test_under_an_event_loop_only_a_store_that_blocks_is_asked_in_a_thread() -> None:
    """SQLite's microseconds stay in place; what crosses a network, and what waits for a disk, does not."""
    threads: list[tuple[str, bool]] = []

    class Watched(FlakyStore):
        def _pass(self, name: str) -> None:
            threads.append((name, threading.current_thread() is threading.main_thread()))

    async def ask(*, reads_block: bool) -> None:
        store = Watched(MemoryStore())
        store.reads_block, store.writes_block = reads_block, True
        threaded = Threaded(store, 5.0)
        await threaded.learn([fact("ann")])
        assert list(await threaded.facts([fact("ann").subject])) == [fact("ann")]

    for reads_block in (False, True):
        asyncio.run(ask(reads_block=reads_block))

    assert threads == [("learn", False), ("facts", True), ("learn", False), ("facts", False)]


def test_under_an_event_loop_a_store_that_hangs_is_given_up_in_time() -> None:
    """An answer that does not come is "cannot know"."""
    hangs = threading.Event()

    class Hanging(FlakyStore):
        def _pass(self, name: str) -> None:
            hangs.wait(10.0)

    async def ask() -> None:
        store = Hanging(MemoryStore())
        store.reads_block = store.writes_block = True
        threaded = Threaded(store, 0.01)
        for call in (threaded.facts([SEEN]), threaded.learn([fact("ann")])):
            with pytest.raises(StoreError, match="in time"):
                await call
        hangs.set()

    asyncio.run(ask())


# ---- the journal -------------------------------------------------------------------------------------


def test_what_is_learned_while_the_store_is_away_is_delivered(place: Place) -> None:
    """It is no error to learn; whoever asks meanwhile is told that it cannot be known, and then knows all."""
    journal, elsewhere = place.journal(), place.store()
    learn(journal, fact("ann", at=5.0, text="before"))
    place.take_away()

    learn(journal, fact("ann", at=6.0, text="meanwhile"), fact("ben"))
    with pytest.raises(StoreError, match="away"):
        known(journal, "ann")
    assert known(elsewhere.real, "ben") == []

    place.bring_back()
    assert known(journal, "ann") == [fact("ann", at=6.0, text="meanwhile")]
    assert known(journal, "ben") == [fact("ben")]
    took = until(lambda: known(elsewhere, "ben"))
    assert took < 1.0
    until(lambda: not journal._outbox.has_mail())
    assert known(elsewhere, "ann") == [fact("ann", at=6.0, text="meanwhile")]
    assert known(journal, "ann") == [fact("ann", at=6.0, text="meanwhile")]


def test_what_waits_in_the_journal_and_what_the_store_has_merge(place: Place) -> None:
    """Two hosts may speak of one login; the answer is one fact, the later."""
    journal, elsewhere = place.journal(), place.store()
    place.take_away()
    learn(journal, fact("ann", at=6.0, until=2e9, text="here"))
    learn(elsewhere.real, fact("ann", at=5.0, until=3e9, text="there"))
    place.bring_back()

    assert known(journal, "ann") == [fact("ann", at=6.0, until=3e9, text="here")]
    until(lambda: not journal._outbox.has_mail())
    assert known(elsewhere, "ann") == [fact("ann", at=6.0, until=3e9, text="here")]


def test_facts_that_wait_outlive_their_worker(place: Place) -> None:
    """A worker that starts later delivers them, though no revocation waits."""
    place.take_away()
    first = place.journal()
    place.forget(first)
    learn(first, fact("ann"))
    run_blocking(first.close())
    place.bring_back()

    place.journal()

    elsewhere = place.store()
    until(lambda: known(elsewhere, "ann"))


def test_more_facts_than_one_delivery_takes_all_arrive(place: Place) -> None:
    """And those that are learned while it is under way."""
    journal, elsewhere = place.journal(), place.store()
    place.take_away()
    learn(journal, *(fact(f"{n}") for n in range(500)))
    place.bring_back()
    learn(journal, fact("late"))

    until(lambda: not journal._outbox.has_mail())

    found = run_blocking(elsewhere.facts([fact(f"{n}").subject for n in range(500)]))
    assert len(found) == 500
    assert known(elsewhere, "late")


def test_what_is_learned_again_during_its_delivery_is_not_dropped_with_it(place: Place) -> None:
    """Only what was delivered leaves the file."""
    journal = place.journal()
    place.take_away()
    learn(journal, fact("ann", at=1.0), fact("ben"))
    rows = journal._outbox.rows
    delivered = rows.some_facts(10)
    learn(journal, fact("ann", at=2.0))

    rows.drop_facts(delivered)

    assert rows.some_facts(10) == [fact("ann", at=2.0)]


def test_a_feed_of_both_that_begins_now_has_neither_what_waits_nor_what_is_there(place: Place) -> None:
    """What comes later is given from either side; while the store is away its end is not known."""
    journal = place.journal()
    place.take_away()
    run_blocking(journal.add([record("waits")]))
    with pytest.raises(StoreError):
        run_blocking(journal.changes(NOW))
    place.bring_back()
    until(lambda: place.waiting(journal) == 0)

    first = run_blocking(journal.changes(NOW, 0.1))
    run_blocking(journal.add([record("new")]))
    second = run_blocking(journal.changes(first.cursor, 5.0))

    assert (list(first.revocations), first.complete) == ([], True)
    assert list(second.revocations) == [record("new")]
