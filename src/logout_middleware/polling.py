"""Asks transmitters for their security events, where they are polled rather than pushed (RFC 8936).

One thread in each process that serves requests; of all of them one at a time asks an issuer. What comes goes the way
of what is pushed (`endpoints/ssf.py`), and is acknowledged once it is durable; what this process could not say any
more comes again, and is known then.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .colour import run_blocking
from .daemon import Daemon
from .endpoints import ssf
from .endpoints.service import Service
from .errors import LogoutError, Refused, StoreError
from .flows.logout import Caller
from .issuers import Issuer
from .outbound import Fetched, Unreachable, fetch
from .rules.revocation import key_of

INTERVAL_SECONDS = 5.0
"""So often an issuer is asked, and so much later than by a push its events are in force."""
_TURN_SECONDS = 4.0
"""For so long nobody else asks it; a little less than the interval, or its clock would skip every other turn."""
AT_ONCE = 25
_MOST_ROUNDS = 40
"""An issuer that never says that it is done is left alone until its next turn."""

_log = logging.getLogger("logout_middleware")


@dataclass(slots=True)
class _Said:
    """What the issuer does not know yet: which events are dealt with, and which are refused and why."""

    ack: list[str] = field(default_factory=list)
    errors: dict[str, dict[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.ack or self.errors)

    def question(self) -> dict[str, Any]:
        """The body of the next request (RFC 8936 2.2)."""
        body: dict[str, Any] = {"maxEvents": AT_ONCE, "returnImmediately": True}
        return body | ({"ack": self.ack} if self.ack else {}) | ({"setErrs": self.errors} if self.errors else {})


class Poller(Daemon):
    """Polls these issuers. `open_parts` builds blocking parts for the thread, which closes them."""

    def __init__(
        self, issuers: Sequence[Issuer], open_parts: Callable[[], Any], *, fetch: Callable[..., Fetched] = fetch
    ) -> None:
        super().__init__("logout-middleware-poll", self._work_until_stopped)
        self._issuers, self._open, self._fetch = issuers, open_parts, fetch
        self._unsaid = {each.name: _Said() for each in issuers}
        self._troubled: set[str] = set()

    def _work_until_stopped(self) -> None:
        parts: Any = None
        try:
            while not self.ending.is_set():
                try:
                    parts = parts or self._open()
                    self.poll(parts.service)
                except Exception as error:  # noqa: BLE001 - the thread must outlive whatever happens
                    _log.error("security events cannot be polled now: %s", type(error).__name__)
                self.ending.wait(INTERVAL_SECONDS)
        finally:
            if parts is not None:
                with contextlib.suppress(LogoutError):
                    run_blocking(parts.close())

    def poll(self, service: Service) -> None:
        """Ask each issuer whose turn it is for all that it has."""
        for issuer in self._issuers:
            try:
                if self._is_our_turn(service, issuer):
                    self._poll(service, issuer)
            except Exception as error:  # noqa: BLE001 - one issuer's trouble must not keep the others' events away
                self._tell(issuer, error)
            else:
                self._troubled.discard(issuer.name)

    def _is_our_turn(self, service: Service, issuer: Issuer) -> bool:
        try:
            counted = run_blocking(service.store.hit(key_of("poll", issuer.name), _TURN_SECONDS))
        except StoreError:
            return True  # a journal may take what comes; several that ask do no harm
        return counted.count == 1

    def _poll(self, service: Service, issuer: Issuer) -> None:
        for _ in range(_MOST_ROUNDS):
            if self.ending.is_set():
                return
            sets = self._ask(issuer)
            said = self._unsaid[issuer.name] = _Said()
            away: StoreError | None = None
            for name, text in sets.items():
                try:
                    self._take(service, issuer, text)
                except Refused as refused:
                    said.errors[name] = {"err": refused.code, "description": refused.description}
                except StoreError as error:
                    away = error
                else:
                    said.ack.append(name)
            if away is not None:
                raise away
            if not said:
                return

    def _ask(self, issuer: Issuer) -> Mapping[str, Any]:
        stream = issuer.stream
        assert stream is not None  # noqa: S101 - said to the type checker: only such are polled
        fields = {"authorization": f"Bearer {stream.poll_token}"} if stream.poll_token is not None else {}
        question = self._unsaid[issuer.name].question()
        # An operator wrote this address himself, so it may be on this host; it was looked at with the settings.
        answer = self._fetch(stream.poll_url or "", json=question, headers=fields, private=True).json()
        sets = answer.get("sets", {})
        if not isinstance(sets, Mapping):
            raise Unreachable("the answer has no sets")
        return sets

    def _take(self, service: Service, issuer: Issuer, text: Any) -> None:
        if not isinstance(text, str):
            raise Refused(400, "invalid_request", "the event is not a token")
        try:
            run_blocking(ssf.take(service, text, service.providers[issuer.name], caller=Caller()))
        except Refused as refused:
            run_blocking(ssf.tell_refused(service, refused, Caller()))
            raise

    def _tell(self, issuer: Issuer, error: Exception) -> None:
        """Log it, once until it works again."""
        if issuer.name not in self._troubled:
            self._troubled.add(issuer.name)
            why = str(error) if isinstance(error, LogoutError) else type(error).__name__
            _log.error("%s: its security events cannot be polled, and are asked for again: %s", issuer.name, why)
