"""Authlib's resource server that asks an introspection endpoint (RFC 7662) with each request.

https://docs.authlib.org/en/latest/specs/rfc7662.html ("Use Introspection in Resource Server"). The endpoint is
`endpoint`, about the cheapest that there can be; its time is not the worker's.
"""

from __future__ import annotations

import os
import secrets
import urllib.parse
from typing import Any

import flask
import requests
from authlib.integrations.flask_oauth2 import ResourceProtector
from authlib.oauth2.rfc7662 import IntrospectTokenValidator

_DEAD = "dead-"


class _Validator(IntrospectTokenValidator):
    def introspect_token(self, token_string: str) -> Any:
        form = {"token": token_string, "token_type_hint": "access_token"}
        answer = requests.post(os.environ["PEER_ENDPOINT"], data=form, auth=("client", "secret"), timeout=5)
        answer.raise_for_status()
        return answer.json()


checked = flask.Flask(__name__)
_protect = ResourceProtector()
_protect.register_token_validator(_Validator())


@checked.get("/")
@_protect("read")
def root() -> str:
    return "ok"


async def endpoint(scope: Any, receive: Any, send: Any) -> None:
    """Says of each token whether it lives, by its name."""
    if scope["type"] != "http":
        return
    body = (await receive()).get("body", b"").decode()
    text = urllib.parse.parse_qs(body).get("token", [_DEAD])[0]
    told = b'{"active":false}' if text.startswith(_DEAD) else _ACTIVE
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(told))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


_ACTIVE = b'{"active":true,"scope":"read","client_id":"orders","sub":"user","token_type":"Bearer","exp":4102444800}'


def prepare() -> None:
    """Nothing."""


def issue(count: int) -> list[str]:
    return [secrets.token_urlsafe(32) for _ in range(count)]


def revoke(tokens: list[str]) -> None:
    """Give them names by which the endpoint knows the dead, so that it costs next to nothing."""
    tokens[:] = [_DEAD + text for text in tokens]
