"""A provider that is away, slow, lying or changing its keys: no request waits for it, and no logout is lost by it."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from logout_middleware import outbound, providers
from logout_middleware.endpoints import oidc
from logout_middleware.outbound import MAX_ANSWER, Unreachable
from logout_middleware.providers import COLD_RETRY_SECONDS, FRESH_SECONDS, RETRY_SECONDS
from logout_middleware.testing import MovableClock
from tests.client import ALL, OWN_LINK, OWN_PAGE, Answer, BuildSite, Device, Site

from .op import CLIENT, fault, order
from .op_server import DISCOVERY, JWKS, OpServer, send


def inner(rp: Site) -> Any:
    """The asynchronous object behind either shell."""
    return getattr(rp.logout, "inner", rp.logout)


def provider_of(rp: Site, op: OpServer) -> Any:
    """What the application knows of its provider."""
    return inner(rp).providers[op.issuer]


@pytest.fixture
def build(site: BuildSite, op_server: OpServer, clock: MovableClock) -> Callable[..., Site]:
    """Build the application with these settings; its provider's keys age by the clock of the test."""

    def built(**more: Any) -> Site:
        rp = site(**op_server.settings(**({"rate_limit": "off"} | more)))
        provider_of(rp, op_server)._clock = clock
        return rp

    return built


@pytest.fixture
def rp(build: Callable[..., Site]) -> Site:
    """The application."""
    return build()


def look(rp: Site, token: str) -> str:
    """What becomes of a request with this token: `passes`, or the error of the middleware."""
    answer = rp.get("/me", token=token)
    error = answer.json["error"]
    return "passes" if error == "the application does not know this token" else f"{answer.status} {error}"


AWAY = "503 temporarily_unavailable"


@contextmanager
def hanging(op: OpServer) -> Iterator[None]:
    """Whoever asks the provider now waits until this is over."""
    op.called.clear()
    op.open.clear()
    yield
    op.open.set()


# ---- nobody waits for it ---------------------------------------------------------------------------------


def test_a_request_with_known_keys_is_answered_while_a_fetch_hangs(
    rp: Site, op_server: OpServer, clock: MovableClock
) -> None:
    """The provider answers only after the request was, so the request cannot have waited for it."""
    token = op_server.access_token("alice", "s-1", exp=4_000_000_000)
    assert look(rp, token) == "passes"
    clock.move(FRESH_SECONDS + 1)

    with hanging(op_server):
        seen = [look(rp, op_server.access_token("alice", "s-1")) for _ in range(3)]
        assert op_server.called.wait(10.0)
        assert provider_of(rp, op_server)._published.running[1].done() is False

    assert seen == ["passes"] * 3
    provider_of(rp, op_server).fetched()
    assert op_server.asked[JWKS] == 2


def test_a_request_with_unknown_keys_is_503_while_a_fetch_hangs(
    build: Callable[..., Site], op_server: OpServer
) -> None:
    """Not 401, which would make its client throw the token away; and it passes as soon as the keys are there."""
    rp = build(store_deadline="100ms")

    with hanging(op_server):
        answer = rp.get("/me", token=op_server.access_token("alice"))
        assert op_server.called.wait(10.0)

    assert (answer.status, answer.header("retry-after")) == (503, "1")
    provider_of(rp, op_server).fetched()
    assert look(rp, op_server.access_token("alice")) == "passes"


def test_others_are_served_while_one_waits_for_keys(rp: Site, op_server: OpServer) -> None:
    """Neither an event loop nor a lock is held meanwhile."""
    alice = rp.login("alice")
    seen: list[str] = []
    waiting = threading.Thread(target=lambda: seen.append(look(rp, op_server.access_token("alice"))))

    with hanging(op_server):
        if rp.shell == "wsgi":
            waiting.start()
            assert op_server.called.wait(10.0)
            mine = rp.me(token=alice.access)
        else:
            mine, *seen = _both(rp, op_server, alice)

    if rp.shell == "wsgi":
        waiting.join(10.0)
    assert mine == "alice"
    assert seen == ["passes"]


def _both(rp: Site, op: OpServer, alice: Device) -> tuple[str, str]:
    """The same under one event loop: the second request is answered before the provider lets the first one go."""
    import httpx2

    client: Any = rp.client
    transport = httpx2.ASGITransport(client.app)

    async def ask(token: str) -> dict[str, Any]:
        request = httpx2.Request("GET", f"{rp.origin}/me", headers={"Authorization": f"Bearer {token}"})
        response = await transport.handle_async_request(request)
        found: dict[str, Any] = httpx2.Response(200, content=await response.aread()).json()
        return found

    async def exchange() -> tuple[str, str]:
        first = asyncio.create_task(ask(op.access_token("alice")))
        await asyncio.to_thread(op.called.wait, 10.0)
        mine = (await ask(alice.access))["user"]
        op.open.set()
        known = (await first)["error"] == "the application does not know this token"
        return mine, "passes" if known else "refused"

    result: tuple[str, str] = client.runner.run(exchange())
    return result


# ---- what it sends is not believed -----------------------------------------------------------------------

Misbehaviour = tuple[str, Callable[[BaseHTTPRequestHandler], None]]


def drip(request: BaseHTTPRequestHandler, op: OpServer, *, headers: bool) -> None:
    """A byte now and then, for as long as anybody listens."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"" if headers else b"Content-Type: application/json\r\n\r\n{"))
    while not op.closing.wait(0.01):
        request.wfile.write(b"x-a: b\r\n" if headers else b" ")
        request.wfile.flush()


LIES: dict[str, tuple[str, Callable[[BaseHTTPRequestHandler, OpServer], None]]] = {
    "error": (JWKS, lambda request, op: send(request, 500, b"{}")),
    "discovery of another issuer":
        (DISCOVERY, lambda request, op: send(request, 200, b'{"issuer": "https://evil.example", "jwks_uri": "x"}')),
    "discovery without keys": (DISCOVERY, lambda request, op: send(request, 200, b'{"issuer": "%s"}'
                               % op.issuer.encode())),
    "discovery with an open address": (DISCOVERY, lambda request, op: send(request, 200,
        b'{"issuer": "%s", "jwks_uri": "ftp://op.example/jwks"}' % op.issuer.encode())),
    "no JSON": (JWKS, lambda request, op: send(request, 200, b"<html>Sorry</html>")),
    "no object": (JWKS, lambda request, op: send(request, 200, b"[]")),
    "no keys": (JWKS, lambda request, op: send(request, 200, b'{"keys": []}')),
    "keys that are none": (JWKS, lambda request, op: send(request, 200, b'{"keys": [{"kty": "RSA", "n": "x"}, 5]}')),
    "keys of another type": (JWKS, lambda request, op: send(request, 200, b'{"keys": {"a": 1}}')),
    "a secret for a key": (JWKS, lambda request, op: send(request, 200, b'{"keys": [{"kty": "nonsense"}]}')),
    "ten megabytes": (JWKS, lambda request, op: send(request, 200, b" " * 10_000_000)),
    "deep nesting": (JWKS, lambda request, op: send(request, 200, b"[" * 100_000)),
    "redirect": (JWKS, lambda request, op: send(request, 302, b"", Location=op.issuer + "/elsewhere")),
    "redirect of discovery": (DISCOVERY, lambda request, op: send(request, 301, b"", Location="https://evil.example/")),
    "no HTTP": (JWKS, lambda request, op: request.wfile.write(b"SSH-2.0-OpenSSH_9\r\n") and None),
    "nothing at all": (JWKS, lambda request, op: None),
    "half an answer": (JWKS, lambda request, op: request.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{") and None),
    "dripping fields": (DISCOVERY, lambda request, op: drip(request, op, headers=True)),
    "dripping body": (JWKS, lambda request, op: drip(request, op, headers=False)),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_provider_that_misbehaves_changes_nothing_that_worked(
    rp: Site, op_server: OpServer, clock: MovableClock, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys known before stay in use, and what was away before is 503 and not a refusal."""
    monkeypatch.setattr(providers, "fetch", _impatient)
    path, misbehave = LIES[lie]
    op_server.misbehaves[path] = lambda request: misbehave(request, op_server)
    first = op_server.access_token("alice", exp=4_000_000_000)
    assert look(rp, first) == AWAY
    assert op_server.asked[path] == 1

    op_server.misbehaves.clear()
    clock.move(COLD_RETRY_SECONDS + 1)
    assert look(rp, first) == "passes"
    op_server.misbehaves[path] = lambda request: misbehave(request, op_server)
    clock.move(FRESH_SECONDS + 1)
    assert look(rp, op_server.access_token("alice")) == "passes"
    provider_of(rp, op_server).fetched()
    assert look(rp, op_server.access_token("alice")) == "passes"
    assert op_server.asked["/elsewhere"] == 0


def _impatient(url: str, **given: Any) -> outbound.Fetched:
    return outbound.fetch(url, **(given | {"seconds": 0.5}))


def test_a_provider_that_is_not_there_is_away(rp: Site, op_server: OpServer) -> None:
    """A closed port is no verdict."""
    op_server.close()

    assert look(rp, op_server.access_token("alice")) == AWAY


def test_keys_with_an_address_of_their_own_need_no_discovery(build: Callable[..., Site], op_server: OpServer) -> None:
    """A broken discovery document must not take down what does not need it."""
    rp = build(issuers={op_server.issuer: {"jwks_url": op_server.issuer + JWKS}})
    op_server.misbehaves[DISCOVERY] = lambda request: send(request, 500, b"{}")

    assert look(rp, op_server.access_token("alice")) == "passes"


def test_keys_are_fetched_at_most_once_in_an_interval(rp: Site, op_server: OpServer, clock: MovableClock) -> None:
    """Whatever strangers send."""
    assert look(rp, op_server.access_token("alice")) == "passes"
    for _ in range(50):
        op_server.kid = f"unknown-{random.random()}"
        assert look(rp, op_server.sign({"iss": op_server.issuer}, key=providers_key())).startswith("401")
    assert op_server.asked[JWKS] == 1

    clock.move(RETRY_SECONDS + 1)
    for _ in range(50):
        op_server.kid = f"unknown-{random.random()}"
        look(rp, op_server.sign({"iss": op_server.issuer}, key=providers_key()))
    assert op_server.asked[JWKS] == 2


def providers_key() -> Any:
    """A key that nobody published."""
    from .op import rsa_key

    return rsa_key("stranger")


def test_a_new_key_is_found_by_one_fetch(rp: Site, op_server: OpServer, clock: MovableClock) -> None:
    """Rotation needs no restart."""
    assert look(rp, op_server.access_token("alice")) == "passes"
    clock.move(RETRY_SECONDS + 1)
    op_server.published, op_server.kid = ["k1", "k2"], "k2"

    assert [look(rp, op_server.access_token("alice")) for _ in range(5)] == ["passes"] * 5
    assert op_server.asked[JWKS] == 2


# ---- where it may lead us --------------------------------------------------------------------------------

PRIVATE = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "fd00::1",
    "fe80::1%eth0", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_into_a_private_network_is_not_asked(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Not even if it has a public address beside it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda *given, **more: [public, (family, socket.SOCK_STREAM, 6, "", (address, 443))]
    )
    monkeypatch.setattr("socket.socket.connect", lambda *given: pytest.fail("it was asked"))

    with pytest.raises(Unreachable, match="not on the public internet"):
        outbound.fetch("https://op.example.com/jwks?secret=1")


@pytest.mark.parametrize(
    "url",
    ["http://op.example.com/jwks", "ftp://op.example.com/", "file:///etc/passwd", "https://a@op.example.com/", "https:///x",
     "https://op.example.com:0/", "https://[::1/", "https://op.example.com:99999/", "", "jwks"],
)  # fmt: skip
def test_an_address_that_is_not_https_is_not_asked(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Nor one that names no host in one way."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *given, **more: pytest.fail("it was asked"))

    with pytest.raises(Unreachable, match="is not asked"):
        outbound.fetch(url)


def test_no_message_shows_the_query_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can hold a secret."""

    def away(*given: Any, **more: Any) -> None:
        raise socket.gaierror("no such name")

    monkeypatch.setattr("socket.getaddrinfo", away)
    with pytest.raises(Unreachable, match="has no address") as caught:
        outbound.fetch("https://op.example.com/jwks?secret=1")

    assert "secret" not in str(caught.value)


def test_an_answer_may_be_as_large_as_the_limit_and_no_larger(op_server: OpServer) -> None:
    """And compression is no way around it."""
    op_server.misbehaves[JWKS] = lambda request: send(request, 200, b" " * MAX_ANSWER)
    assert len(outbound.fetch(op_server.issuer + JWKS, private=True).body) == MAX_ANSWER

    op_server.misbehaves[JWKS] = lambda request: send(request, 200, b" " * (MAX_ANSWER + 1))
    with pytest.raises(Unreachable, match="too much"):
        outbound.fetch(op_server.issuer + JWKS, private=True)


@pytest.mark.parametrize("headers", [True, False])
def test_a_dripping_answer_has_an_end(op_server: OpServer, *, headers: bool) -> None:
    """The limit is for the whole of it, not from byte to byte."""
    op_server.misbehaves[JWKS] = lambda request: drip(request, op_server, headers=headers)

    with pytest.raises(Unreachable, match="does not answer within"):
        outbound.fetch(op_server.issuer + JWKS, private=True, seconds=0.3)


# ---- no ordered logout is lost ---------------------------------------------------------------------------


def kept(answer: Answer) -> None:
    """The provider is told that it is not done, and when to try again."""
    assert fault(answer) == "temporarily_unavailable"
    assert "it is kept" in answer.json["error_description"]
    assert answer.header("retry-after") is not None


def test_an_order_whose_keys_are_away_is_carried_out_later(rp: Site, op_server: OpServer, clock: MovableClock) -> None:
    """400, and then the session ends all the same (jellyfin-plugin-sso#1060)."""
    alice = rp.login("alice")
    op_server.status = 500
    kept(order(rp, op_server.logout_token("alice", alice.sid)))
    assert [event.outcome for event in rp.told("backchannel_failed")] == ["deferred"]
    assert rp.alive(alice) == ALL

    op_server.status = 200
    retry(rp, op_server, clock)

    assert rp.alive(alice) == set()


def retry(rp: Site, op: OpServer, clock: MovableClock) -> None:
    """Let the time pass after which a provider is asked again, and all that waits be tried until nothing does."""
    chores = inner(rp).chores
    assert chores.tried()
    for _ in range(20):
        clock.move(RETRY_SECONDS + 1)
        chores.try_now()
        assert chores.tried()
        provider_of(rp, op).fetched()
        if len(chores) == 0:
            return
    raise AssertionError(f"{len(chores)} chores still wait")


def test_an_order_under_a_new_key_is_kept_until_the_key_can_be_asked_for(
    rp: Site, op_server: OpServer, clock: MovableClock
) -> None:
    """A stranger's unknown key has just used up the one fetch of this interval."""
    alice = rp.login("alice")
    assert look(rp, op_server.access_token("alice")) == "passes"
    op_server.published, op_server.kid = ["k1", "k2"], "k2"

    kept(order(rp, op_server.logout_token("alice", alice.sid)))

    assert op_server.asked[JWKS] == 1
    retry(rp, op_server, clock)
    assert rp.alive(alice) == set()
    assert op_server.asked[JWKS] == 2


def test_a_forged_order_is_found_out_by_the_next_fetch(rp: Site, op_server: OpServer, clock: MovableClock) -> None:
    """It is dropped then, and told of; a thousand of them cost one fetch."""
    alice = rp.login("alice")
    assert look(rp, op_server.access_token("alice")) == "passes"
    for number in range(20):
        token = op_server.logout_token("alice", key=providers_key(), header={"kid": f"x{number}"})
        kept(order(rp, token))

    retry(rp, op_server, clock)

    assert rp.alive(alice) == ALL
    assert len(rp.told("logout_token_refused")) == 20
    assert op_server.asked[JWKS] == 2
    answer = order(rp, op_server.logout_token("alice", aud="somebody else", header={"kid": "x"}))
    assert fault(answer) == "invalid_request"


def test_an_order_that_was_genuine_survives_the_rotation_of_its_key(
    rp: Site, op_server: OpServer, clock: MovableClock
) -> None:
    """It was verified when it came; only the store was away."""
    alice = rp.login("alice")
    assert order(rp, op_server.logout_token("nobody")).status == 200
    rp.store.broken = True
    kept(order(rp, op_server.logout_token("alice", alice.sid)))
    op_server.published, op_server.kid = ["k2"], "k2"
    clock.move(FRESH_SECONDS + 1)
    look(rp, op_server.access_token("alice"))
    provider_of(rp, op_server).fetched()

    rp.store.broken = False
    retry(rp, op_server, clock)

    assert rp.alive(alice) == set()


@pytest.mark.parametrize("seed", [1, 2])
def test_of_a_thousand_injected_failures_none_loses_a_logout(
    rp: Site, op_server: OpServer, clock: MovableClock, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """250 for each shell and seed: keys away, slow or unknown, the store away, and keys that change in between."""
    print("seed", seed)
    monkeypatch.setattr(oidc, "KEYS_SECONDS", 0.002)
    chance = random.Random(seed)
    spared = rp.issuer.mint("spared", sid="spared", life=1e6)
    ordered = {f"s-{number}": rp.issuer.mint(f"user-{number}", sid=f"s-{number}", life=1e6) for number in range(250)}
    assert look(rp, op_server.access_token("nobody")) == "passes"

    op_server.status = 500
    for sid in ordered:
        what = chance.choice(["store", "key", "key and store", "slow"])
        op_server.kid = chance.choice(["k2", "k3", "k4"]) if what != "store" else "k1"
        rp.store.broken = "store" in what
        if what == "slow":
            op_server.open.clear()
            clock.move(RETRY_SECONDS + 1)
        kept(order(rp, op_server.logout_token(f"user-{sid[2:]}", sid, exp=int(clock()) + 3600)))
        rp.store.broken = False
        op_server.open.set()
        op_server.kid = "k1"

    op_server.status = 200
    op_server.published = ["k2", "k3", "k4"]
    retry(rp, op_server, clock)
    assert {sid for sid, token in ordered.items() if rp.me(token=token) is not None} == set()
    assert rp.me(token=spared) == "spared"


def test_every_step_that_fails_can_be_ordered_again(build: Callable[..., Site], op_server: OpServer) -> None:
    """The jti is burnt with the last of it: the same token completes what the store did not take the first time."""
    rp = build()
    inner(rp).chores.stop()
    with failing_at(rp) as calls:
        assert order(rp, op_server.logout_token("alice", "s-0")).status == 200
        steps = range(next(calls) + 3)
    outcomes = set()
    for number, failing in enumerate(itertools.chain([()], *(itertools.combinations(steps, n) for n in (1, 2))), 1):
        alice = rp.login("alice", sid=f"s-{number}")
        bound = rp.issuer.mint("alice", sid=f"api-{number}")
        assert rp.get("/me", token=bound, cookie=alice.cookie).status == 200
        token = op_server.logout_token("alice", alice.sid)
        with failing_at(rp, *failing):
            first = order(rp, token)
        outcomes.add("done" if first.status == 200 else fault(first))
        # What was answered 200 is whole; what was not is whole when it is ordered again.
        if first.status != 200:
            assert order(rp, token).status == 200, failing

        assert rp.me(cookie=alice.cookie) is rp.me(token=alice.access) is rp.me(token=bound) is None, failing
    assert outcomes == {"done", "temporarily_unavailable"}


@contextmanager
def failing_at(rp: Site, *numbers: int) -> Iterator[Iterator[int]]:
    """The store fails at the calls of these numbers, and only there. Gives the numbers of the calls to come."""
    calls = itertools.count()

    def fail(name: str) -> None:
        rp.store.broken = next(calls) in numbers
        type(rp.store)._pass(rp.store, name)

    rp.store._pass = fail  # type: ignore[method-assign]
    yield calls
    del rp.store._pass
    rp.store.broken = False


def test_one_order_delivered_twice_at_once_is_one_logout(rp: Site, op_server: OpServer, clock: MovableClock) -> None:
    """Both are told 200, and nobody who logs in afterwards is hit."""
    alice = rp.login("alice")
    clock.move(0.1)
    token = op_server.logout_token("alice")
    if rp.shell == "wsgi":
        answers: list[Answer] = []
        threads = [threading.Thread(target=lambda: answers.append(order(rp, token))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = [answer.status for answer in answers]
    else:
        statuses = _at_once(rp, token)

    assert statuses == [200] * 4
    assert rp.alive(alice) == set()
    clock.move(0.1)
    assert rp.alive(rp.login("alice")) == ALL


def _at_once(rp: Site, token: str) -> list[int]:
    import httpx2

    client: Any = rp.client

    async def exchange() -> list[int]:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(client.app), base_url=rp.origin) as browser:
            sends = [browser.post("/auth/backchannel-logout", data={"logout_token": token}) for _ in range(4)]
            return [answer.status_code for answer in await asyncio.gather(*sends)]

    found: list[int] = client.runner.run(exchange())
    return found


# ---- the provider's own tokens ---------------------------------------------------------------------------


def test_a_refresh_token_of_the_provider_is_revoked_there_too(build: Callable[..., Site], op_server: OpServer) -> None:
    """With the client's own authentication, percent-encoded as RFC 6749 2.3.1 wants it; beside the answer."""
    rp = build(oidc_client_secret="s:e cret")
    alice = rp.login("alice")

    answer = rp.post(
        "/auth/logout", cookie=alice.cookie, json={"refresh_token": "opaque-refresh-token"}, headers=OWN_PAGE
    )

    assert answer.status == 200
    assert settled(rp, op_server) == ["opaque-refresh-token"]
    assert op_server.revoked_by == [f"{CLIENT}:s%3Ae%20cret"]


def settled(rp: Site, op: OpServer) -> list[str]:
    """What the provider was asked to revoke, when nothing of it is under way any more."""
    assert inner(rp).chores.tried()
    provider_of(rp, op).fetched()
    inner(rp).chores.try_now()
    assert inner(rp).chores.tried()
    return op.revoked


def test_what_is_not_the_providers_is_not_sent_to_it(build: Callable[..., Site], op_server: OpServer) -> None:
    """Our own tokens, cookies, and those of other issuers are nobody else's business."""
    rp = build(oidc_client_secret="secret")
    alice = rp.login("alice")

    rp.post("/auth/logout", cookie=alice.cookie, token=alice.access, json={"refresh_token": alice.refresh})

    assert settled(rp, op_server) == []


@pytest.mark.parametrize("door", ["POST", "GET"])
def test_ending_the_others_leaves_this_login_alone_at_the_provider_too(
    build: Callable[..., Site], op_server: OpServer, door: str
) -> None:
    """Neither is its refresh token revoked there, nor the browser sent away to log out."""
    rp = build(oidc_client_secret="secret", scope="others")
    alice, other = rp.login("alice"), rp.login("alice")
    assert rp.alive(alice) == rp.alive(other) == ALL
    rp.clock.move(1.0)

    if door == "POST":
        answer = rp.post(
            "/auth/logout", cookie=alice.cookie, json={"refresh_token": "opaque-refresh-token"}, headers=OWN_PAGE
        )
        assert (answer.status, answer.json["redirect_to"]) == (200, "/login")
    else:
        answer = rp.get("/auth/logout", cookie=alice.cookie, headers=OWN_LINK)
        assert (answer.status, answer.header("location")) == (303, "/login")

    assert settled(rp, op_server) == []
    assert rp.alive(alice) == ALL
    assert rp.alive(other) == set()


def test_a_token_of_the_provider_waits_until_it_can_be_revoked(
    build: Callable[..., Site], op_server: OpServer, clock: MovableClock
) -> None:
    """The user is logged out at once; the provider is told when it is back."""
    rp = build(oidc_client_secret="secret")
    alice = rp.login("alice")
    op_server.status = 503

    answer = rp.post(
        "/auth/logout", cookie=alice.cookie, headers=OWN_PAGE, json={"refresh_token": "opaque-refresh-token"}
    )

    assert answer.status == 200
    assert settled(rp, op_server) == []
    op_server.status = 200
    retry(rp, op_server, clock)
    assert op_server.revoked == ["opaque-refresh-token"]


def test_without_a_secret_nothing_is_sent(rp: Site, op_server: OpServer) -> None:
    """The provider would refuse it."""
    rp.post("/auth/logout", json={"refresh_token": "opaque-refresh-token"})

    assert len(inner(rp).chores) == 0
    assert op_server.revoked == []


def test_a_slow_provider_holds_up_no_logout_of_a_user(rp: Site, op_server: OpServer) -> None:
    """The answer is there before the provider's."""
    alice = rp.login("alice")
    provider_of(rp, op_server)._wait_seconds = 0.05

    with hanging(op_server):
        answer = rp.get("/auth/logout", cookie=alice.cookie, headers=OWN_LINK)
        assert op_server.called.wait(10.0)

    assert (answer.status, answer.header("location")) == (303, "/login")
    assert rp.me(cookie=alice.cookie) is None


def test_a_listener_hears_of_an_order_that_had_to_wait(rp: Site, op_server: OpServer, clock: MovableClock) -> None:
    """A coroutine function too, under the event loop of the application, where its connections are."""
    heard: list[str] = []
    away: list[bool] = []

    async def listener(event: Any) -> None:
        if rp.shell == "asgi":
            await asyncio.sleep(0)
        heard.append(event.kind)
        away.append(threading.current_thread() is not threading.main_thread())

    rp.logout.on_event(listener)
    alice = rp.login("alice")
    op_server.status = 500
    kept(order(rp, op_server.logout_token("alice", alice.sid)))
    heard.clear()
    away.clear()
    op_server.status = 200
    retry(rp, op_server, clock)

    assert rp.alive(alice) == set()
    assert heard == ["logout", "session_ended"]
    assert away == [rp.shell == "wsgi"] * 2


def test_what_cannot_be_kept_is_told_so(rp: Site, op_server: OpServer) -> None:
    """A process that is ending keeps nothing, and does not say that it does; the provider may repeat itself."""
    alice = rp.login("alice")
    inner(rp).chores.stop()
    op_server.status = 500

    answer = order(rp, op_server.logout_token("alice", alice.sid))

    assert fault(answer) == "temporarily_unavailable"
    assert "kept" not in answer.json["error_description"]
    assert [event.outcome for event in rp.told("backchannel_failed")] == ["failed"]
    assert rp.alive(alice) == ALL


def test_a_forked_process_fetches_for_itself(rp: Site, op_server: OpServer) -> None:
    """The fetch that was under way belongs to its parent, and so does the lock that its parent holds."""
    provider = provider_of(rp, op_server)
    reading, writing = os.pipe()
    with hanging(op_server):
        assert provider._refresh() is not None
        assert op_server.called.wait(10.0)
        asked = op_server.asked[DISCOVERY]
        with provider._published.lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of what this test is about
            child = os.fork()
            if child == 0:
                provider._clock = lambda: 4e9
                os.write(writing, b"fetching" if provider._refresh() is not None else b"waiting")
                provider.fetched(30.0)
                os.write(writing, b", has keys" if provider._published.keys else b", has none")
                os._exit(0)
        assert os.read(reading, 100) == b"fetching"
    os.waitpid(child, 0)

    assert os.read(reading, 100) == b", has keys"
    assert op_server.asked[DISCOVERY] == asked + 1
    os.close(reading)
    os.close(writing)
