"""What Redis servers promise, for the operator: each of them is asked, and what is unsafe is named with the remedy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from ..rules.redis_url import Address
from .redis_lines import Command

if TYPE_CHECKING:
    from .redis import RedisStore

_CLOCK_SECONDS = 1.0
_CONFIG = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "min-replicas-to-write")
_COMMANDS: Sequence[Command] = (
    ("TIME",), ("INFO", "server"), ("INFO", "replication"), *(("CONFIG", "GET", name) for name in _CONFIG),
)  # fmt: skip
_Facts = dict[str, str]


async def checked(store: RedisStore, until: float, clock: Callable[[], float]) -> dict[str, str]:
    """One text for each topic; of several servers the worst."""
    addresses = await store.nodes.everyone(until)
    began, asked = clock(), time.monotonic()
    servers: dict[Address, _Facts] = {}
    found = await store.nodes.lines.here().exchange(dict.fromkeys(addresses, _COMMANDS), until)
    # The server read its clock somewhere in between.
    half = (time.monotonic() - asked) / 2
    away = [str(address) for address, answers in found.items() if type(answers) is not list]
    for address, answers in found.items():
        if type(answers) is list:
            servers[address] = _facts(answers)
    masters = {address: facts for address, facts in servers.items() if facts.get("role") == "master"}
    topics: list[tuple[str, Callable[[_Facts], str]]] = [
        ("eviction", _eviction),
        ("durability", lambda facts: _durability(facts, store.wait_for_replicas)),
        ("clock", lambda facts: _clock(facts, began + half)),
    ]
    told = {"store": f"redis {store.name}", "servers": _versions(servers, away)}
    for topic, say in topics:
        told[topic] = _worst({address: say(facts) for address, facts in servers.items()})
    told["replication"] = _worst(
        {
            # The masters of a Cluster that are cut off stop by themselves.
            address: _replication(facts, store.wait_for_replicas, stops=store.nodes.cluster)
            for address, facts in masters.items()
        }
    )
    told["revocations"] = str(await store.count())
    return told


def _facts(answers: Sequence[Any]) -> _Facts:
    facts: _Facts = {}
    for answer in answers:
        if isinstance(answer, ResponseError):
            continue
        if type(answer) is bytes:
            pairs = [line.partition(":") for line in answer.decode("utf-8", "replace").splitlines()]
            facts.update((name, value) for name, colon, value in pairs if colon)
        elif len(answer) == 2:
            first, second = (item.decode("utf-8", "replace") for item in answer)
            if first.isdigit():
                facts["time"] = str(int(first) + int(second) / 1e6)
            else:
                facts[f"config {first}"] = second
    return facts


def _versions(servers: dict[Address, _Facts], away: Sequence[str]) -> str:
    named = [
        f"{address} {facts.get('role', '?')} {facts.get('redis_version', '?')}" for address, facts in servers.items()
    ]
    return ", ".join(named) + (f"; not reachable: {', '.join(away)}" if away else "")


def _worst(texts: dict[Address, str]) -> str:
    """One text where all say the same, else each with its server; UNSAFE first."""
    unsafe = {address: text for address, text in texts.items() if text.startswith("UNSAFE: ")}
    chosen = unsafe or texts
    said = list(dict.fromkeys(chosen.values()))
    if len(said) <= 1 and len(chosen) == len(texts):
        return said[0] if said else "unknown: no server told"
    joined = "; ".join(f"{address}: {text.removeprefix('UNSAFE: ')}" for address, text in chosen.items())
    return f"UNSAFE: {joined}" if unsafe else joined


def _eviction(facts: _Facts) -> str:
    policy, limit = facts.get("config maxmemory-policy"), facts.get("config maxmemory")
    if policy is None or limit is None:
        return "unknown: CONFIG GET is not allowed; make sure that maxmemory-policy is noeviction"
    if policy == "noeviction":
        return "none (maxmemory-policy noeviction)"
    if limit == "0":
        return f"maxmemory-policy {policy}, harmless as long as no maxmemory is set; noeviction is safe in any case"
    return (
        f"UNSAFE: maxmemory-policy is {policy}, and at {limit} bytes it drops logouts that are still needed; "
        "set maxmemory-policy noeviction"
    )


def _durability(facts: _Facts, wanted: int) -> str:
    appends, sync = facts.get("config appendonly"), facts.get("config appendfsync")
    if appends is None or sync is None:
        return "unknown: CONFIG GET is not allowed; make sure of appendonly yes and appendfsync always"
    if appends != "yes":
        return "UNSAFE: appendonly is off, and a server that restarts has lost logouts; set appendonly yes"
    if sync == "always":
        return "fsync before every acknowledgement (appendfsync always)"
    if wanted:
        return f"appendfsync {sync}; {wanted} replicas have it before every acknowledgement (LOGOUT_REDIS_WAIT)"
    return (
        f"UNSAFE: appendfsync is {sync}, and a host that loses power has lost up to seconds of logouts; set "
        "appendfsync always, or LOGOUT_REDIS_WAIT with replicas on other hosts"
    )


def _replication(facts: _Facts, wanted: int, *, stops: bool) -> str:
    connected, least = facts.get("connected_slaves"), facts.get("config min-replicas-to-write")
    if connected is None:
        return "unknown: INFO replication is not allowed"
    text = f"{connected} replicas, LOGOUT_REDIS_WAIT={wanted}, min-replicas-to-write {least or 'unknown'}"
    if wanted > int(connected):
        return f"UNSAFE: {text}: no logout can be acknowledged; start more replicas, or lower LOGOUT_REDIS_WAIT"
    if int(connected) and not wanted:
        return f"UNSAFE: {text}: a fail-over loses what no replica has yet; set LOGOUT_REDIS_WAIT={connected}"
    if int(connected) and least == "0" and not stops:
        return (
            f"UNSAFE: {text}: a master that was cut off and replaced still answers for the past; set "
            "min-replicas-to-write 1 and min-replicas-max-lag 1, and it stops within seconds"
        )
    return text


def _clock(facts: _Facts, here: float) -> str:
    if "time" not in facts:
        return "unknown: TIME is not allowed"
    offset = float(facts["time"]) - here
    if abs(offset) > _CLOCK_SECONDS:
        return f"UNSAFE: it is {offset:+.1f} s off this host's; keep both in step with NTP"
    return f"{offset:+.3f} s from this host's"
