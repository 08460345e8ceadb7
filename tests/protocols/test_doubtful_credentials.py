"""Holes that a review of the protocols found: what cannot be verified at the moment, and what was made for others."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from logout_middleware.providers import RETRY_SECONDS
from logout_middleware.testing import MovableClock
from tests.client import OWN_PAGE, BuildSite, Site

from .op import CLIENT, Op, order
from .op_server import OpServer
from .test_provider_faults import AWAY, hanging, inner, look, provider_of

SECRET = "the secret of a client of the tests"
CLIENTS = {"service": {"secret": SECRET}}
AS_CLIENT = {"Authorization": "Basic " + b64encode(f"service:{SECRET}".encode()).decode()}
OPAQUE = "opaque-session-of-ann-0123456789"


@pytest.fixture
def build(site: BuildSite, op_server: OpServer, clock: MovableClock) -> Callable[..., Site]:
    """Build the application with these settings; its provider's keys age by the clock of the test."""

    def built(**more: Any) -> Site:
        rp = site(**op_server.settings(**({"rate_limit": "off", "jwt_key": None, "jwt_algorithms": None} | more)))
        provider_of(rp, op_server)._clock = clock
        return rp

    return built


# ---- made for others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("claims", [{"aud": "another-client", "azp": "another-client"}, {"aud": "another-client"}])
def test_a_token_made_for_another_client_of_the_provider_is_nobody_here(
    site: BuildSite, op: Op, claims: dict[str, str]
) -> None:
    """Every other application at the provider has tokens of the same users."""
    rp = site(**op.settings(endpoints="logout, sessions, check, oauth", clients=CLIENTS))
    theirs = op.sign({**_claims(op), **claims})
    ours = op.sign({**_claims(op), "aud": CLIENT})

    assert rp.get("/auth/check", token=theirs).status == 401
    assert rp.post("/auth/introspect", form={"token": theirs}, headers=AS_CLIENT).json == {"active": False}
    assert rp.get("/auth/session", token=theirs).json == {"authenticated": False}
    assert rp.get("/auth/check", token=ours).header("x-auth-subject") == "alice"
    assert look(rp, ours) == look(rp, theirs) == "passes"  # whom the application takes it for is its own affair


def test_a_token_made_for_another_client_ends_itself_and_dies_with_its_session(site: BuildSite, op: Op) -> None:
    """Who holds it may end nothing else of its user; the provider's order reaches it like any other token."""
    rp = site(**op.settings())
    here = {**_claims(op), "sid": "s-1"}
    theirs, again = (op.sign({**here, "aud": "another", "jti": jti}) for jti in ("t1", "t2"))
    ours = op.sign({**here, "aud": CLIENT, "jti": "o1"})

    assert rp.post("/auth/logout", token=theirs, json={"scope": "global"}).status == 403

    assert look(rp, theirs) == "401 token_revoked"
    assert look(rp, ours) == look(rp, again) == "passes"
    assert order(rp, op.logout_token("alice", "s-1")).status == 200
    assert look(rp, ours) == look(rp, again) == "401 token_revoked"


def _claims(op: Op) -> dict[str, Any]:
    return {"iss": op.issuer, "sub": "alice", "exp": int(op.clock()) + 600}


@pytest.mark.parametrize("entry", [{}, {"ssf": {"stream_id": "s"}}])
def test_what_an_entry_of_issuers_does_not_say_the_other_settings_say(
    site: BuildSite, op: Op, entry: dict[str, Any]
) -> None:
    """Naming the issuer for one more purpose must not drop LOGOUT_JWT_AUDIENCE."""
    given = {"jwt_issuer": op.issuer, "jwt_key": op.keys, "jwt_algorithms": "RS256", "jwt_audience": "api://me"}
    push = {"endpoints": "logout, sessions, push", "clients": CLIENTS}
    rp = site(**given, **push, issuers={op.issuer: {"client_id": CLIENT, **entry}})

    assert look(rp, op.sign({**_claims(op), "aud": "api://other"})).startswith("401")
    assert look(rp, op.sign({**_claims(op), "aud": "api://me"})) == "passes"


def test_groups_that_say_yes_want_to_know_for_whom_an_issuers_tokens_are(site: BuildSite, op: Op) -> None:
    """Without an audience and a client every token of the issuer would do."""
    with pytest.raises(Exception, match="E127 LOGOUT_ISSUERS: 'check' would say yes to every token"):
        site(endpoints="check", issuers={op.issuer: {"keys": op.keys}})


# ---- keys that are not known yet ---------------------------------------------------------------------------


def test_a_forged_bearer_does_not_let_a_revoked_cookie_pass_where_failures_pass(
    build: Callable[..., Site], op_server: OpServer, clock: MovableClock
) -> None:
    """FAIL_MODE=open is about the one credential that cannot be verified: nobody may switch the guard off by it."""
    rp = build(fail_mode="open", cookies="session:opaque", revoked_cookie="reject", store_deadline="100ms")
    assert look(rp, op_server.access_token("alice")) == "passes"
    rp.post("/auth/logout", cookie=OPAQUE, headers=OWN_PAGE)
    clock.move(RETRY_SECONDS + 1)
    forged = op_server.sign(
        {"iss": op_server.issuer, "sub": "x"}, header={"kid": "nobody"}, key="z" * 32, algorithm="HS256"
    )

    with hanging(op_server):
        beside = rp.get("/me", token=forged, cookie=OPAQUE)
        alone = rp.get("/me", token=forged)

    assert (beside.status, beside.json["error"]) == (401, "token_revoked")
    assert alone.json["error"] == "the application does not know this token"


def test_a_credential_in_doubt_is_503_where_failures_do_not_pass(
    build: Callable[..., Site], op_server: OpServer, clock: MovableClock
) -> None:
    """Not knowing is not "revoked", and it is not remembered either."""
    rp = build(store_deadline="100ms")
    assert look(rp, op_server.access_token("alice")) == "passes"
    clock.move(RETRY_SECONDS + 1)
    op_server.published, op_server.kid = ["k1", "k9"], "k9"
    token = op_server.access_token("alice")

    with hanging(op_server):
        assert look(rp, token) == AWAY
    provider_of(rp, op_server).fetched()

    assert look(rp, token) == "passes"


def test_a_client_may_revoke_a_token_whose_key_is_newer_than_what_we_know(
    build: Callable[..., Site], op_server: OpServer, clock: MovableClock
) -> None:
    """200 is true: when the key is known, the token is dead."""
    rp = build(endpoints="logout, sessions, oauth", clients=CLIENTS, jwt_audience="api://app")
    assert look(rp, op_server.access_token("alice")) == "passes"
    op_server.published, op_server.kid = ["k1", "k9"], "k9"
    token = op_server.access_token("alice")

    assert rp.post("/auth/revoke", form={"token": token}, headers=AS_CLIENT).status == 200
    clock.move(RETRY_SECONDS + 1)

    assert look(rp, token) == "401 token_revoked"
    assert look(rp, op_server.access_token("alice")) == "passes"


@pytest.mark.parametrize("path", ["/auth/ssf/events", "/auth/global-token-revocation"])
def test_a_push_under_a_new_key_is_asked_for_again_and_not_refused_for_good(
    build: Callable[..., Site], op_server: OpServer, clock: MovableClock, path: str
) -> None:
    """A transmitter does not send again what was 400 or 401."""
    public = {"public_url": "https://app.example.com", "issuers": {op_server.issuer: {"ssf": {"stream_id": "s"}}}}
    rp = build(endpoints="logout, sessions, push", **public)
    assert look(rp, op_server.access_token("alice")) == "passes"
    op_server.published, op_server.kid = ["k1", "k9"], "k9"

    assert _push(rp, op_server, path) == 503
    clock.move(RETRY_SECONDS + 1)

    assert _push(rp, op_server, path) in (202, 204)


def _push(rp: Site, op: OpServer, path: str) -> int:
    now, sub_id = int(op.clock()), {"format": "iss_sub", "iss": op.issuer, "sub": "alice"}
    claims: dict[str, Any] = {"iss": op.issuer, "aud": CLIENT, "iat": now, "jti": f"p{now}"}
    if "ssf" in path:
        revoked = {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {"event_timestamp": now}}
        token = op.sign({**claims, "sub_id": sub_id, "events": revoked}, header={"typ": "secevent+jwt"})
        return rp.post(path, body=token.encode(), headers={"Content-Type": "application/secevent+jwt"}).status
    caller = op.sign({**claims, "exp": now + 60}, header={"typ": "global-token-revocation+jwt"})
    return rp.post(path, token=caller, json={"sub_id": sub_id}).status


def test_a_logout_with_a_token_in_doubt_ends_the_cookies_session_and_does_not_say_that_all_is_done(
    build: Callable[..., Site], op_server: OpServer, clock: MovableClock
) -> None:
    """The provider's trouble keeps nobody logged in."""
    rp = build(store_deadline="100ms")
    alice = rp.login("alice")
    assert look(rp, op_server.access_token("alice")) == "passes"
    clock.move(RETRY_SECONDS + 1)
    op_server.published, op_server.kid = ["k1", "k9"], "k9"
    token = op_server.access_token("alice")

    with hanging(op_server):
        answer = rp.post("/auth/logout", token=token, cookie=alice.cookie, headers=OWN_PAGE)
    provider_of(rp, op_server).fetched()

    assert (answer.status, answer.header("retry-after")) == (503, "1")
    assert rp.me(cookie=alice.cookie) is None
    assert look(rp, token) == "401 token_revoked"
    assert rp.post("/auth/logout", token=token, cookie=alice.cookie, headers=OWN_PAGE).status == 200


def test_who_is_in_doubt_is_not_called_a_stranger(
    build: Callable[..., Site], op_server: OpServer, clock: MovableClock
) -> None:
    """The list of devices is 503, not 401 or an empty answer."""
    rp = build(store_deadline="100ms")
    assert look(rp, op_server.access_token("alice")) == "passes"
    clock.move(RETRY_SECONDS + 1)
    op_server.published, op_server.kid = ["k1", "k9"], "k9"

    with hanging(op_server):
        assert rp.get("/auth/session", token=op_server.access_token("alice")).status == 503


# ---- who may have us do what -------------------------------------------------------------------------------


def test_an_order_holds_in_a_process_that_serves_no_protocol(site: BuildSite, op: Op) -> None:
    """The application wraps itself with the same store and issuers; another process takes the provider's orders."""
    served, issuers = site(**op.settings()), {op.issuer: {"keys": op.keys, "client_id": CLIENT}}
    application = site(jwt_issuer=op.issuer, jwt_key=op.keys, jwt_algorithms="RS256", issuers=issuers)
    token = op.sign({**_claims(op), "sid": "s-1", "aud": CLIENT})

    assert order(served, op.logout_token("alice", "s-1")).status == 200

    assert look(application, token) == "401 token_revoked"
    assert look(application, op.sign({**_claims(op), "sid": "s-2", "aud": CLIENT})) == "passes"


def test_nobody_but_who_is_logged_in_has_us_post_to_the_provider(
    build: Callable[..., Site], op_server: OpServer
) -> None:
    """Our secret goes with it, and one thread does it for all."""
    rp = build(oidc_client_secret="our secret at the provider")
    claimed = op_server.sign({"iss": op_server.issuer, "sub": "x"}, key="z" * 32, algorithm="HS256")

    for _ in range(50):
        rp.post("/auth/logout", json={"refresh_token": "hello world"})
        rp.post("/auth/logout", json={"refresh_token": claimed})

    assert len(inner(rp).chores) == 0
    assert op_server.revoked == []


def test_one_logout_token_in_doubt_waits_once(build: Callable[..., Site], op_server: OpServer) -> None:
    """Sent a thousand times it crowds out nobody else's."""
    rp = build()
    inner(rp).providers[op_server.issuer]._wait_seconds = 0.0
    assert look(rp, op_server.access_token("alice")) == "passes"
    token = op_server.logout_token("alice", header={"kid": "nobody"})

    for _ in range(200):
        assert order(rp, token).status == 400

    assert len(inner(rp).chores) <= 1
