"""`make demo` and `make demo-flask`: what a newcomer sees first."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DEMO = [sys.executable, "-m", "examples.demo"]
EXAMPLES = pytest.mark.parametrize("example", ["starlette", "flask"])


@EXAMPLES
def test_printed_lines_show_login_logout_refusal(example):
    """The three lines that the demo prints do what it says they do."""
    ran = subprocess.run([*DEMO, example, "--once"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    introduction, *results = ran.stdout.split("\n$ ")
    assert ran.returncode == 0, ran.stderr
    assert len(re.findall("^(?:curl|TOKEN=.*curl) ", introduction, re.MULTILINE)) == 3
    assert [re.search(r"HTTP/1.1 (\d+)", result)[1] for result in results] == ["200", "200", "401"]
    assert '"user":"ann"' in results[0]
    assert '"success":true' in results[1]
    assert '"error":"token_revoked"' in results[2]


@EXAMPLES
def test_ctrl_c_stops_the_server(example):
    """Ctrl-C ends the demo without a stack trace, and the port is free again."""
    with subprocess.Popen(
        [*DEMO, example], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        seen = ""
        while "Ctrl-C" not in seen:
            line = demo.stdout.readline()
            assert line, demo.stderr.read()
            seen += line
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", seen)[1])

        demo.send_signal(signal.SIGINT)
        output, errors = demo.communicate(timeout=30)

    assert (demo.returncode, output.strip()) == (0, "Stopped.")
    assert "Traceback" not in errors
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
