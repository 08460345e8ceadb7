"""M5, M6 and M7 with the middleware: 1,000 of 1,000 interleavings leave the browser logged out.

Two workers share the store. One to three requests of a logged-in browser (reading, writing, refreshing) and its logout
are cut into steps, and a seed decides the order of all steps, the time between them, and the order in which the answers
land. When all have landed: nothing that the browser holds, or ever held, is taken for anybody; no answer that began
after the acknowledged logout set a cookie; and the browser is left without one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .child import OLD, ask, first_seed

PLAYED, LOGINS = 1000, 200
APPLICATIONS = [
    OLD, "starlette", "starlette-jwt", "flask", "flask-jwt", "flask-session", "django-signed",
    "django-asgi", "django-db", "django-cache",
]  # fmt: skip


def played(application: str, what: str, count: int) -> dict[str, Any]:
    """The verdict on so many courses; two processes play a half each."""
    seed, half = first_seed(), count // 2
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(
            lambda first: ask(application, what, "--seed", str(first), "--count", str(half)), (seed, seed + half)
        )
    return {
        "played": one["played"] + other["played"], "well": one["well"] + other["well"],
        "late": one["late"] + other["late"], "wrong": [one["wrong"], other["wrong"]],
        "stories": [*one["stories"], *other["stories"]],
    }  # fmt: skip


@pytest.mark.parametrize("application", APPLICATIONS)
def test_requests_in_flight_never_log_a_browser_in_again(application: str) -> None:
    """1,000 of 1,000; in most of them an answer is late."""
    told = played(application, "interleavings", PLAYED)

    assert told["well"] == told["played"] == PLAYED, (told["wrong"], *told["stories"])
    assert told["late"] > PLAYED / 2


@pytest.mark.parametrize("application", APPLICATIONS)
def test_a_login_after_the_logout_is_alive_whatever_lands_late(application: str) -> None:
    """None of 2,000 is refused, though many come in the second of the logout, and old answers land after them."""
    told = played(application, "logins", LOGINS)

    assert told["well"] == told["played"] == LOGINS, (told["wrong"], *told["stories"])
