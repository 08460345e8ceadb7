"""An example under its real server, and the means to ask, kill and restart its workers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from examples.demo import HOST, Example, free_port, stop, wait_until_ready

WITNESSES = {"starlette": "tests.real_servers.witness_asgi", "flask": "tests.real_servers.witness_wsgi"}
DEADLINE_SECONDS = 20
PASSWORDS = {"ann": "correct-horse", "ben": "battery-staple"}


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Return as soon as it is so; fail after the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS} seconds for {what}"
        time.sleep(0.02)


@dataclass(frozen=True)
class Answer:
    """What one worker answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def worker(self) -> int:
        return int(self.headers["X-Worker-Pid"])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def session_cookie(self) -> str | None:
        """What the answer sets the session cookie to: None if it does not, "" if it deletes it."""
        for line in self.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                if name == "session":
                    return morsel.value
        return None


@dataclass(frozen=True)
class Device:
    """One login by form and one by API, copied: what a thief would have."""

    cookie: str
    access: str
    refresh: str


class RealServer:
    """The server process of one example. It may be stopped and started again, on the same database."""

    def __init__(self, example: Example, folder: Path) -> None:
        self.example, self._folder = example, folder
        self._pids = folder / "workers"
        self._pids.mkdir()
        self.port = free_port()
        self.origin = f"http://{HOST}:{self.port}"
        self._environment = example.environment() | {
            "WORKERS_FOLDER": str(self._pids),
            # More logouts happen here in five minutes than any person would ask for.
            "LOGOUT_RATE_LIMIT": "1000 per 5 minutes",
        }
        self._process: subprocess.Popen[str] | None = None

    # ---- its life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server and wait for all its workers."""
        for old in self._pids.iterdir():
            old.unlink()
        command = self.example.command(self.port, module=WITNESSES[self.example.name])
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, cwd=self._folder, stdout=log, stderr=log, start_new_session=True,
                text=True,
            )  # fmt: skip
        wait_until_ready(self._process, self.port)
        wait_until(lambda: len(self.started_workers()) == self.example.workers, "the workers")

    def stop(self) -> None:
        """End the server in order."""
        stop(self._process)

    def kill_everything(self) -> None:
        """Kill -9 for the server and all its workers at once."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def kill_worker(self, pid: int) -> None:
        """Kill -9 for one worker, and wait until the server has another one in its place."""
        before = self.started_workers()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.started_workers() > before, "another worker")

    def started_workers(self) -> set[int]:
        """The workers that were started since the server was, dead ones included."""
        return {int(path.name) for path in self._pids.iterdir()}

    @property
    def log(self) -> str:
        return (self._folder / "server.log").read_text()

    # ---- asking --------------------------------------------------------------------------------------

    def ask(
        self, method: str, path: str, *, cookie: str | None = None, bearer: str | None = None,
        headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None, body: Any = None,
    ) -> Answer:  # fmt: skip
        """One request over a connection of its own."""
        sent = {"Connection": "close", **(headers or {})}
        payload = b""
        if cookie is not None:
            sent["Cookie"] = f"session={cookie}"
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        if form is not None:
            sent["Content-Type"], payload = "application/x-www-form-urlencoded", urlencode(form).encode()
        if body is not None:
            sent["Content-Type"], payload = "application/json", json.dumps(body).encode()
        connection = http.client.HTTPConnection(HOST, self.port, timeout=DEADLINE_SECONDS)
        try:
            connection.request(method, path, payload, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def ask_every_worker(self, method: str, path: str, **request: Any) -> list[Answer]:
        """The answer of each worker to the same request. Who has answered is paused until all have."""
        answers: dict[int, Answer] = {}
        deadline = time.monotonic() + DEADLINE_SECONDS
        try:
            while len(answers) < self.example.workers:
                assert time.monotonic() < deadline, f"only {len(answers)} workers answered"
                answer = self.ask(method, path, **request)
                answers[answer.worker] = answer
                os.kill(answer.worker, signal.SIGSTOP)
        finally:
            for worker in answers:
                os.kill(worker, signal.SIGCONT)
        return list(answers.values())

    # ---- logging in and out --------------------------------------------------------------------------

    def log_in(self, user: str) -> Device:
        """Log in by form and by API."""
        form = {"username": user, "password": PASSWORDS[user]}
        cookie = self.ask("POST", "/login", form=form).session_cookie
        tokens = self.ask("POST", "/api/login", body=form).json
        return Device(cookie, tokens["access_token"], tokens["refresh_token"])

    def standing(self, device: Device) -> dict[str, set[int]]:
        """The statuses with which the workers answer the cookie, the access token and the refresh token."""
        answers = {
            "page": self.ask_every_worker("GET", "/", cookie=device.cookie),
            "api": self.ask_every_worker("GET", "/api/me", bearer=device.access),
            "refresh": self.ask_every_worker("POST", "/api/refresh", body={"refresh_token": device.refresh}),
        }
        return {name: {each.status for each in found} for name, found in answers.items()}

    @property
    def of_our_page(self) -> dict[str, str]:
        """What a browser adds when a form of our own page is sent."""
        return {"Origin": self.origin, "Accept": "text/html,*/*;q=0.8"}


LIVE = {"page": {200}, "api": {200}, "refresh": {200}}
DEAD = {"page": {303}, "api": {401}, "refresh": {401}}
A_LINK_CLICKED = {
    "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
    "Sec-Fetch-User": "?1", "Accept": "text/html,*/*;q=0.8",
}  # fmt: skip
