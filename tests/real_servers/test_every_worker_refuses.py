"""A logout that was acknowledged is known to every worker, whichever door it came through."""

from __future__ import annotations

import pytest

from .server import A_LINK_CLICKED, DEAD, LIVE


def log_out_by_api(server, device):
    return server.ask("POST", "/auth/logout", bearer=device.access, cookie=device.cookie)


def log_out_by_form(server, device):
    form = {"refresh_token": device.refresh}
    return server.ask("POST", "/auth/logout", cookie=device.cookie, form=form, headers=server.of_our_page)


def log_out_by_link(server, device):
    path = f"/auth/logout?oauth_token={device.access}"
    return server.ask("GET", path, cookie=device.cookie, headers=A_LINK_CLICKED)


DOORS = [
    pytest.param(log_out_by_api, 200, id="api"),
    pytest.param(log_out_by_form, 303, id="cookie"),
    pytest.param(log_out_by_link, 303, id="redirect"),
]


@pytest.mark.parametrize(("log_out", "status"), DOORS)
def test_copies_made_before_logout_are_refused_by_every_worker(server, ann, log_out, status):
    """A stolen cookie and stolen tokens are worth nothing after the owner logged out, by any door."""
    before = server.standing(ann)

    answer = log_out(server, ann)

    assert before == LIVE
    assert answer.status == status
    assert answer.session_cookie == ""
    assert server.standing(ann) == DEAD


def test_cookie_alone_by_form_dies_everywhere(server, ann):
    """The button ends the browser's session, and the API login it knows nothing of goes on."""
    server.ask("POST", "/auth/logout", cookie=ann.cookie, form={}, headers=server.of_our_page)

    assert server.standing(ann) == {**LIVE, "page": {303}}


def test_refresh_token_dies_with_its_access_token(server, ann):
    """Logging out with the access token alone leaves nothing that could get another one."""
    server.ask("POST", "/auth/logout", bearer=ann.access)

    assert server.standing(ann) == {**DEAD, "page": {200}}


def test_access_token_dies_with_its_refresh_token(server, ann):
    """A client that only kept its refresh token logs the whole login out with it."""
    server.ask("POST", "/auth/logout", body={"refreshToken": ann.refresh})

    assert server.standing(ann) == {**DEAD, "page": {200}}


def test_token_refreshed_before_logout_is_dead_too(server, ann):
    """An access token from the refresh endpoint belongs to the same login, and ends with it."""
    newer = server.ask("POST", "/api/refresh", body={"refresh_token": ann.refresh}).json["access_token"]

    server.ask("POST", "/auth/logout", bearer=ann.access)

    assert {each.status for each in server.ask_every_worker("GET", "/api/me", bearer=newer)} == {401}


def test_refusal_says_why(server, ann):
    """A client can tell a revoked token from an expired one, and a browser forgets a revoked cookie."""
    log_out_by_api(server, ann)

    by_token = server.ask_every_worker("GET", "/api/me", bearer=ann.access)
    by_cookie = server.ask_every_worker("GET", "/", cookie=ann.cookie)

    assert {each.json["error"] for each in by_token} == {"token_revoked"}
    assert all('error="invalid_token"' in each.headers["WWW-Authenticate"] for each in by_token)
    assert {(each.headers["Location"], each.session_cookie) for each in by_cookie} == {("/login", "")}


def test_other_devices_survive_a_local_logout(server, ann):
    """Logging out on the laptop leaves the phone, and other people, logged in."""
    phone, ben = server.log_in("ann"), server.log_in("ben")

    log_out_by_api(server, ann)

    assert server.standing(ann) == DEAD
    assert server.standing(phone) == LIVE
    assert server.standing(ben) == LIVE


@pytest.mark.parametrize("door", ["token", "cookie", "scope"])
def test_all_devices_die_with_a_global_logout(server, ann, door):
    """Logging out everywhere ends every device of the user at once, and nobody else's."""
    phone, ben = server.log_in("ann"), server.log_in("ben")

    if door == "token":
        answer = server.ask("POST", "/auth/logout/all", bearer=ann.access)
    elif door == "cookie":
        answer = server.ask("POST", "/auth/logout/all", cookie=ann.cookie, form={}, headers=server.of_our_page)
    else:
        answer = server.ask("POST", "/auth/logout", bearer=ann.access, body={"scope": "global"})

    assert answer.status in (200, 303)
    assert server.standing(ann) == DEAD
    assert server.standing(phone) == DEAD
    assert server.standing(ben) == LIVE


def test_login_right_after_a_global_logout_works_everywhere(server, ann):
    """Who logged out everywhere logs in again in the same second, and no worker mixes old with new."""
    server.ask("POST", "/auth/logout/all", bearer=ann.access)

    again = server.log_in("ann")

    assert server.standing(again) == LIVE
    assert server.standing(ann) == DEAD


def test_other_site_cannot_log_out(server, ann):
    """A form on another site sends the cookie along, and changes nothing."""
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Accept": "text/html"}

    answer = server.ask("POST", "/auth/logout", cookie=ann.cookie, form={}, headers=foreign)

    assert (answer.status, answer.session_cookie) == (403, None)
    assert server.standing(ann) == LIVE
