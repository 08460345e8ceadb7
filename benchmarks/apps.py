"""The applications that servers serve, by name: `starlette`, `flask`, `fastapi`, `drf`, and each with `_guarded`.

The guard is set up by LOGOUT_* variables, like anybody's. They are made when asked for, so that a worker imports only
its own framework.
"""

from __future__ import annotations

import importlib
from typing import Any

from .stacks import NothingAsgi, flask_app, starlette_app


def _fastapi() -> Any:
    fastapi = importlib.import_module("fastapi")
    app = fastapi.FastAPI()

    @app.get("/", response_class=importlib.import_module("fastapi.responses").PlainTextResponse)
    async def root() -> str:
        return "ok"

    return app


def _drf() -> Any:
    return importlib.import_module("benchmarks.peers.simplejwt_blacklist.app").bare


_MAKERS = {
    "starlette": starlette_app,
    "nothing": lambda: NothingAsgi(starlette_app()),
    "flask": flask_app,
    "fastapi": _fastapi,
    "drf": _drf,
}
_BLOCKING = ("flask", "drf")


def __getattr__(name: str) -> Any:
    framework, _, guarded = name.partition("_")
    if framework not in _MAKERS or guarded not in ("", "guarded"):
        raise AttributeError(name)
    app = _MAKERS[framework]()
    if not guarded:
        return app
    shell = importlib.import_module("logout_middleware." + ("wsgi" if framework in _BLOCKING else "asgi"))
    return shell.LogoutMiddleware(app)
