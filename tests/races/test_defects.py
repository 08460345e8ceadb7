"""M5, M6 and M7 in the applications alone: a new release that repairs one of them fails here, and is welcome.

Each request waits at each of its steps while its browser logs out with the application's own logout, and then lands.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from .child import OLD, ask
from .sites import READ, STEPS, WRITTEN

ALL = set(STEPS)
NO_WRITE = ALL - {WRITTEN}
"""The steps of a request that changes nothing."""


@cache
def alone(application: str) -> dict[str, Any]:
    """What became of the races of this application."""
    return ask(application, "defects")


IN_THE_COOKIE = [OLD, "starlette", "flask", "django-signed", "django-asgi", "starlette-jwt", "flask-jwt"]
ON_THE_SERVER = ["flask-session", "django-db", "django-cache"]


@pytest.mark.parametrize("application", IN_THE_COOKIE)
def test_M5_a_copied_cookie_outlives_the_applications_logout(application: str) -> None:
    """The application deletes its cookie in one browser; a copy of it is as good as before."""
    assert alone(application)["replay"] == ["yes"]


@pytest.mark.parametrize("application", ON_THE_SERVER)
def test_M5_a_session_on_the_server_is_gone_for_copies_of_its_cookie_too(application: str) -> None:
    """Right by themselves, as long as no request is in flight."""
    assert alone(application)["replay"] == []


@pytest.mark.parametrize(
    ("application", "on_read", "on_write"),
    [
        (OLD, NO_WRITE, ALL),
        ("starlette", set(), ALL),
        ("flask", NO_WRITE, ALL),
        ("django-signed", set(), ALL),
        ("django-asgi", set(), ALL),
        ("starlette-jwt", NO_WRITE, ALL),
        ("flask-jwt", NO_WRITE, ALL),
    ],
)
def test_M6_a_request_in_flight_logs_the_browser_in_again(
    application: str, on_read: set[str], on_write: set[str]
) -> None:
    """Whatever it waits for: its late answer sets the cookie that the logout deleted.

    With every answer, or only where the session was written.
    """
    found = alone(application)

    assert (set(found["read"]), set(found["write"]), set(found["refresh"])) == (on_read, on_write, on_write)


def test_M7_flask_session_stores_the_session_again_after_it_was_deleted() -> None:
    """A request that had read the session puts it back into the store, even if it changed nothing."""
    found = alone("flask-session")

    assert READ in found["read"]
    assert {READ, WRITTEN} <= set(found["write"])
    assert {READ, WRITTEN} <= set(found["refresh"])


@pytest.mark.parametrize("application", ["django-db", "django-cache"])
def test_M7_django_does_not_store_a_deleted_session_again_unless_it_gets_another_id(application: str) -> None:
    """A late write is 400, right by itself; a late `cycle_key()` (a new password, say) copies the session to safety."""
    found = alone(application)

    assert (found["read"], found["write"]) == ([], [])
    assert found["status of write"] == ["200", "400"]
    assert READ in found["refresh"]
