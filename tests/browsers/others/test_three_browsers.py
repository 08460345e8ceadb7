"""Logging out with the browser kit, in each browser: by hand, by the clock, from elsewhere, and where things go wrong.

Each page stands under a strict CSP, and each test ends with nothing to complain of: no error, no rejection that nobody
handled, no violation of the CSP, no word on the console.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from .browser import Profile, Tab
from .conftest import NewProfile
from .site import Site

STORAGE = {
    "accessToken": "access_token", "localStorage": ["profile"], "sessionStorage": ["draft"], "cookies": ["theme"],
    "poll": 0.5,
}  # fmt: skip
"""What the kit is told of the application's storage."""
STORED = ["access_token", "draft", "language", "profile", "theme=dark"]
POST = "POST /auth/logout"
EVENTS = ["auth.logout", "auth.statusChange", "auth.sessionChange"]
_FILL = """token => {
    localStorage.setItem("access_token", token);
    localStorage.setItem("profile", "Ann");
    localStorage.setItem("language", "de");
    sessionStorage.setItem("draft", "Dear Ben");
    document.cookie = "theme=dark; path=/";
}"""
# What begins with "logout." is the kit's own, and says nothing of the user.
_LEFT = """() => [...Object.keys(localStorage), ...Object.keys(sessionStorage), document.cookie]
    .filter(each => each && !each.startsWith("logout."))"""


def log_in(site: Site, profile: Profile, *, lifetime: float = 3600, **options: Any) -> Tab:
    """Ann's tab with the application, which has stored things about her; `options` are the kit's."""
    tab = profile.tab()
    tab.go(site.entry("ann", to=site.home(**STORAGE | options), lifetime=lifetime))
    settle(tab)
    tab.evaluate(_FILL, profile.cookies(tab)["session"])
    return tab


def open_another(site: Site, profile: Profile, **options: Any) -> Tab:
    """Another tab with the application, where Ann is logged in already."""
    tab = profile.tab()
    tab.go(site.origin + site.home(**STORAGE | options))
    settle(tab)
    return tab


def settle(tab: Tab) -> None:
    """Return when the kit knows who is logged in."""
    assert tab.wait("async () => (await window.kit?.session())?.authenticated")


def left(tab: Tab) -> list[str]:
    """What of the application is still stored."""
    return sorted(str(each) for each in tab.evaluate(_LEFT))


def events(tab: Tab) -> list[str]:
    """The events of the kit in this tab, in their order."""
    return [what for what, _ in tab.notes if what in EVENTS]


def detail(tab: Tab) -> dict[str, Any]:
    """What the one `auth.logout` of this tab said."""
    (told,) = tab.told("auth.logout")
    return dict(json.loads(told))


def shown(site: Site, tab: Tab) -> str | None:
    """Whom the application greets."""
    tab.go(site.origin + site.home(push=False))
    return tab.text("#who")


def test_a_click_logs_out(site: Site, profile: Profile) -> None:
    """UM-13: the server knows, the storage is empty, the page tells it in order, and the login page is there."""
    tab = log_in(site, profile)
    before = left(tab)

    tab.click("#plain")
    tab.wait_until_at(site.login)

    assert before == STORED
    assert left(tab) == ["language"]
    assert profile.cookies(tab) == {}
    assert events(tab) == EVENTS
    assert detail(tab)["ok"] is True
    assert site.requests.count(POST) == 1
    assert tab.complaints == []
    assert shown(site, tab) == "nobody"


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_logs_out(site: Site, profile: Profile, key: str) -> None:
    """Tab finds the button, and it works like every button."""
    tab = log_in(site, profile)

    tab.press("Tab")
    focused = tab.evaluate("() => document.activeElement.id")
    tab.press(key)
    tab.wait_until_at(site.login)

    assert focused == "plain"
    assert left(tab) == ["language"]
    assert site.requests.count(POST) == 1
    assert tab.complaints == []


def test_who_says_no_stays(site: Site, profile: Profile) -> None:
    """UM-10: neither the button "no" nor Escape logs out, and the focus is where it was."""
    tab = log_in(site, profile)
    before = left(tab)

    for answer in ("click", "Escape"):
        tab.click("#asking")
        tab.wait_for("#asking >>> [part=cancel]")
        if answer == "click":
            tab.click("#asking >>> [part=cancel]")
        else:
            tab.press(answer)
        tab.wait("() => !document.querySelector('#asking').shadowRoot.querySelector('dialog[open]')")
        tab.wait("() => document.activeElement.id === 'asking'")

    assert left(tab) == before
    assert POST not in site.requests
    assert tab.complaints == []
    assert shown(site, tab) == "ann"


def test_who_says_yes_is_logged_out(site: Site, profile: Profile) -> None:
    """UM-10: it asks first, and then logs out."""
    tab = log_in(site, profile)

    tab.click("#asking")
    tab.click("#asking >>> [part=confirm]")
    tab.wait_until_at(site.login)

    assert left(tab) == ["language"]
    assert site.requests.count(POST) == 1
    assert tab.complaints == []


def test_with_the_server_away_the_browser_is_logged_out(site: Site, login_server: Site, profile: Profile) -> None:
    """UM-22, UM-28: storage empty, on the login page; and the server is told when it is back."""
    tab = log_in(site, profile, redirect=login_server.login)
    site.server.kill()

    tab.click("#plain")
    tab.wait_until_at(login_server.login)
    complaints = tab.complaints

    site.server.start()
    site.forget()
    tab.go(f"{site.origin}/elsewhere")
    remains, cookies = left(tab), set(profile.cookies(tab))
    tab.go(site.origin + site.home(**STORAGE))
    site.wait_for(POST)
    tab.wait("() => document.querySelector('#who').textContent === 'nobody'")

    assert complaints == []
    assert remains == ["language"]
    assert cookies == {"session"}
    assert shown(site, profile.tab()) == "nobody"


def test_with_the_server_away_a_page_that_stays_is_told(site: Site, profile: Profile) -> None:
    """The storage is empty, the events come, the button can be pressed again, and one warning says what is amiss."""
    tab = log_in(site, profile)
    site.server.kill()

    tab.click("#staying")
    tab.wait("() => (window.name || '').includes('auth.sessionChange')")
    tab.wait("() => !document.querySelector('#staying').hasAttribute('pending')")

    assert left(tab) == ["language"]
    assert events(tab) == EVENTS
    assert detail(tab)["ok"] is False
    assert detail(tab)["offline"] is True
    assert len(tab.told("console.warn")) <= 1
    assert tab.complaints == []


def test_while_the_server_thinks_the_button_waits(site: Site, profile: Profile) -> None:
    """UM-23, UF-3: it shows that it works, and a second click is not a second logout."""
    tab = log_in(site, profile)

    with site.holding_logouts():
        tab.click("#plain")
        site.wait_for(POST)
        busy = tab.wait("() => document.querySelector('#plain').shadowRoot.querySelector('[aria-busy=true]') && true")
        status = tab.text("#plain >>> [role=status]")
        tab.click("#plain")
        tab.click("#staying")
        stored, at = left(tab), tab.url
    tab.wait_until_at(site.login)

    assert busy is True
    assert status
    assert at.startswith(f"{site.origin}/home")
    assert stored == STORED
    assert site.requests.count(POST) == 1
    assert tab.complaints == []


def test_a_server_that_thinks_too_long_keeps_nobody(site: Site, profile: Profile) -> None:
    """After the time limit the browser is logged out without it."""
    tab = log_in(site, profile, timeout=500)

    with site.holding_logouts():
        tab.click("#plain")
        tab.wait_until_at(site.login)

    assert left(tab) == ["language"]
    assert detail(tab)["offline"] is True
    assert tab.complaints == []


def test_the_other_tab_follows(site: Site, profile: Profile) -> None:
    """It cleans up its own storage and goes to the login page; the server is asked once."""
    other = log_in(site, profile)
    tab = open_another(site, profile)

    tab.click("#plain")
    tab.wait_until_at(site.login)
    other.wait_until_at(site.login)

    assert left(other) == ["language"]
    assert events(other) == EVENTS
    assert detail(other).get("local") is not True
    assert site.requests.count(POST) == 1
    assert tab.complaints == []
    assert other.complaints == []


def test_the_other_device_follows(site: Site, new_profile: NewProfile) -> None:
    """The laptop ends the phone's session; the phone learns it from the server, and the laptop goes on."""
    laptop, phone = new_profile(), new_profile()
    here = log_in(site, laptop)
    there = log_in(site, phone)

    status = here.evaluate("""async () => {
        const { sessions } = await (await fetch("/auth/sessions")).json();
        const [other] = sessions.filter(each => !each.current);
        return (await fetch(`/auth/sessions/${other.id}`, { method: "DELETE" })).status;
    }""")
    there.wait_until_at(site.login)

    assert status == 200
    assert left(there) == ["language"]
    assert detail(there)["remote"] is True
    assert POST not in site.requests
    assert there.complaints == []
    assert here.complaints == []
    assert shown(site, here) == "ann"


def test_back_after_a_logout_shows_nothing_private(site: Site, profile: Profile) -> None:
    """A page that the browser kept alive is not shown again: its first frame is empty, and then it is gone."""
    tab = log_in(site, profile)
    tab.go(f"{site.origin}/elsewhere")
    other = open_another(site, profile)
    other.click("#plain")
    other.wait_until_at(site.login)

    tab.back()
    tab.wait("url => location.href === url || document.querySelector('#who')?.textContent === 'nobody'", site.login)

    assert tab.text("#private") is None
    assert "shown" not in tab.told("back")
    assert tab.complaints == []


def test_back_while_logged_in_shows_the_page(site: Site, profile: Profile) -> None:
    """Nothing is taken from who did not log out, nor is anybody logged out by going back."""
    tab = log_in(site, profile)
    tab.go(f"{site.origin}/elsewhere")

    tab.back()
    tab.wait("() => document.querySelector('#private')?.checkVisibility()")

    assert tab.text("#who") == "ann"
    assert events(tab) == []
    assert POST not in site.requests
    assert tab.complaints == []


def test_without_script_the_form_logs_out(site: Site, new_profile: NewProfile) -> None:
    """The button inside of the element posts a form, and the answer leads to the login page."""
    profile = new_profile(scripts=False)
    tab = profile.tab()
    tab.go(site.entry("ann", to=site.home()))
    before = tab.text("#who")

    tab.click("#plain button")
    tab.wait_until_at(site.login)

    assert before == "ann"
    assert profile.cookies(tab) == {}
    assert site.requests.count(POST) == 1
    assert "GET /page.js" not in site.requests


def test_where_the_kit_does_not_load_the_form_logs_out(site: Site, profile: Profile) -> None:
    """A module that a filter keeps away leaves the page as it is without script."""
    tab = profile.tab()
    with site.without_the_kit():
        tab.go(site.entry("ann", to=site.home()))

        tab.click("#plain button")
        tab.wait_until_at(site.login)

    assert profile.cookies(tab) == {}
    assert site.requests.count(POST) == 1
    assert all("page.js" in each or "logout" in each for each in tab.complaints)


def test_who_does_nothing_is_warned_and_logged_out(site: Site, profile: Profile) -> None:
    """UM-19: after the time without activity, and not without a word before."""
    tab = log_in(site, profile)

    tab.evaluate("() => window.kit.configure({idle: 1.5, warn: 0.5})")
    tab.wait_until_at(site.login)

    (warning,) = tab.told("auth.expiring")
    assert json.loads(warning)["reason"] == "idle"
    assert detail(tab)["reason"] == "idle"
    assert left(tab) == ["language"]
    assert site.requests.count(POST) == 1
    assert tab.complaints == []


def test_the_end_of_the_token_is_a_logout(site: Site, profile: Profile) -> None:
    """UM-17: warned before, and logged out once in each tab, whoever was first: the server, this tab or the other."""
    tabs = [profile.tab(), profile.tab()]
    for tab in tabs:
        tab.go(site.origin + site.home(**STORAGE | {"warn": 1}))
        tab.wait("() => window.kit")
    # Not before the pages are there: the time that a browser takes for them is not that of the token.
    entry = site.entry("ann", to="/login", lifetime=2)
    tabs[0].evaluate("async url => { await fetch(url); await window.kit.session({fresh: true}); }", entry)
    for tab in tabs:
        tab.wait_until_at(site.login)

    for tab in tabs:
        assert {json.loads(each)["reason"] for each in tab.told("auth.expiring")} <= {"expired"}
        assert detail(tab)["reason"] == "expired"
        assert tab.complaints == []
    assert any(tab.told("auth.expiring") for tab in tabs)
    assert site.requests.count(POST) <= 1
