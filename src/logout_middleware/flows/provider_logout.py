"""A provider ends what it began: logout tokens (Back-Channel Logout) and session ids (Front-Channel Logout).

What one issuer orders concerns only what it issued: all keys are made with its realm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import StoreError
from ..events import LogoutEvent
from ..rules.identity import IdentityPolicy
from ..rules.logout_token import LogoutToken
from ..rules.revocation import FOREVER, Revocation, forgettable_after, key_of, pair_key, session_key, user_key
from ..stores import Outcome, PartlyKnown
from .logout import Caller, Logouts, worse
from .sessions import REGISTERED, Sessions

BACKCHANNEL, FRONTCHANNEL = "backchannel", "frontchannel"


@dataclass(slots=True)
class ProviderLogouts:
    """Carries out what providers order, for one Logout object."""

    logouts: Logouts
    sessions: Sessions
    policy: IdentityPolicy

    async def carry_out(self, order: LogoutToken, caller: Caller) -> Outcome:
        """End what a genuine logout token names; returns once it is durable, and StoreError if it cannot be.

        Its `jti` is burnt when all of it is done, so a failed logout can be ordered again with the same token, and one
        that was done is only confirmed: it never reaches what began later.
        """
        now, realm = self.logouts.clock(), self.policy.realm(order.issuer)
        burnt = key_of("logout-jti", order.issuer, order.token_id)
        found, away = await self._found([burnt, *(each.key for each in self._records(order, now, ours=True))])
        if any(each.key == burnt for each in found):
            return await self.logouts.confirm(found)
        key, is_ours = session_key(order.session_id, realm) if order.session_id is not None else None, False
        try:
            is_ours = key is not None and await self._is_of(key, order, realm)
        except StoreError as error:
            away = error
        done = await self._end(order, key, now, ours=is_ours, caller=caller)
        if away is not None and done is Outcome.DONE:
            # The store is there after all, so nothing may be left out because it could not be asked.
            raise away
        ends = forgettable_after(order.expires_at + self.logouts.leeway)
        return worse(done, await self.logouts.store.add([Revocation(burnt, FOREVER, ends, "jti")]))

    async def _found(self, keys: Sequence[bytes]) -> tuple[Sequence[Revocation], StoreError | None]:
        """What is known of these, and why that may not be all: a journal takes orders while the store is away."""
        try:
            return await self.logouts.store.find(keys), None
        except PartlyKnown as error:
            return error.known, error
        except StoreError as error:
            return (), error

    async def _end(self, order: LogoutToken, key: bytes | None, now: float, *, ours: bool, caller: Caller) -> Outcome:
        event = LogoutEvent(
            kind="logout", outcome="done", time=now, user=order.user_id, session=order.session_id,
            scope="session" if key is not None else "user", reason=BACKCHANNEL, client_address=caller.address,
            user_agent=caller.user_agent,
        )  # fmt: skip
        records = self._records(order, now, ours=ours)
        told: dict[bytes, str | None] = {key: order.session_id} if key is not None and ours else {}
        if key is None:
            told = await self._sessions_of(order, self.policy.realm(order.issuer), records[0])
        # Where no registry says whose a session is, what is bound to it is taken for its user's.
        roots = [key] if key is not None and (ours or not self.sessions.enabled) else []
        return (await self.logouts.end(records, roots=roots, event=event, sessions=told)).outcome

    def _records(self, order: LogoutToken, now: float, *, ours: bool) -> list[Revocation]:
        """What the order revokes. The same order makes the same records."""
        realm, lasting = self.policy.realm(order.issuer), self.logouts.lasting(now)
        # Its iat is in whole seconds as a rule: what was issued in that second is older than the order, until now.
        before = min(order.issued_at + 1.0, now) + self.logouts.leeway
        records = []
        if order.session_id is None:
            return [Revocation(user_key(order.user_id or "", realm), before, lasting, BACKCHANNEL)]
        if ours:
            records.append(Revocation(session_key(order.session_id, realm), FOREVER, lasting, BACKCHANNEL))
        if order.user_id is not None:
            # A credential that says both must say the same both; one that says only one of them, that one.
            for user, sid, until in (
                (order.user_id, order.session_id, FOREVER),
                (None, order.session_id, FOREVER),
                (order.user_id, None, before),
            ):
                records.append(Revocation(pair_key(user, sid, realm), until, lasting, BACKCHANNEL))
        return records

    async def _is_of(self, key: bytes, order: LogoutToken, realm: str | None) -> bool:
        """Is this session the user's, as far as anybody knows? Without a user it is whosoever it is."""
        if order.user_id is None:
            return True
        facts = await self.logouts.store.facts([user_key(order.user_id, realm)])
        if any(fact.name == key and fact.text == REGISTERED for fact in facts):
            return True
        if await self.sessions.about([key]):
            why = "this session is of another user here; does the application keep the provider's sub in it?"
            await self.logouts.events.emit(LogoutEvent(
                "session_of_another", "nothing", self.logouts.clock(), user=order.user_id, session=order.session_id,
                reason=BACKCHANNEL, detail=why,
            ))  # fmt: skip
        return False

    async def _sessions_of(self, order: LogoutToken, realm: str | None, cut: Revocation) -> dict[bytes, str | None]:
        try:
            known = await self.sessions.of_user(cut.key, realm)
        except StoreError:
            return {}
        return {each.key: each.sid for each in known if each.created_at <= cut.before}

    async def end_session(self, issuer: str, session_id: str, caller: Caller) -> bytes:
        """End a session by its id alone, as a front-channel logout names it: whoever knows the id may. Its key."""
        key = session_key(session_id, self.policy.realm(issuer))
        await self.logouts.end_sessions({key: session_id}, reason=FRONTCHANNEL, caller=caller)
        return key

    async def is_known(self, issuer: str, session_id: str) -> bool:
        """Was this session ever seen here, as far as anybody knows now?"""
        try:
            return bool(await self.sessions.about([session_key(session_id, self.policy.realm(issuer))]))
        except StoreError:
            return False
