"""The embedded store where it is hardest: other processes, kill -9, forks, files that go away."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from logout_middleware import ConfigurationError, StoreError
from logout_middleware.colour import run_blocking
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of
from logout_middleware.stores import FeedGap, Store, StoreForgot
from logout_middleware.stores import sqlite as store_module
from logout_middleware.stores.sqlite import SqliteStore
from logout_middleware.stores.sqlite_file import judge_file_system
from logout_middleware.testing import MovableClock


def record(name: str) -> Revocation:
    return Revocation(key_of("test", None, name), FOREVER, 2e9, "logout")


def knows(store: Store, name: str) -> bool:
    return bool(run_blocking(store.find([record(name).key])))


def _add_in_child(path: str, name: str) -> None:
    run_blocking(SqliteStore(path).add([record(name)]))


def test_four_processes_that_start_at_once_all_get_their_word_in(tmp_path: Path) -> None:
    """Making the file, switching its mode and writing do not collide."""
    path = tmp_path / "logout.db"
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_add_in_child, args=(str(path), f"child {n}")) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()

    store = SqliteStore(path)

    assert [child.exitcode for child in children] == [0, 0, 0, 0]
    assert all(knows(store, f"child {n}") for n in range(4))
    run_blocking(store.close())


def test_what_was_acknowledged_survives_kill_9_at_any_moment(tmp_path: Path) -> None:
    """A process that adds without pause is killed; everything it said it had added is there."""
    path = tmp_path / "logout.db"
    code = (
        "import sys\n"
        "from logout_middleware.colour import run_blocking\n"
        "from logout_middleware.stores.sqlite import SqliteStore\n"
        "from tests.stores.test_sqlite import record\n"
        "store = SqliteStore(sys.argv[1])\n"
        "for n in range(100000):\n"
        "    run_blocking(store.add([record(f'{n}')]))\n"
        "    print(n, flush=True)\n"
    )
    root = Path(__file__).parent.parent.parent
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, cwd=root)
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(200)]
    os.kill(child.pid, signal.SIGKILL)
    said += child.stdout.readlines()
    child.wait()
    child.stdout.close()

    store = SqliteStore(path)

    assert child.returncode == -signal.SIGKILL
    assert len(said) >= 200
    assert all(knows(store, line.strip()) for line in said if line.endswith("\n"))
    run_blocking(store.close())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_connections_do_not_cross_a_fork(tmp_path: Path) -> None:
    """Gunicorn --preload: parent and child both go on, each with its own connections, and see each other's logouts."""
    store = SqliteStore(tmp_path / "logout.db")
    run_blocking(store.add([record("before")]))
    assert knows(store, "before")
    reader, writer = os.pipe()

    child = os.fork()
    if child == 0:
        try:
            known = knows(store, "before")
            run_blocking(store.add([record("by child")]))
            os.write(writer, b"yes" if known else b"no")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    answer = os.read(reader, 10)
    os.close(reader)
    os.close(writer)

    assert answer == b"yes"
    assert knows(store, "by child")
    run_blocking(store.add([record("after")]))
    assert knows(store, "after")
    run_blocking(store.close())


def test_a_file_that_was_deleted_or_replaced_is_cannot_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty database in its place would let everybody in again."""
    monkeypatch.setattr("logout_middleware.stores.sqlite._FILE_CHECK_SECONDS", 0.0)
    path = tmp_path / "logout.db"
    store = SqliteStore(path)
    run_blocking(store.add([record("one")]))
    assert knows(store, "one")

    path.rename(tmp_path / "elsewhere.db")

    with pytest.raises(StoreError, match="is gone"):
        knows(store, "one")
    with pytest.raises(StoreError, match="is gone"):
        run_blocking(store.add([record("two")]))
    replaced = SqliteStore(path)
    with pytest.raises(StoreError, match="was replaced"):
        knows(store, "one")
    run_blocking(replaced.close())
    run_blocking(store.close())


@pytest.mark.parametrize("place", ["missing/folder/logout.db", "."])
def test_a_place_that_cannot_be_used_is_a_clear_error_at_start(tmp_path: Path, place: str) -> None:
    """It names the variable, the file and the remedy."""
    with pytest.raises(
        ConfigurationError, match=r"E302 LOGOUT_STORE: cannot use the database .*name a file in a folder"
    ):
        SqliteStore(tmp_path / place)


def test_a_file_that_is_not_a_database_is_a_clear_error_and_is_left_alone(tmp_path: Path) -> None:
    """A wrong path must not destroy somebody's file."""
    path = tmp_path / "notes.txt"
    path.write_text("my notes, which are longer than nothing\n" * 100)

    with pytest.raises(ConfigurationError, match="E302 LOGOUT_STORE"):
        SqliteStore(path)

    assert path.read_text().startswith("my notes")


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A rolled back deployment must not read what it does not understand."""
    path = tmp_path / "logout.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()

    with pytest.raises(ConfigurationError, match=r"E301 LOGOUT_STORE: .* has schema version 99"):
        SqliteStore(path)


def test_a_writer_that_holds_the_lock_does_not_stop_readers(tmp_path: Path) -> None:
    """Guarded requests go on; a logout that cannot be recorded says so instead of pretending."""
    store = SqliteStore(tmp_path / "logout.db", write_seconds=0.01)
    run_blocking(store.add([record("one")]))
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    assert knows(store, "one")
    with pytest.raises(StoreError, match="cannot write"):
        run_blocking(store.add([record("two")]))

    other.execute("COMMIT")
    other.close()
    run_blocking(store.add([record("two")]))
    assert knows(store, "two")
    run_blocking(store.close())


def test_threads_do_not_wait_in_turn_for_a_lock_that_another_process_holds(tmp_path: Path) -> None:
    """Each is told after its own time, however many there are."""
    store = SqliteStore(tmp_path / "logout.db", write_seconds=0.2)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    took: list[float] = []

    def work() -> None:
        began = time.monotonic()
        with pytest.raises(StoreError, match="cannot write"):
            run_blocking(store.add([record("one")]))
        took.append(time.monotonic() - began)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(took) == 8
    assert max(took) < 1.0
    other.execute("COMMIT")
    other.close()
    run_blocking(store.close())


def test_two_prefixes_in_one_file_are_two_stores(tmp_path: Path) -> None:
    """KEY_PREFIX keeps applications apart, whatever characters it has."""
    path = tmp_path / "logout.db"
    one, other = SqliteStore(path, prefix="a-b:"), SqliteStore(path, prefix='a_b"')

    run_blocking(one.add([record("x")]))

    assert knows(one, "x")
    assert not knows(other, "x")
    run_blocking(one.close())
    run_blocking(other.close())


def test_nothing_in_the_file_is_a_name_or_a_token(tmp_path: Path) -> None:
    """A stolen file tells no secrets; reasons are ours, keys are digests."""
    store = SqliteStore(tmp_path / "logout.db", clock=MovableClock())

    run_blocking(store.add([record("planted-user-4711")]))
    run_blocking(store.close())

    assert all(b"planted" not in file.read_bytes() for file in tmp_path.iterdir())


# ---- is it the store that it was? --------------------------------------------------------------------


@pytest.fixture
def checks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is looked at with every question, not once a second."""
    monkeypatch.setattr(store_module, "_FILE_CHECK_SECONDS", 0.0)


def assert_forgot(store: SqliteStore, name: str) -> None:
    """Every way to ask or tell it says so, and goes on saying so."""
    for _ in range(2):
        with pytest.raises(StoreForgot, match="adopt-store"):
            knows(store, name)
        assert store.version() is None
        with pytest.raises(StoreForgot):
            run_blocking(store.changes(None))
        with pytest.raises(StoreForgot):
            run_blocking(store.add([record("another")]))


def test_an_emptied_table_is_cannot_know_until_it_is_adopted(tmp_path: Path) -> None:
    """Somebody cleared it beneath running workers: nobody is let in again, and each accepts what one adopts."""
    path = tmp_path / "logout.db"
    one, other = SqliteStore(path), SqliteStore(path)
    run_blocking(one.add([record("a"), record("b")]))
    assert knows(one, "a")
    assert knows(other, "b")
    with sqlite3.connect(path) as connection:
        connection.execute('DELETE FROM "logout:revocations"')
    connection.close()

    for store in (one, other):
        assert_forgot(store, "a")
    operator = SqliteStore(path)
    run_blocking(operator.adopt())

    for store in (one, other, operator):
        run_blocking(store.add([record("c")]))
        assert knows(store, "c")
    assert knows(one, "a")  # what a worker knew, it goes on knowing
    for store in (one, other, operator):
        run_blocking(store.close())


def test_adopting_in_the_worker_that_noticed_is_enough(tmp_path: Path) -> None:
    """Two adoptions within a second are two, and the clock of the operator's machine may be behind."""
    clock = MovableClock()
    path = tmp_path / "logout.db"
    store, other = SqliteStore(path, clock=clock), SqliteStore(path, clock=clock)
    for turn in range(3):
        run_blocking(store.add([record(f"{turn}")]))
        assert knows(store, f"{turn}")
        assert knows(other, f"{turn}")
        with sqlite3.connect(path) as connection:
            connection.execute('DELETE FROM "logout:revocations"')
        connection.close()
        assert_forgot(store, "x")
        assert_forgot(other, "x")
        clock.move(-100.0)

        run_blocking(store.adopt())

        assert not knows(store, "x")
        assert not knows(other, "x")
    run_blocking(store.close())
    run_blocking(other.close())


@pytest.mark.usefixtures("checks_at_once")
@pytest.mark.parametrize("way", ["backup", "copy"])
def test_an_older_copy_put_in_its_place_while_it_runs_is_cannot_know(tmp_path: Path, way: str) -> None:
    """With SQLite's own restore, and with `cp` over the file, which no commit announces."""
    path, old = tmp_path / "logout.db", tmp_path / "old.db"
    store = SqliteStore(path)
    run_blocking(store.add([record("early")]))
    _copy_database(path, old)
    run_blocking(store.add([record("late")]))
    assert knows(store, "late")
    assert knows(store, "late")

    if way == "backup":
        _copy_database(old, path)
    else:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()
        assert knows(store, "late")
        path.write_bytes(old.read_bytes())

    assert_forgot(store, "late")
    run_blocking(store.adopt())
    assert knows(store, "early")
    assert knows(store, "late")
    late = SqliteStore(path)
    assert knows(late, "early")
    assert not knows(late, "late")
    run_blocking(late.close())
    run_blocking(store.close())


def _copy_database(source: Path, target: Path) -> None:
    one, other = sqlite3.connect(source), sqlite3.connect(target)
    one.backup(other)
    one.close()
    other.close()


@pytest.mark.usefixtures("checks_at_once")
def test_a_replaced_file_is_accepted_once_it_was_adopted(tmp_path: Path) -> None:
    """A running worker goes over to it without a restart, to read and to write."""
    path = tmp_path / "logout.db"
    store = SqliteStore(path)
    run_blocking(store.add([record("one")]))
    assert knows(store, "one")
    for name in ("logout.db", "logout.db-wal", "logout.db-shm"):
        (tmp_path / name).rename(tmp_path / f"old-{name}")
    operator = SqliteStore(path)
    run_blocking(operator.add([record("two")]))
    with pytest.raises(StoreForgot, match="was replaced"):
        knows(store, "one")
    assert store.version() is None

    run_blocking(operator.adopt())

    assert store.version() is not None
    assert knows(store, "two")
    assert knows(store, "one")
    run_blocking(store.add([record("three")]))
    assert knows(operator, "three")
    run_blocking(operator.close())
    run_blocking(store.close())


@pytest.mark.usefixtures("checks_at_once")
def test_a_worker_may_adopt_a_replaced_file_itself(tmp_path: Path) -> None:
    """Whatever is there: tables are made where there are none."""
    path = tmp_path / "logout.db"
    store = SqliteStore(path)
    run_blocking(store.add([record("one")]))
    assert knows(store, "one")
    for name in ("logout.db", "logout.db-wal", "logout.db-shm"):
        (tmp_path / name).unlink()
    with pytest.raises(StoreError, match="is gone"):
        run_blocking(store.adopt())
    path.touch()
    with pytest.raises(StoreForgot, match="was replaced"):
        knows(store, "one")

    run_blocking(store.adopt())

    run_blocking(store.add([record("two")]))
    assert knows(store, "two")
    run_blocking(store.close())


def test_threads_that_read_and_write_never_take_each_other_for_forgetful(tmp_path: Path) -> None:
    """An answer that is overtaken by a newer one is not a contradiction."""
    store = SqliteStore(tmp_path / "logout.db")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(40):
                run_blocking(store.add([record(f"{number} {turn}")]))
                assert knows(store, f"{number} {turn}")
                run_blocking(store.changes(None))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    run_blocking(store.close())


def test_a_file_of_version_1_is_upgraded_in_place(tmp_path: Path) -> None:
    """An update of the package keeps every logout; a worker of the old version that still runs is understood."""
    path = tmp_path / "logout.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL").fetchone()
    for statement in (
        'CREATE TABLE "logout:revocations" (key BLOB NOT NULL, keep BLOB NOT NULL, before REAL NOT NULL, until REAL '
        "NOT NULL, reason TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (key, keep)) WITHOUT ROWID",
        'CREATE INDEX "logout:feed" ON "logout:revocations" (seq)',
        "PRAGMA user_version=1",
    ):
        connection.execute(statement)
    insert = "INSERT INTO \"logout:revocations\" VALUES (?, x'', ?, 2e9, 'logout', ?)"
    connection.execute(insert, (record("old").key, FOREVER, 7))

    store = SqliteStore(path)

    assert knows(store, "old")
    connection.execute(insert, (record("by an old worker").key, FOREVER, 8))
    assert knows(store, "by an old worker")
    run_blocking(store.add([record("new")]))
    assert knows(store, "new")
    assert run_blocking(store.check())["schema"] == "2"
    connection.close()
    run_blocking(store.close())


# ---- the feed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [True, False])
def test_the_feed_comes_in_pages_and_wakes_on_another_processes_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    """Also where the shared memory cannot be watched."""
    monkeypatch.setattr(store_module, "_PAGE", 10)
    if not watched:
        monkeypatch.setattr(store_module, "watch", lambda database: None)
    path = tmp_path / "logout.db"
    store = SqliteStore(path)
    run_blocking(store.add([record(f"{n}") for n in range(25)]))

    pages = [run_blocking(store.changes(None))]
    while not pages[-1].complete:
        pages.append(run_blocking(store.changes(pages[-1].cursor)))
    assert [len(page.revocations) for page in pages] == [10, 10, 5]
    idle = run_blocking(store.changes(pages[-1].cursor, 0.02))
    assert (idle.revocations, idle.complete, idle.cursor) == ([], True, pages[-1].cursor)
    child = multiprocessing.get_context("spawn").Process(target=_add_in_child, args=(str(path), "late"))
    child.start()
    page = run_blocking(store.changes(idle.cursor, 30.0))
    child.join()

    assert page.revocations == [record("late")]
    run_blocking(store.close())
    with pytest.raises(StoreError, match="closed"):
        run_blocking(store.changes(page.cursor))


def test_the_feed_begins_again_after_an_adoption(tmp_path: Path) -> None:
    """What stood behind the old cursor may be anything."""
    path = tmp_path / "logout.db"
    store, operator = SqliteStore(path), SqliteStore(path)
    run_blocking(store.add([record("one")]))
    page = run_blocking(store.changes(None))

    run_blocking(operator.adopt())

    with pytest.raises(FeedGap):
        run_blocking(store.changes(page.cursor))
    assert run_blocking(store.changes(None)).revocations == [record("one")]
    run_blocking(operator.close())
    run_blocking(store.close())


# ---- where it lies -----------------------------------------------------------------------------------

MOUNTS = r"""/dev/vda / ext4 rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
nas:/x /srv/my\040data nfs4 rw 0 0
sshfs# /mnt/far fuse.sshfs rw 0 0
/dev/sdb /mnt/ntfs fuseblk rw 0 0
/dev/vdb /mnt/far/disk xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var/lib/app/logout.db", "ext4"),
        ("/dev/shm/logout.db", "UNSAFE: tmpfs"),
        ("/dev/shmem/logout.db", "ext4"),
        ("/srv/my data/logout.db", "UNSAFE: nfs4"),
        ("/mnt/far/logout.db", "UNSAFE: fuse.sshfs"),
        ("/mnt/far/disk/logout.db", "xfs"),
        ("/mnt/ntfs/logout.db", "fuseblk"),
    ],
)
def test_a_place_where_it_is_not_safe_is_named(path: str, expected: str) -> None:
    """The operator reads it in `check`, with the remedy."""
    found = judge_file_system(path, MOUNTS)

    assert found.startswith(expected)
    assert ("put the file on a" in found) == found.startswith("UNSAFE")


def test_check_says_what_the_file_is(tmp_path: Path) -> None:
    """Where it lies, which one it is, and what it holds."""
    store = SqliteStore(tmp_path / "logout.db")
    run_blocking(store.add([record("one")]))

    found = run_blocking(store.check())

    assert found["revocations"] == "1"
    assert found["durability"].startswith("fsync")
    assert found["file_system"] not in ("", "unknown")
    assert len(found["id"]) == 16
    run_blocking(store.close())
