"""PostgreSQL through psycopg 3. Adding is one statement, finding is one prepared statement, news come by NOTIFY.

psycopg waits for the server in generators; `BoundedConnection` ends each wait at its deadline, so that a server which
hangs costs no more than that. `statement_timeout` could not do it: the server that hangs would have to keep it.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Generator, Sequence
from typing import Any, Self, TypeVar

import psycopg
from psycopg import generators, waiting
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult

from .epoch import Mark
from .facts import FactRow
from .sql_postgresql_check import QUESTION, described
from .sql_schema import SCHEMA_VERSION, Names, SqlAddress, ddl_statements
from .sql_server import After, FactPage, FullRow, NewRow, Page, State, page_of

T = TypeVar("T")
_STEP_SECONDS = 0.02
_LISTEN_STEP_SECONDS = 0.1
_FIND = b"logout_find"
_BYTEA = 17
_ARRAY = struct.Struct("!iiiii")
"""How an array begins on the wire: dimensions, are there nulls, of which type, how many, numbered from which."""
_INT4, _FLOAT8, _INT8, _INT8S = struct.Struct("!i"), struct.Struct("!d"), struct.Struct("!q"), struct.Struct("!qq")


class DeadlineError(psycopg.OperationalError):
    """The server did not answer in time."""


def _until(generator: Generator[Any, Any, T], ends: float) -> Generator[Any, Any, T]:
    """The same generator of psycopg, until it is too late."""
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            if time.monotonic() >= ends:
                raise DeadlineError("no answer in time")
            wanted = generator.send(ready)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]  # StopIteration does not say its type


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for its server until `ends`, a moment of `time.monotonic`, and no longer."""

    ends = math.inf
    woken = can_find = False

    @classmethod
    def open(cls, conninfo: str, ends: float) -> Self:
        """Connect, in time. psycopg's own `connect` waits at least two seconds."""
        step = min(_STEP_SECONDS, max(0.001, ends - time.monotonic()))
        pgconn = waiting.wait_conn(_until(generators.connect(conninfo), ends), interval=step)
        connection = cls(pgconn)
        connection.ends = ends
        connection.autocommit = True
        connection.add_notify_handler(connection.wake)
        return connection

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """See psycopg; every wait for the server comes through here."""
        step = min(_STEP_SECONDS, max(0.001, self.ends - time.monotonic()))
        return super().wait(_until(gen, self.ends), interval=step)

    def wake(self, _: psycopg.Notify) -> None:
        """Remember that something was notified."""
        self.woken = True

    def wait_for_news(self, ends: float) -> None:
        """Return when something was notified since the last time, or at `ends`."""
        step = min(_LISTEN_STEP_SECONDS, max(0.001, ends - time.monotonic()))
        try:
            # What came with the last answer is in libpq's buffer, where the socket does not show it.
            self.pgconn.consume_input()
            if not self.woken and self.pgconn.notifies() is None:
                super().wait(_until(generators.notifies(self.pgconn), ends), interval=step)
        except DeadlineError:
            pass
        self.woken = False


class PostgreSql:
    """The statements of the SQL store in PostgreSQL's words; see sql_server.Server."""

    error: type[Exception] = psycopg.Error

    def __init__(self, address: SqlAddress, names: Names, write_seconds: float) -> None:
        self._names, self._channel = names, names.state
        self._write_seconds = write_seconds
        _, options = address.url.get_dialect()().create_connect_args(address.url)
        options.setdefault("target_session_attrs", "read-write")
        options.setdefault("application_name", "logout-middleware")
        options.setdefault("keepalives_idle", 30)
        options.setdefault("tcp_user_timeout", 5000)
        options["client_encoding"] = "utf8"
        self._conninfos = [make_conninfo("", **one) for one in _one_for_each_host(dict(options))]
        self._prepare_statements()

    def _prepare_statements(self) -> None:
        revocations, hits, state = self._names.revocations, self._names.hits, self._names.state
        selected = "SELECT s.id, s.adopted_at, s.seq, r.key, r.keep, r.before, r.until, r.reason, r.kept, r.seq"
        self._find = (
            f"{selected} FROM {state} s LEFT JOIN {revocations} r ON r.key = ANY($1::bytea[]) WHERE s.one = 1".encode()
        )
        newer = "(excluded.before, excluded.reason) > (present.before, present.reason)"
        # One statement, one round trip. The state's row is locked before a record is touched, until the commit.
        self._add = (
            f"WITH s AS (UPDATE {state} SET seq = seq + %(count)s WHERE one = 1 AND (%(id)s::text IS NULL "
            "OR (id = %(id)s AND seq >= %(seq)s::int8) OR adopted_at > %(adopted_at)s::int8) "
            "RETURNING id, adopted_at, seq), "
            f"added AS (INSERT INTO {revocations} AS present (key, kept, keep, before, until, reason, seq) "
            "SELECT r.key, r.kept, r.keep, r.before, r.until, r.reason, s.seq - %(count)s + r.place "
            "FROM s CROSS JOIN unnest(%(keys)b::bytea[], %(kept)b::bytea[], %(keep)b::bytea[], "
            "%(before)b::float8[], %(until)b::float8[], %(reason)b::bytea[]) "
            "WITH ORDINALITY AS r (key, kept, keep, before, until, reason, place) "
            "ON CONFLICT (key, kept) DO UPDATE SET seq = excluded.seq, "
            "until = greatest(present.until, excluded.until), before = greatest(present.before, excluded.before), "
            f"reason = CASE WHEN {newer} THEN excluded.reason ELSE present.reason END "
            f"WHERE excluded.until > present.until OR {newer}) "
            f"SELECT id, adopted_at, seq, pg_notify('{self._channel}', '') FROM s"
        )
        page = (
            f"{selected} FROM {state} s LEFT JOIN "
            f"(SELECT * FROM {revocations} {{}} LIMIT %(limit)s) r ON true WHERE s.one = 1"
        )
        self._first = page.format("ORDER BY key, kept")
        self._next = page.format("WHERE (key, kept) > (%(key)b, %(kept)b) ORDER BY key, kept")
        self._feed = page.format("WHERE seq > %(after)s ORDER BY seq")
        facts = self._names.facts
        self._learn = (
            f"WITH s AS (SELECT id, adopted_at, seq FROM {state} WHERE one = 1), "
            f"learned AS (INSERT INTO {facts} AS present (subject, name, at, until, text) "
            "SELECT f.subject, f.name, f.at, f.until, f.text FROM s CROSS JOIN unnest(%(subject)b::bytea[], "
            "%(name)b::bytea[], %(at)b::float8[], %(until)b::float8[], %(text)b::bytea[]) "
            "AS f (subject, name, at, until, text) ORDER BY f.subject, f.name "
            "ON CONFLICT (subject, name) DO UPDATE SET until = greatest(present.until, excluded.until), "
            "at = greatest(present.at, excluded.at), text = CASE WHEN (excluded.at, excluded.text) > "
            "(present.at, present.text) THEN excluded.text ELSE present.text END) "
            "SELECT id, adopted_at, seq FROM s"
        )
        self._facts = (
            f"SELECT s.id, s.adopted_at, s.seq, f.subject, f.name, f.at, f.until, f.text FROM {state} s "
            f"LEFT JOIN {facts} f ON f.subject = ANY(%(subjects)b::bytea[]) AND f.until > %(now)b WHERE s.one = 1"
        )
        self._forget_facts = (
            f"DELETE FROM {facts} WHERE until < %(before)b AND (subject, name) IN "
            f"(SELECT subject, name FROM {facts} WHERE until < %(before)b ORDER BY until LIMIT %(limit)s "
            "FOR UPDATE SKIP LOCKED)"
        )
        running = "%(now)b >= present.started AND %(now)b < present.ends"
        self._hit = (
            f"INSERT INTO {hits} AS present (key, started, ends, count) "
            "VALUES (%(key)b, %(now)b, %(now)b::float8 + %(window)b, 1) ON CONFLICT (key) DO UPDATE SET "
            f"count = CASE WHEN {running} THEN present.count + 1 ELSE 1 END, "
            f"started = CASE WHEN {running} THEN present.started ELSE excluded.started END, "
            f"ends = CASE WHEN {running} THEN present.ends ELSE excluded.ends END RETURNING started, count"
        )
        self._forget_hits = (
            f"DELETE FROM {hits} WHERE ends < %(now)b AND key IN "
            f"(SELECT key FROM {hits} WHERE ends < %(now)b ORDER BY ends LIMIT %(limit)s FOR UPDATE SKIP LOCKED)"
        )
        self._purge = (
            f"DELETE FROM {revocations} WHERE until < %(before)b AND (key, kept) IN "
            f"(SELECT key, kept FROM {revocations} WHERE until < %(before)b ORDER BY until LIMIT %(limit)s "
            "FOR UPDATE SKIP LOCKED)"
        )

    # ---- connections ---------------------------------------------------------------------------------

    def connect(self, ends: float) -> BoundedConnection:
        """A connection to the first host that may be written; each has its share of the time."""
        failures: list[str] = []
        for place, conninfo in enumerate(self._conninfos):
            now = time.monotonic()
            share = (ends - now) / (len(self._conninfos) - place)
            try:
                connection = BoundedConnection.open(conninfo, now + share)
            except psycopg.OperationalError as error:
                failures.append(str(error).strip())
                continue
            # The next connection begins with the host that answered.
            self._conninfos = [conninfo, *(other for other in self._conninfos if other != conninfo)]
            connection.ends = ends
            try:
                connection.execute(self._settings(), binary=True)
            except BaseException:
                connection.close()
                raise
            return connection
        raise psycopg.OperationalError("; ".join(failures))

    def _settings(self) -> str:
        lock_ms = math.ceil(self._write_seconds * 1000)
        settings = {
            "default_transaction_isolation": "read committed",
            "lock_timeout": str(lock_ms),
            # A plan that was made while the table was small must still be right when it is not.
            "enable_seqscan": "off", "plan_cache_mode": "force_generic_plan", "jit": "off",
        }  # fmt: skip
        chosen = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
        # Whoever turned it off for the application's sake did not mean logouts.
        off = "current_setting('synchronous_commit') = 'off'"
        safe = f"CASE WHEN {off} THEN set_config('synchronous_commit', 'on', false) END"
        return f"SELECT {chosen}, {safe}"

    def is_lost(self, connection: BoundedConnection) -> bool:
        """See Server."""
        return bool(connection.closed or connection.pgconn.status == ConnStatus.BAD)

    def is_missing(self, error: Exception) -> bool:
        """See Server."""
        return isinstance(error, psycopg.errors.UndefinedTable)

    def was_undone(self, error: Exception) -> bool:
        """See Server."""
        return isinstance(error, psycopg.errors.TransactionRollback)

    @staticmethod
    def _ask(
        connection: BoundedConnection, ends: float, statement: str, values: Any = None, *, prepare: bool | None = None
    ) -> list[Any]:
        connection.ends = ends
        cursor = connection.execute(statement, values, binary=True, prepare=prepare)
        return cursor.fetchall() if cursor.description else []

    # ---- records -------------------------------------------------------------------------------------

    def find(self, connection: BoundedConnection, ends: float, keys: Sequence[bytes]) -> Page:
        """See Server. Without psycopg's cursor, which costs four times the statement."""
        connection.ends = ends
        pgconn = connection.pgconn
        if not connection.can_find:
            pgconn.send_prepare(_FIND, self._find)
            _checked(connection.wait(generators.execute(pgconn)))
            connection.can_find = True
        array = _ARRAY.pack(1, 0, _BYTEA, len(keys), 1) + b"".join([_INT4.pack(len(key)) + key for key in keys])
        pgconn.send_query_prepared(_FIND, [array], param_formats=[1], result_format=1)
        result = _checked(connection.wait(generators.execute(pgconn)))
        if not result.ntuples:
            return Page(None, ())
        value = result.get_value
        mark = Mark((value(0, 0) or b"").decode(), *_INT8S.unpack((value(0, 1) or b"") + (value(0, 2) or b"")))
        if value(0, 3) is None:
            return Page(mark, ())
        return page_of(
            mark, [_record([value(row, column) or b"" for column in range(3, 10)]) for row in range(result.ntuples)]
        )

    def add(
        self, connection: BoundedConnection, ends: float, rows: Sequence[NewRow], known: Mark | None
    ) -> Mark | None:
        """See Server."""
        columns = zip(("keys", "kept", "keep", "before", "until", "reason"), zip(*rows, strict=True), strict=True)
        values: dict[str, Any] = {name: list(column) for name, column in columns}
        values["id"], values["adopted_at"], values["seq"] = (
            (known.id, known.adopted_at, known.changes) if known else (None, None, None)
        )
        found = self._ask(connection, ends, self._add, {**values, "count": len(rows)}, prepare=True)
        return Mark(*found[0][:3]) if found else None

    def learn(self, connection: BoundedConnection, ends: float, rows: Sequence[FactRow]) -> Mark | None:
        """See Server. What is the same already is written again: then the commit waits for whoever wrote it first."""
        columns = zip(("subject", "name", "at", "until", "text"), zip(*rows, strict=True), strict=True)
        found = self._ask(connection, ends, self._learn, {name: list(column) for name, column in columns}, prepare=True)
        return Mark(*found[0]) if found else None

    def facts(self, connection: BoundedConnection, ends: float, subjects: Sequence[bytes], now: float) -> FactPage:
        """See Server."""
        values = {"subjects": list(subjects), "now": now}
        found = self._ask(connection, ends, self._facts, values, prepare=True)
        rows = [row[3:] for row in found if row[3] is not None]
        return FactPage(Mark(*found[0][:3]) if found else None, rows)

    def forget_facts(self, connection: BoundedConnection, ends: float, before: float, at_most: int) -> None:
        """See Server."""
        self._ask(connection, ends, self._forget_facts, {"before": before, "limit": at_most})

    def snapshot(self, connection: BoundedConnection, ends: float, after: After | None, limit: int) -> Page:
        """See Server."""
        if after is None:
            found = self._ask(connection, ends, self._first, {"limit": limit})
        else:
            found = self._ask(connection, ends, self._next, {"key": after[0], "kept": after[1], "limit": limit})
        return _page(found)

    def feed(self, connection: BoundedConnection, ends: float, after: int, limit: int) -> Page:
        """See Server."""
        return _page(self._ask(connection, ends, self._feed, {"after": after, "limit": limit}))

    def listen(self, connection: BoundedConnection, ends: float) -> None:
        """See Server."""
        self._ask(connection, ends, f"LISTEN {self._channel}")

    def wait(self, connection: BoundedConnection, ends: float) -> None:
        """See Server."""
        connection.wait_for_news(ends)

    def purge(self, connection: BoundedConnection, ends: float, before: float, at_most: int) -> int:
        """See Server."""
        connection.ends = ends
        return connection.execute(self._purge, {"before": before, "limit": at_most}).rowcount

    def count(self, connection: BoundedConnection, ends: float) -> int:
        """See Server."""
        return int(self._ask(connection, ends, f"SELECT count(*) FROM {self._names.revocations}")[0][0])

    def hit(
        self, connection: BoundedConnection, ends: float, key: bytes, now: float, window: float
    ) -> tuple[float, int]:
        """See Server."""
        started, count = self._ask(connection, ends, self._hit, {"key": key, "now": now, "window": window})[0]
        return started, count

    def forget_hits(self, connection: BoundedConnection, ends: float, now: float, at_most: int) -> None:
        """See Server."""
        self._ask(connection, ends, self._forget_hits, {"now": now, "limit": at_most})

    # ---- the store itself ----------------------------------------------------------------------------

    def state(self, connection: BoundedConnection, ends: float) -> State | None:
        """See Server."""
        found = self._ask(
            connection, ends,
            f"SELECT s.version, s.id, s.adopted_at, s.seq FROM {self._names.state} s "
            f"LEFT JOIN {self._names.facts} f ON 1 = 0 WHERE s.one = 1",
        )  # fmt: skip
        return State(found[0][0], Mark(*found[0][1:])) if found else None

    def create(self, connection: BoundedConnection, ends: float) -> None:
        """See Server. Serialised, because IF NOT EXISTS alone can fail where two try at once."""
        connection.ends = ends
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._names.state,))
            for statement in ddl_statements(self._names, "postgresql"):
                connection.execute(statement)

    def begin(self, connection: BoundedConnection, ends: float, new_id: str) -> None:
        """See Server."""
        self._ask(
            connection, ends,
            f"INSERT INTO {self._names.state} (one, version, id, adopted_at, seq) "
            f"SELECT 1, %s, %s, 0, coalesce(max(seq), 0) FROM {self._names.revocations} ON CONFLICT (one) DO NOTHING",
            (SCHEMA_VERSION, new_id),
        )  # fmt: skip

    def adopt(self, connection: BoundedConnection, ends: float, new_id: str, adopted_at: int) -> None:
        """See Server."""
        self._ask(
            connection, ends,
            f"INSERT INTO {self._names.state} AS present (one, version, id, adopted_at, seq) "
            f"SELECT 1, %s, %s, %s, coalesce(max(seq), 0) FROM {self._names.revocations} ON CONFLICT (one) DO UPDATE "
            "SET id = excluded.id, adopted_at = greatest(excluded.adopted_at, present.adopted_at + 1), "
            "seq = greatest(excluded.seq, present.seq)",
            (SCHEMA_VERSION, new_id, adopted_at),
        )  # fmt: skip

    def disown(self, connection: BoundedConnection, ends: float, known: Mark, new_id: str) -> None:
        """See Server."""
        self._ask(
            connection, ends,
            f"UPDATE {self._names.state} SET id = %s WHERE one = 1 AND id = %s AND seq < %s",
            (new_id, known.id, known.changes),
        )  # fmt: skip

    def describe(self, connection: BoundedConnection, ends: float, now: float) -> dict[str, str]:
        """See Server."""
        return described(self._ask(connection, ends, QUESTION)[0], now)


def _one_for_each_host(options: dict[str, Any]) -> list[dict[str, Any]]:
    """The same options once for each host: one that hangs must not use up the time of the others."""
    hosts = str(options.get("host", "")).split(",")
    ports = str(options.get("port", "")).split(",")
    if len(hosts) == 1:
        return [options]
    if len(ports) == 1:
        ports *= len(hosts)
    return [{**options, "host": host, "port": port or "5432"} for host, port in zip(hosts, ports, strict=True)]


def _page(found: Sequence[Any]) -> Page:
    if not found:
        return Page(None, ())
    mark = Mark(*found[0][:3])
    return page_of(mark, [row[3:] for row in found]) if found[0][3] is not None else Page(mark, ())


def _record(values: Sequence[bytes]) -> FullRow:
    """A record from PostgreSQL's binary format."""
    key, keep, before, until, reason, kept, seq = values
    return key, keep, _FLOAT8.unpack(before)[0], _FLOAT8.unpack(until)[0], reason, kept, _INT8.unpack(seq)[0]


def _checked(results: Sequence[PGresult]) -> PGresult:
    for result in results:
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise psycopg.errors.error_from_result(result)
    return results[-1]
