"""The rules of the house: who may import whom, what starting up may cost, what the public names are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import logout_middleware

ROOT = Path(logout_middleware.__file__).parent
# Each may import what stands above it, and its own kind.
LAYERS = (
    "errors", "environment", "rules", "values", "issuers", "texts", "presets", "settings", "events", "stores",
    "stores.*", "flows", "endpoints", "paths", "keys", "outbound", "providers", "colour", "chores", "opening", "daemon",
    "watching", "polling", "parts", "logout", "client", "sharing", "asgi_messages", "asgi_live", "asgi_events",
    "asgi_tokens", "asgi", "wsgi_live", "wsgi_tokens", "wsgi", "service_app", "cli", "testing_facts", "testing",
    "__main__", "__init__",
)  # fmt: skip
LOOPS_ALLOWED = {
    "chores.py",
    "asgi.py",
    "asgi_events.py",
    "asgi_live.py",
    "colour.py",
    "testing.py",
    "daemon.py",
    "replica.py",
    "journal.py",
    "outbound.py",
    "providers.py",
    "redis.py",
    "redis_batches.py",
    "redis_lines.py",
}


def layer_of(module: Path) -> str:
    top, *rest = module.relative_to(ROOT).with_suffix("").parts
    return "stores.*" if top == "stores" and rest != ["__init__"] else top


def imports(module: Path) -> set[str]:
    """The package's own modules that this one imports, whenever it does."""
    found = set()
    package = module.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = (node.module or "").split(".") if node.module else []
            targets = [(*base, *names)] if names or base else []
            if not names:
                targets = [(*base, alias.name) for alias in node.names]
            for target in targets:
                path = ROOT.joinpath(*target)
                found.add(layer_of(path / "__init__.py" if path.is_dir() else path.with_suffix(".py")))
    return found


def test_modules_import_only_what_stands_above_them() -> None:
    """A stranger reads the package from the top and never meets an unknown name."""
    wrong = [
        f"{module.relative_to(ROOT)} imports {used}"
        for module in ROOT.rglob("*.py")
        for used in imports(module)
        if layer_of(module) not in ("__init__", used) and LAYERS.index(used) > LAYERS.index(layer_of(module))
    ]

    assert wrong == []


def test_only_the_colour_module_knows_event_loops_and_threads() -> None:
    """Flows run without a loop; a loop or a thread that hides in one of them would break WSGI."""
    wrong = []
    for module in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if {"asyncio", "anyio"} & {name.partition(".")[0] for name in names}:
                wrong.append(module.name)
            if isinstance(node, ast.Attribute) and node.attr == "Thread":
                wrong.append(module.name)

    assert set(wrong) <= LOOPS_ALLOWED


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import logout_middleware` must not cost an application its start."""
    heavy = ["jwt", "redis", "sqlalchemy", "asyncio", "http.client", "werkzeug", "itsdangerous", "cachetools"]
    code = f"import sys, logging, logout_middleware; print([m for m in {heavy} if m in sys.modules])"

    printed = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"


def test_the_public_names_are_what_all_says() -> None:
    """`__all__`, the lazy imports and reality agree."""
    for name in logout_middleware.__all__:
        assert getattr(logout_middleware, name).__name__ == name

    assert sorted(logout_middleware.__all__) == sorted(logout_middleware._HOMES)


def test_no_module_has_outgrown_its_first_sentence() -> None:
    """A module that is too long is two modules."""
    sizes = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in ROOT.rglob("*.py")}

    assert {name: size for name, size in sizes.items() if size > 420} == {}
