"""Is this a genuine logout token? (OpenID Connect Back-Channel Logout 1.0, sections 2.4 and 2.6)

Logout tokens, access tokens, ID tokens, DPoP proofs and security events are all JWTs that one provider may sign with
one key; what is one of them is none of the others (RFC 8725 3.12). `jose.fault_in_signature` checks the signature.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import jose

EVENT = "http://schemas.openid.net/event/backchannel-logout"
CLOCK_SKEW = 60.0
"""Seconds by which a provider's clock may be ahead of ours, beside LOGOUT_JWT_LEEWAY."""
LONGEST_LIFE = 86400.0
"""The specification recommends two minutes; what is good for longer than a day is no message of now."""

# 4.1 recommends `logout+jwt` and warns that demanding it breaks providers, which send JWT or nothing.
_TYPES = frozenset({"", "jwt", "logout+jwt", "application/logout+jwt", "application/jwt"})


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """What a provider orders: end this session, all of this user, or the session that is of both."""

    issuer: str
    token_id: str
    user_id: str | None
    session_id: str | None
    issued_at: float
    expires_at: float


def read_logout_token(
    token: jose.Token, *, issuer: str, client_id: str, now: float, leeway: float = 0.0
) -> LogoutToken | str:
    """The order, or what is wrong with it. `now`: when it arrived; it may be looked at later."""
    claims = token.claims
    kind = token.header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        return "it is a token of another kind"
    if claims.get("iss") != issuer:
        return "it is of another issuer"
    if not jose.is_for(claims, (client_id,)):
        return "it is for another audience"
    if "nonce" in claims:
        return "it has a nonce, as only an ID token may"
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        return "its events do not say that it is a logout"
    return _fault_in_times(token, now=now, leeway=leeway) or _order(token, issuer)


def _fault_in_times(token: jose.Token, *, now: float, leeway: float) -> str | None:
    issued_at, expires_at = (jose.number_claim(token.claims, name) for name in ("iat", "exp"))
    if issued_at is None or expires_at is None:
        return "its iat or exp is missing or no number"
    if issued_at > now + CLOCK_SKEW + leeway:
        return "its iat is in the future"
    if expires_at <= now - leeway:
        return "it expired"
    if expires_at > now + LONGEST_LIFE + leeway:
        return "its exp is too far in the future"
    return None


def _order(token: jose.Token, issuer: str) -> LogoutToken | str:
    claims = token.claims
    names: list[str | None] = []
    for claim in ("jti", "sub", "sid"):
        value = claims.get(claim)
        if claim in claims and not (isinstance(value, str) and value):
            return f"its {claim} is not a text"
        names.append(value)
    token_id, user_id, session_id = names
    if token_id is None:
        return "it has no jti"
    if user_id is None and session_id is None:
        return "it names neither a user nor a session"
    issued_at, expires_at = (jose.number_claim(claims, name) or 0.0 for name in ("iat", "exp"))
    return LogoutToken(issuer, token_id, user_id, session_id, issued_at, expires_at)
