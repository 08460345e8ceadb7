"""Work that must be done although it cannot be done now: one thread, which tries again until it succeeds.

A logout token whose keys cannot be fetched, or that nothing could record, is kept here and carried out later; so is
telling a provider that its tokens were revoked. What is kept is in memory: nobody was told that it is done.
"""

from __future__ import annotations

import asyncio
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
from .events import settle_and_log

MOST_CHORES = 10_000
MOST_DOUBTFUL = 5_000
"""Of those that anybody may have made up: they must not crowd out the others."""
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
    name: str | None = field(default=None, compare=False)
    pause: float = field(default=_FIRST_PAUSE, compare=False)


class Chores:
    """The chores of one Logout object. `open_parts` builds blocking parts for the thread, which closes them."""

    def __init__(self, open_parts: Callable[[], Any]) -> None:
        self._open = open_parts
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        self._names: set[str] = set()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._news, self._stopped = threading.Event(), False
        self._idle = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, chore: Chore, *, doubtful: bool = False, name: str | None = None) -> bool:
        """Have this done soon, and again until it succeeds; False if too much waits already.

        `doubtful`: it is on behalf of somebody who proved nothing yet. `name`: of those of one name, one is enough.
        """
        now = time.monotonic()
        with contextlib.suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        if self._pid not in (0, os.getpid()):
            self._lock = threading.Lock()  # whoever held it when this process was forked is not here
        with self._lock:
            most = MOST_DOUBTFUL if doubtful else MOST_CHORES
            if self._stopped or not self._is_working():
                return False
            if name is not None and name in self._names:
                return True
            if len(self._waiting) >= most:
                return False
            if name is not None:
                self._names.add(name)
            heappush(self._waiting, _Waiting(now, next(self._numbers), chore, now + PATIENCE_SECONDS, name))
            self._idle.clear()
        self._news.set()
        return True

    def _is_working(self) -> bool:
        """Is the thread there, started now if it was not? None can be had when the process is ending."""
        if self._thread is not None and self._pid == os.getpid():
            return True
        self._names.clear()
        self._waiting.clear()  # those of the process that this one was forked from, which does them itself
        self._news, self._idle = threading.Event(), threading.Event()
        thread = threading.Thread(target=self._work, name="logout-middleware-chores", daemon=True)
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._thread, self._pid = thread, os.getpid()
            return True
        return False

    async def settle(self, answer: Awaitable[object]) -> None:
        """Have what a listener returned awaited by the event loop of the application, if it has one; not waited for."""
        if self._loop is None:
            await answer
        elif self._loop.is_closed():
            await settle_and_log(answer)  # an application that is ending; most of them need no loop for it
        else:
            asyncio.run_coroutine_threadsafe(settle_and_log(answer), self._loop)

    def try_now(self) -> None:
        """Try all again at once: whatever was in the way may be gone."""
        with self._lock:
            for each in self._waiting:
                each.at = 0.0
            if self._waiting:
                self._idle.clear()
        self._news.set()

    def tried(self, seconds: float = 10.0) -> bool:
        """Return when none is to be tried now, but only later or not at all; False if that took longer."""
        return self._pid != os.getpid() or self._idle.wait(seconds)

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
                if parts is None:
                    try:
                        parts = self._open()
                    # Whatever is in the way of a connection today, the order that waits for it must not be lost.
                    except Exception as error:  # noqa: BLE001 - see above
                        self._again(waiting, error)
                        continue
                try:
                    run_blocking(_done(waiting.chore, parts.service))
                except StoreError as error:
                    self._again(waiting, error)
                    continue
                # A chore that is a bug must not end those behind it.
                except Exception:  # noqa: BLE001 - see above
                    _log.exception("a chore failed")
                self._forget(waiting)
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
            self._idle.set()
        self._news.wait(pause)
        return None

    def _again(self, waiting: _Waiting, error: Exception) -> None:
        now = time.monotonic()
        if now > waiting.ends:
            _log.error("given up after a day: %s", error)
            self._forget(waiting)
            return
        waiting.at, waiting.pause = now + waiting.pause, min(waiting.pause * 2, _LONGEST_PAUSE)
        with self._lock:
            heappush(self._waiting, waiting)

    def _forget(self, waiting: _Waiting) -> None:
        """It is done, or given up."""
        if waiting.name is not None:
            with self._lock:
                self._names.discard(waiting.name)


async def _done(chore: Chore, service: Any) -> None:
    await chore(service)
