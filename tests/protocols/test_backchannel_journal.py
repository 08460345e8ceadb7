"""A provider's order while the store is away and there is a journal: durable on this host, and 200 for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.stores.journal import Courier, Journal
from logout_middleware.testing import FlakyStore, MovableClock
from tests.client import ALL, BuildSite, Site

from .op import CLIENT, Op, order


@pytest.fixture
def journal(rp: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    """A journal between the application and its store, which delivers when it is told to."""
    monkeypatch.setattr(Courier, "_deliver", lambda courier: None)
    made = Journal(
        rp.store, tmp_path / "journal.db", open_store=lambda: FlakyStore(rp.store.inner), run_blocking=run_blocking,
        clock=rp.clock,
    )  # fmt: skip
    parts: Any = getattr(rp.logout, "inner", rp.logout)
    parts.guard.store, parts.guard._version, parts.logouts.store = made, made.version, made
    parts.logouts.bindings.store = parts.logouts.marks.store = made
    parts.chores.stop()
    yield made
    made._stop()
    run_blocking(made._outbox.rows.close())


@pytest.fixture
def rp(site: BuildSite, op: Op) -> Site:
    """The application, client of one provider, whose keys it has."""
    return site(**op.settings(rate_limit="off", issuers={op.issuer: {"keys": op.keys, "client_id": CLIENT}}))


@pytest.mark.parametrize("names", ["sub", "sid", "both"])
def test_an_order_is_durable_in_the_journal_while_the_store_is_away(
    rp: Site, op: Op, journal: Journal, clock: MovableClock, names: str
) -> None:
    """200: it is kept through a restart, in force here at once, and repeated without effect."""
    alice = rp.login("alice")
    assert rp.alive(alice) == ALL
    clock.move(2.0)
    token = op.logout_token(**{"sub": {"sub": "alice"}, "sid": {"sid": alice.sid}}.get(
        names, {"sub": "alice", "sid": alice.sid}))  # fmt: skip
    rp.store.broken = True

    answers = [order(rp, token) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert rp.get("/me", token=alice.access).status == 401
    rp.store.broken = False
    assert rp.alive(alice) == set()


def test_a_store_that_is_back_in_the_middle_is_no_half_success(
    rp: Site, op: Op, journal: Journal, clock: MovableClock
) -> None:
    """What could not be looked up would be left out; so it is ordered again, and whole then."""
    alice = rp.login("alice")
    assert rp.alive(alice) == ALL
    bound = rp.issuer.mint("alice", sid="api-grant")
    assert rp.get("/me", token=bound, cookie=alice.cookie).status == 200
    token = op.logout_token("alice", alice.sid)
    genuine = rp.store._pass

    def away_for_facts(name: str) -> None:
        rp.store.broken = name == "facts"
        genuine(name)

    rp.store._pass = away_for_facts  # type: ignore[method-assign]
    first = order(rp, token)
    rp.store._pass = genuine  # type: ignore[method-assign]
    rp.store.broken = False

    assert first.status == 400
    assert order(rp, token).status == 200
    assert rp.alive(alice) == set()
    assert rp.me(token=bound) is None


def test_a_front_channel_logout_is_taken_by_the_journal_too(rp: Site, op: Op, journal: Journal) -> None:
    """The frame need not be loaded again."""
    alice = rp.login("alice")
    rp.store.broken = True

    answer = rp.get(f"/auth/frontchannel-logout?{urlencode({'iss': op.issuer, 'sid': alice.sid})}")

    rp.store.broken = False
    assert answer.status == 200
    assert rp.alive(alice) == set()
