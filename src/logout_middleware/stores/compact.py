"""What a replica holds: every record while they are few, only fingerprints of the keys when they are millions.

A fingerprint says "surely not revoked" or "ask the store", never "revoked": so a false match refuses nobody, and what
is held per record is 9 bytes instead of a hundred. Eight bytes of the key are told apart, two by the place and six in
the row, which makes a false match about as likely as 1 in 10^12 requests at ten million records.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from ..rules.revocation import Revocation
from . import NOTHING, PURGE_DELAY
from .index import Index, next_version

COMPACT_ABOVE = 2_000_000
"""So many records are held exactly (0.2 GB); of more, only fingerprints."""
_PLACES = 65_536
_PRINT, _ROW = 6, 9
_HOUR = 3600.0
_NEVER = 0xFFFFFF
_PAGE = 1000
_PAUSE_SECONDS = 0.0001
_PLACES_AT_ONCE = 64
_DROP_AT_ONCE = 500
_CONFIRMED = 1024
_PAGES_AT_ONCE = 50

Ask: TypeAlias = Callable[[Sequence[bytes]], Awaitable[Sequence[Revocation]]]


class Fingerprints:
    """Which keys may have records. Not locked: whoever owns it serialises `add` and `drop_ended`.

    By the first two bytes of the key a row of bytes: six more of the key, then the hour of the end; again and again.
    They are replaced, never changed, so `suspects` may run beside a change.
    """

    def __init__(self) -> None:
        self._chunks = [b""] * _PLACES
        self._count = 0
        self._next_place = 0
        self.version: int | None = next_version()

    def __len__(self) -> int:
        return self._count

    def suspects(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of these keys that may have a record. A match across two rows is false, and does no harm."""
        chunks = self._chunks
        return [key for key in keys if key[2:8] in chunks[key[0] << 8 | key[1]]]

    def bytes_held(self) -> int:
        """About how much memory this takes."""
        return sys.getsizeof(self._chunks) + _PLACES * (sys.getsizeof(b"") + 15) + self._count * _ROW

    def add(self, revocations: Iterable[Revocation]) -> None:
        """Hold these, too, and be another version: the store may now say something new of a key that was here."""
        ends: defaultdict[int, dict[bytes, int]] = defaultdict(dict)
        for record in revocations:
            key, hour = record.key, _hour(record.until)
            rows = ends[key[0] << 8 | key[1]]
            rows[key[2:8]] = max(hour, rows.get(key[2:8], 0))
        for place, rows in ends.items():
            chunk = self._chunks[place]
            fresh = []
            for key_part, hour in rows.items():
                at = _find(chunk, key_part)
                if at < 0:
                    fresh.append(key_part + hour.to_bytes(3, "big"))
                elif hour > int.from_bytes(chunk[at + _PRINT : at + _ROW]):
                    chunk = chunk[: at + _PRINT] + hour.to_bytes(3, "big") + chunk[at + _ROW :]
            self._chunks[place] = chunk + b"".join(fresh)
            self._count += len(fresh)
        self.version = next_version()

    def drop_ended(self, now: float, places: int = _PLACES) -> int:
        """Drop what ended more than PURGE_DELAY before `now`, in the next so many places; returns how many."""
        dropped = 0
        due = min(max(int((now - PURGE_DELAY) // _HOUR), 0), _NEVER - 1).to_bytes(3, "big")
        for _ in range(places):
            place = self._next_place
            self._next_place = (place + 1) % _PLACES
            chunk = self._chunks[place]
            # All hours at once, in C: nearly always nothing has ended.
            if chunk and bytes(min(zip(chunk[6::9], chunk[7::9], chunk[8::9], strict=True))) <= due:
                rows = [chunk[start : start + _ROW] for start in range(0, len(chunk), _ROW)]
                kept = [row for row in rows if row[_PRINT:] > due]
                self._chunks[place] = b"".join(kept)
                dropped += len(rows) - len(kept)
        self._count -= dropped
        return dropped


def _find(chunk: bytes, key_part: bytes) -> int:
    """Where the row of this part of a key begins, or -1."""
    at = chunk.find(key_part)
    while at % _ROW and at >= 0:
        at = chunk.find(key_part, at + 1)
    return at


def _hour(until: float) -> int:
    """The hour that is not before this moment. What lies beyond three bytes (year 3883) never ends."""
    return max(0, int(-(-until // _HOUR))) if until < _NEVER * _HOUR else _NEVER


class Copy:
    """A locked copy of the live records, exact up to `compact_above` records and fingerprints beyond."""

    def __init__(self, compact_above: int = COMPACT_ABOVE) -> None:
        self.held: Index | Fingerprints = Index()
        self._compact_above = compact_above
        self._becoming: Fingerprints | None = None
        self._pages: Iterator[list[Revocation]] = iter(())
        self._confirmed: tuple[int | None, dict[bytes, list[Revocation]]] = (None, {})
        self._lock = threading.Lock()

    async def find(self, keys: Sequence[bytes], ask: Ask) -> Sequence[Revocation]:
        """The records under these keys, as the copy knows them; `ask` the store to make a suspicion certain."""
        held = self.held
        if isinstance(held, Index):
            return held.find(keys)
        suspects = held.suspects(keys)
        return await self._confirm(suspects, held.version, ask) if suspects else NOTHING

    async def _confirm(self, suspects: list[bytes], version: int | None, ask: Ask) -> Sequence[Revocation]:
        """Ask the store, once for each suspect and version: a client that keeps trying is answered from memory."""
        asked_at, known = self._confirmed
        if asked_at != version or len(known) + len(suspects) > _CONFIRMED:
            # A new dictionary, because somebody may be filling the old one with answers of the old version.
            known = {}
            self._confirmed = (version, known)
        missing = [key for key in suspects if key not in known]
        if missing:
            found = await ask(missing)
            for key in missing:
                known[key] = [record for record in found if record.key == key]
        return [record for key in suspects for record in known[key]]

    def add(self, revocations: Sequence[Revocation]) -> None:
        """Merge these in, a page at a time, so that nobody waits long for the lock or for the interpreter."""
        for start in range(0, len(revocations), _PAGE):
            if start:
                time.sleep(_PAUSE_SECONDS)
            page = revocations[start : start + _PAGE]
            with self._lock:
                if self._becoming is not None:
                    self._becoming.add(page)
                self.held.add(page)

    def tidy(self, now: float) -> None:
        """Drop some of what has ended, and become compact if it grew too large. For one thread, now and then."""
        for _ in range(10):
            with self._lock:
                held = self.held
                exact = isinstance(held, Index)
                dropped = held.drop_ended(now, _DROP_AT_ONCE if exact else _PLACES_AT_ONCE)
            if exact and not dropped:
                break
            time.sleep(_PAUSE_SECONDS)

    def compact_if_large(self) -> None:
        """Become fingerprints, a step with each call, if there are too many records. For one thread.

        Others read and add meanwhile, and the lease is renewed between the steps.
        """
        exact = self.held
        if not isinstance(exact, Index) or len(exact) <= self._compact_above:
            return
        with self._lock:
            if self._becoming is None:
                # From now on both are told what is new, and `pages` has what is old.
                self._becoming, self._pages = Fingerprints(), exact.pages(_PAGE)
            prints = self._becoming
        for _ in range(_PAGES_AT_ONCE):
            page = next(self._pages, None)
            with self._lock:
                if page is None:
                    self.held, self._becoming = prints, None
                    return
                prints.add(page)
            time.sleep(_PAUSE_SECONDS)
