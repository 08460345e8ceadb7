"""A browser or a page that refuses or foists something: blocked cookies, and a `<meta>` that somebody injected."""

from __future__ import annotations

import contextlib
import html
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, Route

from ..kinds import DOMAIN
from .conftest import PATIENCE_MILLISECONDS, Server
from .test_ends import HOUR, Login
from .visitor import THREE, Browser

_BLOCKED = {"profile": {"default_content_setting_values": {"cookies": 2}}}
_REFUSAL = "() => navigator.locks.request('any', () => 'granted').catch(error => error.name)"


@pytest.fixture
def without_cookies(playwright: Playwright, shared_site: Server, tmp_path: Path) -> Iterator[Browser]:
    """A browser whose owner blocks all cookies, and with them storage and locks."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed; on Debian: apt-get install chromium (or make servers)")
    (tmp_path / "Default").mkdir()
    (tmp_path / "Default" / "Preferences").write_text(json.dumps(_BLOCKED))
    context = playwright.chromium.launch_persistent_context(
        tmp_path, executable_path=program, ignore_https_errors=True,
        args=["--no-sandbox", "--disable-dev-shm-usage", f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1"],
    )  # fmt: skip
    with contextlib.closing(context):
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        browser = Browser(context, shared_site.origin)
        browser.listen()
        yield browser
        assert browser.complaints == []


def test_where_cookies_are_blocked_the_page_goes_on(without_cookies: Browser) -> None:
    """Each tab follows for itself, and asks for a lock once."""
    without_cookies.context.add_init_script(
        """if (globalThis.LockManager) {
      const {request} = LockManager.prototype;
      window.asked = 0;
      LockManager.prototype.request = function (...given) {
        window.asked++;
        return request.apply(this, given);
      };
    }"""
    )
    tab = without_cookies.tab().open()
    tab.until_connection("off")

    assert tab.page.evaluate("() => window.asked") == 1
    assert tab.page.evaluate(_REFUSAL) == "SecurityError"


def test_UM_17_where_cookies_are_blocked_an_end_is_told_once(without_cookies: Browser) -> None:
    """No lock, no note: this tab tells the server itself."""
    login = Login(without_cookies)
    login.ends("expires_at", HOUR)
    tab = without_cookies.tab().open(redirect=False, push=False)

    login.is_over()
    without_cookies.pass_time(HOUR)
    tab.until_heard("auth.sessionChange")
    without_cookies.pass_time(60)
    tab.call("session", {"fresh": True})

    assert len(tab.posts) == 1
    assert tab.names() == THREE
    assert tab.detail()["reason"] == "expired"


def given_page(browser: Browser, head: str, body: str) -> None:
    """Serve this page at `/given`, without the policy that would hide a mistake."""
    text = f"""<!doctype html><html lang="en"><head><title>Given</title>{head}
<script type="module" src="/auth/logout.js"></script></head><body><h1>Given</h1>{body}</body></html>"""

    def answer(route: Route) -> None:
        route.fulfill(status=200, content_type="text/html", body=text)

    browser.context.route("**/given*", answer)


@pytest.mark.parametrize("place", ["head", "body"])
def test_no_meta_sends_a_token_to_another_site(new_browser: Callable[..., Browser], place: str) -> None:
    """One in the body says nothing at all; one in the head says all but that."""
    browser = new_browser()
    options = {"base": "https://evil.test", "accessToken": "accessToken", "redirect": "/bye"}
    meta = f'<meta name="logout" content="{html.escape(json.dumps(options))}">'
    given_page(browser, meta if place == "head" else "", meta if place == "body" else "")
    tab = browser.tab().open("/bare", follows=False)
    tab.take_tokens()

    tab.open("/given")

    known = tab.state("options")
    assert known["base"] == f"{browser.origin}/auth"
    assert known.get("redirect") == ("/bye" if place == "head" else None)
    assert tab.state("known")["authenticated"] is (place == "head")
    assert [each.url for each in tab.requests if not each.url.startswith(f"{browser.origin}/")] == []


def test_a_meta_in_the_head_may_name_another_path_of_this_site(new_browser: Callable[..., Browser]) -> None:
    """Where the middleware has another prefix."""
    browser = new_browser()
    given_page(browser, '<meta name="logout" content=\'{"base": "/other/auth"}\'>', "")
    browser.answer("**/other/auth/session", lambda: (200, {"authenticated": False}))
    browser.context.route("**/other/auth/events", lambda route: route.fulfill(status=204))

    tab = browser.tab().open("/given")

    assert tab.state("options")["base"] == "/other/auth"
    assert tab.asked("GET", "/auth/session") == []
