"""The real provider and the application as processes on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from examples.demo import HOST, free_port, stop

from tests.peers.node import address
from tests.real_servers.server import wait_until

PROGRAM = Path(__file__).parent / "op.mjs"
SECRETS = {"application": "secret of the application", "neighbour": "secret of the neighbour"}


class World:
    """The provider, and two workers of the application on one store, each under an address of its own."""

    def __init__(self, folder: Path) -> None:
        self.ports = {name: free_port() for name in ("provider", "first", "second")}
        self.provider, self.first, self.second = (f"http://{HOST}:{port}" for port in self.ports.values())
        self._log = (folder / "log").open("w")
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

    def stop(self) -> None:
        """End all of it."""
        for process in reversed(self._processes):
            stop(process)
        self._log.close()

    @property
    def log(self) -> str:
        """What all of them printed so far."""
        return (self._folder / "log").read_text()

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
