"""jwt_attacks.jsonl: no forged, odd or respelled JWT is served after a logout, or at all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from logout_middleware.colour import run_blocking
from logout_middleware.testing import MovableClock

from . import corpus
from .parsers import Site, bearer, site

STACKS = ("starlette", "flask")
ALGORITHMS = {"hs256": "HS256", "rs256": "RS256", "es256": "ES256", "eddsa": "EdDSA"}
DAY = 86400.0
MAX_LIFETIME = 400 * DAY
REFUSED = (400, 401)


@functools.cache
def keys() -> Any:
    """Throw-away keys for this run."""
    return corpus.jwtkit().Keys()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovableClock:
    """The time, for the middleware and for PyJWT in the application."""
    clock = MovableClock()

    class MovableDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # what PyJWT calls
            return datetime.fromtimestamp(clock(), tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", MovableDatetime)
    return clock


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address in a token's header must never be asked."""

    def fail(*given: Any, **more: Any) -> None:
        pytest.fail("a token made us open a connection")

    for target in ("socket.socket.connect", "socket.create_connection", "urllib.request.urlopen"):
        monkeypatch.setattr(target, fail)


def application(verifier: str) -> Callable[[str], str | None]:
    """A relying application's own check, with PyJWT and the policy of the corpus."""

    def authenticate(token: str) -> str | None:
        kit = corpus.jwtkit()
        try:
            claims = jwt.decode(
                token, keys().verify_key(verifier), algorithms=[ALGORITHMS[verifier]], issuer=kit.ISS,
                audience=kit.AUD, options={"require": ["exp", "iat", "sub"]},
            )  # fmt: skip
        except (jwt.PyJWTError, ValueError, OverflowError):
            return None
        return str(claims["sub"].encode("ascii", "backslashreplace"))

    return authenticate


def verifying(stack: str, verifier: str, clock: MovableClock, **more: Any) -> Site:
    """The application behind a middleware that has the same key and policy."""
    kit, key = corpus.jwtkit(), keys().verify_key(verifier)
    text = key.decode() if isinstance(key, bytes) else _pem(key)
    return site(
        stack, application(verifier), clock=clock, jwt_key=text, jwt_algorithms=ALGORITHMS[verifier],
        jwt_issuer=kit.ISS, jwt_audience=kit.AUD, **more,
    )  # fmt: skip


def trusting(stack: str, verifier: str, clock: MovableClock) -> Site:
    """The application behind a middleware without keys: to verify is the application's own affair."""
    return site(stack, application(verifier), clock=clock)


def _pem(key: Any) -> str:
    return str(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def build(case: corpus.Case, clock: MovableClock) -> tuple[str, str]:
    """The token of a case, and its base token."""
    token, base = corpus.jwtkit().build(case, keys(), int(clock()))
    return token, base


def purge(guard: Site) -> None:
    """Let the store forget what it may forget by now."""
    run_blocking((guard.logout if guard.is_asgi else guard.logout.inner).raw_store.purge())


def is_verdict(case: corpus.Case) -> bool:
    """Does the case say what a single request gets?"""
    return bool(case["expected"] != "same-token")


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("case", corpus.cases("jwt_attacks", is_verdict, raw=True))
def test_a_token_gets_its_verdict(case: corpus.Case, stack: str, clock: MovableClock) -> None:
    """What may not be believed is refused, what is sound is served, and nothing breaks."""
    guard = verifying(stack, case["verifier"], clock)
    token, _ = build(case, clock)

    answer = guard.me(bearer(token))

    wanted = {"accept": (200,), "reject": REFUSED, "either": (200, *REFUSED)}[case["expected"]]
    assert answer.status in wanted


@pytest.mark.parametrize("middleware", [verifying, trusting])
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("case", corpus.cases("jwt_attacks", lambda case: case["revoke"], raw=True))
def test_an_accepted_token_that_is_logged_out_stays_refused(
    case: corpus.Case, stack: str, middleware: Callable[..., Site], clock: MovableClock
) -> None:
    """For as long as it could live, purging included, whatever its claims look like."""
    guard = middleware(stack, case["verifier"], clock)
    token, _ = build(case, clock)
    accepted = guard.me(bearer(token)).status == 200
    started = clock()

    assert guard.log_out(bearer(token)).status in ((200,) if accepted else (200, *REFUSED))

    assert accepted or case["expected"] == "either"
    # A middleware that cannot verify has only the operator's word for how long a token can live.
    longer = (401 * DAY, 403 * DAY, 10_000 * DAY) if middleware is verifying else ()
    for elapsed in (0, 1, 599, DAY, 30 * DAY, MAX_LIFETIME - 60, *longer):
        clock.now = started + elapsed
        purge(guard)
        answer = guard.me(bearer(token))
        assert answer.status in REFUSED
        assert not (accepted and elapsed < 600 and answer.reached_application)


@pytest.mark.parametrize("middleware", [verifying, trusting])
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("case", corpus.cases("jwt_attacks", lambda case: not is_verdict(case), raw=True))
def test_another_spelling_of_a_logged_out_token_is_refused(
    case: corpus.Case, stack: str, middleware: Callable[..., Site], clock: MovableClock
) -> None:
    """Before the application sees it: some verifier may accept any of these."""
    guard = middleware(stack, case["verifier"], clock)
    token, base = build(case, clock)
    assert guard.me(bearer(base)).status == 200
    assert guard.me(bearer(token)).status in (200, *REFUSED)
    assert guard.log_out(bearer(base)).status == 200

    answers = [guard.me(bearer(token)), guard.me(bearer(base))]

    assert all(answer.status in REFUSED for answer in answers)
    assert not any(answer.reached_application for answer in answers)


def respell(signature: bytes, spelling: str) -> bytes:
    """Another form of an ECDSA signature: the first two are broken, the others mean the same."""
    r, s = signature[:32], signature[32:]
    twin = (corpus.jwtkit().N256 - int.from_bytes(s, "big")).to_bytes(32, "big")
    zeros = b"\0" + r + b"\0" + s
    return {"odd": signature + b"\0", "short": b"\1", "twin": r + twin, "zeros in front": zeros}[spelling]


@pytest.mark.parametrize("spelling", ["odd", "short", "twin", "zeros in front"])
@pytest.mark.parametrize("middleware", [verifying, trusting])
@pytest.mark.parametrize("stack", STACKS)
def test_an_ecdsa_signature_of_another_form_is_refused_after_the_logout(
    stack: str, middleware: Callable[..., Site], spelling: str, clock: MovableClock
) -> None:
    """The corpus has DER, whose length is random, and the twin only padded (identity.md 1)."""
    guard = middleware(stack, "es256", clock)
    kit, everything = corpus.jwtkit(), corpus.read("jwt_attacks")
    case = next(each for each in everything if each["verifier"] == "es256" and not is_verdict(each))
    _, base = build(case, clock)
    head, body, signature = base.split(".")
    token = ".".join([head, body, kit.b64u(respell(kit.unb64u(signature), spelling))])
    assert guard.me(bearer(base)).status == 200
    assert guard.log_out(bearer(base)).status == 200

    answer = guard.me(bearer(token))

    assert answer.status in REFUSED
    assert spelling in ("odd", "short") or not answer.reached_application


@pytest.mark.parametrize("stack", ["asgi", "wsgi"])
@pytest.mark.parametrize("case", corpus.cases("jwt_attacks", raw=True))
def test_no_token_costs_much(case: corpus.Case, stack: str, clock: MovableClock) -> None:
    """Nobody can keep a worker busy with a token."""
    guard = verifying(stack, case["verifier"], clock)
    token, _ = build(case, clock)

    def first_sight() -> None:
        guard.forget_headers()
        guard.me(bearer(token))

    assert corpus.least_cpu(first_sight) < corpus.CPU_SECONDS
