"""Where a logout leads, and where it never leads."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from .visitor import LOGOUT, Browser, Tab

# A navigation is noted and not made, so that one page can try many.
_GO = """async ([redirect, search]) => {
  history.replaceState(null, "", location.pathname + search);
  let gone = null;
  navigation.addEventListener("navigate", event => {
    gone = event.destination.url;
    event.preventDefault();
  }, {once: true});
  const {logout} = await import("/auth/logout.js");
  await logout({redirect: redirect ?? undefined});
  globalThis[Symbol.for("logout-middleware")].running = null;
  return gone;
}"""


def led(tab: Tab, redirect: Any = None, search: str = "") -> str | None:
    """Where this leads; a path if it is on this site, None if the page stays."""
    gone = tab.page.evaluate(_GO, [redirect, search])
    return None if gone is None else str(gone).removeprefix(tab.browser.origin)


def test_UF_9_a_path_leads_to_the_host_of_the_button(browser: Browser) -> None:
    """From wherever on the site, whatever a base element says."""
    tab = browser.tab().open("/a/b/page")
    tab.page.evaluate(
        "() => document.head.append(Object.assign(document.createElement('base'), {href: 'https://evil.example/x/'}))"
    )

    tab.page.evaluate("url => import(url).then(kit => { window.kit = kit })", f"{browser.origin}/auth/logout.js")
    tab.page.wait_for_function("() => window.kit")
    tab.page.evaluate("() => void window.kit.logout({redirect: '/login'})")
    tab.is_at("/login")


def test_UF_10_an_absolute_address_of_the_owners_choice(browser: Browser) -> None:
    """Configured, or given by the code of the page; what only the address of the page asks for is not followed."""
    tab = browser.tab().open(redirect="https://www.example.org/bye?from=app")
    chosen = led(tab)
    given = led(tab, "https://www.example.org/other")
    asked = led(tab, True, f"?redirect={quote('https://evil.example/')}")

    assert chosen == "https://www.example.org/bye?from=app"
    assert given == "https://www.example.org/other"
    assert asked == "/login"


@pytest.mark.parametrize("way", ["logout", "configure"])
def test_nothing_leads_to_a_script_or_to_a_host_in_disguise(browser: Browser, way: str) -> None:
    """What is neither a path of this site nor spelled http(s):// leads to the login page."""
    tab = browser.tab().open()
    evil = [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        f"blob:{browser.origin}/0d5a2c4e",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "\t//evil.example",
        "https:evil.example:99999",
        "https:///\\",
        "https://",
        "file:///etc/passwd",
        "vbscript:x",
    ]

    for target in evil:
        if way == "configure":
            tab.page.evaluate("async redirect => (await import('/auth/logout.js')).configure({redirect})", target)
        led_to = led(tab, target if way == "logout" else None)
        assert led_to is not None
        # A path may have an odd spelling, but it is this site's.
        assert led_to.startswith("/"), target
        assert not led_to.startswith(("//", "/\\")), target


def test_UF_12_true_takes_the_pages_own_parameter_if_it_is_a_path(browser: Browser) -> None:
    """Else where the server says."""
    tab = browser.tab().open()
    expected = {
        "?redirect=/welcome%3Fa%3D1": "/welcome?a=1",
        "?redirect=https%3A%2F%2Fevil.example%2F": "/login",
        "?redirect=%2F%2Fevil.example": "/login",
        "?redirect=%2F%5Cevil.example": "/login",
        "?redirect=javascript%3Aalert(1)": "/login",
        "?redirect=": "/login",
        "": "/login",
    }

    assert {search: led(tab, True, search) for search in expected} == expected


def test_UF_12_true_without_parameter_and_without_an_answer_is_the_front_page(browser: Browser) -> None:
    """Nobody said where to go."""
    tab = browser.tab().open()
    browser.away(LOGOUT)

    assert led(tab, True) == "/"


@pytest.mark.parametrize("member", ["redirect_to", "redirectTo"])
def test_the_server_says_where_to_go_unless_the_page_does(browser: Browser, member: str) -> None:
    """The members of our own answer and of Userfront's."""
    browser.answer(LOGOUT, lambda: (200, {"message": "ok", member: "/bye"}))
    tab = browser.tab().open()

    first = led(tab)
    tab.page.evaluate("async () => (await import('/auth/logout.js')).configure({redirect: '/own'})")

    assert (first, led(tab), led(tab, "/this"), led(tab, False)) == ("/bye", "/own", "/this", None)


def test_the_end_of_the_providers_session_comes_before_any_other_page(browser: Browser) -> None:
    """Whoever skipped it would be logged in again by the next click on "log in"."""
    provider = "https://op.example.org/end?id_token_hint=x"
    browser.answer(LOGOUT, lambda: (200, {"message": "ok", "redirect_to": provider, "provider": True}))
    tab = browser.tab().open(redirect="/own")

    wanted = [led(tab), led(tab, "/this"), led(tab, True), led(tab, False)]

    assert wanted == [provider, provider, provider, None]


def test_only_one_tab_goes_to_the_provider(browser: Browser) -> None:
    """The others follow to the page that the application wants."""
    provider = f"{browser.origin}/bye"
    browser.answer(LOGOUT, lambda: (200, {"message": "ok", "redirect_to": provider, "provider": True}))
    one, two = (browser.tab().open(redirect="/a/b/page") for _ in range(2))

    one.begin("logout")

    one.is_at("/bye")
    two.is_at("/a/b/page")


def test_a_function_decides_by_the_result(browser: Browser) -> None:
    """What it throws leads where no function leads."""
    tab = browser.tab().open()
    tab.page.evaluate(
        """async () => {
      const {logout} = await import("/auth/logout.js");
      navigation.addEventListener("navigate", event => {
        (window.gone ??= []).push(event.destination.url);
        event.preventDefault();
      });
      for (const redirect of [({ok}) => ok ? "/good" : "/bad", () => { throw new Error("no") }]) {
        await logout({redirect});
        globalThis[Symbol.for("logout-middleware")].running = null;
      }
    }"""
    )

    gone = [each.removeprefix(browser.origin) for each in tab.page.evaluate("() => window.gone")]
    assert gone == ["/good", "/login"]
