"""Work that is tried again until it succeeds: kept in order, never in a request's way, over with its process."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from logout_middleware import BlockingLogout, Logout, StoreError, chores
from logout_middleware.chores import Chores
from logout_middleware.errors import ConfigurationError


class Parts:
    """What a chore works with: here it only says who it is."""

    def __init__(self) -> None:
        self.service, self.closed_by = object(), 0

    async def close(self) -> None:
        """Say who closed it."""
        self.closed_by = threading.get_ident()


class Work:
    """A chore that fails so often before it succeeds."""

    def __init__(self, failures: int = 0, error: Callable[[], Exception] = lambda: StoreError("away")) -> None:
        self.failures, self.error, self.calls = failures, error, 0
        self.done = threading.Event()

    async def __call__(self, service: Any) -> None:
        """Do it."""
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error()
        self.done.set()


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def work(parts: Parts) -> Iterator[Chores]:
    """Chores over these parts."""
    made = Chores(lambda: parts)
    yield made
    made.stop()


def test_a_chore_is_done_at_once_if_it_can_be(work: Chores) -> None:
    """In a thread of its own."""
    chore = Work()

    assert work.add(chore)

    assert work.tried()
    assert (chore.calls, len(work)) == (1, 0)


def test_a_chore_that_fails_is_tried_again_until_it_succeeds(work: Chores) -> None:
    """And whoever knows that something is back may hurry it."""
    chore = Work(failures=3)
    assert work.add(chore)

    for calls in (1, 2, 3):
        assert work.tried()
        assert (chore.calls, len(work)) == (calls, 1)
        work.try_now()

    assert work.tried()
    assert (chore.calls, len(work)) == (4, 0)


def test_a_chore_is_tried_again_without_anybody_asking(work: Chores) -> None:
    """After a pause."""
    chore = Work(failures=1)
    assert work.add(chore)

    assert chore.done.wait(10.0)


def test_a_chore_that_is_a_bug_does_not_end_those_behind_it(work: Chores, caplog: pytest.LogCaptureFixture) -> None:
    """It is told, and dropped."""
    bug, chore = Work(failures=9, error=lambda: RuntimeError("a bug")), Work()
    assert work.add(bug)
    assert work.add(chore)

    assert work.tried()
    assert (bug.calls, chore.calls, len(work)) == (1, 1, 0)
    assert "a chore failed" in caplog.text


def test_what_cannot_be_opened_today_loses_no_chore(parts: Parts) -> None:
    """A store that is away when the first chore comes may say so in any way."""
    faults: list[Exception] = [ConfigurationError("E300 no such file"), OSError("no room"), StoreError("away")]

    def build() -> Parts:
        if faults:
            raise faults.pop()
        return parts

    work, chore = Chores(build), Work()
    assert work.add(chore)

    for _ in range(3):
        assert work.tried()
        assert (chore.calls, len(work)) == (0, 1)
        work.try_now()

    assert work.tried()
    assert (chore.calls, len(work)) == (1, 0)
    work.stop()


def test_a_listener_that_needs_an_event_loop_breaks_no_blocking_logout(caplog: pytest.LogCaptureFixture) -> None:
    """However many events it is told of: each is logged as failed, and the logout is done."""
    logout = BlockingLogout(store="memory://", allow_unsafe_store=True, audit="off")

    async def listener(event: Any) -> None:
        await asyncio.sleep(0)

    logout.on_event(listener)

    logout.revoke_session("s-1")

    assert caplog.text.count("a logout event callback failed") == 2
    logout.close()


def test_nobody_waits_for_ever(work: Chores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """After a day it is given up, and told."""
    monkeypatch.setattr(chores, "PATIENCE_SECONDS", -1.0)
    chore = Work(failures=9)
    assert work.add(chore)

    assert work.tried()
    assert (chore.calls, len(work)) == (1, 0)
    assert "given up" in caplog.text


def test_doubtful_chores_do_not_crowd_out_the_others(work: Chores, monkeypatch: pytest.MonkeyPatch) -> None:
    """What anybody may have made up is kept only as long as there is room for what nobody can."""
    monkeypatch.setattr(chores, "MOST_DOUBTFUL", 2)
    monkeypatch.setattr(chores, "MOST_CHORES", 3)
    for _ in range(2):
        assert work.add(Work(failures=9), doubtful=True)
        assert work.tried()

    assert work.add(Work(), doubtful=True) is False
    assert work.add(Work(failures=9)) is True
    assert work.tried()
    assert work.add(Work()) is False


def test_when_it_is_stopped_nothing_is_taken_any_more(parts: Parts) -> None:
    """And its thread gives back what it opened, itself."""
    work = Chores(lambda: parts)
    assert work.add(Work(failures=9))
    assert work.tried()

    work.stop()
    work.stop()

    assert work.add(Work()) is False
    assert parts.closed_by not in (0, threading.get_ident())


def test_stopping_what_never_began_is_nothing() -> None:
    """No thread is started for it."""
    before = threading.active_count()
    work = Chores(Parts)

    assert work.tried()
    work.stop()

    assert threading.active_count() == before


def test_a_forked_process_does_only_its_own_chores(work: Chores) -> None:
    """What the parent keeps, the parent does, even if it held the lock at that moment."""
    kept = Work(failures=9)
    assert work.add(kept)
    assert work.tried()
    reading, writing = os.pipe()
    with work._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of what this test is about
        child = os.fork()
        if child == 0:
            own = Work()
            done = work.add(own) and own.done.wait(10.0) and work.tried() and len(work) == 0
            os.write(writing, b"done" if done else b"not done")
            os._exit(0)

    _, status = os.waitpid(child, 0)

    assert (status, os.read(reading, 100)) == (0, b"done")
    os.close(reading)
    os.close(writing)
    assert len(work) == 1


@pytest.mark.parametrize("shell", ["asgi", "wsgi"])
def test_closing_a_logout_object_ends_its_chores(shell: str) -> None:
    """No thread outlives it."""
    given: dict[str, Any] = {"store": "memory://", "allow_unsafe_store": True, "audit": "off"}
    chore, before = Work(), set(threading.enumerate())
    if shell == "wsgi":
        blocking = BlockingLogout(**given)
        assert blocking.inner.chores.add(chore)
        assert chore.done.wait(10.0)
        blocking.close()
    else:

        async def live() -> None:
            logout = Logout(**given)
            assert logout.chores.add(chore)
            assert await asyncio.to_thread(chore.done.wait, 10.0)
            await logout.close()

        asyncio.run(live())

    assert {thread.name for thread in set(threading.enumerate()) - before} & {"logout-middleware-chores"} == set()
