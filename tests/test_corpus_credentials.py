"""credentials.jsonl: whatever a header or cookie looks like, a logged-out token serves nobody."""

from __future__ import annotations

import functools

import jwt
import pytest

from logout_middleware.testing import MovableClock

from . import corpus
from .parsers import Answer, Site, site

KEY = "a shared secret of more than 32 bytes"
CLOCK = MovableClock()
USERS = {"GOOD": "alice", "REVOKED": "rita", "OTHER": "bob"}
OPAQUE = {
    "GOOD": "gd2Zr0yJ1vYt9cQ4mW8uK5nB7xE3aH6s", "REVOKED": "rv7Xq1LwD4tN9zS2bG6kM8cJ3yP5uF0e",
    "OTHER": "ot5Hn8QpA3vC6rT1jL9xW4mZ7dK2gY0i",
}  # fmt: skip
KINDS = ("opaque", "jwt", "jwt-verified")
STACKS = ("starlette", "flask", "django")


@functools.cache
def tokens(kind: str) -> dict[str, str]:
    """The three tokens of the corpus, and the revoked one as octal escapes."""
    found = OPAQUE if kind == "opaque" else {name: _jwt(name) for name in USERS}
    return found | {"REVOKED_OCTAL": "".join(f"\\{ord(character):03o}" for character in found["REVOKED"])}


def _jwt(name: str) -> str:
    now = int(CLOCK())
    claims = {"sub": USERS[name], "sid": f"s-{name}", "jti": f"j-{name}", "iat": now - 5, "exp": now + 600}
    return jwt.encode(claims, KEY, algorithm="HS256")


def authenticate(token: str) -> str | None:
    """The application's own check, which knows of no logout; how long tokens live is not the subject here."""
    for name, text in OPAQUE.items():
        if token == text:
            return USERS[name]
    ageless = {"verify_exp": False, "verify_iat": False}
    try:
        return str(jwt.decode(token, KEY, algorithms=["HS256"], options=ageless)["sub"])
    except jwt.PyJWTError:
        return None


@functools.cache
def guarded(stack: str, kind: str, mode: str, cookie: str) -> Site:
    """An application behind the middleware where {REVOKED} was logged out."""
    keys = {"jwt_key": KEY, "jwt_algorithms": "HS256"} if kind == "jwt-verified" else {}
    form = "opaque" if kind == "opaque" else "jwt"
    made = site(stack, authenticate, cookie, cookies=f"{cookie}:{form}", revoked_cookie=mode, clock=CLOCK, **keys)
    assert made.log_out(("Authorization", f"Bearer {tokens(kind)['REVOKED']}")).status == 200
    return made


def fields_of(case: corpus.Case, kind: str) -> list[tuple[str, str]]:
    """The Authorization and Cookie fields of a case."""
    lines = [("Authorization", text) for text in case.get("authorization") or ()]
    lines += [("Cookie", text) for text in case.get("cookie") or ()]
    return [(name, corpus.fill(text, tokens(kind))) for name, text in lines]


def assert_verdict(case: corpus.Case, mode: str, answer: Answer) -> None:
    """The rule of the corpus. The application says 401 to an anonymous visitor, so only `accept` is ever 200."""
    assert answer.status in (200, 400, 401)
    served_as = answer.json()["user"] if answer.status == 200 else None
    if case["expected"] == "accept":
        assert served_as == "alice"
    elif case["expected"] == "either":
        assert served_as in ("alice", None)
    else:
        assert served_as is None
    hands_over_revoked = "{REVOKED}" in (case.get("seen") or {}).values()
    if case["expected"] == "reject" and hands_over_revoked and (mode == "reject" or case["kind"] == "authorization"):
        assert not answer.reached_application


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("case", corpus.cases("credentials"))
def test_a_credential_gets_its_verdict_where_revoked_cookies_are_rejected(
    case: corpus.Case, stack: str, kind: str
) -> None:
    """If any parser hands the application the revoked token, the request is refused."""
    guard = guarded(stack, kind, "reject", case.get("cookie_name") or "session")

    answer = guard.me(*fields_of(case, kind))

    assert_verdict(case, "reject", answer)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("case", corpus.cases("credentials", lambda case: case["kind"] != "authorization"))
def test_a_cookie_gets_its_verdict_where_revoked_cookies_make_anonymous_visitors(
    case: corpus.Case, stack: str, kind: str
) -> None:
    """A revoked or doubtful cookie never reaches the application."""
    guard = guarded(stack, kind, "anonymous", case["cookie_name"])

    answer = guard.me(*fields_of(case, kind))

    assert_verdict(case, "anonymous", answer)


@pytest.mark.parametrize("mode", ["reject", "anonymous"])
@pytest.mark.parametrize("stack", ["asgi", "wsgi"])
@pytest.mark.parametrize("case", corpus.cases("credentials"))
def test_no_credential_costs_much(case: corpus.Case, stack: str, mode: str) -> None:
    """Nobody can keep a worker busy with a header."""
    guard = guarded(stack, "opaque", mode, case.get("cookie_name") or "session")
    fields = fields_of(case, "opaque")

    def first_sight() -> None:
        guard.forget_headers()
        guard.me(*fields)

    assert corpus.least_cpu(first_sight) < corpus.CPU_SECONDS
