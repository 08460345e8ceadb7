"""The journal: logouts taken while the store is away are kept, in force on this host, and delivered."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from logout_middleware import ConfigurationError, StoreError
from logout_middleware.colour import call_in_thread, run_blocking
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of
from logout_middleware.stores import Count, Outcome, PartlyKnown, Store, StoreForgot
from logout_middleware.stores.journal import Journal
from logout_middleware.stores.journal_file import Outbox, Progress
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.stores.sqlite import SqliteStore
from logout_middleware.testing import FlakyStore, MovableClock, StoreContract

ROOT = Path(__file__).parent.parent.parent


def record(name: str, *, until: float = 2e9) -> Revocation:
    return Revocation(key_of("test", None, name), FOREVER, until, "logout")


def knows(store: Store, name: str) -> bool:
    return bool(run_blocking(store.find([record(name).key])))


def until(happened: Callable[[], bool], *, seconds: float = 10.0) -> float:
    """Wait for it, and say how long that took."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.005)
    return time.monotonic() - began


class SwitchedStore(FlakyStore):
    """A store that all processes see, and that is away while the file `away` exists beside it."""

    def __init__(self, folder: Path) -> None:
        self.real = SqliteStore(folder / "store.db")
        super().__init__(self.real)
        self.memory = self.real.memory
        self.switch = folder / "away"

    def _pass(self, name: str) -> None:
        self.broken = self.switch.exists()
        super()._pass(name)


class Place:
    """One folder with a store in it, and journals before it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.switch = folder, folder / "journal.db", folder / "away"
        self._opened: list[Store] = []

    def store(self) -> SwitchedStore:
        """The store alone: another host, without a journal."""
        opened = SwitchedStore(self.folder)
        self._opened.append(opened)
        return opened

    def journal(self, **given: Any) -> Journal:
        """A worker of this host."""
        inner = SwitchedStore(self.folder)
        given = {"open_store": lambda: SwitchedStore(self.folder), "memory": inner.memory} | given
        opened = Journal(inner, given.pop("path", self.path), run_blocking=run_blocking, **given)
        self._opened.append(opened)
        return opened

    def waiting(self, journal: Journal) -> int:
        return run_blocking(journal.waiting())

    def forget(self, journal: Journal) -> None:
        """The test closes it itself."""
        self._opened.remove(journal)

    def take_away(self) -> None:
        self.switch.touch()

    def bring_back(self) -> None:
        self.switch.unlink(missing_ok=True)

    def close(self) -> None:
        for opened in self._opened:
            run_blocking(opened.close())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


class TestJournalContract(StoreContract):
    """A journal before a store that is there promises what the store promises."""

    def open_store(self, place: Path, clock: MovableClock, *, blocking: bool) -> Store:
        inner = SqliteStore(place / "store.db", clock=clock)
        return Journal(
            inner, place / "journal.db", open_store=lambda: SqliteStore(place / "store.db", clock=clock),
            run_blocking=run_blocking, memory=inner.memory, clock=clock,
        )  # fmt: skip


# ---- away and back -----------------------------------------------------------------------------------


def test_a_logout_while_the_store_is_away_is_pending_then_delivered(place: Place) -> None:
    """In force here at once, everywhere within a second of the store being back, and merged there."""
    journal, elsewhere = place.journal(), place.store()
    assert run_blocking(journal.add([record("before")])) is Outcome.DONE
    place.take_away()

    assert run_blocking(journal.add([record("one"), record("two")])) is Outcome.PENDING
    assert run_blocking(journal.add([record("one", until=3e9)])) is Outcome.PENDING
    with pytest.raises(PartlyKnown) as caught:
        knows(journal, "one")
    assert [found.until for found in caught.value.known] == [3e9]
    with pytest.raises(StoreError) as plain:
        knows(journal, "somebody else")
    assert not isinstance(plain.value, PartlyKnown)
    assert place.waiting(journal) == 2

    place.bring_back()
    assert knows(journal, "one")
    took = until(lambda: knows(elsewhere, "one") and knows(elsewhere, "two"))

    assert took < 1.0
    until(lambda: place.waiting(journal) == 0)
    assert list(run_blocking(elsewhere.find([record("one").key]))) == [record("one", until=3e9)]
    assert list(run_blocking(journal.find([record("one").key]))) == [record("one", until=3e9)]
    assert run_blocking(elsewhere.count()) == 3


def test_under_asyncio_the_write_runs_beside_the_loop(place: Place) -> None:
    """The loop goes on while the disk writes, and the answer is the same."""
    threads: list[bool] = []

    async def call(work: Callable[[], Any]) -> Any:
        def noted() -> Any:
            threads.append(threading.current_thread() is not threading.main_thread())
            return work()

        return await call_in_thread(noted)

    async def scenario() -> None:
        journal = place.journal(call=call)
        place.take_away()
        assert await journal.add([record("one")]) is Outcome.PENDING
        with pytest.raises(PartlyKnown):
            await journal.find([record("one").key])
        place.bring_back()
        assert await journal.find([record("one").key])
        await journal.close()
        place.forget(journal)

    asyncio.run(scenario())

    assert threads
    assert all(threads)


def test_two_workers_of_a_host_share_what_waits(place: Place) -> None:
    """What one answers with 202, the other refuses with its next request."""
    one, other = place.journal(), place.journal()
    other._store_version = lambda: 7
    assert not knows(other, "x")
    before = other.version()
    place.take_away()

    run_blocking(one.add([record("x")]))

    assert other.version() != before
    with pytest.raises(PartlyKnown):
        knows(other, "x")


def _add_in_child(folder: str, name: str) -> None:
    place = Place(Path(folder))
    outcome = run_blocking(place.journal().add([record(name)]))
    os.kill(os.getpid(), signal.SIGKILL if outcome is Outcome.PENDING else signal.SIGTERM)


def test_what_a_killed_worker_took_another_one_delivers(place: Place) -> None:
    """A process answers 202 and dies; its neighbour knew at once, and brings it to the store."""
    journal, elsewhere = place.journal(), place.store()
    assert not knows(journal, "x")
    place.take_away()
    child = multiprocessing.get_context("spawn").Process(target=_add_in_child, args=(str(place.folder), "x"))
    child.start()
    child.join()

    assert child.exitcode == -signal.SIGKILL
    with pytest.raises(PartlyKnown):
        knows(journal, "x")
    place.bring_back()

    until(lambda: knows(elsewhere, "x"))


def test_what_an_earlier_life_left_is_delivered_without_a_request(place: Place) -> None:
    """A restart is enough; nobody needs to come by."""
    place.take_away()
    first = place.journal()
    run_blocking(first.add([record("x")]))
    run_blocking(first.close())
    place.bring_back()
    elsewhere = place.store()
    assert not knows(elsewhere, "x")

    place.journal()

    until(lambda: knows(elsewhere, "x"))


def test_one_process_delivers_at_a_time(place: Place) -> None:
    """Ten workers do not bring the same logouts ten times to a store that has just come back."""
    journal = place.journal()
    place.take_away()
    run_blocking(journal.add([record("x")]))
    elsewhere = place.store()
    code = (
        "import fcntl, os, sys\n"
        "descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)\n"
        "fcntl.lockf(descriptor, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, f"{place.path}.replay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        place.bring_back()
        until(lambda: knows(journal, "x"))
        time.sleep(0.6)
        assert not knows(elsewhere, "x")
        holder.kill()

    until(lambda: knows(elsewhere, "x"))


def test_rows_that_change_during_the_delivery_are_delivered_again(place: Place) -> None:
    """Merged meanwhile, a row has a higher number and stays."""
    inner, calls = MemoryStore(), 0
    journal: Journal

    class Slow(FlakyStore):
        async def add(self, revocations: Sequence[Revocation]) -> Outcome:
            nonlocal calls
            calls += 1
            outcome = await self.inner.add(revocations)
            if calls == 1:
                run_blocking(journal._outbox.rows.add([record("x", until=3e9)]))
            return outcome

    broken = FlakyStore(inner)
    broken.broken = True
    journal = Journal(broken, place.path, open_store=lambda: Slow(inner), run_blocking=run_blocking)
    run_blocking(journal.add([record("x"), record("y")]))

    until(lambda: place.waiting(journal) == 0)

    assert list(run_blocking(inner.find([record("x").key]))) == [record("x", until=3e9)]
    assert calls == 2
    # The store of the courier shares its insides with the one we look into, so only the journal is stopped.
    journal._stop()
    run_blocking(journal._outbox.rows.close())


def test_more_than_a_batch_is_delivered_whole(place: Place) -> None:
    """An outage of an hour has thousands of logouts."""
    journal, elsewhere = place.journal(), place.store()
    place.take_away()
    run_blocking(journal.add([record(f"{n}") for n in range(1234)]))
    place.bring_back()

    until(lambda: place.waiting(journal) == 0)

    assert run_blocking(elsewhere.count()) == 1234


def test_what_cannot_be_noted_is_delivered_all_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the store gets every batch, once in this life; the progress is noted when there is room."""
    full = True
    inner = Outbox.advance

    def advance(outbox: Outbox, was: Progress, **now: int) -> bool:
        if full and was.noted:
            raise StoreError("cannot write: database or disk is full")
        return inner(outbox, was, **now)

    monkeypatch.setattr(Outbox, "advance", advance)
    journal, elsewhere = place.journal(), place.store()
    place.take_away()
    run_blocking(journal.add([record(f"{n}") for n in range(500)]))
    place.bring_back()

    until(lambda: run_blocking(elsewhere.count()) == 500)

    assert place.waiting(journal) == 500
    full = False
    until(lambda: place.waiting(journal) == 0)


def test_counting_goes_on_here_while_the_store_is_away(place: Place) -> None:
    """A rate limit that cannot be shared is still a rate limit."""
    journal = place.journal()
    place.take_away()

    counts = [run_blocking(journal.hit(b"k" * 16, 60.0)) for _ in range(3)]

    assert [count.count for count in counts] == [1, 2, 3]
    assert all(isinstance(count, Count) for count in counts)


def test_a_mistake_is_not_taken_for_an_absent_store(place: Place) -> None:
    """ConfigurationError is the operator's, and stays it."""

    class Wrong(FlakyStore):
        async def add(self, revocations: Sequence[Revocation]) -> Outcome:
            raise ConfigurationError("E301 LOGOUT_STORE: another version")

    journal = Journal(Wrong(MemoryStore()), place.path, open_store=MemoryStore, run_blocking=run_blocking)

    with pytest.raises(ConfigurationError):
        run_blocking(journal.add([record("x")]))

    assert place.waiting(journal) == 0
    run_blocking(journal.close())


def test_the_feed_tells_of_what_waits_and_is_complete_only_with_the_store(place: Place) -> None:
    """Open connections of this host are cut at once, also for a 202."""
    journal = place.journal()
    run_blocking(journal.add([record("a")]))
    page = run_blocking(journal.changes(None))
    assert (page.revocations, page.complete) == ([record("a")], True)
    place.take_away()
    with pytest.raises(StoreError):
        run_blocking(journal.changes(page.cursor))

    run_blocking(journal.add([record("b")]))
    page = run_blocking(journal.changes(page.cursor))

    assert (page.revocations, page.complete) == ([record("b")], False)
    place.bring_back()
    until(lambda: place.waiting(journal) == 0)
    page = run_blocking(journal.changes(page.cursor, 0.05))
    assert (page.revocations, page.complete) == ([record("b")], True)
    assert run_blocking(journal.changes(page.cursor, 0.05)).revocations == []


def test_check_tells_what_waits(place: Place) -> None:
    """Also when the store cannot be asked."""
    journal = place.journal()
    assert run_blocking(journal.check())["journal"] == f"{place.path}, 0 revocations wait for the store"
    place.take_away()
    run_blocking(journal.add([record("x")]))

    with pytest.raises(StoreError, match=r"journal\.db, 1 revocations wait"):
        run_blocking(journal.check())


def test_versions_of_two_states_are_never_the_same(place: Place) -> None:
    """Whatever changes, here or there, in whatever order."""
    journal, elsewhere = place.journal(), place.store()
    inner = journal.inner
    assert isinstance(inner, FlakyStore)
    journal._store_version = inner.inner.version  # a store that can tell its version
    assert not knows(journal, "x")
    seen = [journal.version()]
    for turn in range(10):
        if turn % 2:
            run_blocking(elsewhere.real.add([record(f"{turn}")]))
        else:
            run_blocking(journal._outbox.rows.add([record(f"{turn}")]))
        seen.append(journal.version())

    assert None not in seen
    assert len(set(seen)) == len(seen)
    assert journal.version() == journal.version()
    journal._store_version = lambda: None
    assert journal.version() is None


# ---- a store that forgot, and journals of others -----------------------------------------------------


def _empty(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        (path.parent / name).unlink(missing_ok=True)


def test_a_store_that_forgot_while_no_worker_ran_is_noticed(place: Place) -> None:
    """The journal remembers it; logouts wait until somebody adopts the store, and then it is taught all of them."""
    place.take_away()
    first = place.journal()
    run_blocking(first.add([record("taken")]))
    place.bring_back()
    until(lambda: place.waiting(first) == 0)
    run_blocking(first.close())
    _empty(place.folder / "store.db")

    journal = place.journal()
    with pytest.raises(StoreForgot, match=r"LOGOUT_JOURNAL=.*journal of another store, name another file"):
        knows(journal, "somebody else")
    with pytest.raises(PartlyKnown, match="has forgotten"):
        knows(journal, "taken")
    assert run_blocking(journal.add([record("meanwhile")])) is Outcome.PENDING
    elsewhere = place.store()
    time.sleep(0.6)
    assert run_blocking(elsewhere.count()) == 0
    run_blocking(elsewhere.real.adopt())

    until(lambda: knows(elsewhere, "taken") and knows(elsewhere, "meanwhile"))
    assert knows(journal, "meanwhile")
    assert not knows(journal, "somebody else")


def test_an_older_copy_of_the_store_is_noticed_after_a_restart(place: Place) -> None:
    """The number of changes is remembered, about once a second and at the end."""
    first = place.journal()
    run_blocking(first.add([record("early")]))
    store = place.folder / "store.db"
    first_inner = first.inner
    assert isinstance(first_inner, SwitchedStore)
    _checkpoint(first_inner.real)
    old = store.read_bytes()
    run_blocking(first.add([record("late")]))
    assert knows(first, "late")
    run_blocking(first.close())
    _empty(store)
    store.write_bytes(old)

    with pytest.raises(StoreForgot, match="1 changes that it had acknowledged are missing"):
        knows(place.journal(), "late")


def _checkpoint(store: SqliteStore) -> None:
    with store._writing():
        pass
    assert store._writer is not None
    store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def test_the_journal_of_another_store_delivers_nothing_to_this_one(place: Place, tmp_path: Path) -> None:
    """Two applications were given one file: the second is told, and neither gets the other's logouts."""
    place.take_away()
    first = place.journal()
    run_blocking(first.add([record("of the first")]))
    place.bring_back()
    until(lambda: place.waiting(first) == 0)
    until(lambda: bool(first._outbox.marks()))
    place.take_away()
    run_blocking(first.add([record("too")]))
    run_blocking(first.close())
    folder = tmp_path / "second"
    folder.mkdir()
    second = Place(folder)

    other = second.journal(path=place.path)
    with pytest.raises(StoreForgot, match="LOGOUT_JOURNAL"):
        knows(other, "somebody")
    assert run_blocking(other.add([record("mine")])) is Outcome.PENDING
    time.sleep(0.6)

    assert run_blocking(second.store().count()) == 0
    second.close()


def test_two_stores_that_begin_with_one_journal_at_once_are_found_out(place: Place, tmp_path: Path) -> None:
    """The first one's it is; the other's workers deliver nothing."""
    folder = tmp_path / "second"
    folder.mkdir()
    second = Place(folder)
    one, other = place.journal(), second.journal(path=place.path)
    knows(one, "x")
    until(lambda: bool(one._outbox.marks()))
    knows(other, "x")

    with pytest.raises(StoreError, match=r"LOGOUT_JOURNAL=.* is the journal of another store"):
        other._outbox.remember(other.memory.snapshot() if other.memory is not None else {})

    second.close()


# ---- files that cannot be a journal ------------------------------------------------------------------


def test_a_journal_that_is_the_stores_own_file_is_refused(place: Place) -> None:
    """Whatever it is called, and whatever the prefix of the tables."""
    inner = SqliteStore(place.path, prefix="mine:")

    with pytest.raises(ConfigurationError, match=r"E324 LOGOUT_JOURNAL: .*journal\.db is not a journal"):
        place.journal()

    run_blocking(inner.add([record("x")]))
    run_blocking(inner.close())


def test_a_journal_is_refused_as_a_store(place: Place) -> None:
    """What waits in it would be taken for delivered."""
    run_blocking(place.journal().close())

    with pytest.raises(ConfigurationError, match=r"E304 LOGOUT_STORE: .* is a journal"):
        SqliteStore(place.path)


def test_somebody_elses_database_is_left_alone(place: Place) -> None:
    """Not even its journal mode is changed."""
    connection = sqlite3.connect(place.path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    before = place.path.read_bytes()

    with pytest.raises(ConfigurationError, match="E324 LOGOUT_JOURNAL"):
        place.journal()

    assert place.path.read_bytes() == before


@pytest.mark.parametrize("kind", ["no folder", "folder", "text"])
def test_a_place_that_cannot_be_used_is_a_clear_error_at_start(place: Place, kind: str) -> None:
    """It names the variable, the file and the remedy."""
    path = place.folder / ("missing/journal.db" if kind == "no folder" else "there")
    if kind == "folder":
        path.mkdir()
    if kind == "text":
        path.write_text("my notes, which are longer than nothing\n" * 100)

    with pytest.raises(ConfigurationError, match=r"E322 LOGOUT_JOURNAL: cannot use .*name a file in a folder that"):
        place.journal(path=path)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody who may not read it")
def test_a_journal_that_may_not_be_read_is_a_clear_error_at_start(place: Place) -> None:
    """Another user's file, after a change of the service's account."""
    run_blocking(place.journal().close())
    ours, theirs = os.pipe()

    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            Journal(MemoryStore(), place.path, open_store=MemoryStore, run_blocking=run_blocking)
        except ConfigurationError as error:
            os.write(theirs, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(theirs)
    said = os.read(ours, 1000).decode()
    os.close(ours)

    assert said.startswith("E322 LOGOUT_JOURNAL: cannot use the database")


def test_a_journal_that_was_deleted_is_cannot_know(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had taken nobody else knows."""
    monkeypatch.setattr("logout_middleware.stores.sqlite._FILE_CHECK_SECONDS", 0.0)
    journal = place.journal()
    place.take_away()
    run_blocking(journal.add([record("x")]))
    _empty(place.path)

    with pytest.raises(StoreError, match="is gone"):
        knows(journal, "x")
    assert journal.version() is None
    with pytest.raises(StoreError, match=r"away.*and the journal cannot take it \(LOGOUT_JOURNAL\): .*is gone"):
        run_blocking(journal.add([record("y")]))


def test_a_journal_that_was_emptied_is_cannot_know_until_somebody_adopts(place: Place) -> None:
    """An operator's process may do it, which never knew what was in it; the workers go on without a restart."""
    journal, operator = place.journal(), place.journal()
    place.take_away()
    run_blocking(journal.add([record("x")]))
    with pytest.raises(PartlyKnown):
        knows(journal, "x")
    with sqlite3.connect(place.path) as connection:
        connection.execute('DELETE FROM "logout:revocations"')
    connection.close()
    place.bring_back()

    with pytest.raises(StoreForgot, match=r"LOGOUT_JOURNAL .*journal\.db has forgotten"):
        knows(journal, "y")
    run_blocking(operator.adopt())

    assert not knows(journal, "y")
    place.take_away()
    run_blocking(journal.add([record("z")]))
    place.bring_back()
    elsewhere = place.store()
    until(lambda: knows(elsewhere, "z"))


def test_rows_taken_after_a_journal_was_emptied_are_delivered(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """While no worker ran, so nobody remembers: it is told, and what comes next is not taken for delivered."""
    first, elsewhere = place.journal(), place.store()
    place.take_away()
    run_blocking(first.add([record(f"{n}") for n in range(5)]))
    place.bring_back()
    until(lambda: place.waiting(first) == 0)
    run_blocking(first.close())
    with sqlite3.connect(place.path) as connection:
        connection.execute('DELETE FROM "logout:revocations"')
    connection.close()

    journal = place.journal()
    place.take_away()
    run_blocking(journal.add([record("x")]))
    place.bring_back()

    until(lambda: knows(elsewhere, "x"))
    assert "rows of the journal" in caplog.text


def test_a_damaged_journal_is_a_clear_error_at_start(place: Place) -> None:
    """What waits in it must not be passed over in silence."""
    run_blocking(place.journal().close())
    with sqlite3.connect(place.path) as connection:
        connection.execute("UPDATE \"logout:state\" SET value = 'x' WHERE name = 'delivered'")
    connection.close()

    with pytest.raises(ConfigurationError, match=r"E325 LOGOUT_JOURNAL: .*is damaged"):
        place.journal()


FULL = """
import resource, sys
from pathlib import Path
from logout_middleware import StoreError
from logout_middleware.colour import run_blocking
from tests.stores.test_journal import Place, record
place = Place(Path(sys.argv[1]))
journal = place.journal()
place.take_away()
run_blocking(journal.add([record("first")]))
size = max(file.stat().st_size for file in place.folder.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20000, size + 20000))
said = []
for turn in range(200):
    try:
        run_blocking(journal.add([record(f"{turn} {n}") for n in range(20)]))
        print(turn, flush=True)
    except StoreError as error:
        print(error, flush=True)
        break
"""


def test_a_full_disk_is_an_error_and_what_was_taken_stays(place: Place) -> None:
    """503, never a 202 that is not there; the next process reads what was acknowledged."""
    child = subprocess.run(
        [sys.executable, "-c", FULL, str(place.folder)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    *taken, error = child.stdout.splitlines()

    assert "the journal cannot take it (LOGOUT_JOURNAL): cannot write" in error
    assert taken
    journal = place.journal()
    place.bring_back()
    until(lambda: place.waiting(journal) == 0)
    elsewhere = place.store()
    assert knows(elsewhere, "first")
    assert all(knows(elsewhere, f"{turn} {n}") for turn in taken for n in range(20))


# ---- kill -9, fork, threads --------------------------------------------------------------------------

STEPS = """
import functools, os, signal, sys, time
from pathlib import Path
from logout_middleware.colour import run_blocking
from logout_middleware.stores import journal as module
from tests.stores.test_journal import Place, SwitchedStore, record, until
folder, step = Path(sys.argv[1]), sys.argv[2]
place = Place(folder)

def die(): os.kill(os.getpid(), signal.SIGKILL)

def dying(owner, name, *, after):
    inner = getattr(owner, name)
    def around(*given, **more):
        if not after: die()
        result = inner(*given, **more)
        die()
    setattr(owner, name, around)

def dying_add(store, *, after):
    inner = store.add
    async def around(revocations):
        if not after: die()
        await inner(revocations)
        die()
    store.add = around

journal = place.journal()
place.take_away()
outbox = journal._outbox
if step == "before the store is asked": dying_add(journal.inner, after=False)
if step == "before the journal writes": dying_add(outbox.rows, after=False)
if step == "after the journal wrote": dying_add(outbox.rows, after=True)
def opened():
    store = SwitchedStore(folder)
    if step == "before the delivery": dying_add(store, after=False)
    if step == "after the delivery": dying_add(store, after=True)
    return store
journal._new_courier = functools.partial(module.Courier, outbox, opened, run_blocking, journal.memory)
if step == "before the progress is noted": dying(outbox, "advance", after=False)
if step == "after the progress was noted": dying(outbox, "advance", after=True)
if step == "before the purge": dying(outbox.rows, "purge", after=False)
run_blocking(journal.add([record("x")]))
print("acknowledged", flush=True)
place.bring_back()
until(lambda: place.waiting(journal) == 0)
time.sleep(5)
"""


@pytest.mark.parametrize(
    "step",
    [
        "before the store is asked", "before the journal writes", "after the journal wrote", "before the delivery",
        "after the delivery", "before the progress is noted", "after the progress was noted", "before the purge",
    ],
)  # fmt: skip
def test_killed_between_any_two_steps_nothing_acknowledged_is_lost(place: Place, step: str) -> None:
    """The next life knows it at once, and the store has it soon."""
    child = subprocess.run(
        [sys.executable, "-c", STEPS, str(place.folder), step], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    written = step not in ("before the store is asked", "before the journal writes")
    assert child.stdout == ("" if not written or step == "after the journal wrote" else "acknowledged\n")
    place.take_away()

    journal = place.journal()

    if written:
        with pytest.raises(PartlyKnown):
            knows(journal, "x")
    place.bring_back()
    elsewhere = place.store()
    until(lambda: place.waiting(journal) == 0)
    assert knows(elsewhere, "x") == written


MOMENTS = """
import sys
from pathlib import Path
from logout_middleware.colour import run_blocking
from tests.stores.test_journal import Place, record
place, life = Place(Path(sys.argv[1])), sys.argv[2]
journal = place.journal()
print("ready", flush=True)
for turn in range(100000):
    if turn % 7 == 0: place.take_away()
    if turn % 7 == 4: place.bring_back()
    outcome = run_blocking(journal.add([record(f"{life} {turn}"), record("shared", until=1e9 + turn)]))
    print(f"{life} {turn}", outcome.value, flush=True)
"""


def test_killed_at_25_random_moments_nothing_acknowledged_is_lost(place: Place) -> None:
    """Each life goes on with the file of the one before it, while the store comes and goes."""
    chance = random.Random(4711)
    acknowledged: list[str] = []
    pending = 0
    for life in range(25):
        child = subprocess.Popen(
            [sys.executable, "-c", MOMENTS, str(place.folder), f"{life}"], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with suppress(subprocess.TimeoutExpired):
            child.wait(chance.uniform(0.0, 0.12))
        child.kill()
        lines = [line for line in child.stdout if line.endswith("\n")]
        child.wait()
        child.stdout.close()
        acknowledged += [line.rsplit(" ", 1)[0] for line in lines]
        pending += sum(line.endswith("pending\n") for line in lines)

    place.bring_back()
    journal, elsewhere = place.journal(), place.store()
    lost_here = [name for name in acknowledged if not knows(journal, name)]
    until(lambda: place.waiting(journal) == 0)

    assert lost_here == []
    assert [name for name in acknowledged if not knows(elsewhere, name)] == []
    assert pending > 20
    assert len(acknowledged) > pending


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_both_processes_take_and_deliver(place: Place) -> None:
    """Gunicorn --preload: the child has a courier of its own, and the parent's goes on."""
    journal, elsewhere = place.journal(), place.store()
    run_blocking(journal.add([record("before")]))
    place.take_away()
    run_blocking(journal.add([record("by the parent")]))

    child = os.fork()
    if child == 0:
        try:
            run_blocking(journal.add([record("by the child")]))
            place.bring_back()
            until(lambda: place.waiting(journal) == 0)
            os.write(1, b"")
            os._exit(0 if threading.active_count() == 2 else 3)
        finally:
            os._exit(4)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert knows(elsewhere, "by the child")
    assert knows(elsewhere, "by the parent")
    place.take_away()
    run_blocking(journal.add([record("after")]))
    place.bring_back()
    until(lambda: knows(elsewhere, "after"))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_never_uses_the_journal_does_not_stop_the_delivery(place: Place) -> None:
    """What a fork copies must not hold the lock of the delivery."""
    journal, elsewhere = place.journal(), place.store()
    place.take_away()
    run_blocking(journal.add([record("x")]))
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        children.append(child)
        time.sleep(0.02)
    run_blocking(journal.close())
    place.bring_back()

    place.journal()

    until(lambda: knows(elsewhere, "x"))
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_threads_add_while_the_store_comes_and_goes(place: Place) -> None:
    """Every answer is true, and in the end the store has everything."""
    journal, elsewhere = place.journal(), place.store()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                run_blocking(journal.add([record(f"{number} {turn}")]))
                with suppress(StoreError):  # what the store has while it is away is not known, which is not "no"
                    assert knows(journal, f"{number} {turn}")
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        place.take_away()
        time.sleep(0.005)
        place.bring_back()
        time.sleep(0.005)
    for thread in threads:
        thread.join()
    until(lambda: place.waiting(journal) == 0)

    assert failures == []
    assert all(knows(elsewhere, f"{number} {turn}") for number in range(6) for turn in range(20))


def test_closing_ends_the_thread_and_closes_twice(place: Place) -> None:
    """Nothing is left behind, and a closed journal says so."""
    before = threading.active_count()
    journal = place.journal()
    knows(journal, "x")
    assert threading.active_count() == before + 1

    run_blocking(journal.close())
    run_blocking(journal.close())

    assert threading.active_count() == before
    assert journal.version() is None
    with pytest.raises(StoreError):
        knows(journal, "x")
    assert threading.active_count() == before


def test_a_journal_that_is_dropped_ends_its_thread(place: Place) -> None:
    """Without close, as in a test of somebody else's."""
    before = threading.active_count()
    inner = MemoryStore()
    journal = Journal(inner, place.path, open_store=MemoryStore, run_blocking=run_blocking)
    knows(journal, "x")

    del journal

    until(lambda: threading.active_count() == before)


def test_nothing_in_the_file_is_a_name(place: Place) -> None:
    """Keys are digests, and the marks are random ids."""
    journal = place.journal()
    place.take_away()
    run_blocking(journal.add([record("planted-user-4711")]))
    assert set(json.loads(journal._outbox.rows.note("marks") or "{}")) <= {"0"}
    run_blocking(journal.close())

    assert all(b"planted" not in file.read_bytes() for file in place.folder.iterdir() if file.name != "away")
