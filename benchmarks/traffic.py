"""The requests: tokens like those of an OAuth server, in requests with twelve header fields like a browser's.

The credential comes last, where it costs most to find. Everybody's requests are the same, guarded or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import jwt

from logout_middleware.colour import run_blocking
from logout_middleware.logout import Logout
from logout_middleware.settings import LogoutSettings

from .pair import Void

SECRET = "the secret of the benchmark is long enough for HS256"
ISSUER = "https://login.example.com"
REVOKED_SESSION, REVOKED_USER = "the revoked session", "the revoked user"

Lines = list[tuple[bytes, bytes]]
"""The header fields of one request."""

ELEVEN: Lines = [
    (b"host", b"app.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
    (b"accept", b"application/json, text/plain, */*"),
    (b"accept-language", b"en-GB,en;q=0.8,de;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"referer", b"https://app.example.com/orders?page=2"),
    (b"sec-fetch-dest", b"empty"),
    (b"sec-fetch-mode", b"cors"),
    (b"sec-fetch-site", b"same-origin"),
    (b"cache-control", b"no-cache"),
    (b"priority", b"u=4"),
]


def settings(store: str = "memory://") -> LogoutSettings:
    """The guard as an operator would set it up for these tokens; a dead cookie is refused, so that we can see it."""
    return LogoutSettings.load(environ={}, env_file=None, **options(store))


def options(store: str) -> dict[str, str]:
    """The same as settings by name."""
    return {
        "store": store,
        "jwt_key": SECRET,
        "jwt_algorithms": "HS256",
        "jwt_issuer": ISSUER,
        "revoked_cookie": "reject",
        "audit": "off",
        "allow_unsafe_store": "true",
    }


def token(number: int, *, user: str | None = None, session: str | None = None) -> str:
    """A JWT access token (RFC 9068) of about 700 bytes; it has every name that the guard can ask the store for."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": user or f"user-{number}",
        "sid": session or f"session-{number}",
        "client_id": "orders",
        "jti": f"{number:032x}",
        "iat": now - 60,
        "exp": now + 86400,
        "scope": " ".join(f"orders:read:{region}" for region in range(16)),
    }
    return jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": "2026-11"})


def tokens(count: int) -> list[str]:
    """So many different tokens."""
    return [token(number) for number in range(count)]


def with_bearer(text: str) -> Lines:
    """A request with this token in its Authorization field."""
    return [*ELEVEN, (b"authorization", b"Bearer " + text.encode())]


def with_cookie(text: str) -> Lines:
    """A request with this token in the second of three cookies."""
    return [*ELEVEN, (b"cookie", b"theme=dark; session=" + text.encode() + b"; language=en")]


def without_credential(number: int) -> Lines:
    """A request of nobody."""
    return [*ELEVEN, (b"x-request-id", b"%032x" % number)]


@dataclass(frozen=True, slots=True)
class Gate:
    """What every application must answer before its speed is of any interest."""

    live: str
    revoked: str
    revoked_session: str
    revoked_user: str

    @classmethod
    def make(cls) -> Gate:
        """Four tokens that no timed request carries."""
        return cls(
            live=token(10**9),
            revoked=token(10**9 + 1),
            revoked_session=token(10**9 + 2, session=REVOKED_SESSION),
            revoked_user=token(10**9 + 3, user=REVOKED_USER),
        )

    def pass_through(self, name: str, status: Callable[[Lines], int], *, guarded: bool) -> None:
        """Void unless the application accepts the live token and, if guarded, refuses what is dead."""
        for kind, request in (("bearer", with_bearer), ("cookie", with_cookie)):
            self._expect(name, f"a live {kind}", status(request(self.live)), 200)
            if guarded:
                for what in ("revoked", "revoked_session", "revoked_user"):
                    self._expect(name, f"a {kind}, {what}", status(request(getattr(self, what))), 401)
        self._expect(name, "no credential", status(without_credential(0)), 200)

    @staticmethod
    def _expect(name: str, what: str, found: int, wanted: int) -> None:
        if found != wanted:
            raise Void(f"the correctness gate: {name} answers {found} to {what}, not {wanted}")


def revoke(logout: Logout, gate: Gate) -> None:
    """Log out what the gate expects to be dead."""
    run_blocking(logout.revoke_token(gate.revoked))
    run_blocking(logout.revoke_session(REVOKED_SESSION))
    run_blocking(logout.revoke_user(REVOKED_USER))
