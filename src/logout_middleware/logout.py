"""`Logout` and `BlockingLogout`: what application code calls.

The methods are written once, as coroutines; the blocking class runs the same coroutines to their end.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlencode

from .colour import blocking, fitting
from .endpoints import routes
from .endpoints.metadata import configuration
from .errors import ConfigurationError
from .events import Callback, LogoutEvent
from .flows.introspection import explain, introspect
from .flows.orders import Moment, named
from .flows.sessions import Session
from .opening import open_store
from .parts import Parts
from .rules.credentials import required_token
from .rules.identity import Identity
from .rules.revocation import Verdict, everyone_key, session_key, user_key
from .settings import LogoutSettings


class Logout(Parts):
    """Revokes, asks and explains, under an event loop.

    Takes a LogoutSettings, or settings as keywords, or reads the environment; see `Parts` for the rest.
    """

    # ---- revoke --------------------------------------------------------------------------------------

    async def revoke_token(self, token: str, *, token_type_hint: str | None = None, reason: str | None = None) -> bool:
        """True once the token, and by default its session, is dead everywhere (RFC 7009 2).

        A dead, expired or unreadable token is True, too. `token_type_hint` is accepted and not needed.
        `reason="refresh"`: a token that its refresh replaced; its session and what is open by it go on.
        """
        await self.orders.end_token(required_token(token), reason=reason)
        return True

    async def revoke_session(self, sid: str, *, issuer: str | None = None, reason: str | None = None) -> None:
        """End one session: every token and cookie that carries this session id, and what is bound to them."""
        await self.orders.end_session(sid, issuer=issuer, reason=reason)

    async def revoke_user(
        self, sub: str, *, issuer: str | None = None, before: Moment | None = None,
        keep: str | Collection[str] | None = None, reason: str | None = None,
    ) -> None:  # fmt: skip
        """End everything of a user that was issued up to `before` (default: now), except the sessions `keep`."""
        await self.orders.end_user(sub, issuer=issuer, before=before, keep=keep, reason=reason)

    async def revoke_other_sessions(self, sub: str, *, keep: str, issuer: str | None = None) -> None:
        """End all sessions of a user but one."""
        await self.revoke_user(sub, issuer=issuer, keep=keep, reason="revoke_other_sessions")

    async def revoke_client(self, client_id: str, *, issuer: str | None = None, reason: str | None = None) -> None:
        """End everything that was issued to one application."""
        await self.orders.end_client(client_id, issuer=issuer, reason=reason)

    async def revoke_everyone(
        self, before: Moment | None = None, *, issuer: str | None = None, reason: str | None = None
    ) -> None:
        """End everything that was issued up to `before` (default: now); for the day a signing key leaks."""
        await self.orders.end_everyone(before, issuer=issuer, reason=reason)

    # ---- ask -----------------------------------------------------------------------------------------

    async def introspect_token(self, token: str) -> dict[str, Any]:
        """RFC 7662 2.2: `{"active": true, …}` for a verified live token, else exactly `{"active": false}`.

        ConfigurationError where no key is configured: what cannot be verified cannot be called active.
        """
        if not self.identifier.policy.verifies_tokens:
            raise ConfigurationError("E401 introspect_token: needs LOGOUT_JWT_KEY or LOGOUT_JWKS_URL to verify tokens")
        return await introspect(self.identifier, self.logouts, required_token(token))

    async def is_revoked(self, token: str) -> bool:
        """Does any revocation refuse this token? Not knowing is StoreError, never False."""
        return (await self.explain(token)).revocation is not None

    async def explain(self, token: str) -> Verdict:
        """What the guard says of this token, and which record says so."""
        return await explain(self.identifier, self.logouts, required_token(token))

    # The names that GenAuth's SDK gives them (GA-11).
    revokeToken = revoke_token  # noqa: N815
    introspectToken = introspect_token  # noqa: N815

    # ---- logins --------------------------------------------------------------------------------------

    async def mark_login(self, token: str | None = None, *, sid: str | None = None, issuer: str | None = None) -> None:
        """Say that this token, or everything with this session id, was issued just now, by a new login.

        A cut-off of the same second ("log out everywhere") then does not refuse it, although its `iat` says only the
        second. The middleware does this by itself for the logins whose answers it sees (cookies of a known secret,
        TOKEN_RESPONSES). Never call it for what was issued before.
        """
        if (token is None) == (sid is None):
            raise TypeError("give either a token or a session id")
        now = self.clock()
        if sid is not None:
            subject = session_key(named("sid", sid), self.identifier.policy.realm(issuer))
        else:
            identity = await self.orders.identity(token or "")
            if identity is None or not identity.verified:
                return  # Nothing but its own revocation refuses it.
            subject = identity.own_key
        await self.logouts.marks.mark([subject], now, now=now)

    async def list_sessions(self, sub: str, *, issuer: str | None = None) -> list[Session]:
        """The live sessions of a user, the one seen last first; none for a user of whom nothing is known.

        Registered is what was seen with a verified credential that names a user and a session. StoreError: not knowing
        is not "none".
        """
        realm = self.identifier.policy.realm(issuer)
        return await self.registry.of_user(user_key(named("sub", sub), realm), realm)

    # ---- the rest ------------------------------------------------------------------------------------

    def logout_url(
        self, identity: Identity | None = None, *, sid: str | None = None, redirect_uri: str | None = None,
        state: str | None = None,
    ) -> str:  # fmt: skip
        """An address that logs this session out without asking, good for ten minutes and this session only.

        Give the identity that the guard handed to the application, or a session id. Needs LOGOUT_SECRET. It is a
        path, or absolute with LOGOUT_PUBLIC_URL.
        """
        if not self.links.usable:
            raise ConfigurationError("E402 logout_url: set LOGOUT_SECRET, which signs the address")
        if (identity is None) == (sid is None):
            raise TypeError("give either the identity of the request or a session id")
        key = identity.login_key if identity is not None else session_key(named("sid", sid or ""))
        query = {"redirect_uri": redirect_uri, "state": state, "intent": self.links.make(key, redirect_uri)}
        path = f"{self.settings.prefix}/logout?{urlencode({k: v for k, v in query.items() if v is not None})}"
        return (self.settings.public_url or "") + path

    def metadata(self) -> dict[str, Any]:
        """Which endpoints the middleware serves, and where, as `/.well-known/logout-configuration` tells it."""
        return configuration(self.settings, routes(self.service, self.settings.prefix), self.settings.prefix)

    def on_event(self, callback: Callback) -> Callback:
        """Call this with every LogoutEvent; usable as a decorator. What it raises is logged, never passed on."""
        self.events.subscribe(callback)
        return callback

    async def check(self) -> dict[str, str]:
        """What the store is and how durable, asked from it for real; StoreError if it is away."""
        return await self.store.check()

    async def adopt_store(self, *, keep_logins: bool = False) -> None:
        """Accept a store that has forgotten, in every process. An operator's decision.

        Nobody knows any more who had logged out, so everybody is logged out, unless `keep_logins`.
        """
        # A store object of its own: it remembers nothing, so nothing contradicts what it finds.
        opened = open_store(self.settings, self.clock, blocking=self.blocking, adopting=True)
        store = fitting(opened, blocking=self.blocking)
        try:
            now = self.clock()
            if not keep_logins:
                cut = self.logouts.cut_off(
                    everyone_key(None), before=now + self.settings.jwt_leeway, reason="adopt_store", now=now
                )
                await store.add([cut])
            await store.adopt()
        finally:
            await store.close()
        if self.settings.journal is not None:
            await self.store.adopt()  # the journal's file, too
        await self.events.emit(LogoutEvent("store_adopted", "done", now, reason="adopt_store"))

    async def purge(self, at_most: int = 500) -> int:
        """Forget up to so many records of what ended long ago; returns how many, 0 when there are no more.

        Happens by itself, a little with each logout.
        """
        return await self.store.purge(at_most)


class BlockingLogout:
    """`Logout` for code without an event loop: the same methods, done when they return."""

    def __init__(self, settings: LogoutSettings | None = None, **given: Any) -> None:
        self.inner = Logout(settings, blocking=True, **given)
        self.settings = self.inner.settings
        self.logout_url = self.inner.logout_url
        self.on_event = self.inner.on_event
        self.metadata = self.inner.metadata

    revoke_token = blocking(Logout.revoke_token)
    revoke_session = blocking(Logout.revoke_session)
    revoke_user = blocking(Logout.revoke_user)
    revoke_other_sessions = blocking(Logout.revoke_other_sessions)
    revoke_client = blocking(Logout.revoke_client)
    revoke_everyone = blocking(Logout.revoke_everyone)
    mark_login = blocking(Logout.mark_login)
    introspect_token = blocking(Logout.introspect_token)
    is_revoked = blocking(Logout.is_revoked)
    explain = blocking(Logout.explain)
    list_sessions = blocking(Logout.list_sessions)
    check = blocking(Logout.check)
    adopt_store = blocking(Logout.adopt_store)
    purge = blocking(Logout.purge)
    close = blocking(Logout.close)
    # The names that GenAuth's SDK gives them (GA-11).
    revokeToken = revoke_token  # noqa: N815
    introspectToken = introspect_token  # noqa: N815
