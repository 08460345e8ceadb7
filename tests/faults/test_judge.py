"""The judge notices every kind of broken promise, and calls nothing broken that was kept."""

from __future__ import annotations

import json

import pytest

from .judge import RECOVERY_SECONDS, judge, read


def login(t, token="t"):
    return {"op": "login", "t_send": t, "t_recv": t, "token": token}


def check(t, status, token="t", *, worker="w1", host="a", op="check", took=0.01):
    return {
        "op": op, "t_send": t, "t_recv": t + took, "worker": worker, "host": host, "token": token, "status": status,
    }  # fmt: skip


def logout(t, status=200, *tokens, worker="w1", host="a", took=0.1):
    return {
        "op": "logout", "t_send": t, "t_recv": t + took, "worker": worker, "host": host,
        "tokens": list(tokens) or ["t"], "status": status,
    }  # fmt: skip


def event(op, t):
    return {"op": op, "t_send": t, "t_recv": t + 0.1, "what": "…"}


def counts(*history, bound=0.0):
    """What is not zero."""
    found = judge(history, bound=bound)
    named = {name: getattr(found, name) for name in ("lost", "unrevoked", "false_ack", "false_401", "unexpected")}
    return {name: count for name, count in named.items() if count}


KEPT = {
    "nothing happened": [],
    "a live token is served": [check(1, 200), check(2, 200)],
    "a dead one is refused by everybody": [logout(1), check(2, 401), check(2, 401, worker="w2")],
    "a request that was sent before the answer was read may pass": [logout(1, took=0.5), check(1.4, 200)],
    "refused while the logout was under way": [logout(1, took=0.5), check(1.1, 401)],
    "refused after a logout that failed may be refused, everywhere": [logout(1, 503), check(2, 401), check(2, 401)],
    "accepted after a logout that failed": [logout(1, 503), check(2, 200), check(2, 200, worker="w2")],
    "not knowing is no lie": [logout(1), check(2, 503), check(3, 0)],
    "everybody is logged out when the store is adopted": [login(0), event("adopt", 1), check(2, 401)],
    "refused on this host at once, elsewhere later": [
        event("away", 0), logout(1, 202), check(1.2, 401), check(1.2, 200, host="b", worker="w3"), event("back", 3),
        check(4, 200, host="b", worker="w3"), check(3.2 + RECOVERY_SECONDS, 401, host="b", worker="w3"),
    ],
}  # fmt: skip

BROKEN = {
    "accepted after the answer was read": ([logout(1), check(1.2, 200)], {"lost": 1}),
    "accepted by another worker": ([logout(1), check(2, 401), check(2, 200, worker="w2")], {"lost": 1}),
    "one of several tokens lives on": ([logout(1, 200, "t", "s"), check(2, 401), check(2, 200, "s")], {"lost": 1}),
    "the second of two answers counts as well": ([logout(1, 503), logout(2, 200), check(3, 200)], {"lost": 1}),
    "refused and then accepted, after a failed logout": (
        [logout(1, 503), check(2, 401), check(3, 200)], {"unrevoked": 1},
    ),
    "refused and then accepted": ([logout(1), check(2, 401), check(3, 200)], {"lost": 1, "unrevoked": 1}),
    "accepted when all is healed": (
        [logout(1), check(9, 200, op="sweep"), check(9, 200, op="sweep", worker="w2")], {"false_ack": 1},
    ),
    "refused, and nobody logged it out": ([check(1, 401)], {"false_401": 1}),
    "refused before the logout was sent": ([check(1, 401), logout(2)], {"false_401": 1}),
    "a login after the adoption is refused": ([event("adopt", 1), login(2), check(3, 401)], {"false_401": 1}),
    "what was acknowledged before an adoption is alive": ([logout(0), event("adopt", 1), check(2, 200)], {"lost": 1}),
    "served as somebody else": ([check(1, 299)], {"unexpected": 1}),
    "an error instead of 503": ([check(1, 500), logout(2, 500)], {"unexpected": 2}),
    "202, and accepted on this host": ([event("away", 0), logout(1, 202), check(2, 200)], {"lost": 1}),
    "202, and accepted elsewhere long after the store was back": (
        [event("away", 0), logout(1, 202), event("back", 2), check(2.2 + RECOVERY_SECONDS, 200, host="b")], {"lost": 1},
    ),
    "202 first and then 200, and accepted elsewhere": (
        [event("away", 0), logout(1, 202), logout(2, 200), check(3, 200, host="b")], {"lost": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("history", KEPT.values(), ids=KEPT)
def test_kept_promise_is_clean(history):
    """What the contract allows is not called a violation."""
    assert counts(*history) == {}
    assert judge(history).clean


@pytest.mark.parametrize(("history", "expected"), BROKEN.values(), ids=BROKEN)
def test_planted_violation_is_found(history, expected):
    """Each kind of broken promise is counted under its own name, whatever the order of the lines."""
    assert counts(*history) == expected
    assert counts(*reversed(history)) == expected
    assert judge(history).first_violation


def test_staleness_up_to_the_bound_is_allowed():
    """In the bounded profile a token may live on for the declared time, and not a moment longer."""
    within = [logout(1), check(2.0, 200)]
    beyond = [*within, check(2.11, 200)]

    assert counts(*within, bound=1.0) == {}
    assert judge(within, bound=1.0).worst_staleness == pytest.approx(0.9)
    assert counts(*beyond, bound=1.0) == {"lost": 1}


def test_unanswered_requests_are_counted_as_unavailable():
    """A fail-closed system that is never there would be perfectly safe; the table shows that, too."""
    found = judge([check(1, 0), check(2, 503), check(3, 200), logout(4, 0), logout(5, 503), logout(8)])

    assert (found.checks, found.unavailable, found.logouts, found.refused_logouts, found.acked) == (3, 2, 3, 2, 1)


def test_longest_gap_and_latency_come_from_acknowledged_logouts():
    """A logout that was refused is no sign of life."""
    found = judge([logout(1, took=0.2), logout(2, 503), logout(5, took=0.1)])

    assert found.longest_gap == pytest.approx(3.9)
    assert found.quantile(1.0) == pytest.approx(0.2)


def test_saved_history_is_judged_again_to_the_same_verdict(tmp_path):
    """What went wrong once can be looked at for as long as it takes."""
    history = [logout(1), check(1.2, 200), check(3, 401)]
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in history))

    assert judge(read(path)) == judge(history)
