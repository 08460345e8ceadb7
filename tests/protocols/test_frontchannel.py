"""OpenID Connect Front-Channel Logout 1.0, the relying party's side: FCL-1 to FCL-10 of the checklist."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import pytest

from logout_middleware.testing import MovableClock
from tests.client import ALL, Answer, BuildSite, Site

from .op import CLIENT, FRONTCHANNEL, ISSUER, OTHER_ISSUER, Op

IN_A_FRAME = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}


def frame(
    site: Site, *, iss: str | None = ISSUER, sid: str | None = None, method: str = "GET", cookie: str | None = None,
    headers: Mapping[str, str] = IN_A_FRAME, query: Mapping[str, str] | None = None,
) -> Answer:  # fmt: skip
    """What the provider's page loads in a frame."""
    given = {"iss": iss, "sid": sid} if query is None else query
    text = urlencode({name: value for name, value in given.items() if value is not None})
    return site.request(method, f"{FRONTCHANNEL}?{text}", cookie=cookie, headers=headers)


def test_FCL_1_a_query_of_the_registered_address_is_kept(rp: Site) -> None:
    """It means nothing to us and does no harm."""
    alice = rp.login("alice")

    answer = frame(rp, query={"tenant": "a", "iss": ISSUER, "sid": str(alice.sid)})

    assert answer.status == 200
    assert rp.alive(alice) == set()


@pytest.mark.parametrize("given", [{"iss": ISSUER}, {"sid": "login-1"}])
def test_FCL_2_one_of_iss_and_sid_is_400(rp: Site, given: dict[str, str]) -> None:
    """Both or neither."""
    alice = rp.login("alice")

    answer = frame(rp, query=given, cookie=alice.cookie)

    assert answer.status == 400
    assert answer.json["error"] == "invalid_request"
    assert rp.alive(alice) == ALL


def test_FCL_2_a_repeated_sid_is_400(rp: Site) -> None:
    """It could be read in two ways."""
    alice = rp.login("alice")

    answer = rp.get(f"{FRONTCHANNEL}?{urlencode({'iss': ISSUER})}&sid={alice.sid}&sid=x", headers=IN_A_FRAME)

    assert answer.status == 400
    assert rp.alive(alice) == ALL


@pytest.mark.parametrize("iss", [ISSUER, OTHER_ISSUER, "https://evil.example", "javascript:alert(1)"])
def test_FCL_3_a_session_that_is_none_of_ours_is_ignored(rp: Site, iss: str) -> None:
    """Still 200: the provider frames every client it has."""
    alice = rp.login("alice")

    answer = frame(rp, iss=iss, sid="s-unknown", cookie=alice.cookie)

    assert answer.status == 200
    assert answer.deleted == set()
    assert rp.alive(alice) == ALL


def test_FCL_3_the_sid_of_this_session_under_another_issuer_is_ignored(rp: Site) -> None:
    """An unknown issuer ends nothing, whatever it names."""
    alice = rp.login("alice")

    answer = frame(rp, iss=OTHER_ISSUER, sid=alice.sid, cookie=alice.cookie)

    assert (answer.status, answer.deleted) == (200, set())
    assert rp.alive(alice) == ALL


def test_FCL_4_no_cache_keeps_any_answer(rp: Site) -> None:
    """Success or not."""
    answers = [frame(rp, sid="s-1"), frame(rp, iss=None), frame(rp, iss=None, sid="s-1")]

    assert [answer.header("cache-control") for answer in answers] == ["no-store"] * 3


def test_FCL_5_logged_out_already_is_a_success(rp: Site) -> None:
    """However often the provider asks."""
    alice = rp.login("alice")

    answers = [frame(rp, sid=alice.sid) for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3
    assert rp.alive(alice) == set()


def test_FCL_6_the_cookie_is_deleted_as_a_browser_obeys_it_in_a_frame(site: BuildSite, op: Op) -> None:
    """SameSite=None and Secure; without them it would be ignored. And the storage, where that is configured."""
    rp = site(**op.settings(clear_site_data="storage"))
    alice = rp.login("alice")

    answer = frame(rp, sid=alice.sid, cookie=alice.cookie)

    assert answer.deleted == {"session"}
    for line in answer.all("set-cookie"):
        attributes = [part.lower() for part in line.split("; ")]
        assert attributes.count("samesite=none") == attributes.count("secure") == 1
        assert not {"samesite=lax", "samesite=strict"} & set(attributes)
    assert answer.header("clear-site-data") == '"storage"'


def test_FCL_6_the_cookie_of_another_session_is_left_alone(rp: Site) -> None:
    """Somebody else logged in on this browser meanwhile."""
    alice, bob = rp.login("alice"), rp.login("bob")

    answer = frame(rp, sid=alice.sid, cookie=bob.cookie)

    assert (answer.status, answer.deleted) == (200, set())
    assert rp.alive(alice) == set()
    assert rp.alive(bob) == ALL


def test_FCL_6_the_cookie_of_another_issuers_session_is_left_alone(site: BuildSite, op: Op, other_op: Op) -> None:
    """Two issuers may have given the same session id."""
    both = {op.issuer: {"keys": op.keys}, other_op.issuer: {"keys": other_op.keys, "client_id": CLIENT}}
    rp = site(**op.settings(issuers=both))
    alice = rp.login("alice")

    answer = frame(rp, iss=OTHER_ISSUER, sid=alice.sid, cookie=alice.cookie)

    assert (answer.status, answer.deleted) == (200, set())
    assert rp.alive(alice) == ALL


def test_FCL_7_it_works_where_browsers_send_no_cookie(rp: Site) -> None:
    """The session ends on the server, with its tokens."""
    alice, tablet = rp.login("alice"), rp.login("alice")

    assert frame(rp, sid=alice.sid).status == 200

    assert rp.alive(alice) == set()
    assert rp.alive(tablet) == ALL
    assert [event.reason for event in rp.told("logout")] == ["frontchannel"]


@pytest.mark.parametrize("with_cookie", [True, False])
def test_FCL_7_10_without_iss_and_sid_nothing_ends(rp: Site, *, with_cookie: bool) -> None:
    """Any page could frame this address; it is counted, and that is all."""
    alice = rp.login("alice")

    answer = frame(rp, iss=None, cookie=alice.cookie if with_cookie else None)

    assert (answer.status, answer.deleted) == (200, set())
    assert rp.alive(alice) == ALL
    assert [event.outcome for event in rp.told("frontchannel_no_state")] == ["nothing"]


def test_FCL_8_only_the_provider_may_frame_it(rp: Site) -> None:
    """And no X-Frame-Options forbids it to him."""
    answer = frame(rp, sid="s-1")

    policy = str(answer.header("content-security-policy"))
    assert policy.endswith(f"frame-ancestors {ISSUER}")
    assert answer.header("x-frame-options") is None
    assert answer.header("content-type") == "text/html; charset=utf-8"


def test_FCL_8_the_path_and_port_of_an_issuer_are_minded(site: BuildSite, op: Op) -> None:
    """An origin has a port and no path."""
    op.issuer = "https://login.example.com:8443/realms/a"
    rp = site(**op.settings())

    answer = frame(rp, iss=op.issuer, sid="s-1")

    assert str(answer.header("content-security-policy")).endswith("frame-ancestors https://login.example.com:8443")


@pytest.mark.parametrize("dest", ["image", "script", "empty", "style"])
def test_FCL_9_what_is_no_frame_is_refused(rp: Site, dest: str) -> None:
    """A picture on a stranger's page is not the provider's frame."""
    alice = rp.login("alice")

    answer = frame(rp, sid=alice.sid, headers={"Sec-Fetch-Dest": dest})

    assert answer.status == 400
    assert rp.alive(alice) == ALL


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Dest": "document"}, {"Sec-Fetch-Dest": "frame"}])
def test_FCL_9_frames_and_old_browsers_are_served(rp: Site, headers: dict[str, str]) -> None:
    """Some providers navigate instead of framing."""
    alice = rp.login("alice")

    assert frame(rp, sid=alice.sid, headers=headers).status == 200
    assert rp.alive(alice) == set()


@pytest.mark.parametrize(
    ("method", "headers"),
    [("HEAD", {}), ("GET", {"Sec-Purpose": "prefetch;prerender"}), ("GET", {"Purpose": "prefetch"})],
)
def test_FCL_10_a_look_ahead_ends_nothing(rp: Site, method: str, headers: dict[str, str]) -> None:
    """HEAD and prefetches change nothing anywhere (CSRF-4)."""
    alice = rp.login("alice")

    answer = frame(rp, sid=alice.sid, method=method, headers=IN_A_FRAME | headers)

    assert answer.status in (200, 403)
    assert rp.alive(alice) == ALL


def test_FCL_10_guessing_session_ids_is_limited(rp: Site, clock: MovableClock) -> None:
    """Nobody fills the store with ids that never were; known ones end all the same."""
    alice = rp.login("alice")
    answers = [frame(rp, sid=f"guess-{number}") for number in range(1001)]
    assert [answer.status for answer in answers[-2:]] == [200, 429]
    assert answers[-1].header("retry-after") is not None

    assert frame(rp, sid=alice.sid).status == 200

    assert rp.alive(alice) == set()


def test_a_store_that_is_away_is_no_success(rp: Site) -> None:
    """503, the login lives, and the next frame ends it."""
    alice = rp.login("alice")
    rp.store.broken = True

    answer = frame(rp, sid=alice.sid)

    rp.store.broken = False
    assert (answer.status, answer.header("retry-after"), answer.deleted) == (503, "1", set())
    assert rp.alive(alice) == ALL
    assert frame(rp, sid=alice.sid).status == 200
    assert rp.alive(alice) == set()


def test_wrong_methods_are_405(rp: Site) -> None:
    """The frame is a GET."""
    answer = rp.post(f"{FRONTCHANNEL}?iss={ISSUER}&sid=s-1")

    assert answer.status == 405
    assert "GET" in str(answer.header("allow"))
