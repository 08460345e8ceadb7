"""Keys that verify: static ones, and a JWKS address served by a real HTTP server that can be slow, wrong or away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from logout_middleware import BlockingLogout, ConfigurationError, StoreError, providers
from logout_middleware.providers import FRESH_SECONDS, RETRY_SECONDS
from logout_middleware.testing import MovableClock

CLAIMS = {"sub": "ann", "sid": "s1", "jti": "j1", "iat": time.time(), "exp": time.time() + 86400}


def public_pem(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class Provider:
    """A JWKS endpoint: what it answers can be changed, and how often it was asked is counted."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.status, self.asked = 200, 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                body = json.dumps({"keys": provider.keys}).encode()
                self.send_response(provider.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def publish(self, **keys: Any) -> None:
        self.keys = [
            {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}
            for kid, key in keys.items()
        ]


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.server.shutdown()
    provider.server.server_close()


@pytest.fixture(scope="module")
def rsa_keys() -> list[Any]:
    return [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


def opened(**given: Any) -> BlockingLogout:
    given.setdefault("store_deadline", "10s")  # a busy machine is not what is tested
    return BlockingLogout(store="memory://", allow_unsafe_store=True, audit="off", **given)


@pytest.mark.parametrize(
    ("algorithm", "make"),
    [
        ("RS256", lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        ("PS256", lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        ("ES256", lambda: ec.generate_private_key(ec.SECP256R1())),
        ("ES384", lambda: ec.generate_private_key(ec.SECP384R1())),
        ("ES512", lambda: ec.generate_private_key(ec.SECP521R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate),
    ],
)
def test_a_public_key_of_each_kind_verifies(algorithm: str, make: Any) -> None:
    """A logout of a verified token ends its session; another token of the session is dead with it."""
    key = make()
    logout = opened(jwt_key=public_pem(key), jwt_algorithms=algorithm)
    one = jwt.encode(CLAIMS, key, algorithm=algorithm)
    other = jwt.encode({**CLAIMS, "jti": "j2"}, key, algorithm=algorithm)
    assert logout.introspect_token(other)["sub"] == "ann"

    logout.revoke_token(one)

    assert logout.introspect_token(other) == {"active": False}


def test_secrets_rotate_and_kinds_may_be_mixed() -> None:
    """While keys change, tokens of the old and the new one are both believed; a stranger's is not."""
    key = ec.generate_private_key(ec.SECP256R1())
    logout = opened(jwt_key=["n" * 32, "o" * 32, public_pem(key)], jwt_algorithms="HS256, ES256")

    for token in (jwt.encode(CLAIMS, "n" * 32), jwt.encode(CLAIMS, "o" * 32), jwt.encode(CLAIMS, key, "ES256")):
        assert logout.introspect_token(token)["active"] is True
    assert logout.introspect_token(jwt.encode(CLAIMS, "x" * 32)) == {"active": False}


def test_a_key_that_its_algorithms_cannot_use_is_told_at_start() -> None:
    """Not at the first request."""
    key = public_pem(ec.generate_private_key(ec.SECP256R1()))

    with pytest.raises(ConfigurationError, match="E210 LOGOUT_JWT_KEY: one of the keys is a public key"):
        opened(jwt_key=key, jwt_algorithms="HS256")
    with pytest.raises(ConfigurationError, match="E210 LOGOUT_JWT_KEY: one of the keys is a shared secret"):
        opened(jwt_key="s" * 32, jwt_algorithms="RS256")


def test_keys_are_fetched_once_and_a_new_kid_brings_one_more_fetch(provider: Provider, rsa_keys: list[Any]) -> None:
    """Rotation works without a restart, and strange kids do not make us hammer the provider."""
    first, second = rsa_keys
    provider.publish(k1=first)
    logout = opened(jwks_url=provider.url, jwt_algorithms="RS256")
    keys: providers.Provider = logout.inner.identifier._keys  # type: ignore[assignment]
    clock = MovableClock(1000.0)
    keys._clock = clock
    old = jwt.encode(CLAIMS, first, "RS256", headers={"kid": "k1"})
    new = jwt.encode(CLAIMS, second, "RS256", headers={"kid": "k2"})

    for _ in range(5):
        assert logout.introspect_token(old)["active"] is True
    assert provider.asked == 1
    provider.publish(k1=first, k2=second)
    clock.move(RETRY_SECONDS + 1)
    assert logout.introspect_token(new)["active"] is True
    for number in range(100):
        strange = jwt.encode(CLAIMS, second, "RS256", headers={"kid": f"x{number}"})
        assert logout.introspect_token(strange) == {"active": False}
    assert provider.asked == 2


def test_the_last_known_keys_stay_in_use_while_the_provider_is_away(
    provider: Provider, rsa_keys: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An outage elsewhere logs nobody out here."""
    provider.publish(k1=rsa_keys[0])
    logout = opened(jwks_url=provider.url, jwt_algorithms="RS256")
    keys: providers.Provider = logout.inner.identifier._keys  # type: ignore[assignment]
    clock = MovableClock(1000.0)
    keys._clock = clock
    token = jwt.encode(CLAIMS, rsa_keys[0], "RS256", headers={"kid": "k1"})
    assert logout.introspect_token(token)["active"] is True

    provider.status = 500
    clock.move(FRESH_SECONDS + 1)

    assert logout.introspect_token(token)["active"] is True
    keys.fetched()
    assert provider.asked == 2
    assert "the keys known before stay in use" in caplog.text


def test_keys_never_seen_are_cannot_know_and_not_invalid(provider: Provider, rsa_keys: list[Any]) -> None:
    """503, so that clients keep their tokens; and we do not wait for the provider at every request."""
    provider.status = 500
    logout = opened(jwks_url=provider.url, jwt_algorithms="RS256")
    token = jwt.encode(CLAIMS, rsa_keys[0], "RS256", headers={"kid": "k1"})

    for _ in range(3):
        with pytest.raises(StoreError, match="LOGOUT_JWKS_URL have not been reachable"):
            logout.introspect_token(token)

    assert provider.asked == 1


def test_a_key_that_was_taken_back_is_not_believed_from_memory(provider: Provider, rsa_keys: list[Any]) -> None:
    """Identities that were verified by an old key set are forgotten with it."""
    provider.publish(k1=rsa_keys[0])
    logout = opened(jwks_url=provider.url, jwt_algorithms="RS256")
    keys: providers.Provider = logout.inner.identifier._keys  # type: ignore[assignment]
    clock = MovableClock(1000.0)
    keys._clock = clock
    from logout_middleware.colour import run_blocking

    header = "Bearer " + jwt.encode(CLAIMS, rsa_keys[0], "RS256", headers={"kid": "k1"})
    assert run_blocking(logout.inner.guard.check(header, None)).refusal is None
    provider.publish(k2=rsa_keys[1])
    clock.move(FRESH_SECONDS + 1)
    other = "Bearer " + jwt.encode(CLAIMS, rsa_keys[1], "RS256", headers={"kid": "k2"})
    assert run_blocking(logout.inner.guard.check(other, None)).refusal is None

    refusal = run_blocking(logout.inner.guard.check(header, None)).refusal

    assert refusal is not None
    assert refusal.status == 401
