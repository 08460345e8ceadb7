"""Universal Logout: GTR-* of standards.md 7.1, and JBP-8 for the JWT by which its caller proves itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from logout_middleware.endpoints import global_revocation
from logout_middleware.endpoints.limits import Limiter
from logout_middleware.values import RateLimit
from tests.client import ORIGIN, Answer, BuildSite, Site

from .clients import away_with_a_journal
from .pushing import (
    AUDIENCE,
    CLIENT_ID,
    ISS,
    MISSING,
    OTHER,
    OWN,
    Transmitter,
    is_alive,
    iss_sub,
    issuers,
    key_of_issuer,
    opaque,
    pushed_site,
    sign,
)

PATH = "/auth/global-token-revocation"
TYPE = "global-token-revocation+jwt"


class Caller(Transmitter):
    """An identity provider that logs users out by Universal Logout."""

    def proof_claims(self, **claims: Any) -> dict[str, Any]:
        """What Okta puts into the JWT of a call."""
        now = int(self.http.clock())
        usual = {
            "iss": self.issuer, "sub": CLIENT_ID, "aud": ORIGIN + PATH, "jti": f"gtr-{self._number()}", "iat": now,
            "nbf": now - 300, "exp": now + 300,
        }  # fmt: skip
        return {name: value for name, value in (usual | claims).items() if value is not MISSING}

    def proof(self, *, typ: str | None = TYPE, **claims: Any) -> str:
        """The JWT of a call."""
        return sign(self.proof_claims(**claims), typ=typ, by=self.issuer)

    def call(self, body: Any, *, proof: str | None = None, **given: Any) -> Answer:
        """Ask for this."""
        return self.http.post(PATH, json=body, token=proof or self.proof(), **given)

    def end(self, subject: Any, **given: Any) -> Answer:
        """Log this subject out."""
        return self.call({"sub_id": subject}, **given)


@pytest.fixture
def http(site: BuildSite) -> Site:
    return pushed_site(site, public_url=ORIGIN)


@pytest.fixture
def idp(http: Site) -> Caller:
    return Caller(http)


@pytest.mark.parametrize("subject", [iss_sub(), opaque("ann")])
@pytest.mark.parametrize("member", ["sub_id", "subject"])
def test_GTR_1_the_subject_is_named_in_json(http: Site, idp: Caller, member: str, subject: Any) -> None:
    """By issuer and subject or by id; in the member of the draft, or of its first versions."""
    hit, spared = idp.user_token(), idp.user_token("bob")

    answer = idp.call({member: subject})

    assert (answer.status, answer.body, answer.header("cache-control")) == (204, b"", "no-store")
    assert not is_alive(http, hit)
    assert is_alive(http, spared)


def test_GTR_1_an_email_names_a_user_where_users_are_known_by_it(site: BuildSite) -> None:
    """LOGOUT_USER_CLAIM says so."""
    http = pushed_site(site, public_url=ORIGIN, user_claim="email")
    idp = Caller(http)
    token = idp.user_token(email="ann@example.com")

    assert idp.end({"format": "email", "email": "ann@example.com"}).status == 204

    assert not is_alive(http, token)


BODIES: list[Any] = [
    {}, {"sub_id": None}, {"sub_id": "ann"}, {"sub_id": {}}, {"sub_id": {"format": "opaque"}},
    {"sub_id": {"format": "opaque", "id": 7}}, {"sub_id": {"format": "iss_sub", "sub": "ann"}},
    {"sub_id": {"format": "email", "email": "ann"}}, {"sub_id": opaque("ann"), "subject": opaque("ann")},
    {"sub_id": opaque("ann"), "more": 1}, {"sub_id": {"format": "phone_number", "phone_number": "+1"}},
    {"sub_id": {"format": "complex", "user": iss_sub()}}, {"sub_id": {"format": "session", "id": "s1"}}, [], "ann",
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=json.dumps)
def test_GTR_1_GTR_4_what_is_malformed_is_400(http: Site, idp: Caller, body: Any) -> None:
    """And nobody is logged out."""
    token = idp.user_token()

    answer = idp.call(body)

    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    assert is_alive(http, token)


def test_GTR_1_only_json_by_post_over_https(http: Site, site: BuildSite) -> None:
    """Other bodies, other methods, and plain http are refused."""
    idp = Caller(http)
    plain = Caller(pushed_site(site, origin="http://app.example.com"))

    form = http.post(PATH, form={"sub_id": "ann"}, token=idp.proof())
    large = http.post(
        PATH, body=b'{"sub_id":"' + b"a" * 65536 + b'"}', token=idp.proof(),
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    got = http.get(PATH, token=idp.proof())

    assert [each.status for each in (form, large, got)] == [415, 413, 405]
    assert got.header("allow") == "POST, OPTIONS"
    assert plain.end(iss_sub()).status == 400


REFUSED: dict[str, dict[str, Any]] = {
    "no jti": {"jti": MISSING}, "empty jti": {"jti": ""}, "jti is a number": {"jti": 1}, "no iat": {"iat": MISSING},
    "no exp": {"exp": MISSING}, "expired": {"exp": 1_799_999_000}, "exp is a text": {"exp": "1800000300"},
    "from tomorrow": {"iat": 1_800_086_400, "exp": 1_800_086_700}, "not valid yet": {"nbf": 1_800_000_100},
    "nbf is a text": {"nbf": "x"}, "lives for a year": {"exp": 1_831_536_000}, "another aud": {"aud": "somebody"},
    "no aud": {"aud": MISSING}, "aud is near": {"aud": ORIGIN + PATH + "/"}, "no iss": {"iss": MISSING},
    "iss unknown": {"iss": "https://nobody.example.com"}, "iss of another": {"iss": OTHER},
    "iss is a list": {"iss": [ISS]}, "an ID token": {"nonce": "n"}, "a logout token": {"events": {"x": {}}},
}  # fmt: skip


@pytest.mark.parametrize("claims", REFUSED.values(), ids=REFUSED.keys())
def test_GTR_2_the_caller_proves_itself_by_a_signed_jwt(http: Site, idp: Caller, claims: dict[str, Any]) -> None:
    """One that is not sound is 401 with a challenge, and nobody is logged out."""
    token = idp.user_token()

    answer = idp.end(iss_sub(), proof=idp.proof(**claims))

    assert (answer.status, answer.json["error"]) == (401, "invalid_token")
    assert (answer.header("www-authenticate") or "").startswith("Bearer")
    assert is_alive(http, token)
    assert [each.outcome for each in http.told("push_refused")] == ["refused"]


def test_GTR_2_who_signed_must_be_the_issuer(http: Site, idp: Caller) -> None:
    """By another key, by another algorithm, by nobody, or without a token: 401."""
    claims, token = idp.proof_claims(), idp.user_token()
    proofs = [
        sign(claims, typ=TYPE, by=OTHER), sign(claims, typ=TYPE, alg="PS256"), sign(claims, typ=TYPE, alg="none"),
        sign(claims, typ=TYPE, alg="HS256", key="k" * 40), "opaque-token", "a.b.c",
    ]  # fmt: skip

    answers = [idp.end(iss_sub(), proof=each).status for each in proofs]
    answers.append(http.post(PATH, json={"sub_id": iss_sub()}).status)
    answers.append(http.post(PATH, json={"sub_id": iss_sub()}, headers={"Authorization": "Basic YTpi"}).status)

    assert answers == [401] * 8
    assert is_alive(http, token)


KINDS = ["logout+jwt", "secevent+jwt", "at+jwt", "application/at+jwt", "dpop+jwt", "command+jwt", "statuslist+jwt"]


@pytest.mark.parametrize("typ", KINDS)
def test_JBP_8_a_token_of_another_kind_is_no_proof(http: Site, idp: Caller, typ: str) -> None:
    """However its claims look, and to whomever it is addressed."""
    token = idp.user_token()

    assert idp.end(iss_sub(), proof=idp.proof(typ=typ)).status == 401

    assert is_alive(http, token)


@pytest.mark.parametrize("typ", ["JWT", None])
@pytest.mark.parametrize("aud", [CLIENT_ID, AUDIENCE, [AUDIENCE, CLIENT_ID]])
def test_GTR_2_no_user_can_log_out_another_with_his_own_token(
    http: Site, idp: Caller, typ: str | None, aud: Any
) -> None:
    """Many issuers do not type their access and ID tokens, which have issuer, audience, times and id just as well."""
    victim = idp.user_token("bob")
    mine = sign({**idp.proof_claims(aud=aud), "sub": "ann", "sid": "s1"}, typ=typ)

    assert idp.end(iss_sub("bob"), proof=mine).status == 401

    assert is_alive(http, victim)


@pytest.mark.parametrize(
    ("typ", "aud"),
    [(TYPE, ORIGIN + PATH), (TYPE, CLIENT_ID), (TYPE, [AUDIENCE]), (TYPE.upper(), CLIENT_ID),
     ("application/" + TYPE, CLIENT_ID), ("JWT", ORIGIN + PATH), (None, [ORIGIN + PATH])],
)  # fmt: skip
def test_GTR_2_a_jwt_made_for_this_is_a_proof(http: Site, idp: Caller, typ: str | None, aud: Any) -> None:
    """Typed for it, or addressed to this very endpoint."""
    assert idp.end(iss_sub(), proof=idp.proof(typ=typ, aud=aud)).status == 204


OF_A_USER: list[dict[str, Any]] = [
    {"sub": "ann"}, {"sub": ["our-client"]}, {"sub": 7}, {"sub": ""}, {"azp": CLIENT_ID}, {"scope": ""}, {"scp": ["a"]},
    {"cid": CLIENT_ID}, {"uid": "ann"}, {"sid": "s1"}, {"auth_time": 1}, {"at_hash": "x"}, {"client_id": CLIENT_ID},
]  # fmt: skip


@pytest.mark.parametrize("typ", ["JWT", None])
@pytest.mark.parametrize("claims", OF_A_USER, ids=str)
def test_GTR_2_an_untyped_token_of_a_user_is_no_proof_whoever_it_is_for(
    http: Site, idp: Caller, typ: str | None, claims: dict[str, Any]
) -> None:
    """Where users may ask for a token for any resource, one of them can ask for one for this very address."""
    victim = idp.user_token("bob")

    answer = idp.end(iss_sub("bob"), proof=idp.proof(typ=typ, **claims))

    assert answer.status == 401
    assert is_alive(http, victim)
    assert idp.end(iss_sub("bob"), proof=idp.proof(**claims)).status == 204


@pytest.mark.parametrize("sub", [ISS, CLIENT_ID, MISSING])
def test_GTR_2_an_untyped_assertion_of_the_caller_itself_is_a_proof(http: Site, idp: Caller, sub: Any) -> None:
    """It speaks of nobody but the provider, or of us as its client."""
    assert idp.end(iss_sub(), proof=idp.proof(typ="JWT", sub=sub)).status == 204


def test_GTR_2_a_proof_is_good_once(http: Site, idp: Caller) -> None:
    """Whoever overhears a call cannot make another of it."""
    proof = idp.proof()
    assert idp.end(iss_sub(), proof=proof).status == 204
    http.clock.move(1.0)
    new, bob = idp.user_token(), idp.user_token("bob")

    again = [idp.end(iss_sub(user), proof=proof).status for user in ("ann", "bob")]

    assert again == [401, 401]
    assert [is_alive(http, each) for each in (new, bob)] == [True, True]


def test_GTR_2_a_proof_that_was_not_used_up_is_still_good(http: Site, idp: Caller) -> None:
    """A call that was refused for its body, or that the store did not take, can be repeated."""
    proof, token = idp.proof(), idp.user_token()
    assert idp.call({}, proof=proof).status == 400
    http.store.broken = True
    away = idp.end(iss_sub(), proof=proof)
    http.store.broken = False

    assert (away.status, away.header("retry-after")) == (503, "1")
    assert is_alive(http, token)
    assert idp.end(iss_sub(), proof=proof).status == 204
    assert not is_alive(http, token)


def test_GTR_2_keys_that_cannot_be_reached_mean_try_again(site: BuildSite) -> None:
    """Not knowing is no refusal."""
    away = json.dumps({ISS: {"jwks_url": "http://127.0.0.1:9/jwks", "client_id": CLIENT_ID}})
    http = pushed_site(site, public_url=ORIGIN, issuers=away, private_addresses="true")

    assert Caller(http).end(iss_sub()).status == 503


def test_GTR_3_everything_of_the_user_is_dead_and_only_a_new_login_helps(http: Site, idp: Caller) -> None:
    """Refresh tokens, access tokens, every session; what an old session is refreshed to, as well."""
    hit = [idp.user_token(), idp.user_token(sid="s2"), idp.user_token(kind="refresh", exp=http.clock() + 8e6)]
    http.get("/me", token=hit[0])
    http.clock.move(5.0)

    assert idp.end(iss_sub()).status == 204

    http.clock.move(1.0)
    assert [is_alive(http, each) for each in hit] == [False] * 3
    assert not is_alive(http, idp.user_token(sid="s1"))
    assert is_alive(http, idp.user_token(sid="s3"))
    assert [each.session for each in http.told("session_ended")] == ["s1"]


def test_GTR_3_cookies_of_our_own_users_die_by_their_provider(site: BuildSite) -> None:
    """One realm: the provider that logs users in logs them out of everything here."""
    http = pushed_site(site, public_url=ORIGIN, oidc_issuer=ISS, oidc_client_id=CLIENT_ID)
    device = http.login("ann")

    assert Caller(http).end(iss_sub()).status == 204

    assert http.alive(device) == set()


def test_GTR_4_in_the_journal_is_202(http: Site, idp: Caller, tmp_path: Path) -> None:
    """In force here and durable, everywhere else when the store is back; 204 would say too much."""
    token = idp.user_token()

    with away_with_a_journal(http, tmp_path):
        answer = idp.end(iss_sub())
        refused_here = http.get("/me", token=token).status

    assert (answer.status, refused_here) == (202, 401)


def test_GTR_4_what_cannot_be_mapped_is_422(http: Site, idp: Caller) -> None:
    """Users are not known by their email here, and that is not hidden behind a success."""
    answer = idp.end({"format": "email", "email": "ann@example.com"})

    assert (answer.status, answer.json["error"]) == (422, "unmappable_subject")


@pytest.mark.parametrize("issuer", [OTHER, OWN, "https://nobody.example.com"])
def test_GTR_5_an_issuer_names_only_its_own_users(site: BuildSite, issuer: str) -> None:
    """403, and nobody is logged out, whoever he is."""
    http = pushed_site(site, public_url=ORIGIN, jwt_issuer=OWN)
    idp = Caller(http)
    tokens = [Transmitter(http, OTHER).user_token(), http.issuer.mint("ann", iss=OWN), idp.user_token()]

    answer = idp.end(iss_sub("ann", issuer))

    assert (answer.status, answer.json["error"]) == (403, "access_denied")
    assert [is_alive(http, each) for each in tokens] == [True] * 3


def test_GTR_5_the_same_name_at_another_issuer_is_somebody_else(http: Site, idp: Caller) -> None:
    """An opaque id is one of the caller's."""
    spared = Transmitter(http, OTHER).user_token()

    assert idp.end(opaque("ann")).status == 204

    assert is_alive(http, spared)


def test_GTR_6_the_metadata_names_the_endpoint(http: Site) -> None:
    """An identity provider finds it by itself."""
    members = http.get("/.well-known/logout-configuration").json

    assert members["global_token_revocation_endpoint"] == ORIGIN + PATH
    assert Caller(http).end(iss_sub()).status == 204


def test_GTR_7_nobody_learns_who_is_known(http: Site, idp: Caller) -> None:
    """A user who was never here gets the same answer, and a cut-off: a login under way is hit, too."""
    http.get("/me", token=idp.user_token("ann"))
    under_way = idp.user_token("stranger")

    answers = [idp.end(iss_sub(user)) for user in ("ann", "stranger")]

    assert [(each.status, each.headers) for each in answers] == [(204, answers[0].headers)] * 2
    assert not is_alive(http, under_way)


def test_GTR_7_calls_are_limited_by_issuer_and_audited(http: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that runs wild must wait; another issuer's calls are not counted with it."""
    inner = getattr(http.logout, "inner", http.logout)
    bearers = global_revocation.Bearers(ORIGIN + PATH, Limiter(inner.service.store, RateLimit(2, 60.0), http.clock))
    monkeypatch.setattr(global_revocation.Bearers, "limiter", bearers.limiter)
    idp, other = Caller(http), Caller(http, OTHER)

    answers = [idp.end(iss_sub(f"user-{number}")) for number in range(3)]

    assert [each.status for each in answers] == [204, 204, 429]
    assert answers[2].header("retry-after") == "60"
    assert other.end(iss_sub("ann", OTHER)).status == 204
    assert [each.detail for each in http.told("push_refused")] == [
        "global token revocation: too many requests of this issuer"
    ]


def test_GTR_7_the_audit_log_says_who_asked(http: Site, idp: Caller) -> None:
    """Whose order it was, from where, and for whom; never the token."""
    proof = idp.proof()
    idp.end(iss_sub(), proof=proof)

    (told,) = http.told("logout")

    assert (told.user, told.reason, told.detail) == ("ann", "global_token_revocation", f"issuer: {ISS}")
    assert told.client_address == "192.0.2.1"
    assert not any(part in str(http.events) for part in proof.split("."))


def test_without_a_public_url_only_a_typed_jwt_is_a_proof(site: BuildSite) -> None:
    """Where nobody knows the address of this endpoint, nothing can be addressed to it."""
    http = pushed_site(site, issuers=issuers())
    idp = Caller(http)

    assert idp.end(iss_sub(), proof=idp.proof(typ="JWT")).status == 401
    assert idp.end(iss_sub(), proof=idp.proof(aud=CLIENT_ID)).status == 204
    assert key_of_issuer(ISS) is not key_of_issuer(OTHER)
