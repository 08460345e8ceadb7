"""What the guard makes of a journal whose store is away: 401 for whom the journal knows, of others nothing is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.stores.journal import Courier, Journal
from logout_middleware.testing import FlakyStore

from ..test_guard import Site, bearer


def guarded_by(journal: Journal, site: Site) -> None:
    """Put the journal between the guard and its store."""
    parts = site.logout if site.kind == "asgi" else site.logout.inner
    parts.guard.store, parts.guard._version, parts.logouts.store = journal, journal.version, journal


@pytest.fixture(params=["closed", "open"])
def site(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Iterator[Site]:
    made = Site(kind, fail_mode=request.param)
    journal = Journal(
        made.store, tmp_path / "journal.db", open_store=lambda: FlakyStore(made.store.inner), run_blocking=run_blocking,
        clock=made.clock,
    )  # fmt: skip
    guarded_by(journal, made)
    made.open = request.param == "open"  # type: ignore[attr-defined]
    yield made
    journal._stop()
    run_blocking(journal._outbox.rows.close())


@pytest.fixture(params=["asgi", "wsgi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_the_journal_took_is_refused_while_the_store_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 on this host at once, failing open or closed; of others nothing is known."""
    monkeypatch.setattr(Courier, "_deliver", lambda courier: None)
    dead, other = site.token(jti="dead", sid="s1"), site.token(jti="other", sid="s2")
    known_before, seen = site.token(jti="seen", sid="s3"), site.token(jti="gone", sid="s4")
    assert site.ask(**bearer(known_before))[0] == site.ask(**bearer(seen))[0] == 200
    site.store.broken = True

    site.revoke(dead)
    site.revoke(seen)

    assert [site.ask(**bearer(token))[0] for token in (dead, seen)] == [401, 401]
    unknown = 200 if site.open else 503  # type: ignore[attr-defined]
    assert [site.ask(**bearer(token))[0] for token in (other, known_before)] == [unknown, unknown]


def test_a_dead_cookie_says_nothing_of_the_token_beside_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cookie is taken out; whether the token may pass nobody knows."""
    monkeypatch.setattr(Courier, "_deliver", lambda courier: None)
    dead, revoked_before = site.token(jti="dead", sid="s1"), site.token(jti="b", sid="s2")
    site.revoke(revoked_before)
    site.store.broken = True
    site.revoke(dead)

    status, headers, said = site.ask(cookie=f"session={dead}", **bearer(revoked_before))

    if site.open:  # type: ignore[attr-defined]
        assert (status, said["cookies"]) == (200, {})
    else:
        assert status == 503
        assert "set-cookie" not in headers
    site.store.broken = False
    assert site.ask(cookie=f"session={dead}", **bearer(revoked_before))[0] == 401
