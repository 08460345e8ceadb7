"""The Redis store: one class for a single server, Sentinel and Cluster, and for both colours.

How a logout is never lost: one script merges it and appends it to the feed; `LOGOUT_REDIS_WAIT` replicas confirm it.
How every request knows it: each asks the server, in one round trip for all its keys, and under asyncio all requests
of one turn of the event loop share that round trip.
How a store that forgot is noticed: every answer carries the marks of the partitions that it speaks of (epoch.py).

What is stored, and the scripts: redis_scripts.py. Servers: redis_nodes.py. Connections: redis_lines.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import StoreError
from ..rules.redis_url import parse_redis_url
from ..rules.revocation import KEY_BYTES, Revocation, merge
from . import NOTHING, PURGE_DELAY, WRITE_DEADLINES, Changes, Count, Fact, Outcome, StoreForgot
from .epoch import REMEDY, Mark, Memory, new_id, tell_of_new_store
from .redis_batches import Batches, Found
from .redis_check import checked
from .redis_facts import facts_about, learn
from .redis_feed import read_feed
from .redis_lines import Command
from .redis_nodes import nodes_of
from .redis_packing import DOUBLE, PARTS, RawMark, pack, part_of, tag, unpack
from .redis_scripts import ADD, BUCKETS, CREATE, DISOWN, FIND, HIT, MARKS, PURGE, SURE, Script

_ALL = tuple(range(PARTS))
_AT_ONCE = 250
_IN_ORDER = 32
"""So many records, more than any logout has, are added in their order. More are a delivery, which is repeated whole."""
_HIT_KEPT_MILLISECONDS = 60_000
_DISOWN_SECONDS = 1.0


class _Proof(NamedTuple):
    """What was known when a question was sent: the answer may be older than what is known when it arrives."""

    raw: frozenset[bytes]
    seen: Mapping[int, Mark]


class RedisStore:
    """Revocations in Redis. `blocking` False: its methods are awaited, and never block.

    `deadline` bounds a `find` in seconds, whatever it waits for; a write may take four times as long. `adopting`: it
    will be adopted, so that a part of it is missing is no reason not to write to it.
    """

    durable = True

    def __init__(
        self, url: str, *, prefix: str = "logout:", clock: Callable[[], float] = time.time, blocking: bool,
        deadline: float = 0.25, wait_for_replicas: int = 0, adopting: bool = False,
    ) -> None:  # fmt: skip
        self._url = parse_redis_url(url)
        self._prefix, self._clock, self._blocking = prefix, clock, blocking
        self.deadline, self.wait_for_replicas, self._adopting = deadline, wait_for_replicas, adopting
        self.name = str(self._url)
        self.writes_block = self.reads_block = blocking
        self.nodes = nodes_of(self._url, prefix=prefix, blocking=blocking, deadline=deadline)
        self.memory = Memory(str(self._url))
        self.tags = [tag(prefix, part) for part in range(PARTS)]
        self._states = [f"{name}state" for name in self.tags]
        self._raw: dict[int, tuple[bytes, Mark]] = {}
        self._proof = _Proof(frozenset(), {})
        self._met = False
        self._closed = False
        self._purge_at = (0, 0)
        self._disown_at = 0.0
        self._batches: dict[asyncio.AbstractEventLoop, Batches] = {}

    def version(self) -> int | None:
        """None: only the server knows; see Store.version."""
        return None

    def _until(self, deadlines: float = WRITE_DEADLINES) -> float:
        if self._closed:
            raise StoreError(f"the store {self._url} is closed")
        return time.monotonic() + deadlines * self.deadline

    # ---- is it the store that it was? ------------------------------------------------------------------

    def marks_of(self, parts: Iterable[int]) -> Command:
        """The command that reads these marks, all in one group."""
        named = list(parts)
        return MARKS(self._states[named[0]], self._prefix, *named)

    def proof(self) -> _Proof:
        """To be taken before a question is sent, and handed to `prove` with the answer."""
        if self._proof.seen is not self.memory.snapshot():
            self._renew_proof()  # Another store object has the same memory, and taught it.
        return self._proof

    def _renew_proof(self) -> None:
        seen = self.memory.snapshot()
        # Only the newest is worth a short cut.
        self._proof = _Proof(frozenset(raw for part, (raw, mark) in self._raw.items() if seen.get(part) == mark), seen)

    def prove(self, marks: Iterable[bytes], proof: _Proof) -> None:
        """StoreForgot if these marks contradict what was known."""
        if proof.raw.issuperset(marks):
            return
        for raw in marks:
            self.prove_one(RawMark.of(raw), proof)

    def prove_one(self, found: RawMark, proof: _Proof, sure: int = 0) -> None:
        """The same for one; `sure`: so many changes are known to be confirmed."""
        mark = found.mark(sure)
        self.memory.check(found.part, mark, has=found.seq, known=proof.seen)
        if mark is None:
            # It has been met, so it had one, even if nobody remembers it.
            raise StoreError(f"the store {self._url} was emptied just now; try again")
        # An answer that was under way for longer must not replace a newer one.
        if self.memory.seen(found.part) == mark:
            self._raw = {**self._raw, found.part: (found.raw, mark)}
        self._renew_proof()

    async def _disown(self) -> None:
        """Have every process notice, those too that had seen less, before new changes hide that some are missing."""
        if time.monotonic() < self._disown_at:
            return
        self._disown_at, another = time.monotonic() + _DISOWN_SECONDS, new_id()
        commands = [
            (part, DISOWN(self._states[part], self.tags[part], mark.id, mark.changes, another))
            for part, mark in self.memory.snapshot().items()
        ]
        with contextlib.suppress(StoreError):
            await self.nodes.ask(commands, self._until())

    @contextlib.asynccontextmanager
    async def _disowning(self) -> AsyncIterator[None]:
        """Whoever is told inside that the store forgot makes sure that all are."""
        try:
            yield
        except StoreForgot:
            await self._disown()
            raise

    async def _meet(self, until: float) -> None:
        """Before the first question of this process: read every mark, and make them in a store that is new."""
        # What an earlier process had seen counts as known (Memory.restore).
        proof = self.proof()
        found = await self.read_marks(until)
        # All are made before anything is added, so a store of which only a part is empty has lost that part; unless
        # another process has just made it, and one node was asked before and another one after that.
        if _partly(found):
            found = await self.read_marks(until)
        missing = [mark.part for mark in found if mark.id is None]
        for part in missing:
            self.memory.check(part, None, known=proof.seen)
        if _partly(found) and not self._adopting:
            raise StoreForgot(f"the store {self._url} has forgotten a part: {REMEDY}")
        if missing:
            tell_of_new_store(self.name)
            found = await self._create(missing, until) + [mark for mark in found if mark.id is not None]
        for mark in found:
            self.prove_one(mark, proof)
        self._met = True

    async def read_marks(self, until: float) -> list[RawMark]:
        """The marks of all partitions, not compared with anything yet."""
        groups = self.nodes.groups(_ALL)
        replies, _ = await self.nodes.ask([(group[0], self.marks_of(group)) for group in groups], until)
        return [RawMark.of(raw) for reply in replies for raw in reply]

    async def _create(self, parts: Sequence[int], until: float, adopted_at: int = 0) -> list[RawMark]:
        made, adopt = new_id(), "1" if adopted_at else "0"
        commands = [
            (part, CREATE(self._states[part], self.tags[part], part, made, adopted_at, adopt)) for part in parts
        ]
        replies, _ = await self.nodes.ask(commands, until)
        return [RawMark.of(raw) for raw in replies]

    async def adopt(self) -> None:
        """A new id for every partition, which others accept because it is younger; see Store.adopt."""
        until = self._until()
        newest = max((mark.adopted_at for mark in self.memory.snapshot().values()), default=0)
        proof = self.proof()
        for mark in await self._create(_ALL, until, max(int(self._clock()), newest + 1)):
            self.prove_one(mark, proof)
        self._met = True

    # ---- reading ---------------------------------------------------------------------------------------

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """The records under these keys; see Store.find."""
        if self._closed:
            raise StoreError(f"the store {self._url} is closed")
        if not keys:
            return NOTHING
        if self._blocking:
            found = await self._look(keys, self._until(1))
        else:
            found = await self._batches_here().find(keys)
        if found.keys().isdisjoint(keys):
            return NOTHING
        return [record for key in keys if key in found for record in unpack(key, found[key])]

    def _batches_here(self) -> Batches:
        loop = asyncio.get_running_loop()
        batches = self._batches.get(loop)
        if batches is None or batches.pid != os.getpid():
            self._batches = {known: batch for known, batch in self._batches.items() if not known.is_closed()}
            batches = self._batches[loop] = Batches(loop, self._look, self.deadline)
        return batches

    async def _look(self, keys: Sequence[bytes], until: float) -> Found:
        if not self._met:
            await self._meet(until)
        proof = self.proof()
        marks: list[bytes] = []
        found: dict[bytes, bytes] = {}
        replies, _ = await self.nodes.ask(self.questions(FIND, keys), until)
        for reply in replies:
            marks += reply[0]
            if reply[1]:
                found.update(zip(reply[1][::2], reply[1][1::2], strict=True))
        try:
            self.prove(marks, proof)
        except StoreForgot:
            await self._disown()
            raise
        return found

    def questions(self, script: Script, keys: Sequence[bytes]) -> list[tuple[int, Command]]:
        """The commands that ask with this script about these keys: one where all may be named together."""
        groups: dict[int, list[bytes]] = {}
        for key in keys:
            groups.setdefault(part_of(key if self.nodes.cluster else keys[0]), []).append(key)
        return [(part, script(self._states[part], self._prefix, _joined(members))) for part, members in groups.items()]

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Changes:
        """The records since, or all, page by page; see Store.changes. For a blocking client only."""
        until = self._until() + wait_seconds
        if not self._blocking:
            raise StoreError("the feed is read by a thread of its own: open the store with blocking=True")
        if not self._met:
            await self._meet(until)
        async with self._disowning():
            return await read_feed(self, cursor, wait_seconds, until)

    # ---- writing ---------------------------------------------------------------------------------------

    async def add(self, revocations: Sequence[Revocation]) -> Outcome:
        """Merge these in, and have them confirmed; see Store.add."""
        until = self._until()
        if not self._met:
            await self._meet(until)
        rows = _packed(revocations)
        async with self._disowning():
            for start in range(0, len(rows), _AT_ONCE * PARTS):
                await self._add(rows[start : start + _AT_ONCE * PARTS], until)
        return Outcome.DONE

    async def _add(self, rows: Sequence[tuple[bytes, bytes]], until: float) -> None:
        limit, word = DOUBLE.pack(self._clock() - PURGE_DELAY), os.urandom(4).hex()
        for step in _steps(rows):
            proof = self.proof()
            commands = [
                (part, ADD(self._states[part], self.tags[part], part, limit, word, self.wait_for_replicas,
                           *_known(proof.seen.get(part)), *members))
                for part, members in step
            ]  # fmt: skip
            replies, confirmed = await self.nodes.ask(commands, until, self.wait(until))
            marks = [RawMark.of(raw) for raw in replies]
            for mark in marks:
                self.prove_one(mark, proof)
            if self.wait_for_replicas:
                await self.confirm(marks, min(confirmed), until, proof)

    def wait(self, until: float) -> Command | None:
        """What is to follow a write, if replicas must confirm it: its answer says how many did."""
        if not self.wait_for_replicas:
            return None
        # Less than what is left, so that the answer "too few" still arrives; an idle server looks at its clock ten
        # times a second.
        patience = (until - time.monotonic()) * 0.9 - 0.1
        return ("WAIT", self.wait_for_replicas, max(int(patience * 1000), 1))

    async def confirm(self, marks: Sequence[RawMark], confirmed: int, until: float, proof: _Proof) -> None:
        """StoreError if too few replicas did; else it is known to all that these marks are certain."""
        if confirmed < self.wait_for_replicas:
            raise StoreError(
                f"the store {self._url} has it, but {confirmed} replicas confirmed it in time and LOGOUT_REDIS_WAIT="
                f"{self.wait_for_replicas} must; start the missing ones, or lower LOGOUT_REDIS_WAIT"
            )
        for mark in marks:
            self.prove_one(mark, proof, sure=mark.seq)
        try:
            await self.nodes.ask(
                [(mark.part, SURE(self._states[mark.part], mark.id, mark.seq)) for mark in marks], until
            )
        except StoreError:
            # The promise is kept already; that others learn how far it reaches comes with the next one.
            return

    # ---- facts -----------------------------------------------------------------------------------------

    async def learn(self, facts: Sequence[Fact]) -> None:
        """Merge these in, and have them confirmed; see Store.learn."""
        until = self._until()
        if not self._met:
            await self._meet(until)
        async with self._disowning():
            await learn(self, facts, self._clock(), until)

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        """What is known of these, asked in one round trip of each server concerned; see Store.facts."""
        until = self._until(1)
        if not self._met:
            await self._meet(until)
        async with self._disowning():
            return await facts_about(self, subjects, self._clock(), until)

    # ---- counting and forgetting -----------------------------------------------------------------------

    async def hit(self, key: bytes, window: float) -> Count:
        """Count one event; see Store.hit."""
        until, now, part = self._until(), self._clock(), part_of(key)
        kept = int(window * 1000) + _HIT_KEPT_MILLISECONDS
        command = HIT(f"{self.tags[part]}h:{key.hex()}", DOUBLE.pack(now), DOUBLE.pack(window), kept)
        ((started, count),), _ = await self.nodes.ask([(part, command)], until)
        return Count(count, DOUBLE.unpack(started)[0] + window - now)

    async def purge(self, at_most: int = 500) -> int:
        """Forget what ended; see Store.purge. Goes on where the last call stopped, once around at most."""
        dropped = steps = 0
        limit = DOUBLE.pack(self._clock() - PURGE_DELAY)
        part, at = self._purge_at
        while dropped < at_most and steps <= PARTS:
            # Each step has the whole deadline: with millions of records there are thousands of short ones.
            until = self._until()
            command = PURGE(self._states[part], self.tags[part], part, at, at_most - dropped, limit)
            ((at, gone),), _ = await self.nodes.ask([(part, command)], until)
            dropped += gone
            if at >= BUCKETS:
                part, at, steps = (part + 1) % PARTS, 0, steps + 1
            self._purge_at = (part, at)
        return dropped

    # ---- the operator ----------------------------------------------------------------------------------

    async def count(self) -> int:
        """How many records there are; see Store.count."""
        until = self._until()
        replies, _ = await self.nodes.ask(
            [(part, ("HGET", state, "count")) for part, state in enumerate(self._states)], until
        )
        return sum(int(reply or 0) for reply in replies)

    async def check(self) -> dict[str, str]:
        """What the servers promise, asked from each of them; see Store.check."""
        return await checked(self, self._until(), self._clock)

    async def close(self) -> None:
        """Close the connections of this process, and of this event loop."""
        self._closed = True
        await self.nodes.close()


def _partly(marks: Sequence[RawMark]) -> bool:
    """Do some parts have changes while others do not even exist?"""
    return any(mark.id is None for mark in marks) and any(mark.seq for mark in marks)


def _steps(rows: Sequence[tuple[bytes, bytes]]) -> list[list[tuple[int, list[bytes]]]]:
    """What to ask for at once, by partition; each step only once the one before it is done.

    Of a logout no record may be there unless all before it are: the widest come first (`Logouts.plan`), and one that
    failed half-way would else find its login dead when it is repeated, and leave out the rest.
    """
    steps: list[list[tuple[int, list[bytes]]]] = []
    if len(rows) <= _IN_ORDER:
        for part, members in itertools.groupby(rows, lambda row: part_of(row[0])):
            steps.append([(part, [text for row in members for text in row])])
        return steps
    groups: dict[int, list[bytes]] = {}
    for key, packed in rows:
        groups.setdefault(part_of(key), []).extend((key, packed))
    return [list(groups.items())]


def _known(mark: Mark | None) -> tuple[str, int, int]:
    return (mark.id, mark.adopted_at, mark.changes) if mark is not None else ("", 0, 0)


def _joined(keys: Sequence[bytes]) -> bytes:
    blob = b"".join(keys)
    if len(blob) != KEY_BYTES * len(keys):
        raise ValueError(f"a key has {KEY_BYTES} bytes")
    return blob


def _packed(revocations: Sequence[Revocation]) -> list[tuple[bytes, bytes]]:
    """The keys of these records, each with all that is said of it."""
    records: dict[bytes, dict[frozenset[bytes], Revocation]] = {}
    for record in revocations:
        _joined([record.key])
        of_key = records.setdefault(record.key, {})
        of_key[record.keep] = merge(of_key[record.keep], record) if record.keep in of_key else record
    return [(key, b"".join(map(pack, of_key.values()))) for key, of_key in records.items()]
