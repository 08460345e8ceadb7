"""What is broken where, and what must come of it. `run` plays one scenario and judges it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests import services

from . import injuries
from .clients import Load
from .injuries import Injury
from .judge import RECOVERY_SECONDS, Verdict, judge
from .topology import Site, site

PEOPLE = 12
STRICT: Mapping[str, str] = {}
BOUNDED = {"LOGOUT_MAX_STALENESS": "1"}
HOSTS = ("127.0.1.1", "127.0.1.2", "127.0.1.3")
"""Of the nodes that are cut off from each other, in a network of our own."""


@dataclass(frozen=True)
class Scenario:
    """`broken`: built to lose logouts, and the checker must notice. `isolated`: in a network namespace."""

    name: str
    store: Callable[[], contextlib.AbstractContextManager[Any]]
    injuries: tuple[Injury, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    journal: bool = False
    through_proxy: bool = False
    isolated: bool = False
    broken: bool = False
    hosts: str = "aab"

    @property
    def bound(self) -> float:
        return float(self.settings.get("LOGOUT_MAX_STALENESS", 0))


@contextlib.contextmanager
def _sqlite() -> Iterator[Path]:
    with services.folder() as path:
        yield path / "logout.db"


@contextlib.contextmanager
def _memory() -> Iterator[str]:
    yield "memory://"


def _url(store: Any) -> str:
    if isinstance(store, Path):
        return f"sqlite:///{store}"
    return store if isinstance(store, str) else store.url


@contextlib.contextmanager
def _built(scenario: Scenario) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(scenario.store())
        proxy, urls = None, [_url(store)] * len(scenario.hosts)
        if scenario.isolated:
            urls[0] = services.Sentinels(store.nodes, store.sentinels[:1]).url
        if scenario.through_proxy:
            proxy = injuries.Proxy(services.HOST, store.port)
            stack.callback(proxy.close)
            urls[-1] = urls[-1].replace(f":{store.port}", f":{proxy.port}")
        workers = site(store, urls, settings=scenario.settings, journal=scenario.journal, hosts=scenario.hosts)
        built = stack.enter_context(workers)
        built.proxy = proxy
        yield built


async def _play(built: Site, scenario: Scenario, seconds: float, seed: int) -> int:
    """Load and injuries, then heal and restart everything, then ask for every dead token everywhere."""
    load, chance = Load(built, seed), random.Random(seed)
    async with load.running(PEOPLE):
        slot = seconds / (len(scenario.injuries) or 1)
        for number, injure in enumerate(scenario.injuries):
            await asyncio.sleep(max(0.2, slot * (number + chance.uniform(0.1, 0.3)) - built.now()))
            await injure(built, chance)
        await asyncio.sleep(max(1.0, seconds - built.now()))
    if scenario.broken:
        return 0
    if scenario.journal:
        await asyncio.sleep(RECOVERY_SECONDS)
    if hasattr(built.store, "restart"):
        await built.do("kill -9 for the store, and start", built.store.restart)
    await built.do("kill -9 for the workers, and start", built.restart_workers)
    return await load.sweep()


def run(scenario: Scenario, *, seconds: float, seed: int, save: Path | None = None) -> Verdict:
    """Play a scenario and judge it. `services.Missing` if a server is not installed."""
    with _built(scenario) as built:
        unknown = asyncio.run(_play(built, scenario, seconds, seed))
        if save is not None:
            built.save(save)
        verdict = judge(built.history, bound=scenario.bound)
        verdict.unswept = unknown
        return verdict


# ---- the table ---------------------------------------------------------------------------------------

_sentinel = partial(services.sentinel, hosts=HOSTS)
_ALL_REPLICAS = {"LOGOUT_REDIS_WAIT": "2"}
_ONE_REPLICA = {"LOGOUT_REDIS_WAIT": "1"}
_UNSAFE = {"LOGOUT_ALLOW_UNSAFE_STORE": "true"}
_NO_EPOCH = {"FAULTS_DOUBLE": "no-epoch", **_UNSAFE}
_FORGETFUL_REDIS = partial(services.redis, appendonly="no")
_FULL_REDIS = partial(services.redis, maxmemory="2200kb", maxmemory_policy="allkeys-lru")


def _all() -> Iterator[Scenario]:
    i = injuries
    for name, injured in {
        "nothing": (), "workers killed": (i.kill_worker, i.kill_all_workers, i.kill_worker),
        "clock": (i.move_clock,), "locked": (i.lock_sqlite,), "old copy": (i.restore_old_copy,),
    }.items():  # fmt: skip
        yield Scenario(f"sqlite, {name}", _sqlite, injured, hosts="aaa")
    yield Scenario("sqlite, locked, journal", _sqlite, (i.lock_sqlite, i.kill_worker), journal=True, hosts="aaa")
    single = {
        "nothing": (), "kill -9": (i.kill_store,) * 3, "hang": (i.hang_store,) * 2, "restart": (i.restart_store,) * 3,
        "workers killed": (i.kill_worker, i.kill_all_workers), "clock": (i.move_clock,), "flush": (i.flush,),
        "old copy": (i.restore_old_copy,), "feed cut": (i.cut_feed,) * 2, "network cut": (i.cut_off_last_worker,),
    }  # fmt: skip
    for kind, store in {"postgresql": services.postgres, "redis": services.redis}.items():
        for name, injured in {**single, **({"memory full": (i.fill_redis,)} if kind == "redis" else {})}.items():
            proxied = name == "network cut"
            yield Scenario(f"{kind}, {name}", store, injured, through_proxy=proxied)
            if name not in ("nothing", "clock", "restart"):
                yield Scenario(f"{kind}, {name}, 1 s", store, injured, BOUNDED, through_proxy=proxied)
        mixed = (i.kill_store, i.hang_store, i.kill_worker)
        for profile, settings in {"journal": STRICT, "journal, 1 s": BOUNDED}.items():
            yield Scenario(f"{kind}, kill -9 and hang, {profile}", store, mixed, settings, journal=True)
            yield Scenario(
                f"{kind}, network cut, {profile}", store, (i.cut_off_last_worker,), settings, journal=True,
                through_proxy=True,
            )  # fmt: skip
    for profile, settings in {"": STRICT, ", 1 s": BOUNDED}.items():
        for name, injured in {"kill -9": (i.kill_store,), "hang": (i.hang_store,), "flush": (i.flush,)}.items():
            yield Scenario(f"sentinel, {name}{profile}", services.sentinel, injured, {**settings, **_ALL_REPLICAS})
            yield Scenario(f"cluster, {name}{profile}", services.cluster, injured, {**settings, **_ONE_REPLICA})
        yield Scenario(
            f"sentinel, split brain{profile}", _sentinel, (i.split_brain,), {**settings, **_ALL_REPLICAS}, isolated=True
        )
        yield Scenario(
            f"sentinel, kill -9{profile}, journal", services.sentinel, (i.kill_store,), {**settings, **_ALL_REPLICAS},
            journal=True,
        )  # fmt: skip
    yield Scenario("cluster, memory full", services.cluster, (i.fill_redis,), _ONE_REPLICA)
    yield Scenario("cluster, workers killed", services.cluster, (i.kill_worker, i.kill_all_workers), _ONE_REPLICA)

    def broken(name: str, *what: Any, **more: Any) -> Scenario:
        return Scenario(f"broken: {name}", *what, broken=True, **more)

    yield broken("memory, 3 workers", _memory, (), _UNSAFE)
    yield broken("no append-only file", _FORGETFUL_REDIS, (i.restart_store,) * 2, _NO_EPOCH)
    yield broken("fail open, hang", services.redis, (i.hang_store,) * 2, {"LOGOUT_FAIL_MODE": "open"})
    yield broken("flush, no epoch", services.redis, (i.flush,), _NO_EPOCH)
    yield broken("eviction", _FULL_REDIS, (i.fill_redis,), _NO_EPOCH)
    yield broken("1 s cache, bound 0", services.redis, (), {"FAULTS_DOUBLE": "cache"})
    yield broken("split brain, WAIT 0", _sentinel, (i.split_brain,), _NO_EPOCH, isolated=True)
    yield broken("split brain, WAIT 1", _sentinel, (i.split_brain,), {**_NO_EPOCH, **_ONE_REPLICA}, isolated=True)


SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _all()}
