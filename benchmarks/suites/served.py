"""What does the guard cost a worker that really serves?

Two uvicorn workers with the SQLite store in one file, under wrk. For every application the CPU time of its two worker
processes is read from /proc before and after, and divided by the number of answers. The servers of all applications are
up at once; they are loaded one after the other, over and over, and all are restarted at least three times.
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
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from logout_middleware.colour import run_blocking
from logout_middleware.logout import Logout

from .. import pair, traffic
from ..pair import Effort, Result, Rounds, Void
from ..stacks import random_revocations
from ..traffic import Gate, Lines

NAME = "served"
WITHIN = (0.93, 1.07)
WORKERS = 2
CONNECTIONS = 16
REVOCATIONS = 1000

BARE, AGAIN, NOTHING, GUARDED = "bare", "bare again", "no-op", "bearer seen before, SQLite"
_APPS = {BARE: "bare", AGAIN: "bare", NOTHING: "nothing", GUARDED: "guarded"}
_START_SECONDS = 30.0
_WARM_UP_SECONDS, _WARM_UP_LOADS = 0.6, 10
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0


def run(effort: Effort) -> Result:
    """Measure all applications, or say why that cannot be done here."""
    result = Result(NAME)
    if not Path("/proc/self/stat").exists():
        result.skipped = "the CPU time of the workers is read from /proc, which this system does not have"
        return result
    generator = _load_generator(result)
    rounds: Rounds = {name: [] for name in _APPS}
    with tempfile.TemporaryDirectory() as folder:
        place = _prepare(Path(folder), effort)
        for _ in range(effort.restarts):
            with contextlib.ExitStack() as stack:
                servers = {name: stack.enter_context(_serving(app, place)) for name, app in _APPS.items()}
                for name, server in servers.items():
                    place.gate.pass_through(f"served, {name}", server.status, guarded=name == GUARDED)
                    _warm_up(generator, server, place)
                for _ in range(effort.served_rounds):
                    for name, server in servers.items():
                        rounds[name].append(_cpu_per_request(generator, server, place, effort.served_seconds))
    result.rounds["starlette"] = rounds
    pair.control(result, rounds, of="starlette", bare=BARE, again=AGAIN, within=WITHIN)
    result.rows = [pair.row(rounds, "starlette", BARE)]
    result.rows += [pair.row(rounds, "starlette", name, BARE) for name in (AGAIN, NOTHING, GUARDED)]
    result.estimates["starlette: worker CPU added per request, µs"] = pair.added(rounds, GUARDED, BARE)
    result.notes.append(f"served: a bare request costs {result.rows[0].cost_us:.1f} µs of worker CPU here")
    return result


# ---- load ----------------------------------------------------------------------------------------------


def _load_generator(result: Result) -> list[str]:
    """The command of wrk, installed if that is ours to do, or of our own small generator."""
    if shutil.which("wrk") is None and shutil.which("apt-get") and os.geteuid() == 0:
        print("served: installing wrk with apt-get", flush=True)
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "wrk"], check=False, capture_output=True)
    wrk = shutil.which("wrk")
    if wrk is None:
        result.notes.append("wrk is not here and could not be installed: the load came from benchmarks/load.py")
        return [sys.executable, "-m", "benchmarks.load", "{port}", "{seconds}", str(CONNECTIONS)]
    script = str(Path(__file__).with_name("rotate.lua"))
    return [wrk, "-t1", f"-c{CONNECTIONS}", "-d{seconds}s", "-s", script, "http://127.0.0.1:{port}/"]


@dataclass(frozen=True, slots=True)
class _Place:
    """The folder with the database and the requests, and the environment that names them."""

    folder: Path
    environment: dict[str, str]
    gate: Gate


def _prepare(folder: Path, effort: Effort) -> _Place:
    gate = Gate.make()
    options = traffic.options(f"sqlite:///{folder / 'logout.db'}")
    logout = Logout(traffic.settings(options["store"]), blocking=True)
    traffic.revoke(logout, gate)
    run_blocking(logout.store.add(random_revocations(REVOCATIONS)))
    run_blocking(logout.close())
    (folder / "head").write_bytes(_head(traffic.with_bearer("")))
    (folder / "tokens").write_text("\n".join(traffic.tokens(effort.tokens)) + "\n")
    root = str(Path(__file__).resolve().parents[2])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOGOUT_")}
    environment |= {"LOGOUT_" + name.upper(): value for name, value in options.items()}
    environment |= {"BENCH_HEAD": str(folder / "head"), "BENCH_TOKENS": str(folder / "tokens"), "PYTHONPATH": root}
    return _Place(folder, environment, gate)


def _head(lines: Lines) -> bytes:
    """The start of a request up to the token, which is its last field."""
    return b"GET / HTTP/1.1\r\n" + b"\r\n".join(name + b": " + value for name, value in lines)


def _load(generator: list[str], server: _Server, place: _Place, seconds: float) -> int:
    """How many requests were answered, all with 2xx; Void if any was not."""
    command = [part.format(port=server.port, seconds=round(seconds)) for part in generator]
    printed = subprocess.run(
        command, env=place.environment, cwd=place.folder, capture_output=True, text=True, check=True
    ).stdout
    seen = json.loads(printed.strip().splitlines()[-1])
    if seen["not_2xx"] or seen["broken"]:
        raise Void(f"served, {server.app}: {seen['not_2xx']} answers were not 2xx, {seen['broken']} broke off")
    return int(seen["requests"])


def _warm_up(generator: list[str], server: _Server, place: _Place) -> None:
    """Load until every worker has seen every token; the kernel shares the connections out unevenly."""
    before = server.cpu_seconds()
    for _ in range(_WARM_UP_LOADS):
        _load(generator, server, place, 1)
        if all(now - before[worker] > _WARM_UP_SECONDS for worker, now in server.cpu_seconds().items()):
            return
    raise Void(f"served, {server.app}: a worker gets no connections")


def _cpu_per_request(generator: list[str], server: _Server, place: _Place, seconds: float) -> float:
    """Nanoseconds of CPU of all workers together."""
    before = server.cpu_seconds()
    answered = _load(generator, server, place, seconds)
    after = server.cpu_seconds()
    if before.keys() != after.keys():
        raise Void(f"served, {server.app}: a worker died under load")
    return sum(after[worker] - before[worker] for worker in after) / answered * 1e9


# ---- the servers ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Server:
    app: str
    port: int
    process: subprocess.Popen[bytes]

    def workers(self) -> list[int]:
        """The ids of the worker processes: children of uvicorn that are not multiprocessing's own helper."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def cpu_seconds(self) -> dict[int, float]:
        """By worker, the CPU time it has used so far, in user and kernel."""
        used = {}
        for pid in self.workers():
            # The name, in parentheses, may have spaces; utime and stime are fields 14 and 15 (proc(5)).
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used[pid] = (int(fields[11]) + int(fields[12])) / _TICK
        return used

    def status(self, lines: Lines) -> int:
        """What this request is answered, by every worker that gets one of several connections; the worst of them."""
        return max(self._ask(lines) for _ in range(4 * WORKERS))

    def _ask(self, lines: Lines) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.putrequest("GET", "/", skip_host=True, skip_accept_encoding=True)
        for name, value in lines:
            connection.putheader(name, value)
        connection.endheaders()
        status = connection.getresponse().status
        connection.close()
        return status


@contextlib.contextmanager
def _serving(app: str, place: _Place) -> Iterator[_Server]:
    """This application under uvicorn, ready when entered, gone when left."""
    port = _free_port()
    command = [
        sys.executable, "-m", "uvicorn", f"benchmarks.suites.served_apps:{app}", "--port", str(port),
        "--workers", str(WORKERS), "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    with (place.folder / f"{app}-{port}.log").open("wb") as log:
        process = subprocess.Popen(command, env=place.environment, cwd=place.folder, stdout=log, stderr=log)
    try:
        server = _Server(app, port, process)
        _wait_until_up(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wait_until_up(server: _Server) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if len(server.workers()) == WORKERS and server.status(traffic.without_credential(0)) == 200:
                return
        if server.process.poll() is not None:
            break
        time.sleep(0.1)
    raise Void(f"served, {server.app}: uvicorn did not start; try: uvicorn benchmarks.suites.served_apps:{server.app}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
