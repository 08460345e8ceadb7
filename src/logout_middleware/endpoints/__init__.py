"""The endpoints (contract 4): a table from exact path to handlers; one module per group.

Every handler takes the service and a request and returns a response. Nothing here raises into the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from ..rules.http import NO_STORE, Request, Response
from . import admin, check, kit, metadata, oauth, oidc, push
from .logout import log_out
from .redirect import redirect_logout
from .service import ANY_METHOD, Handler, Methods, Service, failure
from .sessions import end_other_sessions, end_session, list_sessions, who_am_i

_EXPOSED = "WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy"
_SENT = ("authorization", "content-type", "prefer", "dpop", "x-logout-passive")
_MAX_PREFLIGHT_AGE = "600"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The handlers of one path, by method."""

    methods: Mapping[str, Handler]
    trusted_origins: tuple[str, ...]
    client_headers: tuple[str, ...] = ()

    async def __call__(self, request: Request) -> Response:
        """Answer, with the CORS fields a trusted origin needs; HEAD answers without a body."""
        if ANY_METHOD in self.methods:
            return await self.methods[ANY_METHOD](request)
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
                ("Access-Control-Allow-Headers", ", ".join((*_SENT, *self.client_headers))),
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
    """The table of paths that are ours; `route_below` has the others. All else is the application's."""
    settings = service.settings
    table: dict[str, Methods] = {}
    for group, paths in _GROUPS.items():
        if group in settings.groups:
            table |= paths(service, prefix)
    if table:
        members = metadata.configuration(settings, table.keys(), prefix)
        table[metadata.PATH] = {"GET": partial(metadata.tell, members)}
    more = settings.preset_rules.client_headers
    return {path: Endpoint(methods, settings.trusted_origins, more) for path, methods in table.items()}


def prefixes_below(service: Service, prefix: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The beginnings of paths that `route_below` may know: those for any method but GET, and those for all."""
    sessions = (f"{prefix}/sessions/",) if "sessions" in service.settings.groups else ()
    every = (f"{prefix}/check/",) if "check" in service.settings.groups else ()
    return sessions, every


def route_below(service: Service, prefix: str, path: str) -> Endpoint | None:
    """The endpoint of a path that `routes` does not have, because a part of it is a value; None for every other path.

    Whatever stands in the place of a session's id is ours, a wrong one, too: it is 404 like the id of a stranger.
    """
    trusted = service.settings.trusted_origins
    if "check" in service.settings.groups and path.startswith(f"{prefix}/check/"):
        below = path.removeprefix(f"{prefix}/check")
        return Endpoint({ANY_METHOD: partial(check.check, service, below=below)}, trusted)
    head, _, session_id = path.rpartition("/")
    if head != f"{prefix}/sessions" or not session_id or "sessions" not in service.settings.groups:
        return None
    return Endpoint({"DELETE": partial(end_session, service, session_id)}, trusted)


def _logout_paths(service: Service, prefix: str) -> dict[str, Methods]:
    settings = service.settings
    post: Methods = {"POST": partial(log_out, service)}
    both: Methods = {"GET": partial(redirect_logout, service), **post}
    table: dict[str, Methods] = {
        f"{prefix}/logout": both,
        f"{prefix}/logout/all": {"POST": partial(log_out, service, everywhere=True)},
    }
    for alias in settings.aliases:
        table.setdefault(alias, both if settings.preset_rules.get_on_aliases else post)
    return table


def _session_paths(service: Service, prefix: str) -> dict[str, Methods]:
    return {
        f"{prefix}/session": {"GET": partial(who_am_i, service)},
        f"{prefix}/sessions": {
            "GET": partial(list_sessions, service), "DELETE": partial(end_other_sessions, service),
        },
    }  # fmt: skip


_GROUPS = {
    "logout": _logout_paths, "sessions": _session_paths, "browser": kit.paths, "oauth": oauth.paths, "oidc": oidc.paths,
    "check": check.paths, "push": push.paths, "admin": admin.paths,
}  # fmt: skip
