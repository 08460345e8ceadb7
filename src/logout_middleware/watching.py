"""Watches the store for those whose connections are open in this process: one thread, and only while there are any.

It follows the store's feed from the moment it begins, and looks up everybody who was there before that, and everybody
new, once: whatever was revoked before, it finds by looking, whatever is revoked after, by following. Where the feed
breaks off it begins again, and looks everybody up again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from .colour import run_blocking
from .errors import LogoutError
from .flows.live import Connection, Live, keys_of
from .stores import NOW, FeedGap, PartlyKnown, Store

_log = logging.getLogger("logout_middleware")
_WAIT_SECONDS = 0.1
"""The longest that a new connection waits for being looked up."""
_PAUSE_SECONDS = 0.1
_LINGER_SECONDS = 30.0
_AT_ONCE = 500


class Watcher:
    """Cuts the connections of `live` that other workers' logouts hit.

    `open_store` opens a blocking store of the same data for the thread, which closes it unless it is `shared`.
    """

    def __init__(self, live: Live, open_store: Callable[[], Store], *, shared: Store | None = None) -> None:
        self._live, self._open, self._shared = live, open_store, shared
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._stop = threading.Event()

    def wake(self) -> None:
        """Have it watching; for whoever opened a connection."""
        if self._thread is not None and self._pid == os.getpid():
            return
        with self._lock:
            if self._stop.is_set() or (self._thread is not None and self._pid == os.getpid()):
                return
            thread = threading.Thread(target=self._watch, name="logout-middleware-watch", daemon=True)
            # No thread to be had, or the process is ending: then the connections are, too.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread, self._pid = thread, os.getpid()

    def stop(self) -> None:
        """End it soon."""
        self._stop.set()

    def join(self, seconds: float = 2.0) -> None:
        """Wait until it has closed its store; not for long, should that hang."""
        thread = self._thread
        if thread is not None and self._pid == os.getpid() and thread is not threading.current_thread():
            thread.join(seconds)

    def _watch(self) -> None:
        store: Store | None = None
        cursor: Any = NOW
        busy_at, told = time.monotonic(), False
        try:
            while not self._stop.is_set():
                now = time.monotonic()
                if len(self._live):
                    busy_at = now
                elif now >= busy_at + _LINGER_SECONDS and self._leave():
                    return
                try:
                    if store is None:
                        store = self._open()
                    cursor = self._step(store, cursor)
                    told = False
                except FeedGap:
                    cursor = NOW
                except LogoutError as error:
                    if self._stop.is_set():
                        return
                    cursor = NOW
                    if not told:
                        told = True
                        _log.warning("open connections cannot be watched over while the store is away: %s", error)
                    self._look_up_in_journal(store)
                    self._stop.wait(_PAUSE_SECONDS)
        finally:
            if store is not None and store is not self._shared:
                with contextlib.suppress(LogoutError):
                    run_blocking(store.close())
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _leave(self) -> bool:
        """Nobody is connected: stop, unless somebody came at this moment."""
        with self._lock:
            if len(self._live):
                return False
            self._thread = None
            return True

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
