"""The WSGI shell: turns environs into our Request, and runs the flows to their end, without any event loop.

What passes, passes untouched, with the server's own `start_response`, unless a cookie must be taken out,
deleted or given a session id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import quote

from .colour import run_blocking
from .endpoints import Endpoint, route_below, routes, with_cors
from .endpoints.service import refusal_of
from .errors import Refused
from .flows.answers import Began
from .flows.decisions import PASS, Decision
from .flows.known_headers import Known
from .flows.sessions import Visit
from .flows.token_requests import tokens_in_body
from .logout import BlockingLogout
from .rules import proxies
from .rules.credentials import without_cookies
from .rules.http import MAX_BODY, Request, Response
from .rules.identity import Identity
from .settings import LogoutSettings
from .sharing import Shell, for_middleware, waking
from .stores.memory import MemoryStore
from .values import TokenPath
from .wsgi_live import StreamedBody
from .wsgi_tokens import TokenAnswer

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
Outcome = tuple[Decision, float, bool]
"""What was decided about a request, when it began, and whether its path answers with tokens."""

IDENTITY = "logout_middleware.identity"
_WATCHED_KINDS = frozenset({"h", "e"})  # the sixth letter of text/html and of text/event-stream
"""Where the application finds the identity of a guarded request, in the environ."""


class LogoutMiddleware(Shell[App]):
    """Guards a WSGI application and serves the logout endpoints in front of it.

    Everything comes from LOGOUT_* variables, or `settings`, or settings as keywords, or a shared `logout`.
    """

    blocking = True

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = environ.get("PATH_INFO", "")
        special = self._special.get(path)
        # Nothing but a GET without parameters is sure not to be a login.
        plain = environ["REQUEST_METHOD"] == "GET" and not environ.get("QUERY_STRING")
        below = self._below_for_get if plain else self._below
        if below and special is None and path.startswith(below):
            special = route_below(self.logout.service, self.logout.settings.prefix, path)
        if special is not None:
            return self._serve_special(special, path, environ, start_response)
        authorization = environ.get("HTTP_AUTHORIZATION")
        cookie = environ.get("HTTP_COOKIE")
        if (authorization is None and cookie is None) or (self._exempts and self._paths.is_exempt(path)):
            if "mod_wsgi.version" in environ or isinstance(self.logout.raw_store, MemoryStore):
                self._look_at_server(environ)
            if self._looks_at_all or not plain:
                start_response = _Answer(self, environ, self._anonymous(), start_response).start
            return self.app(environ, start_response)
        passed: Known | Outcome
        known = self._seen_alive(authorization, cookie)
        if known is not None:
            passed, identity = known, known.identity
        else:
            decision = run_blocking(self._guard.check(authorization, cookie, partial(self._visit, environ, path)))
            passed = (decision, self.logout.clock(), False)
            identity = decision.identity
            unknown = identity is None and decision.identities  # it passes without an answer of the store
            if decision.refusal is not None or decision.strip or decision.drop_authorization or unknown:
                return self._carry_out(passed, environ, start_response)
        if identity is None:
            if self._looks_at_all or not plain:
                start_response = _Answer(self, environ, self._anonymous(), start_response).start
            return self.app(environ, start_response)
        environ[IDENTITY] = identity
        answer = _Answer(self, environ, passed, start_response, cookie is not None)
        return answer.body(self.app(environ, answer.start))

    def _anonymous(self) -> Outcome:
        return PASS, self.logout.clock(), False

    def _look_at_server(self, environ: Environ) -> None:
        """Say what the server of this request lets us see, and an operator should know."""
        store = self.logout.raw_store
        if isinstance(store, MemoryStore) and environ.get("wsgi.multiprocess"):
            store.saw_another_worker("the server says wsgi.multiprocess")
        if "mod_wsgi.version" in environ:
            self.logout.advise(
                "mod_wsgi",
                "mod_wsgi hides the Authorization field unless the Apache configuration says WSGIPassAuthorization On; "
                "without it a revoked bearer token is not seen here",
            )

    def _carry_out(self, outcome: Outcome, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Refuse, or pass the request on without what is dead in it."""
        decision = outcome[0]
        if decision.refusal is not None:
            refusal = decision.refusal
            if decision.delete:
                began = _Answer(self, environ, outcome, start_response).began()
                lines = run_blocking(self._answers.deletions(began))
                refusal = refusal.with_headers([("Set-Cookie", line) for line in lines])
            return self._answer(refusal, environ, start_response)
        whole, environ = environ, dict(environ)
        if decision.strip:
            lines = [environ.pop("HTTP_COOKIE", "")]
            kept = without_cookies(lines, self.logout.identifier.with_pieces(decision.strip, lines))
            if kept:
                environ["HTTP_COOKIE"] = kept[0]
        if decision.drop_authorization:
            environ.pop("HTTP_AUTHORIZATION", None)
        if decision.identity is not None:
            environ[IDENTITY] = decision.identity
        answer = _Answer(self, whole, outcome, start_response, deletes=bool(decision.delete))
        return answer.body(self.app(environ, answer.start))

    def _visit(self, environ: Environ, path: str) -> Visit:
        return self.logout.service.visit(make_request(environ, path, self.logout.settings.trusted_proxies), path)

    # ---- our own paths -------------------------------------------------------------------------------

    def _serve_special(
        self, special: Endpoint | tuple[TokenPath, ...], path: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        proxies_ = self.logout.settings.trusted_proxies
        if isinstance(special, Endpoint):
            response = run_blocking(special(make_request(environ, path, proxies_)))
            return send_response(response, environ, start_response)
        here = [each for each in special if each.method == environ["REQUEST_METHOD"].upper()]
        fields, answered = self._token_fields(here)
        tokens, body, at = [], None, self.logout.clock()
        try:
            # A body of unknown length cannot be handed back once it is found to be too long: observing leaves it alone.
            if fields and (environ.get("CONTENT_LENGTH") or not self.logout.guard.observe):
                body = _read_body(environ, MAX_BODY)
                environ = {**environ, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
                tokens = run_blocking(tokens_in_body(make_request(environ, path, proxies_), fields))
        except Refused as refused:
            if not self.logout.guard.observe:
                return self._answer(refusal_of(refused), environ, start_response)
        if body is not None:
            environ["wsgi.input"] = BytesIO(body)
        held = [environ.get(name) for name in ("HTTP_AUTHORIZATION", "HTTP_COOKIE")]
        authorization, cookie = ([text] if text is not None else [] for text in held)
        decision = run_blocking(
            self.logout.guard.judge(
                authorization, cookie, others=tokens, login_path=bool(here), visit=partial(self._visit, environ, path)
            )
        )
        # A request that brings a token of its own asks for its successor; it is no login.
        outcome = (decision, at, bool(answered) and not tokens)
        if not answered or decision.refusal is not None:
            return self._carry_out(outcome, environ, start_response)
        # Nobody can read a compressed answer here; and the caller must not choose whether it is read.
        environ = {name: value for name, value in environ.items() if name != "HTTP_ACCEPT_ENCODING"}
        began = _Answer(self, environ, outcome, start_response).began
        token_answer = TokenAnswer(self._answers, began, answered, start_response)
        return token_answer.body(self._carry_out(outcome, environ, token_answer.start))

    def _answer(self, response: Response, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN")
        response = with_cors(response, [origin] if origin is not None else [], self.logout.settings.trusted_origins)
        return send_response(response, environ, start_response)


class _Answer:
    """The answer to one request: looks at its cookies when it starts, and ends its stream with its login."""

    __slots__ = ("_by_cookie", "_deletes", "_environ", "_has_length", "_passed", "_shell", "_start", "events")

    def __init__(
        self, shell: LogoutMiddleware, environ: Environ, passed: Known | Outcome, start_response: StartResponse,
        by_cookie: bool = False, deletes: bool = False,
    ) -> None:  # fmt: skip
        self._shell, self._environ, self._passed, self._start = shell, environ, passed, start_response
        self._by_cookie, self._deletes = by_cookie, deletes
        self.events = self._has_length = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """The server's `start_response`, with the fields as they may leave."""
        watched = self._deletes
        for name, value in headers:
            # The length first: most fields are none of these, and their names come in any case.
            size = len(name)
            if size == 14:
                if name.lower() == "content-length":
                    self._has_length = True
            elif size == 12:
                if value[5:6] in _WATCHED_KINDS and name.lower() == "content-type":
                    headers = self._typed(value, headers)
            elif size == 10 and name.lower() == "set-cookie":
                watched = True
        if watched:
            headers = run_blocking(self._shell._answers.cookies(headers, self.began()))
        return self._start(status, headers) if exc_info is None else self._start(status, headers, exc_info)

    def _typed(self, kind: str, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The fields of a page or an event stream."""
        if kind.startswith("text/event-stream"):
            self.events = "content-encoding" not in {each.lower() for each, _ in headers}
        elif kind.startswith("text/html") and self._by_cookie and not any(_is_for_all(*pair) for pair in headers):
            return [*headers, ("Cache-Control", "no-store")]
        return headers

    def body(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        """The application's body; one that may go on for long, watched."""
        if self._has_length or type(chunks) is list:
            return chunks
        wrapper = self._environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(chunks, wrapper):
            return chunks  # The server sends that by itself.
        identities = self._identities()
        if not identities:
            return chunks
        return StreamedBody(self._shell.logout, identities, chunks, answer=self)

    def _identities(self) -> tuple[Identity, ...]:
        passed = self._passed
        return passed.identities if isinstance(passed, Known) else passed[0].identities

    def began(self) -> Began:
        """How the request began."""
        decision, at, is_login = (PASS, 0.0, False) if isinstance(self._passed, Known) else self._passed
        logout, environ = self._shell.logout, self._environ
        path = environ.get("PATH_INFO", "")
        request = make_request(environ, path, logout.settings.trusted_proxies)
        return Began(
            self._identities(), at, quote(request.path, encoding="latin-1"),
            cookies=tuple(request.header_lines("cookie")), https=logout.service.is_https(request),
            delete=decision.delete, is_login=is_login, visit=logout.service.visit(request, path),
        )  # fmt: skip


def _is_for_all(name: str, value: str) -> bool:
    """Does this field say already who may keep the answer: nobody, or everybody? (RFC 9111 5.2.2)"""
    return len(name) == 13 and name.lower() == "cache-control" and ("no-store" in value or "public" in value)


class LogoutEndpoints:
    """The endpoints alone, to be mounted by hand under `/auth`, e.g. with werkzeug's DispatcherMiddleware."""

    def __init__(
        self, logout: BlockingLogout | None = None, *, settings: LogoutSettings | None = None, **given: Any
    ) -> None:
        self.logout = for_middleware(logout, settings, blocking=True, given=given)
        self._routes = waking(routes(self.logout.service, ""), self.logout)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request below the mount; other paths are 404."""
        path = environ.get("PATH_INFO", "")
        endpoint = self._routes.get(path) or route_below(self.logout.service, "", path)
        if endpoint is None:
            missing = Response(404, (("Content-Type", "text/plain"),), b"Not found")
            return send_response(missing, environ, start_response)
        request = make_request(environ, path, self.logout.settings.trusted_proxies)
        return send_response(run_blocking(endpoint(request)), environ, start_response)


def make_request(environ: Environ, path: str, trusted_proxies: tuple[str, ...]) -> Request:
    """Our Request from a WSGI environ."""
    headers = [
        (name[5:].replace("_", "-").lower(), value) for name, value in environ.items() if name.startswith("HTTP_")
    ]
    if environ.get("CONTENT_TYPE"):
        headers.append(("content-type", environ["CONTENT_TYPE"]))
    peer = environ.get("REMOTE_ADDR") or None
    forwarded_for, forwarded_proto = environ.get("HTTP_X_FORWARDED_FOR"), environ.get("HTTP_X_FORWARDED_PROTO")

    async def read_body(limit: int) -> bytes:
        return _read_body(environ, limit)

    return Request(
        method=environ["REQUEST_METHOD"],
        path=environ.get("SCRIPT_NAME", "") + path,
        query_string=environ.get("QUERY_STRING", ""),
        headers=headers,
        scheme=proxies.scheme(
            peer, [forwarded_proto] if forwarded_proto else [], trusted_proxies, environ["wsgi.url_scheme"]
        ),
        client=proxies.client_address(peer, [forwarded_for] if forwarded_for else [], trusted_proxies),
        read_body=read_body,
    )


def _read_body(environ: Environ, limit: int) -> bytes:
    """The whole body, or `Refused` 413 where it is larger than the limit. A length is digits only (RFC 9110 8.6)."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length and not (length.isascii() and length.isdigit()):
        raise Refused(400, "invalid_request", "Content-Length is not a number")
    if not length and not environ.get("wsgi.input_terminated"):
        return b""
    wanted = int(length) if length else limit + 1
    if length and wanted > limit:
        raise Refused(413, "too_large", f"the body must not exceed {limit} bytes")
    body = bytearray()
    while len(body) < wanted:
        part = environ["wsgi.input"].read(wanted - len(body))
        if not part:
            break
        body += part
    if len(body) > limit:
        raise Refused(413, "too_large", f"the body must not exceed {limit} bytes")
    if length and len(body) < wanted:
        raise Refused(400, "invalid_request", "the body ended early")
    return bytes(body)


def send_response(response: Response, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Send a whole response; a HEAD request gets its headers only."""
    headers = list(response.headers)
    if response.status not in (204, 304):
        headers.append(("Content-Length", str(len(response.body))))
        if not any(name == "Content-Type" for name, _ in headers):
            headers.insert(0, ("Content-Type", "text/plain"))  # wsgiref.validate demands one, even on a redirect
    start_response(f"{response.status} {HTTPStatus(response.status).phrase}", headers)
    # Never an empty list: some servers send the status only with the first chunk.
    return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else response.body]
