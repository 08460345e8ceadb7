"""`tests.peers.app` under uvicorn, or `tests.peers.wsgi_app` under gunicorn, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from examples.demo import HOST, free_port, stop

from tests.apps import JWT_KEY, Issuer
from tests.protocols.clients import CLIENTS
from tests.real_servers.server import wait_until

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Service:
    """A running server: its address, an issuer of tokens that it verifies, and its log."""

    origin: str
    issuer: Issuer
    log_file: Path

    def log(self) -> str:
        """What it has said so far."""
        return self.log_file.read_text()

    @property
    def answers(self) -> bool:
        """Does it take requests yet?"""
        with contextlib.suppress(httpx2.TransportError):
            return httpx2.get(f"{self.origin}/me").status_code == 200
        return False

    def me(self, token: str) -> str | None:
        """Whom the application takes the bearer of this token for; None for nobody."""
        answer = httpx2.get(f"{self.origin}/me", headers={"Authorization": f"Bearer {token}"})
        user: str | None = answer.json()["user"] if answer.status_code == 200 else None
        return user


def _command(server: str, port: int) -> list[str]:
    if server == "gunicorn":
        where = ["--bind", f"{HOST}:{port}", "--workers", "2", "--log-level", "warning"]
        return [sys.executable, "-m", server, "tests.peers.wsgi_app:app", *where]
    return [sys.executable, "-m", server, "tests.peers.app:app", "--host", HOST, "--port", str(port)]


@contextmanager
def running(folder: Path, server: str = "uvicorn", *, bare: bool = False, **settings: str) -> Iterator[Service]:
    """A server with the registered clients of `tests.protocols.clients`, and these further variables.

    `bare`: with these variables alone, as one who follows the documentation would start it.
    """
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("LOGOUT_")}
    ordinary = {
        "LOGOUT_STORE": f"sqlite:///{folder / 'logout.db'}",
        "LOGOUT_ENDPOINTS": "logout,oauth",
        "LOGOUT_CLIENTS": json.dumps(CLIENTS),
        "LOGOUT_PUBLIC_URL": f"http://{HOST}:{port}",
        "LOGOUT_JWT_KEY": JWT_KEY,
        "LOGOUT_JWT_ALGORITHMS": "HS256",
    }
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    environment = own | path | ({} if bare else ordinary) | settings
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            _command(server, port),
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            text=True,
        )
    try:
        service = Service(f"http://{HOST}:{port}", Issuer(time.time), folder / "server.log")
        wait_until(lambda: service.answers, "the server")
        yield service
    finally:
        stop(process)
    assert "Traceback" not in (folder / "server.log").read_text()
