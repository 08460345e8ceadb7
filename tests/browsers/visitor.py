"""A person with a browser in front of one application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import BrowserContext, Page

from .kinds import BASE, Kind
from .served import HOME, LOGIN


@dataclass
class Visitor:
    """Somebody's browser profile, with one tab open; `tab()` opens more."""

    context: BrowserContext
    page: Page
    origin: str
    kind: Kind

    def tab(self) -> Visitor:
        """Another tab of the same browser."""
        return Visitor(self.context, self.context.new_page(), self.origin, self.kind)

    def at(self, origin: str) -> Visitor:
        """The same tab, going to another origin from now on."""
        return Visitor(self.context, self.page, origin, self.kind)

    def go(self, path: str) -> None:
        """Type an address."""
        self.page.goto(self.origin + path)

    def log_in(self, user: str) -> None:
        """Log in by the form of the application."""
        self.go(LOGIN)
        self.page.fill("input[name=user]", user)
        self.page.click("#log-in")
        self.page.wait_for_url(self.origin + HOME)
        assert self.shown() == user

    def shown(self) -> str:
        """Whom the page on the screen greets; empty where it greets nobody at all."""
        greeted = self.page.locator("#who")
        return greeted.inner_text() if greeted.count() else ""

    def seen_by_application(self) -> str:
        """Whom the application takes the browser for."""
        self.go(HOME)
        return self.shown()

    def back(self) -> None:
        """Press the back button."""
        # A page out of the back/forward cache has loaded long ago, so there is no load to wait for.
        self.page.go_back(wait_until="commit")
        self.page.wait_for_selector("#who")

    @property
    def login_cookies(self) -> set[str]:
        """The names of the cookies in the jar that carry a login, of any host, path and partition."""
        return {str(each["name"]) for each in self.jar() if self.kind.holds(str(each["name"]))}

    def jar(self) -> list[dict[str, Any]]:
        """Every cookie of the browser."""
        return [dict(each) for each in self.context.cookies()]

    def put_in(self, cookies: list[dict[str, Any]]) -> None:
        """Put copies of cookies into this browser."""
        self.context.add_cookies(cookies)

    # ---- the doors -----------------------------------------------------------------------------------

    def log_out_by_form(self) -> None:
        """Press the button, which posts a form."""
        self.page.click("#log-out")
        self.page.wait_for_url(self.origin + LOGIN)

    def log_out_by_link(self) -> None:
        """Click the link, which is a GET."""
        self.page.click("#leave")
        self.page.wait_for_url(self.origin + LOGIN)

    def log_out_by_fetch(self) -> None:
        """The page's own script sends the logout."""
        asked = "async (path) => (await fetch(path, {method: 'POST'})).status"
        assert self.page.evaluate(asked, f"{self.kind.prefix}/logout") == 200

    def log_out_everywhere(self) -> None:
        """The page's own script asks for the end of all of the user's logins."""
        asked = "async (path) => (await fetch(path, {method: 'POST'})).status"
        assert self.page.evaluate(asked, f"{self.kind.prefix}/logout/all") == 200

    def log_out_by_application(self) -> None:
        """The application's own logout, which deletes the cookie as its framework does."""
        self.page.click("#own-logout")
        self.page.wait_for_url(self.origin + LOGIN)

    # ---- a slow request ------------------------------------------------------------------------------

    def begin_slow_request(self, key: str) -> None:
        """A script asks for something that takes long."""
        self.page.evaluate("path => { window.late = fetch(path).then(answer => answer.status); }", f"{BASE}/slow/{key}")

    def end_of_slow_request(self) -> Any:
        """Wait for it; its status."""
        return self.page.evaluate("() => window.late")


DOORS: dict[str, Callable[[Visitor], None]] = {
    "form": Visitor.log_out_by_form,
    "fetch": Visitor.log_out_by_fetch,
    "link": Visitor.log_out_by_link,
}
