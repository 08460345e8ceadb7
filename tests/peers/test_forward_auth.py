"""Forward-auth behind real nginx, Caddy, HAProxy and Envoy, each with the configuration that users copy.

One matrix for all of them. Three of each run: one whose check is up, one whose check has no store, one without a check.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pytest
from examples.demo import free_port
from itsdangerous import TimestampSigner

from ..serving import Answer, ask, mint, serving
from .proxies import KINDS, Received, Upstream, application, proxying

IDENTITY = ("subject", "session", "client", "issuer", "expires")
NAMES = ("X-Auth-Subject", "x-auth-subject", "X_Auth_Subject", "x-auth_subject", "X_AUTH-SUBJECT", "X-Auth-Expires")
COOKIE_SECRET = "the secret that signs the cookies that proxies are asked about"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """The application behind all proxies."""
    with application() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of `logout-middleware serve`."""
    given = {
        "LOGOUT_COOKIE_SECRET": COOKIE_SECRET, "LOGOUT_COOKIES": "session:starlette",
        "LOGOUT_TRUSTED_PROXIES": "127.0.0.1",
    }  # fmt: skip
    with serving(tmp_path_factory.mktemp("check"), **given) as (port, _):
        yield port


@pytest.fixture(scope="module")
def check_without_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of one whose store is away."""
    with serving(tmp_path_factory.mktemp("away"), LOGOUT_STORE=f"redis://127.0.0.1:{free_port()}/0") as (port, _):
        yield port


@dataclass
class Front:
    """A proxy, and what reached the application through it."""

    kind: str
    port: int
    upstream: Upstream

    def ask(self, method: str, path: str, **given: object) -> Answer:
        """One request through the proxy; what the application saw before is forgotten."""
        self.upstream.received.clear()
        return ask(self.port, method, path, **given)  # type: ignore[arg-type]

    @property
    def seen(self) -> Received:
        """The one request that the application got."""
        (only,) = self.upstream.received
        return only

    def refuses(self, answer: Answer) -> bool:
        """401 with a challenge, and the application knows nothing of it."""
        challenge = answer.headers["WWW-Authenticate"] or ""
        return answer.status == 401 and challenge.startswith("Bearer") and self.upstream.received == []


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def front(kind: str, check: int, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A proxy as it should be."""
    with proxying(kind, tmp_path_factory.mktemp(kind), check=check, application=upstream.port) as port:
        yield Front(kind, port, upstream)


@pytest.fixture(scope="module", params=["check down", "store away"])
def broken(
    request: pytest.FixtureRequest, kind: str, check_without_store: int, upstream: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Front]:  # fmt: skip
    """A proxy whose check cannot say who is logged in."""
    port = free_port() if request.param == "check down" else check_without_store
    with proxying(kind, tmp_path_factory.mktemp(kind), check=port, application=upstream.port) as port:
        yield Front(kind, port, upstream)


@pytest.fixture(scope="module")
def elsewhere(kind: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A proxy that asks a service which has no check at that address."""
    with (
        serving(tmp_path_factory.mktemp("elsewhere"), LOGOUT_ENDPOINTS="logout") as (check, _),
        proxying(kind, tmp_path_factory.mktemp(kind), check=check, application=upstream.port) as port,
    ):
        yield Front(kind, port, upstream)


# ---- the way it should be --------------------------------------------------------------------------------


def test_who_is_not_logged_in_does_not_reach_the_application(front: Front) -> None:
    """401, and how to log in."""
    for method, path in product(["GET", "POST", "DELETE", "OPTIONS"], ["/", "/app/deep?x=1", "/authority", "//app"]):
        assert front.refuses(front.ask(method, path)), (method, path)


def test_the_application_learns_who_it_is(front: Front) -> None:
    """From us alone, and everything that was verified."""
    answer = front.ask("GET", "/app/deep?x=1", token=mint("ann", sid="s 1", client_id="shop"))

    assert (answer.status, answer.body) == (200, b"welcome")
    assert (front.seen.method, front.seen.path) == ("GET", "/app/deep?x=1")
    told = {name: front.seen.environ(f"x-auth-{name}") for name in IDENTITY}
    assert (told["subject"], told["session"], told["client"]) == (["ann"], ["s%201"], ["shop"])
    assert told["issuer"] in ([], [""])
    assert int(told["expires"][0]) > 0


@pytest.mark.parametrize("name", ["Ännchen Müller", "ann, root", "{http.request.host}%[src]$host", "a%2Cb"])
def test_a_strange_name_reaches_the_application_as_the_check_wrote_it(front: Front, check: int, name: str) -> None:
    """No proxy reads anything into it."""
    token = mint(name)
    said = ask(check, "GET", "/auth/check", token=token).headers["X-Auth-Subject"]

    assert front.ask("GET", "/", token=token).status == 200

    assert front.seen.environ("x-auth-subject") == [said]


def test_a_body_reaches_the_application_whole(front: Front) -> None:
    """The check reads none of it."""
    body = bytes(range(256)) * 400

    answer = front.ask("POST", "/app/upload", token=mint(), body=body)

    assert (answer.status, front.seen.method, front.seen.body) == (200, "POST", body)


def test_a_head_request_is_one(front: Front) -> None:
    """It passes and is refused like any other."""
    answer = front.ask("HEAD", "/app", token=mint())
    assert (answer.status, answer.body, front.seen.method) == (200, b"", "HEAD")

    refused = front.ask("HEAD", "/app")
    assert front.refuses(refused)
    assert refused.body == b""


@pytest.mark.parametrize("name", NAMES)
def test_OBP_4_what_a_client_says_of_itself_is_never_believed(front: Front, name: str) -> None:
    """However it spells our headers, with a login and without one, once or twice."""
    spoofed = [(name, "root"), (name, "root")]
    assert front.refuses(front.ask("GET", "/", headers=spoofed))

    answer = front.ask("GET", "/", headers=spoofed, token=mint("ann"))

    assert answer.status in (200, 400)  # Envoy may refuse the request
    for received in front.upstream.received:
        assert received.environ("x-auth-subject") == ["ann"]
        assert "root" not in [value for _, value in received.fields]
    assert answer.status == 200


def test_what_is_unknown_is_not_what_the_client_says(front: Front) -> None:
    """R5: a header that the check had nothing to say in must not be the client's."""
    claims = [("X-Auth-Client", "root"), ("X-Auth-Issuer", "root"), ("X_Auth_Client", "root")]

    assert front.ask("GET", "/", headers=claims, token=mint()).status == 200

    assert front.seen.environ("x-auth-client") in ([], [""])
    assert front.seen.environ("x-auth-issuer") in ([], [""])


@pytest.mark.parametrize("by_proxy", [True, False], ids=["through the proxy", "directly"])
def test_a_logout_is_known_at_once(front: Front, check: int, by_proxy: bool) -> None:
    """The next request is refused, with the reason told; somebody else's is not."""
    token, bystander = mint("ann"), mint("bob")
    assert front.ask("GET", "/", token=token).status == 200

    logged_out = ask(front.port if by_proxy else check, "POST", "/auth/logout", token=token)

    assert (logged_out.status, json.loads(logged_out.body)["success"]) == (200, True)
    refused = front.ask("GET", "/", token=token)
    assert front.refuses(refused)
    assert "was revoked" in refused.headers["WWW-Authenticate"]
    assert front.ask("GET", "/", token=bystander).status == 200


def test_a_forged_token_is_refused(front: Front) -> None:
    """And so is one that only an application could understand, an expired one, and two at once."""
    for token in (mint(key="the key of somebody else entirely"), mint()[:-6] + "AAAAAA", mint(exp=1), "opaque"):
        assert front.refuses(front.ask("GET", "/", token=token))
    twice = [("Authorization", f"Bearer {mint('ann')}")]
    answer = front.ask("GET", "/", token=mint("bob"), headers=twice)
    assert answer.status in (400, 401)
    assert front.upstream.received == []


def test_a_revoked_cookie_is_refused_and_the_browser_forgets_it(front: Front) -> None:
    """The deletion comes through the proxy."""
    value = (
        TimestampSigner(COOKIE_SECRET)
        .sign(b64encode(json.dumps({"sub": "ann", "sid": mint()[-12:]}).encode()))
        .decode()
    )
    cookie = [("Cookie", f"session={value}")]
    assert front.ask("GET", "/", headers=cookie).status == 200
    assert front.seen.environ("x-auth-subject") == ["ann"]
    logout = [*cookie, ("Sec-Fetch-Site", "same-origin")]
    assert ask(front.port, "POST", "/auth/logout", headers=logout).status == 200

    answer = front.ask("GET", "/", headers=cookie)

    assert front.refuses(answer)
    deleted = answer.headers["Set-Cookie"]
    assert deleted.startswith("session=")
    assert "max-age=0" in deleted.lower()


def test_a_path_that_could_be_read_in_two_ways_leads_nobody_past_the_check(front: Front) -> None:
    """The endpoints' own paths are not asked about; whatever begins like them must not end at the application."""
    for path in (
        "//auth/check",
        "/auth/../app",
        "/auth/%2e%2e/app",
        "/auth/..%2fapp",
        "/auth/..;/app",
        "/auth//../app",
        "/auth\\..\\app",
    ):
        answer = front.ask("GET", path)
        assert front.upstream.received == [], path
        assert answer.status >= 300, path


# ---- nobody can say who is logged in ---------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
def test_R6_nothing_passes_while_nobody_knows(broken: Front, method: str) -> None:
    """Not with a login, not without one, not for who says that he is root; and it is not the visitor's fault."""
    for headers in ([], [("X-Auth-Subject", "root")]):
        answer = broken.ask(method, "/app", token=mint(), headers=headers, body=b"x" if method == "POST" else b"")
        assert answer.status in (502, 503), answer
        assert broken.upstream.received == []
        anonymous = broken.ask(method, "/app", headers=headers)
        assert anonymous.status in (401, 502, 503)
        assert broken.upstream.received == []


def test_nobody_is_told_that_he_was_logged_out_while_nobody_knows(broken: Front) -> None:
    """No cookie is touched and no challenge made: a browser tries again, and is in."""
    answer = broken.ask("GET", "/app", token=mint())

    assert answer.headers["WWW-Authenticate"] is None
    assert answer.headers["Set-Cookie"] is None


def test_a_question_to_the_wrong_address_is_answered_with_no(elsewhere: Front) -> None:
    """An operator who mistyped a path notices at once; he has not opened his application to everybody."""
    for token in (None, mint()):
        answer = elsewhere.ask("GET", "/app", token=token)

        assert elsewhere.upstream.received == []
        assert answer.status in (404, 503)
