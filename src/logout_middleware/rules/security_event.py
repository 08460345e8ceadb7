"""Security Event Tokens (RFC 8417) as the Shared Signals Framework narrows them (SSF 1.0 section 4.1).

They are not logout tokens: what those must have (`exp`, `sub`) these must not. Who signed is asked elsewhere
(`jose.fault_in_signature`); here is what a token must say, and what its event means for us.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from . import jose

TYPES = frozenset({"secevent+jwt", "application/secevent+jwt"})
_CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
_RISC = "https://schemas.openid.net/secevent/risc/event-type/"
_SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
SESSION_REVOKED = f"{_CAEP}session-revoked"
CREDENTIAL_CHANGE = f"{_CAEP}credential-change"
VERIFICATION = f"{_SSF}verification"
STREAM_UPDATED = f"{_SSF}stream-updated"
ACCOUNT_EVENTS = frozenset(
    _RISC + name
    for name in ("account-disabled", "account-purged", "account-credential-change-required", "sessions-revoked")
)
"""What ends everything of a user (RISC 1.0 section 2)."""

_AHEAD_SECONDS = 120.0
"""So far a transmitter's clock may be ahead of ours."""
_WHOLE_SECOND = 1 - 1e-6
_LONGEST_TEXT = 200
_STATUSES = frozenset({"enabled", "paused", "disabled"})


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a token is refused, with the error code of RFC 8935 2.4 (or SSF 8.1.4.1)."""

    code: str
    description: str


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """One event, told by `issuer`. `at`: up to when it reaches, in seconds since 1970."""

    issuer: str
    token_id: str
    kind: str
    at: float
    subject: Mapping[str, Any]
    members: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The last part of its type, for people: session-revoked."""
        return cut_text(self.kind.rpartition("/")[2])

    @property
    def ends_logins(self) -> bool:
        """Does it say that somebody must be logged out?"""
        return self.kind == SESSION_REVOKED or self.kind in ACCOUNT_EVENTS

    @property
    def told(self) -> str | None:
        """Who did it and why, as far as the transmitter says (CAEP 2): for the audit record."""
        entity, reason = self.members.get("initiating_entity"), self.members.get("reason_admin")
        if isinstance(reason, Mapping):
            reason = reason.get("en", next(iter(reason.values()), None))
        parts = (("initiating_entity", entity), ("reason_admin", reason))
        return "; ".join(f"{name}: {cut_text(text)}" for name, text in parts if isinstance(text, str) and text) or None


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """What was last heard of a stream: its status (SSF 8.1.5), when that was said, and when it was verified."""

    status: str = "enabled"
    reason: str | None = None
    updated_at: float | None = None
    verified_at: float | None = None


def cut_text(text: str) -> str:
    """As much of a stranger's text as an audit record may hold."""
    return text[:_LONGEST_TEXT]


def read(
    token: jose.Token, *, issuer: str, audience: Collection[str], now: float, leeway: float = 0.0
) -> SecurityEvent | Fault:
    """The event of a token whose signature by this issuer was verified, or why it is refused (SET-4 to SET-6)."""
    claims = token.claims
    kind = token.header.get("typ")
    if not isinstance(kind, str) or kind.lower() not in TYPES:
        return Fault("invalid_request", "typ must be secevent+jwt")
    if claims.get("iss") != issuer:
        return Fault("invalid_issuer", "iss is not that of the stream")
    if not jose.is_for(claims, audience):
        return Fault("invalid_audience", "aud does not name this receiver")
    for name in ("sub", "exp"):
        if name in claims:
            return Fault("invalid_request", f"a security event must not have {name}")
    if not isinstance(claims.get("sub_id"), Mapping):
        return Fault("invalid_request", "sub_id must be an object")
    issued_at, token_id = jose.number_claim(claims, "iat"), claims.get("jti")
    if issued_at is None or not 0 <= issued_at <= now + leeway + _AHEAD_SECONDS:
        return Fault("invalid_request", "iat must be a moment that is not in the future")
    if not isinstance(token_id, str) or not token_id:
        return Fault("invalid_request", "jti must be a text")
    return _event(claims, issuer, token_id, issued_at)


def _event(claims: Mapping[str, Any], issuer: str, token_id: str, issued_at: float) -> SecurityEvent | Fault:
    events = claims.get("events")
    if not isinstance(events, Mapping) or len(events) != 1:
        return Fault("invalid_request", "events must be an object with exactly one event")
    ((kind, members),) = events.items()
    if not isinstance(members, Mapping):
        return Fault("invalid_request", "the event must be an object")
    at = issued_at
    if members.get("event_timestamp") is not None:
        said = jose.number_claim(members, "event_timestamp")
        if said is None or said < 0:
            return Fault("invalid_request", "event_timestamp must be a number of seconds")
        at = said
    return SecurityEvent(issuer, token_id, kind, at, claims["sub_id"], members)


def cut_off_at(event: SecurityEvent, *, now: float, leeway: float = 0.0) -> float:
    """Up to when a login is older than this event: never later than now (CAEP-2).

    A moment given in whole seconds reaches to the end of its second: what was issued in it may be older than the event.
    Within the leeway the transmitter's clock, and with it the times in its tokens, may be ahead of ours.
    """
    at = event.at + _WHOLE_SECOND if event.at == int(event.at) else event.at
    return min(at, now + leeway)


def fault_in_verification(event: SecurityEvent, stream_id: str | None) -> Fault | None:
    """Why a verification event is not for our stream (SSF 8.1.4.1). We ask for none, so none may carry a `state`."""
    if stream_id is not None and (event.subject.get("format"), event.subject.get("id")) != ("opaque", stream_id):
        return Fault("invalid_request", "sub_id is not this stream")
    if event.members.get("state") is not None:
        return Fault("invalid_state", "state is not one that this receiver gave")
    return None


def status_said(event: SecurityEvent) -> tuple[str, str | None] | Fault:
    """The status that a stream-updated event tells of, and the reason it gives (SSF 8.1.5)."""
    status, reason = event.members.get("status"), event.members.get("reason")
    if not isinstance(status, str) or status not in _STATUSES:
        return Fault("invalid_request", "status must be enabled, paused or disabled")
    return status, cut_text(reason) if isinstance(reason, str) and reason else None
