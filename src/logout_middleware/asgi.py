"""The ASGI shell: turns scopes and messages into our Request and Response, and runs the flows.

What passes, passes untouched: `receive` and `send` are the server's own objects unless an answer may set or must delete
a cookie, or may become a stream that a logout has to end. Messages that we do not understand are forwarded as they are.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any
from urllib.parse import quote

from . import asgi_events
from .asgi_live import Body, LiveLoops, Socket, is_ours
from .asgi_messages import (
    App,
    Headers,
    Message,
    Receive,
    ReplayedBody,
    Scope,
    Send,
    lines_of,
    make_request,
    nothing,
    send_response,
    with_headers,
)
from .asgi_tokens import TokenAnswer
from .colour import finish
from .endpoints import Endpoint, route_below, routes, with_cors
from .endpoints.service import refusal_of
from .errors import ConfigurationError, Refused
from .flows.answers import Began
from .flows.decisions import PASS, Decision
from .flows.known_headers import Known
from .flows.sessions import Visit
from .flows.token_requests import tokens_in_body
from .logout import BlockingLogout, Logout
from .paths import below_root
from .rules.credentials import read_query, read_subprotocols, without_cookies
from .rules.http import EventStream, Request, Response
from .rules.identity import Identity
from .settings import LogoutSettings
from .sharing import Shell, for_middleware, waking
from .values import TokenPath

# As frameworks write them; ASGI asks for lower case.
_SETS = frozenset({b"set-cookie", b"Set-Cookie", b"SET-COOKIE"})
_WATCHED = _SETS | {b"content-type", b"Content-Type", b"CONTENT-TYPE"}
_WATCHED_KINDS = frozenset({b"h", b"e"})  # the sixth letter of text/html and of text/event-stream

Outcome = tuple[Decision, float, bool]
"""What was decided about a request, when it began, and whether its path answers with tokens."""


class LogoutMiddleware(Shell[App]):
    """Guards an ASGI application and serves the logout endpoints in front of it.

    Everything comes from LOGOUT_* variables, or `settings`, or settings as keywords, or a shared `logout`.
    """

    blocking = False

    def __init__(
        self, app: App, *, settings: LogoutSettings | None = None, logout: Logout | BlockingLogout | None = None,
        **given: Any,
    ) -> None:  # fmt: skip
        super().__init__(app, settings=settings, logout=logout, **given)
        # Where a scope notes that its answer is a stream. Middlewares in one another share the scope, not the note.
        self._body, self._events = (f"logout_middleware.{name}.{id(self)}" for name in ("body", "event_stream"))
        self._live = LiveLoops(self.logout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901 - one frame, for speed
        """Serve one connection."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                return await self._websocket(scope, receive, send)
            return await self.app(scope, receive, send)
        headers = scope["headers"]
        if type(headers) is not list:
            headers = [tuple(pair) for pair in headers]
            scope = with_headers(scope, headers)
        path = scope["path"]
        if scope.get("root_path"):
            path = below_root(path, scope["root_path"])
        special = self._special.get(path)
        method = scope["method"]
        below = self._below_for_get if method == "GET" else self._below
        if below and special is None and path.startswith(below):
            special = route_below(self.logout.service, self.logout.settings.prefix, path)
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
        if (authorization is None and cookie is None) or (self._exempts and self._paths.is_exempt(path)):
            # Nothing but a GET without parameters is sure not to be a login, whose cookies we want to see.
            if method != "GET" or self._looks_at_all or scope.get("query_string"):
                send = partial(_sent, (send, scope, self._body, self, (PASS, self.logout.clock(), False), False))
            return await self.app(scope, receive, send)
        passed: Known | Outcome
        known = None if repeated else self._seen_alive(authorization, cookie)
        if known is not None:
            passed, identity = known, known.identity
        else:
            visit = partial(self._visit, scope, path)
            if repeated:
                fields = lines_of(scope, b"authorization"), lines_of(scope, b"cookie")
                decision = await self._guard.judge(*fields, visit=visit)
            else:
                decision = await self._guard.check(authorization, cookie, visit)
            passed = (decision, self.logout.clock(), False)
            identity = decision.identity
            unknown = identity is None and decision.identities  # it passes without an answer of the store
            if decision.refusal is not None or decision.strip or decision.drop_authorization or unknown:
                return await self._carry_out(passed, scope, receive, send)
        if identity is None:
            if method != "GET" or self._looks_at_all or scope.get("query_string"):
                send = partial(_sent, (send, scope, self._body, self, (PASS, self.logout.clock(), False), False))
            return await self.app(scope, receive, send)
        state = scope.get("state")
        if state is None:
            scope["state"] = {"logout": identity}
        else:
            state["logout"] = identity
        try:
            watch = (send, scope, self._body, self, passed, cookie is not None)
            await self.app(scope, receive, partial(_sent, watch))
        except BaseException as error:
            if not await self._left(scope, error):
                raise
        if self._body in scope:
            await self._left(scope)

    async def _carry_out(self, outcome: Outcome, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass the request on without what is dead in it."""
        decision = outcome[0]
        if decision.refusal is not None:
            return await self._answer(await self._refusal(decision, scope), scope, send)
        headers: Headers = [pair for pair in scope["headers"] if pair[0] != b"cookie" or not decision.strip]
        if decision.strip:
            lines = lines_of(scope, b"cookie")
            kept = without_cookies(lines, self.logout.identifier.with_pieces(decision.strip, lines))
            headers += [(b"cookie", line.encode("latin-1")) for line in kept]
        if decision.drop_authorization:
            headers = [pair for pair in headers if pair[0] != b"authorization"]
        whole, scope = scope, with_headers(scope, headers)
        if decision.identity is not None:
            scope["state"] = {**(scope.get("state") or {}), "logout": decision.identity}
        sent = _sent_with_deletions if decision.delete else _sent
        try:
            await self.app(scope, receive, partial(sent, (send, whole, self._body, self, outcome, False)))
        except BaseException as error:
            if not await self._left(whole, error):
                raise
        await self._left(whole)

    async def _refusal(self, decision: Decision, scope: Scope) -> Response:
        assert decision.refusal is not None  # noqa: S101 - said to the type checker: the caller looked
        if not decision.delete:
            return decision.refusal
        began = self._began(scope, (decision, 0.0, False))
        return decision.refusal.with_headers([("Set-Cookie", line) for line in await self._answers.deletions(began)])

    def _visit(self, scope: Scope, path: str) -> Visit:
        return self.logout.service.visit(self._request(scope, path, nothing), path)

    # ---- our own paths -------------------------------------------------------------------------------

    async def _serve_special(
        self, special: Endpoint | tuple[TokenPath, ...], path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if isinstance(special, Endpoint):
            request = self._request(scope, path, receive)
            return await _serve_endpoint(special, request, self._live, scope, receive, send)
        here = [each for each in special if each.method == scope["method"].upper()]
        requested, answered = self._token_fields(here)
        body = ReplayedBody(receive)
        tokens, at = [], self.logout.clock()
        try:
            if requested:
                tokens = await tokens_in_body(self._request(scope, path, body.receive), requested)
        except Refused as refused:
            if not self.logout.guard.observe:
                return await self._answer(refusal_of(refused), scope, send)
        decision = await self.logout.guard.judge(
            lines_of(scope, b"authorization"), lines_of(scope, b"cookie"), others=tokens, login_path=bool(here),
            visit=partial(self._visit, scope, path),
        )  # fmt: skip
        # A request that brings a token of its own asks for its successor; it is no login.
        outcome = (decision, at, bool(answered) and not tokens)
        if answered and decision.refusal is None:
            send = TokenAnswer(self._answers, partial(self._began, scope, outcome), answered, send).send
            # Nobody can read a compressed answer here; and the caller must not choose whether it is read.
            scope = with_headers(scope, [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"])
        await self._carry_out(outcome, scope, body.replay, send)

    def _request(self, scope: Scope, path: str, receive: Receive) -> Request:
        return make_request(scope, path, receive, self.logout.settings.trusted_proxies)

    async def _answer(self, response: Response, scope: Scope, send: Send) -> None:
        response = with_cors(response, lines_of(scope, b"origin"), self.logout.settings.trusted_origins)
        await send_response(response, scope, send)

    # ---- answers of the application ------------------------------------------------------------------

    def _began(self, scope: Scope, passed: Known | Outcome) -> Began:
        decision, at, is_login = (PASS, 0.0, False) if isinstance(passed, Known) else passed
        raw, service = scope.get("raw_path"), self.logout.service
        request = self._request(scope, scope["path"], nothing)
        return Began(
            _identities(passed), at, raw.decode("latin-1") if raw else quote(scope["path"]),
            cookies=tuple(lines_of(scope, b"cookie")), https=service.is_https(request),
            delete=decision.delete, is_login=is_login, visit=service.visit(request, scope["path"]),
        )  # fmt: skip

    async def _start(self, watch: Watch, message: Message) -> None:
        """Send the start of an answer that sets or must delete cookies, or is a page or an event stream."""
        send, scope, _, _, passed, by_cookie = watch
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers") or ()]
        fields = {name.lower(): value for name, value in headers}
        kind, kept = fields.get("content-type", ""), fields.get("cache-control", "")
        if kind.startswith("text/event-stream"):
            scope[self._events] = "content-encoding" not in fields
        elif by_cookie and kind.startswith("text/html") and "no-store" not in kept and "public" not in kept:
            # After a logout, "back" must not show it, neither from a cache nor from the browser's memory.
            headers.append(("cache-control", "no-store"))
        if "set-cookie" in fields or (type(passed) is tuple and passed[0].delete):
            headers = await self._answers.cookies(headers, self._began(scope, passed))
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({**message, "headers": pairs})

    # ---- live connections ----------------------------------------------------------------------------

    def _part(self, watch: Watch, message: Message) -> Awaitable[None]:
        """Forward a message of a body that comes in parts, or may."""
        send, scope, _, _, passed, _ = watch
        body: Body | None = scope.get(self._body)
        if body is not None:
            return body.send(message)
        if message["type"] == "http.response.body" and message.get("more_body"):
            return self._first_part(send, scope, passed, message)
        return send(message)

    async def _first_part(self, send: Send, scope: Scope, passed: Known | Outcome, message: Message) -> None:
        """Send the first part of a body that has more, and have it ended with its login."""
        identities = _identities(passed)
        if not identities:
            return await send(message)
        live_loop, events = self._live.here(), scope.get(self._events, False)
        scope[self._body] = body = Body(live_loop, identities, send, events=events)
        if events:
            live_loop.opened(body)
        else:
            live_loop.began(body)
        await body.send(message)

    async def _left(self, scope: Scope, error: BaseException | None = None) -> bool:
        """The application is done with this scope: nothing is open any more. Did a cut make it raise this error?"""
        body: Body | None = scope.get(self._body)
        if body is None:
            return False
        body.close()
        if not body.ended or (error is not None and not is_ours(error)):
            return False
        await body.farewell()
        return True

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a handshake with anything dead in it; a socket that is let in is closed when its login ends."""
        if type(scope["headers"]) is not list:
            scope = with_headers(scope, [tuple(pair) for pair in scope["headers"]])
        path = below_root(scope["path"], scope.get("root_path") or "")
        if self._exempts and self._paths.is_exempt(path):
            return await self.app(scope, receive, send)
        found = [
            read_query(scope.get("query_string", b"").decode("latin-1")),
            read_subprotocols(lines_of(scope, b"sec-websocket-protocol")),
        ]
        others = [each for each in found if each is not None]
        decision = await self.logout.guard.judge(
            lines_of(scope, b"authorization"), lines_of(scope, b"cookie"), others=others, handshake=True,
            visit=partial(self._visit, scope, path),
        )  # fmt: skip
        if decision.refusal is not None:
            return await self._refuse_handshake(decision.refusal, scope, receive, send)
        if decision.identity is not None:
            scope["state"] = {**(scope.get("state") or {}), "logout": decision.identity}
        if not decision.identities:
            return await self.app(scope, receive, send)
        live_loop = self._live.here()
        socket = Socket(live_loop, decision.identities, receive, send)
        live_loop.opened(socket)
        try:
            await self.app(scope, socket.receive, socket.send)
            await socket.farewell()
        except BaseException as error:
            if not socket.ended or not is_ours(error):
                raise
            await socket.farewell()
        finally:
            socket.close()

    async def _refuse_handshake(self, refusal: Response, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # the server's "connect", which comes before any answer
        if "websocket.http.response" in (scope.get("extensions") or {}):
            await send_response(refusal, scope, send, prefix="websocket.http.response")
        else:
            # 1013: try again later (RFC 6455's registry); not knowing is not "logged out".
            code, reason = (1013, "try again later") if refusal.status == 503 else (4401, "logged out")
            await send({"type": "websocket.close", "code": code, "reason": reason})


def _identities(passed: Known | Outcome) -> tuple[Identity, ...]:
    """Whose end is the end of this request's answer."""
    return passed.identities if isinstance(passed, Known) else passed[0].identities


Watch = tuple[Send, Scope, str, LogoutMiddleware, Known | Outcome, bool]
"""The server's `send` and the scope of a request, where a streamed body is noted, and what was decided about it."""


def _sent(watch: Watch, message: Message) -> Awaitable[None]:
    """Forward one message of an answer. Most pass at once: this is no coroutine, it hands on the server's."""
    # One tuple, because every parameter that `partial` hands on costs each message.
    if message["type"] == "http.response.start":
        headers = message.get("headers") or ()
        if type(headers) is not list:
            headers = [tuple(pair) for pair in headers]
            message = {**message, "headers": headers}
        for name, value in headers:
            if name in _WATCHED and (value[5:6] in _WATCHED_KINDS or name in _SETS):
                return watch[3]._start(watch, message)
    elif "more_body" in message or watch[2] in watch[1]:
        return watch[3]._part(watch, message)
    return watch[0](message)


def _sent_with_deletions(watch: Watch, message: Message) -> Awaitable[None]:
    """The same of an answer that must delete cookies, whatever it sets itself."""
    if message["type"] == "http.response.start":
        return watch[3]._start(watch, message)
    return _sent(watch, message)


async def _serve_endpoint(
    endpoint: Endpoint, request: Request, live: LiveLoops, scope: Scope, receive: Receive, send: Send
) -> None:
    # To its end even if the client hangs up: nobody can undo his own logout.
    response = await finish(endpoint(request))
    if isinstance(response, EventStream) and scope["method"] == "GET":
        return await asgi_events.serve(response, live.here(), scope, receive, send)
    await send_response(response, scope, send)


class LogoutEndpoints:
    """The endpoints alone, to be mounted by hand: `app.mount("/auth", LogoutEndpoints(logout))`."""

    def __init__(self, logout: Logout | None = None, *, settings: LogoutSettings | None = None, **given: Any) -> None:
        self.logout = for_middleware(logout, settings, blocking=False, given=given)
        self._routes = waking(routes(self.logout.service, ""), self.logout)
        self._live = LiveLoops(self.logout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request below the mount; other paths are 404."""
        if scope["type"] != "http":
            raise ConfigurationError(
                "E008 LogoutEndpoints: serves http only; mount it under a path of your application"
            )
        path = below_root(scope["path"], scope.get("root_path") or "")
        endpoint = self._routes.get(path) or route_below(self.logout.service, "", path)
        if endpoint is None:
            return await send_response(Response(404, (("Content-Type", "text/plain"),), b"Not found"), scope, send)
        request = make_request(scope, path, receive, self.logout.settings.trusted_proxies)
        await _serve_endpoint(endpoint, request, self._live, scope, receive, send)
