"""Reading and verifying a compact JWT (RFC 7515, 7519), strictly.

PyJWT checks signature and audience; this file adds what a logout layer must not leave open: one
spelling per token (PyJWT accepts a padded signature, ECDSA accepts a twin), exact claim types, and no
token of another kind (RFC 8725 3.11). Times are not judged here: the rules have no clock.
"""

from __future__ import annotations

import json
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")
# Anything else in `typ` is a token of another kind: a logout token, a security event, a DPoP proof.
_TYPES = {"jwt", "at+jwt", "application/at+jwt", "application/jwt"}
# The order n of the curve behind each ECDSA algorithm: (r, n - s) is as valid as (r, s).
_CURVE_ORDERS = {
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "ES256K": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    "ES384": int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16
    ),
    "ES512": int(
        "01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA"
        "51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409",
        16,
    ),
}
_CURVE_ORDERS["ES521"] = _CURVE_ORDERS["ES512"]


class Malformed(ValueError):
    """Not one well-formed token; the message is safe to show."""


@dataclass(frozen=True, slots=True)
class Token:
    """A compact JWT as it was read; nothing in it has been verified."""

    text: str = field(repr=False)
    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class JwtPolicy:
    """How tokens are verified: pinned algorithms, and what `iss` and `aud` must be (None: not checked).

    `client_id`: where no audience is set, only a token that names this client speaks to us (`is_addressed`).
    """

    algorithms: tuple[str, ...] = ()
    issuer: str | None = None
    audience: tuple[str, ...] = ()
    client_id: str | None = None


def decode_segment(text: str) -> bytes:
    """The bytes of a base64url segment in its only canonical spelling (RFC 7515 2, no padding)."""
    if not _BASE64URL.match(text) or len(text) % 4 == 1:
        raise Malformed("the token is not canonical base64url")
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != text:
        raise Malformed("the token is not canonical base64url")
    return raw


def looks_like_jose(text: str) -> bool:
    """Would any lenient decoder find a JOSE header in the first segment? Then only the strict form may pass."""
    if text.lstrip()[:1] == "{":
        return True  # the JSON serialisation of RFC 7515 7.2, which we do not read
    head = re.sub(r"[^A-Za-z0-9_\-+/]", "", text.partition(".")[0]).replace("+", "-").replace("/", "_")
    try:
        start = urlsafe_b64decode(head[: len(head) // 4 * 4][:64])
    except ValueError:  # pragma: no cover - the alphabet and the length were made right above
        return False
    return "." in text and start.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"{")


def parse(text: str) -> Token:
    """Read a compact JWS in its one canonical spelling, or raise Malformed."""
    segments = text.split(".")
    if len(segments) != 3:
        raise Malformed("the token does not have three parts")
    head, body, signature = (decode_segment(segment) for segment in segments)
    return Token(text, _json_object(head, "header"), _json_object(body, "payload"), body, signature)


def _json_object(raw: bytes, part: str) -> Mapping[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise Malformed(f"the token's {part} names a member twice")
        return members

    def refuse(constant: str) -> None:
        raise Malformed(f"the token's {part} holds {constant}, which is not JSON")

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed(f"the token's {part} is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise Malformed(f"the token's {part} is not a JSON object")
    return value


def canonical_signature(token: Token) -> bytes:
    """The signature with every twin of ECDSA folded away: (r, s), (r, n - s), and both with leading zeros.

    What cannot be a pair of numbers below n, no verifier accepts; it stays as it is.
    """
    order = _CURVE_ORDERS.get(str(token.header.get("alg")))
    half, odd = divmod(len(token.signature), 2)
    if order is None or odd:
        return token.signature
    r, s = (int.from_bytes(part, "big") for part in (token.signature[:half], token.signature[half:]))
    if not (0 < r < order and 0 < s < order):
        return token.signature
    size = (order.bit_length() + 7) // 8
    return r.to_bytes(size, "big") + min(s, order - s).to_bytes(size, "big")


def verify(token: Token, keys: Iterable[Any], policy: JwtPolicy, *, for_us: bool = True) -> str | None:
    """Why this token may not be believed, or None if one of the keys signed it and its claims are sound.

    `for_us` False: it may be a refresh or ID token, so neither `aud` nor `typ` must be those of an access token.
    Expiry is not judged.
    """
    fault = fault_in_signature(token, keys, policy.algorithms)
    if fault is not None:
        return fault
    if for_us and policy.audience and not is_for(token.claims, policy.audience):
        return "it is for another audience"
    return _fault_in_claims(token, for_us=for_us)


def is_addressed(claims: Mapping[str, Any], policy: JwtPolicy) -> bool:
    """Was this token issued to our client, or is it for it, where no audience says whose tokens are for us?

    Every other client of a provider has tokens of the same users; they name somebody, and prove nothing to us.
    """
    if policy.audience or policy.client_id is None:
        return True
    named = policy.client_id in (claims.get("azp"), claims.get("client_id"))
    return named or is_for(claims, (policy.client_id,))


def fault_in_signature(token: Token, keys: Iterable[Any], algorithms: Collection[str]) -> str | None:
    """Why this token may not be believed, or None if one of the keys signed it by one of the pinned algorithms.

    No claim is judged. Nothing named in the header (jku, x5u, jwk, x5c) is ever used as a key (RFC 8725 3.10).
    """
    import jwt  # imported late: it costs more start-up time than the rest of the package

    algorithm = token.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        return "its algorithm is not one of those configured"
    options: dict[str, Any] = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "sub", "jti", "aud", "iss")}
    reason = "no configured key fits its algorithm"
    for key in keys:
        if isinstance(key, bytes) != algorithm.startswith("HS"):
            continue  # a secret signs HS only, and a public key is never taken for a secret
        try:
            jwt.decode(token.text, key, algorithms=[algorithm], options=options)  # type: ignore[arg-type]  # a dict
        except jwt.InvalidSignatureError:
            reason = "its signature is not by a configured key"
        except (jwt.InvalidKeyError, jwt.InvalidAlgorithmError, TypeError):
            continue  # a key of another kind: rotation may mix them
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError):
            return "it is not a sound JWT"
        else:
            return None
    return reason


def is_for(claims: Mapping[str, Any], audience: Collection[str]) -> bool:
    """Does `aud` name one of these (RFC 7519 4.1.3)? It is a text or a list of texts; anything else names nobody."""
    named = claims.get("aud")
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    return any(name in audience for name in names)


def is_of_type(token: Token, types: Collection[str]) -> bool:
    """Does `typ` say one of these, in lower case (RFC 8725 3.11)? "" stands for a token that says nothing."""
    kind = token.header.get("typ", "")
    return isinstance(kind, str) and kind.lower() in types


def _fault_in_claims(token: Token, *, for_us: bool) -> str | None:
    if "iss" in token.claims and not isinstance(token.claims["iss"], str):
        return "its issuer is not a name"
    kind = token.header.get("typ")
    if for_us and isinstance(kind, str) and kind.lower() not in _TYPES:
        return "it is a token of another kind"
    if "events" in token.claims:
        return "it is a security event, not a login"
    for name in ("exp", "iat", "nbf"):
        value = token.claims.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            return f"its {name} is not a number"
        if isinstance(value, float) and not math.isfinite(value):
            return f"its {name} is not a finite number"
    if "sub" in token.claims and text_claim(token.claims, "sub") is None:
        return "its sub is not a name"
    if token.claims.get("jti") is not None and not isinstance(token.claims["jti"], str):
        return "its jti is not a string"
    return None


def text_claim(claims: Mapping[str, Any], *names: str) -> str | None:
    """The first of these claims that holds a non-empty name; numbers compare as text (contract 2, Realm)."""
    for name in names:
        value = claims.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def number_claim(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate as a finite float, or None; absurdly large integers stay comparable."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return 1e300 if value > 0 else -1e300
    return number if math.isfinite(number) else None


def key_id(text: str) -> str | None:
    """The `kid` of a token's header, if it has a readable one."""
    return _text_in_segment(text, 0, "kid")


def claimed_issuer(text: str) -> str | None:
    """The `iss` that a token claims, unverified: it decides whose keys are tried, and nothing else."""
    return _text_in_segment(text, 1, "iss")


def _text_in_segment(text: str, number: int, name: str) -> str | None:
    try:
        value = _json_object(decode_segment(text.split(".")[number]), "part").get(name)
    except (Malformed, IndexError):
        return None
    return value if isinstance(value, str) else None
