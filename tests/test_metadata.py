"""What the package says of itself: which endpoints there are and where."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from logout_middleware import LogoutSettings
from logout_middleware.asgi import LogoutEndpoints as AsgiEndpoints
from logout_middleware.endpoints import kit
from logout_middleware.endpoints.metadata import PATH, configuration
from logout_middleware.wsgi import LogoutEndpoints as WsgiEndpoints

from .client import AsgiClient, BuildSite, Sender, Site, WsgiClient
from .protocols.clients import CLIENTS

LOGOUT = {"logout_endpoint": "/auth/logout", "logout_all_endpoint": "/auth/logout/all"}
SESSIONS = {"session_endpoint": "/auth/session", "sessions_endpoint": "/auth/sessions"}
BROWSER = {
    "events_endpoint": "/auth/events",
    "browser_kit": {
        name: {"url": f"/auth/{lasting.name}", "integrity": lasting.integrity}
        for name, (_, lasting) in kit.files().items()
    },
}
METHODS = ["client_secret_basic", "client_secret_post"]


def told(http: Sender, path: str = PATH) -> dict[str, Any]:
    """What the address answers."""
    answer = http.get(path)
    assert (answer.status, answer.header("cache-control")) == (200, "no-store")
    members: dict[str, Any] = answer.json
    return members


def test_by_default_there_are_logout_sessions_and_the_browser_kit(http: Site) -> None:
    """Paths, where the package does not know its own origin."""
    assert told(http) == http.logout.metadata() == LOGOUT | SESSIONS | BROWSER


def test_REV_15_the_addresses_of_revocation_and_introspection_are_told(site: BuildSite) -> None:
    """With the ways in which a client may say who it is (RFC 8414 2); absolute where the origin is known."""
    http = site(
        endpoints="oauth", clients=CLIENTS, prefix="/api/auth", public_url="https://app.example.com",
        jwt_issuer="https://issuer.example.com",
    )  # fmt: skip

    assert (
        told(http)
        == http.logout.metadata()
        == {
            "issuer": "https://issuer.example.com",
            "public_url": "https://app.example.com",
            "revocation_endpoint": "https://app.example.com/api/auth/revoke",
            "revocation_endpoint_auth_methods_supported": METHODS,
            "introspection_endpoint": "https://app.example.com/api/auth/introspect",
            "introspection_endpoint_auth_methods_supported": METHODS,
        }
    )


def test_REV_15_what_is_told_is_there(site: BuildSite) -> None:
    """Every address answers something else than "not found"."""
    http = site(endpoints="logout,sessions,oauth", clients=CLIENTS)

    paths = [value for name, value in told(http).items() if name.endswith(("endpoint", "uri"))]

    assert len(paths) == 6
    assert all(http.request("OPTIONS", path).header("allow") for path in paths)


def test_operators_endpoints_are_not_advertised(site: BuildSite) -> None:
    """Whoever has the key knows where they are."""
    http = site(admin_key="k" * 32)

    assert "admin" not in repr(told(http))


def test_no_secret_is_told(site: BuildSite) -> None:
    """Nor the ids of the clients."""
    http = site(endpoints="logout,oauth", clients=CLIENTS, admin_key="k" * 32)

    text = http.get(PATH).text

    assert not [client for client in CLIENTS if f'"{client}"' in text]


def test_every_other_method_is_refused(http: Site) -> None:
    """HEAD is a GET without a body."""
    head = http.request("HEAD", PATH)

    assert (head.status, head.body) == (200, b"")
    assert http.post(PATH).status == 405


def test_without_any_group_the_path_is_the_applications(site: BuildSite) -> None:
    """Nothing is taken from it."""
    http = site(endpoints="")

    assert http.get(PATH).status == 404


def test_the_other_groups_are_named_where_they_are_served() -> None:
    """By the names that their standards give them."""
    settings = LogoutSettings(public_url="https://app.example.com")
    paths = {
        "/auth/backchannel-logout", "/auth/frontchannel-logout", "/auth/check", "/auth/global-token-revocation",
        "/auth/ssf/events", "/auth/feed", "/auth/admin/revoke",
    }  # fmt: skip

    assert configuration(settings, paths, "/auth") == {
        "public_url": "https://app.example.com",
        "backchannel_logout_uri": "https://app.example.com/auth/backchannel-logout",
        "frontchannel_logout_uri": "https://app.example.com/auth/frontchannel-logout",
        "check_endpoint": "https://app.example.com/auth/check",
        "global_token_revocation_endpoint": "https://app.example.com/auth/global-token-revocation",
        "ssf_push_endpoint": "https://app.example.com/auth/ssf/events",
        "feed_endpoint": "https://app.example.com/auth/feed",
    }


def test_endpoints_that_are_mounted_by_hand_tell_of_the_same_addresses(shell: str) -> None:
    """The mount stands where LOGOUT_PREFIX says."""
    given: dict[str, Any] = {"store": "memory://", "allow_unsafe_store": True}
    client: Any
    if shell == "asgi":
        client = AsgiClient(Starlette(routes=[Mount("/auth", AsgiEndpoints(**given))]))
    else:
        client = WsgiClient(DispatcherMiddleware(lambda environ, start: [], {"/auth": WsgiEndpoints(**given)}))
    http = Sender(client)

    assert told(http, f"/auth{PATH}") == LOGOUT | SESSIONS | BROWSER
    http.close()
