"""What the workers run: an application that says as whom it served, guarded; and doubles that break a promise.

FAULTS_CLOCK names a file with seconds that this worker's clock is wrong by. FAULTS_DOUBLE breaks the package on
purpose, so that the checker can show that it notices: `no-epoch` does not care whether the store is the one it was,
`cache` believes for a second that nobody has logged out.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jwt

from logout_middleware import BlockingLogout, Logout, LogoutSettings, asgi, wsgi
from logout_middleware.colour import fitting
from logout_middleware.errors import StoreError
from logout_middleware.opening import open_stack
from logout_middleware.rules.revocation import Revocation
from logout_middleware.stores import StoreForgot


class WrongClock:
    """The time of a worker whose clock somebody moves."""

    def __init__(self, path: str) -> None:
        self._path, self._offset, self._read_at = Path(path), 0.0, -1.0

    def __call__(self) -> float:
        now = time.monotonic()
        if now > self._read_at + 0.05:
            with contextlib.suppress(OSError, ValueError):
                self._offset = float(self._path.read_text())
            self._read_at = now
        return time.time() + self._offset


class Careless:
    """A store around another, with one promise of the package broken."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def version(self) -> None:
        return None


class CachingStore(Careless):
    """Answers "nothing found" again for a second without asking. Nobody should do this; many do."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._found_nothing: dict[Any, float] = {}

    async def find(self, keys: Sequence[bytes]) -> Any:
        now, keys = time.monotonic(), tuple(keys)
        if self._found_nothing.get(keys, -1.0) > now:
            return ()
        found = await self.inner.find(keys)
        if not found:
            self._found_nothing[keys] = now + 1.0
        return found


class TrustingStore(Careless):
    """Believes a store that has forgotten, at once and without logging anybody out."""

    async def find(self, keys: Sequence[bytes]) -> Any:
        try:
            return await self.inner.find(keys)
        except StoreError:
            await self.inner.adopt()
            return await self.inner.find(keys)

    async def add(self, revocations: Sequence[Revocation]) -> Any:
        try:
            return await self.inner.add(revocations)
        except StoreForgot:
            await self.inner.adopt()
            return await self.inner.add(revocations)


_DOUBLES = {"cache": CachingStore, "no-epoch": TrustingStore}


def _given(*, blocking: bool) -> dict[str, Any]:
    """What the Logout of this worker is made of."""
    clock = WrongClock(os.environ["FAULTS_CLOCK"])
    settings = LogoutSettings.load()
    double = _DOUBLES.get(os.environ.get("FAULTS_DOUBLE", ""))
    store = None
    if double is not None:
        store = double(fitting(open_stack(settings, clock, blocking=blocking).store, blocking=blocking))
    return {"settings": settings, "clock": clock, "store": store}


def _served(authorization: str) -> bytes:
    """The application verifies the token by itself, as it would without the guard."""
    scheme, _, token = authorization.partition(" ")
    user = jwt.decode(token, os.environ["LOGOUT_JWT_KEY"], ["HS256"])["sub"] if scheme == "Bearer" else None
    return json.dumps({"user": user}).encode("ascii")


async def _asgi_application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        body = _served(dict(scope["headers"]).get(b"authorization", b"").decode())
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _wsgi_application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = _served(environ.get("HTTP_AUTHORIZATION", ""))
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def for_uvicorn() -> Any:
    """The ASGI application, as a factory."""
    return asgi.LogoutMiddleware(_asgi_application, logout=Logout(**_given(blocking=False)))


def for_gunicorn() -> Any:
    """The WSGI application, as a factory."""
    return wsgi.LogoutMiddleware(_wsgi_application, logout=BlockingLogout(**_given(blocking=True)))
