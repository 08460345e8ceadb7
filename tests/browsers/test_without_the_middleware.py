"""The same browser and the same application alone: what these tests look for does happen, so they can fail."""

from __future__ import annotations

import pytest

from .conftest import Arrive
from .kinds import BASE, KINDS
from .site import Site

SURVIVES_OF = {
    "plain": False,
    "host-prefix": True,
    "secure-prefix": True,
    "partitioned": True,
    "host-partitioned": True,
    "domain": True,
    "path": True,
    "secure-path-domain": True,
    "chunks-dot": True,
}


@pytest.mark.parametrize("label", SURVIVES_OF)
def test_M10_delete_cookie_of_the_framework_leaves_the_cookie_in_the_jar(arrive: Arrive, label: str) -> None:
    """Starlette's and Flask's `delete_cookie(name)` deletes a plain cookie, and none of the others."""
    kind = KINDS[label]
    ann = arrive(kind, bare=True)
    ann.log_in("ann")

    ann.log_out_by_application()

    assert ann.login_cookies == (kind.expected_names if SURVIVES_OF[label] else set())
    assert ann.seen_by_application() == ("ann" if SURVIVES_OF[label] else "nobody")


def test_M5_a_copy_of_the_cookie_outlives_the_logout(arrive: Arrive) -> None:
    """The framework's sessions are in the cookie alone, and a copy stays good."""
    ann, thief = arrive(KINDS["plain"], bare=True), arrive(KINDS["plain"], bare=True)
    ann.log_in("ann")
    stolen = ann.jar()

    ann.log_out_by_application()
    thief.put_in(stolen)

    assert thief.seen_by_application() == "ann"


def test_M6_a_late_answer_logs_in_again(arrive: Arrive, site: Site) -> None:
    """The answer of a slow request brings the session back that the other tab just ended."""
    ann = arrive(KINDS["plain"], bare=True)
    ann.log_in("ann")
    other_tab = ann.tab()
    other_tab.seen_by_application()
    ann.begin_slow_request("bare")
    site.wait_until_begun("bare")

    other_tab.log_out_by_application()
    between = ann.login_cookies
    site.let_go("bare")
    ann.end_of_slow_request()

    assert between == set()
    assert ann.login_cookies == {"session"}
    assert other_tab.seen_by_application() == "ann"


def test_back_shows_the_page_of_who_logged_out(arrive: Arrive) -> None:
    """A page that the browser kept alive is shown again without asking the application."""
    ann = arrive(KINDS["plain"], bare=True, with_back_forward_cache=True)
    ann.log_in("ann")
    ann.go(f"{BASE}/page/unsaid")

    ann.log_out_by_application()
    ann.back()

    assert ann.shown() == "ann"
