"""What the tests of the kit build on: each browser does what it is told, and tells what goes wrong in a page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .browser import Browser, Profile
from .conftest import NewProfile
from .site import Site


@pytest.fixture(scope="module")
def profile(browser: Browser) -> Iterator[Profile]:
    """One for all of these tests, of which each opens a tab; a new one for each would only take time."""
    profile = browser.profile()
    yield profile
    profile.close()


def test_a_page_is_opened_read_and_clicked(site: Site, profile: Profile) -> None:
    """The mouse hits what the selector names, also inside of a shadow tree."""
    tab = profile.tab()
    tab.go(f"{site.origin}/elsewhere")
    tab.evaluate("""() => {
        const host = document.body.appendChild(document.createElement("div"));
        host.id = "host";
        const button = host.attachShadow({mode: "open"}).appendChild(document.createElement("button"));
        button.textContent = "press";
        button.onclick = event => { button.textContent = event.isTrusted ? "pressed" : "faked"; };
    }""")

    tab.click("#host >>> button")

    assert tab.text("#elsewhere") == "Elsewhere"
    assert tab.text("#host >>> button") == "pressed"
    assert tab.text("#nothing") is None
    assert tab.url == f"{site.origin}/elsewhere"


def test_keys_reach_the_page(site: Site, profile: Profile) -> None:
    """Tab goes to the first button, and the keys arrive there."""
    tab = profile.tab()
    tab.go(f"{site.origin}/elsewhere")
    tab.evaluate("""() => {
        window.keys = [];
        const button = document.body.appendChild(document.createElement("button"));
        button.textContent = "press";
        button.onkeydown = event => window.keys.push(event.key);
        button.onclick = () => window.keys.push("click");
    }""")

    tab.press("Tab", "Enter", "Space", "Escape", "x")

    # An Enter clicks when it goes down, a Space when it comes up.
    assert tab.wait("() => window.keys.at(-1) === 'x' && window.keys") == [
        "Enter", "click", " ", "click", "Escape", "x",
    ]  # fmt: skip


def test_a_script_that_fails_is_an_error_here(site: Site, profile: Profile) -> None:
    """Its message arrives; a promise is waited for; and a condition that never holds ends in time."""
    tab = profile.tab()
    tab.go(f"{site.origin}/elsewhere")

    with pytest.raises(Exception, match="on purpose"):
        tab.evaluate("async () => { throw new Error('on purpose'); }")
    with pytest.raises(Exception, match="in vain"):
        tab.wait("() => false", seconds=0.1)

    assert tab.evaluate("async ({a}) => ({twice: [a, await Promise.resolve(a)]})", {"a": "ä"}) == {"twice": ["ä", "ä"]}


def test_profiles_share_nothing_and_tabs_share_all(site: Site, new_profile: NewProfile) -> None:
    """Cookies, storage and channels end at the profile."""
    laptop, phone = new_profile(), new_profile()
    first, second, other = laptop.tab(), laptop.tab(), phone.tab()
    for tab in (first, second, other):
        tab.go(f"{site.origin}/elsewhere")
        tab.evaluate("() => { window.heard = 0; new BroadcastChannel('c').onmessage = () => { window.heard += 1; }; }")

    first.go(f"{site.origin}/enter?user=ann&to=/elsewhere")
    first.evaluate("() => { localStorage.setItem('a', 'b'); new BroadcastChannel('c').postMessage(1); }")

    second.wait("() => window.heard === 1")
    assert second.evaluate("() => localStorage.getItem('a')") == "b"
    assert set(laptop.cookies(second)) == {"session"}
    assert other.evaluate("() => [localStorage.getItem('a'), window.heard]") == [None, 0]
    assert phone.cookies(other) == {}


def test_back_goes_back(site: Site, profile: Profile) -> None:
    """A page that was left is shown again, alive: these browsers keep pages, and the kit has to reckon with that."""
    tab = profile.tab()
    tab.go(f"{site.origin}/elsewhere")
    tab.evaluate("() => { window.alive = true; }")
    tab.go(f"{site.origin}/login")

    tab.back()
    tab.wait_until_at(f"{site.origin}/elsewhere")

    assert tab.evaluate("() => window.alive") is True
    tab.wait("() => JSON.parse(window.name || '[]').some(([what]) => what === 'back')")
    assert tab.told("back") == ["shown"]


def test_what_goes_wrong_in_a_page_is_noted(site: Site, profile: Profile) -> None:
    """Also when the page is left at once; so a list without a note means that nothing went wrong."""
    tab = profile.tab()
    ways = {"throw": "error", "reject": "rejection", "console": "console.error", "csp": "csp", "load": "error"}

    for number, way in enumerate(ways):
        tab.go(f"{site.origin}/broken?{number}#{way}")
        tab.wait(
            "often => JSON.parse(window.name || '[]').filter(([, text]) => !text.includes('favicon')).length > often",
            number,
        )

    tab.go(f"{site.origin}/elsewhere")
    assert [kind for kind, text in tab.notes if "favicon" not in text] == list(ways.values())
    assert len(tab.complaints) >= len(ways)


def test_the_pages_of_the_application_are_in_order(site: Site, profile: Profile) -> None:
    """Nothing is noted of a page on which nothing goes wrong, and its style sheet was let through."""
    tab = profile.tab()

    tab.go(f"{site.origin}/login")
    tab.go(f"{site.origin}/elsewhere")

    assert tab.complaints == []
    assert tab.evaluate("() => isSecureContext") is True


def test_without_scripts_none_runs(site: Site, new_profile: NewProfile) -> None:
    """The browser's own setting keeps the page's scripts from running."""
    tab = new_profile(scripts=False).tab()

    tab.go(f"{site.origin}/broken#console")

    assert tab.notes == []
    assert "GET /broken.js" not in site.requests
    assert "GET /broken" in site.requests
