"""Deleting a cookie so that browsers do delete it (RFC 6265bis 5.7; standards.md CK-1 to CK-8).

A deletion must repeat name, Path, Domain and Partitioned exactly; a name prefix, Partitioned and SameSite=None demand
attributes of their own, without which the browser ignores the line. Starlette's and Werkzeug's `delete_cookie` omit
them. A cookie that may be in several places takes one line for each: RFC 6265bis 4.1.1 says that an answer should not
name a cookie twice, but no single line deletes it from two places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .set_cookie import CookieScope, parse_set_cookie

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_ATTRIBUTE_VALUE = re.compile(r"[\x20-\x3a\x3c-\x7e]*\Z")
_PATH = re.compile(r"/[\x20-\x3a\x3c-\x7e\x80-\xff]{0,511}\Z")
_DOMAIN = re.compile(r"[0-9a-z._\-:\[\]]{1,255}\Z")
# Of Auth.js, oauth2-proxy, nextjs-auth0 and ASP.NET Core, in this order.
_CHUNK = re.compile(r"(\.|_|__|C)(0|[1-9][0-9]?)")
_NAME = re.compile(r"(?:^|[;,])([^=;,]*)=")
_LONG_AGO = 1_000_000_000.0
"""Whatever a server lets end in 2001 or before, it deletes."""


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
    """The Set-Cookie value that removes this cookie from a browser, from the place that the settings say.

    `https`: the browser speaks to us over https, so Secure may and should be said; it is never left out where the
    name or an attribute demands it.
    """
    return deletion_at(cookie.name, configured_scope(cookie, https=https))


def configured_scope(cookie: GuardedCookie, *, https: bool) -> CookieScope:
    """The scope that the settings say, or the ordinary one."""
    return CookieScope(
        cookie.path, cookie.domain, cookie.secure or https, True, cookie.same_site or "Lax", cookie.partitioned
    )


def guessed_scopes(cookie: GuardedCookie, *, https: bool) -> list[CookieScope]:
    """The scopes to try for a cookie that nobody has seen being set: as configured, and in a partition, too.

    The settings can say that a cookie is Partitioned, not that it is none, and neither deletion reaches the other
    cookie (CK-5). Only over https is there such a cookie.
    """
    plain = configured_scope(cookie, https=https)
    if plain.partitioned or not https:
        return [plain]
    # None is accepted inside another site's page, too, where such cookies live; it is the deletion's own SameSite.
    return [plain, replace(plain, partitioned=True, same_site=cookie.same_site or "None")]


def demanded_scope(name: str, scope: CookieScope) -> CookieScope:
    """This scope, with what the name or an attribute demands: otherwise the browser ignores the line (CK-3 to CK-5)."""
    prefix = name.lower()
    host_only = prefix.startswith(("__host-", "__host-http-"))
    demands_secure = prefix.startswith(("__host-", "__secure-", "__http-")) or scope.partitioned
    return CookieScope(
        "/" if host_only else scope.path,
        None if host_only else scope.domain,
        scope.secure or demands_secure or (scope.same_site or "").lower() == "none",
        scope.http_only or prefix.startswith(("__http-", "__host-http-")),
        scope.same_site,
        scope.partitioned,
    )


def deletion_at(name: str, scope: CookieScope) -> str:
    """The Set-Cookie value that removes the cookie of this name from this place."""
    scope = demanded_scope(name, scope)
    parts = [f"{name}=", "Max-Age=0", "Expires=Thu, 01 Jan 1970 00:00:00 GMT", f"Path={scope.path}"]
    if scope.domain:
        parts.append(f"Domain={scope.domain}")
    if scope.secure:
        parts.append("Secure")
    if scope.http_only:
        parts.append("HttpOnly")
    if scope.same_site:
        parts.append(f"SameSite={scope.same_site}")
    if scope.partitioned:
        parts.append("Partitioned")
    return "; ".join(parts)


def is_repeatable(scope: CookieScope) -> bool:
    """Can a Set-Cookie line name this place? A directory of a request may hold what would end the attribute."""
    return _PATH.match(scope.path) is not None and (scope.domain is None or _DOMAIN.match(scope.domain) is not None)


def is_chunk(written: str, name: str) -> bool:
    """Is it a piece of the cookie of this name, as frameworks cut what is too long: `session.0`, `session_0` …?"""
    return written.startswith(name) and _CHUNK.fullmatch(written, len(name)) is not None


def chunk_names(name: str, present: Iterable[str]) -> list[str]:
    """The names of all pieces of this cookie up to the highest of those present, the first pieces first (CK-7).

    They are built from the name and a number, so that nothing of a request gets into an answer.
    """
    highest: dict[str, int] = {}
    for written in present:
        if written.startswith(name) and (found := _CHUNK.fullmatch(written, len(name))):
            highest[found[1]] = max(highest.get(found[1], 0), int(found[2]))
    count = max(highest.values(), default=-1) + 1
    return [f"{name}{mark}{number}" for number in range(count) for mark in sorted(highest) if number <= highest[mark]]


def cookie_names(lines: Sequence[str]) -> list[str]:
    """The names of all cookies in these Cookie fields, as they are written; WSGI servers join fields with commas."""
    return [name.strip(" \t") for line in lines for name in _NAME.findall(line)]


def with_deletions(headers: Iterable[tuple[str, str]], deletions: Iterable[str]) -> list[tuple[str, str]]:
    """An answer's headers with these deletions, except of cookies that it sets anew: that is a new login.

    The application's own deletion is no login: it may miss the cookie, so ours follows it. A cache must not keep such
    an answer, or it would delete the cookies of others.
    """
    kept = [(name, value) for name, value in headers if name.lower() != "cache-control"]
    lines = [parse_set_cookie(value, "/", _LONG_AGO) for name, value in kept if name.lower() == "set-cookie"]
    new = {line.name for line in lines if line is not None and not line.deletes}
    kept += [("set-cookie", text) for text in deletions if text.partition("=")[0] not in new]
    return [*kept, ("cache-control", "no-store"), ("vary", "Cookie")]
