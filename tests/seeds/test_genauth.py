"""GenAuth, "Backend Logout": two ways to log out, and a token that is dead for whoever verifies it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from logout_middleware.client import AsyncLogoutClient, LogoutClient
from logout_middleware.errors import ConfigurationError, Refused, StoreError
from tests.client import ALL, ORIGIN, OWN_LINK, AsgiClient, BuildSite, Site
from tests.peers.server import running
from tests.protocols.clients import CLIENTS, SHOP, basic

FROM_ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture
def http(site: BuildSite) -> Site:
    """A site with the preset of this seed."""
    return site(preset="genauth", clients=CLIENTS)


def test_GA_1_frontend_and_backend_logout_are_both_offered(http: Site) -> None:
    """A browser visits an address, a server revokes the access token: each by itself logs out."""
    by_address, by_call = http.login("ann"), http.login("bob")

    http.get("/auth/logout", cookie=by_address.cookie, headers=OWN_LINK)
    http.call("revoke_token", by_call.access)

    assert http.me(cookie=by_address.cookie) is None
    assert http.me(token=by_call.access) is None


def test_GA_2_visiting_the_logout_address_ends_the_login_on_the_server(http: Site) -> None:
    """A copy of the cookie, taken before, is worth nothing after it."""
    ann = http.login("ann")
    assert http.me(cookie=ann.cookie) == "ann"

    visit = http.get("/auth/logout", cookie=ann.cookie, headers=OWN_LINK)

    assert visit.status == 303
    assert visit.deleted >= {"session"}
    assert http.me(cookie=ann.cookie) is None


@pytest.mark.parametrize("sid", [True, False])
def test_GA_3_a_generated_address_logs_out_from_wherever_it_is_followed(http: Site, sid: bool) -> None:
    """The application asks for the address of the current session; visiting it needs no further question."""
    ann, bob = http.login("ann", sid=sid), http.login("bob", sid=sid)
    identity = http.call("explain", ann.access).identity if sid else None
    if identity is None:
        identity = http.identity_of_cookie(ann.cookie)

    address = http.call("logout_url", identity)
    foreign = http.get(address, cookie=bob.cookie, headers=FROM_ELSEWHERE)
    own = http.get(address, cookie=ann.cookie, headers=FROM_ELSEWHERE)

    assert (foreign.status, own.status) == (200, 303)
    assert http.me(cookie=bob.cookie) == "bob"
    assert http.me(cookie=ann.cookie) is None


def test_GA_4_revoke_token_makes_the_next_call_with_it_fail(http: Site) -> None:
    """The application itself would still accept the token."""
    ann, bob = http.login("ann"), http.login("bob")
    assert http.me(token=ann.access) == "ann"

    http.call("revoke_token", ann.access)

    answer = http.get("/me", token=ann.access)
    assert answer.status == 401
    assert answer.json["error"] == "token_revoked"
    assert http.alive(bob) == ALL


def test_GA_5_a_token_alone_can_be_logged_out_without_browser_or_cookie(http: Site) -> None:
    """An API client that has nothing but its token."""
    token = http.issuer.mint("ann")

    answer = http.post("/auth/logout", token=token)

    assert answer.status == 200
    assert answer.json["revoked"]["tokens"] == 1
    assert http.me(token=token) is None


Sdk = Callable[..., Any]


@pytest.fixture
def hosted(site: BuildSite) -> Site:
    """A site with the preset of this seed that serves registered applications."""
    return site(preset="genauth", clients=CLIENTS)


@pytest.fixture
def sdk(hosted: Site) -> Sdk:
    """Call a method of the SDK, which reaches the site over HTTP; the configuration is GA-7's, under our names."""

    def call(name: str, *args: Any, client: tuple[str, str] = SHOP, **given: Any) -> Any:
        inner: Any = hosted.client
        if not isinstance(inner, AsgiClient):
            transport = httpx2.WSGITransport(app=inner.app)
            with LogoutClient(ORIGIN, *client, http=httpx2.Client(transport=transport)) as blocking:
                return getattr(blocking, name)(*args, **given)

        async def called() -> Any:
            http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=inner.app))
            async with AsyncLogoutClient(ORIGIN, *client, http=http) as client_:
                return await getattr(client_, name)(*args, **given)

        return inner.runner.run(called())

    return call


@pytest.mark.parametrize("path", ["/auth/revoke", "/auth/introspect"])
def test_GA_6_token_is_required_and_a_text(hosted: Site, sdk: Sdk, path: str) -> None:
    """Missing is 400; a number is refused before it is sent, and a JSON body is no form."""
    missing = hosted.post(path, form={"token_type_hint": "access_token"}, headers=basic(*SHOP))
    as_number = hosted.post(path, json={"token": 5}, headers=basic(*SHOP))

    assert (missing.status, missing.json["error"]) == (400, "invalid_request")
    assert (as_number.status, as_number.json["error"]) == (415, "invalid_request")
    with pytest.raises(Refused, match="400 invalid_request"):
        sdk("revoke_token", 5)


@pytest.mark.parametrize("client", [(SHOP[0], "wrong"), ("nobody", SHOP[1]), (SHOP[0], "")])
@pytest.mark.parametrize("call", ["revoke_token", "introspect_token"])
def test_GA_7_only_a_configured_client_is_served(hosted: Site, sdk: Sdk, call: str, client: tuple[str, str]) -> None:
    """Id and secret; a wrong one is 401 `invalid_client`, and the token lives."""
    token = hosted.issuer.mint("ann")

    answer = hosted.post("/auth/revoke", form={"token": token}, headers=basic(*client))

    assert (answer.status, answer.json["error"]) == (401, "invalid_client")
    with pytest.raises(ConfigurationError, match=client[0]):
        sdk(call, token, client=client)
    assert hosted.me(token=token) == "ann"


@pytest.mark.parametrize("endpoints", [None, "logout"])
def test_GA_7_the_preset_serves_both_calls(site: BuildSite, endpoints: str | None) -> None:
    """To authenticated clients alone, whatever other groups the operator chose."""
    http = site(preset="genauth", clients=CLIENTS, endpoints=endpoints)
    token = http.issuer.mint("ann")

    anonymous = http.post("/auth/revoke", form={"token": token})
    told = http.post("/auth/introspect", form={"token": token}, headers=basic(*SHOP))
    revoked = http.post("/auth/revoke", form={"token": token}, headers=basic(*SHOP))

    assert (anonymous.status, anonymous.json["error"]) == (401, "invalid_client")
    assert told.json["active"] is True
    assert revoked.status == 200
    assert http.me(token=token) is None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "E113 LOGOUT_CLIENTS"),
        ({"clients": {"page": {}}}, "E113 LOGOUT_CLIENTS"),
        ({"clients": CLIENTS, "jwt_key": None, "jwt_algorithms": None}, "E105 LOGOUT_JWT_KEY: LOGOUT_PRESET=genauth"),
    ],
    ids=["no client", "no secret", "no key"],
)
def test_GA_7_the_preset_needs_clients_and_a_key(site: BuildSite, given: dict[str, Any], named: str) -> None:
    """Each is told once, before anything is served."""
    with pytest.raises(ConfigurationError, match=named) as refused:
        site(preset="genauth", **given)

    assert len(refused.value.mistakes) == 1


def test_GA_8_over_the_network_revoke_token_returns_true(hosted: Site, sdk: Sdk) -> None:
    """A real boolean, and as often as one likes."""
    token = hosted.issuer.mint("ann")

    assert sdk("revoke_token", token) is True
    assert sdk("revoke_token", token, token_type_hint="access_token") is True
    assert hosted.me(token=token) is None


def test_GA_9_introspection_after_the_revocation_is_inactive(hosted: Site, sdk: Sdk) -> None:
    """Exactly that, and nothing else."""
    token = hosted.issuer.mint("ann")

    sdk("revoke_token", token)

    assert sdk("introspect_token", token) == {"active": False}


def test_GA_10_introspection_before_the_revocation_is_active(hosted: Site, sdk: Sdk) -> None:
    """With whom the token names."""
    told = sdk("introspect_token", hosted.issuer.mint("ann"))

    assert (told["active"], told["sub"]) == (True, "ann")


def test_GA_11_over_the_network_both_calls_exist_by_both_spellings(hosted: Site, sdk: Sdk) -> None:
    """On a client object, as in the seed's SDK."""
    token = hosted.issuer.mint("ann")

    assert sdk("introspectToken", token)["active"] is True
    assert sdk("revokeToken", token) is True
    assert sdk("introspectToken", token) == sdk("introspect_token", token) == {"active": False}


def test_GA_12_over_the_network_verification_fails_too(hosted: Site, sdk: Sdk) -> None:
    """The guard, the Python call and another client say the same."""
    ann = hosted.login("ann")

    sdk("revoke_token", ann.access)

    assert hosted.alive(ann) == set()
    assert hosted.call("is_revoked", ann.access) is True
    assert sdk("introspect_token", ann.refresh, client=("bank", CLIENTS["bank"]["secret"])) == {"active": False}


def test_GA_8_GA_9_a_store_that_is_away_is_neither_true_nor_inactive(hosted: Site, sdk: Sdk) -> None:
    """The caller hears that nothing is known."""
    token = hosted.issuer.mint("ann")
    hosted.store.broken = True

    for call in ("revoke_token", "introspect_token"):
        with pytest.raises(StoreError):
            sdk(call, token)

    hosted.store.broken = False
    assert hosted.me(token=token) == "ann"


def test_GA_6_to_12_hold_at_a_real_server(tmp_path: Path) -> None:
    """Both clients over real connections to uvicorn, with connections of their own."""
    with running(tmp_path) as service:
        first, second = service.issuer.mint("ann"), service.issuer.mint("ann")
        assert service.me(first) == service.me(second) == "ann"

        with LogoutClient(service.origin, *SHOP) as client:
            active, revoked, dead = (
                client.introspect_token(first),
                client.revoke_token(first),
                client.introspect_token(first),
            )

        async def of_the_other() -> tuple[Any, ...]:
            async with AsyncLogoutClient(service.origin, *SHOP) as client:
                return (
                    await client.introspect_token(second), await client.revoke_token(second),
                    await client.introspect_token(second),
                )  # fmt: skip

        assert (active["sub"], revoked, dead) == ("ann", True, {"active": False})
        assert asyncio.run(of_the_other())[1:] == (True, {"active": False})
        assert service.me(first) is service.me(second) is None


def test_GA_8_revoke_token_returns_true(http: Site) -> None:
    """A real boolean; a token that is dead already is a success, too."""
    token = http.issuer.mint("ann")

    assert http.call("revoke_token", token) is True
    assert http.call("revoke_token", token) is True
    assert http.me(token=token) is None


def test_GA_11_both_calls_exist_by_both_spellings(http: Site) -> None:
    """`revokeToken` and `introspectToken` are what the seed's SDK calls them."""
    token, other = http.issuer.mint("ann"), http.issuer.mint("bob")

    active = http.call("introspectToken", token)
    revoked = http.call("revokeToken", token)

    assert active["active"] is True
    assert active["sub"] == "ann"
    assert revoked is True
    assert http.call("introspectToken", token) == http.call("introspect_token", token) == {"active": False}
    assert http.call("introspect_token", other)["active"] is True


def test_GA_12_revocation_makes_verification_fail_not_only_introspection(http: Site) -> None:
    """Whoever asks in whatever way gets the same answer."""
    token = http.issuer.mint("ann")
    assert http.call("is_revoked", token) is False

    http.call("revoke_token", token)

    assert http.call("is_revoked", token) is True
    assert http.call("explain", token).refusal is not None
    assert http.call("introspect_token", token) == {"active": False}
    assert http.get("/me", token=token).status == 401
