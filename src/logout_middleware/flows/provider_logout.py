"""A provider ends what it began: logout tokens (Back-Channel Logout) and session ids (Front-Channel Logout).

What one issuer orders concerns only what it issued: all keys are made with its realm.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import StoreError
from ..events import LogoutEvent
from ..rules.identity import IdentityPolicy
from ..rules.logout_token import LogoutToken
from ..rules.revocation import FOREVER, Revocation, forgettable_after, key_of, pair_key, session_key, user_key
from ..stores import Outcome
from .logout import Caller, Logouts
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

        Its `jti` is burnt in the same step, so a failed logout can be ordered again with the same token, and one that
        was done is only confirmed: it never reaches what began later.
        """
        now = self.logouts.clock()
        burnt = key_of("logout-jti", order.issuer, order.token_id)
        if await self.logouts.store.find([burnt]):
            keys = [each.key for each in self._records(order, burnt, now, ours=True)]
            return await self.logouts.confirm(await self.logouts.store.find(keys))
        realm = self.policy.realm(order.issuer)
        key = session_key(order.session_id, realm) if order.session_id is not None else None
        is_ours = key is not None and await self._is_of(key, order, realm)
        event = LogoutEvent(
            kind="logout", outcome="done", time=now, user=order.user_id, session=order.session_id,
            scope="session" if key is not None else "user", reason=BACKCHANNEL, client_address=caller.address,
            user_agent=caller.user_agent,
        )  # fmt: skip
        records = self._records(order, burnt, now, ours=is_ours)
        told: dict[bytes, str | None] = {key: order.session_id} if key is not None and is_ours else {}
        if key is None:
            told = await self._sessions_of(order, realm, records[0])
        # Where no registry says whose a session is, what is bound to it is taken for its user's.
        roots = [key] if key is not None and (is_ours or not self.sessions.enabled) else []
        done = await self.logouts.end(records, roots=roots, event=event, sessions=told)
        return done.outcome

    def _records(self, order: LogoutToken, burnt: bytes, now: float, *, ours: bool) -> list[Revocation]:
        """What the order revokes, the mark of its `jti` last. The same order makes the same records."""
        realm, lasting = self.policy.realm(order.issuer), self.logouts.lasting(now)
        # Its iat is in whole seconds as a rule: what was issued in that second is older than the order, until now.
        before = min(order.issued_at + 1.0, now) + self.logouts.leeway
        records = []
        if order.session_id is None:
            records.append(Revocation(user_key(order.user_id or "", realm), before, lasting, BACKCHANNEL))
        else:
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
        records.append(Revocation(burnt, FOREVER, forgettable_after(order.expires_at + self.logouts.leeway), "jti"))
        return records

    async def _is_of(self, key: bytes, order: LogoutToken, realm: str | None) -> bool:
        """Is this session the user's, as far as anybody knows? Without a user it is whosoever it is."""
        if order.user_id is None:
            return True
        facts = await self.logouts.store.facts([user_key(order.user_id, realm)])
        return any(fact.name == key and fact.text == REGISTERED for fact in facts)

    async def _sessions_of(self, order: LogoutToken, realm: str | None, cut: Revocation) -> dict[bytes, str | None]:
        try:
            known = await self.sessions.of_user(cut.key, realm)
        except StoreError:
            return {}
        return {each.key: each.sid for each in known if each.created_at <= cut.before}

    async def end_session(self, issuer: str, session_id: str, caller: Caller) -> Outcome:
        """End a session by its id alone, as a front-channel logout names it: whoever knows the id may."""
        key = session_key(session_id, self.policy.realm(issuer))
        done = await self.logouts.end_sessions({key: session_id}, reason=FRONTCHANNEL, caller=caller)
        return done.outcome

    async def is_known(self, issuer: str, session_id: str) -> bool:
        """Was this session ever seen here?"""
        return bool(await self.sessions.about([session_key(session_id, self.policy.realm(issuer))]))
