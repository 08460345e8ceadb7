"""A thread of this process that works beside its requests: at most one, begun late, and anew in a forked child."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable


class Daemon:
    """Runs `work` in a thread of this name while it is wanted; `ending` is set when it shall return."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name, self._work = name, work
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self.ending = threading.Event()

    def wake(self) -> None:
        """Have it working."""
        if self._thread is not None and self._pid == os.getpid():
            return
        with self._lock:
            if self.ending.is_set() or (self._thread is not None and self._pid == os.getpid()):
                return
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            # No thread to be had, or the process is ending: then what it would work for is, too.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread, self._pid = thread, os.getpid()

    def stop(self) -> None:
        """End it soon."""
        self.ending.set()

    def join(self, seconds: float = 2.0) -> None:
        """Wait until it has ended; not for long, should it hang."""
        thread = self._thread
        if thread is not None and self._pid == os.getpid() and thread is not threading.current_thread():
            thread.join(seconds)

    def leave(self, is_wanted: Callable[[], bool]) -> bool:
        """For the thread itself: may it end, because nobody wants it? Who wakes it from now on begins another."""
        with self._lock:
            if is_wanted():
                return False
            self._thread = None
            return True

    def _run(self) -> None:
        try:
            self._work()
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None
