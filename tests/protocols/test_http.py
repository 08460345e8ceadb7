"""What is the same for every way to log out: CSRF, redirects (OBP), rate limits (RL) and the form of errors (PD)."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest

from logout_middleware import StoreError
from tests.client import ALL, ORIGIN, OWN_LINK, OWN_PAGE, Answer, BuildSite, Site

from .clients import CLIENTS, SHOP, basic

EVIL = "https://evil.example.com"
BYE = "https://shop.example.com/bye"
PAGE = {"Accept": "text/html"}
CROSS_SITE = {"Sec-Fetch-Site": "cross-site", "Origin": EVIL}

# ---- CSRF ------------------------------------------------------------------------------------------------

FROM_HERE = {
    "fetch metadata": OWN_PAGE,
    "fetch metadata and origin": OWN_PAGE | {"Origin": ORIGIN},
    "origin alone": {"Origin": ORIGIN},
}
FROM_ELSEWHERE = {
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "a sister site": {"Sec-Fetch-Site": "same-site"},
    "typed by hand": {"Sec-Fetch-Site": "none"},
    "another origin": {"Origin": EVIL},
    "no origin": {"Origin": "null"},
    "another scheme": {"Origin": ORIGIN.replace("https", "http")},
    "another port": {"Origin": ORIGIN + ":8443"},
    "both, and they differ": OWN_PAGE | {"Origin": EVIL},
    "neither": {},
    "only a referrer": {"Referer": ORIGIN + "/"},
}


@pytest.mark.parametrize("said", FROM_HERE)
def test_CSRF_1_a_form_of_our_own_page_logs_out(site: BuildSite, said: str) -> None:
    """Fetch Metadata says where it comes from, and for older browsers Origin."""
    http = site(public_url=ORIGIN)
    ann = http.login("ann")

    answer = http.post("/auth/logout", cookie=ann.cookie, form={}, headers=FROM_HERE[said])

    assert answer.status == 200
    assert http.me(cookie=ann.cookie) is None


@pytest.mark.parametrize("said", FROM_ELSEWHERE)
def test_CSRF_1_any_other_form_does_not(site: BuildSite, said: str) -> None:
    """Whatever does not say that it is ours is not: 403, and the cookie stays."""
    http = site(public_url=ORIGIN)
    ann = http.login("ann")

    answer = http.post("/auth/logout", cookie=ann.cookie, form={}, headers=FROM_ELSEWHERE[said])

    assert (answer.status, answer.all("set-cookie")) == (403, [])
    assert http.alive(ann) == ALL


def test_CSRF_1_a_configured_sister_may(site: BuildSite) -> None:
    """Exactly the origins of TRUSTED_ORIGINS."""
    http = site(trusted_origins="https://www.example.com")
    ann = http.login("ann")
    sister = {"Sec-Fetch-Site": "same-site", "Origin": "https://www.example.com"}

    assert http.post("/auth/logout", cookie=ann.cookie, form={}, headers=sister).status == 200


def test_CSRF_2_a_token_needs_no_proof_and_lends_none_to_a_cookie(http: Site) -> None:
    """No page can make a browser send a token unasked; the cookie beside it counts only where it would alone."""
    ann, bob, eve = http.login("ann"), http.login("bob"), http.login("eve")

    alone = http.post("/auth/logout", token=ann.access, form={}, headers=CROSS_SITE)
    beside = http.post("/auth/logout", token=eve.access, cookie=bob.cookie, form={}, headers=CROSS_SITE)
    after = (http.me(token=ann.access), http.me(token=eve.access), http.alive(bob))
    ours = http.post("/auth/logout", token=http.login("eve").access, cookie=bob.cookie, form={}, headers=OWN_PAGE)

    assert (alone.status, beside.status, ours.status) == (200, 200, 200)
    assert after == (None, None, ALL)
    assert beside.deleted == set()
    assert http.alive(bob) == set()


FORGED_HOSTS = {
    "Host": [("Host", "evil.example.com")],
    "X-Forwarded-Host": [("X-Forwarded-Host", "evil.example.com")],
    "Forwarded": [("Forwarded", "host=evil.example.com")],
}


@pytest.mark.parametrize("forged", FORGED_HOSTS)
def test_CSRF_3_our_origin_is_what_is_configured(site: BuildSite, forged: str) -> None:
    """No header of a request makes another origin ours."""
    http = site(public_url=ORIGIN)
    ann = http.login("ann")

    answer = http.post("/auth/logout", cookie=ann.cookie, form={}, headers=[*FORGED_HOSTS[forged], ("Origin", EVIL)])

    assert answer.status == 403
    assert http.alive(ann) == ALL


def test_CSRF_3_without_a_configured_one_it_is_the_host_and_no_proxy_header(http: Site) -> None:
    """The browser itself writes Host; X-Forwarded-Host may be anybody's."""
    ann = http.login("ann")
    forged = [*FORGED_HOSTS["X-Forwarded-Host"], ("Origin", EVIL)]

    refused = http.post("/auth/logout", cookie=ann.cookie, form={}, headers=forged)
    done = http.post("/auth/logout", cookie=ann.cookie, form={}, headers={"Origin": ORIGIN})

    assert (refused.status, done.status) == (403, 200)


HARMLESS: dict[str, tuple[str, dict[str, str]]] = {
    "GET": ("GET", {}),
    "HEAD": ("HEAD", dict(OWN_LINK)),
    "OPTIONS": ("OPTIONS", dict(OWN_LINK)),
    "a prefetch": ("GET", OWN_LINK | {"Sec-Purpose": "prefetch"}),
    "a prerendering": ("GET", OWN_LINK | {"Sec-Purpose": "prefetch;prerender"}),
    "a prefetch of old": ("GET", OWN_LINK | {"Purpose": "prefetch"}),
    "a prefetch of older": ("GET", OWN_LINK | {"X-Moz": "prefetch"}),
    "a prefetching form": ("POST", OWN_PAGE | {"Sec-Purpose": "prefetch"}),
}


@pytest.mark.parametrize("request_", HARMLESS)
@pytest.mark.parametrize("on_get", ["confirm", "deny"])
def test_CSRF_4_what_a_browser_does_by_itself_logs_nobody_out(site: BuildSite, request_: str, on_get: str) -> None:
    """Looking at an address changes nothing."""
    http = site(on_get=on_get)
    ann = http.login("ann")
    method, headers = HARMLESS[request_]

    answer = http.request(method, "/auth/logout", cookie=ann.cookie, headers=headers)

    assert answer.all("set-cookie") == []
    assert http.alive(ann) == ALL


def test_CSRF_5_a_page_that_depends_on_the_origin_says_so_and_nothing_is_kept(http: Site) -> None:
    """No cache gives the answer of our own page to another site."""
    ann = http.login("ann")

    question = http.get("/auth/logout", cookie=ann.cookie, headers=CROSS_SITE)
    refused = http.post("/auth/logout", cookie=ann.cookie, form={}, headers=CROSS_SITE)
    done = http.get("/auth/logout", cookie=ann.cookie, headers=OWN_LINK)

    assert {"Sec-Fetch-Site", "Origin", "Cookie"} <= set((question.header("vary") or "").split(", "))
    assert [each.header("cache-control") for each in (question, refused, done)] == ["no-store"] * 3


def test_CSRF_6_the_question_cannot_be_framed_kept_or_answered_by_another_site(http: Site) -> None:
    """It is asked in a window of its own, and its button carries a proof that is made for this session."""
    ann, bob = http.login("ann"), http.login("bob")

    page = http.get("/auth/logout", cookie=ann.cookie, headers=CROSS_SITE)
    proof = re.search(r'name="intent" value="([^"]+)"', page.text)
    assert proof is not None
    others = http.post("/auth/logout", cookie=bob.cookie, form={"intent": proof[1]})
    own = http.post("/auth/logout", cookie=ann.cookie, form={"intent": proof[1]})

    assert "frame-ancestors 'none'" in (page.header("content-security-policy") or "")
    assert (page.header("cache-control"), page.header("x-content-type-options")) == ("no-store", "nosniff")
    assert (others.status, http.alive(bob)) == (403, ALL)
    assert (own.status, http.me(cookie=ann.cookie)) == (200, None)


ATTACKS: dict[str, tuple[str, dict[str, str]]] = {
    "a form": ("POST", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
    "a form of text": ("POST", {"Sec-Fetch-Mode": "navigate", "Content-Type": "text/plain"}),
    "fetch without cors": ("POST", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"}),
    "a beacon": ("POST", {"Sec-Fetch-Mode": "no-cors", "Content-Type": "application/json"}),
    "an image": ("GET", {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
    "a frame": ("GET", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
    "a link": ("GET", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1"}),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("path", ["/auth/logout", "/auth/logout/all"])
def test_CSRF_7_no_other_site_logs_a_visitor_out(http: Site, path: str, attack: str) -> None:
    """A POST is refused, a GET asks at most; whoever is logged in stays so."""
    ann = http.login("ann")
    method, headers = ATTACKS[attack]
    body = b"{}" if "json" in headers.get("Content-Type", "") else b""

    answer = http.request(method, path, cookie=ann.cookie, body=body, headers=CROSS_SITE | headers)

    assert answer.status in ({403} if method == "POST" else {200, 405})
    assert answer.all("set-cookie") == []
    assert http.alive(ann) == ALL


# ---- RFC 9700 --------------------------------------------------------------------------------------------

NEAR = [
    BYE + "/",
    BYE[:-1],
    BYE + "?a",
    BYE + "#a",
    BYE.upper(),
    BYE.replace("https", "http"),
    BYE.replace("bye", "%62ye"),
]
FAR = [
    EVIL,
    "//evil.example.com",
    "/\\evil.example.com",
    "javascript:alert(1)",
    BYE.replace("//", "//evil.example.com@"),
]


@pytest.mark.parametrize("door", ["GET", "POST"])
@pytest.mark.parametrize("target", [*NEAR, *FAR])
def test_OBP_1_OBP_2_only_a_listed_target_is_followed_byte_for_byte(site: BuildSite, door: str, target: str) -> None:
    """Anything else leads to our own page, and the logout happens all the same."""
    http = site(redirect_allow=BYE)
    ann, bob = http.login("ann"), http.login("bob")

    refused, followed = (_leave(http, door, device.cookie, to) for device, to in ((ann, target), (bob, BYE)))

    assert (refused.status, refused.header("location")) == (303, "/login")
    assert (followed.status, followed.header("location")) == (303, BYE)
    assert (http.me(cookie=ann.cookie), http.me(cookie=bob.cookie)) == (None, None)


def _leave(http: Site, door: str, cookie: str, target: str) -> Answer:
    if door == "GET":
        address = f"/auth/logout?redirect_uri={quote(target, safe='')}"
        return http.get(address, cookie=cookie, headers=OWN_LINK | PAGE)
    return http.post("/auth/logout", cookie=cookie, form={"redirect_uri": target}, headers=OWN_PAGE | PAGE)


def test_OBP_3_a_form_with_a_token_in_it_is_redirected_by_303(site: BuildSite) -> None:
    """A browser goes on by GET, and leaves the body behind; 307 would hand the token to the next site."""
    http = site(redirect_allow=BYE)
    ann = http.login("ann")

    answer = http.post(
        "/auth/logout", cookie=ann.cookie, form={"redirect_uri": BYE, "refresh_token": ann.refresh},
        headers=OWN_PAGE | PAGE,
    )  # fmt: skip

    assert (answer.status, answer.header("location")) == (303, BYE)
    assert answer.header("referrer-policy") == "no-referrer"


def test_OBP_5_a_refresh_token_ends_with_its_login_and_with_a_changed_password(http: Site) -> None:
    """Nothing that is left of a login can be made into a new access token."""
    out, changed, keeping = http.login("ann"), http.login("ann"), http.login("ann")

    http.post("/auth/logout", cookie=out.cookie, headers=OWN_PAGE)
    after_logout = [http.refresh(each.refresh).status for each in (out, changed)]
    http.call("revoke_other_sessions", "ann", keep=keeping.sid)

    assert after_logout == [401, 200]
    assert [http.refresh(each.refresh).status for each in (changed, keeping)] == [401, 200]


def test_OBP_8_a_refresh_token_that_nobody_used_for_too_long_is_dead(site: BuildSite) -> None:
    """Each use begins the time anew."""
    http = site(idle_timeout="10m")
    used, left = http.login("ann"), http.login("ann")

    http.clock.move(590)
    first = http.refresh(used.refresh).status
    http.clock.move(590)

    assert (first, http.refresh(used.refresh).status, http.refresh(left.refresh).status) == (200, 200, 401)


# ---- rate limits -----------------------------------------------------------------------------------------

_ITEM = r'"[\x20\x21\x23-\x5b\x5d-\x7e]*"'
POLICY, LEFT = (
    re.compile(rf"{_ITEM};q=(0|[1-9]\d*);w=([1-9]\d*)"),
    re.compile(rf"{_ITEM};r=(0|[1-9]\d*);t=(0|[1-9]\d*)"),
)
FIELDS = ("ratelimit-policy", "ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


def told(answer: Answer) -> tuple[int, int, int, int]:
    """Quota, window, what remains, and seconds until it is whole again; both fields are checked on the way."""
    policy = POLICY.fullmatch(answer.header("ratelimit-policy") or "")
    left = LEFT.fullmatch(answer.header("ratelimit") or "")
    assert policy, answer
    assert left, answer
    return int(policy[1]), int(policy[2]), int(left[1]), int(left[2])


def log_out(http: Site, user: str = "ann", **given: Any) -> Answer:
    """Log this user out of a new login."""
    return http.post("/auth/logout", token=http.issuer.mint(user, sid=None), **given)


def test_RL_1_every_logout_tells_the_limit_and_what_is_left_of_it(http: Site) -> None:
    """Twenty in five minutes, counted down."""
    first = log_out(http)
    http.clock.move(100.5)
    second = log_out(http)

    assert first.header("ratelimit-policy") == '"logout";q=20;w=300'
    assert first.header("ratelimit") == '"logout";r=19;t=300'
    assert second.header("ratelimit") == '"logout";r=18;t=200'


@pytest.mark.parametrize("limit", ["1 per second", "3 per 5 minutes", "100000 per 1 day"])
def test_RL_2_RL_3_RL_4_the_fields_are_well_formed_at_every_moment(site: BuildSite, limit: str) -> None:
    """Whole numbers in their right places, each field once and before the body, also over the limit and at its end."""
    http = site(rate_limit=limit)

    for step in (0.0, 0.3, 0.7, 0.001, 299.0, 0.999, 3600.0):
        http.clock.move(step)
        answer = log_out(http)
        quota, window, remaining, seconds = told(answer)
        assert 0 <= remaining <= quota
        assert 0 <= seconds <= window
        assert answer.header("trailer") is None
        assert all(answer.header(name) is not None for name in FIELDS)


def test_RL_5_over_the_limit_is_429_with_the_time_to_wait(site: BuildSite) -> None:
    """Who waits that long is served again."""
    http = site(rate_limit="2 per minute")
    answers = [log_out(http) for _ in range(3)]
    wait = int(answers[2].header("retry-after") or 0)

    assert [each.status for each in answers] == [200, 200, 429]
    assert (answers[2].json["success"], answers[2].json["error"]) == (False, "rate_limited")
    assert wait >= told(answers[2])[3] > 0
    assert answers[1].header("retry-after") is None
    http.clock.move(wait)
    assert log_out(http).status == 200


def test_RL_6_the_fields_of_old_say_the_same(site: BuildSite) -> None:
    """Under their X- names, the reset in seconds from now; those of drafts that mean something else are not sent."""
    http = site(rate_limit="2 per minute")

    for _ in range(3):
        answer = log_out(http)
        quota, _, remaining, seconds = told(answer)
        old = [answer.header(f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset")]
        assert old == [str(quota), str(remaining), str(seconds)]
        assert not [name for name, _ in answer.headers if name.startswith("ratelimit-") and name != "ratelimit-policy"]
        http.clock.move(1)


def test_RL_7_each_user_has_a_limit_of_his_own_on_all_devices_and_addresses(site: BuildSite) -> None:
    """Neither another address nor another header gives him a new one."""
    http = site(rate_limit="2 per minute")
    anns = [log_out(http, address=f"192.0.2.{n}", headers={"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(3)]

    assert [each.status for each in anns] == [200, 200, 429]
    assert log_out(http, "bob").status == 200


def test_RL_7_without_a_user_the_credential_and_then_the_address_count(site: BuildSite) -> None:
    """Who presents nothing shares the limit of his address."""
    http = site(rate_limit="2 per minute")
    opaque = [http.post("/auth/logout", token="opaque-token-of-ann").header("ratelimit") for _ in range(2)]
    other = http.post("/auth/logout", token="opaque-token-of-bob").header("ratelimit")
    nothing = [http.post("/auth/logout", address="192.0.2.9").status for _ in range(3)]

    assert opaque == ['"logout";r=1;t=60', '"logout";r=0;t=60']
    assert other == '"logout";r=1;t=60'
    assert nothing == [200, 200, 429]
    assert http.post("/auth/logout", address="192.0.2.10").status == 200


def test_RL_7_the_own_login_ends_over_the_limit_too(site: BuildSite) -> None:
    """A limit keeps nobody logged in; what goes further than the own login is refused."""
    http = site(rate_limit="1 per minute")
    here, there = http.login("ann"), http.login("ann")
    log_out(http)

    answer = http.post("/auth/logout/all", cookie=here.cookie, headers=OWN_PAGE)

    assert answer.status == 429
    assert answer.deleted >= {"session"}
    assert http.alive(here) == set()
    assert http.alive(there) == ALL


def test_RL_8_what_cannot_be_counted_is_allowed(site: BuildSite) -> None:
    """Without fields that would be made up."""
    http = site(rate_limit="1 per minute")

    async def away(key: bytes, window: float) -> Any:
        raise StoreError("nothing can be counted")

    http.store.hit = away  # type: ignore[method-assign]
    answers = [log_out(http) for _ in range(3)]

    assert [each.status for each in answers] == [200] * 3
    assert [each.header(name) for each in answers for name in FIELDS] == [None] * 15


# ---- the form of errors ----------------------------------------------------------------------------------


@pytest.fixture
def served(site: BuildSite) -> Site:
    """A site that serves registered applications, too."""
    return site(endpoints="logout,sessions,oauth,check", clients=CLIENTS, require_credential="true")


def test_PD_2_an_oauth_endpoint_has_the_errors_of_oauth(served: Site) -> None:
    """`error` and `error_description` in JSON, whatever the client accepts (RFC 6749 5.2)."""
    accepts = {"Accept": "application/problem+json, text/html"}

    answers = [
        served.post(path, form={"token_type_hint": "x"}, headers=basic(*client) | accepts)
        for path in ("/auth/revoke", "/auth/introspect")
        for client in (SHOP, (SHOP[0], "wrong"))
    ]

    assert [(each.status, each.json["error"]) for each in answers] == [
        (400, "invalid_request"),
        (401, "invalid_client"),
    ] * 2
    assert [set(each.json) for each in answers] == [{"error", "error_description"}] * 4


def test_PD_3_no_error_shows_what_is_inside(served: Site) -> None:
    """Neither a token, nor what the store said, nor where in the program it went wrong."""
    ann = served.login("ann")
    damaged = ann.access[:-4] + "AAAA"
    answers = [served.get("/me", token=damaged), served.get("/me", token=f"{ann.access},{damaged}")]
    served.store.broken = True

    answers += [served.get("/me", token=ann.access), served.post("/auth/logout", token=ann.access)]
    answers += [served.get("/auth/sessions", token=ann.access), served.get("/auth/check", token=ann.access)]
    answers += [served.post("/auth/revoke", form={"token": ann.access}, headers=basic(*SHOP))]

    assert [each.status for each in answers] == [401, 400, 503, 503, 503, 503, 503]
    for each in answers:
        said = each.text + repr(each.headers)
        assert not [word for word in ("FlakyStore", "Traceback", "logout.db", ann.access[-40:-4]) if word in said]


def test_PD_4_a_401_in_json_has_its_challenge_as_well(served: Site) -> None:
    """A library that knows HTTP alone, and one that reads the body, both know what to do."""
    ann = served.login("ann")
    served.post("/auth/logout", token=ann.access)

    answers = [
        served.get("/me", token=ann.access), served.post("/auth/logout"), served.get("/auth/check"),
        served.post("/auth/revoke", form={"token": "x"}, headers=basic(SHOP[0], "wrong")),
    ]  # fmt: skip

    assert [each.status for each in answers] == [401] * 4
    assert [json.loads(each.body)["error"] for each in answers] == [
        "token_revoked", "credential_required", "login_required", "invalid_client",
    ]  # fmt: skip
    schemes = [(each.header("www-authenticate") or "").partition(" ")[0] for each in answers]
    assert schemes == ["Bearer", "Bearer", "Bearer", "Basic"]
