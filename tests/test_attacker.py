"""An attacker's view: what other sites, forgers and planters of cookies cannot do (contract 2, 4.1).

No request of another site, no forged or unverifiable credential and no planted cookie ends anybody else's
session, deletes a cookie, or fills the store. Every test sends the victim's credentials again afterwards.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

import flask.sessions
import itsdangerous
import jwt
import pytest

from tests.apps import COOKIE_SECRET, JWT_KEY
from tests.client import ALL, ORIGIN, OWN_LINK, OWN_PAGE, Answer, BuildSite, Device, Site

EVIL = "https://evil.example"
MADE_UP = "a key that the attacker made up, and long enough for every HMAC"
WITHOUT_KEYS = {"jwt_key": None, "jwt_algorithms": None, "cookie_secret": None}

# What browsers send of a request that evil.example started. The cookie is SameSite=None, or the browser is old.
FORM = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Origin": EVIL}
CROSS_SITE_POSTS: dict[str, dict[str, Any]] = {
    "form": {"form": {}, "headers": FORM | {"Sec-Fetch-User": "?1"}},
    "form with scope": {"form": {"scope": "global"}, "headers": FORM},
    "form in an iframe": {"form": {}, "headers": FORM | {"Sec-Fetch-Dest": "iframe"}},
    "form from a sandboxed iframe": {"form": {}, "headers": {"Sec-Fetch-Site": "cross-site", "Origin": "null"}},
    "form of an old browser": {"form": {}, "headers": {"Origin": EVIL}},
    "form without any header": {"form": {}, "headers": {"Referer": EVIL + "/"}},
    "text/plain form with JSON in it": {
        "body": b'{"scope": "global", "x": "="}', "headers": FORM | {"Content-Type": "text/plain"},
    },
    "empty form of an old browser": {"headers": {"Referer": EVIL + "/"}},
    "fetch without preflight": {"headers": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}},
    "beacon": {"body": b"x", "headers": {"Origin": EVIL, "Content-Type": "text/plain"}},
    "fetch with JSON": {"json": {"scope": "global"}, "headers": {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}},
    "sub-domain": {"form": {}, "headers": {"Sec-Fetch-Site": "same-site", "Origin": "https://blog.example.com"}},
    "the same host over http": {"form": {}, "headers": {"Sec-Fetch-Site": "cross-site", "Origin": "http://app.example.com"}},
    "another port": {"form": {}, "headers": {"Origin": ORIGIN + ":8443"}},
    "an origin with our name in it": {"form": {}, "headers": {"Origin": ORIGIN + ".evil.example"}},
    "two origins": {"form": {}, "headers": [("Origin", ORIGIN), ("Origin", EVIL)]},
    "method override": {"form": {"_method": "DELETE"}, "headers": FORM | {"X-HTTP-Method-Override": "DELETE"}},
}  # fmt: skip
CROSS_SITE_GETS: dict[str, dict[str, str]] = {
    "picture": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "iframe": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    "link": {k: v for k, v in FORM.items() if k != "Origin"} | {"Sec-Fetch-User": "?1"},
    "script": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
    "fetch": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Origin": EVIL},
    "old browser": {"Referer": EVIL + "/"},
    "typed or mailed": {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    "picture on a page of ours": OWN_PAGE | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "script on a page of ours": OWN_LINK | {"Sec-Fetch-User": "?0"},
    "prefetch": OWN_LINK | {"Sec-Purpose": "prefetch;prerender"},
}


def unharmed(http: Site, answer: Answer, *victims: Device) -> bool:
    """Nobody is logged out, no cookie is deleted, nothing is remembered."""
    assert answer.all("set-cookie") == []
    assert answer.header("clear-site-data") is None
    assert http.count() == 0
    assert [http.alive(victim) for victim in victims] == [ALL] * len(victims)
    return True


# ---- requests of another site ------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/auth/logout", "/auth/logout/all"])
@pytest.mark.parametrize("kind", CROSS_SITE_POSTS)
def test_a_post_of_another_site_does_nothing(site: BuildSite, kind: str, path: str) -> None:
    """The victim's browser adds the victim's cookie."""
    http = site(clear_site_data="storage")
    ann = http.login("ann")

    answer = http.post(path, cookie=ann.cookie, **CROSS_SITE_POSTS[kind])

    assert answer.status in (403, 415)
    assert answer.header("access-control-allow-origin") is None
    assert unharmed(http, answer, ann)


@pytest.mark.parametrize("kind", CROSS_SITE_POSTS)
def test_a_post_of_another_site_deletes_no_cookie_that_the_browser_kept_back(http: Site, kind: str) -> None:
    """SameSite kept the cookie at home, but the answer could still delete it."""
    ann = http.login("ann")

    answer = http.post("/auth/logout", **CROSS_SITE_POSTS[kind])

    assert unharmed(http, answer, ann)


@pytest.mark.parametrize("kind", CROSS_SITE_GETS)
@pytest.mark.parametrize("query", ["", "?redirect_uri=%2Flogin", "?state=x", "?scope=global", "?intent=forged"])
def test_a_get_of_another_site_does_nothing(site: BuildSite, kind: str, query: str) -> None:
    """At most it shows the question."""
    http = site(clear_site_data="storage")
    ann = http.login("ann")

    answer = http.get("/auth/logout" + query, cookie=ann.cookie, headers=CROSS_SITE_GETS[kind])

    assert answer.status in (200, 403)
    assert answer.header("location") is None
    assert unharmed(http, answer, ann)


def test_the_question_cannot_be_framed_or_answered_from_elsewhere(http: Site) -> None:
    """A clickjacker cannot show it, and its form posts under the same-origin rule."""
    ann = http.login("ann")

    page = http.get("/auth/logout", cookie=ann.cookie, headers=CROSS_SITE_GETS["link"])
    post = http.post("/auth/logout", cookie=ann.cookie, **CROSS_SITE_POSTS["form"])

    assert "frame-ancestors 'none'" in (page.header("content-security-policy") or "")
    assert unharmed(http, post, ann)


def test_an_attackers_own_token_in_a_cross_site_form_does_not_carry_the_victims_cookie_along(http: Site) -> None:
    """Neither in the body nor in the address."""
    ann, eve = http.login("ann"), http.login("eve")
    by_form = http.post("/auth/logout", cookie=ann.cookie, form={"refresh_token": eve.refresh}, headers=FORM)
    by_link = http.get(
        "/auth/logout?" + urlencode({"oauth_token": eve.access, "id_token_hint": eve.access}),
        cookie=ann.cookie, headers=CROSS_SITE_GETS["link"],
    )  # fmt: skip

    assert (by_form.status, by_link.status) == (403, 200)
    assert unharmed(http, by_link, ann, eve)


def test_a_bearer_does_not_carry_somebody_elses_cookie_along(http: Site) -> None:
    """A script of another site that knows a token of its own logs out that token alone."""
    ann, eve = http.login("ann"), http.login("eve")

    answer = http.post("/auth/logout", token=eve.access, cookie=ann.cookie, headers=FORM)

    assert answer.status == 200
    assert answer.all("set-cookie") == []
    assert http.alive(eve) == set()
    assert http.alive(ann) == ALL


def test_a_trusted_origin_may_and_its_neighbours_may_not(site: BuildSite) -> None:
    """TRUSTED_ORIGINS is compared whole."""
    http = site(trusted_origins="https://www.example.org")
    ann, bob = http.login("ann"), http.login("bob")
    cross = {"Sec-Fetch-Site": "cross-site"}

    denied = [
        http.post("/auth/logout", cookie=bob.cookie, json={}, headers=cross | {"Origin": origin})
        for origin in ("https://example.org", "http://www.example.org", "https://www.example.org.evil.example", "null")
    ]
    granted = http.post(
        "/auth/logout", cookie=ann.cookie, json={}, headers=cross | {"Origin": "https://www.example.org"}
    )

    assert [answer.status for answer in denied] == [403] * 4
    assert granted.status == 200
    assert (http.alive(ann), http.alive(bob)) == (set(), ALL)


@pytest.mark.parametrize("host", ["evil.example", "app.example.com.evil.example"])
def test_a_forged_host_makes_no_other_site_ours_where_the_address_is_configured(site: BuildSite, host: str) -> None:
    """Origin is held against PUBLIC_URL, not against what the request says."""
    http = site(public_url=ORIGIN)
    ann = http.login("ann")

    answer = http.post("/auth/logout", cookie=ann.cookie, form={}, headers={"Host": host, "Origin": f"https://{host}"})

    assert answer.status == 403
    assert unharmed(http, answer, ann)


# ---- forged and unverifiable credentials -------------------------------------------------------------


def copied_claims(device: Device, kind: str) -> str:
    """A token with the victim's very claims that the attacker signed, or did not."""
    claims = jwt.decode(device.access, options={"verify_signature": False})
    head, body, signature = device.access.split(".")
    return {
        "other key": jwt.encode(claims, MADE_UP, algorithm="HS256"),
        "other header": jwt.encode(claims, MADE_UP, algorithm="HS384"),
        "empty key": jwt.encode(claims, "", algorithm="none"),
        "unsigned": f"{_segment({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        "flipped signature": f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        "cut signature": f"{head}.{body}.",
    }[kind]


def _segment(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode("ascii")


@pytest.mark.parametrize("settings", [{}, WITHOUT_KEYS])
@pytest.mark.parametrize("scope", ["local", "others", "global"])
@pytest.mark.parametrize(
    "kind", ["other key", "other header", "empty key", "unsigned", "flipped signature", "cut signature"]
)
def test_a_forged_jwt_with_copied_claims_ends_nobodys_session(
    site: BuildSite, settings: dict[str, None], kind: str, scope: str
) -> None:
    """With keys and without: same `jti`, `sid` and `sub`, another signature, another credential."""
    http = site(**settings)
    ann, phone = http.login("ann"), http.login("ann")
    forged = copied_claims(ann, kind)

    answers = [
        http.post("/auth/logout", token=forged, json={"scope": scope}),
        http.post("/auth/logout", json={"refreshToken": forged, "scope": scope}),
        http.get("/auth/logout?" + urlencode({"oauth_token": forged, "id_token_hint": forged}), cookie=ann.cookie),
        http.get("/auth/logout?" + urlencode({"oauth_token": forged})),
    ]
    http.call("revoke_token", forged)

    assert {answer.status for answer in answers} <= {200, 303, 403}
    assert all(answer.all("set-cookie") == [] for answer in answers)
    assert (http.alive(ann), http.alive(phone)) == (ALL, ALL)


def forged_session(http: Site, members: dict[str, Any], key: str) -> str:
    """A session cookie with a guessed payload in the format of the site's framework."""
    if http.shell == "wsgi":
        serializer = itsdangerous.URLSafeTimedSerializer(
            key, salt="cookie-session", serializer=flask.sessions.session_json_serializer,
            signer_kwargs={"key_derivation": "hmac"},
        )  # fmt: skip
        return str(serializer.dumps(members))
    body = urlsafe_b64encode(json.dumps(members).encode()).replace(b"-", b"+").replace(b"_", b"/")
    return itsdangerous.TimestampSigner(key).sign(body).decode("ascii")


@pytest.mark.parametrize("settings", [{}, {"cookie_secret": None}, WITHOUT_KEYS])
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("sid", [True, False])
def test_a_forged_session_cookie_with_a_guessed_payload_ends_nobodys_session(
    site: BuildSite, settings: dict[str, None], scope: str, sid: bool
) -> None:
    """Another key or a cut-off signature: the payload may be the victim's own, byte for byte."""
    http = site(**settings)
    ann = http.login("ann", sid=sid)
    guess = {"user_id": "ann"} | ({"sid": ann.sid} if ann.sid else {})
    head, _, signature = ann.cookie.rpartition(".")
    forgeries = [
        forged_session(http, guess, MADE_UP),
        f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        head + ".",
    ]

    answers = [
        http.post("/auth/logout", cookie=forgery, json={"scope": scope}, headers=OWN_PAGE) for forgery in forgeries
    ]

    assert {answer.status for answer in answers} <= {200, 403}
    assert http.alive(ann) == ALL


def test_the_forger_of_these_tests_can_forge(site: BuildSite) -> None:
    """With the right secret the same function makes a cookie that the application believes."""
    http = site()

    assert http.me(cookie=forged_session(http, {"user_id": "ann"}, COOKIE_SECRET)) == "ann"
    assert http.me(cookie=forged_session(http, {"user_id": "ann"}, MADE_UP)) is None


@pytest.mark.parametrize("kind", ["expired", "revoked", "forged", "opaque", "unverified cookie"])
@pytest.mark.parametrize("scope", ["others", "global"])
def test_a_wide_scope_with_a_dead_or_unverified_credential_touches_no_other_session(
    http: Site, kind: str, scope: str
) -> None:
    """Old tokens leak; none of them may be a remote control over the user's later logins."""
    old, phone = http.login("ann"), http.login("ann")
    if kind == "expired":
        http.clock.move(7200)
    elif kind == "revoked":
        http.post("/auth/logout", token=old.access)
    presented = {
        "expired": {"token": old.access},
        "revoked": {"token": old.access},
        "forged": {"token": copied_claims(old, "other key")},
        "opaque": {"token": "opaque-token-of-ann"},
        "unverified cookie": {"cookie": forged_session(http, {"user_id": "ann"}, MADE_UP), "headers": OWN_PAGE},
    }[kind]
    fresh = http.login("ann")

    answer = http.post("/auth/logout", json={"scope": scope}, **presented)

    assert answer.status == (403 if kind in ("opaque", "unverified cookie") else 200)
    assert http.alive(fresh) == ALL
    assert http.alive(phone) == (ALL - {"access"} if kind == "expired" else ALL)


# ---- planted cookies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["planted first", "planted last", "two fields"])
def test_a_planted_second_cookie_ends_no_session_and_is_not_deleted(http: Site, order: str) -> None:
    """A sub-domain can plant a cookie of our name; which of the two is meant cannot be known."""
    ann, eve = http.login("ann"), http.login("eve")
    mine, planted = f"session={ann.cookie}", f"session={eve.cookie}"
    fields = {
        "planted first": [("Cookie", f"{planted}; {mine}")],
        "planted last": [("Cookie", f"{mine}; {planted}")],
        "two fields": [("Cookie", mine), ("Cookie", planted)],
    }[order]
    if order == "two fields" and http.shell == "wsgi":
        fields = [("Cookie", f"{mine}, {planted}")]  # what a WSGI server makes of two fields

    visit = http.get("/me", headers=fields)
    post = http.post("/auth/logout", json={}, headers=[*fields, *OWN_PAGE.items()])
    click = http.get("/auth/logout", headers=[*fields, *OWN_LINK.items()])

    assert visit.json["user"] is None
    assert [answer.deleted & {"session"} for answer in (visit, post, click)] == [set()] * 3
    assert http.count() == 0
    assert (http.alive(ann), http.alive(eve)) == (ALL, ALL)


def test_a_planted_cookie_does_not_keep_a_token_from_logging_out(http: Site) -> None:
    """The bearer of the same request counts."""
    ann, eve = http.login("ann"), http.login("eve")
    cookies = {"Cookie": f"session={ann.cookie}; session={eve.cookie}"}

    answer = http.post("/auth/logout", token=ann.access, json={}, headers=OWN_PAGE | cookies)

    assert answer.status == 200
    assert http.alive(ann) == set()
    assert http.alive(eve) == ALL


def test_a_planted_dead_cookie_logs_nobody_out_by_a_visit(http: Site) -> None:
    """A revoked cookie beside a live token: the visitor stays who the token says."""
    ann, eve = http.login("ann"), http.login("eve")
    http.post("/auth/logout", token=eve.access)

    answer = http.get("/me", token=ann.access, cookie=eve.cookie)

    assert answer.json["user"] == "ann"
    assert http.alive(ann) == ALL


# ---- filling the store, and the limits ---------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, WITHOUT_KEYS])
@pytest.mark.parametrize("place", ["bearer", "body", "cookie"])
def test_made_up_credentials_of_one_address_do_not_fill_the_store(
    site: BuildSite, settings: dict[str, None], place: str
) -> None:
    """1,000 an hour and address; the next is 429 and not remembered, verified logouts go on."""
    http = site(store="memory://", **settings)

    def made_up(number: int) -> Answer:
        text = f"made-up-{number}"
        if place == "bearer":
            return http.post("/auth/logout", token=text)
        if place == "body":
            return http.post("/auth/logout", json={"refresh_token": text})
        return http.post("/auth/logout", json={}, headers=OWN_PAGE | {"Cookie": f"sessionid={text}"})

    statuses = [made_up(number).status for number in range(1000)]
    full = http.count()
    over = [made_up(number) for number in range(1000, 1010)]
    after = http.count()

    assert set(statuses) == {200}
    assert [answer.status for answer in over] == [429] * 10
    assert all(int(answer.header("retry-after") or 0) > 0 for answer in over)
    assert full == after == 1000
    if not settings:
        ann = http.login("ann")
        assert http.post("/auth/logout", token=ann.access).status == 200
        assert http.alive(ann) == set()


def test_the_quota_is_per_address_and_per_hour(site: BuildSite) -> None:
    """Another address is not limited, and when the hour is over neither is this one, however busy it was."""
    http = site(store="memory://")
    for number in range(1000):
        http.post("/auth/logout", token=f"made-up-{number}")
        http.clock.move(3)

    here = http.post("/auth/logout", token="one-more")
    there = http.post("/auth/logout", token="another", address="203.0.113.9")
    http.clock.move(600)
    later = http.post("/auth/logout", token="yet-another")

    assert (here.status, there.status, later.status) == (429, 200, 200)
    assert here.header("retry-after") == "600"


def test_a_claimed_end_far_away_is_not_remembered_for_ever(site: BuildSite) -> None:
    """An unverified `exp` is believed up to the longest lifetime and no further."""
    http = site(**WITHOUT_KEYS, max_lifetime="1d", store="memory://")
    for end in (http.clock() + 10**9, 10**300, -1):
        http.post("/auth/logout", token=jwt.encode({"exp": end, "sub": "eve"}, MADE_UP))

    http.clock.move(2 * 86400 + 7200)
    http.call("purge")

    assert http.count() == 0


def test_the_same_dead_credential_again_and_again_stores_nothing_more(http: Site) -> None:
    """Replaying logouts costs the store nothing."""
    ann = http.login("ann")
    http.post("/auth/logout", token=ann.access)
    remembered = http.count()

    for _ in range(30):
        http.post("/auth/logout", token=ann.access)

    assert http.count() == remembered


def test_over_the_limit_a_verified_live_login_ends_all_the_same(http: Site) -> None:
    """429, and yet the own session is dead; a wide scope is not granted any more."""
    for _ in range(20):
        assert http.post("/auth/logout", token=http.login("ann").access).status == 200
    here, there = http.login("ann"), http.login("ann")

    answer = http.post("/auth/logout", token=here.access, json={"scope": "global"})
    by_cookie = http.post("/auth/logout", cookie=there.cookie, json={}, headers=OWN_PAGE)

    assert (answer.status, by_cookie.status) == (429, 429)
    assert int(answer.header("retry-after") or 0) > 0
    assert by_cookie.deleted >= {"session"}
    assert (http.alive(here), http.alive(there)) == (set(), set())


def test_a_dead_token_of_a_user_uses_up_nothing_of_hers(http: Site) -> None:
    """Whoever kept one cannot stop her from logging out everywhere."""
    kept, ann = http.login("ann"), http.login("ann")
    for _ in range(30):
        http.post("/auth/logout", token=kept.access)

    answer = http.post("/auth/logout/all", token=ann.access)

    assert answer.status == 200
    assert http.alive(ann) == set()


def test_nobody_can_use_up_the_limit_of_a_user_without_a_login_of_his(http: Site) -> None:
    """Forged tokens with his name are counted as what they are."""
    ann = http.login("ann")
    for _ in range(25):
        http.post("/auth/logout", token=copied_claims(ann, "other key"), address="203.0.113.66")
        http.post("/auth/logout", cookie=ann.cookie, **CROSS_SITE_POSTS["form"])

    answer = http.post("/auth/logout", token=ann.access)

    assert (answer.status, answer.header("x-ratelimit-remaining")) == (200, "19")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP", "True-Client-IP"])
def test_a_spoofed_address_does_not_evade_the_limit(http: Site, name: str) -> None:
    """Nobody is trusted to say who the client is unless configured."""
    statuses = [http.post("/auth/logout", headers={name: f"198.51.100.{number}"}).status for number in range(21)]

    assert statuses == [200] * 20 + [429]


def test_behind_a_trusted_proxy_the_address_that_the_proxy_saw_counts(site: BuildSite) -> None:
    """What the client wrote in front of it does not."""
    http = site(trusted_proxies="10.0.0.0/8")

    def post(seen: str, claimed: str) -> int:
        fields = {"X-Forwarded-For": f"{claimed}, {seen}"}
        return http.post("/auth/logout", headers=fields, address="10.0.0.1").status

    statuses = [post("203.0.113.5", f"198.51.100.{number}") for number in range(21)]

    assert statuses == [200] * 20 + [429]
    assert post("203.0.113.6", "203.0.113.5") == 200
    assert {event.client_address for event in http.events} == {"203.0.113.5", "203.0.113.6"}


# ---- the redirect door -------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [OWN_LINK, CROSS_SITE_GETS["link"]])
def test_an_oauth_token_of_somebody_else_is_not_revoked(http: Site, headers: dict[str, str]) -> None:
    """Whatever brought the address here; the attempt is on record."""
    ann, bob = http.login("ann"), http.login("bob")

    http.get("/auth/logout?" + urlencode({"oauth_token": bob.access}), cookie=ann.cookie, headers=headers)

    assert http.alive(bob) == ALL
    assert len(http.told("token_refused")) == 1


def test_a_signed_address_of_another_session_only_asks(http: Site) -> None:
    """An attacker can have one made for himself and lure the victim to it."""
    ann, eve = http.login("ann"), http.login("eve", sid=False)
    links = [
        http.call("logout_url", sid="login-of-eve"),
        http.call("logout_url", http.identity_of_cookie(eve.cookie)),
        http.call("logout_url", http.call("explain", eve.access).identity),
    ]

    answers = [http.get(link, cookie=ann.cookie, headers=CROSS_SITE_GETS["link"]) for link in links]

    assert [answer.status for answer in answers] == [200] * 3
    assert all(unharmed(http, answer, ann) for answer in answers)


def test_a_signed_address_works_once_for_its_session_target_and_time(site: BuildSite) -> None:
    """Another target, a changed signature or eleven minutes make it a question again."""
    http = site(redirect_allow="/one,/two")
    ann = http.login("ann")
    link = http.call("logout_url", sid=ann.sid, redirect_uri="/one")
    other_secret = site(secret="another secret, of another site", key_prefix="other:")
    foreign = other_secret.call("logout_url", sid=ann.sid, redirect_uri="/one")

    asked = [
        http.get(address, cookie=ann.cookie).status
        for address in (link.replace("%2Fone", "%2Ftwo"), link[:-2], foreign, link + "&intent=x")
    ]
    http.clock.move(660)
    asked.append(http.get(link, cookie=ann.cookie).status)
    http.clock.move(-120)
    in_time = http.get(link, cookie=ann.cookie)

    assert asked == [200, 200, 200, 400, 200]
    assert (in_time.status, in_time.header("location")) == (303, "/one")
    assert http.alive(ann) == set()


@pytest.mark.parametrize("path", ["/auth/logout", "/logout"])
def test_the_targets_of_one_client_are_not_open_to_another(site: BuildSite, path: str) -> None:
    """Nor to nobody; the logout happens all the same and goes to the default."""
    clients = {"shop": {"redirect_uris": ["https://shop.example/bye"]}, "eve": {"redirect_uris": [EVIL + "/x"]}}
    http = site(clients=json.dumps(clients), aliases="/logout")
    queries = [{"client_id": "shop", "redirect_uri": EVIL + "/x"}, {"redirect_uri": EVIL + "/x"}]
    queries += [{"client_id": "nobody", "redirect_uri": EVIL + "/x"}, {"redirect_uri": "//evil.example"}]
    method = http.get if path == "/auth/logout" else http.post
    headers = OWN_LINK | {"Accept": "text/html"}

    for query in queries:
        ann = http.login("ann")
        answer = method(f"{path}?{urlencode(query)}", cookie=ann.cookie, headers=headers)

        assert (answer.status, answer.header("location")) == (303, "/login")
        assert http.alive(ann) == set()
    assert len(http.told("target_refused")) == len(queries)


def test_with_nobody_logged_in_the_logout_address_is_no_open_redirect(http: Site) -> None:
    """The victim need not even be logged in for a phishing link."""
    answer = http.get("/auth/logout?" + urlencode({"redirect_uri": EVIL}), headers=CROSS_SITE_GETS["link"])

    assert answer.header("location") in (None, "/login")


def test_an_id_token_hint_of_another_session_or_key_only_asks(http: Site) -> None:
    """A hint proves intent for the session that it names, if a configured key signed it."""
    ann, other = http.login("ann"), http.login("ann")
    hints = [
        http.issuer.mint("ann", sid=other.sid),
        http.issuer.mint("bob", sid=None),
        copied_claims(ann, "other key"),
        copied_claims(ann, "unsigned"),
        "not-a-token",
    ]

    addresses = ["/auth/logout?" + urlencode({"id_token_hint": hint}) for hint in hints]
    answers = [http.get(address, cookie=ann.cookie, headers=CROSS_SITE_GETS["link"]) for address in addresses]

    assert [answer.status for answer in answers] == [200] * 5
    assert all(unharmed(http, answer, ann, other) for answer in answers)


def test_a_key_that_leaks_into_a_cookie_format_is_no_second_key(http: Site) -> None:
    """A session signed with the JWT key, or a JWT signed with the cookie secret, is a forgery."""
    ann = http.login("ann")
    session = forged_session(http, {"user_id": "ann", "sid": ann.sid}, JWT_KEY)
    token = jwt.encode({"sub": "ann", "sid": ann.sid, "jti": "token-1"}, COOKIE_SECRET, algorithm="HS256")

    http.post("/auth/logout", cookie=session, json={"scope": "global"}, headers=OWN_PAGE)
    http.post("/auth/logout", token=token, json={"scope": "global"})

    assert http.alive(ann) == ALL
