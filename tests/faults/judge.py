"""What a history proves: a pure function, so that a saved history can be judged again.

A history is a sequence of events, one JSON object a line, all times from one monotonic clock:

    {"op": "check" | "sweep", "t_send", "t_recv", "worker", "host", "token", "status"}
    {"op": "logout", "t_send", "t_recv", "worker", "host", "tokens": [what it ends], "status"}
    {"op": "login", "t_send", "t_recv", "token"}
    {"op": "adopt", "t_send", "t_recv"}         an operator accepted the store: everybody is logged out, on purpose
    {"op": "away" | "back", "t_send", "t_recv"} a store was broken, and healed (for what was answered 202)
    {"op": "fault", "t_send", "t_recv", "what"} for the reader

`status` 0 is a request without an answer, 299 one that was served as somebody else.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = Mapping[str, Any]
NEVER = float("inf")
RECOVERY_SECONDS = 2.0
"""What was answered 202 is in force on other hosts so long after the store is back."""
_ROUNDING = 1e-6


@dataclass
class Verdict:
    """The result. Counts of tokens: acked, false_ack. Counts of requests: the others."""

    acked: int = 0
    pending: int = 0
    lost: int = 0
    unrevoked: int = 0
    false_ack: int = 0
    false_401: int = 0
    unexpected: int = 0
    checks: int = 0
    unavailable: int = 0
    logouts: int = 0
    refused_logouts: int = 0
    unswept: int = 0
    worst_staleness: float = 0.0
    longest_gap: float = 0.0
    logout_seconds: list[float] = field(default_factory=list, repr=False)
    slowest_check: float = 0.0
    violations: list[tuple[float, str]] = field(default_factory=list, repr=False)

    @property
    def clean(self) -> bool:
        """Was every promise kept?"""
        return not (self.lost or self.unrevoked or self.false_ack or self.false_401 or self.unexpected)

    @property
    def first_violation(self) -> str:
        """What happened first."""
        return min(self.violations)[1] if self.violations else ""

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the acknowledged logouts was answered."""
        ordered = sorted(self.logout_seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


@dataclass
class _Token:
    """What is known of one token. `done`: when a 200 was read. `pending`: when a 202 was, by host."""

    born: float = 0.0
    first_try: float = NEVER
    done: float = NEVER
    pending: dict[str, float] = field(default_factory=dict)


def judge(history: Iterable[Event], *, bound: float = 0.0) -> Verdict:
    """The verdict on a history. `bound`: LOGOUT_MAX_STALENESS, 0 in the strict profile."""
    events = sorted(history, key=lambda event: event["t_send"])
    verdict = Verdict()
    tokens = _logouts(events, verdict)
    adoptions = [event for event in events if event["op"] == "adopt"]
    away = _outages(events)
    broken_promises: set[str] = set()
    refused: dict[tuple[str, str], float] = {}

    for event in events:
        if event["op"] not in ("check", "sweep"):
            continue
        token, sent, status = tokens[event["token"]], event["t_send"], event["status"]
        if event["op"] == "check":
            verdict.checks += 1
            verdict.slowest_check = max(verdict.slowest_check, event["t_recv"] - sent)
        if status == 200:
            in_force = _in_force(token, event["host"], away)
            if sent > in_force:
                verdict.worst_staleness = max(verdict.worst_staleness, sent - in_force)
            if sent > in_force + bound + _ROUNDING:
                verdict.lost += event["op"] == "check"
                if event["op"] == "sweep":
                    broken_promises.add(event["token"])
                kind = "lost" if event["op"] == "check" else "false_ack"
                _note(verdict, event, f"{kind}: accepted {sent - in_force:.3f} s after its logout was acknowledged")
            refused_at = refused.get((event["worker"], event["token"]), NEVER)
            if sent > refused_at:
                verdict.unrevoked += 1
                never = "" if in_force < NEVER else ", though its logout was never acknowledged"
                _note(verdict, event, f"unrevoked: refused {sent - refused_at:.3f} s before by this worker{never}")
        elif status == 401:
            place = event["worker"], event["token"]
            refused[place] = min(refused.get(place, NEVER), event["t_recv"])
            adopted = any(each["t_send"] < event["t_recv"] and token.born < each["t_recv"] for each in adoptions)
            if event["t_recv"] < token.first_try and not adopted:
                verdict.false_401 += 1
                _note(verdict, event, "false_401: refused, and nobody had logged it out")
        elif status in (0, 503):
            verdict.unavailable += event["op"] == "check"
        else:
            verdict.unexpected += 1
            _note(verdict, event, f"unexpected: status {status}")
    verdict.false_ack = len(broken_promises)
    return verdict


def _logouts(events: Sequence[Event], verdict: Verdict) -> dict[str, _Token]:
    tokens: dict[str, _Token] = defaultdict(_Token)
    acknowledged = []
    for event in events:
        if event["op"] == "login":
            tokens[event["token"]].born = event["t_send"]
        if event["op"] != "logout":
            continue
        status = event["status"]
        for name in event["tokens"]:
            token = tokens[name]
            token.first_try = min(token.first_try, event["t_send"])
            if status == 200:
                token.done = min(token.done, event["t_recv"])
            elif status == 202:
                token.pending[event["host"]] = min(token.pending.get(event["host"], NEVER), event["t_recv"])
        verdict.logouts += 1
        if status in (200, 202):
            acknowledged.append(event["t_recv"])
            verdict.logout_seconds.append(event["t_recv"] - event["t_send"])
        else:
            verdict.refused_logouts += 1
            if status not in (0, 503):
                verdict.unexpected += 1
                _note(verdict, {**event, "token": event["tokens"][0]}, f"unexpected: a logout answered {status}")
    verdict.acked = sum(token.done < NEVER for token in tokens.values())
    verdict.pending = sum(bool(token.pending) for token in tokens.values())
    acknowledged.sort()
    gaps = [later - earlier for earlier, later in itertools.pairwise(acknowledged)]
    verdict.longest_gap = max(gaps, default=0.0)
    return tokens


def _outages(events: Sequence[Event]) -> list[tuple[float, float]]:
    """When the store was away: from, to."""
    found: list[tuple[float, float]] = []
    for event in events:
        if event["op"] == "away" and (not found or found[-1][1] < NEVER):
            found.append((event["t_send"], NEVER))
        elif event["op"] == "back" and found:
            found[-1] = (found[-1][0], event["t_recv"])
    return found


def _in_force(token: _Token, host: str, away: Sequence[tuple[float, float]]) -> float:
    """From when on nobody may be served with this token on this host."""
    moments = [token.done]
    for where, when in token.pending.items():
        if where == host:
            moments.append(when)
        else:
            back = max((end for start, end in away if start <= when), default=when)
            moments.append(max(when, back) + RECOVERY_SECONDS)
    return min(moments)


def _note(verdict: Verdict, event: Event, what: str) -> None:
    where = f"{event['worker']} at {event['t_send']:.3f} s, token {event['token']}"
    verdict.violations.append((event["t_send"], f"{what} ({where})"))


def read(path: Path) -> Iterator[Event]:
    """The events of a saved history."""
    with path.open() as lines:
        yield from map(json.loads, lines)
