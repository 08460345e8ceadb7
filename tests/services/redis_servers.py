"""Redis: single, under Sentinels, and as a Cluster."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .process import HOST, Process, binary, folder, free_port, running, until

SERVICE = "logout"
"""The name under which the Sentinels know the primary."""
_AOF = {"save": "", "appendonly": "yes", "appendfsync": "always", "repl-diskless-sync-delay": 0}


class Redis(Process):
    """One redis-server. `call` asks it anything, over a connection of its own."""

    def __init__(self, folder: Path, conf: dict[str, Any], *, host: str = HOST, program: str = "redis-server") -> None:
        self.host, self.port = host, free_port()
        self.password = conf.get("requirepass") or None
        lines = {
            "bind": host,
            "port": self.port,
            "dir": folder,
            "protected-mode": "no",
            "enable-debug-command": "yes",
            **conf,
        }
        text = "".join(
            f"{name.replace('_', '-')} {value if value != '' else chr(34) * 2}\n" for name, value in lines.items()
        )
        self._conf = folder / f"{self.port}.conf"
        self._conf.write_text(text)
        super().__init__([binary(program), str(self._conf)], folder, self._answers)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{f':{self.password}@' if self.password else ''}{self.address}/0"

    def call(self, *command: Any, seconds: float = 2.0) -> Any:
        """The answer to one command; texts are decoded."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        with redis.Redis(
            self.host, self.port, password=self.password, socket_timeout=seconds, socket_connect_timeout=seconds,
            decode_responses=True, retry=Retry(NoBackoff(), 0),
        ) as client:  # fmt: skip
            return client.execute_command(*command)

    def _answers(self) -> bool:
        return bool(self.call("PING"))

    @property
    def is_primary(self) -> bool:
        return bool(self.call("ROLE")[0] == "master")


@contextlib.contextmanager
def redis(host: str = HOST, **conf: Any) -> Iterator[Redis]:
    """A Redis that loses nothing, unless `conf` (with _ for -) says otherwise."""
    with folder() as path:
        server = Redis(path, {**_AOF, **conf}, host=host)
        with running(server):
            yield server


def _synced(node: Redis) -> bool:
    """A primary, or a replica that has caught up."""
    role = node.call("ROLE")
    return bool(role[0] == "master" or role[3] == "connected")


class Group:
    """Several Redis processes that are one store. `kill`, `pause` and `resume` hit whoever is primary now."""

    nodes: list[Redis]
    url: str
    shards = 1

    @property
    def primaries(self) -> list[Redis]:
        return [node for node in self.nodes if node.running and _is_primary(node)]

    @property
    def primary(self) -> Redis:
        """A node that takes writes (of several, the first)."""
        return self.primaries[0]

    @property
    def replicas(self) -> list[Redis]:
        return [node for node in self.nodes if node.running and node not in self.primaries]

    def kill(self) -> None:
        self.primary.kill()

    def pause(self) -> None:
        self._paused = self.primary
        self._paused.pause()

    def resume(self) -> None:
        self._paused.resume()

    def start(self) -> None:
        """Start what was killed, and wait until each shard has one primary, and all replicas have caught up."""
        for node in self.nodes:
            node.start()

        def whole() -> bool:
            return len(self.primaries) == self.shards and all(map(_synced, self.nodes))

        until(whole, "the replicas")

    def restart(self) -> None:
        """Kill -9 for every node, and start them again."""
        for node in self.nodes:
            node.kill()
        self.start()


def _is_primary(node: Redis) -> bool:
    with contextlib.suppress(Exception):
        return node.is_primary
    return False


def _named(sentinel: Redis) -> tuple[str, int]:
    """Whom a Sentinel takes for the primary."""
    host, port = sentinel.call("SENTINEL", "get-master-addr-by-name", SERVICE)
    return host, int(port)


class Sentinels(Group):
    """A primary, its replicas, and Sentinels that watch them."""

    def __init__(self, nodes: list[Redis], sentinels: list[Redis]) -> None:
        self.nodes, self.sentinels = nodes, sentinels
        self.url = f"redis+sentinel://{','.join(each.address for each in sentinels)}/{SERVICE}/0"

    @property
    def primary(self) -> Redis:
        """Whom the Sentinels name."""
        named = _named(self.sentinels[0])
        return next(node for node in self.nodes if (node.host, node.port) == named)

    def elected_without(self, old: Redis) -> bool:
        """Have those Sentinels that do not share a host with `old` made another node the primary?"""
        named = {_named(each) for each in self.sentinels if each.host != old.host}
        return named.isdisjoint({(old.host, old.port)}) and len(named) == 1

    def wait_for_failover(self, old: Redis) -> None:
        """Return once all Sentinels name another primary, and it is one."""

        def agreed() -> bool:
            named = {_named(each) for each in self.sentinels}
            return len(named) == 1 and self.primary is not old and self.primary.is_primary

        until(agreed, "the fail-over")


@contextlib.contextmanager
def sentinel(
    replicas: int = 2, sentinels: int = 3, hosts: Sequence[str] = (HOST,) * 8, **conf: Any
) -> Iterator[Sentinels]:
    """A primary with replicas under Sentinels that know each other from the start. `hosts`: one per node."""
    with contextlib.ExitStack() as stack:
        nodes: list[Redis] = []
        for host in hosts[: replicas + 1]:
            follow = {"replicaof": f"{nodes[0].host} {nodes[0].port}"} if nodes else {}
            own = {"bind-source-addr": host} if host != HOST else {}
            nodes.append(Redis(stack.enter_context(folder()), {**_AOF, **own, **follow, **conf}, host=host))
        stack.enter_context(running(*nodes))
        until(lambda: all(_synced(node) for node in nodes), "the replicas")
        watchers = [
            Redis(
                stack.enter_context(folder()),
                {"bind-source-addr": host} if host != HOST else {},
                host=host,
                program="redis-sentinel",
            )
            for host in hosts[:sentinels]
        ]
        ids = [f"{random.getrandbits(160):040x}" for _ in watchers]
        for watcher, own_id in zip(watchers, ids, strict=True):
            lines = [
                f"sentinel myid {own_id}",
                f"sentinel monitor {SERVICE} {nodes[0].host} {nodes[0].port} {sentinels // 2 + 1}",
                f"sentinel down-after-milliseconds {SERVICE} 1000", f"sentinel failover-timeout {SERVICE} 3000",
                f"sentinel parallel-syncs {SERVICE} {replicas}",
                *(f"sentinel known-replica {SERVICE} {node.host} {node.port}" for node in nodes[1:]),
                *(
                    f"sentinel known-sentinel {SERVICE} {other.host} {other.port} {other_id}"
                    for other, other_id in zip(watchers, ids, strict=True) if other is not watcher
                ),
            ]  # fmt: skip
            with watcher._conf.open("a") as file:
                file.write("\n".join(lines) + "\n")
        stack.enter_context(running(*watchers))
        until(lambda: all("OK" in each.call("SENTINEL", "ckquorum", SERVICE) for each in watchers), "the Sentinels")
        with contextlib.suppress(Exception):  # Redis 7: a primary that comes back is made a replica sooner
            for each in watchers:
                each.call("SENTINEL", "DEBUG", "publish-period", 500, "info-period", 1000)
        yield Sentinels(nodes, watchers)


class Cluster(Group):
    """A Redis Cluster."""

    def __init__(self, nodes: list[Redis], shards: int) -> None:
        self.nodes, self.shards = nodes, shards
        self.url = f"redis+cluster://{','.join(node.address for node in nodes[:3])}"

    def wait_until_whole(self) -> None:
        """Return once every shard has a running primary, and every running node says that all slots are served."""

        def whole() -> bool:
            states = [_text(node.call("CLUSTER", "INFO")) for node in self.nodes if node.running]
            return len(self.primaries) == self.shards and all("cluster_state:ok" in state for state in states)

        until(whole, "the Cluster")


def _text(answer: Any) -> str:
    return answer if isinstance(answer, str) else "\n".join(f"{name}:{value}" for name, value in dict(answer).items())


@contextlib.contextmanager
def cluster(primaries: int = 3, replicas_each: int = 1, **conf: Any) -> Iterator[Cluster]:
    """A Redis Cluster. Its nodes start with the finished table of slots, so that it is up at once."""
    with contextlib.ExitStack() as stack:
        settings = {
            **_AOF,
            "cluster-enabled": "yes",
            "cluster-node-timeout": 1000,
            "cluster-replica-validity-factor": 0,
        }
        nodes, ids, buses = [], [], []
        for _ in range(primaries * (1 + replicas_each)):
            buses.append(free_port())
            nodes.append(Redis(stack.enter_context(folder()), {**settings, "cluster-port": buses[-1], **conf}))
            ids.append(f"{random.getrandbits(160):040x}")
        for own, node in enumerate(nodes):
            rows = []
            for place, each in enumerate(nodes):
                shard, flags = place % primaries, "myself," if place == own else ""
                first, last = shard * 16384 // primaries, (shard + 1) * 16384 // primaries - 1
                role = f"{flags}master -" if place < primaries else f"{flags}slave {ids[shard]}"
                slots = f" {first}-{last}" if place < primaries else ""
                rows.append(f"{ids[place]} {each.address}@{buses[place]} {role} 0 0 {shard + 1} connected{slots}\n")
            (node.folder / "nodes.conf").write_text("".join(rows) + f"vars currentEpoch {primaries} lastVoteEpoch 0\n")
        stack.enter_context(running(*nodes))
        found = Cluster(nodes, primaries)
        until(
            lambda: all(_synced(node) for node in nodes) and len(found.replicas) == primaries * replicas_each,
            "the replicas",
        )
        found.wait_until_whole()
        yield found
