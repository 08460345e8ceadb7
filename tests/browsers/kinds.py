"""The ways in which applications keep a login in cookies. Each has a host name of its own on the test server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

DOMAIN = "example.test"
PARTNER = "shop.partner.test"
"""A host of another site."""
BASE = "/app"
"""Every page of the application is below this path."""
CHUNK_SIZE = 3000
"""Browsers refuse a cookie above 4096 bytes, so frameworks split a larger one at about this size."""


@dataclass(frozen=True)
class Kind:
    """A session cookie: its name and the attributes that the application gives it. `chunks`: how it is split."""

    label: str
    name: str = "session"
    path: str = "/"
    domain: str | None = None
    secure: bool = True
    http_only: bool = True
    same_site: Literal["lax", "strict", "none"] = "lax"
    partitioned: bool = False
    chunks: str | None = None
    prefix: str = "/auth"

    def holds(self, name: str) -> bool:
        """Does a cookie of this name carry the login, or a part of it?"""
        return re.fullmatch(re.escape(self.name) + (r"([._C]\d+)?" if self.chunks else ""), name) is not None

    @property
    def expected_names(self) -> set[str]:
        """The names of the cookies in the jar of who is logged in."""
        if self.chunks is None:
            return {self.name}
        first = 1 if self.chunks == "C" else 0
        parts = {f"{self.name}{self.chunks}{first + index}" for index in range(2)}
        return parts | ({self.name} if self.chunks == "C" else set())


KINDS = {
    kind.label: kind
    for kind in (
        Kind("plain", secure=False),
        Kind("host-prefix", name="__Host-session"),
        Kind("secure-prefix", name="__Secure-session"),
        Kind("partitioned", same_site="none", partitioned=True),
        Kind("host-partitioned", name="__Host-session", same_site="none", partitioned=True),
        Kind("domain", domain=DOMAIN),
        # The browser sends this one only to paths below /app, so the logout must be there, too.
        Kind("path", path=BASE, prefix=f"{BASE}/auth"),
        # And this one never reaches the logout, which can only make the browser forget it.
        Kind("path-elsewhere", path=BASE),
        Kind("secure-path-domain", name="__Secure-session", path=BASE, domain=DOMAIN, prefix=f"{BASE}/auth"),
        Kind("same-site-none", same_site="none"),
        Kind("same-site-strict", same_site="strict"),
        Kind("script-readable", http_only=False),
        Kind("chunks-dot", chunks="."),  # Auth.js
        Kind("chunks-underscore", chunks="_"),  # oauth2-proxy
        Kind("chunks-aspnet", chunks="C"),
    )
}


def split(kind: Kind, set_cookie: str) -> list[str]:
    """The Set-Cookie values that a framework with chunks sends instead of this one."""
    pair, semicolon, attributes = set_cookie.partition(";")
    name, _, value = pair.partition("=")
    if name != kind.name or len(value) <= CHUNK_SIZE:
        return [set_cookie]
    parts = [value[at : at + CHUNK_SIZE] for at in range(0, len(value), CHUNK_SIZE)]
    first = 1 if kind.chunks == "C" else 0
    named = [(f"{name}{kind.chunks}{number}", part) for number, part in enumerate(parts, first)]
    if kind.chunks == "C":
        named.insert(0, (name, f"chunks-{len(parts)}"))
    return [f"{each}={part}{semicolon}{attributes}" for each, part in named]


def joined(kind: Kind, cookie_lines: Sequence[str]) -> str:
    """The Cookie field as the application's own session layer expects it: in one piece."""
    pairs = [pair.strip().partition("=") for line in cookie_lines for pair in line.split(";")]
    held = {name: value for name, _, value in pairs}
    first = 1 if kind.chunks == "C" else 0
    text, number = "", first
    while (part := held.pop(f"{kind.name}{kind.chunks}{number}", None)) is not None:
        text, number = text + part, number + 1
    if text:
        held[kind.name] = text
    elif held.get(kind.name, "").startswith("chunks-"):
        del held[kind.name]
    return "; ".join(f"{name}={value}" for name, value in held.items())
