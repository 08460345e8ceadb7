"""ASGI's scopes and messages as our Request and Response, and back."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .errors import Refused
from .rules import proxies
from .rules.http import Request, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


def make_request(scope: Scope, path: str, receive: Receive, trusted_proxies: tuple[str, ...]) -> Request:
    """Our Request from an ASGI scope."""
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    peer = (scope.get("client") or (None,))[0]
    forwarded_for = [value for name, value in headers if name == "x-forwarded-for"]
    forwarded_proto = [value for name, value in headers if name == "x-forwarded-proto"]
    seen = scope.get("scheme") or "http"
    return Request(
        method=scope.get("method", "GET"),
        path=path if path == scope["path"] else scope["root_path"].rstrip("/") + path,
        query_string=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        scheme=proxies.scheme(peer, forwarded_proto, trusted_proxies, seen),
        client=proxies.client_address(peer, forwarded_for, trusted_proxies),
        read_body=lambda limit: _read_body(receive, limit),
    )


async def _read_body(receive: Receive, limit: int) -> bytes:
    """The whole body, or `Refused` 413 as soon as it is larger than the limit."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "invalid_request", "the body ended early")
        body += message.get("body", b"")
        if len(body) > limit:
            raise Refused(413, "too_large", f"the body must not exceed {limit} bytes")
        if not message.get("more_body", False):
            return bytes(body)


class ReplayedBody:
    """Remembers the messages that were received, and hands them on again before the rest."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: deque[Message] = deque()

    async def receive(self) -> Message:
        """The next message, which `replay` will give once more."""
        message = await self._receive()
        self._messages.append(message)
        return message

    async def replay(self) -> Message:
        """What was received, and then the rest."""
        return self._messages.popleft() if self._messages else await self._receive()


async def send_response(response: Response, scope: Scope, send: Send, *, prefix: str = "http.response") -> None:
    """Send a whole response; a HEAD request gets its headers only."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if response.status not in (204, 304):
        headers.append((b"content-length", str(len(response.body)).encode("ascii")))
    body = b"" if scope.get("method") == "HEAD" else response.body
    await send({"type": f"{prefix}.start", "status": response.status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": body})


def with_headers(scope: Scope, headers: Headers | list[Any]) -> Scope:
    """The same scope with these header fields."""
    return {**scope, "headers": headers}


def lines_of(scope: Scope, name: bytes) -> list[str]:
    """All values of a header field, in order."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def nothing() -> Message:
    """The `receive` of a request whose body nobody asks for."""
    return {"type": "http.disconnect"}


def is_json_answer(start: Message) -> bool:
    """Does this start an answer in JSON that can be read as it is?"""
    fields = {bytes(name).lower(): bytes(value) for name, value in start.get("headers") or ()}
    kind = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    plain = fields.get(b"content-encoding", b"identity") == b"identity"
    return plain and (kind == b"application/json" or kind.endswith(b"+json"))
