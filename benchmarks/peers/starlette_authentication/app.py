"""Starlette's AuthenticationMiddleware with a backend that decodes the token and asks Redis.

https://www.starlette.dev/authentication/ with PyJWT's and redis-py's first example in it.
"""

from __future__ import annotations

import os
from typing import Any

import jwt
import redis.asyncio
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from ...stacks import starlette_app
from ..recipe import PREFIX, claims_of, issue, prepare, revoke

__all__ = ["checked", "issue", "prepare", "revoke"]

_redis = redis.asyncio.from_url(os.environ["PEER_REDIS"])


class _Backend(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        header = conn.headers.get("authorization")
        if header is None:
            return None
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            claims = claims_of(text)
        except jwt.InvalidTokenError as error:
            raise AuthenticationError("the token is not valid") from error
        if await _redis.exists(PREFIX + claims["jti"]):
            raise AuthenticationError("the token was revoked")
        return AuthCredentials(["authenticated"]), SimpleUser(claims["sub"])


def _refuse(conn: HTTPConnection, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=401)


checked: Any = AuthenticationMiddleware(starlette_app(), backend=_Backend(), on_error=_refuse)
