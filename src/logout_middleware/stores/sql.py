"""The SQL store: PostgreSQL and MySQL or MariaDB, through SQLAlchemy's addresses, tables and pool.

How a request knows every acknowledged logout: each `find` asks the primary, in one round trip that also brings the
mark of the store. How a logout is never lost: `add` is one transaction, acknowledged after its commit. How the feed
skips nothing: see `sql_schema.py`.

Connections are made on first use in each process, never given back in the middle of something, and thrown away
after any error. The statements are the servers' (`sql_server.py`); here is what they have in common.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ConfigurationError, StoreError
from ..rules.revocation import Revocation
from . import NOTHING, NOW, PURGE_DELAY, WRITE_DEADLINES, Changes, Count, Fact, FeedGap, Outcome, StoreForgot
from .epoch import Mark, Memory, new_id, tell_of_new_store
from .facts import distinct, facts_of, rows_of_facts
from .sql_opening import open_server, said
from .sql_rows import revocations_of, rows_of
from .sql_schema import SCHEMA_VERSION, parse_sql_url, table_names
from .sql_server import After, Page

if TYPE_CHECKING:
    from .sql_pool import Connections

T = TypeVar("T")
_PAGE = 10_000
_SETUP_SECONDS = 5.0
_OPERATOR_SECONDS = 60.0
_LISTEN_SECONDS = 1.0
_TIDY_SECONDS = 1.0
_TIDY_AT_ONCE, _TIDY_AT_MOST = 500, 5000


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Where a reader of the feed is: in which store, at which change, and while it reads all, after which record."""

    id: str
    seq: int
    after: After | None = None


class SqlStore:
    """Revocations in the SQL database at `url`; `prefix` names its tables.

    `deadline`: seconds that a `find` may take, everything included; what writes may take four times as long.
    `memory`: the mark of the store as this process has seen it.
    ConfigurationError if the address is wrong or the driver missing; the server is asked on first use.
    """

    durable = True
    writes_block = reads_block = True

    def __init__(
        self, url: str, *, prefix: str = "logout:", clock: Callable[[], float] = time.time, deadline: float = 0.25
    ) -> None:
        try:
            self._address = parse_sql_url(url)
        except ValueError as error:
            raise ConfigurationError(f"E312 LOGOUT_STORE: {error}") from error
        self._where = self._address.shown
        self._names = table_names(prefix)
        self._server = open_server(self._address, prefix, WRITE_DEADLINES * deadline)
        self._clock, self._deadline = clock, deadline
        self.memory = Memory(self._where)
        self._ready = self._closed = False
        self._processes: dict[int, Connections] = {}
        self._tidy_at, self._added = 0.0, 0

    def version(self) -> int | None:
        """It cannot be told without asking: see Store.version."""
        return None

    # ---- asking --------------------------------------------------------------------------------------

    @property
    def _connections(self) -> Connections:
        """This process's own: a child must not touch what its parent has open."""
        connections = self._processes.get(os.getpid())
        if connections is None:
            from .sql_pool import Connections

            connections = self._processes.setdefault(os.getpid(), Connections(self._server, self._deadline))
        if self._closed:
            raise StoreError(f"the store {self._where} is closed")
        return connections

    def _ask(self, what: str, seconds: float, call: Callable[[Any, float], T], *, again: bool = False) -> T:
        """The server's answer within so many seconds, or StoreError. `again`: once more where it restarted."""
        ends = time.monotonic() + seconds
        connections = self._connections
        known = self.memory.seen(0)
        while True:
            lost = False
            try:
                with connections.lease(ends) as connection:
                    try:
                        self._prepare(connection, ends)
                        return call(connection, ends)
                    except self._server.error:
                        lost = self._server.is_lost(connection)
                        raise
            except self._server.error as error:
                self._look_for_loss(known, error)
                in_time = time.monotonic() < ends
                if lost and again and in_time:
                    # The others in the pool are as old as this one was.
                    again = False
                    connections.renew()
                    continue
                if in_time and self._server.was_undone(error):
                    continue
                raise self._failed(what, error) from error
            except ConfigurationError as error:
                raise StoreError(str(error)) from error

    def _failed(self, what: str, error: Exception) -> StoreError:
        return StoreError(
            f"cannot {what} {self._where}: {said(error)}; see that the server runs and that LOGOUT_STORE reaches it"
        )

    def _look_for_loss(self, known: Mark | None, error: Exception | None = None) -> None:
        """StoreForgot if the tables or the mark are missing (by this error, if given) that were known before."""
        if error is None or self._server.is_missing(error):
            self._ready = False
            if known is not None:
                self.memory.check(0, None)

    def _hold(self, before: Mark | None, found: Mark | None) -> None:
        """StoreForgot if what was found contradicts what was known when it was asked for.

        Only that: another thread may have asked later and been told more, which contradicts nothing.
        """
        seen = self.memory.seen(0)
        if found is None:
            self._look_for_loss(before)
            raise StoreError(f"the table {self._names.state} in {self._where} was emptied just now; try again")
        if seen is not before:
            if before is None or (found.id == before.id and found.changes >= before.changes):
                if seen is None or found.id != seen.id or found.changes < seen.changes:
                    return
        try:
            self.memory.check(0, found)
        except StoreForgot:
            if seen is not None and found.id == seen.id:
                self._disown(seen)
            raise

    def _disown(self, known: Mark) -> None:
        """Have every process notice, those too that had seen less, before new changes hide that some are missing."""
        with contextlib.suppress(StoreError):
            self._ask("disown", self._deadline, lambda connection, ends: self._server.disown(
                connection, ends, known, new_id()
            ))  # fmt: skip

    def _prepare(self, connection: Any, ends: float, *, adopting: bool = False) -> None:
        """Once per process: see that the tables are there and of this schema, and make them if nobody knows better."""
        if self._ready:
            return
        server = self._server
        # Taken before it is asked: what another thread makes meanwhile was not lost.
        known = None if adopting else self.memory.seen(0)
        try:
            state = server.state(connection, ends)
        except server.error as error:
            if not server.is_missing(error):
                raise
            self._look_for_loss(known)
            self._create(connection, time.monotonic() + _SETUP_SECONDS)
            state = server.state(connection, time.monotonic() + _SETUP_SECONDS)
        if state is None and not adopting:
            self._look_for_loss(known)
            tell_of_new_store(self._where)
            server.begin(connection, ends, new_id())
            state = server.state(connection, ends)
        if state is not None and state.version != SCHEMA_VERSION:
            raise ConfigurationError(
                f"E301 LOGOUT_STORE: the tables {self._names.revocations} in {self._where} have schema version "
                f"{state.version}, this package knows {SCHEMA_VERSION}; use the version of the package that wrote "
                "them, or another LOGOUT_KEY_PREFIX"
            )
        self._ready = state is not None

    def _create(self, connection: Any, ends: float) -> None:
        try:
            self._server.create(connection, ends)
        except self._server.error as error:
            if self._server.is_lost(connection):
                raise
            # Somebody else may have made them meanwhile; else it is a right that is missing.
            try:
                self._server.state(connection, ends)
            except self._server.error:
                raise ConfigurationError(
                    f"E313 LOGOUT_STORE: cannot make the tables in {self._where} ({said(error)}); give the user "
                    "the right to CREATE, or run once what `logout-middleware check --schema` prints"
                ) from error

    # ---- records -------------------------------------------------------------------------------------

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """The records under these keys; see Store.find. One round trip."""
        before = self.memory.seen(0)
        page = self._ask(
            "read", self._deadline, lambda connection, ends: self._server.find(connection, ends, keys), again=True
        )
        self._hold(before, page.mark)
        return revocations_of(page.rows) if page.rows else NOTHING

    async def add(self, revocations: Sequence[Revocation]) -> Outcome:
        """Return after the commit; see Store.add. Purges what ended on the way, now and then."""
        rows = rows_of(revocations)
        if not rows:
            return Outcome.DONE
        before = self.memory.seen(0)
        mark = self._ask(
            "write",
            WRITE_DEADLINES * self._deadline,
            lambda connection, ends: self._server.add(connection, ends, rows, before),
        )
        if mark is None:
            state = self._ask("read", self._deadline, self._server.state)
            self._hold(before, state.mark if state else None)
            raise StoreError(f"the store {self._where} was adopted just now; try again")
        self._hold(before, mark)
        self._added += len(rows)
        self._tidy()
        return Outcome.DONE

    def _tidy(self) -> None:
        """Delete, about once a second, more of what ended than was added since."""
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + _TIDY_SECONDS
        at_most, self._added = min(_TIDY_AT_ONCE + 2 * self._added, _TIDY_AT_MOST), 0
        now = self._clock()

        def tidy(connection: Any, ends: float) -> None:
            self._server.purge(connection, ends, now - PURGE_DELAY, at_most)
            self._server.forget_hits(connection, ends, now, at_most)
            self._server.forget_facts(connection, ends, now - PURGE_DELAY, at_most)

        # What was asked for is done; this can be done another time.
        with contextlib.suppress(StoreError):
            self._ask("tidy", self._deadline, tidy)

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Changes:
        """The next page of all, then of the new; see Store.changes."""
        closes = time.monotonic() + wait_seconds
        with self._connections.feed() as feed:
            while True:
                page = self._feed_page(feed, cursor)
                if cursor is NOW or page.revocations or not page.complete or time.monotonic() >= closes:
                    return page
                cursor = page.cursor
                # Whatever ends the wait, the state is read again: silence is never taken for "nothing new".
                with self._feed_errors():
                    self._server.wait(feed.connection(), min(closes, time.monotonic() + _LISTEN_SECONDS))
                if self._closed:
                    raise StoreError(f"the store {self._where} is closed")

    @contextlib.contextmanager
    def _feed_errors(self) -> Iterator[None]:
        known = self.memory.seen(0)
        try:
            yield
        except self._server.error as error:
            self._look_for_loss(known, error)
            raise self._failed("read the changes of", error) from error
        except ConfigurationError as error:
            raise StoreError(str(error)) from error

    def _feed_page(self, feed: Any, cursor: Any) -> Changes:
        before = self.memory.seen(0)
        ends = time.monotonic() + WRITE_DEADLINES * self._deadline
        with self._feed_errors():
            connection = feed.connection(ends, self._prepare)
            if cursor is NOW:
                state = self._server.state(connection, ends)
                page = Page(state.mark if state else None, ())
            elif cursor is None or cursor.after is not None:
                page = self._server.snapshot(connection, ends, cursor.after if cursor else None, _PAGE)
            else:
                page = self._server.feed(connection, ends, cursor.seq, _PAGE)
        self._hold(before, page.mark)
        mark = page.mark
        assert mark is not None  # noqa: S101 - said to the type checker: the line above proves it
        if cursor is NOW:
            return Changes((), _Cursor(mark.id, mark.changes), complete=True)
        if cursor is not None and (cursor.id != mark.id or cursor.seq > mark.changes):
            raise FeedGap(f"the feed of {self._where} is another one since it was adopted")
        started = cursor.seq if cursor is not None else mark.changes
        full = len(page.rows) == _PAGE
        if cursor is None or cursor.after is not None:
            # Records that changed while all were read come again: the feed goes on from where it was at the first page.
            following = _Cursor(mark.id, started, page.last_key if full else None)
            complete = not full and started == mark.changes
        else:
            following = _Cursor(mark.id, page.last_seq if full else mark.changes)
            complete = following.seq == mark.changes
        return Changes(revocations_of(page.rows), following, complete)

    # ---- facts ---------------------------------------------------------------------------------------

    async def learn(self, facts: Sequence[Fact]) -> None:
        """Return after the commit; see Store.learn. Forgets what ended on the way, now and then."""
        rows = rows_of_facts(facts)
        if not rows:
            return
        before = self.memory.seen(0)
        seconds = WRITE_DEADLINES * self._deadline
        mark = self._ask("write", seconds, lambda connection, ends: self._server.learn(connection, ends, rows))
        self._hold(before, mark)
        self._added += len(rows)
        self._tidy()

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        """What is known of these; see Store.facts. One round trip."""
        before, asked, now = self.memory.seen(0), distinct(subjects), self._clock()
        page = self._ask(
            "read", self._deadline, lambda connection, ends: self._server.facts(connection, ends, asked, now),
            again=True,
        )  # fmt: skip
        self._hold(before, page.mark)
        return facts_of(page.rows)

    # ---- counting, forgetting, the operator ----------------------------------------------------------

    async def hit(self, key: bytes, window: float) -> Count:
        """Count one event; see Store.hit."""
        now = self._clock()
        started, count = self._ask(
            "write",
            WRITE_DEADLINES * self._deadline,
            lambda connection, ends: self._server.hit(connection, ends, key, now, window),
        )
        self._tidy()
        return Count(count, started + window - now)

    async def purge(self, at_most: int = 500) -> int:
        """Forget what ended; see Store.purge."""
        ended = self._clock() - PURGE_DELAY

        def purge(connection: Any, ends: float) -> int:
            self._server.forget_facts(connection, ends, ended, at_most)
            return self._server.purge(connection, ends, ended, at_most)

        return self._ask("purge", WRITE_DEADLINES * self._deadline, purge)

    async def count(self) -> int:
        """How many revocations are remembered."""
        return self._ask("count", _OPERATOR_SECONDS, self._server.count)

    async def adopt(self) -> None:
        """Accept the tables as they are, or make them; see Store.adopt."""
        seen = self.memory.seen(0)
        adopted_at = max(int(self._clock()), seen.adopted_at + 1 if seen else 0)
        ends = time.monotonic() + _OPERATOR_SECONDS
        try:
            with self._connections.lease(ends) as connection:
                self._ready = False
                self._prepare(connection, ends, adopting=True)
                self._server.adopt(connection, ends, new_id(), adopted_at)
                state = self._server.state(connection, ends)
        except self._server.error as error:
            raise self._failed("adopt", error) from error
        except ConfigurationError as error:
            raise StoreError(str(error)) from error
        self._ready = state is not None
        self.memory.check(0, state.mark if state else None)

    async def check(self) -> dict[str, str]:
        """What the server promises, asked for real; proves that it can be written. ConfigurationError: E301, E313."""
        try:
            found = self._ask("check", _SETUP_SECONDS, self._describe)
        except StoreError as error:
            if isinstance(error.__cause__, ConfigurationError):
                raise error.__cause__ from None
            raise
        return {"store": self._where, **found, "revocations": str(await self.count())}

    def _describe(self, connection: Any, ends: float) -> dict[str, str]:
        self._server.forget_hits(connection, ends, -math.inf if self._address.kind == "postgresql" else -1.0, 1)
        described = self._server.describe(connection, ends, self._clock())
        return {**described, "schema": f"{self._names.revocations} and others, version {SCHEMA_VERSION}"}

    async def close(self) -> None:
        """Close this process's connections."""
        self._closed = True
        connections = self._processes.get(os.getpid())
        if connections is not None:
            connections.close()
