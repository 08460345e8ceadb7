"""Every door of a logout × every kind of credential × every store × both shells, in one matrix.

A new door is one line of `DOORS`, a new kind one of `KINDS`, a new store one of `BACKENDS`. A door *needs* something
(a cookie, a session id that the application knows, …), a kind and a store *have* something; a combination is possible
where nothing that is needed is missing, and each possible one is tried. `test_the_matrix_has_no_holes` counts them.

Here time is real: the command line opens the store by itself, and has no other clock.
"""

from __future__ import annotations

import inspect
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import flask
import jwt
import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from logout_middleware import BlockingLogout, Logout, LogoutSettings
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.cli.commands import root
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

from .client import OWN_LINK, OWN_PAGE, Answer, AsgiClient, Sender, Site, WsgiClient
from .test_stable_session import by_django, by_flask, by_starlette

KEY, STRANGERS_KEY = "the key that signs the tokens of the matrix", "the key of another issuer, which nobody gave us"
SECRET = "the secret that signs the sessions of the matrix"
SETTINGS: Mapping[str, str] = {
    "jwt_key": KEY,
    "jwt_algorithms": "HS256",
    "jwt_issuer": "https://login.example.com",
    "cookies": "flask:flask, starlette:starlette, django:django, opaque:opaque, token:jwt",
    "cookie_secret": SECRET,
    "token_responses": "POST /login: access_token, refresh_token",
    "secret": "the secret that signs links in the matrix",
    "endpoints": "logout, sessions, oauth",
    "clients": '{"caller": {"secret": "the secret of the caller of the matrix"}}',
    "oidc_issuer": "https://login.example.com",
    "oidc_client_id": "matrix",
    "admin_key": "the key of the operators of the matrix",
    "allow_unsafe_store": "true",
    "audit": "off",
    "store_deadline": "5s",  # what is measured here is not how fast a busy machine answers
}
STALENESS = 1.0


# ---- the application: whom it lets in is what the middleware lets through ------------------------------------


def starlette_app() -> Starlette:
    """`GET /` says which credentials arrived; `POST /login` hands out what the body says."""

    async def arrived(request: Request) -> JSONResponse:
        return JSONResponse([*request.cookies, *(["bearer"] if "authorization" in request.headers else [])])

    async def login(request: Request) -> JSONResponse:
        order = await request.json()
        answer = JSONResponse(order["tokens"])
        for name, value in order["cookies"].items():
            answer.headers.append("set-cookie", f"{name}={value}; Path=/; HttpOnly")
        return answer

    return Starlette(routes=[Route("/", arrived), Route("/login", login, methods=["POST"])])


def flask_app() -> flask.Flask:
    """The same in Flask."""
    app = flask.Flask("application")

    @app.get("/")
    def arrived() -> Any:
        return [*flask.request.cookies, *(["bearer"] if "Authorization" in flask.request.headers else [])]

    @app.post("/login")
    def login() -> Any:
        order = flask.request.get_json()
        answer = flask.jsonify(order["tokens"])
        for name, value in order["cookies"].items():
            answer.headers.add("Set-Cookie", f"{name}={value}; Path=/; HttpOnly")
        return answer

    return app


# ---- what a user holds ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Credential:
    """One text and how it is sent: as `bearer`, or in the cookie of this name."""

    carried: str
    text: str

    @property
    def headers(self) -> dict[str, str]:
        """How it arrives."""
        return (
            {"Authorization": f"Bearer {self.text}"}
            if self.carried == "bearer"
            else {"Cookie": f"{self.carried}={self.text}"}
        )


@dataclass(frozen=True)
class Login:
    """One login of a user: the credential that is taken to the door, and others of the same login."""

    user: str
    foremost: Credential
    mates: tuple[Credential, ...] = ()
    sid: str = ""
    client: str = ""

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """All of them."""
        return (self.foremost, *self.mates)


class Worker(Sender):
    """One process as its clients see it: an application behind the middleware."""

    def __init__(self, shell: str, settings: LogoutSettings) -> None:
        self.settings = settings
        self.logout: Any
        if shell == "asgi":
            self.logout = Logout(settings)
            super().__init__(AsgiClient(AsgiMiddleware(starlette_app(), logout=self.logout)))
        else:
            self.logout = BlockingLogout(settings)
            super().__init__(WsgiClient(WsgiMiddleware(flask_app(), logout=self.logout)))

    def close(self) -> None:
        """Give back the store and the event loop."""
        self.call("close")
        super().close()

    def call(self, name: str, *args: Any, **given: Any) -> Any:
        """A method of `Logout` or `BlockingLogout`, done when this returns."""
        result = getattr(self.logout, name)(*args, **given)
        return self.client.runner.run(result) if inspect.iscoroutine(result) else result  # type: ignore[attr-defined]

    def accepts(self, credential: Credential) -> bool:
        """Does this credential reach the application?"""
        answer = self.get("/", headers=credential.headers)
        assert answer.status == 200 or (answer.status, credential.carried) == (401, "bearer"), answer
        return answer.status == 200 and credential.carried in answer.json

    def accepted(self, login: Login) -> list[str]:
        """How the credentials of this login are carried that are accepted."""
        return [each.carried for each in login.credentials if self.accepts(each)]

    def hand_out(self, *, tokens: Mapping[str, str] | None = None, cookies: Mapping[str, str] | None = None) -> Answer:
        """Have the application answer a login with these."""
        answer = self.post("/login", json={"tokens": tokens or {}, "cookies": cookies or {}})
        assert answer.status == 200, answer
        return answer


_numbers = itertools.count()


def mint(user: str, key: str = KEY, **claims: Any) -> str:
    """A JWT with every usual claim; one that is given as None is left out."""
    number, now = next(_numbers), int(time.time())
    usual = {
        "iss": "https://login.example.com", "sub": user, "jti": f"t{number}", "sid": f"s{number}", "nonce": number,
        "client_id": f"client-of-{user}", "iat": now, "exp": now + 3600,
    }  # fmt: skip
    return jwt.encode({name: value for name, value in (usual | claims).items() if value is not None}, key, "HS256")


LogIn = Callable[[Worker, str], Login]


def with_token(carried: str, key: str = KEY, **claims: Any) -> LogIn:
    """A login that left one JWT."""

    def log_in(worker: Worker, user: str) -> Login:
        sid = f"sid-{next(_numbers)}"
        text = mint(user, key, **{"sid": sid, **claims})
        return Login(user, Credential(carried, text), sid=sid, client=f"client-of-{user}")

    return log_in


def with_opaque(carried: str) -> LogIn:
    """A login that left a value which only the application understands."""
    return lambda worker, user: Login(user, Credential(carried, f"Opaque-value-{user}-{next(_numbers)}"))


def with_session(carried: str, sign: Callable[..., str], user_member: str) -> LogIn:
    """A login that left a signed session with the application's own session id in it."""

    def log_in(worker: Worker, user: str) -> Login:
        sid = f"sid-{next(_numbers)}"
        return Login(user, Credential(carried, sign({user_member: user, "sid": sid}, SECRET)), sid=sid)

    return log_in


def with_session_named_by_us(carried: str, sign: Callable[..., str], user_member: str) -> LogIn:
    """The same without an id: the middleware adds one as the cookie passes."""

    def log_in(worker: Worker, user: str) -> Login:
        set_by_application = sign({user_member: user}, SECRET)
        text = worker.hand_out(cookies={carried: set_by_application}).cookies[carried]
        assert text != set_by_application
        return Login(user, Credential(carried, text))

    return log_in


def with_unnamed_session(carried: str, sign: Callable[..., str], user_member: str) -> LogIn:
    """The same, set where the middleware did not see it: its content is its name."""

    def log_in(worker: Worker, user: str) -> Login:
        return Login(user, Credential(carried, sign({user_member: user, "nonce": next(_numbers)}, SECRET)))

    return log_in


def with_login_answer(worker: Worker, user: str) -> Login:
    """Two tokens without any session id and a cookie, which one answer handed out together."""
    tokens = {f"{kind}_token": mint(user, sid=None, client_id=None) for kind in ("access", "refresh")}
    answer = worker.hand_out(tokens=tokens, cookies={"starlette": by_starlette({"user_id": user}, SECRET)})
    access, refresh = (Credential("bearer", tokens[f"{kind}_token"]) for kind in ("access", "refresh"))
    return Login(user, access, (refresh, Credential("starlette", answer.cookies["starlette"])))


def with_token_beside_cookie(worker: Worker, user: str) -> Login:
    """A token and a cookie without anything in common, which one request carried together."""
    cookie = with_session("flask", by_flask, "user_id")(worker, user)
    token = Credential("bearer", mint(user, sid=None, client_id=None))
    assert worker.get("/", headers=token.headers | cookie.foremost.headers).status == 200
    return Login(user, token, cookie.credentials, sid=cookie.sid)


def with_cookie_beside_token(worker: Worker, user: str) -> Login:
    """The same, but it is the cookie that is taken to the door."""
    login = with_token_beside_cookie(worker, user)
    return Login(user, login.mates[0], (login.foremost,), sid=login.sid)


@dataclass(frozen=True)
class Kind:
    """A kind of credential. What it *has*:

    `bearer`, `cookie`: how it is carried. `token`: a text that can be given to whoever takes tokens; `unowned`: one
    that names no client. `user`, `client`: whom it verifiably names. `sid`: a session id that the application knows.
    `listed`: a session of the registry.
    """

    name: str
    has: frozenset[str]
    log_in: LogIn


def _kind(name: str, has: str, log_in: LogIn) -> Kind:
    return Kind(name, frozenset(has.split()), log_in)


KINDS = (
    _kind("JWT", "bearer token user client sid listed", with_token("bearer")),
    _kind("JWT without jti", "bearer token user client sid listed", with_token("bearer", jti=None)),
    _kind("JWT without sid", "bearer token user client", with_token("bearer", sid=None)),
    _kind("JWT without sid of a login answer", "bearer token unowned user listed", with_login_answer),
    _kind("JWT without sid beside a cookie", "bearer token unowned user listed", with_token_beside_cookie),
    _kind(
        "JWT of another issuer",
        "bearer token unowned",
        with_token("bearer", STRANGERS_KEY, iss="https://other.example"),
    ),
    _kind("opaque bearer", "bearer token unowned", with_opaque("bearer")),
    _kind("JWT in a cookie", "cookie token user client sid listed", with_token("token")),
    _kind("opaque cookie", "cookie token unowned", with_opaque("opaque")),
    _kind("Flask cookie", "cookie user sid listed", with_session("flask", by_flask, "user_id")),
    _kind("Starlette cookie", "cookie user sid listed", with_session("starlette", by_starlette, "user_id")),
    _kind("Django cookie", "cookie user sid listed", with_session("django", by_django, "_auth_user_id")),
    _kind("Flask cookie named by us", "cookie user listed", with_session_named_by_us("flask", by_flask, "user_id")),
    _kind("Django cookie without id", "cookie user", with_unnamed_session("django", by_django, "_auth_user_id")),
    _kind("cookie beside a JWT without sid", "cookie user sid listed", with_cookie_beside_token),
)  # A cookie in pieces (`session.0`) is not guarded, only deleted: there is no door to take it to.


# ---- the doors -----------------------------------------------------------------------------------------------

Act = Callable[[Worker, Login, Login], None]
"""Take this login to the door; the third is another login of the same user, for doors that one opens from there."""


def by_request(method: str, path: str, expected: int, send: Callable[[Worker, Login, Login], dict[str, Any]]) -> Act:
    """A door that one request opens; `send` says with what."""

    def act(worker: Worker, login: Login, elsewhere: Login) -> None:
        answer = worker.request(method, path, **send(worker, login, elsewhere))
        assert answer.status == expected, answer

    return act


def presented(worker: Worker, login: Login, elsewhere: Login) -> dict[str, Any]:
    """The credential itself, from a page of our own."""
    return {"headers": OWN_PAGE | login.foremost.headers}


def presented_elsewhere(worker: Worker, login: Login, elsewhere: Login) -> dict[str, Any]:
    """The other device's credential."""
    return presented(worker, elsewhere, login)


def followed_link(worker: Worker, login: Login, elsewhere: Login) -> dict[str, Any]:
    """A person clicked a link on a page of our own."""
    return {"headers": OWN_LINK | login.foremost.headers}


def end_listed_session(worker: Worker, login: Login, elsewhere: Login) -> None:
    """On another device, pick this one from the list of my devices and end it."""
    mine = worker.get("/auth/sessions", headers=login.foremost.headers).json["sessions"]
    session_id = next(each["id"] for each in mine if each["current"])
    theirs = worker.get("/auth/sessions", headers=elsewhere.foremost.headers).json["sessions"]
    assert [each["current"] for each in theirs if each["id"] == session_id] == [False]

    answer = worker.request("DELETE", f"/auth/sessions/{session_id}", **presented(worker, elsewhere, login))

    assert answer.status == 200, answer


def follow_signed_link(worker: Worker, login: Login, elsewhere: Login) -> None:
    """An address that the application made, followed from a mail, say."""
    address = worker.call("logout_url", sid=login.sid)
    assert worker.get(address, headers=login.foremost.headers).status == 303


def follow_link_with_token(worker: Worker, login: Login, elsewhere: Login) -> None:
    """A client sends the browser here with the token that it has of the user."""
    assert worker.get(f"/auth/logout?{urlencode({'oauth_token': login.foremost.text})}").status == 303


def by_call(call: Callable[[Worker, Login, Login], Any]) -> Act:
    """A method of `Logout` or `BlockingLogout`."""

    def act(worker: Worker, login: Login, elsewhere: Login) -> None:
        assert call(worker, login, elsewhere) in (None, True)

    return act


def by_command(kind: str, name_of: Callable[[Login], str]) -> Act:
    """`logout-middleware revoke …` with the settings of the worker in its environment; it opens its own store."""

    def act(worker: Worker, login: Login, elsewhere: Login) -> None:
        settings = worker.settings
        environ = {f"LOGOUT_{name.upper()}": value for name, value in SETTINGS.items()}
        environ |= {"LOGOUT_STORE": settings.store, "LOGOUT_KEY_PREFIX": settings.key_prefix}
        environ |= {"LOGOUT_JOURNAL": settings.journal} if settings.journal else {}
        ended = CliRunner().invoke(root, ["revoke", kind, "--json", "--", name_of(login)], env=environ)
        assert ended.exit_code == 0, ended.output

    return act


@dataclass(frozen=True)
class Door:
    """One way to log out. `reach`: whether it ends this `login` or the whole `user`; `needs`: see the module."""

    name: str
    needs: frozenset[str]
    act: Act
    reach: str = "login"


def _door(name: str, needs: str, act: Act, reach: str = "login") -> Door:
    return Door(name, frozenset(needs.split()), act, reach)


def _body(worker: Worker, login: Login, elsewhere: Login) -> dict[str, Any]:
    return {"json": {"refresh_token": login.foremost.text}}


def _others(worker: Worker, login: Login, elsewhere: Login) -> dict[str, Any]:
    return {"json": {"scope": "others"}} | presented_elsewhere(worker, login, elsewhere)


def _revoked_by_client(worker: Worker, login: Login, elsewhere: Login) -> dict[str, Any]:
    caller = {"client_id": "caller", "client_secret": "the secret of the caller of the matrix"}
    return {"form": {"token": login.foremost.text, **caller}}


def _ordered(**names: str) -> Callable[[Worker, Login, Login], dict[str, Any]]:
    """What the provider posts: a logout token with these claims, each named by a member of the login."""

    def send(worker: Worker, login: Login, elsewhere: Login) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": SETTINGS["oidc_issuer"], "aud": "matrix", "iat": now, "exp": now + 120, "jti": f"o{next(_numbers)}",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        } | {claim: getattr(login, member) for claim, member in names.items()}  # fmt: skip
        return {"form": {"logout_token": jwt.encode(claims, KEY, "HS256", headers={"typ": "logout+jwt"})}}

    return send


def in_a_frame(worker: Worker, login: Login, elsewhere: Login) -> None:
    """The provider shows our address in a frame; the browser sends no cookie."""
    query = urlencode({"iss": SETTINGS["oidc_issuer"], "sid": login.sid})
    answer = worker.get(f"/auth/frontchannel-logout?{query}", headers={"Sec-Fetch-Dest": "iframe"})
    assert answer.status == 200, answer


def _by_operator(**names: str) -> Callable[[Worker, Login, Login], dict[str, Any]]:
    """What an operator posts: what to revoke, each named by a member of the login."""
    return lambda worker, login, elsewhere: {
        "token": SETTINGS["admin_key"], "json": {what: getattr(login, member) for what, member in names.items()}
    }  # fmt: skip


BACKCHANNEL, ADMIN = "/auth/backchannel-logout", "/auth/admin/revoke"
DOORS = (
    _door("POST with a bearer", "bearer", by_request("POST", "/auth/logout", 200, presented)),
    _door("POST with a token in the body", "token", by_request("POST", "/auth/logout", 200, _body)),
    _door("POST with a cookie", "cookie", by_request("POST", "/auth/logout", 200, presented)),
    _door("POST for all devices", "user", by_request("POST", "/auth/logout/all", 200, presented), "user"),
    _door("POST for the other devices", "user", by_request("POST", "/auth/logout", 200, _others)),
    _door("GET from an own link", "cookie", by_request("GET", "/auth/logout", 303, followed_link)),
    _door("GET by a signed link", "cookie sid", follow_signed_link),
    _door("GET with oauth_token", "token", follow_link_with_token),
    _door("DELETE of a session", "listed", end_listed_session),
    _door("DELETE of the others", "user", by_request("DELETE", "/auth/sessions", 200, presented_elsewhere)),
    _door("revoke_token", "token", by_call(lambda w, login, other: w.call("revoke_token", login.foremost.text))),
    _door("revoke_session", "sid", by_call(lambda w, login, other: w.call("revoke_session", login.sid))),
    _door("revoke_user", "user", by_call(lambda w, login, other: w.call("revoke_user", login.user)), "user"),
    _door(
        "revoke_other_sessions",
        "user sid",
        by_call(lambda w, login, other: w.call("revoke_other_sessions", login.user, keep=other.sid)),
    ),
    _door("revoke_client", "client", by_call(lambda w, login, other: w.call("revoke_client", login.client)), "user"),
    _door("OAuth revocation", "unowned", by_request("POST", "/auth/revoke", 200, _revoked_by_client)),
    _door("back-channel, session", "sid", by_request("POST", BACKCHANNEL, 200, _ordered(sid="sid"))),
    _door("back-channel, both", "sid user", by_request("POST", BACKCHANNEL, 200, _ordered(sid="sid", sub="user"))),
    _door("back-channel, user", "user", by_request("POST", BACKCHANNEL, 200, _ordered(sub="user")), "user"),
    _door("front-channel", "sid", in_a_frame),
    _door("admin, session", "sid", by_request("POST", ADMIN, 200, _by_operator(session="sid"))),
    _door("admin, user", "user", by_request("POST", ADMIN, 200, _by_operator(user="user")), "user"),
    _door("command revoke token", "shared token", by_command("token", lambda login: login.foremost.text)),
    _door("command revoke session", "shared sid", by_command("session", lambda login: login.sid)),
    _door("command revoke user", "shared user", by_command("user", lambda login: login.user), "user"),
    _door("command revoke client", "shared client", by_command("client", lambda login: login.client), "user"),
)  # `everyone` leaves no bystander alive, so it is not a door of this matrix: tests/test_logout_api.py, test_cli.py.


# ---- the stores ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backend:
    """A store as an operator sets it up. It has `shared` where another process knows of its logouts."""

    name: str
    server: str | None = None
    has: frozenset[str] = frozenset({"shared"})
    journal: bool = False
    given: Mapping[str, str] = field(default_factory=dict)

    def open_workers(self, shell: str, url: str, place: Path) -> tuple[Worker, Worker]:
        """Two workers of equal settings, which share nothing but the store; one where there is nothing to share."""
        given = {**SETTINGS, **self.given, "store": url, "key_prefix": f"doors{time.time_ns()}:"}
        if self.journal:
            given["journal"] = str(place / "journal.db")
        settings = LogoutSettings.load(environ={}, env_file=None, **given)
        first = Worker(shell, settings)
        return first, Worker(shell, settings) if "shared" in self.has else first

    def wait_until(self, holds: Callable[[], bool]) -> bool:
        """Does it hold: at once, or with a copy in memory within its bound?"""
        ends = time.monotonic() + float(self.given.get("max_staleness", 0.0))
        while not (held := holds()) and time.monotonic() < ends:
            time.sleep(0.005)
        return held


COPY = {"max_staleness": str(STALENESS)}
BACKENDS = (
    Backend("memory", has=frozenset()),
    Backend("SQLite"),
    Backend("SQLite with a journal", journal=True),
    Backend("Redis", "redis_server"),
    Backend("Redis with a copy", "redis_server", given=COPY),
    Backend("PostgreSQL", "postgres_server"),
    Backend("MariaDB", "mariadb_server"),
)

Workers = Callable[[Backend, str], tuple[Worker, Worker]]


@pytest.fixture(scope="module")
def workers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Two workers on a store, the same two for the whole matrix."""
    opened: dict[tuple[str, str], tuple[Worker, Worker]] = {}

    def of(backend: Backend, shell: str) -> tuple[Worker, Worker]:
        pair = opened.get((backend.name, shell))
        if pair is None:
            place = tmp_path_factory.mktemp("doors")
            local = "memory://" if "shared" not in backend.has else f"sqlite:///{place / 'logout.db'}"
            url = request.getfixturevalue(backend.server).url if backend.server else local
            pair = opened[backend.name, shell] = backend.open_workers(shell, url, place)
        return pair

    yield of
    for each in {worker for pair in opened.values() for worker in pair}:
        each.close()


# ---- the matrix ----------------------------------------------------------------------------------------------

COMBINATIONS = [
    (backend, door, kind)
    for backend, door, kind in itertools.product(BACKENDS, DOORS, KINDS)
    if door.needs <= backend.has | kind.has
]


@pytest.mark.parametrize(("backend", "door", "kind"), COMBINATIONS, ids=lambda each: each.name)
def test_a_logout_by_any_door_is_known_to_every_worker(
    workers: Workers, shell: str, backend: Backend, door: Door, kind: Kind
) -> None:
    """All of that login is refused everywhere, and nothing of anybody else."""
    here, there = workers(backend, shell)
    name = f"ann-{next(_numbers)}"
    login, elsewhere, bystander = (kind.log_in(here, user) for user in (name, name, f"not-{name}"))
    lasting = [bystander] if door.reach == "user" else [bystander, elsewhere]
    for each in (login, elsewhere, bystander):
        assert there.accepted(each) == [credential.carried for credential in each.credentials]

    door.act(here, login, elsewhere)

    assert backend.wait_until(lambda: there.accepted(login) == [])
    assert backend.wait_until(lambda: here.accepted(login) == [])
    assert door.reach == "login" or there.accepted(elsewhere) == []
    for each in lasting:
        assert there.accepted(each) == [credential.carried for credential in each.credentials]


def test_the_matrix_has_no_holes() -> None:
    """What is left out is what cannot be; whoever adds a line sees these numbers grow, and nothing shrinks unseen."""
    by_backend = Counter(backend.name for backend, _, _ in COMBINATIONS)
    tried = {(door.name, kind.name) for _, door, kind in COMBINATIONS}

    assert (len(DOORS), len(KINDS), len(DOORS) * len(KINDS)) == (26, 15, 390)
    assert len(tried) == 220, "the others of 390 lack what the door needs, e.g. a cookie that has no session id"
    assert by_backend == {each.name: 220 if "shared" in each.has else 188 for each in BACKENDS}
    assert {door for door, _ in tried} == {door.name for door in DOORS}
    assert {kind for _, kind in tried} == {kind.name for kind in KINDS}


def test_a_token_that_never_ends_can_be_logged_out(http: Site) -> None:
    """Signed by us, with an id, and with neither `exp` nor `iat`: its record is kept for ever."""
    token = http.issuer.mint("ann", iat=None, exp=None)

    answer = http.post("/auth/logout", token=token)

    assert (answer.status, answer.json["revoked"]["tokens"]) == (200, 1)
    assert http.call("is_revoked", token)
