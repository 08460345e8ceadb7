"""Does a guarded request become slower when the replica holds more?

The same as `growth`, with replicas that were filled by a feed; the largest holds fingerprints only. The store that
feeds them is made up, because the request never asks it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from logout_middleware.colour import run_blocking
from logout_middleware.rules.revocation import Revocation
from logout_middleware.stores import Changes
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.stores.replica import Replica

from ..pair import Effort, Result, Void
from ..stacks import random_revocations
from . import growth

NAME = "replica"
_PAGE = 10_000
_LARGEST = 10_000_000
_FILL_SECONDS = 300.0


class _MadeUp(MemoryStore):
    """A store whose feed has so many revocations that it does not hold itself."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    async def changes(self, cursor: int | None, wait_seconds: float = 0.0) -> Changes:
        """The next page; once all were told, nothing new ever comes."""
        start = cursor or 0
        if start >= self._count:
            time.sleep(wait_seconds)
            return Changes((), start, complete=True)
        size = min(_PAGE, self._count - start)
        page: Sequence[Revocation] = random_revocations(size, seed=start)
        return Changes(page, start + size, complete=start + size == self._count)


def run(effort: Effort) -> Result:
    """Measure the sizes against each other."""
    result = Result(NAME)
    sizes = [1_000, effort.records, _LARGEST]
    if effort.records < _LARGEST // 10:
        sizes.remove(_LARGEST)
        result.missing.append(f"more than {effort.records:,} records: left out by --quick")
    replicas = {size: _filled(size, result) for size in sizes}
    growth.measure(replicas, effort, result)
    for replica in replicas.values():
        run_blocking(replica.close())
    return result


def _filled(size: int, result: Result) -> Replica:
    store = _MadeUp(size)
    replica = Replica(store, lambda: store, max_staleness=60.0, run_blocking=run_blocking)
    started = time.monotonic()
    run_blocking(replica.find([b"nobody".ljust(16)]))
    while replica.version() is None:
        if time.monotonic() - started > _FILL_SECONDS:
            raise Void(f"a replica of {size} was not filled within {_FILL_SECONDS:.0f} s")
        time.sleep(0.05)
    result.notes.append(f"replica: {run_blocking(replica.check())['replica']}")
    return replica
