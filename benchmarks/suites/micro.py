"""What does the guard cost a request, in process?

Four stacks (a pure ASGI application, Starlette, a pure WSGI application, Flask), each bare, behind a middleware that
does nothing, and behind the guard: with a bearer token that was seen before, one that was never seen, a token in a
cookie, and no credential at all. The memory store knows 1000 revocations.

A ratio includes what a server does for each request: building it. "the request alone" says how much that is.
"""

from __future__ import annotations

from logout_middleware.logout import Logout

from .. import pair, traffic
from ..pair import Case, Effort, Result, Row
from ..stacks import STACKS, Stack, filled, seen_before
from ..traffic import Gate

NAME = "micro"
WITHIN = (0.97, 1.03)

BARE, AGAIN, NOTHING, ALONE = "bare", "bare again", "no-op", "the request alone"
SEEN, FIRST, COOKIE, NOBODY = "bearer seen before", "bearer first seen", "cookie seen before", "no credential"


def run(effort: Effort) -> Result:
    """Measure the four stacks, one after the other."""
    result, gate = Result(NAME), Gate.make()
    texts = traffic.tokens(effort.tokens)
    for stack in STACKS:
        rounds = pair.measure(_cases(stack, gate, texts), effort)
        result.rounds[stack.name] = rounds
        pair.control(result, rounds, of=stack.name, bare=BARE, again=AGAIN, within=WITHIN)
        result.rows += _rows(stack.name, rounds)
        for kind in (SEEN, FIRST, COOKIE, NOBODY):
            result.estimates[f"{stack.name}: {kind} / no-op"] = pair.ratio(rounds, kind, _nothing_for(kind))
    return result


def _cases(stack: Stack, gate: Gate, texts: list[str]) -> list[Case]:
    bare = stack.make()
    nothing = stack.nothing(bare)
    logout, forgetful = (stack.logout(filled(1000), gate) for _ in range(2))
    guarded, surprised = stack.guard(bare, logout=logout), stack.guard(bare, logout=forgetful)
    for name, app, is_guarded in (
        ("bare", bare, False), ("no-op", nothing, False), ("guarded", guarded, True), ("first seen", surprised, True),
    ):  # fmt: skip
        gate.pass_through(f"{stack.name}, {name}", stack.status(app), guarded=is_guarded)
    bearers = [traffic.with_bearer(text) for text in texts]
    cookies = [traffic.with_cookie(text) for text in texts]
    nobody = [traffic.without_credential(number) for number in range(len(texts))]
    return [
        Case(ALONE, stack.turns(stack.silent, bearers, answering=False)),
        Case(BARE, stack.turns(bare, bearers)),
        Case(AGAIN, stack.turns(bare, bearers)),
        Case(NOTHING, stack.turns(nothing, bearers)),
        Case(_nothing_for(COOKIE), stack.turns(nothing, cookies)),
        Case(_nothing_for(NOBODY), stack.turns(nothing, nobody)),
        Case(SEEN, seen_before(stack.turns(guarded, bearers), len(texts))),
        Case(COOKIE, seen_before(stack.turns(guarded, cookies), len(texts))),
        Case(NOBODY, stack.turns(guarded, nobody)),
        Case(FIRST, stack.turns(surprised, bearers), prepare=lambda: _forget(forgetful), at_most=len(texts) // 4),
    ]


def _forget(logout: Logout) -> None:
    logout.guard.bearers.forget_all()


def _nothing_for(kind: str) -> str:
    """The middleware that does nothing, given the same requests."""
    return {COOKIE: "no-op, with the cookie", NOBODY: "no-op, no credential"}.get(kind, NOTHING)


def _rows(stack: str, rounds: pair.Rounds) -> list[Row]:
    rows = [pair.row(rounds, stack, ALONE), pair.row(rounds, stack, BARE)]
    rows += [pair.row(rounds, stack, case, BARE) for case in (AGAIN, NOTHING)]
    return rows + [pair.row(rounds, stack, kind, _nothing_for(kind)) for kind in (SEEN, FIRST, COOKIE, NOBODY)]
