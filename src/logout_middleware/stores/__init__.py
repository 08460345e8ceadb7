"""The port every store fills, and what it promises. The adapters are the other modules of this folder.

One class serves both colours: its methods are `async def`, and on a blocking client they never suspend.
`testing.StoreContract` is the test suite of these promises.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import StoreError
from ..rules.revocation import Revocation

NOTHING: tuple[Revocation, ...] = ()
WRITE_DEADLINES = 4
"""A write may take so many times LOGOUT_STORE_DEADLINE: it is rarer than a read, and waits for disks or replicas."""
PURGE_DELAY = 86400.0
"""Seconds for which a record is kept after its `until`, so that a clock set back by a day revives nothing."""


@dataclass(frozen=True, slots=True)
class Count:
    """How often something was counted in its window, this time included, and when the window ends (seconds)."""

    count: int
    resets_in: float


class Outcome(enum.Enum):
    """How far an added revocation got. Anything less is StoreError."""

    DONE = "done"
    """Durable in the store, and seen by every later `find` anywhere."""
    PENDING = "pending"
    """Durable in this host's journal, in force on this host; everywhere else once the store has it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """One page of a feed.

    `cursor`: hand it back to read on. `complete`: nothing is missing: every revocation whose `add` returned,
    anywhere, before this call was *made* is in this page or in one before it.
    """

    revocations: Sequence[Revocation]
    cursor: Any
    complete: bool


class _Now(enum.Enum):
    NOW = "now"


NOW = _Now.NOW
"""A cursor for `changes`: only what is added from here on."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something known of one login, beside the question whether it is revoked.

    `subject` and `name` are keys of 16 bytes (`rules.revocation.key_of`): of whom, and what. `at`: the moment it speaks
    of; `until`: when it may be forgotten, in seconds since 1970. `text` holds no secret.
    """

    subject: bytes
    name: bytes
    at: float
    until: float
    text: str = ""


def merge_facts(one: Fact, other: Fact) -> Fact:
    """The later of two facts of one subject and name, remembered as long as either: in any order the same."""
    latest = max(one, other, key=lambda fact: (fact.at, fact.text))
    return Fact(one.subject, one.name, latest.at, max(one.until, other.until), latest.text)


class FeedGap(StoreError):
    """The feed no longer holds what follows this cursor: begin again with None. Nothing is lost in the store."""


class StoreForgot(StoreError):
    """The store is not the one it was: emptied, restored from an old copy, or another one.

    What it does not know now may have been revoked, so it cannot answer until somebody adopts it (`Store.adopt`).
    """


class PartlyKnown(StoreError):
    """The store could not be asked, but the `known` revocations are in force, whatever it would have said.

    Whom they refuse may be refused. Of everybody else nothing is known: this is not an answer.
    """

    def __init__(self, why: str, known: Sequence[Revocation]) -> None:
        super().__init__(why)
        self.known = known


class Store(Protocol):
    """Where revocations are remembered. Every method raises StoreError when it cannot keep its promise."""

    durable: bool
    """Does an added revocation survive the end of this process, and do other processes see it?"""
    writes_block: bool
    """Do `add` and the other writes block their thread? Then they run beside an event loop."""
    reads_block: bool
    """Does `find` block its thread for longer than microseconds? Then it, too, runs beside an event loop."""

    def version(self) -> int | None:
        """The state of the store at this moment: while it is the same number, `find` answers the same.

        It costs no waiting. None where it cannot be told that cheaply, or at all: then `find` must be asked.
        """
        ...

    async def find(self, keys: Sequence[bytes]) -> Sequence[Revocation]:
        """Every revocation under these keys whose `add` returned, in any process, before this call.

        Nothing found is an answer; not being able to look is StoreError, never an empty answer.
        """
        ...

    async def add(self, revocations: Sequence[Revocation]) -> Outcome:
        """Return once the revocations cannot be lost and every later `find` anywhere sees them: DONE.

        Only a journal answers PENDING. Same key and same keep set merge; adding again changes nothing, so callers
        may retry. After a StoreError they may or may not be stored.
        """
        ...

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Changes:
        """The next page of all live revocations and then of new ones; `cursor` None begins.

        `cursor` NOW begins with an empty page at the end: whatever is added after this call is on a later page.

        With nothing new it waits up to so many seconds, and returns as soon as there is something. A record may
        come more than once, and merged. FeedGap: begin again. Blocks its thread on a blocking store.
        """
        ...

    async def learn(self, facts: Sequence[Fact]) -> None:
        """Return once these are durable, and every later `facts` anywhere knows them, merged (`merge_facts`).

        They are in no feed and change no version.
        """
        ...

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        """Every fact of these subjects whose `learn` returned, in any process, before this call, and did not end.

        Nothing known is an answer; not being able to look is StoreError.
        """
        ...

    async def hit(self, key: bytes, window: float) -> Count:
        """Count one event under this key in a window of so many seconds that its first event opens.

        All processes share the count. It may be forgotten in a crash: it limits, it does not promise.
        """
        ...

    async def purge(self, at_most: int = 500) -> int:
        """Forget what ended more than PURGE_DELAY ago, and return how many records; live ones are never touched.

        Facts that ended are forgotten, too, and not counted.

        About `at_most` in one call, so that nobody waits long; call again until it returns 0.
        """
        ...

    async def count(self) -> int:
        """How many revocations are remembered."""
        ...

    async def adopt(self) -> None:
        """Accept the store as it is now, here and in every process, after StoreForgot. An operator's decision."""
        ...

    async def check(self) -> dict[str, str]:
        """What the store is and how durable, for the operator; asks it for real."""
        ...

    async def close(self) -> None:
        """Give back files and connections. Closing twice is fine; using a closed store is StoreError."""
        ...
