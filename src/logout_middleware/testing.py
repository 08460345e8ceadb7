"""For tests: of this package, of stores that others write, and of applications that use it.

`StoreContract` is the suite that every store passes; subclass it in your own tests and say how to open
your store. `FlakyStore` fails on command. `MovableClock` is a clock that tests move instead of sleeping.
Nothing here is imported by the package itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .colour import fitting, run_blocking
from .errors import StoreError
from .rules.revocation import FOREVER, Revocation, key_of, merge
from .stores import PURGE_DELAY, Changes, Count, Fact, Outcome, Store
from .testing_facts import FactsContract, Run


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
        self.durable, self.writes_block, self.reads_block = inner.durable, inner.writes_block, inner.reads_block

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

    async def add(self, revocations: Sequence[Revocation]) -> Outcome:
        """See Store.add."""
        self._pass("add")
        return await self.inner.add(revocations)

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Changes:
        """See Store.changes."""
        self._pass("changes")
        return await self.inner.changes(cursor, wait_seconds)

    async def learn(self, facts: Sequence[Fact]) -> None:
        """See Store.learn."""
        self._pass("learn")
        await self.inner.learn(facts)

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        """See Store.facts."""
        self._pass("facts")
        return await self.inner.facts(subjects)

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

    async def adopt(self) -> None:
        """See Store.adopt."""
        self._pass("adopt")
        await self.inner.adopt()

    async def check(self) -> dict[str, str]:
        """See Store.check."""
        self._pass("check")
        return await self.inner.check()

    async def close(self) -> None:
        """See Store.close."""
        await self.inner.close()


def _key(name: str) -> bytes:
    return key_of("test", None, name)


class StoreContract(FactsContract):
    """The promises of `stores.Store` as tests, in both colours.

    Subclass it and define `open_store`. Set `shared` to False for a store that other instances cannot see.
    """

    shared = True

    def open_store(self, place: Path, clock: MovableClock, *, blocking: bool) -> Store:
        """A store at this place: called again with the same place, it is the same store."""
        raise NotImplementedError

    @pytest.fixture(params=["blocking", "asyncio"])
    def colour(self, request: pytest.FixtureRequest) -> str:
        """How the calls are run: at once, or under an event loop."""
        return str(request.param)

    @pytest.fixture
    def clock(self) -> MovableClock:
        """The store's clock."""
        return MovableClock()

    @pytest.fixture
    def run(self, colour: str) -> Iterator[Run]:
        """Runs a store call in this colour, and gives its result."""
        if colour == "blocking":
            yield run_blocking
        else:
            with asyncio.Runner() as runner:
                yield runner.run

    @pytest.fixture
    def another(self, tmp_path: Path, clock: MovableClock, colour: str, run: Run) -> Iterator[Callable[[], Store]]:
        """Opens one more instance of the store under test, as another worker would."""
        opened: list[Store] = []

        def open_one() -> Store:
            blocking = colour == "blocking"
            store = fitting(self.open_store(tmp_path, clock, blocking=blocking), blocking=blocking)
            opened.append(store)
            return store

        yield open_one
        for store in opened:
            run(store.close())

    @pytest.fixture
    def store(self, another: Callable[[], Store]) -> Store:
        """The store under test."""
        return another()

    @pytest.fixture
    def feed(self, tmp_path: Path, clock: MovableClock, store: Store, colour: str) -> Iterator[Store]:
        """A blocking instance of the same store, as a replica reads from it."""
        if not self.shared:
            yield store
            return
        opened = self.open_store(tmp_path, clock, blocking=True)
        yield opened
        run_blocking(opened.close())

    def test_what_was_added_is_found_and_nothing_else(self, store: Store, run: Run) -> None:
        """`find` returns exactly the records of the keys it is asked for."""
        one = Revocation(_key("one"), FOREVER, 2e9, "logout")
        two = Revocation(_key("two"), 1.5, 2e9, "other", frozenset({_key("kept"), _key("too")}))

        run(store.add([one, two]))

        assert list(run(store.find([_key("one"), _key("missing")]))) == [one]
        assert list(run(store.find([_key("two")]))) == [two]
        assert list(run(store.find([]))) == []

    def test_adding_again_changes_nothing(self, store: Store, run: Run) -> None:
        """Callers may retry."""
        record = Revocation(_key("one"), 5.0, 2e9, "logout")

        for _ in range(3):
            run(store.add([record]))

        assert list(run(store.find([record.key]))) == [record]
        assert run(store.count()) == 1

    def test_records_of_one_key_merge_to_the_later_of_each(self, store: Store, run: Run) -> None:
        """A shorter or earlier revocation never shortens one that is there."""
        key = _key("one")

        run(store.add([Revocation(key, 10.0, 3e9, "late")]))
        run(store.add([Revocation(key, 5.0, 4e9, "early")]))

        assert list(run(store.find([key]))) == [Revocation(key, 10.0, 4e9, "late")]

    def test_one_call_may_name_a_key_twice(self, store: Store, run: Run) -> None:
        """They merge as if they had come one after the other."""
        key = _key("one")

        run(store.add([Revocation(key, 1.0, 2e9, "a"), Revocation(key, 2.0, 1.9e9, "b")]))

        assert list(run(store.find([key]))) == [Revocation(key, 2.0, 2e9, "b")]

    def test_records_with_other_keep_sets_stand_beside_each_other(self, store: Store, run: Run) -> None:
        """Merging them would spare what one of them refuses."""
        key, keep = _key("user"), frozenset({_key("mine")})

        run(store.add([Revocation(key, 5.0, 2e9, "others", keep), Revocation(key, 3.0, 2e9, "all")]))

        found = run(store.find([key]))
        assert {(record.before, record.keep) for record in found} == {(5.0, keep), (3.0, frozenset())}

    def test_purging_takes_what_ended_long_ago_and_nothing_live(
        self, store: Store, run: Run, clock: MovableClock
    ) -> None:
        """A record stays a day after its end, so that a clock set back revives nothing."""
        now = clock.now
        live = [Revocation(_key(f"live {n}"), FOREVER, now + n, "live") for n in range(20)]
        run(store.add([Revocation(_key("ended"), FOREVER, now - PURGE_DELAY - 2 * 3600, "ended"), *live]))

        run(store.purge())

        assert len(run(store.find([record.key for record in live]))) == 20
        assert run(store.count()) == 20

    def test_a_clock_set_back_and_forth_revives_nothing(self, store: Store, run: Run, clock: MovableClock) -> None:
        """A day of error in either direction is survived, cleaner included."""
        record = Revocation(_key("one"), FOREVER, clock.now + 60, "logout")
        run(store.add([record]))

        for jump in (PURGE_DELAY - 3600, -2 * PURGE_DELAY, PURGE_DELAY):
            clock.move(jump)
            run(store.purge())

            assert list(run(store.find([record.key]))) == [record]

    def test_what_comes_after_a_purge_is_still_found(self, store: Store, run: Run, clock: MovableClock) -> None:
        """Forgetting the newest record must not confuse readers about what is new."""
        run(store.add([Revocation(_key("old"), FOREVER, clock.now, "old")]))
        run(store.find([_key("old")]))
        clock.move(PURGE_DELAY + 7200)
        run(store.purge())
        late = Revocation(_key("late"), FOREVER, clock.now + 60, "late")

        run(store.add([late]))

        assert list(run(store.find([late.key]))) == [late]

    def test_hits_count_up_in_their_window_and_start_anew_after_it(
        self, store: Store, run: Run, clock: MovableClock
    ) -> None:
        """The first event opens the window."""
        counts = [run(store.hit(_key("user"), 300.0)) for _ in range(3)]
        clock.move(299.0)
        in_time = run(store.hit(_key("user"), 300.0))
        clock.move(2.0)
        anew = run(store.hit(_key("user"), 300.0))

        assert [count.count for count in counts] == [1, 2, 3]
        assert counts[0].resets_in == pytest.approx(300.0)
        assert (in_time.count, anew.count) == (4, 1)
        assert in_time.resets_in == pytest.approx(1.0)
        assert run(store.hit(_key("other"), 300.0)).count == 1

    def test_another_instance_knows_what_was_acknowledged(
        self, store: Store, run: Run, another: Callable[[], Store]
    ) -> None:
        """Another worker refuses at its next request; so does one that starts later."""
        if not self.shared:
            assert not store.durable
            return
        early = another()
        assert list(run(early.find([_key("one")]))) == []
        record = Revocation(_key("one"), FOREVER, 2e9, "logout")

        run(store.add([record]))

        late = another()
        assert list(run(early.find([record.key]))) == [record]
        assert list(run(late.find([record.key]))) == [record]

    def test_callers_may_add_and_find_at_once(self, store: Store, run: Run, colour: str) -> None:
        """Nothing is lost and nothing is raised with eight threads, or eight tasks."""
        failures: list[BaseException] = []

        async def work(number: int) -> None:
            try:
                for turn in range(10):
                    key = _key(f"{number} {turn}")
                    await store.add([Revocation(key, FOREVER, 2e9, "logout")])
                    assert len(await store.find([key])) == 1
            # Whatever a thread raises must reach the test, not the thread's own end.
            except BaseException as error:
                failures.append(error)

        async def work_together() -> None:
            await asyncio.gather(*(work(number) for number in range(8)))

        if colour == "asyncio":
            run(work_together())
        else:
            threads = [threading.Thread(target=lambda n=n: run_blocking(work(n))) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        assert failures == []
        assert run(store.count()) == 80

    def test_the_version_changes_whenever_an_answer_may(
        self, store: Store, run: Run, another: Callable[[], Store]
    ) -> None:
        """Whoever remembers an answer with its version never misses a revocation, here or in another instance."""
        writers = [store, another()] if self.shared else [store]
        seen = [store.version()]

        for number in range(6):
            record = Revocation(_key(f"{number}"), FOREVER, 2e9, "logout")
            run(writers[number % len(writers)].add([record]))
            seen.append(store.version())
            assert len(run(store.find([record.key]))) == 1

        assert None in seen or len(set(seen)) == len(seen)
        assert store.version() == store.version()

    def test_the_feed_gives_everything_and_then_what_is_new(self, store: Store, run: Run, feed: Store) -> None:
        """What a replica reads is complete when it says so, merged or not, and goes on from its cursor."""
        first = [Revocation(_key(f"old {n}"), FOREVER, 2e9, "logout") for n in range(30)]
        run(store.add(first))
        copy: dict[bytes, Revocation] = {}
        cursor = self._read_feed(feed, None, copy)
        assert copy == {record.key: record for record in first}

        cut = Revocation(_key("user"), 12.25, 3e9, "Zoë’s password", frozenset({_key("kept")}))
        run(store.add([cut, replace(first[3], until=4e9)]))
        cursor = self._read_feed(feed, cursor, copy)
        assert copy[cut.key] == cut
        assert copy[first[3].key].until == 4e9
        assert len(copy) == 31

        page = run_blocking(feed.changes(cursor, 0.01))
        assert (page.complete, all(copy[record.key] == record for record in page.revocations)) == (True, True)

    def _read_feed(self, feed: Store, cursor: Any, copy: dict[bytes, Revocation]) -> Any:
        while True:
            page = run_blocking(feed.changes(cursor))
            for record in page.revocations:
                copy[record.key] = merge(copy[record.key], record) if record.key in copy else record
            cursor = page.cursor
            if page.complete:
                return cursor

    def test_a_reader_of_the_feed_is_woken_by_an_addition(self, store: Store, run: Run, feed: Store) -> None:
        """It waits no longer than for the addition itself, with long to go."""
        cursor = self._read_feed(feed, None, {})
        record = Revocation(_key("new"), FOREVER, 2e9, "logout")
        pages: list[Changes] = []
        reader = threading.Thread(target=lambda: pages.append(run_blocking(feed.changes(cursor, 30.0))))
        reader.start()

        run(store.add([record]))

        reader.join(10.0)
        assert record in pages[0].revocations

    def test_adopting_a_store_keeps_what_it_knows(self, store: Store, run: Run, another: Callable[[], Store]) -> None:
        """Whoever runs it without need loses nothing, and other workers go on."""
        other = another() if self.shared else store
        record = Revocation(_key("one"), FOREVER, 2e9, "logout")
        run(other.add([record]))

        run(store.adopt())

        assert list(run(store.find([record.key]))) == [record]
        assert list(run(other.find([record.key]))) == [record]

    def test_a_closed_store_says_so_and_closes_twice(self, store: Store, run: Run) -> None:
        """Never an empty answer for "I cannot look"."""
        run(store.close())
        run(store.close())

        assert store.version() is None
        with pytest.raises(StoreError):
            run(store.find([_key("one")]))
        with pytest.raises(StoreError):
            run(store.add([Revocation(_key("one"), FOREVER, 2e9)]))


@pytest.fixture
def movable_clock() -> MovableClock:
    """A clock for `Logout(clock=…)`; use it with `pytest_plugins = ["logout_middleware.testing"]`."""
    return MovableClock()
