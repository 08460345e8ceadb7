"""Log in, log out, look into the cookie jar. The middleware was told the cookie's name, and no attribute of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Arrive
from .kinds import KINDS, PARTNER, Kind
from .served import HOME
from .site import Site
from .visitor import DOORS

# Where the cookie never comes to the logout, a link finds nobody logged in; see the test of its own below.
REACHING = [pytest.param(kind, id=label) for label, kind in KINDS.items() if label != "path-elsewhere"]
CHUNKS = ("chunks-dot", "chunks-underscore", "chunks-aspnet")


def kinds(*labels: str) -> pytest.MarkDecorator:
    """The test for these kinds of cookie."""
    return pytest.mark.parametrize("kind", [pytest.param(KINDS[label], id=label) for label in labels])


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", REACHING)
def test_after_logout_the_jar_is_empty_and_a_reload_is_anonymous(arrive: Arrive, kind: Kind, door: str) -> None:
    """Whatever attributes the application gave its cookie, the browser forgets it, by each door."""
    ann = arrive(kind)
    ann.log_in("ann")
    before = ann.login_cookies

    DOORS[door](ann)

    assert before == kind.expected_names
    assert ann.login_cookies == set()
    assert ann.seen_by_application() == "nobody"


@pytest.mark.parametrize("door", ["form", "fetch"])
def test_a_cookie_that_does_not_reach_the_logout_is_deleted_all_the_same(arrive: Arrive, door: str) -> None:
    """With Path=/app the browser does not send the cookie to /auth/logout, but a page of the site may delete it."""
    ann = arrive(KINDS["path-elsewhere"])
    ann.log_in("ann")

    DOORS[door](ann)

    assert ann.login_cookies == set()
    assert ann.seen_by_application() == "nobody"


@kinds("plain", "host-prefix", "partitioned", "domain", "path", *CHUNKS)
def test_a_copy_of_the_cookies_is_worth_nothing_after_logout(arrive: Arrive, kind: Kind) -> None:
    """Who stole the jar before the logout, chunks and all, is nobody after it."""
    ann, thief, twin = arrive(kind), arrive(kind), arrive(kind)
    ann.log_in("ann")
    stolen = ann.jar()
    twin.put_in(stolen)
    worth_before = twin.seen_by_application()

    ann.log_out_by_form()
    thief.put_in(stolen)

    assert worth_before == "ann"
    assert thief.seen_by_application() == "nobody"


@kinds("plain", "domain", *CHUNKS)
def test_others_stay_logged_in(arrive: Arrive, kind: Kind) -> None:
    """Another person's cookie of the same form, and the same person's on another device, are other logins."""
    ann, phone, ben = arrive(kind), arrive(kind), arrive(kind)
    ann.log_in("ann")
    phone.log_in("ann")
    ben.log_in("ben")

    ann.log_out_by_form()

    assert ben.seen_by_application() == "ben"
    assert phone.seen_by_application() == "ann"


@kinds("plain", "host-partitioned", "secure-path-domain", *CHUNKS)
def test_login_works_again_right_after_logout(arrive: Arrive, kind: Kind) -> None:
    """The deletion of the old cookie does not reach the new one."""
    ann = arrive(kind)
    ann.log_in("ann")
    ann.log_out_by_form()

    ann.log_in("ann")

    assert ann.login_cookies == kind.expected_names
    assert ann.seen_by_application() == "ann"


@kinds("plain", "partitioned", "host-partitioned", "domain", "path", "secure-path-domain", *CHUNKS)
def test_logout_on_one_worker_after_login_on_another(
    arrive: Arrive, start_server: Callable[..., Site], shell: str, kind: Kind
) -> None:
    """The worker that takes the logout never saw the cookie being set, and deletes it exactly as it was set."""
    ann = arrive(kind)
    elsewhere = ann.at(start_server(shell, second=True).origin(kind))
    ann.log_in("ann")
    stolen = ann.jar()
    known_elsewhere = elsewhere.seen_by_application()

    elsewhere.log_out_by_form()

    assert known_elsewhere == "ann"
    assert elsewhere.login_cookies == set()
    assert ann.seen_by_application() == elsewhere.seen_by_application() == "nobody"
    ann.put_in(stolen)
    assert ann.seen_by_application() == elsewhere.seen_by_application() == "nobody"


def test_a_widget_on_a_foreign_page_logs_out_in_its_own_partition(arrive: Arrive, site: Site) -> None:
    """In a frame of another site the partitioned cookie is another one: it goes, and the site's own stays."""
    ann = arrive(KINDS["partitioned"])
    ann.log_in("ann")
    ann.page.goto(f"https://{PARTNER}:{site.port}/")
    widget = ann.page.frame_locator("iframe")
    widget.locator("input[name=user]").fill("ann in the widget")
    widget.locator("#log-in").click()
    widget.get_by_text("the secret of ann in the widget").wait_for()
    before = len(ann.jar())

    widget.locator("#log-out").click()
    widget.locator("#who", has_text="nobody").wait_for()

    assert (before, len(ann.jar())) == (2, 1)
    assert ann.page.frames[1].evaluate("async path => (await fetch(path)).text()", HOME).count("nobody") == 1
    assert ann.seen_by_application() == "ann"
