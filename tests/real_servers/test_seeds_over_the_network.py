"""The seeds' statements between two processes: uvicorn and gunicorn, real connections, the seeds' presets.

`tests/seeds` has every statement in all its forms; here GenAuth's and SPiD's are seen once more through sockets and
parsers, and each preset is started with nothing but its name and the variables that it requires.
"""

from __future__ import annotations

import http.client
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import httpx2
import pytest
from examples.demo import HOST

from logout_middleware.client import LogoutClient
from logout_middleware.errors import ConfigurationError
from tests.apps import COOKIE_SECRET, JWT_KEY, Issuer
from tests.client import ALL, OWN_LINK, OWN_PAGE, Answer, Device, Sender, Site
from tests.peers.server import running
from tests.protocols.clients import BANK, SHOP, basic
from tests.protocols.clients import CLIENTS as WITH_SECRETS

BYE = "https://shop.example/bye"
BYE_WITH_QUERY = "https://shop.example/bye?a=1&b=%C3%A6"
CLIENTS = {
    "shop": {"secret": "s1", "redirect_uris": [BYE, BYE_WITH_QUERY]},
    "blog": {"secret": "s2", "redirect_uris": ["https://blog.example/bye"]},
}
COMMON = {
    "LOGOUT_COOKIE_SECRET": COOKIE_SECRET,
    "LOGOUT_RATE_LIMIT": "off",
    "LOGOUT_TOKEN_REQUESTS": "POST /refresh: refresh_token",
    "LOGOUT_TOKEN_RESPONSES": "POST /login: access_token, refresh_token",
}
LINK_ELSEWHERE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
GENAUTH, SPID = (
    pytest.mark.parametrize(
        "served", [(preset, server) for server in ("uvicorn", "gunicorn")], indirect=True, ids="-".join
    )
    for preset in ("genauth", "spid")
)


class NetworkClient:
    """Sends requests over real connections: no cookie is kept, no redirect followed, nothing tried again."""

    def __init__(self) -> None:
        self.transport = httpx2.HTTPTransport()

    def send(self, method: str, url: str, headers: list[tuple[str, str]], body: bytes, address: str) -> Answer:
        response = self.transport.handle_request(httpx2.Request(method, url, headers=headers, content=body or None))
        pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw]
        return Answer(response.status_code, tuple(pairs), response.read())


class Served(Sender):
    """The application of the tests under a real server."""

    me, refresh, alive = Site.me, Site.refresh, Site.alive

    def __init__(self, origin: str, issuer: Issuer, database: str) -> None:
        super().__init__(NetworkClient(), origin)
        self.issuer, self.database, self._logins = issuer, database, itertools.count()

    def login(self, user: str) -> Device:
        """Log in on a new device; the test names the session, as every worker counts from one."""
        return Site.login(self, user, sid=f"device-{next(self._logins)}")

    def close(self) -> None:
        """Give back the connections."""
        self.client.transport.close()

    def get_raw(self, path: str, cookie: str) -> tuple[int, str | None]:
        """Status and Location of a GET whose address is sent as it is written, by a client that knows no better."""
        with closing(http.client.HTTPConnection(HOST, urlsplit(self.origin).port, timeout=20)) as connection:
            connection.putrequest("GET", path)
            connection.putheader("Cookie", f"session={cookie}")
            connection.endheaders()
            response = connection.getresponse()
            return response.status, response.headers["Location"]


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests of a preset."""
    preset, server = request.param
    folder = tmp_path_factory.mktemp(f"{preset}-{server}")
    more = {"LOGOUT_CLIENTS": json.dumps(CLIENTS)} if preset == "spid" else {}
    with (
        running(folder, server, LOGOUT_PRESET=preset, **COMMON, **more) as service,
        closing(Served(service.origin, service.issuer, str(folder / "logout.db"))) as served,
    ):
        yield served


# ---- GenAuth ---------------------------------------------------------------------------------------------


@GENAUTH
@pytest.mark.parametrize("path", ["/auth/revoke", "/auth/introspect"])
def test_GA_6_a_call_without_a_token_or_with_a_number_is_refused(served: Served, path: str) -> None:
    """By its status and its error."""
    missing = served.post(path, form={"token_type_hint": "access_token"}, headers=basic(*SHOP))
    number = served.post(path, json={"token": 5}, headers=basic(*SHOP))

    assert [(each.status, each.json["error"]) for each in (missing, number)] == [
        (400, "invalid_request"), (415, "invalid_request"),
    ]  # fmt: skip


@GENAUTH
@pytest.mark.parametrize("secret", ["wrong", BANK[1], ""])
def test_GA_7_only_a_registered_client_is_served(served: Served, secret: str) -> None:
    """A wrong secret is 401, the client says whose fault it is, and the token lives."""
    token = served.issuer.mint("ann")

    answer = served.post("/auth/revoke", form={"token": token}, headers=basic(SHOP[0], secret))

    assert (answer.status, answer.json["error"]) == (401, "invalid_client")
    with LogoutClient(served.origin, SHOP[0], secret) as client, pytest.raises(ConfigurationError, match="shop"):
        client.revoke_token(token)
    assert served.me(token=token) == "ann"


@GENAUTH
def test_GA_8_9_10_12_a_token_is_active_until_it_is_revoked_and_then_nowhere(served: Served) -> None:
    """Introspection, revocation, introspection, and every way to use the login that the token belonged to."""
    ann, bob = served.login("ann"), served.login("bob")

    with LogoutClient(served.origin, *SHOP) as client:
        before = client.introspect_token(ann.access)
        alive = served.alive(ann)
        revoked = [client.revoke_token(ann.access), client.revoke_token(ann.access)]
        after = [client.introspect_token(ann.access) for _ in range(4)]

    assert (before["active"], before["sub"], alive) == (True, "ann", ALL)
    assert revoked == [True, True]
    assert after == [{"active": False}] * 4
    assert [served.get("/me", token=ann.access).status for _ in range(4)] == [401] * 4
    assert served.alive(ann) == set()
    assert served.alive(bob) == ALL


@GENAUTH
def test_GA_9_the_answer_of_an_introspection_is_exactly_inactive(served: Served) -> None:
    """On the wire, and kept by no cache on the way."""
    token = served.issuer.mint("ann")
    served.post("/auth/revoke", form={"token": token}, headers=basic(*SHOP))

    answer = served.post("/auth/introspect", form={"token": token}, headers=basic(*SHOP))

    assert (answer.status, answer.json, answer.header("cache-control")) == (200, {"active": False}, "no-store")


# ---- SPiD ------------------------------------------------------------------------------------------------


def address(**query: str) -> str:
    """The logout address with these parameters, encoded as the seed demands."""
    return "/logout?" + urlencode(query)


@SPID
@pytest.mark.parametrize(
    "query", ["", "?client_id=", "?client_id=nobody", "?client_id=Shop", "?client_id=shop&client_id=blog"]
)
def test_SP_7_client_id_is_required_and_must_be_registered(served: Served, query: str) -> None:
    """Otherwise 400, and nobody is logged out."""
    ann = served.login("ann")

    answer = served.get("/logout" + query, cookie=ann.cookie, headers=LINK_ELSEWHERE)

    assert (answer.status, answer.header("location"), answer.all("set-cookie")) == (400, None, [])
    assert served.alive(ann) == ALL


@SPID
def test_SP_8_the_redirect_comes_after_the_logout(served: Served) -> None:
    """While another process holds the database, nobody is sent away as if it had been recorded."""
    ann = served.login("ann")
    target = address(client_id="shop", redirect_uri=BYE)

    with closing(sqlite3.connect(served.database, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        failed = served.get(target, cookie=ann.cookie, headers=LINK_ELSEWHERE)
        holder.execute("ROLLBACK")
    alive_after_failure = served.me(cookie=ann.cookie)
    done = served.get(target, cookie=ann.cookie, headers=LINK_ELSEWHERE)
    used_at_once = served.me(cookie=ann.cookie)

    assert (failed.status, failed.header("location"), failed.all("set-cookie")) == (503, None, [])
    assert alive_after_failure == "ann"
    assert (done.status, done.header("location")) == (303, BYE)
    assert done.deleted >= {"session"}
    assert used_at_once is None


@SPID
@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/", "https://blog.example/bye", BYE + "/", BYE[:-1], BYE + "?a=1", BYE + "#fragment",
        "https://SHOP.example/bye", "http://shop.example/bye", "https://shop.example@evil.example/bye",
        "//evil.example/bye", "/\\evil.example", "https%3A%2F%2Fshop.example%2Fbye", " " + BYE,
        BYE + "\r\nX-Injected: 1", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_SP_9_redirect_uri_must_be_registered_for_this_client(served: Served, target: str) -> None:
    """Byte for byte as the server's parser hands it on; otherwise 400, no redirect and no logout."""
    ann = served.login("ann")

    answer = served.get(address(client_id="shop", redirect_uri=target), cookie=ann.cookie, headers=LINK_ELSEWHERE)

    assert (answer.status, answer.header("location"), answer.header("x-injected")) == (400, None, None)
    assert served.me(cookie=ann.cookie) == "ann"


@SPID
def test_SP_10_an_encoded_redirect_uri_keeps_its_own_query(served: Served) -> None:
    """What was registered comes back byte for byte."""
    ann = served.login("ann")

    answer = served.get_raw(f"/logout?redirect_uri={quote(BYE_WITH_QUERY, safe='')}&client_id=shop", ann.cookie)

    assert answer == (303, BYE_WITH_QUERY)


@SPID
def test_SP_10_an_unencoded_redirect_uri_smuggles_no_parameters(served: Served) -> None:
    """Its second parameter is one of ours, so the rest is an address that nobody registered."""
    ann = served.login("ann")

    cut_short = served.get_raw(f"/logout?client_id=shop&redirect_uri={BYE_WITH_QUERY}", ann.cookie)
    smuggled = served.get_raw(f"/logout?client_id=shop&redirect_uri={BYE}&client_id=blog", ann.cookie)
    alive = served.alive(ann)
    in_one_reading = served.get_raw(f"/logout?client_id=shop&redirect_uri={BYE}", ann.cookie)

    assert (cut_short, smuggled) == ((400, None), (400, None))
    assert alive == ALL
    assert in_one_reading == (303, BYE)


@SPID
def test_SP_11_without_redirect_uri_the_default_page(served: Served) -> None:
    """By default the login, below the address that was asked."""
    answer = served.get(address(client_id="shop"), cookie=served.login("ann").cookie, headers=LINK_ELSEWHERE)

    assert (answer.status, answer.header("location")) == (303, "/login")


@SPID
def test_SP_12_a_token_of_somebody_else_is_left_alone(served: Served) -> None:
    """The own session ends all the same."""
    ann, bob = served.login("ann"), served.login("bob")

    answer = served.get(address(client_id="shop", oauth_token=bob.access), cookie=ann.cookie, headers=LINK_ELSEWHERE)

    assert answer.status == 303
    assert served.me(cookie=ann.cookie) is None
    assert served.alive(bob) == ALL


@SPID
def test_SP_13_the_own_token_is_revoked_with_the_session(served: Served) -> None:
    """No API request is allowed with that same token afterwards, by whichever worker."""
    ann = served.login("ann")
    assert served.me(token=ann.access) == "ann"

    served.get(address(client_id="shop", oauth_token=ann.access), cookie=ann.cookie, headers=LINK_ELSEWHERE)

    answers = [served.get("/me", token=ann.access) for _ in range(4)]
    assert [(each.status, each.json["error"]) for each in answers] == [(401, "token_revoked")] * 4
    assert served.me(cookie=ann.cookie) is None


# ---- each preset alone -----------------------------------------------------------------------------------

KEY = {"LOGOUT_JWT_KEY": JWT_KEY, "LOGOUT_JWT_ALGORITHMS": "HS256"}
REFRESH = {"LOGOUT_TOKEN_REQUESTS": "POST /refresh: refreshToken, refresh_token"}
REQUIRED: dict[str, dict[str, str]] = {
    "genauth": {**KEY, "LOGOUT_CLIENTS": json.dumps(WITH_SECRETS)},
    "user-management": {**KEY, **REFRESH},
    "spid": {"LOGOUT_CLIENTS": json.dumps(CLIENTS)},
    "userfront": {"LOGOUT_COOKIES": "access.abcdefg"},
    "campusbite": REFRESH,
}


@pytest.fixture(params=["uvicorn", "gunicorn"])
def alone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], AbstractContextManager[Served]]]:
    """Start a server with this preset and what it requires, and no other variable."""

    @contextmanager
    def start(preset: str) -> Iterator[Served]:
        with (
            running(tmp_path, request.param, bare=True, LOGOUT_PRESET=preset, **REQUIRED[preset]) as service,
            closing(Served(service.origin, service.issuer, str(tmp_path / "logout.db"))) as served,
        ):
            yield served

    return start


Alone = Callable[[str], AbstractContextManager[Served]]


def test_GA_1_2_4_8_9_genauth_by_its_preset_alone(alone: Alone) -> None:
    """By a visit and by a call."""
    with alone("genauth") as served, LogoutClient(served.origin, *SHOP) as client:
        ann, bob = served.login("ann"), served.login("bob")
        visit = served.get("/auth/logout", cookie=ann.cookie, headers=OWN_LINK)
        called = [client.introspect_token(bob.access)["active"], client.revoke_token(bob.access)]
        told = client.introspect_token(bob.access)
        anonymous = served.post("/auth/revoke", form={"token": bob.access})

        assert (visit.status, visit.header("location"), served.me(cookie=ann.cookie)) == (303, "/login", None)
        assert (called, told) == ([True, True], {"active": False})
        assert (anonymous.status, anonymous.json["error"]) == (401, "invalid_client")
        assert [served.get("/me", token=bob.access).status for _ in range(4)] == [401] * 4


def test_UM_1_2_5_6_7_12_31_34_user_management_by_its_preset_alone(alone: Alone) -> None:
    """A JWT is demanded, and every device of its user logged out."""
    with alone("user-management") as served:
        phone, laptop, bob = served.login("ann"), served.login("ann"), served.login("bob")
        without, wrong_method = served.post("/logout"), served.get("/logout", token=phone.access)
        answer, again = (served.post("/logout", token=phone.access) for _ in range(2))

        assert (without.status, wrong_method.status, answer.status, again.status) == (401, 405, 200, 200)
        assert (without.header("www-authenticate") or "").startswith("Bearer ")
        assert [set(each.json) for each in (answer, again)] == [{"message", "timestamp"}] * 2
        assert datetime.fromisoformat(answer.json["timestamp"]).tzinfo == UTC
        assert (answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-remaining")) == ("20", "19")
        assert [served.refresh(each.refresh).status for each in (phone, laptop, bob)] == [401, 401, 200]
        assert [served.me(token=each.access) for each in (phone, laptop, bob)] == [None, None, "bob"]


def test_SP_1_2_6_7_8_14_18_spid_by_its_preset_alone(alone: Alone) -> None:
    """By script, by redirect with a registered client, by API; each its own and nothing else."""
    with alone("spid") as served:
        ann, bob, eve = (served.login(user) for user in ("ann", "bob", "eve"))
        script = served.post("/logout", cookie=ann.cookie, headers=OWN_PAGE)
        nameless = served.get("/logout", cookie=bob.cookie, headers=LINK_ELSEWHERE)
        bob_then = served.me(cookie=bob.cookie)
        visit = served.get(address(client_id="shop", redirect_uri=BYE), cookie=bob.cookie, headers=LINK_ELSEWHERE)
        call = served.post("/logout", token=eve.access)

        assert (script.status, script.header("location"), script.deleted >= {"session"}) == (200, None, True)
        assert (nameless.status, bob_then) == (400, "bob")
        assert (visit.status, visit.header("location"), call.status) == (303, BYE, 200)
        assert [served.alive(each) for each in (ann, bob, eve)] == [ALL - {"cookie"}] * 2 + [ALL - {"access"}]


def test_UF_4_5_6_7_12_userfront_by_its_preset_alone(alone: Alone) -> None:
    """The button's form, and the request of Userfront's own client."""
    with alone("userfront") as served:
        clicked, asked = served.issuer.mint("ann"), served.issuer.mint("bob")
        form = {"Cookie": f"access.abcdefg={clicked}", "Accept": "text/html", **OWN_PAGE}
        click = served.post("/auth/logout", form={}, headers=form)
        script = served.get("/auth/logout", token=asked, headers={"Accept": "application/json, text/plain, */*"})

        assert (click.status, click.header("location")) == (303, "/login")
        assert click.deleted == {"access.abcdefg", "id.abcdefg", "refresh.abcdefg"}
        assert (script.status, script.json) == (200, {"message": "ok", "redirectTo": "/login"})
        assert [served.me(token=each) for each in (clicked, asked)] == [None, None]
        assert served.get("/me", headers={"Cookie": f"access.abcdefg={clicked}"}).json["user"] is None


def test_CB_1_2_5_6_8_9_15_campusbite_by_its_preset_alone(alone: Alone) -> None:
    """One refresh token, and one answer whatever is sent."""
    path, sample = "/api/auth/logout", {"success": True, "message": "Logged out successfully."}
    with alone("campusbite") as served:
        phone, laptop = served.login("ann"), served.login("ann")
        answers = [served.post(path, json={"refreshToken": phone.refresh, "scope": "global"}) for _ in range(2)]
        answers += [served.post(path), served.post(path, json={}), served.post(path, json={"refreshToken": "unknown"})]
        answers += [served.post(path, body=b"{", headers={"Content-Type": "application/json"})]

        assert [(each.status, each.json) for each in answers] == [(200, sample)] * 6
        assert served.alive(phone) == {"access", "cookie"}
        assert served.alive(laptop) == ALL
