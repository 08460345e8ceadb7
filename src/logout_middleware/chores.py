"""Work that must be done although it cannot be done now: one thread, which tries again until it succeeds.

A logout token whose keys cannot be fetched, or that nothing could record, is kept here and carried out later; so is
telling a provider that its tokens were revoked. What is kept is in memory: nobody was told that it is done.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from .colour import run_blocking
from .errors import LogoutError, StoreError

MOST_CHORES = 10_000
PATIENCE_SECONDS = 86400.0
_FIRST_PAUSE, _LONGEST_PAUSE, _JOIN_SECONDS = 0.5, 30.0, 5.0

_log = logging.getLogger("logout_middleware")

Chore = Callable[[Any], Awaitable[object]]
"""Does it once, with a blocking `Service`; StoreError: try again later."""


@dataclass(order=True, slots=True)
class _Waiting:
    """A chore, when to try it (next), and when to give up; seconds of `time.monotonic`."""

    at: float
    number: int
    chore: Chore = field(compare=False)
    ends: float = field(compare=False)
    pause: float = field(default=_FIRST_PAUSE, compare=False)


class Chores:
    """The chores of one Logout object. `open_parts` builds blocking parts for the thread, which closes them."""

    def __init__(self, open_parts: Callable[[], Any]) -> None:
        self._open = open_parts
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._news, self._stopped = threading.Event(), False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, chore: Chore) -> bool:
        """Have this done soon, and again until it succeeds; False if too much waits already."""
        now = time.monotonic()
        with self._lock:
            if self._stopped or len(self._waiting) >= MOST_CHORES or not self._is_working():
                return False
            heappush(self._waiting, _Waiting(now, next(self._numbers), chore, now + PATIENCE_SECONDS))
        self._news.set()
        return True

    def _is_working(self) -> bool:
        """Is the thread there, started now if it was not? None can be had when the process is ending."""
        if self._thread is not None and self._pid == os.getpid():
            return True
        self._waiting.clear()  # those of the process that this one was forked from, which does them itself
        self._news = threading.Event()
        thread = threading.Thread(target=self._work, name="logout-middleware-chores", daemon=True)
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread, self._pid = thread, os.getpid()
            return True
        return False

    def try_now(self) -> None:
        """Try all again at once: whatever was in the way may be gone."""
        with self._lock:
            for each in self._waiting:
                each.at = 0.0
        self._news.set()

    def stop(self) -> None:
        """End it; what still waits is lost, as it is when the process ends."""
        self._stopped = True
        self._news.set()
        thread = self._thread
        if thread is not None and self._pid == os.getpid() and thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)

    # ---- the thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        parts: Any = None
        try:
            while not self._stopped:
                waiting = self._next()
                if waiting is None:
                    continue
                try:
                    if parts is None:
                        parts = self._open()
                    run_blocking(_done(waiting.chore, parts.service))
                except StoreError as error:
                    self._again(waiting, error)
                except LogoutError as error:
                    _log.error("it can never be done: %s", error)
                # A chore that is a bug must not end those behind it.
                except Exception:  # noqa: BLE001 - see above
                    _log.exception("a chore failed")
        finally:
            if parts is not None:
                with contextlib.suppress(LogoutError):
                    run_blocking(parts.close())

    def _next(self) -> _Waiting | None:
        """The chore whose time it is; None after waiting for one."""
        with self._lock:
            pause = self._waiting[0].at - time.monotonic() if self._waiting else None
            if pause is not None and pause <= 0:
                return heappop(self._waiting)
            self._news.clear()
        self._news.wait(pause)
        return None

    def _again(self, waiting: _Waiting, error: StoreError) -> None:
        now = time.monotonic()
        if now > waiting.ends:
            _log.error("given up after a day: %s", error)
            return
        waiting.at, waiting.pause = now + waiting.pause, min(waiting.pause * 2, _LONGEST_PAUSE)
        with self._lock:
            heappush(self._waiting, waiting)


async def _done(chore: Chore, service: Any) -> None:
    await chore(service)
