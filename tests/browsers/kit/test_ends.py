"""The ends of a login: its token's, after inactivity, and with the last tab."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from .visitor import EVENTS, SESSION, THREE, Browser, Tab

HOUR = 3600


class Login:
    """What the server says of a login, without one that has to be waited for."""

    def __init__(self, browser: Browser, **members: Any) -> None:
        self.now = dt.datetime.now(dt.UTC)
        self.members: dict[str, Any] = {"authenticated": True, "sub": "ann", "sid": "s1"} | members
        browser.install_clock()
        browser.answer(SESSION, lambda: (200, self.members))
        browser.context.route(EVENTS, lambda route: route.fulfill(status=204))

    def ends(self, name: str, seconds: float) -> None:
        """It ends so long after the test began."""
        self.members[name] = (self.now + dt.timedelta(seconds=seconds)).isoformat()

    def is_over(self) -> None:
        """The server knows nobody any more."""
        self.members = {"authenticated": False}


def asked_more_than(tab: Tab, times: int) -> bool:
    """Did this tab ask so often who is logged in?"""
    return len(tab.asked("GET", "/auth/session")) > times


def test_UM_17_an_expired_token_is_refused_and_the_client_logs_out_once(new_browser: Callable[..., Browser]) -> None:
    """A real token of two seconds, two tabs: one request, each tab told once, no token left."""
    browser = new_browser()
    first = browser.tab().open()
    access = first.take_tokens(life=2)["access"]
    options = {"accessToken": "accessToken", "refreshToken": "refreshToken", "redirect": "/bye"}
    tabs = [first.open(**options), browser.tab().open(**options)]

    for each in tabs:
        each.is_at("/bye")

    assert browser.fetch("GET", "/me", Authorization=f"Bearer {access}")[0] == 401
    assert sum(len(each.posts) for each in tabs) == 1
    assert [each.names() for each in tabs] == [THREE, THREE]
    assert first.stored() == []


def test_UM_17_many_tabs_send_one_logout(new_browser: Callable[..., Browser]) -> None:
    """All see the end of the same token."""
    browser = new_browser()
    login = Login(browser)
    login.ends("expires_at", HOUR)
    tabs = [browser.tab().open(redirect=False, push=False) for _ in range(5)]

    # Each asks again at the login of each later one; an answer that is still on its way would come too early.
    for later, each in enumerate(reversed(tabs)):
        each.until(partial(asked_more_than, each, later))
        each.call("session", {"fresh": True})

    login.is_over()
    browser.pass_time(HOUR)
    for each in tabs:
        each.until_heard("auth.sessionChange")

    assert sum(len(each.posts) for each in tabs) == 1
    assert [each.names() for each in tabs] == [THREE] * 5
    assert {each.detail()["reason"] for each in tabs} == {"expired"}


def test_UM_17_the_end_is_announced_a_minute_before(new_browser: Callable[..., Browser]) -> None:
    """Once."""
    browser = new_browser()
    login = Login(browser)
    login.ends("expires_at", HOUR)
    tab = browser.tab().open(redirect=False)

    browser.pass_time(HOUR - 59)
    said = tab.until_heard("auth.expiring")
    tab.page.evaluate("() => void dispatchEvent(new Event('focus'))")
    login.is_over()
    browser.pass_time(60)
    tab.until_heard("auth.logout")

    assert said["reason"] == "expired"
    assert 50 <= said["seconds"] <= 59
    assert dt.datetime.fromisoformat(said["expires_at"]) == dt.datetime.fromisoformat(
        (login.now + dt.timedelta(seconds=HOUR)).isoformat(timespec="milliseconds")
    )
    assert [name for name, _ in tab.heard].count("auth.expiring") == 1


def test_a_login_that_was_prolonged_meanwhile_is_neither_announced_nor_ended(
    new_browser: Callable[..., Browser],
) -> None:
    """Another page renewed it: the server is asked first."""
    browser = new_browser()
    login = Login(browser)
    login.ends("expires_at", HOUR)
    tab = browser.tab().open(redirect=False)

    login.ends("expires_at", 3 * HOUR)
    browser.pass_time(HOUR + 1)
    tab.until(lambda: tab.state("known")["expires_at"] == login.members["expires_at"])

    assert tab.posts == []
    assert [name for name, _ in tab.heard if name in (*THREE, "auth.expiring")] == []


def test_a_clock_that_is_fast_ends_nothing_that_the_server_takes_for_alive(new_browser: Callable[..., Browser]) -> None:
    """This computer believes that it is an hour later."""
    browser = new_browser()
    login = Login(browser)
    login.ends("expires_at", -60)
    tab = browser.tab().open(redirect=False, poll=1)
    asked = len(tab.asked("GET", "/auth/session"))

    browser.pass_time(2)  # less than the time that an answer may take
    tab.until(lambda: len(tab.asked("GET", "/auth/session")) > asked + 1)

    assert tab.posts == []


def test_the_end_of_the_servers_idle_time(new_browser: Callable[..., Browser]) -> None:
    """Announced as idle, and over when the server says so."""
    browser = new_browser()
    login = Login(browser)
    login.ends("idle_expires_at", 600)
    tab = browser.tab().open(redirect=False, push=False, poll=3600)

    browser.pass_time(545)
    said = tab.until_heard("auth.expiring")
    login.is_over()
    browser.pass_time(60)

    assert said["reason"] == "idle"
    assert tab.until_heard("auth.logout")["reason"] == "idle"


# ---- inactivity in this browser


def idle_tab(browser: Browser) -> Tab:
    """A tab that logs out after ten minutes."""
    return browser.tab().open(idle=600, push=False, poll=10_000)


def test_nobody_does_anything_for_ten_minutes(browser: Browser) -> None:
    """A minute before it is announced; then the login ends at the server, too."""
    browser.install_clock()
    tab = idle_tab(browser)

    browser.pass_time(541)
    said = tab.until_heard("auth.expiring")
    browser.pass_time(60)
    tab.is_at("/login")

    assert (said["reason"], said["seconds"] <= 60) == ("idle", True)
    assert tab.detail()["reason"] == "idle"
    assert browser.user() is None


def test_whoever_does_something_stays(browser: Browser) -> None:
    """A click, a key or a scroll counts from then on."""
    browser.install_clock()
    tab = idle_tab(browser)
    browser.pass_time(500)

    tab.page.click("#focused")
    browser.pass_time(500)
    tab.page.keyboard.press("a")
    browser.pass_time(500)
    tab.page.evaluate("() => void document.dispatchEvent(new Event('scroll'))")
    browser.pass_time(500)

    assert tab.call("session", {"fresh": True})["authenticated"] is True
    assert tab.names() == []


def test_activity_in_one_tab_keeps_the_other_logged_in(browser: Browser) -> None:
    """They share the time of the last key."""
    browser.install_clock()
    tabs = [idle_tab(browser), idle_tab(browser)]
    browser.pass_time(500)
    tabs[0].page.keyboard.press("a")

    browser.pass_time(500)

    for each in tabs:
        assert each.call("session", {"fresh": True})["authenticated"] is True
        assert each.names() == []


def test_the_note_of_the_last_activity_names_nobody_after_the_logout(browser: Browser) -> None:
    """It belongs to the login, whose name is in it."""
    tab = idle_tab(browser)
    tab.page.keyboard.press("a")
    before = tab.page.evaluate("() => localStorage['logout.activity']")

    tab.call("logout", {"redirect": False})
    tab.page.keyboard.press("a")

    assert tab.detail()["session"]["sid"] in before
    assert tab.page.evaluate("() => localStorage['logout.activity'] ?? null") is None


def test_a_key_after_a_long_sleep_comes_too_late(browser: Browser) -> None:
    """A computer that slept runs no timers; the first key finds that the time is over."""
    browser.install_clock()
    tab = idle_tab(browser)
    tab.page.clock.pause_at(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5))

    tab.page.clock.set_system_time(dt.datetime.now(dt.UTC) + dt.timedelta(hours=8))
    tab.page.keyboard.press("a")
    tab.is_at("/login")

    assert tab.detail()["reason"] == "idle"


def test_a_new_login_is_not_ended_by_the_silence_before_it(browser: Browser) -> None:
    """The last activity was yesterday's, in another session."""
    browser.install_clock()
    tab = idle_tab(browser)
    tab.page.goto(f"{browser.origin}/bare")
    browser.pass_time(24 * HOUR)
    browser.log_in("ann")

    tab.open(idle=600, push=False)

    assert tab.call("session", {"fresh": True})["authenticated"] is True
    assert tab.names() == []


# ---- the last tab


def close(tab: Tab) -> None:
    """Close it as a person does."""
    tab.page.close(run_before_unload=True)


class Farewells:
    """What tabs say as their last. Each tells after the kit had its turn, so a goodbye of the kit came before that."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.before = browser.counts()
        self.said = 0

    def note(self, tab: Tab) -> None:
        """This tab is going to be closed or left."""
        tab.page.evaluate("() => addEventListener('pagehide', () => navigator.sendBeacon('/last'))")
        self.said += 1

    def logouts(self, witness: Tab) -> int:
        """How many logouts came, once all of them were heard; `witness`: a tab that is still there."""
        witness.until(lambda: self._since("POST /last") == self.said)
        return self._since("POST /auth/logout")

    def _since(self, request: str) -> int:
        return self.browser.counts().get(request, 0) - self.before.get(request, 0)


def test_UM_18_closing_the_browser_logs_out_where_that_is_wanted(browser: Browser) -> None:
    """The last tab says goodbye to the server."""
    elsewhere = browser.context.new_page()
    tab = browser.tab().open(onClose=True)

    close(tab)

    def is_over() -> bool:
        elsewhere.wait_for_timeout(10)
        return browser.user() is None

    assert any(is_over() for _ in range(500))


def test_UM_18_it_is_off_by_default(browser: Browser) -> None:
    """A closed tab says nothing."""
    elsewhere = browser.tab().open("/bare", follows=False)
    tab = browser.tab().open()
    farewells = Farewells(browser)
    farewells.note(tab)

    close(tab)

    assert farewells.logouts(elsewhere) == 0
    assert browser.user() == "ann"


@pytest.mark.parametrize("how", ["F5", "reload", "link", "script"])
def test_UM_18_going_to_another_page_of_the_site_is_no_end(browser: Browser, how: str) -> None:
    """Nor is a reload."""
    tab = browser.tab().open(onClose=True)
    farewells = Farewells(browser)
    farewells.note(tab)

    if how == "F5":
        tab.page.keyboard.press("F5")
        tab.page.reload()  # the key alone does nothing in a browser without a window
    elif how == "reload":
        with tab.page.expect_navigation():
            tab.page.evaluate("() => location.reload()")
    elif how == "link":
        tab.page.click("a")
        tab.is_at("/bare")
    else:
        tab.page.evaluate("() => { location.href = '/bare' }")
        tab.is_at("/bare")

    assert farewells.logouts(tab) == 0
    assert browser.user() == "ann"


def test_UM_18_a_download_before_it_is_an_end_all_the_same(browser: Browser) -> None:
    """The page stayed where it was."""
    elsewhere = browser.tab().open("/bare", follows=False)
    tab = browser.tab().open(onClose=True)
    farewells = Farewells(browser)
    farewells.note(tab)

    with tab.page.expect_download():
        tab.page.evaluate(
            """() => {
          const link = Object.assign(document.createElement("a"), {href: "/bare", download: "bare.html"});
          document.body.append(link);
          link.click();
        }"""
        )
    close(tab)

    assert farewells.logouts(elsewhere) == 1
    assert browser.user() is None


def test_UM_18_one_of_two_tabs_is_no_end(browser: Browser) -> None:
    """The other one is still open."""
    tabs = [browser.tab().open(onClose=True), browser.tab().open(onClose=True)]
    farewells = Farewells(browser)
    farewells.note(tabs[0])

    close(tabs[0])

    assert farewells.logouts(tabs[1]) == 0
    assert browser.user() == "ann"
