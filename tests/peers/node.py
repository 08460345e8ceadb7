"""Programs for node, and where the npm packages are that they use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS = 60
# pytest takes LOGOUT_* out of the environment before a test begins.
_GIVEN = os.environ.get("LOGOUT_TEST_NODE")


def node_modules() -> Path:
    """The folder of the npm packages: beside the virtual environment, else the one that LOGOUT_TEST_NODE names."""
    own = Path(sys.prefix) / "node" / "node_modules"
    folder = own if own.is_dir() or _GIVEN is None else Path(_GIVEN) / "node_modules"
    assert folder.is_dir(), f"{own} is not there; install the npm packages, or name their folder in LOGOUT_TEST_NODE"
    return folder


def address(package: str, file: str) -> str:
    """What an ES module imports; node finds no bare names from another folder."""
    return (node_modules() / package / file).as_uri()


def run(program: Path, *arguments: str) -> Any:
    """What the program prints, as JSON. Its arguments are `process.argv` from 2 on."""
    node = shutil.which("node")
    assert node is not None, "node is not there"
    done = subprocess.run(
        [node, str(program), *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
