"""The endpoints as an application of their own, which no other stands behind: what `logout-middleware serve` runs.

Any ASGI server can: `uvicorn --factory logout_middleware.service_app:app`. Everything comes from LOGOUT_* variables.
"""

from __future__ import annotations

from .asgi import LogoutMiddleware
from .asgi_messages import Message, Receive, Scope, Send, send_response
from .rules.http import NO_STORE, Response
from .settings import LogoutSettings

ENDPOINTS = ("logout", "sessions", "check")
"""What is served unless LOGOUT_ENDPOINTS says otherwise: a proxy's neighbour without the check would be of no use."""
LIVENESS = "/healthz"
_PLAIN = ("Content-Type", "text/plain")
_ALIVE = Response(200, (_PLAIN, NO_STORE), b"ok\n")
_NOT_FOUND = Response(404, (_PLAIN,), b"Not found\n")


def service_settings() -> LogoutSettings:
    """The settings of this process's environment. ConfigurationError for what is wrong with them."""
    return LogoutSettings.load(defaults={"endpoints": ENDPOINTS})


class ServiceApp:
    """Serves the endpoints at LOGOUT_PREFIX; `/healthz` says that the process is alive, and asks no store."""

    def __init__(self, settings: LogoutSettings) -> None:
        self.middleware = LogoutMiddleware(_nothing_else, settings=settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the life of the server."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        if scope["type"] == "http" and scope["path"] == LIVENESS:
            return await send_response(_ALIVE, scope, send)
        await self.middleware(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        message: Message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.startup":
            await receive()
            await self.middleware.logout.close()
            await send({"type": "lifespan.shutdown.complete"})


async def _nothing_else(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
    elif scope["type"] == "http":
        await send_response(_NOT_FOUND, scope, send)


def app() -> ServiceApp:
    """A new application, for a server that is told to call this factory in each worker."""
    return ServiceApp(service_settings())
