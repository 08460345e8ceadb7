"""Registered applications of the tests, and how they say who they are."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from logout_middleware import StoreError
from logout_middleware.colour import run_blocking
from logout_middleware.stores import Store
from logout_middleware.stores.journal import Journal
from logout_middleware.testing import FlakyStore
from tests.client import Site

SHOP, BANK = ("shop", "the secret of the shop"), ("bank", "the secret of the bank")
HASHED_SECRET = "a" * 43
CLIENTS: dict[str, dict[str, Any]] = {
    "shop": {"secret": SHOP[1], "feed": True},
    "bank": {"secret": BANK[1], "feed": True},
    "robot": {"secret": "sha256:" + hashlib.sha256(HASHED_SECRET.encode()).hexdigest()},
    "page": {"redirect_uris": ["https://page.example.com/bye"]},
}


def basic(name: str, secret: str, *, encoded: bool = True) -> dict[str, str]:
    """HTTP Basic as RFC 6749 2.3.1 wants it, or as it stands."""
    pair = f"{quote_plus(name)}:{quote_plus(secret)}" if encoded else f"{name}:{secret}"
    return {"Authorization": "Basic " + b64encode(pair.encode("utf-8")).decode("ascii")}


@contextmanager
def away_with_a_journal(http: Site, folder: Path) -> Iterator[None]:
    """The store is away, and a journal on this host takes what it cannot."""

    def open_store() -> Store:
        raise StoreError("the store is away")

    store = FlakyStore(http.store.inner)
    journal = Journal(store, folder / "journal.db", open_store=open_store, run_blocking=run_blocking, clock=http.clock)
    http.store.inner, store.broken = journal, True
    try:
        yield
    finally:
        http.store.inner = store.inner
        journal._stop()
        run_blocking(journal._outbox.rows.close())
