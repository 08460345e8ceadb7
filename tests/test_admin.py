"""The admin endpoints: who may use them, what each order ends, and what they say of a store that is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.endpoints.limits import FAILURE_SECONDS, FAILURES
from logout_middleware.stores.health import health
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.stores.replica import Replica
from logout_middleware.testing import FlakyStore

from .client import ALL, Answer, BuildSite, Site
from .protocols.clients import away_with_a_journal
from .stores.test_replica import until

NEW, OLD = "n" * 32, "o" * 40
KEY = {"Authorization": f"Bearer {NEW}"}
REVOKE, EXPLAIN, HEALTH = "/auth/admin/revoke", "/auth/admin/explain", "/auth/admin/health"
EVERY_PATH = pytest.mark.parametrize(("method", "path"), [("POST", REVOKE), ("POST", EXPLAIN), ("GET", HEALTH)])


@pytest.fixture
def http(site: BuildSite) -> Site:
    """A site with two admin keys, as while one is replaced."""
    return site(admin_key=f"{NEW},{OLD}")


def order(http: Site, **body: Any) -> Answer:
    """Give an order with the right key."""
    return http.post(REVOKE, json=body, headers=KEY)


# ---- who may -----------------------------------------------------------------------------------------


@EVERY_PATH
@pytest.mark.parametrize(
    "field",
    [
        None, "Bearer", "Bearer ", f"Bearer {NEW[:-1]}", f"Bearer {NEW}x", f"Basic {NEW}", NEW, f"Bearer {NEW},{OLD}",
        f"Bearer {NEW.upper()}", "Bearer \xff",
    ],
)  # fmt: skip
def test_without_the_key_nobody_gets_anything(http: Site, method: str, path: str, field: str | None) -> None:
    """401 before the body is looked at; it is in the audit log."""
    headers = {} if field is None else {"Authorization": field}

    answer = http.request(method, path, json={"everyone": True} if method == "POST" else None, headers=headers)

    assert (answer.status, answer.json["success"], answer.json["error"]) == (401, False, "invalid_key")
    assert (answer.header("www-authenticate") or "").startswith("Bearer realm=")
    assert answer.header("cache-control") == "no-store"
    assert [event.outcome for event in http.told("operator_refused")] == ["refused"]
    assert http.count() == 0


@pytest.mark.parametrize("key", [NEW, OLD])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_either_key_works_while_one_is_replaced(http: Site, key: str, scheme: str) -> None:
    """LOGOUT_ADMIN_KEY=new,old."""
    assert http.get(HEALTH, headers={"Authorization": f"{scheme} {key}"}).status == 200


@EVERY_PATH
def test_a_key_over_plain_http_is_refused(site: BuildSite, method: str, path: str) -> None:
    """It has been read on the way; on the operator's own machine it has not."""
    http, own = site(admin_key=NEW, origin="http://app.example.com"), site(admin_key=NEW, origin="http://localhost")
    body = {"token": "x"} if method == "POST" else None

    assert http.request(method, path, json=body, headers=KEY).status == 400
    assert own.request(method, path, json=body, headers=KEY).status == 200


def test_who_guesses_keys_must_wait_and_the_right_key_need_not(http: Site) -> None:
    """Behind one proxy a stranger's guesses and the operator have one address, and a leaver must be logged out now."""
    wrong = {"Authorization": "Bearer wrong"}
    for _ in range(FAILURES):
        assert http.get(HEALTH, headers=wrong).status == 401

    guessed = http.get(HEALTH, headers=wrong)
    right = http.get(HEALTH, headers=KEY)
    nothing = http.get(HEALTH)
    elsewhere = http.get(HEALTH, headers=wrong, address="192.0.2.77")
    http.clock.move(FAILURE_SECONDS)
    later = http.get(HEALTH, headers=wrong)

    assert (guessed.status, guessed.header("retry-after")) == (429, str(int(FAILURE_SECONDS)))
    assert [right.status, nothing.status, elsewhere.status, later.status] == [200, 401, 401, 401]


def test_without_an_admin_key_there_are_no_such_paths(site: BuildSite) -> None:
    """They are the application's."""
    http = site()

    assert [http.post(REVOKE, headers=KEY).status, http.get(HEALTH, headers=KEY).status] == [404, 404]


def test_no_key_token_or_reason_of_an_attacker_is_logged(http: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a right key nor a wrong one."""
    token = http.issuer.mint("ann")
    with caplog.at_level(logging.DEBUG):
        http.post(REVOKE, json={"token": token}, headers={"Authorization": "Bearer a-guess-of-somebody"})
        order(http, token=token)
        http.post(EXPLAIN, json={"token": token}, headers=KEY)

    told = caplog.text + repr(http.events)
    assert "operator_refused" in told
    assert not [secret for secret in (NEW, OLD, "a-guess-of-somebody", *token.split(".")) if secret in told]


# ---- orders ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["token", "session", "user", "client", "everyone"])
def test_an_order_ends_what_it_names_and_nothing_else(http: Site, what: str) -> None:
    """The same as by Python or on the command line."""
    ann, bob = http.login("ann"), http.login("bob")
    other = http.login("ann")
    of_shop = http.issuer.mint("eve", client_id="shop")
    body = {"token": ann.refresh, "session": ann.sid, "user": "ann", "client": "shop", "everyone": True}[what]

    answer = order(http, **{what: body}, reason="an incident")

    assert (answer.status, answer.header("cache-control")) == (200, "no-store")
    assert answer.json == {"success": True, "status": "done", "revoked": what, "connections": 0}
    assert http.alive(ann) == (ALL if what == "client" else set())
    assert http.alive(other) == (set() if what in ("user", "everyone") else ALL)
    assert http.alive(bob) == (set() if what == "everyone" else ALL)
    assert http.me(token=of_shop) == (None if what in ("client", "everyone") else "eve")
    (event,) = http.told("logout")
    assert (event.reason, event.client_address, event.outcome) == ("an incident", "192.0.2.1", "done")


@pytest.mark.parametrize("as_list", [True, False])
def test_a_user_keeps_the_sessions_that_the_order_spares(http: Site, as_list: bool) -> None:
    """`keep`: one id, or a list."""
    kept, other = http.login("ann"), http.login("ann")

    order(http, user="ann", keep=[kept.sid] if as_list else kept.sid)

    assert http.alive(kept) == ALL
    assert http.alive(other) == set()


@pytest.mark.parametrize("what", [{"user": "ann"}, {"everyone": True}])
@pytest.mark.parametrize("as_text", [True, False])
def test_before_spares_what_was_issued_later(http: Site, what: dict[str, Any], as_text: bool) -> None:
    """Seconds since 1970, or a time with its zone."""
    early = http.issuer.mint("ann")
    http.clock.move(100)
    late = http.issuer.mint("ann")
    moment = http.clock() - 50
    text = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(moment))

    answer = order(http, **what, before=text if as_text else moment)

    assert answer.status == 200
    assert http.me(token=early) is None
    assert http.me(token=late) == "ann"


def test_an_issuer_says_whose_user_is_meant(http: Site) -> None:
    """A user of another issuer is somebody else."""
    ann = http.issuer.mint("ann")

    order(http, user="ann", issuer="https://other.example.com")

    assert http.me(token=ann) == "ann"


def test_a_user_id_may_be_a_number(http: Site) -> None:
    """Ids compare as text (contract 2)."""
    token = http.issuer.mint("42")

    order(http, user=42)

    assert http.me(token=token) is None


@pytest.mark.parametrize(
    "body",
    [
        {}, {"reason": "x"}, {"user": "ann", "session": "s"}, {"user": ""}, {"user": None}, {"user": True},
        {"user": ["ann"]},
        {"user": "ann", "keeps": ["s"]}, {"user": "ann", "keep": [""]}, {"user": "ann", "keep": [1.5]},
        {"user": "ann", "keep": {"s": 1}}, {"user": "ann", "before": "yesterday"}, {"user": "ann", "before": True},
        {"user": "ann", "before": -1}, {"user": "ann", "before": 10**400}, {"user": "ann", "before": float("nan")},
        {"user": "ann", "before": "2026-11-20T10:29:00"}, {"user": "ann", "before": None},
        {"user": "ann", "issuer": 5}, {"user": "ann", "reason": "!refresh"}, {"user": "ann", "reason": "!burnt"},
        {"user": "ann", "reason": "x" * 201},
        {"user": "ann", "reason": "a\nb"}, {"everyone": False}, {"everyone": 1}, {"everyone": "true"},
        {"token": "x", "keep": "s"}, {"session": "s", "before": 1}, {"client": "shop", "keep": "s"}, {"token": 5},
        {"token": "x", "issuer": "y"},
    ],
)  # fmt: skip
def test_an_order_that_is_not_exactly_understood_does_nothing(http: Site, body: dict[str, Any]) -> None:
    """A misspelt member could make it end too much."""
    answer = order(http, **body)

    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    assert http.count() == 0


def test_a_token_that_cannot_be_read_is_dead_already(http: Site) -> None:
    """As for a client, and as by Python: 200, and nothing is stored."""
    answer = order(http, token=http.issuer.mint("ann") + "=")

    assert (answer.status, answer.json["status"]) == (200, "done")
    assert http.count() == 0


@pytest.mark.parametrize("path", [REVOKE, EXPLAIN])
def test_only_a_json_object_is_read(http: Site, path: str) -> None:
    """No form, no list, no repeated member, nothing in the query."""
    kind = KEY | {"Content-Type": "application/json"}
    token = http.issuer.mint("ann")

    answers = [
        http.post(path, form={"token": token}, headers=KEY),
        http.post(path, body=b'["x"]', headers=kind),
        http.post(path, body=b'{"token":"a","token":"b"}', headers=kind),
        http.post(path, body=b"", headers=kind),
        http.post(f"{path}?token={token}", body=b"{}", headers=kind),
    ]

    assert [answer.status for answer in answers] == [415, 400, 400, 400, 400]
    assert http.me(token=token) == "ann"


def test_an_order_that_cannot_be_kept_is_503(http: Site) -> None:
    """Never a success that did not happen."""
    token = http.issuer.mint("ann")
    http.store.broken = True

    answers = [order(http, user="ann"), http.post(EXPLAIN, json={"token": token}, headers=KEY)]
    http.store.broken = False

    assert [(answer.status, answer.header("retry-after")) for answer in answers] == [(503, "1")] * 2
    assert http.me(token=token) == "ann"


def test_an_order_that_the_journal_took_is_202(http: Site, tmp_path: Path) -> None:
    """In force here, and everywhere once the store is back."""
    token = http.issuer.mint("ann")

    with away_with_a_journal(http, tmp_path):
        answer = order(http, token=token)

        assert (answer.status, answer.json["status"]) == (202, "pending")
        assert http.me(token=token) is None


# ---- explain -----------------------------------------------------------------------------------------


def test_a_live_token_and_a_revoked_one_are_explained(http: Site) -> None:
    """Whom it names, whether it passes, and which record says so."""
    ann = http.login("ann")
    alive = http.post(EXPLAIN, json={"token": ann.access}, headers=KEY)
    order(http, session=ann.sid, reason="stolen phone")

    dead = http.post(EXPLAIN, json={"token": ann.access}, headers=KEY)

    assert (alive.status, alive.json["passes"], alive.json["user"]) == (200, True, "ann")
    assert (dead.json["passes"], dead.json["session"]) == (False, ann.sid)
    assert dead.json["refused_by"]["reason"] == "stolen phone"
    assert ann.access.encode() not in alive.body + dead.body


@pytest.mark.parametrize("body", [{}, {"token": ""}, {"token": 5}, {"token": "x", "more": 1}])
def test_only_one_token_is_explained(http: Site, body: dict[str, Any]) -> None:
    """Nothing else may be in the body."""
    assert http.post(EXPLAIN, json=body, headers=KEY).status == 400


def test_what_cannot_be_read_is_explained_too(http: Site) -> None:
    """It does not pass."""
    answer = http.post(EXPLAIN, json={"token": http.issuer.mint("ann") + "="}, headers=KEY)

    assert (answer.status, answer.json["passes"]) == (200, False)


# ---- health ------------------------------------------------------------------------------------------


def test_health_tells_what_the_store_is_and_which_one(http: Site) -> None:
    """Its own words, and the id that it must keep."""
    order(http, user="ann")

    answer = http.get(HEALTH, headers=KEY)

    assert (answer.status, answer.json["status"]) == (200, "ok")
    assert answer.json["store"]["store"].startswith("sqlite ")
    (epoch,) = answer.json["epoch"]
    assert answer.json["store"]["id"] == epoch["id"]
    assert epoch["changes"] >= 1


def test_health_of_a_store_that_is_away_is_503_and_says_why(http: Site) -> None:
    """A load balancer reads the status, a person the rest."""
    http.store.broken = True

    answer = http.get(HEALTH, headers=KEY)

    assert (answer.status, answer.json["status"], answer.header("retry-after")) == (503, "away", "1")
    assert "away" in answer.json["because"]
    assert "store" not in answer.json


def test_health_tells_how_many_logouts_wait_in_the_journal(http: Site, tmp_path: Path) -> None:
    """Also while the store is away, which is when it matters."""
    with away_with_a_journal(http, tmp_path):
        order(http, token=http.issuer.mint("ann"))

        answer = http.get(HEALTH, headers=KEY)

    assert (answer.status, answer.json["status"]) == (503, "away")
    assert answer.json["journal_waiting"] >= 1


def test_health_says_that_the_journal_itself_cannot_be_read(http: Site, tmp_path: Path) -> None:
    """Both are away: that is when somebody looks."""
    with away_with_a_journal(http, tmp_path):
        run_blocking(http.store.inner._outbox.rows.close())

        answer = http.get(HEALTH, headers=KEY)

    assert (answer.status, answer.json["journal_waiting"]) == (503, None)
    assert answer.json["journal_because"]


@pytest.fixture
def replica() -> Iterator[Replica]:
    """A copy of a store in memory."""
    shared = MemoryStore()
    replica = Replica(shared, lambda: FlakyStore(shared), max_staleness=60.0, run_blocking=run_blocking)
    yield replica
    run_blocking(replica.close())


def test_health_tells_how_old_the_copy_is(replica: Replica) -> None:
    """None before it has any proof; then less than the bound."""
    first = replica.age()
    run_blocking(health(replica))
    until(lambda: replica.age() is not None)

    later = run_blocking(health(replica))

    assert first is None
    assert 0 <= later["replica_age_seconds"] < 60


def test_health_changes_nothing(http: Site) -> None:
    """A probe may ask each second."""
    http.get(HEALTH, headers=KEY)

    assert http.count() == 0
    assert set(http.store.calls) <= {"check", "find", "count"}
    assert http.get(HEALTH, headers=KEY).status == 200
    assert http.post(HEALTH, headers=KEY).status == 405
