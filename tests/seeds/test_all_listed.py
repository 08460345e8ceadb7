"""Every statement that is promised so far has a test that is named by its id."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent


def _ids(seed: str, *numbers: int | range) -> set[str]:
    return {f"{seed}_{n}" for each in numbers for n in (each if isinstance(each, range) else (each,))}


PROMISED = (
    _ids("GA", range(1, 13))
    | _ids("UM", range(1, 8), 11, 12, range(14, 18), 19, 20, range(24, 28), range(29, 36))
    | _ids("SP", 1, 2, range(4, 21))
    | _ids("UF", range(4, 13))
    | _ids("CB", range(1, 13), 14, 15)
    | {"M1", "M3", "M5", "M9", "M10"}
)


def _named_in(path: Path) -> set[str]:
    names = [node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)]
    found = [re.match(r"test_([A-Z]{2}_\d+|M\d+)_", name) for name in names]
    return {match[1] for match in found if match}


def test_every_promised_statement_has_a_test() -> None:
    """A statement without a test is not kept, it is hoped for."""
    tested = set().union(*(_named_in(path) for path in HERE.glob("test_*.py")))

    assert PROMISED - tested == set()
    assert tested - PROMISED == set(), "a test names a statement that is not on the list: add it there"
