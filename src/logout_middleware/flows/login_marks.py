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
_AFTER = 1e-6
"""So much later than a cut-off is what began after it (seconds)."""


@dataclass(slots=True)
class LoginMarks:
    """The marks of one Logout object. `lasting` says how long what is issued at a moment may live."""

    store: Store
    lasting: Callable[[float], float]
    leeway: float = 0.0

    async def exact(self, identities: Sequence[Identity], records: Sequence[Revocation]) -> list[Identity]:
        """These identities, those that are marked with the exact time at which they were issued.

        Asks the store only where a cut-off refuses one that may be younger than it says. StoreError if it cannot.
        """
        close = [each for each in identities if any(self._is_close(each, record) for record in records)]
        if not close:
            return list(identities)
        subjects = {key for each in close for key in _subjects(each)}
        found = {fact.subject: fact.at for fact in await self.store.facts(list(subjects)) if fact.name == ISSUED}
        return [_with_mark(each, found) if each in close else each for each in identities]

    def _is_close(self, identity: Identity, record: Revocation) -> bool:
        """May this cut-off refuse a credential that is younger than it?"""
        if not identity.verified or record.before >= FOREVER or record.key not in identity.keys:
            return False
        at = identity.issued_at
        return record.refuses(identity.keys, at) and (at is None or record.before < at + 1 + self.leeway)

    async def mark_younger(
        self, identity: Identity, records: Sequence[Revocation], *, began: float, now: float
    ) -> bool:
        """Mark a credential that was issued by a login which began at this moment; was a mark needed?

        Only where every cut-off that refuses it was there before the login began; of another nobody knows what came
        first, and it refuses.
        """
        cuts = [each for each in records if self._is_close(identity, each)]
        if not cuts or any(began <= each.before - self.leeway for each in cuts):
            return False
        await self.mark([identity.own_key], max([began, *(each.before + _AFTER for each in cuts)]), now=now)
        return True

    async def mark(self, subjects: Sequence[bytes], at: float, *, now: float) -> None:
        """Remember that what these keys name was issued at this moment, whatever it says itself."""
        await self.store.learn([Fact(subject, ISSUED, at, self.lasting(now)) for subject in subjects])


def _subjects(identity: Identity) -> list[bytes]:
    return [identity.own_key, *([identity.session_key] if identity.session_key else [])]


def _with_mark(identity: Identity, marks: dict[bytes, float]) -> Identity:
    at = max((marks[key] for key in _subjects(identity) if key in marks), default=None)
    if at is None or (identity.issued_at is not None and at <= identity.issued_at):
        return identity
    return replace(identity, issued_at=at)
