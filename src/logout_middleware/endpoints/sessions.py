"""`/auth/session` and `/auth/sessions`: who am I, my devices, end one of them, end the others (contract 4).

A logout may be asked for with anything that was ever a login. These tell a user something or act for one, so
only a verified credential counts that the guard would let pass now; where that cannot be known, it is 503.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence
from typing import Any

from ..errors import Refused, StoreError
from ..events import timestamp
from ..flows.logout import Plan
from ..flows.sessions import Session, Visit
from ..rules.http import Request, Response, json_response
from ..rules.identity import Identity
from ..rules.revocation import FOREVER, is_revoked
from ..stores import Outcome
from .limits import Allowance
from .logout import Order, is_lawful, to_delete
from .service import Arrived, Service, failure, refusal_of

REASON = "session_ended"
_VARY = ("Vary", "Cookie, Authorization")


async def who_am_i(service: Service, request: Request) -> Response:
    """Whom the first verified live credential names, or that there is none. Asking is no activity of the user."""
    return await _settled(_who_am_i(service, request))


async def list_sessions(service: Service, request: Request) -> Response:
    """The sessions of the caller's user, the last seen first."""
    return await _settled(_list_sessions(service, request))


async def end_session(service: Service, session_id: str, request: Request) -> Response:
    """End the caller's session with this id. One that does not exist and a stranger's are the same 404."""
    return await _settled(_end_session(service, session_id, request))


async def end_other_sessions(service: Service, request: Request) -> Response:
    """End every session of the caller's user but this one, also those that were never seen here."""
    return await _settled(_end_other_sessions(service, request))


async def _settled(answering: Awaitable[Response]) -> Response:
    """The answer, or what is wrong with the request or the store; no cache may mix up two callers."""
    try:
        response = await answering
    except Refused as refused:
        response = refusal_of(refused)
    except StoreError:
        text = "Sessions cannot be looked up or ended right now; try again"
        response = failure(503, "temporarily_unavailable", text, (("Retry-After", "1"),))
    return response.with_headers((_VARY,))


async def _who_am_i(service: Service, request: Request) -> Response:
    arrived = await service.arrived(request)
    holders = await _holders(service, request, arrived)
    if not holders:
        _advise(service, arrived)
        return json_response(200, {"authenticated": False})
    identity, idle = holders[0], service.sessions.idle
    session = next(iter(await service.sessions.about([identity.login_key])), None)
    members: dict[str, Any] = {
        "authenticated": True,
        "sub": identity.user_id,
        "sid": identity.session_id,
        "expires_at": _moment(_end(service, session, identity.expires_at)),
        "idle_expires_at": _moment(session.last_seen + idle if session is not None and idle is not None else None),
    }
    if service.settings.on_browser_close:
        members["ends_on_close"] = True
    return json_response(200, members)


async def _list_sessions(service: Service, request: Request) -> Response:
    arrived = await service.arrived(request)
    mine = await _mine(service, request, arrived)
    if not mine:
        return _unauthenticated(arrived)
    sessions, current = await _sessions_of(service, mine), await _current(service, mine)
    return json_response(200, {"sessions": [_told(service, each, is_current=each.key in current) for each in sessions]})


async def _end_session(service: Service, session_id: str, request: Request) -> Response:
    arrived = await _arrived_lawfully(service, request)
    mine = await _mine(service, request, arrived)
    if not mine:
        return _unauthenticated(arrived)
    allowance = await _counted(service, mine)
    session = next((each for each in await _sessions_of(service, mine) if each.id == session_id), None)
    is_current = session is not None and session.key in await _current(service, mine)
    # A limiter never keeps anyone logged in: whoever is over it still ends the session that he is in.
    if _is_exceeded(allowance) and not is_current:
        return await _limited(service, request, allowance)
    if session is None:
        return failure(404, "not_found", "You have no such session", _limits(allowance))

    plan = await service.logouts.end_sessions(
        {session.key: session.sid}, user=mine[0].user_id, reason=REASON, caller=service.caller(request)
    )
    headers = await service.deletions(to_delete(service, request, arrived), request) if is_current else []
    if _is_exceeded(allowance):
        return await _limited(service, request, allowance, headers)
    return _ended(service, plan, "Session ended.", plan.sessions, [*_limits(allowance), *headers])


async def _end_other_sessions(service: Service, request: Request) -> Response:
    arrived = await _arrived_lawfully(service, request)
    mine = await _mine(service, request, arrived)
    if not mine:
        return _unauthenticated(arrived)
    allowance = await _counted(service, mine)
    if _is_exceeded(allowance):
        return await _limited(service, request, allowance)
    current = await _current(service, mine)
    others = [each for each in await _sessions_of(service, mine) if each.key not in current]
    # Not by their keys: a cut-off of the user reaches sessions as well that this registry never saw.
    plan = await service.logouts.log_out(
        mine, scope="others", bound=service.settings.revoke_bound, reason=REASON, caller=service.caller(request)
    )
    if not plan.revocations:  # This session was ended meanwhile, and can end nothing any more.
        return _unauthenticated(arrived)
    return _ended(service, plan, "All other sessions ended.", len(others), _limits(allowance))


async def _arrived_lawfully(service: Service, request: Request) -> Arrived:
    """What was presented and may end sessions: a cookie only on a request that our own site made (contract 4.1)."""
    arrived = await service.arrived(request)
    is_json = (request.header("content-type") or "").partition(";")[0].strip().lower() == "application/json"
    order = Order({}, "local", None, None, None, None, is_json)
    if all(each.cookie is None for each in arrived.presented) or is_lawful(service, request, order, arrived):
        return arrived
    if any(each.source in ("bearer", "dpop") for each in arrived.presented):
        # Another site cannot make a browser send Authorization unasked: the token counts, the cookie does not.
        return await service.arrived(request, cookies=False)
    raise Refused(403, "cross_site", "A session can be ended by cookie only from a page of this site")


async def _holders(service: Service, request: Request, arrived: Arrived) -> list[Identity]:
    """The verified credentials that the guard would let pass now, in the order in which they came.

    StoreError where that cannot be known: `arrived` takes a login for alive while the store is away.
    """
    if arrived.doubt is not None and not arrived.verified:
        raise arrived.doubt  # 503: who it is cannot be known now, which is not "nobody"
    # Who observes, lets the dead pass as well, so they are logged in.
    held = arrived.identities if service.settings.mode == "observe" else arrived.live
    return await alive(service, request, [each for each in held if each.verified and each.addressed])


async def alive(service: Service, request: Request, identities: Sequence[Identity]) -> list[Identity]:
    """Those of these that the guard would let pass now. Asking is no activity. StoreError where it cannot be known."""
    now, caller = service.clock(), service.caller(request)
    visit = Visit(caller.address, caller.user_agent, passive=True)
    held = [
        each for each in identities if _is_in_time(service, each, now) or (not each.verified and now < each.expires_at)
    ]
    if service.settings.mode == "observe":
        return held
    records = await service.store.find([key for each in held for key in each.keys]) if held else ()
    held = [each for each in held if is_revoked(each, records) is None]
    # Being seen passively registers a login that is new, and ends one whose time is over; it keeps none alive.
    registry = service.sessions
    return [each for each in held if registry.due_at(each) == math.inf or await registry.seen(each, visit)]


def _is_in_time(service: Service, identity: Identity, now: float) -> bool:
    """Is it valid by its own dates, and remembered long enough if its user logs out? (as the guard asks)"""
    leeway, longest = service.settings.jwt_leeway, service.settings.max_lifetime
    begins, ends = identity.not_before - leeway, identity.expires_at + leeway
    return begins <= now < ends <= now + longest + 2 * leeway


async def _mine(service: Service, request: Request, arrived: Arrived) -> list[Identity]:
    """The live credentials of the caller's user: the first that names one, and the others that name the same."""
    holders = await _holders(service, request, arrived)
    users = [each for each in holders if each.user_key is not None and not each.is_client]
    return [each for each in users if each.user_key == users[0].user_key]


async def _sessions_of(service: Service, mine: Sequence[Identity]) -> list[Session]:
    key = mine[0].user_key
    return await service.sessions.of_user(key, mine[0].issuer) if key is not None else []


async def _current(service: Service, mine: Sequence[Identity]) -> set[bytes]:
    """The keys of the login that makes this request: what it presents, and what is bound to that."""
    keys = {each.login_key for each in mine}
    return keys | set(await service.logouts.bindings.members(list(keys), service.clock()))


async def _counted(service: Service, mine: Sequence[Identity]) -> Allowance | None:
    """What is left of the user's limit, which is the one of his logouts."""
    return await service.limiter.count("user", mine[0].user_key or b"")


def _is_exceeded(allowance: Allowance | None) -> bool:
    return allowance is not None and allowance.exceeded


def _limits(allowance: Allowance | None) -> tuple[tuple[str, str], ...]:
    return allowance.headers() if allowance is not None else ()


async def _limited(
    service: Service, request: Request, allowance: Allowance | None, headers: Sequence[tuple[str, str]] = ()
) -> Response:
    await service.audit(request, kind="rate_limited", detail=f"address {request.client}")
    text = "Too many logouts; try again later"
    return failure(429, "rate_limited", text, (*_limits(allowance), *headers))


def _unauthenticated(arrived: Arrived) -> Response:
    """401 with the challenge of RFC 6750 3; it names no error where no token was sent (3.1)."""
    sources = {each.source for each in arrived.presented if each.cookie is None}
    challenge = f'{"DPoP" if "dpop" in sources else "Bearer"} realm="api"'
    if sources:
        challenge += ', error="invalid_token", error_description="The access token does not name a live login"'
    return failure(401, "login_required", "Log in first", (("WWW-Authenticate", challenge),))


def _advise(service: Service, arrived: Arrived) -> None:
    """Tell the operator why everybody is a stranger here, where nothing can be verified at all."""
    policy = service.identifier.policy
    if arrived.live and not policy.verifies_tokens and not policy.cookie_secrets:
        service.advise(
            "sessions-unverified",
            "GET /auth/session says that nobody is logged in, because no credential can be verified: set "
            "LOGOUT_JWT_KEY, LOGOUT_JWKS_URL or LOGOUT_COOKIE_SECRET, or take sessions out of LOGOUT_ENDPOINTS",
        )


def _told(service: Service, session: Session, *, is_current: bool) -> dict[str, Any]:
    return {
        "id": session.id,
        "created": timestamp(session.created_at),
        "last_seen": timestamp(session.last_seen),
        "address": session.address,
        "user_agent": session.user_agent,
        "current": is_current,
        "expires_at": _moment(_end(service, session, session.expires_at)),
    }


def _end(service: Service, session: Session | None, credential_ends: float) -> float:
    """When this login is over even if it is used: with its credential, or before it by ABSOLUTE_TIMEOUT."""
    longest = service.sessions.absolute
    return credential_ends if session is None or longest is None else min(credential_ends, session.created_at + longest)


def _ended(service: Service, plan: Plan, message: str, sessions: int, headers: Sequence[tuple[str, str]]) -> Response:
    """200, or 202 where the end is only in this host's journal yet."""
    members = {
        "success": True,
        "message": message,
        "timestamp": timestamp(service.clock()),
        "status": plan.outcome.value,
        "revoked": {"tokens": plan.tokens, "sessions": sessions, "connections": plan.connections},
    }
    return json_response(202 if plan.outcome is Outcome.PENDING else 200, members, headers)


def _moment(seconds: float | None) -> str | None:
    """RFC 3339, or None for what has no end."""
    return None if seconds is None or seconds >= FOREVER else timestamp(seconds)
