"""What has a thread begins anew in a process that was forked: the thread, and whatever it held, are its parent's."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """What can begin anew."""

    def begin_anew(self) -> None:
        """Called in the child, before anything else runs there; every lock may be one that nobody gives back."""
        ...


_living: weakref.WeakSet[Renewable] = weakref.WeakSet()
_hooked = False


def begin_anew_after_forks(each: Renewable) -> None:
    """Have this called in every child that is forked while it lives."""
    global _hooked
    _living.add(each)
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_after_fork_in_child)


def _after_fork_in_child() -> None:
    for each in list(_living):
        each.begin_anew()
