"""Clients of a site: they log in, use their tokens on any worker, log out, and then try what must not work.

Raw sockets, a new one for each request: whatever is lost on the way is lost for this request only. To log in is to
sign a token, so it costs nothing and never fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

import jwt

from tests.services import HOST

from .topology import JWT_KEY, Site, Worker

PROBES = (0.0, 0.02, 0.2, 1.0)
"""Seconds after the acknowledgement at which a dead token is tried again."""
_CHECK_SECONDS, _LOGOUT_SECONDS, _RETRY_SECONDS = 3.0, 8.0, 0.05
_AGE = 2 * 86400
"""How long ago a token was issued: a worker whose clock is an hour slow must not take it for a later one."""


@dataclass
class Session:
    """One login: its tokens by name."""

    user: str
    tokens: dict[str, str] = field(default_factory=dict)


async def ask(worker: Worker, method: str, path: str, token: str, *, seconds: float) -> tuple[int, bytes]:
    """Status and body of one request; status 0 if there was no whole answer."""
    writer = None
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(HOST, worker.port)
            body = b"{}" if method == "POST" else b""
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head, _, found = (await reader.read()).partition(b"\r\n\r\n")
            length = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            whole = len(length) == 1 and len(found) == int(length[0])
            return (int(head.split(b" ", 2)[1]), found) if whole else (0, b"")
    except (OSError, TimeoutError):
        return 0, b""
    finally:
        if writer is not None:
            writer.transport.abort()


class Load:
    """All clients of one site. `seed` decides what they do, as far as the machine lets them."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site, self.random = site, random.Random(seed)
        self.users: dict[str, str] = {}
        self.ended: list[tuple[str, str]] = []
        self.keepers: list[Session] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._count = 0
        self.closing = False

    # ---- one request each ----------------------------------------------------------------------------

    async def check(self, name: str, token: str, worker: Worker | None = None, *, op: str = "check") -> int:
        """Use a token; the status, 299 if it was served as somebody else."""
        worker, sent = worker or self.random.choice(self.site.workers), self.site.now()
        status, body = await ask(worker, "GET", "/", token, seconds=_CHECK_SECONDS)
        if status == 200 and json.loads(body)["user"] != self.users[name]:
            status = 299
        self.site.note(op, sent, worker=worker.name, host=worker.host, token=name, status=status)
        return status

    async def log_out(self, path: str, token: str, names: list[str]) -> int:
        """Ask any worker for a logout that ends these tokens."""
        worker, sent = self.random.choice(self.site.workers), self.site.now()
        status, _ = await ask(worker, "POST", path, token, seconds=_LOGOUT_SECONDS)
        self.site.note("logout", sent, worker=worker.name, host=worker.host, tokens=names, status=status)
        return status

    # ---- people --------------------------------------------------------------------------------------

    def log_in(self, user: str, tokens: int, *, session: bool = True) -> Session:
        """A new login of this user with so many tokens; without a session each token stands for itself."""
        self._count += 1
        found, now = Session(user), time.time()
        issued = now if self.site.adopted else int(now) - _AGE
        for number in range(tokens):
            name = f"t{self._count}.{number}"
            claims = {"sub": user, "jti": name, "iat": issued, "exp": int(now) + _AGE}
            if session:
                claims["sid"] = f"s{self._count}"
            self.site.note("login", self.site.now(), token=name)
            found.tokens[name] = jwt.encode(claims, JWT_KEY, "HS256")
            self.users[name] = user
        return found

    async def person(self, number: int) -> None:
        """One person after the other, until the load closes."""
        while not self.closing:
            await asyncio.sleep(self.random.uniform(0.0, 0.2))
            user = f"u{number}.{self._count}"
            kind = self.random.choice(["token", "session", "user"])
            sessions = [self.log_in(user, 2, session=kind != "token") for _ in range(2)]
            everything = {name: token for each in sessions for name, token in each.tokens.items()}
            for name in self.random.sample(list(everything), self.random.randint(1, 3)):
                await self.check(name, everything[name])
            name, token = self.random.choice(list(sessions[0].tokens.items()))
            names = {"token": [name], "session": list(sessions[0].tokens), "user": list(everything)}[kind]
            path = "/auth/logout/all" if kind == "user" else "/auth/logout"
            while await self.log_out(path, token, names) not in (200, 202):
                await asyncio.sleep(_RETRY_SECONDS)
                if self.closing:
                    return
            dead = [(each, everything[each]) for each in names]
            self.ended += dead
            self._later(self._try_again(dead))
            if self.random.random() < 0.2:  # a double click: what it is told must be as true
                await self.log_out(path, token, names)
            for old in self.random.sample(self.ended, min(2, len(self.ended))):
                await self.check(*old)
            if kind != "user" and self.random.random() < 0.5:
                await self.check(*self.random.choice(list(sessions[1].tokens.items())))

    async def _try_again(self, dead: list[tuple[str, str]]) -> None:
        started = self.site.now()
        for after in PROBES:
            await asyncio.sleep(max(0.0, started + after - self.site.now()))
            await self.check(*self.random.choice(dead))

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.asynccontextmanager
    async def running(self, people: int) -> Any:
        """So many people at once, as long as the body runs; their last probes are waited for."""
        crowd = [asyncio.create_task(self.person(number)) for number in range(people)]
        try:
            yield self
        finally:
            self.closing = True
            await asyncio.gather(*crowd)
            await asyncio.gather(*self._tasks)

    async def sweep(self, seconds: float = 10.0) -> int:
        """Try every token that was ever logged out on every worker; how many answers were never got."""
        limit = asyncio.Semaphore(16)
        deadline = self.site.now() + seconds

        async def ask_until_known(name: str, token: str, worker: Worker) -> bool:
            async with limit:
                while await self.check(name, token, worker, op="sweep") in (0, 503):
                    if self.site.now() > deadline:
                        return False
                    await asyncio.sleep(0.1)
                return True

        asked = [ask_until_known(*dead, worker) for dead in self.ended for worker in self.site.workers]
        return (await asyncio.gather(*asked)).count(False)
