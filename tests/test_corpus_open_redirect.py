"""open_redirect.jsonl: a logout leads exactly where the operator listed, and nowhere else."""

from __future__ import annotations

import functools
import json

import pytest

from logout_middleware import ConfigurationError, LogoutSettings
from logout_middleware.rules.redirects import fault_in_entry, is_allowed

from . import corpus
from .parsers import Answer, Site, site

ELSEWHERE = "/signed-out"
"""LOGOUT_REDIRECT_URL, which no case asks for."""
STACKS = ("asgi", "wsgi")


@functools.cache
def guarded(stack: str, allow: tuple[str, ...]) -> Site:
    """A site with this allow-list, once its operator has taken out what stops the start."""
    sound = tuple(entry for entry in allow if fault_in_entry(entry) is None)
    return site(stack, redirect_allow=sound, redirect_url=ELSEWHERE, on_get="allow")


def assert_verdict(case: corpus.Case, target: str | None) -> None:
    """Allowed: exactly the payload. Refused: the default, or no answer that leads anywhere."""
    assert target in ((case["payload"],) if case["expected"] == "allowed" else (ELSEWHERE, None))


def target_of(answer: Answer) -> str | None:
    """Where an answer sends a browser."""
    if answer.status != 303:
        assert answer.status == 400
        assert not answer.all("location")
        return None
    (target,) = answer.all("location")
    return target


@pytest.mark.parametrize("case", corpus.cases("open_redirect"))
def test_a_target_gets_its_verdict_by_the_rule(case: corpus.Case) -> None:
    """Byte for byte; an entry that cannot be right matches nothing."""
    assert is_allowed(case["payload"], case["allow"]) is (case["expected"] == "allowed")


@pytest.mark.parametrize(
    "allow", {tuple(case["allow"]) for case in corpus.read("open_redirect") if any(map(fault_in_entry, case["allow"]))}
)
def test_a_list_with_an_entry_that_cannot_be_right_stops_the_start(allow: tuple[str, ...]) -> None:
    """The operator hears of every such entry at once."""
    with pytest.raises(ConfigurationError) as raised:
        LogoutSettings.load({}, env_file=None, redirect_allow=allow)

    assert len(raised.value.mistakes) == sum(fault_in_entry(entry) is not None for entry in allow)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("case", corpus.cases("open_redirect"))
def test_a_target_in_the_query_gets_its_verdict(case: corpus.Case, stack: str) -> None:
    """`GET /auth/logout` with exactly these bytes on the wire."""
    guard = guarded(stack, tuple(case["allow"]))

    target = target_of(guard.ask("GET", "/auth/logout", query=f"redirect_uri={case['query']}"))

    assert_verdict(case, target)


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("case", corpus.cases("open_redirect"))
def test_a_target_in_a_json_body_gets_its_verdict(case: corpus.Case, stack: str) -> None:
    """`POST /auth/logout` tells a script where to go by the same rule."""
    guard = guarded(stack, tuple(case["allow"]))
    body = json.dumps({"redirect_uri": case["payload"]}).encode("ascii")

    answer = guard.ask("POST", "/auth/logout", [("Content-Type", "application/json")], body=body)

    assert answer.status == 200
    assert_verdict(case, answer.json()["redirect_to"])


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("case", corpus.cases("open_redirect"))
def test_no_target_costs_much(case: corpus.Case, stack: str) -> None:
    """Nobody can keep a worker busy with a target."""
    guard = guarded(stack, tuple(case["allow"]))

    def work() -> None:
        is_allowed(case["payload"], case["allow"])
        guard.ask("GET", "/auth/logout", query=f"redirect_uri={case['query']}")

    assert corpus.least_cpu(work) < corpus.CPU_SECONDS
