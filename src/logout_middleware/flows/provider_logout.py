"""A provider ends what it began: logout tokens (Back-Channel Logout) and session ids (Front-Channel Logout).

What one issuer orders concerns only what it issued: all keys are made with its realm.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import StoreError
from ..rules.identity import IdentityPolicy
from ..rules.logout_token import LogoutToken
from ..rules.revocation import session_key
from ..stores import Outcome
from .logout import Caller, Logouts
from .pushed import Message, Target, end, known
from .sessions import Sessions

BACKCHANNEL, FRONTCHANNEL = "backchannel", "frontchannel"


@dataclass(slots=True)
class ProviderLogouts:
    """Carries out what providers order, for one Logout object."""

    logouts: Logouts
    sessions: Sessions
    policy: IdentityPolicy

    async def carry_out(self, order: LogoutToken, caller: Caller) -> Outcome:
        """End what a genuine logout token names; returns once it is durable, and StoreError if it cannot be.

        Its `jti` is burnt with all of it, and not before: a failed logout can be ordered again with the same token, and
        one that was done is only confirmed, so it never reaches what began later.
        """
        message = Message("logout-jti", order.issuer, order.token_id, BACKCHANNEL, ends=order.expires_at)
        target = Target(self.policy.realm(order.issuer), order.user_id, order.session_id)
        found = await known(self.logouts, message, target)
        if found:
            return await self.logouts.confirm(found)
        # Its iat is in whole seconds as a rule: what was issued in that second is older than the order, until now.
        before = min(order.issued_at + 1.0, self.logouts.clock()) + self.logouts.leeway
        return await end(self.logouts, target, message, before=before, caller=caller)

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
