"""`POST /auth/ssf/events`: security events that a transmitter pushes (RFC 8935, SSF 1.0, CAEP 1.0, RISC 1.0).

`take` deals with one token however it came; the poller (RFC 8936) calls it, too. What an event does: session-revoked
and the account events of RISC log out whom they name. A credential-change ends nothing by itself (CAEP leaves that to
the receiver): it is told to the listeners, who may call `revoke_user`. Whom an event names so that we cannot tell is
told as an alert, and nobody is logged out; the transmitter hears 202, because sending it again would change nothing.
"""

from __future__ import annotations

import hmac
from dataclasses import replace

from ..errors import Refused, StoreError
from ..events import LogoutEvent
from ..flows import pushed
from ..flows.identify import KnownProvider
from ..flows.logout import Caller
from ..flows.pushed import Message, Target
from ..issuers import Stream
from ..rules import jose, security_event, subjects
from ..rules.http import MAX_BODY, NO_STORE, Request, Response, json_response
from ..rules.security_event import SecurityEvent, StreamHealth
from ..stores import Outcome
from .service import Service, failure

CONTENT_TYPE = "application/secevent+jwt"
_KEY_SECONDS = 1.5
_RETRY_SECONDS = "5"


async def receive_push(service: Service, request: Request) -> Response:
    """202 once what it asks for is durable; 400 or 401 with the code of RFC 8935 2.4; 503: send it again."""
    try:
        text = await _read_token(request)
        provider = transmitter_of(service, text)
        _authenticate(service, provider, request)
        await take(service, text, provider, caller=service.caller(request))
    except Refused as refused:
        await tell_refused(service, refused, service.caller(request))
        challenge = (("WWW-Authenticate", "Bearer"),) if refused.status == 401 else ()
        members = {"err": refused.code, "description": refused.description}
        return json_response(refused.status, members, (("Content-Language", "en"), *challenge))
    except StoreError:
        text = "the event could not be recorded; send it again"
        return failure(503, "temporarily_unavailable", text, (("Retry-After", _RETRY_SECONDS),))
    return Response(202, (NO_STORE,))


async def _read_token(request: Request) -> str:
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != CONTENT_TYPE:
        raise Refused(400, "invalid_request", f"send {CONTENT_TYPE}")
    try:
        return (await request.read_body(MAX_BODY)).decode("ascii")
    except UnicodeDecodeError:
        raise Refused(400, "invalid_request", "the body is not a token") from None
    except Refused as refused:
        raise Refused(refused.status, "invalid_request", refused.description) from None


def transmitter_of(service: Service, text: str) -> KnownProvider:
    """Whose token this claims to be; only who is configured with a stream (`ssf` in LOGOUT_ISSUERS) sends events."""
    try:
        issuer = jose.parse(text).claims.get("iss")
    except jose.Malformed as error:
        raise Refused(400, "invalid_request", str(error)) from None
    provider = service.providers.get(issuer) if isinstance(issuer, str) else None
    if provider is None or provider.issuer.stream is None:
        raise Refused(400, "invalid_issuer", "iss is no configured transmitter")
    return provider


def _stream_of(provider: KnownProvider) -> Stream:
    return provider.issuer.stream or Stream()


def _authenticate(service: Service, provider: KnownProvider, request: Request) -> None:
    """What the transmitter was told to send as Authorization (SSF 6.1.1), compared in constant time."""
    expected = _stream_of(provider).authorization_header
    if expected is None:
        return
    service.demand_https(request)
    given = request.header_lines("authorization")
    said = given[0] if len(given) == 1 else ""
    if not hmac.compare_digest(said.encode("utf-8"), expected.encode("utf-8")):
        raise Refused(401, "authentication_failed", "the Authorization field is not that of the stream")


async def take(service: Service, text: str, provider: KnownProvider, *, caller: Caller) -> Outcome:
    """Do what this token of this transmitter says; returns once that is durable. Twice is as good as once.

    Refused with a code of RFC 8935 2.4: it will never be accepted. StoreError: it may be, later.
    """
    event = await _verified(service, text, provider)
    target, why = _target(service, event)
    # A transmitter that counts anew gives an id to a second subject, who must not be taken for the first.
    about = (target.key, *target.pairs) if target is not None else ()
    message = Message("set-jti", event.issuer, event.token_id, event.name, event.told, about=about)
    found = await pushed.known(service.logouts, message, target)
    if found:
        return await service.logouts.confirm(found)
    if target is not None:
        before = security_event.cut_off_at(event, now=service.clock(), leeway=service.settings.jwt_leeway)
        return await pushed.end(service.logouts, target, message, before=before, caller=caller)
    if why is not None:
        await _tell(service, event, caller, kind="push_unmapped", outcome="nothing", detail=why)
    elif event.kind in (security_event.VERIFICATION, security_event.STREAM_UPDATED):
        await _hear_of_stream(service, event, provider, caller)
    else:
        await _tell(service, event, caller, kind="push_noted", outcome="nothing", detail=event.told)
    return await pushed.burn(service.logouts, message)


async def _verified(service: Service, text: str, provider: KnownProvider) -> SecurityEvent:
    issuer = provider.issuer
    try:
        token = jose.parse(text)
    except jose.Malformed as error:
        raise Refused(400, "invalid_request", str(error)) from None
    keys = await provider.find(text, seconds=_KEY_SECONDS, since=provider.moment())
    fault = jose.fault_in_signature(token, keys, issuer.algorithms)
    if fault is not None:
        raise Refused(400, "invalid_key", fault)
    read = security_event.read(
        token, issuer=issuer.name, audience=issuer.addressees, now=service.clock(), leeway=service.settings.jwt_leeway
    )
    if isinstance(read, security_event.Fault):
        raise Refused(400, read.code, read.description)
    return read


def _target(service: Service, event: SecurityEvent) -> tuple[Target | None, str | None]:
    """Whom the event logs out, or why that cannot be told; neither for an event that logs nobody out."""
    if not event.ends_logins:
        return None, None
    try:
        opaque_is_session = event.kind == security_event.SESSION_REVOKED
        subject = subjects.read_subject(event.subject, opaque_is_session=opaque_is_session)
        return target_of(service, subject, event.issuer), None
    except subjects.Malformed as error:
        raise Refused(400, "invalid_request", str(error)) from None
    except subjects.Unmappable as error:
        return None, str(error)


def target_of(service: Service, subject: subjects.Subject, sender: str) -> Target:
    """Whom this subject means among those that `sender` may name: those of its own realm, and nobody else."""
    policy = service.identifier.policy
    realm = policy.realm(sender)
    if subject.issuer is not None and policy.realm(subject.issuer) != realm:
        raise Refused(400, "access_denied", "the subject is of another issuer")
    # A later one in that list is only looked at where the first is missing, so it would find hardly anybody.
    if subject.is_email and policy.user_claims[0] != "email":
        raise subjects.Unmappable("users are not known by their email; LOGOUT_USER_CLAIM=email would make them")
    return Target(realm, subject.user, subject.session)


async def _hear_of_stream(service: Service, event: SecurityEvent, provider: KnownProvider, caller: Caller) -> None:
    known = service.streams.get(event.issuer, StreamHealth())
    if event.kind == security_event.VERIFICATION:
        fault = security_event.fault_in_verification(event, _stream_of(provider).stream_id)
        if fault is not None:
            raise Refused(400, fault.code, fault.description)
        service.streams[event.issuer] = replace(known, verified_at=service.clock())
        return
    said = security_event.status_said(event)
    if isinstance(said, security_event.Fault):
        raise Refused(400, said.code, said.description)
    status, reason = said
    service.streams[event.issuer] = replace(known, status=status, reason=reason, updated_at=event.at)
    await _tell(
        service, event, caller, kind="stream_updated", outcome="done", detail=f"status: {status}; {reason or ''}"
    )


async def tell_refused(service: Service, refused: Refused, caller: Caller) -> None:
    """Have it in the audit log that a security event was refused, and why."""
    await service.events.emit(
        LogoutEvent(
            "push_refused", "refused", service.clock(), client_address=caller.address, user_agent=caller.user_agent,
            detail=f"security event: {refused.description}",
        )
    )  # fmt: skip


async def _tell(
    service: Service, event: SecurityEvent, caller: Caller, *, kind: str, outcome: str, detail: str | None
) -> None:
    await service.events.emit(
        LogoutEvent(
            kind, outcome, service.clock(), reason=event.name, client_address=caller.address,
            user_agent=caller.user_agent, detail=detail,
        )
    )  # fmt: skip
