"""The embedded store where it is hardest: other processes, kill -9, forks, files that go away."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from logout_middleware import ConfigurationError, StoreError
from logout_middleware.colour import run_blocking
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of
from logout_middleware.stores import Store
from logout_middleware.stores.sqlite import SqliteStore
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


def test_a_writer_that_holds_the_lock_does_not_stop_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guarded requests go on; a logout that cannot be recorded says so instead of pretending."""
    monkeypatch.setattr("logout_middleware.stores.sqlite_file.BUSY_SECONDS", 0.01)
    store = SqliteStore(tmp_path / "logout.db")
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
