"""Where the keys that verify JWTs come from: settings, or a JWKS address with a time limit.

A provider that is slow or away never takes down what worked: the keys known last stay in use, one caller
at a time asks for new ones, and not more than once in `RETRY_SECONDS`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from http.client import HTTPException
from typing import Any

from .errors import ConfigurationError, StoreError
from .rules import jose

FETCH_SECONDS = 2.5
FRESH_SECONDS = 300.0
RETRY_SECONDS = 30.0

_log = logging.getLogger("logout_middleware")


class StaticKeys:
    """The keys of LOGOUT_JWT_KEY, parsed once. Raises ConfigurationError for a key its algorithms cannot use."""

    def __init__(self, texts: Sequence[str], algorithms: Sequence[str]) -> None:
        self._keys = tuple(_parse_key(text, algorithms) for text in texts)

    async def find(self, text: str) -> Sequence[Any]:
        """All of them; a token's `kid` decides nothing."""
        return self._keys


def _parse_key(text: str, algorithms: Sequence[str]) -> Any:
    import jwt

    is_public = "-----BEGIN" in text
    fitting = [name for name in algorithms if name.startswith("HS") != is_public]
    for name in fitting:
        try:
            return jwt.get_algorithm_by_name(name).prepare_key(text)
        except NotImplementedError:
            raise ConfigurationError(
                f"E211 LOGOUT_JWT_ALGORITHMS: {name} needs: pip install 'logout-middleware[crypto]'"
            ) from None
        except (jwt.InvalidKeyError, ValueError, TypeError):
            continue
    kind = "a public key" if is_public else "a shared secret"
    raise ConfigurationError(
        f"E210 LOGOUT_JWT_KEY: one of the keys is {kind}, but none of LOGOUT_JWT_ALGORITHMS={','.join(algorithms)} "
        "can use it; a PEM block goes with RS, PS, ES or EdDSA, a secret with HS256, HS384 or HS512"
    )


class JwksKeys:
    """The keys behind LOGOUT_JWKS_URL. `call` runs the blocking fetch: in a thread under ASGI, in place under WSGI."""

    def __init__(
        self,
        url: str,
        *,
        call: Callable[[Callable[[], None]], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        import jwt

        self._client = jwt.PyJWKClient(url, cache_keys=False, cache_jwk_set=False, timeout=FETCH_SECONDS)
        self._call, self._clock = call, clock
        self.on_change = on_change
        self._keys: dict[str | None, list[Any]] = {}
        self._fetched_at = self._tried_at = -1e9
        self._fetching = threading.Lock()

    async def find(self, text: str) -> Sequence[Any]:
        """The keys that may have signed this token. StoreError (503, not 401) while none has ever been fetched."""
        kid = jose.key_id(text)
        now = self._clock()
        stale = now - self._fetched_at > FRESH_SECONDS or (kid is not None and kid not in self._keys)
        if stale and now - self._tried_at > RETRY_SECONDS and self._fetching.acquire(blocking=False):
            try:
                self._tried_at = now
                await self._call(self._fetch)
            finally:
                self._fetching.release()
        if not self._keys:
            raise StoreError("the keys behind LOGOUT_JWKS_URL have not been reachable yet")
        if kid is not None and kid in self._keys:
            return self._keys[kid]
        return [key for keys in self._keys.values() for key in keys] if kid is None else self._keys.get(None, [])

    def _fetch(self) -> None:
        import jwt

        try:
            found = self._client.get_jwk_set(refresh=True).keys
            keys: dict[str | None, list[Any]] = {}
            for key in found:
                if key.public_key_use in (None, "sig"):
                    keys.setdefault(key.key_id, []).append(key.key)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError, OSError, HTTPException) as error:
            _log.error(
                "LOGOUT_JWKS_URL cannot be fetched (%s); the keys known before stay in use", type(error).__name__
            )
            return
        changed = keys != self._keys
        self._keys, self._fetched_at = keys, self._clock()
        if changed:
            self.on_change()
