"""The replica: when it may answer from memory, when it must not, and what happens to its thread."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logout_middleware import LogoutSettings, StoreError
from logout_middleware.colour import run_blocking
from logout_middleware.parts import Parts
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of
from logout_middleware.stores import PURGE_DELAY, Changes, FeedGap, Store, StoreForgot
from logout_middleware.stores.index import Index, next_version
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.stores.replica import Replica
from logout_middleware.testing import FlakyStore, MovableClock

PATIENCE_SECONDS = 10.0
NOBODY = key_of("test", None, "nobody")


def record(name: str, *, before: float = FOREVER, until: float = 2e9) -> Revocation:
    return Revocation(key_of("test", None, name), before, until, "logout")


def until(holds: Callable[[], Any]) -> Any:
    """What `holds` gives as soon as it is true; the test fails if that takes long."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not (result := holds()):
        assert time.monotonic() < ends, "it never happened"
        time.sleep(0.001)
    return result


class Wire(FlakyStore):
    """A connection of a feed to a store that others use, too. `script`: what the next reads do instead of reading."""

    def __init__(self, inner: Store, *, longest_wait: float = 0.02) -> None:
        super().__init__(inner)
        self.script: list[Callable[[], None]] = []
        self.longest_wait, self.closed, self.incomplete = longest_wait, False, False
        self.after: Callable[[], None] | None = None

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Changes:
        if self.script:
            self.script.pop(0)()
        page = await super().changes(cursor, min(wait_seconds, self.longest_wait))
        if self.after is not None:
            self.after()
        return Changes(page.revocations, page.cursor, page.complete and not self.incomplete)

    async def close(self) -> None:
        self.closed = True


def fail(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


class Worker:
    """One process as the test sees it: a replica, the store it asks, and its feed."""

    def __init__(self, shared: Store, *, bound: float = 60.0, **given: Any) -> None:
        wire = Wire(shared)
        self.asked, self.wire = FlakyStore(shared), wire
        self.replica = Replica(
            self.asked, lambda: wire, max_staleness=bound, run_blocking=run_blocking,
            **{"monotonic": time.monotonic, **given},
        )  # fmt: skip

    def knows(self, name: str) -> bool:
        return bool(run_blocking(self.replica.find([record(name).key])))

    def answers_from_memory(self) -> bool:
        return self.replica.version() is not None

    def ready(self) -> Worker:
        run_blocking(self.replica.find([NOBODY]))
        until(self.answers_from_memory)
        self.asked.calls.clear()
        return self

    def add(self, *records: Revocation) -> None:
        run_blocking(self.replica.add(records))

    def close(self) -> None:
        run_blocking(self.replica.close())


OpenWorker = Callable[..., Worker]


@pytest.fixture
def shared() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def worker(shared: MemoryStore) -> Iterator[OpenWorker]:
    """Opens workers on one shared store."""
    opened: list[Worker] = []

    def open_one(**given: Any) -> Worker:
        opened.append(Worker(shared, **given))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


# ---- answering ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("compact_above", [10**9, 0])
def test_with_a_proof_of_age_nobody_is_asked(worker: OpenWorker, shared: MemoryStore, compact_above: int) -> None:
    """A thousand requests that pass, and not one question to the store."""
    one = worker(compact_above=compact_above).ready()
    run_blocking(shared.add([record(f"gone {n}") for n in range(100)]))
    until(lambda: one.knows("gone 99"))
    one.asked.calls.clear()

    for n in range(1000):
        assert one.answers_from_memory()
        assert not one.knows(f"live {n}")

    assert one.asked.calls == []


def test_a_logout_is_known_here_at_once_and_elsewhere_soon(worker: OpenWorker) -> None:
    """The worker that acknowledged it never lets it pass again; the others hear it from their feeds."""
    here, there = worker().ready(), worker().ready()

    here.add(record("ann"))
    known_here = here.knows("ann")
    until(lambda: there.knows("ann"))

    assert known_here
    assert (here.asked.calls, there.asked.calls) == (["add"], [])


def test_before_the_first_complete_copy_the_store_is_asked(worker: OpenWorker, shared: MemoryStore) -> None:
    """A worker that has just started lets nobody in that it has not heard of yet."""
    run_blocking(shared.add([record("ann")]))
    one = worker()
    one.wire.incomplete = True

    assert one.knows("ann")
    until(lambda: len(one.wire.calls) > 3)

    assert not one.answers_from_memory()
    assert one.knows("ann")
    assert set(one.asked.calls) == {"find"}


def test_a_logout_that_the_store_refuses_is_an_error_and_changes_nothing(worker: OpenWorker) -> None:
    """Nothing was promised, and nothing is in force."""
    one = worker().ready()
    one.asked.broken = True

    with pytest.raises(StoreError):
        one.add(record("ann"))

    assert not one.knows("ann")


def test_the_operator_sees_age_and_size(worker: OpenWorker) -> None:
    """`check` says how old the copy is, or that there is no proof."""
    one = worker()
    before = run_blocking(one.replica.check())["replica"]
    one.ready().add(record("ann"))

    after = run_blocking(one.replica.check())

    assert before.startswith("no proof of age, every request asks the store: the feed has not begun")
    assert after["replica"].endswith("60 s at most; 1 records in 0.0 MB")
    assert after["store"] == "memory"


def test_what_ended_long_ago_is_dropped_from_the_copy(worker: OpenWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a worker that runs for years stays as large as what is live."""
    monkeypatch.setattr("logout_middleware.stores.replica._TIDY_SECONDS", 0.0)
    clock = MovableClock()
    one = worker(clock=clock).ready()
    one.add(record("old", until=clock.now + 60), record("new", until=clock.now + 10 * PURGE_DELAY))

    clock.move(PURGE_DELAY + 7200)
    until(lambda: not one.knows("old"))

    assert one.knows("new")


# ---- the lease ---------------------------------------------------------------------------------------


def test_a_worker_whose_feed_is_cut_never_answers_beyond_its_bound(worker: OpenWorker) -> None:
    """To the very end of the bound from memory, and from then on from the store."""
    clock = MovableClock(1000.0)
    here, there = worker(), worker(bound=5.0, monotonic=clock).ready()
    there.wire.broken = True
    until(lambda: there.wire.calls.count("changes") > 3)
    here.add(record("ann"))

    clock.move(4.99)
    within = (there.knows("ann"), there.answers_from_memory())
    clock.move(0.01)
    beyond = (there.knows("ann"), there.answers_from_memory())

    assert within == (False, True)
    assert beyond == (True, False)


def test_a_process_that_was_stopped_finds_its_lease_run_out(worker: OpenWorker) -> None:
    """The first request after a pause asks the store: the clock is read with each request, there is no timer."""
    clock = MovableClock(1000.0)
    here, there = worker(), worker(bound=5.0, monotonic=clock).ready()
    there.wire.script = [lambda: time.sleep(0.2)] * 50
    until(lambda: not there.wire.script or len(there.wire.script) < 50)
    here.add(record("ann"))

    clock.move(3600.0)

    assert there.knows("ann")


def test_an_answer_that_comes_late_proves_only_what_was_when_it_was_asked_for(worker: OpenWorker) -> None:
    """The lease counts from the question."""
    clock = MovableClock(1000.0)
    one = worker(bound=5.0, monotonic=clock)
    one.wire.after = lambda: clock.move(5.0)

    run_blocking(one.replica.find([NOBODY]))
    until(lambda: len(one.wire.calls) > 3)

    assert not one.answers_from_memory()


def test_a_feed_that_comes_back_is_used_again_and_told_of_once(
    worker: OpenWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning when it is cut, one line when it is back, whatever happens in between."""
    caplog.set_level(logging.INFO, "logout_middleware")
    clock = MovableClock(1000.0)
    one = worker(bound=5.0, monotonic=clock).ready()

    one.wire.broken = True
    until(lambda: one.wire.calls.count("changes") > 5)
    clock.move(6.0)
    while_cut = one.answers_from_memory()
    said = run_blocking(one.replica.check())["replica"]
    one.wire.broken = False
    until(one.answers_from_memory)

    assert not while_cut
    assert "the feed is cut for 6.0 s" in said
    told = [each.getMessage() for each in caplog.records if "feed" in each.getMessage()]
    assert [text.partition(";")[0].partition(" after")[0] for text in told] == [
        "the replica's feed is cut", "the replica's feed is back",
    ]  # fmt: skip


def test_after_a_gap_everything_is_read_again_and_nothing_was_forgotten(worker: OpenWorker) -> None:
    """What the feed no longer has is in the store."""
    clock = MovableClock(1000.0)
    here, there = worker(), worker(bound=5.0, monotonic=clock).ready()
    here.add(record("before"))
    until(lambda: there.knows("before"))
    cursors: list[Any] = []
    there.wire.script = [fail(FeedGap("trimmed"))]
    changes = there.wire.changes

    async def watched(cursor: Any, wait_seconds: float = 0.0) -> Changes:
        cursors.append(cursor)
        return await changes(cursor, wait_seconds)

    there.wire.changes = watched  # type: ignore[method-assign]
    here.add(record("meanwhile"))

    until(lambda: None in cursors)
    clock.move(6.0)
    until(there.answers_from_memory)

    assert there.knows("before")
    assert there.knows("meanwhile")
    assert there.wire.closed is False


# ---- a store that forgot -----------------------------------------------------------------------------


def test_a_store_that_forgot_is_not_papered_over(worker: OpenWorker) -> None:
    """The feed notices; at once nothing is answered, by the copy or by the store, until somebody adopts it."""
    one = worker().ready()
    forgetful = [fail(StoreForgot("it is empty, and it was not"))] * 10_000

    one.wire.script = forgetful
    until(lambda: not one.answers_from_memory())
    with pytest.raises(StoreForgot, match="it is empty"):
        one.knows("ann")
    one.wire.script = []

    def again() -> bool:
        try:
            return not one.knows("ann") and one.answers_from_memory()
        except StoreForgot:
            return False

    until(again)
    assert one.asked.calls.count("find") <= 2


def test_what_the_store_knows_to_be_forgotten_the_copy_does_not_answer(worker: OpenWorker) -> None:
    """A feed that connected after the loss sees nothing wrong; who remembers is believed."""
    one = worker()
    find = one.asked.find

    async def forgot(keys: Sequence[bytes]) -> Sequence[Revocation]:
        raise StoreForgot("it is an old copy")

    one.asked.find = forgot  # type: ignore[method-assign]
    with pytest.raises(StoreForgot):
        one.knows("ann")
    until(lambda: len(one.wire.calls) > 2)
    from_memory = one.answers_from_memory()
    one.asked.find = find  # type: ignore[method-assign]
    one.ready()

    assert not from_memory


# ---- thread and process ------------------------------------------------------------------------------


def feeds() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "logout-middleware-feed"]


def test_one_thread_per_process_starts_with_the_first_request_and_ends_with_close(worker: OpenWorker) -> None:
    """Making the object starts nothing; closing it leaves nothing."""
    one = worker()
    at_first = feeds()

    one.ready()
    for _ in range(10):
        one.knows("ann")
    running = feeds()
    one.close()

    assert (len(at_first), len(running), feeds()) == (0, 1, [])
    assert one.wire.closed
    assert all(thread.daemon for thread in running)
    assert not one.answers_from_memory()


def test_a_replica_that_nobody_holds_any_more_ends_its_thread(shared: MemoryStore) -> None:
    """An application that is dropped without being closed leaves no thread that asks for ever."""
    one = Worker(shared).ready()
    wire = one.wire

    del one
    gc.collect()

    until(lambda: wire.closed and not feeds())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_of_a_mistake_is_followed_by_another(worker: OpenWorker) -> None:
    """Without it the worker would ask the store for ever."""
    clock = MovableClock(1000.0)
    one = worker(bound=5.0, monotonic=clock).ready()
    first = feeds()

    one.wire.script = [fail(TypeError("a mistake in a driver"))]
    until(lambda: feeds() != first)
    clock.move(6.0)
    until(one.answers_from_memory)

    assert len(feeds()) == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_made_before_a_fork_it_serves_in_both_processes(worker: OpenWorker) -> None:
    """Gunicorn --preload: the child has a thread of its own, even if the parent's held every lock as it was born."""
    one = worker().ready()
    one.add(record("before"))
    reader, writer = os.pipe()

    with one.replica._feed._lock, one.replica._feed.copy._lock:
        child = os.fork()
        if child == 0:
            answer = b"no"
            signal.alarm(20)  # Should it hang on a lock of the parent's, it ends, and the test fails.
            try:
                was_proven = one.answers_from_memory()
                asked = one.knows("before")
                until(one.answers_from_memory)
                one.add(record("by child"))
                if not was_proven and asked and one.knows("before") and one.knows("by child") and len(feeds()) == 1:
                    answer = b"yes"
                one.close()
            finally:
                os.write(writer, answer)
                os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    said = os.read(reader, 10)
    os.close(reader)

    assert said == b"yes"
    assert one.answers_from_memory()
    one.add(record("after"))
    assert one.knows("after")
    assert len(feeds()) == 1


# ---- no interleaving lets a revoked one pass ---------------------------------------------------------

KEY = "k" * 32


class _Pause:
    def __await__(self) -> Iterator[None]:
        yield


class Stepped:
    """A store whose `find` stops before and after it has looked, so that a test decides what happens there."""

    durable = writes_block = reads_block = False

    def __init__(self, inner: Replica) -> None:
        self.inner, self.version = inner, inner.version

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        await _Pause()
        found = await self.inner.find(keys)
        await _Pause()
        return found


class Request:
    """A request that is under way, and goes on step by step."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine, self.answer = coroutine, None

    def steps(self, count: int) -> None:
        for _ in range(count):
            try:
                if self.answer is None:
                    self._coroutine.send(None)
            except StopIteration as finished:
                self.answer = finished.value

    def finish(self) -> Any:
        self.steps(100)
        return self.answer


@pytest.mark.parametrize("compact_above", [10**9, 0])
@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("first", "second"), list(itertools.combinations_with_replacement(range(4), 2)))
def test_however_a_request_and_a_revocation_interleave_the_next_request_is_refused(
    worker: OpenWorker, shared: MemoryStore, monkeypatch: pytest.MonkeyPatch,
    compact_above: int, seen: bool, moment: str, first: int, second: int,
) -> None:  # fmt: skip
    """The copy begins to add after `first` steps of the request; up to `second` come just before or after the rows."""
    one = worker(compact_above=compact_above).ready()
    one.add(record("somebody"))
    until(
        lambda: (
            len(one.replica._feed.copy.held) and isinstance(one.replica._feed.copy.held, Index) == bool(compact_above)
        )
    )
    # From here on the feed is silent: what happens is what this test does.
    one.wire.broken = True
    until(lambda: one.replica._feed._cut_since is not None)
    given = LogoutSettings.load({}, env_file=None, jwt_key=KEY, jwt_algorithms="HS256", audit="off")
    guard = Parts(given, store=Stepped(one.replica), blocking=True).guard  # type: ignore[arg-type]
    now = time.time()
    header = "Bearer " + jwt.encode({"sub": "ann", "jti": "j", "iat": now - 5, "exp": now + 600}, KEY)
    identity = run_blocking(guard.identifier.headers((header,), ()))[0].identity
    assert identity is not None
    revocation = Revocation(identity.own_key, FOREVER, now + 3600)
    if seen:
        assert Request(guard.check(header, None)).finish().refusal is None
    request = Request(guard.check(header, None))

    def next_version_and_steps() -> int:
        if moment == "after":
            request.steps(second - first)
        return next_version()

    class Records(list[Revocation]):
        def __getitem__(self, page: Any) -> Any:
            if moment == "before":
                request.steps(second - first)
            yield from self

    request.steps(first)
    run_blocking(shared.add([revocation]))
    with monkeypatch.context() as patched:
        patched.setattr("logout_middleware.stores.index.next_version", next_version_and_steps)
        patched.setattr("logout_middleware.stores.compact.next_version", next_version_and_steps)
        one.replica._feed.copy.add(Records([revocation]))
    request.finish()

    assert guard.seen_alive(header, None) is None
    assert Request(guard.check(header, None)).finish().refusal is not None


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_happens_nothing_acknowledged_before_the_bound_is_unknown(data: st.DataObject) -> None:
    """Pages, slow answers, errors, gaps and time in any order: an answer from memory is never older than the bound."""
    clock, shared = MovableClock(1000.0), MemoryStore()
    wire = Wire(shared, longest_wait=0.0)
    replica = Replica(
        FlakyStore(shared), lambda: wire, max_staleness=5.0, run_blocking=run_blocking, monotonic=clock,
        compact_above=data.draw(st.sampled_from([10**9, 3])),
    )  # fmt: skip
    feed = replica._feed
    feed.start = lambda: None  # type: ignore[method-assign]  # this test is the thread
    run_blocking(replica.find([NOBODY]))
    acknowledged: list[tuple[float, Revocation]] = []
    seconds = st.floats(0.01, 6.0)
    for turn in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(["add", "read", "slow", "fail", "gap", "part", "time"]))
        wire.after, wire.incomplete, wire.script = None, step == "part", []
        if step == "add":
            run_blocking(shared.add([record(f"{turn}")]))
            acknowledged.append((clock.now, record(f"{turn}")))
        elif step == "time":
            clock.move(data.draw(seconds))
        else:
            if step == "slow":
                late = data.draw(seconds)
                wire.after = lambda late=late: clock.move(late)
            if step in ("fail", "gap"):
                wire.script = [fail(FeedGap("gap") if step == "gap" else StoreError("away"))]
            feed._read_page()
        if replica.version() is not None:
            for at, each in acknowledged:
                assert clock.now - at < 5.0 or run_blocking(replica.find([each.key]))


def test_eight_threads_and_an_event_loop_never_miss_their_own_logouts(worker: OpenWorker) -> None:
    """Adding and asking at once, while the feed brings what others add."""
    here, there = worker().ready(), worker(compact_above=50).ready()
    missed: list[str] = []

    async def work(one: Worker, number: int) -> None:
        for turn in range(30):
            each = record(f"{number} {turn}")
            await one.replica.add([each])
            if not await one.replica.find([each.key]):
                missed.append(f"{number} {turn}")
            await asyncio.sleep(0)

    threads = [
        threading.Thread(target=lambda n=n: asyncio.run(work((here, there)[n % 2], n)), name=f"t{n}") for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    everything = [f"{number} {turn}" for number in range(8) for turn in range(30)]
    until(lambda: all(here.knows(name) and there.knows(name) for name in everything))
    assert missed == []
