"""LOGOUT_* variables as texts: those of a `.env` file, and those whose value is in a file (`LOGOUT_X_FILE`)."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

PREFIX = "LOGOUT_"
# Kubernetes sets these for a service named "logout" (contract 5).
_NOT_OURS = ("LOGOUT_PORT", "LOGOUT_SERVICE_")


def read_env_file(path: str | Path | None) -> dict[str, str]:
    """The LOGOUT_* lines of a `.env` file, `NAME=value` with optional quotes; nothing if there is no such file."""
    if path is None or not Path(path).is_file():
        return {}
    found = {}
    for line in Path(path).read_text("utf-8").splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        value = value.strip()
        if equals and name.strip().startswith(PREFIX):
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            found[name.strip()] = value[1:-1] if quoted else value
    return found


def is_known(name: str, known: Container[str]) -> bool:
    """Is this variable one of ours, or none of our business?"""
    bare = name.removeprefix(PREFIX).lower()
    return bare in known or bare.removesuffix("_file") in known or name.startswith(_NOT_OURS)


def unknown(name: str, known: Iterable[str]) -> str:
    """The mistake of a name that is no setting, with the nearest that is one."""
    names = [PREFIX + each.upper() for each in known]
    near = difflib.get_close_matches(name, names, n=1)
    return f"E001 {name}: there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


def read_texts(found: Mapping[str, str], known: Container[str]) -> tuple[dict[str, str], list[str]]:
    """The text of each setting among these variables, read from its file for `LOGOUT_X_FILE`; and the mistakes."""
    texts: dict[str, str] = {}
    mistakes = []
    for variable, value in found.items():
        name = variable.removeprefix(PREFIX).lower()
        if name in known:
            if value.strip():  # an empty variable is how a shell or a compose file says "not set"
                texts[name] = value
            continue
        name = name.removesuffix("_file")
        if name not in known or variable.startswith(_NOT_OURS):
            continue
        if PREFIX + name.upper() in found:
            mistakes.append(f"E004 {variable}: {PREFIX}{name.upper()} is set, too; keep one of them")
            continue
        try:
            texts[name] = Path(value).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            mistakes.append(f"E005 {variable}: cannot read {value!r} ({type(error).__name__}); name a readable file")
    return texts, mistakes
