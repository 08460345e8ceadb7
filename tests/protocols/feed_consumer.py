"""A service in another language, as it were: it follows the feed with nothing of the package, and decides by itself.

Written from the docstring of `endpoints/feed.py` alone, with hashlib and a dict.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from tests.client import Answer, Site


def key(kind: str, realm: str | None, *parts: str | bytes) -> str:
    """A key of version 1."""
    named = [kind, "own" if realm is None else "issuer", realm or "", *parts]
    raw = [part.encode() if isinstance(part, str) else part for part in named]
    text = b"logout-middleware/1" + b"".join(len(part).to_bytes(8, "big") + part for part in raw)
    return hashlib.sha256(text).hexdigest()[:32]


def _decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def keys_of(token: str, own: set[str]) -> tuple[list[str], float | None]:
    """The keys of a verified JWT (RS256 or HS256), or of an opaque token, and when it was issued."""
    if token.count(".") != 2:
        return [key("digest", "opaque", token.lower())], None
    _, payload, signature = (_decoded(segment) for segment in token.split("."))
    claims = json.loads(payload)
    issuer = claims.get("iss")
    realm = None if issuer is None or issuer in own else issuer
    user, session, client = claims.get("sub"), claims.get("sid"), claims.get("client_id", claims.get("azp"))
    jti = claims.get("jti")
    found = [key("digest", "jwt", payload, signature), key("everyone", realm)]
    found.append(key("token", realm, jti) if jti else key("payload", realm, payload))
    found += [key("session", realm, session)] if session else []
    found += [key("user", realm, user)] if user else []
    found += [key("client", realm, client)] if client else []
    found.append(key("pair", realm, *("" if each is None else "=" + each for each in (user, session))))
    return found, claims.get("iat")


class Consumer:
    """Follows the feed of a site as this client. `kept` is all that it needs to survive a restart."""

    def __init__(self, http: Site, credentials: dict[str, str], own: set[str], kept: str | None = None) -> None:
        self.http, self.credentials, self.own = http, credentials, own
        self.cursor: str | None = None
        self.lines: dict[tuple[str, tuple[str, ...]], float] = {}
        self.pages = 0
        if kept is not None:
            cursor, lines = json.loads(kept)
            self.cursor = cursor
            self.lines = {(name, tuple(keep)): before for name, keep, before in lines}

    def kept(self) -> str:
        """Its state as text."""
        return json.dumps([self.cursor, [[name, keep, before] for (name, keep), before in self.lines.items()]])

    def ask(self, **headers: str) -> Answer:
        """One page."""
        query = "" if self.cursor is None else f"?since={self.cursor}"
        return self.http.get(f"/auth/feed{query}", headers=self.credentials | headers)

    def follow(self) -> None:
        """Read on until nothing is missing."""
        for _ in range(10_000):
            answer = self.ask()
            assert answer.status == 200, answer
            assert answer.header("logout-feed-version") == "1"
            *lines, last = [json.loads(line) for line in answer.text.splitlines()]
            for line in lines:
                assert set(line) == {"key", "before", "until", "reason", "keep"}
                name = line["key"], tuple(line["keep"])
                self.lines[name] = max(self.lines.get(name, 0.0), line["before"])
            assert set(last) == {"cursor", "complete"}
            self.cursor, self.pages = last["cursor"], self.pages + 1
            if last["complete"]:
                return
        raise AssertionError("the feed never says that it is complete")

    def is_revoked(self, token: str) -> bool:
        """Its own verdict."""
        names, issued = keys_of(token, self.own)
        return any(
            name in names and not set(keep) & set(names) and (issued is None or issued <= before)
            for (name, keep), before in self.lines.items()
        )


def holds(value: Any) -> bool:
    """Is this a key as the feed writes it?"""
    return isinstance(value, str) and len(value) == 32 and set(value) <= set("0123456789abcdef")
