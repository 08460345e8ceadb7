"""The journal: a durable outbox on this host. While the store is away a logout is kept here, and delivered later.

It is a SQLite file in the store's own format (`sqlite.py`), so a logout that it takes is fsynced, and known at once
to every worker of this host. One worker at a time delivers: it hands the rows to the store in the order of their
last change and then notes how far it came. Revocations merge, so a crash between the two only delivers twice.

Delivered rows stay until they have ended. They go on refusing here, and a store that an operator adopted after it
had forgotten is taught them again. Facts (`Store.learn`) wait here as well, and leave when they are delivered.

The journal also remembers the store's marks (`epoch.py`): a store that forgot while no worker was running, and a
journal that belongs to another store, are noticed at the first contact.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from ..errors import LogoutError, StoreError
from ..rules.revocation import Revocation, merge
from . import NOW, Changes, Count, Fact, FeedGap, Outcome, PartlyKnown, Store, StoreForgot
from .epoch import Memory
from .facts import merged
from .journal_file import Marks, Outbox, newest

_log = logging.getLogger("logout_middleware")
_TICK_SECONDS = 0.25
_MARKS_SECONDS = 1.0
_BATCH = 200
_CLOSE_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 0.25
_SHIFT = 48

OpenStore = Callable[[], Store]
RunBlocking = Callable[[Coroutine[Any, Any, Any]], Any]
Call = Callable[[Callable[[], Any]], Awaitable[Any]]


async def _here(work: Callable[[], Any]) -> Any:
    return work()


class Courier:
    """The thread of one process that delivers what waits, and notes what the store says of itself."""

    def __init__(self, outbox: Outbox, open_store: OpenStore, run_blocking: RunBlocking, memory: Memory | None) -> None:
        self._outbox, self._open_store, self._run_blocking, self._memory = outbox, open_store, run_blocking, memory
        self._store: Store | None = None
        self._noted: Marks = {}
        self._next_marks = 0.0
        self._told = False
        self._reached: dict[tuple[str, int], int] = {}
        self._wake, self._ended = threading.Event(), False
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self.running = False

    def start(self) -> None:
        """Begin, if it has not begun yet."""
        with self._starting:
            if self.running or self._ended:
                return
            thread = threading.Thread(target=self._run, name="logout-journal", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # too many threads; the next one who comes by tries again
                return self._tell(StoreError(f"its thread cannot be started: {error}"))
            self._thread, self.running = thread, True

    def wake(self) -> None:
        """There is something to deliver."""
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing more."""
        self._ended = True
        self._wake.set()

    def join(self) -> None:
        """Wait for the end of what is running, but not for ever."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._ended:
            self._turn()
            self._wake.wait(_TICK_SECONDS)
            self._wake.clear()
        with contextlib.suppress(LogoutError):
            self._note_marks(at_once=True)
        self._close_store()

    def _turn(self) -> None:
        try:
            self._note_marks()
            if self._outbox.has_mail():
                self._deliver()
            else:
                self._close_store()
            self._told = False
        except LogoutError as error:
            self._tell(error)
        except Exception:  # noqa: BLE001 - see below
            # A mistake of ours or of a driver must not end the thread: the logouts would wait until a restart.
            _log.exception("cannot deliver from the journal %s", self._outbox.path)

    def _tell(self, error: LogoutError) -> None:
        if not self._told:
            _log.warning("logouts wait in the journal %s: %s", self._outbox.path, error)
        self._told = True

    def _deliver(self) -> None:
        with self._outbox.alone() as alone:
            if not alone:
                return
            delivered, failure = 0, None
            while not self._ended:
                noted = self._outbox.progress()
                life = (noted.file, noted.begun)
                reached = max(noted.reached, self._reached.get(life, 0))
                batch, last = self._outbox.rows.rows_after(reached, _BATCH)
                if batch:
                    self._run_blocking(self._opened().add(batch))
                    delivered += len(batch)
                    self._reached = {life: last}
                try:
                    if last != noted.reached:
                        self._outbox.advance(noted, begun=noted.begun, reached=last)
                except StoreError as error:
                    failure = error  # The disk is full: the store gets everything all the same.
                if not batch:
                    break
            if delivered:
                _log.info("%d revocations of the journal %s were delivered", delivered, self._outbox.path)
            self._deliver_facts()
            if failure is not None:
                raise failure
            if delivered:
                self._run_blocking(self._outbox.rows.purge())

    def _deliver_facts(self) -> None:
        while not self._ended:
            batch = self._outbox.rows.some_facts(_BATCH)
            if not batch:
                return
            self._run_blocking(self._opened().learn(batch))
            # A crash in between delivers twice, which merges; what was learned here meanwhile stays for the next turn.
            self._outbox.rows.drop_facts(batch)

    def _opened(self) -> Store:
        if self._store is None:
            self._store = self._open_store()
        memory = getattr(self._store, "memory", None)
        if isinstance(memory, Memory):
            memory.restore(newest(self._outbox.marks(), self._memory.snapshot() if self._memory is not None else {}))
        return self._store

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with contextlib.suppress(LogoutError):
                self._run_blocking(store.close())

    def _note_marks(self, *, at_once: bool = False) -> None:
        """Keep what is known of the store: a new id at once, a higher count about once a second."""
        memories = (self._memory, getattr(self._store, "memory", None))
        known = newest(*(memory.snapshot() for memory in memories if isinstance(memory, Memory)))
        if known == self._noted:
            return
        same = {part: mark.id for part, mark in known.items()} == {p: mark.id for p, mark in self._noted.items()}
        if same and not at_once and time.monotonic() < self._next_marks:
            return
        try:
            done = self._outbox.remember(known)
        except StoreForgot:
            raise
        except StoreError as error:
            return self._tell(error)  # The disk is full: what waits is delivered all the same.
        if done:
            self._noted, self._next_marks = known, time.monotonic() + _MARKS_SECONDS


class Journal:
    """A store in front of `store` that keeps logouts in the file at `path` while `store` cannot take them.

    `open_store`: opens the same store, *blocking*, for the delivery; it is used through `run_blocking`, and closed.
    `call`: how a blocking write is run; under an event loop, in a thread. `memory`: what the process remembers of
    the store. Raises ConfigurationError at once if the file cannot be used.
    """

    durable = True

    def __init__(
        self, store: Store, path: str | Path, *, open_store: OpenStore, run_blocking: RunBlocking, call: Call = _here,
        memory: Memory | None = None, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self.inner = store
        self.writes_block, self.reads_block = store.writes_block or call is _here, store.reads_block
        self._call, self._run_blocking = call, run_blocking
        self._outbox = Outbox(path, clock)
        self.path = self._outbox.path
        self.memory = memory
        marks, waiting = self._outbox.begin()
        self._belongs = bool(marks)
        if memory is not None:
            memory.restore(marks)
        self._store_version, self._kept_version = store.version, self._outbox.rows.version
        self._new_courier = functools.partial(Courier, self._outbox, open_store, run_blocking, memory)
        self._couriers: dict[int, Courier] = {}
        self._closed = False
        if waiting:
            self._courier()

    def __del__(self) -> None:
        # Not those that a fork copied: somebody may have held their locks, whom the child does not have.
        courier = getattr(self, "_couriers", {}).get(os.getpid())
        if courier is not None:
            courier.stop()

    def _courier(self) -> Courier:
        """The one of this process; a fork begins its own."""
        process = os.getpid()
        courier = self._couriers.get(process)
        if courier is None:
            courier = self._couriers.setdefault(process, self._new_courier())
        if not courier.running and not self._closed:
            courier.start()
        return courier

    def version(self) -> int | None:
        """The state of both; see Store.version."""
        of_store = self._store_version()
        if of_store is None:
            return None
        kept = self._kept_version()
        return None if kept is None else (of_store << _SHIFT) + kept

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """The records of the store and those that wait for it; PartlyKnown if only the latter could be asked."""
        self._courier()
        # In this order: what is delivered in between is found twice, never missed.
        kept = await self._outbox.rows.find(keys)
        try:
            found = await self.inner.find(keys)
        except StoreError as error:
            if kept:
                raise PartlyKnown(self._explained(error), kept) from error
            if isinstance(error, StoreForgot):
                raise StoreForgot(self._explained(error)) from error
            raise
        return _merged([*found, *kept]) if kept else found

    def _explained(self, error: StoreError) -> str:
        if not isinstance(error, StoreForgot) or not self._belongs:
            return str(error)
        return (
            f"{error}. LOGOUT_JOURNAL={self.path} remembers what it was: if that is the journal of another store, "
            "name another file"
        )

    async def add(self, revocations: Sequence[Revocation]) -> Outcome:
        """DONE if the store has them, PENDING if the journal does; see Store.add."""
        courier = self._courier()
        try:
            return await self.inner.add(revocations)
        except StoreError as error:
            away = error
        try:
            await self._call(lambda: self._run_blocking(self._outbox.rows.add(revocations)))
        except StoreError as error:
            raise StoreError(f"{away}; and the journal cannot take it (LOGOUT_JOURNAL): {error}") from error
        courier.wake()
        return Outcome.PENDING

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Changes:
        """The feed of both; see Store.changes. While the store is away, what waits for it, never complete."""
        of_store, of_kept = (cursor, cursor) if cursor is None or cursor is NOW else cursor
        ends = time.monotonic() + wait_seconds
        while True:
            kept = await self._call(functools.partial(self._kept_changes, of_kept))
            left = 0.0 if kept.revocations else max(0.0, ends - time.monotonic())
            try:
                page = await self.inner.changes(of_store, min(left, _LONGEST_WAIT_SECONDS))
            except FeedGap:
                raise
            except StoreError:
                if not kept.revocations:
                    raise
                return Changes(kept.revocations, (of_store, kept.cursor), complete=False)
            of_store, of_kept = page.cursor, kept.cursor
            news = [*kept.revocations, *page.revocations]
            if news or cursor is None or cursor is NOW or time.monotonic() >= ends:
                return Changes(news, (of_store, of_kept), complete=page.complete and kept.complete)

    def _kept_changes(self, cursor: Any) -> Changes:
        page: Changes = self._run_blocking(self._outbox.rows.changes(cursor))
        return page

    async def learn(self, facts: Sequence[Fact]) -> None:
        """Stored, or while the store is away known to this host, and delivered; see Store.learn."""
        courier = self._courier()
        try:
            return await self.inner.learn(facts)
        except StoreError as error:
            away = error
        try:
            await self._call(lambda: self._run_blocking(self._outbox.rows.learn(facts)))
        except StoreError as error:
            raise StoreError(f"{away}; and the journal cannot take it (LOGOUT_JOURNAL): {error}") from error
        courier.wake()

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        """What the store knows and what waits for it; StoreError if the store cannot be asked. See Store.facts."""
        self._courier()
        # In this order: what is delivered in between is found twice, never missed.
        kept = await self._outbox.rows.facts(subjects)
        try:
            found = await self.inner.facts(subjects)
        except StoreForgot as error:
            raise StoreForgot(self._explained(error)) from error
        return merged([*found, *kept]) if kept else found

    async def hit(self, key: bytes, window: float) -> Count:
        """Count one event; see Store.hit. While the store is away, this host counts for itself."""
        try:
            return await self.inner.hit(key, window)
        except StoreError:
            counted: Count = await self._call(lambda: self._run_blocking(self._outbox.rows.hit(key, window)))
            return counted

    async def purge(self, at_most: int = 500) -> int:
        """Forget what ended, here and in the store; see Store.purge."""
        here: int = await self._call(lambda: self._run_blocking(self._outbox.rows.purge(at_most)))
        return here + await self.inner.purge(at_most)

    async def count(self) -> int:
        """How many revocations are in the store."""
        return await self.inner.count()

    async def waiting(self) -> int:
        """How many revocations the store does not have yet."""
        waits: int = await self._call(self._outbox.waiting)
        return waits

    async def adopt(self) -> None:
        """Accept the store as it is, and the journal; see Store.adopt."""
        await self.inner.adopt()
        # Always: whether it has forgotten, only those who knew it can tell, and this may be another process.
        await self._call(lambda: self._run_blocking(self._outbox.rows.adopt()))

    async def check(self) -> dict[str, str]:
        """What the store says, and how many revocations wait for it in which file."""
        found: dict[str, str] = await self._call(lambda: self._run_blocking(self._outbox.rows.check()))
        text = f"{self.path}, {await self.waiting()} revocations wait for the store"
        try:
            report = await self.inner.check()
        except StoreError as error:
            raise StoreError(f"{self._explained(error)}; journal: {text}") from error
        report["journal"] = text
        unsafe = [found[topic] for topic in ("durability", "file_system") if found[topic].startswith("UNSAFE")]
        return report | ({"journal_file": unsafe[0]} if unsafe else {})

    async def close(self) -> None:
        """Stop delivering, and close the store and the file."""
        self._closed = True
        await self._call(self._stop)
        await self.inner.close()
        await self._call(lambda: self._run_blocking(self._outbox.rows.close()))

    def _stop(self) -> None:
        courier = self._couriers.get(os.getpid())
        if courier is not None:
            courier.stop()
            courier.join()


def _merged(records: Sequence[Revocation]) -> Sequence[Revocation]:
    """Those of one key and keep set as one."""
    found: dict[tuple[bytes, frozenset[bytes]], Revocation] = {}
    for record in records:
        name = (record.key, record.keep)
        found[name] = merge(found[name], record) if name in found else record
    return list(found.values())
