"""What the guard remembers: whom a raw header field stands for, and when that passed. Never a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from ..rules.identity import Identity

CACHE_SIZE = 8192
"""Identities remembered by raw header, twice over: the youngest, and those of the generation before."""
READY_SIZE = 2048
"""So many of them are kept unpacked. Each is an object that every full garbage collection visits."""
CACHE_BYTES = 16 * 1024 * 1024
"""And so many bytes of headers in each generation, whatever their number: long ones must not fill the memory."""


@dataclass(slots=True, eq=False)
class Known:
    """What one raw header says, remembered: `identities`, true while the clock is below `valid_until`.

    `not_after`: until then nothing has to be looked at but the version: it is valid, and was seen lately. `passed_at`:
    the version of the store in which nothing was found under these keys; -1 before it was asked. `beside`: the other
    header of the request, with which it was looked at together; `pair`: what both say.
    """

    valid_until: float
    keys: tuple[bytes, ...]
    identity: Identity | None
    identities: tuple[Identity, ...] = ()
    not_after: float = -math.inf
    passed_at: int = -1
    beside: Known | None = None
    pair: Known | None = None


_Packed = tuple[float, tuple[bytes, ...], tuple[tuple[Any, ...], ...]]
_fields_of = attrgetter(*(each.name for each in fields(Identity)))


class KnownHeaders:
    """Raw header → Known. Those in use are `ready`; more are packed away, in two generations.

    Packed they are tuples of numbers and texts, which the garbage collector soon stops visiting: as objects, 65,536
    of them made each full collection 75 ms longer. Full, the younger generation becomes the older, which is forgotten.
    """

    def __init__(self, size: int = CACHE_SIZE, max_bytes: int = CACHE_BYTES, ready_size: int = READY_SIZE) -> None:
        self._size, self._max_bytes, self._bytes = size, max_bytes, 0
        self._ready_size = ready_size
        self.times_forgotten = 0
        self.ready: dict[bytes | str, Known] = {}
        self._young: dict[bytes | str, _Packed] = {}
        self._old: dict[bytes | str, _Packed] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def recall(self, header: bytes | str) -> Known | None:
        """What this header said; one of the old generation is young again."""
        known = self.ready.get(header)
        if known is None:
            packed = self._young.get(header)
            if packed is None:
                packed = self._old.get(header)
                if packed is None:
                    return None
                self._put_away(header, packed)
            known = _unpacked(packed)
            self._make_ready(header, known)
        return known

    def remember(self, header: bytes | str, known: Known) -> None:
        """Keep this one."""
        self._put_away(header, (known.valid_until, known.keys, tuple(map(_fields_of, known.identities))))
        self._make_ready(header, known)

    def _put_away(self, header: bytes | str, packed: _Packed) -> None:
        self._bytes += len(header)
        if len(self._young) >= self._size or self._bytes > self._max_bytes:
            self._old, self._young, self._bytes = self._young, {}, len(header)
            self.ready = {}
        self._young[header] = packed

    def _make_ready(self, header: bytes | str, known: Known) -> None:
        if len(self.ready) >= self._ready_size:
            self.ready = {}  # Whoever is in use is back with his next request.
        self.ready[header] = known

    def forget_all(self) -> None:
        """Drop everything: the keys changed, so who was verified may not be any more."""
        self.times_forgotten += 1
        self.ready, self._young, self._old, self._bytes = {}, {}, {}, 0


def _unpacked(packed: _Packed) -> Known:
    valid_until, keys, about = packed
    identities = tuple(Identity(*each) for each in about)
    return Known(valid_until, keys, identities[0] if identities else None, identities)
