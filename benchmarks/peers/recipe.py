"""What the recipes for Starlette share: PyJWT, and one key in Redis for each token that was logged out."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence

import jwt
import redis

from .. import traffic

PREFIX = "recipe:revoked:"


def prepare() -> None:
    """Nothing: Redis needs no tables."""


def issue(count: int) -> list[str]:
    """Tokens of the same make as ours."""
    return [traffic.token(uuid.uuid4().int) for _ in range(count)]


def revoke(tokens: Sequence[str]) -> None:
    """One key for each, for as long as the token lives."""
    with redis.Redis.from_url(os.environ["PEER_REDIS"]) as client:
        for text in tokens:
            client.set(PREFIX + claims_of(text)["jti"], "", ex=86400)


def claims_of(text: str) -> dict[str, str]:
    """The claims, verified."""
    return jwt.decode(
        text, traffic.SECRET, algorithms=["HS256"], issuer=traffic.ISSUER, options={"require": ["exp", "jti"]}
    )
