"""LogoutClient: what it says of the answers of a service, and what it does when there is none."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest

from logout_middleware.client import AsyncLogoutClient, LogoutClient
from logout_middleware.errors import ConfigurationError, LogoutError, Refused, StoreError

URL = "https://app.example.com"
Answering = Callable[[httpx2.Request], httpx2.Response]
Call = Callable[..., Any]


@pytest.fixture(params=["blocking", "asyncio"])
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method of a client of either colour, in front of a service that answers like this."""

    def run(name: str, token: str, answering: Answering, **given: Any) -> Any:
        transport = httpx2.MockTransport(answering)
        if request.param == "blocking":
            with LogoutClient(URL, "shop", "secret", http=httpx2.Client(transport=transport), **given) as client:
                return getattr(client, name)(token)

        async def asked() -> Any:
            http = httpx2.AsyncClient(transport=transport)
            async with AsyncLogoutClient(URL, "shop", "secret", http=http, **given) as client:
                return await getattr(client, name)(token)

        return asyncio.run(asked())

    return run


def says(status: int, body: bytes = b"", **headers: str) -> Answering:
    """A service that answers always the same."""
    return lambda request: httpx2.Response(status, content=body, headers=headers)


def test_a_request_is_what_the_standard_says(call: Call) -> None:
    """A form by POST, id and secret form-encoded inside Basic, below the prefix of the service."""
    seen: list[httpx2.Request] = []

    def answering(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    assert call("revoke_token", "a+b/c=", answering, prefix="/api/auth/") is True

    (request,) = seen
    assert (request.method, str(request.url)) == ("POST", f"{URL}/api/auth/revoke")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.read() == b"token=a%2Bb%2Fc%3D"
    assert request.headers["authorization"] == "Basic c2hvcDpzZWNyZXQ="


@pytest.mark.parametrize("status", [200, 202])
def test_a_revoked_token_is_true(call: Call, status: int) -> None:
    """202: dead on that host and durable, everywhere soon."""
    assert call("revoke_token", "x", says(status)) is True
    assert call("revokeToken", "x", says(status)) is True


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>log in to this network</html>"),
        (204, b""),
        (201, b""),
        (500, b""),
        (502, b"bad"),
        (503, b"{}"),
        (100 + 99, b""),
    ],
)
@pytest.mark.parametrize("name", ["revoke_token", "introspect_token"])
def test_any_other_answer_is_no_success_and_no_verdict(call: Call, name: str, status: int, body: bytes) -> None:
    """A page of a hotel's network has revoked nothing."""
    with pytest.raises(StoreError, match=str(status)):
        call(name, "x", says(status, body))


@pytest.mark.parametrize(
    "body",
    [b"", b"true", b"[]", b"{}", b'{"active":1}', b'{"active":"true"}', b'{"active":null}', b"\xff", b"[" * 9000],
)
def test_what_is_no_introspection_is_no_verdict(call: Call, body: bytes) -> None:
    """Not knowing is never "inactive"."""
    with pytest.raises(StoreError):
        call("introspect_token", "x", says(200, body))


def test_an_introspection_is_told_as_it_is(call: Call) -> None:
    """Active or not."""
    active = says(200, b'{"active":true,"sub":"ann"}')

    assert call("introspect_token", "x", active) == {"active": True, "sub": "ann"}
    assert call("introspectToken", "x", says(200, b'{"active":false}')) == {"active": False}


def test_a_client_that_the_service_does_not_know_is_the_operators_mistake(call: Call) -> None:
    """The message names the client, and not the secret."""
    with pytest.raises(ConfigurationError, match=r"E404.*'shop'") as caught:
        call("revoke_token", "x", says(401, b'{"error":"invalid_client"}'))

    assert "secret'" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, b'{"error":"invalid_request","error_description":"token is missing"}', "invalid_request"),
        (429, b'{"error":"rate_limited"}', "rate_limited"), (404, b"Not found", "refused"),
        (403, b'{"error":5}', "refused"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_with_its_code(call: Call, status: int, body: bytes, code: str) -> None:
    """Nothing was revoked."""
    with pytest.raises(Refused) as caught:
        call("revoke_token", "x", says(status, body))

    assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(call: Call, status: int) -> None:
    """It would carry the secret and the token somewhere else."""
    seen: list[str] = []

    def answering(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        return httpx2.Response(status, headers={"Location": "https://evil.example.com/"})

    with pytest.raises(ConfigurationError, match="E405"):
        call("revoke_token", "x", answering)

    assert seen == [f"{URL}/auth/revoke"]


@pytest.mark.parametrize("token", ["", None, 5, b"x", "\ud800"])
def test_what_is_no_token_is_refused_before_anything_is_sent(call: Call, token: Any) -> None:
    """The caller's own mistake."""
    with pytest.raises(Refused):
        call("revoke_token", token, lambda request: pytest.fail("it was sent"))


def test_an_answer_without_end_is_given_up(call: Call) -> None:
    """Nobody fills the memory of the caller."""
    with pytest.raises(StoreError):
        call("revoke_token", "x", says(200, b"x" * 1_000_000))


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example.com", "ftp://app.example.com", "app.example.com", "https://", "https://u:p@app.example.com",
        "https://app.example.com?x=1", "https://app.example.com#x", "http://localhost.example.com", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [LogoutClient, AsyncLogoutClient])
def test_a_secret_is_not_sent_where_others_can_read_it(url: str, kind: Any) -> None:
    """https, or http on this machine."""
    with pytest.raises(ConfigurationError, match="E403"):
        kind(url, "shop", "secret")


@pytest.mark.parametrize(
    "url", ["https://app.example.com/", "http://localhost:8000", "http://127.0.0.1:1/root", "http://[::1]:1"]
)
def test_these_addresses_are_taken(url: str) -> None:
    """With a slash at their end or without, with a root path or without."""
    LogoutClient(url, "shop", "secret").close()


@pytest.fixture
def silence() -> Iterator[str]:
    """A service that takes connections and then says one byte at a time, of an answer that never ends."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        ended = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with closing(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
                while not ended.wait(0.02):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        thread.join()


@pytest.mark.parametrize("colour", ["blocking", "asyncio"])
def test_the_time_limit_is_of_the_whole_call(silence: str, colour: str) -> None:
    """A service that goes on sending does not keep the caller."""
    started = time.monotonic()

    with pytest.raises(StoreError):
        revoke(silence, colour, seconds=0.2)

    assert time.monotonic() - started < 2


@pytest.mark.parametrize("colour", ["blocking", "asyncio"])
def test_a_service_that_is_not_there_is_a_store_error(colour: str) -> None:
    """The token may still be alive: try again."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]

    with pytest.raises(StoreError, match="cannot be reached") as caught:
        revoke(f"http://127.0.0.1:{port}", colour)

    assert "the-token" not in str(caught.value)


def revoke(url: str, colour: str, **given: Any) -> bool:
    """Revoke with a client of this colour that has its own connections."""
    if colour == "blocking":
        with LogoutClient(url, "shop", "secret", **given) as client:
            return client.revoke_token("the-token")

    async def asked() -> bool:
        async with AsyncLogoutClient(url, "shop", "secret", **given) as client:
            return await client.revoke_token("the-token")

    return asyncio.run(asked())


def test_connections_that_were_given_are_not_closed() -> None:
    """Who made them closes them."""
    http = httpx2.Client(transport=httpx2.MockTransport(says(200)))
    with LogoutClient(URL, "shop", "secret", http=http):
        pass

    assert not http.is_closed
    own = LogoutClient(URL, "shop", "secret")
    own.close()
    assert own.inner._http.is_closed
    http.close()


def test_without_httpx2_the_message_says_what_to_install() -> None:
    """The extra `http`; and importing the module alone needs nothing."""
    code = (
        "import sys; sys.modules['httpx2'] = None\n"
        "from logout_middleware.client import LogoutClient\n"
        "try: LogoutClient('https://app.example.com', 'a', 'b')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.startswith("ConfigurationError E406")
    assert "logout-middleware[http]" in printed


def test_every_error_is_one_of_ours(call: Call) -> None:
    """`except LogoutError` is enough."""
    for status in range(200, 600):
        if status in (200, 202):
            continue
        with pytest.raises(LogoutError):
            call("revoke_token", "x", says(status))
