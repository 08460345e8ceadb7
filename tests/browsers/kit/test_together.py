"""Other tabs, other devices, and how the server is followed."""

from __future__ import annotations

import time
from collections.abc import Callable

from playwright.sync_api import Route

from .conftest import Server
from .visitor import EVENTS, LOGOUT, THREE, Browser


def end_from(device: Browser) -> int:
    """From this device, end the other session of the same user; the status."""
    _, listed = device.fetch("GET", "/auth/sessions")
    others = [each["id"] for each in listed["sessions"] if not each["current"]]
    assert len(others) == 1
    return device.fetch("DELETE", f"/auth/sessions/{others[0]}")[0]


def two_devices(new_browser: Callable[..., Browser], user: str) -> tuple[Browser, Browser]:
    """A laptop and a phone of one user, both seen by the server."""
    laptop, phone = new_browser(), new_browser()
    for each in (laptop, phone):
        each.log_in(user)
        assert each.user() == each.user() == user  # the second answer has the session's lasting name
    return laptop, phone


def test_the_other_tab_follows_without_a_request(browser: Browser) -> None:
    """It cleans up its own storage, is told once, and goes to the same page."""
    one, two = (browser.tab().open(sessionStorage=["draft"]) for _ in range(2))
    two.page.evaluate("() => sessionStorage.setItem('draft', 'text')")

    one.begin("logout", {"redirect": "/bye"})
    one.is_at("/bye")
    two.is_at("/bye")

    assert (one.names(), two.names()) == (THREE, THREE)
    assert (one.detail()["local"], two.detail()["local"]) == (True, False)
    assert (len(one.posts), len(two.posts)) == (1, 0)
    assert two.stored() == []


def test_a_tab_that_is_out_and_shows_the_login_page_is_left_in_peace(new_browser: Callable[..., Browser]) -> None:
    """Nobody's half-typed password is taken away by a second logout."""
    browser = new_browser()
    one, two = browser.tab().open(), browser.tab().open("/login")
    loads = len(two.asked("GET", "/auth/logout.js"))

    one.begin("logout")
    one.is_at("/login")
    two.until_heard("auth.sessionChange")

    assert len(two.asked("GET", "/auth/logout.js")) == loads


def test_a_private_page_at_the_address_of_the_redirect_is_loaded_anew(browser: Browser) -> None:
    """It looks like the page to go to, and still shows what was private."""
    one, two = browser.tab().open(redirect="/bye"), browser.tab().open("/bye", redirect="/bye")
    loads = len(two.asked("GET", "/auth/logout.js"))

    one.begin("logout")
    one.is_at("/bye")

    two.until(lambda: len(two.asked("GET", "/auth/logout.js")) == loads + 1)


def test_the_others_are_ended_and_this_browser_stays(new_browser: Callable[..., Browser]) -> None:
    """`scope: "others"`: nothing is cleared, nobody is told, and no page is left."""
    laptop, phone = two_devices(new_browser, "thea")
    tab, other = (laptop.tab().open(localStorage=["cart"]) for _ in range(2))
    tab.store(cart="one")

    result = tab.call("logout", {"scope": "others"})

    assert (result["ok"], result["offline"], result["status"]) == (True, False, 200)
    assert phone.user() is None
    assert (tab.stored(), tab.note(), tab.names(), other.names()) == (["cart"], None, [], [])
    assert tab.state("known")["sub"] == "thea"
    assert tab.page.url.startswith(f"{laptop.origin}/page")


def test_ending_the_others_keeps_nobody_from_logging_out(browser: Browser) -> None:
    """Nor is it a logout that is made up for, where the server is away."""
    tab = browser.tab().open(redirect=False)
    back = browser.away(LOGOUT)
    others = tab.call("logout", {"scope": "others"})
    back()

    tab.page.evaluate(
        """async () => {
      const {logout} = await import("/auth/logout.js");
      await Promise.all([logout({scope: "others"}), logout()]);
    }"""
    )

    assert (others["ok"], others["offline"]) == (False, True)
    assert [each.post_data_json.get("scope") for each in tab.posts] == ["others", "others", "others", None]
    assert tab.names() == THREE


def test_a_listener_can_keep_the_page(browser: Browser) -> None:
    """`preventDefault()` on the event, in this tab."""
    tab = browser.tab().open()
    tab.page.evaluate("() => addEventListener('auth.logout', event => event.preventDefault())")

    tab.call("logout")

    assert tab.page.url.startswith(f"{browser.origin}/page")
    assert browser.user() is None


def test_a_login_in_one_tab_is_known_in_the_other(new_browser: Callable[..., Browser]) -> None:
    """The page that showed "log in" can change."""
    browser = new_browser()
    waiting = browser.tab().open()
    browser.log_in("ann")

    browser.tab().open()

    assert waiting.until_heard("auth.statusChange")["authenticated"] is True
    assert waiting.until_heard("auth.sessionChange")["sub"] == "ann"
    waiting.until_connection("live")


def test_another_device_ends_this_session(new_browser: Callable[..., Browser]) -> None:
    """`DELETE /auth/sessions/{id}` on the phone: the laptop's page is told and leaves."""
    laptop, phone = two_devices(new_browser, "uma")
    tab = laptop.tab().open()
    tab.until_connection("live")

    status = end_from(phone)
    tab.is_at("/login")

    assert status == 200
    assert tab.names() == THREE
    assert (tab.detail()["remote"], tab.detail()["reason"], tab.posts) == (True, "session_ended", [])
    assert phone.user() == "uma"


def test_another_worker_ends_this_session(
    start_site: Callable[..., Server], new_browser: Callable[..., Browser], shared_site: Server
) -> None:
    """The logout comes to a second process, which shares nothing but the store; the page knows in under a second."""
    second = start_site(shared_site.folder.parent)
    laptop, phone = new_browser(), new_browser(second)
    for each in (laptop, phone):
        each.log_in("vera")
    tab = laptop.tab().open()
    tab.until_connection("live")
    tab.page.evaluate("() => addEventListener('auth.logout', () => sessionStorage.setItem('at', Date.now()))")

    phone.fetch("POST", "/auth/logout", {"scope": "global"})
    answered_at = time.time()
    tab.is_at("/login")
    changed_at = int(tab.page.evaluate("() => sessionStorage.getItem('at')")) / 1000

    assert changed_at - answered_at < 1
    assert tab.names() == THREE
    assert tab.detail()["remote"] is True


def test_a_token_page_is_pushed_to_as_well(new_browser: Callable[..., Browser]) -> None:
    """Without any cookie: the stream carries the token."""
    browser = new_browser()
    tab = browser.tab().open("/bare", follows=False)
    access = tab.take_tokens("wim")["access"]
    tab.open(accessToken="accessToken")
    tab.until_connection("live")

    browser.fetch("POST", "/auth/logout", {}, Authorization=f"Bearer {access}")
    tab.is_at("/login")

    assert tab.stored() == ["refreshToken"]
    assert tab.detail()["remote"] is True


def test_without_push_it_polls_and_returns_to_push(new_browser: Callable[..., Browser]) -> None:
    """No stream for a live login (as under WSGI): a question every few seconds, and a new try after a minute."""
    laptop, phone = two_devices(new_browser, "xia")
    laptop.install_clock()
    refusals: list[int] = []

    def refuse(route: Route) -> None:
        refusals.append(1)
        route.fulfill(status=204)

    laptop.context.route(EVENTS, refuse)
    # No time limit that ends in the minute by which the clock is moved: a question may be on its way just then.
    tab = laptop.tab().open(poll=5, redirect=False, timeout=120_000)
    tab.until_connection("polling")
    asked = len(tab.asked("GET", "/auth/session"))
    laptop.pass_time(7)
    tab.until(lambda: len(tab.asked("GET", "/auth/session")) > asked)
    tries = len(refusals)

    laptop.context.unroute(EVENTS, refuse)
    laptop.pass_time(61)
    tab.until_connection("live")

    assert tries == 1
    assert end_from(phone) == 200
    assert tab.until_heard("auth.logout")["remote"] is True
    said = [detail["connection"] for name, detail in tab.heard if name == "auth.connectionChange"]
    assert said[:2] == ["polling", "live"]


def test_polling_notices_the_end(new_browser: Callable[..., Browser]) -> None:
    """`push: false`: the next question tells."""
    laptop, phone = two_devices(new_browser, "yan")
    laptop.install_clock()
    tab = laptop.tab().open(push=False, redirect=False)
    tab.until_connection("polling")

    assert end_from(phone) == 200
    laptop.pass_time(7)

    assert tab.until_heard("auth.sessionChange") == {"authenticated": False}
    assert tab.detail()["remote"] is True
    assert tab.names() == THREE
    assert tab.asked("GET", "/auth/events") == []


def test_ten_tabs_hold_one_stream_and_another_takes_over(new_browser: Callable[..., Browser]) -> None:
    """Counted at the server; the leader is closed, and the rest still follow."""
    laptop, phone = two_devices(new_browser, "zoe")
    before = phone.counts().get("open GET /auth/events", 0)
    tabs = [laptop.tab().open(redirect=False) for _ in range(10)]
    for each in tabs:
        each.until_connection("live")

    def open_streams() -> int:
        return phone.counts()["open GET /auth/events"] - before

    assert open_streams() == 1
    leader = next(each for each in tabs if each.asked("GET", "/auth/events"))
    rest = [each for each in tabs if each is not leader]
    leader.page.close()
    rest[0].until(lambda: any(each.asked("GET", "/auth/events") for each in rest) and open_streams() == 1)

    assert end_from(phone) == 200
    for each in rest:
        assert each.until_heard("auth.logout")["reason"] == "session_ended"
    assert sum(len(each.asked("GET", "/auth/events")) for each in rest) >= 1
    assert sum(len(each.posts) for each in tabs) == 0


def test_no_events_endpoint_no_polling_for_nobody(new_browser: Callable[..., Browser]) -> None:
    """Where nobody is logged in nothing is asked again and again."""
    browser = new_browser()
    browser.install_clock()
    tab = browser.tab().open()
    tab.until(lambda: tab.asked("GET", "/auth/events"))
    tab.asked("GET", "/auth/events")[0].response()
    tab.until_connection("off")
    asked = len(tab.requests)

    browser.pass_time(3600)
    tab.page.evaluate("() => fetch('/me')")

    assert len(tab.requests) == asked + 1
