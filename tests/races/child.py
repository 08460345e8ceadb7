"""`python -m tests.races` from a test, with the releases that the tests use, or with the old Starlette."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OLD_STARLETTE = Path(sys.prefix) / "starlette-0.47"
"""Where `make` puts it: one environment cannot have two."""
OLD = "starlette-0.47"


def first_seed() -> int:
    """Another with each run, unless RACES_SEED says which; it is printed, and pytest shows it when a test fails."""
    seed = int(os.environ.get("RACES_SEED") or random.randrange(10**9))
    print(f"RACES_SEED={seed}")
    return seed


def ask(application: str, *arguments: str) -> dict[str, Any]:
    """The verdict on this application; `starlette-0.47` is `starlette` in that release."""
    # It plays thousands of requests: nothing that measures lines, and nothing of the machine, goes along.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "PYTHON"))}
    is_old = application.endswith(OLD)
    if is_old:
        assert OLD_STARLETTE.is_dir(), f"{OLD_STARLETTE} is missing; `make check` installs it"
        environ["PYTHONPATH"] = str(OLD_STARLETTE)
    name = "starlette" if application == OLD else application.removesuffix(f"@{OLD}")
    command = [sys.executable, "-W", "error", "-m", "tests.races", name, *arguments]
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr[-8000:]
    told: dict[str, Any] = json.loads(ran.stdout)
    assert told["releases"]["starlette"].startswith("0.47." if is_old else "1."), told["releases"]
    return told
