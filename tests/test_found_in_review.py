"""Holes that reviews found, each as the attack that showed it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.colour import run_blocking
from logout_middleware.flows.known_headers import Known, KnownHeaders
from logout_middleware.providers import FRESH_SECONDS, Provider
from logout_middleware.rules.identity import opaque
from logout_middleware.rules.revocation import FOREVER, Revocation, key_of
from logout_middleware.stores import StoreForgot
from logout_middleware.stores.sqlite import SqliteStore
from logout_middleware.testing import MovableClock

from .test_guard import KEY, Site, bearer

CROSS_SITE = {"sec_fetch_site": "cross-site", "origin": "https://evil.example"}
OWN_PAGE = {"sec_fetch_site": "same-origin"}


@pytest.fixture(params=["asgi", "wsgi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def proof_for(site: Site, cookie: str) -> str:
    _, _, page = site.ask_text("/auth/logout", cookie=cookie)
    found = re.search(r'name="intent" value="([^"]+)"', page)
    assert found, page
    return found[1]


def test_an_intent_for_another_session_does_not_log_out_this_one(kind: str) -> None:
    """An attacker gets a proof for a session of his own, and puts that session's token beside it."""
    site = Site(kind, secret="s" * 32)
    proof = proof_for(site, "sid=evil123")
    victim = site.token()

    status, headers, _ = site.ask(
        "/auth/logout",
        "POST",
        cookie=f"session={victim}",
        json={"refresh_token": "evil123", "intent": proof},
        **CROSS_SITE,
    )
    assert (status, "set-cookie" in headers) == (403, False)
    status, _, _ = site.ask_text(f"/auth/logout?intent={proof}", cookie=f"session={victim}; sid=evil123")

    assert status == 200  # asked, not done
    assert site.ask(cookie=f"session={victim}")[2]["user"] == "ann"


def test_an_intent_from_the_confirm_page_counts_where_a_browser_says_nothing(kind: str) -> None:
    """Without Fetch Metadata and Origin, the signed form is the proof."""
    site = Site(kind, secret="s" * 32)
    cookie = f"session={site.token()}"
    proof = proof_for(site, cookie)
    form = {"content_type": "application/x-www-form-urlencoded"}

    assert site.ask("/auth/logout", "POST", cookie=cookie, body="scope=local", **form)[0] == 403
    assert site.ask("/auth/logout", "POST", cookie=cookie, body=f"intent={proof}", **form)[0] == 200
    assert site.ask(cookie=cookie)[2]["cookies"] == {}


@pytest.mark.parametrize(
    ("body", "content_type", "method"),
    [
        ('{{"a": "&refresh_token={token}&"}}', "application/x-www-form-urlencoded", "POST"),
        ("refresh_token={token}&x=\xff", "application/x-www-form-urlencoded", "POST"),
        ("refresh_token={token}", "application/x-www-form-urlencoded", "post"),
        ('{{"refresh_token": "{token}", "n": ' + "9" * 5000 + "}}", "application/json", "POST"),
    ],
    ids=["JSON and a form at once", "not UTF-8", "method in lower case", "JSON that only others can read"],
)
@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_a_revoked_refresh_token_does_not_hide_in_a_body(kind: str, body: str, content_type: str, method: str) -> None:
    """Whatever the application would find in it is found here, or the request is refused."""
    site = Site(kind)
    token = site.token()
    site.revoke(token)

    for path in ("/refresh", "/refresh/"):
        sent = body.format(token=token).encode("latin-1")
        assert site.ask_text(path, method, body=sent, content_type=content_type)[0] in (400, 401)


def test_a_flood_of_header_lines_costs_little() -> None:
    """60 KB of them, on the endpoint that looks at all; generous, for slow machines."""
    site = Site("asgi")
    middleware = AsgiMiddleware(site.application, logout=site.logout)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        pass

    headers = [(b"a", b"")] * 15_000
    scope = {"type": "http", "path": "/auth/logout", "method": "GET", "query_string": b"", "headers": headers}
    best = min(_cpu(lambda: asyncio.run(middleware(scope, receive, send))) for _ in range(3))

    assert best < 0.5


def _cpu(work: Any) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_another_site_cannot_wipe_a_visitors_data(kind: str) -> None:
    """SameSite=Lax keeps the cookie back; the answer must not clear what it would have named."""
    site = Site(kind, clear_site_data="cookies, storage")

    for path, method in (("/auth/logout", "POST"), ("/auth/logout?redirect_uri=/login", "GET")):
        _, headers, _ = site.ask_text(path, method, **CROSS_SITE)
        assert "clear-site-data" not in headers
    _, headers, _ = site.ask_text("/auth/logout", "POST", **OWN_PAGE)
    assert headers["clear-site-data"] == '"cookies", "storage"'


def test_a_login_that_cannot_be_read_is_not_reported_as_logged_out(kind: str) -> None:
    """A planted twin of the cookie must not turn a logout into a lie."""
    site = Site(kind)
    mine = site.token()

    status, headers, told = site.ask("/auth/logout", "POST", cookie=f"session={mine}; session=planted", **OWN_PAGE)

    assert (status, told["error"], "set-cookie" in headers) == (400, "ambiguous_cookie", False)
    assert site.ask_text("/auth/logout", cookie=f"session={mine}; session=planted")[0] == 400


@pytest.mark.parametrize("strange", [{"aud": "auth-server"}, {}], ids=["audience", "type"])
def test_a_user_is_logged_out_of_refresh_tokens_made_for_the_issuer(kind: str, strange: dict[str, str]) -> None:
    """They have another audience or type than access tokens, and die with their user all the same."""
    site = Site(kind, jwt_audience="api")
    now = site.clock()
    claims = {"sub": "ann", "sid": "s1", "jti": "r", "iat": now - 5, "exp": now + 600, "aud": "api"} | strange
    refresh = jwt.encode(claims, KEY, headers=None if strange else {"typ": "refresh+jwt"})
    assert site.ask("/refresh", "POST", json={"refresh_token": refresh})[0] == 200
    assert site.ask(**bearer(refresh))[0] == 401  # as an access token it was never good

    done = site.logout.revoke_user("ann")
    if kind == "asgi":
        asyncio.run(done)

    assert site.ask("/refresh", "POST", json={"refresh_token": refresh})[0] == 401


def test_long_headers_do_not_fill_the_memory() -> None:
    """Thousands of them, each 60 KB, are forgotten as fast as they come."""
    known = KnownHeaders(size=1000, max_bytes=100_000)
    for number in range(100):
        known.remember(f"{number}".ljust(30_000), Known(1.0, (), None))

        held = known._young.keys() | known._old.keys() | known.ready.keys()
        assert sum(map(len, held)) <= 200_000


@pytest.mark.parametrize("spelling", ["+{rest}", "0x{rest}", "0_{rest}"])
def test_what_python_takes_for_the_same_uuid_is_the_same_session(spelling: str) -> None:
    """`uuid.UUID()` reads the digits with `int()`, signs and underscores included."""
    from uuid import UUID

    original = "00bcdef0-1234-4abc-8def-0123456789ab"
    digits = original.replace("-", "")
    other = spelling.format(rest=digits[1:] if spelling[0] == "+" else digits[2:])
    assert UUID(other) == UUID(original)

    assert opaque(other).digest == opaque(original).digest


@pytest.mark.parametrize("name", ["state", "intent", "redirect_uri"])
def test_a_lone_surrogate_is_the_clients_mistake(kind: str, name: str) -> None:
    """Legal in JSON, in no encoding."""
    site = Site(kind, secret="s" * 32)
    body = json.dumps({name: "\ud800"}).encode()

    status, _, _ = site.ask_text("/auth/logout", "POST", body=body, content_type="application/json", cookie="sid=x")

    assert status == 400


def test_the_database_is_its_users_alone(tmp_path: Path) -> None:
    """Whoever may read the file could lock it, and block every logout."""
    store = SqliteStore(tmp_path / "logout.db")
    run_blocking(store.add([Revocation(key_of("test", None, "x"), FOREVER, 2e9)]))
    run_blocking(store.find([]))

    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == {"0o600"}
    assert len(os.listdir(tmp_path)) == 3
    run_blocking(store.close())


@pytest.mark.parametrize("body", ['{"keys": [{"kid": ["x"], "kty": "oct", "k": "eHh4"}]}', "[" * 100_000, "5", ""])
def test_a_broken_jwks_answer_is_an_outage_and_no_exception(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys known before stay in use; none known is 503."""
    import io
    import urllib.request

    site = Site("wsgi", jwt_key=(), jwks_url="http://127.0.0.1:9/jwks", jwt_algorithms="RS256")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(body.encode()))

    assert site.ask(**bearer(site.token()))[0] == 503


def test_a_key_replaced_under_its_old_name_is_noticed() -> None:
    """A remembered identity is read anew after a while, and with it the keys."""
    site = Site("wsgi", jwt_key=(), jwks_url="http://127.0.0.1:9/jwks", jwt_algorithms="HS256")
    keys: Provider = site.logout.inner.identifier._keys
    keys._clock = site.clock
    keys._published.keys, keys._published.fetched_at = {None: [KEY.encode()]}, site.clock()
    token = site.token(exp=site.clock() + 9999)
    for _ in range(3):
        assert site.ask(**bearer(token))[0] == 200

    keys._fetched_keys = lambda document: {None: [b"x" * 32]}  # type: ignore[method-assign]
    site.clock.move(FRESH_SECONDS + 1)
    site.ask(**bearer(token))  # the first request after a while has the keys fetched beside it
    keys.fetched()

    assert site.ask(**bearer(token))[0] == 401


def test_a_token_that_outlives_every_record_of_its_user_is_refused(kind: str) -> None:
    """Else a logout would end when the record does."""
    site = Site(kind, max_lifetime="30d")
    now = site.clock()
    long = jwt.encode({"sub": "ann", "jti": "j", "exp": now + 400 * 86400}, KEY)
    endless = jwt.encode({"sub": "ann", "jti": "j"}, KEY)

    for token in (long, endless):
        status, _, told = site.ask(**bearer(token))
        assert (status, "LOGOUT_MAX_LIFETIME" in told["error_description"]) == (401, True)


def test_a_clock_ahead_of_ours_does_not_carry_a_token_over_a_cut_off(kind: str) -> None:
    """Within the leeway it is cut off; beyond it, it is not valid yet."""
    site = Site(kind, jwt_leeway="60s")
    ahead, far_ahead = site.token(iat=site.clock() + 20), site.token(iat=site.clock() + 90, exp=site.clock() + 999)
    assert site.ask(**bearer(ahead))[0] == 200
    assert site.ask(**bearer(far_ahead))[0] == 401

    done = site.logout.revoke_user("ann")
    if kind == "asgi":
        asyncio.run(done)

    assert site.ask(**bearer(ahead))[0] == 401


def test_a_dead_store_is_not_logged_out_to_a_socket_either() -> None:
    """4401 makes clients forget their tokens; 1013 makes them try again."""
    site = Site("asgi")
    site.store.broken = True
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer " + site.token().encode())]
    middleware = AsgiMiddleware(site.application, logout=site.logout)
    asyncio.run(middleware({"type": "websocket", "path": "/ws", "headers": headers}, receive, send))

    assert [message["code"] for message in sent] == [1013]


def test_a_query_of_thousands_of_fields_is_refused_at_a_handshake() -> None:
    """Nobody needs them, and reading them costs."""
    from logout_middleware.rules.credentials import Ambiguous, Credential, read_query

    assert isinstance(read_query("a=1&" * 200 + "access_token=x"), Ambiguous)
    assert isinstance(read_query("access_token=x&access_token=y"), Ambiguous)
    assert read_query("a=1&" * 200) is None
    assert read_query("%61ccess_token=x") == Credential("query", "access_token", "x")


def test_a_table_that_was_emptied_does_not_hide_what_comes_next(tmp_path: Path) -> None:
    """Running workers say that it has forgotten; once it is adopted they know what came before and after."""
    import sqlite3

    store, other = (SqliteStore(tmp_path / "logout.db", clock=MovableClock()) for _ in range(2))
    old = [Revocation(key_of("test", None, f"{n}"), FOREVER, 2e9) for n in range(5)]
    run_blocking(other.add(old))
    assert len(run_blocking(store.find([old[0].key]))) == 1
    connection = sqlite3.connect(tmp_path / "logout.db")
    connection.execute('DELETE FROM "logout:revocations"')
    connection.commit()
    connection.close()
    late = Revocation(key_of("test", None, "late"), FOREVER, 2e9)

    with pytest.raises(StoreForgot):
        run_blocking(other.add([late]))
    with pytest.raises(StoreForgot):
        run_blocking(store.find([late.key]))
    run_blocking(other.adopt())
    run_blocking(other.add([late]))

    assert len(run_blocking(store.find([late.key]))) == 1
    for each in (store, other):
        run_blocking(each.close())


def test_neither_secret_nor_token_is_in_a_repr() -> None:
    """Error trackers print the values of local names."""
    from logout_middleware.rules import jose, signed_cookies

    from .test_stable_session import SECRET, by_flask

    token = jwt.encode({"sub": "ann"}, KEY)
    cookie = signed_cookies.read(by_flask({"user_id": 5}), signed_cookies.FORMATS["flask"], [SECRET])

    assert SECRET not in repr(cookie)
    assert token.rpartition(".")[2] not in repr(jose.parse(token))
