"""The embedded store: one SQLite file, shared by every worker process of the host.

How a request knows every acknowledged logout: each asks whether any connection has committed since (see
`wal_header.py`, and where that cannot be watched `PRAGMA data_version`, 3 µs); if so, the new rows are read into
the index in memory, which answers. Rows carry a sequence number that grows with every change, so "the new rows"
is exact.

How a logout is never lost: WAL with `synchronous=FULL`; `add` returns after the fsync. Writes go through
a connection of their own, so that the reader sees them as somebody else's; under ASGI they run in a thread.

Connections are opened on first use in each process and closed before a fork: SQLite keeps lists of what a process
has open and locked, and a child that inherits them believes in locks that it does not have.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..rules.revocation import Revocation
from . import PURGE_DELAY, Count
from .index import Index, pack_keep, unpack_keep
from .sqlite_file import SqliteFile, close, transaction
from .wal_header import WalHeader, forget_gone, watch

_PURGE_AT_ONCE = 500
_FILE_CHECK_SECONDS = 1.0

_open_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()
_stopped: list[SqliteStore] = []
_forking = threading.Lock()
_hooked = False


class SqliteStore:
    """Revocations in the SQLite file at `path`; `prefix` names its tables.

    Raises ConfigurationError at once if the file cannot be made, written or understood.
    """

    durable = True
    writes_block = True

    def __init__(self, path: str | Path, *, prefix: str = "logout:", clock: Callable[[], float] = time.time) -> None:
        self._file = SqliteFile(path, prefix)
        self.path = self._file.path
        self._revocations, self._hits = self._file.revocations, self._file.hits
        self._clock = clock
        self._read_lock, self._write_lock = threading.Lock(), threading.Lock()
        self._closed = False
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._header: WalHeader | None = None
        self._seen = b""
        self._version = -1
        self._cursor = 0
        self._index = Index()
        self._next_file_check = 0.0
        with _forking:  # not while another thread forks: the child would inherit a half-made file
            self._file.prepare()
            _close_across_forks(self)

    def _opened(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError("the SQLite store is closed")
        return self._file.open()

    # ---- reading -------------------------------------------------------------------------------------

    def version(self) -> int | None:
        """The state of the store; see Store.version. Costs no system call while nothing was committed."""
        header = self._header
        if header is not None and header.read() == self._seen and time.monotonic() < self._next_file_check:
            return self._index.version
        with self._read_lock:
            try:
                self._refresh()
            except (sqlite3.Error, StoreError):
                return None  # `find` will say what is wrong
            return self._index.version

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """The records under these keys, whichever process added them; see Store.find."""
        with self._read_lock:
            try:
                self._refresh()
            except sqlite3.Error as error:
                close(self._reader)
                self._reader = self._header = None
                raise StoreError(f"cannot read {self.path}: {error}") from error
            return self._index.find(keys)

    def _refresh(self) -> sqlite3.Connection:
        """Read what was committed since, if anything was."""
        reader = self._reader
        if reader is None:
            reader = self._reader = self._opened()
            # What was read before stays true: it is the same file, and the sequence says what is new.
            self._version, self._seen = -1, b""
            reader.execute(f"SELECT 1 FROM {self._revocations} LIMIT 1").fetchone()
            self._header = watch(self.path)
        now = time.monotonic()
        if now > self._next_file_check:
            self._file.check()
            if self._header is not None and not self._header.is_in_place():
                raise StoreError(f"the shared memory of {self.path} was removed; restart all workers")
            self._next_file_check = now + _FILE_CHECK_SECONDS
        # Both are taken before the rows are read: what commits in between is read now and asked about once more.
        header = self._header.read() if self._header is not None else b""
        if header and header == self._seen:
            return reader
        version = reader.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            newest = reader.execute(f"SELECT coalesce(max(seq), 0) FROM {self._revocations}").fetchone()[0]
            # Only somebody who emptied the table makes the sequence fall back: read all of it again, forget nothing.
            if newest < self._cursor:
                self._cursor = 0
            rows = reader.execute(
                f"SELECT key, before, until, reason, keep, seq FROM {self._revocations} WHERE seq > ? ORDER BY seq",
                (self._cursor,),
            ).fetchall()
            if rows:
                self._index.add(
                    Revocation(key, before, until, reason, unpack_keep(keep))
                    for key, before, until, reason, keep, _ in rows
                )
                self._cursor = rows[-1][5]
                self._index.drop_ended(self._clock())
            self._version = version
        self._seen = header
        return reader

    # ---- writing -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock:
            try:
                if self._writer is None:
                    self._writer = self._opened()
                else:
                    self._file.check()
                with transaction(self._writer):
                    yield self._writer
            except sqlite3.Error as error:
                close(self._writer)
                self._writer = None
                raise StoreError(f"cannot write {self.path}: {error}") from error

    async def add(self, revocations: Sequence[Revocation]) -> None:
        """Return once the records are on disk; see Store.add. Purges a few ended ones on the way."""
        with self._writing() as connection:
            first = connection.execute(f"SELECT coalesce(max(seq), 0) + 1 FROM {self._revocations}").fetchone()[0]
            connection.executemany(
                f"INSERT INTO {self._revocations} AS present (key, keep, before, until, reason, seq) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key, keep) DO UPDATE SET seq = excluded.seq, "
                "until = max(present.until, excluded.until), before = max(present.before, excluded.before), "
                "reason = CASE WHEN (excluded.before, excluded.reason) > (present.before, present.reason) "
                "THEN excluded.reason ELSE present.reason END",
                [
                    (record.key, pack_keep(record.keep), record.before, record.until, record.reason, first + place)
                    for place, record in enumerate(revocations)
                ],
            )
            self._delete_ended(connection, _PURGE_AT_ONCE)

    def _delete_ended(self, connection: sqlite3.Connection, limit: int) -> int:
        # The newest row stays: the sequence must never fall back, or the other workers would miss what comes next.
        return connection.execute(
            f"DELETE FROM {self._revocations} WHERE (key, keep) IN (SELECT key, keep FROM {self._revocations} "
            f"WHERE until < ? AND seq < (SELECT max(seq) FROM {self._revocations}) LIMIT ?)",
            (self._clock() - PURGE_DELAY, limit),
        ).rowcount

    async def hit(self, key: bytes, window: float) -> Count:
        """Count one event; see Store.hit."""
        now = self._clock()
        running = ":now >= present.started AND :now < present.ends"
        with self._writing() as connection:
            started, count = connection.execute(
                f"INSERT INTO {self._hits} AS present (key, started, ends, count) "
                "VALUES (:key, :now, :now + :window, 1) ON CONFLICT (key) DO UPDATE SET "
                f"count = CASE WHEN {running} THEN present.count + 1 ELSE 1 END, "
                f"started = CASE WHEN {running} THEN present.started ELSE :now END, "
                f"ends = CASE WHEN {running} THEN present.ends ELSE :now + :window END "
                "RETURNING started, count",
                {"key": key, "now": now, "window": window},
            ).fetchone()
            connection.execute(
                f"DELETE FROM {self._hits} WHERE key IN (SELECT key FROM {self._hits} WHERE ends < ? LIMIT ?)",
                (now, _PURGE_AT_ONCE),
            )
        return Count(count, started + window - now)

    async def purge(self, at_most: int = 500) -> int:
        """Forget what ended; see Store.purge."""
        with self._writing() as connection:
            return self._delete_ended(connection, at_most)

    # ---- the operator --------------------------------------------------------------------------------

    def _ask(self, statement: str) -> Any:
        with self._read_lock:
            try:
                return self._refresh().execute(statement).fetchone()[0]
            except sqlite3.Error as error:
                raise StoreError(f"cannot read {self.path}: {error}") from error

    async def count(self) -> int:
        """How many revocations are in the file."""
        return int(self._ask(f"SELECT count(*) FROM {self._revocations}"))

    async def check(self) -> dict[str, str]:
        """Path, journal mode, schema and number of records, asked from the file; proves that it can be written."""
        with self._writing() as connection:
            synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
            connection.execute(f"DELETE FROM {self._hits} WHERE ends < 0")
        return {
            "store": f"sqlite {self.path}",
            "durability": "fsync before every acknowledgement" if synchronous >= 2 else "UNSAFE: synchronous is off",
            "journal_mode": str(self._ask("PRAGMA journal_mode")),
            "schema": str(self._ask("PRAGMA user_version")),
            "revocations": str(await self.count()),
        }

    async def close(self) -> None:
        """Close both connections."""
        self._closed = True
        with self._read_lock, self._write_lock:
            self._close_connections()
            self._index = Index()

    def _close_connections(self) -> None:
        close(getattr(self, "_reader", None))
        close(getattr(self, "_writer", None))
        self._reader = self._writer = self._header = None
        forget_gone()

    def __del__(self) -> None:
        self._close_connections()

    def before_fork(self) -> None:
        """Finish what is running, and have nothing open: neither process could use what is copied."""
        self._read_lock.acquire()
        self._write_lock.acquire()
        self._close_connections()

    def after_fork(self) -> None:
        """Go on, in the parent and in the child, each with connections that it opens itself."""
        self._write_lock.release()
        self._read_lock.release()


def _close_across_forks(store: SqliteStore) -> None:
    global _hooked
    _open_stores.add(store)
    if not _hooked:
        _hooked = True
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _before_fork() -> None:
    _forking.acquire()
    for store in list(_open_stores):
        store.before_fork()
        _stopped.append(store)


def _after_fork() -> None:
    while _stopped:
        _stopped.pop().after_fork()
    _forking.release()
