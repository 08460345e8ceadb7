"""Userfront, "Logout", the server's side of the button: dead at the server, gone from the browser, on to a page."""

from __future__ import annotations

import logging
from urllib.parse import urljoin

import pytest

from tests.browser import Jar
from tests.client import ORIGIN, OWN_PAGE, Answer, BuildSite, Site

COOKIES = "access.abcdefg:jwt, id.abcdefg:jwt, refresh.abcdefg:jwt"
CLICK = OWN_PAGE | {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def http(site: BuildSite) -> Site:
    """A site with the preset of this seed and the cookies of the account `abcdefg`."""
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
    assert (done.status, done.deleted) == (303, {"access.abcdefg", "id.abcdefg", "refresh.abcdefg"})
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

    (line,) = click(http, http.issuer.mint("ann")).all("set-cookie")

    assert "Secure" in line.split("; ")
