"""Functions have colours; this is the only place that knows (architecture.md sections 1 and 7).

Flows and stores are `async def`. Under ASGI they are awaited. Under WSGI, in the command line and in the
tests, `run_blocking` runs the same coroutine without any event loop: with a blocking store nothing suspends.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, wait
from typing import Any, Concatenate, ParamSpec, TypeVar

from .errors import StoreError
from .rules.revocation import Revocation
from .stores import WRITE_DEADLINES, Changes, Count, Fact, Outcome, Store

T = TypeVar("T")
P = ParamSpec("P")
_MOST_AWAITS = 10_000
_ANSWER_SECONDS = 0.02
"""So much later than the store itself, whose own message says more."""


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends.

    One that does is thrown an error, so that the traceback names the guilty `await`.
    """
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]  # StopIteration does not say its type
    # Again for each: a listener that needs a loop is told of many events.
    for _ in range(_MOST_AWAITS):
        try:
            coroutine.throw(RuntimeError("this await needs an event loop, but the caller is blocking"))
        except StopIteration as finished:
            return finished.value  # type: ignore[no-any-return]  # it dealt with the error, as for a listener's
    coroutine.close()
    raise RuntimeError("the coroutine swallowed the error and suspended again")


def blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], T]:
    """The same method for a class that has the async one as `inner`: done when it returns."""

    def run(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run_blocking(method(self.inner, *args, **kwargs))

    return functools.update_wrapper(run, method)


async def call_here(work: Callable[[], T]) -> T:
    """Run a blocking call in place: the WSGI side of `call_in_thread`."""
    return work()


async def call_in_thread(work: Callable[[], T]) -> T:
    """Run a blocking call beside the event loop."""
    return await asyncio.to_thread(work)


async def wait_here(future: Future[None], seconds: float) -> None:
    """Return when this is done, or after so many seconds; it blocks the thread."""
    wait([future], timeout=seconds)


async def wait_in_loop(future: Future[None], seconds: float) -> None:
    """Return when this is done, or after so many seconds, while the event loop goes on."""
    await asyncio.wait([asyncio.wrap_future(future)], timeout=seconds)


async def pause_in_loop(seconds: float) -> None:
    """Let time pass, while the event loop goes on."""
    await asyncio.sleep(seconds)


async def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine that goes on to its end even if the caller is cancelled.

    A client that hangs up cannot undo its own logout.
    """
    return await asyncio.shield(asyncio.ensure_future(coroutine))


class Threaded:
    """A blocking store for an event loop: what would block it runs in a thread.

    Reads that take microseconds (SQLite's) stay in place; those that cross a network do not. `find_seconds`: how long
    a read may take, the wait for a free thread included; a write may take four times as long.
    """

    durable: bool

    def __init__(self, store: Store, find_seconds: float | None = None) -> None:
        self._find_seconds = find_seconds
        self.inner = store
        self.durable, self.writes_block, self.reads_block = store.durable, False, False
        self.version = store.version
        self._reads_block = store.reads_block

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """See Store.find."""
        if not self._reads_block:
            return await self.inner.find(keys)
        return await self._bounded(1, lambda: self.inner.find(keys))

    async def _bounded(self, deadlines: int, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        seconds = self._find_seconds
        try:
            async with asyncio.timeout(None if seconds is None else deadlines * seconds + _ANSWER_SECONDS):
                return await call_in_thread(lambda: run_blocking(ask()))
        except TimeoutError:
            raise StoreError("the store did not answer in time, or all threads that could ask it are busy") from None

    async def add(self, revocations: Sequence[Revocation]) -> Outcome:
        """See Store.add."""
        return await self._bounded(WRITE_DEADLINES, lambda: self.inner.add(revocations))

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Changes:
        """See Store.changes."""
        return await call_in_thread(lambda: run_blocking(self.inner.changes(cursor, wait_seconds)))

    async def learn(self, facts: Sequence[Fact]) -> None:
        """See Store.learn."""
        await self._bounded(WRITE_DEADLINES, lambda: self.inner.learn(facts))

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        """See Store.facts."""
        if not self._reads_block:
            return await self.inner.facts(subjects)
        return await self._bounded(1, lambda: self.inner.facts(subjects))

    async def hit(self, key: bytes, window: float) -> Count:
        """See Store.hit."""
        return await self._bounded(WRITE_DEADLINES, lambda: self.inner.hit(key, window))

    async def purge(self, at_most: int = 500) -> int:
        """See Store.purge."""
        return await call_in_thread(lambda: run_blocking(self.inner.purge(at_most)))

    async def count(self) -> int:
        """See Store.count."""
        return await call_in_thread(lambda: run_blocking(self.inner.count()))

    async def adopt(self) -> None:
        """See Store.adopt."""
        await call_in_thread(lambda: run_blocking(self.inner.adopt()))

    async def check(self) -> dict[str, str]:
        """See Store.check."""
        return await call_in_thread(lambda: run_blocking(self.inner.check()))

    async def close(self) -> None:
        """See Store.close."""
        await call_in_thread(lambda: run_blocking(self.inner.close()))


def fitting(store: Store, *, blocking: bool, find_seconds: float | None = None) -> Store:
    """The store for this colour: under an event loop one that blocks is wrapped, elsewhere it is itself."""
    blocks = store.writes_block or store.reads_block
    return Threaded(store, find_seconds) if blocks and not blocking else store
