"""Logging out that works: one line in front of any ASGI or WSGI application.

    from logout_middleware.asgi import LogoutMiddleware    # Starlette, FastAPI, Litestar, Quart, Django ASGI …
    from logout_middleware.wsgi import LogoutMiddleware    # Flask, Django WSGI, Pyramid, Bottle, Falcon …

The map of the package, in reading order. A request: `asgi.py` or `wsgi.py` (the shells) → `flows/guard.py` →
`rules/` → `stores/`. A logout: a shell → `endpoints/logout.py` or `endpoints/redirect.py` → `flows/logout.py` →
`stores/`. What an answer hands out is looked at in `flows/answers.py`; who belongs to one login is in
`flows/bindings.py`, who is logged in where in `flows/sessions.py`. Open connections are in `flows/live.py`,
`asgi_live.py` and `wsgi_live.py`; `watching.py` hears of other workers' logouts for them. `settings.py` has every
LOGOUT_* variable; `parts.py` builds everything; `logout.py` is what code calls. Registered applications and operators
come by `endpoints/oauth.py` and `endpoints/admin.py`, and give the same orders as code (`flows/orders.py`); `client.py`
is for applications that share no store. Other parties push logouts (`endpoints/push.py`, `flows/pushed.py`), or
`polling.py` asks for them.
A store is found and stacked in `opening.py`: journal → replica → breaker → SQLite, Redis, SQL server or memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ConfigurationError, LogoutError, Refused, StoreError
    from .events import LogoutEvent
    from .logout import BlockingLogout, Logout
    from .rules.identity import Identity
    from .settings import LogoutSettings

__version__ = "0.1.0"

__all__ = [
    "BlockingLogout",
    "ConfigurationError",
    "Identity",
    "Logout",
    "LogoutError",
    "LogoutEvent",
    "LogoutSettings",
    "Refused",
    "StoreError",
]

_HOMES = {
    "BlockingLogout": "logout", "ConfigurationError": "errors", "Identity": "rules.identity", "Logout": "logout",
    "LogoutError": "errors", "LogoutEvent": "events", "LogoutSettings": "settings", "Refused": "errors",
    "StoreError": "errors",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    # Imported when first used: `import logout_middleware` must not cost an application's start (PEP 562).
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
