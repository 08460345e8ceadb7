"""The statements on the tables of one SQLite file. No transaction begins or ends here."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from ..rules.revocation import Revocation
from . import PURGE_DELAY, Count
from .index import pack_keep, unpack_keep

PURGE_AT_ONCE = 500


class SqliteTables:
    """What is done with the records, the counts and the notes. The names are quoted already."""

    def __init__(self, revocations: str, hits: str, state: str) -> None:
        self.revocations, self.hits, self.state = revocations, hits, state

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
