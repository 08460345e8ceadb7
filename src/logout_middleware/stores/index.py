"""Live revocations in memory: from key to records, merged, with the ended ones dropped in time.

The memory store is this and a lock; SQLite and the replica fill one per process. A million logouts must cost neither
much memory nor pauses of the garbage collector, so a key is held as a number (16 bytes less than a `bytes` object),
its records as packed bytes, and whatever says the same of different keys is held once: a million logouts have a few
hundred different ends, to the hour.
"""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence

from ..rules.revocation import FOREVER, KEY_BYTES, Revocation, merge
from . import NOTHING, PURGE_DELAY

_BUCKET = 3600.0
_SHARED_ROWS = 4096
_BLOCK = 100
_HEAD = struct.Struct("<ddII")
_KEY_OBJECT_BYTES = 48
_number = int.from_bytes
# Shared by all indexes of the process, so that no two states, of whatever index, have the same number.
_versions = itertools.count()


def next_version() -> int:
    """A number that no state of any index of this process had before."""
    return next(_versions)


def pack_keep(keep: frozenset[bytes]) -> bytes:
    """A keep set as bytes: equal sets give equal bytes."""
    return b"".join(sorted(keep))


def unpack_keep(packed: bytes) -> frozenset[bytes]:
    """The keep set of `pack_keep`."""
    return frozenset(packed[start : start + KEY_BYTES] for start in range(0, len(packed), KEY_BYTES))


def _pack(record: Revocation) -> bytes:
    """A record without its key."""
    reason = record.reason.encode("utf-8", "surrogatepass")
    packed = pack_keep(record.keep)
    return _HEAD.pack(record.before, record.until, len(reason), len(packed)) + reason + packed


def _unpack(key: bytes, rows: bytes) -> Iterator[Revocation]:
    """The records of a key: one, and now and then several with different keep sets."""
    start = 0
    while start < len(rows):
        before, until, reason_length, keep_length = _HEAD.unpack_from(rows, start)
        middle = start + _HEAD.size + reason_length
        reason = rows[start + _HEAD.size : middle].decode("utf-8", "surrogatepass")
        start = middle + keep_length
        yield Revocation(key, before, until, reason, unpack_keep(rows[middle:start]))


class _Due:
    """The keys that end in one hour. In tuples, which the garbage collector, unlike a long list, walks only once."""

    __slots__ = ("_full", "_open")

    def __init__(self) -> None:
        self._full: list[tuple[int, ...]] = []
        self._open: list[int] = []

    def add(self, number: int) -> None:
        self._open.append(number)
        if len(self._open) >= _BLOCK:
            self._full.append(tuple(self._open))
            self._open = []

    def take(self) -> Sequence[int]:
        """Some of them, which are no longer in here; none if there are no more."""
        if self._full:
            return self._full.pop()
        taken, self._open = self._open, []
        return taken


class Index:
    """Key → records. Not locked: whoever owns it serialises `add` and `drop_ended`; `find` may run beside them."""

    def __init__(self) -> None:
        # Numbers and bytes only: the garbage collector never walks such a dictionary.
        self._rows: dict[int, bytes] = {}
        self._numbers = self._rows.keys()
        self._shared: dict[tuple[float, float, str, frozenset[bytes]], bytes] = {}
        self._several = 0
        self._due: dict[int, _Due] = {}
        self.version: int | None = next_version()

    def __len__(self) -> int:
        return len(self._rows) + self._several

    def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """The records under these keys."""
        # The whole cost of a request that passes: one look per key, in C.
        if self._numbers.isdisjoint(map(_number, keys)):
            return NOTHING
        return [record for key in keys for record in _unpack(key, self._rows.get(_number(key), b""))]

    def pages(self, size: int) -> Iterator[list[Revocation]]:
        """Every record that is here now, so many keys at a time; `add` and `drop_ended` may run between the pages."""
        numbers = list(self._rows)
        for start in range(0, len(numbers), size):
            keys = [number.to_bytes(KEY_BYTES, "big") for number in numbers[start : start + size]]
            yield list(self.find(keys))

    def all(self) -> list[Revocation]:
        """Every record."""
        return [record for page in self.pages(10_000) for record in page]

    def bytes_held(self) -> int:
        """About how much memory this takes."""
        return sys.getsizeof(self._rows) + len(self._rows) * (_KEY_OBJECT_BYTES + 8)

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Merge these in, and be another version if that says anything new."""
        news = False
        for record in revocations:
            number = _number(record.key)
            row = self._one_for_all(record)
            present = self._rows.get(number)
            if present is not None and present != row:
                row = self._merged(present, record)
            if row != present:
                self._rows[number] = row
                self._due_at(record.until).add(number)
                news = True
        if news:
            # Last: whoever saw the old version meanwhile asks again.
            self.version = next_version()

    def _due_at(self, until: float) -> _Due:
        bucket = int((min(until, FOREVER) + PURGE_DELAY) // _BUCKET) + 1
        due = self._due.get(bucket)
        if due is None:
            due = self._due[bucket] = _Due()
        return due

    def _one_for_all(self, record: Revocation) -> bytes:
        said = (record.before, record.until, record.reason, record.keep)
        row = self._shared.get(said)
        if row is None:
            if len(self._shared) >= _SHARED_ROWS:
                self._shared = {}
            row = self._shared[said] = _pack(record)
        return row

    def _merged(self, present: bytes, record: Revocation) -> bytes:
        """The rows of a key with this record merged in: the same bytes if it says nothing new."""
        rows = list(_unpack(record.key, present))
        for place, other in enumerate(rows):
            if other.keep == record.keep:
                rows[place] = merge(other, record)
                break
        else:
            rows.append(record)
            self._several += 1
        return b"".join(map(self._one_for_all, rows)) if len(rows) > 1 else self._one_for_all(rows[0])

    def drop_ended(self, now: float, at_most: int = sys.maxsize) -> int:
        """Drop what ended more than PURGE_DELAY before `now`, looking at about `at_most` keys; returns how many.

        Costs what it drops.
        """
        dropped = looked = 0
        for bucket in sorted(bucket for bucket in self._due if bucket * _BUCKET <= now):
            while looked < at_most and (numbers := self._due[bucket].take()):
                looked += len(numbers)
                dropped += sum(self._drop_ended_of(number, now) for number in numbers)
            if looked >= at_most:
                break
            del self._due[bucket]
        return dropped

    def _drop_ended_of(self, number: int, now: float) -> int:
        rows = list(_unpack(b"", self._rows.get(number, b"")))
        kept = [row for row in rows if row.until + PURGE_DELAY > now]
        if not kept:
            self._rows.pop(number, None)
        elif len(kept) < len(rows):
            self._rows[number] = b"".join(map(self._one_for_all, kept))
        self._several -= max(0, len(rows) - 1) - max(0, len(kept) - 1)
        return len(rows) - len(kept)
