"""`GET /.well-known/logout-configuration`: which endpoints there are and where (RFC 8414, for logouts).

It stands at the root whatever LOGOUT_PREFIX is, so that a client which knows the origin finds everything. Only what is
served is named; the admin endpoints never are.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..rules.http import Request, Response, json_response
from ..settings import LogoutSettings
from .clients import AUTH_METHODS
from .kit import addresses

PATH = "/.well-known/logout-configuration"
# Names of OpenID Connect, RFC 8414 and others where there is one. Paths are below the prefix.
_NAMES = {
    "logout_endpoint": "/logout", "logout_all_endpoint": "/logout/all", "session_endpoint": "/session",
    "sessions_endpoint": "/sessions", "events_endpoint": "/events",
    "revocation_endpoint": "/revoke", "introspection_endpoint": "/introspect",
    "backchannel_logout_uri": "/backchannel-logout", "frontchannel_logout_uri": "/frontchannel-logout",
    "check_endpoint": "/check", "global_token_revocation_endpoint": "/global-token-revocation",
    "ssf_push_endpoint": "/ssf/events", "feed_endpoint": "/feed",
}  # fmt: skip
_AUTHENTICATED = ("revocation_endpoint", "introspection_endpoint")


def configuration(settings: LogoutSettings, paths: Collection[str], prefix: str) -> dict[str, Any]:
    """What there is, of the paths that are served under this prefix; addresses are absolute with LOGOUT_PUBLIC_URL."""
    base = (settings.public_url or "") + settings.prefix
    served = {name: base + path for name, path in _NAMES.items() if prefix + path in paths}
    methods = {f"{name}_auth_methods_supported": list(AUTH_METHODS) for name in _AUTHENTICATED if name in served}
    kit = {"browser_kit": addresses(settings)} if "events_endpoint" in served else {}
    about = {"issuer": settings.jwt_issuer, "public_url": settings.public_url}
    return {name: value for name, value in about.items() if value is not None} | served | methods | kit


async def tell(members: dict[str, Any], request: Request) -> Response:
    """The answer."""
    return json_response(200, members)
