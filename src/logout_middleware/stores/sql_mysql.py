"""MySQL and MariaDB through PyMySQL. Adding is two round trips, finding is one, news are asked for.

Values are written into the statements here, as hexadecimal and numbers: nothing that came from outside is ever text.
A connection may send several statements at once; what follows one that failed is not run.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT, CR, ER

from .epoch import Mark
from .facts import FactRow
from .sql_schema import SCHEMA_VERSION, Names, SqlAddress, ddl_statements
from .sql_server import After, FactPage, FullRow, NewRow, Page, State, clock_finding, follows, page_of

_POLL_SECONDS = 0.01
_SLACK_SECONDS = 0.005
_FORGET_AT_ONCE = 250
_FALSE = (0, "0", "OFF", "", None)
_OURS = (
    "client_flag", "autocommit", "sql_mode", "init_command", "cursorclass", "connect_timeout", "defer_connect",
    "read_timeout", "write_timeout",
)  # fmt: skip
"""Options that this store sets itself."""


class BoundedConnection(Connection):
    """A connection that waits for its server until `ends`, a moment of `time.monotonic`, and no longer."""

    ends = math.inf
    _read_timeout = _write_timeout = math.inf

    def bound(self, ends: float) -> None:
        """From now on wait until then."""
        self.ends = ends
        self._read_timeout = self._write_timeout = max(_SLACK_SECONDS, ends - time.monotonic())

    def _read_packet(self, *given: Any, **named: Any) -> Any:
        # PyMySQL's own limit is for each read; many in turn must not take longer either.
        if self.ends - time.monotonic() < self._read_timeout - _SLACK_SECONDS:
            self.bound(self.ends)
        return super()._read_packet(*given, **named)  # type: ignore[no-untyped-call]  # not in the stubs


class MySql:
    """The statements of the SQL store in MySQL's words; see sql_server.Server."""

    error: type[Exception] = pymysql.Error

    def __init__(self, address: SqlAddress, names: Names, write_seconds: float) -> None:
        self._names = names
        self._write_seconds = write_seconds
        _, self._options = address.url.get_dialect()().create_connect_args(address.url)
        for replaced in _OURS:
            self._options.pop(replaced, None)
        # Asks nobody; raises what PyMySQL has against the options.
        BoundedConnection(**self._options, defer_connect=True)
        # Two columns: to read what describes a column costs the driver more than the column.
        self._selected = (
            "SELECT CONCAT_WS(' ', s.id, s.adopted_at, s.seq, @@global.read_only), IF(r.seq IS NULL, NULL, "
            'CONCAT_WS(\' \', HEX(r."key"), HEX(r.keep), r."before", r.until, HEX(r.reason), HEX(r.kept), r.seq)) '
            f"FROM {names.state} s LEFT JOIN"
        )
        newer = '(VALUES("before") > "before" OR (VALUES("before") = "before" AND VALUES(reason) > reason))'
        # In this order: each expression sees what the ones before it have set.
        self._merge = (
            f"ON DUPLICATE KEY UPDATE seq = IF(VALUES(until) > until OR {newer}, VALUES(seq), seq), "
            f"reason = IF({newer}, VALUES(reason), reason), until = GREATEST(until, VALUES(until)), "
            '"before" = GREATEST("before", VALUES("before"))'
        )

        newer = "(VALUES(at) > at OR (VALUES(at) = at AND VALUES(text) > text))"
        self._merge_facts = (
            f"ON DUPLICATE KEY UPDATE text = IF({newer}, VALUES(text), text), "
            "until = GREATEST(until, VALUES(until)), at = GREATEST(at, VALUES(at))"
        )

    # ---- connections ---------------------------------------------------------------------------------

    def connect(self, ends: float) -> BoundedConnection:
        """See Server."""
        connection = BoundedConnection(
            **self._options, client_flag=CLIENT.MULTI_STATEMENTS, autocommit=True, defer_connect=True,
            connect_timeout=max(0.001, ends - time.monotonic()),
            # Double quotes are for names; nothing is ever cut short to fit.
            sql_mode="ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
            init_command=f"SET SESSION innodb_lock_wait_timeout = {max(1, math.ceil(self._write_seconds))}",
        )  # fmt: skip
        connection.bound(ends)
        try:
            connection.connect()
        except UnicodeError as error:  # a host that cannot be a name
            raise pymysql.OperationalError(CR.CR_UNKNOWN_HOST, f"the host cannot be a name: {error}") from error
        return connection

    def is_lost(self, connection: BoundedConnection) -> bool:
        """See Server."""
        return not connection.open

    def is_missing(self, error: Exception) -> bool:
        """See Server."""
        return bool(error.args) and error.args[0] == ER.NO_SUCH_TABLE

    def was_undone(self, error: Exception) -> bool:
        """See Server."""
        return bool(error.args) and error.args[0] == ER.LOCK_DEADLOCK

    @staticmethod
    def _ask(connection: BoundedConnection, ends: float, *statements: str) -> list[Any]:
        """The rows of all these statements, sent at once."""
        connection.bound(ends)
        with connection.cursor() as cursor:
            cursor.execute("; ".join(statements))
            rows = list(cursor.fetchall())
            while cursor.nextset():
                rows += cursor.fetchall()
        return rows

    # ---- records -------------------------------------------------------------------------------------

    def find(self, connection: BoundedConnection, ends: float, keys: Sequence[bytes]) -> Page:
        """See Server."""
        wanted = ",".join(map(_bytes, keys)) or "NULL"
        connection.bound(ends)
        # Without the cursor, which costs as much as the statement.
        connection.query(f'{self._selected} {self._names.revocations} r ON r."key" IN ({wanted}) WHERE s.one = 1')
        return _page(connection._result.rows)  # type: ignore[attr-defined]  # not in the stubs

    def add(
        self, connection: BoundedConnection, ends: float, rows: Sequence[NewRow], known: Mark | None
    ) -> Mark | None:
        """See Server."""
        state = self._names.state
        found = self._ask(
            connection, ends, "START TRANSACTION",
            f"SELECT id, adopted_at, seq, @@global.read_only FROM {state} WHERE one = 1 FOR UPDATE",
        )  # fmt: skip
        mark = Mark(*found[0][:3]) if found else None
        if mark is None or not follows(mark, known):
            self._ask(connection, ends, "ROLLBACK")
            return None
        _refuse_read_only(found[0][3])
        seq = mark.changes
        values = ",".join(f"({_values(row)},{seq + place})" for place, row in enumerate(rows, 1))
        self._ask(
            connection, ends,
            f'INSERT INTO {self._names.revocations} ("key", kept, keep, "before", until, reason, seq) '
            f"VALUES {values} {self._merge}",
            f"UPDATE {state} SET seq = {seq + len(rows)} WHERE one = 1",
            "COMMIT",
        )  # fmt: skip
        return Mark(mark.id, mark.adopted_at, seq + len(rows))

    def learn(self, connection: BoundedConnection, ends: float, rows: Sequence[FactRow]) -> Mark | None:
        """See Server. Beside `add`, not behind its lock: there are many of these, and they have no order."""
        found = self._ask(
            connection, ends,
            f"SELECT id, adopted_at, seq, @@global.read_only FROM {self._names.state} WHERE one = 1",
        )  # fmt: skip
        if not found:
            return None
        _refuse_read_only(found[0][3])
        values = ",".join(f"({_values(row)})" for row in rows)
        self._ask(
            connection, ends,
            f"INSERT INTO {self._names.facts} (subject, name, at, until, text) VALUES {values} {self._merge_facts}",
        )  # fmt: skip
        return Mark(*found[0][:3])

    def facts(self, connection: BoundedConnection, ends: float, subjects: Sequence[bytes], now: float) -> FactPage:
        """See Server."""
        wanted = ",".join(map(_bytes, subjects)) or "NULL"
        found = self._ask(
            connection, ends,
            "SELECT s.id, s.adopted_at, s.seq, @@global.read_only, f.subject, f.name, f.at, f.until, f.text "
            f"FROM {self._names.state} s LEFT JOIN {self._names.facts} f "
            f"ON f.subject IN ({wanted}) AND f.until > {_float(now)} WHERE s.one = 1",
        )  # fmt: skip
        if not found:
            return FactPage(None)
        _refuse_read_only(found[0][3])
        return FactPage(Mark(*found[0][:3]), [row[4:] for row in found if row[4] is not None])

    def forget_facts(self, connection: BoundedConnection, ends: float, before: float, at_most: int) -> None:
        """See Server. By their keys, as with counts, and never those that were learned anew meanwhile."""
        facts, ended = self._names.facts, f"until < {_float(before)}"
        found = self._ask(
            connection, ends, f"SELECT subject, name FROM {facts} WHERE {ended} ORDER BY until LIMIT {at_most:d}"
        )
        for start in range(0, len(found), _FORGET_AT_ONCE):
            named = " OR ".join(
                f"(subject = {_bytes(subject)} AND name = {_bytes(name)})"
                for subject, name in sorted(found[start : start + _FORGET_AT_ONCE])
            )
            self._ask(connection, ends, f"DELETE FROM {facts} WHERE ({named}) AND {ended}")

    def _paged(self, connection: BoundedConnection, ends: float, which: str) -> Page:
        records = f"(SELECT * FROM {self._names.revocations} {which}) r ON true WHERE s.one = 1"
        return _page(self._ask(connection, ends, f"{self._selected} {records}"))

    def snapshot(self, connection: BoundedConnection, ends: float, after: After | None, limit: int) -> Page:
        """See Server."""
        begin = ""
        if after is not None:
            key, kept = map(_bytes, after)
            begin = f'WHERE "key" >= {key} AND ("key" > {key} OR kept > {kept})'
        return self._paged(connection, ends, f'{begin} ORDER BY "key", kept LIMIT {limit:d}')

    def feed(self, connection: BoundedConnection, ends: float, after: int, limit: int) -> Page:
        """See Server."""
        return self._paged(connection, ends, f"WHERE seq > {after:d} ORDER BY seq LIMIT {limit:d}")

    def listen(self, connection: BoundedConnection, ends: float) -> None:
        """Nothing can be listened to."""

    def wait(self, connection: BoundedConnection, ends: float) -> None:
        """See Server; it is asked anew every few milliseconds."""
        time.sleep(max(0.0, min(_POLL_SECONDS, ends - time.monotonic())))

    def purge(self, connection: BoundedConnection, ends: float, before: float, at_most: int) -> int:
        """See Server. Behind the same lock as `add`: nobody is ever in a deadlock with it."""
        revocations = self._names.revocations
        found = self._ask(
            connection, ends, "START TRANSACTION",
            f"SELECT seq FROM {self._names.state} WHERE one = 1 FOR UPDATE",
            f"DELETE FROM {revocations} WHERE until < {_float(before)} ORDER BY until LIMIT {at_most:d}",
            "SELECT ROW_COUNT()",
            "COMMIT",
        )  # fmt: skip
        return int(found[-1][0])

    def count(self, connection: BoundedConnection, ends: float) -> int:
        """See Server."""
        return int(self._ask(connection, ends, f"SELECT count(*) FROM {self._names.revocations}")[0][0])

    def hit(
        self, connection: BoundedConnection, ends: float, key: bytes, now: float, window: float
    ) -> tuple[float, int]:
        """See Server."""
        hits, named, new_end = self._names.hits, _bytes(key), _float(now + window)
        found = self._ask(
            connection, ends, "START TRANSACTION",
            f'INSERT INTO {hits} ("key", started, ends, count) VALUES ({named}, {_float(now)}, {new_end}, 1) '
            "ON DUPLICATE KEY UPDATE "
            f"count = IF({_float(now)} >= started AND {_float(now)} < ends, count + 1, 1), "
            "started = IF(count = 1, VALUES(started), started), ends = IF(count = 1, VALUES(ends), ends)",
            f'SELECT started, count FROM {hits} WHERE "key" = {named}',
            "COMMIT",
        )  # fmt: skip
        return found[0][0], found[0][1]

    def forget_hits(self, connection: BoundedConnection, ends: float, now: float, at_most: int) -> None:
        """See Server. By their keys: a range of ends would be locked together with what `hit` inserts into it."""
        hits, ended = self._names.hits, f"ends < {_float(now)}"
        found = self._ask(connection, ends, f'SELECT "key" FROM {hits} WHERE {ended} ORDER BY ends LIMIT {at_most:d}')
        keys = ",".join(sorted(_bytes(row[0]) for row in found)) or "NULL"
        self._ask(connection, ends, f'DELETE FROM {hits} WHERE "key" IN ({keys}) AND {ended}')

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
        """See Server."""
        for statement in ddl_statements(self._names, "mysql"):
            self._ask(connection, ends, statement)

    def _newest(self) -> str:
        # Beforehand, and not within the INSERT, which would lock what it reads: a deadlock with `add`.
        return f"SELECT coalesce(max(seq), 0) INTO @newest FROM {self._names.revocations}"

    def begin(self, connection: BoundedConnection, ends: float, new_id: str) -> None:
        """See Server."""
        self._ask(
            connection, ends, self._newest(),
            f"INSERT INTO {self._names.state} (one, version, id, adopted_at, seq) "
            f"VALUES (1, {SCHEMA_VERSION}, {_bytes(new_id.encode())}, 0, @newest) "
            "ON DUPLICATE KEY UPDATE one = 1",
        )  # fmt: skip

    def adopt(self, connection: BoundedConnection, ends: float, new_id: str, adopted_at: int) -> None:
        """See Server."""
        self._ask(
            connection, ends, self._newest(),
            f"INSERT INTO {self._names.state} (one, version, id, adopted_at, seq) "
            f"VALUES (1, {SCHEMA_VERSION}, {_bytes(new_id.encode())}, {adopted_at:d}, @newest) "
            "ON DUPLICATE KEY UPDATE id = VALUES(id), adopted_at = GREATEST(VALUES(adopted_at), adopted_at + 1), "
            "seq = GREATEST(VALUES(seq), seq)",
        )  # fmt: skip

    def disown(self, connection: BoundedConnection, ends: float, known: Mark, new_id: str) -> None:
        """See Server."""
        self._ask(
            connection, ends,
            f"UPDATE {self._names.state} SET id = {_bytes(new_id.encode())} "
            f"WHERE one = 1 AND id = {_bytes(known.id.encode())} AND seq < {known.changes:d}",
        )  # fmt: skip

    def describe(self, connection: BoundedConnection, ends: float, now: float) -> dict[str, str]:
        """See Server."""
        version, flush, doublewrite, binlog, sync_binlog, read_only, clock = self._ask(
            connection, ends,
            "SELECT @@version, @@global.innodb_flush_log_at_trx_commit, @@global.innodb_doublewrite, "
            "@@global.log_bin, @@global.sync_binlog, @@global.read_only, UNIX_TIMESTAMP(NOW(6))",
        )[0]  # fmt: skip
        durability = "fsync before every acknowledgement"
        if flush != 1:
            durability = (
                f"UNSAFE: innodb_flush_log_at_trx_commit is {flush}, a crash can lose the last second; "
                "set it to 1 in the server's configuration"
            )
        elif binlog not in _FALSE and sync_binlog != 1:
            durability = (
                f"UNSAFE: sync_binlog is {sync_binlog} and the binary log is on; set sync_binlog = 1, "
                "or replicas can miss what was acknowledged"
            )
        elif doublewrite in _FALSE:
            durability = (
                "UNSAFE: innodb_doublewrite is off, a torn page cannot be repaired; set innodb_doublewrite = ON"
            )
        is_replica = read_only not in _FALSE
        return {
            "server": f"MySQL {version}",
            "durability": durability,
            "role": "UNSAFE: read_only is on, a replica; name the primary in LOGOUT_STORE" if is_replica else "primary",
            "replication": self._replication(connection, ends),
            "clock": clock_finding(float(clock) - now),
        }

    def _replication(self, connection: BoundedConnection, ends: float) -> str:
        semi = dict(self._ask(connection, ends, "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_%_status'"))
        replicas = 0
        with contextlib.suppress(pymysql.Error):  # a right that an application's user seldom has
            replicas = len(self._ask(connection, ends, "SHOW REPLICA HOSTS"))
        waits = any(on == "ON" and "slave" not in name and "replica" not in name for name, on in semi.items())
        if waits:
            return f"semi-synchronous ({replicas} replicas seen)"
        if replicas:
            return (
                f"UNSAFE: {replicas} replicas, not semi-synchronous: a fail-over can forget acknowledged logouts; "
                "turn semi-synchronous replication on"
            )
        return "none seen"


def _bytes(value: bytes) -> str:
    return f"x'{value.hex()}'"


def _float(value: float) -> str:
    """With an exponent: else it would be read as a decimal number."""
    text = repr(float(value))
    return text if "e" in text else f"{text}e0"


def _values(row: Sequence[bytes | float]) -> str:
    return ",".join(_float(value) if isinstance(value, float) else _bytes(value) for value in row)


def _refuse_read_only(read_only: Any) -> None:
    if read_only not in _FALSE:
        raise pymysql.OperationalError(ER.OPTION_PREVENTS_STATEMENT, "the server is read-only: a replica")


def _page(found: Sequence[Any]) -> Page:
    if not found:
        return Page(None, ())
    name, adopted_at, seq, read_only = found[0][0].split(" ")
    _refuse_read_only(read_only)
    mark = Mark(name, int(adopted_at), int(seq))
    if found[0][1] is None:
        return Page(mark, ())
    return page_of(mark, [_record(row[1]) for row in found])


def _record(text: str) -> FullRow:
    key, keep, before, until, reason, kept, seq = text.split(" ")
    unhex = bytes.fromhex
    return unhex(key), unhex(keep), float(before), float(until), unhex(reason), unhex(kept), int(seq)
