"""rfc7009_7662.jsonl: every request to revoke or to introspect gets its verdict, and leaves what it must not touch."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.parse import urlencode

import pytest

from . import corpus
from .client import Answer, BuildSite, Site

FORM = "application/x-www-form-urlencoded"
CLIENTS = {"client-1": {"secret": "secret-1"}, "client-2": {"secret": "secret-2"}}
ISSUER = corpus.jwtkit().ISS


class Grant:
    """Alice's grant to client-1, and the other tokens of the corpus, at a site that serves both endpoints."""

    def __init__(self, http: Site) -> None:
        self.http = http
        ours = {"iss": ISSUER, "aud": corpus.jwtkit().AUD, "client_id": "client-1", "sid": "s-1"}
        mint = http.issuer.mint
        access = mint("alice", jti="access", **ours)
        revoked = mint("alice", **ours | {"sid": "s-2"}, nonce="~~~???>>>" * 3)
        self.tokens = {
            "ACCESS": access,
            "REFRESH": mint("alice", kind="refresh", life=86400, **ours),
            "OTHER_CLIENT": mint("alice", **ours | {"client_id": "client-2", "sid": "s-3"}),
            "OTHER_ISS": mint("alice", **ours | {"iss": "https://other.example.com"}),
            "LOGOUT_TOKEN": mint("alice", events={"http://schemas.openid.net/event/backchannel-logout": {}}, **ours),
            "FORGED": corpus.jwtkit().apply(access, "flip"),
            "ALG_NONE": _unsigned(access),
            "REVOKED": revoked,
            "REVOKED_STD": corpus.jwtkit().apply(revoked, "std_all"),
            "REVOKED_MALLEATED": corpus.jwtkit().apply(revoked, "sig_bits"),
            "ACCESS_PCT": "".join(f"%{byte:02X}" for byte in access.encode()),
        }
        http.call("revoke_token", revoked)

    def fill(self, text: str) -> str:
        """The text with the tokens in it, and `{B64:…}` encoded."""
        text = corpus.fill(text, self.tokens)
        head, mark, rest = text.partition("{B64:")
        inner, _, tail = rest.partition("}")
        return head + b64encode(inner.encode()).decode() + tail if mark else text

    def ask(self, endpoint: str, request: dict[str, Any]) -> Answer:
        """Send the request of a case."""
        pairs = [(name, self.fill(value)) for name, value in request.get("form", [])]
        body = self.fill(request["body"]) if "body" in request else urlencode(pairs)
        fields = [("Content-Type", request["content_type"]), *map(tuple, request.get("headers", []))]
        if request["authorization"] is not None:
            fields.append(("Authorization", self.fill(request["authorization"]).strip()))
        query = self.fill(request["query"])
        path = f"/auth/{endpoint}" + (f"?{query}" if query else "")
        return self.http.request(request["method"], path, body=body.encode(), headers=fields)

    def state(self, name: str) -> str:
        """Whether it is active or inactive, as the client of the token is told."""
        client = ("client-2", "secret-2") if name == "OTHER_CLIENT" else ("client-1", "secret-1")
        form = {"token": self.tokens[name], "client_id": client[0], "client_secret": client[1]}
        told = self.http.post("/auth/introspect", form=form).json
        return "active" if told["active"] else "inactive"


def _unsigned(token: str) -> str:
    kit = corpus.jwtkit()
    return ".".join([kit.b64u(b'{"alg":"none","typ":"JWT"}'), token.split(".")[1], ""])


@pytest.fixture
def grant(site: BuildSite) -> Grant:
    """The grant of the corpus."""
    kit = corpus.jwtkit()
    return Grant(site(endpoints="logout,oauth", clients=CLIENTS, jwt_issuer=kit.ISS, jwt_audience=kit.AUD))


def prepare(grant: Grant, setup: str) -> None:
    """Bring about the state that a case begins with."""
    if "logout" in setup:
        grant.http.call("revoke_user", "alice")  # what a back-channel logout by `sub` ends in, too
    elif setup:
        assert setup.startswith("store unreachable"), setup
        grant.http.store.broken = True


@pytest.mark.parametrize("case", corpus.cases("rfc7009_7662"))
def test_a_request_gets_its_verdict(case: corpus.Case, grant: Grant) -> None:
    """Status, body, and the state of every token that the case names."""
    before = {name: grant.state(name) for name in ("ACCESS", "REFRESH", "OTHER_CLIENT", "REVOKED")}
    assert before == {"ACCESS": "active", "REFRESH": "active", "OTHER_CLIENT": "active", "REVOKED": "inactive"}
    prepare(grant, case.get("setup", ""))

    answer = grant.ask(case["endpoint"], case["request"])
    grant.http.store.broken = False

    assert answer.status in {case["expected_status"], *case.get("also_ok", [])}
    assert answer.header("cache-control") == "no-store"
    wanted = case.get("expected_body")
    if wanted is not None and answer.status == case["expected_status"]:
        told = json.loads(answer.body)
        assert told == wanted if wanted == {"active": False} else told | wanted == told
    for name, state in case.get("after", {}).items():
        assert grant.state(name.strip("{}")) == state


@pytest.mark.parametrize("case", corpus.cases("rfc7009_7662", lambda case: case["request"]["method"] == "POST"))
def test_nothing_that_was_sent_comes_back(case: corpus.Case, grant: Grant) -> None:
    """No token, secret or claim of it is in the body of an answer about another token, or of a revocation."""
    answer = grant.ask(case["endpoint"], case["request"])

    assert not any(token.encode() in answer.body for token in grant.tokens.values())
    assert b"secret-1" not in answer.body
    assert case["endpoint"] == "introspect" or b"alice" not in answer.body


@pytest.mark.parametrize("name", ["REVOKED_MALLEATED", "ACCESS_PCT", "OTHER_CLIENT"])
def test_other_spellings_and_tokens_of_others_are_inactive(grant: Grant, name: str) -> None:
    """Those that the corpus names and no case sends."""
    form = [["token", "{" + name + "}"]]
    request = {"method": "POST", "authorization": "Basic {B64:client-1:secret-1}", "content_type": FORM, "query": ""}

    answer = grant.ask("introspect", request | {"form": form})

    assert json.loads(answer.body) == {"active": False}
