"""OpenID Connect as a relying party: back-channel, front-channel, and the way back from the provider (group `oidc`).

The provider calls the first two, so no cookie, CSRF rule or login is asked of them; what they end, they end on the
server. How a logout goes on to the provider is in `provider.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..errors import Refused, StoreError
from ..events import LogoutEvent
from ..flows.identify import KnownProvider
from ..flows.logout import Caller
from ..rules import jose, redirects
from ..rules.http import NO_STORE, Request, Response
from ..rules.logout_token import LogoutToken, read_logout_token
from ..rules.origins import is_prefetch
from .provider import way_back
from .service import Methods, Service, oauth_error

KEYS_SECONDS = 1.5
"""A provider gives up after 2.5 s; the store needs its part of that."""
_MAX_TOKEN = 16_384
_RETRY_AFTER = (("Retry-After", "30"),)


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The paths of this group."""
    return {
        f"{prefix}/backchannel-logout": {"POST": partial(backchannel_logout, service)},
        f"{prefix}/frontchannel-logout": {"GET": partial(frontchannel_logout, service)},
        f"{prefix}/logout/callback": {"GET": partial(way_back, service)},
    }


# ---- back-channel ----------------------------------------------------------------------------------------


class Undecided(StoreError):
    """Whether a logout token is genuine cannot be known yet. `since`: when it came, for `KnownProvider.find`."""

    def __init__(self, why: str, since: float) -> None:
        super().__init__(why)
        self.since = since


async def backchannel_logout(service: Service, request: Request) -> Response:
    """200 once what the logout token orders is durable, else 400 (Back-Channel Logout 1.0, 2.5 to 2.8).

    Where the keys cannot be fetched or nothing could record it, it is 400 `temporarily_unavailable`, because a provider
    knows no other failure; the token is kept, and carried out as soon as that is possible.
    """
    arrived, caller = service.clock(), service.caller(request)
    try:
        text = await _logout_token_of(request)
        order = await genuine(service, text, arrived, seconds=KEYS_SECONDS)
    except Refused as refused:
        await service.audit(request, kind="logout_token_refused", detail=refused.description)
        return oauth_error(refused)
    except Undecided as undecided:
        kept = service.later(partial(_deliver_later, text, arrived, caller, undecided.since), doubtful=True, name=text)
        return await _unavailable(service, arrived, undecided, kept=kept)
    try:
        await service.provider_logouts.carry_out(order, caller)
    except StoreError as error:
        # It was genuine when it came, whatever becomes of the key that signed it.
        kept = service.later(partial(_carry_out_later, order, caller))
        return await _unavailable(service, arrived, error, kept=kept)
    return Response(200, (NO_STORE,))


async def _unavailable(service: Service, arrived: float, error: StoreError, *, kept: bool) -> Response:
    outcome = "deferred" if kept else "failed"
    await service.events.emit(LogoutEvent("backchannel_failed", outcome, arrived, detail=str(error)))
    why = "the logout cannot be carried out right now" + ("; it is kept, and will be" if kept else "")
    return oauth_error(Refused(400, "temporarily_unavailable", why, _RETRY_AFTER))


async def _logout_token_of(request: Request) -> str:
    try:
        text = (await request.form()).get("logout_token")
    except Refused as refused:
        # 2.8 knows 400 alone; that a body is too large is nothing of its own.
        raise Refused(413 if refused.status == 413 else 400, "invalid_request", refused.description) from None
    if not text or len(text) > _MAX_TOKEN:
        raise Refused(400, "invalid_request", "logout_token is missing or too long")
    return text


async def genuine(
    service: Service, text: str, arrived: float, *, seconds: float, since: float | None = None
) -> LogoutToken:
    """What this logout token orders. `Refused` if it is none, Undecided while that cannot be known.

    `arrived`: when it did; `since`: the same, as an Undecided of before says it.
    """
    if text.count(".") == 4:
        raise Refused(400, "invalid_request", "encrypted logout tokens are not supported; have them signed only")
    try:
        token = jose.parse(text)
    except jose.Malformed as error:
        raise Refused(400, "invalid_request", f"the logout token cannot be read: {error}") from None
    provider = _provider_of(service, token.claims.get("iss"))
    # What is wrong with it whoever signed it need not wait for the keys, nor be kept.
    order = read_logout_token(
        token, issuer=provider.issuer.name, client_id=provider.issuer.client_id or "", now=arrived,
        leeway=service.settings.jwt_leeway,
    )  # fmt: skip
    if not isinstance(order, LogoutToken):
        raise _refusal(order)
    since = provider.moment() if since is None else since
    try:
        keys = await provider.find(text, seconds=seconds, since=since)
    except StoreError as error:
        raise Undecided(str(error), since) from error
    fault = jose.fault_in_signature(token, keys, provider.issuer.algorithms)
    if fault is not None:
        raise _refusal(fault)
    return order


def _refusal(fault: str) -> Refused:
    return Refused(400, "invalid_request", f"the logout token is not valid: {fault}")


def _provider_of(service: Service, issuer: Any) -> KnownProvider:
    """The provider that may order a logout: a configured one, where we are a client."""
    provider = service.providers.get(issuer) if isinstance(issuer, str) else None
    if provider is None or provider.issuer.client_id is None:
        raise _refusal("it is of no provider of ours")
    return provider


async def _deliver_later(text: str, arrived: float, caller: Caller, since: float, service: Service) -> None:
    """What `backchannel_logout` could not do then. A token that turns out to be none is told of, and dropped."""
    try:
        # Others wait behind this one, so it does not wait for a fetch; it will be tried again.
        order = await genuine(service, text, arrived, seconds=0.0, since=since)
    except Refused as refused:
        event = LogoutEvent("logout_token_refused", "refused", service.clock(), detail=refused.description)
        await service.events.emit(event)
    else:
        await _carry_out_later(order, caller, service)


async def _carry_out_later(order: LogoutToken, caller: Caller, service: Service) -> None:
    await service.provider_logouts.carry_out(order, caller)


# ---- front-channel ---------------------------------------------------------------------------------------


async def frontchannel_logout(service: Service, request: Request) -> Response:
    """End the session that `iss` and `sid` name, on the server (Front-Channel Logout 1.0).

    The provider shows this address in a frame, where browsers send no cookies any more; so the session id is what
    counts, and the cookie only if it is of that session.
    """
    try:
        return await _frontchannel_logout(service, request)
    except Refused as refused:
        return oauth_error(refused)
    except StoreError:
        away = Refused(503, "temporarily_unavailable", "the logout could not be recorded", (("Retry-After", "1"),))
        return oauth_error(away)


async def _frontchannel_logout(service: Service, request: Request) -> Response:
    headers = request.single_headers()
    if is_prefetch(headers):
        raise Refused(403, "prefetch", "A prefetch never logs out")
    if headers.get("sec-fetch-dest", "iframe") not in ("iframe", "frame", "document"):
        raise Refused(400, "invalid_request", "this address is for a frame of the provider's")
    query = request.query()
    issuer, sid = query.get("iss"), query.get("sid")
    if (issuer is None) != (sid is None):
        raise Refused(400, "invalid_request", "iss and sid come together, or not at all")
    if not issuer or not sid:
        # Which session is meant only a cookie could say, and any page could frame this address.
        await service.audit(request, kind="frontchannel_no_state", detail="neither iss nor sid", outcome="nothing")
        return _framed(service, None, [])
    provider = service.providers.get(issuer)
    if provider is None or provider.issuer.client_id is None or request.method == "HEAD":
        return _framed(service, None, [])
    known = await service.provider_logouts.is_known(issuer, sid)
    wait = 0 if known else service.limiter.take_quota(request.client, 1)
    if wait:
        raise Refused(429, "rate_limited", "too many unknown sessions", (("Retry-After", str(wait)),))
    arrived = await service.arrived(request)
    key = await service.provider_logouts.end_session(issuer, sid, service.caller(request))
    held = tuple(
        each.cookie for each in arrived.presented
        if each.cookie is not None and each.identity is not None and each.identity.session_key == key
    )  # fmt: skip
    deletions = await service.deletions(held, request) if held else []
    return _framed(service, issuer, [_for_frames(field) for field in deletions])


def _for_frames(field: tuple[str, str]) -> tuple[str, str]:
    """A deletion as a browser obeys it in another site's frame (6265bis 5.7, step 18)."""
    name, value = field
    if name != "Set-Cookie":
        return field
    kept = [part for part in value.split("; ") if not part.lower().startswith(("samesite=", "secure"))]
    return name, "; ".join([*kept, "Secure", "SameSite=None"])


def _framed(service: Service, issuer: str | None, headers: list[tuple[str, str]]) -> Response:
    """A page of nothing, which only the providers may frame."""
    names = [issuer] if issuer is not None else list(service.providers)
    origins = " ".join(sorted(filter(None, {redirects.source_of(each) for each in names}))) or "'none'"
    fields = [
        ("Content-Type", "text/html; charset=utf-8"), NO_STORE,
        ("Content-Security-Policy", f"default-src 'none'; frame-ancestors {origins}"),
        ("Referrer-Policy", "no-referrer"), *headers,
    ]  # fmt: skip
    return Response(200, tuple(fields), b"<!doctype html><title>Logged out</title>")
