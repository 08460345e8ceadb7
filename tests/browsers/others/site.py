"""The application of `served.py` under uvicorn."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.services import HOST, Process, free_port, until
from tests.serving import answers

_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Site:
    """A running server."""

    port: int
    folder: Path
    server: Process

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def login(self) -> str:
        """Where a logout leads to."""
        return f"{self.origin}/login"

    def home(self, **options: Any) -> str:
        """The path of the application's page with these options of the kit."""
        return "/home?" + urlencode({"options": json.dumps(options)})

    def entry(self, user: str, *, to: str, lifetime: float = 3600) -> str:
        """The address that logs this user in for so many seconds, and leads to the path `to`."""
        return f"{self.origin}/enter?" + urlencode({"user": user, "lifetime": lifetime, "to": to})

    @property
    def requests(self) -> list[str]:
        """Method and path of each request since `forget`."""
        path = self.folder / "requests"
        return path.read_text().splitlines() if path.exists() else []

    def forget(self) -> None:
        """Forget what was asked until now."""
        (self.folder / "requests").unlink(missing_ok=True)

    def holding_logouts(self) -> contextlib.AbstractContextManager[None]:
        """Within this, a logout waits in front of the middleware."""
        return self._while_there("hold")

    def without_the_kit(self) -> contextlib.AbstractContextManager[None]:
        """Within this, the modules of the kit are not there."""
        return self._while_there("block")

    @contextlib.contextmanager
    def _while_there(self, name: str) -> Iterator[None]:
        (self.folder / name).touch()
        try:
            yield
        finally:
            (self.folder / name).unlink()

    def wait_for(self, request: str, *, times: int = 1) -> None:
        """Return as soon as this request came so often."""
        until(lambda: self.requests.count(request) >= times, f"{times} × {request}", 10)


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Site]:
    """One worker."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOGOUT_")} | {
        "FOLDER": str(folder),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
    }
    command = [
        sys.executable, "-m", "uvicorn", "tests.browsers.others.served:app", "--factory", "--lifespan", "off",
        "--host", HOST, "--port", str(port), "--log-level", "warning", "--timeout-graceful-shutdown", "1",
    ]  # fmt: skip
    server = Process(command, folder, lambda: answers(port, "/login"), env=environment)
    try:
        server.start()
        yield Site(port, folder, server)
    finally:
        server.stop()
    assert "Traceback" not in server.log, server.log
