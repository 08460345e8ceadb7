"""One SQLite file: made, opened, and noticed when it is not the one any more. What is in it is `sqlite.py`'s."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigurationError, StoreError
from .epoch import Mark, new_id

SCHEMA_VERSION = 2
_READABLE_VERSIONS = (0, 1, SCHEMA_VERSION)  # 0: new, or somebody's database without our tables; 1: has no state
_NETWORKED = re.compile(r"(nfs4?|cifs|smb3|smbfs|9p|fuse|ceph|afs|lustre|gfs2|ocfs2|virtiofs)(\..*)?")
_VOLATILE = ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is for, and how messages speak of it. `application_id` marks the file itself (SQLite's header)."""

    name: str
    variable: str
    errors: str
    example: str
    application_id: int


STORE = Kind("store", "LOGOUT_STORE", "E30", "LOGOUT_STORE=sqlite:////var/lib/app/logout.db", 0)
JOURNAL = Kind("journal", "LOGOUT_JOURNAL", "E32", "LOGOUT_JOURNAL=/var/lib/app/logout-journal.db", 0x6C6F676A)


class SqliteFile:
    """The file at `path` and the names of the tables in it, which begin with `prefix`."""

    def __init__(self, path: str | Path, prefix: str, kind: Kind, busy_seconds: float) -> None:
        self.path = Path(path).absolute()
        self.revocations, self.hits, self.state, self.facts = (
            _quoted(prefix + name) for name in ("revocations", "hits", "state", "facts")
        )
        self._indexes = [_quoted(prefix + name) for name in ("feed", "ends", "hit_ends", "fact_ends")]
        self._kind, self._busy_seconds = kind, busy_seconds
        self.inode: tuple[int, int] | None = None
        """The file that is in use; None before the first look."""

    # ---- making --------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the file and its tables, and prove that they can be written; ConfigurationError if not."""
        kind = self._kind
        if sqlite3.sqlite_version_info < (3, 35):
            raise ConfigurationError(
                f"{kind.errors}3 {kind.variable}: this Python is linked with SQLite {sqlite3.sqlite_version}; "
                "3.35 is needed"
            )
        try:
            with contextlib.suppress(FileExistsError):  # SQLite gives its -wal and -shm the mode of this file
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            connection = self._connect()
            try:
                _patiently(lambda: self._refuse_foreign(connection), self._busy_seconds)
                _patiently(lambda: _switch_to_wal(connection), self._busy_seconds)
                with transaction(connection):
                    self.make_tables(connection)
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(
                f"{kind.errors}2 {kind.variable}: cannot use the database {self.path} ({error}); name a file in a "
                f"folder that exists and that this process may write, e.g. {kind.example}"
            ) from error

    def _refuse_foreign(self, connection: sqlite3.Connection) -> None:
        """A store may live in a database with other tables; a journal has its file to itself. Changes nothing."""
        kind, found = self._kind, connection.execute("PRAGMA application_id").fetchone()[0]
        is_new = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if kind is STORE and found == JOURNAL.application_id:
            raise ConfigurationError(
                f"E304 LOGOUT_STORE: {self.path} is a journal (LOGOUT_JOURNAL) and holds what waits for a store; "
                "name another file for the store"
            )
        if kind is JOURNAL and found != kind.application_id and not is_new:
            raise ConfigurationError(
                f"E324 LOGOUT_JOURNAL: {self.path} is not a journal but the file of a store or of somebody else; "
                f"name a file of its own, e.g. {kind.example}"
            )

    def make_tables(self, connection: sqlite3.Connection) -> None:
        """Make what is missing, in a transaction of the caller; a file of version 1 becomes one of version 2."""
        kind, version = self._kind, connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in _READABLE_VERSIONS:
            raise ConfigurationError(
                f"{kind.errors}1 {kind.variable}: {self.path} has schema version {version}, this package knows "
                f"{SCHEMA_VERSION}; use the version of the package that wrote it, or another file"
            )
        self._refuse_foreign(connection)  # again: now nobody else can be making it
        feed, ends, hit_ends, fact_ends = self._indexes
        for statement in (
            f"CREATE TABLE IF NOT EXISTS {self.revocations} (key BLOB NOT NULL, keep BLOB NOT NULL, before REAL NOT "
            "NULL, until REAL NOT NULL, reason TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (key, keep)) "
            "WITHOUT ROWID",
            f"CREATE INDEX IF NOT EXISTS {feed} ON {self.revocations} (seq)",
            f"CREATE INDEX IF NOT EXISTS {ends} ON {self.revocations} (until)",
            f"CREATE TABLE IF NOT EXISTS {self.hits} (key BLOB PRIMARY KEY, started REAL NOT NULL, ends REAL NOT "
            "NULL, count INTEGER NOT NULL) WITHOUT ROWID",
            f"CREATE INDEX IF NOT EXISTS {hit_ends} ON {self.hits} (ends)",
            f"CREATE TABLE IF NOT EXISTS {self.facts} (subject BLOB NOT NULL, name BLOB NOT NULL, at REAL NOT NULL, "
            "until REAL NOT NULL, text BLOB NOT NULL, PRIMARY KEY (subject, name)) WITHOUT ROWID",
            f"CREATE INDEX IF NOT EXISTS {fact_ends} ON {self.facts} (until)",
            f"CREATE TABLE IF NOT EXISTS {self.state} (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
            f"PRAGMA user_version={SCHEMA_VERSION}",
        ):
            connection.execute(statement)
        if kind.application_id:
            connection.execute(f"PRAGMA application_id={kind.application_id}")
        connection.execute(f"INSERT OR IGNORE INTO {self.state} VALUES ('id', ?), ('adopted_at', 0)", (new_id(),))

    # ---- opening -------------------------------------------------------------------------------------

    def open(self) -> sqlite3.Connection:
        """A connection that fsyncs each commit. Ask `is_in_place` before."""
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():  # or SQLite would make one, empty and with the wrong mode
            raise StoreError(f"the database {self.path} is gone")
        connection = sqlite3.connect(
            self.path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    # ---- is it the one it was? -----------------------------------------------------------------------

    def is_in_place(self) -> bool:
        """Is the file in the folder the one that is in use? The first that is looked at is. StoreError if gone."""
        status = self._status()
        found = (status.st_dev, status.st_ino)
        if self.inode is None:
            self.inode = found
        return found == self.inode

    def accept(self) -> None:
        """From now on, use the file that is in the folder."""
        status = self._status()
        self.inode = (status.st_dev, status.st_ino)

    def _status(self) -> os.stat_result:
        try:
            return os.stat(self.path)
        except OSError as error:
            raise StoreError(f"the database {self.path} is gone ({error.strerror})") from error

    def touched(self) -> tuple[int, int]:
        """When the main file was last written, by a checkpoint or by somebody's `cp`, and how long it is."""
        status = self._status()
        return status.st_mtime_ns, status.st_size

    def mark(self, connection: sqlite3.Connection) -> Mark | None:
        """What the file says of itself. The newest row is never deleted, so its number is that of all changes."""
        state = self.state
        found_id, adopted_at, newest = connection.execute(
            f"SELECT (SELECT value FROM {state} WHERE name = 'id'), (SELECT value FROM {state} WHERE name = "
            f"'adopted_at'), (SELECT max(seq) FROM {self.revocations})"
        ).fetchone()
        return None if found_id is None else Mark(str(found_id), int(adopted_at or 0), newest or 0)

    def mark_in_folder(self) -> Mark | None:
        """What the file that is in the folder now says of itself, read by a new connection."""
        connection = self._connect()
        try:
            return self.mark(connection)
        finally:
            close(connection)

    def durability_of_place(self) -> str:
        """What its file system does with it, for the operator."""
        try:
            with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
                return judge_file_system(str(self.path.resolve()), mounts.read())
        except OSError:
            return "unknown: this system does not tell"


def judge_file_system(path: str, mounts: str) -> str:
    """The type of the file system under this path, by a text like /proc/mounts; with UNSAFE and a remedy if it is."""
    kind, depth = "unknown", -1
    for line in mounts.splitlines():
        _, place, found, *_ = [*line.split(" "), "", "", ""]
        place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), place)
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= depth:  # of two on one place the later covers the earlier
            kind, depth = found, len(place)
    if _NETWORKED.fullmatch(kind):
        return (
            f"UNSAFE: {kind}: workers on two machines do not see each other's writes there, and its locks may lie; "
            "put the file on a local disk, or use a Redis or SQL server as LOGOUT_STORE"
        )
    if kind in _VOLATILE:
        return f"UNSAFE: {kind} is memory, and forgotten when the machine restarts; put the file on a disk"
    return kind


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction that holds the lock from its beginning; committed at the end, rolled back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def close(connection: sqlite3.Connection | None) -> None:
    """Close it, if there is one, whatever state it is in."""
    if connection is not None:
        with contextlib.suppress(sqlite3.Error):
            connection.close()


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """WAL mode is stored in the file."""
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise sqlite3.NotSupportedError(f"its file system does not allow write-ahead logging (mode {mode})")


def _patiently(work: Callable[[], None], busy_seconds: float) -> None:
    """Several workers may start at once, and SQLite does not wait by itself for another who switches the mode."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            return work()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
