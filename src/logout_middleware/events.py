"""What is told to the audit log and to the application's callbacks.

One `LogoutEvent` for each logout, each refused target, each rate limit reached, each store failure. Events
name keys as digests; a token, cookie value or secret is never in one.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

audit_log = logging.getLogger("logout_middleware.audit")
_log = logging.getLogger("logout_middleware")


@dataclass(frozen=True, slots=True)
class LogoutEvent:
    """One thing worth an audit record.

    `kind`: logout · session_ended (each session that one ended, for callbacks only) · target_refused · token_refused ·
    scope_refused · rate_limited · quota_exceeded · token_ignored · body_ignored · store_failed · store_adopted ·
    would_refuse · client_refused (no client, or a wrong secret) · operator_refused (a wrong admin key) · push_refused
    (of another party) · push_unmapped (it names nobody that we know) · push_noted (it asks for no logout) ·
    stream_updated.
    `outcome`: done · pending (in this host's journal) · nothing · refused · failed · failed_open · failed_closed.
    `keys`: hex digests. `time`: seconds since 1970.
    """

    kind: str
    outcome: str
    time: float
    keys: tuple[str, ...] = ()
    user: str | None = None
    session: str | None = None
    scope: str | None = None
    reason: str | None = None
    client_address: str | None = None
    user_agent: str | None = None
    detail: str | None = None


Callback = Callable[[LogoutEvent], object]
Settle = Callable[[Awaitable[object]], Awaitable[None]]

_LEVELS = {
    "provider_unreachable": logging.WARNING,
    "session_of_another": logging.WARNING,
    "store_adopted": logging.WARNING,
    "rate_limited": logging.WARNING,
    "quota_exceeded": logging.WARNING,
    "push_unmapped": logging.WARNING,
}


class Events:
    """The listeners of one Logout object: the audit log and the callbacks. Neither can break a request."""

    def __init__(self, audit: str = "json") -> None:
        self._audit = audit
        self._callbacks: list[Callback] = []
        self._settle: Settle = _settle

    def elsewhere(self, settle: Settle) -> Events:
        """The same listeners for a thread without an event loop, which has what coroutine functions return settled."""
        other = copy(self)
        other._settle = settle
        return other

    def subscribe(self, callback: Callback) -> None:
        """Call this with every event from now on; it may be a function or a coroutine function."""
        self._callbacks.append(callback)

    async def emit(self, event: LogoutEvent) -> None:
        """Tell everybody. What a callback raises is logged and goes no further."""
        # The logout that ended a session is in the log already; this is for the application alone.
        if self._audit != "off" and event.kind != "session_ended":
            audit_log.log(
                _level(event), as_json(event) if self._audit == "json" else as_text(event), extra={"event": event}
            )
        for callback in self._callbacks:
            try:
                answer = callback(event)
                if inspect.isawaitable(answer):
                    await self._settle(answer)
            # A listener is the application's code: whatever it raises must not undo or fail a logout.
            except Exception:  # noqa: BLE001 - see above
                _log.exception("a logout event callback failed on %s", event.kind)


def _level(event: LogoutEvent) -> int:
    """An error is what an operator must mend, a warning what somebody tried."""
    if event.kind.endswith("_failed"):
        return logging.ERROR
    if event.kind.endswith("_refused") or event.outcome == "refused":
        return logging.WARNING
    return _LEVELS.get(event.kind, logging.INFO)


async def _settle(answer: Awaitable[object]) -> None:
    await answer


async def settle_and_log(answer: Awaitable[object]) -> None:
    """The same, for whoever does not wait for it."""
    try:
        await answer
    # See Events.emit.
    except Exception:  # noqa: BLE001
        _log.exception("a logout event callback failed")


def _members(event: LogoutEvent) -> dict[str, object]:
    members = {name: value for name, value in asdict(event).items() if value not in (None, ())}
    members["time"] = timestamp(event.time)
    return members


def as_json(event: LogoutEvent) -> str:
    """One JSON line; every character outside ASCII is escaped, so that no name can forge a second line."""
    return json.dumps(_members(event), separators=(",", ":"))


def as_text(event: LogoutEvent) -> str:
    """`name=value` pairs; values as JSON texts, for the same reason."""
    return " ".join(f"{name}={json.dumps(value)}" for name, value in _members(event).items())


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC, e.g. 2026-11-20T10:29:00Z."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
