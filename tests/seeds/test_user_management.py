"""User Management, "Logout User": every device of the user, a valid JWT required, rates limited."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from logout_middleware import ConfigurationError, LogoutEvent
from logout_middleware.asgi import LogoutEndpoints as AsgiEndpoints
from logout_middleware.wsgi import LogoutEndpoints as WsgiEndpoints
from tests.client import ALL, OWN_PAGE, Answer, AsgiClient, BuildSite, Device, Sender, Site, WsgiClient
from tests.protocols.clients import away_with_a_journal

from .connections import open_connections

WINDOW = 300.0


@pytest.fixture
def http(site: BuildSite) -> Site:
    """A site with the preset of this seed."""
    return site(preset="user-management")


def test_UM_1_post_logout_exists_and_other_methods_do_not(http: Site) -> None:
    """The path of the seed, and nothing but POST on it."""
    ann = http.login("ann")

    others = [http.request(method, "/logout", token=ann.access) for method in ("GET", "PUT", "PATCH", "DELETE")]
    alive_after_others = http.alive(ann)
    post = http.post("/logout", token=ann.access)

    assert [answer.status for answer in others] == [405] * 4
    assert {answer.header("allow") for answer in others} == {"POST, OPTIONS"}
    assert alive_after_others == ALL
    assert post.status == 200


def test_UM_2_no_refresh_token_of_the_user_works_any_more(http: Site) -> None:
    """Those of other devices included; other users keep theirs."""
    phone, laptop, bob = http.login("ann"), http.login("ann"), http.login("bob")
    assert http.refresh(laptop.refresh).status == 200

    http.post("/logout", token=phone.access)

    assert http.refresh(phone.refresh).status == 401
    assert http.refresh(laptop.refresh).status == 401
    assert http.refresh(bob.refresh).status == 200


def test_UM_3_the_session_ends(http: Site) -> None:
    """The session cookie of the same login, kept as a copy, is refused."""
    ann = http.login("ann")
    assert http.me(cookie=ann.cookie) == "ann"

    http.post("/logout", token=ann.access)

    assert http.me(cookie=ann.cookie) is None


@pytest.mark.parametrize("sid", [True, False])
@pytest.mark.parametrize("presented", ["access", "refresh", "cookie"])
def test_UM_3_the_session_ends_whatever_of_it_is_presented(site: BuildSite, presented: str, sid: bool) -> None:
    """By default as well, where the scope is this device: all of it on every worker, and no other device."""
    here, there = site(), site()
    ann, other = here.login("ann", sid=sid), here.login("ann", sid=sid)
    assert [there.alive(each) for each in (ann, other)] == [ALL, ALL]

    if presented == "cookie":
        answer = here.post("/auth/logout", cookie=ann.cookie, headers=OWN_PAGE)
    else:
        answer = here.post("/auth/logout", token={"access": ann.access, "refresh": ann.refresh}[presented])

    assert answer.status == 200
    assert [http.alive(ann) for http in (here, there)] == [set(), set()]
    assert [http.alive(other) for http in (here, there)] == [ALL, ALL]


def test_UM_4_no_token_can_be_used_after_logout(http: Site) -> None:
    """Neither the one that was presented nor another that the user holds."""
    ann = http.login("ann")
    spare = http.issuer.mint("ann")

    http.post("/logout", token=ann.access)

    assert http.alive(ann) == set()
    assert http.me(token=spare) is None


def test_UM_5_a_valid_jwt_is_required(http: Site) -> None:
    """Without any credential: 401 and a challenge, and nothing else happens."""
    ann = http.login("ann")

    without = http.post("/logout")
    with_token = http.post("/logout", token=ann.access)

    assert without.status == 401
    assert (without.header("www-authenticate") or "").startswith("Bearer ")
    assert without.all("set-cookie") == []
    assert with_token.status == 200


PRESENTED: dict[str, Callable[[Device], dict[str, object]]] = {
    "its cookie": lambda ann: {"cookie": ann.cookie, "headers": OWN_PAGE},
    "its refresh token": lambda ann: {"json": {"refreshToken": ann.refresh}},
    "a password": lambda ann: {"headers": {"Authorization": "Basic YW5uOnB3"}},
    "a word": lambda ann: {"headers": {"Authorization": "Bearer"}},
}


@pytest.mark.parametrize("presented", PRESENTED)
def test_UM_5_the_jwt_is_in_the_authorization_header_and_nowhere_else(http: Site, presented: str) -> None:
    """Whatever else a request carries, without it nobody is logged out."""
    ann = http.login("ann")

    answer = http.post("/logout", **PRESENTED[presented](ann))

    assert answer.status == 401
    assert (answer.header("www-authenticate") or "").startswith("Bearer ")
    assert answer.all("set-cookie") == []
    assert http.alive(ann) == ALL


def test_UM_5_beside_the_jwt_a_cookie_counts_too_and_a_variable_ends_the_demand(site: BuildSite) -> None:
    """`LOGOUT_REQUIRE_CREDENTIAL=false` takes a cookie alone, and nothing at all."""
    strict, lenient = site(preset="user-management"), site(preset="user-management", require_credential="false")
    ann, bob = strict.login("ann"), strict.login("bob")

    both = strict.post("/logout", token=ann.access, cookie=ann.cookie, headers=OWN_PAGE)
    cookie, nothing = lenient.post("/logout", cookie=bob.cookie, headers=OWN_PAGE), lenient.post("/logout")

    assert (both.status, both.deleted) == (200, {"session", "sessionid"})
    assert (cookie.status, nothing.status) == (200, 200)
    assert [strict.alive(each) for each in (ann, bob)] == [set(), set()]


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ({"jwt_key": None, "jwt_algorithms": None}, "E105 LOGOUT_JWT_KEY: LOGOUT_PRESET=user-management"),
        ({"token_requests": None}, "E105 LOGOUT_TOKEN_REQUESTS: LOGOUT_PRESET=user-management"),
    ],
)
def test_UM_5_the_preset_does_not_start_where_it_could_not_keep_its_word(
    site: BuildSite, missing: dict[str, None], named: str
) -> None:
    """Without a key no JWT is valid; without TOKEN_REQUESTS a refresh token in a body would go on working."""
    with pytest.raises(ConfigurationError, match=named):
        site(preset="user-management", **missing)


def test_UM_6_the_answer_has_a_message(http: Site) -> None:
    """`message` is a text for people."""
    answer = http.post("/logout", token=http.login("ann").access)

    assert isinstance(answer.json["message"], str)
    assert answer.json["message"]
    assert set(answer.json) == {"message", "timestamp"}


@pytest.mark.parametrize("headers", [{}, {"Prefer": "return=minimal"}, {"Accept": "*/*"}, {"Accept": "text/plain"}])
def test_UM_6_the_answer_has_these_members_whatever_the_client_prefers(http: Site, headers: dict[str, str]) -> None:
    """The seed knows one answer."""
    answer = http.post("/logout", token=http.login("ann").access, headers=headers)

    assert (answer.status, set(answer.json)) == (200, {"message", "timestamp"})


def test_UM_7_the_answer_has_the_time_of_the_logout(http: Site) -> None:
    """ISO 8601 in UTC, the time of the server."""
    answer = http.post("/logout", token=http.login("ann").access)

    moment = datetime.fromisoformat(answer.json["timestamp"])
    assert moment.tzinfo == UTC
    assert abs(moment.timestamp() - http.clock()) <= 1


def test_UM_11_a_server_logout_handler_is_provided(shell: str, http: Site) -> None:
    """A Python application mounts it where it likes, sharing what the middleware knows."""
    if shell == "asgi":
        handler: Any = AsgiClient(AsgiEndpoints(http.logout))
    else:
        handler = WsgiClient(WsgiEndpoints(http.logout))
    mounted, ann = Sender(handler), http.login("ann")

    without, answer = mounted.post("/logout"), mounted.post("/logout", token=ann.access)
    elsewhere = mounted.get("/no-such-path")
    mounted.close()

    assert (without.status, elsewhere.status) == (401, 404)
    assert (answer.status, set(answer.json)) == (200, {"message", "timestamp"})
    assert http.alive(ann) == set()


@pytest.mark.parametrize(("settings", "path"), [({}, "/auth/logout/all"), ({"preset": "user-management"}, "/logout")])
def test_UM_12_one_call_logs_out_all_devices(site: BuildSite, settings: dict[str, str], path: str) -> None:
    """With or without the preset; other users stay."""
    http = site(**settings)
    phone, laptop, bob = http.login("ann"), http.login("ann", sid=False), http.login("bob")

    answer = http.post(path, token=phone.access)

    assert answer.status == 200
    assert (http.alive(phone), http.alive(laptop)) == (set(), set())
    assert http.alive(bob) == ALL


def test_UM_14_a_password_change_logs_out_every_device_or_every_other(http: Site) -> None:
    """`keep` names the session in which the password was changed."""
    here, there = http.login("ann"), http.login("ann")

    http.call("revoke_user", "ann", reason="password_change", keep=here.sid)
    after_keep = http.alive(here), http.alive(there)
    http.call("revoke_user", "ann", reason="password_change", keep=None)

    assert after_keep == (ALL, set())
    assert http.alive(here) == set()
    assert [event.reason for event in http.told("logout")] == ["password_change"] * 2


@pytest.mark.parametrize("sid", [True, False])
def test_UM_15_suspicious_activity_logs_out_and_is_on_record(
    http: Site, sid: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is in the audit record."""
    ann = http.login("ann", sid=sid)

    with caplog.at_level(logging.INFO, "logout_middleware.audit"):
        http.call("revoke_user", "ann", reason="suspicious_activity")

    (record,) = [json.loads(record.message) for record in caplog.records]
    assert (record["user"], record["reason"], record["scope"]) == ("ann", "suspicious_activity", "user")
    assert http.alive(ann) == set()


def test_UM_16_an_account_that_is_compromised_is_logged_out_everywhere(
    http: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Every device, with its reason on record; other users go on, and the user can log in anew."""
    phone, laptop, bob = http.login("ann"), http.login("ann", sid=False), http.login("bob")
    assert [http.alive(each) for each in (phone, laptop, bob)] == [ALL, ALL, ALL]

    with caplog.at_level(logging.INFO, "logout_middleware.audit"):
        http.call("revoke_user", "ann", reason="account_compromised")
    http.clock.move(1.0)
    again = http.login("ann")

    (record,) = [json.loads(record.message) for record in caplog.records]
    assert (record["kind"], record["user"], record["reason"]) == ("logout", "ann", "account_compromised")
    assert [http.alive(each) for each in (phone, laptop)] == [set(), set()]
    assert [http.alive(each) for each in (bob, again)] == [ALL, ALL]


@pytest.mark.parametrize("worker", ["the same", "another"])
def test_UM_16_it_closes_the_users_open_sockets(site: BuildSite, shell: str, worker: str) -> None:
    """And what else is open: a WebSocket of ASGI gets 4401, an event stream of either its last event. Bob's go on."""
    http = site()
    revoking = http if worker == "the same" else site()
    tokens = [http.issuer.mint("ann", sid="phone"), http.issuer.mint("ann"), http.issuer.mint("bob")]
    with open_connections(http, tokens) as connections:
        # Long enough that they are no newcomers any more: now only the news of the revocation can end them.
        before = [each.goes_on(frames=40) for each in connections]
        revoking.call("revoke_user", "ann", reason="account_compromised")
        ends = [each.ended() for each in connections[:2]]
        bob = connections[2].goes_on()

    assert before == [True, True, True]
    assert ends == ["account_compromised" if shell == "wsgi" else (4401, "logged out")] * 2
    assert bob


def test_UM_17_an_expired_token_is_401(http: Site) -> None:
    """From its `exp` on, not before, and without any logout."""
    token = http.issuer.mint("ann", life=60)
    http.clock.move(59.9)
    before = http.get("/me", token=token)
    http.clock.move(0.1)

    after = http.get("/me", token=token)

    assert (before.status, after.status) == (200, 401)
    assert after.json == {"error": "invalid_token", "error_description": "The access token expired"}
    assert 'error="invalid_token"' in (after.header("www-authenticate") or "")
    assert after.all("set-cookie") == []
    assert http.told("logout") == []


def test_UM_17_what_is_open_by_a_token_ends_when_it_expires(site: BuildSite, shell: str) -> None:
    """Not before its `exp`, though its timer has rung by then; and nobody else's connection."""
    http = site()
    tokens = [http.issuer.mint("ann", life=0.2), http.issuer.mint("bob", life=3600.0)]
    with open_connections(http, tokens) as (ann, bob):
        http.clock.move(0.19)
        before = ann.goes_on(frames=40)
        http.clock.move(0.01)
        end = ann.ended()
        bob_goes_on = bob.goes_on()

    assert before
    assert end == ("expired" if shell == "wsgi" else (4401, "expired"))
    assert bob_goes_on


def test_UM_19_without_a_request_for_the_idle_timeout_a_login_ends(site: BuildSite) -> None:
    """401 for the token, an anonymous visitor for the cookie, whose deletion is sent; not a moment before."""
    http = site(preset="user-management", idle_timeout="30m")
    token_first, cookie_first, used = (http.login("ann") for _ in range(3))
    assert [http.alive(each) for each in (token_first, cookie_first, used)] == [ALL, ALL, ALL]
    http.clock.move(1799.0)
    assert http.alive(used) == ALL
    http.clock.move(1.0)

    by_token = http.get("/me", token=token_first.access)
    by_cookie = http.get("/me", cookie=cookie_first.cookie)

    assert (by_token.status, by_token.json["error"]) == (401, "token_revoked")
    assert (by_cookie.status, by_cookie.json["user"], by_cookie.deleted) == (200, None, {"session"})
    assert [http.alive(each) for each in (token_first, cookie_first, used)] == [set(), set(), ALL]
    assert [event.reason for event in http.told("session_ended")] == ["idle", "idle"]


def test_UM_19_activity_extends(site: BuildSite) -> None:
    """By any part of the login, for as long as somebody is there."""
    http = site(idle_timeout="30m")
    ann = http.login("ann")
    for turn in range(8):
        assert http.me(**({"cookie": ann.cookie} if turn % 2 else {"token": ann.access})) == "ann"
        http.clock.move(7 * 60.0)

    assert http.alive(ann) == ALL


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/me", {"X-Logout-Passive": "1"}),
        ("/me", {"Sec-Purpose": "prefetch"}),
        ("/me", {"Purpose": "prefetch"}),
        ("/poll", {}),
        ("/feed/42", {}),
        ("/auth/session", {}),
    ],
    ids=["header", "prefetch", "old prefetch", "path", "below a path", "session"],
)
@pytest.mark.parametrize("carrier", ["token", "cookie"])
def test_UM_19_what_a_machine_asks_by_itself_is_no_activity(
    site: BuildSite, path: str, headers: dict[str, str], carrier: str
) -> None:
    """A tab that polls is left open for the weekend; its user is logged out all the same."""
    http = site(idle_timeout="30m", passive_paths="/poll, /feed/")
    ann = http.login("ann")
    held = {"token": ann.access} if carrier == "token" else {"cookie": ann.cookie}
    assert http.me(**held) == "ann"

    polled = []
    for _ in range(29):
        http.clock.move(60.0)
        polled.append(http.get(path, **held, headers=headers).status)
    http.clock.move(60.0)

    assert 401 not in polled
    assert http.me(**held) is None
    assert http.alive(ann) == set()


def test_UM_20_refresh_tokens_are_invalidated_on_the_server(http: Site) -> None:
    """A client that never deletes anything is logged out all the same."""
    ann = http.login("ann")
    renewed = http.refresh(ann.refresh).json["access_token"]

    http.post("/logout", token=renewed)

    assert http.refresh(ann.refresh).status == 401
    assert http.alive(ann) == set()


@pytest.mark.parametrize("settings", [{}, {"preset": "user-management"}])
def test_UM_24_access_tokens_are_refused_at_once_by_default(site: BuildSite, settings: dict[str, str]) -> None:
    """The clock does not move between logout and refusal."""
    http = site(**settings)
    ann = http.login("ann")

    http.post("/auth/logout", token=ann.access)

    answer = http.get("/me", token=ann.access)
    assert answer.status == 401
    assert 'error="invalid_token"' in (answer.header("www-authenticate") or "")


def test_UM_25_every_logout_is_one_structured_audit_record(http: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Who, which session, when, from where, with what, how far, and how it ended; never the token."""
    ann = http.login("ann")

    with caplog.at_level(logging.DEBUG):
        http.post("/logout", token=ann.access, headers={"User-Agent": "Firefox on a phone"}, address="198.51.100.7")

    (line,) = [record.message for record in caplog.records if record.name == "logout_middleware.audit"]
    record = json.loads(line)
    assert record["kind"] == "logout"
    assert record["outcome"] == "done"
    assert (record["user"], record["session"], record["scope"]) == ("ann", ann.sid, "global")
    assert (record["client_address"], record["user_agent"]) == ("198.51.100.7", "Firefox on a phone")
    assert record["time"] == datetime.fromtimestamp(int(http.clock()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert record["keys"]
    assert ann.access not in caplog.text


@pytest.mark.parametrize("headers", [{}, {"Accept": "text/html"}])
@pytest.mark.parametrize("preset", [None, "user-management"])
def test_UM_26_a_logout_that_fails_is_told_and_can_be_tried_again(
    site: BuildSite, preset: str | None, headers: dict[str, str]
) -> None:
    """No traceback, no success: 503, when to come back, all as it was, and the next try works."""
    http = site(preset=preset)
    ann = http.login("ann")
    http.store.broken = True

    failed = http.post("/auth/logout", token=ann.access, headers=headers)
    http.store.broken = False
    alive_after_failure = http.alive(ann)
    again = http.post("/auth/logout", token=ann.access)

    assert (failed.status, failed.header("retry-after"), failed.all("set-cookie")) == (503, "1", [])
    assert (failed.header("content-type") or "").startswith("text/html" if headers else "application/json")
    assert "Traceback" not in failed.text
    assert [event.outcome for event in http.told("store_failed")] == ["failed"]
    assert (alive_after_failure, again.status, http.alive(ann)) == (ALL, 200, set())


def test_UM_26_with_a_journal_the_failure_is_not_the_users(site: BuildSite, tmp_path: Path) -> None:
    """Kept on this host, in force here at once, and said so: 202, in the answer of the seed."""
    http = site(preset="user-management")
    ann = http.login("ann")

    with away_with_a_journal(http, tmp_path):
        answer = http.post("/logout", token=ann.access)
        again = http.get("/me", token=ann.access).status

    assert (answer.status, set(answer.json)) == (202, {"message", "timestamp"})
    assert again == 401


@pytest.mark.parametrize("preset", [None, "user-management"])
def test_UM_27_the_user_is_sent_to_a_fitting_page(site: BuildSite, preset: str | None) -> None:
    """A form is redirected to the configured page, or to an allowed one that it names."""
    http = site(preset=preset, redirect_url="/goodbye", redirect_allow="/farewell")

    def answer(**form: str) -> Answer:
        ann = http.login("ann")
        presented = {"token": ann.access} if preset else {"cookie": ann.cookie}
        return http.post("/auth/logout", **presented, form=form, headers=OWN_PAGE | {"Accept": "text/html"})

    assert (answer().status, answer().header("location")) == (303, "/goodbye")
    assert answer(redirect_uri="/farewell").header("location") == "/farewell"
    assert answer(redirect_uri="https://evil.example/").header("location") == "/goodbye"


def test_UM_29_all_refresh_tokens_of_the_user_by_default(http: Site) -> None:
    """The preset's scope is global, also for a login whose tokens have no session in common."""
    phone, laptop = http.login("ann", sid=False), http.login("ann", sid=False)

    http.post("/logout", token=phone.access)

    assert http.settings.scope == "global"
    assert [http.refresh(each.refresh).status for each in (phone, laptop)] == [401, 401]


ENDED_BY: dict[str, tuple[str, Callable[[Site, Device], object]]] = {
    "logout by token": ("logout", lambda http, ann: http.post("/auth/logout", token=ann.access)),
    "logout by cookie": ("logout", lambda http, ann: http.post("/auth/logout", cookie=ann.cookie, headers=OWN_PAGE)),
    "logout everywhere": ("logout", lambda http, ann: http.post("/auth/logout/all", token=ann.access)),
    "my devices": ("session_ended", lambda http, ann: _end_by_id(http, ann)),
    "revoke_token": ("revoke_token", lambda http, ann: http.call("revoke_token", ann.access)),
    "revoke_session": ("admin", lambda http, ann: http.call("revoke_session", ann.sid, reason="admin")),
    "revoke_user": ("password_change", lambda http, ann: http.call("revoke_user", "ann", reason="password_change")),
    "idle": ("idle", lambda http, ann: (http.clock.move(1800.0), http.me(token=ann.access))),
    "absolute": ("absolute", lambda http, ann: (http.clock.move(1800.0), http.me(token=ann.access))),
    "too many": ("max_sessions", lambda http, ann: (http.clock.move(60.0), http.me(token=http.login("ann").access))),
}


def _end_by_id(http: Site, device: Device) -> None:
    mine = http.get("/auth/sessions", token=device.access).json["sessions"]
    session_id = next(each["id"] for each in mine if each["current"])
    assert http.request("DELETE", f"/auth/sessions/{session_id}", token=device.access).status == 200


@pytest.mark.parametrize("door", ENDED_BY)
def test_UM_30_the_applications_own_session_data_can_be_cleared(site: BuildSite, door: str) -> None:
    """Its hook is told which session of whom ended, and why, whatever ended it; nobody else's data go."""
    limits = {"absolute_timeout": "30m"} if door == "absolute" else {}
    limits |= {"idle_timeout": "30m"} if door == "idle" else {}
    http = site(**limits, max_sessions="1" if door == "too many" else None)
    ann, bob = http.login("ann"), http.login("bob")
    data = {ann.sid: {"reauthenticated": True, "basket": ["book"]}, bob.sid: {"basket": ["pen"]}}

    @http.logout.on_event
    def clear(event: LogoutEvent) -> None:
        if event.kind == "session_ended":
            data.pop(event.session, None)

    assert [http.alive(each) for each in (ann, bob)] == [ALL, ALL]
    reason, end = ENDED_BY[door]

    end(http, ann)

    told = [(event.session, event.user, event.reason) for event in http.told("session_ended")]
    user = None if door == "revoke_session" else "ann"  # a session id alone does not say whose it is
    assert told == [(ann.sid, user, reason)]
    assert data == {bob.sid: {"basket": ["pen"]}}


@pytest.mark.parametrize("mistake", [RuntimeError, KeyError])
def test_UM_30_a_hook_that_fails_does_not_undo_the_logout(http: Site, mistake: type[Exception]) -> None:
    """The next one is called all the same, and the answer is as ever."""
    ann = http.login("ann")
    called: list[str | None] = []

    @http.logout.on_event
    def fail(event: LogoutEvent) -> None:
        raise mistake("the application's database is away")

    http.logout.on_event(lambda event: called.append(event.session))

    answer = http.post("/logout", token=ann.access)

    assert answer.status == 200
    assert ann.sid in called
    assert http.alive(ann) == set()


@pytest.mark.parametrize("kind", ["revoked", "expired", "garbage", "forged", "not a jwt"])
def test_UM_31_a_token_that_is_dead_already_is_a_success(http: Site, kind: str) -> None:
    """The same shape as ever, and nobody else is touched."""
    bystander = http.login("ann")
    token = {
        "revoked": http.issuer.mint("eve"),
        "expired": http.issuer.mint("ann", life=-60),
        "garbage": "eyJhbGciOiJIUzI1NiJ9.e30.AAAA",
        "forged": http.issuer.mint("ann")[:-8] + "AAAAAAAA",
        "not a jwt": "no-token-at-all",
    }[kind]
    if kind == "revoked":
        http.post("/logout", token=token)

    answer = http.post("/logout", token=token)

    assert answer.status == 200
    assert set(answer.json) == {"message", "timestamp"}
    assert http.alive(bystander) == ALL


def _log_out_often(http: Site, user: str, times: int) -> list[Answer]:
    answers = []
    for _ in range(times):
        http.clock.move(0.001)  # each logout is of every device, so each login must come after it
        answers.append(http.post("/logout", token=http.issuer.mint(user)))
    return answers


def test_UM_32_twenty_logouts_in_five_minutes_per_user(http: Site) -> None:
    """The 21st is refused, another user is not, and after the window all is as before."""
    first_twenty = [answer.status for answer in _log_out_often(http, "ann", 20)]
    over = _log_out_often(http, "ann", 1)[0].status
    other = _log_out_often(http, "bob", 1)[0].status
    http.clock.move(WINDOW - 1)
    still = _log_out_often(http, "ann", 1)[0].status
    http.clock.move(2)
    after = _log_out_often(http, "ann", 1)[0].status

    assert first_twenty == [200] * 20
    assert (over, other, still, after) == (429, 200, 429, 200)


def test_UM_33_over_the_limit_the_own_login_still_ends(http: Site) -> None:
    """Abuse is prevented, a legitimate logout is not."""
    _log_out_often(http, "ann", 20)
    http.clock.move(1)
    ann, elsewhere = http.login("ann"), http.login("ann")

    answer = http.post("/logout", token=ann.access)

    assert answer.status == 429
    assert http.alive(ann) == set()
    assert http.alive(elsewhere) == ALL


def test_UM_34_limit_remaining_and_reset_are_in_every_answer(http: Site) -> None:
    """Both the fields of the IETF draft and the X- ones; Retry-After only with 429."""
    answers = _log_out_often(http, "ann", 21)

    assert [answer.header("x-ratelimit-limit") for answer in answers] == ["20"] * 21
    assert [answer.header("x-ratelimit-remaining") for answer in answers] == [*map(str, range(19, -1, -1)), "0"]
    assert [answer.header("x-ratelimit-reset") for answer in answers] == ["300"] * 21
    assert {answer.header("ratelimit-policy") for answer in answers} == {'"logout";q=20;w=300'}
    assert answers[0].header("ratelimit") == '"logout";r=19;t=300'
    assert [answer.header("retry-after") for answer in answers] == [None] * 20 + ["300"]


@pytest.mark.parametrize(
    ("settings", "request_of", "status"),
    [
        ({}, {"json": {"scope": "others"}, "token": "opaque-token-of-ann"}, 403),
        ({}, {"headers": {"Prefer": "return=minimal"}}, 204),
        ({}, {"headers": {"Accept": "text/html"}}, 303),
        ({"require_credential": "true"}, {}, 401),
    ],
)
def test_UM_34_other_answers_of_the_logout_carry_the_fields_too(
    site: BuildSite, settings: dict[str, str], request_of: dict[str, object], status: int
) -> None:
    """Whatever is counted says so."""
    answer = site(**settings).post("/auth/logout", **request_of)

    assert answer.status == status
    assert answer.header("x-ratelimit-remaining") == "19"
    assert answer.header("ratelimit-policy") == '"logout";q=20;w=300'


@pytest.mark.parametrize(("sid", "wait"), [(False, 0.001), (True, 1.0)])
def test_UM_35_login_works_at_once_after_logout_and_refresh_does_not(http: Site, sid: bool, wait: float) -> None:
    """Nobody is locked out of the session that he opens next.

    A millisecond later where the middleware names the session; a session cookie that the application names by
    itself says only the second in which it was signed.
    """
    before = http.login("ann", sid=sid)

    http.post("/logout", token=before.access)
    http.clock.move(wait)
    after = http.login("ann", sid=sid)

    assert http.alive(before) == set()
    assert http.alive(after) == ALL
