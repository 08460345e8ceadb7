"""Measuring several cases against each other on a machine that others use, too.

Within a round every case runs once, in a shuffled order, so that whatever slows the machine down hits them all. Only
ratios and differences *within* a round are used; of those, the median, and how far it moves when rounds are drawn anew
(bootstrap). Time is CPU time of this thread, so that waiting for another process does not count, except where waiting
is the question (`measure_trips`). The garbage collector
runs between the rounds, never in a timed part. The bare application is measured twice: its ratio to itself must be 1,
or the run says nothing and is void.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_RESAMPLES = 2000
_INTERVAL = 0.95

Clock = Callable[[], int]

Rounds = dict[str, list[float]]
"""By case, the nanoseconds of CPU that one request cost in each round."""


class Void(Exception):
    """This run says nothing about speed: an answer was wrong, or the machine was too loud."""


@dataclass(frozen=True, slots=True)
class Case:
    """`run(n)` serves n requests and raises Void if one went wrong; `prepare` is called before it, untimed.

    `at_most`: more requests than this in one measurement would not be what the case is about.
    """

    name: str
    run: Callable[[int], None]
    prepare: Callable[[], None] | None = None
    at_most: int | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median over the rounds, with the interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what a request costs, absolutely for orientation, and against another case."""

    stack: str
    case: str
    cost_us: float
    against: str = ""
    ratio: Estimate | None = None
    added_us: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """What is not a cost against another: a head and lines of text, printed as they are."""

    head: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(slots=True)
class Result:
    """What a suite found. `estimates` by name, for the targets; `void` says why it says nothing, if it does not.

    `skipped`: why it could not run at all. `missing`: what of it could not, and why.
    """

    suite: str
    rows: list[Row] = field(default_factory=list)
    estimates: dict[str, Estimate] = field(default_factory=dict)
    rounds: dict[str, Rounds] = field(default_factory=dict)
    void: list[str] = field(default_factory=list)
    skipped: str = ""
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure. `http_*`: the same for the suite that has the most servers; `records`: the largest store.
    `only`: the part of a suite whose name has this in it.
    """

    rounds: int
    chunk_seconds: float
    tokens: int
    seed: int
    restarts: int
    served_rounds: int
    served_seconds: float
    http_restarts: int
    http_rounds: int
    http_seconds: float
    records: int
    logouts: int
    only: str = ""


def measure(cases: Sequence[Case], effort: Effort) -> Rounds:
    """CPU nanoseconds of this thread per request, for each case and round."""
    return _measure(cases, effort, (time.thread_time_ns,))[0]


def measure_trips(cases: Sequence[Case], effort: Effort) -> tuple[Rounds, Rounds]:
    """For what waits for others: nanoseconds until the answer, and CPU nanoseconds of this process, per request."""
    wall, cpu = _measure(cases, effort, (time.perf_counter_ns, time.process_time_ns))
    return wall, cpu


def _measure(cases: Sequence[Case], effort: Effort, clocks: Sequence[Clock]) -> list[Rounds]:
    order = list(cases)
    shuffler = random.Random(effort.seed)
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        counts = {case.name: _calibrate(case, effort.chunk_seconds, clocks[0]) for case in cases}
        rounds: list[Rounds] = [{case.name: [] for case in cases} for _ in clocks]
        for _ in range(effort.rounds):
            shuffler.shuffle(order)
            for case in order:
                for found, took in zip(rounds, _timed(case, counts[case.name], clocks), strict=True):
                    found[case.name].append(took)
            gc.collect()
        return rounds
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


def _timed(case: Case, count: int, clocks: Sequence[Clock]) -> list[float]:
    if case.prepare is not None:
        case.prepare()
    started = [clock() for clock in clocks]
    case.run(count)
    return [(clock() - start) / count for clock, start in zip(clocks, started, strict=True)]


def _calibrate(case: Case, chunk_seconds: float, clock: Clock) -> int:
    """How many requests last about as long as a measurement should; warms the case up on the way."""
    limit = case.at_most or 10_000_000
    count = min(16, limit)
    while True:
        spent = _timed(case, count, (clock,))[0] * count / 1e9
        if count == limit:
            return limit
        if spent > chunk_seconds / 4:
            return min(limit, max(1, round(count * chunk_seconds / spent)))
        count = min(limit, count * 2)


def ratio(rounds: Rounds, case: str, against: str) -> Estimate:
    """How many times what the other costs."""
    return estimate([one / other for one, other in zip(rounds[case], rounds[against], strict=True)])


def added(rounds: Rounds, case: str, against: str) -> Estimate:
    """Microseconds that this costs more than the other."""
    return estimate([(one - other) / 1e3 for one, other in zip(rounds[case], rounds[against], strict=True)])


def row(rounds: Rounds, stack: str, case: str, against: str = "") -> Row:
    """The line of this case."""
    cost = median(rounds[case]) / 1e3
    if not against:
        return Row(stack, case, cost)
    return Row(stack, case, cost, against, ratio(rounds, case, against), added(rounds, case, against))


def median(values: Sequence[float]) -> float:
    """The middle of the values."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def estimate(values: Sequence[float]) -> Estimate:
    """The median and its bootstrap interval; the same values always give the same interval."""
    draw = random.Random(0)
    medians = sorted(median(draw.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    outside = round(_RESAMPLES * (1 - _INTERVAL) / 2)
    return Estimate(median(values), medians[outside], medians[-1 - outside])


def exactly(value: float) -> Estimate:
    """What was counted rather than drawn: a size, or a quantile of many."""
    return Estimate(value, value, value)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def control(result: Result, rounds: Rounds, *, of: str, bare: str, again: str, within: tuple[float, float]) -> None:
    """Mark the result void unless the bare case costs what the bare case costs."""
    found = ratio(rounds, again, bare)
    result.estimates[f"{of}: A/A"] = found
    low, high = within
    if not low <= found.value <= high:
        result.void.append(f"{of}: {bare} costs {found.value:.3f} of itself, outside [{low}, {high}]")
