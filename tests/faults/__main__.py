"""Play the scenarios and print the table; exit status 1 if a promise was broken, or a broken set-up not noticed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.services import Missing

from . import moments
from .injuries import prepare_network
from .judge import Verdict
from .scenarios import SCENARIOS, Scenario, run
from .topology import ROOT

HEAD = (
    "| scenario | acked | pending | lost | unrevoked | false_ack | false_401 | other | unavailable | worst staleness "
    "| logout p50 / p99 | longest gap | slowest check |"
)


def play(scenario: Scenario, *, seconds: float, seed: int, save: Path) -> Verdict:
    """`run`, in a network of its own if the scenario needs one."""
    if not scenario.isolated or os.environ.get("FAULTS_ISOLATED"):
        return run(scenario, seconds=seconds, seed=seed, save=save)
    as_root = [] if os.geteuid() == 0 else ["-U", "-r"]
    prefix = [shutil.which("unshare") or "unshare", "-n", *as_root]
    if not shutil.which("ip") or subprocess.run([*prefix, "ip", "rule"], capture_output=True).returncode:
        raise Missing("unshare and ip must be allowed to make a network namespace; on Debian: apt-get install iproute2")
    command = [*prefix, sys.executable, "-m", "tests.faults", "--only", scenario.name, "--json"]
    done = subprocess.run(
        [*command, "--seconds", str(seconds), "--seed", str(seed), "--save", str(save.absolute())],
        cwd=ROOT, env={**os.environ, "FAULTS_ISOLATED": "1"}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return Verdict(**json.loads(done.stdout))


def row(name: str, found: Verdict) -> str:
    """One line of the table."""
    share = found.unavailable / found.checks if found.checks else 0.0
    milliseconds = " / ".join(f"{found.quantile(q) * 1000:.0f}" for q in (0.5, 0.99))
    return (
        f"| {name} | {found.acked} | {found.pending} | {found.lost} | {found.unrevoked} | {found.false_ack} "
        f"| {found.false_401} | {found.unexpected} | {share:.1%} | {found.worst_staleness:.2f} s | {milliseconds} ms "
        f"| {found.longest_gap:.1f} s | {found.slowest_check:.2f} s |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of load in each scenario")
    parser.add_argument("--only", help="the scenarios whose name contains this")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--save", type=Path, help="where the history of the last one goes")
    parser.add_argument("--moments", type=int, default=1000, help="at which everything is killed; 0 for none")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--json", action="store_true", help="play the one of exactly this name in the present network")
    given = parser.parse_args()
    if given.json:
        prepare_network()
        verdict = run(SCENARIOS[given.only], seconds=given.seconds, seed=given.seed, save=given.save)
        print(json.dumps(dataclasses.asdict(verdict)))
        return 0
    chosen = [scenario for name, scenario in SCENARIOS.items() if not given.only or given.only in name]
    if given.list:
        print("\n".join(scenario.name for scenario in chosen))
        return 0
    history = given.save or Path(tempfile.gettempdir()) / "faults-history.jsonl"
    wrong = []
    print(f"seed {given.seed}, {given.seconds:g} s each\n\n{HEAD}\n|{'---|' * HEAD.count(' |')}", flush=True)
    for scenario in chosen:
        try:
            found = play(scenario, seconds=given.seconds, seed=given.seed, save=history)
        except Missing as missing:
            print(f"| {scenario.name} | not played: {missing} |", flush=True)
            wrong += [f"{scenario.name}: {missing}"] if os.environ.get("CI") else []
            continue
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"| {scenario.name} | failed to play |", flush=True)
            wrong.append(f"{scenario.name}: {error}")
            continue
        print(row(scenario.name, found), flush=True)
        if found.clean == scenario.broken or not found.acked + found.pending:
            kept = history.with_name(f"faults-{scenario.name.replace(' ', '_')}.jsonl")
            history.replace(kept)
            why = "not noticed" if found.clean else found.first_violation
            wrong.append(f"{scenario.name}: {why}; the history is in {kept}")
    if given.moments and (not given.only or given.only in moments.NAME):
        print(flush=True)
        wrong += moments.main(given.moments, given.seed)
    print("\n" + ("\n".join(wrong) or "no promise was broken, and every broken set-up was noticed"))
    if wrong:
        print(f"again: python -m tests.faults --seed {given.seed} --seconds {given.seconds:g} --only '…'")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
