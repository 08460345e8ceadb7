"""What was logged out stays logged out, and what was not stays logged in, whatever happens to the processes."""

from __future__ import annotations

import pytest

from .server import DEAD, LIVE


@pytest.fixture
def ended(server, ann):
    """A device that logged out, with the worker that acknowledged it."""
    answer = server.ask("POST", "/auth/logout", bearer=ann.access, cookie=ann.cookie)
    assert answer.status == 200
    return ann, answer.worker


def test_killed_worker_takes_no_logout_with_it(server, ended):
    """Kill -9 of the very worker that said "logged out": all others, and the one in its place, know it."""
    device, worker = ended
    going_on = server.log_in("ann")

    server.kill_worker(worker)

    assert server.standing(device) == DEAD
    assert server.standing(going_on) == LIVE


def test_restart_forgets_no_logout(server, ended):
    """A deployment is no amnesty, and logs nobody out."""
    device, _ = ended
    going_on = server.log_in("ann")

    server.stop()
    server.start()

    assert server.standing(device) == DEAD
    assert server.standing(going_on) == LIVE


def test_crash_of_everything_forgets_no_logout(server, ended):
    """Kill -9 of the server and all workers together loses no acknowledged logout."""
    device, _ = ended
    going_on = server.log_in("ann")

    server.kill_everything()
    server.start()

    assert server.standing(device) == DEAD
    assert server.standing(going_on) == LIVE
