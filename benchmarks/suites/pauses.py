"""Do remembered tokens make the garbage collector's pauses longer?

A guard that has seen 65,536 tokens, and one that remembers as many as it keeps by default, against none.
"""

from __future__ import annotations

import gc
import time

from logout_middleware.colour import run_blocking
from logout_middleware.flows.known_headers import CACHE_SIZE, KnownHeaders
from logout_middleware.stores.memory import MemoryStore

from .. import pair, traffic
from ..pair import Effort, Result, Table
from ..stacks import STACKS
from ..traffic import Gate

NAME = "pauses"
SIZES = (2 * CACHE_SIZE, 65_536)


def run(effort: Effort) -> Result:
    """Measure full collections, without and with what a guard remembers."""
    result, lines = Result(NAME), []
    gc.collect()
    gc.freeze()  # what other suites left behind
    for size in SIZES:
        logout = STACKS[0].logout(MemoryStore(), Gate.make())
        logout.guard.bearers = KnownHeaders(size, 10**9)
        before = _pauses(effort.rounds)
        for number in range(size):
            header = f"Bearer {traffic.token(number)}".encode()
            run_blocking(logout.guard.check(header, None))
        after = _pauses(effort.rounds)
        remembered = len(logout.guard.bearers)
        added = pair.estimate([(late - early) / 1e6 for late, early in zip(after, before, strict=True)])
        result.estimates[f"{size} remembered tokens: pause added, ms"] = added
        lines.append([
            f"{remembered:,}", f"{pair.median(before) / 1e6:.2f}", f"{pair.median(after) / 1e6:.2f}",
            f"{added.value:.2f} [{added.low:.2f}, {added.high:.2f}]",
        ])  # fmt: skip
    gc.unfreeze()
    head = ["remembered tokens", "full collection before, ms", "after, ms", "added ms [95 %]"]
    result.tables.append(Table(head, lines))
    return result


def _pauses(rounds: int) -> list[float]:
    gc.collect()
    found = []
    for _ in range(rounds):
        started = time.thread_time_ns()
        gc.collect()
        found.append(float(time.thread_time_ns() - started))
    return found
