"""Deleting cookies where the application set them (standards.md 5.2, CK-1 to CK-13): rules, and what workers share.

`browser.Jar` and the cookie jar of Python's standard library judge what a browser would keep. CK-9, that every
answer to a logout deletes, is in `test_answers.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.message import Message
from http.cookiejar import CookieJar
from typing import Any
from urllib.request import Request as UrllibRequest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logout_middleware.colour import run_blocking
from logout_middleware.flows import learned_cookies
from logout_middleware.flows.learned_cookies import LearnedCookies
from logout_middleware.rules.cookies import (
    GuardedCookie,
    chunk_names,
    cookie_names,
    deletion,
    deletion_at,
    is_chunk,
    with_deletions,
)
from logout_middleware.rules.set_cookie import CookieScope, cookie_date, default_path, parse_set_cookie
from logout_middleware.stores import Fact, Store
from logout_middleware.stores.memory import MemoryStore
from logout_middleware.testing import FlakyStore, MovableClock

from .browser import Jar

NOW = 1_800_000_000.25
LOGIN = "https://app.example.com/account/login"
LOGOUT = "https://app.example.com/auth/logout"
SESSION = GuardedCookie("session", "auto")
DAY = 86400.0


@pytest.fixture
def clock() -> MovableClock:
    """The time of all workers."""
    return MovableClock(NOW)


@pytest.fixture
def store(clock: MovableClock) -> FlakyStore:
    """What the workers share."""
    return FlakyStore(MemoryStore(clock))


class Worker(LearnedCookies):
    """One worker, which answers requests of the application and deletes."""

    def __init__(self, store: Store, clock: MovableClock, *cookies: GuardedCookie, lasting: float = 30 * DAY) -> None:
        super().__init__(store, cookies or (SESSION,), clock, lasting)

    def answers(self, *lines: str, path: str = "/account/login") -> list[Fact]:
        """The application answered with these; what the store was told of it."""
        facts = [fact for line in lines if (fact := self.sees(line, path)) is not None]
        run_blocking(self.remember(facts))
        return facts

    def deletes(self, *names: str, present: Sequence[str] = (), https: bool = True) -> list[str]:
        """The Set-Cookie values that delete these names, else `session`."""
        return run_blocking(self.deletions(names or ("session",), present, https=https))


@pytest.fixture
def worker(store: FlakyStore, clock: MovableClock) -> Worker:
    """The worker where the login happens."""
    return Worker(store, clock)


@pytest.fixture
def other(store: FlakyStore, clock: MovableClock) -> Worker:
    """A worker that saw nothing itself."""
    return Worker(store, clock)


def paths_of(lines: list[str]) -> list[str]:
    """Where the deletions reach."""
    return [re.findall(r"Path=([^;]*)", line)[0] for line in lines]


def names_of(lines: list[str]) -> list[str]:
    """What the deletions delete."""
    return [line.partition("=")[0] for line in lines]


# ---- what a browser reads in a Set-Cookie line -----------------------------------------------------


@pytest.mark.parametrize(
    ("line", "scope"),
    [
        ("s=1", CookieScope("/account")),
        ("s=1; Path=/", CookieScope("/")),
        ("s=1; PATH=/; SECURE; httponly", CookieScope("/", secure=True, http_only=True)),
        ("s=1;Path=/a;Secure", CookieScope("/a", secure=True)),
        ("s=1 ; \tPath \t= /a ;  Secure ", CookieScope("/a", secure=True)),
        ("s=1; Path=/a; Path=/b", CookieScope("/b")),
        ("s=1; Path=/a; Path=", CookieScope("/account")),
        ("s=1; Path=a", CookieScope("/account")),
        ("s=1; Path", CookieScope("/account")),
        ("s=1; Path=/a=b", CookieScope("/a=b")),
        ("s=1; Path=/a/", CookieScope("/a/")),
        ("s=1; Path=/; Domain=example.com", CookieScope("/", "example.com")),
        ("s=1; Path=/; Domain=.Example.COM", CookieScope("/", "example.com")),
        ("s=1; Path=/; Domain=example.com; domain=", CookieScope("/")),
        ("s=1; Path=/; Domain=a.example; Domain=b.example", CookieScope("/", "b.example")),
        ("s=1; Path=/; Secure=no; HttpOnly=false", CookieScope("/", secure=True, http_only=True)),
        ("s=1; Path=/; SameSite=STRICT", CookieScope("/", same_site="Strict")),
        ("s=1; Path=/; SameSite=lax; SameSite=none", CookieScope("/", same_site="None")),
        ("s=1; Path=/; SameSite=lax; SameSite=whatever", CookieScope("/")),
        ("s=1; Path=/; Partitioned; Secure", CookieScope("/", secure=True, partitioned=True)),
        ("s=1; Path=/; Priority=High; Version=1; Comment=x; ; ;;", CookieScope("/")),
        ("s=1; Path=/" + "a" * 1024, CookieScope("/account")),
        ("s=1; Path=/kept; Path=/" + "a" * 1024, CookieScope("/kept")),
    ],
)
def test_ck_1_a_scope_is_what_a_browser_reads_in_the_line(line: str, scope: CookieScope) -> None:
    """Names of attributes in any case, the last of two, unknown ones ignored, no Path is the directory."""
    read = parse_set_cookie(line, "/account/login", NOW)

    assert read is not None
    assert read.scope == scope
    assert (read.name, read.value) == ("s", "1")


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("s=", "s", ""),
        ("s=a=b=c; Path=/", "s", "a=b=c"),
        ('s="quoted"; Path=/', "s", '"quoted"'),
        (" \ts \t= 1 \t", "s", "1"),
        ("nameless; Path=/", "", "nameless"),
        ("=nameless", "", "nameless"),
        ("S=1", "S", "1"),
        ("s=" + "x" * 4095, "s", "x" * 4095),
    ],
)
def test_name_and_value_are_split_as_browsers_do(line: str, name: str, value: str) -> None:
    """At the first equals sign, blanks around them dropped, quotes kept."""
    read = parse_set_cookie(line, "/", NOW)

    assert read is not None
    assert (read.name, read.value) == (name, value)


def test_no_value_gets_into_a_log() -> None:
    """What reads a line may be printed; the session in it may not."""
    assert "secret" not in repr(parse_set_cookie("s=secret; Path=/", "/", NOW))


@pytest.mark.parametrize(
    "line",
    ["", ";", "=", "; Path=/", "s=1\r\nSet-Cookie: t=2", "s=1; Path=/a\n", "s=\x001", "s=1\x7f", "s=" + "x" * 4096],
)
def test_ck_12_a_line_that_browsers_ignore_is_no_cookie(line: str) -> None:
    """Control characters, nothing at all, or too much."""
    assert parse_set_cookie(line, "/", NOW) is None


@pytest.mark.parametrize(
    ("attributes", "deletes"),
    [
        ("", False),
        ("Max-Age=0", True),
        ("Max-Age=-1", True),
        ("max-age=00", True),
        ("Max-Age=1", False),
        ("Max-Age=", False),
        ("Max-Age=soon", False),
        ("Max-Age=-", False),
        ("Max-Age=+0", False),
        ("Max-Age=" + "9" * 1000, False),
        ("Max-Age=0; Max-Age=60", False),
        ("Max-Age=60; Max-Age=0", True),
        ("Max-Age=0; Max-Age=soon", True),
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT", True),
        ("expires=Thu, 01-Jan-1970 00:00:01 GMT", True),
        ("Expires=Fri, 15 Jan 2027 08:00:00 GMT", True),
        ("Expires=Fri, 15 Jan 2027 08:00:01 GMT", False),
        ("Expires=0", False),
        ("Expires=", False),
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT; Expires=0", True),
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=60", False),
        ("Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", False),
        ("Max-Age=0; Expires=Fri, 15 Jan 2100 00:00:00 GMT", True),
        ("Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", True),
    ],
)
def test_ck_2_a_line_deletes_if_its_end_has_come(attributes: str, deletes: bool) -> None:
    """Max-Age wins over Expires; what cannot be read is not there. It is 2027-01-15 08:00:00.25 UTC."""
    read = parse_set_cookie(f"s=1; {attributes}", "/", NOW)

    assert read is not None
    assert read.deletes is deletes


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777.0),
        ("Sun Nov  6 08:49:37 1994", 784111777.0),
        ("1994 november 6th 8:49:37x", 784111777.0),
        ("06 Nov 69 08:49:37", 3150953377.0),
        ("31 Feb 2027 00:00:00 GMT", None),
        ("06 Nov 1600 08:49:37 GMT", None),
        ("06 Nov 1994 24:00:00 GMT", None),
        ("06 Nov 1994 08:49:60 GMT", None),
        ("06 Nov 1994 08:49 GMT", None),
        ("06 Nov 08:49:37 GMT", None),
        ("1994-11-06T08:49:37Z", None),
        ("784111777", None),
        ("", None),
    ],
)
def test_a_date_is_read_as_browsers_read_it(text: str, moment: float | None) -> None:
    """RFC 6265bis 5.1.1: the parts in any order, between almost anything."""
    assert cookie_date(text) == moment


@pytest.mark.parametrize(
    ("path", "directory"),
    [("/", "/"), ("", "/"), ("/login", "/"), ("/a/", "/a"), ("/a/b", "/a"), ("/a/b/c", "/a/b"), ("x/y", "/"),
     ("*", "/"), ("//x", "/"), ("/a//b", "/a/")],
)  # fmt: skip
def test_a_cookie_without_path_belongs_to_the_directory_of_the_request(path: str, directory: str) -> None:
    """RFC 6265bis 5.1.4."""
    assert default_path(path) == directory


# ---- deletions -------------------------------------------------------------------------------------

END = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize(
    ("name", "scope", "line"),
    [
        ("s", CookieScope(), f"s=; {END}; Path=/"),
        ("s", CookieScope("/app/"), f"s=; {END}; Path=/app/"),
        ("s", CookieScope("/", "example.com"), f"s=; {END}; Path=/; Domain=example.com"),
        ("s", CookieScope("/", None, True, True, "Lax"), f"s=; {END}; Path=/; Secure; HttpOnly; SameSite=Lax"),
        ("s", CookieScope("/", same_site="Strict"), f"s=; {END}; Path=/; SameSite=Strict"),
    ],
)
def test_ck_1_and_ck_2_a_deletion_repeats_the_scope(name: str, scope: CookieScope, line: str) -> None:
    """Name, Path and Domain exactly; an empty value, and both ways to say that it is over."""
    assert deletion_at(name, scope) == line


@pytest.mark.parametrize(
    ("name", "scope", "attributes"),
    [
        ("__Secure-s", CookieScope("/a", "example.com"), "Path=/a; Domain=example.com; Secure"),
        ("__SECURE-s", CookieScope("/"), "Path=/; Secure"),
        ("__Host-s", CookieScope("/a", "example.com"), "Path=/; Secure"),
        ("__hOST-s", CookieScope("/a"), "Path=/; Secure"),
        ("__Http-s", CookieScope("/a", "example.com"), "Path=/a; Domain=example.com; Secure; HttpOnly"),
        ("__http-s", CookieScope("/"), "Path=/; Secure; HttpOnly"),
        ("__Host-Http-s", CookieScope("/a", "example.com"), "Path=/; Secure; HttpOnly"),
        ("__host-http-s.0", CookieScope("/"), "Path=/; Secure; HttpOnly"),
        ("_Host-s", CookieScope("/a"), "Path=/a"),
    ],
)
def test_ck_3_a_prefix_gets_what_it_demands(name: str, scope: CookieScope, attributes: str) -> None:
    """Whatever the case of its letters; a browser ignores the line otherwise."""
    assert deletion_at(name, scope) == f"{name}=; {END}; {attributes}"


@pytest.mark.parametrize("same_site", ["None", "none"])
def test_ck_4_same_site_none_is_secure(same_site: str) -> None:
    """A browser ignores the line otherwise."""
    assert "; Secure; " in deletion_at("s", CookieScope(same_site=same_site))


def test_ck_5_partitioned_is_secure() -> None:
    """A browser ignores the line otherwise."""
    assert deletion_at("s", CookieScope(partitioned=True)) == f"s=; {END}; Path=/; Secure; Partitioned"


def test_ck_5_both_are_sent_where_nobody_has_seen_the_cookie_being_set(other: Worker) -> None:
    """A deletion without Partitioned does not reach a partitioned cookie, and the other way round."""
    jar = Jar()
    jar.take(LOGIN, ["session=1; Path=/; Secure; SameSite=None; Partitioned", "session=1; Path=/"])
    assert len(jar.kept) == 2

    jar.take(LOGOUT, other.deletes())

    assert jar.kept == {}


def test_ck_5_the_guess_is_not_made_over_plain_http_or_where_it_is_known(other: Worker, worker: Worker) -> None:
    """One line is enough where a partitioned cookie cannot be, or the application shows what it does."""
    worker.answers("session=1; Path=/")

    assert [len(worker.deletes()), len(Worker(FlakyStore(MemoryStore()), MovableClock()).deletes(https=False))] == [
        1,
        1,
    ]


@pytest.mark.parametrize("https", [True, False])
def test_the_ordinary_deletion_is_what_it_was(https: bool) -> None:
    """A configured name and nothing learned: the whole site, Secure over https."""
    secure = "Secure; " if https else ""

    assert deletion(SESSION, https=https) == f"session=; {END}; Path=/; {secure}HttpOnly; SameSite=Lax"


def test_ck_6_only_a_login_holds_a_deletion_back() -> None:
    """The application's own deletion may miss the cookie, so ours follows it; what it sets anew stays."""
    headers = [("Set-Cookie", "a=; Max-Age=0; Path=/wrong"), ("Set-Cookie", "b=new; Path=/"), ("X-A", "1")]
    ours = [deletion_at(name, CookieScope()) for name in ("a", "b", "b.1")]

    changed = with_deletions(headers, ours)

    assert [value for name, value in changed if name == "set-cookie"] == [ours[0], ours[2]]
    assert changed[: len(headers)] == headers


def test_ck_13_an_answer_that_deletes_is_in_no_cache() -> None:
    """It would delete the cookies of others."""
    changed = with_deletions([("Cache-Control", "public"), ("ETag", '"1"')], [])

    assert changed == [("ETag", '"1"'), ("cache-control", "no-store"), ("vary", "Cookie")]


# ---- chunks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "chunks"),
    [
        ([], []),
        (["session"], []),
        (["session.1", "session.0"], ["session.0", "session.1"]),
        (["session.2"], ["session.0", "session.1", "session.2"]),
        (["session_1"], ["session_0", "session_1"]),
        (["session__1"], ["session__0", "session__1"]),
        (["sessionC2", "sessionC1"], ["sessionC0", "sessionC1", "sessionC2"]),
        (["session.1", "session_0"], ["session.0", "session_0", "session.1"]),
        (["session.100", "session.01", "session.", "session.a", "session.-1", "session.1.1", "session.1 "], []),
        (["session.١", "session.²", "session.1\n", "session.1;x", "session.1\r\nX: y"], []),
        (["Session.1", "xsession.1", "sessionc1", "session1", "session-1", "sessionid"], []),
    ],
)
def test_ck_7_chunks_are_known_by_their_exact_form(present: list[str], chunks: list[str]) -> None:
    """Auth.js, oauth2-proxy, nextjs-auth0, ASP.NET; nothing else of a request gets into the answer."""
    assert chunk_names("session", present) == chunks
    assert any(is_chunk(written, "session") for written in present) == bool(chunks)


def test_ck_7_the_highest_chunk_is_the_hundredth() -> None:
    """More is not a cookie of any framework."""
    assert len(chunk_names("s", ["s.99", "s.100", "s.999999999999"])) == 100


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["a=1; b=2", "c=3"], ["a", "b", "c"]),
        (["b=2;a=1 ;  c = 3"], ["b", "a", "c"]),
        (["a=1; b=2,c=3"], ["a", "b", "c"]),
        (["a=x=y; novalue; ;"], ["a"]),
        ([], []),
    ],
)
def test_ck_10_and_ck_11_every_cookie_of_every_line_is_seen(lines: list[str], names: list[str]) -> None:
    """However many fields, in whatever order, and joined with commas by a server."""
    assert cookie_names(lines) == names


# ---- laws ------------------------------------------------------------------------------------------

cased = st.sampled_from([str.lower, str.upper, str.title])
PREFIXES = ["", "__Secure-", "__Host-", "__Http-", "__Host-Http-", "__host-"]
CHUNK_ENDS = ["", ".0", ".11", "_1", "__2", "C1"]
ATTRIBUTES = [
    "Path=/", "Path=/app", "Path=/app/", "Path=/a b", "Path=/ä", "Path=", "Path", "Path=no", "Domain=example.com",
    "Domain=.example.com", "Domain=app.example.com", "Domain=APP.example.com", "Domain=", "Secure", "Secure=1",
    "HttpOnly", "SameSite=None", "SameSite=Lax", "SameSite=Strict", "SameSite=x", "Partitioned", "Max-Age=60",
    "Expires=Fri, 15 Jan 2100 00:00:00 GMT", "Priority=High", "",
]  # fmt: skip


@st.composite
def set_cookies(draw: st.DrawFn, name: str) -> str:
    """A Set-Cookie value with some attributes, some of them twice, in any order and case."""
    attributes = draw(st.lists(st.sampled_from(ATTRIBUTES), max_size=8))
    parts = []
    for attribute in attributes:
        key, equals, value = attribute.partition("=")
        parts.append(draw(cased)(key) + equals + value)
    return draw(st.sampled_from([";", "; ", " ;\t"])).join([f"{name}=value", *parts])


@settings(max_examples=300)
@given(st.data(), st.sampled_from(PREFIXES), st.lists(st.sampled_from(CHUNK_ENDS), min_size=1, max_size=3))
def test_ck_1_whatever_the_application_sets_the_deletion_empties_the_jar(
    data: st.DataObject, prefix: str, ends: list[str]
) -> None:
    """For every scope and several at once: one worker saw the login, another one answers the logout."""
    name, jar, clock = f"{prefix}s", Jar(), MovableClock(NOW)
    store = MemoryStore(clock)
    workers = [Worker(store, clock, GuardedCookie(name, "opaque")) for _ in range(2)]
    for end in ends:
        directory = data.draw(st.sampled_from(["", "/account", "/api/v1"]))
        line = data.draw(set_cookies(name + end))
        jar.take(f"https://app.example.com{directory}/login", [line])
        workers[0].answers(line, path=f"{directory}/login")

    deletions = workers[1].deletes(name, present=list(jar.sent_to(LOGOUT)))
    jar.take(LOGOUT, deletions)

    assert jar.kept == {}, deletions


@given(
    st.lists(st.text(st.characters(max_codepoint=255), max_size=40), max_size=6),
    st.lists(st.text(st.characters(max_codepoint=255), max_size=12), max_size=6),
    st.text(st.characters(max_codepoint=255), max_size=20),
)
def test_ck_12_no_text_of_anybody_breaks_out_of_a_deletion(lines: list[str], names: list[str], path: str) -> None:
    """Neither the application's lines, nor names of cookies in a request, nor its path."""
    clock = MovableClock(NOW)
    worker = Worker(MemoryStore(clock), clock)
    for line in lines:
        worker.answers("session" + line, path="/" + path)
        worker.answers("session=1;Path=/" + line, "session=1; Domain=" + line, path="/" + path)

    deletions = worker.deletes(present=["session" + name for name in names])

    assert deletions
    for line in deletions:
        pair, maximum, expires, where, *rest = line.split("; ")
        assert re.fullmatch(r"session(?:(?:\.|_|__|C)\d\d?)?=", pair, re.ASCII)
        assert (maximum, expires) == tuple(END.split("; "))
        assert re.fullmatch(r"Path=/[\x20-\x3a\x3c-\x7e\x80-\xff]*", where)
        assert all(
            re.fullmatch(r"Domain=[a-z0-9.:_\[\]-]+|Secure|HttpOnly|SameSite=\w+|Partitioned", each) for each in rest
        )


@given(st.integers(min_value=-11_000_000_000, max_value=16_000_000_000), st.booleans())
def test_dates_that_servers_write_are_read_exactly(moment: int, netscape: bool) -> None:
    """Both forms that frameworks use, for any year of four digits."""
    from email.utils import formatdate

    written = formatdate(moment, usegmt=True)
    if netscape:
        day, month_day, month, year, rest = written.split(" ", 4)
        written = f"{day} {month_day}-{month}-{year} {rest}"

    assert cookie_date(written) == float(moment)


# ---- real frameworks, judged by the cookie jar of the standard library -----------------------------------


def starlette_lines(**scope: Any) -> list[str]:
    """What Starlette writes."""
    from starlette.responses import Response

    response = Response()
    response.set_cookie("session", "value", **scope)
    return [value.decode("latin-1") for name, value in response.raw_headers if name == b"set-cookie"]


def flask_lines(**scope: Any) -> list[str]:
    """What Flask and Werkzeug write."""
    from flask import Response

    response = Response()
    response.set_cookie("session", "value", **scope)
    return response.headers.getlist("Set-Cookie")


def django_lines(**scope: Any) -> list[str]:
    """What Django writes."""
    from django.conf import settings
    from django.http import HttpResponse

    if not settings.configured:
        settings.configure()
    response = HttpResponse()
    response.set_cookie("session", "value", **scope)
    return [morsel.OutputString() for morsel in response.cookies.values()]


def obey(jar: CookieJar, url: str, lines: list[str]) -> None:
    """Put these lines into a jar of the standard library."""

    class Answer:
        def info(self) -> Message:
            headers = Message()
            for line in lines:
                headers["Set-Cookie"] = line
            return headers

    jar.extract_cookies(Answer(), UrllibRequest(url))  # type: ignore[arg-type]  # it reads nothing but info()


@pytest.mark.parametrize("framework", [starlette_lines, flask_lines, django_lines])
@pytest.mark.parametrize(
    "scope",
    [
        {"path": "/"},
        {"path": "/account"},
        {"path": "/", "domain": "example.com"},
        {"path": "/", "domain": ".example.com", "secure": True, "httponly": True, "samesite": "none"},
        {"path": "/account/", "secure": True, "max_age": 3600},
        {"path": None},
    ],
    ids=str,
)
def test_the_cookies_of_frameworks_are_gone_after_the_deletion(
    framework: Any, scope: dict[str, Any], worker: Worker, other: Worker
) -> None:
    """Their own lines teach, and a jar that we did not write ends up empty."""
    jar, lines = CookieJar(), framework(**scope)
    obey(jar, LOGIN, lines)
    assert len(jar) == 1

    worker.answers(*lines)
    obey(jar, LOGOUT, other.deletes())

    assert len(jar) == 0


def test_the_judge_keeps_a_cookie_that_the_ordinary_deletion_misses() -> None:
    """Without having learned, the jar of the test above keeps it."""
    jar = CookieJar()
    obey(jar, LOGIN, ["session=1; Path=/; Domain=example.com"])

    obey(jar, LOGOUT, [deletion(SESSION, https=True)])

    assert len(jar) == 1


# ---- learning ----------------------------------------------------------------------------------------


def test_what_one_worker_saw_another_one_deletes(worker: Worker, other: Worker) -> None:
    """The login and the logout are seldom served by the same process."""
    worker.answers("session=1; Path=/app; Domain=example.com; Secure; HttpOnly; SameSite=Strict")

    deleted = other.deletes()

    assert deleted == [f"session=; {END}; Path=/app; Domain=example.com; Secure; HttpOnly; SameSite=Strict"]


def test_a_lesson_says_no_more_than_the_application_did(worker: Worker) -> None:
    """A line that is Secure or Lax where the cookie is not may be ignored by the browser that has the cookie."""
    worker.answers("session=1; Path=/")

    assert worker.deletes() == [f"session=; {END}; Path=/"]


def test_ck_8_every_place_of_a_name_is_deleted(worker: Worker, other: Worker) -> None:
    """One line for each, the newest first."""
    for path in ("/a", "/b", "/c"):
        worker.clock.move(1)  # type: ignore[attr-defined]
        worker.answers(f"session=1; Path={path}")

    assert paths_of(other.deletes()) == ["/c", "/b", "/a"]
    assert paths_of(worker.deletes()) == ["/c", "/b", "/a"]


def test_ck_8_configured_places_are_deleted_as_well(store: FlakyStore, clock: MovableClock) -> None:
    """One name with several scopes in LOGOUT_COOKIES, and one more learned; what was learned is exact."""
    cookies = [GuardedCookie("s", "auto", path="/a"), GuardedCookie("s", "auto", domain="example.com"), SESSION]
    worker = Worker(store, clock, *cookies)
    worker.answers("s=1; Path=/a", "s=1; Path=/", "session=1; Path=/x")

    deleted = worker.deletes("s", "session")

    assert [line.replace(f"; {END}", "") for line in deleted] == [
        "s=; Path=/a",
        "s=; Path=/",
        "s=; Path=/; Domain=example.com; Secure; HttpOnly; SameSite=Lax",
        "session=; Path=/x",
    ]


def test_ck_12_other_names_teach_nothing(worker: Worker, store: FlakyStore) -> None:
    """Names differ by case, and a cookie that nobody guards is not ours."""
    assert worker.answers("Session=1; Path=/x", "csrftoken=1; Path=/x", "session1=1; Path=/x", "; Path=/x") == []

    assert paths_of(worker.deletes(https=False)) == ["/"]
    assert worker.deletes("csrftoken") == []


def test_ck_7_a_chunk_teaches_the_place_of_the_cookie_and_its_chunks(worker: Worker, other: Worker) -> None:
    """A logout at a path where the browser does not send them deletes them all the same."""
    worker.answers(*(f"session.{number}=1; Path=/app" for number in range(3)))

    deleted = other.deletes()

    assert names_of(deleted) == ["session", "session.0", "session.1", "session.2"]
    assert set(paths_of(deleted)) == {"/app"}


def test_a_cookie_that_is_guarded_by_its_own_name_is_no_chunk(store: FlakyStore, clock: MovableClock) -> None:
    """`s_1` may look like a piece of `s` and be another login."""
    worker = Worker(store, clock, GuardedCookie("s", "auto"), GuardedCookie("s_1", "auto"))
    worker.answers("s_1=1; Path=/other", "s=1; Path=/")

    assert names_of(worker.deletes("s", present=["s", "s_1", "s_2"])) == ["s", "s_2", "s_0"]
    assert paths_of(worker.deletes("s_1")) == ["/other"]


def test_a_deletion_by_the_application_adds_a_place_and_replaces_nothing(worker: Worker, other: Worker) -> None:
    """Frameworks leave attributes out of their deletions; and one that deletes at the wrong path is no proof."""
    worker.answers("session=1; Path=/; SameSite=None; Secure; HttpOnly")

    worker.answers("session=; Path=/; Max-Age=0", "session=; Path=/old; Max-Age=0")

    wanted = [f"session=; {END}; Path=/; Secure; HttpOnly; SameSite=None", f"session=; {END}; Path=/old"]
    assert worker.deletes() == wanted
    assert other.deletes() == wanted


def test_a_worker_without_its_store_is_not_misled_by_deletions_either(worker: Worker, store: FlakyStore) -> None:
    """What it knows itself is enough to delete rightly, however often the application deletes wrongly."""
    store.broken = True
    worker.answers("session=1; Path=/; Secure; HttpOnly; SameSite=None")

    worker.answers(*(f"session=; Path=/{number or ''}; Max-Age=0" for number in range(20)))

    assert worker.deletes()[0] == f"session=; {END}; Path=/; Secure; HttpOnly; SameSite=None"
    assert len(worker._own["session"]) == learned_cookies.MAX_PLACES


def test_only_a_deletion_seen_leaves_the_configured_place_in(worker: Worker, other: Worker) -> None:
    """After a restart the first thing seen may be the application's own, wrong, deletion."""
    worker.answers("session=; Path=/old; Max-Age=0")

    assert paths_of(worker.deletes(https=False)) == ["/old", "/"]
    assert paths_of(other.deletes(https=False)) == ["/old", "/"]


def test_a_set_replaces_what_a_deletion_taught_even_in_the_store(worker: Worker, other: Worker) -> None:
    """In whatever order the workers saw them."""
    worker.answers("session=1; Path=/; SameSite=Strict; HttpOnly")
    other.answers("session=; Path=/; Max-Age=0")

    assert other.deletes() == worker.deletes() == [f"session=; {END}; Path=/; HttpOnly; SameSite=Strict"]


def test_a_changed_scope_replaces_the_old_one(worker: Worker, other: Worker, clock: MovableClock) -> None:
    """A new release of the application sets SameSite; everybody follows."""
    worker.answers("session=1; Path=/")
    clock.move(61)

    told = worker.answers("session=1; Path=/; SameSite=Lax")

    assert len(told) == 1
    assert other.deletes() == worker.deletes() == [f"session=; {END}; Path=/; SameSite=Lax"]


# ---- what the store is told ----------------------------------------------------------------------------


def test_a_lesson_is_told_once(worker: Worker, store: FlakyStore, clock: MovableClock) -> None:
    """Applications set their cookie with each answer; the store hears of it once in half its lasting."""
    for _ in range(1000):
        worker.answers("session=1; Path=/; Max-Age=60")
        clock.move(60)
    assert store.calls == ["facts", "learn"]

    clock.move(15 * DAY)
    (fact,) = worker.answers("session=1; Path=/; Max-Age=60")

    assert fact.until == clock() + 30 * DAY
    assert store.calls.count("learn") == 2


def test_a_lesson_lasts_while_the_application_runs(worker: Worker, store: FlakyStore, clock: MovableClock) -> None:
    """Half a year later a fresh worker still knows it, although facts end."""
    for _ in range(180):
        worker.answers("session=1; Path=/app")
        clock.move(DAY)

    assert paths_of(Worker(store, clock).deletes()) == ["/app"]
    clock.move(31 * DAY)
    assert paths_of(Worker(store, clock).deletes(https=False)) == ["/"]


def test_a_store_that_is_away_fails_nothing_and_is_told_later(
    worker: Worker, other: Worker, store: FlakyStore, clock: MovableClock
) -> None:
    """What this worker saw it knows, and it tries again after a minute, not with each answer."""
    store.broken = True
    for _ in range(100):
        worker.answers("session=1; Path=/app")
    assert store.calls == ["facts"]
    assert paths_of(worker.deletes()) == ["/app"]
    assert paths_of(other.deletes(https=False)) == ["/"]

    store.broken = False
    clock.move(61)
    worker.answers("session=1; Path=/app")

    assert paths_of(other.deletes()) == ["/app"]


def test_the_store_is_asked_once_in_a_few_seconds(other: Worker, store: FlakyStore, clock: MovableClock) -> None:
    """A thousand dead cookies at once are one question, whether it is answered or not."""
    for broken in (False, True):
        store.broken = broken
        store.calls.clear()
        clock.move(5)

        for _ in range(1000):
            other.deletes()

        assert store.calls == ["facts"]


def test_a_store_that_went_away_leaves_what_it_said(worker: Worker, other: Worker, store: FlakyStore) -> None:
    """Knowing nothing new is not knowing nothing."""
    worker.answers("session=1; Path=/app")
    assert paths_of(other.deletes()) == ["/app"]

    store.broken = True
    other.clock.move(60)  # type: ignore[attr-defined]

    assert paths_of(other.deletes()) == ["/app"]


@pytest.mark.parametrize(
    ("path", "is_stored"),
    [
        ("/login", True),
        ("/account/login", True),
        ("/api/v1/auth/login", True),
        ("/reset/5f2c9d3aa0b14c7f/confirm", False),
        ("/reset/Zm9vYmFyYmF6cXV4/confirm", False),
        ("/users/123/login", False),
        ("/a/b/c/d/e/f", False),
        ("/caf%C3%A9/login", False),
    ],
)
def test_the_directory_of_a_request_is_stored_only_if_it_is_a_route(
    path: str, is_stored: bool, worker: Worker, store: FlakyStore
) -> None:
    """A path may hold a secret, or somebody's number; this worker remembers it, the store never sees it."""
    facts = worker.answers("session=1; HttpOnly", path=path)

    assert bool(facts) is is_stored
    assert default_path(path) in paths_of(worker.deletes())


@pytest.mark.parametrize(
    "path", ["/a;b/login", "/a b/login", "/caf\xe9/login", "/x\r\ny/login", "/" + "a" * 600 + "/x"]
)
def test_a_directory_that_no_line_can_name_is_not_learned(path: str, worker: Worker) -> None:
    """A Path attribute ends at a semicolon, and a decoded path is not what the browser compares."""
    assert worker.answers("session=1", path=path) == []

    assert paths_of(worker.deletes(https=False)) == ["/"]


def test_a_path_that_the_application_names_itself_is_stored(worker: Worker, other: Worker) -> None:
    """It is the application's word, not the visitor's."""
    worker.answers("session=1; Path=/tenants/4711/Ä x")

    assert paths_of(other.deletes()) == ["/tenants/4711/Ä x"]


# ---- bounds ------------------------------------------------------------------------------------------


def test_at_most_eight_places_are_remembered_and_the_newest_win(worker: Worker, other: Worker) -> None:
    """An application with a path of each customer does not fill the memory, here or in the store."""
    for number in range(1000):
        worker.clock.move(61)  # type: ignore[attr-defined]
        worker.answers(f"session=1; Path=/tenants/{number}")

    newest = [f"/tenants/{number}" for number in range(999, 991, -1)]
    assert paths_of(worker.deletes()) == newest
    assert paths_of(other.deletes()) == newest
    assert len(run_blocking(worker.store.facts(list(worker._subjects)))) == learned_cookies.MAX_STORED


def test_deletions_do_not_push_out_what_was_set(worker: Worker, other: Worker) -> None:
    """A visitor who makes the application delete at many paths changes nothing."""
    worker.answers("session=1; Path=/app")

    for number in range(1000):
        worker.clock.move(61)  # type: ignore[attr-defined]
        worker.answers("session=; Max-Age=0", path=f"/{'abcdefghij'[number % 10]}{'x' * (number // 50)}/y")

    assert paths_of(worker.deletes())[0] == "/app"
    assert paths_of(other.deletes())[0] == "/app"
    assert len(run_blocking(worker.store.facts(list(worker._subjects)))) == learned_cookies.MAX_STORED


def test_a_full_store_replaces_only_the_oldest_lesson(
    worker: Worker, other: Worker, store: FlakyStore, clock: MovableClock
) -> None:
    """One that it holds already is renewed in its own place."""
    for number in range(learned_cookies.MAX_STORED):
        clock.move(61)
        worker.answers(f"session=1; Path=/{number}")
    before = run_blocking(store.facts(list(worker._subjects)))

    clock.move(61)
    other.answers("session=1; Path=/40")
    renewed = run_blocking(store.facts(list(worker._subjects)))
    clock.move(61)
    other.answers("session=1; Path=/new")
    replaced = run_blocking(store.facts(list(worker._subjects)))

    assert {fact.text for fact in renewed} == {fact.text for fact in before}
    assert {fact.text for fact in before} - {fact.text for fact in replaced} == {'{"path":"/0"}'}


def test_one_process_writes_a_bounded_number_of_lessons(worker: Worker, store: FlakyStore, clock: MovableClock) -> None:
    """Whatever visitors make the application say."""
    for number in range(1000):
        worker.answers("session=1", path=f"/{'abcdefghij'[number % 10]}{'x' * (number // 50)}/y")
    assert store.calls.count("learn") == learned_cookies.MAX_OFFERS

    clock.move(3600)
    worker.answers("session=1; Path=/new")

    assert store.calls.count("learn") == learned_cookies.MAX_OFFERS + 1


def test_an_application_of_two_minds_does_not_write_with_each_answer(worker: Worker, store: FlakyStore) -> None:
    """Two releases behind one address set the cookie differently, in turn."""
    for _ in range(100):
        worker.answers("session=1; Path=/", "session=1; Path=/; HttpOnly")

    assert store.calls.count("learn") == 1


def test_chunk_names_are_bounded(worker: Worker) -> None:
    """At most 64 beside the guarded names."""
    for mark in (".", "_", "__", "C"):
        for number in range(100):
            worker.answers(f"session{mark}{number}=1; Path=/")

    assert len(worker._own) == 1 + learned_cookies.MAX_CHUNKS


def test_planted_chunk_names_do_not_make_an_endless_answer(store: FlakyStore, clock: MovableClock) -> None:
    """A proxy answers 502 to too many headers: whole cookies come first, then the pieces that are there."""
    worker = Worker(store, clock, SESSION, GuardedCookie("sid", "opaque"))
    present = [*(f"session{mark}99" for mark in (".", "_", "__", "C")), "session.0", "session.1", "session.2"]

    deleted = worker.deletes("session", "sid", present=present)

    assert names_of(deleted)[:4] == ["session", "session", "sid", "sid"]
    assert set(present) <= set(names_of(deleted))
    assert sum(len(f"set-cookie: {line}\r\n") for line in deleted) <= 3072


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "[]", "{}", '{"path":1}', '{"path":"/x","domain":["a"]}', '{"path":"/x","later":"member"}',
        '{"path":"/x","secure":"yes"}', '{"path":"/x\\r\\nX: y"}', '{"path":"/x; Domain=evil.example"}',
        '{"path":"x"}', '{"path":"/x","domain":"a; b"}', '{"path":"/x","same_site":"Lax; Domain=a"}',
        '{"path":"/x","chunk":".1; a"}', '{"path":"/x","chunk":1}', '{"path":"/x","chunk":"id"}', "[" * 100_000,
    ],
)  # fmt: skip
def test_ck_12_a_fact_that_is_not_a_lesson_is_passed_over(text: str, worker: Worker, other: Worker) -> None:
    """Another version wrote it, or somebody with a hand in the store."""
    (fact,) = worker.answers("session=1; Path=/app")
    run_blocking(worker.store.learn([Fact(fact.subject, bytes(16), fact.at + 1, fact.until, text)]))

    assert other.deletes() == [f"session=; {END}; Path=/app"]


def test_a_fact_of_one_name_teaches_nothing_of_another(store: FlakyStore, clock: MovableClock) -> None:
    """`sessionid` begins with `session`, and is no piece of it."""
    worker, other = (Worker(store, clock, SESSION, GuardedCookie("sessionid", "opaque")) for _ in range(2))
    (fact,) = worker.answers("session=1; Path=/app")
    run_blocking(store.learn([Fact(fact.subject, bytes(16), fact.at, fact.until, '{"path":"/x","chunk":"id"}')]))

    assert paths_of(other.deletes("sessionid", https=False)) == ["/"]
