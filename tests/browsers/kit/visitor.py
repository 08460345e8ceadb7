"""Somebody's browser in front of the site of these tests, and what was seen and heard in it."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote

from playwright.sync_api import BrowserContext, ConsoleMessage, Error, Page, Request, Route

from tests.services import HOST

# Every event of the kit, and what no handler caught.
_LISTEN = """
for (const name of ["logout", "statusChange", "sessionChange", "expiring", "connectionChange"])
  addEventListener(`auth.${name}`, ({type, detail}) => heard(type, JSON.parse(JSON.stringify(detail ?? null))));
addEventListener("pageshow", ({persisted}) => heard("pageshow", persisted));
addEventListener("unhandledrejection", ({reason}) => heard("unhandledrejection", String(reason)));
"""
_NETWORK = "Failed to load resource"
LOGOUT = "**/auth/logout"
SESSION = "**/auth/session"
EVENTS = "**/auth/events"
THREE = ["auth.logout", "auth.statusChange", "auth.sessionChange"]


@dataclass
class Browser:
    """A browser profile. `complaints`: what it must never have; `is_server_away`: lines about the network may come."""

    context: BrowserContext
    origin: str
    complaints: list[str] = field(default_factory=list)
    is_server_away: bool = False

    def listen(self) -> None:
        """Hear what every page of it says."""
        self.context.add_init_script(_LISTEN)
        self.context.on("console", self._console)
        self.context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))

    def _console(self, message: ConsoleMessage) -> None:
        is_of_network = message.text.startswith(_NETWORK)
        if message.type == "error" and not (self.is_server_away and is_of_network):
            self.complaints.append(f"console: {message.text}")

    def tab(self) -> Tab:
        """A new tab."""
        tab = Tab(self, self.context.new_page())
        tab.page.expose_function("heard", tab.hear)
        tab.page.on("request", tab.note_request)
        return tab

    def fetch(self, method: str, path: str, data: Any = None, **headers: str) -> tuple[int, Any]:
        """The status and the JSON of an answer to this browser's cookies, without a page; its cookies are kept."""
        held = "; ".join(f"{each['name']}={each['value']}" for each in self.context.cookies(self.origin + path))
        host = self.origin.removeprefix("https://")
        fields = {"Host": host, "Cookie": held, "Content-Type": "application/json", **headers}
        port = int(host.rpartition(":")[2])
        connection = HTTPSConnection(HOST, port, context=ssl._create_unverified_context(), timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, None if data is None else json.dumps(data), fields)
            answer = connection.getresponse()
            set_cookie, body = answer.headers.get_all("Set-Cookie") or [], answer.read()
        for each in SimpleCookie("; ".join(line.partition(";")[0] for line in set_cookie)).values():
            if each.value not in ("", "null"):
                cookie = {"name": each.key, "value": each.value, "url": self.origin, "httpOnly": True, "secure": True}
                self.context.add_cookies([cookie])  # type: ignore[list-item]
        return answer.status, json.loads(body) if body.startswith(b"{") else None

    def log_in(self, user: str = "ann") -> None:
        """Log in by cookie."""
        assert self.fetch("POST", "/login", {"user": user})[0] == 200

    def tokens(self, user: str = "ann", life: float = 3600, sid: str | None = None) -> dict[str, str]:
        """Log in by token, or get new ones for this session."""
        return dict(self.fetch("POST", "/tokens", {"user": user, "life": life, "sid": sid})[1])

    def user(self) -> str | None:
        """Whom the application sees by the cookies of this browser."""
        return str(self.fetch("GET", "/me")[1]["user"] or "") or None

    def counts(self) -> dict[str, int]:
        """What came to the server so far, from anybody."""
        return dict(self.fetch("GET", "/counts")[1])

    def away(self, pattern: str = "**/auth/{logout,session,events}") -> Callable[[], None]:
        """From now on the server is not reached; returns what brings it back."""
        self.is_server_away = True

        def refuse(route: Route) -> None:
            route.abort("connectionrefused")

        self.context.route(pattern, refuse)
        return lambda: self.context.unroute(pattern, refuse)

    def install_clock(self) -> None:
        """From now on all its pages have a clock that can be moved."""
        self.context.clock.install()

    def pass_time(self, seconds: float) -> None:
        """Move it, and run what is due."""
        self.context.clock.fast_forward(round(seconds * 1000))

    def answer(self, pattern: str, answer: Callable[[], tuple[int, Any]]) -> None:
        """Answer these requests instead of the server."""

        def fulfill(route: Route) -> None:
            status, members = answer()
            route.fulfill(status=status, content_type="application/json", body=json.dumps(members))

        self.context.route(pattern, fulfill)


@dataclass
class Tab:
    """One tab. `heard`: the kit's events as (name, detail); `posts`: the logouts that it sent."""

    browser: Browser
    page: Page
    heard: list[tuple[str, Any]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def hear(self, name: str, detail: Any) -> None:
        """An event came."""
        if name == "unhandledrejection":
            self.browser.complaints.append(f"unhandled rejection: {detail}")
        self.heard.append((name, detail))

    def note_request(self, request: Request) -> None:
        """The page asked for something."""
        self.requests.append(request)

    def asked(self, method: str, path: str) -> list[Request]:
        """Its requests of this kind so far."""
        url = self.browser.origin + path
        return [each for each in self.requests if each.method == method and each.url == url]

    @property
    def posts(self) -> list[Request]:
        """The logouts that it sent."""
        return self.asked("POST", "/auth/logout")

    def names(self) -> list[str]:
        """The events of a logout that were heard, in order."""
        return [name for name, _ in self.heard if name in THREE]

    def detail(self, name: str = "auth.logout") -> Any:
        """What the last event of this name said."""
        return next(detail for each, detail in reversed(self.heard) if each == name)

    def open(self, path: str = "/page", *, follows: bool = True, **options: Any) -> Tab:
        """Open a page with these options of the kit. `follows`: wait until it knows how it follows the server."""
        self.page.goto(f"{self.browser.origin}{path}?options={quote(json.dumps(options))}")
        if follows:
            self.until_knows()
        return self

    def until_knows(self) -> None:
        """Return when the kit knows whether this browser is logged in."""
        self.page.wait_for_function("() => 'authenticated' in globalThis[Symbol.for('logout-middleware')].known")

    def until_knows_or_pending(self) -> None:
        """Return when the kit follows, or has something to try again first."""
        self.page.wait_for_function("() => globalThis[Symbol.for('logout-middleware')].retry")

    def until_connection(self, wanted: str) -> None:
        """Return when the server is followed like this."""
        now = "wanted => globalThis[Symbol.for('logout-middleware')].connection === wanted"
        self.page.wait_for_function(now, arg=wanted)

    def until_heard(self, name: str, times: int = 1) -> Any:
        """Return what the event says when it came so often."""
        self.until(lambda: len([each for each, _ in self.heard if each == name]) >= times)
        return self.detail(name)

    def until(self, is_so: Callable[[], Any]) -> None:
        """Return when it is so; the browser goes on meanwhile, to another page, too."""
        for _ in range(1000):
            # A page that is just being left answers nothing.
            with contextlib.suppress(Error):
                if is_so():
                    return
            self.page.wait_for_timeout(10)  # lets what the browser says arrive
        raise AssertionError(f"it never was so; heard: {self.heard}")

    def call(self, name: str, argument: Any = None) -> Any:
        """Call a function of the kit; its result."""
        return self.page.evaluate(
            "async ([name, argument]) => (await import('/auth/logout.js'))[name](argument ?? undefined)",
            [name, argument],
        )

    def begin(self, name: str, argument: Any = None) -> None:
        """Call a function of the kit, and do not wait for it."""
        self.page.evaluate(
            "([name, argument]) => void import('/auth/logout.js').then(kit => kit[name](argument ?? undefined))",
            [name, argument],
        )

    def state(self, member: str) -> Any:
        """What the kit knows of this."""
        return self.page.evaluate("name => globalThis[Symbol.for('logout-middleware')][name] ?? null", member)

    def note(self) -> Any:
        """The logout that this tab will try again."""
        return self.page.evaluate("() => JSON.parse(sessionStorage.getItem('logout.pending'))")

    def online(self) -> None:
        """The network is back."""
        # A page that is just being left needs nobody to tell it.
        with contextlib.suppress(Error):
            self.page.evaluate("() => void dispatchEvent(new Event('online'))")

    def is_at(self, path: str) -> None:
        """Return when this page is shown."""
        self.page.wait_for_url(lambda url: url.partition("?")[0] == self.browser.origin + path)

    def stored(self) -> list[str]:
        """What is in both storages, but for the kit's own notes."""
        script = "() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)]"
        return sorted(each for each in self.page.evaluate(script) if not each.startswith("logout."))

    def store(self, **local: str) -> None:
        """Put this into localStorage."""
        self.page.evaluate("all => Object.assign(localStorage, all)", local)

    def take_tokens(self, user: str = "ann", life: float = 3600, sid: str | None = None) -> dict[str, str]:
        """Log in by token, and keep both as many applications do."""
        given = self.browser.tokens(user, life, sid)
        self.store(accessToken=given["access"], refreshToken=given["refresh"])
        return given
