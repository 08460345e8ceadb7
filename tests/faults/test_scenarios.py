"""Real servers are broken under load, and no promise is; and set-ups that do break it are noticed.

`make faults` plays all scenarios, longer. What fails prints the seed and the place of the history.
"""

from __future__ import annotations

import random

import pytest

from tests.services import Missing

from . import moments
from .__main__ import play
from .scenarios import SCENARIOS

PLAYED = (
    "sqlite, workers killed", "postgresql, kill -9", "redis, hang", "redis, kill -9 and hang, journal, 1 s",
    "redis, flush", "sentinel, split brain",
)  # fmt: skip
MOMENTS = {"redis": 13, "sqlite": 8, "postgresql": 4}


@pytest.fixture
def seed():
    """Another one in each run; it is printed with a failure."""
    found = random.randrange(10**6)
    print(f"seed {found}")
    return found


def verdict_on(name, seconds, seed, tmp_path_factory):
    history = tmp_path_factory.mktemp("faults") / "history.jsonl"
    print(f"again: python -m tests.faults --seed {seed} --seconds {seconds} --only '{name}'; history: {history}")
    try:
        return play(SCENARIOS[name], seconds=seconds, seed=seed, save=history)
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", PLAYED)
def test_no_promise_is_broken(name, seed, tmp_path_factory):
    """Whatever happens to the servers, who was told "logged out" is."""
    found = verdict_on(name, 5, seed, tmp_path_factory)

    assert found.clean, found.first_violation
    assert found.acked > 20
    assert found.unswept == 0


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.broken])
def test_broken_set_up_is_noticed(name, seed, tmp_path_factory):
    """The checker is believed when it says "clean", because it does not say so of these."""
    found = verdict_on(name, 3, seed, tmp_path_factory)

    assert found.lost > 0


@pytest.mark.parametrize("kind", MOMENTS)
def test_kill_at_any_moment_loses_no_acknowledged_logout(kind, seed):
    """Kill -9 of the process and of the store: a 200 holds everywhere, a 202 on this host at once."""
    try:
        found = moments.play(kind, MOMENTS[kind], seed)
    except Missing as missing:
        pytest.skip(str(missing))

    assert found.broken == []
    assert found.done > 0
