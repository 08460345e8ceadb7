"""The files of the elements as such: their size, and that importing them needs no browser."""

from __future__ import annotations

import gzip
import shutil
from importlib import resources
from pathlib import Path

import pytest

from tests.peers.node import run

FOLDER = Path(str(resources.files("logout_middleware.browser")))


@pytest.mark.parametrize(("name", "most"), [("logout-button.js", 2000), ("logout-react.js", 1600)])
def test_it_is_small(name: str, most: int) -> None:
    """What a page loads, compressed as servers do it."""
    assert len(gzip.compress((FOLDER / name).read_bytes(), compresslevel=9)) <= most


def test_modules_can_be_imported_on_a_server(tmp_path: Path) -> None:
    """Applications that render on a server import the same files; there they define nothing, and do nothing."""
    for file in FOLDER.glob("*.js"):
        shutil.copy(file, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    program = tmp_path / "program.js"
    program.write_text(
        'import { LogoutButton } from "./logout-button.js";\n'
        'import * as react from "./logout-react.js";\n'
        "console.log(JSON.stringify([typeof LogoutButton, Object.keys(react).sort()]));\n"
    )

    assert run(program) == ["function", ["AuthProvider", "createHooks", "useAuth", "useLogout"]]
