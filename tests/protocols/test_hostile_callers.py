"""Hostile input at random to the endpoints of clients and operators: an answer below 500, and no effect."""

from __future__ import annotations

import json
from typing import Any

import jwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logout_middleware import Logout, LogoutSettings
from logout_middleware.colour import run_blocking
from logout_middleware.endpoints import routes
from logout_middleware.rules.http import Request
from logout_middleware.stores.memory import MemoryStore

from .clients import CLIENTS, SHOP, basic

KEY, ADMIN_KEY = "k" * 32, "a" * 32
TOKEN = jwt.encode({"sub": "ann", "sid": "s1", "jti": "j", "iat": 1_790_000_000, "exp": 4_000_000_000}, KEY)
SETTINGS = LogoutSettings.load(
    {}, env_file=None, store="memory://", allow_unsafe_store=True, audit="off", jwt_key=KEY, jwt_algorithms="HS256",
    endpoints="oauth,admin", clients=CLIENTS, admin_key=ADMIN_KEY, max_lifetime="4000d",
)  # fmt: skip
OAUTH = ["/auth/revoke", "/auth/introspect"]
ADMIN = ["/auth/admin/revoke", "/auth/admin/explain", "/auth/admin/health"]

latin = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=30)
pieces = st.sampled_from(
    [
        "Basic ",
        "basic",
        "Bearer ",
        basic(*SHOP)["Authorization"][6:-3],
        ADMIN_KEY[:-1],
        "c2hvcDo=",
        ":",
        "=",
        "%",
        "\xa0",
    ]
)
fields = st.lists(pieces | latin, max_size=4).map("".join)
names = ["token", "client_id", "client_secret", "user", "session", "everyone", "keep", "before", "issuer", "reason"]
values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
    | st.sampled_from([TOKEN, TOKEN[:-1], "\ud800"]) | st.lists(st.integers() | st.text(max_size=5), max_size=2)
)  # fmt: skip
forms = st.lists(st.sampled_from([*(f"{name}=" for name in names), "&", "%ff", "%", "shop", TOKEN])).map("".join)
bodies = (
    st.binary(max_size=60)
    | st.dictionaries(st.sampled_from(names), values, max_size=4).map(lambda value: json.dumps(value).encode())
    | forms.map(str.encode)
)
kinds = st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain", ""])


def ask(logout: Logout, path: str, kind: str, authorization: str, body: bytes) -> int:
    """The status of the answer."""

    async def read(limit: int) -> bytes:
        return body

    headers = [("content-type", kind), ("authorization", authorization)]
    method = "GET" if path.endswith("health") else "POST"
    request: Any = Request(method, path, "", headers, "https", "203.0.113.9", read)
    return run_blocking(routes(logout.service, "/auth")[path](request)).status


@given(path=st.sampled_from(OAUTH + ADMIN), kind=kinds, authorization=fields, body=bodies)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_who_does_not_know_a_secret_ends_nothing(path: str, kind: str, authorization: str, body: bytes) -> None:
    """Whatever is sent, the answer is a 4xx, and the store stays empty."""
    logout = Logout(SETTINGS, store=MemoryStore())

    status = ask(logout, path, kind, authorization, body)

    assert 400 <= status < 500
    assert run_blocking(logout.store.count()) == 0


@given(path=st.sampled_from(OAUTH + ADMIN), kind=kinds, body=bodies)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_a_known_caller_sends_never_breaks_an_endpoint(path: str, kind: str, body: bytes) -> None:
    """It is done, or refused."""
    logout = Logout(SETTINGS, store=MemoryStore())
    authorization = f"Bearer {ADMIN_KEY}" if path in ADMIN else basic(*SHOP)["Authorization"]

    statuses = {ask(logout, path, kind, authorization, body) for _ in range(2)}

    assert statuses <= {200, 400, 415}
    assert len(statuses) == 1
