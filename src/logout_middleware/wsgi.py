"""The WSGI shell: turns environs into our Request, and runs the flows to their end, without any event loop.

What passes, passes untouched, with the server's own `start_response`, unless a cookie must be taken out,
deleted or given a session id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from io import BytesIO
from typing import Any

from .colour import run_blocking
from .endpoints import Endpoint, routes, with_cors
from .endpoints.service import refusal_of
from .errors import Refused
from .flows.guard import Decision
from .flows.token_requests import tokens_in_body
from .logout import BlockingLogout
from .rules import proxies
from .rules.cookies import with_deletions
from .rules.credentials import without_cookies
from .rules.http import MAX_BODY, Request, Response
from .settings import LogoutSettings
from .sharing import Shell, for_middleware
from .stores.memory import MemoryStore
from .values import TokenPath

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

IDENTITY = "logout_middleware.identity"
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
        if special is not None:
            return self._serve_special(special, path, environ, start_response)
        authorization = environ.get("HTTP_AUTHORIZATION")
        cookie = environ.get("HTTP_COOKIE")
        if self._signs_sessions:
            start_response = self._signing(start_response)
        if authorization is None and cookie is None:
            if "mod_wsgi.version" in environ or isinstance(self.logout.raw_store, MemoryStore):
                self._look_at_server(environ)
            return self.app(environ, start_response)
        if self._exempts and self._paths.is_exempt(path):
            return self.app(environ, start_response)
        known = self._seen_alive(authorization, cookie)
        if known is not None:
            identity = known.identity
        else:
            decision = run_blocking(self._guard.check(authorization, cookie))
            if decision.refusal is not None or decision.strip or decision.drop_authorization:
                return self._carry_out(decision, environ, start_response)
            identity = decision.identity
        if identity is not None:
            environ[IDENTITY] = identity
        return self.app(environ, start_response)

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

    def _carry_out(self, decision: Decision, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Refuse, or pass the request on without what is dead in it."""
        if decision.refusal is not None:
            deletions = [("Set-Cookie", text) for text in self._deletions(decision, environ)]
            return self._answer(decision.refusal.with_headers(deletions), environ, start_response)
        environ = dict(environ)
        if decision.strip:
            kept = without_cookies([environ.pop("HTTP_COOKIE", "")], decision.strip)
            if kept:
                environ["HTTP_COOKIE"] = kept[0]
        if decision.drop_authorization:
            environ.pop("HTTP_AUTHORIZATION", None)
        if decision.identity is not None:
            environ[IDENTITY] = decision.identity
        if decision.delete:
            start_response = self._deleting(decision, environ, start_response)
        return self.app(environ, start_response)

    # ---- our own paths -------------------------------------------------------------------------------

    def _serve_special(
        self, special: Endpoint | tuple[TokenPath, ...], path: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        proxies_ = self.logout.settings.trusted_proxies
        if isinstance(special, Endpoint):
            response = run_blocking(special(make_request(environ, path, proxies_)))
            return send_response(response, environ, start_response)
        if self._signs_sessions:
            start_response = self._signing(start_response)
        here = [each for each in special if each.method == environ["REQUEST_METHOD"].upper()]
        fields = {name for each in here if each in self.logout.settings.token_requests for name in each.fields}
        tokens, body = [], None
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
        decision = run_blocking(self.logout.guard.judge(authorization, cookie, others=tokens, login_path=bool(here)))
        return self._carry_out(decision, environ, start_response)

    def _answer(self, response: Response, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        origin = environ.get("HTTP_ORIGIN")
        response = with_cors(response, [origin] if origin is not None else [], self.logout.settings.trusted_origins)
        return send_response(response, environ, start_response)

    # ---- answers of the application ------------------------------------------------------------------

    def _deletions(self, decision: Decision, environ: Environ) -> list[str]:
        request = make_request(environ, environ.get("PATH_INFO", ""), self.logout.settings.trusted_proxies)
        return self.logout.service.deletions_of(decision.delete, request)

    def _deleting(self, decision: Decision, environ: Environ, start_response: StartResponse) -> StartResponse:
        """Delete the dead cookies with the application's answer."""
        deletions = self._deletions(decision, environ)

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            return start_response(status, with_deletions(headers, deletions), *exc_info)

        return start

    def _signing(self, start_response: StartResponse) -> StartResponse:
        """Give sessions that the application sets a stable id."""
        rewritten = self.logout.sessions.rewritten

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            return start_response(status, rewritten(headers), *exc_info)

        return start


class LogoutEndpoints:
    """The endpoints alone, to be mounted by hand under `/auth`, e.g. with werkzeug's DispatcherMiddleware."""

    def __init__(
        self, logout: BlockingLogout | None = None, *, settings: LogoutSettings | None = None, **given: Any
    ) -> None:
        self.logout = for_middleware(logout, settings, blocking=True, given=given)
        self._routes = routes(self.logout.service, "")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request below the mount; other paths are 404."""
        path = environ.get("PATH_INFO", "")
        endpoint = self._routes.get(path)
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
