"""What an operator or the application orders to be ended, by name: a token, a session, a user, a client, everyone.

The Python calls and the admin endpoint give the same orders. Each ends in `Logouts`, as every logout does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from ..errors import StoreError
from ..events import LogoutEvent
from ..rules.credentials import Credential
from ..rules.identity import Identity
from ..rules.revocation import client_key, everyone_key, session_key, user_key
from .identify import Identifier
from .live import REFRESHED
from .logout import Caller, Logouts, Plan
from .sessions import Sessions

Moment = float | datetime


@dataclass(frozen=True, slots=True)
class Orders:
    """Gives the orders of one Logout object. Each returns once it is durable, and how far it got."""

    logouts: Logouts
    identifier: Identifier
    registry: Sessions

    async def identity(self, token: str) -> Identity | None:
        """Whom a token names, whatever its type; None if it cannot be read."""
        return (await self.identifier.token(Credential("body", "token", token))).identity

    async def end_token(self, token: str, *, reason: str | None = None, caller: Caller | None = None) -> Plan:
        """End a token, and by default its session. `reason="refresh"`: a token that its refresh replaced."""
        identity = await self.identity(token)
        if identity is None:
            return Plan()
        reason = told(reason, "revoke_token")
        bound = self.logouts.bind and reason != REFRESHED
        # Who orders this is the application, or an operator: he need not prove that it was made for us.
        identity = replace(identity, addressed=True)
        return await self.logouts.log_out([identity], bound=bound, reason=reason, caller=caller)

    async def end_session(
        self, sid: str, *, issuer: str | None = None, reason: str | None = None, caller: Caller | None = None
    ) -> Plan:
        """End every token and cookie that carries this session id, and what is bound to them."""
        key = session_key(named("sid", sid), self._realm(issuer))
        return await self.logouts.end_sessions({key: str(sid)}, reason=told(reason, "revoke_session"), caller=caller)

    async def end_user(
        self, sub: str, *, issuer: str | None = None, before: Moment | None = None,
        keep: str | Collection[str] | None = None, reason: str | None = None, caller: Caller | None = None,
    ) -> Plan:  # fmt: skip
        """End everything of a user that was issued up to `before` (default: now), except the sessions `keep`."""
        realm = self._realm(issuer)
        kept = [keep] if isinstance(keep, str) else list(keep or ())
        names = [session_key(named("keep", sid), realm) for sid in kept]
        names += await self.logouts.bindings.members(names, self.logouts.clock())
        key = user_key(named("sub", sub), realm)
        event = self._event("user", told(reason, "revoke_user"), caller, user=str(sub))
        return await self._cut_off(key, before, event, keep=frozenset(names), issuer=realm)

    async def end_client(
        self, client_id: str, *, issuer: str | None = None, reason: str | None = None, caller: Caller | None = None
    ) -> Plan:
        """End everything that was issued to one application."""
        key = client_key(named("client_id", client_id), self._realm(issuer))
        return await self._cut_off(key, None, self._event("client", told(reason, "revoke_client"), caller))

    async def end_everyone(
        self, before: Moment | None = None, *, issuer: str | None = None, reason: str | None = None,
        caller: Caller | None = None,
    ) -> Plan:  # fmt: skip
        """End everything that was issued up to `before` (default: now)."""
        key = everyone_key(self._realm(issuer))
        return await self._cut_off(key, before, self._event("everyone", told(reason, "revoke_everyone"), caller))

    def _realm(self, issuer: str | None) -> str | None:
        return self.identifier.policy.realm(issuer)

    def _event(self, scope: str, reason: str, caller: Caller | None, *, user: str | None = None) -> LogoutEvent:
        caller = caller or Caller()
        return LogoutEvent(
            kind="logout", outcome="done", time=self.logouts.clock(), scope=scope, user=user, reason=reason,
            client_address=caller.address, user_agent=caller.user_agent,
        )  # fmt: skip

    async def _cut_off(
        self, key: bytes, before: Moment | None, event: LogoutEvent, *, keep: frozenset[bytes] = frozenset(),
        issuer: str | None = None,
    ) -> Plan:  # fmt: skip
        now = event.time
        moment = before.timestamp() if isinstance(before, datetime) else before
        cut = self.logouts.cut_off(
            key, before=now + self.logouts.leeway if moment is None else moment, keep=keep, reason=event.reason or "",
            now=now,
        )  # fmt: skip
        sessions: dict[bytes, str | None] = {}
        if event.user is not None:
            with contextlib.suppress(StoreError):
                known = await self.registry.of_user(key, issuer)
                sessions = {
                    each.key: each.sid for each in known if each.key not in keep and each.last_seen <= cut.before
                }
        done = await self.logouts.revoke([cut], event)
        await self.logouts.tell_ends(sessions, event)
        return done


def told(reason: str | None, usual: str) -> str:
    """The reason that a caller gives, without what marks words of our own in records; without one, the usual."""
    return (reason or "").lstrip("!") or usual


def named(parameter: str, value: object) -> str:
    """User and session ids compare as text (contract 2, Realm)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise TypeError(f"{parameter} must be a text that is not empty")
    return value
