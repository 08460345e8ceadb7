"""Applications behind real servers, under load, and what their workers used of the processor meanwhile.

Each application has its server process on a port of its own. On a machine with two processors or more a single worker
gets one for itself, and the load and the stores get the rest, so that a worker competes with nobody.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import traffic
from .pair import Void
from .traffic import Lines

CONNECTIONS = 16
ROOT = Path(__file__).resolve().parents[1]
_START_SECONDS = 30.0
_WARM_UP_SECONDS, _WARM_UP_LOADS = 0.6, 10
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0

COMMANDS: Mapping[str, Sequence[str]] = {
    "uvicorn": (
        "uvicorn", "{app}", "--port", "{port}", "--workers", "{workers}", "--no-access-log", "--log-level", "warning",
    ),
    "gunicorn": (
        "gunicorn", "{app}", "--bind", "127.0.0.1:{port}", "--workers", "{workers}", "--threads", "4",
        "--worker-class", "gthread", "--keep-alive", "75", "--log-level", "warning",
    ),
    "granian": (
        "granian", "{app}", "--port", "{port}", "--workers", "{workers}", "--interface", "wsgi", "--no-ws",
        "--log-level", "warning",
    ),
}  # fmt: skip
"""How each server is started, as `python -m`."""


@dataclass(frozen=True, slots=True)
class Requests:
    """What an application is asked: the same head before every token, and the tokens that take turns."""

    head: Path
    tokens: Path

    @classmethod
    def write(cls, folder: Path, name: str, tokens: Sequence[str]) -> Requests:
        """The requests of these bearer tokens, in files for the load generator."""
        asked = cls(folder / f"{name}.head", folder / f"{name}.tokens")
        asked.head.write_bytes(
            b"GET / HTTP/1.1\r\n" + b"\r\n".join(field + b": " + value for field, value in traffic.with_bearer(""))
        )
        asked.tokens.write_text("\n".join(tokens) + "\n")
        return asked

    @property
    def environment(self) -> dict[str, str]:
        return {"BENCH_HEAD": str(self.head), "BENCH_TOKENS": str(self.tokens)}


@dataclass(frozen=True, slots=True)
class Load:
    """What a load generator saw; the times are those of one answer under this load."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Used:
    """What one load cost, per request: nanoseconds of CPU of all workers, and nanoseconds until the next answer."""

    cpu: float
    turn: float
    load: Load


# ---- load ----------------------------------------------------------------------------------------------


def wrk() -> str | None:
    """Where wrk is, installed if that is ours to do."""
    if shutil.which("wrk") is None and shutil.which("apt-get") and os.geteuid() == 0:
        print("installing wrk with apt-get", flush=True)
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "wrk"], check=False, capture_output=True)
    return shutil.which("wrk")


def generator(connections: int = CONNECTIONS) -> list[str]:
    """The command of wrk, or of our own small generator where it cannot be had."""
    found = wrk()
    if found is None:
        return [sys.executable, "-m", "benchmarks.load", "{port}", "{seconds}", str(connections)]
    script = str(Path(__file__).with_name("suites") / "rotate.lua")
    return [found, "-t1", f"-c{connections}", "-d{seconds}s", "-s", script, "http://127.0.0.1:{port}/"]


def put_under_load(command: Sequence[str], server: Server, requests: Requests, seconds: float) -> Load:
    """Ask for so long; Void if any answer was not 2xx."""
    filled = [part.format(port=server.port, seconds=round(seconds)) for part in command]
    environment = {**os.environ, **requests.environment, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    done = subprocess.run(filled, env=environment, capture_output=True, text=True, check=True)
    lasted = time.monotonic() - started
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    if seen["not_2xx"] or seen["broken"]:
        raise Void(f"{server.name}: {seen['not_2xx']} answers were not 2xx, {seen['broken']} broke off")
    if not seen["requests"]:
        raise Void(f"{server.name}: not one answer in {seconds} s")
    return Load(seen["requests"], seen.get("seconds", lasted), seen.get("p50_ms", 0.0), seen.get("p99_ms", 0.0))


def measured(command: Sequence[str], server: Server, requests: Requests, seconds: float) -> Used:
    """One load, and what the workers used meanwhile."""
    before = server.cpu_seconds()
    load = put_under_load(command, server, requests, seconds)
    after = server.cpu_seconds()
    if before.keys() != after.keys():
        raise Void(f"{server.name}: a worker died under load")
    cpu = sum(after[worker] - before[worker] for worker in after)
    return Used(cpu / load.requests * 1e9, load.seconds / load.requests * 1e9, load)


def warm_up(command: Sequence[str], server: Server, requests: Requests) -> None:
    """Load until every worker has seen every token; the kernel shares the connections out unevenly."""
    before = server.cpu_seconds()
    for _ in range(_WARM_UP_LOADS):
        put_under_load(command, server, requests, 1)
        if all(now - before[worker] > _WARM_UP_SECONDS for worker, now in server.cpu_seconds().items()):
            return
        if server.workers == 1:
            return  # It waits for its store more than it works, and nobody shares its connections.
    raise Void(f"{server.name}: a worker gets no connections")


# ---- the servers ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Served:
    """One application and how it is served. `settings` are LOGOUT_* and BENCH_* variables."""

    name: str
    app: str
    server: str = "uvicorn"
    workers: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    port: int
    workers: int
    process: subprocess.Popen[bytes]

    def worker_ids(self) -> list[int]:
        """The processes that answer: the children, but multiprocessing's own helper, or where none is, the server."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        found = [int(pid) for pid in pids if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return found or [self.process.pid]

    def cpu_seconds(self) -> dict[int, float]:
        """By worker, the CPU time it has used so far, in user and kernel."""
        return {pid: cpu_seconds_of(pid) for pid in self.worker_ids()}

    def status(self, lines: Lines) -> int:
        """What this request is answered, by every worker that gets one of several connections; the worst of them."""
        return max(self._ask(lines) for _ in range(4 * self.workers))

    def _ask(self, lines: Lines) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest("GET", "/", skip_host=True, skip_accept_encoding=True)
        for name, value in lines:
            connection.putheader(name, value)
        connection.endheaders()
        status = connection.getresponse().status
        connection.close()
        return status


def cpu_seconds_of(pid: int) -> float:
    """The CPU time that a process has used so far, in user and kernel."""
    # The name, in parentheses, may have spaces; utime and stime are fields 14 and 15 (proc(5)).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def has_proc() -> bool:
    """Can the CPU time of a worker be read here?"""
    return Path("/proc/self/stat").exists()


def processors() -> tuple[set[int], set[int]]:
    """Those for the load and the stores, and the one for the worker under test; the same where there is only one."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    allowed = sorted(os.sched_getaffinity(0))
    return (set(allowed[:-1]), set(allowed[-1:])) if len(allowed) > 1 else (set(allowed), set(allowed))


def move_to(cpus: set[int]) -> None:
    """Run this process on these processors."""
    if cpus:
        os.sched_setaffinity(0, cpus)


@contextlib.contextmanager
def apart() -> Iterator[set[int]]:
    """This process and what it starts keep off one processor, which is told: it is for the worker under test."""
    rest, own = processors()
    move_to(rest)
    try:
        yield own
    finally:
        move_to(rest | own)


@contextlib.contextmanager
def serving(each: Served, folder: Path, cpus: set[int] | None = None) -> Iterator[Server]:
    """This application, ready when entered, gone when left; on these processors."""
    port = free_port()
    command = [part.format(app=each.app, port=port, workers=each.workers) for part in COMMANDS[each.server]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOGOUT_")}
    environment |= {**each.settings, "PYTHONPATH": str(ROOT)}
    pin: Callable[[], None] | None = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
    log_path = folder / f"{port}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, cwd=folder, stdout=log, stderr=log, preexec_fn=pin
        )
    try:
        server = Server(each.name, port, each.workers, process)
        _wait_until_up(server, each, log_path)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(server: Server, each: Served, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if len(server.worker_ids()) == server.workers and server.status(traffic.without_credential(0)) < 500:
                return
        if server.process.poll() is not None:
            break
        time.sleep(0.05)
    raise Void(f"{server.name}: {each.server} {each.app} did not start:\n{log.read_text(errors='replace')[-1500:]}")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
