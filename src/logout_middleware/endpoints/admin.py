"""Revoke, explain, health: for operators, with a key of their own (group `admin`, contract 4).

`Authorization: Bearer <LOGOUT_ADMIN_KEY>`. What is revoked, and the tokens to explain, come in a JSON body: an address
is in every log. An order with a member that we do not know is refused, because a misspelt `keep` would end too much.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from .. import values
from ..errors import Refused, StoreError
from ..flows.introspection import described, explain
from ..flows.logout import Caller, Plan
from ..flows.orders import Moment, Orders, named
from ..rules.http import Request, Response, json_response
from ..rules.revocation import FOREVER
from ..stores import Outcome
from ..stores.health import health
from .service import Methods, Service, failure, refusal_of

_CHALLENGE = ("WWW-Authenticate", 'Bearer realm="logout-admin"')
_MAX_REASON = 200
# What each order may say beside itself.
_MEMBERS = {
    "token": {"reason"}, "session": {"reason", "issuer"}, "user": {"reason", "issuer", "before", "keep"},
    "client": {"reason", "issuer"}, "everyone": {"reason", "issuer", "before"},
}  # fmt: skip

Work = Callable[[Service, Request], Awaitable[Response]]


def paths(service: Service, prefix: str) -> dict[str, Methods]:
    """The paths of this group."""
    return {
        f"{prefix}/admin/revoke": {"POST": partial(_answered, _revoked, service)},
        f"{prefix}/admin/explain": {"POST": partial(_answered, _explained, service)},
        f"{prefix}/admin/health": {"GET": partial(_answered, _health, service)},
    }


async def _answered(work: Work, service: Service, request: Request) -> Response:
    """The answer to an operator, or why there is none."""
    try:
        await _demand_key(service, request)
        return await work(service, request)
    except Refused as refused:
        return refusal_of(refused)
    except StoreError:
        text = "The store is away, and nothing could be promised; try again"
        return failure(503, "temporarily_unavailable", text, (("Retry-After", "1"),))


async def _demand_key(service: Service, request: Request) -> None:
    """`Refused` unless the request carries an admin key; who guesses must wait."""
    service.demand_https(request)
    given = _bearer(request.header_lines("authorization"))
    if given is not None and _is_key(given, service.settings.admin_key):
        return
    if given is not None:
        await service.refuse_guess(request, service.wrong_admin_keys, "keys")
    await service.audit(request, kind="operator_refused", detail="a wrong admin key" if given else "no admin key")
    raise Refused(401, "invalid_key", "this needs Authorization: Bearer and an admin key", (_CHALLENGE,))


def _is_key(given: bytes, keys: Sequence[str]) -> bool:
    """Is it one of these? All are compared, so that the time does not say which one is nearly right."""
    found = [hmac.compare_digest(_digest(given), _digest(key.encode("utf-8"))) for key in keys]
    return any(found)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _bearer(lines: Sequence[str]) -> bytes | None:
    scheme, _, key = lines[0].partition(" ") if len(lines) == 1 else ("", "", "")
    return key.strip(" ").encode("latin-1") if scheme.lower() == "bearer" and key.strip(" ") else None


async def _health(service: Service, request: Request) -> Response:
    found = await health(service.store)
    away = found["status"] != "ok"
    return json_response(503 if away else 200, found, [("Retry-After", "1")] if away else [])


async def _explained(service: Service, request: Request) -> Response:
    body = await request.json_object()
    if set(body) != {"token"}:
        raise Refused(400, "invalid_request", "send exactly one member, token")
    verdict = await explain(service.identifier, service.logouts, _text(body, "token") or "")
    return json_response(200, described(verdict))


async def _revoked(service: Service, request: Request) -> Response:
    body = await request.json_object()
    orders = [name for name in _MEMBERS if name in body]
    if len(orders) != 1:
        raise Refused(400, "invalid_request", f"send exactly one of {', '.join(_MEMBERS)}")
    (what,) = orders
    unknown = set(body) - _MEMBERS[what] - {what}
    if unknown:
        raise Refused(400, "invalid_request", f"beside {what}, only {', '.join(sorted(_MEMBERS[what]))} may be given")
    plan = await _carry_out(service.orders, what, body, service.caller(request))
    status = 202 if plan.outcome is Outcome.PENDING else 200
    told = {"success": True, "status": plan.outcome.value, "revoked": what, "connections": plan.connections}
    return json_response(status, told)


async def _carry_out(orders: Orders, what: str, body: Mapping[str, Any], caller: Caller) -> Plan:
    given: dict[str, Any] = {"reason": _reason(body), "caller": caller}
    if what == "token":
        return await orders.end_token(_text(body, "token") or "", **given)
    given["issuer"] = _text(body, "issuer")
    if what == "everyone":
        if body[what] is not True:
            raise Refused(400, "invalid_request", "everyone must be true")
        return await orders.end_everyone(_before(body), **given)
    name = _name(body[what], what)
    if what == "session":
        return await orders.end_session(name, **given)
    if what == "client":
        return await orders.end_client(name, **given)
    return await orders.end_user(name, before=_before(body), keep=_keep(body), **given)


def _name(value: object, member: str) -> str:
    try:
        return named(member, value)
    except TypeError as error:
        raise Refused(400, "invalid_request", str(error)) from None


def _text(body: Mapping[str, Any], member: str) -> str | None:
    """A text that is not empty; None if it is absent."""
    value = body.get(member)
    if member in body and (not isinstance(value, str) or not value):
        raise Refused(400, "invalid_request", f"{member} must be a text that is not empty")
    return value


def _reason(body: Mapping[str, Any]) -> str | None:
    reason = _text(body, "reason")
    # What begins with "!" are words of our own in records (`flows/live.py`, `flows/pushed.py`).
    if reason is not None and (len(reason) > _MAX_REASON or reason.startswith("!") or not reason.isprintable()):
        raise Refused(400, "invalid_request", f"reason must be up to {_MAX_REASON} characters, e.g. password_change")
    return reason


def _keep(body: Mapping[str, Any]) -> list[str]:
    found = body.get("keep", [])
    return [_name(each, "keep") for each in (found if isinstance(found, list) else [found])]


def _before(body: Mapping[str, Any]) -> Moment | None:
    """Seconds since 1970, or a time with its zone; None for now."""
    if "before" not in body:
        return None
    value = body["before"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value <= FOREVER:
            raise Refused(400, "invalid_request", "before is not a time")
        return float(value)
    try:
        return values.moment(value)
    except ValueError:
        text = "before must be seconds since 1970, or a time like 2026-11-20T10:29:00+00:00"
        raise Refused(400, "invalid_request", text) from None
