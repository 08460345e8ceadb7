"""OpenID Connect Back-Channel Logout 1.0, the relying party's side: BCL-1 to BCL-26 of the checklist."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from logout_middleware.testing import MovableClock
from tests.client import ALL, BuildSite, Site

from .op import BACKCHANNEL, CLIENT, EVENT, Op, fault, order, rsa_key

FORM = "application/x-www-form-urlencoded"


def test_BCL_1_other_parameters_are_ignored(rp: Site, op: Op) -> None:
    """A provider may send more than we know."""
    alice = rp.login("alice")

    answer = rp.post(BACKCHANNEL, form={"a": "1", "logout_token": op.logout_token("alice", alice.sid), "state": "x"})

    assert answer.status == 200
    assert rp.alive(alice) == set()


def test_BCL_2_a_get_is_told_what_the_address_is_for(rp: Site, op: Op) -> None:
    """405 with Allow, and nothing ends."""
    alice = rp.login("alice")

    answer = rp.get(f"{BACKCHANNEL}?{urlencode({'logout_token': op.logout_token('alice', alice.sid)})}")

    assert answer.status == 405
    assert "POST" in str(answer.header("allow"))
    assert rp.alive(alice) == ALL


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
def test_BCL_2_a_body_of_another_kind_is_400(rp: Site, op: Op, kind: str) -> None:
    """The specification knows one form and one failure."""
    token = op.logout_token("alice")
    bodies = {
        "application/json": json.dumps({"logout_token": token}),
        "multipart/form-data; boundary=x":
            f'--x\r\nContent-Disposition: form-data; name="logout_token"\r\n\r\n{token}\r\n--x--\r\n',
    }  # fmt: skip
    body = bodies.get(kind, f"logout_token={token}").encode()

    answer = rp.post(BACKCHANNEL, body=body, headers={"Content-Type": kind} if kind else {})

    assert fault(answer) == "invalid_request"


def test_BCL_2_a_body_that_is_too_large_is_413(rp: Site) -> None:
    """It is not even read to its end."""
    answer = rp.post(BACKCHANNEL, body=b"logout_token=" + b"a" * 70_000, headers={"Content-Type": FORM})

    assert answer.status == 413


def test_BCL_2_two_logout_tokens_are_400(rp: Site, op: Op) -> None:
    """Whoever takes the first, and whoever takes the last, must not be told different things."""
    alice, bob = rp.login("alice"), rp.login("bob")
    pairs = [("logout_token", op.logout_token("alice")), ("logout_token", op.logout_token("bob"))]

    answer = rp.post(BACKCHANNEL, body=urlencode(pairs).encode(), headers={"Content-Type": FORM})

    assert fault(answer) == "invalid_request"
    assert rp.alive(alice) == rp.alive(bob) == ALL


def test_BCL_3_a_query_in_the_registered_address_is_kept(rp: Site, op: Op) -> None:
    """It means nothing to us and does no harm."""
    alice = rp.login("alice")

    answer = rp.post(f"{BACKCHANNEL}?tenant=a", form={"logout_token": op.logout_token("alice", alice.sid)})

    assert answer.status == 200
    assert rp.alive(alice) == set()


def test_BCL_4_an_encrypted_token_is_refused_with_the_reason(rp: Site) -> None:
    """Encryption was not negotiated: nobody guesses what is in it."""
    answer = order(rp, "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d")

    assert fault(answer) == "invalid_request"
    assert "encrypted" in answer.json["error_description"]


def test_BCL_5_a_signature_by_another_key_is_refused(rp: Site, op: Op) -> None:
    """Whatever `kid` it claims."""
    alice = rp.login("alice")

    answer = order(rp, op.logout_token("alice", alice.sid, key=rsa_key("stranger")))

    assert fault(answer) == "invalid_request"
    assert rp.alive(alice) == ALL


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS512", "PS256"])
def test_BCL_6_only_the_registered_algorithm_counts(rp: Site, op: Op, algorithm: str) -> None:
    """RS256 unless the operator says otherwise; never what the token says."""
    alice = rp.login("alice")
    key: Any = {"none": "", "HS256": "a shared secret of thirty-two bytes."}.get(algorithm)

    answer = order(rp, op.logout_token("alice", alice.sid, key=key, algorithm=algorithm))

    assert fault(answer) == "invalid_request"
    assert rp.alive(alice) == ALL


def test_BCL_6_another_algorithm_can_be_registered(site: BuildSite, op: Op) -> None:
    """Then it, and no longer RS256."""
    rp = site(**op.settings(issuers={op.issuer: {"keys": op.keys, "algorithms": ["PS256"]}}))
    alice = rp.login("alice")

    assert fault(order(rp, op.logout_token("alice", alice.sid))) == "invalid_request"
    assert rp.alive(alice) == ALL

    assert order(rp, op.logout_token("alice", alice.sid, algorithm="PS256")).status == 200
    assert rp.alive(alice) == set()


WRONG = {
    "iss of another": {"iss": "https://other.example.com"}, "iss with a slash": {"iss": "https://issuer.example.com/"},
    "no iss": {"iss": None}, "aud of another client": {"aud": "client-2"}, "no aud": {"aud": None},
    "aud list without us": {"aud": ["client-2", "client-3"]}, "aud of odd members": {"aud": [CLIENT, 1]},
    "no iat": {"iat": None}, "iat far ahead": {"iat": 4_000_000_000}, "iat as text": {"iat": "1800000000"},
    "no exp": {"exp": None}, "expired": {"exp": 1_799_999_999}, "exp as boolean": {"exp": True},
    "exp beyond a day": {"exp": 1_800_100_000}, "no jti": {"jti": None}, "jti a number": {"jti": 5}, "jti empty":
    {"jti": ""}, "no events": {"events": None}, "events a list": {"events": [EVENT]},
    "another event": {"events": {"http://schemas.openid.net/event/other": {}}}, "event null": {"events": {EVENT: None}},
    "nonce": {"nonce": "n"}, "nonce empty": {"nonce": ""}, "sub empty": {"sub": ""}, "sid empty": {"sid": ""},
    "sub a number": {"sub": 5}, "sid a list": {"sid": ["login-1"]}, "neither sub nor sid": {"sub": None, "sid": None},
}  # fmt: skip


@pytest.mark.parametrize("claims", [pytest.param(claims, id=name) for name, claims in WRONG.items()])
def test_BCL_7_8_9_10_11_a_token_with_one_wrong_claim_ends_nothing(rp: Site, op: Op, claims: dict[str, Any]) -> None:
    """iss, aud, iat, exp, jti, sub, sid, events and nonce are each as the specification wants them, or it is 400."""
    alice = rp.login("alice")

    answer = order(rp, op.logout_token(**({"sub": "alice", "sid": alice.sid} | claims)))

    assert fault(answer) == "invalid_request"
    assert rp.alive(alice) == ALL
    assert [event.outcome for event in rp.told("logout_token_refused")] == ["refused"]


RIGHT = {
    "aud list": {"aud": ["client-2", CLIENT]}, "iat a little ahead": {"iat": 1_800_000_030},
    "iat with a fraction": {"iat": 1_800_000_000.2}, "event with members": {"events": {EVENT: {"a": 1}}},
    "a second event": {"events": {EVENT: {}, "urn:example:other": {}}}, "unknown claim": {"ignored_claim": {"a": [1]}},
}  # fmt: skip


@pytest.mark.parametrize("claims", [pytest.param(claims, id=name) for name, claims in RIGHT.items()])
def test_BCL_7_10_16_what_a_provider_may_vary_is_accepted(rp: Site, op: Op, claims: dict[str, Any]) -> None:
    """A list of audiences, a clock slightly ahead, an event with members, claims that we do not know."""
    alice = rp.login("alice")

    answer = order(rp, op.logout_token("alice", alice.sid, **claims))

    assert (answer.status, answer.body) == (200, b"")
    assert rp.alive(alice) == set()


def test_BCL_7_leeway_is_the_operators(site: BuildSite, op: Op, clock: MovableClock) -> None:
    """A provider whose clock is behind by less than that is understood."""
    rp = site(**op.settings(jwt_leeway="30s"))
    alice = rp.login("alice")

    assert order(rp, op.logout_token("alice", alice.sid, exp=int(clock()) - 29)).status == 200
    assert fault(order(rp, op.logout_token("alice", alice.sid, exp=int(clock()) - 31))) == "invalid_request"


@pytest.mark.parametrize("names", ["sub", "sid", "both"])
def test_BCL_12_a_replay_is_confirmed_and_reaches_no_newer_session(
    rp: Site, op: Op, clock: MovableClock, names: str
) -> None:
    """Providers repeat themselves; who logged in again meanwhile, in the same second even, stays logged in."""
    old = rp.login("alice")
    clock.move(0.1)
    token = op.logout_token(**{"sub": {"sub": "alice"}, "sid": {"sid": old.sid}}.get(
        names, {"sub": "alice", "sid": old.sid}))  # fmt: skip
    assert order(rp, token).status == 200
    clock.move(0.1)
    new = rp.login("alice")

    answers = [order(rp, token) for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3
    assert rp.alive(old) == set()
    assert rp.alive(new) == ALL
    assert len(rp.told("logout")) == 1


def test_BCL_12_one_jti_at_two_providers_is_two(site: BuildSite, op: Op, other_op: Op) -> None:
    """A `jti` is unique only at its issuer."""
    rp = site(**op.settings(issuers={
        op.issuer: {"keys": op.keys}, other_op.issuer: {"keys": other_op.keys, "client_id": CLIENT},
    }))  # fmt: skip
    alice = rp.login("alice")

    assert order(rp, other_op.logout_token("alice", alice.sid, jti="one")).status == 200
    assert rp.alive(alice) == ALL
    assert order(rp, op.logout_token("alice", alice.sid, jti="one")).status == 200
    assert rp.alive(alice) == set()


def test_BCL_13_an_unknown_session_is_a_success(rp: Site, op: Op) -> None:
    """It is logged out already, as far as the provider is concerned."""
    alice = rp.login("alice")

    assert order(rp, op.logout_token("alice", "never-seen")).status == 200
    assert order(rp, op.logout_token(sid="never-seen")).status == 200
    assert order(rp, op.logout_token("nobody")).status == 200

    assert rp.alive(alice) == ALL


def test_BCL_14_sub_alone_ends_every_session_of_the_user(rp: Site, op: Op, clock: MovableClock) -> None:
    """And nobody else's."""
    alice, bob = [rp.login("alice") for _ in range(3)], rp.login("bob")
    clock.move(1.0)

    assert order(rp, op.logout_token("alice")).status == 200

    assert [rp.alive(each) for each in alice] == [set()] * 3
    assert rp.alive(bob) == ALL


@pytest.mark.parametrize("with_sub", [True, False])
def test_BCL_14_sid_ends_that_session_alone(rp: Site, op: Op, clock: MovableClock, *, with_sub: bool) -> None:
    """With or without the user beside it."""
    one, other = rp.login("alice"), rp.login("alice")
    clock.move(1.0)

    assert order(rp, op.logout_token("alice" if with_sub else None, one.sid)).status == 200

    assert rp.alive(one) == set()
    assert rp.alive(other) == ALL


@pytest.mark.parametrize("endpoints", ["logout, sessions", "logout"])
def test_BCL_14_a_session_of_somebody_else_is_no_such_session(
    site: BuildSite, op: Op, clock: MovableClock, endpoints: str
) -> None:
    """With both, the session must belong to both, known to the registry or not; bob's own are not touched either."""
    rp = site(**op.settings(endpoints=endpoints))
    alice, bob = rp.login("alice"), rp.login("bob")
    assert rp.alive(alice) == rp.alive(bob) == ALL
    clock.move(1.0)

    assert order(rp, op.logout_token("bob", alice.sid)).status == 200

    assert rp.alive(alice) == rp.alive(bob) == ALL


@pytest.mark.parametrize("endpoints", ["logout, sessions", "logout"])
def test_BCL_14_both_end_a_session_that_nobody_saw_yet(site: BuildSite, op: Op, endpoints: str) -> None:
    """A token that was minted and never used is dead as well."""
    rp = site(**op.settings(endpoints=endpoints, token_responses=None))
    unseen = rp.issuer.mint("alice", sid="s-9")

    assert order(rp, op.logout_token("alice", "s-9")).status == 200

    assert rp.me(token=unseen) is None


def test_BCL_14_the_operator_hears_of_a_session_that_is_known_under_another_name(rp: Site, op: Op) -> None:
    """An application that keeps its own user id instead of the provider's `sub` would wonder why nothing ends."""
    alice = rp.login("alice")
    assert rp.alive(alice) == ALL

    assert order(rp, op.logout_token("sub-of-alice", alice.sid)).status == 200
    assert order(rp, op.logout_token("sub-of-alice", "never-seen")).status == 200

    (event,) = rp.told("session_of_another")
    assert (event.outcome, event.session, event.user) == ("nothing", alice.sid, "sub-of-alice")
    assert "sub" in str(event.detail)
    assert rp.alive(alice) == ALL


def test_BCL_15_a_sid_of_another_provider_is_another(site: BuildSite, op: Op, other_op: Op) -> None:
    """It is unique only within its issuer."""
    rp = site(**op.settings(issuers={
        op.issuer: {"keys": op.keys}, other_op.issuer: {"keys": other_op.keys, "client_id": CLIENT},
    }))  # fmt: skip
    alice = rp.login("alice")

    assert order(rp, other_op.logout_token(sid=alice.sid)).status == 200

    assert rp.alive(alice) == ALL


def test_BCL_17_18_19_success_is_200_and_failure_400_in_json(rp: Site, op: Op) -> None:
    """And neither is ever kept by a cache, nor is any answer a redirect (BCL-22)."""
    good, bad = order(rp, op.logout_token("alice")), order(rp, "garbage")

    assert (good.status, good.body) == (200, b"")
    assert fault(bad) == "invalid_request"
    assert good.header("location") is bad.header("location") is None


def test_BCL_18_no_answer_repeats_the_token(rp: Site, op: Op) -> None:
    """Nor does any event."""
    token = op.logout_token("alice", exp=1)

    answer = order(rp, token)

    assert token.rpartition(".")[2] not in answer.text
    assert all(token.rpartition(".")[2] not in repr(event) for event in rp.events)


def test_BCL_20_refresh_tokens_of_the_session_end_and_others_stay(rp: Site, op: Op, clock: MovableClock) -> None:
    """What was given for offline use carries no session, and lives on when a session ends."""
    alice = rp.login("alice")
    offline = rp.issuer.mint("alice", sid="offline-grant", kind="refresh")
    clock.move(1.0)

    assert order(rp, op.logout_token("alice", alice.sid)).status == 200

    assert rp.refresh(alice.refresh).status == 401
    assert rp.refresh(offline).status == 200


def test_BCL_21_the_application_is_told_which_session_ended(rp: Site, op: Op) -> None:
    """So that one that is a provider itself can tell its own clients."""
    alice = rp.login("alice")

    assert order(rp, op.logout_token("alice", alice.sid)).status == 200

    (event,) = rp.told("session_ended")
    assert (event.session, event.reason, event.user) == (alice.sid, "backchannel", "alice")


def test_BCL_22_it_works_without_cookie_login_or_origin(rp: Site, op: Op) -> None:
    """No CSRF rule of ours, or of the application's, stands in the way; a stale credential does not either."""
    alice, dead = rp.login("alice"), rp.login("alice")
    rp.call("revoke_token", dead.access)

    answer = order(
        rp, op.logout_token("alice", alice.sid), headers={"Origin": "https://evil.example", "Sec-Fetch-Site":
        "cross-site"}, token=dead.access,
    )  # fmt: skip

    assert answer.status == 200
    assert rp.alive(alice) == set()


def test_BCL_23_a_late_token_spares_who_logged_in_after_it(rp: Site, op: Op, clock: MovableClock) -> None:
    """It was ordered before, however long it was under way."""
    old = rp.login("alice")
    clock.move(10.0)
    token = op.logout_token("alice")
    clock.move(60.0)
    new = rp.login("alice")

    assert order(rp, token).status == 200

    assert rp.alive(old) == set()
    assert rp.alive(new) == ALL


@pytest.mark.parametrize("names", ["sid", "both"])
def test_BCL_24_a_session_that_is_stored_too_late_is_born_dead(
    rp: Site, op: Op, clock: MovableClock, names: str
) -> None:
    """The provider ended it while the login was still under way."""
    token = op.logout_token("alice" if names == "both" else None, "s-late")
    assert order(rp, token).status == 200
    clock.move(30.0)

    late = rp.login("alice", sid="s-late")

    assert rp.alive(late) == set()
    clock.move(399 * 86400.0)
    assert rp.me(cookie=late.cookie) is None


@pytest.mark.parametrize("kind", [None, "JWT", "logout+jwt", "LOGOUT+JWT", "application/logout+jwt"])
def test_BCL_26_the_types_that_providers_send_are_accepted(rp: Site, op: Op, kind: str | None) -> None:
    """Demanding `logout+jwt` would break providers that exist."""
    alice = rp.login("alice")

    answer = order(rp, op.logout_token("alice", alice.sid, header={"typ": kind}))

    assert answer.status == 200
    assert rp.alive(alice) == set()


@pytest.mark.parametrize("kind", ["at+jwt", "secevent+jwt", "dpop+jwt", "command+jwt", "x", ["JWT"], 5])
def test_BCL_26_every_other_type_is_another_kind_of_token(rp: Site, op: Op, kind: Any) -> None:
    """However much of a logout token it is otherwise."""
    alice = rp.login("alice")
    token = op.logout_token("alice", alice.sid, header={"typ": kind if isinstance(kind, str) else "x"})
    if not isinstance(kind, str):
        head = jwt.utils.base64url_encode(json.dumps({"alg": "RS256", "typ": kind}).encode())
        body = token.split(".")[1].encode()
        signature = jwt.get_algorithm_by_name("RS256").sign(head + b"." + body, rsa_key(op.kid))
        token = b".".join([head, body, jwt.utils.base64url_encode(signature)]).decode()

    assert fault(order(rp, token)) == "invalid_request"
    assert rp.alive(alice) == ALL


def test_cookie_and_token_of_one_login_end_together_by_the_providers_order(rp: Site, op: Op) -> None:
    """What was seen together is one login, even where only one part of it has the provider's sid."""
    alice = rp.login("alice")
    bound = rp.issuer.mint("alice", sid="api-grant-1")
    assert rp.get("/me", token=bound, cookie=alice.cookie).status == 200

    assert order(rp, op.logout_token("alice", alice.sid)).status == 200

    assert rp.me(token=bound) is None
    assert rp.alive(alice) == set()


@pytest.mark.parametrize("names", ["sub", "sid", "both"])
@pytest.mark.parametrize("first", [True, False])
def test_BCL_15_two_issuers_are_strangers_to_each_other(
    site: BuildSite, op: Op, other_op: Op, clock: MovableClock, names: str, *, first: bool
) -> None:
    """The same user, session and jti at both: what one orders ends its own and nothing of the other."""
    both = {each.issuer: {"keys": each.keys, "client_id": CLIENT} for each in (op, other_op)}
    rp = site(**op.settings(issuers=both))
    tokens = {each.issuer: each.access_token("alice", "s-1") for each in (op, other_op)}
    active = lambda: {name: rp.call("introspect_token", token)["active"] for name, token in tokens.items()}  # noqa: E731
    assert active() == {op.issuer: True, other_op.issuer: True}
    clock.move(2.0)
    orders, other = (op, other_op) if first else (other_op, op)
    claims = {"sub": {"sub": "alice"}, "sid": {"sid": "s-1"}}.get(names, {"sub": "alice", "sid": "s-1"})

    assert order(rp, orders.logout_token(**claims, jti="one")).status == 200

    assert active() == {orders.issuer: False, other.issuer: True}
    forged = other.logout_token(**claims, key=rsa_key(orders.kid))
    assert fault(order(rp, forged)) == "invalid_request"
    assert active() == {orders.issuer: False, other.issuer: True}
    assert order(rp, other.logout_token(**claims, jti="one")).status == 200
    assert active() == {orders.issuer: False, other.issuer: False}


def test_an_issuer_where_we_are_no_client_orders_nothing(site: BuildSite, op: Op, other_op: Op) -> None:
    """Its access tokens are believed, its logout tokens are addressed to nobody here."""
    rp = site(**op.settings(issuers={op.issuer: {"keys": op.keys}, other_op.issuer: {"keys": other_op.keys}}))
    token = other_op.access_token("alice", "s-1")

    assert fault(order(rp, other_op.logout_token("alice", "s-1"))) == "invalid_request"

    assert rp.call("introspect_token", token)["active"] is True
