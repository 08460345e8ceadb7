"""Which credentials are of one login, so that a logout which presents any of them ends all (the logout graph).

Most know it themselves: what carries the same `sid` has the same name. Others are bound here, when they are seen
together, in one request or in the answer of a login. Only verified credentials of one user and one realm are bound,
and never an application's own token. A binding is two facts in the store, one from each end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..rules.identity import Identity
from ..rules.revocation import forgettable_after
from ..stores import Fact, Store

BOUND = "bound "
REPLACED_SECONDS = 120.0
_REMEMBERED = 16_384
_MOST_MEMBERS = 2000
"""A login of more parts is cut off here; it is a bug of the application, or an attack on the store."""


@dataclass(slots=True)
class Bindings:
    """The bindings of one Logout object; `enabled` is REVOKE_BOUND. `lasting`: see LoginMarks."""

    store: Store
    lasting: Callable[[float], float]
    enabled: bool = True
    _bound: OrderedDict[frozenset[bytes], None] = field(default_factory=OrderedDict)

    def unbound(self, identities: Iterable[Identity]) -> list[list[Identity]]:
        """Those of these that belong together and are not known to be bound yet, a list for each login."""
        if not self.enabled:
            return []
        users: dict[bytes, dict[bytes, Identity]] = {}
        for each in identities:
            if each.verified and each.user_key is not None and not each.is_client:
                users.setdefault(each.user_key, {}).setdefault(each.login_key, each)
        return [
            list(parts.values()) for parts in users.values() if len(parts) > 1 and frozenset(parts) not in self._bound
        ]

    async def bind(self, identities: Iterable[Identity], now: float) -> bool:
        """Remember who of these belongs to one login; was anything new? StoreError if it could not be stored.

        After that, ask once more whether they are alive: a logout that was under way may not have known of it.
        """
        news = False
        for parts in self.unbound(identities):
            first, *others = parts
            known = {fact.name for fact in await self.store.facts([first.login_key]) if fact.text.startswith(BOUND)}
            unknown = [each for each in others if each.login_key not in known]
            if unknown:
                await self.store.learn([fact for each in unknown for fact in self._both_ways(first, each, now)])
                news = True
            self._bound[frozenset(each.login_key for each in parts)] = None
            while len(self._bound) > _REMEMBERED:
                self._bound.popitem(last=False)
        return news

    async def replaced(self, old: Identity, new: Identity, now: float) -> None:
        """Remember for a moment that the application gave this browser another value of an opaque cookie.

        A logout that was sent with the old one, before the new one arrived, ends the new one as well. One way, and not
        for long: whoever planted the old value in a browser must not be able to log out who logs in with it later.
        """
        until = now + REPLACED_SECONDS
        if self.enabled:
            await self.store.learn([Fact(old.own_key, new.own_key, now, until, f"{BOUND}{self._end(new, now):.0f}")])

    def _both_ways(self, one: Identity, other: Identity, now: float) -> list[Fact]:
        """As long as the longer-lived of them may live."""
        ends = [self._end(each, now) for each in (one, other)]
        return [
            Fact(one.login_key, other.login_key, now, max(ends), f"{BOUND}{ends[1]:.0f}"),
            Fact(other.login_key, one.login_key, now, max(ends), f"{BOUND}{ends[0]:.0f}"),
        ]

    def _end(self, identity: Identity, now: float) -> float:
        # A session lives on in tokens that are not minted yet.
        if identity.session_key is not None:
            return self.lasting(now)
        return forgettable_after(max(min(identity.expires_at, self.lasting(now)), now))

    async def members(self, keys: Sequence[bytes], now: float) -> list[bytes]:
        """The keys that are bound to these, directly or through others, and may still be alive; not these themselves.

        StoreError if it cannot be known.
        """
        if not self.enabled or not keys:
            return []
        reached, living = set(keys), []
        frontier = list(reached)
        while frontier and len(reached) < _MOST_MEMBERS:
            found = [fact for fact in await self.store.facts(frontier) if fact.text.startswith(BOUND)]
            frontier = []
            for fact in found:
                if fact.name not in reached:
                    reached.add(fact.name)
                    frontier.append(fact.name)
                    if float(fact.text.removeprefix(BOUND)) > now:
                        living.append(fact.name)
        return living
