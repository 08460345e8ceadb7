"""Open WebSockets and streams end with their login, on every worker of every server; nobody else's do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .. import services
from . import live_clients as clients
from .live_clients import (
    CLOSE_CODE,
    Body,
    Connection,
    Crowd,
    Cut,
    Download,
    Login,
    MuteSocket,
    Socket,
    StalledDownload,
    StarletteBody,
    log_in,
    log_in_often,
    log_out,
    until_ended,
)  # fmt: skip

BOUND_MS = 250.0
ROUNDS = 3
"""Other work on the machine may slow a round down, so the best of these counts. What is wrong in any one is wrong."""
EXPIRY_LATE_SECONDS = 0.5
NEVER_SECONDS = 3600.0
SETTLED_SECONDS = 0.3
"""Workers look new connections up at first, which would find a logout; those that are older must be told of it."""
MEASURED = "uvicorn, websockets-sansio"
OTHERS = ["uvicorn, wsproto", "uvicorn, websockets", "hypercorn", "granian", "daphne", "gunicorn, asgi"]
ON_REDIS = {f"{MEASURED}, Redis": "0", f"{MEASURED}, Redis, replica": "1s"}

_users = itertools.count(1)

Situation = Callable[[Crowd], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Served:
    """Four workers of one server, and the name of what is measured."""

    name: str
    ports: Sequence[int]
    folder: Path

    def play(self, situation: Situation) -> None:
        """Play this with connections to each worker; none is left over."""

        async def main() -> None:
            async with clients.crowd(self.ports, self.folder) as everybody:
                everybody.told_as = self.name
                await situation(everybody)

        clients.run(main)


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server of this name, for all tests of this file; what it logged must not hold a traceback at the end."""
    name = request.param
    store, settings = f"sqlite:///{tmp_path_factory.mktemp('live') / 'logout.db'}", {}
    if name in ON_REDIS:
        store = request.getfixturevalue("redis_server").url
        settings = {"LOGOUT_MAX_STALENESS": ON_REDIS[name], "LOGOUT_KEY_PREFIX": f"live{services.free_port()}:"}
    with clients.serving(name.partition(", Redis")[0], store, **settings) as (ports, folder):
        yield Served(name, ports, folder)
        log = clients.logs(folder)
    assert "Traceback" not in log, log[:4000]
    assert "Exception in ASGI" not in log, log[:4000]


def _on(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("served", names, indirect=True, scope="module")


everywhere = _on(MEASURED, *OTHERS, *ON_REDIS)
on_every_server = _on(MEASURED, *OTHERS)
on_measured = _on(MEASURED)
on_threads = _on("gunicorn, gthread")


def played(situation: Situation) -> Callable[[Served], None]:
    """A test out of a situation: it is given the four workers and makes its own connections."""

    def test(served: Served) -> None:
        served.play(situation)

    test.__name__, test.__doc__, test.__module__ = situation.__name__, situation.__doc__, situation.__module__
    return test


def a_user(name: str) -> str:
    """A user whom no other test knows."""
    return f"{name}{next(_users)}"


async def ticked(connections: Sequence[Connection], times: int = 1) -> None:
    """Return when each of these has ticked so often again; fail if one ended or is silent."""
    before = [each.ticks for each in connections]
    deadline = time.monotonic() + clients.PATIENCE_SECONDS
    for each, ticks in zip(connections, before, strict=True):
        while each.ticks < ticks + times:
            assert each.is_open, f"{each.name} was closed: {each.how} {each.code}"
            assert time.monotonic() < deadline, f"{each.name} is silent"
            await asyncio.sleep(0.01)
    closed = [each.name for each in connections if not each.is_open]
    assert not closed, f"{len(closed)} of {len(connections)} were closed, e.g. {closed[0]}"


async def settled(connections: Sequence[Connection]) -> None:
    """Return when these have been open for a while."""
    await asyncio.sleep(SETTLED_SECONDS)
    assert all(each.is_open for each in connections)


async def assert_rightly_ended(crowd: Crowd, ended: Sequence[Connection], *, users: Sequence[str]) -> None:
    """Told how it ended, nothing said after it, and to its application a client that left."""
    for each in ended:
        if isinstance(each, Socket):
            assert (each.how, each.code) == ("close frame", CLOSE_CODE), each.name
        elif isinstance(each, Download):
            assert not each.said_goodbye, each.name
        else:
            assert isinstance(each, Body)
            assert (each.how, each.said_goodbye) == ("end of the body", True), each.name
        assert each.after_the_end == 0, f"{each.name} was sent something after its end"
    names = {each.name for each in ended}
    deadline = time.monotonic() + clients.PATIENCE_SECONDS
    while True:
        notes: dict[str, Any] = {}
        for user in users:
            notes |= await crowd.counts(f"{user}.")
        notes = {name: note for name, note in notes.items() if name in names}
        # Starlette leaves a generator that waits for its next event to the garbage collector.
        unaware = [name for name, note in notes.items() if not note["ended"] and StarletteBody.__name__ not in name]
        if not unaware or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.05)
    assert len(notes) == len(names)
    assert not unaware, f"{len(unaware)} applications were never told that the client left, e.g. {unaware[0]}"
    for name, note in notes.items():
        assert "closed" not in note["heard"], f"a frame sent after the close reached the application of {name}"
        assert note["heard_after_end"] == 0, f"a frame reached the application of {name} after its end"


async def measured(crowd: Crowd, play: Callable[[], Coroutine[Any, Any, Cut]]) -> None:
    """Some connection may be late in one round, but not in all."""
    found = []
    for _ in range(ROUNDS):
        cut = await play()
        found.append(cut.quantile(0.99))
        print(f"{crowd.told_as}: {cut}")
        if found[-1] <= BOUND_MS:
            return
    raise AssertionError(f"p99 {min(found):.0f} ms in the best of {ROUNDS} rounds, more than {BOUND_MS:.0f} ms")


async def everything_of_one_of_two(crowd: Crowd, *, sessions: int, each: int, every: float, sides: bool = True) -> Cut:
    """Two users with as many sockets and streams; one logs out everywhere, by a worker that holds few or none."""
    ann, bob = a_user("ann"), a_user("bob")
    hers, his = log_in_often(ann, sessions), log_in_often(bob, sessions)
    ending: list[Connection] = []
    staying: list[Connection] = []
    for kind in (Socket, Body):
        ending += await crowd.open(kind, hers, each, every=every)
        staying += await crowd.open(kind, his, each, every=every)
    if sides:
        for kind in (StarletteBody, Download):
            ending += await crowd.open(kind, hers[:2], 2, every=every)
            staying += await crowd.open(kind, his[:2], 2, every=every)
    assert {connection.status for connection in ending + staying} == {101, 200}
    for connection in ending:
        if isinstance(connection, Socket):
            connection.say("before")
    await settled(ending)
    of_worker = {worker: sum(c.worker == worker.pid for c in ending) for worker in crowd.workers}
    assert sum(of_worker.values()) == len(ending)
    fewest = min(crowd.workers, key=of_worker.__getitem__)

    cut = await log_out(fewest, hers[0], "global", ending)

    await ticked(staying)
    await assert_rightly_ended(crowd, ending, users=[ann])
    late = sum(note["heard"].get("late", 0) for note in (await crowd.counts(f"{ann}.")).values())
    print(
        f"{crowd.told_as}: {len(ending) - of_worker[fewest]} of {len(ending)} on other workers than the logout; "
        f"{late} frames that were sent after the answer reached an application before its end"
    )
    for connection in staying:
        connection.close()
    return cut


# ---- a logout ------------------------------------------------------------------------------------------


@everywhere
@played
async def test_everything_of_a_user_is_closed_on_every_worker(crowd: Crowd) -> None:
    """Log out everywhere, by one worker: sockets and streams on the others close within 250 ms, bob's stay."""
    await measured(crowd, lambda: everything_of_one_of_two(crowd, sessions=5, each=10, every=0.1))


@on_measured
@played
async def test_a_thousand_sockets_and_a_thousand_streams(crowd: Crowd) -> None:
    """Half of a thousand sockets and a thousand streams are ann's: all of hers close within 250 ms, none of bob's."""
    await measured(crowd, lambda: everything_of_one_of_two(crowd, sessions=10, each=50, every=1.0, sides=False))


@everywhere
@played
async def test_one_session_ends_and_the_users_other_devices_do_not_notice(crowd: Crowd) -> None:
    """A logout with one of two tokens of a session ends what either of them opened, and nothing else."""
    ann = a_user("ann")
    phone, laptop = log_in(ann, sid=f"{ann}-phone"), log_in(ann, sid=f"{ann}-laptop")
    again = log_in(ann, sid=f"{ann}-phone")
    ending, staying = [], []
    for kind in (Socket, Body):
        ending += await crowd.open(kind, [phone, again], 4)
        staying += await crowd.open(kind, [laptop], 4)
    await settled(ending)

    await log_out(crowd.workers[0], phone, "local", ending)

    await ticked(staying, times=6)
    await assert_rightly_ended(crowd, ending, users=[ann])


@on_measured
@played
async def test_one_token_without_a_session_ends_alone(crowd: Crowd) -> None:
    """Where tokens name no session, a logout ends what its own token opened."""
    ann = a_user("ann")
    one, other = log_in(ann), log_in(ann)
    ending, staying = [], []
    for kind in (Socket, Body, Download):
        ending += await crowd.open(kind, [one], 4)
        staying += await crowd.open(kind, [other], 4)
    await settled(ending)

    await log_out(crowd.workers[0], one, "local", ending)

    await ticked(staying, times=6)
    await assert_rightly_ended(crowd, ending, users=[ann])


@everywhere
@played
async def test_a_logged_out_token_opens_nothing(crowd: Crowd) -> None:
    """Handshakes and streams with a revoked token are refused by every worker, and reach no application."""
    ann = a_user("ann")
    login = log_in(ann, sid=f"{ann}-phone")
    await log_out(crowd.workers[0], login, "local", [])
    # With a replica that is allowed to be a second old, from then on.
    await asyncio.sleep(float(ON_REDIS.get(crowd.told_as, "0").removesuffix("s")))

    sockets = await crowd.open(Socket, [login], 12)
    streams = await crowd.open(Body, [login], 12)

    # Daphne and gunicorn cannot answer a handshake as they like: 403 is what they make of a close.
    assert {each.status for each in sockets} <= {401, 403}
    assert {each.status for each in streams} == {401}
    assert await crowd.counts(f"{ann}.") == {}


@on_measured
@played
async def test_a_handshake_under_way_at_the_logout_does_not_survive_it(crowd: Crowd) -> None:
    """The application accepts a socket half a second after its login was ended: it is closed, too."""
    ann = a_user("ann")
    login = log_in(ann, sid=f"{ann}-phone")
    slowly = "accept_after=0.5"
    handshakes = asyncio.gather(
        crowd.open(Socket, [login], 8, more=slowly), crowd.open(MuteSocket, [login], 2, more=slowly)
    )
    while len(await crowd.counts(f"{ann}.")) < 10:
        await asyncio.sleep(0.01)

    answer = await crowd.workers[0].ask("POST", "/auth/logout", login.token, {"scope": "local"})
    with contextlib.suppress(ConnectionError):
        await handshakes

    assert answer.status == 200
    await asyncio.wait([each.ended for each in crowd.connections], timeout=1.0)
    assert all(each.status in (401, 403) or each.code == CLOSE_CODE for each in crowd.connections)
    assert sum(each.ticks + each.after_the_end for each in crowd.connections) == 0


# ---- applications and clients that do not behave -------------------------------------------------------


@on_every_server
@played
async def test_an_idle_application_that_never_listens_is_closed_as_fast(crowd: Crowd) -> None:
    """It neither sends nor receives when the logout comes; its client is told all the same, at once."""

    async def play() -> Cut:
        ann = a_user("ann")
        hers = log_in_often(ann, 2)
        ending: list[Connection] = []
        for kind in (Socket, Body, StarletteBody, Download):
            ending += await crowd.open(kind, hers, 4, every=NEVER_SECONDS, more="deaf=1")

        cut = await log_out(crowd.workers[0], hers[0], "global", ending)

        assert all(each.code == CLOSE_CODE for each in ending if isinstance(each, Socket))
        return cut

    await measured(crowd, play)


@on_measured
@played
async def test_an_application_that_only_sends_learns_it_from_send(crowd: Crowd) -> None:
    """It never calls receive: the next send raises OSError, as it does when a client has left."""
    ann = a_user("ann")
    login = log_in(ann, sid=f"{ann}-phone")
    ending: list[Connection] = []
    for kind in (Socket, Body, Download):
        ending += await crowd.open(kind, [login], 4, more="deaf=1")

    await log_out(crowd.workers[0], login, "local", ending)

    await assert_rightly_ended(crowd, ending, users=[ann])
    assert {tuple(note["ended"]) for note in (await crowd.counts(f"{ann}.")).values()} == {("OSError",)}


@on_every_server
@played
async def test_a_client_that_never_answers_the_close_holds_nobody_up(crowd: Crowd) -> None:
    """Sockets whose clients ignore the close are over for an application that only listens; no other closes later."""

    async def play() -> Cut:
        ann, bob = a_user("ann"), a_user("bob")
        login, his = log_in(ann, sid=f"{ann}-phone"), log_in(bob, sid=f"{bob}-phone")
        ending = await crowd.open(MuteSocket, [login], 20, every=NEVER_SECONDS)
        ending += await crowd.open(Socket, [login], 20)
        ending += await crowd.open(Body, [login], 20)
        staying = await crowd.open(Socket, [his], 8)

        cut = await log_out(crowd.workers[0], login, "local", ending)

        assert cut.acknowledged_ms < 1000
        await ticked(staying)
        await assert_rightly_ended(crowd, ending, users=[ann])
        return cut

    await measured(crowd, play)


@on_measured
@played
async def test_a_client_that_does_not_read_holds_nobody_up(crowd: Crowd) -> None:
    """Its buffers are full, so nothing can be sent to it; the logout and all others do not wait for it."""

    async def play() -> Cut:
        ann = a_user("ann")
        login = log_in(ann, sid=f"{ann}-phone")
        stalled = await crowd.open(StalledDownload, [login], 8, every=0.001, more="pad=1000000")
        await asyncio.sleep(0.3)  # for the kernel's buffers to fill
        ending = await crowd.open(Socket, [login], 8)
        ending += await crowd.open(Body, [login], 8)

        cut = await log_out(crowd.workers[0], login, "local", ending)

        assert cut.acknowledged_ms < 1000
        await assert_rightly_ended(crowd, ending, users=[ann])
        for each in stalled:
            each.read_on()
        await asyncio.wait([each.ended for each in stalled], timeout=clients.PATIENCE_SECONDS)
        assert not any(each.is_open for each in stalled)
        return cut

    await measured(crowd, play)


# ---- no logout -----------------------------------------------------------------------------------------


@on_every_server
@played
async def test_connections_end_when_their_token_expires(crowd: Crowd) -> None:
    """At the token's own `exp`, neither earlier nor much later; a younger token of the session goes on."""
    ann = a_user("ann")
    expires_at = time.time() + 1.5
    short = log_in(ann, sid=f"{ann}-phone", lives=1.5)
    ending: list[Connection] = []
    for kind in (Socket, Body, Download):
        ending += await crowd.open(kind, [short], 4)
    staying = await crowd.open(Socket, [log_in(ann, sid=f"{ann}-phone")], 4)
    offset = time.time() - time.perf_counter()

    await asyncio.wait([each.ended for each in ending], timeout=clients.PATIENCE_SECONDS)

    ends = [each.ended_at + offset - expires_at for each in ending if each.ended_at is not None]
    assert len(ends) == len(ending)
    print(f"{crowd.told_as}: ended {min(ends) * 1e3:+.0f} to {max(ends) * 1e3:+.0f} ms from exp")
    assert min(ends) > -0.05
    assert max(ends) < EXPIRY_LATE_SECONDS
    await ticked(staying, times=4)
    await assert_rightly_ended(crowd, ending, users=[ann])


@everywhere
@pytest.mark.parametrize("retire", ["", "?retire=1"], ids=["kept", "retired"])
def test_a_refresh_closes_nothing(served: Served, retire: str) -> None:
    """Another token of the session is minted, and the old one retired: what the old one opened goes on ticking.

    The session's logout, made with the new token, then ends it.
    """

    async def situation(crowd: Crowd) -> None:
        ann = a_user("ann")
        old = log_in(ann, sid=f"{ann}-phone")
        opened: list[Connection] = []
        for kind in (Socket, Body, Download):
            opened += await crowd.open(kind, [old], 4)

        answer = await crowd.workers[0].ask("POST", f"/refresh{retire}", old.token)
        await ticked(opened, times=8)
        again = await crowd.open(Socket, [old], 8)
        new = Login(ann, old.sid, answer.json["access_token"])
        opened += [each for each in again if each.status == 101]
        await log_out(crowd.workers[1], new, "local", opened)

        assert {each.status for each in again} <= ({401, 403} if retire else {101})
        await assert_rightly_ended(crowd, opened, users=[ann])

    served.play(situation)


# ---- WSGI ----------------------------------------------------------------------------------------------


@on_threads
@played
async def test_a_streamed_iterator_is_closed_between_two_chunks(crowd: Crowd) -> None:
    """Under threads a streamed answer ends with the chunk after the logout, and its iterator is closed."""

    async def play() -> Cut:
        ann, bob = a_user("ann"), a_user("bob")
        hers, his = log_in_often(ann, 2), log_in_often(bob, 2)
        ending = await crowd.open(Body, hers, 3) + await crowd.open(Download, hers, 3)
        staying = await crowd.open(Body, his, 3) + await crowd.open(Download, his, 3)

        cut = await log_out(crowd.workers[0], hers[0], "global", ending)

        await ticked(staying)
        await assert_rightly_ended(crowd, ending, users=[ann])
        for each in staying:
            each.close()
        return cut

    await measured(crowd, play)


@on_threads
@played
async def test_a_streamed_iterator_ends_when_its_token_expires(crowd: Crowd) -> None:
    """With the chunk after its token's `exp`."""
    ann = a_user("ann")
    expires_at = time.time() + 1.5
    ending = await crowd.open(Body, [log_in(ann, lives=1.5)], 4)
    offset = time.time() - time.perf_counter()

    await asyncio.wait([each.ended for each in ending], timeout=clients.PATIENCE_SECONDS)

    ends = [each.ended_at + offset - expires_at for each in ending if each.ended_at is not None]
    assert len(ends) == len(ending)
    assert min(ends) > -0.05
    assert max(ends) < EXPIRY_LATE_SECONDS
    await assert_rightly_ended(crowd, ending, users=[ann])


# ---- the judges themselves -----------------------------------------------------------------------------


def test_a_connection_that_is_never_closed_is_noticed() -> None:
    """The waiting that all these tests rest on fails where one connection stays open."""

    async def main() -> None:
        one = Socket(log_in("ann"), "ann.Socket.0")
        answer = clients.Answer(200, b"", time.perf_counter(), time.perf_counter())
        with pytest.raises(AssertionError, match="never closed"):
            await until_ended([one], answer, time.process_time(), patience=0.01)

    clients.run(main)


def test_what_comes_after_a_close_is_counted() -> None:
    """A server that goes on sending after its close frame is found out."""

    async def main() -> None:
        one = Socket(log_in("ann"), "ann.Socket.0")
        one.mute = True
        one.connection_made(_Nowhere())
        one.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + b"\x81\x01" + b"7" + b"\x88\x02\x11\x31")
        one.data_received(b"\x81\x06tick 1")

        assert (one.worker, one.code, one.after_the_end) == (7, CLOSE_CODE, 1)

    clients.run(main)


class _Nowhere:
    """A transport that takes everything."""

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool:
        return False
