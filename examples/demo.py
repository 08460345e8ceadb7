"""Start an example under its real server and print what to try: `python -m examples.demo starlette|flask`.

With `--once` it runs what it printed, and stops. The secrets are random, the database is in a folder of its own;
both are gone when it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
PREFERRED_PORT = 8000
START_SECONDS = 30
STOP_SECONDS = 10
SECRETS = ("LOGOUT_JWT_KEY", "LOGOUT_COOKIE_SECRET", "LOGOUT_SECRET")


@dataclass(frozen=True, slots=True)
class Example:
    """One of the applications, and the server that it runs under."""

    name: str
    module: str
    server: str
    workers: int

    @property
    def settings(self) -> dict[str, str]:
        """The variables of its settings.env."""
        lines = (HERE / f"{self.name}_app" / "settings.env").read_text("utf-8").splitlines()
        pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
        return {name: value.strip('"') for name, _, value in pairs}

    def command(self, port: int, *, module: str | None = None) -> list[str]:
        """Starts the server. `module`: another one that has this application as its `app`."""
        application = f"{module or self.module}:app"
        python = [sys.executable, "-m", self.server, application, "--workers", str(self.workers)]
        if self.server == "uvicorn":
            return [*python, "--host", HOST, "--port", str(port), "--log-level", "warning"]
        return [*python, "--bind", f"{HOST}:{port}", "--log-level", "warning"]

    def environment(self) -> dict[str, str]:
        """This process's variables, but the LOGOUT_* ones are the example's, and its secrets are new ones."""
        outer = {name: value for name, value in os.environ.items() if not name.startswith("LOGOUT_")}
        path = os.pathsep.join(filter(None, [str(HERE.parent), outer.get("PYTHONPATH")]))
        return outer | self.settings | {name: secrets.token_urlsafe(32) for name in SECRETS} | {"PYTHONPATH": path}


EXAMPLES = {
    "starlette": Example("starlette", "examples.starlette_app.app", "uvicorn", 2),
    "flask": Example("flask", "examples.flask_app.app", "gunicorn", 3),
}


def free_port(preferred: int = 0) -> int:
    """The preferred port if nobody has it, else one that is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, preferred))
        except OSError:
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The server, answering; stopped at the end, whatever happens."""
    # A session of its own: Ctrl-C in the terminal reaches only us, and we stop the server in order.
    process = subprocess.Popen(command, env=env, cwd=cwd, start_new_session=True, text=True)
    try:
        wait_until_ready(process, port)
        yield process
    finally:
        stop(process)


def wait_until_ready(process: subprocess.Popen[str], port: int) -> None:
    """Return when the login page is there; RuntimeError if the server ends before, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}; its last words are above")
        connection = http.client.HTTPConnection(HOST, port, timeout=START_SECONDS)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/login", headers={"Connection": "close"})
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not answer on port {port} within {START_SECONDS} seconds")


def stop(process: subprocess.Popen[str]) -> None:
    """End the server and its workers: asked first, killed if that takes too long."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def lines_to_try(url: str) -> tuple[str, str, str]:
    """Log in and use the token; log out; use the token again."""
    with_token = '-H "Authorization: Bearer $TOKEN"'
    login = f"""curl -s {url}/api/login -H 'Content-Type: application/json' """
    login += """-d '{"username": "ann", "password": "correct-horse"}'"""
    only_token = r"""sed 's/.*"access_token": *"\([^"]*\)".*/\1/'"""
    return (
        f"TOKEN=$({login} | {only_token}); curl -si {url}/api/me {with_token}",
        f"curl -si -X POST {url}/auth/logout {with_token}",
        f"curl -si {url}/api/me {with_token}",
    )


def introduction(example: Example, url: str) -> str:
    """What the terminal shows."""
    login, logout, refusal = lines_to_try(url)
    return f"""
The {example.name.title()} example runs under {example.server} with {example.workers} workers:

    {url}/    log in as ann with correct-horse, or as ben with battery-staple

Or try its API in another terminal. Log in, and use the token:

{login}

Log out:

{logout}

Be refused, by every worker, with a token that has not expired:

{refusal}
"""


def run_lines(url: str) -> int:
    """Run what was printed, each line with its output below."""
    shown = "\n".join(f"printf '\\n\\n$ %s\\n' {_quoted(line)}\n{line}" for line in lines_to_try(url))
    return subprocess.run(["bash", "-c", shown + "\necho"], check=False).returncode


def _quoted(line: str) -> str:
    return "'" + line.replace("'", "'\\''") + "'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until Ctrl-C; 1 if the server could not start."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="Start an example application.")
    parser.add_argument("example", choices=EXAMPLES)
    parser.add_argument("--once", action="store_true", help="run the printed lines here, then stop")
    chosen = parser.parse_args(arguments)
    example = EXAMPLES[chosen.example]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    port = free_port(PREFERRED_PORT)
    url = f"http://{HOST}:{port}"
    try:
        with (
            tempfile.TemporaryDirectory(prefix="logout-demo-") as folder,
            running(example.command(port), env=example.environment(), cwd=Path(folder), port=port) as server,
        ):
            print(introduction(example, url), flush=True)
            if chosen.once:
                return run_lines(url)
            print("Ctrl-C stops it. Each logout appears here as a line of the audit log.", flush=True)
            return server.wait()
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except RuntimeError as error:
        print(f"{example.name}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
