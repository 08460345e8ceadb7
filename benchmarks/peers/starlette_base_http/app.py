"""A BaseHTTPMiddleware that decodes the token and asks Redis.

https://www.starlette.dev/middleware/#basehttpmiddleware: the recipe of most answers on the Web.
"""

from __future__ import annotations

import os
from typing import Any

import jwt
import redis.asyncio
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...stacks import starlette_app
from ..recipe import PREFIX, claims_of, issue, prepare, revoke

__all__ = ["checked", "issue", "prepare", "revoke"]

_redis = redis.asyncio.from_url(os.environ["PEER_REDIS"])


class _Checks(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            try:
                claims = claims_of(text)
            except jwt.InvalidTokenError:
                return JSONResponse({"error": "the token is not valid"}, status_code=401)
            if await _redis.exists(PREFIX + claims["jti"]):
                return JSONResponse({"error": "the token was revoked"}, status_code=401)
            request.state.claims = claims
        return await call_next(request)


checked: Any = _Checks(starlette_app())
