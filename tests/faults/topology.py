"""A site: workers of two kinds of server on two hosts, before one store; and the history of what happened there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.services import HOST, Process, folder, free_port

ROOT = Path(__file__).parents[2]
JWT_KEY = "the key that signs the tokens of the faults"
COMMON = {
    "LOGOUT_JWT_KEY": JWT_KEY, "LOGOUT_JWT_ALGORITHMS": "HS256", "LOGOUT_RATE_LIMIT": "100000 per 5 minutes",
    "LOGOUT_AUDIT": "off",
}  # fmt: skip


class Worker(Process):
    """One server process with the guarded application, on a port of its own."""

    def __init__(self, name: str, host: str, server: str, path: Path, env: Mapping[str, str]) -> None:
        self.name, self.host, self.port = name, host, free_port()
        path.mkdir()
        self.clock = path / "clock"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("LOGOUT_")}
        self.settings = {**COMMON, **env}
        own = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "FAULTS_CLOCK": str(self.clock)}
        commands = {
            "uvicorn": [
                "uvicorn", "--factory", "tests.faults.app:for_uvicorn", "--host", HOST, "--port", str(self.port),
                "--log-level", "warning", "--no-access-log",
            ],
            "gunicorn": [
                "gunicorn", "-k", "gthread", "--threads", "8", "-b", f"{HOST}:{self.port}", "--log-level", "warning",
                "--timeout", "60", "tests.faults.app:for_gunicorn()",
            ],
        }  # fmt: skip
        super().__init__(
            [sys.executable, "-m", *commands[server]], path, self._answers, env={**inherited, **own, **self.settings}
        )

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/", timeout=1) as response:
            return bool(response.status == 200)

    def run_command(self, *arguments: str) -> None:
        """`logout-middleware …` with this worker's settings."""
        command = [sys.executable, "-m", "logout_middleware", *arguments]
        subprocess.run(command, env=self._env, cwd=self.folder, check=True, capture_output=True, timeout=20)


@dataclass
class Site:
    """What is attacked. `store`: the service (or the file of SQLite). `history`: see judge.py."""

    store: Any
    workers: list[Worker]
    folder: Path
    history: list[dict[str, Any]] = field(default_factory=list)
    born: float = field(default_factory=time.monotonic)
    adopted: bool = False
    proxy: Any = None

    def now(self) -> float:
        """Seconds since the site was built."""
        return time.monotonic() - self.born

    def note(self, op: str, t_send: float, **what: Any) -> None:
        """Add to the history what happened from then until now."""
        self.history.append({"op": op, "t_send": t_send, "t_recv": self.now(), **what})

    async def do(self, what: str, action: Callable[[], Any], *, op: str = "fault") -> None:
        """Break or heal something, beside the load."""
        started = self.now()
        await asyncio.to_thread(action)
        self.note(op, started, what=what)

    def restart_workers(self) -> None:
        """Kill -9 for all of them, and start them again."""
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.start(wait=False)
        for worker in self.workers:
            worker.wait_until_ready()

    async def adopt(self) -> None:
        """What an operator does when the store has forgotten; all who are logged in have to log in again."""
        await self.do("adopt-store", lambda: self.workers[0].run_command("adopt-store", "--yes"), op="adopt")
        self.adopted = True

    def save(self, path: Path) -> None:
        """Write the history to a file."""
        path.write_text("".join(json.dumps(event) + "\n" for event in self.history))


@contextlib.contextmanager
def site(store: Any, urls: Sequence[str], *, settings: Mapping[str, str], journal: bool, hosts: str) -> Iterator[Site]:
    """One worker per letter of `hosts`, each with its own way to the store: gunicorn the last, the others uvicorn."""
    with folder() as path, contextlib.ExitStack() as stack:
        workers = []
        for number, (host, url) in enumerate(zip(hosts, urls, strict=True), 1):
            env = {"LOGOUT_STORE": url, **settings}
            if journal:
                env["LOGOUT_JOURNAL"] = str(path / f"journal-{host}.db")
            server = "gunicorn" if number == len(hosts) else "uvicorn"
            worker = Worker(f"w{number}", host, server, path / f"w{number}", env)
            stack.callback(worker.kill)
            worker.start(wait=False)
            workers.append(worker)
        for worker in workers:
            worker.wait_until_ready()
        yield Site(store, workers, path)
