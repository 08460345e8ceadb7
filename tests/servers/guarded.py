"""What the servers of test_corpus_raw_http.py run: an application that takes any token it finds, guarded.

`X-Would-Receive` of an answer says if the server handed over the revoked token; it is added outside the
middleware, so it is true of refusals too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from logout_middleware import asgi, wsgi

GOOD, REVOKED = "ggggHEAD.ggggBODY.ggggSIGN", "rrrrHEAD.rrrrBODY.rrrrSIGN"
USERS = {GOOD: "alice", REVOKED: "rita"}


def user_in(values: Iterable[str]) -> str | None:
    """Whoever's token is anywhere in these fields: the most lenient parser there can be."""
    found = [user for token, user in USERS.items() for value in values if token in value]
    return found[-1] if found else None


def _body(values: list[str]) -> bytes:
    return json.dumps({"user": user_in(values)}).encode("ascii")


def _mark(values: list[str]) -> str:
    return "yes" if user_in(values) == "rita" else "no"


def _asgi_values(scope: Any) -> list[str]:
    # `observed` in the corpus counts `authori_zation` as well, a name that no application reads.
    return [value.decode("latin-1") for name, value in scope["headers"] if name in (b"authorization", b"cookie")]


async def _asgi_application(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _body(_asgi_values(scope))})


def asgi_app() -> Any:
    """The ASGI application, as a factory."""
    guarded = asgi.LogoutMiddleware(_asgi_application)

    async def marked(scope: Any, receive: Any, send: Any) -> None:
        mark = _mark(_asgi_values(scope)).encode("ascii")

        async def marking(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-would-receive", mark)]}
            await send(message)

        await guarded(scope, receive, marking)

    return marked


def _wsgi_values(environ: dict[str, Any]) -> list[str]:
    return [environ[name] for name in ("HTTP_AUTHORIZATION", "HTTP_COOKIE") if name in environ]


def _wsgi_application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [_body(_wsgi_values(environ))]


def wsgi_app() -> Any:
    """The WSGI application, as a factory."""
    guarded = wsgi.LogoutMiddleware(_wsgi_application)

    def marked(environ: dict[str, Any], start_response: Any) -> Any:
        mark = ("X-Would-Receive", _mark(_wsgi_values(environ)))

        def marking(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            return start_response(status, [*headers, mark], *exc_info)

        return guarded(environ, marking)

    return marked
