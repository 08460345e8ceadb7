"""Programs, ports, folders and processes of test servers; nothing here knows what kind of server it is."""

from __future__ import annotations

import atexit
import contextlib
import functools
import glob
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
START_SECONDS = 30.0
_PACKAGES = {
    "redis-server": "redis-server", "redis-sentinel": "redis-sentinel", "postgres": "postgresql",
    "initdb": "postgresql", "pg_basebackup": "postgresql", "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
}  # fmt: skip
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")


class Missing(Exception):
    """A server's binary is not on this machine."""


@functools.cache
def binary(name: str) -> str:
    """Where a server's program is; `Missing` if it is nowhere."""
    newest_first = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: -int(path.split("/")[4]))
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_PLACES, *newest_first]))
    if found is None:
        raise Missing(f"{name} is not installed; on Debian: apt-get install {_PACKAGES[name]} (or make servers)")
    return found


def free_port() -> int:
    """A port that nobody listens on now, and that no outgoing connection will take."""
    for _ in range(1000):
        port = random.randint(12000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                return port
    raise OSError("no free port")


def until(is_so: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> None:
    """Return as soon as it is so; what it raises counts as "not yet", until the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
            why: object = ""
        except Exception as error:  # noqa: BLE001 - whatever a server that is not ready makes a client raise
            why = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}: {why}")
        time.sleep(0.01)


@functools.cache
def _watcher(owner: int) -> subprocess.Popen[str]:
    """A shell that kills and removes what is left when this process ends, however it ends: then its input closes."""
    script = (
        'trap "" INT TERM HUP; all=" "; folders=; while read -r sign what; do case $sign in +) all="$all$what ";; '
        '-) case $all in *" $what "*) all="${all% $what *} ${all#* $what }";; esac;; '
        'd) folders="$folders $what";; esac; done; '
        "for pid in $all; do kill -9 -$pid; done; rm -rf $folders"
    )
    watcher = subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )

    def finish() -> None:
        if os.getpid() == owner:  # a fork inherits this function, but not the servers
            watcher.communicate(timeout=START_SECONDS)

    atexit.register(finish)
    return watcher


def _tell_watcher(sign: str, what: object) -> None:
    stdin = _watcher(os.getpid()).stdin
    stdin.write(f"{sign} {what}\n")
    stdin.flush()


def family(pid: int) -> list[int]:
    """A process and all that descend from it. (PostgreSQL's backends are sessions of their own.)"""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def as_user(user: str | None) -> dict[str, Any]:
    """What makes `subprocess` run as this user."""
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}


class Process:
    """One server process, which may be killed, paused and started again on the same port and data."""

    ends_by = signal.SIGTERM

    def __init__(
        self, command: Sequence[str], folder: Path, ready: Callable[[], Any], *, user: str | None = None,
        env: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.command, self.folder, self._ready, self._user, self._env = list(command), folder, ready, user, env
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None, "it was not started"
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self, *, wait: bool = True) -> None:
        """Start it, if it does not run, and wait until it answers."""
        if not self.running:
            with (self.folder / "log").open("ab") as log:
                self._popen = subprocess.Popen(
                    self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._env,
                    start_new_session=True, **as_user(self._user),
                )  # fmt: skip
            _tell_watcher("+", self.pid)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return as soon as it answers."""

        def answers() -> Any:
            return not self.running or self._ready()

        until(answers, f"{Path(self.command[0]).name} in {self.folder}")
        if not self.running:
            raise RuntimeError(f"{' '.join(self.command)} ended at once:\n{self.log[-2000:]}")

    def _end(self, how: signal.Signals) -> None:
        if self._popen is None:
            return
        pids = family(self.pid) if self.running else []
        if how == signal.SIGKILL:
            self._signal(pids, how)
        elif pids:
            self._signal(pids, signal.SIGCONT)
            self._signal(pids[:1], how)
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._signal(pids, signal.SIGKILL)
            self._popen.wait()
        until(lambda: not any(lives(pid) for pid in pids), "the end of all its processes")
        _tell_watcher("-", self.pid)

    @staticmethod
    def _signal(pids: Sequence[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill -9, all its processes at once."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(self.ends_by)

    def end(self) -> None:
        """End it as fast as nothing is left behind."""
        self.kill()

    def restart(self) -> None:
        """Kill -9 and start again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Hang: connections stay open, and nothing answers, from when this returns."""
        pids = family(self.pid)
        self._signal(pids, signal.SIGSTOP)
        until(lambda: all(_stands_still(pid) for pid in pids), "its processes to stand still")

    def resume(self) -> None:
        """Go on after `pause`."""
        self._signal(family(self.pid), signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    """Are all threads of this process stopped? Some still answer when the signal has long been sent."""
    states = []
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states.append(thread.read_text().rpartition(")")[2].split()[0])
    return set(states) <= set("TtZX")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextlib.contextmanager
def folder(user: str | None = None) -> Iterator[Path]:
    """A temporary folder that this user owns. Pytest's own folders are closed to other users."""
    path = Path(tempfile.mkdtemp(prefix="logout-test-"))
    _tell_watcher("d", path)
    if user:
        shutil.chown(path, user)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def running(*processes: Process) -> Iterator[None]:
    try:
        for process in processes:
            process.start(wait=False)
        for process in processes:
            process.wait_until_ready()
        yield
    finally:
        for process in processes:
            process.end()
