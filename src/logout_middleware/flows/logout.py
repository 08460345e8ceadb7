"""Logging out: the one way by which every door revokes.

The API, the cookie and the redirect door, the Python calls and the command line all end in `Logouts.revoke`.
What to revoke is decided by pure functions; then the order is: store it durably, tell the listeners, answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import StoreError
from ..events import Events, LogoutEvent
from ..rules.identity import Identity
from ..rules.revocation import FOREVER, Revocation, forgettable_after, refusing
from ..stores import Outcome, PartlyKnown, Store
from .bindings import Bindings
from .live import REFRESHED, ROTATED, Live
from .login_marks import AFTER, LoginMarks

SCOPES = ("local", "others", "global")
_QUICK, _MOST_MOVES = 0.05, 20
"""A write that takes less is shorter than a refresh (seconds); so often a slow one is repeated."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked for a logout, for the audit record."""

    address: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What one logout revokes. `unavailable`: the scope needs a verified live user, and there is none.

    `outcome`: how far it got, and `connections`: how many of this process were cut, once it was carried out.
    """

    revocations: tuple[Revocation, ...] = ()
    tokens: int = 0
    sessions: int = 0
    user: str | None = None
    session: str | None = None
    unavailable: bool = False
    outcome: Outcome = Outcome.DONE
    connections: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of some credentials: the `live` ones, and the records by which the others are dead."""

    identities: tuple[Identity, ...]
    live: tuple[Identity, ...]
    dead_by: tuple[Revocation, ...]


SessionsOf = Callable[[bytes, str | None], Awaitable[Sequence[Any]]]
"""The live sessions (`flows.sessions.Session`) of the user with this key and issuer."""


@dataclass(slots=True)
class Logouts:
    """Revokes for one Logout object. `max_lifetime` and `leeway` are seconds. `listed`: asks the registry, if any."""

    store: Store
    events: Events
    clock: Callable[[], float]
    max_lifetime: float
    leeway: float = 0.0
    live: Live = field(default_factory=Live)
    bind: bool = True
    listed: SessionsOf | None = None
    marks: LoginMarks = field(init=False)
    bindings: Bindings = field(init=False)

    def __post_init__(self) -> None:
        self.marks = LoginMarks(self.store, self.lasting, self.leeway)
        self.bindings = Bindings(self.store, self.lasting, self.bind)

    async def revoke(
        self, revocations: Sequence[Revocation], event: LogoutEvent, *, again: Sequence[Revocation] = ()
    ) -> Plan:
        """Make these durable, cut what is open by them, then tell of it; returns how far that got.

        StoreError if it could not be promised; that is told, too. `again`: what was found already, and may not be as
        durable as that yet.
        """
        keys = tuple(revocation.key.hex() for revocation in revocations)
        outcome = Outcome.DONE
        try:
            if revocations or again:
                outcome = await self.store.add([*again, *revocations])
            outcome = worse(outcome, await self._cut_late(revocations, event.time))
        except StoreError as error:
            await self.events.emit(replace(event, kind="store_failed", outcome="failed", keys=keys, detail=str(error)))
            raise
        cut = self.live.cut([*again, *revocations])
        pending = outcome is Outcome.PENDING
        await self.events.emit(replace(event, keys=keys, outcome="pending" if pending else event.outcome))
        return Plan(outcome=outcome, connections=cut)

    async def _cut_late(self, revocations: Sequence[Revocation], now: float) -> Outcome:
        """Move the cut-offs of "now" to when they are in force: what was issued in between is of before the logout.

        From then on, an answer that is under way finds the record (`Answers`). Once more where that took so long that
        a token could have been renewed twice.
        """
        cuts = [each for each in revocations if now <= each.before <= now + self.leeway]
        outcome, reached = Outcome.DONE, now
        for _ in range(_MOST_MOVES if cuts else 0):
            later = self.clock()
            if later <= reached or (reached > now and later < reached + _QUICK and int(later) == int(reached)):
                break
            reached = later
            moved = [replace(each, before=each.before + reached - now) for each in cuts]
            outcome = worse(outcome, await self.store.add(moved))
        return outcome

    async def log_out(
        self,
        identities: Sequence[Identity],
        *,
        scope: str = "local",
        bound: bool = True,
        reason: str = "logout",
        caller: Caller | None = None,
    ) -> Plan:
        """End what these credentials stand for. A dead credential changes nothing, however often it is presented.

        Returns once it is durable. `bound`: the session of each verified credential, and whatever else is of the same
        login, ends with it (REVOKE_BOUND). The records by which a credential is dead are added once more, because to
        be found is not to be durable: one may be in the journal only, or wait for its replicas after an answer of 503.
        """
        caller = caller or Caller()
        now = self.clock()
        known = await self.known(_without_servers(identities))
        # A logout that got half-way is repeated with a credential that is dead by now: it still finds the others.
        roots = [each.login_key for each in known.identities if each.addressed] if bound else []
        members = await self._members(roots, now)
        plan = self.plan(known.live, scope=scope, bound=bound, reason=reason, now=now, members=members)
        event = LogoutEvent(
            kind="logout", outcome="done" if plan.revocations else "nothing", time=now, user=plan.user,
            session=plan.session, scope=scope, reason=reason, client_address=caller.address,
            user_agent=caller.user_agent,
        )  # fmt: skip
        told = await self.sessions_under(plan.revocations, known.live)
        done = await self.revoke(plan.revocations, event, again=known.dead_by)
        if scope != "others":
            done = await self._end_late_members(roots, members, done, event)
        elif plan.revocations:
            await self._keep_late_members(roots, members, now)
        if plan.unavailable:
            await self.events.emit(replace(event, kind="scope_refused", outcome="refused"))
        ended = dict(told)
        if bound and plan.sessions:
            ended |= {each.login_key: each.session_id for each in _sessions_of(known.live) if each.addressed}
        await self.tell_ends(ended, event)
        return replace(plan, outcome=done.outcome, connections=done.connections)

    async def end_sessions(
        self, logins: Mapping[bytes, str | None], *, reason: str, user: str | None = None,
        caller: Caller | None = None,
    ) -> Plan:  # fmt: skip
        """End these logins, by key and with their session ids, where known, and with all that is bound to them."""
        caller, now, keys = caller or Caller(), self.clock(), list(logins)
        session = next(iter(logins.values())) if len(logins) == 1 else None
        event = LogoutEvent(
            kind="logout", outcome="done", time=now, user=user, session=session, scope="session", reason=reason,
            client_address=caller.address, user_agent=caller.user_agent,
        )  # fmt: skip
        done = await self.end(self._ending(keys, reason, now), roots=keys, event=event, sessions=logins)
        return replace(done, sessions=len(keys), user=user)

    async def end(
        self, revocations: Sequence[Revocation], *, roots: Sequence[bytes], event: LogoutEvent,
        sessions: Mapping[bytes, str | None],
    ) -> Plan:  # fmt: skip
        """Revoke these, what is bound to the `roots` before them, and tell of the `sessions` that end with it."""
        members = await self._members(roots, event.time)
        ending = self._ending(members, event.reason or "logout", event.time)
        done = await self.revoke([*ending, *revocations], event)
        done = await self._end_late_members(roots, members, done, event)
        await self.tell_ends(sessions, event)
        return done

    async def _members(self, roots: Sequence[bytes], now: float) -> list[bytes]:
        """What is bound to these, as far as it can be known: see `known_of`."""
        try:
            return await self.bindings.members(roots, now)
        except StoreError:
            return []

    async def _end_late_members(
        self, roots: Sequence[bytes], members: Sequence[bytes], done: Plan, event: LogoutEvent
    ) -> Plan:
        """End what was bound to these while they were being ended; whoever binds later finds them dead.

        StoreError if that cannot be known although the store took the rest: a part of a logout is no success, and
        asking for it again completes it.
        """
        known = set(members)
        while True:
            try:
                found = await self.bindings.members(roots, event.time)
            except StoreError:
                if done.outcome is Outcome.PENDING:
                    return done
                raise
            late = [key for key in found if key not in known]
            if not late:
                return done
            known.update(late)
            more = await self.revoke(self._ending(late, event.reason or "logout", event.time), event)
            done = replace(
                done, outcome=worse(done.outcome, more.outcome), connections=done.connections + more.connections
            )

    async def _keep_late_members(self, roots: Sequence[bytes], members: Sequence[bytes], now: float) -> None:
        """What was bound to this login while its others were being ended is not one of those."""
        known = {*members, *roots}
        late = [key for key in await self._members(roots, now) if key not in known]
        if late:
            with contextlib.suppress(StoreError):
                await self.marks.mark(late, self.clock() + self.leeway + AFTER, now=now)

    def _ending(self, keys: Sequence[bytes], reason: str, now: float) -> list[Revocation]:
        return [Revocation(key, FOREVER, self.lasting(now), reason) for key in dict.fromkeys(keys)]

    async def sessions_under(
        self, revocations: Sequence[Revocation], identities: Sequence[Identity]
    ) -> dict[bytes, str | None]:
        """The sessions, as far as they are known, that cut-offs of these users will end."""
        users = {each.user_key: each.issuer for each in identities if each.user_key is not None}
        found: dict[bytes, str | None] = {}
        for record in revocations if self.listed is not None else ():
            if record.key in users and self.listed is not None:
                with contextlib.suppress(StoreError):
                    sessions = await self.listed(record.key, users[record.key])
                    found |= {each.key: each.sid for each in sessions if each.key not in record.keep}
        return found

    async def tell_ends(self, sessions: Mapping[bytes, str | None], event: LogoutEvent) -> None:
        """Tell of each session that ended, and why, so that the application can clear what it keeps of it."""
        for key, sid in sessions.items():
            await self.events.emit(replace(event, kind="session_ended", keys=(key.hex(),), session=sid, scope=None))

    async def confirm(self, records: Sequence[Revocation]) -> Outcome:
        """Add once more what was found: to be found is not to be durable, and a logout may be repeated for a 503."""
        return await self.store.add(records) if records else Outcome.DONE

    async def known(self, identities: Sequence[Identity]) -> Known:
        """Who of these is alive and why the others are dead, as far as it can be known; see `known_of`."""
        records = await self.known_of(identities)
        # Where the marks cannot be read either, a login of the same second as a cut-off is taken for older.
        with contextlib.suppress(StoreError):
            identities = await self.marks.exact(identities, records)
        found = [(each, refusing(each, records)) for each in identities]
        return Known(
            tuple(identities),
            # What its refresh replaced may still say which login is to end.
            tuple(each for each, by in found if all(record.reason == ROTATED for record in by)),
            tuple(dict.fromkeys(record for _, by in found for record in by)),
        )

    async def known_of(self, identities: Sequence[Identity]) -> Sequence[Revocation]:
        """The revocations of these, as far as they can be known: while the store is away a login is taken for alive.

        Adding a revocation never does harm, and with a journal a logout is possible while the store is away. Where
        there is no journal, the addition that follows fails, and with it the logout.
        """
        try:
            return await self.store.find([key for identity in identities for key in identity.keys])
        except PartlyKnown as error:
            return error.known
        except StoreError:
            return ()

    def plan(
        self, live: Sequence[Identity], *, scope: str, bound: bool, reason: str, now: float,
        members: Sequence[bytes] = (),
    ) -> Plan:  # fmt: skip
        """What to revoke for these live credentials. Only what is verified condemns more than itself.

        `members`: what is bound to them, and ends or stays with them.
        """
        found: dict[tuple[bytes, frozenset[bytes]], Revocation] = {}
        reason = ROTATED if reason == REFRESHED else reason
        verified = [identity for identity in live if identity.verified and identity.addressed]
        sessions = {each.session_key: each for each in verified if each.session_key is not None}
        # An expired token may still end its own session, but it must not reach what was created after its time.
        lasting = [each for each in verified if now < each.expires_at + self.leeway]
        # An application may be called like a user (RFC 9068 5); its own token is no user's.
        users = {each.user_key: each for each in lasting if each.user_key is not None and not each.is_client}
        # What is dead anyway (expired, or no key signed it) is a success whatever the scope (contract 2).
        may_live = any(each.fault is None and now < each.expires_at + self.leeway for each in live)
        unavailable = scope != "local" and may_live and not users
        own = not (scope == "others" and users)

        def add(revocation: Revocation) -> None:
            found[revocation.key, revocation.keep] = revocation

        # In this order, which is the store's: a logout that failed half-way leaves the credential itself alive, and can
        # be asked for again.
        if scope != "local":
            keep = frozenset([*(each.login_key for each in verified), *members]) if scope == "others" else None
            for key in users:
                # Within the leeway an issuer's clock may be ahead of ours, and its old tokens with it.
                add(self.cut_off(key, before=now + self.leeway, keep=keep or frozenset(), reason=reason, now=now))
        if own:
            ending = [*members, *sessions] if bound or scope != "local" else []
            for record in self._ending(ending, reason, now):
                add(record)
            for identity in live:
                add(self.own(identity, reason=reason, now=now))
        foremost = next(iter([*lasting, *verified]), None)
        return Plan(
            tuple(found.values()),
            tokens=len({each.own_key for each in live}) if own else 0,
            sessions=len(sessions) if own and (bound or scope != "local") else 0,
            user=foremost.user_id if foremost else None,
            session=foremost.session_id if foremost else None,
            unavailable=unavailable,
        )

    def own(self, identity: Identity, *, reason: str, now: float) -> Revocation:
        """The revocation of exactly this credential."""
        # A session without an id is named by its content, which the next login may repeat: it needs a cut-off.
        repeats = identity.verified and identity.token_id is None and identity.session_id is None
        before = now if repeats and identity.issued_at is not None else FOREVER
        return Revocation(identity.own_key, before, self._until(identity, now), reason)

    def _until(self, identity: Identity, now: float) -> float:
        """When this credential is dead by itself. A claimed end is believed only up to the longest lifetime."""
        ceiling = now + self.max_lifetime
        if identity.verified:
            # A cookie session is named by its id, which copies signed later carry, too.
            end = identity.expires_at if identity.token_id is not None else max(identity.expires_at, ceiling)
            return forgettable_after(max(end, now) + self.leeway)
        return forgettable_after(max(min(identity.expires_at, ceiling), now) + self.leeway)

    def cut_off(
        self, key: bytes, *, before: float, keep: frozenset[bytes] = frozenset(), reason: str, now: float
    ) -> Revocation:
        """Everything under this key that was issued up to `before`, except what is in `keep`."""
        return Revocation(key, before, self.lasting(max(before, now)), reason, keep)

    def lasting(self, moment: float) -> float:
        """When nothing that was issued up to this moment can be alive any more."""
        return forgettable_after(moment + self.max_lifetime + self.leeway)


def worse(one: Outcome, other: Outcome) -> Outcome:
    """How far two steps of one logout got together."""
    return Outcome.PENDING if Outcome.PENDING in (one, other) else Outcome.DONE


def _without_servers(identities: Sequence[Identity]) -> Sequence[Identity]:
    """Without applications' own tokens where a user's credential is there: his logout does not touch those (SP-19)."""
    users = [each for each in identities if not each.is_client]
    return users if any(each.user_key is not None for each in users) else identities


def _sessions_of(identities: Sequence[Identity]) -> list[Identity]:
    return list({each.session_key: each for each in identities if each.session_key is not None}.values())
