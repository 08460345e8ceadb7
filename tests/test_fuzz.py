"""Hostile input at random: never a 5xx, never an exception out of the middleware, never a credential let in by noise.

Hypothesis prints the request that breaks the rule, and its seed.
"""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logout_middleware import BlockingLogout, Logout, LogoutSettings
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.colour import run_blocking
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware

KEY = "k" * 32
DEAD = jwt.encode({"sub": "ann", "sid": "s1", "jti": "dead", "iat": 1_790_000_000, "exp": 4_000_000_000}, KEY)
SETTINGS = LogoutSettings.load(
    {}, env_file=None, store="memory://", allow_unsafe_store=True, audit="off", jwt_key=KEY, jwt_algorithms="HS256",
    cookies="session:auto, sid:opaque", cookie_secret="c" * 32, secret="s" * 32, aliases="/logout",
    token_requests="POST /refresh: refresh_token", redirect_allow="https://app.example.com/bye", rate_limit="off",
    exempt_paths="/static/", max_lifetime="4000d",
)  # fmt: skip

latin = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=30)
pieces = st.sampled_from(
    ["Bearer ", "bearer", "DPoP ", "Basic ", DEAD, DEAD + "=", "session=", "sid=", "; ", ";", ",", '"', "\\", "a.b.c",
     "eyJ", "%41", "\xa0", "x", "="]
)  # fmt: skip
field = st.lists(pieces | latin, max_size=6).map("".join)
members = st.dictionaries(
    st.sampled_from(["refresh_token", "refreshToken", "scope", "redirect_uri", "state", "client_id", "intent", "x"]),
    st.none() | st.booleans() | st.integers() | latin | st.sampled_from([DEAD, "global", "https://app.example.com/bye"])
    | st.lists(latin, max_size=2),
    max_size=4,
)  # fmt: skip
bodies = (
    st.binary(max_size=60)
    | members.map(lambda value: json.dumps(value).encode())
    | st.lists(st.sampled_from(["refresh_token", "scope", "state", "=", "&", "%ff", DEAD, "global"])).map(
        lambda parts: "".join(parts).encode()
    )
)
requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "DELETE", "post"]),
        "path": st.sampled_from(["/", "/auth/logout", "/auth/logout/all", "/logout", "/refresh", "/static/../x"]),
        "query": st.lists(
            st.sampled_from(
                ["redirect_uri=", "oauth_token=", "id_token_hint=", "intent=", "state=", "&", "%0d%0a", "//evil", DEAD]
            ),
            max_size=6,
        ).map("".join),
        "headers": st.lists(
            st.tuples(
                st.sampled_from(
                    ["authorization", "cookie", "content-type", "origin", "sec-fetch-site", "accept", "prefer", "host",
                     "sec-purpose", "content-encoding", "x-forwarded-for"]
                ),
                field | st.sampled_from(["application/json", "application/x-www-form-urlencoded", "same-origin"]),
            ),
            max_size=5,
        ),
        "body": bodies,
    }
)  # fmt: skip


def over_asgi(request: dict[str, Any]) -> tuple[int, bool]:
    """(status, whether the application saw the dead token in a form that it could use)."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": request["body"], "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    logout = Logout(SETTINGS, store=MemoryStore())
    run_blocking(logout.revoke_token(DEAD))
    middleware = AsgiMiddleware(app, logout=logout)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in request["headers"]]
    scope = {
        "type": "http", "method": request["method"], "path": request["path"], "scheme": "http", "headers": headers,
        "query_string": request["query"].encode("latin-1"), "client": ("203.0.113.9", 1),
    }  # fmt: skip
    special = request["path"] in ("/auth/logout", "/auth/logout/all", "/logout")
    if special:
        import asyncio

        asyncio.run(middleware(scope, receive, send))
    else:
        run_blocking(middleware(scope, receive, send))
    return sent[0]["status"], any(value == f"Bearer {DEAD}" for value in seen)


def over_wsgi(request: dict[str, Any]) -> tuple[int, bool]:
    from io import BytesIO

    seen: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ.get("HTTP_AUTHORIZATION", ""))
        start_response("200 OK", [])
        return [b""]

    logout = BlockingLogout(SETTINGS, store=MemoryStore())
    logout.revoke_token(DEAD)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request["method"], "PATH_INFO": request["path"], "QUERY_STRING": request["query"],
        "wsgi.url_scheme": "http", "wsgi.input": BytesIO(request["body"]), "REMOTE_ADDR": "203.0.113.9",
        "CONTENT_LENGTH": str(len(request["body"])),
    }  # fmt: skip
    for name, value in request["headers"]:
        key = "CONTENT_TYPE" if name == "content-type" else "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    started: list[str] = []
    body = WsgiMiddleware(app, logout=logout)(environ, lambda status, headers, *rest: started.append(status))
    b"".join(body)
    return int(started[0][:3]), any(value == f"Bearer {DEAD}" for value in seen)


@pytest.mark.parametrize("send", [over_asgi, over_wsgi])
@given(request=requests)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_request_breaks_the_middleware_or_gets_a_dead_token_through(send: Any, request: dict[str, Any]) -> None:
    """Whatever is sent, the answer is below 500."""
    status, got_through = send(request)

    assert status < 500
    assert not got_through
