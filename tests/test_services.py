"""The servers of the tests: nothing of them is left behind, and what is not installed is called by its name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from . import services
from .services import process

ROOT = Path(__file__).parents[1]


def test_server_keeps_its_address_and_data_when_it_is_killed():
    """A test may kill a server and go on with the same URL."""
    try:
        with services.redis() as server:
            before = server.url
            server.call("SET", "name", "value")

            server.restart()

            assert (server.url, server.call("GET", "name")) == (before, "value")
    except services.Missing as missing:
        pytest.skip(str(missing))


def test_servers_end_with_a_test_run_that_is_killed():
    """Kill -9 of the tests leaves no server process and no folder, not even of a server that was paused."""
    code = (
        "import os, signal\nfrom tests import services\n"
        "with services.folder() as path, services.redis() as server:\n"
        "    server.pause()\n    print(server.pid, path, server.folder, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    if "Missing" in done.stderr:
        pytest.skip("redis-server is not installed; on Debian: apt-get install redis-server")

    pid, *folders = done.stdout.split()

    assert done.returncode == -signal.SIGKILL
    services.until(lambda: not process.lives(int(pid)), "the end of the server", 5)
    services.until(lambda: not any(map(os.path.exists, folders)), "the end of the folders", 5)


def test_missing_server_is_named_with_its_package(monkeypatch):
    """Who reads the output of the tests knows what to install."""
    monkeypatch.setattr(process.shutil, "which", lambda *_, **__: None)

    with pytest.raises(services.Missing, match=r"initdb is not installed; on Debian: apt-get install postgresql"):
        process.binary.__wrapped__("initdb")


def test_the_watcher_hears_twice_of_an_end_without_harm():
    """A server that was killed and then stopped must not make what the watcher remembers grow without end."""
    code = (
        "from tests.services import process\n"
        "for _ in range(60): process._tell_watcher('-', 999_999)\n"
        "process._watcher(__import__('os').getpid()).communicate(timeout=20)"
    )

    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False)

    assert ended.returncode == 0
