"""The provider of the tests as a real HTTP server on loopback: discovery, keys, revocation; slow or wrong at will."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import jwt

from .op import CLIENT, LANDING, Op, rsa_key

DISCOVERY, JWKS, REVOKE, END_SESSION = "/.well-known/openid-configuration", "/jwks", "/token/revocation", "/session/end"
_HANG_SECONDS = 60.0

Misbehave = Callable[[BaseHTTPRequestHandler], None]
"""Answers a request in its own way; it may write anything to `wfile`, or nothing."""


class OpServer(Op):
    """A provider under an address of its own.

    `published`: the names of the keys that it publishes. `asked`: how often for each path. `misbehaves`: by path.
    While `open` is not set it answers nobody; `called` is set as soon as somebody asks.
    """

    def __init__(self, clock: Callable[[], float], *, key: str = "k1") -> None:
        self.open, self.called, self.closing = threading.Event(), threading.Event(), threading.Event()
        self.open.set()
        self.published, self.more, self.asked = [key], {}, Counter[str]()
        self.misbehaves: dict[str, Misbehave] = {}
        self.status = 200
        self.revoked: list[str] = []
        self.revoked_by: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._answer(self)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                if self.path == REVOKE and provider.status == 200:
                    provider.revoked.append(dict(parse_qsl(body)).get("token", ""))
                    provider.revoked_by.append(b64decode(self.headers["authorization"].partition(" ")[2]).decode())
                provider._answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads, block_on_close = True, False

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Whoever hung up had a reason."""

        self._server = Server(("127.0.0.1", 0), Handler)
        super().__init__(clock, f"http://127.0.0.1:{self._server.server_port}", key=key)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, and let go whom it kept waiting."""
        self.closing.set()
        self.open.set()
        self._server.shutdown()
        self._server.server_close()

    def settings(self, **more: Any) -> dict[str, Any]:
        """The settings of an application that is its client and finds everything by discovery."""
        return {
            "oidc_issuer": self.issuer, "oidc_client_id": CLIENT, "oidc_post_logout_redirect_uri": LANDING,
            "private_addresses": True, "store_deadline": "10s",  # a busy machine is not what is tested
        } | more  # fmt: skip

    @property
    def document(self) -> dict[str, Any]:
        """The discovery document; members of `more` replace its own, None leaves one out."""
        members = {
            "issuer": self.issuer, "jwks_uri": self.issuer + JWKS, "end_session_endpoint": self.issuer + END_SESSION,
            "revocation_endpoint": self.issuer + REVOKE,
        } | self.more  # fmt: skip
        return {name: value for name, value in members.items() if value is not None}

    @property
    def jwks(self) -> dict[str, Any]:
        """The keys that it publishes."""
        keys = [
            {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(kid).public_key())), "kid": kid, "use": "sig"}
            for kid in self.published
        ]
        return {"keys": keys}

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.asked[path] += 1
        self.called.set()
        self.open.wait(_HANG_SECONDS)
        if path in self.misbehaves:
            self.misbehaves[path](request)
            return
        found = {DISCOVERY: lambda: self.document, JWKS: lambda: self.jwks, REVOKE: dict}.get(path)
        send(request, self.status if found else 404, json.dumps(found() if found else {}).encode())


def send(request: BaseHTTPRequestHandler, status: int, body: bytes, **fields: str) -> None:
    """One ordinary answer."""
    request.send_response(status)
    for name, value in ({"Content-Type": "application/json"} | fields).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
