"""One SQLite file: made, opened, and noticed when it is not the one any more. What is in it is `sqlite.py`'s."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigurationError, StoreError

SCHEMA_VERSION = 1
BUSY_SECONDS = 5.0


class SqliteFile:
    """The file at `path` and the names of the tables in it, which begin with `prefix`."""

    def __init__(self, path: str | Path, prefix: str) -> None:
        self.path = Path(path).absolute()
        self.revocations = _quoted(prefix + "revocations")
        self.hits = _quoted(prefix + "hits")
        self._indexes = [_quoted(prefix + name) for name in ("feed", "ends", "hit_ends")]
        self._inode: tuple[int, int] | None = None

    def prepare(self) -> None:
        """Make the file and its tables, and prove that they can be written; ConfigurationError if not."""
        if sqlite3.sqlite_version_info < (3, 35):
            raise ConfigurationError(
                f"E303 LOGOUT_STORE: this Python is linked with SQLite {sqlite3.sqlite_version}; 3.35 is needed"
            )
        try:
            with contextlib.suppress(FileExistsError):  # SQLite gives its -wal and -shm the mode of this file
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            connection = self._connect()
            try:
                _switch_to_wal(connection)
                with transaction(connection):
                    self._make_tables(connection)
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(
                f"E302 LOGOUT_STORE: cannot use the database {self.path} ({error}); name a file in a folder that "
                "exists and that this process may write, e.g. LOGOUT_STORE=sqlite:////var/lib/app/logout.db"
            ) from error

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise ConfigurationError(
                f"E301 LOGOUT_STORE: {self.path} has schema version {version}, this package knows {SCHEMA_VERSION}; "
                "use the version of the package that wrote it, or another file"
            )
        feed, ends, hit_ends = self._indexes
        for statement in (
            f"CREATE TABLE IF NOT EXISTS {self.revocations} (key BLOB NOT NULL, keep BLOB NOT NULL, before REAL NOT "
            "NULL, until REAL NOT NULL, reason TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (key, keep)) "
            "WITHOUT ROWID",
            f"CREATE INDEX IF NOT EXISTS {feed} ON {self.revocations} (seq)",
            f"CREATE INDEX IF NOT EXISTS {ends} ON {self.revocations} (until)",
            f"CREATE TABLE IF NOT EXISTS {self.hits} (key BLOB PRIMARY KEY, started REAL NOT NULL, ends REAL NOT "
            "NULL, count INTEGER NOT NULL) WITHOUT ROWID",
            f"CREATE INDEX IF NOT EXISTS {hit_ends} ON {self.hits} (ends)",
            f"PRAGMA user_version={SCHEMA_VERSION}",
        ):
            connection.execute(statement)

    def open(self) -> sqlite3.Connection:
        """A connection that fsyncs each commit; StoreError if the file is not the one that was opened first."""
        self.check()
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def check(self) -> None:
        """Refuse to go on when the file was deleted or replaced: it no longer knows what it acknowledged."""
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise StoreError(f"the database {self.path} is gone ({error.strerror})") from error
        found = (status.st_dev, status.st_ino)
        if self._inode is not None and found != self._inode:
            raise StoreError(f"the database {self.path} was replaced; restart to accept it as it is")
        self._inode = found


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
    """WAL mode is stored in the file; several workers may start at once, and SQLite does not wait here by itself."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise sqlite3.OperationalError(f"its file system does not allow write-ahead logging (mode {mode})")
        return


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
