"""What the SQL store asks of a server, whichever it is; `sql_postgresql.py` and `sql_mysql.py` answer.

Each call is one statement or one transaction, finished when it returns: nothing is ever open between two calls.
Each takes `ends`, a moment of `time.monotonic`: nobody waits beyond it, whatever the server or the network does.
Errors are the driver's, `Server.error`; after one the connection is thrown away, whatever its state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from .epoch import Mark
from .facts import FactRow

FullRow: TypeAlias = tuple[bytes, bytes, float, float, bytes, bytes, int]
"""key, keep, before, until, reason, kept, seq: a record as the tables hold it."""
NewRow: TypeAlias = tuple[bytes, bytes, bytes, float, float, bytes]
"""key, kept (what the primary key has of keep), keep, before, until, reason: a record to be stored."""
After: TypeAlias = tuple[bytes, bytes]
"""key and kept of the last record of a page."""


@dataclass(frozen=True, slots=True)
class State:
    """The one row of state: which schema, and which store at which change."""

    version: int
    mark: Mark


@dataclass(frozen=True, slots=True)
class Page:
    """Records, and the mark of the store at the same moment. `last_key` and `last_seq`: the highest of a page."""

    mark: Mark | None
    rows: Sequence[FullRow]
    last_key: After = (b"", b"")
    last_seq: int = 0


@dataclass(frozen=True, slots=True)
class FactPage:
    """Facts, and the mark of the store at the same moment."""

    mark: Mark | None
    rows: Sequence[FactRow] = ()


def page_of(mark: Mark, rows: Sequence[FullRow]) -> Page:
    """A page that is not empty; the rows may be in any order."""
    return Page(mark, rows, max((row[0], row[5]) for row in rows), max(row[6] for row in rows))


class Server(Protocol):
    """One kind of SQL server, with the tables of one prefix. A `connection` is its driver's."""

    error: type[Exception]
    """The root of the driver's errors."""

    def connect(self, ends: float) -> Any:
        """A connection to the primary, ready for all the calls below."""
        ...

    def is_lost(self, connection: Any) -> bool:
        """Was it an error of the connection, not of the statement?"""
        ...

    def is_missing(self, error: Exception) -> bool:
        """Does this error say that a table is not there?"""
        ...

    def was_undone(self, error: Exception) -> bool:
        """Did the server undo the whole transaction for the sake of another one? Then it may be sent again."""
        ...

    def find(self, connection: Any, ends: float, keys: Sequence[bytes]) -> Page:
        """The mark, and the records under these keys, in one round trip and of one moment."""
        ...

    def add(self, connection: Any, ends: float, rows: Sequence[NewRow], known: Mark | None) -> Mark | None:
        """Merge these in, commit, and return the mark afterwards.

        None, and nothing done, if there is no mark, or none that follows the known one: to count on from a number
        that fell would hide that it fell.
        """
        ...

    def learn(self, connection: Any, ends: float, rows: Sequence[FactRow]) -> Mark | None:
        """Merge these in, commit, and return the mark; None, and nothing done, if there is none."""
        ...

    def facts(self, connection: Any, ends: float, subjects: Sequence[bytes], now: float) -> FactPage:
        """The mark, and the facts of these subjects that have not ended, in one round trip and of one moment."""
        ...

    def forget_facts(self, connection: Any, ends: float, before: float, at_most: int) -> None:
        """Delete facts whose `until` is before this."""
        ...

    def snapshot(self, connection: Any, ends: float, after: After | None, limit: int) -> Page:
        """Records in the order of their keys."""
        ...

    def feed(self, connection: Any, ends: float, after: int, limit: int) -> Page:
        """Records in the order of their changes."""
        ...

    def listen(self, connection: Any, ends: float) -> None:
        """Prepare this connection for `wait`."""
        ...

    def wait(self, connection: Any, ends: float) -> None:
        """Return at `ends`, or as soon as something may have been added since the last `feed`."""
        ...

    def state(self, connection: Any, ends: float) -> State | None:
        """The row of state, if there is one. An error if it is there and the table of facts is not."""
        ...

    def create(self, connection: Any, ends: float) -> None:
        """Make the tables that are not there. Several may do it at once."""
        ...

    def begin(self, connection: Any, ends: float, new_id: str) -> None:
        """Make the row of state, if there is none."""
        ...

    def adopt(self, connection: Any, ends: float, new_id: str, adopted_at: int) -> None:
        """Make the row of state another one, adopted no earlier than this and later than it was."""
        ...

    def disown(self, connection: Any, ends: float, known: Mark, new_id: str) -> None:
        """If it has fewer changes than `known`, of which it is a copy, make it another one, which nobody adopted."""
        ...

    def hit(self, connection: Any, ends: float, key: bytes, now: float, window: float) -> tuple[float, int]:
        """Count, and return when the window began and the count."""
        ...

    def forget_hits(self, connection: Any, ends: float, now: float, at_most: int) -> None:
        """Delete counts whose windows ended."""
        ...

    def purge(self, connection: Any, ends: float, before: float, at_most: int) -> int:
        """Delete records whose `until` is before this; returns how many."""
        ...

    def count(self, connection: Any, ends: float) -> int:
        """How many records there are."""
        ...

    def describe(self, connection: Any, ends: float, now: float) -> dict[str, str]:
        """What the server promises, for the operator; "UNSAFE: …" where that is not enough, with the remedy."""
        ...


def follows(found: Mark, known: Mark | None) -> bool:
    """Can this be the mark, later, of the store that had the known one?"""
    if known is None or found.adopted_at > known.adopted_at:
        return True
    return found.id == known.id and found.changes >= known.changes


def clock_finding(offset: float) -> str:
    """What `check` says of a server's clock that is so many seconds before ours."""
    if abs(offset) <= 1.0:
        return f"{offset:+.3f} s"
    return f"UNSAFE: the server's clock is {offset:+.1f} s from this host's; synchronise both (NTP)"
