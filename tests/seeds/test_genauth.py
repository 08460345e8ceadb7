"""GenAuth, "Backend Logout": two ways to log out, and a token that is dead for whoever verifies it."""

from __future__ import annotations

import pytest

from tests.client import ALL, OWN_LINK, BuildSite, Site

FROM_ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture
def http(site: BuildSite) -> Site:
    """A site with the preset of this seed."""
    return site(preset="genauth")


def test_GA_1_frontend_and_backend_logout_are_both_offered(http: Site) -> None:
    """A browser visits an address, a server revokes the access token: each by itself logs out."""
    by_address, by_call = http.login("ann"), http.login("bob")

    http.get("/auth/logout", cookie=by_address.cookie, headers=OWN_LINK)
    http.call("revoke_token", by_call.access)

    assert http.me(cookie=by_address.cookie) is None
    assert http.me(token=by_call.access) is None


def test_GA_2_visiting_the_logout_address_ends_the_login_on_the_server(http: Site) -> None:
    """A copy of the cookie, taken before, is worth nothing after it."""
    ann = http.login("ann")
    assert http.me(cookie=ann.cookie) == "ann"

    visit = http.get("/auth/logout", cookie=ann.cookie, headers=OWN_LINK)

    assert visit.status == 303
    assert visit.deleted >= {"session"}
    assert http.me(cookie=ann.cookie) is None


@pytest.mark.parametrize("sid", [True, False])
def test_GA_3_a_generated_address_logs_out_from_wherever_it_is_followed(http: Site, sid: bool) -> None:
    """The application asks for the address of the current session; visiting it needs no further question."""
    ann, bob = http.login("ann", sid=sid), http.login("bob", sid=sid)
    identity = http.call("explain", ann.access).identity if sid else None
    if identity is None:
        identity = http.identity_of_cookie(ann.cookie)

    address = http.call("logout_url", identity)
    foreign = http.get(address, cookie=bob.cookie, headers=FROM_ELSEWHERE)
    own = http.get(address, cookie=ann.cookie, headers=FROM_ELSEWHERE)

    assert (foreign.status, own.status) == (200, 303)
    assert http.me(cookie=bob.cookie) == "bob"
    assert http.me(cookie=ann.cookie) is None


def test_GA_4_revoke_token_makes_the_next_call_with_it_fail(http: Site) -> None:
    """The application itself would still accept the token."""
    ann, bob = http.login("ann"), http.login("bob")
    assert http.me(token=ann.access) == "ann"

    http.call("revoke_token", ann.access)

    answer = http.get("/me", token=ann.access)
    assert answer.status == 401
    assert answer.json["error"] == "token_revoked"
    assert http.alive(bob) == ALL


def test_GA_5_a_token_alone_can_be_logged_out_without_browser_or_cookie(http: Site) -> None:
    """An API client that has nothing but its token."""
    token = http.issuer.mint("ann")

    answer = http.post("/auth/logout", token=token)

    assert answer.status == 200
    assert answer.json["revoked"]["tokens"] == 1
    assert http.me(token=token) is None


def test_GA_8_revoke_token_returns_true(http: Site) -> None:
    """A real boolean; a token that is dead already is a success, too."""
    token = http.issuer.mint("ann")

    assert http.call("revoke_token", token) is True
    assert http.call("revoke_token", token) is True
    assert http.me(token=token) is None


def test_GA_11_both_calls_exist_by_both_spellings(http: Site) -> None:
    """`revokeToken` and `introspectToken` are what the seed's SDK calls them."""
    token, other = http.issuer.mint("ann"), http.issuer.mint("bob")

    active = http.call("introspectToken", token)
    revoked = http.call("revokeToken", token)

    assert active["active"] is True
    assert active["sub"] == "ann"
    assert revoked is True
    assert http.call("introspectToken", token) == http.call("introspect_token", token) == {"active": False}
    assert http.call("introspect_token", other)["active"] is True


def test_GA_12_revocation_makes_verification_fail_not_only_introspection(http: Site) -> None:
    """Whoever asks in whatever way gets the same answer."""
    token = http.issuer.mint("ann")
    assert http.call("is_revoked", token) is False

    http.call("revoke_token", token)

    assert http.call("is_revoked", token) is True
    assert http.call("explain", token).refusal is not None
    assert http.call("introspect_token", token) == {"active": False}
    assert http.get("/me", token=token).status == 401
