"""Forward-auth: what a proxy is told that asks before it lets a request pass (ecosystem R3 to R6, OBP-4)."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import flask
import pytest
from examples.demo import free_port
from itsdangerous import TimestampSigner

from logout_middleware import BlockingLogout, ConfigurationError, Logout, LogoutSettings
from logout_middleware.asgi import LogoutEndpoints as AsgiEndpoints
from logout_middleware.endpoints.check import IDENTITY_HEADERS
from logout_middleware.wsgi import LogoutEndpoints as WsgiEndpoints

from ..apps import COOKIE_SECRET, JWT_KEY, Issuer
from ..client import Answer, AsgiClient, BuildSite, Client, Sender, Site, WsgiClient
from .op import Op
from .pushing import sign

CHECK = {"endpoints": "logout,sessions,check"}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
NOBODY = dict.fromkeys(IDENTITY_HEADERS, "")
MINUTE = 60.0
STRANGE_NAMES = [
    "Ännchen Müller", "山田", "ann\r\nX-Auth-Client: root", "ann, root", "100%", "a%20b", "\x00", " ", "\ud800", "?",
    'ann"; x="', "{http.request.host}", "auth0|5f7c", "ann+1@example.com", "\u2028", "x" * 3000,
]  # fmt: skip


def told(answer: Answer) -> dict[str, str | None]:
    """The identity headers of an answer."""
    return {name: answer.header(name) for name in IDENTITY_HEADERS}


def is_refused(answer: Answer) -> bool:
    """401 that names nobody, can be cached by nobody, and says how to log in."""
    assert answer.header("cache-control") == "no-store", answer
    assert (answer.header("www-authenticate") or "").startswith(("Bearer realm=", "DPoP realm=")), answer
    assert told(answer) == NOBODY
    return answer.status == 401


@pytest.fixture
def http(site: BuildSite) -> Site:
    """A site that serves the check."""
    return site(**CHECK)


def mounted(http: Site) -> Sender:
    """The endpoints of this site alone, without a middleware around them."""
    client: Client
    client = AsgiClient(AsgiEndpoints(http.logout)) if http.shell == "asgi" else WsgiClient(WsgiEndpoints(http.logout))
    return Sender(client)


# ---- yes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_R3_R4_a_live_token_passes_with_any_method_on_any_path_below(http: Site, method: str) -> None:
    """200 without a body: Envoy takes no other answer for a yes, and asks with its client's method and path."""
    token, alone = http.issuer.mint("ann", sid="s1"), mounted(http)

    for below in ("", "/", "/app/deep", "//app", "/app%2Fdeep", "/..%2f..", "/check/", "/logout", "/app?x=1&x=2"):
        for answer in (
            http.request(method, f"/auth/check{below}", token=token),
            alone.request(method, f"/check{below}", token=token),
        ):
            assert (answer.status, answer.body, answer.header("cache-control")) == (200, b"", "no-store"), below
            assert answer.header("x-auth-subject") == "ann"
    alone.close()


def test_R5_every_identity_header_is_there_and_says_what_was_verified(site: BuildSite) -> None:
    """Who, in which session, through which application, by whose word, and until when."""
    http = site(**CHECK, jwt_issuer="https://id.example.com/", jwt_audience="shop")
    token = http.issuer.mint("ann", sid="s 1", client_id="web", iss="https://id.example.com/", aud="shop")

    answer = http.get("/auth/check", token=token)

    assert told(answer) == {
        "X-Auth-Subject": "ann", "X-Auth-Session": "s%201", "X-Auth-Client": "web",
        "X-Auth-Issuer": "https://id.example.com/", "X-Auth-Expires": str(int(http.clock() + 3600)),
    }  # fmt: skip


def test_R5_who_said_so_is_the_issuer_of_the_token_itself(site: BuildSite, op: Op) -> None:
    """The tokens of our provider are of our realm, and yet not our own word."""
    ours = {
        "jwt_issuer": "https://own.example.com",
        "issuers": {op.issuer: {"keys": op.keys, "audience": ["api://app"]}},
    }
    http = site(**op.settings(**CHECK, **ours))
    own = http.issuer.mint("ann", iss="https://own.example.com")

    def said(**given: Any) -> str | None:
        answer = http.get("/auth/check", **given)
        assert (answer.status, answer.header("x-auth-subject")) == (200, "ann")
        return answer.header("x-auth-issuer")

    assert said(token=op.access_token("ann")) == op.issuer
    assert said(token=own) == said(cookie=http.login("ann").cookie) == "https://own.example.com"


def test_R5_where_nobody_but_the_provider_logs_in_a_session_is_by_its_word(site: BuildSite, op: Op) -> None:
    """A cookie does not say whose login it is; a token that does not say either is not taken for the provider's."""
    http = site(**op.settings(**CHECK))

    by_cookie = http.get("/auth/check", cookie=http.login("ann").cookie)
    by_token = http.get("/auth/check", token=http.issuer.mint("ann"))

    assert (by_cookie.status, by_cookie.header("x-auth-issuer")) == (200, op.issuer)
    assert (by_token.status, by_token.header("x-auth-issuer")) == (200, "")


@pytest.mark.parametrize("issuer", [5, ["https://a.example"], {"a": 1}, True, ""])
def test_R5_an_issuer_that_is_no_text_breaks_nothing(http: Site, issuer: Any) -> None:
    """Whatever our own key signed."""
    claims = {"iss": issuer, "sub": "ann", "iat": http.clock(), "exp": http.clock() + 60}

    answer = http.get("/auth/check", token=sign(claims, typ="JWT", alg="HS256", key=JWT_KEY))

    assert answer.status in (200, 401)
    assert answer.header("x-auth-issuer") == ""


def test_R5_what_is_unknown_is_said_to_be_empty(http: Site) -> None:
    """A header that is missing would let the client's own through."""
    answer = http.get("/auth/check", token=http.issuer.mint("ann"))

    assert told(answer) == NOBODY | {"X-Auth-Subject": "ann", "X-Auth-Expires": str(int(http.clock() + 3600))}


def test_a_cookie_and_a_dpop_token_are_credentials_like_any(http: Site) -> None:
    """Browsers and bound tokens ask at the same door."""
    device = http.login("ann")

    assert http.get("/auth/check", cookie=device.cookie).header("x-auth-subject") == "ann"
    answer = http.get("/auth/check", headers={"Authorization": f"DPoP {device.access}"})
    assert (answer.status, answer.header("x-auth-subject")) == (200, "ann")
    both = http.get("/auth/check", token=device.access, cookie=device.cookie)
    assert (both.status, both.header("x-auth-subject")) == (200, "ann")


def test_an_application_that_holds_a_token_of_its_own_passes_without_a_subject(http: Site) -> None:
    """Client credentials: nobody is logged in, and the proxy learns which application it is."""
    answer = http.get("/auth/check", token=http.issuer.mint("ann", sub=None, client_id="nightly-job"))

    assert (answer.status, answer.header("x-auth-subject"), answer.header("x-auth-client")) == (200, "", "nightly-job")


@pytest.mark.parametrize("name", STRANGE_NAMES, ids=range(len(STRANGE_NAMES)))
def test_no_name_can_write_a_header_of_its_own(http: Site, name: str) -> None:
    """Whatever a user may call himself arrives as visible ASCII, and can be read back to exactly that."""
    answer = http.get("/auth/check", token=http.issuer.mint(name))

    said = answer.header("x-auth-subject") or ""
    assert answer.status == 200
    assert all("!" <= sign <= "~" and sign not in ',;"\\<>{}' for sign in said)
    assert unquote(said, errors="surrogatepass") == name
    assert answer.header("x-auth-client") == ""


def test_the_body_is_not_read(http: Site) -> None:
    """The application is to have it whole, whatever it is and however long."""
    answer = http.post(
        "/auth/check", token=http.issuer.mint("ann"), body=b"{" * 200_000, headers={"Content-Type": "application/json"}
    )

    assert answer.status == 200


# ---- no --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_BEAR_5_nobody_is_told_to_log_in(http: Site, method: str) -> None:
    """Without a credential there is a challenge and no error in it."""
    answer = http.request(method, "/auth/check/app")

    assert is_refused(answer)
    assert answer.header("www-authenticate") == 'Bearer realm="api"'


def bad_requests() -> dict[str, Callable[[Site], dict[str, Any]]]:
    """Requests that must not pass, by what is wrong with them."""

    def field(*lines: str) -> Callable[[Site], dict[str, Any]]:
        return lambda http: {"headers": [("Authorization", line) for line in lines]}

    def stolen_key(http: Site) -> dict[str, Any]:
        return {"token": Issuer(http.clock, key="another key, of somebody else, long enough").mint("ann")}

    def forged(http: Site) -> dict[str, Any]:
        return {"token": http.issuer.mint("ann")[:-4] + "AAAA"}

    def two_users(http: Site) -> dict[str, Any]:
        return {"token": http.issuer.mint("ann"), "cookie": http.login("bob").cookie}

    def anonymous_session(http: Site) -> dict[str, Any]:
        return {"cookie": signed(http, {"cart": [1, 2]})}

    def forged_cookie(http: Site) -> dict[str, Any]:
        return {"cookie": http.login("ann").cookie[:-4] + "AAAA"}

    def repeated_cookie(http: Site) -> dict[str, Any]:
        cookie = http.login("ann").cookie
        return {"headers": {"Cookie": f"session={cookie}; session={cookie}"}}

    def dead_beside_live(http: Site) -> dict[str, Any]:
        dead, live = http.login("ann"), http.login("ann")
        assert http.post("/auth/logout", token=dead.access).status == 200
        return {"token": live.access, "cookie": dead.cookie}

    return {
        "opaque": field("Bearer opaque-token-of-ann"),
        "unsigned": field("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ."),
        "other scheme": field("Basic YW5uOmFubg=="),
        "scheme alone": field("Bearer"),
        "two words": field("Bearer a b"),
        "another key": stolen_key,
        "wrong signature": forged,
        "expired": lambda http: {"token": http.issuer.mint("ann", life=-1)},
        "not yet": lambda http: {"token": http.issuer.mint("ann", nbf=http.clock() + 60)},
        "without an end": lambda http: {"token": http.issuer.mint("ann", exp=None, iat=None)},
        "nameless": lambda http: {"token": http.issuer.mint("ann", sub=None)},
        "two users": two_users,
        "nobody's cookie": anonymous_session,
        "forged cookie": forged_cookie,
        "cookie twice": repeated_cookie,
        "unverifiable cookie": lambda http: {"headers": {"Cookie": "sessionid=0123456789abcdef0123456789abcdef"}},
        "dead cookie beside a live token": dead_beside_live,
    }


def signed(http: Site, session: dict[str, Any]) -> str:
    """A session cookie as the application of this shell signs it."""
    if http.shell == "wsgi":
        app = flask.Flask("application")
        app.secret_key = COOKIE_SECRET
        return str(app.session_interface.get_signing_serializer(app).dumps(session))  # type: ignore[attr-defined]
    return TimestampSigner(COOKIE_SECRET).sign(b64encode(json.dumps(session).encode())).decode()


@pytest.mark.parametrize("what", list(bad_requests()))
def test_whatever_is_not_a_verified_live_login_is_refused(http: Site, what: str) -> None:
    """401 for all of them: nginx makes an error of its own of any 400."""
    request = bad_requests()[what](http)

    answer = http.get("/auth/check/app", **request)

    assert is_refused(answer)
    assert answer.body != b""


@pytest.mark.parametrize("scheme", ["Bearer", "DPoP"])
def test_the_challenge_is_of_the_scheme_that_was_used(http: Site, scheme: str) -> None:
    """RFC 9449 7.1; with the error that it was (RFC 6750 3.1)."""
    for token in ("opaque-token-of-ann", http.issuer.mint("ann", life=-1)):
        answer = http.get("/auth/check", headers={"Authorization": f"{scheme} {token}"})

        assert is_refused(answer)
        assert (answer.header("www-authenticate") or "").startswith(f'{scheme} realm="api", error="invalid_token"')


def test_two_authorization_fields_are_refused(http: Site) -> None:
    """BEAR-2 and BEAR-9: which of the two the application reads is not for us to guess."""
    token = http.issuer.mint("ann")

    assert is_refused(http.get("/auth/check", token=token, headers={"Authorization": f"Bearer {token}"}))


def test_a_user_named_like_an_application_is_not_that_application(http: Site) -> None:
    """What identifies a request is one of them, never a mixture of two."""
    cookie = http.login("ann").cookie

    assert is_refused(http.get("/auth/check", cookie=cookie, token=http.issuer.mint("x", sub=None, client_id="ann")))


def test_BEAR_6_a_logout_is_known_at_once(http: Site) -> None:
    """The next question after the answer to the logout is answered no, by the token's error."""
    device = http.login("ann")
    assert http.get("/auth/check", token=device.access).status == 200
    assert http.post("/auth/logout", token=device.access).status == 200

    answer = http.get("/auth/check", token=device.access)

    assert is_refused(answer)
    assert answer.header("www-authenticate") == (
        'Bearer realm="api", error="invalid_token", error_description="The access token was revoked"'
    )


def test_a_revoked_cookie_is_refused_and_deleted(http: Site) -> None:
    """The application behind a proxy would believe it, so it is no anonymous visitor's; and the browser forgets it."""
    device = http.login("ann")
    assert http.get("/auth/check", cookie=device.cookie).status == 200
    assert http.post("/auth/logout", token=device.access).status == 200

    answer = http.get("/auth/check", cookie=device.cookie)

    assert is_refused(answer)
    assert answer.deleted == {"session"}


def test_what_another_worker_ended_is_refused_here(site: BuildSite) -> None:
    """Proxies ask whichever worker is free."""
    here, there = site(**CHECK), site(**CHECK)
    device = here.login("ann")
    assert here.get("/auth/check", cookie=device.cookie).status == 200

    there.call("revoke_session", device.sid)

    assert is_refused(here.get("/auth/check", cookie=device.cookie))
    assert is_refused(here.get("/auth/check", token=device.access))


def test_an_ordinary_store_is_asked_each_time_too(shell: str, tmp_path: Any) -> None:
    """What passed before is remembered only until anybody logs out."""
    given = {
        "store": f"sqlite:///{tmp_path}/own.db", "jwt_key": JWT_KEY, "jwt_algorithms": "HS256", "endpoints": "check",
        "audit": "off",
    }  # fmt: skip
    settings = LogoutSettings.load(environ={}, env_file=None, **given)
    other = BlockingLogout(settings)
    client: Client = (
        AsgiClient(AsgiEndpoints(Logout(settings))) if shell == "asgi" else WsgiClient(WsgiEndpoints(other))
    )
    sender = Sender(client)
    token, bystander = (Issuer(time.time).mint(user) for user in ("ann", "bob"))
    for _ in range(3):
        assert sender.get("/check", token=token).status == 200
        assert sender.get("/check", token=bystander).header("x-auth-subject") == "bob"

    other.revoke_user("ann")

    assert is_refused(sender.get("/check", token=token))
    assert sender.get("/check", token=bystander).header("x-auth-subject") == "bob"
    sender.close()
    other.close()


# ---- whom the client cannot fool -------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["X-Auth-Subject", "x-auth-subject", "X_Auth_Subject", "X-AUTH_SUBJECT"])
def test_OBP_4_identity_headers_of_the_client_are_never_believed(http: Site, spelling: str) -> None:
    """They are ours to write."""
    spoofed = {spelling: "root"}

    assert is_refused(http.get("/auth/check", headers=spoofed))
    answer = http.get("/auth/check", headers=spoofed, token=http.issuer.mint("ann"))
    assert answer.all("x-auth-subject") == ["ann"]


def test_no_path_is_exempt_for_the_check(site: BuildSite) -> None:
    """Whether a path needs a login is the proxy's own choice: it asks only about those that do."""
    http = site(**CHECK, exempt_paths="/auth/check,/auth/check/,/public/")

    for below in ("", "/public/logo.png"):
        assert is_refused(http.get(f"/auth/check{below}", headers={"X-Forwarded-Uri": "/public/logo.png"}))


@pytest.mark.parametrize("given", [{"mode": "observe"}, {"fail_mode": "open"}, {"revoked_cookie": "anonymous"}])
def test_no_mode_makes_a_yes_of_a_no(site: BuildSite, given: dict[str, str]) -> None:
    """A question has one true answer, even where the guard in front of an application lets pass."""
    http = site(**CHECK, **given)
    device = http.login("ann")
    assert http.post("/auth/logout", token=device.access).status == 200

    assert is_refused(http.get("/auth/check", token=device.access))
    assert is_refused(http.get("/auth/check", cookie=device.cookie))
    assert is_refused(http.get("/auth/check", token="opaque-token-of-ann"))


def test_a_path_beside_the_check_is_the_applications(http: Site) -> None:
    """Only `/auth/check` and what is below it are ours; and without the group nothing is."""
    for path in ("/auth/checks", "/auth//check", "/auth/CHECK", "/check", "/me/auth/check"):
        assert http.get(path, token=http.issuer.mint("ann")).status == 404


def test_the_check_is_off_until_it_is_asked_for(site: BuildSite) -> None:
    """`LOGOUT_ENDPOINTS` names it, or there is none; and it needs something to verify with."""
    http = site()

    assert http.get("/auth/check", token=http.issuer.mint("ann")).status == 404
    with pytest.raises(ConfigurationError, match="E112"):
        LogoutSettings.load(environ={}, env_file=None, endpoints="check")


# ---- the store is away -----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"fail_mode": "open"}, {"mode": "observe"}])
@pytest.mark.parametrize("by", ["token", "cookie"])
def test_R6_a_store_that_cannot_answer_is_never_a_yes(site: BuildSite, by: str, given: dict[str, str]) -> None:
    """503 for who may be alive, and the cookie is left alone: not knowing is not "logged out"."""
    http = site(**CHECK, **given)
    device = http.login("ann")
    request = {"token": device.access} if by == "token" else {"cookie": device.cookie}
    assert http.get("/auth/check", **request).status == 200
    http.store.broken = True

    answer = http.get("/auth/check", **request)

    assert (answer.status, answer.header("retry-after"), answer.all("set-cookie")) == (503, "1", [])
    assert (told(answer), answer.header("cache-control")) == (NOBODY, "no-store")
    http.store.broken = False
    assert http.get("/auth/check", **request).status == 200


@pytest.mark.parametrize("given", [{}, {"fail_mode": "open"}])
def test_a_dead_credential_beside_an_unknown_one_is_not_a_yes(site: BuildSite, given: dict[str, str]) -> None:
    """What is wrong by itself must not stand in for an answer of the store about the other."""
    http = site(**CHECK, **given)
    expired, cookie = http.issuer.mint("ann", life=-1), http.login("ann").cookie
    http.store.broken = True

    answer = http.get("/auth/check", token=expired, cookie=cookie)

    assert answer.status in (401, 503)
    assert told(answer) == NOBODY


def test_keys_that_cannot_be_fetched_are_no_reason_to_say_yes_or_no(site: BuildSite) -> None:
    """Whether the signature is right cannot be known: 503, and nobody is told that his token is wrong."""
    http = site(**CHECK, jwt_key=None, jwks_url=f"http://127.0.0.1:{free_port()}/jwks", jwt_algorithms="RS256")

    answer = http.get("/auth/check", token=http.issuer.mint("ann"))

    assert (answer.status, answer.header("www-authenticate"), told(answer)) == (503, None, NOBODY)


# ---- time ------------------------------------------------------------------------------------------------


def test_what_is_checked_is_in_use(site: BuildSite) -> None:
    """The proxy's question is the visitor's activity: it is asked for every one of his requests."""
    http = site(**CHECK, idle_timeout="20m")
    used, left_alone = (http.issuer.mint("ann", life=86400.0, sid=sid) for sid in ("s1", "s2"))
    assert [http.get("/auth/check", token=each).status for each in (used, left_alone)] == [200, 200]
    for _ in range(3):
        http.clock.move(15 * MINUTE)
        assert http.get("/auth/check/app", token=used).status == 200

    assert is_refused(http.get("/auth/check", token=left_alone))
    http.clock.move(20 * MINUTE)
    assert is_refused(http.get("/auth/check", token=used))


def test_the_longest_time_ends_a_login_that_is_in_use(site: BuildSite) -> None:
    """ABSOLUTE_TIMEOUT holds at the proxy as it does in front of an application."""
    http = site(**CHECK, absolute_timeout="1h")
    token = http.issuer.mint("ann", life=86400.0, sid="s1")
    for _ in range(5):
        assert http.get("/auth/check", token=token).status == 200
        http.clock.move(12 * MINUTE)

    assert is_refused(http.get("/auth/check", token=token))


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/auth/check/poll", {}),
        ("/auth/check/feed/news", {}),
        ("/auth/check", {"X-Forwarded-Uri": "/poll?since=1"}),
        ("/auth/check", {"X-Original-URI": "/feed/news"}),
        ("/auth/check/poll", {"X-Forwarded-Uri": "/app"}),
        ("/auth/check/app", {"X-Logout-Passive": "1"}),
    ],
)
def test_polling_through_a_proxy_keeps_nobody_logged_in(site: BuildSite, path: str, headers: dict[str, str]) -> None:
    """PASSIVE_PATHS are those of the original request, by whichever way the proxy names it."""
    http = site(**CHECK, idle_timeout="20m", passive_paths="/poll,/feed/")
    token = http.issuer.mint("ann", life=86400.0, sid="s1")
    assert http.get("/auth/check", token=token).status == 200
    for _ in range(2):
        http.clock.move(9 * MINUTE)
        assert http.get(path, token=token, headers=headers).status == 200
    http.clock.move(2 * MINUTE)

    assert is_refused(http.get("/auth/check", token=token))


@pytest.mark.parametrize(
    "uri", ["/feed/../app", "//feed/x", "/feed/%2e%2e/app", "http://other/feed/", "feed/", "\\feed/", ""]
)
def test_a_forwarded_path_that_can_be_read_in_two_ways_is_not_read(site: BuildSite, uri: str) -> None:
    """A person who is at work must not be taken for a machine by it."""
    http = site(**CHECK, idle_timeout="20m", passive_paths="/poll,/feed/,/")
    token = http.issuer.mint("ann", life=86400.0, sid="s1")
    for _ in range(3):
        assert http.get("/auth/check", token=token, headers={"X-Forwarded-Uri": uri}).status == 200
        http.clock.move(19 * MINUTE)

    assert http.get("/auth/check", token=token).status == 200
