"""Refresh, logout and login of one user at once, in orders that a seed decides.

An operation is one request to one of two workers. It stops before and after whatever it asks the store, and at the
steps of the application, and goes on when it is told to: that order is the whole interleaving. Many steps fall into one
second, and the tokens say in whole seconds when they were issued. When all are done, both workers are asked about
everything that was ever issued:

* what a login, or a refresh of it, issued that began before its logout was acknowledged is refused;
* a login that began after that is alive with all its parts;
* a login that was under way meanwhile is one or the other, but not in part.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import sys
import threading
import types
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from itsdangerous import BadSignature, TimestampSigner

from logout_middleware import BlockingLogout, Logout, LogoutSettings
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.colour import run_blocking
from logout_middleware.flows import identify
from logout_middleware.rules import identity
from logout_middleware.rules.credentials import Credential
from logout_middleware.stores import Store
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.stores.sqlite import SqliteStore
from logout_middleware.testing import MovableClock
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

from .apps import COOKIE_SECRET, JWT_KEY, Issuer

PASSING = (0.0, 0.0, 0.0, 0.0001, 0.0001, 0.01, 0.3)
"""Seconds between two steps: most interleavings are over within a second or two."""
PATIENCE = 20.0
"""Seconds after which a thread that reaches no further step is taken for stuck."""
BLOCKS, MASS = 40, 250
"""10,000 interleavings, so many at a time on one store."""
FEW = 300
ARRIVED, ANSWERING, LEAVING = "is in the application", "has made its answer", "answers"

Pause = Callable[[str], Coroutine[Any, Any, None]]


class SteppingStore:
    """A store of which every question and every addition is a step, before it and after it."""

    durable, writes_block, reads_block = True, False, False

    def __init__(self, inner: Store, pause: Pause) -> None:
        self.inner, self._pause = inner, pause
        self.version = inner.version

    async def _ask(self, name: str, *given: Any) -> Any:
        await self._pause(f"will {name}")
        answer = await getattr(self.inner, name)(*given)
        await self._pause(f"did {name}")
        return answer

    async def find(self, keys: Any) -> Any:
        return await self._ask("find", keys)

    async def add(self, revocations: Any) -> Any:
        return await self._ask("add", revocations)

    async def learn(self, facts: Any) -> Any:
        return await self._ask("learn", facts)

    async def facts(self, subjects: Any) -> Any:
        return await self._ask("facts", subjects)

    async def hit(self, key: bytes, window: float) -> Any:
        return await self._ask("hit", key, window)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


# ---- the application -----------------------------------------------------------------------------------


class _Signer(TimestampSigner):
    """Signs session cookies as Starlette does, at the time of the test."""

    clock: MovableClock

    def get_timestamp(self) -> int:
        return int(self.clock())


class Application:
    """Logs in, refreshes and says who you are, by tokens and by a signed cookie; it knows nothing of logging out."""

    def __init__(self, clock: MovableClock, pause: Pause) -> None:
        self.clock, self.pause, self.issuer = clock, pause, Issuer(clock)
        self.signer = _Signer(COOKIE_SECRET)
        self.signer.clock = clock
        self._logins = itertools.count()
        self._claims: dict[str, dict[str, Any]] = {}

    async def answer(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], dict[str, Any]]:
        """Status, cookies and JSON."""
        await self.pause(ARRIVED)
        made = self._made(path, headers, json.loads(body or b"{}"))
        await self.pause(ANSWERING)
        return made

    def _made(
        self, path: str, headers: dict[str, str], members: dict[str, Any]
    ) -> tuple[int, list[tuple[str, str]], dict[str, Any]]:
        session = self._read(headers.get("cookie", ""))
        if path == "/login":
            return self._login(members["user"], sid=members["sid"])
        if path in ("/refresh", "/peek"):
            claims = self._claims.get(members.get("refresh_token", ""))
            if claims is None or claims["kind"] != "refresh":
                return 401, [], {}
            if path == "/peek":
                return 200, [], {}
            tokens = {"access_token": self._mint(claims["sub"], sid=claims.get("sid"))}
            if members["rotates"]:
                tokens["refresh_token"] = self._mint(claims["sub"], sid=claims.get("sid"), kind="refresh", life=86400.0)
            return 200, self._signed(session), tokens
        claims = self._claims.get(headers.get("authorization", "").removeprefix("Bearer "))
        user = claims["sub"] if claims is not None else session.get("user_id")
        return (200 if user else 401), self._signed(session) if path == "/write" else [], {"user": user}

    def _login(self, user: str, *, sid: bool) -> tuple[int, list[tuple[str, str]], dict[str, Any]]:
        named = {"sid": f"login-{next(self._logins)}"} if sid else {}
        tokens = {
            "access_token": self._mint(user, **named),
            "refresh_token": self._mint(user, kind="refresh", life=86400.0, **named),
        }
        return 200, self._signed({"user_id": user, **named}), tokens

    def _mint(self, user: str, **claims: Any) -> str:
        token = self.issuer.mint(user, iat=int(self.clock()), **claims)
        # What it minted it knows again: the time of the tests is better spent on more interleavings.
        self._claims[token] = {"sub": user, "kind": "access", **claims}
        return token

    def _read(self, cookie: str) -> dict[str, Any]:
        held = cookie.removeprefix("session=")
        try:
            session: dict[str, Any] = json.loads(b64decode(self.signer.unsign(held))) if held else {}
        except BadSignature:
            return {}
        return session

    def _signed(self, session: dict[str, Any]) -> list[tuple[str, str]]:
        """A session that is there is signed again with every answer, as frameworks do."""
        if not session:
            return []
        value = self.signer.sign(b64encode(json.dumps(session).encode())).decode()
        return [("Set-Cookie", f"session={value}; Path=/; HttpOnly; SameSite=Lax")]


def as_asgi(application: Application) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        status, cookies, members = await application.answer(scope["path"], headers, body)
        fields = [(b"content-type", b"application/json")]
        fields += [(name.encode(), value.encode()) for name, value in cookies]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": json.dumps(members).encode()})

    return app


def as_wsgi(application: Application) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        headers = {"authorization": environ.get("HTTP_AUTHORIZATION", ""), "cookie": environ.get("HTTP_COOKIE", "")}
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        status, cookies, members = run_blocking(application.answer(environ["PATH_INFO"], headers, body))
        start_response(f"{status} .", [("Content-Type", "application/json"), *cookies])
        return [json.dumps(members).encode()]

    return app


# ---- operations, and who moves them ----------------------------------------------------------------------


@dataclass(eq=False)
class Request:
    """One request on its way: what is sent, to which worker, and what has come back."""

    path: str
    fields: Sequence[tuple[str, str]] = ()
    members: dict[str, Any] | None = None
    worker: int = 0
    at: str = "not sent"
    done: bool = False
    status: int = 0
    set_cookies: list[str] = field(default_factory=list)
    body: bytes = b""
    running: Any = None
    goes_on: Any = None
    stopped: Any = None

    @property
    def headers(self) -> list[tuple[str, str]]:
        kind = [("content-type", "application/json")] if self.members is not None else []
        return [("host", "app.example.com"), ("sec-fetch-site", "same-origin"), *kind, *self.fields]

    @property
    def sent_body(self) -> bytes:
        return json.dumps(self.members).encode() if self.members is not None else b""

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body or b"{}")
        return found

    @property
    def cookies(self) -> list[str]:
        """The session cookies that the answer sets."""
        values = [line.partition(";")[0].removeprefix("session=") for line in self.set_cookies]
        return [value for value in values if value.strip('"')]


class Coroutines:
    """Moves ASGI requests: a step is a plain suspension, so there is no event loop, and nothing else happens."""

    make_logout, middleware = Logout, AsgiMiddleware
    wrapped = staticmethod(as_asgi)

    @staticmethod
    @types.coroutine
    def pause(step: str) -> Generator[str, None, None]:
        yield step

    def move(self, request: Request, app: Any) -> None:
        """Let it run to its next step; the first time, send it."""
        if request.running is None:
            request.running = self._exchange(request, app)
        try:
            request.at = request.running.send(None)
        except StopIteration:
            request.at, request.done = "is done", True

    def finish(self, request: Request, app: Any) -> Request:
        """The same request, answered without a stop."""
        while not request.done:
            self.move(request, app)
        return request

    async def _exchange(self, request: Request, app: Any) -> None:
        scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "scheme": "https", "path": request.path,
            "raw_path": request.path.encode(), "query_string": b"", "client": ("192.0.2.1", 50000),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in request.headers],
        }  # fmt: skip

        async def receive() -> Any:
            return {"type": "http.request", "body": request.sent_body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                await self.pause(LEAVING)
                request.status = message["status"]
                request.set_cookies += [
                    value.decode("latin-1") for name, value in message["headers"] if name.lower() == b"set-cookie"
                ]
            else:
                request.body += message.get("body", b"")

        await app(scope, receive, send)

    def close(self) -> None:
        """Nothing to give back."""


class Threads:
    """Moves WSGI requests: each has a thread, of which one runs at a time."""

    make_logout, middleware = BlockingLogout, WsgiMiddleware
    wrapped = staticmethod(as_wsgi)

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(16)
        self.here = threading.local()

    async def pause(self, step: str) -> None:
        """Stop the thread, so that `run_blocking` can run what awaits this."""
        self._pause(step)

    def _pause(self, step: str) -> None:
        request: Request | None = getattr(self.here, "request", None)
        if request is None:
            return
        request.at = step
        request.stopped.release()
        request.goes_on.acquire()

    def move(self, request: Request, app: Any) -> None:
        """Let it run to its next step; the first time, send it."""
        if request.running is None:
            request.goes_on, request.stopped = threading.Semaphore(0), threading.Semaphore(0)
            request.running = self.pool.submit(self._run_in_steps, request, app)
        else:
            request.goes_on.release()
        if not request.stopped.acquire(timeout=PATIENCE):
            raise TimeoutError(f"{request.path} {request.at!r} reaches no further step")
        if request.done:
            request.running.result()

    def _run_in_steps(self, request: Request, app: Any) -> None:
        self.here.request = request
        try:
            self._exchange(request, app)
        finally:
            self.here.request = None
            request.at, request.done = "is done", True
            request.stopped.release()

    def finish(self, request: Request, app: Any) -> Request:
        """The same request, answered without a stop."""
        self._exchange(request, app)
        request.done = True
        return request

    def _exchange(self, request: Request, app: Any) -> None:
        body = request.sent_body
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": request.path, "QUERY_STRING": "",
            "SERVER_NAME": "app.example.com", "SERVER_PORT": "443", "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.1", "CONTENT_LENGTH": str(len(body)), "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https", "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr,
            "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
        }  # fmt: skip
        for name, value in request.headers:
            environ["CONTENT_TYPE" if name == "content-type" else f"HTTP_{name.upper().replace('-', '_')}"] = value

        def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
            self._pause(LEAVING)
            request.status = int(status.split()[0])
            request.set_cookies += [value for name, value in headers if name.lower() == "set-cookie"]

        request.body = b"".join(app(environ, start_response))

    def close(self) -> None:
        """Give back the threads."""
        self.pool.shutdown()


class Site:
    """Two workers of one application, each with a Logout object of its own, on one store."""

    def __init__(self, mover: Coroutines | Threads, open_store: Callable[[MovableClock], Store], **given: Any) -> None:
        self.clock, self.mover = MovableClock(), mover
        self.store = SteppingStore(open_store(self.clock), mover.pause)
        settings = LogoutSettings.load(
            environ={}, env_file=None, jwt_key=JWT_KEY, jwt_algorithms="HS256", cookie_secret=COOKIE_SECRET,
            cookies="session:starlette", audit="off",
            token_requests="POST /refresh: refresh_token; POST /peek: refresh_token",
            token_responses="POST /login: access_token, refresh_token; POST /refresh: access_token, refresh_token",
            allow_unsafe_store=True, **given,
        )  # fmt: skip
        application = Application(self.clock, mover.pause)
        self.logouts = logouts = [mover.make_logout(settings, store=self.store, clock=self.clock) for _ in range(2)]
        self.apps = [mover.middleware(mover.wrapped(application), logout=logout) for logout in logouts]

    def move(self, request: Request) -> None:
        self.mover.move(request, self.apps[request.worker])

    def ask(self, path: str, worker: int, members: dict[str, Any] | None = None, **fields: str) -> Request:
        """A request that nothing interferes with."""
        return self.mover.finish(Request(path, list(fields.items()), members, worker), self.apps[worker])

    def until(self, request: Request, step: str) -> None:
        """Let this request run to this step."""
        while request.at != step:
            assert not request.done, f"{request.path} never {step}"
            self.move(request)

    def finish(self, request: Request) -> Request:
        """Let this request run to its end."""
        return self.mover.finish(request, self.apps[request.worker])

    def accepts(self, kind: str, text: str, worker: int) -> bool:
        """Does this worker let the credential pass?"""
        if kind == "access":
            return self.ask("/me", worker, authorization=f"Bearer {text}").status == 200
        if kind == "cookie":
            return self.ask("/me", worker, cookie=f"session={text}").status == 200
        return self.ask("/peek", worker, {"refresh_token": text}).status == 200

    def close(self) -> None:
        run_blocking(self.store.close())
        self.mover.close()


# ---- one interleaving ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Operation:
    """What a client does once: `kind` login, refresh, use, local, others, global. `login`: for whom.

    `began`, `left`: the moves at which it was sent, and at which its answer left. `over`: a login attempt that still
    carries credentials of another login. `after`: it waits for the answer to the logout.
    """

    name: str
    kind: str
    login: Login
    over: Login | None = None
    after: bool = False
    began: int = 0
    left: int = 10**9
    request: Request | None = None

    @property
    def is_logout(self) -> bool:
        return self.kind in ("local", "others", "global")


@dataclass(eq=False)
class Login:
    """One login on one device, and every credential that it and its refreshes were ever given."""

    name: str
    sid: bool
    issued: list[tuple[str, str, Operation]] = field(default_factory=list)
    by: Operation | None = None

    def all(self, kind: str) -> list[str]:
        return [text for each, text, _ in self.issued if each == kind]


@dataclass
class Course:
    """One interleaving: what moved in which order, and what was wrong at its end."""

    seed: int
    moves: list[tuple[float, str, str, str, int]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def story(self) -> str:
        moves = [f"{at:.4f} {name}: {was} -> {now} (worker {worker})" for at, name, was, now, worker in self.moves]
        return "\n  ".join([f"seed {self.seed}", *moves, *(f"WRONG: {each}" for each in self.wrong)])


class Play:
    """Plays one seed on a site."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site, self.random, self.course, self.user = site, Random(seed), Course(seed), f"ann-{seed}"
        self.operations: list[Operation] = []
        self.logins: list[Login] = []
        self.now = 0

    def run(self) -> Course:
        site, random = self.site, self.random
        # By the seed alone, so that one interleaving can be played again without those before it.
        site.clock.now = 1_800_000_000.0 + 20 * self.course.seed + random.random()
        devices = [self._logged_in(f"device {number}") for number in range(random.randint(1, 2))]
        kinds = [random.choice(("refresh", "refresh", "use")) for _ in range(random.randint(1, 3))]
        flight = [self._plan(kind, random.choice(devices)) for kind in kinds]
        way = random.choice(("local", "local", "global", "others"))
        flight.append(self._plan(way, random.choice(devices)))
        if random.random() < 0.25:
            flight.append(self._plan("local", random.choice(devices)))
        if random.random() < 0.4:
            flight.append(self._plan("login", Login("login meanwhile", random.random() < 0.5), devices))
        flight.append(self._plan("login", Login("login after it", random.random() < 0.5), devices, after=True))
        while moving := [each for each in flight if self._may_move(each, flight)]:
            self._move(random.choice(moving))
            site.clock.move(random.choice(PASSING))
        self._judge()
        return self.course

    def _logged_in(self, name: str) -> Login:
        login = Login(name, self.random.random() < 0.5)
        self._to_end(self._plan("login", login))
        if self.random.random() < 0.3:
            self._to_end(self._plan("refresh", login))
        return login

    def _plan(self, kind: str, login: Login, devices: Sequence[Login] = (), *, after: bool = False) -> Operation:
        over = self.random.choice(devices) if devices and self.random.random() < 0.5 else None
        name = f"{kind} {len(self.operations)} ({login.name}, {'with' if login.sid else 'without'} sid)"
        operation = Operation(f"{name} over {over.name}" if over else name, kind, login, over, after)
        self.operations.append(operation)
        if kind == "login":
            login.by = operation
            self.logins.append(login)
        return operation

    def _may_move(self, operation: Operation, flight: Sequence[Operation]) -> bool:
        if operation.request is not None:
            return not operation.request.done
        return not operation.after or all(each.left <= self.now for each in flight if each.is_logout)

    def _to_end(self, operation: Operation) -> None:
        while operation.request is None or not operation.request.done:
            self._move(operation)

    def _move(self, operation: Operation) -> None:
        self.now += 1
        if operation.request is None:
            operation.request = self._request(operation)
            operation.began = self.now
        request, was = operation.request, operation.request.at
        self.site.move(request)
        self.course.moves.append((self.site.clock(), operation.name, was, request.at, request.worker))
        if request.status and operation.left > self.now:
            operation.left = self.now
            if operation.is_logout:
                # From the answer of the one to the next request of anybody, time passes.
                self.site.clock.move(0.0001)
                if request.status != 200:
                    self.course.wrong.append(f"{operation.name}: {request.status} {request.body!r}")
        if request.done:
            self._take(operation, request)

    def _request(self, operation: Operation) -> Request:
        """What the client sends, with credentials that it has at this moment."""
        random, login, kind = self.random, operation.over or operation.login, operation.kind
        by: tuple[str, ...] = random.choice(
            (("access",), ("cookie",), ("refresh",), ("access", "cookie"), ("access", "refresh"))
        )
        members: dict[str, Any] | None = None
        path = "/auth/logout"
        if kind == "login":
            path, members = "/login", {"user": self.user, "sid": operation.login.sid}
            by = random.choice((("access",), ("cookie",), ("access", "cookie"))) if operation.over else ()
        elif kind == "refresh":
            path, members = "/refresh", {"rotates": random.random() < 0.3}
            by = ("refresh", random.choice(("refresh", "cookie", "access")))
        elif kind == "use":
            path, by = random.choice(("/me", "/write")), random.choice((("access",), ("cookie",), ("access", "cookie")))
        elif kind == "others":
            members = {"scope": "others"}
        elif kind == "global":
            path, members = "/auth/logout/all", {}
        fields = []
        if "access" in by:
            fields.append(("authorization", f"Bearer {random.choice(login.all('access'))}"))
        if "cookie" in by:
            fields.append(("cookie", f"session={random.choice(login.all('cookie'))}"))
        if "refresh" in by:
            members = {**(members or {}), "refresh_token": random.choice(login.all("refresh"))}
        return Request(path, fields, members, random.randrange(2))

    def _take(self, operation: Operation, request: Request) -> None:
        """The client keeps what it was given."""
        if operation.is_logout:
            return
        found = [("cookie", text) for text in request.cookies]
        found += [(name.removesuffix("_token"), text) for name, text in request.json.items() if name.endswith("_token")]
        operation.login.issued += [(kind, text, operation) for kind, text in found]

    # ---- what must be true at the end ----------------------------------------------------------------------

    def _judge(self) -> None:
        self.site.clock.move(self.random.choice((0.0, 0.0, 1.5)))
        for login in self.logins:
            fate = self._fate(login)
            self.course.seen[fate] += 1
            found = [
                (kind, by, [self.site.accepts(kind, text, worker) for worker in self._asked()])
                for kind, text, by in login.issued
            ]
            for kind, by, accepted in found:
                if (fate == "dead" and any(accepted)) or (fate == "alive" and not all(accepted)):
                    self.course.wrong.append(f"{kind} of {by.name} must be {fate}, is accepted: {accepted}")
                late = by.kind == "refresh" and any(by.began < out.left < by.left for out in self._logouts())
                self.course.seen[f"{fate}, of a refresh under way"] += late
            own = [(kind, *accepted) for kind, by, accepted in found if by is login.by]
            if fate == "either" and len({accepted for _, *each in own for accepted in each}) > 1:
                self.course.wrong.append(f"{login.name} lives in part: {own}")
            parts = {kind for kind, by, _ in found if by is login.by}
            if fate == "alive" and parts != {"access", "refresh", "cookie"}:
                self.course.wrong.append(f"{login.name} got only {parts}")
        for operation in self.operations:
            self._judge_answer(operation)

    def _asked(self) -> Sequence[int]:
        """Both workers in every fourth interleaving, else one of them."""
        return range(2) if self.course.seed % 4 == 0 else [self.random.randrange(2)]

    def _logouts(self) -> Iterator[Operation]:
        return (each for each in self.operations if each.is_logout)

    def _judge_answer(self, operation: Operation) -> None:
        """Whatever was sent with a login that had been logged out was answered as to nobody."""
        request = operation.request
        if operation.kind not in ("refresh", "use") or request is None or request.status != 200:
            return
        for logout in self._logouts():
            if logout.left < operation.began and self._hits(logout, operation.login) == "surely":
                self.course.wrong.append(f"{operation.name} passed after {logout.name}: {request.body!r}")

    def _fate(self, login: Login) -> str:
        hits = {self._hits(logout, login) for logout in self._logouts()}
        if "surely" in hits:
            return "dead"
        return "either" if "perhaps" in hits else "alive"

    def _hits(self, logout: Operation, login: Login) -> str:
        """Does this logout end that login: surely, perhaps, or no?"""
        assert login.by is not None
        if logout.kind == "local":
            if login is logout.login:
                return "surely"
        elif login.by.began < logout.left and not (logout.kind == "others" and login is logout.login):
            # Whose credential was dead already ends nobody else.
            others = [each for each in self._logouts() if each is not logout and each.began < logout.left]
            sure = login.by.left < logout.began and all(self._misses(each, logout.login) for each in others)
            return "surely" if sure else "perhaps"
        # A login attempt that carried a live credential is of one login with that.
        over = login.by.over
        if over is not None and login.by.began < logout.left and self._hits(logout, over) != "no":
            return "perhaps"
        return "no"

    def _misses(self, logout: Operation, login: Login) -> bool:
        """Does this logout leave that login alone, whatever the order?"""
        if logout.kind == "others":
            return logout.login is login
        return logout.kind == "local" and logout.login is not login


# ---- the tests -------------------------------------------------------------------------------------------


def _played(site: Site, seeds: Sequence[int]) -> Counter[str]:
    """What was seen in all of these; fails with the story of the first that went wrong."""
    seen: Counter[str] = Counter()
    failed = []
    for seed in seeds:
        course = Play(site, seed).run()
        seen += course.seen
        if course.wrong:
            failed.append(course)
    assert not failed, f"{len(failed)} of {len(seeds)}, seeds {[each.seed for each in failed]}\n{failed[0].story()}"
    return seen


@pytest.fixture
def _without_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hangs up here, so the shell need not shield a logout from that by a task of an event loop."""

    async def finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await coroutine

    monkeypatch.setattr("logout_middleware.asgi.finish", finish)


@pytest.fixture
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who a credential names is a pure function of its text, and costly: it is found out once for both workers."""
    for name in ("identify_token", "identify_cookie"):
        monkeypatch.setattr(identify, name, _remembering(getattr(identify, name)))
    for name in ("session_key", "user_key"):
        monkeypatch.setattr(identity, name, functools.cache(getattr(identity, name)))


def _remembering(rule: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[Any, Any] = {}

    def found(credential: Credential, *given: Any, **named: Any) -> Any:
        # Of what else is given, only these differ within one test.
        key = (credential, named.get("for_us"))
        if key not in known:
            known[key] = rule(credential, *given, **named)
        return known[key]

    return found


@pytest.mark.usefixtures("_without_a_loop", "_read_once")
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("block", range(BLOCKS))
def test_nothing_old_lives_and_nothing_new_dies_in_10000_interleavings(block: int) -> None:
    """Refreshes, logouts and logins of one user under way at once, at two workers (ASGI)."""
    site = Site(Coroutines(), MemoryStore, jwt_leeway=str(block % 4 // 3))

    seen = _played(site, range(block * MASS, (block + 1) * MASS))

    site.close()
    assert min(seen["dead"], seen["alive"], seen["either"]) > MASS // 20, seen
    assert seen["dead, of a refresh under way"] > MASS // 20, seen


@pytest.mark.usefixtures("_without_a_loop")
@pytest.mark.usefixtures("unmeasured")
def test_nothing_old_lives_and_nothing_new_dies_on_a_file(tmp_path: Path) -> None:
    """The same on SQLite, which is what stands behind most applications."""
    site = Site(Coroutines(), lambda clock: SqliteStore(tmp_path / "logout.db", clock=clock))

    seen = _played(site, range(100_000, 100_000 + FEW))

    site.close()
    assert min(seen["dead"], seen["alive"], seen["either"]) > FEW // 20, seen


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_nothing_old_lives_and_nothing_new_dies_in_threads(tmp_path: Path, store: str) -> None:
    """The same under WSGI."""
    open_store: Callable[[MovableClock], Store] = MemoryStore
    if store == "sqlite":
        open_store = lambda clock: SqliteStore(tmp_path / "logout.db", clock=clock)  # noqa: E731
    site = Site(Threads(), open_store)

    seen = _played(site, range(200_000, 200_000 + FEW))

    site.close()
    assert min(seen["dead"], seen["alive"], seen["either"]) > FEW // 20, seen


# ---- single interleavings that went wrong ----------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """What an answer gave."""

    access: str
    refresh: str
    cookie: str

    @classmethod
    def of(cls, request: Request) -> Parts:
        assert request.status == 200, request
        return cls(request.json["access_token"], request.json.get("refresh_token", ""), "".join(request.cookies))

    def accepted(self, site: Site) -> set[str]:
        """Which of these any worker accepts."""
        held = {"access": self.access, "refresh": self.refresh, "cookie": self.cookie}
        return {
            kind for kind, text in held.items() if text and any(site.accepts(kind, text, each) for each in range(2))
        }


@pytest.fixture
def site(_without_a_loop: None) -> Site:
    """Two workers; it is a third of a second past."""
    site = Site(Coroutines(), MemoryStore)
    site.clock.now = 1_800_000_000.3
    return site


def _login(site: Site, *, sid: bool) -> Parts:
    return Parts.of(site.ask("/login", 0, {"user": "ann", "sid": sid}))


def _bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


@pytest.mark.parametrize("door", ["global", "others", "revoke_user"])
@pytest.mark.parametrize("sid", [True, False])
@pytest.mark.parametrize("step", ["will add", "did add"])
def test_a_logout_of_all_reaches_what_is_refreshed_while_it_is_written(
    site: Site, door: str, sid: bool, step: str
) -> None:
    """The second changes between the cut-off's moment and its acknowledgement, and a device refreshes in between."""
    stolen, mine = _login(site, sid=sid), _login(site, sid=sid)
    logout = Request("/auth/logout", _bearer(mine.access), {"scope": door})
    if door == "revoke_user":
        logout = Request(door, running=site.logouts[0].revoke_user("ann"))
    site.until(logout, step)
    site.clock.move(1.0)
    late = site.ask("/refresh", 1, {"refresh_token": stolen.refresh, "rotates": True})

    site.finish(logout)

    assert logout.status == (0 if door == "revoke_user" else 200)
    assert stolen.accepted(site) == set()
    assert late.status == 401 or Parts.of(late).accepted(site) == set()


@pytest.mark.parametrize("sid", [True, False])
def test_a_slow_logout_of_all_reaches_what_is_refreshed_again_and_again_meanwhile(site: Site, sid: bool) -> None:
    """At each of its first steps a second passes, and a thief refreshes with the newest token that he has."""
    stolen, mine = _login(site, sid=sid), _login(site, sid=sid)
    logout = Request("/auth/logout/all", _bearer(mine.access), {})
    newest, given = stolen.refresh, [stolen]
    for step in range(100):
        if logout.done:
            break
        site.move(logout)
        site.clock.move(1.0 if step < 30 else 0.0)
        refresh = site.ask("/refresh", 1, {"refresh_token": newest, "rotates": True}) if not logout.status else None
        if refresh is not None and refresh.status == 200:
            given.append(Parts.of(refresh))
            newest = given[-1].refresh

    assert logout.status == 200
    assert [each.accepted(site) for each in given] == [set()] * len(given)


@pytest.mark.parametrize("sid", [True, False])
@pytest.mark.parametrize("crosses", [0.1, 0.8])
def test_a_login_under_way_at_a_logout_of_all_lives_or_dies_as_a_whole(site: Site, sid: bool, crosses: float) -> None:
    """Its tokens were minted before the cut-off, and its cookie leaves after it."""
    mine = _login(site, sid=sid)
    login = Request("/login", (), {"user": "ann", "sid": sid})
    site.until(login, ANSWERING)
    site.clock.move(0.1)
    assert site.ask("/auth/logout/all", 1, {}, authorization=f"Bearer {mine.access}").status == 200
    site.clock.move(crosses)

    new = Parts.of(site.finish(login))

    assert new.accepted(site) in (set(), {"access", "refresh", "cookie"})


@pytest.mark.parametrize("sid", [True, False])
@pytest.mark.parametrize("step", [ARRIVED, ANSWERING])
def test_a_login_over_a_login_that_ends_meanwhile_lives_or_dies_as_a_whole(site: Site, sid: bool, step: str) -> None:
    """A browser logs in once more while its old session is logged out in another tab."""
    old = _login(site, sid=sid)
    login = Request("/login", [("cookie", f"session={old.cookie}")], {"user": "ann", "sid": sid})
    site.until(login, step)
    site.clock.move(0.1)
    assert site.ask("/auth/logout", 1, None, cookie=f"session={old.cookie}").status == 200
    site.clock.move(0.1)

    new = Parts.of(site.finish(login))

    assert old.accepted(site) == set()
    assert new.accepted(site) in (set(), {"access", "refresh", "cookie"})


@pytest.mark.parametrize("sid", [True, False])
@pytest.mark.parametrize("step", [ARRIVED, ANSWERING, LEAVING])
def test_a_refresh_of_the_login_that_logs_out_the_others_gives_live_tokens(site: Site, sid: bool, step: str) -> None:
    """While one tab logs out everywhere but here, another refreshes its token: here is not logged out by that."""
    mine, phone = _login(site, sid=sid), _login(site, sid=sid)
    refresh = Request("/refresh", (), {"refresh_token": mine.refresh, "rotates": True})
    site.until(refresh, step)
    site.clock.move(0.1)
    body = {"scope": "others"}
    assert site.ask("/auth/logout", 1, body, authorization=f"Bearer {mine.access}").status == 200
    site.clock.move(0.1)

    refreshed = Parts.of(site.finish(refresh))

    assert phone.accepted(site) == set()
    assert refreshed.accepted(site) == {"access", "refresh"}


@pytest.mark.parametrize("sid", [True, False])
def test_a_refresh_between_the_cut_off_of_the_others_and_its_writing_gives_live_tokens(site: Site, sid: bool) -> None:
    """The same, with the refresh begun and answered while the logout is under way."""
    mine = _login(site, sid=sid)
    logout = Request("/auth/logout", _bearer(mine.access), {"scope": "others"})
    site.until(logout, "will add")
    site.clock.move(0.1)
    refreshed = Parts.of(site.ask("/refresh", 1, {"refresh_token": mine.refresh, "rotates": True}))

    assert site.finish(logout).status == 200

    assert refreshed.accepted(site) == {"access", "refresh"}
