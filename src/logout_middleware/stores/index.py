"""Live revocations in memory: from key to records, merged, with the ended ones dropped in time.

The memory store is this and a lock; SQLite fills one per process. A record is kept as a plain tuple of
numbers and bytes, which the garbage collector does not walk (a million of them cost no pauses).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from ..rules.revocation import KEY_BYTES, Revocation, merge
from . import NOTHING, PURGE_DELAY

_Row = tuple[float, float, str, bytes]
_BUCKET = 3600.0
# Shared by all indexes of the process, so that no two states, of whatever index, have the same number.
_versions = itertools.count()


def pack_keep(keep: frozenset[bytes]) -> bytes:
    """A keep set as bytes: equal sets give equal bytes."""
    return b"".join(sorted(keep))


def unpack_keep(packed: bytes) -> frozenset[bytes]:
    """The keep set of `pack_keep`."""
    return frozenset(packed[start : start + KEY_BYTES] for start in range(0, len(packed), KEY_BYTES))


class Index:
    """Key → records. Not locked: whoever owns it serialises `add` and `drop_ended`; `find` may run beside them."""

    def __init__(self) -> None:
        self._rows: dict[bytes, tuple[_Row, ...]] = {}
        self._keys = self._rows.keys()
        self._due: dict[int, list[bytes]] = {}
        self.version: int | None = next(_versions)

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """The records under these keys."""
        # The whole cost of a request that passes: one look per key, in C, with nothing allocated.
        if self._keys.isdisjoint(keys):
            return NOTHING
        return [
            Revocation(key, before, until, reason, unpack_keep(keep))
            for key in keys
            for before, until, reason, keep in self._rows.get(key, ())
        ]

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Merge these in, and be another version."""
        for revocation in revocations:
            packed = pack_keep(revocation.keep)
            others = []
            for before, until, reason, keep in self._rows.get(revocation.key, ()):
                if keep == packed:
                    present = Revocation(revocation.key, before, until, reason, revocation.keep)
                    revocation = merge(present, revocation)
                else:
                    others.append((before, until, reason, keep))
            row = (revocation.before, revocation.until, revocation.reason, packed)
            self._rows[revocation.key] = (*others, row)
            due = self._due.setdefault(int((revocation.until + PURGE_DELAY) // _BUCKET) + 1, [])
            due.append(revocation.key)
        # Last: whoever saw the old version meanwhile asks again.
        self.version = next(_versions)

    def drop_ended(self, now: float) -> int:
        """Drop what ended more than PURGE_DELAY before `now`; returns how many. Costs what it drops."""
        dropped = 0
        for bucket in sorted(bucket for bucket in self._due if bucket * _BUCKET <= now):
            for key in self._due.pop(bucket):
                rows = self._rows.get(key, ())
                kept = tuple(row for row in rows if row[1] + PURGE_DELAY > now)
                dropped += len(rows) - len(kept)
                if kept:
                    self._rows[key] = kept
                else:
                    self._rows.pop(key, None)
        return dropped
