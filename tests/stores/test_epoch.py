"""The memory of a store's marks: what it takes for "forgot", and what it must not."""

from __future__ import annotations

import logging
import time

import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.stores import StoreForgot
from logout_middleware.stores.epoch import Mark, Memory
from logout_middleware.stores.redis import RedisStore

from .. import services


@pytest.fixture
def memory() -> Memory:
    """It has seen the mark "a" with ten changes."""
    memory = Memory("redis://host")
    memory.check(0, Mark("a", 0, 10))
    return memory


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "it is empty"),
        (Mark("a", 0, 9), "1 changes"),
        (Mark("b", 0, 99), "another store"),
    ],
    ids=["emptied", "older", "other"],
)
def test_a_store_that_is_not_the_one_it_was_has_forgotten(memory: Memory, found: Mark | None, why: str) -> None:
    """Emptied, restored from an old copy, or another one: it cannot know."""
    with pytest.raises(StoreForgot, match=why):
        memory.check(0, found)


def test_only_an_adoption_ends_it(memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
    """An operator's decision is told by its time, and is logged once."""
    memory.check(0, Mark("b", 5, 1))
    memory.check(0, Mark("b", 5, 2))

    with pytest.raises(StoreForgot):
        memory.check(0, Mark("a", 0, 10))
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.CRITICAL]


def test_an_answer_that_was_under_way_for_longer_is_no_alarm(memory: Memory) -> None:
    """It is judged by what was known when it was asked for, and does not replace what is known by now."""
    known = memory.snapshot()
    memory.check(0, Mark("a", 0, 12))

    memory.check(0, Mark("a", 0, 11), known=known)

    assert memory.seen(0) == Mark("a", 0, 12)
    with pytest.raises(StoreForgot):
        memory.check(0, Mark("a", 0, 11), known=memory.snapshot())


def test_an_answer_from_before_an_adoption_is_no_alarm(memory: Memory) -> None:
    """Requests that were under way while the operator adopted the store are answered."""
    known = memory.snapshot()
    memory.check(0, Mark("b", 5, 0))

    memory.check(0, Mark("a", 0, 11), known=known)

    assert memory.seen(0) == Mark("b", 5, 0)


def test_what_was_never_confirmed_may_be_lost(memory: Memory) -> None:
    """A fail-over takes back changes that nobody acknowledged; what was confirmed must be there."""
    memory.check(0, Mark("a", 0, 12), has=20)

    memory.check(0, Mark("a", 0, 11), has=12)

    with pytest.raises(StoreForgot):
        memory.check(0, Mark("a", 0, 11), has=11)


def test_a_snapshot_never_changes(memory: Memory) -> None:
    """It may be kept while others go on."""
    snapshot = memory.snapshot()

    memory.check(1, Mark("x", 0, 0))

    assert set(snapshot) == {0}


def test_what_an_earlier_process_had_seen_counts(memory: Memory) -> None:
    """After a restart a store that was emptied meanwhile is noticed."""
    later = Memory("redis://host")
    later.restore(memory.snapshot())

    with pytest.raises(StoreForgot):
        later.check(0, None)


def test_a_store_that_is_begun_anew_is_told_to_the_operator_once(
    redis_server: services.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be new, or it was emptied while nobody was there to remember: a person can tell."""
    prefix = f"new{time.monotonic_ns()}:"
    for _ in range(2):
        store = RedisStore(redis_server.url, prefix=prefix, blocking=True)
        run_blocking(store.find([b"k" * 16]))
        run_blocking(store.close())

    told = [record.getMessage() for record in caplog.records if "begun anew" in record.getMessage()]
    assert len(told) == 1
