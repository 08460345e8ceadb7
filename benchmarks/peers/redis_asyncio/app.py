"""The strongest rival for a check with every request: tokens that were verified are remembered, as ours are, and
redis.asyncio is asked for token, session and user in one EXISTS.
"""

from __future__ import annotations

import os
import time
from typing import Any

import jwt
import redis.asyncio
from starlette.responses import JSONResponse

from ...stacks import starlette_app
from ..recipe import PREFIX, claims_of, issue, prepare, revoke

__all__ = ["checked", "issue", "prepare", "revoke"]

_redis = redis.asyncio.from_url(os.environ["PEER_REDIS"])


class _Checks:
    def __init__(self, app: Any) -> None:
        self.app = app
        self.verified: dict[bytes, tuple[float, tuple[str, ...]]] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        value = next((value for name, value in scope.get("headers", ()) if name == b"authorization"), None)
        if value is None:
            return await self.app(scope, receive, send)
        known = self.verified.get(value)
        if known is None:
            try:
                claims = claims_of(value[7:].decode())
            except (jwt.InvalidTokenError, UnicodeDecodeError):
                return await JSONResponse({"error": "the token is not valid"}, 401)(scope, receive, send)
            names = tuple(PREFIX + claims[each] for each in ("jti", "sid", "sub"))
            known = self.verified[value] = (float(claims["exp"]), names)
        if time.time() >= known[0] or await _redis.exists(*known[1]):
            return await JSONResponse({"error": "the token is dead"}, 401)(scope, receive, send)
        await self.app(scope, receive, send)


checked: Any = _Checks(starlette_app())
