"""Every store of the package against the contract that users can run on theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.stores import Store
from logout_middleware.stores.compact import COMPACT_ABOVE
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.stores.redis import RedisStore
from logout_middleware.stores.replica import Replica
from logout_middleware.stores.sql import SqlStore
from logout_middleware.stores.sqlite import SqliteStore
from logout_middleware.testing import MovableClock, StoreContract
from tests.stores.test_replica import NOBODY, Wire, until

from .. import services


class TestMemory(StoreContract):
    """The memory store."""

    shared = False

    def open_store(self, place: Path, clock: MovableClock, *, blocking: bool) -> Store:
        return MemoryStore(clock)


class TestSqlite(StoreContract):
    """The embedded store."""

    def open_store(self, place: Path, clock: MovableClock, *, blocking: bool) -> Store:
        return SqliteStore(place / "logout.db", clock=clock)


class TestReplica(StoreContract):
    """Answers from memory all the time; that it is young enough is what test_replica is about."""

    shared = False
    compact_above = COMPACT_ABOVE

    def open_store(self, place: Path, clock: MovableClock, *, blocking: bool) -> Store:
        store = MemoryStore(clock)
        replica = Replica(
            store, lambda: Wire(store), max_staleness=3600.0, run_blocking=run_blocking, clock=clock,
            compact_above=self.compact_above,
        )  # fmt: skip
        run_blocking(replica.find([NOBODY]))
        until(lambda: replica.version() is not None)
        return replica


class TestCompactReplica(TestReplica):
    """The same, where only fingerprints are held."""

    compact_above = 0


class _SqlContract(StoreContract):
    url: str

    def open_store(self, place: Path, clock: MovableClock, *, blocking: bool) -> Store:
        return SqlStore(self.url, prefix=f"{place.name}:", clock=clock, deadline=2.0)


class TestPostgresql(_SqlContract):
    """PostgreSQL through psycopg."""

    @pytest.fixture(autouse=True)
    def _served(self, postgres_server: services.Postgres) -> None:
        self.url = postgres_server.url


class TestMariaDb(_SqlContract):
    """MariaDB through PyMySQL."""

    @pytest.fixture(autouse=True)
    def _served(self, mariadb_server: services.MariaDb) -> None:
        self.url = mariadb_server.url


class _RedisContract(StoreContract):
    url: str
    wait_for_replicas = 0

    def open_store(self, place: Path, clock: MovableClock, *, blocking: bool) -> Store:
        return RedisStore(
            self.url, prefix=f"{place.name}:", clock=clock, blocking=blocking, deadline=2.0,
            wait_for_replicas=self.wait_for_replicas,
        )  # fmt: skip


class TestRedis(_RedisContract):
    """One Redis server."""

    @pytest.fixture(autouse=True)
    def _served(self, redis_server: services.Redis) -> None:
        self.url = redis_server.url


class TestRedisSentinel(_RedisContract):
    """The master that Sentinels name, with two replicas that confirm everything."""

    wait_for_replicas = 2

    @pytest.fixture(autouse=True)
    def _served(self, sentinel_servers: services.Sentinels) -> None:
        self.url = sentinel_servers.url


class TestRedisCluster(_RedisContract):
    """A Redis Cluster of three shards."""

    @pytest.fixture(autouse=True)
    def _served(self, cluster_servers: services.Cluster) -> None:
        self.url = cluster_servers.url
