"""`GET /auth/feed?since=<cursor>&wait=<seconds>`: every live revocation and then each new one, for services in any
language that verify tokens themselves.

The answer is JSON lines, UTF-8: any number of `{"key", "before", "until", "reason", "keep"}`, then one last line
`{"cursor", "complete"}`. Without `since` it begins with everything; with the cursor of the last answer it goes on, and
nothing is missing in between. `complete` false: there is more already, ask again at once. A line may come more than
once. 410 `feed_gap`: begin again without `since`. `wait`, up to 25 seconds, holds the answer back until there is
something new (under WSGI it is answered at once). 429: others begin at this moment; ask again after Retry-After.
Callers are those of LOGOUT_CLIENTS with `"feed": true`, by HTTP Basic; others are 403.

**What a service does with it.** Keep all lines: of those with the same `key` and the same `keep`, the latest `before`
and the latest `until`. Of a token, after verifying it, compute its keys. It is revoked if for any line under any of
its keys no other of its keys is in `keep`, and it was issued (`iat`) at or before `before`; a token without `iat` is.
A line may be forgotten after `until`.

**Keys, version 1** (`Logout-Feed-Version: 1`). A key is the first 16 bytes, in lower-case hex, of

    SHA-256( "logout-middleware/1" ‖ part(KIND) ‖ part("own" or "issuer") ‖ part(REALM) ‖ part(P1) ‖ part(P2) ‖ … )
    part(X) = length of X in bytes as 8 bytes, big-endian ‖ X in UTF-8

REALM is "" with "own", and the `iss` with "issuer". "own" is for tokens without `iss`, of LOGOUT_JWT_ISSUER and of
LOGOUT_OIDC_ISSUER; every other `iss` is "issuer". The kinds, for a verified JWT:

    token     P1 = jti                       only if it has a jti that is not empty
    payload   P1 = the decoded payload       only if it has none
    session   P1 = sid                       what else LOGOUT_SESSION_CLAIM names
    user      P1 = sub                       what else LOGOUT_USER_CLAIM names; numbers as decimal text
    client    P1 = client_id, else azp
    everyone  no parts
    pair      P1, P2 = "=" ‖ sub or nothing, "=" ‖ sid or nothing
    digest    always "issuer" with the REALM "jwt"; P1 = the decoded payload, P2 = the signature (of ECDSA: r, and the
              smaller of s and n - s, each as long as n)

An opaque token has one key: digest, "issuer" with the REALM "opaque", P1 = its ASCII-lower-cased text (of a UUID: its
32 hex digits).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from typing import Any

from ..errors import Refused, StoreError
from ..rules.http import NO_STORE, Request, Response
from ..stores import Changes, FeedGap, cursors
from .clients import authenticated
from .feed_pages import Pages, Part, Place
from .service import Service, failure, refusal_of

VERSION = "1"
LONGEST_WAIT = 25.0
_MOST_WAITING = 16
"""So many of a process wait at one time; the next is answered at once, and asks again."""
_LOOK_SECONDS = 0.25
_HEADERS = (("Content-Type", "application/x-ndjson"), NO_STORE, ("Logout-Feed-Version", VERSION))
_MAC_BYTES = 16


@dataclass(slots=True)
class Feed:
    """The feed of one Logout object."""

    service: Service
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    waiting: int = 0
    pages: Pages = field(init=False)

    def __post_init__(self) -> None:
        self.pages = Pages(self._changes, self.service.clock, self.service.pause)

    async def answer(self, request: Request) -> Response:
        """One page, or 304 where the reader has everything."""
        try:
            client = await self._reader(request)
            since, seconds = _asked(request)
            place = self._read(since, client) if since is not None else Place()
            part = await self._part(place, seconds)
        except FeedGap:
            return failure(410, "feed_gap", "the feed does not go on from there; begin again without since")
        except Refused as refused:
            return refusal_of(refused)
        except StoreError:
            return failure(503, "temporarily_unavailable", "the store is away; ask again", (("Retry-After", "1"),))
        lines, cursor = part.lines, self._write(part.following, client)
        fields = (*_HEADERS, ("ETag", f'"{cursor}"'))
        if not lines and part.complete and request.header("if-none-match") == f'"{cursor}"':
            return Response(304, fields[1:])
        lines.append(_json({"cursor": cursor, "complete": part.complete}))
        return Response(200, fields, "".join(f"{line}\n" for line in lines).encode("ascii"))

    async def _reader(self, request: Request) -> str:
        """The client that asks. `Refused` 403 for one that is registered for other things."""
        client = await authenticated(self.service, request)
        if not self.service.settings.clients[client].feed:
            await self.service.audit(request, kind="client_refused", detail=f"{client} may not read the feed")
            raise Refused(
                403, "access_denied", 'this client may not read the feed; LOGOUT_CLIENTS must say "feed": true'
            )
        return client

    async def _part(self, place: Place, seconds: float) -> Part:
        """What follows, waited for while there is nothing."""
        pause = self.service.pause
        part = await self.pages.part(place)
        if pause is None or self.waiting >= _MOST_WAITING:
            return part
        self.waiting += 1
        try:
            # The store is asked now and then, rather than left to wait: that would hold a thread for each reader.
            for _ in range(int(seconds / _LOOK_SECONDS)):
                if part.lines or not part.complete:
                    break
                await pause(_LOOK_SECONDS)
                part = await self.pages.part(part.following)
        finally:
            self.waiting -= 1
        return part

    async def _changes(self, store_cursor: Any) -> Changes:
        try:
            return await self.service.store.changes(store_cursor, 0.0)
        except (TypeError, AttributeError, IndexError, ValueError) as error:
            # It was signed by us, so it was the cursor of the store that LOGOUT_STORE named before.
            raise FeedGap("this is the cursor of another store") from error

    # ---- cursors -------------------------------------------------------------------------------------

    def _write(self, place: Place, client: str) -> str:
        after = place.after.hex() if place.after is not None else None
        parts = [self._origin(), cursors.to_text(place.store_cursor), after, cursors.to_text(place.then)]
        body = _json(parts).encode("ascii")
        return base64.urlsafe_b64encode(self._mac(body, client) + body).rstrip(b"=").decode("ascii")

    def _read(self, text: str, client: str) -> Place:
        """The place that this cursor names; FeedGap for what we did not give to this client."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise FeedGap("this is no cursor") from None
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body, client)):
            raise FeedGap("this is no cursor of this client")
        origin, store_cursor, after, then = json.loads(body)
        if origin != self._origin():
            raise FeedGap("the store forgot everything since")
        return Place(
            cursors.from_text(store_cursor), bytes.fromhex(after) if after is not None else None,
            cursors.from_text(then),
        )  # fmt: skip

    def _origin(self) -> str:
        """A store that forgets with its process counts anew in the next, so its cursors must not outlive it."""
        return "" if self.service.store.durable else f"{self.instance}-{os.getpid()}"

    def _mac(self, body: bytes, client: str) -> bytes:
        # Signed, so that nobody else's text reaches a store; with the client's own secret, which is there for certain.
        secret = self.service.settings.clients[client].secret or ""
        return hmac.digest(f"feed/{client}/{secret}".encode("utf-8", "surrogatepass"), body, hashlib.sha256)[
            :_MAC_BYTES
        ]


def _asked(request: Request) -> tuple[str | None, float]:
    query = request.query()
    try:
        seconds = float(query.get("wait") or 0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_WAIT:
        raise Refused(400, "invalid_request", f"wait must be a number of seconds from 0 to {LONGEST_WAIT:.0f}")
    return query.get("since"), seconds


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
