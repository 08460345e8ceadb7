"""What is to be said of a token: the guard's verdict on it, and the answer of RFC 7662.

Asks the store and the rules; decides nothing by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import timestamp
from ..rules import jose
from ..rules.credentials import Credential
from ..rules.identity import Identity
from ..rules.revocation import FOREVER, Verdict, is_revoked
from ..stores import PartlyKnown
from .identify import Identifier
from .logout import Logouts

INACTIVE: Mapping[str, Any] = {"active": False}
_USERNAMES = ("username", "preferred_username")


async def explain(identifier: Identifier, logouts: Logouts, token: str) -> Verdict:
    """What the guard says of this token, and which record says so. StoreError: that cannot be known."""
    presented = await identifier.token(Credential("bearer", "", token))
    identity = presented.identity
    if identity is None:
        return Verdict(None, None, getattr(presented.credential, "why", "it cannot be read"))
    try:
        records = await logouts.store.find(identity.keys)
        (identity,) = await logouts.marks.exact([identity], records)
        record = is_revoked(identity, records)
    except PartlyKnown as error:
        record = is_revoked(identity, error.known)
        if record is None:
            raise
    if record is not None:
        return Verdict(identity, record, f"revoked ({record.reason})")
    now = logouts.clock()
    if identity.fault is not None:
        return Verdict(identity, None, identity.fault)
    if identity.verified and now >= identity.expires_at + logouts.leeway:
        return Verdict(identity, None, "it expired")
    if identity.verified and now < identity.not_before - logouts.leeway:
        return Verdict(identity, None, "it is not valid yet")
    return Verdict(identity)


def is_of(client_id: str, identity: Identity) -> bool:
    """May this client ask about, and end, this verified token (RFC 7009 2.1)?

    A token that names no client is anybody's who is registered here, if we issued it; one of another issuer is not.
    """
    return identity.issuer is None if identity.client_id is None else identity.client_id == client_id


def described(verdict: Verdict) -> dict[str, Any]:
    """A verdict for an operator: whether it passes, whom it names, and the record that refuses it."""
    said: dict[str, Any] = {"passes": verdict.refusal is None}
    if verdict.refusal is not None:
        said["because"] = verdict.refusal
    identity, record = verdict.identity, verdict.revocation
    if identity is not None:
        said |= {"verified": identity.verified, "key": identity.own_key.hex()}
        named = {"user": identity.user_id, "session": identity.session_id, "client": identity.client_id}
        said |= {name: value for name, value in named.items() if value is not None}
    if record is not None:
        said["refused_by"] = {
            "key": record.key.hex(),
            "issued_up_to": "always" if record.before >= FOREVER else timestamp(record.before),
            "until": "for ever" if record.until >= FOREVER else timestamp(record.until),
            "reason": record.reason,
        }
    return said


async def introspect(
    identifier: Identifier, logouts: Logouts, token: str, *, client_id: str | None = None
) -> dict[str, Any]:
    """RFC 7662 2.2: `{"active": true, …}` for a verified live token, else exactly `{"active": false}`.

    `client_id`: who asks; of another client's token it learns nothing. None: we ourselves.
    """
    verdict = await explain(identifier, logouts, token)
    identity = verdict.identity
    if identity is None or not (identity.verified and identity.addressed) or verdict.refusal is not None:
        return dict(INACTIVE)
    if client_id is not None and not is_of(client_id, identity):
        return dict(INACTIVE)
    # Verified is only what could be parsed; an identity keeps no claims (architecture 5).
    return _members(identity, jose.parse(token), identifier.policy.jwt.issuer)


def _members(identity: Identity, token: jose.Token, our_issuer: str | None) -> dict[str, Any]:
    claims = token.claims
    members: dict[str, Any] = {
        "active": True, "scope": _scope(claims), "client_id": identity.client_id,
        "username": jose.text_claim(claims, *_USERNAMES), "token_type": _token_type(token),
        "exp": _whole(identity.expires_at), "iat": _whole(identity.issued_at),
        "nbf": _whole(jose.number_claim(claims, "nbf")), "sub": identity.user_id, "aud": _audience(claims.get("aud")),
        "iss": jose.text_claim(claims, "iss") or our_issuer, "jti": identity.token_id, "sid": identity.session_id,
        "cnf": claims["cnf"] if isinstance(claims.get("cnf"), dict) else None,
    }  # fmt: skip
    return {name: value for name, value in members.items() if value is not None}


def _scope(claims: Mapping[str, Any]) -> str | None:
    """Scopes with spaces between (RFC 7662 2.2); some issuers keep a list, or call it `scp`."""
    found = claims.get("scope", claims.get("scp"))
    if isinstance(found, list) and found and all(isinstance(each, str) for each in found):
        return " ".join(found)
    return found if isinstance(found, str) and found else None


def _token_type(token: jose.Token) -> str | None:
    """DPoP for what is bound to a key (RFC 9449 6.2), Bearer for what says that it is an access token, else unsaid."""
    bound = token.claims.get("cnf")
    if isinstance(bound, dict) and "jkt" in bound:
        return "DPoP"
    return "Bearer" if str(token.header.get("typ")).lower() in ("at+jwt", "application/at+jwt") else None


def _audience(found: Any) -> Any:
    names = [found] if isinstance(found, str) else found
    sound = isinstance(names, list) and names and all(isinstance(each, str) for each in names)
    return found if sound else None


def _whole(seconds: float | None) -> int | None:
    return int(seconds) if seconds is not None and abs(seconds) < FOREVER else None
