"""For tests: of this package, of stores that others write, and of applications that use it.

`StoreContract` is the suite that every store passes; subclass it in your own tests and say how to open
your store. `FlakyStore` fails on command. `MovableClock` is a clock that tests move instead of sleeping.
Nothing here is imported by the package itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from .colour import Threaded, run_blocking
from .errors import StoreError
from .rules.revocation import FOREVER, Revocation, key_of
from .stores import PURGE_DELAY, Count, Store

T = TypeVar("T")


class MovableClock:
    """Seconds since 1970 that pass only when told to."""

    def __init__(self, now: float = 1_800_000_000.25) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now

    def move(self, seconds: float) -> None:
        """Let time pass, or go back."""
        self.now += seconds


class FlakyStore:
    """A store around another that raises StoreError while `broken`; `calls` names what was asked."""

    def __init__(self, inner: Store) -> None:
        self.inner, self.broken = inner, False
        self.calls: list[str] = []
        self.durable, self.writes_block = inner.durable, inner.writes_block

    def _pass(self, name: str) -> None:
        self.calls.append(name)
        if self.broken:
            raise StoreError("the store is away (FlakyStore)")

    def version(self) -> int | None:
        """See Store.version; a store that may break must be asked each time."""
        return None

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """See Store.find."""
        self._pass("find")
        return await self.inner.find(keys)

    async def add(self, revocations: Sequence[Revocation]) -> None:
        """See Store.add."""
        self._pass("add")
        await self.inner.add(revocations)

    async def hit(self, key: bytes, window: float) -> Count:
        """See Store.hit."""
        self._pass("hit")
        return await self.inner.hit(key, window)

    async def purge(self, at_most: int = 500) -> int:
        """See Store.purge."""
        self._pass("purge")
        return await self.inner.purge(at_most)

    async def count(self) -> int:
        """See Store.count."""
        self._pass("count")
        return await self.inner.count()

    async def check(self) -> dict[str, str]:
        """See Store.check."""
        self._pass("check")
        return await self.inner.check()

    async def close(self) -> None:
        """See Store.close."""
        await self.inner.close()


def _key(name: str) -> bytes:
    return key_of("test", None, name)


class StoreContract:
    """The promises of `stores.Store` as tests, in both colours.

    Subclass it and define `open_store`. Set `shared` to False for a store that other instances cannot see.
    """

    shared = True
    colours: Sequence[str] = ("blocking", "asyncio")

    def open_store(self, place: Path, clock: MovableClock) -> Store:
        """A store at this place: called again with the same place, it is the same store."""
        raise NotImplementedError

    @pytest.fixture(params=["blocking", "asyncio"])
    def colour(self, request: pytest.FixtureRequest) -> str:
        """How the calls are run: at once, or under an event loop."""
        if request.param not in self.colours:
            pytest.fail(f"{type(self).__name__} does not claim the colour {request.param}; parametrise it away")
        return str(request.param)

    @pytest.fixture
    def clock(self) -> MovableClock:
        """The store's clock."""
        return MovableClock()

    @pytest.fixture
    def store(self, tmp_path: Path, clock: MovableClock, colour: str) -> Iterator[Store]:
        """The store under test."""
        opened = self.open_store(tmp_path, clock)
        yield Threaded(opened) if colour == "asyncio" and opened.writes_block else opened
        run_blocking(opened.close())

    def run(self, colour: str, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a store call, in this colour."""
        return run_blocking(coroutine) if colour == "blocking" else asyncio.run(coroutine)

    def test_what_was_added_is_found_and_nothing_else(self, store: Store, colour: str) -> None:
        """`find` returns exactly the records of the keys it is asked for."""
        one = Revocation(_key("one"), FOREVER, 2e9, "logout")
        two = Revocation(_key("two"), 1.5, 2e9, "other", frozenset({_key("kept"), _key("too")}))

        self.run(colour, store.add([one, two]))

        assert list(self.run(colour, store.find([_key("one"), _key("missing")]))) == [one]
        assert list(self.run(colour, store.find([_key("two")]))) == [two]
        assert list(self.run(colour, store.find([]))) == []

    def test_adding_again_changes_nothing(self, store: Store, colour: str) -> None:
        """Callers may retry."""
        record = Revocation(_key("one"), 5.0, 2e9, "logout")

        for _ in range(3):
            self.run(colour, store.add([record]))

        assert list(self.run(colour, store.find([record.key]))) == [record]
        assert self.run(colour, store.count()) == 1

    def test_records_of_one_key_merge_to_the_later_of_each(self, store: Store, colour: str) -> None:
        """A shorter or earlier revocation never shortens one that is there."""
        key = _key("one")

        self.run(colour, store.add([Revocation(key, 10.0, 3e9, "late")]))
        self.run(colour, store.add([Revocation(key, 5.0, 4e9, "early")]))

        assert list(self.run(colour, store.find([key]))) == [Revocation(key, 10.0, 4e9, "late")]

    def test_one_call_may_name_a_key_twice(self, store: Store, colour: str) -> None:
        """They merge as if they had come one after the other."""
        key = _key("one")

        self.run(colour, store.add([Revocation(key, 1.0, 2e9, "a"), Revocation(key, 2.0, 1.9e9, "b")]))

        assert list(self.run(colour, store.find([key]))) == [Revocation(key, 2.0, 2e9, "b")]

    def test_records_with_other_keep_sets_stand_beside_each_other(self, store: Store, colour: str) -> None:
        """Merging them would spare what one of them refuses."""
        key, keep = _key("user"), frozenset({_key("mine")})

        self.run(colour, store.add([Revocation(key, 5.0, 2e9, "others", keep), Revocation(key, 3.0, 2e9, "all")]))

        found = self.run(colour, store.find([key]))
        assert {(record.before, record.keep) for record in found} == {(5.0, keep), (3.0, frozenset())}

    def test_purging_takes_what_ended_long_ago_and_nothing_live(
        self, store: Store, colour: str, clock: MovableClock
    ) -> None:
        """A record stays a day after its end, so that a clock set back revives nothing."""
        now = clock.now
        live = [Revocation(_key(f"live {n}"), FOREVER, now + n, "live") for n in range(20)]
        self.run(colour, store.add([Revocation(_key("ended"), FOREVER, now - PURGE_DELAY - 2 * 3600, "ended"), *live]))

        self.run(colour, store.purge())

        assert len(self.run(colour, store.find([record.key for record in live]))) == 20
        assert self.run(colour, store.count()) == 20

    def test_a_clock_set_back_and_forth_revives_nothing(self, store: Store, colour: str, clock: MovableClock) -> None:
        """A day of error in either direction is survived, cleaner included."""
        record = Revocation(_key("one"), FOREVER, clock.now + 60, "logout")
        self.run(colour, store.add([record]))

        for jump in (PURGE_DELAY - 3600, -2 * PURGE_DELAY, PURGE_DELAY):
            clock.move(jump)
            self.run(colour, store.purge())

            assert list(self.run(colour, store.find([record.key]))) == [record]

    def test_what_comes_after_a_purge_is_still_found(self, store: Store, colour: str, clock: MovableClock) -> None:
        """Forgetting the newest record must not confuse readers about what is new."""
        self.run(colour, store.add([Revocation(_key("old"), FOREVER, clock.now, "old")]))
        self.run(colour, store.find([_key("old")]))
        clock.move(PURGE_DELAY + 7200)
        self.run(colour, store.purge())
        late = Revocation(_key("late"), FOREVER, clock.now + 60, "late")

        self.run(colour, store.add([late]))

        assert list(self.run(colour, store.find([late.key]))) == [late]

    def test_hits_count_up_in_their_window_and_start_anew_after_it(
        self, store: Store, colour: str, clock: MovableClock
    ) -> None:
        """The first event opens the window."""
        counts = [self.run(colour, store.hit(_key("user"), 300.0)) for _ in range(3)]
        clock.move(299.0)
        in_time = self.run(colour, store.hit(_key("user"), 300.0))
        clock.move(2.0)
        anew = self.run(colour, store.hit(_key("user"), 300.0))

        assert [count.count for count in counts] == [1, 2, 3]
        assert counts[0].resets_in == pytest.approx(300.0)
        assert (in_time.count, anew.count) == (4, 1)
        assert in_time.resets_in == pytest.approx(1.0)
        assert self.run(colour, store.hit(_key("other"), 300.0)).count == 1

    def test_another_instance_knows_what_was_acknowledged(
        self, store: Store, colour: str, clock: MovableClock, tmp_path: Path
    ) -> None:
        """Another worker refuses at its next request; so does one that starts later."""
        if not self.shared:
            assert not store.durable
            return
        early = self.open_store(tmp_path, clock)
        assert list(run_blocking(early.find([_key("one")]))) == []
        record = Revocation(_key("one"), FOREVER, 2e9, "logout")

        self.run(colour, store.add([record]))

        late = self.open_store(tmp_path, clock)
        assert list(run_blocking(early.find([record.key]))) == [record]
        assert list(run_blocking(late.find([record.key]))) == [record]
        for other in (early, late):
            run_blocking(other.close())

    def test_threads_may_add_and_find_at_once(self, store: Store, colour: str) -> None:
        """Nothing is lost and nothing is raised with eight threads."""
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(10):
                    key = _key(f"{number} {turn}")
                    self.run(colour, store.add([Revocation(key, FOREVER, 2e9, "logout")]))
                    assert len(self.run(colour, store.find([key]))) == 1
            # Whatever a thread raises must reach the test, not the thread's own end.
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert failures == []
        assert self.run(colour, store.count()) == 80

    def test_the_version_changes_whenever_an_answer_may(
        self, store: Store, colour: str, clock: MovableClock, tmp_path: Path
    ) -> None:
        """Whoever remembers an answer with its version never misses a revocation, here or in another instance."""
        writers = [store, self.open_store(tmp_path, clock)] if self.shared else [store]
        seen = [store.version()]

        for number in range(6):
            record = Revocation(_key(f"{number}"), FOREVER, 2e9, "logout")
            run_blocking(writers[number % len(writers)].add([record])) if number % 2 else self.run(
                colour, store.add([record])
            )
            seen.append(store.version())
            assert len(self.run(colour, store.find([record.key]))) == 1

        assert None in seen or len(set(seen)) == len(seen)
        assert store.version() == store.version()
        for writer in writers[1:]:
            run_blocking(writer.close())

    def test_a_closed_store_says_so_and_closes_twice(self, store: Store, colour: str) -> None:
        """Never an empty answer for "I cannot look"."""
        self.run(colour, store.close())
        self.run(colour, store.close())

        assert store.version() is None
        with pytest.raises(StoreError):
            self.run(colour, store.find([_key("one")]))
        with pytest.raises(StoreError):
            self.run(colour, store.add([Revocation(_key("one"), FOREVER, 2e9)]))


@pytest.fixture
def movable_clock() -> MovableClock:
    """A clock for `Logout(clock=…)`; use it with `pytest_plugins = ["logout_middleware.testing"]`."""
    return MovableClock()
