"""FastAPI Users with tokens in Redis.

https://fastapi-users.github.io/fastapi-users/latest/configuration/authentication/strategies/redis/
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import redis.asyncio
from fastapi_users.authentication import RedisStrategy

from ..fastapi_users_app import checked_app, prepare, with_users

__all__ = ["checked", "issue", "prepare", "revoke"]


def _redis() -> Any:
    return redis.asyncio.from_url(os.environ["PEER_REDIS"], decode_responses=True)


_shared = _redis()


def get_redis_strategy() -> RedisStrategy[Any, Any]:
    return RedisStrategy(_shared, lifetime_seconds=3600)


checked = checked_app(get_redis_strategy)


def issue(count: int) -> list[str]:
    async def write(users: Sequence[Any], session: Any) -> list[str]:
        async with _redis() as client:
            strategy = RedisStrategy(client, lifetime_seconds=3600)
            return [await strategy.write_token(users[number % len(users)]) for number in range(count)]

    return list(with_users(write))


def revoke(tokens: Sequence[str]) -> None:
    async def destroy(users: Sequence[Any], session: Any) -> None:
        async with _redis() as client:
            for text in tokens:
                await RedisStrategy(client).destroy_token(text, users[0])

    with_users(destroy)
