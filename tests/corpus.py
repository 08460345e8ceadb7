"""The attack corpora: where they are, how a case is read, and what one may cost.

The rules behind the verdicts are in `corpora/README.md`.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

OWN = Path(__file__).parent / "corpora"
SHARED = Path(__file__).parents[2] / "shared" / "corpora"
FOLDER = SHARED if SHARED.is_dir() else OWN

CPU_SECONDS = 0.050
"""No case may cost more (README, first paragraph)."""

_MACRO = re.compile(r"<<(.+?)\|(\d+)>>", re.DOTALL)

Case = Mapping[str, Any]


def read(name: str) -> list[dict[str, Any]]:
    """The cases of one corpus as they are written, macros included."""
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()]


def expand(value: Any) -> Any:
    """The value with `<<unit|count>>` written out in every text."""
    if isinstance(value, str):
        return _MACRO.sub(lambda match: match[1] * int(match[2]), value)
    if isinstance(value, list):
        return [expand(item) for item in value]
    if isinstance(value, dict):
        return {name: expand(item) for name, item in value.items()}
    return value


def cases(name: str, wanted: Callable[[Case], bool] = lambda case: True, *, raw: bool = False) -> list[Any]:
    """The wanted cases as parameters for pytest, under their ids. `raw`: jwtkit expands the macros itself."""
    return [pytest.param(case if raw else expand(case), id=case["id"]) for case in read(name) if wanted(case)]


def fill(text: str, names: Mapping[str, str]) -> str:
    """The text with every `{NAME}` replaced; other braces stay."""
    for name, value in names.items():
        text = text.replace("{" + name + "}", value)
    return text


@functools.cache
def jwtkit() -> ModuleType:
    """The corpus's own builder of tokens."""
    spec = importlib.util.spec_from_file_location("jwtkit", FOLDER / "jwtkit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def least_cpu(work: Callable[[], object], *, times: int = 3) -> float:
    """CPU seconds of this thread for the best of a few runs: noise of the machine only ever adds."""
    best = float("inf")
    for _ in range(times):
        started = time.thread_time()
        work()
        best = min(best, time.thread_time() - started)
        if best < CPU_SECONDS:
            break
    return best
