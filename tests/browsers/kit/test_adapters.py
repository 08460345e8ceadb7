"""The kit under the names of Userfront and of SPiD's SDK."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .visitor import LOGOUT, THREE, Browser, Tab

ACCOUNT = ["access.abcdefg", "id.abcdefg", "refresh.abcdefg"]


def with_userfront(browser: Browser) -> Tab:
    """A page that uses Userfront with the account `abcdefg`, whose tokens are cookies."""
    tab = browser.tab().open()
    given = browser.tokens()
    tab.page.evaluate(
        """async ([names, access, refresh]) => {
      const values = [access, "anything", refresh];
      names.forEach((name, index) => { document.cookie = `${name}=${values[index]}; Path=/; Secure` });
      document.cookie = "theme=dark";
      const {Userfront} = await import("/auth/logout-adapters.js");
      Userfront.init("abcdefg");
      window.Userfront = Userfront;
    }""",
        [ACCOUNT, given["access"], given["refresh"]],
    )
    return tab


def cookies(browser: Browser) -> set[str]:
    """The names in the jar."""
    return {str(each["name"]) for each in browser.context.cookies()}


def test_UF_1_userfront_logout_needs_no_argument(new_browser: Callable[..., Browser]) -> None:
    """The token is dead at the server, its cookies are gone, and the login page is shown."""
    browser = new_browser()
    tab = with_userfront(browser)
    held = {str(each["name"]): str(each["value"]) for each in browser.context.cookies()}

    tab.page.evaluate("() => void window.Userfront.logout()")
    tab.is_at("/login")

    assert cookies(browser) == {"theme"}
    assert browser.fetch("GET", "/me", Authorization=f"Bearer {held['access.abcdefg']}")[0] == 401
    assert browser.fetch("GET", "/me", Authorization=f"Bearer {held['refresh.abcdefg']}")[0] == 401


@pytest.mark.parametrize(("redirect", "path"), [("false", "/page"), ("'/bye'", "/bye"), ("true", "/a/b/page")])
def test_UF_12_userfront_logout_with_redirect(new_browser: Callable[..., Browser], redirect: str, path: str) -> None:
    """False stays, a text leads there, true leads where the page's own address says."""
    browser = new_browser()
    tab = with_userfront(browser)
    tab.page.evaluate("() => history.replaceState(null, '', '/page?redirect=/a/b/page')")

    tab.page.evaluate(f"() => void window.Userfront.logout({{redirect: {redirect}}})")
    tab.until_heard("auth.logout")
    tab.is_at(path)

    assert cookies(browser) == {"theme"}


def test_UF_12_on_a_network_error_the_cookies_go_all_the_same(new_browser: Callable[..., Browser]) -> None:
    """And, unlike the original, the person goes on to the next page."""
    browser = new_browser()
    tab = with_userfront(browser)
    browser.away(LOGOUT)

    tab.page.evaluate("() => void window.Userfront.logout()")
    tab.is_at("/login")

    assert cookies(browser) == {"theme"}
    assert tab.detail()["offline"] is True


def test_SP_3_the_sdks_own_subscriptions(browser: Browser) -> None:
    """`VGS.Event.subscribe` hears the three in order, a listener once, and none after `unsubscribe`."""
    tab = browser.tab().open()

    said = tab.page.evaluate(
        """async names => {
      const {VGS} = await import("/auth/logout-adapters.js");
      VGS.init();
      const said = [];
      const listen = detail => said.push(detail.reason ?? detail.authenticated);
      const other = detail => said.push("other");
      names.forEach(name => VGS.Event.subscribe(name, listen));
      VGS.Event.subscribe(names[0], listen);
      VGS.Event.subscribe(names[0], other);
      VGS.Event.unsubscribe(names[0], other);
      VGS.Event.unsubscribe(names[0], () => {});
      await VGS.Auth.logout(result => said.push(["callback", result.ok]));
      names.forEach(name => VGS.Event.unsubscribe(name, listen));
      await VGS.Auth.logout();
      return said;
    }""",
        THREE,
    )

    assert said == ["logout", False, False, ["callback", True]]


def test_SP_5_the_sdks_logout_leaves_no_page(browser: Browser) -> None:
    """Neither here nor in the other tab that uses it."""
    tabs = [browser.tab().open(), browser.tab().open()]
    for each in tabs:
        each.page.evaluate("async () => (await import('/auth/logout-adapters.js')).VGS.init()")

    tabs[0].page.evaluate("async () => (await import('/auth/logout-adapters.js')).VGS.Auth.logout()")
    tabs[1].until_heard("auth.sessionChange")

    assert [each.page.url.partition("?")[0] for each in tabs] == [f"{browser.origin}/page"] * 2
    assert browser.user() is None
