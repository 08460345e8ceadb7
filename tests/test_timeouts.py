"""Logouts by time: idle and absolute limits on the server, which polling cannot fool, and LOGOUT_MAX_SESSIONS."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from logout_middleware import StoreError
from logout_middleware.events import timestamp

from .client import ALL, BuildSite, Device, Site
from .seeds.connections import open_connections

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
JUST = 0.01
"""So close to a limit (seconds)."""
IDLE = {"idle_timeout": "20m"}
LIMIT = 20 * MINUTE
EARLIEST = LIMIT - MINUTE
"""A use is noted once a minute at most, so a session may end so much earlier, never later."""


def long_lived(http: Site, user: str = "ann", **claims: Any) -> str:
    """A token whose own end is far away."""
    return http.issuer.mint(user, life=300 * DAY, **{"sid": f"sid-{next(_numbers)}", **claims})


_numbers = itertools.count()


def why(http: Site) -> list[str | None]:
    """The reasons of the logouts so far."""
    return [event.reason for event in http.told("logout")]


# ---- idle ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("idle", "seconds"), [("100s", 100.0), ("20m", LIMIT), ("10h", 10 * HOUR), ("30d", 30 * DAY)])
def test_an_unused_login_ends_exactly_at_the_limit(site: BuildSite, idle: str, seconds: float) -> None:
    """Alive just before it, dead at it."""
    http = site(idle_timeout=idle)
    used_again, left_alone = (long_lived(http) for _ in range(2))
    assert [http.me(token=each) for each in (used_again, left_alone)] == ["ann", "ann"]

    http.clock.move(seconds - JUST)
    assert http.me(token=used_again) == "ann"
    http.clock.move(JUST)

    answer = http.get("/me", token=left_alone)
    assert (answer.status, answer.json["error"]) == (401, "token_revoked")
    assert http.me(token=used_again) == "ann"
    assert why(http) == ["idle"]


@pytest.mark.parametrize(("idle", "spare"), [("100s", 5.0), ("20m", MINUTE), ("10h", MINUTE)])
def test_a_use_counts_if_it_is_a_twentieth_or_a_minute_after_the_last_that_did(
    site: BuildSite, idle: str, spare: float
) -> None:
    """It is noted, and the whole time-out runs from there."""
    http = site(idle_timeout=idle)
    token = long_lived(http)
    assert http.me(token=token) == "ann"
    http.clock.move(spare)
    assert http.me(token=token) == "ann"

    http.clock.move((http.settings.idle_timeout or 0.0) - JUST)

    assert http.me(token=token) == "ann"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_use_before_the_limit_counts_from_the_last(site: BuildSite, seed: int) -> None:
    """Never later than the limit after the last use, and at most a twentieth, or a minute, earlier."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    seconds = chance.choice([60.0, 400.0, LIMIT, 5 * HOUR])
    spare = min(seconds / 20, MINUTE)
    http = site(idle_timeout=str(seconds))
    early, late = (long_lived(http) for _ in range(2))
    for _ in range(chance.randrange(1, 12)):
        assert [http.me(token=each) for each in (early, late)] == ["ann", "ann"]
        http.clock.move(chance.choice([0.0, chance.uniform(0, spare), chance.uniform(0, seconds - spare - JUST)]))
    assert [http.me(token=each) for each in (early, late)] == ["ann", "ann"]

    http.clock.move(seconds - spare - JUST)
    assert http.me(token=early) == "ann"
    http.clock.move(spare + JUST)

    assert http.me(token=late) is None
    assert why(http) == ["idle"]


def test_an_idle_login_is_over_with_all_its_parts(site: BuildSite) -> None:
    """Whichever of them comes first: a 401 for tokens, an anonymous visitor whose cookie is deleted."""
    http = site(**IDLE)
    for first in ("access", "cookie", "refresh"):
        device, bystander = http.login("ann"), http.login("ann")
        assert (http.alive(device), http.alive(bystander)) == (ALL, ALL)
        http.clock.move(LIMIT / 2)
        assert http.alive(bystander) == ALL
        http.clock.move(LIMIT / 2)

        found = {
            "access": lambda d=device: http.get("/me", token=d.access),
            "cookie": lambda d=device: http.get("/me", cookie=d.cookie),
            "refresh": lambda d=device: http.refresh(d.refresh),
        }[first]()

        assert found.status == (200 if first == "cookie" else 401)
        assert found.deleted == ({"session"} if first == "cookie" else set())
        assert http.alive(device) == set()
        assert http.alive(bystander) == ALL


def test_use_by_any_part_keeps_the_login_and_the_others_alive(site: BuildSite) -> None:
    """A browser that only uses its cookie does not lose its tokens, nor they the cookie."""
    http = site(**IDLE)
    device = http.login("ann")
    for part in (device.cookie, device.access, device.cookie):
        http.clock.move(LIMIT / 2)
        assert http.me(**({"cookie": part} if part == device.cookie else {"token": part})) == "ann"

    http.clock.move(LIMIT / 2)

    assert http.alive(device) == ALL
    assert why(http) == []


def test_use_by_any_part_keeps_a_login_alive_whose_parts_share_no_session_id(site: BuildSite) -> None:
    """Bound by the login's answer they are one login, and that is in use."""
    http = site(**IDLE)
    device = http.login("ann", sid=False)
    assert http.alive(device) == ALL
    for _ in range(4):
        http.clock.move(LIMIT / 2)
        assert http.me(cookie=device.cookie) == "ann"

    alive = http.alive(device)

    assert alive == ALL
    assert why(http) == []


def test_a_refresh_token_is_not_idle_while_its_access_tokens_are_in_use(site: BuildSite) -> None:
    """Most issuers write no session id, and refresh once an hour: nobody who works all day is logged out."""
    http = site(
        idle_timeout="15m", token_responses="POST /login: access_token, refresh_token; POST /refresh: access_token"
    )
    device = http.login("ann", sid=False)
    access = device.access
    for minute in range(1, 181):
        http.clock.move(MINUTE)
        if minute % 50 == 0:
            answer = http.refresh(device.refresh)
            assert answer.status == 200, f"after {minute} minutes: {answer}"
            access = answer.json["access_token"]
        assert http.me(token=access) == "ann"

    assert why(http) == []


def test_workers_share_the_idle_clock(site: BuildSite) -> None:
    """Use at one of them counts at the other; the end at one of them is the end at the other."""
    here, there = site(**IDLE), site(**IDLE)
    token = long_lived(here)
    assert here.me(token=token) == "ann"
    here.clock.move(LIMIT - JUST)
    assert there.me(token=token) == "ann"
    here.clock.move(EARLIEST - JUST)
    assert here.me(token=token) == "ann"
    here.clock.move(LIMIT)

    assert there.me(token=token) is None
    assert here.me(token=token) is None
    assert (why(here), why(there)) == ([], ["idle"])


def test_a_worker_that_was_started_later_knows_the_idle_clock(site: BuildSite) -> None:
    """A deployment is no activity."""
    token = long_lived(first := site(**IDLE))
    assert first.me(token=token) == "ann"
    first.clock.move(LIMIT)

    restarted = site(**IDLE)

    assert restarted.me(token=token) is None


def test_a_new_login_of_an_idle_user_works(site: BuildSite) -> None:
    """What ended is the session, not the user."""
    http = site(**IDLE)
    old = http.login("ann")
    assert http.alive(old) == ALL
    http.clock.move(LIMIT)
    assert http.alive(old) == set()

    new = http.login("ann")

    assert http.alive(new) == ALL
    assert http.alive(old) == set()


PASSIVE: dict[str, Callable[[Site, str], object]] = {
    "path": lambda http, token: http.get("/me", token=token),
    "header": lambda http, token: http.get("/me", token=token, headers={"X-Logout-Passive": "1"}),
    "prefetch": lambda http, token: http.get("/me", token=token, headers={"Sec-Purpose": "prefetch"}),
    "who am I": lambda http, token: http.get("/auth/session", token=token),
    "list": lambda http, token: http.get("/auth/sessions", token=token),
}


@pytest.mark.parametrize("way", PASSIVE)
def test_polling_keeps_nobody_logged_in(site: BuildSite, way: str) -> None:
    """Every second, until the limit after the last use by a person; then the poller itself is refused."""
    http = site(**IDLE, passive_paths="/me" if way == "path" else None)
    token = long_lived(http)
    assert http.get("/elsewhere", token=token).status == 404

    for _ in range(int(LIMIT) - 1):
        http.clock.move(1.0)
        PASSIVE[way](http, token)
    assert why(http) == []
    http.clock.move(1.0)

    assert http.get("/elsewhere", token=token).status == 401
    assert why(http) == ["idle"]


def test_a_login_that_only_ever_polls_ends_as_well(site: BuildSite) -> None:
    """Its first request was passive, and the clock runs from there."""
    http = site(**IDLE)
    token = long_lived(http)
    passive = {"X-Logout-Passive": "1"}
    assert http.get("/me", token=token, headers=passive).status == 200

    http.clock.move(LIMIT - JUST)
    before = http.get("/me", token=token, headers=passive).status
    http.clock.move(JUST)
    after = http.get("/me", token=token, headers=passive).status

    assert (before, after) == (200, 401)


@pytest.mark.parametrize("headers", [{"X-Logout-Passive": "0"}, {"X-Logout-Passive": "true"}, {"Sec-Purpose": "x"}])
def test_any_other_value_is_no_passive_request(site: BuildSite, headers: dict[str, str]) -> None:
    """Only what the contract names."""
    http = site(**IDLE)
    token = long_lived(http)
    for _ in range(3):
        assert http.get("/me", token=token, headers=headers).status == 200
        http.clock.move(LIMIT / 2)

    assert http.me(token=token) == "ann"


@pytest.mark.parametrize(
    ("configured", "path", "is_passive"),
    [("/me/", "/me/poll", True), ("/me/", "/me", False), ("/me", "/me/poll", False), ("/me", "/me?x=1", True)],
)
def test_passive_paths_are_exact_or_prefixes_that_end_in_a_slash(
    site: BuildSite, configured: str, path: str, is_passive: bool
) -> None:
    """As with LOGOUT_EXEMPT_PATHS."""
    http = site(**IDLE, passive_paths=configured)
    token = long_lived(http)
    for _ in range(2):
        http.get(path, token=token)
        http.clock.move(LIMIT / 2)

    assert http.get("/elsewhere", token=token).status == (401 if is_passive else 404)


def test_only_what_is_verified_has_a_clock(site: BuildSite) -> None:
    """An opaque token is its application's alone; and an application's own token is no person who might leave."""
    http = site(**IDLE)
    server = http.issuer.mint("shop", client_id="shop", life=DAY)
    assert [http.me(token=each) for each in ("opaque-token-of-ann", server)] == ["ann", "shop"]

    http.clock.move(2 * LIMIT)

    assert [http.me(token=each) for each in ("opaque-token-of-ann", server)] == ["ann", "shop"]


def test_the_session_endpoint_says_when_the_time_will_be_over(site: BuildSite) -> None:
    """So that a page can warn; asking changes nothing."""
    http = site(**IDLE, absolute_timeout="30m")
    token = long_lived(http)
    http.get("/me", token=token)
    http.clock.move(10 * MINUTE)
    http.get("/me", token=token)
    http.clock.move(5 * MINUTE)

    told = [http.get("/auth/session", token=token).json for _ in range(2)][1]

    began = http.clock() - 15 * MINUTE
    assert told["idle_expires_at"] == timestamp(began + 10 * MINUTE + LIMIT)
    assert told["expires_at"] == timestamp(began + 30 * MINUTE)


# ---- absolute --------------------------------------------------------------------------------------------


def test_a_busy_login_ends_exactly_at_the_absolute_limit(site: BuildSite) -> None:
    """Counted from its beginning, however busy it is."""
    http = site(absolute_timeout="1h")
    token = long_lived(http)
    for _ in range(59):
        assert http.me(token=token) == "ann"
        http.clock.move(MINUTE)
    http.clock.move(MINUTE - JUST)
    assert http.me(token=token) == "ann"
    http.clock.move(JUST)

    assert http.me(token=token) is None
    assert why(http) == ["absolute"]


def test_it_counts_from_the_login_and_not_from_when_it_was_first_seen_here(site: BuildSite) -> None:
    """A token that was issued long ago has used up its time elsewhere."""
    http = site(absolute_timeout="1h")
    token = long_lived(http)
    http.clock.move(HOUR - JUST)
    assert http.me(token=token) == "ann"
    http.clock.move(JUST)

    assert http.me(token=token) is None


def test_a_login_that_is_too_old_when_it_is_first_seen_is_refused(site: BuildSite) -> None:
    """Nobody has to have seen it before to know that its time is over."""
    http = site(absolute_timeout="1h")
    token = long_lived(http)

    http.clock.move(2 * HOUR)

    assert http.me(token=token) is None


@pytest.mark.parametrize("sid", [True, False])
def test_refreshing_does_not_prolong_a_login(site: BuildSite, sid: bool) -> None:
    """The new access token belongs to the old login, whether a session id says so or the answer that carried it."""
    http = site(
        absolute_timeout="1h", token_responses="POST /login: access_token, refresh_token; POST /refresh: access_token"
    )
    device = http.login("ann", sid=sid)
    began = http.clock()
    token = device.access
    for _ in range(6):
        assert http.me(token=token) == "ann"
        http.clock.move(9 * MINUTE)
        answer = http.refresh(device.refresh)
        assert answer.status == 200
        token = answer.json["access_token"]

    http.clock.now = began + HOUR

    assert http.me(token=token) is None
    assert http.refresh(device.refresh).status == 401
    assert http.me(cookie=device.cookie) is None


def test_both_limits_hold_and_the_reason_is_the_one_that_was_reached(site: BuildSite) -> None:
    """Whichever comes first."""
    http = site(idle_timeout="20m", absolute_timeout="1h")
    lazy, busy = long_lived(http), long_lived(http, "bob")
    assert [http.me(token=each) for each in (lazy, busy)] == ["ann", "bob"]
    for _ in range(3):
        http.clock.move(15 * MINUTE)
        assert http.me(token=busy) == "bob"
    assert http.me(token=lazy) is None
    http.clock.move(15 * MINUTE)
    assert http.me(token=busy) is None

    assert [(event.user, event.reason) for event in http.told("logout")] == [("ann", "idle"), ("bob", "absolute")]
    assert [(event.user, event.reason) for event in http.told("session_ended")] == [
        ("ann", "idle"),
        ("bob", "absolute"),
    ]


@pytest.mark.parametrize(
    ("preset", "absolute", "idle"),
    [("aal1", 30 * DAY, None), ("aal2", DAY, HOUR), ("aal3", 12 * HOUR, 15 * MINUTE)],
)
def test_the_presets_of_nist_sp_800_63b_4(site: BuildSite, preset: str, absolute: float, idle: float | None) -> None:
    """Sections 2.1.3, 2.2.3 and 2.3.3: the overall limit, and the one of inactivity."""
    http = site(preset=preset)
    busy, lazy = long_lived(http), long_lived(http)
    began, step = http.clock(), (idle or absolute) / 4
    assert [http.me(token=each) for each in (busy, lazy)] == ["ann", "ann"]
    if idle is not None:
        for _ in range(4):
            http.clock.move(step)
            assert http.me(token=busy) == "ann"
        assert http.me(token=lazy) is None
    while http.clock() + step < began + absolute:
        http.clock.move(step)
        assert http.me(token=busy) == "ann"
    http.clock.now = began + absolute - JUST
    assert http.me(token=busy) == "ann"

    http.clock.now = began + absolute

    assert http.me(token=busy) is None
    assert http.me(token=lazy) is None
    assert set(why(http)) == ({"absolute"} if idle is None else {"absolute", "idle"})


def test_without_settings_time_ends_nothing(http: Site) -> None:
    """Only the token's own end."""
    token = long_lived(http)
    assert http.me(token=token) == "ann"

    http.clock.move(200 * DAY)

    assert http.me(token=token) == "ann"


# ---- LOGOUT_MAX_SESSIONS ---------------------------------------------------------------------------------


def seen(http: Site, user: str = "ann", *, sid: bool = True) -> Device:
    """A login on a new device, a minute after the last, used once by each of its parts."""
    http.clock.move(MINUTE)
    device = http.login(user, sid=sid)
    assert http.alive(device) == ALL
    return device


def test_a_further_session_ends_the_oldest_and_no_other(site: BuildSite) -> None:
    """Its tokens and its cookie; other users have a number of their own."""
    http = site(max_sessions="2")
    bystanders = [seen(http, "bob") for _ in range(2)]
    first, second = seen(http), seen(http)
    assert [http.alive(each) for each in (first, second)] == [ALL, ALL]

    third = seen(http)

    assert [http.alive(each) for each in (first, second, third)] == [set(), ALL, ALL]
    assert [http.alive(each) for each in bystanders] == [ALL, ALL]
    assert [(event.user, event.reason) for event in http.told("session_ended")] == [("ann", "max_sessions")]
    assert [http.alive(each) for each in (second, seen(http), third)] == [set(), ALL, ALL]


def test_the_oldest_is_the_one_that_logged_in_first(site: BuildSite) -> None:
    """Not the one that was used least lately."""
    http = site(max_sessions="2")
    first, second = seen(http), seen(http)
    http.clock.move(10 * MINUTE)
    assert http.alive(first) == ALL

    seen(http)

    assert [http.alive(each) for each in (first, second)] == [set(), ALL]


def test_a_session_that_ended_does_not_count(site: BuildSite) -> None:
    """Log out here, or leave it idle, log in there: nobody else has to go."""
    http = site(max_sessions="2", idle_timeout="30m")
    first, second = seen(http), seen(http)
    http.post("/auth/logout", token=second.access)
    third = seen(http)
    after_logout = [http.alive(each) for each in (first, third)]
    http.clock.move(30 * MINUTE)
    fourth, fifth = seen(http), seen(http)

    assert after_logout == [ALL, ALL]
    assert [http.alive(each) for each in (fourth, fifth)] == [ALL, ALL]
    assert "max_sessions" not in why(http)


def test_a_session_counts_as_long_as_any_part_of_it_lives(site: BuildSite) -> None:
    """Its access token expired; its cookie, which was used in the same minute, is a login all the same."""
    http = site(max_sessions="1")
    first = seen(http)
    http.clock.move(2 * HOUR)
    second = seen(http)

    alive = [http.alive(each) for each in (first, second)]

    assert alive == [set(), ALL]


def test_it_counts_by_its_longest_part_where_no_login_answer_was_seen(site: BuildSite) -> None:
    """Tokens of a login elsewhere: both used within a minute, and the one that was used first expires first."""
    http = site(max_sessions="1")
    access, refresh = (http.issuer.mint("ann", sid="s1", kind=kind, life=life) for kind, life in _LIVES.items())
    assert (http.me(token=access), http.refresh(refresh).status) == ("ann", 200)
    http.clock.move(2 * HOUR)
    second = seen(http)

    assert http.refresh(refresh).status == 401
    assert http.alive(second) == ALL


_LIVES = {"access": HOUR, "refresh": 30 * DAY}


def test_another_worker_counts_the_same_sessions(site: BuildSite) -> None:
    """And refuses the one that was ended."""
    here, there = site(max_sessions="1"), site(max_sessions="1")
    first = seen(here)
    assert there.alive(first) == ALL
    here.clock.move(MINUTE)
    second = here.login("ann")

    assert there.alive(second) == ALL

    assert [each.alive(first) for each in (here, there)] == [set(), set()]
    assert here.alive(second) == ALL


def test_using_it_often_makes_no_further_session(site: BuildSite) -> None:
    """Also after the registry forgot that it had seen it, and on another worker."""
    first, second = site(max_sessions="1"), site(max_sessions="1")
    device = seen(first)
    for http in (first, second, site(max_sessions="1")):
        for _ in range(3):
            http.clock.move(HOUR / 10)
            assert http.alive(device) == ALL


def test_a_login_whose_parts_share_no_session_id_is_one_session(site: BuildSite) -> None:
    """Tokens without any, and a cookie that the middleware named."""
    http = site(max_sessions="1")
    first = seen(http, sid=False)
    assert http.alive(first) == ALL

    second = seen(http, sid=False)

    assert http.alive(second) == ALL
    assert http.me(cookie=first.cookie) is None


@pytest.mark.parametrize("older", ["token", "cookie"])
@pytest.mark.parametrize("first", ["cookie", "both"])
def test_a_login_of_two_names_does_not_end_itself(site: BuildSite, first: str, older: str) -> None:
    """A token says one session id, the cookie beside it has another: seen together they are one device."""
    http = site(max_sessions="1")
    made = {}
    for each in ("token", "cookie") if older == "token" else ("cookie", "token"):
        token = each == "token"
        made[each] = http.issuer.mint("ann", sid="s1") if token else http.login("ann", sid=False).cookie
        http.clock.move(MINUTE)
    alone = made if first == "both" else {first: made[first]}
    assert http.get("/me", **alone).status == 200

    together = http.get("/me", **made)

    assert (together.status, together.deleted) == (200, set())
    assert [http.me(**{name: text}) for name, text in made.items()] == ["ann", "ann"]
    assert why(http) == []


# ---- what it must not do ---------------------------------------------------------------------------------


def test_observing_ends_nothing(site: BuildSite) -> None:
    """Neither by time nor by number."""
    http = site(mode="observe", idle_timeout="20m", absolute_timeout="1h", max_sessions="1")
    devices = [http.login("ann") for _ in range(3)]
    assert [http.alive(each) for each in devices] == [ALL] * 3

    http.clock.move(30 * MINUTE)
    assert [http.alive(each) for each in devices] == [ALL] * 3
    http.clock.move(25 * MINUTE)

    assert [http.alive(each) for each in devices] == [ALL] * 3
    assert why(http) == []
    assert http.count() == 0


def test_while_the_store_is_away_nobody_is_told_that_his_time_is_over(site: BuildSite) -> None:
    """503, not 401, and no cookie is touched; whoever is in time goes on, whoever is not has to log in."""
    http = site(idle_timeout="20m")
    patient, gone = http.login("ann"), http.login("ann")
    assert [http.alive(each) for each in (patient, gone)] == [ALL, ALL]
    http.clock.move(10 * MINUTE)
    assert http.alive(patient) == ALL
    http.clock.move(10 * MINUTE)

    http.store.broken = True
    away = [
        answer
        for each in (patient, gone)
        for answer in (http.get("/me", token=each.access), http.get("/me", cookie=each.cookie))
    ]
    http.store.broken = False

    assert [(each.status, each.header("retry-after"), each.all("set-cookie")) for each in away] == [(503, "1", [])] * 4
    assert why(http) == []
    assert [http.alive(each) for each in (patient, gone)] == [ALL, set()]


@pytest.mark.parametrize("limits", [{"idle_timeout": "20m"}, {"absolute_timeout": "20m"}])
@pytest.mark.parametrize("broken", ["facts", "add"])
def test_where_only_a_part_of_the_store_fails_it_is_503_too(
    site: BuildSite, monkeypatch: pytest.MonkeyPatch, limits: dict[str, str], broken: str
) -> None:
    """The time cannot be looked up, or its end cannot be recorded: neither is a 401, and neither lets anybody in."""
    http = site(**limits)
    device = http.login("ann")
    assert http.alive(device) == ALL
    http.clock.move(LIMIT)

    async def fail(given: object) -> Any:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(http.store, broken, fail)
        answer = http.get("/me", token=device.access)

    assert answer.status == 503
    assert http.alive(device) == set()


def test_a_note_that_cannot_be_taken_fails_no_request(site: BuildSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is here is not refused because the store takes no writes now."""
    http = site(**IDLE)
    token = long_lived(http)

    async def fail(given: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(http.store, "learn", fail)

    for _ in range(3):
        assert http.me(token=token) == "ann"
        http.clock.move(LIMIT / 2)


def test_a_note_is_taken_once_in_an_interval(site: BuildSite) -> None:
    """A thousand requests of a minute are one write."""
    http = site(**IDLE)
    token = long_lived(http)
    for _ in range(1000):
        assert http.get("/me", token=token).status == 200
        http.clock.move(MINUTE / 1001)

    assert http.store.calls.count("learn") == 1


# ---- open connections ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "reason"), [("idle_timeout", "idle"), ("absolute_timeout", "absolute")])
def test_what_is_open_ends_with_the_time_of_its_login(site: BuildSite, limit: str, reason: str) -> None:
    """A socket's frames are no activity, and nobody has to come with another request; others go on."""
    http = site(**{limit: "200ms"})
    tokens = [long_lived(http), http.issuer.mint("shop", client_id="shop")]
    with open_connections(http, tokens) as (ann, server):
        http.clock.move(0.19)
        before = ann.goes_on(frames=40)
        http.clock.move(0.01)
        end = ann.ended()
        server_goes_on = server.goes_on()

    assert before
    assert end == (reason if http.shell == "wsgi" else (4401, "logged out"))
    assert server_goes_on
    assert why(http) == [reason]


def test_an_open_socket_lives_as_long_as_its_login_is_used_elsewhere(site: BuildSite) -> None:
    """The same user clicks in another tab: that is activity of the login."""
    http = site(idle_timeout="200ms")
    token = long_lived(http)
    with open_connections(http, [token]) as (tab,):
        for _ in range(4):
            http.clock.move(0.1)
            assert http.me(token=token) == "ann"
            assert tab.goes_on(frames=15)
        http.clock.move(0.2)
        assert http.me(token=token) is None
        end = tab.ended()

    assert end == ("idle" if http.shell == "wsgi" else (4401, "logged out"))


# ---- what is noted ---------------------------------------------------------------------------------------


def test_a_device_that_only_polls_when_it_comes_back_counts_again(site: BuildSite) -> None:
    """MAX_SESSIONS is not dodged by a refresh after a long sleep and requests that call themselves passive."""
    http = site(max_sessions="1", token_responses=None)
    assert http.me(token=http.issuer.mint("ann", sid="s1")) == "ann"
    http.clock.move(2 * HOUR)
    second = http.issuer.mint("ann", sid="s2")
    assert http.me(token=second) == "ann"

    refreshed = http.issuer.mint("ann", sid="s1")
    http.get("/me", token=refreshed, headers={"X-Logout-Passive": "1"})

    assert [http.me(token=refreshed), http.me(token=second)] == ["ann", None]


@pytest.mark.parametrize("limit", ["idle_timeout", "absolute_timeout"])
def test_a_session_that_slept_longer_than_its_token_is_over_when_it_is_refreshed(site: BuildSite, limit: str) -> None:
    """Its clock is not forgotten with the token: another worker, days later, still knows."""
    http, elsewhere = site(**{limit: "20m"}), site(**{limit: "20m"})
    assert http.me(token=http.issuer.mint("ann", sid="s1", life=10 * MINUTE)) == "ann"
    http.clock.move(3 * DAY)

    assert elsewhere.me(token=http.issuer.mint("ann", sid="s1")) is None


def test_a_note_that_fails_is_tried_again_soon_and_not_with_every_request(site: BuildSite) -> None:
    """A store that takes no notes is not asked a thousand times a second to."""
    http = site(max_sessions="1", token_responses=None)
    token, tries = http.issuer.mint("ann", sid="s1"), 0

    async def away(facts: Any) -> None:
        nonlocal tries
        tries += 1
        raise StoreError("away")

    http.store.learn = away  # type: ignore[method-assign]
    for _ in range(100):
        assert http.me(token=token) == "ann"
    soon = tries
    http.clock.move(5.0)
    assert http.me(token=token) == "ann"

    assert (soon, tries) == (1, 2)
