"""Nothing of SQLite crosses a fork: every store is stopped before it and goes on after it, in both processes."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forkable(Protocol):
    """What can have nothing open for a moment."""

    def before_fork(self) -> None:
        """Finish what is running, close everything, and let nobody begin."""
        ...

    def after_fork(self) -> None:
        """Go on."""
        ...


forking = threading.Lock()
"""Held while this process forks."""
_open: weakref.WeakSet[Forkable] = weakref.WeakSet()
_stopped: list[Forkable] = []
_hooked = False


def close_across_forks(store: Forkable) -> None:
    """Stop this one, too, when the process forks, for as long as it lives. Call it with `forking` held."""
    global _hooked
    _open.add(store)
    if not _hooked:
        _hooked = True
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _before_fork() -> None:
    forking.acquire()
    for store in list(_open):
        store.before_fork()
        _stopped.append(store)


def _after_fork() -> None:
    while _stopped:
        _stopped.pop().after_fork()
    forking.release()
