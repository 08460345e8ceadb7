"""Watching SQLite's shared memory: every commit is seen, whatever happens to the log, and locks are never lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
from pathlib import Path

import pytest

from logout_middleware import StoreError
from logout_middleware.colour import run_blocking
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of
from logout_middleware.stores import sqlite as store_module
from logout_middleware.stores.sqlite import SqliteStore
from logout_middleware.stores.wal_header import HEADER_BYTES, watch

from .test_sqlite import _add_in_child


def record(name: str) -> Revocation:
    return Revocation(key_of("test", None, name), FOREVER, 2e9, "logout")


def knows(store: SqliteStore, name: str) -> bool:
    return bool(run_blocking(store.find([record(name).key])))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logout.db"


def test_the_store_watches_instead_of_asking(path: Path) -> None:
    """After the first question the header is mapped; while nothing happens the version stays."""
    store = SqliteStore(path)
    run_blocking(store.add([record("one")]))
    assert knows(store, "one")
    first = store.version()

    assert store._header is not None
    assert len(store._header.read()) == HEADER_BYTES
    assert [store.version() for _ in range(5)] == [first] * 5
    run_blocking(store.add([record("two")]))
    assert store.version() != first
    run_blocking(store.close())


def _add_many(path: str, count: int, ready: object) -> None:
    store = SqliteStore(path)
    for number in range(count):
        run_blocking(store.add([record(f"{number}")]))
        ready.send(number)  # type: ignore[attr-defined]


def test_each_of_hundreds_of_logouts_of_another_process_is_seen_when_it_is_acknowledged(path: Path) -> None:
    """No logout is acknowledged before its header is in the memory that we look at."""
    store = SqliteStore(path)
    assert not knows(store, "0")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_add_many, args=(str(path), 300, theirs))
    child.start()
    theirs.close()
    missed = []
    seen: set[int | None] = set()
    for _ in range(300):
        number = ours.recv()
        seen.add(store.version())
        if not knows(store, f"{number}"):
            missed.append(number)
    child.join()
    ours.close()

    assert missed == []
    assert None not in seen
    assert len(seen) > 100
    run_blocking(store.close())


@pytest.mark.parametrize("mode", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
def test_a_checkpoint_of_any_kind_hides_nothing_that_follows(path: Path, mode: str) -> None:
    """The log starts over; salts and checksums differ."""
    store, other = SqliteStore(path), SqliteStore(path)
    run_blocking(other.add([record("before")]))
    assert knows(store, "before")
    connection = sqlite3.connect(path)
    for turn in range(5):
        connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        run_blocking(other.add([record(f"{turn}")]))

        assert knows(store, f"{turn}")

    connection.close()
    run_blocking(other.close())
    run_blocking(store.close())


def _die_while_writing(path: str, ready: object) -> None:
    store = SqliteStore(path)
    run_blocking(store.add([record("acknowledged")]))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("PRAGMA cache_size=1")
    connection.execute('DELETE FROM "logout:revocations"')
    ready.send("writing")  # type: ignore[attr-defined]
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_writer_that_dies_in_the_middle_changes_nothing_and_stops_nobody(path: Path) -> None:
    """Its transaction never was; ours go on, and are seen."""
    store = SqliteStore(path)
    assert not knows(store, "acknowledged")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_die_while_writing, args=(str(path), theirs))
    child.start()
    assert ours.recv() == "writing"
    child.join()
    ours.close()
    theirs.close()

    assert child.exitcode == -signal.SIGKILL
    assert knows(store, "acknowledged")
    other = SqliteStore(path)
    run_blocking(other.add([record("after")]))
    assert knows(store, "after")
    run_blocking(other.close())
    run_blocking(store.close())


def test_closing_one_store_leaves_the_locks_of_another_alone(path: Path) -> None:
    """A descriptor closed too early would drop them, and a third opener would take the database for abandoned."""
    first, second = SqliteStore(path), SqliteStore(path)
    run_blocking(first.add([record("one")]))
    assert knows(first, "one")
    assert knows(second, "one")
    inode = os.stat(f"{path}-shm").st_ino

    run_blocking(first.close())
    third = SqliteStore(path)
    run_blocking(third.add([record("two")]))

    assert os.stat(f"{path}-shm").st_ino == inode
    assert knows(second, "two")
    run_blocking(third.close())
    run_blocking(second.close())


def test_when_the_last_store_closes_nothing_stays_open(path: Path) -> None:
    """Hundreds of stores in one process, as in tests, do not run out of descriptors."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        store = SqliteStore(path)
        run_blocking(store.add([record("one")]))
        assert knows(store, "one")
        run_blocking(store.close())

    assert len(os.listdir("/proc/self/fd")) == before


def test_where_it_cannot_be_watched_the_database_is_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another system, another format: the pragma tells the same."""
    monkeypatch.setattr(store_module, "watch", lambda database: None)
    store, other = SqliteStore(path), SqliteStore(path)
    first = store.version()
    assert store.version() == first

    run_blocking(other.add([record("one")]))

    assert store.version() != first
    assert knows(store, "one")
    run_blocking(other.close())
    run_blocking(store.close())


def test_opening_and_closing_beside_a_living_store_keeps_one_descriptor(path: Path) -> None:
    """The file is opened once in a process, whoever watches it."""
    living = SqliteStore(path)
    run_blocking(living.add([record("one")]))
    assert knows(living, "one")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(30):
        store = SqliteStore(path)
        run_blocking(store.add([record(f"{number}")]))
        assert knows(store, f"{number}")
        if number % 2:
            run_blocking(store.close())
        del store
        assert knows(living, f"{number}")

    assert len(os.listdir("/proc/self/fd")) <= before + 2
    run_blocking(living.close())


def test_shared_memory_that_somebody_removed_is_cannot_know(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others would write where we do not look."""
    monkeypatch.setattr(store_module, "_FILE_CHECK_SECONDS", 0.0)
    store = SqliteStore(path)
    run_blocking(store.add([record("one")]))
    assert knows(store, "one")

    os.unlink(f"{path}-shm")

    with pytest.raises(StoreError, match=r"shared memory .* was removed"):
        knows(store, "one")
    assert store.version() is None
    run_blocking(store.close())


def test_asking_for_the_version_while_another_thread_closes_never_raises(path: Path) -> None:
    """It is None or a number, and after the end None."""
    failures: list[BaseException] = []
    for _ in range(50):
        store = SqliteStore(path)
        run_blocking(store.add([record("one")]))
        knows(store, "one")
        going = threading.Event()

        def ask(store: SqliteStore = store, going: threading.Event = going) -> None:
            going.set()
            try:
                while store.version() is not None:
                    pass
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
                failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        going.wait()
        run_blocking(store.close())
        thread.join()

    assert failures == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_outlives_its_parent_store_still_sees_and_is_seen(path: Path) -> None:
    """SQLite's lists of locks must not cross the fork: a third process would take the database for abandoned."""
    store = SqliteStore(path)
    run_blocking(store.add([record("before")]))
    assert knows(store, "before")
    to_child, of_child = os.pipe(), os.pipe()

    child = os.fork()
    if child == 0:
        try:
            seen = knows(store, "before")
            os.write(of_child[1], b"1" if seen else b"0")
            os.read(to_child[0], 1)
            seen = knows(store, "by a third")
            run_blocking(store.add([record("by the child")]))
            os.write(of_child[1], b"1" if seen else b"0")
        finally:
            os._exit(0)
    first = os.read(of_child[0], 1)
    run_blocking(store.close())
    context = multiprocessing.get_context("spawn")
    third = context.Process(target=_add_in_child, args=(str(path), "by a third"))
    third.start()
    third.join()
    os.write(to_child[1], b"x")
    second = os.read(of_child[0], 1)
    os.waitpid(child, 0)
    for end in (*to_child, *of_child):
        os.close(end)
    late = SqliteStore(path)

    assert (first, second) == (b"1", b"1")
    assert knows(late, "by the child")
    assert knows(late, "by a third")
    run_blocking(late.close())


def test_a_file_of_another_format_is_not_watched(tmp_path: Path) -> None:
    """The first four bytes are the format; nothing is guessed."""
    (tmp_path / "x.db-shm").write_bytes(b"\x01" * 32768)
    (tmp_path / "empty.db-shm").write_bytes(b"")

    assert watch(tmp_path / "x.db") is None
    assert watch(tmp_path / "empty.db") is None
    assert watch(tmp_path / "missing.db") is None
