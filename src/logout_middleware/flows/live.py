"""The open connections of this process, by the keys that can end them.

A connection is in the index under every key of its credentials, so a revocation finds exactly whom it hits; nothing is
scanned, and requests that are over at once are never in it. Whoever learns of revocations (this process's own logouts,
the feed of the others) hands them to `cut`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from ..rules.identity import Identity
from ..rules.revocation import Revocation

REFRESHED = "refresh"
"""The reason that an application gives for a token which its refresh replaced."""
ROTATED = "!refresh"
"""The reason in its record: it is dead, but its login, and what was opened with it, goes on. Records of one moment keep
the larger reason, and any other says more."""


class Connection(Protocol):
    """An open WebSocket or a body that is still streaming."""

    identities: tuple[Identity, ...]
    """Everybody whose end is the end of this connection."""

    def cut(self, reason: str) -> None:
        """End it, soon; may be called from any thread, and more than once."""
        ...


MOST_OF_A_LOGIN, MOST_OF_STRANGERS, MOST = 5, 1_000, 10_000
"""Open streams of events: of one login, of all logins that name no user, and of one worker."""


class OpenStreams:
    """How many streams of `/auth/events` there are, by login; a login of several credentials has several names.

    What names no user anybody can make up, or be given for a visit: such logins must not take the room of users.
    """

    def __init__(self) -> None:
        self._by_login: Counter[bytes] = Counter()
        self._count = self._strangers = 0
        self._lock = threading.Lock()

    def take(self, identities: Sequence[Identity]) -> str | None:
        """Count one more of these; or why there can be none."""
        keys, is_stranger = _logins_of(identities)
        with self._lock:
            if self._count >= MOST or (is_stranger and self._strangers >= MOST_OF_STRANGERS):
                return "This server has as many event streams open as it can"
            if any(self._by_login[key] >= MOST_OF_A_LOGIN for key in keys):
                return f"This session has {MOST_OF_A_LOGIN} open event streams already"
            self._count += 1
            self._strangers += is_stranger
            self._by_login.update(keys)
        return None

    def give_back(self, identities: Sequence[Identity]) -> None:
        """One less of these."""
        keys, is_stranger = _logins_of(identities)
        with self._lock:
            self._count -= 1
            self._strangers -= is_stranger
            for key in keys:
                self._by_login[key] -= 1
                if not self._by_login[key]:
                    del self._by_login[key]


def _logins_of(identities: Sequence[Identity]) -> tuple[set[bytes], bool]:
    return {each.login_key for each in identities}, all(each.user_id is None for each in identities)


class Live:
    """The index of one Logout object."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, set[Connection]] = {}
        self._new: set[Connection] = set()
        self._lock = threading.Lock()
        self._count = 0
        self.streams = OpenStreams()

    def __len__(self) -> int:
        return self._count

    def opened(self, connection: Connection) -> None:
        """Have it cut from now on when one of its identities ends."""
        with self._lock:
            self._count += 1
            self._new.add(connection)
            for key in _keys_of(connection):
                self._by_key.setdefault(key, set()).add(connection)

    def closed(self, connection: Connection) -> None:
        """It ended; twice is fine."""
        with self._lock:
            gone = False
            for key in _keys_of(connection):
                held = self._by_key.get(key)
                if held is not None and connection in held:
                    gone = True
                    held.discard(connection)
                    if not held:
                        del self._by_key[key]
            self._new.discard(connection)
            self._count -= gone

    def cut(self, revocations: Iterable[Revocation]) -> int:
        """End all that these hit; returns how many. Each leaves the index when it is over."""
        hit: dict[Connection, str] = {}
        with self._lock:
            for record in revocations:
                for connection in self._by_key.get(record.key, ()):
                    if record.reason != ROTATED and connection not in hit and _ends(record, connection):
                        hit[connection] = record.reason
        for connection, reason in hit.items():
            connection.cut(reason)
        return len(hit)

    def newcomers(self) -> list[Connection]:
        """Those opened since the last call: between their verdict and this a logout may have come."""
        with self._lock:
            new, self._new = self._new, set()
            return list(new)

    def all(self) -> list[Connection]:
        """Every open connection, once."""
        with self._lock:
            return list({each for held in self._by_key.values() for each in held})


def _keys_of(connection: Connection) -> set[bytes]:
    return {key for identity in connection.identities for key in identity.keys}


def _ends(record: Revocation, connection: Connection) -> bool:
    # No generator: this is the time that a thousand connections take.
    for each in connection.identities:  # noqa: SIM110 - see above
        if record.key in each.keys and record.refuses(each.keys, each.issued_at):
            return True
    return False


def keys_of(connections: Sequence[Connection]) -> list[bytes]:
    """Every key of these, once."""
    return list({key for connection in connections for key in _keys_of(connection)})
