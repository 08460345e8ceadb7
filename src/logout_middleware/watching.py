"""Watches the store for those whose connections are open in this process: one thread, and only while there are any.

It follows the store's feed from the moment it begins, and looks up everybody who was there before that, and everybody
new, once: whatever was revoked before, it finds by looking, whatever is revoked after, by following. Where the feed
breaks off it begins again, and looks everybody up again.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from .colour import run_blocking
from .daemon import Daemon
from .errors import LogoutError
from .flows.live import Connection, Live, keys_of
from .stores import NOW, FeedGap, PartlyKnown, Store

_log = logging.getLogger("logout_middleware")
_WAIT_SECONDS = 0.1
"""The longest that a new connection waits for being looked up."""
_PAUSE_SECONDS = 0.1
_LINGER_SECONDS = 30.0
_AT_ONCE = 500


class Watcher(Daemon):
    """Cuts the connections of `live` that other workers' logouts hit.

    `open_store` opens a blocking store of the same data for the thread, which closes it unless it is `shared`.
    """

    def __init__(self, live: Live, open_store: Callable[[], Store], *, shared: Store | None = None) -> None:
        super().__init__("logout-middleware-watch", self._watch)
        self._live, self._open, self._shared = live, open_store, shared

    def _watch(self) -> None:
        store: Store | None = None
        cursor: Any = NOW
        busy_at, told = time.monotonic(), False
        try:
            while not self.ending.is_set():
                now = time.monotonic()
                if len(self._live):
                    busy_at = now
                elif now >= busy_at + _LINGER_SECONDS and self.leave(lambda: len(self._live) > 0):
                    return
                try:
                    if store is None:
                        store = self._open()
                    cursor = self._step(store, cursor)
                    told = False
                except FeedGap:
                    cursor = NOW
                except LogoutError as error:
                    if self.ending.is_set():
                        return
                    cursor = NOW
                    if not told:
                        told = True
                        _log.warning("open connections cannot be watched over while the store is away: %s", error)
                    self._look_up_in_journal(store)
                    self.ending.wait(_PAUSE_SECONDS)
        finally:
            if store is not None and store is not self._shared:
                with contextlib.suppress(LogoutError):
                    run_blocking(store.close())

    def _step(self, store: Store, cursor: Any) -> Any:
        # In this order: who is looked up after the feed was read misses nothing that the next page does not bring.
        page = run_blocking(store.changes(cursor, 0.0 if cursor is NOW else _WAIT_SECONDS))
        self._live.cut(page.revocations)
        new = self._live.newcomers()
        self._look_up(store, self._live.all() if cursor is NOW else new)
        return page.cursor

    def _look_up_in_journal(self, store: Store | None) -> None:
        """While the store is away, what this host's other workers have put into the journal is known all the same."""
        if store is not None:
            with contextlib.suppress(LogoutError):
                self._look_up(store, self._live.all())

    def _look_up(self, store: Store, connections: Sequence[Connection]) -> None:
        for start in range(0, len(connections), _AT_ONCE):
            try:
                found = run_blocking(store.find(keys_of(connections[start : start + _AT_ONCE])))
            except PartlyKnown as error:
                found = error.known
            self._live.cut(found)
