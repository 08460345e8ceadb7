"""Applications for several workers: each answer names its worker, and how often that worker asked the store so far.

What is counted is the store behind the network itself, below replica and breaker; a fork counts on its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from logout_middleware import asgi, wsgi
from logout_middleware.stores.redis import RedisStore

_asked = {"times": 0}
_find = RedisStore.find


async def _counting_find(self: RedisStore, keys: Any) -> Any:
    _asked["times"] += 1
    return await _find(self, keys)


RedisStore.find = _counting_find  # type: ignore[method-assign]


def _headers() -> list[tuple[str, str]]:
    return [("X-Worker-Pid", str(os.getpid())), ("X-Store-Asked", str(_asked["times"]))]


async def _asgi_application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        Path(os.environ["WORKERS_FOLDER"], str(os.getpid())).touch()
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


_guarded_asgi = asgi.LogoutMiddleware(_asgi_application)


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application, guarded and signed."""

    async def sign(message: Any) -> None:
        if message["type"] == "http.response.start":
            signs = [(name.lower().encode(), value.encode()) for name, value in _headers()]
            message = {**message, "headers": [*message["headers"], *signs]}
        await send(message)

    await _guarded_asgi(scope, receive, sign if scope["type"] == "http" else send)


def _wsgi_application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


_guarded_wsgi = wsgi.LogoutMiddleware(_wsgi_application)


def wsgi_app(environ: dict[str, Any], start_response: Any) -> Any:
    """The WSGI application, guarded and signed."""

    def sign(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        return start_response(status, [*headers, *_headers()], *exc_info)

    return _guarded_wsgi(environ, sign)
