"""RFC 8725, JSON Web Token best practices: JBP-1 to JBP-9, at every door that takes a JWT.

`KINDS` are the tokens that one provider may sign with one key; `DOORS` are the validators. A token of one kind opens
its own door and no other (JBP-8); a new kind or door is one line in its table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest

from tests.client import BuildSite, Site

from .op import CLIENT, EVENT, ISSUER, OTHER_ISSUER, Op, order, public_pem, rsa_key

API = "api://app"
SID, SUB = "s-1", "alice"

# ---- the doors -------------------------------------------------------------------------------------------

Opens = Callable[[Site, str], bool]


def as_access_token(rp: Site, token: str) -> bool:
    """Does the guard take the bearer of this token for somebody?"""
    return bool(rp.call("introspect_token", token)["active"])


def as_logout_token(rp: Site, token: str) -> bool:
    """Does it end anything?"""
    return order(rp, token).status == 200


def as_id_token(rp: Site, token: str) -> bool:
    """Does it prove, as a hint, that the user of the session it names wants to log out?"""
    alice = rp.login(SUB, sid=SID)
    return rp.get(f"/auth/logout?id_token_hint={token}", cookie=alice.cookie).status == 303


def as_security_event(rp: Site, token: str) -> bool:
    """Is it accepted as a pushed event?"""
    answer = rp.post("/auth/ssf/events", body=token.encode(), headers={"Content-Type": "application/secevent+jwt"})
    return answer.status == 202


DOORS: Mapping[str, Opens] = {
    "access": as_access_token, "logout": as_logout_token, "id": as_id_token, "security event": as_security_event,
}  # fmt: skip


# ---- the kinds -------------------------------------------------------------------------------------------


def _claims(op: Op, **more: Any) -> dict[str, Any]:
    """What all kinds have in common, as alike as they can be."""
    now = int(op.clock())
    return {
        "iss": op.issuer, "aud": [CLIENT, API], "sub": SUB, "sid": SID, "iat": now, "exp": now + 120, "jti": "j-1",
    } | more  # fmt: skip


KINDS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "access": ({"typ": "at+jwt"}, {"client_id": CLIENT, "scope": "openid"}),
    "logout": ({"typ": "logout+jwt"}, {"events": {EVENT: {}}}),
    "id": ({"typ": "JWT"}, {"aud": CLIENT, "nonce": "n", "azp": CLIENT, "jti": None}),
    "dpop": ({"typ": "dpop+jwt"}, {"htm": "GET", "htu": "https://app.example.com/me"}),
    "security event": (
        {"typ": "secevent+jwt"},
        {"events": {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}},
         "sub_id": {"format": "iss_sub", "iss": ISSUER, "sub": SUB}, "sub": None, "exp": None},
    ),
    "command": ({"typ": "command+jwt"}, {"command": "invalidate"}),
}  # fmt: skip


def build(op: Op, kind: str, *, header: Mapping[str, Any] | None = None, **more: Any) -> str:
    """A good token of this kind. `more`: what to sign it with, and claims."""
    fields, claims = KINDS[kind]
    signing = {name: more.pop(name) for name in ("key", "algorithm") if name in more}
    return op.sign(_claims(op, **claims) | more, header={**fields, **(header or {})}, **signing)


@pytest.fixture
def rp(site: BuildSite, op: Op) -> Site:
    """The application, which takes access tokens of its provider for `api://app`, too."""
    issuers = {op.issuer: {"keys": op.keys, "audience": [API], "ssf": {}}}
    return site(**op.settings(issuers=issuers, endpoints="logout, sessions, push", rate_limit="off"))


# ---- the matrix ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", KINDS)
def test_JBP_7_8_a_token_opens_its_own_door_and_no_other(rp: Site, op: Op, kind: str, door: str) -> None:
    """Although one key signed all of them, for the same user, session and audience."""
    assert DOORS[door](rp, build(op, kind)) is (kind == door)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", KINDS)
def test_JBP_8_not_even_with_the_claims_of_the_others(rp: Site, op: Op, kind: str, door: str) -> None:
    """The type that a token says of itself decides, whatever else is in it; and what says nothing is no help."""
    others = {name: value for _, claims in KINDS.values() for name, value in claims.items() if name != "nonce"}
    greedy = _claims(op) | others | {"sub": SUB, "exp": int(op.clock()) + 120, "jti": "j-2", "events": {EVENT: {}}}

    opened = DOORS[door](rp, op.sign(greedy, header=KINDS[kind][0]))

    # All that makes one a logout token is there, and an ID token may say "JWT", as a logout token may.
    assert opened is (door == "logout" and kind in ("logout", "id"))


# ---- signatures ------------------------------------------------------------------------------------------

FORGED: Mapping[str, Mapping[str, Any]] = {
    "none": {"algorithm": "none", "key": ""},
    "another hash": {"algorithm": "RS512"},
    "another padding": {"algorithm": "PS256"},
    "a stranger's key": {"key": rsa_key("stranger")},
    "kid of a file": {"key": rsa_key("stranger"), "header": {"kid": "../../../dev/null"}},
    "kid of a query": {"key": rsa_key("stranger"), "header": {"kid": "k1' UNION SELECT 'k' --"}},
    "kid of another type": {"key": rsa_key("stranger"), "header": {"kid": None}},
    "jku": {"key": rsa_key("stranger"), "header": {"jku": "https://evil.example/jwks"}},
    "x5u": {"key": rsa_key("stranger"), "header": {"x5u": "https://evil.example/x5u"}},
    "jwk": {"key": rsa_key("stranger"), "header": {
        "jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key("stranger").public_key()))}},
    "critical extension": {"header": {"crit": ["x"], "x": 1}},
}  # fmt: skip
OWN = [name for name in KINDS if name in DOORS]


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("forgery", [pytest.param(more, id=name) for name, more in FORGED.items()])
def test_JBP_1_2_6_a_forged_token_opens_no_door(
    rp: Site, op: Op, kind: str, forgery: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Algorithm and key are ours to choose; nothing in a header is asked, and no address in it opened."""

    def fail(*given: Any, **more: Any) -> None:
        pytest.fail("a token made us open a connection")

    for target in ("socket.socket.connect", "socket.getaddrinfo"):
        monkeypatch.setattr(target, fail)

    assert not DOORS[kind](rp, build(op, kind, **forgery))


@pytest.mark.parametrize("kind", OWN)
def test_JBP_1_a_public_key_is_never_a_shared_secret(rp: Site, op: Op, kind: str) -> None:
    """HS256 with the published key for a secret, which PyJWT itself refuses to sign with."""
    head = {"alg": "HS256", "kid": op.kid} | KINDS[kind][0]
    parts = [json.dumps(part).encode() for part in (head, _claims(op, **KINDS[kind][1]))]
    signed = b".".join(map(jwt.utils.base64url_encode, parts))
    algorithm = jwt.get_algorithm_by_name("HS256")
    signature = algorithm.sign(signed, public_pem(rsa_key(op.kid)).encode())

    assert not DOORS[kind](rp, (signed + b"." + jwt.utils.base64url_encode(signature)).decode())


@pytest.mark.parametrize("kind", OWN)
def test_JBP_3_what_is_encrypted_is_not_believed(rp: Site, kind: str) -> None:
    """Nobody here can look inside, so nothing in it counts."""
    assert not DOORS[kind](rp, "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIiwiY3R5IjoiSldUIn0..AAAA.AAAA.AAAA")


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("issuer", [OTHER_ISSUER, "https://issuer.example.com/", "https://evil.example", None])
def test_JBP_4_a_key_signs_for_its_own_issuer_alone(
    site: BuildSite, op: Op, other_op: Op, kind: str, issuer: Any
) -> None:
    """A provider that may speak for itself cannot speak for another."""
    both = {op.issuer: {"keys": op.keys, "audience": [API], "ssf": {}},
            other_op.issuer: {"keys": other_op.keys, "audience": [API], "client_id": CLIENT, "ssf": {}}}  # fmt: skip
    rp = site(**op.settings(issuers=both, endpoints="logout, sessions, push"))

    assert not DOORS[kind](rp, build(op, kind, iss=issuer))
    assert not DOORS[kind](rp, build(other_op, kind, iss=op.issuer))


@pytest.mark.parametrize("kind", ["access", "logout"])
@pytest.mark.parametrize("audience", [None, "api://other", ["api://other", "client-2"], [1], {"a": API}, ""])
def test_JBP_5_a_token_for_somebody_else_opens_no_door(rp: Site, op: Op, kind: str, audience: Any) -> None:
    """Nor one for nobody."""
    assert not DOORS[kind](rp, build(op, kind, aud=audience))


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-32", "utf-8-sig"])
def test_JBP_9_claims_in_anything_but_utf_8_are_refused(rp: Site, op: Op, kind: str, encoding: str) -> None:
    """However well they are signed."""
    text = json.dumps(_claims(op, **KINDS[kind][1]) | {"name": "Zoë"}, ensure_ascii=False)
    head = json.dumps({"alg": "RS256", "kid": op.kid} | KINDS[kind][0]).encode()
    signed = b".".join(map(jwt.utils.base64url_encode, (head, text.encode(encoding))))
    signature = jwt.get_algorithm_by_name("RS256").sign(signed, rsa_key(op.kid))

    assert not DOORS[kind](rp, (signed + b"." + jwt.utils.base64url_encode(signature)).decode())
