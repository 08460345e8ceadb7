"""`POST /auth/logout` and `/auth/logout/all`: log out everything that the request presents (contract 4.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from ..errors import Refused, StoreError
from ..events import timestamp
from ..flows.logout import SCOPES, Plan
from ..rules.cookies import GuardedCookie
from ..rules.credentials import Ambiguous
from ..rules.http import Request, Response, json_response
from ..rules.origins import is_prefetch
from ..rules.proxies import counted_address
from ..stores import Outcome
from . import pages
from .limits import Allowance
from .provider import go_on, onward, revoke_at_provider
from .service import Arrived, Service, failure, short_state, with_state
from .words import Words

MESSAGE = "Logged out successfully."
_TOKEN_FIELDS = ("refresh_token", "refreshToken", "oauth_token")


@dataclass(frozen=True, slots=True)
class Order:
    """What a logout request asks for, its body read and checked."""

    tokens: Mapping[str, str] = field(repr=False)
    scope: str
    redirect_uri: str | None
    client_id: str | None
    state: str | None
    intent: str | None
    is_json: bool


async def log_out(service: Service, request: Request, *, everywhere: bool = False) -> Response:
    """Answer a logout by POST. `everywhere`: scope=global whatever the body says."""
    wants_html = prefers_html(request) and not service.settings.preset_rules.body_only
    try:
        order = await _read_lawful_order(service, request, everywhere=everywhere)
        response = await _log_out(service, request, order, wants_html=wants_html)
    except Refused as refused:
        response = failure(refused.status, refused.code, refused.description)
    except StoreError:
        response = unrecorded(service)
    if wants_html and response.status >= 400:
        return page_for(response, service.words(request))
    return response


async def _read_lawful_order(service: Service, request: Request, *, everywhere: bool) -> Order:
    """The order. A foreign page's cookie is refused as that, whatever else is wrong with its request."""
    try:
        return await read_order(service, request, everywhere=everywhere)
    except Refused:
        await _arrived_lawfully(service, request, Order({}, "local", None, None, None, None, _is_json(request)))
        raise


async def read_order(service: Service, request: Request, *, everywhere: bool) -> Order:
    """The members of the body, each of its right type. What is wrong is `Refused`."""
    rules = service.settings.preset_rules
    try:
        body = await request.fields()
    except Refused:
        if not rules.tolerant_body:
            raise
        body = {}
        await service.audit(request, kind="body_ignored", detail="a body that cannot be read")
    query: Mapping[str, str] = {}
    if rules.body_only:
        # No other member has a meaning there, so none can be wrong either.
        body = {name: body[name] for name in _TOKEN_FIELDS if name in body}
    else:
        query = request.query()
    tokens: dict[str, str] = {}
    for name in _TOKEN_FIELDS:
        value = body.get(name)
        if isinstance(value, str) and value:
            tokens[name] = value
        elif value not in (None, ""):
            await service.audit(request, kind="token_ignored", detail=f"{name} is not a text")
    scope = _member(body, "scope") or service.settings.scope
    if scope not in SCOPES:
        raise Refused(400, "invalid_request", f"scope must be one of {', '.join(SCOPES)}")
    wanted = {
        _member(source, name) for source in (body, query) for name in ("redirect_uri", "post_logout_redirect_uri")
    }
    wanted.discard(None)
    if len(wanted) > 1:
        raise Refused(400, "invalid_request", "two different redirect targets")
    return Order(
        tokens=tokens,
        scope="global" if everywhere else scope,
        redirect_uri=next(iter(wanted), None),
        client_id=_member(body, "client_id") or query.get("client_id"),
        state=short_state(_member(body, "state") or query.get("state")),
        intent=_member(body, "intent"),
        is_json=_is_json(request),
    )


def _is_json(request: Request) -> bool:
    return (request.header("content-type") or "").partition(";")[0].strip().lower() == "application/json"


def _member(source: Mapping[str, Any], name: str) -> str | None:
    value = source.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(400, "invalid_request", f"{name} must be a text")
    if value and any("\ud800" <= character <= "\udfff" for character in value):
        raise Refused(400, "invalid_request", f"{name} is not Unicode")
    return value or None


async def _log_out(service: Service, request: Request, order: Order, *, wants_html: bool) -> Response:
    settings, rules = service.settings, service.settings.preset_rules
    arrived = await _arrived_lawfully(service, request, order)
    target, refused = await service.target(order.redirect_uri, order.client_id, request)
    if refused and rules.strict_redirect:
        raise Refused(400, "invalid_redirect_uri", "redirect_uri is not registered for this client")
    if settings.require_credential and not _is_credential_presented(service, arrived):
        allowance = await service.limiter.count(*_counted_as(arrived, request, in_quota=True))
        challenge = ("WWW-Authenticate", 'Bearer realm="api"')  # no error code: RFC 6750 3.1
        challenged = (challenge, *(allowance.headers() if allowance else ()))
        return failure(401, "credential_required", "Present the token or cookie to log out", challenged)
    if not arrived.presented:
        service.advise(
            "nothing-presented", "a logout request carried nothing guarded; check LOGOUT_COOKIES and the client"
        )

    refuse_unreadable(arrived)
    plan, limits, limited = await revoke_within_limits(service, request, arrived, order.scope)
    if plan.unavailable and not limited and not _is_no_login(service, arrived):
        text = f"scope={order.scope} needs a verified login; only the presented credential was logged out"
        return failure(403, "scope_unavailable", text, limits)
    if arrived.doubt is not None and not limited:
        return partly_done(service, limits)
    # Who ends his other sessions stays logged in with this one.
    stays = order.scope == "others" and not limited and bool(arrived.verified)
    headers = [*limits, *([] if stays else await service.deletions(to_delete(service, request, arrived), request))]
    if limited:
        return failure(429, "rate_limited", "Too many logouts; try again later", tuple(headers))
    pending = plan.outcome is Outcome.PENDING
    if order.scope != "others":
        await revoke_at_provider(service, arrived)
    if _prefers_nothing(request) and not pending and rules.members is None:
        return Response(204, (("Cache-Control", "no-store"), ("Preference-Applied", "return=minimal"), *headers))
    further = None
    if order.scope != "others":
        further = await onward(
            service, request, arrived, target=target, state=order.state, client_id=order.client_id
        )  # fmt: skip
    if wants_html:
        return go_on(service, request, further, with_state(target, order.state), headers)
    if further is not None:
        headers, target = [*headers, further.cookie], further.address
    return json_response(
        202 if pending else 200, answer(service, plan, target, goes_on=further is not None), tuple(headers)
    )


async def _arrived_lawfully(service: Service, request: Request, order: Order) -> Arrived:
    """What was presented and may be acted on: a cookie only counts on a request that our own site made."""
    if service.settings.preset_rules.body_only:
        return await service.arrived(_without_credentials(request), tokens=order.tokens)
    arrived = await service.arrived(request, tokens=order.tokens)
    if not any(each.cookie is not None for each in arrived.presented) or is_lawful(service, request, order, arrived):
        return arrived
    if any(each.source in ("bearer", "dpop") for each in arrived.presented):
        # Another site cannot make a browser send Authorization unasked: the token counts, the cookie does not.
        return await service.arrived(request, cookies=False, tokens=order.tokens)
    raise Refused(403, "cross_site", "A logout by cookie must come from a page of this site")


def refuse_unreadable(arrived: Arrived) -> None:
    """Where the only login cannot be read, nothing can be logged out, and a 200 would be a lie."""
    if not arrived.live and any(isinstance(each.credential, Ambiguous) for each in arrived.presented):
        raise Refused(400, "ambiguous_cookie", "The login cookie was sent twice or is damaged; nothing was logged out")


def is_lawful(service: Service, request: Request, order: Order, arrived: Arrived) -> bool:
    """May the cookies of this request log out? (contract 4.1; standards.md CSRF-1)"""
    if is_prefetch(request.single_headers()):
        return False
    held = [each.identity for each in arrived.presented if each.cookie is not None and each.identity in arrived.live]
    if service.is_proven(order.intent, held, order.redirect_uri):
        return True
    same = service.same_origin(request)
    if same is not None:
        return same
    # Without Fetch Metadata and Origin this is no browser's form; a form could not send JSON or Authorization.
    return order.is_json or any(each.source in ("bearer", "dpop") for each in arrived.presented)


def _is_credential_presented(service: Service, arrived: Arrived) -> bool:
    """Is what LOGOUT_REQUIRE_CREDENTIAL demands there, alive or dead?"""
    if not service.settings.preset_rules.jwt_only:
        return bool(arrived.presented)
    return any(each.source in ("bearer", "dpop") for each in arrived.presented)


def _is_no_login(service: Service, arrived: Arrived) -> bool:
    """Is nothing here a login, because the preset's tokens are JWTs by our keys and this is none? (UM-5, UM-31)"""
    if not (service.settings.preset_rules.jwt_only and service.identifier.policy.verifies_tokens):
        return False
    return not any(each.cookie or (each.identity and each.identity.verified) for each in arrived.presented)


def _without_credentials(request: Request) -> Request:
    headers = [(name, value) for name, value in request.headers if name not in ("authorization", "cookie")]
    return Request(
        request.method, request.path, request.query_string, headers, request.scheme, request.client, request.read_body
    )


async def revoke_within_limits(
    service: Service, request: Request, arrived: Arrived, scope: str
) -> tuple[Plan, tuple[tuple[str, str], ...], bool]:
    """Revoke, counting; returns the plan, header fields about the limits, and if the caller is over one.

    Over a limit the caller's own verified credentials are revoked all the same, and nothing else is.
    """
    unverified = [identity for identity in arrived.live if not identity.verified]
    wait = service.limiter.take_quota(request.client, len(unverified)) if unverified else 0
    in_quota = wait == 0
    allowance = await service.limiter.count(*_counted_as(arrived, request, in_quota=in_quota))
    limited = not in_quota or (allowance is not None and allowance.exceeded)
    if limited:
        kind = "rate_limited" if in_quota else "quota_exceeded"
        # Behind a proxy that is not in TRUSTED_PROXIES everybody has its address, and shares these limits.
        detail = f"address {request.client}; if that is your proxy, set LOGOUT_TRUSTED_PROXIES"
        await service.audit(request, kind=kind, detail=detail)
    plan = await service.logouts.log_out(
        arrived.verified if limited else arrived.identities,
        scope="local" if limited else scope,
        bound=service.settings.revoke_bound,
        caller=service.caller(request),
    )
    return plan, _fields_of(allowance, wait), limited


def _fields_of(allowance: Allowance | None, wait: int) -> tuple[tuple[str, str], ...]:
    """What is left of the limit. `wait`: seconds that the quota, which is the longer one, asks for."""
    fields = allowance.headers() if allowance else ()
    if not wait:
        return fields
    return (*(field for field in fields if field[0] != "Retry-After"), ("Retry-After", str(wait)))


def _counted_as(arrived: Arrived, request: Request, *, in_quota: bool) -> tuple[str, bytes | str]:
    # By a live credential only: whoever kept a dead one must not use up its user's logouts.
    user = next((each.user_key for each in arrived.verified if each.user_key is not None), None)
    if user is not None:
        return "user", user
    identities = [each.identity for each in arrived.presented if each.identity is not None]
    if identities and in_quota:
        return "credential", identities[0].own_key
    return "address", counted_address(request.client)


def to_delete(service: Service, request: Request, arrived: Arrived) -> tuple[GuardedCookie, ...]:
    """On a page of our own every guarded cookie goes; elsewhere only what was presented and counted."""
    if service.same_origin(request) and not service.settings.preset_rules.body_only:
        ambiguous = {each.cookie for each in arrived.presented if each.cookie} - set(arrived.cookies)
        return tuple(cookie for cookie in service.identifier.cookies if cookie not in ambiguous)
    return arrived.cookies


def answer(service: Service, plan: Plan, target: str, *, goes_on: bool) -> dict[str, Any]:
    """The members of the 200 answer, or of the preset. `goes_on`: the target is the provider, who has to be visited."""
    members: dict[str, Any] = {
        "success": True,
        "message": MESSAGE,
        "timestamp": timestamp(service.clock()),
        "status": plan.outcome.value,
        "revoked": {"tokens": plan.tokens, "sessions": plan.sessions, "connections": plan.connections},
        "redirect_to": target,
        **({"provider": True} if goes_on else {}),
    }
    wanted = service.settings.preset_rules.members
    if wanted is None:
        return members
    return {
        name: members[value[1:-1]] if isinstance(value, str) and value.startswith("<") else value
        for name, value in wanted.items()
    }


def partly_done(service: Service, limits: tuple[tuple[str, str], ...]) -> Response:
    """A token that cannot be verified now was revoked by itself; whether it has a session to end is not known."""
    text = "Only what is known to be yours was logged out; the rest cannot be verified now. Try again"
    status = service.settings.preset_rules.failure_status
    return failure(status, "temporarily_unavailable", text, (*limits, ("Retry-After", "1")))


def unrecorded(service: Service) -> Response:
    """Nothing could record the logout: no success, and no cookie is touched."""
    status = service.settings.preset_rules.failure_status
    return failure(
        status, "temporarily_unavailable", "The logout could not be recorded; you are still logged in",
        (("Retry-After", "1"),),
    )  # fmt: skip


def prefers_html(request: Request) -> bool:
    """Would this client rather see a page than JSON? Without an Accept field: no."""
    accept = parse_accept_header((request.header("accept") or "")[:1024], MIMEAccept)
    return bool(accept) and accept.best_match(["application/json", "text/html"], "application/json") == "text/html"


def page_for(response: Response, words: Words) -> Response:
    """The page that tells a person what a JSON error tells a program; its other headers stay."""
    error = json.loads(response.body)
    page = pages.problem(words, response.status, error["error"], error["message"])
    kept = [field for field in response.headers if field[0] not in ("Content-Type", "Cache-Control")]
    return page.with_headers(kept)


def _prefers_nothing(request: Request) -> bool:
    """`Prefer: return=minimal` (RFC 7240 4.2)."""
    words = [word.strip().lower().replace(" ", "") for word in (request.header("prefer") or "").split(",")]
    return "return=minimal" in words
