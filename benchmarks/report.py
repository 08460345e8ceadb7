"""What is printed and what is kept: one Markdown table, one JSON file."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from .noise import Noise
from .pair import Effort, Estimate, Result, Row
from .targets import Outcome

_DISTRIBUTIONS = (
    "logout-middleware", "starlette", "flask", "werkzeug", "uvicorn", "uvloop", "httptools", "pyjwt",
    "redis", "hiredis", "sqlalchemy", "psycopg", "gunicorn", "granian", "django", "fastapi-users",
    "flask-jwt-extended", "djangorestframework-simplejwt", "authlib",
)  # fmt: skip


def table(results: Sequence[Result]) -> str:
    """All suites in one Markdown table. CPU times are for orientation, ratios are what was measured."""
    if not any(result.rows for result in results):
        return ""
    lines = [
        "| suite | on | case | CPU µs | against | ratio [95 %] | added µs [95 %] |",
        "|---|---|---|---:|---|---|---|",
    ]
    for result in results:
        lines += [_line(result.suite, row) for row in result.rows]
    return "\n".join(lines)


def own_tables(result: Result) -> str:
    """The tables of a suite that measures something other than a cost."""
    texts = []
    for each in result.tables:
        rule = "|" + "|".join("---" if place == 0 else "---:" for place in range(len(each.head))) + "|"
        texts.append("\n".join(["| " + " | ".join(line) + " |" for line in [each.head, *each.lines]]))
        texts[-1] = texts[-1].replace("\n", f"\n{rule}\n", 1)
    return "\n\n".join(texts)


def _line(suite: str, row: Row) -> str:
    cells = [suite, row.stack, row.case, f"{row.cost_us:.2f}", row.against]
    cells += [_interval(row.ratio, "{:.3f}"), _interval(row.added_us, "{:+.2f}")]
    return "| " + " | ".join(cells) + " |"


def _interval(estimate: Estimate | None, form: str) -> str:
    if estimate is None:
        return ""
    return interval(estimate, form)


def interval(estimate: Estimate, form: str) -> str:
    """The median, and between brackets how far it may be off."""
    return f"{form} [{form}, {form}]".format(estimate.value, estimate.low, estimate.high)


def environment() -> dict[str, object]:
    """What the numbers were measured on and with."""
    cpu = Path("/proc/cpuinfo")
    models = [line for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cpus": os.cpu_count(),
        "sqlite": sqlite3.sqlite_version,
        "commit": _commit(),
        "versions": {name: version for name in _DISTRIBUTIONS if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """The commit that was measured, with "-dirty" if files differ from it; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout[
            :-1
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""


def keep(folder: Path, *, noise: Noise, effort: Effort, results: Sequence[Result], outcomes: Sequence[Outcome]) -> Path:
    """Write everything, raw rounds included, to a new file, and say which."""
    folder.mkdir(exist_ok=True)
    path = folder / time.strftime("%Y%m%d-%H%M%S.json")
    content = {
        "environment": environment(),
        "noise": asdict(noise),
        "effort": asdict(effort),
        "results": [asdict(result) for result in results],
        "targets": [asdict(outcome) for outcome in outcomes],
    }
    path.write_text(json.dumps(content, indent=1), "utf-8")
    return path
