"""Security events that a transmitter pushes: SET-*, CAEP-* of standards.md 7.2, and JBP-8 for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from logout_middleware.events import LogoutEvent
from logout_middleware.flows.pushed import BURNT
from logout_middleware.rules.revocation import pair_key
from logout_middleware.testing import MovableClock
from tests.client import BuildSite, Site

from .clients import away_with_a_journal
from .pushing import (
    AUDIENCE,
    CAEP,
    CLIENT_ID,
    ISS,
    MISSING,
    OTHER,
    OWN,
    REVOKED,
    RISC,
    SSF,
    STREAM_ID,
    Transmitter,
    is_alive,
    iss_sub,
    issuers,
    key_of_issuer,
    opaque,
    public_pem,
    pushed_site,
    refused,
    sign,
)


@pytest.fixture
def http(site: BuildSite) -> Site:
    return pushed_site(site)


@pytest.fixture
def idp(http: Site) -> Transmitter:
    return Transmitter(http)


# ---- the receiver ----------------------------------------------------------------------------------------


def test_SET_1_a_set_is_posted_as_it_is(http: Site, idp: Transmitter) -> None:
    """The body is the token and nothing else; only POST and only its content type."""
    token = idp.user_token()

    answers = [
        refused(idp.push(idp.event(opaque("s1")), content_type="application/jwt")),
        refused(idp.push(idp.event(opaque("s1")), content_type="application/x-www-form-urlencoded")),
        refused(idp.push(b"\xff\xfe")),
        refused(idp.push(b"")),
        refused(idp.push(idp.event(opaque("s1")) + "=")),
    ]

    assert answers == [(400, "invalid_request")] * 5
    assert is_alive(http, token)
    got = http.get("/auth/ssf/events")
    assert (got.status, got.header("allow")) == (405, "POST, OPTIONS")
    assert idp.push(idp.event(opaque("s1")), content_type="Application/SecEvent+JWT; charset=utf-8").status == 202
    assert not is_alive(http, token)


def test_SET_1_a_body_that_is_too_large_is_refused(idp: Transmitter) -> None:
    """Nobody fills our memory."""
    assert refused(idp.push(b"a" * (64 * 1024 + 1))) == (413, "invalid_request")


def test_SET_2_accepted_is_202_without_a_body_once_it_is_durable(http: Site, idp: Transmitter) -> None:
    """The transmitter forgets the event then, so it must be in the store."""
    token = idp.user_token()

    answer = idp.tell(opaque("s1"))

    assert (answer.status, answer.body, answer.header("cache-control")) == (202, b"", "no-store")
    assert not is_alive(http, token)


def test_SET_2_while_the_store_is_away_it_is_to_be_sent_again(http: Site, idp: Transmitter) -> None:
    """Never accepted and lost: the same event counts when the store is back."""
    token, event = idp.user_token(), idp.event(opaque("s1"))
    http.store.broken = True

    answer = idp.push(event)

    assert (answer.status, answer.header("retry-after")) == (503, "5")
    http.store.broken = False
    assert is_alive(http, token)
    assert idp.push(event).status == 202
    assert not is_alive(http, token)


@pytest.mark.parametrize("subject", [opaque("s1"), iss_sub()])
def test_SET_2_in_the_journal_is_durable(http: Site, idp: Transmitter, subject: Any, tmp_path: Path) -> None:
    """With a journal the event is accepted while the store is away, and in force here."""
    token = idp.user_token()

    with away_with_a_journal(http, tmp_path):
        answer = idp.tell(subject)
        told = [(each.kind, each.outcome) for each in http.told("logout")]
        refused_here = http.get("/me", token=token).status

    assert answer.status == 202
    assert told == [("logout", "pending")]
    assert refused_here == 401


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("no iss", {"iss": MISSING}, "invalid_issuer"),
    ("another iss", {"iss": "https://nobody.example.com"}, "invalid_issuer"),
    ("iss is a list", {"iss": [ISS]}, "invalid_issuer"),
    ("no aud", {"aud": MISSING}, "invalid_audience"),
    ("another aud", {"aud": "somebody-else"}, "invalid_audience"),
    ("aud with a number", {"aud": [CLIENT_ID, 1]}, "invalid_audience"),
    ("sub", {"sub": "ann"}, "invalid_request"),
    ("exp", {"exp": 4102444800}, "invalid_request"),
    ("no sub_id", {"sub_id": MISSING}, "invalid_request"),
    ("sub_id is a text", {"sub_id": "ann"}, "invalid_request"),
    ("no iat", {"iat": MISSING}, "invalid_request"),
    ("iat is a text", {"iat": "1800000000"}, "invalid_request"),
    ("iat is true", {"iat": True}, "invalid_request"),
    ("iat is tomorrow", {"iat": 1_800_086_400}, "invalid_request"),
    ("iat is negative", {"iat": -1}, "invalid_request"),
    ("no jti", {"jti": MISSING}, "invalid_request"),
    ("empty jti", {"jti": ""}, "invalid_request"),
    ("jti is a number", {"jti": 7}, "invalid_request"),
    ("no events", {"events": MISSING}, "invalid_request"),
    ("events is empty", {"events": {}}, "invalid_request"),
    ("events is a list", {"events": [REVOKED]}, "invalid_request"),
    ("two events", {"events": {REVOKED: {}, RISC + "account-purged": {}}}, "invalid_request"),
    ("event is a text", {"events": {REVOKED: "now"}}, "invalid_request"),
    ("event_timestamp is a text", {"events": {REVOKED: {"event_timestamp": "now"}}}, "invalid_request"),
    ("event_timestamp is negative", {"events": {REVOKED: {"event_timestamp": -5}}}, "invalid_request"),
    ("subject without format", {"sub_id": {"id": "s1"}}, "invalid_request"),
    ("subject without id", {"sub_id": {"format": "opaque"}}, "invalid_request"),
    ("subject whose id is a number", {"sub_id": {"format": "opaque", "id": 1}}, "invalid_request"),
    ("subject whose email is none", {"sub_id": {"format": "email", "email": "ann"}}, "invalid_request"),
    ("complex subject of nobody", {"sub_id": {"format": "complex"}}, "invalid_request"),
    ("complex subject of texts", {"sub_id": {"format": "complex", "user": "ann"}}, "invalid_request"),
    ("complex device without format", {"sub_id": {"format": "complex", "session": opaque("s1"), "device": {}}},
     "invalid_request"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "code"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN])
def test_SET_3_4_5_6_a_set_that_is_not_sound_is_400_with_its_code(
    http: Site, idp: Transmitter, changes: dict[str, Any], code: str
) -> None:
    """The transmitter learns which rule it broke, and nobody is logged out."""
    token = idp.user_token()
    claims = {**idp.claims(opaque("s1")), **changes}
    event = sign({name: value for name, value in claims.items() if value is not MISSING}, typ="secevent+jwt")
    before = http.count()

    answer = idp.push(event)

    assert refused(answer) == (400, code)
    assert is_alive(http, token)
    assert http.count() == before
    assert [each.outcome for each in http.told("push_refused")] == ["refused"]


def test_SET_3_who_signed_must_be_the_issuer(http: Site, idp: Transmitter) -> None:
    """Another key, another algorithm or none, critical members that nobody knows: nobody is logged out."""
    token, claims = idp.user_token(), idp.claims(opaque("s1"))
    header, body, signature = sign(claims, typ="secevent+jwt").split(".")

    answers = [
        refused(idp.push(sign(claims, typ="secevent+jwt", by=OTHER))),
        refused(idp.push(sign(claims, typ="secevent+jwt", alg="PS256"))),
        refused(idp.push(sign(claims, typ="secevent+jwt", alg="none"))),
        refused(idp.push(sign(claims, typ="secevent+jwt", alg="HS256", key="k" * 40))),
        refused(idp.push(sign(claims, typ="secevent+jwt", crit=["x"], x=1))),
        refused(idp.push(f"{header}.{body}.{signature[:-8]}AAAAAAAA")),
    ]

    assert {code for _, code in answers} <= {"invalid_key", "invalid_request"}
    assert answers[:5] == [(400, "invalid_key")] * 5
    assert is_alive(http, token)


KINDS = ["JWT", None, "logout+jwt", "at+jwt", "dpop+jwt", "command+jwt", "secevent", "global-token-revocation+jwt"]


@pytest.mark.parametrize("typ", KINDS)
def test_SET_4_and_JBP_8_only_a_token_typed_as_security_event_is_one(
    http: Site, idp: Transmitter, typ: str | None
) -> None:
    """A token of another kind never does what an event does, however its claims look."""
    token = idp.user_token()

    answer = idp.push(idp.event(opaque("s1"), typ=typ))

    assert refused(answer) == (400, "invalid_request")
    assert is_alive(http, token)


@pytest.mark.parametrize("typ", ["secevent+jwt", "application/secevent+jwt", "SecEvent+JWT"])
def test_SET_4_its_type_is_read_without_case(http: Site, idp: Transmitter, typ: str) -> None:
    """As media types are."""
    token = idp.user_token()

    assert idp.push(idp.event(opaque("s1"), typ=typ)).status == 202

    assert not is_alive(http, token)


@pytest.mark.parametrize("typ", ["secevent+jwt", "JWT", "at+jwt"])
def test_JBP_8_a_security_event_is_no_login(http: Site, idp: Transmitter, typ: str) -> None:
    """Whoever gets hold of an event cannot be somebody with it."""
    event = sign({**idp.claims(opaque("s1")), "sub": "ann", "aud": AUDIENCE, "exp": 4102444800}, typ=typ)

    answer = http.get("/auth/session", token=event)

    assert answer.json == {"authenticated": False}


@pytest.mark.parametrize("aud", [CLIENT_ID, AUDIENCE, [CLIENT_ID], ["x", AUDIENCE]])
def test_SET_5_the_audience_names_us_among_others_or_alone(http: Site, idp: Transmitter, aud: Any) -> None:
    """A text or a list; client id or audience of the issuer."""
    assert idp.tell(opaque("s1"), aud=aud).status == 202


def test_SET_5_an_issuer_without_a_stream_is_no_transmitter(site: BuildSite) -> None:
    """Whose tokens we take need not be one who may log out."""
    http = pushed_site(site, issuers=issuers(ssf=None))
    idp = Transmitter(http)

    assert refused(idp.tell(opaque("s1"))) == (400, "invalid_issuer")


def test_SET_7_what_is_unknown_is_accepted_and_ignored(http: Site, idp: Transmitter) -> None:
    """New fields and new events break nothing and do nothing."""
    token = idp.user_token()

    answers = [
        idp.tell(opaque("s1"), kind=CAEP + "assurance-level-change", event={"x": 1}),
        idp.tell(opaque("s1"), kind="https://example.com/event-type/new", txn="1", unknown=[1]),
        idp.tell(opaque("s1"), kind=CAEP + "session-established"),
    ]

    assert [each.status for each in answers] == [202] * 3
    assert is_alive(http, token)
    assert [each.outcome for each in http.told("push_noted")] == ["nothing"] * 3


def test_SET_7_unknown_fields_of_a_known_event_change_nothing(http: Site, idp: Transmitter) -> None:
    """It does what it says all the same."""
    token = idp.user_token()

    answer = idp.tell({**opaque("s1"), "more": 1}, event={"reason_user": {"en": "bye"}, "new": []}, txn="7")

    assert answer.status == 202
    assert not is_alive(http, token)


@pytest.mark.parametrize("member", ["application", "org_unit", "group", "planet"])
def test_SET_8_a_subject_with_a_member_that_we_do_not_understand_is_discarded(
    http: Site, idp: Transmitter, member: str
) -> None:
    """It narrows whom is meant, so acting on the rest would hit others."""
    token = idp.user_token()

    answer = idp.tell({"format": "complex", "user": iss_sub(), member: opaque("x")})

    assert answer.status == 202
    assert is_alive(http, token)
    assert len(http.told("push_unmapped")) == 1


def test_SET_9_the_secret_of_the_stream_is_demanded(site: BuildSite) -> None:
    """Who does not send exactly what was agreed on is not even listened to."""
    http = pushed_site(site, ssf={"authorization_header": "Bearer agreed"})
    idp = Transmitter(http)
    token, event = idp.user_token(), idp.event(opaque("s1"))
    wrong = [idp.push(event, **fields) for fields in ({}, {"Authorization": "Bearer other"}, {"Authorization": ""})]
    twice = http.post(
        "/auth/ssf/events", body=event.encode(),
        headers=[("Content-Type", "application/secevent+jwt"), *[("Authorization", "Bearer agreed")] * 2],
    )  # fmt: skip

    assert [refused(each) for each in (*wrong, twice)] == [(401, "authentication_failed")] * 4
    assert wrong[0].header("www-authenticate") == "Bearer"
    assert is_alive(http, token)
    assert idp.push(event, Authorization="Bearer agreed").status == 202
    assert not is_alive(http, token)


def test_SET_9_the_secret_is_not_taken_over_plain_http(site: BuildSite) -> None:
    """Anyone on the way could read it."""
    http = pushed_site(site, origin="http://app.example.com", ssf={"authorization_header": "Bearer agreed"})
    idp = Transmitter(http)

    assert refused(idp.push(idp.event(opaque("s1")), Authorization="Bearer agreed")) == (400, "invalid_request")


def test_SET_10_the_same_event_again_is_202_without_a_second_effect(http: Site, idp: Transmitter) -> None:
    """Transmitters send again; who logged in since stays logged in, and the audit log has one logout."""
    old, event = idp.user_token(), idp.event(iss_sub())
    assert idp.push(event).status == 202
    records = http.count()
    http.clock.move(60.0)
    new = idp.user_token(sid="s2")

    answers = [idp.push(event).status for _ in range(3)]

    assert answers == [202] * 3
    assert not is_alive(http, old)
    assert is_alive(http, new)
    assert http.count() == records
    assert len(http.told("logout")) == 1


def test_SET_10_an_event_is_known_again_as_long_as_anything_that_it_ended_could_live(
    http: Site, idp: Transmitter
) -> None:
    """Events never expire, so neither does the memory of them before it cannot matter any more."""
    event = idp.event(iss_sub())
    assert idp.push(event).status == 202
    http.clock.move(http.settings.max_lifetime - 60.0)

    assert idp.push(event).status == 202

    assert len(http.told("logout")) == 1


@pytest.mark.parametrize("subject", [opaque("s1"), iss_sub()])
def test_SET_10_an_event_is_remembered_together_with_its_effect_and_behind_it(
    http: Site, idp: Transmitter, subject: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that keeps only a part of what it was given never keeps "done" without what was done."""
    added: list[list[str]] = []
    wrapped = type(http.store).add

    async def add(self: Any, records: Any) -> Any:
        added.append([each.reason for each in records])
        return await wrapped(self, records)

    monkeypatch.setattr(type(http.store), "add", add)
    idp.tell(subject)

    assert [each for each in added if BURNT in each] == [["session-revoked", BURNT]]


def test_SET_10_an_alert_is_told_once(http: Site, idp: Transmitter) -> None:
    """A transmitter that repeats itself does not fill the log."""
    event = idp.event({"format": "phone_number", "phone_number": "+12065550100"})

    assert [idp.push(event).status for _ in range(2)] == [202, 202]

    assert len(http.told("push_unmapped")) == 1


def test_SET_10_what_two_issuers_call_the_same_is_two(http: Site, idp: Transmitter) -> None:
    """A jti belongs to its issuer: nobody can use up another's."""
    other = Transmitter(http, OTHER)
    token = idp.user_token()
    assert other.tell(opaque("s1"), jti="same").status == 202
    assert is_alive(http, token)

    assert idp.tell(opaque("s1"), jti="same").status == 202

    assert not is_alive(http, token)


def test_SET_8_an_id_that_is_given_twice_ends_whom_either_event_names(http: Site, idp: Transmitter) -> None:
    """A transmitter that begins to count anew must not be thanked for a logout that never happened."""
    complex_subject = {"format": "complex", "user": iss_sub("cid"), "session": opaque("s3")}
    subjects = [opaque("s1"), opaque("s2"), iss_sub("bob"), complex_subject]
    tokens = [
        idp.user_token(sid="s1"), idp.user_token(sid="s2"), idp.user_token("bob", sid="s4"),
        idp.user_token("cid", sid="s3"),
    ]  # fmt: skip

    answers = [idp.tell(subject, jti="1").status for subject in subjects]
    logouts = len(http.told("logout"))
    again = [idp.tell(subject, jti="1").status for subject in subjects]

    assert answers == again == [202] * 4
    assert [is_alive(http, token) for token in tokens] == [False] * 4
    assert len(http.told("logout")) == logouts == 4


@pytest.mark.parametrize("calls", range(1, 8))
@pytest.mark.parametrize("subject", [opaque("s1"), iss_sub()], ids=["session", "user"])
def test_SET_10_an_event_that_failed_half_way_is_completed_by_the_next_attempt(
    site: BuildSite, subject: Any, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the store breaks off, either the answer was 503, or the user is logged out."""
    http = pushed_site(site)
    idp = Transmitter(http)
    token, event = idp.user_token(), idp.event(subject)
    http.store.calls.clear()
    wrapped = type(http.store)._pass

    def breaks(self: Any, name: str) -> None:
        self.broken = len(self.calls) + 1 == calls
        wrapped(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(type(http.store), "_pass", breaks)
        first = idp.push(event).status
    http.store.broken = False

    assert first in (202, 503)
    if first == 503:
        assert idp.push(event).status == 202
    assert not is_alive(http, token)


def test_SET_11_a_verification_event_proves_that_the_stream_works(http: Site, idp: Transmitter) -> None:
    """It is for our stream, and carries no state, because we asked for none."""
    answer = idp.tell(opaque(STREAM_ID), kind=SSF + "verification")

    assert answer.status == 202
    inner = getattr(http.logout, "inner", http.logout)
    assert inner.service.streams[ISS].verified_at == http.clock()


def test_SET_11_a_verification_with_a_state_that_is_not_ours_is_invalid_state(http: Site, idp: Transmitter) -> None:
    """Nobody answers for us what we never asked."""
    answer = idp.tell(opaque(STREAM_ID), kind=SSF + "verification", event={"state": "x"})

    assert refused(answer) == (400, "invalid_state")


@pytest.mark.parametrize("subject", [opaque("another"), iss_sub(STREAM_ID)])
def test_SET_11_a_verification_of_another_stream_is_refused(idp: Transmitter, subject: Any) -> None:
    """The operator hears of a stream that is mixed up."""
    assert refused(idp.tell(subject, kind=SSF + "verification")) == (400, "invalid_request")


def test_SET_12_the_last_status_of_a_stream_is_known(http: Site, idp: Transmitter) -> None:
    """A stream that was paused is a silence that somebody must hear of."""
    event = {"status": "paused", "reason": "license expired"}

    answer = idp.tell(opaque(STREAM_ID), kind=SSF + "stream-updated", event=event)

    inner = getattr(http.logout, "inner", http.logout)
    known = inner.service.streams[ISS]
    assert answer.status == 202
    assert (known.status, known.reason) == ("paused", "license expired")
    assert [each.detail for each in http.told("stream_updated")] == ["status: paused; license expired"]
    wrong = idp.tell(opaque(STREAM_ID), kind=SSF + "stream-updated", event={"status": "odd"})
    assert refused(wrong) == (400, "invalid_request")


# ---- what events do --------------------------------------------------------------------------------------


def test_CAEP_1_an_opaque_subject_is_one_session(http: Site, idp: Transmitter) -> None:
    """Access and refresh token of that session are dead; the user's others and others' sessions are not."""
    hit = [idp.user_token(), idp.user_token(kind="refresh")]
    spared = [idp.user_token(sid="s2"), idp.user_token("bob", sid="s3"), idp.user_token(sid=None)]
    spared += [Transmitter(http, OTHER).user_token()]

    assert idp.tell(opaque("s1")).status == 202

    assert [is_alive(http, each) for each in hit] == [False] * 2
    assert [is_alive(http, each) for each in spared] == [True] * 4


def test_CAEP_1_a_user_is_all_sessions_of_that_user(http: Site, idp: Transmitter) -> None:
    """By issuer and subject; whoever has the same name at another issuer is somebody else."""
    hit = [idp.user_token(), idp.user_token(sid="s2"), idp.user_token(sid=None)]
    spared = [idp.user_token("bob"), Transmitter(http, OTHER).user_token()]

    assert idp.tell(iss_sub()).status == 202

    assert [is_alive(http, each) for each in hit] == [False] * 3
    assert [is_alive(http, each) for each in spared] == [True] * 2


def test_CAEP_1_user_and_session_together_are_the_session_that_is_both(http: Site, idp: Transmitter) -> None:
    """A complex subject is all that it says at once; a token that says only one of them is named by that one."""
    hit = [idp.user_token(), idp.user_token(sub=None), idp.user_token(sid=None)]
    spared = [idp.user_token(sid="s2"), idp.user_token("bob", sid="s1"), idp.user_token("bob", sid=None)]

    answer = idp.tell({"format": "complex", "user": iss_sub(), "session": opaque("s1")})

    assert answer.status == 202
    assert [is_alive(http, each) for each in hit] == [False] * 3
    assert [is_alive(http, each) for each in spared] == [True] * 3
    http.clock.move(2.0)
    assert is_alive(http, idp.user_token(sid=None))


def test_CAEP_1_a_session_that_is_known_to_be_the_users_ends_with_all_that_is_bound_to_it(http: Site) -> None:
    """The registry knows whose it is, so nothing of that login is left."""
    idp = Transmitter(http)
    token = idp.user_token()
    assert http.get("/auth/session", token=token).json["authenticated"]
    http.get("/me", token=token)

    answer = idp.tell({"format": "complex", "user": iss_sub(), "session": opaque("s1"), "device": opaque("d")})

    assert answer.status == 202
    assert not is_alive(http, token)
    assert [each.session for each in http.told("session_ended")] == ["s1"]
    assert len(http.told("logout")) == 1


def test_CAEP_1_without_a_registry_what_is_bound_to_the_session_is_taken_for_its_users(site: BuildSite) -> None:
    """Nobody remembers whose it is, and the transmitter should know; nothing of that login is left behind."""
    http = site(endpoints="logout,push", issuers=issuers(), oidc_issuer=ISS, oidc_client_id=CLIENT_ID)
    device = http.login("ann")
    subject = {"format": "complex", "user": iss_sub(), "session": opaque(device.sid or "")}

    assert Transmitter(http).tell(subject).status == 202

    assert http.alive(device) == set()


@pytest.mark.parametrize(
    ("subject", "is_hit"),
    [
        ({"format": "complex", "session": opaque("s1")}, True),
        ({"format": "complex", "session": opaque("s1"), "tenant": opaque("t")}, True),
        ({"format": "complex", "user": iss_sub()}, True),
        ({"format": "complex", "user": opaque("ann")}, True),
        ({"format": "complex", "user": iss_sub(), "tenant": opaque("t")}, True),
        ({"format": "complex", "user": iss_sub(), "device": opaque("d")}, False),
        ({"format": "complex", "tenant": opaque("t")}, False),
        ({"format": "complex", "device": opaque("d")}, False),
        ({"format": "complex", "session": iss_sub()}, False),
        ({"format": "complex", "user": {"format": "account", "uri": "acct:ann@example.com"}}, False),
        ({"format": "email", "email": "ann@example.com"}, False),
        ({"format": "did", "url": "did:example:123456"}, False),
        ({"format": "aliases", "identifiers": [iss_sub()]}, False),
        ({"format": "jwt_id", "iss": ISS, "jti": "x"}, False),
    ],
)
def test_CAEP_1_who_cannot_be_mapped_is_an_alert_and_never_everybody(
    http: Site, idp: Transmitter, subject: Any, is_hit: bool
) -> None:
    """What a transmitter means is done exactly, or an operator is told; it hears 202 in both cases."""
    token, bystander = idp.user_token(), idp.user_token("bob", sid="s9")

    answer = idp.tell(subject)

    assert answer.status == 202
    assert is_alive(http, token) is not is_hit
    assert is_alive(http, bystander)
    assert len(http.told("push_unmapped")) == (not is_hit)


@pytest.mark.parametrize(("claim", "is_hit"), [("email", True), ("email,sub", True), ("sub,email", False)])
def test_CAEP_3_an_email_names_a_user_where_users_are_known_by_it(site: BuildSite, claim: str, is_hit: bool) -> None:
    """Where the email is not what names our users, it is not guessed."""
    http = pushed_site(site, user_claim=claim)
    idp = Transmitter(http)
    token = idp.user_token(email="ann@example.com")

    assert idp.tell({"format": "email", "email": "ann@example.com"}).status == 202

    assert is_alive(http, token) is not is_hit
    assert len(http.told("push_unmapped")) == (not is_hit)


@pytest.mark.parametrize("issuer", [OTHER, "https://nobody.example.com", OWN])
@pytest.mark.parametrize("complex_", [False, True])
def test_an_issuer_ends_only_what_it_issued(site: BuildSite, issuer: str, complex_: bool) -> None:
    """Nothing of one can touch another, our own users included."""
    http = pushed_site(site, jwt_issuer=OWN)
    idp, subject = Transmitter(http), iss_sub("ann", issuer)
    token = http.issuer.mint("ann", iss=OWN)

    answer = idp.tell({"format": "complex", "user": subject} if complex_ else subject)

    assert refused(answer) == (400, "access_denied")
    assert is_alive(http, token)


def test_a_provider_of_our_own_users_ends_their_logins(site: BuildSite) -> None:
    """The OIDC provider and our own tokens are one realm: what it says of a user holds for his cookies, too."""
    http = pushed_site(site, oidc_issuer=ISS, oidc_client_id=CLIENT_ID, jwt_issuer=OWN)
    idp = Transmitter(http)
    device = http.login("ann")

    assert idp.tell(iss_sub("ann", OWN)).status == 202

    assert http.me(cookie=device.cookie) is None
    assert idp.tell(opaque("login-9")).status == 202


def test_CAEP_2_who_logged_in_after_the_event_stays_logged_in(http: Site, idp: Transmitter) -> None:
    """An event that was long under way hits the sessions of its time, to the end of its second."""
    old = idp.user_token(sid="s1")
    happened = int(http.clock())
    same_second = idp.user_token(sid="s2")
    http.clock.move(1.0)
    later = idp.user_token(sid="s3")
    http.clock.move(300.0)

    assert idp.tell(iss_sub(), event={"event_timestamp": happened}).status == 202

    assert [is_alive(http, each) for each in (old, same_second, later)] == [False, False, True]


def test_CAEP_2_a_fraction_of_a_second_is_exact(http: Site, idp: Transmitter) -> None:
    """Where the transmitter says more than the second, it is taken at its word."""
    happened, old = http.clock(), idp.user_token(sid="s1")
    http.clock.move(0.25)
    later = idp.user_token(sid="s2")
    http.clock.move(10.0)

    assert idp.tell(iss_sub(), event={"event_timestamp": happened + 0.1}).status == 202

    assert [is_alive(http, each) for each in (old, later)] == [False, True]


def test_CAEP_2_without_a_time_it_is_that_of_the_token(http: Site, idp: Transmitter) -> None:
    """`iat` is when the transmitter spoke of it."""
    old = idp.user_token(sid="s1")
    event = idp.event(iss_sub())
    http.clock.move(60.0)
    later = idp.user_token(sid="s2")

    assert idp.push(event).status == 202

    assert [is_alive(http, each) for each in (old, later)] == [False, True]


@pytest.mark.parametrize("ahead", [60.0, 86400.0, 1e12, 1e300])
def test_CAEP_2_an_event_never_reaches_into_the_future(http: Site, idp: Transmitter, ahead: float) -> None:
    """Seconds, milliseconds or nonsense: whoever logs in after the answer is logged in."""
    old = idp.user_token(sid="s1")

    assert idp.tell(iss_sub(), event={"event_timestamp": http.clock() + ahead}).status == 202

    http.clock.move(1.0)
    assert not is_alive(http, old)
    assert is_alive(http, idp.user_token(sid="s2"))


def test_CAEP_2_a_session_that_was_refreshed_since_is_as_old_as_it_was(http: Site, idp: Transmitter) -> None:
    """A new token of an old session does not save it from an event that was late."""
    http.get("/me", token=idp.user_token(sid="s1"))
    happened = http.clock() + 10
    http.clock.move(20.0)
    renewed, young = idp.user_token(sid="s1"), idp.user_token(sid="s2")
    http.get("/me", token=young)

    assert idp.tell(iss_sub(), event={"event_timestamp": happened}).status == 202

    assert [is_alive(http, each) for each in (renewed, young)] == [False, True]
    assert [each.session for each in http.told("session_ended")] == ["s1"]


def test_CAEP_3_events_signed_with_RS256_are_taken(http: Site, idp: Transmitter) -> None:
    """The algorithm that every transmitter and receiver shares; it is the default of an issuer."""
    event = idp.event(opaque("s1"))

    assert jwt.get_unverified_header(event)["alg"] == "RS256"
    assert key_of_issuer(ISS).key_size >= 2048
    assert idp.push(event).status == 202


@pytest.mark.parametrize("change", ["create", "revoke", "update", "delete"])
def test_CAEP_4_a_credential_change_is_told_and_ends_nothing_by_itself(
    http: Site, idp: Transmitter, change: str
) -> None:
    """Whether that logs the user out elsewhere is the application's choice; it hears of it."""
    token = idp.user_token()
    event = {"change_type": change, "credential_type": "password"}

    assert idp.tell(iss_sub(), kind=CAEP + "credential-change", event=event).status == 202

    assert is_alive(http, token)
    assert [(each.reason, each.outcome) for each in http.told("push_noted")] == [("credential-change", "nothing")]


@pytest.mark.parametrize("subject", [iss_sub(), opaque("ann")])
@pytest.mark.parametrize(
    "name", ["account-disabled", "account-purged", "account-credential-change-required", "sessions-revoked"]
)
def test_CAEP_5_risc_events_end_all_sessions_of_the_account(
    http: Site, idp: Transmitter, name: str, subject: Any
) -> None:
    """Here an opaque subject is the account."""
    hit, spared = [idp.user_token(), idp.user_token(sid="s2")], idp.user_token("bob")

    assert idp.tell(subject, kind=RISC + name).status == 202

    assert [is_alive(http, each) for each in hit] == [False] * 2
    assert is_alive(http, spared)


@pytest.mark.parametrize("name", ["account-enabled", "identifier-changed", "opt-in"])
def test_CAEP_5_other_risc_events_log_nobody_out(http: Site, idp: Transmitter, name: str) -> None:
    """Accepted, and told."""
    token = idp.user_token()

    assert idp.tell(iss_sub(), kind=RISC + name).status == 202

    assert is_alive(http, token)


@pytest.mark.parametrize("subject", [opaque("s1"), iss_sub()])
def test_CAEP_6_the_audit_log_has_who_did_it_and_why(http: Site, idp: Transmitter, subject: Any) -> None:
    """As the transmitter says, and no more of it than a line can take."""
    event = {"initiating_entity": "policy", "reason_admin": {"en": "Landspeed Policy Violation: C076E82F" + "x" * 500}}

    assert idp.tell(subject, event=event).status == 202

    (told,) = http.told("logout")
    assert told.reason == "session-revoked"
    assert (told.detail or "").startswith("initiating_entity: policy; reason_admin: Landspeed Policy Violation")
    assert len(told.detail or "") < 260
    assert told.client_address == "192.0.2.1"


def test_no_token_is_in_any_event(http: Site, idp: Transmitter, caplog: pytest.LogCaptureFixture) -> None:
    """Accepted or refused, the log holds digests and names only."""
    caplog.set_level("DEBUG")
    events = [idp.event(opaque("s1")), idp.event(iss_sub(), exp=1), idp.event({"format": "did", "url": "did:x:y"})]

    for each in events:
        idp.push(each)

    written = caplog.text + "".join(json.dumps(str(each)) for each in http.events)
    assert not any(part in written for each in events for part in each.split("."))


def test_keys_that_cannot_be_reached_mean_send_it_again(site: BuildSite) -> None:
    """Not knowing is no refusal: the transmitter keeps the event."""
    away = json.dumps({ISS: {"jwks_url": "http://127.0.0.1:9/jwks", "client_id": CLIENT_ID, "ssf": {}}})
    http = pushed_site(site, issuers=away, private_addresses="true")

    answer = Transmitter(http).tell(opaque("s1"))

    assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")


def test_an_event_closes_what_the_session_has_open(http: Site, idp: Transmitter) -> None:
    """Every logout goes one way, so live connections end by an event, too."""
    inner = getattr(http.logout, "inner", http.logout)
    token = idp.user_token()
    cut: list[str] = []

    class Open:
        identities = (http.call("explain", token).identity,)

        def cut(self, reason: str) -> None:
            cut.append(reason)

    inner.live.opened(Open())
    idp.tell({"format": "complex", "user": iss_sub(), "session": opaque("s1")})

    assert cut == ["session-revoked"]
    assert pair_key("ann", "s1", ISS) in Open.identities[0].keys


def test_without_the_group_nothing_is_served(site: BuildSite) -> None:
    """The paths belong to the application unless `push` is switched on."""
    http = site(issuers={ISS: {"keys": public_pem(ISS), "client_id": CLIENT_ID}})

    assert http.post("/auth/ssf/events", body=b"x", headers={"Content-Type": "application/secevent+jwt"}).status == 404


def test_listeners_hear_of_events(http: Site, idp: Transmitter, clock: MovableClock) -> None:
    """An application can act on what the package leaves to it."""
    heard: list[LogoutEvent] = []
    http.call("on_event", heard.append)

    idp.tell(iss_sub(), kind=CAEP + "credential-change", event={"change_type": "revoke"})

    assert [each.kind for each in heard] == ["push_noted"]
    assert public_pem(ISS) not in str(heard)
