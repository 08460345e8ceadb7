"""What the logout endpoints answer, to the letter (contract 4.1, 4.2), over both shells."""

from __future__ import annotations

import json
import logging
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.client import ALL, ORIGIN, OWN_LINK, OWN_PAGE, Answer, BuildSite, Device, Site

HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FROM_ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Form(HTMLParser):
    """The one form of a page."""

    def __init__(self, page: Answer) -> None:
        super().__init__()
        self.method = self.action = ""
        self.fields: dict[str, str] = {}
        self.tags: list[str] = []
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.method, self.action = given["method"], given["action"]
        if tag == "input":
            self.fields[given["name"]] = given["value"]


# ---- the answer of POST ------------------------------------------------------------------------------


def test_the_answer_has_exactly_the_members_of_the_contract(http: Site) -> None:
    """Token and session of one login, named once each."""
    ann = http.login("ann")

    answer = http.post("/auth/logout", token=ann.access, json={"refresh_token": ann.refresh})

    assert answer.status == 200
    assert answer.header("content-type") == "application/json"
    assert answer.json == {
        "success": True,
        "message": "Logged out successfully.",
        "timestamp": "2027-01-15T08:00:00Z",
        "status": "done",
        "revoked": {"tokens": 2, "sessions": 1, "connections": 0},
        "redirect_to": "/login",
    }
    assert http.alive(ann) == set()


@pytest.mark.parametrize(
    "present",
    [
        lambda ann: {"token": ann.access},
        lambda ann: {"token": ann.refresh},
        lambda ann: {"cookie": ann.cookie, "headers": OWN_PAGE},
        lambda ann: {"json": {"refresh_token": ann.refresh}},
        lambda ann: {"json": {"refreshToken": ann.refresh}},
        lambda ann: {"form": {"refresh_token": ann.refresh}},
        lambda ann: {"form": {"refreshToken": ann.access}},
    ],
)
@pytest.mark.parametrize("path", ["/auth/logout", "/bye", "/api/auth/logout"])
def test_any_credential_by_any_door_ends_the_whole_login(site: BuildSite, present: Any, path: str) -> None:
    """Access token, refresh token and cookie of one login die together, by the path or its aliases."""
    http = site(aliases="/bye,/api/auth/logout")
    ann, phone = http.login("ann"), http.login("ann")

    answer = http.post(path, **present(ann))

    assert answer.status == 200
    assert http.alive(ann) == set()
    assert http.alive(phone) == ALL


def test_only_the_exact_paths_are_ours(site: BuildSite) -> None:
    """Everything else under the prefix is the application's."""
    http = site(prefix="/account")
    ann = http.login("ann")
    paths = ["/auth/logout", "/account/logout/", "/account/logout/x", "/account", "/account/Logout", "/account//logout"]

    answers = [http.post(path, token=ann.access) for path in paths]

    assert {answer.status for answer in answers} == {404}
    assert http.alive(ann) == ALL
    assert http.post("/account/logout", token=ann.access).status == 200


def test_without_bound_only_what_was_presented_ends(site: BuildSite) -> None:
    """`REVOKE_BOUND=false`."""
    http = site(revoke_bound="false")
    ann = http.login("ann")

    answer = http.post("/auth/logout", token=ann.access, json={"refresh_token": ann.refresh})

    assert answer.json["revoked"] == {"tokens": 2, "sessions": 0, "connections": 0}
    assert http.alive(ann) == {"cookie"}


def test_nothing_presented_is_a_success_with_zero_counts_and_one_warning(
    http: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that forgot its credential can be found in the log."""
    with caplog.at_level(logging.WARNING, "logout_middleware"):
        answers = [http.post("/auth/logout") for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3
    assert answers[0].json["revoked"] == {"tokens": 0, "sessions": 0, "connections": 0}
    assert len([record for record in caplog.records if "nothing guarded" in record.message]) == 1
    assert http.count() == 0


@pytest.mark.parametrize("sid", [True, False])
def test_logging_out_again_answers_the_same_and_changes_nothing(http: Site, sid: bool) -> None:
    """Idempotent by token, by cookie, and after everything expired."""
    ann = http.login("ann", sid=sid)
    requests: list[dict[str, Any]] = [{"token": ann.access}, {"cookie": ann.cookie, "headers": OWN_PAGE}]
    for request in requests:
        http.post("/auth/logout", **request)
    remembered = http.count()

    again = [http.post("/auth/logout", **request) for request in requests]
    http.clock.move(3700)
    expired = http.post("/auth/logout", token=ann.access)

    assert [answer.status for answer in [*again, expired]] == [200] * 3
    assert [answer.json["revoked"]["tokens"] for answer in again] == [0, 0]
    assert http.count() == remembered


def test_a_later_logout_never_revives_what_an_earlier_one_ended(http: Site) -> None:
    """Whatever comes after it, in whatever order."""
    ann, phone = http.login("ann"), http.login("ann")
    http.post("/auth/logout", token=ann.access)

    http.post("/auth/logout", token=phone.access, json={"scope": "others"})
    http.call("revoke_user", "ann", before=http.clock() - 10_000)
    http.call("revoke_other_sessions", "ann", keep=ann.sid)

    assert http.alive(ann) == set()
    assert http.alive(phone) == set()


# ---- scope -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["token", "cookie"])
@pytest.mark.parametrize("sid", [True, False])
@pytest.mark.parametrize(
    ("scope", "here", "there"),
    [(None, set(), ALL), ("local", set(), ALL), ("others", ALL, set()), ("global", set(), set())],
)
def test_scope_says_how_far_a_logout_reaches(
    http: Site, scope: str | None, here: set[str], there: set[str], by: str, sid: bool
) -> None:
    """This login, the user's others, or all; other users never."""
    ann, phone, bob = http.login("ann", sid=sid), http.login("ann", sid=sid), http.login("bob", sid=sid)
    body = {"scope": scope} if scope else {}
    presented: dict[str, Any] = {"token": ann.access} if by == "token" else {"cookie": ann.cookie, "headers": OWN_PAGE}

    answer = http.post("/auth/logout", json=body, **presented)

    assert answer.status == 200
    assert http.alive(ann) == here
    assert http.alive(phone) == there
    assert http.alive(bob) == ALL


@pytest.mark.parametrize(("scope", "here"), [("local", ALL - {"access"}), ("others", {"access"}), ("global", set())])
def test_parts_of_a_login_that_nothing_binds_stand_for_themselves(site: BuildSite, scope: str, here: set[str]) -> None:
    """No `sid`, never seen together, and nobody said which answers carry tokens."""
    http = site(token_responses=None)
    ann = http.login("ann", sid=False)

    http.post("/auth/logout", token=ann.access, json={"scope": scope})

    assert http.alive(ann) == here


def test_the_default_scope_can_be_set_and_overruled(site: BuildSite) -> None:
    """`LOGOUT_SCOPE=global`, and a request that wants less."""
    http = site(scope="global")
    ann, phone, tablet = (http.login("ann") for _ in range(3))

    http.post("/auth/logout", token=ann.access, json={"scope": "local"})
    after_local = http.alive(phone)
    http.post("/auth/logout", token=phone.access)

    assert after_local == ALL
    assert (http.alive(phone), http.alive(tablet)) == (set(), set())


@pytest.mark.parametrize("scope", ["everything", "LOCAL", 7, ["global"], {"a": 1}, True])
def test_an_unknown_scope_is_the_clients_mistake(http: Site, scope: Any) -> None:
    """400, and nothing was ended."""
    ann = http.login("ann")

    answer = http.post("/auth/logout", token=ann.access, json={"scope": scope})

    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    assert http.alive(ann) == ALL


@pytest.mark.parametrize("path", ["/auth/logout", "/auth/logout/all"])
def test_a_wide_scope_without_a_verified_user_ends_the_credential_and_says_403(http: Site, path: str) -> None:
    """Never a success that did not happen; the answer touches no cookie."""
    body = {"scope": "global"} if path == "/auth/logout" else {}
    assert http.me(token="opaque-token-of-ann") == "ann"

    answer = http.post(path, token="opaque-token-of-ann", json=body, headers=OWN_PAGE)

    assert (answer.status, answer.json["error"], answer.json["success"]) == (403, "scope_unavailable", False)
    assert answer.all("set-cookie") == []
    assert http.me(token="opaque-token-of-ann") is None
    assert http.me(token="opaque-token-of-bob") == "bob"


# ---- the client's mistakes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/auth/logout", "PUT", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("/auth/logout", "DELETE", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("/auth/logout", "PATCH", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("/auth/logout/all", "GET", {"OPTIONS", "POST"}),
        ("/auth/logout/all", "HEAD", {"OPTIONS", "POST"}),
        ("/bye", "GET", {"OPTIONS", "POST"}),
    ],
)
def test_a_wrong_method_is_405_and_says_which_is_right(
    site: BuildSite, path: str, method: str, allow: set[str]
) -> None:
    """And nobody is logged out."""
    http = site(aliases="/bye")
    ann = http.login("ann")

    answer = http.request(method, path, token=ann.access, headers=OWN_LINK)

    assert answer.status == 405
    assert set((answer.header("allow") or "").split(", ")) == allow
    assert http.alive(ann) == ALL


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/plain", b'{"scope": "global"}', 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("application/xml", b"<a/>", 415),
        (None, b"scope=global", 415),
        ("application/json", b'{"scope": "global"', 400),
        ("application/json", b'"global"', 400),
        ("application/json", b"[]", 400),
        ("application/json", b'{"scope": "local", "scope": "global"}', 400),
        ("application/json", b'{"refresh_token": "\xff"}', 400),
        ("application/json", b'{"redirect_uri": 7}', 400),
        ("application/json", b'{"state": ["x"]}', 400),
        ("application/json", b'{"redirect_uri": "/a", "post_logout_redirect_uri": "/b"}', 400),
        ("application/json", b'{"x": "' + b"a" * 65536 + b'"}', 413),
        ("application/x-www-form-urlencoded", b"scope=local&scope=global", 400),
        ("application/x-www-form-urlencoded", b"refresh_token=a&refresh_token=b", 400),
        ("application/x-www-form-urlencoded", b"refresh_token=%ff", 400),
        ("application/x-www-form-urlencoded", b"refresh_token=\xff", 400),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=" % n for n in range(200)), 400),
        ("application/x-www-form-urlencoded", b"a=" + b"a" * 65536, 413),
    ],
)
def test_a_body_that_cannot_be_taken_is_4xx_without_any_effect(
    http: Site, kind: str | None, body: bytes, status: int
) -> None:
    """The credential of the header is not logged out either: no partial effect."""
    ann = http.login("ann")

    answer = http.post(
        "/auth/logout", token=ann.access, cookie=ann.cookie, body=body,
        headers=OWN_PAGE | ({"Content-Type": kind} if kind else {}),
    )  # fmt: skip

    assert answer.status == status
    assert answer.json["success"] is False
    assert answer.header("cache-control") == "no-store"
    assert answer.all("set-cookie") == []
    assert http.alive(ann) == ALL


@pytest.mark.parametrize("query", ["state=a&state=b", "redirect_uri=%ff", "client_id=a&client_id=a", "scope=%C3%28"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_query_that_can_be_read_in_two_ways_is_400(http: Site, query: str, method: str) -> None:
    """On both doors."""
    ann = http.login("ann")

    answer = http.request(method, f"/auth/logout?{query}", cookie=ann.cookie, headers=OWN_LINK)

    assert answer.status == 400
    assert answer.all("set-cookie") == []
    assert http.alive(ann) == ALL


def test_a_bearer_that_can_be_read_in_two_ways_is_400(http: Site) -> None:
    """Nothing is guessed."""
    ann = http.login("ann")

    answer = http.post("/auth/logout", headers={"Authorization": f"Bearer {ann.access}, Bearer {ann.refresh}"})

    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    assert http.alive(ann) == ALL


# ---- preferences -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefer", ["return=minimal", "respond-async, return=minimal", "Return = Minimal"])
def test_prefer_minimal_is_204(http: Site, prefer: str) -> None:
    """RFC 7240; the cookie is deleted all the same."""
    ann = http.login("ann")

    answer = http.post("/auth/logout", cookie=ann.cookie, headers=OWN_PAGE | {"Prefer": prefer})

    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("preference-applied") == "return=minimal"
    assert answer.deleted >= {"session"}
    assert http.alive(ann) == set()


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("*/*", 200),
        ("application/json", 200),
        ("application/json, text/html;q=0.9", 200),
        ("text/html;q=0.5, application/json", 200),
        ("text/html;q=0", 200),
        ("nonsense", 200),
        ("text/html", 303),
        (HTML["Accept"], 303),
        ("application/json;q=0.5, text/html", 303),
    ],
)
def test_who_prefers_a_page_is_redirected_and_who_does_not_gets_json(
    http: Site, accept: str | None, status: int
) -> None:
    """Either way the login is over."""
    ann = http.login("ann")

    answer = http.post("/auth/logout", token=ann.access, headers={"Accept": accept} if accept else {})

    assert answer.status == status
    assert answer.header("location") == ("/login" if status == 303 else None)
    assert http.alive(ann) == set()


def test_a_form_is_sent_to_an_allowed_target_with_its_state(site: BuildSite) -> None:
    """POST takes `redirect_uri` as GET does."""
    http = site(redirect_allow="https://www.example.org/bye?a=1", redirect_url="/start")

    def location(**form: str) -> str | None:
        ann = http.login("ann")
        answer = http.post("/auth/logout", cookie=ann.cookie, form=form, headers=OWN_PAGE | HTML)
        assert (answer.status, http.alive(ann)) == (303, set())
        return answer.header("location")

    assert location() == "/start"
    assert location(state="a b&c") == "/start?state=a%20b%26c"
    assert (
        location(redirect_uri="https://www.example.org/bye?a=1", state="x") == "https://www.example.org/bye?a=1&state=x"
    )
    assert location(post_logout_redirect_uri="https://www.example.org/bye?a=1") == "https://www.example.org/bye?a=1"
    assert location(redirect_uri="https://www.example.org/bye") == "/start"
    assert http.post("/auth/logout", json={"redirect_uri": "//evil.example"}).json["redirect_to"] == "/start"
    assert len(http.told("target_refused")) == 2


@pytest.mark.parametrize("error", [400, 403, 429, 503])
def test_a_person_sees_a_page_where_a_program_sees_an_error(http: Site, error: int) -> None:
    """Same status, same headers, in HTML without a script."""
    ann = http.login("ann")
    request: dict[str, Any] = {"cookie": ann.cookie, "form": {}, "headers": OWN_PAGE | HTML}
    if error == 400:
        request["form"] = {"scope": "nonsense"}
    if error == 403:
        request["headers"] = HTML | {"Sec-Fetch-Site": "cross-site"}
    if error == 429:
        for _ in range(20):
            http.post("/auth/logout", token=http.login("ann").access)
    http.store.broken = error == 503

    answer = http.post("/auth/logout", **request)

    assert answer.status == error
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert answer.header("cache-control") == "no-store"
    assert "script" not in Form(answer).tags
    assert (answer.header("retry-after") is not None) == (error in (429, 503))


def test_every_answer_of_ours_is_no_store(http: Site) -> None:
    """Pages, redirects, JSON, errors, refusals of the guard, preflights."""
    ann, bob = http.login("ann"), http.login("bob")
    http.post("/auth/logout", token=bob.access)
    answers = [
        http.post("/auth/logout"),
        http.post("/auth/logout", headers={"Prefer": "return=minimal"}),
        http.post("/auth/logout", headers=HTML),
        http.post("/auth/logout", body=b"x", headers={"Content-Type": "text/plain"}),
        http.post("/auth/logout", cookie=ann.cookie, headers={"Sec-Fetch-Site": "cross-site"}),
        http.post("/auth/logout/all", token="opaque-token-of-bob"),
        http.get("/auth/logout"),
        http.get("/auth/logout?state=a&state=b"),
        http.get("/auth/logout", cookie=ann.cookie),
        http.get("/auth/logout", headers=OWN_LINK | {"Sec-Purpose": "prefetch"}),
        http.get("/auth/logout", cookie=ann.cookie, headers=OWN_LINK),
        http.request("PUT", "/auth/logout"),
        http.request("OPTIONS", "/auth/logout"),
        http.request("HEAD", "/auth/logout"),
        http.get("/me", token=bob.access),
        http.get("/me", headers={"Authorization": "Bearer a, Bearer b"}),
    ]
    http.store.broken = True
    answers += [http.post("/auth/logout", token=ann.refresh), http.get("/me", token=ann.refresh)]

    assert [answer.header("cache-control") for answer in answers] == ["no-store"] * len(answers)
    assert {answer.status for answer in answers} == {200, 204, 303, 400, 401, 403, 405, 415, 503}


# ---- cookies and Clear-Site-Data ---------------------------------------------------------------------


def test_on_a_page_of_our_own_every_guarded_cookie_goes(http: Site) -> None:
    """Also those that the browser did not send; a script with a token alone deletes none."""
    ann, bob = http.login("ann"), http.login("bob")

    by_page = http.post("/auth/logout", cookie=ann.cookie, headers=OWN_PAGE)
    by_token = http.post("/auth/logout", token=bob.access)

    assert by_page.deleted == {"session", "sessionid"}
    assert by_token.deleted == set()


def test_the_deletion_names_what_browsers_compare(site: BuildSite) -> None:
    """Path, Domain and flags as configured."""
    http = site(cookies="sid:opaque; Path=/app; Domain=example.com; SameSite=None; Secure; Partitioned")

    (line,) = http.post("/auth/logout", headers=OWN_PAGE | {"Cookie": "sid=x"}).all("set-cookie")

    assert line.startswith("sid=; ")
    assert set(line.split("; ")[1:]) == {
        "Max-Age=0", "Expires=Thu, 01 Jan 1970 00:00:00 GMT", "Path=/app", "Domain=example.com", "Secure", "HttpOnly",
        "SameSite=None", "Partitioned",
    }  # fmt: skip


def test_clear_site_data_only_where_configured_and_only_with_a_logout(site: BuildSite) -> None:
    """Quoted, as browsers demand; not on a refusal, a question or a 503."""
    http, plain = site(clear_site_data="storage,prefetchCache"), site()
    ann = http.login("ann")
    wanted = '"storage", "prefetchCache"'

    asked = http.get("/auth/logout", cookie=ann.cookie, headers=FROM_ELSEWHERE)
    refused = http.post("/auth/logout", cookie=ann.cookie, headers={"Sec-Fetch-Site": "cross-site"})
    http.store.broken = True
    failed = http.post("/auth/logout", cookie=ann.cookie, headers=OWN_PAGE)
    http.store.broken = False
    done = http.post("/auth/logout", cookie=ann.cookie, headers=OWN_PAGE)
    by_link = http.get("/auth/logout", cookie=http.login("bob").cookie, headers=OWN_LINK)

    assert [answer.header("clear-site-data") for answer in (asked, refused, failed)] == [None] * 3
    assert [answer.header("clear-site-data") for answer in (done, by_link)] == [wanted] * 2
    assert plain.post("/auth/logout", headers=OWN_PAGE).header("clear-site-data") is None


# ---- the store is away -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_nobody_could_record_is_503_and_touches_no_cookie(http: Site, method: str) -> None:
    """The client may retry, and the login goes on."""
    ann = http.login("ann")
    http.store.broken = True

    failed = http.request(method, "/auth/logout", cookie=ann.cookie, headers=OWN_LINK)
    guarded = http.get("/me", cookie=ann.cookie)
    http.store.broken = False
    alive_meanwhile = http.alive(ann)
    retried = http.request(method, "/auth/logout", cookie=ann.cookie, headers=OWN_LINK)

    assert (failed.status, failed.json["success"], failed.header("retry-after")) == (503, False, "1")
    assert failed.all("set-cookie") == []
    assert (guarded.status, guarded.header("retry-after"), guarded.all("set-cookie")) == (503, "1", [])
    assert alive_meanwhile == ALL
    assert retried.status == (303 if method == "GET" else 200)
    assert http.alive(ann) == set()


def test_a_failing_write_is_told_and_not_a_success(http: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads answer, only `add` fails: a full disk."""
    ann = http.login("ann")
    http.call("is_revoked", ann.access)

    async def add(self: object, revocations: object) -> None:
        from logout_middleware import StoreError

        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(http.store.inner), "add", add)
        failed = http.post("/auth/logout", token=ann.access)

    assert failed.status == 503
    assert [event.outcome for event in http.told("store_failed")] == ["failed"]
    assert http.told("logout") == []
    assert http.alive(ann) == ALL


def test_fail_mode_open_lets_requests_pass_and_logouts_still_fail(site: BuildSite) -> None:
    """Open means: who cannot be checked is let in. It never means: a logout that was lost is a success."""
    http = site(fail_mode="open")
    ann = http.login("ann")
    http.store.broken = True

    assert http.me(token=ann.access) == "ann"
    assert http.post("/auth/logout", token=ann.access).status == 503


# ---- CORS --------------------------------------------------------------------------------------------

TRUSTED = "https://www.example.org"


@pytest.mark.parametrize("path", ["/auth/logout", "/auth/logout/all"])
def test_a_preflight_of_a_trusted_origin_is_answered(site: BuildSite, path: str) -> None:
    """With the fields that a logout by script needs."""
    http = site(trusted_origins=TRUSTED)
    asked = {
        "Origin": TRUSTED,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }

    granted = http.request("OPTIONS", path, headers=asked)
    denied = http.request("OPTIONS", path, headers=asked | {"Origin": "https://evil.example"})

    assert granted.status == 204
    assert granted.header("access-control-allow-origin") == TRUSTED
    assert granted.header("access-control-allow-credentials") == "true"
    assert "POST" in (granted.header("access-control-allow-methods") or "")
    allowed = {name.strip() for name in (granted.header("access-control-allow-headers") or "").split(",")}
    assert {"authorization", "content-type"} <= allowed
    assert denied.header("access-control-allow-origin") is None
    assert denied.header("access-control-allow-headers") is None
    assert all("Origin" in ", ".join(answer.all("vary")) for answer in (granted, denied))


def test_a_trusted_origin_may_read_our_answers_and_refusals(site: BuildSite) -> None:
    """A single-page application elsewhere must see that it is logged out, and when to retry."""
    http = site(trusted_origins=TRUSTED)
    ann = http.login("ann")
    origin = {"Origin": TRUSTED}

    done = http.post("/auth/logout", token=ann.access, headers=origin)
    refused = http.get("/me", token=ann.access, headers=origin)
    elsewhere = http.get("/me", token=ann.access, headers={"Origin": "https://evil.example"})
    http.store.broken = True
    unknown = http.get("/me", token=ann.access, headers=origin)

    assert (done.status, refused.status, elsewhere.status, unknown.status) == (200, 401, 401, 503)
    for answer in (done, refused, unknown):
        assert answer.header("access-control-allow-origin") == TRUSTED
        assert answer.header("access-control-allow-credentials") == "true"
        exposed = {name.strip() for name in (answer.header("access-control-expose-headers") or "").split(",")}
        assert {"WWW-Authenticate", "Retry-After"} <= exposed
    assert elsewhere.header("access-control-allow-origin") is None


# ---- the redirect door -------------------------------------------------------------------------------


def test_a_link_of_our_own_site_logs_out_at_once_and_redirects(site: BuildSite) -> None:
    """303, cookies deleted, the target exactly as listed."""
    http = site(redirect_allow="/bye,https://*.example.org/bye")
    for wanted, target in [
        (None, "/login"),
        ("/bye", "/bye"),
        ("https://shop.example.org/bye", "https://shop.example.org/bye"),
        ("https://a.shop.example.org/bye", "/login"),
        ("/bye/", "/login"),
        ("https://evil.example/", "/login"),
    ]:
        ann = http.login("ann")
        query = "?" + urlencode({"redirect_uri": wanted}) if wanted else ""

        answer = http.get("/auth/logout" + query, cookie=ann.cookie, headers=OWN_LINK)

        assert (answer.status, answer.header("location")) == (303, target)
        assert answer.deleted >= {"session"}
        assert answer.header("referrer-policy") == "no-referrer"
        assert http.alive(ann) == set()


@pytest.mark.parametrize(
    ("target", "state", "location"),
    [
        ("/bye", "abc", "/bye?state=abc"),
        ("/bye?a=1", "abc", "/bye?a=1&state=abc"),
        ("/bye#top", "abc", "/bye?state=abc#top"),
        ("/bye", "a&b=c d\r\nX: 1", "/bye?state=a%26b%3Dc%20d%0D%0AX%3A%201"),
        ("/bye", "æ", "/bye?state=%C3%A6"),
    ],
)
def test_state_is_handed_back_encoded(site: BuildSite, target: str, state: str, location: str) -> None:
    """It can neither add a parameter nor a header."""
    http = site(redirect_allow="/bye,/bye?a=1,/bye#top")
    query = urlencode({"redirect_uri": target, "state": state})

    answer = http.get(f"/auth/logout?{query}", cookie=http.login("ann").cookie, headers=OWN_LINK)

    assert (answer.status, answer.header("location")) == (303, location)


def _ask(http: Site, device: Device, **query: str) -> Answer:
    return http.get("/auth/logout?" + urlencode(query), cookie=device.cookie, headers=FROM_ELSEWHERE)


def test_the_question_can_be_answered_by_its_button(site: BuildSite) -> None:
    """What the page posts logs out and leads where the link wanted to go."""
    http = site(redirect_allow="https://www.example.org/bye")
    ann = http.login("ann")
    page = _ask(http, ann, redirect_uri="https://www.example.org/bye", state="x&y", client_id="shop")
    form = Form(page)
    alive_while_asked = http.alive(ann)

    answer = http.post(form.action, cookie=ann.cookie, form=form.fields, headers=OWN_PAGE | HTML)

    assert (page.status, page.deleted) == (200, set())
    assert (form.method, form.action) == ("post", "/auth/logout")
    assert set(form.fields) == {"redirect_uri", "state", "client_id", "intent"}
    assert (form.fields["state"], form.fields["client_id"]) == ("x&y", "shop")
    assert alive_while_asked == ALL
    assert (answer.status, answer.header("location")) == (303, "https://www.example.org/bye?state=x%26y")
    assert http.alive(ann) == set()


def test_the_question_has_no_script_and_a_policy_of_its_own(site: BuildSite) -> None:
    """The form may lead to the listed target, nothing else may happen."""
    http = site(redirect_allow="https://www.example.org/bye,app://bye")
    ann = http.login("ann")

    page, abroad, refused = (
        _ask(http, ann, redirect_uri=uri) for uri in ("/login", "https://www.example.org/bye", "https://evil.example/")
    )

    policy = dict(
        part.strip().partition(" ")[::2] for part in (page.header("content-security-policy") or "").split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert "unsafe" not in (page.header("content-security-policy") or "")
    assert "form-action 'self' https://www.example.org;" in (abroad.header("content-security-policy") or "")
    assert "evil.example" not in (refused.header("content-security-policy") or "")
    assert page.header("x-content-type-options") == "nosniff"
    assert "script" not in Form(page).tags
    assert page.header("content-type") == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", ["state", "client_id", "redirect_uri"])
def test_what_the_address_says_is_escaped_in_the_question(http: Site, name: str) -> None:
    """It comes back as a value, never as markup."""
    payload = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;"

    page = _ask(http, http.login("ann"), **{name: payload})

    form = Form(page)
    assert form.fields[name] == payload
    assert not {"script", "img"} & set(form.tags)


def test_with_nobody_logged_in_a_goodbye_is_shown(site: BuildSite) -> None:
    """A page with a way to the login, not a question; with an allowed target on to it."""
    http = site(redirect_url="/start", redirect_allow="/bye")

    page = http.get("/auth/logout")
    onward = http.get("/auth/logout?redirect_uri=%2Fbye&state=s")

    assert (page.status, page.header("content-type")) == (200, "text/html; charset=utf-8")
    assert "form" not in Form(page).tags
    assert 'href="/start"' in page.text
    assert (onward.status, onward.header("location")) == (303, "/bye?state=s")
    assert http.count() == 0


@pytest.mark.parametrize("settings", [{}, {"on_get": "allow"}])
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Purpose": "prefetch"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"X-Moz": "prefetch"},
    ],
)
def test_a_prefetch_never_logs_out(site: BuildSite, settings: dict[str, str], headers: dict[str, str]) -> None:
    """Whatever else it carries, and whatever is configured."""
    http = site(**settings)
    ann = http.login("ann")
    link = http.call("logout_url", sid=ann.sid)

    answers = [http.get(path, cookie=ann.cookie, headers=OWN_LINK | headers) for path in ("/auth/logout", link)]

    assert all(answer.status in (403, 405) and answer.all("set-cookie") == [] for answer in answers)
    assert http.alive(ann) == ALL


@pytest.mark.parametrize("settings", [{}, {"on_get": "allow"}])
def test_head_never_logs_out(site: BuildSite, settings: dict[str, str]) -> None:
    """A link checker, a chat preview."""
    http = site(**settings)
    ann = http.login("ann")
    link = http.call("logout_url", sid=ann.sid)

    answers = [http.request("HEAD", path, cookie=ann.cookie, headers=OWN_LINK) for path in ("/auth/logout", link)]

    assert all((answer.status, answer.body, answer.all("set-cookie")) == (200, b"", []) for answer in answers)
    assert http.alive(ann) == ALL


@pytest.mark.parametrize(("on_get", "status"), [("confirm", 200), ("allow", 303), ("deny", 405)])
def test_on_get_decides_what_a_get_without_proof_does(site: BuildSite, on_get: str, status: int) -> None:
    """Ask, log out, or refuse."""
    http = site(on_get=on_get)
    ann = http.login("ann")

    answer = http.get("/auth/logout", cookie=ann.cookie, headers=FROM_ELSEWHERE)

    assert answer.status == status
    assert http.alive(ann) == (set() if on_get == "allow" else ALL)
    assert (answer.deleted >= {"session"}) == (on_get == "allow")


def test_deny_refuses_every_get(site: BuildSite) -> None:
    """A link of our own site, too; POST is how."""
    http = site(on_get="deny")
    ann = http.login("ann")
    hint = urlencode({"id_token_hint": http.issuer.mint("ann", sid=ann.sid)})

    answers = [
        http.request(method, path, cookie=ann.cookie, headers=OWN_LINK)
        for method in ("GET", "HEAD")
        for path in ("/auth/logout", f"/auth/logout?{hint}")
    ]

    assert [answer.status for answer in answers] == [405] * 4
    assert all("POST" in (answer.header("allow") or "") for answer in answers)
    assert all("GET" not in (answer.header("allow") or "") for answer in answers)
    assert http.alive(ann) == ALL
    assert http.post("/auth/logout", cookie=ann.cookie, headers=OWN_PAGE).status == 200


@pytest.mark.parametrize("age", [0, 86400])
@pytest.mark.parametrize("sid", [True, False])
def test_an_id_token_of_this_session_proves_intent_even_when_expired(http: Site, age: float, sid: bool) -> None:
    """OpenID Connect RP-Initiated Logout 2: expired hints are accepted, whatever their audience."""
    ann, phone = http.login("ann", sid=sid), http.login("ann", sid=sid)
    hint = http.issuer.mint("ann", sid=ann.sid, aud="some-client", life=60)
    http.clock.move(age)

    answer = http.get("/auth/logout?" + urlencode({"id_token_hint": hint}), cookie=ann.cookie, headers=FROM_ELSEWHERE)

    assert answer.status == 303
    assert http.me(cookie=ann.cookie) is None
    assert http.me(cookie=phone.cookie) == "ann"
    assert hint.rpartition(".")[2] not in repr(answer)


def test_an_oauth_token_of_this_login_proves_intent_and_dies(http: Site) -> None:
    """One of another user only asks: see test_attacker."""
    ann = http.login("ann")

    answer = http.get(
        "/auth/logout?" + urlencode({"oauth_token": ann.access}), cookie=ann.cookie, headers=FROM_ELSEWHERE
    )

    assert answer.status == 303
    assert http.alive(ann) == set()


def test_a_signed_address_is_a_path_or_below_the_public_address(site: BuildSite) -> None:
    """It carries target and state, and logs out at once from anywhere."""
    http, public = site(redirect_allow="/bye"), site(public_url=ORIGIN, key_prefix="other:")
    ann = http.login("ann")

    address = http.call("logout_url", sid=ann.sid, redirect_uri="/bye", state="s")
    absolute = public.call("logout_url", sid="x")
    answer = http.get(address, cookie=ann.cookie, headers=FROM_ELSEWHERE)

    assert address.startswith("/auth/logout?")
    assert parse_qs(urlsplit(address).query)["state"] == ["s"]
    assert absolute.startswith(f"{ORIGIN}/auth/logout?")
    assert (answer.status, answer.header("location")) == (303, "/bye?state=s")
    assert http.alive(ann) == set()


def test_the_redirect_door_counts_as_every_door_does(http: Site) -> None:
    """Its answers name the limit, and over it the session ends all the same."""
    first = http.get("/auth/logout", cookie=http.login("ann").cookie, headers=OWN_LINK)
    for _ in range(19):
        http.post("/auth/logout", token=http.issuer.mint("ann"))
    ann = http.login("ann")

    over = http.get("/auth/logout", cookie=ann.cookie, headers=OWN_LINK)

    assert first.header("x-ratelimit-remaining") == "19"
    assert (over.status, over.deleted >= {"session"}) == (429, True)
    assert int(over.header("retry-after") or 0) > 0
    assert http.alive(ann) == set()


def test_the_limit_can_be_changed_and_switched_off(site: BuildSite) -> None:
    """`LOGOUT_RATE_LIMIT`."""
    tight, free = site(rate_limit="1 per minute"), site(rate_limit="off", key_prefix="other:")

    counted = [tight.post("/auth/logout") for _ in range(2)]
    uncounted = [free.post("/auth/logout") for _ in range(30)]

    assert [answer.status for answer in counted] == [200, 429]
    assert counted[0].header("ratelimit-policy") == '"logout";q=1;w=60'
    assert {answer.status for answer in uncounted} == {200}
    assert uncounted[0].header("ratelimit") is None


def test_no_answer_and_no_event_holds_a_credential(http: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Neither logs nor events nor errors; keys are digests."""
    ann = http.login("ann")
    secrets = [text.rpartition(".")[2] for text in (ann.access, ann.refresh, ann.cookie)]

    with caplog.at_level(logging.DEBUG):
        answers = [
            http.post("/auth/logout", token=ann.access, cookie=ann.cookie, json={"refresh_token": ann.refresh}),
            http.get("/me", token=ann.access, cookie=ann.cookie),
            http.post("/auth/logout", headers={"Authorization": f"Bearer {ann.access}, Bearer {ann.refresh}"}),
            http.post("/auth/logout", body=json.dumps({"x": ann.refresh}).encode()[:-1], headers=JSON),
            http.post("/auth/logout", body=b"a=%ff&b=" + ann.refresh.encode(), headers=FORM),
        ]

    told = caplog.text + repr(http.events) + repr(answers)
    assert http.events
    assert [secret for secret in secrets if secret in told] == []
