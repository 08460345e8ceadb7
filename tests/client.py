"""One client for both shells, and the site that it talks to.

`site(...)` builds the application of `apps.py` behind `LogoutMiddleware` with these settings, once for ASGI
and once for WSGI; `http` is a site with ordinary settings. There is no cookie jar: a test says what it sends,
so an old credential can always be sent again. For what a browser keeps there is `browser.Jar`.
"""

from __future__ import annotations

import asyncio
import inspect
import json as json_module
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit
from wsgiref.validate import validator

import httpx2
import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app

from logout_middleware import BlockingLogout, Identity, Logout, LogoutEvent, LogoutSettings
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.colour import run_blocking
from logout_middleware.opening import open_store
from logout_middleware.testing import FlakyStore, MovableClock
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

from .apps import COOKIE_SECRET, JWT_KEY, Application, Issuer, flask_app, starlette_app

ORIGIN = "https://app.example.com"
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
"""What a browser says of a request that a page of the same site made."""
OWN_LINK = OWN_PAGE | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1"}
"""A person clicked a link on a page of the same site."""
ALL = {"access", "refresh", "cookie"}

Headers = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """One answer; header names are lower-case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        assert self.header("content-type") == "application/json", self
        return json_module.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8")

    def header(self, name: str) -> str | None:
        """A header that occurs at most once."""
        found = self.all(name)
        assert len(found) < 2, f"{name} is repeated: {found}"
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name.lower()]

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that this answer sets, by name."""
        pairs = [line.partition(";")[0].partition("=") for line in self.all("set-cookie") if not _deletes(line)]
        return {name: value for name, _, value in pairs}

    @property
    def deleted(self) -> set[str]:
        """The names of the cookies that this answer deletes."""
        return {line.partition("=")[0] for line in self.all("set-cookie") if _deletes(line)}


def _deletes(line: str) -> bool:
    return "max-age=0" in line.lower() or "expires=thu, 01 jan 1970" in line.lower()


class Client(Protocol):
    """Sends one request to an application and waits for the whole answer."""

    def send(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes, address: str) -> Answer:
        """The answer."""
        ...


class AsgiClient:
    """A client of an ASGI application, with an event loop of its own."""

    def __init__(self, app: Any) -> None:
        self.app, self.runner = app, asyncio.Runner()

    def send(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes, address: str) -> Answer:
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        request = httpx2.Request(method, url, headers=raw, content=body or None)
        transport = httpx2.ASGITransport(self.app, client=(address, 50000))

        async def exchange() -> Answer:
            response = await transport.handle_async_request(request)
            pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw]
            return Answer(response.status_code, tuple(pairs), b"".join([part async for part in response.aiter_raw()]))

        return self.runner.run(exchange())


class WsgiClient:
    """A client of a WSGI application, with a validator on top of it."""

    def __init__(self, app: Any) -> None:
        self.app = validator(app)

    def send(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes, address: str) -> Answer:
        parts = urlsplit(url)
        fields = [pair for pair in headers if pair[0].lower() != "host"]
        environ = EnvironBuilder(
            path=parts.path, query_string=parts.query, base_url=f"{parts.scheme}://{parts.netloc}", method=method,
            headers=fields, input_stream=None, data=body or None, environ_base={"REMOTE_ADDR": address},
        ).get_environ()  # fmt: skip
        for name, value in headers:
            if name.lower() == "host":
                environ["HTTP_HOST"] = value
        for name in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"):
            environ.pop(name, None)  # werkzeug sets both spellings, and CGI knows only one
        chunks, status, answered = run_wsgi_app(self.app, environ, buffered=True)
        pairs = tuple((name.lower(), value) for name, value in answered)
        return Answer(int(status.split()[0]), pairs, b"".join(chunks))


@dataclass(frozen=True)
class Device:
    """What one login left on one device."""

    user: str
    access: str
    refresh: str
    cookie: str
    sid: str | None


class Sender:
    """Sends requests to an application by one of the clients."""

    def __init__(self, client: Client, origin: str = ORIGIN) -> None:
        self.client, self.origin = client, origin

    def close(self) -> None:
        """Give back the event loop."""
        if isinstance(self.client, AsgiClient):
            self.client.runner.close()

    def request(
        self, method: str, path: str, *, token: str | None = None, cookie: str | None = None, json: Any = None,
        form: Mapping[str, str] | None = None, body: bytes = b"", headers: Headers = (), address: str = "192.0.2.1",
    ) -> Answer:  # fmt: skip
        """Send one request. `cookie` is the value of the session cookie; another Cookie field goes into `headers`."""
        fields = list(headers.items() if isinstance(headers, Mapping) else headers)
        if token is not None:
            fields.append(("Authorization", f"Bearer {token}"))
        if cookie is not None:
            fields.append(("Cookie", f"session={cookie}"))
        if json is not None:
            body = json_module.dumps(json).encode("utf-8")
            fields.append(("Content-Type", "application/json"))
        if form is not None:
            body = urlencode(form).encode("ascii")
            fields.append(("Content-Type", "application/x-www-form-urlencoded"))
        return self.client.send(method, self.origin + path, fields, body, address)

    def get(self, path: str, **given: Any) -> Answer:
        """GET."""
        return self.request("GET", path, **given)

    def post(self, path: str, **given: Any) -> Answer:
        """POST."""
        return self.request("POST", path, **given)


class Site(Sender):
    """An application behind the middleware, and a client in front of it."""

    def __init__(self, shell: str, clock: MovableClock, settings: LogoutSettings, *, origin: str) -> None:
        self.shell, self.clock, self.settings = shell, clock, settings
        self.issuer = Issuer(clock)
        self.store = FlakyStore(open_store(settings, clock))
        self.events: list[LogoutEvent] = []
        self.logout: Any
        if shell == "asgi":
            self.logout = Logout(settings, store=self.store, clock=clock)
            app = AsgiMiddleware(starlette_app(Application(self.issuer)), logout=self.logout)
            super().__init__(AsgiClient(app), origin)
        else:
            self.logout = BlockingLogout(settings, store=self.store, clock=clock)
            inner = validator(flask_app(Application(self.issuer)))
            super().__init__(WsgiClient(WsgiMiddleware(inner, logout=self.logout)), origin)
        self.logout.on_event(self.events.append)

    def close(self) -> None:
        """Give back the store, the threads and the event loop."""
        getattr(self.logout, "inner", self.logout).chores.stop()
        run_blocking(self.store.close())
        super().close()

    # ---- the application's side ----------------------------------------------------------------------

    def login(self, user: str, *, sid: bool | str = True, id_token: str | None = None) -> Device:
        """Log in on a new device. `sid`: by what session id, if by any; `id_token`: what the session holds, too."""
        more = {} if id_token is None else {"id_token": id_token}
        answer = self.post("/login", json={"user": user, "sid": sid, **more})
        assert answer.status == 200, answer
        members = answer.json
        cookie = answer.cookies["session"]
        return Device(user, members["access_token"], members["refresh_token"], cookie, members["sid"])

    def me(self, *, token: str | None = None, cookie: str | None = None) -> str | None:
        """Whom the application takes the sender of this credential for; None for nobody."""
        answer = self.get("/me", token=token, cookie=cookie)
        assert answer.status in (200, 401), answer
        user: str | None = answer.json["user"] if answer.status == 200 else None
        return user

    def refresh(self, token: str) -> Answer:
        """Use a refresh token."""
        return self.post("/refresh", json={"refresh_token": token})

    def alive(self, device: Device) -> set[str]:
        """Which credentials of a device are accepted, found out by sending each of them again."""
        accepted = {
            "access": self.me(token=device.access) == device.user,
            "cookie": self.me(cookie=device.cookie) == device.user,
            "refresh": self.refresh(device.refresh).status == 200,
        }
        return {name for name, is_accepted in accepted.items() if is_accepted}

    def call(self, name: str, *args: Any, **given: Any) -> Any:
        """A method of `Logout` or `BlockingLogout`, done when this returns."""
        result = getattr(self.logout, name)(*args, **given)
        if isinstance(self.client, AsgiClient) and inspect.isawaitable(result):
            return self.client.runner.run(_awaited(result))
        return result

    def identity_of_cookie(self, cookie: str) -> Identity | None:
        """What the guard hands to the application for a request with this session cookie."""
        inner = getattr(self.logout, "inner", self.logout)
        decision = inner.guard.check(None, f"session={cookie}")
        if isinstance(self.client, AsgiClient):
            return self.client.runner.run(_awaited(decision)).identity
        return run_blocking(decision).identity

    def count(self) -> int:
        """How many revocations the store holds."""
        return run_blocking(self.store.inner.count())

    def told(self, kind: str) -> list[LogoutEvent]:
        """The events of one kind."""
        return [event for event in self.events if event.kind == kind]


async def _awaited(result: Any) -> Any:
    return await result


@pytest.fixture(params=["asgi", "wsgi"])
def shell(request: pytest.FixtureRequest) -> str:
    """Under which of the two interfaces."""
    return str(request.param)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovableClock:
    """The time of the site: of the middleware, of the tokens, and of the signatures of session cookies."""
    clock = MovableClock()
    monkeypatch.setattr("itsdangerous.timed.TimestampSigner.get_timestamp", lambda self: int(clock()))
    return clock


BuildSite = Callable[..., Site]


@pytest.fixture
def site(shell: str, clock: MovableClock, tmp_path: Path) -> Iterator[BuildSite]:
    """Build a site with these settings; what is given replaces the ordinary, None leaves it out."""
    built: list[Site] = []

    def build(origin: str = ORIGIN, **given: Any) -> Site:
        ordinary = {
            "store": f"sqlite:///{tmp_path / 'logout.db'}",
            "jwt_key": JWT_KEY,
            "jwt_algorithms": "HS256",
            "cookie_secret": COOKIE_SECRET,
            "token_requests": "POST /refresh: refresh_token, refreshToken",
            "token_responses": "POST /login: access_token, refresh_token",
            "secret": "the secret that signs links in the tests",
        }
        chosen = {name: value for name, value in (ordinary | given).items() if value is not None}
        built.append(Site(shell, clock, LogoutSettings.load(environ={}, env_file=None, **chosen), origin=origin))
        return built[-1]

    yield build
    for each in built:
        each.close()


@pytest.fixture
def http(site: BuildSite) -> Site:
    """A site with ordinary settings."""
    return site()
