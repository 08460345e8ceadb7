"""How much of this machine others take: how long a loop that does nothing else was kept from running."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

_GAP_NS = 100_000
"""A loop turn that lasts longer than this was interrupted (nanoseconds)."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Milliseconds that were stolen from the loop, in so many seconds, and the longest at once."""

    seconds: float
    stolen_ms: float
    longest_ms: float

    def __str__(self) -> str:
        share = self.stolen_ms / self.seconds / 10
        load = f"; load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} CPUs" if hasattr(os, "getloadavg") else ""
        return (
            f"noise: {self.stolen_ms:.1f} ms stolen in {self.seconds:.0f} s ({share:.1f} %), "
            f"longest {self.longest_ms:.1f} ms{load}"
        )


def probe(seconds: float) -> Noise:
    """Watch the clock for so long."""
    stolen = longest = 0
    before = time.perf_counter_ns()
    end = before + int(seconds * 1e9)
    while before < end:
        now = time.perf_counter_ns()
        if now - before > _GAP_NS:
            stolen += now - before
            longest = max(longest, now - before)
        before = now
    return Noise(seconds, stolen / 1e6, longest / 1e6)
