"""Issuers at run time: the keys that verify what they sign, and what their discovery document says.

A provider that is slow, away or wrong never takes down what worked, and never holds up a request: its keys are fetched
by a thread of its own, once at a time and not more than once in an interval; what was known last stays in use.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .errors import LogoutError, StoreError
from .issuers import Issuer
from .keys import StaticKeys
from .outbound import Unreachable, fault_in_address, fetch, require_httpx
from .rules import jose

FRESH_SECONDS = 300.0
RETRY_SECONDS = 30.0
COLD_RETRY_SECONDS = 2.0
"""While no key was ever known, it is tried again so soon."""

COLD_WAIT_SECONDS = 1.0
"""And so long the first requests of a new worker wait for it: after that, they are told to come again."""

_log = logging.getLogger("logout_middleware")

Wait = Callable[["Future[None]", float], Awaitable[None]]
"""Waits for a future, for at most so many seconds: without holding up an event loop, or in place."""


@dataclass(slots=True)
class _Published:
    """What a provider said last, and when; one for all views of it. Moments are those of the provider's clock."""

    keys: Mapping[str | None, Sequence[Any]] = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    asked_at: float = -1e9
    """When the fetch began that brought what is known: of what was published later nobody here can know."""
    fetched_at: float = -1e9
    tried_at: float = -1e9
    revokes_after: float = -1e9
    lock: threading.Lock = field(default_factory=threading.Lock)
    running: tuple[int, Future[None]] | None = None


class Provider:
    """One issuer. `wait_seconds`: how long a guarded request waits for keys that are not known yet."""

    def __init__(
        self, issuer: Issuer, *, wait: Wait, private: bool = False, wait_seconds: float = 0.25,
        clock: Callable[[], float] = time.monotonic, on_change: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.issuer = issuer
        self._static = StaticKeys(issuer.keys, issuer.algorithms) if issuer.keys else None
        if self._static is None:
            require_httpx("LOGOUT_JWKS_URL, LOGOUT_OIDC_ISSUER")
        self._wait, self._private, self._wait_seconds, self._clock = wait, private, wait_seconds, clock
        self.on_change = on_change
        self._published = _Published()

    def view(self, wait: Wait) -> Provider:
        """The same provider for somebody who waits in another way: what one of them fetched, both know."""
        other = copy(self)
        other._wait = wait
        return other

    def moment(self) -> float:
        """Now, for `find(since=…)`."""
        return self._clock()

    # ---- keys ----------------------------------------------------------------------------------------

    async def find(self, text: str, *, seconds: float | None = None, since: float | None = None) -> Sequence[Any]:
        """The keys that may have signed this token.

        StoreError (503, not 401) while that cannot be known: none was ever fetched, or a new one is being fetched.
        `since`: also while none were fetched after this moment, when the token came, if its key is not known.
        """
        if self._static is not None:
            return await self._static.find(text)
        kid, published = jose.key_id(text), self._published
        known = self._of(kid)
        decided = since is not None and published.asked_at > since
        if self._is_stale() or (known is None and not decided):
            fetching = self._refresh()
            if known is None and fetching is not None and not decided:
                await self._wait(fetching, self._patience(seconds))
                known = self._of(kid)
                if known is None and not fetching.done():
                    raise StoreError(f"the keys of {self.issuer.name} are being fetched")
        if not published.keys:
            raise StoreError(f"the keys of {self.issuer.name} have not been reachable yet")
        if known is not None:
            return known
        if since is not None and published.asked_at <= since:
            raise StoreError(f"{self.issuer.name} may have published a new key, and cannot be asked at the moment")
        return published.keys.get(None, ())

    def _patience(self, seconds: float | None) -> float:
        """How long this caller waits for what is being fetched."""
        usual = self._wait_seconds if self._published.keys else max(self._wait_seconds, COLD_WAIT_SECONDS)
        return usual if seconds is None else seconds

    def _of(self, kid: str | None) -> Sequence[Any] | None:
        """The keys of this id; None if no such key is known."""
        keys = self._published.keys
        if kid is None:
            return [key for each in keys.values() for key in each] or None
        return keys.get(kid)

    def _is_stale(self) -> bool:
        return self._clock() - self._published.fetched_at > FRESH_SECONDS

    # ---- discovery -----------------------------------------------------------------------------------

    async def address_of(self, name: str, *, seconds: float | None = None) -> str | None:
        """An endpoint of the provider, e.g. `end_session_endpoint`; None if it has none. StoreError while unknown."""
        if self._published.document is None or self._is_stale():
            fetching = self._refresh()
            if self._published.document is None and fetching is not None:
                await self._wait(fetching, self._wait_seconds if seconds is None else seconds)
        document = self._published.document
        if document is None:
            raise StoreError(f"the discovery document of {self.issuer.name} has not been reachable yet")
        address = document.get(name)
        if not isinstance(address, str) or fault_in_address(address, private=self._private) is not None:
            return None
        return address

    async def revoke(self, token: str) -> None:
        """Have it revoke one of its tokens (RFC 7009 2.1), if it can; blocks. StoreError: try again later."""
        address = await self.address_of("revocation_endpoint", seconds=0.0)
        if address is None:
            return
        # One token may wait for a provider that hangs, not all of them in turn.
        if self._clock() < self._published.revokes_after:
            raise Unreachable(f"{self.issuer.name} could not revoke a moment ago")
        client = quote(self.issuer.client_id or "", safe=""), quote(self.issuer.client_secret or "", safe="")
        try:
            answer = fetch(address, form={"token": token}, auth=client, private=self._private)
            if answer.status >= 500 or answer.status in (408, 429):
                raise Unreachable(f"{self.issuer.name} cannot revoke now ({answer.status})")
        except Unreachable:
            self._published.revokes_after = self._clock() + RETRY_SECONDS
            raise
        if answer.status != 200:
            _log.error("%s does not revoke a token of its own: it answers %d", self.issuer.name, answer.status)

    # ---- fetching ------------------------------------------------------------------------------------

    def fetched(self, seconds: float = 10.0) -> None:
        """Return when no fetch is under way any more."""
        running = self._published.running
        if running is not None and running[0] == os.getpid():
            running[1].result(seconds)

    def _refresh(self) -> Future[None] | None:
        """The fetch that is under way, begun now if it is time to; None if it is not."""
        published = self._published
        if published.running is not None and published.running[0] != os.getpid():
            # Of the process that this one was forked from: neither that fetch nor who held the lock is here.
            published.lock, published.running = threading.Lock(), None
        with published.lock:
            if published.running is not None and not published.running[1].done():
                return published.running[1]
            now = self._clock()
            known = published.document is not None if self._static is not None else bool(published.keys)
            if now - published.tried_at < (RETRY_SECONDS if known else COLD_RETRY_SECONDS):
                return None
            published.tried_at = now
            future: Future[None] = Future()
            thread = threading.Thread(
                target=self._fetch, args=(future, now), name="logout-middleware-keys", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # the process is ending
                return None
            published.running = os.getpid(), future
            return future

    def _fetch(self, future: Future[None], began: float) -> None:
        published, faults = self._published, []
        document, keys = published.document, published.keys
        try:
            # Keys that have an address of their own are known without the document, and the other way round.
            if self._needs_document():
                try:
                    document = self._fetched_document()
                except Exception as error:  # noqa: BLE001 - whatever a provider sends, what worked goes on
                    faults.append(_why(error))
            try:
                keys = self._fetched_keys(document)
            except Exception as error:  # noqa: BLE001 - see above
                faults.append(_why(error))
            else:
                published.asked_at = began
            changed = keys != published.keys
            published.keys, published.document = keys, document
            if faults:
                _log.error("%s: %s; the keys known before stay in use", self.issuer.name, "; ".join(faults))
            else:
                published.fetched_at = self._clock()
            if changed:
                self.on_change()
        finally:
            future.set_result(None)

    def _needs_document(self) -> bool:
        return self.issuer.client_id is not None or (self.issuer.jwks_url is None and self._static is None)

    def _fetched_document(self) -> Mapping[str, Any]:
        address = self.issuer.name.rstrip("/") + "/.well-known/openid-configuration"
        document = fetch(address, private=self._private).json()
        # OpenID Connect Discovery 4.3: otherwise it speaks for somebody else.
        if document.get("issuer") != self.issuer.name:
            raise Unreachable("its discovery document names another issuer")
        return document

    def _fetched_keys(self, document: Mapping[str, Any] | None) -> Mapping[str | None, Sequence[Any]]:
        import jwt

        if self._static is not None:
            return {}
        address = self.issuer.jwks_url or (document or {}).get("jwks_uri")
        if not isinstance(address, str):
            raise Unreachable("its discovery document names no jwks_uri")
        # What an operator wrote himself may be on this host; it was looked at when the settings were read.
        private = self._private or self.issuer.jwks_url is not None
        keys: dict[str | None, list[Any]] = {}
        for key in jwt.PyJWKSet.from_dict(dict(fetch(address, private=private).json())).keys:
            if key.public_key_use in (None, "sig"):
                keys.setdefault(key.key_id, []).append(key.key)
        if not keys:
            raise Unreachable("it has no keys that sign")
        return keys


class KeysByIssuer:
    """The keys of whoever a token says issued it; `own` for everybody who has none of his own."""

    def __init__(self, own: Any, providers: Mapping[str, Provider]) -> None:
        self._own, self._providers = own, providers

    async def find(self, text: str) -> Sequence[Any]:
        """See KeySource.find."""
        provider = self._providers.get(jose.claimed_issuer(text) or "")
        found: Sequence[Any] = await (self._own if provider is None else provider).find(text)
        return found


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, LogoutError) else f"its answer cannot be used ({type(error).__name__})"
