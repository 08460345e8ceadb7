"""SPiD, "logout flows": by redirect with a registered client, and by API for one token alone."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Sequence
from urllib.parse import quote, urlencode

import pytest

from logout_middleware import LogoutEvent
from tests.client import ALL, OWN_LINK, OWN_PAGE, Answer, BuildSite, Device, Site

BYE = "https://shop.example/bye"
BYE_WITH_QUERY = "https://shop.example/bye?a=1&b=%C3%A6"
CLIENTS = {
    "shop": {"secret": "s1", "redirect_uris": [BYE, BYE_WITH_QUERY]},
    "blog": {"secret": "s2", "redirect_uris": ["https://blog.example/bye"]},
}
FROM_ANOTHER_SITE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture
def http(site: BuildSite) -> Site:
    """A site with the preset of this seed and two registered clients."""
    return site(preset="spid", clients=json.dumps(CLIENTS))


def address(**query: str) -> str:
    """The logout address with these parameters, URL-encoded as the seed demands."""
    return "/logout?" + urlencode(query)


SDK, REDIRECT, API = "by script", "by redirect", "by API"


def log_out(http: Site, device: Device, way: str) -> Answer:
    """Each of the three ways: a page's script, a visit of the address, a call with the token."""
    if way == SDK:
        return http.post("/logout", cookie=device.cookie, json={}, headers=OWN_PAGE)
    if way == REDIRECT:
        return http.get(address(client_id="shop"), cookie=device.cookie, headers=FROM_ANOTHER_SITE)
    return http.post("/logout", token=device.access)


def test_SP_1_there_are_three_ways_and_each_ends_its_own(http: Site) -> None:
    """By script and by redirect the session of the cookie, by API the token; each alone."""
    devices = {way: http.login("ann") for way in (SDK, REDIRECT, API)}

    statuses = {way: log_out(http, device, way).status for way, device in devices.items()}

    assert statuses == {SDK: 200, REDIRECT: 303, API: 200}
    assert {way: http.alive(device) for way, device in devices.items()} == {
        SDK: ALL - {"cookie"}, REDIRECT: ALL - {"cookie"}, API: ALL - {"access"},
    }  # fmt: skip


@pytest.mark.parametrize("ways", list(itertools.permutations([SDK, REDIRECT, API])), ids=", ".join)
def test_SP_1_an_application_may_combine_them(http: Site, ways: Sequence[str]) -> None:
    """In any order; what one of them ended is no mistake for the next."""
    ann, other = http.login("ann"), http.login("ann")

    answers = [log_out(http, ann, way).status for way in ways]

    assert answers == [303 if way == REDIRECT else 200 for way in ways]
    assert http.alive(ann) == {"refresh"}
    assert http.alive(other) == ALL


@pytest.mark.parametrize("way", [SDK, REDIRECT])
def test_SP_4_the_application_is_told_what_to_clean_before_the_answer_leaves(site: BuildSite, way: str) -> None:
    """Its hook is called with the session, the user and the reason: what it keeps of that session it can take away."""
    http = site(preset="spid", clients=json.dumps(CLIENTS), revoke_bound="true")
    ann, bob = http.login("ann"), http.login("bob")
    kept = {ann.sid: "a basket", bob.sid: "another"}

    @http.logout.on_event
    def clean(event: LogoutEvent) -> None:
        if event.kind == "session_ended":
            kept.pop(event.session, None)

    log_out(http, ann, way)

    assert kept == {bob.sid: "another"}
    assert [(event.session, event.user, event.reason) for event in http.told("session_ended")] == [
        (ann.sid, "ann", "logout")
    ]


@pytest.mark.parametrize("way", [SDK, REDIRECT, API])
def test_SP_4_every_way_tells_one_event_of_who_and_how_far(http: Site, way: str) -> None:
    """Where the preset ends a credential and not the login, the event `logout` says so."""
    ann = http.login("ann")

    log_out(http, ann, way)

    (event,) = http.told("logout")
    assert (event.user, event.session, event.scope, event.outcome) == ("ann", ann.sid, "local", "done")
    assert event.keys


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/plain, */*"])
def test_SP_5_a_logout_by_script_needs_no_redirect(http: Site, accept: str) -> None:
    """The answer is complete where it is: no Location, the cookie deleted, the session dead."""
    ann = http.login("ann")

    answer = http.post("/logout", cookie=ann.cookie, json={}, headers=OWN_PAGE | {"Accept": accept})

    assert (answer.status, answer.header("location"), answer.json["success"]) == (200, None, True)
    assert answer.deleted >= {"session"}
    assert http.me(cookie=ann.cookie) is None


def test_SP_17_what_logged_in_by_redirect_logs_out_by_redirect_or_smoother_by_script(http: Site) -> None:
    """Both end the same session; the one sends the browser on its way, the other leaves it where it is."""
    by_redirect, by_script = http.login("ann"), http.login("ann")

    redirected = http.get(address(client_id="shop", redirect_uri=BYE), cookie=by_redirect.cookie, headers=OWN_LINK)
    scripted = log_out(http, by_script, SDK)

    assert (redirected.status, redirected.header("location")) == (303, BYE)
    assert (scripted.status, scripted.header("location")) == (200, None)
    assert "session" in redirected.deleted & scripted.deleted
    assert http.alive(by_redirect) == http.alive(by_script) == ALL - {"cookie"}


@pytest.mark.parametrize("first", [SDK, REDIRECT])
def test_SP_17_with_the_sdk_present_a_second_way_is_optional(http: Site, first: str) -> None:
    """Who used the one may use the other: nothing is left to end, which is a success, and the redirect goes on."""
    ann = http.login("ann")
    log_out(http, ann, first)
    remembered = http.count()

    scripted = log_out(http, ann, SDK)
    redirected = http.get(address(client_id="shop", redirect_uri=BYE), cookie=ann.cookie, headers=FROM_ANOTHER_SITE)

    assert (scripted.status, redirected.status, redirected.header("location")) == (200, 303, BYE)
    assert http.count() == remembered


@pytest.mark.parametrize("sid", [True, False])
def test_SP_2_logout_ends_the_session_that_the_cookie_names(http: Site, sid: bool) -> None:
    """What the JavaScript client calls: no token, no id, the browser's cookie says whose session it is."""
    here, there, bob = http.login("ann", sid=sid), http.login("ann", sid=sid), http.login("bob", sid=sid)

    answer = http.post("/logout", cookie=here.cookie, headers=OWN_PAGE)

    assert answer.status == 200
    assert answer.json["revoked"] == {"tokens": 1, "sessions": 0, "connections": 0}
    assert answer.deleted >= {"session"}
    assert http.me(cookie=here.cookie) is None
    assert [http.alive(each) for each in (there, bob)] == [ALL, ALL]


@pytest.mark.parametrize("cookies", ["session:starlette", "session:flask", "session:auto", "session:opaque"])
def test_SP_2_by_default_the_session_ends_with_whatever_belongs_to_it(
    site: BuildSite, shell: str, cookies: str
) -> None:
    """On every worker, however the cookie is configured; a cookie that nobody can verify ends itself."""
    readable = cookies != ("session:flask" if shell == "asgi" else "session:starlette") and cookies != "session:opaque"
    workers = [site(cookies=cookies) for _ in range(2)]
    here, there = workers[0].login("ann"), workers[0].login("ann")
    assert [http.me(cookie=here.cookie) for http in workers] == ["ann", "ann"]

    answer = workers[0].post("/auth/logout", cookie=here.cookie, headers=OWN_PAGE)

    assert (answer.status, answer.deleted) == (200, {"session"})
    assert [http.alive(here) for http in workers] == [set() if readable else {"access", "refresh"}] * 2
    assert [http.alive(there) for http in workers] == [ALL, ALL]


def test_SP_2_another_sites_page_cannot_do_it(http: Site) -> None:
    """The cookie travels with its request; the session stays."""
    ann = http.login("ann")

    answer = http.post("/logout", cookie=ann.cookie, headers={"Sec-Fetch-Site": "cross-site"})

    assert (answer.status, answer.all("set-cookie")) == (403, [])
    assert http.alive(ann) == ALL


def test_SP_6_get_logout_deletes_the_session_of_the_cookie(http: Site) -> None:
    """The client's page sends the browser to /logout; the session cookie says whose session it is."""
    here, there = http.login("ann"), http.login("ann")

    answer = http.get(address(client_id="shop"), cookie=here.cookie, headers=FROM_ANOTHER_SITE)

    assert answer.status == 303
    assert answer.deleted >= {"session"}
    assert http.me(cookie=here.cookie) is None
    assert http.alive(there) == ALL


@pytest.mark.parametrize("query", ["", "?client_id=", "?client_id=nobody", "?client_id=Shop", "?client_id=shop%20"])
def test_SP_7_client_id_is_required_and_must_be_registered(http: Site, query: str) -> None:
    """Otherwise 400, and nobody is logged out."""
    ann = http.login("ann")

    answer = http.get("/logout" + query, cookie=ann.cookie, headers=FROM_ANOTHER_SITE)

    assert answer.status == 400
    assert answer.all("set-cookie") == []
    assert http.alive(ann) == ALL


def test_SP_7_client_id_twice_is_refused(http: Site) -> None:
    """Two readings of one request are none."""
    ann = http.login("ann")

    answer = http.get("/logout?client_id=shop&client_id=blog", cookie=ann.cookie)

    assert answer.status == 400
    assert http.alive(ann) == ALL


def test_SP_8_the_redirect_comes_after_the_logout(http: Site) -> None:
    """Where the logout could not be recorded, nobody is sent away as if it had been."""
    ann = http.login("ann")
    target = address(client_id="shop", redirect_uri=BYE)
    http.store.broken = True

    failed = http.get(target, cookie=ann.cookie)
    http.store.broken = False
    alive_after_failure = http.alive(ann)
    done = http.get(target, cookie=ann.cookie)

    assert (failed.status, failed.header("location"), failed.all("set-cookie")) == (503, None, [])
    assert alive_after_failure == ALL
    assert (done.status, done.header("location")) == (303, BYE)
    assert http.me(cookie=ann.cookie) is None


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "https://blog.example/bye",  # registered, but for another client
        BYE + "/",
        BYE + "/more",
        BYE[:-1],
        BYE + "?a=1",
        BYE + "#fragment",
        "https://sub.shop.example/bye",
        "https://shop.example.evil.example/bye",
        "https://SHOP.example/bye",
        "HTTPS://shop.example/bye",
        "http://shop.example/bye",
        "https://user@shop.example/bye",
        "https://shop.example@evil.example/bye",
        "https://shop.example:443/bye",
        "https://shop.example/./bye",
        "https://shop.example/x/../bye",
        "//evil.example/bye",
        "///evil.example",
        "/\\evil.example",
        "https:\\\\shop.example\\bye",
        "https://shop.example%2fbye",
        "https%3A%2F%2Fshop.example%2Fbye",
        "https://shop.example/%62ye",
        " " + BYE,
        BYE + "\t",
        "https://shop.example/bye\r\nX-Injected: 1",
        "javascript:alert(1)",
    ],
)
def test_SP_9_redirect_uri_must_be_registered_for_this_client(http: Site, target: str) -> None:
    """Byte for byte; otherwise 400, no redirect and no logout."""
    ann = http.login("ann")

    answer = http.get(address(client_id="shop", redirect_uri=target), cookie=ann.cookie)

    assert answer.status == 400
    assert answer.header("location") is None
    assert answer.header("x-injected") is None
    assert http.alive(ann) == ALL
    assert len(http.told("target_refused")) == 1


def test_SP_10_an_encoded_redirect_uri_keeps_its_own_query(http: Site) -> None:
    """What was registered comes back byte for byte."""
    ann = http.login("ann")

    answer = http.get(f"/logout?redirect_uri={quote(BYE_WITH_QUERY, safe='')}&client_id=shop", cookie=ann.cookie)

    assert (answer.status, answer.header("location")) == (303, BYE_WITH_QUERY)


def test_SP_10_an_unencoded_redirect_uri_smuggles_no_parameters(http: Site) -> None:
    """Its second parameter is one of ours, so the rest is an address that nobody registered."""
    ann = http.login("ann")
    raw = "https://shop.example/bye?a=1&b=%C3%A6"

    cut_short = http.get(f"/logout?client_id=shop&redirect_uri={raw}", cookie=ann.cookie)
    smuggled = http.get(f"/logout?client_id=shop&redirect_uri={BYE}&client_id=blog", cookie=ann.cookie)

    assert (cut_short.status, smuggled.status) == (400, 400)
    assert http.alive(ann) == ALL


@pytest.mark.parametrize(("settings", "location"), [({}, "/login"), ({"redirect_url": "/goodbye"}, "/goodbye")])
def test_SP_11_without_redirect_uri_the_default_page(site: BuildSite, settings: dict[str, str], location: str) -> None:
    """The operator's page, by default the login."""
    http = site(preset="spid", clients=json.dumps(CLIENTS), **settings)
    ann = http.login("ann")

    answer = http.get(address(client_id="shop"), cookie=ann.cookie)

    assert (answer.status, answer.header("location")) == (303, location)


def test_SP_12_a_token_of_somebody_else_is_left_alone(http: Site) -> None:
    """The own session ends all the same, and the attempt is on record."""
    ann, bob = http.login("ann"), http.login("bob")

    answer = http.get(address(client_id="shop", oauth_token=bob.access), cookie=ann.cookie)

    assert answer.status == 303
    assert http.me(cookie=ann.cookie) is None
    assert http.alive(bob) == ALL
    assert [event.outcome for event in http.told("token_refused")] == ["refused"]


def test_SP_13_the_own_token_is_revoked_with_the_session(http: Site) -> None:
    """No API request is allowed with that same token afterwards."""
    ann = http.login("ann")

    http.get(address(client_id="shop", oauth_token=ann.access), cookie=ann.cookie)

    answer = http.get("/me", token=ann.access)
    assert (answer.status, answer.json["error"]) == (401, "token_revoked")
    assert http.me(cookie=ann.cookie) is None


def test_SP_14_an_api_logout_ends_that_token_and_no_session(http: Site) -> None:
    """Neither the browser session of the same login nor another device is touched."""
    here, there = http.login("ann"), http.login("ann")

    answer = http.post("/logout", token=here.access)

    assert answer.status == 200
    assert http.alive(here) == ALL - {"access"}
    assert http.alive(there) == ALL


def test_SP_15_after_an_api_logout_the_token_is_refused(site: BuildSite) -> None:
    """Every later API request with it, by a second worker that shares the store, too."""
    workers = [site(preset="spid", clients=json.dumps(CLIENTS)) for _ in range(2)]
    ann = workers[0].login("ann")
    assert [http.me(token=ann.access) for http in workers] == ["ann", "ann"]

    workers[0].post("/logout", token=ann.access)

    assert [http.get("/me", token=ann.access).status for http in workers for _ in range(3)] == [401] * 6


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_SP_16_an_app_without_session_logs_out_with_its_token_alone(http: Site, method: str) -> None:
    """A mobile app logged in by API has no cookie."""
    token, other = http.issuer.mint("ann"), http.issuer.mint("ann")
    if method == "GET":
        answer = http.get(address(client_id="shop", oauth_token=token))
    else:
        answer = http.post("/logout", token=token)

    assert answer.status == (303 if method == "GET" else 200)
    assert http.me(token=token) is None
    assert http.me(token=other) == "ann"


def test_SP_18_without_the_token_the_session_ends_and_the_token_stays(http: Site) -> None:
    """The application may go on calling the API on behalf of the user; by default it may not."""
    ann = http.login("ann")

    http.get(address(client_id="shop"), cookie=ann.cookie)

    assert http.alive(ann) == {"access", "refresh"}


def test_SP_18_by_default_the_token_ends_with_the_session(site: BuildSite) -> None:
    """`REVOKE_BOUND` is what the preset turns off."""
    http = site(preset="spid", clients=json.dumps(CLIENTS), revoke_bound="true")
    ann = http.login("ann")

    http.get(address(client_id="shop"), cookie=ann.cookie)

    assert http.alive(ann) == set()


@pytest.mark.parametrize("settings", [{"preset": "spid", "clients": json.dumps(CLIENTS)}, {}])
@pytest.mark.parametrize("scope", ["local", "others", "global"])
def test_SP_19_a_token_of_the_application_itself_is_never_touched(
    site: BuildSite, settings: dict[str, str], scope: str
) -> None:
    """A user's logout, however wide, is not the application's."""
    http = site(**settings)
    ann = http.login("ann")
    server_token = http.issuer.mint("shop", client_id="shop")

    answer = http.post("/auth/logout", token=ann.access, json={"scope": scope})

    assert answer.status == 200
    assert http.me(token=server_token) == "shop"


SERVER_TOKENS = {
    "its subject is the client": {"sub": "shop", "client_id": "shop"},
    "it has no subject": {"sub": None, "client_id": "shop"},
    "as Auth0 names it": {"sub": "shop@clients", "azp": "shop"},
}


@pytest.mark.parametrize("form", SERVER_TOKENS)
@pytest.mark.parametrize("path", ["/auth/logout", "/auth/logout/all", "GET"])
@pytest.mark.parametrize("settings", [{"preset": "spid", "clients": json.dumps(CLIENTS)}, {}])
def test_SP_19_beside_a_users_cookie_it_stays_usable(
    site: BuildSite, settings: dict[str, str], path: str, form: str
) -> None:
    """A server calls for its user, with its own token and his cookie: it is his logout."""
    http = site(**settings)
    ann, server_token = http.login("ann"), http.issuer.mint(**{"user": "", **SERVER_TOKENS[form]})
    assert http.get("/me", token=server_token, cookie=ann.cookie).status == 200

    if path == "GET":
        answer = http.get("/auth/logout?client_id=shop", token=server_token, cookie=ann.cookie, headers=OWN_LINK)
    else:
        answer = http.post(path, token=server_token, cookie=ann.cookie, headers=OWN_PAGE)

    assert answer.status == (303 if path == "GET" else 200)
    assert http.me(cookie=ann.cookie) is None
    assert http.get("/me", token=server_token).status == 200


@pytest.mark.parametrize("form", SERVER_TOKENS)
@pytest.mark.parametrize("door", ["POST", "revoke_token"])
def test_SP_19_alone_it_can_be_revoked(site: BuildSite, door: str, form: str) -> None:
    """Whoever holds it may end it; the client's other tokens and every user go on."""
    http = site()
    ann = http.login("ann")
    leaked, other = (http.issuer.mint(**{"user": "", **SERVER_TOKENS[form]}) for _ in range(2))

    if door == "POST":
        assert http.post("/auth/logout", token=leaked).status == 200
    else:
        http.call("revoke_token", leaked)

    assert [http.get("/me", token=each).status for each in (leaked, other)] == [401, 200]
    assert http.alive(ann) == ALL


def test_SP_19_a_users_token_that_names_its_client_is_the_users(http: Site) -> None:
    """`client_id` alone makes no server token: this one has a person as its subject."""
    ann = http.login("ann")
    token = http.issuer.mint("ann", client_id="shop", sid=ann.sid)

    http.post("/auth/logout", token=token, cookie=ann.cookie, headers=OWN_PAGE)

    assert (http.me(token=token), http.me(cookie=ann.cookie)) == (None, None)


@pytest.mark.parametrize("settings", [{"preset": "spid", "clients": json.dumps(CLIENTS)}, {}])
def test_SP_20_a_token_in_the_address_does_not_leak(
    site: BuildSite, settings: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not by Referer, not by a cache, not into a log, not to the next page; nor on the page that asks."""
    http = site(**settings)
    ann, bob = http.login("ann"), http.login("bob")
    signature = ann.access.rpartition(".")[2]

    with caplog.at_level(logging.DEBUG):
        answers = [
            http.get("/auth/logout?" + urlencode({"client_id": "shop", "oauth_token": token}), cookie=cookie)
            for token, cookie in [(bob.access, ann.cookie), (ann.access, ann.cookie), (ann.access, ann.cookie)]
        ]
        refused = http.get(address(client_id="nobody", oauth_token=ann.access), cookie=ann.cookie)

    for answer in [*answers, refused] if settings else answers:
        assert answer.header("referrer-policy") == "no-referrer"
        assert answer.header("cache-control") == "no-store"
        assert signature not in (answer.header("location") or "")
    assert answers[-1].status in (200, 303)
    assert signature not in caplog.text
    assert "oauth_token" not in (answers[1].header("location") or "")
    assert all(signature not in repr(event) for event in http.events)
