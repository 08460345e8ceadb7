"""What both shells are wired to: the Logout that a middleware was given or shares, and its table of paths."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from .endpoints import prefixes_below, routes
from .errors import ConfigurationError
from .logout import BlockingLogout, Logout
from .parts import Parts
from .paths import lay_out
from .settings import LogoutSettings
from .stores.forks import begin_anew_after_forks
from .values import TokenPath

App = TypeVar("App")

_log = logging.getLogger("logout_middleware")
_shared: weakref.WeakSet[Logout] = weakref.WeakSet()
_sharing = threading.Lock()


def shared(settings: LogoutSettings, *, blocking: bool) -> Logout:
    """The Logout of these settings in this process: two middlewares of one application are one (contract 6)."""
    with _sharing:
        for existing in _shared:
            if existing.settings == settings and existing.blocking == blocking and not existing.closed:
                return existing
        made = Logout(settings, blocking=blocking)
        _shared.add(made)
        return made


def for_middleware(
    logout: Logout | BlockingLogout | None, settings: LogoutSettings | None, *, blocking: bool, given: dict[str, Any]
) -> Logout:
    """The Logout that a middleware or mounted endpoints work with, from whatever of the three it was given."""
    try:
        return _chosen(logout, settings, blocking=blocking, given=given)
    except ConfigurationError as error:
        # Starlette and FastAPI build middleware inside lifespan, where some servers swallow what is raised.
        _log.critical("the logout middleware cannot start:\n%s", error)
        raise


def _chosen(
    logout: Logout | BlockingLogout | None, settings: LogoutSettings | None, *, blocking: bool, given: dict[str, Any]
) -> Logout:
    if logout is None:
        if settings is not None and given:
            raise ConfigurationError("E006 settings: give settings= or keywords, not both")
        return shared(settings or LogoutSettings.load(**given), blocking=blocking)
    if settings is not None or given:
        raise ConfigurationError("E006 settings: the Logout that is given has its settings already; give it alone")
    inner = logout.inner if isinstance(logout, BlockingLogout) else logout
    if inner.blocking != blocking:
        wanted, side = ("BlockingLogout", "WSGI") if blocking else ("Logout", "ASGI")
        raise ConfigurationError(f"E007 logout: {side} needs a {wanted}; give one, or its settings")
    return inner


V = TypeVar("V")


class FirstLook(dict[str, V]):
    """A table of paths that calls `begin` when it is looked into.

    A middleware is often made before its server forks, and a thread would not be there in the children.
    """

    def __init__(self, table: Mapping[str, V], begin: Callable[[], None]) -> None:
        super().__init__(table)
        self._begin = begin

    def get(self, key: str, default: Any = None) -> Any:
        """See dict.get."""
        self._begin()
        return super().get(key, default)


def waking(table: Mapping[str, V], parts: Parts) -> Mapping[str, V]:
    """The table, and whoever looks into it has the streams of security events polled, if there are any to poll."""
    return table if parts.poller is None else FirstLook(table, parts.poller.wake)


class Shell(Generic[App]):
    """The constructor of both middlewares, and what each request looks at, ready to hand.

    Everything comes from LOGOUT_* variables, or `settings`, or settings as keywords, or a shared `logout`.
    """

    blocking: ClassVar[bool]

    def __init__(
        self, app: App, *, settings: LogoutSettings | None = None, logout: Logout | BlockingLogout | None = None,
        **given: Any,
    ) -> None:  # fmt: skip
        self.app = app
        self.logout = parts = for_middleware(logout, settings, blocking=self.blocking, given=given)
        chosen = parts.settings
        token_paths = chosen.token_requests + chosen.token_responses
        self._paths = lay_out(routes(parts.service, chosen.prefix), token_paths, chosen.exempt_paths)
        self._special, self._guard = self._paths.special, parts.guard
        if parts.poller is not None:
            self.begin_anew()
            begin_anew_after_forks(self)
        self._seen_alive = parts.guard.seen_alive
        # Paths of which a part is a value; an ordinary GET is compared with few of them, or none.
        but_get, every = prefixes_below(parts.service, chosen.prefix)
        self._below, self._below_for_get = but_get + every, every
        # Even at the answer of a plain GET, which is seldom a login.
        self._looks_at_all = parts.sessions.needed or chosen.on_browser_close
        self._answers = parts.answers
        self._exempts = bool(chosen.exempt_paths)

    def begin_anew(self) -> None:
        """Look for the poller with the next request: before the first, and in a child of a process that had some."""
        self._special = FirstLook(self._paths.special, self._begin)

    def _begin(self) -> None:
        """This process serves requests, so it polls, too. From now on no request pays for that."""
        self._special = self._paths.special
        if self.logout.poller is not None:
            self.logout.poller.wake()

    def _token_fields(self, here: Sequence[TokenPath]) -> tuple[set[str], set[str]]:
        """The fields that carry tokens in the request and in the answer of these paths."""
        chosen = self.logout.settings
        requested = {name for each in here if each in chosen.token_requests for name in each.fields}
        return requested, {name for each in here if each in chosen.token_responses for name in each.fields}
