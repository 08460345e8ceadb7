"""Userfront, "Logout", the server's side of the button: dead at the server, gone from the browser, on to a page."""

from __future__ import annotations

import logging
from urllib.parse import urljoin

import pytest

from logout_middleware import ConfigurationError
from tests.browser import Jar
from tests.client import ORIGIN, OWN_PAGE, Answer, BuildSite, Site

COOKIES = "access.abcdefg"
ALL_THREE = {"access.abcdefg", "id.abcdefg", "refresh.abcdefg"}
CLICK = OWN_PAGE | {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def http(site: BuildSite) -> Site:
    """A site with the preset of this seed and the account `abcdefg`."""
    return site(preset="userfront", cookies=COOKIES)


def click(http: Site, token: str, **given: str) -> Answer:
    """Click the button: a form of the site's own page posts, with the cookie of the account."""
    return http.post("/auth/logout", form=given, headers=CLICK | {"Cookie": f"access.abcdefg={token}"})


def user_of(http: Site, token: str) -> str | None:
    """Whom the application sees behind the account's cookie."""
    user: str | None = http.get("/me", headers={"Cookie": f"access.abcdefg={token}"}).json["user"]
    return user


def test_UF_4_the_access_token_is_invalidated_at_the_server(http: Site) -> None:
    """Neither as a cookie nor as a bearer is a copy of it accepted; another device's is."""
    token, other = http.issuer.mint("ann", sid="one"), http.issuer.mint("ann", sid="two")
    assert user_of(http, token) == "ann"

    click(http, token)

    assert user_of(http, token) is None
    assert http.me(token=token) is None
    assert user_of(http, other) == "ann"


def test_UF_4_a_script_gets_the_seeds_own_answer(http: Site) -> None:
    """Userfront's server answers a message and where to go."""
    token = http.issuer.mint("ann")

    answer = http.post("/auth/logout", token=token)

    assert answer.json == {"message": "ok", "redirectTo": "/login"}
    assert http.me(token=token) is None


@pytest.mark.parametrize(
    "attributes",
    ["Path=/", "Path=/; Secure", "Path=/; Domain=example.com; Secure", "Path=/app", "Path=/; SameSite=None; Secure"],
)
def test_UF_5_the_cookie_with_a_dot_in_its_name_is_removed_from_the_browser(site: BuildSite, attributes: str) -> None:
    """A browser that was given the cookie with these attributes has it no more."""
    guarded = f"access.abcdefg:jwt; {attributes}" if attributes else "access.abcdefg:jwt"
    http = site(preset="userfront", cookies=guarded)
    token = http.issuer.mint("ann")
    jar, page = Jar(), f"{ORIGIN}/app/page"
    jar.take(page, [f"access.abcdefg={token}; {attributes}", "theme=dark; Path=/"])
    assert jar.sent_to(page) == {"access.abcdefg": token, "theme": "dark"}

    jar.take(f"{ORIGIN}/auth/logout", click(http, token).all("set-cookie"))

    assert jar.sent_to(page) == {"theme": "dark"}


@pytest.mark.parametrize(
    ("cookies", "guarded"),
    [
        ("access.abcdefg", ALL_THREE),
        ("id.abcdefg:jwt", ALL_THREE),
        ("access.abcdefg:jwt, refresh.abcdefg:opaque", ALL_THREE),
        ("access.abcdefg, access.b, sid:opaque", {*ALL_THREE, "access.b", "id.b", "refresh.b", "sid"}),
        ("access, access.", {"access", "access."}),
        ("session.abcdefg", {"session.abcdefg"}),
    ],
)
def test_UF_5_one_cookie_names_the_account(site: BuildSite, cookies: str, guarded: set[str]) -> None:
    """The others of the account are guarded and removed with it; what was written by hand stays as it was written."""
    http = site(preset="userfront", cookies=cookies)

    assert {cookie.name for cookie in http.settings.cookies} == guarded
    assert click(http, http.issuer.mint("ann")).deleted == guarded
    if "refresh.abcdefg:opaque" in cookies:
        formats = {cookie.name: cookie.format for cookie in http.settings.cookies}
        assert formats == {"access.abcdefg": "jwt", "refresh.abcdefg": "opaque", "id.abcdefg": "jwt"}


def test_UF_5_the_other_cookies_of_the_account_have_the_same_scope(site: BuildSite) -> None:
    """Domain and Path are said once."""
    http = site(preset="userfront", cookies="access.abcdefg; Domain=example.com; Path=/app")

    lines = click(http, http.issuer.mint("ann")).all("set-cookie")

    assert {line.partition("=")[0] for line in lines} == ALL_THREE
    assert all({"Domain=example.com", "Path=/app"} <= set(line.split("; ")) for line in lines)


@pytest.mark.parametrize(
    ("preset", "cookies", "named"),
    [
        ("userfront", None, "E105 LOGOUT_COOKIES: LOGOUT_PRESET=userfront needs it; write e.g. access.<account>"),
        ("userfront", "access.a, access.a", "E106 LOGOUT_COOKIES: 'access.a' is named twice"),
    ],
)
def test_UF_5_the_account_must_be_named_once(site: BuildSite, preset: str, cookies: str | None, named: str) -> None:
    """Nobody can guess it."""
    with pytest.raises(ConfigurationError, match=named):
        site(preset=preset, cookies=cookies)


def test_UF_5_without_the_preset_a_cookie_is_one_cookie(site: BuildSite) -> None:
    """`access.` is not everybody's word for an account."""
    assert [cookie.name for cookie in site(cookies="access.abcdefg").settings.cookies] == ["access.abcdefg"]


def test_UF_6_invalidated_then_removed_then_redirected(http: Site) -> None:
    """No later step is taken before the one that comes first succeeded."""
    token = http.issuer.mint("ann")
    http.store.broken = True
    failed = click(http, token)
    http.store.broken = False
    user_after_failure = user_of(http, token)

    done = click(http, token)

    assert (failed.status, failed.all("set-cookie"), failed.header("location")) == (503, [], None)
    assert user_after_failure == "ann"
    assert (done.status, done.deleted) == (303, ALL_THREE)
    assert user_of(http, token) is None


def test_UF_7_the_default_page_is_login(http: Site) -> None:
    """Without any setting."""
    assert click(http, http.issuer.mint("ann")).header("location") == "/login"


def test_UF_8_the_page_can_be_set(site: BuildSite) -> None:
    """`LOGOUT_REDIRECT_URL`."""
    http = site(preset="userfront", cookies=COOKIES, redirect_url="/bye")

    assert click(http, http.issuer.mint("ann")).header("location") == "/bye"
    assert http.post("/auth/logout", token=http.issuer.mint("ann")).json["redirectTo"] == "/bye"


def test_UF_9_a_path_leads_to_the_host_of_the_button(http: Site) -> None:
    """A button on https://example.com/random leads to https://example.com/login."""
    answer = click(http, http.issuer.mint("ann"))

    assert urljoin("https://example.com/random", answer.header("location")) == "https://example.com/login"


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Host", "X-Forwarded-Server", "Forwarded", "X-Original-Url"])
def test_UF_9_no_header_changes_the_host(http: Site, name: str) -> None:
    """The redirect names no host at all, so there is nothing to change."""
    value = "host=evil.example" if name == "Forwarded" else "evil.example"
    token = http.issuer.mint("ann")

    answer = http.post("/auth/logout", token=token, form={}, headers={"Accept": "text/html", name: value})

    assert (answer.status, answer.header("location")) == (303, "/login")
    assert "evil.example" not in repr(answer)
    assert http.me(token=token) is None


def test_UF_10_an_absolute_address_works_if_the_owner_set_it(site: BuildSite) -> None:
    """One that only the request names is not followed, and the logout happens all the same."""
    http = site(preset="userfront", cookies=COOKIES, redirect_url="https://www.example.org/bye?from=app")
    first, second = http.issuer.mint("ann"), http.issuer.mint("ann")

    configured = click(http, first)
    supplied = click(http, second, redirect_uri="https://evil.example/")

    assert configured.header("location") == "https://www.example.org/bye?from=app"
    assert supplied.header("location") == "https://www.example.org/bye?from=app"
    assert user_of(http, second) is None
    assert len(http.told("target_refused")) == 1


@pytest.mark.parametrize(
    ("origin", "is_warned"),
    [
        ("http://app.example.com", True),
        ("https://app.example.com", False),
        ("http://localhost", False),
        ("http://127.0.0.1:8000", False),
    ],
)
def test_UF_11_plain_http_is_warned_of_once_outside_this_host(
    site: BuildSite, caplog: pytest.LogCaptureFixture, origin: str, is_warned: bool
) -> None:
    """Live sites use https."""
    http = site(preset="userfront", cookies=COOKIES, origin=origin)

    with caplog.at_level(logging.WARNING, "logout_middleware"):
        answers = [click(http, http.issuer.mint("ann")) for _ in range(2)]

    assert [answer.status for answer in answers] == [303, 303]
    assert len([record for record in caplog.records if "https" in record.message]) == int(is_warned)


def test_UF_11_plain_http_does_not_downgrade_a_secure_cookie(site: BuildSite) -> None:
    """A cookie that was set Secure is only ever deleted by a line that says Secure, too."""
    http = site(preset="userfront", cookies="access.abcdefg:jwt; Secure", origin="http://app.example.com")

    lines = click(http, http.issuer.mint("ann")).all("set-cookie")

    assert len(lines) == 3
    assert all("Secure" in line.split("; ") for line in lines)


ASKED = {"Accept": "application/json, text/plain, */*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
"""What a browser says of a request that a page's script made by axios, as the seed's own client does."""


def three(access: str) -> str:
    """The Cookie field of a browser that is logged in."""
    return "; ".join(f"{kind}.abcdefg={access}" for kind in ("access", "id", "refresh"))


def test_UF_12_the_seeds_own_client_is_answered_by_get(http: Site) -> None:
    """userfront-core asks `GET /auth/logout` with the access token as a bearer, and goes where `redirectTo` says."""
    token, other = http.issuer.mint("ann", sid="here"), http.issuer.mint("ann", sid="there")
    cookies = {"Cookie": three(token), **OWN_PAGE}

    answer = http.get("/auth/logout", token=token, headers=ASKED | cookies)

    assert (answer.status, answer.json) == (200, {"message": "ok", "redirectTo": "/login"})
    assert answer.deleted == ALL_THREE
    assert (http.me(token=token), user_of(http, token), http.me(token=other)) == (None, None, "ann")


@pytest.mark.parametrize("kind", ["dead", "expired", "garbage"])
def test_UF_12_a_token_that_is_dead_already_is_the_same_success(http: Site, kind: str) -> None:
    """Userfront's client removes its cookies and goes on."""
    token = {"expired": http.issuer.mint("ann", life=-1), "garbage": "no-token"}.get(kind) or http.issuer.mint("ann")
    if kind == "dead":
        http.get("/auth/logout", token=token)

    answer = http.get("/auth/logout", token=token, headers=ASKED)

    assert (answer.status, answer.json) == (200, {"message": "ok", "redirectTo": "/login"})


def test_UF_12_from_another_sites_page_the_token_counts_and_the_cookie_does_not(http: Site) -> None:
    """No other site can make a browser send the bearer; the cookie it could."""
    ann, bob = http.issuer.mint("ann"), http.issuer.mint("bob")
    elsewhere = {"Cookie": three(ann), "Sec-Fetch-Site": "cross-site"}

    answer = http.get("/auth/logout", token=bob, headers=ASKED | elsewhere)

    assert (answer.status, answer.deleted) == (200, set())
    assert (http.me(token=bob), user_of(http, ann)) == (None, "ann")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("GET", {"Authorization": "Basic YW5uOnB3"}),
        ("HEAD", {"Authorization": "Bearer {token}"}),
    ],
)
def test_UF_12_no_other_get_logs_out_unasked(http: Site, method: str, headers: dict[str, str]) -> None:
    """A picture or a prefetch sends the cookie alone."""
    token = http.issuer.mint("ann")
    headers = {name: value.replace("{token}", token) for name, value in headers.items()}

    answer = http.request(method, "/auth/logout", headers=headers | {"Cookie": three(token)})

    assert (answer.status, answer.all("set-cookie")) == (200, [])
    assert user_of(http, token) == "ann"


def test_UF_12_get_can_still_be_denied_and_is_no_api_elsewhere(site: BuildSite) -> None:
    """`ON_GET=deny` is the operator's word; without the preset GET is for people."""
    denied, ordinary = site(preset="userfront", cookies=COOKIES, on_get="deny"), site()
    token = denied.issuer.mint("ann")

    assert denied.get("/auth/logout", token=token, headers=ASKED).status == 405
    assert "text/html" in (ordinary.get("/auth/logout", token=token, headers=ASKED).header("content-type") or "")
    assert denied.me(token=token) == "ann"


def test_UF_12_the_failure_of_a_get_is_a_failure(http: Site) -> None:
    """Nothing recorded, nothing said to be."""
    token = http.issuer.mint("ann")
    http.store.broken = True

    answer = http.get("/auth/logout", token=token, headers=ASKED)

    http.store.broken = False
    assert (answer.status, answer.json["success"], answer.all("set-cookie")) == (503, False, [])
    assert http.me(token=token) == "ann"


@pytest.mark.parametrize("preset", ["userfront", None])
def test_UF_12_a_page_of_a_trusted_origin_may_ask_with_what_its_client_sends(
    site: BuildSite, preset: str | None
) -> None:
    """As userfront-core does of an API on another host; a browser asks first whether it may."""
    page = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
    http = site(preset=preset, cookies=COOKIES, trusted_origins="https://shop.example")
    token = http.issuer.mint("ann")

    asked = http.request("OPTIONS", "/auth/logout", headers=page)
    answer = http.get("/auth/logout", token=token, headers=ASKED | {"Origin": "https://shop.example"})

    allowed = set((asked.header("access-control-allow-headers") or "").split(", "))
    assert {"authorization", "x-logout-passive"} <= allowed
    assert ({"x-userfront-source", "x-application-id", "x-origin"} <= allowed) == (preset is not None)
    assert answer.header("access-control-allow-origin") == "https://shop.example"
    assert http.me(token=token) == (None if preset else "ann")
