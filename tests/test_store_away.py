"""The whole stack on real servers: what users get while the store is away, has forgotten, or may forget."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import redis as redis_client
from click.testing import CliRunner

from logout_middleware import BlockingLogout, ConfigurationError, Logout, LogoutSettings
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.cli.commands import root
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

from . import services
from .client import AsgiClient, Sender, WsgiClient

KEY = "k" * 32
WITHIN_SECONDS = 10


async def _asgi_application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


def _wsgi_application(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


class Host(Sender):
    """One guarded application with its own middleware, as on a host of its own."""

    def __init__(self, shell: str, **given: Any) -> None:
        settings = LogoutSettings.load(
            {}, env_file=None, jwt_key=KEY, jwt_algorithms="HS256", audit="off", rate_limit="off", **given
        )
        if shell == "asgi":
            client = AsgiClient(None)
            self.logout: Any = Logout(settings)
            client.app = AsgiMiddleware(_asgi_application, logout=self.logout)
            super().__init__(client)
        else:
            self.logout = BlockingLogout(settings)
            super().__init__(WsgiClient(WsgiMiddleware(_wsgi_application, logout=self.logout)))

    def close(self) -> None:
        closing = self.logout.close()
        if isinstance(self.client, AsgiClient):
            self.client.runner.run(closing)
        super().close()

    def status(self, token: str) -> int:
        """What a guarded request with this token gets."""
        return self.get("/", token=token).status


def mint(name: str = "s1", user: str = "ann") -> str:
    """A live login."""
    now = time.time()
    return jwt.encode({"sub": user, "sid": name, "jti": name, "iat": now - 60.5, "exp": now + 600}, KEY, "HS256")


def eventually(is_so: Callable[[], bool], what: str) -> None:
    """Return as soon as it is so."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"waited {WITHIN_SECONDS} seconds for {what}"
        time.sleep(0.02)


@pytest.fixture(params=["redis", "postgresql"])
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A server of this test alone, which it may pause and kill."""
    with services.redis() if request.param == "redis" else services.postgres() as started:
        yield started


@pytest.fixture
def host(shell: str) -> Iterator[Callable[..., Host]]:
    """Opens hosts with these settings."""
    opened: list[Host] = []

    def open_one(**given: Any) -> Host:
        opened.append(Host(shell, **given))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.mark.parametrize("fault", ["hangs", "is killed"])
def test_without_a_journal_a_logout_is_503_and_not_knowing_is_not_revoked(
    server: Any, host: Callable[..., Host], fault: str
) -> None:
    """The client is told to come back; no cookie is touched; after the recovery all is as before."""
    site = host(store=server.url)
    alive, dead, bystander = mint("s1"), mint("s2"), mint("s3")
    assert site.post("/auth/logout", token=dead).status == 200
    assert (site.status(alive), site.status(dead)) == (200, 401)
    server.pause() if fault == "hangs" else server.kill()

    answers = [site.get("/", token=alive), site.get("/", token=dead), site.post("/auth/logout", token=alive)]

    server.resume() if fault == "hangs" else server.start()
    assert [answer.status for answer in answers] == [503] * 3
    assert all(answer.header("retry-after") == "1" and not answer.all("set-cookie") for answer in answers)
    assert answers[2].json["success"] is False
    eventually(lambda: site.status(bystander) == 200, "the recovery")
    assert site.status(dead) == 401
    # 503 is "may or may not be stored": a store that hung may have taken the logout when it went on.
    eventually(lambda: site.post("/auth/logout", token=alive).status == 200, "the logout")
    assert site.status(alive) == 401


def test_with_a_journal_a_logout_is_202_at_once_here_and_everywhere_once_the_store_is_back(
    server: Any, host: Callable[..., Host], tmp_path: Path
) -> None:
    """The other worker of this host refuses at once, the other host as soon as the store has it."""
    journal = str(tmp_path / "journal.db")
    here, beside = host(store=server.url, journal=journal), host(store=server.url, journal=journal)
    elsewhere = host(store=server.url)
    token = mint()
    assert [each.status(token) for each in (here, beside, elsewhere)] == [200] * 3
    server.kill()

    answer = here.post("/auth/logout", token=token)

    assert (answer.status, answer.json["status"]) == (202, "pending")
    assert answer.json["revoked"] == {"tokens": 1, "sessions": 1, "connections": 0}
    assert [each.status(token) for each in (here, beside)] == [401, 401]
    server.start()
    eventually(lambda: elsewhere.status(token) == 401, "the delivery")
    late = host(store=server.url)
    assert [each.status(token) for each in (here, beside, late)] == [401] * 3


def test_with_a_journal_a_logout_without_content_still_says_that_it_is_pending(
    host: Callable[..., Host], tmp_path: Path
) -> None:
    """204 would be a success that has not happened yet."""
    with services.redis() as own:
        site = host(store=own.url, journal=str(tmp_path / "journal.db"))
        token = mint()
        assert site.status(token) == 200
        own.kill()

        answer = site.post("/auth/logout", token=token, headers={"Prefer": "return=minimal"})

    assert answer.status == 202


def test_a_flushed_redis_is_cannot_know_until_an_operator_adopts_it(
    host: Callable[..., Host], redis_server: services.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is let in on its word; adopting logs everybody out, and later logins work at once."""
    prefix = f"flushed{time.monotonic_ns()}:"
    with services.redis() as own:
        sites = [host(store=own.url, key_prefix=prefix) for _ in range(2)]
        dead, alive = mint("s1"), mint("s2")
        assert sites[0].post("/auth/logout", token=dead).status == 200
        assert [site.status(dead) for site in sites] == [401, 401]
        client = redis_client.Redis.from_url(own.url)
        client.flushall()
        client.close()

        refused = [site.status(token) for site in sites for token in (dead, alive)]
        for name, value in {"STORE": own.url, "KEY_PREFIX": prefix, "JWT_KEY": KEY, "JWT_ALGORITHMS": "HS256"}.items():
            monkeypatch.setenv(f"LOGOUT_{name}", value)
        adopted = CliRunner().invoke(root, ["adopt-store", "--yes", "--json"])

        assert refused == [503] * 4
        assert json.loads(adopted.stdout) == {"ok": True, "adopted": True, "everybody_logged_out": True}
        assert [site.status(token) for site in sites for token in (dead, alive)] == [401] * 4
        now = time.time() + 1
        later = jwt.encode({"sub": "ann", "sid": "s3", "jti": "s3", "iat": int(now) + 0.5, "exp": now + 60}, KEY)
        eventually(lambda: sites[1].status(later) == 200, "the next login")


def test_an_evicting_redis_is_refused_at_start(shell: str) -> None:
    """It drops revocations silently; whoever wants that says so."""
    with services.redis(**{"maxmemory": "10mb", "maxmemory-policy": "allkeys-lru"}) as own:
        with pytest.raises(ConfigurationError) as caught:
            Host(shell, store=own.url)

        allowed = Host(shell, store=own.url, allow_unsafe_store=True)
        status = allowed.status(mint())
        allowed.close()

    (mistake,) = caught.value.mistakes
    assert mistake.startswith("E310 LOGOUT_STORE: ")
    assert "noeviction" in mistake
    assert "LOGOUT_ALLOW_UNSAFE_STORE=true" in mistake
    assert status == 200


def test_a_store_that_is_away_at_start_is_no_reason_not_to_start(shell: str, caplog: pytest.LogCaptureFixture) -> None:
    """Orchestrators start things in any order."""
    with services.redis() as own:
        own.kill()
        site = Host(shell, store=own.url)
        away = site.status(mint())
        own.start()
        eventually(lambda: site.status(mint()) == 200, "the store")
        site.close()

    assert away == 503
    assert "the store cannot be asked at start" in caplog.text


def test_check_names_what_is_unsafe_and_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durability is checked, not assumed."""
    with services.redis(appendonly="no") as own:
        monkeypatch.setenv("LOGOUT_STORE", own.url)
        found = CliRunner().invoke(root, ["check"])

    assert found.exit_code == 1
    assert "UNSAFE" in found.stdout
    assert "appendonly yes" in found.stdout


@pytest.mark.parametrize(
    ("store", "printed"),
    [
        ("postgresql+psycopg://u:a-password@h/db", "CREATE TABLE"),
        ("mysql+pymysql://u:a-password@h/db", "CREATE TABLE"),
        ("redis://h/0", "needs no schema"),
    ],
)
def test_check_schema_prints_it_without_asking_the_server(
    monkeypatch: pytest.MonkeyPatch, store: str, printed: str
) -> None:
    """For whoever may create tables, which the application's user may not."""
    monkeypatch.setenv("LOGOUT_STORE", store)

    found = CliRunner().invoke(root, ["check", "--schema"])

    assert found.exit_code == 0, found.output
    assert printed in found.stdout
    assert "a-password" not in found.stdout


def test_a_cancelled_logout_is_carried_out(redis_server: services.Redis) -> None:
    """A client that hangs up cannot undo its own logout, with a store that is awaited either."""

    async def hang_up() -> list[int]:
        settings = LogoutSettings.load(
            {}, env_file=None, jwt_key=KEY, jwt_algorithms="HS256", audit="off", store=redis_server.url,
            key_prefix=f"cancelled{time.monotonic_ns()}:",
        )  # fmt: skip
        logout = Logout(settings)
        app = AsgiMiddleware(_asgi_application, logout=logout)
        statuses = []

        async def ask(method: str, path: str, token: str) -> int:
            sent: list[Any] = []

            async def receive() -> Any:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Any) -> None:
                sent.append(message)

            scope = {
                "type": "http", "method": method, "path": path, "query_string": b"", "client": ("127.0.0.1", 1),
                "headers": [(b"authorization", b"Bearer " + token.encode())],
            }  # fmt: skip
            await app(scope, receive, send)
            return int(sent[0]["status"])

        for turns in range(12):
            token = mint(f"c{turns}")
            request = asyncio.ensure_future(ask("POST", "/auth/logout", token))
            for _ in range(turns):
                await asyncio.sleep(0)
            request.cancel()
            await asyncio.wait([request])
            if turns:  # it had begun
                deadline = time.monotonic() + WITHIN_SECONDS
                while (status := await ask("GET", "/", token)) != 401 and time.monotonic() < deadline:
                    await asyncio.sleep(0.01)
                statuses.append(status)
        await logout.close()
        return statuses

    assert asyncio.run(hang_up()) == [401] * 11
