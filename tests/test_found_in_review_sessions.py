"""Holes that a review of sessions, bindings, late answers and open connections found, each as what showed it."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from logout_middleware import BlockingLogout, Logout, LogoutSettings, StoreError
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.colour import run_blocking
from logout_middleware.opening import open_store
from logout_middleware.stores import Outcome
from logout_middleware.testing import FlakyStore, MovableClock
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

from .apps import JWT_KEY, Issuer
from .client import OWN_PAGE, Answer, AsgiClient, BuildSite, Sender, WsgiClient
from .test_live import Chat, Rig, token, wsgi_request

Told = tuple[int, list[tuple[str, str]], bytes]
JSON = ("Content-Type", "application/json")
DAY = 86400.0


class Asked:
    """What the application sees of a request."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path, self.headers, self.body = path, headers, body

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body or b"{}")


class Application(Sender):
    """Any application behind one of the shells, and a second worker on the same store: `elsewhere`."""

    def __init__(self, shell: str, handle: Callable[[Asked], Told], clock: MovableClock, path: Path, **given: Any):
        ordinary = {
            "store": f"sqlite:///{path / 'logout.db'}", "jwt_key": JWT_KEY, "jwt_algorithms": "HS256", "audit": "off",
            "cookies": "session:jwt", "token_requests": "POST /refresh: refresh_token",
            "token_responses": "POST /login: access_token, refresh_token; POST /refresh: access_token, refresh_token",
        }  # fmt: skip
        settings = LogoutSettings.load({}, env_file=None, **(ordinary | given))
        self.handle, self.issuer, self.clock = handle, Issuer(clock), clock
        self.store = FlakyStore(open_store(settings, clock))
        self.elsewhere = BlockingLogout(settings, store=open_store(settings, clock), clock=clock)
        if shell == "asgi":
            self.logout: Any = Logout(settings, store=self.store, clock=clock)
            super().__init__(AsgiClient(AsgiMiddleware(self._asgi, logout=self.logout)))
        else:
            self.logout = BlockingLogout(settings, store=self.store, clock=clock)
            super().__init__(WsgiClient(WsgiMiddleware(self._wsgi, logout=self.logout)))

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        status, fields, told = self.handle(Asked(scope["path"], headers, body))
        pairs = [(name.encode(), value.encode()) for name, value in fields]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": told})

    def _wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        headers = {name[5:].replace("_", "-").lower(): each for name, each in environ.items() if name[:5] == "HTTP_"}
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, fields, told = self.handle(Asked(environ["PATH_INFO"], headers, body))
        start_response(f"{status} Said", fields)
        return [told]

    def is_alive(self, text: str) -> bool:
        """Does the guard let this token pass?"""
        return self.get("/me", token=text).status == 200


Build = Callable[..., Application]


@pytest.fixture
def behind(shell: str, clock: MovableClock, tmp_path: Path) -> Iterator[Build]:
    """Put an application behind the middleware."""
    built: list[Application] = []

    def build(handle: Callable[[Asked], Told], **given: Any) -> Application:
        built.append(Application(shell, handle, clock, tmp_path, **given))
        return built[-1]

    yield build
    for each in built:
        run_blocking(each.store.close())
        run_blocking(each.elsewhere.inner.store.close())
        each.close()


def told(**members: Any) -> Told:
    """200 with this JSON."""
    return 200, [JSON], json.dumps(members).encode()


# ---- refresh ---------------------------------------------------------------------------------------------


def test_a_refresh_that_revokes_the_token_it_replaces_keeps_the_login(behind: Build) -> None:
    """Rotation as `revoke_token` describes it: `reason="refresh"`; the session goes on, and so do its new tokens."""

    def handle(asked: Asked) -> Told:
        if asked.path != "/refresh":
            return told()
        site.elsewhere.revoke_token(asked.json["refresh_token"], reason="refresh")
        return told(access_token=new_access, refresh_token=new_refresh)

    site = behind(handle)
    access, refresh = site.issuer.mint("ann", sid="s1"), site.issuer.mint("ann", sid="s1", kind="refresh")
    new_access, new_refresh = site.issuer.mint("ann", sid="s1"), site.issuer.mint("ann", sid="s1", kind="refresh")

    assert site.post("/refresh", json={"refresh_token": refresh}).status == 200

    assert [site.is_alive(each) for each in (access, new_access, new_refresh)] == [True, True, True]
    assert site.post("/refresh", json={"refresh_token": refresh}).status == 401


def test_a_refresh_without_session_ids_that_rotates_keeps_its_new_tokens(behind: Build) -> None:
    """The same where nothing but the binding says what belongs together."""

    def handle(asked: Asked) -> Told:
        if asked.path != "/refresh":
            return told()
        site.elsewhere.revoke_token(asked.json["refresh_token"], reason="refresh")
        return told(access_token=new_access)

    site = behind(handle)
    refresh, new_access = site.issuer.mint("ann", kind="refresh"), site.issuer.mint("ann")

    site.post("/refresh", json={"refresh_token": refresh})

    assert site.is_alive(new_access)


@pytest.mark.parametrize("door", ["expired", "replaced"])
def test_a_logout_with_the_token_from_before_a_refresh_ends_its_session(behind: Build, door: str) -> None:
    """A tab that missed the refresh asks to log out and is told 200: as an expired token ends its session, so this."""
    site = behind(lambda asked: told())
    old = site.issuer.mint("ann", sid="s1", life=-1.0 if door == "expired" else 600.0)
    if door == "replaced":
        site.elsewhere.revoke_token(old, reason="refresh")
    new = site.issuer.mint("ann", sid="s1")
    assert site.is_alive(new)

    answer = site.post("/auth/logout", token=old)

    assert answer.status == 200
    assert not site.is_alive(new)


def test_a_rotated_cookie_is_no_late_answer(behind: Build) -> None:
    """The token in the cookie is replaced and revoked as refreshed; the browser gets the new one, and no deletion."""

    def handle(asked: Asked) -> Told:
        if asked.path != "/rotate":
            return told()
        site.elsewhere.revoke_token(old, reason="refresh")
        return 200, [JSON, ("Set-Cookie", f"session={new}; Path=/; HttpOnly")], b"{}"

    site = behind(handle)
    old, new = site.issuer.mint("ann"), site.issuer.mint("ann")

    answer = site.post("/rotate", cookie=old)

    assert (answer.cookies, answer.deleted) == ({"session": new}, set())
    assert site.get("/me", cookie=new).deleted == set()


def test_a_late_token_ends_itself_and_not_its_session_where_logins_are_not_bound(behind: Build) -> None:
    """REVOKE_BOUND=false: the logout of one access token leaves the others of its session, whatever is in flight."""

    def handle(asked: Asked) -> Told:
        if asked.path != "/refresh":
            return told()
        log_out(site, access)
        return told(access_token=new)

    site = behind(handle, revoke_bound="false")
    access, other, new = (site.issuer.mint("ann", sid="s1") for _ in range(3))

    site.post("/refresh", token=access, json={"refresh_token": site.issuer.mint("ann", sid="s1", kind="refresh")})

    assert [site.is_alive(each) for each in (access, other)] == [False, True]


def log_out(site: Application, text: str) -> None:
    """Log out with this token by the second worker, as its endpoint does."""
    inner = site.elsewhere.inner
    identity = run_blocking(inner.orders.identity(text))
    assert identity is not None
    run_blocking(inner.logouts.log_out([identity], bound=inner.settings.revoke_bound))


def test_another_users_login_is_not_condemned_with_the_login_that_ended_meanwhile(behind: Build) -> None:
    """Bob logs in on a browser in which Ann's session ends at the same moment: his tokens are his."""

    def handle(asked: Asked) -> Told:
        if asked.path != "/login":
            return told()
        site.elsewhere.revoke_session("ann-1")
        return told(access_token=bobs)

    site = behind(handle)
    anns, bobs = site.issuer.mint("ann", sid="ann-1"), site.issuer.mint("bob")

    site.post("/login", cookie=anns, json={"user": "bob"})

    assert site.is_alive(bobs)


def test_a_new_login_with_an_opaque_refresh_token_survives_the_end_of_the_one_before(behind: Build) -> None:
    """Its access token names a session of its own: this is a login, not a refresh, and what is beside it is of it."""

    def handle(asked: Asked) -> Told:
        if asked.path != "/login":
            return told()
        site.elsewhere.revoke_session("before")
        return told(access_token=access, refresh_token="an-opaque-refresh-token")

    site = behind(handle)
    before, access = site.issuer.mint("ann", sid="before"), site.issuer.mint("ann", sid="after")

    site.post("/login", cookie=before, json={"user": "ann"})

    assert site.is_alive(access)
    assert site.post("/refresh", json={"refresh_token": "an-opaque-refresh-token"}).status == 200


# ---- the graph -------------------------------------------------------------------------------------------


def test_a_thief_cannot_refresh_his_way_out_of_the_graph(behind: Build) -> None:
    """However often a stolen refresh token was rotated, the logout of the login it came from ends what it became."""

    def handle(asked: Asked) -> Told:
        if asked.path not in ("/login", "/refresh"):
            return told()
        refresh = site.issuer.mint("ann", kind="refresh", life=DAY)
        return told(access_token=site.issuer.mint("ann"), refresh_token=refresh)

    site = behind(handle)
    victim = thief = site.post("/login", json={}).json
    for _ in range(1100):
        thief = site.post("/refresh", json={"refresh_token": thief["refresh_token"]}).json
    assert site.is_alive(thief["access_token"])

    answer = site.post("/auth/logout", token=victim["access_token"])

    assert answer.status == 200
    assert not site.is_alive(thief["access_token"])
    assert site.post("/refresh", json={"refresh_token": thief["refresh_token"]}).status == 401


def test_a_logout_asks_the_store_no_more_often_after_many_refreshes(behind: Build) -> None:
    """A login that was refreshed forty times is ended with about as many questions as one that was twice."""

    def handle(asked: Asked) -> Told:
        if asked.path not in ("/login", "/refresh"):
            return told()
        refresh = site.issuer.mint("ann", kind="refresh", life=DAY)
        return told(access_token=site.issuer.mint("ann"), refresh_token=refresh)

    site = behind(handle)
    asked = []
    for times in (2, 40):
        first = last = site.post("/login", json={}).json
        for _ in range(times):
            last = site.post("/refresh", json={"refresh_token": last["refresh_token"]}).json
        site.store.calls.clear()
        assert site.post("/auth/logout", token=first["access_token"]).status == 200
        asked.append(len(site.store.calls))

    assert asked[1] <= asked[0] + 5


@pytest.mark.parametrize("client", ["asks for gzip", "does not"])
def test_what_a_login_hands_out_is_bound_although_the_answer_is_compressed(behind: Build, client: str) -> None:
    """The caller chooses `Accept-Encoding`: it must not decide whether a logout ends his refresh token."""

    def handle(asked: Asked) -> Told:
        if asked.path != "/login":
            return told()
        status, fields, body = told(access_token=access, refresh_token=refresh)
        if "gzip" in asked.headers.get("accept-encoding", ""):
            return status, [*fields, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")], gzip.compress(body)
        return status, fields, body

    site = behind(handle)
    access, refresh = site.issuer.mint("ann"), site.issuer.mint("ann", kind="refresh")
    headers = {"Accept-Encoding": "gzip"} if client == "asks for gzip" else {}
    assert site.post("/login", json={}, headers=headers).status == 200

    assert site.post("/auth/logout", token=access).status == 200

    assert site.post("/refresh", json={"refresh_token": refresh}).status == 401


def test_a_login_while_the_store_is_away_does_not_lose_its_binding_silently(behind: Build) -> None:
    """Where it cannot be noted that two tokens are one login, the login waits (503), or the logout still ends both."""

    def handle(asked: Asked) -> Told:
        return told(access_token=access, refresh_token=refresh) if asked.path == "/login" else told()

    site = behind(handle)
    access, refresh = site.issuer.mint("ann"), site.issuer.mint("ann", kind="refresh")
    site.store.broken = True
    login = site.post("/login", json={})
    site.store.broken = False

    assert site.post("/auth/logout", token=access).status == 200

    assert login.status == 503 or site.post("/refresh", json={"refresh_token": refresh}).status == 401


def test_a_refused_login_that_repeats_a_token_marks_nothing(behind: Build, clock: MovableClock) -> None:
    """What an error answer reflects was not issued by it: a token that a cut-off refuses stays refused."""

    def handle(asked: Asked) -> Told:
        if asked.path != "/login":
            return told()
        return 401, [JSON], json.dumps({"error": "wrong password", "input": asked.json}).encode()

    site = behind(handle)
    clock.now = float(int(clock.now)) + 0.2
    stolen = site.issuer.mint("ann", sid="s1", iat=int(clock.now))
    clock.move(0.3)
    site.elsewhere.revoke_user("ann")
    assert not site.is_alive(stolen)
    clock.move(0.2)

    site.post("/login", json={"access_token": stolen})

    assert not site.is_alive(stolen)


# ---- the shield ------------------------------------------------------------------------------------------


def late_cookie(site: Application, old: str, new: str, meanwhile: Callable[[], object]) -> Answer:
    """The answer of a request that began with `old` and sets `new`, while something happens."""
    site.handle = lambda asked: (meanwhile(), (200, [JSON, ("Set-Cookie", f"session={new}; Path=/")], b"{}"))[1]
    return site.post("/slow", cookie=old)


def test_an_answer_that_cannot_be_asked_about_brings_no_login_back(behind: Build) -> None:
    """FAIL_MODE=closed: logged out, then the store away as the answer starts: its new token must not outlive that.

    Nor is anything deleted: not knowing is not "revoked".
    """
    site = behind(lambda asked: told())
    old, new = site.issuer.mint("ann"), site.issuer.mint("ann")

    def meanwhile() -> None:
        site.elsewhere.revoke_token(old)
        site.store.broken = True

    answer = late_cookie(site, old, new, meanwhile)
    site.store.broken = False

    assert (answer.cookies, answer.deleted) == ({}, set())


@pytest.mark.parametrize("forgotten", [False, True])
def test_what_the_guard_remembers_may_be_forgotten_while_a_request_is_under_way(
    shell: str, clock: MovableClock, tmp_path: Path, forgotten: bool
) -> None:
    """16,384 other headers, or a new key in the JWKS, must not take the shield from a request that began before."""
    given = {"store": f"sqlite:///{tmp_path / 'logout.db'}", "jwt_key": JWT_KEY, "jwt_algorithms": "HS256",
             "audit": "off", "cookies": "session:jwt", "env_file": None}  # fmt: skip
    logout = Logout(**given, clock=clock, blocking=shell == "wsgi")
    other = BlockingLogout(**given, clock=clock)
    issuer = Issuer(clock)
    old, new = issuer.mint("ann"), issuer.mint("ann")

    def meanwhile(path: str) -> list[tuple[str, str]]:
        if path != "/slow":
            return [JSON]
        other.revoke_token(old)
        if forgotten:
            logout._forget_identities()
        return [JSON, ("Set-Cookie", f"session={new}; Path=/")]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        fields = [(name.encode(), value.encode()) for name, value in meanwhile(scope["path"])]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b"{}"})

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", meanwhile(environ["PATH_INFO"]))
        return [b"{}"]

    client: Any = (
        AsgiClient(AsgiMiddleware(asgi, logout=logout))
        if shell == "asgi"
        else WsgiClient(WsgiMiddleware(wsgi, settings=None, logout=_blocking(logout)))
    )
    sender = Sender(client)
    for _ in range(3):
        assert sender.get("/me", cookie=old).status == 200

    answer = sender.get("/slow", cookie=old)

    assert (answer.cookies, answer.deleted) == ({}, {"session"})
    sender.close()
    run_blocking(other.inner.store.close())


def _blocking(logout: Logout) -> BlockingLogout:
    made = BlockingLogout.__new__(BlockingLogout)
    made.inner, made.settings = logout, logout.settings
    return made


def test_observing_takes_no_cookie_out_of_an_answer(behind: Build) -> None:
    """LOGOUT_MODE=observe refuses nothing: not what a request brings, and not what its answer sets."""
    site = behind(lambda asked: told(), mode="observe")
    old, new = site.issuer.mint("ann", sid="s1"), site.issuer.mint("ann", sid="s1")

    answer = late_cookie(site, old, new, lambda: site.elsewhere.revoke_session("s1"))

    assert (answer.cookies, answer.deleted) == ({"session": new}, set())


# ---- open connections ------------------------------------------------------------------------------------


def test_observing_closes_no_socket(tmp_path: Path) -> None:
    """LOGOUT_MODE=observe: what is open stays open."""

    async def main() -> bool:
        rig = Rig(Chat(), store=f"sqlite:///{tmp_path / 'logout.db'}", mode="observe")
        exchange = rig.websocket(token())
        await exchange.until(lambda: bool(exchange.sent))
        await rig.logout.revoke_session("s1")
        await asyncio.sleep(0.3)
        over = exchange.is_over
        exchange.task.cancel()
        await rig.close()
        return over

    assert not asyncio.run(main())


def test_a_socket_of_a_replaced_token_is_closed_by_the_logout_of_its_login(tmp_path: Path) -> None:
    """Opened with the old token, refreshed, logged out by another worker: `refresh` must not stay its reason."""

    async def main() -> bool:
        rig = Rig(Chat(), store=f"sqlite:///{tmp_path / 'logout.db'}")
        old, new = token(sid=None, jti="old"), token(sid=None, jti="new")
        both = [await rig.elsewhere.orders.identity(each) for each in (old, new)]
        await rig.elsewhere.logouts.bindings.bind([each for each in both if each], rig.elsewhere.clock())
        exchange = rig.websocket(old)
        await exchange.until(lambda: bool(exchange.sent))
        await rig.elsewhere.revoke_token(old, reason="refresh")
        await asyncio.sleep(0.3)
        assert not exchange.is_over

        await rig.elsewhere.logouts.log_out([each for each in both if each])
        await asyncio.sleep(0.5)
        over = exchange.is_over
        exchange.task.cancel()
        await rig.close()
        return over

    assert asyncio.run(main())


def test_a_socket_that_passed_while_the_store_was_away_ends_with_its_login(tmp_path: Path) -> None:
    """FAIL_MODE=open lets it in unasked; once the store is back it is a connection like any other."""

    async def main() -> bool:
        given = {"store": f"sqlite:///{tmp_path / 'logout.db'}", "jwt_key": JWT_KEY, "jwt_algorithms": "HS256",
                 "audit": "off", "env_file": None, "fail_mode": "open"}  # fmt: skip
        rig = Rig(Chat(), **given)
        store = FlakyStore(rig.logout.store)  # type: ignore[arg-type]
        rig.logout.guard.store = store
        store.broken = True
        exchange = rig.websocket(token())
        await exchange.until(lambda: bool(exchange.sent))
        store.broken = False
        await rig.logout.revoke_session("s1")
        await asyncio.sleep(0.5)
        over = exchange.is_over
        exchange.task.cancel()
        await rig.close()
        return over

    assert asyncio.run(main())


@pytest.mark.parametrize("kind", [b"text/plain", b"text/event-stream"])
def test_a_stream_passes_two_middlewares(tmp_path: Path, kind: bytes) -> None:
    """An application behind the middleware is mounted in another one behind it, too: the scope is one and the same."""

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for part in (b"one", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def main() -> bytes:
        rig = Rig(stream, store=f"sqlite:///{tmp_path / 'logout.db'}")
        rig.app = AsgiMiddleware(rig.app, logout=rig.logout)
        exchange = rig.get(token())
        await exchange.task
        await rig.close()
        return exchange.body

    assert asyncio.run(main()) == b"onetwo"


def test_a_part_that_comes_after_the_logout_is_not_sent(tmp_path: Path) -> None:
    """WSGI: the first part came at once, the second much later, and the logout between them."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"first"
        yield b"secret"
        yield b"more"

    store = f"sqlite:///{tmp_path / 'logout.db'}"
    logout = BlockingLogout(store=store, jwt_key=JWT_KEY, jwt_algorithms="HS256", audit="off", env_file=None)
    _, body = wsgi_request(WsgiMiddleware(app, logout=logout), token())
    began = next(body)
    logout.revoke_session("s1")
    body._began -= 60.0  # type: ignore[attr-defined]  # a minute passes before the next part

    rest = list(body)
    body.close()  # type: ignore[attr-defined]
    logout.close()

    assert (began, rest) == (b"first", [])


def test_an_answer_whose_body_fails_while_it_is_held_is_closed(clock: MovableClock, tmp_path: Path) -> None:
    """WSGI: a server closes what it was given (PEP 3333), and so must who reads the body in its place."""
    closed = []

    class Broken:
        def __iter__(self) -> Iterator[bytes]:
            yield b"{"
            raise RuntimeError("the database went away")

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Broken:
        start_response("200 OK", [JSON])
        return Broken()

    logout = BlockingLogout(
        store=f"sqlite:///{tmp_path / 'logout.db'}", jwt_key=JWT_KEY, jwt_algorithms="HS256", audit="off",
        env_file=None, token_responses="GET /: access_token",
    )  # fmt: skip
    with pytest.raises(RuntimeError):
        wsgi_request(WsgiMiddleware(app, logout=logout), token())
    logout.close()

    assert closed == [True]


def test_a_file_sent_by_its_path_starts_its_answer_on_a_path_of_tokens(tmp_path: Path) -> None:
    """ASGI's `http.response.pathsend` ends an answer without a body message; its start must come first."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        fields = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.pathsend", "path": "/srv/answer.json"})

    async def main() -> list[str]:
        rig = Rig(app, store=f"sqlite:///{tmp_path / 'logout.db'}", token_responses="GET /login: access_token")
        exchange = rig.get(None, "/login")
        await exchange.task
        await rig.close()
        return [each["type"] for each in exchange.sent]

    assert asyncio.run(main()) == ["http.response.start", "http.response.pathsend"]


# ---- the registry ----------------------------------------------------------------------------------------


def test_a_session_whose_first_note_failed_is_listed_after_the_next(site: BuildSite) -> None:
    """The store was away for one moment: it must not hide a device from its user for ever."""
    http = site(idle_timeout="20m")
    bearer = http.issuer.mint("ann", sid="s1", life=DAY)
    learn = http.store.learn
    failing = itertools.chain([True], itertools.repeat(False))

    async def once_away(facts: Any) -> None:
        if next(failing):
            raise StoreError("away for a moment")
        await learn(facts)

    http.store.learn = once_away  # type: ignore[method-assign]
    assert http.me(token=bearer) == "ann"
    for _ in range(3):
        http.clock.move(300.0)
        assert http.me(token=bearer) == "ann"

    assert len(http.get("/auth/sessions", token=bearer).json["sessions"]) == 1


def test_a_device_that_slept_counts_again_when_it_comes_back(behind: Build, clock: MovableClock) -> None:
    """MAX_SESSIONS: waiting until the access token is over, and refreshing then, must not make one more."""
    site = behind(lambda asked: told(), max_sessions="1", token_responses="")
    old = site.issuer.mint("ann", sid="s1")
    assert site.is_alive(old)
    clock.move(3601.0)
    second = site.issuer.mint("ann", sid="s2")
    assert site.is_alive(second)

    refreshed = site.issuer.mint("ann", sid="s1")
    alive = [site.is_alive(refreshed), site.is_alive(refreshed), site.is_alive(second)]

    assert alive[1:].count(True) == 1


# ---- what belongs together -------------------------------------------------------------------------------


def test_whoever_planted_a_cookie_cannot_end_the_login_made_with_it(behind: Build) -> None:
    """An unverified credential condemns itself only (contract 2), also in the two minutes after it was replaced."""

    def handle(asked: Asked) -> Told:
        fields = [JSON, ("Set-Cookie", "session=the-victims-own; Path=/")] if asked.path == "/login" else [JSON]
        return 200, fields, json.dumps({"cookie": asked.headers.get("cookie")}).encode()

    site = behind(handle, cookies="session:opaque")
    assert site.get("/me", cookie="planted").json == {"cookie": "session=planted"}
    assert site.post("/login", cookie="planted", json={}).cookies == {"session": "the-victims-own"}

    site.post("/auth/logout", cookie="planted", headers=OWN_PAGE)

    assert site.get("/me", cookie="the-victims-own").json == {"cookie": "session=the-victims-own"}


def test_logging_in_again_is_not_ended_by_the_end_of_the_session_before(behind: Build, clock: MovableClock) -> None:
    """Reauthenticated in time (AAL2): the old session reaches its limit, and the new one has all of its own."""

    def handle(asked: Asked) -> Told:
        return told(access_token=new) if asked.path == "/login" else told()

    site = behind(handle, absolute_timeout="24h")
    old = site.issuer.mint("ann", sid="s1", life=2 * DAY)
    assert site.is_alive(old)
    clock.move(DAY - 600.0)
    new = site.issuer.mint("ann", sid="s2", life=2 * DAY)
    assert site.post("/login", token=old, json={}).status == 200
    clock.move(601.0)

    assert [site.is_alive(old), site.is_alive(new)] == [False, True]


# ---- time, registry and store, as a thief or a stranger uses them ----------------------------------------


@pytest.mark.parametrize("limit", ["idle_timeout", "absolute_timeout"])
@pytest.mark.parametrize("beside", ["other=one; other=two", "other=revoked"])
def test_a_bad_cookie_beside_it_does_not_stop_the_clock_of_a_session(site: BuildSite, limit: str, beside: str) -> None:
    """Another guarded cookie that is sent twice, or is dead, is taken out; the session that is left has its time."""
    http = site(cookies="session:auto, other:opaque", **{limit: "20m"})
    http.post("/auth/logout", headers={"Cookie": "other=revoked", **OWN_PAGE})
    device = http.login("ann")
    assert http.me(cookie=device.cookie) == "ann"
    http.clock.move(DAY)

    answer = http.get("/me", headers={"Cookie": f"session={device.cookie}; {beside}"})

    assert answer.json["user"] is None


def test_a_bad_cookie_beside_it_does_not_hide_a_session_from_its_user(site: BuildSite) -> None:
    """A thief who always sends another guarded cookie twice is on the list of devices all the same."""
    http = site(cookies="session:auto, other:opaque", token_responses=None)
    bearer, thief = (http.issuer.mint("ann", sid=sid) for sid in ("mine", "thief"))
    http.me(token=bearer)

    used = http.get("/me", token=thief, headers={"Cookie": "other=one; other=two"})

    assert used.json["user"] == "ann"
    assert len(http.get("/auth/sessions", token=bearer).json["sessions"]) == 2


def test_the_clock_of_a_token_is_forgotten_with_the_token(site: BuildSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tokens have no session id each has a note of its own: for as long as it lives, not for MAX_LIFETIME."""
    http = site(idle_timeout="20m", token_responses=None)
    noted: list[Any] = []
    learn = http.store.learn

    async def spy(facts: Any) -> None:
        noted.extend(facts)
        await learn(facts)

    http.store.learn = spy  # type: ignore[method-assign]
    ends = http.clock() + 600.0
    assert http.me(token=http.issuer.mint("ann", life=600.0)) == "ann"

    assert noted
    assert max(fact.until for fact in noted) <= ends + DAY


def test_nobody_fills_the_store_with_cookies_that_he_made_up(behind: Build) -> None:
    """1,000 an hour and address may be stored of what cannot be verified (contract 4.1); not one for each request."""
    made = itertools.count()
    site = behind(
        lambda asked: (200, [JSON, ("Set-Cookie", f"session=fresh-{next(made)}; Path=/")], b"{}"),
        cookies="session:opaque",
    )
    stored = []
    learn = site.store.learn

    async def spy(facts: Any) -> None:
        stored.extend(facts)
        await learn(facts)

    site.store.learn = spy  # type: ignore[method-assign]
    for number in range(1100):
        site.get("/", cookie=f"made-up-{number}")

    assert len(stored) <= 1010


def test_a_refresh_token_that_expired_keeps_no_session_awake(site: BuildSite) -> None:
    """It is no login any more: whoever still sends it, and is refused by the application, is not the user at work."""
    http = site(idle_timeout="20m")
    access = http.issuer.mint("ann", sid="s1", life=DAY)
    old = http.issuer.mint("ann", sid="s1", kind="refresh", life=60.0)
    assert http.me(token=access) == "ann"

    for _ in range(12):
        http.clock.move(600.0)
        assert http.refresh(old).status == 401

    assert http.get("/me", token=access).status == 401


def test_a_login_after_logging_out_the_others_asks_the_store_once(site: BuildSite) -> None:
    """The record of a cut-off stays for MAX_LIFETIME; so long must not every request of its user cost twice as much."""
    http = site()
    http.me(token=http.login("ann").access)
    http.clock.move(60.0)
    here = http.login("ann")
    assert http.request("DELETE", "/auth/sessions", token=here.access).status == 200
    http.me(token=here.access)

    http.store.calls.clear()
    assert http.me(token=here.access) == "ann"

    assert http.store.calls == ["find"]


def test_logging_in_again_where_one_session_is_allowed_does_not_end_the_new_one(behind: Build) -> None:
    """MAX_SESSIONS=1: the old token is still sent with the login; it is the older of the two, and goes."""

    def handle(asked: Asked) -> Told:
        return told(access_token=new) if asked.path == "/login" else told()

    site = behind(handle, max_sessions="1")
    old, new = site.issuer.mint("ann", sid="s1"), site.issuer.mint("ann", sid="s2")
    assert site.is_alive(old)

    assert site.post("/login", token=old, json={}).status == 200

    assert [site.is_alive(new), site.is_alive(new)] == [True, True]


def test_a_cut_off_that_is_stored_in_two_steps_is_done_when_both_are(site: BuildSite) -> None:
    """The first is only in the journal, the second in the store: that is 202, not 200 (contract 1.3)."""
    http = site()
    device = http.login("ann")
    add = http.store.add
    outcomes = iter([Outcome.PENDING])

    async def slow(records: Any) -> Outcome:
        await add(records)
        http.clock.move(0.01)
        return next(outcomes, Outcome.DONE)

    http.store.add = slow  # type: ignore[method-assign]

    answer = http.post("/auth/logout/all", token=device.access)

    assert (answer.status, answer.json["status"]) == (202, "pending")
