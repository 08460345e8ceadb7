"""The site of these tests, and browsers in front of it that may complain of nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Program

from tests.services import HOST, Process, free_port

from ..kinds import DOMAIN
from ..site import Certificate
from .visitor import Browser

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "src/logout_middleware/browser"
PATIENCE_MILLISECONDS = 10_000


class Server(Process):
    """A server of the site. `worker`: another one of the same folder shares its store."""

    def __init__(self, folder: Path, tls: Certificate, **settings: str) -> None:
        self.port = free_port()
        own = folder / f"worker-{self.port}"
        own.mkdir(parents=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LOGOUT_")}
        python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        command = [
            sys.executable, "-m", "uvicorn", "tests.browsers.kit.served:app", "--factory", "--host", HOST,
            "--port", str(self.port), "--ssl-keyfile", str(tls.key), "--ssl-certfile", str(tls.certificate),
            "--log-level", "warning", "--timeout-graceful-shutdown", "1",
        ]  # fmt: skip
        env = environment | {"FOLDER": str(folder), "PYTHONPATH": python_path} | settings
        super().__init__(command, own, self._listens, env=env)

    def _listens(self) -> bool:
        with socket.create_connection((HOST, self.port), timeout=1):
            return True

    @property
    def origin(self) -> str:
        """Where browsers find it."""
        return f"https://kit.{DOMAIN}:{self.port}"


@pytest.fixture(scope="package")
def start_site(tls: Certificate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """A new server with these settings; with the folder of another one, a second worker of it."""
    with contextlib.ExitStack() as stack:

        def start(folder: Path | None = None, **settings: str) -> Server:
            server = Server(folder or tmp_path_factory.mktemp("kit"), tls, **settings)
            stack.callback(server.stop)
            server.start()
            return server

        yield start


@pytest.fixture(scope="package")
def shared_site(start_site: Callable[..., Server]) -> Server:
    """The server of all tests that leave it running."""
    return start_site()


@pytest.fixture
def new_browser(start_browser: Callable[..., Program], shared_site: Server) -> Iterator[Callable[..., Browser]]:
    """A new profile: another device. At the end of the test none has complained."""
    with contextlib.ExitStack() as stack:
        opened: list[Browser] = []

        def come(server: Server = shared_site, *, with_back_forward_cache: bool = False) -> Browser:
            program = start_browser(with_back_forward_cache=with_back_forward_cache)
            context = stack.enter_context(contextlib.closing(program.new_context(ignore_https_errors=True)))
            context.set_default_timeout(PATIENCE_MILLISECONDS)
            browser = Browser(context, server.origin)
            browser.listen()
            opened.append(browser)
            return browser

        yield come
        complaints = [each for browser in opened for each in browser.complaints]
    assert complaints == []


@pytest.fixture
def browser(new_browser: Callable[..., Browser]) -> Browser:
    """A browser in which ann is logged in by cookie."""
    made = new_browser()
    made.log_in()
    return made
