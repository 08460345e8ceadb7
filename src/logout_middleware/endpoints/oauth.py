"""RFC 7009 revocation and RFC 7662 introspection, for the clients of LOGOUT_CLIENTS (group `oauth`, contract 4).

An answer of 200 or 202 to a revocation is given once the token is dead: 200 everywhere, 202 on this host at once and
elsewhere as soon as the store is back (the journal has it). Both have no body. `token_type_hint` is accepted, and not
needed. A token ends with its login (REVOKE_BOUND), as by every other door.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from ..errors import Refused, StoreError
from ..flows.introspection import introspect, is_of
from ..rules.http import NO_STORE, Request, Response, json_response
from ..rules.identity import Identity
from ..stores import Outcome
from .clients import authenticated
from .service import Methods, Service, oauth_error, oauth_unavailable

Work = Callable[[Service, Request, str, str], Awaitable[Response]]
"""Answers for this token and the client with this id."""


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The paths of this group."""
    return {
        f"{prefix}/revoke": {"POST": partial(_answered, _revoked, service)},
        f"{prefix}/introspect": {"POST": partial(_answered, _introspected, service)},
    }


async def _answered(work: Work, service: Service, request: Request) -> Response:
    """The answer to the authenticated client, or why there is none."""
    try:
        form = await request.form()
        client_id = await authenticated(service, request, form)
        return await work(service, request, _token(form), client_id)
    except Refused as refused:
        return oauth_error(refused)
    except StoreError:
        return oauth_unavailable()


def _token(form: Mapping[str, str]) -> str:
    token = form.get("token")
    if not token:
        raise Refused(400, "invalid_request", "token is missing")
    return token


async def _introspected(service: Service, request: Request, token: str, client_id: str) -> Response:
    return json_response(200, await introspect(service.identifier, service.logouts, token, client_id=client_id))


async def _revoked(service: Service, request: Request, token: str, client_id: str) -> Response:
    """An unknown, dead or unreadable token is revoked already (RFC 7009 2.2)."""
    identity = await service.orders.identity(token)
    if identity is None or not await _may_revoke(service, request, identity, client_id):
        return Response(200, (NO_STORE,))
    # A client may end the login that its own token is of.
    plan = await service.logouts.log_out(
        [replace(identity, addressed=True)],
        bound=service.settings.revoke_bound,
        reason="revoke_token",
        caller=service.caller(request),
    )
    return Response(202 if plan.outcome is Outcome.PENDING else 200, (NO_STORE,))


async def _may_revoke(service: Service, request: Request, identity: Identity, client_id: str) -> bool:
    """Is this token the client's own? What nobody can verify names only itself, and is anybody's who holds it.

    What has a fault, too, where keys are published by others: the missing one may be new, and 200 must stay true.
    """
    if identity.verified:
        if is_of(client_id, identity):
            return True
        # Not an error: the difference would tell the client which tokens of others are alive (standards.md 2, 5).
        await service.audit(request, kind="token_refused", detail="a client asked to revoke the token of another")
        return False
    if identity.fault is not None and not service.identifier.keys_change:
        return False  # No verifier accepts it, so there is nothing to revoke, and nothing to fill the store with.
    wait = service.limiter.take_quota(request.client, 1)
    if wait:
        await service.audit(request, kind="quota_exceeded", detail=f"address {request.client}")
        raise Refused(
            429, "rate_limited", "too many tokens that cannot be verified; try again later",
            (("Retry-After", str(wait)),),
        )  # fmt: skip
    return True
