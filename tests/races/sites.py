"""Applications of a race, and each of them behind the middleware: two workers that share a store, and one clock.

Each application serves `POST /login?user=`, `POST /logout` (its own), `GET /read`, `POST /write`, `POST /refresh` and
`GET /me`, and answers with the user whom it takes the browser for. What a logged-in user may do it does in `visit`,
which stops before and after each look at the session.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from logout_middleware import BlockingLogout, Logout, LogoutSettings, asgi, wsgi
from logout_middleware.colour import fitting, run_blocking
from logout_middleware.opening import open_store
from logout_middleware.testing import MovableClock
from tests.browser import Jar

from .steps import ANSWERING, ARRIVED, DONE, ORIGIN, Stepper, Tasks, Threads, Visit

SECRET = "the secret that signs the sessions of the races"
USER = "user_id"
READING, READ, WRITTEN = "reads the session", "has read the session", "has written the session"
STEPS = (ARRIVED, READING, READ, WRITTEN, ANSWERING)
Pause = Callable[[str], Awaitable[None]]
Build = Callable[[Pause, MovableClock], Any]


async def visit(pause: Pause, session: Any, change: Callable[[Any], None] | None = None) -> dict[str, Any]:
    """What every page does: look who is there and, if somebody is, change the session."""
    await pause(READING)
    user = session.get(USER)
    await pause(READ)
    if change is not None and user is not None:
        change(session)
        await pause(WRITTEN)
    return {"user": user}


def count_up(session: Any) -> None:
    """A change as any other: one more article in the cart."""
    session["count"] = session.get("count", 0) + 1


@dataclass(frozen=True)
class Application:
    """`build` gives the application, once for all workers that run on this stepper.

    `settings` are those of the middleware. `names_users`: its cookies say whose they are, so that another device can
    end them.
    """

    name: str
    shell: str
    build: Build
    cookie: str
    settings: dict[str, str]
    names_users: bool = True


class _SteppingStore:
    """A store in which a logout stops before and after it is made durable; in all else it is the other store."""

    def __init__(self, inner: Any, pause: Pause) -> None:
        self._inner, self._pause = inner, pause

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def add(self, revocations: Any) -> Any:
        """See Store.add."""
        await self._pause("is about to store the logout")
        outcome = await self._inner.add(revocations)
        await self._pause("has stored the logout")
        return outcome


class Site:
    """One application, with the middleware in front of it or without, and its browsers."""

    def __init__(self, application: Application, stepper: Stepper, clock: MovableClock) -> None:
        self.application, self.stepper, self.clock = application, stepper, clock
        self.moves = 0

    def visit(self, jar: Jar, method: str, path: str, *, name: str = "", worker: int = 0) -> Visit:
        """A request of this browser's, made by a page of the site; it is not sent yet."""
        return Visit(name or path, method, path, jar, (("sec-fetch-site", "same-origin"),), worker)

    def go_on(self, visit: Visit) -> None:
        """One move."""
        self.moves += 1
        self.stepper.go_on(visit, self.moves)

    def to_step(self, visit: Visit, step: str) -> bool:
        """Let this visit run until it is at this step; False if it is done without one."""
        while visit.at != step:
            if visit.at == DONE:
                return False
            self.go_on(visit)
        return True

    def to_end(self, visit: Visit) -> Visit:
        """Let this visit run to its end, and land."""
        while visit.at != DONE:
            self.go_on(visit)
        visit.land()
        return visit

    def ask(self, jar: Jar, method: str, path: str, *, worker: int = 0) -> Visit:
        """A request from beginning to end; what it answers has landed."""
        return self.stepper.finish(self.visit(jar, method, path, worker=worker))

    def login(self, jar: Jar, user: str, *, worker: int = 0) -> str:
        """Log in; the value of the session cookie."""
        answer = self.ask(jar, "POST", f"/login?user={user}", worker=worker)
        assert answer.status == 200, (answer.status, answer.body)
        return self.values(answer.set_cookies)[-1]

    def user(self, jar: Jar, *, worker: int = 0) -> str | None:
        """Whom the application takes this browser for; None for nobody."""
        answer = self.ask(jar, "GET", "/me", worker=worker)
        assert answer.status == 200, (answer.status, answer.body)
        user: str | None = json.loads(answer.body)["user"]
        return user

    def user_of(self, value: str, *, worker: int = 0) -> str | None:
        """Whom the application takes the sender of this session cookie for."""
        return self.user(self.jar_with(value), worker=worker)

    def jar_with(self, value: str) -> Jar:
        """A browser that has this session cookie."""
        jar = Jar()
        jar.take(ORIGIN, [f"{self.application.cookie}={value}; Path=/"])
        return jar

    def values(self, lines: list[str]) -> list[str]:
        """What these Set-Cookie lines set as the session cookie; deletions set nothing."""
        found = []
        for line in lines:
            jar = Jar()
            jar.take(ORIGIN, [line])
            found += [value for name, value in jar.sent_to(ORIGIN).items() if self._guards(name)]
        return found

    def held(self, jar: Jar) -> list[str]:
        """The values of the session cookie in this browser."""
        return [value for name, value in jar.sent_to(ORIGIN).items() if self._guards(name)]

    def _guards(self, name: str) -> bool:
        return name == self.application.cookie


@contextmanager
def open_site(application: Application, folder: Path | None, *, workers: int = 2) -> Iterator[Site]:
    """The application behind the middleware, its store in this folder; with no folder, the application alone."""
    # Near the time of the machine, by which the frameworks reckon when a cookie expires.
    clock = MovableClock(float(int(time.time())))
    stepper: Stepper = Tasks() if application.shell == "asgi" else Threads()
    with ExitStack() as stack:
        stack.callback(stepper.close)
        stack.enter_context(_frameworks_follow(clock))
        app = stepper.guarded(application.build(stepper.pause, clock))
        for _ in range(workers):
            if folder is None:
                stepper.apps.append(app)
                continue
            settings = LogoutSettings.load(
                environ={}, env_file=None, store=f"sqlite:///{folder / 'logout.db'}", rate_limit="off",
                **application.settings,
            )  # fmt: skip
            blocking = application.shell == "wsgi"
            store: Any = _SteppingStore(
                fitting(open_store(settings, clock, blocking=blocking), blocking=blocking), stepper.pause
            )
            if isinstance(stepper, Tasks):
                logout = Logout(settings, store=store, clock=clock)
                stack.callback(_close, stepper, logout)
                stepper.apps.append(asgi.LogoutMiddleware(app, logout=logout))
            else:
                blocking_logout = BlockingLogout(settings, store=store, clock=clock)
                stack.callback(blocking_logout.close)
                stepper.apps.append(wsgi.LogoutMiddleware(app, logout=blocking_logout))
        yield Site(application, stepper, clock)


def _close(stepper: Tasks, logout: Logout) -> None:
    stepper.run(logout.close())


@contextmanager
def _frameworks_follow(clock: MovableClock) -> Iterator[None]:
    """The signatures of session cookies carry the time of this clock."""
    with ExitStack() as stack:
        stack.enter_context(patch("itsdangerous.timed.TimestampSigner.get_timestamp", lambda self: int(clock())))
        stack.enter_context(
            patch("django.core.signing.TimestampSigner.timestamp", lambda self: _django_time(int(clock())))
        )
        yield


def _django_time(seconds: int) -> str:
    from django.core.signing import b62_encode

    return str(b62_encode(seconds))


def in_place(work: Any) -> Any:
    """The result of a coroutine whose steps stop the thread."""
    return run_blocking(work)
