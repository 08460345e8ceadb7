"""WSGI's streamed answers, which end between two parts when their login does.

A thread that waits for the application's next part cannot be woken; whoever is cut ends with the next one.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from .colour import run_blocking
from .errors import StoreError
from .flows.sessions import Visit
from .parts import Parts
from .rules.identity import Identity

_LOOK_SECONDS = 1.0
_YOUNG_SECONDS = 0.1
"""A streamed body that is over sooner is no connection that anybody could cut."""


class Answer(Protocol):
    """What is known of the answer."""

    events: bool
    """Is it an event stream, which can take one more event?"""


class StreamedBody:
    """An application's body of these identities. `answer` knows, once it has started, if it is an event stream."""

    def __init__(
        self, parts: Parts, identities: tuple[Identity, ...], chunks: Iterable[bytes], *, answer: Answer
    ) -> None:
        self.identities = identities
        self._parts, self._chunks, self._answer = parts, chunks, answer
        self._iterator: Iterator[bytes] | None = None
        self._reason: str | None = None
        self._began, self._watched, self._over = time.monotonic(), False, False
        ends = [each.expires_at + parts.settings.jwt_leeway for each in identities if each.verified]
        self._look_again_at = 0.0
        self._expires_at = min(ends, default=float("inf"))

    def cut(self, reason: str) -> None:
        """See flows.live.Connection."""
        self._reason = reason

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._over:
            raise StopIteration
        if self._iterator is None:
            self._iterator = iter(self._chunks)
        chunk = next(self._iterator)
        if not self._watched:
            self._watch()
        if self._reason is None:
            self._look_at_time()
        if self._reason is None:
            return chunk
        self._over = True
        if self._answer.events:
            said = json.dumps({"reason": self._reason})
            return f"\n\nevent: auth.logout\ndata: {said}\n\n".encode("ascii")
        raise StopIteration

    def _watch(self) -> None:
        """Enter the index, if this is a connection that lasts; and ask about what it may have missed until then."""
        late = time.monotonic() - self._began >= _YOUNG_SECONDS
        if late or self._answer.events:
            self._watched = True
            self._parts.live.opened(self)
            self._parts.watcher.wake()
        if late:
            with contextlib.suppress(StoreError):
                if run_blocking(self._parts.guard.died(self.identities)):
                    self._reason = self._reason or "logout"

    def _look_at_time(self) -> None:
        """Notice that the credential expired, or, once a second, that its session's time is over."""
        now, registry = self._parts.clock(), self._parts.registry
        if now >= self._expires_at:
            self._reason = "expired"
        elif registry.timed and now >= self._look_again_at:
            self._look_again_at = now + _LOOK_SECONDS
            with contextlib.suppress(StoreError):
                for identity in self.identities:
                    ends = run_blocking(registry.ends_at(identity))
                    self._look_again_at = min(self._look_again_at, ends)
                    if ends <= now:
                        run_blocking(registry.seen(identity, Visit(passive=True)))  # which cuts this one, too

    def close(self) -> None:
        """The answer is over; for the server (PEP 3333)."""
        self._parts.live.closed(self)
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
