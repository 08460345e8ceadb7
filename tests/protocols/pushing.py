"""A transmitter of the tests: it signs security events, JWTs for Universal Logout, and its users' tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.client import Answer, BuildSite, Site

ISS, OTHER, OWN = "https://idp.example.com", "https://other.example.com", "https://own.example.com"
CLIENT_ID, AUDIENCE = "our-client", "https://api.example.com"
SECEVENT, STREAM_ID = "application/secevent+jwt", "stream-1"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
REVOKED = CAEP + "session-revoked"
MISSING: Any = object()
"""A claim that is left out."""


@cache
def key_of_issuer(issuer: str) -> rsa.RSAPrivateKey:
    """Its key, made once in a run."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(issuer: str) -> str:
    """The public half of it."""
    return key_of_issuer(issuer).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(
    claims: Mapping[str, Any], *, typ: str | None, by: str = ISS, alg: str = "RS256", key: Any = None, **header: Any
) -> str:
    """A JWT; `typ` None leaves it out. `header`: its further members."""
    # Of the bytes, because PyJWT would not sign claims that are wrong.
    body, key = json.dumps(claims).encode(), key or key_of_issuer(by)
    return jwt.PyJWS().encode(body, None if alg == "none" else key, algorithm=alg, headers={"typ": typ, **header})


def issuers(**changes: Any) -> str:
    """LOGOUT_ISSUERS: one transmitter with a stream, and another issuer with one, too; `changes` are of the first."""
    first = {"keys": public_pem(ISS), "client_id": CLIENT_ID, "audience": AUDIENCE, "ssf": {"stream_id": STREAM_ID}}
    second = {"keys": public_pem(OTHER), "client_id": CLIENT_ID, "ssf": {}}
    chosen = {name: value for name, value in (first | changes).items() if value is not None}
    return json.dumps({ISS: chosen, OTHER: second})


def pushed_site(site: BuildSite, *, ssf: dict[str, Any] | None = None, **given: Any) -> Site:
    """A site that serves the group `push`."""
    changes = {} if ssf is None else {"ssf": ssf}
    return site(endpoints="logout,sessions,push", issuers=given.pop("issuers", issuers(**changes)), **given)


class Transmitter:
    """Signs and sends for one issuer."""

    def __init__(self, http: Site, issuer: str = ISS) -> None:
        self.http, self.issuer = http, issuer
        self._made = 0

    def _number(self) -> int:
        self._made += 1
        return self._made

    def user_token(self, user: str = "ann", *, sid: str | None = "s1", **claims: Any) -> str:
        """An access token of one of its users."""
        now = self.http.clock()
        usual = {
            "iss": self.issuer, "sub": user, "sid": sid, "aud": AUDIENCE if self.issuer == ISS else CLIENT_ID,
            "jti": f"{self.issuer}-{self._number()}", "iat": now, "exp": now + 3600, "kind": "access",
        }  # fmt: skip
        members = {name: value for name, value in (usual | claims).items() if value is not None}
        return sign(members, typ="at+jwt", by=self.issuer)

    def claims(self, subject: Any, *, kind: str = REVOKED, event: Any = None, **claims: Any) -> dict[str, Any]:
        """The claims of a security event."""
        usual = {
            "iss": self.issuer, "aud": CLIENT_ID, "iat": int(self.http.clock()), "jti": f"set-{self._number()}",
            "sub_id": subject, "events": {kind: event if event is not None else {}},
        }  # fmt: skip
        return {name: value for name, value in (usual | claims).items() if value is not MISSING}

    def event(self, subject: Any, *, typ: str | None = "secevent+jwt", **given: Any) -> str:
        """A signed security event."""
        return sign(self.claims(subject, **given), typ=typ, by=self.issuer)

    def push(self, token: str | bytes, *, content_type: str = SECEVENT, **headers: str) -> Answer:
        """Push a token."""
        body = token.encode() if isinstance(token, str) else token
        return self.http.post("/auth/ssf/events", body=body, headers={"Content-Type": content_type, **headers})

    def tell(self, subject: Any, **given: Any) -> Answer:
        """Push an event that is sound."""
        return self.push(self.event(subject, **given))


def is_alive(http: Site, token: str) -> bool:
    """Would the guard let this token pass?"""
    return not http.call("is_revoked", token)


def refused(answer: Answer) -> tuple[int, str]:
    """Status and error code of a refused push, whose form is checked on the way (RFC 8935 2.3)."""
    members = answer.json
    assert set(members) == {"err", "description"}
    assert answer.header("content-language") == "en"
    assert answer.header("cache-control") == "no-store"
    return answer.status, members["err"]


def iss_sub(user: str = "ann", issuer: str = ISS) -> dict[str, str]:
    """A user by issuer and subject."""
    return {"format": "iss_sub", "iss": issuer, "sub": user}


def opaque(name: str) -> dict[str, str]:
    """Something by its id."""
    return {"format": "opaque", "id": name}
