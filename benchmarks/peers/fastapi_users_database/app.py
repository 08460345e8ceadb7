"""FastAPI Users with tokens in a table.

https://fastapi-users.github.io/fastapi-users/latest/configuration/authentication/strategies/database/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import fastapi
from fastapi_users.authentication.strategy.db import DatabaseStrategy
from fastapi_users_db_sqlalchemy.access_token import SQLAlchemyAccessTokenDatabase

from ..fastapi_users_app import AccessToken, checked_app, get_token_db, prepare, with_users

__all__ = ["checked", "issue", "prepare", "revoke"]


def get_database_strategy(token_db: Annotated[Any, fastapi.Depends(get_token_db)]) -> DatabaseStrategy[Any, Any, Any]:
    return DatabaseStrategy(token_db, lifetime_seconds=3600)


checked = checked_app(get_database_strategy)


def _strategy(session: Any) -> DatabaseStrategy[Any, Any, Any]:
    return DatabaseStrategy(SQLAlchemyAccessTokenDatabase(session, AccessToken), lifetime_seconds=3600)


def issue(count: int) -> list[str]:
    async def write(users: Sequence[Any], session: Any) -> list[str]:
        strategy = _strategy(session)
        return [await strategy.write_token(users[number % len(users)]) for number in range(count)]

    return list(with_users(write))


def revoke(tokens: Sequence[str]) -> None:
    async def destroy(users: Sequence[Any], session: Any) -> None:
        for text in tokens:
            await _strategy(session).destroy_token(text, users[0])

    with_users(destroy)
