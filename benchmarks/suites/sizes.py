"""What does a revocation take up in each store, and does a lookup become slower when there are a million?

Every store is filled step by step, and its own idea of its size is read after each. Then lookups in the full one take
turns with lookups in one that holds a thousand, on the same server. At last a process of its own fills a replica from
the full Redis: how long until it may answer, and how much its resident memory grew.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import services

from logout_middleware.colour import run_blocking
from logout_middleware.errors import StoreError
from logout_middleware.stores import Store

from .. import backends, pair, serving
from ..pair import Case, Effort, Result, Table, Void
from .trips import ask_each

NAME = "sizes"
WITHIN = (0.93, 1.07)
FEW, FULL = "few:", "full:"
STEPS = (1_000, 100_000, 1_000_000)
_AT_MOST = {"MariaDB": 100_000}
"""Where filling takes long, and nothing of interest happens later."""

_POSTGRES = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' "
    "AND relnamespace = 'public'::regnamespace"
)
_MARIADB = (
    "SELECT sum(file_size) FROM information_schema.innodb_sys_tablespaces "
    f"WHERE name LIKE '{services.DATABASE}/%'"
)  # fmt: skip


def run(effort: Effort) -> Result:
    """Fill, weigh and ask all stores that can be had here."""
    result, lines = Result(NAME), []
    if effort.records < STEPS[-1]:
        result.missing.append(f"more than {effort.records:,} records: left out by --quick")
    with serving.apart() as own, backends.running(["PostgreSQL", "MariaDB", "Redis"], result) as servers:
        serving.move_to(own)
        with backends.sqlite() as url:
            lines.append(_fill("SQLite", url, lambda: _size_of_file(url), effort, result)[0])
        cases: list[Case] = []
        with contextlib.ExitStack() as stack:
            for name, server in servers.items():
                line, added = _fill(name, server.url, _scale(name, server), effort, result, stack)
                lines.append(line)
                cases += added
            steps = [f"bytes at {step:,}" for step in STEPS if step <= effort.records]
            result.tables.append(Table(["store", *steps, "µs to add one of 10,000"], lines))
            _ask(cases, effort, result)
        if "Redis" in servers:
            _fill_replica(servers["Redis"].url, effort.records, result)
    return result


def _scale(name: str, server: Any) -> Callable[[], int]:
    return {
        "PostgreSQL": lambda: int(server.run(_POSTGRES)[0][0] or 0),
        "MariaDB": lambda: int(server.run(_MARIADB)[0][0] or 0),
        "Redis": lambda: int(server.call("INFO", "memory")["used_memory"]),
    }[name]


def _size_of_file(url: str) -> int:
    path = Path(url.removeprefix("sqlite:///"))
    return sum(each.stat().st_size for each in path.parent.glob(path.name + "*") if not each.name.endswith("-shm"))


def _fill(
    name: str, url: str, weigh: Callable[[], int], effort: Effort, result: Result,
    stack: contextlib.ExitStack | None = None,
) -> tuple[list[str], list[Case]]:  # fmt: skip
    """The line of the table, and the lookups that take turns if the stores are kept open."""
    few, full = (backends.opened(url, blocking=True, key_prefix=prefix) for prefix in (FEW, FULL))
    backends.fill(few, 1000)
    run_blocking(full.add(backends.random_revocations(1, seed=-1)))
    empty, held, spent, cells = weigh(), 0, 0.0, [name]
    for step in (each for each in STEPS if each <= effort.records):
        if step > _AT_MOST.get(name, step):
            cells.append("")
            continue
        started = time.monotonic()
        try:
            backends.fill(full, step, held)
        except StoreError as error:
            raise Void(f"{name} could not be filled: {error}") from error
        spent, held = spent + time.monotonic() - started, step
        each = (weigh() - empty) / step
        cells.append(f"{each:.1f}")
        result.estimates[f"{name}: bytes per record at {step}"] = pair.exactly(each)
    cells.append(f"{spent / held * 1e6:.1f}")
    if stack is None:
        for store in (few, full):
            run_blocking(store.close())
        return cells, []
    stack.callback(lambda: [run_blocking(store.close()) for store in (few, full)])
    return cells, list(_cases(name, few, full, held))


def _cases(name: str, few: Store, full: Store, held: int) -> Iterator[Case]:
    for store, size in ((few, "1000"), (few, "1000 again"), (full, str(held))):
        yield Case(f"{name}: find in {size}", ask_each(store))


def _ask(cases: list[Case], effort: Effort, result: Result) -> None:
    try:
        wall, cpu = pair.measure_trips(cases, effort)
    except StoreError as error:
        raise Void(f"a store failed: {error}") from error
    result.rounds["find, wall"], result.rounds["find, CPU"] = wall, cpu
    lines = []
    for first, again, last in zip(cases[::3], cases[1::3], cases[2::3], strict=True):
        name, size = first.name.partition(":")[0], last.name.rpartition(" ")[2]
        grown = pair.ratio(wall, last.name, first.name)
        pair.control(result, wall, of=name, bare=first.name, again=again.name, within=WITHIN)
        result.estimates[f"{name}: find in {size} / in 1000"] = grown
        lines.append([
            name, size, f"{pair.median(wall[first.name]) / 1e3:.1f}", f"{pair.median(wall[last.name]) / 1e3:.1f}",
            *(f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]" for each in (
                grown, pair.ratio(wall, again.name, first.name), pair.ratio(cpu, last.name, first.name),
            )),
        ])  # fmt: skip
    head = ["find in", "records", "1000: wall µs", "all: wall µs", "wall ratio", "1000 to itself", "CPU ratio"]
    result.tables.append(Table(head, lines))


def _fill_replica(url: str, records: int, result: Result) -> None:
    command = [sys.executable, "-m", __spec__.name, url, FULL]
    environment = {**os.environ, "PYTHONPATH": str(serving.ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Void(f"a replica could not be filled from Redis: {done.stderr.strip()[-500:]}")
    seconds, grown = json.loads(done.stdout)
    result.estimates[f"replica of Redis: seconds until it answers, {records} records"] = pair.exactly(seconds)
    result.estimates[f"replica of Redis: resident bytes per record at {records}"] = pair.exactly(grown / records)
    result.notes.append(
        f"sizes: a new process has a replica of {records:,} records of Redis after {seconds:.2f} s, and its resident "
        f"memory grew by {grown / records:.1f} bytes a record meanwhile"
    )


def fill_replica(url: str, prefix: str) -> tuple[float, int]:
    """Seconds until a new replica may answer, and by how many bytes the resident memory of this process grew."""
    store = backends.opened(url, blocking=True, key_prefix=prefix, max_staleness="5s")
    run_blocking(store.find([bytes(16)]))
    before, started = _resident(), time.monotonic()
    while store.version() is None:
        time.sleep(0.001)
    found = time.monotonic() - started, _resident() - before
    run_blocking(store.close())
    return found


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(fill_replica(sys.argv[1], sys.argv[2])))
