"""The registry of sessions, and their end by time: who is logged in where, and since when nobody was there.

A session is registered when a verified credential of it passes the guard, and seen again at most once in an interval:
so an ordinary request pays nothing. What is known of it is one fact in the store, shared by all workers.
A session that was idle for too long, or is too old, is ended like by a logout, with the reason told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import StoreError
from ..rules.identity import Identity
from ..rules.revocation import everyone_key, forgettable_after, key_of
from ..stores import Fact, Store
from .bindings import BOUND, forget_oldest
from .logout import Caller, Logouts

SEEN = key_of("fact", None, "seen")
REGISTERED = "session"
_REMEMBERED = 65_536
_INTERVAL_SECONDS = 300.0
_AGAIN_SECONDS = 5.0
"""So soon it is tried again to note what the store did not take."""
_LONGEST_IDLE_INTERVAL, _PART_OF_IDLE = 60.0, 20
"""An idle time-out is exact to a twentieth, and a minute: never later, at most so much earlier."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What the guard knows of the request in which a session was seen. `passive`: a machine made it by itself."""

    address: str | None = None
    user_agent: str | None = None
    passive: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """One login of a user. Times are seconds since 1970; `expires_at` is the end of the last credential seen."""

    key: bytes
    created_at: float
    last_seen: float
    expires_at: float
    address: str | None = None
    user_agent: str | None = None
    sid: str | None = None

    @property
    def id(self) -> str:
        """Its name for the outside: a digest."""
        return self.key.hex()


@dataclass(frozen=True, slots=True)
class _Known:
    """A session as this process knows it. `due`: when to note it again; `noted`: is that, and its count, stored?"""

    due: float
    session: Session
    noted: bool = True


@dataclass(slots=True)
class Sessions:
    """The registry of one Logout object. `idle`, `absolute`: seconds or None; `most`: MAX_SESSIONS or None.

    `listed`: is the group `sessions` served? Without it and without time-outs nothing is registered.
    """

    store: Store
    logouts: Logouts
    clock: Callable[[], float]
    idle: float | None = None
    absolute: float | None = None
    most: int | None = None
    listed: bool = True
    _known: dict[bytes, _Known] = field(default_factory=dict)

    @property
    def enabled(self) -> bool:
        """Is there any reason to know sessions?"""
        return self.listed or self.timed or self.most is not None

    @property
    def timed(self) -> bool:
        """Does time end sessions?"""
        return self.idle is not None or self.absolute is not None

    @property
    def _interval(self) -> float:
        return min(self.idle / _PART_OF_IDLE, _LONGEST_IDLE_INTERVAL) if self.idle is not None else _INTERVAL_SECONDS

    def due_at(self, identity: Identity | None) -> float:
        """From when on the guard must say again that it saw this one; infinity for what is not registered."""
        if identity is None or not self.concerns(identity):
            return float("inf")
        known = self._known.get(identity.login_key)
        if known is None or (known.noted and identity.expires_at > known.session.expires_at):
            return float("-inf")
        return known.due

    def concerns(self, identity: Identity) -> bool:
        """Is there a reason to know of this login?"""
        if not self.enabled or not identity.verified or identity.is_client or not identity.addressed:
            return False
        return self.timed or (identity.session_key is not None and identity.user_key is not None)

    async def seen(self, identity: Identity, visit: Visit) -> bool:
        """Note that this login is in use; False if its time was over, and it has been ended.

        StoreError where it has a time to keep and that cannot be known.
        """
        now, key = self.clock(), identity.login_key
        known = self._known.get(key)
        session = known.session if known is not None else None
        if known is None or not known.noted or self._over(known.session, now) is not None:
            try:
                # Another worker may have seen it later than this one.
                session = _together(session, await self._read(key))
            except StoreError:
                if self.timed:
                    raise
                self._remember(now + _AGAIN_SECONDS, session or self._first_sight(identity, now), noted=False)
                return True
        over = self._over(session or self._first_sight(identity, now), now)
        if over is not None:
            self._known.pop(key, None)
            caller, logins = Caller(visit.address, visit.user_agent), {key: identity.session_id}
            await self.logouts.end_sessions(logins, user=identity.user_id, reason=over, caller=caller)
            return False
        noted = known is None or known.noted
        # What is off the list must come back to it, and be counted, however passively it is used.
        if visit.passive and session is not None and noted and now < session.expires_at:
            self._remember(known.due if known is not None else float("-inf"), session)
        else:
            await self._note(identity, visit, session, now, noted=noted)
        return True

    async def register(self, identity: Identity, visit: Visit) -> None:
        """Know of a login from its first moment; its first request will say more of it."""
        if self.due_at(identity) < float("inf") and await self.seen(identity, visit):
            known = self._known.get(identity.login_key)
            if known is not None and known.noted:
                self._known.pop(identity.login_key, None)

    async def _note(
        self, identity: Identity, visit: Visit, session: Session | None, now: float, *, noted: bool
    ) -> None:
        """Store that it was seen. `noted` False: the last time that failed, or its count did."""
        created = session.created_at if session else min(now, identity.issued_at or now)
        ends = max(identity.expires_at, session.expires_at if session else 0.0)
        seen = session.last_seen if visit.passive and session else now
        sid = identity.session_id
        note = Session(identity.login_key, created, seen, ends, visit.address, visit.user_agent, sid)
        facts = [Fact(note.key, SEEN, seen, self._remembered_until(identity, now), _as_text(note))]
        user = identity.user_key if identity.session_key is not None else None
        if user is not None:
            # With every note: the list reads whom it names, so it names nobody who is over.
            facts.append(Fact(user, note.key, now, self._until(ends, now), REGISTERED))
        due = min(now + self._interval, self._ends(note))
        counts = session is None or not noted or session.expires_at <= now
        # It must not fail a request that the store does not take a note now; it is tried again soon.
        try:
            await self.store.learn(facts)
            if counts and user is not None and self.most is not None:
                await self._end_oldest(identity, user)
        except StoreError:
            self._remember(min(due, now + _AGAIN_SECONDS), note, noted=False)
        else:
            self._remember(due, note)

    def _remembered_until(self, identity: Identity, now: float) -> float:
        """A session goes on in tokens that are not minted yet, and its clock with it; what has none ends itself."""
        return self.logouts.lasting(now) if identity.session_key is not None else self._until(identity.expires_at, now)

    def _until(self, ends: float, now: float) -> float:
        """When what ends then, if it ever does, may be forgotten."""
        return forgettable_after(min(max(ends, now) + self.logouts.leeway, self.logouts.lasting(now)))

    @staticmethod
    def _first_sight(identity: Identity, now: float) -> Session:
        """A login of which nothing is known yet: it is as old as it says, and in use now."""
        created = min(now, identity.issued_at if identity.issued_at is not None else now)
        return Session(identity.login_key, created, now, identity.expires_at, sid=identity.session_id)

    def _remember(self, due: float, session: Session, *, noted: bool = True) -> None:
        self._known[session.key] = _Known(due, session, noted)
        forget_oldest(self._known, _REMEMBERED)

    async def _end_oldest(self, identity: Identity, user_key: bytes) -> None:
        """MAX_SESSIONS: the newest login stays, however old the others are."""
        mine = {identity.login_key, *await self.logouts.bindings.members([identity.login_key], self.clock())}
        others = [each for each in await self.of_user(user_key, identity.issuer) if each.key not in mine]
        surplus = len(others) + 1 - (self.most or 0)
        oldest = sorted(others, key=lambda each: (each.created_at, each.key))[: max(0, surplus)]
        if oldest:
            logins = {each.key: each.sid for each in oldest}
            await self.logouts.end_sessions(logins, user=identity.user_id, reason="max_sessions")

    async def _read(self, key: bytes) -> Session | None:
        """What is known of this login: of all its parts together, if it is bound to others."""
        keys = [key, *await self.logouts.bindings.members([key], self.clock())]
        parts = await self.about(keys)
        return replace(_one_of(parts), key=key) if parts else None

    def _ends(self, session: Session) -> float:
        """When its time will be over if nobody uses it."""
        absolute = session.created_at + self.absolute if self.absolute is not None else float("inf")
        return min(absolute, session.last_seen + self.idle if self.idle is not None else float("inf"))

    def _over(self, session: Session, now: float) -> str | None:
        """Why its time is over, if it is (NIST SP 800-63B-4 2.1.3, 2.2.3, 2.3.3)."""
        if self.absolute is not None and now >= session.created_at + self.absolute:
            return "absolute"
        if self.idle is not None and now >= session.last_seen + self.idle:
            return "idle"
        return None

    # ---- asking --------------------------------------------------------------------------------------

    async def of_user(self, user_key: bytes, issuer: str | None = None) -> list[Session]:
        """The live sessions of a user, the one seen last first. `issuer` None is our own realm."""
        rows = await self.store.facts([user_key])
        keys = [fact.name for fact in rows if fact.text == REGISTERED]
        if not keys:
            return []
        facts = await self.store.facts(keys)
        found = [_from_fact(fact) for fact in facts if fact.name == SEEN]
        above = [user_key, everyone_key(issuer)]
        records = await self.store.find([*above, *keys])
        now = self.clock()
        alive = [
            each
            for each in found
            if now < each.expires_at
            and self._over(each, now) is None
            # Who was seen alive after a cut-off was not hit by it.
            and not any(
                record.key in (each.key, *above) and record.refuses((each.key, *above), each.last_seen)
                for record in records
            )
        ]
        return sorted(_logins(alive, facts), key=lambda each: (-each.last_seen, each.key))

    async def ends_at(self, identity: Identity) -> float:
        """The moment at which the time of this login will be over if nobody uses it; infinity without time-outs."""
        if not self.timed or not self.concerns(identity):
            return float("inf")
        session = await self._read(identity.login_key)
        return self._ends(session) if session is not None else float("inf")

    async def about(self, keys: Sequence[bytes]) -> list[Session]:
        """What is known of these sessions, alive or not."""
        return [_from_fact(fact) for fact in await self.store.facts(list(keys)) if fact.name == SEEN]


def _one_of(parts: Sequence[Session]) -> Session:
    """What is known of these parts of one login together."""
    newest = max(parts, key=lambda each: each.last_seen)
    created, ends = min(each.created_at for each in parts), max(each.expires_at for each in parts)
    return replace(newest, created_at=created, expires_at=ends)


def _together(one: Session | None, other: Session | None) -> Session | None:
    known = [each for each in (one, other) if each is not None]
    return _one_of(known) if known else None


def _logins(sessions: Sequence[Session], facts: Sequence[Fact]) -> list[Session]:
    """One for each login: a cookie and a token that are bound to each other are one device, named by the older."""
    oldest_first = sorted(sessions, key=lambda each: (each.created_at, each.key))
    bound: dict[bytes, set[bytes]] = {each.key: {each.key} for each in sessions}
    for fact in facts:
        # What two are both bound to need not be on the list itself.
        if fact.text.startswith(BOUND):
            together = bound.get(fact.subject, {fact.subject}) | bound.get(fact.name, {fact.name})
            bound.update(dict.fromkeys(together, together))
    logins = []
    for first in oldest_first:
        parts = [each for each in oldest_first if each.key in bound[first.key]]
        if parts[0] is first:
            sid = next((each.sid for each in parts if each.sid is not None), None)
            logins.append(replace(_one_of(parts), key=first.key, sid=sid))
    return logins


def _as_text(session: Session) -> str:
    # Of two notes of one moment the one that says more is the larger text, and wins (merge_facts).
    members: dict[str, Any] = {
        "created": session.created_at, "expires": session.expires_at,
        "address": session.address or "", "agent": session.user_agent or "", "sid": session.sid or "",
    }  # fmt: skip
    return json.dumps(members, separators=(",", ":"))


def _from_fact(fact: Fact) -> Session:
    members = json.loads(fact.text)
    texts = (members[name] or None for name in ("address", "agent", "sid"))
    return Session(fact.subject, members["created"], fact.at, members["expires"], *texts)
