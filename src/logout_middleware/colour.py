"""Functions have colours; this is the only place that knows (architecture.md sections 1 and 7).

Flows and stores are `async def`. Under ASGI they are awaited. Under WSGI, in the command line and in the
tests, `run_blocking` runs the same coroutine without any event loop: with a blocking store nothing suspends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from .rules.revocation import Revocation
from .stores import Count, Store

T = TypeVar("T")


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends.

    One that does is thrown an error, so that the traceback names the guilty `await`.
    """
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]  # StopIteration does not say its type
    try:
        coroutine.throw(RuntimeError("this await needs an event loop, but the caller is blocking"))
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]  # it dealt with the error, as for a listener's
    coroutine.close()
    raise RuntimeError("the coroutine swallowed the error and suspended again")


async def call_here(work: Callable[[], T]) -> T:
    """Run a blocking call in place: the WSGI side of `call_in_thread`."""
    return work()


async def call_in_thread(work: Callable[[], T]) -> T:
    """Run a blocking call beside the event loop."""
    return await asyncio.to_thread(work)


async def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine that goes on to its end even if the caller is cancelled.

    A client that hangs up cannot undo its own logout.
    """
    return await asyncio.shield(asyncio.ensure_future(coroutine))


class Threaded:
    """A blocking store for an event loop: reads in place (microseconds), writes with their fsync in a thread."""

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.durable, self.writes_block = store.durable, False
        self.find, self.version = store.find, store.version

    async def add(self, revocations: Sequence[Revocation]) -> None:
        """See Store.add."""
        await call_in_thread(lambda: run_blocking(self.inner.add(revocations)))

    async def hit(self, key: bytes, window: float) -> Count:
        """See Store.hit."""
        return await call_in_thread(lambda: run_blocking(self.inner.hit(key, window)))

    async def purge(self, at_most: int = 500) -> int:
        """See Store.purge."""
        return await call_in_thread(lambda: run_blocking(self.inner.purge(at_most)))

    async def count(self) -> int:
        """See Store.count."""
        return await call_in_thread(lambda: run_blocking(self.inner.count()))

    async def check(self) -> dict[str, str]:
        """See Store.check."""
        return await call_in_thread(lambda: run_blocking(self.inner.check()))

    async def close(self) -> None:
        """See Store.close."""
        await call_in_thread(lambda: run_blocking(self.inner.close()))
