"""The feed of the Redis store: first a snapshot of everything, then every change, and a proof that none is missing.

Each read is one round trip a server: the marks, the changes, and the marks again. The first marks say how far a
complete answer must reach, the second that the store is still the one it was, even after a long silence. A change
carries the random word of the one before it, so that a history that a fail-over has rewritten is seen as a gap.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..rules.revocation import KEY_BYTES, Revocation
from . import NOW, Changes, FeedGap
from .redis_lines import Command
from .redis_packing import PARTS, RawMark, unpack
from .redis_scripts import BUCKETS, DUMP

if TYPE_CHECKING:
    from .redis import RedisStore

_PAGE = 5000
_DUMP_AT_ONCE = 1000
_CHANGES_AT_ONCE = 500
_POLL_SECONDS = 0.01
_WORD = 8


class _Place(NamedTuple):
    """How far one partition was read: up to the change `seq`, whose random word is `last`, in the store `id`."""

    id: str
    seq: int
    last: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a reader is. While `part` < PARTS, the snapshot is still being read, and `places` is its beginning."""

    places: tuple[_Place, ...]
    part: int = PARTS
    bucket: int = 0


async def read_feed(store: RedisStore, cursor: Any, wait_seconds: float, until: float) -> Changes:
    """One page; see Store.changes."""
    if cursor is None or cursor is NOW:
        # From before the snapshot began: what changes meanwhile comes again, and merges.
        proof = store.proof()
        marks = await store.read_marks(until)
        for mark in marks:
            store.prove_one(mark, proof)
        places = tuple(_place(mark) for mark in sorted(marks, key=lambda mark: mark.part))
        if cursor is NOW:
            return Changes((), Cursor(places), complete=True)
        cursor = Cursor(places, part=0)
    if cursor.part < PARTS:
        return await _page(store, cursor, until)
    ends = time.monotonic() + wait_seconds
    while True:
        left = ends - time.monotonic()
        page = await _read(store, cursor, max(left, 0.0), until)
        if page.revocations or not page.complete or left <= 0 or not store.nodes.cluster:
            return page
        # The streams of a Cluster's slots cannot be waited for together.
        time.sleep(min(_POLL_SECONDS, left))  # noqa: ASYNC251  # no loop: it runs in a thread
        cursor = page.cursor


def _place(mark: RawMark) -> _Place:
    return _Place(str(mark.id), mark.seq, mark.last)


async def _page(store: RedisStore, cursor: Cursor, until: float) -> Changes:
    records: list[Revocation] = []
    part, bucket = cursor.part, cursor.bucket
    while part < PARTS and len(records) < _PAGE:
        # Several short scripts rather than a long one: others want to be answered meanwhile.
        command = DUMP(f"{store.tags[part]}state", store.tags[part], part, bucket, _DUMP_AT_ONCE)
        (((bucket, found),), _) = await store.nodes.ask([(part, command)], until)
        for key, packed in zip(found[::2], found[1::2], strict=True):
            records += unpack(key, packed)
        if bucket >= BUCKETS:
            part, bucket = part + 1, 0
    return Changes(records, replace(cursor, part=part, bucket=bucket), complete=False)


async def _read(store: RedisStore, cursor: Cursor, wait_seconds: float, until: float) -> Changes:
    requests: list[tuple[int, Command]] = []
    groups = store.nodes.groups(range(PARTS))
    for group in groups:
        marks = group[0], store.marks_of(group)
        requests += [marks, (group[0], _xread(store, cursor, group, wait_seconds)), marks]
    proof = store.proof()
    replies, _ = await store.nodes.ask(requests, until)
    places, complete = list(cursor.places), True
    records: list[Revocation] = []
    for number, group in enumerate(groups):
        before, streams, after = replies[number * 3 : number * 3 + 3]
        store.prove((*before, *after), proof)
        changes = dict(streams or ())
        for part, first, second in zip(group, map(RawMark.of, before), map(RawMark.of, after), strict=True):
            entries = changes.get(f"{store.tags[part]}feed".encode(), ())
            places[part] = _advance(places[part], entries, second, records)
            complete = complete and places[part].seq >= first.seq
            if not entries and places[part].seq < first.seq:
                raise FeedGap(f"the feed of partition {part} is gone")
    return Changes(records, replace(cursor, places=tuple(places)), complete)


def _xread(store: RedisStore, cursor: Cursor, group: Sequence[int], wait_seconds: float) -> Command:
    blocks = () if store.nodes.cluster or wait_seconds <= 0 else ("BLOCK", max(int(wait_seconds * 1000), 1))
    names = [f"{store.tags[part]}feed" for part in group]
    return ("XREAD", "COUNT", _CHANGES_AT_ONCE, *blocks, "STREAMS", *names,
            *(f"{cursor.places[part].seq}-0" for part in group))  # fmt: skip


def _advance(place: _Place, entries: Sequence[Any], now: RawMark, records: list[Revocation]) -> _Place:
    """The place after these entries, whose records are added to `records`."""
    if now.id != place.id:
        raise FeedGap("the store was adopted, and its feed began anew")
    for name, (_, value) in entries:
        seq, last = int(name.partition(b"-")[0]), value[:_WORD].decode()
        if seq != place.seq + 1 or last != place.last:
            raise FeedGap(f"the change after {place.seq} is gone")
        place = _Place(place.id, seq, value[_WORD : 2 * _WORD].decode())
        records += unpack(value[2 * _WORD : 2 * _WORD + KEY_BYTES], value[2 * _WORD + KEY_BYTES :])
    if place.seq > now.seq or (place.seq == now.seq and place.last != now.last):
        raise FeedGap(f"a fail-over took back what followed change {now.seq}")
    return place
