"""Comparing what was measured with `targets.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .pair import Estimate, Result


@dataclass(frozen=True, slots=True)
class Target:
    """An estimate of a suite, and what the upper end of its interval may be, or the lower end must be."""

    suite: str
    estimate: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def limit(self) -> str:
        return f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"

    def is_met(self, found: Estimate) -> bool:
        if self.at_most is not None:
            return found.high <= self.at_most
        return self.at_least is not None and found.low >= self.at_least


@dataclass(frozen=True, slots=True)
class Outcome:
    """`verdict`: PASS, MISS, VOID (the run says nothing) or SKIPPED (it cannot run here)."""

    target: Target
    found: Estimate | None
    verdict: str

    def __str__(self) -> str:
        name = f"{self.verdict:7} {self.target.suite}: {self.target.estimate}"
        if self.found is None:
            return f"{name}: not measured ({self.target.limit})"
        found = self.found
        return f"{name}: {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] ({self.target.limit})"


def read_targets(path: Path) -> list[Target]:
    """The targets in this file."""
    return [Target(**entry) for entry in tomllib.loads(path.read_text("utf-8"))["target"]]


def judge(targets: Sequence[Target], results: Sequence[Result]) -> list[Outcome]:
    """The outcome of every target whose suite was asked for."""
    by_suite = {result.suite: result for result in results}
    return [_judge_one(target, by_suite[target.suite]) for target in targets if target.suite in by_suite]


def _judge_one(target: Target, result: Result) -> Outcome:
    if result.skipped:
        return Outcome(target, None, "SKIPPED")
    if target.estimate not in result.estimates:
        return Outcome(target, None, "VOID" if result.void or not result.missing else "SKIPPED")
    found = result.estimates[target.estimate]
    if result.void:
        return Outcome(target, found, "VOID")
    return Outcome(target, found, "PASS" if target.is_met(found) else "MISS")
