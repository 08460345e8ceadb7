"""A real OpenID provider, npm oidc-provider, logs an application's users in and out, by back channel and redirect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.client import OWN_LINK, OWN_PAGE
from tests.real_servers.server import wait_until

from .oidc_provider.world import World


class Browser:
    """A person's browser, with its cookies; it follows redirects."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.http = httpx2.Client(follow_redirects=True, timeout=30.0)
        self.tokens: dict[str, Any] = {}

    def log_in(self, user: str) -> Browser:
        """By the provider, to the application."""
        answer = self.http.get(f"{self.world.first}/login", params={"user": user})
        assert answer.status_code == 200, answer.text
        self.tokens = answer.json()
        assert self.users() == [user, user]
        self.copy = self.http.cookies["session"]
        return self

    def users(self) -> list[str | None]:
        """Whom each worker takes this browser for."""
        return [self.http.get(f"{each}/me").json()["user"] for each in (self.world.first, self.world.second)]

    def copied(self) -> list[str | None]:
        """Whom each worker takes a thief for, who copied the session cookie after the login."""
        with httpx2.Client(cookies={"session": self.copy}) as thief:
            return [thief.get(f"{each}/me").json()["user"] for each in (self.world.first, self.world.second)]

    def confirm(self, page: httpx2.Response) -> httpx2.Response:
        """Say yes to the provider's question."""
        assert page.status_code == 200, page.text
        (form,) = re.findall(r'action="([^"]+)"', page.text)
        (xsrf,) = re.findall(r'name="xsrf" value="([^"]+)"', page.text)
        return self.http.post(form, data={"xsrf": xsrf, "logout": "yes"})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A provider and an application that know each other."""
    world = World(tmp_path_factory.mktemp("world"))
    try:
        world.start()
        yield world
    finally:
        world.stop()
    assert "Traceback" not in world.log


@pytest.fixture
def log_in(world: World) -> Iterator[Callable[[str], Browser]]:
    """Log somebody in with a browser of his own."""
    browsers: list[Browser] = []

    def opened(user: str) -> Browser:
        browsers.append(Browser(world))
        return browsers[-1].log_in(user)

    yield opened
    for each in browsers:
        each.http.close()


LogIn = Callable[[str], Browser]
NOBODY = [None, None]


def test_a_logout_goes_through_the_provider_and_comes_back(world: World, log_in: LogIn) -> None:
    """The browser ends at our page, logged out at both; what it held is dead on both workers."""
    alice = log_in("alice")

    question = alice.http.get(f"{world.first}/auth/logout?state=mine", headers=OWN_LINK)

    assert str(question.url).startswith(f"{world.provider}/session/end?id_token_hint=")
    assert alice.copied() == NOBODY
    end = alice.confirm(question)
    assert str(end.url) == f"{world.first}/bye?state=mine"
    assert end.json() == {"bye": True}
    # The provider asks for a login again: its own session is over.
    query = {
        "client_id": "application", "response_type": "code", "scope": "openid", "prompt": "none",
        "redirect_uri": f"{world.first}/callback", "code_challenge": "x" * 43, "code_challenge_method": "S256",
    }  # fmt: skip
    again = alice.http.get(f"{world.provider}/auth", params=query, follow_redirects=False)
    assert "error=login_required" in again.headers["location"]


def test_the_providers_back_channel_ends_the_session_on_both_workers(world: World, log_in: LogIn) -> None:
    """Somebody else ended the provider's session: the neighbour that the same browser was logged in at."""
    alice, phone, bob = (log_in(name) for name in ("alice", "alice", "bob"))
    before = world.seen()["delivered"]

    end = alice.confirm(alice.http.get(f"{world.provider}/session/end", params={"client_id": "neighbour"}))

    assert end.status_code == 200
    wait_until(lambda: len(world.seen()["delivered"]) > len(before), "the back-channel logout")
    assert world.seen()["delivered"][len(before) :] == [{"outcome": "success", "client": "application"}]
    assert alice.users() == alice.copied() == NOBODY
    # By its sid, which the other device of the same user does not have.
    assert phone.users() == ["alice", "alice"]
    assert bob.users() == ["bob", "bob"]


def test_who_logs_in_again_is_logged_in(world: World, log_in: LogIn) -> None:
    """With a new session of the provider."""
    alice = log_in("alice")
    alice.confirm(alice.http.get(f"{world.provider}/session/end", params={"client_id": "neighbour"}))
    wait_until(lambda: alice.users() == NOBODY, "the back-channel logout")

    first = alice.tokens["claims"]["sid"]
    alice.log_in("alice")

    assert alice.tokens["claims"]["sid"] != first


def test_an_opaque_refresh_token_is_revoked_at_the_provider(world: World, log_in: LogIn) -> None:
    """The one that came with the logout; and only that one's grant."""
    alice, phone = log_in("alice"), log_in("alice")
    assert world.is_refreshed(phone.tokens["refresh_token"])

    answer = alice.http.post(
        f"{world.first}/auth/logout", json={"refresh_token": alice.tokens["refresh_token"]}, headers=OWN_PAGE
    )

    assert answer.status_code == 200
    assert answer.json()["redirect_to"].startswith(f"{world.provider}/session/end?")
    assert alice.copied() == NOBODY
    wait_until(lambda: world.asked("/token/revocation") > 0, "the revocation at the provider")
    wait_until(lambda: not world.is_refreshed(alice.tokens["refresh_token"]), "the end of the refresh token")
    assert phone.users() == ["alice", "alice"]


def test_a_jwt_of_the_provider_is_offered_to_it_once(world: World, log_in: LogIn) -> None:
    """It revokes no JWTs, and says so (ecosystem.md R14): the token is dead here, and nobody asks again."""
    alice = log_in("alice")
    before = world.asked("/token/revocation")

    answer = alice.http.post(
        f"{world.first}/auth/logout", json={"refresh_token": alice.tokens["id_token"]}, headers=OWN_PAGE
    )

    assert answer.status_code == 200
    wait_until(lambda: world.asked("/token/revocation") > before, "the revocation at the provider")
    wait_until(lambda: "does not revoke a token of its own: it answers 400" in world.log, "what it answered")
    assert alice.copied() == NOBODY


def test_a_front_channel_logout_ends_the_session_by_its_id(world: World, log_in: LogIn) -> None:
    """As a frame of the provider's would ask for it, without any cookie."""
    alice = log_in("alice")
    query = {"iss": world.provider, "sid": alice.tokens["claims"]["sid"]}

    answer = httpx2.get(f"{world.second}/auth/frontchannel-logout", params=query)

    assert answer.status_code == 200
    assert alice.users() == NOBODY


def test_the_providers_own_documents_were_used(world: World, log_in: LogIn) -> None:
    """Each worker fetched them, and not again and again."""
    alice = log_in("alice")
    alice.http.get(f"{world.first}/auth/logout", headers=OWN_LINK)

    for path in ("/.well-known/openid-configuration", "/jwks"):
        assert 1 <= world.asked(path) <= 2
