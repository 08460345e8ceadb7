"""The server is away, slow or failing: this browser is logged out all the same, and the server hears of it later."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Route

from .conftest import Server
from .visitor import LOGOUT, THREE, Browser

STAYS = {"redirect": False}


def test_UM_22_local_tokens_are_cleared_when_the_server_is_down(
    start_site: Callable[..., Server], new_browser: Callable[..., Browser]
) -> None:
    """The process is gone: the storage is empty, the person is sent to the login page, and the events came."""
    server = start_site()
    browser = new_browser(server)
    browser.log_in()
    tab = browser.tab().open(accessToken="accessToken", refreshToken="refreshToken", localStorage=["cart"])
    tab.take_tokens()
    tab.store(cart="one")
    tab.page.evaluate("() => addEventListener('auth.sessionChange', () => heard('left', Object.keys(localStorage)))")

    server.kill()
    browser.is_server_away = True
    tab.begin("logout")
    left = tab.until_heard("left")
    tab.until(lambda: tab.asked("GET", "/login"))

    assert [each for each in left if not each.startswith("logout.")] == []
    assert tab.names() == THREE
    assert (tab.detail()["ok"], tab.detail()["offline"]) == (False, True)


def test_UM_22_and_when_it_is_too_slow(browser: Browser) -> None:
    """After the time limit, without an answer."""
    tab = browser.tab().open(localStorage=["cart"], timeout=200)
    tab.store(cart="one")
    browser.is_server_away = True
    browser.context.route(LOGOUT, lambda route: None)

    tab.begin("logout")
    tab.is_at("/login")

    assert tab.detail()["offline"] is True
    assert tab.stored() == []
    # The slow server may still answer the first one, so the page does not ask it a second time at once.
    assert len([each for each in tab.posts if "/page" in each.headers["referer"]]) == 1


@pytest.mark.parametrize("status", [500, 503])
def test_UM_26_a_failure_is_no_exception_and_the_logout_is_queued(browser: Browser, status: int) -> None:
    """The page goes on; as soon as the server can, the login ends there, too."""
    browser.install_clock()
    tab = browser.tab().open()
    broken = [True]

    def fail(route: Route) -> None:
        if broken:
            route.fulfill(status=status, body="")
        else:
            route.continue_()

    browser.is_server_away = True
    browser.context.route(LOGOUT, fail)
    result = tab.call("logout", STAYS)
    queued = tab.note()
    still = browser.user()
    broken.clear()
    browser.pass_time(10)
    tab.until(lambda: browser.user() is None)

    assert (result["ok"], result["offline"], result["status"]) == (False, True, status)
    assert queued["sid"]
    assert still == "ann"
    tab.until(lambda: tab.note() is None)
    assert tab.names() == THREE


def test_UM_26_a_killed_server_ends_the_login_when_it_is_back(
    start_site: Callable[..., Server], new_browser: Callable[..., Browser]
) -> None:
    """The page is still open, and tries again with pauses that get longer."""
    server = start_site()
    browser = new_browser(server)
    browser.log_in()
    browser.install_clock()
    tab = browser.tab().open()
    server.kill()
    browser.is_server_away = True
    told = tab.call("logout", STAYS)

    server.start()
    browser.pass_time(60)

    assert (told["ok"], told["offline"]) == (False, True)
    tab.until(lambda: browser.user() is None)


def test_UM_28_network_errors_reject_nothing(browser: Browser) -> None:
    """Every call answers, and says that it does not know; the fixture sees that nothing was uncaught."""
    tab = browser.tab().open()
    browser.away()

    fresh = tab.call("session", {"fresh": True})
    result = tab.call("logout", STAYS)
    again = tab.call("logout", STAYS)

    assert (fresh["authenticated"], fresh["unknown"]) == (True, True)
    assert (result["ok"], result["offline"], result["status"]) == (False, True, 0)
    assert again["ok"] is False


def test_UM_28_without_its_second_file_a_logout_works_all_the_same(browser: Browser) -> None:
    """The server went away between the two."""
    browser.away("**/auth/logout-watch.js")
    tab = browser.tab().open(follows=False)

    assert tab.call("session")["sub"] == "ann"
    tab.begin("logout")
    tab.is_at("/login")

    assert tab.names() == THREE
    assert browser.user() is None


def test_UM_28_offline_is_seen_and_over(browser: Browser) -> None:
    """The browser lost its network: the page can see it, and follows again as soon as it is back."""
    tab = browser.tab().open()
    tab.until_connection("live")
    browser.is_server_away = True

    browser.context.set_offline(offline=True)
    tab.page.evaluate("async () => (await import('/auth/logout.js')).configure({})")  # the stream begins anew
    tab.until_connection("offline")
    browser.context.set_offline(offline=False)
    tab.until_connection("live")

    assert [detail["connection"] for name, detail in tab.heard if name == "auth.connectionChange"] == [
        "live",
        "offline",
        "live",
    ]


# ---- trying again never ends a newer login


def test_a_retry_leaves_a_newer_login_alone(browser: Browser) -> None:
    """Somebody logged in again in the meantime, even as the same user."""
    tab = browser.tab().open()
    back = browser.away()
    tab.call("logout", STAYS)
    tried = len(tab.posts)
    browser.log_in("ann")

    back()
    tab.online()
    tab.until(lambda: tab.note() is None)
    tab.online()

    assert browser.user() == "ann"
    assert len(tab.posts) == tried


def test_after_the_redirect_the_next_page_tries_and_then_forgets(browser: Browser) -> None:
    """The note names the login, and no token."""
    tab = browser.tab().open(accessToken="accessToken", localStorage=[])
    back = browser.away(LOGOUT)
    tab.begin("logout")
    tab.is_at("/login")
    note = tab.note()
    still = browser.user()

    back()
    tab.until_knows_or_pending()
    tab.online()
    tab.until(lambda: tab.note() is None)

    assert set(note) == {"sub", "sid", "expires_at", "at", "to"}
    assert still == "ann"
    assert browser.user() is None


def test_old_tokens_go_alone_where_the_cookie_is_of_a_newer_login(new_browser: Callable[..., Browser]) -> None:
    """The page's memory still has the tokens of the login that ended; the new cookie is not sent with them."""
    browser = new_browser()
    tab = browser.tab().open()
    tab.page.evaluate(
        """async () => {
      const {configure} = await import("/auth/logout.js");
      configure({accessToken: "accessToken", refreshToken: "refreshToken"});
    }"""
    )
    given = tab.take_tokens()
    back = browser.away()
    tab.call("logout", STAYS)
    browser.log_in("bob")

    back()
    tab.online()
    bearer = {"Authorization": f"Bearer {given['access']}"}
    tab.until(lambda: browser.fetch("GET", "/me", **bearer)[0] == 401)

    tab.until(lambda: tab.state("pending") is None)
    assert browser.user() == "bob"


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_login_that_nobody_could_name_is_tried_by_the_next_page_only(browser: Browser, *, comes_back: bool) -> None:
    """The server was away before the page knew who was logged in."""
    back = browser.away()
    tab = browser.tab().open(follows=False, redirect="/bye")

    def arrive(route: Route) -> None:
        if comes_back:
            back()
        route.continue_()

    browser.context.route("**/bye", arrive)
    tab.begin("logout")
    tab.is_at("/bye")
    if comes_back:
        tab.until(lambda: browser.user() is None)
    tab.until(lambda: tab.note() is None)
    if not comes_back:
        back()
    tab.open("/page")

    assert browser.user() == (None if comes_back else "ann")
