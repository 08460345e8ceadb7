"""Which credentials are of one login, so that a logout which presents any of them ends all (the logout graph).

Most know it themselves: what carries the same `sid` has the same name. Others are bound here, when they are seen
together, in one request or in the answer of a login. Only verified credentials of one user and one realm are bound,
and never an application's own token.

A login is a star: each part is bound to its *hub*, the part it began with, by two facts, one from each end. So all of
it is found in two steps, however often it was refreshed. Two stars that turn out to be one login have their hubs bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import StoreError
from ..rules.identity import Identity
from ..rules.revocation import forgettable_after
from ..stores import Fact, Store

BOUND = "bound "
REPLACED_SECONDS = 30.0
_HUB = " hub"
"""The end of the text of a binding to something that others are bound to: from there the way goes on."""
_REMEMBERED = 16_384
_MOST_MEMBERS = 20_000
"""A login of more living parts is a bug of the application, or an attack; one call of a store can end so many."""
_ROUNDS = 5
"""So often somebody else may bind a part of a login at the same moment, before it is left to the next request."""


def forget_oldest(memory: dict[Any, Any], most: int) -> None:
    """Forget an eighth of what is remembered if it is more than so much. Threads may share the dict."""
    if len(memory) > most:
        for key in list(memory)[: most // 8]:
            memory.pop(key, None)


@dataclass(slots=True)
class Bindings:
    """The bindings of one Logout object; `enabled` is REVOKE_BOUND. `lasting`: see LoginMarks."""

    store: Store
    lasting: Callable[[float], float]
    enabled: bool = True
    _bound: dict[frozenset[bytes], None] = field(default_factory=dict)

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
            asked = [each.login_key for each in parts]
            for _ in range(_ROUNDS):
                ends = {each.login_key: self._end(each, now) for each in parts}
                star = _Star(asked, await self.store.facts(asked), parts, ends)
                missing = star.missing(now, self.lasting(now))
                if missing:
                    # Read once more after it: another worker may have bound one of them to something else meanwhile.
                    await self.store.learn(missing)
                    news = True
                elif star.hubs.issubset(asked):
                    self._bound[frozenset(each.login_key for each in parts)] = None
                    forget_oldest(self._bound, _REMEMBERED)
                    break
                asked = list(dict.fromkeys([*asked, *star.hubs]))
        return news

    async def replaced(self, old: Identity, new: Identity, now: float) -> None:
        """Remember for a moment that the application gave this browser another value of an opaque cookie.

        A logout that was sent with either while the other was under way ends both. Not for long: whoever planted the
        old value in a browser must not be able to log out who logs in with it later.
        """
        until = now + REPLACED_SECONDS
        if self.enabled:
            facts = [
                Fact(one.own_key, other.own_key, now, until, _as_text(self._end(other, now), is_hub=True))
                for one, other in ((old, new), (new, old))
            ]
            await self.store.learn(facts)

    def _end(self, identity: Identity, now: float) -> float:
        # A session lives on in tokens that are not minted yet.
        if identity.session_key is not None:
            return self.lasting(now)
        return forgettable_after(max(min(identity.expires_at, self.lasting(now)), now))

    async def members(self, keys: Sequence[bytes], now: float) -> list[bytes]:
        """The keys that are bound to these, directly or through others, and may still be alive; not these themselves.

        StoreError if it cannot be known, or if they are too many to be ended: a part of them is no answer.
        """
        if not self.enabled or not keys:
            return []
        reached, living = set(keys), []
        frontier = list(reached)
        while frontier:
            found = [fact for fact in await self.store.facts(frontier) if fact.text.startswith(BOUND)]
            frontier = []
            for fact in found:
                end, is_hub = _from_text(fact.text)
                # What is over matters only where others are bound to it.
                if fact.name in reached or not (is_hub or end > now):
                    continue
                reached.add(fact.name)
                if is_hub:
                    frontier.append(fact.name)
                if end > now:
                    living.append(fact.name)
            if len(reached) > _MOST_MEMBERS:
                raise StoreError(f"too many parts are bound to one login: more than {_MOST_MEMBERS}")
        return living


class _Star:
    """What is known of the bindings of some parts of one login, and what is missing so that all are bound to one hub.

    `facts`: of those `asked`, the parts and perhaps their hubs. `ends`: when each part will be over.
    """

    def __init__(
        self, asked: Sequence[bytes], facts: Sequence[Fact], parts: Sequence[Identity], ends: dict[bytes, float]
    ) -> None:
        self._asked = frozenset(asked)
        self._known = {(fact.subject, fact.name): fact for fact in facts if fact.text.startswith(BOUND)}
        self._parts = [each.login_key for each in parts]
        self._ends = dict(ends)
        hubs: set[bytes] = set()
        for fact in self._known.values():
            if fact.subject not in ends:
                continue
            end, is_hub = _from_text(fact.text)
            hubs.add(fact.name if is_hub else fact.subject)
            if fact.name not in ends:
                self._ends[fact.name] = max(end, self._ends.get(fact.name, 0.0))
        # Whoever chooses knows the same hubs sooner or later, and chooses the same. Else one that lasts: a session.
        lasting = [each.login_key for each in parts if each.session_key is not None]
        self.hub = min(hubs) if hubs else (lasting or self._parts)[0]
        self.hubs = hubs | {self.hub}

    def missing(self, now: float, longest: float) -> list[Fact]:
        """The facts to learn. `longest`: when everything that lives now will be over.

        A part knows its hub as long as the longest-lived of its login: when it is over itself, it still ends the
        others. The hub knows a part as long as that lives.
        """
        hub, until = self.hub, max(self._ends[each] for each in {*self._parts, *self.hubs})
        facts = []
        for each in self._parts:
            is_hub = each in self.hubs
            if each == hub or (
                self._leads(each, hub, until) and (self._leads(hub, each) if is_hub else self._has(each, now))
            ):
                continue
            facts.append(self._fact(each, hub, now, longest if is_hub else until))
            facts.append(self._fact(hub, each, now, longest if is_hub else self._ends[each]))
        for other in self.hubs.difference(self._parts, [hub]):
            if facts or not (self._leads(hub, other) and self._leads(other, hub)):
                facts += [self._fact(other, hub, now, longest), self._fact(hub, other, now, longest)]
        return facts

    def _leads(self, subject: bytes, name: bytes, until: float = 0.0) -> bool:
        """Is one bound to the other, as to a hub and for so long? Of a hub that was not asked nothing is known yet."""
        fact = self._known.get((subject, name))
        if fact is None:
            return subject not in self._asked
        return fact.until >= until and _from_text(fact.text)[1]

    def _has(self, part: bytes, now: float) -> bool:
        """Does the hub know this part, if it still has to?"""
        return (self.hub, part) in self._known or self._ends[part] <= now or self.hub not in self._asked

    def _fact(self, subject: bytes, name: bytes, now: float, until: float) -> Fact:
        return Fact(subject, name, now, until, _as_text(self._ends[name], is_hub=name in self.hubs))


def _as_text(end: float, *, is_hub: bool) -> str:
    return f"{BOUND}{end:.0f}{_HUB if is_hub else ''}"


def _from_text(text: str) -> tuple[float, bool]:
    """When what is bound will be over, and is it a hub?"""
    return float(text.removeprefix(BOUND).removesuffix(_HUB)), text.endswith(_HUB)
