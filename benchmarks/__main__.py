"""`make bench`, `make bench-stores`, `make bench-live`, `make bench-http`: measure, print, compare with the targets.

Exit status: 0 if every target that was measured is met, 1 if one is missed, 2 if a suite is void, or if something was
skipped that was asked for by name (or at all, with CI=1): then it is not known.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import noise, report
from .pair import Effort, Result, Void
from .suites import growth, http, live, memory, micro, pauses, propagation, replica, served, sizes, trips
from .targets import judge, read_targets

USUAL = (micro, growth, served)
"""What `make bench` runs; it needs no servers but our own."""
SUITES: dict[str, Callable[[Effort], Result]] = {
    suite.NAME: suite.run for suite in (*USUAL, memory, trips, sizes, replica, propagation, pauses, http, live)
}
HERE = Path(__file__).parent
FULL = Effort(
    rounds=61, chunk_seconds=0.02, tokens=1000, seed=0, restarts=3, served_rounds=5, served_seconds=3,
    http_restarts=2, http_rounds=6, http_seconds=1, records=1_000_000, logouts=300,
)  # fmt: skip
QUICK = replace(
    FULL, rounds=21, chunk_seconds=0.008, served_rounds=2, served_seconds=2, http_restarts=1, http_rounds=2,
    http_seconds=1, records=100_000, logouts=100,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns the exit status."""
    asked = _parse(arguments)
    effort = replace(QUICK if asked.quick else FULL, tokens=asked.tokens, seed=asked.seed, only=asked.only)
    heard = noise.probe(1 if asked.quick else 5)
    print(heard)
    print(f"seed: {asked.seed}; {effort.rounds} rounds in process, {asked.tokens} tokens in turn", flush=True)
    results = [_run(name, effort) for name in asked.suite or [suite.NAME for suite in USUAL]]
    outcomes = judge(read_targets(HERE / "targets.toml"), results) if asked.check else []
    print("\n" + report.table(results) + "\n")
    for result in results:
        if result.tables:
            print(report.own_tables(result) + "\n")
        for note in result.notes:
            print(note)
    for outcome in outcomes:
        print(outcome)
    for result in results:
        for why in result.void:
            print(f"VOID: suite {result.suite}: {why}")
        if result.skipped:
            print(f"SKIPPED: suite {result.suite} WAS NOT MEASURED: {result.skipped}")
        for what in result.missing:
            print(f"SKIPPED: suite {result.suite}: NOT MEASURED: {what}")
    print(f"kept in {report.keep(HERE / 'results', noise=heard, effort=effort, results=results, outcomes=outcomes)}")
    wanted = bool(asked.suite) or os.environ.get("CI") == "1"
    skipped = any(result.skipped or result.missing for result in results)
    if (skipped and wanted) or any(result.void for result in results) or any(o.verdict == "VOID" for o in outcomes):
        return 2
    return int(any(outcome.verdict == "MISS" for outcome in outcomes))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suite", nargs="*", help=f"only these of: {', '.join(SUITES)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--check", action=argparse.BooleanOptionalAction, default=True, help="compare with the targets")
    parser.add_argument("--tokens", type=int, default=FULL.tokens, help="how many different tokens take turns")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the order within each round")
    parser.add_argument("--only", default="", help="of http: the groups that have this in their name")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.suite if name not in SUITES]
    if unknown:
        parser.error(f"there is no suite {unknown[0]!r}; choose from {', '.join(SUITES)}")
    if asked.tokens < 1000:
        parser.error("--tokens: fewer than 1000 tokens are all in the processor's cache; give 1000 or more")
    return asked


def _run(name: str, effort: Effort) -> Result:
    print(f"{name} …", flush=True)
    try:
        return SUITES[name](effort)
    except Void as void:
        return Result(name, void=[str(void)])


if __name__ == "__main__":
    sys.exit(main())
