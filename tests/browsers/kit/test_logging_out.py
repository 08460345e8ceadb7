"""`logout()`: what the server, the page and the person see of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route

from .visitor import LOGOUT, SESSION, THREE, Browser

STAYS = {"redirect": False}


def test_SP_1_a_page_combines_the_sdk_the_redirect_and_the_api(new_browser: Callable[..., Browser]) -> None:
    """The script logs one browser out, the address the next, and the API a token."""
    first, second, third = new_browser(), new_browser(), new_browser()
    for each in (first, second):
        each.log_in()
    by_script, by_address, by_api = (each.tab().open() for each in (first, second, third))
    access = by_api.take_tokens()["access"]

    by_script.call("logout", STAYS)
    by_address.page.evaluate("() => { location.href = '/auth/logout' }")
    by_address.page.click("button")
    by_address.is_at("/login")
    _, answer = third.fetch("POST", "/auth/logout", {}, Authorization=f"Bearer {access}")

    assert (first.user(), second.user()) == (None, None)
    assert answer["revoked"]["tokens"] == 1


def test_SP_3_three_events_in_this_order_after_the_answer(browser: Browser) -> None:
    """Not before the server answered, and each once."""
    tab = browser.tab().open()
    held: list[Route] = []
    browser.context.route(LOGOUT, lambda route: held.append(route))

    tab.begin("logout", STAYS)
    tab.until(lambda: held)
    before = tab.names()
    held[0].continue_()
    tab.until_heard("auth.sessionChange")

    assert before == []
    assert tab.names() == THREE


def test_SP_4_the_event_carries_what_the_application_needs(browser: Browser) -> None:
    """Who was logged in, why it ended, and what the server did."""
    tab = browser.tab().open()

    result = tab.call("logout", {"redirect": False, "reason": "lunch"})
    detail = tab.until_heard("auth.logout")

    assert (detail["reason"], detail["local"], detail["session"]["sub"]) == ("lunch", True, "ann")
    assert detail["session"]["sid"]
    assert {key: detail[key] for key in result if result[key] is not None} | {"provider": None} == result
    assert (result["ok"], result["pending"], result["offline"], result["status"]) == (True, False, False, 200)
    assert result["revoked"]["sessions"] == 1
    assert tab.detail("auth.statusChange") == tab.detail("auth.sessionChange") == {"authenticated": False}


def test_SP_5_no_redirect_of_the_browser_is_needed(browser: Browser) -> None:
    """With `redirect: false` the page stays, and the login is over."""
    tab = browser.tab().open()

    tab.call("logout", STAYS)

    assert tab.page.url.startswith(f"{browser.origin}/page")
    assert browser.user() is None


def test_SP_17_after_the_redirect_logout_the_sdk_finds_nobody_and_after_the_sdk_the_redirect_works(
    browser: Browser,
) -> None:
    """Both in either order are no error."""
    tab = browser.tab().open()
    tab.call("logout", STAYS)

    tab.page.goto(f"{browser.origin}/auth/logout?redirect_uri=/login")
    tab.page.goto(f"{browser.origin}/page")
    again = tab.call("logout", STAYS)

    assert again["ok"] is True
    assert again["revoked"] == {"tokens": 0, "sessions": 0, "connections": 0}


def test_UM_13_revoked_then_cleared_then_redirected(browser: Browser) -> None:
    """The click, the server, the storage, the login page: in this order."""
    tab = browser.tab().open(localStorage=["cart"], accessToken="accessToken", refreshToken="refreshToken")
    tab.take_tokens()
    tab.store(cart="one")
    order: list[Any] = []

    def post(route: Route) -> None:
        order.append(("posted", route.request.post_data_json["refreshToken"] is not None, tab.stored()))
        route.continue_()

    browser.context.route(LOGOUT, post)
    tab.page.evaluate("() => addEventListener('auth.logout', () => document.title = Object.keys(localStorage))")
    browser.context.route("**/login?*", lambda route: route.continue_())

    tab.call("logout")
    tab.is_at("/login")

    assert order == [("posted", True, ["accessToken", "cart", "refreshToken"])]
    assert tab.names() == THREE
    assert tab.stored() == []


def test_UM_21_all_local_tokens_and_user_data_are_cleared(browser: Browser) -> None:
    """What was named goes, from both storages and the cookies; the rest of the site stays."""
    options = {
        "localStorage": ["cart"],
        "sessionStorage": ["draft"],
        "cookies": ["id.abc"],
        "accessToken": "accessToken",
    }
    tab = browser.tab().open("/a/b/page", **options)
    tab.store(accessToken="none", cart="one", theme="dark")
    tab.page.evaluate("() => Object.assign(sessionStorage, {draft: 'text', scroll: '7'})")
    domain = "example.test"
    tab.page.evaluate(
        """domain => {
      for (const place of ["Path=/", "Path=/a", "Path=/a/b/", `Path=/; Domain=${domain}`, "Path=/; Secure"])
        document.cookie = `id.abc=1; ${place}`;
      document.cookie = "id.abc=1; Path=/; Secure; SameSite=None; Partitioned";
      document.cookie = "lang=en; Path=/";
    }""",
        domain,
    )
    assert "id.abc" in tab.page.evaluate("document.cookie")

    tab.call("logout", STAYS)

    assert tab.stored() == ["scroll", "theme"]
    assert tab.page.evaluate("document.cookie") == "lang=en"
    assert [each["name"] for each in browser.context.cookies()] == ["lang"]


def test_UM_21_a_key_with_an_odd_name_is_left_alone(browser: Browser) -> None:
    """No token is named, so no key of that name is meant."""
    tab = browser.tab().open()
    tab.store(undefined="kept", null="kept")

    tab.call("logout", STAYS)

    assert tab.stored() == ["null", "undefined"]


def test_CB_13_the_recommended_logout_in_order(browser: Browser) -> None:
    """Call the endpoint with the refresh token, go on if it fails, clear both tokens and the session storage, go."""
    tab = browser.tab().open(accessToken="accessToken", refreshToken="refreshToken", sessionStorage="*")
    refresh = tab.take_tokens()["refresh"]
    tab.page.evaluate("() => sessionStorage.setItem('draft', 'text')")
    browser.away(LOGOUT)
    warnings: list[str] = []
    tab.page.on("console", lambda message: warnings.append(message.type))

    tab.begin("logout")
    tab.is_at("/login")

    assert [each.post_data_json.get("refreshToken") for each in tab.posts[:2]] == [refresh, refresh]
    assert warnings.count("warning") == 1
    assert tab.stored() == []


def test_a_refresh_token_ends_at_the_server_and_a_bearer_needs_no_cookie(new_browser: Callable[..., Browser]) -> None:
    """Both tokens are refused afterwards."""
    browser = new_browser()
    tab = browser.tab().open(accessToken="accessToken", refreshToken="refreshToken")
    given = tab.take_tokens()

    result = tab.call("logout", STAYS)

    assert result["revoked"]["tokens"] == 2
    for token in given.values():
        assert browser.fetch("GET", "/me", Authorization=f"Bearer {token}")[0] == 401


def test_a_token_may_come_from_a_function(new_browser: Callable[..., Browser]) -> None:
    """One that never answers, or throws, does not stop the logout."""
    tab = new_browser().tab().open()
    access = tab.take_tokens()["access"]
    script = """async access => {
      const kit = await import("/auth/logout.js");
      kit.configure({redirect: false, timeout: 300, accessToken: async () => access});
      const good = await kit.logout();
      kit.configure({accessToken: () => { throw new Error("no token") }, refreshToken: () => new Promise(() => {})});
      return [good.revoked.tokens, (await kit.logout()).ok];
    }"""

    assert tab.page.evaluate(script, access) == [1, True]


def test_two_calls_are_one_request(browser: Browser) -> None:
    """Whoever presses twice gets the same answer."""
    tab = browser.tab().open(redirect=False)

    same = tab.page.evaluate(
        """async () => {
      const {logout} = await import("/auth/logout.js");
      const [one, two] = [logout(), logout({scope: "global"})];
      return one === two && (await one) === (await two);
    }"""
    )

    assert same is True
    assert len(tab.posts) == 1
    assert tab.names() == THREE


def test_a_refusal_is_told_and_the_browser_is_clean_all_the_same(browser: Browser) -> None:
    """`ok` is false, with the status; nothing is tried again."""
    tab = browser.tab().open(localStorage=["cart"])
    browser.is_server_away = True
    warnings: list[str] = []
    tab.page.on("console", lambda message: warnings.append(message.text) if message.type == "warning" else None)
    statuses = [400, 401, 403]
    browser.answer(LOGOUT, lambda: (statuses[len(tab.posts) - 1], {"success": False}))

    for status in statuses:
        tab.store(cart="one")
        result = tab.call("logout", STAYS)
        assert (result["ok"], result["offline"], result["status"]) == (False, False, status)
        assert tab.stored() == []

    assert len(tab.posts) == 3
    assert tab.note() is None
    assert warnings == [
        f"The server refused the logout ({status}); the login may still be alive." for status in statuses
    ]


@pytest.mark.parametrize("authenticated", [True, False])
def test_over_the_limit_the_session_says_if_it_worked(browser: Browser, *, authenticated: bool) -> None:
    """429 ends a login that the server can verify; then it is a logout like any other."""
    tab = browser.tab().open()
    browser.is_server_away = True
    browser.answer(LOGOUT, lambda: (429, {"success": False}))
    browser.answer(SESSION, lambda: (200, {"authenticated": authenticated}))

    result = tab.call("logout", STAYS)

    assert (result["ok"], result["status"]) == (not authenticated, 429)


def test_over_the_limit_without_a_known_login_nothing_shows_that_it_worked(new_browser: Callable[..., Browser]) -> None:
    """Who was not seen logged in before is not logged out because the session says so."""
    browser = new_browser()
    tab = browser.tab().open()
    browser.is_server_away = True
    browser.answer(LOGOUT, lambda: (429, {"success": False}))

    result = tab.call("logout", STAYS)

    assert (result["ok"], result["status"]) == (False, 429)


def test_202_is_pending(browser: Browser) -> None:
    """In the journal of one host."""
    tab = browser.tab().open()
    browser.answer(LOGOUT, lambda: (202, {"success": True, "message": "Noted.", "status": "pending"}))

    result = tab.call("logout", STAYS)

    assert (result["ok"], result["pending"], result["offline"]) == (True, True, False)


def test_scope_and_everywhere(new_browser: Callable[..., Browser]) -> None:
    """`scope: "global"` ends the user's other devices."""
    laptop, phone = new_browser(), new_browser()
    laptop.log_in()
    phone.log_in()
    tab = laptop.tab().open()

    tab.call("logout", {"redirect": False, "scope": "global"})

    assert phone.user() is None


def test_on_logout_until_unsubscribed(browser: Browser) -> None:
    """The listener gets the detail."""
    tab = browser.tab().open(redirect=False)

    said = tab.page.evaluate(
        """async () => {
      const {logout, onLogout} = await import("/auth/logout.js");
      const said = [];
      const unsubscribe = onLogout(({reason}) => said.push(reason));
      await logout({reason: "one"});
      unsubscribe();
      await logout({reason: "two"});
      return said;
    }"""
    )

    assert said == ["one"]


def test_loaded_under_two_names_it_is_one(browser: Browser) -> None:
    """The plain and the immutable address on one page: one state, one stream, one request."""
    tab = browser.tab().open(redirect=False)
    _, configuration = browser.fetch("GET", "/.well-known/logout-configuration")
    lasting = configuration["browser_kit"]["logout.js"]["url"]

    same = tab.page.evaluate(
        """async lasting => {
      const [plain, other] = [await import("/auth/logout.js"), await import(lasting)];
      return plain !== other && plain.logout === other.logout && plain.connection === other.connection;
    }""",
        lasting,
    )

    assert same is True


# ---- asking first


def test_confirmed_by_the_built_in_dialog(browser: Browser) -> None:
    """The question is modal, has a name, gives the focus back, and no is no."""
    tab = browser.tab().open(redirect=False, texts={"question": "Leave?", "yes": "Yes", "no": "No"})
    tab.page.focus("#focused")
    tab.page.evaluate(
        "() => { import('/auth/logout.js').then(async kit => { window.said = await kit.confirmLogout() }) }"
    )
    tab.page.get_by_role("dialog", name="Leave?").wait_for()

    tab.page.get_by_role("button", name="No").click()
    tab.page.wait_for_function("() => window.said === null")

    assert tab.page.evaluate("document.activeElement.id") == "focused"
    assert tab.page.locator("dialog").count() == 0
    assert browser.user() == "ann"

    tab.page.evaluate(
        "() => { import('/auth/logout.js').then(async kit => { window.said = await kit.confirmLogout() }) }"
    )
    tab.page.get_by_role("button", name="Yes").click()
    tab.page.wait_for_function("() => window.said?.ok")
    assert browser.user() is None


def test_whoever_does_not_say_yes_stays(browser: Browser) -> None:
    """Also if the page's own question fails."""
    tab = browser.tab().open(redirect=False)

    for answer in ("() => false", "async () => false", "() => { throw 1 }", "() => Promise.reject(1)"):
        script = f"async () => (await import('/auth/logout.js')).confirmLogout({{confirm: {answer}}})"
        assert tab.page.evaluate(script) is None

    assert tab.posts == []


def test_escape_is_no(browser: Browser) -> None:
    """The dialog closes by the keyboard."""
    tab = browser.tab().open()
    tab.page.evaluate(
        "() => { import('/auth/logout.js').then(async kit => { window.said = await kit.confirmLogout() }) }"
    )
    tab.page.locator("dialog[open]").wait_for()

    tab.page.keyboard.press("Escape")
    tab.page.wait_for_function("() => window.said === null")

    assert tab.posts == []
