"""Does a guarded request become slower when more is revoked?

The same requests, with a bearer token that was seen before, against memory stores with a thousand to a million live
revocations, on a pure ASGI application and on Starlette.
"""

from __future__ import annotations

from collections.abc import Mapping

from logout_middleware.stores import Store

from .. import pair, traffic
from ..pair import Case, Effort, Result
from ..stacks import STACKS, filled, seen_before
from ..traffic import Gate

NAME = "growth"
WITHIN = (0.97, 1.03)
SIZES = (1_000, 100_000, 1_000_000)

BARE, AGAIN = "bare", "bare again"


def run(effort: Effort) -> Result:
    """Measure all sizes against each other, for each stack."""
    result = Result(NAME)
    measure({size: filled(size) for size in SIZES}, effort, result)
    return result


def measure(stores: Mapping[int, Store], effort: Effort, result: Result) -> None:
    """Guarded requests on stores of several sizes; each is compared with the smallest."""
    gate = Gate.make()
    bearers = [traffic.with_bearer(text) for text in traffic.tokens(effort.tokens)]
    for stack in STACKS[:2]:
        bare = stack.make()
        cases = [Case(name, stack.turns(bare, bearers)) for name in (BARE, AGAIN)]
        for size, store in stores.items():
            guarded = stack.guard(bare, logout=stack.logout(store, gate))
            gate.pass_through(f"{stack.name}, {size} revocations", stack.status(guarded), guarded=True)
            cases.append(Case(_named(size), seen_before(stack.turns(guarded, bearers), len(bearers))))
        rounds = pair.measure(cases, effort)
        result.rounds[stack.name] = rounds
        pair.control(result, rounds, of=stack.name, bare=BARE, again=AGAIN, within=WITHIN)
        smallest = _named(min(stores))
        result.rows += [pair.row(rounds, stack.name, BARE), pair.row(rounds, stack.name, AGAIN, BARE)]
        result.rows += [pair.row(rounds, stack.name, smallest, BARE)]
        for size in sorted(stores)[1:]:
            result.rows.append(pair.row(rounds, stack.name, _named(size), smallest))
            result.estimates[f"{stack.name}: {_named(size)} / {smallest}"] = pair.ratio(rounds, _named(size), smallest)


def _named(size: int) -> str:
    return f"{size} revocations"
