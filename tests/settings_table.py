"""The settings table of the README, made from the settings themselves: `python -m tests.settings_table` writes it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from logout_middleware.environment import PREFIX
from logout_middleware.rules.cookies import GuardedCookie
from logout_middleware.settings import LogoutSettings, default_of
from logout_middleware.values import RateLimit

README = Path(__file__).parent.parent / "README.md"
_BLOCK = re.compile(r"(<!-- settings:.*?-->\n).*?(<!-- /settings -->)", re.DOTALL)


def table() -> str:
    """One row for each variable that this version has."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for each in fields(LogoutSettings):
        default = _shown(default_of(each), each.name)
        rows.append(f"| `{PREFIX}{each.name.upper()}` | {default} | {each.metadata['doc']} |")
    return "\n".join(rows) + "\n"


def _shown(default: object, name: str) -> str:
    if default in (None, (), {}, ""):
        return "–"
    if name == "max_lifetime":
        return "`400d`"
    if isinstance(default, RateLimit):
        return f"`{default.count} per {int(default.window // 60)} minutes`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{default:g}`"
    if isinstance(default, tuple):
        shown = [f"{item.name}:{item.format}" if isinstance(item, GuardedCookie) else str(item) for item in default]
        return f"`{','.join(shown)}`"
    return f"`{default}`"


def with_table(text: str) -> str:
    """The README with the table as it should be."""
    return _BLOCK.sub(lambda match: match[1] + table() + match[2], text)


if __name__ == "__main__":
    README.write_text(with_table(README.read_text("utf-8")), "utf-8")
