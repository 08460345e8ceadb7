"""How often one may ask for a logout (contract 4.1, standards.md RL-1 to RL-8).

A limiter never keeps anyone logged in: over the limit a caller's own verified credential is still revoked.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import TLRUCache, TTLCache

from ..errors import StoreError
from ..rules.proxies import counted_address
from ..rules.revocation import key_of
from ..stores import Count, Store
from ..values import RateLimit

FAILURES = 20
FAILURE_SECONDS = 300.0
"""Wrong secrets of an address in so many seconds; after that, none of its secrets is looked at."""
QUOTA = 1000
QUOTA_SECONDS = 3600.0
"""New credentials that cannot be verified, an hour and address: nobody fills the store with made-up tokens."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit; `exceeded` if this request is over it."""

    limit: RateLimit
    remaining: int
    resets_in: int
    exceeded: bool

    def headers(self) -> tuple[tuple[str, str], ...]:
        """RateLimit fields (draft-ietf-httpapi-ratelimit-headers) and the X- ones; Retry-After if exceeded."""
        quota, window = self.limit.count, max(1, int(self.limit.window))
        fields = [
            ("RateLimit-Policy", f'"logout";q={quota};w={window}'),
            ("RateLimit", f'"logout";r={self.remaining};t={self.resets_in}'),
            ("X-RateLimit-Limit", str(quota)),
            ("X-RateLimit-Remaining", str(self.remaining)),
            ("X-RateLimit-Reset", str(self.resets_in)),
        ]
        if self.exceeded:
            fields.append(("Retry-After", str(max(1, self.resets_in))))
        return tuple(fields)


class Limiter:
    """The rate limit, counted in the store, and the quota, counted in this process."""

    def __init__(self, store: Store, limit: RateLimit | None, clock: Callable[[], float]) -> None:
        self._store, self._limit, self._clock = store, limit, clock
        window = limit.window if limit else 1.0
        # Who is over the limit already is remembered here, so that a flood costs no writes.
        self._exceeded: TTLCache[bytes, float] = TTLCache(10_000, ttl=window, timer=clock)
        # The hour begins with an address's first credential: a later one must not prolong it.
        self._unverified: TLRUCache[str, tuple[int, float]] = TLRUCache(
            10_000, ttu=lambda address, counted, now: counted[1], timer=clock
        )
        self._lock = threading.Lock()  # cachetools leaves threads to its users

    async def count(self, kind: str, who: bytes | str) -> Allowance | None:
        """Count one logout of this user, credential or address; None without a limit or a store to count in."""
        if self._limit is None:
            return None
        key = key_of("rate-limit", None, kind, who)
        with self._lock:
            ends = self._exceeded.get(key)
        try:
            if ends is not None and ends > self._clock():
                counted = Count(self._limit.count + 1, ends - self._clock())
            else:
                counted = await self._store.hit(key, self._limit.window)
        except StoreError:
            return None  # counting limits abuse, it promises nothing; the logout itself will say 503
        exceeded = counted.count > self._limit.count
        if exceeded:
            with self._lock:
                self._exceeded[key] = self._clock() + counted.resets_in
        remaining = max(0, self._limit.count - counted.count)
        return Allowance(self._limit, remaining, math.ceil(max(0.0, counted.resets_in)), exceeded)

    def take_quota(self, address: str | None, number: int) -> int:
        """0 if this address may have so many more unverifiable credentials remembered, and counts them.

        Else the seconds until its hour is over.
        """
        now, who = self._clock(), counted_address(address)
        with self._lock:
            taken, ends = self._unverified.get(who, (0, now + QUOTA_SECONDS))
            if taken + number > QUOTA:
                return max(1, math.ceil(ends - now))
            self._unverified[who] = taken + number, ends
            return 0


class Failures:
    """Wrong secrets by address, counted in this process: who guesses must wait, and nobody fills the store."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # The time begins with the first failure, as with the quota.
        self._counted: TLRUCache[str, tuple[int, float]] = TLRUCache(
            10_000, ttu=lambda address, counted, now: counted[1], timer=clock
        )
        self._lock = threading.Lock()

    def wait(self, address: str | None) -> int:
        """The seconds until this address may try again; 0 if it may now."""
        with self._lock:
            count, ends = self._counted.get(counted_address(address), (0, 0.0))
        return max(1, math.ceil(ends - self._clock())) if count >= FAILURES else 0

    def count(self, address: str | None) -> None:
        """One more wrong secret from this address."""
        who = counted_address(address)
        with self._lock:
            count, ends = self._counted.get(who, (0, self._clock() + FAILURE_SECONDS))
            self._counted[who] = count + 1, ends
