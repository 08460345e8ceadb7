"""`Logout` and `BlockingLogout`: what application code calls, and what the middleware is made of.

The constructor builds every part from the settings, once. The methods are written once, as coroutines; the
blocking class runs the same coroutines to their end.
"""

from __future__ import annotations

import functools
import logging
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlencode

from .colour import Threaded, call_here, call_in_thread, run_blocking
from .endpoints.limits import Limiter
from .endpoints.links import Links
from .endpoints.service import Service
from .errors import ConfigurationError, Refused
from .events import Callback, Events, LogoutEvent
from .flows.guard import Guard
from .flows.identify import Identifier, KeySource
from .flows.logout import Logouts
from .flows.stable_session import StableSessions
from .keys import JwksKeys, StaticKeys
from .rules.credentials import Credential
from .rules.identity import Identity, IdentityPolicy
from .rules.jose import JwtPolicy
from .rules.revocation import (
    FOREVER,
    Revocation,
    Verdict,
    client_key,
    everyone_key,
    is_revoked,
    session_key,
    user_key,
)
from .settings import LogoutSettings
from .stores import Store

_log = logging.getLogger("logout_middleware")

Clock = Callable[[], float]
Moment = float | datetime


def open_store(settings: LogoutSettings, clock: Clock = time.time) -> Store:
    """The store that LOGOUT_STORE names. ConfigurationError if it cannot be used."""
    if settings.store == "memory://":
        from .stores.memory import MemoryStore

        return MemoryStore(clock)
    from .stores.sqlite import SqliteStore

    return SqliteStore(settings.store.removeprefix("sqlite:///"), prefix=settings.key_prefix, clock=clock)


class _NoKeys:
    """Where nothing is configured to verify with."""

    async def find(self, text: str) -> tuple[Any, ...]:
        return ()


@dataclass(slots=True)
class _Warnings:
    """Warnings to the operator, each topic once."""

    said: set[str] = field(default_factory=set)

    def __call__(self, topic: str, text: str) -> None:
        if topic not in self.said:
            self.said.add(topic)
            _log.warning(text)


class Logout:
    """Revokes, asks and explains; one for each set of settings and process.

    `settings`: a LogoutSettings; without it the environment and keywords decide. `store`: an object with the
    promises of `stores.Store` instead of the one that LOGOUT_STORE names; who made it closes it.
    """

    def __init__(
        self, settings: LogoutSettings | None = None, *, store: Store | str | None = None, clock: Clock = time.time,
        blocking: bool = False, **given: Any,
    ) -> None:  # fmt: skip
        if isinstance(store, str):
            given["store"], store = store, None
        if settings is not None and given:
            raise ConfigurationError("E006 settings: give a LogoutSettings or keywords, not both")
        self.settings = settings = settings or LogoutSettings.load(**given)
        self._owns_store = store is None
        self._clock = clock
        opened = store or open_store(settings, clock)
        self.raw_store = opened
        self.blocking = blocking
        self.store: Store = Threaded(opened) if opened.writes_block and not blocking else opened
        self.advise = _Warnings()
        policy = _identity_policy(settings)
        keys = _keys(settings, blocking=blocking)
        self.events = Events(settings.audit)
        self.identifier = Identifier(policy, keys, settings.cookies)
        self.guard = Guard(
            self.store, self.identifier, self.events, clock,
            fail_open=settings.fail_mode == "open", observe=settings.mode == "observe",
            reject_cookies=settings.revoked_cookie == "reject", leeway=settings.jwt_leeway,
        )  # fmt: skip
        if isinstance(keys, JwksKeys):
            keys.on_change = self._forget_identities
        self.logouts = Logouts(self.store, self.events, clock, settings.max_lifetime, settings.jwt_leeway)
        self.links = Links(settings.secret, clock)
        self.sessions = StableSessions(policy, settings.cookies, clock, lambda: secrets.token_urlsafe(16))
        self.service = Service(
            settings, self.store, self.identifier, self.logouts, self.events, clock,
            Limiter(self.store, settings.rate_limit, clock), self.links, self.advise,
        )  # fmt: skip
        self._advise()

    def _forget_identities(self) -> None:
        self.guard.bearers.forget_all()
        self.guard.cookies.forget_all()

    def _advise(self) -> None:
        """Say at start what an operator would want to know before the first logout."""
        settings = self.settings
        if not self.raw_store.durable and not settings.allow_unsafe_store:
            self.advise(
                "forgetful-store",
                "this store forgets every logout when the process ends; use LOGOUT_STORE=sqlite:///logout.db, "
                "or LOGOUT_ALLOW_UNSAFE_STORE=true if that is wanted",
            )
        signed = [each.name for each in settings.cookies if each.format in ("flask", "starlette", "django")]
        if signed and not settings.cookie_secret:
            self.advise(
                "no-cookie-secret",
                f"LOGOUT_COOKIES guards {', '.join(signed)}, but LOGOUT_COOKIE_SECRET is not set: a copy that the "
                "application signed at another time is not known to be the same session, and no user can be logged out",
            )
        if settings.jwt_key and any(len(key) < 32 and "-----BEGIN" not in key for key in settings.jwt_key):
            self.advise(
                "short-key", "a secret in LOGOUT_JWT_KEY is shorter than 32 bytes and can be guessed (RFC 7518 3.2)"
            )

    # ---- revoke --------------------------------------------------------------------------------------

    async def revoke_token(self, token: str, *, token_type_hint: str | None = None, reason: str | None = None) -> bool:
        """True once the token, and by default its session, is dead everywhere (RFC 7009 2).

        A dead, expired or unreadable token is True, too. `token_type_hint` is accepted and not needed.
        """
        identity = await self._identity(token)
        if identity is not None:
            await self.logouts.log_out([identity], bound=self.settings.revoke_bound, reason=reason or "revoke_token")
        return True

    async def revoke_session(self, sid: str, *, issuer: str | None = None, reason: str | None = None) -> None:
        """End one session: every token and cookie that carries this session id."""
        realm = self.identifier.policy.realm(issuer)
        until = self._clock() + self.settings.max_lifetime + self.settings.jwt_leeway
        record = Revocation(session_key(_name("sid", sid), realm), FOREVER, until, reason or "revoke_session")
        await self._revoke([record], scope="session", session=sid, reason=reason or "revoke_session")

    async def revoke_user(
        self, sub: str, *, issuer: str | None = None, before: Moment | None = None,
        keep: str | Collection[str] | None = None, reason: str | None = None,
    ) -> None:  # fmt: skip
        """End everything of a user that was issued up to `before` (default: now), except the sessions `keep`."""
        realm = self.identifier.policy.realm(issuer)
        kept = [keep] if isinstance(keep, str) else list(keep or ())
        names = frozenset(session_key(_name("keep", sid), realm) for sid in kept)
        key = user_key(_name("sub", sub), realm)
        await self._cut_off(key, before, names, scope="user", user=str(sub), reason=reason or "revoke_user")

    async def revoke_other_sessions(self, sub: str, *, keep: str, issuer: str | None = None) -> None:
        """End all sessions of a user but one."""
        await self.revoke_user(sub, issuer=issuer, keep=keep, reason="revoke_other_sessions")

    async def revoke_client(self, client_id: str, *, issuer: str | None = None, reason: str | None = None) -> None:
        """End everything that was issued to one application."""
        key = client_key(_name("client_id", client_id), self.identifier.policy.realm(issuer))
        await self._cut_off(key, None, frozenset(), scope="client", reason=reason or "revoke_client")

    async def revoke_everyone(
        self, before: Moment | None = None, *, issuer: str | None = None, reason: str | None = None
    ) -> None:
        """End everything that was issued up to `before` (default: now); for the day a signing key leaks."""
        key = everyone_key(self.identifier.policy.realm(issuer))
        await self._cut_off(key, before, frozenset(), scope="everyone", reason=reason or "revoke_everyone")

    async def _cut_off(
        self, key: bytes, before: Moment | None, keep: frozenset[bytes], *, scope: str, reason: str,
        user: str | None = None,
    ) -> None:  # fmt: skip
        now = self._clock()
        moment = before.timestamp() if isinstance(before, datetime) else before
        cut = self.logouts.cut_off(key, before=now if moment is None else moment, keep=keep, reason=reason, now=now)
        await self._revoke([cut], scope=scope, user=user, reason=reason)

    async def _revoke(self, records: list[Revocation], **told: Any) -> None:
        await self.logouts.revoke(records, LogoutEvent(kind="logout", outcome="done", time=self._clock(), **told))

    # ---- ask -----------------------------------------------------------------------------------------

    async def introspect_token(self, token: str) -> dict[str, Any]:
        """RFC 7662 2.2: `{"active": true, …}` for a verified live token, else exactly `{"active": false}`.

        ConfigurationError where no key is configured: what cannot be verified cannot be called active.
        """
        if not self.identifier.policy.trusted:
            raise ConfigurationError("E401 introspect_token: needs LOGOUT_JWT_KEY or LOGOUT_JWKS_URL to verify tokens")
        verdict = await self.explain(token)
        identity = verdict.identity
        if identity is None or not identity.verified or verdict.refusal is not None:
            return {"active": False}
        members = {
            "active": True, "sub": identity.user_id, "sid": identity.session_id, "client_id": identity.client_id,
            "jti": identity.token_id, "iss": identity.issuer or self.settings.jwt_issuer,
            "iat": _whole(identity.issued_at), "exp": _whole(identity.expires_at),
        }  # fmt: skip
        return {name: value for name, value in members.items() if value is not None}

    async def is_revoked(self, token: str) -> bool:
        """Does any revocation refuse this token? Not knowing is StoreError, never False."""
        return (await self.explain(token)).revocation is not None

    async def explain(self, token: str) -> Verdict:
        """What the guard says of this token, and which record says so."""
        _text(token)
        presented = await self.identifier.token(Credential("bearer", "", token))
        identity = presented.identity
        if identity is None:
            return Verdict(None, None, getattr(presented.credential, "why", "it cannot be read"))
        record = is_revoked(identity, await self.store.find(identity.keys))
        if record is not None:
            return Verdict(identity, record, f"revoked ({record.reason})")
        now = self._clock()
        if identity.fault is not None:
            return Verdict(identity, None, identity.fault)
        if identity.verified and now >= identity.expires_at + self.settings.jwt_leeway:
            return Verdict(identity, None, "it expired")
        if identity.verified and now < identity.not_before - self.settings.jwt_leeway:
            return Verdict(identity, None, "it is not valid yet")
        return Verdict(identity)

    async def _identity(self, token: str) -> Identity | None:
        _text(token)
        return (await self.identifier.token(Credential("body", "token", token))).identity

    # The names that GenAuth's SDK gives them (GA-11).
    revokeToken = revoke_token  # noqa: N815
    introspectToken = introspect_token  # noqa: N815

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
        key = self.logouts.keep_key(identity) if identity is not None else session_key(_name("sid", sid or ""))
        query = {"redirect_uri": redirect_uri, "state": state, "intent": self.links.make(key, redirect_uri)}
        path = f"{self.settings.prefix}/logout?{urlencode({k: v for k, v in query.items() if v is not None})}"
        return (self.settings.public_url or "") + path

    def on_event(self, callback: Callback) -> Callback:
        """Call this with every LogoutEvent; usable as a decorator. What it raises is logged, never passed on."""
        self.events.subscribe(callback)
        return callback

    async def check(self) -> dict[str, str]:
        """What the store is and how durable, asked from it for real; StoreError if it is away."""
        return await self.store.check()

    async def purge(self, at_most: int = 500) -> int:
        """Forget up to so many records of what ended long ago; returns how many, 0 when there are no more.

        Happens by itself, a little with each logout.
        """
        return await self.store.purge(at_most)

    async def close(self) -> None:
        """Give back the store's files and connections, if this object opened them."""
        _shared.discard(self)
        if self._owns_store:
            await self.store.close()


P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[Logout, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingLogout, P], T]:
    def run(self: BlockingLogout, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run_blocking(method(self.inner, *args, **kwargs))

    return functools.update_wrapper(run, method)


class BlockingLogout:
    """`Logout` for code without an event loop: the same methods, done when they return."""

    def __init__(self, settings: LogoutSettings | None = None, **given: Any) -> None:
        self.inner = Logout(settings, blocking=True, **given)
        self.settings = self.inner.settings
        self.logout_url = self.inner.logout_url
        self.on_event = self.inner.on_event

    revoke_token = _blocking(Logout.revoke_token)
    revoke_session = _blocking(Logout.revoke_session)
    revoke_user = _blocking(Logout.revoke_user)
    revoke_other_sessions = _blocking(Logout.revoke_other_sessions)
    revoke_client = _blocking(Logout.revoke_client)
    revoke_everyone = _blocking(Logout.revoke_everyone)
    introspect_token = _blocking(Logout.introspect_token)
    is_revoked = _blocking(Logout.is_revoked)
    explain = _blocking(Logout.explain)
    check = _blocking(Logout.check)
    purge = _blocking(Logout.purge)
    close = _blocking(Logout.close)
    # The names that GenAuth's SDK gives them (GA-11).
    revokeToken = revoke_token  # noqa: N815
    introspectToken = introspect_token  # noqa: N815


_shared: weakref.WeakSet[Logout] = weakref.WeakSet()
_sharing = threading.Lock()


def shared(settings: LogoutSettings, *, blocking: bool) -> Logout:
    """The Logout of these settings in this process: two middlewares of one application are one (contract 6)."""
    with _sharing:
        for existing in _shared:
            if existing.settings == settings and existing.blocking == blocking:
                return existing
        made = Logout(settings, blocking=blocking)
        _shared.add(made)
        return made


def for_middleware(
    logout: Logout | BlockingLogout | None, settings: LogoutSettings | None, *, blocking: bool, given: dict[str, Any]
) -> Logout:
    """The Logout that a middleware or mounted endpoints work with, from whatever of the three it was given."""
    if logout is None:
        if settings is not None and given:
            raise ConfigurationError("E006 settings: give settings= or keywords, not both")
        return shared(settings or LogoutSettings.load(**given), blocking=blocking)
    if settings is not None or given:
        raise ConfigurationError("E006 settings: the Logout that is given has its settings already; give it alone")
    inner = logout.inner if isinstance(logout, BlockingLogout) else logout
    if inner.blocking != blocking:
        wanted, side = ("BlockingLogout", "WSGI") if blocking else ("Logout", "ASGI")
        raise ConfigurationError(f"E007 logout: {side} needs a {wanted}; give one, or its settings")
    return inner


def _identity_policy(settings: LogoutSettings) -> IdentityPolicy:
    return IdentityPolicy(
        jwt=JwtPolicy(settings.jwt_algorithms, settings.jwt_issuer, settings.jwt_audience),
        trusted=bool(settings.jwt_key) or settings.jwks_url is not None,
        user_claims=settings.user_claim,
        session_claims=settings.session_claim,
        cookie_secrets=settings.cookie_secret,
        max_lifetime=settings.max_lifetime,
    )


def _keys(settings: LogoutSettings, *, blocking: bool) -> KeySource:
    if settings.jwt_key:
        return StaticKeys(settings.jwt_key, settings.jwt_algorithms)
    if settings.jwks_url is not None:
        return JwksKeys(settings.jwks_url, call=call_here if blocking else call_in_thread)
    return _NoKeys()


def _text(token: object) -> None:
    if not isinstance(token, str) or not token:
        raise Refused(400, "invalid_request", "token must be a text that is not empty")


def _name(parameter: str, value: object) -> str:
    """User and session ids compare as text (contract 2, Realm)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise TypeError(f"{parameter} must be a text that is not empty")
    return value


def _whole(seconds: float | None) -> int | None:
    return int(seconds) if seconds is not None and abs(seconds) < FOREVER else None
