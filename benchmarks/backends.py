"""The stores on real servers, for the suites that ask them; what is not installed is skipped by name."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from tests import services

from logout_middleware.colour import fitting, run_blocking
from logout_middleware.opening import open_stack
from logout_middleware.settings import LogoutSettings
from logout_middleware.stores import Store

from .pair import Result
from .stacks import random_revocations

SERVERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "PostgreSQL": services.postgres,
    "MariaDB": services.mariadb,
    "Redis": services.redis,
    "Redis Cluster": lambda: services.cluster(primaries=3, replicas_each=0),
}
_PAGE = 10_000


@contextlib.contextmanager
def running(names: Sequence[str], result: Result) -> Iterator[dict[str, Any]]:
    """By name, the servers that can be had here; the others are told to the result."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name in names:
            try:
                found[name] = stack.enter_context(SERVERS[name]())
            except services.Missing as missing:
                result.missing.append(f"{name}: {missing}")
        yield found


@contextlib.contextmanager
def sqlite() -> Iterator[str]:
    """The URL of a new database file."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/logout.db"


def opened(url: str, *, blocking: bool, **more: str) -> Store:
    """The store as the guard has it, with what belongs before it."""
    settings = LogoutSettings.load(
        environ={}, env_file=None, store=url, store_deadline="10s", allow_unsafe_store="true", **more
    )
    return fitting(open_stack(settings, blocking=blocking).store, blocking=blocking)


def fill(store: Store, count: int, first: int = 0) -> None:
    """Add so many revocations that hit nobody; `first` of them are there already."""
    for start in range(first, count, _PAGE):
        run_blocking(store.add(random_revocations(min(_PAGE, count - start), seed=start)))
