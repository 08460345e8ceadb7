"""One login, one end: whichever member of a login is presented to a logout, all its members die, and nobody else does.

The members are an access token, a refresh token and a session cookie. Another Logout object on the same store is asked
each time: what binds them is in the store and not in a process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logout_middleware import Identity
from logout_middleware.colour import run_blocking
from logout_middleware.errors import StoreError
from logout_middleware.flows.bindings import Bindings
from logout_middleware.flows.login_marks import LoginMarks
from logout_middleware.rules.revocation import Revocation, is_revoked, key_of
from logout_middleware.stores import Fact
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.testing import MovableClock

from .client import ALL, OWN_PAGE, BuildSite, Device, Site

PAIRS = {"by the middleware": 500, "by mark_login": 250}
"""Under each of the two shells."""
MEMBERS = ("access", "refresh", "refresh in a body", "cookie")
REALM = "https://id.example.com"


def presenting(device: Device, member: str) -> dict[str, Any]:
    """A request that presents exactly this member of a login."""
    requests: dict[str, dict[str, Any]] = {
        "access": {"token": device.access},
        "refresh": {"token": device.refresh},
        "refresh in a body": {"json": {"refresh_token": device.refresh}},
        "cookie": {"cookie": device.cookie, "headers": OWN_PAGE},
    }
    return requests[member]


@pytest.fixture
def two_sites(site: BuildSite) -> Callable[..., tuple[Site, Site]]:
    """Two workers of one application on one store."""

    def build(**given: Any) -> tuple[Site, Site]:
        one, other = site(**given), site(**given)
        other.issuer._minted = 10**6  # No two tokens of one issuer have one id.
        return one, other

    return build


TwoSites = Callable[..., tuple[Site, Site]]


def bound_by_hand(http: Site, *pairs: tuple[str, str]) -> None:
    """Requests that carry a bearer token and a cookie together, as a page does that calls its API."""
    for token, cookie in pairs:
        assert http.get("/me", token=token, cookie=cookie).status == 200


# ---- who dies together -----------------------------------------------------------------------------------


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("sid", [True, False])
def test_all_members_die_whichever_is_presented(two_sites: TwoSites, member: str, sid: bool) -> None:
    """With a common `sid`, or bound by the answer of the login; the other worker knows it, too."""
    http, other = two_sites()
    ann, phone, bob = (http.login(user, sid=sid) for user in ("ann", "ann", "bob"))
    assert other.alive(ann) == ALL

    answer = http.post("/auth/logout", **presenting(ann, member))

    assert answer.status == 200
    for worker in (other, http):
        assert worker.alive(ann) == set()
        assert worker.alive(phone) == ALL
        assert worker.alive(bob) == ALL


@pytest.mark.parametrize("member", MEMBERS)
def test_a_logout_at_a_worker_that_never_saw_the_login_ends_all_of_it(two_sites: TwoSites, member: str) -> None:
    """The binding is read from the store."""
    http, other = two_sites()
    ann, phone = http.login("ann", sid=False), http.login("ann", sid=False)

    other.post("/auth/logout", **presenting(ann, member))

    assert (http.alive(ann), other.alive(ann)) == (set(), set())
    assert http.alive(phone) == ALL


@pytest.mark.parametrize("member", ["access", "cookie"])
def test_a_cookie_and_a_token_that_came_in_one_request_die_together(two_sites: TwoSites, member: str) -> None:
    """Nobody said which answers carry tokens; being used together by one user is what binds them."""
    http, other = two_sites(token_responses=None)
    ann, phone = http.login("ann", sid=False), http.login("ann", sid=False)
    bound_by_hand(http, (ann.access, ann.cookie))

    other.post("/auth/logout", **presenting(ann, member))

    assert (http.alive(ann), other.alive(ann)) == ({"refresh"}, {"refresh"})
    assert http.alive(phone) == ALL


def test_members_that_only_others_join_die_together(two_sites: TwoSites) -> None:
    """Three tokens, each used once with the one cookie of the browser: a logout by the first ends the last."""
    http, other = two_sites(token_responses=None)
    ann = http.login("ann", sid=False)
    tokens = [http.issuer.mint("ann") for _ in range(3)]
    bound_by_hand(http, *((token, ann.cookie) for token in tokens))

    other.post("/auth/logout", token=tokens[0])

    assert [worker.me(token=token) for worker in (http, other) for token in tokens] == [None] * 6
    assert (http.me(cookie=ann.cookie), other.me(cookie=ann.cookie)) == (None, None)


@pytest.mark.parametrize("sid", [True, False])
@pytest.mark.parametrize("member", MEMBERS)
def test_what_a_refresh_gave_dies_with_its_login(two_sites: TwoSites, member: str, sid: bool) -> None:
    """Every token of a chain of refreshes, whichever other is presented."""
    http, other = two_sites(
        token_responses="POST /login: access_token, refresh_token; POST /refresh: access_token, refresh_token"
    )
    ann = http.login("ann", sid=sid)
    refreshed = [worker.refresh(ann.refresh).json["access_token"] for worker in (http, other, http)]
    assert [http.me(token=token) for token in refreshed] == ["ann"] * 3

    http.post("/auth/logout", **presenting(ann, member))

    assert [worker.me(token=token) for worker in (other, http) for token in refreshed] == [None] * 6


@pytest.mark.parametrize("sid", [True, False])
def test_a_logout_with_a_refreshed_token_ends_the_refresh_token_it_came_from(two_sites: TwoSites, sid: bool) -> None:
    """The client has thrown its first access token away long ago."""
    http, other = two_sites(token_responses="POST /login: access_token, refresh_token; POST /refresh: access_token")
    ann = http.login("ann", sid=sid)
    refreshed = http.refresh(ann.refresh).json["access_token"]

    other.post("/auth/logout", token=refreshed)

    assert (http.alive(ann), other.alive(ann)) == (set(), set())


def test_ending_a_session_by_its_id_ends_what_is_bound_to_it(two_sites: TwoSites) -> None:
    """A token without `sid` that was used beside the cookie of the session."""
    http, other = two_sites()
    ann = http.login("ann")
    token = http.issuer.mint("ann")
    bound_by_hand(http, (token, ann.cookie))

    other.call("revoke_session", ann.sid)

    assert (http.me(token=token), other.me(token=token)) == (None, None)
    assert (http.alive(ann), other.alive(ann)) == (set(), set())


# ---- who is never bound ----------------------------------------------------------------------------------


def _other_user(http: Site) -> str:
    return http.issuer.mint("bob")


def _other_realm(http: Site) -> str:
    return http.issuer.mint("ann", iss="https://elsewhere.example.com")


def _unverified(http: Site) -> str:
    return "opaque-token-of-ann"


def _of_a_client(http: Site) -> str:
    return http.issuer.mint("the-robot", client_id="the-robot")


def _of_a_client_without_subject(http: Site) -> str:
    return http.issuer.mint("ann", sub=None, client_id="the-robot")


@pytest.mark.parametrize("mint", [_other_user, _other_realm, _unverified, _of_a_client, _of_a_client_without_subject])
@pytest.mark.parametrize("sid", [True, False])
def test_strangers_in_one_request_are_never_bound(two_sites: TwoSites, mint: Callable[[Site], str], sid: bool) -> None:
    """Another user's, another issuer's, an unverified and an application's own token outlive the cookie beside them."""
    http, other = two_sites(jwt_issuer=REALM)
    ann, token = http.login("ann", sid=sid), mint(http)
    for worker in (http, other):
        assert worker.get("/me", token=token, cookie=ann.cookie).status == 200

    other.post("/auth/logout", cookie=ann.cookie, headers=OWN_PAGE)

    assert (http.me(cookie=ann.cookie), other.me(cookie=ann.cookie)) == (None, None)
    assert [worker.get("/me", token=token).status for worker in (http, other)] == [200, 200]


@pytest.mark.parametrize("mint", [_other_user, _other_realm, _unverified, _of_a_client])
def test_a_strangers_logout_leaves_the_cookie_alone(two_sites: TwoSites, mint: Callable[[Site], str]) -> None:
    """The same from the other side: what is planted beside a cookie cannot end its login."""
    http, other = two_sites(jwt_issuer=REALM)
    ann, token = http.login("ann", sid=False), mint(http)
    for worker in (http, other):
        assert worker.get("/me", token=token, cookie=ann.cookie).status == 200

    other.post("/auth/logout", token=token)

    assert other.get("/me", token=token).status == 401
    assert (http.me(cookie=ann.cookie), other.me(cookie=ann.cookie)) == ("ann", "ann")


def test_a_forgery_with_the_names_of_a_login_binds_nothing(site: BuildSite) -> None:
    """Without a key for tokens, one that claims to be of this user is a stranger."""
    http = site(jwt_key=None, jwt_algorithms=None)
    ann = http.login("ann")
    forged = jwt.encode({"sub": "ann", "sid": ann.sid, "iat": 1, "exp": 4e9}, "x" * 32, algorithm="HS256")
    http.get("/me", token=forged, cookie=ann.cookie)

    http.post("/auth/logout", token=forged)

    assert http.me(cookie=ann.cookie) == "ann"


@pytest.mark.parametrize("sid", [True, False])
@pytest.mark.parametrize("member", ["access", "refresh", "cookie"])
def test_without_bound_every_member_dies_alone(two_sites: TwoSites, member: str, sid: bool) -> None:
    """`REVOKE_BOUND=false`: nothing is bound, whatever was seen together."""
    http, other = two_sites(revoke_bound="false")
    ann = http.login("ann", sid=sid)
    bound_by_hand(http, (ann.access, ann.cookie))

    http.post("/auth/logout", **presenting(ann, member))

    assert (other.alive(ann), http.alive(ann)) == (ALL - {member}, ALL - {member})
    known = run_blocking(http.store.inner.facts([_identity(http, ann.access).login_key]))
    assert not [fact for fact in known if fact.text.startswith("bound")]


def _identity(http: Site, token: str) -> Identity:
    found = http.call("explain", token).identity
    assert isinstance(found, Identity)
    return found


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("sid", [True, False])
def test_others_keeps_every_member_of_this_login(two_sites: TwoSites, member: str, sid: bool) -> None:
    """And ends every member of the others, on both workers, in the same second and later."""
    http, other = two_sites()
    phone, ann, tablet = (http.login("ann", sid=sid) for _ in range(3))
    presented = presenting(ann, member)
    presented["json"] = {**presented.get("json", {}), "scope": "others"}

    assert other.post("/auth/logout", **presented).status == 200

    for seconds in (0.0, 1.0, 60.0):
        http.clock.move(seconds)
        for worker in (http, other):
            assert worker.alive(ann) == ALL
            assert (worker.alive(phone), worker.alive(tablet)) == (set(), set())


@pytest.mark.parametrize("sid", [True, False])
def test_others_keeps_what_a_refresh_of_this_login_gave_before(two_sites: TwoSites, sid: bool) -> None:
    """The token that the page uses by now is a member, too."""
    http, other = two_sites(token_responses="POST /login: access_token, refresh_token; POST /refresh: access_token")
    ann, phone = http.login("ann", sid=sid), http.login("ann", sid=sid)
    here, there = (http.refresh(each.refresh).json["access_token"] for each in (ann, phone))

    other.post("/auth/logout", cookie=ann.cookie, headers=OWN_PAGE, json={"scope": "others"})

    assert [worker.me(token=here) for worker in (http, other)] == ["ann", "ann"]
    assert [worker.me(token=there) for worker in (http, other)] == [None, None]


# ---- how long it is remembered -----------------------------------------------------------------------------


@pytest.mark.parametrize("sid", [True, False])
@pytest.mark.parametrize("days", [1, 10, 29])
def test_an_expired_access_token_still_ends_its_refresh_token(two_sites: TwoSites, days: int, sid: bool) -> None:
    """It died of age after an hour; the binding lives as long as the refresh token, which lives for thirty days."""
    http, other = two_sites()
    ann, phone = http.login("ann", sid=sid), http.login("ann", sid=sid)
    http.clock.move(days * 86400.0)
    while run_blocking(http.store.inner.purge()):
        pass
    assert http.refresh(ann.refresh).status == 200

    answer = other.post("/auth/logout", token=ann.access)

    assert answer.status == 200
    assert http.refresh(ann.refresh).status == 401
    assert (http.alive(ann), other.alive(ann)) == (set(), set())
    assert http.refresh(phone.refresh).status == 200


def test_an_expired_access_token_still_ends_the_cookie_it_was_used_with(two_sites: TwoSites) -> None:
    """They came together once, ten days ago."""
    http, other = two_sites(token_responses=None)
    ann = http.login("ann", sid=False)
    bound_by_hand(http, (ann.access, ann.cookie))
    http.clock.move(10 * 86400.0)
    while run_blocking(http.store.inner.purge()):
        pass
    assert http.me(cookie=ann.cookie) == "ann"

    other.post("/auth/logout", token=ann.access)

    assert (http.me(cookie=ann.cookie), other.me(cookie=ann.cookie)) == (None, None)


# ---- what a dead credential can still do -------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["local", "others", "global"])
@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("sid", [True, False])
def test_a_logout_with_a_dead_credential_touches_no_newer_login(
    two_sites: TwoSites, scope: str, member: str, sid: bool
) -> None:
    """Whoever kept an old token logs nobody out with it (logout replay): 200, and no effect."""
    http, other = two_sites()
    ann = http.login("ann", sid=sid)
    http.post("/auth/logout", **presenting(ann, member))
    new = http.login("ann", sid=sid)
    presented = presenting(ann, member)
    presented["json"] = {**presented.get("json", {}), "scope": scope}

    answers = [worker.post("/auth/logout", **presented) for worker in (http, other, other)]

    assert [answer.status for answer in answers] == [200] * 3
    assert (http.alive(new), other.alive(new)) == (ALL, ALL)
    assert (http.alive(ann), other.alive(ann)) == (set(), set())


@pytest.mark.parametrize("sid", [True, False])
def test_a_login_over_a_dead_cookie_is_not_of_the_dead_login(two_sites: TwoSites, sid: bool) -> None:
    """A browser that never dropped its cookie logs in again; a replayed logout of the old one ends only the old."""
    http, other = two_sites()
    ann = http.login("ann", sid=sid)
    http.post("/auth/logout", cookie=ann.cookie, headers=OWN_PAGE)
    answer = http.post(
        "/login", json={"user": "ann", "sid": sid}, token=ann.access, headers={"Cookie": f"session={ann.cookie}"}
    )
    assert answer.status == 200, answer
    new = Device("ann", answer.json["access_token"], answer.json["refresh_token"], answer.cookies["session"], None)

    for member in MEMBERS:
        assert other.post("/auth/logout", **presenting(ann, member)).status == 200

    assert (http.alive(new), other.alive(new)) == (ALL, ALL)
    assert http.alive(ann) == set()


# ---- a store that fails on the way ---------------------------------------------------------------------------


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("sid", [True, False])
def test_a_logout_that_got_half_way_is_completed_by_the_next(
    two_sites: TwoSites, monkeypatch: pytest.MonkeyPatch, member: str, sid: bool
) -> None:
    """At every question to the store, it goes away for good until the client asks again: then nothing is left alive."""
    http, other = two_sites()
    for broken_after in range(20):
        http.clock.move(400.0)  # The limit of logouts is not what is tried here.
        ann, phone = http.login("ann", sid=sid), http.login("ann", sid=sid)
        presented, asked = presenting(ann, member), 0

        def fail(name: str, left: int = broken_after) -> None:
            nonlocal asked
            asked += 1
            if asked > left:
                raise StoreError("the store went away on the way")

        with monkeypatch.context() as patched:
            patched.setattr(http.store, "_pass", fail)
            first = http.post("/auth/logout", **presented)
        second = http.post("/auth/logout", **presented)

        assert first.status in (200, 503), (broken_after, first)
        assert second.status == 200, (broken_after, second)
        assert (http.alive(ann), other.alive(ann)) == (set(), set()), broken_after
        assert http.alive(phone) == ALL
        if first.status == 200 and asked <= broken_after:
            return
    raise AssertionError("a logout asks the store more than twenty times")


@pytest.mark.parametrize("sid", [True, False])
def test_a_success_is_no_success_of_a_part(two_sites: TwoSites, monkeypatch: pytest.MonkeyPatch, sid: bool) -> None:
    """Where the bindings cannot be read, and the rest can be written, 200 would be a lie about the other members."""
    http, other = two_sites()
    ann = http.login("ann", sid=sid)

    async def away(_: Sequence[bytes]) -> Any:
        raise StoreError("facts cannot be read")

    with monkeypatch.context() as patched:
        patched.setattr(http.store, "facts", away)
        answer = http.post("/auth/logout", token=ann.access)

    assert answer.status == 503 or other.alive(ann) == set(), (answer, other.alive(ann))


# ---- exact cut-offs ------------------------------------------------------------------------------------------


def _whole(http: Site) -> None:
    """Tokens as nearly everybody mints them: `iat` in whole seconds."""
    mint = http.issuer.mint
    http.issuer.mint = lambda user, **claims: mint(user, **({"iat": int(http.clock())} | claims))  # type: ignore[method-assign]


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("marked", PAIRS)
def test_a_login_of_the_same_second_as_the_cut_off_is_accepted_and_the_old_one_is_not(
    two_sites: TwoSites, marked: str
) -> None:
    """1,000 pairs of "log out everywhere" and a new login, and 500 where the application marks it: no mistake."""
    seed = 2036
    print(f"seed {seed}")
    random = Random(seed)
    http, other = two_sites(token_responses=None) if marked == "by mark_login" else two_sites()
    _whole(http)
    old_accepted, new_refused, same_second = [], [], 0

    for number in range(PAIRS[marked]):
        user, sid = f"ann-{number}", random.random() < 0.5
        http.clock.now = 1_800_000_000.0 + 10 * number + random.random() * 0.98
        old = http.login(user, sid=sid)
        http.clock.move(random.choice((0.0, 0.001, 0.3)))
        if random.random() < 0.5:
            http.call("revoke_user", user)
        else:
            http.post("/auth/logout/all", token=old.access, address=f"192.0.2.{number % 250}")
        cut = http.clock()
        http.clock.move(random.choice((0.0001, 0.002, 0.4)))
        new = http.login(user, sid=sid)
        same_second += int(cut) == int(http.clock())
        if marked == "by mark_login":
            for token in (new.access, new.refresh):
                http.call("mark_login", token)
            if sid:
                http.call("mark_login", sid=new.sid)
        for worker in (http, other):
            if random.random() < 0.5:
                http.clock.move(random.choice((0.0, 0.7, 2.0)))
            if (alive := worker.alive(old)) != set():
                old_accepted.append((number, sid, alive))
            if (alive := worker.alive(new)) != ALL:
                new_refused.append((number, sid, alive))

    assert (old_accepted, new_refused) == ([], [])
    assert same_second > PAIRS[marked] // 2


# ---- nothing revives anything ----------------------------------------------------------------------------------

_NAMES = [key_of("test", None, f"login {number}") for number in range(4)]
_USER = key_of("test", None, "user")
_moments = st.sampled_from([9.0, 10.0, 10.25, 10.5, 10.75, 11.0, 12.0, 1e9])


@st.composite
def _changes(draw: st.DrawFn, others: Sequence[bytes]) -> tuple[str, Any]:
    """Something that is learned or revoked; of these logins, where it is a binding or a mark."""
    kind = draw(st.sampled_from(["revocation", "cut-off", "binding", "mark"]))
    if kind == "revocation":
        return kind, Revocation(draw(st.sampled_from(_NAMES)), draw(_moments), 2e9)
    if kind == "cut-off":
        kept = frozenset(draw(st.lists(st.sampled_from(_NAMES), max_size=2)))
        return kind, Revocation(_USER, draw(_moments), 2e9, "", kept)
    if kind == "mark":
        return kind, (draw(st.sampled_from(others)), draw(_moments))
    return kind, draw(st.lists(st.sampled_from(others), min_size=2, max_size=2, unique=True))


def _credential(name: bytes, issued_at: float) -> Identity:
    return Identity(name, name, issued_at=issued_at, expires_at=2e9, user_id="ann", verified=True, keys=(name, _USER))


@given(st.lists(_changes(_NAMES), max_size=5), st.lists(_changes(_NAMES[1:]), min_size=1, max_size=4), _moments)
@settings(max_examples=300)
def test_nothing_that_happens_to_other_logins_revives_a_dead_credential(
    before: list[tuple[str, Any]], after: list[tuple[str, Any]], issued_at: float
) -> None:
    """Revocations, bindings and marks of others, in any order."""
    clock = MovableClock(13.0)
    store = MemoryStore(clock)
    marks, bindings = LoginMarks(store, lambda moment: moment + 1e6), Bindings(store, lambda moment: moment + 1e6)
    dead = _credential(_NAMES[0], issued_at)

    def happen(kind: str, what: Any) -> None:
        if kind in ("revocation", "cut-off"):
            run_blocking(store.add([what]))
        elif kind == "mark":
            run_blocking(marks.mark([what[0]], what[1], now=clock()))
        else:
            run_blocking(bindings.bind([_credential(name, 10.0) for name in what], clock()))

    def refused() -> bool:
        records = run_blocking(store.find(dead.keys))
        (exact,) = run_blocking(marks.exact([dead], records))
        return is_revoked(exact, records) is not None

    for change in before:
        happen(*change)
    was = refused()
    for change in after:
        happen(*change)

        assert refused() or not was


# ---- how a login is bound ------------------------------------------------------------------------------------


class _Interleaved:
    """A store in which other workers do something between one's reading and its writing."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.meanwhile = store, list[Callable[[], object]]()

    async def facts(self, subjects: Sequence[bytes]) -> Sequence[Fact]:
        return await self.store.facts(subjects)

    async def learn(self, facts: Sequence[Fact]) -> None:
        while self.meanwhile:
            self.meanwhile.pop(0)()
        await self.store.learn(facts)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_was_seen_together_is_one_login_in_any_order_and_at_any_worker(seed: int) -> None:
    """Bound by two workers, often at the same moment: each part that lives leads to each other that does."""
    print(f"seed {seed}")
    chance, clock = Random(seed), MovableClock(0.0)
    store = _Interleaved(MemoryStore(clock))
    workers = [Bindings(store, lambda moment: moment + 1e6) for _ in range(2)]  # type: ignore[arg-type]
    names = [bytes([number]) * 16 for number in range(1, 9)]
    lives = {name: chance.choice([3600.0, 7200.0, 36000.0]) for name in names} | dict.fromkeys(names[-2:], 36000.0)
    sets = {name: {name} for name in names}

    def bind(worker: Bindings) -> None:
        parts = chance.sample([each for each in names if lives[each] > clock()], 2)
        whole = set().union(*(sets[each] for each in parts))
        sets.update(dict.fromkeys(whole, whole))
        run_blocking(worker.bind([replace(_credential(each, 0.0), expires_at=lives[each]) for each in parts], clock()))

    for step in range(6):
        clock.now = step * 1000.0
        if chance.random() < 0.5:
            store.meanwhile = [lambda: bind(workers[1])]
        bind(workers[0])
        store.meanwhile.clear()

        for each in names:
            reached = run_blocking(workers[1].members([each], clock()))
            living = {one for one in sets[each] - {each} if lives[one] > clock()}
            assert lives[each] <= clock() or set(reached) >= living
            assert set(reached) <= sets[each]


def test_a_login_of_too_many_parts_is_no_success_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for its members is told that they cannot be known, instead of the first of them."""
    monkeypatch.setattr("logout_middleware.flows.bindings._MOST_MEMBERS", 5)
    clock = MovableClock(13.0)
    bindings = Bindings(MemoryStore(clock), lambda moment: moment + 1e6)
    names = [bytes([number]) * 16 for number in range(8)]
    for name in names[1:]:
        run_blocking(bindings.bind([_credential(names[0], 1.0), _credential(name, 1.0)], clock()))

    with pytest.raises(StoreError, match="too many parts"):
        run_blocking(bindings.members([names[3]], clock()))


def test_an_old_token_knows_its_login_as_long_as_what_was_bound_to_it_later() -> None:
    """Its first companion was as short-lived as itself; the refresh token that came with the second is not."""
    clock = MovableClock(13.0)
    bindings = Bindings(MemoryStore(clock), lambda moment: moment + 1e6)
    short = [replace(_credential(name, 1.0), expires_at=600.0) for name in _NAMES[:2]]
    refresh = _credential(b"refresh".ljust(16), 1.0)
    run_blocking(bindings.bind(short, clock()))
    run_blocking(bindings.bind([short[1], refresh], clock()))
    clock.now = 50_000.0

    assert [run_blocking(bindings.members([each.own_key], clock())) for each in short] == [[refresh.own_key]] * 2
