"""What the back button shows after logging out: nothing of what only the user may see.

A browser goes back to a page without asking the server, if it kept the page alive (the back/forward cache) or its
answer (the HTTP cache). Both are tried; Playwright would switch the first one off.
"""

from __future__ import annotations

import pytest

from .conftest import Arrive
from .kinds import BASE, KINDS
from .served import ELSEWHERE, TREATMENTS

CACHES = [pytest.param(True, id="back-forward-cache"), pytest.param(False, id="http-cache")]
PLAIN = KINDS["plain"]


@pytest.mark.parametrize("treatment", TREATMENTS)
@pytest.mark.parametrize("with_back_forward_cache", CACHES)
def test_back_after_logout_shows_nothing_protected(
    arrive: Arrive, *, with_back_forward_cache: bool, treatment: str
) -> None:
    """Whatever the application said about keeping its page, it is asked for again, and nobody is logged in."""
    ann = arrive(PLAIN, with_back_forward_cache=with_back_forward_cache)
    ann.log_in("ann")
    ann.go(f"{BASE}/page/{treatment}")
    before = ann.shown()

    ann.log_out_by_form()
    ann.back()

    assert before == "ann"
    assert ann.shown() == "nobody"
    assert "the secret of" not in ann.page.content()


@pytest.mark.parametrize("treatment", TREATMENTS)
@pytest.mark.parametrize("with_back_forward_cache", CACHES)
def test_back_in_another_tab_shows_nothing_protected(
    arrive: Arrive, *, with_back_forward_cache: bool, treatment: str
) -> None:
    """The page was left for another one, the logout happened in a second tab, and then the first one goes back."""
    ann = arrive(PLAIN, with_back_forward_cache=with_back_forward_cache)
    ann.log_in("ann")
    ann.go(f"{BASE}/page/{treatment}")
    ann.page.click("#elsewhere")
    ann.page.wait_for_url(ann.origin + ELSEWHERE)
    second = ann.tab()
    second.go(f"{BASE}/page/no-store")

    second.log_out_by_form()
    ann.back()

    assert ann.shown() == "nobody"
    assert "the secret of" not in ann.page.content()


def test_back_after_logout_from_a_cookie_that_scripts_can_read(arrive: Arrive) -> None:
    """Browsers treat the end of a HttpOnly cookie in a way of its own; it must not depend on that."""
    ann = arrive(KINDS["script-readable"])
    ann.log_in("ann")
    ann.go(f"{BASE}/page/no-store")

    ann.log_out_by_form()
    ann.back()

    assert ann.shown() == "nobody"


@pytest.mark.parametrize("with_back_forward_cache", CACHES)
def test_back_while_logged_in_goes_on_working(arrive: Arrive, *, with_back_forward_cache: bool) -> None:
    """Nothing is taken from who did not log out."""
    ann = arrive(PLAIN, with_back_forward_cache=with_back_forward_cache)
    ann.log_in("ann")
    ann.go(f"{BASE}/page/unsaid")
    ann.page.click("#elsewhere")
    ann.page.wait_for_url(ann.origin + ELSEWHERE)

    ann.back()

    assert ann.shown() == "ann"
