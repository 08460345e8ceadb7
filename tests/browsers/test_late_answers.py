"""A request is in flight while the browser logs out; its answer, which sets the session anew, lands afterwards."""

from __future__ import annotations

from itertools import count

import pytest

from .conftest import Arrive
from .kinds import KINDS
from .site import Site
from .visitor import DOORS

LOGOUTS = [("plain", door) for door in DOORS]
LOGOUTS += [(label, "form") for label in ("host-prefix", "partitioned", "domain", "path", "chunks-dot")]
_numbers = count()


@pytest.fixture
def key() -> str:
    """The name of one slow request."""
    return f"request-{next(_numbers)}"


@pytest.mark.parametrize(("label", "door"), LOGOUTS)
def test_an_answer_that_lands_after_the_logout_logs_nobody_in(
    arrive: Arrive, site: Site, key: str, label: str, door: str
) -> None:
    """One tab waits for a slow page, the other logs out; when the slow answer comes, the jar stays empty."""
    ann = arrive(KINDS[label])
    ann.log_in("ann")
    other_tab = ann.tab()
    other_tab.seen_by_application()
    ann.begin_slow_request(key)
    site.wait_until_begun(key)

    DOORS[door](other_tab)
    between = ann.login_cookies
    site.let_go(key)
    ann.end_of_slow_request()

    assert between == set()
    assert ann.login_cookies == set()
    assert other_tab.seen_by_application() == "nobody"


def test_logout_everywhere_on_the_phone_while_the_laptop_waits(arrive: Arrive, site: Site, key: str) -> None:
    """The slow answer does not renew the laptop's session, and the laptop's next page ends it there."""
    laptop, phone = arrive(KINDS["plain"]), arrive(KINDS["plain"])
    laptop.log_in("ann")
    phone.log_in("ann")
    laptop.begin_slow_request(key)
    site.wait_until_begun(key)

    phone.log_out_everywhere()
    between = laptop.login_cookies
    site.let_go(key)
    laptop.end_of_slow_request()

    assert between == {"session"}
    assert laptop.seen_by_application() == "nobody"
    assert laptop.login_cookies == set()


def test_an_answer_that_lands_before_the_logout_renews_the_session(arrive: Arrive, site: Site, key: str) -> None:
    """Without a logout the slow answer is the application's own affair, and its cookie passes."""
    ann = arrive(KINDS["plain"])
    ann.log_in("ann")
    before = ann.jar()
    ann.begin_slow_request(key)
    site.wait_until_begun(key)

    site.let_go(key)
    ann.end_of_slow_request()

    assert ann.jar()[0]["value"] != before[0]["value"]
    assert ann.seen_by_application() == "ann"


def test_a_login_after_the_logout_outlives_the_late_answer(arrive: Arrive, site: Site, key: str) -> None:
    """Logged out and in again while the old request still runs: its answer leaves the new login alone."""
    ann = arrive(KINDS["plain"])
    ann.log_in("ann")
    other_tab = ann.tab()
    other_tab.seen_by_application()
    ann.begin_slow_request(key)
    site.wait_until_begun(key)
    other_tab.log_out_by_form()
    other_tab.log_in("ann")

    site.let_go(key)
    ann.end_of_slow_request()

    assert other_tab.seen_by_application() == "ann"
