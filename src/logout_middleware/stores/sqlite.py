"""The embedded store: one SQLite file, shared by every worker process of the host.

How a request knows every acknowledged logout: each asks whether any connection has committed since (see
`wal_header.py`, and where that cannot be watched `PRAGMA data_version`, 3 µs); if so, the new rows are read into
the index in memory, which answers. Rows carry a sequence number that grows with every change, so "the new rows"
is exact. Beside them the file's mark is read (`epoch.py`): a file that was emptied or overwritten with an old copy
is "cannot know".

How a logout is never lost: WAL with `synchronous=FULL`; `add` returns after the fsync. Writes go through
a connection of their own, so that the reader sees them as somebody else's; under ASGI they run in a thread.

Connections are opened on first use in each process and closed before a fork: SQLite keeps lists of what a process
has open and locked, and a child that inherits them believes in locks that it does not have.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, StoreError
from ..rules.revocation import Revocation
from . import NOW, Changes, Count, Fact, FeedGap, Outcome, StoreForgot
from .epoch import REMEDY, Mark, Memory, new_id
from .index import Index
from .sqlite_file import SCHEMA_VERSION, STORE, Kind, SqliteFile, close, transaction
from .sqlite_forks import close_across_forks, forking
from .sqlite_tables import SqliteTables
from .wal_header import WalHeader, forget_gone, watch

_FILE_CHECK_SECONDS = 1.0
_READ_SECONDS = 0.25
_PAGE = 5000
_WAIT_STEP_SECONDS = 0.003
_PART = 0


class SqliteStore:
    """Revocations in the SQLite file at `path`; `prefix` names its tables.

    `write_seconds`: how long a write waits for other writers. Raises ConfigurationError at once if the file cannot
    be made, written or understood.
    """

    durable = writes_block = True
    reads_block = False

    def __init__(
        self, path: str | Path, *, prefix: str = "logout:", clock: Callable[[], float] = time.time,
        write_seconds: float = 5.0, kind: Kind = STORE,
    ) -> None:  # fmt: skip
        self._file = SqliteFile(path, prefix, kind, write_seconds)
        self.path = self._file.path
        self.memory = Memory(f"sqlite {self.path}" if kind is STORE else f"{kind.variable} {self.path}")
        self._revocations, self._hits, self._state = self._file.revocations, self._file.hits, self._file.state
        self._tables = SqliteTables(self._revocations, self._hits, self._state, self._file.facts)
        self._clock, self._write_seconds = clock, write_seconds
        self._read_lock, self._write_lock = threading.Lock(), threading.Lock()
        self._closed = False
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._reads_from: tuple[int, int] | None = None
        self._writes_to: tuple[int, int] | None = None
        self._header: WalHeader | None = None
        self._seen = b""
        self._version = -1
        self._cursor, self._cursor_of = 0, ""
        self._index = Index()
        self._next_file_check = 0.0
        self._touched: tuple[int, int] | None = None
        with forking:  # not while another thread forks: the child would inherit a half-made file
            self._file.prepare()
            close_across_forks(self)

    # ---- is it the file that it was? -----------------------------------------------------------------

    def _check_file(self) -> None:
        """Refuse to go on when the file was deleted, or replaced by one that nobody adopted."""
        if self._closed:
            raise StoreError("the SQLite store is closed")
        known = self.memory.snapshot()
        if self._file.is_in_place():
            touched = self._file.touched()
            if touched != self._touched and self._touched is not None:
                # Somebody may have copied another file over it, which the pages that we hold do not show.
                self.memory.check(_PART, self._file.mark_in_folder(), known=known)
            self._touched = touched
            return
        try:
            found = self._file.mark_in_folder()
        except sqlite3.Error:
            found = None
        seen = known.get(_PART)
        if found is None or (seen is not None and found.adopted_at <= seen.adopted_at):
            raise StoreForgot(f"the database {self.path} was replaced; {REMEDY}")
        self.memory.check(_PART, found, known=known)
        self._file.accept()

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
            header = self._header
            if header is None or header.read() != self._seen or time.monotonic() >= self._next_file_check:
                try:
                    self._refresh()
                except sqlite3.Error as error:
                    raise self._unreadable(error) from error
            return self._index.find(keys)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._read_lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._unreadable(error) from error

    def _unreadable(self, error: sqlite3.Error) -> StoreError:
        self._close_reader()
        return StoreError(f"cannot read {self.path}: {error}")

    def _connected(self) -> sqlite3.Connection:
        """The connection for reading, to the file that is in the folder."""
        now = time.monotonic()
        if self._reader is None or now > self._next_file_check:
            self._check_file()
            if self._reader is not None and self._reads_from != self._file.inode:
                self._close_reader()
            if self._header is not None and not self._header.is_in_place():
                raise StoreError(f"the shared memory of {self.path} was removed; restart all workers")
            self._next_file_check = now + _FILE_CHECK_SECONDS
        if self._reader is None:
            self._reads_from = self._file.inode
            self._reader = self._file.open()
            # What was read before stays true: the sequence and the mark say what is new.
            self._version, self._seen = -1, b""
            self._reader.execute(f"SELECT 1 FROM {self._revocations} LIMIT 1").fetchone()
            self._reader.execute(f"PRAGMA busy_timeout={int(_READ_SECONDS * 1000)}")
            self._header = watch(self.path)
        return self._reader

    def _close_reader(self) -> None:
        close(self._reader)
        self._reader = self._header = None

    def _refresh(self) -> None:
        """Read what was committed since, if anything was."""
        reader = self._connected()
        # Both are taken before the rows are read: what commits in between is read now and asked about once more.
        header = self._header.read() if self._header is not None else b""
        if header and header == self._seen:
            return
        version = reader.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            mark = self._mark(reader)
            if self._cursor_of != mark.id:
                self._cursor, self._cursor_of = 0, mark.id
            rows = self._tables.rows(reader, self._cursor)
            if rows:
                self._index.add(record for record, _ in rows)
                self._index.drop_ended(self._clock())
                self._cursor = rows[-1][1]
            self._version = version
        self._seen = header

    def _mark(self, connection: sqlite3.Connection) -> Mark:
        known = self.memory.snapshot()
        found = self._file.mark(connection)
        if found is None:
            raise StoreForgot(f"the database {self.path} has lost its id; {REMEDY}")
        self.memory.check(_PART, found, known=known)
        return found

    def rows_after(self, after: int, at_most: int) -> tuple[list[Revocation], int]:
        """The first records that changed after this sequence number, and the number to go on with."""
        with self._reading():
            rows = self._tables.rows(self._connected(), after, at_most)
        return [record for record, _ in rows], rows[-1][1] if rows else after

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Changes:
        """The records in the order of their last change; see Store.changes.

        There is no difference between a snapshot and what follows it: a record that is merged later comes again.
        """
        ends = time.monotonic() + wait_seconds
        while True:
            with self._reading():
                reader = self._connected()
                header = self._header.read() if self._header is not None else None
                version = reader.execute("PRAGMA data_version").fetchone()[0] if header is None else 0
                with _one_snapshot(reader):
                    mark = self._mark(reader)
                    if cursor is NOW:
                        return Changes((), (mark.id, mark.changes), complete=True)
                    if cursor is not None and cursor[0] != mark.id:
                        raise FeedGap(f"{self.path} was adopted, so its feed begins again")
                    rows = self._tables.rows(reader, cursor[1] if cursor is not None else 0, _PAGE)
            if rows or cursor is None or time.monotonic() >= ends:
                reached = rows[-1][1] if rows else cursor[1] if cursor is not None else 0
                return Changes([record for record, _ in rows], (mark.id, reached), complete=len(rows) < _PAGE)
            self._wait_for_commit(header, version, min(ends, time.monotonic() + _FILE_CHECK_SECONDS))

    def _wait_for_commit(self, header: bytes | None, version: int, until: float) -> None:
        while time.monotonic() < until and not self._closed:
            time.sleep(_WAIT_STEP_SECONDS)
            watched = self._header
            if header is not None:
                if watched is None or watched.read() != header:
                    return
            elif self._ask("PRAGMA data_version") != version:
                return

    # ---- writing -------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self._write_lock.acquire(timeout=self._write_seconds):
            raise StoreError(f"cannot write {self.path}: another thread has been writing for {self._write_seconds} s")
        try:
            self._check_file()
            if self._writer is not None and self._writes_to != self._file.inode:
                close(self._writer)
                self._writer = None
            if self._writer is None:
                self._writes_to = self._file.inode
                self._writer = self._file.open()
            with transaction(self._writer):
                yield self._writer
            if not self._file.is_in_place():
                raise StoreError(f"the database {self.path} was replaced while it was written")
        except sqlite3.Error as error:
            close(self._writer)
            self._writer = None
            raise StoreError(f"cannot write {self.path}: {error}") from error
        finally:
            self._write_lock.release()

    async def add(self, revocations: Sequence[Revocation]) -> Outcome:
        """Return once the records are on disk; see Store.add. Purges a few ended ones on the way."""
        with self._writing() as connection:
            mark = self._mark(connection)
            self._tables.merge_in(connection, revocations, mark.changes)
            self._tables.delete_ended(connection, self._clock())
        self.memory.check(_PART, replace(mark, changes=mark.changes + len(revocations)))
        return Outcome.DONE

    async def hit(self, key: bytes, window: float) -> Count:
        """Count one event; see Store.hit."""
        with self._writing() as connection:
            return self._tables.hit(connection, key, self._clock(), window)

    async def purge(self, at_most: int = 500) -> int:
        """Forget what ended; see Store.purge."""
        with self._writing() as connection:
            self._tables.forget_facts(connection, self._clock(), at_most)
            return self._tables.delete_ended(connection, self._clock(), at_most)

    # ---- facts ---------------------------------------------------------------------------------------

    async def learn(self, facts: Sequence[Fact]) -> None:
        """Return once they are on disk; see Store.learn. Forgets a few ended ones on the way."""
        with self._writing() as connection:
            self._mark(connection)
            self._tables.learn(connection, facts, self._clock())

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        """Read from the file, which must still be what it was; see Store.facts."""
        with self._reading():
            reader = self._connected()
            with _one_snapshot(reader):
                self._mark(reader)
                return self._tables.facts_about(reader, subjects, self._clock())

    def some_facts(self, at_most: int) -> list[Fact]:
        """So many of those that are in the file."""
        with self._reading():
            return self._tables.some_facts(self._connected(), at_most)

    def drop_facts(self, facts: Sequence[Fact]) -> None:
        """Forget these as they are here; what was learned since stays."""
        with self._writing() as connection:
            self._tables.drop_facts(connection, facts)

    # ---- notes: what a journal writes beside its records ---------------------------------------------

    def note(self, name: str) -> str | None:
        """What was noted under this name."""
        found = self._ask(f"SELECT (SELECT value FROM {self._state} WHERE name = ?)", name)
        return None if found is None else str(found)

    def set_note(self, name: str, value: str, *, was: str | None) -> bool:
        """Note this durably, if what is noted now is `was`; did it?"""
        with self._writing() as connection:
            return self._tables.set_note(connection, name, value, was=was)

    # ---- the operator --------------------------------------------------------------------------------

    async def adopt(self) -> None:
        """Accept the file that is in the folder as it is; see Store.adopt."""
        try:
            with self._write_lock:
                self._file.accept()
                self._file.prepare()
                self._touched = None
        except ConfigurationError as error:
            raise StoreError(str(error)) from error
        with self._writing() as connection:
            found, seen = self._file.mark(connection), self.memory.seen(_PART)
            before = max(each.adopted_at if each is not None else 0 for each in (found, seen))
            adopted = Mark(new_id(), max(int(self._clock()), before + 1), found.changes if found is not None else 0)
            connection.execute(
                f"REPLACE INTO {self._state} VALUES ('id', ?), ('adopted_at', ?)", (adopted.id, adopted.adopted_at)
            )
        self.memory.check(_PART, adopted)
        with self._read_lock:
            self._close_reader()

    def _ask(self, statement: str, *values: Any) -> Any:
        with self._reading():
            return self._connected().execute(statement, values).fetchone()[0]

    async def count(self) -> int:
        """How many revocations are in the file."""
        return self.count_after(0)

    def count_after(self, after: int) -> int:
        """How many of them changed after this sequence number."""
        return int(self._ask(f"SELECT count(*) FROM {self._revocations} WHERE seq > ?", after))

    async def check(self) -> dict[str, str]:
        """Path, place, id, schema and number of records, asked from the file; proves that it can be written."""
        with self._writing() as connection:
            synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
            mark = self._mark(connection)
            connection.execute(f"DELETE FROM {self._hits} WHERE ends < 0")
        schema = int(self._ask("PRAGMA user_version"))
        return {
            "store": f"sqlite {self.path}",
            "durability": "fsync before every acknowledgement" if synchronous >= 2 else "UNSAFE: synchronous is off",
            "file_system": self._file.durability_of_place(),
            "journal_mode": str(self._ask("PRAGMA journal_mode")),
            "schema": str(schema) if schema == SCHEMA_VERSION else f"UNSAFE: {schema} instead of {SCHEMA_VERSION}",
            "id": mark.id + (f", adopted at {mark.adopted_at}" if mark.adopted_at else ""),
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


@contextlib.contextmanager
def _one_snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read inside is of one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
