"""A tab that is logged in, and remembers what must never happen on a page of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, Route

_WATCH = """
window.seen = {events: []};
// On the console, because what a page remembers is gone with the page.
addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`);
});
addEventListener("unhandledrejection", (event) => console.error(`rejection: ${event.reason}`));
for (const name of ["auth.logout", "auth.statusChange", "auth.sessionChange"]) {
  addEventListener(name, (event) => seen.events.push([name, event.detail?.reason ?? null]));
}
"""
# The browser itself writes this for an answer that failed, and nobody can keep it from doing so.
_BY_THE_BROWSER = "Failed to load resource"


@dataclass
class Tab:
    """One page of the application; `posts` are the logouts that it sent."""

    page: Page
    origin: str
    posts: list[Request] = field(default_factory=list)
    _troubles: list[str] = field(default_factory=list)
    _server_fails: bool = False

    def __post_init__(self) -> None:
        self.page.context.add_init_script(_WATCH)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self._troubles.append(f"error: {error}"))
        self.page.on("request", self._see)

    def _hear(self, message: ConsoleMessage) -> None:
        by_the_browser = self._server_fails and message.text.startswith(_BY_THE_BROWSER)
        if message.type == "error" and not by_the_browser:
            self._troubles.append(f"console: {message.text}")

    def _see(self, request: Request) -> None:
        if request.method == "POST" and request.url == f"{self.origin}/auth/logout":
            self.posts.append(request)

    @property
    def troubles(self) -> list[str]:
        """Script errors, unhandled rejections, console errors and violations of the policy, up to now."""
        self.page.wait_for_load_state()
        # What the page has said before it answers this has arrived here, too.
        self.page.evaluate("() => document.title")
        return self._troubles

    @property
    def events(self) -> list[list[str | None]]:
        """The events that this page heard, each with its reason."""
        return self.page.evaluate("() => seen.events")

    def log_in(self, user: str = "ann") -> None:
        """Log in by the application."""
        assert self.page.request.post(f"{self.origin}/login/{user}").status == 204

    def open(self, name: str) -> None:
        """Log in, and go to the page of this name."""
        self.log_in()
        self.page.goto(f"{self.origin}/page/{name}")
        assert self.page.locator("#who").inner_text() == "ann"

    @property
    def host(self) -> Locator:
        """The first logout button of the page, as an element."""
        return self.page.locator("logout-button").first

    @property
    def button(self) -> Locator:
        """The first logout button of the page, as what one presses."""
        return self.host.get_by_role("button").first

    @property
    def dialog(self) -> Locator:
        """The question."""
        return self.page.get_by_role("dialog")

    @property
    def focused(self) -> str:
        """The words of the element that has the focus, inside of shadow roots, too."""
        words = """() => {
          let at = document.activeElement;
          while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
          const shown = at.querySelector("slot")?.assignedNodes() ?? [];
          const text = shown.length ? shown.map(node => node.textContent).join("") : at.textContent;
          return at === document.body ? "" : text.trim() || at.localName;
        }"""
        return self.page.evaluate(words)

    def at_login(self) -> None:
        """Wait until the browser is on the login page."""
        self.page.wait_for_url(f"{self.origin}/login")

    def known(self) -> str:
        """Whom the application takes the browser for now."""
        html = self.page.request.get(f"{self.origin}/login").text()
        return html.partition('<p id="who">')[2].partition("<")[0]

    @contextmanager
    def slow_server(self) -> Iterator[Held]:
        """The logout request is on its way until `let_go`, at the latest until the end."""
        held = Held()
        self.page.route("**/auth/logout", held.take)
        try:
            yield held
        finally:
            held.let_go()
            self.page.unroute("**/auth/logout", held.take)

    def server_answers(self, status: int) -> None:
        """The server fails from now on."""
        self._server_fails = True
        body = '{"success": false}'
        self.page.route(
            "**/auth/logout", lambda route: route.fulfill(status=status, body=body, content_type="application/json")
        )

    @contextmanager
    def session_unknown(self) -> Iterator[None]:
        """Within this, the server cannot say who is logged in."""
        self._server_fails = True
        pattern = "**/auth/session"
        self.page.route(pattern, lambda route: route.fulfill(status=503, json={"success": False}))
        try:
            yield
        finally:
            self.page.unroute(pattern)

    def server_is_away(self) -> None:
        """Nothing answers from now on."""
        self._server_fails = True
        self.page.route("**/auth/**", lambda route: route.abort())


class Held:
    """Requests that are on their way."""

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._open = False

    def take(self, route: Route) -> None:
        """Keep it; after `let_go` none is kept any more."""
        if self._open:
            route.continue_()
        else:
            self._routes.append(route)

    def let_go(self) -> None:
        """Let them reach the server."""
        self._open = True
        while self._routes:
            self._routes.pop().continue_()
