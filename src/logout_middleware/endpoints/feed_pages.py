"""The pages of the feed: long ones of a store in parts, and what is held so that a part costs no more than itself.

A store may answer with all that it has at once. That is put in order once, and up to MOST_HELD of its records are held
for the parts that follow, of whoever reads: one list for each process, some 50 MB at most, forgotten with the first
request after HELD_SECONDS. At most MOST_READS of a process read a store from its beginning at one time.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from json import dumps
from operator import attrgetter
from typing import Any

from ..errors import Refused
from ..flows.pushed import BURNT
from ..rules.revocation import Revocation
from ..stores import Changes, FeedGap
from ..stores.forks import begin_anew_after_forks

MOST_LINES = 10_000
"""So many lines an answer has, and those of its last key; the rest comes with the next."""
MOST_HELD = 250_000
HELD_SECONDS = 30.0
MOST_READS = 2
_MOST_READERS = 16
_AT_ONCE = 2000
"""So many records take a few milliseconds; then others have their turn."""
_key = attrgetter("key")


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader is: after `store_cursor`; or within the page that follows it, after the key `after`.

    Such a page is sent in the order of its keys. When it is read, the reader goes on at `then`, which is from before
    what it is sent was asked for: what changed meanwhile comes again.
    """

    store_cursor: Any = None
    after: bytes | None = None
    then: Any = None


@dataclass(frozen=True, slots=True)
class Part:
    """The lines of one answer, and where the next begins. `complete`: there is nothing more now."""

    lines: list[str]
    following: Place
    complete: bool


@dataclass(frozen=True, slots=True)
class _Held:
    """The page after `store_cursor`, in the order of its keys: all behind `after`, or (not `whole`) the first of them.

    `older`: cursors that stores gave before this was read; whoever goes on at one of them misses nothing by it.
    """

    store_cursor: Any
    after: bytes | None
    cursor: Any
    records: list[Revocation]
    whole: bool
    older: tuple[Any, ...]
    until: float

    def place_of(self, place: Place, now: float) -> Place | None:
        """This place as one in here; None if what follows it is not here."""
        if now >= self.until or place.store_cursor != self.store_cursor:
            return None
        if place.after is None:
            return Place(place.store_cursor, None, self.cursor) if self.after is None else None
        if place.then not in self.older or (self.after is not None and place.after < self.after):
            return None
        return place if self.whole or place.after < self.records[-1].key else None


@dataclass(slots=True, eq=False, weakref_slot=True)
class Pages:
    """Reads for all clients of one process. `ask`: the store's page that follows a place of a reader."""

    ask: Callable[[Any], Awaitable[Changes]]
    clock: Callable[[], float]
    pause: Callable[[float], Awaitable[None]] | None
    _held: _Held | None = None
    _reads: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        begin_anew_after_forks(self)

    def begin_anew(self) -> None:
        """See `stores.forks`."""
        self._held, self._reads, self._lock = None, 0, threading.Lock()

    async def part(self, place: Place) -> Part:
        """What follows this place. `Refused` 429 while too many read from the beginning."""
        held = self._held
        found = held.place_of(place, self.clock()) if held is not None else None
        if held is not None and found is not None:
            return await self._cut(held, found)
        if held is not None and self.clock() >= held.until:
            self._held = None
        if place.store_cursor is not None and place.after is None:
            return await self._read(place)
        with self._lock:
            if self._reads >= MOST_READS:
                text = "others read the whole feed at this moment; ask again"
                raise Refused(429, "rate_limited", text, (("Retry-After", "1"),))
            self._reads += 1
        try:
            return await self._read(place)
        finally:
            with self._lock:
                self._reads -= 1

    async def _read(self, place: Place) -> Part:
        older = self._held.older if self._held is not None and self._held.store_cursor == place.store_cursor else ()
        try:
            page = await self.ask(place.store_cursor)
        except FeedGap:
            self._held = None  # the store is another one now, or forgot
            raise
        # What revokes nothing concerns nobody else.
        records = page.revocations
        if len(records) <= MOST_LINES and place.after is None:
            told = [each for each in records if each.reason != BURNT]
            return Part(await self._lines(told), Place(page.cursor), page.complete)
        ordered = await self._ordered(records, place.after)
        first = ordered[: _end(ordered, MOST_HELD)]
        held = _Held(
            place.store_cursor, place.after, page.cursor, first, len(first) == len(ordered),
            (*older, place.then, page.cursor)[-_MOST_READERS:], self.clock() + HELD_SECONDS,
        )  # fmt: skip
        then = place.then if place.after is not None else page.cursor
        part = await self._cut(held, Place(place.store_cursor, place.after, then))
        if part.following.after is not None:
            self._held = held
        return part

    async def _ordered(self, records: Sequence[Revocation], after: bytes | None) -> list[Revocation]:
        """Those behind this key, in the order of their keys; a little at a time, because there may be a million."""
        heaps: list[list[Revocation]] = [[] for _ in range(256)]
        for start in range(0, len(records), _AT_ONCE):
            for each in records[start : start + _AT_ONCE]:
                if each.reason != BURNT and (after is None or each.key > after):
                    heaps[each.key[0]].append(each)
            await self._breathe()
        ordered: list[Revocation] = []
        for heap in heaps:
            ordered += sorted(heap, key=_key)
            await self._breathe()
        return ordered

    async def _cut(self, held: _Held, place: Place) -> Part:
        records = held.records
        begin = bisect_right(records, place.after, key=_key) if place.after is not None else 0
        end = _end(records, begin + MOST_LINES)
        lines = await self._lines(records[begin:end])
        # What came meanwhile is behind the cursor that follows the last part, so that one is not complete either.
        if end == len(records) and held.whole:
            return Part(lines, Place(place.then), complete=False)
        return Part(lines, Place(place.store_cursor, records[end - 1].key, place.then), complete=False)

    async def _lines(self, records: Sequence[Revocation]) -> list[str]:
        lines: list[str] = []
        for start in range(0, len(records), _AT_ONCE):
            lines += [_line(each) for each in records[start : start + _AT_ONCE]]
            if start + _AT_ONCE < len(records):
                await self._breathe()
        return lines

    async def _breathe(self) -> None:
        if self.pause is not None:
            await self.pause(0.0)


def _end(records: Sequence[Revocation], end: int) -> int:
    """This end of a part, or the next at which no key is on both sides of it."""
    end = min(end, len(records))
    while 0 < end < len(records) and records[end].key == records[end - 1].key:
        end += 1
    return end


def _line(record: Revocation) -> str:
    keep = ",".join(f'"{each}"' for each in sorted(each.hex() for each in record.keep))
    return (
        f'{{"key":"{record.key.hex()}","before":{record.before!r},"until":{record.until!r},'
        f'"reason":{dumps(record.reason)},"keep":[{keep}]}}'
    )
