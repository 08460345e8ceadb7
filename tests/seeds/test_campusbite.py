"""CampusBite `POST /api/auth/logout`: a refresh token in the body, and success whatever is in it."""

from __future__ import annotations

from typing import Any

import pytest

from logout_middleware import ConfigurationError, StoreError
from tests.client import ALL, OWN_PAGE, BuildSite, Device, Site

PATH = "/api/auth/logout"
SAMPLE = {"success": True, "message": "Logged out successfully."}


@pytest.fixture
def http(site: BuildSite) -> Site:
    """A site with the preset of this seed."""
    return site(preset="campusbite")


def log_out(http: Site, device: Device) -> Any:
    """What the seed's curl sample does."""
    return http.post(PATH, json={"refreshToken": device.refresh})


def test_CB_1_the_endpoint_exists_takes_and_gives_json(http: Site) -> None:
    """At the path of the seed."""
    answer = log_out(http, http.login("ann"))

    assert answer.status == 200
    assert answer.header("content-type") == "application/json"


def test_CB_1_the_path_can_be_set(site: BuildSite) -> None:
    """Another alias replaces it."""
    http = site(preset="campusbite", aliases="/v2/bye")
    ann = http.login("ann")

    assert http.post(PATH, json={"refreshToken": ann.refresh}).status in (404, 405)
    assert http.post("/v2/bye", json={"refreshToken": ann.refresh}).json == SAMPLE
    assert http.refresh(ann.refresh).status == 401


def test_CB_2_the_refresh_token_obtains_no_new_access_tokens(http: Site) -> None:
    """By either spelling of its field."""
    ann = http.login("ann")
    assert http.refresh(ann.refresh).status == 200

    log_out(http, ann)

    assert http.refresh(ann.refresh).status == 401
    assert http.post("/refresh", json={"refreshToken": ann.refresh}).status == 401


@pytest.mark.parametrize("body", [{}, {"refreshToken": None}, {"refreshToken": ""}, {"somethingElse": 1}])
def test_CB_3_the_field_is_optional(http: Site, body: dict[str, Any]) -> None:
    """Without it nothing is revoked, and that is a success."""
    ann = http.login("ann")

    answer = http.post(PATH, json=body, token=ann.access, cookie=ann.cookie, headers=OWN_PAGE)

    assert (answer.status, answer.json) == (200, SAMPLE)
    assert http.alive(ann) == ALL
    assert http.count() == 0


@pytest.mark.parametrize(
    "more",
    [
        {"scope": "global"}, {"scope": "nonsense"}, {"scope": 5}, {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": ["a"]}, {"redirect_uri": "/a", "post_logout_redirect_uri": "/b"}, {"client_id": 1},
        {"state": "x" * 600}, {"intent": "\ud800"},
    ],
    ids=str,
)  # fmt: skip
def test_CB_3_no_other_member_has_a_meaning(http: Site, more: dict[str, Any]) -> None:
    """One token, one device, one answer, whatever else is in the body."""
    phone, laptop = http.login("ann"), http.login("ann")

    answer = http.post(PATH, json={"refreshToken": phone.refresh, **more})

    assert (answer.status, answer.json) == (200, SAMPLE)
    assert http.refresh(phone.refresh).status == 401
    assert http.alive(laptop) == ALL


@pytest.mark.parametrize("query", ["?scope=global", "?redirect_uri=a&redirect_uri=b", "?state=" + "x" * 600])
def test_CB_3_nor_has_a_query(http: Site, query: str) -> None:
    """The seed's endpoint has none."""
    ann = http.login("ann")

    answer = http.post(PATH + query, json={"refreshToken": ann.refresh})

    assert (answer.status, answer.json) == (200, SAMPLE)
    assert http.refresh(ann.refresh).status == 401


@pytest.mark.parametrize("token", ["{live}", "", "garbage", "{live}{live}", "x" * 20_000])
def test_CB_4_success_is_always_true(http: Site, token: str) -> None:
    """The boolean, not a text."""
    text = token.replace("{live}", http.login("ann").refresh)

    answer = http.post(PATH, json={"refreshToken": text})

    assert answer.status == 200
    assert answer.json["success"] is True


def test_CB_5_the_answer_is_exactly_the_sample(http: Site) -> None:
    """These two members and no others."""
    assert log_out(http, http.login("ann")).json == SAMPLE


@pytest.mark.parametrize("headers", [{"Prefer": "return=minimal"}, {"Accept": "text/html"}, {"Accept": "text/plain"}])
def test_CB_5_the_answer_is_the_sample_whatever_the_client_prefers(http: Site, headers: dict[str, str]) -> None:
    """200 and these two members; no redirect, no cookie, no empty answer."""
    ann = http.login("ann")

    answer = http.post(PATH, json={"refreshToken": ann.refresh}, cookie=ann.cookie, headers=OWN_PAGE | headers)

    assert (answer.status, answer.json) == (200, SAMPLE)
    assert (answer.header("location"), answer.all("set-cookie")) == (None, [])


@pytest.mark.parametrize("settings", [{"preset": "campusbite"}, {"aliases": PATH}])
@pytest.mark.parametrize(
    "request_of",
    [{}, {"json": {}}, {"json": {"refreshToken": "never-issued"}}, {"headers": {"Content-Type": "application/json"}}],
)
def test_CB_6_no_body_no_token_or_an_unknown_one_is_200(
    site: BuildSite, settings: dict[str, str], request_of: dict[str, Any]
) -> None:
    """In the preset and by default."""
    http = site(**settings)
    ann = http.login("ann")

    answer = http.post(PATH, **request_of)

    assert answer.status == 200
    assert answer.json["success"] is True
    assert answer.json["message"] == SAMPLE["message"]
    assert http.alive(ann) == ALL


@pytest.mark.parametrize(("settings", "status"), [({"preset": "campusbite"}, 500), ({"aliases": PATH}, 503)])
def test_CB_7_a_failure_of_our_own_is_500_and_only_that(site: BuildSite, settings: dict[str, str], status: int) -> None:
    """Nothing could record the logout: 500 as the seed says, by default the more exact 503. Never a success."""
    http = site(**settings)
    ann = http.login("ann")
    http.store.broken = True

    failed = log_out(http, ann)
    http.store.broken = False

    assert (failed.status, failed.json["success"]) == (status, False)
    assert http.alive(ann) == ALL
    assert log_out(http, ann).status == 200
    assert http.refresh(ann.refresh).status == 401


class KeysAway:
    """Keys that cannot be had."""

    async def find(self, text: str) -> list[Any]:
        raise StoreError("the keys cannot be fetched")


@pytest.mark.parametrize(("settings", "status"), [({"preset": "campusbite"}, 500), ({"aliases": PATH}, 503)])
def test_CB_7_a_token_that_cannot_be_verified_now_is_a_failure_too(
    site: BuildSite, settings: dict[str, str], status: int
) -> None:
    """It is dead by itself, but whether that was all of it is not known."""
    http = site(**settings)
    ann = http.login("ann")
    identifier = getattr(http.logout, "inner", http.logout).service.identifier
    keys, identifier._keys = identifier._keys, KeysAway()

    failed = log_out(http, ann)
    identifier._keys = keys

    assert (failed.status, failed.json["success"]) == (status, False)
    assert http.refresh(ann.refresh).status == 401


def test_CB_2_the_preset_does_not_start_where_a_refresh_would_not_be_looked_at(site: BuildSite) -> None:
    """A refresh token that is sent in a body is only seen on the paths of TOKEN_REQUESTS."""
    with pytest.raises(ConfigurationError, match="E105 LOGOUT_TOKEN_REQUESTS: LOGOUT_PRESET=campusbite needs it"):
        site(preset="campusbite", token_requests=None)


def test_CB_8_the_same_token_any_number_of_times(http: Site) -> None:
    """Same answer, same state; also after it expired."""
    ann = http.login("ann")
    first, remembered = log_out(http, ann), http.count()

    again = [log_out(http, ann) for _ in range(30)]
    http.clock.move(31 * 86400)
    again.append(log_out(http, ann))

    assert {(answer.status, answer.body) for answer in again} == {(first.status, first.body)}
    assert http.count() == remembered
    assert http.refresh(ann.refresh).status == 401


def test_CB_9_the_preset_leaves_the_access_token_alone_and_the_default_does_not(site: BuildSite) -> None:
    """The seed's limitation, reproduced on demand, and exceeded otherwise."""
    limited, ours = site(preset="campusbite"), site(aliases=PATH, key_prefix="other:")
    bob, ann = limited.login("bob"), ours.login("ann")

    log_out(limited, bob)
    log_out(ours, ann)

    assert limited.alive(bob) == {"access", "cookie"}
    assert ours.alive(ann) == set()


def test_CB_10_the_access_token_then_lives_until_it_expires(http: Site) -> None:
    """One hour, by default."""
    ann = http.login("ann")
    log_out(http, ann)

    http.clock.move(3599)
    before = http.me(token=ann.access)
    http.clock.move(1)
    after = http.me(token=ann.access)

    assert (before, after) == ("ann", None)


def test_CB_11_only_the_device_of_the_given_token_is_logged_out(http: Site) -> None:
    """Each device has a refresh token of its own."""
    phone, laptop = http.login("ann"), http.login("ann")

    log_out(http, phone)

    assert http.refresh(phone.refresh).status == 401
    assert http.alive(laptop) == ALL


def test_CB_12_every_copy_of_the_token_is_dead(site: BuildSite) -> None:
    """Wherever it is kept and however it is sent: another worker, another field, a header, a form."""
    here, there = site(preset="campusbite"), site(preset="campusbite")
    ann = here.login("ann")
    assert there.refresh(ann.refresh).status == 200

    log_out(here, ann)

    for http in (here, there):
        assert http.refresh(ann.refresh).status == 401
        assert http.post("/refresh", form={"refresh_token": ann.refresh}).status == 401
        assert http.post("/refresh", body=b'{"refreshToken": "%s"}' % ann.refresh.encode()).status == 401
        assert http.get("/me", token=ann.refresh).json["error"] == "token_revoked"


def test_CB_14_no_authorization_header_is_needed(http: Site) -> None:
    """And a wrong one does not matter."""
    ann, bob = http.login("ann"), http.login("bob")

    without = log_out(http, ann)
    with_nonsense = http.post(PATH, json={"refreshToken": bob.refresh}, headers={"Authorization": "Bearer a b, c"})

    assert (without.status, with_nonsense.status) == (200, 200)
    assert [http.refresh(device.refresh).status for device in (ann, bob)] == [401, 401]


BROKEN = [
    b"{",
    b"[]",
    b"null",
    b'{"refreshToken": "a", "refreshToken": "b"}',
    b"\xff\xfe",
    b"[" * 60_000,
    b"x" * 70_000,
]


@pytest.mark.parametrize("body", BROKEN)
@pytest.mark.parametrize(("settings", "status"), [({"preset": "campusbite"}, 200), ({"aliases": PATH}, 400)])
def test_CB_15_malformed_json_is_no_500(site: BuildSite, settings: dict[str, str], status: int, body: bytes) -> None:
    """A success with nothing revoked in the preset, the client's mistake by default."""
    http = site(**settings)

    answer = http.post(PATH, body=body, headers={"Content-Type": "application/json"})

    assert answer.status == (413 if len(body) > 65536 and status == 400 else status)
    assert http.count() == 0
    if status == 200:
        assert answer.json == SAMPLE


@pytest.mark.parametrize("value", [1, True, ["a"], {"a": "b"}, 1.5])
@pytest.mark.parametrize("settings", [{"preset": "campusbite"}, {"aliases": PATH}])
def test_CB_15_a_token_of_a_wrong_type_is_absent_and_on_record(
    site: BuildSite, settings: dict[str, str], value: Any
) -> None:
    """Nothing is revoked, and an operator can see that a client is broken."""
    http = site(**settings)

    answer = http.post(PATH, json={"refreshToken": value})

    assert (answer.status, answer.json["success"]) == (200, True)
    assert http.count() == 0
    assert len(http.told("token_ignored")) == 1
