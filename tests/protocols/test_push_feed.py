"""The feed of revocations for other services: complete, without gaps, and to be understood without this package."""

from __future__ import annotations

import hashlib
import json
import random
import types
from typing import Any

import pytest

from logout_middleware.colour import run_blocking
from logout_middleware.endpoints import feed, feed_pages
from logout_middleware.errors import Refused, StoreError
from logout_middleware.opening import open_stack
from logout_middleware.rules.credentials import Credential
from logout_middleware.rules.identity import Identity, IdentityPolicy, identify_token
from logout_middleware.rules.jose import JwtPolicy
from logout_middleware.rules.revocation import (
    FOREVER,
    Revocation,
    client_key,
    everyone_key,
    key_of,
    pair_key,
    session_key,
    user_key,
)
from logout_middleware.stores import Changes, FeedGap, cursors, redis_feed, sql
from tests.client import BuildSite, Site

from .clients import BANK, CLIENTS, HASHED_SECRET, SHOP, basic
from .feed_consumer import Consumer, holds, key, keys_of
from .pushing import AUDIENCE, ISS, OWN, Transmitter, issuers, key_of_issuer, opaque, sign

OURS = {OWN}
USERS = "abcdefghijkl"


@pytest.fixture
def http(site: BuildSite) -> Site:
    return feeding(site)


def feeding(site: BuildSite, **given: Any) -> Site:
    """A site with the feed, clients that may read it, an issuer of its own and another one."""
    chosen = {"endpoints": "logout,sessions,push", "clients": CLIENTS, "jwt_issuer": OWN, "issuers": issuers()}
    return site(**(chosen | given))


def consumer(http: Site, kept: str | None = None) -> Consumer:
    return Consumer(http, basic(*SHOP), OURS, kept)


def refused(http: Site, path: str = "/auth/feed", **headers: str) -> tuple[int, str]:
    answer = http.get(path, headers=headers)
    assert answer.header("cache-control") == "no-store"
    return answer.status, answer.json["error"]


def put(http: Site, *records: Revocation) -> None:
    """Add records as another worker would."""
    run_blocking(http.store.inner.add(list(records)))


def records(number: int, start: int = 0) -> list[Revocation]:
    return [Revocation(hashlib.md5(b"%d" % each).digest(), FOREVER, FOREVER) for each in range(start, start + number)]


# ---- the keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("realm", [None, ISS, ""])
def test_the_recipe_of_keys_is_the_documented_one(realm: str | None) -> None:
    """Whoever computes keys by the recipe, in whatever language, finds ours."""
    assert session_key("s-1", realm).hex() == key("session", realm, "s-1")
    assert user_key("änn", realm).hex() == key("user", realm, "änn")
    assert client_key("app", realm).hex() == key("client", realm, "app")
    assert everyone_key(realm).hex() == key("everyone", realm)
    assert key_of("token", realm, "j-1").hex() == key("token", realm, "j-1")
    assert key_of("payload", realm, b"{}").hex() == key("payload", realm, b"{}")
    assert pair_key("ann", "s-1", realm).hex() == key("pair", realm, "=ann", "=s-1")
    assert pair_key(None, "s-1", realm).hex() == key("pair", realm, "", "=s-1")
    assert pair_key("ann", None, realm).hex() == key("pair", realm, "=ann", "")


def test_the_recipe_is_frozen_as_version_1() -> None:
    """These may never change without another version: services out there have computed them."""
    text = b"logout-middleware/1" + b"".join(
        bytes([0, 0, 0, 0, 0, 0, 0, len(part)]) + part for part in (b"user", b"own", b"", b"ann")
    )

    assert feed.VERSION == "1"
    assert hashlib.sha256(text).hexdigest()[:32] == user_key("ann").hex() == "3975dffebdca7a7660c8091e940ec986"
    assert session_key("s1", "https://idp.example.com").hex() == "f04aabebe1b140a9318b24486172643c"


@pytest.mark.parametrize("claims", [{}, {"jti": None}, {"sid": None}, {"sub": None}, {"azp": "app"}, {"iss": OWN}])
def test_the_keys_of_a_token_are_the_documented_ones(http: Site, claims: dict[str, Any]) -> None:
    """All names of a credential, so that none of its logouts is missed."""
    token = Transmitter(http).user_token(**claims)
    policy = IdentityPolicy(
        others={ISS: JwtPolicy(("RS256",), ISS), OWN: JwtPolicy(("RS256",), OWN)}, own_issuers=frozenset(OURS),
        pairs=True,
    )  # fmt: skip
    identity = identify_token(Credential("bearer", "", token), [key_of_issuer(ISS).public_key()], policy)

    assert isinstance(identity, Identity)
    assert identity.verified
    assert set(keys_of(token, OURS)[0]) == {each.hex() for each in identity.keys}


# ---- following -------------------------------------------------------------------------------------------


def test_the_feed_begins_with_everything_and_goes_on_with_what_is_new(http: Site) -> None:
    """One who starts late knows as much as one who was always there."""
    http.call("revoke_session", "s1")
    reader = consumer(http)
    reader.follow()
    assert reader.lines == {(key("session", None, "s1"), ()): FOREVER}
    answer = reader.ask()
    assert [set(json.loads(line)) for line in answer.text.splitlines()] == [{"cursor", "complete"}]

    http.call("revoke_user", "ann", keep="s2")
    reader.follow()

    assert reader.lines == {
        (key("session", None, "s1"), ()): FOREVER,
        (key("user", None, "ann"), (key("session", None, "s2"),)): http.clock(),
    }
    assert answer.header("content-type") == "application/x-ndjson"
    assert answer.header("cache-control") == "no-store"
    assert all(holds(name) for name, _ in reader.lines)


@pytest.mark.parametrize("most_lines", [3, 10_000])
def test_a_consumer_agrees_with_the_guard_over_200_random_logouts(
    site: BuildSite, most_lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small pages, restarts of both sides, cut-offs that keep a session: it says of every token what we say."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    monkeypatch.setattr(feed_pages, "MOST_LINES", most_lines)
    http = feeding(site)
    tokens = [_random_token(http, chance) for _ in range(40)] + ["an-Opaque-token", "another"]
    reader = consumer(http)

    for number in range(200):
        http.clock.move(chance.choice([0.0, 0.25, 1.0, 30.0]))
        tokens.append(_random_token(http, chance))
        _log_out_somebody(http, chance, tokens)
        if chance.random() < 0.2:
            reader.follow()
            assert _disagreement(http, reader, tokens) == []
        if number in (60, 140):
            http = feeding(site)
            reader = consumer(http, reader.kept())
    reader.follow()

    verdicts = [http.call("is_revoked", token) for token in tokens]
    assert _disagreement(http, reader, tokens) == []
    assert 20 < sum(verdicts) < len(tokens) - 10
    late = consumer(http)
    late.follow()
    assert _disagreement(http, late, tokens) == []


def _random_token(http: Site, chance: random.Random) -> str:
    user, sid = chance.choice(USERS), chance.choice([None, *(f"s{number}" for number in range(150))])
    extra = {
        "azp": chance.choice([None, "app", "app", "app", "web"]),
        "jti": chance.choice([None, f"j{chance.random()}"]),
    }
    if chance.random() < 0.4:
        return Transmitter(http).user_token(user, sid=sid, **extra)
    return http.issuer.mint(user, sid=sid, iss=chance.choice([None, OWN]), life=86400.0, **extra)


def _log_out_somebody(http: Site, chance: random.Random, tokens: list[str]) -> None:
    issuer = chance.choice([None, OWN, ISS])
    user, sid = chance.choice(USERS), f"s{chance.randrange(150)}"
    what = chance.random()
    if what < 0.5:
        http.post("/auth/logout", token=chance.choice(tokens))
    elif what < 0.75:
        http.call("revoke_session", sid, issuer=issuer)
    elif what < 0.85:
        http.call("revoke_user", user, issuer=issuer, keep=chance.choice([None, sid, [sid, "s1"]]))
    elif what < 0.93:
        before = http.clock() - chance.choice([10.0, 100.0])
        http.call("revoke_user", user, issuer=issuer, before=before)
    elif what < 0.97:
        http.call("revoke_client", "web", issuer=issuer)
    else:
        http.call("revoke_everyone", http.clock() - 600.0, issuer=issuer)


def _disagreement(http: Site, reader: Consumer, tokens: list[str]) -> list[str]:
    return [each for each in tokens if http.call("is_revoked", each) != reader.is_revoked(each)]


@pytest.mark.parametrize("store", [None, "memory://"])
def test_pages_are_bounded_and_nothing_is_missed_between_them(
    site: BuildSite, store: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is added while a reader turns pages reaches it, too, wherever its key sorts."""
    monkeypatch.setattr(feed_pages, "MOST_LINES", 10)
    http = feeding(site, **({"store": store, "allow_unsafe_store": "true"} if store else {}))
    put(http, *records(95))
    reader, sizes = consumer(http), []

    for number in range(40):
        answer = reader.ask()
        *lines, last = [json.loads(line) for line in answer.text.splitlines()]
        reader.lines |= {(line["key"], ()): line["before"] for line in lines}
        reader.cursor = last["cursor"]
        sizes.append(len(lines))
        if number < 10:
            put(http, *records(3, start=1000 + 3 * number))
        if last["complete"]:
            break

    assert max(sizes) == 10
    assert last["complete"]
    assert {name for name, _ in reader.lines} == {each.key.hex() for each in [*records(95), *records(30, start=1000)]}


SMALL_PAGES = {"MOST_LINES": 10, "MOST_HELD": 35, "_AT_ONCE": 4}


def with_small_pages(monkeypatch: pytest.MonkeyPatch, **given: int) -> None:
    for name, value in (SMALL_PAGES | given).items():
        monkeypatch.setattr(feed_pages, name, value)


def in_memory(site: BuildSite) -> Site:
    """A site whose store gives all that it has at once."""
    return feeding(site, store="memory://", allow_unsafe_store="true")


def test_the_parts_of_a_long_page_ask_the_store_once(site: BuildSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every reader that begins within half a minute, rather than the whole store for each part of each reader."""
    with_small_pages(monkeypatch, MOST_HELD=1000)
    http = in_memory(site)
    put(http, *records(95))
    readers = [consumer(http) for _ in range(3)]
    readers[0].ask()
    put(http, *records(5, start=500))
    http.store.calls.clear()

    for reader in readers:
        reader.follow()

    assert [len(reader.lines) for reader in readers] == [100] * 3
    assert [reader.pages for reader in readers] == [11] * 3
    # Only what came since: once by each, and nobody the whole.
    assert http.store.calls.count("changes") == 3


def test_what_is_held_is_bounded_and_soon_forgotten(site: BuildSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a store of a hundred thousand times as much, memory holds so many; and a late reader is told the present."""
    with_small_pages(monkeypatch)
    http = in_memory(site)
    put(
        http,
        *records(95),
        *(Revocation(records(1)[0].key, 5.0, FOREVER, "", frozenset([b"%016d" % n])) for n in range(9)),
    )
    reader = consumer(http)
    http.store.calls.clear()

    reader.follow()

    assert len(reader.lines) == 104
    assert http.store.calls.count("changes") == 4
    consumer(http).ask()
    http.clock.move(feed_pages.HELD_SECONDS)
    put(http, Revocation(bytes(16), FOREVER, FOREVER))
    late = consumer(http)
    assert bytes(16).hex() in late.ask().text


def test_readers_that_take_turns_miss_nothing(site: BuildSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is held for whom, and however late each of them comes back."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with_small_pages(monkeypatch)
    http = in_memory(site)
    put(http, *records(90))
    readers, added = [consumer(http) for _ in range(4)], 90

    for _ in range(150):
        reader = chance.choice(readers)
        *lines, last = [json.loads(line) for line in reader.ask().text.splitlines()]
        reader.lines |= {(line["key"], ()): line["before"] for line in lines}
        reader.cursor = last["cursor"] if chance.random() < 0.95 else None
        if chance.random() < 0.3:
            put(http, *records(2, start=added))
            added += 2
        http.clock.move(chance.choice([0.0, 0.0, 5.0, 31.0]))
    for reader in readers:
        reader.follow()

    assert [len(reader.lines) for reader in readers] == [added] * 4


def test_an_adopted_store_is_not_hidden_by_what_is_held(site: BuildSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is told to begin again begins with the store that there is now."""
    with_small_pages(monkeypatch)
    http = feeding(site)
    put(http, *records(30))
    monkeypatch.setattr("logout_middleware.stores.sqlite._PAGE", 25)
    reader = consumer(http)
    reader.ask()
    http.call("adopt_store", keep_logins=True)

    statuses = [200]
    while statuses[-1] == 200 and len(statuses) < 10:
        answer = reader.ask()
        statuses.append(answer.status)
        reader.cursor = json.loads(answer.text.splitlines()[-1]).get("cursor")
    reader.follow()

    assert statuses[-1] == 410
    assert len(reader.lines) >= 30


def test_only_so_many_begin_at_one_time(http: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next asks again a moment later; who is under way is not held up."""
    reader = consumer(http)
    reader.follow()
    monkeypatch.setattr(feed_pages, "MOST_READS", 0)

    begins, goes_on = http.get("/auth/feed", headers=basic(*SHOP)), reader.ask()

    assert (begins.status, begins.json["error"], begins.header("retry-after")) == (429, "rate_limited", "1")
    assert goes_on.status == 200


def test_those_that_begin_are_counted_until_they_have_their_part() -> None:
    """However it ended."""
    failing = [True, False, False]

    @types.coroutine
    def ask(store_cursor: Any) -> Any:
        yield
        if failing.pop():
            raise StoreError("away")
        return Changes(records(3), 1, complete=True)

    pages = feed_pages.Pages(ask, lambda: 0.0, None)
    under_way = [pages.part(feed_pages.Place()) for _ in range(2)]
    for each in under_way:
        each.send(None)

    with pytest.raises(Refused) as refused:
        pages.part(feed_pages.Place()).send(None)
    for each in under_way:
        with pytest.raises(StopIteration):
            each.send(None)
    last = pages.part(feed_pages.Place())
    last.send(None)
    with pytest.raises(StoreError):
        last.send(None)

    assert refused.value.status == 429
    assert pages._reads == 0


def test_a_long_page_lets_others_have_their_turn() -> None:
    """An event loop is never held for more than a few thousand records."""
    at_once: list[int] = [0]

    async def ask(store_cursor: Any) -> Changes:
        return Changes(records(30_000), 1, complete=True)

    async def pause(seconds: float) -> None:
        at_once.append(0)

    pages = feed_pages.Pages(ask, lambda: 0.0, pause)
    genuine = feed_pages._line

    def line(record: Revocation) -> str:
        at_once[-1] += 1
        return genuine(record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed_pages, "_line", line)
        part = run_blocking(pages.part(feed_pages.Place()))

    assert (len(part.lines), part.complete) == (10_000, False)
    assert max(at_once) == 2000
    assert len(at_once) > 15 + 256


def stacked(site: BuildSite, **given: Any) -> Site:
    """A site whose store has before it what these settings ask for: a journal, a copy in memory."""
    http = feeding(site, **given)
    run_blocking(http.store.inner.close())
    http.store.inner = open_stack(http.settings, http.clock, blocking=True).store
    return http


STORES = [
    ("redis_server", {}), ("redis_server", {"journal": "journal.db"}), ("postgres_server", {}), ("mariadb_server", {}),
    (None, {"journal": "journal.db"}), ("redis_server", {"max_staleness": "10"}),
]  # fmt: skip


@pytest.mark.parametrize(("server", "given"), STORES, ids=str)
def test_the_feed_of_every_store_goes_on_where_a_reader_was(
    request: pytest.FixtureRequest, site: BuildSite, server: str | None, given: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Their cursors differ; a reader that was away, and a site that was restarted, lose nothing."""
    monkeypatch.setattr(feed_pages, "MOST_LINES", 3)
    url = {"store": request.getfixturevalue(server).url} if server else {}
    prefix = {"key_prefix": f"feed{random.SystemRandom().randrange(10**9)}:"} if server else {}
    chosen = {**url, **prefix, **given, "store_deadline": "5s"}
    http = stacked(site, **chosen)
    for number in range(8):
        http.call("revoke_session", f"early-{number}")
    reader = consumer(http)
    reader.follow()

    http = stacked(site, **chosen)
    for number in range(8):
        http.call("revoke_session", f"late-{number}")
    reader = consumer(http, reader.kept())
    before = reader.pages
    reader.follow()

    assert {name for name, _ in reader.lines} == {
        key("session", None, f"{when}-{number}") for when in ("early", "late") for number in range(8)
    }
    assert reader.pages > before + 1
    assert reader.ask().text.count("\n") == 1


def test_records_of_one_key_are_never_torn_apart(http: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page goes on behind a key, so all of that key is on it."""
    monkeypatch.setattr(feed_pages, "MOST_LINES", 2)
    name = user_key("ann")
    put(http, *(Revocation(name, 10.0 + number, FOREVER, "", frozenset([bytes([number] * 16)])) for number in range(5)))
    put(http, *records(4))

    reader = consumer(http)
    reader.follow()

    assert len(reader.lines) == 9


def test_what_revokes_nothing_is_not_in_the_feed(http: Site) -> None:
    """That a security event was dealt with concerns nobody else."""
    assert Transmitter(http).tell(opaque("s1")).status == 202

    reader = consumer(http)
    reader.follow()

    assert [name for name, _ in reader.lines] == [key("session", ISS, "s1")]


@pytest.mark.parametrize("reason", ["burnt", "!burnt", "set-jti", "!!refresh", "!"])
def test_no_reason_that_a_caller_gives_hides_an_order_from_the_feed(http: Site, reason: str) -> None:
    """By Python, and so by the command line; an operator's request is refused if it tries (`tests/test_admin.py`)."""
    live = http.issuer.mint("ann")
    http.call("revoke_token", live, reason=reason)
    for what, name in (("session", "s1"), ("user", "ann"), ("client", "app")):
        http.call(f"revoke_{what}", name, reason=reason)
    http.call("revoke_everyone", reason=reason)

    reader = consumer(http)
    reader.follow()

    assert reader.is_revoked(live)
    orders = {key("session", None, "s1"), key("user", None, "ann"), key("client", None, "app"), key("everyone", None)}
    assert orders < {name for name, _ in reader.lines}
    assert {event.reason for event in http.told("logout")} - {reason.lstrip("!")} <= {
        "revoke_token", "revoke_session", "revoke_user", "revoke_client", "revoke_everyone"
    }  # fmt: skip


# ---- cursors ---------------------------------------------------------------------------------------------


def test_a_cursor_that_is_not_ours_means_begin_again(http: Site) -> None:
    """Cut, changed, another client's, or made up: 410, and never a gap."""
    reader = consumer(http)
    reader.follow()
    cursor = reader.cursor or ""
    flipped = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]

    for wrong in (cursor[:-4], flipped, "x", "%C3%BC", "", "A" * 40, cursor + "A"):
        assert refused(http, f"/auth/feed?since={wrong}", **basic(*SHOP)) == (410, "feed_gap"), wrong
    assert refused(http, f"/auth/feed?since={cursor}", **basic(*BANK)) == (410, "feed_gap")
    assert reader.ask().status == 200


def test_a_store_that_forgets_with_its_process_says_so(site: BuildSite) -> None:
    """Its count begins anew, so an old cursor would hide what came since."""
    given = {"store": "memory://", "allow_unsafe_store": "true"}
    http = feeding(site, **given)
    http.call("revoke_session", "s1")
    reader = consumer(http)
    reader.follow()

    reader.http = feeding(site, **given)

    assert reader.ask().status == 410


def test_after_another_store_was_configured_the_feed_begins_again(site: BuildSite) -> None:
    """A cursor of the old store means nothing to the new one."""
    http = feeding(site)
    reader = consumer(http)
    reader.follow()
    http.store.inner = _Odd(http.store.inner)

    assert reader.ask().status == 410


class _Odd:
    """A store whose cursors are of another kind."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def changes(self, cursor: Any, wait_seconds: float = 0.0) -> Any:
        return cursor.part


def test_an_adopted_store_begins_its_feed_again(site: BuildSite) -> None:
    """What it forgot nobody knows, so every reader starts from what it has."""
    http = feeding(site)
    reader = consumer(http)
    reader.follow()
    http.call("adopt_store", keep_logins=True)

    answer = feeding(site).get(f"/auth/feed?since={reader.cursor}", headers=basic(*SHOP))

    assert (answer.status, answer.json["error"]) == (410, "feed_gap")


PLACE = redis_feed._Place("an id", 7, "word")
CURSORS: list[Any] = [
    None, 0, 2**60, ("id", 5), (None, ("kept", 3)), (("id", 5), ("kept", 3)),
    sql._Cursor("id", 4, b"\x00\xff" * 8), sql._Cursor("id", 4), (sql._Cursor("id", 4), ("kept", 1)),
    redis_feed.Cursor((PLACE, PLACE), 3, 9), (redis_feed.Cursor((PLACE,)), None),
]  # fmt: skip


@pytest.mark.parametrize("cursor", CURSORS, ids=str)
def test_the_cursor_of_every_store_survives_as_text(cursor: Any) -> None:
    """Of the same types, because stores compare them."""
    text = cursors.to_text(cursor)

    back = cursors.from_text(text)

    assert (back, type(back)) == (cursor, type(cursor))
    assert repr(back) == repr(cursor)


@pytest.mark.parametrize(
    "text",
    ["", "{", "true", "1.5", '{"bytes": "x"}', '{"sql": 1}', '{"sql": [1,2,3,4,5]}', '{"os": ["x"]}', '{"a":1,"b":2}',
     "[" * 5000, "[[[[[[[1]]]]]]]", '{"bytes": 1}', '{"sql": {"sql": []}}'],
)  # fmt: skip
def test_a_text_that_is_no_cursor_is_a_gap(text: str) -> None:
    """Nothing else can come of it."""
    with pytest.raises(FeedGap):
        cursors.from_text(text)


def test_what_cannot_be_written_is_told_at_once() -> None:
    """A store with another kind of cursor is found by its first test."""
    with pytest.raises(TypeError):
        cursors.to_text(1.5)


# ---- waiting, and who may ask ----------------------------------------------------------------------------


def test_under_asgi_an_answer_waits_for_news(http: Site, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader hears of a logout at once without asking all the time; under WSGI no thread is held for it."""
    reader = consumer(http)
    reader.follow()
    http.store.calls.clear()
    wrapped = type(http.store).changes

    async def changes(self: Any, cursor: Any, wait_seconds: float = 0.0) -> Any:
        if self.calls.count("changes") == 2:
            put(http, *records(1))
        return await wrapped(self, cursor, wait_seconds)

    monkeypatch.setattr(type(http.store), "changes", changes)
    answer = http.get(f"/auth/feed?since={reader.cursor}&wait=25", headers=basic(*SHOP))

    asked, lines = http.store.calls.count("changes"), len(answer.text.splitlines())
    assert (asked, lines) == ((3, 2) if shell == "asgi" else (1, 1))


def test_only_so_many_wait_at_one_time(http: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next is answered at once, and asks again."""
    monkeypatch.setattr(feed, "_MOST_WAITING", 0)
    reader = consumer(http)
    reader.follow()
    http.store.calls.clear()

    http.get(f"/auth/feed?since={reader.cursor}&wait=25", headers=basic(*SHOP))

    assert http.store.calls.count("changes") == 1


def test_what_was_not_changed_is_304(http: Site) -> None:
    """An ordinary HTTP client can ask whether there is anything new."""
    reader = consumer(http)
    reader.follow()
    tag = reader.ask().header("etag") or ""

    unchanged = reader.ask(**{"If-None-Match": tag})
    http.call("revoke_session", "s1")
    changed = reader.ask(**{"If-None-Match": tag})

    assert (unchanged.status, unchanged.body, unchanged.header("etag")) == (304, b"", tag)
    assert (changed.status, len(changed.text.splitlines())) == (200, 2)


@pytest.mark.parametrize("query", ["wait=26", "wait=-1", "wait=x", "wait=nan", "wait=1&wait=2", "since=a&since=b"])
def test_a_question_that_is_not_sound_is_400(http: Site, query: str) -> None:
    """Rather than answered with a guess."""
    assert refused(http, f"/auth/feed?{query}", **basic(*SHOP))[0] == 400


def test_only_registered_clients_read_the_feed(http: Site) -> None:
    """Who logs out when is nobody else's business."""
    http.call("revoke_session", "s1")
    mine = http.login("ann")

    nobody = http.get("/auth/feed")
    wrong = http.get("/auth/feed", headers=basic("shop", "wrong"))
    user = http.get("/auth/feed", token=mine.access)

    assert [each.status for each in (nobody, wrong, user)] == [401] * 3
    assert (nobody.header("www-authenticate") or "").startswith("Basic ")
    assert not any(b"key" in each.body and b"before" in each.body for each in (nobody, wrong, user))


def test_a_client_that_is_registered_for_other_things_does_not_read_the_feed(http: Site) -> None:
    """An application that revokes its own tokens need not learn who logs out elsewhere."""
    http.call("revoke_session", "s1")

    assert refused(http, **basic("robot", HASHED_SECRET)) == (403, "access_denied")

    (event,) = http.told("client_refused")
    assert (event.outcome, event.detail) == ("refused", "robot may not read the feed")


def test_while_the_store_is_away_the_feed_is_503(http: Site) -> None:
    """Never an empty page that looks like "nothing new"."""
    http.store.broken = True

    answer = http.get("/auth/feed", headers=basic(*SHOP))

    assert (answer.status, answer.header("retry-after")) == (503, "1")


def test_no_secret_is_in_the_feed(http: Site) -> None:
    """Digests only; the cursor holds none either."""
    token = sign({"iss": ISS, "sub": "ann", "sid": "a-session", "aud": AUDIENCE, "jti": "a-token"}, typ="at+jwt")
    http.call("revoke_token", token)

    text = http.get("/auth/feed", headers=basic(*SHOP)).text

    assert len(text.splitlines()) > 1
    assert not any(word in text for word in ("a-session", "a-token", "ann", token, SHOP[1]))


def test_other_methods_are_405(http: Site) -> None:
    """The feed is read only."""
    answer = http.post("/auth/feed", headers=basic(*SHOP))

    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD, OPTIONS")
