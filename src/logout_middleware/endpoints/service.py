"""What every endpoint works with: the parts of one Logout object, and the questions all of them ask a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from secrets import token_urlsafe
from typing import Any, Protocol
from urllib.parse import quote

from ..errors import Refused, StoreError
from ..events import Events, LogoutEvent
from ..flows.guard import Guard
from ..flows.identify import Identifier, KnownProvider, Presented
from ..flows.learned_cookies import LearnedCookies
from ..flows.logout import Caller, Logouts
from ..flows.orders import Orders
from ..flows.provider_logout import ProviderLogouts
from ..flows.sessions import Sessions, Visit
from ..rules import origins, redirects
from ..rules.cookies import GuardedCookie, cookie_names
from ..rules.credentials import Ambiguous, Credential
from ..rules.http import Request, Response, json_response
from ..rules.identity import Identity
from ..rules.revocation import Revocation
from ..rules.security_event import StreamHealth
from ..settings import LogoutSettings
from ..stores import Store
from ..texts import Languages, completed
from .limits import Failures, Limiter
from .links import Links
from .words import Words, words

Handler = Callable[[Request], Awaitable[Response]]
Methods = Mapping[str, Handler]
"""The handlers of one path, by method."""
ANY_METHOD = "*"
LONGEST_STATE = 512


class Later(Protocol):
    """See `Service.later`."""

    def __call__(
        self, chore: Callable[[Any], Awaitable[object]], /, *, doubtful: bool = False, name: str | None = None
    ) -> bool:
        """Was it kept?"""
        ...


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a request to an endpoint carries: all presented, what of it is alive, and by what the rest is dead."""

    presented: tuple[Presented, ...]
    live: tuple[Identity, ...]
    dead_by: tuple[Revocation, ...] = ()

    @property
    def cookies(self) -> tuple[GuardedCookie, ...]:
        """The guarded cookies that it carries in one readable way; an ambiguous one may be planted."""
        return tuple(
            each.cookie
            for each in self.presented
            if each.cookie is not None and not isinstance(each.credential, Ambiguous)
        )

    @property
    def identities(self) -> tuple[Identity, ...]:
        """All that could be read, alive or dead."""
        return tuple(each.identity for each in self.presented if each.identity is not None)

    @property
    def doubt(self) -> StoreError | None:
        """Why it cannot be said now whether all of it is verified; None if it can."""
        return next((each.doubt for each in self.presented if each.doubt is not None), None)

    @property
    def verified(self) -> tuple[Identity, ...]:
        """The live identities whose claims may be believed."""
        return tuple(identity for identity in self.live if identity.verified and identity.addressed)


@dataclass(slots=True)
class Service:
    """The endpoints' view of one Logout object. `gate` is a guard that says yes only to what it knows is alive.

    `later(chore)`: have it called with a blocking Service until it raises no StoreError; False if it cannot be kept.
    `doubtful=True`: whoever is behind it proved nothing yet.
    """

    settings: LogoutSettings
    store: Store
    identifier: Identifier
    logouts: Logouts
    events: Events
    clock: Callable[[], float]
    limiter: Limiter
    links: Links
    learned: LearnedCookies
    sessions: Sessions
    gate: Guard
    providers: Mapping[str, KnownProvider]
    provider_logouts: ProviderLogouts
    later: Later
    orders: Orders
    entropy: Callable[[], str] = field(default=lambda: token_urlsafe(24))
    advise: Callable[[str, str], None] = field(default=lambda topic, text: None)
    pause: Callable[[float], Awaitable[None]] | None = None
    """Lets so many seconds pass without holding up anybody; None where that would hold a thread (WSGI)."""
    streams: dict[str, StreamHealth] = field(default_factory=dict)
    """What was last heard of each issuer's stream of security events."""
    languages: Languages = field(init=False)
    """The texts of our pages."""
    wrong_secrets: Failures = field(init=False)
    wrong_admin_keys: Failures = field(init=False)

    def __post_init__(self) -> None:
        self.languages = completed(self.settings.texts)
        self.wrong_secrets, self.wrong_admin_keys = Failures(self.clock), Failures(self.clock)

    async def arrived(
        self, request: Request, *, cookies: bool = True, tokens: Mapping[str, str] | None = None
    ) -> Arrived:
        """The credentials of the headers and of these body fields. A bearer with two readings is `Refused` 400."""
        cookie_lines = request.header_lines("cookie") if cookies else []
        presented = await self.identifier.headers(request.header_lines("authorization"), cookie_lines)
        for each in presented:
            if isinstance(each.credential, Ambiguous) and each.cookie is None:
                raise Refused(400, "invalid_request", each.credential.why)
        for name, text in (tokens or {}).items():
            presented.append(await self.identifier.perhaps(Credential("body", name, text)))
        known = await self.logouts.known([each.identity for each in presented if each.identity is not None])
        exact = iter(known.identities)
        presented = [replace(each, identity=next(exact)) if each.identity is not None else each for each in presented]
        return Arrived(tuple(presented), known.live, known.dead_by)

    def is_proven(self, text: str | None, identities: Collection[Identity], target: str | None) -> bool:
        """Is this a proof for every one of these? One for another session, or for a token beside it, is none."""
        return bool(identities) and all(self.links.proves(text, each.keys, target) for each in identities)

    def same_origin(self, request: Request) -> bool | None:
        """Our own page, another site's, or unsaid; see `rules.origins`."""
        return origins.is_same_origin(
            fetch_site=request.header_lines("sec-fetch-site"),
            origin=request.header_lines("origin"),
            public_url=self.settings.public_url,
            host=request.header("host"),
            trusted=self.settings.trusted_origins,
        )

    def caller(self, request: Request) -> Caller:
        """Address and user agent, for the audit record."""
        return Caller(request.client, (request.header("user-agent") or "")[:256] or None)

    def visit(self, request: Request, path: str) -> Visit:
        """Who is here, and whether a machine made this request by itself (contract 5, PASSIVE_PATHS)."""
        headers = request.single_headers()
        passive = (
            headers.get("x-logout-passive") == "1"
            or origins.is_prefetch(headers)
            or any(
                path == each or (each.endswith("/") and path.startswith(each)) for each in self.settings.passive_paths
            )
        )
        caller = self.caller(request)
        return Visit(caller.address, caller.user_agent, passive)

    async def target(self, wanted: str | None, client_id: str | None, request: Request) -> tuple[str, bool]:
        """Where to send the browser, and whether what was wanted is refused; a refusal is audited."""
        default = self.settings.redirect_url
        if wanted is None or redirects.is_allowed(wanted, self.targets(client_id)):
            return wanted or default, False
        await self.audit(request, kind="target_refused", detail=f"a redirect target of {len(wanted)} characters")
        return default, True

    def targets(self, client_id: str | None) -> tuple[str, ...]:
        """Where a logout that names this client, or none, may send the browser."""
        settings = self.settings
        client = settings.clients.get(client_id or "")
        # A client's targets are its own: naming one client must not open the list of another.
        return (settings.redirect_url, *settings.redirect_allow, *(client.redirect_uris if client else ()))

    async def audit(self, request: Request, *, kind: str, detail: str, outcome: str = "refused") -> None:
        """One event about this request that is not a logout."""
        caller = self.caller(request)
        await self.events.emit(
            LogoutEvent(
                kind, outcome, self.clock(), client_address=caller.address, user_agent=caller.user_agent, detail=detail
            )
        )

    async def refuse_guess(self, request: Request, failures: Failures, what: str) -> None:
        """Count one wrong secret of this kind; `Refused` 429 where its address sent too many already.

        Right ones are not asked for patience: behind a proxy one who guesses has the address of everybody else, too.
        """
        wait = failures.wait(request.client)
        if wait:
            # Behind a proxy that is not in TRUSTED_PROXIES everybody has its address, and waits together.
            detail = f"wrong {what} from {request.client}; if that is your proxy, set LOGOUT_TRUSTED_PROXIES"
            await self.audit(request, kind="rate_limited", detail=detail)
            text = f"too many wrong {what} from this address; try again later"
            raise Refused(429, "rate_limited", text, (("Retry-After", str(wait)),))
        failures.count(request.client)

    async def deletions(self, cookies: tuple[GuardedCookie, ...], request: Request) -> list[tuple[str, str]]:
        """Set-Cookie fields that delete these, as the application sets them, and Clear-Site-Data where configured."""
        https = self.is_https(request)
        if not https and not origins.is_this_machine(request.header("host")):
            self.advise(
                "plain-http",
                "a request came over plain http, where anyone on the way can read and replay a login: use https, and "
                "behind a proxy that does, set LOGOUT_PUBLIC_URL or LOGOUT_TRUSTED_PROXIES",
            )
        present = cookie_names(request.header_lines("cookie"))
        lines = await self.learned.deletions([cookie.name for cookie in cookies], present, https=https)
        fields = [("Set-Cookie", line) for line in lines]
        if self.settings.clear_site_data and (cookies or self.same_origin(request)):
            fields.append(("Clear-Site-Data", ", ".join(f'"{kind}"' for kind in self.settings.clear_site_data)))
        return fields

    def words(self, request: Request) -> Words:
        """The texts of our pages in the language of who asks."""
        return words(self.languages, request.header("accept-language"))

    def is_https(self, request: Request) -> bool:
        """Does the browser speak https, as far as we can tell?"""
        return request.scheme == "https" or (self.settings.public_url or "").startswith("https://")

    def demand_https(self, request: Request) -> None:
        """`Refused` where a secret came over plain http from another machine (RFC 7009 2).

        Behind a proxy that ends TLS, LOGOUT_PUBLIC_URL or LOGOUT_TRUSTED_PROXIES say what its callers speak.
        """
        if not self.is_https(request) and not origins.is_this_machine(request.header("host")):
            self.advise(
                "plain-http-secret",
                "a secret came over plain http and was refused: use https, and behind a proxy that does, set "
                "LOGOUT_PUBLIC_URL or LOGOUT_TRUSTED_PROXIES",
            )
            raise Refused(400, "invalid_request", "use https; anyone on the way can read this secret")


def with_state(target: str, state: str | None) -> str:
    """The target with `state` handed back (RP-Initiated Logout 3), encoded."""
    if state is None:
        return target
    base, mark, fragment = target.partition("#")
    return f"{base}{'&' if '?' in base else '?'}state={quote(state, safe='')}{mark}{fragment}"


def short_state(state: str | None) -> str | None:
    """The `state` of a logout; `Refused` 400 where it is so long that no cookie and few addresses could hold it."""
    if state is not None and len(state) > LONGEST_STATE:
        raise Refused(400, "invalid_request", f"state must not be longer than {LONGEST_STATE} characters")
    return state


def see_other(location: str, headers: list[tuple[str, str]]) -> Response:
    """303 (RFC 9700 4.12): the browser goes on with GET."""
    fields = (("Location", location), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"), *headers)
    return Response(303, fields)


def failure(status: int, code: str, description: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """An endpoint's error: `success` is false, nothing happened."""
    return json_response(status, {"success": False, "error": code, "message": description}, headers)


def refusal_of(refused: Refused) -> Response:
    """The answer to a request that is the client's mistake."""
    return failure(refused.status, refused.code, refused.description, refused.headers)


def oauth_error(refused: Refused) -> Response:
    """The error of an OAuth or OpenID endpoint (RFC 6749 5.2), which has a form of its own."""
    headers = refused.headers
    return json_response(refused.status, {"error": refused.code, "error_description": refused.description}, headers)


def oauth_unavailable() -> Response:
    """The store is away: nothing was done, and the client must take the token for alive (RFC 7009 2.2.1)."""
    away = {"error": "temporarily_unavailable", "error_description": "nothing was done; try again"}
    return json_response(503, away, (("Retry-After", "1"),))
