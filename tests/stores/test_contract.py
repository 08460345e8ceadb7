"""Every store of the package against the contract that users can run on theirs."""

from __future__ import annotations

from pathlib import Path

from logout_middleware.stores import Store
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.stores.sqlite import SqliteStore
from logout_middleware.testing import MovableClock, StoreContract


class TestMemory(StoreContract):
    """The memory store."""

    shared = False

    def open_store(self, place: Path, clock: MovableClock) -> Store:
        return MemoryStore(clock)


class TestSqlite(StoreContract):
    """The embedded store."""

    def open_store(self, place: Path, clock: MovableClock) -> Store:
        return SqliteStore(place / "logout.db", clock=clock)
