"""Polling for security events: POLL-1 of standards.md 7.2 (RFC 8936), with a transmitter that is a real HTTP server."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from logout_middleware import polling
from logout_middleware.asgi import LogoutEndpoints as AsgiEndpoints
from logout_middleware.asgi import LogoutMiddleware as AsgiMiddleware
from logout_middleware.parts import Parts
from logout_middleware.polling import AT_ONCE, Poller
from logout_middleware.wsgi import LogoutEndpoints as WsgiEndpoints
from logout_middleware.wsgi import LogoutMiddleware as WsgiMiddleware
from tests.client import AsgiClient, BuildSite, Sender, Site, WsgiClient

from .clients import away_with_a_journal
from .pushing import OTHER, Transmitter, is_alive, iss_sub, issuers, opaque, pushed_site


class Stream:
    """What an RFC 8936 transmitter has: events that it keeps until they are acknowledged."""

    def __init__(self) -> None:
        self.events: dict[str, Any] = {}
        self.errors: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self.authorization: list[str | None] = []
        self.status, self.forgets_answers = 200, 0
        self.was_asked = threading.Event()
        stream = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                stream.asked.append(body)
                stream.authorization.append(self.headers["authorization"])
                answer = json.dumps(stream.answer(body)).encode() if stream.status == 200 else b"{}"
                self.send_response(stream.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                stream.was_asked.set()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/poll"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """RFC 8936 2.4."""
        for name in body.get("ack", ()):
            self.events.pop(name, None)
        for name, why in body.get("setErrs", {}).items():
            self.errors[name] = why
            self.events.pop(name, None)
        most = body["maxEvents"]
        return {"sets": dict(list(self.events.items())[:most]), "moreAvailable": len(self.events) > most}


@pytest.fixture
def stream() -> Iterator[Stream]:
    stream = Stream()
    yield stream
    stream.server.shutdown()
    stream.server.server_close()


@pytest.fixture
def http(site: BuildSite, stream: Stream) -> Site:
    return polled_site(site, stream)


def polled_site(site: BuildSite, stream: Stream, **given: Any) -> Site:
    """A site that polls this stream instead of being pushed to; its thread is not begun by requests."""
    http = pushed_site(site, ssf={"poll_url": stream.url, "poll_token": "a-poll-token"}, **given)
    inner_of(http).poller.stop()  # type: ignore[union-attr]
    return http


def inner_of(http: Site) -> Parts:
    inner: Parts = getattr(http.logout, "inner", http.logout)
    return inner


def poll(http: Site) -> None:
    """One turn, as the thread has it."""
    inner = inner_of(http)
    http.clock.move(10.0)
    poller = inner.poller
    assert poller is not None
    poller.ending.clear()
    poller.poll(poller._open().service)


def test_POLL_1_events_are_asked_for_carried_out_and_acknowledged(http: Site, stream: Stream) -> None:
    """Where nothing can be pushed to us, a logout gets here all the same."""
    idp = Transmitter(http)
    ann, bob = idp.user_token(), idp.user_token("bob", sid="s2")
    stream.events = {"a": idp.event(opaque("s1")), "b": idp.event(iss_sub("bob"))}

    poll(http)

    assert [is_alive(http, each) for each in (ann, bob)] == [False] * 2
    assert stream.events == {}
    assert stream.asked == [
        {"maxEvents": AT_ONCE, "returnImmediately": True},
        {"maxEvents": AT_ONCE, "returnImmediately": True, "ack": ["a", "b"]},
    ]
    assert stream.authorization == ["Bearer a-poll-token"] * 2


def test_POLL_1_all_that_is_there_is_fetched_in_one_turn(http: Site, stream: Stream) -> None:
    """However much has gathered."""
    idp = Transmitter(http)
    tokens = [idp.user_token(sid=f"s{number}") for number in range(60)]
    stream.events = {str(number): idp.event(opaque(f"s{number}")) for number in range(60)}

    poll(http)

    assert not any(is_alive(http, each) for each in tokens)
    assert (stream.events, len(stream.asked)) == ({}, 4)


def test_POLL_1_an_event_that_is_not_sound_is_reported_and_the_others_count(http: Site, stream: Stream) -> None:
    """One bad event holds up nobody, and the transmitter hears what is wrong with it."""
    idp = Transmitter(http)
    token = idp.user_token()
    stream.events = {
        "bad": idp.event(opaque("s1"), exp=1), "odd": 7, "garbage": "x.y.z",
        "other": Transmitter(http, OTHER).event(opaque("s1")), "good": idp.event(opaque("s1")),
        "in another's name": idp.event(opaque("s1"), iss=OTHER),
    }  # fmt: skip

    poll(http)

    assert not is_alive(http, token)
    assert stream.events == {}
    assert {name: why["err"] for name, why in stream.errors.items()} == {
        "bad": "invalid_request", "odd": "invalid_request", "garbage": "invalid_request", "other": "invalid_key",
        "in another's name": "invalid_issuer",
    }  # fmt: skip
    assert all(set(why) == {"err", "description"} for why in stream.errors.values())
    assert len(http.told("push_refused")) == 4


def test_POLL_1_what_is_not_durable_is_not_acknowledged(
    http: Site, stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    """While the store is away the transmitter keeps the event, and it counts afterwards."""
    idp = Transmitter(http)
    token = idp.user_token()
    stream.events = {"a": idp.event(opaque("s1"))}
    http.store.broken = True

    poll(http)
    poll(http)

    assert set(stream.events) == {"a"}
    assert all("ack" not in each for each in stream.asked)
    assert len([each for each in caplog.records if "cannot be polled" in each.message]) == 1
    http.store.broken = False
    poll(http)
    assert not is_alive(http, token)
    assert stream.events == {}


def test_POLL_1_what_is_in_the_journal_is_acknowledged(http: Site, stream: Stream, tmp_path: Path) -> None:
    """It is durable on this host."""
    stream.events = {"a": Transmitter(http).event(opaque("s1"))}

    with away_with_a_journal(http, tmp_path):
        http.store.broken, http.store.inner.inner.broken = False, True
        poll(http)

    assert stream.events == {}
    assert [each.outcome for each in http.told("logout")] == ["pending"]


def test_POLL_1_an_acknowledgement_that_got_lost_is_sent_again(http: Site, stream: Stream) -> None:
    """And an event that comes twice has one effect."""
    idp = Transmitter(http)
    event = idp.event(iss_sub())
    stream.events = {"a": event}
    answer, stream.status = stream.answer, 200

    def breaks_after(body: dict[str, Any]) -> dict[str, Any]:
        if "ack" in body:
            stream.status = 503
            return {"sets": {}}
        return answer(body)

    stream.answer = breaks_after  # type: ignore[method-assign]
    poll(http)
    assert set(stream.events) == {"a"}
    later = idp.user_token(sid="s9")
    http.clock.move(1.0)
    stream.answer, stream.status = answer, 200  # type: ignore[method-assign]

    poll(http)

    assert stream.events == {}
    assert is_alive(http, later)
    assert len(http.told("logout")) == 1


@pytest.mark.parametrize("what", ["status", "no json", "sets is a list"])
def test_POLL_1_a_transmitter_that_is_away_or_wrong_is_told_once_and_asked_again(
    http: Site, stream: Stream, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator hears of it, without a line for every attempt."""
    idp = Transmitter(http)
    token = idp.user_token()
    answer = stream.answer
    if what == "status":
        stream.status = 500
    else:
        stream.answer = lambda body: [] if what == "no json" else {"sets": []}  # type: ignore[assignment, return-value]
    for _ in range(3):
        poll(http)
    told = [each for each in caplog.records if "cannot be polled" in each.message]
    stream.status, stream.answer = 200, answer  # type: ignore[method-assign]
    stream.events = {"a": idp.event(opaque("s1"))}

    poll(http)

    assert len(told) == 1
    assert "a-poll-token" not in caplog.text
    assert not is_alive(http, token)


def test_POLL_1_a_transmitter_that_never_ends_does_not_hold_the_thread(http: Site, stream: Stream) -> None:
    """Events that come again although they were acknowledged are not asked for without end."""
    event = Transmitter(http).event(opaque("s1"))
    stream.answer = lambda body: {"sets": {"a": event}}  # type: ignore[method-assign]

    poll(http)

    assert len(stream.asked) == polling._MOST_ROUNDS
    assert len(http.told("logout")) == 1


def test_POLL_1_a_closed_poller_asks_nothing_more(http: Site, stream: Stream) -> None:
    """The process ends, and the transmitter keeps what it has."""
    poller = inner_of(http).poller
    assert poller is not None
    assert poller.ending.is_set()

    poller.poll(poller._open().service)

    assert stream.asked == []


def test_POLL_1_of_many_processes_one_asks_at_a_time(site: BuildSite, stream: Stream) -> None:
    """A transmitter is not asked by every worker of every machine."""
    first, second = polled_site(site, stream), polled_site(site, stream)
    first.clock.move(10.0)

    for each in (first, second):
        inner = inner_of(each)
        assert inner.poller is not None
        inner.poller.ending.clear()
        inner.poller.poll(inner.poller._open().service)

    assert len(stream.asked) == 1


def test_POLL_1_the_first_request_of_a_process_begins_it_and_closing_ends_it(site: BuildSite, stream: Stream) -> None:
    """Not the construction: servers fork after that. Later requests pay nothing for it."""
    http = pushed_site(site, ssf={"poll_url": stream.url})
    inner = inner_of(http)
    poller = inner.poller
    assert poller is not None
    assert poller._thread is None
    assert not stream.was_asked.is_set()

    http.get("/me")

    thread = poller._thread
    assert thread is not None
    assert poller._pid == os.getpid()
    assert stream.was_asked.wait(20)
    assert stream.authorization[0] is None
    http.call("close")
    thread.join(20)
    assert not thread.is_alive()
    http.get("/me")
    assert poller._thread is None


def test_without_a_stream_to_poll_there_is_no_poller(site: BuildSite) -> None:
    """Nothing is looked at or begun where nothing was asked for."""
    http = pushed_site(site, issuers=issuers())

    assert inner_of(http).poller is None


def test_a_poller_outlives_what_it_cannot_open(stream: Stream, caplog: pytest.LogCaptureFixture) -> None:
    """A store that is away at start is no reason never to poll."""
    opened = threading.Event()

    def opens() -> Any:
        opened.set()
        poller.stop()
        raise OSError("the disk is away")

    poller = Poller([], opens)
    poller.wake()

    assert opened.wait(20)
    poller.join(20)
    assert "security events cannot be polled now: OSError" in caplog.text


def test_only_the_first_request_looks_for_the_poller(http: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of paths is an ordinary one from then on."""
    woken: list[bool] = []
    monkeypatch.setattr(inner_of(http).poller, "wake", lambda: woken.append(True))
    kind = AsgiMiddleware if http.shell == "asgi" else WsgiMiddleware
    middleware = kind(lambda *_: None, logout=http.logout)

    for _ in range(3):
        assert middleware._special.get("/me") is None

    assert (woken, type(middleware._special)) == ([True], dict)


def test_endpoints_that_are_mounted_by_hand_begin_it_too(http: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be no middleware at all."""
    woken: list[bool] = []
    monkeypatch.setattr(inner_of(http).poller, "wake", lambda: woken.append(True))
    asgi = http.shell == "asgi"
    sender = Sender(AsgiClient(AsgiEndpoints(http.logout)) if asgi else WsgiClient(WsgiEndpoints(http.logout)))

    assert sender.get("/session").json == {"authenticated": False}

    assert woken == [True]
    sender.close()
