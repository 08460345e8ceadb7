"""`POST /auth/global-token-revocation`: an identity provider logs a user out of everything (Universal Logout,
draft-parecki-oauth-global-token-revocation).

The caller is a configured issuer, by a JWT that it signed for this endpoint. An issuer's ordinary tokens are signed by
the same keys, and every user holds some: so the JWT must be typed for this; or be addressed to this very endpoint, and
speak of nobody but its issuer, or of us as its client.
A cut-off can be recorded for a user whom nobody has seen here yet, so it is, and the answer is the same: 204 says
nothing about who is known (404 would, GTR-7), and a login that is under way at this moment is hit as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import Refused, StoreError
from ..flows import pushed
from ..flows.identify import KnownProvider
from ..flows.pushed import Message, Target
from ..rules import jose, subjects
from ..rules.credentials import Credential, read_authorization
from ..rules.http import MAX_BODY, NO_STORE, Request, Response, parse_json_object
from ..stores import Outcome
from ..values import RateLimit
from .limits import Limiter
from .service import Service, failure, refusal_of
from .ssf import target_of

TYPE = "global-token-revocation+jwt"
REASON = "global_token_revocation"
_UNTYPED = frozenset({"jwt", "application/jwt"})
# What only a token of a user or of an application has.
_GRANTED = frozenset({"azp", "scope", "scp", "cid", "uid", "client_id", "sid", "auth_time", "at_hash"})
_KIND = "gtr-jti"
_KEY_SECONDS = 1.5
_LONGEST_SECONDS = 3600.0
"""A JWT that lives longer than this was not made for one request."""
_LIMIT = RateLimit(1000, 60.0)
"""By issuer. It stops a loop, not the day on which everybody is offboarded."""
_FORMATS = frozenset({"email", "iss_sub", "opaque"})
_CHALLENGE = (("WWW-Authenticate", 'Bearer error="invalid_token"'),)


@dataclass(frozen=True, slots=True)
class Bearers:
    """Who may call: the addressee of their JWTs is `address`, where it is known. `limiter` counts them."""

    address: str | None
    limiter: Limiter

    @classmethod
    def of(cls, service: Service, *, path: str) -> Bearers:
        """For the endpoint at this path below LOGOUT_PUBLIC_URL."""
        public = service.settings.public_url
        limit = _LIMIT if service.settings.rate_limit is not None else None
        return cls(f"{public}{path}" if public else None, Limiter(service.store, limit, service.clock))


async def revoke_globally(service: Service, bearers: Bearers, request: Request) -> Response:
    """204 once it is durable, 202 while it is in the journal; 503: send it again."""
    try:
        outcome = await _revoke(service, bearers, request)
    except Refused as refused:
        await service.audit(request, kind="push_refused", detail=f"global token revocation: {refused.description}")
        return refusal_of(refused)
    except StoreError:
        text = "the logout could not be recorded; send it again"
        return failure(503, "temporarily_unavailable", text, (("Retry-After", "1"),))
    return Response(202 if outcome is Outcome.PENDING else 204, (NO_STORE,))


async def _revoke(service: Service, bearers: Bearers, request: Request) -> Outcome:
    provider, claims = await _caller(service, bearers, request)
    sender = provider.issuer.name
    allowance = await bearers.limiter.count("issuer", f"gtr {sender}")
    if allowance is not None and allowance.exceeded:
        raise Refused(429, "rate_limited", "too many requests of this issuer", allowance.headers())
    message = Message(_KIND, sender, claims["jti"], REASON, f"issuer: {sender}", claims["exp"])
    if await pushed.known(service.logouts, message, None):
        raise _unproven("its jti was used before")
    target = _whom(service, await _subject(request), sender)
    before = service.clock() + service.settings.jwt_leeway
    return await pushed.end(service.logouts, target, message, before=before, caller=service.caller(request))


async def _caller(service: Service, bearers: Bearers, request: Request) -> tuple[KnownProvider, Mapping[str, Any]]:
    """The issuer that made this request, and the claims by which it proved it."""
    service.demand_https(request)
    bearer = read_authorization(request.header_lines("authorization"))
    if not isinstance(bearer, Credential) or bearer.source != "bearer":
        raise Refused(401, "invalid_token", "send one bearer token", (("WWW-Authenticate", "Bearer"),))
    try:
        token = jose.parse(bearer.text)
    except jose.Malformed as error:
        raise _unproven(str(error)) from None
    name = token.claims.get("iss")
    provider = service.providers.get(name) if isinstance(name, str) else None
    if provider is None:
        raise _unproven("its issuer is not configured")
    keys = await provider.find(bearer.text, seconds=_KEY_SECONDS, since=provider.moment())
    fault = jose.fault_in_signature(token, keys, provider.issuer.algorithms)
    fault = fault or _fault_in_kind(token, bearers.address, provider)
    fault = fault or _fault_in_claims(token.claims, service.clock(), service.settings.jwt_leeway)
    if fault is not None:
        raise _unproven(fault)
    return provider, token.claims


def _fault_in_kind(token: jose.Token, address: str | None, provider: KnownProvider) -> str | None:
    """Why this may be another token of its issuer: an access token, an ID token, a logout token (RFC 8725 3.12)."""
    said = token.header.get("typ", "jwt")
    kind = said.lower().removeprefix("application/") if isinstance(said, str) else ""
    if "events" in token.claims or "nonce" in token.claims:
        return "it is a token of another kind"
    here = address is not None and jose.is_for(token.claims, (address,))
    if kind == TYPE:
        return None if here or jose.is_for(token.claims, provider.issuer.addressees) else "it is for another audience"
    if kind not in _UNTYPED:
        return "it is a token of another kind"
    speaks_of = token.claims.get("sub", provider.issuer.name)
    if speaks_of not in (provider.issuer.name, provider.issuer.client_id) or not _GRANTED.isdisjoint(token.claims):
        return f"it may be a token of a user; its typ must be {TYPE}"
    return None if here else f"it must be addressed to this endpoint, or its typ be {TYPE}"


def _fault_in_claims(claims: Mapping[str, Any], now: float, leeway: float) -> str | None:
    times = {name: jose.number_claim(claims, name) for name in ("iat", "exp", "nbf")}
    issued, expires = times["iat"], times["exp"]
    if issued is None or expires is None or (times["nbf"] is None and "nbf" in claims):
        return "it must have iat and exp"
    if now >= expires + leeway:
        return "it expired"
    if max(issued, times["nbf"] or issued) > now + leeway:
        return "it is not valid yet"
    if expires - issued > _LONGEST_SECONDS:
        return f"it must not live longer than {_LONGEST_SECONDS:.0f} seconds"
    if not isinstance(claims.get("jti"), str) or not claims["jti"]:
        return "it must have a jti"
    return None


def _unproven(why: str) -> Refused:
    return Refused(401, "invalid_token", f"the caller's token was refused: {why}", _CHALLENGE)


async def _subject(request: Request) -> subjects.Subject:
    """Whom the body names: `sub_id`, or `subject` as drafts before -03 and Auth0 have it."""
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "unsupported_media_type", "send application/json")
    members = parse_json_object(await request.read_body(MAX_BODY))
    if set(members) not in ({"sub_id"}, {"subject"}):
        raise Refused(400, "invalid_request", "the body must have exactly one member, sub_id")
    (value,) = members.values()
    if isinstance(value, dict) and isinstance(value.get("format"), str) and value["format"] not in _FORMATS:
        raise Refused(400, "invalid_request", "the format of sub_id must be email, iss_sub or opaque")
    try:
        return subjects.read_simple(value)
    except subjects.Malformed as error:
        raise Refused(400, "invalid_request", str(error)) from None


def _whom(service: Service, subject: subjects.Subject, sender: str) -> Target:
    try:
        return target_of(service, subject, sender)
    except subjects.Unmappable as error:
        raise Refused(422, "unmappable_subject", str(error)) from None
    except Refused as refused:
        raise Refused(403, refused.code, refused.description) from None
