"""Is the store the one it was? An emptied, restored or wrong store looks healthy and knows of no logout.

A store carries a *mark*: a random id, the time of its last adoption, and a number that grows with every change.
Whoever has seen a mark remembers it, per part of the store that can be lost by itself, and what contradicts the
memory is StoreForgot: "cannot know", which is never "nothing is revoked".
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from . import StoreForgot

_log = logging.getLogger("logout_middleware")
REMEDY = (
    "restore the newest copy of it, or accept it as it is with `logout-middleware adopt-store`, "
    "which logs everybody out because nobody knows any more who had logged out"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What one part of a store says of itself.

    `adopted_at`: when an operator last accepted the store as it is (seconds since 1970), 0 if never.
    `changes`: how many it has seen and holds for certain; this never falls.
    """

    id: str
    adopted_at: int
    changes: int


def new_id() -> str:
    """A random id, for a store that has none or is adopted."""
    return secrets.token_hex(8)


def tell_of_new_store(store: str) -> None:
    """Who finds a store without a mark and remembers none cannot tell a new store from one that was emptied."""
    _log.warning(
        "the store %s was empty and is begun anew; logouts that it held before, if it did, are forgotten", store
    )


class Memory:
    """The marks that this process has seen. `store` names it in messages, without a secret."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._seen: dict[int, Mark] = {}
        self._told = False

    def seen(self, part: int) -> Mark | None:
        """What is remembered of this part."""
        return self._seen.get(part)

    def snapshot(self) -> Mapping[int, Mark]:
        """All that is remembered, to be kept beside the journal, or to judge an answer by; it never changes."""
        return self._seen

    def restore(self, marks: Mapping[int, Mark]) -> None:
        """Remember what an earlier process had seen, before this one asks for the first time."""
        self._seen = {**marks, **self._seen}

    def check(
        self, part: int, found: Mark | None, *, has: int | None = None, known: Mapping[int, Mark] | None = None
    ) -> None:
        """Compare what a part of the store says with what was seen; StoreForgot if it contradicts.

        `found` None: it has no mark. `has`: how many changes it has, where it holds fewer for certain. `known`: the
        snapshot from before the question was sent, where several are under way at once: an answer may be older
        than what another one has taught meanwhile. Costs two comparisons where nothing changed.
        """
        seen = (self._seen if known is None else known).get(part)
        if found is None:
            if seen is None:
                return
            raise self._forgot("it is empty, and it was not")
        changes = found.changes if has is None else has
        if seen is None or (found.id == seen.id and changes >= seen.changes) or found.adopted_at > seen.adopted_at:
            self._remember(part, found)
            return
        if found.id == seen.id:
            raise self._forgot(f"{seen.changes - changes} changes that it had acknowledged are missing")
        raise self._forgot("it is another store, or an old copy")

    def _remember(self, part: int, found: Mark) -> None:
        newest = self._seen.get(part)
        if newest is not None and found.adopted_at > newest.adopted_at:
            _log.warning("the store %s was adopted by an operator and is trusted again", self._store)
            self._told = False
        elif newest is not None and (found.id != newest.id or found.changes <= newest.changes):
            return
        # Replaced, not changed: no lock that a fork could copy while it is held, and snapshots cost nothing. What two
        # threads lose to each other is a newer count of changes, which the next answer brings again.
        self._seen = {**self._seen, part: found}

    def _forgot(self, why: str) -> StoreForgot:
        text = f"the store {self._store} has forgotten: {why}; {REMEDY}"
        if not self._told:
            self._told = True
            _log.critical("%s", text)
        return StoreForgot(text)
