"""What a review of the stores found: each defect as a test, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import redis as redis_client
import sqlalchemy
from click.testing import CliRunner

from logout_middleware import BlockingLogout, ConfigurationError, Logout
from logout_middleware.cli.commands import root
from logout_middleware.colour import run_blocking
from logout_middleware.errors import StoreError
from logout_middleware.rules.identity import Identity
from logout_middleware.rules.redis_url import parse_redis_url
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of, refusing
from logout_middleware.stores import Outcome, StoreForgot
from logout_middleware.stores.redis import RedisStore
from logout_middleware.stores.sql import SqlStore
from logout_middleware.stores.sql_schema import table_names
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

from .. import services
from ..client import Sender, WsgiClient

KEY = "k" * 32
AUTH = {"jwt_key": KEY, "jwt_algorithms": "HS256", "audit": "off", "rate_limit": "off"}


def key(name: object) -> bytes:
    return key_of("test", None, str(name))


def names_of_part(part: int) -> Iterator[str]:
    """Names whose keys are in this partition."""
    return (str(number) for number in range(100_000) if key(number)[0] & 15 == part)


def revoked(name: object, reason: str = "logout") -> Revocation:
    return Revocation(key(name), FOREVER, 4e9, reason)


def token(name: str = "s1", user: str = "ann") -> str:
    now = time.time()
    return jwt.encode({"sub": user, "sid": name, "jti": name, "iat": now - 60.5, "exp": now + 600}, KEY, "HS256")


def _application(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


@contextlib.contextmanager
def site(**given: Any) -> Iterator[Sender]:
    """A guarded application."""
    logout = BlockingLogout(**AUTH, **given)
    with contextlib.closing(Sender(WsgiClient(WsgiMiddleware(_application, logout=logout)))) as sender:
        sender.logout = logout.inner  # type: ignore[attr-defined]
        yield sender
    logout.close()


@contextlib.contextmanager
def opened(url: str, **options: Any) -> Iterator[RedisStore]:
    store = RedisStore(url, **{"blocking": True, **options})
    try:
        yield store
    finally:
        run_blocking(store.close())


@pytest.fixture
def server() -> Iterator[services.Redis]:
    """One that the test may hurt."""
    with services.redis() as started:
        yield started


# ---- an acknowledged logout is never undone -------------------------------------------------------------------------


def test_logouts_after_a_fail_over_do_not_hide_that_some_were_lost(server: services.Redis) -> None:
    """Not one is written to a store that forgot: its count would catch up with what was lost, and all look well."""
    lost, kept, *later = (name for _, name in zip(range(8), names_of_part(3), strict=False))
    with opened(server.url) as store:
        run_blocking(store.add([revoked(kept)]))
        names = server.call("KEYS", "{logout:3}*")
        copies = {name: _raw(server, "DUMP", name) for name in names}
        run_blocking(store.add([revoked(lost)]))
        for name in names:
            _raw(server, "RESTORE", name, 0, copies[name], "REPLACE")

        for name in later:
            with pytest.raises(StoreForgot):
                run_blocking(store.add([revoked(name)]))
            with pytest.raises(StoreForgot):
                run_blocking(store.find([key(lost)]))


def _raw(server: services.Redis, *command: Any) -> Any:
    import redis

    with redis.Redis(server.host, server.port) as client:
        return client.execute_command(*command)


def test_a_logout_that_replicas_did_not_confirm_is_not_acknowledged_when_it_is_repeated(server: services.Redis) -> None:
    """The record is there after the first 503, and as unsafe as it was."""
    with site(store=server.url, redis_wait=1, allow_unsafe_store=True, store_deadline=0.1) as guarded:
        answers = [guarded.post("/auth/logout", token=token()).status for _ in range(3)]
        allowed = guarded.get("/", token=token()).status

    assert answers == [503, 503, 503]
    assert allowed == 401


def test_a_logout_that_waits_in_the_journal_stays_pending_when_it_is_repeated(
    server: services.Redis, tmp_path: Path
) -> None:
    """202 until the store has it, however often it is asked for."""
    with site(store=server.url, journal=str(tmp_path / "journal.db"), allow_unsafe_store=True) as guarded:
        server.kill()
        answers = [guarded.post("/auth/logout", token=token()).status for _ in range(3)]
        server.start()

    assert answers == [202, 202, 202]


def test_a_full_server_does_not_acknowledge_what_only_the_journal_has(server: services.Redis, tmp_path: Path) -> None:
    """It answers questions, so the journal's record is found in a find that succeeds."""
    with site(store=server.url, journal=str(tmp_path / "journal.db"), allow_unsafe_store=True) as guarded:
        guarded.get("/", token=token())
        server.call("CONFIG", "SET", "maxmemory", "1")
        answers = [guarded.post("/auth/logout", token=token()).status for _ in range(2)]
        refused = guarded.get("/", token=token()).status

    assert answers == [202, 202]
    assert refused == 401


def test_a_redirect_does_not_acknowledge_what_replicas_did_not_confirm(server: services.Redis) -> None:
    """The visitor who tries again after a 503 is told 503, by the address as by the form."""
    with site(store=server.url, redis_wait=1, allow_unsafe_store=True, store_deadline=0.1) as guarded:
        first = guarded.post("/auth/logout", token=token()).status
        time.sleep(0.3)  # the breaker's rest
        answer = guarded.get("/auth/logout?redirect_uri=/login", token=token()).status

    assert (first, answer) == (503, 503)


def test_a_logout_everywhere_that_failed_half_way_can_be_repeated() -> None:
    """The credential that asks dies last: while it lives, the next attempt ends the other devices, too."""
    with services.cluster() as cluster, site(store=cluster.url, allow_unsafe_store=True) as guarded:
        here, there = token("here"), token("there")
        logout = guarded.logout  # type: ignore[attr-defined]
        assert guarded.get("/", token=there).status == 200
        identity = run_blocking(logout.identifier.token(_credential(here))).identity
        route = run_blocking(logout.raw_store.inner.nodes.route(time.monotonic() + 1))
        # The shard of the user's cut-off refuses to write; the others do not.
        at = route[identity.user_key[0] & 15]
        assert any(route[each[0] & 15] != at for each in (identity.own_key, identity.session_key))
        refusing = next(node for node in cluster.nodes if (node.host, node.port) == tuple(at))
        refusing.call("CONFIG", "SET", "maxmemory", "1")
        body = {"json": {"scope": "global"}, "token": here}
        failed = guarded.post("/auth/logout", **body).status
        refusing.call("CONFIG", "SET", "maxmemory", "0")
        time.sleep(0.3)  # the breaker's rest
        repeated = guarded.post("/auth/logout", **body).status
        elsewhere = guarded.get("/", token=there).status

    assert (failed, repeated, elsewhere) == (503, 200, 401)


def _credential(text: str) -> Any:
    from logout_middleware.rules.credentials import Credential

    return Credential("bearer", "", text)


def test_failing_open_lets_no_token_pass_that_is_refused_whatever_the_store_says(server: services.Redis) -> None:
    """A token of no key of ours, one that expired, and one that cannot be read stay refused."""
    forged = jwt.encode({"sub": "ann", "sid": "s", "jti": "s", "iat": time.time() - 5, "exp": 4e9}, "z" * 32, "HS256")
    expired = jwt.encode({"sub": "ann", "jti": "e", "iat": time.time() - 5, "exp": time.time() - 1}, KEY, "HS256")
    with site(store=server.url, fail_mode="open", allow_unsafe_store=True) as guarded:
        server.kill()
        answers = [guarded.get("/", token=each).status for each in (token(), forged, expired, "a b")]

    assert answers == [200, 401, 401, 400]


# ---- the operator ---------------------------------------------------------------------------------------------------


def test_a_store_that_lost_a_part_can_be_adopted(server: services.Redis) -> None:
    """What the alarm tells to do works, and logs everybody out."""
    with site(store=server.url, allow_unsafe_store=True) as guarded:
        for number in range(40):
            guarded.post("/auth/logout", token=token(f"s{number}"))
        alive = token("alive")
        assert guarded.get("/", token=alive).status == 200
        server.call("DEL", "{logout:5}:state")
        environment = {"LOGOUT_STORE": server.url, "LOGOUT_ALLOW_UNSAFE_STORE": "true", "LOGOUT_JWT_KEY": KEY,
                       "LOGOUT_JWT_ALGORITHMS": "HS256"}  # fmt: skip

        done = CliRunner().invoke(root, ["adopt-store", "--yes", "--json"], env=environment)

        assert done.exit_code == 0, done.output
        assert guarded.get("/", token=alive).status == 401


def test_a_revocation_that_only_the_journal_has_is_no_success_of_the_command(
    server: services.Redis, tmp_path: Path
) -> None:
    """A command ends, and with it the delivery: whoever ran it must know that nobody else has heard of it."""
    environment = {"LOGOUT_STORE": server.url, "LOGOUT_ALLOW_UNSAFE_STORE": "true",
                   "LOGOUT_JOURNAL": str(tmp_path / "journal.db")}  # fmt: skip
    server.kill()

    done = CliRunner().invoke(root, ["revoke", "user", "ann", "--json"], env=environment)

    said = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (said["ok"], said["pending"]) == (False, "user ann")


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_server_that_hangs_does_not_hold_up_the_start(kind: str) -> None:
    """A worker that takes half a minute to start is killed by its master, and the application never comes up."""
    with services.postgres() if kind == "postgresql" else services.mariadb() as server:
        server.pause()
        try:
            began = time.monotonic()
            BlockingLogout(**AUTH, store=server.url).close()
            took = time.monotonic() - began
        finally:
            server.resume()

    assert took < 6


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:hunter2@127.0.0.1:1/db?foo=bar",
        "mysql+pymysql://u:hunter2@127.0.0.1:1/db?foo=bar",
        "mysql+pymysql://u:hunter2@127.0.0.1:1/db?charset=nope",
        "mysql+pymysql://u:hunter2@127.0.0.1:1/db?read_timeout=soon",
        "mysql+pymysql://u:hunter2@127.0.0.1:1/db?ssl_ca=/nowhere",
    ],
)
def test_an_option_that_the_driver_does_not_know_is_a_mistake_at_start(url: str) -> None:
    """Not a stack trace of the driver's, and never a 500 for each request."""
    with pytest.raises(ConfigurationError, match="E312 LOGOUT_STORE") as caught:
        SqlStore(url)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("option", ["connect_timeout=5", "charset=utf8mb4", "read_timeout=5&write_timeout=5"])
def test_the_usual_options_of_a_mysql_address_are_accepted(option: str, mariadb_server: services.MariaDb) -> None:
    """Time-outs are ours all the same."""
    url = f"{mariadb_server.url}{'&' if '?' in mariadb_server.url else '?'}{option}"
    store = SqlStore(url, prefix="options:")
    try:
        assert run_blocking(store.find([key("one")])) == ()
    finally:
        run_blocking(store.close())


@pytest.mark.parametrize(
    "url",
    ["mysql+pymysql://u:hunter2@a..b/db", "postgresql+psycopg://u:hunter2@a..b/db", "redis://:hunter2@a..b/0",
     f"redis://:hunter2@{'x' * 70}/0"],
)  # fmt: skip
def test_a_host_that_no_name_server_could_know_is_an_absent_store(url: str) -> None:
    """503, as for any host that cannot be reached."""
    store: Any = RedisStore(url, blocking=True) if url.startswith("redis") else SqlStore(url)

    with pytest.raises(StoreError) as caught:
        run_blocking(store.find([key("one")]))

    run_blocking(store.close())
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunt/er2@host/0", "redis://user:hunt?er2@host/0", "redis://:hunt#er2@host/0",
        "redis+sentinel://:hunt/er2@host/logout/0", "redis+cluster://:hunt?er2=x@host",
        "redis://user:hunt/er2@host:99999/0", "redis://user:hunt/er2",
    ],
)  # fmt: skip
def test_a_password_that_breaks_the_url_is_not_repeated(url: str) -> None:
    """A slash or question mark in a password moves its rest to where it does not look like a password."""
    with pytest.raises(ValueError, match=r".") as caught:
        parse_redis_url(url)

    assert "hunt" not in str(caught.value)
    assert "er2" not in str(caught.value)


# ---- deadlines ------------------------------------------------------------------------------------------------------


def test_under_an_event_loop_nobody_waits_for_a_thread_beyond_the_deadline() -> None:
    """A hundred requests that arrive as a SQL server begins to hang are told within the deadline and 50 ms."""

    async def main(server: services.Postgres) -> list[float]:
        logout = Logout(**AUTH, store=server.url)

        async def ask(name: int) -> float:
            began = time.monotonic()
            with contextlib.suppress(StoreError):
                await logout.store.find([key(name)])
            return time.monotonic() - began

        await asyncio.gather(*(ask(name) for name in range(40)))
        server.pause()
        took = await asyncio.gather(*(ask(name) for name in range(100)))
        server.resume()
        await logout.close()
        return took

    with services.postgres() as server:
        took = asyncio.run(main(server))

    assert max(took) < 0.3


def test_two_thousand_requests_at_once_are_answered(redis_server: services.Redis) -> None:
    """However many wait, each has its own deadline: the first one's does not become that of all who follow."""

    async def main() -> tuple[int, int]:
        store = RedisStore(redis_server.url, prefix="crowd:", blocking=False, deadline=1.0)
        await store.find([key("first")])
        right = wrong = 0
        ends = time.monotonic() + 3.0

        async def ask(name: int) -> None:
            nonlocal right, wrong
            while time.monotonic() < ends:
                try:
                    await store.find([key(name)])
                    right += 1
                except StoreError:
                    wrong += 1

        await asyncio.gather(*(ask(name) for name in range(2000)))
        await store.close()
        return right, wrong

    right, wrong = asyncio.run(main())
    assert right
    assert not wrong


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_a_user_who_ends_other_sessions_again_and_again_does_not_fill_the_feed(server: services.Redis) -> None:
    """Each change carries what is new, not all that was ever said of that user."""
    with opened(server.url) as store:
        for number in range(600):
            record = Revocation(key("ann"), float(number), 4e9, "logout", frozenset([key(number)]))
            assert run_blocking(store.add([record])) is Outcome.DONE
        found = run_blocking(store.find([key("ann")]))
        part = key("ann")[0] & 15

        used = server.call("MEMORY", "USAGE", f"{{logout:{part}}}:feed", "SAMPLES", 0)

    assert len(found) == 600
    assert used < 200_000


@pytest.mark.parametrize("kind", ["redis", "postgresql", "mariadb"])
def test_whoever_sees_that_changes_are_missing_tells_those_who_had_seen_less(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Else a worker that knew of fewer would go on logging out, until the count hid from all what was lost."""
    fixture = {"redis": "redis_server", "postgresql": "postgres_server", "mariadb": "mariadb_server"}[kind]
    url, prefix = request.getfixturevalue(fixture).url, f"p{time.monotonic_ns()}:"
    names = names_of_part(3)

    def open_store() -> Any:
        return RedisStore(url, prefix=prefix, blocking=True) if kind == "redis" else SqlStore(url, prefix=prefix)

    writer, knows_less = open_store(), open_store()
    first, second, third, late = (revoked(next(names)) for _ in range(4))
    run_blocking(writer.add([first]))
    assert len(run_blocking(knows_less.find([first.key]))) == 1
    run_blocking(writer.add([second]))
    run_blocking(writer.add([third]))
    _take_back(kind, url, writer, prefix)

    assert len(run_blocking(knows_less.find([first.key]))) == 1
    with pytest.raises(StoreForgot):
        run_blocking(writer.find([third.key]))
    for store in (writer, knows_less):
        with pytest.raises(StoreForgot):
            run_blocking(store.add([late]))
        with pytest.raises(StoreForgot):
            run_blocking(store.find([first.key]))
    run_blocking(writer.adopt())
    assert len(run_blocking(knows_less.find([first.key]))) == 1
    for store in (writer, knows_less):
        run_blocking(store.close())


def _take_back(kind: str, url: str, store: Any, prefix: str) -> None:
    """What an old copy, or a fail-over, makes of it: the changes after the first are gone."""
    if kind == "redis":
        client = redis_client.Redis.from_url(url)
        client.hset(f"{{{prefix}3}}:state", mapping={"seq": 1, "sure": 1})
        client.close()
        return
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"UPDATE {table_names(prefix).state} SET seq = 1"))
    engine.dispose()


def test_what_a_repeated_logout_confirms_is_all_that_refuses_it_the_widest_first() -> None:
    """Its own key alone would acknowledge it while its session, or its user's cut-off, waits for a replica."""
    keys = (key("own"), key("session"), key("user"))
    ann = Identity(b"digest", keys[0], issued_at=5.0, keys=keys)
    own, session, user = (Revocation(each, FOREVER, 4e9) for each in keys)
    spared = Revocation(keys[2], FOREVER, 4e9, keep=frozenset({keys[1]}))
    later = Revocation(keys[2], 4.0, 4e9)

    assert refusing(ann, [own, spared, later, session, user]) == [user, session, own]


def test_of_a_logout_nothing_is_stored_unless_all_before_it_is(server: services.Redis) -> None:
    """Wherever the keys are: a session without its user's cut-off would make the repeated logout leave that out."""
    in_three, in_five = names_of_part(3), names_of_part(5)
    user, session, own = revoked(next(in_three)), revoked(next(in_five)), revoked(next(in_three))
    with opened(server.url) as store:
        run_blocking(store.find([user.key]))
        ask, asked = store.nodes.ask, []

        async def count_and_ask(commands: Any, *rest: Any) -> Any:
            asked.append([part for part, _ in commands])
            return await ask(commands, *rest)

        store.nodes.ask = count_and_ask  # type: ignore[method-assign]
        run_blocking(store.add([user, session, own]))

        assert asked == [[3], [5], [3]]
