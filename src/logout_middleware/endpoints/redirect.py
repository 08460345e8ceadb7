"""`GET /auth/logout`: the redirect door (contract 4.2).

A GET can be made by any page, picture or prefetch, so it logs out only on proof of the user's intent;
otherwise it asks. The order is: read hints, revoke, make durable, tell others, delete cookies, redirect.
"""

from __future__ import annotations

from ..errors import Refused, StoreError
from ..flows.identify import Presented
from ..rules.credentials import Credential, read_authorization
from ..rules.http import Request, Response
from ..rules.identity import Identity
from ..rules.origins import is_navigation_by_user, is_prefetch
from . import pages
from .logout import log_out, page_for, partly_done, prefers_html, refuse_unreadable, revoke_within_limits, unrecorded
from .provider import onward, revoke_at_provider
from .service import Arrived, Service, failure, see_other, short_state, with_state

_PRIVATE = ("oauth_token", "id_token_hint")


async def redirect_logout(service: Service, request: Request) -> Response:
    """Answer a logout by GET."""
    if service.settings.preset_rules.get_by_bearer and _is_by_script(service, request):
        return await log_out(service, request)
    try:
        response = await _redirect_logout(service, request)
    except Refused as refused:
        response = failure(refused.status, refused.code, refused.description, (("Referrer-Policy", "no-referrer"),))
    except StoreError:
        response = unrecorded(service)
    if response.status >= 400 and prefers_html(request):
        return page_for(response)
    return response


def _is_by_script(service: Service, request: Request) -> bool:
    """Did a script send a bearer token? No picture, link or prefetch can, and no other site's page unasked."""
    if request.method != "GET" or service.settings.on_get == "deny":
        return False
    return isinstance(read_authorization(request.header_lines("authorization")), Credential)


async def _redirect_logout(service: Service, request: Request) -> Response:
    settings, rules = service.settings, service.settings.preset_rules
    if settings.on_get == "deny":
        return failure(405, "method_not_allowed", "Log out by POST", (("Allow", "POST, OPTIONS"),))
    if is_prefetch(request.single_headers()):
        raise Refused(403, "prefetch", "A prefetch never logs out")
    query = request.query()
    short_state(query.get("state"))
    client_id = query.get("client_id")
    if rules.required_client and client_id not in settings.clients:
        raise Refused(400, "invalid_request", "client_id is required and must be a registered client")
    wanted = _wanted(query)
    target, refused = await service.target(wanted, client_id, request)
    if refused and rules.strict_redirect:
        raise Refused(400, "invalid_redirect_uri", "redirect_uri is not registered for this client")
    arrived = await service.arrived(request)
    if request.method == "HEAD":
        return _ask(service, request, query, target, arrived, None)

    token = await _owned_token(service, request, query.get("oauth_token"), arrived)
    if token is None:
        refuse_unreadable(arrived)
    if not arrived.live and token is None:
        return await _nobody_there(service, request, query, arrived, target)
    if not await _is_intended(service, request, query, arrived, token, wanted):
        return _ask(service, request, query, target, arrived, token)
    if token is not None and token not in arrived.presented:
        arrived = Arrived(
            (*arrived.presented, token), (*arrived.live, *filter(None, [token.identity])), arrived.dead_by
        )
    _, limits, limited = await revoke_within_limits(service, request, arrived, settings.scope)
    if arrived.doubt is not None and not limited:
        return partly_done(service, limits)
    headers = [*limits, *await service.deletions(arrived.cookies, request)]
    if limited:
        return failure(429, "rate_limited", "Too many logouts; try again later", tuple(headers))
    return await _go_on(service, request, query, arrived, target, headers)


async def _nobody_there(
    service: Service, request: Request, query: dict[str, str], arrived: Arrived, target: str
) -> Response:
    """Nobody is logged in, which is a success; a person who came by himself still leaves the provider, too."""
    await service.logouts.confirm(arrived.dead_by)
    by_user = is_navigation_by_user(request.single_headers())
    goes_on = by_user and bool(arrived.presented) and service.settings.oidc_issuer is not None
    if _wanted(query) is None and service.settings.on_get == "confirm" and not goes_on:
        return pages.signed_out(service.settings.redirect_url, private=_is_private(query))
    # Dead cookies go with the redirect, but only where a user's own navigation asked for it.
    headers = await service.deletions(arrived.cookies if by_user else (), request)
    if goes_on:
        return await _go_on(service, request, query, arrived, target, headers)
    return see_other(with_state(target, query.get("state")), headers)


async def _go_on(
    service: Service, request: Request, query: dict[str, str], arrived: Arrived, target: str,
    headers: list[tuple[str, str]],
) -> Response:  # fmt: skip
    """To the provider, if the login came from one and is over, and else to the target."""
    state, further = query.get("state"), None
    if service.settings.scope != "others":
        await revoke_at_provider(service, arrived)
        named = {"client_id": query.get("client_id"), "hint": query.get("id_token_hint")}
        further = await onward(service, request, arrived, target=target, state=state, **named)
    return further.response(headers) if further is not None else see_other(with_state(target, state), headers)


def _wanted(query: dict[str, str]) -> str | None:
    wanted = {query[name] for name in ("redirect_uri", "post_logout_redirect_uri") if query.get(name)}
    if len(wanted) > 1:
        raise Refused(400, "invalid_request", "redirect_uri and post_logout_redirect_uri differ")
    return next(iter(wanted), None)


async def _owned_token(service: Service, request: Request, text: str | None, arrived: Arrived) -> Presented | None:
    """The `oauth_token` if the logged-in user owns it; a stranger's is left alone and audited (SP-12).

    Where nobody is logged in, having the token is the proof of owning it (SP-16).
    """
    if not text:
        return None
    presented = await service.identifier.token(Credential("query", "oauth_token", text))
    identity = presented.identity
    alone = not any(each.identity for each in arrived.presented)
    if identity is not None and (alone or any(_same_user(identity, each) for each in arrived.verified)):
        return presented
    await service.audit(request, kind="token_refused", detail="oauth_token is not of the logged-in user")
    return None


def _same_user(one: Identity, other: Identity) -> bool:
    return one.verified and one.user_key is not None and one.user_key == other.user_key


def _same_session(one: Identity, other: Identity) -> bool:
    if one.session_key is not None and other.session_key is not None:
        return one.verified and one.session_key == other.session_key
    return _same_user(one, other)


async def _is_intended(
    service: Service,
    request: Request,
    query: dict[str, str],
    arrived: Arrived,
    token: Presented | None,
    wanted: str | None,
) -> bool:
    """Did the user want this? One proof is enough; none of them can be made by another site."""
    if service.settings.on_get == "allow" or is_navigation_by_user(request.single_headers()):
        return True
    if service.is_proven(query.get("intent"), arrived.live, wanted):
        return True
    if token is not None and token.identity is not None:
        alone = not arrived.live
        if alone or any(_same_session(token.identity, each) for each in arrived.verified):
            return True
    hint = query.get("id_token_hint")
    hinted = await service.identifier.id_token(hint) if hint else None
    return hinted is not None and any(_same_session(hinted, each) for each in arrived.verified)


def _is_private(query: dict[str, str]) -> bool:
    return any(query.get(name) for name in _PRIVATE)


def _ask(
    service: Service, request: Request, query: dict[str, str], target: str, arrived: Arrived, token: Presented | None
) -> Response:
    """The page with one button, which posts to where it came from."""
    kept = ["redirect_uri", "post_logout_redirect_uri", "client_id", "state"]
    kept += ["oauth_token"] if token is not None else []  # a stranger's token goes no further
    hidden = {name: query[name] for name in kept if query.get(name)}
    if service.links.usable and arrived.live:
        # For browsers that say nothing of a form's origin; the others need no proof.
        hidden["intent"] = service.links.make(arrived.live[0].login_key, _wanted(query))
    home = request.path.removesuffix(f"{service.settings.prefix}/logout")
    cancel = f"{home}/" if home != request.path else "/"
    return pages.confirm(
        request.path, hidden, cancel=cancel, target=target, private=_is_private(query),
        provider=service.settings.oidc_issuer,
    )  # fmt: skip
