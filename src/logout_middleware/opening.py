"""From settings to the store that the guard asks: opened for this colour, and stacked.

    journal   keeps logouts on this host while the store is away      (LOGOUT_JOURNAL)
    replica   answers from memory, with a proof of its age            (LOGOUT_MAX_STALENESS)
    breaker   nobody waits in turn for a store that is away           (stores behind a network)
    store     SQLite, memory, Redis, PostgreSQL, MySQL                (LOGOUT_STORE)

Each is a `Store`, and asks the one below it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from .colour import call_here, call_in_thread, fitting, run_blocking
from .errors import ConfigurationError, StoreError
from .settings import LogoutSettings
from .stores import WRITE_DEADLINES, Store
from .stores.breaker import Breaker
from .values import REDIS_SCHEMES, SQL_SCHEMES

_log = logging.getLogger("logout_middleware")

Clock = Callable[[], float]


def open_store(
    settings: LogoutSettings, clock: Clock = time.time, *, blocking: bool = True, adopting: bool = False
) -> Store:
    """The store that LOGOUT_STORE names, alone; `adopting`: to adopt it. ConfigurationError if it cannot be used."""
    scheme = settings.store.partition(":")[0]
    if scheme in REDIS_SCHEMES:
        from .stores.redis import RedisStore

        return RedisStore(
            settings.store, prefix=settings.key_prefix, clock=clock, blocking=blocking,
            deadline=settings.store_deadline, wait_for_replicas=settings.redis_wait, adopting=adopting,
        )  # fmt: skip
    if scheme in SQL_SCHEMES:
        from .stores.sql import SqlStore

        return SqlStore(settings.store, prefix=settings.key_prefix, clock=clock, deadline=settings.store_deadline)
    if scheme == "memory":
        from .stores.memory import MemoryStore

        return MemoryStore(clock)
    from .stores.sqlite import SqliteStore

    return SqliteStore(
        settings.store.removeprefix("sqlite:///"), prefix=settings.key_prefix, clock=clock,
        write_seconds=WRITE_DEADLINES * settings.store_deadline,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stack:
    """The `store` that the guard asks, and how a thread opens one of its own that knows as much, at once: `watch`."""

    store: Store
    watch: Callable[[], Store]


def open_stack(settings: LogoutSettings, clock: Clock = time.time, *, blocking: bool) -> Stack:
    """The store of these settings with all that belongs before it, for this colour."""
    opened = open_store(settings, clock, blocking=blocking)
    networked = settings.store.partition(":")[0] in REDIS_SCHEMES + SQL_SCHEMES
    if not opened.durable:
        return Stack(opened, lambda: opened)
    memory = getattr(opened, "memory", None)

    def open_twin() -> Store:
        """The same store over connections of its own; what either knows of its past, both know."""
        twin = open_store(settings, clock)
        if memory is not None:
            twin.memory = memory  # type: ignore[attr-defined]  # whoever has one has the other
        return twin

    def journaled(store: Store, *, blocking: bool) -> Store:
        if settings.journal is None:
            return store
        from .stores.journal import Journal

        return Journal(
            store, settings.journal, open_store=open_twin, run_blocking=run_blocking,
            call=call_here if blocking else call_in_thread, memory=memory, clock=clock,
        )  # fmt: skip

    # SQLite alone needs nothing around it; the shells fit it to their colour.
    if not networked and not settings.journal:
        return Stack(opened, open_twin)
    store = fitting(opened, blocking=blocking, find_seconds=settings.store_deadline if networked else None)
    if networked:
        store = Breaker(store)
    if networked and settings.max_staleness:
        from .stores.replica import Replica

        store = Replica(
            store, open_twin, max_staleness=settings.max_staleness, run_blocking=run_blocking, clock=clock
        )  # fmt: skip
    return Stack(journaled(store, blocking=blocking), lambda: journaled(open_twin(), blocking=True))


def schema_of(settings: LogoutSettings) -> str:
    """The SQL that makes the tables of LOGOUT_STORE, for whoever may; the store itself is not asked."""
    scheme = settings.store.partition(":")[0]
    if scheme not in SQL_SCHEMES:
        return f"-- LOGOUT_STORE is {scheme}://, which needs no schema"
    from .stores.sql_schema import schema_ddl

    return schema_ddl(settings.store, settings.key_prefix)


def look_at(settings: LogoutSettings, advise: Callable[[str, str], None], clock: Clock = time.time) -> None:
    """Ask the store once, at start, what it promises, and tell the operator what is unsafe.

    ConfigurationError for a store that drops live records, unless LOGOUT_ALLOW_UNSAFE_STORE. A store that is away
    is no reason not to start: requests are answered 503 until it is there.
    """
    store = open_store(settings, clock)
    try:
        found = run_blocking(store.check())
    except StoreError as error:
        _log.error("the store cannot be asked at start, and requests with a login will be answered 503: %s", error)
        return
    finally:
        run_blocking(store.close())
    for topic, text in found.items():
        if not text.startswith("UNSAFE"):
            continue
        if topic == "eviction" and not settings.allow_unsafe_store:
            raise ConfigurationError(
                f"E310 LOGOUT_STORE: {text.removeprefix('UNSAFE: ')}; or set LOGOUT_ALLOW_UNSAFE_STORE=true"
            )
        if not settings.allow_unsafe_store:
            advise(f"unsafe-{topic}", f"the store can forget logouts. {topic}: {text.removeprefix('UNSAFE: ')}")
