"""The endpoints (contract 4): a table from exact path to handlers; one module per group.

Every handler takes the service and a request and returns a response. Nothing here raises into the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from ..rules.http import NO_STORE, Request, Response
from .logout import log_out
from .redirect import redirect_logout
from .service import Service, failure
from .sessions import end_other_sessions, end_session, list_sessions, who_am_i

Handler = Callable[[Request], Awaitable[Response]]

_EXPOSED = "WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy"
_MAX_PREFLIGHT_AGE = "600"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The handlers of one path, by method."""

    methods: Mapping[str, Handler]
    trusted_origins: tuple[str, ...]

    async def __call__(self, request: Request) -> Response:
        """Answer, with the CORS fields a trusted origin needs; HEAD answers without a body."""
        if request.method == "OPTIONS":
            response = self._options(request)
        else:
            method = "GET" if request.method == "HEAD" and "GET" in self.methods else request.method
            handler = self.methods.get(method)
            response = await handler(request) if handler else self._wrong_method()
        return with_cors(response, request.header_lines("origin"), self.trusted_origins)

    def _allowed(self) -> str:
        head = ["HEAD"] if "GET" in self.methods else []
        return ", ".join([*sorted(self.methods), *head, "OPTIONS"])

    def _wrong_method(self) -> Response:
        return failure(405, "method_not_allowed", f"use {self._allowed()}", (("Allow", self._allowed()),))

    def _options(self, request: Request) -> Response:
        headers = [("Allow", self._allowed()), NO_STORE, ("Vary", "Origin")]
        origin = request.header("origin")
        if origin in self.trusted_origins and request.header("access-control-request-method"):
            headers += [
                ("Access-Control-Allow-Methods", self._allowed()),
                ("Access-Control-Allow-Headers", "authorization, content-type, prefer, dpop"),
                ("Access-Control-Max-Age", _MAX_PREFLIGHT_AGE),
            ]
        return Response(204, tuple(headers))


def with_cors(response: Response, origin: list[str], trusted: tuple[str, ...]) -> Response:
    """The answer as a trusted origin's script may read it (Fetch 3.2); for others unchanged."""
    if len(origin) != 1 or origin[0] not in trusted:
        return response
    return response.with_headers(
        (
            ("Access-Control-Allow-Origin", origin[0]),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Expose-Headers", _EXPOSED),
            ("Vary", "Origin"),
        )
    )


def routes(service: Service, prefix: str) -> dict[str, Endpoint]:
    """The table of paths that are ours; `session_route` has the others. All else is the application's."""
    settings = service.settings
    table: dict[str, Mapping[str, Handler]] = {}
    if "logout" in settings.endpoints:
        table |= _logout_paths(service, prefix)
    if "sessions" in settings.endpoints:
        table[f"{prefix}/session"] = {"GET": partial(who_am_i, service)}
        table[f"{prefix}/sessions"] = {
            "GET": partial(list_sessions, service), "DELETE": partial(end_other_sessions, service),
        }  # fmt: skip
    return {path: Endpoint(methods, settings.trusted_origins) for path, methods in table.items()}


def session_route(service: Service, prefix: str, path: str) -> Endpoint | None:
    """The endpoint of one session, for a path that `routes` does not have; None for every other path.

    Whatever stands in the place of the id is ours, a wrong one, too: it is 404 like the id of a stranger.
    """
    head, _, session_id = path.rpartition("/")
    if head != f"{prefix}/sessions" or not session_id or "sessions" not in service.settings.endpoints:
        return None
    return Endpoint({"DELETE": partial(end_session, service, session_id)}, service.settings.trusted_origins)


def _logout_paths(service: Service, prefix: str) -> dict[str, Mapping[str, Handler]]:
    settings = service.settings
    post: Mapping[str, Handler] = {"POST": partial(log_out, service)}
    both: Mapping[str, Handler] = {"GET": partial(redirect_logout, service), **post}
    table: dict[str, Mapping[str, Handler]] = {
        f"{prefix}/logout": both,
        f"{prefix}/logout/all": {"POST": partial(log_out, service, everywhere=True)},
    }
    for alias in settings.aliases:
        table.setdefault(alias, both if settings.preset_rules.get_on_aliases else post)
    return table
