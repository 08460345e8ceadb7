"""The connections that one process has to a SQL server: SQLAlchemy's pool for questions, and one for the feed.

Every wait is bounded: for a free connection, for a new one, for an answer. A connection on which anything went wrong
is closed, because nobody knows what it would answer next.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from ..errors import StoreError
from .sql_server import Server

_POOL_SIZE = 16
# Before a firewall between us forgets a silent connection without a word.
_RECYCLE_SECONDS = 300
_CLOSE_SECONDS = 1.0


class Connections:
    """What one process has open to this server. Made without asking it."""

    def __init__(self, server: Server, deadline: float) -> None:
        self._server, self._deadline = server, deadline
        self._here = threading.local()
        self._pool = self._new_pool()
        self._feed = Feed(server)
        self._feed_lock = threading.Lock()

    def _new_pool(self) -> QueuePool:
        return QueuePool(
            self._connect, pool_size=_POOL_SIZE, max_overflow=0, timeout=self._deadline, recycle=_RECYCLE_SECONDS,
            use_lifo=True, reset_on_return=None,
        )  # fmt: skip

    def _connect(self) -> Any:
        return self._server.connect(self._here.ends)

    @contextlib.contextmanager
    def lease(self, ends: float) -> Iterator[Any]:
        """A connection for one question; closed if anything is raised."""
        self._here.ends = ends
        pool = self._pool
        try:
            leased = pool.connect()
        except PoolTimeoutError as error:
            raise StoreError(f"all {_POOL_SIZE} connections to the SQL server are busy") from error
        try:
            yield leased.driver_connection
        except BaseException:
            leased.invalidate()
            raise
        if pool is self._pool:
            leased.close()
        else:
            leased.invalidate()

    def renew(self) -> None:
        """Close what is idle, and do not use again what is not."""
        old, self._pool = self._pool, self._new_pool()
        old.dispose()

    @contextlib.contextmanager
    def feed(self) -> Iterator[Feed]:
        """The connection for the feed, for one reader at a time; closed if anything is raised."""
        with self._feed_lock:
            try:
                yield self._feed
            except BaseException:
                self._feed.close()
                raise

    def close(self) -> None:
        """Close all; a connection in use is closed when it is given back."""
        self.renew()
        if self._feed_lock.acquire(timeout=_CLOSE_SECONDS):
            self._feed.close()
            self._feed_lock.release()


class Feed:
    """The connection on which news are heard."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._open: Any = None

    def connection(self, ends: float = math.inf, prepare: Callable[[Any, float], None] | None = None) -> Any:
        """It, listening; made if it is not there."""
        if self._open is None:
            opened = self._server.connect(min(ends, time.monotonic() + 3600.0))
            try:
                if prepare is not None:
                    prepare(opened, ends)
                self._server.listen(opened, ends)
            except BaseException:
                opened.close()
                raise
            self._open = opened
        return self._open

    def close(self) -> None:
        """Close it; the next reader makes another."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()
