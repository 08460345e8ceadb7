"""A newer login of the same browser: no old stream, no old end, and no logout that is tried again ends it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route

from .test_together import end_from, two_devices
from .visitor import LOGOUT, SESSION, Browser, Tab


def open_streams(tab: Tab) -> int:
    """How many streams this tab has opened so far."""
    return len(tab.asked("GET", "/auth/events"))


def test_UM_17_the_end_of_a_token_that_was_refreshed_is_none(new_browser: Callable[..., Browser]) -> None:
    """The stream was opened with the old one, and ends with it; the page goes on with a new stream."""
    browser = new_browser()
    tab = browser.tab().open("/bare", follows=False)
    old = tab.take_tokens(life=3, sid="s1")["access"]
    tab.open(accessToken="accessToken", localStorage=["cart"])
    tab.until_connection("live")
    streams = open_streams(tab)

    tab.take_tokens(sid="s1")
    tab.store(cart="one")
    tab.until(lambda: browser.fetch("GET", "/me", Authorization=f"Bearer {old}")[0] == 401)
    tab.until(lambda: open_streams(tab) > streams)
    tab.until_connection("live")

    assert tab.call("session", {"fresh": True})["authenticated"] is True
    assert (tab.posts, tab.names()) == ([], [])
    assert tab.stored() == ["accessToken", "cart", "refreshToken"]


def test_the_end_of_an_older_session_is_not_that_of_the_newer_login(new_browser: Callable[..., Browser]) -> None:
    """The leading tab still holds the stream of the older one."""
    laptop, phone = two_devices(new_browser, "vito")
    tab = laptop.tab().open(localStorage=["cart"])
    tab.until_connection("live")
    laptop.log_in("wanda")
    tab.store(cart="hers")
    streams = open_streams(tab)

    assert end_from(phone) == 200
    tab.until(lambda: tab.state("known")["sub"] == "wanda")
    tab.until(lambda: open_streams(tab) > streams)
    tab.until_connection("live")

    assert [name for name, _ in tab.heard if name == "auth.logout"] == []
    assert tab.stored() == ["cart"]
    assert laptop.user() == "wanda"


def test_a_newer_login_in_another_tab_is_known_and_outlives_the_older_session(
    new_browser: Callable[..., Browser],
) -> None:
    """Every tab asks again when one has found a login, also who took himself for logged in."""
    laptop, phone = two_devices(new_browser, "xaver")
    first = laptop.tab().open(localStorage=["cart"])
    first.until_connection("live")
    laptop.log_in("yola")

    second = laptop.tab().open(localStorage=["cart"])
    second.store(cart="hers")
    said = first.until_heard("auth.sessionChange")
    streams = open_streams(first)
    assert end_from(phone) == 200
    first.until(lambda: open_streams(first) >= streams)

    assert said["sub"] == "yola"
    for each in (first, second):
        assert each.call("session", {"fresh": True})["sub"] == "yola"
        assert [name for name, _ in each.heard if name == "auth.logout"] == []
    assert second.stored() == ["cart"]


# ---- a logout that the server did not hear of


class Sessions:
    """Who is logged in, in the words of a server whose logins have no `sid`. `is_known`: does it answer at all?"""

    def __init__(self, browser: Browser, *, is_known: bool) -> None:
        self.browser = browser
        self.is_known = is_known
        self.ends = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
        self.who: dict[str, Any] = {"authenticated": True, "sub": "ann", "sid": None, "expires_at": self.ends}
        browser.answer(SESSION, lambda: (200, self.who) if self.is_known else (503, {"success": False}))

    def log_in(self, sub: str, hours: float) -> None:
        """A new login."""
        ends = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)).isoformat()
        self.who = self.who | {"sub": sub, "expires_at": ends}


def leave_unheard(tab: Tab, sessions: Sessions, to: str) -> None:
    """Log out while the server is away, and arrive at this page, which is without the kit."""
    tab.open(follows=sessions.is_known, redirect=to)
    back = tab.browser.away(LOGOUT)
    tab.begin("logout")
    tab.is_at(to)
    back()


@pytest.mark.parametrize(("sub", "hours"), [("bob", 1.0), ("ann", 2.0)])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_newer_login_without_a_name_of_its_own_is_left_alone(
    browser: Browser, sub: str, hours: float, *, is_known: bool
) -> None:
    """Another user's, or the same one's that ends later; and any, where the older one was not known."""
    sessions = Sessions(browser, is_known=is_known)
    browser.is_server_away = True
    tab = browser.tab()
    leave_unheard(tab, sessions, "/bare")
    assert tab.note() is not None
    tried = len(tab.posts)
    sessions.is_known = True
    sessions.log_in(sub, hours)

    tab.open()

    assert tab.note() is None
    assert len(tab.posts) == tried
    assert tab.state("known")["sub"] == sub


def test_the_same_login_without_a_name_of_its_own_is_ended(browser: Browser) -> None:
    """User and end are the same: nobody has logged in since."""
    sessions = Sessions(browser, is_known=True)
    tab = browser.tab()
    leave_unheard(tab, sessions, "/bare")
    answered: list[str] = []

    def end(route: Route) -> None:
        sessions.who = {"authenticated": False}
        answered.append(route.request.post_data or "")
        route.continue_()

    browser.context.route(LOGOUT, end)
    tab.open(redirect="/bye")
    tab.until(lambda: answered)
    tab.until(lambda: tab.note() is None)

    assert browser.user() is None


def test_old_tokens_that_go_alone_end_nothing_but_themselves(new_browser: Callable[..., Browser]) -> None:
    """Everything should have ended; what the same user logged in to since then is not meant."""
    browser = new_browser()
    tab = browser.tab().open(redirect=False, accessToken="accessToken", refreshToken="refreshToken")
    old = tab.take_tokens("zita")
    assert tab.call("session", {"fresh": True})["sub"] == "zita"
    back = browser.away(LOGOUT)
    tab.call("logout", {"scope": "global"})
    new = tab.take_tokens("zita")

    back()
    tab.online()
    tab.until(lambda: tab.state("pending") is None)

    def status(token: str) -> int:
        return browser.fetch("GET", "/me", Authorization=f"Bearer {token}")[0]

    tried = tab.posts[-1]
    assert tried.post_data_json["scope"] == "local"
    assert (tried.headers["authorization"], "cookie" in tried.all_headers()) == (f"Bearer {old['access']}", False)
    assert [status(each) for each in (*old.values(), *new.values())] == [401, 401, 200, 200]


# ---- an answer that is not the server's


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", "<h1>Sign in to the proxy</h1>"),
        (200, "application/json", '{"status": "ok"}'),
        (200, "application/json", '{"message": {"text": "ok"}}'),
        (202, "text/plain", "ok"),
    ],
)
def test_what_is_no_answer_of_ours_is_tried_again(browser: Browser, status: int, kind: str, body: str) -> None:
    """A proxy's page, or an application that answers every address: the login is alive until the server is heard."""
    browser.install_clock()
    tab = browser.tab().open()

    def answer(route: Route) -> None:
        route.fulfill(status=status, content_type=kind, body=body)

    browser.context.route(LOGOUT, answer)
    result = tab.call("logout", {"redirect": False})
    still = browser.user()
    browser.context.unroute(LOGOUT, answer)
    browser.pass_time(10)
    tab.until(lambda: browser.user() is None)

    assert (result["ok"], result["offline"], result["status"]) == (False, True, status)
    assert still == "ann"
    tab.until(lambda: tab.note() is None)


def test_204_is_an_answer_of_ours(browser: Browser) -> None:
    """It has no text to tell it by."""
    tab = browser.tab().open()
    browser.context.route(LOGOUT, lambda route: route.fulfill(status=204))

    result = tab.call("logout", {"redirect": False})

    assert (result["ok"], result["offline"], result["status"]) == (True, False, 204)
