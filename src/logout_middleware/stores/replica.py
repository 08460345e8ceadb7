"""The replica: live revocations in the memory of each process, with a proof of how old they are.

It answers without asking anybody while it can prove that it knows every logout that was acknowledged up to
`max_staleness` seconds ago; otherwise the store is asked. So a feed that is cut makes requests slower, never wrong.

The proof is a *lease*: a daemon thread reads the store's feed, and an answer of the feed that is complete says that
nothing is missing which was acknowledged before the question was *sent*. Each request compares the lease with the
clock; there is no timer, so a process that was stopped, or a machine that slept, finds its lease run out.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from ..errors import LogoutError
from ..rules.revocation import Revocation
from . import Changes, Count, Fact, FeedGap, Outcome, Store, StoreForgot
from .compact import COMPACT_ABOVE, Copy
from .index import Index

_log = logging.getLogger("logout_middleware")
_NEVER = float("-inf")
_LONGEST_WAIT_SECONDS = 0.25
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.01, 0.25
_TIDY_SECONDS = 1.0
_CLOSE_SECONDS = 2.0

OpenFeed = Callable[[], Store]
RunBlocking = Callable[[Coroutine[Any, Any, Any]], Any]

# A clock that goes on while the machine sleeps, where there is one: a lease must not outlive a closed lid.
monotonic: Callable[[], float] = (
    functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)

_replicas: weakref.WeakSet[Replica] = weakref.WeakSet()
_hooked = False


class Replica:
    """A store in front of `store` that answers from memory while it can prove that it may.

    `store` gets all writes, and every question that the copy cannot answer. `open_feed` opens a *blocking* store of
    the same data with connections of its own; only the feed thread uses it, through `run_blocking`, and closes it.
    What either of the two knows to be forgotten the other does not answer: the copy is used only after `store` has
    answered once in this process, and not when it says StoreForgot; nor is `store` asked while the feed says so.
    """

    def __init__(
        self, store: Store, open_feed: OpenFeed, *, max_staleness: float, run_blocking: RunBlocking,
        clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = monotonic,
        compact_above: int = COMPACT_ABOVE,
    ) -> None:  # fmt: skip
        if not max_staleness > 0:
            raise ValueError(f"max_staleness is {max_staleness}: a replica needs more than 0 seconds")
        self.inner = store
        self.durable, self.writes_block, self.reads_block = store.durable, store.writes_block, store.reads_block
        self._monotonic, self._max_staleness = monotonic, max_staleness
        self._new_feed = functools.partial(
            Feed, open_feed, max_staleness=max_staleness, run_blocking=run_blocking, clock=clock,
            monotonic=monotonic, compact_above=compact_above,
        )  # fmt: skip
        self._feed = self._new_feed()
        _begin_anew_after_forks(self)

    def __del__(self) -> None:
        feed = getattr(self, "_feed", None)
        if feed is not None:
            feed.stop()

    def begin_anew(self) -> None:
        """In a process that was forked: the thread is the parent's, and what it was doing nobody finishes."""
        closed = self._feed.stopped
        self._feed = self._new_feed()
        if closed:
            self._feed.stop()

    def version(self) -> int | None:
        """The state of the copy while it may answer; see Store.version."""
        feed = self._feed
        if self._monotonic() < feed.valid_until:
            return feed.copy.held.version
        feed.start()
        return None

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """The records under these keys, at most `max_staleness` old; see Store.find."""
        feed = self._feed
        if self._monotonic() < feed.valid_until:
            return await feed.copy.find(keys, self._ask)
        feed.start()
        return await self._ask(keys)

    async def _ask(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """What the store answers. What it or the feed knows to be forgotten, neither may answer."""
        with self._honestly() as feed:
            found = await self.inner.find(keys)
            feed.trusted = True
            return found

    @contextlib.contextmanager
    def _honestly(self) -> Iterator[Feed]:
        feed = self._feed
        if feed.forgot is not None:
            raise StoreForgot(str(feed.forgot)) from feed.forgot
        try:
            yield feed
        except StoreForgot:
            feed.distrust()
            raise

    async def add(self, revocations: Sequence[Revocation]) -> Outcome:
        """Store these, and know them in this process at once; see Store.add."""
        outcome = await self.inner.add(revocations)
        self._feed.copy.add(revocations)
        return outcome

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Changes:
        """The feed of the store itself; see Store.changes."""
        return await self.inner.changes(cursor, wait_seconds)

    async def learn(self, facts: Sequence[Fact]) -> None:
        """Stored, not copied; see Store.learn."""
        await self.inner.learn(facts)

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        """What the store knows; see Store.facts. There is no copy of facts: they are asked for seldom."""
        with self._honestly():
            return await self.inner.facts(subjects)

    async def hit(self, key: bytes, window: float) -> Count:
        """Counted in the store; see Store.hit."""
        return await self.inner.hit(key, window)

    async def purge(self, at_most: int = 500) -> int:
        """Purge the store; the copy drops what ended by itself. See Store.purge."""
        return await self.inner.purge(at_most)

    async def count(self) -> int:
        """How many the store remembers; see Store.count."""
        return await self.inner.count()

    async def adopt(self) -> None:
        """Accept the store; the feed notices by itself. See Store.adopt."""
        await self.inner.adopt()

    async def check(self) -> dict[str, str]:
        """What the store says of itself, and how old and large the copy of this process is."""
        return {**await self.inner.check(), "replica": self._feed.describe()}

    def age(self) -> float | None:
        """How many seconds old the copy of this process is at most; None while it has no proof and is not used."""
        return self._feed.age()

    async def close(self) -> None:
        """End the feed, and close the store."""
        self._feed.stop()
        self._feed.join()
        await self.inner.close()


class Feed:
    """The copy of one process, its lease, and the thread that fills the one and renews the other."""

    def __init__(
        self, open_feed: OpenFeed, *, max_staleness: float, run_blocking: RunBlocking, clock: Callable[[], float],
        monotonic: Callable[[], float], compact_above: int,
    ) -> None:  # fmt: skip
        self.copy = Copy(compact_above)
        self.valid_until = _NEVER
        self.stopped = self.trusted = False
        self.forgot: StoreForgot | None = None
        self._open, self._run_blocking = open_feed, run_blocking
        self._clock, self._monotonic = clock, monotonic
        self._max_staleness = max_staleness
        self._wait = min(max_staleness / 3, _LONGEST_WAIT_SECONDS)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._source: Store | None = None
        self._cursor: Any = None
        self._pause = 0.0
        self._cut_since: float | None = None
        self._tidied_at = _NEVER

    def start(self) -> None:
        """Have the thread running; it is started by the first who needs it, and again should it have died."""
        if self._thread is not None or self.stopped:
            return
        with self._lock:
            if self._thread is None and not self.stopped:
                thread = threading.Thread(target=self._read, name="logout-middleware-feed", daemon=True)
                # No thread to be had, or the process is ending: then the store is asked, as without a feed.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def stop(self) -> None:
        """Answer nothing from memory any more, and let the thread end."""
        with self._lock:
            self.stopped, self.valid_until = True, _NEVER
        self._stop.set()

    def distrust(self) -> None:
        """The store itself says that it forgot: nothing from memory before it has answered again."""
        with self._lock:
            self.trusted, self.valid_until = False, _NEVER

    def join(self) -> None:
        """Wait until the thread has closed its store; not for long, should that hang."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS)

    def age(self) -> float | None:
        """The seconds since the moment of which the lease speaks; None without a lease."""
        now, until = self._monotonic(), self.valid_until
        return now - (until - self._max_staleness) if now < until else None

    def describe(self) -> str:
        """One line for the operator."""
        held = self.copy.held
        size = f"{len(held)} records in {held.bytes_held() / 1e6:.1f} MB"
        size += "" if isinstance(held, Index) else ", as fingerprints"
        age, since = self.age(), self._cut_since
        if age is None:
            why = "has not begun" if since is None else f"is cut for {self._monotonic() - since:.1f} s"
            return f"no proof of age, every request asks the store: the feed {why}; {size}"
        return f"{age:.3f} s old, {self._max_staleness:g} s at most; {size}"

    def _read(self) -> None:
        """What the thread does. Should it die of a mistake, the next who finds the lease run out starts another."""
        try:
            while not self._stop.is_set():
                self._read_page()
                if self._pause:
                    self._stop.wait(self._pause)
        finally:
            self._cursor, source, self._source = None, self._source, None
            if source is not None:
                with contextlib.suppress(LogoutError):
                    self._run_blocking(source.close())
            if not self.stopped:
                self._stop.wait(_LONGEST_PAUSE_SECONDS)
                self._thread = None

    def _read_page(self) -> None:
        # Before the question: the answer speaks of what was acknowledged up to then, however late it comes.
        sent = self._monotonic()
        try:
            if self._source is None:
                self._source = self._open()
            page: Changes = self._run_blocking(self._source.changes(self._cursor, self._wait))
        except FeedGap:
            # What we have stays true; what we missed comes with the rest, and only then is there a proof again.
            self._cursor = None
            self._slow_down()
        except StoreForgot as error:
            # It would be right within the bound, but an emptied store must not look healthy for that long.
            self._cursor, self.valid_until, self.forgot = None, _NEVER, error
            self._cut(error)
        except LogoutError as error:
            self._cut(error)
        else:
            self._pause = 0.0
            self.copy.add(page.revocations)
            self._cursor = page.cursor
            self.copy.compact_if_large()
            if page.complete:
                self._renew(sent)

    def _slow_down(self) -> None:
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)

    def _cut(self, error: LogoutError) -> None:
        self._slow_down()
        if self._cut_since is None:
            self._cut_since = self._monotonic()
            _log.warning(
                "the replica's feed is cut; what it knows is used for %g s at most, then every request asks the "
                "store: %s", self._max_staleness, error,
            )  # fmt: skip

    def _renew(self, sent: float) -> None:
        self.forgot = None
        with self._lock:
            if self.trusted and not self.stopped:
                self.valid_until = max(self.valid_until, sent + self._max_staleness)
        if self._cut_since is not None:
            _log.info("the replica's feed is back after %.1f s", self._monotonic() - self._cut_since)
            self._cut_since = None
        if sent >= self._tidied_at + _TIDY_SECONDS:
            self._tidied_at = sent
            self.copy.tidy(self._clock())


def _begin_anew_after_forks(replica: Replica) -> None:
    global _hooked
    _replicas.add(replica)
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_after_fork_in_child)


def _after_fork_in_child() -> None:
    for replica in list(_replicas):
        replica.begin_anew()
