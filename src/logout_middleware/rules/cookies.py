"""Deleting a cookie so that browsers do delete it (RFC 6265bis 5.7; standards.md CK-1 to CK-6).

A deletion must repeat name, Path and Domain exactly; a name prefix and Partitioned demand attributes of
their own, without which the browser ignores the line. Starlette's and Werkzeug's `delete_cookie` omit them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_ATTRIBUTE_VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]*\Z")


@dataclass(frozen=True, slots=True)
class GuardedCookie:
    """A cookie that carries a credential: its format, and the scope with which the application sets it."""

    name: str
    format: str
    path: str = "/"
    domain: str | None = None
    secure: bool = False
    same_site: str | None = None
    partitioned: bool = False


def parse_guarded_cookie(text: str, formats: frozenset[str]) -> GuardedCookie:
    """`name:format` with optional attributes as Set-Cookie spells them: `sid:opaque; Path=/app; Domain=example.com`.

    Raises ValueError with what is wrong.
    """
    head, *attributes = (part.strip() for part in text.split(";"))
    name, _, form = head.rpartition(":")
    if not name:
        name, form = head, "auto"
    if not _TOKEN.match(name):
        raise ValueError(f"{name!r} is not a cookie name")
    if form not in formats:
        raise ValueError(f"{form!r} is not a format; write one of {', '.join(sorted(formats))}")
    found: dict[str, str | bool] = {}
    for attribute in attributes:
        key, equals, value = (part.strip() for part in attribute.partition("="))
        field = {"path": "path", "domain": "domain", "samesite": "same_site"}.get(key.lower())
        flag = {"secure": "secure", "partitioned": "partitioned"}.get(key.lower())
        if not ((field and equals) or (flag and not equals)) or not _ATTRIBUTE_VALUE.match(value):
            raise ValueError(f"{attribute!r} is not Path=, Domain=, SameSite=, Secure or Partitioned")
        found[field or flag or ""] = value if field else True
    return GuardedCookie(name, form, **found)  # type: ignore[arg-type]  # the names above decide the types


def deletion(cookie: GuardedCookie, *, https: bool) -> str:
    """The Set-Cookie value that removes this cookie from a browser.

    `https`: the browser speaks to us over https, so Secure may and should be said; it is never left out where the
    name or an attribute demands it.
    """
    prefix = cookie.name.lower()
    host_only = prefix.startswith(("__host-", "__host-http-"))
    parts = [f"{cookie.name}=", "Max-Age=0", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"]
    parts.append("Path=/" if host_only else f"Path={cookie.path}")
    if cookie.domain and not host_only:
        parts.append(f"Domain={cookie.domain}")
    prefixed = prefix.startswith(("__host-", "__secure-", "__http-"))
    same_site = cookie.same_site or "Lax"
    if https or prefixed or cookie.secure or cookie.partitioned or same_site.lower() == "none":
        parts.append("Secure")
    parts += ["HttpOnly", f"SameSite={same_site}"]
    if cookie.partitioned:
        parts.append("Partitioned")
    return "; ".join(parts)


def with_deletions(headers: Iterable[tuple[str, str]], deletions: Iterable[str]) -> list[tuple[str, str]]:
    """An answer's headers with these deletions, except of cookies that it sets anew: that is a new login.

    A cache must not keep such an answer, or it would delete the cookies of others.
    """
    kept = [(name, value) for name, value in headers if name.lower() != "cache-control"]
    new = {value.partition("=")[0].strip() for name, value in kept if name.lower() == "set-cookie"}
    kept += [("set-cookie", text) for text in deletions if text.partition("=")[0] not in new]
    return [*kept, ("cache-control", "no-store"), ("vary", "Cookie")]
