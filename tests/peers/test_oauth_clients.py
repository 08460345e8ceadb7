"""OAuth client libraries revoke and introspect at our endpoints, as their users would have them do it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from tests.protocols.clients import BANK, HASHED_SECRET, SHOP

from . import node
from .server import Service

METHODS = pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
REVOKE, INTROSPECT = "/auth/revoke", "/auth/introspect"


@METHODS
@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token"])
def test_REV_1_INT_1_authlib_with_requests(service: Service, method: str, hint: str | None) -> None:
    """`OAuth2Session.introspect_token` and `.revoke_token`."""
    token = service.issuer.mint("ann")
    session = AuthlibSession(*SHOP, token_endpoint_auth_method=method)
    assert service.me(token) == "ann"

    before = session.introspect_token(service.origin + INTROSPECT, token=token, token_type_hint=hint)
    revoked = session.revoke_token(service.origin + REVOKE, token=token, token_type_hint=hint)
    after = session.introspect_token(service.origin + INTROSPECT, token=token, token_type_hint=hint)

    assert (before.status_code, before.json()["sub"]) == (200, "ann")
    assert (revoked.status_code, revoked.content) == (200, b"")
    assert after.json() == {"active": False}
    assert service.me(token) is None


@METHODS
def test_REV_1_INT_1_authlib_under_an_event_loop(service: Service, method: str) -> None:
    """`AsyncOAuth2Client`."""
    token = service.issuer.mint("ann")

    async def asked() -> list[Any]:
        async with AsyncOAuth2Client(*SHOP, token_endpoint_auth_method=method) as client:
            return [
                await client.introspect_token(service.origin + INTROSPECT, token=token),
                await client.revoke_token(service.origin + REVOKE, token=token),
                await client.introspect_token(service.origin + INTROSPECT, token=token),
            ]

    before, revoked, after = asyncio.run(asked())

    assert (before.json()["active"], revoked.status_code, after.json()) == (True, 200, {"active": False})
    assert service.me(token) is None


@METHODS
def test_REV_4_authlib_hears_that_its_secret_is_wrong(service: Service, method: str) -> None:
    """In the words of RFC 6749."""
    token = service.issuer.mint("ann")
    session = AuthlibSession(SHOP[0], "wrong", token_endpoint_auth_method=method)

    answer = session.revoke_token(service.origin + REVOKE, token=token)

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert service.me(token) == "ann"


def test_REV_5_authlib_of_another_client_ends_nothing(service: Service) -> None:
    """It is answered like one that asks for an unknown token."""
    token = service.issuer.mint("ann", client_id="bank")
    session = AuthlibSession(*SHOP)

    revoked = session.revoke_token(service.origin + REVOKE, token=token)
    told = session.introspect_token(service.origin + INTROSPECT, token=token)

    assert (revoked.status_code, told.json()) == (200, {"active": False})
    assert service.me(token) == "ann"
    assert AuthlibSession(*BANK).revoke_token(service.origin + REVOKE, token=token).status_code == 200
    assert service.me(token) is None


@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token"])
def test_REV_1_oauthlib_prepares_a_request_that_we_grant(
    service: Service, hint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prepare_token_revocation_request`, sent by requests-oauthlib; requests does not encode the id and secret."""
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    token = service.issuer.mint("ann")
    client = BackendApplicationClient(SHOP[0])
    session = OAuth2Session(client=client)

    url, headers, body = client.prepare_token_revocation_request(service.origin + REVOKE, token, token_type_hint=hint)
    answer = session.post(url, data=body, headers=headers, auth=HTTPBasicAuth(*SHOP), withhold_token=True)

    assert (answer.status_code, answer.content) == (200, b"")
    assert service.me(token) is None


def test_REV_4_a_library_that_does_not_encode_its_secret_is_understood(service: Service) -> None:
    """`requests` sends both as they stand, against RFC 6749 2.3.1; ours has spaces in it."""
    token = service.issuer.mint("ann")

    for client in (SHOP, ("robot", HASHED_SECRET)):
        answer = requests.post(service.origin + INTROSPECT, data={"token": token}, auth=client, timeout=10)

        assert answer.json()["active"] is True


@pytest.mark.parametrize("secret", [SHOP[1], "post:" + SHOP[1]])
@pytest.mark.parametrize("library", ["oauth4webapi", "openid-client"])
def test_REV_15_javascript_clients_find_the_endpoints_and_use_them(service: Service, library: str, secret: str) -> None:
    """Configured by nothing but `/.well-known/logout-configuration`; both check the answers strictly."""
    token = service.issuer.mint("ann", client_id="shop")
    program = Path(__file__).with_name("oauth_clients.mjs")

    told = node.run(program, library, node.address(library, "build/index.js"), service.origin, SHOP[0], secret, token)

    assert told["before"] == told["again"]
    assert (told["before"]["active"], told["before"]["client_id"]) == (True, "shop")
    assert told["after"] == {"active": False}
    assert service.me(token) is None


def test_REV_14_the_server_has_logged_no_token(service: Service) -> None:
    """Neither uvicorn's log nor ours, whoever called."""
    token = service.issuer.mint("ann")
    assert httpx2.post(service.origin + REVOKE, data={"token": token}, auth=SHOP).status_code == 200

    assert token not in service.log()
    assert SHOP[1] not in service.log()
