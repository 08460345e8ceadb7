"""The statements on the tables of one SQLite file. No transaction begins or ends here."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ..rules.revocation import Revocation
from . import PURGE_DELAY, Count, Fact
from .facts import FactRow, distinct, facts_of, rows_of_facts
from .index import pack_keep, unpack_keep

PURGE_AT_ONCE = 500
_ASKED_AT_ONCE = 500


class SqliteTables:
    """What is done with the records, the counts, the notes and the facts. The names are quoted already."""

    def __init__(self, revocations: str, hits: str, state: str, facts: str) -> None:
        self.revocations, self.hits, self.state, self.facts = revocations, hits, state, facts

    def rows(self, connection: sqlite3.Connection, after: int, limit: int = -1) -> list[tuple[Revocation, int]]:
        """The records that changed after this sequence number, each with its own, in their order."""
        found = connection.execute(
            f"SELECT key, before, until, reason, keep, seq FROM {self.revocations} WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, limit),
        )
        return [
            (Revocation(key, before, until, reason, unpack_keep(keep)), seq)
            for key, before, until, reason, keep, seq in found
        ]

    def merge_in(self, connection: sqlite3.Connection, revocations: Sequence[Revocation], after: int) -> None:
        """Add these as `rules.revocation.merge` says, numbered from the one after `after`."""
        connection.executemany(
            f"INSERT INTO {self.revocations} AS present (key, keep, before, until, reason, seq) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key, keep) DO UPDATE SET seq = excluded.seq, "
            "until = max(present.until, excluded.until), before = max(present.before, excluded.before), "
            "reason = CASE WHEN (excluded.before, excluded.reason) > (present.before, present.reason) "
            "THEN excluded.reason ELSE present.reason END",
            [
                (record.key, pack_keep(record.keep), record.before, record.until, record.reason, after + place)
                for place, record in enumerate(revocations, 1)
            ],
        )

    def delete_ended(self, connection: sqlite3.Connection, now: float, limit: int = PURGE_AT_ONCE) -> int:
        """Forget records that ended long ago; returns how many."""
        # The newest row stays: the sequence must never fall back, or the other workers would miss what comes next.
        return connection.execute(
            f"DELETE FROM {self.revocations} WHERE (key, keep) IN (SELECT key, keep FROM {self.revocations} "
            f"WHERE until < ? AND seq < (SELECT max(seq) FROM {self.revocations}) LIMIT ?)",
            (now - PURGE_DELAY, limit),
        ).rowcount

    def hit(self, connection: sqlite3.Connection, key: bytes, now: float, window: float) -> Count:
        """Count one event, and forget a few windows that are over."""
        running = ":now >= present.started AND :now < present.ends"
        started, count = connection.execute(
            f"INSERT INTO {self.hits} AS present (key, started, ends, count) "
            "VALUES (:key, :now, :now + :window, 1) ON CONFLICT (key) DO UPDATE SET "
            f"count = CASE WHEN {running} THEN present.count + 1 ELSE 1 END, "
            f"started = CASE WHEN {running} THEN present.started ELSE :now END, "
            f"ends = CASE WHEN {running} THEN present.ends ELSE :now + :window END "
            "RETURNING started, count",
            {"key": key, "now": now, "window": window},
        ).fetchone()
        connection.execute(
            f"DELETE FROM {self.hits} WHERE key IN (SELECT key FROM {self.hits} WHERE ends < ? LIMIT ?)",
            (now, PURGE_AT_ONCE),
        )
        return Count(count, started + window - now)

    def set_note(self, connection: sqlite3.Connection, name: str, value: Any, *, was: Any) -> bool:
        """Note this, if what is noted now is `was`; did it?"""
        found = connection.execute(f"SELECT value FROM {self.state} WHERE name = ?", (name,)).fetchone()
        if (None if found is None else found[0]) != was:
            return False
        connection.execute(f"REPLACE INTO {self.state} VALUES (?, ?)", (name, value))
        return True

    # ---- facts ---------------------------------------------------------------------------------------

    def learn(self, connection: sqlite3.Connection, facts: Sequence[Fact], now: float) -> None:
        """Add these as `merge_facts` says, and forget a few that ended long ago."""
        connection.executemany(
            f"INSERT INTO {self.facts} AS present (subject, name, at, until, text) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (subject, name) DO UPDATE SET until = max(present.until, excluded.until), "
            "at = max(present.at, excluded.at), text = CASE WHEN (excluded.at, excluded.text) > "
            "(present.at, present.text) THEN excluded.text ELSE present.text END",
            rows_of_facts(facts),
        )
        self.forget_facts(connection, now)

    def facts_about(self, connection: sqlite3.Connection, subjects: Sequence[bytes], now: float) -> list[Fact]:
        """Those of these subjects that have not ended."""
        named, rows = distinct(subjects), list[FactRow]()
        for start in range(0, len(named), _ASKED_AT_ONCE):
            asked = named[start : start + _ASKED_AT_ONCE]
            rows += connection.execute(
                f"SELECT subject, name, at, until, text FROM {self.facts} "
                f"WHERE subject IN ({', '.join('?' * len(asked))}) AND until > ?",
                (*asked, now),
            )
        return facts_of(rows)

    def some_facts(self, connection: sqlite3.Connection, limit: int) -> list[Fact]:
        """So many of all, ended or not."""
        found = connection.execute(f"SELECT subject, name, at, until, text FROM {self.facts} LIMIT ?", (limit,))
        return facts_of(found.fetchall())

    def drop_facts(self, connection: sqlite3.Connection, facts: Sequence[Fact]) -> None:
        """Forget these, but none of which more was learned meanwhile."""
        connection.executemany(
            f"DELETE FROM {self.facts} WHERE subject = ? AND name = ? AND at = ? AND until = ? AND text = ?",
            rows_of_facts(facts),
        )

    def forget_facts(self, connection: sqlite3.Connection, now: float, limit: int = PURGE_AT_ONCE) -> None:
        """Forget facts that ended long ago."""
        connection.execute(
            f"DELETE FROM {self.facts} WHERE (subject, name) IN "
            f"(SELECT subject, name FROM {self.facts} WHERE until < ? LIMIT ?)",
            (now - PURGE_DELAY, limit),
        )
