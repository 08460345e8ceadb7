"""Session cookies that are signed, not stored: Flask, Starlette, Django. Read, verify, re-sign.

All three are an itsdangerous signature over a value with a time in it. itsdangerous accepts endless
spellings of one signature, so the text is compared with the one it would write itself. Two things are
never changed on re-signing: the application's time stamp, and the key that it signed with.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any
from urllib.parse import unquote

MAX_INFLATED = 64 * 1024
"""A compressed payload that grows beyond this is not a session cookie (bytes)."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class CookieFormat:
    """How one framework spells a signed session."""

    name: str
    salt: bytes
    separator: str
    derivation: str
    digest: Callable[..., Any]
    signature_bytes: int
    read_time: Callable[[str], int]
    load: Callable[[str], bytes]
    dump: Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class SignedCookie:
    """A cookie value that is one of ours by its shape; `verified_by` is the key that signed it, or None."""

    format: CookieFormat
    signed: str
    time_text: str
    signature: str = field(repr=False)
    issued_at: int
    payload: bytes = field(repr=False)
    session: Mapping[str, Any]
    verified_by: str | None = field(repr=False)


def _itsdangerous_time(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def _django_time(text: str) -> int:
    if len(text) > 11:
        raise ValueError("no time")
    seconds = 0
    for character in text:
        seconds = seconds * 62 + _BASE62.index(character)
    return seconds


def _load_url_safe(text: str) -> bytes:
    packed = text.startswith(".")
    body = text[1:] if packed else text
    raw = urlsafe_b64decode(body + "=" * (-len(body) % 4))
    if not packed:
        return raw
    inflater = zlib.decompressobj()
    data = inflater.decompress(raw, MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise ValueError("too large")
    return data


def _dump_url_safe(payload: bytes) -> str:
    packed = zlib.compress(payload)
    shorter = len(packed) < len(payload) - 1
    text = urlsafe_b64encode(packed if shorter else payload).rstrip(b"=").decode("ascii")
    return "." + text if shorter else text


FORMATS = {
    "flask": CookieFormat(
        "flask", b"cookie-session", ".", "hmac", hashlib.sha1, 20, _itsdangerous_time, _load_url_safe, _dump_url_safe
    ),
    "starlette": CookieFormat(
        "starlette", b"itsdangerous.Signer", ".", "django-concat", hashlib.sha1, 20, _itsdangerous_time,
        lambda text: b64decode(text, validate=True), lambda payload: b64encode(payload).decode("ascii"),
    ),
    "django": CookieFormat(
        "django", b"django.contrib.sessions.backends.signed_cookies", ":", "django-concat", hashlib.sha256, 32,
        _django_time, _load_url_safe, _dump_url_safe,
    ),
}  # fmt: skip


def _sign(form: CookieFormat, signed: str, secret: str) -> str:
    from itsdangerous import Signer

    signer = Signer(
        secret, salt=form.salt, sep=form.separator, key_derivation=form.derivation, digest_method=form.digest
    )
    return signer.get_signature(signed.encode("ascii")).decode("ascii")


def read(value: str, form: CookieFormat, secrets: Sequence[str]) -> SignedCookie | None:
    """The signed session in this cookie value, or None if it is not of this format.

    The signature must be in its one canonical spelling; `is_loosely_signed` tells what a framework might
    accept although this function does not.
    """
    signed, found, signature = value.rpartition(form.separator)
    body, found_time, time_text = signed.rpartition(form.separator)
    if not (found and found_time and body) or len(_strict_signature(signature)) != form.signature_bytes:
        return None
    try:
        issued_at = form.read_time(time_text)
        payload = form.load(body)
        session = json.loads(payload)
    except (ValueError, zlib.error, RecursionError):
        return None
    if not isinstance(session, dict):
        return None
    by = next((key for key in secrets if compare_digest(_sign(form, signed, key), signature)), None)
    return SignedCookie(form, signed, time_text, signature, issued_at, payload, session, by)


def _strict_signature(text: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text) or len(text) % 4 == 1:
        return b""
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return raw if urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") == text else b""


def is_loosely_signed(value: str) -> bool:
    """Might itsdangerous accept this as another spelling of a signed value, which `read` did not take?

    It drops what is not base64 from a signature; the rest of the value is signed as text and cannot vary.
    """
    for form in FORMATS.values():
        signed, _, signature = value.rpartition(form.separator)
        body, found, time_text = signed.rpartition(form.separator)
        loose = re.sub(r"[^A-Za-z0-9_\-+/]", "", signature)
        if found and body and len(loose) * 3 // 4 >= form.signature_bytes and _is_recent(form, time_text):
            return True
    return False


def _is_recent(form: CookieFormat, time_text: str) -> bool:
    try:
        return 1_000_000_000 < form.read_time(time_text) < 5_000_000_000
    except ValueError:
        return False


def with_member(cookie: SignedCookie, name: str, text: str) -> str:
    """The same cookie with one more member in its session, in the application's own format, time and key."""
    if cookie.verified_by is None:
        raise ValueError("only a cookie whose key is known can be signed again")
    session = {**cookie.session, name: text}
    payload = json.dumps(session, separators=(",", ":")).encode("ascii")
    separator = cookie.format.separator
    signed = cookie.format.dump(payload) + separator + cookie.time_text
    return signed + separator + _sign(cookie.format, signed, cookie.verified_by)


def session_in(value: str, form: str, secrets: Sequence[str]) -> Mapping[str, Any]:
    """The session in a cookie of this format (`auto`: of any) that one of the secrets signed, else an empty one."""
    text = unquote(value, "latin-1") if "%" in value else value
    for name in FORMATS if form == "auto" else (form,):
        cookie = read(text, FORMATS[name], secrets) if name in FORMATS else None
        if cookie is not None and cookie.verified_by is not None:
            return cookie.session
    return {}
