"""logout_csrf.jsonl: no other site may log a user out, and our own pages may."""

from __future__ import annotations

from dataclasses import dataclass

import jwt
import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.rules.revocation import session_key
from logout_middleware.testing import MovableClock

from . import corpus
from .parsers import Answer, Site, site

KEY = "a shared secret of more than 32 bytes"
FORM = ("Content-Type", "application/x-www-form-urlencoded")


@dataclass
class Alice:
    """Alice's site, and what she and others hold."""

    guard: Site
    clock: MovableClock

    def token(self, *, sub: str = "alice", sid: str = "s-1", key: str = KEY, ends: int = 600) -> str:
        """A signed token; each is another one."""
        now = int(self.clock())
        claims = {"sub": sub, "sid": sid, "iat": now - 900, "exp": now + ends}
        return jwt.encode(claims, key, algorithm="HS256")

    def credential(self, auth: str) -> tuple[str, str]:
        """The field that carries what the case calls `auth`."""
        if auth == "cookie":
            return self.cookie
        tokens = {
            "bearer": self.token(),
            "bearer-expired": self.token(ends=-60),
            "bearer-revoked": self.token(sid="s-of-yesterday"),
        }
        return "Authorization", f"Bearer {tokens[auth]}"

    @property
    def cookie(self) -> tuple[str, str]:
        """Her session cookie."""
        return "Cookie", f"session={self.token()}"

    def proof(self, sid: str) -> str:
        """The token that a form of ours carries for this session."""
        inner = self.guard.logout if self.guard.is_asgi else self.guard.logout.inner
        return str(inner.links.make(session_key(sid), None))

    def placeholders(self) -> dict[str, str]:
        """What stands for the names in braces."""
        return {
            "CSRF": self.proof("s-1"),
            "CSRF_PREFIX": self.proof("s-1")[:-8],
            "CSRF_OTHER_USER": self.proof("s-of-bob"),
            "ID_TOKEN_FORGED": self.token(key="another secret of more than 32 bytes"),
            "ID_TOKEN_OF_SESSION_EXPIRED": self.token(ends=-60),
        }

    @property
    def is_logged_in(self) -> bool:
        """Is her cookie still served?"""
        return self.guard.me(self.cookie).status == 200

    def records(self) -> int:
        """How many revocations there are."""
        inner = self.guard.logout if self.guard.is_asgi else self.guard.logout.inner
        return run_blocking(inner.raw_store.count())


@pytest.fixture(params=["starlette", "flask"])
def alice(request: pytest.FixtureRequest) -> Alice:
    """A site whose own origin is https://app.example.com, and Alice logged in on it."""

    def authenticate(token: str) -> str:
        ageless = {"verify_exp": False, "verify_iat": False}
        return str(jwt.decode(token, KEY, algorithms=["HS256"], options=ageless)["sub"])

    clock = MovableClock()
    guard = site(
        request.param, authenticate, clock=clock, jwt_key=KEY, jwt_algorithms="HS256", cookies="session:jwt",
        secret="the secret of forms", public_url="https://app.example.com",
    )  # fmt: skip
    return Alice(guard, clock)


def request_of(alice: Alice, case: corpus.Case, fields: list[tuple[str, str]], *, csrf_field: str) -> Answer:
    """Send the request of a case."""
    body = corpus.fill(case.get("body", ""), alice.placeholders()).replace("csrf_token=", csrf_field + "=")
    if body and not any(name == "Content-Type" for name, _ in fields):
        fields = [*fields, FORM]
    path = case["path"].replace("/oidc/logout", "/auth/logout")
    path = "/auth/logout" if path == "/logout" else path
    query = corpus.fill(case.get("query", ""), alice.placeholders())
    return alice.guard.ask(case["method"], path, fields, query=query, body=body.encode("ascii"))


def outcome_of(answer: Answer) -> str:
    """logout, confirm or refuse; nothing else may be answered."""
    if answer.status in (403, 405):
        return "refuse"
    if answer.status == 303 or (answer.status == 200 and answer.all("content-type") == ["application/json"]):
        return "logout"
    assert answer.status == 200
    assert b'<form method="post"' in answer.body
    return "confirm"


@pytest.mark.parametrize("csrf_field", ["csrf_token", "intent"])
@pytest.mark.parametrize("case", corpus.cases("logout_csrf"))
def test_a_request_gets_its_verdict_and_nothing_else_happens(case: corpus.Case, csrf_field: str, alice: Alice) -> None:
    """A refusal and a question change nothing; a logout ends the session. Our forms call their token `intent`."""
    credential = alice.credential(case["auth"])
    if case["auth"] == "bearer-revoked":
        assert alice.guard.log_out(credential).status == 200
    records = alice.records()
    assert alice.is_logged_in

    answer = request_of(alice, case, [credential, *map(tuple, case["headers"])], csrf_field=csrf_field)

    outcome = outcome_of(answer)
    wanted = {case["expected"], case.get("also_ok")}
    if "refuse" in wanted and case["method"] == "GET" and not is_prefetch(case):
        wanted.add("confirm")
    assert outcome in wanted
    if outcome == "logout" and case["auth"] != "bearer-revoked":
        assert not alice.is_logged_in
        assert alice.guard.me(credential).status == 401
    else:
        assert alice.is_logged_in
        assert alice.records() == records
    if outcome != "logout":
        assert answer.all("set-cookie") == []


def is_prefetch(case: corpus.Case) -> bool:
    """Does the browser say that nobody asked for this yet?"""
    return any("prefetch" in value for _, value in case["headers"])


def test_a_form_of_ours_logs_out_where_the_browser_hides_its_origin(alice: Alice) -> None:
    """The `also_ok` of the corpus is not the only answer: with the name that our forms use, the proof counts."""
    (case,) = (each for each in corpus.read("logout_csrf") if each.get("body") == "csrf_token={CSRF}")

    answer = request_of(alice, case, [alice.cookie, *map(tuple, case["headers"])], csrf_field="intent")

    assert outcome_of(answer) == "logout"
    assert not alice.is_logged_in
