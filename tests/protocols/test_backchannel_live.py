"""BCL-25: what is open by a session ends with the provider's order for it, wherever and however late it arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from logout_middleware.asgi import LogoutMiddleware
from tests.test_live import Chat, Exchange, Rig, token

from .op import BACKCHANNEL, CLIENT, Op
from .op_server import OpServer


async def deliver(rig: Rig, logout: Any, text: str) -> int:
    """The status that the provider gets from the worker of this Logout object."""
    body = urlencode({"logout_token": text}).encode()
    scope = {
        "type": "http", "path": BACKCHANNEL, "method": "POST", "query_string": b"", "scheme": "https",
        "client": ("192.0.2.9", 5000), "headers": [(b"host", b"app.example.com"), (b"content-type",
        b"application/x-www-form-urlencoded"), (b"content-length", str(len(body)).encode())],
    }  # fmt: skip
    exchange = Exchange(LogoutMiddleware(Chat(), logout=logout), scope)
    exchange.inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
    await exchange.until(lambda: exchange.is_over)
    return int(exchange.sent[0]["status"])


async def opened(rig: Rig, sid: str) -> Exchange:
    """A WebSocket of alice's, accepted."""
    socket = rig.websocket(token("alice", sid=sid, jti=f"t-{sid}"))
    await socket.until(lambda: bool(socket.sent))
    assert socket.sent[0]["type"] == "websocket.accept"
    return socket


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Under an event loop."""
    asyncio.run(test())  # type: ignore[arg-type]  # a coroutine function


@pytest.mark.parametrize("worker", ["this", "another"])
def test_BCL_25_an_open_websocket_of_the_session_is_closed(tmp_path: Path, worker: str) -> None:
    """4401, whichever worker heard of it; the other session's goes on."""
    op = Op(time.time)

    async def test() -> None:
        rig = Rig(Chat(), store=f"sqlite:///{tmp_path / 'logout.db'}", **op.settings())
        hit, spared = await opened(rig, "s-1"), await opened(rig, "s-2")

        assert (
            await deliver(rig, rig.logout if worker == "this" else rig.elsewhere, op.logout_token("alice", "s-1"))
            == 200
        )

        await hit.until(lambda: hit.is_over)
        assert hit.sent[-1]["code"] == 4401
        assert not spared.is_over
        await rig.close()

    run(test)


@pytest.mark.parametrize("store", ["memory://", "sqlite"])
def test_BCL_25_an_order_that_had_to_wait_closes_it_too(tmp_path: Path, store: str) -> None:
    """The provider's keys were away when it came."""
    server = OpServer(time.time)

    async def test() -> None:
        where = f"sqlite:///{tmp_path / 'logout.db'}" if store == "sqlite" else store
        rig = Rig(Chat(), store=where, allow_unsafe_store=True, **server.settings(oidc_client_id=CLIENT))
        provider, ahead = rig.logout.providers[server.issuer], [0.0]
        provider._clock = lambda: time.monotonic() + ahead[0]
        hit = await opened(rig, "s-1")
        server.status = 500
        assert await deliver(rig, rig.logout, server.logout_token("alice", "s-1")) == 400
        assert await asyncio.to_thread(rig.logout.chores.tried)
        assert not hit.is_over

        server.status = 200
        for _ in range(20):  # the keys are fetched beside the first of them
            ahead[0] += 60.0
            rig.logout.chores.try_now()
            assert await asyncio.to_thread(rig.logout.chores.tried)
            await asyncio.to_thread(provider.fetched)
            if len(rig.logout.chores) == 0:
                break

        await hit.until(lambda: hit.is_over)
        assert hit.sent[-1]["code"] == 4401
        await rig.close()

    try:
        run(test)
    finally:
        server.close()
