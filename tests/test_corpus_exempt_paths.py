"""exempt_paths.jsonl: only what the operator exempted goes unchecked, however the path is dressed up."""

from __future__ import annotations

from typing import Any

import pytest

from . import corpus
from .parsers import Answer, Site, ask_websocket, site

REVOKED = "rv7Xq1LwD4tN9zS2bG6kM8cJ3yP5uF0e"
EXEMPT = "/health,/metrics,/static/,/public/"


@pytest.fixture
def guards() -> dict[str, Site]:
    """Applications that serve anything, behind a middleware where {REVOKED} was logged out."""
    given = {"exempt_paths": EXEMPT, "cookies": "session:opaque", "revoked_cookie": "reject"}
    guards = {stack: site(stack, **given) for stack in ("asgi", "wsgi")}
    for guard in guards.values():
        assert guard.log_out(("Authorization", f"Bearer {REVOKED}")).status == 200
    return guards


def fields_of(case: corpus.Case, carrier: str) -> list[tuple[str, str]]:
    """The fields of a case, with the revoked token where its query does not carry it."""
    fields = [(name, value) for name, value in case["headers"]]
    if "{REVOKED}" in case.get("query", ""):
        return fields
    carried = ("Authorization", f"Bearer {REVOKED}") if carrier == "bearer" else ("Cookie", f"session={REVOKED}")
    return [*fields, carried]


def path_of(case: corpus.Case) -> str:
    """The decoded path."""
    return str(case.get("path") or "/api/private")


def query_of(case: corpus.Case) -> str:
    """The query string."""
    return corpus.fill(case.get("query", ""), {"REVOKED": REVOKED})


def assert_verdict(case: corpus.Case, answer: Answer) -> None:
    """Checked: refused before the application. Exempt: served by it."""
    reached = {"checked": (False,), "exempt": (True,), "either": (True, False)}[case["expected"]]
    assert answer.reached_application in reached
    assert answer.status in ((200, 101) if answer.reached_application else (401,))


def is_http(case: corpus.Case) -> bool:
    """Is it an ordinary request?"""
    return bool(case["type"] == "http")


@pytest.mark.parametrize("carrier", ["bearer", "cookie"])
@pytest.mark.parametrize("case", corpus.cases("exempt_paths", is_http))
def test_a_path_gets_its_verdict_under_asgi(case: corpus.Case, carrier: str, guards: dict[str, Site]) -> None:
    """The path that the application routes on decides, and nothing else does."""
    more: dict[str, Any] = {"root_path": case.get("root_path", "")}
    if "raw_path" in case:
        more["raw_path"] = case["raw_path"].encode("ascii")

    answer = guards["asgi"].ask(
        case["method"], path_of(case), fields_of(case, carrier), query=query_of(case), **more
    )  # fmt: skip

    assert_verdict(case, answer)


@pytest.mark.parametrize("carrier", ["bearer", "cookie"])
@pytest.mark.parametrize("case", corpus.cases("exempt_paths", is_http))
def test_a_path_gets_its_verdict_under_wsgi(case: corpus.Case, carrier: str, guards: dict[str, Site]) -> None:
    """PATH_INFO decides: the path below SCRIPT_NAME, where the request is below it."""
    root = case.get("root_path", "")
    below = path_of(case).removeprefix(root) if path_of(case).startswith(root + "/") else path_of(case)
    below = "" if root and below == root else below

    answer = guards["wsgi"].ask(
        case["method"], below, fields_of(case, carrier), query=query_of(case), root_path=root
    )  # fmt: skip

    assert_verdict(case, answer)


@pytest.mark.parametrize("carrier", ["bearer", "cookie"])
@pytest.mark.parametrize("case", corpus.cases("exempt_paths", lambda case: not is_http(case)))
def test_a_handshake_gets_its_verdict(case: corpus.Case, carrier: str, guards: dict[str, Site]) -> None:
    """A WebSocket is refused before it is accepted."""
    answer = ask_websocket(guards["asgi"].app, path_of(case), fields_of(case, carrier), query=query_of(case))

    assert_verdict(case, answer)
