"""How the application sets its guarded cookies: learned from its own Set-Cookie lines, so that a deletion repeats them.

A lesson is one place (path, domain, partitioned) of one cookie or chunk of it, with the attributes that it was last
set with. It goes into the store once, so that a worker which never saw the login deletes from the same place.
Lessons come from the application, but the directory of a request may come from anybody: so all of it has bounds,
nothing is stored of a directory that may hold more than the words of a route, and a lost lesson fails no request.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import StoreError
from ..rules.cookies import (
    GuardedCookie,
    chunk_names,
    configured_scope,
    deletion_at,
    demanded_scope,
    guessed_scopes,
    is_chunk,
    is_repeatable,
)
from ..rules.revocation import key_of
from ..rules.set_cookie import CookieScope, parse_set_cookie
from ..stores import Fact, Store

MAX_PLACES = 8
"""Places remembered of one name."""
MAX_CHUNKS = 64
"""Names of chunks remembered."""
MAX_BYTES = 3072
"""Set-Cookie lines of one answer: some proxies take 4 KiB of headers, and make a 502 of an answer that has more."""
FETCH_SECONDS = 5.0
"""For so long the lessons of other workers are not asked for again."""
OFFER_SECONDS = 60.0
"""One lesson goes to the store at most so often, although it changes all the time or the store is away …"""
MAX_OFFERS = 64
"""… and all lessons of one process not more often than so many times an hour."""
MAX_STORED = 64
"""Lessons of one name in the store, where an application makes a path of each customer. The last seen win."""

_HOUR = 3600.0
_ORDINARY = GuardedCookie("", "")
# `/`, `/account`, `/api/v1/auth`; not `/reset/5f2c…`, which may be a secret, and of which there is no end.
_ROUTE = re.compile(r"/|(?:/(?:v[0-9]|[a-z][a-z_-]{0,23})){1,4}")
_MEMBERS = {"path": str, "domain": str | None, "secure": bool, "http_only": bool, "same_site": str | None,
            "partitioned": bool}  # fmt: skip

Place = tuple[str, str | None, bool]


@dataclass(slots=True)
class _Lesson:
    """A scope, and when it was last seen. `set_at` 0: only a deletion taught it, and any set knows better."""

    scope: CookieScope
    set_at: float
    offered: Fact | None = None
    """What the store was or is to be told of it last."""
    offered_at: float = 0.0
    told_until: float = 0.0
    """The store need not be told again before."""


class LearnedCookies:
    """Learns scopes, and deletes with them. `clock` is seconds since 1970; a stored lesson lasts `lasting_seconds`."""

    def __init__(
        self, store: Store, cookies: Sequence[GuardedCookie], clock: Callable[[], float], lasting_seconds: float
    ) -> None:
        self.store, self.clock, self.lasting_seconds = store, clock, lasting_seconds
        self._configured: dict[str, list[GuardedCookie]] = {}
        for cookie in cookies:
            self._configured.setdefault(cookie.name, []).append(cookie)
        self._longest_first = sorted(self._configured, key=len, reverse=True)
        self._subjects = {key_of("cookie-scope", None, name): name for name in self._configured}
        self._own: dict[str, dict[Place, _Lesson]] = {name: {} for name in self._configured}
        self._others: dict[str, dict[Place, _Lesson]] = {}
        self._fetched_at: float | None = None
        self._offers, self._offers_since = 0, 0.0
        self._lock = threading.Lock()

    def guarded_name(self, written: str) -> str | None:
        """The guarded cookie of this name, or that this is a chunk of; None for any other cookie."""
        if written in self._configured:
            return written
        return next((name for name in self._longest_first if is_chunk(written, name)), None)

    # ---- learning ------------------------------------------------------------------------------------

    def sees(self, set_cookie: str, request_path: str) -> Fact | None:
        """Learn from a Set-Cookie value of the application's answer to this path; a fact that the store should know.

        `request_path` is the path as the browser wrote it: with the prefix of a proxy or mount, percent-encoded,
        without the query. Hand the fact to `remember`, with those of the answer's other lines.
        """
        written = set_cookie.partition(";")[0].partition("=")[0].strip(" \t")
        guarded = self.guarded_name(written)
        if guarded is None:
            return None
        now = self.clock()
        line = parse_set_cookie(set_cookie, request_path, now)
        if line is None:
            return None
        scope = demanded_scope(written, line.scope)
        if not is_repeatable(scope):
            return None
        # Browsers compare the encoded path. One with other characters in it was not given to us as the browser has it.
        if line.path_is_implied and (not scope.path.isascii() or " " in scope.path):
            return None
        may_be_stored = not line.path_is_implied or _ROUTE.fullmatch(scope.path) is not None
        with self._lock:
            lesson = self._learn(written, scope, 0.0 if line.deletes else now)
            if lesson is None or not may_be_stored or not self._is_offered(lesson, now):
                return None
            lesson.offered_at = now
            lesson.offered = Fact(
                key_of("cookie-scope", None, guarded),
                _fact_name(written, lesson.scope),
                lesson.set_at,
                now + self.lasting_seconds,
                _as_text(written[len(guarded) :], lesson.scope),
            )
            return lesson.offered

    async def remember(self, facts: Sequence[Fact]) -> None:
        """Tell the store. If it cannot be told, that is no failure: it is told again later."""
        if not facts:
            return
        try:
            known = await self.store.facts(list({fact.subject for fact in facts}))
            await self.store.learn([_in_bounds(fact, known) for fact in facts])
        except StoreError:
            return
        # Again when half its time is over, so that it lasts while the application runs.
        again_at = self.clock() + self.lasting_seconds / 2
        with self._lock:
            for lesson in (lesson for lessons in self._own.values() for lesson in lessons.values()):
                if lesson.offered in facts:
                    lesson.told_until = again_at

    def _learn(self, written: str, scope: CookieScope, set_at: float) -> _Lesson | None:
        lessons = self._own.get(written)
        if lessons is None:
            if len(self._own) >= len(self._configured) + MAX_CHUNKS:
                return None
            lessons = self._own[written] = {}
        known = lessons.pop(scope.place, None) or _Lesson(scope, set_at)
        if set_at:
            if known.scope != scope or not known.set_at:
                known.offered, known.told_until = None, 0.0
            known.scope, known.set_at = scope, set_at
        lessons[scope.place] = known
        if len(lessons) > MAX_PLACES:
            # The last seen stay, and those that were only deleted go first.
            del lessons[next((place for place, each in lessons.items() if not each.set_at), next(iter(lessons)))]
        return lessons.get(scope.place)

    def _is_offered(self, lesson: _Lesson, now: float) -> bool:
        if now < lesson.told_until or lesson.offered_at <= now < lesson.offered_at + OFFER_SECONDS:
            return False
        if not self._offers_since <= now < self._offers_since + _HOUR:
            self._offers, self._offers_since = 0, now
        self._offers += 1
        return self._offers <= MAX_OFFERS

    # ---- deleting ------------------------------------------------------------------------------------

    async def deletions(self, names: Collection[str], present: Sequence[str], *, https: bool) -> list[str]:
        """Set-Cookie values that delete these guarded cookies and their chunks, from every place that is known.

        `present`: the names of all cookies of the request (`rules.cookies.cookie_names`). `https`: as the browser
        sees it. A cookie that never was seen being set is deleted as configured. Several lines may name one cookie,
        each with another place (CK-6): none of them could be left out. Whole cookies come first, then the chunks that
        are known, then those that may be between them; what is more than an answer's headers can hold is left out.
        """
        await self._fetch()
        with self._lock:
            lessons = _merged(self._own, self._others)
        candidates: list[tuple[int, str, CookieScope]] = []
        for name in self._configured:
            if name not in names:
                continue
            family = [each for each in lessons if self.guarded_name(each) == name]
            scopes = self._scopes(name, [lessons[each] for each in family], https=https)
            # A chunk that is guarded by a name of its own is another cookie.
            pieces = [each for each in chunk_names(name, [*present, *family]) if self.guarded_name(each) == name]
            known = {*present, *family}
            for written in (name, *pieces):
                rank = 0 if written == name else 2 if written in known else 3
                candidates += [
                    (1 if rank and scope.place in lessons.get(written, {}) else rank, written, scope)
                    for scope in scopes
                ]
        return _fitting(candidates)

    def _scopes(self, name: str, learned: Iterable[dict[Place, _Lesson]], *, https: bool) -> list[CookieScope]:
        lessons: dict[Place, _Lesson] = {}
        for each in learned:
            _take_over(lessons, each)
        newest = sorted(lessons.values(), key=lambda lesson: lesson.set_at, reverse=True)[:MAX_PLACES]
        scopes = [lesson.scope for lesson in newest]
        for cookie in self._configured[name]:
            if not any(lesson.set_at for lesson in newest):
                scopes += guessed_scopes(cookie, https=https)
            elif _says_where(cookie):
                scopes.append(configured_scope(cookie, https=https))
        # The first of a place wins: what the application says of itself is exact.
        places: dict[Place, CookieScope] = {}
        for scope in (demanded_scope(name, each) for each in scopes):
            places.setdefault(scope.place, scope)
        return list(places.values())

    async def _fetch(self) -> None:
        now = self.clock()
        if self._fetched_at is not None and self._fetched_at <= now < self._fetched_at + FETCH_SECONDS:
            return
        self._fetched_at = now
        try:
            facts = await self.store.facts(list(self._subjects))
        except StoreError:
            return
        found: dict[str, dict[Place, _Lesson]] = {}
        for fact in sorted(facts, key=lambda fact: fact.at, reverse=True):
            name = self._subjects.get(fact.subject)
            read = _from_text(fact.text)
            if name is None or read is None:
                continue
            written = name + read[0]
            lessons = found.setdefault(written, {}) if len(found) < MAX_CHUNKS or written == name else {}
            if self.guarded_name(written) == name and len(lessons) < MAX_PLACES:
                lessons.setdefault(read[1].place, _Lesson(read[1], fact.at))
        self._others = found


def _fitting(candidates: list[tuple[int, str, CookieScope]]) -> list[str]:
    lines, size = [], 0
    for _, written, scope in sorted(candidates, key=lambda candidate: candidate[0]):
        line = deletion_at(written, scope)
        size += len("set-cookie: ") + len(line) + len("\r\n")
        if size > MAX_BYTES:
            break
        lines.append(line)
    return lines


def _merged(*known: dict[str, dict[Place, _Lesson]]) -> dict[str, dict[Place, _Lesson]]:
    merged: dict[str, dict[Place, _Lesson]] = {}
    for each in known:
        for written, lessons in each.items():
            _take_over(merged.setdefault(written, {}), lessons)
    return merged


def _take_over(known: dict[Place, _Lesson], more: dict[Place, _Lesson]) -> None:
    for place, lesson in more.items():
        if place not in known or lesson.set_at > known[place].set_at:
            known[place] = lesson


def _says_where(cookie: GuardedCookie) -> bool:
    """Do the settings give this cookie attributes?"""
    return configured_scope(cookie, https=False) != configured_scope(_ORDINARY, https=False)


def _fact_name(written: str, scope: CookieScope) -> bytes:
    return key_of("cookie-scope", None, written, scope.path, scope.domain or "", "1" if scope.partitioned else "")


def _in_bounds(fact: Fact, known: Iterable[Fact]) -> Fact:
    """This fact, or in the place of the oldest if there are too many."""
    there = [each for each in known if each.subject == fact.subject]
    if len(there) < MAX_STORED or any(each.name == fact.name for each in there):
        return fact
    # Nothing can be taken out of a store, but a later fact of the same name replaces an earlier one.
    return replace(fact, name=min(there, key=lambda each: each.at).name)


def _as_text(chunk: str, scope: CookieScope) -> str:
    members = {name: value for name in _MEMBERS if (value := getattr(scope, name))}
    return json.dumps({**members, **({"chunk": chunk} if chunk else {})}, separators=(",", ":"))


def _from_text(text: str) -> tuple[str, CookieScope] | None:
    """The end of a chunk's name and a scope, or None: what a store holds may be of another version."""
    try:
        members = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, dict):
        return None
    chunk = members.pop("chunk", "")
    is_known = all(isinstance(value, _MEMBERS.get(name, ())) for name, value in members.items())
    if not is_known or "path" not in members or not isinstance(chunk, str):
        return None
    scope = CookieScope(**members)
    if not is_repeatable(scope) or scope.same_site not in (None, "Strict", "Lax", "None"):
        return None
    return chunk, scope
