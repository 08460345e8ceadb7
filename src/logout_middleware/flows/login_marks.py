"""When exactly somebody logged in: what makes a cut-off exact inside one second.

A token says in whole seconds when it was issued, so "everything up to 10:29:00.5" cannot tell the stolen token of
10:29:00.2 from the new login of 10:29:00.8. A login that was seen to begin after the cut-off is *marked* in the store
with its moment. Marks are needed, and written, only for a credential that a cut-off would refuse although it is
younger; nobody else costs anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..rules.identity import Identity
from ..rules.revocation import FOREVER, Revocation, key_of
from ..stores import Fact, Store

ISSUED = key_of("fact", None, "issued")
AFTER = 1e-6
"""So much later than a cut-off is what began after it (seconds)."""


@dataclass(slots=True)
class LoginMarks:
    """The marks of one Logout object. `lasting` says how long what is issued at a moment may live."""

    store: Store
    lasting: Callable[[float], float]
    leeway: float = 0.0

    async def exact(self, identities: Sequence[Identity], records: Sequence[Revocation]) -> list[Identity]:
        """These identities, those that are marked with the exact time at which they were issued.

        Asks the store only for those that a cut-off refuses. StoreError if it cannot.
        """
        cut = [each for each in identities if any(_cuts(record, each) for record in records)]
        if not cut:
            return list(identities)
        subjects = {key for each in cut for key in _subjects(each)}
        found = {fact.subject: fact.at for fact in await self.store.facts(list(subjects)) if fact.name == ISSUED}
        return [_with_mark(each, found) if each in cut else each for each in identities]

    async def mark_younger(
        self, identity: Identity, records: Sequence[Revocation], *, began: float, now: float,
        of: frozenset[bytes] = frozenset(),
    ) -> bool:  # fmt: skip
        """Mark a credential that was issued by a request which began at this moment; was a mark needed?

        Only where every cut-off that refuses it is of its own second, and was there before the request began, or spared
        the login `of` the request. Of another nobody knows what came first, and it refuses.
        """
        cuts = [each for each in records if _cuts(each, identity)]
        spared = [each for each in cuts if not each.keep.isdisjoint(of)]
        older = [each for each in cuts if began > each.before - self.leeway and self._is_close(each, identity)]
        if not cuts or any(each not in spared and each not in older for each in cuts):
            return False
        await self.mark([identity.own_key], max([began, *(each.before + AFTER for each in cuts)]), now=now)
        return True

    def _is_close(self, record: Revocation, identity: Identity) -> bool:
        """Was it issued in the second of the cut-off, so that it may be younger than it says?"""
        return identity.issued_at is None or record.before < identity.issued_at + 1 + self.leeway

    async def mark(self, subjects: Sequence[bytes], at: float, *, now: float) -> None:
        """Remember that what these keys name was issued at this moment, whatever it says itself."""
        await self.store.learn([Fact(subject, ISSUED, at, self.lasting(now)) for subject in subjects])


def _cuts(record: Revocation, identity: Identity) -> bool:
    """Does this cut-off refuse it, by its time?"""
    if not identity.verified or record.before >= FOREVER or record.key not in identity.keys:
        return False
    return record.refuses(identity.keys, identity.issued_at)


def _subjects(identity: Identity) -> list[bytes]:
    return [identity.own_key, *([identity.session_key] if identity.session_key else [])]


def _with_mark(identity: Identity, marks: dict[bytes, float]) -> Identity:
    at = max((marks[key] for key in _subjects(identity) if key in marks), default=None)
    if at is None or (identity.issued_at is not None and at <= identity.issued_at):
        return identity
    return replace(identity, issued_at=at)
