"""What one set of settings is made of: every part is built here, once, and handed to whoever works with it."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .chores import Chores
from .colour import fitting, pause_in_loop, wait_here, wait_in_loop
from .endpoints.limits import Limiter
from .endpoints.links import Links
from .endpoints.service import Service
from .errors import ConfigurationError
from .events import Events
from .flows.answers import Answers
from .flows.guard import Guard
from .flows.identify import Identifier, KeySource
from .flows.learned_cookies import LearnedCookies
from .flows.live import Live
from .flows.logout import Logouts
from .flows.orders import Orders
from .flows.provider_logout import ProviderLogouts
from .flows.sessions import Sessions
from .flows.stable_session import StableSessions
from .issuers import Issuer
from .keys import StaticKeys
from .opening import Clock, Stack, look_at, open_stack
from .polling import Poller
from .providers import FRESH_SECONDS, KeysByIssuer, Provider, Wait
from .rules.identity import IdentityPolicy
from .rules.jose import JwtPolicy
from .settings import LogoutSettings
from .stores import Store
from .watching import Watcher

_log = logging.getLogger("logout_middleware")


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


class Parts:
    """The store, guard, flows and endpoints of one set of settings, of one colour.

    `settings`: a LogoutSettings; without it the environment and keywords decide. `store`: an object with the
    promises of `stores.Store` instead of the one that LOGOUT_STORE names; who made it closes it. `like`: parts of
    another colour, whose listeners, warnings and providers' keys these share.
    """

    def __init__(
        self, settings: LogoutSettings | None = None, *, store: Store | str | None = None, clock: Clock = time.time,
        blocking: bool = False, like: Parts | None = None, **given: Any,
    ) -> None:  # fmt: skip
        if isinstance(store, str):
            given["store"], store = store, None
        if settings is not None and given:
            raise ConfigurationError("E006 settings: give a LogoutSettings or keywords, not both")
        self.settings = settings = settings or LogoutSettings.load(**given)
        self._owns_store = store is None
        self.closed = False
        self.clock = clock
        self.blocking = blocking
        self.advise: _Warnings = like.advise if like is not None else _Warnings()
        if store is None and settings.store != "memory://":
            look_at(settings, self.advise, clock)
        stack = Stack(store, lambda: store) if store is not None else open_stack(settings, clock, blocking=blocking)
        self.raw_store = stack.store
        self.store: Store = fitting(stack.store, blocking=blocking)
        self.live = Live()
        self.watcher = Watcher(self.live, stack.watch, shared=stack.store)
        polled = [each for each in settings.providers.values() if each.stream is not None and each.stream.poll_url]
        self.poller = Poller(polled, self._twin(stack)) if polled else None
        policy = _identity_policy(settings)
        self._own_keys, self.providers = self._key_sources(settings, like)
        own = self._own_keys
        keys = KeysByIssuer(own, self.providers) if self.providers else own
        self.events: Events = like.events.elsewhere(like.chores.settle) if like is not None else Events(settings.audit)
        self.chores: Chores = Chores(self._twin(stack))
        self.identifier = Identifier(policy, keys, settings.cookies)
        self.logouts = Logouts(
            self.store, self.events, clock, settings.max_lifetime, settings.jwt_leeway, self.live,
            bind=settings.revoke_bound,
        )  # fmt: skip
        self.registry = self._sessions(settings)
        if self.registry.enabled:
            self.logouts.listed = self.registry.of_user
        self.orders = Orders(self.logouts, self.identifier, self.registry)
        self.guard, self.gate = self._guard(settings, strict=False), self._guard(settings, strict=True)
        if any(isinstance(each, Provider) for each in (own, *self.providers.values())):
            # Who is remembered must be read anew now and then, or nobody would notice that a key was taken back.
            self.guard.remember_seconds = self.gate.remember_seconds = FRESH_SECONDS
            self.identifier.keys_change = True
        self.links = Links(settings.secret, clock)
        self.sessions = StableSessions(policy, settings.cookies, clock, lambda: secrets.token_urlsafe(16))
        self.learned = LearnedCookies(self.store, settings.cookies, clock, settings.max_lifetime)
        self.answers = Answers(
            self.identifier, self.guard, self.logouts, self.sessions, self.learned,
            short_lived=settings.on_browser_close,
        )  # fmt: skip
        self.service = Service(
            settings, self.store, self.identifier, self.logouts, self.events, clock,
            Limiter(self.store, settings.rate_limit, clock), self.links, self.learned, self.registry, gate=self.gate,
            providers=self.providers, provider_logouts=ProviderLogouts(self.logouts, self.registry, policy),
            later=self.chores.add, orders=self.orders, advise=self.advise,
            pause=None if blocking else pause_in_loop,
        )  # fmt: skip
        self._advise()

    def _twin(self, stack: Stack) -> Callable[[], Parts]:
        """How a thread gets blocking parts of its own, on the same data."""

        def build() -> Parts:
            store = stack.watch()
            twin = Parts(self.settings, store=store, clock=self.clock, blocking=True, like=self)
            twin.service.streams = self.service.streams
            twin._owns_store = store is not stack.store
            return twin

        return build

    def _key_sources(self, settings: LogoutSettings, like: Parts | None) -> tuple[KeySource, dict[str, Provider]]:
        """The keys of our own tokens, and those of every other issuer."""
        own: KeySource
        wait = wait_here if self.blocking else wait_in_loop
        if like is not None:
            own = like._own_keys.view(wait) if isinstance(like._own_keys, Provider) else like._own_keys
            return own, {name: each.view(wait) for name, each in like.providers.items()}

        def provider(issuer: Issuer) -> Provider:
            return Provider(
                issuer, wait=wait, private=settings.private_addresses,
                wait_seconds=settings.store_deadline, on_change=self._forget_identities,
            )  # fmt: skip

        own = _NoKeys()
        if settings.jwt_key:
            own = StaticKeys(settings.jwt_key, settings.jwt_algorithms)
        elif settings.jwks_url is not None:
            issuer = Issuer("LOGOUT_JWKS_URL", jwks_url=settings.jwks_url, algorithms=settings.jwt_algorithms)
            own = self._provider(issuer, wait)
        return own, {name: self._provider(each, wait) for name, each in settings.providers.items()}

    def _provider(self, issuer: Issuer, wait: Wait) -> Provider:
        return Provider(
            issuer, wait=wait, private=self.settings.private_addresses, wait_seconds=self.settings.store_deadline,
            on_change=self._forget_identities,
        )  # fmt: skip

    def _sessions(self, settings: LogoutSettings) -> Sessions:
        # Observing ends nothing, so no time runs out either.
        enforced = settings.mode == "enforce"
        return Sessions(
            self.store, self.logouts, self.clock,
            idle=settings.idle_timeout if enforced else None,
            absolute=settings.absolute_timeout if enforced else None,
            most=settings.max_sessions if enforced else None,
            listed="sessions" in settings.endpoints,
        )  # fmt: skip

    def _guard(self, settings: LogoutSettings, *, strict: bool) -> Guard:
        """The guard as it is set; or `strict`, one that never lets pass what is dead, or what it cannot know of."""
        return Guard(
            self.store, self.identifier, self.events, self.clock,
            fail_open=not strict and settings.fail_mode == "open", observe=not strict and settings.mode == "observe",
            reject_cookies=strict or settings.revoked_cookie == "reject", leeway=settings.jwt_leeway,
            max_lifetime=settings.max_lifetime, marks=self.logouts.marks, bindings=self.logouts.bindings,
            registry=self.registry if self.registry.enabled else None,
        )  # fmt: skip

    def _forget_identities(self) -> None:
        for guard in (self.guard, self.gate):
            guard.bearers.forget_all()
            guard.cookies.forget_all()

    def _advise(self) -> None:
        """Say at start what an operator would want to know before the first logout."""
        settings = self.settings
        if not self.store.durable and not settings.allow_unsafe_store:
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

    async def close(self) -> None:
        """Give back the store's files and connections, if this object opened them."""
        self.closed = True
        self.watcher.stop()
        if self.poller is not None:
            self.poller.stop()
        self.chores.stop()
        if self._owns_store:
            await self.store.close()


def _identity_policy(settings: LogoutSettings) -> IdentityPolicy:
    others = {
        # Whoever set LOGOUT_JWT_ISSUER said himself which tokens he takes, by LOGOUT_JWT_AUDIENCE or without it.
        each.name: JwtPolicy(
            each.algorithms, each.name, each.audience, None if each.name == settings.jwt_issuer else each.client_id
        )
        for each in settings.providers.values()
    }
    return IdentityPolicy(
        jwt=JwtPolicy(settings.jwt_algorithms, settings.jwt_issuer, settings.jwt_audience),
        trusted=bool(settings.jwt_key) or settings.jwks_url is not None,
        others=others,
        own_issuers=settings.own_issuers,
        # Whoever may order logouts: which of our processes serves the path of an order does not matter.
        pairs=bool(settings.providers),
        user_claims=settings.user_claim,
        session_claims=settings.session_claim,
        cookie_secrets=settings.cookie_secret,
        max_lifetime=settings.max_lifetime,
    )
