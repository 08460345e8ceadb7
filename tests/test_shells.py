"""What is each shell's own: mounting, roots, replies without bodies, servers that hide things, colours."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any
from wsgiref.validate import validator

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from logout_middleware import BlockingLogout, ConfigurationError, Logout
from logout_middleware.asgi import LogoutEndpoints as AsgiEndpoints
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.colour import finish, run_blocking
from logout_middleware.flows.known_headers import Known, KnownHeaders
from logout_middleware.rules.http import Response
from logout_middleware.rules.identity import Identity
from logout_middleware.wsgi import LogoutEndpoints as WsgiEndpoints
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware
from logout_middleware.wsgi import send_response

MEMORY: dict[str, Any] = {"store": "memory://", "allow_unsafe_store": True, "audit": "off", "cookies": "sid:opaque"}
OWN_PAGE = {"Sec-Fetch-Site": "same-origin", "Cookie": "sid=opaque-value"}


def test_endpoints_can_be_mounted_by_hand_and_share_a_logout_asgi() -> None:
    """The guard in front and the endpoints inside are one."""
    logout = Logout(**MEMORY)
    routes = [Mount("/account", AsgiEndpoints(logout)), Route("/", lambda request: PlainTextResponse("home"))]
    client = TestClient(AsgiMiddleware(Starlette(routes=routes), logout=logout))

    page = client.get("/account/logout", headers=OWN_PAGE)
    assert page.status_code == 200
    assert 'action="/account/logout"' in page.text
    assert client.post("/account/logout", headers=OWN_PAGE).json()["revoked"]["tokens"] == 1
    assert client.get("/account/other").status_code == 404
    assert client.get("/", headers={"Cookie": "sid=opaque-value"}).headers["set-cookie"].startswith("sid=;")


def test_endpoints_can_be_mounted_by_hand_and_share_a_logout_wsgi() -> None:
    """The guard in front and the endpoints inside are one."""
    logout = BlockingLogout(**MEMORY)
    inside = DispatcherMiddleware(Flask("inner").wsgi_app, {"/account": WsgiEndpoints(logout)})
    client = Client(WsgiMiddleware(inside, logout=logout), use_cookies=False)

    page = client.get("/account/logout", headers=OWN_PAGE)
    assert page.status_code == 200
    assert 'action="/account/logout"' in page.text
    assert client.post("/account/logout", headers=OWN_PAGE).get_json()["revoked"]["tokens"] == 1
    assert client.get("/account/other").status_code == 404
    answer = client.get("/", headers={"Cookie": "sid=opaque-value"})
    assert answer.headers["set-cookie"].startswith("sid=;")


def test_mounted_endpoints_do_not_serve_sockets() -> None:
    """They say so, instead of hanging."""
    endpoints = AsgiEndpoints(**MEMORY)

    with pytest.raises(ConfigurationError, match="E008"):
        run_blocking(endpoints({"type": "websocket"}, None, None))  # type: ignore[arg-type]


def test_an_application_below_a_root_asks_and_returns_below_it() -> None:
    """The page's form and its way back both stay below the root that a proxy put the application at."""
    client = TestClient(AsgiMiddleware(Starlette(), **MEMORY), root_path="/shop")

    page = client.get("/shop/auth/logout", headers={"Cookie": "sid=opaque-value"}).text

    assert 'action="/shop/auth/logout"' in page
    assert 'href="/shop/"' in page


@pytest.mark.parametrize("status", [200, 204, 303])
def test_an_answer_of_ours_is_never_an_empty_list(status: int) -> None:
    """Some servers send the status only with the first chunk (R2)."""
    started: list[Any] = []

    body = send_response(Response(status), {"REQUEST_METHOD": "GET"}, lambda *given: started.append(given))

    assert list(body) == [b""]
    assert started[0][0].startswith(str(status))


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/auth/logout", {}),
        ("POST", "/auth/logout", {"Prefer": "return=minimal"}),
        ("POST", "/auth/logout", {"Accept": "text/html"}),
        ("GET", "/auth/logout", {}),
        ("HEAD", "/auth/logout", {}),
        ("DELETE", "/auth/logout", {}),
        ("OPTIONS", "/auth/logout", {}),
        ("GET", "/nowhere", {"Authorization": "Bearer a b"}),
    ],
)
def test_wsgiref_validates_every_kind_of_answer_inside_and_outside(
    method: str, path: str, headers: dict[str, str]
) -> None:
    """PEP 3333 to the letter."""
    app = validator(WsgiMiddleware(validator(Flask("inner").wsgi_app), **MEMORY))

    with Client(app, use_cookies=False).open(path, method=method, headers=OWN_PAGE | headers) as answer:
        assert answer.status_code < 500
        assert method != "HEAD" or answer.get_data() == b""


def test_mod_wsgi_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """It hides Authorization unless told not to, and then a revoked bearer would pass unseen (R7)."""
    client = Client(WsgiMiddleware(Flask("inner").wsgi_app, **MEMORY))

    for _ in range(3):
        client.get("/", environ_overrides={"mod_wsgi.version": (4, 9, 4)})

    assert len([record for record in caplog.records if "WSGIPassAuthorization On" in record.message]) == 1


def test_a_memory_store_is_loud_when_the_server_says_it_has_more_processes(caplog: pytest.LogCaptureFixture) -> None:
    """The environ of a request tells."""
    client = Client(WsgiMiddleware(Flask("inner").wsgi_app, **MEMORY, scope="others"), use_cookies=False)

    client.get("/")
    assert "more than one worker" not in caplog.text
    client.get("/", multiprocess=True)

    assert "the server says wsgi.multiprocess" in caplog.text


def test_a_failed_start_is_logged_even_if_the_server_swallows_it(caplog: pytest.LogCaptureFixture) -> None:
    """FastAPI builds its middleware inside lifespan, and some servers go on without."""
    with pytest.raises(ConfigurationError):
        AsgiMiddleware(Starlette(), scope="all")

    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    assert "E002 LOGOUT_SCOPE: 'all' is not one of local, others, global" in caplog.text


def test_a_flow_that_suspends_on_the_blocking_side_is_named() -> None:
    """The traceback shows the await that needs a loop."""

    async def guilty() -> None:
        await asyncio.sleep(0)

    async def swallowing() -> None:
        while True:
            try:
                await asyncio.sleep(0)
            except RuntimeError:
                continue

    async def dealing() -> str:
        try:
            await asyncio.sleep(0)
        except RuntimeError:
            return "dealt with"
        return "not thrown into"

    with pytest.raises(RuntimeError, match="needs an event loop") as caught:
        run_blocking(guilty())
    assert "guilty" in {entry.name for entry in caught.traceback}
    with pytest.raises(RuntimeError, match="swallowed the error"):
        run_blocking(swallowing())
    assert run_blocking(dealing()) == "dealt with"


def test_a_client_that_hangs_up_cannot_undo_its_own_logout() -> None:
    """The flow goes on to its end when the request's task is cancelled."""
    ended: list[str] = []

    async def main() -> None:
        going = asyncio.Event()
        may_end = asyncio.Event()

        async def flow() -> None:
            going.set()
            await may_end.wait()
            ended.append("durable")

        request = asyncio.create_task(finish(flow()))
        await going.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        may_end.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())

    assert ended == ["durable"]


def test_headers_are_forgotten_by_the_generation_and_used_ones_stay() -> None:
    """Memory is bounded; who comes again stays known."""
    headers = KnownHeaders(size=2)
    entries = {name: Known(float(number), (name.encode(),), None) for number, name in enumerate("abcde")}
    for name in "abc":
        headers.remember(name, entries[name])

    assert len(headers) == 3
    assert headers.ready == {"c": entries["c"]}
    assert headers.recall("a") is not None
    headers.remember("d", entries["d"])
    assert headers.recall("b") is None
    assert headers.recall("a") is not None
    headers.forget_all()
    assert headers.recall("a") is None
    assert len(headers) == 0


def test_a_header_that_was_packed_away_says_what_it_said() -> None:
    """Whom it names, until when, and that the store must be asked again."""
    ann = Identity(b"digest", b"own", user_id="ann", session_id="s1", issued_at=5.5, verified=True, keys=(b"k1", b"k2"))
    headers = KnownHeaders(ready_size=1)
    headers.remember("a", Known(9.5, ann.keys, ann, (ann,), not_after=9.5, passed_at=7))
    headers.remember("b", Known(1.0, (), None))

    found = headers.recall("a")

    assert found is not None
    assert (found.valid_until, found.keys, found.identity, found.identities) == (9.5, ann.keys, ann, (ann,))
    assert (found.not_after, found.passed_at) == (float("-inf"), -1)


def test_the_garbage_collector_does_not_visit_what_is_packed_away() -> None:
    """Tens of thousands of remembered logins must not make its pauses longer."""
    headers = KnownHeaders(ready_size=1)
    for number in range(2000):
        ann = Identity(b"digest", b"own", user_id=f"user {number}", keys=(b"k1", f"{number}".encode()))
        headers.remember(f"{number}", Known(9.5, ann.keys, ann, (ann,)))
    for _ in range(3):  # a tuple is let go once those in it are
        gc.collect()

    before = len(gc.get_objects())
    headers.forget_all()
    gc.collect()

    assert before - len(gc.get_objects()) < 100
