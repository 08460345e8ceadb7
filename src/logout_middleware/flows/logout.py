"""Logging out: the one way by which every door revokes.

The API, the cookie and the redirect door, the Python calls and the command line all end in `Logouts.revoke`.
What to revoke is decided by pure functions; then the order is: store it durably, tell the listeners, answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import StoreError
from ..events import Events, LogoutEvent
from ..rules.identity import Identity
from ..rules.revocation import FOREVER, Revocation, forgettable_after, refusing
from ..stores import Outcome, PartlyKnown, Store

SCOPES = ("local", "others", "global")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked for a logout, for the audit record."""

    address: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What one logout revokes. `unavailable`: the scope needs a verified live user, and there is none.

    `outcome`: how far it got, once it was carried out.
    """

    revocations: tuple[Revocation, ...] = ()
    tokens: int = 0
    sessions: int = 0
    user: str | None = None
    session: str | None = None
    unavailable: bool = False
    outcome: Outcome = Outcome.DONE


@dataclass(slots=True)
class Logouts:
    """Revokes for one Logout object. `max_lifetime` and `leeway` are seconds."""

    store: Store
    events: Events
    clock: Callable[[], float]
    max_lifetime: float
    leeway: float = 0.0

    async def revoke(
        self, revocations: Sequence[Revocation], event: LogoutEvent, *, again: Sequence[Revocation] = ()
    ) -> Outcome:
        """Make these durable, then tell of it. StoreError if that could not be promised; that is told, too.

        `again`: what was found already, and may not be as durable as that yet.
        """
        keys = tuple(revocation.key.hex() for revocation in revocations)
        outcome = Outcome.DONE
        try:
            if revocations or again:
                outcome = await self.store.add([*again, *revocations])
        except StoreError as error:
            await self.events.emit(replace(event, kind="store_failed", outcome="failed", keys=keys, detail=str(error)))
            raise
        pending = outcome is Outcome.PENDING
        await self.events.emit(replace(event, keys=keys, outcome="pending" if pending else event.outcome))
        return outcome

    async def log_out(
        self,
        identities: Sequence[Identity],
        *,
        scope: str = "local",
        bound: bool = True,
        reason: str = "logout",
        caller: Caller | None = None,
        again: Sequence[Revocation] = (),
    ) -> Plan:
        """End what these credentials stand for. A dead credential changes nothing, however often it is presented.

        Returns once it is durable. `bound`: the session of each verified credential ends with it (REVOKE_BOUND).
        `again`: records by which others that were presented are dead. They are added once more, because to be found is
        not to be durable: one may be in the journal only, or wait for its replicas after an answer of 503.
        """
        caller = caller or Caller()
        now = self.clock()
        records = await self.known_of(identities)
        dead_by = [refusing(identity, records) for identity in identities]
        live = [identity for identity, found in zip(identities, dead_by, strict=True) if not found]
        again = [*again, *(record for found in dead_by for record in found)]
        plan = self.plan(live, scope=scope, bound=bound, reason=reason, now=now)
        event = LogoutEvent(
            kind="logout", outcome="done" if plan.revocations else "nothing", time=now, user=plan.user,
            session=plan.session, scope=scope, reason=reason, client_address=caller.address,
            user_agent=caller.user_agent,
        )  # fmt: skip
        outcome = await self.revoke(plan.revocations, event, again=again)
        if plan.unavailable:
            await self.events.emit(replace(event, kind="scope_refused", outcome="refused"))
        return replace(plan, outcome=outcome)

    async def confirm(self, records: Sequence[Revocation]) -> Outcome:
        """Add once more what was found: to be found is not to be durable, and a logout may be repeated for a 503."""
        return await self.store.add(records) if records else Outcome.DONE

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

    def plan(self, live: Sequence[Identity], *, scope: str, bound: bool, reason: str, now: float) -> Plan:
        """What to revoke for these live credentials. Only what is verified condemns more than itself."""
        found: dict[tuple[bytes, frozenset[bytes]], Revocation] = {}
        verified = [identity for identity in live if identity.verified]
        sessions = {each.session_key: each for each in verified if each.session_key is not None}
        # An expired token may still end its own session, but it must not reach what was created after its time.
        lasting = [each for each in verified if now < each.expires_at + self.leeway]
        users = {each.user_key: each for each in lasting if each.user_key is not None}
        # What is dead anyway (expired, or no key signed it) is a success whatever the scope (contract 2).
        may_live = any(each.fault is None and now < each.expires_at + self.leeway for each in live)
        unavailable = scope != "local" and may_live and not users
        own = not (scope == "others" and users)

        def add(revocation: Revocation) -> None:
            found[revocation.key, revocation.keep] = revocation

        # In this order, which is the store's: a logout that failed half-way leaves the credential itself alive, and can
        # be asked for again.
        if scope != "local":
            keep = frozenset(filter(None, (self.keep_key(each) for each in verified))) if scope == "others" else None
            for key in users:
                # Within the leeway an issuer's clock may be ahead of ours, and its old tokens with it.
                add(self.cut_off(key, before=now + self.leeway, keep=keep or frozenset(), reason=reason, now=now))
        if own:
            for key in sessions if bound or scope != "local" else ():
                add(Revocation(key, FOREVER, self.lasting(now), reason))
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

    @staticmethod
    def keep_key(identity: Identity) -> bytes:
        """The name under which "this session" survives a logout of the others."""
        return identity.session_key or identity.own_key
