"""Addresses and forms that prove a user's intent: signed with LOGOUT_SECRET by itsdangerous.

A proof names the session it is for and when it ends; it proves nothing for another session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

LINK_SECONDS = 600.0


class Links:
    """Makes and checks signed proofs. Without a secret nothing can be made, and nothing is believed."""

    def __init__(self, secrets: Sequence[str], clock: Callable[[], float]) -> None:
        self._secrets, self._clock = list(secrets), clock

    @property
    def usable(self) -> bool:
        """Is a secret configured?"""
        return bool(self._secrets)

    def make(self, session: bytes, target: str | None) -> str:
        """A proof for this session and target, good for ten minutes."""
        return str(self._serializer().dumps([session.hex(), target, int(self._clock() + LINK_SECONDS)]))

    def proves(self, text: str | None, sessions: Collection[bytes], target: str | None) -> bool:
        """Is this a proof for one of these sessions and exactly this target, and not too old?"""
        from itsdangerous import BadData

        if not text or not self._secrets:
            return False
        try:
            proof: Any = self._serializer().loads(text)
        except BadData:
            return False
        session, for_target, ends = proof
        return bytes.fromhex(session) in sessions and for_target == target and self._clock() <= ends

    def _serializer(self) -> Any:
        from itsdangerous import URLSafeSerializer

        return URLSafeSerializer(self._secrets, salt="logout-middleware.intent")
