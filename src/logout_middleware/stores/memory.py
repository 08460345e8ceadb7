"""The memory store: for tests, and for one process that may forget everything when it ends.

Nothing live is ever evicted. It cannot keep the promise between processes, so it says so, loudly, as soon
as it can see that there is more than one.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import StoreError
from ..rules.revocation import Revocation
from . import NOW, PURGE_DELAY, Changes, Count, Fact, FeedGap, Outcome, merge_facts
from .facts import distinct, merged
from .index import Index

_log = logging.getLogger("logout_middleware")
_FEED = 10_000
_FORGET_SECONDS = 60.0


class MemoryStore:
    """Revocations in this process. `clock` returns seconds since 1970."""

    durable = False
    writes_block = reads_block = False

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._index = Index()
        self._hits: dict[bytes, tuple[float, int]] = {}
        self._feed: deque[Revocation] = deque(maxlen=_FEED)
        self._facts: dict[bytes, dict[bytes, Fact]] = {}
        self._forget_facts_at = 0.0
        self._added = 0
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._pid = os.getpid()
        self._closed = False
        self._warned = False
        for sign in signs_of_more_workers():
            self.saw_another_worker(sign)

    def saw_another_worker(self, sign: str) -> None:
        """Log, once, that a logout in one worker is unknown to the others."""
        if not self._warned:
            self._warned = True
            _log.error(
                "LOGOUT_STORE=memory:// with more than one worker (%s): a logout is known to one worker only, and "
                "the others keep accepting the token. Use LOGOUT_STORE=sqlite:///logout.db, or one worker.",
                sign,
            )

    def version(self) -> int | None:
        """The state of the store; see Store.version."""
        return self._index.version

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """The records under these keys; see Store.find."""
        if self._closed:
            raise StoreError("the memory store is closed")
        return self._index.find(keys)

    async def add(self, revocations: Sequence[Revocation]) -> Outcome:
        """Merge these in, and drop what ended long ago; see Store.add."""
        if self._closed:
            raise StoreError("the memory store is closed")
        if os.getpid() != self._pid:
            self.saw_another_worker("this process was forked from the one that made the store")
        with self._lock:
            self._index.add(revocations)
            self._index.drop_ended(self._clock())
            self._feed.extend(revocations)
            self._added += len(revocations)
            self._news.notify_all()
        return Outcome.DONE

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Changes:
        """The records since, or all; see Store.changes."""
        with self._news:
            self._news.wait_for(lambda: cursor != self._added or self._closed, wait_seconds)
            if self._closed:
                raise StoreError("the memory store is closed")
            if cursor is NOW:
                return Changes((), self._added, complete=True)
            if cursor is None:
                return Changes(self._index.all(), self._added, complete=True)
            missed = self._added - cursor
            if missed > len(self._feed):
                raise FeedGap("the feed of the memory store no longer holds that")
            return Changes(list(self._feed)[len(self._feed) - missed :], self._added, complete=True)

    async def learn(self, facts: Sequence[Fact]) -> None:
        """Remember these; see Store.learn."""
        if self._closed:
            raise StoreError("the memory store is closed")
        with self._lock:
            for fact in merged(facts):
                known = self._facts.setdefault(fact.subject, {})
                known[fact.name] = merge_facts(known[fact.name], fact) if fact.name in known else fact
            if self._clock() >= self._forget_facts_at:
                self._forget_facts()

    def _forget_facts(self) -> None:
        """Drop those that ended long ago."""
        now = self._clock()
        self._forget_facts_at = now + _FORGET_SECONDS
        lasting = {
            subject: {name: fact for name, fact in known.items() if fact.until >= now - PURGE_DELAY}
            for subject, known in self._facts.items()
        }
        self._facts = {subject: known for subject, known in lasting.items() if known}

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        """What is known of these; see Store.facts."""
        if self._closed:
            raise StoreError("the memory store is closed")
        now = self._clock()
        with self._lock:
            return [
                fact
                for subject in distinct(subjects)
                for fact in self._facts.get(subject, {}).values()
                if fact.until > now
            ]

    async def hit(self, key: bytes, window: float) -> Count:
        """Count one event; see Store.hit."""
        now = self._clock()
        with self._lock:
            started, count = self._hits.get(key, (now, 0))
            if not started <= now < started + window:
                started, count = now, 0
            self._hits[key] = (started, count + 1)
            if len(self._hits) > 10_000:
                self._hits = {k: hit for k, hit in self._hits.items() if hit[0] + window > now}
            return Count(count + 1, started + window - now)

    async def purge(self, at_most: int = 500) -> int:
        """Forget what ended; see Store.purge."""
        with self._lock:
            self._forget_facts()
            return self._index.drop_ended(self._clock())

    async def count(self) -> int:
        """How many revocations are remembered."""
        return len(self._index)

    async def adopt(self) -> None:
        """Nothing to do: it forgets with its process, and so does who could remember."""

    async def check(self) -> dict[str, str]:
        """What this store can promise."""
        return {"store": "memory", "durability": "none: forgotten when the process ends, unknown to other processes"}

    async def close(self) -> None:
        """Forget everything."""
        with self._news:
            self._closed, self._index.version = True, None
            self._news.notify_all()


def signs_of_more_workers() -> list[str]:
    """What in the environment of this process says that it is one of several."""
    signs = []
    concurrency = os.environ.get("WEB_CONCURRENCY", "1")
    if concurrency.isdigit() and int(concurrency) > 1:
        signs.append(f"WEB_CONCURRENCY={concurrency}")
    if multiprocessing.parent_process() is not None:
        signs.append("this process is a child of multiprocessing")
    arguments = [*sys.argv[1:], *os.environ.get("GUNICORN_CMD_ARGS", "").split()]
    for option, value in itertools.pairwise([*arguments, ""]):
        name, equals, inline = option.partition("=")
        number = inline if equals else value
        if name in ("-w", "--workers") and number.isdigit() and int(number) > 1:
            signs.append(f"{name} {number}")
    return signs
