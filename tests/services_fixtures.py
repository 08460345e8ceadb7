"""One server of each kind for a whole test run. A test that kills, pauses or fills its server starts its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from . import services


def _served(start: Callable[[], contextlib.AbstractContextManager[Any]]) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(start())
        except services.Missing as missing:
            pytest.skip(str(missing))
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[services.Redis]:
    """A Redis that fsyncs every write."""
    yield from _served(services.redis)


@pytest.fixture(scope="session")
def sentinel_servers() -> Iterator[services.Sentinels]:
    """A primary, two replicas, three Sentinels."""
    yield from _served(services.sentinel)


@pytest.fixture(scope="session")
def cluster_servers() -> Iterator[services.Cluster]:
    """Three shards with a replica each."""
    yield from _served(services.cluster)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[services.Postgres]:
    """A PostgreSQL with an empty database."""
    yield from _served(services.postgres)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[services.MariaDb]:
    """A MariaDB with an empty database."""
    yield from _served(services.mariadb)
