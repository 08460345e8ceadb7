"""While a store is away, one question finds out and the others are told at once."""

from __future__ import annotations

import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.errors import StoreError
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of
from logout_middleware.stores import StoreForgot
from logout_middleware.stores.breaker import REST_SECONDS, Breaker
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.testing import FlakyStore, MovableClock

KEY = key_of("test", None, "one")
RECORD = Revocation(KEY, FOREVER, 2e9, "logout")


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(1000.0)


@pytest.fixture
def flaky() -> FlakyStore:
    return FlakyStore(MemoryStore())


@pytest.fixture
def breaker(flaky: FlakyStore, clock: MovableClock) -> Breaker:
    return Breaker(flaky, monotonic=clock)


def fails(breaker: Breaker, what: str = "find") -> str:
    with pytest.raises(StoreError) as caught:
        run_blocking(breaker.find([KEY]) if what == "find" else breaker.add([RECORD]))
    return str(caught.value)


def test_a_failure_spares_the_next_requests_the_wait(breaker: Breaker, flaky: FlakyStore) -> None:
    """The store is asked once; everybody is told what that one was told."""
    flaky.broken = True

    told = [fails(breaker) for _ in range(50)]

    assert flaky.calls == ["find"]
    assert all("the store is away" in text for text in told)


def test_after_the_rest_a_single_request_tries_again(breaker: Breaker, flaky: FlakyStore, clock: MovableClock) -> None:
    """While it is still away the rest begins anew."""
    flaky.broken = True
    fails(breaker)
    clock.move(REST_SECONDS + 0.01)

    for _ in range(10):
        fails(breaker)

    assert flaky.calls == ["find", "find"]


def test_a_recovery_is_noticed_within_a_second(breaker: Breaker, flaky: FlakyStore, clock: MovableClock) -> None:
    """The first request after the rest is answered, and all that follow."""
    flaky.broken = True
    fails(breaker)
    flaky.broken = False
    clock.move(1.0)

    assert [list(run_blocking(breaker.find([KEY]))) for _ in range(3)] == [[], [], []]
    assert run_blocking(breaker.add([RECORD])).value == "done"


def test_the_one_that_tries_shuts_the_gate_behind_it(breaker: Breaker, flaky: FlakyStore, clock: MovableClock) -> None:
    """A thousand requests that come at the end of the rest do not all wait for a store that still hangs."""
    flaky.broken = True
    fails(breaker)
    clock.move(REST_SECONDS + 0.01)
    told = []

    class Hanging(FlakyStore):
        async def find(self, keys):  # type: ignore[no-untyped-def]
            told.append(fails(breaker))  # what comes while this one waits
            return await super().find(keys)

    hanging = Hanging(MemoryStore())
    breaker.inner = hanging

    assert list(run_blocking(breaker.find([KEY]))) == []
    assert len(told) == 1
    assert "not asked" in told[0]


def test_a_store_that_refuses_writes_still_answers_who_is_logged_out(breaker: Breaker, flaky: FlakyStore) -> None:
    """A full disk or memory must not turn every request into 503."""
    run_blocking(breaker.add([RECORD]))
    flaky.broken = True
    fails(breaker, "add")
    flaky.broken = False

    assert list(run_blocking(breaker.find([KEY]))) == [RECORD]
    assert "not asked" in fails(breaker, "add")


def test_a_store_that_forgot_is_asked_each_time(breaker: Breaker, flaky: FlakyStore) -> None:
    """It answers at once, and the first request after its adoption must pass."""

    class Forgot(FlakyStore):
        async def find(self, keys):  # type: ignore[no-untyped-def]
            self.calls.append("find")
            raise StoreForgot("it is empty, and it was not")

    breaker.inner = forgot = Forgot(MemoryStore())

    for _ in range(3):
        assert "it is empty" in fails(breaker)

    assert forgot.calls == ["find"] * 3
