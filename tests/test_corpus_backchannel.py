"""backchannel.jsonl: what a provider's logout token ends here, and what is no logout token."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from . import corpus
from .client import ALL, Answer, BuildSite, Device, Site
from .protocols.op import BACKCHANNEL, CLIENT, ISSUER, public_pem

USERS = {"s-1": "alice", "s-2": "alice", "s-3": "bob"}
Devices = Mapping[str, Device]


@functools.cache
def keys() -> Any:
    """Throw-away keys for this run."""
    return corpus.jwtkit().Keys()


@pytest.fixture
def relying_party(site: BuildSite) -> Site:
    """client-1 of the corpus's issuer, with its key at hand."""
    trusted = {ISSUER: {"keys": [public_pem(keys().rsa)]}}
    return site(oidc_issuer=ISSUER, oidc_client_id=CLIENT, issuers=trusted, rate_limit="off")


def log_in(site: Site, *, without_sid: bool = False) -> Devices:
    """The three sessions of the corpus, opened in turn; a while ago."""
    devices = {}
    for name, user in USERS.items():
        devices[name] = site.login(user, sid=False if without_sid else name)
        site.clock.move(5.0)
    return devices


def send(site: Site, case: corpus.Case) -> Answer:
    """Deliver the logout token of a case as it says."""
    token, _ = corpus.jwtkit().build(case["token"], keys(), int(site.clock()))
    request = case["request"]
    filled = functools.partial(corpus.fill, names={"LT": token})
    body = request.get("body")
    if body is None:
        body = urlencode([(name, filled(value)) for name, value in request["form"]])
    kind = [("Content-Type", request["content_type"])] if request["content_type"] else []
    headers = [*kind, *((name, value) for name, value in request.get("headers", ()))]
    query = f"?{filled(request['query'])}" if request["query"] else ""
    return site.request(
        request["method"], BACKCHANNEL + query, headers=headers, body=corpus.expand(filled(body)).encode("latin-1")
    )


def first_delivery_while_the_store_is_away(site: Site, case: corpus.Case) -> None:
    """The provider is told that it failed."""
    site.store.broken = True
    answer = send(site, case)
    site.store.broken = False
    assert answer.status in (400, 503)
    assert answer.header("cache-control") == "no-store"


def first_session_ends_alone(site: Site, devices: Devices) -> None:
    """By its user, before the provider's order comes."""
    assert site.post("/auth/logout", token=devices["s-1"].access).status == 200


SETUPS: Mapping[str, Callable[[Site, Devices, corpus.Case], None]] = {
    "three sessions s-1, s-2 of alice opened in turn, then s-1 logged out on its own, then this token":
        lambda site, devices, case: first_session_ends_alone(site, devices),
    "store down for the first delivery (must answer 5xx or 400, not 200), up for the retry of the same token: "
    "must then end the session":
        lambda site, devices, case: first_delivery_while_the_store_is_away(site, case),
    "sessions stored without a sid, token carries both: fall back to sub":
        lambda site, devices, case: None,
}  # fmt: skip


@pytest.mark.parametrize("case", corpus.cases("backchannel", raw=True))
def test_a_logout_token_gets_its_verdict(case: corpus.Case, relying_party: Site) -> None:
    """It ends exactly the sessions that it is about, and the answer says if it did."""
    devices = log_in(relying_party, without_sid="without a sid" in case.get("setup", ""))
    if "setup" in case:
        SETUPS[case["setup"]](relying_party, devices, case)

    answer = send(relying_party, case)

    accepted = {case["expected_status"], *case.get("also_ok", ())}
    assert answer.status in accepted
    assert answer.header("cache-control") == "no-store"
    assert answer.status != 405 or "POST" in str(answer.header("allow"))
    ended = set(case["ends"]) if answer.status == 200 else set()
    expected = {name: set() if name in ended else ALL for name in USERS}
    assert {name: relying_party.alive(device) for name, device in devices.items()} == expected


@pytest.mark.parametrize("case", corpus.cases("backchannel", raw=True))
def test_no_logout_token_costs_much(case: corpus.Case, relying_party: Site) -> None:
    """Nobody can keep a worker busy with one, however large it is."""
    assert corpus.least_cpu(lambda: send(relying_party, case)) < corpus.CPU_SECONDS
