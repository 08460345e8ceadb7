"""Credential → identity: whom it claims to be, and under which names it can be revoked.

The rule of this file: **claims may condemn only themselves.** What is not verified has one name, the digest
of exactly what it is, signature included, so that a forgery with copied claims is somebody else. Only what
a configured key signed has a session, a user, a client. Text is never a key: two spellings of one
credential either have the same identity or are refused (identity.md section 8).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from . import jose, signed_cookies
from .credentials import Credential, Unreadable
from .revocation import client_key, everyone_key, key_of, pair_key, session_key, user_key

ADDED_SESSION_ID = "_lo_sid"
"""The member that the middleware adds to signed cookie sessions which have no session id of their own."""

_UPPER = re.compile(r"[A-Z]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a credential claims to be. `issuer` None is our own realm; times are seconds since 1970.

    `claimed_issuer`: the `iss` of a verified token, whatever its realm. `addressed` False: it was made for another
    client of its issuer; it dies like any other, but who presents it may end nothing but itself, and is nobody to us.

    `fault` says why a verifier must refuse it (bad signature, wrong audience …); None if there is none or
    nothing to verify it with. `keys` are all names that can revoke it; `own_key` is its own.
    """

    digest: bytes
    own_key: bytes
    issuer: str | None = None
    token_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    client_id: str | None = None
    issued_at: float | None = None
    not_before: float = -math.inf
    expires_at: float = math.inf
    verified: bool = False
    fault: str | None = None
    claimed_issuer: str | None = None
    addressed: bool = True
    keys: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def session_key(self) -> bytes | None:
        """The key of its session, which only a verified identity has."""
        return session_key(self.session_id, self.issuer) if self.session_id is not None else None

    @property
    def user_key(self) -> bytes | None:
        """The key of its user, which only a verified identity has."""
        return user_key(self.user_id, self.issuer) if self.user_id is not None else None

    @property
    def login_key(self) -> bytes:
        """The name of the login it belongs to: its session, else itself."""
        return self.session_key or self.own_key

    @property
    def is_client(self) -> bool:
        """Is it an application's own token (client credentials), which no user's logout touches? (RFC 9068 2.2, 5)"""
        return self.client_id is not None and self.user_id in (None, self.client_id, f"{self.client_id}@clients")


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """What identities are built with; `trusted` is False where no key is configured for our own tokens.

    `others`: how tokens of further issuers are verified, by issuer. `own_issuers`: whose users and sessions are our
    own. `pairs`: does a logout token of a provider ever come, which may name a user and a session together?
    """

    jwt: jose.JwtPolicy = field(default_factory=jose.JwtPolicy)
    trusted: bool = False
    others: Mapping[str, jose.JwtPolicy] = field(default_factory=dict)
    own_issuers: frozenset[str] = frozenset()
    pairs: bool = False
    user_claims: tuple[str, ...] = ("sub", "user_id", "_user_id", "_auth_user_id")
    session_claims: tuple[str, ...] = ("sid",)
    cookie_secrets: tuple[str, ...] = field(default=(), repr=False)
    max_lifetime: float = 400 * 86400.0

    def realm(self, issuer: str | None) -> str | None:
        """None (our own) for no issuer and for the configured ones; else the issuer itself."""
        return None if issuer is None or issuer == self.jwt.issuer or issuer in self.own_issuers else issuer

    @property
    def verifies_tokens(self) -> bool:
        """Is there any key that verifies a JWT?"""
        return self.trusted or bool(self.others)

    def of_issuer(self, issuer: Any) -> jose.JwtPolicy | None:
        """How a token that claims this issuer is verified; None if we have no key for it."""
        if isinstance(issuer, str) and issuer in self.others:
            return self.others[issuer]
        foreign = isinstance(issuer, str) and self.jwt.issuer not in (None, issuer)
        return self.jwt if self.trusted and not foreign else None


def identify_token(
    credential: Credential, keys: Iterable[Any], policy: IdentityPolicy, *, for_us: bool = True
) -> Identity | Unreadable:
    """The identity of a bearer, query or body token: a JWT in its one spelling, or an opaque value."""
    if not jose.looks_like_jose(credential.text):
        return opaque(credential.text)
    if credential.text.count(".") == 4:
        return _encrypted(credential)
    try:
        token = jose.parse(credential.text)
    except jose.Malformed as error:
        return Unreadable(credential.source, credential.name, str(error))
    return identify_jwt(token, keys, policy, for_us=for_us)


def identify_jwt(token: jose.Token, keys: Iterable[Any], policy: IdentityPolicy, *, for_us: bool = True) -> Identity:
    """The identity of a JWT, verified if a key is configured for its issuer."""
    digest = key_of("digest", "jwt", token.payload, jose.canonical_signature(token))
    how = policy.of_issuer(token.claims.get("iss"))
    if how is None:
        return _unverified(digest, token)
    fault = jose.verify(token, keys, how, for_us=for_us)
    if fault is not None:
        return _unverified(digest, token, fault)
    return _verified_jwt(token, digest, policy, addressed=jose.is_addressed(token.claims, how))


def _unverified(digest: bytes, token: jose.Token, fault: str | None = None) -> Identity:
    expires_at = jose.number_claim(token.claims, "exp")
    return Identity(
        digest, digest, expires_at=math.inf if expires_at is None else expires_at, fault=fault, keys=(digest,)
    )


def _verified_jwt(token: jose.Token, digest: bytes, policy: IdentityPolicy, *, addressed: bool) -> Identity:
    claims = token.claims
    realm = policy.realm(claims.get("iss"))
    token_id = jose.text_claim(claims, "jti")
    issued_at = jose.number_claim(claims, "iat")
    expires_at = jose.number_claim(claims, "exp")
    own = key_of("token", realm, token_id) if token_id else key_of("payload", realm, token.payload)
    return _with_keys(
        Identity(
            digest,
            own,
            issuer=realm,
            token_id=token_id,
            session_id=jose.text_claim(claims, *policy.session_claims),
            user_id=jose.text_claim(claims, *policy.user_claims),
            client_id=jose.text_claim(claims, "client_id", "azp"),
            issued_at=issued_at,
            not_before=max(jose.number_claim(claims, "nbf") or -math.inf, issued_at or -math.inf),
            expires_at=_end_of_life(issued_at, expires_at, policy),
            verified=True,
            claimed_issuer=claims.get("iss"),
            addressed=addressed,
        ),
        policy,
    )


def _end_of_life(issued_at: float | None, expires_at: float | None, policy: IdentityPolicy) -> float:
    longest = math.inf if issued_at is None else issued_at + policy.max_lifetime
    return min(longest, math.inf if expires_at is None else expires_at)


def _with_keys(identity: Identity, policy: IdentityPolicy) -> Identity:
    realm = identity.issuer
    keys = [identity.digest, identity.own_key, everyone_key(realm)]
    if identity.session_id is not None:
        keys.append(session_key(identity.session_id, realm))
    if identity.user_id is not None:
        keys.append(user_key(identity.user_id, realm))
    if identity.client_id is not None:
        keys.append(client_key(identity.client_id, realm))
    if policy.pairs and not identity.is_client:
        # Of an id that we added ourselves no provider knows.
        sid = identity.session_id if added_at(identity.session_id) is None else None
        keys.append(pair_key(identity.user_id, sid, realm))
    object.__setattr__(identity, "keys", tuple(dict.fromkeys(keys)))
    return identity


def _encrypted(credential: Credential) -> Identity | Unreadable:
    """A JWE (RFC 7516): unreadable for us, but with one spelling, so its bytes name it."""
    try:
        parts = [jose.decode_segment(segment) for segment in credential.text.split(".")]
    except jose.Malformed as error:
        return Unreadable(credential.source, credential.name, str(error))
    digest = key_of("digest", "jwe", *parts)
    return Identity(digest, digest, keys=(digest,))


def opaque(text: str) -> Identity:
    """The identity of a value only the application understands.

    Stores that compare without case, and `uuid.UUID()`, accept several spellings; all of them have one name.
    """
    lowered = _UPPER.sub(lambda match: match[0].lower(), text)
    with contextlib.suppress(ValueError):
        lowered = UUID(lowered).hex
    digest = key_of("digest", "opaque", lowered)
    return Identity(digest, digest, keys=(digest,))


def identify_cookie(
    credential: Credential, form: str, keys: Iterable[Any], policy: IdentityPolicy
) -> Identity | Unreadable:
    """The identity of a guarded cookie of one of the formats auto, jwt, flask, starlette, django, opaque."""
    # Litestar decodes percent signs and hands on what is behind them; the decoded value is the one name of both.
    text = unquote(credential.text, "latin-1") if "%" in credential.text else credential.text
    credential = Credential(credential.source, credential.name, text)
    if form == "opaque":
        return opaque(text)
    if form == "jwt" or (form == "auto" and jose.looks_like_jose(text) and _is_jwt(text)):
        return identify_token(credential, keys, policy)
    names = signed_cookies.FORMATS if form == "auto" else (form,)
    found = [signed_cookies.read(text, signed_cookies.FORMATS[name], policy.cookie_secrets) for name in names]
    read = [cookie for cookie in found if cookie is not None]
    if read:
        best = next((cookie for cookie in read if cookie.verified_by is not None), read[0])
        return _signed_session(best, policy)
    if signed_cookies.is_loosely_signed(text):
        return Unreadable("cookie", credential.name, f"the cookie {credential.name!r} is not in its one spelling")
    if form == "auto" and jose.looks_like_jose(text):
        return identify_token(credential, keys, policy)
    return opaque(text)


def _is_jwt(text: str) -> bool:
    """Does the first segment carry `alg`? A Flask session starts with a JSON object, too, and has three parts."""
    try:
        return "alg" in jose.parse(text).header
    except jose.Malformed:
        return False


def _signed_session(cookie: signed_cookies.SignedCookie, policy: IdentityPolicy) -> Identity:
    digest = key_of("digest", "signed", cookie.signed, cookie.signature)
    if cookie.verified_by is None:
        return Identity(digest, digest, keys=(digest,))
    session = cookie.session
    session_id = jose.text_claim(session, *policy.session_claims)
    issued_at = float(cookie.issued_at)
    if session_id is None:
        session_id = jose.text_claim(session, ADDED_SESSION_ID)
        issued_at = added_at(session_id) or issued_at
    own = key_of("cookie", None, session_id) if session_id else key_of("payload", None, cookie.payload)
    return _with_keys(
        Identity(
            digest,
            own,
            session_id=session_id,
            user_id=jose.text_claim(session, *policy.user_claims),
            issued_at=issued_at,
            expires_at=issued_at + policy.max_lifetime,
            verified=True,
        ),
        policy,
    )


def new_session_id(session: Mapping[str, Any], policy: IdentityPolicy, *, now: float, entropy: str) -> str | None:
    """The session id to add to a session that the application is about to set, or None if it has a good one.

    `time.random.user`: the time makes cut-offs exact to the microsecond, the digest of the user makes the id
    change when the user does, so that one browser's next login is a new session.
    """
    if jose.text_claim(session, *policy.session_claims) is not None:
        return None
    user = jose.text_claim(session, *policy.user_claims)
    mark = key_of("user-of-session", None, user or "").hex()[:8]
    present = jose.text_claim(session, ADDED_SESSION_ID)
    if present is not None and present.endswith("." + mark) and added_at(present) is not None:
        return None
    microseconds = int(now * 1_000_000)
    if microseconds / 1_000_000 > now:
        microseconds -= 1  # The product was rounded up; a session must not be issued after its own login.
    return f"{microseconds:014x}.{entropy}.{mark}"


def added_at(session_id: str | None) -> float | None:
    """When the middleware added this session id; None for ids of another form."""
    head, dot, _ = (session_id or "").partition(".")
    return int(head, 16) / 1_000_000 if dot and re.fullmatch(r"[0-9a-f]{14}", head) else None
