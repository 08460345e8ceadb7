"""My devices: who am I, where am I logged in, end one, end the others; by HTTP, from code, on the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from logout_middleware import StoreError
from logout_middleware.asgi import LogoutEndpoints as AsgiEndpoints
from logout_middleware.events import timestamp
from logout_middleware.rules.revocation import FOREVER, Revocation, session_key
from logout_middleware.stores import Count, Outcome
from logout_middleware.wsgi import LogoutEndpoints as WsgiEndpoints

from .apps import JWT_KEY, Issuer
from .client import ALL, OWN_PAGE, Answer, AsgiClient, BuildSite, Device, Sender, Site, WsgiClient

ELSEWHERE = "https://elsewhere.example.com"
MEMBERS = {"id", "created", "last_seen", "address", "user_agent", "current", "expires_at"}
AGENTS = ("laptop", "phone", "tablet")


def use(http: Site, device: Device, agent: str = "laptop", address: str = "192.0.2.1") -> Device:
    """Use a device once, with its access token, so that its session is seen."""
    answer = http.get("/me", token=device.access, headers={"User-Agent": agent}, address=address)
    assert answer.json["user"] == device.user
    return device


def three_devices(http: Site, user: str = "ann") -> list[Device]:
    """Three logins of one user, a minute from each other, each used once."""
    found = []
    for number, agent in enumerate(AGENTS):
        http.clock.move(60.0)
        found.append(use(http, http.login(user), agent, f"192.0.2.{number + 1}"))
    return found


def listed(http: Site, device: Device) -> list[dict[str, Any]]:
    """The sessions that this device is told of."""
    answer = http.get("/auth/sessions", token=device.access)
    assert answer.status == 200, answer
    sessions: list[dict[str, Any]] = answer.json["sessions"]
    return sessions


def id_of(http: Site, device: Device) -> str:
    """The id of the device's own session."""
    return next(str(each["id"]) for each in listed(http, device) if each["current"])


def end(http: Site, session_id: str, **given: Any) -> Answer:
    """End one session."""
    return http.request("DELETE", f"/auth/sessions/{session_id}", **given)


def end_others(http: Site, **given: Any) -> Answer:
    """End the other sessions."""
    return http.request("DELETE", "/auth/sessions", **given)


# ---- who am I --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["token", "cookie"])
def test_session_names_user_and_session_and_their_end(http: Site, by: str) -> None:
    """A page can ask whom it is shown to, without knowing how the login works."""
    device = http.login("ann")
    credential = {"token": device.access} if by == "token" else {"cookie": device.cookie}

    answer = http.get("/auth/session", **credential)

    lifetime = 3600.0 if by == "token" else http.settings.max_lifetime
    assert (answer.status, answer.json) == (
        200,
        {
            "authenticated": True, "sub": "ann", "sid": device.sid,
            "expires_at": timestamp(int(http.clock()) + lifetime), "idle_expires_at": None,
        },
    )  # fmt: skip
    assert (answer.header("cache-control"), answer.header("vary")) == ("no-store", "Cookie, Authorization")


@pytest.mark.parametrize("what", ["nothing", "garbage", "forged", "expired", "not yet", "endless", "logged out"])
def test_whoever_is_not_logged_in_is_told_so_with_200(http: Site, what: str) -> None:
    """Asking is no mistake, and nothing but a verified live credential is a login."""
    device = http.login("ann")
    tokens: dict[str, Callable[[], str]] = {
        "garbage": lambda: "a.b.c",
        "forged": lambda: Issuer(http.clock, "a key that nobody configured, long enough").mint("ann"),
        "expired": lambda: http.issuer.mint("ann", life=-1.0),
        "not yet": lambda: http.issuer.mint("ann", nbf=http.clock() + 60),
        "endless": lambda: http.issuer.mint("ann", iat=None, exp=None),
        "logged out": lambda: device.access,
    }
    if what == "logged out":
        http.post("/auth/logout", token=device.access)

    answer = http.get("/auth/session", token=tokens[what]() if what in tokens else None)

    assert (answer.status, answer.json) == (200, {"authenticated": False})
    assert answer.all("set-cookie") == []


def test_the_first_live_credential_counts(http: Site) -> None:
    """A stale token in the header does not hide the login in the cookie."""
    gone, here = http.login("bob"), http.login("ann")
    http.post("/auth/logout", token=gone.access)

    assert http.get("/auth/session", token=gone.access, cookie=here.cookie).json["sub"] == "ann"
    assert http.get("/auth/session", token="opaque-token-of-bob", cookie=here.cookie).json["sub"] == "ann"


def test_a_login_of_the_same_second_as_a_cut_off_is_a_login(http: Site) -> None:
    """Its token says whole seconds; that it is younger was marked."""
    http.call("revoke_user", "ann")
    http.clock.move(0.25)
    unmarked, marked = (http.issuer.mint("ann", iat=int(http.clock()), sid=sid) for sid in ("old", "new"))

    http.call("mark_login", marked)

    assert http.get("/auth/session", token=unmarked).json == {"authenticated": False}
    assert http.get("/auth/session", token=marked).json["sid"] == "new"


def test_where_nothing_can_be_verified_the_operator_is_told(site: BuildSite, caplog: pytest.LogCaptureFixture) -> None:
    """Else everybody would be a stranger here, and nobody would know why."""
    http = site(jwt_key=None, jwt_algorithms=None, cookie_secret=None)

    assert http.get("/auth/session", token="opaque-token-of-ann").json == {"authenticated": False}

    assert [record.message for record in caplog.records if "no credential can be verified" in record.message]


def test_asking_does_not_slide_the_idle_clock(site: BuildSite) -> None:
    """A page that polls must not keep an empty chair logged in."""
    http = site(idle_timeout="10m")
    device = http.login("ann")
    http.me(token=device.access)
    began = http.clock()

    for _ in range(3):
        http.clock.move(180.0)
        told = http.get("/auth/session", token=device.access).json
        assert (told["authenticated"], told["idle_expires_at"]) == (True, timestamp(began + 600.0))
        listed(http, device)
    http.clock.move(61.0)

    assert http.get("/auth/session", token=device.access).json == {"authenticated": False}
    assert http.get("/auth/sessions", token=device.access).status == 401
    assert http.get("/me", token=device.access).status == 401


def test_the_absolute_timeout_is_the_end_that_is_told(site: BuildSite) -> None:
    """It comes before the token's own end, and nothing can move it."""
    http = site(absolute_timeout="30m")
    device = use(http, http.login("ann"))
    ends = timestamp(int(http.clock()) + 1800.0)

    http.clock.move(1200.0)

    assert http.get("/auth/session", token=device.access).json["expires_at"] == ends
    assert [each["expires_at"] for each in listed(http, device)] == [ends]


# ---- my devices ------------------------------------------------------------------------------------------


def test_my_devices_are_listed_and_nobody_elses(http: Site) -> None:
    """The one used last comes first; this one is marked."""
    laptop, phone, tablet = three_devices(http)
    use(http, http.login("bob"))
    http.clock.move(600.0)
    use(http, phone, "phone", "192.0.2.7")

    answer = http.get("/auth/sessions", cookie=laptop.cookie)

    sessions = answer.json["sessions"]
    assert (answer.status, answer.header("vary")) == (200, "Cookie, Authorization")
    assert [(each["user_agent"], each["address"], each["current"]) for each in sessions] == [
        ("phone", "192.0.2.7", False), ("tablet", "192.0.2.3", False), ("laptop", "192.0.2.1", True),
    ]  # fmt: skip
    assert all(set(each) == MEMBERS and re.fullmatch("[0-9a-f]{32}", each["id"]) for each in sessions)
    assert sessions[0]["last_seen"] == timestamp(http.clock())
    assert sessions[0]["created"] == timestamp(http.clock() - 660.0)
    assert sessions[1]["expires_at"] > timestamp(int(http.clock() + 399 * 86400.0))  # its cookie lives for 400 days
    assert tablet.access not in answer.text
    assert tablet.sid not in answer.text


def test_a_session_that_was_never_seen_before_lists_itself(http: Site) -> None:
    """The page may be the first that a new login opens."""
    device = http.login("ann")

    assert [each["current"] for each in listed(http, device)] == [True]


def test_a_device_that_logged_out_is_no_longer_listed(http: Site) -> None:
    """However it was logged out."""
    laptop, phone, tablet = three_devices(http)

    http.post("/auth/logout", token=phone.access)
    http.call("revoke_session", tablet.sid)

    assert [each["user_agent"] for each in listed(http, laptop)] == ["laptop"]


def test_a_session_whose_last_token_expired_is_no_longer_listed(site: BuildSite) -> None:
    """What nobody can use any more is no device that is logged in."""
    http = site(cookie_secret=None)
    use(http, http.login("ann"), "old")
    http.clock.move(29 * 86400.0)  # its refresh token lives for a month
    assert {each["user_agent"] for each in listed(http, use(http, http.login("ann"), "new"))} == {"old", "new"}

    http.clock.move(2 * 86400.0)

    assert {each["user_agent"] for each in listed(http, use(http, http.login("ann"), "new"))} == {"new"}


@pytest.mark.parametrize("what", ["nothing", "a dead cookie", "a dead token", "no user", "a client", "opaque"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "DELETE one"])
def test_devices_are_for_a_verified_live_user_only(http: Site, method: str, what: str) -> None:
    """Everybody else is told to log in, and no cookie is touched."""
    dead, other = http.login("ann"), use(http, http.login("ann"))
    http.post("/auth/logout", token=dead.access)
    credentials: dict[str, dict[str, Any]] = {
        "nothing": {},
        "a dead cookie": {"cookie": dead.cookie},
        "a dead token": {"token": dead.access},
        "no user": {"token": http.issuer.mint("ann", sub=None)},
        "a client": {"token": http.issuer.mint("shop", client_id="shop")},
        "opaque": {"token": "opaque-token-of-ann"},
    }
    path = f"/auth/sessions/{id_of(http, other)}" if method == "DELETE one" else "/auth/sessions"

    answer = http.request(method.split()[0], path, headers=OWN_PAGE, **credentials[what])

    challenge = answer.header("www-authenticate") or ""
    assert (answer.status, answer.json["error"]) == (401, "login_required")
    assert challenge.startswith('Bearer realm="api"')
    assert ('error="invalid_token"' in challenge) == ("token" in credentials[what])
    assert answer.all("set-cookie") == []
    assert http.alive(other) == ALL


# ---- end one ---------------------------------------------------------------------------------------------


def test_one_device_is_ended_and_the_others_live(http: Site) -> None:
    """The lost phone is logged out with all that it has, from the laptop."""
    laptop, phone, tablet = three_devices(http)
    before = listed(http, laptop)
    session_id = next(each["id"] for each in before if each["user_agent"] == "phone")

    answer = end(http, session_id, cookie=laptop.cookie, headers=OWN_PAGE | {"User-Agent": "laptop"})

    assert (answer.status, answer.json) == (
        200,
        {
            "success": True, "message": "Session ended.", "timestamp": timestamp(http.clock()), "status": "done",
            "revoked": {"tokens": 0, "sessions": 1, "connections": 0},
        },
    )  # fmt: skip
    assert answer.all("set-cookie") == []
    assert [http.alive(each) for each in (laptop, phone, tablet)] == [ALL, set(), ALL]
    assert [each["id"] for each in listed(http, laptop)] == [each["id"] for each in before if each["id"] != session_id]


def test_the_end_of_a_session_is_audited_with_who_asked(http: Site) -> None:
    """And the application hears which session ended, so that it can clear what it keeps of it."""
    laptop, phone = use(http, http.login("ann")), use(http, http.login("ann"), "phone")
    session_id = id_of(http, phone)

    end(http, session_id, token=laptop.access, headers={"User-Agent": "laptop"}, address="192.0.2.9")

    (told,) = http.told("logout")
    assert (told.user, told.reason, told.outcome) == ("ann", "session_ended", "done")
    assert (told.client_address, told.user_agent) == ("192.0.2.9", "laptop")
    assert [(each.keys, each.reason) for each in http.told("session_ended")] == [((session_id,), "session_ended")]


def test_an_unknown_a_malformed_and_a_strangers_id_are_the_same_404(http: Site) -> None:
    """Nobody learns which sessions exist, and nobody ends another's."""
    ann, bob = use(http, http.login("ann")), use(http, http.login("bob"))
    own = id_of(http, ann)
    wrong = ["0" * 32, id_of(http, bob), own[:-1], own + "0", own.upper(), f"{own}%20", "x", "%00"]

    answers = [end(http, each, token=ann.access) for each in wrong]

    counted = {"ratelimit", "x-ratelimit-remaining"}
    seen = {
        (each.status, each.body, tuple(field for field in each.headers if field[0] not in counted)) for each in answers
    }
    assert len(seen) == 1
    assert (answers[0].status, answers[0].json["error"]) == (404, "not_found")
    assert [http.alive(each) for each in (ann, bob)] == [ALL, ALL]


def test_a_session_that_was_ended_already_is_404(http: Site) -> None:
    """Twice ended is not a second success."""
    laptop, phone = use(http, http.login("ann")), use(http, http.login("ann"))
    session_id = id_of(http, phone)

    assert [end(http, session_id, token=laptop.access).status for _ in range(2)] == [200, 404]


def test_the_own_session_can_be_ended_like_any_other(http: Site) -> None:
    """Then its cookies go as with a logout, and only on that answer."""
    device = use(http, http.login("ann"))

    answer = end(http, id_of(http, device), cookie=device.cookie, headers=OWN_PAGE)

    assert (answer.status, "session" in answer.deleted) == (200, True)
    assert http.alive(device) == set()
    assert end(http, "0" * 32, token=device.access).status == 401


def test_what_is_bound_to_the_own_login_is_the_own_session(http: Site) -> None:
    """A cookie and a token of one login that have different names: one device, which ends as one."""
    device, other = http.login("ann", sid=False), use(http, http.login("ann"))
    token = http.issuer.mint("ann", sid="the token's own name for it")
    http.get("/me", token=token, cookie=device.cookie)

    sessions = http.get("/auth/sessions", cookie=device.cookie).json["sessions"]
    named = next(each["id"] for each in sessions if not each["current"])
    answer = end_others(http, cookie=device.cookie, headers=OWN_PAGE)

    assert sorted(each["current"] for each in sessions) == [False, True]
    assert (answer.status, http.alive(other), http.me(token=token)) == (200, set(), "ann")
    bound = http.get("/auth/sessions", token=token).json["sessions"]
    assert named not in {each["id"] for each in bound}
    ended = end(http, bound[0]["id"], token=token)
    assert (ended.status, http.me(cookie=device.cookie), http.get("/me", token=token).status) == (200, None, 401)


# ---- end the others --------------------------------------------------------------------------------------


def test_the_other_devices_are_ended_and_this_one_lives(http: Site) -> None:
    """After a stolen phone: one button, and I stay logged in."""
    laptop, phone, tablet = three_devices(http)
    stranger = use(http, http.login("bob"))
    never_used = http.login("ann")

    answer = end_others(http, cookie=laptop.cookie, headers=OWN_PAGE)

    assert (answer.status, answer.json) == (
        200,
        {
            "success": True, "message": "All other sessions ended.", "timestamp": timestamp(http.clock()),
            "status": "done", "revoked": {"tokens": 0, "sessions": 3, "connections": 0},
        },
    )  # fmt: skip
    assert answer.all("set-cookie") == []
    assert [http.alive(each) for each in (laptop, phone, tablet, never_used, stranger)] == [
        ALL, set(), set(), set(), ALL,
    ]  # fmt: skip
    assert [each["current"] for each in listed(http, laptop)] == [True]
    (told,) = http.told("logout")
    assert (told.user, told.reason, told.scope) == ("ann", "session_ended", "others")


def test_ending_the_others_of_nobody_is_a_success(http: Site) -> None:
    """And can be said again and again."""
    device = use(http, http.login("ann"))

    answers = [end_others(http, token=device.access) for _ in range(3)]

    assert [(each.status, each.json["revoked"]["sessions"]) for each in answers] == [(200, 0)] * 3
    assert http.alive(device) == ALL


# ---- who may -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": ELSEWHERE},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": ELSEWHERE},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Purpose": "prefetch"},
        {},
    ],
    ids=["cross-site", "same-site", "another origin", "null", "prefetch", "says nothing"],
)
def test_another_sites_page_cannot_end_sessions_by_cookie(http: Site, headers: dict[str, str]) -> None:
    """The rule of the logout itself: 403, everything alive, no cookie touched, no turn of the user's limit used."""
    laptop, phone = use(http, http.login("ann")), use(http, http.login("ann"))
    session_id = id_of(http, phone)

    answers = [end(http, session_id, cookie=laptop.cookie, headers=headers)]
    answers.append(end_others(http, cookie=laptop.cookie, headers=headers))

    assert [(each.status, each.json["error"]) for each in answers] == [(403, "cross_site")] * 2
    assert [each.all("set-cookie") + each.all("ratelimit") for each in answers] == [[], []]
    assert [http.alive(each) for each in (laptop, phone)] == [ALL, ALL]


def test_our_own_page_a_trusted_origin_and_a_program_can(site: BuildSite) -> None:
    """By the browser's word, by Origin, or by a body that no form can send."""
    http = site(trusted_origins=ELSEWHERE)
    device = use(http, http.login("ann"))

    for headers in (OWN_PAGE, {"Origin": ELSEWHERE}, {"Content-Type": "application/json"}):
        assert end_others(http, cookie=device.cookie, headers=headers).status == 200


def test_a_foreign_page_with_a_token_acts_for_the_token_only(http: Site) -> None:
    """No page can make a browser send Authorization unasked; the cookie beside it does not count."""
    ann, ann_elsewhere = use(http, http.login("ann")), use(http, http.login("ann"))
    bob, bob_elsewhere = use(http, http.login("bob")), use(http, http.login("bob"))

    answer = end_others(http, token=ann.access, cookie=bob.cookie, headers={"Origin": ELSEWHERE})

    assert answer.status == 200
    assert [http.alive(each) for each in (ann, ann_elsewhere, bob, bob_elsewhere)] == [ALL, set(), ALL, ALL]


def test_a_foreign_page_gains_nothing_by_a_made_up_token(http: Site) -> None:
    """The token is none, and the cookie still does not count."""
    here, elsewhere = use(http, http.login("ann")), use(http, http.login("ann"))

    answer = end_others(http, token="made-up", cookie=here.cookie, headers={"Origin": ELSEWHERE})

    assert (answer.status, answer.json["error"]) == (401, "login_required")
    assert [http.alive(each) for each in (here, elsewhere)] == [ALL, ALL]


def test_a_request_acts_for_one_user_only(http: Site) -> None:
    """Two users' credentials in one request: it is the first one's, the other has lost nothing."""
    ann, bob, bob_elsewhere = (use(http, http.login(user)) for user in ("ann", "bob", "bob"))

    answer = end_others(http, token=ann.access, cookie=bob.cookie, headers=OWN_PAGE)

    assert (answer.status, answer.json["revoked"]["sessions"]) == (200, 0)
    assert [each["current"] for each in listed(http, ann)] == [True]
    assert [http.alive(each) for each in (bob, bob_elsewhere)] == [ALL, ALL]


def test_two_readings_of_a_token_are_refused(http: Site) -> None:
    """Not guessed."""
    device = use(http, http.login("ann"))
    twice = [("Authorization", f"Bearer {device.access}"), ("Authorization", f"Bearer {device.refresh}")]

    for method, path in (("GET", "/auth/session"), ("GET", "/auth/sessions"), ("DELETE", "/auth/sessions")):
        assert http.request(method, path, headers=twice).status == 400
    assert http.alive(device) == ALL


# ---- limits and failures -----------------------------------------------------------------------------------


def test_over_the_limit_only_the_own_session_can_be_ended(site: BuildSite) -> None:
    """A limiter keeps nobody logged in, and ends nothing else."""
    http = site(rate_limit="2 per 5 minutes")
    laptop, phone, tablet = three_devices(http)
    ids = [each["id"] for each in listed(http, laptop)]

    first = end(http, ids[0], cookie=laptop.cookie, headers=OWN_PAGE)
    second = end(http, "0" * 32, token=laptop.access)
    limited = [end(http, ids[1], token=laptop.access), end_others(http, token=laptop.access)]
    own = end(http, ids[2], cookie=laptop.cookie, headers=OWN_PAGE)

    assert [first.status, second.status] == [200, 404]
    assert [first.header("x-ratelimit-remaining"), second.header("x-ratelimit-remaining")] == ["1", "0"]
    assert [(each.status, each.header("retry-after"), each.deleted) for each in limited] == [(429, "300", set())] * 2
    assert (own.status, "session" in own.deleted, own.header("retry-after")) == (429, True, "300")
    assert [http.alive(each) for each in (laptop, phone, tablet)] == [set(), ALL, set()]
    assert len(http.told("rate_limited")) == 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/session"), ("GET", "/auth/sessions"), ("DELETE", "/auth/sessions"),
        ("DELETE", "/auth/sessions/0123456789abcdef0123456789abcdef"),
    ],
)  # fmt: skip
def test_while_the_store_is_away_nobody_is_told_anything(http: Site, path: str, method: str) -> None:
    """Not knowing is neither "logged in" nor "not logged in": 503, and nothing happened."""
    device = use(http, http.login("ann"))

    http.store.broken = True
    answer = http.request(method, path, cookie=device.cookie, headers=OWN_PAGE)
    http.store.broken = False

    assert (answer.status, answer.json["error"], answer.header("retry-after")) == (503, "temporarily_unavailable", "1")
    assert answer.all("set-cookie") == []
    assert http.alive(device) == ALL


def test_a_stranger_is_a_stranger_while_the_store_is_away(http: Site) -> None:
    """Nothing has to be asked to know that."""
    http.store.broken = True

    assert http.get("/auth/session").json == {"authenticated": False}
    assert http.get("/auth/sessions").status == 401


@pytest.mark.parametrize("path", ["/auth/session", "/auth/sessions"])
def test_where_revocations_cannot_be_read_a_dead_login_gets_no_answer(
    http: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """All else could be looked up, but whether it was logged out cannot."""
    device = use(http, http.login("ann"))
    http.post("/auth/logout", token=device.access)

    async def refuse(keys: object) -> list[Revocation]:
        raise StoreError("the connection was reset")

    monkeypatch.setattr(http.store, "find", refuse)

    assert http.get(path, token=device.access).status == 503


def test_a_session_that_is_ended_meanwhile_ends_no_others(http: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lost his session a moment ago is told so, and not that he ended the others."""
    laptop, phone = use(http, http.login("ann")), use(http, http.login("ann"))
    hit = http.store.hit

    async def end_meanwhile(key: bytes, window: float) -> Count:
        await http.store.add([Revocation(session_key(laptop.sid or ""), FOREVER, http.clock() + 3600.0)])
        return await hit(key, window)

    monkeypatch.setattr(http.store, "hit", end_meanwhile)

    assert end_others(http, token=laptop.access).status == 401
    assert http.alive(phone) == ALL


@pytest.mark.parametrize("door", ["one", "others"])
def test_what_cannot_be_recorded_is_no_success(http: Site, monkeypatch: pytest.MonkeyPatch, door: str) -> None:
    """The store can be read, but takes nothing: 503, and the session lives."""
    laptop, phone = use(http, http.login("ann")), use(http, http.login("ann"))
    session_id = id_of(http, phone)

    async def refuse(revocations: object) -> Outcome:
        raise StoreError("the disk is full")

    monkeypatch.setattr(http.store, "add", refuse)
    answer = end(http, session_id, token=laptop.access) if door == "one" else end_others(http, token=laptop.access)

    assert (answer.status, answer.json["success"]) == (503, False)
    assert http.alive(phone) == ALL


@pytest.mark.parametrize("door", ["one", "others"])
def test_what_is_only_in_the_journal_is_told_as_pending(http: Site, monkeypatch: pytest.MonkeyPatch, door: str) -> None:
    """In force on this host, not everywhere yet."""
    laptop, phone = use(http, http.login("ann")), use(http, http.login("ann"))
    session_id = id_of(http, phone)
    add = http.store.add

    async def add_pending(revocations: Any) -> Outcome:
        await add(revocations)
        return Outcome.PENDING

    monkeypatch.setattr(http.store, "add", add_pending)
    answer = end(http, session_id, token=laptop.access) if door == "one" else end_others(http, token=laptop.access)

    assert (answer.status, answer.json["status"]) == (202, "pending")
    assert http.alive(phone) == set()


# ---- methods and paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/auth/session", "GET, HEAD, OPTIONS"),
        ("/auth/sessions", "DELETE, GET, HEAD, OPTIONS"),
        ("/auth/sessions/0123456789abcdef0123456789abcdef", "DELETE, OPTIONS"),
    ],
    ids=["session", "sessions", "one"],
)
def test_each_path_has_its_methods(site: BuildSite, path: str, allowed: str) -> None:
    """A wrong one is 405 and does nothing; a trusted origin's preflight names them; HEAD has no body.

    A GET of one session is the application's, as every path is that is not ours.
    """
    http = site(trusted_origins=ELSEWHERE)
    device = use(http, http.login("ann"))
    asked = {"Origin": ELSEWHERE, "Access-Control-Request-Method": "DELETE"}

    ours = {"POST", "PUT", "PATCH", "DELETE"} | ({"GET"} if "GET" in allowed else set())
    for method in ours - set(allowed.split(", ")):
        wrong = http.request(method, path, token=device.access)
        assert (wrong.status, wrong.header("allow")) == (405, allowed)
    preflight, foreign = (http.request("OPTIONS", path, headers=asked | more) for more in ({}, {"Origin": "https://x"}))
    assert (preflight.status, preflight.header("access-control-allow-methods")) == (204, allowed)
    assert preflight.header("access-control-allow-origin") == ELSEWHERE
    assert foreign.header("access-control-allow-methods") is None
    if "GET" in allowed:
        head = http.request("HEAD", path, token=device.access)
        assert (head.status, head.body, head.header("content-type")) == (200, b"", "application/json")
    assert http.alive(device) == ALL


def test_a_trusted_origin_may_read_the_answers(site: BuildSite) -> None:
    """And no other."""
    http = site(trusted_origins=ELSEWHERE)
    device = use(http, http.login("ann"))

    for origin, allowed in ((ELSEWHERE, ELSEWHERE), ("https://x.example.com", None)):
        answer = http.get("/auth/sessions", cookie=device.cookie, headers={"Origin": origin})
        assert answer.header("access-control-allow-origin") == allowed


@pytest.mark.parametrize("path", ["/auth/sessions/", "/auth/sessions/a/b", "/auth/session/", "/auth/sessionsx"])
def test_other_paths_stay_the_applications(http: Site, path: str) -> None:
    """Only what the table names is taken."""
    assert b"not_found" not in http.request("DELETE", path).body
    assert http.request("DELETE", path).status == 404


@pytest.mark.parametrize("path", ["/auth/session", "/auth/sessions", "/auth/sessions/" + "0" * 32])
def test_without_the_group_the_paths_are_the_applications(site: BuildSite, path: str) -> None:
    """LOGOUT_ENDPOINTS=logout is the logout alone."""
    http = site(endpoints="logout")

    assert b"login_required" not in http.request("DELETE", path).body
    assert http.request("DELETE", path).status == 404


def test_mounted_endpoints_have_the_paths_of_the_group(http: Site) -> None:
    """Mounted by hand they are below the mount, one session as well."""
    mine, other = use(http, http.login("ann")), use(http, http.login("ann"))
    session_id = id_of(http, other)
    if http.shell == "asgi":
        mounted = Sender(AsgiClient(AsgiEndpoints(http.logout)))
    else:
        mounted = Sender(WsgiClient(WsgiEndpoints(http.logout)))

    answers = [
        mounted.get("/session", token=mine.access), mounted.get("/sessions", token=mine.access),
        mounted.request("DELETE", f"/sessions/{session_id}", token=mine.access), mounted.get("/nothing"),
    ]  # fmt: skip
    mounted.close()

    assert [each.status for each in answers] == [200, 200, 200, 404]
    assert http.alive(other) == set()


# ---- from code and from the command line -------------------------------------------------------------------


def test_code_can_list_the_sessions_of_a_user(http: Site) -> None:
    """For a page of the application's own, or for support."""
    _, phone, tablet = three_devices(http)
    http.post("/auth/logout", token=tablet.access)

    found = http.call("list_sessions", "ann")

    assert [(each.user_agent, each.address) for each in found] == [("phone", "192.0.2.2"), ("laptop", "192.0.2.1")]
    assert found[0].id == id_of(http, phone)
    assert http.call("list_sessions", "nobody") == []
    assert http.call("list_sessions", "ann", issuer="https://another.example.com") == []


@pytest.mark.parametrize("sub", ["", None, b"ann"])
def test_a_user_must_be_named_by_a_text(http: Site, sub: Any) -> None:
    """As with revoke_user."""
    with pytest.raises(TypeError, match="sub must be a text"):
        http.call("list_sessions", sub)


def command(http: Site, place: Path, *arguments: str) -> tuple[int, str]:
    """Run `logout-middleware sessions` beside the site, on the same store."""
    environ = {
        **os.environ, "LOGOUT_STORE": http.settings.store, "LOGOUT_JWT_KEY": JWT_KEY, "LOGOUT_JWT_ALGORITHMS": "HS256",
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "logout_middleware", "sessions", *arguments], env=environ, cwd=place,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout


def test_the_command_lists_the_sessions_of_a_user(http: Site, tmp_path: Path) -> None:
    """As a table for people, as JSON for programs; status 1 where there are none."""
    device = use(http, http.login("ann"), "Mozilla/5.0 (X11)")
    session_id, seen = id_of(http, device), timestamp(http.clock())

    status, said = command(http, tmp_path, "ann", "--json")
    assert (status, json.loads(said)) == (
        0,
        {
            "ok": True,
            "sessions": [
                {
                    "id": session_id, "created": seen, "last_seen": seen, "address": "192.0.2.1",
                    "user_agent": "Mozilla/5.0 (X11)",
                }
            ],
        },
    )  # fmt: skip
    status, said = command(http, tmp_path, "ann")
    assert (status, [line.split()[0] for line in said.splitlines()]) == (0, ["id", session_id])
    assert said.splitlines()[1].split(maxsplit=4)[1:] == [seen, seen, "192.0.2.1", "Mozilla/5.0 (X11)"]
    assert command(http, tmp_path, "nobody", "--json") == (1, '{"ok": false, "sessions": []}\n')
    assert command(http, tmp_path, "nobody") == (1, "no sessions\n")
    assert command(http, tmp_path, "ann", "--issuer", "https://another.example.com")[0] == 1


def test_what_a_stranger_calls_his_browser_does_not_reach_the_terminal(http: Site, tmp_path: Path) -> None:
    """A user agent is anybody's text: no escape sequence of it may be printed."""
    use(http, http.login("ann"), "\x1b[2Jcleared\x9b31m")

    _, said = command(http, tmp_path, "ann")

    assert "cleared" in said
    assert said.replace("\n", "").isprintable()
    assert "\x1b" not in said
