"""RFC 7009 and RFC 7662: registered applications revoke tokens, and ask whether one is alive."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logout_middleware import ConfigurationError, LogoutSettings
from logout_middleware.endpoints.clients import _basic
from logout_middleware.endpoints.limits import FAILURE_SECONDS, FAILURES, QUOTA
from logout_middleware.values import Client
from tests.apps import JWT_KEY
from tests.client import ALL, Answer, BuildSite, Site

from .clients import BANK, CLIENTS, HASHED_SECRET, SHOP, away_with_a_journal, basic

REVOKE, INTROSPECT = "/auth/revoke", "/auth/introspect"
BOTH = pytest.mark.parametrize("path", [REVOKE, INTROSPECT])
FOREIGN = "https://other.example.com"


@pytest.fixture
def build(site: BuildSite) -> BuildSite:
    """Build a site that serves the clients."""

    def build(**given: Any) -> Site:
        return site(**({"endpoints": "logout,oauth", "clients": CLIENTS} | given))

    return build


@pytest.fixture
def http(build: BuildSite) -> Site:
    """A site that serves the clients."""
    return build()


def revoke(http: Site, token: str, client: tuple[str, str] = SHOP, **more: str) -> Answer:
    """Revoke as this client."""
    return http.post(REVOKE, form={"token": token} | more, headers=basic(*client))


def introspect(http: Site, token: str, client: tuple[str, str] = SHOP, **more: str) -> dict[str, Any]:
    """What this client is told of a token."""
    answer = http.post(INTROSPECT, form={"token": token} | more, headers=basic(*client))
    assert (answer.status, answer.header("cache-control")) == (200, "no-store")
    members: dict[str, Any] = answer.json
    return members


def error(answer: Answer) -> tuple[int, str]:
    """Status and code of an OAuth error, whose form is checked (RFC 6749 5.2)."""
    assert set(answer.json) == {"error", "error_description"}
    assert answer.header("cache-control") == "no-store"
    assert all(" " <= each <= "~" and each not in '"\\' for each in answer.json["error_description"])
    return answer.status, answer.json["error"]


# ---- RFC 7009 ----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("form", [{}, {"token": ""}, {"token_type_hint": "access_token"}])
def test_REV_1_INT_1_a_request_without_a_token_is_refused(http: Site, path: str, form: dict[str, str]) -> None:
    """The one parameter that is required."""
    fields = {"client_id": SHOP[0], "client_secret": SHOP[1]} | form

    assert error(http.post(path, form=fields)) == (400, "invalid_request")


@BOTH
def test_REV_1_INT_1_only_a_posted_form_counts(http: Site, path: str) -> None:
    """JSON, text and GET do nothing."""
    token = http.issuer.mint("ann")

    as_json = http.post(path, json={"token": token}, headers=basic(*SHOP))
    as_text = http.post(path, body=f"token={token}".encode(), headers=basic(*SHOP) | {"Content-Type": "text/plain"})
    by_get = http.get(f"{path}?token={token}", headers=basic(*SHOP))

    assert error(as_json) == error(as_text) == (415, "invalid_request")
    assert (by_get.status, by_get.header("allow")) == (405, "POST, OPTIONS")
    assert http.me(token=token) == "ann"


@BOTH
def test_REV_2_a_secret_over_plain_http_is_refused(build: BuildSite, path: str) -> None:
    """Even a right one: it has been read on the way."""
    http = build(origin="http://app.example.com")
    token = http.issuer.mint("ann")

    answer = http.post(path, form={"token": token}, headers=basic(*SHOP))

    assert error(answer) == (400, "invalid_request")
    assert http.me(token=token) == "ann"


@pytest.mark.parametrize(
    ("origin", "given", "headers"),
    [
        ("http://localhost:8000", {}, {}),
        ("http://127.0.0.1:8000", {}, {}),
        ("http://app.internal", {"public_url": "https://app.example.com"}, {}),
        ("http://app.internal", {"trusted_proxies": "192.0.2.1"}, {"X-Forwarded-Proto": "https"}),
    ],
)
def test_REV_2_this_machine_and_a_proxy_that_speaks_https_are_served(
    build: BuildSite, origin: str, given: dict[str, Any], headers: dict[str, str]
) -> None:
    """Developers need no certificate, and a proxy ends TLS."""
    http = build(origin=origin, **given)
    token = http.issuer.mint("ann")

    answer = http.post(REVOKE, form={"token": token}, headers=basic(*SHOP) | headers)

    assert answer.status == 200
    assert http.me(token=token) is None


@pytest.mark.parametrize("kind", ["access", "refresh"])
@pytest.mark.parametrize("hint", ["", "access_token", "refresh_token", "nonsense"])
def test_REV_3_REV_6_both_types_are_revoked_whatever_the_hint_says(http: Site, kind: str, hint: str) -> None:
    """A hint may be wrong, unknown or empty."""
    ann, bob = http.login("ann"), http.login("bob")

    answer = revoke(http, getattr(ann, kind), token_type_hint=hint)

    assert (answer.status, answer.body, answer.header("cache-control")) == (200, b"", "no-store")
    assert http.alive(ann) == set()
    assert http.alive(bob) == ALL


@BOTH
@pytest.mark.parametrize(
    "client",
    [
        ("shop", "wrong"), ("shop", ""), ("nobody", SHOP[1]), ("", ""), ("page", ""), ("shop", BANK[1]),
        ("robot", CLIENTS["robot"]["secret"]), ("robot", CLIENTS["robot"]["secret"].removeprefix("sha256:")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("by_form", [True, False])
def test_REV_4_INT_2_a_wrong_secret_is_401_and_says_nothing(
    http: Site, path: str, client: tuple[str, str], by_form: bool
) -> None:
    """Unknown clients, those without a secret, and the digest in place of the secret; all answers are the same."""
    token = http.issuer.mint("ann")
    fields = {"token": token} | ({"client_id": client[0], "client_secret": client[1]} if by_form else {})

    answer = http.post(path, form=fields, headers={} if by_form else basic(*client))

    assert error(answer) == (401, "invalid_client")
    assert (answer.header("www-authenticate") or "").startswith('Basic realm="')
    assert answer.json["error_description"] == "the client cannot be authenticated"
    assert [event.outcome for event in http.told("client_refused")] == ["refused"]
    assert http.me(token=token) == "ann"


@BOTH
@pytest.mark.parametrize(
    "field",
    [
        None,
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic c2hvcA==",
        "Basic /w==",
        "Bearer {}",
        "Basic c2hvcDp4, Basic c2hvcDp4",
    ],
)
def test_REV_4_INT_2_what_is_no_authentication_is_401(http: Site, path: str, field: str | None) -> None:
    """Nor does holding a token make a client."""
    token = http.issuer.mint("ann")
    headers = {} if field is None else {"Authorization": field.format(token)}

    answer = http.post(path, form={"token": token}, headers=headers)

    assert error(answer) == (401, "invalid_client")
    assert http.me(token=token) == "ann"


def test_REV_4_both_methods_of_authentication_are_taken(http: Site) -> None:
    """Basic, with the id once more in the form or without, and the form alone; a hashed secret like any other."""
    first, second, third, fourth = (http.issuer.mint("ann") for _ in range(4))

    answers = [
        revoke(http, first),
        revoke(http, second, client_id="shop"),
        http.post(REVOKE, form={"token": third, "client_id": "shop", "client_secret": SHOP[1]}),
        revoke(http, fourth, client=("robot", HASHED_SECRET)),
    ]

    assert [answer.status for answer in answers] == [200] * 4
    assert [http.me(token=token) for token in (first, second, third, fourth)] == [None] * 4


@BOTH
@pytest.mark.parametrize(
    "more", [{"client_id": "shop", "client_secret": SHOP[1]}, {"client_secret": SHOP[1]}, {"client_id": "bank"}]
)
def test_REV_4_two_authentications_at_once_are_refused(http: Site, path: str, more: dict[str, str]) -> None:
    """RFC 6749 2.3: one method per request, and one client."""
    token = http.issuer.mint("ann")

    answer = http.post(path, form={"token": token} | more, headers=basic(*SHOP))

    assert error(answer) == (400, "invalid_request")
    assert http.me(token=token) == "ann"


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize(
    "client", [("a:b", "x"), ("a+b", "100% +/=&é"), ("ab", "p:q"), ("a b", "%41"), ("a%20b", "%zz"), ("ab", "%ff%")]
)
def test_REV_4_ids_and_secrets_of_any_characters_work_in_either_spelling(
    build: BuildSite, client: tuple[str, str], encoded: bool
) -> None:
    """RFC 6749 wants them form-encoded inside Basic; many clients send them as they stand. A colon must be encoded."""
    http = build(clients={client[0]: {"secret": client[1]}})
    token = http.issuer.mint("ann")

    answer = http.post(REVOKE, form={"token": token}, headers=basic(*client, encoded=encoded))

    assert answer.status == (200 if encoded or ":" not in client[0] else 401)


def test_REV_4_a_field_that_means_two_clients_is_nobody(build: BuildSite) -> None:
    """Whoever could be either must not act as one of them."""
    http = build(clients={"a+b": {"secret": "s"}, "a b": {"secret": "s"}})
    token = http.issuer.mint("ann")

    answers = [
        http.post(REVOKE, form={"token": token}, headers=basic("a+b", "s", encoded=each)) for each in (True, False)
    ]

    assert [answer.status for answer in answers] == [200, 401]


@given(name=st.text(min_size=1), secret=st.text(min_size=1))
def test_REV_4_an_encoded_pair_is_always_among_its_readings(name: str, secret: str) -> None:
    """Whatever the characters are."""
    try:
        field = basic(name, secret)["Authorization"]
    except UnicodeEncodeError:
        field = ""

    assert not field or _basic(field)[0] == (name, secret)


def test_REV_4_who_guesses_secrets_must_wait_and_the_right_secret_need_not(http: Site) -> None:
    """Behind one proxy a stranger's guesses and the client have one address, and its tokens must die all the same."""
    token, wrong = http.issuer.mint("ann"), ("shop", "wrong")
    for _ in range(FAILURES):
        assert revoke(http, token, client=wrong).status == 401

    guessed = revoke(http, token, client=wrong)
    elsewhere = http.post(INTROSPECT, form={"token": token}, headers=basic(*wrong), address="192.0.2.77")
    alive = http.post(INTROSPECT, form={"token": token}, headers=basic(*SHOP)).json["active"]
    right = revoke(http, token)
    http.clock.move(FAILURE_SECONDS)
    later = revoke(http, token, client=wrong)

    assert error(guessed) == (429, "rate_limited")
    assert guessed.header("retry-after") == str(int(FAILURE_SECONDS))
    assert alive is True
    assert [elsewhere.status, right.status, later.status] == [401, 200, 401]
    (event,) = http.told("rate_limited")
    assert "LOGOUT_TRUSTED_PROXIES" in (event.detail or "")


def test_REV_4_a_right_secret_is_never_counted_as_a_guess(http: Site) -> None:
    """A busy client is no attacker."""
    answers = [revoke(http, "x", client=SHOP).status for _ in range(FAILURES + 5)]

    assert set(answers) == {200}


@pytest.mark.parametrize("secret", ["sha256:", "sha256:" + "A" * 64, "sha256:" + "0" * 63, "sha256:" + "g" * 64])
@pytest.mark.parametrize("as_object", [True, False])
def test_REV_4_a_digest_with_a_mistake_is_told_at_start(secret: str, as_object: bool) -> None:
    """Not taken for a secret of that text; and the message does not show it."""
    client = Client(secret) if as_object else {"secret": secret}

    with pytest.raises(ConfigurationError, match="E002 LOGOUT_CLIENTS") as caught:
        LogoutSettings.load(environ={}, env_file=None, clients={"robot": client})

    assert secret.removeprefix("sha256:")[:60] not in str(caught.value) or secret == "sha256:"


def test_REV_5_the_token_of_another_client_is_left_alone(http: Site) -> None:
    """The answer does not say so (standards.md 2, conflict 5); the audit log does."""
    token = http.issuer.mint("ann", client_id="bank", sid="s")

    answer = revoke(http, token)

    assert (answer.status, answer.body) == (200, b"")
    assert http.me(token=token) == "ann"
    assert http.count() == 0
    assert [event.outcome for event in http.told("token_refused")] == ["refused"]
    assert revoke(http, token, client=BANK).status == 200
    assert http.me(token=token) is None


@pytest.mark.parametrize("claim", ["client_id", "azp"])
def test_REV_5_a_client_ends_its_own_tokens(http: Site, claim: str) -> None:
    """By either name of the claim."""
    token = http.issuer.mint("ann", **{claim: "shop"})

    revoke(http, token)

    assert http.me(token=token) is None


def test_REV_5_a_token_of_another_issuer_must_name_the_client(build: BuildSite) -> None:
    """What another issuer gave to nobody in particular is not ours to end."""
    http = build(
        jwt_issuer="https://app.example.com",
        issuers={FOREIGN: {"keys": [JWT_KEY], "algorithms": "HS256", "audience": "api"}},
    )
    unnamed = http.issuer.mint("ann", iss=FOREIGN, aud="api")
    own = http.issuer.mint("ann", iss=FOREIGN, aud="api", client_id="shop")
    assert introspect(http, own)["iss"] == FOREIGN
    assert introspect(http, unnamed) == {"active": False}

    answers = [revoke(http, token) for token in (unnamed, own)]

    assert [answer.status for answer in answers] == [200, 200]
    assert http.me(token=unnamed) == "ann"
    assert http.me(token=own) is None


def test_REV_5_an_opaque_token_dies_alone_by_whoever_holds_it(http: Site) -> None:
    """Nobody can tell whose it is; presenting it is what proves the right to end it."""
    assert http.me(token="opaque-token-of-ann") == "ann"

    answer = revoke(http, "opaque-token-of-ann")

    assert answer.status == 200
    assert http.me(token="opaque-token-of-ann") is None
    assert http.me(token="opaque-token-of-bob") == "bob"


@pytest.mark.parametrize("token", ["expired", "forged", "unsigned", "malformed", "revoked", "unknown", "logout token"])
def test_REV_7_a_token_that_is_dead_anyway_is_a_success(http: Site, token: str) -> None:
    """200, no body, and nobody else is logged out."""
    ann = http.login("ann")
    claims = {"sub": "ann", "sid": ann.sid, "jti": "token-1", "exp": http.clock() + 60}
    text = {
        "expired": http.issuer.mint("bob", life=-60),
        "forged": jwt.encode(claims, "another key of more than 32 bytes", algorithm="HS256"),
        "unsigned": jwt.encode(claims, None, algorithm="none"),
        "malformed": ann.access + "=",
        "revoked": http.issuer.mint("bob"),
        "unknown": "what nobody issued",
        "logout token": http.issuer.mint("bob", events={"http://schemas.openid.net/event/backchannel-logout": {}}),
    }[token]
    if token == "revoked":
        http.call("revoke_token", text)

    answer = revoke(http, text)

    assert (answer.status, answer.body) == (200, b"")
    assert http.alive(ann) == ALL


def test_REV_7_a_forged_token_leaves_nothing_in_the_store(http: Site) -> None:
    """Nobody can fill it with what no verifier would accept."""
    revoke(http, jwt.encode({"sub": "ann", "jti": "x"}, "another key of more than 32 bytes", algorithm="HS256"))

    assert http.count() == 0


def test_REV_8_the_token_is_dead_at_once_for_the_guard_and_for_every_question(http: Site) -> None:
    """And so it is for another process that opens the same store."""
    token = http.issuer.mint("ann")
    assert http.me(token=token) == "ann"

    revoke(http, token)

    assert http.get("/me", token=token).json["error"] == "token_revoked"
    assert introspect(http, token) == {"active": False}
    assert http.call("is_revoked", token) is True


def test_REV_8_another_process_on_the_same_store_knows_it(build: BuildSite) -> None:
    """A second worker, with a store object of its own."""
    one, other = build(), build()
    token = one.issuer.mint("ann")
    assert other.me(token=token) == "ann"

    revoke(one, token)

    assert other.me(token=token) is None


@pytest.mark.parametrize("sid", [True, False])
def test_REV_9_a_refresh_token_ends_the_access_tokens_of_its_login(http: Site, sid: bool) -> None:
    """Also those that it gave later, and those of a login without a session id."""
    ann, other = http.login("ann", sid=sid), http.login("ann", sid=sid)
    later = http.refresh(ann.refresh).json["access_token"] if sid else ann.access

    revoke(http, ann.refresh)

    assert http.me(token=later) is None
    assert http.alive(ann) == set()
    assert http.alive(other) == ALL


def test_REV_9_without_revoke_bound_a_token_dies_alone(build: BuildSite) -> None:
    """LOGOUT_REVOKE_BOUND=false: the presented token only."""
    http = build(revoke_bound=False)
    ann = http.login("ann")

    revoke(http, ann.access)

    assert http.alive(ann) == {"refresh", "cookie"}


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "id_token", "urn:example:none", "", "\u00e9"])
def test_REV_10_no_type_of_token_is_unsupported(http: Site, hint: str) -> None:
    """Whatever a client takes its token for, it is revoked; the error for types that are not is never given."""
    token = http.issuer.mint("ann")

    answer = revoke(http, token, token_type_hint=hint)

    assert (answer.status, answer.body) == (200, b"")
    assert http.me(token=token) is None


def test_INT_7_what_was_seen_alive_is_not_believed_beyond_its_end(http: Site) -> None:
    """The guard remembers a token that passed: to the second of its end, and not over its revocation elsewhere."""
    until, revoked = http.issuer.mint("ann", life=60.75), http.issuer.mint("ann")
    for token in (until, revoked):
        assert [http.me(token=token) for _ in range(3)] == ["ann"] * 3

    revoke(http, revoked)
    http.clock.move(60.5)
    still = http.get("/me", token=until).status
    http.clock.move(0.25)

    assert (still, http.get("/me", token=until).status) == (200, 401)
    assert http.get("/me", token=revoked).json["error"] == "token_revoked"
    assert introspect(http, until) == introspect(http, revoked) == {"active": False}


@BOTH
def test_REV_11_INT_5_a_store_that_is_away_is_503_and_never_a_verdict(http: Site, path: str) -> None:
    """The client must take the token for alive, and ask again."""
    token = http.issuer.mint("ann")
    http.store.broken = True

    answer = http.post(path, form={"token": token}, headers=basic(*SHOP))
    http.store.broken = False

    assert error(answer) == (503, "temporarily_unavailable")
    assert answer.header("retry-after") == "1"
    assert http.me(token=token) == "ann"


def test_REV_11_what_the_journal_took_is_202_and_dead_here(http: Site, tmp_path: Path) -> None:
    """It is true: dead on this host, everywhere else when the store is back."""
    token = http.issuer.mint("ann")

    with away_with_a_journal(http, tmp_path):
        answer = revoke(http, token)

        assert (answer.status, answer.body) == (202, b"")
        assert http.me(token=token) is None
        assert introspect(http, token) == {"active": False}


def test_REV_12_tokens_that_cannot_be_verified_have_a_quota(http: Site) -> None:
    """Above it nothing is stored, and the answer does not say that anything was."""
    assert getattr(http.logout, "inner", http.logout).service.limiter.take_quota("192.0.2.1", QUOTA) == 0
    own = http.issuer.mint("ann")

    refused = revoke(http, "one token too many")
    verified = revoke(http, own)

    assert error(refused) == (429, "rate_limited")
    assert int(refused.header("retry-after") or 0) > 0
    assert len(http.told("quota_exceeded")) == 1
    assert verified.status == 200
    assert http.me(token=own) is None


@BOTH
def test_REV_12_a_body_that_is_too_large_is_refused(http: Site, path: str) -> None:
    """Before it is read as a form."""
    answer = http.post(path, form={"token": "x" * 70_000}, headers=basic(*SHOP))

    assert error(answer)[0] == 413


def test_REV_12_a_token_that_is_too_long_is_unknown(http: Site) -> None:
    """It is not hashed, decoded or stored."""
    answer = revoke(http, "x" * 20_000)

    assert answer.status == 200
    assert http.count() == 0


@BOTH
def test_REV_13_scripts_of_trusted_origins_may_read_the_answer_and_no_others(build: BuildSite, path: str) -> None:
    """CORS as for the other endpoints."""
    http = build(trusted_origins="https://spa.example.com")
    token = http.issuer.mint("ann")

    ours = http.post(path, form={"token": token}, headers=basic(*SHOP) | {"Origin": "https://spa.example.com"})
    theirs = http.post(path, form={"token": token}, headers=basic(*SHOP) | {"Origin": "https://evil.example.com"})
    preflight = http.request(
        "OPTIONS", path, headers={"Origin": "https://spa.example.com", "Access-Control-Request-Method": "POST"}
    )

    assert ours.header("access-control-allow-origin") == "https://spa.example.com"
    assert theirs.header("access-control-allow-origin") is None
    assert preflight.header("access-control-allow-methods") == "POST, OPTIONS"


@BOTH
@pytest.mark.parametrize(
    "form",
    ["token={0}&token={0}", "token={0}&token_type_hint=a&token_type_hint=b", "token={0}&client_id=shop&client_id=shop"],
)
def test_REV_14_a_repeated_parameter_is_refused(http: Site, path: str, form: str) -> None:
    """RFC 6749 3.2; nothing is revoked."""
    token = http.issuer.mint("ann")
    kind = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = http.post(path, body=form.format(token).encode(), headers=basic(*SHOP) | kind)

    assert error(answer) == (400, "invalid_request")
    assert http.me(token=token) == "ann"


@BOTH
def test_REV_14_what_is_in_the_query_is_ignored(http: Site, path: str) -> None:
    """It would be in every log."""
    token = http.issuer.mint("ann")

    answer = http.post(f"{path}?token={token}&client_id=shop", form={}, headers=basic(*SHOP))

    assert error(answer) == (400, "invalid_request")
    assert http.me(token=token) == "ann"


def test_REV_14_neither_token_nor_secret_is_in_any_log_or_event(http: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Whether the request succeeded, was refused or failed."""
    token = http.issuer.mint("ann", client_id="bank")
    with caplog.at_level(logging.DEBUG):
        revoke(http, token)
        revoke(http, token, client=("shop", "an invented one"))
        revoke(http, token, client=BANK)
        http.store.broken = True
        revoke(http, http.issuer.mint("ann"))

    told = caplog.text + repr(http.events)
    assert "client_refused" in told
    for secret in (*token.split("."), "an invented one", SHOP[1], BANK[1], basic(*BANK)["Authorization"][6:]):
        assert secret not in told


def test_REV_14_a_revocation_is_in_the_audit_log(http: Site) -> None:
    """With its outcome and where it came from."""
    revoke(http, http.issuer.mint("ann"))

    (event,) = http.told("logout")
    assert (event.outcome, event.user, event.reason, event.client_address) == (
        "done",
        "ann",
        "revoke_token",
        "192.0.2.1",
    )


# ---- RFC 7662 ----------------------------------------------------------------------------------------


def test_INT_2_the_tokens_own_holder_is_no_caller(http: Site) -> None:
    """Whoever found a token must not learn by it whether it is alive."""
    token = http.issuer.mint("ann")

    answer = http.post(INTROSPECT, form={"token": token}, token=token)

    assert error(answer) == (401, "invalid_client")
    assert "active" not in answer.text


def test_INT_3_INT_6_an_active_token_is_described(http: Site) -> None:
    """With all that it says of itself, and nothing that it does not say."""
    token = http.issuer.mint(
        "ann", client_id="shop", scope="read write", sid="s1", jti="j1", iss="https://issuer.example.com",
        aud=["a", "b"], nbf=http.clock() - 5, preferred_username="Ann", email="ann@example.com",
    )  # fmt: skip
    now = int(http.clock())

    told = introspect(http, token)

    assert told == {
        "active": True, "scope": "read write", "client_id": "shop", "username": "Ann", "exp": now + 3600, "iat": now,
        "nbf": now - 5, "sub": "ann", "aud": ["a", "b"], "iss": "https://issuer.example.com", "jti": "j1", "sid": "s1",
    }  # fmt: skip
    assert all(type(told[name]) is int for name in ("exp", "iat", "nbf"))


def test_INT_6_what_a_token_does_not_say_or_says_oddly_is_left_out(http: Site) -> None:
    """Never null, never of another type than the standard says."""
    token = http.issuer.mint("ann", jti=None, iat=None, scope=["read", "write"], aud=5, cnf="x", username=["ann"])

    told = introspect(http, token)

    assert told == {"active": True, "sub": "ann", "exp": int(http.clock()) + 3600, "scope": "read write"}


def test_INT_6_an_access_token_by_its_type_is_a_bearer_token(http: Site) -> None:
    """RFC 9068; of other tokens nobody knows the type."""
    claims = {"sub": "ann", "exp": http.clock() + 60}
    token = jwt.encode(claims, JWT_KEY, algorithm="HS256", headers={"typ": "at+jwt"})

    assert introspect(http, token)["token_type"] == "Bearer"


@pytest.mark.parametrize(
    "kind",
    ["unknown", "malformed", "forged", "unsigned", "of another client", "expired", "not yet", "revoked", "event"],
)
def test_INT_4_every_other_token_is_exactly_inactive(http: Site, kind: str) -> None:
    """No member says why."""
    token = {
        "unknown": "opaque-token-of-ann",
        "malformed": http.issuer.mint("ann") + "=",
        "forged": jwt.encode({"sub": "ann"}, "another key of more than 32 bytes", algorithm="HS256"),
        "unsigned": jwt.encode({"sub": "ann"}, None, algorithm="none"),
        "of another client": http.issuer.mint("ann", client_id="bank"),
        "expired": http.issuer.mint("ann", life=0),
        "not yet": http.issuer.mint("ann", nbf=http.clock() + 60),
        "revoked": http.issuer.mint("ann"),
        "event": http.issuer.mint("ann", events={}),
    }[kind]
    if kind == "revoked":
        http.call("revoke_token", token)

    answer = http.post(INTROSPECT, form={"token": token}, headers=basic(*SHOP))

    assert answer.status == 200
    assert json.loads(answer.body) == {"active": False}


@pytest.mark.parametrize("way", ["token", "session", "user", "client", "everyone", "exp", "logout"])
def test_INT_5_a_token_that_any_check_refuses_is_inactive(http: Site, way: str) -> None:
    """And it was active before."""
    token = http.issuer.mint("ann", sid="s", client_id="shop")
    assert introspect(http, token)["active"] is True

    match way:
        case "token":
            http.call("revoke_token", token)
        case "session":
            http.call("revoke_session", "s")
        case "user":
            http.call("revoke_user", "ann")
        case "client":
            http.call("revoke_client", "shop")
        case "everyone":
            http.call("revoke_everyone")
        case "exp":
            http.clock.move(3600)
        case "logout":
            http.post("/auth/logout", token=token)

    assert introspect(http, token) == {"active": False}


def test_INT_5_a_record_that_does_not_refuse_is_no_proof_of_life(http: Site, tmp_path: Path) -> None:
    """The journal alone knows an older cut-off of the user; what else the store knows, nobody can tell."""
    token = http.issuer.mint("ann")

    with away_with_a_journal(http, tmp_path):
        http.call("revoke_user", "ann", before=http.clock() - 100)
        answer = http.post(INTROSPECT, form={"token": token}, headers=basic(*SHOP))

    assert error(answer) == (503, "temporarily_unavailable")
    assert introspect(http, token)["active"] is True


def test_INT_5_leeway_is_that_of_the_guard(build: BuildSite) -> None:
    """What the guard would pass is active."""
    http = build(jwt_leeway=30)
    token = http.issuer.mint("ann", life=-20)

    assert introspect(http, token)["active"] is True
    http.clock.move(11)
    assert introspect(http, token) == {"active": False}


def test_INT_8_a_token_bound_to_a_key_says_to_which(http: Site) -> None:
    """RFC 9449 6.2; without the key it is worth nothing."""
    token = http.issuer.mint("ann", cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})

    told = introspect(http, token)

    assert told["cnf"] == {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
    assert told["token_type"] == "DPoP"


def test_INT_9_unknown_and_revoked_cost_the_store_the_same(http: Site) -> None:
    """Nobody can tell them apart by the time of the answer."""
    revoked = http.issuer.mint("ann")
    http.call("revoke_token", revoked)
    asked = []
    for token in (revoked, http.issuer.mint("ann"), http.issuer.mint("ann", client_id="bank"), "unknown"):
        http.store.calls.clear()
        introspect(http, token)
        asked.append(list(http.store.calls))

    assert asked == [["find"]] * 4


def test_SP_19_a_client_ends_its_own_server_token_and_a_users_logout_does_not(http: Site) -> None:
    """A token of the client itself is ended by the client alone."""
    server = http.issuer.mint("shop", client_id="shop")
    ann = http.login("ann")
    http.post("/auth/logout", token=ann.access, json={"refresh_token": server})
    assert introspect(http, server)["active"] is True

    revoke(http, server)

    assert introspect(http, server) == {"active": False}


def test_the_endpoints_are_off_by_default(site: BuildSite, tmp_path: Path) -> None:
    """The application may have its own."""
    http = site()

    assert [http.post(path, form={"token": "x"}).status for path in (REVOKE, INTROSPECT)] == [404, 404]


@pytest.mark.parametrize(
    ("given", "mistake"),
    [
        ({"jwt_key": None, "jwt_algorithms": None}, "E112 LOGOUT_ENDPOINTS: 'oauth'"),
        ({"clients": {"page": {}}}, "E113 LOGOUT_CLIENTS"),
    ],
)
def test_the_endpoints_do_not_start_without_what_they_need(
    build: BuildSite, given: dict[str, Any], mistake: str
) -> None:
    """A key that verifies tokens, though cookies could be, and a client that can say who it is."""
    with pytest.raises(ConfigurationError, match=mistake):
        build(**given)


def test_a_hashed_secret_is_compared_by_its_digest_alone() -> None:
    """The setting holds nothing that a client could send."""
    digest = hashlib.sha256(b"random").hexdigest()

    assert Client("sha256:" + digest).is_secret("random")
    assert not Client("sha256:" + digest).is_secret(digest)
    assert not Client(None).is_secret("")
