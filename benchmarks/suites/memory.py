"""How much memory does one remembered logout take in each worker?

Each structure and size in a process of its own: resident memory after filling it, less that before, by the number of
records. The keys are random; the records are what a logout leaves (never forgiven, one of 700 hours of end, "logout").
Sizes between two powers of two are measured, too: a dictionary doubles, and just after it did is when it is largest.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from logout_middleware.rules.revocation import FOREVER, KEY_BYTES, Revocation
from logout_middleware.stores.compact import Fingerprints
from logout_middleware.stores.index import Index

from ..pair import Effort, Estimate, Result, Row, Void

NAME = "memory"
SIZES = {"index": (1_000, 100_000, 700_000, 1_000_000, 1_400_000), "compact": (1_000, 100_000, 1_000_000, 10_000_000)}
_QUICK_ABOVE = 100_000
_PAGE = 500
_HOURS = 700
_LOOKS = 20_000


def run(effort: Effort) -> Result:
    """Fill every structure to every size, a few times where that is quick."""
    result = Result(NAME)
    for structure, sizes in SIZES.items():
        for size in sizes:
            found = [_measure(structure, size) for _ in range(1 if size > _QUICK_ABOVE else effort.restarts)]
            held = sorted(each[0] for each in found)
            middle = held[len(held) // 2]
            result.estimates[f"{structure}: bytes per record at {size}"] = Estimate(middle, held[0], held[-1])
            _, peak, loading, looking = found[0]
            result.rows.append(Row(structure, f"{size} records, a request of three keys looked up", looking))
            result.notes.append(
                f"memory: {structure}, {size} records: {middle:.1f} bytes per record [{held[0]:.1f}, {held[-1]:.1f}], "
                f"{peak:.1f} at most while filling; {loading:.2f} µs to add one, {looking:.2f} µs to look up three keys"
            )
    return result


def _measure(structure: str, size: int) -> tuple[float, float, float, float]:
    command = [sys.executable, "-m", __spec__.name, structure, str(size)]
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Void(f"{structure} with {size} records: {done.stderr.strip()[-200:]}")
    held, peak, loading, looking = map(float, done.stdout.split())
    return held, peak, loading, looking


def _pages(size: int) -> Iterator[list[Revocation]]:
    now = time.time() // 3600 * 3600
    for start in range(0, size, _PAGE):
        count = min(_PAGE, size - start)
        keys = os.urandom(KEY_BYTES * count)
        yield [
            Revocation(
                keys[place * KEY_BYTES : place * KEY_BYTES + KEY_BYTES], FOREVER, now + place % _HOURS * 3600, "logout"
            )
            for place in range(count)
        ]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _highest() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def fill(structure: str, size: int) -> tuple[float, float, float, float]:
    """Bytes per record now, and at the highest; microseconds to add one, and to look up three keys that are absent."""
    list(_pages(_PAGE))
    gc.collect()
    before = _resident()
    held: Index | Fingerprints = Index() if structure == "index" else Fingerprints()
    loading = 0.0
    for page in _pages(size):
        started = time.process_time()
        held.add(page)
        loading += time.process_time() - started
    page = []
    gc.collect()
    after, peak = _resident(), _highest()
    absent = [[os.urandom(KEY_BYTES) for _ in range(3)] for _ in range(_LOOKS)]
    look = held.find if isinstance(held, Index) else held.suspects
    started = time.process_time()
    for keys in absent:
        look(keys)
    looking = time.process_time() - started
    if len(held) != size:
        raise SystemExit(f"holds {len(held)} of {size}")
    return (after - before) / size, (peak - before) / size, loading / size * 1e6, looking / _LOOKS * 1e6


if __name__ == "__main__":
    print(*fill(sys.argv[1], int(sys.argv[2])))
