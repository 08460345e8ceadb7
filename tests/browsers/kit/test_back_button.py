"""The back/forward cache: a page that comes back shows nothing of a login that is over.

A page of a cookie's login is sent as `no-store`, and Chromium does not keep it. One of a token's login it keeps.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Route

from .visitor import SESSION, THREE, Browser, Tab

OPTIONS = {"accessToken": "accessToken"}


@pytest.fixture
def cached(new_browser: Callable[..., Browser]) -> Browser:
    """A browser that keeps pages alive."""
    return new_browser(with_back_forward_cache=True)


def left(browser: Browser) -> Tab:
    """A tab that has left a page of ann's which follows the server."""
    tab = browser.tab().open("/bare", follows=False)
    tab.take_tokens("ann")
    tab.open(**OPTIONS)
    tab.until_connection("live")
    tab.page.click("a")
    tab.is_at("/bare")
    return tab


def log_out_elsewhere(browser: Browser) -> Tab:
    """Another tab logs out, and stays."""
    other = browser.tab().open(**OPTIONS)
    other.call("logout", {"redirect": False})
    return other


class Questions:
    """What becomes of the questions who is logged in. `answered`: None holds them, False refuses them.

    (Playwright changes nothing for a page that is in the cache, so this comes before the page is left.)
    """

    def __init__(self, browser: Browser) -> None:
        self.answered: bool | None = True
        self.held: list[Route] = []
        self.refused = 0
        browser.context.route(SESSION, self.decide)

    def decide(self, route: Route) -> None:
        """Do that with this one."""
        if self.answered:
            route.continue_()
        elif self.answered is None:
            self.held.append(route)
        else:
            self.refused += 1
            route.abort("connectionrefused")


def back(tab: Tab) -> None:
    """Press the back button; the page comes out of the cache and not from the server."""
    tab.page.go_back(wait_until="commit")
    tab.until(lambda: tab.detail("pageshow") is True)


def test_back_after_a_logout_elsewhere_goes_to_the_login_page(cached: Browser) -> None:
    """Another tab logged out meanwhile."""
    tab = left(cached)
    log_out_elsewhere(cached)

    back(tab)
    tab.is_at("/login")

    assert tab.detail()["remote"] is True


def test_back_while_logged_in_shows_the_page_and_follows_again(cached: Browser) -> None:
    """Nothing is taken from who did not log out."""
    tab = left(cached)

    back(tab)
    tab.page.locator("#private").wait_for()
    tab.page.wait_for_function("() => !document.documentElement.hidden")

    assert tab.names() == []
    streams = len(tab.asked("GET", "/auth/events"))
    assert streams in (1, 2)
    tab.until(lambda: len(tab.asked("GET", "/auth/events")) == 2)
    tab.until_connection("live")


def test_nothing_is_shown_before_it_is_known(cached: Browser) -> None:
    """While the question is on its way the page is empty."""
    questions = Questions(cached)
    tab = left(cached)
    questions.answered = None

    back(tab)
    tab.until(lambda: questions.held)
    is_hidden = tab.page.locator("#private").is_hidden()
    questions.answered = True
    questions.held.pop().continue_()
    tab.page.locator("#private").wait_for()

    assert is_hidden


def test_back_to_the_page_of_an_older_login_loads_it_anew(cached: Browser) -> None:
    """Bob logged in after ann: ann's page is not his."""
    tab = left(cached)
    log_out_elsewhere(cached).take_tokens("bob")

    back(tab)
    tab.until(lambda: tab.detail("pageshow") is False)
    tab.until_knows()

    assert tab.state("known")["sub"] == "bob"
    assert tab.stored() == ["accessToken", "refreshToken"]


@pytest.mark.parametrize("logged_out", [True, False])
def test_back_without_a_server_this_browsers_own_note_decides(cached: Browser, *, logged_out: bool) -> None:
    """Logged out in another tab: gone. Otherwise the page is shown."""
    questions = Questions(cached)
    tab = left(cached)
    if logged_out:
        log_out_elsewhere(cached)
    cached.is_server_away = True
    questions.answered = False

    back(tab)
    tab.until(lambda: questions.refused)

    if logged_out:
        tab.is_at("/login")
    else:
        tab.page.locator("#private").wait_for()
        assert tab.names() == []


@pytest.mark.parametrize("redirect", ["/page", "itself", "#out"])
def test_a_page_that_leads_to_itself_is_not_shown_again_either(cached: Browser, redirect: str) -> None:
    """After the logout it goes to its own path, its own address, or a part of itself: the server's page comes anew."""
    tab = left(cached)
    log_out_elsewhere(cached)
    options = {**OPTIONS, "redirect": "/page"}
    tab.open(**options)
    tab.take_tokens("ann")
    tab.call("session", {"fresh": True})
    address = {"/page": "/page", "itself": tab.page.url, "#out": f"{tab.page.url}#out"}[redirect]
    tab.page.evaluate("async redirect => (await import('/auth/logout.js')).configure({redirect})", address)
    tab.until_connection("live")
    tab.page.click("a")
    tab.is_at("/bare")
    log_out_elsewhere(cached)

    back(tab)
    tab.until(lambda: tab.detail("pageshow") is False)
    tab.until_knows()

    assert tab.state("known")["authenticated"] is False
    assert tab.detail()["remote"] is True


@pytest.mark.parametrize("how", ["redirect", "listener"])
def test_a_page_that_wants_to_stay_is_told_and_then_shown(cached: Browser, how: str) -> None:
    """`redirect: false` and `preventDefault()` leave it to the page to take away what is private, before it is seen."""
    tab = cached.tab().open("/bare", follows=False)
    tab.take_tokens("ann")
    tab.open(**OPTIONS, **({"redirect": False} if how == "redirect" else {}))
    tab.until_connection("live")
    tab.page.evaluate(
        """how => addEventListener("auth.logout", event => {
      if (how === "listener") event.preventDefault();
      heard("hidden", document.documentElement.hidden);
      document.querySelector("#private").remove();
    })""",
        how,
    )
    tab.page.click("a")
    tab.is_at("/bare")
    log_out_elsewhere(cached)

    back(tab)
    tab.page.locator("#name").wait_for()

    assert tab.detail("hidden") is True
    assert tab.names() == THREE
    assert tab.page.locator("#private").count() == 0
