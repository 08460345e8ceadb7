"""While a store is away, nobody waits for it in turn: one question finds out, the others are told at once.

A request that meets a hung store waits for the store's deadline. The next ones would each wait as long, until no
worker thread is left. So after a failure the store rests for a moment, then a single question tries it again.
Reads and writes rest separately: a full store refuses logouts and still knows who is logged out.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ..errors import StoreError
from ..rules.revocation import Revocation
from . import Count, Fact, Outcome, Store, StoreForgot

T = TypeVar("T")

REST_SECONDS = 0.25
"""How long a store that failed is left alone. It is a quarter of the second in which a recovery must be noticed."""


class _Gate:
    """Open while all is well. After a failure shut for a rest, then open for one, whose success opens it."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.shut_until: float | None = None
        self._why = ""

    def enter(self) -> None:
        """Pass, or StoreError. The first after a rest passes, and shuts the gate behind it until it is done."""
        if self.shut_until is None:
            return
        now = self._monotonic()
        if now < self.shut_until:
            raise StoreError(f"not asked, because it failed a moment ago: {self._why}")
        self.shut_until = now + 2 * REST_SECONDS  # Should that one never come back, another one tries.

    def failed(self, error: StoreError) -> None:
        """Shut, unless the store answered at once: that it has forgotten is an answer, and must be heard each time."""
        self._why = str(error)
        self.shut_until = None if isinstance(error, StoreForgot) else self._monotonic() + REST_SECONDS


class Breaker:
    """A store around another that fails at once while the other is known to fail."""

    def __init__(self, store: Store, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.inner = store
        self.durable, self.writes_block, self.reads_block = store.durable, store.writes_block, store.reads_block
        self.version, self.changes, self.adopt = store.version, store.changes, store.adopt
        self.purge, self.count, self.check, self.close = store.purge, store.count, store.check, store.close
        self._reads, self._writes = _Gate(monotonic), _Gate(monotonic)

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """See Store.find."""
        # Each guarded request of a strict store comes through here: no call more than it needs.
        gate = self._reads
        if gate.shut_until is not None:
            gate.enter()
        try:
            found = await self.inner.find(keys)
        except StoreError as error:
            gate.failed(error)
            raise
        gate.shut_until = None
        return found

    async def add(self, revocations: Sequence[Revocation]) -> Outcome:
        """See Store.add."""
        return await self._write(lambda: self.inner.add(revocations))

    async def learn(self, facts: Sequence[Fact]) -> None:
        """See Store.learn."""
        await self._write(lambda: self.inner.learn(facts))

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        """See Store.facts."""
        return await self._through(self._reads, lambda: self.inner.facts(subjects))

    async def hit(self, key: bytes, window: float) -> Count:
        """See Store.hit."""
        return await self._write(lambda: self.inner.hit(key, window))

    async def _write(self, ask: Callable[[], Awaitable[T]]) -> T:
        return await self._through(self._writes, ask)

    @staticmethod
    async def _through(gate: _Gate, ask: Callable[[], Awaitable[T]]) -> T:
        gate.enter()
        try:
            done = await ask()
        except StoreError as error:
            gate.failed(error)
            raise
        gate.shut_until = None
        return done
