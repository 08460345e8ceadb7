"""One server for this package, and a tab in a new browser profile for each test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.peers.node import node_modules
from tests.services import HOST, Process, free_port

from ..conftest import PATIENCE_MILLISECONDS
from .tab import Tab

_ROOT = Path(__file__).parents[3]
_VENDOR = (
    "export * as React from 'react'; export { createRoot } from 'react-dom/client';"
    "export { renderToString } from 'react-dom/server.browser';"
)


def _bundle_react(target: Path) -> None:
    """React as one ES module, in the build for developers, which complains of what is wrong."""
    node = shutil.which("node")
    assert node is not None, "node is not there"
    packages = node_modules()
    command = [
        node, str(packages / "esbuild" / "bin" / "esbuild"), "--bundle", "--format=esm", "--log-level=warning",
        '--define:process.env.NODE_ENV="development"', f"--outfile={target}",
    ]  # fmt: skip
    subprocess.run(command, input=_VENDOR, text=True, cwd=packages.parent, check=True)


@pytest.fixture(scope="package")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the application is."""
    folder, port = tmp_path_factory.mktemp("elements"), free_port()
    _bundle_react(folder / "vendor" / "react.js")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOGOUT_")} | {
        "FOLDER": str(folder),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
    }

    def listens() -> bool:
        with socket.create_connection((HOST, port), timeout=1):
            return True

    command = [
        sys.executable, "-m", "uvicorn", "tests.browsers.elements.served:app", "--factory", "--lifespan", "off",
        "--host", HOST, "--port", str(port), "--log-level", "warning",
    ]  # fmt: skip
    server = Process(command, folder, listens, env=environment)
    try:
        server.start()
        yield f"http://{HOST}:{port}"
    finally:
        server.stop()
    assert "Traceback" not in server.log, server.log


Opened = Callable[..., Tab]


@pytest.fixture
def new_tab(start_browser: Callable[..., Browser], origin: str) -> Iterator[Opened]:
    """Open a tab in a browser profile with these options of Playwright; it may have seen no trouble in the end."""
    tabs: list[Tab] = []
    with contextlib.ExitStack() as stack:

        def open_tab(**options: Any) -> Tab:
            context = stack.enter_context(contextlib.closing(start_browser().new_context(**options)))
            context.set_default_timeout(PATIENCE_MILLISECONDS)
            tabs.append(Tab(context.new_page(), origin))
            return tabs[-1]

        yield open_tab
        assert [tab.troubles for tab in tabs if tab.troubles] == []


@pytest.fixture
def tab(new_tab: Opened) -> Tab:
    """A tab as most people have it."""
    return new_tab()
