"""What both set-ups of FastAPI Users share: the user table in a database, a bearer transport, a protected route.

https://fastapi-users.github.io/fastapi-users/latest/configuration/full-example/ (SQLAlchemy)
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any

import fastapi
import fastapi_users
from fastapi.responses import PlainTextResponse
from fastapi_users.authentication import AuthenticationBackend, BearerTransport, Strategy
from fastapi_users_db_sqlalchemy import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users_db_sqlalchemy.access_token import SQLAlchemyAccessTokenDatabase, SQLAlchemyBaseAccessTokenTableUUID
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

_USERS = 10


class Base(DeclarativeBase):
    """The tables of this application."""


class User(SQLAlchemyBaseUserTableUUID, Base):
    """A user, as FastAPI Users has it."""


class AccessToken(SQLAlchemyBaseAccessTokenTableUUID, Base):
    """A token that was given out and not taken back."""


engine = create_async_engine(os.environ["PEER_DATABASE"])
session_maker = async_sessionmaker(engine, expire_on_commit=False)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with session_maker() as session:
        yield session


async def get_user_db(session: Annotated[AsyncSession, fastapi.Depends(get_session)]) -> AsyncIterator[Any]:
    yield SQLAlchemyUserDatabase(session, User)


async def get_token_db(session: Annotated[AsyncSession, fastapi.Depends(get_session)]) -> AsyncIterator[Any]:
    yield SQLAlchemyAccessTokenDatabase(session, AccessToken)


class UserManager(fastapi_users.UUIDIDMixin, fastapi_users.BaseUserManager[User, uuid.UUID]):
    """Nothing of it is used but `get`."""


async def get_user_manager(user_db: Annotated[Any, fastapi.Depends(get_user_db)]) -> AsyncIterator[UserManager]:
    yield UserManager(user_db)


def checked_app(get_strategy: Callable[..., Strategy[User, uuid.UUID]]) -> fastapi.FastAPI:
    """The application whose route needs an active user."""
    backend = AuthenticationBackend("bench", BearerTransport(tokenUrl="login"), get_strategy)
    users = fastapi_users.FastAPIUsers[User, uuid.UUID](get_user_manager, [backend])
    current_user = users.current_user(active=True)
    app = fastapi.FastAPI()

    @app.get("/", response_class=PlainTextResponse)
    async def root(user: User = fastapi.Depends(current_user)) -> str:  # noqa: B008 - as its documentation has it
        return "ok"

    return app


def prepare() -> None:
    """Make the tables and a few users."""

    async def make() -> None:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with session_maker() as session:
            for number in range(_USERS):
                session.add(User(email=f"user-{number}@example.com", hashed_password="none"))
            await session.commit()
        await engine.dispose()

    asyncio.run(make())


def with_users(work: Callable[[Sequence[User], AsyncSession], Any]) -> Any:
    """What this coroutine function returns, given the users and a session."""

    async def call() -> Any:
        import sqlalchemy

        async with session_maker() as session:
            users = (await session.execute(sqlalchemy.select(User))).scalars().all()
            result = await work(users, session)
        await engine.dispose()
        return result

    return asyncio.run(call())
