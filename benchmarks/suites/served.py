"""What does the guard cost a worker that really serves?

Two uvicorn workers with the SQLite store in one file, under wrk. For every application the CPU time of its two worker
processes is read from /proc before and after, and divided by the number of answers. The servers of all applications are
up at once; they are loaded one after the other, over and over, and all are restarted at least three times.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from logout_middleware.colour import run_blocking
from logout_middleware.logout import Logout

from .. import pair, serving, traffic
from ..pair import Effort, Result, Rounds
from ..serving import Requests, Served
from ..stacks import random_revocations
from ..traffic import Gate

NAME = "served"
WITHIN = (0.93, 1.07)
WORKERS = 2
REVOCATIONS = 1000

BARE, AGAIN, NOTHING, GUARDED = "bare", "bare again", "no-op", "bearer seen before, SQLite"
_APPS = {BARE: "starlette", AGAIN: "starlette", NOTHING: "nothing", GUARDED: "starlette_guarded"}


def run(effort: Effort) -> Result:
    """Measure all applications, or say why that cannot be done here."""
    result = Result(NAME)
    if not serving.has_proc():
        result.skipped = "the CPU time of the workers is read from /proc, which this system does not have"
        return result
    generator = serving.generator()
    if serving.wrk() is None:
        result.notes.append("wrk is not here and could not be installed: the load came from benchmarks/load.py")
    rounds: Rounds = {name: [] for name in _APPS}
    gate = Gate.make()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requests = Requests.write(folder, NAME, traffic.tokens(effort.tokens))
        settings = prepare(f"sqlite:///{folder / 'logout.db'}", gate)
        apps = [Served(name, f"benchmarks.apps:{app}", "uvicorn", WORKERS, settings) for name, app in _APPS.items()]
        for _ in range(effort.restarts):
            with contextlib.ExitStack() as stack:
                servers = {each.name: stack.enter_context(serving.serving(each, folder)) for each in apps}
                for name, server in servers.items():
                    gate.pass_through(f"served, {name}", server.status, guarded=name == GUARDED)
                    serving.warm_up(generator, server, requests)
                for _ in range(effort.served_rounds):
                    for name, server in servers.items():
                        rounds[name].append(serving.measured(generator, server, requests, effort.served_seconds).cpu)
    result.rounds["starlette"] = rounds
    pair.control(result, rounds, of="starlette", bare=BARE, again=AGAIN, within=WITHIN)
    result.rows = [pair.row(rounds, "starlette", BARE)]
    result.rows += [pair.row(rounds, "starlette", name, BARE) for name in (AGAIN, NOTHING, GUARDED)]
    result.estimates["starlette: worker CPU added per request, µs"] = pair.added(rounds, GUARDED, BARE)
    result.notes.append(f"served: a bare request costs {result.rows[0].cost_us:.1f} µs of worker CPU here")
    return result


def prepare(store: str, gate: Gate, revocations: int = REVOCATIONS, **more: str) -> dict[str, str]:
    """Revoke in this store what the gate expects dead, and so many more; returns the guard's settings as variables."""
    options = traffic.options(store) | more
    logout = Logout(traffic.settings(store), blocking=True)
    traffic.revoke(logout, gate)
    run_blocking(logout.store.add(random_revocations(revocations)))
    run_blocking(logout.close())
    return {"LOGOUT_" + name.upper(): value for name, value in options.items()}
