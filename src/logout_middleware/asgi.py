"""The ASGI shell: turns scopes and messages into our Request and Response, and runs the flows.

What passes, passes untouched: `receive` and `send` are the server's own objects unless a cookie must be
taken out, deleted or given a session id. Messages that we do not understand are forwarded as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .colour import finish
from .endpoints import Endpoint, routes, with_cors
from .endpoints.service import refusal_of
from .errors import ConfigurationError, Refused
from .flows.guard import Decision
from .flows.token_requests import tokens_in_body
from .logout import Logout
from .paths import below_root
from .rules import proxies
from .rules.cookies import with_deletions
from .rules.credentials import read_query, read_subprotocols, without_cookies
from .rules.http import Request, Response
from .settings import LogoutSettings
from .sharing import Shell, for_middleware
from .values import TokenPath

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class LogoutMiddleware(Shell[App]):
    """Guards an ASGI application and serves the logout endpoints in front of it.

    Everything comes from LOGOUT_* variables, or `settings`, or settings as keywords, or a shared `logout`.
    """

    blocking = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901 - one frame, for speed
        """Serve one connection."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                return await self._websocket(scope, receive, send)
            return await self.app(scope, receive, send)
        headers = scope["headers"]
        if type(headers) is not list:
            headers = [tuple(pair) for pair in headers]
            scope = _with_headers(scope, headers)
        path = scope["path"]
        if scope.get("root_path"):
            path = below_root(path, scope["root_path"])
        special = self._special.get(path)
        if special is not None:
            return await self._serve_special(special, path, scope, receive, send)
        authorization = cookie = None
        repeated = False
        for name, value in headers:
            if name == b"authorization":
                repeated |= authorization is not None
                authorization = value
            elif name == b"cookie":
                repeated |= cookie is not None
                cookie = value
        if self._signs_sessions:
            send = self._signing(send)
        if authorization is None and cookie is None:
            return await self.app(scope, receive, send)
        if self._exempts and self._paths.is_exempt(path):
            return await self.app(scope, receive, send)
        known = None if repeated else self._seen_alive(authorization, cookie)
        if known is not None:
            identity = known.identity
        else:
            if repeated:
                decision = await self._guard.judge(_lines(scope, b"authorization"), _lines(scope, b"cookie"))
            else:
                decision = await self._guard.check(authorization, cookie)
            if decision.refusal is not None or decision.strip or decision.drop_authorization:
                return await self._carry_out(decision, scope, receive, send)
            identity = decision.identity
        if identity is not None:
            state = scope.get("state")
            if state is None:
                scope["state"] = {"logout": identity}
            else:
                state["logout"] = identity
        await self.app(scope, receive, send)

    async def _carry_out(self, decision: Decision, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass the request on without what is dead in it."""
        if decision.refusal is not None:
            deletions = [("Set-Cookie", text) for text in self._deletions(decision, scope)]
            return await self._answer(decision.refusal.with_headers(deletions), scope, send)
        headers: Headers = [pair for pair in scope["headers"] if pair[0] != b"cookie" or not decision.strip]
        if decision.strip:
            kept = without_cookies(_lines(scope, b"cookie"), decision.strip)
            headers += [(b"cookie", line.encode("latin-1")) for line in kept]
        if decision.drop_authorization:
            headers = [pair for pair in headers if pair[0] != b"authorization"]
        scope = _with_headers(scope, headers)
        if decision.identity is not None:
            scope["state"] = {**(scope.get("state") or {}), "logout": decision.identity}
        if decision.delete:
            send = self._deleting(decision, scope, send)
        await self.app(scope, receive, send)

    # ---- our own paths -------------------------------------------------------------------------------

    async def _serve_special(
        self, special: Endpoint | tuple[TokenPath, ...], path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if isinstance(special, Endpoint):
            request = self._request(scope, path, receive)
            # To its end even if the client hangs up: nobody can undo his own logout.
            return await send_response(await finish(special(request)), scope, send)
        if self._signs_sessions:
            send = self._signing(send)
        here = [each for each in special if each.method == scope["method"].upper()]
        fields = {name for each in here if each in self.logout.settings.token_requests for name in each.fields}
        body = _ReplayedBody(receive)
        tokens = []
        try:
            if fields:
                tokens = await tokens_in_body(self._request(scope, path, body.receive), fields)
        except Refused as refused:
            if not self.logout.guard.observe:
                return await self._answer(refusal_of(refused), scope, send)
        decision = await self.logout.guard.judge(
            _lines(scope, b"authorization"), _lines(scope, b"cookie"), others=tokens, login_path=bool(here)
        )
        await self._carry_out(decision, scope, body.replay, send)

    def _request(self, scope: Scope, path: str, receive: Receive) -> Request:
        return make_request(scope, path, receive, self.logout.settings.trusted_proxies)

    async def _answer(self, response: Response, scope: Scope, send: Send) -> None:
        response = with_cors(response, _lines(scope, b"origin"), self.logout.settings.trusted_origins)
        await send_response(response, scope, send)

    # ---- answers of the application ------------------------------------------------------------------

    def _deletions(self, decision: Decision, scope: Scope) -> list[str]:
        return self.logout.service.deletions_of(decision.delete, self._request(scope, scope["path"], _nothing))

    def _deleting(self, decision: Decision, scope: Scope, send: Send) -> Send:
        """Delete the dead cookies with the application's answer."""
        deletions = self._deletions(decision, scope)
        return _with_changed_headers(send, lambda headers: with_deletions(headers, deletions))

    def _signing(self, send: Send) -> Send:
        """Give sessions that the application sets a stable id."""
        return _with_changed_headers(send, self.logout.sessions.rewritten)

    # ---- WebSockets ----------------------------------------------------------------------------------

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a handshake with anything dead in it; a socket that is let in is the application's."""
        if type(scope["headers"]) is not list:
            scope = _with_headers(scope, [tuple(pair) for pair in scope["headers"]])
        path = below_root(scope["path"], scope.get("root_path") or "")
        if self._exempts and self._paths.is_exempt(path):
            return await self.app(scope, receive, send)
        found = [
            read_query(scope.get("query_string", b"").decode("latin-1")),
            read_subprotocols(_lines(scope, b"sec-websocket-protocol")),
        ]
        others = [each for each in found if each is not None]
        authorization = _lines(scope, b"authorization")
        decision = await self.logout.guard.judge(authorization, _lines(scope, b"cookie"), others=others, handshake=True)
        if decision.refusal is None:
            if decision.identity is not None:
                scope["state"] = {**(scope.get("state") or {}), "logout": decision.identity}
            return await self.app(scope, receive, send)
        await receive()  # the server's "connect", which comes before any answer
        if "websocket.http.response" in (scope.get("extensions") or {}):
            await send_response(decision.refusal, scope, send, prefix="websocket.http.response")
        else:
            # 1013: try again later (RFC 6455's registry); not knowing is not "logged out".
            code, reason = (1013, "try again later") if decision.refusal.status == 503 else (4401, "logged out")
            await send({"type": "websocket.close", "code": code, "reason": reason})


class LogoutEndpoints:
    """The endpoints alone, to be mounted by hand: `app.mount("/auth", LogoutEndpoints(logout))`."""

    def __init__(self, logout: Logout | None = None, *, settings: LogoutSettings | None = None, **given: Any) -> None:
        self.logout = for_middleware(logout, settings, blocking=False, given=given)
        self._routes = routes(self.logout.service, "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request below the mount; other paths are 404."""
        if scope["type"] != "http":
            raise ConfigurationError(
                "E008 LogoutEndpoints: serves http only; mount it under a path of your application"
            )
        path = below_root(scope["path"], scope.get("root_path") or "")
        endpoint = self._routes.get(path)
        if endpoint is None:
            return await send_response(Response(404, (("Content-Type", "text/plain"),), b"Not found"), scope, send)
        request = make_request(scope, path, receive, self.logout.settings.trusted_proxies)
        await send_response(await finish(endpoint(request)), scope, send)


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


class _ReplayedBody:
    """Remembers the messages that were received, and hands them on again before the rest."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: deque[Message] = deque()

    async def receive(self) -> Message:
        message = await self._receive()
        self._messages.append(message)
        return message

    async def replay(self) -> Message:
        return self._messages.popleft() if self._messages else await self._receive()


async def send_response(response: Response, scope: Scope, send: Send, *, prefix: str = "http.response") -> None:
    """Send a whole response; a HEAD request gets its headers only."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if response.status not in (204, 304):
        headers.append((b"content-length", str(len(response.body)).encode("ascii")))
    body = b"" if scope.get("method") == "HEAD" else response.body
    await send({"type": f"{prefix}.start", "status": response.status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": body})


def _with_headers(scope: Scope, headers: Headers | list[Any]) -> Scope:
    return {**scope, "headers": headers}


def _lines(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _with_changed_headers(send: Send, change: Callable[[list[tuple[str, str]]], list[tuple[str, str]]]) -> Send:
    """A `send` that changes the headers of the response's start; every other member and message stays as it is."""

    async def forward(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
            changed = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in change(headers)]
            message = {**message, "headers": changed}
        await send(message)

    return forward


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
