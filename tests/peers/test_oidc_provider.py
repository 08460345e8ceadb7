"""A real OpenID provider, npm oidc-provider, logs an application's users in and out, by back channel and redirect."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from examples.demo import HOST, free_port, stop

from tests.client import OWN_LINK, OWN_PAGE
from tests.real_servers.server import wait_until

from .node import address

PROGRAM = Path(__file__).parent / "oidc_provider" / "op.mjs"
SECRETS = {"application": "secret of the application", "neighbour": "secret of the neighbour"}


class World:
    """The provider, and two workers of the application on one store, each under an address of its own."""

    def __init__(self, folder: Path) -> None:
        self.ports = {name: free_port() for name in ("provider", "first", "second")}
        self.provider, self.first, self.second = (f"http://{HOST}:{port}" for port in self.ports.values())
        self._log = (folder / "log").open("w+")
        self._processes: list[subprocess.Popen[Any]] = []
        self._folder = folder

    def start(self) -> None:
        """Start the provider, and then the workers."""
        node = shutil.which("node")
        assert node is not None, "node is not there"
        module = address("oidc-provider", "lib/index.js")
        given = {"module": module, "port": self.ports["provider"], "clients": self._clients()}
        self._run([node, "--no-warnings", str(PROGRAM), json.dumps(given)], self.ports["provider"], {})
        environment = {
            "APPLICATION": self.first, "LOGOUT_STORE": f"sqlite:///{self._folder / 'logout.db'}",
            "LOGOUT_COOKIE_SECRET": "the secret of the application's sessions", "LOGOUT_COOKIES": "session:starlette",
            "LOGOUT_OIDC_ISSUER": self.provider, "LOGOUT_OIDC_CLIENT_ID": "application",
            "LOGOUT_OIDC_CLIENT_SECRET": SECRETS["application"], "LOGOUT_PRIVATE_ADDRESSES": "true",
            "LOGOUT_OIDC_POST_LOGOUT_REDIRECT_URI": f"{self.first}/auth/logout/callback",
            "LOGOUT_REDIRECT_URL": "/bye", "LOGOUT_STORE_DEADLINE": "5s",
        }  # fmt: skip
        for name in ("first", "second"):
            command = [sys.executable, "-m", "uvicorn", "tests.peers.oidc_provider.application:app", "--host", HOST,
                       "--port", str(self.ports[name])]  # fmt: skip
            self._run(command, self.ports[name], environment)

    def _clients(self) -> list[dict[str, Any]]:
        common = {"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]}
        application = {
            "client_id": "application", "client_secret": SECRETS["application"],
            "redirect_uris": [f"{self.first}/callback"],
            "post_logout_redirect_uris": [f"{self.first}/auth/logout/callback"],
            "backchannel_logout_uri": f"{self.second}/auth/backchannel-logout",
            "backchannel_logout_session_required": True,
        }  # fmt: skip
        neighbour = {
            "client_id": "neighbour", "client_secret": SECRETS["neighbour"],
            "redirect_uris": ["https://neighbour.example.com/callback"],
        }  # fmt: skip
        return [application | common, neighbour | common]

    def _run(self, command: list[str], port: int, environment: Mapping[str, str]) -> None:
        process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, start_new_session=True, text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("LOGOUT_")}
            | {"PYTHONPATH": os.pathsep.join(sys.path)} | dict(environment),
        )  # fmt: skip
        self._processes.append(process)
        wait_until(lambda: process.poll() is not None or answers(port), " ".join(command[:3]))
        assert process.poll() is None

    def stop(self) -> str:
        """End all of it; gives what they printed."""
        for process in reversed(self._processes):
            stop(process)
        self._log.seek(0)
        text = self._log.read()
        self._log.close()
        return text

    def seen(self) -> dict[str, Any]:
        """What the provider saw."""
        found: dict[str, Any] = httpx2.get(f"{self.provider}/test/seen").json()
        return found

    def asked(self, path: str) -> int:
        """How often the provider was asked for this."""
        return int(self.seen()["asked"].get(path, 0))

    def is_refreshed(self, token: str) -> bool:
        """Does the provider take this refresh token?"""
        answer = httpx2.post(
            f"{self.provider}/token", data={"grant_type": "refresh_token", "refresh_token": token},
            auth=("application", SECRETS["application"]),
        )  # fmt: skip
        assert answer.status_code in (200, 400)
        return answer.status_code == 200


def answers(port: int) -> bool:
    """Is anybody there?"""
    try:
        return httpx2.get(f"http://{HOST}:{port}/test/nothing").status_code > 0
    except httpx2.HTTPError:
        return False


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
        log = world.stop()
    assert "Traceback" not in log, log


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
