"""An OpenID provider of the tests: what it signs, and what an application says to be its client.

`Op` signs tokens with keys that are made once a run; the relying party gets them by LOGOUT_ISSUERS. Where keys and
endpoints are to be fetched over HTTP, there is `op_server.py`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.client import Answer, Sender

EVENT = "http://schemas.openid.net/event/backchannel-logout"
ISSUER, OTHER_ISSUER = "https://issuer.example.com", "https://other.example.com"
CLIENT = "client-1"
LANDING = "https://app.example.com/auth/logout/callback"
BACKCHANNEL, FRONTCHANNEL, CALLBACK = "/auth/backchannel-logout", "/auth/frontchannel-logout", "/auth/logout/callback"


@functools.cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A throw-away key of this name, one for all tests of a run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(key: Any) -> str:
    """The public half, as settings take it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Op:
    """A provider: its name, its key, and the tokens that it signs by this clock."""

    def __init__(self, clock: Callable[[], float], issuer: str = ISSUER, *, key: str = "k1") -> None:
        self.clock, self.issuer, self.kid = clock, issuer, key
        self._numbers = itertools.count(1)

    @property
    def keys(self) -> list[str]:
        """Its public keys."""
        return [public_pem(rsa_key(self.kid))]

    def settings(self, **more: Any) -> dict[str, Any]:
        """The settings of an application that is its client, with its keys at hand."""
        return {
            "oidc_issuer": self.issuer, "oidc_client_id": CLIENT,
            "issuers": {self.issuer: {"keys": self.keys}},
        } | more  # fmt: skip

    def sign(
        self, claims: Mapping[str, Any], *, header: Mapping[str, Any] | None = None, key: Any = None,
        algorithm: str | None = "RS256",
    ) -> str:  # fmt: skip
        """A JWT of these claims; those that are None are left out."""
        members = {name: value for name, value in claims.items() if value is not None}
        fields = {name: value for name, value in ({"kid": self.kid} | dict(header or {})).items() if value is not None}
        return jwt.encode(members, rsa_key(self.kid) if key is None else key, algorithm=algorithm, headers=fields)

    def logout_token(
        self, sub: str | None = None, sid: str | None = None, *, header: Mapping[str, Any] | None = None,
        key: Any = None, algorithm: str | None = "RS256", **claims: Any,
    ) -> str:  # fmt: skip
        """A logout token as a good provider sends it; what is given as None is left out."""
        now = int(self.clock())
        usual = {
            "iss": self.issuer, "aud": CLIENT, "sub": sub, "sid": sid, "iat": now, "exp": now + 120,
            "jti": f"lt-{next(self._numbers)}", "events": {EVENT: {}},
        }  # fmt: skip
        fields = {"typ": "logout+jwt"} | dict(header or {})
        return self.sign(usual | claims, header=fields, key=key, algorithm=algorithm)

    def id_token(self, sub: str, sid: str | None = None, **claims: Any) -> str:
        """An ID token."""
        now = int(self.clock())
        usual = {"iss": self.issuer, "aud": CLIENT, "sub": sub, "sid": sid, "iat": now, "exp": now + 3600, "nonce": "n"}
        return self.sign(usual | claims)

    def access_token(self, sub: str, sid: str | None = None, **claims: Any) -> str:
        """An access token in the form of RFC 9068."""
        now = int(self.clock())
        usual = {
            "iss": self.issuer, "aud": "api://app", "sub": sub, "sid": sid, "iat": now, "exp": now + 3600,
            "jti": f"at-{next(self._numbers)}", "client_id": CLIENT,
        }  # fmt: skip
        return self.sign(usual | claims, header={"typ": "at+jwt"})


def order(site: Sender, token: str, /, **given: Any) -> Answer:
    """What the provider gets for this logout token; every such answer forbids to be kept (BCL-19)."""
    answer = site.post(BACKCHANNEL, **({"form": {"logout_token": token}} | given))
    assert answer.header("cache-control") == "no-store"
    return answer


def fault(answer: Answer) -> str:
    """The error of an answer in the form of RFC 6749 5.2, after a look at its shape."""
    assert answer.status == 400, answer
    assert set(answer.json) == {"error", "error_description"}
    return str(answer.json["error"])
